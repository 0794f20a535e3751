//! Metadata columns: what a record's envelope says about it.
//!
//! Each is built in its natural type and cast to the declared one once a batch, where that differs.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringViewBuilder,
    StructBuilder, TimestampMillisecondBuilder,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::json::RowError;
use super::time::{Epoch, range};
use crate::catalog::{Column, MetadataKey};
use crate::error::{Error, Result};
use crate::source::Record;

/// What a header takes beside its bytes: a view and an offset.
const HEADER_BYTES: usize = 20;

pub(super) struct EnvelopeColumn {
    name: String,
    data_type: DataType,
    nullable: bool,
    values: Values,
    /// Of values of varying length.
    bytes: usize,
}

enum Values {
    Topic(StringViewBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMillisecondBuilder),
    Key(BinaryBuilder),
    Headers(ListBuilder<StructBuilder>),
}

impl EnvelopeColumn {
    /// # Errors
    /// `Invalid` where the declared type cannot hold the metadata.
    pub(super) fn try_new(key: MetadataKey, column: &Column) -> Result<Self> {
        let fits = match (key, &column.data_type) {
            (MetadataKey::Topic, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => true,
            (MetadataKey::Partition, DataType::Int32 | DataType::Int64) => true,
            (MetadataKey::Offset, DataType::Int64) => true,
            (MetadataKey::Timestamp, DataType::Timestamp(..)) => true,
            (MetadataKey::Key, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => true,
            (MetadataKey::Headers, DataType::List(item)) => is_header(item.data_type()),
            _ => false,
        };
        if !fits {
            let wanted = match key {
                MetadataKey::Topic => "VARCHAR",
                MetadataKey::Partition => "INT",
                MetadataKey::Offset => "BIGINT",
                MetadataKey::Timestamp => "TIMESTAMP(3)",
                MetadataKey::Key => "BYTEA",
                MetadataKey::Headers => "a list of structs (key VARCHAR, value BYTEA)",
            };
            return Err(Error::invalid(format!(
                "metadata column \"{}\" cannot be of type {}",
                column.name, column.data_type
            ))
            .hint(format!("declare it as {wanted}")));
        }
        let values = match key {
            MetadataKey::Topic => Values::Topic(StringViewBuilder::new().with_deduplicate_strings()),
            MetadataKey::Partition => Values::Partition(Int32Builder::new()),
            MetadataKey::Offset => Values::Offset(Int64Builder::new()),
            MetadataKey::Timestamp => {
                // With the declared zone from the start: casting one in would shift the instant.
                let zone = match &column.data_type {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                let natural = DataType::Timestamp(TimeUnit::Millisecond, zone);
                Values::Timestamp(TimestampMillisecondBuilder::new().with_data_type(natural))
            }
            MetadataKey::Key => Values::Key(BinaryBuilder::new()),
            MetadataKey::Headers => Values::Headers(headers_builder()),
        };
        Ok(EnvelopeColumn {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
            nullable: column.nullable,
            values,
            bytes: 0,
        })
    }

    /// # Errors
    /// Where the record lacks what the schema says is not null.
    pub(super) fn check(&self, record: &Record<'_>) -> Result<(), RowError> {
        let lacks = match &self.values {
            Values::Timestamp(_) => record.timestamp_ms.is_none(),
            Values::Key(_) => record.key.is_none(),
            _ => false,
        };
        if lacks && !self.nullable {
            return Err(RowError {
                column: Some(self.name.clone()),
                reason: format!(
                    "field \"{}\" is missing in the record's metadata; the schema says not null",
                    self.name
                ),
            });
        }
        if let (Values::Timestamp(_), Some(ms), DataType::Timestamp(unit, _)) =
            (&self.values, record.timestamp_ms, &self.data_type)
            && Epoch::new(TimeUnit::Millisecond, *unit).value(ms).is_err()
        {
            return Err(RowError {
                column: Some(self.name.clone()),
                reason: format!(
                    "the record's metadata says timestamp {ms}, which as epoch-ms lies outside {}; field \"{}\" cannot hold it",
                    range(*unit),
                    self.name
                ),
            });
        }
        Ok(())
    }

    pub(super) fn append(&mut self, topic: &str, record: &Record<'_>) {
        match &mut self.values {
            Values::Topic(values) => values.append_value(topic),
            Values::Partition(values) => values.append_value(record.partition),
            Values::Offset(values) => values.append_value(record.offset),
            Values::Timestamp(values) => values.append_option(record.timestamp_ms),
            Values::Key(values) => {
                self.bytes += record.key.map_or(0, <[u8]>::len);
                values.append_option(record.key);
            }
            Values::Headers(values) => {
                let item = values.values();
                if let Some(headers) = record.headers {
                    headers.visit(&mut |key, value| {
                        self.bytes += key.len() + value.map_or(0, <[u8]>::len);
                        append_header(item, key, value);
                    });
                }
                values.append(true);
            }
        }
    }

    /// Bytes of varying length that a row of this record has in the column.
    pub(super) fn growth(&self, record: &Record<'_>) -> usize {
        match &self.values {
            Values::Key(_) => record.key.map_or(0, <[u8]>::len),
            Values::Headers(_) => {
                let mut bytes = 0;
                if let Some(headers) = record.headers {
                    headers.visit(&mut |key, value| {
                        bytes += HEADER_BYTES + key.len() + value.map_or(0, <[u8]>::len);
                    });
                }
                bytes
            }
            Values::Topic(_) | Values::Partition(_) | Values::Offset(_) | Values::Timestamp(_) => 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let fixed = match &self.values {
            Values::Topic(values) => values.len() * 16,
            Values::Partition(values) => values.len() * 4,
            Values::Offset(values) => values.len() * 8,
            Values::Timestamp(values) => values.len() * 8,
            Values::Key(values) => values.len() * 4,
            Values::Headers(values) => values.len() * 4,
        };
        fixed + self.bytes
    }

    /// Takes the rows as an array of the declared type.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        self.bytes = 0;
        let array: ArrayRef = match &mut self.values {
            Values::Topic(values) => Arc::new(values.finish()),
            Values::Partition(values) => Arc::new(values.finish()),
            Values::Offset(values) => Arc::new(values.finish()),
            Values::Timestamp(values) => Arc::new(values.finish()),
            Values::Key(values) => Arc::new(values.finish()),
            Values::Headers(values) => Arc::new(values.finish()),
        };
        if array.data_type() == &self.data_type {
            return Ok(array);
        }
        // Everything that a cast could lose was checked when the row came.
        Ok(cast_with_options(&array, &self.data_type, &CastOptions { safe: false, ..CastOptions::default() })?)
    }
}

fn is_header(item: &DataType) -> bool {
    let DataType::Struct(fields) = item else { return false };
    let [key, value] = fields.as_ref() else { return false };
    let text = matches!(key.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let binary = matches!(value.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    // A header's value may be null whatever the schema hopes for.
    key.name() == "key" && value.name() == "value" && text && binary && value.is_nullable()
}

fn headers_builder() -> ListBuilder<StructBuilder> {
    let fields =
        Fields::from(vec![Field::new("key", DataType::Utf8View, false), Field::new("value", DataType::Binary, true)]);
    ListBuilder::new(StructBuilder::new(
        fields,
        vec![Box::new(StringViewBuilder::new()), Box::new(BinaryBuilder::new())],
    ))
}

fn append_header(item: &mut StructBuilder, key: &[u8], value: Option<&[u8]>) {
    if let Some(keys) = item.field_builder::<StringViewBuilder>(0) {
        keys.append_value(String::from_utf8_lossy(key));
    }
    if let Some(values) = item.field_builder::<BinaryBuilder>(1) {
        values.append_option(value);
    }
    item.append(true);
}
