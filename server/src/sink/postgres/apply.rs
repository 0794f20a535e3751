//! Rows of a checkpoint range into the hot table, together with the marker, in one transaction.

use std::collections::BTreeSet;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use tokio::time::Instant;
use tokio_postgres::types::Type;

use super::careful;
use super::changes::{Deletion, Netted, deletions, netted};
use super::connection::{Lease, failed, timed_out};
use super::ddl::{self, Day, Layout, TableSql};
use super::ledger::{Ledger, Operation};
use super::marker::{Verdict, decide_marker};
use super::refuse::{Blame, Refusal, altered_keys};
use super::text;
use super::write::{Piece, WriteError, delete_keys, write_rows};
use super::{Applied, Claim, HotTable, PostgresSink, fenced, signed};
use crate::clock::Micros;
use crate::error::{Error, Result};

/// Days ahead for which partitions are made before rows ask for them, so that a midnight costs nothing.
const DAYS_AHEAD: Day = 2;
/// Ten years of days. A delta that needs more has event times that are no times, and would fill the catalog with tables.
const PARTITIONS_MAX: usize = 3_660;
/// As many limits of a statement may pass while rows that are refused are looked for.
const CAREFUL_PATIENCE: u32 = 60;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// As if each could be taken, which costs nothing where it can.
    AllAtOnce,
    /// So that those that cannot are told from the others.
    EachRow,
}

impl PostgresSink {
    /// Applies the rows of checkpoints `from + 1 ..= to` and moves the marker, in one transaction.
    ///
    /// Within the range the last row of a key wins, also where it says that there is none any more. An empty range only moves the marker. Safe to repeat after any error.
    ///
    /// A row that Postgres cannot take, because of its values or of somebody's constraint, goes into the ledger of refused rows in the same
    /// transaction, and stops no other one. What its key held before stays.
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
        self.apply_now(hot, &sql, claim, from..to, batches).await
    }

    /// One transaction, or two: where the first finds that a row cannot be taken, another one looks for all such rows.
    async fn apply_now(
        &self,
        hot: &HotTable,
        sql: &TableSql,
        claim: &Claim,
        range: std::ops::Range<u64>,
        batches: &[RecordBatch],
    ) -> Result<Applied> {
        let at_once = self.apply_as(Care::AllAtOnce, hot, sql, claim, range.clone(), batches);
        if let Some(applied) = self.patiently("write to a hot table", at_once).await? {
            return Ok(applied);
        }
        let by_parts = self.apply_as(Care::EachRow, hot, sql, claim, range, batches);
        // Each statement has its own limit; a range of which most rows are refused has many.
        let patience = self.inner.settings.statement_timeout.saturating_mul(CAREFUL_PATIENCE);
        match tokio::time::timeout(patience, by_parts).await {
            Ok(applied) => applied?.ok_or_else(|| Error::bug("rows that were looked for one by one were not found")),
            Err(_) => Err(timed_out("write to a hot table", patience)),
        }
    }

    /// `None`: a row cannot be taken, and nothing has happened.
    async fn apply_as(
        &self,
        care: Care,
        hot: &HotTable,
        sql: &TableSql,
        claim: &Claim,
        range: std::ops::Range<u64>,
        batches: &[RecordBatch],
    ) -> Result<Option<Applied>> {
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
                Verdict::AlreadyApplied { at } => Ok(Some(Applied::AlreadyApplied { at })),
                Verdict::Behind { at } => Ok(Some(Applied::Behind { at })),
                Verdict::Ahead { at } => Ok(Some(Applied::Ahead { at })),
                Verdict::Fenced { by } => Err(fenced(hot, claim.generation, by)),
            };
        };
        let boundary: Option<Micros> = moved.get(0);
        let Netted { rows: shown, gone } = netted(hot, sql, batches)?;
        let deletions = deletions(sql, &gone)?;
        let placed = shown.iter().map(|batch| place(hot, sql, batch, boundary)).collect::<Result<Vec<_>>>()?;
        let expired: u64 = placed.iter().map(|batch| batch.expired).sum();
        let days = placed.iter().flat_map(|batch| batch.days.iter().copied()).collect();
        let pieces: Vec<Piece> =
            placed.iter().map(|placed| Piece { batch: placed.batch.clone(), rows: placed.rows.clone() }).collect();
        let mut ledger = Ledger::new(&db, hot, sql, range.end)?;
        let written = match care {
            Care::AllAtOnce => match self.write_at_once(&db, sql, &deletions, days, &pieces).await {
                Ok(written) => written,
                Err(error) if error.blame() == Blame::Elsewhere => return Err(error.or(what())),
                Err(_) => {
                    drop(ledger);
                    db.batch_execute("ROLLBACK").await.map_err(|error| failed(what(), &error))?;
                    db.give_back();
                    return Ok(None);
                }
            },
            Care::EachRow => {
                careful::begin(&db, sql).await?;
                let deleted = careful::delete(&db, sql, &deletions, &mut ledger).await?;
                self.ensure_partitions(&db, sql, days).await?;
                deleted + careful::write(&db, sql, &pieces, &mut ledger).await?
            }
        };
        for placed in &placed {
            for (row, refusal) in &placed.refused {
                ledger.refuse(Operation::Write, placed.batch, *row, refusal.clone()).await?;
            }
        }
        let added = ledger.finish().await?;
        if expired > 0 {
            db.execute_typed(
                &format!("UPDATE {marker} SET expired_rows = expired_rows + $2 WHERE query = $1"),
                &[(&hot.query, Type::TEXT), (&signed(expired)?, Type::INT8)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        }
        let committed = db.batch_execute("COMMIT").await;
        if let Err(error) = committed {
            let error = WriteError::Database(error);
            // What a constraint may look at late it looks at here, and has undone everything.
            if care == Care::AllAtOnce && error.blame() != Blame::Elsewhere {
                db.give_back();
                return Ok(None);
            }
            return Err(error.or(what()));
        }
        db.give_back();
        self.inner.refused.note(hot, range.end, &added, Instant::now());
        Ok(Some(Applied::Written { rows: written, expired }))
    }

    /// Returns how many rows were deleted and written.
    async fn write_at_once(
        &self,
        db: &Lease<'_>,
        sql: &TableSql,
        deletions: &[Deletion],
        days: BTreeSet<Day>,
        pieces: &[Piece],
    ) -> Result<u64, WriteError> {
        let mut written = 0;
        for deletion in deletions {
            written += delete_keys(db, sql, &deletion.keys, &deletion.nulls).await?;
        }
        self.ensure_partitions(db, sql, days).await?;
        write_rows(db, sql, pieces).await?;
        Ok(written + pieces.iter().map(|piece| piece.rows.len() as u64).sum::<u64>())
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
}

/// The rows of a batch that go into the table, and the days they fall on.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    batch: &'a RecordBatch,
    pub(super) rows: Vec<usize>,
    pub(super) days: BTreeSet<Day>,
    pub(super) expired: u64,
    /// Rows that need not be tried.
    pub(super) refused: Vec<(usize, Refusal)>,
}

/// Leaves out rows before `boundary`: inserted, they would bring back a day that was dropped. And those that cannot be there at all.
pub(super) fn place<'a>(
    hot: &HotTable,
    sql: &TableSql,
    batch: &'a RecordBatch,
    boundary: Option<Micros>,
) -> Result<Placed<'a>> {
    if batch.num_columns() != sql.columns.len() {
        return Err(Error::bug(format!("a batch of view {} has {} columns", hot.query, batch.num_columns())));
    }
    let mut placed = Placed {
        batch,
        rows: Vec::with_capacity(batch.num_rows()),
        days: BTreeSet::new(),
        expired: 0,
        refused: altered_keys(sql, batch, &sql.key)?,
    };
    let altered: BTreeSet<usize> = placed.refused.iter().map(|(row, _)| *row).collect();
    let rest = (0..batch.num_rows()).filter(|row| !altered.contains(row));
    let (column, daily) = match sql.layout {
        Layout::Daily { column } => (column, true),
        Layout::Plain { time: Some(column) } if boundary.is_some() => (column, false),
        Layout::Plain { .. } => {
            placed.rows.extend(rest);
            return Ok(placed);
        }
    };
    let array = batch.column(column);
    let moment = text::moments(array)?;
    for row in rest {
        if array.is_null(row) {
            match daily {
                true => placed.refused.push((row, Refusal::no_day(&sql.columns[column].name))),
                false => placed.rows.push(row),
            }
            continue;
        }
        let micros = moment(row);
        if boundary.is_some_and(|boundary| micros < boundary) {
            placed.expired += 1;
            continue;
        }
        match ddl::day_of(micros) {
            Some(day) if daily => _ = placed.days.insert(day),
            None if daily => {
                placed.refused.push((row, Refusal::beyond_all_days(&sql.columns[column].name)));
                continue;
            }
            _ => {}
        }
        placed.rows.push(row);
    }
    Ok(placed)
}
