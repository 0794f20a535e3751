//! Numbers, exact: integers and decimals never pass through a float, floats are the nearest to what is written.

use super::fault::{Fault, OUT_OF_RANGE};
use super::scan::{Cursor, Number};
use crate::decode::time::{Epoch, NoTime};

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

fn out_of_range() -> Box<Fault> {
    Fault::mismatch(Some(OUT_OF_RANGE))
}

/// An integer, also as `67.0` or `1e3`, where its value is a whole number.
#[inline]
pub(super) fn integer<T: TryFrom<i128>>(cursor: &mut Cursor<'_>) -> Result<T, Box<Fault>> {
    let value = match cursor.integer() {
        Some((negative, magnitude)) => {
            if negative {
                -i128::from(magnitude)
            } else {
                i128::from(magnitude)
            }
        }
        None => whole(cursor)?,
    };
    T::try_from(value).map_err(|_| out_of_range())
}

#[cold]
fn whole(cursor: &mut Cursor<'_>) -> Result<i128, Box<Fault>> {
    let number = token(cursor)?;
    exact(&cursor.bytes[number.start..number.end], number.exponent, 0).map_err(|inexact| match inexact {
        Inexact::Fraction => Fault::mismatch(Some("not a whole number")),
        Inexact::TooLarge => out_of_range(),
    })
}

#[inline]
fn token(cursor: &mut Cursor<'_>) -> Result<Number, Box<Fault>> {
    match cursor.peek() {
        b'-' | b'0'..=b'9' => cursor.number(),
        _ => Err(Fault::mismatch(None)),
    }
}

/// # Errors
/// A mismatch for what is no number or lies beyond the largest double.
#[inline]
pub(super) fn double(cursor: &mut Cursor<'_>) -> Result<f64, Box<Fault>> {
    let number = token(cursor)?;
    // Mantissa and power are both exact, so one rounding is all there is (Clinger, 1990).
    if number.digits <= 19 && number.mantissa <= 1 << 53 && number.exponent.unsigned_abs() < POWERS.len() as u64 {
        let power = POWERS[number.exponent.unsigned_abs() as usize];
        let mantissa = number.mantissa as f64;
        let value = if number.exponent < 0 { mantissa / power } else { mantissa * power };
        return Ok(if number.negative { -value } else { value });
    }
    parsed::<f64>(cursor, number).filter(|value| value.is_finite()).ok_or_else(out_of_range)
}

#[inline]
pub(super) fn single(cursor: &mut Cursor<'_>) -> Result<f32, Box<Fault>> {
    let number = token(cursor)?;
    if number.digits <= 19 && number.mantissa <= 1 << 24 && number.exponent.unsigned_abs() <= 10 {
        let power = POWERS[number.exponent.unsigned_abs() as usize] as f32;
        let mantissa = number.mantissa as f32;
        let value = if number.exponent < 0 { mantissa / power } else { mantissa * power };
        return Ok(if number.negative { -value } else { value });
    }
    parsed::<f32>(cursor, number).filter(|value| value.is_finite()).ok_or_else(out_of_range)
}

#[cold]
fn parsed<T: std::str::FromStr>(cursor: &Cursor<'_>, number: Number) -> Option<T> {
    std::str::from_utf8(&cursor.bytes[number.start..number.end]).ok()?.parse().ok()
}

/// A decimal of `precision` digits, `scale` of them after the point, from a JSON number.
pub(super) fn decimal(cursor: &mut Cursor<'_>, precision: u8, scale: i8) -> Result<i128, Box<Fault>> {
    let number = token(cursor)?;
    fit(exact(&cursor.bytes[number.start..number.end], number.exponent, scale), precision)
}

/// The same from the text of a string, which must be written as a JSON number is.
pub(super) fn decimal_from_text(text: &[u8], precision: u8, scale: i8) -> Result<i128, Box<Fault>> {
    let mut cursor = Cursor::new(text);
    match token(&mut cursor) {
        Ok(number) if number.end == text.len() => fit(exact(text, number.exponent, scale), precision),
        _ => Err(Fault::mismatch(None)),
    }
}

fn fit(value: Result<i128, Inexact>, precision: u8) -> Result<i128, Box<Fault>> {
    match value {
        Ok(value) if value.unsigned_abs() < 10u128.pow(u32::from(precision.min(38))) => Ok(value),
        Ok(_) | Err(Inexact::TooLarge) => Err(out_of_range()),
        Err(Inexact::Fraction) => Err(Fault::mismatch(Some("with too many digits after the point"))),
    }
}

enum Inexact {
    /// Digits other than 0 would be lost.
    Fraction,
    TooLarge,
}

/// A number times 10^`scale`, rounded down: digits finer than that are cut off, as those of a time in text are.
pub(super) fn rounded_down(cursor: &mut Cursor<'_>, scale: i8) -> Result<i128, Box<Fault>> {
    let number = token(cursor)?;
    let (text, shift) = (&cursor.bytes[number.start..number.end], number.exponent + i64::from(scale));
    let kept = kept(text, shift);
    let cut = truncated(text, kept, shift).ok_or_else(out_of_range)?;
    Ok(cut - i128::from(number.negative && loses_digits(text, kept)))
}

/// `token`, a sound JSON number, times 10^`scale`. `exponent`: of the digits read as one integer.
fn exact(token: &[u8], exponent: i64, scale: i8) -> Result<i128, Inexact> {
    let shift = exponent + i64::from(scale);
    let kept = kept(token, shift);
    if loses_digits(token, kept) {
        return Err(Inexact::Fraction);
    }
    truncated(token, kept, shift).ok_or(Inexact::TooLarge)
}

/// The digits of a number's mantissa.
fn mantissa(token: &[u8]) -> impl Iterator<Item = u8> {
    let end = token.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(token.len());
    token[..end].iter().copied().filter(u8::is_ascii_digit)
}

/// How many digits of the mantissa stand before the point, which lies `shift` places behind the last one.
fn kept(token: &[u8], shift: i64) -> usize {
    mantissa(token).count().saturating_sub(usize::try_from(-shift).unwrap_or(0))
}

/// Whether digits other than 0 stand behind the point.
fn loses_digits(token: &[u8], kept: usize) -> bool {
    mantissa(token).skip(kept).any(|digit| digit != b'0')
}

/// Without what stands behind the point; `None` where that is too large.
fn truncated(token: &[u8], kept: usize, shift: i64) -> Option<i128> {
    let mut value = 0i128;
    let mut push = |digit: u8| {
        value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        Some(value)
    };
    for digit in mantissa(token).take(kept) {
        push(digit - b'0')?;
    }
    // 0 stays 0 however large the exponent; anything else overflows before the 39th digit.
    for _ in 0..shift.clamp(0, 39) {
        push(0)?;
    }
    Some(if token.starts_with(b"-") { -value } else { value })
}

/// A time from a number. `declared`: what the number counts is declared, and then it may have a fraction.
#[inline]
pub(super) fn time(cursor: &mut Cursor<'_>, epoch: &Epoch, declared: bool) -> Result<i64, Box<Fault>> {
    let start = cursor.pos;
    let count = match integer::<i64>(cursor) {
        Ok(count) => epoch.value(count),
        Err(fault) if !declared => return Err(fault),
        Err(_) => {
            cursor.pos = start;
            epoch.held(rounded_down(cursor, epoch.shift)?)
        }
    };
    count.map_err(|_| out_of_range())
}

/// The same from text, which must be written as a JSON number is.
pub(crate) fn time_from_text(text: &[u8], epoch: &Epoch, declared: bool) -> Result<i64, NoTime> {
    let mut cursor = Cursor::new(text);
    match time(&mut cursor, epoch, declared) {
        Ok(value) if cursor.pos == text.len() => Ok(value),
        Err(fault) if fault.is_out_of_range() => Err(NoTime::Range),
        _ => Err(NoTime::Form),
    }
}
