//! The logical node of an as-of join: each row of the left side beside the one of the right that is the nearest to it in time.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, JoinType, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::clock::Micros;
use crate::sql::interval;

/// Which row of the right side belongs to one of the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Matching {
    pub direction: Direction,
    /// A row at the very time is none.
    pub is_strict: bool,
    /// Added to the time of the left before times are compared.
    pub offset: Micros,
    /// How near the nearest has to be. One that is not is no partner, and no other is looked for.
    pub tolerance: Option<Tolerance>,
    /// `'state-ttl'` of the view: how old the nearest may be. Of [`Direction::Backward`] alone.
    pub state_ttl: Option<Micros>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The last row that is not later.
    Backward,
    /// The first row that is not earlier.
    Forward,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tolerance {
    /// Not negative.
    pub length: Micros,
    /// As far away is too far.
    pub is_strict: bool,
}

impl Matching {
    /// How near the nearest has to be, by whichever says the less.
    pub fn reach(&self) -> Option<Tolerance> {
        let by_age = self.state_ttl.map(|length| Tolerance { length, is_strict: false });
        let all = [self.tolerance, by_age].into_iter().flatten();
        all.min_by_key(|tolerance| (tolerance.length, !tolerance.is_strict))
    }

    /// In words, with the names of the times.
    pub fn described(&self, left: &str, right: &str) -> String {
        let (which, op) = match (self.direction, self.is_strict) {
            (Direction::Backward, false) => ("last", "<="),
            (Direction::Backward, true) => ("last", "<"),
            (Direction::Forward, false) => ("first", ">="),
            (Direction::Forward, true) => ("first", ">"),
        };
        let by = match self.offset {
            0 => String::new(),
            by if by < 0 => format!(" - {}", interval::shown(-by)),
            by => format!(" + {}", interval::shown(by)),
        };
        let near = match self.tolerance {
            None => String::new(),
            Some(Tolerance { length, is_strict: false }) => format!(", within {}", interval::shown(length)),
            Some(Tolerance { length, is_strict: true }) => format!(", nearer than {}", interval::shown(length)),
        };
        let age = self.state_ttl.map(|ttl| format!(", no older than {} ('state-ttl')", interval::shown(ttl)));
        format!("the {which} {right} {op} {left}{by}{near}{}", age.unwrap_or_default())
    }
}

/// See the module's first line. Of rows at one time the last to arrive is the nearest.
///
/// Schema: the columns of the left, then those of the right, which are NULL where a row of the left has no partner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsOfJoinNode {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    /// Of both sides, each a timestamp; compared as instants, whatever their units.
    pub times: [Column; 2],
    /// What has to be equal beside, of one type in each pair.
    pub keys: Vec<(Column, Column)>,
    pub matching: Matching,
    /// Rows of the left without a partner come out, too.
    pub is_outer: bool,
    schema: DFSchemaRef,
}

impl AsOfJoinNode {
    pub fn try_new(
        left: LogicalPlan,
        right: LogicalPlan,
        times: [Column; 2],
        keys: Vec<(Column, Column)>,
        matching: Matching,
        is_outer: bool,
    ) -> Result<Self> {
        let join_type = if is_outer { JoinType::Left } else { JoinType::Inner };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &join_type)?);
        Ok(AsOfJoinNode { left, right, times, keys, matching, is_outer, schema })
    }
}

impl AsOfJoinNode {
    /// The same join of other rows with the same columns.
    pub(super) fn with_left(&self, left: LogicalPlan) -> Self {
        AsOfJoinNode { left, ..self.clone() }
    }

    pub(super) fn with_matching(&self, matching: Matching) -> Self {
        AsOfJoinNode { matching, ..self.clone() }
    }
}

impl PartialOrd for AsOfJoinNode {
    // The schema follows from the rest.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let order = (&self.left, &self.right).partial_cmp(&(&other.left, &other.right))?;
        let of = |node: &Self| (node.times.clone(), node.keys.clone(), node.matching, node.is_outer);
        Some(order.then_with(|| of(self).cmp(&of(other))))
    }
}

impl UserDefinedLogicalNodeCore for AsOfJoinNode {
    fn name(&self) -> &str {
        "AsOfJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.keys.iter().flat_map(|(left, right)| [left, right]);
        self.times.iter().chain(keys).cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, right] = &self.times;
        let kind = if self.is_outer { "Left" } else { "Inner" };
        let keys: Vec<String> = self.keys.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let what = self.matching.described(&left.to_string(), &right.to_string());
        write!(f, "AsOfJoin: {kind}, {what}, on=[{}]", keys.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (exprs, inputs) = (exprs.into_iter(), <[LogicalPlan; 2]>::try_from(inputs));
        let columns = exprs.map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("an as-of join compares columns, not {other}"),
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?.into_iter();
        let (Ok([left, right]), Some(of_left), Some(of_right)) = (inputs, columns.next(), columns.next()) else {
            return internal_err!("an as-of join has two inputs, and a time of each");
        };
        let mut keys = Vec::new();
        while let (Some(left), Some(right)) = (columns.next(), columns.next()) {
            keys.push((left, right));
        }
        AsOfJoinNode::try_new(left, right, [of_left, of_right], keys, self.matching, self.is_outer)
    }

    // Rows are kept: the fewer columns the better.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let left = output_columns.iter().copied().filter(|at| *at < width).collect();
        let right = output_columns.iter().filter_map(|at| at.checked_sub(width)).collect();
        Some(vec![left, right])
    }
}
