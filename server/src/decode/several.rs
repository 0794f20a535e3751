//! Records that hold several rows: each row a row of the batch, with what the record says of all of them; each bad one a dead letter
//! of its own, and the others go on.
//!
//! What a record may cost is bounded before anything is made of it: the values of its lists (`json::scan`), what is repeated in each
//! row, and how often its own bytes are kept for what is bad in it. Batches are cut at any row.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

use super::json::{JsonColumn, JsonDecoder, Outline, RowAt, RowError};
use super::{BATCH_ROWS_MAX, TableDecoder};
use crate::catalog::{FieldPath, OnBadRow, RecordRows};
use crate::error::{Error, Result};
use crate::source::{DeadLetter, Offset, Partition, Record};

/// What the values that are repeated in each row of one record may take in all its rows, in bytes: 64 MiB, as much as a batch.
const REPEATED_BYTES_MAX: usize = 64 << 20;
/// Bad rows of one record that have a dead letter each; the others share one. Those that a computed column refuses are counted apart:
/// they are seen when the batch ends, which may be within the record.
const BAD_ROWS_MAX: usize = 100;
/// Bytes of copies of one record that its bad rows may keep beside the first: 1 MiB. Behind that they keep their own alone. Of its key
/// they keep as much; those behind have none.
const COPIES_BYTES_MAX: usize = 1 << 20;

/// What a table of such records needs beside the decoder of its rows.
pub(super) struct Several {
    outline: Outline,
    /// Of the columns that are read from the record.
    outer: JsonDecoder,
    /// For each open row the row of `outer` that belongs to it.
    outer_rows: Vec<u32>,
    /// The outer values of the record at hand, as an object.
    frame: Vec<u8>,
    /// The row of `outer` that is that, if it is there.
    current: Option<u32>,
    /// What it takes, in bytes, and what all that is repeated in the open rows takes.
    each: usize,
    repeated: usize,
    /// What computed columns have refused of the record that was looked at last.
    refused: Refused,
    pub(super) extra_rows: u64,
    pub(super) empty_records: u64,
    /// Where the latter are, where each of several queries judges for itself.
    pub(super) empty_at: Vec<(Partition, Offset)>,
}

impl Several {
    /// `outer`: the columns that are read from the record, with where. `None` where records are one row each.
    pub(super) fn try_new(
        rows: &RecordRows,
        outer: Vec<(JsonColumn, FieldPath)>,
        decoder: &JsonDecoder,
    ) -> Result<Option<Self>> {
        let places: Vec<(&str, &FieldPath)> =
            outer.iter().map(|(column, path)| (column.field.name().as_str(), path)).collect();
        let Some(outline) = Outline::try_new(rows, &places, decoder)? else { return Ok(None) };
        let columns: Vec<JsonColumn> = outer.iter().map(|(column, _)| column.clone()).collect();
        Ok(Some(Several {
            outline,
            outer: JsonDecoder::try_new(&columns)?,
            outer_rows: Vec::new(),
            frame: Vec::new(),
            current: None,
            each: 0,
            repeated: 0,
            refused: Refused::default(),
            extra_rows: 0,
            empty_records: 0,
            empty_at: Vec::new(),
        }))
    }

    pub(super) fn bytes(&self) -> usize {
        self.outer.bytes() + self.outer_rows.len() * size_of::<u32>() + self.repeated
    }

    /// The outer columns of the open rows.
    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.current = None;
        self.repeated = 0;
        let rows = UInt32Array::from(std::mem::take(&mut self.outer_rows));
        let values = self.outer.flush()?;
        Ok(values.columns().iter().map(|column| take(column, &rows, None)).collect::<Result<_, _>>()?)
    }

    /// Begins with the outer values of a record that has `count` rows. `envelope`: bytes of its key and headers in each of them.
    fn frame(&mut self, count: usize, envelope: usize) -> Result<(), RowError> {
        let before = self.outer.bytes();
        self.outer.decode(&self.frame)?;
        self.current = Some((self.outer.len() - 1) as u32);
        let bytes = self.outer.bytes() - before;
        self.each = bytes;
        let bytes = bytes + envelope;
        // Texts are shared by the rows of a batch, and copied for each by whatever takes them out of it.
        if bytes.saturating_mul(count) > REPEATED_BYTES_MAX {
            return Err(RowError {
                column: None,
                reason: format!(
                    "the record's own values, {bytes} bytes repeated in {count} rows, would take more than {REPEATED_BYTES_MAX} bytes"
                ),
            });
        }
        Ok(())
    }

    fn add_row(&mut self) -> Result<()> {
        let current = match self.current {
            Some(current) => current,
            // The batch was cut within the record.
            None => {
                self.outer
                    .decode(&self.frame)
                    .map_err(|error| Error::bug("a record's values were right before").detail(error.reason))?;
                *self.current.insert((self.outer.len() - 1) as u32)
            }
        };
        self.outer_rows.push(current);
        self.repeated += self.each;
        Ok(())
    }
}

/// The bad rows of one record.
#[derive(Default)]
struct Bad {
    letters: usize,
    /// Bytes that they have copied of the record, and of its key.
    copied: usize,
    keys: usize,
    /// Those behind the ones with a letter of their own: that of the first of them, and how many more.
    rest: Option<(DeadLetter, u64)>,
}

/// The rows of one record that computed columns have refused, in however many batches.
#[derive(Default)]
struct Refused {
    of: Option<(Partition, Offset)>,
    bad: Bad,
}

impl TableDecoder {
    /// Takes one record that holds several rows.
    ///
    /// # Errors
    /// As [`TableDecoder::push`].
    pub(super) fn push_several(&mut self, record: &Record<'_>) -> Result<()> {
        let Some(mut several) = self.several.take() else { return Ok(()) };
        let pushed = self.push_rows(&mut several, record);
        self.several = Some(several);
        pushed
    }

    fn push_rows(&mut self, several: &mut Several, record: &Record<'_>) -> Result<()> {
        let Some(value) = record.value else {
            return self.refuse(record, RowError { column: None, reason: "value is null (tombstone)".into() });
        };
        let begun = self.envelope.iter().try_for_each(|column| column.check(record));
        let begun = begun.and_then(|()| several.outline.begin(value, &mut several.frame));
        let envelope = self.envelope.iter().map(|column| column.growth(record)).sum::<usize>();
        let begun = begun.and_then(|rows| several.frame(rows.count, envelope).map(|()| rows));
        let mut rows = match begun {
            Ok(rows) => rows,
            Err(error) => return self.refuse(record, error),
        };
        rows.most = REPEATED_BYTES_MAX / envelope.max(1);
        let (mut good, mut bad, mut is_doubtful) = (0_u64, Bad::default(), false);
        while let Some(row) = rows.next(&mut self.json) {
            if let (Err(error), true) = (&row.outcome, self.doubtful.is_some()) {
                self.refuse(record, error.clone())?;
                is_doubtful = true;
                break;
            }
            if row.outcome.is_err() {
                self.refuse_row(several, record, &row, &mut bad)?;
                continue;
            }
            good += 1;
            if self.computing.is_some() {
                self.kept.push_at(record, row.position, row.bytes);
            }
            several.add_row()?;
            for column in &mut self.envelope {
                column.append(self.names.of(record.partition), record);
            }
            self.origin.push_at(record.partition, record.offset, row.position);
            self.note_row(record.partition);
            let open = self.json.len();
            if open >= BATCH_ROWS_MAX || (open.is_multiple_of(256) && self.is_large(several)) {
                self.end_batch(Some(&mut *several))?;
            }
        }
        self.keep_rest(&mut bad);
        match good + bad.letters as u64 {
            // It counts for those who judge it.
            _ if is_doubtful => {}
            0 => {
                several.empty_records += 1;
                if self.doubtful.is_some() {
                    several.empty_at.push((record.partition, record.offset));
                }
            }
            rows => several.extra_rows += rows - 1,
        }
        if !self.json.is_empty() && self.is_large(several) {
            self.end_batch(Some(&mut *several))?;
        }
        Ok(())
    }

    fn is_large(&self, several: &Several) -> bool {
        self.open_bytes() + several.bytes() >= super::BATCH_BYTES_MAX
    }

    #[cold]
    fn refuse_row(&mut self, several: &Several, record: &Record<'_>, row: &RowAt, bad: &mut Bad) -> Result<()> {
        if self.on_bad_row == OnBadRow::Fail {
            return Err(self.names.bad_row(record, &named(several, row)));
        }
        let key = record.key.map_or(0, <[u8]>::len);
        let mut told = *record;
        if bad.letters > 0 && bad.keys + key > COPIES_BYTES_MAX {
            told.key = None;
        }
        if bad.letters >= BAD_ROWS_MAX {
            match &mut bad.rest {
                Some((_, more)) => *more += 1,
                none => *none = Some((self.letter(several, &told, row, None), 0)),
            }
            return Ok(());
        }
        bad.keys += told.key.map_or(0, <[u8]>::len);
        let whole = record.value.unwrap_or_default();
        let fits = bad.letters == 0 || bad.copied + whole.len() <= COPIES_BYTES_MAX;
        if bad.letters > 0 && fits {
            bad.copied += whole.len();
        }
        bad.letters += 1;
        let letter = self.letter(several, &told, row, fits.then_some(whole));
        self.keep(letter);
        Ok(())
    }

    /// Puts a row of the open batch aside that a computed column has refused; those of a record come one behind the other.
    ///
    /// # Errors
    /// As [`TableDecoder::push`].
    #[cold]
    pub(super) fn refuse_computed(&mut self, several: &mut Several, record: &Record<'_>, row: RowAt) -> Result<()> {
        let of = Some((record.partition, record.offset));
        if several.refused.of != of {
            self.end_refused(several);
            several.refused.of = of;
        }
        let mut bad = std::mem::take(&mut several.refused.bad);
        let refused = self.refuse_row(several, record, &row, &mut bad);
        several.refused.bad = bad;
        refused
    }

    /// No more rows of the record whose rows were refused last are to come.
    pub(super) fn end_refused(&mut self, several: &mut Several) {
        let Refused { mut bad, .. } = std::mem::take(&mut several.refused);
        // They were counted as rows, and have no letter that counts in their place.
        let without_letter = bad.rest.as_ref().map_or(0, |(_, more)| *more);
        several.extra_rows = several.extra_rows.saturating_sub(without_letter);
        self.keep_rest(&mut bad);
    }

    /// The letter that the further bad rows of a record share.
    fn keep_rest(&mut self, bad: &mut Bad) {
        let Some((mut letter, more)) = bad.rest.take() else { return };
        if more > 0 {
            letter.reason.push_str(&format!("; and {more} more rows behind it are bad"));
        }
        bad.letters += 1;
        self.keep(letter);
    }

    fn keep(&mut self, letter: DeadLetter) {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        self.done_bytes += length(&letter.value) + length(&letter.key) + letter.reason.len();
        self.dead_letters.push(letter);
    }

    /// `value`: the record; without it the bad row alone is kept.
    fn letter(&self, several: &Several, record: &Record<'_>, row: &RowAt, value: Option<&[u8]>) -> DeadLetter {
        let RowError { column, reason } = named(several, row);
        let value = value.unwrap_or_else(|| &record.value.unwrap_or_default()[row.bytes.clone()]);
        DeadLetter {
            topic: Some(self.names.of(record.partition).to_owned()),
            partition: Some(record.partition),
            offset: Some(record.offset),
            position: Some(row.position),
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: Some(value.to_vec()),
            column,
            reason,
        }
    }
}

/// Why a row is bad, with its place in the record.
fn named(several: &Several, row: &RowAt) -> RowError {
    let RowError { column, reason } = match &row.outcome {
        Err(error) => error.clone(),
        Ok(()) => RowError { column: None, reason: String::new() },
    };
    RowError { column, reason: format!("{}: {reason}", several.outline.name_of(row.position)) }
}

#[cfg(test)]
mod tests;
