//! An object's fields → columns: which column a field's name means, predicted from the record before.
//!
//! Records of a topic mostly come from one program, which writes the same fields in the same order. So each name
//! remembers which name came next the last time, and the next field's `"name":` is compared in one go. A wrong guess
//! costs a hash lookup and corrects the memory; it never changes the result.

use arrow::array::ArrayRef;
use hashbrown::HashMap;

use super::JsonColumn;
use super::column::Column;
use super::fault::Fault;
use super::scan::{Cursor, unescape_into};
use crate::error::{Error, Result};

/// Names that nobody wants are remembered too, up to so many an object: skipping is predicted as well.
const NAMES_MAX: usize = 1024;
/// Longer names are looked up each time.
const NAME_BYTES_MAX: usize = 128;

/// What comes before the first field.
const START: u32 = 0;
/// Any name that is not remembered.
const OTHER: u32 = 1;

pub(super) struct Object {
    columns: Vec<(String, Column)>,
    names: Vec<Name>,
    by_name: HashMap<Box<[u8]>, u32>,
}

struct Name {
    /// `"name":`, as it stands in a record without spaces.
    token: Box<[u8]>,
    /// Its first 32 bytes, and which of their bits count.
    head: [u64; 4],
    mask: [u64; 4],
    column: Option<u32>,
    /// The name that followed the last time.
    next: u32,
}

impl Object {
    /// # Errors
    /// `Invalid` for a name or alias that stands for two columns, and for a type that is not decoded.
    pub(super) fn try_new(columns: &[JsonColumn]) -> Result<Self> {
        let nothing = || Name { token: Box::new([]), head: [0; 4], mask: [0; 4], column: None, next: OTHER };
        let mut object = Object { columns: Vec::new(), names: vec![nothing(), nothing()], by_name: HashMap::default() };
        let mut previous = START;
        for (index, column) in (0u32..).zip(columns) {
            let JsonColumn { field, aliases, .. } = column;
            object.columns.push((field.name().clone(), Column::try_new(column)?));
            for name in std::iter::once(field.name()).chain(aliases) {
                if let Some(taken) = object.by_name.get(name.as_bytes()) {
                    if object.names[*taken as usize].column == Some(index) {
                        continue;
                    }
                    return Err(Error::invalid(format!("field name \"{name}\" stands for two columns"))
                        .hint("give each column names and aliases of its own"));
                }
                let id = object.remember(name.as_bytes(), Some(index));
                if name == field.name() {
                    object.names[previous as usize].next = id;
                    previous = id;
                }
            }
        }
        Ok(object)
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().map(|(_, column)| column)
    }

    pub(super) fn columns_mut(&mut self) -> impl Iterator<Item = &mut Column> {
        self.columns.iter_mut().map(|(_, column)| column)
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.columns_mut().for_each(|column| column.truncate(rows));
    }

    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.columns_mut().map(Column::finish).collect()
    }

    /// Reads the object at hand as row number `row`. On a fault columns may hold half of it: truncate them to `row`.
    pub(super) fn append(&mut self, cursor: &mut Cursor<'_>, row: usize) -> Result<(), Box<Fault>> {
        cursor.enter()?;
        cursor.skip_space();
        let mut filled = 0;
        if cursor.peek() == b'}' {
            cursor.pos += 1;
        } else {
            let mut previous = START;
            loop {
                let name = self.name(cursor, previous)?;
                previous = name;
                match self.names[name as usize].column {
                    None => cursor.skip_value()?,
                    Some(index) => {
                        let (name, column) = &mut self.columns[index as usize];
                        if column.len() == row {
                            filled += 1;
                        } else {
                            // The same field again, perhaps by another of its names: the last one counts.
                            column.truncate(row);
                        }
                        column.append(cursor).map_err(|fault| fault.in_field(name))?;
                    }
                }
                if !cursor.more(b'}')? {
                    break;
                }
            }
        }
        cursor.leave();
        if filled < self.columns.len() {
            for (name, column) in &mut self.columns {
                if column.len() == row {
                    column.append_null("is missing").map_err(|fault| fault.in_field(name))?;
                }
            }
        }
        Ok(())
    }

    /// Reads a field's name and its colon, up to the value: which of `names` it is.
    #[inline(always)]
    fn name(&mut self, cursor: &mut Cursor<'_>, previous: u32) -> Result<u32, Box<Fault>> {
        let guess = self.names[previous as usize].next;
        let name = &self.names[guess as usize];
        if name.stands_at(cursor) {
            cursor.pos += name.token.len();
            cursor.skip_space();
            return Ok(guess);
        }
        self.look_up(cursor, previous)
    }

    #[inline(never)]
    fn look_up(&mut self, cursor: &mut Cursor<'_>, previous: u32) -> Result<u32, Box<Fault>> {
        let key = cursor.key()?;
        let raw = &cursor.bytes[key.start..key.end];
        let id = if key.escaped {
            let mut plain = Vec::new();
            unescape_into(raw, &mut plain);
            self.by_name.get(plain.as_slice()).copied().unwrap_or(OTHER)
        } else {
            match self.by_name.get(raw) {
                Some(id) => *id,
                None if self.names.len() < NAMES_MAX && raw.len() <= NAME_BYTES_MAX => self.remember(raw, None),
                None => OTHER,
            }
        };
        self.names[previous as usize].next = id;
        Ok(id)
    }

    fn remember(&mut self, name: &[u8], column: Option<u32>) -> u32 {
        let id = self.names.len() as u32;
        let token = [b"\"", name, b"\":"].concat();
        let word = |bytes: [u8; 32], at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at * 8 + byte]));
        let head: [u8; 32] = std::array::from_fn(|at| token.get(at).copied().unwrap_or(0));
        let mask: [u8; 32] = std::array::from_fn(|at| if at < token.len() { 0xff } else { 0 });
        self.names.push(Name {
            head: std::array::from_fn(|at| word(head, at)),
            mask: std::array::from_fn(|at| word(mask, at)),
            token: token.into(),
            column,
            next: OTHER,
        });
        self.by_name.insert(name.into(), id);
        id
    }
}

impl Name {
    /// Whether the record goes on with exactly `"name":`.
    #[inline(always)]
    fn stands_at(&self, cursor: &Cursor<'_>) -> bool {
        let rest = &cursor.bytes[cursor.pos.min(cursor.bytes.len())..];
        let word = |chunk: &[u8; 8]| u64::from_le_bytes(*chunk);
        let length = self.token.len();
        if (1..=32).contains(&length)
            && let Some((words, _)) = rest.as_chunks::<8>().0.split_first_chunk::<4>()
        {
            let low =
                ((word(&words[0]) ^ self.head[0]) & self.mask[0]) | ((word(&words[1]) ^ self.head[1]) & self.mask[1]);
            let high =
                ((word(&words[2]) ^ self.head[2]) & self.mask[2]) | ((word(&words[3]) ^ self.head[3]) & self.mask[3]);
            return low | high == 0;
        }
        length > 0 && rest.starts_with(&self.token)
    }
}
