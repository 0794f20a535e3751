//! The kinds of windows, in FROM and to group by, with offsets and in days of a time zone: what a stream answers stands there, and
//! is what batch answers, however the input is cut.

use super::windows::{answer_over, values};
use super::*;

/// Every table that streams, as a file that holds these rows.
struct Ended<'a> {
    known: &'a Fixed,
    rows: &'a [Row],
}

impl Tables for Ended<'_> {
    fn defined(&self) -> &Defined {
        self.known.defined()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        match table.is_stream() {
            true => Ok(Arc::new(MemTable::try_new(table.schema(), vec![json(table.schema(), &text(self.rows))])?)),
            false => self.known.provider(table),
        }
    }
}

pub(super) async fn in_batch(query: &str, rows: &[Row]) -> Vec<String> {
    let (known, view) = parsed(query).unwrap_or_else(|error| panic!("{}", error.report()));
    let settings = PlanSettings { partitions: 2, wide_rows: 3 };
    let planned = plan_bounded(&view, &Ended { known: &known, rows }, settings).await;
    match planned.unwrap_or_else(|error| panic!("{query}: {}", error.report())) {
        Planned::Batch(context, plan) => {
            values(&context.execute_logical_plan(*plan).await.unwrap().collect().await.unwrap())
        }
        Planned::Stream(_) => panic!("{query} is not planned as batch"),
    }
}

/// The answer of stream and batch, sorted.
pub(super) async fn both(query: &str, rows: &[Row]) -> Vec<String> {
    let (mut streamed, mut batch) = (answer_over(query, rows).await, in_batch(query, rows).await);
    streamed.sort();
    batch.sort();
    assert_eq!(streamed, batch, "{query}");
    streamed
}

/// A second since 1970.
fn at(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).expect(text).timestamp()
}

fn ones(times: &[&str]) -> Vec<Row> {
    times.iter().map(|time| (0, "a", 1, at(time))).collect()
}

const ROWS: [Row; 6] =
    [(1, "a", 1, -3), (2, "a", 2, 0), (3, "b", 4, 2), (4, "a", 8, 3), (5, "b", 16, 12), (6, "a", 32, 13)];

#[tokio::test]
async fn an_offset_moves_the_windows() {
    let tumble = |offset: &str| {
        format!(
            "SELECT window_start, window_end, sum(n) AS n FROM TUMBLE(clicks, ts, INTERVAL '10 seconds', {offset})
             GROUP BY window_start, window_end"
        )
    };
    let moved = ["00:03,00:13,24", "00:13,00:23,32", "1969-12-31T23:59:53,00:03,7"];
    for offset in ["INTERVAL '3 seconds'", "INTERVAL '-7 seconds'", "-INTERVAL '7' SECOND"] {
        assert_eq!(both(&tumble(offset), &ROWS).await, moved, "{offset}");
    }
    let query =
        "SELECT tumble(ts, INTERVAL '10 seconds', INTERVAL '3 seconds') AS w, sum(n) AS n FROM clicks GROUP BY w";
    let moved = [
        "{start: 00:03, end: 00:13},24",
        "{start: 00:13, end: 00:23},32",
        "{start: 1969-12-31T23:59:53, end: 00:03},7",
    ];
    assert_eq!(both(query, &ROWS).await, moved);
    let query = "SELECT window_end, sum(n) AS n FROM TABLE(HOP(DATA => TABLE clicks, TIMECOL => DESCRIPTOR(ts),
        SLIDE => INTERVAL '5 seconds', SIZE => INTERVAL '10 seconds', OFFSET => INTERVAL '1' SECOND)) GROUP BY window_end";
    assert_eq!(both(query, &ROWS).await, ["00:01,3", "00:06,15", "00:11,12", "00:16,48", "00:21,48"]);
}

#[tokio::test]
async fn windows_that_accumulate_close_step_by_step_with_all_that_came_before() {
    let accumulated = ["00:00,1", "00:04,14", "00:08,14", "00:12,14", "00:16,48", "00:20,48", "00:24,48"];
    let query = "SELECT window_end, sum(n) AS n FROM CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds') GROUP BY window_end";
    assert_eq!(both(query, &ROWS).await, accumulated);
    let query = "SELECT w['end'] AS e, n FROM (SELECT cumulate(ts, INTERVAL '4 seconds', INTERVAL '12 seconds') AS w, sum(n) AS n FROM clicks GROUP BY w)";
    assert_eq!(both(query, &ROWS).await, accumulated);
    let query = "SELECT window_start, window_end, window_time, page, count(*) AS c
        FROM TABLE(CUMULATE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '6' SECOND, INTERVAL '12' SECOND, INTERVAL '2' SECOND))
        GROUP BY window_start, window_end, window_time, page";
    assert_eq!(
        both(query, &ROWS).await,
        [
            "00:02,00:08,00:07.999,a,1",
            "00:02,00:08,00:07.999,b,1",
            "00:02,00:14,00:13.999,a,2",
            "00:02,00:14,00:13.999,b,2",
            "1969-12-31T23:59:50,00:02,00:01.999,a,2",
        ]
    );
}

// All windows of a span begin together: their rows are one group, in which a row counts once for each of its windows.
#[tokio::test]
async fn accumulating_windows_that_are_grouped_by_their_start_alone_are_one_group() {
    let windows = "CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds')";
    let query = format!("SELECT window_start, sum(n) AS n FROM {windows} GROUP BY window_start");
    assert_eq!(both(&query, &ROWS).await, ["00:00,42", "00:12,144", "1969-12-31T23:59:48,1"]);
    let inner =
        format!("SELECT window_start, window_end, sum(n) AS n FROM {windows} GROUP BY window_start, window_end");
    let query = format!("SELECT window_start, max(n) AS most FROM ({inner}) GROUP BY window_start");
    assert_eq!(both(&query, &ROWS).await, ["00:00,14", "00:12,48", "1969-12-31T23:59:48,1"]);
}

#[tokio::test]
async fn hop_can_be_grouped_by() {
    let query = "SELECT page, hop(ts, INTERVAL '5 seconds', INTERVAL '10 seconds') AS w, sum(n) AS n FROM clicks GROUP BY w, page";
    let want = [
        "a,{start: 00:00, end: 00:10},10",
        "a,{start: 00:05, end: 00:15},32",
        "a,{start: 00:10, end: 00:20},32",
        "a,{start: 1969-12-31T23:59:50, end: 00:00},1",
        "a,{start: 1969-12-31T23:59:55, end: 00:05},11",
        "b,{start: 00:00, end: 00:10},4",
        "b,{start: 00:05, end: 00:15},16",
        "b,{start: 00:10, end: 00:20},16",
        "b,{start: 1969-12-31T23:59:55, end: 00:05},4",
    ];
    assert_eq!(both(query, &ROWS).await, want);
    // By its place, without being shown, over a query, a view and another window.
    let query = "CREATE VIEW some AS SELECT ts, n FROM clicks WHERE page = 'a';
        SELECT sum(n) AS n FROM some GROUP BY hop(ts, INTERVAL '5 seconds', INTERVAL '10 seconds', INTERVAL '-1 second')
        HAVING count(*) > 1";
    assert_eq!(both(query, &ROWS).await, ["10", "11"]);
    let query = "SELECT hop(window_time, INTERVAL '10 seconds', INTERVAL '20 seconds'), count(*) AS c
        FROM TUMBLE(clicks, ts, INTERVAL '5 seconds') GROUP BY 1";
    let want = [
        "{start: 00:00, end: 00:20},5",
        "{start: 00:10, end: 00:30},2",
        "{start: 1969-12-31T23:59:40, end: 00:00},1",
        "{start: 1969-12-31T23:59:50, end: 00:10},4",
    ];
    assert_eq!(both(query, &ROWS).await, want);
}

#[tokio::test]
async fn a_time_that_is_left_out_is_the_watermarks() {
    let query = "SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS c FROM clicks AS k GROUP BY w";
    let want =
        ["{start: 00:00, end: 00:10},3", "{start: 00:10, end: 00:20},2", "{start: 1969-12-31T23:59:50, end: 00:00},1"];
    assert_eq!(both(query, &ROWS).await, want);
    let query =
        "SELECT title, hop(INTERVAL '5 seconds', INTERVAL '10 seconds', INTERVAL '1 second') AS w, count(*) AS c
        FROM clicks JOIN pages USING (page) WHERE n > 8 GROUP BY title, w";
    let want = [
        "Alpha,{start: 00:06, end: 00:16},1",
        "Alpha,{start: 00:11, end: 00:21},1",
        "Beta,{start: 00:06, end: 00:16},1",
        "Beta,{start: 00:11, end: 00:21},1",
    ];
    assert_eq!(both(query, &ROWS).await, want);
    let query = "SELECT w['end'] AS e FROM (SELECT cumulate(INTERVAL '10 seconds', INTERVAL '20 seconds') AS w, sum(n) AS n FROM clicks WHERE n > 8 GROUP BY w)";
    assert_eq!(both(query, &ROWS).await, ["00:20"]);
}

#[tokio::test]
async fn a_day_in_a_time_zone_is_one_window_however_long_it_is() {
    // In Berlin 2024-03-31 has 23 hours and 2024-10-27 has 25.
    let rows = ones(&[
        "2024-03-30T22:59:59Z",
        "2024-03-30T23:00:00Z",
        "2024-03-31T21:59:59Z",
        "2024-03-31T22:00:00Z",
        "2024-10-26T22:00:00Z",
        "2024-10-27T22:59:59Z",
        "2024-10-27T23:00:00Z",
    ]);
    let query =
        "SELECT window_start, window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 day', 'Europe/Berlin')
        GROUP BY window_start, window_end";
    let want = [
        "2024-03-29T23:00:00,2024-03-30T23:00:00,1",
        "2024-03-30T23:00:00,2024-03-31T22:00:00,2",
        "2024-03-31T22:00:00,2024-04-01T22:00:00,1",
        "2024-10-26T22:00:00,2024-10-27T23:00:00,2",
        "2024-10-27T23:00:00,2024-10-28T23:00:00,1",
    ];
    assert_eq!(both(query, &rows).await, want);
    let query = "SELECT w['start'] AS s, w['end'] AS e, c FROM
        (SELECT tumble(INTERVAL '1 day', 'Europe/Berlin') AS w, count(*) AS c FROM clicks GROUP BY w)";
    assert_eq!(both(query, &rows).await, want);
    // In Santiago, Cairo and Beirut clocks change at midnight.
    for (zone, rows, want) in [
        (
            "America/Santiago",
            [
                "2024-04-06T03:00:00Z",
                "2024-04-07T03:59:59Z",
                "2024-04-07T04:00:00Z",
                "2024-09-08T03:59:59Z",
                "2024-09-08T04:00:00Z",
            ],
            [
                "2024-04-06T03:00:00,2024-04-07T04:00:00,2",
                "2024-04-07T04:00:00,2024-04-08T04:00:00,1",
                "2024-09-07T04:00:00,2024-09-08T04:00:00,1",
                "2024-09-08T04:00:00,2024-09-09T03:00:00,1",
            ],
        ),
        (
            "Africa/Cairo",
            [
                "2024-04-25T21:59:59Z",
                "2024-04-25T22:00:00Z",
                "2024-10-30T21:00:00Z",
                "2024-10-31T21:59:59Z",
                "2024-10-31T22:00:00Z",
            ],
            [
                "2024-04-24T22:00:00,2024-04-25T22:00:00,1",
                "2024-04-25T22:00:00,2024-04-26T21:00:00,1",
                "2024-10-30T21:00:00,2024-10-31T22:00:00,2",
                "2024-10-31T22:00:00,2024-11-01T22:00:00,1",
            ],
        ),
        (
            "Asia/Beirut",
            [
                "2024-03-30T21:59:59Z",
                "2024-03-30T22:00:00Z",
                "2024-10-25T21:00:00Z",
                "2024-10-26T21:59:59Z",
                "2024-10-26T22:00:00Z",
            ],
            [
                "2024-03-29T22:00:00,2024-03-30T22:00:00,1",
                "2024-03-30T22:00:00,2024-03-31T21:00:00,1",
                "2024-10-25T21:00:00,2024-10-26T22:00:00,2",
                "2024-10-26T22:00:00,2024-10-27T22:00:00,1",
            ],
        ),
    ] {
        let query = format!(
            "SELECT window_start, window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 day', '{zone}')
             GROUP BY window_start, window_end"
        );
        assert_eq!(both(&query, &ones(&rows)).await, want, "{zone}");
    }
}

#[tokio::test]
async fn days_in_a_time_zone_add_up_to_longer_windows() {
    // From Thursday, 2024-03-28, with the day of 23 hours in it.
    let rows = ones(&[
        "2024-03-28T10:00:00Z",
        "2024-03-29T23:30:00Z",
        "2024-03-31T21:30:00Z",
        "2024-04-03T21:59:59Z",
        "2024-04-03T22:00:00Z",
    ]);
    let query = "SELECT window_end, count(*) AS c FROM CUMULATE(clicks, ts, INTERVAL '1 day', INTERVAL '7 days', 'Europe/Berlin')
        WHERE ts < '2024-04-03T22:00:00' GROUP BY window_end";
    let want = [
        "2024-03-28T23:00:00,1",
        "2024-03-29T23:00:00,1",
        "2024-03-30T23:00:00,2",
        "2024-03-31T22:00:00,3",
        "2024-04-01T22:00:00,3",
        "2024-04-02T22:00:00,3",
        "2024-04-03T22:00:00,4",
    ];
    assert_eq!(both(query, &rows).await, want);
    let days = "SELECT window_start AS day, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 day', 'Europe/Berlin') GROUP BY window_start";
    let query = format!(
        "SELECT window_start, max(c) AS most, sum(c) AS c FROM TUMBLE(({days}), day, INTERVAL '7 days', 'Europe/Berlin') GROUP BY window_start"
    );
    assert_eq!(both(&query, &rows).await, ["2024-03-27T23:00:00,1,4", "2024-04-03T22:00:00,1,1"]);
}

#[tokio::test]
async fn windows_reach_from_the_first_year_to_the_last() {
    let rows = ones(&["0001-01-02T12:00:00Z", "1500-06-01T12:00:00Z", "1969-12-31T23:59:59Z", "9999-12-30T12:00:00Z"]);
    let days = ["0001-01-02T00:00:00", "1500-06-01T00:00:00", "1969-12-31T00:00:00", "9999-12-30T00:00:00"];
    for windows in [
        "TUMBLE(clicks, ts, INTERVAL '1 day')",
        "TUMBLE(clicks, ts, INTERVAL '1 day', 'UTC')",
        "CUMULATE(clicks, ts, INTERVAL '1 day', INTERVAL '1 day')",
    ] {
        let query = format!("SELECT window_start, count(*) AS c FROM {windows} GROUP BY window_start, window_end");
        assert_eq!(both(&query, &rows).await, days.map(|day| format!("{day},1")), "{windows}");
    }
    let query =
        "SELECT window_start, window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 day', 'Europe/Berlin')
        GROUP BY window_start, window_end";
    assert_eq!(
        both(query, &rows).await,
        [
            "0001-01-01T23:06:32,0001-01-02T23:06:32,1",
            "1500-05-31T23:06:32,1500-06-01T23:06:32,1",
            "1969-12-31T23:00:00,1970-01-01T23:00:00,1",
            "9999-12-29T23:00:00,9999-12-30T23:00:00,1",
        ]
    );
}

// A row is late for the windows of its span that have closed, and counts in those that have not.
#[tokio::test]
async fn a_late_row_counts_in_the_steps_that_are_still_open() {
    let query = "SELECT window_end, sum(n) AS n FROM CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds') GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    let first = epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 1, 1)])], NONE, 5 * SECOND).await;
    assert_eq!(values(&first.batches), ["00:04,1"]);
    let late = epoch(&pipeline, vec![rows(&pipeline, 0, &[(2, "a", 2, 2)])], 5 * SECOND, 5 * SECOND).await;
    let missed: Vec<_> = late.late.iter().map(|row| (row.missed.unwrap(), row.wholly)).collect();
    assert_eq!(missed, [((0, 4 * SECOND), false)]);
    let rest = epoch(&pipeline, vec![vec![]], 5 * SECOND, END).await;
    assert_eq!(values(&rest.batches), ["00:08,3", "00:12,3"]);
    assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));
}

#[tokio::test]
async fn calls_that_cannot_be_answered_are_refused_at_their_place_with_what_to_write() {
    let only = "can only be grouped by, as it stands\n  hint: write SELECT hop(ts, INTERVAL '1 minute', INTERVAL '5 minutes') AS w, … GROUP BY w, or HOP(…) in FROM";
    for (query, place, want) in [
        ("SELECT hop(ts, INTERVAL '1 s', INTERVAL '2 s') AS w FROM clicks", "9:8", only),
        ("SELECT page FROM clicks WHERE hop(ts, INTERVAL '1 s', INTERVAL '2 s') IS NULL", "9:31", only),
        ("SELECT count(*) AS c FROM clicks GROUP BY hop(ts, INTERVAL '1 s', INTERVAL '2 s')['end']", "9:43", only),
        (
            "SELECT max(hop(ts, INTERVAL '1 s', INTERVAL '2 s')['end']) AS m, tumble(ts, INTERVAL '1 s') AS w FROM clicks GROUP BY w",
            "9:12",
            only,
        ),
        (
            "SELECT tumble(INTERVAL '1 s') AS w, count(*) AS c FROM pages GROUP BY w",
            "9:8",
            "tumble needs a time column: no table in its FROM has a watermark\n  hint: write tumble(ts, INTERVAL '5 minutes'), with the time column for ts",
        ),
        (
            "SELECT tumble(INTERVAL '1 s') AS w, count(*) AS c FROM clicks JOIN taps USING (id) GROUP BY w",
            "9:8",
            "tumble needs a time column: more than one table in its FROM has a watermark",
        ),
        (
            "WITH clicks AS (SELECT * FROM taps) SELECT hop(INTERVAL '1 s', INTERVAL '2 s') AS w, count(*) AS c FROM clicks GROUP BY w",
            "9:44",
            "hop needs a time column: no table in its FROM has a watermark",
        ),
        (
            "SELECT tumble(ts, INTERVAL '1 hour', 'Europe/Berlin') AS w, count(*) AS c FROM clicks GROUP BY w",
            "9:8",
            "in a time zone the window's size must be whole days\n  hint: write INTERVAL '1 day', 'Europe/Berlin', or leave the time zone out",
        ),
        (
            "SELECT tumble(ts, INTERVAL '1 day', 'Europe/Berln') AS w, count(*) AS c FROM clicks GROUP BY w",
            "9:8",
            "time zone 'Europe/Berln' is not known\n  hint: did you mean 'Europe/Berlin'?",
        ),
        (
            "SELECT hop(ts, INTERVAL '1 day', INTERVAL '7 days', 'Europe/Berlin') AS w, count(*) AS c FROM clicks GROUP BY w",
            "9:8",
            "HOP is not available in a time zone",
        ),
        (
            "SELECT tumble(ts, INTERVAL '1 s', INTERVAL '-1 s') AS w, count(*) AS c FROM clicks GROUP BY w",
            "9:8",
            "the window's offset must be shorter than the window",
        ),
        (
            "SELECT tumble(ts, INTERVAL '1 day', INTERVAL '1 month') AS w, count(*) AS c FROM clicks GROUP BY w",
            "9:46",
            "the window's offset must not have months or years",
        ),
        (
            "SELECT hop(ts, INTERVAL '1 s', INTERVAL '2 s') AS w, tumble(ts, INTERVAL '2 s') AS v, count(*) AS c FROM clicks GROUP BY w, v",
            "9:1",
            "one GROUP BY cannot use two different windows",
        ),
    ] {
        let report = try_planned(query, 1).await.expect_err(query).report();
        assert!(report.starts_with(&format!("test.sql:{place}: ")) && report.contains(want), "{query}\n{report}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    // Of windows of all kinds, in both forms.
    #[test]
    fn stream_and_batch_give_the_same_windows(
        input in prop::collection::vec((0..3_usize, 1..100_i64, -40..200_i64), 1..40),
        (kind, size, part) in prop::sample::select(vec![
            ("tumble", 10, 10), ("hop", 10, 5), ("hop", 10, 4), ("hop", 7, 7), ("cumulate", 10, 5), ("cumulate", 60, 10),
            ("cumulate", 12, 12), ("cumulate", 12, 1),
        ]),
        offset in prop::sample::select(vec![0, 3, -6]),
        in_from: bool,
    ) {
        const PAGES: [&str; 3] = ["a", "b", ""];
        let input: Vec<Row> = input.into_iter().map(|(page, n, at)| (0, PAGES[page], n, at)).collect();
        let lengths = match kind {
            "tumble" => format!("INTERVAL '{size} s', INTERVAL '{offset} s'"),
            _ => format!("INTERVAL '{part} s', INTERVAL '{size} s', INTERVAL '{offset} s'"),
        };
        let query = match in_from {
            true => format!(
                "SELECT window_start AS s, window_end AS e, page, count(*) AS c, sum(n) AS n FROM {kind}(clicks, ts, {lengths})
                 GROUP BY window_start, window_end, page"
            ),
            false => format!(
                "SELECT w['start'] AS s, w['end'] AS e, page, c, n FROM
                 (SELECT {kind}({lengths}) AS w, page, count(*) AS c, sum(n) AS n FROM clicks GROUP BY w, page)"
            ),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let rows = runtime.block_on(both(&query, &input));
        prop_assert!(!rows.is_empty());
    }
}

// Panes stand for several windows also where no column says so any more.
#[tokio::test]
async fn rows_of_several_windows_count_for_each_of_them_whatever_is_selected_of_them() {
    let hop = "HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')";
    let minute = "SELECT tumble(t, INTERVAL '1 minute') AS w, count(*) AS c FROM";
    for (input, counted, before) in [
        (format!("(SELECT ts AS t FROM {hop})"), 10, 2),
        (format!("(SELECT ts AS t FROM {hop} UNION ALL SELECT ts FROM clicks)"), 15, 3),
        (format!("(SELECT h.ts AS t FROM {hop} h JOIN pages p ON p.page = h.page)"), 10, 2),
    ] {
        let expected = [
            format!("{{start: 00:00, end: 01:00}},{counted}"),
            format!("{{start: 1969-12-31T23:59:00, end: 00:00}},{before}"),
        ];
        assert_eq!(both(&format!("{minute} {input} GROUP BY w"), &ROWS).await, expected, "{input}");
    }
    let inner = "SELECT window_start AS s, window_end AS e, window_time AS at, page, sum(n) AS n FROM TUMBLE(clicks, ts, INTERVAL '2 seconds')
        GROUP BY window_start, window_end, window_time, page";
    let query = format!(
        "SELECT s, count(*) AS c FROM HOP(({inner}), at, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY s, e"
    );
    assert_eq!(both(&query, &ROWS).await, ["00:00,2", "00:02,4", "00:12,4", "1969-12-31T23:59:56,2"]);
}

#[tokio::test]
async fn windows_that_begin_together_are_told_apart_by_their_last_tick() {
    let query = "SELECT window_time, count(window_start) AS c FROM CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds')
        GROUP BY window_start, window_time";
    let of_zero = ["00:03.999,3", "00:07.999,3", "00:11.999,3"];
    let others = ["00:15.999,2", "00:19.999,2", "00:23.999,2", "1969-12-31T23:59:59.999,1"];
    assert_eq!(both(query, &ROWS).await, [&of_zero[..], &others[..]].concat());
}
