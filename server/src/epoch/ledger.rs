//! What was not taken into a result, as rows one can query: late rows and dead letters.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::clock::Micros;
use crate::error::{Error, Result};
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

/// Rows of the late ledger that an earlier version wrote, one for each window missed: what they did not say is NULL.
///
/// # Errors
/// `Corrupt` where a column is of another type.
pub(super) fn late_as_of_today(batch: RecordBatch) -> Result<RecordBatch> {
    let schema = late_schema();
    let renamed = |name: &str| match name {
        "missed_from" => "window_start",
        "missed_to" => "window_end",
        _ => "",
    };
    let column = |field: &Arc<Field>| {
        let found = batch.column_by_name(field.name()).or_else(|| batch.column_by_name(renamed(field.name())));
        match found {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => Err(Error::corrupt(format!(
                "column \"{}\" of the late ledger is {}, not {}",
                field.name(),
                column.data_type(),
                field.data_type()
            ))
            .hint("restore the checkpoint from a backup, or start with the version that wrote it")),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Rows of the dead letters that an earlier version wrote, when all of them had an origin.
pub(super) fn dead_letters_as_of_today(batch: RecordBatch) -> Result<RecordBatch> {
    let as_of_today = RecordBatch::try_new(dead_letter_schema(), batch.columns().to_vec());
    as_of_today.map_err(|error| Error::corrupt("the dead letters have other columns").caused_by(error))
}

/// One row for each record that could not be decoded, raw bytes and all, and for each row that an expression cannot take.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("query", DataType::Utf8, false),
        Field::new("topic", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("column", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, false),
        micros("seen_at"),
    ]))
}

/// Text of one batch, bytes: readers take batches whole, and a column of texts cannot have 2 GiB.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// What an entry takes in memory, apart from its fixed parts.
pub(super) fn late_bytes(row: &LateRow) -> usize {
    row.row.len() + row.operator.len()
}

/// As for [`late_bytes`].
pub(super) fn dead_letter_bytes(row: &DeadLetter) -> usize {
    let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    bytes(&row.key) + bytes(&row.value) + row.reason.len() + row.topic.as_ref().map_or(0, String::len)
}

/// The rows in parts of at most [`BATCH_BYTES_MAX`], but for a row that has more by itself.
fn in_parts<T>(mut rows: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let mut sum = 0_usize;
        let fits = |row: &&T| {
            sum = sum.saturating_add(bytes(row));
            sum <= BATCH_BYTES_MAX
        };
        let (part, rest) = rows.split_at(rows.iter().take_while(fits).count().max(1));
        parts.push(part);
        rows = rest;
    }
    parts
}

/// Late rows as batches of the ledger.
pub(super) fn late_batches(query: &str, rows: &[LateRow]) -> Result<Vec<RecordBatch>> {
    in_parts(rows, late_bytes).into_iter().map(|rows| late_batch(query, rows)).collect()
}

/// Bad records and rows as batches of the ledger. `now`: when they were seen.
pub(super) fn dead_letter_batches(query: &str, rows: &[DeadLetter], now: Micros) -> Result<Vec<RecordBatch>> {
    in_parts(rows, dead_letter_bytes).into_iter().map(|rows| dead_letter_batch(query, rows, now)).collect()
}

fn late_batch(query: &str, rows: &[LateRow]) -> Result<RecordBatch> {
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
    Ok(RecordBatch::try_new(late_schema(), columns)?)
}

fn dead_letter_batch(query: &str, rows: &[DeadLetter], now: Micros) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|_| Some(query)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.topic.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.partition).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.offset).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.timestamp_ms).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|row| row.key.as_deref()).collect::<BinaryArray>()),
        Arc::new(rows.iter().map(|row| row.value.as_deref()).collect::<BinaryArray>()),
        Arc::new(rows.iter().map(|row| row.column.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.reason.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|_| Some(now)).collect::<TimestampMicrosecondArray>()),
    ];
    Ok(RecordBatch::try_new(dead_letter_schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    #[test]
    fn a_ledger_of_any_length_is_cut_into_batches_that_keep_every_row() {
        let row = |bytes: usize| LateRow {
            operator: String::new(),
            input: 0,
            event_time: None,
            watermark: 0,
            origin: None,
            missed: None,
            wholly: true,
            row: "x".repeat(bytes),
        };
        // The second is longer than a batch by itself.
        let sizes = [1, BATCH_BYTES_MAX + 1, BATCH_BYTES_MAX / 2, BATCH_BYTES_MAX / 2, 1, 0];
        let rows: Vec<LateRow> = sizes.into_iter().map(row).collect();
        let batches = late_batches("q", &rows).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1, 2, 2]);
        assert!(late_batches("q", &[]).unwrap().is_empty());
    }

    // A row was in the ledger once for each window then: its bounds are what it missed, and nothing says where it was read.
    #[test]
    fn late_rows_of_before_keep_what_they_said() {
        let times = || Arc::new(TimestampMicrosecondArray::from(vec![7])) as ArrayRef;
        let texts = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
        let fields = vec![
            Field::new("query", DataType::Utf8, false),
            Field::new("operator", DataType::Utf8, false),
            micros("window_start"),
            micros("window_end"),
            micros("watermark"),
            Field::new("row", DataType::Utf8, false),
        ];
        let columns = vec![texts(), texts(), times(), times(), times(), texts()];
        let read = late_as_of_today(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()).unwrap();
        assert_eq!(read.schema(), late_schema());
        for name in ["query", "operator", "watermark", "missed_from", "missed_to", "row"] {
            assert_eq!(read.column_by_name(name).unwrap().null_count(), 0, "{name}");
        }
        for name in ["input", "event_time", "topic", "partition", "offset", "position"] {
            assert_eq!(read.column_by_name(name).unwrap().null_count(), 1, "{name}");
        }
        assert_eq!(late_as_of_today(read.clone()).unwrap(), read);
        let other = RecordBatch::try_from_iter([("row", times())]).unwrap();
        assert_eq!(late_as_of_today(other).unwrap_err().kind(), crate::error::ErrorKind::Corrupt);
    }
}
