//! Kafka as a destination: idempotent, each record to the partition of its key, topics made where they are missing.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::{Outgoing, Target};
use crate::error::{Error, Result};
use crate::simulate::Topic;
use crate::source::kafka::KafkaSettings;

/// For questions to the brokers before the first record.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// A record that no broker has taken within this time counts as lost.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
/// What may wait for the brokers; a producer that is faster waits for room.
const PENDING_KBYTES: u32 = 32 * 1024;
const PENDING_RECORDS: u32 = 100_000;
/// Reports of delivery are collected after so many records.
const POLL_EVERY: u64 = 1_000;

pub(super) struct KafkaTarget {
    producer: BaseProducer<Reports>,
    brokers: String,
    names: [String; Topic::ALL.len()],
    partitions: [u32; Topic::ALL.len()],
    sent: u64,
}

/// What the brokers have said of records.
#[derive(Default)]
struct Reports {
    lost: Mutex<Option<Lost>>,
}

struct Lost {
    records: u64,
    topic: String,
    first: KafkaError,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut lost = self.lost.lock();
            let lost = lost.get_or_insert_with(|| Lost {
                records: 0,
                topic: message.topic().to_owned(),
                first: error.clone(),
            });
            lost.records += 1;
        }
    }
}

impl KafkaTarget {
    /// Connects and makes the topics that are missing, with so many partitions and the brokers' own replication.
    ///
    /// # Errors
    /// `Invalid` for settings that do not fit together or a name that cannot be a topic's, `Unavailable` where the brokers
    /// do not answer or refuse.
    pub(super) fn connect(settings: &KafkaSettings, prefix: &str, partitions: u32) -> Result<Self> {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !prefix.chars().all(valid) || prefix.len() > 200 {
            return Err(Error::invalid(format!("\"{prefix}\" cannot begin the name of a topic"))
                .hint("use at most 200 letters, digits, dots, underscores or hyphens after the slash"));
        }
        let brokers = settings.brokers.clone();
        let unreachable = |error: KafkaError| {
            Error::unavailable(format!("no answer from Kafka at {brokers}"))
                .caused_by(error)
                .hint("check host and port in --to, and TOUCHLINE_KAFKA_… for how to log in")
        };
        let mut config = settings.connection(&brokers)?;
        config
            // No copies of ours beside those that are simulated, and the order stays.
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.kbytes", PENDING_KBYTES.to_string())
            .set("queue.buffering.max.messages", PENDING_RECORDS.to_string())
            .set("message.timeout.ms", DELIVERED_WITHIN.as_millis().to_string());
        let producer: BaseProducer<Reports> = config.create_with_context(Reports::default()).map_err(unreachable)?;
        let names = Topic::ALL.map(|topic| format!("{prefix}{}", topic.name()));
        // All topics are listed: to ask for one by name would make it, with the brokers' number of partitions.
        let found = producer.client().fetch_metadata(None, ANSWER_WITHIN).map_err(unreachable)?;
        let count = |name: &String| {
            let topic = found.topics().iter().find(|topic| topic.name() == name)?;
            u32::try_from(topic.partitions().len()).ok().filter(|count| *count > 0)
        };
        let known = names.each_ref().map(count);
        let missing: Vec<&String> =
            names.iter().zip(known).filter(|(_, known)| known.is_none()).map(|(name, _)| name).collect();
        make_topics(&config, &missing, partitions)?;
        Ok(KafkaTarget {
            producer,
            brokers,
            names,
            partitions: known.map(|known| known.unwrap_or(partitions)),
            sent: 0,
        })
    }

    /// # Errors
    /// `Unavailable` where a record was lost.
    fn check(&self) -> Result<()> {
        match self.producer.context().lost.lock().as_ref() {
            None => Ok(()),
            Some(lost) => Err(Error::unavailable(format!(
                "{} of {} records were not taken by Kafka at {}, the first of topic \"{}\"",
                lost.records, self.sent, self.brokers, lost.topic
            ))
            .caused_by(lost.first.clone())
            .hint("look at the brokers' logs and begin again with new topics: what was taken stays there")),
        }
    }
}

fn make_topics(config: &ClientConfig, names: &[&String], partitions: u32) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let failed = |name: &str, why: String| {
        Error::unavailable(format!("cannot make topic \"{name}\""))
            .detail(why)
            .hint("make it by hand, or name a user who may")
    };
    let every = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("\", \"");
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|error| failed(&every, error.to_string()))?;
    let topics: Vec<NewTopic<'_>> =
        names.iter().map(|name| NewTopic::new(name, partitions as i32, TopicReplication::Fixed(-1))).collect();
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_WITHIN)).request_timeout(Some(ANSWER_WITHIN));
    let answers = futures::executor::block_on(admin.create_topics(&topics, &options))
        .map_err(|error| failed(&every, error.to_string()))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(failed(&name, code.to_string())),
        }
    }
    Ok(())
}

impl Target for KafkaTarget {
    fn partitions(&self, topic: Topic) -> u32 {
        self.partitions[topic as usize]
    }

    fn append(&mut self, topic: Topic, partition: u32, record: Outgoing<'_>) -> Result<()> {
        let mut waiting = BaseRecord::to(&self.names[topic as usize])
            .partition(partition as i32)
            .key(record.key)
            .payload(record.value)
            .timestamp(record.event_ms);
        let since = Instant::now();
        while let Err((error, back)) = self.producer.send(waiting) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            if !full || since.elapsed() > DELIVERED_WITHIN {
                return Err(Error::unavailable(format!("Kafka at {} does not take records", self.brokers))
                    .caused_by(error)
                    .hint("see whether all brokers are up"));
            }
            self.producer.poll(Duration::from_millis(100));
            self.check()?;
            waiting = back;
        }
        self.sent += 1;
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.flush(false)?;
        }
        Ok(())
    }

    fn flush(&mut self, finally: bool) -> Result<()> {
        if finally {
            // What is not delivered by then is reported as lost; the reports come within the flush.
            let flushed = self.producer.flush(DELIVERED_WITHIN + ANSWER_WITHIN);
            self.check()?;
            return flushed.map_err(|error| {
                Error::unavailable(format!("Kafka at {} has not confirmed all records", self.brokers)).caused_by(error)
            });
        }
        self.producer.poll(Duration::ZERO);
        self.check()
    }
}
