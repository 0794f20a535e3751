//! One continuous query as a plan that runs once per epoch: pure but for the state it carries.
//!
//! Given an epoch's batches and the watermarks before and after it, [`Pipeline::step`] returns the rows to emit. It reads no
//! clock and does no I/O (static tables apart, which are read once). [`Pipeline::commit`] makes the step final,
//! [`Pipeline::abort`] undoes it, and until one of them is called no further step may run.

mod bounded;
mod epoch_cell;
mod failure;
mod plain_views;
mod plan;
mod source_exec;
mod template;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;

pub use bounded::{plan_bounded, plan_to_the_end};
pub use epoch_cell::{Effects, Epoch, EpochCell, LateRow, Marks};
pub use failure::at_its_expression;
pub use plain_views::{plain_view_table, plain_views_of, relations};
pub use plan::{PlanSettings, Planned, Tables, plan};
pub use source_exec::{EpochSourceExec, StreamSlot};
use template::Template;

use crate::catalog::Emit;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::window::WindowOperator;
use crate::watermark::WatermarkExpr;

/// A planned continuous query.
#[derive(Debug)]
pub struct Pipeline {
    /// The stream tables it reads, by slot.
    pub slots: Vec<Arc<StreamSlot>>,
    pub schema: SchemaRef,
    pub emit: Emit,
    operators: Vec<Stateful>,
    narrow: Template,
    /// `None` where one partition is all there is.
    wide: Option<Template>,
    /// Rows from which on an epoch runs on the wide plan.
    wide_rows: usize,
    cell: Arc<EpochCell>,
    context: Arc<TaskContext>,
}

/// A stateful operator and the watermark of its input edge.
#[derive(Debug, Clone)]
pub struct Stateful {
    pub operator: Arc<WindowOperator>,
    pub watermark: WatermarkExpr,
}

/// What an epoch consumes.
#[derive(Debug, Default)]
pub struct StepInput {
    pub epoch: u64,
    /// The epoch's processing time.
    pub now: Micros,
    /// Rows of each slot, with the slot's columns.
    pub batches: Vec<Vec<RecordBatch>>,
    /// Watermark of each slot's source after the previous epoch, and after this one.
    pub before: Vec<Micros>,
    pub after: Vec<Micros>,
}

/// What an epoch produced.
#[derive(Debug, Default)]
pub struct StepOutput {
    pub batches: Vec<RecordBatch>,
    pub late: Vec<LateRow>,
    /// Rows that belong to no window, because their event time is NULL.
    pub without_time: u64,
}

impl StepOutput {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Pipeline {
    pub fn operators(&self) -> &[Stateful] {
        &self.operators
    }

    /// Runs the plan once over `input`.
    ///
    /// # Errors
    /// Whatever an expression of the query raises on this data. The state is then as before; call [`Pipeline::abort`].
    pub async fn step(&self, input: StepInput) -> Result<StepOutput> {
        let rows: usize = input.batches.iter().flatten().map(RecordBatch::num_rows).sum();
        let template = match &self.wide {
            Some(wide) if rows >= self.wide_rows => wide,
            _ => &self.narrow,
        };
        let marks = self
            .operators
            .iter()
            .map(|stateful| Marks {
                late: stateful.watermark.evaluate(&input.before),
                close: stateful.watermark.evaluate(&input.after),
            })
            .collect();
        let epoch = self.cell.enter(Epoch::new(input.epoch, input.now, input.batches, marks));
        let result = template.run(&self.context).await;
        self.cell.leave();
        let batches = result?;
        let drained = epoch.effects.drained_count();
        if drained != template.drains() {
            return Err(Error::bug(format!(
                "epoch {} left input unread: {drained} of {} inputs were drained",
                epoch.id,
                template.drains()
            )));
        }
        let (late, without_time) = epoch.effects.take();
        Ok(StepOutput { batches, late, without_time })
    }

    /// Makes the last step part of the state.
    pub fn commit(&self) -> Result<()> {
        self.operators.iter().try_for_each(|stateful| stateful.operator.commit())
    }

    /// Forgets the last step.
    pub fn abort(&self) {
        self.operators.iter().for_each(|stateful| stateful.operator.abort());
    }

    /// The watermark of a source at which the next window closes, if nothing else moves: an epoch without rows is due when
    /// a source passes it. `sources`: where the sources' watermarks stand.
    pub fn closes_between(&self, before: &[Micros], after: &[Micros]) -> bool {
        self.operators.iter().any(|Stateful { operator, watermark }| {
            let closed = operator.windows.closed_through(watermark.evaluate(before));
            operator.next_close(closed).is_some_and(|at| at <= watermark.evaluate(after))
        })
    }

    /// The source watermark that would close every open window, for `EMIT TIMEOUT`; `None` where no window is open.
    ///
    /// Windows of rows later than `newest` stay open: one row with a time in the far future must not make all rows late
    /// that come before it.
    pub fn close_all_at(&self, newest: Micros) -> Option<Micros> {
        self.operators.iter().filter_map(|stateful| stateful.operator.close_all_at(newest)).max()
    }

    /// Bytes of state.
    pub fn state_bytes(&self) -> usize {
        self.operators.iter().map(|stateful| stateful.operator.bytes()).sum()
    }

    pub fn open_panes(&self) -> usize {
        self.operators.iter().map(|stateful| stateful.operator.pane_count()).sum()
    }
}
