//! A query in motion, and those that it reads, driven by hand by the rules of `epoch::Driver`: epochs, epochs that are undone, checkpoints
//! and what goes on from them, silence, the end.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::chain::{Input, Query, Views};
use super::timeline::{Chunk, SlotRecords};
use crate::clock::{Micros, micros_of};
use crate::error::{Error, Result};
use crate::operator::contract::{LateRow, RestoredSegment, StoredSegment};
use crate::pipeline::{Pipeline, StepInput, StepOutput};
use crate::source::{DeadLetter, Offset, Origins};
use crate::watermark::{Mark, NONE};

/// Rounds in which what one operator closes is taken, and closed, by those behind it.
const ROUNDS_MAX: usize = 20;

/// What has come out.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) rows: Vec<RecordBatch>,
    /// What may change again, in the form of such rows.
    early: Vec<RecordBatch>,
    pub(super) late: Vec<LateRow>,
    pub(super) bad: Vec<DeadLetter>,
    /// What was late for a view that is read.
    pub(super) late_below: Vec<LateRow>,
}

impl Got {
    pub(super) fn add(&mut self, other: Got) {
        self.rows.extend(other.rows);
        self.early.extend(other.early);
        self.late.extend(other.late);
        self.bad.extend(other.bad);
        self.late_below.extend(other.late_below);
    }
}

/// See the module's first line.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// Each behind those that it reads. What the last of them gives is what is seen.
    queries: Vec<Query>,
    records: &'a [SlotRecords],
    /// Where silence has brought the tables, by slot.
    forced: Vec<Micros>,
    epoch: u64,
    /// Rows of the last query that may change again, of committed epochs, from the oldest to the newest.
    early: Vec<RecordBatch>,
}

impl<'a> Run<'a> {
    pub(super) fn new(chain: Views, records: &'a [SlotRecords], begin: &[Mark]) -> Self {
        chain.queries.iter().for_each(|query| query.pipeline.pass(&query.sources(begin)));
        let forced = vec![NONE; records.len()];
        Run { queries: chain.queries, records, forced, epoch: 0, early: Vec::new() }
    }

    fn marks(&self, marks: &[Mark]) -> Vec<Mark> {
        marks
            .iter()
            .zip(&self.forced)
            .map(|(mark, forced)| Mark { at: mark.at.max(*forced), idle: mark.idle })
            .collect()
    }

    /// One epoch, if there is something to do: of these records, up to these marks.
    pub(super) async fn epoch(&mut self, chunks: &[Chunk], marks: &[Mark], now: Micros) -> Result<Got> {
        let marks = self.marks(marks);
        self.epochs(chunks, &marks, now, false).await
    }

    /// An epoch of each query that has something to do, or of all: those above read what those below have just committed.
    async fn epochs(&mut self, chunks: &[Chunk], tables: &[Mark], now: Micros, of_all: bool) -> Result<Got> {
        let (mut all, mut fresh) = (Got::default(), Vec::new());
        for at in 0..self.queries.len() {
            let query = &self.queries[at];
            let sources = query.sources(tables);
            let reads = |chunk: &Chunk| chunk.from != chunk.to && query.slot_of(chunk.slot).is_some();
            let by_clock = query.pipeline.next_time().is_some_and(|at| at <= now);
            let due = of_all || by_clock || query.pipeline.due(&sources);
            let got = if due || chunks.iter().any(reads) || query.reads_some(&fresh) {
                match self.step(at, chunks, sources, &fresh, now).await {
                    Ok(got) => {
                        self.queries[at].pipeline.commit()?;
                        got
                    }
                    Err(error) => {
                        self.queries[at].pipeline.abort();
                        return Err(error);
                    }
                }
            } else {
                query.pipeline.pass(&sources);
                Got::default()
            };
            let told = self.queries[at].pipeline.output_marks();
            self.queries[at + 1..].iter_mut().for_each(|query| query.hear(at, &told));
            if at + 1 < self.queries.len() {
                all.late_below.extend(got.late);
                fresh.push(got.rows);
            } else {
                self.early.extend(got.early.iter().cloned());
                all.add(got);
            }
        }
        Ok(all)
    }

    /// What a reader of the view sees that is not final: of each key its newest row.
    pub(super) fn open_rows(&self) -> Result<Vec<RecordBatch>> {
        let Some(pipeline) = self.queries.last().map(|query| &query.pipeline) else { return Ok(vec![]) };
        let Some(form) = pipeline.early() else { return Ok(vec![]) };
        let through = pipeline.final_through();
        let newest = form.newest(&self.early, |row| !row.gone && row.is_open(through))?;
        newest.iter().map(|rows| form.in_view(rows)).collect()
    }

    /// An epoch that is not committed: first as if everything had ended with it, then as it is. It must leave nothing behind, whatever it
    /// has read and closed.
    pub(super) async fn undone(&mut self, chunks: &[Chunk], marks: &[Mark], now: Micros) {
        for marks in [vec![Mark::END; marks.len()], self.marks(marks)] {
            let mut fresh = Vec::new();
            for at in 0..self.queries.len() {
                let sources = self.queries[at].sources(&marks);
                // Also where it fails: the epoch itself is about to say so.
                let got = self.step(at, chunks, sources, &fresh, now).await.unwrap_or_default();
                fresh.push(got.rows);
            }
            self.queries.iter().for_each(|query| query.pipeline.abort());
        }
    }

    /// `at`: of which query. `fresh`: the rows that those before it have given.
    async fn step(
        &mut self,
        at: usize,
        chunks: &[Chunk],
        sources: Vec<Mark>,
        fresh: &[Vec<RecordBatch>],
        now: Micros,
    ) -> Result<Got> {
        let query = &self.queries[at];
        let (mut batches, mut origins) = (vec![Vec::new(); query.inputs.len()], vec![Vec::new(); query.inputs.len()]);
        let mut got = Got::default();
        for Chunk { slot, partition, from, to } in chunks.iter().copied() {
            let Some(own) = query.slot_of(slot) else { continue };
            let records =
                self.records[slot].get(&partition).and_then(|records| records.get(from..to)).unwrap_or_default();
            let mut origin = Origins::default();
            let mut rows = Vec::new();
            for (offset, record) in (from..).zip(records) {
                if let Some(error) = &record.fails {
                    return Err(error.duplicate());
                }
                got.bad.extend(record.bad.clone());
                if let Some(row) = &record.row {
                    origin.push(partition, Offset::try_from(offset).unwrap_or(Offset::MAX));
                    rows.push(row);
                }
            }
            if let Some(first) = rows.first() {
                batches[own].push(concat_batches(&first.schema(), rows)?);
                origins[own].push(origin);
            }
        }
        for (own, (slot, input)) in query.pipeline.slots.iter().zip(&query.inputs).enumerate() {
            let Input::View { query: below, .. } = input else { continue };
            for rows in fresh.get(*below).into_iter().flatten().filter(|rows| rows.num_rows() > 0) {
                batches[own].push(rows.project(slot.columns())?);
            }
        }
        self.epoch += 1;
        let input = StepInput { epoch: self.epoch, now, batches, origins, sources };
        let StepOutput { rows, early, late, without_time: _, bad } = self.queries[at].pipeline.step(input).await?;
        let (rows, early) = (rows.batches().collect::<Result<_>>()?, early.batches().collect::<Result<_>>()?);
        got.add(Got { rows, early, late, bad, late_below: vec![] });
        Ok(got)
    }

    /// Nothing has come for `silent` by `now`: where a query says so, what is open closes.
    ///
    /// # Errors
    /// `Invalid` where that is a query over views.
    pub(super) async fn silence(
        &mut self,
        marks: &[Mark],
        newest: &[Micros],
        silent: Micros,
        now: Micros,
    ) -> Result<Got> {
        let mut got = self.epoch(&[], marks, now).await?;
        for at in 0..self.queries.len() {
            let timeout = self.queries[at].pipeline.emit.timeout.map(micros_of);
            if timeout.is_none_or(|timeout| silent < timeout) {
                continue;
            }
            let slots = self.queries[at].inputs.iter().map(|input| match input {
                Input::Table(slot) => Some(*slot),
                Input::View { .. } => None,
            });
            let Some(slots) = slots.collect::<Option<Vec<usize>>>() else {
                let view = &self.queries[at].view;
                let error =
                    Error::invalid(format!("a test does not tell view \"{}\" of silence: it reads a view", view.name));
                return Err(error.hint("test EMIT TIMEOUT over tables").at(view.location.clone()));
            };
            let newest: Vec<Micros> = slots.iter().map(|slot| newest[*slot]).collect();
            for _ in 0..ROUNDS_MAX {
                let (before, closing) = (self.forced.clone(), self.queries[at].pipeline.close_all_at(&newest));
                for (slot, forced) in slots.iter().zip(closing) {
                    self.forced[*slot] = self.forced[*slot].max(forced);
                }
                if self.forced == before {
                    break;
                }
                got.add(self.epoch(&[], marks, now).await?);
            }
        }
        Ok(got)
    }

    /// What is due at these marks although nothing comes: an operator may have to wait for what another one closes.
    pub(super) async fn get_to(&mut self, marks: &[Mark], now: Micros) -> Result<Got> {
        let mut got = self.epoch(&[], marks, now).await?;
        for _ in 0..ROUNDS_MAX {
            let tables = self.marks(marks);
            if !self.queries.iter().any(|query| query.pipeline.due(&query.sources(&tables))) {
                break;
            }
            got.add(self.epoch(&[], marks, now).await?);
        }
        Ok(got)
    }

    /// All input has ended: what is still open closes.
    pub(super) async fn end(&mut self, now: Micros) -> Result<Got> {
        let end = vec![Mark::END; self.records.len()];
        let mut got = self.epoch(&[], &end, now).await?;
        let open = |queries: &[Query]| queries.iter().map(|query| query.pipeline.open_panes()).sum::<usize>();
        for _ in 0..ROUNDS_MAX {
            if open(&self.queries) == 0 {
                break;
            }
            got.add(self.epochs(&[], &end, now, true).await?);
        }
        let bytes: usize = self.queries.iter().map(|query| query.pipeline.state_bytes()).sum();
        match (open(&self.queries), bytes) {
            (0, 0) => Ok(got),
            (open, bytes) => Err(Error::bug(format!(
                "behind the end of all input the query still holds {bytes} bytes, and {open} windows or rows are open"
            ))),
        }
    }

    /// Goes on from a checkpoint of each query in `fresh`, the same queries that have not run, as `epoch::restore` does it.
    ///
    /// # Errors
    /// `Bug` where a fresh pipeline has other operators.
    pub(super) fn restarted(self, fresh: Views, marks: &[Mark]) -> Result<Self> {
        let tables = self.marks(marks);
        let mut queries = Vec::new();
        for (before, after) in self.queries.into_iter().zip(fresh.queries) {
            go_on(&before.pipeline, &after.pipeline)?;
            // How far the views have got is in the checkpoint, too.
            let query = Query { inputs: before.inputs, ..after };
            query.pipeline.pass(&query.sources(&tables));
            queries.push(query);
        }
        Ok(Run { queries, ..self })
    }

    /// Where silence has brought the tables, by slot.
    pub(super) fn forced(&self) -> &[Micros] {
        &self.forced
    }
}

/// Puts what one pipeline holds into another one of the same query.
fn go_on(from: &Pipeline, fresh: &Pipeline) -> Result<()> {
    if fresh.operators().len() != from.operators().len() {
        return Err(Error::bug("the same query has another number of operators after a restart"));
    }
    let kept = from.kept_marks();
    for (at, (before, after)) in from.operators().iter().zip(fresh.operators()).enumerate() {
        if (before.id(), before.state_schema_sha256()?) != (after.id(), after.state_schema_sha256()?) {
            return Err(Error::bug(format!(
                "operator {} of the same query is {} after a restart",
                before.id(),
                after.id()
            )));
        }
        after.restore_position(before.position());
        fresh.restore_marks(at, |input| kept.get(at)?.get(input).copied());
        for StoredSegment { input, shard, pane, segment } in before.segments() {
            let batches = segment.rows.batches().collect::<Result<Vec<_>>>()?;
            let (id, level, batches) = (segment.id, segment.level, read(&written(&batches)?)?);
            after.restore(RestoredSegment { input, shard, pane, id, level, batches })?;
        }
    }
    for (column, mark) in from.output_marks() {
        fresh.restore_output_mark(&column, mark);
    }
    Ok(())
}

/// As a bundle of a checkpoint holds them.
fn written(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    Ok(writer.into_inner()?)
}

fn read(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let batches = StreamReader::try_new(Cursor::new(bytes), None).and_then(Iterator::collect);
    Ok(batches?)
}
