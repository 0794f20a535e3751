//! What closing windows emits: of one after the other, a part of its keys at a time.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::operator::OverOperator;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::{BadRow, Emission};
use crate::operator::epoch_cell::Epoch;
use crate::operator::window::held;
use crate::state::{PartReader, Rows, parts_for, tight};

/// The rows of the windows that end after `closed` and at or before `to`. `panes`: those that hold rows, ascending.
pub(super) fn closing(
    operator: Arc<OverOperator>,
    epoch: Arc<Epoch>,
    context: Arc<TaskContext>,
    panes: Vec<Micros>,
    closed: Micros,
    to: Micros,
) -> Emission {
    let panes = panes.into_iter().peekable();
    let closing =
        Closing { operator, epoch, context, panes, closed, to, window: None, running: None, results: VecDeque::new() };
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
    panes: Peekable<IntoIter<Micros>>,
    /// The end of the window at hand, or of the last one.
    closed: Micros,
    to: Micros,
    window: Option<ClosingWindow>,
    /// The plan over the part at hand.
    running: Option<SendableRecordBatchStream>,
    /// Where it ran part by part to find what cannot be computed: what could be.
    results: VecDeque<RecordBatch>,
}

/// A window whose keys are taken part by part: all of its rows are never in memory beside one another, where there are keys.
struct ClosingWindow {
    readers: Vec<PartReader>,
    part: usize,
    parts: usize,
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
            let Some(rows) = self.next_part()? else { return Ok(None) };
            match self.epoch.effects.isolates() {
                false => self.running = Some(self.operator.run(rows, &self.context)?),
                true => self.isolate(rows).await?,
            }
        }
    }

    /// The next rows that the plan runs over; `None` behind the last window.
    fn next_part(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(window) = &mut self.window else {
                let windows = &self.operator.windows;
                let Some(end) = held::next_to_close(windows, &mut self.panes, self.closed, self.to) else {
                    return Ok(None);
                };
                self.closed = end;
                let (keys, segments) = (self.operator.keys()?, self.operator.rows_of(end));
                let rows = segments.iter().map(Rows::num_rows).sum();
                let parts = if keys == 0 { 1 } else { parts_for(rows) };
                let readers = segments.into_iter().map(|segment| PartReader::new(segment, keys, parts)).collect();
                self.window = Some(ClosingWindow { readers, part: 0, parts });
                continue;
            };
            let mut rows = Vec::new();
            window.readers.iter_mut().try_for_each(|reader| reader.read(window.part, &mut rows))?;
            window.part += 1;
            if window.part == window.parts {
                self.window = None;
            }
            if !rows.is_empty() {
                return Ok(Some(tight(self.operator.together(&rows)?)?.0));
            }
        }
    }

    /// The results of `rows`, but for what cannot be computed: halved by their keys until that is of a single one, and noted.
    async fn isolate(&mut self, rows: RecordBatch) -> Result<()> {
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
                    let row = self.operator.named(&rows, self.closed)?;
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
