//! A branch of a union that reads no stream: its rows are a bounded source of one partition, emitted with the first epoch and never
//! again. What a checkpoint keeps of it is its position: 1 once they are out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::stream;
use parking_lot::Mutex;

use super::contract::{Deadline, Emission, Operator, RestoredSegment, StateKind, StoredSegment, emission};
use super::epoch_cell::Epoch;
use super::logical::{Definition, Lowering, OperatorNode};
use crate::clock::Micros;
use crate::error::Result;
use crate::watermark::InputMarks;

/// The node that stands for `plan`, which reads no stream.
pub fn node(id: String, plan: LogicalPlan) -> OperatorNode {
    let schema = Arc::clone(plan.schema());
    OperatorNode {
        id,
        inputs: vec![],
        exprs: vec![],
        schema,
        definition: Arc::new(Once { plan, operator: Mutex::new(None) }),
    }
}

struct Once {
    plan: LogicalPlan,
    /// The same as the node's, in its own type.
    operator: Mutex<Option<Arc<OnceOperator>>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Once({})", self.plan.display())
    }
}

#[async_trait]
impl Definition for Once {
    fn describe(&self, _: &OperatorNode) -> String {
        "static rows, read once".to_owned()
    }

    fn create(&self, id: &str, schema: SchemaRef) -> Arc<dyn Operator> {
        let operator = Arc::new(OnceOperator {
            id: id.to_owned(),
            schema,
            position: AtomicU64::new(0),
            running: AtomicU64::new(0),
        });
        *self.operator.lock() = Some(Arc::clone(&operator));
        operator
    }

    async fn lower(
        &self,
        _: &OperatorNode,
        _: &Arc<dyn Operator>,
        _: usize,
        context: Lowering<'_>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let rows = context.session.create_physical_plan(&self.plan).await?;
        let operator = self.operator.lock().clone();
        let operator =
            operator.ok_or_else(|| crate::error::Error::bug("a static branch was planned before it was made"))?;
        Ok(vec![Arc::new(OnceExec { rows, operator })])
    }
}

#[derive(Debug)]
struct OnceOperator {
    id: String,
    schema: SchemaRef,
    position: AtomicU64,
    /// What the position will be when the running epoch is committed.
    running: AtomicU64,
}

impl OnceOperator {
    fn is_due(&self) -> bool {
        self.position.load(Ordering::Acquire) == 0
    }
}

impl Operator for OnceOperator {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> StateKind {
        StateKind { name: "once", version: 1 }
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn bind(&self, _: &[Arc<dyn ExecutionPlan>]) -> Result<()> {
        Ok(())
    }

    fn take(&self, _: usize, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        Ok(vec![batch.with_schema(Arc::clone(&self.schema))?])
    }

    fn close(self: Arc<Self>, _: &[InputMarks], _: &Arc<Epoch>, _: &Arc<TaskContext>) -> Result<Emission> {
        self.running.store(1, Ordering::Release);
        Ok(emission(std::iter::empty()))
    }

    fn commit(&self) -> Result<()> {
        self.position.fetch_max(self.running.load(Ordering::Acquire), Ordering::AcqRel);
        Ok(())
    }

    fn abort(&self) {
        self.running.store(0, Ordering::Release);
    }

    fn segments(&self) -> Vec<StoredSegment> {
        vec![]
    }

    fn state_schema_sha256(&self) -> Result<String> {
        Ok(String::new())
    }

    fn restore(&self, _: RestoredSegment) -> Result<()> {
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    fn restore_position(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    fn next_deadlines(&self, _: &[InputMarks]) -> Vec<Deadline> {
        self.is_due().then_some(Deadline::Now).into_iter().collect()
    }

    fn bytes(&self) -> usize {
        0
    }

    fn open(&self) -> usize {
        usize::from(self.is_due())
    }

    fn last_deadline(&self, _: usize, _: Micros) -> Option<Micros> {
        None
    }
}

/// The static rows while they are due, and nothing afterwards.
#[derive(Debug)]
struct OnceExec {
    rows: Arc<dyn ExecutionPlan>,
    operator: Arc<OnceOperator>,
}

impl DisplayAs for OnceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnceExec: operator={}", self.operator.id)
    }
}

impl ExecutionPlan for OnceExec {
    fn name(&self) -> &str {
        "OnceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.rows.properties()
    }

    // The static plan is no child: it is not run anew with every epoch, and any node may stand in it.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> datafusion::error::Result<TreeNodeRecursion>,
    ) -> datafusion::error::Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        if self.operator.is_due() {
            // A step that was undone has run it before.
            return reset_plan_states(Arc::clone(&self.rows))?.execute(partition, context);
        }
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.rows.schema(), stream::empty())))
    }
}
