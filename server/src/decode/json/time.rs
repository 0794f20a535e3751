//! Dates and times from text: RFC 3339 and what people write for it.

use arrow::datatypes::TimeUnit;

/// Days since the Unix epoch from `YYYY-MM-DD`.
pub(super) fn date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    i32::try_from(days(text)?).ok()
}

/// Since midnight, in `unit`, from `HH:MM:SS[.fraction]`; digits finer than the unit are cut off.
pub(super) fn time_of_day(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let (clock, rest) = text.split_first_chunk::<8>()?;
    let (nanos, rest) = fraction(rest)?;
    if !rest.is_empty() {
        return None;
    }
    in_unit(seconds(clock)?, nanos, unit)
}

/// Since the Unix epoch, in `unit`, from `YYYY-MM-DD(T| )HH:MM:SS[.fraction][Z|±HH[:MM]]`.
///
/// Without an offset the time is UTC. Digits finer than the unit are cut off, so the result never lies in the future
/// of what is written. `None` for anything else, leap seconds included, and for what the unit cannot hold.
#[inline]
pub(super) fn timestamp(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    let (separator, rest) = rest.split_first()?;
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let (clock, rest) = rest.split_first_chunk::<8>()?;
    let (nanos, rest) = fraction(rest)?;
    let local = days(date)? * 86_400 + seconds(clock)?;
    in_unit(local - offset(rest)?, nanos, unit)
}

/// Integers are milliseconds since the Unix epoch, whatever the column's unit.
#[inline(always)]
pub(super) fn from_epoch_ms(ms: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(ms.div_euclid(1_000)),
        TimeUnit::Millisecond => Some(ms),
        TimeUnit::Microsecond => ms.checked_mul(1_000),
        TimeUnit::Nanosecond => ms.checked_mul(1_000_000),
    }
}

#[inline]
fn in_unit(seconds: i64, nanos: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(seconds),
        TimeUnit::Millisecond => Some(seconds * 1_000 + nanos / 1_000_000),
        TimeUnit::Microsecond => Some(seconds * 1_000_000 + nanos / 1_000),
        // The first representable nanosecond lies inside a second whose start is not representable.
        TimeUnit::Nanosecond => i64::try_from(i128::from(seconds) * 1_000_000_000 + i128::from(nanos)).ok(),
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
