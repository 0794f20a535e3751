//! DISTINCT, UNION, INTERSECT and EXCEPT of rows that have windows, against what they are in batch.

use super::joins::{cut, in_epochs};
use super::windows_in_batch::in_batch;
use super::*;

fn queries() -> Vec<String> {
    let of =
        |table: &str| format!("SELECT window_start, window_end, page FROM TUMBLE({table}, ts, INTERVAL '10 seconds')");
    let counts = |table: &str| {
        format!(
            "SELECT window_end, page, count(*) AS c FROM TUMBLE({table}, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, page"
        )
    };
    let mut queries = vec![
        "SELECT DISTINCT window_start, window_end, page FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')".to_owned(),
        "SELECT DISTINCT window_end, page, n % 2 AS odd FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') WHERE n > 0".to_owned(),
        "SELECT DISTINCT window_start FROM CUMULATE(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')".to_owned(),
        "SELECT DISTINCT tumble(ts, INTERVAL '10 seconds') AS w, page FROM clicks".to_owned(),
        format!("SELECT DISTINCT window_end, c FROM ({})", counts("clicks")),
        format!("SELECT window_end, count(*) AS pages FROM (SELECT DISTINCT window_end, page FROM ({})) GROUP BY window_end", of("clicks")),
        // The first row of each page, and the window's greatest.
        "SELECT DISTINCT ON (window_end, page) window_end, page, id, n FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') ORDER BY window_end, page, ts, id".to_owned(),
        "SELECT DISTINCT ON (window_start) id, window_start, id AS again, n FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') ORDER BY window_start, n DESC, id".to_owned(),
        format!("{} UNION {} UNION {}", of("clicks"), of("taps"), of("clicks")),
        format!("SELECT window_start, count(*) AS pages FROM ({} UNION {}) GROUP BY window_start, window_end", of("clicks"), of("taps")),
    ];
    for operation in ["UNION", "INTERSECT", "EXCEPT"] {
        queries.push(format!("{} {operation} {}", of("clicks"), of("taps")));
        queries.push(format!("{} {operation} {}", counts("clicks"), counts("taps")));
    }
    queries.push(format!("{} EXCEPT ({} INTERSECT {})", of("clicks"), of("taps"), of("clicks")));
    queries.push(format!(
        "{} INTERSECT SELECT window_start, window_end, 'a' FROM TUMBLE(taps, ts, INTERVAL '10 seconds')",
        of("clicks")
    ));
    queries
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let page = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::vec((page, 0_i64..4, 0_i64..30), 0..20)
        .prop_map(|rows| (0..).zip(rows).map(|(id, (page, n, second))| (id, page, n, second)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn rows_that_agree_within_their_window_are_one_wherever_epochs_are_cut(
        clicks in any_rows(),
        taps in any_rows(),
        cuts in proptest::sample::subsequence((0_i64..34).collect::<Vec<_>>(), 0..34),
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
async fn what_would_be_kept_for_ever_is_refused_with_the_window_to_name() {
    let rows = "FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')";
    let of_taps = rows.replace("clicks", "taps");
    for (query, said, hint) in [
        (
            "SELECT DISTINCT page FROM clicks".to_owned(),
            "DISTINCT over a stream would keep every row for ever",
            "SELECT DISTINCT window_start, window_end, …",
        ),
        (
            format!("SELECT DISTINCT page {rows}"),
            "DISTINCT over a stream",
            "SELECT DISTINCT window_start, window_end, …",
        ),
        (
            format!("SELECT DISTINCT ON (page) page, window_start {rows} ORDER BY page, ts"),
            "DISTINCT ON over a stream would keep every row for ever",
            "DISTINCT ON (window_start, …)",
        ),
        (
            format!("SELECT DISTINCT ON (window_start, page) page, id {rows}"),
            "DISTINCT ON over a stream needs an order",
            "ORDER BY window_start, k, ts",
        ),
        (
            "SELECT page FROM clicks UNION SELECT page FROM taps".to_owned(),
            "UNION over a stream would keep every row for ever",
            "UNION ALL, or on both sides SELECT window_start",
        ),
        (
            format!("SELECT window_start, page {rows} UNION SELECT ts, page FROM taps"),
            "UNION over a stream would keep every row for ever",
            "UNION ALL",
        ),
        (
            "SELECT page FROM clicks EXCEPT SELECT page FROM taps".to_owned(),
            "EXCEPT over a stream would keep every row for ever",
            "select window_start and window_end on both sides",
        ),
        (
            format!("SELECT window_start, page {rows} INTERSECT SELECT ts, page FROM taps"),
            "INTERSECT over a stream would keep",
            "on both sides",
        ),
        (
            format!("SELECT window_start, page {rows} EXCEPT ALL SELECT window_start, page {of_taps}"),
            "EXCEPT ALL over a stream would have to count for ever",
            "IS NOT DISTINCT FROM",
        ),
    ] {
        let error = try_planned(&query, 1).await.expect_err(&query);
        assert!(error.primary().starts_with(said), "{}", error.report());
        assert!(error.hint_text().is_some_and(|text| text.contains(hint)), "{}", error.report());
        assert!(error.location().is_some(), "{}", error.report());
    }
}
