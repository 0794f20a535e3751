//! Which queries run: keeps the running ones in step with the definition files.
//!
//! A file that appears, changes or goes is followed without a restart. A broken file is reported, and its last good
//! version keeps running; all others are not disturbed.

mod explain;
mod files;
mod fingerprint;
mod held;
mod preview;
mod supervisor;
mod upstreams;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch as signal;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

pub use files::{Catalog, Files, Loaded, TEST_ENDING, catalog_of, read_text, resolve_path, sql_files};
use held::Judged;
pub use preview::{Outcome, Preview, previews};
use supervisor::Running;
pub(crate) use upstreams::upstreams as views_read;
pub use watch::Changes;

use crate::catalog::{Connector, OnChange, ParquetRows, TableDef, ViewDef};
use crate::changelog::published::ChangeForm;
use crate::checkpoint::{Question, question_of};
use crate::epoch::{QueryDeps, QueryPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::panics;
use crate::pipeline::{PlanSettings, Planned, StreamSlot, plain_views_of, plan};
use crate::sink::parquet::check_sealable;
use crate::status::{Held, Part, QueryState, QueryStatus};
use crate::tables::snapshot::Snapshots;
use crate::tables::source::SnapshotReader;

/// How long a look at the files waits for queries that stop, all of them together. The successor of one that takes longer waits for it
/// by itself.
const RELOAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a look at the files waits for the store to say what one query was before.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);

/// How long the end of the server waits for last checkpoints, all of them together.
const STOP_WITHIN: Duration = Duration::from_secs(6);

/// The running queries and the files they come from.
#[derive(Debug)]
pub struct Registry {
    files: Files,
    directories: Vec<PathBuf>,
    deps: QueryDeps,
    snapshots: Arc<dyn SnapshotReader>,
    plan_settings: PlanSettings,
    running: BTreeMap<String, Running>,
    /// Views that have come to mean something else, and run on as they were, or wait for an answer.
    held: BTreeMap<String, Question>,
    /// Views that are shown though nothing of them has run: the store, or somebody, has to answer first.
    waiting: BTreeSet<String>,
    /// Where a view does not say it.
    on_change: OnChange,
    /// The store has not answered what some view was before.
    look_again: bool,
    /// Told to stop, and not known to have ended.
    leaving: BTreeMap<String, Running>,
    /// After so long a query whose loop gets nowhere is stalled.
    stall_after: Duration,
    /// Set when this process has to stop.
    fatal: signal::Sender<Option<Arc<Error>>>,
}

impl Registry {
    pub fn new(
        directories: Vec<PathBuf>,
        deps: QueryDeps,
        plan_settings: PlanSettings,
        stall_after: Duration,
        fatal: signal::Sender<Option<Arc<Error>>>,
    ) -> Self {
        // A query that lacks the files of a table is tried again.
        let snapshots = Arc::new(Snapshots::new(deps.sources.clone()).awaiting_files());
        Registry {
            files: Files::default(),
            directories,
            deps,
            snapshots,
            plan_settings,
            running: BTreeMap::new(),
            held: BTreeMap::new(),
            waiting: BTreeSet::new(),
            on_change: OnChange::NewVersion,
            look_again: false,
            leaving: BTreeMap::new(),
            stall_after,
            fatal,
        }
    }

    /// What is done where a view comes to mean something else and does not say itself what then.
    #[must_use]
    pub fn on_change(self, on_change: OnChange) -> Self {
        Registry { on_change, ..self }
    }

    /// Whether to look at the files again although they are the same: an operator has answered, or answered otherwise, or the store had not.
    ///
    /// # Errors
    /// `Unavailable`, where no other view has news.
    pub async fn has_news(&self) -> Result<bool> {
        if self.look_again {
            return Ok(true);
        }
        let mut trouble = None;
        for (view, known) in &self.held {
            match question_of(&self.deps.private, view).await {
                Ok(Some(question)) if question != *known => return Ok(true),
                Ok(_) => {}
                // It is asked anew, and what the others were answered counts meanwhile.
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(true),
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(false), Err)
    }

    /// Reads the files again and starts, replaces and stops queries accordingly: those that change stop side by side.
    ///
    /// May be cancelled while it waits: what was told to stop is waited for by [`Registry::stop_all`].
    ///
    /// # Errors
    /// `Invalid` where a directory cannot be read; nothing is changed then.
    pub async fn apply(&mut self) -> Result<()> {
        let Loaded { catalog, errors, touched } = self.files.load(&self.directories, &self.snapshots)?;
        let mut rejected: BTreeMap<String, Error> = BTreeMap::new();
        for error in errors {
            error!("{}", error.report());
            if let Some(location) = error.location() {
                rejected.entry(location.file.clone()).or_insert(error);
            }
        }
        let catalog = Arc::new(catalog.shown_in(&self.deps.published));
        self.publish_sources(&catalog);
        let shown: BTreeSet<String> = self.running.keys().chain(&self.waiting).cloned().collect();
        let gone: Vec<String> = shown.into_iter().filter(|name| !catalog.views.contains_key(name)).collect();
        let plans = explain::Definitions { catalog: Arc::clone(&catalog), settings: self.plan_settings };
        self.deps.published.put_stream_plans(Arc::new(plans));
        let mut changed = Vec::new();
        self.look_again = false;
        // Those that others read before these: of each the queries above have to know what it is now.
        for view in upstreams::in_order(&catalog) {
            let name = &view.name;
            let planning = planned(Arc::clone(&view), Arc::clone(&catalog), self.plan_settings);
            let judged = async { self.judged(planning.await?, &catalog).await };
            match panics::caught(&format!("planning view \"{name}\""), judged).await {
                Ok(Judged::Runs { plan, catalog: planned_in, held }) => {
                    catalog.streams.note(&plan);
                    self.note_held(name, held.as_ref());
                    let settings = settings(&plan);
                    let touched = || definitions(&plan).any(|file| touched.contains(file));
                    match self.running.get(name) {
                        Some(running)
                            if running.version == plan.version.name
                                && running.settings == settings
                                && !(running.failed() && touched()) =>
                        {
                            running.mend_file_report();
                            running.hold(held.as_ref().map(held::told));
                        }
                        _ => changed.push((*plan, settings, planned_in, held)),
                    }
                }
                Ok(Judged::Waits { question, reason }) => {
                    catalog.streams.refuse(name, Error::invalid(format!("view \"{name}\" waits for an answer")));
                    self.note_held(name, Some(&question));
                    self.wait_for_answer(&view, &question, &reason);
                }
                Ok(Judged::Unknown(error)) => {
                    catalog.streams.refuse(name, error.duplicate());
                    self.look_again = true;
                    self.wait_for_store(&view, &error);
                }
                Err(error) => {
                    error!("{}", error.report());
                    self.reject(name, &view.location.file, &error);
                }
            }
            // Planning is work without a pause, and the end of the server waits for none of it.
            yield_now().await;
        }
        // Only now it is known which versions of the views run that they read.
        self.publish_plain_views(&catalog).await;
        self.held.retain(|name, _| catalog.views.contains_key(name));
        self.waiting.retain(|name| catalog.views.contains_key(name));
        gone.iter().for_each(|name| self.ask_to_stop(name));
        changed.iter().for_each(|(plan, ..)| self.ask_to_stop(&plan.view.name));
        self.wait_for_leaving(Instant::now() + RELOAD_WITHIN).await;
        for name in gone {
            forget(&self.deps, &name);
            info!(query = name, "query stopped, its definition is gone");
        }
        for (plan, settings, planned_in, held) in changed {
            self.start(plan, settings, planned_in, held.as_ref());
        }
        self.report_rejected_files(&catalog, rejected);
        Ok(())
    }

    /// Which version of a view runs.
    async fn judged(&self, plan: QueryPlan, catalog: &Arc<Catalog>) -> Result<Judged> {
        let name = &plan.view.name;
        let runs = self.running.get(name).is_some_and(|running| running.version == plan.version.name);
        if runs && !self.held.contains_key(name) {
            return Ok(Judged::Runs { plan: Box::new(plan), catalog: Arc::clone(catalog), held: None });
        }
        let on_change = plan.view.options.on_change.unwrap_or(self.on_change);
        if on_change == OnChange::NewVersion && !self.running.contains_key(name) {
            // Where nothing is asked a start waits for no store.
            return Ok(Judged::Runs { plan: Box::new(plan), catalog: Arc::clone(catalog), held: None });
        }
        let private = &self.deps.private;
        let judging = held::judge(plan, catalog, on_change, private, &self.snapshots, self.plan_settings);
        // One view has waited for the store in vain: the others do not wait for as long, one after the other.
        let within = if self.look_again { JUDGED_WITHIN / 10 } else { JUDGED_WITHIN };
        match timeout_at(Instant::now() + within, judging).await {
            Ok(Err(error)) if error.kind() == ErrorKind::Unavailable => Ok(Judged::Unknown(error)),
            Ok(judged) => judged,
            Err(_) => Ok(Judged::Unknown(
                Error::unavailable("the store with the checkpoints does not say what the query was before")
                    .detail(format!("no answer within {} s", within.as_secs())),
            )),
        }
    }

    /// What runs of a view goes on, and nothing is started, until the store says what has run before.
    fn wait_for_store(&mut self, view: &ViewDef, error: &Error) {
        warn!(query = view.name, error = error.report(), "it is not known what the query was before, looking again");
        if !self.running.contains_key(&view.name) {
            let status = QueryStatus::new(&view.name, &view.location.file);
            status.set_with(QueryState::Degraded, Some(Part::Store.name().to_owned()), Some(error.report()));
            self.deps.published.put_query(Arc::new(status));
            self.waiting.insert(view.name.clone());
        }
    }

    fn note_held(&mut self, name: &str, held: Option<&Question>) {
        match held {
            Some(question) => {
                if self.held.insert(name.to_owned(), question.clone()).as_ref() != Some(question) {
                    held::log(name, question);
                }
            }
            None => _ = self.held.remove(name),
        }
    }

    /// Nothing of the view is started. What runs of it goes on.
    fn wait_for_answer(&mut self, view: &ViewDef, question: &Question, reason: &str) {
        if let Some(running) = self.running.get(&view.name) {
            running.hold(Some(held::told(question)));
            return;
        }
        let status = QueryStatus::new(&view.name, &view.location.file);
        let (Held::Asked(text) | Held::Kept(text)) = held::told(question);
        let arguments = Some(Held::ARGUMENTS.to_owned());
        status.set_with(QueryState::Blocked, arguments, Some(format!("{text}\n{reason}")));
        self.deps.published.put_query(Arc::new(status));
        self.waiting.insert(view.name.clone());
    }

    /// Stops every query with a last checkpoint, side by side. One that cannot make it in time, as where the store hangs, is ended without:
    /// that loses nothing.
    pub async fn stop_all(&mut self) {
        self.stop_all_until(Instant::now() + STOP_WITHIN).await;
    }

    async fn stop_all_until(&mut self, until: Instant) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        names.iter().for_each(|name| self.ask_to_stop(name));
        self.wait_for_leaving(until).await;
        std::mem::take(&mut self.leaving).values().for_each(Running::abort);
    }

    fn ask_to_stop(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.ask_to_stop();
            self.leaving.insert(name.to_owned(), running);
        }
    }

    async fn wait_for_leaving(&mut self, until: Instant) {
        for (name, running) in &mut self.leaving {
            if timeout_at(until, running.ended()).await.is_err() {
                warn!(query = name, "query has not stopped in time");
            }
        }
        self.leaving.retain(|_, running| !running.has_ended());
    }

    fn start(&mut self, plan: QueryPlan, settings: String, catalog: Arc<Catalog>, held: Option<&Question>) {
        let name = plan.view.name.clone();
        let status = QueryStatus::new(&name, &plan.view.location.file).stalling_after(self.stall_after);
        status.hold(held.map(held::told));
        let status = Arc::new(status);
        self.deps.published.put_query(Arc::clone(&status));
        let (deps, fatal, before) = (self.deps.clone(), self.fatal.clone(), self.leaving.remove(&name));
        let short = plan.version.short().to_owned();
        let running = Running::start(plan, settings, catalog, deps, self.plan_settings, status, fatal, before);
        info!(query = name, fingerprint = short, "query started");
        self.running.insert(name, running);
    }

    /// A definition is wrong: its last good version goes on, or it is listed as rejected.
    fn reject(&self, name: &str, file: &str, error: &Error) {
        match self.running.get(name) {
            Some(running) => running.report_file(error),
            None => {
                let status = QueryStatus::new(name, file);
                status.set(QueryState::Rejected, Some(error.report()));
                self.deps.published.put_query(Arc::new(status));
            }
        }
    }

    /// Files that cannot even be parsed are listed under their own name, unless a query from them still runs.
    fn report_rejected_files(&self, catalog: &Catalog, rejected: BTreeMap<String, Error>) {
        let stale: Vec<String> = self
            .deps
            .published
            .queries()
            .into_iter()
            .filter(|status| status.get().0 == QueryState::Rejected && !catalog.views.contains_key(&status.name))
            .filter(|status| !catalog.defined.plain_views.contains_key(&status.name))
            .map(|status| status.name.clone())
            .collect();
        stale.iter().for_each(|name| self.deps.published.remove_query(name));
        for (file, error) in rejected {
            let of_file: Vec<&String> =
                catalog.views.iter().filter(|(_, view)| view.location.file == file).map(|(name, _)| name).collect();
            if of_file.is_empty() {
                self.reject(&file, &file, &error);
            }
            of_file.into_iter().for_each(|name| self.reject(name, &file, &error));
        }
    }

    /// Makes plain views readable by ad-hoc queries; one that is wrong is listed among the queries, as rejected.
    async fn publish_plain_views(&self, catalog: &Arc<Catalog>) {
        let mut tables = BTreeMap::new();
        for (name, view) in &catalog.defined.plain_views {
            match upstreams::readable(view, catalog, self.plan_settings).await {
                Ok(table) => {
                    tables.insert(name.clone(), table);
                }
                Err(error) => {
                    error!("{}", error.report());
                    self.reject(name, &view.location.file, &error);
                }
            }
        }
        // Those that were wrong and are right now are queries no more.
        tables.keys().for_each(|name| self.deps.published.remove_query(name));
        self.deps.published.set_plain_views(tables);
    }

    fn publish_sources(&self, catalog: &Catalog) {
        let published = &self.deps.published;
        for old in published.sources() {
            if !catalog.defined.tables.contains_key(&old.name) {
                published.remove_source(&old.name);
            }
        }
        catalog.defined.tables.values().for_each(|table| published.put_source(Arc::clone(table)));
        published.put_functions(Arc::clone(&catalog.functions));
    }
}

/// Of a query whose definition is gone nothing is shown any more.
fn forget(deps: &QueryDeps, name: &str) {
    let published = &deps.published;
    deps.heartbeat.forget(name);
    published.remove_query(name);
    published.remove_view(name);
    for ledger in [crate::checkpoint::LATE_LEDGER, crate::checkpoint::DEAD_LETTER_LEDGER] {
        published.remove_view(&format!("{ledger}.{name}"));
    }
}

/// What a server refuses of a catalog: all mistakes, with their places. It judges by the same two functions, view by view.
pub async fn refusals(catalog: &Arc<Catalog>, settings: PlanSettings) -> Vec<Error> {
    let mut errors = Vec::new();
    for view in catalog.defined.plain_views.values() {
        errors.extend(upstreams::readable(view, catalog, settings).await.err());
    }
    for view in upstreams::in_order(catalog) {
        match planned(view, Arc::clone(catalog), settings).await {
            Ok(plan) => catalog.streams.note(&plan),
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Plans a view for a server.
///
/// # Errors
/// `Invalid` with file, line and column where the query is wrong, cannot go on for ever, or has rows that cannot be stored.
pub fn planned(
    view: Arc<ViewDef>,
    catalog: Arc<Catalog>,
    settings: PlanSettings,
) -> BoxFuture<'static, Result<QueryPlan>> {
    async move {
        let upstreams = upstreams::streams(&view, &catalog, settings).await?;
        let tables = upstreams::Streaming { catalog: &catalog, upstreams };
        match plan(&view, &tables, settings).await? {
            Planned::Stream(pipeline) => {
                check_sealable(&view.name, &pipeline.schema, pipeline.changes())
                    .map_err(|error| error.at(view.location.clone()))?;
                if let Some(form) = pipeline.early().filter(|_| view.options.parquet_rows == ParquetRows::Changes) {
                    ChangeForm::try_new(form).map_err(|error| error.at(view.emission_location()))?;
                }
                let plain_views = plain_views_of(&view.query, catalog.as_ref())?;
                let read = std::iter::once(&view.query).chain(plain_views.iter().map(|view| &view.query));
                let functions: BTreeSet<&str> = read.flat_map(|query| catalog.functions.used_by(query)).collect();
                let (version, meaning) = fingerprint::version_of(&view, &plain_views, &functions, &pipeline);
                let files = held::files_of(&view, &plain_views, &catalog);
                Ok(QueryPlan { view, pipeline: *pipeline, version, meaning, files })
            }
            Planned::Batch(..) => Err(reads_no_stream(&view)),
        }
    }
    .boxed()
}

/// The mistake of a continuous query over static tables alone.
fn reads_no_stream(view: &ViewDef) -> Error {
    Error::invalid("the view reads no stream, so it would never change")
        .hint("read at least one table with a Kafka connector, or another view; or ask the static tables by Flight SQL")
        .at(view.location.clone())
}

/// The files that define a query, the streams it reads and the static tables that it reads again.
fn definitions(plan: &QueryPlan) -> impl Iterator<Item = &String> {
    let tables = plan.pipeline.slots.iter().map(|slot| &slot.table.location.file);
    let refreshed = refreshed(plan).map(|table| &table.location.file);
    std::iter::once(&plan.view.location.file).chain(tables).chain(refreshed)
}

/// The static tables that are read again while the query runs.
fn refreshed(plan: &QueryPlan) -> impl Iterator<Item = &Arc<TableDef>> {
    plan.pipeline.static_tables().groups().iter().flat_map(|group| &group.tables)
}

/// What of a stream is no part of what a query means, and is only taken up by a reader that is opened anew: where the brokers are, how
/// long a partition may be silent, how far ahead a time is believed.
fn runs_by(slot: &StreamSlot) -> (Option<&String>, Option<Duration>, Option<Duration>) {
    let brokers = match &slot.table.connector {
        Connector::Kafka(topic) => topic.brokers.as_ref(),
        Connector::Filesystem(_) | Connector::Postgres(_) | Connector::View(_) => None,
    };
    (brokers, slot.table.watermark.as_ref().and_then(|watermark| watermark.idle_timeout), slot.max_future())
}

/// What a query is to be started again for, to go on from its last checkpoint: how it runs, not what it computes.
fn settings(plan: &QueryPlan) -> String {
    let tables = plan.pipeline.slots.iter().map(|slot| (&slot.table.name, slot.table.on_bad_row, runs_by(slot)));
    let refreshed = refreshed(plan).map(|table| (&table.text, table.refresh_interval));
    format!("{:?} {:?} {:?}", plan.view.options, tables.collect::<Vec<_>>(), refreshed.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
