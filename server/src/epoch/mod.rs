//! The loop of one continuous query, and the only place that orders durable effects.
//!
//! ```text
//! turn: poll ─► step ─► commit to memory          again and again, no waiting
//! checkpoint: bundle ─► manifest ─► publish       every `checkpoint_interval`, if anything has changed
//! afterwards: hot table, seal, clean up           from what the manifest says, repeatable, each by a task beside the loop
//! ```
//!
//! Before the manifest nothing of a checkpoint is visible; after it everything left to do is roll-forward.

mod backlog;
mod clean_up;
mod driver;
mod early;
mod folder;
mod hot;
mod ledger;
mod leftover;
mod outage;
mod outputs;
mod progress;
mod rebuild;
mod recompute;
mod refresh;
mod replay;
mod restore;
mod sealing;
mod tail_ages;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use clean_up::CleaningUp;
pub use driver::{Driver, EpochLimits, EpochResult, Turn};
use folder::Folder;
use hot::Hot;
pub use ledger::{dead_letter_schema, late_schema};
use outputs::Output;
use refresh::Refresh;
pub use restore::{QueryDeps, QueryPlan};
use sealing::Sealing;
pub use verdict::verdict;

use crate::checkpoint::{
    Accounting, Chain, Manifest, OperatorState, PartitionState, Section, SegmentRef, SourceState, Watched, segment_home,
};
use crate::clock::Clock;
use crate::error::{ErrorKind, Result};
use crate::operator::contract::{LateRow, RemoteSegment, StoredSegment};
use crate::sink::parquet::SealLimits;
use crate::source::DeadLetter;
use crate::state::{Account, Reservation, Rows};
use crate::status::{Part, QueryState, QueryStatus, Silence, Step};
use crate::store::{SpillDirectory, Store};
use crate::watermark::NONE;

/// How long a turn waits for rows before it looks after anything else.
const TURN_WAIT: Duration = Duration::from_millis(100);

/// How long a stop waits for each write of the hot table, and for the rest of a view's checkpoint. What is not written or read by then is
/// at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Late rows and dead letters that wait for a checkpoint, bytes: with more it does not wait for its interval. One epoch more can
/// come on top, which the readers' queues bound.
const LEDGER_BYTES_MAX: usize = 64 << 20;

/// And at most this fraction of the budget.
const LEDGER_SHARE: usize = 8;

/// Rows of state that are encoded at a time: that takes as much memory again.
const ROWS_WRITTEN: usize = 64 * 1024;

/// Turning points of a query's loop.
#[derive(Debug, Clone, Copy)]
pub struct LoopSettings {
    pub checkpoint_interval: Duration,
    pub seal: SealLimits,
}

/// A query that has been restored and may run.
pub struct QueryLoop {
    driver: Driver,
    chain: Chain,
    /// Looks after the chain while there is nothing to commit.
    watched: Arc<Watched>,
    /// Whether public files may be written.
    folder: Folder,
    private: Store,
    /// Takes what is too much for memory.
    disk: Option<SpillDirectory>,
    account: Arc<Account>,
    settings: LoopSettings,
    clock: Clock,
    status: Arc<QueryStatus>,
    /// The view, then its late ledger and its dead letters, and what changes, where that has public files.
    outputs: Vec<Output>,
    late: Vec<LateRow>,
    dead_letters: Vec<DeadLetter>,
    /// For the late rows and dead letters that no checkpoint holds yet.
    ledger: Reservation,
    accounting: Accounting,
    /// Where the segments are that a checkpoint holds, by operator and segment.
    written: HashMap<(String, u64), Section>,
    hot: Option<Hot>,
    /// What writes public files.
    sealing: Sealing,
    cleaning_up: CleaningUp,
    /// What reads static tables again.
    refresh: Refresh,
    /// Why a source brings nothing, as last reported.
    trouble: Option<String>,
    dirty: bool,
    last_checkpoint: Instant,
    /// When the first rows were emitted that readers do not see yet.
    emitted_at: Option<Instant>,
}

impl std::fmt::Debug for QueryLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueryLoop({}, checkpoint {})", self.status.name, self.chain.head().id)
    }
}

/// Index of the view among a query's outputs.
const VIEW: usize = 0;
const LATE: usize = 1;
const DEAD: usize = 2;
const CHANGES: usize = 3;

impl QueryLoop {
    /// Runs until told to stop, until its input ends, or until an error that repeating cannot mend.
    ///
    /// On a stop it makes a last checkpoint.
    ///
    /// # Errors
    /// `Fenced` where another server has taken the query over; whatever the query's expressions raise; storage that
    /// stays away. The last checkpoint stands, and a restart goes on from there.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        self.status.set(QueryState::Running, None);
        loop {
            self.status.steps.enter(Step::Reading);
            if stopping(&stop) {
                break;
            }
            // What has been taken in part only cannot be made durable, and so nothing could be written that makes room.
            if (self.hot_is_full() || self.tail_is_full()) && self.driver.is_whole() {
                tokio::time::sleep(self.wait()).await;
            } else if self.turn().await? {
                self.checkpoint_and_sinks().await?;
                self.report();
                self.status.set(QueryState::Finished, None);
                self.outputs.iter_mut().for_each(Output::finish);
                self.publish();
                self.drain_sinks(&mut stop).await?;
                return Ok(());
            }
            let due = self.last_checkpoint.elapsed() >= self.checkpoint_interval()
                || self.ledger.bytes() >= self.ledger_bytes_max();
            if due && self.driver.is_whole() {
                self.checkpoint_and_sinks().await?;
            }
            // Of several views one would else always be in the middle of a checkpoint of its own.
            self.driver.whole_first = due && !self.driver.is_whole();
            self.watch_sources();
            self.folder.report();
            self.refresh.check()?;
            self.report();
        }
        self.make_whole().await?;
        self.finish_seals(Duration::ZERO).await?;
        if self.driver.is_whole() {
            self.checkpoint().await?;
        }
        // What is under way, then what came with the last checkpoint.
        for _ in 0..3 {
            self.apply_hot(STOP_PATIENCE).await?;
        }
        info!(query = self.status.name, checkpoint = self.chain.head().id, "query stopped");
        Ok(())
    }

    /// Takes what is left of checkpoints of views that have been taken in part, for a limited time. What is not whole then is taken from the
    /// last checkpoint on by the next start.
    async fn make_whole(&mut self) -> Result<()> {
        let until = Instant::now() + STOP_PATIENCE;
        self.driver.whole_first = true;
        while !self.driver.is_whole() && Instant::now() < until {
            self.turn().await?;
        }
        Ok(())
    }

    /// One turn of the driver. True where all input has ended.
    ///
    /// Never cancelled: an epoch that is dropped half-way has moved the offsets and not the state, and the last
    /// checkpoint would lose its rows. A stop waits for it instead.
    async fn turn(&mut self) -> Result<bool> {
        self.status.steps.enter(Step::Reading);
        match self.driver.turn(self.wait()).await? {
            Turn::Epoch(result) => {
                self.take(result)?;
                Ok(false)
            }
            Turn::Quiet => Ok(false),
            Turn::Finished => Ok(true),
        }
    }

    /// Input has ended, but rows may still be on their way into the hot table and into public files.
    async fn drain_sinks(&mut self, stop: &mut watch::Receiver<bool>) -> Result<()> {
        while self.outputs.iter().any(Output::has_tail) || self.hot_is_behind() {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = tokio::time::sleep(self.settings.checkpoint_interval) => {}
            }
            self.checkpoint_and_sinks().await?;
            self.folder.report();
            self.report();
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        let due = self.checkpoint_interval().saturating_sub(self.last_checkpoint.elapsed());
        if self.dirty && self.driver.is_whole() { due.min(TURN_WAIT) } else { TURN_WAIT }
    }

    /// The ledgers' own limit, or their share of a small budget.
    fn ledger_bytes_max(&self) -> usize {
        LEDGER_BYTES_MAX.min(self.account.budget().limit() / LEDGER_SHARE)
    }

    fn take(&mut self, result: EpochResult) -> Result<()> {
        let EpochResult { output, dead_letters, records, extra_rows, empty_records, far_future } = result;
        // A record without rows is one that was filtered.
        self.accounting.rows_in += records + extra_rows;
        self.accounting.rows_out += output.rows.num_rows() as u64;
        let wholly = output.late.iter().filter(|row| row.wholly).count() as u64;
        self.accounting.late += wholly;
        self.accounting.late_partly += output.late.len() as u64 - wholly;
        self.accounting.dead += dead_letters.len() as u64;
        self.accounting.filtered += output.without_time + empty_records;
        self.accounting.far_future += far_future;
        if !output.rows.is_empty() || !output.early.is_empty() {
            self.emitted_at.get_or_insert_with(Instant::now);
        }
        self.outputs[VIEW].add(output.rows);
        self.outputs[VIEW].add_early(output.early, self.driver.pipeline.final_through())?;
        let late_bytes: usize = output.late.iter().map(ledger::late_bytes).sum();
        self.ledger.count(late_bytes + dead_letters.iter().map(ledger::dead_letter_bytes).sum::<usize>());
        self.late.extend(output.late);
        self.dead_letters.extend(dead_letters);
        self.status.epochs.fetch_add(1, Ordering::Relaxed);
        self.dirty = true;
        Ok(())
    }

    async fn checkpoint_and_sinks(&mut self) -> Result<()> {
        self.finish_seals(Duration::ZERO).await?;
        self.plan_seals();
        self.checkpoint().await?;
        self.apply_hot(Duration::ZERO).await?;
        self.watch_backlog();
        self.write_seals().await?;
        self.watch_tail();
        self.clean_up().await
    }

    /// Makes everything up to now durable and visible. Nothing happens where nothing has changed.
    async fn checkpoint(&mut self) -> Result<()> {
        self.last_checkpoint = Instant::now();
        if !self.dirty {
            return Ok(());
        }
        self.status.steps.enter(Step::Committing);
        let now = self.clock.now();
        let late = ledger::late_batches(&self.status.name, &self.late)?;
        let dead = ledger::dead_letter_batches(&self.status.name, &self.dead_letters, now)?;
        self.late.clear();
        self.dead_letters.clear();
        self.ledger.release();
        self.outputs[LATE].add(Rows::of(late, &self.account)?);
        self.outputs[DEAD].add(Rows::of(dead, &self.account)?);

        let mut draft = self.chain.draft(now);
        let mut bundle = self.chain.bundle(&draft, self.disk.clone());
        let (mut written, mut new) = (HashMap::new(), Vec::new());
        draft.operators = Vec::new();
        let marks = self.driver.pipeline.kept_marks();
        let to_leave = leftover::bundles_to_leave(self.written.values());
        for (operator, marks) in self.driver.pipeline.operators().iter().zip(marks) {
            let mut segments = Vec::new();
            for StoredSegment { input, shard, pane, segment } in operator.segments() {
                let key = (operator.id().to_owned(), segment.id);
                let stays = |section: &&Section| segment.rows.is_remote() || !to_leave.contains(&section.object);
                let section = match self.written.get(&key).filter(stays) {
                    Some(section) => section.clone(),
                    None => {
                        let section = bundle.add_each(segment.rows.batches().flat_map(in_slices))?;
                        let home = segment_home(&self.private, &section);
                        let stored = RemoteSegment { input, shard, pane, id: segment.id, level: segment.level, home };
                        new.push((Arc::clone(operator), stored));
                        section
                    }
                };
                written.insert(key, section.clone());
                segments.push(SegmentRef { id: segment.id, input, shard, pane, level: segment.level, section });
            }
            draft.operators.push(OperatorState {
                id: operator.id().to_owned(),
                kind: operator.kind().name.to_owned(),
                state_version: operator.kind().version,
                schema_sha256: operator.state_schema_sha256()?,
                watermark: None,
                marks: marks.into_iter().map(|at| Some(at).filter(|at| *at != NONE)).collect(),
                position: operator.position(),
                segments,
            });
        }
        if let Some(hot) = &self.hot {
            self.outputs[VIEW].put_hot_together(hot.private(), &mut draft, &mut bundle).await?;
        }
        let changes = self.outputs[VIEW].changes(draft.id)?;
        if let Some(output) = self.outputs.get_mut(CHANGES) {
            output.add(changes);
        }
        let mut hot = self.hot.as_ref().map(Hot::replay);
        for output in &mut self.outputs {
            // The view alone has a hot table: its ledgers and changes come after it.
            output.stage(&mut draft, &mut bundle, hot.take())?;
        }
        self.outputs[VIEW].stage_watermarks(&mut draft, self.driver.pipeline.output_marks());
        draft.sources = self.sources();
        draft.accounting = self.accounting;
        self.chain.fold_sealed(&mut draft).await?;
        self.chain.fold_hot_runs(&mut draft).await?;
        let put = self.chain.put_bundle(bundle).await;
        let bytes = put.inspect_err(|_| _ = self.status.checkpoint_failures.fetch_add(1, Ordering::Relaxed))?;
        let mut committed = self.chain.commit(draft).await;
        // In doubt: the answer was lost. Only asking again can tell, and going on without knowing could double rows.
        for attempt in 0.. {
            match committed {
                Err(error) if error.kind() == ErrorKind::Unavailable && attempt < 30 => {
                    self.status.checkpoint_failures.fetch_add(1, Ordering::Relaxed);
                    self.status.trouble(Part::Store, Some(error.report()));
                    warn!(query = self.status.name, error = error.report(), "checkpoint in doubt, asking again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    committed = self.chain.settle().await;
                }
                other => {
                    committed = other;
                    break;
                }
            }
        }
        let committed = committed?;
        self.status.trouble(Part::Store, None);
        self.written = written;
        new.into_iter().for_each(|(operator, segment)| operator.stored(segment));
        self.dirty = false;
        self.status.checkpoint.store(committed.id, Ordering::Relaxed);
        self.status.checkpoint_at.store(now, Ordering::Relaxed);
        self.status.checkpoint_bytes.store(bytes + committed.bytes, Ordering::Relaxed);
        for output in &mut self.outputs {
            output.committed(self.chain.head());
        }
        self.watched.extended_to(committed.id);
        self.folder.note(&self.outputs, self.chain.head());
        self.publish();
        if let Some(emitted) = self.emitted_at.take() {
            self.status.visible.observe(emitted.elapsed());
        }
        self.cleaning_up.committed(committed.id);
        Ok(())
    }

    fn sources(&self) -> std::collections::BTreeMap<String, SourceState> {
        let slots = self.driver.pipeline.slots.iter().zip(&self.driver.offsets).zip(&self.driver.watermarks);
        slots
            .zip(&self.driver.identities)
            .map(|(((slot, offsets), watermark), identity)| {
                let times: HashMap<_, _> =
                    watermark.partitions().into_iter().map(|(partition, newest, _)| (partition, newest)).collect();
                let offsets = offsets.iter().map(|(partition, next)| {
                    let event_time_max = times.get(partition).copied().flatten();
                    (*partition, PartitionState { next: *next, event_time_max })
                });
                let marks = slot.view().map(|view| &view.marks).into_iter().flatten();
                let newest = marks.zip(watermark.newest()).filter(|(_, at)| *at != NONE);
                let state = SourceState {
                    offsets: offsets.collect(),
                    watermark: watermark.least(),
                    newest: newest.map(|(mark, at)| (mark.name.clone(), at)).collect(),
                    topic_id: identity.topic.clone(),
                    files: identity.files.clone(),
                };
                (slot.table.name.clone(), state)
            })
            .collect()
    }

    fn publish(&self) {
        for output in &self.outputs {
            output.publish(self.chain.head());
        }
    }

    fn plan_seals(&mut self) {
        let is_ours = self.folder.is_ours();
        for output in &mut self.outputs {
            if !is_ours {
                // They grow old all the same.
                output.see_tail(self.chain.head(), &self.clock);
                continue;
            }
            let limits = self.sealing.limits(self.settings.seal, output.tail_bytes(), output.tail_entries());
            let (paths, generation) = (self.chain.paths(), self.chain.generation());
            self.dirty |= output.plan_seal(limits, paths, generation, self.chain.head(), &self.clock);
        }
    }

    /// A source that does not answer degrades the query until it does.
    fn watch_sources(&mut self) {
        let trouble = self.driver.trouble();
        if trouble == self.trouble {
            return;
        }
        match &trouble {
            Some(reason) => warn!(query = self.status.name, reason, "a source does not answer"),
            None => info!(query = self.status.name, "every source answers again"),
        }
        self.status.trouble(Part::Source, trouble.clone());
        self.trouble = trouble;
    }

    fn report(&self) {
        let status = &self.status;
        let accounting = &self.accounting;
        for (gauge, value) in [
            (&status.rows_in, accounting.rows_in),
            (&status.rows_out, accounting.rows_out),
            (&status.rows_late, accounting.late + accounting.late_partly),
            (&status.rows_dead, accounting.dead),
            (&status.rows_far_future, accounting.far_future),
            (&status.state_bytes, self.driver.pipeline.state_bytes() as u64),
            (&status.state_disk_bytes, self.driver.pipeline.state_disk_bytes()),
            (&status.memory_bytes, self.account.used() as u64),
            (&status.open_windows, self.driver.pipeline.open_panes() as u64),
            (&status.tail_rows, self.outputs[VIEW].tail_rows()),
            (&status.sealed_files, self.outputs[VIEW].sealed_files()),
        ] {
            gauge.store(value, Ordering::Relaxed);
        }
        let now = self.clock.now();
        let silent_for = if self.dirty { None } else { self.driver.silent_for() };
        let steady = self.clock.steady();
        status.note_silence(silent_for.map(|lasted| Silence { since: steady.saturating_sub(lasted), until: steady }));
        self.report_backlog(now);
        self.report_sources();
    }
}

/// A batch in parts of at most [`ROWS_WRITTEN`] rows.
fn in_slices(batch: Result<RecordBatch>) -> Vec<Result<RecordBatch>> {
    let Ok(batch) = batch else { return vec![batch] };
    let starts = (0..batch.num_rows().max(1)).step_by(ROWS_WRITTEN);
    starts.map(|start| Ok(batch.slice(start, ROWS_WRITTEN.min(batch.num_rows() - start)))).collect()
}

/// Whether the query has been told to stop, or nobody is left who could tell it.
fn stopping(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

/// What a checkpoint says of one output, or nothing yet.
fn output_state<'a>(manifest: &'a Manifest, name: &str) -> Option<&'a crate::checkpoint::OutputState> {
    manifest.outputs.get(name)
}

#[cfg(test)]
mod tests;
