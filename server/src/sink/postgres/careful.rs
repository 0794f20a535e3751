//! Rows of which Postgres does not take all: each that is at fault is found, the others go in. All in the transaction that moves the marker.

use tokio_postgres::Client;

use super::changes::Deletion;
use super::connection::failed;
use super::ddl::TableSql;
use super::ledger::{Ledger, Operation};
use super::refuse::{Bisection, Blame};
use super::write::{Piece, WriteError, delete_keys, write_rows};
use crate::error::{Error, Result};

/// Constraints that wait for the end of the transaction would be found where nothing can be told apart any more.
pub(super) async fn begin(db: &Client, sql: &TableSql) -> Result<()> {
    db.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await.map_err(|error| failed(writing(sql), &error))
}

/// Writes rows, and lists those that are refused. Returns how many went in.
pub(super) async fn write(db: &Client, sql: &TableSql, pieces: &[Piece], ledger: &mut Ledger<'_>) -> Result<u64> {
    let rows: Vec<(usize, usize)> =
        pieces.iter().enumerate().flat_map(|(piece, of)| of.rows.iter().map(move |row| (piece, *row))).collect();
    let (mut search, mut doubts) = (Bisection::over(rows.len()), Doubts::default());
    while let Some(range) = search.next_range() {
        let some = narrowed(pieces, &rows[range.clone()]);
        savepoint(db, sql).await?;
        match write_rows(db, sql, &some).await {
            Ok(()) => {
                release(db, sql).await?;
                doubts.taken += range.len() as u64;
            }
            Err(error) if error.blame() == Blame::Elsewhere => return Err(error.or(writing(sql))),
            Err(error) => {
                roll_back(db, sql).await?;
                if let Some(at) = search.failed(range) {
                    let (piece, row) = rows[at];
                    ledger.refuse(Operation::Write, &pieces[piece].batch, row, error.refusal()).await?;
                    doubts.note(error);
                }
            }
        }
    }
    doubts.resolve(sql)
}

/// Deletes rows by their keys, and lists the keys of those that may not go. Returns how many rows there were.
pub(super) async fn delete(
    db: &Client,
    sql: &TableSql,
    deletions: &[Deletion],
    ledger: &mut Ledger<'_>,
) -> Result<u64> {
    let mut deleted = 0;
    let mut doubts = Doubts::default();
    for deletion in deletions {
        let mut search = Bisection::over(deletion.keys.rows.len());
        while let Some(range) = search.next_range() {
            let rows = deletion.keys.rows[range.clone()].to_vec();
            let keys = Piece { batch: deletion.keys.batch.clone(), rows };
            savepoint(db, sql).await?;
            match delete_keys(db, sql, &keys, &deletion.nulls).await {
                Ok(rows) => {
                    release(db, sql).await?;
                    deleted += rows;
                    doubts.taken += range.len() as u64;
                }
                Err(error) if error.blame() == Blame::Elsewhere => return Err(error.or(writing(sql))),
                Err(error) => {
                    roll_back(db, sql).await?;
                    let Some(at) = search.failed(range) else { continue };
                    let refusal = error.refusal();
                    // What cannot be read as a key was refused when it came, and there is nothing to delete.
                    if !cannot_be_there(&refusal.sqlstate) {
                        let row = deletion.keys.rows[at];
                        ledger.refuse(Operation::Delete, &deletion.keys.batch, row, refusal).await?;
                        doubts.note(error);
                    }
                }
            }
        }
    }
    doubts.resolve(sql)?;
    Ok(deleted)
}

fn cannot_be_there(sqlstate: &str) -> bool {
    sqlstate.starts_with("22") || sqlstate.starts_with("54")
}

/// Errors that may be about rows or about the whole table: if nothing at all was taken it is the table.
#[derive(Default)]
struct Doubts {
    taken: u64,
    first: Option<WriteError>,
}

impl Doubts {
    fn note(&mut self, error: WriteError) {
        if error.blame() == Blame::Perhaps {
            self.first.get_or_insert(error);
        }
    }

    /// How many rows were taken.
    fn resolve(self, sql: &TableSql) -> Result<u64> {
        match self.first {
            Some(error) if self.taken == 0 => Err(error.or(writing(sql))),
            _ => Ok(self.taken),
        }
    }
}

/// The pieces with these rows alone, ascending. Each batch is cut to where they are: some columns are written as a whole before a row is taken.
fn narrowed(pieces: &[Piece], rows: &[(usize, usize)]) -> Vec<Piece> {
    let of_one = rows.chunk_by(|left, right| left.0 == right.0);
    let narrow = |rows: &[(usize, usize)]| {
        let (piece, first) = *rows.first()?;
        let (_, last) = *rows.last()?;
        let batch = pieces[piece].batch.slice(first, last - first + 1);
        Some(Piece { batch, rows: rows.iter().map(|(_, row)| row - first).collect() })
    };
    of_one.filter_map(narrow).collect()
}

fn writing(sql: &TableSql) -> String {
    format!("write to hot table {}", sql.qualified)
}

async fn savepoint(db: &Client, sql: &TableSql) -> Result<()> {
    run(db, sql, "SAVEPOINT touchline_rows").await
}

async fn release(db: &Client, sql: &TableSql) -> Result<()> {
    run(db, sql, "RELEASE SAVEPOINT touchline_rows").await
}

async fn roll_back(db: &Client, sql: &TableSql) -> Result<()> {
    run(db, sql, "ROLLBACK TO SAVEPOINT touchline_rows; RELEASE SAVEPOINT touchline_rows").await
}

async fn run(db: &Client, sql: &TableSql, statement: &str) -> Result<(), Error> {
    db.batch_execute(statement).await.map_err(|error| failed(writing(sql), &error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn a_part_of_the_rows_is_those_rows_and_no_others() {
        let batch = |from: i64| {
            let values = Arc::new(Int64Array::from_iter_values(from..from + 10));
            RecordBatch::try_from_iter([("n", values as arrow::array::ArrayRef)]).unwrap()
        };
        let pieces = [
            Piece { batch: batch(0), rows: vec![1, 4, 9] },
            Piece { batch: batch(10), rows: vec![] },
            Piece { batch: batch(20), rows: vec![0, 2, 3] },
        ];
        let rows = [(0, 4), (0, 9), (2, 0), (2, 3)];
        let narrow = narrowed(&pieces, &rows);
        let values = |piece: &Piece| -> Vec<i64> {
            let column = arrow::array::AsArray::as_primitive::<Int64Type>(piece.batch.column(0)).clone();
            piece.rows.iter().map(|row| column.value(*row)).collect()
        };
        assert_eq!(narrow.iter().flat_map(values).collect::<Vec<_>>(), [4, 9, 20, 23]);
        assert_eq!(narrow[0].batch.num_rows(), 6, "cut to where the rows are");
        assert!(narrowed(&pieces, &[]).is_empty());
    }

    #[test]
    fn what_may_be_about_the_table_is_where_nothing_was_taken() {
        let columns = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "a",
            arrow::datatypes::DataType::Int32,
            false,
        )]);
        let hot = super::super::HotTable {
            query: "q".to_owned(),
            table: "q".to_owned(),
            schema: Arc::new(columns),
            primary_key: Vec::new(),
            time_column: None,
            changes: crate::changelog::Changes::Append,
        };
        let sql = TableSql::new("public", &hot).unwrap();
        assert_eq!(Doubts { taken: 0, first: None }.resolve(&sql).unwrap(), 0);
        let doubt = || Some(WriteError::Ours(Error::invalid("a trigger says no")));
        assert_eq!(Doubts { taken: 1, first: doubt() }.resolve(&sql).unwrap(), 1);
        assert_eq!(Doubts { taken: 0, first: doubt() }.resolve(&sql).unwrap_err().primary(), "a trigger says no");
    }
}
