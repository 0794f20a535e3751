//! What one query makes of batches that were decoded for several: its own columns, from its own offsets on, by its own judgement.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::interleave;
use arrow::datatypes::{Schema, SchemaRef};

use super::Decoded;
use crate::catalog::{RecordRows, TableDef};
use crate::clock::Clock;
use crate::decode::TableDecoder;
use crate::error::{Error, Result};
use crate::source::reader::standing;
use crate::source::{Offset, Offsets, Origins, Partition, Polled, Progress, SourceBatch};

/// See the module's first lines.
pub(super) struct Own {
    def: Arc<TableDef>,
    columns: Vec<usize>,
    schema: SchemaRef,
    clock: Clock,
    reads_times: bool,
    /// Its records have several rows.
    has_several: bool,
    /// Judges what is no row of all columns; made for the first such record.
    decoder: Option<TableDecoder>,
}

/// A row among the batches that are put together: which batch, which row.
type At = (usize, usize);

impl Own {
    pub(super) fn new(def: Arc<TableDef>, columns: Vec<usize>, clock: Clock) -> Self {
        let fields: Vec<_> =
            columns.iter().filter_map(|at| def.columns.get(*at)).map(|column| column.field()).collect();
        let time = def.watermark.as_ref().and_then(|watermark| def.column_index(&watermark.column));
        let reads_times = time.is_some_and(|time| columns.contains(&time));
        let has_several = def.rows != RecordRows::One;
        Own { def, columns, schema: Arc::new(Schema::new(fields)), clock, reads_times, has_several, decoder: None }
    }

    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// `at`: the next offset of each partition, which the batch moves on; what lies before it is left out.
    ///
    /// # Errors
    /// `Bug` where offsets are missing between `at` and the batch, or columns; `Invalid` for a bad record of a table that stops at one.
    pub(super) fn take(&mut self, decoded: &Decoded, at: &mut Offsets) -> Result<SourceBatch> {
        let mut overlaps = false;
        for (partition, progress) in &decoded.rows.progress {
            let Some(next) = at.get(partition) else { continue };
            if progress.from > *next {
                return Err(Error::bug(format!(
                    "a shared reader of \"{}\" goes on at offset {} of partition {partition}, and not at {next}",
                    self.def.name, progress.from
                )));
            }
            overlaps |= progress.from < *next;
        }
        let project = |batch: &RecordBatch| -> Result<RecordBatch> {
            let places = self.columns.iter().map(|column| decoded.columns.binary_search(column).ok());
            let columns = places.map(|place| batch.columns().get(place?).cloned()).collect::<Option<Vec<ArrayRef>>>();
            let left_out = || Error::bug(format!("a shared reader of \"{}\" leaves columns out", self.def.name));
            self.batch(columns.ok_or_else(left_out)?, batch.num_rows())
        };
        let rows = decoded.rows.batches.iter().map(project).collect::<Result<Vec<_>>>()?;
        let judged = self.judge(decoded, at)?;
        // Rows of a record that is judged again may be among the others.
        let is_mixed = self.has_several && !decoded.doubtful.is_empty();
        let mut batch = if overlaps || is_mixed || !judged.batches.is_empty() {
            self.put_together(decoded, rows, judged, at)?
        } else {
            let progress = decoded.rows.progress.iter().map(|(partition, progress)| match self.reads_times {
                true => (*partition, *progress),
                false => (*partition, Progress { event_time_max: None, far_future: 0, ..*progress }),
            });
            SourceBatch {
                batches: rows,
                origins: decoded.rows.origins.clone(),
                progress: progress.collect(),
                dead_letters: judged.dead_letters,
                extra_rows: decoded.rows.extra_rows,
                empty_records: decoded.rows.empty_records,
                bytes: judged.bytes,
                ..SourceBatch::default()
            }
        };
        batch.bytes += batch.batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        batch.held = decoded.rows.held.clone();
        batch.identity = decoded.rows.identity.clone();
        at.extend(batch.progress.iter().map(|(partition, progress)| (*partition, progress.to)));
        Ok(batch)
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn decoder(&mut self) -> Result<&mut TableDecoder> {
        if self.decoder.is_none() {
            self.decoder = Some(TableDecoder::try_new(&self.def, &self.columns, self.clock.clone())?);
        }
        self.decoder.as_mut().ok_or_else(|| Error::bug("a decoder that has just been made"))
    }

    /// Decodes the doubtful records as a reader of its own would: rows and dead letters of the query.
    fn judge(&mut self, decoded: &Decoded, at: &Offsets) -> Result<SourceBatch> {
        if decoded.doubtful.is_empty() {
            return Ok(SourceBatch::default());
        }
        let decoder = self.decoder()?;
        let new = |partition: Partition, offset: Offset| at.get(&partition).is_none_or(|next| offset >= *next);
        for record in decoded.doubtful.iter().filter(|record| new(record.partition, record.offset)) {
            decoder.push(&record.record())?;
        }
        let mut judged = decoder.finish(&Polled::default())?;
        // Rows are counted where they end up.
        let dead = judged.dead_letters.iter().flat_map(|letter| [&letter.key, &letter.value]);
        judged.bytes = dead.flatten().map(Vec::len).sum();
        Ok(judged)
    }

    /// The rows that are the query's, of both kinds, in the order of each partition.
    fn put_together(
        &mut self,
        decoded: &Decoded,
        rows: Vec<RecordBatch>,
        judged: SourceBatch,
        at: &Offsets,
    ) -> Result<SourceBatch> {
        let new = |partition: Partition, offset: Offset| at.get(&partition).is_none_or(|next| offset >= *next);
        let mut judged_rows: BTreeMap<Partition, VecDeque<(Offset, i32, At)>> = BTreeMap::new();
        for (batch, origins) in (rows.len()..).zip(&judged.origins) {
            for (row, (partition, offset, position)) in places(origins) {
                judged_rows.entry(partition).or_default().push_back((offset, position, (batch, row)));
            }
        }
        let (mut picked, mut origins) = (Vec::<At>::new(), Origins::default());
        let mut pick = |partition: Partition, offset: Offset, position: i32, row: At| {
            origins.push_at(partition, offset, position);
            picked.push(row);
        };
        let doubted: BTreeSet<(Partition, Offset)> = match self.has_several {
            true => decoded.doubtful.iter().map(|record| (record.partition, record.offset)).collect(),
            false => BTreeSet::new(),
        };
        let mut counted = Counted::of(&judged);
        for (batch, of) in decoded.rows.origins.iter().enumerate() {
            for (row, (partition, offset, position)) in places(of) {
                if !new(partition, offset) || doubted.contains(&(partition, offset)) {
                    continue;
                }
                if let Some(before) = judged_rows.get_mut(&partition) {
                    while let Some((earlier, position, at)) = before.pop_front_if(|(earlier, ..)| *earlier < offset) {
                        pick(partition, earlier, position, at);
                    }
                }
                pick(partition, offset, position, (batch, row));
                counted.row(partition, offset);
            }
        }
        for (partition, rest) in judged_rows {
            rest.into_iter().for_each(|(offset, position, at)| pick(partition, offset, position, at));
        }
        let empty = decoded.rows.empty_at.iter().filter(|(partition, offset)| new(*partition, *offset));
        empty.for_each(|(partition, _)| counted.empty(*partition));
        let whole = match picked.is_empty() {
            true => None,
            false => {
                let all: Vec<&RecordBatch> = rows.iter().chain(&judged.batches).collect();
                let column = |column: usize| {
                    let parts: Vec<&dyn Array> = all.iter().map(|batch| batch.column(column).as_ref()).collect();
                    interleave(&parts, &picked)
                };
                let columns = (0..self.columns.len()).map(column).collect::<Result<Vec<ArrayRef>, _>>()?;
                Some(self.batch(columns, picked.len())?)
            }
        };
        let times = match &whole {
            Some(batch) => self.decoder()?.times_of(batch, &origins)?,
            None => BTreeMap::new(),
        };
        let Counted { records, extra_rows, empty_records, .. } = counted;
        let progress = decoded.rows.progress.iter().map(|(partition, progress)| {
            let next = at.get(partition).copied().unwrap_or(progress.from);
            let to = progress.to.max(next);
            let (event_time_max, far_future) = times.get(partition).copied().unwrap_or_default();
            let records = records.get(partition).copied().unwrap_or_default();
            let end = progress.end.map(|end| end.max(to));
            (*partition, Progress { from: next, to, records, event_time_max, far_future, ..standing(to, end) })
        });
        let progress = progress.collect();
        let (batches, origins) = match whole {
            Some(batch) => (vec![batch], vec![origins]),
            None => (vec![], vec![]),
        };
        let SourceBatch { dead_letters, bytes, .. } = judged;
        Ok(SourceBatch {
            batches,
            origins,
            progress,
            dead_letters,
            extra_rows,
            empty_records,
            bytes,
            ..SourceBatch::default()
        })
    }
}

/// How many records there are, and of tables whose records have several rows or none how that adds up.
#[derive(Debug, Default)]
struct Counted {
    records: BTreeMap<Partition, u64>,
    extra_rows: u64,
    empty_records: u64,
    /// The last record of each partition of which a row was seen.
    last: BTreeMap<Partition, Offset>,
}

impl Counted {
    /// Begins with those that the query has judged itself.
    fn of(judged: &SourceBatch) -> Self {
        let records = judged.progress.iter().map(|(partition, progress)| (*partition, progress.records)).collect();
        let SourceBatch { extra_rows, empty_records, .. } = *judged;
        Counted { records, extra_rows, empty_records, last: BTreeMap::new() }
    }

    /// A row that was decoded for all; those of a record come one behind the other.
    fn row(&mut self, partition: Partition, offset: Offset) {
        match self.last.insert(partition, offset) == Some(offset) {
            true => self.extra_rows += 1,
            false => *self.records.entry(partition).or_default() += 1,
        }
    }

    fn empty(&mut self, partition: Partition) {
        *self.records.entry(partition).or_default() += 1;
        self.empty_records += 1;
    }
}

/// Each row with its partition, offset and place within the record.
fn places(origins: &Origins) -> impl Iterator<Item = (usize, (Partition, Offset, i32))> + '_ {
    (0..origins.len()).filter_map(|row| Some((row, origins.of(row)?)))
}
