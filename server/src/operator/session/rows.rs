//! The rows of open sessions: in immutable segments, each row under a number that it keeps, and linked to the next one of its session.
//!
//! Rows go one by one, when their session closes. A segment of which little is left is written again, and segments are merged with their
//! neighbours, so that there are few; both leave out what has gone. Numbers are never used again, so nothing that names a row has to know of
//! it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::SchemaRef;

use super::index::Session;
use crate::error::{Error, Result};
use crate::operator::bits::Bits;
use crate::operator::rows::{held, looked_up, together};
use crate::sql::ticks;
use crate::state::{Account, Reservation, Rows, Segment};

/// Segments of one level before they are merged into one of the next.
const FAN_IN: usize = 8;

/// What the rows are called in a refusal.
const WHAT: &str = "the rows of its sessions";

/// A segment as a checkpoint names it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) segment: Segment,
    /// It says which rows of the segment with this id have gone; `None`: it holds rows.
    pub(super) gone_of: Option<u64>,
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Buffer {
    schema: SchemaRef,
    /// The column of the time.
    time: usize,
    /// Checkpoints say which rows have gone. Where they do not, it is known of the rows themselves.
    says_gone: bool,
    account: Arc<Account>,
    /// By the number of the first row, so from the oldest to the newest.
    parts: BTreeMap<u64, Part>,
    next_row: u64,
    next_segment: u64,
    staged: Option<Staged>,
    /// What a checkpoint says has gone, until the rows are there.
    restored_gone: HashMap<u64, (Segment, Vec<bool>)>,
}

/// Rows of the running epoch.
#[derive(Debug)]
struct Staged {
    batch: RecordBatch,
    times: ScalarBuffer<i64>,
    held: Reservation,
}

#[derive(Debug)]
struct Part {
    segment: Segment,
    batch: RecordBatch,
    times: ScalarBuffer<i64>,
    /// Of each row, ascending; `None`: they follow one another.
    numbers: Option<Vec<u64>>,
    /// Of each row, the next one of its session. Of the last one it means nothing.
    links: Vec<u64>,
    gone: Bits,
    live: usize,
    /// `gone` as a checkpoint holds it; `None`: it has changed, or nothing has gone.
    said: Option<Segment>,
    /// For all but the rows.
    index: Reservation,
}

impl Part {
    fn rows(&self) -> usize {
        self.links.len()
    }

    /// Where a row is. `first`: the number of the first one.
    fn place(&self, first: u64, number: u64) -> Option<usize> {
        match &self.numbers {
            Some(numbers) => numbers.binary_search(&number).ok(),
            None => usize::try_from(number.checked_sub(first)?).ok().filter(|at| *at < self.rows()),
        }
    }

    fn number(&self, first: u64, at: usize) -> u64 {
        self.numbers.as_ref().map_or(first + at as u64, |numbers| numbers[at])
    }

    fn is_live(&self, at: usize) -> bool {
        !self.gone.get(at as u32)
    }

    fn count_index(&mut self) {
        let words = self.links.capacity() + self.numbers.as_ref().map_or(0, Vec::capacity);
        self.index.release();
        self.index.count(words * size_of::<u64>() + self.gone.bytes());
    }
}

impl Buffer {
    pub(super) fn new(schema: SchemaRef, time: usize, says_gone: bool, account: &Arc<Account>) -> Self {
        Buffer {
            schema,
            time,
            says_gone,
            account: Arc::clone(account),
            parts: BTreeMap::new(),
            next_row: 0,
            next_segment: 1,
            staged: None,
            restored_gone: HashMap::new(),
        }
    }

    /// Who answers for its memory.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The number of the first row that is staged next.
    pub(super) fn next_row(&self) -> u64 {
        self.next_row
    }

    /// Takes the epoch's rows until [`Buffer::commit`] or [`Buffer::abort`].
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them.
    pub(super) fn stage(&mut self, batch: RecordBatch) -> Result<()> {
        let (batch, bytes) = looked_up(batch)?;
        let held = self.account.reserve(bytes, WHAT)?;
        let times = self.times(&batch)?;
        self.staged = Some(Staged { batch, times, held });
        Ok(())
    }

    fn times(&self, batch: &RecordBatch) -> Result<ScalarBuffer<i64>> {
        Ok(ticks(batch.column(self.time))?.values().clone())
    }

    /// Rows, in the order of their numbers in `numbers`.
    pub(super) fn gather(&self, numbers: &[u64]) -> Result<RecordBatch> {
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut known: HashMap<usize, usize> = HashMap::new();
        let mut rows = Vec::with_capacity(numbers.len());
        for number in numbers {
            let (batch, _, at) = self.row(*number)?;
            let of = *known.entry(std::ptr::from_ref(batch) as usize).or_insert_with(|| {
                batches.push(batch);
                batches.len() - 1
            });
            rows.push((of, at));
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        Ok(interleave_record_batch(&batches, &rows)?)
    }

    /// The time of a row, in ticks.
    pub(super) fn time(&self, number: u64) -> Result<i64> {
        let (_, times, at) = self.row(number)?;
        Ok(times[at])
    }

    fn row(&self, number: u64) -> Result<(&RecordBatch, &ScalarBuffer<i64>, usize)> {
        if let Some(at) = number.checked_sub(self.next_row)
            && let Some(staged) = &self.staged
        {
            let at = usize::try_from(at).ok().filter(|at| *at < staged.times.len()).ok_or_else(|| unknown(number))?;
            return Ok((&staged.batch, &staged.times, at));
        }
        let (part, at) = self.part(number)?;
        Ok((&part.batch, &part.times, at))
    }

    fn part(&self, number: u64) -> Result<(&Part, usize)> {
        let part = self.parts.range(..=number).next_back();
        part.and_then(|(first, part)| Some((part, part.place(*first, number)?))).ok_or_else(|| unknown(number))
    }

    fn part_mut(&mut self, number: u64) -> Result<(&mut Part, usize)> {
        let part = self.parts.range_mut(..=number).next_back();
        part.and_then(|(first, part)| part.place(*first, number).map(|at| (part, at))).ok_or_else(|| unknown(number))
    }

    /// Appends the rows of a session, as they are linked.
    pub(super) fn rows_of(&self, session: &Session, numbers: &mut Vec<u64>) -> Result<()> {
        let mut number = session.head;
        loop {
            numbers.push(number);
            if number == session.tail {
                return Ok(());
            }
            let (part, at) = self.part(number)?;
            number = part.links[at];
        }
    }

    /// Puts a row behind another one of its session.
    pub(super) fn link(&mut self, number: u64, next: u64) -> Result<()> {
        let (part, at) = self.part_mut(number)?;
        part.links[at] = next;
        Ok(())
    }

    /// A committed row belongs to no open session any more.
    pub(super) fn remove(&mut self, number: u64) -> Result<()> {
        let (part, at) = self.part_mut(number)?;
        if part.is_live(at) {
            part.gone.set(at as u32, true);
            part.live -= 1;
            part.said = None;
        }
        Ok(())
    }

    /// Makes those of the staged rows part of the state that are to stay.
    pub(super) fn commit(&mut self, stays: &[bool]) -> Result<()> {
        let Some(Staged { batch, times, held }) = self.staged.take() else { return Ok(()) };
        let first = self.next_row;
        self.next_row += times.len() as u64;
        let live = stays.iter().filter(|stays| **stays).count();
        if live == 0 {
            return Ok(());
        }
        if live == times.len() {
            let rows = Rows::held(vec![batch.clone()], held);
            return self.add(first, None, vec![0; live], batch, rows, 0);
        }
        let batch = filter_record_batch(&batch, &BooleanArray::from(stays.to_vec()))?;
        let numbers: Vec<u64> = (first..).zip(stays).filter(|(_, stays)| **stays).map(|(number, _)| number).collect();
        let (batch, rows) = self.counted(batch)?;
        self.add(numbers[0], Some(numbers), vec![0; live], batch, rows, 0)
    }

    /// Rows for which there was room before, in another form.
    fn counted(&self, batch: RecordBatch) -> Result<(RecordBatch, Rows)> {
        let (batch, bytes) = looked_up(batch)?;
        let mut held = Reservation::empty(&self.account);
        held.count(bytes);
        let rows = Rows::held(vec![batch.clone()], held);
        Ok((batch, rows))
    }

    fn add(
        &mut self,
        first: u64,
        numbers: Option<Vec<u64>>,
        links: Vec<u64>,
        batch: RecordBatch,
        rows: Rows,
        level: u8,
    ) -> Result<()> {
        let id = self.next_segment;
        self.next_segment += 1;
        let times = self.times(&batch)?;
        let (live, index) = (links.len(), Reservation::empty(&self.account));
        let segment = Segment { id, level, rows, home: None };
        let gone = Bits::default();
        let mut part = Part { segment, batch, times, numbers, links, gone, live, said: None, index };
        part.count_index();
        self.parts.insert(first, part);
        Ok(())
    }

    /// Forgets the running epoch.
    pub(super) fn abort(&mut self) {
        self.staged = None;
    }

    /// Lets go of what has gone, and keeps segments few.
    pub(super) fn tidy(&mut self) -> Result<()> {
        let little = |(first, part): (&u64, &Part)| (part.live * 2 <= part.rows()).then_some(*first);
        for first in self.parts.iter().filter_map(little).collect::<Vec<_>>() {
            self.merge(&[first], |level| level)?;
        }
        // Levels fall from the oldest to the newest, so those of one level are neighbours.
        while let Some(level) = self.parts.values().next_back().map(|part| part.segment.level) {
            let alike = self.parts.iter().rev().take_while(|(_, part)| part.segment.level == level);
            let mut alike: Vec<u64> = alike.map(|(first, _)| *first).collect();
            if alike.len() < FAN_IN || level == u8::MAX {
                return Ok(());
            }
            alike.reverse();
            self.merge(&alike, |level| level + 1)?;
        }
        Ok(())
    }

    /// Makes one segment of the rows of some that have not gone; none, where all have.
    fn merge(&mut self, firsts: &[u64], level: impl Fn(u8) -> u8) -> Result<()> {
        let (mut batches, mut numbers, mut links) = (Vec::new(), Vec::new(), Vec::new());
        let mut highest = 0;
        let parts: Vec<(u64, Part)> =
            firsts.iter().filter_map(|first| Some((*first, self.parts.remove(first)?))).collect();
        for (first, part) in &parts {
            highest = highest.max(part.segment.level);
            let live = (0..part.rows()).map(|at| part.is_live(at)).collect::<Vec<_>>();
            for at in (0..part.rows()).filter(|at| live[*at]) {
                numbers.push(part.number(*first, at));
                links.push(part.links[at]);
            }
            if part.live > 0 {
                batches.push(filter_record_batch(&part.batch, &BooleanArray::from(live))?);
            }
        }
        let Some(first) = numbers.first().copied() else { return Ok(()) };
        let (batch, rows) = self.counted(together(&batches, &self.schema)?)?;
        let follow = numbers.last().is_some_and(|last| last - first + 1 == numbers.len() as u64);
        numbers.shrink_to_fit();
        links.shrink_to_fit();
        self.add(first, (!follow).then_some(numbers), links, batch, rows, level(highest))
    }

    /// Everything committed. What has gone of a segment comes before its rows.
    pub(super) fn stored(&mut self) -> Vec<Stored> {
        let Buffer { parts, next_segment, says_gone, .. } = self;
        let mut stored = Vec::new();
        for part in parts.values_mut() {
            if *says_gone && part.live < part.rows() {
                let said = part.said.get_or_insert_with(|| {
                    let id = *next_segment;
                    *next_segment += 1;
                    let rows = Rows::from(vec![part.gone.column("gone", part.links.len())]);
                    Segment { id, level: 0, rows, home: None }
                });
                stored.push(Stored { segment: said.clone(), gone_of: Some(part.segment.id) });
            }
            stored.push(Stored { segment: part.segment.clone(), gone_of: None });
        }
        stored
    }

    /// Puts back which rows of a segment have gone. To be called before its rows are put back.
    pub(super) fn restore_gone(&mut self, of: u64, id: u64, batches: &[RecordBatch]) -> Result<()> {
        self.next_segment = self.next_segment.max(id + 1);
        let gone = Bits::read(batches, "which rows have gone")?;
        let segment = Segment { id, level: 0, rows: Rows::from(batches.to_vec()), home: None };
        self.restored_gone.insert(of, (segment, gone));
        Ok(())
    }

    /// Puts a segment of rows back; returns the number of its first row and, of each row, whether it has gone.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for it.
    pub(super) fn restore(&mut self, id: u64, level: u8, batch: RecordBatch) -> Result<(u64, Vec<bool>)> {
        self.next_segment = self.next_segment.max(id + 1);
        let count = batch.num_rows();
        let (said, gone) = match self.restored_gone.remove(&id) {
            Some((segment, gone)) if gone.len() == count => (Some(segment), gone),
            Some(_) => return Err(Error::corrupt("a checkpoint says of other rows than it holds which have gone")),
            None => (None, vec![false; count]),
        };
        let (batch, rows) = held(batch, &self.account, WHAT)?;
        let times = self.times(&batch)?;
        let mut bits = Bits::default();
        (0..).zip(&gone).filter(|(_, gone)| **gone).for_each(|(at, _)| bits.set(at, true));
        let live = gone.iter().filter(|gone| !**gone).count();
        let index = Reservation::empty(&self.account);
        let segment = Segment { id, level, rows, home: None };
        let mut part =
            Part { segment, batch, times, numbers: None, links: vec![0; count], gone: bits, live, said, index };
        part.count_index();
        let first = self.next_row;
        self.next_row += count as u64;
        if count > 0 {
            self.parts.insert(first, part);
        }
        Ok((first, gone))
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let parts = self.parts.values().map(|part| part.segment.rows.bytes() + part.index.bytes());
        parts.sum::<usize>() + self.staged.as_ref().map_or(0, |staged| staged.held.bytes())
    }

    #[cfg(test)]
    pub(super) fn segments(&self) -> usize {
        self.parts.len()
    }
}

fn unknown(number: u64) -> Error {
    Error::bug(format!("no session has a row {number}"))
}

#[cfg(test)]
mod tests;
