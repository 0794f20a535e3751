//! Rows and keys on their way into a hot table: few as parameters of one statement, many by `COPY`. All of them or, by the error, none.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::connection::failed;
use super::ddl::TableSql;
use super::refuse::{Blame, ROW_BYTES_MAX, Refusal, blame};
use super::text::RowWriter;
use crate::error::{Error, Result};

/// Up to this many rows travel as parameters of one statement. A temporary table for each would leave dead rows in the catalog,
/// several times a second for every query, and costs three more round trips.
const PARAMETER_ROWS_MAX: usize = 1_000;
/// Text of the parameters of one statement, which have to fit one message.
const PARAMETER_BYTES_MAX: usize = 64 << 20;
/// Bytes of text handed to the connection at once.
const COPY_CHUNK_BYTES: usize = 256 * 1024;

/// Some rows of a batch, by their index.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) batch: RecordBatch,
    pub(super) rows: Vec<usize>,
}

/// Why rows were not written: the database's answer, which still lacks the words, what it was not even asked, or an error of ours.
#[derive(Debug)]
pub(super) enum WriteError {
    Database(tokio_postgres::Error),
    Refused(Refusal),
    Ours(Error),
}

impl WriteError {
    /// `what`: what was being done, in words that follow "cannot".
    pub(super) fn or(self, what: impl std::fmt::Display) -> Error {
        match self {
            WriteError::Database(error) => failed(what, &error),
            WriteError::Refused(refusal) => Error::invalid(format!("cannot {what}"))
                .detail(format!("{} (SQLSTATE {})", refusal.reason, refusal.sqlstate)),
            WriteError::Ours(error) => error,
        }
    }

    pub(super) fn blame(&self) -> Blame {
        match self {
            WriteError::Database(error) => match error.as_db_error() {
                Some(db) => blame(db.code().code(), db.constraint(), db.file()),
                None => Blame::Elsewhere,
            },
            WriteError::Refused(_) => Blame::Row,
            WriteError::Ours(_) => Blame::Elsewhere,
        }
    }

    /// Why the one row that was being written is not taken.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            WriteError::Database(error) => match error.as_db_error() {
                Some(db) => {
                    let of = match db.constraint() {
                        Some(constraint) => format!(", constraint {constraint}"),
                        None => String::new(),
                    };
                    Refusal::new(db.code().code(), &format!("{}{of}", db.message()))
                }
                None => Refusal::new("", &error.to_string()),
            },
            WriteError::Refused(refusal) => refusal.clone(),
            WriteError::Ours(error) => Refusal::new("", error.primary()),
        }
    }
}

impl From<tokio_postgres::Error> for WriteError {
    fn from(error: tokio_postgres::Error) -> Self {
        WriteError::Database(error)
    }
}

impl From<Refusal> for WriteError {
    fn from(refusal: Refusal) -> Self {
        WriteError::Refused(refusal)
    }
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        WriteError::Ours(error)
    }
}

/// Writes rows into the table. Of equal keys the last row wins.
pub(super) async fn write_rows(db: &Client, sql: &TableSql, pieces: &[Piece]) -> Result<(), WriteError> {
    let rows: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
    if rows == 0 {
        return Ok(());
    }
    if rows <= PARAMETER_ROWS_MAX
        && let Some(columns) = texts(pieces, sql.columns.len())?
    {
        db.execute_typed(&sql.merge_arrays(), &parameters(&columns)).await?;
        return Ok(());
    }
    copy_rows(db, sql, pieces).await
}

/// Deletes the rows of some keys, `nulls`: which columns of the key are NULL in all of them. Returns how many there were.
pub(super) async fn delete_keys(db: &Client, sql: &TableSql, keys: &Piece, nulls: &[bool]) -> Result<u64, WriteError> {
    match texts(std::slice::from_ref(keys), keys.batch.num_columns())? {
        Some(columns) => Ok(db.execute_typed(&sql.delete_arrays(nulls), &parameters(&columns)).await?),
        None => Err(Refusal::too_large(PARAMETER_BYTES_MAX).into()),
    }
}

type Texts = Vec<Vec<Option<String>>>;

/// The values of each column as texts; `None` where they are too long for one message.
fn texts(pieces: &[Piece], columns: usize) -> Result<Option<Texts>> {
    let mut texts: Texts = vec![Vec::new(); columns];
    let mut bytes = 0;
    for piece in pieces {
        let mut writer = RowWriter::try_new(&piece.batch)?;
        for (at, column) in texts.iter_mut().enumerate() {
            let before = column.len();
            writer.texts(at, &piece.rows, column)?;
            bytes += column[before..].iter().flatten().map(String::len).sum::<usize>();
            if bytes > PARAMETER_BYTES_MAX {
                return Ok(None);
            }
        }
    }
    Ok(Some(texts))
}

fn parameters(columns: &[Vec<Option<String>>]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    columns.iter().map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect()
}

async fn copy_rows(db: &Client, sql: &TableSql, pieces: &[Piece]) -> Result<(), WriteError> {
    let keyed = !sql.key.is_empty();
    let copy = if keyed {
        db.batch_execute(&sql.create_delta()).await?;
        sql.copy_delta()
    } else {
        sql.copy_rows()
    };
    let sink = db.copy_in::<_, Bytes>(copy.as_str()).await?;
    let mut sink = std::pin::pin!(sink);
    let room = || Vec::with_capacity(COPY_CHUNK_BYTES + COPY_CHUNK_BYTES / 4);
    let mut buffer = room();
    let mut number = 0;
    for piece in pieces {
        let mut writer = RowWriter::try_new(&piece.batch)?;
        for &row in &piece.rows {
            let before = buffer.len();
            writer.write(row, keyed.then_some(number), &mut buffer)?;
            number += 1;
            let length = buffer.len() - before;
            if length > ROW_BYTES_MAX {
                return Err(Refusal::too_large(length).into());
            }
            if buffer.len() >= COPY_CHUNK_BYTES {
                let mut rest = Bytes::from(std::mem::replace(&mut buffer, room()));
                // A row can be longer than a message may be.
                while !rest.is_empty() {
                    sink.send(rest.split_to(rest.len().min(4 * COPY_CHUNK_BYTES))).await?;
                }
            }
        }
    }
    if !buffer.is_empty() {
        sink.send(buffer.into()).await?;
    }
    sink.finish().await?;
    if keyed {
        db.execute_typed(&sql.merge_delta(), &[]).await?;
    }
    Ok(())
}
