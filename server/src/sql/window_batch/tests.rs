use arrow::util::pretty::pretty_format_batches;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;

use super::*;
use crate::sql::window_tvf::WatermarkColumns;
use crate::sql::{add_window_functions, session_config};

#[derive(Debug)]
struct Fixed;

impl WatermarkColumns for Fixed {
    fn watermark_column(&self, table: &TableReference) -> Option<String> {
        matches!(table.table(), "t" | "strict").then(|| "ts".to_owned())
    }
}

async fn session() -> SessionContext {
    let session = SessionContext::new_with_config(session_config());
    add_window_functions(&session, Arc::new(Fixed)).expect("registered");
    session.add_analyzer_rule(Arc::new(ExpandWindowTvfs::default()));
    for setup in [
        "CREATE TABLE t AS SELECT column1 AS k, arrow_cast(column2, 'Timestamp(ms)') AS ts, column3 AS v FROM VALUES
           ('a', '1970-01-01T00:00:59.999', 1), ('a', '1970-01-01T00:01:00', 2), ('b', '1969-12-31T23:59:59.999', 3),
           ('b', NULL, 4), ('a', '1970-01-01T00:00:00', 5)",
        "CREATE TABLE strict (k VARCHAR NOT NULL, ts TIMESTAMP(3) NOT NULL) AS
           SELECT k, coalesce(ts, arrow_cast(9223372036854775807, 'Timestamp(ms)')) FROM t",
    ] {
        session.sql(setup).await.expect(setup).collect().await.expect(setup);
    }
    session
}

async fn rows(query: &str) -> String {
    let batches = session().await.sql(query).await.expect(query).collect().await.expect(query);
    pretty_format_batches(&batches).expect("printable").to_string()
}

#[tokio::test]
async fn a_tumble_groups_rows_before_and_after_1970_and_drops_those_without_a_time() {
    let found = rows(
        "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS v FROM TUMBLE(t, ts, INTERVAL '1 minute')
         GROUP BY window_start, window_end, k ORDER BY 1, 3",
    )
    .await;
    let want = "\
+---------------------+---------------------+---+---+---+
| window_start        | window_end          | k | n | v |
+---------------------+---------------------+---+---+---+
| 1969-12-31T23:59:00 | 1970-01-01T00:00:00 | b | 1 | 3 |
| 1970-01-01T00:00:00 | 1970-01-01T00:01:00 | a | 2 | 6 |
| 1970-01-01T00:01:00 | 1970-01-01T00:02:00 | a | 1 | 2 |
+---------------------+---------------------+---+---+---+";
    assert_eq!(found, want);
}

#[tokio::test]
async fn a_hop_gives_each_row_once_per_window() {
    let found = rows(
        "SELECT w.window_start, w.window_end, w.window_time, sum(w.v) AS v
         FROM TABLE(HOP(t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '90' SECOND)) AS w
         GROUP BY w.window_start, w.window_end, w.window_time ORDER BY 1",
    )
    .await;
    let want = "\
+---------------------+---------------------+-------------------------+---+
| window_start        | window_end          | window_time             | v |
+---------------------+---------------------+-------------------------+---+
| 1969-12-31T23:59:00 | 1970-01-01T00:00:30 | 1970-01-01T00:00:29.999 | 8 |
| 1970-01-01T00:00:00 | 1970-01-01T00:01:30 | 1970-01-01T00:01:29.999 | 8 |
| 1970-01-01T00:01:00 | 1970-01-01T00:02:30 | 1970-01-01T00:02:29.999 | 2 |
+---------------------+---------------------+-------------------------+---+";
    assert_eq!(found, want);
}

#[tokio::test]
async fn a_not_null_time_gives_not_null_windows_and_a_time_beyond_all_windows_is_dropped() {
    for function in
        ["TUMBLE(strict, ts, INTERVAL '1 minute')", "HOP(strict, INTERVAL '30 seconds', INTERVAL '1 minute')"]
    {
        let query = format!("SELECT k, window_start, count(*) AS n FROM {function} GROUP BY k, window_start");
        let session = session().await;
        let frame = session.sql(&query).await.expect(&query);
        assert!(!frame.schema().field(1).is_nullable());
        let batches = frame.collect().await.expect(&query);
        assert!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>() > 0);
    }
    let found = rows("SELECT count(*) AS n, max(window_end) AS latest FROM TUMBLE(strict, INTERVAL '1 minute')").await;
    assert!(found.contains("| 4 | 1970-01-01T00:02:00 |"), "{found}");
}

#[tokio::test]
async fn windows_work_in_joins_subqueries_and_with_queries() {
    let found = rows(
        "WITH w AS (SELECT window_start, count(*) AS n FROM TUMBLE(t, INTERVAL '1 minute') GROUP BY window_start)
         SELECT a.window_start, a.n, b.k FROM w a JOIN TUMBLE((SELECT k, ts FROM t WHERE v > 1), ts, INTERVAL '1 minute') b
           ON a.window_start = b.window_start
         WHERE a.n = (SELECT max(n) FROM (SELECT count(*) AS n FROM TUMBLE(t, INTERVAL '1 minute') GROUP BY window_start))",
    )
    .await;
    assert!(found.contains("| 1970-01-01T00:00:00 | 2 | a |"), "{found}");
    assert_eq!(found.lines().count(), 5, "{found}");
}

#[tokio::test]
async fn the_grouping_form_gives_the_same_windows() {
    let found = rows(
        "SELECT w['start'] AS s, w['end'] AS e, n FROM
           (SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS n FROM t WHERE ts IS NOT NULL GROUP BY w) ORDER BY s",
    )
    .await;
    let want = "\
+---------------------+---------------------+---+
| s                   | e                   | n |
+---------------------+---------------------+---+
| 1969-12-31T23:59:00 | 1970-01-01T00:00:00 | 1 |
| 1970-01-01T00:00:00 | 1970-01-01T00:01:00 | 2 |
| 1970-01-01T00:01:00 | 1970-01-01T00:02:00 | 1 |
+---------------------+---------------------+---+";
    assert_eq!(found, want);
    let nulls = rows("SELECT tumble(ts, INTERVAL '1 minute') IS NULL AS n FROM t WHERE ts IS NULL").await;
    assert!(nulls.contains("| true |"), "{nulls}");
}

#[tokio::test]
async fn a_row_without_a_time_is_in_no_group_of_the_grouping_form() {
    let found = rows("SELECT tumble(ts, INTERVAL '1 minute') AS w, k, count(*) AS n FROM t GROUP BY w, k").await;
    assert_eq!(found.lines().count(), 4 + 3, "{found}");
    assert!(!found.contains("|                "), "{found}");
}

#[tokio::test]
async fn windows_stand_over_windows_and_unions() {
    let found = rows(
        "WITH u AS (SELECT k, ts, v FROM t UNION ALL SELECT 'c', ts, v FROM t),
              m AS (SELECT window_time AS at, k, sum(v) AS v FROM TUMBLE(u, ts, INTERVAL '1 minute') GROUP BY window_time, k)
         SELECT w['end'] AS e, n, v FROM
           (SELECT tumble(window_time, INTERVAL '1 hour') AS w, count(*) AS n, sum(v) AS v
            FROM HOP(m, at, INTERVAL '30 minutes', INTERVAL '1 hour') GROUP BY w) ORDER BY e",
    )
    .await;
    let want = "\
+---------------------+----+----+
| e                   | n  | v  |
+---------------------+----+----+
| 1970-01-01T00:00:00 | 2  | 6  |
| 1970-01-01T01:00:00 | 10 | 38 |
+---------------------+----+----+";
    assert_eq!(found, want);
}
