//! Public files beside the loop: a task writes what the head intends, and the next checkpoint lists what it has done.
//!
//! A public store that is full, refuses or hangs costs fresh public files and nothing else. It is asked again after growing pauses, by one
//! attempt at a time whose requests all have deadlines; rows wait in the tail, and no checkpoint is made because of it. When the tails
//! have no more room the query takes nothing in until files can be written (`state::TailBytes`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::QueryLoop;
use super::outage::Outage;
use super::outputs::Output;
use crate::checkpoint::{FileRuns, SealIntent, TailEntry};
use crate::clock::{Micros, shown};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::parquet::{SealLimits, write_sealed};
use crate::state::{Account, Rows, TailBytes};
use crate::status::Part;
use crate::store::{SpillDirectory, Store};
use crate::tables::{CheckpointRange, SealedFile};

/// The pause after the first failed attempt, doubled with each further one, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Entries of an output's tail at which they are sealed, however few and young their rows are: each is some 300 bytes of every manifest.
const SEALED_AT: usize = 4_096;

/// Entries of an output's tail with which the query stands still.
const ENTRIES_MAX: usize = 2 * SEALED_AT;

/// Entries from which on checkpoints come less often while no file can be written, so that manifests do not cost more and more.
const STRETCHED_FROM: usize = 1_024;

/// The files of one seal, to be written as often as it takes.
#[derive(Debug)]
pub(super) struct SealJob {
    /// The output's place among those of the query.
    pub(super) output: usize,
    pub(super) intent: SealIntent,
    pub(super) inputs: Vec<(TailEntry, Arc<[Rows]>)>,
    /// Queries may read on from the rows of the files.
    pub(super) read_on: bool,
}

/// Where the files of a query go.
#[derive(Debug)]
pub(super) struct SealWriter {
    pub(super) query: String,
    pub(super) private: Store,
    pub(super) public: Store,
    /// Takes files that are too much for memory.
    pub(super) disk: Option<SpillDirectory>,
}

impl SealWriter {
    /// Writes the files, and beside each which of its rows are of which checkpoint, where queries can read on from them.
    ///
    /// # Errors
    /// Those of [`write_sealed`].
    pub(super) async fn write(&self, job: &SealJob) -> Result<Vec<SealedFile>> {
        let SealJob { intent, inputs, read_on, .. } = job;
        let mut files = write_sealed(&self.public, self.disk.as_ref(), &self.query, intent, inputs).await?;
        let entries: Vec<TailEntry> = inputs.iter().map(|(entry, _)| entry.clone()).collect();
        for (file, intended) in files.iter_mut().zip(&intent.files).filter(|_| *read_on) {
            FileRuns::of(intent, &intended.event_date, &entries).write(&self.private, &file.path).await?;
            file.checkpoints = Some(CheckpointRange { from: intent.from, to: intent.to });
        }
        Ok(files)
    }
}

/// The task of a query, and how it gets on.
#[derive(Debug)]
pub(super) struct Sealing {
    writer: Arc<SealWriter>,
    running: Option<JoinHandle<Attempt>>,
    /// Not before this is anything tried again.
    pub(super) retry_at: Option<Instant>,
    outage: Outage,
    /// When the attempts began to fail, for people.
    failing_since: Option<Micros>,
    tail: TailBytes,
    full: bool,
}

/// What a task has done: the seals that it has written, and how it has ended.
#[derive(Debug)]
struct Attempt {
    written: Vec<(SealJob, Vec<SealedFile>)>,
    ended: Result<()>,
}

impl Sealing {
    pub(super) fn new(writer: SealWriter, account: &Account) -> Self {
        Sealing {
            writer: Arc::new(writer),
            running: None,
            retry_at: None,
            outage: Outage::default(),
            failing_since: None,
            tail: TailBytes::none(account),
            full: false,
        }
    }

    /// When an output's tail is to be sealed. `bytes`, `entries`: what it has.
    pub(super) fn limits(&self, limits: SealLimits, bytes: u64, entries: usize) -> SealLimits {
        // Of several outputs those go that make up most of it.
        let presses = self.tail.is_pressing() && bytes > self.tail.bytes() / 4;
        let age_max = if presses || entries >= SEALED_AT { Duration::ZERO } else { limits.age_max };
        SealLimits { age_max, ..limits }
    }
}

impl Drop for Sealing {
    /// Whoever goes on from the last checkpoint writes the files again.
    fn drop(&mut self) {
        if let Some(task) = self.running.take() {
            task.abort();
        }
    }
}

async fn attempt(writer: Arc<SealWriter>, jobs: Vec<SealJob>) -> Attempt {
    let mut written = Vec::new();
    for job in jobs {
        match writer.write(&job).await {
            Ok(files) => written.push((job, files)),
            Err(error) => return Attempt { written, ended: Err(error) },
        }
    }
    Attempt { written, ended: Ok(()) }
}

impl QueryLoop {
    /// Takes up what the task has written, where it has ended, and starts the next one. Waits for nothing.
    pub(super) async fn write_seals(&mut self) -> Result<()> {
        self.finish_seals(Duration::ZERO).await?;
        let sealing = &mut self.sealing;
        let waits = sealing.retry_at.is_some_and(|at| at > Instant::now());
        if sealing.running.is_some() || waits || !self.folder.is_ours() {
            return Ok(());
        }
        let head = self.chain.head();
        let outputs = self.outputs.iter().enumerate();
        let jobs: Vec<SealJob> = outputs.flat_map(|(at, output)| output.seal_jobs(at, head)).collect();
        if !jobs.is_empty() {
            sealing.running = Some(tokio::spawn(attempt(Arc::clone(&sealing.writer), jobs)));
        }
        Ok(())
    }

    /// Takes up what the task has written. `patience`: how long to wait for it.
    ///
    /// # Errors
    /// Those that trying again cannot mend.
    pub(super) async fn finish_seals(&mut self, patience: Duration) -> Result<()> {
        let Some(task) = &mut self.sealing.running else { return Ok(()) };
        let Ok(ended) = tokio::time::timeout(patience, task).await else { return Ok(()) };
        self.sealing.running = None;
        let Attempt { written, ended } =
            ended.map_err(|error| Error::bug("writing public files panicked").caused_by(error))?;
        for (job, files) in written {
            self.outputs[job.output].note_sealed(job.intent.seal, files);
            // The next checkpoint lists them.
            self.dirty = true;
        }
        match ended {
            Ok(()) => self.seals_are_written(),
            // Local disk, through which a large file goes, may be full as well.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::OverBudget) => {
                self.seals_failed(&error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn seals_are_written(&mut self) {
        let sealing = &mut self.sealing;
        sealing.retry_at = None;
        sealing.failing_since = None;
        self.status.trouble(Part::PublicFiles, None);
        if let Some(attempts) = sealing.outage.over() {
            info!(query = self.status.name, failed_attempts = attempts, "public files are written again");
        }
    }

    fn seals_failed(&mut self, error: &Error) {
        let sealing = &mut self.sealing;
        let since = *sealing.failing_since.get_or_insert_with(|| self.clock.now());
        let report = error.report();
        let told = sealing.outage.failed(&report);
        let attempts = sealing.outage.attempts();
        sealing.retry_at = Some(Instant::now() + pause(attempts, random()));
        self.status.public_file_failures.fetch_add(1, Ordering::Relaxed);
        if told {
            warn!(query = self.status.name, attempts, error = report, "public files not written, trying again");
        }
        let since = shown(since);
        self.status.trouble(
            Part::PublicFiles,
            Some(format!("no public file could be written since {since}; rows wait in the checkpoints\n{report}")),
        );
    }

    /// Notes and says when so much waits for public files that the query must stand still, and when it may go on.
    pub(super) fn watch_tail(&mut self) {
        let sealing = &mut self.sealing;
        sealing.tail.set(self.outputs.iter().map(Output::tail_bytes).sum());
        self.status.tail_bytes.store(sealing.tail.bytes(), Ordering::Relaxed);
        let entries = self.outputs.iter().map(Output::tail_entries).max().unwrap_or(0);
        let entries_max = if sealing.full { ENTRIES_MAX / 4 * 3 } else { ENTRIES_MAX };
        let full = sealing.tail.is_full(sealing.full) || entries > entries_max;
        if full == sealing.full {
            return;
        }
        sealing.full = full;
        if !full {
            info!(query = self.status.name, "enough rows are in public files, the query takes rows in again");
            self.status.trouble(Part::Tail, None);
            return;
        }
        let since = shown(self.clock.now());
        let (bytes, all, limit) = (sealing.tail.bytes(), sealing.tail.all(), sealing.tail.limit());
        let primary =
            format!("query {} stands still since {since} until its rows are in public files", self.status.name);
        // The store may be well, and wait for nothing.
        let hint = match self.folder.is_ours() {
            true => {
                "nothing is lost; it goes on by itself once storage.tables_url takes files. Raise engine.state_bytes_max to bridge longer outages"
            }
            false => {
                "nothing is lost; its public folder belongs to another state, or nobody says whose it is: what to do is said beside this, and it \
                 goes on by itself then"
            }
        };
        let report = Error::over_budget(primary)
            .detail(format!(
                "{bytes} bytes of {entries} checkpoints wait, {all} bytes with those of other queries; {limit} bytes may wait, and {ENTRIES_MAX} \
                 checkpoints"
            ))
            .hint(hint)
            .report();
        warn!(query = self.status.name, error = report, "too much waits for public files");
        self.status.trouble(Part::Tail, Some(report));
    }

    /// Whether so much waits for public files that no more rows may come in.
    pub(super) fn tail_is_full(&self) -> bool {
        self.sealing.full
    }

    /// How far checkpoints are apart.
    pub(super) fn checkpoint_interval(&self) -> Duration {
        let interval = self.settings.checkpoint_interval;
        // Nothing is tried, and so nothing fails, where the folder is another's or nobody says whose it is.
        match self.sealing.failing_since.is_some() || !self.folder.is_ours() {
            false => interval,
            true => stretched(interval, self.outputs.iter().map(Output::tail_entries).max().unwrap_or(0)),
        }
    }
}

/// An interval that grows with the entries that each manifest has, so that a second's manifests stay as large as they are.
fn stretched(interval: Duration, entries: usize) -> Duration {
    match u32::try_from(entries.div_ceil(STRETCHED_FROM)) {
        Ok(times) => interval.saturating_mul(times.max(1)),
        Err(_) => interval,
    }
}

/// How long to wait after so many failed attempts. `random`: from 0 to 1, so that queries which lost the same store do not come back in step.
fn pause(failed: u32, random: f64) -> Duration {
    let longest = PAUSE.0.saturating_mul(1 << failed.saturating_sub(1).min(20)).min(PAUSE.1);
    longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

fn random() -> f64 {
    f64::from(Uuid::new_v4().as_u128() as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::state::Budget;

    #[test]
    fn what_fills_the_room_or_the_manifest_is_sealed_however_young_it_is() {
        // Of which results may take 1,000 bytes.
        let budget = Budget::new(4_000, None);
        let store = || Store::over(Arc::new(InMemory::new()), "memory://");
        let writer = SealWriter { query: "v".to_owned(), private: store(), public: store(), disk: None };
        let mut sealing = Sealing::new(writer, &budget.account("v"));
        let limits = SealLimits { rows_max: 7, bytes_max: 8, age_max: Duration::from_secs(60) };
        assert_eq!(sealing.limits(limits, 0, SEALED_AT - 1), limits);
        let at_once = SealLimits { age_max: Duration::ZERO, ..limits };
        assert_eq!(sealing.limits(limits, 0, SEALED_AT), at_once);
        sealing.tail.set(500);
        assert_eq!(sealing.limits(limits, 500, 1), limits);
        sealing.tail.set(501);
        assert_eq!(sealing.limits(limits, 401, 1), at_once);
        assert_eq!(sealing.limits(limits, 100, 1), limits, "a ledger of few rows beside it");
    }

    #[test]
    fn pauses_double_from_half_a_second_to_a_minute_and_differ_by_up_to_half() {
        let longest: Vec<u128> = (1..=9).map(|failed| pause(failed, 1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(pause(1, 0.0), Duration::from_millis(250));
        assert_eq!(pause(u32::MAX, 1.0), Duration::from_secs(60));
        let drawn: Vec<f64> = (0..64).map(|_| random()).collect();
        assert!(drawn.iter().all(|random| (0.0..=1.0).contains(random)));
        assert!(drawn.iter().any(|random| *random < 0.5) && drawn.iter().any(|random| *random > 0.5), "{drawn:?}");
    }

    #[test]
    fn what_manifests_cost_a_second_stays_the_same_while_their_tail_grows() {
        let interval = Duration::from_millis(250);
        let of = |entries| stretched(interval, entries).as_millis();
        assert_eq!([of(0), of(1), of(1_024), of(1_025), of(4_096), of(8_192)], [250, 250, 250, 500, 1_000, 2_000]);
    }
}
