//! Merged states of aligned runs of panes, so that overlapping windows share the work of merging what they share.
//!
//! A window of a `HOP` is a run of panes, and its neighbour has all of them but one; one of a `CUMULATE` has all of the one
//! before it. A span of level `l` covers `2^l` panes and begins at a multiple of that, so any run of `n` panes is at most
//! `2 log₂ n` spans (the tree of Tangwongsan et al., "General incremental sliding-window aggregation", VLDB 2015, without its
//! pointers). A span is merged from its two halves when a window first needs it, and kept until no open window can.
//!
//! Where keys hardly repeat from pane to pane, merging makes nothing smaller: such a span stays a list of its parts, and so do
//! those above it. What is held is therefore never more than three times the panes themselves.
//!
//! This is a cache of what the panes hold: it is in no checkpoint, and empty after a restart.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;

use super::panes::Windows;
use crate::clock::Micros;
use crate::error::Result;
use crate::sql::window::WindowAssigner;
use crate::state::{PaneState, bytes_of};

/// A merge is kept when it has at most this share of its inputs' rows.
const KEPT_SHARE: (usize, usize) = (3, 4);

/// See the module's first line.
#[derive(Debug)]
pub(super) struct Spans {
    assigner: WindowAssigner,
    /// No window holds a span of a higher one.
    level_max: u32,
    /// By level and the first pane's number, in multiples of the span's panes.
    spans: BTreeMap<(u32, i64), Span>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Span {
    /// One batch, or the parts that are not worth merging.
    parts: Vec<RecordBatch>,
    worth_merging: bool,
    /// Of what is held here alone.
    bytes: usize,
}

impl Spans {
    pub(super) fn new(windows: Windows) -> Self {
        let assigner = windows.assigner();
        let level_max = assigner.panes_of_a_window().max(1).ilog2();
        Spans { assigner, level_max, spans: BTreeMap::new(), bytes: 0 }
    }

    /// Batches that hold the rows of all panes in `[from, to)`, both of them starts of panes.
    pub(super) fn cover(
        &mut self,
        panes: &PaneState,
        from: Micros,
        to: Micros,
        merge: &impl Fn(&[RecordBatch]) -> Result<RecordBatch>,
    ) -> Result<Vec<RecordBatch>> {
        let (mut at, end) = (self.assigner.number_of(from), self.assigner.number_of(to));
        let mut parts = Vec::new();
        while at < end {
            let level = at.trailing_zeros().min((end - at).ilog2()).min(self.level_max);
            if let Some(span) = self.span(panes, level, at >> level, merge)? {
                parts.extend(span.parts);
            }
            at += 1 << level;
        }
        Ok(parts)
    }

    /// `None` where its panes have no rows.
    fn span(
        &mut self,
        panes: &PaneState,
        level: u32,
        index: i64,
        merge: &impl Fn(&[RecordBatch]) -> Result<RecordBatch>,
    ) -> Result<Option<Span>> {
        if let Some(span) = self.spans.get(&(level, index)) {
            return Ok(Some(span.clone()));
        }
        let (from, to) = (start(level, index, self.assigner), start(level, index + 1, self.assigner));
        if !panes.has_rows(from, to) {
            return Ok(None);
        }
        let (parts, worth_merging) = if level == 0 {
            (panes.batches(from, to), true)
        } else {
            let halves =
                [self.span(panes, level - 1, 2 * index, merge)?, self.span(panes, level - 1, 2 * index + 1, merge)?];
            let halves: Vec<Span> = halves.into_iter().flatten().collect();
            let worth_merging = halves.iter().all(|half| half.worth_merging);
            (halves.into_iter().flat_map(|half| half.parts).collect(), worth_merging)
        };
        let mut span = Span { parts, worth_merging, bytes: 0 };
        if span.worth_merging && span.parts.len() > 1 {
            let merged = merge(&span.parts)?;
            let rows: usize = span.parts.iter().map(RecordBatch::num_rows).sum();
            // A pane's one batch takes the place of its many at commit, so it is not held twice.
            span.worth_merging =
                level == 0 || merged.num_rows().saturating_mul(KEPT_SHARE.1) <= rows.saturating_mul(KEPT_SHARE.0);
            if span.worth_merging {
                span.bytes = bytes_of(&merged);
                span.parts = vec![merged];
            }
        }
        self.bytes += span.bytes;
        self.spans.insert((level, index), span.clone());
        Ok(Some(span))
    }

    /// The rows of a pane have changed.
    pub(super) fn invalidate(&mut self, pane: Micros) {
        let pane = self.assigner.number_of(pane);
        for level in 0..=self.level_max {
            if let Some(span) = self.spans.remove(&(level, pane >> level)) {
                self.bytes -= span.bytes;
            }
        }
    }

    /// The one batch of each pane that was merged, with the pane's start. The caller keeps it from now on.
    pub(super) fn take_merged_panes(&mut self) -> Vec<(Micros, RecordBatch)> {
        let panes = self.spans.range_mut((0, i64::MIN)..(1, i64::MIN));
        let merged = panes.filter(|(_, span)| span.bytes > 0).map(|((_, index), span)| {
            self.bytes -= std::mem::take(&mut span.bytes);
            (self.assigner.pane_of(*index), span.parts[0].clone())
        });
        merged.collect()
    }

    /// Forgets the spans that begin at or before `done_through`: every window that is still open begins after.
    pub(super) fn forget(&mut self, done_through: Micros) {
        let (assigner, bytes) = (self.assigner, &mut self.bytes);
        self.spans.retain(|(level, index), span| {
            let keep = start(*level, *index, assigner) > done_through;
            if !keep {
                *bytes -= span.bytes;
            }
            keep
        });
    }

    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.bytes = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn start(level: u32, index: i64, assigner: WindowAssigner) -> Micros {
    assigner.pane_of(index << level)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::super::panes::RowWindows;
    use super::*;
    use crate::sql::window::WindowKind;

    const WIDTH: Micros = 10;

    fn row(value: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![value]))]).unwrap()
    }

    fn sum(batches: &[RecordBatch]) -> i64 {
        batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>()).sum()
    }

    fn spans() -> Spans {
        let kind = WindowKind::Hop { size_us: 40 * WIDTH, slide_us: WIDTH, offset_us: 0 };
        Spans::new(Windows::new(kind, RowWindows::ByPane, 0))
    }

    /// Panes 0, 10, …, 10 (n - 1) with one row each, of the value 2^n.
    fn panes(n: u32) -> PaneState {
        let mut panes = PaneState::default();
        for at in 0..n {
            panes.append(Micros::from(at) * WIDTH, row(1 << at));
        }
        panes
    }

    #[test]
    fn every_run_of_panes_has_exactly_its_rows_in_few_batches() {
        let panes = panes(40);
        let mut spans = spans();
        let merge = |batches: &[RecordBatch]| Ok(row(sum(batches)));
        for from in -3..43 {
            for to in from + 1..=43 {
                let cover = spans.cover(&panes, from * WIDTH, to * WIDTH, &merge).unwrap();
                let expected: i64 = (from.max(0)..to.min(40)).map(|at| 1_i64 << at).sum();
                assert_eq!(sum(&cover), expected, "panes {from} to {to}");
                let most = 2 * (to - from).ilog2() as usize + 2;
                assert!(cover.len() <= most, "panes {from} to {to} in {} batches", cover.len());
            }
        }
    }

    #[test]
    fn sliding_on_merges_about_twice_a_pane_and_a_restart_once_more() {
        let panes = panes(40);
        let merges = Cell::new(0);
        let merge = |batches: &[RecordBatch]| {
            merges.set(merges.get() + 1);
            Ok(row(sum(batches)))
        };
        let mut spans = spans();
        for from in 0..20 {
            spans.cover(&panes, from * WIDTH, (from + 20) * WIDTH, &merge).unwrap();
        }
        assert!(merges.get() <= 40, "{} merges", merges.get());
    }

    #[test]
    fn a_changed_pane_is_seen_and_the_spans_that_held_it_are_made_anew() {
        let mut panes = panes(16);
        let mut spans = spans();
        let merge = |batches: &[RecordBatch]| Ok(row(sum(batches)));
        assert_eq!(sum(&spans.cover(&panes, 0, 16 * WIDTH, &merge).unwrap()), 0xffff);
        panes.append(5 * WIDTH, row(1 << 20));
        spans.invalidate(5 * WIDTH);
        assert_eq!(sum(&spans.cover(&panes, 0, 16 * WIDTH, &merge).unwrap()), 0xffff + (1 << 20));
        assert_eq!(spans.take_merged_panes().iter().map(|(pane, _)| *pane).collect::<Vec<_>>(), [5 * WIDTH]);
        assert!(spans.take_merged_panes().is_empty());
    }

    #[test]
    fn what_merging_does_not_shrink_is_not_held_twice() {
        let panes = panes(16);
        let mut spans = spans();
        let tried = Cell::new(0);
        let merge = |batches: &[RecordBatch]| {
            tried.set(tried.get() + 1);
            Ok(concat_batches(&batches[0].schema(), batches)?)
        };
        let cover = spans.cover(&panes, 0, 16 * WIDTH, &merge).unwrap();
        assert_eq!((cover.len(), sum(&cover), spans.bytes(), tried.get()), (16, 0xffff, 0, 8));
    }

    #[test]
    fn done_spans_go_with_their_bytes() {
        let panes = panes(16);
        let mut spans = spans();
        let merge = |batches: &[RecordBatch]| Ok(row(sum(batches)));
        spans.cover(&panes, 0, 16 * WIDTH, &merge).unwrap();
        assert!(spans.bytes() > 0);
        // What is left lies in the second half.
        spans.forget(7 * WIDTH);
        assert!(spans.spans.keys().all(|(level, index)| (index << level) >= 8));
        let before = spans.spans.len();
        spans.cover(&panes, 8 * WIDTH, 16 * WIDTH, &merge).unwrap();
        assert_eq!(spans.spans.len(), before);
        spans.forget(15 * WIDTH);
        assert_eq!((spans.spans.len(), spans.bytes()), (0, 0));
    }
}
