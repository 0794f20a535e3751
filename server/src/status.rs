//! How a query is doing: written by its epoch loop, read by metrics, system tables and the status command.
//!
//! `state` has the words and finds the one that fits, `steps` is the watchdog, `pace` says how far behind a query is, `ready` whether the
//! server as a whole is, `changes` what of all that is worth a line in the log.

pub mod changes;
mod pace;
pub mod ready;
mod state;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use pace::Pace;
use state::{Facts, judge};
pub use state::{Part, QueryState, Standing};
pub use steps::{During, Step, Steps};

use crate::clock::Micros;
use crate::source::{Offset, Partition};

/// A query that has been at the ends of its sources is behind from here on, and one that has not been there catches up until here.
const LAGGING_AFTER: Duration = Duration::from_secs(10);
const LIVE_WITHIN: Duration = Duration::from_secs(5);
/// Without a record for so long it is idle.
const IDLE_AFTER: Duration = Duration::from_secs(60);
/// A partition may take so long to say where it ends, as at a start, before that is said.
const UNHEARD_AFTER: Duration = Duration::from_secs(10);
/// Of a query that has not been told otherwise: see `engine.stall_after`.
const STALL_AFTER: Duration = Duration::from_secs(30);

/// Counters and gauges of one query. Counts go on across restarts: they are part of each manifest.
#[derive(Debug, Default)]
pub struct QueryStatus {
    pub name: String,
    /// The file that defines it, for error reports.
    pub file: String,
    /// What its loop, its supervisor or the registry has said last.
    said: RwLock<Standing>,
    stopping: AtomicBool,
    /// What its loop is doing.
    pub steps: Arc<Steps>,
    /// What is done beside it.
    pub beside: Arc<Steps>,
    stall_after: StallAfter,
    pace: Mutex<Pace>,
    /// What does not answer while the query itself runs.
    troubles: RwLock<BTreeMap<Part, String>>,
    /// When nothing has come to it, as it last said.
    silence: RwLock<Option<Silence>>,
    /// Its file has been changed for the worse, and its last good version runs.
    file_report: RwLock<Option<String>>,
    /// Its definition means something else, and the version before runs.
    held: RwLock<Option<Held>>,
    /// Rows read, dead letters included.
    pub rows_in: AtomicU64,
    /// Rows emitted.
    pub rows_out: AtomicU64,
    /// Rows dropped as late, once for each window they missed.
    pub rows_late: AtomicU64,
    pub rows_dead: AtomicU64,
    /// Rows whose event time lay too far ahead to move the watermark.
    pub rows_far_future: AtomicU64,
    /// How often it was started again after an error, since the server started.
    pub restarts: AtomicU64,
    pub epochs: AtomicU64,
    /// Time spent in epochs, microseconds.
    pub epoch_micros: AtomicU64,
    pub checkpoint: AtomicU64,
    pub checkpoint_at: AtomicI64,
    pub checkpoint_bytes: AtomicU64,
    pub checkpoint_failures: AtomicU64,
    /// Bytes of operator state in memory, and on local disk.
    pub state_bytes: AtomicU64,
    pub state_disk_bytes: AtomicU64,
    /// Bytes of memory that it holds of the server's budget, whatever for.
    pub memory_bytes: AtomicU64,
    pub open_windows: AtomicU64,
    /// Committed rows that are not yet in a public Parquet file.
    pub tail_rows: AtomicU64,
    /// What they take in memory and on local disk.
    pub tail_bytes: AtomicU64,
    /// Attempts to write public files that failed.
    pub public_file_failures: AtomicU64,
    pub sealed_files: AtomicU64,
    /// Files in its public folders that no checkpoint names, as last looked.
    pub public_strangers: AtomicU64,
    /// From the end of an epoch that emitted rows until readers see them.
    pub visible: Latency,
    /// The checkpoint up to which the hot table is written; 0 where there is none.
    pub postgres_checkpoint: AtomicU64,
    /// Attempts to write the hot table that failed.
    pub postgres_failures: AtomicU64,
    /// Rows that Postgres refused since this process began.
    pub postgres_refused_rows: AtomicU64,
    /// Committed rows that the hot table does not have yet, their compressed bytes, and the age of the oldest, microseconds.
    pub postgres_waiting_rows: AtomicU64,
    pub postgres_waiting_bytes: AtomicU64,
    pub postgres_waiting_micros: AtomicU64,
    pub sources: RwLock<BTreeMap<String, SourceStatus>>,
    /// Of each static table that is read again while it runs.
    pub lookups: RwLock<BTreeMap<String, LookupStatus>>,
}

/// A static table that is read again while a query runs.
#[derive(Debug, Clone, Default)]
pub struct LookupStatus {
    /// How often it has been read, the first time included, and how often that or looking at it has failed.
    pub reads: u64,
    pub failures: u64,
    /// When it last held what the query uses; `None` until it has been read.
    pub current_at: Option<Micros>,
    /// Why it cannot be read again, while it cannot.
    pub trouble: Option<String>,
}

/// A stretch of steady time in which, as is proven, nothing came to a query. All that came before is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    pub since: Micros,
    pub until: Micros,
}

/// Why another version runs than its definition says: what the operator is asked, or was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Asked(String),
    Kept(String),
}

impl Held {
    /// What belongs to [`QueryState::Blocked`] while an answer is waited for.
    pub const ARGUMENTS: &str = "changed definition";

    /// A query that is well all the same is blocked as long as nobody has answered.
    fn on(&self, standing: Standing) -> Standing {
        use QueryState::{CatchingUp, Finished, Idle, Lagging, Running};
        let Standing { mut state, mut arguments, reason } = standing;
        let (Held::Asked(text) | Held::Kept(text)) = self;
        if matches!(self, Held::Asked(_)) && matches!(state, CatchingUp | Running | Idle | Lagging | Finished) {
            (state, arguments) = (QueryState::Blocked, Some(Held::ARGUMENTS.to_owned()));
        }
        let reason = reason.map_or_else(|| text.clone(), |reason| format!("{text}\n{reason}"));
        Standing { state, arguments, reason: Some(reason) }
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Latency {
    /// One for each of [`Latency::BOUNDS`], and one for what took longer.
    counts: [AtomicU64; Latency::BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Latency {
    /// Seconds, ascending.
    pub const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0];

    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = Latency::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Each bound with how often it was the first that was not exceeded; the last one is infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = Latency::BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(&self.counts).map(|(bound, count)| (bound, count.load(Ordering::Relaxed))).collect()
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// A length of time with a default of its own.
#[derive(Debug, Clone, Copy)]
struct StallAfter(Duration);

impl Default for StallAfter {
    fn default() -> Self {
        StallAfter(STALL_AFTER)
    }
}

/// One source table of a query.
#[derive(Debug, Clone, Default)]
pub struct SourceStatus {
    /// `None` until every partition has been heard of.
    pub watermark: Option<Micros>,
    pub partitions: BTreeMap<Partition, PartitionStatus>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct PartitionStatus {
    /// The next offset to read.
    pub position: Offset,
    /// The end of the partition as last seen; `None` while it does not answer, and may hold anything.
    pub end: Option<Offset>,
    pub event_time_max: Option<Micros>,
    /// Left out of the watermark's minimum, because nothing came for the idle timeout.
    pub idle: bool,
}

impl PartitionStatus {
    /// Records that have not been read; `None` where nobody knows.
    pub fn lag(&self) -> Option<i64> {
        Some(self.end?.saturating_sub(self.position).max(0))
    }
}

impl QueryStatus {
    pub fn new(name: impl Into<String>, file: impl Into<String>) -> Self {
        QueryStatus { name: name.into(), file: file.into(), ..Default::default() }
    }

    /// With a time after which a step is taken to hang.
    pub fn stalling_after(self, stall_after: Duration) -> Self {
        QueryStatus { stall_after: StallAfter(stall_after), ..self }
    }

    /// Parts that did not answer are forgotten: a new state begins without them. Static tables say for themselves when they can be read.
    pub fn set(&self, state: QueryState, reason: Option<String>) {
        self.set_with(state, None, reason);
    }

    /// As [`QueryStatus::set`]; `arguments`: what belongs to the word, as in [`Standing`].
    pub fn set_with(&self, state: QueryState, arguments: Option<String>, reason: Option<String>) {
        // With its input ended a query still brings rows to where they are read.
        let stays = |part: &Part| state == QueryState::Finished && part.is_sink();
        self.troubles.write().retain(|part, _| stays(part));
        self.note_silence(None);
        *self.pace.lock() = Pace::default();
        self.steps.leave();
        // Where nobody reads, nobody knows where a partition ends.
        if !matches!(state, QueryState::Running | QueryState::Finished) {
            let mut sources = self.sources.write();
            sources.values_mut().flat_map(|source| source.partitions.values_mut()).for_each(|at| at.end = None);
        }
        *self.said.write() = Standing { state, arguments, reason };
    }

    /// Notes that it has been told to stop.
    pub fn note_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Takes up where its sources stand, as `sources` says it.
    pub fn note_pace(&self) {
        self.note_pace_at(Instant::now());
    }

    fn note_pace_at(&self, now: Instant) {
        let (mut partitions, mut position, mut end) = (0, 0_i64, Some(0_i64));
        for partition in self.sources.read().values().flat_map(|source| source.partitions.values()) {
            partitions += 1;
            position = position.saturating_add(partition.position);
            end = end.zip(partition.end).map(|(sum, end)| sum.saturating_add(end.max(partition.position)));
        }
        self.pace.lock().observe(now, partitions, position, end);
    }

    /// Notes that a part does not answer, or answers again. A running query is degraded as long as one does not.
    pub fn trouble(&self, part: Part, reason: Option<String>) {
        let mut troubles = self.troubles.write();
        match reason {
            Some(reason) => _ = troubles.insert(part, reason),
            None => _ = troubles.remove(&part),
        }
    }

    /// Notes how it is with a static table.
    pub fn note_lookup(&self, table: &str, note: impl FnOnce(&mut LookupStatus)) {
        note(self.lookups.write().entry(table.to_owned()).or_default());
    }

    /// Notes when nothing has come to it; `None` while something comes, may be coming, or is not committed yet.
    pub fn note_silence(&self, silence: Option<Silence>) {
        *self.silence.write() = silence;
    }

    pub fn silence(&self) -> Option<Silence> {
        *self.silence.read()
    }

    /// Why it may bring no rows, as what follows its name in a sentence; `None` while it goes on, is about to, or has ended.
    pub fn stands_still(&self) -> Option<String> {
        let Standing { state, mut reason, .. } = self.said.read().clone();
        let what = match state {
            QueryState::Failed => "has failed",
            QueryState::Blocked => "is blocked",
            QueryState::DataLoss => "has lost data",
            QueryState::Rejected => "is rejected",
            QueryState::Fenced => "was taken over by another server",
            QueryState::Degraded => "is degraded",
            QueryState::Running => {
                // Without its hot table and without new public files it goes on.
                let parts = [Part::Source, Part::Store, Part::Tail, Part::Backlog];
                reason = parts.iter().find_map(|part| self.troubles.read().get(part).cloned());
                match &reason {
                    Some(_) => "is degraded",
                    None => {
                        let Standing { state: QueryState::Stalled, reason: why, .. } = self.standing() else {
                            return None;
                        };
                        reason = why;
                        "is stalled"
                    }
                }
            }
            // The others are found out when somebody asks, and never said.
            _ => return None,
        };
        let first = reason.as_deref().and_then(|reason| reason.lines().next());
        Some(first.map_or_else(|| what.to_owned(), |first| format!("{what}: {first}")))
    }

    /// Whether it runs, and all that brings it rows answers.
    pub fn goes_on(&self) -> bool {
        self.said.read().state == QueryState::Running && self.stands_still().is_none()
    }

    /// Whether it stands still by an error that was said of it, and starts again where its file is touched.
    pub fn has_ended_by_error(&self) -> bool {
        self.said.read().state.has_ended_by_error()
    }

    /// Notes what is wrong with the query's file while its last good version runs, or that nothing is.
    pub fn report_file(&self, report: Option<String>) {
        *self.file_report.write() = report;
    }

    /// Notes that another version runs than its definition says, or that it does not.
    pub fn hold(&self, held: Option<Held>) {
        *self.held.write() = held;
    }

    /// Whether the file that defines it is wrong, be it running or not.
    pub fn file_is_wrong(&self) -> bool {
        self.file_report.read().is_some() || self.said.read().state == QueryState::Rejected
    }

    /// The state, and why where there is something to say.
    pub fn get(&self) -> (QueryState, Option<String>) {
        let Standing { state, reason, .. } = self.standing();
        (state, reason)
    }

    /// How it is doing at this moment.
    pub fn standing(&self) -> Standing {
        self.standing_at(Instant::now())
    }

    fn standing_at(&self, now: Instant) -> Standing {
        let (look, unknown) = {
            let pace = self.pace.lock();
            (pace.look(now), pace.unknown(now))
        };
        let lookups = self.lookups.read();
        let facts = Facts {
            said: self.said.read().clone(),
            stopping: self.stopping.load(Ordering::Relaxed),
            steps: [&self.steps, &self.beside].iter().filter_map(|steps| steps.lasting(now)).collect(),
            stall_after: self.stall_after.0,
            troubles: self.troubles.read().iter().map(|(part, reason)| (*part, reason.clone())).collect(),
            lookups: lookups.iter().filter_map(|(table, at)| Some((table.clone(), at.trouble.clone()?))).collect(),
            unheard: unknown.map(|lasted| (self.unheard(), lasted)),
            look,
        };
        let mut standing = judge(facts);
        if let Some(held) = self.held.read().as_ref() {
            standing = held.on(standing);
        }
        if let Some(report) = self.file_report.read().as_ref() {
            standing.reason =
                Some(standing.reason.map_or_else(|| report.clone(), |reason| format!("{reason}\n{report}")));
        }
        standing
    }

    /// Partitions whose end is not known, by source.
    fn unheard(&self) -> Vec<String> {
        let sources = self.sources.read();
        let each = sources.iter().filter_map(|(name, source)| {
            let silent = source.partitions.iter().filter(|(_, at)| at.end.is_none());
            let silent: Vec<String> = silent.map(|(partition, _)| partition.to_string()).collect();
            (!silent.is_empty()).then(|| format!("{name}: partition {}", silent.join(", ")))
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests;
