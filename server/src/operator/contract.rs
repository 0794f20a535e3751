//! What a stateful operator is, whatever it computes: the one contract by which plans run it, epochs make it final, and
//! checkpoints keep it.
//!
//! An operator takes the epoch's rows of each of its inputs, input by input or side by side, and when all of them have been read to
//! their end it *closes*: it emits what the marks of this epoch make final. Nothing of that is part of its state until
//! [`Operator::commit`]; [`Operator::abort`] undoes it. No operator does I/O, reads a clock or keeps a task.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::epoch_cell::{Epoch, RowId};
use super::rows::{json_rows, row_ids};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::state::{Account, Segment, SegmentHome};
use crate::watermark::InputMarks;

/// Names what an operator keeps, so that a checkpoint is only read into an operator that means the same by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateKind {
    pub name: &'static str,
    pub version: u32,
}

/// A segment of state with its place.
#[derive(Debug, Clone)]
pub struct StoredSegment {
    pub input: u32,
    pub shard: u32,
    /// Start of its pane, microseconds; 0 for state that has no panes.
    pub pane: Micros,
    pub segment: Segment,
}

/// A segment of state as a checkpoint held it.
#[derive(Debug, Clone)]
pub struct RestoredSegment {
    pub input: u32,
    pub shard: u32,
    /// As in [`StoredSegment`].
    pub pane: Micros,
    pub id: u64,
    pub level: u8,
    pub batches: Vec<RecordBatch>,
}

/// A segment of state that a checkpoint holds, without its rows.
#[derive(Debug, Clone)]
pub struct RemoteSegment {
    pub input: u32,
    pub shard: u32,
    /// As in [`StoredSegment`].
    pub pane: Micros,
    pub id: u64,
    pub level: u8,
    pub home: Arc<dyn SegmentHome>,
}

impl RemoteSegment {
    /// The segment with what its home has returned.
    pub fn with(self, batches: Vec<RecordBatch>) -> RestoredSegment {
        let RemoteSegment { input, shard, pane, id, level, home: _ } = self;
        RestoredSegment { input, shard, pane, id, level, batches }
    }
}

/// What closing emits, computed as it is asked for: results can be many times what is held in memory.
pub type Emission = BoxStream<'static, Result<RecordBatch>>;

/// The emission of an operator that waits for nothing.
pub fn emission(batches: impl Iterator<Item = Result<RecordBatch>> + Send + 'static) -> Emission {
    stream::iter(batches).boxed()
}

/// The next of results that are computed in portions, for an [`Iterator`] over them: the first of `ready`, to which `go_on` adds the
/// portion that comes next. It is false behind the last one.
pub(super) fn one_by_one<S, T>(
    portions: &mut S,
    ready: fn(&mut S) -> &mut VecDeque<T>,
    go_on: fn(&mut S) -> Result<bool>,
) -> Option<Result<T>> {
    loop {
        if let Some(result) = ready(portions).pop_front() {
            return Some(Ok(result));
        }
        match go_on(portions) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
    }
}

/// When an operator will have something to emit although no row comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// As soon as an epoch runs.
    Now,
    /// When the watermark of an input reaches this.
    EventTime { input: usize, at: Micros },
    /// When it is this time by the clock. Only for results that may change again: what is final does not depend on it.
    ProcessingTime { at: Micros },
}

/// Results that may change again, all of them final at one time.
#[derive(Debug, Clone)]
pub struct EarlyRows {
    /// See [`Operator::final_through`].
    pub until: Micros,
    /// A row for each key, with the operator's columns.
    pub rows: RecordBatch,
    /// False where they cannot be computed: all but what names a row is NULL.
    pub computed: bool,
}

/// As [`Emission`], of results that may change again: nothing is waited for.
pub type EarlyEmission = Box<dyn Iterator<Item = Result<EarlyRows>> + Send>;

/// A row that came too late for something: one entry a row and operator, however much it missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRow {
    pub operator: String,
    pub input: u32,
    /// `None` where the operator does not know it.
    pub event_time: Option<Micros>,
    /// The watermark against which it was late.
    pub watermark: Micros,
    /// The record that it came from; `None` for rows that an operator made.
    pub origin: Option<Origin>,
    /// Start of the first window that it missed and end of the last; `None` where there are no windows.
    pub missed: Option<(Micros, Micros)>,
    /// It missed all that it could have been part of: it is in no result.
    pub wholly: bool,
    /// The row as the query reads it, as a JSON object.
    pub row: String,
}

/// A row that an expression of the query cannot take.
#[derive(Debug)]
pub struct BadRow {
    /// The input row that it was made of; `None` where an operator made it.
    pub id: Option<RowId>,
    /// A JSON object: the input row as the query reads it, else the row as the expression saw it.
    pub row: String,
    pub error: Error,
}

impl BadRow {
    /// `batch`: the row alone, as it was seen.
    ///
    /// # Errors
    /// `Bug` where it names a row that the epoch does not have.
    pub fn of(epoch: &Epoch, batch: &RecordBatch, error: Error) -> Result<Self> {
        let id = row_ids(batch).filter(|ids| ids.is_valid(0)).map(|ids| RowId::decoded(ids.value(0)));
        let row = match id {
            Some(id) => epoch.row_as_json(id)?,
            None => json_rows(batch, &[])?.pop().unwrap_or_default(),
        };
        Ok(BadRow { id, row, error })
    }
}

/// Where a row was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The topic, or the path of the file.
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Its place among the rows of one record, from 0.
    pub position: i32,
}

/// One operator of one query, shared by all instances of the query's plans.
pub trait Operator: fmt::Debug + Send + Sync {
    /// Names its state in checkpoints: stable as long as the query's text is.
    fn id(&self) -> &str;

    fn kind(&self) -> StateKind;

    /// Of the rows it emits.
    fn schema(&self) -> &SchemaRef;

    /// Says who answers for its memory. Called before anything is taken or restored.
    fn charge_to(&self, _account: &Arc<Account>) {}

    /// Tells the operator its physical inputs once the optimizer has had its say. Called for the narrow and the wide plan, which
    /// say the same.
    fn bind(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<()>;

    /// Takes one batch of an input into the running epoch; returns what it can emit at once. Called from several tasks.
    fn take(&self, input: usize, batch: RecordBatch) -> Result<Vec<RecordBatch>>;

    /// Every input has been read to its end: what the marks make final, one mark for each input.
    ///
    /// The emission is read to its end before the epoch is committed. Where the epoch isolates bad rows, results that cannot be computed are
    /// noted in its effects and left out. `context`: for plans that the emission runs, with the query's memory.
    fn close(self: Arc<Self>, marks: &[InputMarks], epoch: &Arc<Epoch>, context: &Arc<TaskContext>)
    -> Result<Emission>;

    /// What is due of results that may change again, once the epoch has been closed: for each key its newest. Nothing where the operator
    /// was not made to emit any ([`Definition::emitting_early`]).
    ///
    /// Read to its end before the epoch is committed. A result that is final after this epoch is among them where an earlier one of its key
    /// may have left.
    ///
    /// [`Definition::emitting_early`]: super::logical::Definition::emitting_early
    fn early(self: Arc<Self>, _marks: &[InputMarks], _epoch: &Epoch) -> Result<EarlyEmission> {
        Ok(Box::new(std::iter::empty()))
    }

    /// Early results up to and including this are final when the inputs have got to these marks.
    fn final_through(&self, _marks: &[Micros]) -> Micros {
        Micros::MAX
    }

    /// Makes the running epoch part of the state.
    fn commit(&self) -> Result<()>;

    /// Forgets the running epoch.
    fn abort(&self);

    /// All committed segments, also those without rows.
    fn segments(&self) -> Vec<StoredSegment>;

    /// A hash of the columns of its segments: state in another form cannot be read back. Empty without segments.
    fn state_schema_sha256(&self) -> Result<String>;

    /// Puts a segment back that a checkpoint held, in the place of the one without rows where there is one.
    ///
    /// # Errors
    /// `Invalid` where its columns are others, `OverBudget` where there is no room for it.
    fn restore(&self, segment: RestoredSegment) -> Result<()>;

    /// Takes a segment up without its rows, which [`Operator::needed`] asks for. False where the operator can only have all of its state at
    /// once: the rows are then to be restored now.
    fn restore_remote(&self, _segment: RemoteSegment) -> bool {
        false
    }

    /// A checkpoint holds the segment: where there is no room for its rows the operator may let them go.
    fn stored(&self, _segment: RemoteSegment) {}

    /// The segments without rows that the epoch of these marks reads: they are restored before anything is taken. Whatever it reads stays
    /// until it is committed, however often it is run.
    fn needed(&self, _marks: &[InputMarks]) -> Vec<RemoteSegment> {
        vec![]
    }

    /// How far a bounded input inside the operator has been read; 0 where there is none.
    fn position(&self) -> u64 {
        0
    }

    fn restore_position(&self, _position: u64) {}

    /// When it will next have something to emit, for each of the inputs that it waits for.
    ///
    /// `marks`: where the inputs stand after the last epoch.
    fn next_deadlines(&self, marks: &[InputMarks]) -> Vec<Deadline>;

    /// The watermark of an input that would make everything final that came from it, but for what lies later than `newest`.
    fn last_deadline(&self, input: usize, newest: Micros) -> Option<Micros>;

    /// The panes that lie after `at`, as rows name them, those of the running epoch included.
    fn panes_after(&self, _at: Micros) -> BTreeSet<Micros> {
        BTreeSet::new()
    }

    /// Bytes of memory that its state takes, those included that only serve to be faster.
    fn bytes(&self) -> usize;

    /// Bytes of its state on local disk.
    fn disk_bytes(&self) -> u64 {
        0
    }

    /// Panes, or whatever else it holds that is not final yet.
    fn open(&self) -> usize;
}
