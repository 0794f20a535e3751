//! Kafka as the log: one idempotent producer for each list of brokers, and a record is there when all replicas in sync have it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::produce::Outgoing;
use crate::error::{Error, Result};
use crate::source::kafka::KafkaSettings;

/// A record that no broker has taken within this time is not acknowledged.
const DELIVERED_WITHIN: Duration = Duration::from_secs(10);
/// What may wait for the brokers; more is not acknowledged.
const PENDING_KBYTES: u32 = 64 * 1024;
const PENDING_RECORDS: u32 = 200_000;

pub(super) struct Producer {
    producer: FutureProducer,
    brokers: String,
    broken: AtomicBool,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Producer {
    /// Does not wait for the brokers.
    ///
    /// # Errors
    /// `Invalid` for settings that do not fit together.
    pub(super) fn try_new(settings: &KafkaSettings, brokers: &str) -> Result<Self> {
        let mut config = settings.connection(brokers)?;
        config
            .set("acks", "all")
            // What is sent again after a lost answer is there once.
            .set("enable.idempotence", "true")
            // The same partition for a key as from every other client in Java's way.
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", PENDING_KBYTES.to_string())
            .set("queue.buffering.max.messages", PENDING_RECORDS.to_string())
            .set("message.timeout.ms", DELIVERED_WITHIN.as_millis().to_string());
        let producer: FutureProducer = config.create().map_err(|error| {
            Error::invalid(format!("cannot make a producer for Kafka at {brokers}"))
                .caused_by(error)
                .hint("check the settings under [kafka]")
        })?;
        Ok(Producer { producer, brokers: brokers.to_owned(), broken: AtomicBool::new(false) })
    }

    /// Sends records, and waits for what the brokers say of each. Returns the places of those that they have not acknowledged.
    pub(super) async fn append(&self, topic: &str, records: &[Outgoing<'_>], now_ms: i64) -> Vec<usize> {
        let mut failed = Vec::new();
        let mut waiting = Vec::with_capacity(records.len());
        let mut first: Option<KafkaError> = None;
        for (index, &Outgoing { key, value }) in records.iter().enumerate() {
            // None behind one that is not on its way: it may have the same key, and would overtake it.
            if first.is_some() {
                failed.push(index);
                continue;
            }
            let mut record = FutureRecord::<[u8], [u8]>::to(topic).payload(value).timestamp(now_ms);
            if let Some(key) = key {
                record = record.key(key);
            }
            match self.producer.send_result(record) {
                Ok(delivery) => waiting.push(async move { (index, delivery.await) }),
                Err((error, _)) => {
                    failed.push(index);
                    first.get_or_insert(error);
                }
            }
        }
        for (index, delivered) in join_all(waiting).await {
            match delivered {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => {
                    failed.push(index);
                    first.get_or_insert(error);
                }
                // The producer has gone before it could say anything.
                Err(_) => failed.push(index),
            }
        }
        if !failed.is_empty() {
            if let Some(KafkaError::MessageProduction(RDKafkaErrorCode::Fatal)) = &first {
                self.broken.store(true, Ordering::Relaxed);
            }
            let error = first.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
            tracing::warn!(
                topic,
                brokers = self.brokers,
                records = failed.len(),
                error,
                "Kafka has not taken records by HTTP"
            );
        }
        failed.sort_unstable();
        failed
    }

    /// Whether it cannot send any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_record_does_not_overtake_one_that_was_not_handed_over() {
        // Nobody listens there: what is handed over waits.
        let producer = Producer::try_new(&KafkaSettings::default(), "127.0.0.1:1").unwrap();
        let too_large = vec![b'x'; 2_000_000];
        let records = [&too_large[..], b"{}"].map(|value| Outgoing { key: Some(b"k"), value });
        assert_eq!(producer.append("t", &records, 0).now_or_never(), Some(vec![0, 1]));
    }
}
