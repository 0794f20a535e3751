//! How much the arguments of a call hold, row by row and without a copy of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

/// A number for each row.
#[derive(Debug)]
pub(super) enum Column<T> {
    /// The same for all.
    One(T),
    Each(Vec<T>),
}

impl<T: Copy + Default> Column<T> {
    pub(super) fn at(&self, row: usize) -> T {
        match self {
            Column::One(value) => *value,
            Column::Each(values) => values.get(row).copied().unwrap_or_default(),
        }
    }
}

pub(super) fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

/// Bytes of each row's value. An argument that is not there has none.
pub(super) fn bytes(argument: Option<&ColumnarValue>) -> Result<Column<u64>> {
    let array = match argument {
        None => return Ok(Column::One(0)),
        Some(ColumnarValue::Scalar(value)) => return Ok(Column::One(bytes_of_scalar(value)?)),
        Some(ColumnarValue::Array(array)) => array,
    };
    Ok(match array.data_type() {
        DataType::Utf8 => Column::Each(lengths(array.as_string::<i32>().value_offsets())),
        DataType::LargeUtf8 => Column::Each(lengths(array.as_string::<i64>().value_offsets())),
        DataType::Utf8View => Column::Each(array.as_string_view().views().iter().map(length_of_view).collect()),
        DataType::Dictionary(..) => Column::One(bytes_between(array.as_ref(), 0, 1)),
        data_type => match data_type.primitive_width() {
            Some(width) => Column::One(count(width)),
            None => Column::Each((0..array.len()).map(|row| bytes_between(array.as_ref(), row, 1)).collect()),
        },
    })
}

pub(super) fn bytes_of_scalar(value: &ScalarValue) -> Result<u64> {
    match value.try_as_str() {
        Some(text) => Ok(text.map_or(0, |text| count(text.len()))),
        None => Ok(bytes_between(value.to_array()?.as_ref(), 0, 1)),
    }
}

/// Bytes of all rows together, `rows` of them. An argument that is the same for all counts for each, since it is made so.
pub(super) fn bytes_of_all(arguments: &[ColumnarValue], rows: usize) -> Result<u64> {
    let mut sum = 0_u64;
    for argument in arguments {
        sum = sum.saturating_add(match argument {
            ColumnarValue::Scalar(value) => bytes_of_scalar(value)?.saturating_mul(count(rows)),
            ColumnarValue::Array(array) => bytes_between(array.as_ref(), 0, array.len()),
        });
    }
    Ok(sum)
}

/// How many values each row's list has in it, those of lists inside counted one by one.
pub(super) fn leaves(argument: Option<&ColumnarValue>) -> Result<Column<u64>> {
    Ok(match argument {
        None => Column::One(0),
        Some(ColumnarValue::Scalar(value)) => Column::One(leaves_between(value.to_array()?.as_ref(), 0, 1)),
        Some(ColumnarValue::Array(array)) => {
            Column::Each((0..array.len()).map(|row| leaves_between(array.as_ref(), row, 1)).collect())
        }
    })
}

/// How long each row's list is.
pub(super) fn list_lengths(argument: Option<&ColumnarValue>) -> Result<Column<u64>> {
    let length = |array: &ArrayRef, row: usize| items(array.as_ref(), row, 1).map_or(0, |(.., length)| count(length));
    Ok(match argument {
        None => Column::One(0),
        Some(ColumnarValue::Scalar(value)) => Column::One(length(&value.to_array()?, 0)),
        Some(ColumnarValue::Array(array)) => Column::Each((0..array.len()).map(|row| length(array, row)).collect()),
    })
}

/// Bytes of one item of a list where it is NULL.
pub(super) fn item_width(argument: Option<&ColumnarValue>) -> u64 {
    match argument.map(ColumnarValue::data_type) {
        Some(DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) => {
            width(item.data_type())
        }
        _ => width(&DataType::Null),
    }
}

/// Bytes that every value of a type takes, NULL as well.
pub(super) fn width(data_type: &DataType) -> u64 {
    let length = |length: &i32| u64::try_from(*length).unwrap_or(0);
    match data_type {
        DataType::FixedSizeBinary(bytes) => length(bytes),
        DataType::FixedSizeList(item, items) => length(items).saturating_mul(width(item.data_type())),
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => width(item.data_type()).max(16),
        DataType::Struct(fields) => {
            fields.iter().fold(0, |sum: u64, field| sum.saturating_add(width(field.data_type())))
        }
        data_type => data_type.primitive_width().map_or(16, count),
    }
}

/// Each row's whole number; 0 for NULL, and the greatest one for what is greater.
pub(super) fn numbers(argument: Option<&ColumnarValue>) -> Result<Column<i64>> {
    let (array, is_scalar) = match argument {
        None => return Ok(Column::One(0)),
        Some(ColumnarValue::Scalar(value)) => (value.to_array()?, true),
        Some(ColumnarValue::Array(array)) => (Arc::clone(array), false),
    };
    if array.data_type().is_null() {
        return Ok(Column::One(0));
    }
    let whole: ArrayRef = cast(&array, &DataType::Int64)?;
    let whole = whole.as_primitive::<Int64Type>();
    let number = |row: usize| match (array.is_null(row), whole.is_null(row)) {
        (true, _) => 0,
        (false, true) => i64::MAX,
        (false, false) => whole.value(row),
    };
    Ok(match is_scalar {
        true => Column::One(if whole.is_empty() { 0 } else { number(0) }),
        false => Column::Each((0..whole.len()).map(number).collect()),
    })
}

/// Whether each row has no value. An argument that is not there has one.
pub(super) fn nulls(argument: Option<&ColumnarValue>) -> Column<bool> {
    match argument {
        None => Column::One(false),
        Some(ColumnarValue::Scalar(value)) => Column::One(value.is_null()),
        Some(ColumnarValue::Array(array)) => match array.logical_nulls() {
            Some(nulls) => Column::Each(nulls.iter().map(|valid| !valid).collect()),
            None => Column::One(false),
        },
    }
}

/// How often one of these signs stands in each row's text.
pub(super) fn signs(argument: Option<&ColumnarValue>, signs: &[u8]) -> Result<Column<u64>> {
    let in_text = |text: &str| count(text.bytes().filter(|byte| signs.contains(byte)).count());
    let in_row = |text: Option<&str>| text.map_or(0, in_text);
    Ok(match argument {
        None => Column::One(0),
        Some(ColumnarValue::Scalar(value)) => Column::One(value.try_as_str().flatten().map_or(0, in_text)),
        Some(ColumnarValue::Array(array)) => match array.data_type() {
            DataType::Utf8 => Column::Each(array.as_string::<i32>().iter().map(in_row).collect()),
            DataType::LargeUtf8 => Column::Each(array.as_string::<i64>().iter().map(in_row).collect()),
            DataType::Utf8View => Column::Each(array.as_string_view().iter().map(in_row).collect()),
            _ => Column::One(0),
        },
    })
}

fn lengths<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<u64> {
    offsets.windows(2).map(|pair| count(pair[1].as_usize().saturating_sub(pair[0].as_usize()))).collect()
}

/// A view begins with the length of its text, in four bytes.
fn length_of_view(view: &u128) -> u64 {
    u64::try_from(view & u128::from(u32::MAX)).unwrap_or(u64::MAX)
}

/// Where the items of these rows begin, and how many they are.
fn span<O: OffsetSizeTrait>(offsets: &[O], from: usize, rows: usize) -> (usize, usize) {
    let (start, end) = (offsets[from].as_usize(), offsets[from + rows].as_usize());
    (start, end.saturating_sub(start))
}

/// Bytes of the values of `rows` rows from `from` on; more where a type does not say.
fn bytes_between(array: &dyn Array, from: usize, rows: usize) -> u64 {
    let rows = rows.min(array.len().saturating_sub(from));
    if rows == 0 {
        return 0;
    }
    match array.data_type() {
        DataType::Null => 0,
        DataType::Boolean => count(rows / 8 + 1),
        DataType::Utf8 => count(span(array.as_string::<i32>().value_offsets(), from, rows).1),
        DataType::LargeUtf8 => count(span(array.as_string::<i64>().value_offsets(), from, rows).1),
        DataType::Binary => count(span(array.as_binary::<i32>().value_offsets(), from, rows).1),
        DataType::LargeBinary => count(span(array.as_binary::<i64>().value_offsets(), from, rows).1),
        DataType::Utf8View => array.as_string_view().views()[from..from + rows].iter().map(length_of_view).sum(),
        DataType::BinaryView => array.as_binary_view().views()[from..from + rows].iter().map(length_of_view).sum(),
        DataType::FixedSizeBinary(width) => count(rows).saturating_mul(u64::try_from(*width).unwrap_or(0)),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            columns.fold(0, |sum: u64, column| sum.saturating_add(bytes_between(column.as_ref(), from, rows)))
        }
        DataType::Dictionary(..) => match array.as_any_dictionary_opt() {
            Some(dictionary) => {
                let values = dictionary.values();
                let longest = (0..values.len()).map(|at| bytes_between(values.as_ref(), at, 1)).max().unwrap_or(0);
                longest.saturating_mul(count(rows))
            }
            None => count(array.get_buffer_memory_size()),
        },
        data_type => match (data_type.primitive_width(), items(array, from, rows)) {
            (Some(width), _) => count(width).saturating_mul(count(rows)),
            // Where each list begins takes room, too.
            (None, Some((values, start, length))) => {
                bytes_between(values, start, length).saturating_add(count(rows).saturating_mul(8))
            }
            (None, None) => count(array.get_buffer_memory_size()),
        },
    }
}

fn leaves_between(array: &dyn Array, from: usize, rows: usize) -> u64 {
    let rows = rows.min(array.len().saturating_sub(from));
    if rows == 0 {
        return 0;
    }
    if let DataType::Struct(_) = array.data_type() {
        let columns = array.as_struct().columns().iter();
        return columns.fold(0, |sum: u64, column| sum.saturating_add(leaves_between(column.as_ref(), from, rows)));
    }
    match items(array, from, rows) {
        Some((values, start, length)) => leaves_between(values, start, length),
        None => count(rows),
    }
}

/// What the lists of these rows have in them; `None` for what is no list.
fn items(array: &dyn Array, from: usize, rows: usize) -> Option<(&dyn Array, usize, usize)> {
    Some(match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, length) = span(list.value_offsets(), from, rows);
            (list.values().as_ref(), start, length)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (start, length) = span(list.value_offsets(), from, rows);
            (list.values().as_ref(), start, length)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (start, length) = span(map.value_offsets(), from, rows);
            let entries: &dyn Array = map.entries();
            (entries, start, length)
        }
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            (array.as_fixed_size_list().values().as_ref(), from * size, rows * size)
        }
        _ => return None,
    })
}
