//! Dates and times from text and from numbers, and which of them a column holds.
//!
//! Text is RFC 3339 and what people write for it. A column holds the years 1 to 9999, which everything that reads its rows
//! can hold too; in nanoseconds, where 64 bits do not reach so far, 1678 to 2261. So no sum of a time and an interval
//! runs over, and no window opens that never closes.

use arrow::datatypes::TimeUnit;

use crate::catalog::TimestampFormat;

const DAY_SECONDS: i64 = 86_400;
/// Powers of ten up to the digits of a nanosecond.
const POWERS: [i64; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Why a text or number is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTime {
    /// It is written in another way.
    Form,
    /// It lies beyond what the column holds.
    Range,
}

/// Seconds since the Unix epoch: the first, and the first no longer held.
const fn years(unit: TimeUnit) -> (i64, i64) {
    match unit {
        // 1678-01-01 and 2262-01-01.
        TimeUnit::Nanosecond => (-9_214_560_000, 9_214_646_400),
        // 0001-01-01 and 10000-01-01.
        _ => (-62_135_596_800, 253_402_300_800),
    }
}

/// Whether a timestamp column of `unit` holds `value`, which is in that unit.
#[inline(always)]
pub(crate) fn holds(value: i64, unit: TimeUnit) -> bool {
    const fn held(value: i64, unit: TimeUnit) -> bool {
        let (first, end) = years(unit);
        let power = POWERS[digits(unit) as usize];
        value >= first * power && value < end * power
    }
    // By unit, so that the bounds are constants.
    match unit {
        TimeUnit::Second => held(value, TimeUnit::Second),
        TimeUnit::Millisecond => held(value, TimeUnit::Millisecond),
        TimeUnit::Microsecond => held(value, TimeUnit::Microsecond),
        TimeUnit::Nanosecond => held(value, TimeUnit::Nanosecond),
    }
}

/// What [`holds`] says, for people.
pub(crate) fn range(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Nanosecond => "the years 1678 to 2261",
        _ => "the years 1 to 9999",
    }
}

/// Digits of a second's fraction.
pub(crate) const fn digits(unit: TimeUnit) -> i8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// How the numbers of one column become its values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    /// The power of ten from what a number counts to the column's unit.
    pub(crate) shift: i8,
    unit: TimeUnit,
    first: i64,
    last: i64,
}

impl Epoch {
    /// A number counts `of` since the Unix epoch; the column is in `unit`.
    pub(crate) fn new(of: TimeUnit, unit: TimeUnit) -> Self {
        let (first, end) = years(unit);
        let power = POWERS[digits(unit) as usize];
        Epoch { shift: digits(unit) - digits(of), unit, first: first * power, last: end * power - 1 }
    }

    /// Rounded down where the column's unit is coarser.
    #[inline]
    pub(crate) fn value(&self, count: i64) -> Result<i64, NoTime> {
        let value = match self.shift {
            0 => Some(count),
            shift @ 1.. => count.checked_mul(POWERS[shift as usize]),
            shift => Some(count.div_euclid(POWERS[-shift as usize])),
        };
        value.filter(|value| (self.first..=self.last).contains(value)).ok_or(NoTime::Range)
    }

    /// `value` is in the column's unit already.
    pub(crate) fn held(&self, value: i128) -> Result<i64, NoTime> {
        i64::try_from(value).ok().filter(|value| holds(*value, self.unit)).ok_or(NoTime::Range)
    }
}

/// The format in which `count` would be a time of our days, and that time, where `format` takes it for something else.
pub(crate) fn plausible(count: i128, format: TimestampFormat) -> Option<(TimestampFormat, String)> {
    // 2000-01-01 to 2100-01-01. A unit is a thousand times the next, so no count lies here in two of them.
    const DAYS_OF_OURS: std::ops::Range<i128> = 946_684_800..4_102_444_800;
    TimestampFormat::DECLARED.into_iter().find_map(|other| {
        let unit = other.epoch_unit().filter(|unit| format.epoch_unit() != Some(*unit))?;
        let seconds = count.div_euclid(POWERS[digits(unit) as usize].into());
        let time = DAYS_OF_OURS.contains(&seconds).then(|| i64::try_from(seconds).ok())??;
        let time = chrono::DateTime::from_timestamp(time, 0)?;
        Some((other, time.format("%Y-%m-%dT%H:%M:%SZ").to_string()))
    })
}

/// Days since the Unix epoch from `YYYY-MM-DD`.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    i32::try_from(days(text)?).ok()
}

/// Since midnight, in `unit`, from `HH:MM[:SS[.fraction]][Z]`; digits finer than the unit are cut off.
///
/// Another offset than Z is refused: without a date the time of day in UTC could be the day before's.
pub(crate) fn time_of_day(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let (seconds, nanos, rest) = clock(text)?;
    matches!(rest, [] | [b'Z' | b'z']).then(|| in_unit(seconds, nanos, unit))?
}

/// Since the Unix epoch, in `unit`, from `YYYY-MM-DD(T| )HH:MM[:SS[.fraction]][Z|±HH[:MM]]`.
///
/// Without an offset the time is UTC. Digits finer than the unit are cut off, so the result never lies in the future
/// of what is written. Anything else is refused, leap seconds included, and so is what the column does not hold.
#[inline]
pub(crate) fn timestamp(text: &[u8], unit: TimeUnit) -> Result<i64, NoTime> {
    let (seconds, nanos) = since_epoch(text).ok_or(NoTime::Form)?;
    in_unit(seconds, nanos, unit).filter(|value| holds(*value, unit)).ok_or(NoTime::Range)
}

#[inline]
fn since_epoch(text: &[u8]) -> Option<(i64, i64)> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    let (separator, rest) = rest.split_first()?;
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let (seconds, nanos, rest) = clock(rest)?;
    Some((days(date)? * DAY_SECONDS + seconds - offset(rest)?, nanos))
}

/// Seconds and nanoseconds since midnight of a text's beginning, and what follows. Java leaves seconds out where there are
/// none: `12:01Z`.
#[inline]
fn clock(text: &[u8]) -> Option<(i64, i64, &[u8])> {
    if let Some((clock, rest)) = text.split_first_chunk::<8>()
        && let Some(seconds) = seconds(clock)
    {
        let (nanos, rest) = fraction(rest)?;
        return Some((seconds, nanos, rest));
    }
    let ([h1, h2, b':', m1, m2], rest) = text.split_first_chunk::<5>()? else { return None };
    let (hour, minute) = (two(*h1, *h2)?, two(*m1, *m2)?);
    (hour < 24 && minute < 60).then_some((hour * 3_600 + minute * 60, 0, rest))
}

/// `None` where 64 bits do not hold it.
#[inline]
pub(crate) fn in_unit(seconds: i64, nanos: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(seconds),
        TimeUnit::Millisecond => Some(seconds * 1_000 + nanos / 1_000_000),
        TimeUnit::Microsecond => Some(seconds * 1_000_000 + nanos / 1_000),
        TimeUnit::Nanosecond => seconds.checked_mul(1_000_000_000)?.checked_add(nanos),
    }
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Days since the Unix epoch in the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
#[inline]
fn days(text: &[u8; 10]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return None };
    let (year, month, day) = (two(y1, y2)? * 100 + two(y3, y4)?, two(m1, m2)?, two(d1, d2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > last {
        return None;
    }
    // Years begin in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[inline]
fn seconds(text: &[u8; 8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *text else { return None };
    let (hour, minute, second) = (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?);
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3_600 + minute * 60 + second)
}

/// Nanoseconds of an optional `.digits`, and what follows it.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let nanos = digits[..count.min(9)].iter().fold(0, |nanos, byte| nanos * 10 + i64::from(byte - b'0'));
    Some((nanos * 10i64.pow(9 - count.min(9) as u32), &digits[count..]))
}

/// Seconds east of UTC.
#[inline]
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *rest {
        [h1, h2] => (two(h1, h2)?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two(h1, h2)?, two(m1, m2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: [TimeUnit; 4] = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];

    #[test]
    fn a_column_holds_its_first_and_last_moment_and_nothing_beyond() {
        for (unit, first, last, before, after) in [
            (
                TimeUnit::Nanosecond,
                "1678-01-01T00:00:00Z",
                "2261-12-31T23:59:59.999999999Z",
                "1677-12-31T23:59:59.999999999Z",
                "2262-01-01T00:00Z",
            ),
            (
                TimeUnit::Microsecond,
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999999Z",
                "0000-12-31T23:59:59.999999Z",
                "9999-12-31T23:59:59-00:01",
            ),
            (
                TimeUnit::Millisecond,
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999Z",
                "0001-01-01T00:00+00:01",
                "9999-12-31T23:59:59-00:01",
            ),
            (
                TimeUnit::Second,
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59Z",
                "0000-01-01T00:00Z",
                "9999-12-31T23:00:00-01",
            ),
        ] {
            for held in [first, last] {
                assert!(timestamp(held.as_bytes(), unit).is_ok(), "{held} in {unit:?}");
            }
            for beyond in [before, after] {
                assert_eq!(timestamp(beyond.as_bytes(), unit), Err(NoTime::Range), "{beyond} in {unit:?}");
            }
            let (first, last) = (timestamp(first.as_bytes(), unit).unwrap(), timestamp(last.as_bytes(), unit).unwrap());
            assert_eq!([first - 1, first, last, last + 1].map(|value| holds(value, unit)), [false, true, true, false]);
        }
    }

    #[test]
    fn a_number_is_what_it_counts_in_every_unit_and_never_beyond_the_range() {
        // 2023-11-14T22:13:20Z
        let at = 1_700_000_000i64;
        for of in UNITS {
            for unit in UNITS {
                let count = at * POWERS[digits(of) as usize];
                assert_eq!(
                    Epoch::new(of, unit).value(count),
                    Ok(at * POWERS[digits(unit) as usize]),
                    "{of:?} in {unit:?}"
                );
                for beyond in [i64::MIN, i64::MAX] {
                    // As nanoseconds even these are within the years 1 to 9999.
                    let held = of == TimeUnit::Nanosecond && unit != TimeUnit::Nanosecond;
                    assert_eq!(Epoch::new(of, unit).value(beyond).is_ok(), held, "{beyond} {of:?} in {unit:?}");
                }
            }
        }
        assert_eq!(Epoch::new(TimeUnit::Nanosecond, TimeUnit::Second).value(-1), Ok(-1));
    }

    #[test]
    fn a_number_of_another_unit_is_told_where_it_would_be_a_time_of_our_days() {
        use TimestampFormat::{Epoch, Iso8601, TextOrMillis};
        let told = |count, format| plausible(count, format).map(|(other, time)| (other.name().unwrap(), time));
        let time = "2023-11-14T22:13:20Z".to_owned();
        assert_eq!(told(1_700_000_000_000_000_000, TextOrMillis), Some(("epoch-ns", time.clone())));
        assert_eq!(told(1_700_000_000_000_000, TextOrMillis), Some(("epoch-us", time.clone())));
        assert_eq!(told(1_700_000_000, Epoch(TimeUnit::Nanosecond)), Some(("epoch-s", time.clone())));
        assert_eq!(told(1_700_000_000_000, Iso8601), Some(("epoch-ms", time)));
        assert_eq!(told(1_700_000_000_000, TextOrMillis), None);
        assert_eq!(told(i128::MAX, TextOrMillis), None);
        assert_eq!(told(-5, TextOrMillis), None);
    }

    #[test]
    fn a_time_at_a_whole_minute_may_go_without_seconds() {
        let minute = 12 * 3_600 + 60;
        for text in ["12:01", "12:01Z", "12:01z", "12:01:00", "12:01:00Z", "12:01:00.000Z"] {
            assert_eq!(time_of_day(text.as_bytes(), TimeUnit::Second), Some(minute), "{text}");
        }
        for text in ["12:1", "12:60", "24:00", "12:01:", "12:01:60", "12:01.5", "12:01+02:00", "12:01ZZ", "1201", "12"]
        {
            assert_eq!(time_of_day(text.as_bytes(), TimeUnit::Second), None, "{text}");
        }
        let day = 1_767_225_600;
        for (text, expected) in [
            ("2026-01-01T12:01Z", day + minute),
            ("2026-01-01 12:01", day + minute),
            ("2026-01-01T12:01+02:00", day + minute - 7_200),
            ("2026-01-01T12:01-0130", day + minute + 5_400),
        ] {
            assert_eq!(timestamp(text.as_bytes(), TimeUnit::Second), Ok(expected), "{text}");
        }
        for text in ["2026-01-01T12", "2026-01-01T12:0Z", "2026-01-01T12:01:Z", "2026-01-01T12:01+2"] {
            assert_eq!(timestamp(text.as_bytes(), TimeUnit::Second), Err(NoTime::Form), "{text}");
        }
    }
}
