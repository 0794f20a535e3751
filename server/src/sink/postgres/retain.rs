//! Days that pass out of a hot table, and tables that were set aside and are no longer kept.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Lease, failed};
use super::ddl::{self, Day, Layout, TableSql};
use super::owner::is_ours;
use super::{HotTable, PostgresSink, Retained, fenced, ledger, signed};
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, Result};

/// The longest wait for a lock on a table: everyone who comes to it meanwhile waits, too.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// Rows that one transaction deletes.
const DELETED_AT_ONCE: u64 = 20_000;

/// Queries whose old rows are being dropped, one after the other on one connection.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    queries: Mutex<BTreeSet<String>>,
    connection: tokio::sync::Mutex<()>,
}

/// Ends when it is dropped, also where its work was cut off.
struct Turn<'a> {
    under_way: &'a UnderWay,
    query: String,
}

impl UnderWay {
    /// `None`: for this query it has begun and not ended.
    fn begin(&self, query: &str) -> Option<Turn<'_>> {
        let is_new = self.queries.lock().insert(query.to_owned());
        is_new.then(|| Turn { under_way: self, query: query.to_owned() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.under_way.queries.lock().remove(&self.query);
    }
}

/// The comment of a partition that is to be dropped.
fn past_retention(sql: &TableSql) -> String {
    format!("touchline: a day past retention of {}", sql.qualified)
}

impl PostgresSink {
    /// Drops days that have passed out of `retention_days`, counted back from `now`.
    ///
    /// `now`: processing time, or the query's watermark where that is earlier, so that a replay of old events is not thrown away
    /// as it comes in. The boundary is kept in `touchline_commits` and never moves back; rows before it are counted, not
    /// inserted. A table without a time column keeps its rows.
    ///
    /// Tables of the view that were set aside `retention_days` ago or more, by the database's clock, are dropped whole, and rows that were
    /// refused as long ago are forgotten. Returns at once where an earlier call for the query is still at work.
    ///
    /// # Errors
    /// As [`PostgresSink::apply`]; `Unavailable` also where somebody reads what is to be dropped. A drop that was cut off is finished by the
    /// next call.
    pub async fn retain(&self, hot: &HotTable, generation: u64, now: Micros) -> Result<Retained> {
        let sql = TableSql::new(&self.inner.settings.schema, hot)?;
        let nothing = Retained { boundary: Micros::MIN, dropped: Vec::new(), deleted: 0 };
        // Who waited for longer than the pause until the next call is still at it.
        let Some(_turn) = self.inner.retaining.begin(&hot.query) else { return Ok(nothing) };
        let _alone = self.inner.retaining.connection.lock().await;
        self.patiently("drop old rows of a hot table", async {
            let db = self.lease_for_retention().await?;
            // One of these that has to wait for a reader keeps none of the others from being done.
            let days = self.retain_now(&db, hot, &sql, generation, now).await;
            self.end_transaction(&db, days.is_err()).await?;
            let set_aside = self.drop_set_aside(&db, hot, &sql).await;
            self.end_transaction(&db, set_aside.is_err()).await?;
            let forgotten = ledger::forget(&db, hot, &sql, self.inner.settings.retention_days).await;
            let mut retained = days?;
            retained.dropped.extend(set_aside?);
            forgotten?;
            Ok(retained)
        })
        .await
    }

    /// A connection of its own: what waits for a long read here holds up no write. It waits for a moment only, because whoever comes after it
    /// at the table waits behind it.
    async fn lease_for_retention(&self) -> Result<Lease<'_>> {
        let (pool, settings) = (&self.inner.pool, &self.inner.settings);
        let db = pool.lease_apart().await?;
        db.batch_execute(&format!(
            "SET client_min_messages = error; SET lock_timeout = {}; SET statement_timeout = {}",
            settings.lock_timeout.min(LOCK_TIMEOUT).as_millis().max(1),
            settings.statement_timeout.as_millis()
        ))
        .await
        .map_err(|error| failed("begin to drop old rows", &error))?;
        Ok(db)
    }

    async fn end_transaction(&self, db: &Lease<'_>, is_open: bool) -> Result<()> {
        match is_open && !db.is_closed() {
            true => db.batch_execute("ROLLBACK").await.map_err(|error| failed("drop old rows of a hot table", &error)),
            false => Ok(()),
        }
    }

    async fn retain_now(
        &self,
        db: &Lease<'_>,
        hot: &HotTable,
        sql: &TableSql,
        generation: u64,
        now: Micros,
    ) -> Result<Retained> {
        let what = || format!("drop old rows of hot table {}", sql.qualified);
        let (Layout::Daily { column } | Layout::Plain { time: Some(column) }) = sql.layout else {
            return Ok(Retained { boundary: Micros::MIN, dropped: Vec::new(), deleted: 0 });
        };
        let wanted = now.div_euclid(DAY_MICROS) - i64::from(self.inner.settings.retention_days);
        // The marker alone may be waited for as long as by any other: while it is nobody waits behind us at the table.
        self.begin(db).await?;
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
            return Err(match self.read_marker(db, hot).await? {
                Some(row) if row.generation > generation => fenced(hot, generation, row.generation),
                _ => Error::unavailable(format!("cannot {}", what()))
                    .detail("the database was set back; the table is prepared again first"),
            });
        };
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        let boundary: Micros = moved.get(0);
        let day = boundary.div_euclid(DAY_MICROS);
        let mut retained = Retained { boundary, dropped: Vec::new(), deleted: 0 };
        if let Layout::Plain { .. } = sql.layout {
            retained.deleted = self.delete_before(db, hot, sql, generation, (column, day)).await?;
            return Ok(retained);
        }
        let mut partitions = self.partitions(db, &sql.qualified).await?;
        // Of a table one partition at a time can be on its way out, and has to be finished first.
        partitions.sort_by_key(|(_, pending)| !pending);
        for (name, pending) in partitions {
            if ddl::partition_day(&name).is_none_or(|of| of >= day) {
                continue;
            }
            self.detach_partition(db, sql, &name, pending).await?;
        }
        for name in self.detached(db, sql).await? {
            self.drop_table(db, sql, &name).await?;
            retained.dropped.push(name);
        }
        Ok(retained)
    }

    /// Deletes the rows before a day, some at a time, without holding the marker: whoever writes waits for none of them.
    async fn delete_before(
        &self,
        db: &Lease<'_>,
        hot: &HotTable,
        sql: &TableSql,
        generation: u64,
        (column, day): (usize, Day),
    ) -> Result<u64> {
        let what = || format!("drop old rows of hot table {}", sql.qualified);
        // A version of the view that comes after this one waits for the rows under way, and then owns the table.
        let ours = format!(
            "SELECT 1 FROM {} WHERE query = $1 AND generation = $2 AND table_name = $3 FOR KEY SHARE",
            self.marker_table()?
        );
        let delete = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {} < {} LIMIT {DELETED_AT_ONCE}))",
            sql.columns[column].quoted,
            sql.day_literal(column, day),
            table = sql.qualified
        );
        let generation = signed(generation)?;
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&hot.query, Type::TEXT), (&generation, Type::INT8), (&hot.table, Type::TEXT)];
        let mut deleted = 0;
        loop {
            db.batch_execute("BEGIN").await.map_err(|error| failed(what(), &error))?;
            let ours = db.query_typed_opt(&ours, &parameters).await.map_err(|error| failed(what(), &error))?;
            let some = match ours {
                Some(_) => db.execute_typed(&delete, &[]).await.map_err(|error| failed(what(), &error))?,
                None => 0,
            };
            db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
            deleted += some;
            if some < DELETED_AT_ONCE {
                return Ok(deleted);
            }
        }
    }

    /// Takes a partition out beside running queries, from version 14 on; before it those that come wait for those that read, for a moment.
    /// A comment tells it from what somebody else may call by such a name, until it is dropped.
    async fn detach_partition(&self, db: &Lease<'_>, sql: &TableSql, name: &str, pending: bool) -> Result<()> {
        let what = || format!("drop partition {name} of hot table {}", sql.qualified);
        let partition = sql.in_schema(name)?;
        let comment = ddl::literal(&past_retention(sql));
        db.batch_execute(&format!("COMMENT ON TABLE {partition} IS {comment}"))
            .await
            .map_err(|error| failed(what(), &error))?;
        let way = match (self.version() >= 140_000, pending) {
            (true, true) => " FINALIZE",
            (true, false) => " CONCURRENTLY",
            (false, _) => "",
        };
        db.batch_execute(&format!("ALTER TABLE {} DETACH PARTITION {partition}{way}", sql.qualified))
            .await
            .map_err(|error| failed(what(), &error))
    }

    /// Partitions of the table that are none any more and have not been dropped.
    async fn detached(&self, db: &Lease<'_>, sql: &TableSql) -> Result<Vec<String>> {
        let rows = db
            .query_typed(
                "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'
                 AND NOT relispartition AND obj_description(oid, 'pg_class') = $2 ORDER BY relname",
                &[(&ddl::quote(&sql.schema)?, Type::TEXT), (&past_retention(sql), Type::TEXT)],
            )
            .await
            .map_err(|error| failed(format!("list what was detached of hot table {}", sql.qualified), &error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn drop_table(&self, db: &Lease<'_>, sql: &TableSql, name: &str) -> Result<()> {
        db.batch_execute(&format!("DROP TABLE {}", sql.in_schema(name)?))
            .await
            .map_err(|error| failed(format!("drop {name}, which was detached of hot table {}", sql.qualified), &error))
    }

    /// Drops tables of the view whose time after being set aside is over. Returns their names.
    async fn drop_set_aside(&self, db: &Lease<'_>, hot: &HotTable, sql: &TableSql) -> Result<Vec<String>> {
        let what = || format!("drop what was set aside of hot table {}", sql.qualified);
        let set_aside = self.set_aside_table()?;
        let days = i32::try_from(self.inner.settings.retention_days).unwrap_or(i32::MAX);
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
        let (mut dropped, mut failure) = (Vec::new(), None);
        for name in over.iter().map(|row| row.get::<_, String>(0)) {
            match self.drop_one_set_aside(db, sql, &name).await {
                Ok(is_dropped) => dropped.extend(is_dropped.then_some(name)),
                // A view that somebody has made goes with the table that was set aside, and would keep all others for ever.
                Err(error) => {
                    self.end_transaction(db, true).await?;
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(dropped), Err)
    }

    /// Whether there was such a table.
    async fn drop_one_set_aside(&self, db: &Lease<'_>, sql: &TableSql, name: &str) -> Result<bool> {
        let table = sql.in_schema(name)?;
        let what = || format!("drop {table}, which was set aside of hot table {}", sql.qualified);
        let (marker, set_aside) = (self.marker_table()?, self.set_aside_table()?);
        db.batch_execute("BEGIN").await.map_err(|error| failed(what(), &error))?;
        // Who deletes the row drops the table: it may have been brought back since.
        let claimed = db
            .execute_typed(&format!("DELETE FROM {set_aside} WHERE table_name = $1"), &[(&name, Type::TEXT)])
            .await
            .map_err(|error| failed(what(), &error))?;
        let found = self.look(db, &table).await?;
        // Somebody may have dropped it and given its name to a table of their own.
        let is_dropped = claimed > 0 && found.is_some_and(|found| is_ours(found.comment.as_deref()));
        if is_dropped {
            db.batch_execute(&format!("DROP TABLE {table}")).await.map_err(|error| failed(what(), &error))?;
        }
        db.execute_typed(&format!("DELETE FROM {marker} WHERE table_name = $1"), &[(&name, Type::TEXT)])
            .await
            .map_err(|error| failed(what(), &error))?;
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        Ok(is_dropped)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_query_is_not_begun_twice_and_another_is() {
        let under_way = UnderWay::default();
        let first = under_way.begin("a");
        assert!(first.is_some() && under_way.begin("a").is_none() && under_way.begin("b").is_some());
        drop(first);
        assert!(under_way.begin("a").is_some());
    }
}
