//! `touchline.refused`: rows that a sink did not take, read from where that sink keeps them.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

/// Batches of [`refused_schema`]; dropped early where no more are wanted.
pub type RefusedBatches = BoxStream<'static, crate::error::Result<RecordBatch>>;

/// Reads the rows that were refused, of all queries. Implemented by the sink that keeps them.
#[async_trait]
pub trait RefusedRows: fmt::Debug + Send + Sync {
    /// # Errors
    /// `Unavailable` where the place that keeps them does not answer.
    async fn open(&self) -> crate::error::Result<RefusedBatches>;
}

/// One row for each row that a sink refused.
pub fn refused_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("query", false),
        // `postgres`.
        text("sink", false),
        // With which it was refused: the row is of it, or of one that was taken along with it.
        Field::new("checkpoint", DataType::Int64, false),
        // `write` or `delete`.
        text("operation", false),
        text("sqlstate", false),
        text("reason", false),
        // A JSON object; of one that was to be deleted its key. NULL where it is too long to be kept.
        text("row", true),
        Field::new("seen_at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]))
}

#[derive(Debug)]
pub(super) struct RefusedTable {
    rows: Arc<dyn RefusedRows>,
    schema: SchemaRef,
}

impl RefusedTable {
    pub(super) fn new(rows: Arc<dyn RefusedRows>) -> Self {
        RefusedTable { rows, schema: refused_schema() }
    }
}

#[async_trait]
impl TableProvider for RefusedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let read = Read { rows: Arc::clone(&self.rows), schema: Arc::clone(&self.schema) };
        let schema = Arc::clone(&self.schema);
        let exec = StreamingTableExec::try_new(schema, vec![Arc::new(read)], projection, [], false, limit)?;
        Ok(Arc::new(exec))
    }
}

/// One execution of a read.
#[derive(Debug)]
struct Read {
    rows: Arc<dyn RefusedRows>,
    schema: SchemaRef,
}

impl PartitionStream for Read {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = Arc::clone(&self.rows);
        let batches = stream::once(async move { rows.open().await }).try_flatten();
        let batches = batches.map_err(DataFusionError::from).boxed();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
