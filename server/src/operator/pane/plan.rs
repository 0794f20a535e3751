//! What runs over the rows of a window when it closes: DataFusion's own sort and window nodes, put together once.
//!
//! Not by DataFusion's planner. That would take a sort for any other that orders the same keys, also backwards, and rows that tie would come
//! as it happens to be. Here each call sees them in the order in which they were read: the sort below it goes on behind its keys with
//! what tells rows apart, and the call is told of the keys alone, so that peers stay peers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowExpr};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode, SendableRecordBatchStream};

use super::rows_exec::WindowRowsExec;
use crate::error::{Error, Result};
use crate::operator::instance::instance_of;

/// See the module's first line. Its output: the columns of the rows, and behind them a column for each call.
#[derive(Debug)]
pub(super) struct WindowPlan {
    rows: SchemaRef,
    leaf: WindowRowsExec,
    plan: Arc<dyn ExecutionPlan>,
}

impl WindowPlan {
    /// `ties`: the columns of `rows` that tell rows apart.
    ///
    /// # Errors
    /// Those of DataFusion for a call that cannot be computed.
    pub(super) fn try_new(rows: SchemaRef, calls: Vec<Arc<dyn WindowExpr>>, ties: &[usize]) -> Result<Self> {
        let mut plan: Arc<dyn ExecutionPlan> = Arc::new(WindowRowsExec::new(Arc::clone(&rows)));
        for calls in calls.chunk_by(|a, b| a.partition_by() == b.partition_by() && a.order_by() == b.order_by()) {
            let ordering = LexOrdering::new(ordering(&calls[0], &rows, ties));
            let ordering = ordering.ok_or_else(|| Error::bug("a window without a partition"))?;
            let sorted = Arc::new(SortExec::new(ordering, plan));
            // As DataFusion chooses.
            plan = match calls.iter().all(|call| call.uses_bounded_memory()) {
                true => Arc::new(BoundedWindowAggExec::try_new(calls.to_vec(), sorted, InputOrderMode::Sorted, false)?),
                false => Arc::new(WindowAggExec::try_new(calls.to_vec(), sorted, false)?),
            };
        }
        Ok(WindowPlan { leaf: WindowRowsExec::new(Arc::clone(&rows)), rows, plan })
    }

    /// Of the rows that it runs over.
    pub(super) fn rows(&self) -> &SchemaRef {
        &self.rows
    }

    pub(super) fn run(&self, rows: RecordBatch, context: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let leaf: Arc<dyn ExecutionPlan> = Arc::new(self.leaf.of(rows));
        Ok(instance_of(&self.plan, Some(&leaf))?.execute(0, Arc::clone(context))?)
    }
}

/// The partition, the order, and behind them what tells peers apart: with DESC the last comes first, as in aggregates.
fn ordering(call: &Arc<dyn WindowExpr>, rows: &SchemaRef, ties: &[usize]) -> Vec<PhysicalSortExpr> {
    let ascending = SortOptions { descending: false, nulls_first: true };
    let partition = call.partition_by().iter().map(|expr| PhysicalSortExpr::new(Arc::clone(expr), ascending));
    let descending = call.order_by().first().is_some_and(|first| first.options.descending);
    let options = SortOptions { descending, nulls_first: !descending };
    let ties = ties.iter().map(|at| {
        let column = Column::new(rows.field(*at).name(), *at);
        PhysicalSortExpr::new(Arc::new(column), options)
    });
    partition.chain(call.order_by().iter().cloned()).chain(ties).collect()
}
