//! `INTERVAL …` and the durations of options as exact lengths of time.

use std::time::Duration;

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Interval, UnaryOperator, Value};

const NANOS_PER_DAY: i128 = 86_400_000_000_000;
const NANOS_PER_MICRO: i128 = 1_000;

/// The length of an `INTERVAL` literal, in any spelling DataFusion takes: `'5' SECOND`, `'5 seconds'`, `'1 minute 30 seconds'`.
///
/// Errors are texts that finish "the window size …"; the caller knows what the interval is for, and where it stands.
pub(crate) fn from_sql(expr: &Expr) -> Result<Duration, String> {
    let Expr::Interval(interval) = expr else {
        return Err("must be an INTERVAL, as in INTERVAL '5 minutes'".to_owned());
    };
    let Interval {
        value,
        leading_field,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    } = interval
    else {
        return Err("must have one unit, as in INTERVAL '90' SECOND or INTERVAL '1 minute 30 seconds'".to_owned());
    };
    let amount = amount_text(value).ok_or("must be an INTERVAL of a literal, as in INTERVAL '5 minutes'")?;
    match leading_field {
        Some(unit) => from_text(&format!("{amount} {unit}")),
        None => from_text(&amount),
    }
}

fn amount_text(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) => Some(format!("-{text}")),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The length of `10 seconds`, `1 minute 30 seconds`, `500ms`.
pub(crate) fn from_text(text: &str) -> Result<Duration, String> {
    let example = "must be a number and a unit, as in '5 minutes'";
    if !text.chars().any(char::is_alphabetic) {
        return Err(example.to_owned());
    }
    let config = IntervalParseConfig::new(IntervalUnit::Second);
    let parts = parse_interval_month_day_nano_config(text, config).map_err(|_| example.to_owned())?;
    from_parts(parts.months, parts.days, parts.nanoseconds)
}

/// The length of a literal that planning has already turned into a value.
pub(crate) fn from_scalar(value: &ScalarValue) -> Result<Duration, String> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(parts)) => from_parts(parts.months, parts.days, parts.nanoseconds),
        ScalarValue::IntervalDayTime(Some(parts)) => {
            from_parts(0, parts.days, i64::from(parts.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalYearMonth(Some(months)) => from_parts(*months, 0, 0),
        _ => Err("must be an INTERVAL, as in INTERVAL '5 minutes'".to_owned()),
    }
}

fn from_parts(months: i32, days: i32, nanos: i64) -> Result<Duration, String> {
    if months != 0 {
        return Err("must not have months or years, whose length varies; use days or shorter units".to_owned());
    }
    let nanos = i128::from(days) * NANOS_PER_DAY + i128::from(nanos);
    if nanos < 0 {
        return Err("must not be negative".to_owned());
    }
    if nanos % NANOS_PER_MICRO != 0 {
        return Err("must be whole microseconds".to_owned());
    }
    let micros = nanos / NANOS_PER_MICRO;
    match u64::try_from(micros) {
        Ok(whole) if i64::try_from(whole).is_ok() => Ok(Duration::from_micros(whole)),
        _ => Err("is too long".to_owned()),
    }
}

/// A length of time as people write it.
pub(crate) fn shown(us: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ];
    let (size, unit) = UNITS.into_iter().find(|(size, _)| us % size == 0).unwrap_or((1, "microsecond"));
    let count = us / size;
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::sql::dialect::StreamDialect;

    fn parse(text: &str) -> Result<Duration, String> {
        let dialect = StreamDialect::default();
        let mut parser = Parser::new(&dialect).try_with_sql(text).expect("tokens");
        from_sql(&parser.parse_expr().expect("an expression"))
    }

    #[test]
    fn every_spelling_of_a_length_is_exact() {
        let cases = [
            ("INTERVAL '5' SECOND", 5_000_000),
            ("INTERVAL '5 seconds'", 5_000_000),
            ("INTERVAL '1' MINUTE", 60_000_000),
            ("INTERVAL 1 HOUR", 3_600_000_000),
            ("INTERVAL '1 minute 30 seconds'", 90_000_000),
            ("INTERVAL '2 days'", 172_800_000_000),
            ("INTERVAL '1.5 seconds'", 1_500_000),
            ("INTERVAL '250 milliseconds'", 250_000),
            ("INTERVAL '0' SECOND", 0),
        ];
        for (text, micros) in cases {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn lengths_that_vary_or_make_no_sense_are_refused() {
        for (text, want) in [
            ("INTERVAL '1' MONTH", "months or years"),
            ("INTERVAL '1 year 2 days'", "months or years"),
            ("INTERVAL '-5 seconds'", "negative"),
            ("INTERVAL '5'", "a number and a unit"),
            ("INTERVAL 'soon'", "a number and a unit"),
            ("INTERVAL '100 nanoseconds'", "whole microseconds"),
            ("INTERVAL '2147483647 days 9000000000000000 seconds'", "a number and a unit"),
            ("INTERVAL '1:30' MINUTE TO SECOND", "one unit"),
            ("'5 minutes'", "must be an INTERVAL"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
