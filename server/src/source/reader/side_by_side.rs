//! Full batches decoded by several threads at once: what a reader does as long as more is at hand than one thread decodes.
//!
//! Records are copied out of the source one batch after the other, which is little beside decoding them; then all batches are decoded
//! at the same time and handed on in their order. Each batch has a decoder of its own, told where the batch begins, so what comes out is
//! what one decoder makes of them.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use super::{Files, Gone, Task, finish};
use crate::decode::{Doubtful, TableDecoder};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Offset, Offsets, Partition, PollLimits, Polled, Record, Source, SourceBatch};

/// One of the batches that are decoded at the same time.
pub(super) struct Lane {
    decoder: TableDecoder,
    copied: Copied,
    /// What the source said behind the last record.
    polled: Polled,
}

/// What has become of the batches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// All were full: more is at hand.
    pub(super) full: bool,
    /// Something is to be told, and no batch has told it.
    pub(super) news: bool,
    pub(super) finished: bool,
}

impl Task {
    /// Reads one batch for each thread. `decoder`: what the reader decodes with now. `at`: the next offsets, which move.
    pub(super) fn read_side_by_side(
        &self,
        source: &mut dyn Source,
        decoder: &TableDecoder,
        lanes: &mut Vec<Lane>,
        at: &mut Offsets,
    ) -> Result<Result<Round>, Gone> {
        if let Err(error) = self.make_lanes(decoder, lanes) {
            return Ok(Err(error));
        }
        let mut round = Round { full: true, news: false, finished: false };
        let (mut used, mut failed) = (0, None);
        for lane in lanes.iter_mut() {
            let filled = self.fill(lane, source, at);
            round.finished = lane.polled.finished;
            // Also where there are only records that are none for us, as of transactions: the next batch begins behind them.
            let tells = !lane.copied.is_empty() || lane.polled.positions != *at || round.finished;
            used += usize::from(tells);
            at.clone_from(&lane.polled.positions);
            match filled {
                Ok(Filled { full, news }) => (round.full, round.news) = (full, round.news | news),
                Err(error) => (round.full, failed) = (false, Some(error)),
            }
            if !round.full || round.finished {
                break;
            }
        }
        for decoded in decode(&mut lanes[..used]) {
            match decoded {
                Ok((batch, doubtful)) => {
                    let identity: Files = source.identity();
                    self.send((SourceBatch { identity, ..batch }, doubtful))?;
                    round.news = false;
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        match failed {
            // Asked again, it says so again, and then it is waited for.
            Some(error) if error.kind() != ErrorKind::Unavailable => Ok(Err(error)),
            _ => Ok(Ok(round)),
        }
    }

    fn make_lanes(&self, decoder: &TableDecoder, lanes: &mut Vec<Lane>) -> Result<()> {
        while lanes.len() < self.decoders {
            let mut another = self.decoder(&self.columns_of(decoder)?, &Offsets::new())?;
            another.name_as(decoder);
            lanes.push(Lane { decoder: another, copied: Copied::default(), polled: Polled::default() });
        }
        Ok(())
    }

    /// Indices of the columns that a decoder decodes.
    fn columns_of(&self, decoder: &TableDecoder) -> Result<Vec<usize>> {
        let index = |name: &String| self.def.columns.iter().position(|column| column.name == *name);
        let names = decoder.schema().fields().iter().map(|field| field.name());
        names.map(|name| index(name).ok_or_else(|| Error::bug(format!("no column \"{name}\" to decode")))).collect()
    }

    /// Copies the records of one batch. Where the source fails those before it are there.
    fn fill(&self, lane: &mut Lane, source: &mut dyn Source, at: &Offsets) -> Result<Filled> {
        lane.decoder.start_at(at);
        lane.copied.clear();
        let bytes_max = (self.bytes_max / self.growth()).max(1);
        let mut news = false;
        loop {
            let (records, bytes) = (lane.copied.records.len(), lane.copied.bytes.len());
            if records >= self.rows_max || bytes >= bytes_max {
                return Ok(Filled { full: true, news });
            }
            let limits = PollLimits {
                records_max: self.rows_max - records,
                bytes_max: bytes_max - bytes,
                wait: self.takers.wait(),
            };
            let polled = match source.poll(limits, &mut |record| lane.copied.push(&record)) {
                Ok(polled) => polled,
                Err(error) => {
                    lane.polled = Polled { positions: source.positions(), ..Polled::default() };
                    return Err(error);
                }
            };
            {
                let mut answers = self.answers.lock();
                news |= answers.set_trouble(polled.trouble.clone());
                answers.note(&polled, self.deps.clock.now());
            }
            let came = lane.copied.records.len() > records;
            lane.polled = polled;
            if lane.polled.finished || !came {
                return Ok(Filled { full: false, news });
            }
        }
    }
}

struct Filled {
    full: bool,
    news: bool,
}

type Decoded = Result<(SourceBatch, Vec<Doubtful>)>;

/// What becomes of each batch, in their order; behind one that cannot be decoded none follows.
fn decode(lanes: &mut [Lane]) -> Vec<Decoded> {
    let Some((last, others)) = lanes.split_last_mut() else { return vec![] };
    thread::scope(|scope| {
        let others: Vec<_> = others.iter_mut().map(|lane| scope.spawn(|| lane.decode())).collect();
        let last = last.decode();
        let others = others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        others.chain([last]).collect()
    })
}

impl Lane {
    fn decode(&mut self) -> Decoded {
        self.copied.records().try_for_each(|record| self.decoder.push(&record))?;
        finish(&mut self.decoder, &self.polled)
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

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }
}
