//! The days of a time zone as spans of event time.
//!
//! A day begins at the first instant that has its date there. So every instant lies in one day, also where clocks are put forward at
//! midnight, where they are put back over it, and where a date is left out; and a day has 23, 24 or 25 hours, seldom others. Pure:
//! the rules of all zones are part of the program (the crate `chrono-tz`, IANA's data).

use std::cmp::Ordering;
use std::fmt;

use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::errors::nearest;
use crate::clock::Micros;
use crate::error::{Error, Result};

const SECOND_US: Micros = 1_000_000;
/// Of 1970-01-01, as `chrono` counts days.
const EPOCH_FROM_CE: i32 = 719_163;
/// More than any zone has ever been away from UTC, and a date that is left out: seconds.
const FAR: i64 = 2 * 86_400;

/// A time zone by its name, as in `'Europe/Berlin'`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

impl Zone {
    /// # Errors
    /// `Invalid` for a name that nobody knows.
    pub fn named(name: &str) -> Result<Self> {
        name.parse().map(Zone).map_err(|_| {
            let names: Vec<String> = TZ_VARIANTS.iter().map(|zone| zone.name().to_owned()).collect();
            let error = Error::invalid(format!("time zone '{name}' is not known"));
            match nearest(name, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint("write a name of the IANA database, as 'Europe/Berlin'; an offset is an INTERVAL"),
            }
        })
    }

    /// The day that holds an instant, counted from 1970-01-01. `None` beyond the calendar.
    pub fn day_of(self, at: Micros) -> Option<i64> {
        let utc = DateTime::from_timestamp_micros(at)?;
        let local = utc.with_timezone(&self.0).date_naive();
        let day = i64::from(local.num_days_from_ce() - EPOCH_FROM_CE);
        // Where clocks are put back over midnight, the next day has begun before.
        match self.start_of(day + 1) {
            Some(next) if next <= at => Some(day + 1),
            _ => Some(day),
        }
    }

    /// The first instant of a day. `None` beyond the calendar.
    pub fn start_of(self, day: i64) -> Option<Micros> {
        let date = i32::try_from(day).ok()?.checked_add(EPOCH_FROM_CE)?;
        let midnight = NaiveDate::from_num_days_from_ce_opt(date)?.and_time(NaiveTime::MIN);
        match self.0.from_local_datetime(&midnight) {
            MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => Some(at.timestamp_micros()),
            MappedLocalTime::None => self.after_gap(midnight),
        }
    }

    /// When clocks that skip a time are first beyond it. They are changed on whole seconds.
    fn after_gap(self, skipped: NaiveDateTime) -> Option<Micros> {
        let at = skipped.and_utc().timestamp();
        let is_beyond = |second: i64| {
            let utc = DateTime::from_timestamp(second, 0)?;
            Some(utc.with_timezone(&self.0).naive_local() >= skipped)
        };
        let (mut before, mut beyond) = (at - FAR, at + FAR);
        while beyond - before > 1 {
            let middle = before + (beyond - before) / 2;
            if is_beyond(middle)? {
                beyond = middle;
            } else {
                before = middle;
            }
        }
        beyond.checked_mul(SECOND_US)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        DateTime::parse_from_rfc3339(text).expect(text).timestamp_micros()
    }

    fn day(text: &str) -> i64 {
        i64::from(text.parse::<NaiveDate>().expect(text).num_days_from_ce() - EPOCH_FROM_CE)
    }

    #[test]
    fn a_day_begins_with_the_first_instant_of_its_date() {
        for (zone, date, want) in [
            ("UTC", "2024-03-31", "2024-03-31T00:00:00Z"),
            // 23 and 25 hours.
            ("Europe/Berlin", "2024-03-31", "2024-03-30T23:00:00Z"),
            ("Europe/Berlin", "2024-04-01", "2024-03-31T22:00:00Z"),
            ("Europe/Berlin", "2024-10-27", "2024-10-26T22:00:00Z"),
            ("Europe/Berlin", "2024-10-28", "2024-10-27T23:00:00Z"),
            // At midnight clocks are put forward to 1, and back to 23.
            ("America/Santiago", "2024-09-08", "2024-09-08T04:00:00Z"),
            ("America/Santiago", "2024-09-09", "2024-09-09T03:00:00Z"),
            ("America/Santiago", "2024-04-07", "2024-04-07T04:00:00Z"),
            ("Africa/Cairo", "2024-04-26", "2024-04-25T22:00:00Z"),
            ("Africa/Cairo", "2024-11-01", "2024-10-31T22:00:00Z"),
            ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00Z"),
            // At a minute past midnight back to 23:01: the date comes twice, and begins the first time.
            ("America/St_Johns", "2006-10-29", "2006-10-29T02:30:00Z"),
            // A date that is left out begins and ends at once.
            ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
            // Local mean time.
            ("Europe/Berlin", "1800-01-01", "1799-12-31T23:06:32Z"),
        ] {
            let found = Zone::named(zone).expect(zone).start_of(day(date)).expect(date);
            assert_eq!(found, at(want), "{zone} {date}: {:?}", DateTime::from_timestamp_micros(found));
        }
    }

    #[test]
    fn every_instant_lies_in_the_day_that_has_begun_last() {
        for name in [
            "UTC",
            "Europe/Berlin",
            "America/Santiago",
            "Africa/Cairo",
            "Asia/Beirut",
            "America/St_Johns",
            "Pacific/Apia",
            "America/Juneau",
            "Asia/Manila",
            "Pacific/Kwajalein",
            "Australia/Lord_Howe",
            "Africa/Monrovia",
            "Asia/Gaza",
        ] {
            let zone = Zone::named(name).expect(name);
            let spans = [("1840", "1870"), ("1965", "1972"), ("1990", "2030"), ("9990", "9991")];
            for day in spans.iter().flat_map(|(from, to)| day(&format!("{from}-01-01"))..day(&format!("{to}-01-01"))) {
                let (start, end) = (zone.start_of(day).expect(name), zone.start_of(day + 1).expect(name));
                let hours = (end - start) / 3_600_000_000;
                assert!((0..=48).contains(&hours), "{name} {day}: {hours} hours");
                if start < end {
                    for inside in [start, start + (end - start) / 2, end - 1] {
                        assert_eq!(zone.day_of(inside), Some(day), "{name} {day}");
                    }
                }
            }
        }
        assert_eq!(Zone::named("Europe/Berlin").expect("a zone").day_of(Micros::MAX), None);
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused_with_the_nearest() {
        let refused = |name| Zone::named(name).expect_err(name).report();
        assert_eq!(
            refused("Europe/Berln"),
            "time zone 'Europe/Berln' is not known\n  hint: did you mean 'Europe/Berlin'?"
        );
        assert!(refused("8 hours ahead").contains("an offset is an INTERVAL"), "{}", refused("8 hours ahead"));
        assert!(Zone::named("").is_err());
    }
}
