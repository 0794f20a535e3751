//! Which materialized views a query reads, directly or through plain views, and what it has to know of them: each is planned once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::sql::sqlparser::ast::Query;
use parking_lot::Mutex;

use super::{Catalog, planned};
use crate::catalog::{Defined, PlainView, TableDef, ViewDef};
use crate::epoch::QueryPlan;
use crate::error::{Error, Result};
use crate::pipeline::{PlanSettings, Tables, ViewStream, plain_view_table};
use crate::sql::{Functions, tables_of};
use crate::tables::view::NamedView;

/// Views that may stand upon one another.
const DEPTH_MAX: usize = 32;

/// What has been found out about the views of one catalog, by name: how they look to queries above, or why they cannot run.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<BTreeMap<String, Known>>);

type Known = Result<Arc<ViewStream>, Arc<Error>>;

impl Streams {
    /// Takes up what planning a view has shown.
    pub(super) fn note(&self, plan: &QueryPlan) {
        let stream = ViewStream::of(&plan.view, &plan.pipeline, &plan.fingerprint);
        self.0.lock().insert(plan.view.name.clone(), stream.map(Arc::new).map_err(Arc::new));
    }

    fn known(&self, name: &str) -> Option<Known> {
        self.0.lock().get(name).cloned()
    }
}

/// The streams that a view reads beside tables.
///
/// # Errors
/// `Invalid` where views read one another in a circle or stand too deeply, or one of them cannot be planned, with the reason at its place.
pub(super) async fn streams(
    view: &ViewDef,
    catalog: &Arc<Catalog>,
    settings: PlanSettings,
) -> Result<Vec<Arc<ViewStream>>> {
    let judged = match where_reads_lead(view, catalog) {
        Reads::Circle(names) => Err(Error::invalid(format!(
            "views read one another in a circle: {}",
            names.join(" -> ")
        ))
        .hint(
            "one of them has to do without the others: each is computed from what those that it reads have committed",
        )),
        Reads::TooDeep => Err(Error::invalid(format!("over {DEPTH_MAX} views stand upon one another"))
            .hint("put the queries of some of them together")),
        Reads::ToTables => of_names(&upstreams(&view.query, catalog), catalog, settings).await,
    };
    judged.map_err(|error| error.at(view.location.clone()))
}

/// As a plain view is read by itself: over what its tables and views hold at the time.
///
/// # Errors
/// `Invalid` with file, line and column for whatever its query has wrong, or a view that it reads.
pub(super) async fn readable(
    view: &PlainView,
    catalog: &Arc<Catalog>,
    settings: PlanSettings,
) -> Result<Arc<dyn TableProvider>> {
    let read = of_names(&upstreams(&view.query, catalog), catalog, settings).await;
    let read = read.map_err(|error| error.at(view.location.clone()))?;
    plain_view_table(view, &Readable { catalog, read }).await
}

/// The views of a catalog, each behind those that it reads.
pub(super) fn in_order(catalog: &Catalog) -> Vec<Arc<ViewDef>> {
    fn put(view: &Arc<ViewDef>, catalog: &Catalog, seen: &mut BTreeSet<String>, ordered: &mut Vec<Arc<ViewDef>>) {
        if seen.insert(view.name.clone()) {
            for name in upstreams(&view.query, catalog) {
                catalog.views.get(&name).into_iter().for_each(|view| put(view, catalog, seen, ordered));
            }
            ordered.push(Arc::clone(view));
        }
    }
    let (mut seen, mut ordered) = (BTreeSet::new(), Vec::new());
    catalog.views.values().for_each(|view| put(view, catalog, &mut seen, &mut ordered));
    ordered
}

/// The materialized views that a query reads itself, or by plain views.
fn upstreams(query: &Query, catalog: &Catalog) -> BTreeSet<String> {
    let (mut found, mut seen, mut left) = (BTreeSet::new(), BTreeSet::new(), vec![query]);
    while let Some(query) = left.pop() {
        for name in tables_of(query) {
            match (catalog.defined.plain_views.get(&name), catalog.views.contains_key(&name)) {
                (Some(view), _) => left.extend(seen.insert(name).then_some(view.query.as_ref())),
                (None, true) => _ = found.insert(name),
                (None, false) => {}
            }
        }
    }
    found
}

async fn of_names(
    names: &BTreeSet<String>,
    catalog: &Arc<Catalog>,
    settings: PlanSettings,
) -> Result<Vec<Arc<ViewStream>>> {
    let mut streams = Vec::new();
    for name in names {
        let Some(view) = catalog.views.get(name) else { continue };
        let known = match catalog.streams.known(name) {
            Some(known) => known,
            None => match planned(Arc::clone(view), Arc::clone(catalog), settings).await {
                Ok(plan) => {
                    catalog.streams.note(&plan);
                    catalog.streams.known(name).unwrap_or_else(|| Err(Arc::new(Error::bug("a view was forgotten"))))
                }
                Err(error) => {
                    let error = Arc::new(error);
                    catalog.streams.0.lock().insert(name.clone(), Err(Arc::clone(&error)));
                    Err(error)
                }
            },
        };
        streams.push(known.map_err(|reason| cannot_be_planned(name, &reason))?);
    }
    Ok(streams)
}

fn cannot_be_planned(name: &str, reason: &Error) -> Error {
    let place = reason.location().map(|place| format!("{place}: ")).unwrap_or_default();
    Error::invalid(format!("view \"{name}\" cannot be planned")).detail(format!("{place}{}", reason.primary()))
}

/// Where the names that views read lead.
enum Reads {
    ToTables,
    /// Back to the view: from its name to its name.
    Circle(Vec<String>),
    TooDeep,
}

fn where_reads_lead(view: &ViewDef, catalog: &Catalog) -> Reads {
    fn walk(
        query: &Query,
        target: &str,
        catalog: &Catalog,
        path: &mut Vec<String>,
        seen: &mut BTreeSet<String>,
    ) -> Option<Reads> {
        for name in tables_of(query) {
            if name == target {
                path.push(name);
                return Some(Reads::Circle(path.clone()));
            }
            let view = catalog.views.get(&name).map(|view| &view.query);
            let plain = || catalog.defined.plain_views.get(&name).map(|view| &view.query);
            let Some(next) = view.or_else(plain).filter(|_| seen.insert(name.clone())) else { continue };
            if path.len() == DEPTH_MAX {
                return Some(Reads::TooDeep);
            }
            path.push(name);
            if let Some(found) = walk(next, target, catalog, path, seen) {
                return Some(found);
            }
            path.pop();
        }
        None
    }
    let (mut path, mut seen) = (vec![view.name.clone()], BTreeSet::new());
    walk(&view.query, &view.name, catalog, &mut path, &mut seen).unwrap_or(Reads::ToTables)
}

/// What a continuous query may read: tables, and the views that it names as streams.
pub(super) struct Streaming<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) upstreams: Vec<Arc<ViewStream>>,
}

/// What a query that runs once may read: tables, and the views that it names as they stand.
struct Readable<'a> {
    catalog: &'a Catalog,
    read: Vec<Arc<ViewStream>>,
}

impl Tables for Streaming<'_> {
    fn defined(&self) -> &Defined {
        self.catalog.defined()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        self.catalog.provider(table)
    }

    fn upstreams(&self) -> Vec<Arc<ViewStream>> {
        self.upstreams.clone()
    }

    fn functions(&self) -> Arc<Functions> {
        self.catalog.functions()
    }

    fn view_names(&self) -> Vec<String> {
        self.catalog.view_names()
    }
}

impl Tables for Readable<'_> {
    fn defined(&self) -> &Defined {
        self.catalog.defined()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        self.catalog.provider(table)
    }

    fn results(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        let named = |stream: &Arc<ViewStream>| {
            let (name, schema) = (stream.table.name.clone(), stream.table.schema());
            let view = NamedView::new(name.clone(), schema, Arc::clone(&self.catalog.published));
            (name, Arc::new(view) as Arc<dyn TableProvider>)
        };
        self.read.iter().map(named).collect()
    }

    fn functions(&self) -> Arc<Functions> {
        self.catalog.functions()
    }

    fn view_names(&self) -> Vec<String> {
        self.catalog.view_names()
    }
}
