//! Full batches decoded by several threads at once: what a reader does as long as more is at hand than one thread decodes.
//!
//! Each thread copies the records of a batch out of the source, which is little beside decoding them, lets go of the source, decodes, and
//! hands the batch on when those before it have been. Each has a decoder of its own, which is told where its batch begins, so what comes out
//! is what one decoder makes of it all. Where there is no more at hand than comes at the moment, the reader goes on alone.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Gone, ROWS_SIDE_BY_SIDE, Task, WAIT_FOR_ROOM, finish};
use crate::decode::{Doubtful, TableDecoder};
use crate::error::{Error, Result};
use crate::source::{Identity, Offset, Offsets, Partition, PollLimits, Polled, Record, Source, SourceBatch};

/// How long a batch is filled. What waits in a source is copied within a fraction of that.
const FILL_WITHIN: Duration = WAIT_FOR_ROOM;
/// The share of a batch's bytes that is worth a thread of its own, as [`ROWS_SIDE_BY_SIDE`] are of its rows.
const LARGE_SHARE: usize = 16;

/// What one thread decodes.
pub(super) struct Lane {
    decoder: TableDecoder,
    copied: Copied,
    /// What the source said behind the last record.
    polled: Polled,
    identity: Option<Arc<Identity>>,
}

/// Why the threads have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Something is to be told, and no batch has told it.
    pub(super) news: bool,
    /// The input has ended.
    pub(super) finished: bool,
}

/// What the threads read from, one of them at a time.
struct Feed<'a> {
    source: &'a mut dyn Source,
    at: &'a mut Offsets,
    /// Batches that have been taken.
    taken: u64,
    /// No more are taken.
    ended: bool,
    news: bool,
    finished: bool,
}

/// Whose batch is handed on next.
#[derive(Default)]
struct Turn {
    next: u64,
    /// None is handed on any more.
    stopped: Option<Stopped>,
}

enum Stopped {
    Gone,
    Failed(Error),
    Panicked,
}

struct Threads<'a> {
    feed: Mutex<Feed<'a>>,
    turn: Mutex<Turn>,
    passed: Condvar,
}

impl Task {
    /// Reads until no batch worth it is at hand. `decoder`: what the reader decodes with now. `at`: the next offsets, which move.
    pub(super) fn read_side_by_side(
        &self,
        source: &mut dyn Source,
        decoder: &TableDecoder,
        lanes: &mut Vec<Lane>,
        at: &mut Offsets,
    ) -> Result<Result<Ended>, Gone> {
        if let Err(error) = self.make_lanes(decoder, lanes) {
            return Ok(Err(error));
        }
        let feed = Feed { source, at, taken: 0, ended: false, news: false, finished: false };
        let threads = Threads { feed: Mutex::new(feed), turn: Mutex::default(), passed: Condvar::new() };
        thread::scope(|scope| {
            let mut lanes = lanes.iter_mut();
            let own = lanes.next();
            for lane in lanes {
                // Where there are no more threads to be had, those that are there do it.
                let work = || threads.work(self, lane);
                if thread::Builder::new().name("decoder".to_owned()).spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            own.into_iter().for_each(|lane| threads.work(self, lane));
        });
        // Each has grown to a full batch, and it may be long until one is needed again.
        lanes.iter_mut().for_each(|lane| lane.copied = Copied::default());
        let Feed { news, finished, .. } = threads.feed.into_inner();
        match threads.turn.into_inner().stopped {
            None => Ok(Ok(Ended { news, finished })),
            Some(Stopped::Failed(error)) => Ok(Err(error)),
            // Of a panic the scope has told.
            Some(Stopped::Gone | Stopped::Panicked) => Err(Gone),
        }
    }

    fn make_lanes(&self, decoder: &TableDecoder, lanes: &mut Vec<Lane>) -> Result<()> {
        while lanes.len() < self.decoders {
            let mut another = self.decoder(&self.columns_of(decoder)?, &Offsets::new())?;
            another.name_as(decoder);
            lanes.push(Lane { decoder: another, copied: Copied::default(), polled: Polled::default(), identity: None });
        }
        Ok(())
    }

    /// Indices of the columns that a decoder decodes.
    fn columns_of(&self, decoder: &TableDecoder) -> Result<Vec<usize>> {
        let index = |name: &String| self.def.columns.iter().position(|column| column.name == *name);
        let names = decoder.schema().fields().iter().map(|field| field.name());
        names.map(|name| index(name).ok_or_else(|| Error::bug(format!("no column \"{name}\" to decode")))).collect()
    }

    /// Copies the records of one batch, and says whether more is likely to be at hand. Where the source fails those before that are there.
    ///
    /// Full or not it ends with the first poll behind [`FILL_WITHIN`]: a stream that goes on and on leaves no pause in which it would,
    /// and rows must not wait until there are enough of them.
    fn fill(&self, lane: &mut Lane, source: &mut dyn Source, news: &mut bool) -> Result<bool> {
        lane.copied.clear();
        let bytes_max = (self.bytes_max / self.growth()).max(1);
        let until = Instant::now() + FILL_WITHIN;
        loop {
            let (records, bytes) = (lane.copied.records.len(), lane.copied.bytes.len());
            if records >= self.rows_max || bytes >= bytes_max {
                return Ok(true);
            }
            let limits = PollLimits {
                records_max: self.rows_max - records,
                bytes_max: bytes_max - bytes,
                wait: self.takers.wait(),
            };
            lane.polled = match source.poll(limits, &mut |record| lane.copied.push(&record)) {
                Ok(polled) => polled,
                Err(error) => {
                    lane.polled = Polled { positions: source.positions(), ..Polled::default() };
                    return Err(error);
                }
            };
            {
                let mut answers = self.answers.lock();
                *news |= answers.set_trouble(lane.polled.trouble.clone());
                answers.note(&lane.polled, self.deps.clock.steady());
            }
            if lane.polled.finished || lane.copied.records.len() == records {
                return Ok(false);
            }
            if Instant::now() >= until {
                let Copied { bytes, records } = &lane.copied;
                return Ok(records.len() >= ROWS_SIDE_BY_SIDE || bytes.len() >= bytes_max / LARGE_SHARE);
            }
        }
    }
}

impl Threads<'_> {
    /// What each thread does.
    fn work(&self, task: &Task, lane: &mut Lane) {
        let _last_words = LastWords(self);
        while let Some((number, failed)) = self.take(task, lane) {
            let decoded = lane.decode();
            let mut turn = self.turn.lock();
            while turn.next != number && turn.stopped.is_none() {
                self.passed.wait(&mut turn);
            }
            if turn.stopped.is_some() {
                return;
            }
            drop(turn);
            // Only the one whose turn it is gets here, so others wait for it and not for the lock.
            let stopped = match decoded {
                Ok(batch) => match task.send(batch) {
                    Ok(()) => failed.map(Stopped::Failed),
                    Err(Gone) => Some(Stopped::Gone),
                },
                Err(error) => Some(Stopped::Failed(error)),
            };
            self.pass(stopped);
        }
    }

    /// The number of a batch that has been copied, and why the source has none behind it.
    fn take(&self, task: &Task, lane: &mut Lane) -> Option<(u64, Option<Error>)> {
        let mut feed = self.feed.lock();
        if feed.ended || task.takers.is_gone() || task.takers.may_want_other_columns() {
            feed.ended = true;
            return None;
        }
        let Feed { source, at, news, .. } = &mut *feed;
        lane.decoder.start_at(at);
        let filled = task.fill(lane, *source, news);
        lane.identity = source.identity();
        // Also where there are only records that are none for us, as of transactions: the next batch begins behind them.
        let tells = !lane.copied.records.is_empty() || lane.polled.positions != **at || lane.polled.finished;
        at.clone_from(&lane.polled.positions);
        feed.finished = lane.polled.finished;
        let failed = match filled {
            Ok(full) => {
                feed.ended = !full || feed.finished;
                None
            }
            Err(error) => {
                feed.ended = true;
                // What is waited for says so again when it is asked again. A file may not, and would be taken for one that has ended.
                Some(error).filter(|error| !task.waits_out(error))
            }
        };
        if !tells && failed.is_none() {
            return None;
        }
        feed.news = false;
        feed.taken += 1;
        Some((feed.taken - 1, failed))
    }

    fn pass(&self, stopped: Option<Stopped>) {
        let mut turn = self.turn.lock();
        turn.next += 1;
        if stopped.is_some() {
            turn.stopped = stopped;
            self.feed.lock().ended = true;
        }
        self.passed.notify_all();
    }
}

/// A thread that panics lets the others go: its turn would not pass.
struct LastWords<'a, 'b>(&'a Threads<'b>);

impl Drop for LastWords<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.pass(Some(Stopped::Panicked));
        }
    }
}

impl Lane {
    fn decode(&mut self) -> Result<(SourceBatch, Vec<Doubtful>)> {
        self.copied.records().try_for_each(|record| self.decoder.push(&record))?;
        let (batch, doubtful) = finish(&mut self.decoder, &self.polled)?;
        Ok((SourceBatch { identity: self.identity.take(), ..batch }, doubtful))
    }
}

/// Records with their bytes, without their headers.
#[derive(Debug, Default)]
struct Copied {
    bytes: Vec<u8>,
    records: Vec<CopiedRecord>,
}

#[derive(Debug)]
struct CopiedRecord {
    partition: Partition,
    offset: Offset,
    timestamp_ms: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

impl Copied {
    fn push(&mut self, record: &Record<'_>) {
        let mut copy = |bytes: &[u8]| {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            from..self.bytes.len()
        };
        self.records.push(CopiedRecord {
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(&mut copy),
            value: record.value.map(&mut copy),
        });
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().map(|record| Record {
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.clone().map(|key| &self.bytes[key]),
            value: record.value.clone().map(|value| &self.bytes[value]),
            headers: None,
        })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }
}
