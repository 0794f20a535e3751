//! Sessions: what a stream answers is what batch answers, and what the definition says, however the input is cut, undone and restarted.

use std::collections::BTreeSet;

use super::kinds::both;
use super::windows::values;
use super::*;
use crate::operator::contract::{RestoredSegment, StoredSegment};

/// Page a: 0 and 3 s, exactly the gap apart 8 s, and 20 s. Page b: 5 and 9 s.
const ROWS: [Row; 6] =
    [(1, "a", 1, 8), (2, "b", 2, 9), (3, "a", 4, 0), (4, "a", 8, 20), (5, "b", 16, 5), (6, "a", 32, 3)];

const PER_PAGE: &str = "SELECT window_start, window_end, page, count(*) AS c, sum(n) AS s
    FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_start, window_end, page";

/// Rows as a stream reads them; no page where it is called so.
fn read(pipeline: &Pipeline, slot: usize, rows: &[Row]) -> Vec<RecordBatch> {
    let slot = &pipeline.slots[slot];
    let text = text(rows).replace("\"no page\"", "null");
    json(slot.table.schema(), &text).iter().map(|batch| batch.project(slot.columns()).unwrap()).collect()
}

/// The query after a restart, with what a checkpoint holds.
async fn restarted(query: &str, before: &Pipeline) -> Pipeline {
    let next = planned(query, 1).await;
    for ((at, operator), marks) in before.operators().iter().enumerate().zip(before.kept_marks()) {
        for StoredSegment { input, shard, pane, segment } in operator.segments() {
            let batches = segment.rows.batches().map(|batch| batch.unwrap()).collect();
            let (id, level) = (segment.id, segment.level);
            next.operators()[at].restore(RestoredSegment { input, shard, pane, id, level, batches }).unwrap();
        }
        next.restore_marks(at, |input| marks.get(input).copied());
    }
    next
}

/// An epoch in which each source gets so far.
async fn step(pipeline: &Pipeline, batches: Vec<Vec<RecordBatch>>, sources: Vec<Mark>) -> Emitted {
    let output = pipeline.step(StepInput { epoch: 1, batches, sources, ..StepInput::default() }).await.unwrap();
    pipeline.commit().unwrap();
    Emitted::of(output)
}

#[tokio::test]
async fn rows_of_a_key_that_follow_one_another_are_one_session() {
    let want = ["00:00,00:13,a,3,37", "00:05,00:14,b,2,18", "00:20,00:25,a,1,8"];
    assert_eq!(both(PER_PAGE, &ROWS).await, want);
    for other in [
        "TABLE(SESSION(TABLE clicks PARTITION BY page, DESCRIPTOR(ts), INTERVAL '5' SECONDS))",
        "SESSION((SELECT * FROM clicks) PARTITION BY (page), ts, INTERVAL '5 seconds')",
        "SESSION(clicks PARTITION BY page, INTERVAL '5 seconds')",
    ] {
        let from = "SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds')";
        assert_eq!(both(&PER_PAGE.replace(from, other), &ROWS).await, want, "{other}");
    }
    // The same to group by, by its name, its place and an expression beside it.
    for (session, page) in [("w", "page"), ("1", "2"), ("session(INTERVAL '5 seconds')", "page")] {
        let query = format!(
            "SELECT session(ts, INTERVAL '5 seconds') AS w, page, count(*) AS c, sum(n) AS s FROM clicks GROUP BY {session}, {page}"
        );
        let query = format!("SELECT w['start'] AS a, w['end'] AS b, page, c, s FROM ({query})");
        assert_eq!(both(&query, &ROWS).await, want, "{session}");
    }
}

#[tokio::test]
async fn without_a_key_there_is_one_session_over_all() {
    let query =
        "SELECT window_start, window_end, window_time, count(*) AS c FROM SESSION(clicks, ts, INTERVAL '5 seconds')
        GROUP BY window_start, window_end, window_time";
    assert_eq!(both(query, &ROWS).await, ["00:00,00:14,00:13.999,5", "00:20,00:25,00:24.999,1"]);
    // To group by it is per the other keys, of which there are none.
    let query = "SELECT session(ts, INTERVAL '5 seconds') AS w, count(*) AS c FROM clicks GROUP BY w";
    assert_eq!(both(query, &ROWS).await, ["{start: 00:00, end: 00:14},5", "{start: 00:20, end: 00:25},1"]);
}

#[tokio::test]
async fn several_keys_computed_ones_and_conditions_stand_beside_a_session() {
    let query = "SELECT session(ts, INTERVAL '5 seconds') AS w, upper(page) AS p, n > 2 AS big, count(*) AS c, max(ts) AS latest
        FROM clicks WHERE id <> 6 GROUP BY w, upper(page), n > 2 HAVING count(*) < 2";
    let want = [
        "{start: 00:00, end: 00:05},A,true,1,00:00",
        "{start: 00:05, end: 00:10},B,true,1,00:05",
        "{start: 00:08, end: 00:13},A,false,1,00:08",
        "{start: 00:09, end: 00:14},B,false,1,00:09",
        "{start: 00:20, end: 00:25},A,true,1,00:20",
    ];
    assert_eq!(both(query, &ROWS).await, want);
    let query = "SELECT window_end, page, id, string_agg(CAST(n AS VARCHAR), '+' ORDER BY ts) AS n
        FROM SESSION(clicks PARTITION BY page, id, ts, INTERVAL '5 seconds') WHERE ts < TIMESTAMP '1970-01-01 00:00:08' GROUP BY 1, 2, 3";
    assert_eq!(both(query, &ROWS).await, ["00:05,a,3,4", "00:08,a,6,32", "00:10,b,5,16"]);
}

#[tokio::test]
async fn rows_come_out_with_their_session_and_everything_stands_above() {
    let rows = "SELECT id, window_start, window_end FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds')";
    let want = ["1,00:00,00:13", "2,00:05,00:14", "3,00:00,00:13", "4,00:20,00:25", "5,00:05,00:14", "6,00:00,00:13"];
    assert_eq!(both(rows, &ROWS).await, want);
    // Windows, also the same again, a condition, a union and a lookup.
    let sessions = "SELECT window_time AS at, window_end AS until, window_start AS since, page, count(*) AS c
        FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_time, window_end, window_start, page";
    let query = format!(
        "SELECT window_end, count(*) AS sessions, max(c) AS most, min(since) AS since FROM TUMBLE(({sessions}), at, INTERVAL '10 seconds')
         WHERE page <> 'c' GROUP BY window_end"
    );
    assert_eq!(both(&query, &ROWS).await, ["00:20,2,3,00:00", "00:30,1,1,00:20"]);
    let query = format!("SELECT until, count(*) AS sessions FROM ({sessions}) WHERE since < until GROUP BY until");
    assert_eq!(both(&query, &ROWS).await, ["00:13,1", "00:14,1", "00:25,1"]);
    let again =
        "SELECT w, sum(c) AS c FROM (SELECT session(ts, INTERVAL '5 seconds') AS w, page, n, count(*) AS c FROM clicks
        GROUP BY w, page, n) GROUP BY w";
    let each = ["{start: 00:00, end: 00:05},1", "{start: 00:03, end: 00:08},1", "{start: 00:05, end: 00:10},1"];
    assert_eq!(both(again, &ROWS).await[..3], each);
    let query = format!(
        "SELECT tumble(until, INTERVAL '1 minute') AS w, count(*) AS c FROM (SELECT until FROM ({sessions}) UNION ALL SELECT until FROM ({sessions})) GROUP BY w"
    );
    assert_eq!(both(&query, &ROWS).await, ["{start: 00:00, end: 01:00},6"]);
    let query = format!("SELECT title, until, c FROM ({sessions}) s JOIN pages p ON p.page = s.page");
    assert_eq!(both(&query, &ROWS).await, ["Alpha,00:13,3", "Alpha,00:25,1", "Beta,00:14,2"]);
    let query = "SELECT tumble(w['end'], INTERVAL '20 seconds') AS v, sum(c) AS c FROM (
        SELECT session(ts, INTERVAL '5 seconds') AS w, page, count(*) AS c FROM clicks GROUP BY w, page) GROUP BY v";
    assert_eq!(both(query, &ROWS).await, ["{start: 00:00, end: 00:20},5", "{start: 00:20, end: 00:40},1"]);
    // Sessions of sessions.
    let query = format!(
        "SELECT window_start, window_end, sum(c) AS c FROM SESSION(({sessions}), until, INTERVAL '2 seconds') GROUP BY window_start, window_end"
    );
    assert_eq!(both(&query, &ROWS).await, ["00:13,00:16,5", "00:25,00:27,1"]);
}

#[tokio::test]
async fn sessions_stand_over_unions_and_windows_and_are_joined_by_their_ends() {
    // Both tables have the same rows.
    let query = "SELECT window_end, page, count(*) AS c FROM SESSION((SELECT ts, page FROM clicks UNION ALL SELECT ts + INTERVAL '4 seconds', page FROM taps)
        PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_end, page";
    assert_eq!(both(query, &ROWS).await, ["00:17,a,6", "00:18,b,4", "00:29,a,2"]);
    let query = "SELECT w, window_end, count(*) AS c FROM (SELECT session(ts, INTERVAL '5 seconds') AS w, window_end, count(*) AS rows
        FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '20 seconds') GROUP BY w, window_end, page) GROUP BY w, window_end";
    let found = both(query, &ROWS).await;
    assert_eq!(found.len(), 6, "{found:?}");
    let of = |table: &str| {
        format!(
            "(SELECT window_end, window_start, page, count(*) AS c FROM SESSION({table} PARTITION BY page, ts, INTERVAL '5 seconds')
             GROUP BY window_end, window_start, page)"
        )
    };
    let query = format!(
        "SELECT c.window_end, c.page, t.c FROM {} c JOIN {} t ON c.window_end = t.window_end AND c.page = t.page",
        of("clicks"),
        of("taps")
    );
    assert_eq!(both(&query, &ROWS).await, ["00:13,a,3", "00:14,b,2", "00:25,a,1"]);
}

#[tokio::test]
async fn a_session_that_may_not_be_longer_is_cut() {
    let view = |query: &str| format!("CREATE MATERIALIZED VIEW v WITH ('session-max-length' = '8 seconds') AS {query}");
    let want = ["00:00,00:08,a,2,36", "00:05,00:13,b,2,18", "00:08,00:13,a,1,1", "00:20,00:25,a,1,8"];
    assert_eq!(both(&view(PER_PAGE), &ROWS).await, want);
    let query = "SELECT session(ts, INTERVAL '5 seconds') AS w, count(*) AS c FROM clicks GROUP BY w";
    let want = ["{start: 00:00, end: 00:08},3", "{start: 00:08, end: 00:14},2", "{start: 00:20, end: 00:25},1"];
    assert_eq!(both(&view(query), &ROWS).await, want);
    // Through a plain view, and with the row's own time above, which now has a watermark.
    let views = "CREATE VIEW sat AS SELECT ts, page, window_start AS since FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds');";
    let query = view(
        "SELECT window_end, page, max(since) AS since FROM TUMBLE(sat, ts, INTERVAL '5 seconds') GROUP BY window_end, page",
    );
    let want = ["00:05,a,00:00", "00:10,a,00:08", "00:10,b,00:05", "00:25,a,00:20"];
    assert_eq!(both(&format!("{views}{query}"), &ROWS).await, want);
}

#[tokio::test]
async fn a_session_closes_behind_its_end_and_not_at_it() {
    let pipeline = planned(PER_PAGE, 1).await;
    let due = |after: Micros| pipeline.due(&[Mark::new(after)]);
    assert!(!due(END), "nothing is open");
    let output = step(&pipeline, vec![read(&pipeline, 0, &ROWS)], vec![Mark::new(0)]).await;
    assert_eq!((output.rows(), pipeline.open_panes()), (0, 3));
    // Another row at 13 s would still be in the session of a.
    assert!(!due(13 * SECOND) && due(13 * SECOND + 1) && due(END));
    assert_eq!(step(&pipeline, vec![vec![]], vec![Mark::new(13 * SECOND)]).await.rows(), 0);
    let output = step(&pipeline, vec![read(&pipeline, 0, &[(7, "a", 64, 13)])], vec![Mark::new(13 * SECOND + 1)]).await;
    assert_eq!(output.rows(), 0);
    assert!(!due(14 * SECOND) && due(14 * SECOND + 1));
    let output = step(&pipeline, vec![vec![]], vec![Mark::new(14 * SECOND + 1)]).await;
    assert_eq!(values(&output.batches), ["00:05,00:14,b,2,18"]);
    // A row between two sessions makes them one.
    let output =
        step(&pipeline, vec![read(&pipeline, 0, &[(8, "a", 128, 17)])], vec![Mark::new(25 * SECOND + 1)]).await;
    assert_eq!(values(&output.batches), ["00:00,00:25,a,6,237"]);
    assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));
}

#[tokio::test]
async fn a_cut_off_part_comes_out_when_the_watermark_has_passed_the_cut() {
    let query = "CREATE MATERIALIZED VIEW v WITH ('session-max-length' = '10 seconds') AS
        SELECT window_start, window_end, window_time, id FROM SESSION(clicks, ts, INTERVAL '5 seconds')";
    let pipeline = planned(query, 1).await;
    let first = [(1, "a", 0, 0), (2, "a", 0, 4), (3, "a", 0, 8), (4, "a", 0, 12), (5, "a", 0, 16)];
    step(&pipeline, vec![read(&pipeline, 0, &first)], vec![Mark::new(0)]).await;
    assert!(!pipeline.due(&[Mark::new(10 * SECOND)]) && pipeline.due(&[Mark::new(10 * SECOND + 1)]));
    let output = step(&pipeline, vec![vec![]], vec![Mark::new(10 * SECOND + 1)]).await;
    let cut = ["00:00,00:10,00:09.999,1", "00:00,00:10,00:09.999,2", "00:00,00:10,00:09.999,3"];
    assert_eq!(values(&output.batches), cut);
    // The next one is open from its own first row on: a row before that is in time or late, as anywhere.
    let late = [(6, "a", 0, 10), (7, "a", 0, 13), (8, "a", 0, 11)];
    let output = step(&pipeline, vec![read(&pipeline, 0, &late)], vec![Mark::new(10 * SECOND + 1)]).await;
    assert_eq!(output.late.iter().map(|row| row.event_time).collect::<Vec<_>>(), [Some(10 * SECOND)]);
    let output = step(&pipeline, vec![vec![]], vec![Mark::new(21 * SECOND + 1)]).await;
    let want =
        ["00:11,00:21,00:20.999,4", "00:11,00:21,00:20.999,5", "00:11,00:21,00:20.999,7", "00:11,00:21,00:20.999,8"];
    assert_eq!(values(&output.batches), want);
    let marks: Vec<_> = pipeline.output_marks().into_iter().map(|(column, mark)| (column, mark.at)).collect();
    let at = 21 * SECOND;
    let known = [("window_start", at - 10 * SECOND), ("window_end", at), ("window_time", at - 999)];
    assert_eq!(marks, known.map(|(column, at)| (column.to_owned(), at)));
}

#[tokio::test]
async fn a_late_row_counts_where_an_open_session_reaches_over_it_and_is_in_the_ledger_where_none_does() {
    let query = "SELECT id, window_start, window_end FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds')";
    let pipeline = planned(query, 1).await;
    let open = [(1, "a", 0, 10), (2, "a", 0, 14), (3, "b", 0, 20)];
    step(&pipeline, vec![read(&pipeline, 0, &open)], vec![Mark::new(16 * SECOND)]).await;
    // At 12 s within what is open, at 9 s before it, at 15 s of another page; 16 s is in time.
    let late: [Row; 5] =
        [(4, "a", 0, 12), (5, "a", 0, 9), (6, "b", 0, 15), (7, "no page", 0, 15), (8, "no page", 0, 16)];
    let input = StepInput {
        epoch: 2,
        batches: vec![read(&pipeline, 0, &late)],
        origins: vec![vec![Origins::records(3, 100, 5)]],
        sources: vec![Mark::new(16 * SECOND)],
        ..StepInput::default()
    };
    let output = Emitted::of(pipeline.step(input).await.unwrap());
    pipeline.commit().unwrap();
    let ledger: Vec<_> = output
        .late
        .iter()
        .map(|row| (row.origin.as_ref().unwrap().offset, row.event_time, row.watermark, row.missed, row.wholly))
        .collect();
    let at = |offset, second| (offset, Some(second * SECOND), 16 * SECOND, None, true);
    assert_eq!(ledger, [at(101, 9), at(102, 15), at(103, 15)]);
    assert!(
        output.late[0].row.contains(r#""page":"a""#) && !output.late[0].row.contains("__"),
        "{}",
        output.late[0].row
    );
    let output = step(&pipeline, vec![vec![]], vec![Mark::END]).await;
    let want = ["1,00:10,00:19", "2,00:10,00:19", "3,00:20,00:25", "4,00:10,00:19", "8,00:16,00:21"];
    assert_eq!(values(&output.batches), want);
}

// Of a window that overlaps others a row comes several times.
#[tokio::test]
async fn a_row_that_comes_once_for_each_of_its_windows_is_late_once() {
    let query = "SELECT id, window_end FROM SESSION((SELECT id, ts, window_end AS until FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '15 seconds'))
        PARTITION BY until, ts, INTERVAL '5 seconds')";
    let pipeline = planned(query, 1).await;
    step(&pipeline, vec![read(&pipeline, 0, &[(1, "a", 0, 11)])], vec![Mark::new(14 * SECOND)]).await;
    let output =
        step(&pipeline, vec![read(&pipeline, 0, &[(2, "a", 0, 7), (3, "a", 0, 12)])], vec![Mark::new(14 * SECOND)])
            .await;
    assert_eq!(
        output.late.iter().map(|row| (row.event_time, row.wholly)).collect::<Vec<_>>(),
        [(Some(7 * SECOND), true)]
    );
    let output = step(&pipeline, vec![vec![]], vec![Mark::END]).await;
    assert_eq!(output.rows(), 6);
}

#[tokio::test]
async fn sessions_that_close_together_are_computed_together_wherever_they_end() {
    let pipeline = planned(PER_PAGE, 1).await;
    // Fifty sessions, each with an end of its own.
    let rows: Vec<Row> = (0..50).map(|at| (at, "a", 1, at * 10)).collect();
    let output = step(&pipeline, vec![read(&pipeline, 0, &rows)], vec![Mark::END]).await;
    let mut found = values(&output.batches);
    found.sort();
    let time = |second: i64| format!("{:02}:{:02}", second / 60, second % 60);
    let want: Vec<String> = (0..50).map(|at| format!("{},{},a,1,1", time(at * 10), time(at * 10 + 5))).collect();
    assert_eq!(found, want);
    assert!(output.batches.len() <= 8, "{} batches", output.batches.len());
}

#[tokio::test]
async fn of_sessions_that_have_come_only_those_behind_all_sources_are_counted() {
    let of = |table: &str| {
        format!("SELECT window_end, page FROM SESSION({table} PARTITION BY page, ts, INTERVAL '5 seconds')")
    };
    let query = format!(
        "SELECT window_end, page, count(*) AS c FROM ({} UNION ALL {}) GROUP BY window_end, page",
        of("clicks"),
        of("taps")
    );
    let pipeline = planned(&query, 1).await;
    let rows = [(1, "a", 0, 1), (2, "b", 0, 20)];
    // What closes last is not the same in both: those of a are one result all the same.
    let more = [(1, "a", 0, 1), (2, "b", 0, 20), (3, "c", 0, 3)];
    let batches = vec![read(&pipeline, 0, &rows), read(&pipeline, 1, &more)];
    let output = step(&pipeline, batches, vec![Mark::new(30 * SECOND), Mark::new(10 * SECOND)]).await;
    // That of 20 s has come from one of them alone.
    assert_eq!(values(&output.batches), ["00:06,a,2", "00:08,c,1"]);
    let output = step(&pipeline, vec![vec![], vec![]], vec![Mark::new(30 * SECOND); 2]).await;
    assert_eq!(values(&output.batches), ["00:25,b,2"]);
    assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));

    // As well where another closes with those that complete what has waited.
    let pipeline = planned(&query, 1).await;
    let more = [(1, "b", 0, 20), (2, "d", 0, 22)];
    let batches = vec![read(&pipeline, 0, &[(1, "b", 0, 20)]), read(&pipeline, 1, &more)];
    let output = step(&pipeline, batches, vec![Mark::new(30 * SECOND), Mark::new(10 * SECOND)]).await;
    assert_eq!(values(&output.batches), [] as [&str; 0]);
    let output = step(&pipeline, vec![vec![], vec![]], vec![Mark::new(30 * SECOND); 2]).await;
    assert_eq!(values(&output.batches), ["00:25,b,2", "00:27,d,1"]);
    assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));
}

#[tokio::test]
async fn rows_without_a_time_are_in_no_session() {
    let pipeline = planned("SELECT id, window_end FROM SESSION(clicks, ts, INTERVAL '5 seconds')", 1).await;
    let slot = &pipeline.slots[0];
    let text = "{\"id\":1}\n{\"id\":2,\"ts\":3000}\n{\"id\":3,\"ts\":null}";
    let batches: Vec<RecordBatch> =
        json(slot.table.schema(), text).iter().map(|batch| batch.project(slot.columns()).unwrap()).collect();
    let output = step(&pipeline, vec![batches], vec![Mark::END]).await;
    assert_eq!((output.without_time, values(&output.batches)), (2, vec!["2,00:08".to_owned()]));
}

#[tokio::test]
async fn rows_behind_the_watermark_count_as_long_as_lateness_is_allowed() {
    let query = format!("CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '4 seconds') AS {PER_PAGE}");
    let pipeline = planned(&query, 1).await;
    step(&pipeline, vec![read(&pipeline, 0, &[(1, "a", 1, 0)])], vec![Mark::new(7 * SECOND)]).await;
    let late = [(2, "a", 2, 3), (3, "b", 4, 2)];
    let output = step(&pipeline, vec![read(&pipeline, 0, &late)], vec![Mark::new(7 * SECOND)]).await;
    assert_eq!(output.late.len(), 1);
    // Behind the session and its lateness, and no second time for the aggregate above.
    assert!(!pipeline.due(&[Mark::new(12 * SECOND)]) && pipeline.due(&[Mark::new(12 * SECOND + 1)]));
    let output = step(&pipeline, vec![vec![]], vec![Mark::new(12 * SECOND + 1)]).await;
    assert_eq!(values(&output.batches), ["00:00,00:08,a,2,3"]);
}

#[tokio::test]
async fn silence_closes_all_sessions_but_those_of_times_to_come() {
    let pipeline = planned(PER_PAGE, 1).await;
    let rows = [(1, "a", 1, 3), (2, "a", 1, 6), (3, "b", 1, 25), (4, "b", 1, 95)];
    step(&pipeline, vec![read(&pipeline, 0, &rows)], vec![Mark::NONE]).await;
    assert_eq!(pipeline.close_all_at(&[30 * SECOND]), [30 * SECOND + 1]);
    assert_eq!(pipeline.close_all_at(&[3 * SECOND]), [11 * SECOND + 1]);
    assert_eq!(pipeline.close_all_at(&[2 * SECOND]), [NONE]);
    let output = step(&pipeline, vec![vec![]], vec![Mark::new(pipeline.close_all_at(&[30 * SECOND])[0])]).await;
    assert_eq!(values(&output.batches), ["00:03,00:11,a,2,2", "00:25,00:30,b,1,1"]);
    assert_eq!(pipeline.close_all_at(&[30 * SECOND]), [NONE]);
}

#[tokio::test]
async fn nobody_waits_for_a_source_that_is_idle() {
    let query = "SELECT id, window_end FROM SESSION((SELECT id, ts FROM clicks UNION ALL SELECT id, ts FROM taps), ts, INTERVAL '5 seconds')";
    let pipeline = planned(query, 1).await;
    let first = vec![read(&pipeline, 0, &[(1, "a", 0, 1)]), vec![]];
    let output = step(&pipeline, first, vec![Mark::new(15 * SECOND), Mark::NONE]).await;
    assert_eq!(output.rows(), 0);
    let idle = Mark { at: NONE, idle: true };
    let output = step(&pipeline, vec![vec![], vec![]], vec![Mark::new(15 * SECOND), idle]).await;
    assert_eq!(values(&output.batches), ["1,00:06"]);
    // It wakes, and its rows are behind what has been closed.
    let woken = vec![vec![], read(&pipeline, 1, &[(2, "a", 0, 2), (3, "a", 0, 16)])];
    let output = step(&pipeline, woken, vec![Mark::new(15 * SECOND), Mark::new(2 * SECOND)]).await;
    assert_eq!(output.late.iter().map(|row| row.event_time).collect::<Vec<_>>(), [Some(2 * SECOND)]);
}

#[tokio::test]
async fn what_was_emitted_before_a_restart_does_not_come_again() {
    for option in ["", "WITH ('session-max-length' = '10 seconds')"] {
        let query = format!(
            "CREATE MATERIALIZED VIEW v {option} AS SELECT id, window_end FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds')"
        );
        let pipeline = planned(&query, 1).await;
        // One of many rows of a segment that stays.
        let rows = [(1, "a", 0, 1), (2, "b", 0, 3), (3, "b", 0, 8), (4, "c", 0, 7), (5, "b", 0, 12)];
        step(&pipeline, vec![read(&pipeline, 0, &rows)], vec![Mark::new(0)]).await;
        let output = step(&pipeline, vec![vec![]], vec![Mark::new(6 * SECOND + 1)]).await;
        assert_eq!(values(&output.batches), ["1,00:06"]);
        let pipeline = restarted(&query, &pipeline).await;
        assert!(!pipeline.due(&[Mark::new(12 * SECOND)]) && pipeline.due(&[Mark::new(13 * SECOND + 1)]));
        let output = step(&pipeline, vec![vec![]], vec![Mark::END]).await;
        assert_eq!((output.rows(), pipeline.open_panes(), pipeline.state_bytes()), (4, 0, 0), "{option}");
    }
}

// Else the watermark would pass it without an epoch, and the next one would take it for gone.
#[tokio::test]
async fn a_session_behind_one_that_has_gone_is_due_after_a_restart() {
    let query = "SELECT id, window_end FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds')";
    let pipeline = planned(query, 1).await;
    let rows = [(1, "a", 0, 1), (2, "a", 0, 10), (3, "a", 0, 11)];
    step(&pipeline, vec![read(&pipeline, 0, &rows)], vec![Mark::new(0)]).await;
    let output = step(&pipeline, vec![vec![]], vec![Mark::new(6 * SECOND + 1)]).await;
    assert_eq!(values(&output.batches), ["1,00:06"]);
    // Less than half of their segment has gone, so it stays as it is.
    let pipeline = restarted(query, &pipeline).await;
    assert!(!pipeline.due(&[Mark::new(16 * SECOND)]) && pipeline.due(&[Mark::new(16 * SECOND + 1)]));
    let output = step(&pipeline, vec![vec![]], vec![Mark::new(16 * SECOND + 1)]).await;
    assert_eq!(values(&output.batches), ["2,00:16", "3,00:16"]);
}

#[tokio::test]
async fn a_session_keeps_the_columns_that_somebody_reads() {
    let from = "SELECT window_end, count(*) AS c FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_end";
    let called =
        "SELECT session(ts, INTERVAL '5 seconds') AS w, page, count(*) AS c FROM clicks WHERE n > 0 GROUP BY w, page";
    let view = "CREATE VIEW loud AS SELECT id, upper(page) AS page, n, ts FROM clicks;
        SELECT window_end, sum(n) AS n FROM SESSION(loud PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_end";
    for (query, read, kept) in [(from, 2, 2), (called, 3, 2), (view, 3, 3)] {
        let pipeline = planned(query, 1).await;
        assert_eq!(pipeline.slots[0].columns().len(), read, "{query}");
        step(&pipeline, vec![self::read(&pipeline, 0, &[(1, "a", 1, 1)])], vec![Mark::NONE]).await;
        let stored = pipeline.operators().iter().flat_map(|operator| operator.segments()).next().unwrap();
        assert_eq!(stored.segment.rows.batches_in_memory().unwrap()[0].num_columns(), kept, "{query}");
    }
}

#[tokio::test]
async fn a_session_is_explained_with_what_it_keeps_and_until_when() {
    let query =
        "CREATE MATERIALIZED VIEW v WITH ('session-max-length' = '4 hours', 'allowed-lateness' = '10 seconds') AS
        SELECT session(ts, INTERVAL '5 minutes') AS w, page, count(*) AS c FROM clicks GROUP BY w, page";
    let pipeline = planned(query, 1).await;
    let ids: Vec<&str> = pipeline.operators().iter().map(|operator| operator.id()).collect();
    assert_eq!(ids, ["session-0", "window-0"]);
    let lines = pipeline.explain().join("\n");
    for part in [
        "aggregate count(*) by session, page",
        "window function SESSION(5 minutes, at most 4 hours) by page",
        "state session-0: one row for each row of an open session; a session's rows go when the watermark passes its end, at most 4 hours after its first row, by 10 seconds",
        "emits the rows of a session when none can come any more",
        "state window-0: one row for each key and window; windows of SESSION(5 minutes, at most 4 hours) go when the watermark passes their end\n",
    ] {
        assert!(lines.contains(part), "{part}\n{lines}");
    }
}

#[tokio::test]
async fn what_a_session_cannot_be_is_refused_with_what_to_write() {
    for (query, said) in [
        (
            "SELECT window_start, page, count(*) AS c FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_start, page",
            "sessions that begin together can end apart, so their start is no window\n  hint: group by window_end, too",
        ),
        (
            "SELECT session(ts, INTERVAL '5 seconds') AS w, tumble(ts, INTERVAL '1 minute') AS v, count(*) AS c FROM clicks GROUP BY w, v",
            "one GROUP BY cannot use two different windows",
        ),
        (
            "SELECT session(ts, INTERVAL '5 seconds') AS w, page FROM clicks",
            "session(…) depends on the rows around and can only be grouped by, as it stands",
        ),
        (
            "SELECT page, count(*) AS c FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY page",
            "an aggregate over a stream needs a window, or it would never be final",
        ),
        (
            "SELECT window_end, count(*) AS c FROM SESSION((SELECT ts + INTERVAL '1 month' AS ts FROM clicks), ts, INTERVAL '5 seconds') GROUP BY window_end",
            "column \"ts\" has no watermark, so its windows would never close",
        ),
        (
            "SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS c FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY w",
            "column \"ts\" has no watermark, so its windows would never close",
        ),
        (
            "SELECT session(ts, INTERVAL '5 seconds') AS w, random() < 0.5 AS r, count(*) AS c FROM clicks GROUP BY w, r",
            "gives another value each time",
        ),
        (
            "CREATE MATERIALIZED VIEW v WITH ('session-max-length' = '1 hour') AS SELECT id FROM clicks",
            "option \"session-max-length\" has no effect on a view without SESSION\n  hint: leave it out",
        ),
        (
            "CREATE MATERIALIZED VIEW v WITH ('session-max-length' = '1500 microseconds') AS SELECT id FROM SESSION(clicks, ts, INTERVAL '5 seconds')",
            "the window's greatest length is not a whole number of the time column's milliseconds",
        ),
    ] {
        let error = try_planned(query, 1).await.expect_err(query);
        assert!(error.report().contains(said), "{query}\n{}", error.report());
        assert!(error.hint_text().is_some() && error.location().is_some(), "{query}\n{}", error.report());
    }
}

// Of times that no clock can have had there is a limit to what is open.
#[tokio::test]
async fn far_ahead_a_thousand_sessions_are_open_and_no_more() {
    let query = "SELECT id, window_end FROM SESSION(clicks PARTITION BY id, ts, INTERVAL '5 seconds')";
    let pipeline = planned(query, 1).await;
    let epoch = async |rows: &[Row], now: Micros| {
        let input = StepInput {
            epoch: 1,
            now,
            batches: vec![read(&pipeline, 0, rows)],
            sources: vec![Mark::NONE],
            ..StepInput::default()
        };
        let output = Emitted::of(pipeline.step(input).await.unwrap());
        pipeline.commit().unwrap();
        output.bad.len()
    };
    let near: Vec<Row> = (0..2_000).map(|id| (id, "a", 0, 200)).collect();
    assert_eq!(epoch(&near, 0).await, 0);
    let far: Vec<Row> = (10_000..11_002).flat_map(|id| [(id, "a", 0, 1_000), (id, "a", 0, 1_001)]).collect();
    assert_eq!(epoch(&far, 0).await, 4);
    // What is open goes on.
    assert_eq!(epoch(&[(10_000, "a", 0, 1_003), (20_000, "a", 0, 1_000), (1, "a", 0, 202)], 0).await, 1);
    assert_eq!(pipeline.open_panes(), 3_000);
    // Once its time has come it is a time like others.
    assert_eq!(epoch(&[(20_000, "a", 0, 1_000)], 900 * SECOND).await, 0);
}

#[tokio::test]
async fn ten_thousand_epochs_of_one_row_keep_memory_flat() {
    let query = "SELECT id, window_start, window_end FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds')";
    let pipeline = planned(query, 1).await;
    let (mut most, mut out) = ([0, 0], 0);
    for at in 0..10_000 {
        // A session of twenty rows, and a key of its own now and then.
        let second = at + at / 20 * 10;
        let page = if at % 7 == 0 { "b" } else { "a" };
        let rows = read(&pipeline, 0, &[(at, page, 1, second)]);
        out += step(&pipeline, vec![rows], vec![Mark::new((second - 2) * SECOND)]).await.rows();
        let half = usize::from(at >= 5_000);
        most[half] = most[half].max(pipeline.state_bytes());
    }
    assert!(most[1] <= most[0] + most[0] / 10, "{most:?} bytes");
    assert!((9_950..10_000).contains(&out), "{out} rows");
}

/// Each row with its session, as `id,start,end` in seconds.
fn naive(rows: &[Row], by_page: bool, gap: i64, longest: Option<i64>) -> BTreeSet<String> {
    let keys: BTreeSet<&str> = rows.iter().map(|row| if by_page { row.1 } else { "" }).collect();
    let mut found = BTreeSet::new();
    for key in keys {
        let mut of_key: Vec<&Row> = rows.iter().filter(|row| !by_page || row.1 == key).collect();
        of_key.sort_by_key(|row| row.3);
        let mut rest = of_key.as_slice();
        while let Some(first) = rest.first() {
            let mut count = 1;
            while rest.get(count).is_some_and(|row| {
                row.3 - rest[count - 1].3 <= gap && longest.is_none_or(|longest| row.3 - first.3 < longest)
            }) {
                count += 1;
            }
            let reach = rest[count - 1].3 + gap;
            let end = longest.map_or(reach, |longest| reach.min(first.3 + longest));
            found.extend(rest[..count].iter().map(|row| format!("{},{},{end}", row.0, first.3)));
            rest = &rest[count..];
        }
    }
    found
}

fn emitted(batches: &[RecordBatch]) -> Vec<String> {
    let mut found = Vec::new();
    for batch in batches {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let second =
            |column: usize, row| batch.column(column).as_primitive::<TimestampMillisecondType>().value(row) / 1000;
        found.extend(
            (0..batch.num_rows()).map(|row| format!("{},{},{}", ids.value(row), second(1, row), second(2, row))),
        );
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    // Nor on steps that are undone, nor on restarts. Which rows are late does depend on it; the answer is that of all others.
    #[test]
    fn the_answer_does_not_depend_on_how_the_input_is_cut(
        input in prop::collection::vec((0..4_usize, 0..100_i64, -40..200_i64), 0..70),
        cuts in prop::collection::vec((1..12_usize, any::<bool>(), 0..3), 1..20),
        gap in prop::sample::select(vec![1, 3, 10, 40]),
        longest in prop::sample::select(vec![None, None, Some(2), Some(15), Some(60)]),
        by_page in any::<bool>(),
        partitions in 1..4_usize,
        // 0 as it comes, 1 nearly in order of time, 2 in order of time.
        order in 0..3,
        // How far the watermark stays behind the latest row; `None`: it does not move, and nothing is late.
        delay in prop::sample::select(vec![None, Some(0), Some(10), Some(60)]),
        lateness in prop::sample::select(vec![0, 7]),
    ) {
        const PAGES: [&str; 4] = ["a", "b", "a longer page name than fits into a view", "no page"];
        let mut input: Vec<(usize, i64, i64)> = input;
        match order {
            0 => {}
            1 => input.sort_by_key(|row| row.2 + row.1 / 5),
            _ => input.sort_by_key(|row| row.2),
        }
        let input: Vec<Row> = (0..).zip(input).map(|(id, (page, n, at))| (id, PAGES[page], n, at)).collect();
        let cap = longest.map_or(String::new(), |longest| format!(", 'session-max-length' = '{longest} seconds'"));
        let keys = if by_page { "PARTITION BY page" } else { "" };
        let query = format!(
            "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '{lateness} seconds'{cap}) AS
             SELECT id, window_start, window_end, n, page FROM SESSION(clicks {keys}, ts, INTERVAL '{gap} seconds')"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (found, late) = runtime.block_on(async {
            let mut pipeline = planned(&query, partitions).await;
            let (mut found, mut late, mut rest) = (Vec::new(), BTreeSet::new(), input.as_slice());
            let mut watermark: Option<i64> = None;
            let mark = |watermark: Option<i64>| Mark::new(watermark.map_or(NONE, |second| second * SECOND));
            for (cut, undone, restarts) in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                if *undone {
                    let batches = vec![read(&pipeline, 0, rest)];
                    let input = StepInput { batches, sources: vec![Mark::END], ..StepInput::default() };
                    pipeline.step(input).await.unwrap();
                    pipeline.abort();
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                let latest = now.iter().map(|row| row.3).max();
                let after = delay.and_then(|delay| watermark.max(latest.map(|latest| latest - delay)));
                let output = step(&pipeline, vec![read(&pipeline, 0, now)], vec![mark(after)]).await;
                for row in &output.late {
                    let time = row.event_time.unwrap();
                    assert!(time < (watermark.unwrap() - lateness) * SECOND, "{row:?} is late at {watermark:?}");
                    let (_, id) = row.row.split_once("\"id\":").unwrap();
                    assert!(late.insert(id.split([',', '}']).next().unwrap().parse::<i64>().unwrap()));
                }
                found.extend(emitted(&output.batches));
                watermark = after;
                if *restarts == 0 {
                    pipeline = restarted(&query, &pipeline).await;
                }
            }
            found.extend(emitted(&step(&pipeline, vec![vec![]], vec![Mark::END]).await.batches));
            assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));
            (found, late)
        });
        let in_time: Vec<Row> = input.iter().filter(|row| !late.contains(&row.0)).copied().collect();
        prop_assert_eq!(found.len(), in_time.len());
        let found: BTreeSet<String> = found.into_iter().collect();
        prop_assert_eq!(found, naive(&in_time, by_page, gap, longest));
    }
}
