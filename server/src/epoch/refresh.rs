//! Static tables that change while a query runs: looked at now and then, and read again when they have changed, beside the epochs.
//! A table of a database shows nothing from outside: it is read again each time.
//!
//! ```text
//! look ─► wait until they are at rest ─► read what hangs together ─► look again ─► offer: the next epoch uses it
//! ```
//!
//! What fails leaves the version before in use: the query goes on, is degraded, says why, and tries again. A step that a restart runs
//! again may see a newer version: docs/decisions/0026-lookups-that-refresh.md.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::outage::Outage;
use crate::catalog::{Connector, TableDef};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Pipeline;
use crate::source::filesystem::{FilesState, awaited, path_of};
use crate::status::QueryStatus;

/// Files that look the same at two looks so far apart are not being written: a copy under way is not read half-way, nor is a folder
/// in which several files are being replaced.
const QUIET: Duration = if cfg!(test) { Duration::from_millis(2) } else { Duration::from_millis(250) };
/// Looks in search of that. Files that are written all the time are read all the same, and what is torn is not used.
const LOOKS_MAX: usize = 20;
/// Reads in search of a first version, before which no epoch can run.
const FIRST_READS_MAX: usize = 3;
/// First and longest pause before what has failed is tried again; the longest is the table's own interval where that is longer.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The tasks that look after a query's static tables, one for all tables that are read together.
#[derive(Debug)]
pub(super) struct Refresh {
    tasks: Vec<JoinHandle<()>>,
}

impl Refresh {
    /// Reads the tables for the first time, and looks at them from then on. To be called before the first epoch.
    ///
    /// # Errors
    /// Those of reading a table; `Unavailable` where it is being written, or is not there yet.
    pub(super) async fn start(pipeline: &Arc<Pipeline>, clock: &Clock, status: &Arc<QueryStatus>) -> Result<Refresh> {
        let mut refreshers = Vec::new();
        for group in 0..pipeline.static_tables().groups().len() {
            let mut refresher = Refresher::new(Arc::clone(pipeline), group, clock.clone(), Arc::clone(status));
            // Where a file is not there yet, the query is opened again by and by.
            refresher.first().await.map_err(awaited)?;
            refreshers.push(refresher);
        }
        pipeline.static_tables().take_up();
        let tasks = refreshers.into_iter().map(|refresher| tokio::spawn(refresher.run())).collect();
        Ok(Refresh { tasks })
    }

    /// # Errors
    /// `Bug` where tables are not looked at any more: lookups would go on with what they have, and nobody would know.
    pub(super) fn check(&self) -> Result<()> {
        match self.tasks.iter().any(JoinHandle::is_finished) {
            true => Err(Error::bug("reading static tables again ended by a panic")),
            false => Ok(()),
        }
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Looks after tables that are read together.
struct Refresher {
    pipeline: Arc<Pipeline>,
    /// Index among the groups of the pipeline.
    group: usize,
    tables: Vec<Watched>,
    clock: Clock,
    status: Arc<QueryStatus>,
}

struct Watched {
    table: Arc<TableDef>,
    interval: Duration,
    /// What its files looked like when the version was read that is in use. `None`: it has none, or they may have been written since, and
    /// nothing would show it.
    seen: Option<FilesState>,
    /// When it is looked at next.
    due: Instant,
    outage: Outage,
}

impl Refresher {
    fn new(pipeline: Arc<Pipeline>, group: usize, clock: Clock, status: Arc<QueryStatus>) -> Self {
        let now = Instant::now();
        let tables = pipeline.static_tables().groups()[group].tables.iter().map(|table| {
            let interval = table.refresh_interval.unwrap_or(BACK_OFF.1);
            Watched { table: Arc::clone(table), interval, seen: None, due: now + interval, outage: Outage::default() }
        });
        Refresher { tables: tables.collect(), pipeline, group, clock, status }
    }

    /// The first version. It is offered, as every other.
    async fn first(&mut self) -> Result<()> {
        for _ in 0..FIRST_READS_MAX {
            if self.read(true).await? {
                return Ok(());
            }
        }
        Err(self.written_meanwhile())
    }

    async fn run(mut self) {
        while let Some(due) = self.tables.iter().map(|watched| watched.due).min() {
            sleep_until(due).await;
            self.round(Instant::now()).await;
        }
    }

    /// Looks at the tables that are due at `now`, and reads where one has changed.
    async fn round(&mut self, now: Instant) {
        let (mut changed, mut missing) = (Vec::new(), false);
        for at in 0..self.tables.len() {
            if self.tables[at].due > now {
                continue;
            }
            match at_rest(&self.tables[at]).await {
                Ok(Some(state)) if self.tables[at].seen.as_ref() == Some(&state) => self.is_current(at),
                Ok(_) => changed.push(at),
                Err(error) => {
                    missing = true;
                    self.failed(at, &error);
                }
            }
        }
        // Without one of them nothing can be read.
        if changed.is_empty() || missing {
            return;
        }
        let error = match self.read(false).await {
            Ok(true) => return,
            Ok(false) => self.written_meanwhile(),
            Err(error) => error,
        };
        changed.into_iter().for_each(|at| self.failed(at, &error));
    }

    /// Reads the whole group and offers it. False where its files were written meanwhile: what has been read may be no version at all.
    async fn read(&mut self, first: bool) -> Result<bool> {
        let before = self.looks().await?;
        let now = self.clock.now();
        let pipeline = Arc::clone(&self.pipeline);
        let group = &pipeline.static_tables().groups()[self.group];
        let version = pipeline.read_static(group, first).await?;
        if self.looks().await? != before {
            return Ok(false);
        }
        // Before anybody can see that it has been read.
        group.offer(version);
        for (at, state) in before.into_iter().enumerate() {
            let watched = &mut self.tables[at];
            watched.seen = state.filter(|state| !state.may_hide_a_write(now));
            self.status.note_lookup(&watched.table.name, |lookup| lookup.reads += 1);
            debug!(query = self.status.name, table = watched.table.name, "static table read");
            self.is_current(at);
        }
        Ok(true)
    }

    async fn looks(&self) -> Result<Vec<Option<FilesState>>> {
        let mut states = Vec::with_capacity(self.tables.len());
        for watched in &self.tables {
            states.push(look(&watched.table).await?);
        }
        Ok(states)
    }

    /// What is in use, or about to be, is what the table holds.
    fn is_current(&mut self, at: usize) {
        let (query, now) = (&self.status.name, self.clock.now());
        let watched = &mut self.tables[at];
        watched.due = Instant::now() + watched.interval;
        let name = &watched.table.name;
        self.status.note_lookup(name, |lookup| {
            lookup.current_at = Some(now);
            lookup.trouble = None;
        });
        if let Some(attempts) = watched.outage.over() {
            info!(query, table = name, attempts, "static table can be read again");
        }
    }

    fn failed(&mut self, at: usize, error: &Error) {
        let query = &self.status.name;
        let watched = &mut self.tables[at];
        let is_news = watched.outage.failed(error.primary());
        watched.due = Instant::now() + pause(watched.outage.attempts(), watched.interval);
        let name = &watched.table.name;
        let report = what_to_do(error.duplicate()).report();
        if is_news {
            warn!(query, table = name, error = report, "static table not read again, the version before stays in use");
        }
        self.status.note_lookup(name, |lookup| {
            lookup.failures += 1;
            lookup.trouble = Some(format!(
                "table \"{name}\" cannot be read again: lookups go on with the version before, and it is tried again\n{report}"
            ));
        });
    }

    fn written_meanwhile(&self) -> Error {
        let names: Vec<&str> = self.tables.iter().map(|watched| watched.table.name.as_str()).collect();
        let mut error = Error::unavailable("the files were written while they were read");
        if let [_, _, ..] = names.as_slice() {
            error = error.detail(format!("tables {} are read together", names.join(", ")));
        }
        error.hint(
            "write a new file beside the old one, under a name that begins with \"_\", and rename it into its place",
        )
    }
}

/// What to do about a failure that does not say it.
fn what_to_do(error: Error) -> Error {
    match error.kind() {
        _ if error.hint_text().is_some() => error,
        ErrorKind::OverBudget => error.hint(
            "old and new version must have room side by side in three quarters of engine.state_bytes_max: raise it, or make the table smaller; \
             a restart needs room for one version only",
        ),
        ErrorKind::Invalid => error.hint("correct what the table holds; nothing else needs to be done"),
        _ => error,
    }
}

/// Before the attempt that comes after so many failed ones.
fn pause(failed: u32, interval: Duration) -> Duration {
    let doubled = BACK_OFF.0.saturating_mul(1 << failed.saturating_sub(1).min(20));
    doubled.min(BACK_OFF.1.max(interval))
}

/// What the files look like, and two looks in succession agree on it, as far as that can be had. Where they are those of the version in
/// use one look is enough.
async fn at_rest(watched: &Watched) -> Result<Option<FilesState>> {
    let mut last = look(&watched.table).await;
    if matches!(&last, Ok(state) if state.is_none() || *state == watched.seen) {
        return last;
    }
    for _ in 1..LOOKS_MAX {
        sleep(QUIET).await;
        let again = look(&watched.table).await;
        let agree = match (&last, &again) {
            (Ok(last), Ok(again)) => last == again,
            // A file that is away for a moment is being replaced.
            (Err(_), Err(_)) => true,
            _ => false,
        };
        last = again;
        if agree {
            break;
        }
    }
    last
}

/// `None` where nothing can be seen without reading.
async fn look(table: &TableDef) -> Result<Option<FilesState>> {
    if let Connector::Postgres(_) = table.connector {
        return Ok(None);
    }
    let path = path_of(table)?.to_owned();
    let looked = spawn_blocking(move || FilesState::of(&path)).await;
    looked.map_err(|error| Error::bug("looking at files panicked").caused_by(error))?.map(Some)
}

#[cfg(test)]
mod tests;
