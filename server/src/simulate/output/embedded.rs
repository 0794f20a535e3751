//! The embedded log as a destination: for the demo, which shares the server's, and for a log that no server has open.

use std::path::Path;
use std::sync::Arc;

use super::{Outgoing, Target};
use crate::clock::Clock;
use crate::error::Result;
use crate::simulate::Topic;
use crate::source::Partition;
use crate::source::embedded::{EmbeddedLog, EmbeddedSettings, NewRecord};

/// What may wait for one append of one partition; the log takes 16 MiB at once.
const PENDING_BYTES_MAX: usize = 4 << 20;

/// Collects records and appends them by topic and partition.
#[derive(Debug)]
pub struct EmbeddedTarget {
    log: Arc<EmbeddedLog>,
    partitions: [u32; Topic::ALL.len()],
    pending: [Vec<Pending>; Topic::ALL.len()],
}

/// Records of one partition.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// (event time, end of the key, end of the value) in `bytes`.
    records: Vec<(i64, usize, usize)>,
}

impl EmbeddedTarget {
    /// Opens the log of a data directory; topics that are missing get so many partitions.
    ///
    /// # Errors
    /// Those of [`EmbeddedLog::open`] and [`EmbeddedLog::create_topic`].
    pub(super) fn open(data_dir: &Path, partitions: u32, clock: &Clock) -> Result<Self> {
        let settings = EmbeddedSettings { partitions, ..EmbeddedSettings::default() };
        EmbeddedTarget::of(EmbeddedLog::open(&data_dir.join("log"), settings, clock.clone())?)
    }

    /// Writes to a log that is open; topics that are missing get the log's number of partitions.
    ///
    /// # Errors
    /// Those of [`EmbeddedLog::ensure_topic`].
    pub fn of(log: Arc<EmbeddedLog>) -> Result<Self> {
        let mut partitions = [0; Topic::ALL.len()];
        for topic in Topic::ALL {
            partitions[topic as usize] = log.ensure_topic(topic.name())?;
        }
        let pending = partitions.map(|partitions| (0..partitions).map(|_| Pending::default()).collect());
        Ok(EmbeddedTarget { log, partitions, pending })
    }

    /// Adds a record to what [`EmbeddedTarget::flush`] appends, or appends at once where that has become much.
    ///
    /// # Errors
    /// Those of [`EmbeddedLog::append`].
    pub fn add(&mut self, topic: Topic, key: &[u8], event_ms: i64, value: &[u8]) -> Result<()> {
        let partition = super::partition_of(key, self.partitions[topic as usize]);
        self.append(topic, partition, Outgoing { event_ms, key, value })
    }

    /// Appends what has been added; it is durable then.
    ///
    /// # Errors
    /// Those of [`EmbeddedLog::append`].
    pub fn flush(&mut self) -> Result<()> {
        for topic in Topic::ALL {
            for partition in 0..self.partitions[topic as usize] {
                self.flush_partition(topic, partition)?;
            }
        }
        Ok(())
    }

    fn flush_partition(&mut self, topic: Topic, partition: u32) -> Result<()> {
        let pending = &mut self.pending[topic as usize][partition as usize];
        if pending.records.is_empty() {
            return Ok(());
        }
        let mut from = 0;
        let records: Vec<NewRecord<'_>> = pending
            .records
            .iter()
            .map(|(event_ms, key, value)| {
                let record = NewRecord {
                    timestamp_ms: Some(*event_ms),
                    key: Some(&pending.bytes[from..*key]),
                    value: Some(&pending.bytes[*key..*value]),
                };
                from = *value;
                record
            })
            .collect();
        self.log.append(topic.name(), partition as Partition, &records)?;
        drop(records);
        pending.bytes.clear();
        pending.records.clear();
        Ok(())
    }
}

impl Target for EmbeddedTarget {
    fn partitions(&self, topic: Topic) -> u32 {
        self.partitions[topic as usize]
    }

    fn append(&mut self, topic: Topic, partition: u32, record: Outgoing<'_>) -> Result<()> {
        let pending = &mut self.pending[topic as usize][partition as usize];
        pending.bytes.extend_from_slice(record.key);
        let key = pending.bytes.len();
        pending.bytes.extend_from_slice(record.value);
        pending.records.push((record.event_ms, key, pending.bytes.len()));
        if pending.bytes.len() > PENDING_BYTES_MAX { self.flush_partition(topic, partition) } else { Ok(()) }
    }

    fn flush(&mut self, _finally: bool) -> Result<()> {
        EmbeddedTarget::flush(self)
    }
}
