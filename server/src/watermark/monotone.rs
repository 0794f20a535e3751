//! Functions of time that keep the order of times: what may stand between the newest row and a watermark.

use arrow::datatypes::TimeUnit;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime};

use super::{END, NONE};
use crate::clock::Micros;

/// A function of time `f` with `f(a) <= f(b)` wherever `a <= b`, or a lower bound of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Monotone {
    /// Less so many microseconds, at least 0.
    Less(Micros),
    /// Down to `origin` plus a multiple of `unit`, microseconds: `date_bin`, `date_trunc` up to the week, casts to a coarser
    /// unit or to a date.
    Floor { unit: Micros, origin: Micros },
    /// Down to the first of a run of so many calendar months, UTC, counted from January: `date_trunc` to a month, a quarter, a
    /// year.
    FloorMonths(u32),
}

/// 1969-12-29: weeks begin on a Monday.
const A_MONDAY: Micros = -3 * 86_400_000_000;

impl Monotone {
    /// What `date_trunc(part, ts)` does to times in UTC; `None` for a part that is not known.
    pub fn truncation(part: &str) -> Option<Self> {
        let floor = |unit| Monotone::Floor { unit, origin: 0 };
        Some(match part.to_ascii_lowercase().as_str() {
            "microsecond" => floor(1),
            "millisecond" => floor(1_000),
            "second" => floor(1_000_000),
            "minute" => floor(60_000_000),
            "hour" => floor(3_600_000_000),
            "day" => floor(86_400_000_000),
            "week" => Monotone::Floor { unit: 7 * 86_400_000_000, origin: A_MONDAY },
            "month" => Monotone::FloorMonths(1),
            "quarter" => Monotone::FloorMonths(3),
            "year" => Monotone::FloorMonths(12),
            _ => return None,
        })
    }

    /// What a cast to a precision does.
    pub fn precision(unit: TimeUnit) -> Self {
        let unit = match unit {
            TimeUnit::Second => 1_000_000,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond | TimeUnit::Nanosecond => 1,
        };
        Monotone::Floor { unit, origin: 0 }
    }

    pub fn apply(self, at: Micros) -> Micros {
        match self {
            Monotone::Less(by) => at.saturating_sub(by),
            Monotone::Floor { unit, origin } => {
                let unit = i128::from(unit.max(1));
                let over = (i128::from(at) - i128::from(origin)).rem_euclid(unit);
                Micros::try_from(i128::from(at) - over).unwrap_or(NONE)
            }
            // Beyond the calendar nothing is promised.
            Monotone::FloorMonths(months) => first_of_months(at, months, 0).unwrap_or(NONE),
        }
    }

    /// The least time that is not put before `at`.
    pub(super) fn reach(self, at: Micros) -> Micros {
        match self {
            Monotone::Less(by) => at.saturating_add(by),
            _ if self.apply(at) == at => at,
            Monotone::Floor { unit, .. } => self.apply(at).saturating_add(unit.max(1)),
            Monotone::FloorMonths(months) => first_of_months(at, months, 1).unwrap_or(END),
        }
    }

    /// As much as it falls behind, at most.
    pub(super) fn delay(self) -> Micros {
        const LONGEST_MONTH: Micros = 31 * 86_400_000_000;
        match self {
            Monotone::Less(by) => by,
            Monotone::Floor { unit, .. } => unit.saturating_sub(1),
            Monotone::FloorMonths(months) => LONGEST_MONTH.saturating_mul(i64::from(months)),
        }
    }
}

/// The beginning of the run of `months` that holds `at`, and as many runs later as `later` says.
fn first_of_months(at: Micros, months: u32, later: i32) -> Option<Micros> {
    let date = DateTime::from_timestamp_micros(at)?.date_naive();
    let months = i32::try_from(months.max(1)).ok()?;
    let month = date.year().checked_mul(12)?.checked_add(i32::try_from(date.month0()).ok()?)?;
    let first = (month - month.rem_euclid(months)).checked_add(months.checked_mul(later)?)?;
    let first = NaiveDate::from_ymd_opt(first.div_euclid(12), first.rem_euclid(12).unsigned_abs() + 1, 1)?;
    Some(first.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn truncated(part: &str) -> Monotone {
        Monotone::truncation(part).unwrap()
    }

    #[test]
    fn truncation_is_that_of_the_calendar() {
        let time = at("2024-08-15T13:47:59.123456Z");
        for (part, want) in [
            ("millisecond", "2024-08-15T13:47:59.123Z"),
            ("second", "2024-08-15T13:47:59Z"),
            ("minute", "2024-08-15T13:47:00Z"),
            ("HOUR", "2024-08-15T13:00:00Z"),
            ("day", "2024-08-15T00:00:00Z"),
            ("week", "2024-08-12T00:00:00Z"),
            ("month", "2024-08-01T00:00:00Z"),
            ("quarter", "2024-07-01T00:00:00Z"),
            ("year", "2024-01-01T00:00:00Z"),
        ] {
            assert_eq!(truncated(part).apply(time), at(want), "{part}");
        }
        assert_eq!(truncated("month").apply(at("1969-12-31T23:00:00Z")), at("1969-12-01T00:00:00Z"));
        assert_eq!(truncated("week").apply(at("1969-12-28T23:00:00Z")), at("1969-12-22T00:00:00Z"));
        assert_eq!(Monotone::truncation("fortnight"), None);
    }

    #[test]
    fn a_mark_is_reached_at_the_least_time_that_gives_it() {
        let time = at("2024-08-15T13:47:59.123456Z");
        let functions = ["second", "day", "week", "month", "quarter", "year"].map(truncated);
        for function in functions.into_iter().chain([Monotone::Floor { unit: 7_000_000, origin: 3 }]) {
            let least = function.reach(time);
            assert!(function.apply(least) >= time && function.apply(least - 1) < time, "{function:?}");
            let floor = function.apply(time);
            assert_eq!(function.reach(floor), floor, "{function:?}");
        }
        assert_eq!(Monotone::Less(5).reach(time), time + 5);
    }

    #[test]
    fn a_function_never_puts_a_later_time_before_an_earlier_one() {
        let floor = Monotone::Floor { unit: 17, origin: -4 };
        let functions = [truncated("month"), truncated("week"), floor, Monotone::Less(3)];
        let times = [NONE + 1, -1, 0, 1, 86_400_000_000, at("2024-02-29T12:00:00Z"), END - 1];
        for function in functions {
            for pair in times.windows(2) {
                assert!(
                    function.apply(pair[0]) <= function.apply(pair[1]) || pair[1] == END - 1,
                    "{function:?} {pair:?}"
                );
                assert!(function.apply(pair[0]) <= pair[0], "{function:?} {pair:?}");
            }
        }
    }
}
