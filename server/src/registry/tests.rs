//! Which changes of a table make another query of those that read it.

mod held;
mod stopping;

use async_trait::async_trait;

use super::*;
use crate::catalog::QueryVersion;
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

/// What names a view over a table with these columns and options.
async fn version_of(columns: &str, options: &str) -> QueryVersion {
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
        .version
}

#[tokio::test]
async fn what_a_record_is_taken_for_is_part_of_a_query_and_what_is_not_declared_is_not() {
    let plain = version_of("a VARCHAR, b INT", "").await;
    // As it was before any of this could be declared.
    assert_eq!(plain.former, "448522771b1c6404cf9c208a676d311cb62490993543a185b653553a07a42e85");
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
        all.push(version_of(columns, options).await);
    }
    for names in [
        all.iter().map(|version| &version.name).collect::<BTreeSet<_>>(),
        all.iter().map(|version| &version.former).collect(),
    ] {
        assert_eq!(names.len(), all.len());
    }
    // Written otherwise, and the same.
    assert_eq!(version_of("a VARCHAR DEFAULT NULL, b INT", "").await, plain);
    assert_eq!(
        version_of("a VARCHAR, b INT DEFAULT 60 * 60", "").await,
        version_of("a VARCHAR, b INT DEFAULT 3600", "").await
    );
}

/// A view over a table `t` of these columns, with this watermark and these options.
async fn reading(query: &str, columns: &str, watermark: &str, options: &str) -> QueryPlan {
    let text = format!(
        "CREATE TABLE t ({columns}, ts TIMESTAMP(3), WATERMARK FOR ts AS {watermark}) WITH ('connector' = 'kafka'{options});
         CREATE MATERIALIZED VIEW v AS {query};"
    );
    let statements = parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    let nothing: Arc<dyn SnapshotReader> = Arc::new(Nothing);
    let (catalog, errors) = catalog_of(&statements, &nothing);
    assert!(errors.is_empty(), "{errors:?}");
    let view = Arc::clone(&catalog.views["v"]);
    planned(view, Arc::new(catalog), PlanSettings { partitions: 1, wide_rows: usize::MAX }).await.expect("it plans")
}

const TOPIC: &str = ", 'topic' = 't'";
const SECONDS: &str = "SELECT a, CAST(b AS BIGINT) AS wide, ts FROM t";

#[tokio::test]
async fn what_a_query_does_not_read_and_how_it_runs_make_no_other_query_of_it() {
    let is = reading(SECONDS, "a VARCHAR, b INT", "ts - INTERVAL '2' SECOND", TOPIC).await;
    for (columns, options) in [
        ("a VARCHAR, b INT, c VARCHAR", TOPIC),
        ("c VARCHAR NOT NULL CHECK (c <> 'x'), a VARCHAR, b INT", TOPIC),
        ("a VARCHAR, b INT, c AS upper(a)", TOPIC),
        ("a VARCHAR COMMENT 'the first', b INT", TOPIC),
        ("a VARCHAR, b INT", ", 'topic' = 't', 'properties.bootstrap.servers' = 'b.example:9092'"),
        ("a VARCHAR, b INT", ", 'topic' = 't', 'idle-timeout' = '3 minutes'"),
        ("a VARCHAR, b INT", ", 'topic' = 't', 'watermark-max-future' = '2 hours'"),
        ("a VARCHAR, b INT", ", 'topic' = 't', 'on-bad-row' = 'fail'"),
    ] {
        let other = reading(SECONDS, columns, "ts - INTERVAL '2' SECOND", options).await;
        assert_eq!(other.version.name, is.version.name, "{columns} {options}");
    }
    // Those of them that a reader only takes up when it is opened start the query again, from where it is.
    for options in [
        ", 'topic' = 't', 'properties.bootstrap.servers' = 'b.example:9092'",
        ", 'topic' = 't', 'idle-timeout' = '3 minutes'",
        ", 'topic' = 't', 'watermark-max-future' = '2 hours'",
    ] {
        let other = reading(SECONDS, "a VARCHAR, b INT", "ts - INTERVAL '2' SECOND", options).await;
        assert_ne!(settings(&other), settings(&is), "{options}");
    }
    let wider = reading(SECONDS, "a VARCHAR, b INT, c VARCHAR", "ts - INTERVAL '2' SECOND", TOPIC).await;
    assert_eq!(settings(&wider), settings(&is));
}

#[tokio::test]
async fn what_a_query_reads_and_means_makes_another_query_of_it() {
    let two = "ts - INTERVAL '2' SECOND";
    let is = reading(SECONDS, "a VARCHAR, b INT", two, TOPIC).await;
    for (query, columns, watermark, options) in [
        ("SELECT a, CAST(b AS DOUBLE) AS wide, ts FROM t", "a VARCHAR, b INT", two, TOPIC),
        ("SELECT a, CAST(b AS BIGINT) AS more, ts FROM t", "a VARCHAR, b INT", two, TOPIC),
        (SECONDS, "a VARCHAR, b BIGINT", two, TOPIC),
        (SECONDS, "a VARCHAR NOT NULL, b INT", two, TOPIC),
        (SECONDS, "a VARCHAR CHECK (a <> 'x'), b INT", two, TOPIC),
        (SECONDS, "a VARCHAR, b INT", "ts - INTERVAL '3' SECOND", TOPIC),
        (SECONDS, "a VARCHAR, b INT", "date_trunc('minute', ts)", TOPIC),
        (SECONDS, "a VARCHAR, b INT", two, ", 'topic' = 'u'"),
        (SECONDS, "a VARCHAR, b INT", two, ", 'topic' = 't', 'scan.startup.mode' = 'latest-offset'"),
        (SECONDS, "a VARCHAR, b INT", two, ", 'topic' = 't', 'aliases.a' = 'x'"),
    ] {
        let other = reading(query, columns, watermark, options).await;
        assert_ne!(other.version.name, is.version.name, "{query} {columns} {watermark} {options}");
    }
    // What a column that is read is computed from is read as well.
    let computed = |columns| reading("SELECT c, ts FROM t", columns, two, TOPIC);
    let upper = computed("a VARCHAR, b INT, c AS upper(a)").await.version;
    assert_eq!(computed("a VARCHAR, b BIGINT, c AS upper(a)").await.version.name, upper.name);
    assert_ne!(computed("a VARCHAR NOT NULL, b INT, c AS upper(a)").await.version.name, upper.name);
    assert_ne!(computed("a VARCHAR, b INT, c AS lower(a)").await.version.name, upper.name);
    // All columns are read, and so is a new one.
    let all = |columns| reading("SELECT * FROM t", columns, two, TOPIC);
    assert_ne!(all("a VARCHAR, b INT").await.version.name, all("a VARCHAR").await.version.name);
}

// A state in which sessions were cut at one length is not gone on from with another.
#[tokio::test]
async fn how_long_a_session_lasts_makes_another_query_of_it() {
    let version = |options: &'static str| async move {
        let text = format!(
            "CREATE TABLE t (a VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't');
             CREATE MATERIALIZED VIEW v{options} AS SELECT window_start, window_end, a, count(*) AS c
             FROM SESSION(t PARTITION BY a, ts, INTERVAL '5 seconds') GROUP BY window_start, window_end, a;"
        );
        let statements = parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
        let nothing: Arc<dyn SnapshotReader> = Arc::new(Nothing);
        let (catalog, errors) = catalog_of(&statements, &nothing);
        assert!(errors.is_empty(), "{errors:?}");
        let view = Arc::clone(&catalog.views["v"]);
        let settings = PlanSettings { partitions: 1, wide_rows: usize::MAX };
        planned(view, Arc::new(catalog), settings).await.expect("it plans").version
    };
    let endless = version("").await;
    let hour = version(" WITH ('session-max-length' = '1 hour')").await;
    assert_ne!(hour.name, endless.name);
    assert_ne!(hour.name, version(" WITH ('session-max-length' = '2 hours')").await.name);
    assert_eq!(hour.name, version(" WITH ('session-max-length' = '60 minutes')").await.name);
    // As servers of before have it.
    assert_eq!(hour.former, endless.former);
}

// Word for word: another text would set back every query that runs.
#[tokio::test]
async fn the_meaning_of_a_query_is_written_as_it_always_was() {
    let plan = reading(SECONDS, "a VARCHAR, b INT NOT NULL, c VARCHAR", "ts - INTERVAL '2' SECOND", TOPIC).await;
    let lines: Vec<&str> = plan.meaning.lines().collect();
    assert_eq!(
        lines,
        [
            r#"statement "SELECT a, CAST(b AS BIGINT) AS wide, ts FROM t""#,
            "lateness 0",
            r#"reads table "t", topic "t" from its earliest record, json"#,
            r#"watermark "ts" less 2000000"#,
            r#"column "a" text field []"#,
            r#"column "b" Int32 field [] not null"#,
            r#"column "ts" timestamp(Millisecond) field []"#,
            r#"gives "a" text"#,
            r#"gives "wide" Int64"#,
            r#"gives "ts" timestamp(Millisecond)"#,
        ]
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
    assert_eq!([&often.version, &seldom.version], [&once.version; 2]);
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
