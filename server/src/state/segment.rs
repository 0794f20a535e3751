//! One immutable piece of operator state, and how it is read part by part: in a file it is divided by the hash of its key.

use std::fmt;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;

use super::budget::Account;
use super::home::SegmentHome;
use super::parts::{Parts, parts_of};
use super::rows::{Rows, not_here, read};
use super::spill::BatchReader;
use crate::error::Result;

/// Rows of one part of a file, about: what a read by part brings at least.
const FILE_PART_ROWS: usize = if cfg!(test) { 4 } else { 512 };

/// What state that has no room is called in a refusal.
pub(super) const STATE: &str = "its state";

/// An immutable segment of an operator's state.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Unique within the operator, for ever: a checkpoint knows by it what is already written.
    pub id: u64,
    /// 0 for what an epoch appended; one more with every merge.
    pub level: u8,
    /// In a file each batch is a part, and their number a power of two.
    pub rows: Rows,
    /// What its rows are fetched from where they are remote; known once a checkpoint holds it.
    pub home: Option<Arc<dyn SegmentHome>>,
}

impl Segment {
    /// Bytes that it takes on this machine, in memory or on disk.
    pub(super) fn bytes_here(&self) -> u64 {
        self.rows.bytes() as u64 + self.rows.disk_bytes()
    }
}

/// The same rows in a file, each of its batches a part, and none of them in memory once the last handle to `rows` is gone.
///
/// # Errors
/// `OverBudget` where the disk's share is used up, `Unavailable` where it fails.
pub(super) fn to_disk(rows: &Rows, account: &Account, keys: usize) -> Result<Rows> {
    let Some(batches) = rows.batches_in_memory() else { return Ok(rows.clone()) };
    let (Some(disk), Some(first)) = (account.disk(), batches.first()) else { return Ok(rows.clone()) };
    let parts = if keys == 0 { 1 } else { parts_of(rows.num_rows(), FILE_PART_ROWS) };
    let divided = batches.iter().map(|batch| Parts::of(batch, keys, parts)).collect::<Result<Vec<_>>>()?;
    let mut file = disk.create(&first.schema())?;
    for part in 0..parts {
        let taken = batches.iter().zip(&divided).map(|(batch, divided)| divided.take(batch, part));
        let taken: Vec<RecordBatch> = taken.filter_map(Result::transpose).collect::<Result<_>>()?;
        file.write(&concat_batches(&first.schema(), &taken)?)?;
    }
    Ok(Rows::in_file(rows.num_rows(), file.finish()?))
}

/// Reads a segment part by part, ascending.
pub struct PartReader {
    rows: Rows,
    keys: usize,
    /// Into how many parts the rows are divided, a power of two.
    parts: usize,
    /// Of the batches at hand.
    divided: Vec<(RecordBatch, Parts)>,
    /// The batch of the file at hand.
    at: Option<usize>,
    reader: Option<Box<dyn BatchReader>>,
}

impl fmt::Debug for PartReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartReader({:?} in {} parts)", self.rows, self.parts)
    }
}

impl PartReader {
    pub fn new(rows: Rows, keys: usize, parts: usize) -> Self {
        PartReader { rows, keys, parts, divided: Vec::new(), at: None, reader: None }
    }

    /// Appends the rows of one part to `rows`.
    pub fn read(&mut self, part: usize, rows: &mut Vec<RecordBatch>) -> Result<()> {
        match (self.rows.batches_in_memory(), self.rows.file()) {
            (Some(batches), _) => {
                if self.parts == 1 {
                    rows.extend(batches.iter().cloned());
                    return Ok(());
                }
                if self.divided.is_empty() {
                    let divide = |batch: &RecordBatch| Ok((batch.clone(), Parts::of(batch, self.keys, self.parts)?));
                    self.divided = batches.iter().map(divide).collect::<Result<_>>()?;
                }
            }
            (None, Some(file)) if file.batches() >= self.parts => {
                let of_each = file.batches() / self.parts;
                for at in part * of_each..(part + 1) * of_each {
                    let batch = read(file, &mut self.reader, at)?;
                    if batch.num_rows() > 0 {
                        rows.push(batch);
                    }
                }
                return Ok(());
            }
            (None, Some(file)) => {
                let at = part / (self.parts / file.batches());
                if self.at != Some(at) {
                    let batch = read(file, &mut self.reader, at)?;
                    let divided = Parts::of(&batch, self.keys, self.parts)?;
                    (self.divided, self.at) = (vec![(batch, divided)], Some(at));
                }
            }
            (None, None) => return Err(not_here()),
        }
        for (batch, divided) in &self.divided {
            rows.extend(divided.take(batch, part)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::super::budget::Budget;
    use super::*;
    use crate::store::SpillDirectory;

    fn values(reader: &mut PartReader, part: usize) -> Vec<i64> {
        let mut rows = Vec::new();
        reader.read(part, &mut rows).unwrap();
        let of = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        let mut values: Vec<i64> = rows.iter().flat_map(of).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn a_key_is_in_the_same_part_of_every_segment_wherever_that_is() {
        let budget = Budget::new(1 << 20, Some(Arc::new(SpillDirectory::temporary(1 << 20))));
        let account = budget.account("query");
        let column = Arc::new(Int64Array::from_iter_values(0..30)) as _;
        let batch = RecordBatch::try_from_iter([("k", column)]).unwrap();
        let memory = Rows::from(vec![batch]);
        let file = to_disk(&memory, &account, 1).unwrap();
        // Of fewer parts than it is read in, of as many, and of more.
        for parts in [1, 2, 8, 16, 256] {
            let mut readers = [&memory, &file].map(|rows| PartReader::new(rows.clone(), 1, parts));
            let mut seen = 0;
            for part in 0..parts {
                let [in_memory, on_disk] = readers.each_mut().map(|reader| values(reader, part));
                assert_eq!(in_memory, on_disk, "part {part} of {parts}");
                seen += in_memory.len();
            }
            assert_eq!(seen, 30, "{parts} parts");
        }
        let all: Vec<RecordBatch> = file.batches().collect::<Result<_>>().unwrap();
        assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 30);
    }
}
