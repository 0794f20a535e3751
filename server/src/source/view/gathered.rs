//! Rows of a view's checkpoints as a batch for the query: the columns that it reads, where each row stood, and the latest times.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::source::Origins;
use crate::source::reader::ReaderLimits;
use crate::state::bytes_of;
use crate::tables::view::conform;
use crate::watermark::NONE;

/// Rows that wait to be sent.
pub(super) struct Gathered {
    /// Of the columns that the query reads.
    schema: SchemaRef,
    /// Of each mark the column whose times it is about.
    times: Vec<Option<usize>>,
    limits: ReaderLimits,
    batches: Vec<RecordBatch>,
    origins: Vec<Origins>,
    rows: usize,
    bytes: usize,
    newest: Vec<Micros>,
}

/// Number of rows, latest time by mark, bytes, the rows, and where each of them stood.
pub(super) type Taken = (usize, Vec<Micros>, usize, Vec<RecordBatch>, Vec<Origins>);

impl Gathered {
    pub(super) fn new(schema: SchemaRef, times: Vec<Option<usize>>, limits: ReaderLimits) -> Self {
        let newest = vec![NONE; times.len()];
        Gathered { schema, times, limits, batches: vec![], origins: vec![], rows: 0, bytes: 0, newest }
    }

    pub(super) fn rows_max(&self) -> usize {
        self.limits.batch_rows_max.max(1)
    }

    /// Whether it is to be sent before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= self.rows_max() || self.bytes >= self.limits.batch_bytes_max.max(1)
    }

    /// Adds rows of a checkpoint, of which the first stands at `position` there. Times after `far_after` are not among the latest.
    ///
    /// # Errors
    /// `Corrupt` where they lack a column that the view has.
    pub(super) fn add(
        &mut self,
        checkpoint: u64,
        position: usize,
        batch: &RecordBatch,
        far_after: Micros,
    ) -> Result<()> {
        let batch = conform(batch, &self.schema).map_err(|error| {
            Error::corrupt("rows of a view are not those that it has").detail(Error::from(error).primary().to_owned())
        })?;
        for (newest, column) in self.newest.iter_mut().zip(&self.times) {
            if let Some(column) = column {
                *newest = latest(batch.column(*column), far_after)?.max(*newest);
            }
        }
        self.rows += batch.num_rows();
        self.bytes += bytes_of(&batch);
        self.origins.push(Origins::of_record(0, super::offset(checkpoint), position, batch.num_rows()));
        self.batches.push(batch);
        Ok(())
    }

    pub(super) fn take(&mut self) -> Taken {
        let newest = std::mem::replace(&mut self.newest, vec![NONE; self.times.len()]);
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        (rows, newest, bytes, std::mem::take(&mut self.batches), std::mem::take(&mut self.origins))
    }
}

/// The latest time of a column that is no later than `through`; of windows, of their ends.
fn latest(column: &ArrayRef, through: Micros) -> Result<Micros> {
    let times = match column.as_struct_opt() {
        Some(window) => window.column_by_name("end").unwrap_or(column),
        None => column,
    };
    let DataType::Timestamp(_, zone) = times.data_type() else { return Ok(NONE) };
    let micros = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
    let times = micros.as_primitive::<TimestampMicrosecondType>().iter().flatten();
    Ok(times.filter(|at| *at <= through).max().unwrap_or(NONE))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StructArray, TimestampMillisecondArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn rows_go_on_where_those_before_them_stood_and_their_latest_times_are_kept() {
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(5), None, Some(900)]));
        let field = |name: &str| Arc::new(Field::new(name, times.data_type().clone(), true));
        let window = StructArray::from(vec![(field("start"), Arc::clone(&times)), (field("end"), Arc::clone(&times))]);
        let window: ArrayRef = Arc::new(window);
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let all = RecordBatch::try_from_iter([("id", ids), ("w", window), ("ts", Arc::clone(&times))]).unwrap();
        let read: SchemaRef =
            Arc::new(Schema::new([1, 2].map(|at| all.schema().field(at).clone().with_nullable(true)).to_vec()));
        let limits = ReaderLimits { batch_rows_max: 4, ..ReaderLimits::default() };
        let mut gathered = Gathered::new(read, vec![Some(0), Some(1), None], limits);
        gathered.add(7, 10, &all, 100_000).unwrap();
        assert!(!gathered.is_full());
        gathered.add(8, 0, &all.slice(0, 1), 100_000).unwrap();
        assert!(gathered.is_full());
        let (rows, newest, bytes, batches, origins) = gathered.take();
        assert_eq!((rows, newest, batches.len()), (4, vec![5_000, 5_000, NONE], 2));
        assert!(bytes > 0 && batches[0].num_columns() == 2);
        assert_eq!(origins[0].of(2), Some((0, 7, 12)));
        assert_eq!(origins[1].of(0), Some((0, 8, 0)));
        let (rows, newest, ..) = gathered.take();
        assert_eq!((rows, newest), (0, vec![NONE; 3]));
        let other = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
        // Columns that may be NULL are, in rows of before.
        gathered.add(9, 0, &other, 0).unwrap();
    }
}
