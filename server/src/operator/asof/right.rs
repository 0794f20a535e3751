//! The right side: which of its rows is the nearest to one of the left, and when a row of it can be that no more.
//!
//! What reads input that ends uses the first half alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::definition::Shape;
use super::store::Store;
use super::versions::{Ticks, Versions};
use crate::error::Result;
use crate::operator::epoch_cell::PLACE;
use crate::operator::keys::{columns, hash};
use crate::sql::Direction;
use crate::state::{Account, Reservation, Segment, batch_of};

/// The last column of the rows: where each was read, as far as that is known. It says which of two rows of one time is the later to arrive.
const PLACE_READ: &str = "__place";

/// Entries beside two for each row before [`Right::expiry`] is made anew.
const SPARE: usize = 1024;

/// The rows of the right side as they are kept.
pub(super) fn with_place(schema: &Schema) -> SchemaRef {
    let place = Arc::new(Field::new(PLACE_READ, PLACE, true));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([place]).collect();
    Arc::new(Schema::new(fields))
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Right {
    schema: SchemaRef,
    shape: Shape,
    store: Store,
    versions: Versions,
    /// When rows can be the nearest to none any more, for the times that the left still seeks: the earliest first. Another row may have come
    /// between since, so the row itself is asked then.
    expiry: BinaryHeap<Reverse<(Ticks, u32)>>,
    account: Arc<Account>,
    /// For what is kept beside the rows.
    index: Reservation,
}

impl Right {
    /// `schema`: that of [`with_place`].
    pub(super) fn new(schema: SchemaRef, shape: &Shape, account: &Arc<Account>) -> Self {
        Right {
            store: Store::new(Arc::clone(&schema), account),
            versions: Versions::new(shape.sides[1].keys.clone()),
            expiry: BinaryHeap::new(),
            schema,
            shape: shape.clone(),
            account: Arc::clone(account),
            index: Reservation::empty(account),
        }
    }

    /// Adds rows for this epoch, all of which have a time and a key. [`Right::put_in_order`] is to be called before any is looked for.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them.
    pub(super) fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let (times, keys, hashes) = read(&self.shape, 1, &batch)?;
        let numbers = self.store.insert(batch)?;
        self.versions.add(&numbers, &times, &keys, &hashes, &self.store)
    }

    pub(super) fn put_in_order(&mut self) {
        self.versions.put_in_order(&self.store);
    }

    /// Rows of the left side, each beside the nearest of the right. They have a time and a key.
    pub(super) fn joined(&self, left: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let shape = &self.shape;
        let (times, keys, hashes) = read(shape, 0, left)?;
        let sought: Vec<Ticks> = times.into_iter().map(|time| shape.sought(time)).collect();
        let mut found = self.versions.nearest(&sought, &keys, &hashes, &shape.matching, &self.store)?;
        if let Some(tolerance) = shape.tolerance().and_then(|tolerance| u64::try_from(tolerance).ok()) {
            for (found, sought) in found.iter_mut().zip(&sought) {
                *found = found.filter(|row| self.versions.time(*row).abs_diff(*sought) <= tolerance);
            }
        }
        let partners: Vec<u32> = found.iter().flatten().copied().collect();
        let mut of_left = left.columns()[..shape.sides[0].shown].to_vec();
        let mut of_right = self.store.columns(0..shape.sides[1].shown, &partners)?;
        let mut rows = found.len();
        if partners.len() < rows && shape.is_outer {
            let mut next = 0_u32..;
            let places: UInt32Array = found.iter().map(|found| found.and_then(|_| next.next())).collect();
            of_right = of_right.iter().map(|column| take(column, &places, None)).collect::<Result<_, _>>()?;
        } else if partners.len() < rows {
            let have: BooleanArray = found.iter().map(|found| Some(found.is_some())).collect();
            of_left = of_left.iter().map(|column| filter(column, &have)).collect::<Result<_, _>>()?;
            rows = partners.len();
        }
        Ok(batch_of(Arc::clone(schema), [of_left, of_right].concat(), rows)?)
    }

    /// From which time that the left seeks on a row can be the nearest no more; `None`: as long as no other comes.
    fn expires(&self, row: u32) -> Option<Ticks> {
        let (time, matching) = (self.versions.time(row), &self.shape.matching);
        let next = self.versions.beside(row, &self.store).1.map(|next| self.versions.time(next));
        if next == Some(time) {
            return Some(Ticks::MIN);
        }
        match matching.direction {
            Direction::Forward => Some(time.saturating_add(i64::from(!matching.is_strict))),
            Direction::Backward => {
                let followed = next.map(|next| next.saturating_add(i64::from(matching.is_strict)));
                let too_far = self.shape.tolerance().map(|by| time.saturating_add(by).saturating_add(1));
                followed.into_iter().chain(too_far).min()
            }
        }
    }

    /// Looks at a row again when it can go, and at the one before it, which it may follow.
    fn watch(&mut self, row: u32) {
        for row in [Some(row), self.versions.beside(row, &self.store).0].into_iter().flatten() {
            self.expiry.extend(self.expires(row).map(|at| Reverse((at, row))));
        }
    }

    /// Makes the epoch's rows part of the state, and gives up those that are the nearest to no row whose time is sought from `least` on.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for them.
    pub(super) fn commit(&mut self, least: Ticks, next_segment: &mut u64) -> Result<()> {
        if least == Ticks::MAX {
            *self = Right::new(Arc::clone(&self.schema), &self.shape, &self.account);
            return Ok(());
        }
        self.store.new_numbers().into_iter().for_each(|row| self.watch(row));
        let mut gone = Vec::new();
        while let Some(Reverse((_, row))) = self.expiry.peek().copied().filter(|Reverse((at, _))| *at <= least) {
            self.expiry.pop();
            if !self.store.is_kept(row) {
                continue;
            }
            match self.expires(row) {
                Some(now) if now <= least => gone.push(row),
                later => self.expiry.extend(later.map(|later| Reverse((later, row)))),
            }
        }
        gone.sort_unstable();
        gone.dedup();
        self.versions.remove(&gone);
        self.store.give_up(&gone);
        let committed = self.store.commit(next_segment);
        if self.store.kept_count() == 0 {
            // Not even the room is kept that an index of nothing takes.
            *self = Right::new(Arc::clone(&self.schema), &self.shape, &self.account);
            return committed;
        }
        self.forget_gone();
        self.count_index();
        committed
    }

    /// A row that is soon followed goes soon, and leaves an entry behind that is as old as the tolerance; by then its number is another row's.
    /// So there are never many more entries than rows.
    fn forget_gone(&mut self) {
        if self.expiry.len() <= 2 * self.store.kept_count() + SPARE {
            return;
        }
        let entries = self.store.kept().filter_map(|row| Some(Reverse((self.expires(row)?, row))));
        let expiry: BinaryHeap<_> = entries.collect();
        self.expiry = expiry;
    }

    /// Forgets what the epoch did.
    pub(super) fn abort(&mut self) {
        self.versions.undo(&self.store.new_numbers());
        self.store.abort();
        self.count_index();
    }

    /// Puts a segment back.
    ///
    /// # Errors
    /// `OverBudget` where there is no room for it.
    pub(super) fn restore(&mut self, id: u64, level: u8, batch: RecordBatch) -> Result<()> {
        let (times, keys, hashes) = read(&self.shape, 1, &batch)?;
        let numbers = self.store.restore(id, level, batch)?;
        self.versions.add(&numbers, &times, &keys, &hashes, &self.store)?;
        self.put_in_order();
        numbers.into_iter().for_each(|row| self.watch(row));
        self.count_index();
        Ok(())
    }

    /// Everything committed.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.store.segments()
    }

    /// Bytes of what is kept beside the rows.
    pub(super) fn index_bytes(&self) -> usize {
        self.versions.bytes() + self.expiry.capacity() * size_of::<Reverse<(Ticks, u32)>>()
    }

    /// What is there is counted, whatever the limit says: it is little beside the rows, for which there was room.
    fn count_index(&mut self) {
        self.index.release();
        self.index.count(self.index_bytes());
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.store.bytes() + self.index.bytes()
    }
}

/// Times, keys and the keys' hashes of a side's rows.
fn read(shape: &Shape, side: usize, batch: &RecordBatch) -> Result<(Vec<Ticks>, Vec<ArrayRef>, Vec<u64>)> {
    let keys = columns(&shape.sides[side].keys, batch);
    let hashes = hash(&keys, batch.num_rows())?;
    Ok((shape.times(side, batch)?, keys, hashes))
}
