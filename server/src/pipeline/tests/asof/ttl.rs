//! `'state-ttl'`: what has had no newer version for so long is forgotten, and no row finds it any more.

use super::*;

/// In a view that keeps versions for so long.
fn kept_for(ttl: &str, query: &str) -> String {
    format!("CREATE MATERIALIZED VIEW v WITH ('state-ttl' = '{ttl}') AS {query}")
}

const LAST: &str = "SELECT c.id, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts";

/// Each in an epoch of its own, so that each goes by itself.
async fn with_three_taps(query: &str) -> Steps {
    let steps = Steps::of(query).await;
    for tap in [(7, "a", 0, 1), (8, "b", 0, 1), (9, "a", 0, 5)] {
        assert_eq!(steps.lines(&[], &[tap], [0, 1]).await, NOTHING);
    }
    steps
}

#[tokio::test]
async fn a_version_that_is_too_old_goes_and_a_later_row_finds_none() {
    let steps = with_three_taps(&kept_for("10 seconds", LAST)).await;
    assert_eq!(steps.kept(), [0, 3]);
    // The first of "a" is followed; that of "b" is not too old yet.
    assert_eq!(steps.lines(&[(1, "b", 0, 11)], &[], [11, 12]).await, ["1,8"]);
    assert_eq!(steps.kept(), [0, 2]);
    assert_eq!(steps.lines(&[(2, "b", 0, 12), (3, "a", 0, 15)], &[], [16, 17]).await, ["2", "3,9"]);
    assert_eq!(steps.kept(), [0, 0]);
    // A new version is one as before.
    assert_eq!(steps.lines(&[(4, "b", 0, 20)], &[(10, "b", 0, 18)], [20, 21]).await, ["4,10"]);
    assert_eq!(steps.kept(), [0, 1]);
    // Without the option one row of each key stays.
    let steps = with_three_taps(LAST).await;
    steps.lines(&[], &[], [1_000, 1_000]).await;
    assert_eq!(steps.kept(), [0, 2]);
}

#[tokio::test]
async fn how_old_a_version_may_be_is_the_same_in_batch_and_however_epochs_are_cut() {
    let clicks = vec![(1, "a", 0, 2), (2, "a", 0, 7), (3, "b", 0, 7), (4, "a", 0, 20), (5, "b", 0, 22)];
    let (arrivals, taps) = arrivals(&clicks, &[(7, "a", 0, 1), (8, "a", 0, 2), (9, "b", 0, 2), (10, "a", 0, 14)], 5);
    let undone = vec![Cut { rows: 2, is_restarted: true, is_undone: true, ..of_one_row()[0] }];
    for (ttl, expected) in [
        ("5 seconds", ["1,8", "2,8", "3,9", "4", "5"]),
        ("6 seconds", ["1,8", "2,8", "3,9", "4,10", "5"]),
        ("1 hour", ["1,8", "2,8", "3,9", "4,10", "5,9"]),
    ] {
        let query = kept_for(ttl, LAST);
        assert_eq!(in_batch(&query, &clicks, &taps).await, expected, "{ttl}");
        for cuts in [of_one_row(), undone.clone()] {
            assert_eq!(streamed(&query, 1, &arrivals, &cuts).await, expected, "{ttl}");
        }
    }
}

#[tokio::test]
async fn a_plan_says_how_old_a_version_may_be() {
    let explained = planned(&kept_for("3 hours", LAST), 1).await.explain().join("\n");
    for line in [
        "as-of join, Left, by 1 key, the last t.ts <= c.ts, no older than 3 hours ('state-ttl')",
        "one of the right when that of the left passes its time by 3 hours",
    ] {
        assert!(explained.contains(line), "{line}\n{explained}");
    }
    // A tolerance that is wider stays what it is, and is not what ends the keeping.
    let near = format!("{LAST} AND c.ts <= t.ts + INTERVAL '1 day'");
    let explained = planned(&kept_for("3 hours", &near), 1).await.explain().join("\n");
    assert!(explained.contains("within 1 day, no older than 3 hours ('state-ttl')"), "{explained}");
    assert!(explained.contains("passes its time by 3 hours"), "{explained}");
}

#[tokio::test]
async fn where_nothing_is_kept_for_longer_the_option_is_refused() {
    let near = format!("{LAST} AND c.ts <= t.ts + INTERVAL '1 minute'");
    for query in [
        "SELECT id FROM clicks",
        "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_end",
        "SELECT c.id FROM clicks c ASOF JOIN taps t ON c.ts <= t.ts AND t.ts <= c.ts + INTERVAL '1 day'",
        near.as_str(),
    ] {
        let report = try_planned(&kept_for("1 hour", query), 1).await.expect_err(query).report();
        assert!(report.contains("option \"state-ttl\" has no effect"), "{report}");
        assert!(report.ends_with("hint: leave it out"), "{report}");
    }
}
