//! The leaf of every continuous plan: this epoch's batches of one table or view.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
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

use super::view_stream::ViewStream;
use crate::catalog::{Connector, TableDef, ViewRef};
use crate::clock::{Micros, micros_of};
use crate::error::Error;
use crate::operator::epoch_cell::{Epoch, EpochCell, RowId};
use crate::operator::logical::row_field;
use crate::plan::{ColumnFacts, Moment};
use crate::state::batch_of;
use crate::watermark::WatermarkExpr;

/// Rows a leaf hands on at once: small enough for an operator's working set to stay in the processor's cache.
const BATCH_ROWS: usize = 8192;

/// A stream as one query reads it: a table, or a view as if it were one.
#[derive(Debug)]
pub struct StreamSlot {
    pub table: Arc<TableDef>,
    /// Of each of its columns, in terms of its own marks.
    facts: Vec<ColumnFacts>,
    /// Its place among the streams that the query reads, and that of its first mark among all of theirs; known once the query's plan
    /// has been walked.
    place: OnceLock<(usize, usize)>,
    /// Indices into the table's columns that the query needs, ascending; known when planning has ended.
    columns: OnceLock<Vec<usize>>,
    topic: Arc<str>,
}

impl StreamSlot {
    pub fn new(table: Arc<TableDef>) -> Self {
        let watermark = table.watermark.as_ref().map(|watermark| watermark.column.as_str());
        let facts = table.columns.iter().map(|column| match watermark == Some(column.name.as_str()) {
            true => ColumnFacts {
                watermark: Some(WatermarkExpr::Source(0)),
                moment: Some(Moment::new(0)),
                ..ColumnFacts::default()
            },
            false => ColumnFacts::default(),
        });
        let facts = facts.collect();
        StreamSlot::with_facts(table, facts)
    }

    pub(super) fn of_view(view: &ViewStream) -> Self {
        StreamSlot::with_facts(Arc::clone(&view.table), view.facts.clone())
    }

    fn with_facts(table: Arc<TableDef>, facts: Vec<ColumnFacts>) -> Self {
        let topic = match &table.connector {
            Connector::Kafka(topic) => Arc::from(topic.topic.as_str()),
            Connector::Filesystem(files) => Arc::from(files.path.as_str()),
            Connector::Postgres(_) | Connector::View(_) => Arc::from(table.name.as_str()),
        };
        StreamSlot { table, facts, place: OnceLock::new(), columns: OnceLock::new(), topic }
    }

    /// The topic, the path of the files, or the name of the view.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The view that it is, where it is no table.
    pub fn view(&self) -> Option<&ViewRef> {
        match &self.table.connector {
            Connector::View(view) => Some(view),
            Connector::Kafka(_) | Connector::Filesystem(_) | Connector::Postgres(_) => None,
        }
    }

    /// How far ahead of processing time its times are believed; `None`: as far as they like. What has an end may be of any time: it is final
    /// when it has ended.
    pub fn max_future(&self) -> Option<Duration> {
        match (&self.table.connector, &self.table.watermark) {
            (Connector::Kafka(_), Some(watermark)) => Some(watermark.max_future),
            (Connector::View(view), _) => view.max_future,
            _ => None,
        }
    }

    /// Times after this are not to be believed.
    pub fn far_after(&self, now: Micros) -> Micros {
        self.max_future().map_or(Micros::MAX, |ahead| now.saturating_add(micros_of(ahead)))
    }

    /// The columns that its marks are about: of a table that of its WATERMARK.
    pub(super) fn time_columns(&self) -> Vec<usize> {
        match (self.view(), &self.table.watermark) {
            (Some(view), _) => view.marks.iter().map(|mark| mark.column).collect(),
            (None, Some(watermark)) => self.table.column_index(&watermark.column).into_iter().collect(),
            (None, None) => vec![],
        }
    }

    /// Where the event time stands in this slot's batches.
    pub fn time_column(&self) -> Option<usize> {
        let is_time = |at: &usize| matches!(self.table.columns[*at].data_type, DataType::Timestamp(..));
        let column = self.time_columns().into_iter().find(is_time)?;
        self.columns().binary_search(&column).ok()
    }

    pub fn index(&self) -> usize {
        self.place.get().map_or(usize::MAX, |(index, _)| *index)
    }

    /// How many marks it has.
    pub fn marks(&self) -> usize {
        self.view().map_or(1, |view| view.marks.len())
    }

    /// What its marks are called.
    pub(super) fn mark_names(&self) -> Vec<String> {
        let name = &self.table.name;
        match self.view() {
            Some(view) => view.marks.iter().map(|mark| format!("{name}.{}", mark.name)).collect(),
            None => vec![name.clone()],
        }
    }

    /// Its place among the streams of the query, which it takes here if it has none yet.
    pub(super) fn number(&self, next: usize, next_mark: usize) -> usize {
        self.place.get_or_init(|| (next, next_mark)).0
    }

    /// What is known of its columns, in terms of the marks of all streams of the query.
    pub(super) fn facts(&self) -> Vec<ColumnFacts> {
        let first = self.place.get().map_or(usize::MAX, |(_, first)| *first);
        let renumbered = |expr: &WatermarkExpr| Some(expr.clone().renumbered(first));
        self.facts.iter().map(|facts| facts.with_watermarks(renumbered)).collect()
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

    /// Of a view's rows nothing says which came first.
    fn table_type(&self) -> TableType {
        if self.slot.view().is_some() { TableType::View } else { TableType::Base }
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
            let rows = batch_of(Arc::clone(&schema), columns, batch.num_rows())?;
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
