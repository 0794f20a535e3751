//! What cannot run epoch by epoch, and what to write instead.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, Volatility};

use super::edge::Edge;
use super::explain::written;
use super::expression::{is_volatile, place_of};
use super::{Streams, reads_stream};
use crate::error::{Error, Result};

/// `now()` and its like: the optimizer writes the time of planning in their place, and this plan runs for months.
pub(super) fn time_of_planning(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| match expr {
                Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Stable => {
                    found = Some(call.func.name().to_owned());
                    Ok(TreeNodeRecursion::Stop)
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })
        })
    })?;
    match found {
        None => Ok(()),
        Some(name) => Err(Error::invalid(format!(
            "{name}() is not available over a stream: it would stand still at the time the query was started"
        ))
        .hint("use the row's event time, or the record's time as a metadata column: at TIMESTAMP(3) METADATA FROM 'timestamp'")),
    }
}

/// A subquery in an expression may read static tables only.
pub(super) fn streams_in_subqueries(plan: &LogicalPlan, streams: &dyn Streams) -> Result<()> {
    let mut streaming = false;
    plan.apply_subqueries(|subquery| {
        streaming |= reads_stream(subquery, streams);
        Ok(TreeNodeRecursion::Continue)
    })?;
    if streaming {
        return Err(Error::invalid("a subquery in an expression cannot read a stream")
            .hint("read a static table there, or aggregate the stream by windows of its own in a view"));
    }
    Ok(())
}

/// EXISTS and IN become joins where they choose rows, and nowhere else.
pub(super) fn membership_as_value(plan: &LogicalPlan) -> Result<()> {
    if !matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)) {
        return Ok(());
    }
    let mut found = None;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            match expr {
                Expr::Exists(_) => found = Some("EXISTS"),
                Expr::InSubquery(_) => found = Some("IN"),
                Expr::SetComparison(_) => found = Some("ANY and ALL"),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match found {
        None => Ok(()),
        Some(what) => Err(Error::invalid(format!(
            "{what} of a subquery can choose rows over a stream, in WHERE, and is no value"
        ))
        .hint("LEFT JOIN (SELECT DISTINCT k FROM t) t ON t.k = s.k, and ask t.k IS NOT NULL")),
    }
}

/// A key or call of an operator that keeps state.
pub(super) fn volatile_in_state(expr: &Expr) -> Result<()> {
    if !is_volatile(expr) {
        return Ok(());
    }
    Err(Error::invalid(format!("\"{expr}\" gives another value each time, which a window's state cannot hold"))
        .hint("use event time, or compute it in the query that reads the view"))
}

/// State must not depend on when it was computed, so nothing below an operator may give another value each time.
pub(super) fn volatile_below(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            if is_volatile(expr) {
                found.get_or_insert_with(|| expr.to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match found {
        None => Ok(()),
        Some(expr) => {
            Err(Error::invalid(format!("\"{expr}\" gives another value each time, and a window is aggregated over it"))
                .hint("compute it above the aggregation, or in the query that reads the view"))
        }
    }
}

/// Whether anything in a plan gives another value each time, so that rows computed twice are not the same.
pub fn has_volatile(plan: &LogicalPlan) -> bool {
    volatile_below(plan).is_err()
}

/// As [`unordered`], of all aggregates of a plan.
///
/// # Errors
/// `Invalid` for the first that would give another answer each time.
pub fn refuse_unordered(plan: &LogicalPlan) -> Result<()> {
    let mut refused = Ok(());
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            let without_order: Vec<Expr> =
                aggregate.aggr_expr.iter().filter(|expr| lacks_order(expr).is_some()).cloned().collect();
            refused = unordered(&without_order);
        }
        Ok(if refused.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    refused
}

/// The name of an aggregate whose answer depends on an order that nothing says.
fn lacks_order(expr: &Expr) -> Option<String> {
    const ORDERED: [&str; 5] = ["array_agg", "first_value", "last_value", "nth_value", "string_agg"];
    let Expr::AggregateFunction(call) = expr.clone().unalias() else { return None };
    let lacks = ORDERED.contains(&call.func.name()) && call.params.order_by.is_empty() && !call.params.distinct;
    lacks.then(|| call.func.name().to_owned())
}

/// Aggregates whose answer depends on the order of rows, where nothing says which.
pub(super) fn unordered(aggregates: &[Expr]) -> Result<()> {
    // Their partial results are runs in one order, which is that of the input.
    const RUNS: [&str; 3] = ["array_agg", "nth_value", "string_agg"];
    let mut order = None;
    for expr in aggregates {
        if let Some(name) = lacks_order(expr) {
            return Err(Error::invalid(format!(
                "{name} over a stream needs an order: rows of several partitions come in another one each time"
            ))
            .hint(format!("order it by the event time: {name}(… ORDER BY ts)")));
        }
        let Expr::AggregateFunction(call) = expr.clone().unalias() else { continue };
        let (name, by) = (call.func.name(), &call.params.order_by);
        if RUNS.contains(&name) && !by.is_empty() && order.get_or_insert_with(|| by.clone()) != by {
            return Err(Error::invalid(format!("{name} has another order than an aggregate before it"))
                .hint("give both the same ORDER BY, or write a view for each order"));
        }
    }
    Ok(())
}

/// EXCEPT of rows without a window among their columns.
pub(super) fn except(_: &Edge) -> Error {
    set_operation(JoinType::LeftAnti, false)
}

/// As [`except`], of INTERSECT.
pub(super) fn intersect(_: &Edge) -> Error {
    set_operation(JoinType::LeftSemi, false)
}

/// INTERSECT and EXCEPT, with ALL or without. `join_type`: what each is planned as.
pub(super) fn set_operation(join_type: JoinType, is_all: bool) -> Error {
    let (name, exists) = match join_type {
        JoinType::LeftAnti => ("EXCEPT", "NOT EXISTS"),
        _ => ("INTERSECT", "EXISTS"),
    };
    let error = match is_all {
        true => {
            Error::invalid(format!("{name} ALL over a stream would have to count for ever how often each row has come"))
        }
        false => Error::invalid(format!("{name} over a stream would keep every row for ever")),
    };
    let within = match is_all {
        true => "",
        false => "select window_start and window_end on both sides, which are then compared within each window; or ",
    };
    error.hint(format!(
        "{within}look rows up in a static table, each as often as it comes: WHERE {exists} (SELECT 1 FROM t WHERE t.k IS NOT DISTINCT FROM s.k)"
    ))
}

/// DISTINCT of rows without a window among their columns.
pub(super) fn distinct(edge: &Edge) -> Error {
    let error = Error::invalid("DISTINCT over a stream would keep every row for ever");
    error.hint(match has_window(edge) {
        true => "select window_start and window_end, too: rows are then compared within their window",
        false => "SELECT DISTINCT window_start, window_end, … FROM TUMBLE(t, ts, INTERVAL '1 minute')",
    })
}

/// As [`distinct`], of DISTINCT ON.
pub(super) fn distinct_on(edge: &Edge) -> Error {
    let error = Error::invalid("DISTINCT ON over a stream would keep every row for ever");
    error.hint(match has_window(edge) {
        true => "name the window, too: DISTINCT ON (window_start, …)",
        false => "SELECT DISTINCT ON (window_start, …) … FROM TUMBLE(t, ts, INTERVAL '1 minute') ORDER BY window_start, …, ts",
    })
}

/// As [`distinct`], of UNION.
pub(super) fn union(edge: &Edge) -> Error {
    let error = Error::invalid("UNION over a stream would keep every row for ever");
    error.hint(match has_window(edge) {
        true => {
            "UNION ALL, or select window_start and window_end on both sides: rows are then compared within their window"
        }
        false => {
            "UNION ALL, or on both sides SELECT window_start, window_end, … FROM TUMBLE(t, ts, INTERVAL '1 minute')"
        }
    })
}

fn has_window(edge: &Edge) -> bool {
    edge.columns.iter().any(|facts| facts.window.is_some())
}

/// A call of OVER whose partitions do not end with a window. `partition`: what it has.
pub(super) fn over(call: &Expr, partition: &[Expr], edge: &Edge, schema: &DFSchema) -> Error {
    let error =
        Error::invalid("OVER over a stream needs a window in its PARTITION BY, or no partition would ever be complete");
    let window = edge.shown().find(|at| edge.columns[*at].window.is_some()).map(|at| schema.field(at).name().as_str());
    let others = partition.iter().map(written);
    let partition = std::iter::once(window.unwrap_or("window_start").to_owned()).chain(others).collect::<Vec<_>>();
    let partition = format!("OVER (PARTITION BY {} …)", partition.join(", "));
    let error = error.hint(match window {
        Some(_) => partition,
        None => {
            format!("{partition} FROM TUMBLE(t, ts, INTERVAL '1 minute'), or OVER in the query that reads the view")
        }
    });
    match place_of([call]) {
        Some(place) => error.at(place),
        None => error,
    }
}

/// A join of a stream and static rows that is no lookup. `stream_left`: on which side the stream is.
pub(super) fn join(join_type: JoinType, stream_left: bool) -> Result<()> {
    let fits = match join_type {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => stream_left,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => !stream_left,
        JoinType::Full => false,
    };
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{join_type} JOIN would keep the rows of a static table that match nothing, which is never known of a stream"
    ))
    .hint("keep the stream's side: stream LEFT JOIN table"))
}

/// Everything else that would start anew with each epoch.
pub(super) fn node(plan: &LogicalPlan) -> Error {
    match plan {
        LogicalPlan::Sort(_) => Error::invalid("ORDER BY is not possible over a stream")
            .hint("a view has no order; sort in the query that reads it"),
        LogicalPlan::Limit(_) => {
            Error::invalid("LIMIT is not possible over a stream").hint("limit in the query that reads the view")
        }
        LogicalPlan::RecursiveQuery(_) => Error::invalid("a recursive query is not possible over a stream"),
        other => Error::invalid(format!("{} is not possible over a stream", other.display())),
    }
}
