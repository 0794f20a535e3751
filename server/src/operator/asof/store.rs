//! Rows that are kept until they are given up one by one. Each has a number as long as it is kept, wherever it lies.
//!
//! They lie in segments, which never change. Of as many segments of about one size a larger one is made, and of one of which more than half
//! has been given up a smaller one, both without the rows that are gone. So a row is written a few times at most, and what an epoch costs
//! does not depend on how many rows there are.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator, new_empty_array};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::{Decimal128Type, SchemaRef};

use crate::error::{Error, Result};
use crate::operator::rows::{held, looked_up};
use crate::state::{Account, Reservation, Segment, batch_of};

/// Segments of one size before they are merged, and how many times larger the next size is.
const FAN_IN: usize = 8;

/// No number, no part.
const NONE: u32 = u32::MAX;

/// What the rows are called in a refusal.
const WHAT: &str = "the rows of a join";

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Store {
    schema: SchemaRef,
    /// Segments, and batches of the running epoch.
    parts: Vec<Option<Part>>,
    free_parts: Vec<u32>,
    /// The parts of the running epoch.
    new: Vec<u32>,
    /// Where each row is, by its number.
    places: Vec<Place>,
    free: Vec<u32>,
    account: Arc<Account>,
    /// For the rows of the running epoch.
    counted: Reservation,
    /// For all but the rows.
    index: Reservation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    part: u32,
    row: u32,
}

#[derive(Debug)]
struct Part {
    batch: RecordBatch,
    /// The same rows as a checkpoint has them; `None` in the running epoch.
    segment: Option<Segment>,
    /// The number of each row. One that has been given up may be another row's by now.
    numbers: Vec<u32>,
    /// Rows that are kept.
    live: usize,
}

impl Store {
    pub(super) fn new(schema: SchemaRef, account: &Arc<Account>) -> Self {
        Store {
            schema,
            parts: Vec::new(),
            free_parts: Vec::new(),
            new: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
            account: Arc::clone(account),
            counted: Reservation::empty(account),
            index: Reservation::empty(account),
        }
    }

    /// Adds rows for this epoch until [`Store::commit`]; returns their numbers.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them.
    pub(super) fn insert(&mut self, batch: RecordBatch) -> Result<Vec<u32>> {
        let (batch, bytes) = looked_up(batch)?;
        self.refuse_too_many(batch.num_rows())?;
        self.counted.reserve(bytes, WHAT)?;
        let (part, numbers) = self.add(batch, None);
        self.new.push(part);
        Ok(numbers)
    }

    /// Puts a segment back.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for it.
    pub(super) fn restore(&mut self, id: u64, level: u8, batch: RecordBatch) -> Result<Vec<u32>> {
        self.refuse_too_many(batch.num_rows())?;
        let (batch, rows) = held(batch, &self.account, WHAT)?;
        let (_, numbers) = self.add(batch, Some(Segment { id, level, rows, home: None }));
        self.count_index();
        Ok(numbers)
    }

    fn refuse_too_many(&self, more: usize) -> Result<()> {
        match self.places.len().saturating_add(more) < NONE as usize {
            true => Ok(()),
            false => Err(Error::over_budget("a join holds over 2^32 rows")),
        }
    }

    fn add(&mut self, batch: RecordBatch, segment: Option<Segment>) -> (u32, Vec<u32>) {
        let part = self.part_number();
        let numbers: Vec<u32> = (0..batch.num_rows() as u32).map(|row| self.number(Place { part, row })).collect();
        let live = numbers.len();
        self.parts[part as usize] = Some(Part { batch, segment, numbers: numbers.clone(), live });
        (part, numbers)
    }

    fn part_number(&mut self) -> u32 {
        self.free_parts.pop().unwrap_or_else(|| {
            self.parts.push(None);
            self.parts.len() as u32 - 1
        })
    }

    fn number(&mut self, place: Place) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.places[number as usize] = place;
                number
            }
            None => {
                self.places.push(place);
                self.places.len() as u32 - 1
            }
        }
    }

    pub(super) fn is_kept(&self, number: u32) -> bool {
        self.places.get(number as usize).is_some_and(|place| place.part != NONE)
    }

    /// The numbers of all rows that are kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).zip(&self.places).filter(|(_, place)| place.part != NONE).map(|(number, _)| number)
    }

    /// How many rows are kept.
    pub(super) fn kept_count(&self) -> usize {
        self.places.len().saturating_sub(self.free.len())
    }

    fn part(&self, part: u32) -> Option<&Part> {
        self.parts.get(part as usize)?.as_ref()
    }

    fn at(&self, number: u32) -> Result<(&Part, Place)> {
        let place = self.places.get(number as usize).copied();
        let found = place.and_then(|place| Some((self.part(place.part)?, place)));
        found.ok_or_else(|| Error::bug(format!("a join has no row {number}")))
    }

    /// Some columns of some rows, in the order of the numbers.
    pub(super) fn columns(&self, which: impl Iterator<Item = usize>, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut parts: Vec<&RecordBatch> = Vec::new();
        let mut known = vec![NONE; self.parts.len()];
        let mut rows = Vec::with_capacity(numbers.len());
        for number in numbers {
            let (part, place) = self.at(*number)?;
            let at = &mut known[place.part as usize];
            if *at == NONE {
                *at = parts.len() as u32;
                parts.push(&part.batch);
            }
            rows.push((*at as usize, place.row as usize));
        }
        let column = |at: usize| {
            if parts.is_empty() {
                return Ok(new_empty_array(self.schema.field(at).data_type()));
            }
            let values: Vec<&dyn Array> = parts.iter().map(|batch| batch.column(at).as_ref()).collect();
            Ok(interleave(&values, &rows)?)
        };
        which.map(column).collect()
    }

    /// Whole rows, in the order of the numbers.
    pub(super) fn rows(&self, numbers: &[u32]) -> Result<RecordBatch> {
        let columns = self.columns(0..self.schema.fields().len(), numbers)?;
        Ok(batch_of(Arc::clone(&self.schema), columns, numbers.len())?)
    }

    /// Which of two rows that came at one time is the later to arrive: by the last column, which says where rows were read, and where that
    /// does not, by the values of all.
    pub(super) fn compare(&self, one: u32, other: u32) -> Ordering {
        let (Ok((left, at)), Ok((right, of))) = (self.at(one), self.at(other)) else { return Ordering::Equal };
        let (left, right) = (left.batch.columns(), right.batch.columns());
        let (at, of) = (at.row as usize, of.row as usize);
        let place = |columns: &[ArrayRef], row: usize| {
            let places = columns.last()?.as_primitive_opt::<Decimal128Type>()?;
            places.is_valid(row).then(|| places.value(row))
        };
        let by_value = || {
            let mut columns = left.iter().zip(right).filter_map(|(left, right)| {
                // What has no order tells nothing apart.
                let compare = make_comparator(left, right, SortOptions::default()).ok()?;
                Some(compare(at, of))
            });
            columns.find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
        };
        place(left, at).cmp(&place(right, of)).then_with(by_value)
    }

    /// The numbers of the running epoch's rows.
    pub(super) fn new_numbers(&self) -> Vec<u32> {
        self.new.iter().filter_map(|part| self.part(*part)).flat_map(|part| part.numbers.iter().copied()).collect()
    }

    /// Gives rows up. Each may be named once.
    pub(super) fn give_up(&mut self, numbers: &[u32]) {
        for number in numbers {
            let Some(place) = self.places.get_mut(*number as usize) else { continue };
            if let Some(Some(part)) = self.parts.get_mut(place.part as usize) {
                part.live -= 1;
                place.part = NONE;
                self.free.push(*number);
            }
        }
    }

    /// Makes the epoch's rows part of the state.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them.
    pub(super) fn commit(&mut self, next_segment: &mut u64) -> Result<()> {
        self.counted.release();
        let new = std::mem::take(&mut self.new);
        if !new.is_empty() {
            self.merge(&new, next_segment)?;
        }
        while let Some(parts) = self.to_merge() {
            self.merge(&parts, next_segment)?;
        }
        if self.parts.iter().all(Option::is_none) {
            (self.parts, self.free_parts, self.places, self.free) = (vec![], vec![], vec![], vec![]);
        }
        self.count_index();
        Ok(())
    }

    /// Forgets the epoch's rows.
    pub(super) fn abort(&mut self) {
        for part in std::mem::take(&mut self.new) {
            self.remove(part);
        }
        self.counted.release();
        // An epoch that had no room does not leave room for its numbers behind.
        let kept = self.places.iter().rposition(|place| place.part != NONE).map_or(0, |last| last + 1);
        self.places.truncate(kept);
        self.places.shrink_to_fit();
        self.free.retain(|number| (*number as usize) < kept);
        self.free.shrink_to_fit();
        self.count_index();
    }

    /// Forgets a part with the rows that are left in it.
    fn remove(&mut self, part: u32) {
        let Some(removed) = self.parts[part as usize].take() else { return };
        for (number, row) in removed.numbers.into_iter().zip(0..) {
            // Of a row that has gone before, the number can be another's, or none any more.
            if let Some(place) = self.places.get_mut(number as usize).filter(|place| **place == Place { part, row }) {
                place.part = NONE;
                self.free.push(number);
            }
        }
        self.free_parts.push(part);
    }

    /// Segments that are to become one.
    fn to_merge(&self) -> Option<Vec<u32>> {
        let mut sizes: [Vec<u32>; usize::BITS as usize] = [const { Vec::new() }; usize::BITS as usize];
        for (number, part) in (0_u32..).zip(&self.parts) {
            let Some(part) = part else { continue };
            if part.live * 2 < part.numbers.len() {
                return Some(vec![number]);
            }
            sizes[usize::from(size(part.live))].push(number);
        }
        sizes.into_iter().find(|parts| parts.len() >= FAN_IN)
    }

    /// Makes one segment of the rows that are left in some parts, in their order.
    fn merge(&mut self, parts: &[u32], next_segment: &mut u64) -> Result<()> {
        let left: Vec<u32> = parts.iter().flat_map(|part| self.left_in(*part)).collect();
        if !left.is_empty() {
            let batch = match parts {
                [only] if self.part(*only).is_some_and(|part| part.live == part.numbers.len()) => {
                    self.part(*only).map(|part| part.batch.clone())
                }
                _ => None,
            };
            let batch = batch.map_or_else(|| self.rows(&left), Ok)?;
            let (batch, rows) = held(batch, &self.account, WHAT)?;
            let (id, level) = (*next_segment, size(left.len()));
            *next_segment += 1;
            let part = self.part_number();
            for (number, row) in left.iter().zip(0..) {
                self.places[*number as usize] = Place { part, row };
            }
            let (live, segment) = (left.len(), Segment { id, level, rows, home: None });
            self.parts[part as usize] = Some(Part { batch, segment: Some(segment), numbers: left, live });
        }
        parts.iter().for_each(|part| self.remove(*part));
        Ok(())
    }

    fn left_in(&self, part: u32) -> Vec<u32> {
        let numbers = self.part(part).map_or(&[][..], |part| part.numbers.as_slice());
        let is_left =
            |(number, row): &(&u32, u32)| self.places.get(**number as usize) == Some(&Place { part, row: *row });
        numbers.iter().zip(0..).filter(is_left).map(|(number, _)| *number).collect()
    }

    /// Everything committed.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.parts.iter().flatten().filter_map(|part| part.segment.clone())
    }

    /// What is there is counted, whatever the limit says: it is little beside the rows, for which there was room.
    fn count_index(&mut self) {
        let numbers: usize = self.parts.iter().flatten().map(|part| part.numbers.capacity()).sum();
        let words = numbers + self.free.capacity() + 2 * self.places.capacity();
        self.index.release();
        self.index.count(words * size_of::<u32>());
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let segments = self.segments().map(|segment| segment.rows.bytes()).sum::<usize>();
        segments + self.counted.bytes() + self.index.bytes()
    }
}

/// By which segments are put together.
fn size(rows: usize) -> u8 {
    rows.max(1).ilog(FAN_IN) as u8
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;
    use crate::error::ErrorKind;
    use crate::state::Budget;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("v", DataType::Int64, false),
            Field::new("text", DataType::Utf8View, false),
        ]))
    }

    fn batch(values: &[i64]) -> RecordBatch {
        let texts: StringViewArray =
            values.iter().map(|value| Some(format!("a text of more than twelve bytes, {value}"))).collect();
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(values.to_vec())), Arc::new(texts)]).unwrap()
    }

    fn values(store: &Store, numbers: &[u32]) -> Vec<i64> {
        store.rows(numbers).unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_keep_their_numbers_through_merges_and_a_row_that_is_given_up_leaves_its_number() {
        let mut store = Store::new(schema(), &Account::unlimited());
        let (mut next, mut kept) = (0, Vec::new());
        for value in 0..500 {
            kept.push((value, store.insert(batch(&[value])).unwrap()[0]));
            if value % 3 == 0 {
                // One that was there before, in the order of no segment.
                let (_, number) = kept.remove(kept.len() / 2);
                store.give_up(&[number]);
            }
            store.commit(&mut next).unwrap();
        }
        let numbers: Vec<u32> = kept.iter().map(|(_, number)| *number).collect();
        assert_eq!(values(&store, &numbers), kept.iter().map(|(value, _)| *value).collect::<Vec<_>>());
        let segments: Vec<Segment> = store.segments().collect();
        let rows: usize = segments.iter().map(|segment| segment.rows.num_rows()).sum();
        assert!(segments.len() <= 4 * FAN_IN && rows <= 2 * kept.len(), "{} segments of {rows} rows", segments.len());
        for segment in segments {
            let rows = segment.rows.batches_in_memory().unwrap()[0].clone();
            assert!(rows.column(1).as_string_view().data_buffers().len() <= 1);
        }
        assert!(store.places.len() <= kept.len() + 2, "numbers are used again");
    }

    #[test]
    fn an_epoch_of_one_row_writes_a_few_rows_however_many_there_are() {
        let mut store = Store::new(schema(), &Account::unlimited());
        let many: Vec<i64> = (0..100_000).collect();
        let mut next = 0;
        store.insert(batch(&many)).unwrap();
        store.commit(&mut next).unwrap();
        let (mut written, mut seen) = (0, store.segments().map(|segment| segment.id).collect::<Vec<_>>());
        for value in 0..1_000 {
            store.insert(batch(&[value])).unwrap();
            store.commit(&mut next).unwrap();
            for segment in store.segments().filter(|segment| !seen.contains(&segment.id)).collect::<Vec<_>>() {
                written += segment.rows.num_rows();
                seen.push(segment.id);
            }
        }
        // Each row once for itself, and once for each size that it has grown into.
        assert!(written < 1_000 * 5, "{written} rows were written");
    }

    #[test]
    fn what_an_aborted_epoch_brought_is_gone_with_its_bytes() {
        let budget = Budget::new(1 << 20, None);
        let mut store = Store::new(schema(), &budget.account("query \"v\""));
        let mut next = 0;
        let first = store.insert(batch(&[1, 2, 3])).unwrap();
        store.commit(&mut next).unwrap();
        let bytes = store.bytes();
        store.insert(batch(&[4, 5])).unwrap();
        assert_eq!(store.new_numbers().len(), 2);
        assert_eq!((store.bytes() > bytes, store.bytes()), (true, budget.used()));
        store.abort();
        assert_eq!((values(&store, &first), store.new_numbers().len()), (vec![1, 2, 3], 0));
        assert!(store.bytes() <= bytes + 64);
        let refused = store.insert(batch(&(0..100_000).collect::<Vec<_>>())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OverBudget);
        assert!(refused.report().starts_with("query \"v\" needs "), "{}", refused.report());
        store.give_up(&first);
        store.commit(&mut next).unwrap();
        assert_eq!(store.segments().count(), 0);
        drop(store);
        assert_eq!(budget.used(), 0);
    }
}
