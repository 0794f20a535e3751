//! Views read as of a time: each row of the left beside the last version of its key, whatever the steps are in which the view comes.

use super::*;

/// The seconds at which pages have had so many clicks.
const COUNTS: &str = "SELECT window_end AS at, page, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page";

fn as_of(view: &str) -> String {
    format!("SELECT t.id, s.c FROM taps t LEFT JOIN {view} FOR SYSTEM_TIME AS OF t.ts AS s ON s.page = t.page")
}

/// What is said of the second of two views.
async fn refused(view: &'static str, query: &str, above: &str) -> String {
    let error = levels(&[(view, query), ("above", above)], 1).await.err().expect(view);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.report()
}

#[tokio::test]
async fn a_view_with_a_key_is_read_as_of_a_time_as_its_query_is_by_an_asof_join() {
    let asof = "SELECT t.id, s.c FROM taps t ASOF LEFT JOIN counts s ON s.page = t.page AND t.ts >= s.at";
    let expected = as_one(&[("counts", COUNTS), ("above", asof)]).await;
    assert_eq!(expected[..3], ["101,", "102,1", "103,1"]);
    let above = as_of("counts");
    for seed in 0..6 {
        let views = [("counts WITH ('primary-key' = 'page')", COUNTS), ("above", above.as_str())];
        assert_eq!(chained(&views, seed).await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn of_several_times_the_view_says_which_orders_its_versions() {
    let above = as_of("tens");
    let report = refused("tens WITH ('primary-key' = 'page')", TENS, &above).await;
    assert!(report.contains("have a watermark, and one of them orders its versions"), "{report}");
    assert!(report.contains("CREATE MATERIALIZED VIEW tens WITH ('time-column' = 'at', …)"), "{report}");
    for time in ["window_start", "window_end"] {
        let asof =
            format!("SELECT t.id, s.c FROM taps t ASOF LEFT JOIN tens s ON s.page = t.page AND t.ts >= s.{time}");
        let expected = as_one(&[("tens", TENS), ("above", asof.as_str())]).await;
        let named = match time {
            "window_end" => "tens WITH ('primary-key' = 'page', 'time-column' = 'window_end')",
            _ => "tens WITH ('primary-key' = 'page', 'time-column' = 'window_start')",
        };
        for seed in 0..4 {
            let views = [(named, TENS), ("above", above.as_str())];
            assert_eq!(chained(&views, seed).await, expected, "{time}, seed {seed}");
        }
    }
    // It is the time of windows that name none, too.
    let minutes = "SELECT tumble(INTERVAL '1 minute') AS w, sum(c) AS c FROM tens GROUP BY w";
    assert!(levels(&[("tens", TENS), ("minutes", minutes)], 1).await.is_err());
    assert!(levels(&[("tens WITH ('time-column' = 'at')", TENS), ("minutes", minutes)], 1).await.is_ok());
}

#[tokio::test]
async fn a_view_that_is_no_versions_is_refused_with_what_it_lacks() {
    let above = as_of("counts");
    for (view, query, said, hint) in [
        (
            "counts",
            COUNTS,
            "view \"counts\" has no primary key, so it is not known of what its rows are versions",
            "write CREATE MATERIALIZED VIEW … WITH ('primary-key' = '…')",
        ),
        (
            "counts WITH ('primary-key' = 'page')",
            "SELECT page, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page",
            "view \"counts\" has no column with a watermark, so its rows are no versions",
            "select the time of its stream, or a bound of its window, unchanged",
        ),
        (
            "counts WITH ('primary-key' = 'page, at')",
            COUNTS,
            "the primary key (page, at) of \"counts\" holds the time of its versions",
            "leave at out of the key",
        ),
    ] {
        let report = refused(view, query, &above).await;
        assert!(report.contains(said) && report.contains(hint), "{view}\n{report}");
    }
    // The view itself is wrong.
    for (time, said, hint) in [
        ("c", "'time-column' names column \"c\", which has no watermark", "columns with a watermark are at"),
        (
            "nope",
            "'time-column' names column \"nope\", which the view does not have",
            "columns with a watermark are at",
        ),
    ] {
        let query = format!("CREATE MATERIALIZED VIEW counts WITH ('time-column' = '{time}') AS {COUNTS}");
        let report = try_planned(&query, 1).await.expect_err(time).report();
        assert!(report.contains(said) && report.contains(hint), "{report}");
    }
}

#[tokio::test]
async fn a_plan_says_that_of_the_view_one_row_a_key_stays() {
    let above = as_of("counts");
    let views = [("counts WITH ('primary-key' = 'page')", COUNTS), ("above", above.as_str())];
    let explained = levels(&views, 1).await.unwrap()[1].pipeline.explain().join("\n");
    for line in [
        "as-of join, Left, by 1 key, the last s.at <= t.ts",
        "one of the right when that of the left passes the next one of its key: one row a key stays, and what the watermarks hold back",
        "scan view counts",
    ] {
        assert!(explained.contains(line), "{line}\n{explained}");
    }
}
