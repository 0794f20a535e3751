//! A record that holds several rows: where they begin, and what around them belongs to each.
//!
//! A record with a list of rows is looked through once as a whole: it must be JSON to its end, or none of it is a row. After that
//! each element is a row or a bad one by itself. Of objects that stand one behind the other each is read by itself from the start;
//! where one is no JSON, the next line is the next.

use std::ops::Range;

use super::fault::{Fault, RowError, quote};
use super::scan::{BYTES_OF_A_VALUE, Cursor, LIST_CELLS_MAX, Text, unescape_into};
use super::{JsonDecoder, RECORD_BYTES_MAX, not_an_object};
use crate::catalog::{FieldPath, RecordRows};
use crate::error::{Error, Result};

/// What to look for in the records of a table.
pub(crate) struct Outline {
    /// `None`: objects that stand one behind the other.
    root: Option<Node>,
    /// Where the list is, as `$.events`.
    list: String,
    each: RowCost,
    /// The names of the outer columns, each as `"name":`.
    names: Vec<Vec<u8>>,
}

/// What a row counts for.
#[derive(Clone, Copy)]
struct RowCost {
    /// See `scan::LIST_CELLS_MAX`.
    cells: usize,
    /// Those of the columns' defaults, which are among the cells.
    default_bytes: usize,
}

/// A value that a path leads to or through.
#[derive(Default)]
struct Node {
    name: String,
    parts: Vec<Node>,
    /// Whether the rows are in it, or are it.
    leads_to_rows: bool,
    /// Whether its elements are the rows.
    is_list: bool,
    /// The outer columns whose value it is.
    outer: Vec<usize>,
}

/// What one record turned out to hold.
struct Found {
    rows: List,
    /// For each outer column where its value is.
    outer: Vec<Option<Range<usize>>>,
}

#[derive(Clone, Copy)]
enum List {
    Missing,
    Null,
    At {
        start: usize,
        count: usize,
    },
    /// Something else, in these bytes.
    Other(usize, usize),
}

/// The rows of one record.
pub(crate) struct Rows<'a> {
    cursor: Cursor<'a>,
    lines: bool,
    each: RowCost,
    next: i32,
    ended: bool,
    /// Of lines, which nobody has counted: how many may be rows.
    pub(crate) most: usize,
    /// How many there are; 0 where that is not known before.
    pub(crate) count: usize,
}

/// One of the rows.
pub(crate) struct RowAt {
    /// Its place among them, from 0.
    pub(crate) position: i32,
    pub(crate) bytes: Range<usize>,
    pub(crate) outcome: Result<(), RowError>,
}

impl Outline {
    /// `outer`: the columns that are read from the record and not from its rows, with where. `None` for a table whose records are
    /// one row each.
    ///
    /// # Errors
    /// `Bug` for a name that has no form in JSON.
    pub(crate) fn try_new(
        rows: &RecordRows,
        outer: &[(&str, &FieldPath)],
        decoder: &JsonDecoder,
    ) -> Result<Option<Self>> {
        let path = match rows {
            RecordRows::One => return Ok(None),
            RecordRows::Lines => None,
            RecordRows::Elements(path) => Some(path),
        };
        let root = path.map(|path| {
            let mut root = Node::default();
            root.at(path, |node| node.leads_to_rows = true).is_list = true;
            for (index, (_, path)) in outer.iter().enumerate() {
                root.at(path, |_| ()).outer.push(index);
            }
            root
        });
        let name = |(name, _): &(&str, &FieldPath)| -> Result<Vec<u8>> {
            let name = serde_json::to_vec(name)
                .map_err(|error| Error::bug("a column's name has no form in JSON").caused_by(error))?;
            Ok([name.as_slice(), b":"].concat())
        };
        Ok(Some(Outline {
            root,
            list: path.map(ToString::to_string).unwrap_or_default(),
            each: RowCost { cells: decoder.cells(), default_bytes: decoder.default_bytes() },
            names: outer.iter().map(name).collect::<Result<_>>()?,
        }))
    }

    /// Begins with a record. `frame` becomes an object of the outer columns' values, by the columns' names.
    ///
    /// # Errors
    /// The record as a whole is bad.
    pub(crate) fn begin<'a>(&self, record: &'a [u8], frame: &mut Vec<u8>) -> Result<Rows<'a>, RowError> {
        self.look_through(record, frame).map_err(RowError::from)
    }

    fn look_through<'a>(&self, record: &'a [u8], frame: &mut Vec<u8>) -> Result<Rows<'a>, Box<Fault>> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(Fault::record("the record is larger than 16777216 bytes".into()));
        }
        let mut cursor = Cursor::new(record);
        cursor.skip_space();
        let mut rows = Rows {
            cursor,
            lines: self.root.is_none(),
            each: self.each,
            next: 0,
            ended: false,
            most: usize::MAX,
            count: 0,
        };
        frame.clear();
        frame.push(b'{');
        let Some(root) = &self.root else {
            frame.push(b'}');
            return Ok(rows);
        };
        let cursor = &mut rows.cursor;
        if !matches!(cursor.peek(), b'{' | b'[') {
            return Err(not_an_object(rows.cursor));
        }
        let mut found = Found { rows: List::Missing, outer: vec![None; self.names.len()] };
        root.walk(cursor, self.each, &mut found)?;
        cursor.skip_space();
        if cursor.pos < record.len() {
            return Err(cursor.syntax("something follows the record's value"));
        }
        match found.rows {
            List::At { start, count } => {
                rows.cursor = Cursor::new(record);
                rows.cursor.pos = start + 1;
                rows.count = count;
            }
            List::Null => rows.ended = true,
            List::Missing => return Err(self.no_list("is missing".to_owned())),
            List::Other(start, end) => return Err(self.no_list(format!("is {}", quote(&record[start..end])))),
        }
        for (name, value) in self.names.iter().zip(found.outer) {
            let Some(value) = value else { continue };
            if frame.len() > 1 {
                frame.push(b',');
            }
            frame.extend_from_slice(name);
            frame.extend_from_slice(&record[value]);
        }
        frame.push(b'}');
        Ok(rows)
    }

    #[cold]
    fn no_list(&self, is: String) -> Box<Fault> {
        Fault::record(format!("{} {is}; 'json.rows' says that it is the list of the rows", self.list))
    }

    /// What a row is called in a reason.
    pub(crate) fn name_of(&self, position: i32) -> String {
        match self.root {
            Some(_) => format!("{}[{position}]", self.list),
            None => format!("object {position}"),
        }
    }
}

impl Node {
    /// The node at a path from here, made where it is not there; `each` sees all on the way to it, and itself.
    fn at(&mut self, path: &FieldPath, each: impl Fn(&mut Node)) -> &mut Node {
        let mut node = self;
        each(node);
        for name in &path.0 {
            let known = node.parts.iter().position(|part| part.name == *name);
            let place = known.unwrap_or_else(|| {
                node.parts.push(Node { name: name.clone(), ..Node::default() });
                node.parts.len() - 1
            });
            node = &mut node.parts[place];
            each(node);
        }
        node
    }

    /// Steps over the value at hand and notes what is found in it.
    fn walk(&self, cursor: &mut Cursor<'_>, each: RowCost, found: &mut Found) -> Result<(), Box<Fault>> {
        let start = cursor.pos;
        match cursor.peek() {
            b'[' if self.is_list => {
                let count = elements(cursor, each)?;
                found.rows = List::At { start, count };
            }
            b'{' if !self.parts.is_empty() => self.walk_parts(cursor, each, found)?,
            b'n' if self.leads_to_rows => {
                cursor.skip_value()?;
                found.rows = List::Null;
            }
            _ => cursor.skip_value()?,
        }
        if self.is_list && !matches!(found.rows, List::At { .. } | List::Null) {
            found.rows = List::Other(start, cursor.pos);
        }
        for outer in &self.outer {
            found.outer[*outer] = Some(start..cursor.pos);
        }
        Ok(())
    }

    fn walk_parts(&self, cursor: &mut Cursor<'_>, each: RowCost, found: &mut Found) -> Result<(), Box<Fault>> {
        cursor.enter()?;
        cursor.skip_space();
        if cursor.peek() == b'}' {
            cursor.pos += 1;
        } else {
            loop {
                let key = cursor.key()?;
                match self.part(cursor.bytes, key) {
                    Some(part) => {
                        // Of a field that occurs twice the last one counts, with all that is in it and is not.
                        part.forget(found);
                        part.walk(cursor, each, found)?;
                    }
                    None => cursor.skip_value()?,
                }
                if !cursor.more(b'}')? {
                    break;
                }
            }
        }
        cursor.leave();
        Ok(())
    }

    fn part(&self, record: &[u8], key: Text) -> Option<&Node> {
        let raw = &record[key.start..key.end];
        if !key.escaped {
            return self.parts.iter().find(|part| part.name.as_bytes() == raw);
        }
        let mut name = Vec::new();
        unescape_into(raw, &mut name);
        self.parts.iter().find(|part| part.name.as_bytes() == name)
    }

    fn forget(&self, found: &mut Found) {
        if self.leads_to_rows {
            found.rows = List::Missing;
        }
        self.outer.iter().for_each(|outer| found.outer[*outer] = None);
        self.parts.iter().for_each(|part| part.forget(found));
    }
}

impl RowCost {
    /// Counts one row more against what a record may hold.
    fn charge(self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        cursor.charge(self.cells).map_err(|fault| match self.default_bytes / BYTES_OF_A_VALUE {
            0 => fault,
            _ => Fault::record(format!(
                "too many rows in one record: DEFAULTs may add {} bytes to each, and at most {} to all; write a long one in the query, as \
                 in coalesce(column, value)",
                self.default_bytes,
                LIST_CELLS_MAX * BYTES_OF_A_VALUE
            )),
        })
    }
}

/// Steps over the list at hand: how many elements it has.
fn elements(cursor: &mut Cursor<'_>, each: RowCost) -> Result<usize, Box<Fault>> {
    let mut count = 0;
    cursor.enter()?;
    cursor.skip_space();
    if cursor.peek() == b']' {
        cursor.pos += 1;
    } else {
        loop {
            each.charge(cursor)?;
            cursor.skip_value()?;
            count += 1;
            if !cursor.more(b']')? {
                break;
            }
        }
    }
    cursor.leave();
    Ok(count)
}

impl Rows<'_> {
    /// Reads the next row into `decoder`; `None` behind the last.
    pub(crate) fn next(&mut self, decoder: &mut JsonDecoder) -> Option<RowAt> {
        self.cursor.skip_space();
        let length = self.cursor.bytes.len();
        if self.ended || self.cursor.pos >= length {
            return None;
        }
        if !self.lines && self.cursor.peek() == b']' {
            self.ended = true;
            return None;
        }
        let (start, position) = (self.cursor.pos, self.next);
        self.next = self.next.saturating_add(1);
        let outcome = match self.charge() {
            Ok(()) => self.read(decoder),
            // A list was counted before; this can only be the rest of too many lines.
            Err(fault) => {
                self.ended = true;
                return Some(RowAt { position, bytes: start..length, outcome: Err(fault.into()) });
            }
        };
        if outcome.is_err() {
            self.step_over(start);
        }
        let bytes = start..self.cursor.pos;
        if !self.lines {
            self.cursor.skip_space();
            match self.cursor.peek() {
                b',' => self.cursor.pos += 1,
                _ => self.ended = true,
            }
        }
        Some(RowAt { position, bytes, outcome })
    }

    fn charge(&mut self) -> Result<(), Box<Fault>> {
        if !self.lines {
            return Ok(());
        }
        if self.next as usize > self.most {
            return Err(Fault::mismatch(Some("too many rows for what the record's key and headers take in each")));
        }
        self.each.charge(&mut self.cursor)
    }

    fn read(&mut self, decoder: &mut JsonDecoder) -> Result<(), RowError> {
        let start = self.cursor.pos;
        if self.cursor.peek() == b'{' {
            return decoder.decode_at(&mut self.cursor);
        }
        match self.cursor.skip_value() {
            Ok(()) => {
                let found = quote(&self.cursor.bytes[start..self.cursor.pos]);
                Err(RowError { column: None, reason: format!("it is {found}, not a JSON object") })
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Behind the value that begins at `start` and is no row; where it is no JSON, behind its line.
    #[cold]
    fn step_over(&mut self, start: usize) {
        self.cursor.go_to(start);
        if self.cursor.skip_value().is_err() {
            let rest = &self.cursor.bytes[start..];
            self.cursor.go_to(start + memchr::memchr(b'\n', rest).unwrap_or(rest.len()));
        }
    }
}
