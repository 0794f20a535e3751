//! Reading a source table: a bounded snapshot of its topic or files, from the earliest record to the end as it is when
//! the statement starts.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
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

use crate::catalog::TableDef;

/// The batches of a snapshot; dropped early where no more are wanted.
pub type SnapshotBatches = BoxStream<'static, crate::error::Result<RecordBatch>>;

/// Opens bounded reads of source tables. Implemented by the server over its readers.
#[async_trait]
pub trait SnapshotReader: fmt::Debug + Send + Sync {
    /// Reads every row that is there now.
    ///
    /// `columns`: indices into `table.schema()`, ascending and never empty; batches have these columns.
    async fn open(&self, table: Arc<TableDef>, columns: Vec<usize>) -> crate::error::Result<SnapshotBatches>;
}

#[derive(Debug)]
pub struct SourceTable {
    table: Arc<TableDef>,
    schema: SchemaRef,
    reader: Arc<dyn SnapshotReader>,
}

impl SourceTable {
    pub fn new(table: Arc<TableDef>, reader: Arc<dyn SnapshotReader>) -> Self {
        SourceTable { schema: table.schema(), table, reader }
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// For SHOW CREATE TABLE.
    fn get_table_definition(&self) -> Option<&str> {
        Some(self.table.text.as_str()).filter(|text| !text.is_empty())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(all);
        // `count(*)` wants no column, but a reader needs one to count rows by.
        let mut columns = if wanted.is_empty() { vec![0] } else { wanted.clone() };
        columns.sort_unstable();
        columns.dedup();
        let schema = Arc::new(self.schema.project(&columns)?);
        let order: Vec<usize> = wanted.iter().filter_map(|wanted| columns.binary_search(wanted).ok()).collect();
        let order = (wanted != columns).then_some(order);
        let partition = Snapshot {
            table: Arc::clone(&self.table),
            reader: Arc::clone(&self.reader),
            columns,
            schema: Arc::clone(&schema),
        };
        let exec = StreamingTableExec::try_new(schema, vec![Arc::new(partition)], order.as_ref(), [], false, limit)?;
        Ok(Arc::new(exec))
    }
}

/// One execution of a snapshot read.
struct Snapshot {
    table: Arc<TableDef>,
    reader: Arc<dyn SnapshotReader>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.table.name)
    }
}

impl PartitionStream for Snapshot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, reader, columns) = (Arc::clone(&self.table), Arc::clone(&self.reader), self.columns.clone());
        let batches = stream::once(async move { reader.open(table, columns).await }).try_flatten();
        let batches = batches.map_err(DataFusionError::from).boxed();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
