//! What closing windows emits: of one after the other, a part of its keys at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::operator::OverOperator;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::{BadRow, Emission};
use crate::operator::epoch_cell::Epoch;
use crate::operator::window::held::WindowParts;
use crate::state::tight;

/// The rows of the windows that end after `closed` and at or before `to`. `panes`: those that hold rows, ascending.
pub(super) fn closing(
    operator: Arc<OverOperator>,
    epoch: Arc<Epoch>,
    context: Arc<TaskContext>,
    panes: Vec<Micros>,
    closed: Micros,
    to: Micros,
) -> Emission {
    let parts = WindowParts::new(operator.windows, panes, closed, to);
    let closing = Closing { operator, epoch, context, parts, running: None, results: VecDeque::new() };
    let next = |mut closing: Closing| async move {
        let batch = closing.next().await?;
        Ok::<_, Error>(batch.map(|batch| (batch, closing)))
    };
    stream::try_unfold(closing, next).boxed()
}

struct Closing {
    operator: Arc<OverOperator>,
    epoch: Arc<Epoch>,
    context: Arc<TaskContext>,
    parts: WindowParts,
    /// The plan over the part at hand.
    running: Option<SendableRecordBatchStream>,
    /// Where it ran part by part to find what cannot be computed: what could be.
    results: VecDeque<RecordBatch>,
}

impl Closing {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.results.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(running) = &mut self.running {
                match running.try_next().await? {
                    Some(batch) => return self.operator.output(&batch).map(Some),
                    None => self.running = None,
                }
                continue;
            }
            let Some((end, rows)) = self.next_part()? else { return Ok(None) };
            match self.epoch.effects.isolates() {
                false => self.running = Some(self.operator.run(rows, &self.context)?),
                true => self.isolate(end, rows).await?,
            }
        }
    }

    /// The next rows that the plan runs over, and the end of their window; `None` behind the last window.
    fn next_part(&mut self) -> Result<Option<(Micros, RecordBatch)>> {
        let operator = &self.operator;
        match self.parts.next(operator.keys()?, |end| Ok(operator.rows_of(end)))? {
            Some((end, rows)) => Ok(Some((end, tight(operator.together(&rows)?)?.0))),
            None => Ok(None),
        }
    }

    /// The results of `rows`, but for what cannot be computed: halved by their keys until that is of a single one, and noted. `end`: of their
    /// window.
    async fn isolate(&mut self, end: Micros, rows: RecordBatch) -> Result<()> {
        let mut open = vec![rows];
        while let Some(rows) = open.pop() {
            let error = match computed(&self.operator, rows.clone(), &self.context).await {
                Ok(results) => {
                    self.results.extend(results);
                    continue;
                }
                Err(error) => error,
            };
            if error.kind() != ErrorKind::Invalid {
                return Err(error);
            }
            match self.operator.halves(&rows)? {
                Some([first, second]) => open.extend([second, first]),
                None => {
                    let row = self.operator.named(&rows, end)?;
                    self.epoch.effects.add_bad(BadRow { id: None, row, error });
                }
            }
        }
        Ok(())
    }
}

async fn computed(operator: &OverOperator, rows: RecordBatch, context: &Arc<TaskContext>) -> Result<Vec<RecordBatch>> {
    let batches: Vec<RecordBatch> = operator.run(rows, context)?.try_collect().await?;
    batches.iter().map(|batch| operator.output(batch)).collect()
}
