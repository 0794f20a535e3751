//! What is refused of as-of joins, with what it lacks, and what EXPLAIN says of them.

use super::*;

#[tokio::test]
async fn what_would_wait_or_be_kept_for_ever_is_refused_with_what_it_lacks() {
    let none = "CREATE TABLE plain (id BIGINT, page VARCHAR, ts TIMESTAMP(3)) WITH ('connector' = 'kafka', 'topic' = 'p', 'format' = 'json');
CREATE TABLE still (id BIGINT, page VARCHAR, ts TIMESTAMP(3)) WITH ('connector' = 'filesystem', 'path' = 'p.csv');\n";
    for (from, place, said, hint) in [
        (
            "clicks c ASOF JOIN taps t ON t.page = c.page AND c.ts <= t.ts",
            "t.page",
            "a row of the left would wait for ever where no row of the right comes behind it: t.ts has no bound",
            "AND t.ts <= c.ts + INTERVAL '1 minute'",
        ),
        (
            "clicks c ASOF JOIN plain t ON c.ts >= t.ts",
            "c.ts",
            "t.ts has no watermark, so it is never certain which row is the nearest to c.ts",
            "declare WATERMARK FOR its time",
        ),
        (
            "plain c ASOF JOIN taps t ON c.ts >= t.ts",
            "c.ts",
            "c.ts has no watermark, so the rows of the right would be kept for ever",
            "declare WATERMARK FOR its time",
        ),
        (
            "clicks c ASOF JOIN still t ON c.ts >= t.ts",
            "c.ts",
            "t.ts is of static rows: a stream is joined as of its time with another stream",
            "declare WATERMARK FOR the time",
        ),
        (
            "still c ASOF LEFT JOIN taps t ON c.ts >= t.ts",
            "c.ts",
            "c.ts is of static rows",
            "declare WATERMARK FOR the time",
        ),
        (
            "clicks c ASOF JOIN (SELECT id, ts + INTERVAL '1 month' AS ts FROM taps) t ON c.ts >= t.ts",
            "c.ts",
            "t.ts has no watermark",
            "pass the column on unchanged",
        ),
    ] {
        let query = format!("SELECT c.id FROM {from}");
        let report = try_planned(&format!("{none}{query}"), 1).await.expect_err(from).report();
        let column = query.find(place).unwrap() + 1;
        assert!(report.starts_with(&format!("test.sql:11:{column}: ")), "{query}\n{report}");
        assert!(report.contains(said) && report.contains(hint), "{query}\n{report}");
    }
    // What ends needs no bound.
    let (known, view) = parsed("SELECT c.id, t.id AS tap FROM clicks c ASOF JOIN taps t ON c.ts < t.ts").unwrap();
    let taps = [(7, 9), (8, 5)].map(|(id, second)| Tap { row: (id, "a", 0, second), partition: 0, offset: id });
    let tables = Ended { known, clicks: vec![(1, "a", 0, 2)], taps: taps.to_vec() };
    let settings = PlanSettings { partitions: 1, wide_rows: 3 };
    assert!(matches!(plan_to_the_end(&view, &tables, settings).await.unwrap(), Planned::Batch(..)));
    let query = "SELECT c.id, t.id AS tap FROM clicks c ASOF JOIN taps t ON c.ts < t.ts";
    assert_eq!(in_batch(query, &tables.clicks, &tables.taps).await, ["1,8"]);
}

#[tokio::test]
async fn a_plan_says_which_row_is_taken_and_what_is_kept_for_how_long() {
    for (query, lines) in [
        (
            "SELECT c.id, c.ts FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts",
            [
                "as-of join, Left, by 1 key, the last t.ts <= c.ts",
                "state asof-0: one row for each row of the left that waits, and each of the right that can still be the nearest; a row of the \
                 left goes when the watermark of the right passes its time, one of the right when that of the left passes the next one of its \
                 key: one row a key stays, and what the watermarks hold back",
                "emits a row of the left when the nearest of the right is certain",
                "watermark of ts: the least of (clicks, taps)",
            ],
        ),
        (
            "SELECT c.id, c.ts FROM clicks c ASOF JOIN taps t ON c.ts < t.ts AND t.ts <= c.ts + INTERVAL '5 seconds'",
            [
                "as-of join, Inner, by 0 keys, the first t.ts > c.ts, within 5 seconds",
                "a row of the left goes when the watermark of the right passes its time by 5 seconds, one of the right when that of the left \
                 passes its time",
                "emits a row of the left when the nearest of the right is certain",
                "watermark of ts: the least of (clicks, taps - 5 seconds)",
            ],
        ),
    ] {
        let explained = planned(query, 1).await.explain().join("\n");
        for line in lines {
            assert!(explained.contains(line), "{line}\n{explained}");
        }
    }
}
