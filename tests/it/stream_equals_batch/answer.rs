//! Answers as values, and in what two of them differ: as multisets of rows, floating-point numbers with a tolerance.

use std::fmt;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use libtest_mimic::Failed;

/// Sums of the rows' fractions are exact in any order; what divides or takes roots is not.
const TOLERANCE: f64 = 1e-6;

const SHOWN_MAX: usize = 6;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i128),
    Float(f64),
    Text(String),
    /// Microseconds.
    Time(i64),
    List(Vec<Value>),
    Struct(Vec<(String, Value)>),
}

pub(super) type Answer = Vec<Vec<Value>>;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Whole(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(value) => write!(f, "{value:?}"),
            Value::Time(us) => write!(f, "@{:.6}", *us as f64 / 1e6),
            Value::List(values) => write!(f, "[{}]", line(values)),
            Value::Struct(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                write!(f, "{{{}}}", fields.join(", "))
            }
        }
    }
}

fn line(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

/// The rows of batches.
pub(super) fn answer(batches: &[RecordBatch]) -> Result<Answer, Failed> {
    let mut answer = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| values(column)).collect::<Result<Vec<_>, _>>()?;
        answer.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
    }
    Ok(answer)
}

fn values(column: &dyn Array) -> Result<Vec<Value>, Failed> {
    let each = |of: &dyn Fn(usize) -> Result<Value, Failed>| {
        (0..column.len()).map(|row| if column.is_null(row) { Ok(Value::Null) } else { of(row) }).collect()
    };
    match column.data_type() {
        DataType::Null => Ok(vec![Value::Null; column.len()]),
        DataType::Boolean => each(&|row| Ok(Value::Bool(column.as_boolean().value(row)))),
        data_type if data_type.is_integer() => {
            let column = cast(column, &DataType::Int64)?;
            each(&|row| Ok(Value::Whole(column.as_primitive::<Int64Type>().value(row).into())))
        }
        DataType::Decimal128(_, 0) => each(&|row| Ok(Value::Whole(column.as_primitive::<Decimal128Type>().value(row)))),
        data_type if data_type.is_floating() => {
            let column = cast(column, &DataType::Float64)?;
            each(&|row| Ok(Value::Float(column.as_primitive::<Float64Type>().value(row))))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let column = cast(column, &DataType::Utf8)?;
            each(&|row| Ok(Value::Text(column.as_string::<i32>().value(row).to_owned())))
        }
        DataType::Timestamp(..) => {
            let column = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            each(&|row| Ok(Value::Time(column.as_primitive::<TimestampMicrosecondType>().value(row))))
        }
        DataType::List(_) => each(&|row| Ok(Value::List(values(&column.as_list::<i32>().value(row))?))),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns().iter().map(|column| values(column));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            each(&|row| {
                let named = fields.iter().zip(&columns);
                Ok(Value::Struct(named.map(|(field, column)| (field.name().clone(), column[row].clone())).collect()))
            })
        }
        other => Err(format!("no value is made of {other}").into()),
    }
}

/// In what two answers differ; `None` where they do not. The names say whose each is.
pub(super) fn difference(expected: &Answer, found: &Answer, names: [&str; 2]) -> Option<String> {
    let (expected, found) = (sorted(expected), sorted(found));
    let pairs = expected.len() == found.len();
    if pairs && expected.iter().zip(&found).all(|(one, other)| rows_alike(one, other)) {
        return None;
    }
    let only = |rows: &Answer, others: &Answer| {
        let mut others = others.clone();
        let mut left = Vec::new();
        for row in rows {
            match others.iter().position(|other| rows_alike(row, other)) {
                Some(at) => drop(others.remove(at)),
                None => left.push(line(row)),
            }
        }
        left
    };
    let (missing, surplus) = (only(&expected, &found), only(&found, &expected));
    // Rows that sorted differently for the last digit of a number may still be the same.
    if missing.is_empty() && surplus.is_empty() {
        return None;
    }
    let shown = |name: &str, count: usize, rows: &[String]| {
        let more = if rows.len() > SHOWN_MAX { "\n    …" } else { "" };
        let some = rows.iter().take(SHOWN_MAX).map(|row| format!("\n    {row}")).collect::<String>();
        format!("{count} rows in {name}, of which it alone has {}:{some}{more}", rows.len())
    };
    Some([shown(names[0], expected.len(), &missing), shown(names[1], found.len(), &surplus)].join("\n"))
}

fn sorted(answer: &Answer) -> Answer {
    let mut rows: Vec<(String, &Vec<Value>)> = answer.iter().map(|row| (sort_key(row), row)).collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows.into_iter().map(|(_, row)| row.clone()).collect()
}

/// Numbers with a fraction come last and coarsely: they are what may differ in the last digit.
fn sort_key(row: &[Value]) -> String {
    let is_float = |value: &&Value| matches!(value, Value::Float(value) if value.fract() != 0.0);
    let exact = row.iter().filter(|value| !is_float(value)).map(|value| match value {
        Value::Float(value) => format!("{value}"),
        value => value.to_string(),
    });
    let coarse = row.iter().filter(is_float).map(|value| match value {
        Value::Float(value) => format!("{value:.3e}"),
        _ => String::new(),
    });
    exact.chain(coarse).collect::<Vec<_>>().join("\u{1}")
}

fn rows_alike(one: &[Value], other: &[Value]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
}

fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Float(one), Value::Float(other)) => close(*one, *other),
        // What is a whole number in one engine may be a fraction in the other.
        (Value::Float(float), Value::Whole(whole)) | (Value::Whole(whole), Value::Float(float)) => {
            close(*float, *whole as f64)
        }
        (Value::List(one), Value::List(other)) => rows_alike(one, other),
        (Value::Struct(one), Value::Struct(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, one), (other_name, other))| name == other_name && alike(one, other))
        }
        (one, other) => one == other,
    }
}

fn close(one: f64, other: f64) -> bool {
    let same = one == other || (one.is_nan() && other.is_nan());
    same || (one - other).abs() <= TOLERANCE * one.abs().max(other.abs()).max(1.0)
}
