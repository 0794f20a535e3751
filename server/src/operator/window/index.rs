//! The merged state of single keys, by pane: so that what an epoch has touched is found, merged and replaced without a look at the rest.
//!
//! Keys have numbers, the same in every pane. A pane is a list of batches with a row for each of its keys, and behind it where each
//! key's row is; a row that has been replaced is dead. Batches are put together in tiers, which drops what is dead in them, so one row
//! more costs the logarithm of the pane. All of it is made of what the panes hold and can be made again: it is in no checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::merge::StateMerge;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::state::{Account, Merge, PartReader, Reservation, Rows, batch_of, bytes_of, compact, parts_for};

/// The number of a key.
pub(super) type Key = u32;

/// Keys beyond those that a pane holds before the others are forgotten.
const FORGOTTEN_MIN: usize = if cfg!(test) { 2 } else { 4_096 };

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct KeyIndex {
    keys: Keys,
    /// In how many panes each key has a row.
    holders: Vec<u32>,
    /// Keys that have one in any.
    held_keys: usize,
    panes: BTreeMap<Micros, Pane>,
    /// What the running epoch has replaced, and the batches that each pane had before it.
    replaced: Vec<(Micros, Key, Option<Place>)>,
    before: Vec<(Micros, usize)>,
    /// Memory, and that of the running epoch.
    held: Reservation,
    running: Reservation,
}

/// Where the row of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    part: u32,
    row: u32,
}

#[derive(Debug, Default)]
struct Pane {
    places: HashMap<Key, Place>,
    parts: Vec<Part>,
}

/// Rows, and the key of each.
#[derive(Debug)]
struct Part {
    rows: RecordBatch,
    keys: Vec<Key>,
    bytes: usize,
}

impl KeyIndex {
    /// `schema`: of a segment, `keys` columns and then state.
    pub(super) fn new(schema: &SchemaRef, keys: usize, account: &Arc<Account>) -> Result<Self> {
        Ok(KeyIndex {
            keys: Keys::new(schema, keys)?,
            holders: Vec::new(),
            held_keys: 0,
            panes: BTreeMap::new(),
            replaced: Vec::new(),
            before: Vec::new(),
            held: Reservation::empty(account),
            running: Reservation::empty(account),
        })
    }

    /// Whether it holds no pane.
    pub(super) fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    pub(super) fn has(&self, pane: Micros) -> bool {
        self.panes.contains_key(&pane)
    }

    /// The number of each row's key.
    pub(super) fn keys_of(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Key>> {
        self.keys.numbers(columns, rows)
    }

    /// All keys of a pane, in the order of its rows.
    pub(super) fn all_keys(&self, pane: Micros) -> Vec<Key> {
        self.panes.get(&pane).map_or_else(Vec::new, |pane| pane.live(0).map(|(key, _)| key).collect())
    }

    /// Takes a pane up, with what had been committed of it.
    pub(super) fn build(&mut self, pane: Micros, rows: Vec<Rows>, merge: &StateMerge) -> Result<()> {
        let count = rows.iter().map(Rows::num_rows).sum();
        let parts = if merge.keys() == 0 { 1 } else { parts_for(count) };
        let mut readers: Vec<PartReader> =
            rows.into_iter().map(|rows| PartReader::new(rows, merge.keys(), parts)).collect();
        self.panes.insert(pane, Pane::default());
        for part in 0..parts {
            let mut rows = Vec::new();
            readers.iter_mut().try_for_each(|reader| reader.read(part, &mut rows))?;
            if !rows.is_empty() {
                self.put(pane, merge.merge(&rows)?, false)?;
            }
        }
        Ok(())
    }

    /// Merges what the running epoch has brought for a pane with what its keys had. Returns these keys.
    pub(super) fn take_in(&mut self, pane: Micros, batches: &[RecordBatch], merge: &StateMerge) -> Result<Vec<Key>> {
        let mut touched = Vec::new();
        for batch in batches {
            touched.extend(self.keys.numbers(&batch.columns()[..merge.keys()], batch.num_rows())?);
        }
        touched.sort_unstable();
        touched.dedup();
        let known = self.rows(pane, &touched)?;
        let merged = match (known, batches) {
            (None, [only]) if only.num_rows() == touched.len() => only.clone(),
            (known, batches) => merge.merge(&known.iter().chain(batches).cloned().collect::<Vec<_>>())?,
        };
        self.put(pane, merged, true)?;
        Ok(touched)
    }

    /// The rows of some keys in a pane, a row for each that has one; `None` where none has.
    pub(super) fn rows(&self, pane: Micros, keys: &[Key]) -> Result<Option<RecordBatch>> {
        let Some(pane) = self.panes.get(&pane) else { return Ok(None) };
        let places: Vec<(usize, usize)> =
            keys.iter().filter_map(|key| pane.places.get(key)).map(|at| (at.part as usize, at.row as usize)).collect();
        if places.is_empty() {
            return Ok(None);
        }
        gathered(pane.parts.iter().map(|part| &part.rows), &places).map(Some)
    }

    /// Makes the running epoch part of the index, and forgets the panes up to and including `done_through`. The keys that have got
    /// another number come back, as pairs of old and new.
    pub(super) fn commit(&mut self, done_through: Micros) -> Result<Option<HashMap<Key, Key>>> {
        self.replaced.clear();
        while let Some(entry) = self.panes.first_entry() {
            if *entry.key() > done_through {
                break;
            }
            let done = entry.remove();
            for key in done.places.keys() {
                release(&mut self.holders, &mut self.held_keys, *key);
            }
        }
        for (pane, _) in std::mem::take(&mut self.before) {
            if let Some(pane) = self.panes.get_mut(&pane) {
                pane.compact()?;
            }
        }
        let renumbered = match self.keys.len() > 2 * self.held_keys + FORGOTTEN_MIN {
            true => Some(self.renumber()?),
            false => None,
        };
        self.running.release();
        self.held.release();
        self.held.count(self.bytes());
        Ok(renumbered)
    }

    /// Forgets the running epoch.
    pub(super) fn abort(&mut self) {
        while let Some((pane, key, before)) = self.replaced.pop() {
            let Some(pane) = self.panes.get_mut(&pane) else { continue };
            match before {
                Some(place) => _ = pane.places.insert(key, place),
                None => {
                    pane.places.remove(&key);
                    release(&mut self.holders, &mut self.held_keys, key);
                }
            }
        }
        for (pane, parts) in self.before.drain(..).rev() {
            if let Some(pane) = self.panes.get_mut(&pane) {
                pane.parts.truncate(parts);
            }
        }
        self.running.release();
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let panes: usize = self.panes.values().map(Pane::bytes).sum();
        panes + self.keys.bytes() + self.holders.capacity() * size_of::<u32>()
    }

    /// A row for each key, in the place of what they had. `undone`: abort undoes it.
    fn put(&mut self, at: Micros, rows: RecordBatch, undone: bool) -> Result<()> {
        let keys = self.keys.numbers(&rows.columns()[..self.keys.columns()], rows.num_rows())?;
        let part = Part::new(rows, keys)?;
        self.running.reserve(part.bytes + part.keys.len() * PLACE_BYTES, "early results")?;
        self.holders.resize(self.keys.len(), 0);
        let pane = self.panes.entry(at).or_default();
        if undone {
            self.before.push((at, pane.parts.len()));
        }
        for (row, key) in (0_u32..).zip(&part.keys) {
            let before = pane.places.insert(*key, Place { part: pane.parts.len() as u32, row });
            if before.is_none() {
                let holders = &mut self.holders[*key as usize];
                self.held_keys += usize::from(*holders == 0);
                *holders += 1;
            }
            if undone {
                self.replaced.push((at, *key, before));
            }
        }
        pane.parts.push(part);
        Ok(())
    }

    /// Numbers the keys anew that a pane holds, and forgets all others.
    fn renumber(&mut self) -> Result<HashMap<Key, Key>> {
        let mut renumbered = HashMap::with_capacity(self.held_keys);
        let mut keys = self.keys.fresh()?;
        self.holders.clear();
        for pane in self.panes.values_mut() {
            pane.put_together(0)?;
            pane.places.clear();
            for (at, part) in (0_u32..).zip(&mut pane.parts) {
                let numbers = keys.numbers(&part.rows.columns()[..keys.columns()], part.rows.num_rows())?;
                self.holders.resize(keys.len(), 0);
                for (row, (old, new)) in (0_u32..).zip(part.keys.iter().zip(&numbers)) {
                    renumbered.insert(*old, *new);
                    self.holders[*new as usize] += 1;
                    pane.places.insert(*new, Place { part: at, row });
                }
                part.keys = numbers;
            }
        }
        self.held_keys = keys.len();
        self.keys = keys;
        Ok(renumbered)
    }
}

/// Dead rows of a pane that cost less than dropping them.
const DEAD_MIN: usize = 64;

/// Bytes that a part may keep for nothing.
const COPIED_FROM: usize = 16 * 1024;

/// A key has a row less.
fn release(holders: &mut [u32], held_keys: &mut usize, key: Key) {
    let holders = &mut holders[key as usize];
    *holders -= 1;
    *held_keys -= usize::from(*holders == 0);
}

/// Of an entry in the map of places, about: key, place and the room that a map keeps.
const PLACE_BYTES: usize = 20;

impl Pane {
    /// Keys with the places of their rows, in the order of these, from a part on.
    fn live(&self, first: usize) -> impl Iterator<Item = (Key, Place)> + '_ {
        let parts = self.parts.iter().enumerate().skip(first);
        parts.flat_map(move |(part, rows)| {
            let places = (0_u32..).zip(&rows.keys).map(move |(row, key)| (*key, Place { part: part as u32, row }));
            places.filter(|(key, place)| self.places.get(key) == Some(place))
        })
    }

    /// Each part has more than twice the rows of the one behind it, and not much more than half of all are dead.
    fn compact(&mut self) -> Result<()> {
        let rows = |part: &Part| part.keys.len();
        let total: usize = self.parts.iter().map(rows).sum();
        let mut first = self.parts.len().saturating_sub(1);
        let mut together = self.parts.last().map_or(0, rows);
        while first > 0 && rows(&self.parts[first - 1]) <= 2 * together {
            first -= 1;
            together += rows(&self.parts[first]);
        }
        let dead = total > 2 * self.places.len() + DEAD_MIN;
        if dead {
            first = 0;
        }
        if dead || first + 1 < self.parts.len() {
            self.put_together(first)?;
        }
        Ok(())
    }

    /// The parts from `first` on as one, without what is dead.
    fn put_together(&mut self, first: usize) -> Result<()> {
        let live: Vec<(Key, Place)> = self.live(first).collect();
        if live.is_empty() {
            self.parts.truncate(first);
            return Ok(());
        }
        let positions: Vec<(usize, usize)> =
            live.iter().map(|(_, place)| (place.part as usize - first, place.row as usize)).collect();
        let rows = gathered(self.parts[first..].iter().map(|part| &part.rows), &positions)?;
        self.parts.truncate(first);
        for (row, (key, _)) in (0_u32..).zip(&live) {
            self.places.insert(*key, Place { part: first as u32, row });
        }
        self.parts.push(Part::new(rows, live.into_iter().map(|(key, _)| key).collect())?);
        Ok(())
    }

    fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.bytes + part.keys.capacity() * size_of::<Key>()).sum();
        parts + self.places.capacity() * PLACE_BYTES
    }
}

impl Part {
    fn new(rows: RecordBatch, keys: Vec<Key>) -> Result<Self> {
        // What it is a part of may be much larger, and is not kept for it.
        let mut rows = compact(&rows)?;
        if rows.get_array_memory_size() > 2 * bytes_of(&rows) + COPIED_FROM {
            rows = take_record_batch(&rows, &UInt32Array::from_iter_values((0_u32..).take(rows.num_rows())))?;
        }
        let bytes = rows.get_array_memory_size();
        Ok(Part { rows, keys, bytes })
    }
}

/// Rows of several batches; also where they have no columns, and only their number counts.
fn gathered<'a>(batches: impl Iterator<Item = &'a RecordBatch>, rows: &[(usize, usize)]) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = batches.collect();
    let Some(first) = batches.first() else { return Err(Error::bug("rows of no batch")) };
    match first.num_columns() {
        0 => Ok(batch_of(first.schema(), vec![], rows.len())?),
        _ => Ok(interleave_record_batch(&batches, rows)?),
    }
}

/// Numbers keys as DataFusion groups by them.
struct Keys {
    schema: SchemaRef,
    /// `None`: there are no columns, and one key.
    values: Option<Box<dyn GroupValues>>,
    numbers: Vec<usize>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.len())
    }
}

impl Keys {
    fn new(schema: &SchemaRef, columns: usize) -> Result<Self> {
        let schema = Arc::new(Schema::new(schema.fields().iter().take(columns).cloned().collect::<Vec<_>>()));
        let values = match columns {
            0 => None,
            _ => Some(new_group_values(Arc::clone(&schema), &GroupOrdering::None)?),
        };
        Ok(Keys { schema, values, numbers: Vec::new() })
    }

    fn fresh(&self) -> Result<Self> {
        Keys::new(&self.schema, self.columns())
    }

    fn columns(&self) -> usize {
        self.schema.fields().len()
    }

    fn numbers(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Key>> {
        let Some(values) = &mut self.values else { return Ok(vec![0; rows]) };
        values.intern(columns, &mut self.numbers)?;
        let number = |number: &usize| Key::try_from(*number).map_err(|_| Error::bug("over 2^32 keys of open windows"));
        self.numbers.iter().map(number).collect()
    }

    fn len(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }

    fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size())
    }
}

#[cfg(test)]
mod tests;
