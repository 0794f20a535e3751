//! Operator state: immutable Arrow batches in time panes, merged in tiers.
//!
//! An epoch only ever appends. Until it commits, what it appended stands aside and aborting it is dropping that; so an
//! epoch applies to all of an operator's state or to none. Segments never change once made, which is why a checkpoint
//! writes the new ones alone, without copying and off the hot path.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use crate::clock::Micros;
use crate::error::{Error, Result};

/// Segments of one level that are merged into one of the next.
///
/// Each row is rewritten once a level, so log₈(n) times in all; with more, a pane would keep more segments to merge at
/// close, with fewer, merging would cost more during the epochs.
const FAN_IN: usize = 8;

/// One immutable batch of state rows.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Unique within the operator, for ever: a checkpoint knows by it what is already written.
    pub id: u64,
    /// 0 for what an epoch appended; one more with every merge.
    pub level: u8,
    pub batch: RecordBatch,
    pub bytes: usize,
}

impl Segment {
    pub fn new(id: u64, level: u8, batch: RecordBatch) -> Self {
        let bytes = bytes_of(&batch);
        Segment { id, level, batch, bytes }
    }
}

/// The state of one operator. Panes are named by their start, microseconds.
#[derive(Debug, Default)]
pub struct PaneState {
    panes: BTreeMap<Micros, Vec<Segment>>,
    pending: BTreeMap<Micros, Vec<RecordBatch>>,
    next_segment: u64,
    bytes: usize,
    pending_bytes: usize,
}

impl PaneState {
    /// Adds rows to a pane, for this epoch only until [`PaneState::commit`].
    pub fn append(&mut self, pane: Micros, batch: RecordBatch) {
        self.pending_bytes += bytes_of(&batch);
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

    /// All batches of the panes in `[from, to)`, those of the running epoch included.
    pub fn batches(&self, from: Micros, to: Micros) -> Vec<RecordBatch> {
        let committed =
            self.panes.range(from..to).flat_map(|(_, segments)| segments.iter().map(|segment| &segment.batch));
        let pending = self.pending.range(from..to).flat_map(|(_, batches)| batches);
        committed.chain(pending).cloned().collect()
    }

    /// Makes the epoch's rows part of the state and forgets the panes up to and including `done_through`.
    ///
    /// `merge` makes one batch of several; it is called where a level of a pane has filled up.
    pub fn commit(
        &mut self,
        done_through: Micros,
        merge: impl Fn(&[RecordBatch]) -> Result<RecordBatch>,
    ) -> Result<()> {
        self.pending_bytes = 0;
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
            let segment = self.segment(0, batch);
            self.panes.entry(pane).or_default().push(segment);
            self.compact(pane, &merge)?;
        }
        while let Some(entry) = self.panes.first_entry() {
            if *entry.key() > done_through {
                break;
            }
            self.bytes -= entry.remove().iter().map(|segment| segment.bytes).sum::<usize>();
        }
        Ok(())
    }

    /// Puts one batch in the place of everything a pane holds, what the epoch appended included.
    pub fn replace(&mut self, pane: Micros, batch: RecordBatch) {
        self.pending.remove(&pane);
        let old = self.panes.remove(&pane).unwrap_or_default();
        self.bytes -= old.iter().map(|segment| segment.bytes).sum::<usize>();
        let level = old.iter().map(|segment| segment.level).max().unwrap_or_default();
        let segment = self.segment(level, batch);
        self.panes.insert(pane, vec![segment]);
    }

    /// Forgets what the epoch appended.
    pub fn abort(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Everything committed, for a checkpoint.
    pub fn segments(&self) -> impl Iterator<Item = (Micros, &Segment)> + '_ {
        self.panes.iter().flat_map(|(pane, segments)| segments.iter().map(|segment| (*pane, segment)))
    }

    /// Puts a segment back that a checkpoint held.
    pub fn restore(&mut self, pane: Micros, segment: Segment) {
        self.bytes += segment.bytes;
        self.next_segment = self.next_segment.max(segment.id + 1);
        self.panes.entry(pane).or_default().push(segment);
    }

    /// Bytes held, those of the running epoch included.
    pub fn bytes(&self) -> usize {
        self.bytes + self.pending_bytes
    }

    pub fn pane_count(&self) -> usize {
        self.panes.len()
    }

    fn segment(&mut self, level: u8, batch: RecordBatch) -> Segment {
        let bytes = bytes_of(&batch);
        self.bytes += bytes;
        self.next_segment += 1;
        Segment { id: self.next_segment - 1, level, batch, bytes }
    }

    fn compact(&mut self, pane: Micros, merge: &impl Fn(&[RecordBatch]) -> Result<RecordBatch>) -> Result<()> {
        let mut level = 0;
        loop {
            let Some(segments) = self.panes.get_mut(&pane) else { return Ok(()) };
            if segments.iter().filter(|segment| segment.level == level).count() < FAN_IN {
                return Ok(());
            }
            let (full, rest): (Vec<_>, Vec<_>) = segments.drain(..).partition(|segment| segment.level == level);
            *segments = rest;
            let batches: Vec<RecordBatch> = full.iter().map(|segment| segment.batch.clone()).collect();
            self.bytes -= full.iter().map(|segment| segment.bytes).sum::<usize>();
            level = level.checked_add(1).ok_or_else(|| Error::bug("a pane has more than 255 levels of segments"))?;
            let merged = self.segment(level, merge(&batches)?);
            self.panes.entry(pane).or_default().push(merged);
        }
    }
}

/// Bytes of its rows alone: slices of one batch do not each count the whole of it.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| {
        let fixed = column.to_data().get_slice_memory_size().unwrap_or_default();
        // For these, the former leaves out the text itself.
        let text = match column.data_type() {
            DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
            _ => 0,
        };
        fixed + text
    };
    batch.columns().iter().map(of_column).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{Field, Int64Type, Schema};

    use super::*;

    fn row(value: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![value]))]).unwrap()
    }

    fn concat(batches: &[RecordBatch]) -> Result<RecordBatch> {
        Ok(concat_batches(&batches[0].schema(), batches)?)
    }

    fn values(state: &PaneState, from: Micros, to: Micros) -> Vec<i64> {
        let mut values: Vec<i64> = state
            .batches(from, to)
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn an_aborted_epoch_leaves_no_trace() {
        let mut state = PaneState::default();
        state.append(0, row(1));
        state.commit(Micros::MIN, concat).unwrap();
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
        let mut state = PaneState::default();
        for value in 0..1000 {
            state.append(0, row(value));
            state.commit(Micros::MIN, concat).unwrap();
        }
        assert_eq!(values(&state, 0, 1), (0..1000).collect::<Vec<_>>());
        // 1000 in base 8 is 1750: its digits count the segments of each level.
        assert_eq!(state.segments().count(), 1 + 7 + 5);
        let held: usize = state.segments().map(|(_, segment)| segment.bytes).sum();
        assert_eq!(state.bytes(), held);
    }

    #[test]
    fn done_panes_go_and_their_bytes_with_them() {
        let mut state = PaneState::default();
        for pane in [0, 10, 20] {
            state.append(pane, row(pane));
        }
        state.commit(10, concat).unwrap();
        assert_eq!(values(&state, 0, 100), [20]);
        state.commit(20, concat).unwrap();
        assert_eq!((state.bytes(), state.pane_count()), (0, 0));
    }

    #[test]
    fn segment_ids_go_on_after_a_restore() {
        let mut state = PaneState::default();
        state.restore(0, Segment::new(41, 0, row(1)));
        state.append(0, row(2));
        state.commit(Micros::MIN, concat).unwrap();
        assert_eq!(state.segments().map(|(_, segment)| segment.id).collect::<Vec<_>>(), [41, 42]);
    }
}
