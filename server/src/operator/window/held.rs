//! Rows that are held by the windows they belong to: what an epoch closes of them, what it reads for that, and when the next close is due.
//! The same whatever the rows are: partial results of an aggregate, or rows as they came.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, not, take_record_batch};

use super::panes::Windows;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::{Deadline, RemoteSegment, StoredSegment};
use crate::operator::epoch_cell::micros;
use crate::state::{PaneState, PartReader, Rows, Segment, parts_for};
use crate::watermark::{InputMarks, NONE};

/// Windows that end at or before the first are closed before the epoch of these marks, and those up to the second are closed by it.
pub(in crate::operator) fn closes(windows: &Windows, marks: &[InputMarks]) -> (Micros, Micros) {
    let [InputMarks { late, close, .. }] = InputMarks::of_inputs(marks);
    (windows.closed_through(late), windows.closed_through(close))
}

/// The rows of each pane by themselves. `batch`: in its first column the pane of each row, in the others what is held.
///
/// `rows`: makes a batch of what is held.
pub(in crate::operator) fn by_pane(
    batch: &RecordBatch,
    rows: impl FnOnce(&RecordBatch) -> Result<RecordBatch>,
    mut append: impl FnMut(Micros, RecordBatch),
) -> Result<()> {
    let panes = micros(batch.column(0))?;
    let Some(first) = panes.first() else { return Ok(()) };
    let held = rows(batch)?;
    if panes.iter().all(|pane| pane == first) {
        append(*first, held);
        return Ok(());
    }
    let mut order: Vec<u32> =
        (0..u32::try_from(panes.len()).map_err(|_| Error::bug("batch of over 2^32 rows"))?).collect();
    order.sort_by_key(|row| panes[*row as usize]);
    for run in order.chunk_by(|a, b| panes[*a as usize] == panes[*b as usize]) {
        // Without keys and aggregates a row has no columns, and only their number counts.
        let part = match held.num_columns() {
            0 => held.slice(0, run.len()),
            _ => take_record_batch(&held, &UInt32Array::from(run.to_vec()))?,
        };
        append(panes[run[0] as usize], part);
    }
    Ok(())
}

/// What closes with the windows that end up to `to` as one, in the pane of the last of them, and the rest as [`by_pane`]: of rows whose keys
/// say their windows. `batches`: all that one close is over, since rows of one key can be in several.
///
/// `open`: the panes that hold rows of earlier epochs. What belongs to them goes there: rows of its keys have waited in them for others, as
/// those of one branch of a union do.
pub(super) fn by_close(
    batches: &[RecordBatch],
    to: Micros,
    open: &BTreeSet<Micros>,
    rows: impl Fn(&RecordBatch) -> Result<RecordBatch>,
    mut append: impl FnMut(Micros, RecordBatch),
) -> Result<()> {
    let panes = batches.iter().map(|batch| micros(batch.column(0))).collect::<Result<Vec<_>>>()?;
    let is_together = |pane: &Micros| *pane <= to && !open.contains(pane);
    let last = panes.iter().flat_map(|panes| panes.iter()).copied().filter(is_together).max();
    for (batch, panes) in batches.iter().zip(&panes) {
        let closes: BooleanArray = panes.iter().map(|pane| Some(is_together(pane))).collect();
        if let Some(last) = last.filter(|_| closes.has_true()) {
            append(last, rows(&filter_record_batch(batch, &closes)?)?);
        }
        by_pane(&filter_record_batch(batch, &not(&closes)?)?, &rows, &mut append)?;
    }
    Ok(())
}

/// The last pane that no window needs any more once those up to `to` are closed.
pub(in crate::operator) fn done_through(windows: &Windows, panes: &[Micros], to: Micros) -> Option<Micros> {
    panes.iter().copied().rfind(|pane| windows.last_end(*pane) <= to)
}

/// The rows of some windows, one after the other, and of each a part of its keys at a time: a window of millions of keys is never in memory
/// as a whole.
#[derive(Debug)]
pub(in crate::operator) struct WindowParts {
    windows: Windows,
    /// Those that hold rows, ascending, from the first that one of the windows may hold.
    panes: Peekable<IntoIter<Micros>>,
    /// Windows that end at or before this are done …
    done: Micros,
    /// … and those up to this are wanted.
    to: Micros,
    window: Option<OpenWindow>,
}

/// A window that is being read.
#[derive(Debug)]
struct OpenWindow {
    end: Micros,
    readers: Vec<PartReader>,
    part: usize,
    parts: usize,
}

impl WindowParts {
    /// Of the windows that end after `done` and at or before `to`. `panes`: all that hold rows, ascending.
    pub(in crate::operator) fn new(windows: Windows, panes: Vec<Micros>, done: Micros, to: Micros) -> Self {
        WindowParts { windows, panes: panes.into_iter().peekable(), done, to, window: None }
    }

    /// All that a window holds of some of its keys, and the window's end: windows come in order of these. `None` behind the last.
    ///
    /// `keys`: rows belong together by so many of their first columns. `rows_of`: what the window with this end holds.
    pub(in crate::operator) fn next(
        &mut self,
        keys: usize,
        rows_of: impl Fn(Micros) -> Result<Vec<Rows>>,
    ) -> Result<Option<(Micros, Vec<RecordBatch>)>> {
        loop {
            let Some(window) = &mut self.window else {
                let Some(end) = self.next_end() else { return Ok(None) };
                self.done = end;
                let segments = rows_of(end)?;
                let rows = segments.iter().map(Rows::num_rows).sum();
                let parts = if keys == 0 { 1 } else { parts_for(rows) };
                let readers = segments.into_iter().map(|segment| PartReader::new(segment, keys, parts)).collect();
                self.window = Some(OpenWindow { end, readers, part: 0, parts });
                continue;
            };
            let (end, mut rows) = (window.end, Vec::new());
            window.readers.iter_mut().try_for_each(|reader| reader.read(window.part, &mut rows))?;
            window.part += 1;
            if window.part == window.parts {
                self.window = None;
            }
            if !rows.is_empty() {
                return Ok(Some((end, rows)));
            }
        }
    }

    /// The end of the next window that holds at least one pane with rows: ascending, and without gaps to step through.
    fn next_end(&mut self) -> Option<Micros> {
        while let Some(pane) = self.panes.peek() {
            match self.windows.next_end(*pane, self.done) {
                None => _ = self.panes.next(),
                Some(end) if end > self.to => return None,
                Some(end) => return Some(end),
            }
        }
        None
    }
}

pub(in crate::operator) fn segments(panes: &PaneState) -> Vec<StoredSegment> {
    let stored =
        |(pane, segment): (Micros, &Segment)| StoredSegment { input: 0, shard: 0, pane, segment: segment.clone() };
    panes.segments().map(stored).collect()
}

/// The segments without rows in the panes of every window that closes.
pub(in crate::operator) fn needed(
    windows: &Windows,
    panes: &mut PaneState,
    marks: &[InputMarks],
    keys: usize,
) -> Vec<RemoteSegment> {
    let (closed, to) = closes(windows, marks);
    let is_read = |pane: &Micros| windows.next_end(*pane, closed).is_some_and(|end| end <= to);
    if !panes.is_stored() {
        return vec![];
    }
    // The later a pane is, the later is the next end of a window that holds it.
    let through = panes.pane_starts().into_iter().rfind(is_read).unwrap_or(NONE);
    let remote = |(pane, Segment { id, level, home, .. }): (Micros, Segment)| {
        Some(RemoteSegment { input: 0, shard: 0, pane, id, level, home: home? })
    };
    panes.need(through, keys).into_iter().filter_map(remote).collect()
}

/// When the earliest window that is open and holds rows closes.
pub(in crate::operator) fn next_deadlines(windows: &Windows, panes: &PaneState, marks: &[InputMarks]) -> Vec<Deadline> {
    let (_, closed) = closes(windows, marks);
    let at = next_end(windows, panes, closed).map(|end| end.saturating_add(windows.allowed_lateness));
    at.map(|at| Deadline::EventTime { input: 0, at }).into_iter().collect()
}

/// The end of the earliest window that ends after `after` and holds rows.
pub(in crate::operator) fn next_end(windows: &Windows, panes: &PaneState, after: Micros) -> Option<Micros> {
    panes.pane_starts().into_iter().find_map(|pane| windows.next_end(pane, after))
}

/// The watermark that closes every window of rows that are no later than `newest`.
pub(in crate::operator) fn last_deadline(windows: &Windows, panes: &PaneState, newest: Micros) -> Option<Micros> {
    let last = panes.pane_starts().into_iter().rfind(|pane| windows.earliest_row(*pane) <= newest)?;
    Some(windows.last_end(last).saturating_add(windows.allowed_lateness))
}

pub(in crate::operator) fn panes_after(panes: &PaneState, at: Micros) -> BTreeSet<Micros> {
    panes.pane_starts().into_iter().filter(|pane| *pane > at).collect()
}
