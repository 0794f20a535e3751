//! What was not taken into a result, as rows one can query: late rows and dead letters.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::clock::Micros;
use crate::error::Result;
use crate::operator::contract::LateRow;
use crate::source::DeadLetter;

fn micros(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), false)
}

/// One row for each row and operator that it came too late for.
pub fn late_schema() -> SchemaRef {
    let maybe = |name: &str, data_type| Field::new(name, data_type, true);
    let time = || DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("query", DataType::Utf8, false),
        Field::new("operator", DataType::Utf8, false),
        maybe("input", DataType::Int32),
        maybe("event_time", time()),
        // That against which it was late.
        micros("watermark"),
        // Where it was read; NULL for rows that an operator made.
        maybe("topic", DataType::Utf8),
        maybe("partition", DataType::Int32),
        maybe("offset", DataType::Int64),
        maybe("position", DataType::Int32),
        // Start of the first window that it missed, and end of the last.
        maybe("missed_from", time()),
        maybe("missed_to", time()),
        // The row as the query reads it, a JSON object.
        Field::new("row", DataType::Utf8, false),
    ]))
}

/// A batch of a ledger that an earlier version wrote, with the columns of today: those it did not have are NULL.
pub(super) fn as_of_today(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref().fields() == schema.fields() {
        return Ok(batch);
    }
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
        _ => new_null_array(field.data_type(), batch.num_rows()),
    };
    let columns = schema.fields().iter().map(column).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// One row for each record that could not be decoded, raw bytes and all.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("query", DataType::Utf8, false),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("column", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, false),
        micros("seen_at"),
    ]))
}

/// `None` without rows.
pub(super) fn late_batch(query: &str, rows: &[LateRow]) -> Result<Option<RecordBatch>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let time =
        |of: fn(&LateRow) -> Option<Micros>| Arc::new(rows.iter().map(of).collect::<TimestampMicrosecondArray>());
    let origins = || rows.iter().map(|row| row.origin.as_ref());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|_| Some(query)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.operator.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| i32::try_from(row.input).ok()).collect::<Int32Array>()),
        time(|row| row.event_time),
        time(|row| Some(row.watermark)),
        Arc::new(origins().map(|origin| Some(origin?.topic.as_ref())).collect::<StringArray>()),
        Arc::new(origins().map(|origin| Some(origin?.partition)).collect::<Int32Array>()),
        Arc::new(origins().map(|origin| Some(origin?.offset)).collect::<Int64Array>()),
        Arc::new(origins().map(|origin| Some(origin?.position)).collect::<Int32Array>()),
        time(|row| Some(row.missed?.0)),
        time(|row| Some(row.missed?.1)),
        Arc::new(rows.iter().map(|row| Some(row.row.as_str())).collect::<StringArray>()),
    ];
    Ok(Some(RecordBatch::try_new(late_schema(), columns)?))
}

/// `None` without rows. `now`: when they were seen.
pub(super) fn dead_letter_batch(query: &str, rows: &[DeadLetter], now: Micros) -> Result<Option<RecordBatch>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|_| Some(query)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.topic.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.partition).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.offset).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.timestamp_ms).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|row| row.key.as_deref()).collect::<BinaryArray>()),
        Arc::new(rows.iter().map(|row| row.value.as_deref()).collect::<BinaryArray>()),
        Arc::new(rows.iter().map(|row| row.column.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.reason.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|_| Some(now)).collect::<TimestampMicrosecondArray>()),
    ];
    Ok(Some(RecordBatch::try_new(dead_letter_schema(), columns)?))
}
