//! An epoch that an expression has failed in, once more: which rows it cannot take, and the epoch without them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::failure::ExpressionPlaces;
use super::{Pipeline, StepOutput, StreamSlot};
use crate::catalog::{OnBadRow, RecordRows};
use crate::error::{Error, Result};
use crate::operator::contract::BadRow;
use crate::operator::epoch_cell::{Epoch, RowId};
use crate::source::DeadLetter;
use crate::state::Spool;

impl Pipeline {
    /// Runs `failed` again until no expression fails for a row that is read: first all bad rows are found, then the others are
    /// taken. Results that an expression cannot take are left out of what is emitted.
    ///
    /// # Errors
    /// The error of a row of a table with `'on-bad-row' = 'fail'`; `error`, where no single row is to blame.
    pub(super) async fn without_bad_rows(&self, failed: &Epoch, mut error: Option<Error>) -> Result<StepOutput> {
        let mut left_out = BTreeSet::new();
        let mut bad = Vec::new();
        loop {
            self.operators.iter().for_each(|operator| operator.abort());
            let epoch = self.cell.enter(failed.without(left_out.clone()));
            let output = match self.run(&self.isolating, &epoch).await {
                Ok(output) => output,
                // What is not evaluated row by row, like a sum, fails again; its first words are as good as its last.
                Err(again) => return Err(error.take().unwrap_or(again)),
            };
            let (mut more, mut results) = (false, Vec::new());
            for row in epoch.effects.take_bad() {
                if self.on_bad_row(row.id) == OnBadRow::Fail {
                    return Err(row.error);
                }
                match row.id {
                    // The same row may be read several times: once for each of its windows, by each branch of a union.
                    Some(id) if left_out.insert(id) => {
                        more = true;
                        bad.push(self.dead_letter(&epoch, row));
                    }
                    Some(_) => {}
                    None => results.push(row),
                }
            }
            if !more {
                // Only now these are the results: what was read has changed with each run.
                bad.extend(results.into_iter().map(|row| self.dead_letter(&epoch, row)));
                let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
                let mut spool = Spool::new(&self.account);
                for batch in output.rows.batches() {
                    spool.push(batch?.project(&columns)?)?;
                }
                return Ok(StepOutput { rows: spool.finish()?, bad, ..output });
            }
        }
    }

    /// A result is of all tables.
    fn on_bad_row(&self, id: Option<RowId>) -> OnBadRow {
        let of = |slot: usize| self.slots.get(slot).map(|slot| slot.table.on_bad_row);
        let fails = match id {
            Some(id) => of(id.slot) == Some(OnBadRow::Fail),
            None => self.slots.iter().any(|slot| slot.table.on_bad_row == OnBadRow::Fail),
        };
        if fails { OnBadRow::Fail } else { OnBadRow::DeadLetter }
    }

    fn dead_letter(&self, epoch: &Epoch, row: BadRow) -> DeadLetter {
        let slot = row.id.and_then(|id| self.slots.get(id.slot));
        let origin = row.id.and_then(|id| epoch.origin_of(id));
        let topic = origin.as_ref().map(|origin| &origin.topic).or(slot.map(|slot| slot.topic()));
        DeadLetter {
            topic: topic.map(ToString::to_string),
            partition: origin.as_ref().map(|origin| origin.partition),
            offset: origin.as_ref().map(|origin| origin.offset),
            position: origin.filter(|_| is_one_of_several(slot)).map(|origin| origin.position),
            ..without_origin(row, &self.places)
        }
    }
}

/// Whether a row of this table needs its place in the record to be told from others.
fn is_one_of_several(slot: Option<&Arc<StreamSlot>>) -> bool {
    slot.is_some_and(|slot| slot.table.rows != RecordRows::One)
}

/// The dead letter of a row that was read nobody knows where.
pub(super) fn without_origin(row: BadRow, places: &ExpressionPlaces) -> DeadLetter {
    let error = places.locate(row.error);
    let place = error.location().map(|place| format!("{place}: ")).unwrap_or_default();
    let detail = error.detail_text().map(|detail| format!(" ({detail})")).unwrap_or_default();
    DeadLetter {
        topic: None,
        partition: None,
        offset: None,
        position: None,
        timestamp_ms: None,
        key: None,
        value: Some(row.row.into_bytes()),
        column: None,
        reason: format!("{place}{}{detail}", error.primary()),
    }
}
