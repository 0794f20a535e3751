//! The ledger as it is read for `touchline.refused`: one version of it, a page at a time, on a connection that writes no rows.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::super::PostgresSink;
use super::super::connection::{failed, timed_out};
use super::super::ddl::{REFUSED_TABLE, quote};
use crate::error::{Error, Result};
use crate::tables::refused::{RefusedBatches, RefusedRows, refused_schema};

/// Rows and bytes of text of one page; one row may be longer by itself.
const PAGE_ROWS: i64 = 1_000;
const PAGE_BYTES: i64 = 16 << 20;

/// A statement that reads the ledger.
struct Reading {
    client: Client,
    /// Qualified and quoted.
    table: String,
    patience: Duration,
    /// The last entry that was read.
    after: i64,
    _turn: OwnedSemaphorePermit,
}

#[async_trait]
impl RefusedRows for PostgresSink {
    async fn open(&self) -> Result<RefusedBatches> {
        let turn = Arc::clone(&self.inner.readers).acquire_owned().await;
        let turn = turn.map_err(|_| Error::bug("the semaphore of the ledger's readers was closed"))?;
        let settings = &self.inner.settings;
        let reading = Reading {
            client: self.inner.pool.open().await?,
            table: format!("{}.{REFUSED_TABLE}", quote(&settings.schema)?),
            patience: settings.statement_timeout.saturating_add(settings.connect_timeout),
            after: 0,
            _turn: turn,
        };
        let begin = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            settings.statement_timeout.as_millis(),
            settings.lock_timeout.as_millis()
        );
        reading.patiently(reading.client.batch_execute(&begin)).await?;
        let is_there = "SELECT to_regclass($1) IS NOT NULL";
        let found =
            reading.patiently(reading.client.query_typed_one(is_there, &[(&reading.table, Type::TEXT)])).await?;
        // It is made when there is something to keep.
        if !found.get::<_, bool>(0) {
            return Ok(stream::empty().boxed());
        }
        let pages = stream::try_unfold(reading, |mut reading| async move {
            let page = reading.page().await?;
            Ok::<_, Error>(page.map(|page| (page, reading)))
        });
        Ok(pages.boxed())
    }
}

impl Reading {
    async fn page(&mut self) -> Result<Option<RecordBatch>> {
        let query = format!(
            "SELECT id, query, checkpoint, operation, sqlstate, reason, \"row\",
                    (EXTRACT(epoch FROM refused_at) * 1000000)::bigint
             FROM (SELECT page.*, sum(length) OVER (ORDER BY id) - length AS before
                   FROM (SELECT *, octet_length(coalesce(\"row\", '')) AS length FROM {}
                         WHERE id > $1 ORDER BY id LIMIT {PAGE_ROWS}) AS page) AS measured
             WHERE before <= {PAGE_BYTES} ORDER BY id",
            self.table
        );
        let rows = self.patiently(self.client.query_typed(&query, &[(&self.after, Type::INT8)])).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = last.get(0);
        batch_of(&rows).map(Some)
    }

    async fn patiently<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        let what = || format!("read the rows that were refused from {}", self.table);
        match tokio::time::timeout(self.patience, answer).await {
            Ok(done) => done.map_err(|error| failed(what(), &error)),
            Err(_) => Err(timed_out(&what(), self.patience)),
        }
    }
}

fn batch_of(rows: &[Row]) -> Result<RecordBatch> {
    let texts = |at: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.get::<_, Option<&str>>(at)).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        texts(1),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|_| "postgres"))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.get::<_, i64>(2)))),
        texts(3),
        texts(4),
        texts(5),
        texts(6),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.get::<_, i64>(7)))),
    ];
    Ok(RecordBatch::try_new(refused_schema(), columns)?)
}
