//! What the nodes of a running plan see of their epoch: its input, its thresholds, and where to note side effects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use parking_lot::{Mutex, RwLock};

use super::contract::{BadRow, LateRow, Origin};
use super::rows::json_rows;
use crate::clock::{Micros, micros_at};
use crate::error::{Error, Result};
use crate::source::Origins;
use crate::watermark::InputMarks;

/// Room for the 121 bits of [`Epoch::place_of`].
pub const PLACE: DataType = DataType::Decimal128(38, 0);

/// One epoch. Immutable but for its effects.
#[derive(Debug, Default)]
pub struct Epoch {
    pub id: u64,
    pub now: Micros,
    /// By slot.
    pub sources: Vec<SourceRows>,
    /// By operator, then by its input.
    pub marks: Vec<Vec<InputMarks>>,
    /// Event times after this lie too far ahead of processing time to be believed.
    pub far_after: Micros,
    /// Input rows that are not read: an expression cannot take them.
    pub left_out: BTreeSet<RowId>,
    pub effects: Effects,
}

/// The rows of one source in one epoch.
#[derive(Debug, Clone, Default)]
pub struct SourceRows {
    pub batches: Vec<RecordBatch>,
    /// Of each batch, as far as the source says it.
    pub origins: Vec<Origins>,
    /// The topic, or the path of the files.
    pub topic: Arc<str>,
    /// The column of the event time in the batches.
    pub time_column: Option<usize>,
    /// Where a row was read does not say which of two came first.
    pub unordered: bool,
}

impl Epoch {
    pub fn new(id: u64, now: Micros, far_after: Micros, sources: Vec<SourceRows>, marks: Vec<Vec<InputMarks>>) -> Self {
        Epoch { id, now, sources, marks, far_after, left_out: BTreeSet::new(), effects: Effects::default() }
    }

    /// The same epoch once more, without some rows; what is bad in it is isolated.
    pub fn without(&self, left_out: BTreeSet<RowId>) -> Self {
        let (sources, marks) = (self.sources.clone(), self.marks.clone());
        let effects = Effects { isolates: true, ..Effects::default() };
        Epoch { id: self.id, now: self.now, sources, marks, far_after: self.far_after, left_out, effects }
    }

    /// Of the rows from `first` on in its batch, the ones that are read; `None` where all of them are.
    pub fn read_of(&self, first: RowId, rows: usize) -> Option<BooleanArray> {
        let end = RowId { row: first.row + rows, ..first };
        let mut left_out = self.left_out.range(first..end).peekable();
        left_out.peek()?;
        let mut read = vec![true; rows];
        left_out.for_each(|id| read[id.row - first.row] = false);
        Some(read.into())
    }

    /// An input row as a JSON object, with the columns that the query reads.
    pub fn row_as_json(&self, id: RowId) -> Result<String> {
        let unknown = || Error::bug(format!("epoch {} has no row {id:?}", self.id));
        let batch = self.sources.get(id.slot).and_then(|source| source.batches.get(id.batch)).ok_or_else(unknown)?;
        if id.row >= batch.num_rows() {
            return Err(unknown());
        }
        json_rows(&batch.slice(id.row, 1), &[])?.pop().ok_or_else(unknown)
    }

    /// Where a row was read; `None` where its source does not say.
    pub fn origin_of(&self, id: RowId) -> Option<Origin> {
        let RowId { slot, batch, row } = id;
        let source = self.sources.get(slot)?;
        let (partition, offset, position) = source.origins.get(batch)?.of(row)?;
        Some(Origin { topic: Arc::clone(&source.topic), partition, offset, position })
    }

    /// The place where a row was read as one number, which says partition, offset and position in the order of these, in 10, 24, 63 and 24
    /// bits with the source's slot before them; what is beyond one of them counts as its last. `None` where its source does not say it.
    pub fn place_of(&self, id: RowId) -> Option<i128> {
        let bits = |value: i64, bits: u32| i128::from(value.clamp(0, (1 << bits) - 1));
        let source = self.sources.get(id.slot).filter(|source| !source.unordered)?;
        let (partition, offset, position) = source.origins.get(id.batch)?.of(id.row)?;
        let slot = bits(i64::try_from(id.slot).unwrap_or(i64::MAX), 10);
        let partition = bits(partition.into(), 24);
        let offset = i128::from(offset.max(0));
        Some((((slot << 24 | partition) << 63 | offset) << 24) | bits(position.into(), 24))
    }

    /// A row's own event time.
    pub fn event_time_of(&self, id: RowId) -> Option<Micros> {
        let RowId { slot, batch, row } = id;
        let source = self.sources.get(slot)?;
        let column = source.batches.get(batch)?.column(source.time_column?);
        if row >= column.len() || column.is_null(row) {
            return None;
        }
        micros(&column.slice(row, 1)).ok()?.first().copied()
    }

    /// The marks of all inputs of an operator.
    pub fn marks_of(&self, operator: usize) -> &[InputMarks] {
        self.marks.get(operator).map_or(&[], Vec::as_slice)
    }
}

/// Names a row of an epoch's input, as the hidden column [`super::logical::ROW`] holds it: only within its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowId {
    pub slot: usize,
    pub batch: usize,
    pub row: usize,
}

impl RowId {
    const ROW_BITS: u32 = 32;
    const BATCH_BITS: u32 = 24;

    /// The ids of this row and of those behind it in its batch.
    pub fn run(self, rows: usize) -> Int64Array {
        let first = self.encoded();
        Int64Array::from_iter_values((0..rows as i64).map(|row| first + row))
    }

    // An epoch has at most some thousands of batches, and a query some slots: nothing is cut.
    fn encoded(self) -> i64 {
        ((self.slot as i64) << (Self::ROW_BITS + Self::BATCH_BITS))
            | ((self.batch as i64) << Self::ROW_BITS)
            | self.row as i64
    }

    pub fn decoded(id: i64) -> Self {
        let low = |bits: u32| (1_i64 << bits) - 1;
        RowId {
            slot: (id >> (Self::ROW_BITS + Self::BATCH_BITS)) as usize,
            batch: ((id >> Self::ROW_BITS) & low(Self::BATCH_BITS)) as usize,
            row: (id & low(Self::ROW_BITS)) as usize,
        }
    }
}

/// What an epoch does beside emitting rows.
#[derive(Debug, Default)]
pub struct Effects {
    isolates: bool,
    late: Mutex<Vec<LateRow>>,
    bad: Mutex<Vec<BadRow>>,
    without_time: AtomicU64,
    drained: AtomicUsize,
}

impl Effects {
    pub fn add_late(&self, rows: impl Iterator<Item = LateRow>) {
        self.late.lock().extend(rows);
    }

    /// Whether bad rows and results are noted and left out; else the first of them is an error.
    pub fn isolates(&self) -> bool {
        self.isolates
    }

    pub fn add_bad(&self, row: BadRow) {
        self.bad.lock().push(row);
    }

    pub fn has_bad(&self) -> bool {
        !self.bad.lock().is_empty()
    }

    pub fn take_bad(&self) -> Vec<BadRow> {
        std::mem::take(&mut *self.bad.lock())
    }

    pub fn count_without_time(&self, rows: u64) {
        self.without_time.fetch_add(rows, Ordering::Relaxed);
    }

    /// A leaf or a stateful operator has read one partition of an input to its end.
    pub fn drained(&self) {
        self.drained.fetch_add(1, Ordering::AcqRel);
    }

    pub fn drained_count(&self) -> usize {
        self.drained.load(Ordering::Acquire)
    }

    /// Late rows, and the number of rows without an event time.
    pub fn take(&self) -> (Vec<LateRow>, u64) {
        (std::mem::take(&mut *self.late.lock()), self.without_time.swap(0, Ordering::Relaxed))
    }
}

/// The running epoch of one query. Nodes hold the cell, so that a plan can run again without being planned again.
#[derive(Debug, Default)]
pub struct EpochCell {
    current: RwLock<Arc<Epoch>>,
}

impl EpochCell {
    pub fn current(&self) -> Arc<Epoch> {
        Arc::clone(&self.current.read())
    }

    pub fn enter(&self, epoch: Epoch) -> Arc<Epoch> {
        let epoch = Arc::new(epoch);
        *self.current.write() = Arc::clone(&epoch);
        epoch
    }

    /// Lets go of the epoch's input.
    pub fn leave(&self) {
        *self.current.write() = Arc::default();
    }
}

/// The values of a time column in microseconds, whatever its unit; those of NULLs mean nothing.
pub fn micros(column: &ArrayRef) -> Result<Vec<Micros>> {
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return Err(Error::bug(format!("a time column of type {}", column.data_type())));
    };
    let ticks = column.to_data().into_builder().data_type(DataType::Int64).build()?;
    let ticks = arrow::array::make_array(ticks);
    let ticks = ticks.as_primitive::<Int64Type>().values();
    Ok(ticks.iter().map(|tick| micros_at(*tick, *unit)).collect())
}
