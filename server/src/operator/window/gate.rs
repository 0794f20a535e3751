//! Lets rows through that belong to a window which is still open; notes those that come too late for one, each once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::StreamExt;

use super::panes::{RowWindows, Windows};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::Operator;
use crate::operator::epoch_cell::{Epoch, EpochCell, micros};
use crate::operator::late::{FAR_MAX, Late, Ledger, note_too_far, once_a_row};
use crate::operator::logical::EVENT_TIME;
use crate::watermark::InputMarks;

/// Stands below the partial aggregation. Column `pane` of its input is the start of each row's pane.
#[derive(Debug)]
pub struct LateGateExec {
    input: Arc<dyn ExecutionPlan>,
    gate: Gate,
    properties: Arc<PlanProperties>,
}

impl LateGateExec {
    /// # Errors
    /// `Bug` where the pane is computed: it has to be a column of the input.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        pane: &Arc<dyn PhysicalExpr>,
        operator: Arc<dyn Operator>,
        windows: Windows,
        index: usize,
        cell: Arc<EpochCell>,
    ) -> Result<Self> {
        let Some(pane) = pane.downcast_ref::<Column>().map(Column::index) else {
            return Err(Error::bug(format!("the pane is {pane}, not a column")));
        };
        let properties = Arc::clone(input.properties());
        Ok(LateGateExec { input, gate: Gate { pane, operator, windows, index, cell }, properties })
    }
}

impl DisplayAs for LateGateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateGateExec: operator={}", self.gate.operator.id())
    }
}

impl ExecutionPlan for LateGateExec {
    fn name(&self) -> &str {
        "LateGateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // It does, but saying so would let the optimizer move the sort of an ordered aggregate (`array_agg(x ORDER BY y)`)
        // below this node, where the template cannot tell it from a sort that orders one epoch's output.
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> datafusion::error::Result<TreeNodeRecursion>,
    ) -> datafusion::error::Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        let properties = Arc::clone(input.properties());
        Ok(Arc::new(LateGateExec { input, gate: self.gate.clone(), properties }))
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
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let (gate, epoch) = (self.gate.clone(), self.gate.cell.current());
        let stream = input.map(move |batch| Ok(gate.pass(&epoch, batch?)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

#[derive(Debug, Clone)]
struct Gate {
    pane: usize,
    operator: Arc<dyn Operator>,
    windows: Windows,
    /// The operator's place among those of its query.
    index: usize,
    cell: Arc<EpochCell>,
}

impl Gate {
    fn pass(&self, epoch: &Epoch, batch: RecordBatch) -> Result<RecordBatch> {
        let [InputMarks { late, .. }] = InputMarks::of_inputs(epoch.marks_of(self.index));
        let closed = self.windows.closed_through(late);
        let column = batch.column(self.pane);
        if column.null_count() == 0 {
            let panes = micros(column)?;
            let (earliest, latest) = (panes.iter().copied().min(), panes.iter().copied().max());
            let far = latest.is_some_and(|pane| self.windows.earliest_row(pane) > epoch.far_after);
            // The common case: even the first window of the earliest pane is open.
            if !far && earliest.is_none_or(|pane| self.windows.first_end(pane) > closed) {
                return Ok(batch);
            }
        }
        self.sort_out(epoch, &batch, late, closed)
    }

    /// The rows with an open window. Rows without a time belong to none and are counted as filtered.
    fn sort_out(&self, epoch: &Epoch, batch: &RecordBatch, watermark: Micros, closed: Micros) -> Result<RecordBatch> {
        let column: &ArrayRef = batch.column(self.pane);
        let panes = micros(column)?;
        let mut keep = vec![true; batch.num_rows()];
        let mut late = Vec::new();
        let mut without_time = 0;
        let mut far = FarPanes { after: epoch.far_after, windows: self.windows, open: None };
        for (row, pane) in panes.into_iter().enumerate() {
            if column.is_null(row) {
                keep[row] = false;
                without_time += 1;
                continue;
            }
            if !far.admit(pane, self.operator.as_ref()) {
                keep[row] = false;
                note_too_far(epoch, batch, row, "windows or parts of windows")?;
                continue;
            }
            let Some(last_missed) = self.windows.last_end_through(pane, closed) else { continue };
            keep[row] = self.windows.last_end(pane) > closed;
            late.push(Late {
                row,
                missed: Some((self.windows.start_of(self.windows.first_end(pane)), last_missed)),
                wholly: !keep[row],
            });
        }
        epoch.effects.count_without_time(without_time);
        // Rows that come with their windows come once for each.
        let late = if self.windows.rows == RowWindows::ByEnd { once_a_row(batch, late, &keep) } else { late };
        let time = batch.schema().index_of(EVENT_TIME).ok();
        let ledger = Ledger { operator: self.operator.id(), input: 0, time, ours: &[self.pane], watermark };
        ledger.note(epoch, batch, &late)?;
        Ok(filter_record_batch(batch, &BooleanArray::from(keep))?)
    }
}

/// The panes ahead of what can be believed of a time. They are never final before their time has come, so there is a limit to them.
struct FarPanes {
    after: Micros,
    windows: Windows,
    /// Known once a row is looked at that lies in one.
    open: Option<BTreeSet<Micros>>,
}

impl FarPanes {
    /// Whether a row of the pane may be kept.
    fn admit(&mut self, pane: Micros, operator: &dyn Operator) -> bool {
        // A pane that is named by its end is that of rows of now for as long as its window.
        let is_far = |pane: &Micros| self.windows.earliest_row(*pane) > self.after;
        if !is_far(&pane) {
            return true;
        }
        let open =
            self.open.get_or_insert_with(|| operator.panes_after(self.after).into_iter().filter(is_far).collect());
        open.contains(&pane) || (open.len() < FAR_MAX && open.insert(pane))
    }
}
