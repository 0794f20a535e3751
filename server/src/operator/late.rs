//! Rows that an operator does not take, as they are noted: too late, each once, or too far ahead of what can be believed of a time.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::contract::{BadRow, LateRow};
use super::epoch_cell::{Epoch, RowId, micros};
use super::rows::{json_rows, row_ids};
use crate::clock::Micros;
use crate::error::{Error, Result};

/// Panes or sessions of one operator beyond `watermark-max-future`: they are never final before their time has come.
pub(super) const FAR_MAX: usize = 1_000;

/// A row that is late.
pub(super) struct Late {
    /// Its place in the batch.
    pub(super) row: usize,
    /// Start of the first window that it missed and end of the last, where it is late for windows.
    pub(super) missed: Option<(Micros, Micros)>,
    /// It missed all that it could have been part of.
    pub(super) wholly: bool,
}

/// Whose late rows are noted, and how they are read.
pub(super) struct Ledger<'a> {
    pub(super) operator: &'a str,
    pub(super) input: u32,
    /// The column of a row's time, where it has one: of rows that were read the epoch knows it.
    pub(super) time: Option<usize>,
    /// Columns that the query does not name.
    pub(super) ours: &'a [usize],
    /// The watermark against which the rows are late.
    pub(super) watermark: Micros,
}

impl Ledger<'_> {
    /// Notes rows of a batch.
    pub(super) fn note(&self, epoch: &Epoch, batch: &RecordBatch, late: &[Late]) -> Result<()> {
        if late.is_empty() {
            return Ok(());
        }
        let rows = late.iter().map(|late| u32::try_from(late.row)).collect::<std::result::Result<Vec<_>, _>>();
        let rows = rows.map_err(|_| Error::bug("batch of over 2^32 rows"))?;
        let batch = take_record_batch(batch, &UInt32Array::from(rows))?;
        let ids = row_ids(&batch);
        let times = self.time.map(|at| Ok::<_, Error>((micros(batch.column(at))?, batch.column(at)))).transpose()?;
        let text = json_rows(&batch, self.ours)?;
        let entries = late.iter().zip(text).enumerate().map(|(at, (late, row))| {
            let id = ids.as_ref().filter(|ids| ids.is_valid(at)).map(|ids| RowId::decoded(ids.value(at)));
            let time = || times.as_ref().filter(|(_, column)| column.is_valid(at)).map(|(times, _)| times[at]);
            LateRow {
                operator: self.operator.to_owned(),
                input: self.input,
                event_time: id.and_then(|id| epoch.event_time_of(id)).or_else(time),
                watermark: self.watermark,
                origin: id.and_then(|id| epoch.origin_of(id)),
                missed: late.missed,
                wholly: late.wholly,
                row,
            }
        });
        epoch.effects.add_late(entries);
        Ok(())
    }
}

/// Rows of one origin that come several times, put together: with all that they missed, and late for everything only where none of them
/// is kept. `keep`: of each row of the batch.
pub(super) fn once_a_row(batch: &RecordBatch, late: Vec<Late>, keep: &[bool]) -> Vec<Late> {
    let Some(ids) = row_ids(batch).filter(|_| !late.is_empty()) else { return late };
    let id = |row: usize| ids.is_valid(row).then(|| ids.value(row));
    let kept: HashSet<i64> = (0..keep.len()).filter(|row| keep[*row]).filter_map(id).collect();
    let mut seen: HashMap<i64, usize> = HashMap::new();
    let mut once: Vec<Late> = Vec::new();
    for entry in late {
        let at = id(entry.row).map(|id| (id, *seen.entry(id).or_insert(once.len())));
        match at {
            Some((_, at)) if at < once.len() => {
                let before = &mut once[at].missed;
                *before = match (*before, entry.missed) {
                    (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
                    (one, other) => one.or(other),
                };
            }
            Some((id, _)) => once.push(Late { wholly: !kept.contains(&id), ..entry }),
            None => once.push(entry),
        }
    }
    once
}

/// Notes a row whose time lies so far ahead that there is no more room for what it would open. `what`: is open already.
pub(super) fn note_too_far(epoch: &Epoch, batch: &RecordBatch, row: usize, what: &str) -> Result<()> {
    let error = Error::invalid(format!("its time lies too far ahead, where {FAR_MAX} {what} are open already"))
        .hint("'watermark-max-future' of the table says how far a time may be ahead of the clock");
    epoch.effects.add_bad(BadRow::of(epoch, &batch.slice(row, 1), error)?);
    Ok(())
}
