//! What the nodes of a running plan see of their epoch: its input, its thresholds, and where to note side effects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use parking_lot::{Mutex, RwLock};

use crate::clock::Micros;

/// One epoch. Immutable but for its effects.
#[derive(Debug, Default)]
pub struct Epoch {
    pub id: u64,
    pub now: Micros,
    pub batches: Vec<Vec<RecordBatch>>,
    /// One for each stateful operator.
    pub marks: Vec<Marks>,
    pub effects: Effects,
}

/// The input edge's watermark after the previous epoch and after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Rows of windows that end at or before this are late.
    pub late: Micros,
    /// Windows that end at or before this close.
    pub close: Micros,
}

impl Epoch {
    pub fn new(id: u64, now: Micros, batches: Vec<Vec<RecordBatch>>, marks: Vec<Marks>) -> Self {
        Epoch { id, now, batches, marks, effects: Effects::default() }
    }
}

/// What an epoch does beside emitting rows.
#[derive(Debug, Default)]
pub struct Effects {
    late: Mutex<Vec<LateRow>>,
    without_time: AtomicU64,
    drained: AtomicUsize,
}

/// A row that came after one of its windows had closed. One entry for each window it missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRow {
    pub operator: String,
    pub window_start: Micros,
    pub window_end: Micros,
    /// The watermark against which it was late.
    pub watermark: Micros,
    /// The row as the query reads it, as a JSON object.
    pub row: String,
}

impl Effects {
    pub fn add_late(&self, rows: impl Iterator<Item = LateRow>) {
        self.late.lock().extend(rows);
    }

    pub fn count_without_time(&self) {
        self.without_time.fetch_add(1, Ordering::Relaxed);
    }

    /// A leaf or a stateful operator has read one input partition to its end.
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
