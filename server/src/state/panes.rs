//! State by event time: segments in panes, merged in tiers.
//!
//! An epoch only ever appends. Until it commits, what it appended stands aside and aborting it is dropping that; so an
//! epoch applies to all of an operator's state or to none. Segments never change once made, which is why a checkpoint
//! writes the new ones alone, without copying and off the hot path.
//!
//! Where memory is short the largest segments go to disk first, and what an epoch brings last.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;

use super::budget::{Account, Reservation};
use super::bytes_of;
use super::parts::parts_for;
use super::rows::{Rows, Spool};
use super::segment::{PartReader, STATE, Segment, place, to_disk};
use crate::clock::Micros;
use crate::error::{Error, Result};

/// Segments of one level that are merged into one of the next.
///
/// Each row is rewritten once a level, so log₈(n) times in all; with more, a pane would keep more segments to merge at
/// close, with fewer, merging would cost more during the epochs.
const FAN_IN: usize = 8;

/// Segments of fewer bytes stay in memory: a file for each would cost more than it frees.
const SPILL_BYTES_MIN: usize = if cfg!(test) { 1 } else { 64 * 1024 };

/// How rows of state become fewer.
pub trait Merge {
    /// Number of leading columns that are the key.
    fn keys(&self) -> usize;

    /// One batch with one row for each key of `batches`.
    fn merge(&self, batches: &[RecordBatch]) -> Result<RecordBatch>;
}

/// The state of one operator. Panes are named by their start, microseconds.
#[derive(Debug)]
pub struct PaneState {
    account: Arc<Account>,
    panes: BTreeMap<Micros, Vec<Segment>>,
    pending: BTreeMap<Micros, Vec<RecordBatch>>,
    /// For what is pending.
    counted: Reservation,
    next_segment: u64,
    /// Of all segments: in memory, and on local disk.
    bytes: usize,
    disk_bytes: u64,
}

impl PaneState {
    pub fn new(account: &Arc<Account>) -> Self {
        PaneState {
            account: Arc::clone(account),
            panes: BTreeMap::new(),
            pending: BTreeMap::new(),
            counted: Reservation::empty(account),
            next_segment: 0,
            bytes: 0,
            disk_bytes: 0,
        }
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Adds rows to a pane, for this epoch only until [`PaneState::commit`].
    pub fn append(&mut self, pane: Micros, batch: RecordBatch) {
        self.counted.count(bytes_of(&batch));
        self.pending.entry(pane).or_default().push(batch);
    }

    /// The starts of all panes that hold rows, those of the running epoch included, ascending.
    pub fn pane_starts(&self) -> Vec<Micros> {
        let mut starts: Vec<Micros> = self.panes.keys().chain(self.pending.keys()).copied().collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// Whether a pane in `[from, to)` holds rows, those of the running epoch included.
    pub fn has_rows(&self, from: Micros, to: Micros) -> bool {
        self.panes.range(from..to).next().is_some() || self.pending.range(from..to).next().is_some()
    }

    /// All rows of the panes in `[from, to)`, those of the running epoch included.
    pub fn rows(&self, from: Micros, to: Micros) -> Vec<Rows> {
        let committed =
            self.panes.range(from..to).flat_map(|(_, segments)| segments.iter().map(|segment| segment.rows.clone()));
        // These are counted already.
        let uncounted = |batch: &RecordBatch| vec![batch.clone()].into();
        let pending = self.pending.range(from..to).flat_map(|(_, batches)| batches.iter().map(uncounted));
        committed.chain(pending).collect()
    }

    /// Makes the epoch's rows part of the state and forgets the panes up to and including `done_through`.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them. The operator must then be restored from its last checkpoint.
    pub fn commit(&mut self, done_through: Micros, merge: &impl Merge) -> Result<()> {
        while let Some(entry) = self.panes.first_entry() {
            if *entry.key() > done_through {
                break;
            }
            let done = entry.remove();
            done.iter().for_each(|segment| self.forget(&segment.rows));
        }
        self.counted.release();
        for (pane, batches) in std::mem::take(&mut self.pending) {
            if pane <= done_through {
                continue;
            }
            // One segment for each epoch: an operator hands over its result in slices, whose keys differ and which all
            // hold on to the whole of it.
            let batch = match batches.as_slice() {
                [one] => one.clone(),
                many => concat_batches(&many[0].schema(), many)?,
            };
            drop(batches);
            let rows = self.place(vec![batch], merge.keys())?;
            self.insert(pane, 0, rows);
            self.compact(pane, merge)?;
        }
        Ok(())
    }

    /// Puts merged rows in the place of everything a pane holds, what the epoch appended included.
    pub fn replace(&mut self, pane: Micros, rows: Rows) {
        self.pending.remove(&pane);
        let old = self.panes.remove(&pane).unwrap_or_default();
        old.iter().for_each(|segment| self.forget(&segment.rows));
        let level = old.iter().map(|segment| segment.level).max().unwrap_or_default();
        self.insert(pane, level, rows);
    }

    /// Forgets what the epoch appended.
    pub fn abort(&mut self) {
        self.pending.clear();
        self.counted.release();
    }

    /// Everything committed, for a checkpoint.
    pub fn segments(&self) -> impl Iterator<Item = (Micros, &Segment)> + '_ {
        self.panes.iter().flat_map(|(pane, segments)| segments.iter().map(|segment| (*pane, segment)))
    }

    /// Puts a segment back that a checkpoint held.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for it.
    pub fn restore(&mut self, pane: Micros, id: u64, level: u8, batches: Vec<RecordBatch>, keys: usize) -> Result<()> {
        let rows = self.place(batches, keys)?;
        self.next_segment = self.next_segment.max(id + 1);
        self.keep(pane, Segment { id, level, rows });
        Ok(())
    }

    /// Bytes of memory, those of the running epoch included.
    pub fn bytes(&self) -> usize {
        self.bytes + self.counted.bytes()
    }

    /// Bytes on local disk.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    pub fn pane_count(&self) -> usize {
        self.panes.len()
    }

    fn insert(&mut self, pane: Micros, level: u8, rows: Rows) {
        let id = self.next_segment;
        self.next_segment += 1;
        self.keep(pane, Segment { id, level, rows });
    }

    fn keep(&mut self, pane: Micros, segment: Segment) {
        self.bytes += segment.rows.bytes();
        self.disk_bytes += segment.rows.disk_bytes();
        self.panes.entry(pane).or_default().push(segment);
    }

    fn forget(&mut self, rows: &Rows) {
        self.bytes -= rows.bytes();
        self.disk_bytes -= rows.disk_bytes();
    }

    /// In memory, if need be in place of what was there before; else on disk.
    fn place(&mut self, batches: Vec<RecordBatch>, keys: usize) -> Result<Rows> {
        let PaneState { account, panes, bytes, disk_bytes, .. } = self;
        place(batches, account, keys, SPILL_BYTES_MIN, || {
            let in_memory = panes.values_mut().flatten().filter(|segment| segment.rows.bytes() >= SPILL_BYTES_MIN);
            let Some(largest) = in_memory.max_by_key(|segment| segment.rows.bytes()) else { return Ok(false) };
            let put_away = to_disk(&largest.rows, account, keys)?;
            *bytes -= largest.rows.bytes();
            *disk_bytes += put_away.disk_bytes();
            largest.rows = put_away;
            Ok(true)
        })
    }

    fn compact(&mut self, pane: Micros, merge: &impl Merge) -> Result<()> {
        let mut level = 0;
        loop {
            let Some(segments) = self.panes.get_mut(&pane) else { return Ok(()) };
            if segments.iter().filter(|segment| segment.level == level).count() < FAN_IN {
                return Ok(());
            }
            let (full, rest): (Vec<_>, Vec<_>) = segments.drain(..).partition(|segment| segment.level == level);
            *segments = rest;
            level = level.checked_add(1).ok_or_else(|| Error::bug("a pane has more than 255 levels of segments"))?;
            full.iter().for_each(|segment| self.forget(&segment.rows));
            let full = full.into_iter().map(|segment| segment.rows).collect();
            let merged = self.merged(full, merge)?;
            self.insert(pane, level, merged);
        }
    }

    fn merged(&mut self, segments: Vec<Rows>, merge: &impl Merge) -> Result<Rows> {
        let rows = segments.iter().map(Rows::num_rows).sum();
        let parts = if merge.keys() == 0 { 1 } else { parts_for(rows) };
        let mut readers: Vec<PartReader> =
            segments.into_iter().map(|segment| PartReader::new(segment, merge.keys(), parts)).collect();
        let mut read = |part| {
            let mut rows = Vec::new();
            readers.iter_mut().try_for_each(|reader| reader.read(part, &mut rows))?;
            merge.merge(&rows)
        };
        if parts == 1 {
            let merged = read(0)?;
            drop(readers);
            return self.place(vec![merged], merge.keys());
        }
        let mut merged = Spool::of(STATE, &self.account);
        (0..parts).try_for_each(|part| merged.push_part(read(part)?))?;
        merged.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::super::budget::Budget;
    use super::super::spill::SpillSpace;
    use super::*;
    use crate::store::SpillDirectory;

    fn row(value: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![value]))]).unwrap()
    }

    /// Keys are never the same.
    struct Concat;

    impl Merge for Concat {
        fn keys(&self) -> usize {
            1
        }

        fn merge(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
            Ok(concat_batches(&row(0).schema(), batches)?)
        }
    }

    fn state() -> PaneState {
        PaneState::new(&Account::unlimited())
    }

    fn values(state: &PaneState, from: Micros, to: Micros) -> Vec<i64> {
        let batches = state.rows(from, to).into_iter().flat_map(|rows| rows.batches());
        let mut values: Vec<i64> =
            batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn an_aborted_epoch_leaves_no_trace() {
        let mut state = state();
        state.append(0, row(1));
        state.commit(Micros::MIN, &Concat).unwrap();
        let bytes = state.bytes();
        state.append(0, row(2));
        state.append(10, row(3));
        assert_eq!(values(&state, 0, 20), [1, 2, 3]);
        state.abort();
        assert_eq!(values(&state, 0, 20), [1]);
        assert_eq!(state.bytes(), bytes);
        assert_eq!(state.pane_starts(), [0]);
    }

    #[test]
    fn a_thousand_epochs_of_one_row_leave_a_few_segments_and_every_row() {
        let mut state = state();
        for value in 0..1000 {
            state.append(0, row(value));
            state.commit(Micros::MIN, &Concat).unwrap();
        }
        assert_eq!(values(&state, 0, 1), (0..1000).collect::<Vec<_>>());
        // 1000 in base 8 is 1750: its digits count the segments of each level.
        assert_eq!(state.segments().count(), 1 + 7 + 5);
        let held: usize = state.segments().map(|(_, segment)| segment.rows.bytes()).sum();
        assert_eq!(state.account().used(), held);
        assert_eq!(state.bytes(), held);
    }

    #[test]
    fn done_panes_go_and_their_bytes_with_them() {
        let mut state = state();
        for pane in [0, 10, 20] {
            state.append(pane, row(pane));
        }
        state.commit(10, &Concat).unwrap();
        assert_eq!(values(&state, 0, 100), [20]);
        state.commit(20, &Concat).unwrap();
        assert_eq!((state.bytes(), state.pane_count(), state.account().used()), (0, 0, 0));
    }

    #[test]
    fn segment_ids_go_on_after_a_restore() {
        let mut state = state();
        state.restore(0, 41, 0, vec![row(1)], 1).unwrap();
        state.append(0, row(2));
        state.commit(Micros::MIN, &Concat).unwrap();
        assert_eq!(state.segments().map(|(_, segment)| segment.id).collect::<Vec<_>>(), [41, 42]);
    }

    fn many(from: i64, rows: i64) -> RecordBatch {
        let values = Int64Array::from_iter_values(from..from + rows);
        RecordBatch::try_new(row(0).schema(), vec![Arc::new(values)]).unwrap()
    }

    // Each epoch brings 80 kB, and 240 kB may be held.
    #[test]
    fn state_that_has_no_room_goes_to_disk_and_is_all_there_at_every_division() {
        let disk = SpillDirectory::temporary(64 << 20);
        let budget = Budget::new(320_000, Some(Arc::new(disk.clone())));
        let mut state = PaneState::new(&budget.account("query"));
        for epoch in 0..40 {
            state.append(0, many(epoch * 10_000, 10_000));
            state.commit(Micros::MIN, &Concat).unwrap();
            assert!(budget.used() <= 320_000, "{} bytes in epoch {epoch}", budget.used());
        }
        assert_eq!(state.bytes(), budget.used());
        assert_eq!(state.disk_bytes(), disk.used());
        assert!(state.segments().filter(|(_, segment)| segment.rows.on_disk()).count() > 3);
        assert_eq!(values(&state, 0, 1), (0..400_000).collect::<Vec<_>>());
        for parts in [1, 2, 64, 256] {
            let mut readers: Vec<PartReader> =
                state.rows(0, 1).into_iter().map(|rows| PartReader::new(rows, 1, parts)).collect();
            let mut seen = 0;
            for part in 0..parts {
                let mut rows = Vec::new();
                readers.iter_mut().for_each(|reader| reader.read(part, &mut rows).unwrap());
                // All of a part is in the same part of every other division of it.
                seen += rows.iter().map(RecordBatch::num_rows).sum::<usize>();
            }
            assert_eq!(seen, 400_000, "{parts} parts");
        }
        state.commit(0, &Concat).unwrap();
        assert_eq!((budget.used(), disk.used(), state.disk_bytes()), (0, 0, 0));
    }

    #[test]
    fn what_neither_memory_nor_disk_can_take_is_refused_by_name() {
        let of = |disk: Option<u64>| {
            let disk = disk.map(|bytes| Arc::new(SpillDirectory::temporary(bytes)) as Arc<dyn SpillSpace>);
            PaneState::new(&Budget::new(320_000, disk).account("query \"v\""))
        };
        for (disk, setting) in [(None, "engine.state_bytes_max"), (Some(200_000), "engine.spill_bytes_max")] {
            let mut state = of(disk);
            let refused = (0..20).find_map(|epoch| {
                state.append(epoch, many(0, 10_000));
                state.commit(Micros::MIN, &Concat).err()
            });
            let report = refused.unwrap().report();
            assert!(report.contains(setting), "{report}");
        }
        let mut state = of(None);
        state.append(0, many(0, 100_000));
        let report = state.commit(Micros::MIN, &Concat).unwrap_err().report();
        assert!(report.starts_with("query \"v\" needs 800"), "{report}");
    }
}
