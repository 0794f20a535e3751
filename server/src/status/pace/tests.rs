use super::*;

/// Seconds, position and end; then what is seen at `now`.
fn looked(stands: &[(u64, i64, i64)], now: u64) -> Look {
    let zero = Instant::now();
    let at = |seconds| zero + Duration::from_secs(seconds);
    let mut pace = Pace::default();
    for (second, position, end) in stands {
        pace.observe(at(*second), 1, *position, Some(*end));
    }
    pace.look(at(now)).expect("it has stood somewhere")
}

#[test]
fn a_query_is_behind_by_how_long_ago_its_sources_ended_where_it_stands() {
    let stands = [(0, 100, 100), (1, 100, 200), (2, 150, 300), (3, 210, 400)];
    let look = looked(&stands, 3);
    assert_eq!((look.lag, look.behind, look.caught_up), (190, Duration::from_secs(2), true));
    // Also where its loop has not come by for a while.
    assert_eq!(looked(&stands, 33).behind, Duration::from_secs(32));
    assert_eq!(looked(&[(0, 7, 7)], 50).behind, Duration::ZERO);
}

#[test]
fn a_query_that_starts_behind_says_how_much_is_done_and_when_it_will_be_there() {
    let stands: Vec<(u64, i64, i64)> =
        (0..=8).map(|at| (at, 1_000 + 100 * at as i64, 5_000 + 20 * at as i64)).collect();
    let look = looked(&stands, 8);
    assert!(!look.caught_up);
    assert_eq!((look.lag, look.percent, look.rate), (3_360, 19, 100));
    // 80 records a second nearer.
    assert_eq!(look.left, Some(Duration::from_secs(42)));
    assert_eq!(look.behind, Duration::from_secs(8), "for as long as it is known at least");
    let there = looked(&[(0, 0, 1_000), (1, 1_000, 1_000)], 1);
    assert!(there.caught_up);
    assert_eq!(looked(&[(0, 0, 1_000), (1, 10, 2_000)], 1).left, None);
}

#[test]
fn only_records_that_wait_and_are_not_taken_are_a_stall() {
    // Nothing came for an hour, then a record did.
    let look = looked(&[(0, 5, 5), (3_600, 5, 6)], 3_601);
    assert_eq!((look.untaken, look.unmoved), (Duration::from_secs(1), Duration::from_secs(3_601)));
    assert_eq!(looked(&[(0, 5, 9), (20, 6, 9)], 45).untaken, Duration::from_secs(25));
    assert_eq!(looked(&[(0, 5, 9), (20, 9, 9)], 45).untaken, Duration::ZERO);
}

#[test]
fn an_end_that_is_not_known_is_no_lag_of_zero() {
    let zero = Instant::now();
    let at = |seconds| zero + Duration::from_secs(seconds);
    let mut pace = Pace::default();
    pace.observe(at(0), 2, 10, Some(10));
    pace.observe(at(5), 2, 10, None);
    assert_eq!((pace.look(at(9)), pace.unknown(at(9))), (None, Some(Duration::from_secs(4))));
    pace.observe(at(65), 2, 10, Some(500));
    let look = pace.look(at(66)).expect("it answers again");
    assert_eq!((look.lag, look.behind, look.caught_up), (490, Duration::from_secs(1), true));
    assert_eq!(pace.unknown(at(66)), None);
}
