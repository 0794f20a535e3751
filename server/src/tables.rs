//! What a reader may see: every view at one committed checkpoint, sealed files and tail, no row twice.
//!
//! This file holds what is published; `catalog` gives it names in SQL, and `view`, `source` and `system` make plans that
//! read it. `stores` is the one object store that such a plan can reach.

pub mod catalog;
pub mod snapshot;
pub mod source;
pub mod stores;
pub mod system;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use parking_lot::RwLock;

use crate::catalog::TableDef;
use crate::error::Result;
use crate::sql::Functions;
use crate::state::Rows;
use crate::status::QueryStatus;

/// Everything that has been published under a name. Written by the server as queries come, commit and go.
#[derive(Debug, Default)]
pub struct Published {
    views: RwLock<BTreeMap<String, Arc<PublishedView>>>,
    sources: RwLock<BTreeMap<String, Arc<TableDef>>>,
    plain_views: RwLock<BTreeMap<String, Arc<dyn TableProvider>>>,
    /// All queries, also those whose file is wrong.
    queries: RwLock<BTreeMap<String, Arc<QueryStatus>>>,
    /// Users' own functions.
    functions: RwLock<Arc<Functions>>,
    stream_plans: RwLock<Option<Arc<dyn StreamPlans>>>,
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

/// One materialized view, or one of the ledgers (`touchline.late`, `touchline.dead_letters`) of a query.
#[derive(Debug)]
pub struct PublishedView {
    pub name: String,
    pub schema: SchemaRef,
    snapshot: RwLock<Arc<ViewSnapshot>>,
}

/// A view at one committed checkpoint. Immutable: a statement that pinned it reads the same rows to its end.
#[derive(Debug, Default)]
pub struct ViewSnapshot {
    pub checkpoint: u64,
    /// Public Parquet files, each row in exactly one of them.
    pub sealed: Arc<[SealedFile]>,
    /// Committed rows that are in no public file yet.
    pub tail: Arc<[Rows]>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SealedFile {
    /// Key within the object store that holds the public tables.
    pub path: String,
    pub bytes: u64,
    pub rows: u64,
}

impl PublishedView {
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        PublishedView { name: name.into(), schema, snapshot: RwLock::default() }
    }

    /// The newest committed snapshot.
    pub fn pin(&self) -> Arc<ViewSnapshot> {
        Arc::clone(&self.snapshot.read())
    }

    pub fn publish(&self, snapshot: ViewSnapshot) {
        *self.snapshot.write() = Arc::new(snapshot);
    }
}

impl Published {
    pub fn put_view(&self, view: Arc<PublishedView>) {
        self.views.write().insert(view.name.clone(), view);
    }

    pub fn remove_view(&self, name: &str) {
        self.views.write().remove(name);
    }

    pub fn view(&self, name: &str) -> Option<Arc<PublishedView>> {
        self.views.read().get(name).cloned()
    }

    pub fn views(&self) -> Vec<Arc<PublishedView>> {
        self.views.read().values().cloned().collect()
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
