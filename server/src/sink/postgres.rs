//! The hot table: committed rows in Postgres, each exactly once.
//!
//! The rows of a checkpoint range and the marker in `touchline_commits` change in one transaction, so a range that is applied
//! again, by this server after a lost answer or by the next one after a crash, is recognised by the marker and left alone.
//! Because the marker lives in the same database, a database that was restored from a backup says so itself; because it names the history
//! of the query's chain, so does one that is of another history.

mod apply;
mod careful;
mod carry;
mod changes;
mod connection;
mod ddl;
mod ledger;
mod marker;
mod owner;
mod prepare;
mod read;
mod rebuild;
mod refuse;
mod retain;
mod settings;
mod text;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::datatypes::SchemaRef;
use tokio::sync::Semaphore;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

pub use self::marker::{Claim, Marker, Verdict, decide_marker, kind_of_sqlstate, retry_delay};
pub use self::read::TableRows;
pub use self::rebuild::Rebuild;
pub use self::settings::PostgresSettings;

use self::connection::{Lease, Pool, failed, timed_out};
use self::ddl::{MARKER_TABLE, SET_ASIDE_TABLE, TableSql};
use crate::changelog::Changes;
use crate::clock::Micros;
use crate::error::{Error, Result};

/// One view's table in Postgres.
#[derive(Debug, Clone)]
pub struct HotTable {
    /// The name of this version of the query: the key of its marker. The view's name, for later versions with `-` and eight
    /// hexadecimal digits behind it.
    pub query: String,
    /// The view's name.
    pub table: String,
    pub schema: SchemaRef,
    /// Rows with an equal key replace each other; empty: rows are only ever added.
    pub primary_key: Vec<String>,
    /// The event time that retention goes by. The table is partitioned by its day where the column is part of the key, or where
    /// there is no key and it is never null.
    pub time_column: Option<String>,
    /// How the view's rows relate to those before them. Where they are upserted they come in the form of early ones
    /// ([`crate::changelog::early`]), and the primary key is of columns of their key.
    pub changes: Changes,
}

impl HotTable {
    /// Whether such rows can be written: asked before the table is made, and before each range.
    ///
    /// # Errors
    /// `Invalid` where they do not only come, and nothing says which of them a row replaces.
    pub fn check_changes(&self) -> Result<()> {
        match &self.changes {
            Changes::Upsert(key) if self.is_keyed_within(key) => Ok(()),
            other => other.append_only(&format!("hot table {:?}", self.table)),
        }
    }

    fn is_keyed_within(&self, key: &[usize]) -> bool {
        let within = |name: &String| self.schema.index_of(name).is_ok_and(|at| key.contains(&at));
        !self.primary_key.is_empty() && self.primary_key.iter().all(within)
    }
}

/// What became of a checkpoint range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The range is in the table, or in the ledger of refused rows. `rows`: written and deleted. `expired`: rows left out because their day
    /// lies before the retention boundary.
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
    /// Names of the partitions that were dropped, and of tables that had been set aside for longer than rows are kept.
    pub dropped: Vec<String>,
    /// Rows deleted from a table without partitions.
    pub deleted: u64,
}

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
    /// As `server_version_num`: 150018 is 15.18. Known once a table has been prepared.
    version: AtomicU32,
    refused: ledger::Counts,
    /// Statements that read the ledger of refused rows, each on a connection of its own.
    readers: Arc<Semaphore>,
    retaining: retain::UnderWay,
}

/// Statements that may read the ledger of refused rows at once; others wait.
const LEDGER_READERS_MAX: usize = 2;

impl PostgresSink {
    /// Reads the settings. Nothing is opened yet: a database that is away keeps no server from starting, and what it has to say
    /// against us is said when a table is prepared.
    ///
    /// # Errors
    /// `Invalid` for an address that is none, an impossible name of a schema, or a certificate file that holds none.
    pub fn try_new(settings: PostgresSettings) -> Result<Self> {
        ddl::quote(&settings.schema)?;
        let pool = Pool::new(&settings)?;
        let inner = Inner {
            settings,
            pool,
            version: AtomicU32::new(0),
            refused: ledger::Counts::default(),
            readers: Arc::new(Semaphore::new(LEDGER_READERS_MAX)),
            retaining: retain::UnderWay::default(),
        };
        Ok(PostgresSink { inner: Arc::new(inner) })
    }

    /// Looks whether the database is one that can hold tables: asked each time, because another one may answer now.
    ///
    /// # Errors
    /// `Invalid` for a version that is too old or a schema that does not exist, `Unavailable` for a standby.
    async fn look_at_database(&self, db: &Lease<'_>) -> Result<()> {
        let (settings, target) = (&self.inner.settings, &self.inner.pool.target);
        let row = db
            .query_typed_one(
                "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), to_regnamespace($1) IS NOT NULL",
                &[(&ddl::quote(&settings.schema)?, Type::TEXT)],
            )
            .await
            .map_err(|error| failed("read the version of the database", &error))?;
        let version = u32::try_from(row.get::<_, i32>(0)).unwrap_or(0);
        if version < 130_000 {
            return Err(Error::invalid(format!("Postgres at {target} is too old"))
                .detail(format!("server_version_num is {version}"))
                .hint("hot tables need version 13 or newer"));
        }
        if row.get::<_, bool>(1) {
            return Err(Error::unavailable(format!("Postgres at {target} is a standby"))
                .hint("name the primary in postgres.url, or add target_session_attrs=read-write to it"));
        }
        if !row.get::<_, bool>(2) {
            return Err(Error::invalid(format!("schema \"{}\" does not exist in {target}", settings.schema))
                .hint(format!("run: CREATE SCHEMA {};", ddl::quote(&settings.schema)?)));
        }
        self.inner.version.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// As the database said when a table was last prepared.
    fn version(&self) -> u32 {
        self.inner.version.load(Ordering::Relaxed)
    }

    pub fn settings(&self) -> &PostgresSettings {
        &self.inner.settings
    }

    /// How many rows of a version of a query, by [`HotTable::query`], were refused since this process began.
    pub fn refused_rows(&self, query: &str) -> u64 {
        self.inner.refused.refused(query)
    }

    /// `host:port/database`, without the login.
    pub fn target(&self) -> &str {
        &self.inner.pool.target
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
                &format!("SELECT {MARKER_COLUMNS} FROM {} WHERE query = $1", self.marker_table()?),
                &[(&hot.query, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(format!("read the marker of query {}", hot.query), &error))?;
        Ok(row.as_ref().map(marker_of))
    }

    fn marker_table(&self) -> Result<String> {
        Ok(format!("{}.{MARKER_TABLE}", ddl::quote(&self.inner.settings.schema)?))
    }

    fn set_aside_table(&self) -> Result<String> {
        Ok(format!("{}.{SET_ASIDE_TABLE}", ddl::quote(&self.inner.settings.schema)?))
    }

    async fn patiently<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let patience = self.inner.settings.statement_timeout.saturating_mul(PATIENCE);
        match tokio::time::timeout(patience, work).await {
            Ok(done) => done,
            Err(_) => Err(timed_out(what, patience)),
        }
    }
}

/// What [`marker_of`] reads, in its order.
const MARKER_COLUMNS: &str = "checkpoint, generation, lineage::text, instance::text";

fn marker_of(row: &Row) -> Marker {
    let id = |at: usize| Uuid::try_parse(row.get::<_, Option<&str>>(at)?).ok();
    Marker { checkpoint: unsigned(row.get(0)), generation: unsigned(row.get(1)), lineage: id(2), instance: id(3) }
}

/// The table is of another history than the query's chain: nothing is written to it until somebody has looked.
fn foreign(hot: &HotTable, sql: &TableSql, claim: &Claim, marker: &Marker) -> Error {
    let Claim { lineage, head, .. } = claim;
    Error::corrupt(format!("hot table {} is not of the history of query {}", sql.qualified, hot.query))
        .detail(format!(
            "{MARKER_TABLE} says {marker}; the checkpoints in the state store are of lineage {} and end at {head}, and that one is not among \
             them",
            lineage.id
        ))
        .hint(format!(
            "the state store was restored from a backup or made anew, or postgres.url names another server's database. Nothing is \
             written to the table. {}",
            ways_out(sql)
        ))
}

/// The table has rows, and nothing says which.
fn unmarked(hot: &HotTable, sql: &TableSql) -> Error {
    Error::corrupt(format!("hot table {} has rows, and {MARKER_TABLE} does not say which", sql.qualified))
        .detail(format!("there is no row for query {}", hot.query))
        .hint(format!(
            "it was deleted, or not restored with the table. Nothing is written to the table. {}",
            ways_out(sql)
        ))
}

/// The store alone says whose a query is: a marker of a newer generation stops the writing of its table, and nothing else.
fn fenced(hot: &HotTable, generation: u64, by: u64) -> Error {
    Error::fenced(format!("the hot table of query {} belongs to a newer server", hot.query))
        .detail(format!("{MARKER_TABLE} is at generation {by}, this server at {generation}"))
        .hint(format!(
            "let each server write a database or a postgres.schema of its own. If the state store was set back to a time before generation \
             {by}, have the table made anew from the query's rows: DROP TABLE {};",
            ddl::quote(&hot.table).unwrap_or_else(|_| hot.table.clone())
        ))
}

fn ways_out(sql: &TableSql) -> String {
    let kept = ddl::cut(&sql.table, "_kept");
    let kept = sql.in_schema(&kept).unwrap_or(kept);
    format!(
        "To have it made anew from the query's rows: DROP TABLE {0}; to keep what it has: CREATE TABLE {kept} AS TABLE {0}; before that",
        sql.qualified
    )
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
