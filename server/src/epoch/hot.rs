//! The hot table of one query: brought up to the head in the background, and what happens while Postgres does not take it.
//!
//! A Postgres that is slow or away costs freshness of the hot table and nothing else, until `postgres.backlog_bytes` wait for it.
//! Then the query takes nothing more in: docs/decisions/0010-hot-table-backlog.md.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backlog::{self, Waiting};
use super::outage::Outage;
use super::{QueryLoop, VIEW};
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::postgres::{Applied, HotTable, PostgresSink, refuse_older_store, retry_delay};
use crate::status::{Part, Step};
use crate::store::Store;
use crate::watermark::NONE;

/// How often days past retention are looked for.
const RETAIN_EVERY: Duration = Duration::from_secs(600);

/// The query's table in Postgres.
pub(super) struct Hot {
    sink: Arc<PostgresSink>,
    table: HotTable,
    /// Where the rows that wait are read from.
    private: Store,
    /// The checkpoint up to which it is written; `None` until Postgres has answered.
    applied: Option<u64>,
    running: Option<JoinHandle<Result<Done>>>,
    retained_at: Instant,
    retry_at: Instant,
    outage: Outage,
    /// So much is waiting that the query takes nothing in.
    full: bool,
}

/// What a task beside the loop has done.
enum Done {
    /// The table is there, and written up to this checkpoint.
    Prepared(u64),
    Written(u64),
}

impl Hot {
    pub(super) fn new(sink: Arc<PostgresSink>, table: HotTable, private: Store) -> Self {
        let now = Instant::now();
        Hot {
            sink,
            table,
            private,
            applied: None,
            running: None,
            retained_at: now,
            retry_at: now,
            outage: Outage::default(),
            full: false,
        }
    }

    pub(super) fn private(&self) -> &Store {
        &self.private
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

impl QueryLoop {
    /// Takes up what a task has done, where one has ended, and starts the next. `patience`: how long to wait for one under way.
    pub(super) async fn apply_hot(&mut self, patience: Duration) -> Result<()> {
        let Some(hot) = &mut self.hot else { return Ok(()) };
        if let Some(task) = &mut hot.running {
            let Ok(ended) = tokio::time::timeout(patience, task).await else { return Ok(()) };
            hot.running = None;
            match ended.unwrap_or_else(|error| Err(Error::bug("writing the hot table panicked").caused_by(error))) {
                Ok(done) => self.hot_written(done),
                Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
                Err(error) => self.hot_failed(&error),
            }
        }
        let Some(hot) = &mut self.hot else { return Ok(()) };
        if hot.retry_at > Instant::now() {
            return Ok(());
        }
        let (sink, table, generation) = (Arc::clone(&hot.sink), hot.table.clone(), self.chain.generation().number);
        let head = self.chain.head().id;
        let Some(applied) = hot.applied else {
            // Also while there are no rows: the table is made, and a server before us fenced off.
            let during = self.status.beside.during(Step::ApplyingToPostgres);
            hot.running = Some(tokio::spawn(async move {
                let _during = during;
                let applied = sink.prepare(&table, generation).await?;
                refuse_older_store(&table, applied, head)?;
                Ok(Done::Prepared(applied))
            }));
            return Ok(());
        };
        if hot.retained_at.elapsed() >= RETAIN_EVERY {
            hot.retained_at = Instant::now();
            // A replay of old events must not be dropped as it comes: event time counts where it is behind.
            let now = self.driver.marks().into_iter().map(|mark| mark.at).min().unwrap_or(NONE).min(self.clock.now());
            if now != NONE {
                tokio::spawn(retain(Arc::clone(&sink), table.clone(), generation, now));
            }
        }
        let waiting = self.outputs[VIEW].waiting().to_vec();
        if !waiting.is_empty() {
            let private = hot.private.clone();
            let during = self.status.beside.during(Step::ApplyingToPostgres);
            let write = write(sink, table, generation, private, waiting, applied);
            hot.running = Some(tokio::spawn(async move {
                let _during = during;
                write.await
            }));
        }
        Ok(())
    }

    fn hot_written(&mut self, done: Done) {
        let Some(hot) = &mut self.hot else { return };
        let (Done::Prepared(applied) | Done::Written(applied)) = done;
        hot.applied = Some(applied);
        let had = self.outputs[VIEW].forgotten_hot();
        if applied < had {
            warn!(
                query = self.status.name,
                applied, had, "hot table was set back; rows of the checkpoints between are in Parquet alone"
            );
        }
        self.status.postgres_checkpoint.store(applied, Ordering::Relaxed);
        self.dirty |= self.outputs[VIEW].forget_hot(applied);
        // A table that can be made ready is not one that takes the rows: only that ends an outage.
        if matches!(done, Done::Written(_)) || !self.outputs[VIEW].has_hot() {
            self.status.trouble(Part::HotTable, None);
            if let Some(attempts) = hot.outage.over() {
                info!(query = self.status.name, failed_attempts = attempts, "hot table is written again");
            }
        }
    }

    fn hot_failed(&mut self, error: &Error) {
        let Some(hot) = &mut self.hot else { return };
        let report = error.report();
        hot.applied = None;
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
        let waiting = self.outputs[VIEW].backlog();
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

/// The next rows into the table, in one transaction. They are read before Postgres is asked anything: while it thinks, clean-up may
/// delete bundles that a newer manifest no longer names.
async fn write(
    sink: Arc<PostgresSink>,
    table: HotTable,
    generation: u64,
    private: Store,
    waiting: Vec<Waiting>,
    applied: u64,
) -> Result<Done> {
    let Some((to, batches)) = backlog::next_batch(&private, &waiting, applied).await? else {
        return Ok(Done::Written(applied));
    };
    drop(waiting);
    match sink.apply(&table, generation, applied, to, &batches).await? {
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
