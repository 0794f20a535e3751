//! The physical node: drains its input into the operator's state, and when every partition has, emits what closes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::merge::StateMerge;
use super::operator::WindowOperator;
use crate::pipeline::EpochCell;

/// Stands above the partial aggregation; its output is the query's aggregate.
#[derive(Debug)]
pub struct WindowAggExec {
    input: Arc<dyn ExecutionPlan>,
    operator: Arc<WindowOperator>,
    /// The operator's place among the stateful operators of its query.
    index: usize,
    /// Key columns of the partial aggregation, the pane not counted.
    keys: usize,
    cell: Arc<EpochCell>,
    /// Input partitions that have not been drained yet. The last one closes.
    open: Arc<AtomicUsize>,
    properties: Arc<PlanProperties>,
}

impl WindowAggExec {
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        operator: Arc<WindowOperator>,
        index: usize,
        keys: usize,
        cell: Arc<EpochCell>,
    ) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(operator.schema())),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let open = Arc::new(AtomicUsize::new(partitions));
        WindowAggExec { input, operator, index, keys, cell, open, properties: Arc::new(properties) }
    }

    /// Tells the operator how its states merge, as the optimized plan has them.
    pub fn finish_planning(&self) -> Result<()> {
        let mut node = &self.input;
        let partial = loop {
            if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
                break aggregate;
            }
            match node.children().as_slice() {
                [only] => node = only,
                _ => return Err(crate::error::Error::bug("no partial aggregation below a windowed aggregate").into()),
            }
        };
        let merge = StateMerge::try_new(partial.aggr_expr().to_vec(), &partial.schema(), self.keys)?;
        self.operator.set_merge(merge);
        Ok(())
    }
}

impl DisplayAs for WindowAggExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = self.operator.windows;
        write!(f, "WindowAggExec: operator={}, size={}us, slide={}us", self.operator.id, windows.size, windows.slide)
    }
}

impl ExecutionPlan for WindowAggExec {
    fn name(&self) -> &str {
        "WindowAggExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.operator.schema())
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
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // A fresh count of open partitions: an instance runs once.
        Ok(Arc::new(WindowAggExec::new(
            children.swap_remove(0),
            Arc::clone(&self.operator),
            self.index,
            self.keys,
            Arc::clone(&self.cell),
        )))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, context)?;
        let operator = Arc::clone(&self.operator);
        let cell = Arc::clone(&self.cell);
        let open = Arc::clone(&self.open);
        let index = self.index;
        let emitted = async move {
            while let Some(batch) = input.next().await {
                operator.ingest(&batch?)?;
            }
            let epoch = cell.current();
            epoch.effects.drained();
            if open.fetch_sub(1, Ordering::AcqRel) > 1 {
                return Ok::<_, DataFusionError>(stream::iter(vec![]));
            }
            let marks = epoch.marks[index];
            let batches = operator.close(marks.late, marks.close)?;
            Ok(stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(emitted).try_flatten())))
    }
}
