//! Rows divided by the hash of their key, so that state of any size can be merged and read a part at a time.

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion::common::hash_utils::{RandomState, create_hashes};

use crate::error::{Error, Result};

/// Rows of one part: with more, its hash table leaves the processor's cache, and tables and results of a million keys would stand in
/// memory beside the state that they come from.
///
/// Tests divide all the time.
const PART_ROWS: usize = if cfg!(test) { 16 } else { 64 * 1024 };

/// Parts of one file, or of one merge, at most. Beyond 16 million rows a part is larger.
pub(super) const PARTS_MAX: usize = 256;

/// Not the seed of the hash tables that aggregation uses.
const HASH: RandomState = RandomState::with_seed(0x746f_7563_686c_696e);

/// Into how many parts, a power of two, so many rows are divided.
pub fn parts_for(rows: usize) -> usize {
    parts_of(rows, PART_ROWS)
}

/// As [`parts_for`], with so many rows a part.
pub(super) fn parts_of(rows: usize, part_rows: usize) -> usize {
    rows.div_ceil(part_rows).max(1).next_power_of_two().min(PARTS_MAX)
}

/// The rows of one batch in the order of their parts.
#[derive(Debug)]
pub(super) struct Parts {
    /// `None` where all rows are one part.
    rows: Option<UInt32Array>,
    ends: Vec<usize>,
}

impl Parts {
    /// `keys`: the number of leading columns that are the key. `parts`: a power of two.
    pub(super) fn of(batch: &RecordBatch, keys: usize, parts: usize) -> Result<Self> {
        if parts == 1 {
            return Ok(Parts { rows: None, ends: vec![batch.num_rows()] });
        }
        if u32::try_from(batch.num_rows()).is_err() {
            return Err(Error::bug("a batch of state has over 2^32 rows"));
        }
        let mut hashes = vec![0; batch.num_rows()];
        create_hashes(&batch.columns()[..keys], &HASH, &mut hashes)?;
        // The upper bits: hash tables use the lower ones. So the parts of a finer division lie within those of a coarser one.
        let shift = u64::BITS - parts.ilog2();
        let part_of = |hash: u64| (hash >> shift) as usize;
        let mut ends = vec![0_usize; parts];
        hashes.iter().for_each(|hash| ends[part_of(*hash)] += 1);
        let mut total = 0;
        for end in &mut ends {
            total += *end;
            *end = total - *end;
        }
        let mut rows = vec![0_u32; hashes.len()];
        for (row, hash) in (0_u32..).zip(&hashes) {
            let place = &mut ends[part_of(*hash)];
            rows[*place] = row;
            *place += 1;
        }
        Ok(Parts { rows: Some(rows.into()), ends })
    }

    /// The rows of one part; `None` where it has none.
    pub(super) fn take(&self, batch: &RecordBatch, part: usize) -> Result<Option<RecordBatch>> {
        let begin = if part == 0 { 0 } else { self.ends[part - 1] };
        let len = self.ends[part] - begin;
        match &self.rows {
            _ if len == 0 => Ok(None),
            None => Ok(Some(batch.clone())),
            Some(rows) => Ok(Some(take_record_batch(batch, &rows.slice(begin, len))?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn every_row_is_in_one_part_and_finer_parts_lie_within_coarser_ones() {
        let values = Arc::new(Int64Array::from_iter_values(0..1_000));
        let batch = RecordBatch::try_from_iter([("k", values as _)]).unwrap();
        let of = |parts| -> Vec<Vec<i64>> {
            let divided = Parts::of(&batch, 1, parts).unwrap();
            let rows = |part| divided.take(&batch, part).unwrap();
            let values = |rows: RecordBatch| rows.column(0).as_primitive::<Int64Type>().values().to_vec();
            (0..parts).map(|part| rows(part).map_or_else(Vec::new, values)).collect()
        };
        let (coarse, fine) = (of(4), of(16));
        for (part, rows) in coarse.iter().enumerate() {
            let mut finer = fine[4 * part..4 * part + 4].concat();
            finer.sort_unstable();
            assert_eq!(rows, &finer);
        }
        assert_eq!(coarse.concat().len(), 1_000);
        assert_eq!(of(1), [(0..1_000).collect::<Vec<_>>()]);
    }

    #[test]
    fn the_number_of_parts_follows_the_rows_up_to_a_limit() {
        let parts = [0, 1, PART_ROWS, PART_ROWS + 1, 77 * PART_ROWS, usize::MAX].map(parts_for);
        assert_eq!(parts, [1, 1, 1, 2, 128, PARTS_MAX]);
    }
}
