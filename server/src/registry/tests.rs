//! Which changes of a table make another query of those that read it.

mod stopping;

use async_trait::async_trait;

use super::*;
use crate::sql::{parse_file, report};
use crate::tables::source::SnapshotBatches;

/// No static table is read.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl SnapshotReader for Nothing {
    async fn open(&self, table: Arc<TableDef>, _: Vec<usize>) -> Result<SnapshotBatches> {
        Err(Error::bug(format!("table {} is read", table.name)))
    }
}

/// The fingerprint of a view over a table with these columns and options.
async fn fingerprint_of(columns: &str, options: &str) -> String {
    let text = format!(
        "CREATE TABLE t ({columns}, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't'{options});
         CREATE MATERIALIZED VIEW v AS SELECT a, ts FROM t;"
    );
    let statements = parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    let nothing: Arc<dyn SnapshotReader> = Arc::new(Nothing);
    let (catalog, errors) = catalog_of(&statements, &nothing);
    assert!(errors.is_empty(), "{errors:?}");
    let view = Arc::clone(&catalog.views["v"]);
    planned(view, Arc::new(catalog), PlanSettings { partitions: 1, wide_rows: usize::MAX })
        .await
        .expect("it plans")
        .fingerprint
}

#[tokio::test]
async fn what_a_record_is_taken_for_is_part_of_a_query_and_what_is_not_declared_is_not() {
    let plain = fingerprint_of("a VARCHAR, b INT", "").await;
    // As it was before any of this could be declared.
    assert_eq!(plain, "448522771b1c6404cf9c208a676d311cb62490993543a185b653553a07a42e85");
    let rows = ", 'json.rows' = '$.e[*]'";
    let mut all = vec![plain.clone()];
    for (columns, options) in [
        ("a VARCHAR, b INT", rows),
        ("a VARCHAR, b INT", ", 'json.rows' = '$.f[*]'"),
        ("a VARCHAR, b INT", ", 'json.rows' = 'lines'"),
        ("a VARCHAR, b INT", ", 'json.rows' = '$.e[*]', 'json.path.a' = '$.a'"),
        ("a VARCHAR DEFAULT 'x', b INT", ""),
        ("a VARCHAR DEFAULT 'y', b INT", ""),
        ("a VARCHAR DEFAULT 'x', b INT", ", 'on-null' = 'default'"),
        ("a JSON, b INT", ""),
        ("a JSON[], b INT", ""),
        ("a VARCHAR[], b INT", ""),
        ("a MAP<VARCHAR, INT>, b INT", ""),
    ] {
        all.push(fingerprint_of(columns, options).await);
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    // Written otherwise, and the same.
    assert_eq!(fingerprint_of("a VARCHAR DEFAULT NULL, b INT", "").await, plain);
    assert_eq!(
        fingerprint_of("a VARCHAR, b INT DEFAULT 60 * 60", "").await,
        fingerprint_of("a VARCHAR, b INT DEFAULT 3600", "").await
    );
}

/// A query that looks something up in a table with these options.
async fn looking_up(options: &str) -> QueryPlan {
    let text = format!(
        "CREATE TABLE t (a VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't');
         CREATE TABLE s (a VARCHAR, b VARCHAR) WITH ('connector' = 'filesystem', 'path' = 's.csv'{options});
         CREATE MATERIALIZED VIEW v AS SELECT t.a, s.b, t.ts FROM t JOIN s ON s.a = t.a;"
    );
    let statements = parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    let nothing: Arc<dyn SnapshotReader> = Arc::new(Nothing);
    let (catalog, errors) = catalog_of(&statements, &nothing);
    assert!(errors.is_empty(), "{errors:?}");
    let view = Arc::clone(&catalog.views["v"]);
    planned(view, Arc::new(catalog), PlanSettings { partitions: 1, wide_rows: usize::MAX }).await.expect("it plans")
}

#[tokio::test]
async fn how_often_a_table_is_looked_at_is_how_a_query_runs_and_not_what_it_computes() {
    let once = looking_up("").await;
    let often = looking_up(", 'refresh-interval' = '1 s'").await;
    let seldom = looking_up(", 'refresh-interval' = '1 hour'").await;
    assert_eq!([&often.fingerprint, &seldom.fingerprint], [&once.fingerprint; 2]);
    assert_eq!(settings(&often), settings(&looking_up(", 'refresh-interval' = '1 s'").await));
    assert_ne!(settings(&once), settings(&often));
    assert_ne!(settings(&often), settings(&seldom));
    let says = "static table s: looked at every 1s, read again when changed";
    assert_eq!(often.pipeline.explain().last().map(String::as_str), Some(says));
    assert!(!once.pipeline.explain().iter().any(|line| line.starts_with("static table")));
}

// The first row of a key that was shown by one value would never go where another value lets no final one through.
#[tokio::test]
async fn early_results_depend_on_no_value_that_is_read_again() {
    for (options, refused) in [("", false), (", 'refresh-interval' = '1 s'", true)] {
        let text = format!(
            "CREATE TABLE t (a VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't');
             CREATE TABLE s (n BIGINT) WITH ('connector' = 'filesystem', 'path' = 's.csv'{options});
             CREATE MATERIALIZED VIEW v AS SELECT window_start, window_end, a, count(*) AS c FROM TUMBLE(t, ts, INTERVAL '1 minute')
             GROUP BY window_start, window_end, a HAVING count(*) > (SELECT max(n) FROM s) EMIT CHANGES;"
        );
        let statements = parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
        let nothing: Arc<dyn SnapshotReader> = Arc::new(Nothing);
        let (catalog, errors) = catalog_of(&statements, &nothing);
        assert!(errors.is_empty(), "{errors:?}");
        let view = Arc::clone(&catalog.views["v"]);
        let settings = PlanSettings { partitions: 1, wide_rows: usize::MAX };
        let error = planned(view, Arc::new(catalog), settings).await.err();
        let said =
            "with EMIT CHANGES no result depends on a value of table \"s\", which is read again when its files change";
        assert_eq!(error.as_ref().map(Error::primary), refused.then_some(said), "{error:?}");
    }
}
