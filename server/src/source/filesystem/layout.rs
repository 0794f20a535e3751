//! From a file's columns to a table's: which to read, what to add from the envelope, and how late the newest row is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options, filter};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::catalog::{Column, ColumnKind, MetadataKey, TableDef};
use crate::clock::{Clock, Micros};
use crate::decode::json::refusal;
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

/// Rows of a table, made of what was read.
pub(super) struct Assembled {
    pub(super) batch: RecordBatch,
    /// The same rows as [`Layout::physical`] has the columns.
    typed: Vec<ArrayRef>,
    /// Rows that are left out for what their values are, by their place in what was read, ascending.
    pub(super) refused: Vec<(usize, Failure)>,
}

/// Where the rows of a batch come from.
#[derive(Clone)]
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
    ///
    /// # Errors
    /// Where rows as such do not fit; which of them is not told.
    pub(super) fn assemble(&self, arrays: &[ArrayRef], origin: &Origin<'_>) -> Result<Assembled, Failure> {
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
        let refused = self.refused(&typed);
        if refused.is_empty() {
            let batch = self.batch(&typed, origin)?;
            return Ok(Assembled { batch, typed, refused: Vec::new() });
        }
        let kept = (0..origin.offsets.len()).map(|row| !refused.contains_key(&row)).collect::<Vec<_>>();
        let offsets = origin.offsets.iter().zip(&kept).filter_map(|(offset, kept)| kept.then_some(*offset)).collect();
        let mask = BooleanArray::from(kept);
        let typed = typed.iter().map(|array| filter(array, &mask)).collect::<Result<Vec<_>, _>>()?;
        let batch = self.batch(&typed, &Origin { offsets, ..origin.clone() })?;
        Ok(Assembled { batch, typed, refused: refused.into_iter().collect() })
    }

    /// The rows that do not meet the checks of their columns, each with the first one that it fails.
    fn refused(&self, typed: &[ArrayRef]) -> BTreeMap<usize, Failure> {
        let mut refused = BTreeMap::new();
        for (array, column) in typed.iter().zip(&self.physical) {
            for check in &column.checks {
                for row in check.refused(array) {
                    let failure = || Failure {
                        column: Some(column.name.clone()),
                        reason: refusal(&column.name, check, array, row),
                    };
                    refused.entry(row).or_insert_with(failure);
                }
            }
        }
        refused
    }

    fn batch(&self, typed: &[ArrayRef], origin: &Origin<'_>) -> Result<RecordBatch, Failure> {
        let rows = origin.offsets.len();
        let columns = self.outputs.iter().map(|output| match output {
            Output::Physical(index) => Ok(Arc::clone(&typed[*index])),
            Output::Metadata(key, data_type) => metadata(*key, data_type, origin),
        });
        let columns = columns.collect::<Result<Vec<_>, arrow::error::ArrowError>>().map_err(Failure::from)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(Failure::from)
    }

    /// Takes note of the rows' event times.
    pub(super) fn observe(&self, rows: &Assembled, progress: &mut Progress) -> Result<()> {
        let Some(event_time) = &self.event_time else { return Ok(()) };
        let array = cast(&rows.typed[event_time.physical], &DataType::Timestamp(TimeUnit::Microsecond, None))?;
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

impl Failure {
    /// The error that stops a query at this record.
    pub(super) fn stop(self, file: &str, record: Offset, table: &str) -> Error {
        Error::invalid(format!("cannot decode row from file {file}, record {record}, for table \"{table}\""))
            .detail(self.reason)
            .hint("correct the file, or set 'on-bad-row' = 'dead-letter' to keep going")
    }
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
        ColumnKind::Physical { aliases, .. } => aliases.as_slice(),
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
