//! The hot table of one query: brought up to the head in the background, and what happens while Postgres does not take it.
//!
//! A Postgres that is slow or away costs freshness of the hot table and nothing else, until `postgres.backlog_bytes` wait for it.
//! Then the query takes nothing more in: docs/decisions/0010-hot-table-backlog.md. A table that was set back gets what it lacks, or is made anew;
//! one of another history is left alone: docs/decisions/0027-lineage.md.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backlog::{self, Waiting};
use super::outage::Outage;
use super::rebuild::Job;
use super::replay::Needs;
use super::{QueryLoop, VIEW};
use crate::checkpoint::{HotListRef, HotRun, read_hot_runs};
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::postgres::{Applied, Claim, HotTable, PostgresSink, retry_delay};
use crate::source::reader::ViewDeps;
use crate::status::{Part, QueryStatus, Step};
use crate::store::Store;
use crate::watermark::NONE;

/// How often days past retention are looked for.
const RETAIN_EVERY: Duration = Duration::from_secs(600);

const HOUR_MICROS: Micros = 3_600_000_000;

/// The query's table in Postgres.
pub(super) struct Hot {
    sink: Arc<PostgresSink>,
    table: HotTable,
    /// Where the rows that wait are read from, and those of the view where the table is made anew.
    views: ViewDeps,
    stands: Stands,
    running: Option<JoinHandle<Result<Done>>>,
    retained_at: Instant,
    retry_at: Instant,
    outage: Outage,
    /// So much is waiting that the query takes nothing in.
    full: bool,
    /// What it lacks next could not be read.
    unreadable: bool,
}

/// Where the table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Postgres has not answered yet, or has to be asked again.
    Unknown,
    /// It lacks rows that are kept no longer: it has to be made anew.
    Short,
    /// It is written up to this checkpoint, and gets what comes.
    At(u64),
}

/// What a task beside the loop has done.
enum Done {
    /// The table is there, and says that it is written up to `at`. `lists`: those that the head named when it was asked; `older`: the runs in
    /// them that the table lacks, `None` where they cannot be read.
    Prepared {
        at: u64,
        lists: Vec<HotListRef>,
        older: Option<Vec<HotRun>>,
    },
    Written(u64),
    /// Rows that wait are damaged or gone.
    Unreadable(Error),
    Rebuilt(u64),
}

impl Hot {
    pub(super) fn new(sink: Arc<PostgresSink>, table: HotTable, views: ViewDeps) -> Self {
        let now = Instant::now();
        Hot {
            sink,
            table,
            views,
            stands: Stands::Unknown,
            running: None,
            retained_at: now,
            retry_at: now,
            outage: Outage::default(),
            full: false,
            unreadable: false,
        }
    }

    pub(super) fn private(&self) -> &Store {
        &self.views.private
    }

    /// For how long rows that the table has had are kept, microseconds.
    pub(super) fn replay(&self) -> Micros {
        Micros::from(self.sink.settings().replay_hours).saturating_mul(HOUR_MICROS)
    }
}

impl Drop for Hot {
    /// A loop that has ended leaves nobody behind who would take the table back from the version of the view that comes after it.
    fn drop(&mut self) {
        if let Some(task) = self.running.take() {
            task.abort();
        }
    }
}

/// Does something beside the loop; for as long as it lasts the status knows of it.
fn beside(status: &QueryStatus, work: impl Future<Output = Result<Done>> + Send + 'static) -> JoinHandle<Result<Done>> {
    let during = status.beside.during(Step::ApplyingToPostgres);
    tokio::spawn(async move {
        let _during = during;
        work.await
    })
}

impl QueryLoop {
    /// Takes up what a task has done, where one has ended, and starts the next. `patience`: how long to wait for one under way.
    pub(super) async fn apply_hot(&mut self, patience: Duration) -> Result<()> {
        let Some(hot) = &mut self.hot else { return Ok(()) };
        if let Some(task) = &mut hot.running {
            let Ok(ended) = tokio::time::timeout(patience, task).await else { return Ok(()) };
            hot.running = None;
            match ended.unwrap_or_else(|error| Err(Error::bug("writing the hot table panicked").caused_by(error))) {
                Ok(done) => self.hot_done(done),
                // Also where Postgres says that a newer server writes the table: whether the query is ours the store alone says.
                Err(error) => self.hot_failed(&error),
            }
        }
        let Some(hot) = &mut self.hot else { return Ok(()) };
        if hot.retry_at > Instant::now() {
            return Ok(());
        }
        let (sink, table) = (Arc::clone(&hot.sink), hot.table.clone());
        let head = self.chain.head();
        let claim = || {
            let generation = self.chain.generation().number;
            Claim { generation, lineage: head.lineage.clone(), head: head.id }
        };
        // A replay of old events must not be dropped as it comes: event time counts where it is behind.
        let now = self.driver.marks().into_iter().map(|mark| mark.at).min().unwrap_or(NONE).min(self.clock.now());
        let applied = match hot.stands {
            Stands::Unknown => {
                let (claim, private) = (claim(), hot.private().clone());
                let lists = self.outputs[VIEW].hot_lists(head);
                // Also while there are no rows: the table is made, and a server before us fenced off.
                hot.running = Some(beside(&self.status, prepare(sink, table, claim, private, lists)));
                return Ok(());
            }
            Stands::Short => {
                let output = &self.outputs[VIEW];
                let snapshot = output.view().pin();
                let dated_by = output.date_column().map(str::to_owned);
                let now = Some(now).filter(|now| *now != NONE);
                let job = Job { sink, table, claim: claim(), views: hot.views.clone(), snapshot, dated_by, now };
                hot.running = Some(tokio::spawn(async move { job.run().await.map(Done::Rebuilt) }));
                return Ok(());
            }
            Stands::At(applied) => applied,
        };
        if hot.retained_at.elapsed() >= RETAIN_EVERY {
            hot.retained_at = Instant::now();
            if now != NONE {
                let generation = self.chain.generation().number;
                tokio::spawn(retain(Arc::clone(&sink), table.clone(), generation, now));
            }
        }
        let waiting = self.outputs[VIEW].waiting().to_vec();
        if !waiting.is_empty() {
            let (claim, private) = (claim(), hot.private().clone());
            hot.running = Some(beside(&self.status, write(sink, table, claim, private, waiting, applied)));
        }
        Ok(())
    }

    /// Whether the table may lack something of what the query has committed.
    pub(super) fn hot_is_behind(&self) -> bool {
        let stands = self.hot.as_ref().map(|hot| hot.stands);
        stands.is_some_and(|stands| !matches!(stands, Stands::At(_)) || self.outputs[VIEW].has_hot())
    }

    fn hot_done(&mut self, done: Done) {
        match done {
            Done::Prepared { at, lists, older } => self.hot_prepared(at, &lists, older),
            Done::Written(at) => {
                self.dirty |= self.outputs[VIEW].note_applied(at);
                self.hot_stands_at(at, true);
            }
            Done::Unreadable(error) => {
                let again = self.hot.as_mut().is_some_and(|hot| std::mem::replace(&mut hot.unreadable, true));
                self.hot_failed(&error);
                // Once they may have been put together with others, and their bundle deleted, as they were about to be read. Twice they are
                // lost, and in the tail or in public files all the same.
                if let Some(hot) = self.hot.as_mut().filter(|_| again) {
                    hot.stands = Stands::Short;
                }
            }
            Done::Rebuilt(at) => {
                info!(query = self.status.name, checkpoint = at, "hot table made anew");
                self.outputs[VIEW].made_anew(at);
                self.dirty = true;
                self.hot_stands_at(at, true);
            }
        }
    }

    fn hot_prepared(&mut self, at: u64, lists: &[HotListRef], older: Option<Vec<HotRun>>) {
        let output = &mut self.outputs[VIEW];
        // What has moved into another list meanwhile has not been looked for.
        if output.hot_lists(self.chain.head()) != lists {
            return;
        }
        let had = output.had_hot();
        let lacking = match (output.hot_needs(at), older) {
            (Needs::RowsAfter(at), Some(older)) => {
                if at < had {
                    warn!(
                        query = self.status.name,
                        at, had, "hot table was set back; it gets the rows after that again"
                    );
                }
                output.go_on_from(at, &older);
                self.dirty |= at < had;
                // A table that can be made ready is not one that takes the rows: only that ends an outage.
                let done = !self.outputs[VIEW].has_hot();
                return self.hot_stands_at(at, done);
            }
            (Needs::RowsAfter(_), None) => "what it lacks cannot be read any more".to_owned(),
            (Needs::All { floor: 0 }, _) => "how much of the rest is kept is not known".to_owned(),
            (Needs::All { floor }, _) => format!("rows up to checkpoint {floor} are kept in public files alone"),
        };
        let until_then = match at {
            0 => "nothing has to be done: it is empty until all rows are in the new one",
            _ => "nothing has to be done: the old table is read until all rows are in the new one",
        };
        let report = Error::unavailable(format!("hot table of query {} is made anew", self.status.name))
            .detail(format!("it is written up to checkpoint {at}; {lacking}"))
            .hint(until_then)
            .report();
        if let Some(hot) = &mut self.hot {
            hot.stands = Stands::Short;
            // Each further attempt begins like this, and its failure is told.
            if hot.outage.attempts() == 0 {
                warn!(query = self.status.name, reason = report, "hot table is made anew");
            }
        }
        self.status.trouble(Part::HotTable, Some(report));
    }

    fn hot_stands_at(&mut self, at: u64, well: bool) {
        let Some(hot) = &mut self.hot else { return };
        hot.stands = Stands::At(at);
        hot.unreadable &= !well;
        self.status.postgres_checkpoint.store(at, Ordering::Relaxed);
        if well {
            self.status.trouble(Part::HotTable, None);
            if let Some(attempts) = hot.outage.over() {
                info!(query = self.status.name, failed_attempts = attempts, "hot table is written again");
            }
        }
    }

    fn hot_failed(&mut self, error: &Error) {
        let Some(hot) = &mut self.hot else { return };
        let report = error.report();
        hot.stands = Stands::Unknown;
        let told = hot.outage.failed(&report);
        let attempts = hot.outage.attempts();
        self.status.postgres_failures.fetch_add(1, Ordering::Relaxed);
        hot.retry_at = Instant::now() + retry_delay(attempts, 1.0);
        if told {
            warn!(query = self.status.name, attempts, error = report, "hot table not written, trying again");
        }
        self.status.trouble(Part::HotTable, Some(report));
    }

    /// Notes and says when so much waits that the query must stand still, and when it may go on.
    pub(super) fn watch_backlog(&mut self) {
        let Some(hot) = &mut self.hot else { return };
        let waiting = self.outputs[VIEW].new_backlog();
        let limit = hot.sink.settings().backlog_bytes.0;
        let full = waiting.is_full(limit, hot.full);
        if full == hot.full {
            return;
        }
        hot.full = full;
        if !hot.full {
            info!(query = self.status.name, "enough of the hot table is written, the query takes rows in again");
            self.status.trouble(Part::Backlog, None);
            return;
        }
        let report = Error::over_budget(format!("query {} stands still until Postgres takes its rows", self.status.name))
            .detail(format!(
                "{} rows, {} bytes, of {} checkpoints and runs of them wait; postgres.backlog_bytes is {limit} bytes, and {} may wait",
                waiting.rows,
                waiting.bytes,
                waiting.entries,
                backlog::WAITING_MAX
            ))
            .hint("nothing is lost; it goes on by itself once Postgres answers. Raise the limit to bridge longer outages")
            .report();
        warn!(query = self.status.name, error = report, "too much waits for the hot table");
        self.status.trouble(Part::Backlog, Some(report));
    }

    /// Whether so much waits for the hot table that no more rows may come in.
    pub(super) fn hot_is_full(&self) -> bool {
        self.hot.as_ref().is_some_and(|hot| hot.full)
    }

    pub(super) fn report_backlog(&self, now: Micros) {
        if let Some(hot) = &self.hot {
            let refused = hot.sink.refused_rows(&hot.table.query);
            self.status.postgres_refused_rows.store(refused, Ordering::Relaxed);
        }
        let waiting = self.outputs[VIEW].backlog();
        let behind = waiting.since.map_or(0, |since| now.saturating_sub(since));
        for (gauge, value) in [
            (&self.status.postgres_waiting_rows, waiting.rows),
            (&self.status.postgres_waiting_bytes, waiting.bytes),
            (&self.status.postgres_waiting_micros, u64::try_from(behind).unwrap_or(0)),
        ] {
            gauge.store(value, Ordering::Relaxed);
        }
    }
}

/// Has the table made ready, and looks up what it lacks of older runs.
async fn prepare(
    sink: Arc<PostgresSink>,
    table: HotTable,
    claim: Claim,
    private: Store,
    lists: Vec<HotListRef>,
) -> Result<Done> {
    let at = sink.prepare(&table, &claim).await?;
    let mut older = Some(Vec::new());
    for list in lists.iter().filter(|list| list.to > at) {
        match read_hot_runs(&private, list).await {
            Ok(runs) => older.iter_mut().for_each(|older| older.extend(runs.iter().filter(|run| run.to > at).cloned())),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                warn!(table = table.table, error = error.report(), "rows kept for the hot table are lost");
                older = None;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Done::Prepared { at, lists, older })
}

/// The next rows into the table, in one transaction. They are read before Postgres is asked anything: while it thinks, clean-up may
/// delete bundles that a newer manifest no longer names.
async fn write(
    sink: Arc<PostgresSink>,
    table: HotTable,
    claim: Claim,
    private: Store,
    waiting: Vec<Waiting>,
    applied: u64,
) -> Result<Done> {
    let next = match backlog::next_batch(&private, &waiting, applied).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Done::Unreadable(error)),
        next => next?,
    };
    let Some((to, batches)) = next else { return Ok(Done::Written(applied)) };
    drop(waiting);
    match sink.apply(&table, &claim, applied, to, &batches).await? {
        Applied::Written { .. } => Ok(Done::Written(to)),
        Applied::AlreadyApplied { at } | Applied::Ahead { at } => Ok(Done::Written(at)),
        Applied::Behind { at } => Err(Error::unavailable(format!("hot table {} has been set back", table.table))
            .detail(format!(
                "it stands at checkpoint {at} and not at {applied}; its rows are written again from there"
            ))),
    }
}

/// Drops the days of a hot table that are past its retention. Beside the loop: it waits for readers of the table.
async fn retain(sink: Arc<PostgresSink>, table: HotTable, generation: u64, now: Micros) {
    match sink.retain(&table, generation, now).await {
        Ok(retained) if retained.dropped.is_empty() => {}
        Ok(retained) => info!(table = table.table, dropped = ?retained.dropped, "past retention, dropped"),
        Err(error) => warn!(table = table.table, error = error.report(), "days past retention not dropped yet"),
    }
}
