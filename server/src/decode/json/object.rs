//! An object's fields → columns: which column a field's name means, predicted from the record before.
//!
//! Records of a topic mostly come from one program, which writes the same fields in the same order. So each name
//! remembers which name came next the last time, and the next field's `"name":` is compared in one go. A wrong guess
//! costs a hash lookup and corrects the memory; it never changes the result.
//!
//! A name that is nobody's may still be a column's in other capitals. That is found out where it is looked up and remembered
//! with it, so it costs nothing where names are exact. Such a field waits for the object's end: its column's exact
//! name may still come.

use arrow::array::ArrayRef;
use hashbrown::HashMap;

use super::JsonColumn;
use super::column::Column;
use super::fault::{Fault, Hint};
use super::scan::{Cursor, unescape_into};
use crate::decode::spelling::{are_alike, fold_case, folded};
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
    /// Names without their capitals, and whose they are; `None` where several columns differ in capitals alone.
    by_folded: HashMap<String, Option<u32>>,
    /// For each column the name that stands for all of its other spellings that are not remembered.
    unremembered: Vec<u32>,
    /// Fields of the object at hand that are a column's in other capitals.
    waiting: Vec<Waiting>,
    /// Room to fold a name in.
    scratch: String,
}

#[derive(Clone, Copy)]
struct Waiting {
    column: u32,
    /// Where its name and its value begin in the record.
    name_at: usize,
    value_at: usize,
}

/// Whose field it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Nobody,
    /// A column's that is not decoded here.
    Elsewhere,
    Column(u32),
    /// In other capitals.
    Nearly(u32),
}

struct Name {
    /// `"name":`, as it stands in a record without spaces.
    token: Box<[u8]>,
    /// Its first 32 bytes, and which of their bits count.
    head: [u64; 4],
    mask: [u64; 4],
    meaning: Meaning,
    /// The name that followed the last time.
    next: u32,
}

impl Object {
    /// # Errors
    /// `Invalid` for a name or alias that stands for two columns, and for a type that is not decoded.
    pub(super) fn try_new(columns: &[JsonColumn]) -> Result<Self> {
        let mut object = Object {
            columns: Vec::new(),
            names: vec![Name::unwritten(Meaning::Nobody), Name::unwritten(Meaning::Nobody)],
            by_name: HashMap::default(),
            by_folded: HashMap::default(),
            unremembered: Vec::new(),
            waiting: Vec::new(),
            scratch: String::new(),
        };
        let mut previous = START;
        for (index, column) in (0u32..).zip(columns) {
            let JsonColumn { field, aliases, .. } = column;
            object.columns.push((field.name().clone(), Column::try_new(column)?));
            object.unremembered.push(object.names.len() as u32);
            object.names.push(Name::unwritten(Meaning::Nearly(index)));
            for name in std::iter::once(field.name()).chain(aliases) {
                if let Some(taken) = object.by_name.get(name.as_bytes()) {
                    if object.names[*taken as usize].meaning == Meaning::Column(index) {
                        continue;
                    }
                    return Err(Error::invalid(format!("field name \"{name}\" stands for two columns"))
                        .hint("give each column names and aliases of its own"));
                }
                let id = object.remember(name.as_bytes(), Meaning::Column(index));
                object.share(name, Some(index));
                if name == field.name() {
                    object.names[previous as usize].next = id;
                    previous = id;
                }
            }
        }
        Ok(object)
    }

    /// Takes a name that is no column's of this object out of those that may be one's in other capitals.
    pub(super) fn reserve(&mut self, name: &str) {
        if !self.by_name.contains_key(name.as_bytes()) {
            self.remember(name.as_bytes(), Meaning::Elsewhere);
        }
        self.share(name, None);
    }

    /// Notes whose `name` is in other capitals, unless it is another's already.
    fn share(&mut self, name: &str, owner: Option<u32>) {
        let known = self.by_folded.entry(folded(name)).or_insert(owner);
        if *known != owner {
            *known = None;
        }
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
        let object_at = cursor.pos;
        cursor.enter()?;
        cursor.skip_space();
        self.waiting.clear();
        let mut filled = 0;
        if cursor.peek() == b'}' {
            cursor.pos += 1;
        } else {
            let mut previous = START;
            loop {
                let name_at = cursor.pos;
                let name = self.name(cursor, previous)?;
                previous = name;
                match self.names[name as usize].meaning {
                    Meaning::Nobody | Meaning::Elsewhere => cursor.skip_value()?,
                    Meaning::Nearly(column) => {
                        self.waiting.push(Waiting { column, name_at, value_at: cursor.pos });
                        cursor.skip_value()?;
                    }
                    Meaning::Column(index) => {
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
        if !self.waiting.is_empty() {
            filled += self.append_waiting(cursor, row)?;
        }
        cursor.leave();
        if filled < self.columns.len() {
            for index in 0..self.columns.len() {
                let (name, column) = &mut self.columns[index];
                if column.len() == row
                    && let Err(fault) = column.append_missing()
                {
                    let fault = fault.in_field(name);
                    return Err(match self.spelled(index as u32, cursor.bytes, object_at) {
                        Some(seen) => fault.with_hint(Hint::Spelled(seen)),
                        None => fault,
                    });
                }
            }
        }
        Ok(())
    }

    /// Reads the fields that waited, where their columns have no other: how many columns they filled.
    #[inline(never)]
    fn append_waiting(&mut self, cursor: &mut Cursor<'_>, row: usize) -> Result<usize, Box<Fault>> {
        let Object { columns, waiting, .. } = self;
        waiting.retain(|field| columns[field.column as usize].1.len() == row);
        let (end, mut filled) = (cursor.pos, 0);
        for (at, field) in waiting.iter().enumerate() {
            let (name, column) = &mut columns[field.column as usize];
            match waiting[..at].iter().rev().find(|earlier| earlier.column == field.column) {
                None => filled += 1,
                Some(earlier) => {
                    let spellings = [earlier, field].map(|field| name_at(cursor.bytes, field.name_at));
                    if let [Some(one), Some(other)] = &spellings
                        && one != other
                    {
                        let says = format!(
                            "is spelled \"{one}\" and \"{other}\" in one record: add the right one to 'aliases.{name}'"
                        );
                        return Err(Fault::value(says).in_field(name));
                    }
                    column.truncate(row);
                }
            }
            cursor.pos = field.value_at;
            column.append(cursor).map_err(|fault| fault.in_field(name))?;
        }
        cursor.pos = end;
        Ok(filled)
    }

    /// The name of a field that is nobody's and nearly the missing column's, in the object that begins at `at`.
    #[cold]
    fn spelled(&self, column: u32, record: &[u8], at: usize) -> Option<String> {
        let own = self.by_name.iter().filter(|(_, id)| self.names[**id as usize].meaning == Meaning::Column(column));
        let own: Vec<_> = own.map(|(name, _)| String::from_utf8_lossy(name)).collect();
        let mut cursor = Cursor::new(record);
        cursor.pos = at + 1;
        cursor.skip_space();
        while cursor.peek() == b'"' {
            let name = name_at(record, cursor.pos)?;
            let known = self.by_name.get(name.as_bytes()).map(|id| self.names[*id as usize].meaning);
            let is_taken = matches!(known, Some(Meaning::Column(_) | Meaning::Elsewhere));
            if !is_taken && own.iter().any(|own| are_alike(own, &name)) {
                return Some(name);
            }
            cursor.key().ok()?;
            cursor.skip_value().ok()?;
            if !cursor.more(b'}').ok()? {
                break;
            }
        }
        None
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
            match self.by_name.get(plain.as_slice()) {
                Some(id) => *id,
                None => self.unremembered(&plain),
            }
        } else {
            match self.by_name.get(raw) {
                Some(id) => *id,
                None if self.names.len() < NAMES_MAX && raw.len() <= NAME_BYTES_MAX => {
                    let meaning = self.nearly(raw);
                    self.remember(raw, meaning)
                }
                None => self.unremembered(raw),
            }
        };
        self.names[previous as usize].next = id;
        Ok(id)
    }

    /// Whose field a name is that is nobody's as it stands.
    fn nearly(&mut self, name: &[u8]) -> Meaning {
        let Ok(name) = std::str::from_utf8(name) else { return Meaning::Nobody };
        self.scratch.clear();
        fold_case(name, &mut self.scratch);
        match self.by_folded.get(self.scratch.as_str()) {
            Some(Some(column)) => Meaning::Nearly(*column),
            Some(None) | None => Meaning::Nobody,
        }
    }

    fn unremembered(&mut self, name: &[u8]) -> u32 {
        match self.nearly(name) {
            Meaning::Nearly(column) => self.unremembered[column as usize],
            _ => OTHER,
        }
    }

    fn remember(&mut self, name: &[u8], meaning: Meaning) -> u32 {
        let id = self.names.len() as u32;
        let token = [b"\"", name, b"\":"].concat();
        let word = |bytes: [u8; 32], at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at * 8 + byte]));
        let head: [u8; 32] = std::array::from_fn(|at| token.get(at).copied().unwrap_or(0));
        let mask: [u8; 32] = std::array::from_fn(|at| if at < token.len() { 0xff } else { 0 });
        self.names.push(Name {
            head: std::array::from_fn(|at| word(head, at)),
            mask: std::array::from_fn(|at| word(mask, at)),
            token: token.into(),
            meaning,
            next: OTHER,
        });
        self.by_name.insert(name.into(), id);
        id
    }
}

impl Name {
    /// One that stands in no record.
    fn unwritten(meaning: Meaning) -> Self {
        Name { token: Box::new([]), head: [0; 4], mask: [0; 4], meaning, next: OTHER }
    }

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

/// The field name whose quote opens at `at`.
fn name_at(record: &[u8], at: usize) -> Option<String> {
    let mut cursor = Cursor::new(record);
    cursor.pos = at;
    let text = cursor.string().ok()?;
    let mut name = Vec::new();
    unescape_into(&record[text.start..text.end], &mut name);
    String::from_utf8(name).ok()
}
