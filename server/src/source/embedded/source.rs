//! Reading a topic of the embedded log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use redb::{Database, ReadOnlyTable, ReadableDatabase};

use super::chunk::{Chunk, Place};
use super::{CHUNKS, EmbeddedLog, Extent, store_error};
use crate::catalog::{KafkaTopic, StartAt};
use crate::error::{Error, Result};
use crate::source::{Identity, Offset, Offsets, Partition, PollLimits, Polled, Record, Source};

/// All partitions of a topic, from offsets that the caller keeps. Woken by appends: no polling of the store.
#[derive(Debug)]
pub struct EmbeddedSource {
    log: Arc<EmbeddedLog>,
    topic: String,
    id: u32,
    identity: Arc<Identity>,
    partitions: BTreeMap<Partition, Reading>,
    /// Who is served first at the next poll, so that no partition starves the others.
    turn: usize,
    bounded: bool,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    position: Offset,
    end: Offset,
    until: Option<Offset>,
    /// Where the last poll stopped within a chunk, with the chunk's base: saves walking the chunk again.
    stopped: Option<(Offset, Place)>,
}

impl EmbeddedSource {
    /// Opens all partitions. The arguments mean what they mean for Kafka; a topic that does not exist is made.
    ///
    /// # Errors
    /// `Corrupt` where an offset to resume at is gone or not there yet; `Invalid` for a name that cannot be a topic.
    pub fn open(log: &Arc<EmbeddedLog>, topic: &KafkaTopic, resume: &Offsets, until: Option<&Offsets>) -> Result<Self> {
        let (id, extents) = log.extents(&topic.topic)?;
        if let Some((partition, offset)) = resume.iter().find(|(partition, _)| !extents.contains_key(partition)) {
            return Err(lost(&topic.topic, *partition, *offset, "the topic does not have this partition"));
        }
        let mut partitions = BTreeMap::new();
        for (partition, extent) in extents {
            let position = match (resume.get(&partition), topic.start) {
                (Some(position), _) => {
                    check_range(&topic.topic, partition, *position, extent)?;
                    *position
                }
                (None, StartAt::Latest) if resume.is_empty() => extent.end as Offset,
                (None, _) => extent.begin as Offset,
            };
            let until = match until.map(|until| until.get(&partition)) {
                None => None,
                Some(Some(until)) => Some(*until),
                Some(None) => continue,
            };
            partitions.insert(partition, Reading { position, end: extent.end as Offset, until, stopped: None });
        }
        let bounded = until.is_some();
        // A log never gives a topic up.
        let identity = Arc::new(Identity { topic: Some(log.shared.id.clone()), ..Identity::default() });
        let (log, topic) = (Arc::clone(log), topic.topic.clone());
        Ok(EmbeddedSource { log, topic, id, identity, partitions, turn: 0, bounded })
    }

    fn finished(&self) -> bool {
        self.bounded
            && self.partitions.values().all(|reading| reading.until.is_none_or(|until| reading.position >= until))
    }

    /// Waits until a partition has more than was read, or time is up. Brings the ends up to date.
    fn wait_for_data(&mut self, wait: std::time::Duration) -> Result<()> {
        let deadline = Instant::now() + wait;
        let shared = Arc::clone(&self.log.shared);
        let mut state = shared.state.lock();
        loop {
            let topic = state.topics.get(&self.topic).ok_or_else(|| Error::bug("a topic vanished"))?;
            let mut at_hand = false;
            for (partition, reading) in &mut self.partitions {
                let extent = topic.partitions.get(*partition as usize).copied().unwrap_or_default();
                // Behind the end: a disk that failed may have come back without what it had.
                if !(extent.begin as Offset..=extent.end as Offset).contains(&reading.position) {
                    check_range(&self.topic, *partition, reading.position, extent)?;
                }
                reading.end = extent.end as Offset;
                at_hand |= reading.wants() > reading.position;
            }
            if at_hand || self.finished() || shared.grown.wait_until(&mut state, deadline).timed_out() {
                return Ok(());
            }
        }
    }

    fn polled(&self) -> Polled {
        Polled {
            positions: self.positions(),
            answered: self.partitions.keys().copied().collect(),
            ends: self.partitions.iter().map(|(partition, reading)| (*partition, reading.end)).collect(),
            finished: self.finished(),
            trouble: None,
        }
    }
}

impl Reading {
    fn wants(&self) -> Offset {
        self.until.map_or(self.end, |until| until.min(self.end))
    }
}

impl Source for EmbeddedSource {
    fn positions(&self) -> Offsets {
        self.partitions.iter().map(|(partition, reading)| (*partition, reading.position)).collect()
    }

    fn identity(&self) -> Option<Arc<Identity>> {
        Some(Arc::clone(&self.identity))
    }

    fn poll(&mut self, limits: PollLimits, visit: &mut dyn FnMut(Record<'_>)) -> Result<Polled> {
        self.wait_for_data(limits.wait)?;
        if self.partitions.values().all(|reading| reading.wants() <= reading.position) {
            return Ok(self.polled());
        }
        let shared = Arc::clone(&self.log.shared);
        shared.with_store(|database| self.read(database, limits, visit))?;
        Ok(self.polled())
    }
}

impl EmbeddedSource {
    fn read(&mut self, database: &Database, limits: PollLimits, visit: &mut dyn FnMut(Record<'_>)) -> Result<()> {
        let read = database.begin_read().map_err(store_error)?;
        let chunks = read.open_table(CHUNKS).map_err(store_error)?;
        let mut left = Left { records: limits.records_max, bytes: limits.bytes_max };
        let ids = self.partitions.keys().copied().collect::<Vec<_>>();
        // A chunk from each in turn: partitions advance side by side, as their event times do.
        let mut idle = 0;
        while idle < ids.len() && left.records > 0 && left.bytes > 0 {
            let partition = ids[self.turn % ids.len()];
            self.turn = (self.turn + 1) % ids.len();
            let reading = self.partitions.get_mut(&partition).expect("from the same map");
            if reading.wants() <= reading.position {
                idle += 1;
                continue;
            }
            idle = 0;
            read_chunk(&chunks, (self.id, partition), reading, &mut left, visit)
                .map_err(|error| error.unwrap_or_else(|| gone(&self.topic, partition, reading.position)))?;
        }
        Ok(())
    }
}

struct Left {
    records: usize,
    bytes: usize,
}

/// Reads on in the chunk that holds the position. `Err(None)`: there is no such chunk.
fn read_chunk(
    chunks: &ReadOnlyTable<(u32, u32, u64), &'static [u8]>,
    (topic, partition): (u32, Partition),
    reading: &mut Reading,
    left: &mut Left,
    visit: &mut dyn FnMut(Record<'_>),
) -> Result<(), Option<Error>> {
    let place = (topic, partition as u32);
    let up_to = (place.0, place.1, reading.position as u64);
    let mut found = chunks.range((place.0, place.1, 0)..=up_to).map_err(|error| Some(store_error(error)))?;
    let (key, stored) = found.next_back().ok_or(None)?.map_err(|error| Some(store_error(error)))?;
    let chunk = Chunk::parse(stored.value(), key.value().2 as Offset).map_err(Some)?;
    if chunk.end() <= reading.position {
        return Err(None);
    }
    let mut at = match reading.stopped {
        Some((base, place)) if base == chunk.base && place.offset == reading.position => place,
        _ => {
            chunk.verify().map_err(Some)?;
            chunk.begin()
        }
    };
    let until = reading.wants();
    while left.records > 0 && left.bytes > 0 && at.offset < until {
        let Some((record, next)) = chunk.record(partition, at).map_err(Some)? else { break };
        at = next;
        if record.offset < reading.position {
            continue;
        }
        left.records -= 1;
        let bytes = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
        left.bytes = left.bytes.saturating_sub(bytes);
        reading.position = record.offset + 1;
        visit(record);
    }
    reading.stopped = Some((chunk.base, at));
    Ok(())
}

fn check_range(topic: &str, partition: Partition, position: Offset, extent: Extent) -> Result<()> {
    let (begin, end) = (extent.begin as Offset, extent.end as Offset);
    if position < begin {
        let range = format!("offsets {position} to {}", begin - 1);
        let gone = format!("{range} are gone: the partition now begins at {begin}");
        let range = format!("topic \"{topic}\", partition {partition}, {range}");
        return Err(lost(topic, partition, position, &gone).losing(range));
    }
    if position > end {
        let ahead =
            format!("the partition ends at {end}, before the offset to go on at: the log is not the one that was read");
        return Err(lost(topic, partition, position, &ahead));
    }
    Ok(())
}

fn gone(topic: &str, partition: Partition, position: Offset) -> Error {
    lost(topic, partition, position, "retention has dropped this offset while it was being read")
        .losing(format!("topic \"{topic}\", partition {partition}, from offset {position}"))
}

fn lost(topic: &str, partition: Partition, position: Offset, what: &str) -> Error {
    Error::corrupt(format!("cannot go on with topic \"{topic}\", partition {partition}, at offset {position}"))
        .detail(what.to_owned())
        .hint(
            "drop the query's state to begin anew from what the log has; \
             raise retention_mbytes or retention_hours under [embedded_log] so that they outlast the longest stop",
        )
}
