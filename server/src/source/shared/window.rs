//! What a shared reader has read and its queries have not all taken: batches in order, and where each query stands among them.
//!
//! Some batches that all have taken are kept as well, so that a query that has caught up elsewhere finds its next offsets among them.
//! No I/O and no clock here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Decoded;
use crate::source::{Offset, Offsets};

/// A query may come from so many offsets beyond what has been read, all partitions together: it waits until they have been.
const AHEAD_MAX: Offset = 64 * 1024;

/// Batches that wait, and of those that all have taken, however small they are.
const WAITING_MAX: usize = 8 * 1024;
const KEPT_MAX: usize = 1024;

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Window {
    batches: VecDeque<Stored>,
    /// The number of the first of them; those before have been let go.
    first: u64,
    /// Positions before the first of them, and behind the last.
    from: Offsets,
    head: Offsets,
    /// Positions before all that have ever been here.
    began: Offsets,
    /// Bytes of all batches that have ever been here.
    bytes: usize,
    queries: BTreeMap<u64, Standing>,
}

#[derive(Debug)]
struct Stored {
    /// Bytes of all batches before it.
    before: usize,
    batch: Arc<Decoded>,
}

/// Where a query stands.
#[derive(Debug)]
struct Standing {
    /// The number of the batch that it takes next.
    next: u64,
    columns: Vec<usize>,
    /// For how long others have had to wait for it since it last had everything.
    owes: Duration,
    wake: Arc<Notify>,
}

/// Where a query can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// With the batch of this number.
    Here(u64),
    /// It could, were its columns decoded.
    OtherColumns,
    Nowhere,
}

impl Window {
    fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    /// The batch that the last of the queries takes next.
    fn slowest(&self) -> u64 {
        self.queries.values().map(|query| query.next).min().unwrap_or(self.end())
    }

    fn bytes_from(&self, number: u64) -> usize {
        let at = number.checked_sub(self.first).and_then(|at| self.batches.get(usize::try_from(at).ok()?));
        at.map_or(0, |stored| self.bytes.saturating_sub(stored.before))
    }

    /// Positions behind all batches; empty until the source has been opened.
    pub(super) fn head(&self) -> &Offsets {
        &self.head
    }

    /// Positions before all that it has ever held; empty until the source has been opened.
    pub(super) fn began(&self) -> &Offsets {
        &self.began
    }

    /// Whether no batch has been let go yet.
    pub(super) fn is_whole(&self) -> bool {
        self.first == 0
    }

    pub(super) fn queries(&self) -> usize {
        self.queries.len()
    }

    /// The columns that its queries read.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.queries.values().flat_map(|query| query.columns.iter().copied())
    }

    /// Adds the next batch, and wakes those who have been waiting for it.
    pub(super) fn push(&mut self, batch: Arc<Decoded>) {
        if self.head.is_empty() {
            self.from = batch.rows.progress.iter().map(|(partition, progress)| (*partition, progress.from)).collect();
            self.began = self.from.clone();
        }
        self.head.extend(batch.rows.progress.iter().map(|(partition, progress)| (*partition, progress.to)));
        let end = self.end();
        self.queries.values().filter(|query| query.next == end).for_each(|query| query.wake.notify_one());
        let before = self.bytes;
        self.bytes += batch.rows.bytes;
        self.batches.push_back(Stored { before, batch });
    }

    /// Where a query that comes from `at` and reads `columns` can begin without missing a record. What lies before `at` in the batches that it
    /// gets is for it to leave out.
    ///
    /// `near`: it must not come to be further back than this many bytes, unless others are: else it would be left behind at once.
    pub(super) fn place(&self, at: &Offsets, columns: &[usize], near: usize) -> Place {
        if self.head.is_empty() || !at.keys().eq(self.head.keys()) {
            return Place::Nowhere;
        }
        let ahead = at.iter().zip(self.head.values()).map(|((_, next), head)| next.saturating_sub(*head).max(0));
        if ahead.fold(0, Offset::saturating_add) > AHEAD_MAX {
            return Place::Nowhere;
        }
        let has_all_before = |before: &Offsets| is_at_or_behind(before, at);
        let has_passed =
            |before: &Offsets| before.iter().any(|(of, before)| at.get(of).is_some_and(|next| before > next));
        let (mut before, mut found) = (self.from.clone(), None);
        for (number, stored) in (self.first..).zip(&self.batches) {
            // A query that catches up from far behind asks often.
            if has_passed(&before) {
                break;
            }
            // The latest one: those before it would bring nothing.
            if has_all_before(&before) {
                found = Some(number);
            }
            let progress = &stored.batch.rows.progress;
            before.extend(progress.iter().map(|(partition, progress)| (*partition, progress.to)));
        }
        if has_all_before(&self.head) {
            found = Some(self.end());
        }
        let Some(number) = found else { return Place::Nowhere };
        if number < self.slowest() && self.bytes_from(number) > near {
            return Place::Nowhere;
        }
        match self.has_columns_from(number, columns) {
            true => Place::Here(number),
            false => Place::OtherColumns,
        }
    }

    /// Whether all batches from this one on have these columns.
    pub(super) fn has_columns_from(&self, number: u64, columns: &[usize]) -> bool {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut batches = self.batches.iter().skip(skipped).map(|stored| &stored.batch);
        batches.all(|batch| batch.rows.batches.is_empty() || contains(&batch.columns, columns))
    }

    pub(super) fn join(&mut self, query: u64, next: u64, columns: Vec<usize>, wake: Arc<Notify>) {
        self.queries.insert(query, Standing { next: next.max(self.first), columns, owes: Duration::ZERO, wake });
    }

    pub(super) fn leave(&mut self, query: u64) {
        self.queries.remove(&query);
    }

    /// Whether the query still stands here, and has not been left behind.
    pub(super) fn has(&self, query: u64) -> bool {
        self.queries.contains_key(&query)
    }

    /// The query's next batch, if it is there.
    pub(super) fn take(&mut self, query: u64) -> Option<Arc<Decoded>> {
        let end = self.end();
        let standing = self.queries.get_mut(&query)?;
        let at = usize::try_from(standing.next.checked_sub(self.first)?).ok()?;
        let batch = Arc::clone(&self.batches.get(at)?.batch);
        standing.next += 1;
        if standing.next == end {
            standing.owes = Duration::ZERO;
        }
        Some(batch)
    }

    /// Lets batches go that all have taken, but for the last ones of so many bytes.
    pub(super) fn release(&mut self, kept: usize) {
        let slowest = self.slowest();
        while let Some(stored) = self.batches.front() {
            let taken = usize::try_from(slowest.saturating_sub(self.first)).unwrap_or(usize::MAX);
            let in_reach = self.bytes.saturating_sub(stored.before) <= kept && taken <= KEPT_MAX;
            if self.first >= slowest || in_reach {
                return;
            }
            let progress = &stored.batch.rows.progress;
            self.from.extend(progress.iter().map(|(partition, progress)| (*partition, progress.to)));
            self.batches.pop_front();
            self.first += 1;
        }
    }

    /// Whether fewer than so many batches wait for a query.
    pub(super) fn is_awaited(&self, batches: usize) -> bool {
        let end = self.end();
        self.queries.values().any(|query| end - query.next < batches as u64)
    }

    /// Whether a batch waits for a query.
    pub(super) fn is_waiting(&self) -> bool {
        self.slowest() < self.end()
    }

    /// Whether so many bytes more can wait, where `max` are the most.
    pub(super) fn has_room(&self, bytes: usize, max: usize) -> bool {
        let slowest = self.slowest();
        !self.is_waiting()
            || (self.bytes_from(slowest).saturating_add(bytes) <= max && self.end() - slowest < WAITING_MAX as u64)
    }

    /// Those who have taken everything have waited for so long for the slowest. Whoever has made them wait for more than `patience` since
    /// it last had everything is left behind. Returns how many.
    pub(super) fn blame(&mut self, lasted: Duration, patience: Duration) -> usize {
        let slowest = self.slowest();
        if slowest == self.end() || !self.is_awaited(1) {
            return 0;
        }
        let before = self.queries.len();
        self.queries.retain(|_, query| {
            if query.next == slowest {
                query.owes += lasted;
            }
            let stays = query.owes <= patience;
            if !stays {
                query.wake.notify_one();
            }
            stays
        });
        before - self.queries.len()
    }

    /// Wakes all queries: there is something else than a batch.
    pub(super) fn wake_all(&self) {
        self.queries.values().for_each(|query| query.wake.notify_one());
    }
}

/// Whether reading on from `before` brings all that reading on from `at` does.
fn is_at_or_behind(before: &Offsets, at: &Offsets) -> bool {
    before.keys().eq(at.keys()) && before.values().zip(at.values()).all(|(before, at)| before <= at)
}

/// Whether reading on from `before` brings it, and little that lies before `at`.
pub(super) fn is_little_ahead(at: &Offsets, before: &Offsets) -> bool {
    let ahead = at.values().zip(before.values()).map(|(at, before)| at.saturating_sub(*before));
    is_at_or_behind(before, at) && ahead.fold(0, Offset::saturating_add) <= AHEAD_MAX
}

/// Whether all of `few` are in `many`; both ascend.
pub(super) fn contains(many: &[usize], few: &[usize]) -> bool {
    few.iter().all(|column| many.binary_search(column).is_ok())
}
