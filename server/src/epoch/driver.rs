//! One query's epochs: take what the readers have, move the watermarks, run the plan once. Nothing here is durable.
//!
//! An epoch begins when rows are there and none is running; what arrives meanwhile is the next one. There is no timer in
//! the path of a row: time only matters for partitions that fall idle and for `EMIT TIMEOUT`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::select_all;

use crate::catalog::Connector;
use crate::clock::{Clock, Micros, duration_of, micros_of};
use crate::error::Result;
use crate::pipeline::{Pipeline, StepInput, StepOutput};
use crate::source::reader::Reader;
use crate::source::{DeadLetter, Identity, Offsets, Origins, SourceBatch};
use crate::status::{Step, Steps};
use crate::watermark::{Mark, SlotWatermark};

/// How much one epoch may take.
#[derive(Debug, Clone, Copy)]
pub struct EpochLimits {
    /// Rows after which no further batch is added. One batch is always taken whole.
    pub rows_max: usize,
    /// Bytes after which no further batch is added.
    pub bytes_max: usize,
    /// Take one reader batch per epoch, however small: `--epoch-rows` cuts them at the reader.
    pub one_batch: bool,
}

impl EpochLimits {
    /// For a budget of so many bytes: an epoch takes a small part of it in, and what it makes of it comes on top.
    pub fn within(memory: usize, rows_max: usize, one_batch: bool) -> Self {
        EpochLimits { rows_max, bytes_max: memory / EPOCH_SHARE, one_batch }
    }
}

/// See [`EpochLimits::within`].
const EPOCH_SHARE: usize = 32;

/// A query in motion.
#[derive(Debug)]
pub struct Driver {
    pub pipeline: Arc<Pipeline>,
    /// One for each slot of the pipeline; `None` once its bounded input has ended.
    readers: Vec<Option<Reader>>,
    pub watermarks: Vec<SlotWatermark>,
    pub offsets: Vec<Offsets>,
    /// Of what these offsets are, by slot.
    pub identities: Vec<Identity>,
    /// The end of each partition as last seen, by slot. One that does not answer now keeps the end that it had.
    pub ends: Vec<Offsets>,
    /// By slot: rows of a checkpoint of a view have been taken, and more of them are to come.
    partial: Vec<bool>,
    /// Only what has been taken in part is taken from, until it is whole: a checkpoint is due.
    pub whole_first: bool,
    /// The slot that is served first at the next turn, so that a busy reader starves no other.
    next_slot: usize,
    clock: Clock,
    limits: EpochLimits,
    epoch: u64,
    /// Steady time.
    last_rows_at: Micros,
    /// What the wall clock said at the last turn.
    turned_at: Micros,
    /// Told when rows have come and are being computed.
    steps: Arc<Steps>,
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
    /// Rows of them beyond one a record, dead letters included, and records without any.
    pub extra_rows: u64,
    pub empty_records: u64,
    pub far_future: u64,
}

impl Driver {
    /// `readers`, `watermarks`, `offsets`: one for each slot of the pipeline, where the query stands.
    pub fn new(
        pipeline: Arc<Pipeline>,
        readers: Vec<Reader>,
        watermarks: Vec<SlotWatermark>,
        offsets: Vec<Offsets>,
        clock: Clock,
        limits: EpochLimits,
    ) -> Self {
        let last_rows_at = clock.steady();
        let ends = offsets.clone();
        let partial = vec![false; readers.len()];
        let identities = vec![Identity::default(); readers.len()];
        let readers = readers.into_iter().map(Some).collect();
        let driver = Driver {
            pipeline,
            readers,
            watermarks,
            offsets,
            identities,
            ends,
            partial,
            whole_first: false,
            next_slot: 0,
            clock,
            limits,
            epoch: 0,
            last_rows_at,
            turned_at: Micros::MIN,
            steps: Arc::default(),
        };
        // A checkpoint may know the sources' watermarks and not yet those of the edges.
        driver.pipeline.pass(&driver.marks());
        driver
    }

    /// With what a checkpoint says of the sources, by slot.
    pub fn knowing(mut self, identities: Vec<Identity>) -> Self {
        self.identities = identities;
        self
    }

    /// Telling `steps` what it does.
    pub fn telling(mut self, steps: Arc<Steps>) -> Self {
        self.steps = steps;
        self
    }

    /// Waits at most `wait` for rows, then runs an epoch over what is there.
    ///
    /// The step is committed to the operators' state before this returns.
    ///
    /// # Errors
    /// Those of the readers and of [`Pipeline::step`]; `Corrupt` where rows are of another topic than those before. The state is then as
    /// before the epoch.
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
        // Here no epoch runs: the next one sees what static tables hold now, from its beginning to its end.
        self.pipeline.static_tables().take_up();
        // Event times and what is emitted in intervals go by the wall clock; for how long a source is silent does not.
        let (now, steady) = (self.clock.now(), self.clock.steady());
        let set_back = now < std::mem::replace(&mut self.turned_at, now);
        // Rows are an epoch whatever the marks say.
        let before = if taken.iter().all(|(_, batch)| batch.batches.is_empty()) { self.marks() } else { vec![] };
        let mut result = EpochResult::default();
        let mut batches: Vec<Vec<RecordBatch>> = vec![Vec::new(); self.readers.len()];
        let mut origins: Vec<Vec<Origins>> = vec![Vec::new(); self.readers.len()];
        let mut found = self.identify(&taken)?;
        let mut held = Vec::new();
        for (slot, batch) in taken {
            held.extend(batch.held);
            for (partition, progress) in &batch.progress {
                self.watermarks[slot].observe(*partition, progress, batch.view.as_ref(), steady);
                found |= self.offsets[slot].insert(*partition, progress.to).is_none();
                if let Some(end) = progress.end {
                    self.ends[slot].insert(*partition, end);
                }
                result.records += progress.records;
                result.far_future += progress.far_future;
            }
            if let Some(view) = &batch.view {
                self.partial[slot] = view.partial;
            }
            result.extra_rows += batch.extra_rows;
            result.empty_records += batch.empty_records;
            // A batch whose source does not say where its rows were read has an empty origin.
            let unknown = batches[slot].len() + batch.batches.len();
            origins[slot].resize(batches[slot].len(), Origins::default());
            batches[slot].extend(batch.batches);
            origins[slot].extend(batch.origins);
            origins[slot].resize(unknown, Origins::default());
            result.dead_letters.extend(batch.dead_letters);
            if batch.finished {
                self.readers[slot] = None;
                self.watermarks[slot].end();
            }
        }
        if result.records > 0 {
            self.last_rows_at = steady;
        }
        for (reader, watermark) in self.readers.iter().zip(&mut self.watermarks) {
            if let Some(reader) = reader {
                reader.see_known(|known| watermark.observe_ends(known));
            }
            watermark.advance();
        }
        self.time_out();
        let after = self.marks();
        // What would leave by a clock that was ahead does not wait until that time has come again.
        let has_come = |at: Micros| set_back || at <= now;
        let is_due = || self.pipeline.due(&after) || self.pipeline.next_time().is_some_and(has_come);
        if result.records == 0 && batches.iter().all(Vec::is_empty) && !is_due() {
            // Where a table begins at its latest record, only a checkpoint remembers where that was: the next start goes on from there.
            if before == after && !found {
                return Ok(Turn::Quiet);
            }
            // Also a source that falls idle is news: the next checkpoint says so.
            self.pipeline.pass(&after);
            return Ok(Turn::Epoch(result));
        }
        result.output = self.run(now, batches, origins, after).await?;
        result.dead_letters.append(&mut result.output.bad);
        Ok(Turn::Epoch(result))
    }

    /// Whether batches are of what has been read before. True where it was not known what that is.
    fn identify(&mut self, taken: &[(usize, SourceBatch)]) -> Result<bool> {
        let mut news = false;
        for (slot, batch) in taken {
            let Some(found) = &batch.identity else { continue };
            let table = &self.pipeline.slots[*slot].table;
            let name = match &table.connector {
                Connector::Kafka(topic) => &topic.topic,
                Connector::Filesystem(_) | Connector::Postgres(_) | Connector::View(_) => &table.name,
            };
            let has_read = self.offsets[*slot].values().any(|next| *next > 0);
            news |= self.identities[*slot]
                .learn(found, name, has_read)
                .map_err(|error| error.at(table.location.clone()))?;
        }
        Ok(news)
    }

    /// Bounded input has ended: what is still open closes.
    async fn last_turn(&mut self) -> Result<Turn> {
        if self.pipeline.open_panes() == 0 {
            return Ok(Turn::Finished);
        }
        let (slots, marks) = (self.watermarks.len(), self.pipeline.marks());
        let mut output = self.run(self.clock.now(), vec![Vec::new(); slots], vec![], vec![Mark::END; marks]).await?;
        let dead_letters = std::mem::take(&mut output.bad);
        Ok(Turn::Epoch(EpochResult { output, dead_letters, ..EpochResult::default() }))
    }

    async fn run(
        &mut self,
        now: Micros,
        batches: Vec<Vec<RecordBatch>>,
        origins: Vec<Vec<Origins>>,
        sources: Vec<Mark>,
    ) -> Result<StepOutput> {
        self.epoch += 1;
        self.steps.enter(Step::Computing);
        let input = StepInput { epoch: self.epoch, now, batches, origins, sources };
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
        let (only_partial, partial) = (self.takes_only_partial(), &self.partial);
        let waiting = self.readers.iter_mut().enumerate().filter_map(|(slot, reader)| {
            let reader = reader.as_mut().filter(|_| !only_partial || partial[slot])?;
            Some((slot, async move { (slot, reader.next().await) }.boxed()))
        });
        let (later, mut first): (Vec<_>, Vec<_>) = waiting.partition(|(slot, _)| *slot < self.next_slot);
        // Of several that have something the first in this order is taken.
        first.extend(later);
        let first = select_all(first.into_iter().map(|(_, next)| next));
        let Ok(((slot, batch), ..)) = tokio::time::timeout(wait, first).await else { return Ok(None) };
        self.next_slot = (slot + 1) % self.readers.len();
        match batch {
            Some(batch) => Ok(Some((slot, batch?))),
            None => {
                self.readers[slot] = None;
                self.watermarks[slot].end();
                Ok(None)
            }
        }
    }

    /// What else is at hand, up to the limit: a batch of each reader in turn.
    fn take_more(&mut self, taken: &mut Vec<(usize, SourceBatch)>) -> Result<()> {
        let rows_of = |batch: &SourceBatch| batch.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let mut rows: usize = taken.iter().map(|(_, batch)| rows_of(batch)).sum();
        let mut bytes: usize = taken.iter().map(|(_, batch)| batch.bytes).sum();
        let (mut empty, mut partial) = (0, self.partial.clone());
        let note = |partial: &mut Vec<bool>, slot: usize, batch: &SourceBatch| {
            batch.view.iter().for_each(|view| partial[slot] = view.partial);
        };
        taken.iter().for_each(|(slot, batch)| note(&mut partial, *slot, batch));
        while rows < self.limits.rows_max && bytes < self.limits.bytes_max && empty < self.readers.len() {
            let slot = self.next_slot;
            self.next_slot = (slot + 1) % self.readers.len();
            if self.whole_first && !partial[slot] {
                empty += 1;
                continue;
            }
            match self.readers[slot].as_mut().and_then(Reader::try_next) {
                Some(batch) => {
                    let batch = batch?;
                    note(&mut partial, slot, &batch);
                    rows += rows_of(&batch);
                    bytes += batch.bytes;
                    taken.push((slot, batch));
                    empty = 0;
                }
                None => empty += 1,
            }
        }
        Ok(())
    }

    /// `EMIT TIMEOUT`: after silence for that long the watermark passes every open window.
    fn time_out(&mut self) {
        let Some(timeout) = self.timeout() else { return };
        if self.silent_for().is_none_or(|lasted| lasted < timeout) {
            return;
        }
        let marks = self.closes_on_silence();
        let mut rest = marks.as_slice();
        for (watermark, slot) in self.watermarks.iter_mut().zip(&self.pipeline.slots) {
            let (own, behind) = rest.split_at(slot.marks().min(rest.len()));
            watermark.force(own);
            rest = behind;
        }
    }

    /// For how long nothing has come from any source, as far as is proven: microseconds. One that has ended will not speak.
    pub fn silent_for(&self) -> Option<Micros> {
        let mut open = self.watermarks.iter().zip(&self.readers).filter(|(_, reader)| reader.is_some());
        open.try_fold(Micros::MAX, |least, (watermark, _)| Some(watermark.silent_for(self.last_rows_at)?.min(least)))
    }

    fn timeout(&self) -> Option<Micros> {
        self.pipeline.emit.timeout.map(micros_of)
    }

    /// The marks to which silence would raise the sources.
    fn closes_on_silence(&self) -> Vec<Micros> {
        let newest: Vec<Micros> = self.watermarks.iter().flat_map(SlotWatermark::newest).collect();
        self.pipeline.close_all_at(&newest)
    }

    /// `wait`, or less where a partition falls idle, an emission timeout or what is emitted in intervals is due before. What is due already waits for the
    /// sources to say that they have nothing.
    fn until_due(&self, wait: Duration) -> Duration {
        let (now, steady) = (self.clock.now(), self.clock.steady());
        let idle = self.watermarks.iter().filter_map(|watermark| watermark.next_idle_at(steady));
        let timeout =
            self.timeout().map(|timeout| self.last_rows_at.saturating_add(timeout)).filter(|due| *due > steady);
        let by_silence = idle.chain(timeout).map(|due| due.saturating_sub(steady));
        match by_silence.chain(self.pipeline.next_time().map(|due| due.saturating_sub(now))).min() {
            Some(left) => wait.min(duration_of(left)),
            None => wait,
        }
    }

    /// How far the sources have got, all marks of the first slot before those of the second.
    pub fn marks(&self) -> Vec<Mark> {
        self.watermarks.iter().flat_map(SlotWatermark::marks).collect()
    }

    /// Whether there is something to be made whole first.
    fn takes_only_partial(&self) -> bool {
        self.whole_first && self.readers.iter().zip(&self.partial).any(|(reader, partial)| reader.is_some() && *partial)
    }

    /// Whether what has been taken lies behind the offsets: only then may it be made durable. A checkpoint of a view is one step of
    /// its reader, however many epochs it takes.
    pub fn is_whole(&self) -> bool {
        !self.partial.contains(&true)
    }

    /// Where the partitions of a slot end that answer. Input that has ended ends where it has been read to.
    pub fn known_ends(&self, slot: usize) -> Offsets {
        let Some(reader) = &self.readers[slot] else { return self.offsets[slot].clone() };
        let mut ends = Offsets::new();
        reader.see_known(|known| ends.extend(known.iter().map(|(partition, known)| (*partition, known.end))));
        for (partition, end) in &mut ends {
            // Rows may have said more than the reader had seen.
            *end = self.ends[slot].get(partition).copied().map_or(*end, |seen| seen.max(*end));
        }
        ends
    }

    /// Why a source brings nothing, where one does not answer.
    pub fn trouble(&self) -> Option<String> {
        self.readers.iter().flatten().find_map(Reader::trouble)
    }
}

#[cfg(test)]
mod tests;
