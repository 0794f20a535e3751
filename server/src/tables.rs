//! What a reader may see: every view at one committed checkpoint, sealed files and tail, no row twice.
//!
//! This file holds what is published, and tells those that follow a view when there is more of it; `catalog` gives it names in SQL, and
//! `view`, `source`, `system` and `refused` make plans that read it. `stores` is the one object store that such a plan can reach,
//! `patient` how long it waits for it.

pub mod catalog;
mod dead_letters;
mod early;
mod patient;
mod pruning;
pub mod refused;
pub mod snapshot;
pub mod source;
pub mod stores;
pub mod system;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use parking_lot::RwLock;
use tokio::sync::watch;

use self::refused::RefusedRows;
use crate::catalog::TableDef;
use crate::changelog::early::EarlyForm;
use crate::clock::Micros;
use crate::error::Result;
use crate::sql::Functions;
use crate::state::Rows;
use crate::status::QueryStatus;
use crate::watermark::Mark;

/// Everything that has been published under a name. Written by the server as queries come, commit and go.
#[derive(Debug, Default)]
pub struct Published {
    views: RwLock<BTreeMap<String, Arc<PublishedView>>>,
    /// Counts how often a view has come, gone, or been opened anew.
    views_changed: watch::Sender<u64>,
    sources: RwLock<BTreeMap<String, Arc<TableDef>>>,
    plain_views: RwLock<BTreeMap<String, Arc<dyn TableProvider>>>,
    /// All queries, also those whose file is wrong.
    queries: RwLock<BTreeMap<String, Arc<QueryStatus>>>,
    /// Users' own functions.
    functions: RwLock<Arc<Functions>>,
    stream_plans: RwLock<Option<Arc<dyn StreamPlans>>>,
    standing: RwLock<Option<Arc<dyn Standing>>>,
    /// Rows that a sink did not take; `None` where no sink keeps such.
    refused: RwLock<Option<Arc<dyn RefusedRows>>>,
    adhoc: RwLock<Option<Weak<dyn AdHocWork>>>,
}

/// Says how continuous queries run. Implemented by the registry over the definitions as they stand.
#[async_trait]
pub trait StreamPlans: fmt::Debug + Send + Sync {
    /// The stream plan in lines, for `EXPLAIN MATERIALIZED VIEW v` or `EXPLAIN CREATE MATERIALIZED VIEW …`.
    ///
    /// # Errors
    /// `Invalid` with line and column for whatever the statement has wrong.
    async fn explain(&self, statement: &str) -> Result<Vec<String>>;
}

/// Says whether this server may still answer with what is published: where another one has taken over, that is no longer the newest.
#[async_trait]
pub trait Standing: fmt::Debug + Send + Sync {
    /// Short: what has been found out a moment ago is enough.
    ///
    /// # Errors
    /// `Fenced` where another server has taken over, `Unavailable` where that cannot be found out.
    async fn check(&self) -> Result<()>;
}

/// Says how much ad-hoc statements do. Implemented by the door.
pub trait AdHocWork: fmt::Debug + Send + Sync {
    fn figures(&self) -> AdHocFigures;
}

/// How much goes on at the door. Counts of the past begin anew with the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdHocFigures {
    /// Statements that hold a place.
    pub running: usize,
    /// Statements that wait for one.
    pub waiting: usize,
    /// Statements that were turned away, because too many waited or memory was short.
    pub refused: usize,
    /// Statements that were ended because the process' memory ran out.
    pub ended_for_memory: usize,
    /// Bytes that statements hold of `adhoc.memory_bytes`.
    pub memory_bytes: usize,
    /// Stopped statements that keep a thread.
    pub stuck_threads: usize,
    /// Sessions that are remembered.
    pub sessions: usize,
    /// Tickets and prepared statements that can still be used.
    pub handles: usize,
}

/// One materialized view, or one of the ledgers (`touchline.late`, `touchline.dead_letters`) of a query.
#[derive(Debug)]
pub struct PublishedView {
    pub name: String,
    /// Names what it computes; empty for what nobody reads on from.
    pub version: String,
    pub schema: SchemaRef,
    pub about: About,
    snapshot: watch::Sender<Arc<ViewSnapshot>>,
}

/// What is said of a view beside its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// The statement as written.
    pub text: String,
    /// As declared, or what names a row where rows replace one another; empty where rows are only ever added.
    pub primary_key: Vec<String>,
    /// Its folder below `storage.tables_url`.
    pub folder: String,
    /// Its table in Postgres, in the schema `postgres.schema`.
    pub hot_table: Option<String>,
}

/// A view at one committed checkpoint. Immutable: a statement that pinned it reads the same rows to its end.
#[derive(Debug, Default)]
pub struct ViewSnapshot {
    pub checkpoint: u64,
    /// Public Parquet files, each row in exactly one of them.
    pub sealed: Arc<[Arc<SealedFile>]>,
    /// Committed rows that are in no public file yet, oldest first. They are final.
    pub tail: Arc<[TailRows]>,
    /// Rows that may change again; `None` where there are none.
    pub early: Option<Arc<EarlySnapshot>>,
    /// How far its times have got behind all rows of `sealed` and `tail`, by the names under which a checkpoint says it.
    pub marks: BTreeMap<String, Mark>,
    /// Its input had an end, and this is all.
    pub finished: bool,
}

/// The rows that one checkpoint has added.
#[derive(Debug, Clone)]
pub struct TailRows {
    pub checkpoint: u64,
    pub rows: Rows,
}

/// Rows of a view that may change again, at one checkpoint.
#[derive(Debug)]
pub struct EarlySnapshot {
    pub form: Arc<EarlyForm>,
    /// What is final up to here is in a view's other rows.
    pub final_through: Micros,
    /// From the oldest to the newest: of several rows of one key the newest counts.
    pub rows: Arc<[Rows]>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SealedFile {
    /// Key within the object store that holds the public tables.
    pub path: String,
    pub bytes: u64,
    pub rows: u64,
    /// The checkpoints that its rows are of, where a private object beside it says which row is of which. Files of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointRange>,
    /// Of its bytes. Files of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of its columns with a time or a day the least and the greatest, where one is not NULL. Files of before have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub times: BTreeMap<String, TimeRange>,
}

/// First and last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimeRange {
    pub from: Micros,
    pub to: Micros,
}

/// Checkpoints, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckpointRange {
    pub from: u64,
    pub to: u64,
}

impl PublishedView {
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        PublishedView {
            name: name.into(),
            version: String::new(),
            schema,
            about: About::default(),
            snapshot: watch::Sender::default(),
        }
    }

    pub fn described(self, about: About) -> Self {
        PublishedView { about, ..self }
    }

    /// `version`: names what it computes, for those that read on from its rows.
    pub fn of_version(self, version: impl Into<String>) -> Self {
        PublishedView { version: version.into(), ..self }
    }

    /// The newest committed snapshot.
    pub fn pin(&self) -> Arc<ViewSnapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    pub fn publish(&self, snapshot: ViewSnapshot) {
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// The newest snapshot, and all that come after it.
    pub fn follow(&self) -> watch::Receiver<Arc<ViewSnapshot>> {
        self.snapshot.subscribe()
    }
}

impl Published {
    /// Shows a view, in the place of one of its name: what it shows has to be there already.
    pub fn put_view(&self, view: Arc<PublishedView>) {
        self.views.write().insert(view.name.clone(), view);
        self.views_changed.send_modify(|count| *count += 1);
    }

    pub fn remove_view(&self, name: &str) {
        self.views.write().remove(name);
        self.views_changed.send_modify(|count| *count += 1);
    }

    /// Tells when a view comes, goes, or is opened anew.
    pub fn views_changed(&self) -> watch::Receiver<u64> {
        self.views_changed.subscribe()
    }

    pub fn view(&self, name: &str) -> Option<Arc<PublishedView>> {
        self.views.read().get(name).cloned()
    }

    pub fn views(&self) -> Vec<Arc<PublishedView>> {
        self.views.read().values().cloned().collect()
    }

    /// The parts of one ledger, `late` or `dead_letters`: one of each query.
    pub fn ledgers(&self, ledger: &str) -> Vec<Arc<PublishedView>> {
        let mut views = self.views();
        views.retain(|view| ledger_of(&view.name) == Some(ledger));
        views
    }

    pub fn put_source(&self, table: Arc<TableDef>) {
        self.sources.write().insert(table.name.clone(), table);
    }

    pub fn remove_source(&self, name: &str) {
        self.sources.write().remove(name);
    }

    pub fn source(&self, name: &str) -> Option<Arc<TableDef>> {
        self.sources.read().get(name).cloned()
    }

    pub fn sources(&self) -> Vec<Arc<TableDef>> {
        self.sources.read().values().cloned().collect()
    }

    pub fn set_plain_views(&self, views: BTreeMap<String, Arc<dyn TableProvider>>) {
        *self.plain_views.write() = views;
    }

    pub fn plain_view(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.plain_views.read().get(name).cloned()
    }

    pub fn plain_views(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        self.plain_views.read().iter().map(|(name, view)| (name.clone(), Arc::clone(view))).collect()
    }

    pub fn put_functions(&self, functions: Arc<Functions>) {
        *self.functions.write() = functions;
    }

    pub fn functions(&self) -> Arc<Functions> {
        Arc::clone(&self.functions.read())
    }

    pub fn put_stream_plans(&self, plans: Arc<dyn StreamPlans>) {
        *self.stream_plans.write() = Some(plans);
    }

    pub fn stream_plans(&self) -> Option<Arc<dyn StreamPlans>> {
        self.stream_plans.read().clone()
    }

    pub fn put_standing(&self, standing: Arc<dyn Standing>) {
        *self.standing.write() = Some(standing);
    }

    /// `None` where nobody else could take over, as in tests.
    pub fn standing(&self) -> Option<Arc<dyn Standing>> {
        self.standing.read().clone()
    }

    pub fn put_adhoc(&self, work: Weak<dyn AdHocWork>) {
        *self.adhoc.write() = Some(work);
    }

    /// `None` where there is no door.
    pub fn adhoc(&self) -> Option<AdHocFigures> {
        self.adhoc.read().as_ref()?.upgrade().map(|work| work.figures())
    }

    pub fn put_refused(&self, rows: Arc<dyn RefusedRows>) {
        *self.refused.write() = Some(rows);
    }

    pub fn refused(&self) -> Option<Arc<dyn RefusedRows>> {
        self.refused.read().clone()
    }

    pub fn put_query(&self, status: Arc<QueryStatus>) {
        self.queries.write().insert(status.name.clone(), status);
    }

    pub fn remove_query(&self, name: &str) {
        self.queries.write().remove(name);
    }

    pub fn query(&self, name: &str) -> Option<Arc<QueryStatus>> {
        self.queries.read().get(name).cloned()
    }

    pub fn queries(&self) -> Vec<Arc<QueryStatus>> {
        self.queries.read().values().cloned().collect()
    }
}

/// `late` of `touchline.late.momentum_5m`.
fn ledger_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("touchline.")?;
    Some(rest.split_once('.').map_or(rest, |(ledger, _)| ledger))
}
