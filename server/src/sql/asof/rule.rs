//! Marked joins in an analyzed plan → nodes: what is a key, which comparison says the nearest row, and which how near it has to be.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Diagnostic, ScalarValue, Span, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::{split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Extension, Join, JoinType, LogicalPlan, Operator, Projection,
};
use datafusion::optimizer::AnalyzerRule;
use touchline_udfs::describe::sql_type;

use super::marks::{Mark, mark_of};
use super::node::{AsOfJoinNode, Direction, Matching, Tolerance};
use crate::clock::Micros;
use crate::sql::interval;
use crate::sql::window_tvf::WatermarkColumns;

/// See the module's first line.
#[derive(Debug)]
pub(super) struct AsOfJoins {
    watermarks: Arc<dyn WatermarkColumns>,
}

impl AsOfJoins {
    pub(super) fn new(watermarks: Arc<dyn WatermarkColumns>) -> Self {
        AsOfJoins { watermarks }
    }
}

impl AnalyzerRule for AsOfJoins {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if is_marked(&join) => Ok(Transformed::yes(self.node(join)?)),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "asof_joins"
    }
}

fn is_marked(join: &Join) -> bool {
    join.filter.iter().flat_map(split_conjunction).any(|condition| mark_of(condition).is_some())
}

impl AsOfJoins {
    fn node(&self, join: Join) -> Result<LogicalPlan> {
        let Join { left, right, on, filter, join_type, schema, .. } = join;
        let sides = Sides([left.schema(), right.schema()]);
        let mut conditions = Conditions { keys: on, comparisons: vec![], version: None };
        for condition in filter.into_iter().flat_map(split_conjunction_owned) {
            conditions.add(condition, &sides)?;
        }
        if let Some(time) = conditions.version.take() {
            let version = self.version(&time, &right, &conditions, &sides)?;
            conditions.comparisons.push(version);
        }
        let (matching, times) = conditions.matching()?;
        for (time, schema) in times.iter().zip(sides.0) {
            refuse_no_timestamp(time, schema)?;
        }
        refuse_zones(&times, &sides)?;
        for (left, right) in &conditions.keys {
            refuse_key(left, right, &sides)?;
        }
        // What is compared is a column of its side from here on.
        let mut added = [vec![], vec![]];
        let [of_left, of_right] = times;
        let times = [as_column(0, of_left, &mut added), as_column(1, of_right, &mut added)];
        let keys = conditions.keys.into_iter();
        let keys = keys.map(|(left, right)| (as_column(0, left, &mut added), as_column(1, right, &mut added)));
        let keys = keys.collect();
        let is_as_it_was = added.iter().all(Vec::is_empty);
        let [to_left, to_right] = added;
        let (left, right) = (with_columns(&left, to_left)?, with_columns(&right, to_right)?);
        let node = AsOfJoinNode::try_new(left, right, times, keys, matching, join_type == JoinType::Left)?;
        let node = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        if is_as_it_was {
            return Ok(node);
        }
        let shown = schema.columns().into_iter().map(Expr::Column).collect();
        Ok(LogicalPlan::Projection(Projection::try_new_with_schema(shown, Arc::new(node), schema)?))
    }

    /// `FOR SYSTEM_TIME AS OF time`: the last version that is not later, by the table's key.
    fn version(
        &self,
        time: &Expr,
        table: &LogicalPlan,
        conditions: &Conditions,
        sides: &Sides<'_>,
    ) -> Result<Comparison> {
        let Some(name) = table_of(table) else {
            return Err(refused(
                "FOR SYSTEM_TIME AS OF reads the versions of a table or a materialized view, and this is a query or a plain view",
                "write ASOF JOIN … ON keys AND a.ts >= b.ts, or CREATE MATERIALIZED VIEW … WITH ('primary-key' = '…')",
                &[time],
            ));
        };
        let as_written =
            table.schema().iter().find_map(|(qualifier, _)| qualifier.cloned()).unwrap_or_else(|| name.clone());
        let times_of_view = self.watermarks.times_of_view(&name);
        let Some(column) = self.watermarks.watermark_column(&name) else {
            if let Some(times) = &times_of_view {
                return Err(view_without_time(name.table(), times, time));
            }
            return Err(refused(
                format!("\"{}\" has no WATERMARK, so its rows are no versions", name.table()),
                "join with a static table by equality of keys; of a stream declare WATERMARK FOR its time and PRIMARY KEY (…) NOT ENFORCED",
                &[time],
            ));
        };
        let key = self.watermarks.primary_key(&name);
        if key.is_empty() && times_of_view.is_some() {
            return Err(refused(
                format!(
                    "view \"{}\" has no primary key, so it is not known of what its rows are versions",
                    name.table()
                ),
                "write CREATE MATERIALIZED VIEW … WITH ('primary-key' = '…') with the columns that name one thing, or ASOF JOIN",
                &[time],
            ));
        }
        if key.is_empty() {
            return Err(refused(
                format!("\"{}\" has no PRIMARY KEY, so it is not known of what its rows are versions", name.table()),
                "declare PRIMARY KEY (…) NOT ENFORCED in its CREATE TABLE, or write ASOF JOIN",
                &[time],
            ));
        }
        let of_key = |expr: &Expr| matches!(expr, Expr::Column(column) if key.contains(&column.name));
        let joined = |name: &String| {
            conditions.keys.iter().any(|(_, right)| matches!(right, Expr::Column(column) if column.name == *name))
        };
        if key.contains(&column) && !joined(&column) {
            return Err(refused(
                format!("the primary key ({}) of \"{}\" holds the time of its versions", key.join(", "), name.table()),
                format!("leave {column} out of the key: versions of one thing differ in it; or write ASOF JOIN"),
                &[time],
            ));
        }
        if let Some(missing) = key.iter().find(|name| !joined(name)) {
            return Err(refused(
                format!("the join's keys do not cover the primary key ({}) of \"{}\"", key.join(", "), name.table()),
                format!("add AND {as_written}.{missing} = …"),
                &[time],
            ));
        }
        if let Some((left, right)) = conditions.keys.iter().find(|(_, right)| !of_key(right)) {
            return Err(further(&format!("{left} = {right}"), &[left, right]));
        }
        let (qualifier, field) = table.schema().qualified_field_with_unqualified_name(&column)?;
        let version = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let Some((0, base, by)) = sides.term(time) else {
            return Err(refused(
                format!("FOR SYSTEM_TIME AS OF takes a time of the left side, not {time}"),
                "write FOR SYSTEM_TIME AS OF e.ts",
                &[time],
            ));
        };
        Ok(Comparison { bases: [base, version], op: Operator::LtEq, by, is_match: true, written: vec![time.clone()] })
    }
}

/// A view of which it is not known what orders its versions. `times`: its columns with a watermark.
fn view_without_time(view: &str, times: &[String], time: &Expr) -> DataFusionError {
    match times.last() {
        None => refused(
            format!("view \"{view}\" has no column with a watermark, so its rows are no versions"),
            "select the time of its stream, or a bound of its window, unchanged",
            &[time],
        ),
        Some(last) => refused(
            format!(
                "of view \"{view}\" the columns {} have a watermark, and one of them orders its versions",
                times.join(", ")
            ),
            format!("write CREATE MATERIALIZED VIEW {view} WITH ('time-column' = '{last}', …)"),
            &[time],
        ),
    }
}

/// The table that a side is, under whatever name.
fn table_of(plan: &LogicalPlan) -> Option<TableReference> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => table_of(&alias.input),
        LogicalPlan::TableScan(scan) => Some(scan.table_name.clone()),
        _ => None,
    }
}

/// The columns of both sides.
struct Sides<'a>([&'a DFSchema; 2]);

impl Sides<'_> {
    /// The side that an expression is of.
    fn side_of(&self, expr: &Expr) -> Option<usize> {
        let columns = expr.column_refs();
        let is_of = |schema: &&DFSchema| !columns.is_empty() && columns.iter().all(|column| schema.has_column(column));
        self.0.iter().position(is_of)
    }

    /// A side's time, and as much as it is moved by a constant, microseconds.
    fn term(&self, expr: &Expr) -> Option<(usize, Expr, Micros)> {
        let side = self.side_of(expr)?;
        let (base, by) = moved(expr, self.0[side])?;
        Some((side, base, by))
    }
}

/// An expression without the constants that are added to it, and their sum.
fn moved(expr: &Expr, schema: &DFSchema) -> Option<(Expr, Micros)> {
    match expr {
        Expr::Alias(alias) => moved(&alias.expr, schema),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (inner, by) = match (op, length(left), length(right)) {
                (Operator::Plus, None, Some(by)) => (left, by),
                (Operator::Plus, Some(by), None) => (right, by),
                (Operator::Minus, None, Some(by)) => (left, by.checked_neg()?),
                _ => return Some((expr.clone(), 0)),
            };
            let (base, already) = moved(inner, schema)?;
            Some((base, already.checked_add(by)?))
        }
        // To a finer unit within one zone: the same instant.
        Expr::Cast(Cast { expr: inner, field }) => match (inner.get_type(schema).ok()?, field.data_type()) {
            (DataType::Timestamp(from, a), DataType::Timestamp(to, b)) if a == *b && from <= *to => {
                moved(inner, schema)
            }
            _ => Some((expr.clone(), 0)),
        },
        other => Some((other.clone(), 0)),
    }
}

/// Microseconds of a constant interval or duration.
fn length(expr: &Expr) -> Option<Micros> {
    match expr {
        Expr::Literal(ScalarValue::DurationSecond(Some(of)), _) => of.checked_mul(1_000_000),
        Expr::Literal(ScalarValue::DurationMillisecond(Some(of)), _) => of.checked_mul(1_000),
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(of)), _) => Some(*of),
        Expr::Literal(value, _) => interval::signed_from_scalar(value).ok(),
        _ => None,
    }
}

/// What ON says, sorted.
struct Conditions {
    keys: Vec<(Expr, Expr)>,
    comparisons: Vec<Comparison>,
    /// The time of FOR SYSTEM_TIME AS OF.
    version: Option<Expr>,
}

/// `right op left + by`, of a time of each side.
struct Comparison {
    /// The left one first.
    bases: [Expr; 2],
    op: Operator,
    by: Micros,
    /// It is said to be the one that chooses.
    is_match: bool,
    written: Vec<Expr>,
}

impl Conditions {
    fn add(&mut self, condition: Expr, sides: &Sides<'_>) -> Result<()> {
        if let Some((mark, left, right)) = mark_of(&condition) {
            let (op, is_match) = match mark {
                Mark::Bound(op) => (op, false),
                Mark::Match(op) => (op, true),
                Mark::Version => {
                    self.version = Some(left.clone());
                    return Ok(());
                }
            };
            let Some(found) = compared(left, op, right, sides).or_else(|| difference(left, op, right, sides)) else {
                return Err(further(&format!("{left} {op} {right}"), &[left, right]));
            };
            self.comparisons.push(Comparison { is_match, written: vec![left.clone(), right.clone()], ..found });
            return Ok(());
        }
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = &condition {
            match (sides.side_of(left), sides.side_of(right)) {
                (Some(0), Some(1)) => {
                    self.keys.push((left.as_ref().clone(), right.as_ref().clone()));
                    return Ok(());
                }
                (Some(1), Some(0)) => {
                    self.keys.push((right.as_ref().clone(), left.as_ref().clone()));
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(further(&condition.to_string(), &[&condition]))
    }

    /// Which row is the nearest, and the times that say it.
    fn matching(&self) -> Result<(Matching, [Expr; 2])> {
        let all = || self.comparisons.iter().flat_map(|comparison| &comparison.written).collect::<Vec<_>>();
        let in_months = |one: &&Comparison| !one.is_match && one.written.iter().any(interval::has_months);
        if self.comparisons.len() > 1
            && let Some(found) = self.comparisons.iter().find(in_months)
        {
            return Err(refused(
                "how near a row has to be cannot be said in months: they have no fixed length",
                interval::DAYS_HINT,
                &found.written.iter().collect::<Vec<_>>(),
            ));
        }
        let (chosen, other) = match self.comparisons.as_slice() {
            [only] => (only, None),
            [one, other] if one.is_match != other.is_match => {
                if one.is_match {
                    (one, Some(other))
                } else {
                    (other, Some(one))
                }
            }
            // Times themselves are compared by the one that chooses, a distance by the other.
            [one, other] if (one.by == 0) != (other.by == 0) => {
                if one.by == 0 {
                    (one, Some(other))
                } else {
                    (other, Some(one))
                }
            }
            [_, _] => {
                return Err(refused(
                    "it is not clear which of the comparisons chooses the row, and which says how near it has to be",
                    "write the first as MATCH_CONDITION (a.ts >= b.ts), before ON",
                    &all(),
                ));
            }
            [] => {
                return Err(refused(
                    "an as-of join needs a comparison of times",
                    "write ON a.k = b.k AND a.ts >= b.ts",
                    &self.keys.iter().flat_map(|(left, right)| [left, right]).collect::<Vec<_>>(),
                ));
            }
            [_, _, more, ..] => {
                return Err(refused(
                    "an as-of join has one comparison that chooses the row, and one that says how near it has to be",
                    "leave the others out",
                    &more.written.iter().collect::<Vec<_>>(),
                ));
            }
        };
        let (direction, is_strict) = match chosen.op {
            Operator::LtEq => (Direction::Backward, false),
            Operator::Lt => (Direction::Backward, true),
            Operator::GtEq => (Direction::Forward, false),
            _ => (Direction::Forward, true),
        };
        let tolerance = other.map(|other| chosen.tolerance(other)).transpose()?;
        Ok((Matching { direction, is_strict, offset: chosen.by, tolerance, state_ttl: None }, chosen.bases.clone()))
    }
}

impl Comparison {
    /// How far from the one that chooses a row may be, by the other comparison.
    fn tolerance(&self, other: &Comparison) -> Result<Tolerance> {
        let written: Vec<&Expr> = other.written.iter().collect();
        let is_upper = |op: Operator| matches!(op, Operator::LtEq | Operator::Lt);
        let [left, right] = &self.bases;
        let example = match is_upper(self.op) {
            true => format!("AND {right} >= {left} - INTERVAL '10 seconds'"),
            false => format!("AND {right} <= {left} + INTERVAL '10 seconds'"),
        };
        if self.bases != other.bases {
            return Err(refused(
                "how near a row has to be is said of the times that choose it",
                format!("write {example}"),
                &written,
            ));
        }
        let length = match (is_upper(self.op), is_upper(other.op)) {
            (true, false) => self.by.checked_sub(other.by),
            (false, true) => other.by.checked_sub(self.by),
            _ => {
                return Err(refused(
                    "both comparisons say on which side of the time a row has to be, and none how near",
                    format!("leave one out, or write {example}"),
                    &written,
                ));
            }
        };
        let open = |op: Operator| matches!(op, Operator::Lt | Operator::Gt);
        match length {
            Some(length) if length > 0 || (length == 0 && !open(self.op) && !open(other.op)) => {
                Ok(Tolerance { length, is_strict: open(other.op) })
            }
            _ => Err(refused(
                "no two rows are partners: the comparisons leave no time between them",
                format!("write {example}"),
                &written,
            )),
        }
    }
}

/// `a.ts >= b.ts - INTERVAL …`
fn compared(left: &Expr, op: Operator, right: &Expr, sides: &Sides<'_>) -> Option<Comparison> {
    let ((one, of_one, by_one), (other, of_other, by_other)) = (sides.term(left)?, sides.term(right)?);
    let (bases, op, by) = match (one, other) {
        (0, 1) => ([of_one, of_other], op.swap()?, by_one.checked_sub(by_other)?),
        (1, 0) => ([of_other, of_one], op, by_other.checked_sub(by_one)?),
        _ => return None,
    };
    Some(Comparison { bases, op, by, is_match: false, written: vec![] })
}

/// `a.ts - b.ts <= INTERVAL …`
fn difference(left: &Expr, op: Operator, right: &Expr, sides: &Sides<'_>) -> Option<Comparison> {
    let (between, op, length) = match (length(left), length(right)) {
        (None, Some(length)) => (left, op, length),
        (Some(length), None) => (right, op.swap()?, length),
        _ => return None,
    };
    let Expr::BinaryExpr(BinaryExpr { left: minuend, op: Operator::Minus, right: subtrahend }) = between else {
        return None;
    };
    let ((of, base, by), (less, other, other_by)) = (sides.term(minuend)?, sides.term(subtrahend)?);
    let (bases, op, by) = match (of, less) {
        // b - a op length
        (1, 0) => ([other, base], op, other_by.checked_sub(by)?.checked_add(length)?),
        // a - b op length
        (0, 1) => ([base, other], op.swap()?, by.checked_sub(other_by)?.checked_sub(length)?),
        _ => return None,
    };
    Some(Comparison { bases, op, by, is_match: false, written: vec![] })
}

/// An expression of a side as a column of it: of the side itself, or one that is to be added.
fn as_column(side: usize, expr: Expr, added: &mut [Vec<Expr>; 2]) -> Column {
    if let Expr::Column(column) = expr {
        return column;
    }
    // The names of both sides are in one schema above.
    let name = format!("__{}{}", ["left", "right"][side], added[side].len());
    added[side].push(expr.alias(&name));
    Column::new_unqualified(name)
}

fn with_columns(side: &Arc<LogicalPlan>, added: Vec<Expr>) -> Result<LogicalPlan> {
    if added.is_empty() {
        return Ok(side.as_ref().clone());
    }
    let columns = side.schema().columns().into_iter().map(Expr::Column).chain(added).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::clone(side))?))
}

fn refuse_no_timestamp(time: &Expr, schema: &DFSchema) -> Result<()> {
    match time.get_type(schema)? {
        DataType::Timestamp(..) => Ok(()),
        other => Err(refused(
            format!("an as-of join compares times, and {time} is {}", sql_type(&other)),
            "compare columns of type TIMESTAMP, or cast in a subquery",
            &[time],
        )),
    }
}

/// With a zone a time is an instant, without one it is none.
fn refuse_zones(times: &[Expr; 2], sides: &Sides<'_>) -> Result<()> {
    let zone =
        |at: usize| -> Result<bool> { Ok(matches!(times[at].get_type(sides.0[at])?, DataType::Timestamp(_, Some(_)))) };
    match zone(0)? == zone(1)? {
        true => Ok(()),
        false => Err(refused(
            format!("of {} and {} one is a time with a zone, and the other one without", times[0], times[1]),
            "cast one of them in a subquery",
            &[&times[0], &times[1]],
        )),
    }
}

fn refuse_key(left: &Expr, right: &Expr, sides: &Sides<'_>) -> Result<()> {
    let (one, other) = (left.get_type(sides.0[0])?, right.get_type(sides.0[1])?);
    if one == other && !one.is_nested() {
        return Ok(());
    }
    Err(refused(
        format!("{left} = {right} is no key of an as-of join: {} and {}", sql_type(&one), sql_type(&other)),
        "compare columns of one simple type, or parts of a struct",
        &[left, right],
    ))
}

/// Whatever is neither a key nor a comparison of the times.
fn further(condition: &str, written: &[&Expr]) -> DataFusionError {
    refused(
        format!("an as-of join takes keys and comparisons of times, and not {condition}"),
        "filter a side in a subquery before it is joined, or the result in WHERE",
        written,
    )
}

/// A planning error at the first of the columns that these name.
fn refused(what: impl Into<String>, hint: impl Into<String>, written: &[&Expr]) -> DataFusionError {
    let what = what.into();
    let columns = written.iter().flat_map(|expr| expr.column_refs());
    let spans = columns.filter_map(|column| column.spans.first());
    let span: Option<Span> = spans.min_by_key(|span| (span.start.line, span.start.column));
    let diagnostic = Diagnostic::new_error(what.clone(), span).with_help(hint, None);
    DataFusionError::Plan(what).with_diagnostic(diagnostic)
}
