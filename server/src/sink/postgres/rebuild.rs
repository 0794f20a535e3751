//! A hot table made anew beside the old one, and put into its place.
//!
//! The new table is filled as any hot table is, under a name and with a marker of its own, in as many transactions as it takes; readers of the
//! view's table see nothing of it. Then one transaction drops the old table, gives the new one its name, and moves the view's marker. What
//! an attempt has left behind that was cut off is dropped by the next one.

use arrow::record_batch::RecordBatch;
use tokio_postgres::types::Type;

use super::carry::{Carried, carry_over};
use super::connection::{Lease, failed};
use super::ddl::{self, TableSql};
use super::owner::{is_version_of, writer_of};
use super::{Applied, Claim, HotTable, MARKER_COLUMNS, PostgresSink, fenced, ledger, marker_of, signed};
use crate::clock::Micros;
use crate::error::{Error, Result};

/// Behind the name of the table while it is filled, and behind the query's in its marker: neither is likely to be a view's.
const TABLE_SUFFIX: &str = "_touchline_new";
const QUERY_SUFFIX: &str = " (made anew)";

/// The query whose rows go into a table, be it one that is being filled.
pub(super) fn written_for(query: &str) -> &str {
    query.strip_suffix(QUERY_SUFFIX).unwrap_or(query)
}

/// Whether a table is filled for a version of the view.
fn is_begun_for(view: &str, query: &str) -> bool {
    query.strip_suffix(QUERY_SUFFIX).is_some_and(|version| is_version_of(view, version))
}

/// What would keep a table from being dropped, as one text. Its own partitions and what is part of it do not.
const DEPENDENTS: &str = "
    WITH dropped AS (
      SELECT to_regclass($1)::oid AS oid UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1)
    )
    SELECT string_agg(what, ', ' ORDER BY what) FROM (
      SELECT DISTINCT CASE c.relkind WHEN 'm' THEN 'materialized view ' WHEN 'v' THEN 'view ' ELSE 'rule of ' END || c.oid::regclass::text AS what
      FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class c ON c.oid = r.ev_class
      WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid IN (SELECT oid FROM dropped) AND c.oid <> d.refobjid
      UNION
      SELECT format('foreign key %I of %s', k.conname, k.conrelid::regclass)
      FROM pg_constraint k
      WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid IN (SELECT oid FROM dropped)
        AND k.conrelid NOT IN (SELECT oid FROM dropped WHERE oid IS NOT NULL)
    ) AS found";

/// A table that is being filled.
#[derive(Debug)]
pub struct Rebuild {
    sink: PostgresSink,
    hot: HotTable,
    claim: Claim,
    /// The table while it is filled. Its marker counts the batches.
    fresh: HotTable,
    batches: u64,
    /// What of the old table could not go over, as has been told.
    left: Vec<String>,
}

impl PostgresSink {
    /// Makes an empty table beside the one that `claim` has prepared.
    ///
    /// `now`: what retention counts back from, as for [`PostgresSink::retain`]; rows that it drops, and those that it has dropped before, do
    /// not come back.
    ///
    /// # Errors
    /// As [`PostgresSink::prepare`]; `Unavailable` where the table is not as it was prepared, `Invalid` where something depends on the old table
    /// that would go with it.
    pub async fn begin_rebuild(&self, hot: &HotTable, claim: &Claim, now: Option<Micros>) -> Result<Rebuild> {
        let fresh = HotTable {
            query: format!("{}{QUERY_SUFFIX}", hot.query),
            table: ddl::cut(&hot.table, TABLE_SUFFIX),
            ..hot.clone()
        };
        self.patiently("clear the way for a hot table that is made anew", self.clear(hot, &fresh, claim)).await?;
        // Batches are no checkpoints: none of them is ahead of the head.
        let counting = Claim { head: u64::MAX, ..claim.clone() };
        self.prepare(&fresh, &counting).await?;
        if let Some(now) = now {
            self.retain(&fresh, claim.generation, now).await?;
        }
        self.patiently("keep the retention of a hot table", self.keep_boundary(hot, &fresh)).await?;
        // Now, since indexes of an empty table cost nothing.
        let left = self.patiently("carry over to a hot table that is made anew", self.carry_to(hot, &fresh)).await?;
        Ok(Rebuild { sink: self.clone(), hot: hot.clone(), claim: claim.clone(), fresh, batches: 0, left })
    }

    /// Drops what an earlier attempt has left.
    async fn clear(&self, hot: &HotTable, fresh: &HotTable, claim: &Claim) -> Result<()> {
        let sql = TableSql::new(&self.inner.settings.schema, fresh)?;
        let what = || format!("drop {}, which was not finished", sql.qualified);
        let marker = self.marker_table()?;
        let db = self.inner.pool.lease().await?;
        self.begin(&db).await?;
        self.hold_marker(&db, hot, claim).await?;
        self.refuse_dependents(&db, &TableSql::new(&self.inner.settings.schema, hot)?).await?;
        let found = self.look(&db, &sql.qualified).await?;
        // It may have been begun by another version of the view, which was cut off when its file was changed. Whatever else bears the name
        // is somebody's: preparing the new table says so.
        let begun = found.as_ref().and_then(|found| writer_of(found.comment.as_deref()));
        let begun = begun.filter(|query| *query == fresh.query || is_begun_for(&hot.table, query));
        // The marker first, as whoever writes the table does.
        for query in [Some(fresh.query.as_str()), begun].into_iter().flatten() {
            db.execute_typed(&format!("DELETE FROM {marker} WHERE query = $1"), &[(&query, Type::TEXT)])
                .await
                .map_err(|error| failed(what(), &error))?;
            ledger::forget_version(&db, &sql, query).await?;
        }
        if begun.is_some() {
            let drop = format!("DROP TABLE {}", sql.qualified);
            db.batch_execute(&drop).await.map_err(|error| failed(what(), &error))?;
        }
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        db.give_back();
        Ok(())
    }

    /// Before all rows are read: what depends on the old table keeps it from being dropped, and everything would be done again and again.
    async fn refuse_dependents(&self, db: &Lease<'_>, sql: &TableSql) -> Result<()> {
        let found = db
            .query_typed_one(DEPENDENTS, &[(&sql.qualified, Type::TEXT)])
            .await
            .map_err(|error| failed(format!("find what depends on hot table {}", sql.qualified), &error))?;
        let Some(dependents) = found.get::<_, Option<&str>>(0) else { return Ok(()) };
        Err(Error::invalid(format!("hot table {} cannot be made anew", sql.qualified))
            .detail(format!("these depend on the table whose place the new one takes: {dependents}"))
            .hint("drop them, and make them again once all rows are there. Until then the table is read, and gets no rows"))
    }

    /// What people have done to the old table holds for the new one. Returns what does not.
    async fn carry_to(&self, hot: &HotTable, fresh: &HotTable) -> Result<Vec<String>> {
        let schema = &self.inner.settings.schema;
        let (sql, new) = (TableSql::new(schema, hot)?, TableSql::new(schema, fresh)?);
        let what = || format!("carry over to {}", new.qualified);
        let db = self.inner.pool.lease().await?;
        self.begin(&db).await?;
        let mut carried = Carried::default();
        if self.look(&db, &sql.qualified).await?.is_some_and(|found| sql.wrote(found.comment.as_deref())) {
            carried = carry_over(&db, &sql.qualified, &new.qualified).await?;
        }
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        db.give_back();
        carried.tell(&hot.table, &hot.table);
        Ok(carried.left)
    }

    /// What has passed out of the old table stays out of the new one.
    async fn keep_boundary(&self, hot: &HotTable, fresh: &HotTable) -> Result<()> {
        let marker = self.marker_table()?;
        let db = self.inner.pool.lease().await?;
        db.execute_typed(
            &format!(
                "UPDATE {marker} AS fresh SET retained_from = GREATEST(fresh.retained_from, old.retained_from)
                 FROM {marker} AS old WHERE fresh.query = $1 AND old.query = $2"
            ),
            &[(&fresh.query, Type::TEXT), (&hot.query, Type::TEXT)],
        )
        .await
        .map_err(|error| failed(format!("keep the retention of hot table {}", hot.table), &error))?;
        db.give_back();
        Ok(())
    }

    /// Locks the view's marker until the transaction ends, and sees that nobody has touched it since the table was prepared.
    async fn hold_marker(&self, db: &Lease<'_>, hot: &HotTable, claim: &Claim) -> Result<()> {
        let marker = self.marker_table()?;
        let row = db
            .query_typed_opt(
                &format!("SELECT {MARKER_COLUMNS}, table_name FROM {marker} WHERE query = $1 FOR UPDATE"),
                &[(&hot.query, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(format!("read the marker of query {}", hot.query), &error))?;
        let said = row.as_ref().map(|row| (marker_of(row), row.get::<_, &str>(4)));
        match said {
            Some((held, _)) if held.generation > claim.generation => {
                Err(fenced(hot, claim.generation, held.generation))
            }
            Some((held, table))
                if held.generation == claim.generation
                    && held.lineage == Some(claim.lineage.id)
                    && claim.believes(&held)
                    && table == hot.table =>
            {
                Ok(())
            }
            _ => Err(Error::unavailable(format!("hot table \"{}\" is not made anew yet", hot.table))
                .detail("its row in touchline_commits is another one than when that began; it is looked at again")),
        }
    }
}

impl Rebuild {
    /// Writes rows into the new table, in one transaction; of several with one key the last wins, also over those of earlier calls.
    ///
    /// # Errors
    /// As [`PostgresSink::apply`]. After `Unavailable` it may be repeated; where that does not help the rebuild is to be begun again.
    pub async fn add(&mut self, rows: &[RecordBatch]) -> Result<()> {
        let (from, to) = (self.batches, self.batches + 1);
        let counting = Claim { head: u64::MAX, ..self.claim.clone() };
        match self.sink.apply(&self.fresh, &counting, from, to, rows).await? {
            Applied::Written { .. } | Applied::AlreadyApplied { .. } => {
                self.batches = to;
                Ok(())
            }
            Applied::Behind { at } | Applied::Ahead { at } => {
                Err(Error::unavailable(format!("hot table \"{}\" is not made anew yet", self.hot.table))
                    .detail(format!("the new table is at batch {at} instead of {from}; it is begun again")))
            }
        }
    }

    /// Puts the table into the place of the old one: it then holds all rows up to checkpoint `at`. May be repeated after `Unavailable`.
    ///
    /// # Errors
    /// `Fenced`, `Unavailable`, also where somebody reads the old table for longer than `lock_timeout`; `Invalid` where something
    /// depends on the old table that would go with it.
    pub async fn finish(&self, at: u64) -> Result<()> {
        let sink = &self.sink;
        let sql = TableSql::new(&sink.inner.settings.schema, &self.hot)?;
        sink.patiently("put a hot table that was made anew into its place", self.finish_now(&sql, at)).await
    }

    async fn finish_now(&self, sql: &TableSql, at: u64) -> Result<()> {
        let Rebuild { sink, hot, claim, fresh, left, .. } = self;
        let what = || format!("put what was made anew into the place of hot table {}", sql.qualified);
        let marker = sink.marker_table()?;
        let db = sink.inner.pool.lease().await?;
        sink.begin(&db).await?;
        if sink.is_finished(&db, hot, fresh, claim, at).await? {
            db.batch_execute("ROLLBACK").await.map_err(|error| failed(what(), &error))?;
            db.give_back();
            return Ok(());
        }
        sink.hold_marker(&db, hot, claim).await?;
        let new = TableSql::new(&sink.inner.settings.schema, fresh)?;
        let mut carried = Carried::default();
        match sink.look(&db, &sql.qualified).await? {
            None => {}
            Some(found) if sql.wrote(found.comment.as_deref()) => {
                let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", sql.qualified);
                db.batch_execute(&lock).await.map_err(|error| failed(what(), &error))?;
                // Once more: who was given or denied the table while the new one was filled is so now.
                carried = carry_over(&db, &sql.qualified, &new.qualified).await?;
                let drop = format!("DROP TABLE {}", sql.qualified);
                db.batch_execute(&drop).await.map_err(|error| failed(what(), &error))?;
            }
            Some(_) => {
                return Err(Error::unavailable(format!("hot table {} is not made anew yet", sql.qualified))
                    .detail("another table has taken its name meanwhile; it is looked at again"));
            }
        }
        let comment = sink.look(&db, &new.qualified).await?.and_then(|found| found.comment).unwrap_or_default();
        sink.rename(&db, sql, &fresh.table, &hot.table).await?;
        let added = comment.strip_prefix(&new.comment()).unwrap_or_default();
        db.batch_execute(&sql.comment_with(added)).await.map_err(|error| failed(what(), &error))?;
        let (_, by) = claim.names(at);
        db.execute_typed(
            &format!(
                "UPDATE {marker} SET checkpoint = $2, instance = $3::uuid, updated_at = now(),
                   retained_from = GREATEST(retained_from, (SELECT retained_from FROM {marker} WHERE query = $4))
                 WHERE query = $1"
            ),
            &[(&hot.query, Type::TEXT), (&signed(at)?, Type::INT8), (&by, Type::TEXT), (&fresh.query, Type::TEXT)],
        )
        .await
        .map_err(|error| failed(what(), &error))?;
        db.execute_typed(&format!("DELETE FROM {marker} WHERE query = $1"), &[(&fresh.query, Type::TEXT)])
            .await
            .map_err(|error| failed(what(), &error))?;
        ledger::hand_over(&db, fresh, hot, sql, at).await?;
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        db.give_back();
        carried.over.clear();
        carried.left.retain(|lost| !left.contains(lost));
        carried.tell(&hot.table, &hot.table);
        Ok(())
    }
}

impl PostgresSink {
    /// Whether an attempt whose answer was lost has been committed: then the new table's marker is gone, and the view's has moved.
    async fn is_finished(
        &self,
        db: &Lease<'_>,
        hot: &HotTable,
        fresh: &HotTable,
        claim: &Claim,
        at: u64,
    ) -> Result<bool> {
        if self.read_marker(db, fresh).await?.is_some() {
            return Ok(false);
        }
        let marker = self.read_marker(db, hot).await?;
        Ok(marker.is_some_and(|marker| {
            marker.generation == claim.generation && claim.believes(&marker) && marker.checkpoint == at
        }))
    }
}
