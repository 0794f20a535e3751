//! What windows mean where panes alone cannot say it, and what flows together: each answer stands there, and comes the same whole,
//! row by row, on the narrow and on the wide plan.

use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::*;
use crate::operator::contract::{RestoredSegment, StoredSegment};

/// Seconds 1 to 4 of page a with n = 1, 2, 4, 8, and second 12 of page b with n = 16.
const ROWS: [(i64, &str, i64, i64); 5] =
    [(1, "a", 1, 1), (2, "a", 2, 2), (3, "a", 4, 3), (4, "a", 8, 4), (5, "b", 16, 12)];

/// The rows of the answer, sorted, however the input comes.
async fn answer(query: &str) -> Vec<String> {
    answer_over(query, &ROWS).await
}

/// As [`answer`], over other rows.
pub(super) async fn answer_over(query: &str, input: &[Row]) -> Vec<String> {
    let mut answers = Vec::new();
    let room = [(1, input.len(), None), (1, 1, None), (2, input.len(), None), (2, 2, None)];
    for (partitions, at_once, crowd) in
        room.into_iter().chain([(1, 2, Some(true)), (2, 1, Some(true)), (1, 1, Some(false)), (2, 2, Some(false))])
    {
        let mut pipeline = planned(query, partitions).await;
        let crowd = crowd.map(Crowd::new);
        if let Some(crowd) = &crowd {
            pipeline.charge_to(Arc::clone(&crowd.account)).unwrap();
        }
        let mut batches = Vec::new();
        for part in input.chunks(at_once) {
            let input = (0..pipeline.slots.len()).map(|slot| rows(&pipeline, slot, part)).collect();
            batches.extend(epoch(&pipeline, input, NONE, NONE).await.batches);
            if let Some(crowd) = &crowd {
                remote::checkpoint(&pipeline, &crowd.elsewhere);
            }
        }
        let nothing = vec![vec![]; pipeline.slots.len()];
        // What one operator closes may open windows of the next.
        for _ in 0..3 {
            batches.extend(epoch(&pipeline, nothing.clone(), NONE, END).await.batches);
        }
        assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0), "{query}");
        assert_eq!(crowd.map_or(0, |crowd| crowd.disk.used()), 0, "{query}");
        answers.push(values(&batches));
    }
    for other in &answers[1..] {
        assert_eq!(&answers[0], other, "{query}");
    }
    answers.swap_remove(0)
}

/// Each row as its values with `,` between them.
pub(super) fn values(batches: &[RecordBatch]) -> Vec<String> {
    let text = shown(batches);
    let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
    lines
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(","))
        .map(|line| line.replace("1970-01-01T00:", ""))
        .collect()
}

// In a HOP of 5 s by 10 s every row is in two windows, and so is counted twice in the minute.
#[tokio::test]
async fn a_window_over_a_window_takes_each_row_once_for_each_of_its_windows() {
    let hop = "HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')";
    let query = format!("SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS c FROM {hop} GROUP BY w");
    assert_eq!(answer(&query).await, ["{start: 00:00, end: 01:00},10"]);
    let tumble = "TUMBLE(clicks, ts, INTERVAL '10 seconds')";
    let query = format!(
        "SELECT tumble(ts, INTERVAL '1 minute') AS w, min(window_start) AS first, max(window_start) AS last FROM {tumble} GROUP BY w"
    );
    assert_eq!(answer(&query).await, ["{start: 00:00, end: 01:00},00:00,00:10"]);
}

#[tokio::test]
async fn window_columns_can_be_read_below_the_aggregation() {
    let hop = "HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')";
    let query = format!(
        "SELECT window_end, count(*) FILTER (WHERE window_start < ts) AS c FROM {hop} WHERE window_start >= '1970-01-01' GROUP BY window_end"
    );
    assert_eq!(answer(&query).await, ["00:10,4", "00:15,1", "00:20,1"]);
    let query =
        "SELECT page, max(window_end) AS at FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, page";
    assert_eq!(answer(query).await, ["a,00:10", "b,00:20"]);
    let query = format!("SELECT page, count(*) AS c FROM {hop} GROUP BY page, window_start, window_end");
    assert_eq!(answer(&query).await, ["a,4", "a,4", "b,1", "b,1"]);
}

#[tokio::test]
async fn windows_of_windows_can_be_grouped_by_again() {
    let inner = "SELECT window_start, window_end, page, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '2 seconds') GROUP BY window_start, window_end, page";
    let query = format!("SELECT tumble(window_end, INTERVAL '10 seconds') AS w, sum(s) AS s FROM ({inner}) GROUP BY w");
    assert_eq!(answer(&query).await, ["{start: 00:00, end: 00:10},15", "{start: 00:10, end: 00:20},16"]);
    let query = format!("SELECT window_start, count(*) AS pages FROM ({inner}) GROUP BY window_start");
    assert_eq!(answer(&query).await, ["00:00,1", "00:02,1", "00:04,1", "00:12,1"]);
    let inner = "SELECT tumble(ts, INTERVAL '2 seconds') AS w, sum(n) AS s FROM clicks GROUP BY w";
    let query = format!("SELECT tumble(w['end'], INTERVAL '10 seconds') AS v, sum(s) AS s FROM ({inner}) GROUP BY v");
    assert_eq!(answer(&query).await, ["{start: 00:00, end: 00:10},15", "{start: 00:10, end: 00:20},16"]);
}

#[tokio::test]
async fn the_end_of_an_inner_window_is_a_key_beside_an_outer_one() {
    let inner = "SELECT window_time AS at, window_end AS until, page, sum(n) AS s FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY window_time, window_end, page";
    let query = format!(
        "WITH present AS ({inner}) SELECT until AS e, window_end, count(*) AS c FROM TUMBLE(present, at, INTERVAL '5 seconds') GROUP BY window_end, until"
    );
    assert_eq!(answer(&query).await, ["00:05,00:05,1", "00:10,00:10,1", "00:15,00:15,1", "00:20,00:20,1"]);
}

#[tokio::test]
async fn a_time_that_moves_with_the_watermark_column_has_a_watermark() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE((SELECT ts + INTERVAL '1 hour' AS t FROM clicks), t, INTERVAL '10 seconds') GROUP BY window_end";
    assert_eq!(answer(&query.replace("1 hour", "10 seconds")).await, ["00:20,4", "00:30,1"]);
    let query = "SELECT date_trunc('minute', ts) AS m, tumble(date_trunc('minute', ts), INTERVAL '1 minute') AS w, count(*) AS c FROM clicks GROUP BY m, w";
    assert_eq!(answer(query).await, ["00:00,{start: 00:00, end: 01:00},5"]);
    let query =
        "SELECT tumble(CAST(ts AS TIMESTAMP(6)), INTERVAL '10 seconds') AS w, count(*) AS c FROM clicks GROUP BY w";
    assert_eq!(answer(query).await, ["{start: 00:00, end: 00:10},4", "{start: 00:10, end: 00:20},1"]);
    // It is moved exactly: nothing closes before the watermark has passed the moved end.
    let query = "SELECT window_end FROM TUMBLE((SELECT ts + INTERVAL '1 hour' AS t FROM clicks), t, INTERVAL '10 seconds') GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    epoch(&pipeline, vec![rows(&pipeline, 0, &ROWS)], NONE, 10 * SECOND - 1).await;
    assert!(!pipeline.due(&[Mark::new(10 * SECOND - 1)]));
    assert!(pipeline.due(&[Mark::new(10 * SECOND)]));
}

#[tokio::test]
async fn rows_are_unnested_before_and_after_a_window() {
    let query = "SELECT window_end, x, count(*) AS c FROM (SELECT window_end, unnest([n, 1]) AS x FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')) GROUP BY window_end, x";
    assert_eq!(answer(query).await, ["00:10,1,5", "00:10,2,1", "00:10,4,1", "00:10,8,1", "00:20,1,1", "00:20,16,1"]);
    let query = "SELECT window_end, unnest([count(*), 0]) AS x FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end";
    assert_eq!(answer(query).await, ["00:10,0", "00:10,4", "00:20,0", "00:20,1"]);
}

#[tokio::test]
async fn timestamps_of_two_units_flow_together() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(
        (SELECT ts FROM clicks UNION ALL SELECT CAST(ts AS TIMESTAMP(6)) FROM taps), ts, INTERVAL '10 seconds') GROUP BY window_end";
    assert_eq!(answer(query).await, ["00:10,8", "00:20,2"]);
}

#[tokio::test]
async fn a_constant_branch_of_a_union_comes_once_and_nothing_waits_for_it() {
    let query = "SELECT id, page FROM clicks UNION ALL SELECT 0, 'x' UNION ALL SELECT 100, title FROM pages";
    let all = ["0,x", "1,a", "100,Alpha", "100,Beta", "2,a", "3,a", "4,a", "5,b"];
    assert_eq!(answer(query).await, all);
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(
        (SELECT ts FROM clicks UNION ALL SELECT TIMESTAMP '1970-01-01 00:00:07'), ts, INTERVAL '10 seconds') GROUP BY window_end";
    assert_eq!(answer(query).await, ["00:10,5", "00:20,1"]);
}

// Undone, it comes again; committed, it does not, also not after a restart.
#[tokio::test]
async fn a_constant_branch_is_part_of_the_epoch_that_read_it() {
    let query = "SELECT id FROM clicks UNION ALL SELECT 7";
    let pipeline = planned(query, 1).await;
    assert!(pipeline.due(&[Mark::NONE]));
    let input = || StepInput { batches: vec![vec![]], sources: vec![Mark::NONE], ..StepInput::default() };
    assert_eq!(pipeline.step(input()).await.unwrap().rows.num_rows(), 1);
    pipeline.abort();
    assert_eq!(pipeline.step(input()).await.unwrap().rows.num_rows(), 1);
    pipeline.commit().unwrap();
    assert_eq!(pipeline.step(input()).await.unwrap().rows.num_rows(), 0);
    pipeline.commit().unwrap();
    assert!(!pipeline.due(&[Mark::NONE]));
    let restarted = planned(query, 1).await;
    restarted.operators()[0].restore_position(pipeline.operators()[0].position());
    assert!(!restarted.due(&[Mark::NONE]));
    assert_eq!(restarted.step(input()).await.unwrap().rows.num_rows(), 0);
}

#[tokio::test]
async fn a_union_does_not_wait_for_an_idle_source_and_says_whom_it_waits_for() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(
        (SELECT ts FROM clicks UNION ALL SELECT ts FROM taps), ts, INTERVAL '10 seconds') GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    let step = |batches, sources| StepInput { batches, sources, ..StepInput::default() };
    let first = vec![rows(&pipeline, 0, &ROWS), vec![]];
    let waiting = Emitted::of(pipeline.step(step(first, vec![Mark::new(15 * SECOND), Mark::NONE])).await.unwrap());
    pipeline.commit().unwrap();
    assert_eq!(waiting.rows(), 0);
    let idle = Mark { at: NONE, idle: true };
    let closed =
        Emitted::of(pipeline.step(step(vec![vec![], vec![]], vec![Mark::new(15 * SECOND), idle])).await.unwrap());
    pipeline.commit().unwrap();
    assert_eq!(values(&closed.batches), ["00:10,4"]);
    // It wakes: what it brings for the window that has closed is late, with its place.
    let woken = vec![vec![], rows(&pipeline, 1, &[(9, "z", 1, 3)])];
    let late =
        Emitted::of(pipeline.step(step(woken, vec![Mark::new(15 * SECOND), Mark::new(3 * SECOND)])).await.unwrap());
    assert_eq!(late.late.iter().map(|row| row.event_time).collect::<Vec<_>>(), [Some(3 * SECOND)]);
}

/// `WITH` parts upon one another, each with what `part` makes of the one before.
fn upon_one_another(levels: usize, part: impl Fn(usize) -> String) -> String {
    let parts = (0..levels).map(|level| format!("c{} AS ({})", level + 1, part(level)));
    let parts: Vec<String> =
        std::iter::once("c0 AS (SELECT ts AS t, 1 AS c FROM clicks)".to_owned()).chain(parts).collect();
    format!("WITH {} SELECT * FROM c{levels}", parts.join(",\n"))
}

/// Planned on a stack like those of a server.
fn on_a_worker<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(crate::cli::WORKER_STACK_BYTES);
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    thread.spawn(run).unwrap().join().unwrap()
}

// Nesting by WITH has no limit of its own: each level is planned once, not twice as often as the one above it.
#[test]
fn forty_windows_upon_one_another_are_planned_in_one_pass_each() {
    let query = upon_one_another(40, |level| {
        format!(
            "SELECT window_end AS t, sum(c) AS c FROM HOP(c{level}, t, INTERVAL '1 minute', INTERVAL '2 minutes')
             WHERE window_start > '1970-01-01' GROUP BY window_end"
        )
    });
    let ids = on_a_worker(async move {
        let pipeline = planned(&query, 1).await;
        pipeline.operators().iter().map(|operator| operator.id().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!((ids.len(), ids[0].as_str(), ids[39].as_str()), (40, "window-39", "window-0"));
}

// What is too large is refused before anything walks it: deep, or doubled by each part that reads the one before twice.
#[test]
fn a_query_of_too_many_steps_is_refused() {
    let deep = upon_one_another(1_000, |level| format!("SELECT t, c FROM c{level}"));
    let doubled =
        upon_one_another(60, |level| format!("SELECT t, c FROM c{level} UNION ALL SELECT t, c FROM c{level}"));
    for (query, wanted) in [(deep, "steps upon one another, at most 300"), (doubled, "more than 500 tables")] {
        let error = on_a_worker(async move { try_planned(&query, 1).await.map(|_| ()).unwrap_err() });
        assert!(error.primary().contains(wanted), "{}", error.report());
        assert!(error.hint_text().is_some() && error.location().is_some(), "{}", error.report());
    }
}

// A row that comes once for each of its windows is late once: with all that it missed, and in a result if one of them was open.
#[tokio::test]
async fn a_row_with_its_windows_is_late_once() {
    let query = "SELECT window_end, count(*) AS c FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '15 seconds')
        WHERE window_start > '1960-01-01' GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    let late = rows(&pipeline, 0, &[(1, "a", 0, 7), (2, "a", 0, 1)]);
    let output = epoch(&pipeline, vec![late], 15 * SECOND, 15 * SECOND).await;
    let missed: Vec<_> = output.late.iter().map(|row| (row.missed.unwrap(), row.wholly, row.event_time)).collect();
    let at = |second: Micros| second * SECOND;
    // At 7 s: [-5, 10) and [0, 15) have closed, [5, 20) has not. At 1 s all three have.
    assert_eq!(missed, [((at(-5), at(15)), false, Some(at(7))), ((at(-10), at(15)), true, Some(at(1)))]);
}

// However many windows a row misses: else a few hundred of them were gigabytes.
#[tokio::test]
async fn rows_that_are_late_for_thousands_of_windows_are_noted_once_each() {
    let query = "SELECT window_end, max(page) AS p FROM HOP(clicks, ts, INTERVAL '1 second', INTERVAL '1 hour')
        GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    let page = "x".repeat(2_000);
    let of: Vec<(i64, &str, i64, i64)> = (0..380).map(|id| (id, page.as_str(), 0, 8_000 + id)).collect();
    let output = epoch(&pipeline, vec![rows(&pipeline, 0, &of)], 11_000 * SECOND, 11_000 * SECOND).await;
    assert_eq!(output.late.len(), 380);
    let bytes: usize = output.late.iter().map(|row| row.row.len()).sum();
    assert!(bytes < 380 * 2_200, "{bytes} bytes");
    // The first row has missed the windows that end up to the watermark, and counts in the others.
    let first = &output.late[0];
    assert_eq!((first.missed, first.wholly), (Some((4_401 * SECOND, 11_000 * SECOND)), false));
}

// The form that sums of whole numbers had before: a checkpoint with it is gone on from.
#[tokio::test]
async fn a_sum_of_64_bits_goes_on_in_128() {
    let query = "SELECT window_end, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end";
    let before = planned(query, 1).await;
    epoch(&before, vec![rows(&before, 0, &ROWS[..4])], NONE, NONE).await;
    let pipeline = planned(query, 1).await;
    for StoredSegment { input, shard, pane, segment } in before.operators()[0].segments() {
        let batch = segment.rows.batches().next().unwrap().unwrap();
        assert!(batch.schema().fields().iter().any(|field| field.data_type() == &DataType::Decimal128(38, 0)));
        let narrow = batch.columns().iter().map(|column| match column.data_type() {
            DataType::Decimal128(38, 0) => cast(column, &DataType::Int64).unwrap(),
            _ => Arc::clone(column),
        });
        let names = batch.schema();
        let narrow = names.fields().iter().map(|field| field.name().as_str()).zip(narrow);
        let batches = vec![RecordBatch::try_from_iter(narrow).unwrap()];
        let (id, level) = (segment.id, segment.level);
        pipeline.operators()[0].restore(RestoredSegment { input, shard, pane, id, level, batches }).unwrap();
    }
    epoch(&pipeline, vec![rows(&pipeline, 0, &[(6, "a", 100, 5)])], NONE, NONE).await;
    let output = epoch(&pipeline, vec![vec![]], NONE, END).await;
    assert_eq!(values(&output.batches), ["00:10,115"]);
    let other = RecordBatch::try_from_iter([("x", Arc::new(arrow::array::StringArray::from(vec!["x"])) as _)]).unwrap();
    let other = RestoredSegment { input: 0, shard: 0, pane: 0, id: 9, level: 0, batches: vec![other] };
    assert!(pipeline.operators()[0].restore(other).is_err());
}

#[tokio::test]
async fn a_window_that_another_stands_above_is_a_key() {
    let over = "SELECT window_start, window_end, inner_start, count(*) AS c FROM TUMBLE(
        (SELECT ts, window_start AS inner_start FROM TUMBLE(clicks, ts, INTERVAL '1 minute')), ts, INTERVAL '10 seconds')
        GROUP BY window_start, window_end, inner_start";
    let called = "SELECT tumble(ts, INTERVAL '10 seconds') AS w, window_start AS inner_start, count(*) AS c
        FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY tumble(ts, INTERVAL '10 seconds'), window_start";
    for query in [over, called] {
        let pipeline = planned(query, 1).await;
        epoch(&pipeline, vec![rows(&pipeline, 0, &ROWS)], NONE, NONE).await;
        let output = epoch(&pipeline, vec![vec![]], NONE, END).await;
        let counted = ROWS.iter().map(|row| row.3 / 10).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(output.rows(), counted.len(), "{query}");
    }
}

#[tokio::test]
async fn a_key_that_is_named_twice_is_one_key() {
    let query = "SELECT max(id) AS m, page FROM clicks GROUP BY tumble(ts, INTERVAL '10 seconds'), page, page";
    assert_eq!(answer(query).await, ["4,a", "5,b"]);
    let query =
        "SELECT page, page AS again, count(*) AS c FROM clicks GROUP BY tumble(ts, INTERVAL '10 seconds'), page, again";
    assert_eq!(answer(query).await, ["a,a,4", "b,b,1"]);
}

#[tokio::test]
async fn a_window_alone_can_be_asked_for() {
    let query = "SELECT window_start FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end";
    assert_eq!(answer(query).await, ["00:00", "00:10"]);
}

// A window's state cannot hold what differs each time, but above the window it is evaluated once a row.
#[tokio::test]
async fn a_random_filter_above_a_window_judges_each_result_once() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end HAVING random() < 2";
    assert_eq!(answer(query).await, ["00:10,4", "00:20,1"]);
    let plan = format!("{:?}", planned(query, 1).await);
    let (filter, operator) = (plan.find("random()").unwrap(), plan.find("OperatorExec").unwrap());
    assert!(filter < operator, "{plan}");
}

// The optimizer would put nothing in their place, and the query would have an operator less than its state.
#[tokio::test]
async fn a_condition_that_is_never_true_leaves_the_windows_below_it_in_place() {
    let inner =
        "SELECT window_end AS t, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end";
    for never in ["WHERE 1 > 1", "WHERE 'a' = 'b'", "WHERE false", "WHERE c > 5 AND NULL"] {
        assert_eq!(answer(&format!("{inner} HAVING count(*) < 0 AND 1 > 1")).await, [""; 0]);
        let query = format!(
            "SELECT window_end, sum(c) AS s FROM TUMBLE((SELECT * FROM ({inner}) {never}), t, INTERVAL '1 minute') GROUP BY window_end"
        );
        assert_eq!(answer(&query).await, [""; 0]);
    }
    let query = format!(
        "SELECT t, title FROM ({inner}) JOIN (SELECT * FROM pages WHERE false) p ON p.page = CAST(c AS VARCHAR)"
    );
    assert_eq!(answer(&query).await, [""; 0]);
}

#[tokio::test]
async fn a_field_of_a_struct_is_read_through_subqueries_of_one_name() {
    let nested = "SELECT ts, n, named_struct('of', id) AS o FROM clicks AS t";
    let query = format!("SELECT n AS n, o['of'] AS id FROM ({nested}) AS t");
    assert_eq!(answer(&query).await, ["1,1", "16,5", "2,2", "4,3", "8,4"]);
    let query = format!(
        "SELECT window_end, max(o['of']) AS id FROM TUMBLE((SELECT o, n, ts FROM ({nested}) AS t), ts, INTERVAL '10 seconds') AS t GROUP BY window_end"
    );
    assert_eq!(answer(&query).await, ["00:10,4", "00:20,5"]);
}

#[tokio::test]
async fn expressions_are_explained_near_to_how_they_were_written() {
    let query =
        "SELECT tumble(ts, INTERVAL '10 seconds') AS w, count(*) AS c, count(DISTINCT n) FILTER (WHERE n > 3) AS d
        FROM clicks WHERE page = 'a' GROUP BY w";
    let lines = planned(query, 1).await.explain().join("\n");
    for part in [
        "aggregate count(*), count(DISTINCT n) FILTER (WHERE n > 3) by tumble(ts, INTERVAL '10 seconds')",
        "filter page = 'a'",
    ] {
        assert!(lines.contains(part), "{part}\n{lines}");
    }
}
