//! How a query is doing: written by its epoch loop, read by metrics, system tables and the status command.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::clock::Micros;
use crate::source::{Offset, Partition};

/// Where a query stands, in words an operator can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryState {
    /// Restoring from its checkpoint.
    Starting,
    Running,
    /// Results are durable, but a sink or a source does not answer; retried until it does.
    Degraded,
    /// Stopped by an error; the last checkpoint stands.
    Failed,
    /// Another server has taken over.
    Fenced,
    /// Its input was bounded and has been read to the end.
    Finished,
    /// Its file is wrong and no earlier good version runs.
    Rejected,
}

impl QueryState {
    pub fn name(self) -> &'static str {
        match self {
            QueryState::Starting => "starting",
            QueryState::Running => "running",
            QueryState::Degraded => "degraded",
            QueryState::Failed => "failed",
            QueryState::Fenced => "fenced",
            QueryState::Finished => "finished",
            QueryState::Rejected => "rejected",
        }
    }
}

/// What a running query depends on, and may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Source,
    /// Checkpoints.
    Store,
    /// Files cannot be written now: rows wait in the checkpoints.
    PublicFiles,
    /// So much waits for public files that the query takes nothing in.
    Tail,
    HotTable,
    /// Its public folder belongs to another state: no files are written, and rows stay in the tail.
    Folder,
    /// So much waits for the hot table that the query takes nothing in.
    Backlog,
}

/// Counters and gauges of one query. Counts go on across restarts: they are part of each manifest.
#[derive(Debug, Default)]
pub struct QueryStatus {
    pub name: String,
    /// The file that defines it, for error reports.
    pub file: String,
    state: RwLock<StateAndReason>,
    /// What does not answer while the query itself runs.
    troubles: RwLock<BTreeMap<Part, String>>,
    /// When nothing has come to it, as it last said.
    silence: RwLock<Option<Silence>>,
    /// Its file has been changed for the worse, and its last good version runs.
    file_report: RwLock<Option<String>>,
    /// Rows read, dead letters included.
    pub rows_in: AtomicU64,
    /// Rows emitted.
    pub rows_out: AtomicU64,
    /// Rows dropped as late, once for each window they missed.
    pub rows_late: AtomicU64,
    pub rows_dead: AtomicU64,
    /// Rows whose event time lay too far ahead to move the watermark.
    pub rows_far_future: AtomicU64,
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

#[derive(Debug, Clone)]
struct StateAndReason {
    state: QueryState,
    reason: Option<String>,
}

impl Default for StateAndReason {
    fn default() -> Self {
        StateAndReason { state: QueryState::Starting, reason: None }
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
    /// The end of the partition as last seen.
    pub end: Offset,
    pub event_time_max: Option<Micros>,
    /// Left out of the watermark's minimum, because nothing came for the idle timeout.
    pub idle: bool,
}

impl QueryStatus {
    pub fn new(name: impl Into<String>, file: impl Into<String>) -> Self {
        QueryStatus { name: name.into(), file: file.into(), ..Default::default() }
    }

    /// Parts that did not answer are forgotten: a new state begins without them. Static tables say for themselves when they can be read.
    pub fn set(&self, state: QueryState, reason: Option<String>) {
        self.troubles.write().clear();
        self.note_silence(None);
        *self.state.write() = StateAndReason { state, reason };
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
        let StateAndReason { state, mut reason } = self.state.read().clone();
        let what = match state {
            QueryState::Failed => "has failed",
            QueryState::Rejected => "is rejected",
            QueryState::Fenced => "was taken over by another server",
            QueryState::Degraded => "is degraded",
            QueryState::Running => {
                let troubles = self.troubles.read();
                // Without its hot table and without new public files it goes on.
                let holds_back = [Part::Source, Part::Store, Part::Tail, Part::Backlog];
                reason = holds_back.iter().find_map(|part| troubles.get(part).cloned());
                reason.as_ref()?;
                "is degraded"
            }
            QueryState::Starting | QueryState::Finished => return None,
        };
        let first = reason.as_deref().and_then(|reason| reason.lines().next());
        Some(first.map_or_else(|| what.to_owned(), |first| format!("{what}: {first}")))
    }

    /// Whether it runs, and all that brings it rows answers.
    pub fn goes_on(&self) -> bool {
        self.state.read().state == QueryState::Running && self.stands_still().is_none()
    }

    /// Notes what is wrong with the query's file while its last good version runs, or that nothing is.
    pub fn report_file(&self, report: Option<String>) {
        *self.file_report.write() = report;
    }

    /// Whether the file that defines it is wrong, be it running or not.
    pub fn file_is_wrong(&self) -> bool {
        self.file_report.read().is_some() || self.state.read().state == QueryState::Rejected
    }

    /// The state, and why where there is something to say.
    pub fn get(&self) -> (QueryState, Option<String>) {
        let StateAndReason { mut state, reason } = self.state.read().clone();
        let mut reasons: Vec<String> = reason.into_iter().collect();
        if state == QueryState::Running {
            reasons.extend(self.troubles.read().values().cloned());
            reasons.extend(self.lookups.read().values().filter_map(|lookup| lookup.trouble.clone()));
            if !reasons.is_empty() {
                state = QueryState::Degraded;
            }
        }
        reasons.extend(self.file_report.read().clone());
        (state, (!reasons.is_empty()).then(|| reasons.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_cannot_be_read_again_degrades_a_query_that_goes_on() {
        let status = QueryStatus::new("v", "v.sql");
        status.set(QueryState::Running, None);
        status.note_lookup("players", |lookup| lookup.trouble = Some("no such file".to_owned()));
        assert_eq!(status.get(), (QueryState::Degraded, Some("no such file".to_owned())));
        assert!(status.goes_on());
        status.note_lookup("players", |lookup| lookup.trouble = None);
        assert_eq!(status.get(), (QueryState::Running, None));
    }

    #[test]
    fn a_query_stands_still_where_it_has_ended_by_an_error_or_nothing_comes_to_it() {
        let status = QueryStatus::new("v", "v.sql");
        assert_eq!((status.stands_still(), status.goes_on()), (None, false));
        status.set(QueryState::Running, None);
        assert!(status.goes_on());
        status.trouble(Part::HotTable, Some("Postgres is away".to_owned()));
        assert!(status.goes_on(), "{:?}", status.stands_still());
        status.trouble(Part::PublicFiles, Some("the bucket is full".to_owned()));
        assert!(status.goes_on(), "{:?}", status.stands_still());
        status.trouble(Part::Tail, Some("too much waits\n  detail: for its files".to_owned()));
        assert_eq!(status.stands_still().as_deref(), Some("is degraded: too much waits"));
        status.trouble(Part::Tail, None);
        status.trouble(Part::Source, Some("no answer\n  detail: for a while".to_owned()));
        assert_eq!(status.stands_still().as_deref(), Some("is degraded: no answer"));
        assert!(!status.goes_on());
        status.set(QueryState::Failed, Some("division by zero".to_owned()));
        assert_eq!(status.stands_still().as_deref(), Some("has failed: division by zero"));
        status.set(QueryState::Finished, None);
        assert_eq!((status.stands_still(), status.goes_on()), (None, false));
    }
}
