//! Rows of a checkpoint range into the hot table, together with the marker, in one transaction.

use std::collections::BTreeSet;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::types::{ToSql, Type};

use super::changes::{Netted, delete, netted};
use super::connection::{Lease, failed};
use super::ddl::{self, Day, Layout, TableSql};
use super::marker::{Verdict, decide_marker};
use super::text::{self, RowWriter};
use super::{Applied, Claim, HotTable, PostgresSink, fenced, signed};
use crate::clock::Micros;
use crate::error::{Error, Result};

/// Days ahead for which partitions are made before rows ask for them, so that a midnight costs nothing.
const DAYS_AHEAD: Day = 2;
/// Ten years of days. A delta that needs more has event times that are no times, and would fill the catalog with tables.
const PARTITIONS_MAX: usize = 3_660;
/// Up to this many rows travel as parameters of one statement. A temporary table for each would leave dead rows in the catalog,
/// several times a second for every query, and costs three more round trips.
const PARAMETER_ROWS_MAX: u64 = 1_000;
/// Bytes of text handed to the connection at once.
const COPY_CHUNK_BYTES: usize = 256 * 1024;

impl PostgresSink {
    /// Applies the rows of checkpoints `from + 1 ..= to` and moves the marker, in one transaction.
    ///
    /// Within the range the last row of a key wins, also where it says that there is none any more. An empty range only moves the marker. Safe to repeat after any error.
    ///
    /// # Errors
    /// `Fenced` where a newer generation owns the table, `Unavailable` where a retry may help ([`super::retry_delay`]), `Invalid`
    /// where the rows cannot go in until someone changes the table or the query.
    pub async fn apply(
        &self,
        hot: &HotTable,
        claim: &Claim,
        from: u64,
        to: u64,
        batches: &[RecordBatch],
    ) -> Result<Applied> {
        let sql = TableSql::new(&self.inner.settings.schema, hot)?;
        self.patiently("write to a hot table", self.apply_now(hot, &sql, claim, from..to, batches)).await
    }

    async fn apply_now(
        &self,
        hot: &HotTable,
        sql: &TableSql,
        claim: &Claim,
        range: std::ops::Range<u64>,
        batches: &[RecordBatch],
    ) -> Result<Applied> {
        let what = || format!("write checkpoint {} to hot table {}", range.end, sql.qualified);
        let db = self.inner.pool.lease().await?;
        self.begin(&db).await?;
        let marker = self.marker_table()?;
        let ((lineage, by), (_, by_before)) = (claim.names(range.end), claim.names(range.start));
        // The row lock taken here holds back everyone else with this query until the commit. The table's name is another one once
        // this version of the view has been replaced: its rows must not go into its successor's table.
        let moved = db
            .query_typed_opt(
                &format!(
                    "UPDATE {marker} SET checkpoint = $2, instance = $7::uuid, updated_at = now()
                     WHERE query = $1 AND checkpoint = $3 AND generation = $4 AND table_name = $5
                       AND lineage = $6::uuid AND instance IS NOT DISTINCT FROM $8::uuid
                     RETURNING (EXTRACT(epoch FROM retained_from) * 1000000)::bigint"
                ),
                &[
                    (&hot.query, Type::TEXT),
                    (&signed(range.end)?, Type::INT8),
                    (&signed(range.start)?, Type::INT8),
                    (&signed(claim.generation)?, Type::INT8),
                    (&hot.table, Type::TEXT),
                    (&lineage, Type::TEXT),
                    (&by, Type::TEXT),
                    (&by_before, Type::TEXT),
                ],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let Some(moved) = moved else {
            let row = self.read_marker(&db, hot).await?;
            db.batch_execute("ROLLBACK").await.map_err(|error| failed(what(), &error))?;
            db.give_back();
            return match decide_marker(row, range.start, range.end, claim) {
                Verdict::AlreadyApplied { at } => Ok(Applied::AlreadyApplied { at }),
                Verdict::Behind { at } => Ok(Applied::Behind { at }),
                Verdict::Ahead { at } => Ok(Applied::Ahead { at }),
                Verdict::Fenced { by } => Err(fenced(hot, claim.generation, by)),
            };
        };
        let boundary: Option<Micros> = moved.get(0);
        let Netted { rows: shown, gone } = netted(hot, sql, batches)?;
        let deleted = delete(&db, sql, &gone).await?;
        let placed = shown.iter().map(|batch| place(hot, sql, batch, boundary)).collect::<Result<Vec<_>>>()?;
        let rows: u64 = placed.iter().map(|batch| batch.rows.len() as u64).sum();
        let expired: u64 = placed.iter().map(|batch| batch.expired).sum();
        if rows > 0 {
            let days = placed.iter().flat_map(|batch| batch.days.iter().copied()).collect();
            self.ensure_partitions(&db, sql, days).await?;
            let written = if rows <= PARAMETER_ROWS_MAX {
                self.insert_rows(&db, sql, &placed).await
            } else {
                self.copy_rows(&db, sql, &placed).await
            };
            written.map_err(|error| error.or(what()))?;
        }
        if expired > 0 {
            db.execute_typed(
                &format!("UPDATE {marker} SET expired_rows = expired_rows + $2 WHERE query = $1"),
                &[(&hot.query, Type::TEXT), (&signed(expired)?, Type::INT8)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        }
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        db.give_back();
        Ok(Applied::Written { rows: rows + deleted, expired })
    }

    async fn ensure_partitions(&self, db: &Lease<'_>, sql: &TableSql, mut days: BTreeSet<Day>) -> Result<()> {
        let (Layout::Daily { .. }, Some(&last)) = (&sql.layout, days.last()) else { return Ok(()) };
        days.extend((1..=DAYS_AHEAD).map(|ahead| last + ahead));
        let existing = self.partitions(db, &sql.qualified).await?;
        let missing: Vec<Day> = days
            .into_iter()
            .filter(|day| {
                let name = sql.partition_name(*day);
                !existing.iter().any(|(other, _)| *other == name)
            })
            .collect();
        if existing.len() + missing.len() > PARTITIONS_MAX {
            return Err(Error::over_budget(format!("hot table {} would have too many partitions", sql.qualified))
                .detail(format!(
                    "{} exist and {} days are new; {PARTITIONS_MAX} is the limit",
                    existing.len(),
                    missing.len()
                ))
                .hint(
                    "are the event times right? leave such rows out in the query, or lower postgres.retention_days",
                ));
        }
        for day in missing {
            db.batch_execute(&sql.create_partition(day)?)
                .await
                .map_err(|error| failed(format!("create a partition of hot table {}", sql.qualified), &error))?;
        }
        Ok(())
    }

    async fn insert_rows(&self, db: &Lease<'_>, sql: &TableSql, placed: &[Placed<'_>]) -> Result<(), CopyError> {
        let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); sql.columns.len()];
        for batch in placed {
            let mut writer = RowWriter::try_new(batch.batch)?;
            for (at, column) in columns.iter_mut().enumerate() {
                writer.texts(at, &batch.rows, column)?;
            }
        }
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            columns.iter().map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect();
        db.execute_typed(&sql.merge_arrays(), &parameters).await?;
        Ok(())
    }

    async fn copy_rows(&self, db: &Lease<'_>, sql: &TableSql, placed: &[Placed<'_>]) -> Result<(), CopyError> {
        let keyed = !sql.key.is_empty();
        let copy = if keyed {
            db.batch_execute(&sql.create_delta()).await?;
            sql.copy_delta()
        } else {
            sql.copy_rows()
        };
        let sink = db.copy_in::<_, Bytes>(copy.as_str()).await?;
        let mut sink = std::pin::pin!(sink);
        let mut buffer = Vec::with_capacity(COPY_CHUNK_BYTES + COPY_CHUNK_BYTES / 4);
        let mut number = 0;
        for batch in placed {
            let mut writer = RowWriter::try_new(batch.batch)?;
            for &row in &batch.rows {
                writer.write(row, keyed.then_some(number), &mut buffer)?;
                number += 1;
                if buffer.len() >= COPY_CHUNK_BYTES {
                    let chunk =
                        std::mem::replace(&mut buffer, Vec::with_capacity(COPY_CHUNK_BYTES + COPY_CHUNK_BYTES / 4));
                    sink.send(chunk.into()).await?;
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
}

/// An error while rows are copied: the database's, which still lacks the words, or ours, which has them.
enum CopyError {
    Database(tokio_postgres::Error),
    Ours(Error),
}

impl CopyError {
    fn or(self, what: String) -> Error {
        match self {
            CopyError::Database(error) => failed(what, &error),
            CopyError::Ours(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for CopyError {
    fn from(error: tokio_postgres::Error) -> Self {
        CopyError::Database(error)
    }
}

impl From<Error> for CopyError {
    fn from(error: Error) -> Self {
        CopyError::Ours(error)
    }
}

/// The rows of a batch that go into the table, and the days they fall on.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    batch: &'a RecordBatch,
    pub(super) rows: Vec<usize>,
    pub(super) days: BTreeSet<Day>,
    pub(super) expired: u64,
}

/// Leaves out rows before `boundary`: inserted, they would bring back a day that was dropped.
pub(super) fn place<'a>(
    hot: &HotTable,
    sql: &TableSql,
    batch: &'a RecordBatch,
    boundary: Option<Micros>,
) -> Result<Placed<'a>> {
    if batch.num_columns() != sql.columns.len() {
        return Err(Error::bug(format!("a batch of view {} has {} columns", hot.query, batch.num_columns())));
    }
    let all = Placed { batch, rows: (0..batch.num_rows()).collect(), days: BTreeSet::new(), expired: 0 };
    let (column, daily) = match sql.layout {
        Layout::Daily { column } => (column, true),
        Layout::Plain { time: Some(column) } if boundary.is_some() => (column, false),
        Layout::Plain { .. } => return Ok(all),
    };
    let array = batch.column(column);
    let moment = text::moments(array)?;
    let mut placed = Placed { rows: Vec::with_capacity(batch.num_rows()), ..all };
    for row in 0..batch.num_rows() {
        if array.is_null(row) {
            if daily {
                return Err(Error::invalid(format!("a row of view {} has no {}", hot.query, sql.columns[column].name))
                    .detail("the hot table is partitioned by it")
                    .hint("leave such rows out with WHERE … IS NOT NULL, or take the column out of 'primary-key'"));
            }
            placed.rows.push(row);
            continue;
        }
        let micros = moment(row);
        let day = ddl::day_of(micros);
        if boundary.is_some_and(|boundary| micros < boundary) || (daily && day.is_none()) {
            placed.expired += 1;
            continue;
        }
        if let Some(day) = day.filter(|_| daily) {
            placed.days.insert(day);
        }
        placed.rows.push(row);
    }
    Ok(placed)
}
