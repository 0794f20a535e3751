//! The rows of one side that can still find a partner: in buckets of time, and within a bucket by the hash of their key.
//!
//! A bucket keeps its rows in the order in which they came, and a row is named by its place in that order. Segments are merged only with
//! their neighbours, so a place never changes, and what is kept beside the rows is small: a slot and a link of the index, the time within
//! the bucket, and a bit that says whether a partner has been found. Buckets go as a whole, with everything in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashTable;

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::bits::Bits;
use crate::operator::rows::{held, looked_up, together};
use crate::state::{Account, Reservation, Rows, Segment};

/// Buckets that the times of one row's partners lie in, about: a bucket is kept as long as one of its rows is.
const BUCKETS_OF_INTERVAL: Micros = 4;

/// Of a bucket, microseconds: a time within it has 32 bits, and an interval of no length still shares its index among rows.
const WIDTH_MIN: Micros = 100_000;
const WIDTH_MAX: Micros = 1 << 32;

/// Segments of one level before they are merged into one of the next.
const FAN_IN: usize = 8;

/// Ends a chain of rows.
const NO_ROW: u32 = u32::MAX;

/// What the rows are called in a refusal.
const WHAT: &str = "the rows of a join";

/// A row of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The start of its bucket.
    bucket: Micros,
    row: u32,
}

/// A segment as a checkpoint names it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) bucket: Micros,
    pub(super) segment: Segment,
    /// It holds which rows of the bucket have found a partner, and not the rows.
    pub(super) is_matches: bool,
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Buffer {
    schema: SchemaRef,
    width: Micros,
    buckets: BTreeMap<Micros, Bucket>,
    /// Those that the running epoch has changed.
    touched: BTreeSet<Micros>,
    account: Arc<Account>,
    /// For the rows of the running epoch.
    counted: Reservation,
}

impl Buffer {
    /// `length`: of the interval in which a row's partners lie.
    pub(super) fn new(schema: SchemaRef, length: Micros, account: &Arc<Account>) -> Self {
        Buffer {
            schema,
            width: (length / BUCKETS_OF_INTERVAL).clamp(WIDTH_MIN, WIDTH_MAX),
            buckets: BTreeMap::new(),
            touched: BTreeSet::new(),
            account: Arc::clone(account),
            counted: Reservation::empty(account),
        }
    }

    /// Columns that are kept of a row.
    pub(super) fn width_of_rows(&self) -> usize {
        self.schema.fields().len()
    }

    /// The start of the bucket that a time lies in.
    pub(super) fn bucket_of(&self, time: Micros) -> Micros {
        time.div_euclid(self.width).saturating_mul(self.width)
    }

    /// The buckets that begin after `at`, those of the running epoch included.
    pub(super) fn buckets_after(&self, at: Micros) -> BTreeSet<Micros> {
        self.buckets.range((Bound::Excluded(at), Bound::Unbounded)).map(|(start, _)| *start).collect()
    }

    /// Adds rows for this epoch until [`Buffer::commit`], each with its time and the hash of its key.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them.
    pub(super) fn insert(&mut self, batch: &RecordBatch, times: &[Micros], hashes: &[u64]) -> Result<Vec<Place>> {
        let mut rows: BTreeMap<Micros, Vec<u32>> = BTreeMap::new();
        for (row, time) in (0_u32..).zip(times) {
            rows.entry(self.bucket_of(*time)).or_default().push(row);
        }
        let mut places = vec![Place { bucket: 0, row: 0 }; times.len()];
        let whole = rows.len() == 1;
        for (start, rows) in rows {
            let part = if whole { batch.clone() } else { take_record_batch(batch, &UInt32Array::from(rows.clone()))? };
            let (part, bytes) = looked_up(part)?;
            self.counted.reserve(bytes, WHAT)?;
            self.touched.insert(start);
            let account = &self.account;
            let bucket = self.buckets.entry(start).or_insert_with(|| Bucket::new(start, account));
            let first = bucket.begin(part)?;
            for (at, row) in (first..).zip(rows) {
                bucket.add(times[row as usize], hashes[row as usize]);
                places[row as usize] = Place { bucket: start, row: at };
            }
            bucket.count_index();
        }
        Ok(places)
    }

    /// The rows with a time in `from..=to` whose key has this hash. `committed`: those of the running epoch are left out.
    pub(super) fn candidates(&self, from: Micros, to: Micros, hash: u64, committed: bool, found: &mut Vec<Place>) {
        for (start, bucket) in self.buckets.range(self.bucket_of(from)..=to) {
            bucket.candidates(from, to, hash, committed, |row| found.push(Place { bucket: *start, row }));
        }
    }

    /// Rows, in the order of their places.
    pub(super) fn gather(&self, places: &[Place]) -> Result<RecordBatch> {
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut known: BTreeMap<(Micros, usize), usize> = BTreeMap::new();
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            let bucket = self.buckets.get(&place.bucket).ok_or_else(|| unknown(place))?;
            let part = bucket.starts.partition_point(|first| *first <= place.row) - 1;
            let batch = *known.entry((place.bucket, part)).or_insert_with(|| {
                batches.extend(bucket.part(part));
                batches.len() - 1
            });
            rows.push((batch, (place.row - bucket.starts[part]) as usize));
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        Ok(interleave_record_batch(&batches, &rows)?)
    }

    /// Notes that a row has found a partner; false where it had one before.
    pub(super) fn set_matched(&mut self, place: Place) -> bool {
        let Some(bucket) = self.buckets.get_mut(&place.bucket) else { return false };
        let new = !bucket.matched.get(place.row);
        if new {
            bucket.matched.set(place.row, true);
            bucket.newly_matched.push(place.row);
            self.touched.insert(place.bucket);
        }
        new
    }

    pub(super) fn is_matched(&self, place: Place) -> bool {
        self.buckets.get(&place.bucket).is_some_and(|bucket| bucket.matched.get(place.row))
    }

    /// The rows with a time in `from..to` that have no partner, those of the running epoch left out; in the order of their times.
    pub(super) fn unmatched(&mut self, from: Micros, to: Micros) -> Vec<Place> {
        let mut found = Vec::new();
        if from >= to {
            return found;
        }
        let first = self.bucket_of(from);
        for (start, bucket) in self.buckets.range_mut(first..to) {
            found.extend(bucket.unmatched(from, to).map(|row| Place { bucket: *start, row }));
        }
        found
    }

    /// The time of the first row from `from` on, whether it has a partner or not.
    pub(super) fn first_time(&mut self, from: Micros) -> Option<Micros> {
        let first = self.bucket_of(from);
        self.buckets.range_mut(first..).find_map(|(_, bucket)| bucket.first_time(from))
    }

    /// The time of the last row up to `to`.
    pub(super) fn last_time(&self, to: Micros) -> Option<Micros> {
        self.buckets.range(..=to).rev().find_map(|(_, bucket)| bucket.last_time(to))
    }

    /// Makes the epoch's rows part of the state, and forgets buckets whose rows are all before `done`.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them.
    pub(super) fn commit(&mut self, done: Micros, next_segment: &mut u64) -> Result<()> {
        while let Some(bucket) = self.buckets.first_entry() {
            if bucket.key().saturating_add(self.width) > done {
                break;
            }
            bucket.remove();
        }
        self.counted.release();
        for start in std::mem::take(&mut self.touched) {
            if let Some(bucket) = self.buckets.get_mut(&start) {
                bucket.commit(&self.schema, &self.account, next_segment)?;
            }
        }
        Ok(())
    }

    /// Forgets what the epoch did.
    pub(super) fn abort(&mut self) {
        for start in std::mem::take(&mut self.touched) {
            let Some(bucket) = self.buckets.get_mut(&start) else { continue };
            bucket.abort();
            if bucket.times.is_empty() {
                self.buckets.remove(&start);
            }
        }
        self.counted.release();
    }

    /// Everything committed. Segments of rows come in the order in which they have to be restored.
    pub(super) fn stored(&mut self, next_segment: &mut u64) -> Vec<Stored> {
        let mut stored = Vec::new();
        for (start, bucket) in &mut self.buckets {
            let segments = bucket.segments.iter().cloned();
            stored.extend(segments.map(|segment| Stored { bucket: *start, segment, is_matches: false }));
            let matches = bucket.stored_matches(next_segment);
            stored.extend(matches.map(|segment| Stored { bucket: *start, segment, is_matches: true }));
        }
        stored
    }

    /// Puts a segment of rows back. `times` and `hashes`: of its rows.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for it.
    pub(super) fn restore(
        &mut self,
        start: Micros,
        id: u64,
        level: u8,
        batch: RecordBatch,
        times: &[Micros],
        hashes: &[u64],
    ) -> Result<()> {
        let account = &self.account;
        let bucket = self.buckets.entry(start).or_insert_with(|| Bucket::new(start, account));
        let (_, rows) = held(batch, account, WHAT)?;
        bucket.starts.push(bucket.times.len() as u32);
        times.iter().zip(hashes).for_each(|(time, hash)| bucket.add(*time, *hash));
        bucket.segments.push(Segment { id, level, rows, home: None });
        bucket.committed = bucket.times.len();
        bucket.count_index();
        Ok(())
    }

    /// Puts back which rows of a bucket have found a partner.
    pub(super) fn restore_matches(&mut self, start: Micros, id: u64, batches: &[RecordBatch]) -> Result<()> {
        let bucket = self.buckets.get_mut(&start);
        let bucket =
            bucket.ok_or_else(|| Error::corrupt("a checkpoint holds partners of rows that it does not hold"))?;
        for (row, value) in (0..).zip(Bits::read(batches, "which rows have partners")?) {
            bucket.matched.set(row, value);
        }
        bucket.matches = Some(Segment { id, level: 0, rows: Rows::of(batches.to_vec(), &self.account)?, home: None });
        Ok(())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.values().map(Bucket::bytes).sum::<usize>() + self.counted.bytes()
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    #[cfg(test)]
    fn rows(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.times.len()).sum()
    }
}

fn unknown(place: &Place) -> Error {
    Error::bug(format!("a join has no row {place:?}"))
}

#[derive(Debug)]
struct Bucket {
    start: Micros,
    /// Committed rows, oldest first, each segment one batch.
    segments: Vec<Segment>,
    /// Those of the running epoch, behind them.
    new: Vec<RecordBatch>,
    /// The first row of each segment, then of each new batch.
    starts: Vec<u32>,
    /// Rows that are committed.
    committed: usize,
    /// Of each row, after `start`.
    times: Vec<u32>,
    hashes: Vec<u32>,
    /// The newest row of each hash; from there the rows of that hash form a chain through `next`.
    heads: HashTable<u32>,
    next: Vec<u32>,
    /// Which rows have found a partner.
    matched: Bits,
    newly_matched: Vec<u32>,
    /// `matched` as a checkpoint holds it; `None`: it has changed, or no row has a partner.
    matches: Option<Segment>,
    /// The committed rows by their times, once somebody has asked for that.
    by_time: Option<Vec<u32>>,
    /// For all but the rows.
    index: Reservation,
}

impl Bucket {
    fn new(start: Micros, account: &Arc<Account>) -> Self {
        Bucket {
            start,
            segments: Vec::new(),
            new: Vec::new(),
            starts: Vec::new(),
            committed: 0,
            times: Vec::new(),
            hashes: Vec::new(),
            heads: HashTable::new(),
            next: Vec::new(),
            matched: Bits::default(),
            newly_matched: Vec::new(),
            matches: None,
            by_time: None,
            index: Reservation::empty(account),
        }
    }

    /// Begins a batch, whose rows are to be added one by one; returns the place of the first.
    fn begin(&mut self, batch: RecordBatch) -> Result<u32> {
        let first = self.times.len();
        if first + batch.num_rows() >= NO_ROW as usize {
            return Err(Error::over_budget(format!(
                "a join holds over 2^32 rows within {} seconds",
                WIDTH_MAX / 1_000_000
            )));
        }
        self.starts.push(first as u32);
        self.new.push(batch);
        Ok(first as u32)
    }

    fn add(&mut self, time: Micros, hash: u64) {
        let Bucket { times, hashes, heads, next, .. } = self;
        let (row, hash) = (times.len() as u32, folded(hash));
        for column in [&mut *times, hashes, next] {
            make_room(column);
        }
        times.push((time - self.start) as u32);
        hashes.push(hash);
        match heads.find_mut(spread(hash), |head| hashes[*head as usize] == hash) {
            Some(head) => next.push(std::mem::replace(head, row)),
            None => {
                next.push(NO_ROW);
                heads.insert_unique(spread(hash), row, |head| spread(hashes[*head as usize]));
            }
        }
    }

    fn candidates(&self, from: Micros, to: Micros, hash: u64, committed: bool, mut found: impl FnMut(u32)) {
        let hash = folded(hash);
        let head = self.heads.find(spread(hash), |head| self.hashes[*head as usize] == hash);
        let mut row = head.copied().unwrap_or(NO_ROW);
        while row != NO_ROW {
            let time = self.time(row);
            if time >= from && time <= to && !(committed && row as usize >= self.committed) {
                found(row);
            }
            row = self.next[row as usize];
        }
    }

    fn time(&self, row: u32) -> Micros {
        self.start + Micros::from(self.times[row as usize])
    }

    /// The batch of a segment, or a new one behind these.
    fn part(&self, at: usize) -> Option<&RecordBatch> {
        match self.segments.get(at) {
            Some(segment) => segment.rows.batches_in_memory()?.first(),
            None => self.new.get(at - self.segments.len()),
        }
    }

    /// Makes `by_time` of the committed rows.
    fn sort_by_time(&mut self) {
        let (times, committed) = (&self.times, self.committed as u32);
        self.by_time.get_or_insert_with(|| {
            let mut rows: Vec<u32> = (0..committed).collect();
            rows.sort_by_key(|row| times[*row as usize]);
            rows
        });
    }

    /// In `by_time` the place of the first row at `time` or after it.
    fn first_at(&self, by_time: &[u32], time: Micros) -> usize {
        by_time.partition_point(|row| self.time(*row) < time)
    }

    fn unmatched(&mut self, from: Micros, to: Micros) -> impl Iterator<Item = u32> + '_ {
        self.sort_by_time();
        let by_time = self.by_time.as_deref().unwrap_or_default();
        let rows = &by_time[self.first_at(by_time, from)..self.first_at(by_time, to)];
        rows.iter().copied().filter(|row| !self.matched.get(*row))
    }

    fn first_time(&mut self, from: Micros) -> Option<Micros> {
        self.sort_by_time();
        let by_time = self.by_time.as_deref().unwrap_or_default();
        by_time.get(self.first_at(by_time, from)).map(|row| self.time(*row))
    }

    fn last_time(&self, to: Micros) -> Option<Micros> {
        (0..self.times.len() as u32).map(|row| self.time(row)).filter(|time| *time <= to).max()
    }

    fn commit(&mut self, schema: &SchemaRef, account: &Arc<Account>, next_segment: &mut u64) -> Result<()> {
        if !self.newly_matched.is_empty() {
            self.newly_matched.clear();
            self.matches = None;
        }
        if !self.new.is_empty() {
            let batch = together(&self.new, schema)?;
            self.new.clear();
            self.starts.truncate(self.segments.len() + 1);
            let first = self.committed as u32;
            self.committed = self.times.len();
            if let Some(by_time) = &mut self.by_time {
                add_by_time(by_time, first, &self.times);
            }
            self.push(batch, 0, account, next_segment)?;
            self.merge(schema, account, next_segment)?;
        }
        self.count_index();
        Ok(())
    }

    fn push(&mut self, batch: RecordBatch, level: u8, account: &Arc<Account>, next_segment: &mut u64) -> Result<()> {
        let id = *next_segment;
        *next_segment += 1;
        let (_, rows) = held(batch, account, WHAT)?;
        self.segments.push(Segment { id, level, rows, home: None });
        Ok(())
    }

    /// As many of one level as make one of the next. Levels fall from the oldest to the newest, so these are neighbours.
    fn merge(&mut self, schema: &SchemaRef, account: &Arc<Account>, next_segment: &mut u64) -> Result<()> {
        while let Some(level) = self.segments.last().map(|segment| segment.level) {
            let alike = self.segments.iter().rev().take_while(|segment| segment.level == level).count();
            if alike < FAN_IN || level == u8::MAX {
                return Ok(());
            }
            let first = self.segments.len() - alike;
            let merged: Vec<RecordBatch> =
                self.segments.drain(first..).flat_map(|segment| batch_of(&segment)).collect();
            self.starts.truncate(first + 1);
            self.push(concat_batches(schema, &merged)?, level + 1, account, next_segment)?;
        }
        Ok(())
    }

    fn abort(&mut self) {
        for row in std::mem::take(&mut self.newly_matched) {
            self.matched.set(row, false);
        }
        for row in (self.committed..self.times.len()).rev() {
            let head = self.heads.find_entry(spread(self.hashes[row]), |head| *head as usize == row);
            match (head, self.next[row]) {
                (Ok(head), NO_ROW) => _ = head.remove(),
                (Ok(head), before) => *head.into_mut() = before,
                (Err(_), _) => {}
            }
        }
        self.times.truncate(self.committed);
        self.hashes.truncate(self.committed);
        self.next.truncate(self.committed);
        self.new.clear();
        self.starts.truncate(self.segments.len());
        self.count_index();
    }

    fn stored_matches(&mut self, next_segment: &mut u64) -> Option<Segment> {
        if self.matches.is_none() && self.matched.any() {
            let id = *next_segment;
            *next_segment += 1;
            let rows = self.matched.column("matched", self.committed);
            self.matches = Some(Segment { id, level: 0, rows: Rows::from(vec![rows]), home: None });
        }
        self.matches.clone()
    }

    /// What is there is counted, whatever the limit says: it is little beside the rows, for which there was room.
    fn count_index(&mut self) {
        const SLOT: usize = size_of::<u32>() + 1;
        let by_time = self.by_time.as_ref().map_or(0, Vec::capacity);
        let words = self.times.capacity() + self.hashes.capacity() + self.next.capacity() + by_time;
        let bytes = self.heads.capacity() * SLOT * 8 / 7 + words * size_of::<u32>() + self.matched.bytes();
        self.index.release();
        self.index.count(bytes);
    }

    fn bytes(&self) -> usize {
        self.index.bytes() + self.segments.iter().map(|segment| segment.rows.bytes()).sum::<usize>()
    }
}

fn batch_of(segment: &Segment) -> Option<RecordBatch> {
    segment.rows.batches_in_memory()?.first().cloned()
}

/// Half of a hash is enough: who looks a row up compares its key.
fn folded(hash: u64) -> u32 {
    (hash >> 32) as u32 ^ hash as u32
}

/// Adds the rows from `first` on to those that are in the order of their times; most of them belong to its end.
fn add_by_time(by_time: &mut Vec<u32>, first: u32, times: &[u32]) {
    let time = |row: &u32| times[*row as usize];
    let mut new: Vec<u32> = (first..times.len() as u32).collect();
    new.sort_by_key(time);
    let Some(earliest) = new.first().map(time) else { return };
    let later = by_time.split_off(by_time.partition_point(|row| time(row) <= earliest));
    let mut later = later.into_iter().peekable();
    for row in new {
        while let Some(before) = later.next_if(|before| time(before) <= time(&row)) {
            by_time.push(before);
        }
        by_time.push(row);
    }
    by_time.extend(later);
}

/// Room for a quarter more, and not for as much again: there is a lot of it.
fn make_room(column: &mut Vec<u32>) {
    if column.len() == column.capacity() {
        column.reserve_exact((column.len() / 4).max(4));
    }
}

fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;
    use crate::error::ErrorKind;
    use crate::state::Budget;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]))
    }

    fn batch(values: &[i64]) -> RecordBatch {
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
    }

    /// Rows whose value is their time in seconds; the hash of their key is that modulo 3.
    fn insert(buffer: &mut Buffer, values: &[i64]) -> Vec<Place> {
        let times: Vec<Micros> = values.iter().map(|value| value * SECOND).collect();
        let hashes: Vec<u64> = values.iter().map(|value| (value % 3) as u64).collect();
        buffer.insert(&batch(values), &times, &hashes).unwrap()
    }

    fn found(buffer: &Buffer, from: i64, to: i64, hash: u64, committed: bool) -> Vec<i64> {
        let mut places = Vec::new();
        buffer.candidates(from * SECOND, to * SECOND, hash, committed, &mut places);
        let mut values = values(buffer, &places);
        values.sort_unstable();
        values
    }

    fn values(buffer: &Buffer, places: &[Place]) -> Vec<i64> {
        buffer.gather(places).unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    const SECOND: Micros = 1_000_000;

    fn buffer(account: &Arc<Account>) -> Buffer {
        Buffer::new(schema(), 40 * SECOND, account)
    }

    #[test]
    fn rows_are_found_by_hash_and_time_and_an_aborted_epoch_leaves_no_trace() {
        let mut buffer = buffer(&Account::unlimited());
        let mut next = 0;
        insert(&mut buffer, &[1, 4, 7, 22, 100]);
        buffer.commit(Micros::MIN, &mut next).unwrap();
        let bytes = buffer.bytes();
        let places = insert(&mut buffer, &[10, 13, 14]);
        assert_eq!(found(&buffer, 4, 22, 1, false), [4, 7, 10, 13, 22]);
        assert_eq!(found(&buffer, 4, 22, 1, true), [4, 7, 22]);
        assert_eq!(found(&buffer, 0, 99, 2, false), [14]);
        let mut of_four = Vec::new();
        buffer.candidates(4 * SECOND, 4 * SECOND, 1, true, &mut of_four);
        assert!(buffer.set_matched(of_four[0]) && !buffer.set_matched(of_four[0]) && buffer.set_matched(places[1]));
        buffer.abort();
        assert_eq!(found(&buffer, 0, 200, 1, false), [1, 4, 7, 22, 100]);
        assert_eq!(found(&buffer, 0, 200, 2, false), [] as [i64; 0]);
        assert!(!buffer.is_matched(of_four[0]));
        assert_eq!((buffer.rows(), buffer.bytes() <= bytes + 64), (5, true));
    }

    #[test]
    fn rows_keep_their_places_through_merges_and_a_restore() {
        let account = Account::unlimited();
        let mut before = buffer(&account);
        let mut next = 0;
        for value in 0..100 {
            let places = insert(&mut before, &[value % 7]);
            if value % 5 == 0 {
                before.set_matched(places[0]);
            }
            before.commit(Micros::MIN, &mut next).unwrap();
            if value == 30 {
                // From now on there is an order to be kept.
                assert_eq!(before.first_time(3 * SECOND), Some(3 * SECOND));
            }
        }
        let stored = before.stored(&mut next);
        assert!(stored.len() < 20, "{}", stored.len());
        let mut after = buffer(&account);
        for Stored { bucket, segment, is_matches } in stored {
            let batches: Vec<RecordBatch> = segment.rows.batches().map(|batch| batch.unwrap()).collect();
            if is_matches {
                after.restore_matches(bucket, segment.id, &batches).unwrap();
                continue;
            }
            let values = batches[0].column(0).as_primitive::<Int64Type>().values().to_vec();
            let times: Vec<Micros> = values.iter().map(|value| value * SECOND).collect();
            let hashes: Vec<u64> = values.iter().map(|value| (value % 3) as u64).collect();
            after.restore(bucket, segment.id, segment.level, batches[0].clone(), &times, &hashes).unwrap();
        }
        for buffer in [&mut before, &mut after] {
            let unmatched = buffer.unmatched(2 * SECOND, 5 * SECOND);
            let values = values(buffer, &unmatched);
            assert!(values.is_sorted() && values.iter().all(|value| (2..5).contains(value)));
            // Of the values 2, 3 and 4 there are 14 each, of which each fifth has a partner.
            assert_eq!(values.len(), 42 - (0..100).filter(|n| n % 5 == 0 && (2..5).contains(&(n % 7))).count());
            assert_eq!(buffer.first_time(3 * SECOND + 1), Some(4 * SECOND));
            assert_eq!(buffer.last_time(5 * SECOND + 1), Some(5 * SECOND));
        }
        assert_eq!(found(&before, 0, 9, 1, false), found(&after, 0, 9, 1, false));
    }

    #[test]
    fn buckets_go_when_their_last_row_is_done_and_their_bytes_with_them() {
        let budget = Budget::new(1 << 20, None);
        let account = budget.account("query \"v\"");
        let mut buffer = buffer(&account);
        let mut next = 0;
        insert(&mut buffer, &[1, 11, 21]);
        buffer.commit(10 * SECOND - 1, &mut next).unwrap();
        assert_eq!((buffer.buckets(), buffer.bytes()), (3, budget.used()));
        buffer.commit(10 * SECOND, &mut next).unwrap();
        assert_eq!(found(&buffer, 0, 30, 2, false), [11]);
        buffer.commit(Micros::MAX, &mut next).unwrap();
        assert_eq!((buffer.buckets(), buffer.bytes(), budget.used()), (0, 0, 0));
        let many: Vec<i64> = (0..200_000).collect();
        let times = vec![0; many.len()];
        let refused = buffer.insert(&batch(&many), &times, &vec![0; many.len()]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OverBudget);
        assert!(refused.report().starts_with("query \"v\" needs 1600"), "{}", refused.report());
        buffer.abort();
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn texts_are_in_as_many_buffers_as_there_are_segments() {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Utf8View, false)]));
        let mut buffer = Buffer::new(Arc::clone(&schema), 40 * SECOND, &Account::unlimited());
        let mut next = 0;
        for value in 0..100 {
            let text = StringViewArray::from(vec![format!("a text of more than twelve bytes, {value}")]);
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(text)]).unwrap();
            buffer.insert(&batch, &[0], &[value]).unwrap();
            buffer.commit(Micros::MIN, &mut next).unwrap();
        }
        for stored in buffer.stored(&mut next) {
            let rows = stored.segment.rows.batches_in_memory().unwrap()[0].clone();
            assert_eq!(rows.column(0).as_string_view().data_buffers().len(), 1, "{} rows", rows.num_rows());
        }
    }

    // Beside the row's own columns.
    #[test]
    fn a_buffered_row_costs_24_bytes() {
        let mut buffer = buffer(&Account::unlimited());
        let mut next = 0;
        let rows: i64 = 1_000_000;
        let values: Vec<i64> = (0..rows).collect();
        for values in values.chunks(1 << 13) {
            let hashes: Vec<u64> = values.iter().map(|value| spread(*value as u32)).collect();
            buffer.insert(&batch(values), &vec![5; values.len()], &hashes).unwrap();
            buffer.commit(Micros::MIN, &mut next).unwrap();
        }
        let beside = buffer.bytes() - rows as usize * size_of::<i64>();
        assert!(beside <= 24 * rows as usize, "{} bytes a row", beside as f64 / rows as f64);
    }
}
