//! Into the log: records are acknowledged when it has them to stay, and not before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use parking_lot::Mutex;
use tracing::warn;

use super::kafka::Producer;
use crate::catalog::KafkaTopic;
use crate::error::{Error, Result};
use crate::source::embedded::{EmbeddedLog, NewRecord};
use crate::source::kafka::KafkaSettings;
use crate::source::{Partition, partition_of};

/// A record on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
}

/// The logs that topics are in.
#[derive(Debug)]
pub(super) struct Logs {
    kafka: KafkaSettings,
    embedded: Option<Arc<EmbeddedLog>>,
    /// By brokers: connected at the first record for them.
    producers: Mutex<BTreeMap<String, Arc<Producer>>>,
    /// Where the next records without a key go.
    turn: AtomicU32,
}

impl Logs {
    pub(super) fn new(kafka: KafkaSettings, embedded: Option<Arc<EmbeddedLog>>) -> Self {
        Logs { kafka, embedded, producers: Mutex::default(), turn: AtomicU32::new(0) }
    }

    /// Appends records, and returns the places of those that are not known to be there to stay, ascending. `now_ms`: their time.
    ///
    /// # Errors
    /// `Unavailable` where there is no log for the topic, or none of the records could be handed over.
    pub(super) async fn append(&self, topic: &KafkaTopic, records: &[Outgoing<'_>], now_ms: i64) -> Result<Vec<usize>> {
        if !self.kafka.is_embedded(topic.brokers.as_deref()) {
            let brokers = self.kafka.brokers_for(topic.brokers.as_deref());
            let producer = self.producer(brokers)?;
            let failed = producer.append(&topic.topic, records, now_ms).await;
            if producer.is_broken() {
                // It has lost count of what it has sent, and sends no more; the next request connects anew.
                self.producers.lock().retain(|_, known| !Arc::ptr_eq(known, &producer));
            }
            return Ok(failed);
        }
        let log = self.embedded.as_ref().ok_or_else(|| {
            Error::unavailable(format!(
                "topic \"{}\" is in the embedded log, which this server does not have",
                topic.topic
            ))
        })?;
        self.append_embedded(log, &topic.topic, records, now_ms).await
    }

    fn producer(&self, brokers: &str) -> Result<Arc<Producer>> {
        let mut producers = self.producers.lock();
        if let Some(known) = producers.get(brokers) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(Producer::try_new(&self.kafka, brokers)?);
        producers.insert(brokers.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    async fn append_embedded(
        &self,
        log: &EmbeddedLog,
        topic: &str,
        records: &[Outgoing<'_>],
        now_ms: i64,
    ) -> Result<Vec<usize>> {
        let partitions = log.ensure_topic(topic)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % partitions.max(1);
        let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            let partition = record.key.map_or(turn, |key| partition_of(key, partitions));
            groups.entry(partition).or_default().push(index);
        }
        // Side by side, so that one transaction takes them all.
        let appends = groups.into_iter().map(|(partition, indexes)| async move {
            let record = |index: &usize| {
                let Outgoing { key, value } = records[*index];
                NewRecord { timestamp_ms: Some(now_ms), key, value: Some(value) }
            };
            let group: Vec<NewRecord<'_>> = indexes.iter().map(record).collect();
            let appended = log.append_async(topic, partition as Partition, &group).await;
            (indexes, appended)
        });
        let mut failed = Vec::new();
        for (indexes, appended) in join_all(appends).await {
            if let Err(error) = appended {
                warn!(
                    topic,
                    records = indexes.len(),
                    error = error.report(),
                    "the embedded log has not said that it has these records by HTTP"
                );
                failed.extend(indexes);
            }
        }
        failed.sort_unstable();
        Ok(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::StartAt;
    use crate::clock::Clock;
    use crate::source::embedded::{EmbeddedSettings, EmbeddedSource};
    use crate::source::kafka::EMBEDDED;
    use crate::source::{PollLimits, Source};

    fn topic(brokers: Option<&str>) -> KafkaTopic {
        KafkaTopic { topic: "t".into(), brokers: brokers.map(str::to_owned), start: StartAt::Earliest }
    }

    #[tokio::test]
    async fn records_lie_in_the_partition_of_their_key_when_they_are_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), EmbeddedSettings::default(), Clock::System).unwrap();
        let logs = Logs::new(KafkaSettings::default(), Some(Arc::clone(&log)));
        let values: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let keyed: Vec<Outgoing<'_>> =
            values.iter().map(|value| Outgoing { key: Some(value.as_bytes()), value: value.as_bytes() }).collect();
        assert_eq!(logs.append(&topic(None), &keyed, 7).await.unwrap(), Vec::<usize>::new());
        let loose = Outgoing { key: None, value: b"x" };
        assert!(logs.append(&topic(Some(EMBEDDED)), &[loose, loose], 7).await.unwrap().is_empty());

        let mut source = EmbeddedSource::open(&log, &topic(None), &BTreeMap::new(), None).unwrap();
        let (mut found, mut without) = (Vec::new(), Vec::new());
        let limits = PollLimits { records_max: 100, bytes_max: 1 << 20, wait: Duration::from_secs(10) };
        source
            .poll(limits, &mut |record| {
                assert_eq!(record.timestamp_ms, Some(7));
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                match record.key {
                    Some(key) => {
                        assert_eq!(record.partition as u32, partition_of(key, 4));
                        found.push(value);
                    }
                    None => without.push(record.partition),
                }
            })
            .unwrap();
        found.sort_by_key(|value| value.parse::<u32>().unwrap());
        assert_eq!(found, values);
        assert!(without.len() == 2 && without[0] == without[1], "{without:?}");
    }

    #[tokio::test]
    async fn without_a_log_nothing_is_acknowledged() {
        let logs = Logs::new(KafkaSettings::default(), None);
        let record = Outgoing { key: None, value: b"x" };
        assert!(logs.append(&topic(None), &[record], 0).await.is_err());
    }
}
