//! Days that pass out of a hot table, and tables that were set aside and are no longer kept.

use tokio_postgres::types::Type;

use super::connection::{Lease, failed};
use super::ddl::{self, Layout, TableSql};
use super::owner::is_ours;
use super::{HotTable, PostgresSink, Retained, fenced, signed};
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, Result};

impl PostgresSink {
    /// Drops days that have passed out of `retention_days`, counted back from `now`.
    ///
    /// `now`: processing time, or the query's watermark where that is earlier, so that a replay of old events is not thrown away
    /// as it comes in. The boundary is kept in `touchline_commits` and never moves back; rows before it are counted, not
    /// inserted. A table without a time column keeps its rows.
    ///
    /// Tables of the view that were set aside `retention_days` ago or more, by the database's clock, are dropped whole.
    ///
    /// # Errors
    /// As [`PostgresSink::apply`]. A drop that was cut off is finished by the next call.
    pub async fn retain(&self, hot: &HotTable, generation: u64, now: Micros) -> Result<Retained> {
        let sql = TableSql::new(&self.inner.settings.schema, hot)?;
        self.patiently("drop old rows of a hot table", async {
            let mut retained = self.retain_now(hot, &sql, generation, now).await?;
            retained.dropped.extend(self.drop_set_aside(hot, &sql).await?);
            Ok(retained)
        })
        .await
    }

    async fn retain_now(&self, hot: &HotTable, sql: &TableSql, generation: u64, now: Micros) -> Result<Retained> {
        let what = || format!("drop old rows of hot table {}", sql.qualified);
        let (Layout::Daily { column } | Layout::Plain { time: Some(column) }) = sql.layout else {
            return Ok(Retained { boundary: Micros::MIN, dropped: Vec::new(), deleted: 0 });
        };
        let wanted = now.div_euclid(DAY_MICROS) - i64::from(self.inner.settings.retention_days);
        let db = self.inner.pool.lease().await?;
        self.begin(&db).await?;
        let marker = self.marker_table()?;
        let moved = db
            .query_typed_opt(
                &format!(
                    "UPDATE {marker} SET retained_from = GREATEST(retained_from, to_timestamp($2::double precision))
                     WHERE query = $1 AND generation = $3 AND table_name = $4
                     RETURNING (EXTRACT(epoch FROM retained_from) * 1000000)::bigint"
                ),
                &[
                    (&hot.query, Type::TEXT),
                    (&((wanted * (DAY_MICROS / 1_000_000)) as f64), Type::FLOAT8),
                    (&signed(generation)?, Type::INT8),
                    (&hot.table, Type::TEXT),
                ],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let Some(moved) = moved else {
            return Err(match self.read_marker(&db, hot).await? {
                Some(row) if row.generation > generation => fenced(hot, generation, row.generation),
                _ => Error::unavailable(format!("cannot {}", what()))
                    .detail("the database was set back; the table is prepared again first"),
            });
        };
        let boundary: Micros = moved.get(0);
        let day = boundary.div_euclid(DAY_MICROS);
        let mut retained = Retained { boundary, dropped: Vec::new(), deleted: 0 };
        if let Layout::Plain { .. } = sql.layout {
            let delete = format!(
                "DELETE FROM {} WHERE {} < {}",
                sql.qualified,
                sql.columns[column].quoted,
                sql.day_literal(column, day)
            );
            retained.deleted = db.execute_typed(&delete, &[]).await.map_err(|error| failed(what(), &error))?;
        }
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        for (name, pending) in self.partitions(&db, &sql.qualified).await? {
            if ddl::partition_day(&name).is_none_or(|of| of >= day) {
                continue;
            }
            self.drop_partition(&db, sql, &name, pending).await?;
            retained.dropped.push(name);
        }
        db.give_back();
        Ok(retained)
    }

    /// Takes a partition out beside running queries, then drops it. From version 14; before it readers wait a moment.
    async fn drop_partition(&self, db: &Lease<'_>, sql: &TableSql, name: &str, pending: bool) -> Result<()> {
        let what = || format!("drop partition {name} of hot table {}", sql.qualified);
        let partition = sql.in_schema(name)?;
        if self.version() >= 140_000 {
            let way = if pending { "FINALIZE" } else { "CONCURRENTLY" };
            db.batch_execute(&format!("ALTER TABLE {} DETACH PARTITION {partition} {way}", sql.qualified))
                .await
                .map_err(|error| failed(what(), &error))?;
        }
        self.begin(db).await?;
        db.batch_execute(&format!("DROP TABLE {partition}; COMMIT")).await.map_err(|error| failed(what(), &error))
    }

    /// Drops tables of the view whose time after being set aside is over. Returns their names.
    async fn drop_set_aside(&self, hot: &HotTable, sql: &TableSql) -> Result<Vec<String>> {
        let what = || format!("drop what was set aside of hot table {}", sql.qualified);
        let (marker, set_aside) = (self.marker_table()?, self.set_aside_table()?);
        let days = i32::try_from(self.inner.settings.retention_days).unwrap_or(i32::MAX);
        let db = self.inner.pool.lease().await?;
        let over = db
            .query_typed(
                &format!(
                    "SELECT table_name FROM {set_aside}
                     WHERE hot_table = $1 AND set_aside_at <= now() - make_interval(days => $2) ORDER BY table_name"
                ),
                &[(&hot.table, Type::TEXT), (&days, Type::INT4)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let mut dropped = Vec::new();
        for name in over.iter().map(|row| row.get::<_, String>(0)) {
            self.begin(&db).await?;
            // Who deletes the row drops the table: it may have been brought back since.
            let claimed = db
                .execute_typed(&format!("DELETE FROM {set_aside} WHERE table_name = $1"), &[(&name, Type::TEXT)])
                .await
                .map_err(|error| failed(what(), &error))?;
            let found = self.look(&db, &sql.in_schema(&name)?).await?;
            // Somebody may have dropped it and given its name to a table of their own.
            if claimed > 0 && found.is_some_and(|found| is_ours(found.comment.as_deref())) {
                db.batch_execute(&format!("DROP TABLE {}", sql.in_schema(&name)?))
                    .await
                    .map_err(|error| failed(what(), &error))?;
                dropped.push(name.clone());
            }
            db.execute_typed(&format!("DELETE FROM {marker} WHERE table_name = $1"), &[(&name, Type::TEXT)])
                .await
                .map_err(|error| failed(what(), &error))?;
            db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        }
        db.give_back();
        Ok(dropped)
    }

    /// Names of the table's partitions, and whether a concurrent detach was cut off on them.
    pub(super) async fn partitions(&self, db: &Lease<'_>, qualified: &str) -> Result<Vec<(String, bool)>> {
        // The column that tells is new in version 14, as is the statement that makes it true.
        let pending = if self.version() >= 140_000 { "inhdetachpending" } else { "false" };
        let rows = db
            .query_typed(
                &format!(
                    "SELECT relname::text, {pending} FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                     WHERE inhparent = to_regclass($1) ORDER BY relname"
                ),
                &[(&qualified, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(format!("list the partitions of hot table {qualified}"), &error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}
