//! Joins of two streams: the bound in time that keeps their state finite, in whatever form it is written.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, NullEquality, ScalarValue, TableReference};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Between, BinaryExpr, Cast, Expr, ExprSchemable, Extension, Join, LogicalPlan, Operator, Projection,
};

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::interval_join::{IntervalJoin, Shape, SideColumns};
use crate::operator::logical::{OperatorNode, ROW};
use crate::plan::OperatorInputs;
use crate::plan::derive::{Derivation, Derived, Obstacle, column_at};
use crate::plan::edge::{Bound, ColumnFacts, Edge, WindowColumn, WindowForm, WindowPart};
use crate::plan::explain::{ExplainNode, ExplainState, written};
use crate::plan::expression::{constant_length, is_volatile, place_of, replaced, tick_us};
use crate::sql::{interval, is_set_operation, same_zone};
use crate::watermark::{InputRef, WatermarkExpr};

/// A join of two streams.
pub(in crate::plan) fn join(derivation: &mut Derivation<'_>, join: Join) -> Result<Derived, Obstacle> {
    if !IntervalJoin::can_be(join.join_type) {
        return Err(Error::invalid("whether a stream has a row can choose rows of another one, and is no value")
            .hint("write it as WHERE [NOT] EXISTS (…) by itself, beside the other conditions")
            .into());
    }
    if join.null_aware {
        return Err(Error::invalid("NOT IN of another stream is not available")
            .hint("write it as NOT EXISTS, with the bound in time in its WHERE")
            .into());
    }
    let number = next_number(derivation);
    // A pane has no value that could be compared.
    let left = derivation.node(join.left.as_ref().clone(), WindowForm::Row)?;
    let right = derivation.node(join.right.as_ref().clone(), WindowForm::Row)?;
    Ok(of_sides(derivation, number, join, [left, right])?)
}

/// Joins are numbered as the query reads, before what they join.
pub(in crate::plan) fn next_number(derivation: &mut Derivation<'_>) -> usize {
    derivation.counted.joins += 1;
    derivation.counted.joins - 1
}

/// The join of two streams that have been derived.
pub(in crate::plan) fn of_sides(
    derivation: &mut Derivation<'_>,
    number: usize,
    join: Join,
    sides: [Derived; 2],
) -> Result<Derived> {
    let of_windows = is_set_operation(&join);
    let Join { on, filter, join_type, null_equality, schema, .. } = join;
    let conditions = Conditions::of(on, filter, null_equality, of_windows, &sides)?;
    let interval = conditions.interval(&sides)?;
    let columns = both(&sides)?;
    let read = [0, 1].map(|side| read(side, &sides[side], &conditions, &interval));
    let [left, right] = read;
    let ((left, of_left), (right, of_right)) = (left?, right?);

    let id = format!("join-{number}");
    let at = derivation.counted.operators.len();
    let watermarks = vec![interval.watermarks[0].clone(), interval.watermarks[1].clone()];
    derivation.counted.operators.push(OperatorInputs { id: id.clone(), watermarks });
    let allowed_lateness = derivation.settings.allowed_lateness_us;
    let facts = [0, 1].map(|side| facts(side, &sides, &interval, at, allowed_lateness));
    let facts = match join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => facts[0].clone(),
        JoinType::RightSemi | JoinType::RightAnti => facts[1].clone(),
        _ => facts.concat(),
    };
    let edge = Edge { columns: facts, ..Edge::default() };
    let keys = conditions.keys.len();
    let explain = explained(&id, join_type, (&interval, keys), allowed_lateness, &edge, &schema, &sides);
    let shape = Shape {
        join_type,
        from: interval.from,
        to: interval.to,
        sides: [of_left, of_right],
        nulls_match: conditions.nulls_match,
        allowed_lateness,
    };
    let condition = conjunction(conditions.others(&interval));
    let node = OperatorNode {
        id,
        inputs: vec![left, right],
        exprs: condition.into_iter().collect(),
        schema,
        definition: Arc::new(IntervalJoin::new(shape, columns)),
    };
    Ok(Derived { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), edge, explain })
}

/// What ON says, sorted.
struct Conditions {
    /// Expressions over the left and the right side that have to be equal, which a hash can find.
    keys: Vec<(Expr, Expr)>,
    nulls_match: bool,
    /// All columns are compared, of rows that are in windows: the bounds of these are not NULL, though other columns may be.
    of_windows: bool,
    comparisons: Vec<Comparison>,
    others: Vec<Expr>,
}

/// A condition on the times of both sides: the right one less the left one is at least `from` and at most `to`, where there are such.
struct Comparison {
    columns: [Column; 2],
    from: Option<Micros>,
    to: Option<Micros>,
    /// As it was written; `None` where it is a key, too.
    condition: Option<Expr>,
    /// As much as the bounds are wider than the condition, microseconds: where there is any, the condition itself decides.
    slack: Micros,
}

impl Comparison {
    /// Its bounds on other columns, one of each side, where these are a fixed length apart from its own: `window_end` bounds what
    /// `window_start` does.
    fn as_of(&self, columns: &[Column; 2], sides: &[Derived; 2]) -> Option<(Option<Micros>, Option<Micros>)> {
        let [left, right] = [0, 1].map(|side| apart(&sides[side], &self.columns[side], &columns[side]));
        let by = right?.checked_sub(left?)?;
        let moved = |bound: Option<Micros>| bound.and_then(|bound| bound.checked_add(by));
        Some((moved(self.from), moved(self.to)))
    }
}

/// How much later the second column is than the first, in every row of the side; `None` where that is not known.
fn apart(side: &Derived, one: &Column, other: &Column) -> Option<Micros> {
    if one == other {
        return Some(0);
    }
    let [one, other] = [one, other].map(|column| side.columns().facts(&Expr::Column(column.clone())).moment);
    let (one, other) = (one?, other?);
    if one.of == other.of { other.by.checked_sub(one.by) } else { None }
}

/// The bound that a join keeps its rows by.
struct Interval {
    columns: [Column; 2],
    from: Micros,
    to: Micros,
    watermarks: [WatermarkExpr; 2],
    /// The bound of a window, and which: rows at the watermark itself have all come.
    windows: [Option<WindowColumn>; 2],
}

/// A time of one side, moved by a constant.
struct Term {
    side: usize,
    column: Column,
    by: Micros,
    /// As much as it can differ from the column, microseconds.
    slack: Micros,
}

impl Conditions {
    fn of(
        on: Vec<(Expr, Expr)>,
        filter: Option<Expr>,
        null_equality: NullEquality,
        of_windows: bool,
        sides: &[Derived; 2],
    ) -> Result<Self> {
        let nulls_match = null_equality == NullEquality::NullEqualsNull;
        let mut conditions = Conditions { keys: vec![], nulls_match, of_windows, comparisons: vec![], others: vec![] };
        for (left, right) in on {
            conditions.add_equality(left, right, sides)?;
        }
        let filter = filter.map(split_conjunction_owned).unwrap_or_default();
        for condition in filter.into_iter().flat_map(without_between) {
            refuse_volatile(&condition)?;
            if !nulls_match && let Some((left, right)) = equality(&condition, sides) {
                conditions.add_equality(left, right, sides)?;
                continue;
            }
            match comparison(&condition, sides) {
                Some(found) => conditions.comparisons.push(found),
                None => conditions.others.push(condition),
            }
        }
        Ok(conditions)
    }

    /// Two expressions, one of each side.
    fn add_equality(&mut self, left: Expr, right: Expr, sides: &[Derived; 2]) -> Result<()> {
        let with = |op| Expr::BinaryExpr(BinaryExpr::new(Box::new(left.clone()), op, Box::new(right.clone())));
        let equal = with(if self.nulls_match { Operator::IsNotDistinctFrom } else { Operator::Eq });
        refuse_volatile(&equal)?;
        let bound = if self.of_windows { with(Operator::Eq) } else { equal.clone() };
        let found = comparison(&bound, sides).map(|found| Comparison { condition: None, ..found });
        self.comparisons.extend(found);
        let types = (left.get_type(sides[0].plan.schema())?, right.get_type(sides[1].plan.schema())?);
        // What cannot be hashed is compared.
        match types.0 == types.1 && !types.0.is_nested() {
            true => self.keys.push((left, right)),
            false => self.others.push(equal),
        }
        Ok(())
    }

    /// The bound: of the pairs of columns that have one on both sides the one that waits least, bounds of windows first.
    fn interval(&self, sides: &[Derived; 2]) -> Result<Interval> {
        let mut found: Option<(Interval, (bool, Micros))> = None;
        for Comparison { columns, .. } in &self.comparisons {
            let alike = || self.comparisons.iter().filter_map(|other| other.as_of(columns, sides));
            let from = alike().filter_map(|(from, _)| from).max();
            let to = alike().filter_map(|(_, to)| to).min();
            let (Some(from), Some(to)) = (from, to) else { continue };
            let of = [0, 1].map(|side| sides[side].columns().facts(&Expr::Column(columns[side].clone())));
            let windows = of.clone().map(|facts| facts.window.filter(|window| is_bound(window.part)));
            let [Some(left), Some(right)] = of.map(|facts| facts.watermark) else { continue };
            let is_end =
                windows.iter().all(|window| window.as_ref().is_some_and(|window| window.part == WindowPart::End));
            let rank = (!is_end, to.saturating_sub(from));
            if found.as_ref().is_none_or(|(_, before)| rank < *before) {
                let interval = Interval { columns: columns.clone(), from, to, watermarks: [left, right], windows };
                found = Some((interval, rank));
            }
        }
        match found {
            Some((interval, _)) if interval.from <= interval.to => Ok(interval),
            Some((interval, _)) => Err(self.at(Error::invalid(format!(
                "no two rows are partners: {} would have to be {} to {} later than {}",
                named(&interval.columns[1]),
                interval::shown(interval.from),
                interval::shown(interval.to),
                named(&interval.columns[0])
            ))
            .hint("the lower bound has to come first: BETWEEN a.ts AND a.ts + INTERVAL '1 minute'"))),
            None => Err(self.bound_lacking(sides)),
        }
    }

    /// What the join has to be asked of pairs beside its keys and its interval.
    fn others(&self, interval: &Interval) -> Vec<Expr> {
        let left =
            self.comparisons.iter().filter(|comparison| comparison.columns != interval.columns || comparison.slack > 0);
        self.others.iter().cloned().chain(left.filter_map(|comparison| comparison.condition.clone())).collect()
    }

    /// Which bound a join lacks.
    fn bound_lacking(&self, sides: &[Derived; 2]) -> Error {
        let times = [0, 1].map(|side| times(&sides[side]));
        let rows = |side: usize| match sides[side].plan.schema().iter().next() {
            Some((Some(qualifier), _)) if is_of_subquery(qualifier) => "the subquery".to_owned(),
            Some((Some(qualifier), _)) => format!("\"{qualifier}\""),
            _ => ["the left side", "the right side"][side].to_owned(),
        };
        if let Some(side) = [0, 1].into_iter().find(|side| times[*side].is_empty()) {
            return self.at(Error::invalid(format!(
                "{} has no time with a watermark, so the rows of {} would be kept for ever",
                rows(side),
                rows(1 - side)
            ))
            .hint("declare WATERMARK FOR its time in the CREATE TABLE, and pass the column on unchanged"));
        }
        if let Some(condition) = self.others.iter().find(|condition| interval::has_months(condition)) {
            let error = Error::invalid(
                "a join of two streams cannot be bounded by months: they have no fixed length, so it is not known how long a row is needed",
            );
            let error = error.hint(interval::DAYS_HINT);
            return match place_of([condition]) {
                Some(place) => error.at(place),
                None => self.at(error),
            };
        }
        let Some(one) = self.comparisons.first() else {
            let (a, b) = (named(&times[0][0]), named(&times[1][0]));
            return self.at(Error::invalid(
                "a join of two streams needs a bound in time, or every row would be kept for ever",
            )
            .hint(format!("AND {b} BETWEEN {a} - INTERVAL '1 minute' AND {a} + INTERVAL '1 minute'")));
        };
        let [a, b] = one.columns.clone().map(|column| named(&column));
        // What is kept is the side whose partners can come however late.
        let (kept, lacks) = match one.to {
            None => (rows(0), format!("{b} <= {a} + INTERVAL '1 minute'")),
            Some(_) => (rows(1), format!("{b} >= {a} - INTERVAL '1 minute'")),
        };
        self.at(Error::invalid(format!(
            "the join's bound in time has one side only, so the rows of {kept} would be kept for ever"
        ))
        .hint(format!("AND {lacks}")))
    }

    /// The place of the first condition that knows its own.
    fn at(&self, error: Error) -> Error {
        let of_times =
            self.comparisons.iter().filter_map(|comparison| comparison.condition.as_ref()).map(|one| vec![one]);
        let of_keys = self.keys.iter().map(|(left, right)| vec![left, right]);
        let mut conditions = of_times.chain(of_keys).chain(self.others.iter().map(|one| vec![one]));
        match conditions.find_map(place_of) {
            Some(place) => error.at(place),
            None => error,
        }
    }
}

/// As it can be written: a subquery's columns have a name of DataFusion's once it is a join.
fn named(column: &Column) -> String {
    match &column.relation {
        Some(qualifier) if is_of_subquery(qualifier) => column.name.clone(),
        _ => column.to_string(),
    }
}

fn is_of_subquery(qualifier: &TableReference) -> bool {
    qualifier.table().starts_with("__correlated")
}

fn is_bound(part: WindowPart) -> bool {
    matches!(part, WindowPart::Start | WindowPart::End)
}

/// The columns with a watermark.
fn times(side: &Derived) -> Vec<Column> {
    let columns = side.edge.shown().filter(|at| {
        let watermark = side.edge.columns[*at].watermark.as_ref();
        watermark.is_some_and(|watermark| *watermark != WatermarkExpr::Constant)
    });
    columns.map(|at| column_at(side.plan.schema(), at)).collect()
}

/// The sides of an equality between an expression over the left input and one over the right one.
fn equality(condition: &Expr, sides: &[Derived; 2]) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let is_of = |expr: &Expr, side: usize| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| sides[side].plan.schema().has_column(column))
    };
    let pair = |left: &Expr, right: &Expr| (is_of(left, 0) && is_of(right, 1)).then(|| (left.clone(), right.clone()));
    pair(left, right).or_else(|| pair(right, left))
}

fn refuse_volatile(condition: &Expr) -> Result<()> {
    match is_volatile(condition) {
        false => Ok(()),
        true => Err(Error::invalid(format!("\"{condition}\" gives another value each time it is asked"))
            .hint("compute it above the join")),
    }
}

/// Its bounds may be of different columns, and each is then a condition of its own.
fn without_between(condition: Expr) -> Vec<Expr> {
    match condition {
        Expr::Between(Between { expr, negated: false, low, high }) => vec![
            Expr::BinaryExpr(BinaryExpr::new(expr.clone(), Operator::GtEq, low)),
            Expr::BinaryExpr(BinaryExpr::new(expr, Operator::LtEq, high)),
        ],
        other => vec![other],
    }
}

/// What a condition says of the times of both sides; `None` where it is about something else.
fn comparison(condition: &Expr, sides: &[Derived; 2]) -> Option<Comparison> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let found = compared(left, *op, right, sides).or_else(|| difference(left, *op, right, sides))?;
    Some(Comparison { condition: Some(condition.clone()), ..found })
}

/// `a.ts <= b.ts + INTERVAL …`
fn compared(left: &Expr, op: Operator, right: &Expr, sides: &[Derived; 2]) -> Option<Comparison> {
    let (left, right) = (term(left, sides)?, term(right, sides)?);
    let (a, b, op) = match (left.side, right.side) {
        (0, 1) => (left, right, op),
        (1, 0) => (right, left, op.swap()?),
        _ => return None,
    };
    // a + by <= b + by: what b is later than a.
    bounded(op.swap()?, a.by.checked_sub(b.by)?, [a, b])
}

/// `b.ts - a.ts <= INTERVAL …`
fn difference(left: &Expr, op: Operator, right: &Expr, sides: &[Derived; 2]) -> Option<Comparison> {
    let (left, op, right) = match length(right) {
        Some(_) => (left, op, right),
        None => (right, op.swap()?, left),
    };
    let length = length(right)?;
    let Expr::BinaryExpr(BinaryExpr { left: minuend, op: Operator::Minus, right: subtrahend }) = uncast(left) else {
        return None;
    };
    let (of, less) = (term(minuend, sides)?, term(subtrahend, sides)?);
    match (of.side, less.side) {
        (1, 0) => bounded(op, length.checked_sub(of.by)?.checked_add(less.by)?, [less, of]),
        (0, 1) => bounded(op.swap()?, less.by.checked_sub(of.by)?.checked_sub(length)?, [of, less]),
        _ => None,
    }
}

/// `b - a op by`
fn bounded(op: Operator, by: Micros, [a, b]: [Term; 2]) -> Option<Comparison> {
    let slack = a.slack.checked_add(b.slack)?;
    // Half open is closed a tick before, where microseconds say it.
    let tick = Micros::from(slack == 0);
    let (least, most) = (by.checked_sub(slack)?, by.checked_add(slack)?);
    let (from, to) = match op {
        Operator::Eq => (Some(least), Some(most)),
        Operator::GtEq => (Some(least), None),
        Operator::Gt => (Some(least.checked_add(tick)?), None),
        Operator::LtEq => (None, Some(most)),
        Operator::Lt => (None, Some(most.checked_sub(tick)?)),
        _ => return None,
    };
    Some(Comparison { columns: [a.column, b.column], from, to, condition: None, slack })
}

fn term(expr: &Expr, sides: &[Derived; 2]) -> Option<Term> {
    match expr {
        Expr::Column(column) => {
            let side = sides.iter().position(|side| side.plan.schema().has_column(column))?;
            let of = &sides[side];
            let watermark = of.columns().facts(expr).watermark?;
            let DataType::Timestamp(unit, _) = expr.get_type(of.plan.schema()).ok()? else { return None };
            (watermark != WatermarkExpr::Constant).then(|| Term {
                side,
                column: column.clone(),
                by: 0,
                slack: Micros::from(unit == TimeUnit::Nanosecond),
            })
        }
        Expr::Alias(alias) => term(&alias.expr, sides),
        // Within one zone an instant is the same in another unit, but for what a coarser one cuts off.
        Expr::Cast(Cast { expr: inner, field }) => {
            let of = term(inner, sides)?;
            let from = inner.get_type(sides[of.side].plan.schema()).ok()?;
            let (DataType::Timestamp(from, a), DataType::Timestamp(to, b)) = (from, field.data_type()) else {
                return None;
            };
            let cut = match to {
                to if *to >= from => 0,
                TimeUnit::Second => 1_000_000,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond | TimeUnit::Nanosecond => 1,
            };
            same_zone(a.as_ref(), b.as_ref()).then(|| Term { slack: of.slack + cut, ..of })
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (time, by) = match (op, constant_length(left), constant_length(right)) {
                (Operator::Plus, None, Some(by)) => (left, by),
                (Operator::Plus, Some(by), None) => (right, by),
                (Operator::Minus, None, Some(by)) => (left, by.checked_neg()?),
                _ => return None,
            };
            let of = term(time, sides)?;
            // Of a length that is finer than the time's unit the rest is cut off.
            let tick = tick_us(&time.get_type(sides[of.side].plan.schema()).ok()?);
            let cut = if by % tick == 0 { 0 } else { tick };
            Some(Term { by: of.by.checked_add(by)?, slack: of.slack.checked_add(cut)?, ..of })
        }
        _ => None,
    }
}

/// A constant that times can differ by.
fn length(expr: &Expr) -> Option<Micros> {
    match uncast(expr) {
        Expr::Literal(ScalarValue::DurationSecond(Some(of)), _) => of.checked_mul(1_000_000),
        Expr::Literal(ScalarValue::DurationMillisecond(Some(of)), _) => of.checked_mul(1_000),
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(of)), _) => Some(*of),
        Expr::Literal(ScalarValue::DurationNanosecond(Some(of)), _) if of % 1_000 == 0 => Some(of / 1_000),
        other => constant_length(other),
    }
}

/// Without a change between the types that a difference of times can have.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(Cast { expr, field })
            if matches!(field.data_type(), DataType::Interval(_) | DataType::Duration(_)) =>
        {
            expr
        }
        other => other,
    }
}

/// The columns of both sides that a query can name.
fn both(sides: &[Derived; 2]) -> Result<DFSchemaRef> {
    let fields = sides.iter().flat_map(|side| {
        side.edge.shown().map(|at| {
            let (qualifier, field) = side.plan.schema().qualified_field(at);
            (qualifier.cloned(), Arc::clone(field))
        })
    });
    Ok(Arc::new(DFSchema::new_with_metadata(fields.collect(), Default::default())?))
}

/// A side as the operator reads it, and where its columns are.
fn read(side: usize, of: &Derived, conditions: &Conditions, interval: &Interval) -> Result<(LogicalPlan, SideColumns)> {
    let schema = of.plan.schema();
    let shown: Vec<usize> = of.edge.shown().collect();
    let mut exprs: Vec<Expr> = shown.iter().map(|at| Expr::Column(column_at(schema, *at))).collect();
    let place_of = |column: &Column| {
        let at = schema.maybe_index_of_column(column);
        shown.iter().position(|shown| Some(*shown) == at)
    };
    let time =
        place_of(&interval.columns[side]).ok_or_else(|| Error::bug("the time of a join is no column of its input"))?;
    let mut keys = Vec::new();
    for (left, right) in &conditions.keys {
        let key = if side == 0 { left } else { right };
        let place = match key {
            Expr::Column(column) => place_of(column),
            _ => None,
        };
        keys.push(place.unwrap_or_else(|| {
            exprs.push(key.clone().alias(format!("__key{}", exprs.len())));
            exprs.len() - 1
        }));
    }
    if let Some(at) = of.edge.row_id {
        exprs.push(Expr::Column(column_at(schema, at)).alias(ROW));
    }
    let window = interval.windows[side].as_ref();
    let ahead = window.map_or(0, WindowColumn::ahead_us);
    let columns = SideColumns { shown: shown.len(), time, keys, is_inclusive: window.is_some(), ahead };
    Ok((LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(of.plan.clone()))?), columns))
}

/// What is known of a side's columns above the join: a row comes out as long as its partners can come.
fn facts(
    side: usize,
    sides: &[Derived; 2],
    interval: &Interval,
    operator: usize,
    allowed_lateness: Micros,
) -> Vec<ColumnFacts> {
    let mark = |input| WatermarkExpr::Input(InputRef { operator, input }).behind(allowed_lateness);
    let reach = if side == 0 { interval.to } else { -interval.from };
    let held = WatermarkExpr::Slowest(vec![mark(side), mark(1 - side).shifted(-reach)]);
    let of = &sides[side];
    let columns = of.edge.shown().map(|at| {
        let ColumnFacts { watermark, window, moment } = &of.edge.columns[at];
        ColumnFacts {
            moment: moment.clone(),
            watermark: watermark.as_ref().and_then(|of| replaced(of, &interval.watermarks[side], &held)),
            window: window.as_ref().and_then(|window| window_above(window, interval, mark)),
        }
    });
    columns.collect()
}

/// Windows that are joined with themselves are complete when both sides' are.
fn window_above(
    window: &WindowColumn,
    interval: &Interval,
    mark: impl Fn(usize) -> WatermarkExpr,
) -> Option<WindowColumn> {
    let [Some(left), Some(right)] = &interval.windows else { return None };
    let same = |other: &WindowColumn| (other.kind, other.form) == (window.kind, window.form);
    if !(same(left) && same(right) && left.part == right.part && (interval.from, interval.to) == (0, 0)) {
        return None;
    }
    let ends = |input| match left.part {
        WindowPart::End => Some(mark(input)),
        _ => Some(mark(input).shifted(window.kind.fixed_us()?)),
    };
    let close = WatermarkExpr::Slowest(vec![ends(0)?, ends(1)?]);
    Some(WindowColumn { below: true, close, ..window.clone() })
}

fn explained(
    id: &str,
    join_type: JoinType,
    (interval, keys): (&Interval, usize),
    allowed_lateness: Micros,
    edge: &Edge,
    schema: &DFSchema,
    sides: &[Derived; 2],
) -> ExplainNode {
    let [a, b] = interval.columns.clone().map(|column| written(&Expr::Column(column)));
    let moved = |by: Micros| match by {
        0 => a.clone(),
        by if by < 0 => format!("{a} - {}", interval::shown(-by)),
        by => format!("{a} + {}", interval::shown(by)),
    };
    let by = if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") };
    let what = match (interval.from, interval.to) {
        (from, to) if from == to => format!("interval join, {join_type}, by {by}, {b} = {}", moved(from)),
        (from, to) => format!("interval join, {join_type}, by {by}, {b} between {} and {}", moved(from), moved(to)),
    };
    let mut node = ExplainNode::new(what, edge, schema, sides.iter().map(|side| side.explain.clone()).collect());
    node.state = Some(ExplainState {
        operator: id.to_owned(),
        per: "row of both sides".to_owned(),
        bound: Bound::Interval {
            after_left: interval.to.saturating_add(allowed_lateness),
            after_right: allowed_lateness.saturating_sub(interval.from),
        },
        emits: match join_type {
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => "a row as soon as it has found a partner",
            JoinType::LeftAnti | JoinType::RightAnti => "a row when no partner can come any more",
            _ => "a pair as soon as both have come, and a row alone when no partner can come any more",
        },
        rows_factor: None,
    });
    node
}
