//! One query's epochs: take what the readers have, move the watermarks, run the plan once. Nothing here is durable.
//!
//! An epoch begins when rows are there and none is running; what arrives meanwhile is the next one. There is no timer in
//! the path of a row: time only matters for partitions that fall idle and for `EMIT TIMEOUT`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::select_all;

use crate::clock::{Clock, Micros};
use crate::error::Result;
use crate::pipeline::{Pipeline, StepInput, StepOutput};
use crate::source::reader::Reader;
use crate::source::{DeadLetter, Offsets, SourceBatch};
use crate::watermark::{END, SourceWatermark};

/// How much one epoch may take.
#[derive(Debug, Clone, Copy)]
pub struct EpochLimits {
    /// Rows after which no further batch is added. One batch is always taken whole.
    pub rows_max: usize,
    /// Take one reader batch per epoch, however small: `--epoch-rows` cuts them at the reader.
    pub one_batch: bool,
}

/// A query in motion.
#[derive(Debug)]
pub struct Driver {
    pub pipeline: Arc<Pipeline>,
    /// One for each slot of the pipeline; `None` once its bounded input has ended.
    readers: Vec<Option<Reader>>,
    pub watermarks: Vec<SourceWatermark>,
    pub offsets: Vec<Offsets>,
    /// The end of each partition as last seen, by slot.
    pub ends: Vec<Offsets>,
    clock: Clock,
    limits: EpochLimits,
    epoch: u64,
    last_rows_at: Micros,
}

/// What one turn of the loop brought.
#[derive(Debug)]
pub enum Turn {
    Epoch(EpochResult),
    /// Nothing came and nothing fell due within the time given.
    Quiet,
    /// All input was bounded and has ended; every window has closed.
    Finished,
}

#[derive(Debug, Default)]
pub struct EpochResult {
    pub output: StepOutput,
    pub dead_letters: Vec<DeadLetter>,
    /// Records read, dead letters included.
    pub records: u64,
    pub far_future: u64,
}

impl Driver {
    /// `readers`, `watermarks`, `offsets`: one for each slot of the pipeline, where the query stands.
    pub fn new(
        pipeline: Arc<Pipeline>,
        readers: Vec<Reader>,
        watermarks: Vec<SourceWatermark>,
        offsets: Vec<Offsets>,
        clock: Clock,
        limits: EpochLimits,
    ) -> Self {
        let last_rows_at = clock.now();
        let ends = offsets.clone();
        let readers = readers.into_iter().map(Some).collect();
        Driver { pipeline, readers, watermarks, offsets, ends, clock, limits, epoch: 0, last_rows_at }
    }

    /// Waits at most `wait` for rows, then runs an epoch over what is there.
    ///
    /// The step is committed to the operators' state before this returns.
    ///
    /// # Errors
    /// Those of the readers and of [`Pipeline::step`]; the state is then as before the epoch.
    pub async fn turn(&mut self, wait: Duration) -> Result<Turn> {
        if self.readers.iter().all(Option::is_none) {
            return self.last_turn().await;
        }
        let mut taken: Vec<(usize, SourceBatch)> = Vec::new();
        if let Some(first) = self.next(wait).await? {
            taken.push(first);
            if !self.limits.one_batch {
                self.take_more(&mut taken)?;
            }
        }
        let now = self.clock.now();
        let before = self.current_watermarks();
        let mut result = EpochResult::default();
        let mut batches: Vec<Vec<RecordBatch>> = vec![Vec::new(); self.readers.len()];
        for (slot, batch) in taken {
            for (partition, progress) in &batch.progress {
                self.watermarks[slot].observe(*partition, progress, now);
                self.offsets[slot].insert(*partition, progress.to);
                self.ends[slot].insert(*partition, progress.end);
                result.records += progress.records;
                result.far_future += progress.far_future;
            }
            batches[slot].extend(batch.batches);
            result.dead_letters.extend(batch.dead_letters);
            if batch.finished {
                self.readers[slot] = None;
                self.watermarks[slot].force(END);
            }
        }
        if result.records > 0 {
            self.last_rows_at = now;
        }
        self.watermarks.iter_mut().for_each(|watermark| {
            watermark.advance(now);
        });
        self.time_out(now);
        let after = self.current_watermarks();
        if result.records == 0 && batches.iter().all(Vec::is_empty) && !self.pipeline.closes_between(&before, &after) {
            return Ok(if before == after { Turn::Quiet } else { Turn::Epoch(result) });
        }
        result.output = self.run(now, batches, before, after).await?;
        Ok(Turn::Epoch(result))
    }

    /// Bounded input has ended: what is still open closes.
    async fn last_turn(&mut self) -> Result<Turn> {
        let before = self.current_watermarks();
        if self.pipeline.open_panes() == 0 {
            return Ok(Turn::Finished);
        }
        let after = vec![END; before.len()];
        let batches = vec![Vec::new(); before.len()];
        let output = self.run(self.clock.now(), batches, before, after).await?;
        Ok(Turn::Epoch(EpochResult { output, ..EpochResult::default() }))
    }

    async fn run(
        &mut self,
        now: Micros,
        batches: Vec<Vec<RecordBatch>>,
        before: Vec<Micros>,
        after: Vec<Micros>,
    ) -> Result<StepOutput> {
        self.epoch += 1;
        let input = StepInput { epoch: self.epoch, now, batches, before, after };
        match self.pipeline.step(input).await {
            Ok(output) => {
                self.pipeline.commit()?;
                Ok(output)
            }
            Err(error) => {
                self.pipeline.abort();
                Err(error)
            }
        }
    }

    /// The next batch of whichever reader has one first.
    async fn next(&mut self, wait: Duration) -> Result<Option<(usize, SourceBatch)>> {
        let wait = self.until_due(wait);
        let waiting = self.readers.iter_mut().enumerate().filter_map(|(slot, reader)| {
            let reader = reader.as_mut()?;
            Some(async move { (slot, reader.next().await) }.boxed())
        });
        let first = select_all(waiting.collect::<Vec<_>>());
        let Ok(((slot, batch), ..)) = tokio::time::timeout(wait, first).await else { return Ok(None) };
        match batch {
            Some(batch) => Ok(Some((slot, batch?))),
            None => {
                self.readers[slot] = None;
                self.watermarks[slot].force(END);
                Ok(None)
            }
        }
    }

    /// What else is at hand, up to the limit.
    fn take_more(&mut self, taken: &mut Vec<(usize, SourceBatch)>) -> Result<()> {
        let rows_of = |batch: &SourceBatch| batch.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let mut rows: usize = taken.iter().map(|(_, batch)| rows_of(batch)).sum();
        for (slot, reader) in self.readers.iter_mut().enumerate() {
            let Some(reader) = reader else { continue };
            while rows < self.limits.rows_max {
                let Some(batch) = reader.try_next() else { break };
                let batch = batch?;
                rows += rows_of(&batch);
                taken.push((slot, batch));
            }
        }
        Ok(())
    }

    /// `EMIT TIMEOUT`: after silence for that long the watermark passes every open window.
    fn time_out(&mut self, now: Micros) {
        let Some(timeout) = self.pipeline.emit.timeout else { return };
        let timeout = Micros::try_from(timeout.as_micros()).unwrap_or(Micros::MAX);
        if now.saturating_sub(self.last_rows_at) < timeout {
            return;
        }
        if let Some(at) = self.closes_on_silence() {
            self.watermarks.iter_mut().for_each(|watermark| {
                watermark.force(at);
            });
        }
    }

    /// The watermark to which silence may raise the sources'; `None` where it would close nothing.
    fn closes_on_silence(&self) -> Option<Micros> {
        let newest = self.watermarks.iter().map(SourceWatermark::newest).max()?;
        let reached = self.current_watermarks().into_iter().min()?;
        self.pipeline.close_all_at(newest).filter(|at| *at > reached)
    }

    /// `wait`, or less where a partition falls idle or an emission timeout is due before.
    fn until_due(&self, wait: Duration) -> Duration {
        let now = self.clock.now();
        let idle = self.watermarks.iter().filter_map(|watermark| watermark.next_idle_at(now)).min();
        let timeout = self.pipeline.emit.timeout.filter(|_| self.closes_on_silence().is_some()).map(|timeout| {
            self.last_rows_at.saturating_add(Micros::try_from(timeout.as_micros()).unwrap_or(Micros::MAX))
        });
        match idle.into_iter().chain(timeout).min() {
            Some(due) => wait.min(Duration::from_micros(u64::try_from(due.saturating_sub(now)).unwrap_or(0))),
            None => wait,
        }
    }

    pub fn current_watermarks(&self) -> Vec<Micros> {
        self.watermarks.iter().map(SourceWatermark::current).collect()
    }

    /// Why a source brings nothing, where one does not answer.
    pub fn trouble(&self) -> Option<String> {
        self.readers.iter().flatten().find_map(Reader::trouble)
    }
}
