//! What a join of two streams becomes: how its sides are read, and which pairs of rows are partners.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::{DFSchemaRef, JoinType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use super::operator::IntervalJoinOperator;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::Operator;
use crate::operator::epoch_cell::Epoch;
use crate::operator::late::{Late, Ledger};
use crate::operator::logical::{Definition, Lowering, OperatorNode};

/// How a side is read: first the columns that the query names, then computed keys, and last the hidden one of rows' places.
#[derive(Debug, Clone)]
pub struct SideColumns {
    pub shown: usize,
    /// The column of the time.
    pub time: usize,
    /// The columns that have to be equal, in the same order on both sides.
    pub keys: Vec<usize>,
    /// Rows at the watermark itself have all come: the time is the bound of a window.
    pub is_inclusive: bool,
    /// By how much the time can be later than that of the row itself, microseconds: the end of a window is.
    pub ahead: Micros,
}

/// What becomes of the rows of a batch, which are named by their places in it.
#[derive(Debug, Default)]
pub(in crate::operator) struct SortedOut {
    /// They may find partners.
    pub(in crate::operator) kept: Vec<u32>,
    pub(in crate::operator) late: Vec<u32>,
    /// They find no partner, having no time or no key.
    pub(in crate::operator) alone: Vec<u32>,
}

impl SideColumns {
    /// Sorts the rows of a batch out: those with a time before `first` are late.
    ///
    /// `times`: of the rows; those of NULLs mean nothing. `nulls`: rows whose key is equal to no other.
    pub(in crate::operator) fn sorted_out(
        &self,
        batch: &RecordBatch,
        times: &[i64],
        first: i64,
        nulls: Option<&NullBuffer>,
    ) -> SortedOut {
        let time = batch.column(self.time);
        let mut sorted = SortedOut::default();
        for (row, at) in (0_u32..).zip(times) {
            let has_null = nulls.is_some_and(|nulls| nulls.is_null(row as usize));
            let rows = match time.is_null(row as usize) {
                true => &mut sorted.alone,
                false if *at < first => &mut sorted.late,
                false if has_null => &mut sorted.alone,
                false => &mut sorted.kept,
            };
            rows.push(row);
        }
        sorted
    }

    /// Notes the rows of a batch that are late: a join has no other place for them. `side`: the operator's id and which of its sides it is.
    pub(in crate::operator) fn note_late(
        &self,
        (operator, side): (&str, usize),
        batch: &RecordBatch,
        rows: &[u32],
        watermark: Micros,
        epoch: &Epoch,
    ) -> Result<()> {
        let computed: Vec<usize> = (self.shown..batch.num_columns()).collect();
        let late = rows.iter().map(|row| Late { row: *row as usize, missed: None, wholly: true });
        let ledger = Ledger { operator, input: side as u32, time: Some(self.time), ours: &computed, watermark };
        ledger.note(epoch, batch, &late.collect::<Vec<_>>())
    }
}

/// Which rows are partners, and what is emitted of them.
#[derive(Debug, Clone)]
pub struct Shape {
    /// One of those that [`IntervalJoin::can_be`] names.
    pub join_type: JoinType,
    /// The time of the right row less that of the left, microseconds, both included.
    pub from: Micros,
    pub to: Micros,
    /// The left one first.
    pub sides: [SideColumns; 2],
    /// NULL is a key like any other.
    pub nulls_match: bool,
    /// So far behind its side's watermark a row still counts, microseconds.
    pub allowed_lateness: Micros,
}

/// See the module's first line. The expression of its node, if it has one, is what a pair has to fulfil beside times and keys.
#[derive(Debug)]
pub struct IntervalJoin {
    shape: Shape,
    /// The columns of both sides that the query names.
    columns: DFSchemaRef,
    /// The same as the node's, in its own type.
    operator: Mutex<Option<Arc<IntervalJoinOperator>>>,
}

impl IntervalJoin {
    pub fn new(shape: Shape, columns: DFSchemaRef) -> Self {
        IntervalJoin { shape, columns, operator: Mutex::new(None) }
    }

    /// Whether a join of this type is one of two streams: one of existence alone is a condition, and no join.
    pub fn can_be(join_type: JoinType) -> bool {
        !matches!(join_type, JoinType::LeftMark | JoinType::RightMark)
    }
}

#[async_trait]
impl Definition for IntervalJoin {
    fn describe(&self, _: &OperatorNode) -> String {
        format!("{} join, from {} to {} us", self.shape.join_type, self.shape.from, self.shape.to)
    }

    fn create(&self, id: &str, schema: SchemaRef) -> Arc<dyn Operator> {
        let operator = Arc::new(IntervalJoinOperator::new(id.to_owned(), schema, self.shape.clone()));
        *self.operator.lock() = Some(Arc::clone(&operator));
        operator
    }

    async fn lower(
        &self,
        node: &OperatorNode,
        _: &Arc<dyn Operator>,
        _: usize,
        context: Lowering<'_>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let operator = self.operator.lock().clone();
        let operator = operator.ok_or_else(|| Error::bug("a join was planned before it was made"))?;
        if let Some(condition) = node.exprs.first() {
            operator.set_condition(context.expr(condition, &self.columns)?);
        }
        Ok(context.inputs.to_vec())
    }
}
