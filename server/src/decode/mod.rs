//! Bytes → `RecordBatch`: records in, typed columns out, bad records aside.
//!
//! A [`TableDecoder`] takes the records of one table's poll one by one and answers with a [`SourceBatch`]: rows of the
//! wanted columns, how far every partition has got, and the records that are no rows.

pub(crate) mod computed;
mod doubtful;
mod envelope;
pub mod json;
mod progress;
mod several;
pub(crate) mod spelling;
#[cfg(test)]
mod tests;
pub(crate) mod time;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use self::computed::{Complete, Computing, Kept, KeptRow};
pub(crate) use self::doubtful::Doubtful;
use self::envelope::EnvelopeColumn;
use self::json::{JsonColumn, JsonDecoder, RowAt, RowError};
use self::progress::{EventTimes, PartitionProgress};
use self::several::Several;
use crate::catalog::{ColumnKind, Connector, Format, OnBadRow, TableDef};
use crate::clock::{Clock, Micros};
use crate::error::{Error, Result};
use crate::source::{DeadLetter, Offsets, Origins, Partition, Polled, Progress, Record, SourceBatch};

/// Rows of a batch: eight of DataFusion's own, so that the cost of an operator's call vanishes beside its work.
const BATCH_ROWS_MAX: usize = 8 * 8192;
/// A batch ends early where its rows occupy this much: 64 MiB.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A row that may be larger than this is looked at as it comes; of others each 256th.
const LARGE_ROW_BYTES: usize = 64 * 1024;

/// Decodes the JSON records of one table; see the module's first lines.
pub struct TableDecoder {
    names: Names,
    on_bad_row: OnBadRow,
    clock: Clock,
    schema: SchemaRef,
    /// Of the columns that are decoded: those of `schema`, where none of them is computed.
    decoded: SchemaRef,
    json: JsonDecoder,
    /// Whether defaults make a large row of a small record.
    large_defaults: bool,
    /// `None` where a record is one row.
    several: Option<Box<Several>>,
    /// Where each column of `decoded` comes from.
    places: Vec<Place>,
    /// What makes the columns of `schema` of those.
    computing: Option<Computing>,
    /// The records of the open batch, as long as a computed column may refuse them.
    kept: Kept,
    envelope: Vec<EnvelopeColumn>,
    event_times: Option<EventTimes>,

    /// Rows of the batch under construction by partition, in the order of their arrival.
    runs: Vec<(Partition, usize)>,
    /// Where the rows of the open batch were read.
    origin: Origins,
    batches: Vec<RecordBatch>,
    origins: Vec<Origins>,
    /// Rows and bytes of `batches`, and bytes of `dead_letters`.
    done_rows: usize,
    done_bytes: usize,
    dead_letters: Vec<DeadLetter>,
    /// Records that are no rows, where it is for others to refuse them.
    doubtful: Option<Vec<Doubtful>>,
    progress: BTreeMap<Partition, PartitionProgress>,
    /// The next offset of each partition after the last [`TableDecoder::finish`].
    positions: Offsets,
}

#[derive(Clone, Copy)]
enum Place {
    Json(usize),
    Envelope(usize),
    /// In the record around the row.
    Outer(usize),
}

/// How the records' origin is called.
struct Names {
    by_partition: BTreeMap<Partition, String>,
    /// Where a partition has no name of its own: the topic, the path as declared, or the table in its database.
    table: String,
    kind: OriginKind,
    /// The file that declares the table.
    declared_in: String,
}

#[derive(Debug, Clone, Copy)]
enum OriginKind {
    Topic,
    Files,
    Database,
}

impl fmt::Debug for TableDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableDecoder").field("schema", &self.schema).field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl TableDecoder {
    /// A decoder for some columns of `def`.
    ///
    /// `columns`: indices into `def.columns`, ascending. Only these are decoded and checked, and what computed ones among them are
    /// computed from: a NOT NULL column that nobody reads makes no bad rows. Without the watermark column no event times are
    /// reported.
    ///
    /// # Errors
    /// `Invalid` for a format other than JSON, and for a column whose type is not decoded.
    pub fn try_new(def: &TableDef, columns: &[usize], clock: Clock) -> Result<Self> {
        if def.format != Format::Json {
            return Err(Error::invalid(format!("table \"{}\" is not declared with 'format' = 'json'", def.name))
                .at(def.location.clone()));
        }
        let mut physical = Vec::new();
        let mut outer = Vec::new();
        let mut envelope = Vec::new();
        let mut places = Vec::new();
        let mut fields = Vec::new();
        let computing = Computing::of(def, columns)?;
        let decoded = computing.as_ref().map_or(columns, Computing::decoded);
        for &index in decoded {
            let column = def.columns.get(index).ok_or_else(|| {
                Error::bug(format!("column {index} of table \"{}\" was asked for, but it has fewer", def.name))
            })?;
            match &column.kind {
                ColumnKind::Physical { aliases, numbers_as_text } => {
                    let json = JsonColumn {
                        field: column.field(),
                        aliases: aliases.clone(),
                        numbers_as_text: *numbers_as_text,
                        timestamps: column.timestamps,
                        checks: column.checks.clone(),
                        default: column.reading.default.as_ref().map(|default| default.json.clone()),
                        null_is_default: column.reading.null_is_default,
                        json: column.reading.json.clone(),
                    };
                    match &column.reading.path {
                        Some(path) => {
                            places.push(Place::Outer(outer.len()));
                            outer.push((json, path.clone()));
                        }
                        None => {
                            places.push(Place::Json(physical.len()));
                            physical.push(json);
                        }
                    }
                }
                ColumnKind::Metadata(key) => {
                    places.push(Place::Envelope(envelope.len()));
                    envelope
                        .push(EnvelopeColumn::try_new(*key, column).map_err(|error| error.at(def.location.clone()))?);
                }
                ColumnKind::Computed(_) => return Err(Error::bug("a computed column is not decoded")),
            }
            fields.push(column.field());
        }
        let event_times = match &def.watermark {
            Some(watermark) => {
                let at = columns.iter().position(|index| def.columns[*index].name == watermark.column);
                let times =
                    at.map(|at| EventTimes::try_new(at, &def.columns[columns[at]].data_type, watermark.max_future));
                times.transpose()?
            }
            None => None,
        };
        let unread = def.columns.iter().enumerate().filter(|(index, _)| !decoded.contains(index));
        // What is read from around the rows has no field in them.
        let unread = unread.filter(|(_, column)| column.reading.path.is_none());
        let unread = unread.flat_map(|(_, column)| column.field_names());
        let (table, kind) = match &def.connector {
            Connector::Kafka(topic) => (topic.topic.clone(), OriginKind::Topic),
            Connector::Filesystem(files) => (files.path.clone(), OriginKind::Files),
            Connector::Postgres(table) => (table.to_string(), OriginKind::Database),
            Connector::View(_) => return Err(Error::bug(format!("the rows of view \"{}\" are no records", def.name))),
        };
        let decoded = Arc::new(Schema::new(fields));
        let schema = Arc::clone(computing.as_ref().map_or(&decoded, Computing::schema));
        let json = JsonDecoder::try_new(&physical).map_err(|error| error.at(def.location.clone()))?.beside(unread);
        let several =
            Several::try_new(&def.rows, outer, &json).map_err(|error| error.at(def.location.clone()))?.map(Box::new);
        Ok(TableDecoder {
            names: Names { by_partition: BTreeMap::new(), table, kind, declared_in: def.location.file.clone() },
            on_bad_row: def.on_bad_row,
            clock,
            schema,
            decoded,
            large_defaults: json.default_bytes() > LARGE_ROW_BYTES,
            json,
            several,
            places,
            computing,
            kept: Kept::default(),
            envelope,
            event_times,
            runs: Vec::new(),
            origin: Origins::default(),
            batches: Vec::new(),
            origins: Vec::new(),
            done_rows: 0,
            done_bytes: 0,
            dead_letters: Vec::new(),
            doubtful: None,
            progress: BTreeMap::new(),
            positions: Offsets::new(),
        })
    }

    /// The same for several readers: none of them may read all of the columns, so a record that is no row is kept for each to judge
    /// (see [`Doubtful`]), and is no dead letter yet. Of a record with several rows of which one is none, the rows before it may be among
    /// those of the batch all the same: who judges the record leaves these out.
    pub(crate) fn for_several(mut self) -> Self {
        self.doubtful = Some(Vec::new());
        self
    }

    /// The records since the last call that are no rows of all columns, in the order of each partition.
    pub(crate) fn take_doubtful(&mut self) -> Vec<Doubtful> {
        let mut taken = self.doubtful.as_mut().map(std::mem::take).unwrap_or_default();
        // Those that a computed column has refused were found at the end of their batch.
        taken.sort_by_key(|record| (record.partition, record.offset));
        // Of several rows one was none when it was decoded, and another when it was computed.
        taken.dedup_by_key(|record| (record.partition, record.offset));
        taken
    }

    /// The latest event time of each partition among rows of its columns that others have decoded, and how many lie too far ahead.
    pub(crate) fn times_of(
        &self,
        rows: &RecordBatch,
        origins: &Origins,
    ) -> Result<BTreeMap<Partition, (Option<Micros>, u64)>> {
        let Some(event_times) = &self.event_times else { return Ok(BTreeMap::new()) };
        let (mut runs, mut progress) = (Vec::<(Partition, usize)>::new(), BTreeMap::new());
        for (partition, ..) in (0..origins.len()).filter_map(|row| origins.of(row)) {
            match runs.last_mut() {
                Some((of, rows)) if *of == partition => *rows += 1,
                _ => {
                    runs.push((partition, 1));
                    progress.entry(partition).or_insert(PartitionProgress::starting_at(0));
                }
            }
        }
        event_times.observe(rows, &runs, self.clock.now(), &mut progress)?;
        Ok(progress.into_iter().map(|(of, found)| (of, (found.event_time_max, found.far_future))).collect())
    }

    /// Columns of the batches: those asked for, in that order.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Names a partition's origin for the topic column, dead letters and errors: the path of the file it stands for.
    /// Without it the table's topic or declared path is used.
    pub fn name_partition(&mut self, partition: Partition, name: impl Into<String>) {
        self.names.by_partition.insert(partition, name.into());
    }

    /// Names all partitions as another decoder of the table does.
    pub(crate) fn name_as(&mut self, other: &TableDecoder) {
        self.names.by_partition.clone_from(&other.names.by_partition);
    }

    /// Says where the source begins, so that the first ranges start there and not at the first record seen.
    pub fn start_at(&mut self, positions: &Offsets) {
        self.positions.extend(positions);
    }

    /// Takes one record, in the order of the source.
    ///
    /// # Errors
    /// With `OnBadRow::Fail` the first record that is no row: `Invalid`; nothing of this batch should be used then.
    pub fn push(&mut self, record: &Record<'_>) -> Result<()> {
        let progress = match self.progress.get_mut(&record.partition) {
            Some(progress) => progress,
            None => {
                let from = self.positions.get(&record.partition).copied().unwrap_or(record.offset);
                self.progress.entry(record.partition).or_insert(PartitionProgress::starting_at(from))
            }
        };
        progress.records += 1;
        progress.to = record.offset.saturating_add(1);
        if self.several.is_some() {
            return self.push_several(record);
        }
        if let Err(error) = self.decode(record) {
            return self.refuse(record, error);
        }
        for column in &mut self.envelope {
            column.append(self.names.of(record.partition), record);
        }
        if self.computing.is_some() {
            self.kept.push(record);
        }
        self.origin.push(record.partition, record.offset);
        self.note_row(record.partition);
        let rows = self.json.len();
        let large = self.large_defaults || record.value.is_some_and(|value| value.len() > LARGE_ROW_BYTES);
        if rows >= BATCH_ROWS_MAX || ((rows.is_multiple_of(256) || large) && self.open_bytes() >= BATCH_BYTES_MAX) {
            self.end_batch(None)?;
        }
        Ok(())
    }

    #[inline]
    fn note_row(&mut self, of: Partition) {
        match self.runs.last_mut() {
            Some((partition, rows)) if *partition == of => *rows += 1,
            _ => self.runs.push((of, 1)),
        }
    }

    fn decode(&mut self, record: &Record<'_>) -> Result<(), RowError> {
        let Some(value) = record.value else {
            return Err(RowError { column: None, reason: "value is null (tombstone)".into() });
        };
        for column in &self.envelope {
            column.check(record)?;
        }
        self.json.decode(value)
    }

    #[cold]
    fn refuse(&mut self, record: &Record<'_>, error: RowError) -> Result<()> {
        if let Some(doubtful) = &mut self.doubtful {
            let of = (record.partition, record.offset);
            if doubtful.last().is_some_and(|last| (last.partition, last.offset) == of) {
                return Ok(());
            }
            let record = Doubtful::of(record);
            self.done_bytes += record.bytes();
            doubtful.push(record);
            return Ok(());
        }
        if self.on_bad_row == OnBadRow::Fail {
            return Err(self.names.bad_row(record, &error));
        }
        self.done_bytes += record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len) + error.reason.len();
        self.dead_letters.push(DeadLetter {
            topic: Some(self.names.of(record.partition).to_owned()),
            partition: Some(record.partition),
            offset: Some(record.offset),
            position: None,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            column: error.column,
            reason: error.reason,
        });
        Ok(())
    }

    /// Rows since the last [`TableDecoder::finish`]; those of the open batch may still be refused by a computed column.
    pub fn rows(&self) -> usize {
        self.done_rows + self.json.len()
    }

    /// Roughly what rows and dead letters since then occupy, in bytes.
    pub fn bytes(&self) -> usize {
        self.done_bytes + self.open_bytes() + self.several.as_ref().map_or(0, |several| several.bytes())
    }

    fn open_bytes(&self) -> usize {
        self.json.bytes() + self.envelope.iter().map(EnvelopeColumn::bytes).sum::<usize>() + self.kept.bytes()
    }

    /// Ends what the records since the last call have begun.
    ///
    /// `polled`: what the source told with them. Its positions end the partitions' ranges, also of partitions without
    /// records; where it has none for a partition, the range ends behind the last record.
    pub fn finish(&mut self, polled: &Polled) -> Result<SourceBatch> {
        let mut several = self.several.take();
        if !self.json.is_empty() {
            self.end_batch(several.as_deref_mut())?;
        }
        let (mut extra_rows, mut empty_records, mut empty_at) = (0, 0, Vec::new());
        if let Some(several) = &mut several {
            // Records without a row have left what they say of their rows.
            several.finish()?;
            self.end_refused(several);
            extra_rows = std::mem::take(&mut several.extra_rows);
            empty_records = std::mem::take(&mut several.empty_records);
            empty_at = std::mem::take(&mut several.empty_at);
        }
        self.several = several;
        for (&partition, &position) in &polled.positions {
            let known = self.positions.get(&partition).copied();
            match self.progress.get_mut(&partition) {
                Some(progress) => progress.to = progress.to.max(position),
                None if known.is_some_and(|known| known < position) => {
                    let mut moved = PartitionProgress::starting_at(known.unwrap_or(position));
                    moved.to = position;
                    self.progress.insert(partition, moved);
                }
                // Nothing was read from here yet: the range of the first records will start at this position.
                None => {
                    self.positions.insert(partition, position);
                }
            }
        }
        let mut progress = BTreeMap::new();
        for (partition, contributed) in std::mem::take(&mut self.progress) {
            self.positions.insert(partition, contributed.to);
            let end = polled.ends.get(&partition).map(|end| contributed.to.max(*end));
            progress.insert(
                partition,
                Progress {
                    from: contributed.from,
                    to: contributed.to,
                    records: contributed.records,
                    event_time_max: contributed.event_time_max,
                    far_future: contributed.far_future,
                    end,
                },
            );
        }
        self.done_rows = 0;
        let bytes = std::mem::take(&mut self.done_bytes);
        Ok(SourceBatch {
            batches: std::mem::take(&mut self.batches),
            origins: std::mem::take(&mut self.origins),
            progress,
            dead_letters: std::mem::take(&mut self.dead_letters),
            identity: None,
            view: None,
            extra_rows,
            empty_records,
            empty_at,
            finished: polled.finished,
            bytes,
            held: None,
        })
    }

    /// `several`: of the table, which is not at its place while one of its records is being read.
    fn end_batch(&mut self, mut several: Option<&mut Several>) -> Result<()> {
        let rows = self.json.len();
        self.done_bytes += self.open_bytes() - self.kept.bytes();
        self.done_bytes += several.as_ref().map_or(0, |several| several.bytes());
        let values = self.json.flush()?;
        let envelope = self.envelope.iter_mut().map(EnvelopeColumn::finish).collect::<Result<Vec<ArrayRef>>>()?;
        let outer = match &mut several {
            Some(several) => several.finish()?,
            None => Vec::new(),
        };
        let columns = self
            .places
            .iter()
            .map(|place| match *place {
                Place::Json(index) => Arc::clone(values.column(index)),
                Place::Envelope(index) => Arc::clone(&envelope[index]),
                Place::Outer(index) => Arc::clone(&outer[index]),
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut batch = RecordBatch::try_new_with_options(Arc::clone(&self.decoded), columns, &options)?;
        if let Some(computing) = &self.computing {
            let complete = computing.complete(&batch)?;
            batch = self.without_refused(complete, several)?;
        }
        self.done_rows += batch.num_rows();
        if let Some(event_times) = &self.event_times {
            let now: Micros = self.clock.now();
            event_times.observe(&batch, &self.runs, now, &mut self.progress)?;
        }
        self.runs.clear();
        let origin = std::mem::take(&mut self.origin);
        if batch.num_rows() > 0 {
            self.batches.push(batch);
            self.origins.push(origin);
        }
        Ok(())
    }

    /// The open batch, with the rows aside that a computed column has refused.
    fn without_refused(
        &mut self,
        Complete { batch, refused }: Complete,
        mut several: Option<&mut Several>,
    ) -> Result<RecordBatch> {
        let mut kept = std::mem::take(&mut self.kept);
        if !refused.is_empty() {
            let mut out = refused.iter().map(|(row, _)| *row).peekable();
            (self.runs, self.origin) = (Vec::new(), Origins::default());
            for (row, (partition, offset, position)) in kept.origins().enumerate() {
                if out.next_if_eq(&row).is_none() {
                    self.origin.push_at(partition, offset, position);
                    self.note_row(partition);
                }
            }
        }
        for (row, error) in refused {
            let KeptRow { record, position, bytes } =
                kept.row(row).ok_or_else(|| Error::bug("a row without a record"))?;
            match &mut several {
                Some(several) if self.doubtful.is_none() => {
                    self.refuse_computed(several, &record, RowAt { position, bytes, outcome: Err(error) })?
                }
                _ => self.refuse(&record, error)?,
            }
        }
        kept.clear();
        self.kept = kept;
        Ok(batch)
    }
}

impl Names {
    fn of(&self, partition: Partition) -> &str {
        self.by_partition.get(&partition).unwrap_or(&self.table)
    }

    fn bad_row(&self, record: &Record<'_>, error: &RowError) -> Error {
        let name = self.of(record.partition);
        let (primary, whom) = match self.kind {
            OriginKind::Topic => (
                format!(
                    "cannot decode row from topic \"{name}\", partition {}, offset {}",
                    record.partition, record.offset
                ),
                "fix the producer",
            ),
            OriginKind::Files => {
                (format!("cannot decode row from file \"{name}\", record {}", record.offset), "fix the producer")
            }
            // Its rows have no numbers.
            OriginKind::Database => (
                format!("cannot read a row of table \"{name}\" of the database"),
                "correct the row or the column's type",
            ),
        };
        Error::invalid(primary)
            .detail(&error.reason)
            .hint(format!("{whom}, or set 'on-bad-row' = 'dead-letter' in {} to keep going", self.declared_in))
    }
}
