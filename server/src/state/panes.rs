//! State by event time: segments in panes, merged in tiers.
//!
//! An epoch only ever appends. Until it commits, what it appended stands aside and aborting it is dropping that; so an
//! epoch applies to all of an operator's state or to none. Segments never change once made, which is why a checkpoint
//! writes the new ones alone, without copying and off the hot path.
//!
//! Where memory is short the largest segments go to disk first, and what an epoch brings last. Where disk has no room, segments that a
//! checkpoint holds are given up, those first that are read last. [`PaneState::need`] says which of them an epoch has to fetch.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;

use super::budget::{Account, Reservation};
use super::bytes_of;
use super::compact::tight;
use super::home::SegmentHome;
use super::parts::parts_for;
use super::rows::{Rows, Spool};
use super::segment::{PartReader, STATE, Segment, to_disk};
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};

/// Segments of one level that are merged into one of the next.
///
/// Each row is rewritten once a level, so log₈(n) times in all; with more, a pane would keep more segments to merge at
/// close, with fewer, merging would cost more during the epochs.
const FAN_IN: usize = 8;

/// Segments of fewer bytes stay in memory: a file or a request for each would cost more than it frees.
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
    /// The running epoch reads panes up to this: until it commits they are not given up, however often it is run.
    needed_through: Micros,
    /// A checkpoint holds some of it.
    is_stored: bool,
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
            needed_through: Micros::MIN,
            is_stored: false,
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

    /// The rows of the running epoch, by pane.
    pub fn pending(&self) -> impl Iterator<Item = (Micros, &[RecordBatch])> + '_ {
        self.pending.iter().map(|(pane, batches)| (*pane, batches.as_slice()))
    }

    /// The rows of a pane, those of the running epoch apart.
    pub fn committed(&self, pane: Micros) -> Vec<Rows> {
        self.panes.get(&pane).map_or_else(Vec::new, |segments| segments.iter().map(|one| one.rows.clone()).collect())
    }

    /// Makes the epoch's rows part of the state and forgets the panes up to and including `done_through`.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them. The operator must then be restored from its last checkpoint.
    pub fn commit(&mut self, done_through: Micros, merge: &impl Merge) -> Result<()> {
        self.needed_through = Micros::MIN;
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

    /// Puts a segment back that a checkpoint held, in the place of the one without rows where there is one.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for it. The state is then as before.
    pub fn restore(&mut self, pane: Micros, id: u64, level: u8, batches: Vec<RecordBatch>, keys: usize) -> Result<()> {
        let rows = self.place(batches, keys)?;
        match self.find(pane, id) {
            Some(known) => {
                let before = std::mem::replace(&mut known.rows, rows.clone());
                self.bytes += rows.bytes();
                self.disk_bytes += rows.disk_bytes();
                self.forget(&before);
            }
            None => self.take_up(pane, Segment { id, level, rows, home: None }),
        }
        Ok(())
    }

    /// Takes a segment up without its rows.
    pub fn restore_remote(&mut self, pane: Micros, id: u64, level: u8, home: Arc<dyn SegmentHome>) {
        self.is_stored = true;
        self.take_up(pane, Segment { id, level, rows: Rows::remote(home.rows()), home: Some(home) });
    }

    /// A checkpoint holds the segment: from now on it can be given up.
    pub fn stored(&mut self, pane: Micros, id: u64, home: Arc<dyn SegmentHome>) {
        if let Some(segment) = self.find(pane, id) {
            segment.home = Some(home);
            self.is_stored = true;
        }
    }

    /// Whether a checkpoint holds some of it: else all of it is here.
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// The running epoch reads the panes up to `through`: what is here of them stays here until it commits. Returns what is not, with its
    /// pane; [`PaneState::restore`] brings it.
    pub fn need(&mut self, through: Micros, keys: usize) -> Vec<(Micros, Segment)> {
        self.needed_through = through;
        let needed = self.panes.range(..=through).flat_map(|(pane, segments)| segments.iter().map(|one| (*pane, one)));
        let needed: Vec<_> =
            needed.filter(|(_, segment)| segment.rows.is_remote()).map(|(pane, one)| (pane, one.clone())).collect();
        if !needed.is_empty() && self.account.disk().is_some() {
            // Each is decoded beside what is here. Where that cannot be put away, there is no place for what is fetched either, which says so.
            while self.account.is_short() && self.spill_largest(keys).unwrap_or(false) {}
        }
        needed
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
        self.keep(pane, Segment { id, level, rows, home: None });
    }

    fn find(&mut self, pane: Micros, id: u64) -> Option<&mut Segment> {
        self.panes.get_mut(&pane)?.iter_mut().find(|segment| segment.id == id)
    }

    fn take_up(&mut self, pane: Micros, segment: Segment) {
        self.next_segment = self.next_segment.max(segment.id + 1);
        self.keep(pane, segment);
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

    /// In memory, if need be in place of what was there before; else on disk; else in place of what a checkpoint holds.
    fn place(&mut self, batches: Vec<RecordBatch>, keys: usize) -> Result<Rows> {
        let batches = batches.into_iter().map(tight).collect::<Result<Vec<_>>>()?;
        let bytes: usize = batches.iter().map(|(_, bytes)| bytes).sum();
        let batches: Vec<RecordBatch> = batches.into_iter().map(|(batch, _)| batch).collect();
        loop {
            match self.try_place(&batches, bytes, keys) {
                Ok(Some(rows)) => return Ok(rows),
                Ok(None) => {}
                Err(refused) if refused.kind() == ErrorKind::OverBudget && self.give_up() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// `None`: there is more room now.
    fn try_place(&mut self, batches: &[RecordBatch], bytes: usize, keys: usize) -> Result<Option<Rows>> {
        if let Some(held) = self.account.hold(bytes) {
            return Ok(Some(Rows::held(batches.to_vec(), held)));
        }
        if self.account.disk().is_none() {
            // What can be read back does not take from those that have no choice.
            if self.give_up() {
                return Ok(None);
            }
        } else if self.spill_largest(keys)? {
            return Ok(None);
        } else if bytes >= SPILL_BYTES_MIN {
            return to_disk(&batches.to_vec().into(), &self.account, keys).map(Some);
        }
        let held = self.account.reserve(bytes, STATE)?;
        Ok(Some(Rows::held(batches.to_vec(), held)))
    }

    /// False where nothing in memory is worth a file.
    fn spill_largest(&mut self, keys: usize) -> Result<bool> {
        let in_memory = self.panes.values_mut().flatten().filter(|segment| segment.rows.bytes() >= SPILL_BYTES_MIN);
        let Some(largest) = in_memory.max_by_key(|segment| segment.rows.bytes()) else { return Ok(false) };
        let put_away = to_disk(&largest.rows, &self.account, keys)?;
        self.bytes -= largest.rows.bytes();
        self.disk_bytes += put_away.disk_bytes();
        largest.rows = put_away;
        Ok(true)
    }

    /// Leaves a segment to the checkpoint that holds it: of the latest pane, which is read last, the largest. False where there is none.
    fn give_up(&mut self) -> bool {
        let not_needed = self.panes.range_mut((Bound::Excluded(self.needed_through), Bound::Unbounded));
        let largest = not_needed.rev().find_map(|(_, segments)| {
            let stored = segments.iter_mut().filter(|segment| segment.home.is_some());
            stored
                .filter(|segment| segment.bytes_here() >= SPILL_BYTES_MIN as u64)
                .max_by_key(|segment| segment.bytes_here())
        });
        let Some(segment) = largest else { return false };
        let remote = Rows::remote(segment.rows.num_rows());
        let rows = std::mem::replace(&mut segment.rows, remote);
        self.forget(&rows);
        true
    }

    /// What only a checkpoint holds is left out until it is back.
    fn compact(&mut self, pane: Micros, merge: &impl Merge) -> Result<()> {
        let mut level = 0;
        loop {
            let Some(segments) = self.panes.get_mut(&pane) else { return Ok(()) };
            let in_tier = |segment: &Segment| segment.level == level && !segment.rows.is_remote();
            if segments.iter().filter(|segment| in_tier(segment)).count() < FAN_IN {
                return Ok(());
            }
            let (mut full, rest): (Vec<_>, Vec<_>) = segments.drain(..).partition(in_tier);
            *segments = rest;
            full.iter().for_each(|segment| self.forget(&segment.rows));
            let Some(merged) = self.merged(&mut full, merge)? else {
                full.into_iter().for_each(|segment| self.keep(pane, segment));
                return Ok(());
            };
            level = level.checked_add(1).ok_or_else(|| Error::bug("a pane has more than 255 levels of segments"))?;
            self.insert(pane, level, merged);
        }
    }

    /// The rows of `tier`, which are let go. `None`, and all of them are still there, where that has no room beside them.
    fn merged(&mut self, tier: &mut Vec<Segment>, merge: &impl Merge) -> Result<Option<Rows>> {
        let rows = tier.iter().map(|segment| segment.rows.num_rows()).sum();
        let parts = if merge.keys() == 0 { 1 } else { parts_for(rows) };
        let mut readers: Vec<PartReader> =
            tier.iter().map(|segment| PartReader::new(segment.rows.clone(), merge.keys(), parts)).collect();
        let mut read = |part| {
            let mut rows = Vec::new();
            readers.iter_mut().try_for_each(|reader| reader.read(part, &mut rows))?;
            merge.merge(&rows)
        };
        if parts == 1 {
            let merged = read(0)?;
            drop(readers);
            tier.clear();
            return self.place(vec![merged], merge.keys()).map(Some);
        }
        let bytes = tier.iter().map(|segment| segment.rows.bytes()).sum();
        if self.account.disk().is_none() && self.account.hold(bytes).is_none() {
            return Ok(None);
        }
        let mut merged = Spool::of(STATE, &self.account);
        let spooled = (0..parts).try_for_each(|part| merged.push_part(read(part)?));
        match spooled.and_then(|()| merged.finish()) {
            Err(error) if error.kind() == ErrorKind::OverBudget => Ok(None),
            merged => merged.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use futures::executor::block_on;

    use super::super::budget::Budget;
    use super::super::home::by_hand::Elsewhere;
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
        sorted(&batches.collect::<Result<Vec<_>>>().unwrap())
    }

    /// As [`values`], read in so many parts.
    fn values_by_part(state: &PaneState, from: Micros, to: Micros, parts: usize) -> Vec<i64> {
        let mut readers: Vec<PartReader> =
            state.rows(from, to).into_iter().map(|rows| PartReader::new(rows, 1, parts)).collect();
        let mut rows = Vec::new();
        for part in 0..parts {
            readers.iter_mut().for_each(|reader| reader.read(part, &mut rows).unwrap());
        }
        sorted(&rows)
    }

    fn sorted(batches: &[RecordBatch]) -> Vec<i64> {
        let of = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        let mut values: Vec<i64> = batches.iter().flat_map(of).collect();
        values.sort_unstable();
        values
    }

    /// A checkpoint: every segment that has none gets a home.
    fn store(state: &mut PaneState, elsewhere: &Arc<Elsewhere>) {
        let new = state.segments().filter(|(_, segment)| segment.home.is_none());
        let homes: Vec<_> = new.map(|(pane, segment)| (pane, segment.id, elsewhere.home(&segment.rows))).collect();
        homes.into_iter().for_each(|(pane, id, home)| state.stored(pane, id, home));
    }

    /// Brings what an epoch needs that reads the panes up to `through`.
    fn fetch(state: &mut PaneState, through: Micros) -> Result<()> {
        state.need(through, 1).into_iter().try_for_each(|(pane, segment)| {
            let batches = block_on(segment.home.unwrap().fetch())?;
            state.restore(pane, segment.id, segment.level, batches, 1)
        })
    }

    fn remote(state: &PaneState) -> usize {
        state.segments().filter(|(_, segment)| segment.rows.is_remote()).count()
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
            assert_eq!(values_by_part(&state, 0, 1, parts), (0..400_000).collect::<Vec<_>>(), "{parts} parts");
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

    // Each of four epochs brings 20 kB to each of ten panes; 240 kB may be held, and on disk there is nothing or room for a few.
    #[test]
    fn what_a_checkpoint_holds_is_given_up_and_comes_back_whole_at_every_division() {
        for disk in [None, Some(SpillDirectory::temporary(400_000))] {
            let space = disk.clone().map(|disk| Arc::new(disk) as Arc<dyn SpillSpace>);
            let budget = Budget::new(320_000, space);
            let mut state = PaneState::new(&budget.account("query"));
            let elsewhere = Arc::new(Elsewhere::default());
            for epoch in 0..4 {
                for pane in 0..10 {
                    state.append(pane, many(pane * 10_000 + epoch * 2_500, 2_500));
                }
                state.commit(Micros::MIN, &Concat).unwrap();
                assert!(budget.used() <= 240_000, "{} bytes in epoch {epoch}", budget.used());
                store(&mut state, &elsewhere);
            }
            let on_disk = disk.as_ref().map_or(0, SpillDirectory::used);
            assert_eq!((state.bytes(), state.disk_bytes()), (budget.used(), on_disk));
            assert!(remote(&state) > 10 && elsewhere.fetched() == 0, "{} are remote", remote(&state));
            // What is read last has gone first.
            let oldest = |pane: Micros| state.rows(pane, pane + 1)[0].is_remote();
            assert_eq!((oldest(0), oldest(9)), (false, true));
            let early = state.rows(9, 10).iter().flat_map(Rows::batches).find_map(Result::err).unwrap();
            assert_eq!(early.kind(), ErrorKind::Bug);
            assert!(PartReader::new(state.rows(9, 10)[0].clone(), 1, 2).read(0, &mut vec![]).is_err());
            for pane in 0..10 {
                fetch(&mut state, pane).unwrap();
                let expected: Vec<i64> = (pane * 10_000..(pane + 1) * 10_000).collect();
                for parts in [1, 2, 64, 256] {
                    assert_eq!(values_by_part(&state, pane, pane + 1, parts), expected, "pane {pane} in {parts} parts");
                }
                assert!(budget.used() <= 240_000, "{} bytes for pane {pane}", budget.used());
                state.commit(pane, &Concat).unwrap();
            }
            let on_disk = disk.as_ref().map_or(0, SpillDirectory::used);
            assert_eq!((budget.used(), on_disk, state.pane_count()), (0, 0, 0));
        }
    }

    // A segment is 140 kB of 320.
    #[test]
    fn what_an_epoch_reads_is_not_given_up_for_the_rest_of_it() {
        let mut state = PaneState::new(&Budget::new(320_000, None).account("query \"v\""));
        let elsewhere = Arc::new(Elsewhere::default());
        let half = 17_500;
        for (pane, from) in [(0, 0), (0, half), (1, 0)] {
            state.append(pane, many(from, half));
            state.commit(Micros::MIN, &Concat).unwrap();
            if pane == 0 {
                store(&mut state, &elsewhere);
            }
        }
        assert_eq!(remote(&state), 2);
        // The third is in no checkpoint yet, and there is room for two.
        let report = fetch(&mut state, 0).unwrap_err().report();
        assert!(report.starts_with("query \"v\" needs 140"), "{report}");
        state.abort();
        assert_eq!((remote(&state), values(&state, 1, 2).len()), (1, 17_500));
        store(&mut state, &elsewhere);
        fetch(&mut state, 0).unwrap();
        assert_eq!(values(&state, 0, 1), (0..2 * half).collect::<Vec<_>>());
        assert_eq!((remote(&state), elsewhere.fetched()), (1, 3));
    }

    // Eight segments of 24 kB are as much again when they are merged, and 240 kB may be held.
    #[test]
    fn a_merge_that_has_no_room_beside_what_it_merges_waits() {
        let budget = Budget::new(320_000, None);
        let mut state = PaneState::new(&budget.account("query"));
        for epoch in 0..8 {
            state.append(0, many(epoch * 3_000, 3_000));
            state.commit(Micros::MIN, &Concat).unwrap();
        }
        assert_eq!((state.segments().count(), state.bytes()), (8, budget.used()));
        assert_eq!(values(&state, 0, 1), (0..24_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_tier_is_merged_without_what_only_a_checkpoint_holds() {
        let mut state = state();
        let elsewhere = Arc::new(Elsewhere::default());
        state.restore_remote(0, 41, 0, elsewhere.home(&vec![row(100)].into()));
        for value in 0..8 {
            assert_eq!(state.segments().count(), 1 + value);
            state.append(0, row(value as i64));
            state.commit(Micros::MIN, &Concat).unwrap();
        }
        let segments: Vec<_> = state.segments().map(|(_, one)| (one.level, one.rows.is_remote())).collect();
        assert_eq!((segments, elsewhere.fetched()), (vec![(0, true), (1, false)], 0));
        fetch(&mut state, 0).unwrap();
        assert_eq!(values(&state, 0, 1), [0, 1, 2, 3, 4, 5, 6, 7, 100]);
    }
}
