//! One bit for each row of something that operators keep.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field};

use crate::error::{Error, Result};

/// A bit for each row, as far as one is set.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn get(&self, row: u32) -> bool {
        self.0.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, row: u32, value: bool) {
        let word = row as usize / 64;
        if value && word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let Some(word) = self.0.get_mut(word) else { return };
        let bit = 1 << (row % 64);
        if value { *word |= bit } else { *word &= !bit }
    }

    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|word| *word != 0)
    }

    /// Of the first rows, as one column of that name.
    pub(super) fn column(&self, name: &str, rows: usize) -> RecordBatch {
        let bits = BooleanBuffer::collect_bool(rows, |row| self.get(row as u32));
        let field = Arc::new(Field::new(name, DataType::Boolean, false));
        StructArray::from(vec![(field, Arc::new(BooleanArray::new(bits, None)) as ArrayRef)]).into()
    }

    /// What [`Bits::column`] has made, as a checkpoint held it. `what`: the bits say.
    ///
    /// # Errors
    /// `Corrupt` where it is something else.
    pub(super) fn read(batches: &[RecordBatch], what: &str) -> Result<Vec<bool>> {
        let mut bits = Vec::new();
        for batch in batches {
            let column = batch.column(0).as_boolean_opt();
            let column = column.ok_or_else(|| Error::corrupt(format!("{what} is no column of booleans")))?;
            bits.extend(column.values());
        }
        Ok(bits)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }
}
