//! What was not taken into a result, as rows one can query: late rows and dead letters.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::clock::Micros;
use crate::error::Result;
use crate::pipeline::LateRow;
use crate::source::DeadLetter;

fn micros(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), false)
}

/// One row for each window that a row came too late for.
pub fn late_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("query", DataType::Utf8, false),
        Field::new("operator", DataType::Utf8, false),
        micros("window_start"),
        micros("window_end"),
        // The watermark that had passed the window's end when the row came.
        micros("watermark"),
        // The row as the query reads it, a JSON object.
        Field::new("row", DataType::Utf8, false),
    ]))
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
    let time = |of: fn(&LateRow) -> Micros| {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<TimestampMicrosecondArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|_| Some(query)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.operator.as_str())).collect::<StringArray>()),
        time(|row| row.window_start),
        time(|row| row.window_end),
        time(|row| row.watermark),
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
