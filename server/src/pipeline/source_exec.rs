//! The leaf of every continuous plan: this epoch's batches of one table.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::{StreamExt, stream};

use crate::catalog::{Connector, TableDef};
use crate::clock::Micros;
use crate::error::Error;
use crate::operator::epoch_cell::{Epoch, EpochCell, RowId};
use crate::operator::logical::row_field;

/// Rows a leaf hands on at once: small enough for an operator's working set to stay in the processor's cache.
const BATCH_ROWS: usize = 8192;

/// A stream table as one query reads it.
#[derive(Debug)]
pub struct StreamSlot {
    pub table: Arc<TableDef>,
    /// Its place among the streams that the query reads; known once the query's plan has been walked.
    index: OnceLock<usize>,
    /// Indices into the table's columns that the query needs, ascending; known when planning has ended.
    columns: OnceLock<Vec<usize>>,
    topic: Arc<str>,
}

impl StreamSlot {
    pub fn new(table: Arc<TableDef>) -> Self {
        let topic = match &table.connector {
            Connector::Kafka(topic) => Arc::from(topic.topic.as_str()),
            Connector::Filesystem(files) => Arc::from(files.path.as_str()),
        };
        StreamSlot { table, index: OnceLock::new(), columns: OnceLock::new(), topic }
    }

    /// The topic, or the path of the files.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Times after this are not to be believed. What has an end may be of any time: it is final when it has ended.
    pub fn far_after(&self, now: Micros) -> Micros {
        match (&self.table.connector, &self.table.watermark) {
            (Connector::Kafka(_), Some(watermark)) => {
                let ahead = Micros::try_from(watermark.max_future.as_micros()).unwrap_or(Micros::MAX);
                now.saturating_add(ahead)
            }
            _ => Micros::MAX,
        }
    }

    /// Where the event time stands in this slot's batches.
    pub fn time_column(&self) -> Option<usize> {
        let column = self.table.column_index(&self.table.watermark.as_ref()?.column)?;
        self.columns().binary_search(&column).ok()
    }

    pub fn index(&self) -> usize {
        self.index.get().copied().unwrap_or(usize::MAX)
    }

    pub(super) fn number(&self, next: usize) -> usize {
        *self.index.get_or_init(|| next)
    }

    /// What a reader must decode: the columns of this slot's batches.
    pub fn columns(&self) -> &[usize] {
        self.columns.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn set_columns(&self, columns: Vec<usize>) {
        let _ = self.columns.set(columns);
    }
}

/// A stream table while its query is being planned.
#[derive(Debug)]
pub(super) struct StreamTable {
    slot: Arc<StreamSlot>,
    cell: Arc<EpochCell>,
    /// The table's columns, and behind them the row id, where it has one.
    schema: SchemaRef,
}

impl StreamTable {
    pub(super) fn new(slot: Arc<StreamSlot>, cell: Arc<EpochCell>) -> Self {
        let schema = slot.table.schema();
        StreamTable { slot, cell, schema }
    }

    /// The same table with the hidden column that says where a row was read.
    pub(super) fn with_rows(&self) -> Self {
        let columns = self.slot.table.schema();
        let fields = columns.fields().iter().cloned().chain([Arc::new(row_field())]).collect::<Vec<_>>();
        StreamTable {
            slot: Arc::clone(&self.slot),
            cell: Arc::clone(&self.cell),
            schema: Arc::new(Schema::new(fields)),
        }
    }

    pub(super) fn slot(&self) -> &Arc<StreamSlot> {
        &self.slot
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let partitions = state.config().target_partitions();
        Ok(Arc::new(EpochSourceExec::new(Arc::clone(&self.slot), columns, Arc::clone(&self.cell), partitions)))
    }
}

/// See the module's first line. Batch `n` of the epoch goes to partition `n` modulo the number of partitions.
#[derive(Debug)]
pub struct EpochSourceExec {
    slot: Arc<StreamSlot>,
    /// Indices into the table's columns; the one after the last is the row id.
    columns: Vec<usize>,
    schema: SchemaRef,
    cell: Arc<EpochCell>,
    properties: Arc<PlanProperties>,
}

impl EpochSourceExec {
    fn new(slot: Arc<StreamSlot>, columns: Vec<usize>, cell: Arc<EpochCell>, partitions: usize) -> Self {
        let all = slot.table.schema();
        let field = |at: &usize| all.fields().get(*at).map_or_else(row_field, |field| field.as_ref().clone());
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        // Bounded: within an epoch the input ends, and nodes that emit at the end are in their right.
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        EpochSourceExec { slot, columns, schema, cell, properties: Arc::new(properties) }
    }

    pub fn slot(&self) -> &Arc<StreamSlot> {
        &self.slot
    }

    /// The table's columns that it reads.
    pub(super) fn table_columns(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.slot.table.columns.len();
        self.columns.iter().copied().filter(move |column| *column < all)
    }

    /// Where each of this node's columns stands in the slot's batches; `None` for the row id.
    fn positions(&self) -> Result<Vec<Option<usize>>> {
        let (columns, all) = (self.slot.columns(), self.slot.table.columns.len());
        self.columns
            .iter()
            .map(|column| {
                if *column >= all {
                    return Ok(None);
                }
                let found = columns.binary_search(column).map(Some);
                found.map_err(|_| Error::bug(format!("column {column} is not among those that are read")).into())
            })
            .collect()
    }
}

impl DisplayAs for EpochSourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "EpochSourceExec: table={}, columns=[{}]", self.slot.table.name, names.join(", "))
    }
}

impl ExecutionPlan for EpochSourceExec {
    fn name(&self) -> &str {
        "EpochSourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let epoch = self.cell.current();
        let partitions = self.properties.partitioning.partition_count();
        let positions = self.positions()?;
        let schema = Arc::clone(&self.schema);
        let slot = self.slot.index();
        let pieces = pieces(&epoch, slot, partition, partitions);
        let reading = Arc::clone(&epoch);
        let rows = stream::iter(pieces).map(move |Piece { batch, number, offset }| {
            let ids = || RowId { slot, batch: number, row: offset }.run(batch.num_rows());
            let column =
                |at: &Option<usize>| at.map_or_else(|| Arc::new(ids()) as ArrayRef, |at| Arc::clone(batch.column(at)));
            let columns = positions.iter().map(column).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let rows = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
            Ok(match reading.read_of(RowId { slot, batch: number, row: offset }, batch.num_rows()) {
                Some(read) => filter_record_batch(&rows, &read)?,
                None => rows,
            })
        });
        // Polled only when everything before it has been taken.
        let end = stream::once(async move {
            epoch.effects.drained();
            None
        })
        .filter_map(|nothing: Option<Result<RecordBatch>>| async { nothing });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows.chain(end))))
    }
}

/// A slice of one of an epoch's batches.
struct Piece {
    batch: RecordBatch,
    /// Of the batch that it is a slice of, and its first row there.
    number: usize,
    offset: usize,
}

/// The slices of an epoch's batches that fall to one partition.
fn pieces(epoch: &Epoch, slot: usize, partition: usize, partitions: usize) -> Vec<Piece> {
    let batches = epoch.sources.get(slot).into_iter().flat_map(|source| &source.batches).enumerate();
    let slices = batches.flat_map(|(number, batch)| {
        (0..batch.num_rows()).step_by(BATCH_ROWS).map(move |offset| Piece {
            batch: batch.slice(offset, BATCH_ROWS.min(batch.num_rows() - offset)),
            number,
            offset,
        })
    });
    slices.enumerate().filter(|(at, _)| at % partitions == partition).map(|(_, slice)| slice).collect()
}
