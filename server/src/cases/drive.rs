//! One query in motion, driven by hand by the rules of `epoch::Driver`: epochs, epochs that are undone, checkpoints and what goes on from
//! them, silence, the end.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

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
    pub(super) late: Vec<LateRow>,
    pub(super) bad: Vec<DeadLetter>,
}

impl Got {
    pub(super) fn add(&mut self, other: Got) {
        self.rows.extend(other.rows);
        self.late.extend(other.late);
        self.bad.extend(other.bad);
    }
}

/// See the module's first line.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pipeline: Pipeline,
    records: &'a [SlotRecords],
    /// Where silence has brought the sources, by slot.
    forced: Vec<Micros>,
    epoch: u64,
}

impl<'a> Run<'a> {
    pub(super) fn new(pipeline: Pipeline, records: &'a [SlotRecords], begin: &[Mark]) -> Self {
        pipeline.pass(begin);
        let forced = vec![NONE; records.len()];
        Run { pipeline, records, forced, epoch: 0 }
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
        if chunks.iter().all(|chunk| chunk.from == chunk.to) && !self.pipeline.due(&marks) {
            self.pipeline.pass(&marks);
            return Ok(Got::default());
        }
        match self.step(chunks, marks, now).await {
            Ok(got) => {
                self.pipeline.commit()?;
                Ok(got)
            }
            Err(error) => {
                self.pipeline.abort();
                Err(error)
            }
        }
    }

    /// An epoch that is not committed: first as if everything had ended with it, then as it is. It must leave nothing behind, whatever it
    /// has read and closed.
    pub(super) async fn undone(&mut self, chunks: &[Chunk], marks: &[Mark], now: Micros) {
        for marks in [vec![Mark::END; marks.len()], self.marks(marks)] {
            // Also where it fails: the epoch itself is about to say so.
            drop(self.step(chunks, marks, now).await);
            self.pipeline.abort();
        }
    }

    async fn step(&mut self, chunks: &[Chunk], sources: Vec<Mark>, now: Micros) -> Result<Got> {
        let (mut batches, mut origins) = (vec![Vec::new(); self.records.len()], vec![Vec::new(); self.records.len()]);
        let mut got = Got::default();
        for Chunk { slot, partition, from, to } in chunks.iter().copied() {
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
                batches[slot].push(concat_batches(&first.schema(), rows)?);
                origins[slot].push(origin);
            }
        }
        self.epoch += 1;
        let input = StepInput { epoch: self.epoch, now, batches, origins, sources };
        // A test says what is final.
        let StepOutput { rows, early: _, late, without_time: _, bad } = self.pipeline.step(input).await?;
        got.add(Got { rows: rows.batches().collect::<Result<_>>()?, late, bad });
        Ok(got)
    }

    /// Nothing has come for `silent` by `now`: where the query says so, what is open closes.
    pub(super) async fn silence(
        &mut self,
        marks: &[Mark],
        newest: &[Micros],
        silent: Micros,
        now: Micros,
    ) -> Result<Got> {
        let mut got = self.epoch(&[], marks, now).await?;
        let timeout = self.pipeline.emit.timeout.map(micros_of);
        if timeout.is_none_or(|timeout| silent < timeout) {
            return Ok(got);
        }
        for _ in 0..ROUNDS_MAX {
            let forced = self.pipeline.close_all_at(newest);
            let forced: Vec<Micros> = forced.iter().zip(&self.forced).map(|(now, before)| *now.max(before)).collect();
            if forced == self.forced {
                break;
            }
            self.forced = forced;
            got.add(self.epoch(&[], marks, now).await?);
        }
        Ok(got)
    }

    /// What is due at these marks although nothing comes: an operator may have to wait for what another one closes.
    pub(super) async fn get_to(&mut self, marks: &[Mark], now: Micros) -> Result<Got> {
        let mut got = self.epoch(&[], marks, now).await?;
        for _ in 0..ROUNDS_MAX {
            if !self.pipeline.due(&self.marks(marks)) {
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
        for _ in 0..ROUNDS_MAX {
            if self.pipeline.open_panes() == 0 {
                break;
            }
            let more = self.step(&[], end.clone(), now).await?;
            self.pipeline.commit()?;
            got.add(more);
        }
        match (self.pipeline.open_panes(), self.pipeline.state_bytes()) {
            (0, 0) => Ok(got),
            (open, bytes) => Err(Error::bug(format!(
                "behind the end of all input the query still holds {bytes} bytes, and {open} windows or rows are open"
            ))),
        }
    }

    /// Goes on from a checkpoint in `fresh`, a pipeline of the same query that has not run, as `epoch::restore` does it.
    ///
    /// # Errors
    /// `Bug` where the fresh pipeline has other operators.
    pub(super) fn restarted(self, fresh: Pipeline, marks: &[Mark]) -> Result<Self> {
        if fresh.operators().len() != self.pipeline.operators().len() {
            return Err(Error::bug("the same query has another number of operators after a restart"));
        }
        let kept = self.pipeline.kept_marks();
        for (at, (before, after)) in self.pipeline.operators().iter().zip(fresh.operators()).enumerate() {
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
        for (column, mark) in self.pipeline.output_marks() {
            fresh.restore_output_mark(&column, mark);
        }
        fresh.pass(&self.marks(marks));
        Ok(Run { pipeline: fresh, ..self })
    }

    /// Where silence has brought the sources, by slot.
    pub(super) fn forced(&self) -> &[Micros] {
        &self.forced
    }
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
