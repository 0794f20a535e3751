//! Rows as `COPY … FROM STDIN` text: one line a row, columns separated by tabs.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalUnit, IntervalYearMonthType, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::json::writer::{EncoderOptions, make_encoder};
use arrow::record_batch::RecordBatch;

use super::ddl::{civil, day_of, is_scalar, micros_per_unit};
use crate::clock::DAY_MICROS;
use crate::error::{Error, Result};

/// Writes the raw text of a value that is not null, before any escaping.
type RawWriter = Box<dyn FnMut(usize, &mut Vec<u8>) -> Result<()> + Send>;

/// Text of one column, and whether it can contain characters that `COPY` reads as syntax.
struct ColumnWriter {
    array: ArrayRef,
    write: RawWriter,
    escape: bool,
}

/// Writes the rows of one batch.
pub(crate) struct RowWriter {
    columns: Vec<ColumnWriter>,
    scratch: Vec<u8>,
}

impl RowWriter {
    /// # Errors
    /// `Invalid` for a type that has no text form (see `ddl::postgres_type`).
    pub(crate) fn try_new(batch: &RecordBatch) -> Result<Self> {
        let columns = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| ColumnWriter::try_new(field, array))
            .collect::<Result<_>>()?;
        Ok(RowWriter { columns, scratch: Vec::new() })
    }

    /// The raw texts of a column's values, for a `text[]` parameter.
    pub(crate) fn texts(&mut self, column: usize, rows: &[usize], out: &mut Vec<Option<String>>) -> Result<()> {
        let column = &mut self.columns[column];
        for &row in rows {
            out.push(if column.array.is_null(row) {
                None
            } else {
                let mut text = Vec::new();
                (column.write)(row, &mut text)?;
                Some(
                    String::from_utf8(text)
                        .map_err(|error| Error::bug("a value's text is not UTF-8").caused_by(error))?,
                )
            });
        }
        Ok(())
    }

    /// Appends row `row` as a line; `number`, where given, is one more column at its end.
    pub(crate) fn write(&mut self, row: usize, number: Option<u64>, out: &mut Vec<u8>) -> Result<()> {
        for (at, column) in self.columns.iter_mut().enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            if column.array.is_null(row) {
                out.extend_from_slice(b"\\N");
            } else if column.escape {
                self.scratch.clear();
                (column.write)(row, &mut self.scratch)?;
                escape_copy(&self.scratch, out);
            } else {
                (column.write)(row, out)?;
            }
        }
        if let Some(number) = number {
            out.push(b'\t');
            out.extend_from_slice(number.to_string().as_bytes());
        }
        out.push(b'\n');
        Ok(())
    }
}

impl ColumnWriter {
    fn try_new(field: &FieldRef, array: &ArrayRef) -> Result<Self> {
        if let DataType::Dictionary(_, values) = array.data_type() {
            let plain = cast(array, values)?;
            let field = Field::new(field.name(), values.as_ref().clone(), field.is_nullable());
            return ColumnWriter::try_new(&field.into(), &plain);
        }
        let (write, escape) = match array.data_type() {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                if is_scalar(item.data_type()) =>
            {
                (list_writer(item, array)?, true)
            }
            other if is_scalar(other) => scalar_writer(array)?,
            _ => (json_writer(field, array)?, true),
        };
        Ok(ColumnWriter { array: ArrayRef::clone(array), write, escape })
    }
}

/// What `COPY` would read as syntax. NUL does not exist in Postgres text; see `push_text`.
fn escape_copy(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Postgres text cannot hold U+0000. One such character in somebody's comment must not stop the table, so it becomes U+FFFD. A row with one in
/// its key does not come here: see `refuse::altered_keys`.
fn push_text(text: &str, out: &mut Vec<u8>) {
    if text.as_bytes().contains(&0) {
        out.extend_from_slice(text.replace('\0', "\u{FFFD}").as_bytes());
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

fn scalar_writer(array: &ArrayRef) -> Result<(RawWriter, bool)> {
    macro_rules! display {
        ($type:ty) => {{
            let array = array.as_primitive::<$type>().clone();
            (boxed(move |row, out| push_display(array.value(row), out)), false)
        }};
    }
    macro_rules! float {
        ($type:ty, $as:expr) => {{
            let array = array.as_primitive::<$type>().clone();
            (boxed(move |row, out| push_float($as(array.value(row)), out)), false)
        }};
    }
    macro_rules! text {
        ($array:expr) => {{
            let array = $array.clone();
            (boxed(move |row, out| push_text(array.value(row), out)), true)
        }};
    }
    macro_rules! bytes {
        ($array:expr) => {{
            let array = $array.clone();
            (boxed(move |row, out| push_bytea(array.value(row), out)), true)
        }};
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let array: BooleanArray = array.as_boolean().clone();
            (boxed(move |row, out| out.push(if array.value(row) { b't' } else { b'f' })), false)
        }
        DataType::Int8 => display!(Int8Type),
        DataType::Int16 => display!(Int16Type),
        DataType::Int32 => display!(Int32Type),
        DataType::Int64 => display!(Int64Type),
        DataType::UInt8 => display!(UInt8Type),
        DataType::UInt16 => display!(UInt16Type),
        DataType::UInt32 => display!(UInt32Type),
        DataType::UInt64 => display!(UInt64Type),
        // A `real` is written as its own shortest text: widened first, 0.1 would arrive as 0.10000000149011612.
        DataType::Float16 => float!(Float16Type, f32::from),
        DataType::Float32 => float!(Float32Type, std::convert::identity::<f32>),
        DataType::Float64 => float!(Float64Type, std::convert::identity::<f64>),
        DataType::Decimal32(..) => decimal_writer::<Decimal32Type>(array),
        DataType::Decimal64(..) => decimal_writer::<Decimal64Type>(array),
        DataType::Decimal128(..) => decimal_writer::<Decimal128Type>(array),
        DataType::Decimal256(..) => decimal_writer::<Decimal256Type>(array),
        DataType::Utf8 => text!(array.as_string::<i32>()),
        DataType::LargeUtf8 => text!(array.as_string::<i64>()),
        DataType::Utf8View => text!(array.as_string_view()),
        DataType::Binary => bytes!(array.as_binary::<i32>()),
        DataType::LargeBinary => bytes!(array.as_binary::<i64>()),
        DataType::BinaryView => bytes!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary()),
        DataType::Null => (boxed(|_, _| {}), false),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => (moment_writer(array)?, false),
        DataType::Time32(unit) | DataType::Time64(unit) => {
            let micros = ticks(array, unit)?;
            (boxed(move |row, out| push_time(micros(row), out)), false)
        }
        DataType::Duration(unit) => {
            let micros = ticks(array, unit)?;
            (boxed(move |row, out| push_micros_interval(micros(row), out)), false)
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let array = array.as_primitive::<IntervalYearMonthType>().clone();
            let write =
                move |row: usize, out: &mut Vec<u8>| push_display(format_args!("{} mons", array.value(row)), out);
            (boxed(write), false)
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let array = array.as_primitive::<IntervalDayTimeType>().clone();
            let write = move |row: usize, out: &mut Vec<u8>| {
                let value = array.value(row);
                push_display(format_args!("{} days ", value.days), out);
                push_micros_interval(i64::from(value.milliseconds) * 1_000, out);
            };
            (boxed(write), false)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>().clone();
            let write = move |row: usize, out: &mut Vec<u8>| {
                let value = array.value(row);
                push_display(format_args!("{} mons {} days ", value.months, value.days), out);
                push_micros_interval(value.nanoseconds.div_euclid(1_000), out);
            };
            (boxed(write), false)
        }
        other => return Err(Error::invalid(format!("values of type {other} cannot be written to Postgres"))),
    })
}

fn boxed(mut write: impl FnMut(usize, &mut Vec<u8>) + Send + 'static) -> RawWriter {
    Box::new(move |row, out| {
        write(row, out);
        Ok(())
    })
}

fn push_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing into a vector cannot fail.
    let _ = write!(out, "{value}");
}

/// Shortest text that reads back as the same value, with an exponent where that is shorter.
fn push_float<F: Into<f64> + Copy + std::fmt::Debug>(value: F, out: &mut Vec<u8>) {
    let wide: f64 = value.into();
    match wide {
        _ if wide.is_nan() => out.extend_from_slice(b"NaN"),
        f64::INFINITY => out.extend_from_slice(b"Infinity"),
        f64::NEG_INFINITY => out.extend_from_slice(b"-Infinity"),
        _ => push_display(format_args!("{value:?}"), out),
    }
}

fn push_bytea(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn decimal_writer<T: DecimalType>(array: &ArrayRef) -> (RawWriter, bool) {
    let array = array.as_primitive::<T>().clone();
    (boxed(move |row, out| out.extend_from_slice(array.value_as_string(row).as_bytes())), false)
}

/// Times of day and lengths of time as microseconds.
fn ticks(array: &ArrayRef, unit: &TimeUnit) -> Result<impl Fn(usize) -> i64 + Send + 'static> {
    // A 32-bit time is not directly an `Int64`, but always an `Int32`.
    let narrow = match array.data_type() {
        DataType::Time32(_) => cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(array, &DataType::Int64)?,
    };
    let values = narrow.as_primitive::<Int64Type>().clone();
    let (multiply, divide) = match unit {
        TimeUnit::Second => (1_000_000, 1),
        TimeUnit::Millisecond => (1_000, 1),
        TimeUnit::Microsecond => (1, 1),
        TimeUnit::Nanosecond => (1, 1_000),
    };
    Ok(move |row: usize| values.value(row).saturating_mul(multiply).div_euclid(divide))
}

/// The values of a date or timestamp column as microseconds since the epoch; beyond 64 bits they stay at the edge.
pub(crate) fn moments(array: &ArrayRef) -> Result<impl Fn(usize) -> i64 + Send + use<>> {
    let Some((multiply, divide)) = micros_per_unit(array.data_type()) else {
        return Err(Error::bug(format!("{} is not a point in time", array.data_type())));
    };
    let raw = match array.data_type() {
        DataType::Date32 => cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(array, &DataType::Int64)?,
    };
    let values = raw.as_primitive::<Int64Type>().clone();
    Ok(move |row: usize| values.value(row).saturating_mul(multiply).div_euclid(divide))
}

fn moment_writer(array: &ArrayRef) -> Result<RawWriter> {
    let micros = moments(array)?;
    let (time, zone): (bool, &'static [u8]) = match array.data_type() {
        DataType::Timestamp(_, Some(_)) => (true, b"+00"),
        DataType::Timestamp(_, None) => (true, b""),
        _ => (false, b""),
    };
    Ok(boxed(move |row, out| {
        let micros = micros(row);
        let Some(day) = day_of(micros) else {
            out.extend_from_slice(if micros < 0 { b"-infinity" } else { b"infinity" });
            return;
        };
        let (year, month, date) = civil(day);
        let shown = if year > 0 { year } else { 1 - year };
        push_padded(shown.unsigned_abs(), 4, out);
        out.push(b'-');
        push_padded(u64::from(month), 2, out);
        out.push(b'-');
        push_padded(u64::from(date), 2, out);
        if time {
            out.push(b' ');
            push_time(micros.rem_euclid(DAY_MICROS), out);
            out.extend_from_slice(zone);
        }
        if year <= 0 {
            out.extend_from_slice(b" BC");
        }
    }))
}

/// `hh:mm:ss.ffffff` of microseconds since midnight.
fn push_time(micros: i64, out: &mut Vec<u8>) {
    let micros = u64::try_from(micros).unwrap_or(0);
    let seconds = micros / 1_000_000;
    push_padded(seconds / 3_600, 2, out);
    out.push(b':');
    push_padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    push_padded(seconds % 60, 2, out);
    if micros % 1_000_000 != 0 {
        out.push(b'.');
        push_padded(micros % 1_000_000, 6, out);
    }
}

/// Seconds with a fraction: Postgres rounds a count of microseconds that it has to scale itself.
fn push_micros_interval(micros: i64, out: &mut Vec<u8>) {
    let sign = if micros < 0 { "-" } else { "" };
    let size = micros.unsigned_abs();
    push_display(format_args!("{sign}{}.{:06} secs", size / 1_000_000, size % 1_000_000), out);
}

fn push_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// `{"a","b",NULL}`: every item quoted, so that no item needs to be looked at.
fn list_writer(item: &FieldRef, array: &ArrayRef) -> Result<RawWriter> {
    let (values, range): (ArrayRef, Box<dyn Fn(usize) -> std::ops::Range<usize> + Send>) = match array.data_type() {
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>().clone();
            let range = move |row: usize| to_index(list.value_offsets()[row])..to_index(list.value_offsets()[row + 1]);
            (ArrayRef::clone(array.as_list::<i64>().values()), Box::new(range))
        }
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            let list = array.as_fixed_size_list();
            (ArrayRef::clone(list.values()), Box::new(move |row| row * size..(row + 1) * size))
        }
        _ => {
            let list = array.as_list::<i32>().clone();
            let range = move |row: usize| {
                to_index(i64::from(list.value_offsets()[row]))..to_index(i64::from(list.value_offsets()[row + 1]))
            };
            (ArrayRef::clone(array.as_list::<i32>().values()), Box::new(range))
        }
    };
    let mut writer = ColumnWriter::try_new(item, &values)?;
    let mut scratch = Vec::new();
    Ok(Box::new(move |row, out| {
        out.push(b'{');
        for (at, index) in range(row).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if writer.array.is_null(index) {
                out.extend_from_slice(b"NULL");
                continue;
            }
            scratch.clear();
            (writer.write)(index, &mut scratch)?;
            out.push(b'"');
            for &byte in &scratch {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
        out.push(b'}');
        Ok(())
    }))
}

fn to_index(offset: i64) -> usize {
    usize::try_from(offset).expect("offsets of an Arrow list are not negative")
}

/// Nested values as JSON documents, one batch at a time: the encoder borrows what it encodes.
fn json_writer(field: &FieldRef, array: &ArrayRef) -> Result<RawWriter> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, array.as_ref(), &options)?;
    let mut text = Vec::new();
    let mut ends = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        if !array.is_null(row) {
            encoder.encode(row, &mut text);
        }
        ends.push(text.len());
    }
    Ok(boxed(move |row, out| {
        let start = if row == 0 { 0 } else { ends[row - 1] };
        push_json(&text[start..ends[row]], out);
    }))
}

/// Copies JSON, with U+0000, which `jsonb` refuses, replaced as in plain text.
fn push_json(json: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < json.len() {
        if json[at] == b'\\' {
            let escaped = if json[at..].starts_with(b"\\u0000") { 6 } else { 2 };
            let end = (at + escaped).min(json.len());
            if escaped == 6 {
                out.extend_from_slice("\u{FFFD}".as_bytes());
            } else {
                out.extend_from_slice(&json[at..end]);
            }
            at = end;
        } else {
            out.push(json[at]);
            at += 1;
        }
    }
}
