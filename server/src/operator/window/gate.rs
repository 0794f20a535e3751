//! Lets rows through that belong to a window which is still open; notes those that come too late, once for each window.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::StreamExt;

use super::operator::{WindowOperator, pane_starts};
use crate::error::Error;
use crate::pipeline::{EpochCell, LateRow};

/// Stands below the partial aggregation. Column `pane` of its input is the start of each row's pane.
#[derive(Debug)]
pub struct LateGateExec {
    input: Arc<dyn ExecutionPlan>,
    pane: usize,
    operator: Arc<WindowOperator>,
    /// The operator's place among the stateful operators of its query.
    index: usize,
    cell: Arc<EpochCell>,
    properties: Arc<PlanProperties>,
}

impl LateGateExec {
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        pane: usize,
        operator: Arc<WindowOperator>,
        index: usize,
        cell: Arc<EpochCell>,
    ) -> Self {
        let properties = Arc::clone(input.properties());
        LateGateExec { input, pane, operator, index, cell, properties }
    }
}

impl DisplayAs for LateGateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateGateExec: operator={}", self.operator.id)
    }
}

impl ExecutionPlan for LateGateExec {
    fn name(&self) -> &str {
        "LateGateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // It does, but saying so would let the optimizer move the sort of an ordered aggregate (`array_agg(x ORDER BY y)`)
        // below this node, where the template cannot tell it from a sort that orders one epoch's output.
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(LateGateExec::new(
            children.swap_remove(0),
            self.pane,
            Arc::clone(&self.operator),
            self.index,
            Arc::clone(&self.cell),
        )))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let gate = Gate {
            pane: self.pane,
            operator: Arc::clone(&self.operator),
            index: self.index,
            cell: Arc::clone(&self.cell),
        };
        let stream = input.map(move |batch| Ok(gate.pass(batch?)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

struct Gate {
    pane: usize,
    operator: Arc<WindowOperator>,
    index: usize,
    cell: Arc<EpochCell>,
}

impl Gate {
    fn pass(&self, batch: RecordBatch) -> crate::error::Result<RecordBatch> {
        let epoch = self.cell.current();
        let windows = self.operator.windows;
        let closed = windows.closed_through(epoch.marks[self.index].late);
        let column = batch.column(self.pane);
        if column.null_count() == 0 {
            let panes = pane_starts(column)?;
            let earliest = panes.iter().copied().min();
            // The common case: even the first window of the earliest pane is open.
            if earliest.is_none_or(|pane| windows.first_end(pane) > closed) {
                return Ok(batch);
            }
        }
        self.sort_out(&batch, closed)
    }

    /// The rows with an open window. Rows without a time belong to none and are counted as filtered.
    fn sort_out(&self, batch: &RecordBatch, closed: i64) -> crate::error::Result<RecordBatch> {
        let epoch = self.cell.current();
        let windows = self.operator.windows;
        let column: &ArrayRef = batch.column(self.pane);
        let panes = pane_starts(column)?;
        let mut keep = vec![true; batch.num_rows()];
        let mut late = Vec::new();
        for (row, pane) in panes.into_iter().enumerate() {
            if column.is_null(row) {
                keep[row] = false;
                epoch.effects.count_without_time();
                continue;
            }
            keep[row] = windows.last_end(pane) > closed;
            if windows.first_end(pane) <= closed {
                for start in windows.starts(pane).take_while(|start| start.saturating_add(windows.size) <= closed) {
                    late.push((row, start));
                }
            }
        }
        if !late.is_empty() {
            let text = json_rows(batch)?;
            epoch.effects.add_late(late.into_iter().map(|(row, start)| LateRow {
                operator: self.operator.id.clone(),
                window_start: start,
                window_end: start.saturating_add(windows.size),
                watermark: epoch.marks[self.index].late,
                row: text[row].clone(),
            }));
        }
        Ok(filter_record_batch(batch, &BooleanArray::from(keep))?)
    }
}

/// Each row as a JSON object, for people to read. Columns whose type JSON cannot say are left out.
fn json_rows(batch: &RecordBatch) -> crate::error::Result<Vec<String>> {
    let sayable = |schema: &SchemaRef| -> Vec<usize> {
        let simple = |data_type: &DataType| !matches!(data_type, DataType::Union(..) | DataType::Interval(_));
        schema.fields().iter().enumerate().filter(|(_, field)| simple(field.data_type())).map(|(at, _)| at).collect()
    };
    let batch = batch.project(&sayable(&batch.schema()))?;
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&batch).and_then(|()| writer.finish())?;
    let text = String::from_utf8(writer.into_inner()).map_err(|error| Error::bug(error.to_string()))?;
    Ok(text.lines().map(str::to_owned).collect())
}
