//! One column under construction: plain vectors that can be cut back to any row, which Arrow's builders cannot.

mod default_row;
mod map;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, BooleanBufferBuilder, GenericListArray, LargeBinaryArray,
    LargeStringArray, OffsetSizeTrait, PrimitiveArray, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use self::default_row::DefaultRow;
use self::map::Map;
use super::fault::{Fault, OUT_OF_RANGE, sql_type};
use super::object::Object;
use super::scan::{BYTES_OF_A_VALUE, Cursor, Number, Text, unescape_into};
use super::{JsonColumn, number};
use crate::catalog::{Check, TimestampFormat};
use crate::decode::time::{self, Epoch, NoTime};
use crate::error::{Error, Result};

/// With or without padding: producers do either.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) struct Column {
    data_type: DataType,
    nullable: bool,
    values: Values,
    rows: usize,
    /// The rows without a value, ascending. Cheaper than a bitmap where most rows have one, and cut back as easily.
    null_rows: Vec<usize>,
    checks: Vec<Check>,
    timestamps: TimestampFormat,
    /// Stands for a field that is missing.
    default: Option<Box<DefaultRow>>,
}

enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Date(Vec<i32>),
    Time32 {
        values: Vec<i32>,
        unit: TimeUnit,
    },
    Time64 {
        values: Vec<i64>,
        unit: TimeUnit,
    },
    Timestamp {
        values: Vec<i64>,
        unit: TimeUnit,
        reads: Reads,
    },
    Text(Bytes),
    /// JSON of any kind, as it stands.
    Json(Bytes),
    Binary(Bytes),
    Struct(Object),
    List(Box<List>),
    Map(Box<Map>),
}

/// What a timestamp column takes for a time.
#[derive(Clone, Copy)]
struct Reads {
    text: bool,
    /// `None`: no number is a time.
    numbers: Option<Epoch>,
    /// Whether what a number counts is declared.
    declared: bool,
}

/// Values of varying length, one behind the other.
struct Bytes {
    data: Vec<u8>,
    /// One more than there are values.
    offsets: Vec<i32>,
    /// Whether a number is a text too.
    numbers: bool,
}

struct List {
    items: Column,
    item_field: FieldRef,
    /// One more than there are lists.
    offsets: Vec<i32>,
    /// What an item counts for: see [`super::scan::LIST_CELLS_MAX`].
    cells: usize,
}

impl Column {
    /// # Errors
    /// `Invalid` for a type that JSON values are not decoded to.
    pub(super) fn try_new(column: &JsonColumn) -> Result<Self> {
        let JsonColumn { field, numbers_as_text, checks, timestamps, json, .. } = column;
        let inner = |part: usize, field: &Field| JsonColumn {
            timestamps: *timestamps,
            json: json.inside(part),
            ..field.clone().into()
        };
        let data_type = field.data_type().clone();
        let values = match &data_type {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Values::Int8(vec![]),
            DataType::Int16 => Values::Int16(vec![]),
            DataType::Int32 => Values::Int32(vec![]),
            DataType::Int64 => Values::Int64(vec![]),
            DataType::UInt8 => Values::UInt8(vec![]),
            DataType::UInt16 => Values::UInt16(vec![]),
            DataType::UInt32 => Values::UInt32(vec![]),
            DataType::UInt64 => Values::UInt64(vec![]),
            DataType::Float32 => Values::Float32(vec![]),
            DataType::Float64 => Values::Float64(vec![]),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal { values: vec![], precision: *precision, scale: *scale }
            }
            DataType::Date32 => Values::Date(vec![]),
            DataType::Time32(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => {
                Values::Time32 { values: vec![], unit: *unit }
            }
            DataType::Time64(unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => {
                Values::Time64 { values: vec![], unit: *unit }
            }
            DataType::Timestamp(unit, _) => {
                let reads = Reads {
                    text: timestamps.is_text(),
                    numbers: timestamps.epoch_unit().map(|of| Epoch::new(of, *unit)),
                    declared: timestamps.name().is_some(),
                };
                Values::Timestamp { values: vec![], unit: *unit, reads }
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if json.is_whole() => {
                Values::Json(Bytes::default())
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Values::Text(Bytes { numbers: *numbers_as_text, ..Bytes::default() })
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Values::Binary(Bytes::default()),
            DataType::Struct(fields) => {
                let columns: Vec<JsonColumn> = fields.iter().enumerate().map(|(at, field)| inner(at, field)).collect();
                Values::Struct(Object::try_new(&columns)?)
            }
            DataType::List(item) | DataType::LargeList(item) => {
                let items = Column::try_new(&inner(0, item))?;
                let cells = items.cells();
                Values::List(Box::new(List { items, item_field: item.clone(), offsets: vec![0], cells }))
            }
            DataType::Map(entries, false) => match map::key_and_value(entries) {
                Some((key, value)) => Values::Map(Box::new(Map::try_new(entries, key, &inner(0, value))?)),
                None => return Err(not_decoded(field)),
            },
            _ => return Err(not_decoded(field)),
        };
        Ok(Column {
            data_type,
            nullable: field.is_nullable(),
            values,
            rows: 0,
            null_rows: vec![],
            // What was read as JSON is JSON.
            checks: checks.iter().filter(|check| !check.is_json()).cloned().collect(),
            timestamps: *timestamps,
            default: DefaultRow::of(column)?.map(Box::new),
        })
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Vectors that one row of this column adds a value to, and what its default counts for.
    pub(super) fn cells(&self) -> usize {
        let own = match &self.values {
            Values::Struct(object) => 1 + object.columns().map(Column::cells).sum::<usize>(),
            _ => 1,
        };
        own + self.default_bytes() / BYTES_OF_A_VALUE
    }

    /// Reads the value at hand. On a fault the column may hold half of it: [`Column::truncate`] it.
    #[inline]
    pub(super) fn append(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let start = cursor.pos;
        if cursor.peek() == b'n' {
            cursor.literal(b"null")?;
            return self.append_explicit_null();
        }
        match self.append_value(cursor) {
            Ok(()) => {
                if !self.checks.is_empty() {
                    self.check(cursor, start)?;
                }
                self.rows += 1;
                Ok(())
            }
            Err(fault) => Err(match *fault {
                Fault::Mismatch(why) => self.unfit(cursor, start, why),
                _ => fault,
            }),
        }
    }

    #[inline(always)]
    fn append_value(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        match &mut self.values {
            Values::Text(text) => text.append_text(cursor),
            Values::Int32(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::Int64(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::Timestamp { values, unit, reads } => {
                timestamp(cursor, *unit, reads).map(|value| values.push(value))
            }
            Values::Float64(values) => number::double(cursor).map(|value| values.push(value)),
            Values::Boolean(values) => boolean(cursor).map(|value| values.append(value)),
            Values::Int8(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::Int16(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::UInt8(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::UInt16(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::UInt32(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::UInt64(values) => number::integer(cursor).map(|value| values.push(value)),
            Values::Float32(values) => number::single(cursor).map(|value| values.push(value)),
            Values::Decimal { values, precision, scale } => {
                decimal(cursor, *precision, *scale).map(|value| values.push(value))
            }
            Values::Date(values) => in_text(cursor, time::date).map(|value| values.push(value)),
            Values::Time32 { values, unit } => {
                let of_day = |text: &[u8]| time::time_of_day(text, *unit).and_then(|value| i32::try_from(value).ok());
                in_text(cursor, of_day).map(|value| values.push(value))
            }
            Values::Time64 { values, unit } => {
                in_text(cursor, |text| time::time_of_day(text, *unit)).map(|value| values.push(value))
            }
            Values::Binary(bytes) => bytes.append_base64(cursor),
            Values::Json(bytes) => bytes.append_raw(cursor),
            Values::Map(map) => match cursor.peek() {
                b'{' => map.append(cursor),
                _ => Err(Fault::mismatch(None)),
            },
            Values::Struct(object) => match cursor.peek() {
                b'{' => object.append(cursor, self.rows),
                _ => Err(Fault::mismatch(None)),
            },
            Values::List(list) => match cursor.peek() {
                b'[' => list.append(cursor),
                _ => Err(Fault::mismatch(None)),
            },
        }
    }

    /// The whole value that does not fit, unless it is no value at all.
    #[cold]
    fn unfit(&self, cursor: &mut Cursor<'_>, start: usize, why: Option<&'static str>) -> Box<Fault> {
        cursor.pos = start;
        let wanted = match self.checks.iter().find(|check| check.is_uuid()) {
            Some(uuid) => uuid.says().to_owned(),
            None => sql_type(&self.data_type),
        };
        match cursor.skip_value() {
            Ok(()) => match &self.data_type {
                DataType::Timestamp(..) => {
                    Fault::no_time(&cursor.bytes[start..cursor.pos], why, &self.data_type, self.timestamps)
                }
                _ => Fault::unfit(&cursor.bytes[start..cursor.pos], why, &wanted),
            },
            Err(syntax) => syntax,
        }
    }

    /// Looks at the value just read, of which `start` is the place in the record.
    ///
    /// # Errors
    /// The value does not meet a check; it is still there, as after other faults.
    #[inline(never)]
    fn check(&self, cursor: &Cursor<'_>, start: usize) -> Result<(), Box<Fault>> {
        for check in &self.checks {
            if !self.last_passes(check) {
                return Err(Fault::unfit(&cursor.bytes[start..cursor.pos], None, check.says()));
            }
        }
        Ok(())
    }

    fn last_passes(&self, check: &Check) -> bool {
        fn whole<T: Copy + Into<i128>>(check: &Check, values: &[T]) -> bool {
            values.last().is_some_and(|value| check.whole_passes((*value).into()))
        }
        match &self.values {
            Values::Text(bytes) | Values::Json(bytes) => check.text_passes(bytes.last_value()),
            Values::Int8(values) => whole(check, values),
            Values::Int16(values) => whole(check, values),
            Values::Int32(values) | Values::Date(values) | Values::Time32 { values, .. } => whole(check, values),
            Values::Int64(values) | Values::Time64 { values, .. } | Values::Timestamp { values, .. } => {
                whole(check, values)
            }
            Values::UInt8(values) => whole(check, values),
            Values::UInt16(values) => whole(check, values),
            Values::UInt32(values) => whole(check, values),
            Values::UInt64(values) => whole(check, values),
            Values::Decimal { values, .. } => whole(check, values),
            Values::Float32(values) => values.last().is_some_and(|value| check.real_passes(f64::from(*value))),
            Values::Float64(values) => values.last().is_some_and(|value| check.real_passes(*value)),
            // No check is made for these.
            Values::Boolean(_) | Values::Binary(_) | Values::Struct(_) | Values::List(_) | Values::Map(_) => false,
        }
    }

    /// # Errors
    /// Where the schema says not null; `found` then tells what there was instead of a value.
    #[inline]
    pub(super) fn append_null(&mut self, found: &'static str) -> Result<(), Box<Fault>> {
        if !self.nullable {
            return Err(Fault::value(format!("{found}; the schema says not null")));
        }
        self.append_gap();
        Ok(())
    }

    /// A row without a value, also where the schema says not null: the struct around it is null then.
    fn append_gap(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) | Values::Time32 { values, .. } => values.push(0),
            Values::Int64(values) | Values::Time64 { values, .. } | Values::Timestamp { values, .. } => values.push(0),
            Values::UInt8(values) => values.push(0),
            Values::UInt16(values) => values.push(0),
            Values::UInt32(values) => values.push(0),
            Values::UInt64(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Text(bytes) | Values::Json(bytes) | Values::Binary(bytes) => {
                bytes.offsets.push(last(&bytes.offsets));
            }
            Values::Struct(object) => object.columns_mut().for_each(Column::append_gap),
            Values::List(list) => list.offsets.push(last(&list.offsets)),
            Values::Map(map) => map.append_gap(),
        }
        self.null_rows.push(self.rows);
        self.rows += 1;
    }

    /// Forgets everything behind the first `rows` rows, half-read values included.
    pub(super) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int8(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values) | Values::Time32 { values, .. } => values.truncate(rows),
            Values::Int64(values) | Values::Time64 { values, .. } | Values::Timestamp { values, .. } => {
                values.truncate(rows)
            }
            Values::UInt8(values) => values.truncate(rows),
            Values::UInt16(values) => values.truncate(rows),
            Values::UInt32(values) => values.truncate(rows),
            Values::UInt64(values) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Text(bytes) | Values::Json(bytes) | Values::Binary(bytes) => {
                bytes.offsets.truncate(rows + 1);
                bytes.data.truncate(last(&bytes.offsets) as usize);
            }
            Values::Struct(object) => object.truncate(rows),
            Values::List(list) => {
                list.offsets.truncate(rows + 1);
                list.items.truncate(last(&list.offsets) as usize);
            }
            Values::Map(map) => map.truncate(rows),
        }
        self.rows = self.rows.min(rows);
        while self.null_rows.pop_if(|null| *null >= rows).is_some() {}
    }

    /// Roughly what the rows occupy, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let rows = self.len();
        let values = match &self.values {
            Values::Boolean(_) => rows / 8,
            Values::Int8(_) | Values::UInt8(_) => rows,
            Values::Int16(_) | Values::UInt16(_) => rows * 2,
            Values::Int32(_) | Values::UInt32(_) | Values::Float32(_) | Values::Date(_) | Values::Time32 { .. } => {
                rows * 4
            }
            Values::Int64(_)
            | Values::UInt64(_)
            | Values::Float64(_)
            | Values::Time64 { .. }
            | Values::Timestamp { .. } => rows * 8,
            Values::Decimal { .. } => rows * 16,
            Values::Text(bytes) | Values::Json(bytes) | Values::Binary(bytes) => rows * 4 + bytes.data.len(),
            Values::Struct(object) => object.columns().map(Column::bytes).sum(),
            Values::List(list) => rows * 4 + list.items.bytes(),
            Values::Map(map) => rows * 4 + map.bytes(),
        };
        values + self.null_rows.len() * 8
    }

    /// Takes the rows as an array; the column is empty again, with room for as many.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let rows = self.len();
        let nulls = null_buffer(rows, &self.null_rows);
        self.rows = 0;
        self.null_rows.clear();
        let data_type = &self.data_type;
        Ok(match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(taken_bits(values), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls, data_type),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls, data_type),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls, data_type),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls, data_type),
            Values::UInt8(values) => primitive::<UInt8Type>(values, nulls, data_type),
            Values::UInt16(values) => primitive::<UInt16Type>(values, nulls, data_type),
            Values::UInt32(values) => primitive::<UInt32Type>(values, nulls, data_type),
            Values::UInt64(values) => primitive::<UInt64Type>(values, nulls, data_type),
            Values::Float32(values) => primitive::<Float32Type>(values, nulls, data_type),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls, data_type),
            Values::Decimal { values, .. } => primitive::<Decimal128Type>(values, nulls, data_type),
            Values::Date(values) => primitive::<Date32Type>(values, nulls, data_type),
            Values::Time32 { values, unit } => match unit {
                TimeUnit::Second => primitive::<Time32SecondType>(values, nulls, data_type),
                _ => primitive::<Time32MillisecondType>(values, nulls, data_type),
            },
            Values::Time64 { values, unit } => match unit {
                TimeUnit::Microsecond => primitive::<Time64MicrosecondType>(values, nulls, data_type),
                _ => primitive::<Time64NanosecondType>(values, nulls, data_type),
            },
            Values::Timestamp { values, unit, .. } => match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(values, nulls, data_type),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(values, nulls, data_type),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(values, nulls, data_type),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(values, nulls, data_type),
            },
            Values::Text(bytes) | Values::Json(bytes) => bytes.finish_text(nulls, data_type)?,
            Values::Binary(bytes) => bytes.finish_binary(nulls, data_type)?,
            Values::Struct(object) => {
                let arrays = object.finish()?;
                let DataType::Struct(fields) = data_type else { unreachable!("made from a struct type") };
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows)?)
            }
            Values::List(list) => match data_type {
                DataType::LargeList(_) => list.finish::<i64>(nulls)?,
                _ => list.finish::<i32>(nulls)?,
            },
            Values::Map(map) => map.finish(nulls)?,
        })
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes { data: vec![], offsets: vec![0], numbers: false }
    }
}

impl Bytes {
    fn last_value(&self) -> &[u8] {
        match self.offsets.as_slice() {
            [.., start, end] => &self.data[*start as usize..*end as usize],
            _ => &[],
        }
    }

    /// A string, or the raw text of an object or a list. Other values do not become text, for types are declared; numbers
    /// do where that is declared.
    #[inline]
    fn append_text(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        match cursor.peek() {
            b'"' => {
                let Text { start, end, escaped } = cursor.string()?;
                if escaped {
                    unescape_into(&cursor.bytes[start..end], &mut self.data);
                } else {
                    self.copy(cursor.bytes, start, end);
                }
            }
            b'{' | b'[' => {
                let start = cursor.pos;
                cursor.skip_value()?;
                self.data.extend_from_slice(&cursor.bytes[start..cursor.pos]);
            }
            b'-' | b'0'..=b'9' if self.numbers => {
                let Number { start, end, .. } = cursor.number()?;
                self.data.extend_from_slice(&cursor.bytes[start..end]);
            }
            _ => return Err(Fault::mismatch(None)),
        }
        self.end_value()
    }

    /// Any value, as it stands.
    fn append_raw(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let start = cursor.pos;
        cursor.skip_value()?;
        self.data.extend_from_slice(&cursor.bytes[start..cursor.pos]);
        self.end_value()
    }

    fn append_base64(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let Self { data, .. } = self;
        in_text(cursor, |text| BASE64.decode_vec(text, data).ok())?;
        self.end_value()
    }

    /// Copies `bytes[start..end]`. Most values are short: a copy of fixed size beats a call of `memcpy`.
    #[inline(always)]
    fn copy(&mut self, bytes: &[u8], start: usize, end: usize) {
        let (before, length) = (self.data.len(), end - start);
        if length <= 16
            && let Some(chunk) = bytes[start..].first_chunk::<16>()
        {
            self.data.extend_from_slice(chunk);
            self.data.truncate(before + length);
        } else if length <= 48
            && let Some(chunk) = bytes[start..].first_chunk::<48>()
        {
            self.data.extend_from_slice(chunk);
            self.data.truncate(before + length);
        } else {
            self.data.extend_from_slice(&bytes[start..end]);
        }
    }

    #[inline(always)]
    fn end_value(&mut self) -> Result<(), Box<Fault>> {
        let end = i32::try_from(self.data.len())
            .map_err(|_| Fault::value("does not fit: the batch already holds 2 GiB of this column".into()))?;
        self.offsets.push(end);
        Ok(())
    }

    fn finish_text(&mut self, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
        let (data, offsets) = (taken(&mut self.data), taken_offsets(&mut self.offsets));
        // Checks UTF-8 over all values at once, which for ASCII is almost free.
        if matches!(data_type, DataType::LargeUtf8) {
            return Ok(Arc::new(LargeStringArray::try_new(widened(offsets), Buffer::from_vec(data), nulls)?));
        }
        let array = StringArray::try_new(offsets, Buffer::from_vec(data), nulls)?;
        if matches!(data_type, DataType::Utf8) {
            return Ok(Arc::new(array));
        }
        // Views that hold every value themselves need not keep the text alive.
        let view = if longest(array.offsets()) <= 12 {
            StringViewArray::from_iter(array.iter())
        } else {
            StringViewArray::from(&array)
        };
        Ok(Arc::new(view))
    }

    fn finish_binary(&mut self, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
        let (data, offsets) = (Buffer::from_vec(taken(&mut self.data)), taken_offsets(&mut self.offsets));
        if matches!(data_type, DataType::LargeBinary) {
            return Ok(Arc::new(LargeBinaryArray::try_new(widened(offsets), data, nulls)?));
        }
        let array = BinaryArray::try_new(offsets, data, nulls)?;
        if matches!(data_type, DataType::Binary) {
            return Ok(Arc::new(array));
        }
        Ok(Arc::new(BinaryViewArray::from(&array)))
    }
}

impl List {
    fn append(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let first = self.items.len();
        cursor.enter()?;
        cursor.skip_space();
        if cursor.peek() == b']' {
            cursor.pos += 1;
        } else {
            loop {
                cursor.charge(self.cells)?;
                let index = self.items.len() - first;
                self.items.append(cursor).map_err(|fault| fault.in_item(index))?;
                if !cursor.more(b']')? {
                    break;
                }
            }
        }
        cursor.leave();
        let end = i32::try_from(self.items.len())
            .map_err(|_| Fault::value("does not fit: the batch already holds 2^31 items of this column".into()))?;
        self.offsets.push(end);
        Ok(())
    }

    fn finish<O: OffsetSizeTrait>(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let items = self.items.finish()?;
        let offsets = taken_offsets(&mut self.offsets);
        let offsets: OffsetBuffer<O> =
            OffsetBuffer::new(offsets.iter().map(|end| O::usize_as(*end as usize)).collect());
        Ok(Arc::new(GenericListArray::<O>::try_new(self.item_field.clone(), offsets, items, nulls)?))
    }
}

fn not_decoded(field: &Field) -> Error {
    let (name, says) = (field.name(), sql_type(field.data_type()));
    Error::invalid(format!("column \"{name}\" has type {says}, which JSON values are not decoded to"))
}

#[inline]
fn timestamp(cursor: &mut Cursor<'_>, unit: TimeUnit, reads: &Reads) -> Result<i64, Box<Fault>> {
    if cursor.peek() != b'"' {
        return match &reads.numbers {
            Some(epoch) => number::time(cursor, epoch, reads.declared),
            None => Err(Fault::mismatch(None)),
        };
    }
    if !reads.text {
        return Err(Fault::mismatch(None));
    }
    let mut beyond = false;
    in_text(cursor, |text| time::timestamp(text, unit).inspect_err(|no| beyond = *no == NoTime::Range).ok())
        .map_err(|fault| if beyond { Fault::mismatch(Some(OUT_OF_RANGE)) } else { fault })
}

fn decimal(cursor: &mut Cursor<'_>, precision: u8, scale: i8) -> Result<i128, Box<Fault>> {
    if cursor.peek() != b'"' {
        return number::decimal(cursor, precision, scale);
    }
    let mut fault = None;
    in_text(cursor, |text| number::decimal_from_text(text, precision, scale).map_err(|found| fault = Some(found)).ok())
        .map_err(|other| fault.unwrap_or(other))
}

#[inline]
fn boolean(cursor: &mut Cursor<'_>) -> Result<bool, Box<Fault>> {
    match cursor.peek() {
        b't' => cursor.literal(b"true").map(|()| true),
        b'f' => cursor.literal(b"false").map(|()| false),
        _ => Err(Fault::mismatch(None)),
    }
}

/// Reads a string and what it stands for.
#[inline]
fn in_text<T>(cursor: &mut Cursor<'_>, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Box<Fault>> {
    if cursor.peek() != b'"' {
        return Err(Fault::mismatch(None));
    }
    let Text { start, end, escaped } = cursor.string()?;
    let raw = &cursor.bytes[start..end];
    let value = if escaped {
        let mut text = Vec::new();
        unescape_into(raw, &mut text);
        read(&text)
    } else {
        read(raw)
    };
    value.ok_or_else(|| Fault::mismatch(None))
}

fn last(offsets: &[i32]) -> i32 {
    offsets.last().copied().unwrap_or(0)
}

fn longest(offsets: &[i32]) -> i32 {
    offsets.windows(2).map(|pair| pair[1] - pair[0]).fold(0, i32::max)
}

/// Takes the values and leaves room for as many: the next batch is likely as large.
/// Room left over is given back where it is more than half, since an array pins all of it.
fn taken<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    let mut taken = std::mem::replace(values, room);
    if taken.len() < taken.capacity() / 2 {
        taken.shrink_to_fit();
    }
    taken
}

fn taken_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let taken = taken(offsets);
    offsets.push(0);
    OffsetBuffer::new(ScalarBuffer::from(taken))
}

fn null_buffer(rows: usize, null_rows: &[usize]) -> Option<NullBuffer> {
    if null_rows.is_empty() {
        return None;
    }
    let mut valid = BooleanBufferBuilder::new(rows);
    valid.append_n(rows, true);
    null_rows.iter().for_each(|row| valid.set_bit(*row, false));
    Some(NullBuffer::new(valid.finish()))
}

fn taken_bits(values: &mut BooleanBufferBuilder) -> BooleanBuffer {
    values.finish()
}

fn widened(offsets: OffsetBuffer<i32>) -> OffsetBuffer<i64> {
    OffsetBuffer::new(offsets.iter().map(|end| i64::from(*end)).collect())
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(taken(values)), nulls).with_data_type(data_type.clone()))
}
