//! What an expression over an edge's columns is known to be: a time with its watermark, a window, or nothing special.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, Volatility};

use super::edge::{ColumnFacts, Edge, WindowColumn, WindowForm, WindowPart};
use crate::clock::{DAY_MICROS, Micros};
use crate::error::Location;
use crate::sql::window::WindowKind;
use crate::sql::window_functions::WindowCall;
use crate::sql::{bounds_of_window, same_zone};
use crate::watermark::{Monotone, WatermarkExpr};

/// An edge and the schema of the node below it.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) edge: &'a Edge,
    pub(super) schema: &'a DFSchema,
}

impl Columns<'_> {
    pub(super) fn facts(&self, expr: &Expr) -> ColumnFacts {
        match expr {
            Expr::Column(column) => self.of_column(column).cloned().unwrap_or_default(),
            Expr::Alias(alias) => self.facts(&alias.expr),
            Expr::ScalarFunction(call) => self.of_call(call).unwrap_or_default(),
            other => self.of_moved(other).unwrap_or_default(),
        }
    }

    fn of_column(&self, column: &Column) -> Option<&ColumnFacts> {
        self.edge.columns.get(self.schema.maybe_index_of_column(column)?)
    }

    /// Of an expression that never falls when its time column does not.
    fn of_moved(&self, expr: &Expr) -> Option<ColumnFacts> {
        match expr {
            Expr::Cast(Cast { expr: inner, field }) => {
                let ColumnFacts { watermark, moment, .. } = self.facts(inner);
                let from = inner.get_type(self.schema).ok()?;
                let (DataType::Timestamp(from, a), DataType::Timestamp(to, b)) = (&from, field.data_type()) else {
                    return None;
                };
                // Only within one zone is an instant the same number before and after.
                if !same_zone(a.as_ref(), b.as_ref()) {
                    return None;
                }
                let watermark = watermark.map(|watermark| monotone(watermark, Monotone::precision(*to)));
                // A coarser unit cuts off more of one time than of another.
                Some(ColumnFacts { watermark, moment: moment.filter(|_| to >= from), window: None })
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (time, by) = moved(left, *op, right)?;
                let ColumnFacts { watermark, moment, .. } = self.facts(time);
                // Of a length that is finer than the column's unit the rest is cut off.
                let tick = tick_us(&time.get_type(self.schema).ok()?);
                let is_whole = by % tick == 0;
                let watermark = watermark.map(|watermark| match is_whole {
                    true => watermark.shifted(by),
                    false => monotone(watermark.shifted(by), Monotone::Floor { unit: tick, origin: 0 }),
                });
                let moment = moment.filter(|_| is_whole);
                Some(ColumnFacts { watermark, moment: moment.and_then(|moment| moment.later(by)), window: None })
            }
            _ => None,
        }
    }

    fn of_call(&self, call: &ScalarFunction) -> Option<ColumnFacts> {
        if let Some((start, end)) = bounds_of_window(call) {
            let ColumnFacts { window: start, moment, .. } = self.facts(start);
            let (start, end) = (start?, self.facts(end).window?);
            let are_its_bounds =
                (start.part, end.part) == (WindowPart::Start, WindowPart::End) && start.kind == end.kind;
            let window = are_its_bounds.then_some(WindowColumn { part: WindowPart::Struct, ..end });
            return Some(ColumnFacts { moment: moment.filter(|_| window.is_some()), window, watermark: None });
        }
        match call.func.name() {
            "date_trunc" => {
                let [Expr::Literal(unit, _), time] = call.args.as_slice() else { return None };
                let unit = unit.try_as_str()??;
                let watermark = self.facts(time).watermark?;
                // In a zone a day begins at another instant than in UTC.
                let DataType::Timestamp(_, zone) = time.get_type(self.schema).ok()? else { return None };
                if !same_zone(zone.as_ref(), None) {
                    return None;
                }
                let watermark = Some(monotone(watermark, Monotone::truncation(unit)?));
                Some(ColumnFacts { watermark, ..ColumnFacts::default() })
            }
            "get_field" => {
                let [of, Expr::Literal(name, _)] = call.args.as_slice() else { return None };
                let ColumnFacts { window, moment, .. } = self.facts(of);
                let window = window?;
                let part = match (window.part, name.try_as_str()??) {
                    (WindowPart::Struct, "start") => WindowPart::Start,
                    (WindowPart::Struct, "end") => WindowPart::End,
                    _ => return None,
                };
                Some(ColumnFacts {
                    watermark: part_watermark(&window.kind, part, &window.close, 1),
                    // Neither start nor end is a tick away from anything.
                    moment: moment.and_then(|start| start.of_part(&window.kind, part, TimeUnit::Microsecond)),
                    window: Some(WindowColumn { part, ..window }),
                })
            }
            // What gives several windows of a row, or needs other rows, stands in GROUP BY alone.
            _ => {
                let WindowCall { time, kind, .. } = WindowCall::of_function(call).ok()??;
                let close = self.facts(&time).watermark?;
                let window =
                    WindowColumn { kind, part: WindowPart::Struct, form: WindowForm::Row, below: false, close };
                Some(ColumnFacts { window: Some(window), ..ColumnFacts::default() })
            }
        }
    }

    /// The first window column that an expression reads and that has no value on this edge.
    pub(super) fn reads_pane(&self, expr: &Expr) -> bool {
        expr.column_refs().into_iter().any(|column| {
            let facts = self.of_column(column);
            facts.and_then(|facts| facts.window.as_ref()).is_some_and(|window| !window.has_value())
        })
    }
}

/// The watermark of a part of the window, where `close` is the one at which windows are complete; `None` where it has none. `tick_us`: of
/// the column.
pub(super) fn part_watermark(
    kind: &WindowKind,
    part: WindowPart,
    close: &WatermarkExpr,
    tick_us: Micros,
) -> Option<WatermarkExpr> {
    match part {
        WindowPart::Start | WindowPart::Struct => Some(close.clone().behind(kind.longest_us()?)),
        // A session can end at any tick, so its last one is up to a tick before what has closed.
        WindowPart::Time if matches!(kind, WindowKind::Session { .. }) => Some(close.clone().behind(tick_us - 1)),
        WindowPart::End | WindowPart::Time => Some(close.clone()),
    }
}

/// What the watermark of a part of `window` becomes when the window is complete at `close`; `None` where it is not that of the part.
pub(super) fn part_moved(
    window: &WindowColumn,
    watermark: &WatermarkExpr,
    close: &WatermarkExpr,
) -> Option<WatermarkExpr> {
    let part = |close, tick| part_watermark(&window.kind, window.part, close, tick);
    // How long a tick is only matters of a session's last one.
    let tick = [1, 1_000, 1_000_000].into_iter().find(|tick| part(&window.close, *tick).as_ref() == Some(watermark))?;
    part(close, tick)
}

/// Microseconds from one value of a time column to the next, at least 1.
pub(super) fn tick_us(time: &DataType) -> Micros {
    match time {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        _ => 1,
    }
}

/// A column as it is, or only renamed.
pub(super) fn as_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => as_column(&alias.expr),
        _ => None,
    }
}

/// Whether an expression gives another value each time it is evaluated.
pub(super) fn is_volatile(expr: &Expr) -> bool {
    expr.exists(|expr| {
        Ok(matches!(expr, Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Volatile))
    })
    .unwrap_or(true)
}

/// What is moved, and by how much, in `time + INTERVAL …` and its like.
fn moved<'a>(left: &'a Expr, op: Operator, right: &'a Expr) -> Option<(&'a Expr, Micros)> {
    match (op, constant_length(left), constant_length(right)) {
        (Operator::Plus, None, Some(by)) => Some((left, by)),
        (Operator::Plus, Some(by), None) => Some((right, by)),
        (Operator::Minus, None, Some(by)) => Some((left, by.checked_neg()?)),
        _ => None,
    }
}

/// What a column is that was no column where it was written, and was made one below under a name of ours, as `__right0`.
pub(super) fn made_of<'a>(column: &Column, input: &'a LogicalPlan) -> Option<&'a Expr> {
    let LogicalPlan::Projection(projection) = input else { return None };
    projection.expr.iter().find_map(|expr| match expr {
        Expr::Alias(alias) if column.name.starts_with("__") && alias.name == column.name => Some(alias.expr.as_ref()),
        _ => None,
    })
}

/// Where expressions stand that a query has written; `None` where no column of theirs says it. Columns come in no order.
pub(super) fn place_of<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Option<Location> {
    let columns = exprs.into_iter().flat_map(Expr::column_refs);
    let starts = columns.filter_map(|column| column.spans.first().map(|span| span.start));
    let first = starts.min_by_key(|start| (start.line, start.column))?;
    Some(Location { file: String::new(), line: first.line, column: first.column })
}

/// A watermark made of another one, made of what this has become.
pub(super) fn replaced(of: &WatermarkExpr, from: &WatermarkExpr, to: &WatermarkExpr) -> Option<WatermarkExpr> {
    if of == from {
        return Some(to.clone());
    }
    match of {
        WatermarkExpr::Shift(inner, by) => Some(replaced(inner, from, to)?.shifted(*by)),
        WatermarkExpr::Monotone(inner, function) => {
            Some(WatermarkExpr::Monotone(Box::new(replaced(inner, from, to)?), *function))
        }
        _ => None,
    }
}

/// Microseconds of an interval that is the same wherever it is added.
pub(super) fn constant_length(expr: &Expr) -> Option<Micros> {
    let Expr::Literal(value, _) = expr else { return None };
    let (days, us) = match value {
        ScalarValue::IntervalMonthDayNano(Some(parts)) if parts.months == 0 && parts.nanoseconds % 1_000 == 0 => {
            (parts.days, parts.nanoseconds / 1_000)
        }
        ScalarValue::IntervalDayTime(Some(parts)) => (parts.days, i64::from(parts.milliseconds) * 1_000),
        _ => return None,
    };
    i64::from(days).checked_mul(DAY_MICROS)?.checked_add(us)
}

fn monotone(inner: WatermarkExpr, function: Monotone) -> WatermarkExpr {
    match function {
        // Times are kept in microseconds.
        Monotone::Floor { unit: 1, .. } => inner,
        function => WatermarkExpr::Monotone(Box::new(inner), function),
    }
}
