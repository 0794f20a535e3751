//! What a batch says of its rows beside their values: where each was read, each as a text, and which columns it has. And batches as operators
//! keep them that look single rows up.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema, SchemaRef};
use sha2::{Digest, Sha256};

use super::logical::{EVENT_TIME, ROW};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::state::{Account, Rows, batch_of, tight};

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

/// A result as far as it is known where it cannot be computed, as a JSON object: operator, window and keys.
///
/// `window`: its start and its end, where the keys do not say them. `keys`: of one row each.
pub(super) fn result_as_json(
    operator: &str,
    window: Option<(Micros, Micros)>,
    keys: impl Iterator<Item = (String, ArrayRef)>,
) -> Result<String> {
    let time = |at| Arc::new(TimestampMicrosecondArray::from(vec![at])) as ArrayRef;
    let operator = ("operator".to_owned(), Arc::new(StringArray::from(vec![operator])) as ArrayRef);
    let window =
        window.map(|(start, end)| [("window_start".to_owned(), time(start)), ("window_end".to_owned(), time(end))]);
    let columns = [operator].into_iter().chain(window.into_iter().flatten()).chain(keys);
    let columns = columns.map(|(name, value)| (name, value, true));
    let row = RecordBatch::try_from_iter_with_nullable(columns)?;
    json_rows(&row, &[])?.pop().ok_or_else(|| Error::bug("a row without a text"))
}

/// The columns without the one that says where a row was read: that means something in its epoch alone, so rows are kept without it.
pub(super) fn without_places(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().filter(|field| field.name() != ROW).cloned().collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

/// Batches as one.
pub(super) fn together(batches: &[RecordBatch], schema: &SchemaRef) -> Result<RecordBatch> {
    match batches {
        [one] => Ok(one.clone()),
        many => Ok(concat_batches(schema, many)?),
    }
}

/// Whether the columns of a batch have the types of these, whatever they are called.
pub(super) fn same_types(batch: &RecordBatch, schema: &Schema) -> bool {
    let types = batch.schema_ref().fields().iter().map(|field| field.data_type());
    types.eq(schema.fields().iter().map(|field| field.data_type()))
}

/// The rows of a segment that a checkpoint held, as one batch. `what`: they are rows of.
///
/// # Errors
/// `Invalid` where they are kept with columns of other types by now.
pub(super) fn restored(batches: &[RecordBatch], schema: &SchemaRef, what: &str) -> Result<RecordBatch> {
    match batches.iter().all(|batch| same_types(batch, schema)) {
        true => together(batches, schema),
        false => Err(Error::invalid(format!("rows of {what} are kept with other columns"))),
    }
}

/// A hash of the types of an operator's columns, by which a checkpoint knows whether it can be read back.
pub(super) fn types_sha256<'a>(fields: impl Iterator<Item = &'a FieldRef>) -> String {
    let types: String = fields.map(|field| format!("{}\n", field.data_type())).collect();
    Sha256::digest(types).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rows that can only be in memory: they are looked up one by one. `what`: they are called in a refusal.
pub(super) fn held(batch: RecordBatch, account: &Arc<Account>, what: &str) -> Result<(RecordBatch, Rows)> {
    let (batch, bytes) = looked_up(batch)?;
    let rows = Rows::held(vec![batch.clone()], account.reserve(bytes, what)?);
    Ok((batch, rows))
}

/// A batch whose rows are looked up one by one, as it is kept, and what it takes in memory.
pub(super) fn looked_up(batch: RecordBatch) -> Result<(RecordBatch, usize)> {
    tight(with_texts_together(batch)?)
}

/// Texts of one batch in one buffer. Rows are gathered from many batches at a time, and each gathering looks at the buffers of all of them.
fn with_texts_together(batch: RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View if column.as_string_view().data_buffers().len() > 1 => {
            Arc::new(column.as_string_view().gc()) as ArrayRef
        }
        DataType::BinaryView if column.as_binary_view().data_buffers().len() > 1 => {
            Arc::new(column.as_binary_view().gc())
        }
        _ => Arc::clone(column),
    });
    Ok(batch_of(batch.schema(), columns.collect(), batch.num_rows())?)
}
