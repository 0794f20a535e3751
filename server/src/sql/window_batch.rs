//! Window functions over bounded input: the node of `window_tvf` as projections and an unnest.
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
    Aggregate, ColumnarValue, Expr, Filter, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use super::multiset::{as_multisets, is_set_operation};
use super::window::{WindowKind, WindowUnits, floor};
use super::window_functions::Tumble;
use super::window_tvf::{WINDOW_COLUMNS, WindowTvfNode};

/// Between the projection that computes a row's windows and the unnest of them.
const STARTS: &str = "__window_starts";

/// The analyzer rule of sessions whose sources are bounded; streams have their own.
#[derive(Debug, Default, Clone, Copy)]
pub struct ExpandWindowTvfs;

impl AnalyzerRule for ExpandWindowTvfs {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        expand_for_batch(plan)
    }

    fn name(&self) -> &str {
        "expand_window_tvfs"
    }
}

/// Replaces every [`WindowTvfNode`] of the plan and its subqueries by ordinary nodes of the same schema, and what counts equal rows.
pub fn expand_for_batch(plan: LogicalPlan) -> Result<LogicalPlan> {
    let expanded = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<WindowTvfNode>() {
            Some(window) => expand(window).map(Transformed::yes),
            None => Ok(Transformed::no(LogicalPlan::Extension(extension))),
        },
        LogicalPlan::Aggregate(aggregate) => grouped(aggregate),
        LogicalPlan::Join(join) if is_set_operation(&join) => {
            Ok(as_multisets(&join)?.map_or_else(|| Transformed::no(LogicalPlan::Join(join)), Transformed::yes))
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(expanded.data)
}

/// A row without a time belongs to no window, hence to no group of `GROUP BY tumble(ts, …)` either.
fn grouped(mut aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let input = aggregate.input.as_ref();
    let windows: Vec<Expr> = aggregate.group_expr.iter().filter(|expr| is_window(expr, input)).cloned().collect();
    let Some(has_window) = conjunction(windows.into_iter().map(|window| window.unalias().is_not_null())) else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    // Plans are analyzed more than once.
    if matches!(aggregate.input.as_ref(), LogicalPlan::Filter(filter) if filter.predicate == has_window) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    aggregate.input = Arc::new(LogicalPlan::Filter(Filter::try_new(has_window, aggregate.input)?));
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// The grouping form, as an expression over `input`, or as a column that is one further below.
fn is_window(expr: &Expr, input: &LogicalPlan) -> bool {
    match (expr, input) {
        (Expr::Alias(alias), _) => is_window(&alias.expr, input),
        (Expr::ScalarFunction(call), _) => call.func.name() == Tumble::NAME,
        (Expr::Column(column), LogicalPlan::Projection(projection)) => {
            let below = input.schema().maybe_index_of_column(column).and_then(|at| projection.expr.get(at));
            below.is_some_and(|expr| is_window(expr, &projection.input))
        }
        (Expr::Column(column), LogicalPlan::SubqueryAlias(alias)) => {
            let below = input.schema().maybe_index_of_column(column).map(|at| alias.input.schema().qualified_field(at));
            below.is_some_and(|field| is_window(&Expr::Column(Column::from(field)), &alias.input))
        }
        (Expr::Column(_), LogicalPlan::Filter(filter)) => is_window(expr, &filter.input),
        _ => false,
    }
}

fn expand(window: &WindowTvfNode) -> Result<LogicalPlan> {
    let input = &window.input;
    let (qualifier, time) = input.schema().qualified_field_from_column(&window.time_column)?;
    let nullable = time.is_nullable();
    let units = window.kind.in_unit(time_unit(time.data_type())?)?;
    let time = Expr::Column(window.time_column.clone());
    let columns = || input.schema().columns().into_iter().map(Expr::Column);
    let with_bounds = |floor: Option<i64>, of: &Expr| -> Vec<Expr> {
        let bounds = [0, units.size, units.size - 1]
            .into_iter()
            .zip(WINDOW_COLUMNS)
            .map(|(add, name)| bound(floor, add, nullable, of.clone()).alias_qualified(qualifier.cloned(), name));
        columns().chain(bounds).collect()
    };
    match window.kind {
        WindowKind::Tumble { .. } => {
            // The filter comes first, so that the projection never sees a time without a window: its columns may be NOT NULL.
            let has_window = bound(Some(units.size), units.size, true, time.clone()).is_not_null();
            LogicalPlanBuilder::from(input.clone())
                .filter(has_window)?
                .project(with_bounds(Some(units.size), &time))?
                .build()
        }
        WindowKind::Hop { .. } => {
            let starts = ScalarUDF::new_from_impl(WindowStarts::new(units)).call(vec![time]);
            let dropped = UnnestOptions::new().with_preserve_nulls(false);
            LogicalPlanBuilder::from(input.clone())
                .project(columns().chain([starts.alias(STARTS)]))?
                .unnest_column_with_options(Column::new_unqualified(STARTS), dropped)?
                .project(with_bounds(None, &Expr::Column(Column::new_unqualified(STARTS))))?
                .build()
        }
    }
}

fn bound(floor: Option<i64>, add: i64, nullable: bool, of: Expr) -> Expr {
    ScalarUDF::new_from_impl(WindowBound { signature: one_argument(), floor, add, nullable }).call(vec![of])
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

/// `floor(time) + add`; NULL for a window that does not exist. Internal: made by [`expand`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowBound {
    signature: Signature,
    /// Length to floor to; `None` where the argument is a window's start already.
    floor: Option<i64>,
    add: i64,
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
        Ok(format!("window_bound({of},{:?},{},{})", self.floor, self.add, self.nullable))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = ColumnarValue::values_to_arrays(&args.args)?;
        let ticks = ticks(&times[0])?;
        let bounds: Int64Array = ticks.iter().map(|tick| self.of(tick?)).collect();
        Ok(ColumnarValue::Array(cast(&bounds, times[0].data_type())?))
    }
}

impl WindowBound {
    fn of(&self, tick: i64) -> Option<i64> {
        match self.floor {
            Some(size) => floor(tick, size)?.checked_add(self.add),
            None => tick.checked_add(self.add),
        }
    }
}

/// The starts of all windows of a time, as a list; empty for NULL. Internal: made by [`expand`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowStarts {
    signature: Signature,
    units: WindowUnits,
}

impl WindowStarts {
    fn new(units: WindowUnits) -> Self {
        WindowStarts { signature: one_argument(), units }
    }
}

impl ScalarUDFImpl for WindowStarts {
    fn name(&self) -> &str {
        "window_starts"
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
        let mut starts = Int64Builder::new();
        let mut offsets = Vec::with_capacity(ticks.len() + 1);
        offsets.push(0);
        for tick in &ticks {
            starts.extend(tick.into_iter().flat_map(|tick| self.units.starts(tick)).map(Some));
            let end = i32::try_from(starts_len(&starts))
                .map_err(|_| exec_datafusion_err!("a batch of rows falls into more windows than one array can hold"))?;
            offsets.push(end);
        }
        let starts = cast(&starts.finish(), times[0].data_type())?;
        let item = Arc::new(Field::new_list_field(starts.data_type().clone(), true));
        let lists = ListArray::try_new(item, OffsetBuffer::new(offsets.into()), starts, None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

fn starts_len(builder: &Int64Builder) -> usize {
    arrow::array::ArrayBuilder::len(builder)
}

#[cfg(test)]
mod tests;
