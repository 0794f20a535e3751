//! Which checkpoints are kept for looking back and falling back: the last ones, then fewer and fewer of those before.
//!
//! Pure: ids and times in, ids out. Of an hour or a day the oldest is kept, so what is kept once stays until its time is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::{DAY_MICROS, Micros};

const HOUR_MICROS: Micros = DAY_MICROS / 24;

/// One checkpoint an hour of so many hours, the one that runs among them.
const HOURS_KEPT: i64 = 24;

/// And one a day of so many days.
const DAYS_KEPT: i64 = 7;

/// The ids that are kept of `made`, which says when each was made, and of which the `last` newest are kept in any case.
///
/// Times are microseconds since the Unix epoch, UTC. Clocks err: none counts as later than `now` or than a checkpoint that came after it.
pub(super) fn kept(made: &BTreeMap<u64, Micros>, now: Micros, last: usize) -> BTreeSet<u64> {
    let mut kept: BTreeSet<u64> = made.keys().rev().take(last).copied().collect();
    let mut latest = now;
    let mut times: Vec<(u64, Micros)> = Vec::with_capacity(made.len());
    for (id, at) in made.iter().rev() {
        latest = latest.min(*at);
        times.push((*id, latest));
    }
    for (length, periods) in [(HOUR_MICROS, HOURS_KEPT), (DAY_MICROS, DAYS_KEPT)] {
        let current = now.div_euclid(length);
        // From the oldest on: the first of a period is the one that stays.
        let mut taken = BTreeSet::new();
        for (id, at) in times.iter().rev() {
            let period = at.div_euclid(length);
            if current.saturating_sub(period) < periods && taken.insert(period) {
                kept.insert(*id);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Micros = 60_000_000;

    fn made(times: &[Micros]) -> BTreeMap<u64, Micros> {
        (1..).zip(times.iter().copied()).collect()
    }

    #[test]
    fn of_ten_days_at_a_checkpoint_a_minute_ten_an_hour_each_and_a_day_each_stay() {
        let times: Vec<Micros> = (0..10 * 24 * 60).map(|minute| minute * MINUTE).collect();
        let now = *times.last().unwrap();
        let kept = kept(&made(&times), now, 10);
        // 24 hours, of which one begins a day, and the six days before; of the last ten one begins no hour.
        assert_eq!(kept.len(), 10 + 24 + 6);
        let oldest = *kept.first().unwrap();
        assert_eq!(times[oldest as usize - 1], 3 * DAY_MICROS);
    }

    // Cleaning up again and again, as a server does, keeps what one clean-up of everything would.
    #[test]
    fn what_is_kept_stays_until_its_time_is_over() {
        let mut left: BTreeMap<u64, Micros> = BTreeMap::new();
        let mut all = BTreeMap::new();
        for id in 1..=9 * 24 * 4_u64 {
            let now = id as Micros * 15 * MINUTE;
            left.insert(id, now);
            all.insert(id, now);
            let ids = kept(&left, now, 3);
            left.retain(|id, _| ids.contains(id));
            assert_eq!(ids, kept(&all, now, 3), "at {id}");
        }
    }

    #[test]
    fn a_clock_that_was_days_ahead_costs_no_other_hour_its_checkpoint() {
        let straight: Vec<Micros> = (0..48).map(|hour| hour * HOUR_MICROS).collect();
        let mut times = straight.clone();
        times[30] += 3 * DAY_MICROS;
        let now = times[47];
        // It counts as of the hour after it.
        let wanted: BTreeSet<u64> = kept(&made(&straight), now, 2).into_iter().filter(|id| *id != 32).collect();
        assert_eq!(kept(&made(&times), now, 2), wanted);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_last_stay_and_the_others_are_few(
            times in prop::collection::vec(any::<i64>(), 0..200),
            now in any::<i64>(),
            last in 0_usize..12,
        ) {
            let made = made(&times);
            let kept = kept(&made, now, last);
            prop_assert!(kept.iter().all(|id| made.contains_key(id)));
            prop_assert!(made.keys().rev().take(last).all(|id| kept.contains(id)));
            prop_assert!(kept.len() <= last + 24 + 7);
        }

        // Whatever the times were, an hour that has a checkpoint keeps one.
        #[test]
        fn every_hour_of_the_last_day_keeps_one(hours in prop::collection::btree_set(0_i64..24, 1..24)) {
            let now = 1_000 * DAY_MICROS;
            let times: Vec<Micros> = hours.iter().rev().map(|back| now - back * HOUR_MICROS).collect();
            let made = made(&times);
            let found: BTreeSet<i64> =
                kept(&made, now, 0).iter().map(|id| (now - made[id]) / HOUR_MICROS).collect();
            prop_assert_eq!(found, hours);
        }
    }
}
