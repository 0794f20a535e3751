//! Kafka as a source: all partitions of a topic, assigned by hand, from offsets that the caller keeps.
//!
//! A gap is never jumped: an offset that retention has eaten, or one behind the log's end, is a `Corrupt` error.
//! Nor is a topic taken for the one that was read because it has its name: where brokers have been away it is asked which one it is before
//! anything is handed out.
//! Brokers that do not answer are `trouble`, not an error: the client reconnects for ever and the query is degraded.

mod batch_queue;
mod ends;
mod events;
mod identity;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

pub use self::settings::{EMBEDDED, KafkaSettings, SaslMechanism, Secret, SecurityProtocol};

use self::batch_queue::{BatchQueue, Delivery};
use self::ends::Ends;
use self::events::Events;
use self::identity::{Answer, Question};
use super::identity::made_anew;
use super::{Identity, Offset, Offsets, Partition, PollLimits, Polled, Record, Source};
use crate::catalog::{KafkaTopic, StartAt};
use crate::error::{Error, Result};

/// One request while waiting for the brokers to answer: short, so that a refused login is noticed between two.
const REQUEST_SLICE: Duration = Duration::from_secs(1);
/// How often to ask whether the brokers are back.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How often silent partitions are asked where they end: a partition falls idle only if it is known that nothing waits in it.
const ASK_ENDS_EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take, beside the time for which the broker may hold the fetch before it back.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// A topic being read. See the module's first lines.
pub struct KafkaSource {
    queue: BatchQueue,
    topic: Topic,
    /// By partition number; `None` for one that is not read.
    partitions: Vec<Option<PartitionState>>,
    trouble: Option<String>,
    bounded: bool,
    metadata_interval: Duration,
    metadata_due: Instant,
    /// Where partitions end, and when they are asked again.
    ends: Ends,
    ends_due: Instant,
    /// Partitions that have answered since the last poll.
    answered: BTreeSet<Partition>,
    /// Which topic it is, where the brokers say it, and when that is asked again.
    identity: Option<Arc<Identity>>,
    question: Question,
    question_due: Instant,
    /// How long an answer may take: it waits behind the fetch that the broker holds back.
    patience: Duration,
    /// Something has failed since that was known: nothing is handed out before it is known again.
    in_doubt: bool,
    /// The answer that is under way may be of before that.
    asked_before: bool,
}

struct Topic {
    name: String,
    name_c: CString,
    brokers: String,
}

#[derive(Clone, Copy)]
struct PartitionState {
    position: Offset,
    end: Offset,
    /// Whether its broker has said so since it was last asked: if not, nothing is known of its end.
    answers: bool,
    until: Option<Offset>,
    paused: bool,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("topic", &self.topic.name).field("positions", &self.positions()).finish()
    }
}

impl KafkaSource {
    /// Opens all partitions of a topic.
    ///
    /// `resume`: the next offset per partition. A partition it does not name has appeared since and is read from its
    /// beginning. Where it is empty, the topic's `start` decides.
    /// `until`: ends to stop at; partitions it does not name are not read. `None`: read for ever.
    ///
    /// # Errors
    /// `Invalid`: no such topic, refused login, settings that do not fit together. `Unavailable`: no answer within
    /// `connect_timeout_ms`. `Corrupt`: the topic no longer has, or does not have yet, the offset to resume at.
    pub fn open(
        settings: &KafkaSettings,
        topic: &KafkaTopic,
        resume: &Offsets,
        until: Option<&Offsets>,
    ) -> Result<Self> {
        let start = topic.start;
        let deadline = Instant::now() + settings.connect_timeout();
        let (consumer, topic) = connect(settings, topic)?;
        let (leader, found) = watermarks(&consumer, &topic, deadline)?;
        let begin = begin_at(&topic, resume, start, &found)?;

        let consumer = Arc::new(consumer);
        let mut question = Question::try_new(Arc::clone(&consumer), leader)?;
        let identity = until_answered(&consumer, &topic, deadline, |timeout| {
            question.ask(&topic.name_c, timeout);
            match question.answer(timeout + ANSWER_PATIENCE) {
                Some(Answer::Id(id)) => Ok(Some(id)),
                Some(Answer::Untold) => Ok(None),
                Some(Answer::Failed(code)) => Err(KafkaError::MetadataFetch(code)),
                None => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut)),
            }
        })?;
        let mut queue = BatchQueue::try_new(Arc::clone(&consumer))?;
        let patience = settings.fetch_wait() + ANSWER_PATIENCE;
        let ends = Ends::new(consumer, topic.name.clone(), patience)?;
        let mut partitions = Vec::new();
        let mut assignment = TopicPartitionList::new();
        for found in &found {
            let until = match until.map(|until| until.get(&found.partition)) {
                None => None,
                Some(Some(until)) => Some(*until),
                Some(None) => continue,
            };
            let position = begin[&found.partition];
            partitions.resize(partitions.len().max(found.partition as usize + 1), None);
            partitions[found.partition as usize] =
                Some(PartitionState { position, end: found.high, answers: true, until, paused: false });
            if until.is_none_or(|until| position < until) {
                queue.forward(&topic.name_c, found.partition)?;
                add(&mut assignment, &topic, found.partition, KafkaOffset::Offset(position))?;
            }
        }
        // Assigned by hand, never by the group: a rebalance in mid-epoch would hand our offsets to another consumer.
        queue.consumer().assign(&assignment).map_err(|error| topic.failed("cannot assign partitions of", error))?;
        let now = Instant::now();
        Ok(KafkaSource {
            queue,
            topic,
            partitions,
            trouble: None,
            bounded: until.is_some(),
            metadata_interval: settings.metadata_interval(),
            metadata_due: now + settings.metadata_interval(),
            ends,
            ends_due: now + ASK_ENDS_EVERY,
            answered: BTreeSet::new(),
            identity: identity.map(known_as),
            question,
            question_due: now + settings.metadata_interval(),
            patience,
            in_doubt: false,
            asked_before: false,
        })
    }

    /// Takes note of what the client reports beside messages.
    fn serve_events(&mut self) -> Result<()> {
        serve(self.queue.consumer());
        let news = self.queue.consumer().context().take();
        if let Some(reason) = news.refused {
            return Err(self.topic.refused(&reason));
        }
        if news.all_brokers_down {
            if self.trouble.is_none() {
                self.trouble = Some(self.topic.no_answer(news.handshake.or(news.last).as_deref()));
                self.ends_due = Instant::now() + PROBE_EVERY;
            }
            // Also where they have gone again before a partition could say that they were back.
            self.doubt();
        }
        Ok(())
    }

    /// Something has failed, and what comes next may be of a topic that was made anew meanwhile.
    fn doubt(&mut self) {
        self.asked_before |= self.question.is_under_way();
        if !self.in_doubt {
            self.in_doubt = true;
            self.question_due = Instant::now();
        }
    }

    /// Whether it is still the topic that has been read, as far as is known: asked from time to time, and where it is in doubt waited for
    /// up to `wait`.
    fn is_same_topic(&mut self, wait: Duration) -> Result<bool> {
        if !self.question.is_under_way() && Instant::now() >= self.question_due {
            self.question.ask(&self.topic.name_c, self.patience);
            self.question_due = Instant::now() + if self.in_doubt { PROBE_EVERY } else { self.metadata_interval };
        }
        if self.in_doubt && !self.question.is_under_way() {
            thread::sleep(wait);
        }
        let answer = self.question.answer(if self.in_doubt { wait } else { Duration::ZERO });
        let is_of_before = answer.is_some() && std::mem::take(&mut self.asked_before);
        match answer {
            Some(Answer::Id(found)) => {
                let known = self.identity.as_ref().and_then(|identity| identity.topic.as_ref());
                match known {
                    Some(known) if *known != found => return Err(made_anew(&self.topic.name, known, &found)),
                    Some(_) => {}
                    None => self.identity = Some(known_as(found)),
                }
                self.in_doubt &= is_of_before;
            }
            Some(Answer::Untold) => self.in_doubt &= is_of_before,
            Some(Answer::Failed(_)) if self.in_doubt => self.ask_who_leads_now(),
            Some(Answer::Failed(_)) | None => {}
        }
        Ok(!self.in_doubt)
    }

    /// Who led the topic before may not come back with the others, and a topic without new records brings nothing that would show who does
    /// now: the doubt would last.
    fn ask_who_leads_now(&mut self) {
        if let Ok(metadata) = self.queue.consumer().fetch_metadata(Some(&self.topic.name), REQUEST_SLICE) {
            self.question.ask_of(leader_of(&metadata, &self.topic));
        }
    }

    /// Adds partitions that have appeared, each from its beginning: they are younger than the table.
    fn look_for_partitions(&mut self) -> Result<()> {
        if self.bounded || self.trouble.is_some() || Instant::now() < self.metadata_due {
            return Ok(());
        }
        self.metadata_due = Instant::now() + self.metadata_interval;
        // What fails here is asked again at the next turn; the partitions at hand are read on meanwhile.
        let Ok(metadata) = self.queue.consumer().fetch_metadata(Some(&self.topic.name), REQUEST_SLICE) else {
            return Ok(());
        };
        // Who led it when it was opened may be gone for good.
        self.question.ask_of(leader_of(&metadata, &self.topic));
        let known = |source: &Self, partition: Partition| {
            source.partitions.get(partition as usize).is_some_and(Option::is_some)
        };
        let ids = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        for partition in ids.filter(|id| *id >= 0).collect::<Vec<_>>() {
            if known(self, partition) {
                continue;
            }
            let Ok((low, high)) = self.queue.consumer().fetch_watermarks(&self.topic.name, partition, REQUEST_SLICE)
            else {
                continue;
            };
            self.queue.forward(&self.topic.name_c, partition)?;
            let mut added = TopicPartitionList::new();
            add(&mut added, &self.topic, partition, KafkaOffset::Offset(low))?;
            self.queue
                .consumer()
                .incremental_assign(&added)
                .map_err(|error| self.topic.failed("cannot assign a new partition of", error))?;
            self.partitions.resize(self.partitions.len().max(partition as usize + 1), None);
            self.partitions[partition as usize] =
                Some(PartitionState { position: low, end: high, answers: true, until: None, paused: false });
            tracing::info!(topic = self.topic.name, partition, offset = low, "new partition");
        }
        Ok(())
    }

    /// Brings `end` up to what the last fetch reported, and stops fetching what a bounded read no longer wants.
    fn update_ends(&mut self) {
        let mut done = TopicPartitionList::new();
        for (partition, state) in self.partitions.iter_mut().enumerate() {
            let (Some(state), partition) = (state, partition as Partition) else { continue };
            if let Some((_, high)) = self.queue.watermarks(&self.topic.name_c, partition) {
                state.end = state.end.max(high).max(state.position);
            }
            if !state.paused && state.until.is_some_and(|until| state.position >= until) {
                state.paused = true;
                done.add_partition(&self.topic.name, partition);
            }
        }
        if done.count() > 0 {
            // Only saves traffic: what still comes is dropped by offset.
            let _ = self.queue.consumer().pause(&done);
        }
    }

    /// Asks partitions from which nothing has come where they end: their silence counts only as far as they answer. While in trouble
    /// all are asked, whether the brokers are back: a topic without new records would not show it.
    fn ask_ends(&mut self) {
        if let Some((asked, answer)) = self.ends.answered() {
            self.ends_answered(&asked, answer);
        }
        let trouble = self.trouble.is_some();
        if self.ends.is_asking() || Instant::now() < self.ends_due || (self.bounded && !trouble) {
            return;
        }
        self.ends_due = Instant::now() + if trouble { PROBE_EVERY } else { ASK_ENDS_EVERY };
        let read = self.partitions.iter().enumerate().filter(|(_, state)| state.is_some());
        let silent = read.map(|(id, _)| id as Partition).filter(|id| trouble || !self.answered.contains(id));
        self.ends.ask(silent.collect());
    }

    fn ends_answered(&mut self, asked: &[Partition], answer: ends::Answer) {
        let found = match answer {
            Ok(found) => {
                if !self.in_doubt && found.iter().any(|(_, end)| end.is_some()) {
                    self.trouble = None;
                }
                found
            }
            Err(_) => asked.iter().map(|partition| (*partition, None)).collect(),
        };
        for (partition, end) in found {
            let Some(state) = state_of(&mut self.partitions, partition) else { continue };
            state.answers = end.is_some();
            if let Some(end) = end {
                state.end = state.end.max(end);
                self.answered.insert(partition);
            }
        }
    }

    fn polled(&mut self) -> Polled {
        let answered = std::mem::take(&mut self.answered);
        let each =
            || self.partitions.iter().enumerate().filter_map(|(id, state)| Some((id as Partition, state.as_ref()?)));
        Polled {
            positions: self.positions(),
            ends: each().filter(|(_, state)| state.answers).map(|(id, state)| (id, state.end)).collect(),
            answered,
            finished: self.bounded && each().all(|(_, state)| state.until.is_none_or(|until| state.position >= until)),
            trouble: self.trouble.clone(),
        }
    }
}

impl Source for KafkaSource {
    fn positions(&self) -> Offsets {
        let states = self.partitions.iter().enumerate();
        states.filter_map(|(id, state)| Some((id as Partition, state.as_ref()?.position))).collect()
    }

    fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.clone()
    }

    fn poll(&mut self, limits: PollLimits, visit: &mut dyn FnMut(Record<'_>)) -> Result<Polled> {
        self.serve_events()?;
        if !self.is_same_topic(limits.wait)? {
            self.ask_ends();
            return Ok(self.polled());
        }
        self.look_for_partitions()?;

        let (mut records, mut bytes, mut failure, mut trouble) = (0, 0, None, None);
        let (mut heard, mut wait) = (false, limits.wait);
        while records < limits.records_max && bytes < limits.bytes_max && failure.is_none() {
            let (partitions, topic, answered) = (&mut self.partitions, &self.topic, &mut self.answered);
            let taken = self.queue.drain(limits.records_max - records, wait, &mut |delivery| match delivery {
                Delivery::Record(record) => {
                    heard = true;
                    answered.insert(record.partition);
                    let Some(state) = state_of(partitions, record.partition) else { return };
                    match state.until {
                        Some(until) if record.offset >= until => state.position = until,
                        _ => {
                            state.position = record.offset + 1;
                            records += 1;
                            bytes += record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
                            visit(record);
                        }
                    }
                }
                Delivery::End { partition, offset } => {
                    heard = true;
                    answered.insert(partition);
                    let Some(state) = state_of(partitions, partition) else { return };
                    let reached = state.until.map_or(offset, |until| offset.min(until));
                    state.position = state.position.max(reached);
                    state.end = state.end.max(offset);
                }
                Delivery::Failed { partition, code, text } => {
                    let position = state_of(partitions, partition).map_or(0, |state| {
                        state.answers = false;
                        state.position
                    });
                    answered.remove(&partition);
                    match judge(topic, partition, position, code, &text) {
                        Verdict::Fatal(error) => failure = failure.take().or(Some(error)),
                        Verdict::Trouble(reason) => trouble = Some(reason),
                    }
                }
            });
            if taken == 0 {
                break;
            }
            wait = Duration::ZERO;
        }
        if let Some(failure) = failure {
            return Err(self.with_lost_range(failure));
        }
        if trouble.is_some() {
            self.trouble = trouble;
            self.doubt();
            self.ends_due = Instant::now() + PROBE_EVERY;
        } else if heard {
            self.trouble = None;
        }
        for partition in &self.answered {
            if let Some(state) = state_of(&mut self.partitions, *partition) {
                state.answers = true;
            }
        }
        self.ask_ends();
        self.update_ends();
        Ok(self.polled())
    }
}

impl KafkaSource {
    /// Names the range that is gone, for an offset that turned out to be out of range while reading.
    fn with_lost_range(&self, failure: Failure) -> Error {
        let (partition, position) = match failure {
            Failure::OutOfRange { partition, position } => (partition, position),
            Failure::Other(error) => return error,
        };
        match self.queue.consumer().fetch_watermarks(&self.topic.name, partition, REQUEST_SLICE) {
            Ok((low, high)) => check_range(&self.topic, partition, position, low, high)
                .err()
                .unwrap_or_else(|| self.topic.lost(partition, position, "the broker refuses this offset")),
            Err(_) => self.topic.lost(partition, position, "the broker no longer has this offset"),
        }
    }
}

enum Failure {
    OutOfRange { partition: Partition, position: Offset },
    Other(Error),
}

enum Verdict {
    Fatal(Failure),
    Trouble(String),
}

/// What an error on a partition means: pure.
fn judge(topic: &Topic, partition: Partition, position: Offset, code: RDKafkaErrorCode, text: &str) -> Verdict {
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::LogTruncation => {
            Verdict::Fatal(Failure::OutOfRange { partition, position })
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => Verdict::Fatal(Failure::Other(topic.forbidden())),
        // CRC or format: the broker would send the same bytes again.
        RDKafkaErrorCode::BadMessage => Verdict::Fatal(Failure::Other(
            Error::corrupt(format!("cannot read topic \"{}\", partition {partition}, offset {position}", topic.name))
                .detail(text.to_owned())
                .hint("check the broker's disks; the record cannot be read by any client"),
        )),
        _ => Verdict::Trouble(format!("partition {partition} of topic \"{}\": {text}", topic.name)),
    }
}

fn state_of(partitions: &mut [Option<PartitionState>], partition: Partition) -> Option<&mut PartitionState> {
    usize::try_from(partition).ok().and_then(|id| partitions.get_mut(id))?.as_mut()
}

fn add(list: &mut TopicPartitionList, topic: &Topic, partition: Partition, offset: KafkaOffset) -> Result<()> {
    list.add_partition_offset(&topic.name, partition, offset)
        .map_err(|error| topic.failed("cannot assign partitions of", error))
}

/// First and next offset of every partition of a topic, for a bounded read.
///
/// # Errors
/// As [`KafkaSource::open`].
pub fn snapshot_offsets(settings: &KafkaSettings, topic: &KafkaTopic) -> Result<(Offsets, Offsets)> {
    let deadline = Instant::now() + settings.connect_timeout();
    let (consumer, topic) = connect(settings, topic)?;
    let (_, found) = watermarks(&consumer, &topic, deadline)?;
    Ok((
        found.iter().map(|found| (found.partition, found.low)).collect(),
        found.iter().map(|found| (found.partition, found.high)).collect(),
    ))
}

fn connect(settings: &KafkaSettings, topic: &KafkaTopic) -> Result<(BaseConsumer<Events>, Topic)> {
    let brokers = settings.brokers_for(topic.brokers.as_deref()).to_owned();
    let name_c = CString::new(topic.topic.as_str())
        .map_err(|_| Error::invalid(format!("topic name {:?} has a NUL character", topic.topic)))?;
    let config = settings.consumer(&brokers)?;
    let consumer = BaseConsumer::from_config_and_context(&config, Events::default()).map_err(|error| {
        Error::invalid("cannot set up the Kafka client")
            .detail(error.to_string())
            .hint("check the keys under [kafka], above all ssl_ca_location and sasl_mechanism")
    })?;
    Ok((consumer, Topic { name: topic.topic.clone(), name_c, brokers }))
}

struct Found {
    partition: Partition,
    low: Offset,
    high: Offset,
}

/// Asks for the topic's partitions and the range of each, until `deadline`. Also says who leads one of them.
fn watermarks(consumer: &BaseConsumer<Events>, topic: &Topic, deadline: Instant) -> Result<(Option<i32>, Vec<Found>)> {
    let (leader, ids) = until_answered(consumer, topic, deadline, |timeout| {
        let metadata = consumer.fetch_metadata(Some(&topic.name), timeout)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic.name);
        let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
        match (found, error) {
            (Some(found), None) if !found.partitions().is_empty() => {
                let leader = leader_of(&metadata, topic);
                Ok((leader, found.partitions().iter().map(|partition| partition.id()).collect::<Vec<_>>()))
            }
            (_, error) => Err(KafkaError::MetadataFetch(error.unwrap_or(RDKafkaErrorCode::UnknownTopicOrPartition))),
        }
    })?;
    let mut found = Vec::with_capacity(ids.len());
    for partition in ids {
        let (low, high) = until_answered(consumer, topic, deadline, |timeout| {
            consumer.fetch_watermarks(&topic.name, partition, timeout)
        })?;
        found.push(Found { partition, low, high });
    }
    found.sort_unstable_by_key(|found| found.partition);
    Ok((leader, found))
}

/// A broker that leads a partition of the topic.
fn leader_of(metadata: &Metadata, topic: &Topic) -> Option<i32> {
    let found = metadata.topics().iter().find(|found| found.name() == topic.name)?;
    found.partitions().iter().map(|partition| partition.leader()).find(|leader| *leader >= 0)
}

/// Repeats a request in short slices, so that a refused login ends it at once and not at the deadline.
fn until_answered<T>(
    consumer: &BaseConsumer<Events>,
    topic: &Topic,
    deadline: Instant,
    mut request: impl FnMut(Duration) -> Result<T, KafkaError>,
) -> Result<T> {
    let mut reason = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match request(left.clamp(Duration::from_millis(50), REQUEST_SLICE)) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        serve(consumer);
        let news = consumer.context().take();
        if let Some(refused) = news.refused {
            return Err(topic.refused(&refused));
        }
        reason = news.handshake.or(news.last).or(reason);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Err(topic.unknown());
            }
            Some(RDKafkaErrorCode::InvalidTopic) => return Err(topic.no_name()),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => return Err(topic.forbidden()),
            _ => {}
        }
        if Instant::now() >= deadline {
            let reason = reason.unwrap_or_else(|| error.to_string());
            return Err(Error::unavailable(format!("no answer from the Kafka brokers at {}", topic.brokers))
                .detail(reason)
                .hint("check that Kafka runs there and `brokers`, security_protocol and the network let us reach it"));
        }
        // Some errors come back at once (a leader is being elected): not a busy loop. Events end the wait early.
        let _ = consumer.poll(Duration::from_millis(20));
    }
}

fn known_as(topic: String) -> Arc<Identity> {
    Arc::new(Identity { topic: Some(topic), ..Identity::default() })
}

/// Serves callbacks. Messages do not come this way: every partition is forwarded before it is assigned.
fn serve(consumer: &BaseConsumer<Events>) {
    while consumer.poll(Duration::ZERO).is_some() {}
}

/// Where each partition begins.
fn begin_at(topic: &Topic, resume: &Offsets, start: StartAt, found: &[Found]) -> Result<Offsets> {
    if let Some((partition, offset)) = resume.iter().find(|(id, _)| !found.iter().any(|found| found.partition == **id))
    {
        return Err(topic.lost(
            *partition,
            *offset,
            "the topic no longer has this partition: it was deleted and made anew",
        ));
    }
    let mut begin = Offsets::new();
    for found in found {
        let position = match (resume.get(&found.partition), start) {
            (Some(position), _) => {
                check_range(topic, found.partition, *position, found.low, found.high)?;
                *position
            }
            (None, StartAt::Latest) if resume.is_empty() => found.high,
            (None, _) => found.low,
        };
        begin.insert(found.partition, position);
    }
    Ok(begin)
}

fn check_range(topic: &Topic, partition: Partition, position: Offset, low: Offset, high: Offset) -> Result<()> {
    if position < low {
        let range = format!("offsets {position} to {}", low - 1);
        let what = format!("{range} are gone: the partition now begins at {low}");
        let gone = format!("topic \"{}\", partition {partition}, {range}", topic.name);
        return Err(topic.lost(partition, position, &what).losing(gone));
    }
    if position > high {
        return Err(topic.lost(
            partition,
            position,
            &format!("the partition ends at {high}, before the offset to go on at: records were lost or the topic was made anew"),
        ));
    }
    Ok(())
}

impl Topic {
    fn lost(&self, partition: Partition, position: Offset, what: &str) -> Error {
        Error::corrupt(format!(
            "cannot go on with topic \"{}\", partition {partition}, at offset {position}",
            self.name
        ))
        .detail(what.to_owned())
        .hint(
            "restore the topic, or drop the query's state to begin anew from what the topic has; \
             raise retention.ms or retention.bytes so that it outlasts the longest stop",
        )
    }

    /// Unavailable, not wrong: topics are often created after their readers, and then the query goes on by itself.
    fn unknown(&self) -> Error {
        Error::unavailable(format!("topic \"{}\" does not exist on {}", self.name, self.brokers))
            .hint("create the topic, or correct 'topic' in the table's WITH (…)")
    }

    fn no_name(&self) -> Error {
        Error::invalid(format!("{:?} cannot be a topic name", self.name))
            .hint("correct 'topic' in the table's WITH (…): letters, digits, dots, underscores and hyphens")
    }

    fn forbidden(&self) -> Error {
        Error::invalid(format!("not allowed to read topic \"{}\" on {}", self.name, self.brokers))
            .hint("grant the user READ and DESCRIBE on the topic")
    }

    fn refused(&self, reason: &str) -> Error {
        Error::invalid(format!("the Kafka brokers at {} refuse the login", self.brokers))
            .detail(reason.to_owned())
            .hint("check sasl_mechanism, sasl_username and sasl_password under [kafka]")
    }

    fn no_answer(&self, reason: Option<&str>) -> String {
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        format!("no answer from the Kafka brokers at {}{reason}", self.brokers)
    }

    fn failed(&self, what: &str, error: KafkaError) -> Error {
        Error::unavailable(format!("{what} topic \"{}\"", self.name)).detail(error.to_string())
    }
}
