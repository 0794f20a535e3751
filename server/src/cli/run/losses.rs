//! What a statement of a run has left out: the first bad records with their places, and at the end how many of how many
//! there were and why most of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::catalog::{Connector, TableDef};
use crate::cli::bad_record::place;
use crate::source::{DeadLetter, Offset, SourceBatch};
use crate::tables::snapshot::BadRecords;

/// Bad records that are named on standard error; the rest is counted.
const SHOWN: usize = 10;
/// Stands for rows of a statement that are no records of a table: it has made them, or does not know where they were read.
const NO_TABLE: &str = "";

/// Shared by all that reads a table for one statement.
#[derive(Debug, Default)]
pub(super) struct Losses {
    by_table: Mutex<BTreeMap<String, OfTable>>,
    late: Mutex<usize>,
}

#[derive(Debug, Default)]
struct OfTable {
    /// Records read by the reader that has read most: a statement can read a table several times.
    records: u64,
    /// The bad ones of each file, a bit each, so that none counts twice.
    bad: BTreeMap<String, Vec<u64>>,
    /// The bad rows of records that have several, by file: number of the record, and place in it.
    bad_rows: BTreeMap<String, BTreeSet<(Offset, i32)>>,
    /// By what their reasons have in common.
    reasons: BTreeMap<String, Reason>,
}

#[derive(Debug)]
struct Reason {
    count: u64,
    first: String,
}

impl Losses {
    /// A reader of `table` has read so many records from its beginning.
    pub(super) fn read(&self, table: &TableDef, records: u64) {
        let mut by_table = self.by_table.lock();
        let of_table = by_table.entry(table.name.clone()).or_default();
        of_table.records = of_table.records.max(records);
    }

    pub(super) fn late(&self, rows: usize) {
        *self.late.lock() += rows;
    }

    /// Takes note of bad records of whichever of `tables` they are, and of bad rows.
    pub(super) fn bad(&self, letters: &[DeadLetter], tables: &[Arc<TableDef>]) {
        letters.iter().for_each(|letter| {
            let table = tables.iter().find(|table| is_of(letter, table)).map_or(NO_TABLE, |table| table.name.as_str());
            if let Some(nth) = self.count(letter, table)
                && nth < SHOWN
            {
                eprintln!("{}: {}", place(letter, tables), letter.reason);
            }
        });
    }

    /// How many there were before, of all tables; `None` for one that is known already.
    fn count(&self, letter: &DeadLetter, table: &str) -> Option<usize> {
        let mut by_table = self.by_table.lock();
        let before = by_table.values().map(OfTable::bad).sum::<u64>();
        let of_table = by_table.entry(table.to_owned()).or_default();
        if !of_table.is_new(letter) {
            return None;
        }
        let first = || Reason { count: 0, first: letter.reason.clone() };
        of_table.reasons.entry(kind_of(letter)).or_insert_with(first).count += 1;
        Some(usize::try_from(before).unwrap_or(usize::MAX))
    }

    /// Lines for the end of the statement; empty where everything became rows.
    pub(super) fn summary(&self) -> String {
        let mut summary = String::new();
        let late = *self.late.lock();
        if late > 0 {
            let _ = writeln!(summary, "{late} late {} dropped", if late == 1 { "row" } else { "rows" });
        }
        for (table, of_table) in self.by_table.lock().iter() {
            let rows = of_table.bad_rows.values().map(BTreeSet::len).sum::<usize>() as u64;
            let bad = of_table.bad();
            let records = of_table.records.max(bad.saturating_sub(rows));
            let Some(commonest) = of_table.reasons.values().max_by_key(|reason| reason.count) else { continue };
            let often = match commonest.count {
                count if count == bad => String::new(),
                count => format!(", most often ({count} times)"),
            };
            let what = match table.as_str() {
                NO_TABLE => format!("{} of the statement", counted(bad)),
                table if rows == 0 => format!("{bad} of {records} records of table \"{table}\""),
                table if rows == bad => format!("{} of table \"{table}\"", counted(rows)),
                table => format!("{} and {} of {records} records of table \"{table}\"", counted(rows), bad - rows),
            };
            let _ = writeln!(summary, "{what} left out{often}: {}", commonest.first);
        }
        summary
    }
}

fn counted(rows: u64) -> String {
    format!("{rows} {}", if rows == 1 { "row" } else { "rows" })
}

/// The readers of static tables.
impl BadRecords for Losses {
    fn note(&self, table: &Arc<TableDef>, read: u64, batch: &SourceBatch) {
        self.read(table, read);
        self.bad(&batch.dead_letters, std::slice::from_ref(table));
    }
}

impl OfTable {
    fn bad(&self) -> u64 {
        self.reasons.values().map(|reason| reason.count).sum()
    }

    fn is_new(&mut self, letter: &DeadLetter) -> bool {
        let (Some(topic), Some(offset)) = (&letter.topic, letter.offset) else { return true };
        if let Some(position) = letter.position {
            return self.bad_rows.entry(topic.clone()).or_default().insert((offset, position));
        }
        let offset = usize::try_from(offset).unwrap_or(0);
        let (word, bit) = (offset / 64, 1 << (offset % 64));
        let bits = self.bad.entry(topic.clone()).or_default();
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        let before = bits[word];
        bits[word] |= bit;
        before & bit == 0
    }
}

fn is_of(letter: &DeadLetter, table: &TableDef) -> bool {
    let Some(origin) = &letter.topic else { return false };
    match &table.connector {
        Connector::Filesystem(files) => std::path::Path::new(origin).starts_with(&files.path),
        Connector::Kafka(topic) => topic.topic == *origin,
        Connector::Postgres(read) => read.to_string() == *origin,
        Connector::View(_) => table.name == *origin,
    }
}

/// A reason without what was found: two values of one column that are no numbers are bad in the same way.
fn kind_of(letter: &DeadLetter) -> String {
    let column = letter.column.as_deref().unwrap_or_default();
    let kind = match letter.reason.rsplit_once("; the schema says ") {
        Some((_, says)) => says.to_owned(),
        // As in "… at byte 17".
        None => letter.reason.chars().filter(|c| !c.is_ascii_digit()).collect(),
    };
    format!("{column} {kind}")
}

/// Records from `0` up to each partition's next offset.
pub(super) fn records<'a>(offsets: impl IntoIterator<Item = &'a Offset>) -> u64 {
    offsets.into_iter().map(|offset| offset.unsigned_abs()).sum()
}
