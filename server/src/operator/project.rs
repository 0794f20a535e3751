//! A projection that keeps no record of itself.
//!
//! DataFusion's own writes each of its expressions down as SQL whenever it is executed, for the metrics of a run. An epoch of one row
//! executes its plan for that row alone, and a fifth of its time went there.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::apply_expression_roots;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::StreamExt;

use crate::state::batch_of;

/// See the module's first line.
#[derive(Debug, Clone)]
pub struct ProjectExec {
    input: Arc<dyn ExecutionPlan>,
    exprs: Arc<[Arc<dyn PhysicalExpr>]>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

/// The plan with [`ProjectExec`] in the place of DataFusion's projections. To be called when planning has ended.
///
/// # Errors
/// Those of DataFusion where a node cannot be made over other children.
pub fn unrecorded(node: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let children = node.children();
    if children.is_empty() {
        return Ok(Arc::clone(node));
    }
    let mut children = children.into_iter().map(unrecorded).collect::<Result<Vec<_>>>()?;
    if let (Some(projection), [input]) = (node.downcast_ref::<ProjectionExec>(), children.as_mut_slice()) {
        return Ok(Arc::new(ProjectExec {
            input: Arc::clone(input),
            exprs: projection.expr().iter().map(|projected| Arc::clone(&projected.expr)).collect(),
            schema: projection.schema(),
            properties: Arc::clone(projection.properties()),
        }));
    }
    Arc::clone(node).replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

impl DisplayAs for ProjectExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exprs: Vec<String> = self.exprs.iter().map(ToString::to_string).collect();
        write!(f, "ProjectExec: expr=[{}]", exprs.join(", "))
    }
}

impl ExecutionPlan for ProjectExec {
    fn name(&self) -> &str {
        "ProjectExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.exprs.iter(), f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(ProjectExec { input, ..self.as_ref().clone() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (exprs, schema) = (Arc::clone(&self.exprs), Arc::clone(&self.schema));
        let rows = input.map(move |batch| project(&batch?, &exprs, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}

fn project(batch: &RecordBatch, exprs: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
    Ok(batch_of(Arc::clone(schema), columns, rows)?)
}
