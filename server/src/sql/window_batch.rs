//! Window functions over bounded input: the node of `window_tvf`, and the forms to group by, as projections and an unnest.
//!
//! Rows come out exactly as a stream would window them: once per window, none for a row without a time.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, Int64Builder, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, UnnestOptions, exec_datafusion_err, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Distinct, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, Window as WindowNode,
};
use datafusion::optimizer::AnalyzerRule;

use super::multiset::{as_multisets, is_set_operation};
use super::session_batch;
use super::session_groups::{over_sessions, with_sessions};
use super::window::{WindowAssigner, WindowKind};
use super::window_functions::{WindowCall, WindowFunction, window_type, windows};
use super::window_tvf::WindowTvfNode;

/// Between the projection that computes a row's windows and the unnest of them.
const ENDS: &str = "__window_ends";

/// The analyzer rule of sessions whose sources are bounded; streams have their own.
#[derive(Debug, Default, Clone, Copy)]
pub struct ExpandWindowTvfs {
    /// How long a window of `SESSION` can be, microseconds; `None`: as long as rows come.
    pub longest_us: Option<i64>,
}

impl AnalyzerRule for ExpandWindowTvfs {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        expand_for_batch(with_sessions(plan, self.longest_us)?)
    }

    fn name(&self) -> &str {
        "expand_window_tvfs"
    }
}

/// Replaces every [`WindowTvfNode`] of the plan and its subqueries, every grouping form, and what counts equal rows, by ordinary nodes
/// of the same schema.
pub fn expand_for_batch(plan: LogicalPlan) -> Result<LogicalPlan> {
    let expanded = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<WindowTvfNode>() {
            Some(window) => expand(window).map(Transformed::yes),
            None => Ok(Transformed::no(LogicalPlan::Extension(extension))),
        },
        LogicalPlan::Aggregate(aggregate) => match over_sessions(&aggregate, None)? {
            Some(plan) => expand_for_batch(plan).map(Transformed::yes),
            None => grouped(aggregate),
        },
        LogicalPlan::Window(window) => partitioned(window),
        LogicalPlan::Distinct(Distinct::All(input)) => distinct(input),
        LogicalPlan::Join(join) if is_set_operation(&join) => {
            Ok(as_multisets(&join)?.map_or_else(|| Transformed::no(LogicalPlan::Join(join)), Transformed::yes))
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(expanded.data)
}

/// A row belongs to the group of each of its windows; one without a time to none.
fn grouped(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut calls = Vec::new();
    for expr in &aggregate.group_expr {
        calls.extend(
            WindowCall::of(expr)?.filter(|call| call.function != WindowFunction::Tumble).map(|call| (expr, call)),
        );
    }
    if calls.is_empty() {
        return of_existing_windows(aggregate);
    }
    let (mut input, mut group_expr) = (aggregate.input.as_ref().clone(), aggregate.group_expr.clone());
    for (expr, WindowCall { time, kind, .. }) in calls {
        // Below the aggregate a row for each window, and in the call's place a column of the call's name.
        let call = expr.clone().unalias();
        let name = call.schema_name().to_string();
        if input.schema().has_column_with_unqualified_name(&name) {
            continue;
        }
        let assigner = kind.in_unit(time_unit(&time.get_type(input.schema())?)?)?;
        let window = ScalarUDF::new_from_impl(Window { signature: one_argument(), assigner });
        let window = window.call(vec![Expr::Column(Column::new_unqualified(ENDS))]).alias(&name);
        let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).chain([window]).collect();
        input = with_ends(input, time, assigner)?.project(columns)?.build()?;
        group_expr.iter_mut().for_each(|expr| *expr = replaced(expr, &call, &name));
    }
    let aggregate = Aggregate::try_new(Arc::new(input), group_expr, aggregate.aggr_expr)?;
    Ok(Transformed::yes(of_existing_windows(aggregate)?.data))
}

/// Grouped by windows that tumble, of rows that have them.
fn of_existing_windows(mut aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    match with_windows(&aggregate.group_expr, &aggregate.input)? {
        Some(input) => {
            aggregate.input = Arc::new(input);
            Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
        }
        None => Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
    }
}

/// Compared with one another in windows that tumble, of rows that have them.
fn partitioned(mut window: WindowNode) -> Result<Transformed<LogicalPlan>> {
    let partitions = window.window_expr.iter().filter_map(|expr| match expr {
        Expr::WindowFunction(call) => Some(&call.params.partition_by),
        _ => None,
    });
    let partitions: Vec<Expr> = partitions.flatten().cloned().collect();
    match with_windows(&partitions, &window.input)? {
        Some(input) => {
            window.input = Arc::new(input);
            Ok(Transformed::yes(LogicalPlan::Window(window)))
        }
        None => Ok(Transformed::no(LogicalPlan::Window(window))),
    }
}

/// Compared with one another as a whole, of which a window that tumbles is a part.
fn distinct(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    Ok(match with_windows(&columns, &input)? {
        Some(input) => Transformed::yes(LogicalPlan::Distinct(Distinct::All(Arc::new(input)))),
        None => Transformed::no(LogicalPlan::Distinct(Distinct::All(input))),
    })
}

/// The rows that have every tumbling window among some expressions; `None` where there is nothing to be asked.
fn with_windows(exprs: &[Expr], input: &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    let windows = exprs.iter().filter(|expr| is_tumble(expr, input)).cloned();
    let Some(has_window) = conjunction(windows.map(|window| window.unalias().is_not_null())) else { return Ok(None) };
    // Plans are analyzed more than once.
    if matches!(input.as_ref(), LogicalPlan::Filter(filter) if filter.predicate == has_window) {
        return Ok(None);
    }
    Ok(Some(LogicalPlan::Filter(Filter::try_new(has_window, Arc::clone(input))?)))
}

/// A group expression in which a column has taken the place of the call.
fn replaced(expr: &Expr, call: &Expr, name: &str) -> Expr {
    match expr {
        Expr::Alias(alias) => {
            replaced(&alias.expr, call, name).alias_qualified(alias.relation.clone(), alias.name.clone())
        }
        other if other == call => Expr::Column(Column::new_unqualified(name)),
        other => other.clone(),
    }
}

/// The grouping form of a tumbling window, as an expression over `input`, or as a column that is one further below.
fn is_tumble(expr: &Expr, input: &LogicalPlan) -> bool {
    match (expr, input) {
        (Expr::Alias(alias), _) => is_tumble(&alias.expr, input),
        (Expr::ScalarFunction(call), _) => matches!(WindowCall::of_function(call), Ok(Some(_))),
        (Expr::Column(column), LogicalPlan::Projection(projection)) => {
            let below = input.schema().maybe_index_of_column(column).and_then(|at| projection.expr.get(at));
            below.is_some_and(|expr| is_tumble(expr, &projection.input))
        }
        (Expr::Column(column), LogicalPlan::SubqueryAlias(alias)) => {
            let below = input.schema().maybe_index_of_column(column).map(|at| alias.input.schema().qualified_field(at));
            below.is_some_and(|field| is_tumble(&Expr::Column(Column::from(field)), &alias.input))
        }
        (Expr::Column(_), LogicalPlan::Filter(filter)) => is_tumble(expr, &filter.input),
        (Expr::Column(column), LogicalPlan::Window(window)) => {
            window.input.schema().has_column(column) && is_tumble(expr, &window.input)
        }
        _ => false,
    }
}

fn expand(window: &WindowTvfNode) -> Result<LogicalPlan> {
    if matches!(window.kind, WindowKind::Session { .. }) {
        return session_batch::expand(window);
    }
    let input = &window.input;
    let (qualifier, time) = input.schema().qualified_field_from_column(&window.time_column)?;
    let nullable = time.is_nullable();
    let assigner = window.kind.in_unit(time_unit(time.data_type())?)?;
    let time = Expr::Column(window.time_column.clone());
    let with_bounds = |of: Of, argument: &Expr| -> Vec<Expr> {
        let bounds = [Part::Start, Part::End, Part::Time].into_iter().zip(window.names()).map(|(part, name)| {
            let bound = WindowBound { signature: one_argument(), assigner, of, part, nullable };
            ScalarUDF::new_from_impl(bound).call(vec![argument.clone()]).alias_qualified(qualifier.cloned(), name)
        });
        input.schema().columns().into_iter().map(Expr::Column).chain(bounds).collect()
    };
    match window.kind {
        WindowKind::Tumble { .. } => {
            // The filter comes first, so that the projection never sees a time without a window: its columns may be NOT NULL.
            let end =
                WindowBound { signature: one_argument(), assigner, of: Of::Time, part: Part::End, nullable: true };
            let has_window = ScalarUDF::new_from_impl(end).call(vec![time.clone()]).is_not_null();
            LogicalPlanBuilder::from(input.clone()).filter(has_window)?.project(with_bounds(Of::Time, &time))?.build()
        }
        WindowKind::Hop { .. } | WindowKind::Cumulate { .. } | WindowKind::Session { .. } => {
            with_ends(input.clone(), time, assigner)?
                .project(with_bounds(Of::End, &Expr::Column(Column::new_unqualified(ENDS))))?
                .build()
        }
    }
}

/// A row for each window of the time, which ends at the last column.
fn with_ends(input: LogicalPlan, time: Expr, assigner: WindowAssigner) -> Result<LogicalPlanBuilder> {
    let ends = ScalarUDF::new_from_impl(WindowEnds { signature: one_argument(), assigner }).call(vec![time]);
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).chain([ends.alias(ENDS)]).collect();
    let dropped = UnnestOptions::new().with_preserve_nulls(false);
    LogicalPlanBuilder::from(input).project(columns)?.unnest_column_with_options(Column::new_unqualified(ENDS), dropped)
}

fn one_argument() -> Signature {
    Signature::any(1, Volatility::Immutable)
}

pub(crate) fn time_unit(data_type: &DataType) -> Result<TimeUnit> {
    match data_type {
        DataType::Timestamp(unit, _) => Ok(*unit),
        other => internal_err!("window functions take timestamps, not {other}"),
    }
}

/// Times as plain numbers of their unit.
pub(crate) fn ticks(times: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(times, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// What a window is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    /// A time in it, of windows that tumble.
    Time,
    /// Its end.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Start,
    End,
    /// The last tick.
    Time,
}

/// A column of a window; NULL for a window that does not exist. Internal: made by [`expand`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowBound {
    signature: Signature,
    assigner: WindowAssigner,
    of: Of,
    part: Part,
    nullable: bool,
}

impl ScalarUDFImpl for WindowBound {
    fn name(&self) -> &str {
        "window_bound"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    // The window's existence decides, not the argument: what is declared follows the time column.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), args.arg_fields[0].data_type().clone(), self.nullable)))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        // Two bounds of one column are two expressions: their names must differ.
        let of = args.first().map(|arg| arg.schema_name().to_string()).unwrap_or_default();
        Ok(format!("window_bound({of},{:?},{:?},{:?},{})", self.assigner, self.of, self.part, self.nullable))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = ColumnarValue::values_to_arrays(&args.args)?;
        let ticks = ticks(&times[0])?;
        let (mut panes, assigner) = (self.assigner.panes(), self.assigner);
        let mut window = |tick: i64| match self.of {
            Of::Time => panes.of(tick),
            Of::End => Some((assigner.start_of(tick), tick)),
        };
        let part = |(start, end): (i64, i64)| match self.part {
            Part::Start => start,
            Part::End => end,
            Part::Time => end.saturating_sub(1),
        };
        let bounds: Int64Array = ticks.iter().map(|tick| window(tick?).map(part)).collect();
        Ok(ColumnarValue::Array(cast(&bounds, times[0].data_type())?))
    }
}

/// The window that ends at a time, as the grouping form has it. Internal: made by [`grouped`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Window {
    signature: Signature,
    assigner: WindowAssigner,
}

impl ScalarUDFImpl for Window {
    fn name(&self) -> &str {
        "window"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(window_type(&arg_types[0])))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let window = DataType::Struct(window_type(args.arg_fields[0].data_type()));
        Ok(Arc::new(Field::new(self.name(), window, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = ColumnarValue::values_to_arrays(&args.args)?;
        let ends = ticks(&times[0])?;
        let starts: Int64Array = ends.iter().map(|end| Some(self.assigner.start_of(end?))).collect();
        Ok(ColumnarValue::Array(windows(&starts, &ends, times[0].data_type())?))
    }
}

/// The ends of all windows of a time, as a list; empty for NULL. Internal: made by [`with_ends`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowEnds {
    signature: Signature,
    assigner: WindowAssigner,
}

impl ScalarUDFImpl for WindowEnds {
    fn name(&self) -> &str {
        "window_ends"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(arg_types[0].clone(), true))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = ColumnarValue::values_to_arrays(&args.args)?;
        let ticks = ticks(&times[0])?;
        let mut ends = Int64Builder::new();
        let mut offsets = Vec::with_capacity(ticks.len() + 1);
        offsets.push(0);
        for tick in &ticks {
            ends.extend(tick.into_iter().flat_map(|tick| self.assigner.ends_of(tick)).map(Some));
            let end = i32::try_from(arrow::array::ArrayBuilder::len(&ends))
                .map_err(|_| exec_datafusion_err!("a batch of rows falls into more windows than one array can hold"))?;
            offsets.push(end);
        }
        let ends = cast(&ends.finish(), times[0].data_type())?;
        let item = Arc::new(Field::new_list_field(ends.data_type().clone(), true));
        let lists = ListArray::try_new(item, OffsetBuffer::new(offsets.into()), ends, None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

#[cfg(test)]
mod tests;
