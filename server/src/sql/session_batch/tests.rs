use arrow::util::pretty::pretty_format_batches;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::DFParserBuilder;

use crate::sql::dialect::StreamDialect;
use crate::sql::window_tvf::WatermarkColumns;
use crate::sql::{ExpandWindowTvfs, add_window_functions, session_config};

#[derive(Debug)]
struct Fixed;

impl WatermarkColumns for Fixed {
    fn watermark_column(&self, table: &TableReference) -> Option<String> {
        (table.table() == "t").then(|| "ts".to_owned())
    }
}

/// Seconds 0, 3, 8, 20 of key a, 5 and 9 of key b, 1 and 7 of no key, and a row without a time.
async fn rows_of(query: &str, longest_us: Option<i64>) -> Vec<String> {
    let session = SessionContext::new_with_config(session_config().with_target_partitions(3));
    add_window_functions(&session, std::sync::Arc::new(Fixed)).expect("registered");
    session.add_analyzer_rule(std::sync::Arc::new(ExpandWindowTvfs { longest_us }));
    let setup = "CREATE TABLE t AS SELECT column1 AS k, arrow_cast(column2, 'Timestamp(ms)') AS ts, column3 AS v FROM VALUES
        ('a', '1970-01-01T00:00:08', 4), ('a', '1970-01-01T00:00:00', 1), (NULL, '1970-01-01T00:00:01', 16), ('b', '1970-01-01T00:00:09', 64),
        ('a', '1970-01-01T00:00:03', 2), (NULL, '1970-01-01T00:00:07', 32), ('b', '1970-01-01T00:00:05', 128), ('a', NULL, 256),
        ('a', '1970-01-01T00:00:20', 8)";
    session.sql(setup).await.expect(setup).collect().await.expect(setup);
    let dialect = StreamDialect::default();
    let mut parser = DFParserBuilder::new(query).with_dialect(&dialect).build().expect(query);
    let statement = parser.parse_statements().expect(query).pop_front().expect(query);
    let plan = session.state().statement_to_plan(statement).await.expect(query);
    let batches = session.execute_logical_plan(plan).await.expect(query).collect().await.expect(query);
    let text = pretty_format_batches(&batches).expect("printable").to_string();
    let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",");
    let lines = text.lines().skip(3).filter(|line| line.starts_with('|')).map(cells);
    let mut lines: Vec<String> = lines.map(|line| line.replace("1970-01-01T00:00:", "")).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn without_keys_there_is_one_session_over_the_table_and_null_is_a_key_like_another() {
    let query = "SELECT window_start, window_end, window_time, sum(v) AS v FROM SESSION(t, ts, INTERVAL '5 seconds')
        GROUP BY window_start, window_end, window_time";
    assert_eq!(rows_of(query, None).await, ["00,14,13.999,247", "20,25,24.999,8"]);
    let query = "SELECT k, window_start, window_end, sum(v) AS v FROM SESSION(t PARTITION BY k, INTERVAL '5 seconds')
        GROUP BY k, window_start, window_end";
    // 3 and 8 are exactly the gap apart, 1 and 7 are not.
    assert_eq!(rows_of(query, None).await, [",01,06,16", ",07,12,32", "a,00,13,7", "a,20,25,8", "b,05,14,192"]);
}

#[tokio::test]
async fn the_grouping_form_is_per_the_other_keys() {
    let query = "SELECT w['start'] AS s, w['end'] AS e, key, v, c FROM (
        SELECT session(ts, INTERVAL '5 seconds') AS w, upper(k) AS key, sum(v) AS v, count(*) AS c FROM t GROUP BY w, upper(k))";
    assert_eq!(
        rows_of(query, None).await,
        ["00,13,A,7,3", "01,06,,16,1", "05,14,B,192,2", "07,12,,32,1", "20,25,A,8,1"]
    );
    let query = "SELECT session(ts + INTERVAL '1 second', INTERVAL '5 seconds') AS w FROM t WHERE v > 4 GROUP BY w HAVING count(*) > 1";
    assert_eq!(rows_of(query, None).await, ["{start: 02, end: 15}"]);
    let query = "SELECT v % 2 AS odd, sum(v) AS v FROM t GROUP BY session(ts, INTERVAL '10 seconds'), v % 2, v % 2";
    assert_eq!(rows_of(query, None).await, ["0,246", "0,8", "1,1"]);
    // The windows of another function below are keys like others.
    let query = "SELECT window_end, session(ts, INTERVAL '5 seconds') AS w, count(*) AS c
        FROM TUMBLE(t, ts, INTERVAL '5 seconds') GROUP BY window_end, w";
    assert_eq!(
        rows_of(query, None).await,
        ["05,{start: 00, end: 08},3", "10,{start: 05, end: 14},4", "25,{start: 20, end: 25},1"]
    );
}

#[tokio::test]
async fn sessions_are_cut_where_they_may_not_be_longer() {
    let query = "SELECT window_start, window_end, sum(v) AS v FROM SESSION(t, ts, INTERVAL '5 seconds') GROUP BY window_start, window_end";
    assert_eq!(rows_of(query, Some(5_000_000)).await, ["00,05,19", "05,10,228", "20,25,8"]);
    let query = "SELECT session(ts, INTERVAL '5 seconds') AS w, k, count(*) AS c FROM t GROUP BY k, w";
    let cut = [
        "{start: 00, end: 08},a,2",
        "{start: 01, end: 06},,1",
        "{start: 05, end: 13},b,2",
        "{start: 07, end: 12},,1",
        "{start: 08, end: 13},a,1",
        "{start: 20, end: 25},a,1",
    ];
    assert_eq!(rows_of(query, Some(8_000_000)).await, cut);
}

#[tokio::test]
async fn sessions_stand_over_queries_and_below_windows() {
    let query = "WITH s AS (SELECT window_time AS at, k, count(*) AS c FROM SESSION((SELECT k, ts FROM t WHERE v < 100) PARTITION BY k, ts, INTERVAL '5 seconds')
            GROUP BY window_time, k)
        SELECT window_end, count(*) AS sessions, max(c) AS most FROM TUMBLE(s, at, INTERVAL '10 seconds') GROUP BY window_end";
    assert_eq!(rows_of(query, None).await, ["10,1,1", "20,3,3", "30,1,1"]);
    let query = "SELECT count(*) AS rows, count(DISTINCT window_end) AS ends FROM SESSION(t PARTITION BY (k, v), INTERVAL '1 second')";
    assert_eq!(rows_of(query, None).await, ["8,8"]);
}

// As in GROUP BY, whatever the sign of zero.
#[tokio::test]
async fn keys_that_group_by_takes_for_one_are_one() {
    let query = "SELECT window_start, count(*) AS c FROM SESSION(
        (SELECT ts, CASE WHEN v = 1 THEN -0.0e0 WHEN v = 2 THEN 0.0e0 ELSE 1e0 END AS f FROM t WHERE v < 3) PARTITION BY f, ts, INTERVAL '5 seconds')
        GROUP BY window_start, window_end";
    assert_eq!(rows_of(query, None).await, ["00,2"]);
}
