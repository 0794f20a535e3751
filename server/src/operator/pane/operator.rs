//! The operator: the rows of the windows that are open, and what of them is state.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, partition, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use parking_lot::Mutex;

use super::closing::closing;
use super::plan::WindowPlan;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::{
    Deadline, Emission, Operator, RemoteSegment, RestoredSegment, StateKind, StoredSegment,
};
use crate::operator::epoch_cell::Epoch;
use crate::operator::rows::{result_as_json, same_types, together, types_sha256};
use crate::operator::window::held;
use crate::operator::window::panes::Windows;
use crate::state::{Account, Merge, PaneState, Rows, batch_of};
use crate::watermark::{InputMarks, NONE};

/// See the module's first line. Panes are named by the ends of their windows.
#[derive(Debug)]
pub(super) struct OverOperator {
    id: String,
    pub(super) windows: Windows,
    schema: SchemaRef,
    /// Known when the first plan has been made.
    planned: OnceLock<Planned>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Planned {
    plan: WindowPlan,
    /// So many of the first columns divide the rows of a window: no call compares rows that differ in them.
    keys: usize,
    /// Where the plan's columns are that are emitted, before those of the calls.
    shown: Vec<usize>,
}

#[derive(Debug)]
struct State {
    panes: PaneState,
    /// Set by a close in the running epoch: what commit forgets.
    done_through: Option<Micros>,
}

impl OverOperator {
    pub(super) fn new(id: String, windows: Windows, schema: SchemaRef) -> Self {
        let state = Mutex::new(State { panes: PaneState::new(&Account::unlimited()), done_through: None });
        OverOperator { id, windows, schema, planned: OnceLock::new(), state }
    }

    pub(super) fn is_planned(&self) -> bool {
        self.planned.get().is_some()
    }

    pub(super) fn set_plan(&self, plan: WindowPlan, keys: usize, shown: Vec<usize>) {
        let _ = self.planned.set(Planned { plan, keys, shown });
    }

    fn planned(&self) -> Result<&Planned> {
        self.planned.get().ok_or_else(|| Error::bug("OVER runs without having been planned"))
    }

    /// The columns by which the rows of a window fall apart.
    pub(super) fn keys(&self) -> Result<usize> {
        Ok(self.planned()?.keys)
    }

    /// The rows of the window that ends at `end`, as they are kept.
    pub(super) fn rows_of(&self, end: Micros) -> Vec<Rows> {
        let (from, to) = self.windows.panes_of(end);
        self.state.lock().panes.rows(from, to)
    }

    /// Batches of rows as one: how they had come must not show in how they are sorted.
    pub(super) fn together(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
        together(batches, self.planned()?.plan.rows())
    }

    /// Runs the plan over rows that belong together.
    pub(super) fn run(&self, rows: RecordBatch, context: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.planned()?.plan.run(rows, context)
    }

    /// What is emitted of a batch of the plan.
    pub(super) fn output(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let Planned { plan, shown, .. } = self.planned()?;
        let shown = shown.iter().map(|at| batch.column(*at));
        let columns = shown.chain(&batch.columns()[plan.rows().fields().len()..]).cloned().collect();
        Ok(batch_of(Arc::clone(&self.schema), columns, batch.num_rows())?)
    }

    /// Rows as two halves that no call compares with one another; `None` where there are none.
    pub(super) fn halves(&self, rows: &RecordBatch) -> Result<Option<[RecordBatch; 2]>> {
        let keys = self.keys()?;
        if keys == 0 {
            return Ok(None);
        }
        let columns = |rows: &RecordBatch| rows.columns()[..keys].to_vec();
        let order: Vec<SortColumn> =
            columns(rows).into_iter().map(|values| SortColumn { values, options: None }).collect();
        let sorted = take_record_batch(rows, &lexsort_to_indices(&order, None)?)?;
        let of_one_key = partition(&columns(&sorted))?.ranges();
        if of_one_key.len() < 2 {
            return Ok(None);
        }
        let middle = of_one_key[of_one_key.len() / 2].start;
        Ok(Some([sorted.slice(0, middle), sorted.slice(middle, sorted.num_rows() - middle)]))
    }

    /// What of a window cannot be computed: of one key, or where there are no keys, all of it.
    pub(super) fn named(&self, rows: &RecordBatch, end: Micros) -> Result<String> {
        let keys = rows.schema_ref().fields().iter().zip(rows.columns()).take(self.keys()?);
        let keys = keys.map(|(field, values)| (field.name().clone(), values.slice(0, 1)));
        result_as_json(&self.id, Some((self.windows.start_of(end), end)), keys)
    }
}

impl Operator for OverOperator {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> StateKind {
        StateKind { name: "pane", version: 1 }
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn charge_to(&self, account: &Arc<Account>) {
        self.state.lock().panes = PaneState::new(account);
    }

    fn bind(&self, _: &[Arc<dyn ExecutionPlan>]) -> Result<()> {
        Ok(())
    }

    /// Takes one batch `(pane, column…)`.
    fn take(&self, _: usize, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let schema = self.planned()?.plan.rows();
        let rows = |batch: &RecordBatch| -> Result<RecordBatch> {
            Ok(batch_of(Arc::clone(schema), batch.columns()[1..].to_vec(), batch.num_rows())?)
        };
        held::by_pane(&batch, rows, |pane, rows| self.state.lock().panes.append(pane, rows))?;
        Ok(vec![])
    }

    /// The rows of every window that closes in this epoch, in order of window end.
    fn close(
        self: Arc<Self>,
        marks: &[InputMarks],
        epoch: &Arc<Epoch>,
        context: &Arc<TaskContext>,
    ) -> Result<Emission> {
        let (closed, to) = held::closes(&self.windows, marks);
        let panes = {
            let mut state = self.state.lock();
            let panes = state.panes.pane_starts();
            state.done_through = held::done_through(&self.windows, &panes, to);
            panes
        };
        Ok(closing(self, Arc::clone(epoch), Arc::clone(context), panes, closed, to))
    }

    fn commit(&self) -> Result<()> {
        let Planned { plan, keys, .. } = self.planned()?;
        let mut state = self.state.lock();
        let done_through = state.done_through.take().unwrap_or(NONE);
        state.panes.commit(done_through, &Side { rows: plan.rows(), keys: *keys })
    }

    fn abort(&self) {
        let mut state = self.state.lock();
        state.done_through = None;
        state.panes.abort();
    }

    fn segments(&self) -> Vec<StoredSegment> {
        held::segments(&self.state.lock().panes)
    }

    fn state_schema_sha256(&self) -> Result<String> {
        Ok(types_sha256(self.planned()?.plan.rows().fields().iter()))
    }

    fn restore(&self, segment: RestoredSegment) -> Result<()> {
        let RestoredSegment { pane, id, level, batches, .. } = segment;
        let Planned { plan, keys, .. } = self.planned()?;
        let of_today = |batch: RecordBatch| match same_types(&batch, plan.rows()) {
            true => Ok(batch_of(Arc::clone(plan.rows()), batch.columns().to_vec(), batch.num_rows())?),
            false => Err(Error::invalid("rows of a window are kept with other columns")),
        };
        let batches = batches.into_iter().map(of_today).collect::<Result<_>>()?;
        self.state.lock().panes.restore(pane, id, level, batches, *keys)
    }

    fn restore_remote(&self, segment: RemoteSegment) -> bool {
        let RemoteSegment { pane, id, level, home, .. } = segment;
        self.state.lock().panes.restore_remote(pane, id, level, home);
        true
    }

    fn stored(&self, segment: RemoteSegment) {
        self.state.lock().panes.stored(segment.pane, segment.id, segment.home);
    }

    fn needed(&self, marks: &[InputMarks]) -> Vec<RemoteSegment> {
        let keys = self.planned.get().map_or(0, |planned| planned.keys);
        held::needed(&self.windows, &mut self.state.lock().panes, marks, keys)
    }

    fn next_deadlines(&self, marks: &[InputMarks]) -> Vec<Deadline> {
        held::next_deadlines(&self.windows, &self.state.lock().panes, marks)
    }

    fn last_deadline(&self, _: usize, newest: Micros) -> Option<Micros> {
        held::last_deadline(&self.windows, &self.state.lock().panes, newest)
    }

    fn panes_after(&self, at: Micros) -> BTreeSet<Micros> {
        held::panes_after(&self.state.lock().panes, at)
    }

    fn bytes(&self) -> usize {
        self.state.lock().panes.bytes()
    }

    fn disk_bytes(&self) -> u64 {
        self.state.lock().panes.disk_bytes()
    }

    fn open(&self) -> usize {
        self.state.lock().panes.pane_count()
    }
}

/// Rows side by side: none is merged with another, only their batches are.
struct Side<'a> {
    rows: &'a SchemaRef,
    keys: usize,
}

impl Merge for Side<'_> {
    fn keys(&self) -> usize {
        self.keys
    }

    fn merge(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
        Ok(concat_batches(self.rows, batches)?)
    }
}
