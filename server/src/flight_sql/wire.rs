//! What goes over the wire: the one place that decides the schema of a result, and the messages that carry its rows.
//!
//! Prepare, GetSchema, GetFlightInfo and DoGet all use [`wire_schema`] of the same plan. Clients compare these schemas
//! and refuse a result whose nullability differs, which an optimizer may well change; so every field is nullable here,
//! whatever the plan says. Types that some clients cannot read are sent as their plain siblings.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef};
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow_flight::{FlightData, SchemaAsIpc};

use crate::error::{Error, Result};

/// Bytes of rows that a message should carry: large enough to amortise it, small enough to stay in cache.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// No message is larger than this, encoded: clients built on gRPC's defaults refuse 4 MiB.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024 - 4096;

/// A batch whose strings take more than this when written out is cast in parts: offsets have 32 bits.
const CAST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Rows cast at once where a dictionary's values are written out, whose size is not known before.
const DICTIONARY_ROWS: usize = 1024;

/// The schema in which rows of `schema` are sent: plain types, every field nullable, no metadata.
pub fn wire_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(wire_field).collect::<Fields>()))
}

fn wire_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), wire_type(field.data_type()), true))
}

/// The type in which values of `data_type` are sent.
pub fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => wire_type(values),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(wire_field(item))
        }
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(wire_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(map_entries(entries), *sorted),
        other => other.clone(),
    }
}

/// A map's entries and keys are never null, by Arrow's definition.
fn map_entries(entries: &FieldRef) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else {
        return Arc::clone(entries);
    };
    let wire = fields.iter().enumerate().map(|(i, field)| match i {
        0 => Arc::new(Field::new(field.name(), wire_type(field.data_type()), false)),
        _ => wire_field(field),
    });
    Arc::new(Field::new(entries.name(), DataType::Struct(wire.collect()), false))
}

/// Turns the batches of one result into Flight messages.
#[derive(Debug)]
pub struct WireEncoder {
    schema: SchemaRef,
    options: IpcWriteOptions,
    tracker: DictionaryTracker,
    context: IpcWriteContext,
}

impl WireEncoder {
    /// `schema`: from [`wire_schema`].
    pub fn new(schema: SchemaRef) -> Self {
        WireEncoder {
            schema,
            options: IpcWriteOptions::default(),
            tracker: DictionaryTracker::new(false),
            context: IpcWriteContext::default(),
        }
    }

    /// The first message of a stream.
    pub fn schema_message(&self) -> FlightData {
        SchemaAsIpc::new(&self.schema, &self.options).into()
    }

    /// The messages for one batch; none for an empty one.
    ///
    /// # Errors
    /// `OverBudget` if a single row does not fit into a message.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>> {
        let mut messages = Vec::new();
        let rows_at_once = rows_per_cast(batch);
        let mut offset = 0;
        while offset < batch.num_rows() {
            let rows = rows_at_once.min(batch.num_rows() - offset);
            let part = self.to_wire(&batch.slice(offset, rows))?;
            let parts = slice_bytes(&part).div_ceil(MESSAGE_BYTES).max(1);
            let rows_per_message = rows.div_ceil(parts).max(1);
            let mut start = 0;
            while start < rows {
                let length = rows_per_message.min(rows - start);
                self.encode_rows(part.slice(start, length), &mut messages)?;
                start += length;
            }
            offset += rows;
        }
        Ok(messages)
    }

    /// Halves the rows until each message fits: rows of a batch can differ in size by any factor.
    fn encode_rows(&mut self, rows: RecordBatch, messages: &mut Vec<FlightData>) -> Result<()> {
        let mut todo = vec![rows];
        while let Some(rows) = todo.pop() {
            // Estimated first, so that a much too large part is not encoded in vain.
            let fits = slice_bytes(&rows) <= 2 * MESSAGE_BYTES || rows.num_rows() == 1;
            if fits {
                let message = self.message(&rows)?;
                let bytes = message.data_header.len() + message.data_body.len();
                if bytes <= MESSAGE_BYTES_MAX {
                    messages.push(message);
                    continue;
                }
                if rows.num_rows() == 1 {
                    return Err(Error::over_budget(format!(
                        "a row of the result takes {bytes} bytes; a message can carry {MESSAGE_BYTES_MAX}"
                    ))
                    .hint("select fewer columns, or a part of the long value"));
                }
            }
            let half = rows.num_rows() / 2;
            todo.push(rows.slice(half, rows.num_rows() - half));
            todo.push(rows.slice(0, half));
        }
        Ok(())
    }

    fn message(&mut self, rows: &RecordBatch) -> Result<FlightData> {
        let generator = IpcDataGenerator::default();
        let (dictionaries, data) = generator.encode(rows, &mut self.tracker, &self.options, &mut self.context)?;
        debug_assert!(dictionaries.is_empty(), "wire types have no dictionaries");
        Ok(data.into())
    }

    fn to_wire(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.num_columns() != self.schema.fields().len() {
            return Err(Error::bug("a result has other columns than were announced").detail(format!(
                "announced {}, got {}",
                self.schema.fields().len(),
                batch.num_columns()
            )));
        }
        let options = CastOptions { safe: false, ..Default::default() };
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            debug_assert!(
                same_kind(column.data_type(), field.data_type()),
                "column \"{}\" was announced as {} and is {}",
                field.name(),
                field.data_type(),
                column.data_type()
            );
            cast_with_options(column, field.data_type(), &options)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// Whether a column that arrives is what was announced, up to the normalisation: anything else is our mistake.
fn same_kind(arrived: &DataType, announced: &DataType) -> bool {
    wire_type(arrived) == *announced
}

/// How many rows may be written out at once without overflowing 32-bit offsets.
fn rows_per_cast(batch: &RecordBatch) -> usize {
    let mut rows = batch.num_rows().max(1);
    for column in batch.columns() {
        let bytes = match column.data_type() {
            DataType::Utf8View => column.as_string_view().lengths().map(|length| length as usize).sum(),
            DataType::BinaryView => column.as_binary_view().lengths().map(|length| length as usize).sum(),
            DataType::Dictionary(..) => {
                rows = rows.min(DICTIONARY_ROWS);
                0
            }
            // Sizes are in the offsets, and the slice's own memory says it.
            DataType::LargeUtf8 | DataType::LargeBinary => column.to_data().get_slice_memory_size().unwrap_or(0),
            _ => 0,
        };
        if bytes > CAST_BYTES_MAX {
            rows = rows.min((batch.num_rows() / bytes.div_ceil(CAST_BYTES_MAX)).max(1));
        }
    }
    rows
}

/// Bytes of a batch of wire types as it is sent, sliced arrays counted by their rows.
fn slice_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()))
        .sum()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn encode(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<FlightData>> {
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        WireEncoder::new(wire_schema(batch.schema_ref())).encode(&batch)
    }

    fn bytes(message: &FlightData) -> usize {
        message.data_header.len() + message.data_body.len()
    }

    /// Strings that differ by a factor of a million in size still give messages below the limit.
    #[test]
    fn skewed_strings_never_pass_the_message_limit() {
        let text = |i: usize| "x".repeat(if i % 100 == 7 { 3_000_000 } else { 3 });
        let messages =
            encode(vec![("s", Arc::new(StringViewArray::from_iter_values((0..300).map(text))))]).expect("encodes");
        assert!(messages.iter().all(|message| bytes(message) <= MESSAGE_BYTES_MAX));
        assert!(messages.len() >= 3);
    }

    #[test]
    fn a_row_that_fits_into_no_message_is_refused_with_its_size() {
        let error =
            encode(vec![("s", Arc::new(StringArray::from(vec!["x".repeat(5_000_000)])))]).expect_err("too large");
        assert_eq!(error.kind(), crate::error::ErrorKind::OverBudget);
        assert!(error.primary().contains("takes 500"), "{error}");
    }

    /// A slice of a large batch is sent as what it is, not in as many messages as its parent would need.
    #[test]
    fn a_small_slice_is_one_message() {
        let whole: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4_000_000));
        assert_eq!(encode(vec![("n", whole.slice(1000, 100))]).expect("encodes").len(), 1);
        assert!(encode(vec![("n", whole)]).expect("encodes").len() > 16);
    }
}
