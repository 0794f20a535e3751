//! Reading a source table: a bounded snapshot of its topic or files, from the earliest record to the end as it is when
//! the statement starts.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};

use crate::catalog::TableDef;

/// Batches that wait between the reading thread and the plan.
const BUFFERED_BATCHES: usize = 2;

/// The batches of a snapshot. Blocks while it waits for the broker or a file; dropped early where no more are wanted.
pub type SnapshotBatches = Box<dyn Iterator<Item = crate::error::Result<RecordBatch>> + Send>;

/// Opens bounded reads of source tables. Implemented by the server over its readers.
pub trait SnapshotReader: fmt::Debug + Send + Sync {
    /// Reads every row that is there now. Called on a thread that may block.
    ///
    /// `columns`: indices into `table.schema()`, in the order in which the batches have them; never empty.
    fn open(&self, table: &Arc<TableDef>, columns: &[usize]) -> crate::error::Result<SnapshotBatches>;
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

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let mut columns: Vec<usize> = projection.cloned().unwrap_or_else(all);
        // `count(*)` wants no column, but a reader needs one to count rows by.
        let nothing = columns.is_empty().then(Vec::new);
        if columns.is_empty() {
            columns.push(0);
        }
        let schema = Arc::new(self.schema.project(&columns)?);
        let partition = Snapshot {
            table: Arc::clone(&self.table),
            reader: Arc::clone(&self.reader),
            columns,
            schema: Arc::clone(&schema),
        };
        let exec = StreamingTableExec::try_new(schema, vec![Arc::new(partition)], nothing.as_ref(), [], false, limit)?;
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
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BUFFERED_BATCHES);
        let sender = stream.tx();
        let (table, reader, columns) = (Arc::clone(&self.table), Arc::clone(&self.reader), self.columns.clone());
        stream.spawn_blocking(move || {
            for batch in reader.open(&table, &columns)? {
                // Nobody listens any more: the statement has its rows or was cancelled.
                if sender.blocking_send(batch.map_err(Into::into)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}
