//! The names that SQL knows: catalog `touchline` with schema `public` for views and source tables, and schema
//! `touchline` for system tables and ledgers.
//!
//! Only what is published can be named. Nothing can be registered from SQL.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::Result;

use super::dead_letters;
use super::refused::{RefusedTable, refused_schema};
use super::source::{SnapshotReader, SourceTable};
use super::system::{SystemTable, SystemTableKind};
use super::view::{NamedView, ViewTable};
use super::{Published, PublishedView, ledger_of};
use crate::error::Error;
use crate::sql::Functions;
use crate::sql::window_tvf::WatermarkColumns;
use crate::status::QueryStatus;

pub const CATALOG: &str = "touchline";
/// The default schema.
pub const PUBLIC_SCHEMA: &str = "public";
pub const SYSTEM_SCHEMA: &str = "touchline";

/// Ledgers are published per query, as `touchline.<ledger>.<query>`, and read as one table over all queries.
const LEDGERS: [&str; 2] = ["late", DEAD_LETTERS];
const DEAD_LETTERS: &str = "dead_letters";
/// The same ledger, with records of any length.
const DEAD_LETTERS_WHOLE: &str = "dead_letters_whole";

/// The ledger that a sink keeps.
const REFUSED: &str = "refused";

/// See the module's first lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    published: Arc<Published>,
    reader: Arc<dyn SnapshotReader>,
}

impl WatermarkColumns for Catalog {
    fn watermark_column(&self, table: &TableReference) -> Option<String> {
        let source = self.published.source(table.table())?;
        source.watermark.as_ref().map(|watermark| watermark.column.clone())
    }

    fn primary_key(&self, table: &TableReference) -> Vec<String> {
        self.published.source(table.table()).map(|source| source.primary_key.clone()).unwrap_or_default()
    }
}

/// One table as metadata requests list it.
#[derive(Debug, Clone)]
pub struct ListedTable {
    pub schema: &'static str,
    pub name: String,
    pub kind: TableKind,
    pub columns: SchemaRef,
    /// `COMMENT`s, beside `columns`.
    pub comments: Vec<Option<String>>,
    /// As declared; empty where none is.
    pub primary_key: Vec<String>,
}

/// What stands behind a table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A source of rows that goes on: a topic, or a folder to which files come.
    Topic,
    /// A static table.
    Table,
    MaterializedView,
    /// A query under a name.
    View,
    System,
}

impl Catalog {
    pub fn new(published: Arc<Published>, reader: Arc<dyn SnapshotReader>) -> Self {
        Catalog { published, reader }
    }

    /// Users' own functions, as they stand now.
    pub fn functions(&self) -> Arc<Functions> {
        self.published.functions()
    }

    /// The stream plan that a statement asks for, in lines.
    ///
    /// # Errors
    /// `Invalid` where the statement is wrong, `Unavailable` before the definitions have been read.
    pub async fn stream_plan(&self, statement: &str) -> crate::error::Result<Vec<String>> {
        match self.published.stream_plans() {
            Some(plans) => plans.explain(statement).await,
            None => Err(Error::unavailable("the files of queries have not been read yet").hint("try again soon")),
        }
    }

    /// Every table of both schemas, in name order within a schema.
    pub fn list(&self) -> Vec<ListedTable> {
        let mut tables = Vec::new();
        for view in self.public_views() {
            let mut table = listed(PUBLIC_SCHEMA, &view.name, TableKind::MaterializedView, &view.schema);
            table.primary_key = view.about.primary_key.clone();
            tables.push(table);
        }
        for (name, view) in self.published.plain_views() {
            tables.push(listed(PUBLIC_SCHEMA, &name, TableKind::View, &view.schema()));
        }
        for source in self.published.sources() {
            let kind = if source.is_stream() { TableKind::Topic } else { TableKind::Table };
            let mut table = listed(PUBLIC_SCHEMA, &source.name, kind, &source.schema());
            table.primary_key = source.primary_key.clone();
            table.comments = source.columns.iter().map(|column| column.comment.clone()).collect();
            tables.push(table);
        }
        for kind in SystemTableKind::ALL {
            tables.push(listed(SYSTEM_SCHEMA, kind.name(), TableKind::System, &kind.schema()));
        }
        for ledger in LEDGERS.into_iter().chain([DEAD_LETTERS_WHOLE]) {
            if let Some(table) = self.ledger_table(ledger) {
                tables.push(listed(SYSTEM_SCHEMA, ledger, TableKind::System, &table.schema()));
            }
        }
        if self.published.refused().is_some() {
            tables.push(listed(SYSTEM_SCHEMA, REFUSED, TableKind::System, &refused_schema()));
        }
        tables.sort_by(|a, b| (a.schema, &a.name).cmp(&(b.schema, &b.name)));
        tables
    }

    /// How the query of a view is doing, also of one that has no rows to read yet.
    pub fn query(&self, view: &str) -> Option<Arc<QueryStatus>> {
        self.published.query(view)
    }

    fn public_views(&self) -> Vec<Arc<PublishedView>> {
        let mut views = self.published.views();
        views.retain(|view| ledger_of(&view.name).is_none());
        views
    }

    fn ledger(&self, ledger: &str) -> Option<ViewTable> {
        ViewTable::union(self.published.ledgers(ledger))
    }

    fn public_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        if ledger_of(name).is_some() {
            return None;
        }
        // By name, so that a statement that was prepared reads what stands there when it runs.
        if let Some(view) = self.published.view(name) {
            let schema = Arc::clone(&view.schema);
            let named = NamedView::new(name, schema, Arc::downgrade(&self.published));
            return Some(Arc::new(named.defined_as(&view.about.text)));
        }
        if let Some(view) = self.published.plain_view(name) {
            return Some(view);
        }
        let source = self.published.source(name)?;
        Some(Arc::new(SourceTable::new(source, Arc::clone(&self.reader))))
    }

    fn system_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        if let Some(kind) = SystemTableKind::ALL.into_iter().find(|kind| kind.name() == name) {
            return Some(Arc::new(SystemTable::new(kind, Arc::clone(&self.published))));
        }
        if name == REFUSED {
            return Some(Arc::new(RefusedTable::new(self.published.refused()?)));
        }
        self.ledger_table(name)
    }

    fn ledger_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let whole = name == DEAD_LETTERS_WHOLE;
        let ledger = LEDGERS.into_iter().find(|ledger| *ledger == name || (whole && *ledger == DEAD_LETTERS))?;
        let schema = self.ledger(ledger)?.schema();
        let table: Arc<dyn TableProvider> =
            Arc::new(NamedView::ledger(ledger, schema, Arc::downgrade(&self.published)));
        match ledger {
            // All of its columns are there, so that nothing can be wrong with it.
            DEAD_LETTERS => dead_letters::readable(table, whole).ok(),
            _ => Some(table),
        }
    }
}

fn listed(schema: &'static str, name: &str, kind: TableKind, columns: &SchemaRef) -> ListedTable {
    ListedTable {
        schema,
        name: name.to_owned(),
        kind,
        columns: Arc::clone(columns),
        comments: vec![None; columns.fields().len()],
        primary_key: Vec::new(),
    }
}

impl CatalogProviderList for Catalog {
    /// Ignored: statements cannot add catalogs.
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec![PUBLIC_SCHEMA.to_owned(), SYSTEM_SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schema = [PUBLIC_SCHEMA, SYSTEM_SCHEMA].into_iter().find(|schema| *schema == name)?;
        Some(Arc::new(Schema { schema, catalog: self.clone() }))
    }
}

/// One of the two schemas.
#[derive(Debug)]
struct Schema {
    schema: &'static str,
    catalog: Catalog,
}

impl Schema {
    fn find(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        match self.schema {
            PUBLIC_SCHEMA => self.catalog.public_table(name),
            _ => self.catalog.system_table(name),
        }
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.catalog.list().into_iter();
        tables.filter(|table| table.schema == self.schema).map(|table| table.name).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.find(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}
