//! New rows of one side on their way through the other's: the pairs that may be partners, in portions.

use arrow::array::{ArrayRef, RecordBatch};

use super::buffer::{Buffer, Place};
use crate::clock::Micros;

/// Pairs that are compared and handed on at a time, about.
pub(super) const PAIRS: usize = 8192;

/// Rows of a batch that are in their side's buffer already.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) side: usize,
    pub(super) batch: RecordBatch,
    pub(super) times: Vec<Micros>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) hashes: Vec<u64>,
    pub(super) places: Vec<Place>,
    /// The first row that has not been looked up.
    next: usize,
    /// Pairs of a row of the batch and a place in the other side's buffer that have not been handed on, the next one last.
    pairs: Vec<(u32, Place)>,
}

impl Probe {
    pub(super) fn new(
        side: usize,
        batch: RecordBatch,
        times: Vec<Micros>,
        keys: Vec<ArrayRef>,
        hashes: Vec<u64>,
        places: Vec<Place>,
    ) -> Self {
        Probe { side, batch, times, keys, hashes, places, next: 0, pairs: Vec::new() }
    }

    /// The next pairs of equal hashes: rows of the batch, and the places of the others. `None` behind the last ones.
    ///
    /// `interval`: of the partners' times, for a row's own. `committed`: rows of the running epoch meet those of this batch elsewhere.
    pub(super) fn next_pairs(
        &mut self,
        other: &Buffer,
        interval: impl Fn(Micros) -> (Micros, Micros),
        committed: bool,
    ) -> Option<(Vec<u32>, Vec<Place>)> {
        let mut found = Vec::new();
        while self.pairs.len() < PAIRS && self.next < self.times.len() {
            let row = self.next;
            self.next += 1;
            let (from, to) = interval(self.times[row]);
            other.candidates(from, to, self.hashes[row], committed, &mut found);
            self.pairs.extend(found.drain(..).map(|place| (row as u32, place)));
        }
        if self.pairs.is_empty() {
            return None;
        }
        let rest = self.pairs.len().saturating_sub(PAIRS);
        Some(self.pairs.drain(rest..).unzip())
    }
}
