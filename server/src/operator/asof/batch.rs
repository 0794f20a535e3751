//! As-of joins over input that ends: the right side as a whole, and past it the left.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Decimal128Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::Shape;
use super::right::{Right, with_place};
use crate::error::Error;
use crate::operator::epoch_cell::PLACE;
use crate::operator::interval_join::SideColumns;
use crate::operator::keys::{columns, nulls};
use crate::sql::AsOfJoinNode;
use crate::state::{Account, batch_of};

/// The physical node of an as-of join of two inputs that end.
pub(in crate::operator) fn lower(
    node: &AsOfJoinNode,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> crate::error::Result<Arc<dyn ExecutionPlan>> {
    let [left, right] = inputs else { return Err(Error::bug("an as-of join without two inputs")) };
    let sides = [node.left.schema(), node.right.schema()];
    let at = |side: usize, column: &Column| sides[side].index_of_column(column);
    let of = |side: usize| -> Result<SideColumns> {
        let keys = node.keys.iter().map(|(left, right)| at(side, if side == 0 { left } else { right }));
        let shown = sides[side].fields().len();
        let (time, keys) = (at(side, &node.times[side])?, keys.collect::<Result<_>>()?);
        Ok(SideColumns { shown, time, keys, is_inclusive: false, ahead: 0 })
    };
    let (of_left, of_right) = (at(0, &node.times[0])?, at(1, &node.times[1])?);
    let times = [sides[0].field(of_left).data_type(), sides[1].field(of_right).data_type()];
    let shape = Shape {
        matching: node.matching,
        is_outer: node.is_outer,
        sides: [of(0)?, of(1)?],
        scale: Shape::scale_of(times),
        allowed_lateness: 0,
    };
    let schema = Arc::new(node.schema().as_arrow().clone());
    let is_read = is_read(&node.right)?;
    Ok(Arc::new(AsOfJoinExec::new(Arc::clone(left), Arc::clone(right), shape, schema, is_read)))
}

/// Whether rows come in the order in which they are read: nothing has made them of others, or has put them elsewhere.
fn is_read(plan: &LogicalPlan) -> Result<bool> {
    let mut is_read = true;
    plan.apply(|node| {
        is_read &= matches!(
            node,
            LogicalPlan::TableScan(_)
                | LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::Unnest(_)
                | LogicalPlan::Values(_)
                | LogicalPlan::EmptyRelation(_)
        );
        Ok(if is_read { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(is_read)
}

/// See the module's first line. Partition `n` of its output is partition `n` of the left.
#[derive(Debug)]
struct AsOfJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    shape: Shape,
    schema: SchemaRef,
    /// Of rows at one time the last that is read is the nearest; else the greatest.
    is_read: bool,
    /// The right side, once a partition has asked for it.
    rows: Arc<OnceCell<Arc<Rows>>>,
    properties: Arc<PlanProperties>,
}

/// All rows of the right side, and the memory that they are accounted for with.
#[derive(Debug)]
struct Rows {
    right: Right,
    _reservation: MemoryReservation,
}

impl AsOfJoinExec {
    fn new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        shape: Shape,
        schema: SchemaRef,
        is_read: bool,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(left.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        AsOfJoinExec { left, right, shape, schema, is_read, rows: Arc::default(), properties }
    }

    /// Of the rows of a side those that have a time and a key, and those that have not.
    fn with_key(shape: &Shape, side: usize, batch: &RecordBatch) -> Result<(RecordBatch, Option<RecordBatch>)> {
        let of = &shape.sides[side];
        let time = batch.column(of.time);
        let nulls = nulls(&columns(&of.keys, batch));
        let has_null =
            |row: &u32| time.is_null(*row as usize) || nulls.as_ref().is_some_and(|nulls| nulls.is_null(*row as usize));
        let (without, with): (Vec<u32>, Vec<u32>) = (0..batch.num_rows() as u32).partition(has_null);
        if without.is_empty() {
            return Ok((batch.clone(), None));
        }
        let rows = |rows: Vec<u32>| take_record_batch(batch, &UInt32Array::from(rows));
        Ok((rows(with)?, Some(rows(without)?)))
    }
}

/// Reads the right side to its end, all of its partitions side by side, in their order.
async fn all_of(
    right: Arc<dyn ExecutionPlan>,
    shape: Shape,
    is_read: bool,
    context: Arc<TaskContext>,
) -> Result<Arc<Rows>> {
    let reservation = MemoryConsumer::new("as-of join").register(context.memory_pool());
    // What groups rows hands them on as slices of one batch: each of its buffers counts once.
    let counted = Mutex::new(RecordBatchMemoryCounter::new());
    let partitions = 0..right.output_partitioning().partition_count();
    let partitions = partitions.map(|partition| {
        let (right, context, reservation, counted) = (&right, Arc::clone(&context), &reservation, &counted);
        async move {
            let mut batches = Vec::new();
            let mut rows = right.execute(partition, context)?;
            while let Some(batch) = rows.try_next().await? {
                let bytes = counted.lock().count_batch(&batch);
                reservation.try_grow(bytes)?;
                batches.push(batch);
            }
            Ok::<_, DataFusionError>(batches)
        }
    });
    let partitions = try_join_all(partitions).await?;
    let schema = with_place(&right.schema());
    let mut rows = Right::new(Arc::clone(&schema), &shape, &Account::unlimited());
    let mut read = 0_i128..;
    for batch in partitions.into_iter().flatten() {
        let (batch, _) = AsOfJoinExec::with_key(&shape, 1, &batch)?;
        let place: ArrayRef = match is_read {
            true => {
                let places: Decimal128Array = read.by_ref().take(batch.num_rows()).map(Some).collect();
                Arc::new(places.with_data_type(PLACE))
            }
            false => new_null_array(&PLACE, batch.num_rows()),
        };
        let columns = batch.columns().iter().cloned().chain([place]).collect();
        rows.add(batch_of(Arc::clone(&schema), columns, batch.num_rows())?)?;
    }
    rows.put_in_order();
    reservation.try_grow(rows.index_bytes())?;
    Ok(Arc::new(Rows { right: rows, _reservation: reservation }))
}

impl DisplayAs for AsOfJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.shape.is_outer { "Left" } else { "Inner" };
        write!(f, "AsOfJoinExec: {kind}, {}", self.shape.matching.described("left", "right"))
    }
}

impl ExecutionPlan for AsOfJoinExec {
    fn name(&self) -> &str {
        "AsOfJoinExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; 2]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([left, right]) = <[_; 2]>::try_from(children) else {
            return Err(Error::bug("an as-of join without two inputs").into());
        };
        // What has been read belongs to the instance that has read it.
        let (shape, schema) = (self.shape.clone(), Arc::clone(&self.schema));
        Ok(Arc::new(AsOfJoinExec::new(left, right, shape, schema, self.is_read)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let left = self.left.execute(partition, Arc::clone(&context))?;
        let (rows, right, shape) = (Arc::clone(&self.rows), Arc::clone(&self.right), self.shape.clone());
        let (schema, is_read) = (Arc::clone(&self.schema), self.is_read);
        let joined = async move {
            let read = rows.get_or_try_init(|| all_of(right, shape.clone(), is_read, context)).await?;
            let read = Arc::clone(read);
            let joined = left.map(move |batch| {
                let (left, without) = AsOfJoinExec::with_key(&shape, 0, &batch?)?;
                let mut out = vec![read.right.joined(&left, &schema)?];
                if let Some(without) = without.filter(|_| shape.is_outer) {
                    let columns = without.columns().iter().cloned();
                    let others = &schema.fields()[without.num_columns()..];
                    let nulls = others.iter().map(|field| new_null_array(field.data_type(), without.num_rows()));
                    let columns = columns.chain(nulls).collect();
                    out.push(batch_of(Arc::clone(&schema), columns, without.num_rows())?);
                }
                Ok::<_, DataFusionError>(stream::iter(out.into_iter().map(Ok)))
            });
            Ok::<_, DataFusionError>(joined.try_flatten())
        };
        let rows = stream::once(joined).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}
