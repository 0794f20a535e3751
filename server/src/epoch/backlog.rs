//! Rows that wait for the hot table: where they are, which of them go next, and when many checkpoints' become one run.
//!
//! Each checkpoint adds an entry to the manifest. Entries are put together into runs, again and again, so that their number is bounded by the
//! bytes and not by the checkpoints, be it that they wait or that they are kept for a database that is set back ([`super::replay`]).
//! None of it is held in memory but what readers hold anyway: the rest is read back from the bundles when its turn comes.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::kernels::cmp::gt;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use futures::future::try_join_all;

use crate::checkpoint::{HotRun, OutputState, Section, read_section};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::state::Rows;
use crate::store::Store;

/// A run, and what one transaction takes, ends before it has more than this, compressed. With [`BATCH_ROWS_MAX`] this bounds what is
/// decoded at a time; the rows of one checkpoint are never divided.
const BATCH_BYTES_MAX: u64 = 4 << 20;
const BATCH_ROWS_MAX: u64 = 1 << 18;

/// And a run spans no more than an hour, so that what is kept for a day goes with the day.
const RUN_SPAN_MAX: Micros = 3_600_000_000;

/// Entries that are read at a time where they are put together.
const READS_AT_ONCE: usize = 16;

/// Entries that have to be saved before anything is put together: what is not full yet is written again each time.
const SAVED_MIN: usize = 63;

/// Runs that one checkpoint writes at most, since they are in its bundle.
const RUNS_AT_ONCE: usize = 4;

/// Entries and runs in one manifest, some 300 bytes each. A query that has as many waiting stands still.
pub(super) const WAITING_MAX: usize = 1_024;

/// The column that [`HotRun`] speaks of. Not a name that a view's column is likely to have, and found by its place anyway.
const CHECKPOINT_COLUMN: &str = "touchline checkpoint";

/// Rows of one checkpoint, or of a run of them.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) from: u64,
    pub(super) to: u64,
    /// When the first and the last of them were committed.
    pub(super) created_at: Micros,
    pub(super) until: Micros,
    pub(super) section: Section,
    run: bool,
    /// Where they are at hand for another reason.
    pub(super) rows: Option<Arc<[Rows]>>,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) entries: usize,
    pub(super) rows: u64,
    /// Compressed.
    pub(super) bytes: u64,
    /// When the oldest of it was committed.
    pub(super) since: Option<Micros>,
}

impl Backlog {
    /// Whether the query has to stand still. One that does goes on when a quarter is done, and not at each row.
    pub(super) fn is_full(&self, bytes_max: u64, was_full: bool) -> bool {
        let (bytes, entries) = match was_full {
            true => (bytes_max / 4 * 3, WAITING_MAX / 4 * 3),
            false => (bytes_max, WAITING_MAX),
        };
        self.bytes > bytes || self.entries > entries
    }
}

/// What a manifest says is waiting beyond `applied`, oldest first. `rows`: those of a checkpoint, where they are in memory.
pub(super) fn waiting(state: &OutputState, applied: u64, rows: impl Fn(u64) -> Option<Arc<[Rows]>>) -> Vec<Waiting> {
    let runs = state.hot_runs.iter().map(of_run);
    let entries = state.hot.iter().map(|entry| Waiting {
        from: entry.checkpoint,
        to: entry.checkpoint,
        created_at: entry.created_at,
        until: entry.created_at,
        section: entry.section.clone(),
        run: false,
        rows: rows(entry.checkpoint),
    });
    let mut all: Vec<Waiting> = runs.chain(entries).filter(|waiting| waiting.to > applied).collect();
    all.sort_by_key(|waiting| waiting.to);
    all
}

/// A run that is named somewhere, as one that waits.
pub(super) fn of_run(run: &HotRun) -> Waiting {
    Waiting {
        from: run.from,
        to: run.to,
        created_at: run.created_at,
        until: run.last_at(),
        section: run.section.clone(),
        run: run.from < run.to,
        rows: None,
    }
}

/// How much waits beyond `after`.
pub(super) fn measure(waiting: &[Waiting], after: u64) -> Backlog {
    let waiting = || waiting.iter().filter(move |waiting| waiting.to > after);
    Backlog {
        entries: waiting().count(),
        rows: waiting().map(|waiting| waiting.section.rows).sum(),
        bytes: waiting().map(|waiting| waiting.section.length).sum(),
        since: waiting().next().map(|waiting| waiting.created_at),
    }
}

/// The next rows after `applied` for one transaction, and the checkpoint that they reach to; `None` where none wait.
///
/// # Errors
/// Those of [`read_section`].
pub(super) async fn next_batch(
    private: &Store,
    waiting: &[Waiting],
    applied: u64,
) -> Result<Option<(u64, Vec<RecordBatch>)>> {
    let missing: Vec<&Waiting> = waiting.iter().filter(|waiting| waiting.to > applied).collect();
    let Some(taken) = groups(&missing, &[]).into_iter().next() else { return Ok(None) };
    let (mut reached, mut batches) = (applied, Vec::new());
    for waiting in &missing[taken] {
        let rows = read(private, waiting).await?;
        match waiting.run {
            true => batches.extend(rows.iter().map(|batch| after(batch, applied)).collect::<Result<Vec<_>>>()?),
            false => batches.extend(rows),
        }
        reached = waiting.to;
    }
    Ok(Some((reached, batches)))
}

/// What of `waiting` is to be put together in the checkpoint under way: ranges of it, each to become one run.
///
/// `apart`: checkpoints up to which the hot table has, or has had, everything. A run with rows from before and after one of them would
/// count as waiting with all of its rows, bytes and age.
pub(super) fn plan_runs(waiting: &[Waiting], apart: &[u64]) -> Vec<std::ops::Range<usize>> {
    let mut together = groups(&waiting.iter().collect::<Vec<_>>(), apart);
    together.retain(|group| group.len() > 1);
    let saved: usize = together.iter().map(|group| group.len() - 1).sum();
    if saved < SAVED_MIN {
        return Vec::new();
    }
    together.truncate(RUNS_AT_ONCE);
    together
}

/// The rows of several entries as one batch of a run.
///
/// # Errors
/// Those of [`read_section`].
pub(super) async fn put_together(private: &Store, waiting: &[Waiting]) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    for some in waiting.chunks(READS_AT_ONCE) {
        let read = try_join_all(some.iter().map(|waiting| read(private, waiting))).await?;
        for (waiting, rows) in some.iter().zip(read) {
            for batch in rows {
                batches.push(if waiting.run { batch } else { with_checkpoint(&batch, waiting.to)? });
            }
        }
    }
    let Some(first) = batches.first() else { return Err(Error::bug("a run of no rows")) };
    Ok(concat_batches(&first.schema(), &batches)?)
}

/// The manifest's entry for a run of `waiting` that has been written to `section`.
pub(super) fn run_of(waiting: &[Waiting], section: Section) -> Result<HotRun> {
    let (Some(first), Some(last)) = (waiting.first(), waiting.last()) else { return Err(Error::bug("an empty run")) };
    Ok(HotRun { from: first.from, to: last.to, created_at: first.created_at, until: Some(last.until), section })
}

/// Neighbours that together stay within the limits, as many as go, from the oldest on; none on both sides of a checkpoint in `apart`.
fn groups(waiting: &[&Waiting], apart: &[u64]) -> Vec<std::ops::Range<usize>> {
    let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
    let (mut bytes, mut rows, mut since, mut before) = (0, 0, 0, 0);
    for (at, waiting) in waiting.iter().enumerate() {
        bytes += waiting.section.length;
        rows += waiting.section.rows;
        let parted = apart.iter().any(|bound| before <= *bound && waiting.to > *bound);
        before = waiting.to;
        let near = !parted && waiting.until.saturating_sub(since) <= RUN_SPAN_MAX;
        match groups.last_mut() {
            Some(group) if near && bytes <= BATCH_BYTES_MAX && rows <= BATCH_ROWS_MAX => group.end = at + 1,
            _ => {
                (bytes, rows, since) = (waiting.section.length, waiting.section.rows, waiting.created_at);
                groups.push(at..at + 1);
            }
        }
    }
    groups
}

async fn read(private: &Store, waiting: &Waiting) -> Result<Vec<RecordBatch>> {
    match &waiting.rows {
        Some(rows) => rows.iter().flat_map(Rows::batches).collect(),
        None => read_section(private, &waiting.section).await,
    }
}

fn with_checkpoint(batch: &RecordBatch, checkpoint: u64) -> Result<RecordBatch> {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(CHECKPOINT_COLUMN, DataType::UInt64, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt64Array::from_value(checkpoint, batch.num_rows())) as ArrayRef);
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The rows of a run's batch that are of checkpoints after `applied`, as the view has them.
fn after(batch: &RecordBatch, applied: u64) -> Result<RecordBatch> {
    let last = batch.num_columns().saturating_sub(1);
    let Some(checkpoints) = batch.columns().get(last).and_then(|column| column.as_primitive_opt::<UInt64Type>()) else {
        return Err(Error::corrupt("rows that wait for a hot table do not say which checkpoints they are of"));
    };
    let missing = gt(checkpoints, &UInt64Array::new_scalar(applied))?;
    Ok(filter_record_batch(batch, &missing)?.project(&(0..last).collect::<Vec<_>>())?)
}

#[cfg(test)]
mod tests;
