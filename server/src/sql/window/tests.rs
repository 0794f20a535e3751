use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn zone(name: &str) -> Origin {
    Origin::Midnight(Zone::named(name).expect(name))
}

/// The windows that hold a time, as starts and ends.
fn windows(assigner: WindowAssigner, time: i64) -> Vec<(i64, i64)> {
    assigner.ends_of(time).map(|end| (assigner.start_of(end), end)).collect()
}

#[test]
fn a_time_before_1970_falls_into_the_window_that_begins_before_it() {
    assert_eq!(floor(-1, 10), Some(-10));
    assert_eq!(floor(-10, 10), Some(-10));
    assert_eq!(floor(-11, 10), Some(-20));
    assert_eq!(floor(9, 10), Some(0));
    assert_eq!(floor(10, 10), Some(10));
    assert_eq!(floor(i64::MIN, 10), None);
    assert_eq!(floor(i64::MAX, 10), Some(i64::MAX - 7));
}

#[test]
fn hop_windows_of_a_time_are_those_that_hold_it() {
    let hop = WindowAssigner::Every { size: 10, slide: 4, pane: 2, offset: 0 };
    assert_eq!(windows(hop, 9), [(0, 10), (4, 14), (8, 18)]);
    assert_eq!(windows(hop, 10), [(4, 14), (8, 18)]);
    assert_eq!(windows(hop, -1), [(-8, 2), (-4, 6)]);
    assert_eq!(windows(hop, i64::MAX), [], "their ends cannot be written");
    assert_eq!(windows(hop, i64::MIN), [], "their starts cannot be written");
}

#[test]
fn windows_that_accumulate_begin_together_and_end_step_by_step() {
    let cumulate = WindowAssigner::Steps { size: 12, step: 4, offset: 0 };
    assert_eq!(windows(cumulate, 0), [(0, 4), (0, 8), (0, 12)]);
    assert_eq!(windows(cumulate, 7), [(0, 8), (0, 12)]);
    assert_eq!(windows(cumulate, 11), [(0, 12)]);
    assert_eq!(windows(cumulate, 12), [(12, 16), (12, 20), (12, 24)]);
    assert_eq!(windows(cumulate, -1), [(-12, 0)]);
    let moved = WindowAssigner::Steps { size: 12, step: 4, offset: 11 };
    assert_eq!(windows(moved, 0), [(-1, 3), (-1, 7), (-1, 11)]);
}

#[test]
fn an_offset_moves_windows_either_way() {
    let tumble = |offset| WindowKind::tumble(SECOND * 10, Origin::Offset(offset)).map(WindowKind::in_micros);
    let ahead = tumble(8_000_000).expect("an offset");
    assert_eq!(windows(ahead, 0), [(-2_000_000, 8_000_000)]);
    assert_eq!(tumble(-2_000_000).expect("an offset"), ahead);
    assert_eq!(windows(ahead, -2_000_001), [(-12_000_000, -2_000_000)]);
    for outside in [10_000_000, -10_000_000, i64::MIN, i64::MAX] {
        assert!(tumble(outside).expect_err("too long").report().contains("shorter than the window"), "{outside}");
    }
}

#[test]
fn a_day_in_a_time_zone_is_one_window_however_long() {
    // 2024-03-31 has 23 hours in Berlin, 2024-10-27 has 25.
    let hours = |kind: WindowKind, at: &str| {
        let at = chrono::DateTime::parse_from_rfc3339(at).expect(at).timestamp();
        let found = windows(kind.in_unit(TimeUnit::Second).expect("seconds"), at);
        found.into_iter().map(|(start, end)| ((at - start) / 3600, (end - start) / 3600)).collect::<Vec<_>>()
    };
    let day = WindowKind::tumble(DAY, zone("Europe/Berlin")).expect("days");
    assert_eq!(hours(day, "2024-03-31T21:59:59Z"), [(22, 23)]);
    assert_eq!(hours(day, "2024-03-31T22:00:00Z"), [(0, 24)]);
    assert_eq!(hours(day, "2024-10-27T22:59:59Z"), [(24, 25)]);
    assert_eq!(hours(day, "2024-10-27T23:00:00Z"), [(0, 24)]);
    // Clocks change at midnight, so the day begins at 1, or the one before it ends at midnight for the second time.
    let day = WindowKind::tumble(DAY, zone("America/Santiago")).expect("days");
    assert_eq!(hours(day, "2024-09-08T03:59:59Z"), [(23, 24)]);
    assert_eq!(hours(day, "2024-09-08T04:00:00Z"), [(0, 23)]);
    assert_eq!(hours(day, "2024-04-07T03:59:59Z"), [(24, 25)]);
    assert_eq!(hours(day, "2024-04-07T04:00:00Z"), [(0, 24)]);
    // Weeks are runs of seven days, and days add up in them.
    let week = WindowKind::cumulate(DAY, DAY * 7, zone("Europe/Berlin")).expect("days");
    assert_eq!(hours(week, "2024-03-28T00:00:00Z"), [(1, 24), (1, 48), (1, 72), (1, 95), (1, 119), (1, 143), (1, 167)]);
    assert_eq!(hours(week, "2024-03-31T12:00:00Z"), [(85, 95), (85, 119), (85, 143), (85, 167)]);
    for far in ["0001-01-01T12:00:00Z", "9999-12-30T12:00:00Z"] {
        assert_eq!(hours(day, far)[0].1, 24, "{far}");
    }
}

#[test]
fn panes_divide_size_and_slide() {
    let pane = |kind: WindowKind| kind.in_micros().pane(0).expect("a pane").1;
    assert_eq!(pane(WindowKind::hop(SECOND * 6, SECOND * 10, Origin::default()).expect("a hop")), 2_000_000);
    assert_eq!(pane(WindowKind::tumble(SECOND, Origin::default()).expect("a tumble")), 1_000_000);
    assert_eq!(pane(WindowKind::cumulate(SECOND, SECOND * 60, Origin::default()).expect("steps")), 1_000_000);
}

#[test]
fn windows_that_cannot_work_are_refused() {
    let none = Origin::default();
    let berlin = zone("Europe/Berlin");
    for (kind, want) in [
        (WindowKind::tumble(Duration::ZERO, none), "size must be longer than zero"),
        (WindowKind::hop(Duration::ZERO, SECOND, none), "slide must be longer than zero"),
        (WindowKind::hop(SECOND * 2, SECOND, none), "hint: the slide comes first"),
        (WindowKind::hop(Duration::from_micros(1), SECOND, none), "1000000 panes"),
        (WindowKind::tumble(Duration::MAX, none), "too long"),
        (WindowKind::cumulate(Duration::ZERO, SECOND, none), "step must be longer than zero"),
        (WindowKind::cumulate(SECOND * 2, SECOND * 3, none), "hint: the step comes first"),
        (WindowKind::cumulate(SECOND * 2, SECOND, none), "hint: the step comes first"),
        (WindowKind::cumulate(Duration::from_millis(1), SECOND * 11, none), "11000 panes"),
        (WindowKind::hop(SECOND, SECOND * 2, Origin::Offset(2_000_000)), "offset must be shorter"),
        (WindowKind::cumulate(SECOND, SECOND * 2, Origin::Offset(-2_000_000)), "offset must be shorter"),
        (WindowKind::tumble(SECOND * 3600, berlin), "in a time zone the window's size must be whole days"),
        (WindowKind::cumulate(SECOND * 3600, DAY, berlin), "in a time zone the window's step must be whole days"),
        (WindowKind::hop(DAY, DAY * 7, berlin), "HOP is not available in a time zone"),
    ] {
        let report = kind.expect_err(want).report();
        assert!(report.contains(want), "{want}: {report}");
    }
    let odd = WindowKind::tumble(Duration::from_millis(1500), none).expect("a tumble");
    assert!(odd.in_unit(TimeUnit::Second).is_err());
    assert_eq!(odd.in_unit(TimeUnit::Nanosecond).expect("units").plain(), Some(1_500_000_000));
    assert!(WindowKind::Tumble { size_us: i64::MAX, origin: none }.in_unit(TimeUnit::Nanosecond).is_err());
    let odd = WindowKind::tumble(SECOND, Origin::Offset(1_500)).expect("a tumble");
    assert!(
        odd.in_unit(TimeUnit::Millisecond)
            .expect_err("too fine")
            .report()
            .contains("the window's offset is not a whole")
    );
}

#[test]
fn a_kind_is_shown_as_it_is_written() {
    let shown = |kind: Result<WindowKind>| kind.expect("a kind").to_string();
    assert_eq!(shown(WindowKind::tumble(SECOND * 90, Origin::default())), "TUMBLE(90 seconds)");
    assert_eq!(
        shown(WindowKind::hop(SECOND, SECOND * 60, Origin::Offset(-1))),
        "HOP(1 second, 1 minute, 999999 microseconds)"
    );
    assert_eq!(
        shown(WindowKind::cumulate(DAY, DAY * 7, zone("Asia/Beirut"))),
        "CUMULATE(1 day, 7 days, 'Asia/Beirut')"
    );
}

/// Every kind of window, small: at times from -300 to 300, in milliseconds but for days.
fn small() -> impl Strategy<Value = WindowAssigner> {
    let every = (1i64..40, 1i64..40, 0i64..40).prop_filter_map("a slide that fits", |(size, slide, offset)| {
        (slide <= size).then(|| WindowAssigner::Every { size, slide, pane: gcd(size, slide), offset: offset % slide })
    });
    let steps = (1i64..10, 1i64..6, 0i64..60).prop_map(|(step, steps, offset)| {
        let size = step * steps;
        WindowAssigner::Steps { size, step, offset: offset % size }
    });
    prop_oneof![every, steps]
}

proptest! {
    // The definition: of all windows that there are, those around a time.
    #[test]
    fn the_windows_of_a_time_are_those_around_it(assigner in small(), time in -300i64..300) {
        let all: Vec<(i64, i64)> = match assigner {
            WindowAssigner::Every { size, slide, offset, .. } => {
                (-400..400).map(|k| (k * slide + offset, k * slide + offset + size)).collect()
            }
            WindowAssigner::Steps { size, step, offset } => (-400..400)
                .map(|k| k * size + offset)
                .flat_map(|start| (1..=size / step).map(move |steps| (start, start + steps * step)))
                .collect(),
            WindowAssigner::Days { .. } | WindowAssigner::Session { .. } => unreachable!("only regular ones"),
        };
        let mut naive: Vec<(i64, i64)> = all.into_iter().filter(|(start, end)| (*start..*end).contains(&time)).collect();
        naive.sort_by_key(|(_, end)| *end);
        prop_assert_eq!(windows(assigner, time), naive.clone());
        let ends: Vec<i64> = naive.into_iter().map(|(_, end)| end).collect();
        prop_assert_eq!(assigner.first_end(time), ends[0]);
        prop_assert_eq!(assigner.last_end(time), ends[ends.len() - 1]);
        for at in time - 60..time + 60 {
            prop_assert_eq!(assigner.next_end(time, at), ends.iter().copied().find(|end| *end > at));
            prop_assert_eq!(assigner.last_end_through(time, at), ends.iter().copied().rfind(|end| *end <= at));
        }
        let (pane, pane_end) = assigner.pane(time).expect("a pane");
        prop_assert!(pane <= time && time < pane_end);
        prop_assert_eq!(windows(assigner, pane), windows(assigner, time));
        prop_assert_eq!(windows(assigner, pane_end - 1), windows(assigner, time));
        prop_assert_eq!(assigner.pane_of(assigner.number_of(pane)), pane);
        prop_assert_eq!(assigner.number_of(pane_end), assigner.number_of(pane) + 1);
    }

    // Days of a time zone: each of its windows is a run of panes, and of its panes all lie in the same windows.
    #[test]
    fn days_are_panes_of_runs_of_days(
        step in 1i64..4, steps in 1i64..4, days in -80_000i64..80_000, part in 0i64..86_400,
        name in prop::sample::select(vec!["Europe/Berlin", "America/Santiago", "Africa/Cairo", "Pacific/Apia"]),
    ) {
        let zone = Zone::named(name).expect(name);
        let assigner = WindowAssigner::Days { size: step * steps, step, zone, unit: TimeUnit::Second };
        let time = days * 86_400 + part;
        let (pane, pane_end) = assigner.pane(time).expect("a pane");
        prop_assert!(pane <= time && time < pane_end);
        prop_assert_eq!(assigner.pane_of(assigner.number_of(pane)), pane);
        let found = windows(assigner, time);
        let starts: BTreeSet<i64> = found.iter().map(|(start, _)| *start).collect();
        prop_assert!(starts.len() == 1 && starts.iter().all(|start| *start <= pane));
        prop_assert_eq!(found[0].1, pane_end);
        prop_assert!(found.len() <= usize::try_from(steps).expect("few"));
        prop_assert_eq!(windows(assigner, pane), found.clone());
        prop_assert_eq!(found.last().map(|(_, end)| *end), Some(assigner.last_end(time)));
        for (at, (_, end)) in found.iter().enumerate() {
            prop_assert_eq!(assigner.next_end(time, *end), found.get(at + 1).map(|(_, end)| *end));
            prop_assert_eq!(assigner.last_end_through(time, *end), Some(*end));
        }
    }

    #[test]
    fn no_time_overflows(time: i64, size in 1..=i64::MAX, ratio in 1i64..50, offset: i64) {
        let slide = (size / ratio).max(1);
        let hop = WindowAssigner::Every { size, slide, pane: gcd(size, slide), offset: offset.rem_euclid(slide) };
        let steps = WindowAssigner::Steps { size: slide.saturating_mul(ratio), step: slide, offset: offset.rem_euclid(slide) };
        for assigner in [hop, steps] {
            for (start, end) in windows(assigner, time).into_iter().take(100) {
                prop_assert!(start <= time && time < end);
            }
            let _ = (assigner.pane(time), assigner.next_end(time, time), assigner.last_end_through(time, i64::MAX));
        }
    }
}
