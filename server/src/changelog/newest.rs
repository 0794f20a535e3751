//! Of rows that replace one another, the newest of each key.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::utils::normalize_float_zero;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::error::Result;

/// Told batches from the oldest to the newest; says which of their rows no later one replaces.
///
/// Keys are equal where those of a GROUP BY are.
pub struct Newest {
    key: Vec<usize>,
    keys: Box<dyn GroupValues>,
    /// Of each key, by its number: batch and row.
    last: Vec<(usize, usize)>,
    /// Rows of each batch.
    batches: Vec<usize>,
    numbers: Vec<usize>,
}

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Newest({} keys in {} batches)", self.last.len(), self.batches.len())
    }
}

impl Newest {
    /// `schema`: of the rows. `key`: indexes of the columns that name one; at least one.
    pub fn new(schema: &SchemaRef, key: &[usize]) -> Result<Self> {
        let fields = key.iter().map(|at| Arc::clone(&schema.fields()[*at])).collect::<Vec<_>>();
        let keys = new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?;
        Ok(Newest { key: key.to_vec(), keys, last: Vec::new(), batches: Vec::new(), numbers: Vec::new() })
    }

    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        // An operator may give one zero of a floating point number for the other after a restart.
        let columns: Vec<ArrayRef> = self.key.iter().map(|at| normalize_float_zero(batch.column(*at))).collect();
        self.keys.intern(&columns, &mut self.numbers)?;
        self.last.resize(self.keys.len(), (0, 0));
        let batch_number = self.batches.len();
        for (row, number) in self.numbers.iter().enumerate() {
            self.last[*number] = (batch_number, row);
        }
        self.batches.push(batch.num_rows());
        Ok(())
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.keys.size() + self.last.capacity() * size_of::<(usize, usize)>()
    }

    /// For each batch, which of its rows are the newest of their key.
    pub fn masks(self) -> Vec<BooleanArray> {
        let mut masks: Vec<Vec<bool>> = self.batches.iter().map(|rows| vec![false; *rows]).collect();
        self.last.into_iter().for_each(|(batch, row)| masks[batch][row] = true);
        masks.into_iter().map(BooleanArray::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringViewArray};

    use super::*;

    fn batch(keys: &[Option<&str>], floats: &[f64], values: &[i64]) -> RecordBatch {
        let keys: ArrayRef = Arc::new(StringViewArray::from_iter(keys.iter().copied()));
        let floats: ArrayRef = Arc::new(Float64Array::from(floats.to_vec()));
        let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("f", floats, true), ("v", values, true)]).unwrap()
    }

    #[test]
    fn the_last_row_of_a_key_counts_wherever_the_others_are() {
        let batches = [
            batch(&[Some("a"), None, Some("b"), Some("a")], &[1.0, 0.0, 1.0, 1.0], &[1, 2, 3, 4]),
            batch(&[], &[], &[]),
            batch(&[None, Some("a")], &[-0.0, 2.0], &[5, 6]),
        ];
        let mut newest = Newest::new(&batches[0].schema(), &[0, 1]).unwrap();
        batches.iter().for_each(|batch| newest.add(batch).unwrap());
        assert!(newest.bytes() > 0);
        let masks: Vec<Vec<bool>> =
            newest.masks().iter().map(|mask| mask.iter().map(|row| row.unwrap()).collect()).collect();
        // NULLs are one key, and so are both zeros.
        assert_eq!(masks, [vec![false, false, true, true], vec![], vec![true, true]]);
    }
}
