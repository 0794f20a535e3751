//! A step that takes what it can of a batch: rows that its expressions cannot take are noted, and go no further.
//!
//! Epochs run on DataFusion's own nodes, which fail as a whole. Only then does an epoch run once more, with this node in the place
//! of those that evaluate expressions. A row is bad if an expression fails for that row alone: AND, OR, CASE and COALESCE are
//! then taken in the order of the text, which a node that looks at a whole batch does not keep to.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::contract::BadRow;
use super::epoch_cell::{Epoch, EpochCell};
use super::lookup_join::LookupJoinExec;
use crate::error::{Error, ErrorKind};

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
    let children = node.children().into_iter().map(|child| isolating(child, cell)).collect::<Result<Vec<_>>>()?;
    let over = |step, child: &Arc<dyn ExecutionPlan>, schema| {
        let isolation = Isolation { step, schema, cell: Arc::clone(cell) };
        Arc::new(IsolateExec::new(Arc::clone(child), isolation)) as Arc<dyn ExecutionPlan>
    };
    let (tested, child) = match children.as_slice() {
        [child] => {
            if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
                let exprs: Exprs = projection.expr().iter().map(|expr| Arc::clone(&expr.expr)).collect();
                if !exprs.iter().all(cannot_fail) {
                    return Ok(over(Step::Project(exprs), child, node.schema()));
                }
            } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
                let predicate = Arc::clone(filter.predicate());
                let projection = filter.projection().as_ref().map(|columns| columns.to_vec());
                return Ok(over(Step::Filter { predicate, projection }, child, node.schema()));
            }
            (evaluated_within(node), child)
        }
        _ => (vec![], node),
    };
    // The conditions of a lookup beside its keys are on pairs of rows, which it alone sees.
    let node = match node.downcast_ref::<LookupJoinExec>() {
        Some(lookup) => Arc::new(lookup.isolating(cell)) as Arc<dyn ExecutionPlan>,
        None => Arc::clone(node),
    };
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    if tested.iter().all(cannot_fail) {
        return if children.is_empty() { Ok(node) } else { node.replace_children(children, keep) };
    }
    let tested = over(Step::Test(tested), child, child.schema());
    node.replace_children(vec![tested], keep)
}

fn cannot_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.is::<Column>() || expr.is::<Literal>()
}

/// What a node evaluates that stays as it is.
fn evaluated_within(node: &Arc<dyn ExecutionPlan>) -> Exprs {
    if let Some(sort) = node.downcast_ref::<SortExec>() {
        return sort.expr().iter().map(|sort| Arc::clone(&sort.expr)).collect();
    }
    if let Some(lookup) = node.downcast_ref::<LookupJoinExec>() {
        return lookup.stream_keys().cloned().collect();
    }
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return vec![] };
    let keys = aggregate.group_expr().expr().iter().map(|(expr, _)| Arc::clone(expr));
    let filters = aggregate.filter_expr().iter().flatten().cloned();
    let of_functions = aggregate.aggr_expr().iter().flat_map(|function| {
        let orders = function.order_bys().iter().map(|order| Arc::clone(&order.expr));
        function.expressions().into_iter().chain(orders).collect::<Vec<_>>()
    });
    keys.chain(filters).chain(of_functions).collect()
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
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
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

impl IsolateExec {
    fn new(input: Arc<dyn ExecutionPlan>, isolation: Isolation) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&isolation.schema)),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        IsolateExec { input, isolation, properties: Arc::new(properties) }
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
        Ok(Arc::new(IsolateExec::new(input, self.isolation.clone())))
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
