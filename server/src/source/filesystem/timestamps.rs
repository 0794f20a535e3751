//! A file's column of whatever type → timestamps of the declared unit, by the declared format.
//!
//! Whether a value is a time is said in the same words as of a JSON record. What has no form in JSON is read, too: a typed
//! column knows its unit, and text may be what arrow reads besides (a date alone is its midnight).

use std::collections::BTreeSet;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, Int64Array, OffsetSizeTrait, StringViewArray, new_null_array,
};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use chrono::Utc;

use crate::catalog::{Column, TimestampFormat};
use crate::decode::json::{time_from_text, time_refusal};
use crate::decode::time::{self, Epoch, NoTime, range};

/// Digits behind the point that is kept of numbers that are no integers.
const SCALE: i8 = 9;

/// What became of a column.
pub(super) struct Timestamps {
    /// Of the column's type; NULL also where a value is no time.
    pub(super) array: ArrayRef,
    /// The rows whose value is no time, ascending, with the reason.
    pub(super) refused: Vec<(usize, String)>,
}

/// A value that is no time.
struct Refused {
    found: String,
    is_text: bool,
    no_time: NoTime,
    /// What it was taken for.
    format: TimestampFormat,
}

/// Reads `array` as `column`, a timestamp in `unit`.
///
/// # Errors
/// Where values of such a type are no times.
pub(super) fn read(array: &ArrayRef, column: &Column, unit: TimeUnit) -> Result<Timestamps, ArrowError> {
    let format = column.timestamps;
    match array.data_type() {
        DataType::Null => Ok(Timestamps { array: new_null_array(&column.data_type, array.len()), refused: Vec::new() }),
        DataType::Dictionary(_, value) => read(&cast(array, value)?, column, unit),
        DataType::Date32 | DataType::Date64 => {
            read(&cast(array, &DataType::Timestamp(TimeUnit::Second, None))?, column, unit)
        }
        // The file's own type says what it counts, whatever is declared of numbers.
        DataType::Timestamp(of, _) => {
            from_counts(&cast(array, &DataType::Int64)?, column, &Epoch::new(*of, unit), TimestampFormat::Epoch(*of))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            from_texts(cast(array, &DataType::Utf8View)?.as_string_view(), column, unit)
        }
        DataType::Decimal256(..) => Err(no_times(array.data_type(), column)),
        numbers if numbers.is_numeric() => {
            let Some(of) = format.epoch_unit() else { return Err(no_times(numbers, column)) };
            let epoch = Epoch::new(of, unit);
            match numbers {
                DataType::UInt64 => from_decimals(array, column, &epoch),
                numbers if numbers.is_integer() => from_counts(&cast(array, &DataType::Int64)?, column, &epoch, format),
                _ => from_decimals(array, column, &epoch),
            }
        }
        other => Err(no_times(other, column)),
    }
}

fn no_times(found: &DataType, column: &Column) -> ArrowError {
    let format = column.timestamps.name().map(|name| format!(" as {name}")).unwrap_or_default();
    ArrowError::CastError(format!("values of type {found} are no timestamps{format}"))
}

fn from_counts(
    counts: &ArrayRef,
    column: &Column,
    epoch: &Epoch,
    format: TimestampFormat,
) -> Result<Timestamps, ArrowError> {
    made(
        column,
        counts.as_primitive::<Int64Type>().iter().map(|count| {
            let count = count?;
            let refused = |no_time| Refused { found: count.to_string(), is_text: false, no_time, format };
            Some(epoch.value(count).map_err(refused))
        }),
    )
}

fn from_texts(texts: &StringViewArray, column: &Column, unit: TimeUnit) -> Result<Timestamps, ArrowError> {
    let format = column.timestamps;
    let epoch = format.epoch_unit().map(|of| Epoch::new(of, unit));
    made(
        column,
        texts.iter().map(|text| {
            let text = text?;
            // A number is shown as one.
            let is_text = || text.parse::<i128>().is_err();
            let refused = |no_time| Refused { found: text.to_owned(), is_text: is_text(), no_time, format };
            Some(from_text(text, unit, format, epoch.as_ref()).map_err(refused))
        }),
    )
}

fn from_text(text: &str, unit: TimeUnit, format: TimestampFormat, epoch: Option<&Epoch>) -> Result<i64, NoTime> {
    let number = || match epoch {
        Some(epoch) => time_from_text(text.as_bytes(), epoch, format.name().is_some()),
        None => Err(NoTime::Form),
    };
    if !format.is_text() {
        return number();
    }
    let arrows = || {
        let time = string_to_datetime(&Utc, text).map_err(|_| NoTime::Form)?;
        let value = time::in_unit(time.timestamp(), time.timestamp_subsec_nanos().into(), unit);
        value.filter(|value| time::holds(*value, unit)).ok_or(NoTime::Range)
    };
    let readings: [&dyn Fn() -> Result<i64, NoTime>; 3] =
        [&|| time::timestamp(text.as_bytes(), unit), &number, &arrows];
    readings.into_iter().map(|read| read()).find(|time| *time != Err(NoTime::Form)).unwrap_or(Err(NoTime::Form))
}

/// Numbers that are no 64-bit integers, by way of an exact type that holds all of them that could be times.
fn from_decimals(array: &ArrayRef, column: &Column, epoch: &Epoch) -> Result<Timestamps, ArrowError> {
    let wide = DataType::Decimal128(38, SCALE);
    let decimals = cast_with_options(array, &wide, &CastOptions { safe: true, ..CastOptions::default() })?;
    let decimals = decimals.as_primitive::<Decimal128Type>();
    // Never more digits than the decimals have, for a unit has at most nine.
    let divisor = 10i128.pow(u32::from((SCALE - epoch.shift).unsigned_abs()));
    made(
        column,
        (0..array.len()).map(|row| {
            if array.is_null(row) {
                return None;
            }
            let time = match decimals.is_valid(row) {
                true => epoch.held(decimals.value(row).div_euclid(divisor)),
                false => Err(NoTime::Range),
            };
            let found = || array_value_to_string(array, row).unwrap_or_default();
            Some(time.map_err(|no_time| Refused { found: found(), is_text: false, no_time, format: column.timestamps }))
        }),
    )
}

fn made(column: &Column, times: impl Iterator<Item = Option<Result<i64, Refused>>>) -> Result<Timestamps, ArrowError> {
    let mut refused = Vec::new();
    let values = times.enumerate().map(|(row, time)| match time? {
        Ok(time) => Some(time),
        Err(Refused { found, is_text, no_time, format }) => {
            refused.push((row, time_refusal(&column.name, &found, is_text, no_time, &column.data_type, format)));
            None
        }
    });
    // The same bits under another type.
    let array = cast(&values.collect::<Int64Array>(), &column.data_type)?;
    Ok(Timestamps { array, refused })
}

/// The rows of a list or struct that hold a time beyond the range somewhere, with the reason.
pub(super) fn refused_inside(field: &str, array: &ArrayRef) -> Vec<(usize, String)> {
    let rows = beyond(array);
    let Some(unit) = unit_inside(array.data_type()) else { return Vec::new() };
    let reason = format!("field \"{field}\" holds a time outside {}", range(unit));
    rows.into_iter().map(|row| (row, reason.clone())).collect()
}

fn unit_inside(data_type: &DataType) -> Option<TimeUnit> {
    match data_type {
        DataType::Timestamp(unit, _) => Some(*unit),
        DataType::List(item) | DataType::LargeList(item) => unit_inside(item.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| unit_inside(field.data_type())),
        DataType::Map(entries, _) => unit_inside(entries.data_type()),
        _ => None,
    }
}

fn beyond(array: &ArrayRef) -> BTreeSet<usize> {
    match array.data_type() {
        DataType::Timestamp(unit, _) => {
            let Ok(counts) = cast(array, &DataType::Int64) else { return BTreeSet::new() };
            let counts = counts.as_primitive::<Int64Type>().iter().enumerate();
            counts
                .filter(|(_, count)| count.is_some_and(|count| !time::holds(count, *unit)))
                .map(|(row, _)| row)
                .collect()
        }
        DataType::Struct(_) => {
            let inner = array.as_struct();
            let rows = inner.columns().iter().flat_map(beyond);
            rows.filter(|row| inner.is_valid(*row)).collect()
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries = beyond(map.values());
            let offsets = map.value_offsets();
            let holds_one = |row: &usize| {
                map.is_valid(*row) && entries.range(offsets[*row] as usize..offsets[*row + 1] as usize).next().is_some()
            };
            (0..map.len()).filter(holds_one).collect()
        }
        DataType::List(_) => beyond_in_list::<i32>(array.as_list()),
        DataType::LargeList(_) => beyond_in_list::<i64>(array.as_list()),
        _ => BTreeSet::new(),
    }
}

fn beyond_in_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> BTreeSet<usize> {
    let items = beyond(list.values());
    let holds_one = |row: &usize| {
        let offsets = list.value_offsets();
        list.is_valid(*row) && items.range(offsets[*row].as_usize()..offsets[*row + 1].as_usize()).next().is_some()
    };
    (0..list.len()).filter(holds_one).collect()
}
