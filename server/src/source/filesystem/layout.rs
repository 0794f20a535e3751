//! From a file's columns to a table's: which to read, what to add from the envelope, and how late the newest row is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, StringArray, new_null_array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, cast, cast_with_options, filter, is_null};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::array_value_to_string;

use super::header::Header;
use super::timestamps;
use crate::catalog::{Column, ColumnKind, MetadataKey, TableDef};
use crate::clock::{Clock, Micros, micros_of};
use crate::decode::computed::{Complete, Computing};
use crate::decode::json::{RowError, quote, refusal, sql_type};
use crate::decode::time;
use crate::error::{Error, Result};
use crate::source::{Offset, Partition, Progress};

pub(super) struct Layout {
    /// Of what is read.
    schema: SchemaRef,
    outputs: Vec<Output>,
    /// What is read from a file, in this order.
    pub(super) physical: Vec<Column>,
    pub(super) header: Header,
    /// What makes the rows of what is read, where a column is computed.
    computing: Option<Computing>,
    event_time: Option<EventTime>,
}

enum Output {
    Physical(usize),
    Metadata(MetadataKey, DataType),
}

struct EventTime {
    place: TimePlace,
    max_future: Micros,
    clock: Clock,
}

#[derive(Clone, Copy)]
enum TimePlace {
    /// Among what is read from a file.
    Physical(usize),
    /// A computed column of the rows.
    Row(usize),
}

/// Rows of a table, made of what was read.
pub(super) struct Assembled {
    pub(super) batch: RecordBatch,
    /// The same rows as [`Layout::physical`] has the columns.
    typed: Vec<ArrayRef>,
    /// Rows that are left out for what their values are or cannot be computed to, by their place in what was read, ascending.
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
        let computing = Computing::of(def, columns)?;
        for index in computing.as_ref().map_or(columns, Computing::decoded) {
            let column = def.columns.get(*index).ok_or_else(|| Error::bug("a column index beyond the table"))?;
            fields.push(column.field());
            outputs.push(match &column.kind {
                ColumnKind::Physical { .. } => Output::Physical(index_of(column)),
                ColumnKind::Metadata(key) => Output::Metadata(*key, column.data_type.clone()),
                ColumnKind::Computed(_) => return Err(Error::bug("a computed column is not read")),
            });
        }
        let watermark = def.watermark.as_ref().and_then(|watermark| {
            let column = def.columns.iter().find(|column| column.name == watermark.column)?;
            let place = match column.kind {
                // Read although nobody asked for it: the watermark needs it.
                ColumnKind::Physical { .. } => TimePlace::Physical(index_of(column)),
                // A query asks for it.
                ColumnKind::Computed(_) => {
                    TimePlace::Row(columns.iter().position(|index| def.columns[*index].name == column.name)?)
                }
                // A file has no time of its own.
                ColumnKind::Metadata(_) => return None,
            };
            Some((place, watermark.max_future))
        });
        let event_time =
            watermark.map(|(place, max_future)| EventTime { place, max_future: micros_of(max_future), clock });
        let schema = Arc::new(Schema::new(fields));
        Ok(Layout { schema, outputs, physical, header: Header::new(def), computing, event_time })
    }

    /// Puts a batch together from what was read (`arrays` as `physical`, any castable types).
    ///
    /// # Errors
    /// Where values of such types are none of the table's. A value that is none, of a type that may be one, refuses its row.
    pub(super) fn assemble(&self, arrays: &[ArrayRef], origin: &Origin<'_>) -> Result<Assembled, Failure> {
        let mut typed = Vec::with_capacity(arrays.len());
        let mut refused = BTreeMap::new();
        for (array, column) in arrays.iter().zip(&self.physical) {
            typed.push(with_one_nan(fit(array, column, &mut refused)?));
        }
        if refused.is_empty() {
            let batch = self.batch(&typed, origin)?;
            return self.completed(Assembled { batch, typed, refused: Vec::new() });
        }
        let kept = (0..origin.offsets.len()).map(|row| !refused.contains_key(&row)).collect::<Vec<_>>();
        let offsets = origin.offsets.iter().zip(&kept).filter_map(|(offset, kept)| kept.then_some(*offset)).collect();
        let mask = BooleanArray::from(kept);
        let typed = typed.iter().map(|array| filter(array, &mask)).collect::<Result<Vec<_>, _>>()?;
        let batch = self.batch(&typed, &Origin { offsets, ..origin.clone() })?;
        self.completed(Assembled { batch, typed, refused: refused.into_iter().collect() })
    }

    /// The rows with their computed columns, and without those of which one cannot be computed.
    fn completed(&self, rows: Assembled) -> Result<Assembled, Failure> {
        let Some(computing) = &self.computing else { return Ok(rows) };
        let Assembled { batch, mut typed, mut refused } = rows;
        let Complete { batch: complete, refused: more } =
            computing.complete(&batch).map_err(|error| Failure { column: None, reason: error.report() })?;
        if !more.is_empty() {
            let mut kept = vec![true; batch.num_rows()];
            more.iter().for_each(|(row, _)| kept[*row] = false);
            let mask = BooleanArray::from(kept);
            typed = typed.iter().map(|array| filter(array, &mask)).collect::<Result<Vec<_>, _>>()?;
            refused = joined(refused, more, batch.num_rows());
        }
        Ok(Assembled { batch: complete, typed, refused })
    }

    fn batch(&self, typed: &[ArrayRef], origin: &Origin<'_>) -> Result<RecordBatch, Failure> {
        let rows = origin.offsets.len();
        let columns = self.outputs.iter().map(|output| match output {
            Output::Physical(index) => Ok(Arc::clone(&typed[*index])),
            Output::Metadata(key, data_type) => metadata(*key, data_type, origin),
        });
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>().map_err(Failure::from)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(Failure::from)
    }

    /// Takes note of the rows' event times.
    pub(super) fn observe(&self, rows: &Assembled, progress: &mut Progress) -> Result<()> {
        let Some(event_time) = &self.event_time else { return Ok(()) };
        let times = match event_time.place {
            TimePlace::Physical(at) => &rows.typed[at],
            TimePlace::Row(at) => rows.batch.column(at),
        };
        let array = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
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

/// With one NaN alone. Others differ from it in bits that nobody sees, and would be groups and keys of their own.
fn with_one_nan(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            if !values.values().iter().any(|value| value.is_nan() && value.to_bits() != f32::NAN.to_bits()) {
                return array;
            }
            Arc::new(values.unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN } else { value }))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            if !values.values().iter().any(|value| value.is_nan() && value.to_bits() != f64::NAN.to_bits()) {
                return array;
            }
            Arc::new(values.unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value }))
        }
        _ => array,
    }
}

/// The rows that have been refused before, and those of the `rows` others that have been refused since, all by their place in what was
/// read.
fn joined(before: Vec<(usize, Failure)>, since: Vec<(usize, RowError)>, rows: usize) -> Vec<(usize, Failure)> {
    let all = before.len() + rows;
    let mut before: BTreeMap<usize, Failure> = before.into_iter().collect();
    let places: Vec<usize> = (0..all).filter(|place| !before.contains_key(place)).collect();
    let since = since
        .into_iter()
        .filter_map(|(row, RowError { column, reason })| Some((*places.get(row)?, Failure { column, reason })));
    before.extend(since);
    before.into_iter().collect()
}

/// Why rows do not fit the table.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) column: Option<String>,
    pub(super) reason: String,
}

impl Failure {
    /// No value of the column can be made of what was read.
    fn of(column: &Column, error: &ArrowError) -> Self {
        let (name, says) = (&column.name, sql_type(&column.data_type));
        Failure { column: Some(name.clone()), reason: format!("field \"{name}\" is no {says}: {error}") }
    }

    /// The error that stops a query at this record.
    pub(super) fn stop(self, file: &str, record: Offset, table: &str) -> Error {
        Error::invalid(format!("cannot decode row from file {file}, record {record}, for table \"{table}\""))
            .detail(self.reason)
            .hint("correct the file, or set 'on-bad-row' = 'dead-letter' to keep going")
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Failure { column: None, reason: error.to_string() }
    }
}

fn metadata(key: MetadataKey, data_type: &DataType, origin: &Origin<'_>) -> Result<ArrayRef, ArrowError> {
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

/// The values of a column in its declared type. Rows whose value is none go into `refused`, unless an earlier column's is
/// none, and hold any value then.
fn fit(array: &ArrayRef, column: &Column, refused: &mut BTreeMap<usize, Failure>) -> Result<ArrayRef, Failure> {
    let name = &column.name;
    let mut refuse = |row: usize, reason: String| {
        refused.entry(row).or_insert_with(|| Failure { column: Some(name.clone()), reason });
    };
    let fitting = match &column.data_type {
        DataType::Timestamp(unit, _) => {
            let read = timestamps::read(array, column, *unit).map_err(|error| Failure::of(column, &error))?;
            read.refused.into_iter().for_each(|(row, reason)| refuse(row, reason));
            read.array
        }
        data_type => {
            let read = cast_or_null(array, data_type).map_err(|error| Failure::of(column, &error))?;
            if read.null_count() > array.null_count() {
                for row in (0..array.len()).filter(|row| read.is_null(*row) && array.is_valid(*row)) {
                    refuse(row, misfit(column, array, row));
                }
            }
            if data_type.is_nested() {
                timestamps::refused_inside(name, &read).into_iter().for_each(|(row, reason)| refuse(row, reason));
            }
            read
        }
    };
    let fitting = match &column.reading.default {
        Some(default) if array.null_count() > 0 => {
            let value =
                default.value.to_scalar().map_err(|error| Failure { column: None, reason: error.to_string() })?;
            zip(&is_null(array)?, &value, &fitting)?
        }
        _ => fitting,
    };
    if !column.nullable && fitting.null_count() > 0 {
        for row in (0..fitting.len()).filter(|row| fitting.is_null(*row)) {
            refuse(row, format!("field \"{name}\" is missing; the schema says NOT NULL"));
        }
    }
    for check in &column.checks {
        for row in check.refused(&fitting) {
            refuse(row, refusal(name, check, &fitting, row));
        }
    }
    Ok(fitting)
}

/// NULL where a value does not fit.
fn cast_or_null(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    // Times of day as a JSON record may write them; arrow reads what else there is.
    if let (DataType::Time32(unit) | DataType::Time64(unit), DataType::Utf8) = (data_type, array.data_type()) {
        let texts = array.as_string::<i32>();
        let times = texts.iter().map(|text| text.and_then(|text| time::time_of_day(text.as_bytes(), *unit)));
        let times = times.collect::<Int64Array>();
        if times.null_count() == texts.null_count() {
            let times = match data_type {
                DataType::Time32(_) => cast(&times, &DataType::Int32)?,
                _ => Arc::new(times),
            };
            return cast(&times, data_type);
        }
    }
    cast_with_options(array, data_type, &CastOptions { safe: true, ..Default::default() })
}

/// Why a value is none of its column, in the words used of a record.
pub(super) fn misfit(column: &Column, array: &dyn Array, row: usize) -> String {
    let found = array_value_to_string(array, row).unwrap_or_default();
    let is_text = matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let found = if is_text { format!("\"{found}\"") } else { found };
    let (name, says) = (&column.name, sql_type(&column.data_type));
    format!("field \"{name}\" is {}; the schema says {says}", quote(found.as_bytes()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Float64Array};

    use super::*;

    #[test]
    fn a_nan_of_a_file_is_the_one_nan_and_nothing_else_changes() {
        let values = [Some(-f64::NAN), Some(-0.0), None, Some(f64::from_bits(0x7ff8_0000_0000_0001)), Some(1.5)];
        let wide = with_one_nan(Arc::new(Float64Array::from(values.to_vec())));
        let bits: Vec<_> = wide.as_primitive::<Float64Type>().iter().map(|value| value.map(f64::to_bits)).collect();
        let nan = Some(f64::NAN.to_bits());
        assert_eq!(bits, [nan, Some((-0.0_f64).to_bits()), None, nan, Some(1.5_f64.to_bits())]);
        let narrow = with_one_nan(Arc::new(Float32Array::from(vec![-f32::NAN, 2.0])));
        let bits: Vec<_> = narrow.as_primitive::<Float32Type>().values().iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, [f32::NAN.to_bits(), 2.0_f32.to_bits()]);
    }
}
