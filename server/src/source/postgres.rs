//! A table of a PostgreSQL database as a bounded source: one version of it, its rows as JSON objects.
//!
//! One partition; a record's offset is its place in the order in which the database hands its rows out, which it may choose anew each
//! time. What speaks to the database stands in `sink::postgres`, beside all else that knows its client.

use super::{Offset, Offsets, Partition, PollLimits, Polled, Record, Source};
use crate::catalog::{Column, ColumnKind, PostgresTable, TableDef};
use crate::error::{Error, Result};
use crate::sink::postgres::{PostgresSettings, TableRows};

/// Of rows asked for at once, about.
const FETCH_BYTES: usize = 4 << 20;
/// The first time, when nobody knows how large they are.
const FIRST_ROWS: usize = 64;
/// By so much more rows are asked for the next time at most: those to come may be larger.
const GROWTH_MAX: usize = 8;
/// Longest row, as the longest record of a file.
const ROW_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct PostgresSource {
    rows: TableRows,
    table: String,
    next: Offset,
    /// How many rows to ask for.
    fetch_rows: usize,
    finished: bool,
}

impl PostgresSource {
    pub(super) const PARTITION: Partition = 0;

    /// `columns`: indices into those of `def`.
    ///
    /// # Errors
    /// As for [`TableRows::open`].
    pub(super) fn open(
        settings: &PostgresSettings,
        table: &PostgresTable,
        def: &TableDef,
        columns: &[usize],
    ) -> Result<Self> {
        let rows = TableRows::open(settings, table, &fields(def, columns));
        let rows = rows.map_err(|error| error.at(def.location.clone()))?;
        Ok(PostgresSource { rows, table: table.to_string(), next: 0, fetch_rows: FIRST_ROWS, finished: false })
    }
}

/// What is decoded for `columns`: of a computed one whatever it may be computed from.
fn fields<'a>(def: &'a TableDef, columns: &[usize]) -> Vec<&'a Column> {
    let is_computed = |index: &usize| matches!(def.columns[*index].kind, ColumnKind::Computed(_));
    let all = columns.iter().any(is_computed);
    let wanted = def.columns.iter().enumerate().filter(|(index, column)| {
        matches!(column.kind, ColumnKind::Physical { .. }) && (all || columns.contains(index))
    });
    wanted.map(|(_, column)| column).collect()
}

/// How many rows to ask for after so many of so many bytes.
fn next_fetch(rows: usize, bytes: usize) -> usize {
    let fitting = FETCH_BYTES.saturating_mul(rows) / bytes.max(1);
    fitting.clamp(1, rows.saturating_mul(GROWTH_MAX).max(1))
}

impl Source for PostgresSource {
    fn positions(&self) -> Offsets {
        Offsets::from([(Self::PARTITION, self.next)])
    }

    fn poll(&mut self, limits: PollLimits, visit: &mut dyn FnMut(Record<'_>)) -> Result<Polled> {
        if !self.finished && limits.records_max > 0 {
            let asked = self.fetch_rows.min(limits.records_max);
            let rows = self.rows.fetch(asked)?;
            self.finished = rows.len() < asked;
            let bytes: usize = rows.iter().map(String::len).sum();
            if !rows.is_empty() {
                self.fetch_rows = next_fetch(rows.len(), bytes);
            }
            for row in rows {
                if row.len() > ROW_BYTES_MAX {
                    let error =
                        format!("a row of table {} of the database is longer than {ROW_BYTES_MAX} bytes", self.table);
                    return Err(Error::invalid(error).hint("leave its long column out, or read a view that cuts it"));
                }
                let (offset, value) = (self.next, Some(row.as_bytes()));
                visit(Record {
                    partition: Self::PARTITION,
                    offset,
                    timestamp_ms: None,
                    key: None,
                    value,
                    headers: None,
                });
                self.next += 1;
            }
        }
        let positions = self.positions();
        // An end that is not known yet lies behind the position, as of a file.
        let end = if self.finished { self.next } else { self.next + 1 };
        Ok(Polled {
            answered: positions.keys().copied().collect(),
            ends: Offsets::from([(Self::PARTITION, end)]),
            positions,
            finished: self.finished,
            trouble: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Statement;
    use crate::sql::parse_file;

    #[test]
    fn a_part_of_the_rows_is_of_some_megabytes_however_large_they_are() {
        assert_eq!(next_fetch(64, 64 * 100), 512);
        assert_eq!(next_fetch(41_943, 41_943 * 100), 41_943);
        assert_eq!(next_fetch(64, 64 << 20), 4);
        assert_eq!(next_fetch(1, 100 << 20), 1);
        assert_eq!(next_fetch(64, 0), 512);
    }

    #[test]
    fn a_computed_column_is_computed_from_any_of_the_others() {
        let text = "CREATE TABLE t (a INT, b INT, c AS a + 1) WITH ('connector' = 'postgres', 'table' = 't');";
        let Statement::CreateTable(def) = parse_file("t.sql", text).unwrap().remove(0) else { panic!("a table") };
        let names =
            |columns: &[usize]| fields(&def, columns).iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&[1]), ["b"]);
        assert_eq!(names(&[2]), ["a", "b"]);
        assert!(names(&[]).is_empty());
    }
}
