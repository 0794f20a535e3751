//! What exists: the tables of `schemas/` and the continuous queries of `queries/`, as typed definitions.
//!
//! `sql::parser` makes these from statements; everything downstream reads them and never the SQL text again.
//! Definitions are plain values: no connection is opened and no file is read here.

mod check;
mod computed;
mod http;
mod reading;
mod version;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::sql::sqlparser::ast::{Expr, Query};

pub use self::check::{Check, Constants, Relation};
pub use self::computed::Computed;
pub use self::http::{HttpBody, HttpIngest};
pub use self::reading::{DefaultValue, FieldPath, JsonPlaces, Reading, RecordRows};
pub use self::version::{OnChange, QueryVersion};
use crate::error::Location;
use crate::watermark::Monotone;

/// One `CREATE TABLE … WITH (…)` of `schemas/`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDef {
    pub name: String,
    pub columns: Vec<Column>,
    pub watermark: Option<WatermarkDef>,
    /// From `PRIMARY KEY (…) NOT ENFORCED`; empty where none is declared.
    pub primary_key: Vec<String>,
    pub connector: Connector,
    pub format: Format,
    /// What stands between the fields of a CSV file, an ASCII character: `'csv.delimiter'`.
    pub csv_delimiter: u8,
    /// How many rows a record is.
    pub rows: RecordRows,
    pub on_bad_row: OnBadRow,
    /// How often a static table is looked at again while queries run that look things up in it: `'refresh-interval'`. `None`: it is
    /// read once.
    pub refresh_interval: Option<Duration>,
    /// How it takes records by HTTP; `None`: it does not. What queries compute does not depend on it.
    pub http: Option<HttpIngest>,
    /// The statement as written, for fingerprints and for showing it again.
    pub text: String,
    pub location: Location,
}

impl TableDef {
    /// All columns in declared order, metadata columns included.
    pub fn schema(&self) -> SchemaRef {
        Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>()).into()
    }

    /// A stream is read epoch by epoch; anything else is a static table, looked up in one version an epoch.
    pub fn is_stream(&self) -> bool {
        match &self.connector {
            Connector::Kafka(_) | Connector::View(_) => true,
            Connector::Filesystem(_) => self.watermark.is_some(),
            Connector::Postgres(_) => false,
        }
    }

    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    pub kind: ColumnKind,
    /// How the values of a timestamp are written, also inside a list or struct.
    pub timestamps: TimestampFormat,
    /// What else is declared of its values.
    pub reading: Reading,
    /// From `CHECK (…)`, the types UUID and JSON and the length of a VARCHAR: what every value but NULL must meet.
    pub checks: Vec<Check>,
    /// From `COMMENT '…'`.
    pub comment: Option<String>,
}

impl Column {
    /// One that is decoded from the record's field of the same name.
    #[cfg(test)]
    pub fn physical(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        Column {
            name: name.into(),
            data_type,
            nullable,
            kind: ColumnKind::Physical { aliases: vec![], numbers_as_text: false },
            timestamps: TimestampFormat::default(),
            reading: Reading::default(),
            checks: vec![],
            comment: None,
        }
    }

    pub fn field(&self) -> Field {
        Field::new(&self.name, self.data_type.clone(), self.nullable)
    }

    /// The names of the field that it is decoded from, its own first; none of a metadata column or a computed one.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        let (name, aliases) = match &self.kind {
            ColumnKind::Physical { aliases, .. } => (Some(self.name.as_str()), aliases.as_slice()),
            ColumnKind::Metadata(_) | ColumnKind::Computed(_) => (None, &[][..]),
        };
        name.into_iter().chain(aliases.iter().map(String::as_str))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    /// Decoded from the record's value. `aliases`: other field names accepted for it, from
    /// `WITH ('aliases.<column>' = 'a, b')`; where a record has several of them, the last one wins. `numbers_as_text`: a
    /// JSON number is taken as it is written, from `WITH ('numbers-as-text' = 'column, …')`; only of text columns.
    Physical { aliases: Vec<String>, numbers_as_text: bool },
    /// Taken from the record's envelope: `name type METADATA [FROM 'key'] [VIRTUAL]`.
    Metadata(MetadataKey),
    /// Computed from other columns of the row, where rows enter: `name AS expression`.
    Computed(Arc<Computed>),
}

/// `'timestamp-format.<column>' = '…'`, or `'timestamp-format' = '…'` for every column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampFormat {
    /// Nothing is declared: text, or a whole number of milliseconds since the Unix epoch.
    #[default]
    TextOrMillis,
    /// Text alone: RFC 3339, or the same without an offset or without seconds.
    Iso8601,
    /// A number of these since the Unix epoch, and no text.
    Epoch(TimeUnit),
}

impl TimestampFormat {
    /// What can be declared.
    pub const DECLARED: [TimestampFormat; 5] = [
        TimestampFormat::Epoch(TimeUnit::Second),
        TimestampFormat::Epoch(TimeUnit::Millisecond),
        TimestampFormat::Epoch(TimeUnit::Microsecond),
        TimestampFormat::Epoch(TimeUnit::Nanosecond),
        TimestampFormat::Iso8601,
    ];

    /// As the option spells it; `None` where nothing is declared.
    pub fn name(self) -> Option<&'static str> {
        match self {
            TimestampFormat::TextOrMillis => None,
            TimestampFormat::Iso8601 => Some("iso-8601"),
            TimestampFormat::Epoch(TimeUnit::Second) => Some("epoch-s"),
            TimestampFormat::Epoch(TimeUnit::Millisecond) => Some("epoch-ms"),
            TimestampFormat::Epoch(TimeUnit::Microsecond) => Some("epoch-us"),
            TimestampFormat::Epoch(TimeUnit::Nanosecond) => Some("epoch-ns"),
        }
    }

    /// What a number counts; `None` where no number is a time.
    pub fn epoch_unit(self) -> Option<TimeUnit> {
        match self {
            TimestampFormat::TextOrMillis => Some(TimeUnit::Millisecond),
            TimestampFormat::Iso8601 => None,
            TimestampFormat::Epoch(unit) => Some(unit),
        }
    }

    pub fn is_text(self) -> bool {
        !matches!(self, TimestampFormat::Epoch(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataKey {
    /// VARCHAR: the topic, or the path of the file.
    Topic,
    /// INT
    Partition,
    /// BIGINT: the record's offset; in a file its number, from 0.
    Offset,
    /// TIMESTAMP(3): the broker's or producer's time of the record; NULL where there is none.
    Timestamp,
    /// BYTEA (Arrow Binary): the record's key.
    Key,
    /// `List<Struct<key VARCHAR, value BYTEA>>`; the same key may occur more than once.
    Headers,
}

/// Tables and plain views by their names.
#[derive(Debug, Clone, Default)]
pub struct Defined {
    pub tables: BTreeMap<String, Arc<TableDef>>,
    pub plain_views: BTreeMap<String, Arc<PlainView>>,
}

/// `WATERMARK FOR column AS column - INTERVAL '5' SECOND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkDef {
    pub column: String,
    /// From the newest time of the column to the watermark, one after the other: how far events may be out of order before they
    /// count as late. Empty: they may not be.
    pub steps: Vec<Monotone>,
    /// A partition without data for this long no longer holds the watermark back. `None`: it always does.
    pub idle_timeout: Option<Duration>,
    /// Event times further than this ahead of processing time do not move the watermark, and are counted.
    pub max_future: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connector {
    Kafka(KafkaTopic),
    Filesystem(FilesystemPath),
    Postgres(PostgresTable),
    /// No statement declares it: it is what a materialized view is to a query that reads it.
    View(ViewRef),
}

/// A materialized view as a source: its committed rows, checkpoint by checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRef {
    /// Names what the view computes. Rows of another version are other rows.
    pub version: String,
    /// As older servers named it: [`QueryVersion::former`].
    pub former_version: String,
    /// By what names its checkpoints say how far its times have got.
    pub marks: Vec<ViewMark>,
    /// As of a table, the most of those that it is made of; `None`: times may lie ahead as far as they like.
    pub max_future: Option<Duration>,
    /// `'time-column'`, where the view says which of its times is meant by those that name none.
    pub time_column: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewMark {
    pub name: String,
    /// Index of the column whose times it is about: a timestamp, or a window as a struct.
    pub column: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTopic {
    pub topic: String,
    /// `None`: the `brokers` of the configuration, which may be `"embedded"`.
    pub brokers: Option<String>,
    /// Where a query without a checkpoint begins.
    pub start: StartAt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    Earliest,
    Latest,
}

/// A file, or a folder whose files are read in name order; relative paths count from the statement's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesystemPath {
    pub path: String,
}

/// A table, a view or the like in a PostgreSQL database, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresTable {
    /// As the database has the names: it writes those without quotes in lower case.
    pub schema: String,
    pub name: String,
    pub address: PostgresAddress,
}

impl fmt::Display for PostgresTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Where the address of a database stands, which holds a password and so is no part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresAddress {
    /// `postgres.url` of the server.
    Server,
    /// An environment variable.
    Env(String),
    /// A file, by its absolute path.
    File(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object a record; in files one a line.
    Json,
    /// With a header line.
    Csv,
    Parquet,
}

/// How a text file is compressed, which the ending of its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    pub const ALL: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    pub fn ending(self) -> &'static str {
        match self {
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }

    /// What a name says, and the name of what is inside.
    pub fn of(name: &str) -> (Option<Compression>, &str) {
        let cut = |compression: Compression| {
            let at = name.len().checked_sub(compression.ending().len()).filter(|at| name.is_char_boundary(*at))?;
            let (stem, ending) = name.split_at(at);
            ending.eq_ignore_ascii_case(compression.ending()).then_some((Some(compression), stem))
        };
        Compression::ALL.into_iter().find_map(cut).unwrap_or((None, name))
    }
}

/// What stands between the fields of a CSV file where nothing else is declared.
pub const CSV_DELIMITER_DEFAULT: u8 = b',';

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadRow {
    /// Keep the raw bytes and the reason in the dead-letter table and go on.
    DeadLetter,
    /// Stop the query.
    Fail,
}

impl OnBadRow {
    /// What can be declared, by its spelling.
    pub const DECLARED: [(&str, OnBadRow); 2] = [("dead-letter", OnBadRow::DeadLetter), ("fail", OnBadRow::Fail)];
}

/// A continuous query: `CREATE MATERIALIZED VIEW`, or what an `INSERT INTO` or a bare `SELECT` runs.
#[derive(Debug, Clone)]
pub struct ViewDef {
    pub name: String,
    pub query: Box<Query>,
    pub emit: Emit,
    pub options: ViewOptions,
    pub text: String,
    pub location: Location,
}

impl ViewDef {
    /// Where its emission clause asks for early results; the statement where it does not.
    pub fn emission_location(&self) -> Location {
        match self.emit.early {
            Some(Early { line, column, .. }) => Location { file: self.location.file.clone(), line, column },
            None => self.location.clone(),
        }
    }
}

/// One `CREATE VIEW`: a query under a name, computed by whatever reads it.
#[derive(Debug, Clone)]
pub struct PlainView {
    pub name: String,
    pub query: Box<Query>,
    pub text: String,
    pub location: Location,
}

/// When results leave a windowed query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emit {
    /// `EMIT TIMEOUT INTERVAL '…'`: open windows close when nothing has arrived for this long.
    pub timeout: Option<Duration>,
    /// Results leave before they are final, too.
    pub early: Option<Early>,
}

/// Results that leave before they are final, and where the statement asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Early {
    pub when: EarlyWhen,
    pub line: u64,
    pub column: u64,
}

/// When results leave that may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyWhen {
    /// `EMIT CHANGES`: after each epoch, what it has touched.
    Changes,
    /// `EMIT EVERY INTERVAL '…'`: what has been touched since the last time, at most this often in processing time.
    Every(Duration),
    /// `EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS`: when the watermark has passed a window's end, and again where a row within the
    /// allowed lateness changes a result.
    LateCorrections,
}

impl fmt::Display for EarlyWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EarlyWhen::Changes => "EMIT CHANGES",
            EarlyWhen::Every(_) => "EMIT EVERY",
            EarlyWhen::LateCorrections => "EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS",
        })
    }
}

/// `WITH (…)` of a view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewOptions {
    /// `'primary-key' = 'a, b'`: rows of the hot table are upserted by it, and are versions of it to `FOR SYSTEM_TIME AS OF`.
    pub primary_key: Vec<String>,
    /// `'time-column' = 'window_end'`: the event time of its rows to queries above that name none. `None`: the only one with a watermark.
    pub time_column: Option<String>,
    /// `'allowed-lateness' = '10 seconds'`: windows stay open this much longer.
    pub allowed_lateness: Duration,
    /// `'state-ttl' = '3 hours'`: a version of which so long no newer one has come is one no more, in event time. `None`: it stays.
    pub state_ttl: Option<Duration>,
    /// `'postgres' = 'false'` keeps a view out of the hot table.
    pub postgres: Option<bool>,
    /// `'parquet.rows' = 'changes'`: rows that may change again have public files, too.
    pub parquet_rows: ParquetRows,
    /// `'session-max-length' = '4 hours'`: a window of `SESSION` is cut so long after its first row. `None`: it lasts as long as rows come.
    pub session_max_length: Option<Duration>,
    /// `'on-change' = 'ask'`: what is done when the statement comes to mean something else. `None`: as the server is set.
    pub on_change: Option<OnChange>,
}

/// Which rows of a view that emits early have public files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParquetRows {
    /// Those that do not change any more.
    #[default]
    Final,
    /// And in a folder beside them each change of a row, as a row of its own.
    Changes,
}

impl ParquetRows {
    /// What can be declared, by its spelling.
    pub const DECLARED: [(&str, ParquetRows); 2] = [("final", ParquetRows::Final), ("changes", ParquetRows::Changes)];
}

/// One `CREATE FUNCTION`: an expression with a name.
#[derive(Debug, Clone)]
pub struct FunctionDef {
    pub name: String,
    pub parameters: Vec<Parameter>,
    pub returns: DataType,
    /// What stands after RETURN.
    pub body: Box<Expr>,
    pub body_at: Location,
    pub location: Location,
}

/// A function's parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub data_type: DataType,
}

/// One statement of a file.
#[derive(Debug, Clone)]
pub enum Statement {
    CreateTable(TableDef),
    /// `CREATE VIEW`
    CreatePlainView(PlainView),
    /// `CREATE FUNCTION`
    CreateFunction(FunctionDef),
    /// `CREATE MATERIALIZED VIEW`
    CreateView(ViewDef),
    /// `INSERT INTO target SELECT …`; the view is named after the target.
    Insert {
        target: String,
        view: ViewDef,
    },
    /// A bare `SELECT`.
    Select(ViewDef),
    /// `EXPLAIN` and one of the statements above, which is not carried out.
    Explain(Explained),
}

/// Whose plan `EXPLAIN` shows.
#[derive(Debug, Clone)]
pub enum Explained {
    /// `SELECT …`, `INSERT INTO … SELECT …` or `CREATE MATERIALIZED VIEW …`
    Query(ViewDef),
    /// `MATERIALIZED VIEW name`
    View { name: String, location: Location },
}

impl Explained {
    pub fn location(&self) -> &Location {
        match self {
            Explained::Query(view) => &view.location,
            Explained::View { location, .. } => location,
        }
    }
}
