//! The ledger of rows that Postgres refused: `touchline_refused`, a table beside the marker, written in the transaction that moves it. A row
//! is therefore in the hot table or in the ledger, once, whatever is repeated.

mod reading;

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::json::writer::{EncoderOptions, LineDelimited, make_encoder};
use arrow::json::{Writer, WriterBuilder};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tracing::warn;

use super::connection::failed;
use super::ddl::{REFUSED_TABLE, TableSql, literal};
use super::rebuild::written_for;
use super::refuse::Refusal;
use super::{HotTable, signed};
use crate::error::{Error, Result};

/// A longer row is not kept in the ledger, which says so. It is in Parquet.
const ROW_BYTES_MAX: usize = 1 << 20;
/// What is gathered for one statement, bytes of text and entries.
const GATHERED_BYTES_MAX: usize = 4 << 20;
const GATHERED_MAX: usize = 1_000;
/// Between two lines of the log about one query.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Write,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Write => "write",
            Operation::Delete => "delete",
        }
    }
}

/// What one transaction adds to the ledger.
pub(super) struct Ledger<'a> {
    db: &'a Client,
    hot: &'a HotTable,
    /// Qualified and quoted.
    table: String,
    checkpoint: i64,
    gathered: Vec<Entry>,
    gathered_bytes: usize,
    is_there: bool,
    refused: u64,
    first: Option<Refusal>,
}

struct Entry {
    operation: Operation,
    refusal: Refusal,
    row: Option<String>,
}

/// What a transaction has added, to be said once it is committed.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) refused: u64,
    first: Option<Refusal>,
}

impl<'a> Ledger<'a> {
    /// `checkpoint`: the one that the marker moves to; the rows are of it or of those that it takes along.
    pub(super) fn new(db: &'a Client, hot: &'a HotTable, sql: &TableSql, checkpoint: u64) -> Result<Self> {
        Ok(Ledger {
            db,
            hot,
            table: sql.in_schema(REFUSED_TABLE)?,
            checkpoint: signed(checkpoint)?,
            gathered: Vec::new(),
            gathered_bytes: 0,
            is_there: false,
            refused: 0,
            first: None,
        })
    }

    /// `row`: its index in `batch`.
    pub(super) async fn refuse(
        &mut self,
        operation: Operation,
        batch: &RecordBatch,
        row: usize,
        mut refusal: Refusal,
    ) -> Result<()> {
        let text = json_of(batch, row)?;
        self.refused += 1;
        self.first.get_or_insert_with(|| refusal.clone());
        let row = (text.len() <= ROW_BYTES_MAX).then_some(text);
        if row.is_none() {
            refusal.reason += &format!("; the row has more than {ROW_BYTES_MAX} bytes as JSON and is in Parquet alone");
        }
        self.gathered_bytes += row.as_ref().map_or(0, String::len) + refusal.reason.len();
        self.gathered.push(Entry { operation, refusal, row });
        if self.gathered.len() >= GATHERED_MAX || self.gathered_bytes >= GATHERED_BYTES_MAX {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes what is left, before the transaction is committed.
    pub(super) async fn finish(mut self) -> Result<Added> {
        self.flush().await?;
        Ok(Added { refused: self.refused, first: self.first })
    }

    async fn flush(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let what = || format!("note rows that were refused in {}", self.table);
        if !self.is_there {
            self.db.batch_execute(&create(&self.table)).await.map_err(|error| failed(what(), &error))?;
            self.is_there = true;
        }
        let texts = |of: fn(&Entry) -> Option<&str>| -> Vec<Option<&str>> { self.gathered.iter().map(of).collect() };
        let insert = format!(
            "INSERT INTO {} (query, version, checkpoint, operation, sqlstate, reason, \"row\")
             SELECT $1, $2, $3, operation, sqlstate, reason, \"row\"
             FROM unnest($4, $5, $6, $7) WITH ORDINALITY AS entries (operation, sqlstate, reason, \"row\", number)
             ORDER BY number",
            self.table
        );
        self.db
            .execute_typed(
                &insert,
                &[
                    (&self.hot.table, Type::TEXT),
                    (&self.hot.query, Type::TEXT),
                    (&self.checkpoint, Type::INT8),
                    (&texts(|entry| Some(entry.operation.name())), Type::TEXT_ARRAY),
                    (&texts(|entry| Some(entry.refusal.sqlstate.as_str())), Type::TEXT_ARRAY),
                    (&texts(|entry| Some(entry.refusal.reason.as_str())), Type::TEXT_ARRAY),
                    (&texts(|entry| entry.row.as_deref()), Type::TEXT_ARRAY),
                ],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        self.gathered.clear();
        self.gathered_bytes = 0;
        Ok(())
    }
}

/// Makes the ledger where it is not there. Of two queries that find none at once the second waits.
fn create(table: &str) -> String {
    format!(
        "SELECT pg_advisory_xact_lock(hashtext({name})) WHERE to_regclass({name}) IS NULL;
         CREATE TABLE IF NOT EXISTS {table} (
           id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
           query text NOT NULL,
           version text NOT NULL,
           checkpoint bigint NOT NULL,
           operation text NOT NULL,
           sqlstate text NOT NULL,
           reason text NOT NULL,
           \"row\" text,
           refused_at timestamp with time zone NOT NULL DEFAULT now()
         )",
        name = literal(table)
    )
}

/// Forgets what was refused of a view as many days ago as its hot table keeps rows.
pub(super) async fn forget(db: &Client, hot: &HotTable, sql: &TableSql, days: u32) -> Result<()> {
    let table = sql.in_schema(REFUSED_TABLE)?;
    let what = || format!("forget old rows of {table}");
    if !is_there(db, &table).await? {
        return Ok(());
    }
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    db.execute_typed(
        &format!("DELETE FROM {table} WHERE query = $1 AND refused_at <= now() - make_interval(days => $2)"),
        &[(&hot.table, Type::TEXT), (&days, Type::INT4)],
    )
    .await
    .map_err(|error| failed(what(), &error))?;
    Ok(())
}

/// Forgets what was refused of a table that is no more, or never was whole: a table that takes its place is given all rows again. `query`: the
/// version of the view.
pub(super) async fn forget_version(db: &Client, sql: &TableSql, query: &str) -> Result<()> {
    let table = sql.in_schema(REFUSED_TABLE)?;
    let what = || format!("forget in {table} what was refused of another table");
    if !is_there(db, &table).await? {
        return Ok(());
    }
    db.execute_typed(&format!("DELETE FROM {table} WHERE version = $1"), &[(&query, Type::TEXT)])
        .await
        .map_err(|error| failed(what(), &error))?;
    Ok(())
}

/// What was refused of a table that was made anew, as `from`, is what the table of `hot` lacks now, and nothing else is.
pub(super) async fn hand_over(db: &Client, from: &HotTable, hot: &HotTable, sql: &TableSql, at: u64) -> Result<()> {
    forget_version(db, sql, &hot.query).await?;
    let table = sql.in_schema(REFUSED_TABLE)?;
    let what = || format!("note in {table} what was refused of hot table {}", sql.qualified);
    if !is_there(db, &table).await? {
        return Ok(());
    }
    db.execute_typed(
        &format!("UPDATE {table} SET query = $1, version = $2, checkpoint = $3 WHERE version = $4"),
        &[(&hot.table, Type::TEXT), (&hot.query, Type::TEXT), (&signed(at)?, Type::INT8), (&from.query, Type::TEXT)],
    )
    .await
    .map_err(|error| failed(what(), &error))?;
    Ok(())
}

/// The ledger is made when there is something to keep.
async fn is_there(db: &Client, table: &str) -> Result<bool> {
    let found = db
        .query_typed_one("SELECT to_regclass($1) IS NOT NULL", &[(&table, Type::TEXT)])
        .await
        .map_err(|error| failed(format!("look for {table}"), &error))?;
    Ok(found.get(0))
}

/// A row as a JSON object. Columns whose type JSON cannot say are left out.
fn json_of(batch: &RecordBatch, row: usize) -> Result<String> {
    let one = batch.slice(row, 1);
    let options = EncoderOptions::default();
    let fields = one.schema();
    let shown: Vec<usize> = (0..one.num_columns())
        .filter(|at| make_encoder(&fields.fields()[*at], one.column(*at).as_ref(), &options).is_ok())
        .collect();
    let mut writer: Writer<Vec<u8>, LineDelimited> = WriterBuilder::new().with_explicit_nulls(true).build(Vec::new());
    writer.write(&one.project(&shown)?)?;
    writer.finish()?;
    let mut text = String::from_utf8(writer.into_inner())
        .map_err(|error| Error::bug("a row's JSON is not UTF-8").caused_by(error))?;
    text.truncate(text.trim_end().len());
    Ok(if text.is_empty() { "{}".to_owned() } else { text })
}

/// How many rows of each query were refused since this process began, and what of it the log has heard.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<String, Count>>);

#[derive(Debug, Default)]
struct Count {
    refused: u64,
    untold: u64,
    told_at: Option<Instant>,
}

impl Counts {
    pub(super) fn refused(&self, query: &str) -> u64 {
        self.0.lock().get(query).map_or(0, |count| count.refused)
    }

    /// Takes up what has been committed, and names it in the log: at once, then once a minute with what has come since.
    pub(super) fn note(&self, hot: &HotTable, checkpoint: u64, added: &Added, now: Instant) {
        let query = written_for(&hot.query);
        let (Some(first), Some(rows)) = (&added.first, self.count(query, added.refused, now)) else { return };
        warn!(
            query = hot.table,
            checkpoint,
            rows,
            sqlstate = first.sqlstate,
            reason = first.reason,
            "rows refused by Postgres are not in the hot table; they are kept in touchline.refused"
        );
    }

    /// Returns how many to tell of, where it is time to.
    fn count(&self, query: &str, refused: u64, now: Instant) -> Option<u64> {
        let mut counts = self.0.lock();
        let count = counts.entry(query.to_owned()).or_default();
        count.refused += refused;
        count.untold += refused;
        if count.untold == 0 || count.told_at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            return None;
        }
        count.told_at = Some(now);
        Some(std::mem::take(&mut count.untold))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, Int64Array, IntervalYearMonthArray, StringArray};

    use super::*;

    #[test]
    fn a_refused_row_is_kept_as_json_with_its_nulls() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(StringArray::from(vec!["x", "nul \0 \"here\""]))),
            ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("bytes", Arc::new(BinaryArray::from(vec![&b"a"[..], &b"\xff"[..]]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        assert_eq!(json_of(&batch, 1).unwrap(), r#"{"id":"nul \u0000 \"here\"","n":null,"bytes":"ff"}"#);
        let spans: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("span", spans)]).unwrap();
        assert!(json_of(&batch, 0).unwrap().starts_with('{'));
    }

    #[test]
    fn the_log_hears_of_the_first_refusal_and_then_once_a_minute_of_all_since() {
        let (counts, start) = (Counts::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(counts.count("q", 0, at(0)), None);
        assert_eq!(counts.count("q", 2, at(1)), Some(2));
        assert_eq!(counts.count("q", 3, at(2)), None);
        assert_eq!(counts.count("other", 1, at(2)), Some(1));
        assert_eq!(counts.count("q", 4, at(60)), None);
        assert_eq!(counts.count("q", 5, at(61)), Some(12));
        assert_eq!((counts.refused("q"), counts.refused("other"), counts.refused("none")), (14, 1, 0));
    }
}
