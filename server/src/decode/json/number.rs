//! Numbers, exact: integers and decimals never pass through a float, floats are the nearest to what is written.

use super::fault::Fault;
use super::scan::{Cursor, Number};

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

const OUT_OF_RANGE: Fault = Fault::Mismatch(Some("out of range"));

/// An integer, also as `67.0` or `1e3`, where its value is a whole number.
#[inline]
pub(super) fn integer<T: TryFrom<i128>>(cursor: &mut Cursor<'_>) -> Result<T, Fault> {
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
    T::try_from(value).map_err(|_| OUT_OF_RANGE)
}

#[cold]
fn whole(cursor: &mut Cursor<'_>) -> Result<i128, Fault> {
    let number = token(cursor)?;
    exact(&cursor.bytes[number.start..number.end], number.exponent, 0).map_err(|inexact| match inexact {
        Inexact::Fraction => Fault::Mismatch(Some("not a whole number")),
        Inexact::TooLarge => OUT_OF_RANGE,
    })
}

#[inline]
fn token(cursor: &mut Cursor<'_>) -> Result<Number, Fault> {
    match cursor.peek() {
        b'-' | b'0'..=b'9' => cursor.number(),
        _ => Err(Fault::Mismatch(None)),
    }
}

/// # Errors
/// A mismatch for what is no number or lies beyond the largest double.
#[inline]
pub(super) fn double(cursor: &mut Cursor<'_>) -> Result<f64, Fault> {
    let number = token(cursor)?;
    // Mantissa and power are both exact, so one rounding is all there is (Clinger, 1990).
    if number.digits <= 19 && number.mantissa <= 1 << 53 && number.exponent.unsigned_abs() < POWERS.len() as u64 {
        let power = POWERS[number.exponent.unsigned_abs() as usize];
        let mantissa = number.mantissa as f64;
        let value = if number.exponent < 0 { mantissa / power } else { mantissa * power };
        return Ok(if number.negative { -value } else { value });
    }
    parsed::<f64>(cursor, number).filter(|value| value.is_finite()).ok_or(OUT_OF_RANGE)
}

#[inline]
pub(super) fn single(cursor: &mut Cursor<'_>) -> Result<f32, Fault> {
    let number = token(cursor)?;
    if number.digits <= 19 && number.mantissa <= 1 << 24 && number.exponent.unsigned_abs() <= 10 {
        let power = POWERS[number.exponent.unsigned_abs() as usize] as f32;
        let mantissa = number.mantissa as f32;
        let value = if number.exponent < 0 { mantissa / power } else { mantissa * power };
        return Ok(if number.negative { -value } else { value });
    }
    parsed::<f32>(cursor, number).filter(|value| value.is_finite()).ok_or(OUT_OF_RANGE)
}

#[cold]
fn parsed<T: std::str::FromStr>(cursor: &Cursor<'_>, number: Number) -> Option<T> {
    std::str::from_utf8(&cursor.bytes[number.start..number.end]).ok()?.parse().ok()
}

/// A decimal of `precision` digits, `scale` of them after the point, from a JSON number.
pub(super) fn decimal(cursor: &mut Cursor<'_>, precision: u8, scale: i8) -> Result<i128, Fault> {
    let number = token(cursor)?;
    fit(exact(&cursor.bytes[number.start..number.end], number.exponent, scale), precision)
}

/// The same from the text of a string, which must be written as a JSON number is.
pub(super) fn decimal_from_text(text: &[u8], precision: u8, scale: i8) -> Result<i128, Fault> {
    let mut cursor = Cursor::new(text);
    match token(&mut cursor) {
        Ok(number) if number.end == text.len() => fit(exact(text, number.exponent, scale), precision),
        _ => Err(Fault::Mismatch(None)),
    }
}

fn fit(value: Result<i128, Inexact>, precision: u8) -> Result<i128, Fault> {
    match value {
        Ok(value) if value.unsigned_abs() < 10u128.pow(u32::from(precision.min(38))) => Ok(value),
        Ok(_) | Err(Inexact::TooLarge) => Err(OUT_OF_RANGE),
        Err(Inexact::Fraction) => Err(Fault::Mismatch(Some("with too many digits after the point"))),
    }
}

enum Inexact {
    /// Digits other than 0 would be lost.
    Fraction,
    TooLarge,
}

/// `token`, a sound JSON number, times 10^`scale`. `exponent`: of the digits read as one integer.
fn exact(token: &[u8], exponent: i64, scale: i8) -> Result<i128, Inexact> {
    let digits = || {
        let end = token.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(token.len());
        token[..end].iter().filter(|byte| byte.is_ascii_digit())
    };
    let shift = exponent + i64::from(scale);
    let dropped = usize::try_from(-shift).unwrap_or(0);
    let kept = digits().count().saturating_sub(dropped);
    if digits().skip(kept).any(|digit| *digit != b'0') {
        return Err(Inexact::Fraction);
    }
    let mut value = 0i128;
    let mut push = |digit: u8| {
        value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        Some(value)
    };
    for digit in digits().take(kept) {
        push(digit - b'0').ok_or(Inexact::TooLarge)?;
    }
    // 0 stays 0 however large the exponent; anything else overflows before the 39th digit.
    for _ in 0..shift.clamp(0, 39) {
        push(0).ok_or(Inexact::TooLarge)?;
    }
    Ok(if token.starts_with(b"-") { -value } else { value })
}
