//! Reading what may change again: of each key its newest row, where there still is one and it is not final.
//!
//! What a statement asks of the key alone is asked of all rows first: it is true of every row of a key or of none, so the rest need
//! not be looked at for which of them is the newest.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, stream};

use super::EarlySnapshot;
use super::view::conform;
use crate::changelog::early::EarlyForm;
use crate::changelog::newest::Newest;
use crate::state::Rows;

/// The rows of a view's open windows.
#[derive(Debug)]
pub(super) struct EarlyRows {
    early: Arc<EarlySnapshot>,
    schema: SchemaRef,
    /// What is asked of keys, over the columns of the early rows.
    asked: Option<Arc<dyn PhysicalExpr>>,
}

impl EarlyRows {
    /// `schema`: in which they are read. `filters`: of the statement, which asks them again of what it gets.
    pub(super) fn try_new(
        early: Arc<EarlySnapshot>,
        schema: SchemaRef,
        filters: &[Expr],
        state: &dyn Session,
    ) -> Result<Self> {
        let asked = conjunction(filters.iter().filter(|filter| is_of_key(filter, &early.form, &schema)).cloned());
        let columns = DFSchema::try_from(early.form.schema().as_ref().clone())?;
        let asked = asked.map(|filter| state.create_physical_expr(filter, &columns)).transpose()?;
        Ok(EarlyRows { early, schema, asked })
    }
}

/// Whether a filter says the same of all rows of a key, and can be asked of any row: it compares columns of the key with constants.
///
/// Not of numbers with a point: 0 and −0 are one key.
fn is_of_key(filter: &Expr, form: &EarlyForm, read: &SchemaRef) -> bool {
    let mut is_of_key = true;
    let walked = filter.apply(|expr| {
        is_of_key &= match expr {
            Expr::Column(column) => form.schema().index_of(&column.name).is_ok_and(|at| {
                let kind = form.schema().field(at).data_type();
                form.key().contains(&at)
                    && is_compared_as_a_whole(kind)
                    && read.field_with_name(&column.name).is_ok_and(|field| field.data_type() == kind)
            }),
            Expr::Literal(..) | Expr::Not(_) | Expr::IsNull(_) | Expr::IsNotNull(_) => true,
            Expr::BinaryExpr(BinaryExpr { op, .. }) => {
                use Operator::*;
                matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | And | Or)
            }
            Expr::Between(_) | Expr::InList(_) => true,
            _ => false,
        };
        Ok(if is_of_key { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && is_of_key
}

/// Equal values of these types are the same value.
fn is_compared_as_a_whole(kind: &DataType) -> bool {
    use DataType::*;
    kind.is_integer() || matches!(kind, Boolean | Date32 | Timestamp(..) | Time64(_) | Utf8 | LargeUtf8 | Utf8View)
}

impl PartitionStream for EarlyRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (early, schema, asked) = (Arc::clone(&self.early), Arc::clone(&self.schema), self.asked.clone());
        let memory = MemoryConsumer::new("open windows").register(context.memory_pool());
        // Which rows count is known when all have been looked at, and that is done when the first is asked for.
        let rows = stream::once(async move {
            let masks = masks(&early, asked.as_ref(), &memory)?;
            let sections: Vec<Rows> = early.rows.iter().cloned().collect();
            let batches = sections.into_iter().flat_map(|rows| rows.batches()).zip(masks);
            let rows = batches.map(move |(batch, mask)| {
                // What the keys took is held until the last row is read.
                let _held = &memory;
                let batch = of_asked(asked.as_ref(), batch?)?;
                conform(&shown(&early, &batch, &mask)?, &schema)
            });
            Ok::<_, datafusion::error::DataFusionError>(stream::iter(rows))
        });
        let rows = rows.flat_map(|rows| match rows {
            Ok(rows) => rows.left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

/// The rows of a batch whose keys are asked for.
fn of_asked(asked: Option<&Arc<dyn PhysicalExpr>>, batch: RecordBatch) -> Result<RecordBatch> {
    let Some(asked) = asked else { return Ok(batch) };
    let wanted = asked.evaluate(&batch)?.into_array(batch.num_rows())?;
    Ok(filter_record_batch(&batch, as_boolean_array(&wanted)?)?)
}

/// Of each batch, the rows that are the newest of their key, among those that are asked for.
fn masks(
    early: &EarlySnapshot,
    asked: Option<&Arc<dyn PhysicalExpr>>,
    memory: &MemoryReservation,
) -> Result<Vec<BooleanArray>> {
    let mut newest = Newest::new(early.form.schema(), early.form.key())?;
    for batch in early.rows.iter().flat_map(Rows::batches) {
        newest.add(&of_asked(asked, batch?)?)?;
        memory.try_resize(newest.bytes())?;
    }
    Ok(newest.masks())
}

/// The rows of a batch that a reader gets, as the view has them.
fn shown(early: &EarlySnapshot, batch: &RecordBatch, newest: &BooleanArray) -> crate::error::Result<RecordBatch> {
    let rows = early.form.pick(batch, newest, |row| !row.gone && row.is_open(early.final_through))?;
    early.form.in_view(&rows)
}

#[cfg(test)]
mod tests;
