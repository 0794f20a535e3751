//! Sealing: recent rows of the private tail become public Parquet files, each row in exactly one, for ever.
//!
//! Three steps, each in its own checkpoint's reach: [`plan_seal`] decides which tail entries make which files, and the
//! decision is committed; [`write_sealed`] writes them, as often as it takes, always the same rows under the same
//! names; [`OutputState::mark_sealed`] then lists the files and drops the tail entries in one manifest. Readers of the
//! manifest see a row in the tail until then and in the file after; readers of the folder see whole files only.

mod times;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::changelog::Changes;
use crate::checkpoint::{
    Day, Filing, Generation, IntentFile, OutputState, QueryPaths, SealIntent, Section, TailEntry, days_of_checkpoint,
    days_of_seal,
};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::state::Rows;
use crate::store::{ByteSpool, Content, SpillDirectory, Store, disk_refusal};
use crate::tables::{SealedFile, TimeRange};

/// Rows that are put in order and handed to the Parquet writer at a time: bounds the copy, not the file.
const ROWS_AT_ONCE: usize = 65_536;

/// Rows that are put in order at once: a file of more has several row groups.
const ROWS_IN_ORDER: usize = 1 << 19;

/// When tail rows become a public file: as soon as one of these is reached. They also bound what one seal holds in
/// memory; a single checkpoint larger than that is sealed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealLimits {
    pub rows_max: u64,
    /// Bytes in the tail, compressed.
    pub bytes_max: u64,
    /// Age of the oldest row. Zero seals whatever there is.
    pub age_max: Duration,
}

/// What the names of public files are made of.
#[derive(Debug, Clone, Copy)]
pub struct SealNames<'a> {
    pub paths: &'a QueryPaths,
    pub output: &'a str,
    pub generation: Generation,
}

/// The next files to write from an output's tail; `None` while nothing is due.
///
/// `date_column`: the column that dates a row (see [`tail_entry`]). `through`: the last checkpoint that may be sealed,
/// where a later one still has to stay. `age`: for how long an entry has been there, by steady time. Pure: record the answer with
/// [`OutputState::begin_seal`] and commit it first.
pub fn plan_seal(
    output: &OutputState,
    limits: SealLimits,
    names: SealNames<'_>,
    date_column: Option<&str>,
    through: Option<u64>,
    age: impl FnOnce(&TailEntry) -> Duration,
) -> Option<SealIntent> {
    let intended = output.intents.last().map_or(0, |intent| intent.to);
    let may = |entry: &&TailEntry| entry.checkpoint > intended && through.is_none_or(|last| entry.checkpoint <= last);
    let free: Vec<_> = output.tail.iter().filter(may).collect();
    let first = *free.first()?;
    let rows: u64 = free.iter().map(|entry| entry.section.rows).sum();
    let bytes: u64 = free.iter().map(|entry| entry.section.length).sum();
    if rows < limits.rows_max && bytes < limits.bytes_max && age(first) < limits.age_max {
        return None;
    }

    let (mut rows, mut bytes, mut to) = (0, 0, first.checkpoint);
    for entry in &free {
        rows += entry.section.rows;
        bytes += entry.section.length;
        if entry.checkpoint != first.checkpoint && (rows > limits.rows_max || bytes > limits.bytes_max) {
            break;
        }
        to = entry.checkpoint;
    }
    let seal = output.next_seal;
    let taken: Vec<&TailEntry> = free.into_iter().filter(|entry| entry.checkpoint <= to).collect();
    let files = days_of_seal(&taken).into_iter().enumerate().map(|(part, (day, rows))| {
        let date = day.text();
        let path = names.paths.sealed_file(names.output, &date, names.generation, seal, part);
        IntentFile { path, event_date: date, rows }
    });
    let (files, date_column) = (files.collect(), date_column.map(str::to_owned));
    Some(SealIntent { seal, from: first.checkpoint, to, date_column, files, watermarks: BTreeMap::new() })
}

impl OutputState {
    /// Records a planned seal. The files may be written once this is committed.
    pub fn begin_seal(&mut self, intent: SealIntent) {
        self.next_seal = intent.seal + 1;
        self.intents.push(intent);
    }

    /// The tail entries that go into a seal, oldest first.
    pub fn seal_inputs(&self, intent: &SealIntent) -> Vec<TailEntry> {
        let range = intent.from..=intent.to;
        self.tail.iter().filter(|entry| range.contains(&entry.checkpoint)).cloned().collect()
    }

    /// Records that the files of a seal are written: its rows leave the tail and are sealed, in one step.
    ///
    /// # Errors
    /// `Bug` where the files are not those intended; the output is then as before.
    pub fn mark_sealed(&mut self, seal: u64, files: Vec<SealedFile>) -> Result<()> {
        let mismatch = |detail: String| Error::bug(format!("seal {seal} is not what was intended")).detail(detail);
        let at = self.intents.iter().position(|intent| intent.seal == seal);
        let at = at.ok_or_else(|| mismatch("it is not in the manifest".to_owned()))?;
        let intent = &self.intents[at];
        let written: Vec<_> = files.iter().map(|file| (&file.path, file.rows)).collect();
        let intended: Vec<_> = intent.files.iter().map(|file| (&file.path, file.rows)).collect();
        if written != intended {
            return Err(mismatch(format!("wrote {written:?} instead of {intended:?}")));
        }
        let range = intent.from..=intent.to;
        let leaving: u64 =
            self.tail.iter().filter(|entry| range.contains(&entry.checkpoint)).map(|entry| entry.section.rows).sum();
        let arriving: u64 = files.iter().map(|file| file.rows).sum();
        if leaving != arriving {
            return Err(mismatch(format!("{leaving} rows in the tail, {arriving} in the files")));
        }
        self.tail.retain(|entry| !range.contains(&entry.checkpoint));
        self.intents.remove(at);
        self.sealed.recent.extend(files);
        Ok(())
    }
}

/// The tail entry for the rows that a checkpoint adds to an output. `None` without rows.
///
/// `section` is where `batches` are stored. `date_column` names a timestamp, a date or a window struct with such a
/// `start`; rows where it is null or outside the years 1 to 9999, and all rows without it, belong to the day of `created_at`, and so do
/// those of the smallest days where there are too many: [`days_of_checkpoint`].
///
/// # Errors
/// `Invalid` where the column is missing or has no date.
pub fn tail_entry(
    checkpoint: u64,
    created_at: Micros,
    section: Section,
    batches: impl IntoIterator<Item = Result<RecordBatch>>,
    date_column: Option<&str>,
) -> Result<Option<TailEntry>> {
    if section.rows == 0 {
        return Ok(None);
    }
    let fallback = Day::of_checkpoint(created_at);
    let mut days: BTreeMap<Day, u64> = BTreeMap::new();
    for batch in batches {
        for (day, _) in dated_rows(&batch?, date_column, fallback)? {
            *days.entry(day).or_default() += 1;
        }
    }
    let dates = days_of_checkpoint(days, fallback).into_iter().map(|(day, rows)| (day.text(), rows)).collect();
    Ok(Some(TailEntry { checkpoint, created_at, section, dates }))
}

/// Writes the files of a committed intent and returns them in its order. Safe to repeat: the same rows go to the same
/// names, each file replaced as a whole.
///
/// `inputs`: the entries of [`OutputState::seal_inputs`] with their rows. `disk`: takes files that are too much for memory.
///
/// # Errors
/// `Bug` where the rows are not those the intent counted, `Invalid` for types that Parquet does not have, `Unavailable`.
pub async fn write_sealed(
    public: &Store,
    disk: Option<&SpillDirectory>,
    query: &str,
    intent: &SealIntent,
    inputs: &[(TailEntry, Arc<[Rows]>)],
) -> Result<Vec<SealedFile>> {
    let found: usize = inputs.iter().flat_map(|(_, rows)| rows.iter()).map(Rows::num_rows).sum();
    let intended: u64 = intent.files.iter().map(|file| file.rows).sum();
    if found as u64 != intended {
        return Err(other_rows(query, intent, &format!("{found} rows, planned were {intended}")));
    }
    let mut files = Vec::with_capacity(intent.files.len());
    let filing = Filing::of(intent);
    let inputs: Vec<Input> = inputs
        .iter()
        .map(|(entry, rows)| Input { entry: entry.clone(), own: filing.own_days(entry).into(), rows: Arc::clone(rows) })
        .collect();
    for file in &intent.files {
        let dated = inputs.iter().filter(|input| filing.rows(&input.entry, &file.event_date) > 0);
        let day = DayOfRows {
            inputs: dated.cloned().collect(),
            date_column: intent.date_column.clone(),
            date: file.event_date.clone(),
        };
        let (spool, metadata) = (ByteSpool::new(disk.cloned()), metadata(query, intent));
        let encoding = tokio::task::spawn_blocking(move || day.encode(spool, metadata));
        let (content, rows, times) =
            encoding.await.map_err(|error| Error::bug("writing Parquet panicked").caused_by(error))??;
        if rows != file.rows {
            let found = format!("{rows} rows of {}, planned were {}", file.event_date, file.rows);
            return Err(other_rows(query, intent, &found));
        }
        let sha256 = Some(content.sha256().await?);
        public.put_content(&Path::from(file.path.as_str()), &content).await?;
        let (path, bytes) = (file.path.clone(), content.len());
        files.push(SealedFile { path, bytes, rows, checkpoints: None, sha256, times });
    }
    Ok(files)
}

fn other_rows(query: &str, intent: &SealIntent, found: &str) -> Error {
    Error::bug(format!("seal {} of query {query:?} does not find the rows it was planned for", intent.seal))
        .detail(format!("there are {found}"))
}

#[derive(Debug, Clone, Copy)]
struct Row {
    checkpoint: u64,
    time: Option<Micros>,
    batch: usize,
    row: usize,
}

/// The rows of one checkpoint.
#[derive(Clone)]
struct Input {
    entry: TailEntry,
    /// Its days that have files of their own, ascending; rows of others are filed under the checkpoint's day.
    own: Arc<[Day]>,
    rows: Arc<[Rows]>,
}

/// The rows of one day among those of some checkpoints.
struct DayOfRows {
    inputs: Vec<Input>,
    date_column: Option<String>,
    date: String,
}

impl DayOfRows {
    /// The file, how many rows it has, and their times.
    fn encode(&self, spool: ByteSpool, metadata: Vec<KeyValue>) -> Result<(Content, u64, BTreeMap<String, TimeRange>)> {
        let (mut file, mut spool): (Option<SealedWriter>, _) = (None, spool);
        let day = Day::parse(&self.date);
        for Input { entry, own, rows } in &self.inputs {
            let fallback = Day::of_checkpoint(entry.created_at);
            let filed_under = |day: Day| if own.binary_search(&day).is_ok() { day } else { fallback };
            for batch in rows.iter().flat_map(Rows::batches) {
                let batch = batch?;
                let dated = dated_rows(&batch, self.date_column.as_deref(), fallback)?.enumerate();
                let times: Vec<_> = dated
                    .filter(|(_, (of, _))| Some(filed_under(*of)) == day)
                    .map(|(row, (_, time))| (row, time))
                    .collect();
                if times.is_empty() {
                    continue;
                }
                let writer = match &mut file {
                    Some(writer) => writer,
                    none => none.insert(SealedWriter::try_new(
                        &batch.schema(),
                        std::mem::take(&mut spool),
                        metadata.clone(),
                    )?),
                };
                writer.add(entry.checkpoint, batch, times)?;
            }
        }
        match file {
            Some(writer) => writer.finish(),
            None => Ok((Content::Memory(Bytes::new()), 0, BTreeMap::new())),
        }
    }
}

/// Puts rows in order of their checkpoints, and those of each in order of time, and writes them.
struct SealedWriter {
    schema: SchemaRef,
    writer: ArrowWriter<ByteSpool>,
    batches: Vec<RecordBatch>,
    rows: Vec<Row>,
    written: u64,
    times: BTreeMap<String, TimeRange>,
}

impl SealedWriter {
    fn try_new(schema: &SchemaRef, spool: ByteSpool, metadata: Vec<KeyValue>) -> Result<Self> {
        let schema = public_schema(schema)?;
        let level = ZstdLevel::try_new(1).map_err(not_parquet)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_key_value_metadata(Some(metadata))
            .set_created_by(format!("touchline {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = ArrowWriter::try_new(spool, Arc::clone(&schema), Some(properties)).map_err(not_parquet)?;
        Ok(SealedWriter { schema, writer, batches: Vec::new(), rows: Vec::new(), written: 0, times: BTreeMap::new() })
    }

    /// `times`: of the batch's rows that belong into the file. No batch is of an earlier checkpoint than one before it.
    fn add(&mut self, checkpoint: u64, batch: RecordBatch, times: Vec<(usize, Option<Micros>)>) -> Result<()> {
        let at = self.batches.len();
        self.rows.extend(times.into_iter().map(|(row, time)| Row { checkpoint, time, batch: at, row }));
        self.batches.push(batch);
        if self.rows.len() >= ROWS_IN_ORDER {
            self.write()?;
            self.writer.flush().map_err(not_parquet)?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        // Whoever reads on from a checkpoint finds its rows behind those of the checkpoints before. Stable: rows of one time stay in the
        // order in which they were emitted.
        self.rows.sort_by_key(|row| (row.checkpoint, row.time));
        let sources: Vec<_> = self.batches.iter().collect();
        for chunk in self.rows.chunks(ROWS_AT_ONCE) {
            let places: Vec<_> = chunk.iter().map(|row| (row.batch, row.row)).collect();
            let ordered = interleave_record_batch(&sources, &places)?;
            let columns = ordered.columns().iter().zip(self.schema.fields());
            let columns = columns.map(|(column, field)| to_public(column, field)).collect::<Result<Vec<_>>>()?;
            let ordered = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            times::extend(&mut self.times, &ordered)?;
            self.writer.write(&ordered).map_err(not_parquet)?;
        }
        self.written += self.rows.len() as u64;
        self.rows.clear();
        self.batches.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(Content, u64, BTreeMap<String, TimeRange>)> {
        self.write()?;
        Ok((self.writer.into_inner().map_err(not_parquet)?.finish(), self.written, self.times))
    }
}

fn metadata(query: &str, intent: &SealIntent) -> Vec<KeyValue> {
    let value = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    vec![
        value("touchline.query", query.to_owned()),
        value("touchline.checkpoints", format!("{}-{}", intent.from, intent.to)),
        value("touchline.seal", intent.seal.to_string()),
    ]
}

fn not_parquet(error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => disk_refusal(*error),
            Err(error) => Error::invalid("rows cannot be written as Parquet").caused_by(error),
        },
        error => Error::invalid("rows cannot be written as Parquet").caused_by(error),
    }
}

/// Whether rows of a view can be sealed: to be asked before its query is accepted.
///
/// # Errors
/// `Invalid` for rows that do not only come, and for a column that Parquet cannot hold.
pub fn check_sealable(view: &str, schema: &Schema, changes: &Changes) -> Result<()> {
    changes.append_only(&format!("the Parquet files of view {view:?}"))?;
    public_schema(schema).map(|_| ())
}

/// The schema of public files: types that any Parquet reader knows. Views become plain strings and bytes,
/// dictionaries their values, seconds milliseconds.
///
/// # Errors
/// `Invalid` for a column that Parquet cannot hold.
pub fn public_schema(schema: &Schema) -> Result<SchemaRef> {
    let fields = schema.fields().iter().map(|field| public_field(field)).collect::<Result<Fields>>()?;
    Ok(Schema::new(fields).into())
}

fn public_field(field: &Field) -> Result<Field> {
    let data_type = public_type(field.data_type()).map_err(|found| {
        Error::invalid(format!("column {:?} cannot be written to Parquet", field.name()))
            .detail(format!("its type is {found}"))
            .hint("cast it in the query, for example to VARCHAR")
    })?;
    Ok(Field::new(field.name(), data_type, field.is_nullable()))
}

/// The type to write, or the type that cannot be.
fn public_type(data_type: &DataType) -> Result<DataType, DataType> {
    let inner = |field: &Field| -> Result<Field, DataType> {
        Ok(Field::new(field.name(), public_type(field.data_type())?, field.is_nullable()))
    };
    Ok(match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => public_type(values)?,
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::List(field) | DataType::ListView(field) => DataType::List(inner(field)?.into()),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(inner(field)?.into()),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(inner(field)?.into(), *size),
        DataType::Struct(fields) if !fields.is_empty() => {
            DataType::Struct(fields.iter().map(|field| inner(field)).collect::<Result<Fields, _>>()?)
        }
        DataType::Map(field, sorted) => DataType::Map(inner(field)?.into(), *sorted),
        DataType::Struct(_)
        | DataType::Interval(_)
        | DataType::Duration(_)
        | DataType::Union(_, _)
        | DataType::RunEndEncoded(_, _) => return Err(data_type.clone()),
        plain => plain.clone(),
    })
}

fn to_public(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(column.clone());
    }
    Ok(cast(column, field.data_type())?)
}

/// Day and event time of each row, in order.
fn dated_rows(
    batch: &RecordBatch,
    column: Option<&str>,
    fallback: Day,
) -> Result<impl Iterator<Item = (Day, Option<Micros>)> + use<>> {
    let times = column.map(|name| event_times(batch, name)).transpose()?;
    Ok((0..batch.num_rows()).map(move |row| {
        let times = times.as_ref().map(|times| times.as_primitive::<TimestampMicrosecondType>());
        let time = times.filter(|times| times.is_valid(row)).map(|times| times.value(row));
        (time.and_then(Day::of).unwrap_or(fallback), time)
    }))
}

fn event_times(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let column = batch.column_by_name(name).ok_or_else(|| {
        Error::invalid(format!("there is no column {name:?} to date rows by")).detail(format!(
            "columns are {:?}",
            batch.schema().fields().iter().map(|field| field.name()).collect::<Vec<_>>()
        ))
    })?;
    let column = match column.as_any().downcast_ref::<StructArray>() {
        Some(window) => window.column_by_name("start").unwrap_or(column),
        None => column,
    };
    // Only the unit is changed: with or without a zone, the number counts from the epoch in UTC.
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::Date32 | DataType::Date64 => None,
        other => {
            return Err(Error::invalid(format!("column {name:?} cannot date rows"))
                .detail(format!("its type is {other}, not a timestamp or a date")));
        }
    };
    Ok(cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?)
}

#[cfg(test)]
mod tests;
