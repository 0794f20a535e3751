//! A step that takes what it can of a batch: rows that its expressions cannot take are noted, and go no further.
//!
//! Epochs, and statements in batch, run on DataFusion's own nodes, which fail as a whole. Only then do they run once more, with this
//! node in the place of those that evaluate expressions. A row is bad if an expression fails for that row alone: AND, OR, CASE and
//! COALESCE are then taken in the order of the text, which a node that looks at a whole batch does not keep to.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::{Column, Literal, case};
use datafusion::physical_expr::{Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::contract::BadRow;
use super::epoch_cell::{Epoch, EpochCell};
use super::lookup_join::LookupJoinExec;
use crate::error::{Error, ErrorKind};
use crate::state::batch_of;

type Exprs = Vec<Arc<dyn PhysicalExpr>>;

/// What is done with a batch.
#[derive(Debug, Clone)]
enum Step {
    /// It is passed on: the node above evaluates these.
    Test(Exprs),
    Project(Exprs),
    Filter {
        predicate: Arc<dyn PhysicalExpr>,
        projection: Option<Vec<usize>>,
    },
}

/// See the module's first lines.
#[derive(Debug)]
pub struct IsolateExec {
    input: Arc<dyn ExecutionPlan>,
    isolation: Isolation,
    /// Those of the node that it stands for, or of its input: without some rows all of it is as true as with them.
    properties: Arc<PlanProperties>,
}

#[derive(Debug, Clone)]
struct Isolation {
    step: Step,
    schema: SchemaRef,
    cell: Arc<EpochCell>,
}

/// The plan with [`IsolateExec`] wherever an expression is evaluated that may fail.
///
/// # Errors
/// Those of DataFusion where a node cannot be made over other children.
pub fn isolating(node: &Arc<dyn ExecutionPlan>, cell: &Arc<EpochCell>) -> Result<Arc<dyn ExecutionPlan>> {
    let is_value = |nth: usize| nth > 0 && node.is::<ScalarSubqueryExec>();
    let children = node.children().into_iter().enumerate().map(|(nth, child)| match is_value(nth) {
        true => isolating_value(child, cell),
        false => isolating(child, cell),
    });
    let children = children.collect::<Result<Vec<_>>>()?;
    let isolated = |step: Step, input: Arc<dyn ExecutionPlan>, like: &Arc<dyn ExecutionPlan>| {
        let isolation = Isolation { step, schema: like.schema(), cell: Arc::clone(cell) };
        Arc::new(IsolateExec { input, isolation, properties: Arc::clone(like.properties()) }) as Arc<dyn ExecutionPlan>
    };
    if let ([child], Some(step)) = (children.as_slice(), step_of(node)) {
        return Ok(isolated(step, Arc::clone(child), node));
    }
    // The conditions of a lookup beside its keys are on pairs of rows, which it alone sees.
    let node = match node.downcast_ref::<LookupJoinExec>() {
        Some(lookup) => Arc::new(lookup.isolating(cell)) as Arc<dyn ExecutionPlan>,
        None => Arc::clone(node),
    };
    if children.is_empty() {
        return Ok(node);
    }
    let mut tested = evaluated_within(&node)?;
    tested.resize(children.len(), vec![]);
    let children = children.into_iter().zip(tested).map(|(child, exprs)| match exprs.iter().all(cannot_fail) {
        true => child,
        false => isolated(Step::Test(exprs), Arc::clone(&child), &child),
    });
    node.replace_children(children.collect(), ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

/// [`isolating`] for a subquery that stands for a value: without its one row the value would be NULL, which nobody has computed, so
/// only what that row is made of is isolated.
fn isolating_value(node: &Arc<dyn ExecutionPlan>, cell: &Arc<EpochCell>) -> Result<Arc<dyn ExecutionPlan>> {
    match node.children().as_slice() {
        _ if node.is::<AggregateExec>() => isolating(node, cell),
        [child] => {
            let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            Arc::clone(node).replace_children(vec![isolating_value(child, cell)?], keep)
        }
        _ => Ok(Arc::clone(node)),
    }
}

fn cannot_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.is::<Column>() || expr.is::<Literal>()
}

/// What takes the place of a node that does nothing but evaluate; `None` for one that stays.
fn step_of(node: &Arc<dyn ExecutionPlan>) -> Option<Step> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let exprs: Exprs = projection.expr().iter().map(|expr| Arc::clone(&expr.expr)).collect();
        return (!exprs.iter().all(cannot_fail)).then_some(Step::Project(exprs));
    }
    // A filter that has a limit in it counts its rows.
    let filter = node.downcast_ref::<FilterExec>().filter(|_| node.fetch().is_none())?;
    let projection = filter.projection().as_ref().map(|columns| columns.to_vec());
    Some(Step::Filter { predicate: Arc::clone(filter.predicate()), projection })
}

/// What a node that stays evaluates on the rows of each of its inputs.
fn evaluated_within(node: &Arc<dyn ExecutionPlan>) -> Result<Vec<Exprs>> {
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        return Ok(vec![aggregated(aggregate)?]);
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        return Ok(vec![vec![Arc::clone(filter.predicate())]]);
    }
    if let Some(sort) = node.downcast_ref::<SortExec>() {
        return Ok(vec![keys_of(sort.expr()).collect()]);
    }
    if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() {
        return Ok(vec![keys_of(merge.expr()).collect()]);
    }
    if let Some(repartition) = node.downcast_ref::<RepartitionExec>()
        && let Partitioning::Hash(keys, _) = repartition.partitioning()
    {
        return Ok(vec![keys.clone()]);
    }
    if let Some(lookup) = node.downcast_ref::<LookupJoinExec>() {
        return Ok(vec![lookup.stream_keys().cloned().collect()]);
    }
    let hash_join = node.downcast_ref::<HashJoinExec>().map(HashJoinExec::on);
    if let Some(on) = hash_join.or_else(|| node.downcast_ref::<SortMergeJoinExec>().map(SortMergeJoinExec::on)) {
        let (left, right): (Exprs, Exprs) = on.iter().cloned().unzip();
        return Ok(vec![left, right]);
    }
    let bounded = node.downcast_ref::<BoundedWindowAggExec>().map(BoundedWindowAggExec::window_expr);
    let windows = bounded.or_else(|| node.downcast_ref::<WindowAggExec>().map(WindowAggExec::window_expr));
    let of_windows = windows.unwrap_or_default().iter().flat_map(|window| {
        let keys = window.partition_by().iter().cloned().chain(keys_of(window.order_by()));
        window.expressions().into_iter().chain(keys).collect::<Exprs>()
    });
    Ok(vec![of_windows.collect()])
}

fn keys_of(order: &[PhysicalSortExpr]) -> impl Iterator<Item = Arc<dyn PhysicalExpr>> {
    order.iter().map(|key| Arc::clone(&key.expr))
}

fn aggregated(aggregate: &AggregateExec) -> Result<Exprs> {
    // What reads states has its expressions still, but they mean columns of the rows that these were made of.
    if aggregate.mode().input_mode() == AggregateInputMode::Partial {
        return Ok(vec![]);
    }
    let groups = aggregate.group_expr();
    let mut exprs: Exprs = groups.expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
    for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
        exprs.extend(filter.clone());
        let arguments = function.expressions().into_iter().chain(keys_of(function.order_bys()));
        for argument in arguments.filter(|argument| !cannot_fail(argument)) {
            exprs.push(match filter {
                // Without groups an argument is evaluated for what passes the filter, else for all rows.
                Some(filter) if groups.is_true_no_grouping() => case(None, vec![(Arc::clone(filter), argument)], None)?,
                _ => argument,
            });
        }
    }
    Ok(exprs)
}

impl Isolation {
    /// The rows of `batch` that can be taken, in their order.
    fn take(&self, epoch: &Epoch, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> crate::error::Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let error = match self.apply(&batch) {
            Ok(batch) => {
                out.push(batch);
                return Ok(());
            }
            Err(error) => Error::from(error),
        };
        if error.kind() != ErrorKind::Invalid {
            return Err(error);
        }
        let rows = batch.num_rows();
        if rows > 1 {
            self.take(epoch, batch.slice(0, rows / 2), out)?;
            return self.take(epoch, batch.slice(rows / 2, rows - rows / 2), out);
        }
        epoch.effects.add_bad(BadRow::of(epoch, &batch, error)?);
        Ok(())
    }

    fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match &self.step {
            Step::Test(exprs) => {
                exprs.iter().try_for_each(|expr| expr.evaluate(batch).map(|_| ()))?;
                Ok(batch.clone())
            }
            Step::Project(exprs) => {
                let rows = batch.num_rows();
                let columns = exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(rows)).collect::<Result<_>>()?;
                Ok(batch_of(Arc::clone(&self.schema), columns, rows)?)
            }
            Step::Filter { predicate, projection } => {
                let passes = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
                let rows = filter_record_batch(batch, as_boolean_array(&passes)?)?;
                Ok(match projection {
                    Some(columns) => rows.project(columns)?,
                    None => rows,
                })
            }
        }
    }
}

impl DisplayAs for IsolateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |exprs: &Exprs| exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match &self.isolation.step {
            Step::Test(exprs) => write!(f, "IsolateExec: test=[{}]", list(exprs)),
            Step::Project(exprs) => write!(f, "IsolateExec: project=[{}]", list(exprs)),
            Step::Filter { predicate, .. } => write!(f, "IsolateExec: filter={predicate}"),
        }
    }
}

impl ExecutionPlan for IsolateExec {
    fn name(&self) -> &str {
        "IsolateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| Error::bug("a step without an input"))?;
        let (isolation, properties) = (self.isolation.clone(), Arc::clone(&self.properties));
        Ok(Arc::new(IsolateExec { input, isolation, properties }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (isolation, epoch) = (self.isolation.clone(), self.isolation.cell.current());
        let rows = input.map(move |batch| {
            let mut out = Vec::new();
            isolation.take(&epoch, batch?, &mut out)?;
            Ok::<_, DataFusionError>(stream::iter(out.into_iter().map(Ok)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.isolation.schema), rows.try_flatten())))
    }
}
