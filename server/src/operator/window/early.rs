//! What leaves of windows that may change again: which keys of which windows, and when.
//!
//! An epoch's partial results are merged with what their keys had in their panes (`index`), and the keys are noted. When results are due,
//! each window that holds such a pane gives new ones for these keys alone. A window that is final with this epoch gives them as well: an
//! earlier result of a key may have left that the final ones do not replace, because a condition above the aggregate drops it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::held::WindowParts;
use super::index::{Key, KeyIndex};
use super::merge::StateMerge;
use super::operator::{Inner, WindowOperator};
use super::panes::Windows;
use crate::catalog::EarlyWhen;
use crate::clock::{Micros, micros_of};
use crate::error::{Error, Result};
use crate::operator::contract::{Deadline, EarlyRows, one_by_one};
use crate::state::{Merge, PaneState};

/// Keys whose results are computed at once, and fewer where windows overlap: their rows of many panes are at hand then.
const KEYS_AT_ONCE: usize = if cfg!(test) { 3 } else { 8_192 };
const SLIDING_AT_ONCE: usize = if cfg!(test) { 3 } else { 1_024 };

/// Rows of these keys in all panes of their windows, about: no account counts them, and they are held twice.
const SLIDING_ROWS: usize = if cfg!(test) { 16 } else { 1 << 21 };

/// How far an epoch gets. Times of windows' ends, but for `now`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Windows up to this were final before the epoch …
    pub(super) closed: Micros,
    /// … and up to this they are after it.
    pub(super) to: Micros,
    /// The watermark had passed windows up to this before the epoch …
    pub(super) ended_before: Micros,
    /// … and has passed them up to this after it.
    pub(super) ended: Micros,
    /// The epoch's processing time.
    pub(super) now: Micros,
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Early {
    when: EarlyWhen,
    windows: Windows,
    /// Once an epoch has needed it.
    index: Option<KeyIndex>,
    /// Keys with results that have not left yet, by pane.
    touched: BTreeMap<Micros, BTreeSet<Key>>,
    /// Panes that a checkpoint has brought: nobody knows what of them had left.
    restored: BTreeSet<Micros>,
    /// When results left last, and when they do in the running epoch.
    left_at: Option<Micros>,
    leaving_at: Option<Micros>,
}

impl Early {
    pub(super) fn new(when: EarlyWhen, windows: Windows) -> Self {
        Early {
            when,
            windows,
            index: None,
            touched: BTreeMap::new(),
            restored: BTreeSet::new(),
            left_at: None,
            leaving_at: None,
        }
    }

    /// A checkpoint has brought a part of a pane. What an epoch has touched leaves with it, but for what waits for its time.
    pub(super) fn restored(&mut self, pane: Micros) {
        if let EarlyWhen::Every(_) = self.when {
            self.restored.insert(pane);
        }
    }

    /// When results are due although no row comes. `next_end`: of the first window that the watermark has not passed.
    pub(super) fn next_deadline(&self, next_end: impl Fn() -> Option<Micros>) -> Option<Deadline> {
        match self.when {
            EarlyWhen::Changes => None,
            EarlyWhen::Every(_) if self.touched.is_empty() && self.restored.is_empty() => None,
            EarlyWhen::Every(_) => Some(Deadline::ProcessingTime { at: self.due_at() }),
            EarlyWhen::LateCorrections => next_end().map(|at| Deadline::EventTime { input: 0, at }),
        }
    }

    /// When results may leave again.
    fn due_at(&self) -> Micros {
        match (self.when, self.left_at) {
            (EarlyWhen::Every(interval), Some(at)) => at.saturating_add(micros_of(interval)),
            _ => Micros::MIN,
        }
    }

    pub(super) fn commit(&mut self, done_through: Micros) -> Result<()> {
        let renumbered = match &mut self.index {
            Some(index) => index.commit(done_through)?,
            None => None,
        };
        // An empty one keeps the keys that it has seen.
        if self.index.as_ref().is_some_and(KeyIndex::is_empty) {
            self.index = None;
        }
        let waits = matches!(self.when, EarlyWhen::Every(_));
        if let Some(at) = self.leaving_at.take() {
            self.left_at = Some(at);
            self.restored.clear();
            self.touched.clear();
        } else if !waits {
            self.touched.clear();
        }
        self.restored.retain(|pane| *pane > done_through);
        self.touched.retain(|pane, _| *pane > done_through);
        if let Some(renumbered) = renumbered {
            for keys in self.touched.values_mut() {
                *keys = keys.iter().filter_map(|key| renumbered.get(key)).copied().collect();
            }
        }
        Ok(())
    }

    pub(super) fn abort(&mut self) {
        self.leaving_at = None;
        if let Some(index) = &mut self.index {
            index.abort();
        }
        // Of what waits for its time more may be noted than has changed: it leaves once more as it is.
        if !matches!(self.when, EarlyWhen::Every(_)) {
            self.touched.clear();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let touched: usize = self.touched.values().map(|keys| keys.len() * size_of::<Key>()).sum();
        touched + self.index.as_ref().map_or(0, KeyIndex::bytes)
    }

    fn index(&mut self, panes: &PaneState, merge: &StateMerge) -> Result<&mut KeyIndex> {
        match &mut self.index {
            Some(index) => Ok(index),
            none => Ok(none.insert(KeyIndex::new(merge.schema(), merge.keys(), panes.account())?)),
        }
    }

    /// Takes in what the running epoch has brought, and decides what leaves.
    fn plan(&mut self, panes: &PaneState, merge: &StateMerge, progress: Progress) -> Result<VecDeque<Work>> {
        self.take_in(panes, merge, progress)?;
        // A clock that was set back is not waited for.
        let is_due = progress.now >= self.due_at() || self.left_at.is_some_and(|at| progress.now < at);
        if is_due && let EarlyWhen::Every(_) = self.when {
            for pane in std::mem::take(&mut self.restored) {
                self.follow(panes, pane, merge)?;
                let keys = self.index(panes, merge)?.all_keys(pane);
                self.touched.entry(pane).or_default().extend(keys);
                // Still there if the epoch is undone.
                self.restored.insert(pane);
            }
            if !self.touched.is_empty() {
                self.leaving_at = Some(progress.now);
            }
        }
        let (when, windows) = (self.when, self.windows);
        let wanted = move |end: &Micros| match when {
            EarlyWhen::Changes => true,
            EarlyWhen::Every(_) => is_due || *end <= progress.to,
            EarlyWhen::LateCorrections => *end <= progress.ended_before,
        };
        let ends_of = move |pane: Micros| {
            let first = windows.next_end(pane, progress.closed);
            std::iter::successors(first, move |end| windows.next_end(pane, *end)).filter(wanted)
        };
        match windows.overlap() {
            false => Ok(one_pane_each(&self.touched, ends_of)),
            true => {
                let starts = panes.pane_starts();
                let work = sliding(&self.touched, ends_of, windows, &starts);
                let reach = work.iter().filter_map(|work| work.reach(windows));
                let reach = reach.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
                if let Some((from, to)) = reach {
                    for pane in starts.into_iter().filter(|pane| (from..to).contains(pane)) {
                        self.follow(panes, pane, merge)?;
                    }
                }
                Ok(work)
            }
        }
    }

    fn take_in(&mut self, panes: &PaneState, merge: &StateMerge, progress: Progress) -> Result<()> {
        for (pane, batches) in panes.pending() {
            let follows = match self.when {
                EarlyWhen::Changes | EarlyWhen::Every(_) => true,
                // What of it has left lies in windows that have ended; those that end later leave as a whole.
                EarlyWhen::LateCorrections => {
                    self.windows.first_end(pane) <= progress.ended_before
                        || self.index.as_ref().is_some_and(|index| index.has(pane))
                }
            };
            if follows {
                self.follow(panes, pane, merge)?;
                let keys = self.index(panes, merge)?.take_in(pane, batches, merge)?;
                self.touched.entry(pane).or_default().extend(keys);
            }
        }
        Ok(())
    }

    /// Has a pane in the index, with what is committed of it.
    fn follow(&mut self, panes: &PaneState, pane: Micros, merge: &StateMerge) -> Result<()> {
        let index = self.index(panes, merge)?;
        if index.has(pane) { Ok(()) } else { index.build(pane, panes.committed(pane), merge) }
    }
}

/// Results to compute.
#[derive(Debug)]
enum Work {
    /// Of some keys in one window, which is one pane.
    Pane { pane: Micros, end: Micros, keys: Vec<Key> },
    /// Of some keys, each with the panes that were touched of it, in windows that share panes.
    Sliding { ends: BTreeSet<Micros>, keys: Vec<(Key, Vec<Micros>)> },
}

impl Work {
    /// The panes of its windows: from the first up to, and without, the second.
    fn reach(&self, windows: Windows) -> Option<(Micros, Micros)> {
        match self {
            Work::Pane { .. } => None,
            Work::Sliding { ends, .. } => {
                let panes = ends.iter().map(|end| windows.panes_of(*end));
                panes.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            }
        }
    }
}

fn one_pane_each<I: Iterator<Item = Micros>>(
    touched: &BTreeMap<Micros, BTreeSet<Key>>,
    ends_of: impl Fn(Micros) -> I,
) -> VecDeque<Work> {
    let mut work = VecDeque::new();
    for (pane, keys) in touched {
        let mut ends = ends_of(*pane).peekable();
        // An epoch does not go through what waits for its time.
        if ends.peek().is_none() {
            continue;
        }
        let keys: Vec<Key> = keys.iter().copied().collect();
        for end in ends {
            work.extend(keys.chunks(KEYS_AT_ONCE).map(|keys| Work::Pane { pane: *pane, end, keys: keys.to_vec() }));
        }
    }
    work
}

/// `starts`: of all panes that hold rows.
fn sliding<I: Iterator<Item = Micros>>(
    touched: &BTreeMap<Micros, BTreeSet<Key>>,
    ends_of: impl Fn(Micros) -> I,
    windows: Windows,
    starts: &[Micros],
) -> VecDeque<Work> {
    let ends: BTreeMap<Micros, Vec<Micros>> = touched.keys().map(|pane| (*pane, ends_of(*pane).collect())).collect();
    let all_ends = || ends.values().flatten().copied();
    let (Some(first), Some(last)) = (all_ends().min(), all_ends().max()) else { return VecDeque::new() };
    let (from, to) = (windows.panes_of(first).0, windows.panes_of(last).1);
    let panes = starts.iter().filter(|pane| (from..to).contains(*pane)).count();
    let at_once = (SLIDING_ROWS / panes.max(1)).clamp(1, SLIDING_AT_ONCE);
    let mut by_key: BTreeMap<Key, Vec<Micros>> = BTreeMap::new();
    for (pane, keys) in touched.iter().filter(|(pane, _)| !ends[*pane].is_empty()) {
        keys.iter().for_each(|key| by_key.entry(*key).or_default().push(*pane));
    }
    let mut keys: Vec<(Key, Vec<Micros>)> = by_key.into_iter().collect();
    // Those of the same panes together: they are in the same windows.
    keys.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
    let work = keys.chunks(at_once).map(|keys| {
        // Most keys share them: the ends of each pane are looked at once.
        let panes: BTreeSet<Micros> = keys.iter().flat_map(|(_, panes)| panes).copied().collect();
        let ends = panes.iter().flat_map(|pane| &ends[pane]).copied().collect();
        Work::Sliding { ends, keys: keys.to_vec() }
    });
    work.collect()
}

/// The results that leave, a batch at a time.
pub(super) struct Leaving {
    operator: Arc<WindowOperator>,
    /// Windows that the watermark has passed in this epoch, with all of their keys.
    ended: Option<WindowParts>,
    work: VecDeque<Work>,
    sliding: Option<Sliding>,
    results: VecDeque<EarlyRows>,
}

impl Leaving {
    pub(super) fn of(operator: Arc<WindowOperator>, progress: Progress) -> Result<Self> {
        let (work, ended) = {
            let mut inner = operator.state.lock();
            let Inner { panes, early, .. } = &mut *inner;
            // None where nobody has asked for any.
            let work = early.as_mut().map(|early| early.plan(panes, operator.merge()?, progress)).transpose()?;
            let is_late = early.as_ref().is_some_and(|early| early.when == EarlyWhen::LateCorrections);
            (work.unwrap_or_default(), is_late.then(|| panes.pane_starts()))
        };
        let done = progress.ended_before.max(progress.to);
        let ended = ended.map(|panes| WindowParts::new(operator.windows, panes, done, progress.ended));
        Ok(Leaving { operator, ended, work, sliding: None, results: VecDeque::new() })
    }

    /// Computes some results more; false where there are none.
    fn go_on(&mut self) -> Result<bool> {
        if let Some(ended) = &mut self.ended {
            match self.operator.next_part(ended)? {
                Some((end, rows)) => self.results.extend(self.operator.emit_early(&rows, end)?),
                None => self.ended = None,
            }
            return Ok(true);
        }
        if let Some(sliding) = &mut self.sliding {
            match sliding.next(&self.operator)? {
                Some((end, rows)) => self.results.extend(self.operator.emit_early(&rows, end)?),
                None => self.sliding = None,
            }
            return Ok(true);
        }
        match self.work.pop_front() {
            None => return Ok(false),
            Some(Work::Pane { pane, end, keys }) => {
                let rows = self.with_index(|index| index.rows(pane, &keys))?;
                if let Some(rows) = rows {
                    self.results.extend(self.operator.emit_early(&[rows], end)?);
                }
            }
            Some(Work::Sliding { ends, keys }) => self.sliding = Some(self.slide(ends, keys)?),
        }
        Ok(true)
    }

    fn slide(&self, ends: BTreeSet<Micros>, keys: Vec<(Key, Vec<Micros>)>) -> Result<Sliding> {
        let numbers: Vec<Key> = keys.iter().map(|(key, _)| *key).collect();
        let windows = self.operator.windows;
        let (from, to) = match (ends.first(), ends.last()) {
            (Some(first), Some(last)) => (windows.panes_of(*first).0, windows.panes_of(*last).1),
            _ => (0, 0),
        };
        let starts = self.operator.state.lock().panes.pane_starts();
        let mut panes = Vec::new();
        for pane in starts.into_iter().filter(|pane| (from..to).contains(pane)) {
            if let Some(rows) = self.with_index(|index| index.rows(pane, &numbers))? {
                panes.push((pane, rows));
            }
        }
        // Where all keys were touched in the same panes, every window is new for all of them.
        let alike = keys.windows(2).all(|two| two[0].1 == two[1].1);
        let touched = (!alike).then(|| keys.into_iter().collect());
        Ok(Sliding {
            ends: ends.into_iter().collect(),
            touched,
            panes,
            taken: 0,
            back_from: 0,
            front: vec![],
            back: None,
        })
    }

    fn with_index<T>(&self, read: impl FnOnce(&mut KeyIndex) -> Result<T>) -> Result<T> {
        with_index(&self.operator, read)
    }
}

fn with_index<T>(operator: &WindowOperator, read: impl FnOnce(&mut KeyIndex) -> Result<T>) -> Result<T> {
    let mut inner = operator.state.lock();
    match inner.early.as_mut().and_then(|early| early.index.as_mut()) {
        Some(index) => read(index),
        None => Err(Error::bug("early results without an index")),
    }
}

impl Iterator for Leaving {
    type Item = Result<EarlyRows>;

    fn next(&mut self) -> Option<Self::Item> {
        one_by_one(self, |leaving| &mut leaving.results, Leaving::go_on)
    }
}

/// Some keys in windows that move over their panes, from the earliest on. What neighbours share is merged once: by two stacks, as in
/// Tangwongsan et al., "General incremental sliding-window aggregation", VLDB 2015.
struct Sliding {
    ends: VecDeque<Micros>,
    /// The panes in which each key was touched; `None` where these are the same for all.
    touched: Option<HashMap<Key, Vec<Micros>>>,
    /// Rows of these keys, ascending. Those before `taken` are merged already.
    panes: Vec<(Micros, RecordBatch)>,
    taken: usize,
    /// From each of these panes up to the back, merged; the earliest last.
    front: Vec<(Micros, RecordBatch)>,
    /// The first pane of the back, and all of it merged.
    back_from: usize,
    back: Option<RecordBatch>,
}

impl Sliding {
    /// The rows of the next window that has any of keys that were touched in it, and its end.
    fn next(&mut self, operator: &WindowOperator) -> Result<Option<(Micros, Vec<RecordBatch>)>> {
        while let Some(end) = self.ends.pop_front() {
            let (from, to) = operator.windows.panes_of(end);
            let mut rows = self.window(from, to, operator.merge()?)?;
            if let Some(touched) = &self.touched {
                let is_new = |panes: &Vec<Micros>| panes.iter().any(|pane| (from..to).contains(pane));
                for rows in &mut rows {
                    let columns = &rows.columns()[..operator.merge()?.keys()];
                    let keys = with_index(operator, |index| index.keys_of(columns, rows.num_rows()))?;
                    let mask: Vec<bool> = keys.iter().map(|key| touched.get(key).is_some_and(is_new)).collect();
                    *rows = filter_record_batch(rows, &BooleanArray::from(mask))?;
                }
            }
            rows.retain(|rows| rows.num_rows() > 0);
            if !rows.is_empty() {
                return Ok(Some((end, rows)));
            }
        }
        Ok(None)
    }

    /// All rows in the panes `[from, to)`, neither of which is before those of the last call.
    fn window(&mut self, from: Micros, to: Micros, merge: &StateMerge) -> Result<Vec<RecordBatch>> {
        while let Some((_, rows)) = self.panes.get(self.taken).filter(|(pane, _)| *pane < to) {
            self.back = Some(merged(merge, self.back.take(), rows)?);
            self.taken += 1;
        }
        while self.front.last().is_some_and(|(pane, _)| *pane < from) {
            self.front.pop();
        }
        let left_behind = |at: usize| self.panes[at].0 < from;
        if self.front.is_empty() && self.back_from < self.taken && left_behind(self.back_from) {
            while self.back_from < self.taken && left_behind(self.back_from) {
                self.back_from += 1;
            }
            let mut all: Option<RecordBatch> = None;
            for (pane, rows) in self.panes[self.back_from..self.taken].iter().rev() {
                let merged = merged(merge, all.take(), rows)?;
                self.front.push((*pane, merged.clone()));
                all = Some(merged);
            }
            (self.back_from, self.back) = (self.taken, None);
        }
        Ok(self.front.last().map(|(_, rows)| rows.clone()).into_iter().chain(self.back.clone()).collect())
    }
}

fn merged(merge: &StateMerge, known: Option<RecordBatch>, rows: &RecordBatch) -> Result<RecordBatch> {
    match known {
        Some(known) => merge.merge(&[known, rows.clone()]),
        None => Ok(rows.clone()),
    }
}

#[cfg(test)]
mod tests;
