//! Lets rows through that belong to a window which is still open; notes those that come too late for one, each once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::StreamExt;

use super::panes::{RowWindows, Windows};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::{BadRow, LateRow, Operator};
use crate::operator::epoch_cell::{Epoch, EpochCell, RowId, micros};
use crate::operator::logical::EVENT_TIME;
use crate::operator::rows::{json_rows, row_ids};
use crate::watermark::InputMarks;

/// Panes of one operator beyond `watermark-max-future`.
const FAR_PANES_MAX: usize = 1_000;

/// Stands below the partial aggregation. Column `pane` of its input is the start of each row's pane.
#[derive(Debug)]
pub struct LateGateExec {
    input: Arc<dyn ExecutionPlan>,
    gate: Gate,
    properties: Arc<PlanProperties>,
}

impl LateGateExec {
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        pane: usize,
        operator: Arc<dyn Operator>,
        windows: Windows,
        index: usize,
        cell: Arc<EpochCell>,
    ) -> Self {
        let properties = Arc::clone(input.properties());
        LateGateExec { input, gate: Gate { pane, operator, windows, index, cell }, properties }
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
        let InputMarks { late, .. } = epoch.marks_of(self.index).first().copied().unwrap_or(InputMarks::NONE);
        let closed = self.windows.closed_through(late);
        let column = batch.column(self.pane);
        if column.null_count() == 0 {
            let panes = micros(column)?;
            let (earliest, latest) = (panes.iter().copied().min(), panes.iter().copied().max());
            let far = latest.is_some_and(|pane| pane > epoch.far_after);
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
        let mut far = FarPanes { after: epoch.far_after, open: None };
        for (row, pane) in panes.into_iter().enumerate() {
            if column.is_null(row) {
                keep[row] = false;
                without_time += 1;
                continue;
            }
            if !far.admit(pane, self.operator.as_ref()) {
                keep[row] = false;
                epoch.effects.add_bad(too_far(epoch, batch, row)?);
                continue;
            }
            let Some(last_missed) = self.windows.last_end_through(pane, closed) else { continue };
            keep[row] = self.windows.last_end(pane) > closed;
            late.push(Late {
                row,
                missed: (self.windows.start_of(self.windows.first_end(pane)), last_missed),
                wholly: !keep[row],
            });
        }
        epoch.effects.count_without_time(without_time);
        if !late.is_empty() {
            let late = self.once_a_row(batch, late, &keep);
            epoch.effects.add_late(self.entries(epoch, batch, &late, watermark)?.into_iter());
        }
        Ok(filter_record_batch(batch, &BooleanArray::from(keep))?)
    }

    /// Rows that come with their windows come once for each: what they missed is put together, and what is kept of them seen.
    fn once_a_row(&self, batch: &RecordBatch, late: Vec<Late>, keep: &[bool]) -> Vec<Late> {
        if self.windows.rows == RowWindows::ByPane {
            return late;
        }
        let Some(ids) = row_ids(batch) else { return late };
        let id = |row: usize| ids.is_valid(row).then(|| ids.value(row));
        let kept: HashSet<i64> = (0..keep.len()).filter(|row| keep[*row]).filter_map(id).collect();
        let mut seen: HashMap<i64, usize> = HashMap::new();
        let mut once: Vec<Late> = Vec::new();
        for entry in late {
            let at = id(entry.row).map(|id| (id, *seen.entry(id).or_insert(once.len())));
            match at {
                Some((_, at)) if at < once.len() => {
                    let missed = &mut once[at].missed;
                    *missed = (missed.0.min(entry.missed.0), missed.1.max(entry.missed.1));
                }
                Some((id, _)) => once.push(Late { wholly: !kept.contains(&id), ..entry }),
                None => once.push(entry),
            }
        }
        once
    }

    fn entries(&self, epoch: &Epoch, batch: &RecordBatch, late: &[Late], watermark: Micros) -> Result<Vec<LateRow>> {
        let rows = late.iter().map(|late| u32::try_from(late.row)).collect::<std::result::Result<Vec<_>, _>>();
        let rows = rows.map_err(|_| Error::bug("batch of over 2^32 rows"))?;
        let batch = take_record_batch(batch, &UInt32Array::from(rows))?;
        let ids = row_ids(&batch);
        let times = batch.column_by_name(EVENT_TIME).map(|column| Ok::<_, Error>((micros(column)?, column.clone())));
        let times = times.transpose()?;
        let text = json_rows(&batch, &[self.pane])?;
        let entries = late.iter().zip(text).enumerate().map(|(at, (late, row))| {
            let id = ids.as_ref().filter(|ids| ids.is_valid(at)).map(|ids| RowId::decoded(ids.value(at)));
            let time = || times.as_ref().filter(|(_, column)| column.is_valid(at)).map(|(times, _)| times[at]);
            LateRow {
                operator: self.operator.id().to_owned(),
                input: 0,
                event_time: id.and_then(|id| epoch.event_time_of(id)).or_else(time),
                watermark,
                origin: id.and_then(|id| epoch.origin_of(id)),
                missed: Some(late.missed),
                wholly: late.wholly,
                row,
            }
        });
        Ok(entries.collect())
    }
}

struct Late {
    row: usize,
    missed: (Micros, Micros),
    wholly: bool,
}

/// The panes ahead of what can be believed of a time. They are never final before their time has come, so there is a limit to them.
struct FarPanes {
    after: Micros,
    /// Known once a row is looked at that lies in one.
    open: Option<BTreeSet<Micros>>,
}

impl FarPanes {
    /// Whether a row of the pane may be kept.
    fn admit(&mut self, pane: Micros, operator: &dyn Operator) -> bool {
        if pane <= self.after {
            return true;
        }
        let open = self.open.get_or_insert_with(|| operator.panes_after(self.after));
        open.contains(&pane) || (open.len() < FAR_PANES_MAX && open.insert(pane))
    }
}

fn too_far(epoch: &Epoch, batch: &RecordBatch, row: usize) -> Result<BadRow> {
    let error = Error::invalid(format!(
        "its time lies too far ahead, where {FAR_PANES_MAX} windows or parts of windows are open already"
    ))
    .hint("'watermark-max-future' of the table says how far a time may be ahead of the clock");
    BadRow::of(epoch, &batch.slice(row, 1), error)
}
