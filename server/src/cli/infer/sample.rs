//! The beginning of a file, a folder or a topic, which can be read again as whatever table is declared over it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::shape::Shape;
use crate::catalog::{CSV_DELIMITER_DEFAULT, Compression, Format, KafkaTopic, StartAt, TableDef};
use crate::clock::Clock;
use crate::decode::TableDecoder;
use crate::error::{Error, Result};
use crate::source::filesystem::{NdjsonSource, csv_header, list_files, open_batches, open_text, parquet_schema};
use crate::source::kafka::{KafkaSettings, KafkaSource, snapshot_offsets};
use crate::source::{Offset, Offsets, Partition, PollLimits, Polled, Record, Source, SourceBatch};
use crate::sql::format_of;

/// Rows of a file that are decoded at once.
const BATCH_ROWS: usize = 8192;
/// Between two looks at whether the topic has ended.
const WAIT: Duration = Duration::from_millis(100);
/// What may stand between the fields of a CSV file, the likeliest first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) rows: usize,
    /// Of records, or of decoded rows.
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) origin: Origin,
    pub(super) format: Format,
    pub(super) delimiter: u8,
    pub(super) records: usize,
    /// There are no more than these.
    pub(super) whole: bool,
    /// The records of JSON; files of other formats are read again.
    kept: Vec<Kept>,
}

#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// Absolute.
    Path(PathBuf),
    Topic {
        brokers: String,
        topic: String,
    },
}

#[derive(Debug)]
struct Kept {
    partition: Partition,
    offset: Offset,
    value: Option<Vec<u8>>,
}

/// What columns a sample has, before it is known what they hold.
#[derive(Debug)]
pub(super) enum Columns {
    Json(Box<Shape>, usize),
    Csv(Vec<(String, Shape)>),
    Parquet(SchemaRef),
}

impl Sample {
    /// # Errors
    /// `Invalid` where there is no such file, or one whose format is not known.
    pub(super) fn of_path(path: &Path, limits: Limits) -> Result<Sample> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let files = list_files(&path)?;
        let Some(first) = files.first() else {
            return Err(Error::invalid(format!("there is no file in {}", path.display()))
                .hint("name the file, or a folder that holds it itself: folders below, and files that begin with . or _, are not read"));
        };
        let format = format_of_file(first)?;
        let delimiter = match format {
            Format::Csv => delimiter(first)?,
            _ => CSV_DELIMITER_DEFAULT,
        };
        let origin = Origin::Path(path.clone());
        let empty = Sample { origin, format, delimiter, records: 0, whole: false, kept: Vec::new() };
        match format {
            Format::Json => empty.take(&mut NdjsonSource::open(&path, &Offsets::new())?, limits),
            // Their reader says how many there are.
            _ => Ok(Sample { records: limits.rows, ..empty }),
        }
    }

    /// Blocks until enough records have come.
    ///
    /// # Errors
    /// As those of the source.
    pub(super) fn of_topic(settings: &KafkaSettings, topic: &str, limits: Limits) -> Result<Sample> {
        let brokers = settings.brokers.clone();
        let read = KafkaTopic { topic: topic.to_owned(), brokers: Some(brokers.clone()), start: StartAt::Earliest };
        let (begin, end) = snapshot_offsets(settings, &read)?;
        let mut source = KafkaSource::open(settings, &read, &begin, Some(&end))?;
        let origin = Origin::Topic { brokers, topic: topic.to_owned() };
        let empty = Sample {
            origin,
            format: Format::Json,
            delimiter: CSV_DELIMITER_DEFAULT,
            records: 0,
            whole: false,
            kept: Vec::new(),
        };
        empty.take(&mut source, limits)
    }

    fn take(mut self, source: &mut dyn Source, limits: Limits) -> Result<Sample> {
        let mut bytes = 0;
        while !self.whole && self.kept.len() < limits.rows && bytes < limits.bytes {
            let room =
                PollLimits { records_max: limits.rows - self.kept.len(), bytes_max: limits.bytes - bytes, wait: WAIT };
            let polled = source.poll(room, &mut |Record { partition, offset, value, .. }| {
                bytes += value.map_or(0, <[u8]>::len);
                self.kept.push(Kept { partition, offset, value: value.map(<[u8]>::to_vec) });
            })?;
            if let Some(trouble) = polled.trouble {
                return Err(Error::unavailable("the topic cannot be read").detail(trouble));
            }
            self.whole = polled.finished;
        }
        self.records = self.kept.len();
        Ok(self)
    }

    /// As the records come: their names and what stands in them.
    ///
    /// # Errors
    /// `Invalid` where a file cannot be read in its format.
    pub(super) fn columns(&self) -> Result<Columns> {
        let path = match (&self.origin, self.format) {
            (Origin::Path(path), Format::Csv | Format::Parquet) => path.clone(),
            _ => {
                let mut shape = Shape::default();
                let add = |kept: &&Kept| !kept.value.as_deref().is_some_and(|value| shape.add_record(value));
                let bad = self.kept.iter().filter(add).count();
                return Ok(Columns::Json(Box::new(shape), bad));
            }
        };
        let first = list_files(&path)?.into_iter().next().unwrap_or(path);
        if self.format == Format::Parquet {
            return Ok(Columns::Parquet(parquet_schema(&first)?));
        }
        Ok(Columns::Csv(csv_header(&first, self.delimiter)?.into_iter().map(|name| (name, Shape::default())).collect()))
    }

    /// Takes the cells of a CSV file in, which `texts` declares as texts.
    ///
    /// # Errors
    /// `Invalid` where a file cannot be read.
    pub(super) fn add_cells(&mut self, texts: &TableDef, shapes: &mut [(String, Shape)], limits: Limits) -> Result<()> {
        let mut bytes = 0;
        let (mut records, mut whole) = (0, true);
        self.each_batch(texts, &mut |batch| {
            for rows in &batch.batches {
                bytes += rows.get_array_memory_size();
                for (column, (_, shape)) in rows.columns().iter().zip(&mut *shapes) {
                    column.as_string_view().iter().flatten().for_each(|cell| shape.add_cell(cell));
                }
            }
            records += read(&batch);
            whole = batch.finished;
            bytes < limits.bytes
        })?;
        (self.records, self.whole) = (records, whole);
        Ok(())
    }

    /// The sample as rows and bad records of `def`, in the order in which it was taken.
    ///
    /// # Errors
    /// `Invalid` where the table cannot be read at all.
    pub(super) fn read_as(&mut self, def: &TableDef, limits: Limits) -> Result<Vec<SourceBatch>> {
        if self.format == Format::Json {
            return self.decoded(def).map(|batch| vec![batch]);
        }
        let (mut batches, mut bytes) = (Vec::new(), 0);
        self.each_batch(def, &mut |batch| {
            bytes += batch.batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
            batches.push(batch);
            bytes < limits.bytes
        })?;
        if self.format == Format::Parquet {
            self.records = batches.iter().map(read).sum();
            self.whole = batches.last().is_some_and(|batch| batch.finished);
        }
        Ok(batches)
    }

    fn decoded(&self, def: &TableDef) -> Result<SourceBatch> {
        let columns: Vec<usize> = (0..def.columns.len()).collect();
        let mut decoder = TableDecoder::try_new(def, &columns, Clock::System)?;
        for Kept { partition, offset, value } in &self.kept {
            let (partition, offset, value) = (*partition, *offset, value.as_deref());
            decoder.push(&Record { partition, offset, timestamp_ms: None, key: None, value, headers: None })?;
        }
        decoder.finish(&Polled::default())
    }

    /// Reads the file until `each` has enough, or as many records as the sample has.
    fn each_batch(&self, def: &TableDef, each: &mut dyn FnMut(SourceBatch) -> bool) -> Result<()> {
        let columns: Vec<usize> = (0..def.columns.len()).collect();
        let mut reader = open_batches(def, &columns, &Offsets::new(), Clock::System)?;
        let mut left = self.records;
        while left > 0 {
            let batch = reader.next(left.min(BATCH_ROWS))?;
            left = left.saturating_sub(read(&batch));
            let finished = batch.finished;
            if !each(batch) || finished {
                break;
            }
        }
        Ok(())
    }
}

fn read(batch: &SourceBatch) -> usize {
    let records = batch.progress.values().map(|progress| progress.records).sum::<u64>();
    usize::try_from(records).unwrap_or(usize::MAX)
}

/// By its name, else by how it begins.
fn format_of_file(file: &Path) -> Result<Format> {
    let name = file.to_string_lossy();
    if let Some(format) = format_of(&name) {
        return Ok(format);
    }
    if Compression::of(&name).1.to_lowercase().ends_with(".tsv") {
        return Ok(Format::Csv);
    }
    match beginning(file)?.trim_ascii_start() {
        [b'{', ..] => Ok(Format::Json),
        [b'P', b'A', b'R', b'1', ..] => Ok(Format::Parquet),
        _ => Err(Error::invalid(format!("the format of {} cannot be told", file.display())).hint(
            "give it a name that ends in .ndjson, .csv or .parquet, with .gz or .zst behind where it is compressed",
        )),
    }
}

/// The delimiter that stands in the header line most often.
fn delimiter(file: &Path) -> Result<u8> {
    let text = beginning(file)?;
    let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut quoted = false;
    let mut counts = [0; DELIMITERS.len()];
    for byte in header {
        quoted ^= *byte == b'"';
        if let Some(at) = DELIMITERS.iter().position(|delimiter| delimiter == byte && !quoted) {
            counts[at] += 1;
        }
    }
    // Of equals the likeliest: the last one that is found is it.
    let likeliest = (0..DELIMITERS.len()).rev().max_by_key(|at| counts[*at]);
    Ok(likeliest.map_or(CSV_DELIMITER_DEFAULT, |at| DELIMITERS[at]))
}

fn beginning(file: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut file = open_text(file)?.take(64 << 10);
    // A damaged file is told of by its reader.
    let _ = file.read_to_end(&mut text);
    let text = text.strip_prefix(b"\xEF\xBB\xBF").map(<[u8]>::to_vec).unwrap_or(text);
    Ok(text)
}
