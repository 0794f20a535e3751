//! OVER within windows, against what the same rows give in DataFusion over all of them at once.

use proptest::sample::subsequence;

use super::joins::{cut, in_epochs, lines};
use super::windows::answer_over;
use super::windows_in_batch::in_batch;
use super::*;
use crate::operator::contract::{RestoredSegment, StoredSegment};

/// Three windows of ten seconds, with ties in `n`.
const ROWS: [Row; 9] = [
    (1, "a", 5, 1),
    (2, "b", 5, 2),
    (3, "a", 1, 4),
    (4, "c", 7, 9),
    (5, "b", 2, 11),
    (6, "a", 2, 13),
    (7, "c", 9, 13),
    (8, "a", 3, 27),
    (9, "b", 3, 29),
];

const TUMBLE: &str = "TUMBLE(clicks, ts, INTERVAL '10 seconds')";
const HOP: &str = "HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')";
const CUMULATE: &str = "CUMULATE(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')";

/// Its two most frequent pages of each window.
const TOP: &str = "SELECT window_end, page, c, place FROM (
    SELECT window_end, page, count(*) AS c,
        row_number() OVER (PARTITION BY window_start, window_end ORDER BY count(*) DESC, page) AS place
    FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, page) WHERE place <= 2";

/// Every query has one answer: where rows tie, the order says which comes first, or it does not matter.
fn queries() -> Vec<String> {
    let counts = "(SELECT window_start, window_end, page, count(*) AS c, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
        GROUP BY window_start, window_end, page)";
    let mut queries = vec![TOP.to_owned()];
    for rows in [TUMBLE, HOP, CUMULATE] {
        // The first row of each page.
        queries.push(format!("SELECT id, window_end FROM (SELECT *, row_number() OVER (PARTITION BY window_end, page ORDER BY ts, id) AS rn FROM {rows}) WHERE rn = 1"));
        queries.push(format!("SELECT id, window_start, n * 1.0 / sum(n) OVER (PARTITION BY window_start, window_end) AS share FROM {rows}"));
        queries.push(format!("SELECT id, window_end, lag(n) OVER w AS before, lead(id, 2, -1) OVER w AS after, rank() OVER v AS place,
            dense_rank() OVER v AS dense, count(*) OVER (PARTITION BY window_end) AS all_rows FROM {rows}
            WINDOW w AS (PARTITION BY window_time, page ORDER BY ts, id), v AS (PARTITION BY window_end ORDER BY n DESC)"));
        // Windows that begin together are in one partition.
        queries.push(format!("SELECT id, window_end, count(*) OVER (PARTITION BY window_start) AS c, sum(n) OVER (PARTITION BY page, window_start ORDER BY ts, id, window_end) AS s FROM {rows}"));
    }
    for over in [
        "ntile(3) OVER (PARTITION BY window_end ORDER BY n, id)",
        "percent_rank() OVER (PARTITION BY window_end ORDER BY n DESC)",
        "cume_dist() OVER (PARTITION BY window_end, page ORDER BY n)",
        "sum(n) OVER (PARTITION BY window_end ORDER BY ts, id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        "sum(n) OVER (PARTITION BY window_end ORDER BY ts RANGE BETWEEN INTERVAL '3 seconds' PRECEDING AND CURRENT ROW)",
        "max(n) OVER (PARTITION BY window_end ORDER BY n GROUPS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING)",
        "sum(n) OVER (PARTITION BY window_end ORDER BY n)",
        "count(*) FILTER (WHERE n > 2) OVER (PARTITION BY window_end, n % 2 = 0)",
        "nth_value(n, 2) OVER (PARTITION BY window_end ORDER BY id DESC)",
        "last_value(page) OVER (PARTITION BY window_end ORDER BY n, id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
        "string_agg(page, '+') OVER (PARTITION BY window_end ORDER BY id)",
        "count(DISTINCT page) OVER (PARTITION BY window_end)",
        "min(upper(page)) OVER (PARTITION BY window_end, 1 ORDER BY 'x', n + 1)",
    ] {
        queries.push(format!("SELECT id, {over} AS v FROM {TUMBLE}"));
    }
    queries.push(format!("SELECT * FROM {counts} QUALIFY rank() OVER (PARTITION BY window_end ORDER BY c DESC) = 1"));
    queries.push(format!(
        "SELECT page, window_end, c - lag(c, 1, 0) OVER (PARTITION BY window_start ORDER BY page) AS more FROM {counts}"
    ));
    queries.push(
        "SELECT id, row_number() OVER (PARTITION BY tumble(ts, INTERVAL '10 seconds') ORDER BY id) AS nth FROM clicks"
            .to_owned(),
    );
    queries.push("SELECT id, w['start'] AS began, sum(n) OVER (PARTITION BY w) AS s FROM (SELECT *, tumble(ts, INTERVAL '10 seconds') AS w FROM clicks)".to_owned());
    // Upon one another, and above what OVER says of a window an aggregate by it and another window.
    queries.push(format!("SELECT *, sum(nth) OVER (PARTITION BY window_end ORDER BY nth DESC) AS s FROM (SELECT id, window_end, row_number() OVER (PARTITION BY window_end ORDER BY id) AS nth FROM {TUMBLE})"));
    queries.push(format!("SELECT window_start, window_end, sum(c) AS c, min(page) AS page FROM (SELECT *, rank() OVER (PARTITION BY window_start ORDER BY c DESC) AS place FROM {counts}) WHERE place = 1 GROUP BY window_start, window_end"));
    queries.push(format!("SELECT window_start, count(*) AS c FROM (SELECT window_start, row_number() OVER (PARTITION BY window_end ORDER BY id) AS nth FROM {HOP}) WHERE nth > 1 GROUP BY window_start"));
    queries.push(format!("SELECT window_start, max(id) AS id FROM TUMBLE((SELECT ts, id FROM (SELECT ts, id, row_number() OVER (PARTITION BY window_end ORDER BY n, id) AS nth FROM {TUMBLE}) WHERE nth = 1), ts, INTERVAL '20 seconds') GROUP BY window_start"));
    // Two windows, of which each is one call's.
    queries.push("SELECT id, count(*) OVER (PARTITION BY inner_end) AS a, count(*) OVER (PARTITION BY window_end) AS b FROM TUMBLE(
        (SELECT id, ts, window_end AS inner_end FROM TUMBLE(clicks, ts, INTERVAL '5 seconds')), ts, INTERVAL '20 seconds')".to_owned());
    // And equal ones upon one another: a row is in each of its inner windows with each of its outer ones.
    let equal = HOP.replace("clicks", &format!("(SELECT id, ts, window_end AS inner_end FROM {HOP})"));
    queries.push(format!("SELECT id, inner_end, window_end, count(*) OVER (PARTITION BY inner_end) AS a, count(*) OVER (PARTITION BY window_end) AS b FROM {equal}"));
    queries.push(format!(
        "SELECT id, inner_end, window_end, sum(id) OVER (PARTITION BY inner_end, window_end) AS s FROM {equal}"
    ));
    // Streams put together, and joined by their windows.
    queries.push("SELECT id, page, row_number() OVER (PARTITION BY window_end ORDER BY id, page) AS nth FROM (
        SELECT id, page, window_end FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') UNION ALL SELECT id + 100, upper(page), window_end FROM TUMBLE(taps, ts, INTERVAL '10 seconds'))".to_owned());
    let top = |table: &str| TOP.replace("clicks", table);
    queries.push(format!("SELECT a.window_end, a.page, a.c, b.c AS d FROM ({}) a JOIN ({}) b ON a.window_end = b.window_end AND a.place = b.place", top("clicks"), top("taps")));
    queries
}

#[tokio::test]
async fn what_over_says_within_a_window_is_what_it_says_in_batch_however_rows_come() {
    for query in queries() {
        let expected = in_batch(&query, &ROWS, &ROWS).await;
        let whole = in_epochs(&query, 1, &[(ROWS.to_vec(), ROWS.to_vec(), END)]).await;
        assert_eq!(whole, expected, "{query}");
        // Whole, row by row, on the wide plan, and where all memory is taken: on disk, and left to a checkpoint.
        assert_eq!(answer_over(&query, &ROWS).await.len(), expected.len(), "{query}");
    }
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let page = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::vec((page, 0_i64..4, 0_i64..30), 0..30)
        .prop_map(|rows| (0..).zip(rows).map(|(id, (page, n, second))| (id, page, n, second)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn windows_say_the_same_wherever_epochs_are_cut(
        clicks in any_rows(),
        taps in any_rows(),
        cuts in subsequence((0_i64..34).collect::<Vec<_>>(), 0..34),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for query in queries() {
                let expected = in_batch(&query, &clicks, &taps).await;
                for partitions in [1, 3] {
                    let found = in_epochs(&query, partitions, &cut(clicks.clone(), taps.clone(), &cuts)).await;
                    assert_eq!(found, expected, "{query} in {partitions} partitions");
                }
            }
        });
    }
}

#[tokio::test]
async fn a_window_is_compared_when_the_watermark_reaches_its_end_and_not_before() {
    let query = format!("SELECT id, row_number() OVER (PARTITION BY window_end ORDER BY n, id) AS nth FROM {TUMBLE}");
    for query in [query.as_str(), TOP] {
        let pipeline = planned(query, 1).await;
        assert_eq!(epoch(&pipeline, vec![rows(&pipeline, 0, &ROWS)], NONE, 10 * SECOND - 1).await.rows(), 0);
        assert!(!pipeline.due(&[Mark::new(10 * SECOND - 1)]) && pipeline.due(&[Mark::new(10 * SECOND)]), "{query}");
        let first = epoch(&pipeline, vec![vec![]], 10 * SECOND - 1, 10 * SECOND).await.rows();
        assert_eq!(first, if query == TOP { 2 } else { 4 }, "{query}");
        assert_eq!(pipeline.close_all_at(&[15 * SECOND]), [20 * SECOND], "{query}");
        epoch(&pipeline, vec![vec![]], 10 * SECOND, END).await;
        assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0), "{query}");
    }
}

#[tokio::test]
async fn rows_wait_as_long_as_lateness_is_allowed_and_closed_windows_no_longer_than_they_have() {
    let late = |query: &str| format!("CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '4 seconds') AS {query}");
    let query = format!("SELECT id, count(*) OVER (PARTITION BY window_end) AS c FROM {TUMBLE}");
    for query in [query.as_str(), TOP] {
        let pipeline = planned(&late(query), 1).await;
        epoch(&pipeline, vec![rows(&pipeline, 0, &ROWS[..4])], NONE, 12 * SECOND).await;
        // Behind the watermark, and counted.
        let output = epoch(&pipeline, vec![rows(&pipeline, 0, &[(10, "c", 0, 3)])], 12 * SECOND, 14 * SECOND - 1).await;
        assert_eq!((output.rows(), output.late.len()), (0, 0), "{query}");
        let output = epoch(&pipeline, vec![vec![]], 14 * SECOND - 1, 14 * SECOND).await;
        assert_eq!(output.rows(), if query == TOP { 2 } else { 5 }, "{query}");
        let output = epoch(&pipeline, vec![rows(&pipeline, 0, &[(11, "c", 0, 4)])], 14 * SECOND, 14 * SECOND).await;
        assert_eq!(output.late.len(), 1, "{query}");
    }
}

/// One epoch of rows at second 1, the first six ids of partition 0 and the others of partition 1.
async fn take(pipeline: &Pipeline, ids: &[i64], after: Micros) -> Emitted {
    let of: Vec<_> = ids.iter().map(|id| (*id, if id % 5 == 0 { "a" } else { "b" }, id % 3, 1)).collect();
    let mut origins = Origins::default();
    ids.iter().for_each(|id| origins.push((id / 6) as i32, id % 6));
    let input = StepInput {
        epoch: 1,
        batches: vec![if ids.is_empty() { vec![] } else { rows(pipeline, 0, &of) }],
        origins: vec![vec![origins]],
        sources: vec![Mark::new(after)],
        ..StepInput::default()
    };
    let output = pipeline.step(input).await.unwrap_or_else(|error| panic!("{}", error.report()));
    pipeline.commit().unwrap();
    Emitted::of(output)
}

// `order` says in its bits of which partition the next row is read, `cuts` behind which rows an epoch ends.
#[tokio::test]
async fn peers_come_in_the_order_in_which_they_were_read_however_that_is_cut() {
    let query = |from: &str| {
        format!(
            "SELECT id, row_number() OVER (PARTITION BY window_end) AS a, row_number() OVER (PARTITION BY window_end ORDER BY ts DESC) AS b,
                ntile(3) OVER (PARTITION BY window_end ORDER BY n) AS c, lag(id) OVER (PARTITION BY window_end, page ORDER BY n) AS before,
                first_value(id) OVER (PARTITION BY window_end) AS first, rank() OVER (PARTITION BY window_end ORDER BY ts) AS place,
                string_agg(page, '') OVER (PARTITION BY window_end ORDER BY ts ROWS UNBOUNDED PRECEDING) AS pages FROM {from}"
        )
    };
    // Rows that an operator made are told apart by all that they say.
    let made = "(SELECT window_end, id, page, n, min(ts) AS ts FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, id, page, n)";
    for from in [TUMBLE, made] {
        let mut answers = Vec::new();
        for (order, cuts) in [(0, 0), (0xfff, 0xfff), (0x555, 0), (0xa5c, 0x111), (0x333, 0x924), (0x0f3, 0xfff)] {
            for partitions in [1, 3] {
                let pipeline = planned(&query(from), partitions).await;
                let (mut next, mut epoch) = ([0, 6], Vec::new());
                for at in 0..12 {
                    let other = 1 - (order >> at & 1) as usize;
                    let of = if next[1 - other] < [6, 12][1 - other] { 1 - other } else { other };
                    epoch.push(next[of]);
                    next[of] += 1;
                    if cuts >> at & 1 == 1 {
                        assert_eq!(take(&pipeline, &std::mem::take(&mut epoch), NONE).await.rows(), 0);
                    }
                }
                let mut answer = lines(&take(&pipeline, &epoch, END).await.batches);
                answer.sort();
                answers.push(answer);
            }
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{from}: {answers:?}");
        assert_eq!(answers[0].len(), 12, "{from}");
    }
    // As they were read, and with DESC the last one first.
    let query = format!(
        "SELECT id, row_number() OVER (PARTITION BY window_end) AS a, row_number() OVER (PARTITION BY window_end ORDER BY ts DESC) AS b FROM {TUMBLE}"
    );
    let mut found = lines(&take(&planned(&query, 1).await, &[7, 1, 6, 0], END).await.batches);
    found.sort();
    assert_eq!(found, ["0,1,4", "1,2,3", "6,3,2", "7,4,1"]);
}

#[tokio::test]
async fn a_row_of_a_window_that_has_closed_is_late_once_with_what_it_missed_and_where_it_was_read() {
    let query = format!("SELECT id, window_end, count(*) OVER (PARTITION BY window_end) AS c FROM {HOP}");
    let pipeline = planned(&query, 1).await;
    pipeline.pass(&[Mark::new(12 * SECOND)]);
    let input = StepInput {
        epoch: 1,
        batches: vec![rows(&pipeline, 0, &[(1, "a", 0, 7), (2, "a", 0, 2), (3, "b", 0, 12)])],
        origins: vec![vec![Origins::records(4, 100, 3)]],
        sources: vec![Mark::END],
        ..StepInput::default()
    };
    let output = Emitted::of(pipeline.step(input).await.unwrap());
    pipeline.commit().unwrap();
    let late: Vec<_> = output
        .late
        .iter()
        .map(|row| (row.operator.as_str(), row.missed.unwrap(), row.wholly, row.origin.as_ref().unwrap().offset))
        .collect();
    let at = |from: Micros, to: Micros| (from * SECOND, to * SECOND);
    assert_eq!(late, [("pane-0", at(0, 10), false, 100), ("pane-0", at(-5, 10), true, 101)]);
    // What is kept, and nothing of ours.
    assert_eq!(output.late[0].row, r#"{"id":1,"window_end":"1970-01-01T00:00:10"}"#);
    let mut found = lines(&output.batches);
    found.sort();
    assert_eq!(found, ["1,1970-01-01T00:00:15,2", "3,1970-01-01T00:00:15,2", "3,1970-01-01T00:00:20,1"]);
}

#[tokio::test]
async fn nulls_are_partitions_and_peers_and_rows_without_a_window_are_counted() {
    let by_call = "SELECT id, row_number() OVER (PARTITION BY tumble(ts, INTERVAL '10 seconds'), page ORDER BY n, id) AS nth FROM clicks";
    let by_rows = "SELECT id, row_number() OVER (PARTITION BY window_end, page ORDER BY n, id) AS nth FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')";
    for (query, without) in [(by_call, 2), (by_rows, 0)] {
        let pipeline = planned(query, 1).await;
        let slot = &pipeline.slots[0];
        let text = r#"{"id":1,"page":null,"n":1,"ts":3000}
{"id":2,"page":null,"n":null,"ts":4000}
{"id":3,"page":"a","n":1,"ts":5000}
{"id":4,"page":"a","n":1,"ts":null}
{"id":5,"page":null,"n":1}"#;
        let batches: Vec<_> =
            json(slot.table.schema(), text).iter().map(|batch| batch.project(slot.columns()).unwrap()).collect();
        let output = epoch(&pipeline, vec![batches], NONE, END).await;
        let mut found = lines(&output.batches);
        found.sort();
        assert_eq!(found, ["1,1", "2,2", "3,1"], "{query}");
        // A window function in FROM adds nothing to rows without a time.
        assert_eq!((output.without_time, output.late.len()), (without, 0), "{query}");
    }
}

/// Takes up in a new pipeline what a checkpoint would hold of another one.
async fn restarted(query: &str, partitions: usize, before: &Pipeline) -> Pipeline {
    let next = planned(query, partitions).await;
    for (operator, before) in next.operators().iter().zip(before.operators()) {
        assert_eq!(operator.state_schema_sha256().unwrap(), before.state_schema_sha256().unwrap());
        for StoredSegment { input, shard, pane, segment } in before.segments() {
            let batches = segment.rows.batches().map(|batch| batch.unwrap()).collect();
            let (id, level) = (segment.id, segment.level);
            operator.restore(RestoredSegment { input, shard, pane, id, level, batches }).unwrap();
        }
    }
    next
}

#[tokio::test]
async fn what_a_checkpoint_holds_is_gone_on_from_and_what_was_undone_comes_again() {
    for query in queries().into_iter().filter(|query| !query.contains("taps")) {
        let clicks: Vec<Row> = (0..40).map(|id| (id, ["a", "b", "c"][id as usize % 3], id % 4, id)).collect();
        let expected = in_batch(&query, &clicks, &[]).await;
        let mut found = Vec::new();
        let (mut pipeline, mut before) = (planned(&query, 1).await, NONE);
        for (clicks, _, after) in cut(clicks, vec![], &(1..42).step_by(3).collect::<Vec<_>>()) {
            let of = |pipeline: &Pipeline| vec![if clicks.is_empty() { vec![] } else { rows(pipeline, 0, &clicks) }];
            let undone =
                StepInput { epoch: 1, batches: of(&pipeline), sources: vec![Mark::END], ..StepInput::default() };
            pipeline.step(undone).await.unwrap();
            pipeline.abort();
            found.extend(lines(&epoch(&pipeline, of(&pipeline), before, after).await.batches));
            before = after;
            pipeline = restarted(&query, 2, &pipeline).await;
        }
        found.sort();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn state_of_other_columns_is_refused() {
    let query = format!("SELECT id, count(*) OVER (PARTITION BY window_end) AS c FROM {TUMBLE}");
    let pipeline = planned(&query, 1).await;
    let other = RecordBatch::try_from_iter([("x", Arc::new(arrow::array::StringArray::from(vec!["x"])) as _)]).unwrap();
    let segment = RestoredSegment { input: 0, shard: 0, pane: 0, id: 9, level: 0, batches: vec![other] };
    let error = pipeline.operators()[0].restore(segment).unwrap_err();
    assert_eq!((error.kind(), error.primary()), (ErrorKind::Invalid, "rows of a window are kept with other columns"));
}

#[tokio::test]
async fn a_thousand_epochs_of_one_row_leave_a_few_segments_and_nothing_behind_the_end() {
    let query = format!(
        "SELECT id, row_number() OVER (PARTITION BY window_end, page ORDER BY id) AS nth FROM {}",
        TUMBLE.replace("10 seconds", "1 hour")
    );
    let pipeline = planned(&query, 1).await;
    for id in 0..1_000 {
        epoch(&pipeline, vec![rows(&pipeline, 0, &[(id, "a", 0, id)])], NONE, NONE).await;
    }
    // 1000 in base 8 is 1750.
    assert_eq!(pipeline.operators()[0].segments().len(), 1 + 7 + 5);
    assert_eq!(epoch(&pipeline, vec![vec![]], NONE, END).await.rows(), 1_000);
    assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));
}

#[tokio::test]
async fn only_columns_that_somebody_reads_are_kept() {
    let query = format!(
        "SELECT id FROM (SELECT *, row_number() OVER (PARTITION BY window_end, page ORDER BY ts) AS nth FROM {TUMBLE}) WHERE nth = 1"
    );
    let pipeline = planned(&query, 1).await;
    let slot = &pipeline.slots[0];
    let read: Vec<_> = slot.columns().iter().map(|at| slot.table.schema().field(*at).name().clone()).collect();
    assert_eq!(read, ["id", "page", "ts"]);
    epoch(&pipeline, vec![rows(&pipeline, 0, &ROWS)], NONE, NONE).await;
    let stored = pipeline.operators()[0].segments();
    let kept = stored[0].segment.rows.batches_in_memory().unwrap()[0].schema();
    let names: Vec<_> = kept.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names[..4], ["page", "id", "ts", "window_end"]);
    assert!(names.len() == 5 && names[4].starts_with("place_read("), "{names:?}");
}

const STRICT: &str = "CREATE TABLE strict (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'strict', 'format' = 'json', 'on-bad-row' = 'fail');
";

/// Rows at offsets from 100 on, in two epochs, of which the second closes every window.
async fn run(pipeline: &Pipeline, of: &[Row]) -> Result<(Vec<String>, Vec<DeadLetter>)> {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for (at, (of, after)) in [(&of[..of.len() / 2], NONE), (&of[of.len() / 2..], END)].into_iter().enumerate() {
        let input = StepInput {
            epoch: 1,
            batches: vec![rows(pipeline, 0, of)],
            origins: vec![vec![Origins::records(3, 100 + at as i64 * 50, of.len())]],
            sources: vec![Mark::new(after)],
            ..StepInput::default()
        };
        match pipeline.step(input).await.map(Emitted::of) {
            Ok(output) => {
                pipeline.commit()?;
                found.extend(lines(&output.batches));
                bad.extend(output.bad);
            }
            Err(error) => {
                pipeline.abort();
                return Err(error);
            }
        }
    }
    found.sort();
    Ok((found, bad))
}

#[tokio::test]
async fn a_row_that_an_argument_cannot_take_is_found_when_it_comes_with_its_origin_and_the_place() {
    let of = [(1, "a", 6, 1), (0, "b", 4, 2), (2, "a", 5, 3), (0, "b", 1, 5)];
    for over in [
        "sum(n / id) OVER (PARTITION BY window_end)",
        "count(*) OVER (PARTITION BY window_end ORDER BY n / id)",
        "count(*) OVER (PARTITION BY window_end, n / id > 100)",
        "count(*) FILTER (WHERE n / id > -1) OVER (PARTITION BY window_end ORDER BY ts)",
    ] {
        for partitions in [1, 3] {
            let pipeline = planned(&format!("SELECT id, {over} AS v FROM {TUMBLE}"), partitions).await;
            let (found, bad) = run(&pipeline, &of).await.unwrap_or_else(|error| panic!("{}", error.report()));
            assert_eq!(found.len(), 2, "{over}: {found:?}");
            let offsets: Vec<_> = bad.iter().map(|letter| (letter.partition, letter.offset)).collect();
            assert_eq!(offsets, [(Some(3), Some(101)), (Some(3), Some(151))], "{over}");
            assert!(
                bad[0].reason.starts_with("test.sql:9:") && bad[0].reason.contains("division by zero"),
                "{}",
                bad[0].reason
            );
        }
    }
    let query = format!(
        "{STRICT}SELECT sum(n / id) OVER (PARTITION BY window_end) AS v FROM {}",
        TUMBLE.replace("clicks", "strict")
    );
    assert!(run(&planned(&query, 1).await, &of).await.unwrap_err().primary().contains("division by zero"));
}

#[tokio::test]
async fn what_cannot_be_computed_within_a_window_is_left_out_by_its_keys_and_the_rest_goes_out() {
    let most = i64::MAX;
    let of = [(1, "a", most, 1), (2, "b", 4, 2), (3, "c", most, 3), (4, "a", 1, 4), (5, "c", -1, 4), (6, "b", 1, 15)];
    let query = format!("SELECT id, sum(n) OVER (PARTITION BY window_end, page) AS s FROM {TUMBLE}");
    let (found, bad) = run(&planned(&query, 1).await, &of).await.unwrap();
    let sum = most - 1;
    assert_eq!(found, ["2,4".to_owned(), format!("3,{sum}"), format!("5,{sum}"), "6,1".to_owned()]);
    let [letter] = bad.as_slice() else { panic!("{bad:?}") };
    assert!(
        letter.reason.starts_with("test.sql:9:") && letter.reason.contains("does not fit into BIGINT"),
        "{}",
        letter.reason
    );
    let text = String::from_utf8(letter.value.clone().unwrap()).unwrap();
    assert_eq!(
        text,
        r#"{"operator":"pane-0","window_start":"1970-01-01T00:00:00","window_end":"1970-01-01T00:00:10","page":"a"}"#
    );
    // Calls whose rows fall apart otherwise stand upon one another: what one cannot compute the next does not see.
    let query = format!(
        "SELECT id, sum(n) OVER (PARTITION BY window_end, page) AS s, rank() OVER (PARTITION BY window_end ORDER BY n) AS r FROM {TUMBLE}"
    );
    let (found, bad) = run(&planned(&query, 1).await, &of).await.unwrap();
    let rest = vec!["2,4,2".to_owned(), format!("3,{sum},3"), format!("5,{sum},1"), "6,1,1".to_owned()];
    assert_eq!((found, bad.len()), (rest, 1));
    let query = format!("{STRICT}{}", query.replace("clicks", "strict"));
    assert!(run(&planned(&query, 1).await, &of).await.unwrap_err().primary().contains("does not fit into BIGINT"));
}

#[tokio::test]
async fn a_window_that_memory_has_no_room_to_sort_is_refused_by_the_name_of_its_query() {
    let query = format!("SELECT id, row_number() OVER (PARTITION BY window_end ORDER BY n) AS nth FROM {TUMBLE}");
    let mut pipeline = planned(&query, 1).await;
    let budget = Budget::new(4 << 20, None);
    pipeline.charge_to(budget.account("query \"v\"")).unwrap();
    for part in 0..4 {
        let some: Vec<Row> = (0..12_000).map(|id| (part * 12_000 + id, "a", id % 7, 1)).collect();
        epoch(&pipeline, vec![rows(&pipeline, 0, &some)], NONE, NONE).await;
    }
    let input = || StepInput { epoch: 1, batches: vec![vec![]], sources: vec![Mark::END], ..StepInput::default() };
    let error = pipeline.step(input()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OverBudget, "{}", error.report());
    assert!(error.report().contains("query \"v\""), "{}", error.report());
    // Nothing is lost: with room it goes on.
    pipeline.abort();
    let roomy = restarted(&query, 1, &pipeline).await;
    assert_eq!(roomy.step(input()).await.unwrap().rows.num_rows(), 48_000);
}

#[tokio::test]
async fn the_explained_plan_says_what_is_kept_and_when_it_goes() {
    let query = TOP.replace("TUMBLE(clicks, ts,", "HOP(clicks, ts, INTERVAL '5 seconds',");
    let explained = planned(&query, 1).await.explain().join("\n");
    let state = "state pane-0: one row for each row of the input; windows of HOP(5 seconds, 10 seconds) go when the watermark passes their end\n";
    assert!(explained.contains(state), "{explained}");
    assert!(
        explained.contains("emits every row of a window when that closes") && !explained.contains("times, once"),
        "{explained}"
    );
    assert!(explained.contains("watermark of window_end: clicks\n"), "{explained}");
    let query = format!("SELECT ts, window_start, count(*) OVER (PARTITION BY window_start) AS c FROM {HOP}");
    let explained = planned(&query, 1).await.explain().join("\n");
    assert!(explained.contains("each input row is taken up to 2 times"), "{explained}");
    // Rows wait for the end of their window.
    assert!(explained.contains("watermark of ts: clicks - 10 s"), "{explained}");
}

#[tokio::test]
async fn over_without_a_window_is_refused_with_the_one_to_name() {
    for (query, hint, place) in [
        (
            "SELECT id, row_number() OVER (PARTITION BY page ORDER BY ts) AS nth FROM clicks",
            "OVER (PARTITION BY window_start, page …) FROM TUMBLE(t, ts, INTERVAL '1 minute'), or OVER in the query that reads the view",
            "page",
        ),
        (
            "SELECT id, sum(n) OVER (ORDER BY ts) AS s FROM TUMBLE(clicks, ts, INTERVAL '1 minute')",
            "OVER (PARTITION BY window_start …)",
            "n)",
        ),
        (
            "SELECT id, rank() OVER (PARTITION BY window_end ORDER BY n) AS a, rank() OVER (PARTITION BY page ORDER BY n) AS b FROM TUMBLE(clicks, ts, INTERVAL '1 minute')",
            "OVER (PARTITION BY window_start, page …)",
            "page",
        ),
        ("SELECT id, row_number() OVER () AS nth FROM clicks", "OVER (PARTITION BY window_start …)", "SELECT"),
        (
            "SELECT id, max(until) OVER (PARTITION BY until ORDER BY id) AS m FROM (SELECT id, date_trunc('minute', ts) AS until FROM clicks)",
            "OVER (PARTITION BY window_start, until …)",
            "id)",
        ),
    ] {
        let report = try_planned(query, 1).await.expect_err(query).report();
        assert!(report.contains("OVER over a stream needs a window in its PARTITION BY"), "{report}");
        assert!(report.contains(hint), "{report}");
        let place = format!("test.sql:9:{}: ", query.find(place).unwrap() + 1);
        assert!(report.starts_with(&place), "{place} {report}");
    }
    for (query, said) in [
        (
            format!("SELECT sum(random()) OVER (PARTITION BY window_end) AS r FROM {TUMBLE}"),
            "gives another value each time",
        ),
        (
            format!(
                "SELECT r, rank() OVER (PARTITION BY window_end ORDER BY r) AS p FROM (SELECT random() AS r, window_end FROM {TUMBLE})"
            ),
            "gives another value each time",
        ),
    ] {
        let report = try_planned(&query, 1).await.expect_err(&query).report();
        assert!(report.contains(said), "{report}");
    }
}

// Each of them would be open until its time has come.
#[tokio::test]
async fn windows_too_far_ahead_are_a_thousand_at_most() {
    let query = "SELECT id, count(*) OVER (PARTITION BY window_end) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 second')";
    let pipeline = planned(query, 1).await;
    let far: Vec<Row> = (0..1_100).map(|at| (at, "a", 1, 1_000_000 + at)).collect();
    let input = StepInput {
        epoch: 1,
        batches: vec![rows(&pipeline, 0, &far)],
        origins: vec![vec![Origins::records(0, 0, far.len())]],
        sources: vec![Mark::NONE],
        ..StepInput::default()
    };
    let output = Emitted::of(pipeline.step(input).await.unwrap());
    pipeline.commit().unwrap();
    assert_eq!((output.bad.len(), pipeline.open_panes()), (100, 1_000));
    assert!(output.bad[0].reason.contains("too far ahead"), "{}", output.bad[0].reason);
}

// Its windows end up to half an hour ahead, which is more than a time may be.
#[tokio::test]
async fn a_row_of_now_is_in_all_of_its_windows_however_far_ahead_these_end() {
    let hop = "HOP(clicks, ts, INTERVAL '1 second', INTERVAL '30 minutes')";
    let pipeline = planned(&format!("SELECT id, count(*) OVER (PARTITION BY window_end) AS c FROM {hop}"), 1).await;
    let input = StepInput {
        epoch: 1,
        now: 5_000 * SECOND,
        batches: vec![rows(&pipeline, 0, &[(1, "a", 1, 5_000)])],
        origins: vec![vec![Origins::records(0, 0, 1)]],
        sources: vec![Mark::NONE],
    };
    let output = Emitted::of(pipeline.step(input).await.unwrap());
    pipeline.commit().unwrap();
    assert_eq!((output.bad.len(), pipeline.open_panes()), (0, 1_800));
}
