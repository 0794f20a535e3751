//! The leaf of every continuous plan: this epoch's batches of one table.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{RecordBatch, RecordBatchOptions};
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

use super::epoch_cell::{Epoch, EpochCell};
use crate::catalog::TableDef;
use crate::error::Error;

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
}

impl StreamSlot {
    pub fn new(table: Arc<TableDef>) -> Self {
        StreamSlot { table, index: OnceLock::new(), columns: OnceLock::new() }
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
    schema: SchemaRef,
}

impl StreamTable {
    pub(super) fn new(slot: Arc<StreamSlot>, cell: Arc<EpochCell>) -> Self {
        let schema = slot.table.schema();
        StreamTable { slot, cell, schema }
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
    /// Indices into the table's columns.
    pub(super) columns: Vec<usize>,
    schema: SchemaRef,
    cell: Arc<EpochCell>,
    properties: Arc<PlanProperties>,
}

impl EpochSourceExec {
    fn new(slot: Arc<StreamSlot>, columns: Vec<usize>, cell: Arc<EpochCell>, partitions: usize) -> Self {
        let all = slot.table.schema();
        let schema = Arc::new(Schema::new(columns.iter().map(|at| all.field(*at).clone()).collect::<Vec<_>>()));
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

    /// Where each of this node's columns stands in the slot's batches.
    fn positions(&self) -> Result<Vec<usize>> {
        let columns = self.slot.columns();
        self.columns
            .iter()
            .map(|column| {
                columns
                    .binary_search(column)
                    .map_err(|_| Error::bug(format!("column {column} is not among those that are read")).into())
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
        let pieces = pieces(&epoch, self.slot.index(), partition, partitions);
        let rows = stream::iter(pieces).map(move |batch| {
            let columns = positions.iter().map(|at| Arc::clone(batch.column(*at))).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
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

/// The slices of an epoch's batches that fall to one partition.
fn pieces(epoch: &Epoch, slot: usize, partition: usize, partitions: usize) -> Vec<RecordBatch> {
    let slices = epoch.batches.get(slot).into_iter().flatten().flat_map(|batch| {
        (0..batch.num_rows())
            .step_by(BATCH_ROWS)
            .map(|offset| batch.slice(offset, BATCH_ROWS.min(batch.num_rows() - offset)))
    });
    slices.enumerate().filter(|(at, _)| at % partitions == partition).map(|(_, slice)| slice).collect()
}
