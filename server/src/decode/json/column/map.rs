//! A column of maps: objects whose names are values.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, MapArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};

use super::super::fault::{Fault, quote};
use super::super::scan::{Cursor, unescape_into};
use super::{Column, JsonColumn, Values, last, taken_offsets};
use crate::error::{Error, Result};

/// Names of an object that are compared each with each; those of larger ones are sorted.
const COMPARED_MAX: usize = 8;

pub(super) struct Map {
    pub(super) keys: Column,
    pub(super) values: Column,
    entries: FieldRef,
    /// One more than there are maps.
    pub(super) offsets: Vec<i32>,
    /// What an entry counts for: see `scan::LIST_CELLS_MAX`.
    cells: usize,
    /// Of the object at hand: its entries, and their names one behind the other.
    found: Vec<Entry>,
    names: Vec<u8>,
    /// Room to sort entries in.
    order: Vec<usize>,
}

struct Entry {
    name: Range<usize>,
    value_at: usize,
    /// Whether it is the last one of its name.
    counts: bool,
}

/// The parts of a map's entries whose keys are texts; `None` of any other.
pub(super) fn key_and_value(entries: &Field) -> Option<(&Field, &Field)> {
    let DataType::Struct(fields) = entries.data_type() else { return None };
    let [key, value] = fields.as_ref() else { return None };
    let is_text = matches!(key.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    is_text.then_some((key.as_ref(), value.as_ref()))
}

impl Map {
    /// # Errors
    /// `Invalid` for values of a type that is not decoded.
    pub(super) fn try_new(entries: &FieldRef, key: &Field, value: &JsonColumn) -> Result<Self> {
        let values = Column::try_new(value)?;
        Ok(Map {
            keys: Column::try_new(&key.clone().into())?,
            cells: 1 + values.cells(),
            values,
            entries: Arc::clone(entries),
            offsets: vec![0],
            found: Vec::new(),
            names: Vec::new(),
            order: Vec::new(),
        })
    }

    /// Reads the object at hand. Of a name that occurs twice the last one counts.
    pub(super) fn append(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        self.found.clear();
        self.names.clear();
        cursor.enter()?;
        cursor.skip_space();
        if cursor.peek() == b'}' {
            cursor.pos += 1;
        } else {
            loop {
                cursor.charge(self.cells)?;
                let key = cursor.key()?;
                let (start, raw) = (self.names.len(), &cursor.bytes[key.start..key.end]);
                match key.escaped {
                    true => unescape_into(raw, &mut self.names),
                    false => self.names.extend_from_slice(raw),
                }
                self.found.push(Entry { name: start..self.names.len(), value_at: cursor.pos, counts: true });
                cursor.skip_value()?;
                if !cursor.more(b'}')? {
                    break;
                }
            }
        }
        self.leave_doubles_out();
        let end = cursor.pos;
        let Map { keys, values, found, names, .. } = self;
        for entry in found.iter().filter(|entry| entry.counts) {
            let name = &names[entry.name.clone()];
            cursor.pos = entry.value_at;
            values.append(cursor).map_err(|fault| fault.in_field(&quote(name)))?;
            keys.append_key(name)?;
        }
        cursor.pos = end;
        cursor.leave();
        self.end_map()
    }

    /// Marks all but the last entry of each name.
    fn leave_doubles_out(&mut self) {
        let (found, names, order) = (&mut self.found, self.names.as_slice(), &mut self.order);
        if found.len() <= COMPARED_MAX {
            for at in 0..found.len() {
                let name = &names[found[at].name.clone()];
                let again = found[at + 1..].iter().any(|later| &names[later.name.clone()] == name);
                found[at].counts = !again;
            }
            return;
        }
        order.clear();
        order.extend(0..found.len());
        order.sort_unstable_by_key(|at| (&names[found[*at].name.clone()], *at));
        for pair in order.windows(2) {
            let [one, next] = [pair[0], pair[1]].map(|at| &names[found[at].name.clone()]);
            let again = one == next;
            found[pair[0]].counts = !again;
        }
    }

    /// The entries since the last map are one.
    pub(super) fn end_map(&mut self) -> Result<(), Box<Fault>> {
        let end = i32::try_from(self.keys.len())
            .map_err(|_| Fault::value("does not fit: the batch already holds 2^31 entries of this column".into()))?;
        self.offsets.push(end);
        Ok(())
    }

    pub(super) fn append_gap(&mut self) {
        self.offsets.push(last(&self.offsets));
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let entries = last(&self.offsets) as usize;
        self.keys.truncate(entries);
        self.values.truncate(entries);
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes()
    }

    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let DataType::Struct(fields) = self.entries.data_type() else {
            return Err(Error::bug("the entries of a map are no struct"));
        };
        let count = self.keys.len();
        let arrays = vec![self.keys.finish()?, self.values.finish()?];
        let entries = StructArray::try_new_with_length(fields.clone(), arrays, None, count)?;
        let offsets = taken_offsets(&mut self.offsets);
        Ok(Arc::new(MapArray::try_new(Arc::clone(&self.entries), offsets, entries, nulls, false)?))
    }
}

impl Column {
    /// Appends a text that is UTF-8, to a column of texts.
    fn append_key(&mut self, key: &[u8]) -> Result<(), Box<Fault>> {
        let Values::Text(bytes) = &mut self.values else {
            return Err(Fault::value("has keys that are no texts".into()));
        };
        bytes.data.extend_from_slice(key);
        bytes.end_value()?;
        self.rows += 1;
        Ok(())
    }
}
