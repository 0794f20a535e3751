//! Which materialized views a query reads, directly or through plain views, and what it has to know of them: each is planned once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

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
        let stream = ViewStream::of(&plan.view, &plan.pipeline, plan.version.clone());
        self.0.lock().insert(plan.view.name.clone(), stream.map(Arc::new).map_err(Arc::new));
    }

    /// Takes up that it is not known what a view will be.
    pub(super) fn refuse(&self, name: &str, reason: Error) {
        self.0.lock().insert(name.to_owned(), Err(Arc::new(reason)));
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
pub(crate) fn upstreams(query: &Query, catalog: &Catalog) -> BTreeSet<String> {
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
            let view = NamedView::new(name.clone(), schema, Weak::clone(&self.catalog.published));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::registry::{catalog_of, refusals};
    use crate::sink::postgres::PostgresSettings;
    use crate::source::kafka::KafkaSettings;
    use crate::source::reader::SourceDeps;
    use crate::sql::parse_file;
    use crate::tables::snapshot::Snapshots;
    use crate::tables::source::SnapshotReader;

    const TABLE: &str = "CREATE TABLE t (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');\n";

    const SETTINGS: PlanSettings = PlanSettings { partitions: 1, wide_rows: 32_768 };

    /// Each statement in a file of its own: `a.sql`, `b.sql`, …
    fn catalog(statements: &[&str]) -> Arc<Catalog> {
        let mut parsed = parse_file("t.sql", TABLE).expect("a table");
        for (name, statement) in ('a'..).zip(statements) {
            parsed.extend(parse_file(&format!("{name}.sql"), statement).expect(statement));
        }
        let deps = SourceDeps {
            kafka: KafkaSettings::default(),
            embedded: None,
            postgres: PostgresSettings::default(),
            clock: Clock::System,
        };
        let snapshots: Arc<dyn SnapshotReader> = Arc::new(Snapshots::new(deps));
        let (catalog, errors) = catalog_of(&parsed, &snapshots);
        assert!(errors.is_empty(), "{errors:?}");
        Arc::new(catalog)
    }

    async fn reports(statements: &[&str]) -> Vec<String> {
        let mut reports: Vec<String> =
            refusals(&catalog(statements), SETTINGS).await.iter().map(Error::report).collect();
        reports.sort();
        reports
    }

    async fn version(catalog: &Arc<Catalog>, name: &str) -> String {
        let view = Arc::clone(catalog.views.get(name).expect(name));
        let plan = planned(view, Arc::clone(catalog), SETTINGS).await;
        plan.unwrap_or_else(|error| panic!("{}", error.report())).version.name
    }

    #[tokio::test]
    async fn views_stand_behind_those_that_they_read_whatever_their_names_are() {
        let statements = [
            "CREATE MATERIALIZED VIEW a AS SELECT id FROM p;",
            "CREATE VIEW p AS SELECT id FROM d;",
            "CREATE MATERIALIZED VIEW b AS SELECT id FROM t;",
            "CREATE MATERIALIZED VIEW c AS SELECT id FROM a UNION ALL SELECT id FROM b;",
            "CREATE MATERIALIZED VIEW d AS WITH a AS (SELECT id FROM t) SELECT id FROM a;",
        ];
        let catalog = catalog(&statements);
        let order: Vec<String> = in_order(&catalog).iter().map(|view| view.name.clone()).collect();
        assert_eq!(order, ["d", "a", "b", "c"]);
        assert_eq!(refusals(&catalog, SETTINGS).await.len(), 0);
    }

    #[tokio::test]
    async fn a_circle_is_spelled_out() {
        let statements = [
            "CREATE MATERIALIZED VIEW a AS SELECT id FROM b;",
            "CREATE MATERIALIZED VIEW b AS SELECT id FROM p;",
            "CREATE VIEW p AS SELECT id FROM a;",
            "CREATE MATERIALIZED VIEW over AS SELECT id FROM a;",
            "CREATE MATERIALIZED VIEW own AS SELECT id FROM own;",
        ];
        let hint = "\n  hint: one of them has to do without the others: each is computed from what those that it reads have committed";
        assert_eq!(
            reports(&statements).await,
            [
                format!("a.sql:1:1: views read one another in a circle: a -> b -> p -> a{hint}"),
                format!("b.sql:1:1: views read one another in a circle: b -> p -> a -> b{hint}"),
                "c.sql:1:1: view \"a\" cannot be planned\n  detail: a.sql:1:1: views read one another in a circle: a -> b -> p -> a"
                    .to_owned(),
                "d.sql:1:1: view \"a\" cannot be planned\n  detail: a.sql:1:1: views read one another in a circle: a -> b -> p -> a"
                    .to_owned(),
                format!("e.sql:1:1: views read one another in a circle: own -> own{hint}"),
            ]
        );
    }

    #[tokio::test]
    async fn a_view_over_one_that_is_wrong_names_it_and_the_place_of_its_mistake() {
        let statements = [
            "CREATE MATERIALIZED VIEW a AS SELECT id FROM b;",
            "CREATE MATERIALIZED VIEW b AS SELECT id FROM c;",
            "CREATE MATERIALIZED VIEW c AS\nSELECT nope AS id FROM t;",
            "CREATE MATERIALIZED VIEW d AS SELECT id FROM bb;",
        ];
        assert_eq!(
            reports(&statements).await,
            [
                "a.sql:1:1: view \"b\" cannot be planned\n  detail: b.sql:1:1: view \"c\" cannot be planned",
                "b.sql:1:1: view \"c\" cannot be planned\n  detail: c.sql:2:8: column \"nope\" does not exist",
                "c.sql:2:8: column \"nope\" does not exist\n  hint: there are id, ts",
                "d.sql:1:46: table 'bb' not found\n  hint: did you mean \"b\"?",
            ]
        );
        let above = "CREATE MATERIALIZED VIEW b AS SELECT page FROM a;";
        let reports = reports(&["CREATE MATERIALIZED VIEW a AS SELECT id FROM t;", above]).await;
        assert_eq!(reports, ["b.sql:1:38: column \"page\" does not exist\n  hint: there are id"]);
    }

    #[tokio::test]
    async fn what_a_view_computes_is_part_of_what_those_above_it_compute() {
        let of = |a: &str, b: &str| catalog(&[a, b, "CREATE MATERIALIZED VIEW c AS SELECT id FROM b;"]);
        let (a, b) =
            ("CREATE MATERIALIZED VIEW a AS SELECT id, ts FROM t;", "CREATE MATERIALIZED VIEW b AS SELECT id FROM a;");
        let first = of(a, b);
        let changed = of("CREATE MATERIALIZED VIEW a AS SELECT id, ts FROM t WHERE id > 0;", b);
        for name in ["a", "b", "c"] {
            assert_ne!(version(&first, name).await, version(&changed, name).await, "{name}");
            // How it is written, and how it runs, is not.
            let same = of("CREATE MATERIALIZED VIEW a WITH ('postgres' = 'false') AS\nSELECT id, ts\nFROM t;", b);
            assert_eq!(version(&first, name).await, version(&same, name).await, "{name}");
        }
        // Another one of the same text is another one.
        let other = of(a, "CREATE MATERIALIZED VIEW b AS SELECT id FROM a WHERE id > 0;");
        assert_eq!(version(&first, "a").await, version(&other, "a").await);
        assert_ne!(version(&first, "c").await, version(&other, "c").await);
        // Which of its times is meant is what those above it compute, and not the view.
        let timed = of("CREATE MATERIALIZED VIEW a WITH ('time-column' = 'ts') AS SELECT id, ts FROM t;", b);
        assert_eq!(version(&first, "a").await, version(&timed, "a").await);
        assert_ne!(version(&first, "b").await, version(&timed, "b").await);
        // For how long versions are kept says what is found.
        let joined = "SELECT x.id FROM t x ASOF JOIN t y ON x.ts >= y.ts;";
        let kept = |with: &str| of(&format!("CREATE MATERIALIZED VIEW a {with} AS {joined}"), b);
        let versions = [
            version(&kept(""), "a").await,
            version(&kept("WITH ('state-ttl' = '1 hour')"), "a").await,
            version(&kept("WITH ('state-ttl' = '2 hours')"), "a").await,
        ];
        assert!(versions[0] != versions[1] && versions[0] != versions[2] && versions[1] != versions[2], "{versions:?}");
    }

    #[tokio::test]
    async fn chains_of_five_are_planned_and_endless_ones_are_not() {
        let names: Vec<String> = (0..40).map(|number| format!("v{number:02}")).collect();
        let statements: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let below = at.checked_sub(1).map_or("t", |below| names[below].as_str());
                format!("CREATE MATERIALIZED VIEW {name} AS SELECT id, ts FROM {below};")
            })
            .collect();
        let five: Vec<&str> = statements.iter().take(5).map(String::as_str).collect();
        assert_eq!(reports(&five).await, [""; 0]);
        let all: Vec<&str> = statements.iter().take(26).map(String::as_str).collect();
        assert_eq!(reports(&all).await, [""; 0]);
        let mut parsed = parse_file("t.sql", TABLE).expect("a table");
        parsed.extend(parse_file("v.sql", &statements.concat()).expect("views"));
        let deps = SourceDeps {
            kafka: KafkaSettings::default(),
            embedded: None,
            postgres: PostgresSettings::default(),
            clock: Clock::System,
        };
        let snapshots: Arc<dyn SnapshotReader> = Arc::new(Snapshots::new(deps));
        let catalog = Arc::new(catalog_of(&parsed, &snapshots).0);
        let refused = refusals(&catalog, SETTINGS).await;
        let deep = refused.iter().filter(|error| error.primary() == "over 32 views stand upon one another").count();
        assert_eq!(deep, 8, "{refused:?}");
        assert_eq!(refused.len(), deep);
    }
}
