//! Merged states of aligned runs of panes, so that overlapping windows share the work of merging what they share.
//!
//! A window of a `HOP` is a run of panes, and its neighbour has all of them but one; one of a `CUMULATE` has all of the one
//! before it. A span of level `l` covers `2^l` panes and begins at a multiple of that, so any run of `n` panes is at most
//! `2 log₂ n` spans (the tree of Tangwongsan et al., "General incremental sliding-window aggregation", VLDB 2015, without its
//! pointers). A span is merged from its two halves when a window first needs it, and kept until no open window can.
//!
//! Where keys hardly repeat from pane to pane, merging makes nothing smaller: such a span is the list of its parts, and so are
//! those above it. What is held is therefore never more than three times the panes themselves. A span with a part on disk, or
//! without room in memory, is such a list too.
//!
//! This is a cache of what the panes hold: it is in no checkpoint, and empty after a restart.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;

use super::panes::Windows;
use crate::clock::Micros;
use crate::error::Result;
use crate::sql::window::WindowAssigner;
use crate::state::{Merge, PaneState, Rows, tight};

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

#[derive(Debug)]
enum Span {
    Merged(Rows),
    /// Its two halves beside each other.
    List,
}

impl Span {
    /// Of what is held here alone.
    fn bytes(&self) -> usize {
        match self {
            Span::Merged(rows) => rows.bytes(),
            Span::List => 0,
        }
    }
}

impl Spans {
    pub(super) fn new(windows: Windows) -> Self {
        let assigner = windows.assigner();
        let level_max = assigner.panes_of_a_window().max(1).ilog2();
        Spans { assigner, level_max, spans: BTreeMap::new(), bytes: 0 }
    }

    /// The rows of all panes in `[from, to)`, both of them starts of panes.
    pub(super) fn cover(
        &mut self,
        panes: &PaneState,
        from: Micros,
        to: Micros,
        merge: &impl Merge,
    ) -> Result<Vec<Rows>> {
        let (mut at, end) = (self.assigner.number_of(from), self.assigner.number_of(to));
        let mut parts = Vec::new();
        while at < end {
            let level = at.trailing_zeros().min((end - at).ilog2()).min(self.level_max);
            self.gather(panes, level, at >> level, merge, &mut parts)?;
            at += 1 << level;
        }
        Ok(parts)
    }

    /// Appends the rows of a span. False where they are a list that is not worth merging with others.
    fn gather(
        &mut self,
        panes: &PaneState,
        level: u32,
        index: i64,
        merge: &impl Merge,
        parts: &mut Vec<Rows>,
    ) -> Result<bool> {
        let known = match self.spans.get(&(level, index)) {
            Some(Span::Merged(rows)) => {
                parts.push(rows.clone());
                return Ok(true);
            }
            Some(Span::List) => true,
            None => false,
        };
        let (from, to) = (start(level, index, self.assigner), start(level, index + 1, self.assigner));
        if !panes.has_rows(from, to) {
            return Ok(true);
        }
        let first = parts.len();
        let worth_merging = if level == 0 {
            parts.extend(panes.rows(from, to));
            true
        } else {
            let left = self.gather(panes, level - 1, 2 * index, merge, parts)?;
            self.gather(panes, level - 1, 2 * index + 1, merge, parts)? && left
        };
        if known {
            return Ok(false);
        }
        if worth_merging && parts.len() - first <= 1 {
            return Ok(true);
        }
        let merged = match worth_merging {
            true => self.merged(panes, level, &parts[first..], merge)?,
            false => None,
        };
        let span = match merged {
            Some(rows) => {
                parts.truncate(first);
                parts.push(rows.clone());
                Span::Merged(rows)
            }
            None => Span::List,
        };
        let worth_merging = matches!(span, Span::Merged(_));
        self.bytes += span.bytes();
        self.spans.insert((level, index), span);
        Ok(worth_merging)
    }

    /// `None` where the result would not be smaller, or not fit into memory.
    fn merged(&self, panes: &PaneState, level: u32, parts: &[Rows], merge: &impl Merge) -> Result<Option<Rows>> {
        let in_memory: Option<Vec<&[RecordBatch]>> = parts.iter().map(Rows::batches_in_memory).collect();
        let Some(batches) = in_memory else { return Ok(None) };
        let merged = merge.merge(&batches.concat())?;
        let rows: usize = parts.iter().map(Rows::num_rows).sum();
        // A pane's one batch takes the place of its many at commit, so it is not held twice.
        let smaller = level == 0 || merged.num_rows().saturating_mul(KEPT_SHARE.1) <= rows.saturating_mul(KEPT_SHARE.0);
        if !smaller {
            return Ok(None);
        }
        let (merged, bytes) = tight(merged)?;
        Ok(panes.account().hold(bytes).map(|held| Rows::held(vec![merged], held)))
    }

    /// The rows of a pane have changed.
    pub(super) fn invalidate(&mut self, pane: Micros) {
        let pane = self.assigner.number_of(pane);
        for level in 0..=self.level_max {
            if let Some(span) = self.spans.remove(&(level, pane >> level)) {
                self.bytes -= span.bytes();
            }
        }
    }

    /// The merged rows of each pane, with the pane's start. The caller keeps them from now on.
    pub(super) fn take_merged_panes(&mut self) -> Vec<(Micros, Rows)> {
        let above = self.spans.split_off(&(1, i64::MIN));
        let mut merged = Vec::new();
        for ((_, index), span) in std::mem::replace(&mut self.spans, above) {
            self.bytes -= span.bytes();
            if let Span::Merged(rows) = span {
                merged.push((self.assigner.pane_of(index), rows));
            }
        }
        merged
    }

    /// Forgets the spans that begin at or before `done_through`: every window that is still open begins after.
    pub(super) fn forget(&mut self, done_through: Micros) {
        let (assigner, bytes) = (self.assigner, &mut self.bytes);
        self.spans.retain(|(level, index), span| {
            let keep = start(*level, *index, assigner) > done_through;
            if !keep {
                *bytes -= span.bytes();
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
    use crate::state::{Account, Budget};
    use crate::store::SpillDirectory;

    const WIDTH: Micros = 10;

    fn row(value: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![value]))]).unwrap()
    }

    fn sum(batches: &[RecordBatch]) -> i64 {
        batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>()).sum()
    }

    fn sum_of(rows: &[Rows]) -> i64 {
        rows.iter().map(|rows| sum(rows.batches_in_memory().unwrap())).sum()
    }

    struct Merging<F>(F);

    impl<F: Fn(&[RecordBatch]) -> Result<RecordBatch>> Merge for Merging<F> {
        fn keys(&self) -> usize {
            0
        }

        fn merge(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
            (self.0)(batches)
        }
    }

    fn spans() -> Spans {
        let kind = WindowKind::Hop { size_us: 40 * WIDTH, slide_us: WIDTH, offset_us: 0 };
        Spans::new(Windows::new(kind, RowWindows::ByPane, 0))
    }

    /// Panes 0, 10, …, 10 (n - 1) with one row each, of the value 2^n.
    fn panes(n: u32) -> PaneState {
        let mut panes = PaneState::new(&Account::unlimited());
        for at in 0..n {
            panes.append(Micros::from(at) * WIDTH, row(1 << at));
        }
        panes
    }

    #[test]
    fn every_run_of_panes_has_exactly_its_rows_in_few_batches() {
        let panes = panes(40);
        let mut spans = spans();
        let merge = Merging(|batches: &[RecordBatch]| Ok(row(sum(batches))));
        for from in -3..43 {
            for to in from + 1..=43 {
                let cover = spans.cover(&panes, from * WIDTH, to * WIDTH, &merge).unwrap();
                let expected: i64 = (from.max(0)..to.min(40)).map(|at| 1_i64 << at).sum();
                assert_eq!(sum_of(&cover), expected, "panes {from} to {to}");
                let most = 2 * (to - from).ilog2() as usize + 2;
                assert!(cover.len() <= most, "panes {from} to {to} in {} batches", cover.len());
            }
        }
    }

    #[test]
    fn sliding_on_merges_about_twice_a_pane_and_a_restart_once_more() {
        let panes = panes(40);
        let merges = Cell::new(0);
        let merge = Merging(|batches: &[RecordBatch]| {
            merges.set(merges.get() + 1);
            Ok(row(sum(batches)))
        });
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
        let merge = Merging(|batches: &[RecordBatch]| Ok(row(sum(batches))));
        assert_eq!(sum_of(&spans.cover(&panes, 0, 16 * WIDTH, &merge).unwrap()), 0xffff);
        panes.append(5 * WIDTH, row(1 << 20));
        spans.invalidate(5 * WIDTH);
        assert_eq!(sum_of(&spans.cover(&panes, 0, 16 * WIDTH, &merge).unwrap()), 0xffff + (1 << 20));
        assert_eq!(spans.take_merged_panes().iter().map(|(pane, _)| *pane).collect::<Vec<_>>(), [5 * WIDTH]);
        assert!(spans.take_merged_panes().is_empty());
    }

    #[test]
    fn what_merging_does_not_shrink_is_not_held_twice() {
        let panes = panes(16);
        let mut spans = spans();
        let tried = Cell::new(0);
        let merge = Merging(|batches: &[RecordBatch]| {
            tried.set(tried.get() + 1);
            Ok(concat_batches(&batches[0].schema(), batches)?)
        });
        let cover = spans.cover(&panes, 0, 16 * WIDTH, &merge).unwrap();
        assert_eq!((cover.len(), sum_of(&cover), spans.bytes(), tried.get()), (16, 0xffff, 0, 8));
    }

    #[test]
    fn what_is_on_disk_is_in_the_window_beside_what_is_merged() {
        let disk = SpillDirectory::temporary(1 << 20);
        let budget = Budget::new(1 << 20, Some(Arc::new(disk)));
        let mut panes = PaneState::new(&budget.account("the query"));
        let merge = Merging(|batches: &[RecordBatch]| Ok(row(sum(batches))));
        let mut take = |from: u32, to: u32| {
            (from..to).for_each(|at| panes.append(Micros::from(at) * WIDTH, row(1 << at)));
            panes.commit(Micros::MIN, &merge).unwrap();
        };
        let others = budget.account("the others").hold(768 << 10);
        take(0, 3);
        drop(others);
        take(3, 16);
        let cover = spans().cover(&panes, 0, 16 * WIDTH, &merge).unwrap();
        let rows = cover.iter().flat_map(Rows::batches).collect::<Result<Vec<_>>>().unwrap();
        assert_eq!(sum(&rows), 0xffff);
        assert_eq!(cover.iter().filter(|rows| rows.on_disk()).count(), 3);
        assert!(cover.len() < 16);
    }

    #[test]
    fn done_spans_go_with_their_bytes() {
        let panes = panes(16);
        let mut spans = spans();
        let merge = Merging(|batches: &[RecordBatch]| Ok(row(sum(batches))));
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
