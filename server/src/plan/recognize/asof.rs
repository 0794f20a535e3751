//! As-of joins of two streams: whether it is ever certain which row is the nearest, and what bounds the rows that are kept for that.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore};

use crate::error::{Error, Location, Result};
use crate::operator::asof::{AsOfJoin, Shape};
use crate::operator::interval_join::SideColumns;
use crate::operator::logical::{OperatorNode, ROW};
use crate::plan::derive::{Derivation, Derived, Obstacle, column_at};
use crate::plan::edge::{Bound, ColumnFacts, Edge, WindowColumn, WindowForm, WindowPart};
use crate::plan::explain::{ExplainNode, ExplainState, written};
use crate::plan::expression::{made_of, replaced};
use crate::plan::{OperatorInputs, reads_stream};
use crate::sql::{AsOfJoinNode, Direction, Tolerance, interval};
use crate::watermark::{InputRef, WatermarkExpr};

/// An as-of join of which at least one side is a stream.
pub(in crate::plan) fn join(derivation: &mut Derivation<'_>, node: &AsOfJoinNode) -> Result<Derived, Obstacle> {
    let (number, schema) = (derivation.counted.asof_joins, Arc::clone(node.schema()));
    derivation.counted.asof_joins += 1;
    let sides = [&node.left, &node.right];
    let shown = [0, 1].map(|side| shown(&node.times[side], sides[side]));
    if let Some(side) = [0, 1].into_iter().find(|side| !reads_stream(sides[*side], derivation.streams)) {
        return Err(at(static_side(side, &shown[side]), node).into());
    }
    let has_months = [0, 1].map(|side| made_of(&node.times[side], sides[side]).is_some_and(interval::has_months));
    // A pane has no value that could be compared.
    let sides = sides.map(|side| derivation.node(side.clone(), WindowForm::Row));
    let [left, right] = sides;
    let sides = [left?, right?];
    let matching = node.matching;
    let mut watermarks = Vec::new();
    for side in [0, 1] {
        let facts = sides[side].columns().facts(&Expr::Column(node.times[side].clone()));
        let watermark = facts.watermark.filter(|watermark| *watermark != WatermarkExpr::Constant);
        watermarks.push(watermark.ok_or_else(|| at(without_watermark(side, &shown, has_months[side]), node))?);
    }
    if matching.direction == Direction::Forward && matching.tolerance.is_none() {
        let [a, b] = &shown;
        let error = Error::invalid(format!(
            "a row of the left would wait for ever where no row of the right comes behind it: {b} has no bound"
        ));
        return Err(at(error.hint(format!("AND {b} <= {a} + INTERVAL '1 minute'")), node).into());
    }
    let read = [0, 1].map(|side| read(side, &sides[side], node));
    let [left, right] = read;
    let ((left, of_left), (right, of_right)) = (left?, right?);

    let id = format!("asof-{number}");
    let operator = derivation.counted.operators.len();
    derivation.counted.operators.push(OperatorInputs { id: id.clone(), watermarks: watermarks.clone() });
    let allowed_lateness = derivation.settings.allowed_lateness_us;
    let mark = |input| WatermarkExpr::Input(InputRef { operator, input }).behind(allowed_lateness);
    // As much later than a row of the left the right has to be known.
    let within = matching.tolerance.map_or(0, |tolerance| tolerance.length);
    let reach = match matching.direction {
        Direction::Backward => matching.offset,
        Direction::Forward => matching.offset.saturating_add(within),
    };
    // Of bounds of windows those at the watermark are taken to have come: where rows at it can still come from the right, they wait.
    let at_mark = i64::from(of_left.is_inclusive && !of_right.is_inclusive);
    let of_right_mark = mark(1).shifted(reach.saturating_neg()).behind(at_mark);
    let held = WatermarkExpr::Slowest(vec![mark(0), of_right_mark]);
    let of_left_columns = facts(&sides[0], &watermarks[0], &held);
    let of_right_columns = sides[1].edge.shown().map(|_| ColumnFacts::default());
    let edge = Edge { columns: of_left_columns.into_iter().chain(of_right_columns).collect(), ..Edge::default() };

    let [a, b] = &shown;
    let kind = if node.is_outer { "Left" } else { "Inner" };
    let by = if node.keys.len() == 1 { "1 key".to_owned() } else { format!("{} keys", node.keys.len()) };
    let what = format!("as-of join, {kind}, by {by}, {}", matching.described(a, b));
    let mut explain = ExplainNode::new(what, &edge, &schema, sides.iter().map(|side| side.explain.clone()).collect());
    explain.state = Some(ExplainState {
        operator: id.clone(),
        per: "row of the left that waits, and each of the right that can still be the nearest".to_owned(),
        bound: Bound::Nearest {
            after_left: reach.saturating_add(allowed_lateness),
            after_right: match (matching.direction, matching.reach()) {
                (Direction::Forward, _) => Some(allowed_lateness.saturating_sub(matching.offset)),
                (Direction::Backward, Some(Tolerance { length, .. })) => {
                    Some(length.saturating_sub(matching.offset).saturating_add(allowed_lateness))
                }
                (Direction::Backward, None) => None,
            },
        },
        emits: "a row of the left when the nearest of the right is certain",
        rows_factor: None,
    });
    let time_of = |side: usize| Expr::Column(node.times[side].clone()).get_type(sides[side].plan.schema());
    let scale = Shape::scale_of([&time_of(0)?, &time_of(1)?]);
    let shape = Shape { matching, is_outer: node.is_outer, sides: [of_left, of_right], scale, allowed_lateness };
    let definition = Arc::new(AsOfJoin::new(shape));
    let node = OperatorNode { id, inputs: vec![left, right], exprs: vec![], schema, definition };
    Ok(Derived { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), edge, explain })
}

/// A side as the operator reads it, and where its columns are.
fn read(side: usize, of: &Derived, node: &AsOfJoinNode) -> Result<(LogicalPlan, SideColumns)> {
    let schema = of.plan.schema();
    let shown: Vec<usize> = of.edge.shown().collect();
    let mut exprs: Vec<Expr> = shown.iter().map(|at| Expr::Column(column_at(schema, *at))).collect();
    let place_of = |column: &Column| {
        let at = schema.maybe_index_of_column(column);
        let place = shown.iter().position(|shown| Some(*shown) == at);
        place.ok_or_else(|| Error::bug(format!("an as-of join compares {column}, which is no column of its input")))
    };
    let time = place_of(&node.times[side])?;
    let keys = node.keys.iter().map(|(left, right)| place_of(if side == 0 { left } else { right }));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    if let Some(at) = of.edge.row_id {
        exprs.push(Expr::Column(column_at(schema, at)).alias(ROW));
    }
    let window = of.columns().facts(&Expr::Column(node.times[side].clone())).window;
    let ahead = window.as_ref().map_or(0, WindowColumn::ahead_us);
    let is_inclusive = window.is_some_and(|window| matches!(window.part, WindowPart::Start | WindowPart::End));
    let columns = SideColumns { shown: shown.len(), time, keys, is_inclusive, ahead };
    Ok((LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(of.plan.clone()))?), columns))
}

/// What is known of the left's columns above the join. Its rows wait: whatever follows from their time follows from when they come out.
fn facts(left: &Derived, from: &WatermarkExpr, held: &WatermarkExpr) -> Vec<ColumnFacts> {
    let facts = |at: usize| left.edge.columns[at].with_watermarks(|watermark| replaced(watermark, from, held));
    left.edge.shown().map(facts).collect()
}

/// A time as it was written.
fn shown(time: &Column, side: &LogicalPlan) -> String {
    made_of(time, side).map_or_else(|| time.to_string(), written)
}

fn static_side(side: usize, time: &str) -> Error {
    let error = match side {
        0 => {
            Error::invalid(format!("{time} is of static rows: what is joined as of its time with a stream is a stream"))
        }
        _ => Error::invalid(format!("{time} is of static rows: a stream is joined as of its time with another stream")),
    };
    error.hint("declare WATERMARK FOR the time in the CREATE TABLE: files with one are a stream, which ends with them")
}

/// `has_months`: it is computed with them.
fn without_watermark(side: usize, times: &[String; 2], has_months: bool) -> Error {
    let [a, b] = times;
    if has_months {
        return Error::invalid(format!(
            "{} is a time moved by months: they have no fixed length, so nothing is known of how far it has got",
            times[side]
        ))
        .hint(interval::DAYS_HINT);
    }
    let error = match side {
        0 => Error::invalid(format!("{a} has no watermark, so the rows of the right would be kept for ever")),
        _ => Error::invalid(format!("{b} has no watermark, so it is never certain which row is the nearest to {a}")),
    };
    error.hint("declare WATERMARK FOR its time in the CREATE TABLE, and pass the column on unchanged")
}

/// The place of the first of the times that knows its own.
fn at(error: Error, node: &AsOfJoinNode) -> Error {
    let columns = node.times.iter().chain(node.keys.iter().flat_map(|(left, right)| [left, right]));
    let spans = columns.filter_map(|column| column.spans.first());
    match spans.min_by_key(|span| (span.start.line, span.start.column)) {
        Some(span) => error.at(Location { file: String::new(), line: span.start.line, column: span.start.column }),
        None => error,
    }
}
