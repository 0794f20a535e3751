//! The physical node of any stateful operator: drains every input into it, and when the last partition has ended, emits what closes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::contract::Operator;
use super::epoch_cell::EpochCell;

/// See the module's first line. Partition `n` of its output drains partition `n` of each input, one input after the other.
#[derive(Debug)]
pub struct OperatorExec {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    operator: Arc<dyn Operator>,
    /// The operator's place among those of its query.
    index: usize,
    cell: Arc<EpochCell>,
    /// Partitions that have not been drained yet. The last one closes.
    open: Arc<AtomicUsize>,
    properties: Arc<PlanProperties>,
}

impl OperatorExec {
    pub fn new(
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        operator: Arc<dyn Operator>,
        index: usize,
        cell: Arc<EpochCell>,
    ) -> Self {
        let partitions = partitions(&inputs);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(operator.schema())),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Both,
            Boundedness::Bounded,
        );
        let open = Arc::new(AtomicUsize::new(partitions));
        OperatorExec { inputs, operator, index, cell, open, properties: Arc::new(properties) }
    }

    pub fn operator(&self) -> &Arc<dyn Operator> {
        &self.operator
    }

    /// Input partitions that every run reports as read to their end.
    pub fn drains(&self) -> usize {
        self.inputs.iter().map(|input| input.output_partitioning().partition_count()).sum()
    }

    /// Tells the operator its inputs, as the optimized plan has them.
    pub fn bind(&self) -> crate::error::Result<()> {
        self.operator.bind(&self.inputs)
    }
}

fn partitions(inputs: &[Arc<dyn ExecutionPlan>]) -> usize {
    inputs.iter().map(|input| input.output_partitioning().partition_count()).max().unwrap_or(1)
}

impl DisplayAs for OperatorExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorExec: operator={}, kind={}", self.operator.id(), self.operator.kind().name)
    }
}

impl ExecutionPlan for OperatorExec {
    fn name(&self) -> &str {
        "OperatorExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.operator.schema())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // A fresh count of open partitions: an instance runs once.
        Ok(Arc::new(OperatorExec::new(children, Arc::clone(&self.operator), self.index, Arc::clone(&self.cell))))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut inputs = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            if partition < input.output_partitioning().partition_count() {
                inputs.push((number, input.execute(partition, Arc::clone(&context))?));
            }
        }
        let epoch = self.cell.current();
        let taken = stream::iter(inputs).flat_map({
            let (operator, epoch) = (Arc::clone(&self.operator), Arc::clone(&epoch));
            move |(number, input)| {
                let operator = Arc::clone(&operator);
                let emitted =
                    input.map(move |batch| Ok::<_, DataFusionError>(all(operator.take(number, batch?)?))).try_flatten();
                // Polled only when everything before it has been taken.
                let epoch = Arc::clone(&epoch);
                emitted.chain(stream::once(async move { epoch.effects.drained() }).filter_map(|()| async { None }))
            }
        });
        let (operator, open, index) = (Arc::clone(&self.operator), Arc::clone(&self.open), self.index);
        let closed = async move {
            let emission = match open.fetch_sub(1, Ordering::AcqRel) > 1 {
                true => stream::empty().boxed(),
                false => operator.close(epoch.marks_of(index), &epoch, &context)?,
            };
            Ok::<_, DataFusionError>(emission.map_err(DataFusionError::from))
        };
        let rows = taken.chain(stream::once(closed).try_flatten());
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

fn all(batches: Vec<RecordBatch>) -> impl futures::Stream<Item = Result<RecordBatch>> {
    stream::iter(batches.into_iter().map(Ok))
}
