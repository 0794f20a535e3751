//! The hot table: committed rows in Postgres, each exactly once.
//!
//! The rows of a checkpoint range and the marker in `touchline_commits` change in one transaction, so a range that is applied
//! again, by this server after a lost answer or by the next one after a crash, is recognised by the marker and left alone.
//! Because the marker lives in the same database, a database that was restored from a backup says so itself.

mod connection;
mod ddl;
mod marker;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::SinkExt;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};

pub use self::marker::{Marker, Verdict, decide_marker, kind_of_sqlstate, retry_delay};

use self::connection::{Lease, Pool, failed, timed_out};
use self::ddl::{ColumnSql, DAY_MICROS, Day, Layout, MARKER_TABLE, TableSql};
use self::text::RowWriter;
use crate::clock::Micros;
use crate::config::{Secret, duration};
use crate::error::{Error, Result};

/// The hot tables in Postgres. Without a `url` there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// Where the database is, with user, password and `sslmode`: `postgres://user:password@host:5432/database`.
    /// Keep the password out of this file with `${env:NAME}` or `${file:PATH}`. Without it there are no hot tables.
    ///
    /// `sslmode=prefer`, the default, encrypts where the server can; `require` insists and checks the certificate; `disable` is for
    /// loopback and sockets.
    ///
    /// Example: `"${env:DATABASE_URL}"`
    pub url: Option<Secret>,
    /// The schema that holds the hot tables and `touchline_commits`. It must exist, and the user may create tables in it.
    pub schema: String,
    /// How many days of event time a hot table keeps. Older days are dropped whole; Parquet keeps them for ever.
    /// More days make a larger database and slower upserts.
    pub retention_days: u32,
    /// A PEM file with the authorities that may sign the server's certificate. Without it `sslmode=require` trusts the public
    /// ones.
    ///
    /// Example: `"/etc/touchline/postgres-ca.pem"`
    pub tls_ca_file: Option<PathBuf>,
    /// How long to wait for a connection. Longer helps with slow networks; shorter notices a dead host sooner.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long the database may work on one statement before it is given up and tried again.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// How long to wait for a lock that another session holds, before the transaction is given up and tried again.
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
    /// Connections at most, shared by all queries. Each can write one query's rows at a time.
    pub connections_max: usize,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        PostgresSettings {
            url: None,
            schema: "public".to_owned(),
            retention_days: 7,
            tls_ca_file: None,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(5),
            connections_max: 4,
        }
    }
}

/// One view's table in Postgres.
#[derive(Debug, Clone)]
pub struct HotTable {
    /// The query's name: the key of its marker.
    pub query: String,
    pub table: String,
    pub schema: SchemaRef,
    /// Rows with an equal key replace each other; empty: rows are only ever added.
    pub primary_key: Vec<String>,
    /// The event time that retention goes by. The table is partitioned by its day where the column is part of the key, or where
    /// there is no key and it is never null.
    pub time_column: Option<String>,
}

/// What became of a checkpoint range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The range is in the table. `expired`: rows left out because their day lies before the retention boundary, or beyond what
    /// Postgres can hold.
    Written { rows: u64, expired: u64 },
    /// The marker already stood at `at`, which is not before `to`: an earlier attempt was committed.
    AlreadyApplied { at: u64 },
    /// The database is at an earlier checkpoint than `from`: call [`PostgresSink::prepare`] again and apply from what it returns.
    Behind { at: u64 },
    /// A part of the range is in the table: go on from `at`.
    Ahead { at: u64 },
}

/// What retention did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The first moment that is kept.
    pub boundary: Micros,
    /// Names of the partitions that were dropped.
    pub dropped: Vec<String>,
    /// Rows deleted from a table without partitions.
    pub deleted: u64,
}

/// Days ahead for which partitions are made before rows ask for them, so that a midnight costs nothing.
const DAYS_AHEAD: Day = 2;
/// Ten years of days. A delta that needs more has event times that are no times, and would fill the catalog with tables.
const PARTITIONS_MAX: usize = 3_660;
/// Up to this many rows travel as parameters of one statement. A temporary table for each would leave dead rows in the catalog,
/// several times a second for every query, and costs three more round trips.
const PARAMETER_ROWS_MAX: u64 = 1_000;
/// Bytes of text handed to the connection at once.
const COPY_CHUNK_BYTES: usize = 256 * 1024;
/// A statement's own timeout is the server's; when this many of them have passed the connection is taken for dead.
const PATIENCE: u32 = 4;

/// Writes hot tables. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct PostgresSink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: PostgresSettings,
    pool: Pool,
    /// As `server_version_num`: 150018 is 15.18.
    version: u32,
}

impl PostgresSink {
    /// Opens one connection to see that address, login and version are right.
    ///
    /// # Errors
    /// `Invalid` for a wrong address, login, database, schema or server version, `Unavailable` where nobody answers.
    pub async fn connect(settings: PostgresSettings) -> Result<Self> {
        ddl::quote(&settings.schema)?;
        let pool = Pool::new(&settings)?;
        let lease = pool.lease().await?;
        let row = lease
            .query_typed_one(
                "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), to_regnamespace($1) IS NOT NULL",
                &[(&ddl::quote(&settings.schema)?, Type::TEXT)],
            )
            .await
            .map_err(|error| failed("read the version of the database", &error))?;
        let version = u32::try_from(row.get::<_, i32>(0)).unwrap_or(0);
        if version < 130_000 {
            return Err(Error::invalid(format!("Postgres at {} is too old", pool.target))
                .detail(format!("server_version_num is {version}"))
                .hint("hot tables need version 13 or newer"));
        }
        if row.get::<_, bool>(1) {
            return Err(Error::unavailable(format!("Postgres at {} is a standby", pool.target))
                .hint("name the primary in postgres.url, or add target_session_attrs=read-write to it"));
        }
        if !row.get::<_, bool>(2) {
            return Err(Error::invalid(format!("schema \"{}\" does not exist in {}", settings.schema, pool.target))
                .hint(format!("run: CREATE SCHEMA {};", ddl::quote(&settings.schema)?)));
        }
        lease.give_back();
        Ok(PostgresSink { inner: Arc::new(Inner { settings, pool, version }) })
    }

    pub fn settings(&self) -> &PostgresSettings {
        &self.inner.settings
    }

    /// `host:port/database`, without the login.
    pub fn target(&self) -> &str {
        &self.inner.pool.target
    }

    /// Makes the table ready for `generation` and returns the checkpoint up to which it is written, 0 for a new one.
    ///
    /// Creates what is missing, refuses a table that belongs to someone else, and raises the marker's generation, so that a
    /// server that was taken over can no longer apply anything. Safe to repeat. Where the returned checkpoint lies beyond
    /// the head of the query's manifest chain, the object store was set back: see [`refuse_older_store`].
    ///
    /// # Errors
    /// `Fenced` where a newer generation owns the table, `Invalid` with the statement to run where the table does not fit,
    /// `Unavailable` where a retry may help.
    pub async fn prepare(&self, hot: &HotTable, generation: u64) -> Result<u64> {
        let sql = TableSql::new(&self.inner.settings.schema, hot)?;
        self.patiently("prepare a hot table", self.prepare_now(hot, &sql, generation)).await
    }

    async fn prepare_now(&self, hot: &HotTable, sql: &TableSql, generation: u64) -> Result<u64> {
        let what = || format!("prepare hot table {}", sql.qualified);
        let db = self.inner.pool.lease().await?;
        self.begin(&db).await?;
        // Two queries may start at once; `IF NOT EXISTS` alone does not keep them from making the same table twice.
        let marker = self.marker_table()?;
        db.batch_execute(&format!(
            "SELECT pg_advisory_xact_lock(hashtext({}));
             CREATE TABLE IF NOT EXISTS {marker} (
               query text PRIMARY KEY,
               table_name text NOT NULL,
               checkpoint bigint NOT NULL,
               generation bigint NOT NULL,
               retained_from timestamp with time zone,
               expired_rows bigint NOT NULL DEFAULT 0,
               updated_at timestamp with time zone NOT NULL DEFAULT now()
             )",
            ddl::literal(&marker)
        ))
        .await
        .map_err(|error| failed(what(), &error))?;

        let row = db
            .query_typed_opt(
                &format!("SELECT checkpoint, generation FROM {marker} WHERE query = $1 FOR UPDATE"),
                &[(&hot.query, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let row = row.map(|row| Marker { checkpoint: unsigned(row.get(0)), generation: unsigned(row.get(1)) });
        if let Some(by) = row.map(|row| row.generation).filter(|by| *by > generation) {
            return Err(fenced(hot, generation, by));
        }
        let created = self.ensure_table(&db, sql).await?;
        // A table that is made anew holds nothing, whatever the marker of its predecessor says.
        let checkpoint = if created { 0 } else { row.map_or(0, |row| row.checkpoint) };
        db.execute_typed(
            &format!(
                "INSERT INTO {marker} (query, table_name, checkpoint, generation) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (query) DO UPDATE SET table_name = excluded.table_name, checkpoint = excluded.checkpoint,
                   generation = excluded.generation, updated_at = now()"
            ),
            &[
                (&hot.query, Type::TEXT),
                (&hot.table, Type::TEXT),
                (&signed(checkpoint)?, Type::INT8),
                (&signed(generation)?, Type::INT8),
            ],
        )
        .await
        .map_err(|error| failed(what(), &error))?;
        db.batch_execute("COMMIT").await.map_err(|error| failed(what(), &error))?;
        db.give_back();
        Ok(checkpoint)
    }

    /// Creates the table, or adds columns to ours. True where it was created.
    async fn ensure_table(&self, db: &Lease<'_>, sql: &TableSql) -> Result<bool> {
        let what = || format!("look at hot table {}", sql.qualified);
        let comment = db
            .query_typed_opt(
                "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass($1)",
                &[(&sql.qualified, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let Some(comment) = comment else {
            db.batch_execute(&sql.create(self.inner.version))
                .await
                .map_err(|error| failed(format!("create hot table {}", sql.qualified), &error))?;
            return Ok(true);
        };
        let rows = db
            .query_typed(
                "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                &[(&sql.qualified, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let existing: Vec<ColumnSql> = rows
            .iter()
            .map(|row| {
                let name: String = row.get(0);
                Ok(ColumnSql { quoted: ddl::quote(&name)?, name, data_type: row.get(1), not_null: row.get(2) })
            })
            .collect::<Result<_>>()?;
        if let Some(alter) = sql.check_owner(comment.get::<_, Option<&str>>(0), &existing)? {
            tracing::info!(table = sql.qualified, "columns were added to a hot table");
            db.batch_execute(&alter)
                .await
                .map_err(|error| failed(format!("add columns to hot table {}", sql.qualified), &error))?;
        }
        Ok(false)
    }

    /// Applies the rows of checkpoints `from + 1 ..= to` and moves the marker, in one transaction.
    ///
    /// Within the range the last row of a key wins. An empty range only moves the marker. Safe to repeat after any error.
    ///
    /// # Errors
    /// `Fenced` where a newer generation owns the table, `Unavailable` where a retry may help ([`retry_delay`]), `Invalid`
    /// where the rows cannot go in until someone changes the table or the query.
    pub async fn apply(
        &self,
        hot: &HotTable,
        generation: u64,
        from: u64,
        to: u64,
        batches: &[RecordBatch],
    ) -> Result<Applied> {
        let sql = TableSql::new(&self.inner.settings.schema, hot)?;
        self.patiently("write to a hot table", self.apply_now(hot, &sql, generation, from..to, batches)).await
    }

    async fn apply_now(
        &self,
        hot: &HotTable,
        sql: &TableSql,
        generation: u64,
        range: std::ops::Range<u64>,
        batches: &[RecordBatch],
    ) -> Result<Applied> {
        let what = || format!("write checkpoint {} to hot table {}", range.end, sql.qualified);
        let db = self.inner.pool.lease().await?;
        self.begin(&db).await?;
        let marker = self.marker_table()?;
        // The row lock taken here holds back everyone else with this query until the commit.
        let moved = db
            .query_typed_opt(
                &format!(
                    "UPDATE {marker} SET checkpoint = $2, updated_at = now()
                     WHERE query = $1 AND checkpoint = $3 AND generation = $4
                     RETURNING (EXTRACT(epoch FROM retained_from) * 1000000)::bigint"
                ),
                &[
                    (&hot.query, Type::TEXT),
                    (&signed(range.end)?, Type::INT8),
                    (&signed(range.start)?, Type::INT8),
                    (&signed(generation)?, Type::INT8),
                ],
            )
            .await
            .map_err(|error| failed(what(), &error))?;
        let Some(moved) = moved else {
            let row = self.read_marker(&db, hot).await?;
            db.batch_execute("ROLLBACK").await.map_err(|error| failed(what(), &error))?;
            db.give_back();
            return match decide_marker(row, range.start, range.end, generation) {
                Verdict::AlreadyApplied { at } => Ok(Applied::AlreadyApplied { at }),
                Verdict::Behind { at } => Ok(Applied::Behind { at }),
                Verdict::Ahead { at } => Ok(Applied::Ahead { at }),
                Verdict::Fenced { by } => Err(fenced(hot, generation, by)),
            };
        };
        let boundary: Option<Micros> = moved.get(0);
        let placed = batches.iter().map(|batch| place(hot, sql, batch, boundary)).collect::<Result<Vec<_>>>()?;
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
        Ok(Applied::Written { rows, expired })
    }

    /// Drops days that have passed out of `retention_days`, counted back from `now`.
    ///
    /// `now`: processing time, or the query's watermark where that is earlier, so that a replay of old events is not thrown away
    /// as it comes in. The boundary is kept in `touchline_commits` and never moves back; rows before it are counted, not
    /// inserted. Nothing happens to a table without a time column.
    ///
    /// # Errors
    /// As [`PostgresSink::apply`]. A drop that was cut off is finished by the next call.
    pub async fn retain(&self, hot: &HotTable, generation: u64, now: Micros) -> Result<Retained> {
        let sql = TableSql::new(&self.inner.settings.schema, hot)?;
        self.patiently("drop old rows of a hot table", self.retain_now(hot, &sql, generation, now)).await
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
                     WHERE query = $1 AND generation = $3
                     RETURNING (EXTRACT(epoch FROM retained_from) * 1000000)::bigint"
                ),
                &[
                    (&hot.query, Type::TEXT),
                    (&((wanted * (DAY_MICROS / 1_000_000)) as f64), Type::FLOAT8),
                    (&signed(generation)?, Type::INT8),
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
        for (name, pending) in self.partitions(&db, sql).await? {
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
        let partition = sql.partition(name)?;
        if self.inner.version >= 140_000 {
            let way = if pending { "FINALIZE" } else { "CONCURRENTLY" };
            db.batch_execute(&format!("ALTER TABLE {} DETACH PARTITION {partition} {way}", sql.qualified))
                .await
                .map_err(|error| failed(what(), &error))?;
        }
        self.begin(db).await?;
        db.batch_execute(&format!("DROP TABLE {partition}; COMMIT")).await.map_err(|error| failed(what(), &error))
    }

    async fn begin(&self, db: &Lease<'_>) -> Result<()> {
        let settings = &self.inner.settings;
        // Without notices: the client would log that a table of ours exists already, at each start and for each query.
        db.batch_execute(&format!(
            "BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = {}; \
             SET LOCAL statement_timeout = {}",
            settings.lock_timeout.as_millis(),
            settings.statement_timeout.as_millis()
        ))
        .await
        .map_err(|error| failed("begin a transaction", &error))
    }

    async fn read_marker(&self, db: &Lease<'_>, hot: &HotTable) -> Result<Option<Marker>> {
        let row = db
            .query_typed_opt(
                &format!("SELECT checkpoint, generation FROM {} WHERE query = $1", self.marker_table()?),
                &[(&hot.query, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(format!("read the marker of query {}", hot.query), &error))?;
        Ok(row.map(|row| Marker { checkpoint: unsigned(row.get(0)), generation: unsigned(row.get(1)) }))
    }

    fn marker_table(&self) -> Result<String> {
        Ok(format!("{}.{MARKER_TABLE}", ddl::quote(&self.inner.settings.schema)?))
    }

    /// Names of the table's partitions, and whether a concurrent detach was cut off on them.
    async fn partitions(&self, db: &Lease<'_>, sql: &TableSql) -> Result<Vec<(String, bool)>> {
        // The column that tells is new in version 14, as is the statement that makes it true.
        let pending = if self.inner.version >= 140_000 { "inhdetachpending" } else { "false" };
        let rows = db
            .query_typed(
                &format!(
                    "SELECT relname::text, {pending} FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                     WHERE inhparent = to_regclass($1) ORDER BY relname"
                ),
                &[(&sql.qualified, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(format!("list the partitions of hot table {}", sql.qualified), &error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn ensure_partitions(&self, db: &Lease<'_>, sql: &TableSql, mut days: BTreeSet<Day>) -> Result<()> {
        let (Layout::Daily { .. }, Some(&last)) = (&sql.layout, days.last()) else { return Ok(()) };
        days.extend((1..=DAYS_AHEAD).map(|ahead| last + ahead));
        let existing = self.partitions(db, sql).await?;
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

    async fn patiently<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let patience = self.inner.settings.statement_timeout.saturating_mul(PATIENCE);
        match tokio::time::timeout(patience, work).await {
            Ok(done) => done,
            Err(_) => Err(timed_out(what, patience)),
        }
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
struct Placed<'a> {
    batch: &'a RecordBatch,
    rows: Vec<usize>,
    days: BTreeSet<Day>,
    expired: u64,
}

/// Leaves out rows before `boundary`: inserted, they would bring back a day that was dropped.
fn place<'a>(hot: &HotTable, sql: &TableSql, batch: &'a RecordBatch, boundary: Option<Micros>) -> Result<Placed<'a>> {
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

/// Refuses to go on where the database has seen more checkpoints than the manifest chain has: the object store was set back, and
/// the checkpoints to come would not be the ones that are already in the table.
///
/// # Errors
/// `Corrupt`, with both checkpoints and the ways out.
pub fn refuse_older_store(hot: &HotTable, applied: u64, head: u64) -> Result<()> {
    if applied <= head {
        return Ok(());
    }
    Err(Error::corrupt(format!("the checkpoints of query {} are older than its hot table", hot.query))
        .detail(format!("the newest manifest is {head}; touchline_commits says that {applied} has been applied"))
        .hint(format!(
            "the object store was restored, or postgres.url names another server's database; restore the newer manifests, or \
             start the table again: DROP TABLE {}; DELETE FROM {MARKER_TABLE} WHERE query = {};",
            ddl::quote(&hot.table)?,
            ddl::literal(&hot.query)
        )))
}

fn fenced(hot: &HotTable, generation: u64, by: u64) -> Error {
    Error::fenced(format!("another server has taken over query {}", hot.query))
        .detail(format!("touchline_commits is at generation {by}, this server at {generation}"))
}

/// Checkpoints and generations count from 0 and are `bigint` in the table.
fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::bug(format!("{number} does not fit the marker table")))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests;
