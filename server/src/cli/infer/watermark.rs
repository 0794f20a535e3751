//! Which column of a sample is its event time, and how far out of order it comes: the watermark to propose.

use std::collections::BTreeMap;

use crate::clock::Micros;
use crate::source::Partition;

const SECOND: Micros = 1_000_000;
/// A column that is further out of order than this is no event time; births are, and due dates.
const DELAY_MAX: Micros = 24 * 3_600 * SECOND;
/// Delays that are proposed, in seconds: the next one above what was seen.
const DELAYS: [i64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];
/// Names that event times have, the best first.
const NAMES: [&str; 8] = ["event_time", "event_ts", "ts", "timestamp", "time", "at", "occurred_at", "created_at"];

/// The times of a column as they came, row by row.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) name: String,
    pub(super) rows: Vec<(Partition, Option<Micros>)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proposed {
    pub(super) column: String,
    pub(super) delay_seconds: i64,
    /// One line for the reader.
    pub(super) why: String,
}

/// The watermark for one of `columns`, which are in their order; `None` where none of them can be the event time.
pub(super) fn propose(columns: &[Times]) -> Option<Proposed> {
    let candidates = columns.iter().filter_map(|times| Some((times, Disorder::of(times)?)));
    let candidates = candidates.filter(|(_, disorder)| disorder.delay <= DELAY_MAX);
    let (times, disorder) = candidates.min_by_key(|(times, disorder)| (rank(&times.name), disorder.delay))?;
    let delay = DELAYS.into_iter().find(|delay| delay * SECOND >= disorder.delay)?;
    Some(Proposed { column: times.name.clone(), delay_seconds: delay, why: disorder.says() })
}

fn rank(name: &str) -> usize {
    let spelled: String = name.chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
    NAMES.iter().position(|known| known.replace('_', "") == spelled).unwrap_or(NAMES.len())
}

/// How far rows lie behind the latest one before them in their partition.
#[derive(Debug)]
struct Disorder {
    rows: usize,
    /// Rows behind an earlier one.
    behind: usize,
    /// What covers them, but for `beyond`.
    delay: Micros,
    beyond: usize,
    /// Rows whose time lies far from all others; they move nothing here.
    far: usize,
}

impl Disorder {
    /// `None` where a row in ten has no time.
    fn of(times: &Times) -> Option<Disorder> {
        let mut sorted: Vec<Micros> = times.rows.iter().filter_map(|(_, at)| *at).collect();
        if sorted.is_empty() || sorted.len() * 10 < times.rows.len() * 9 {
            return None;
        }
        sorted.sort_unstable();
        // What lies ten times as far out as half of the rows lie apart is a device that does not know the time.
        let (low, high) = (sorted[sorted.len() / 4], sorted[sorted.len() * 3 / 4]);
        let reach = high.saturating_sub(low).max(60 * SECOND).saturating_mul(10);
        let known = low.saturating_sub(reach)..=high.saturating_add(reach);
        let (mut latest, mut lags) = (BTreeMap::<Partition, Micros>::new(), Vec::new());
        let mut far = 0;
        for (partition, at) in &times.rows {
            let Some(at) = at else { continue };
            if !known.contains(at) {
                far += 1;
                continue;
            }
            let latest = latest.entry(*partition).or_insert(*at);
            *latest = (*latest).max(*at);
            lags.push(latest.saturating_sub(*at));
        }
        lags.sort_unstable();
        let behind = lags.iter().filter(|lag| **lag > 0).count();
        // One row in a thousand may be as late as it likes, where that saves most of the wait.
        let (most, all_but_few) = (*lags.last()?, lags[lags.len() - 1 - lags.len() / 1_000]);
        let delay = if most / 10 > all_but_few.max(SECOND) { all_but_few } else { most };
        let beyond = lags.iter().filter(|lag| **lag > delay).count();
        Some(Disorder { rows: lags.len(), behind, delay, beyond, far })
    }

    fn says(&self) -> String {
        let Disorder { rows, behind, delay, beyond, far } = self;
        let mut says = match behind {
            0 => format!("no row of {rows} is out of order"),
            _ => format!("{behind} of {rows} rows are out of order"),
        };
        if behind > beyond {
            says.push_str(&format!(", by up to {}", shown(*delay)));
        }
        if *beyond > 0 {
            says.push_str(&format!("; {beyond} of them would be late"));
        }
        if *far > 0 {
            says.push_str(&format!("; {far} far from all others are not counted"));
        }
        says
    }
}

fn shown(delay: Micros) -> String {
    let tenths = (delay + SECOND / 10 - 1) / (SECOND / 10);
    match tenths {
        0..600 => format!("{}.{} s", tenths / 10, tenths % 10),
        600..36_000 => format!("{} min", tenths.div_euclid(600) + 1),
        _ => format!("{} h", tenths / 36_000 + 1),
    }
}

/// As it is written behind the column.
pub(super) fn interval(seconds: i64) -> String {
    let (amount, unit) = match seconds {
        s if s % 3_600 == 0 => (s / 3_600, "HOUR"),
        s if s % 60 == 0 => (s / 60, "MINUTE"),
        s => (s, "SECOND"),
    };
    format!("INTERVAL '{amount}' {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(name: &str, seconds: impl IntoIterator<Item = f64>) -> Times {
        let rows = seconds.into_iter().map(|at| (0, Some((at * 1e6) as Micros))).collect();
        Times { name: name.to_owned(), rows }
    }

    fn delay(seconds: impl IntoIterator<Item = f64>) -> Option<i64> {
        propose(&[times("ts", seconds)]).map(|proposed| proposed.delay_seconds)
    }

    #[test]
    fn the_delay_covers_the_disorder_that_was_seen() {
        assert_eq!(delay([1.0, 2.0, 3.0]), Some(1));
        assert_eq!(delay([1.0, 4.2, 1.0, 9.0]), Some(5));
        assert_eq!(delay([0.0, 61.0, 0.0]), Some(120));
        assert_eq!(delay([]), None);
        // Days apart in no order: it is not when things happened.
        assert_eq!(delay((0..100).map(|at| f64::from(at * 37 % 100) * 86_400.0)), None);
    }

    #[test]
    fn partitions_are_in_order_each_by_itself() {
        let rows = (0..20).map(|at| (at % 2, Some(Micros::from(at / 2 + 1_000 * (at % 2)) * SECOND))).collect();
        let proposed = propose(&[Times { name: "ts".to_owned(), rows }]).expect("one");
        assert_eq!((proposed.delay_seconds, proposed.why.as_str()), (1, "no row of 20 is out of order"));
    }

    #[test]
    fn a_clock_that_is_wrong_moves_nothing_and_one_row_in_a_thousand_may_be_late() {
        let far = (0..100).map(|at| if at == 50 { 1e9 } else { f64::from(at) });
        let proposed = propose(&[times("ts", far)]).expect("one");
        assert_eq!(proposed.delay_seconds, 1);
        assert_eq!(proposed.why, "no row of 99 is out of order; 1 far from all others are not counted");
        let late = (0..2_000).map(|at| if at == 1_900 { 0.0 } else { f64::from(at) });
        let proposed = propose(&[times("ts", late)]).expect("one");
        assert_eq!(proposed.delay_seconds, 1);
        assert_eq!(proposed.why, "1 of 2000 rows are out of order; 1 of them would be late");
    }

    #[test]
    fn the_name_decides_then_the_order_and_a_column_with_gaps_is_none() {
        let ordered = || (0..10).map(f64::from);
        let shuffled = || (0..10).map(|at| f64::from(at * 7 % 10));
        let of = |columns: &[Times]| propose(columns).map(|proposed| proposed.column);
        assert_eq!(of(&[times("sent", ordered()), times("eventTime", shuffled())]).as_deref(), Some("eventTime"));
        assert_eq!(of(&[times("sent", shuffled()), times("got", ordered())]).as_deref(), Some("got"));
        let mut gaps = times("ts", ordered());
        gaps.rows[3].1 = None;
        gaps.rows[4].1 = None;
        assert_eq!(of(&[gaps]), None);
    }

    #[test]
    fn a_delay_is_written_in_its_largest_unit() {
        assert_eq!(
            [1, 90, 120, 7_200].map(interval),
            ["INTERVAL '1' SECOND", "INTERVAL '90' SECOND", "INTERVAL '2' MINUTE", "INTERVAL '2' HOUR"]
        );
    }
}
