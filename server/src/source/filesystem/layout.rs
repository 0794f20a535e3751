//! From a file's columns to a table's: which to read, what to add from the envelope, and how late the newest row is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::catalog::{Column, ColumnKind, MetadataKey, TableDef};
use crate::clock::{Clock, Micros};
use crate::error::{Error, Result};
use crate::source::{Offset, Partition, Progress};

pub(super) struct Layout {
    /// Of the batches handed out.
    pub(super) schema: SchemaRef,
    outputs: Vec<Output>,
    /// What is read from a file, in this order.
    pub(super) physical: Vec<Column>,
    event_time: Option<EventTime>,
}

enum Output {
    Physical(usize),
    Metadata(MetadataKey, DataType),
}

struct EventTime {
    physical: usize,
    max_future: Micros,
    clock: Clock,
}

/// Where the rows of a batch come from.
pub(super) struct Origin<'a> {
    pub(super) file: &'a str,
    pub(super) partition: Partition,
    /// Record number of each row.
    pub(super) offsets: Vec<Offset>,
}

impl Layout {
    pub(super) fn try_new(def: &TableDef, columns: &[usize], clock: Clock) -> Result<Self> {
        let mut physical: Vec<Column> = Vec::new();
        let mut index_of = |column: &Column| {
            physical.iter().position(|known| known.name == column.name).unwrap_or_else(|| {
                physical.push(column.clone());
                physical.len() - 1
            })
        };
        let (mut outputs, mut fields) = (Vec::new(), Vec::new());
        for index in columns {
            let column = def.columns.get(*index).ok_or_else(|| Error::bug("a column index beyond the table"))?;
            fields.push(column.field());
            outputs.push(match &column.kind {
                ColumnKind::Physical { .. } => Output::Physical(index_of(column)),
                ColumnKind::Metadata(key) => Output::Metadata(*key, column.data_type.clone()),
            });
        }
        let watermark = def.watermark.as_ref().and_then(|watermark| {
            let column = def.columns.iter().find(|column| column.name == watermark.column)?;
            // Read although nobody asked for it: the watermark needs it. A file has no time of its own.
            matches!(column.kind, ColumnKind::Physical { .. }).then(|| (index_of(column), watermark.max_future))
        });
        let event_time = watermark.map(|(physical, max_future)| EventTime {
            physical,
            max_future: Micros::try_from(max_future.as_micros()).unwrap_or(Micros::MAX),
            clock,
        });
        Ok(Layout { schema: Arc::new(Schema::new(fields)), outputs, physical, event_time })
    }

    /// Puts a batch together from what was read (`arrays` as `physical`, any castable types).
    pub(super) fn assemble(&self, arrays: &[ArrayRef], origin: &Origin<'_>) -> Result<RecordBatch, Failure> {
        let rows = origin.offsets.len();
        let mut typed = Vec::with_capacity(arrays.len());
        for (array, column) in arrays.iter().zip(&self.physical) {
            let failed = |reason: String| Failure { column: Some(column.name.clone()), reason };
            let options = CastOptions { safe: false, ..Default::default() };
            let array = cast_with_options(array, &column.data_type, &options)
                .map_err(|error| failed(format!("field \"{}\": {error}", column.name)))?;
            if !column.nullable && array.null_count() > 0 {
                return Err(failed(format!("field \"{}\" is missing; the schema says NOT NULL", column.name)));
            }
            typed.push(array);
        }
        let columns = self.outputs.iter().map(|output| match output {
            Output::Physical(index) => Ok(Arc::clone(&typed[*index])),
            Output::Metadata(key, data_type) => metadata(*key, data_type, origin),
        });
        let columns = columns.collect::<Result<Vec<_>, arrow::error::ArrowError>>().map_err(Failure::from)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(Failure::from)
    }

    /// Takes note of the event times of what was read.
    pub(super) fn observe(&self, arrays: &[ArrayRef], progress: &mut Progress) -> Result<()> {
        let Some(event_time) = &self.event_time else { return Ok(()) };
        let array = cast(&arrays[event_time.physical], &self.physical[event_time.physical].data_type)?;
        let array = cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let limit = event_time.clock.now().saturating_add(event_time.max_future);
        for at in array.as_primitive::<TimestampMicrosecondType>().iter().flatten() {
            if at > limit {
                progress.far_future += 1;
            } else {
                progress.event_time_max = progress.event_time_max.max(Some(at));
            }
        }
        Ok(())
    }
}

/// Why rows do not fit the table.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) column: Option<String>,
    pub(super) reason: String,
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        Failure { column: None, reason: error.to_string() }
    }
}

fn metadata(key: MetadataKey, data_type: &DataType, origin: &Origin<'_>) -> Result<ArrayRef, arrow::error::ArrowError> {
    let rows = origin.offsets.len();
    let array: ArrayRef = match key {
        MetadataKey::Topic => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(origin.file, rows))),
        MetadataKey::Partition => Arc::new(Int32Array::from_value(origin.partition, rows)),
        MetadataKey::Offset => Arc::new(Int64Array::from(origin.offsets.clone())),
        // A file's record has none of these.
        MetadataKey::Timestamp | MetadataKey::Key | MetadataKey::Headers => new_null_array(data_type, rows),
    };
    cast(&array, data_type)
}

/// The names under which a column may stand in a file, in order of preference.
pub(super) fn names(column: &Column) -> impl Iterator<Item = &str> {
    let aliases = match &column.kind {
        ColumnKind::Physical { aliases } => aliases.as_slice(),
        ColumnKind::Metadata(_) => &[],
    };
    std::iter::once(column.name.as_str()).chain(aliases.iter().map(String::as_str))
}

/// # Errors
/// Always: names what the file lacks and what it has.
pub(super) fn missing_column(column: &Column, file: &str, has: &[&str]) -> Error {
    Error::invalid(format!("file {file} has no column \"{}\"", column.name))
        .detail(format!("its columns are: {}", has.join(", ")))
        .hint("correct the CREATE TABLE, or name the file's column in 'aliases.<column>'")
}
