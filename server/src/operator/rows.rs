//! What a batch says of its rows beside their values: where each was read, and each as a text.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use super::logical::{EVENT_TIME, ROW};
use crate::error::{Error, Result};

/// Where the rows were read, as far as they carry it: values of [`super::epoch_cell::RowId`].
pub(super) fn row_ids(batch: &RecordBatch) -> Option<Int64Array> {
    batch.column_by_name(ROW).and_then(|column| column.as_primitive_opt::<Int64Type>()).cloned()
}

/// Each row as a JSON object, for people to read. Columns of ours, and those whose type JSON cannot say, are left out.
pub(super) fn json_rows(batch: &RecordBatch, ours: &[usize]) -> Result<Vec<String>> {
    let schema = batch.schema();
    let simple = |data_type: &DataType| !matches!(data_type, DataType::Union(..) | DataType::Interval(_));
    let shown = schema.fields().iter().enumerate().filter(|(at, field)| {
        simple(field.data_type()) && !ours.contains(at) && ![ROW, EVENT_TIME].contains(&field.name().as_str())
    });
    let batch = batch.project(&shown.map(|(at, _)| at).collect::<Vec<_>>())?;
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&batch).and_then(|()| writer.finish())?;
    let text = String::from_utf8(writer.into_inner()).map_err(|error| Error::bug(error.to_string()))?;
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    // A row without columns is no line.
    rows.resize(batch.num_rows(), "{}".to_owned());
    Ok(rows)
}
