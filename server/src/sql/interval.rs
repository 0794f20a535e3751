//! `INTERVAL …` and the durations of options as exact lengths of time.

use std::time::Duration;

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr as PlannedExpr;
use datafusion::sql::sqlparser::ast::{DateTimeField, Expr, Interval, UnaryOperator, Value};

const NANOS_PER_DAY: i128 = 86_400_000_000_000;
const NANOS_PER_MICRO: i128 = 1_000;
/// From year 1 to 9999, the times that a row can have: no two of them lie further apart.
const DAYS_MAX: i64 = 3_652_059;
const MICROS_MAX: i64 = DAYS_MAX * 86_400_000_000;
/// Words for units of months, in lower case, as the parser of intervals knows them. It takes half a month for fifteen days and a
/// twentieth of a year for nothing, so what it makes of them is never looked at.
const MONTHS: [&str; 18] = [
    "mon",
    "mons",
    "month",
    "months",
    "y",
    "yr",
    "yrs",
    "year",
    "years",
    "dec",
    "decs",
    "decade",
    "decades",
    "c",
    "cent",
    "cents",
    "century",
    "centuries",
];
/// What to write for a bound in months.
pub(crate) const DAYS_HINT: &str = "write days, as in INTERVAL '30 days'";
const VARIES: &str = "must not have months or years, whose length varies; use days or shorter units";

/// The length of an `INTERVAL` literal, in any spelling DataFusion takes: `'5' SECOND`, `'5 seconds'`, `'1 minute 30 seconds'`.
///
/// Errors are texts that finish "the window size …"; the caller knows what the interval is for, and where it stands.
pub(crate) fn from_sql(expr: &Expr) -> Result<Duration, String> {
    not_negative(signed_from_sql(expr)?)
}

/// As [`from_sql`], with a sign: microseconds.
pub(crate) fn signed_from_sql(expr: &Expr) -> Result<i64, String> {
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr } = expr {
        return signed_from_sql(expr).map(|length| -length);
    }
    let Expr::Interval(interval) = expr else {
        return Err("must be an INTERVAL, as in INTERVAL '5 minutes'".to_owned());
    };
    if let Some(text) = in_words(interval) {
        return signed_from_text(&text?);
    }
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
        Some(unit) => signed_from_text(&format!("{amount} {unit}")),
        None => signed_from_text(&amount),
    }
}

/// `INTERVAL '1:30' MINUTE TO SECOND` as `1 minutes 30 seconds`; `None` for an interval of one field or none.
///
/// Errors finish a sentence, as those of [`from_sql`].
pub(crate) fn in_words(interval: &Interval) -> Option<Result<String, String>> {
    let last = interval.last_field.as_ref()?;
    let words = || {
        let text = amount_text(&interval.value)?;
        let (minus, text) = match text.trim().strip_prefix('-') {
            Some(text) => ("-", text),
            None => ("", text.trim()),
        };
        let fields = fields(interval.leading_field.as_ref()?, last)?;
        let numbers: Vec<&str> = text.split([' ', ':', '-']).collect();
        let whole = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let (last, before) = numbers.split_last()?;
        // A second alone has a fraction.
        let fits = numbers.len() == fields.len()
            && before.iter().all(|number| whole(number))
            && last.split_once('.').map_or(whole(last), |(number, fraction)| {
                fields.ends_with(&["seconds"]) && whole(number) && whole(fraction)
            });
        let words = fields.iter().zip(&numbers).map(|(field, number)| format!("{minus}{number} {field}"));
        fits.then(|| words.collect::<Vec<_>>().join(" "))
    };
    Some(words().ok_or_else(|| {
        format!(
            "cannot be read from '{}'; write its units, as in INTERVAL '1 minute 30 seconds'",
            interval.value.to_string().trim_matches('\'')
        )
    }))
}

/// From the leading field of an interval to its last, by their names; `None` for fields that are not of one row.
fn fields(leading: &DateTimeField, last: &DateTimeField) -> Option<&'static [&'static str]> {
    const OF_YEARS: [&str; 2] = ["years", "months"];
    const OF_DAYS: [&str; 4] = ["days", "hours", "minutes", "seconds"];
    let place = |field: &DateTimeField, names: &[&str]| {
        let field = field.to_string().to_lowercase();
        names.iter().position(|name| *name == field || name.strip_suffix('s') == Some(field.as_str()))
    };
    let of = |names: &'static [&'static str]| {
        let (from, to) = (place(leading, names)?, place(last, names)?);
        (from < to).then(|| &names[from..=to])
    };
    of(&OF_DAYS).or_else(|| of(&OF_YEARS))
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
    not_negative(signed_from_text(text)?)
}

fn signed_from_text(text: &str) -> Result<i64, String> {
    let example = "must be a number and a unit, as in '5 minutes'";
    let words: Vec<String> =
        text.split(|char: char| !char.is_alphabetic()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    if words.is_empty() {
        return Err(example.to_owned());
    }
    if words.iter().any(|word| MONTHS.contains(&word.as_str())) {
        return Err(VARIES.to_owned());
    }
    let config = IntervalParseConfig::new(IntervalUnit::Second);
    let parts = parse_interval_month_day_nano_config(text, config).map_err(|_| example.to_owned())?;
    from_parts(parts.months, parts.days, parts.nanoseconds)
}

/// Whether a planned expression moves a time by months, which have no fixed length.
pub(crate) fn has_months(expr: &PlannedExpr) -> bool {
    let is_of_months = |part: &PlannedExpr| match part {
        PlannedExpr::Literal(ScalarValue::IntervalMonthDayNano(Some(parts)), _) => parts.months != 0,
        PlannedExpr::Literal(ScalarValue::IntervalYearMonth(Some(months)), _) => *months != 0,
        _ => false,
    };
    expr.exists(|part| Ok(is_of_months(part))).unwrap_or(false)
}

/// The length of a literal that planning has already turned into a value. What was written with months may have none any more:
/// [`from_sql`] is to see it before.
pub(crate) fn from_scalar(value: &ScalarValue) -> Result<Duration, String> {
    not_negative(signed_from_scalar(value)?)
}

/// As [`from_scalar`], with a sign: microseconds.
pub(crate) fn signed_from_scalar(value: &ScalarValue) -> Result<i64, String> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(parts)) => from_parts(parts.months, parts.days, parts.nanoseconds),
        ScalarValue::IntervalDayTime(Some(parts)) => {
            from_parts(0, parts.days, i64::from(parts.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalYearMonth(Some(months)) => from_parts(*months, 0, 0),
        _ => Err("must be an INTERVAL, as in INTERVAL '5 minutes'".to_owned()),
    }
}

/// Microseconds, at most [`MICROS_MAX`] of them either way.
fn from_parts(months: i32, days: i32, nanos: i64) -> Result<i64, String> {
    if months != 0 {
        return Err(VARIES.to_owned());
    }
    let nanos = i128::from(days) * NANOS_PER_DAY + i128::from(nanos);
    if nanos % NANOS_PER_MICRO != 0 {
        return Err("must be whole microseconds".to_owned());
    }
    match i64::try_from(nanos / NANOS_PER_MICRO) {
        Ok(micros) if micros.unsigned_abs() <= MICROS_MAX.unsigned_abs() => Ok(micros),
        _ => Err(format!("is too long: at most {DAYS_MAX} days are possible")),
    }
}

fn not_negative(micros: i64) -> Result<Duration, String> {
    u64::try_from(micros).map(Duration::from_micros).map_err(|_| "must not be negative".to_owned())
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
            ("INTERVAL '0.5 days'", 43_200_000_000),
            ("INTERVAL '1.5 weeks'", 907_200_000_000),
            ("INTERVAL '1 day -1 hours'", 82_800_000_000),
            ("INTERVAL '3652059 days'", 3_652_059 * 86_400_000_000),
            ("INTERVAL '1:30' MINUTE TO SECOND", 90_000_000),
            ("INTERVAL '1:30.25' MINUTES TO SECONDS", 90_250_000),
            ("INTERVAL '2:00' HOUR TO MINUTE", 7_200_000_000),
            ("INTERVAL '1 02:03:04.5' DAY TO SECOND", 93_784_500_000),
            ("INTERVAL '1 12' DAY TO HOUR", 129_600_000_000),
        ];
        for (text, micros) in cases {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn an_offset_has_a_sign() {
        let signed = |text: &str| {
            let dialect = StreamDialect::default();
            let mut parser = Parser::new(&dialect).try_with_sql(text).expect("tokens");
            signed_from_sql(&parser.parse_expr().expect("an expression"))
        };
        for text in
            ["INTERVAL '-90 minutes'", "-INTERVAL '90' MINUTE", "INTERVAL -90 MINUTE", "INTERVAL '-1 hour -30 minutes'"]
        {
            assert_eq!(signed(text), Ok(-5_400_000_000), "{text}");
        }
        assert!(signed("-INTERVAL '0.5 months'").is_err());
    }

    #[test]
    fn lengths_that_vary_or_make_no_sense_are_refused() {
        for (text, want) in [
            ("INTERVAL '1' MONTH", "months or years"),
            ("INTERVAL '1 year 2 days'", "months or years"),
            // None of these has a month left when it has been parsed.
            ("INTERVAL '0.5 months'", "months or years"),
            ("INTERVAL '0.5' MONTH", "months or years"),
            ("INTERVAL '0.05 years'", "months or years"),
            ("INTERVAL '0.001' YEAR", "months or years"),
            ("INTERVAL '1 Month -1 mon 5 seconds'", "months or years"),
            ("INTERVAL '.01decades 1day'", "months or years"),
            ("INTERVAL '0 years'", "months or years"),
            ("INTERVAL '3652060 days'", "is too long: at most 3652059 days"),
            ("INTERVAL '-0.5 seconds'", "negative"),
            ("INTERVAL '1 day -25 hours'", "negative"),
            ("INTERVAL '-5 seconds'", "negative"),
            ("INTERVAL '5'", "a number and a unit"),
            ("INTERVAL 'soon'", "a number and a unit"),
            ("INTERVAL '100 nanoseconds'", "whole microseconds"),
            ("INTERVAL '2147483647 days 9000000000000000 seconds'", "a number and a unit"),
            ("INTERVAL '1:30' HOUR TO SECOND", "cannot be read from '1:30'; write its units"),
            ("INTERVAL '1.5:30' MINUTE TO SECOND", "cannot be read from"),
            ("INTERVAL '-1:30' MINUTE TO SECOND", "negative"),
            ("INTERVAL '1-2' YEAR TO MONTH", "months or years"),
            ("'5 minutes'", "must be an INTERVAL"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
