//! Reading what may change again: of each key its newest row, where there still is one and it is not final.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, stream};

use super::EarlySnapshot;
use super::view::conform;
use crate::changelog::newest::Newest;
use crate::state::Rows;

/// The rows of a view's open windows.
#[derive(Debug)]
pub(super) struct EarlyRows {
    early: Arc<EarlySnapshot>,
    schema: SchemaRef,
}

impl EarlyRows {
    /// `schema`: in which they are read.
    pub(super) fn new(early: Arc<EarlySnapshot>, schema: SchemaRef) -> Self {
        EarlyRows { early, schema }
    }
}

impl PartitionStream for EarlyRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (early, schema) = (Arc::clone(&self.early), Arc::clone(&self.schema));
        let memory = MemoryConsumer::new("open windows").register(context.memory_pool());
        // Which rows count is known when all have been looked at, and that is done when the first is asked for.
        let rows = stream::once(async move {
            let masks = masks(&early, &memory)?;
            let sections: Vec<Rows> = early.rows.iter().cloned().collect();
            let batches = sections.into_iter().flat_map(|rows| rows.batches()).zip(masks);
            let rows = batches.map(move |(batch, mask)| {
                // What the keys took is held until the last row is read.
                let _held = &memory;
                conform(&shown(&early, &batch?, &mask)?, &schema)
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

/// Of each batch, the rows that are the newest of their key.
fn masks(early: &EarlySnapshot, memory: &MemoryReservation) -> Result<Vec<BooleanArray>> {
    let mut newest = Newest::new(early.form.schema(), early.form.key())?;
    for batch in early.rows.iter().flat_map(Rows::batches) {
        newest.add(&batch?)?;
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
