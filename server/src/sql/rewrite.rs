//! Over a stream, a `GROUP BY` of windows becomes a windowed aggregate with state; what cannot be incremental is refused.
//!
//! Runs on the analyzed plan, before the optimizer: types are settled, and no rule has yet turned a shape we recognise into
//! an aggregate or a join that would silently start anew with every epoch. Joins with a static table are left alone here;
//! `pipeline::plan` takes them over once the optimizer has pushed filters and columns through them.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, Extension, JoinType, LogicalPlan, Projection, SubqueryAlias, TableScan,
    UserDefinedLogicalNodeCore, Volatility,
};

use super::window::WindowKind;
use super::window_batch::{expand_for_batch, pane_start};
use super::window_functions::Tumble;
use super::window_tvf::{WINDOW_COLUMNS, WindowTvfNode};
use crate::error::{Error, Result};
use crate::operator::window::panes::Windows;
use crate::operator::window::{OutputColumn, WindowAggNode};
use crate::watermark::WatermarkExpr;

/// What the rewrite must know of the tables.
pub trait Streams {
    /// The slot of a stream table and its watermark column, if the scan reads a stream.
    fn stream(&self, scan: &TableScan) -> Option<(usize, Option<String>)>;
}

/// Turns an analyzed plan into one that may run epoch by epoch.
///
/// # Errors
/// `Invalid` for anything that would need unbounded state or is not available yet, with what to write instead.
pub fn rewrite(plan: LogicalPlan, streams: &dyn Streams, allowed_lateness_us: i64) -> Result<LogicalPlan> {
    refuse_time_of_planning(&plan)?;
    let mut rewriter = Rewriter { streams, allowed_lateness_us, next_operator: 0 };
    rewriter.plan(plan)
}

/// `now()` and its like: the optimizer writes the time of planning in their place, and this plan runs for months.
fn refuse_time_of_planning(plan: &LogicalPlan) -> Result<()> {
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

/// Whether a plan reads any stream.
pub fn reads_stream(plan: &LogicalPlan, streams: &dyn Streams) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::TableScan(scan) if streams.stream(scan).is_some());
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    debug_assert!(walked.is_ok(), "the closure raises no error");
    found
}

struct Rewriter<'a> {
    streams: &'a dyn Streams,
    allowed_lateness_us: i64,
    next_operator: usize,
}

/// A group expression that says which window a row belongs to.
#[derive(Clone)]
struct Grouping {
    part: OutputColumn,
    kind: WindowKind,
}

impl Rewriter<'_> {
    fn plan(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if !reads_stream(&plan, self.streams) {
            return Ok(expand_for_batch(plan)?);
        }
        match plan {
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Extension(extension) if extension.node.as_any().is::<WindowTvfNode>() => {
                // Without a GROUP BY a window function only adds columns (HOP: a row for each window): no state.
                let inputs = extension.node.inputs().into_iter().cloned().collect::<Vec<_>>();
                let input =
                    self.plan(inputs.into_iter().next().ok_or_else(|| Error::bug("window function without input"))?)?;
                let node = extension.node.with_exprs_and_inputs(extension.node.expressions(), vec![input])?;
                Ok(expand_for_batch(LogicalPlan::Extension(Extension { node }))?)
            }
            other => {
                self.refuse(&other)?;
                let children =
                    other.inputs().into_iter().cloned().map(|input| self.plan(input)).collect::<Result<Vec<_>>>()?;
                Ok(other.with_new_exprs(other.expressions(), children)?)
            }
        }
    }

    fn edges(&self) -> Edges<'_> {
        Edges { streams: self.streams, allowed_lateness_us: self.allowed_lateness_us }
    }

    /// Everything that would start anew with each epoch.
    fn refuse(&self, plan: &LogicalPlan) -> Result<()> {
        let streaming = |plan: &LogicalPlan| reads_stream(plan, self.streams);
        match plan {
            LogicalPlan::Sort(_) => Err(Error::invalid("ORDER BY is not possible over a stream")
                .hint("a view has no order; sort in the query that reads it")),
            LogicalPlan::Limit(_) => {
                Err(Error::invalid("LIMIT is not possible over a stream")
                    .hint("limit in the query that reads the view"))
            }
            LogicalPlan::Distinct(_) => Err(Error::invalid("DISTINCT over a stream would keep every row for ever")
                .hint("group by a window: SELECT … FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_start, …")),
            LogicalPlan::Window(_) => Err(Error::invalid("OVER is not available over a stream yet")
                .hint("aggregate by a window of TUMBLE or HOP, or use OVER in the query that reads the view")),
            LogicalPlan::Join(join) => {
                let (left, right) = (streaming(&join.left), streaming(&join.right));
                if left && right {
                    return Err(Error::invalid("a join of two streams is not available yet")
                        .hint("join a stream with a static table (connector 'filesystem', no WATERMARK), or join the views in the query that reads them"));
                }
                let fits = match join.join_type {
                    JoinType::Inner => true,
                    JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => left,
                    JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => right,
                    _ => false,
                };
                if fits {
                    Ok(())
                } else {
                    Err(Error::invalid(format!("{} JOIN would keep the rows of a static table that match nothing, which is never known of a stream", join.join_type))
                        .hint("keep the stream's side: stream LEFT JOIN table"))
                }
            }
            LogicalPlan::RecursiveQuery(_) => Err(Error::invalid("a recursive query is not possible over a stream")),
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Subquery(_) => self.refuse_subqueries(plan),
            other => Err(Error::invalid(format!("{} is not possible over a stream", other.display()))),
        }
    }

    /// A subquery in an expression may read static tables only.
    fn refuse_subqueries(&self, plan: &LogicalPlan) -> Result<()> {
        let mut streaming = false;
        plan.apply_subqueries(|subquery| {
            streaming |= reads_stream(subquery, self.streams);
            Ok(TreeNodeRecursion::Continue)
        })?;
        if streaming {
            return Err(Error::invalid("a subquery in an expression cannot read a stream")
                .hint("read a static table there, or aggregate the stream by windows of its own in a view"));
        }
        Ok(())
    }

    fn aggregate(&mut self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let input = aggregate.input.as_ref();
        let mut groupings: Vec<Option<Grouping>> = Vec::new();
        let mut by_function = None;
        for expr in &aggregate.group_expr {
            let grouping = match expr {
                Expr::GroupingSet(_) => {
                    return Err(Error::invalid("GROUPING SETS, ROLLUP and CUBE are not available over a stream"));
                }
                expr if as_column(expr).is_some() => as_column(expr).and_then(|column| trace(input, column)),
                expr => tumble_call(expr)?.map(|(time, kind)| {
                    by_function = Some(time);
                    Grouping { part: OutputColumn::Window, kind }
                }),
            };
            groupings.push(grouping);
        }
        let mut windows = groupings.iter().flatten().map(|grouping| grouping.kind);
        let Some(kind) = windows.next() else {
            return Err(Error::invalid("an aggregate over a stream needs a window, or it would never be final")
                .hint("FROM TUMBLE(t, ts, INTERVAL '1 minute') … GROUP BY window_start, window_end, …"));
        };
        if windows.any(|other| other != kind) {
            return Err(Error::invalid("one GROUP BY cannot use two different windows")
                .hint("aggregate by the first window in a subquery and by the second over its result"));
        }
        self.check_volatility(&aggregate)?;
        check_window_columns_untouched(&aggregate, input)?;
        let time = match &by_function {
            Some(time) => time.clone(),
            None => window_time_column(input).ok_or_else(|| Error::bug("a window column without its function"))?,
        };
        let watermark =
            if by_function.is_some() { self.edges().column(input, &time) } else { self.edges().window_function(input) };
        let watermark = watermark.ok_or_else(|| {
            Error::invalid(format!("column \"{}\" has no watermark, so its windows would never close", time.name))
                .hint("declare WATERMARK FOR it in the table's CREATE TABLE, and pass it on unchanged")
        })?;

        let id = format!("window-{}", self.next_operator);
        self.next_operator += 1;
        let pane_us = kind.pane_us();
        let lowered = self.lower(input.clone(), pane_us)?;

        // The node's input: the pane, and what keys and aggregates read. The optimizer prunes everything below to that.
        let pane_expr = match by_function {
            Some(time) => {
                let data_type = lowered.schema().field_from_column(&time)?.data_type().clone();
                pane_start(Expr::Column(time), &data_type, pane_us)?
            }
            // Lowering has put the pane into every window column, whichever of them is grouped by.
            None => aggregate
                .group_expr
                .iter()
                .zip(&groupings)
                .find_map(|(expr, grouping)| grouping.as_ref().and_then(|_| as_column(expr)))
                .map(|column| Expr::Column(column.clone()))
                .ok_or_else(|| Error::bug("a window group without a column"))?,
        };
        let keys: Vec<Expr> = aggregate
            .group_expr
            .iter()
            .zip(&groupings)
            .filter(|(_, grouping)| grouping.is_none())
            .map(|(expr, _)| expr.clone().unalias())
            .collect();
        let mut needed = BTreeSet::new();
        for expr in keys.iter().chain(&aggregate.aggr_expr) {
            needed.extend(expr.column_refs().into_iter().cloned());
        }
        let pane_name = "__pane";
        let mut projected = vec![pane_expr.alias(pane_name)];
        projected.extend(needed.into_iter().map(Expr::Column));
        let input = LogicalPlan::Projection(Projection::try_new(projected, Arc::new(lowered))?);

        let mut key = 0;
        let mut columns = Vec::new();
        for grouping in &groupings {
            columns.push(match grouping {
                Some(grouping) => grouping.part,
                None => {
                    key += 1;
                    OutputColumn::Key(key - 1)
                }
            });
        }
        columns.extend((0..aggregate.aggr_expr.len()).map(OutputColumn::Aggregate));
        let node = WindowAggNode {
            id,
            input,
            pane: Expr::Column(Column::new_unqualified(pane_name)),
            keys,
            aggregates: aggregate.aggr_expr.clone(),
            columns,
            windows: Windows {
                size: kind.size_us(),
                slide: kind.slide_us(),
                allowed_lateness: self.allowed_lateness_us,
            },
            watermark,
            schema: Arc::clone(&aggregate.schema),
        };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The aggregate's input with the window function replaced by a projection that puts the pane into the window columns.
    fn lower(&mut self, plan: LogicalPlan, pane_us: i64) -> Result<LogicalPlan> {
        if let Some(tvf) = as_tvf(&plan) {
            let tvf = tvf.clone();
            let input = self.plan(tvf.input.clone())?;
            let time = input.schema().field_from_column(&tvf.time_column)?.data_type().clone();
            let pane = pane_start(Expr::Column(tvf.time_column.clone()), &time, pane_us)?;
            let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
            let width = exprs.len();
            for (at, (qualifier, field)) in tvf.schema().iter().enumerate().skip(width) {
                // window_start, window_end, window_time: all of them the start of the pane, which is what the aggregation needs.
                debug_assert!(at < width + WINDOW_COLUMNS.len());
                exprs.push(pane.clone().alias_qualified(qualifier.cloned(), field.name()));
            }
            return Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?));
        }
        match plan {
            LogicalPlan::Aggregate(_) => self.plan(plan),
            other => {
                if !reads_stream(&other, self.streams) {
                    return Ok(expand_for_batch(other)?);
                }
                self.refuse(&other)?;
                let children = other
                    .inputs()
                    .into_iter()
                    .cloned()
                    .map(|input| self.lower(input, pane_us))
                    .collect::<Result<Vec<_>>>()?;
                Ok(other.with_new_exprs(other.expressions(), children)?)
            }
        }
    }

    /// State must not depend on when it was computed.
    fn check_volatility(&self, aggregate: &Aggregate) -> Result<()> {
        for expr in aggregate.group_expr.iter().chain(&aggregate.aggr_expr) {
            let volatile = expr.exists(|expr| {
                Ok(matches!(expr, Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Volatile))
            })?;
            if volatile {
                return Err(Error::invalid(format!(
                    "\"{expr}\" gives another value each time, which a window's state cannot hold"
                ))
                .hint("use event time, or compute it in the query that reads the view"));
            }
        }
        Ok(())
    }
}

fn as_tvf(plan: &LogicalPlan) -> Option<&WindowTvfNode> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<WindowTvfNode>(),
        _ => None,
    }
}

/// The three columns a window function adds are its last ones.
fn window_part(tvf: &WindowTvfNode, column: &Column) -> Option<OutputColumn> {
    let index = tvf.schema().maybe_index_of_column(column)?;
    let own = tvf.input.schema().fields().len();
    match index.checked_sub(own)? {
        0 => Some(OutputColumn::WindowStart),
        1 => Some(OutputColumn::WindowEnd),
        _ => Some(OutputColumn::WindowTime),
    }
}

/// Follows a column down to the window function it comes from, as long as nothing changes it on the way.
fn trace(plan: &LogicalPlan, column: &Column) -> Option<Grouping> {
    if let Some(tvf) = as_tvf(plan) {
        return Some(Grouping { part: window_part(tvf, column)?, kind: tvf.kind });
    }
    match plan {
        LogicalPlan::Union(union) => {
            let at = plan.schema().maybe_index_of_column(column)?;
            let mut found = union.inputs.iter().map(|input| trace(input, &column_at(input.schema(), at)));
            let first = found.next()??;
            found
                .all(|other| other.is_some_and(|other| other.part == first.part && other.kind == first.kind))
                .then_some(first)
        }
        _ => below(plan, column).and_then(|(input, column)| trace(input, &column)),
    }
}

/// The input and the column of it that an output column passes on unchanged.
fn below<'a>(plan: &'a LogicalPlan, column: &Column) -> Option<(&'a LogicalPlan, Column)> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let at = plan.schema().maybe_index_of_column(column)?;
            Some((&projection.input, as_column(projection.expr.get(at)?)?.clone()))
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => {
            let at = plan.schema().maybe_index_of_column(column)?;
            Some((input, column_at(input.schema(), at)))
        }
        LogicalPlan::Filter(filter) => Some((&filter.input, column.clone())),
        LogicalPlan::Join(join) => [&join.left, &join.right]
            .into_iter()
            .find(|side| side.schema().has_column(column))
            .map(|side| (side.as_ref(), column.clone())),
        _ => None,
    }
}

fn column_at(schema: &DFSchema, at: usize) -> Column {
    Column::from(schema.qualified_field(at))
}

/// The time column of the window function below an aggregate, for messages.
fn window_time_column(plan: &LogicalPlan) -> Option<Column> {
    as_tvf(plan).map(|tvf| tvf.time_column.clone()).or_else(|| plan.inputs().into_iter().find_map(window_time_column))
}

/// Watermarks of time columns on the edges of a plan that has not been rewritten yet.
struct Edges<'a> {
    streams: &'a dyn Streams,
    allowed_lateness_us: i64,
}

impl Edges<'_> {
    /// Of the window functions' time columns: of all of them, where a union has several.
    fn window_function(&self, plan: &LogicalPlan) -> Option<WatermarkExpr> {
        if let Some(tvf) = as_tvf(plan) {
            return self.column(&tvf.input, &tvf.time_column);
        }
        let mut found = Vec::new();
        for input in plan.inputs() {
            if reads_stream(input, self.streams) {
                found.push(self.window_function(input)?);
            }
        }
        match found.len() {
            0 | 1 => found.pop(),
            _ => Some(WatermarkExpr::Min(found)),
        }
    }

    /// Of a column on the edge above `plan`; `None` where it has none.
    fn column(&self, plan: &LogicalPlan, column: &Column) -> Option<WatermarkExpr> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let (slot, watermark) = self.streams.stream(scan)?;
                (watermark? == column.name).then_some(WatermarkExpr::Source(slot))
            }
            LogicalPlan::Union(union) => {
                let at = plan.schema().maybe_index_of_column(column)?;
                let inputs = union.inputs.iter().map(|input| self.column(input, &column_at(input.schema(), at)));
                Some(WatermarkExpr::Min(inputs.collect::<Option<Vec<_>>>()?))
            }
            LogicalPlan::Aggregate(aggregate) => {
                // A window that ends at or before the watermark, less the lateness, has been emitted: later rows end after it.
                let at = plan.schema().maybe_index_of_column(column)?;
                let group = as_column(aggregate.group_expr.get(at)?)?;
                let grouping = trace(&aggregate.input, group)?;
                let emitted = self.window_function(&aggregate.input)?.shifted(-self.allowed_lateness_us);
                Some(match grouping.part {
                    OutputColumn::WindowEnd | OutputColumn::WindowTime => emitted,
                    _ => emitted.shifted(-grouping.kind.size_us()),
                })
            }
            LogicalPlan::Extension(_) => {
                let tvf = as_tvf(plan)?;
                match window_part(tvf, column) {
                    Some(OutputColumn::WindowStart) => {
                        Some(self.column(&tvf.input, &tvf.time_column)?.shifted(-tvf.kind.size_us()))
                    }
                    Some(_) => self.column(&tvf.input, &tvf.time_column),
                    None => self.column(&tvf.input, column),
                }
            }
            _ => below(plan, column).and_then(|(input, column)| self.column(input, &column)),
        }
    }
}

/// `tumble(ts, INTERVAL '…')` as a group expression: its time column and window.
fn tumble_call(expr: &Expr) -> Result<Option<(Column, WindowKind)>> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr.clone().unalias() else { return Ok(None) };
    if func.name() != Tumble::NAME {
        return Ok(None);
    }
    let [time, size] = args.as_slice() else {
        return Err(Error::invalid("tumble takes a time column and a size").hint("tumble(ts, INTERVAL '1 minute')"));
    };
    let Some(time) = time.try_as_col() else {
        return Err(Error::invalid(format!("the first argument of tumble is a time column, not \"{time}\"")));
    };
    let Expr::Literal(size, _) = size else {
        return Err(Error::invalid(format!("the size of a window is a constant interval, not \"{size}\""))
            .hint("tumble(ts, INTERVAL '1 minute')"));
    };
    Ok(Some((time.clone(), Tumble::kind(size)?)))
}

/// Below the aggregation a row knows its pane and nothing else. In a `HOP` it is in several windows, so none of the window
/// columns has a value there; in a `TUMBLE` the pane is the window, so its start has.
fn check_window_columns_untouched(aggregate: &Aggregate, input: &LogicalPlan) -> Result<()> {
    for expr in &aggregate.aggr_expr {
        refuse_window_columns(expr, &[input])?;
    }
    for expr in aggregate.group_expr.iter().filter(|expr| as_column(expr).is_none()) {
        refuse_window_columns(expr, &[input])?;
    }
    check_below(input)
}

fn check_below(plan: &LogicalPlan) -> Result<()> {
    if as_tvf(plan).is_some() {
        return Ok(());
    }
    let inputs = plan.inputs();
    for expr in plan.expressions() {
        if !(matches!(plan, LogicalPlan::Projection(_)) && as_column(&expr).is_some()) {
            refuse_window_columns(&expr, &inputs)?;
        }
    }
    inputs.into_iter().try_for_each(check_below)
}

fn refuse_window_columns(expr: &Expr, inputs: &[&LogicalPlan]) -> Result<()> {
    let columns = expr.column_refs();
    let mut used = inputs.iter().flat_map(|input| columns.iter().filter_map(|column| trace(input, column)));
    let Some(kind) = used.find_map(|Grouping { part, kind }| match kind {
        WindowKind::Tumble { .. } if part == OutputColumn::WindowStart => None,
        other => Some(other),
    }) else {
        return Ok(());
    };
    let why = match kind {
        WindowKind::Hop { .. } => {
            "uses a window column of HOP below the aggregation, where a row is in several windows"
        }
        WindowKind::Tumble { .. } => "uses the end of a window below the aggregation, where only its start is known",
    };
    Err(Error::invalid(format!("\"{expr}\" {why}"))
        .hint("use window_start and window_end as they are in GROUP BY, and compute with them above it"))
}

/// A column as it is, or only renamed.
fn as_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => as_column(&alias.expr),
        _ => None,
    }
}
