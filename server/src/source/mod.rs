//! Where records come from: the [`Source`] contract and what a reader makes of it.
//!
//! A source hands out the records of a table's partitions in offset order, from positions that the caller keeps.
//! It never commits offsets anywhere and never skips one silently: what it cannot give is an error.
//! Sources block; each runs on an operating-system thread of its own (see `reader`).

pub mod embedded;
pub mod filesystem;
mod identity;
pub mod kafka;
mod origin;
mod partitioner;
mod postgres;
pub mod reader;
mod shared;
pub(crate) mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;

pub use identity::{FileIdentity, Identity};
pub use origin::Origins;
pub(crate) use partitioner::partition_of;
pub use shared::SharedTopics;

use crate::clock::Micros;
use crate::error::Result;
use crate::state::Reservation;
use crate::watermark::Mark;

pub type Partition = i32;
pub type Offset = i64;

/// The next offset to read, per partition.
pub type Offsets = BTreeMap<Partition, Offset>;

/// One record, borrowed from the source for the length of a call.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub partition: Partition,
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, where the source knows one.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone, which is not an empty value.
    pub value: Option<&'a [u8]>,
    pub headers: Option<&'a dyn RecordHeaders>,
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record {{ partition: {}, offset: {} }}", self.partition, self.offset)
    }
}

/// A record's headers, read only where a query asks for them.
pub trait RecordHeaders {
    #[expect(clippy::type_complexity, reason = "a name for it would say less")]
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>));
}

/// How much one poll may bring.
#[derive(Debug, Clone, Copy)]
pub struct PollLimits {
    pub records_max: usize,
    pub bytes_max: usize,
    /// How long to wait for the first record. Once there is one, a poll takes what is at hand and returns.
    pub wait: Duration,
}

/// What a poll found out beside the records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Polled {
    /// Positions after this poll. They can pass the last record's offset + 1 (control records, compaction).
    pub positions: Offsets,
    /// The end of each partition as last seen: lag is `end - position`. A partition that does not answer is not in it: it may
    /// hold anything.
    pub ends: Offsets,
    /// The partitions that have answered since the last poll: what `ends` says of them is current.
    pub answered: BTreeSet<Partition>,
    /// The source is bounded and everything has been handed out.
    pub finished: bool,
    /// Why nothing may be coming although the source goes on trying, in one sentence: the query is degraded, not failed.
    pub trouble: Option<String>,
}

/// A stream of records in partitions.
pub trait Source: Send {
    /// The next offset of each partition. Before the first poll: where reading begins.
    fn positions(&self) -> Offsets;

    /// Hands the records at hand to `visit`, in offset order within a partition.
    ///
    /// # Errors
    /// `Unavailable` where a retry may help (the source stays usable), `Invalid` for a topic that does not exist or a
    /// refused login, `Corrupt` where records between the position and the log's beginning are gone.
    fn poll(&mut self, limits: PollLimits, visit: &mut dyn FnMut(Record<'_>)) -> Result<Polled>;

    /// Which topic it is, as far as that is known.
    fn identity(&self) -> Option<Arc<Identity>> {
        None
    }
}

/// Decoded rows of one table, and how far they bring its partitions: what an epoch consumes.
#[derive(Debug, Default)]
pub struct SourceBatch {
    /// Rows of all partitions, with the columns the reader was asked for. Order within a partition is kept.
    pub batches: Vec<RecordBatch>,
    /// Where the rows of each batch were read; shorter where the source does not say it.
    pub origins: Vec<Origins>,
    pub progress: BTreeMap<Partition, Progress>,
    /// What the offsets are of; `None` where the source does not say it, or has said it before.
    pub identity: Option<Arc<Identity>>,
    /// Of rows of a view.
    pub view: Option<ViewProgress>,
    pub dead_letters: Vec<DeadLetter>,
    /// Rows, good and bad, beyond one a record: of tables whose records have several.
    pub extra_rows: u64,
    /// Records of such tables without any row.
    pub empty_records: u64,
    /// Where these were read, of what is decoded for several queries: each of them may begin behind some.
    pub empty_at: Vec<(Partition, Offset)>,
    /// Bounded input has ended: there is nothing after this batch.
    pub finished: bool,
    /// Bytes of its rows and bad records, about.
    pub bytes: usize,
    /// For these, as long as they wait and are worked on; once for all queries whose rows are of one shared batch.
    pub held: Option<Arc<Reservation>>,
}

/// What one partition contributed. Ranges of successive batches join without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub from: Offset,
    /// The next offset.
    pub to: Offset,
    pub records: u64,
    /// Latest event time among the rows that may move the watermark; `None` where there is none.
    pub event_time_max: Option<Micros>,
    /// Rows whose event time lies too far ahead of processing time: they do not move the watermark.
    pub far_future: u64,
    /// The partition's end as last seen; `None` where it is not known.
    pub end: Option<Offset>,
}

/// What rows of a view say beside how far they bring the reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewProgress {
    /// How far each of its times has got behind these rows; empty where that is not known yet.
    pub marks: Vec<Mark>,
    /// The latest time among these rows, by mark.
    pub newest: Vec<Micros>,
    /// More rows of one checkpoint are to come: the offset stands before it, so what has been taken of it must not be made durable.
    pub partial: bool,
}

/// What is known of a partition that answers. All three belong together: between `since` and `at` its end was never unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Where it ended when it last answered.
    pub end: Offset,
    /// Steady time of the first answer after it had been silent, in trouble, or not known at all.
    pub since: Micros,
    /// Steady time of the last answer.
    pub at: Micros,
}

/// A record that could not be decoded, kept whole; or a row that an expression cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it was read, as far as the source says it; `None` for results.
    pub topic: Option<String>,
    pub partition: Option<Partition>,
    pub offset: Option<Offset>,
    /// The bad row's place within its record; `None` where the record as a whole is bad.
    pub position: Option<i32>,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    /// Of a record its bytes, of a row a JSON object.
    pub value: Option<Vec<u8>>,
    /// The column that could not be decoded; `None` where the record as a whole is not readable, and for rows.
    pub column: Option<String>,
    /// One sentence: what was found, and what the schema says or which expression fails.
    pub reason: String,
}

impl DeadLetter {
    /// Topic or path and offset, as far as they are known.
    pub fn place(&self) -> String {
        let parts = [self.topic.clone(), self.offset.map(|offset| offset.to_string())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
