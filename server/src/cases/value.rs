//! Values of results, how they are written in a test, and whether what is written is meant.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DecimalType, Float64Type, Int64Type, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow::util::display::array_value_to_string;
use serde_json::Value as Json;

use super::script::Cell;
use crate::clock::Micros;
use crate::decode::time::{date, time_of_day, timestamp};
use crate::error::Result;

/// Sums of fractions depend on the order of their rows in the last digits.
const TOLERANCE: f64 = 1e-9;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// Stands for any text, and for the digits that follow.
const ANYTHING: char = '…';

/// The day of times without a date: days since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Day(i32);

impl Day {
    pub(super) fn parse(text: &str) -> Option<Self> {
        date(text.as_bytes()).map(Day)
    }

    /// `15:00:05` of this day, `2026-01-10 15:00:05` or RFC 3339, in nanoseconds since the Unix epoch.
    pub(super) fn time(self, text: &str) -> Option<i128> {
        if let Some(nanos) = time_of_day(text.as_bytes(), TimeUnit::Nanosecond) {
            return Some(i128::from(self.0) * NANOS_PER_DAY + i128::from(nanos));
        }
        let exact = timestamp(text.as_bytes(), TimeUnit::Nanosecond).map(i128::from);
        // Nanoseconds do not reach to all years.
        exact.or_else(|_| timestamp(text.as_bytes(), TimeUnit::Microsecond).map(|us| i128::from(us) * 1_000)).ok()
    }

    pub(super) fn micros(self, text: &str) -> Option<Micros> {
        self.time(text).and_then(|nanos| Micros::try_from(nanos.div_euclid(1_000)).ok())
    }

    /// As [`Day::time`] reads it again, without a date where it is this day's.
    pub(super) fn shown(self, nanos: i128) -> String {
        let (day, of_day) = (nanos.div_euclid(NANOS_PER_DAY), nanos.rem_euclid(NANOS_PER_DAY));
        let clock = clock(of_day);
        if day == i128::from(self.0) { clock } else { format!("{} {clock}", date_text(day)) }
    }
}

fn date_text(days: i128) -> String {
    let shown = i64::try_from(days).ok().and_then(|days| {
        let date = chrono::DateTime::from_timestamp(days.checked_mul(86_400)?, 0)?;
        Some(date.format("%Y-%m-%d").to_string())
    });
    shown.unwrap_or_else(|| format!("day {days}"))
}

/// `15:00:05.25`
fn clock(nanos: i128) -> String {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        text += format!(".{fraction:09}").trim_end_matches('0');
    }
    text
}

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i128),
    /// Without zeros at its end.
    Decimal(String),
    Float(f64),
    Text(String),
    /// Nanoseconds since the Unix epoch.
    Time(i128),
    /// Days since the Unix epoch.
    Date(i32),
    /// Nanoseconds since midnight.
    Clock(i64),
    List(Vec<Value>),
    Struct(Vec<(String, Value)>),
}

/// The values of a column.
///
/// # Errors
/// Arrow's, for a value that has no text.
pub(super) fn values(column: &dyn Array) -> Result<Vec<Value>> {
    let each = |of: &dyn Fn(usize) -> Result<Value>| {
        (0..column.len()).map(|row| if column.is_null(row) { Ok(Value::Null) } else { of(row) }).collect()
    };
    match column.data_type() {
        DataType::Null => Ok(vec![Value::Null; column.len()]),
        DataType::Boolean => each(&|row| Ok(Value::Bool(column.as_boolean().value(row)))),
        DataType::UInt64 => each(&|row| Ok(Value::Whole(column.as_primitive::<UInt64Type>().value(row).into()))),
        data_type if data_type.is_integer() => {
            let column = cast(column, &DataType::Int64)?;
            each(&|row| Ok(Value::Whole(column.as_primitive::<Int64Type>().value(row).into())))
        }
        DataType::Decimal128(_, 0) => each(&|row| Ok(Value::Whole(column.as_primitive::<Decimal128Type>().value(row)))),
        DataType::Decimal128(precision, scale) => each(&|row| {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            Ok(Value::Decimal(trimmed(&Decimal128Type::format_decimal(value, *precision, *scale)).to_owned()))
        }),
        data_type if data_type.is_floating() => {
            let column = cast(column, &DataType::Float64)?;
            each(&|row| Ok(Value::Float(column.as_primitive::<Float64Type>().value(row))))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let column = cast(column, &DataType::Utf8)?;
            each(&|row| Ok(Value::Text(column.as_string::<i32>().value(row).to_owned())))
        }
        DataType::Timestamp(unit, _) => each(&|row| Ok(Value::Time(nanos(column, *unit, row)))),
        DataType::Date32 => each(&|row| Ok(Value::Date(column.as_primitive::<Date32Type>().value(row)))),
        DataType::Time32(_) | DataType::Time64(_) => {
            let column = cast(column, &DataType::Time64(TimeUnit::Nanosecond))?;
            each(&|row| Ok(Value::Clock(column.as_primitive::<Time64NanosecondType>().value(row))))
        }
        DataType::List(_) => each(&|row| Ok(Value::List(values(&column.as_list::<i32>().value(row))?))),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns().iter().map(|column| values(column));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            each(&|row| {
                let named = fields.iter().zip(&columns);
                Ok(Value::Struct(named.map(|(field, column)| (field.name().clone(), column[row].clone())).collect()))
            })
        }
        _ => each(&|row| Ok(Value::Text(array_value_to_string(column, row)?))),
    }
}

fn nanos(column: &dyn Array, unit: TimeUnit, row: usize) -> i128 {
    match unit {
        TimeUnit::Second => i128::from(column.as_primitive::<TimestampSecondType>().value(row)) * 1_000_000_000,
        TimeUnit::Millisecond => i128::from(column.as_primitive::<TimestampMillisecondType>().value(row)) * 1_000_000,
        TimeUnit::Microsecond => i128::from(column.as_primitive::<TimestampMicrosecondType>().value(row)) * 1_000,
        TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().value(row).into(),
    }
}

/// A decimal number without zeros at its end.
fn trimmed(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

impl Value {
    /// What a JSON object says under a name; NULL where it says nothing.
    pub(super) fn of_json(value: Option<&Json>) -> Self {
        match value {
            None | Some(Json::Null) => Value::Null,
            Some(Json::Bool(value)) => Value::Bool(*value),
            Some(Json::Number(number)) => match number.as_i64() {
                Some(whole) => Value::Whole(whole.into()),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Some(Json::String(text)) => Value::Text(text.clone()),
            Some(Json::Array(list)) => Value::List(list.iter().map(|value| Value::of_json(Some(value))).collect()),
            Some(Json::Object(fields)) => {
                Value::Struct(fields.iter().map(|(name, value)| (name.clone(), Value::of_json(Some(value)))).collect())
            }
        }
    }

    /// As a cell that [`Cell::means`] this value.
    pub(super) fn shown(&self, day: Day) -> String {
        match self {
            Value::Text(text) => match needs_quotes(text) {
                true => format!("'{}'", text.replace('\'', "''")),
                false => text.clone(),
            },
            Value::List(_) | Value::Struct(_) => self.shown_inside(day),
            Value::Null => "NULL".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Whole(value) => value.to_string(),
            Value::Decimal(text) => text.clone(),
            Value::Float(value) => format!("{value:?}"),
            Value::Time(nanos) => day.shown(*nanos),
            Value::Date(days) => date_text((*days).into()),
            Value::Clock(nanos) => clock((*nanos).into()),
        }
    }

    /// As JSON, within a list or struct.
    fn shown_inside(&self, day: Day) -> String {
        match self {
            Value::Null => "null".to_owned(),
            Value::Text(text) => Json::String(text.clone()).to_string(),
            Value::List(values) => {
                format!("[{}]", values.iter().map(|value| value.shown_inside(day)).collect::<Vec<_>>().join(", "))
            }
            Value::Struct(fields) => {
                let field = |(name, value): &(String, Value)| {
                    format!("{}: {}", Json::String(name.clone()), value.shown_inside(day))
                };
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
            Value::Time(_) | Value::Date(_) | Value::Clock(_) => format!("\"{}\"", self.shown(day)),
            other => other.shown(day),
        }
    }
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text == "NULL"
        || text != text.trim()
        || text.starts_with('\'')
        || text.contains(['|', '\n', ANYTHING])
}

impl Cell {
    /// Whether this is how `value` can be written.
    pub(super) fn means(&self, value: &Value, day: Day) -> bool {
        match (self, value) {
            (Cell::Null, value) => *value == Value::Null,
            (_, Value::Null) => false,
            (Cell::Quoted(text), Value::Text(value)) => text == value,
            (Cell::Bare(text) | Cell::Quoted(text), value) => means(text, value, day),
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Cell::Null => "NULL".to_owned(),
            Cell::Bare(text) => text.clone(),
            Cell::Quoted(text) => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// Whether a part of it stands for anything.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Cell::Bare(text) if text.contains(ANYTHING))
    }
}

fn means(text: &str, value: &Value, day: Day) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => text == value.to_string(),
        Value::Whole(value) => text.parse() == Ok(*value),
        Value::Decimal(value) => match text.strip_suffix(ANYTHING) {
            Some(begin) => value.starts_with(begin),
            None => trimmed(text) == value,
        },
        Value::Float(value) => means_number(text, *value),
        // Of a ledger's row a time is a text, too.
        Value::Text(value) => fits(text, value) || day.time(text).is_some_and(|time| day.time(value) == Some(time)),
        Value::Time(nanos) => day.time(text) == Some(*nanos),
        Value::Date(days) => date(text.as_bytes()) == Some(*days),
        Value::Clock(nanos) => time_of_day(text.as_bytes(), TimeUnit::Nanosecond) == Some(*nanos),
        Value::List(_) | Value::Struct(_) => {
            serde_json::from_str::<Json>(text).is_ok_and(|json| means_json(&json, value, day))
        }
    }
}

fn means_json(json: &Json, value: &Value, day: Day) -> bool {
    match (json, value) {
        (Json::Null, value) => *value == Value::Null,
        (Json::String(text), Value::Text(value)) => text == value,
        (Json::String(text), Value::Time(_) | Value::Date(_) | Value::Clock(_)) => means(text, value, day),
        (Json::Bool(_) | Json::Number(_), Value::Bool(_) | Value::Whole(_) | Value::Decimal(_) | Value::Float(_)) => {
            means(&json.to_string(), value, day)
        }
        // JSON has no number for these.
        (Json::String(text), Value::Float(value)) => !value.is_finite() && means_number(text, *value),
        (Json::Array(list), Value::List(values)) => {
            list.len() == values.len() && list.iter().zip(values).all(|(json, value)| means_json(json, value, day))
        }
        (Json::Object(fields), Value::Struct(values)) => {
            let named =
                |(name, value): &(String, Value)| fields.get(name).is_some_and(|json| means_json(json, value, day));
            fields.len() == values.len() && values.iter().all(named)
        }
        _ => false,
    }
}

fn means_number(text: &str, value: f64) -> bool {
    if let Some(begin) = text.strip_suffix(ANYTHING) {
        let decimals = begin.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let unit = 10_f64.powi(-i32::try_from(decimals).unwrap_or(i32::MAX));
        return begin
            .parse()
            .is_ok_and(|begin: f64| (value.abs() - begin.abs()) / unit < 1.0 && close_below(begin, value));
    }
    let Ok(number) = text.parse::<f64>() else { return false };
    number == value
        || (number.is_nan() && value.is_nan())
        || (number - value).abs() <= TOLERANCE * number.abs().max(value.abs())
}

/// Whether digits can follow `begin` to make `value`.
fn close_below(begin: f64, value: f64) -> bool {
    (begin.is_sign_negative() == value.is_sign_negative()) && value.abs() >= begin.abs()
}

/// Whether a text is one in which each `…` may stand for anything.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split(ANYTHING);
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> Cell {
        Cell::Bare(text.to_owned())
    }

    #[test]
    fn a_value_is_written_as_it_is_shown() {
        let day = Day::parse("2026-01-10").unwrap();
        let noon = day.time("12:00").unwrap();
        for (value, shown) in [
            (Value::Null, "NULL"),
            (Value::Text("NULL".into()), "'NULL'"),
            (Value::Text(String::new()), "''"),
            (Value::Text("it's".into()), "it's"),
            (Value::Text("a|b".into()), "'a|b'"),
            (Value::Whole(-7), "-7"),
            (Value::Decimal("1.5".into()), "1.5"),
            (Value::Float(2.0), "2.0"),
            (Value::Float(f64::NAN), "NaN"),
            (Value::Time(noon), "12:00:00"),
            (Value::Time(noon + 250_000_000), "12:00:00.25"),
            (Value::Time(noon - NANOS_PER_DAY), "2026-01-09 12:00:00"),
            (Value::Time(-1), "1969-12-31 23:59:59.999999999"),
            (Value::Date(0), "1970-01-01"),
            (Value::Clock(3_600_000_000_000), "01:00:00"),
            (Value::List(vec![Value::Text("a".into()), Value::Null]), r#"["a", null]"#),
            (Value::Struct(vec![("start".into(), Value::Time(noon))]), r#"{"start": "12:00:00"}"#),
        ] {
            assert_eq!(value.shown(day), shown);
            let cell = match (shown, shown.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))) {
                ("NULL", _) => Cell::Null,
                (_, Some(quoted)) => Cell::Quoted(quoted.to_owned()),
                _ => bare(shown),
            };
            assert!(cell.means(&value, day), "{shown}");
            for other in [Value::Null, Value::Text("other".into()), Value::Whole(3), Value::Float(0.5), Value::Time(7)]
            {
                assert!(other == value || !cell.means(&other, day), "{shown} means {other:?}");
            }
        }
    }

    #[test]
    fn dots_stand_for_what_is_left_out() {
        let day = Day::default();
        let third = Value::Float(1.0 / 3.0);
        assert!(bare("0.333…").means(&third, day) && bare("0.3…").means(&third, day));
        assert!(
            !bare("0.334…").means(&third, day) && !bare("0.333").means(&third, day) && !bare("0.2…").means(&third, day)
        );
        assert!(
            bare("-0.333…").means(&Value::Float(-1.0 / 3.0), day)
                && !bare("0.333…").means(&Value::Float(-1.0 / 3.0), day)
        );
        assert!(bare("0.33…").means(&Value::Decimal("0.3333".into()), day));
        for (pattern, text, fit) in [
            ("a…c", "abc", true),
            ("a…c", "ac", true),
            ("…b…", "abc", true),
            ("a…", "abc", true),
            ("…", "", true),
            ("a…b…c", "acbc", true),
            ("a…c", "abcd", false),
            ("a…b…b", "ab", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }

    #[test]
    fn sums_of_fractions_may_differ_in_their_last_digits_and_nowhere_else() {
        let day = Day::default();
        assert!(bare("0.3").means(&Value::Float(0.1 + 0.2), day));
        assert!(!bare("0.3").means(&Value::Float(0.300_001), day));
        assert!(bare("1.50").means(&Value::Decimal("1.5".into()), day));
        assert!(!bare("1.5").means(&Value::Text("1.50".into()), day));
    }
}
