//! One continuous query as a plan that runs once per epoch: pure but for the state it carries.
//!
//! Given an epoch's batches and the watermarks before and after it, [`Pipeline::step`] returns the rows to emit. It reads no
//! clock and does no I/O (static tables apart, which the first epoch reads, or whoever has them read again, and state that only a
//! checkpoint holds, which is fetched first).
//! [`Pipeline::commit`] makes the step final, [`Pipeline::abort`] undoes it, and until one of them is called no further step may run.

mod batch;
mod bounded;
mod early;
mod failure;
mod isolation;
mod joins;
mod optimizer;
mod plain_views;
mod plan;
mod remote;
mod source_exec;
mod static_tables;
mod subqueries;
mod template;
mod view_stream;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use parking_lot::Mutex;

pub use batch::{BatchOutput, run_batch};
pub use bounded::{plan_bounded, plan_to_the_end};
use failure::ExpressionPlaces;
pub use failure::at_its_expression;
pub use plain_views::{plain_view_table, plain_views_of, relations};
pub use plan::{PlanSettings, Planned, Tables, plan};
pub use remote::fetch;
pub use source_exec::{EpochSourceExec, StreamSlot};
pub use static_tables::{StaticGroup, StaticTables, StaticVersion};
use template::Template;
pub use view_stream::ViewStream;

use self::early::EarlyStage;
use crate::catalog::Emit;
use crate::changelog::Changes;
use crate::changelog::early::EarlyForm;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::{Deadline, LateRow, Operator};
use crate::operator::epoch_cell::{Epoch, EpochCell, SourceRows};
use crate::plan::{Edge, ExplainNode, Names, OperatorInputs};
use crate::source::{DeadLetter, Origins};
use crate::state::{Account, AccountPool, Rows};
use crate::watermark::{Edges, InputMarks, InputRef, Mark, NONE, WatermarkExpr};

/// A planned continuous query.
#[derive(Debug)]
pub struct Pipeline {
    /// The streams that it reads, tables and views.
    pub slots: Vec<Arc<StreamSlot>>,
    pub schema: SchemaRef,
    pub emit: Emit,
    /// What is known of the rows that it emits.
    pub edge: Edge,
    /// Computed a second time, its rows have other values.
    pub is_volatile: bool,
    /// The tables that it reads beside its streams, read again while it runs or not.
    pub static_names: BTreeSet<String>,
    /// An operator stands behind those that it depends on.
    operators: Vec<Arc<dyn Operator>>,
    /// The marks of all edges.
    edges: Mutex<Edges>,
    static_tables: StaticTables,
    explain: ExplainNode,
    inputs: Vec<OperatorInputs>,
    narrow: Template,
    /// `None` where one partition is all there is.
    wide: Option<Template>,
    /// Rows from which on an epoch runs on the wide plan.
    wide_rows: usize,
    /// Runs an epoch once more that has failed.
    isolating: Template,
    places: ExpressionPlaces,
    /// Where results leave before they are final, too.
    early: Option<EarlyStage>,
    cell: Arc<EpochCell>,
    context: Arc<TaskContext>,
    /// For what is read while epochs run, which must leave them room.
    beside: Arc<TaskContext>,
    /// Answers for the memory of its state and its results.
    account: Arc<Account>,
}

/// What an epoch consumes.
#[derive(Debug, Default)]
pub struct StepInput {
    pub epoch: u64,
    /// The epoch's processing time.
    pub now: Micros,
    /// Rows of each slot, with the slot's columns.
    pub batches: Vec<Vec<RecordBatch>>,
    /// Where these were read, batch by batch, as far as the sources say it.
    pub origins: Vec<Vec<Origins>>,
    /// How far the sources have got with this epoch, all marks of the first slot before those of the second.
    pub sources: Vec<Mark>,
}

/// What an epoch produced.
#[derive(Debug, Default)]
pub struct StepOutput {
    /// They relate to those of the steps before as [`Pipeline::changes`] says.
    pub rows: Rows,
    /// Results that may change again, of each key its newest, in the form of [`Pipeline::early`]: they stand before `rows`, which may be
    /// final for the same keys.
    pub early: Rows,
    pub late: Vec<LateRow>,
    /// Rows that belong to no window, because their event time is NULL.
    pub without_time: u64,
    /// Rows that an expression cannot take: of the input, then they are in no result; or results.
    pub bad: Vec<DeadLetter>,
}

impl Pipeline {
    /// How many marks its sources have.
    pub fn marks(&self) -> usize {
        self.slots.iter().map(|slot| slot.marks()).sum()
    }

    pub fn operators(&self) -> &[Arc<dyn Operator>] {
        &self.operators
    }

    /// How the rows that it emits relate to those before them, the same for every step: whoever takes them is to be asked first. Early
    /// rows are not among them, and those that are final only come.
    pub fn changes(&self) -> &Changes {
        if self.early.is_some() { &Changes::Append } else { &self.edge.changes }
    }

    /// As [`Pipeline::changes`], of all rows, early ones among them.
    pub fn all_changes(&self) -> &Changes {
        &self.edge.changes
    }

    /// The form of early rows; `None` where there are none.
    pub fn early(&self) -> Option<&Arc<EarlyForm>> {
        self.early.as_ref().map(|stage| &stage.form)
    }

    /// No early rows are computed: whoever runs it takes final ones alone.
    pub fn only_final(&mut self) {
        if self.early.take().is_some() {
            self.edge.changes = Changes::Append;
        }
    }

    /// Early rows up to this are final, as of the last step. [`NONE`] where none is.
    pub fn final_through(&self) -> Micros {
        let Some(stage) = &self.early else { return NONE };
        self.operators[stage.operator].final_through(&self.kept_marks()[stage.operator])
    }

    /// When early rows leave although neither a row comes nor a source moves, in processing time.
    pub fn next_time(&self) -> Option<Micros> {
        let operator = &self.operators[self.early.as_ref()?.operator];
        let deadlines = operator.next_deadlines(&[]).into_iter();
        deadlines
            .filter_map(|deadline| if let Deadline::ProcessingTime { at } = deadline { Some(at) } else { None })
            .min()
    }

    /// Says who answers for its memory; until then nobody does. To be called before the first step and before anything is restored.
    ///
    /// # Errors
    /// `Bug` where the plans' surroundings cannot be made.
    pub fn charge_to(&mut self, account: Arc<Account>) -> Result<()> {
        self.operators.iter().for_each(|operator| operator.charge_to(&account));
        let beside = AccountPool::of_statements(Arc::clone(&account), usize::MAX);
        self.beside = drawing_on(&self.context, beside)?;
        self.context = drawing_on(&self.context, AccountPool::of_query(Arc::clone(&account)))?;
        self.account = account;
        Ok(())
    }

    /// The static tables that are read again while it runs.
    pub fn static_tables(&self) -> &StaticTables {
        &self.static_tables
    }

    /// Reads the static rows of a group, beside the epochs. They are not used before they are offered and taken up. `first`: there are
    /// none yet, so nothing of the query runs that needs room.
    ///
    /// # Errors
    /// Those of the tables' readers and of the plans over them; `OverBudget`: beside the epochs' rows and the version in use, three quarters
    /// of the budget are not passed.
    pub async fn read_static(&self, group: &StaticGroup, first: bool) -> Result<StaticVersion> {
        group.read(if first { &self.context } else { &self.beside }).await
    }

    /// Runs the plan once over `input`.
    ///
    /// Rows that an expression cannot take are left out and returned, where their table says `'on-bad-row' = 'dead-letter'`.
    ///
    /// # Errors
    /// Whatever else an expression of the query raises on this data; those of [`fetch`]. The state is then as before; call
    /// [`Pipeline::abort`].
    pub async fn step(&self, input: StepInput) -> Result<StepOutput> {
        let rows: usize = input.batches.iter().flatten().map(RecordBatch::num_rows).sum();
        let template = match &self.wide {
            Some(wide) if rows >= self.wide_rows => wide,
            _ => &self.narrow,
        };
        let marks = self.edges.lock().begin(&input.sources);
        for (operator, marks) in self.operators.iter().zip(&marks) {
            fetch(operator.as_ref(), operator.needed(marks)).await?;
        }
        let mut origins = input.origins.into_iter();
        let sources = self.slots.iter().zip(input.batches).map(|(slot, batches)| SourceRows {
            batches,
            origins: origins.next().unwrap_or_default(),
            topic: Arc::clone(slot.topic()),
            time_column: slot.time_column(),
            unordered: slot.view().is_some(),
        });
        let far_after = self.slots.iter().map(|slot| slot.far_after(input.now)).max().unwrap_or(Micros::MAX);
        // Of whichever plan runs: the expressions of operators and of early results are those of the narrow one, which is made first.
        self.narrow.fill(&self.context).await?;
        let epoch = self.cell.enter(Epoch::new(input.epoch, input.now, far_after, sources.collect(), marks));
        let mut output = match self.run(template, &epoch).await {
            Ok(output) if !epoch.effects.has_bad() => output,
            Ok(_) => self.without_bad_rows(&epoch, None).await?,
            Err(error) if error.kind() == ErrorKind::Invalid => self.without_bad_rows(&epoch, Some(error)).await?,
            Err(error) => return Err(error),
        };
        if let Some(stage) = &self.early {
            output.early = stage.rows(&self.operators[stage.operator], &epoch, &self.account)?;
        }
        Ok(output)
    }

    /// Runs the epoch that has been entered.
    async fn run(&self, template: &Template, epoch: &Epoch) -> Result<StepOutput> {
        let result = template.run(&self.context, &self.account).await;
        self.cell.leave();
        let rows = result?;
        let drained = epoch.effects.drained_count();
        if drained != template.drains() {
            return Err(Error::bug(format!(
                "epoch {} left input unread: {drained} of {} inputs were drained",
                epoch.id,
                template.drains()
            )));
        }
        let (late, without_time) = epoch.effects.take();
        Ok(StepOutput { rows, late, without_time, ..StepOutput::default() })
    }

    /// Makes the last step part of the state.
    pub fn commit(&self) -> Result<()> {
        self.operators.iter().try_for_each(|operator| operator.commit())?;
        self.edges.lock().commit();
        Ok(())
    }

    /// Forgets the last step.
    pub fn abort(&self) {
        self.operators.iter().for_each(|operator| operator.abort());
        self.edges.lock().abort();
    }

    /// The sources have got so far without a row, and nothing closes: no step is needed, but the edges' marks move.
    pub fn pass(&self, sources: &[Mark]) {
        let mut edges = self.edges.lock();
        edges.begin(sources);
        edges.commit();
    }

    /// What each input of each operator has kept of its mark, for checkpoints: it is part of the state.
    pub fn kept_marks(&self) -> Vec<Vec<Micros>> {
        let mut marks: Vec<Vec<Micros>> = self.operators.iter().map(|_| Vec::new()).collect();
        for (at, mark) in self.edges.lock().kept() {
            marks[at.operator].push(mark);
        }
        marks
    }

    /// The watermark of each time column of the output.
    pub fn output_marks(&self) -> Vec<(String, Mark)> {
        self.edges.lock().outputs().map(|(column, mark)| (column.to_owned(), mark)).collect()
    }

    /// Takes up the marks that a checkpoint holds of an operator's inputs.
    pub fn restore_marks(&self, operator: usize, mark_of: impl Fn(usize) -> Option<Micros>) {
        let mut edges = self.edges.lock();
        for input in 0..self.inputs[operator].watermarks.len() {
            if let Some(mark) = mark_of(input) {
                edges.restore_input(InputRef { operator, input }, mark);
            }
        }
    }

    pub fn restore_output_mark(&self, column: &str, mark: Mark) {
        self.edges.lock().restore_output(column, mark);
    }

    /// Whether something is emitted when the sources have got so far: then an epoch is due even without rows.
    pub fn due(&self, sources: &[Mark]) -> bool {
        let marks = self.edges.lock().peek(sources);
        self.operators.iter().zip(&marks).any(|(operator, marks)| {
            let before: Vec<InputMarks> = marks.iter().map(|mark| InputMarks { close: mark.late, ..*mark }).collect();
            operator.next_deadlines(&before).into_iter().any(|deadline| match deadline {
                Deadline::Now => true,
                Deadline::EventTime { input, at } => marks.get(input).is_some_and(|mark| at <= mark.close),
                // See `next_time`.
                Deadline::ProcessingTime { .. } => false,
            })
        })
    }

    /// The marks of the sources that would close every open window, for `EMIT TIMEOUT`; `NONE` where a mark has no part
    /// in that. What closes may open windows of an operator behind it, which are closed at another call.
    ///
    /// Windows of rows later than `newest`, mark by mark, stay open: one row with a time in the far future must not make all rows
    /// late that come before it.
    pub fn close_all_at(&self, newest: &[Micros]) -> Vec<Micros> {
        let edges = self.edges.lock();
        let latest = edges.latest(newest);
        edges.sources_for(newest.len(), |InputRef { operator, input }| {
            self.operators[operator].last_deadline(input, latest[operator][input])
        })
    }

    /// Bytes of memory that its state takes.
    pub fn state_bytes(&self) -> usize {
        self.operators.iter().map(|operator| operator.bytes()).sum()
    }

    /// Bytes of its state on local disk.
    pub fn state_disk_bytes(&self) -> u64 {
        self.operators.iter().map(|operator| operator.disk_bytes()).sum()
    }

    /// The stream plan in lines, as EXPLAIN prints it.
    pub fn explain(&self) -> Vec<String> {
        let sources: Vec<String> = self.slots.iter().flat_map(|slot| slot.mark_names()).collect();
        let inputs: Vec<Vec<WatermarkExpr>> = self.inputs.iter().map(|inputs| inputs.watermarks.clone()).collect();
        let mut lines = self.explain.lines(Names { sources: &sources, inputs: &inputs });
        for table in self.static_tables.groups().iter().flat_map(|group| &group.tables) {
            let interval = table.refresh_interval.unwrap_or_default();
            lines.push(format!("static table {}: looked at every {interval:?}, read again when changed", table.name));
        }
        lines
    }

    pub fn open_panes(&self) -> usize {
        self.operators.iter().map(|operator| operator.open()).sum()
    }
}

/// The same surroundings of plans, whose memory comes out of `pool`.
fn drawing_on(context: &TaskContext, pool: AccountPool) -> Result<Arc<TaskContext>> {
    // What does not fit is refused by name, and does not fill a disk of which nobody knows.
    let runtime = RuntimeEnvBuilder::from_runtime_env(&context.runtime_env())
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    Ok(Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone(),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        runtime,
    )))
}
