//! One immutable piece of operator state: in memory, or in a file divided by the hash of its key.

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::budget::{Account, Reservation};
use super::compact::tight;
use super::parts::{Parts, parts_of};
use super::spill::{BatchReader, SpillFile, SpillWriter};
use crate::error::{Error, Result};

/// Rows of one part of a file, about: what a read by part brings at least.
const FILE_PART_ROWS: usize = if cfg!(test) { 4 } else { 512 };

/// What state that has no room is called in a refusal.
const STATE: &str = "its state";

/// An immutable segment of an operator's state.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Unique within the operator, for ever: a checkpoint knows by it what is already written.
    pub id: u64,
    /// 0 for what an epoch appended; one more with every merge.
    pub level: u8,
    pub rows: SegmentRows,
}

/// Where the rows of a segment are. Cheap to clone.
#[derive(Clone)]
pub struct SegmentRows {
    rows: usize,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Memory {
        batches: Arc<[RecordBatch]>,
        held: Arc<Reservation>,
    },
    /// Each batch is a part: their number is a power of two.
    File(Arc<dyn SpillFile>),
}

impl fmt::Debug for SegmentRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.on_disk() { "on disk" } else { "in memory" };
        write!(f, "SegmentRows({} {place})", self.rows)
    }
}

impl SegmentRows {
    /// Rows in memory, for which `held` is taken.
    pub fn in_memory(batches: Vec<RecordBatch>, held: Reservation) -> Self {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        SegmentRows { rows, content: Content::Memory { batches: batches.into(), held: Arc::new(held) } }
    }

    pub fn num_rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory that are taken for it.
    pub fn bytes(&self) -> usize {
        match &self.content {
            Content::Memory { held, .. } => held.bytes(),
            Content::File(_) => 0,
        }
    }

    /// Bytes that it takes on local disk.
    pub fn disk_bytes(&self) -> u64 {
        match &self.content {
            Content::Memory { .. } => 0,
            Content::File(file) => file.bytes(),
        }
    }

    pub fn on_disk(&self) -> bool {
        matches!(self.content, Content::File(_))
    }

    /// The batches, where they are in memory.
    pub fn batches_in_memory(&self) -> Option<&[RecordBatch]> {
        match &self.content {
            Content::Memory { batches, .. } => Some(batches),
            Content::File(_) => None,
        }
    }

    /// All rows, a batch at a time.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch>> + use<> {
        let len = match &self.content {
            Content::Memory { batches, .. } => batches.len(),
            Content::File(file) => file.batches(),
        };
        let (content, mut reader) = (self.content.clone(), None);
        (0..len).filter_map(move |at| {
            let batch = match &content {
                Content::Memory { batches, .. } => Ok(batches[at].clone()),
                Content::File(file) => read(file, &mut reader, at),
            };
            match batch {
                Ok(batch) if batch.num_rows() == 0 => None,
                other => Some(other),
            }
        })
    }

    /// The same rows in a file, and none of them in memory once the last handle to `self` is gone.
    ///
    /// # Errors
    /// `OverBudget` where the disk's share is used up, `Unavailable` where it fails.
    pub(super) fn to_disk(&self, account: &Account, keys: usize) -> Result<SegmentRows> {
        let Content::Memory { batches, .. } = &self.content else { return Ok(self.clone()) };
        let (Some(disk), Some(first)) = (account.disk(), batches.first()) else { return Ok(self.clone()) };
        let parts = if keys == 0 { 1 } else { parts_of(self.rows, FILE_PART_ROWS) };
        let divided = batches.iter().map(|batch| Parts::of(batch, keys, parts)).collect::<Result<Vec<_>>>()?;
        let mut file = disk.create(&first.schema())?;
        for part in 0..parts {
            let rows = batches.iter().zip(&divided).map(|(batch, divided)| divided.take(batch, part));
            let rows: Vec<RecordBatch> = rows.filter_map(Result::transpose).collect::<Result<_>>()?;
            file.write(&arrow::compute::concat_batches(&first.schema(), &rows)?)?;
        }
        Ok(SegmentRows { rows: self.rows, content: Content::File(file.finish()?) })
    }
}

fn read(file: &Arc<dyn SpillFile>, reader: &mut Option<Box<dyn BatchReader>>, at: usize) -> Result<RecordBatch> {
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(file.open()?),
    };
    reader.read(at)
}

/// Reads a segment part by part, ascending.
pub struct PartReader {
    segment: SegmentRows,
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
        write!(f, "PartReader({:?} in {} parts)", self.segment, self.parts)
    }
}

impl PartReader {
    pub fn new(segment: SegmentRows, keys: usize, parts: usize) -> Self {
        PartReader { segment, keys, parts, divided: Vec::new(), at: None, reader: None }
    }

    /// Appends the rows of one part to `rows`.
    pub fn read(&mut self, part: usize, rows: &mut Vec<RecordBatch>) -> Result<()> {
        match &self.segment.content {
            Content::Memory { batches, .. } => {
                if self.parts == 1 {
                    rows.extend(batches.iter().cloned());
                    return Ok(());
                }
                if self.divided.is_empty() {
                    let divide = |batch: &RecordBatch| Ok((batch.clone(), Parts::of(batch, self.keys, self.parts)?));
                    self.divided = batches.iter().map(divide).collect::<Result<_>>()?;
                }
            }
            Content::File(file) if file.batches() >= self.parts => {
                let of_each = file.batches() / self.parts;
                for at in part * of_each..(part + 1) * of_each {
                    let batch = read(file, &mut self.reader, at)?;
                    if batch.num_rows() > 0 {
                        rows.push(batch);
                    }
                }
                return Ok(());
            }
            Content::File(file) => {
                let at = part / (self.parts / file.batches());
                if self.at != Some(at) {
                    let batch = read(file, &mut self.reader, at)?;
                    let divided = Parts::of(&batch, self.keys, self.parts)?;
                    (self.divided, self.at) = (vec![(batch, divided)], Some(at));
                }
            }
        }
        for (batch, divided) in &self.divided {
            rows.extend(divided.take(batch, part)?);
        }
        Ok(())
    }
}

/// Collects a segment that comes part by part.
#[derive(Debug)]
pub(super) struct SegmentBuilder {
    account: Arc<Account>,
    rows: usize,
    memory: Vec<RecordBatch>,
    held: Reservation,
    file: Option<Box<dyn SpillWriter>>,
}

impl SegmentBuilder {
    pub(super) fn new(account: &Arc<Account>) -> Self {
        let (held, account) = (Reservation::empty(account), Arc::clone(account));
        SegmentBuilder { account, rows: 0, memory: Vec::new(), held, file: None }
    }

    /// Adds the next part, which may be empty.
    pub(super) fn push(&mut self, part: RecordBatch) -> Result<()> {
        self.rows += part.num_rows();
        if let Some(file) = &mut self.file {
            return file.write(&part);
        }
        let (part, bytes) = tight(part)?;
        if self.held.hold(bytes) {
            self.memory.push(part);
            return Ok(());
        }
        let Some(disk) = self.account.disk() else {
            self.held.reserve(bytes, STATE)?;
            self.memory.push(part);
            return Ok(());
        };
        let mut file = disk.create(&part.schema())?;
        self.memory.iter().try_for_each(|part| file.write(part))?;
        file.write(&part)?;
        self.memory.clear();
        self.held.release();
        self.file = Some(file);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<SegmentRows> {
        let SegmentBuilder { rows, memory, held, file, .. } = self;
        match file {
            None => Ok(SegmentRows::in_memory(memory, held)),
            Some(file) => {
                let file = file.finish()?;
                if !file.batches().is_power_of_two() {
                    return Err(Error::bug(format!("a segment was written in {} parts", file.batches())));
                }
                Ok(SegmentRows { rows, content: Content::File(file) })
            }
        }
    }
}

/// Memory for a new segment's rows, or the segment in a file where there is none. `make_room` puts something else away and says
/// whether there was anything.
pub(super) fn place(
    batches: Vec<RecordBatch>,
    account: &Arc<Account>,
    keys: usize,
    on_disk_from: usize,
    mut make_room: impl FnMut() -> Result<bool>,
) -> Result<SegmentRows> {
    let batches = batches.into_iter().map(tight).collect::<Result<Vec<_>>>()?;
    let bytes = batches.iter().map(|(_, bytes)| bytes).sum();
    let batches: Vec<RecordBatch> = batches.into_iter().map(|(batch, _)| batch).collect();
    let mut held = Reservation::empty(account);
    loop {
        if held.hold(bytes) {
            return Ok(SegmentRows::in_memory(batches, held));
        }
        if account.disk().is_some() {
            if make_room()? {
                continue;
            }
            if bytes >= on_disk_from {
                return SegmentRows::in_memory(batches, held).to_disk(account, keys);
            }
        }
        held.reserve(bytes, STATE)?;
        return Ok(SegmentRows::in_memory(batches, held));
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
        let memory = SegmentRows::in_memory(vec![batch], Reservation::empty(&account));
        let file = memory.to_disk(&account, 1).unwrap();
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
