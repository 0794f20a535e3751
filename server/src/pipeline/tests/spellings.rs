//! Whole paths of what those write who come from Flink, RisingWave and Arroyo: from records, or rows, to results.

use datafusion::execution::context::SessionContext;
use proptest::sample::subsequence;

use super::joins::{Row, any_rows, cut, in_epochs, lines};
use super::*;
use crate::clock::Clock;
use crate::decode::TableDecoder;
use crate::source::{Polled, Record};

/// What a reader makes of the records of a slot: the columns that the query reads.
fn decoded(pipeline: &Pipeline, slot: usize, records: &[String]) -> Vec<RecordBatch> {
    let slot = &pipeline.slots[slot];
    let mut decoder = TableDecoder::try_new(&slot.table, slot.columns(), Clock::manual(0)).unwrap();
    for (offset, value) in (0..).zip(records) {
        let value = Some(value.as_bytes());
        let record = Record { partition: 0, offset, timestamp_ms: None, key: None, value, headers: None };
        decoder.push(&record).unwrap();
    }
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert!(batch.dead_letters.is_empty(), "{:?}", batch.dead_letters);
    batch.batches
}

fn read(pipeline: &Pipeline, slot: usize) -> Vec<&str> {
    let slot = &pipeline.slots[slot];
    slot.columns().iter().map(|at| slot.table.columns[*at].name.as_str()).collect()
}

const ORDERS: &str = "CREATE TABLE orders (
  id BIGINT, price DECIMAL(8, 2), qty INT, t BIGINT, page VARCHAR,
  ts AS to_timestamp_millis(t), amount AS price * qty, day AS CAST(ts AS DATE), loud AS upper(page),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders');
";

fn order(id: i64, price: &str, qty: i64, second: i64) -> String {
    format!(r#"{{"id":{id},"price":"{price}","qty":{qty},"t":{},"page":"a"}}"#, second * 1_000)
}

#[tokio::test]
async fn windows_stand_over_computed_columns_and_what_is_read_is_computed() {
    let query = "SELECT window_start, day, sum(amount) AS amount FROM TUMBLE(orders, ts, INTERVAL '10 seconds')
        WHERE id > 1 GROUP BY window_start, day";
    let pipeline = planned(&format!("{ORDERS}{query}"), 1).await;
    assert_eq!(read(&pipeline, 0), ["id", "ts", "amount", "day"]);
    let rows = decoded(&pipeline, 0, &[order(1, "9.99", 1, 1), order(2, "1.50", 2, 3), order(3, "0.25", 4, 9)]);
    let output = epoch(&pipeline, vec![rows], NONE, 10 * SECOND).await;
    assert_eq!(lines(&output.batches), ["1970-01-01T00:00:00,1970-01-01,4.00"]);
    // The watermark's column is read although nobody asks for it; what nobody reads is not.
    let alone = planned(&format!("{ORDERS}SELECT id FROM orders WHERE loud = 'A'"), 1).await;
    assert_eq!(read(&alone, 0), ["id", "ts", "loud"]);
    let output = epoch(&alone, vec![decoded(&alone, 0, &[order(7, "1", 1, 1)])], NONE, END).await;
    assert_eq!(lines(&output.batches), ["7"]);
}

#[tokio::test]
async fn a_computed_time_is_joined_by_and_moved_like_any_other() {
    let query =
        "SELECT o.id, c.id AS click FROM orders o JOIN clicks c ON c.ts BETWEEN o.ts AND o.ts + INTERVAL '5' SECOND";
    let pipeline = planned(&format!("{ORDERS}{query}"), 1).await;
    let clicks = pipeline.slots.iter().position(|slot| slot.table.name == "clicks").unwrap();
    let mut batches = vec![vec![], vec![]];
    batches[clicks] = rows(&pipeline, clicks, &[(1, "a", 0, 4), (2, "a", 0, 9)]);
    batches[1 - clicks] = decoded(&pipeline, 1 - clicks, &[order(7, "1", 1, 3), order(8, "1", 1, 20)]);
    let output = epoch(&pipeline, batches, NONE, END).await;
    assert_eq!(lines(&output.batches), ["7,1"]);
}

#[tokio::test]
async fn instants_are_windowed_joined_and_compared_like_times() {
    let tables = "CREATE TABLE acts (id BIGINT, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
          WITH ('connector' = 'kafka', 'topic' = 'acts', 'timestamp-format' = 'epoch-s');
        CREATE TABLE goals (id BIGINT, ts TIMESTAMP(6) WITH LOCAL TIME ZONE, WATERMARK FOR ts AS ts)
          WITH ('connector' = 'kafka', 'topic' = 'goals');\n";
    let instant = arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("+00:00".into()));
    let acts: Vec<String> = [1, 4, 12].iter().map(|second| format!(r#"{{"id":{second},"ts":{second}}}"#)).collect();
    let goals = [r#"{"id":70,"ts":"1970-01-01T02:00:03+02:00"}"#.to_owned()];
    for (query, expected) in [
        (
            "SELECT window_start, window_end, window_time, count(*) AS n FROM TUMBLE(acts, ts, INTERVAL '10 seconds')
             GROUP BY window_start, window_end, window_time",
            &["1970-01-01T00:00:00Z,1970-01-01T00:00:10Z,1970-01-01T00:00:09.999Z,2",
              "1970-01-01T00:00:10Z,1970-01-01T00:00:20Z,1970-01-01T00:00:19.999Z,1"][..],
        ),
        (
            "SELECT w['start'] AS s, n FROM (SELECT hop(ts, INTERVAL '10 seconds', INTERVAL '10 seconds') AS w, count(*) AS n FROM acts GROUP BY w)",
            &["1970-01-01T00:00:00Z,2", "1970-01-01T00:00:10Z,1"][..],
        ),
        (
            "SELECT window_start, n FROM (SELECT window_start, max(m) AS n FROM TUMBLE(
               (SELECT date_trunc('minute', CAST(ts AS TIMESTAMP(6))) AS at, id AS m FROM acts), at, INTERVAL '1 minute') GROUP BY window_start)",
            &["1970-01-01T00:00:00,12"][..],
        ),
        ("SELECT id, ts FROM acts WHERE ts > TIMESTAMP '1970-01-01 00:00:03' AND ts < '1970-01-01T00:00:11Z'", &["4,1970-01-01T00:00:04Z"][..]),
        ("SELECT id FROM acts WHERE ts = TIMESTAMP WITH TIME ZONE '1970-01-01T01:00:04+01:00'", &["4"][..]),
        ("SELECT id, CAST(ts AS TIMESTAMP_LTZ(0)) AS s FROM acts WHERE CAST(ts AS DATE) = DATE '1970-01-01' AND id < 4", &["1,1970-01-01T00:00:01Z"][..]),
        ("SELECT g.id, a.id AS act FROM goals g JOIN acts a ON a.ts BETWEEN g.ts AND g.ts + INTERVAL '5' SECOND", &["70,4"][..]),
        // An instant is a time in UTC: beside times without a zone, too.
        ("SELECT c.id, a.id AS act FROM clicks c JOIN acts a ON a.ts BETWEEN c.ts - INTERVAL '2' SECOND AND c.ts", &["5,4"][..]),
    ] {
        let pipeline = planned(&format!("{tables}{query}"), 1).await;
        let of = |slot: usize| match pipeline.slots[slot].table.name.as_str() {
            "acts" => decoded(&pipeline, slot, &acts),
            "goals" => decoded(&pipeline, slot, &goals),
            _ => rows(&pipeline, slot, &[(5, "a", 0, 5)]),
        };
        let batches = (0..pipeline.slots.len()).map(of).collect();
        let output = epoch(&pipeline, batches, NONE, END).await;
        let mut found = lines(&output.batches);
        found.sort();
        assert_eq!(found, expected, "{query}");
        if query.contains("window_time") {
            let types = pipeline.schema.fields().iter().take(3).all(|field| *field.data_type() == instant);
            assert!(types, "{}", pipeline.schema);
        }
    }
}

#[tokio::test]
async fn every_spelling_of_a_window_gives_the_same_rows() {
    let size = "INTERVAL '10' SECOND";
    let tumble = [
        format!("SELECT window_start, window_end, page, count(*) AS c FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), {size})) GROUP BY window_start, window_end, page"),
        format!("SELECT window_start, window_end, page, count(*) AS c FROM TABLE(TUMBLE(SIZE => {size}, TIMECOL => DESCRIPTOR(ts), DATA => TABLE clicks)) GROUP BY window_start, window_end, page"),
        "SELECT window_start, window_end, page, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '0:10' MINUTE TO SECOND) GROUP BY window_start, window_end, page".to_owned(),
        format!("SELECT TUMBLE_START(ts, {size}) AS s, TUMBLE_END(ts, {size}) AS e, page, count(*) AS c FROM clicks GROUP BY TUMBLE(ts, {size}), page"),
        "SELECT window['start'] AS s, window['end'] AS e, page, c FROM (SELECT count(*) AS c, tumble(interval '10 seconds') AS window, page FROM clicks GROUP BY 2, 3)".to_owned(),
        "SELECT w.window.start AS s, w.window['end'] AS e, page, c FROM (SELECT count(*) AS c, tumble(INTERVAL '10 seconds') AS window, page FROM clicks GROUP BY window, page) w".to_owned(),
        "WITH named AS (SELECT ts, page FROM clicks) SELECT window_start, window_end, page, count(*) AS c FROM TUMBLE(DATA => TABLE named, TIMECOL => ts, SIZE => INTERVAL '10 seconds') GROUP BY window_start, window_end, page".to_owned(),
        format!("SELECT window_start, window_end, page, count(*) AS c FROM TABLE(TUMBLE(DATA => (SELECT ts, page FROM clicks), TIMECOL => DESCRIPTOR(ts), SIZE => {size})) GROUP BY window_start, window_end, page"),
    ];
    let hop = [
        "SELECT window_start, window_end, count(*) AS c FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '5' SECONDS, INTERVAL '10' SECONDS)) GROUP BY window_start, window_end".to_owned(),
        "SELECT window_start, window_end, count(*) AS c FROM HOP(SIZE => INTERVAL '10' SECOND, SLIDE => INTERVAL '5' SECOND, DATA => TABLE clicks, TIMECOL => DESCRIPTOR(ts)) GROUP BY window_start, window_end".to_owned(),
        "SELECT HOP_START(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND) AS s, HOP_END(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND) AS e, count(*) AS c FROM clicks GROUP BY HOP(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND)".to_owned(),
        "SELECT w['start'] AS s, w['end'] AS e, c FROM (SELECT hop(interval '5 seconds', interval '10 seconds') AS w, count(*) AS c FROM clicks GROUP BY w)".to_owned(),
    ];
    let input = [(1, "a", 5, 1), (2, "b", 6, 9), (3, "a", 7, 9), (4, "a", 8, 12)];
    for (queries, first) in [
        (&tumble[..], "1970-01-01T00:00:00,1970-01-01T00:00:10,a,2"),
        (&hop[..], "1969-12-31T23:59:55,1970-01-01T00:00:05,1"),
    ] {
        let mut expected = None;
        for query in queries {
            let pipeline = planned(query, 1).await;
            let output = epoch(&pipeline, vec![rows(&pipeline, 0, &input)], NONE, END).await;
            let mut found = lines(&output.batches);
            found.sort();
            assert_eq!(found.first().map(String::as_str), Some(first), "{query}");
            assert_eq!(&found, expected.get_or_insert_with(|| found.clone()), "{query}");
        }
    }
}

/// A join with a relation of windows in a stream, and the same in DataFusion, which knows no windows.
fn joins_with_windows() -> Vec<(String, String)> {
    let length = "INTERVAL '10 seconds'";
    let by = "window_start, window_end, page";
    let tumble = (
        format!("(SELECT {by}, count(*) AS n FROM TUMBLE(taps, ts, {length}) GROUP BY {by})"),
        format!(
            "(SELECT *, window_start + {length} AS window_end FROM (SELECT date_bin({length}, ts) AS window_start, page, count(*) AS n FROM taps GROUP BY 1, 2))"
        ),
    );
    let hop = (
        format!("(SELECT {by}, count(*) AS n FROM HOP(taps, ts, INTERVAL '5 seconds', {length}) GROUP BY {by})"),
        format!("(SELECT *, window_start + {length} AS window_end FROM (SELECT date_bin(INTERVAL '5 seconds', ts) - off AS window_start, page, count(*) AS n
            FROM taps CROSS JOIN (VALUES (INTERVAL '0 seconds'), (INTERVAL '5 seconds')) AS o(off) GROUP BY 1, 2))"),
    );
    let rows = (
        format!("(SELECT window_start, window_end, page, n FROM TUMBLE(taps, ts, {length}))"),
        format!(
            "(SELECT date_bin({length}, ts) AS window_start, date_bin({length}, ts) + {length} AS window_end, page, n FROM taps)"
        ),
    );
    let until = "(SELECT ts AS window_start, page, n, ts + INTERVAL '3 seconds' AS window_end FROM taps)".to_owned();
    let until = (until.clone(), until);
    let mut pairs = Vec::new();
    for (ours, theirs) in [tumble, hop, rows, until] {
        for on in [
            "c.ts BETWEEN w.window_start AND w.window_end",
            "c.ts >= w.window_start AND c.ts < w.window_end AND c.page = w.page",
            "w.window_end > c.ts - INTERVAL '2 seconds' AND c.ts + INTERVAL '2 seconds' >= w.window_start AND c.page = w.page AND c.n <> w.n",
        ] {
            for join in ["JOIN", "LEFT JOIN", "FULL JOIN"] {
                let query =
                    |w: &str| format!("SELECT c.id, w.window_start, w.page, w.n FROM clicks c {join} {w} w ON {on}");
                pairs.push((query(&ours), query(&theirs)));
            }
        }
    }
    pairs
}

async fn in_batch(query: &str, clicks: &[Row], taps: &[Row]) -> Vec<String> {
    let (known, _) = parsed("SELECT 1 AS one").unwrap();
    let context = SessionContext::new_with_config(crate::sql::session_config());
    for (name, of) in [("clicks", clicks), ("taps", taps)] {
        let schema = known.0.tables[name].schema();
        let batches = if of.is_empty() { vec![] } else { json(Arc::clone(&schema), &text(of)) };
        context.register_table(name, Arc::new(MemTable::try_new(schema, vec![batches]).unwrap())).unwrap();
    }
    let mut found = lines(&context.sql(query).await.unwrap().collect().await.unwrap());
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn the_bounds_of_a_window_bound_a_join_together(
        clicks in any_rows(),
        taps in any_rows(),
        cuts in subsequence((0_i64..34).collect::<Vec<_>>(), 0..34),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (ours, theirs) in joins_with_windows() {
                let expected = in_batch(&theirs, &clicks, &taps).await;
                let found = in_epochs(&ours, 1, &cut(clicks.clone(), taps.clone(), &cuts)).await;
                assert_eq!(found, expected, "{ours}");
            }
        });
    }
}

#[tokio::test]
async fn times_that_are_not_a_fixed_length_apart_are_bounds_of_their_own() {
    let hop_of_hop = "(SELECT inner_start, window_end FROM HOP(
        (SELECT window_start AS inner_start, window_time AS at FROM HOP(taps, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')),
        at, INTERVAL '5 seconds', INTERVAL '10 seconds'))";
    for (from, start) in [
        (
            "(SELECT window_start, window_end FROM CUMULATE(taps, ts, INTERVAL '5 seconds', INTERVAL '10 seconds'))",
            "window_start",
        ),
        (hop_of_hop, "inner_start"),
        (
            "(SELECT ts, ts + INTERVAL '3 seconds' AS window_end FROM taps UNION ALL SELECT ts, ts + INTERVAL '4 seconds' FROM taps)",
            "ts",
        ),
        ("(SELECT ts, date_trunc('minute', ts) AS window_end FROM taps)", "ts"),
    ] {
        let query = format!("SELECT c.id FROM clicks c JOIN {from} w ON c.ts BETWEEN w.{start} AND w.window_end");
        let error = try_planned(&query, 1).await.expect_err(&query).report();
        assert!(error.contains("the join's bound in time has one side only"), "{query}\n{error}");
    }
    // The branches of a union may have the same length each.
    let union = "(SELECT ts, ts + INTERVAL '3 seconds' AS until FROM taps UNION ALL SELECT ts, ts + INTERVAL '3 seconds' FROM clicks)";
    planned(&format!("SELECT c.id FROM clicks c JOIN {union} w ON c.ts BETWEEN w.ts AND w.until"), 1).await;
}

#[tokio::test]
async fn functions_of_peers_that_there_are_not_say_what_to_write() {
    for (query, hint) in [
        ("SELECT id, proctime() AS at FROM clicks", "there is no processing time"),
        ("SELECT id FROM clicks WHERE mz_now() <= ts", "there is no processing time"),
        ("SELECT id FROM clicks WHERE ts > CURRENT_WATERMARK(ts)", "late rows are left out"),
        (
            "SELECT window_start, listagg(page) AS pages FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start",
            "write string_agg(",
        ),
        ("SELECT format_timestamp('x', ts) AS d FROM clicks", "write to_char(ts"),
        ("SELECT window(ts, '10 minutes') AS w, count(*) AS n FROM clicks GROUP BY 1", "write GROUP BY tumble(ts"),
        (
            "SELECT session_window(ts, '5 minutes') AS w, count(*) AS n FROM clicks GROUP BY 1",
            "a session is a window in FROM",
        ),
    ] {
        let error = try_planned(query, 1).await.expect_err(query).report();
        assert!(
            error.contains("invalid function '") && error.contains(&format!("\n  hint: {hint}")),
            "{query}\n{error}"
        );
    }
}
