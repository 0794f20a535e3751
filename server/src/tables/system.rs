//! The system tables of schema `touchline`: how every query is doing, as rows.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::{About, Published};
use crate::clock::Micros;
use crate::status::{PartitionStatus, QueryStatus, SourceStatus, Standing};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemTableKind {
    /// One row a query, also for one whose file is wrong.
    Queries,
    /// How far each partition is behind its end; NULL where that is not known.
    Lag,
    /// How far event time has got in each partition, and which one holds the watermark back.
    Watermarks,
    /// The newest checkpoint of each query.
    Checkpoints,
}

impl SystemTableKind {
    pub const ALL: [SystemTableKind; 4] =
        [SystemTableKind::Queries, SystemTableKind::Lag, SystemTableKind::Watermarks, SystemTableKind::Checkpoints];

    pub fn name(self) -> &'static str {
        match self {
            SystemTableKind::Queries => "queries",
            SystemTableKind::Lag => "lag",
            SystemTableKind::Watermarks => "watermarks",
            SystemTableKind::Checkpoints => "checkpoints",
        }
    }

    pub fn schema(self) -> SchemaRef {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let count = |name: &str| Field::new(name, DataType::Int64, false);
        let time = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let partition = Field::new("partition", DataType::Int32, false);
        let fields = match self {
            SystemTableKind::Queries => vec![
                text("name", false),
                text("state", false),
                text("arguments", true),
                text("reason", true),
                text("file", false),
                count("rows_in"),
                count("rows_out"),
                count("rows_late"),
                count("rows_dead"),
                count("restarts"),
                count("epochs"),
                count("checkpoint"),
                time("checkpoint_at"),
                count("state_bytes"),
                count("state_disk_bytes"),
                count("memory_bytes"),
                count("open_windows"),
                count("tail_rows"),
                count("sealed_files"),
                count("postgres_checkpoint"),
                count("postgres_waiting_rows"),
                count("postgres_waiting_bytes"),
                count("postgres_waiting_seconds"),
                count("postgres_refused_rows"),
                text("public_folder", true),
                text("hot_table", true),
            ],
            SystemTableKind::Lag => vec![
                text("query", false),
                text("source", false),
                partition,
                count("position"),
                Field::new("end", DataType::Int64, true),
                Field::new("lag", DataType::Int64, true),
            ],
            SystemTableKind::Watermarks => vec![
                text("query", false),
                text("source", false),
                partition,
                time("event_time_max"),
                Field::new("idle", DataType::Boolean, false),
                time("watermark"),
                Field::new("holds_back", DataType::Boolean, false),
            ],
            SystemTableKind::Checkpoints => vec![
                text("query", false),
                count("checkpoint"),
                time("checkpoint_at"),
                count("checkpoint_bytes"),
                count("checkpoint_failures"),
            ],
        };
        Arc::new(Schema::new(fields))
    }

    fn rows(self, published: &Published) -> Result<RecordBatch> {
        let queries = published.queries();
        let columns = match self {
            SystemTableKind::Queries => query_rows(&queries, published),
            SystemTableKind::Lag => lag_rows(&queries),
            SystemTableKind::Watermarks => watermark_rows(&queries),
            SystemTableKind::Checkpoints => checkpoint_rows(&queries),
        };
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn counts<T>(rows: &[T], value: impl Fn(&T) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
}

fn times<T>(rows: &[T], value: impl Fn(&T) -> Option<Micros>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(value)))
}

/// 0 stands for "not yet".
fn checkpoint_at(query: &QueryStatus) -> Option<Micros> {
    Some(query.checkpoint_at.load(Relaxed)).filter(|at| *at != 0)
}

fn query_rows(queries: &[Arc<QueryStatus>], published: &Published) -> Vec<ArrayRef> {
    let standing: Vec<Standing> = queries.iter().map(|query| query.standing()).collect();
    // Of a query that has not been restored yet nobody has said where its rows go.
    let abouts: Vec<_> =
        queries.iter().map(|query| published.view(&query.name).map(|view| view.about.clone())).collect();
    let folder = |about: &Option<About>| Some(about.as_ref()?.folder.clone()).filter(|folder| !folder.is_empty());
    vec![
        texts(queries.iter().map(|query| query.name.as_str())),
        texts(standing.iter().map(|standing| standing.state.name())),
        Arc::new(StringArray::from_iter(standing.iter().map(|standing| standing.arguments.as_deref()))),
        Arc::new(StringArray::from_iter(standing.iter().map(|standing| standing.reason.as_deref()))),
        texts(queries.iter().map(|query| query.file.as_str())),
        counts(queries, |query| int(query.rows_in.load(Relaxed))),
        counts(queries, |query| int(query.rows_out.load(Relaxed))),
        counts(queries, |query| int(query.rows_late.load(Relaxed))),
        counts(queries, |query| int(query.rows_dead.load(Relaxed))),
        counts(queries, |query| int(query.restarts.load(Relaxed))),
        counts(queries, |query| int(query.epochs.load(Relaxed))),
        counts(queries, |query| int(query.checkpoint.load(Relaxed))),
        times(queries, |query| checkpoint_at(query)),
        counts(queries, |query| int(query.state_bytes.load(Relaxed))),
        counts(queries, |query| int(query.state_disk_bytes.load(Relaxed))),
        counts(queries, |query| int(query.memory_bytes.load(Relaxed))),
        counts(queries, |query| int(query.open_windows.load(Relaxed))),
        counts(queries, |query| int(query.tail_rows.load(Relaxed))),
        counts(queries, |query| int(query.sealed_files.load(Relaxed))),
        counts(queries, |query| int(query.postgres_checkpoint.load(Relaxed))),
        counts(queries, |query| int(query.postgres_waiting_rows.load(Relaxed))),
        counts(queries, |query| int(query.postgres_waiting_bytes.load(Relaxed))),
        counts(queries, |query| int(query.postgres_waiting_micros.load(Relaxed) / 1_000_000)),
        counts(queries, |query| int(query.postgres_refused_rows.load(Relaxed))),
        Arc::new(StringArray::from_iter(abouts.iter().map(folder))),
        Arc::new(StringArray::from_iter(abouts.iter().map(|about| about.as_ref()?.hot_table.clone()))),
    ]
}

fn checkpoint_rows(queries: &[Arc<QueryStatus>]) -> Vec<ArrayRef> {
    let done: Vec<_> = queries.iter().filter(|query| query.checkpoint.load(Relaxed) != 0).collect();
    vec![
        texts(done.iter().map(|query| query.name.as_str())),
        counts(&done, |query| int(query.checkpoint.load(Relaxed))),
        times(&done, |query| checkpoint_at(query)),
        counts(&done, |query| int(query.checkpoint_bytes.load(Relaxed))),
        counts(&done, |query| int(query.checkpoint_failures.load(Relaxed))),
    ]
}

/// One partition of one source of one query.
struct PartitionRow {
    query: String,
    source: String,
    partition: i32,
    status: PartitionStatus,
    watermark: Option<Micros>,
    holds_back: bool,
}

fn partition_rows(queries: &[Arc<QueryStatus>]) -> Vec<PartitionRow> {
    let mut rows = Vec::new();
    for query in queries {
        for (name, source) in query.sources.read().iter() {
            for (&partition, &status) in &source.partitions {
                rows.push(PartitionRow {
                    query: query.name.clone(),
                    source: name.clone(),
                    partition,
                    status,
                    watermark: source.watermark,
                    holds_back: holds_back(source, &status),
                });
            }
        }
    }
    rows
}

/// The watermark is the minimum over partitions that are not idle: the one with that minimum holds it back, and so does
/// any that nothing has been heard of.
fn holds_back(source: &SourceStatus, partition: &PartitionStatus) -> bool {
    if partition.idle {
        return false;
    }
    // `None` sorts before every time.
    let slowest = source.partitions.values().filter(|other| !other.idle).map(|other| other.event_time_max).min();
    slowest == Some(partition.event_time_max)
}

fn lag_rows(queries: &[Arc<QueryStatus>]) -> Vec<ArrayRef> {
    let rows = partition_rows(queries);
    vec![
        texts(rows.iter().map(|row| row.query.as_str())),
        texts(rows.iter().map(|row| row.source.as_str())),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.partition))),
        counts(&rows, |row| row.status.position),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.status.end))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.status.lag()))),
    ]
}

fn watermark_rows(queries: &[Arc<QueryStatus>]) -> Vec<ArrayRef> {
    let rows = partition_rows(queries);
    vec![
        texts(rows.iter().map(|row| row.query.as_str())),
        texts(rows.iter().map(|row| row.source.as_str())),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.partition))),
        times(&rows, |row| row.status.event_time_max),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.status.idle)))),
        times(&rows, |row| row.watermark),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.holds_back)))),
    ]
}

/// A system table as it is at the moment of the scan.
#[derive(Debug)]
pub struct SystemTable {
    kind: SystemTableKind,
    published: Arc<Published>,
}

impl SystemTable {
    pub fn new(kind: SystemTableKind, published: Arc<Published>) -> Self {
        SystemTable { kind, published }
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.kind.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.kind.rows(&self.published)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.kind.schema(), projection.cloned())?)
    }
}
