//! The table itself, before rows go in: made, added to, or put in the place of one that does not take them.
//!
//! All in one transaction with the marker, so that after a crash either the old table bears the view's name or the new one.

use tokio_postgres::types::Type;

use super::connection::{Lease, failed};
use super::ddl::{self, ColumnSql, TableSql};
use super::owner::Standing;
use super::{
    Claim, HotTable, MARKER_COLUMNS, PostgresSink, fenced, foreign, ledger, marker_of, signed, unmarked, unsigned,
};
use crate::error::{Error, Result};

/// Tables of one view that may be set aside under one name before somebody has to look: each change makes one, and each is dropped
/// in its time.
const SAME_NAME_MAX: u32 = 100;

/// A table as the catalog has it.
pub(super) struct Found {
    pub(super) comment: Option<String>,
    columns: Vec<ColumnSql>,
}

impl PostgresSink {
    /// Makes the table ready for `claim` and returns the checkpoint up to which it is written, 0 for a new one.
    ///
    /// Creates what is missing, refuses a table that belongs to someone else or is of another history, and raises the marker's
    /// generation, so that a server that was taken over can no longer apply anything. A table of another version of the view, or in a
    /// form that does not take the rows, is renamed and kept for `retention_days`; one of this version that was set aside comes back.
    /// Whoever drops a table gets a new one, whatever the marker says. Safe to repeat.
    ///
    /// # Errors
    /// `Fenced` where a newer generation owns the table: this one must not be written, all else may go on. `Corrupt` where its marker is of
    /// another history, or is gone. `Invalid` with the statement to run where it is someone else's, and for a login, database, schema or
    /// version that will not do, `Unavailable` where a retry may help.
    pub async fn prepare(&self, hot: &HotTable, claim: &Claim) -> Result<u64> {
        let sql = TableSql::new(&self.inner.settings.schema, hot)?;
        self.patiently("prepare a hot table", self.prepare_now(hot, &sql, claim)).await
    }

    async fn prepare_now(&self, hot: &HotTable, sql: &TableSql, claim: &Claim) -> Result<u64> {
        let generation = claim.generation;
        let what = || format!("prepare hot table {}", sql.qualified);
        let db = self.inner.pool.lease().await?;
        self.look_at_database(&db).await?;
        self.begin(&db).await?;
        // Two queries may start at once; `IF NOT EXISTS` alone does not keep them from making the same table twice.
        let (marker, set_aside) = (self.marker_table()?, self.set_aside_table()?);
        db.batch_execute(&format!(
            "SELECT pg_advisory_xact_lock(hashtext({}));
             CREATE TABLE IF NOT EXISTS {marker} (
               query text PRIMARY KEY,
               table_name text NOT NULL,
               checkpoint bigint NOT NULL,
               generation bigint NOT NULL,
               lineage uuid,
               instance uuid,
               retained_from timestamp with time zone,
               expired_rows bigint NOT NULL DEFAULT 0,
               updated_at timestamp with time zone NOT NULL DEFAULT now()
             );
             CREATE TABLE IF NOT EXISTS {set_aside} (
               table_name text PRIMARY KEY,
               hot_table text NOT NULL,
               query text NOT NULL,
               set_aside_at timestamp with time zone NOT NULL DEFAULT now()
             )",
            ddl::literal(&marker)
        ))
        .await
        .map_err(|error| failed(what(), &error))?;

        self.add_marker_columns(&db, &marker).await?;

        let row = db
            .query_typed_opt(
                &format!("SELECT {MARKER_COLUMNS}, table_name FROM {marker} WHERE query = $1 FOR UPDATE"),
                &[(&hot.query, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let lies_in: Option<String> = row.as_ref().map(|row| row.get(4));
        let row = row.as_ref().map(marker_of);
        if let Some(by) = row.map(|row| row.generation).filter(|by| *by > generation)
            && self.has_table(&db, sql, lies_in.as_deref()).await?
        {
            return Err(fenced(hot, generation, by));
        }
        let created = self.ensure_table(&db, hot, sql, lies_in.as_deref(), generation).await?;
        if created {
            // It is given all rows again, and what it does not take is noted again.
            ledger::forget_version(&db, sql, &hot.query).await?;
        }
        let checkpoint = match row {
            // A table that is made anew holds nothing, whatever the marker of its predecessor says.
            _ if created => 0,
            Some(marker) if claim.believes(&marker) => marker.checkpoint,
            Some(marker) => return Err(foreign(hot, sql, claim, &marker)),
            None if self.is_empty(&db, sql).await? => 0,
            None => return Err(unmarked(hot, sql)),
        };
        let (lineage, by) = claim.names(checkpoint);
        db.execute_typed(
            &format!(
                "INSERT INTO {marker} (query, table_name, checkpoint, generation, lineage, instance)
                 VALUES ($1, $2, $3, $4, $5::uuid, $6::uuid)
                 ON CONFLICT (query) DO UPDATE SET table_name = excluded.table_name, checkpoint = excluded.checkpoint,
                   generation = excluded.generation, lineage = excluded.lineage, instance = excluded.instance, updated_at = now()"
            ),
            &[
                (&hot.query, Type::TEXT),
                (&hot.table, Type::TEXT),
                (&signed(checkpoint)?, Type::INT8),
                (&signed(generation)?, Type::INT8),
                (&lineage, Type::TEXT),
                (&by, Type::TEXT),
            ],
        )
        .await
        .map_err(|error| failed(what(), &error))?;
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        db.give_back();
        Ok(checkpoint)
    }

    /// Older servers made the marker table without a history. Asked for first: `IF NOT EXISTS` alone would lock out every writer.
    async fn add_marker_columns(&self, db: &Lease<'_>, marker: &str) -> Result<()> {
        let what = || format!("add columns to {marker}");
        let found: i64 = db
            .query_typed_one(
                "SELECT count(*) FROM pg_attribute
                 WHERE attrelid = to_regclass($1) AND attname IN ('lineage', 'instance') AND NOT attisdropped",
                &[(&marker, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?
            .get(0);
        if found >= 2 {
            return Ok(());
        }
        let add = format!(
            "ALTER TABLE {marker} ADD COLUMN IF NOT EXISTS lineage uuid, ADD COLUMN IF NOT EXISTS instance uuid"
        );
        db.batch_execute(&add).await.map_err(|error| failed(what(), &error))
    }

    /// Whether there is a table under the view's name, or under that which the marker names.
    async fn has_table(&self, db: &Lease<'_>, sql: &TableSql, lies_in: Option<&str>) -> Result<bool> {
        if self.look(db, &sql.qualified).await?.is_some() {
            return Ok(true);
        }
        match lies_in {
            Some(name) => Ok(self.look(db, &sql.in_schema(name)?).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn is_empty(&self, db: &Lease<'_>, sql: &TableSql) -> Result<bool> {
        let row = db
            .query_typed_one(&format!("SELECT NOT EXISTS (SELECT 1 FROM {})", sql.qualified), &[])
            .await
            .map_err(|error| failed(format!("look at hot table {}", sql.qualified), &error))?;
        Ok(row.get(0))
    }

    /// Puts a table that takes the view's rows under the view's name. True where it is new and empty.
    ///
    /// `lies_in`: the table that the marker names, another one than the view's where it was set aside.
    async fn ensure_table(
        &self,
        db: &Lease<'_>,
        hot: &HotTable,
        sql: &TableSql,
        lies_in: Option<&str>,
        generation: u64,
    ) -> Result<bool> {
        if self.fit(db, hot, sql, generation).await? {
            return Ok(false);
        }
        // Now nothing bears the name. This version may have had a table before another one took its place.
        if let Some(aside) = lies_in.filter(|name| *name != hot.table) {
            let found = self.look(db, &sql.in_schema(aside)?).await?;
            if found.is_some_and(|found| sql.wrote(found.comment.as_deref())) {
                self.rename(db, sql, aside, &hot.table).await?;
                let forget = format!("DELETE FROM {} WHERE table_name = $1", self.set_aside_table()?);
                db.execute_typed(&forget, &[(&aside, Type::TEXT)])
                    .await
                    .map_err(|error| failed(format!("bring back hot table {}", sql.qualified), &error))?;
                tracing::info!(table = hot.table, from = aside, "hot table of this version of the view is back");
                if self.fit(db, hot, sql, generation).await? {
                    self.carry_from_set_aside(db, hot, sql).await?;
                    return Ok(false);
                }
            }
        }
        db.batch_execute(&sql.create(self.version()))
            .await
            .map_err(|error| failed(format!("create hot table {}", sql.qualified), &error))?;
        self.carry_from_set_aside(db, hot, sql).await?;
        Ok(true)
    }

    /// Whether the table that bears the view's name takes its rows, after columns were added where that is enough. Where not, it
    /// has been set aside, or there was none.
    async fn fit(&self, db: &Lease<'_>, hot: &HotTable, sql: &TableSql, generation: u64) -> Result<bool> {
        let Some(found) = self.look(db, &sql.qualified).await? else { return Ok(false) };
        match sql.standing(found.comment.as_deref(), &found.columns)? {
            Standing::Fits { alter: None } => Ok(true),
            Standing::Fits { alter: Some(alter) } => {
                tracing::info!(table = sql.qualified, "columns were added to a hot table");
                db.batch_execute(&alter)
                    .await
                    .map_err(|error| failed(format!("add columns to hot table {}", sql.qualified), &error))?;
                Ok(true)
            }
            Standing::Outdated { owner, aside, reason } => {
                let aside = self.set_aside(db, hot, sql, &owner, &aside, generation).await?;
                tracing::info!(
                    table = hot.table,
                    set_aside_as = aside,
                    kept_days = self.inner.settings.retention_days,
                    reason,
                    "hot table set aside, a new one takes its place"
                );
                Ok(false)
            }
        }
    }

    /// Renames the table that bears the view's name and notes when that was. Returns its new name.
    async fn set_aside(
        &self,
        db: &Lease<'_>,
        hot: &HotTable,
        sql: &TableSql,
        owner: &str,
        wanted: &str,
        generation: u64,
    ) -> Result<String> {
        let what = || format!("set hot table {} aside", sql.qualified);
        let marker = self.marker_table()?;
        // Waits for a transaction of that version that is still on its way; one that begins after us finds another table named.
        let held = db
            .query_typed_opt(
                &format!("SELECT generation FROM {marker} WHERE query = $1 FOR UPDATE"),
                &[(&owner, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        if let Some(by) = held.map(|row| unsigned(row.get(0))).filter(|by| *by > generation) {
            return Err(fenced(hot, generation, by));
        }
        let aside = self.free_name(db, sql, wanted).await?;
        self.rename(db, sql, &hot.table, &aside).await?;
        db.execute_typed(
            &format!("INSERT INTO {} (table_name, hot_table, query) VALUES ($1, $2, $3)", self.set_aside_table()?),
            &[(&aside, Type::TEXT), (&hot.table, Type::TEXT), (&owner, Type::TEXT)],
        )
        .await
        .map_err(|error| failed(what(), &error))?;
        if owner != hot.query {
            // Its generation becomes ours as well: a server that still runs the other version is fenced off.
            db.execute_typed(
                &format!("UPDATE {marker} SET table_name = $2, generation = $3, updated_at = now() WHERE query = $1"),
                &[(&owner, Type::TEXT), (&aside, Type::TEXT), (&signed(generation)?, Type::INT8)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        }
        Ok(aside)
    }

    async fn free_name(&self, db: &Lease<'_>, sql: &TableSql, wanted: &str) -> Result<String> {
        let set_aside = self.set_aside_table()?;
        for number in 1..=SAME_NAME_MAX {
            let name = if number == 1 { wanted.to_owned() } else { ddl::cut(wanted, &format!("_{number}")) };
            let taken: bool = db
                .query_typed_one(
                    &format!(
                        "SELECT to_regclass($1) IS NOT NULL OR EXISTS (SELECT 1 FROM {set_aside} WHERE table_name = $2)"
                    ),
                    &[(&sql.in_schema(&name)?, Type::TEXT), (&name, Type::TEXT)],
                )
                .await
                .map_err(|error| failed(format!("find a name for the old hot table {}", sql.qualified), &error))?
                .get(0);
            if !taken {
                return Ok(name);
            }
        }
        Err(Error::invalid(format!("hot table {} cannot be set aside", sql.qualified))
            .detail(format!("{SAME_NAME_MAX} tables have names that begin with {wanted}"))
            .hint("drop those that nobody needs"))
    }

    /// Renames a table and its days' partitions, whose names begin with its own and would be in the way of its successor's.
    pub(super) async fn rename(&self, db: &Lease<'_>, sql: &TableSql, from: &str, to: &str) -> Result<()> {
        let mut statements = format!("ALTER TABLE {} RENAME TO {};", sql.in_schema(from)?, ddl::quote(to)?);
        for (name, _) in self.partitions(db, &sql.in_schema(from)?).await? {
            if let Some(day) = ddl::partition_day(&name) {
                let renamed = ddl::quote(&ddl::partition_name(to, day))?;
                statements += &format!("ALTER TABLE {} RENAME TO {renamed};", sql.in_schema(&name)?);
            }
        }
        db.batch_execute(&statements)
            .await
            .map_err(|error| failed(format!("rename hot table \"{from}\" to \"{to}\""), &error))
    }

    /// Comment and columns of a table; `None` where there is none. `qualified`: quoted, with its schema.
    pub(super) async fn look(&self, db: &Lease<'_>, qualified: &str) -> Result<Option<Found>> {
        let what = || format!("look at hot table {qualified}");
        let comment = db
            .query_typed_opt(
                "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass($1)",
                &[(&qualified, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let Some(comment) = comment else { return Ok(None) };
        let rows = db
            .query_typed(
                "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                &[(&qualified, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let column = |row: &tokio_postgres::Row| {
            let name: String = row.get(0);
            Ok(ColumnSql { quoted: ddl::quote(&name)?, name, data_type: row.get(1), not_null: row.get(2) })
        };
        Ok(Some(Found { comment: comment.get(0), columns: rows.iter().map(column).collect::<Result<_>>()? }))
    }
}
