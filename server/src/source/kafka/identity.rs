//! Asks for a topic's id, which Kafka draws when the topic is made: a topic made anew under the same name has another one.
//!
//! librdkafka knows it and the safe crate does not say it. Beside `batch_queue` this is the one module with `unsafe`.
//!
//! # Why it is sound
//!
//! * **Owners.** [`Question`] owns a queue of its own and shares the consumer. `Drop` releases the queue, and only then does the field
//!   `consumer` drop: every pointer here is used while the client instance it came from is alive. A request that is under way
//!   then keeps what it needs by itself, and its answer is thrown away.
//! * **Arguments.** Options and topic names are copied by the call that takes them; both are ours, and destroyed right after it.
//! * **Answers.** An event is ours to destroy, which [`Event`] does once. What is read of it is copied before.
//! * **Threads.** librdkafka's queues and client may be used from any thread, so `Question` is `Send`. It is not `Sync`: all that it does
//!   takes `&mut self`.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use super::events::Events;
use crate::error::{Error, Result};

/// What the brokers say of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// In the words of Kafka's own tools.
    Id(String),
    /// They are too old to have one.
    Untold,
    Failed(RDKafkaErrorCode),
}

/// One question at a time is under way; nothing here waits for a broker unless told to.
pub(super) struct Question {
    queue: NonNull<rd::rd_kafka_queue_t>,
    /// Who is asked, in turn with the cluster's controller once one of them has failed: clients may not reach that, and a broker can go.
    broker: Option<i32>,
    of_controller: bool,
    under_way: bool,
    consumer: Arc<BaseConsumer<Events>>,
}

// SAFETY: librdkafka's client and queue handles carry no thread affinity.
unsafe impl Send for Question {}

/// An event that is ours until destroyed.
struct Event(NonNull<rd::rd_kafka_event_t>);

impl Question {
    /// `broker`: one of the brokers that lead the topic's partitions.
    pub(super) fn try_new(consumer: Arc<BaseConsumer<Events>>, broker: Option<i32>) -> Result<Self> {
        // SAFETY: the client pointer is valid for as long as `consumer`, which outlives the queue (see `Drop`).
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| Error::bug("librdkafka gave no queue"))?;
        Ok(Question { queue, broker, of_controller: false, under_way: false, consumer })
    }

    /// Asks another broker from now on. `None`: nobody is known to lead, and it stays as it is.
    pub(super) fn ask_of(&mut self, broker: Option<i32>) {
        self.broker = broker.or(self.broker);
    }

    #[cfg(test)]
    pub(super) fn broker(&self) -> Option<i32> {
        self.broker
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Begins to ask, where no question is under way. `patience`: how long an answer may take.
    pub(super) fn ask(&mut self, topic: &CStr, patience: Duration) {
        if self.under_way {
            return;
        }
        let client = self.consumer.client().native_ptr();
        let patience_ms = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
        let mut names = [topic.as_ptr()];
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: the client is alive. The names are copied before the first call returns; `reason` is as long as is said.
        // What the two constructors return is destroyed once, after the request has copied it.
        unsafe {
            let options =
                rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            if options.is_null() {
                return;
            }
            // Refused only where it is out of bounds; then the client's own patience counts.
            let _ =
                rd::rd_kafka_AdminOptions_set_request_timeout(options, patience_ms, reason.as_mut_ptr(), reason.len());
            if let Some(broker) = self.broker.filter(|_| !self.of_controller) {
                let _ = rd::rd_kafka_AdminOptions_set_broker(options, broker, reason.as_mut_ptr(), reason.len());
            }
            let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            rd::rd_kafka_DescribeTopics(client, topics, options, self.queue.as_ptr());
            rd::rd_kafka_TopicCollection_destroy(topics);
            rd::rd_kafka_AdminOptions_destroy(options);
        }
        self.under_way = true;
    }

    /// The answer, for which it waits up to `wait`.
    pub(super) fn answer(&mut self, wait: Duration) -> Option<Answer> {
        if !self.under_way {
            return None;
        }
        let wait_ms = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive; an event that comes out of it is ours.
        let event = unsafe { rd::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms) };
        let event = Event(NonNull::new(event)?);
        self.under_way = false;
        let answer = event.read();
        self.of_controller ^= matches!(answer, Answer::Failed(_));
        Some(answer)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // SAFETY: ours, released once, while the client is alive.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Event {
    fn read(&self) -> Answer {
        let no_error = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        let event = self.0.as_ptr();
        // SAFETY: the event is alive, and what is read of it belongs to it: nothing outlives this call but copies. A result of another
        // kind is a null pointer, which is looked for as everywhere below.
        unsafe {
            let code = rd::rd_kafka_event_error(event);
            if code != no_error {
                return Answer::failed(RDKafkaErrorCode::from(code));
            }
            let result = rd::rd_kafka_event_DescribeTopics_result(event);
            if result.is_null() {
                return Answer::Failed(RDKafkaErrorCode::Fail);
            }
            let mut count = 0;
            let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 || (*topics).is_null() {
                return Answer::Failed(RDKafkaErrorCode::Fail);
            }
            let topic = *topics;
            let error = rd::rd_kafka_TopicDescription_error(topic);
            let code = if error.is_null() { no_error } else { rd::rd_kafka_error_code(error) };
            if code != no_error {
                return Answer::failed(RDKafkaErrorCode::from(code));
            }
            let id = rd::rd_kafka_TopicDescription_topic_id(topic);
            if id.is_null() {
                return Answer::Untold;
            }
            let bits = (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id));
            let text = rd::rd_kafka_Uuid_base64str(id);
            if bits == (0, 0) || text.is_null() {
                return Answer::Untold;
            }
            // Kafka's tools use the other alphabet.
            Answer::Id(CStr::from_ptr(text).to_string_lossy().replace('+', "-").replace('/', "_"))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { rd::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

impl Answer {
    fn failed(code: RDKafkaErrorCode) -> Self {
        match code {
            RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion => Answer::Untold,
            code => Answer::Failed(code),
        }
    }
}
