//! Joins of two streams, against what the same rows give in DataFusion's own join over all of them at once.

use datafusion::execution::context::SessionContext;
use proptest::sample::subsequence;

use super::*;
use crate::operator::contract::{RestoredSegment, StoredSegment};

pub(super) type Row = (i64, &'static str, i64, i64);

/// The query's rows with everything in one epoch, and in any other way that is asked for.
pub(super) async fn in_epochs(query: &str, partitions: usize, epochs: &[(Vec<Row>, Vec<Row>, Micros)]) -> Vec<String> {
    let pipeline = planned(query, partitions).await;
    let mut found = Vec::new();
    let mut before = NONE;
    for (clicks, taps, after) in epochs {
        let batches = read(&pipeline, clicks, taps);
        let output = epoch(&pipeline, batches, before, *after).await;
        assert!(output.late.is_empty() && output.bad.is_empty(), "{output:?}");
        found.extend(lines(&output.batches));
        before = *after;
    }
    assert_eq!(pipeline.state_bytes(), 0, "{query} keeps something behind the end");
    found.sort();
    found
}

/// The rows of both tables, in the order in which the query reads them.
pub(super) fn read(pipeline: &Pipeline, clicks: &[Row], taps: &[Row]) -> Vec<Vec<RecordBatch>> {
    let of = |(at, slot): (usize, &Arc<StreamSlot>)| match slot.table.name == "clicks" {
        true if clicks.is_empty() => vec![],
        false if taps.is_empty() => vec![],
        is_clicks => rows(pipeline, at, if is_clicks { clicks } else { taps }),
    };
    pipeline.slots.iter().enumerate().map(of).collect()
}

pub(super) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let batches: Vec<RecordBatch> = batches.iter().filter(|batch| batch.num_rows() > 0).cloned().collect();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    text.lines().skip(3).filter(|line| line.starts_with('|')).map(cells).collect()
}

fn cells(line: &str) -> String {
    line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(",")
}

/// The same query over the same rows in DataFusion alone.
async fn in_batch(query: &str, clicks: &[Row], taps: &[Row]) -> Vec<String> {
    let (known, _) = parsed("SELECT 1 AS one").unwrap();
    let context = SessionContext::new_with_config(crate::sql::session_config());
    crate::sql::add_outer_types(&context);
    for (name, of) in [("clicks", clicks), ("taps", taps)] {
        let schema = known.0.tables[name].schema();
        let batches = if of.is_empty() { vec![] } else { json(Arc::clone(&schema), &text(of)) };
        context.register_table(name, Arc::new(MemTable::try_new(schema, vec![batches]).unwrap())).unwrap();
    }
    let batches = context.sql(query).await.unwrap().collect().await.unwrap();
    let mut found = lines(&batches);
    found.sort();
    found
}

const BOUND: &str = "t.ts BETWEEN c.ts - INTERVAL '3 seconds' AND c.ts + INTERVAL '5 seconds'";

fn queries() -> Vec<String> {
    let select = "SELECT c.id, c.page, t.id AS tap, t.n FROM clicks c";
    let mut queries = Vec::new();
    for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        queries.push(format!("{select} {join} taps t ON t.page = c.page AND {BOUND}"));
        queries.push(format!("{select} {join} taps t ON t.page = c.page AND t.n < c.n AND {BOUND}"));
        // A bound in time alone, other spellings of it, and several keys.
        queries.push(format!("{select} {join} taps t ON {BOUND} AND t.n <> c.n"));
        queries.push(format!("{select} {join} taps t ON c.ts > t.ts - INTERVAL '4 seconds' AND t.ts >= c.ts AND c.n = t.n AND t.page = c.page"));
        queries.push(format!("{select} {join} taps t ON c.ts = t.ts AND t.page = c.page"));
        queries.push(format!("{select} {join} taps t ON t.ts - c.ts BETWEEN INTERVAL '1 second' AND INTERVAL '2 seconds' AND t.n % 2 = c.n % 2"));
    }
    for not in ["", "NOT "] {
        queries.push(format!("SELECT c.id, c.page FROM clicks c WHERE {not}EXISTS (SELECT 1 FROM taps t WHERE t.page = c.page AND {BOUND})"));
        queries.push(format!("SELECT c.id, c.page FROM clicks c WHERE c.n > 0 AND {not}EXISTS (SELECT 1 FROM taps t WHERE t.page = c.page AND t.n <> c.n AND {BOUND})"));
    }
    queries.push(format!("SELECT t.id FROM taps t WHERE t.page IN (SELECT c.page FROM clicks c WHERE {BOUND})"));
    queries.push(format!(
        "SELECT c.id, t.id AS tap FROM clicks c, taps t WHERE t.page = c.page AND {BOUND} AND t.n > 0 AND c.n + t.n > 2"
    ));
    // Bounds by two times of one side, of which one alone would do.
    queries.push(
        "SELECT c.id, t.id AS tap FROM clicks c JOIN (SELECT id, ts, ts + INTERVAL '3 seconds' AS until FROM taps) t
         ON c.ts BETWEEN t.ts AND t.until AND c.ts <= t.ts + INTERVAL '9 seconds'"
            .to_owned(),
    );
    // A length that is finer than the unit of the time, of which the rest is cut off.
    queries.push(
        "SELECT c.id, t.id AS tap FROM clicks c JOIN taps t ON t.page = c.page
         AND t.ts BETWEEN c.ts + INTERVAL '500 microseconds' AND c.ts + INTERVAL '2 seconds'"
            .to_owned(),
    );
    // With itself, and a third one.
    // Times of several units, which DataFusion takes for those of the first branch.
    queries.push(
        "SELECT u.id FROM (SELECT id, page, ts FROM clicks UNION ALL SELECT id, page, CAST(ts AS TIMESTAMP(9)) FROM clicks) u
         WHERE EXISTS (SELECT 1 FROM taps t WHERE u.ts = t.ts AND u.page = t.page)"
            .to_owned(),
    );
    queries.push("SELECT a.id, b.id AS other FROM clicks a JOIN clicks b ON a.page = b.page AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '4 seconds' AND a.id <> b.id".to_owned());
    queries.push(format!("SELECT c.id, t.id AS tap, d.id AS other FROM clicks c JOIN taps t ON t.page = c.page AND {BOUND} LEFT JOIN clicks d ON d.n = t.n AND d.ts BETWEEN t.ts AND t.ts + INTERVAL '2 seconds'"));
    queries
}

/// Cuts rows that have been put in order into epochs: the watermark of each is the least time that is still to come.
pub(super) fn cut(mut clicks: Vec<Row>, mut taps: Vec<Row>, cuts: &[i64]) -> Vec<(Vec<Row>, Vec<Row>, Micros)> {
    let mut epochs = Vec::new();
    for end in cuts {
        let of = |rows: &mut Vec<Row>| {
            let (now, later) = std::mem::take(rows).into_iter().partition(|row: &Row| row.3 < *end);
            *rows = later;
            now
        };
        epochs.push((of(&mut clicks), of(&mut taps), end * SECOND));
    }
    epochs.push((clicks, taps, END));
    epochs
}

pub(super) fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let page = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::vec((page, 0_i64..4, 0_i64..30), 0..25)
        .prop_map(|rows| (0..).zip(rows).map(|(id, (page, n, second))| (id, page, n, second)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_join_of_streams_is_the_join_of_their_rows_wherever_epochs_are_cut(
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
async fn a_row_alone_comes_out_exactly_when_no_partner_can_come_any_more() {
    let query = "SELECT c.id, t.id AS tap FROM clicks c FULL JOIN taps t ON t.page = c.page
        AND t.ts BETWEEN c.ts - INTERVAL '3 seconds' AND c.ts + INTERVAL '5 seconds'";
    let pipeline = planned(query, 1).await;
    let at = |clicks, taps| vec![Mark::new(clicks), Mark::new(taps)];
    let step = async |batches, sources: Vec<Mark>| {
        let output = pipeline.step(StepInput { epoch: 1, batches, sources, ..StepInput::default() }).await.unwrap();
        pipeline.commit().unwrap();
        lines(&Emitted::of(output).batches)
    };
    let input = vec![rows(&pipeline, 0, &[(1, "a", 0, 10)]), rows(&pipeline, 1, &[(7, "b", 0, 10)])];
    assert_eq!(step(input, at(SECOND, SECOND)).await, [] as [&str; 0]);
    // The click waits for taps up to 15 s, the tap for clicks up to 13 s.
    let taps_at_15 = at(SECOND, 15 * SECOND);
    assert!(!pipeline.due(&taps_at_15) && pipeline.due(&at(SECOND, 15 * SECOND + 1)));
    assert!(!pipeline.due(&at(13 * SECOND, SECOND)) && pipeline.due(&at(13 * SECOND + 1, SECOND)));
    assert_eq!(step(vec![vec![], vec![]], taps_at_15.clone()).await, [] as [&str; 0]);
    assert_eq!(step(vec![vec![], vec![]], at(SECOND, 15 * SECOND + 1)).await, ["1"]);
    assert_eq!(step(vec![vec![], vec![]], at(13 * SECOND + 1, 15 * SECOND + 1)).await, ["7"]);
    assert_eq!(pipeline.output_marks().len(), 0);
}

#[tokio::test]
async fn late_rows_of_either_side_are_in_the_ledger_with_their_origin_and_rows_without_key_or_time_have_no_partner() {
    let query = format!("SELECT c.id, t.id AS tap FROM clicks c LEFT JOIN taps t ON t.page = c.page AND {BOUND}");
    let pipeline = planned(&query, 1).await;
    pipeline.pass(&[Mark::new(20 * SECOND), Mark::new(10 * SECOND)]);
    let with_nulls = |slot: usize| {
        let slot = &pipeline.slots[slot];
        let text = r#"{"id":5,"page":null,"n":0,"ts":21000}
{"id":6,"page":"a","n":0,"ts":null}"#;
        let batches = json(slot.table.schema(), text);
        batches.iter().map(|batch| batch.project(slot.columns()).unwrap()).collect::<Vec<_>>()
    };
    let clicks = [rows(&pipeline, 0, &[(1, "a", 0, 19), (2, "a", 0, 20)]), with_nulls(0)].concat();
    let taps = [rows(&pipeline, 1, &[(7, "a", 0, 9), (8, "a", 0, 22)]), with_nulls(1)].concat();
    let origins = vec![
        vec![Origins::records(1, 100, 2), Origins::records(1, 102, 2)],
        vec![Origins::records(2, 200, 2), Origins::records(2, 202, 2)],
    ];
    let sources = vec![Mark::new(20 * SECOND), Mark::new(10 * SECOND)];
    let input = StepInput { epoch: 1, batches: vec![clicks, taps], origins, sources, ..StepInput::default() };
    let output = Emitted::of(pipeline.step(input).await.unwrap());
    pipeline.commit().unwrap();
    let late: Vec<_> = output
        .late
        .iter()
        .map(|row| {
            (row.input, row.event_time, row.watermark, row.origin.as_ref().map(|origin| origin.offset), row.wholly)
        })
        .collect();
    assert_eq!(
        late,
        [(0, Some(19 * SECOND), 20 * SECOND, Some(100), true), (1, Some(9 * SECOND), 10 * SECOND, Some(200), true)]
    );
    assert!(output.late[0].row.contains(r#""page":"a""#), "{}", output.late[0].row);
    let mut found = lines(&output.batches);
    found.sort();
    assert_eq!(found, ["2,8", "5", "6"]);
    assert_eq!(output.without_time, 2);
}

// A window's bound is behind the watermark as soon as the watermark has reached it.
#[tokio::test]
async fn a_row_of_a_window_that_has_been_joined_is_late() {
    let query = "SELECT c.id, t.id AS tap FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') c
        LEFT JOIN TUMBLE(taps, ts, INTERVAL '10 seconds') t ON c.window_start = t.window_start";
    let pipeline = planned(query, 1).await;
    let clicks: [Row; 2] = [(1, "a", 0, 11), (2, "a", 0, 22)];
    let output = epoch(&pipeline, read(&pipeline, &clicks, &[]), NONE, 20 * SECOND).await;
    assert_eq!(lines(&output.batches), ["1"]);
    let late = read(&pipeline, &[(3, "a", 0, 19)], &[(7, "a", 0, 19), (8, "a", 0, 21)]);
    let output = epoch(&pipeline, late, 20 * SECOND, END).await;
    assert_eq!(lines(&output.batches), ["2,8"]);
    // Against the watermark of the windows' starts as it is.
    assert_eq!(output.late.iter().map(|row| row.watermark).collect::<Vec<_>>(), [10 * SECOND; 2]);
}

#[tokio::test]
async fn rows_behind_the_watermark_count_as_long_as_lateness_is_allowed() {
    let query =
        "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '4 seconds') AS SELECT c.id, t.id AS tap FROM clicks c
        LEFT JOIN taps t ON t.page = c.page AND t.ts BETWEEN c.ts AND c.ts + INTERVAL '2 seconds'";
    let pipeline = planned(query, 1).await;
    pipeline.pass(&[Mark::new(20 * SECOND); 2]);
    let input = |clicks: &[Row], taps: &[Row], at: Micros| StepInput {
        epoch: 1,
        batches: read(&pipeline, clicks, taps),
        sources: vec![Mark::new(at); 2],
        ..StepInput::default()
    };
    let step = async |input| {
        let output = Emitted::of(pipeline.step(input).await.unwrap());
        pipeline.commit().unwrap();
        (lines(&output.batches), output.late.len())
    };
    let first = input(&[(1, "a", 0, 16), (2, "b", 0, 16), (3, "a", 0, 15)], &[], 22 * SECOND);
    assert_eq!(step(first).await, (vec![], 1));
    assert_eq!(step(input(&[], &[(7, "a", 0, 18)], 22 * SECOND)).await, (vec!["1,7".to_owned()], 0));
    assert!(!pipeline.due(&[Mark::new(22 * SECOND); 2]) && pipeline.due(&[Mark::new(22 * SECOND + 1); 2]));
    assert_eq!(step(input(&[], &[], 22 * SECOND + 1)).await, (vec!["2".to_owned()], 0));
}

#[tokio::test]
async fn what_a_checkpoint_holds_of_a_join_is_gone_on_from() {
    for query in queries().into_iter().filter(|query| !query.contains("clicks d") && !query.contains("clicks b")) {
        let clicks: Vec<Row> = (0..40).map(|id| (id, ["a", "b", "c"][id as usize % 3], id % 4, id / 2)).collect();
        let taps: Vec<Row> = (0..40).map(|id| (id, ["a", "b"][id as usize % 2], id % 5, id / 2 + 1)).collect();
        let expected = in_batch(&query, &clicks, &taps).await;
        let mut found = Vec::new();
        let mut pipeline = planned(&query, 1).await;
        let mut before = NONE;
        for (clicks, taps, after) in cut(clicks, taps, &(1..24).collect::<Vec<_>>()) {
            let batches = read(&pipeline, &clicks, &taps);
            let output = epoch(&pipeline, batches, before, after).await;
            found.extend(lines(&output.batches));
            before = after;
            let next = planned(&query, 1).await;
            for StoredSegment { input, shard, pane, segment } in pipeline.operators()[0].segments() {
                let batches = segment.rows.batches().map(|batch| batch.unwrap()).collect();
                let (id, level) = (segment.id, segment.level);
                next.operators()[0].restore(RestoredSegment { input, shard, pane, id, level, batches }).unwrap();
            }
            pipeline = next;
        }
        found.sort();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn windows_stand_above_a_join_and_windows_are_joined() {
    let above = format!("SELECT window_end, count(*) AS pairs FROM TUMBLE(
        (SELECT c.ts, t.n FROM clicks c JOIN taps t ON t.page = c.page AND {BOUND}), ts, INTERVAL '10 seconds') GROUP BY window_end");
    let of = |table: &str| {
        format!(
            "(SELECT window_start, window_end, page, count(*) AS n FROM TUMBLE({table}, ts, INTERVAL '10 seconds')
        GROUP BY window_start, window_end, page)"
        )
    };
    let joined = |join: &str, on: &str| {
        format!(
            "SELECT c.window_end, c.page, c.n, t.n AS taps FROM {} c {join} {} t ON {on} AND t.page = c.page",
            of("clicks"),
            of("taps")
        )
    };
    let again = format!(
        "SELECT window_start, sum(n) AS n FROM (SELECT c.window_start, c.window_end, c.n + t.n AS n FROM {} c JOIN {} t
         ON c.window_start = t.window_start AND c.page = t.page) GROUP BY window_start, window_end",
        of("clicks"),
        of("taps")
    );
    let rows_of = "SELECT c.window_end, c.id, t.id AS tap FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') c
        JOIN TUMBLE(taps, ts, INTERVAL '10 seconds') t ON c.window_start = t.window_start AND c.page = t.page"
        .to_owned();
    let clicks = vec![(1, "a", 0, 1), (2, "a", 0, 9), (3, "b", 0, 12), (4, "c", 0, 25)];
    let taps = vec![(7, "a", 0, 4), (8, "b", 0, 11), (9, "b", 0, 13), (10, "a", 0, 15)];
    for (query, expected) in [
        (above, vec!["1970-01-01T00:00:10,1", "1970-01-01T00:00:20,2"]),
        (
            joined("JOIN", "c.window_start = t.window_start"),
            vec!["1970-01-01T00:00:10,a,2,1", "1970-01-01T00:00:20,b,1,2"],
        ),
        (
            joined("LEFT JOIN", "c.window_end = t.window_end"),
            vec!["1970-01-01T00:00:10,a,2,1", "1970-01-01T00:00:20,b,1,2", "1970-01-01T00:00:30,c,1"],
        ),
        (again, vec!["1970-01-01T00:00:00,3", "1970-01-01T00:00:10,3"]),
        (
            rows_of,
            vec![
                "1970-01-01T00:00:10,1,7",
                "1970-01-01T00:00:10,2,7",
                "1970-01-01T00:00:20,3,8",
                "1970-01-01T00:00:20,3,9",
            ],
        ),
    ] {
        for cuts in [vec![], vec![10, 20], (0..40).collect()] {
            let found = in_epochs(&query, 1, &cut(clicks.clone(), taps.clone(), &cuts)).await;
            assert_eq!(found, expected, "{query}\ncut at {cuts:?}");
        }
    }
}

#[tokio::test]
async fn a_pair_that_a_condition_cannot_take_is_left_out_and_told() {
    let query = format!(
        "SELECT c.id, t.id AS tap FROM clicks c JOIN taps t ON t.page = c.page AND {BOUND} AND 6 / (c.n - t.n) > 0"
    );
    let pipeline = planned(&query, 1).await;
    let clicks = rows(&pipeline, 0, &[(1, "a", 5, 1), (2, "a", 3, 2)]);
    let taps = rows(&pipeline, 1, &[(7, "a", 3, 1), (8, "a", 1, 2)]);
    let output = epoch(&pipeline, vec![clicks, taps], NONE, END).await;
    let mut found = lines(&output.batches);
    found.sort();
    assert_eq!(found, ["1,7", "1,8", "2,8"]);
    let [bad] = output.bad.as_slice() else { panic!("{:?}", output.bad) };
    assert!(bad.reason.contains("division by zero in \"6 / (n - n)\""), "{}", bad.reason);
}

// Each of them would wait until its time has come, in a bucket with a segment of its own.
#[tokio::test]
async fn buckets_too_far_ahead_are_a_thousand_on_a_side_at_most() {
    let query = format!("SELECT c.id, t.id AS tap FROM clicks c LEFT JOIN taps t ON t.page = c.page AND {BOUND}");
    let pipeline = planned(&query, 1).await;
    let step = async |clicks: &[Row], taps: &[Row]| {
        let origins = |of: &[Row]| of.first().map(|row| Origins::records(0, row.0, of.len())).into_iter().collect();
        let input = StepInput {
            epoch: 1,
            batches: read(&pipeline, clicks, taps),
            origins: vec![origins(clicks), origins(taps)],
            sources: vec![Mark::NONE; 2],
            ..StepInput::default()
        };
        let output = Emitted::of(pipeline.step(input).await.unwrap());
        pipeline.commit().unwrap();
        output
    };
    // A bucket is two seconds: a quarter of the interval.
    let far = |from: i64, rows: i64| (from..from + rows).map(|at| (at, "a", 1, 1_000_000 + 2 * at)).collect::<Vec<_>>();
    assert_eq!(step(&far(0, 700), &[]).await.bad.len(), 0);
    let output = step(&far(700, 400), &far(0, 10)).await;
    assert_eq!((output.bad.len(), pipeline.open_panes()), (100, 1_010));
    assert!(output.bad[0].reason.contains("too far ahead"), "{}", output.bad[0].reason);
    // What falls into one that is open, or is not far, is taken.
    assert_eq!(step(&[(5, "a", 1, 1_000_010), (6, "a", 1, 1)], &[]).await.bad.len(), 0);
    assert_eq!((pipeline.open_panes(), pipeline.operators()[0].segments().len() < 1_100), (1_011, true));
}

// Its windows end up to half an hour ahead, which is more than a time may be.
#[tokio::test]
async fn a_row_of_now_is_joined_in_all_of_its_windows_however_far_ahead_these_end() {
    let hop = |table: &str| format!("HOP({table}, ts, INTERVAL '1 second', INTERVAL '30 minutes')");
    let query = format!(
        "SELECT c.id, t.id AS tap FROM {} c JOIN {} t ON c.window_end = t.window_end AND c.page = t.page",
        hop("clicks"),
        hop("taps")
    );
    let pipeline = planned(&query, 1).await;
    let input = StepInput {
        epoch: 1,
        now: 5_000 * SECOND,
        batches: read(&pipeline, &[(1, "a", 1, 5_000)], &[]),
        origins: vec![vec![Origins::records(0, 0, 1)], vec![]],
        sources: vec![Mark::NONE; 2],
    };
    let output = Emitted::of(pipeline.step(input).await.unwrap());
    pipeline.commit().unwrap();
    assert_eq!((output.bad.len(), pipeline.open_panes()), (0, 1_800));
}

#[tokio::test]
async fn a_join_keeps_the_columns_that_somebody_reads() {
    let views = "CREATE VIEW all_taps AS SELECT id, upper(page) AS page, n, ts FROM taps;";
    let query =
        format!("{views} SELECT c.id FROM clicks c JOIN all_taps t ON t.page = c.page AND {BOUND} WHERE c.n > 0");
    let pipeline = planned(&query, 1).await;
    let read = |table: &str| {
        let slot = pipeline.slots.iter().find(|slot| slot.table.name == table).unwrap();
        slot.columns().iter().map(|at| slot.table.schema().field(*at).name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (read("clicks"), read("taps")),
        (vec!["id".into(), "page".into(), "n".into(), "ts".into()], vec!["page".into(), "ts".into()])
    );
    epoch(&pipeline, self::read(&pipeline, &[(1, "A", 1, 1), (2, "A", 0, 1)], &[(7, "a", 0, 1)]), NONE, NONE).await;
    let kept: Vec<_> = pipeline.operators()[0].segments().into_iter().map(|stored| stored.segment.rows).collect();
    let columns: Vec<_> =
        kept.iter().map(|rows| (rows.num_rows(), rows.batches_in_memory().unwrap()[0].num_columns())).collect();
    // Without `n`, which chose the rows before they were kept.
    assert_eq!(columns, [(1, 3), (1, 2)]);
}

#[tokio::test]
async fn what_a_join_keeps_stays_as_much_over_thousands_of_epochs_of_one_row() {
    for join in ["JOIN", "FULL JOIN"] {
        let query = format!("SELECT c.id, t.id AS tap FROM clicks c {join} taps t ON t.page = c.page AND {BOUND}");
        let pipeline = planned(&query, 1).await;
        let (mut most, mut out) = ([0, 0], 0);
        for id in 0..6_000 {
            let (row, at) = ([(id, "a", 0, id / 3)], (id / 3 - 1) * SECOND);
            let of: (&[Row], &[Row]) = if id % 2 == 0 { (&row, &[]) } else { (&[], &row) };
            out += epoch(&pipeline, read(&pipeline, of.0, of.1), at - SECOND, at).await.rows();
            let half = usize::from(id >= 3_000);
            most[half] = most[half].max(pipeline.state_bytes());
        }
        assert!(most[1] <= most[0], "{most:?} bytes");
        // Each click has two taps in one second and one in the other, for nine of them.
        assert!((40_000..41_000).contains(&out), "{out} pairs");
    }
}

// Without them every row within the interval would be a candidate.
#[tokio::test]
async fn rows_are_looked_up_by_all_keys_of_a_join_wherever_they_are_written() {
    for (query, keys) in [
        (format!("SELECT c.id FROM clicks c JOIN taps t ON t.page = c.page AND {BOUND}"), 1),
        (
            format!(
                "SELECT c.id FROM clicks c LEFT JOIN taps t ON t.page = upper(c.page) AND {BOUND} AND c.n = t.n + 1"
            ),
            2,
        ),
        (format!("SELECT c.id FROM clicks c, taps t WHERE {BOUND} AND t.page = c.page AND c.n > t.n"), 1),
        (
            format!(
                "SELECT c.id FROM clicks c WHERE NOT EXISTS (SELECT 1 FROM taps t WHERE c.page = t.page AND {BOUND})"
            ),
            1,
        ),
        ("SELECT c.id FROM clicks c JOIN taps t ON t.ts = c.ts AND c.n = t.n".to_owned(), 2),
        (format!("SELECT c.id FROM clicks c JOIN taps t ON {BOUND} AND c.n + t.n = 3"), 0),
    ] {
        let explained = planned(&query, 1).await.explain().join("\n");
        assert!(explained.contains(&format!("by {keys} key")), "{query}\n{explained}");
    }
}

#[tokio::test]
async fn an_aborted_epoch_of_a_join_is_run_again_with_the_same_answer() {
    let query = format!("SELECT c.id, t.id AS tap FROM clicks c FULL JOIN taps t ON t.page = c.page AND {BOUND}");
    let pipeline = planned(&query, 1).await;
    epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 0, 1), (2, "b", 0, 1)]), vec![]], NONE, SECOND).await;
    let input = || StepInput {
        epoch: 2,
        batches: vec![rows(&pipeline, 0, &[(3, "a", 0, 2)]), rows(&pipeline, 1, &[(7, "a", 0, 2)])],
        sources: vec![Mark::END; 2],
        ..StepInput::default()
    };
    let mut found = Vec::new();
    for _ in 0..3 {
        let mut lines = lines(&Emitted::of(pipeline.step(input()).await.unwrap()).batches);
        lines.sort();
        found.push(lines);
        pipeline.abort();
    }
    assert_eq!(found[0], ["1,7", "2", "3,7"]);
    assert!(found.iter().all(|lines| *lines == found[0]));
}

#[tokio::test]
async fn a_join_without_a_bound_in_time_is_refused_with_the_one_that_it_lacks() {
    for (on, said, hint, column) in [
        (
            "t.id = c.id",
            "a join of two streams needs a bound in time, or every row would be kept for ever",
            "AND t.ts BETWEEN c.ts - INTERVAL '1 minute' AND c.ts + INTERVAL '1 minute'",
            42,
        ),
        (
            "t.id = c.id AND t.ts >= c.ts",
            "the join's bound in time has one side only, so the rows of \"c\" would be kept for ever",
            "AND t.ts <= c.ts + INTERVAL '1 minute'",
            58,
        ),
        (
            "t.ts < c.ts + INTERVAL '5 seconds'",
            "the join's bound in time has one side only, so the rows of \"t\" would be kept for ever",
            "AND t.ts >= c.ts - INTERVAL '1 minute'",
            42,
        ),
        (
            "t.ts BETWEEN c.ts + INTERVAL '5 seconds' AND c.ts",
            "no two rows are partners",
            "the lower bound has to come first",
            42,
        ),
    ] {
        let query = format!("SELECT c.id FROM clicks c JOIN taps t ON {on}");
        let report = try_planned(&query, 1).await.expect_err(on).report();
        assert!(report.contains(said) && report.contains(hint), "{report}");
        assert!(report.starts_with(&format!("test.sql:9:{column}: ")), "{report}");
    }
    let query = format!("SELECT c.id FROM clicks c JOIN taps t ON c.n = t.n + random() AND {BOUND}");
    let report = try_planned(&query, 1).await.unwrap_err().report();
    assert!(report.contains("gives another value each time it is asked"), "{report}");
    let query = "SELECT c.id FROM clicks c WHERE EXISTS (SELECT 1 FROM taps t WHERE t.ts >= c.ts AND t.page = c.page)";
    let report = try_planned(query, 1).await.unwrap_err().report();
    assert!(report.contains("so the rows of \"c\" would") && report.contains("AND ts <= c.ts + INTERVAL"), "{report}");
    let query =
        "SELECT c.id FROM clicks c JOIN (SELECT max(id) AS id, page FROM taps GROUP BY page) t ON t.page = c.page";
    assert!(try_planned(query, 1).await.unwrap_err().report().contains("needs a window"));
    let query = "SELECT c.id FROM clicks c JOIN (SELECT id, ts + INTERVAL '1 month' AS ts FROM taps) t ON t.ts BETWEEN c.ts AND c.ts + INTERVAL '1 minute'";
    let report = try_planned(query, 1).await.unwrap_err().report();
    assert!(
        report.contains("\"t\" has no time with a watermark, so the rows of \"c\" would be kept for ever"),
        "{report}"
    );
}

// DataFusion 55 asks it of the other side's column of the same name where it has exchanged the sides.
#[tokio::test]
async fn in_batch_a_condition_is_asked_of_the_side_that_it_names() {
    struct OneRow(Fixed);
    impl Tables for OneRow {
        fn defined(&self) -> &Defined {
            self.0.defined()
        }

        fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
            let row = json(table.schema(), r#"{"id":1,"page":null,"n":1,"ts":1000}"#);
            Ok(Arc::new(MemTable::try_new(table.schema(), vec![row, vec![]])?))
        }
    }
    for query in [
        "SELECT t.tap FROM (SELECT c.ts, t.id AS tap FROM clicks c RIGHT JOIN clicks t ON c.ts = t.ts AND c.page = t.page) t
         WHERE date_trunc('minute', ts) IS NOT NULL AND tap IS NOT NULL",
        "SELECT count(*) AS n FROM TUMBLE((SELECT c.ts, t.id AS tap FROM clicks c RIGHT JOIN clicks t ON c.ts = t.ts AND c.page = t.page),
         ts, INTERVAL '10 seconds') WHERE tap IS NOT NULL GROUP BY window_start",
    ] {
        let (known, view) = parsed(query).unwrap();
        let settings = PlanSettings { partitions: 2, wide_rows: 3 };
        let Planned::Batch(context, plan) = plan_bounded(&view, &OneRow(known), settings).await.unwrap() else { panic!() };
        let physical = context.state().create_physical_plan(&plan).await.unwrap();
        let batches = datafusion::physical_plan::collect(physical, context.task_ctx()).await.unwrap();
        assert_eq!(lines(&batches), [] as [&str; 0], "{query}");
    }
}
