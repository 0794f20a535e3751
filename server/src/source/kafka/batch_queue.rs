//! The fast way out of librdkafka: one private queue for all partitions, emptied many messages at a time.
//!
//! The safe crate hands out one message per call, at three times the cost. Beside `identity` this is the one module with `unsafe`.
//!
//! # Why it is sound
//!
//! * **Owners.** [`BatchQueue`] owns the private queue and one handle per forwarded partition queue, and shares the consumer.
//!   `Drop` releases the handles, then the queue, and only then does the field `consumer` drop: every pointer here is
//!   used while the client instance it came from is alive. Messages still queued belong to the queue and go with it.
//! * **Messages.** `rd_kafka_consume_batch_queue` fills our array with messages that are ours to destroy. [`Batch`]
//!   destroys each exactly once, also when a visitor panics. What a visitor borrows lives as long as the call: the
//!   lifetime of [`Delivery`] is bound to it by the higher-ranked closure type.
//! * **Threads.** librdkafka's queues and client may be used from any thread, so `BatchQueue` is `Send`. It is not
//!   `Sync`: `drain` takes `&mut self`.
//! * **Order of set-up.** A partition is forwarded *before* it is assigned. Forwarding marks the partition's queue as
//!   the application's, and starting to fetch respects the mark; the other way round, messages fetched between the two
//!   calls would go to the consumer's own queue.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use super::events::Events;
use crate::error::{Error, Result};
use crate::source::{Offset, Partition, Record, RecordHeaders};

/// Messages taken by one call: enough to make the call's cost vanish, few enough to stay in the cache.
const BATCH_MAX: usize = 1024;

/// A consumer whose partitions arrive in one private queue.
pub(super) struct BatchQueue {
    queue: NonNull<rd::rd_kafka_queue_t>,
    // Kept for as long as the consumer: a partition whose forwarded queue handle is gone may become unreachable.
    partitions: Vec<NonNull<rd::rd_kafka_queue_t>>,
    buffer: Vec<*mut rd::rd_kafka_message_t>,
    consumer: Arc<BaseConsumer<Events>>,
}

// SAFETY: librdkafka's client and queue handles carry no thread affinity, and `buffer` is empty between calls.
unsafe impl Send for BatchQueue {}

/// What comes out of the queue.
pub(super) enum Delivery<'a> {
    Record(Record<'a>),
    /// Everything below `offset` has been handed out; control records and compacted ones are passed over.
    End {
        partition: Partition,
        offset: Offset,
    },
    Failed {
        partition: Partition,
        code: RDKafkaErrorCode,
        text: String,
    },
}

impl BatchQueue {
    pub(super) fn try_new(consumer: Arc<BaseConsumer<Events>>) -> Result<Self> {
        // SAFETY: the client pointer is valid for as long as `consumer`, which outlives the queue (see `Drop`).
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| Error::bug("librdkafka gave no queue"))?;
        Ok(BatchQueue { queue, partitions: Vec::new(), buffer: vec![ptr::null_mut(); BATCH_MAX], consumer })
    }

    pub(super) fn consumer(&self) -> &Arc<BaseConsumer<Events>> {
        &self.consumer
    }

    /// Sends a partition's messages here. To be called before the partition is assigned.
    pub(super) fn forward(&mut self, topic: &CStr, partition: Partition) -> Result<()> {
        // SAFETY: the client is alive; the topic is a C string that librdkafka copies.
        let source =
            unsafe { rd::rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let source = NonNull::new(source)
            .ok_or_else(|| Error::bug(format!("librdkafka has no queue for partition {partition}")))?;
        // SAFETY: both handles are alive; the source's reference keeps its target alive from here on.
        unsafe { rd::rd_kafka_queue_forward(source.as_ptr(), self.queue.as_ptr()) };
        self.partitions.push(source);
        Ok(())
    }

    /// Hands out at most `max` messages that are at hand; where there is none, waits for the first one up to `wait`.
    /// Returns how many there were.
    pub(super) fn drain(&mut self, max: usize, wait: Duration, visit: &mut dyn FnMut(Delivery<'_>)) -> usize {
        let max = max.clamp(1, BATCH_MAX);
        let taken = self.take(max, Duration::ZERO).hand_out(visit);
        if taken > 0 || wait.is_zero() {
            return taken;
        }
        // A call waits until its array is *full* or time is up: waiting is done for a single message.
        let first = self.take(1, wait).hand_out(visit);
        if first == 0 || max == 1 {
            return first;
        }
        first + self.take(max - 1, Duration::ZERO).hand_out(visit)
    }

    fn take(&mut self, max: usize, wait: Duration) -> Batch<'_> {
        let wait_ms = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        let room = &mut self.buffer[..max];
        // SAFETY: the queue is alive, and `room` has space for `room.len()` pointers.
        let count =
            unsafe { rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait_ms, room.as_mut_ptr(), room.len()) };
        let count = usize::try_from(count).unwrap_or(0).min(room.len());
        Batch { messages: &room[..count], next: 0 }
    }

    /// Low and high watermark as the last fetch reported them: no request is made. `None` before the first fetch.
    pub(super) fn watermarks(&self, topic: &CStr, partition: Partition) -> Option<(Offset, Offset)> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is alive, and both out-pointers are valid for the call.
        let code = unsafe {
            rd::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        (code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((low, high))
    }
}

impl Drop for BatchQueue {
    fn drop(&mut self) {
        for partition in self.partitions.drain(..) {
            // SAFETY: we own this handle and it is released once. The partition itself keeps its own reference.
            unsafe { rd::rd_kafka_queue_destroy(partition.as_ptr()) };
        }
        // SAFETY: as above. What is still queued is destroyed with it, while the client is alive.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Messages that are ours until destroyed.
struct Batch<'a> {
    messages: &'a [*mut rd::rd_kafka_message_t],
    next: usize,
}

impl Batch<'_> {
    fn hand_out(mut self, visit: &mut dyn FnMut(Delivery<'_>)) -> usize {
        while let Some(message) = self.messages.get(self.next) {
            // SAFETY: the message is alive until `destroy_next`, after the visitor has returned.
            visit_message(unsafe { &**message }, visit);
            self.destroy_next();
        }
        self.messages.len()
    }

    fn destroy_next(&mut self) {
        let message = self.messages[self.next];
        self.next += 1;
        // SAFETY: ours, and `next` has moved on: it is destroyed once.
        unsafe { rd::rd_kafka_message_destroy(message) };
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        while self.next < self.messages.len() {
            self.destroy_next();
        }
    }
}

fn visit_message(message: &rd::rd_kafka_message_t, visit: &mut dyn FnMut(Delivery<'_>)) {
    let code = RDKafkaErrorCode::from(message.err);
    match code {
        RDKafkaErrorCode::NoError => {
            let headers = MessageHeaders { message, not_shared: PhantomData };
            visit(Delivery::Record(Record {
                partition: message.partition,
                offset: message.offset,
                timestamp_ms: timestamp_ms(message),
                key: bytes(message, message.key, message.key_len),
                value: bytes(message, message.payload, message.len),
                headers: Some(&headers),
            }));
        }
        RDKafkaErrorCode::PartitionEOF => {
            visit(Delivery::End { partition: message.partition, offset: message.offset });
        }
        code => {
            // For an error the payload is its text.
            let text = bytes(message, message.payload, message.len)
                .map_or_else(|| code.to_string(), |text| String::from_utf8_lossy(text).into_owned());
            visit(Delivery::Failed { partition: message.partition, code, text });
        }
    }
}

/// A field of a message, borrowed for as long as the message. A null pointer is a null field, not an empty one.
fn bytes(_owner: &rd::rd_kafka_message_t, start: *mut c_void, length: usize) -> Option<&[u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: librdkafka's messages hold `length` bytes at `start`, unchanged until the message is destroyed.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

fn timestamp_ms(message: &rd::rd_kafka_message_t) -> Option<i64> {
    let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive and the out-pointer valid.
    let at = unsafe { rd::rd_kafka_message_timestamp(message, &mut kind) };
    (kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && at >= 0).then_some(at)
}

/// Parsed by librdkafka on first use only.
struct MessageHeaders<'a> {
    message: &'a rd::rd_kafka_message_t,
    // Parsing writes into the message: it must stay on the thread that visits it.
    not_shared: PhantomData<*mut ()>,
}

impl RecordHeaders for MessageHeaders<'_> {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; the headers stay its property and live as long.
        let code = unsafe { rd::rd_kafka_message_headers(self.message, &mut headers) };
        if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive and the out-pointers valid.
            let code = unsafe { rd::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
            if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                return;
            }
            // SAFETY: names are C strings that live as long as the headers.
            let name = unsafe { CStr::from_ptr(name) };
            each(name.to_bytes(), bytes(self.message, value.cast_mut(), length));
        }
    }
}
