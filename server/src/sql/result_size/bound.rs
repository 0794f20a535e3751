//! The functions with a bound, and how many bytes each can make of its arguments.
//!
//! Bounds are upper ones and cheap: no value is looked into but for its length. A function that cannot make more than a few times what
//! it is given, however often it is applied to its own result, has none; `tests` has the list of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

use super::Unit;
use super::measure::{
    Column, bytes, bytes_of_all, bytes_of_scalar, count, item_width, leaves, list_lengths, nulls, numbers, signs,
};
use crate::error::Error;

/// Bytes of a number as text: a DOUBLE is written with all its digits.
const NUMBER_BYTES_MAX: u64 = 350;
/// What an item of a list takes beside its own bytes: a view or an offset, its index while it is copied, and its NULL.
const ITEM_BYTES: u64 = 24;
/// Brackets in one another that the regex crate takes: as many groups can hold the same part of a text.
const GROUPS_MAX: u64 = 250;
/// Bytes that two signs of a format can make, as `%+`, are below 40.
const PER_FORMAT_BYTE: u64 = 20;
/// Bytes of a value of which a type says the length: `arrow_cast` can name any. As many as all of a batch's 8,192 rows may have; an
/// embedding of 3,072 dimensions takes 24 KiB.
pub(super) const FIXED_BYTES_MAX: u64 = 32 * 1024;

const NANOS_PER_HOUR: i128 = 3_600_000_000_000;

/// How much can be made of a row.
type OfRow = Box<dyn Fn(usize) -> Result<u64>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bound {
    /// All that it is given, once.
    Inputs,
    Repeat,
    Pad,
    Range,
    ListRepeat,
    ListResize,
    ListReplace,
    ListText,
    Zip,
    Replace,
    RegexpReplace,
    RegexpMatch,
    Separated,
    Split,
    Format,
    /// Of time, and not of bytes.
    Pairs,
    /// Of its type alone, which is known before there are values.
    Cast,
}

impl Bound {
    /// `function`: its own name, no alias.
    pub(super) fn of(function: &str) -> Option<Self> {
        Some(match function {
            "concat" | "overlay" | "make_array" | "map" | "array_append" | "array_prepend" | "array_concat"
            | "array_union" => Bound::Inputs,
            "repeat" => Bound::Repeat,
            "lpad" | "rpad" => Bound::Pad,
            "range" | "generate_series" => Bound::Range,
            "array_repeat" => Bound::ListRepeat,
            "array_resize" => Bound::ListResize,
            "array_replace" | "array_replace_n" | "array_replace_all" => Bound::ListReplace,
            "array_to_string" => Bound::ListText,
            "arrays_zip" => Bound::Zip,
            "replace" => Bound::Replace,
            "regexp_replace" => Bound::RegexpReplace,
            "regexp_match" => Bound::RegexpMatch,
            "concat_ws" => Bound::Separated,
            "string_to_array" => Bound::Split,
            "to_char" => Bound::Format,
            "levenshtein" => Bound::Pairs,
            "arrow_cast" | "arrow_try_cast" => Bound::Cast,
            _ => return None,
        })
    }

    fn unit(self) -> Unit {
        match self {
            Bound::Pairs => Unit::Steps,
            _ => Unit::Bytes,
        }
    }

    /// Whether it is far above what most texts make, as twice as much for each sign that might be found.
    pub(super) fn is_rough(self) -> bool {
        matches!(
            self,
            Bound::Pad
                | Bound::ListReplace
                | Bound::ListText
                | Bound::Replace
                | Bound::RegexpReplace
                | Bound::RegexpMatch
                | Bound::Split
                | Bound::Format
        )
    }

    /// Refuses arguments that would make too much. `of`: the function, as messages show it.
    ///
    /// # Errors
    /// `Invalid`, as of a value that an expression cannot take.
    pub(super) fn check(self, of: &str, arguments: &[ColumnarValue], rows: usize) -> Result<()> {
        match self.too_much(of, arguments, rows)? {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// What is to be said where all rows together may make too much, and none of them does alone.
    ///
    /// # Errors
    /// As [`Bound::check`], of one value.
    pub(super) fn too_much(self, of: &str, arguments: &[ColumnarValue], rows: usize) -> Result<Option<Error>> {
        if self == Bound::Cast {
            return Ok(None);
        }
        let unit = self.unit();
        // Most are far from it. No value is larger than all of them.
        if self == Bound::Inputs && bytes_of_all(arguments, rows)? <= unit.value_max() {
            return Ok(None);
        }
        let is_constant = arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let of_row = self.of_rows(arguments)?;
        if is_constant {
            let value = of_row(0)?;
            unit.check_value(of, value)?;
            return Ok(unit.check_batch(of, value.saturating_mul(count(rows)), rows).err());
        }
        let mut sum = 0_u64;
        for row in 0..rows {
            let value = of_row(row)?;
            unit.check_value(of, value)?;
            sum = sum.saturating_add(value);
        }
        // What is the same for all rows is written out for each beside them.
        let mut constants = 0_u64;
        for argument in arguments {
            if let ColumnarValue::Scalar(value) = argument {
                constants = constants.saturating_add(bytes_of_scalar(value)?);
            }
        }
        let constants = constants.saturating_mul(count(rows));
        let checked = unit.check_batch(of, sum, rows).and_then(|()| Unit::Bytes.check_batch(of, constants, rows));
        Ok(checked.err())
    }

    fn of_rows(self, arguments: &[ColumnarValue]) -> Result<OfRow> {
        let argument = |at: usize| arguments.get(at);
        let positive = |number: i64| u64::try_from(number).unwrap_or(0);
        let of_row: OfRow = match self {
            Bound::Cast => Box::new(|_| Ok(0)),
            Bound::Inputs => {
                let inputs = arguments.iter().map(|argument| bytes(Some(argument))).collect::<Result<Vec<_>>>()?;
                Box::new(move |row| Ok(inputs.iter().fold(0, |sum: u64, input| sum.saturating_add(input.at(row)))))
            }
            Bound::Repeat => {
                let (text, times) = (bytes(argument(0))?, numbers(argument(1))?);
                Box::new(move |row| Ok(text.at(row).saturating_mul(positive(times.at(row)))))
            }
            // Room is made for characters of four bytes.
            Bound::Pad => {
                let characters = numbers(argument(1))?;
                Box::new(move |row| Ok(positive(characters.at(row)).saturating_mul(4)))
            }
            Bound::Range => range(arguments)?,
            Bound::ListRepeat => {
                let (item, inner, times) = (bytes(argument(0))?, leaves(argument(0))?, numbers(argument(1))?);
                Box::new(move |row| {
                    let each = inner.at(row).saturating_mul(8).saturating_add(item.at(row)).saturating_add(ITEM_BYTES);
                    Ok(each.saturating_mul(positive(times.at(row))))
                })
            }
            Bound::ListResize => {
                let (list, length, item) = (bytes(argument(0))?, numbers(argument(1))?, bytes(argument(2))?);
                let width = item_width(argument(0)).saturating_add(ITEM_BYTES);
                Box::new(move |row| {
                    let added = positive(length.at(row)).saturating_mul(item.at(row).saturating_add(width));
                    Ok(list.at(row).saturating_add(added))
                })
            }
            Bound::ListReplace => {
                let (list, items, by) = (bytes(argument(0))?, list_lengths(argument(0))?, bytes(argument(2))?);
                Box::new(move |row| Ok(list.at(row).saturating_add(items.at(row).saturating_mul(by.at(row)))))
            }
            Bound::ListText => {
                let (list, items) = (bytes(argument(0))?, leaves(argument(0))?);
                let (between, null) = (bytes(argument(1))?, bytes(argument(2))?);
                // Texts are in the list as they will be.
                let own = if has_texts(argument(0)) { 0 } else { NUMBER_BYTES_MAX };
                Box::new(move |row| {
                    let each = between.at(row).saturating_add(null.at(row)).saturating_add(own);
                    Ok(list.at(row).saturating_add(items.at(row).saturating_mul(each)))
                })
            }
            Bound::Zip => {
                let lists =
                    arguments.iter().map(|list| -> Result<_> { Ok((bytes(Some(list))?, list_lengths(Some(list))?)) });
                let lists = lists.collect::<Result<Vec<_>>>()?;
                let width = arguments.iter().fold(0, |sum: u64, list| sum.saturating_add(item_width(Some(list))));
                Box::new(move |row| {
                    let longest = lists.iter().map(|(_, length)| length.at(row)).max().unwrap_or(0);
                    let all = lists.iter().fold(0, |sum: u64, (bytes, _)| sum.saturating_add(bytes.at(row)));
                    Ok(all.saturating_add(longest.saturating_mul(width)))
                })
            }
            Bound::Replace => {
                let (text, from, to) = (bytes(argument(0))?, bytes(argument(1))?, bytes(argument(2))?);
                Box::new(move |row| {
                    // Nothing is found around every character.
                    let found = text.at(row).checked_div(from.at(row)).unwrap_or(text.at(row).saturating_add(1));
                    Ok(text.at(row).saturating_add(found.saturating_mul(to.at(row))))
                })
            }
            Bound::RegexpReplace => {
                let (text, by) = (bytes(argument(0))?, bytes(argument(2))?);
                let (groups, global) = (signs(argument(2), br"$\")?, signs(argument(3), b"g")?);
                Box::new(move |row| {
                    let found = if global.at(row) > 0 { text.at(row).saturating_add(1) } else { 1 };
                    // What is found does not overlap: all that a group finds is no more than the text.
                    let kept = text.at(row).saturating_mul(groups.at(row).saturating_add(1));
                    Ok(kept.saturating_add(found.saturating_mul(by.at(row))))
                })
            }
            Bound::RegexpMatch => {
                let (text, groups) = (bytes(argument(0))?, signs(argument(1), b"(")?);
                Box::new(move |row| {
                    let found = groups.at(row).min(GROUPS_MAX).saturating_add(1).saturating_mul(text.at(row));
                    Ok(found.saturating_add(groups.at(row).saturating_mul(ITEM_BYTES)))
                })
            }
            Bound::Separated => {
                let texts = arguments.iter().map(|argument| bytes(Some(argument))).collect::<Result<Vec<_>>>()?;
                Box::new(move |row| {
                    let own = texts.iter().fold(0, |sum: u64, text| sum.saturating_add(text.at(row)));
                    let separator = texts.first().map_or(0, |separator| separator.at(row));
                    Ok(own.saturating_add(separator.saturating_mul(count(texts.len()))))
                })
            }
            Bound::Split => {
                let text = bytes(argument(0))?;
                // Only of a constant is it known what to look for.
                let first = match argument(1) {
                    Some(ColumnarValue::Scalar(by)) => by.try_as_str().flatten().and_then(|by| by.bytes().next()),
                    _ => None,
                };
                let found = match first {
                    Some(first) => Some(signs(argument(0), &[first])?),
                    None => None,
                };
                Box::new(move |row| {
                    let parts = found.as_ref().map_or(text.at(row), |found| found.at(row)).saturating_add(1);
                    Ok(text.at(row).saturating_add(parts.saturating_mul(ITEM_BYTES)))
                })
            }
            Bound::Format => {
                let format = bytes(argument(1))?;
                Box::new(move |row| Ok(format.at(row).saturating_mul(PER_FORMAT_BYTE).saturating_add(64)))
            }
            Bound::Pairs => {
                let (one, other) = (bytes(argument(0))?, bytes(argument(1))?);
                Box::new(move |row| Ok(one.at(row).saturating_mul(other.at(row))))
            }
        };
        Ok(of_row)
    }
}

fn has_texts(list: Option<&ColumnarValue>) -> bool {
    match list.map(ColumnarValue::data_type) {
        Some(DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) => {
            item.data_type().is_string()
        }
        _ => false,
    }
}

/// Bytes of `range(stop)`, `range(start, stop)` and `range(start, stop, step)`, of whole numbers, days or times.
fn range(arguments: &[ColumnarValue]) -> Result<OfRow> {
    // It is NULL then, and the others are of any type, as the times beside a NULL that stands for one.
    if arguments.iter().any(|argument| argument.data_type().is_null()) {
        return Ok(Box::new(|_| Ok(0)));
    }
    let nulls: Vec<Column<bool>> = arguments.iter().map(|argument| nulls(Some(argument))).collect();
    let is_null = move |row: usize| nulls.iter().any(|nulls| nulls.at(row));
    let nanos_each = |at: usize| arguments.get(at).map(ColumnarValue::data_type).as_ref().and_then(nanos_of);
    let Some(nanos_of_start) = nanos_each(0) else {
        let (start, stop) = match arguments {
            [stop] => (numbers(None)?, numbers(Some(stop))?),
            _ => (numbers(arguments.first())?, numbers(arguments.get(1))?),
        };
        let step = match arguments.get(2) {
            Some(step) => Some(numbers(Some(step))?),
            None => None,
        };
        let of_row: OfRow = Box::new(move |row| {
            if is_null(row) {
                return Ok(0);
            }
            let step = step.as_ref().map_or(1, |step| i128::from(step.at(row)));
            let distance = i128::from(stop.at(row)) - i128::from(start.at(row));
            Ok(values(distance, step).saturating_mul(8))
        });
        return Ok(of_row);
    };
    let nanos_of_stop = nanos_each(1).unwrap_or(nanos_of_start);
    let first = arguments.first().map(ColumnarValue::data_type);
    let is_date = matches!(first, Some(DataType::Date32 | DataType::Date64));
    let (start, stop) = (numbers(arguments.first())?, numbers(arguments.get(1))?);
    let steps = match arguments.get(2) {
        Some(ColumnarValue::Array(steps)) => Steps::Each(Arc::clone(steps)),
        Some(ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(step)))) => {
            Steps::One(IntervalMonthDayNanoType::to_parts(*step))
        }
        _ => Steps::None,
    };
    let of_row: OfRow = Box::new(move |row| {
        if is_null(row) {
            return Ok(0);
        }
        let Some((months, days, nanos)) = steps.at(row) else { return Ok(0) };
        let nanos = if is_date { 0 } else { nanos };
        let parts = [i128::from(months), i128::from(days), i128::from(nanos)];
        if parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0) {
            // `1 month -30 days` stands still in April, for ever.
            return Err(Error::invalid("the step of a range goes forwards and backwards")
                .hint("write an interval whose parts have the same sign")
                .into());
        }
        // No month is shorter than 28 days, and no day than 23 hours.
        let step = parts[0] * 28 * 23 * NANOS_PER_HOUR + parts[1] * 23 * NANOS_PER_HOUR + parts[2];
        let distance = i128::from(stop.at(row)) * nanos_of_stop - i128::from(start.at(row)) * nanos_of_start;
        Ok(values(distance, step).saturating_mul(8))
    });
    Ok(of_row)
}

/// How many nanoseconds the numbers of a type count, if it is one of days or times.
fn nanos_of(data_type: &DataType) -> Option<i128> {
    Some(match data_type {
        DataType::Date32 => 24 * NANOS_PER_HOUR,
        DataType::Date64 => 1_000_000,
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        },
        _ => return None,
    })
}

enum Steps {
    None,
    One((i32, i32, i64)),
    Each(ArrayRef),
}

impl Steps {
    /// `None` for NULL and for what is no such interval.
    fn at(&self, row: usize) -> Option<(i32, i32, i64)> {
        match self {
            Steps::None => None,
            Steps::One(parts) => Some(*parts),
            Steps::Each(steps) => {
                let steps = steps.as_primitive_opt::<IntervalMonthDayNanoType>()?;
                (row < steps.len() && steps.is_valid(row)).then(|| IntervalMonthDayNanoType::to_parts(steps.value(row)))
            }
        }
    }
}

/// How many values there are from 0 to `distance`, at most.
fn values(distance: i128, step: i128) -> u64 {
    let is_there_a_way = distance == 0 || (distance < 0) == (step < 0);
    if step == 0 || !is_there_a_way {
        // It says itself that there is no way.
        return 1;
    }
    u64::try_from((distance / step).unsigned_abs()).unwrap_or(u64::MAX).saturating_add(2)
}
