//! CSV with a header line: whole chunks through arrow's decoder, bad rows found by halving the chunk that fails.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Decoder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::input::Input;
use super::layout::{Assembled, Failure, Layout, Origin, misfit};
use super::{BatchReader, Files};
use crate::catalog::{OnBadRow, TableDef};
use crate::error::{Error, Location, Result};
use crate::source::{DeadLetter, Offset, Offsets, Origins, Progress, SourceBatch};

/// Bytes of text decoded at once.
const CHUNK_BYTES: usize = 4 << 20;

pub(super) struct CsvReader {
    table: String,
    on_bad_row: OnBadRow,
    delimiter: u8,
    layout: Layout,
    files: Files,
    open: Option<OpenFile>,
}

struct OpenFile {
    input: Input,
    /// The line, from 1, on which what is unread begins.
    line: u64,
    schema: SchemaRef,
    header: Vec<String>,
    /// For each physical column of the layout: its place in the file.
    indices: Vec<usize>,
}

impl CsvReader {
    pub(super) fn try_new(def: &TableDef, files: Vec<PathBuf>, layout: Layout, resume: &Offsets) -> Result<Self> {
        for column in &layout.physical {
            if column.data_type.is_nested() {
                return Err(Error::invalid(format!(
                    "column \"{}\" of table \"{}\" is {}, which CSV cannot hold",
                    column.name, def.name, column.data_type
                ))
                .at(def.location.clone())
                .hint("use JSON or Parquet, or declare the column as VARCHAR"));
            }
        }
        let files = Files::new(files, resume);
        Ok(CsvReader {
            table: def.name.clone(),
            on_bad_row: def.on_bad_row,
            delimiter: def.csv_delimiter,
            layout,
            files,
            open: None,
        })
    }

    fn open(&self, path: &Path, skip: Offset) -> Result<OpenFile> {
        let mut input = Input::open(path)?;
        let file = path.display().to_string();
        let mut line = 1;
        let header = read_header(&mut input, &mut line, self.delimiter, &file)?;
        let has = header.iter().map(String::as_str).collect::<Vec<_>>();
        let mut fields = has.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>();
        let mut indices = Vec::new();
        for column in &self.layout.physical {
            let index = self.layout.header.find(column, &file, &has)?;
            fields[index] = Field::new(has[index], decoded_type(&column.data_type), true);
            indices.push(index);
        }
        let mut left = usize::try_from(skip).unwrap_or(0);
        while left > 0 {
            let records = cut_records(&mut input, &mut line, self.delimiter, left.min(8192), 0)?;
            let Some(last) = records.last() else { break };
            left -= records.len();
            consume(&mut input, &mut line, last.end);
        }
        Ok(OpenFile { input, line, schema: Arc::new(Schema::new(fields)), header, indices })
    }
}

/// The names in the header line of a file.
///
/// # Errors
/// `Invalid` where it has none, `Unavailable` where it cannot be read.
pub fn csv_header(path: &Path, delimiter: u8) -> Result<Vec<String>> {
    read_header(&mut Input::open(path)?, &mut 1, delimiter, &path.display().to_string())
}

fn read_header(input: &mut Input, line: &mut u64, delimiter: u8, file: &str) -> Result<Vec<String>> {
    let Some(record) = cut_records(input, line, delimiter, 1, 0)?.pop() else {
        return Err(Error::invalid(format!("file {file} is empty; a CSV file begins with a header line")));
    };
    let header = header_fields(&input.unread()[record.clone()], delimiter, file)?;
    consume(input, line, record.end);
    Ok(header)
}

/// Up to `max` whole records at the beginning of what is unread, as ranges of it. Empty lines are not records.
fn cut_records(
    input: &mut Input,
    line: &mut u64,
    delimiter: u8,
    max: usize,
    first: Offset,
) -> Result<Vec<Range<usize>>> {
    let mut records: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while records.len() < max && at < CHUNK_BYTES {
        let unread = input.unread();
        let length = match record_length(&unread[at..], delimiter) {
            Some(length) => length,
            None if input.at_end_of_file() => unread.len() - at,
            None => {
                input.check_record(unread.len() - at, first + records.len() as Offset)?;
                input.fill()?;
                continue;
            }
        };
        if length == 0 {
            break;
        }
        let record = at..at + length;
        let empty = matches!(&unread[record.clone()], b"\n" | b"\r\n");
        if empty && at == 0 {
            consume(input, line, length);
            continue;
        }
        if !empty {
            input.check_record(length, first + records.len() as Offset)?;
            records.push(record);
        }
        at += length;
    }
    Ok(records)
}

/// Steps over the next `bytes`, and counts their lines.
fn consume(input: &mut Input, line: &mut u64, bytes: usize) {
    *line += lines_in(&input.unread()[..bytes]);
    input.consume(bytes);
}

fn lines_in(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

impl BatchReader for CsvReader {
    fn positions(&self) -> Offsets {
        self.files.positions()
    }

    fn next(&mut self, rows_max: usize) -> Result<SourceBatch> {
        let from = self.files.positions.clone();
        while let Some(path) = self.files.path().map(Path::to_owned) {
            let first = self.files.positions[self.files.current];
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.open(&path, first)?,
            };
            let records = cut_records(&mut open.input, &mut open.line, self.delimiter, rows_max.max(1), first)?;
            let Some(consumed) = records.last().map(|last| last.end) else {
                self.files.close();
                continue;
            };
            let partition = self.files.partition();
            let file = path.display().to_string();
            let mut out = SourceBatch::default();
            let mut observed =
                Progress { from: first, to: first, records: 0, event_time_max: None, far_future: 0, end: Some(first) };
            let mut work = Work { reader: self, open: &open, file: &file, records: &records, first };
            work.decode(0..records.len(), &mut out, &mut observed)?;
            consume(&mut open.input, &mut open.line, consumed);
            self.open = Some(open);
            *self.files.position() += records.len() as Offset;
            out.progress = self.files.progress(&from);
            let progress = out.progress.get_mut(&partition).expect("all files are in it");
            (progress.event_time_max, progress.far_future) = (observed.event_time_max, observed.far_future);
            return Ok(out);
        }
        Ok(SourceBatch { progress: self.files.progress(&from), finished: true, ..Default::default() })
    }
}

/// The records of one chunk.
struct Work<'a> {
    reader: &'a CsvReader,
    open: &'a OpenFile,
    file: &'a str,
    records: &'a [Range<usize>],
    /// Number of the chunk's first record.
    first: Offset,
}

impl Work<'_> {
    /// Decodes the records `range`. Those of which arrow makes nothing are halved until the bad record stands alone.
    fn decode(&mut self, range: Range<usize>, out: &mut SourceBatch, observed: &mut Progress) -> Result<()> {
        match self.try_decode(range.clone()) {
            Ok(rows) => {
                self.reader.layout.observe(&rows, observed)?;
                if rows.batch.num_rows() > 0 {
                    out.origins.push(self.origins(range.clone(), &rows.refused));
                    out.batches.push(rows.batch);
                }
                rows.refused.into_iter().try_for_each(|(row, failure)| self.bad_row(range.start + row, failure, out))
            }
            Err(failure) if range.len() == 1 => self.bad_row(range.start, failure, out),
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.decode(range.start..middle, out, observed)?;
                self.decode(middle..range.end, out, observed)
            }
        }
    }

    /// Where the rows of the records `range` were read, without those that were refused.
    fn origins(&self, range: Range<usize>, refused: &[(usize, Failure)]) -> Origins {
        let partition = self.reader.files.partition();
        let mut refused = refused.iter().map(|(row, _)| *row).collect::<BTreeSet<_>>().into_iter().peekable();
        let mut origins = Origins::default();
        for (row, record) in range.enumerate() {
            if refused.next_if_eq(&row).is_none() {
                origins.push(partition, self.first + record as Offset);
            }
        }
        origins
    }

    fn try_decode(&self, range: Range<usize>) -> Result<Assembled, Failure> {
        let text = &self.open.input.unread()[self.records[range.start].start..self.records[range.end - 1].end];
        let mut indices = self.open.indices.clone();
        indices.sort_unstable();
        indices.dedup();
        let decoded = self.decode_text(text, &self.open.schema, &indices, range.len());
        let decoded = decoded.ok_or_else(|| self.failure(text))?;
        let position = |index: &usize| indices.binary_search(index).expect("of the same set");
        let arrays =
            self.open.indices.iter().map(|index| Arc::clone(decoded.column(position(index)))).collect::<Vec<_>>();
        let offsets = range.map(|record| self.first + record as Offset).collect();
        let origin = Origin { file: self.file, partition: self.reader.files.partition(), offsets };
        self.reader.layout.assemble(&arrays, &origin)
    }

    /// The columns `indices` of `text`, which should hold `rows`; `None` where it does not, or where a value does not fit.
    fn decode_text(&self, text: &[u8], schema: &SchemaRef, indices: &[usize], rows: usize) -> Option<RecordBatch> {
        // One row more than expected: text that holds more rows than we cut is noticed.
        let mut decoder: Decoder = ReaderBuilder::new(Arc::clone(schema))
            .with_header(false)
            .with_delimiter(self.reader.delimiter)
            .with_batch_size(rows + 1)
            .with_projection(indices.to_vec())
            .build_decoder();
        let mut at = 0;
        loop {
            // The last call is given nothing, which ends a record without a line end.
            let taken = decoder.decode(&text[at..]).ok()?;
            at += taken;
            if taken == 0 {
                break;
            }
        }
        decoder.flush().ok()?.filter(|batch| batch.num_rows() == rows && at == text.len())
    }

    /// Why `text` is not decoded, which matters where it is one record: the first column read whose cell does not fit, said
    /// in our own words.
    fn failure(&self, text: &[u8]) -> Failure {
        let as_text = self.open.header.iter().map(|name| Field::new(name, DataType::Utf8, true));
        let as_text: SchemaRef = Arc::new(Schema::new(as_text.collect::<Vec<_>>()));
        for (column, index) in self.reader.layout.physical.iter().zip(&self.open.indices) {
            let Some(cell) = self.decode_text(text, &as_text, &[*index], 1) else { break };
            if self.decode_text(text, &self.open.schema, &[*index], 1).is_none() {
                return Failure { column: Some(column.name.clone()), reason: misfit(column, cell.column(0), 0) };
            }
        }
        let (fields, expected) = (cells(text, self.reader.delimiter).count(), self.open.header.len());
        let reason = match std::str::from_utf8(text) {
            Err(_) => "the record is not UTF-8 text".to_owned(),
            Ok(_) if fields != expected => format!("the record has {fields} fields, the header {expected}"),
            Ok(_) => "the record's quotes do not close, or stand inside a field".to_owned(),
        };
        Failure { column: None, reason }
    }

    fn bad_row(&self, record: usize, failure: Failure, out: &mut SourceBatch) -> Result<()> {
        let number = self.first + record as Offset;
        let record = self.records[record].clone();
        if self.reader.on_bad_row == OnBadRow::Fail {
            let place = self.place(record, failure.column.as_deref());
            return Err(failure.stop(self.file, number, &self.reader.table).at(place));
        }
        let line = &self.open.input.unread()[record];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        out.dead_letters.push(DeadLetter {
            topic: Some(self.file.to_owned()),
            partition: Some(self.reader.files.partition()),
            offset: Some(number),
            position: None,
            timestamp_ms: None,
            key: None,
            value: Some(line.to_owned()),
            column: failure.column,
            reason: failure.reason,
        });
        Ok(())
    }

    /// Line and column, as an editor counts them, of the cell of the table's column `name`; without one, of the record.
    fn place(&self, record: Range<usize>, name: Option<&str>) -> Location {
        let unread = self.open.input.unread();
        let column = self.reader.layout.physical.iter().position(|column| Some(column.name.as_str()) == name);
        let cell = column
            .and_then(|column| cells(&unread[record.clone()], self.reader.delimiter).nth(self.open.indices[column]));
        let before = &unread[..record.start + cell.unwrap_or(0)];
        let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        // Every byte that does not continue a character begins one.
        let characters = before[start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Location { file: self.file.to_owned(), line: self.open.line + lines_in(before), column: characters as u64 + 1 }
    }
}

/// What arrow's CSV decoder makes directly; all else comes as text, of which the layout makes the rest.
fn decoded_type(declared: &DataType) -> DataType {
    let direct = declared.is_integer()
        || declared.is_floating()
        || matches!(
            declared,
            DataType::Boolean
                | DataType::Utf8
                | DataType::Utf8View
                | DataType::Date32
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
        );
    if direct { declared.clone() } else { DataType::Utf8 }
}

/// The length of the first record with its line end; `None` where its end is not there. As csv-core cuts: a quote
/// opens a quoted field only at the field's beginning, and a doubled quote stands for one.
fn record_length(text: &[u8], delimiter: u8) -> Option<usize> {
    let line_end = memchr::memchr(b'\n', text)?;
    if memchr::memchr(b'"', &text[..line_end]).is_none() {
        return Some(line_end + 1);
    }
    let mut state = At::FieldStart;
    for (index, byte) in text.iter().enumerate() {
        state = match state.step(*byte, delimiter) {
            At::RecordEnd => return Some(index + 1),
            state => state,
        };
    }
    None
}

/// Where each field of a record begins.
fn cells(record: &[u8], delimiter: u8) -> impl Iterator<Item = usize> {
    let mut state = At::FieldStart;
    let starts = record.iter().enumerate().filter_map(move |(index, byte)| {
        state = state.step(*byte, delimiter);
        matches!(state, At::FieldStart).then_some(index + 1)
    });
    std::iter::once(0).chain(starts)
}

#[derive(Clone, Copy)]
enum At {
    FieldStart,
    Plain,
    Quoted,
    QuoteInQuoted,
    RecordEnd,
}

impl At {
    /// Where one is behind `byte`.
    fn step(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (At::Quoted, b'"') => At::QuoteInQuoted,
            (At::Quoted, _) | (At::QuoteInQuoted | At::FieldStart, b'"') => At::Quoted,
            (_, b'\n') => At::RecordEnd,
            (_, byte) if byte == delimiter => At::FieldStart,
            _ => At::Plain,
        }
    }
}

/// The names of the header line, by the same decoder that reads the rows.
fn header_fields(line: &[u8], delimiter: u8, file: &str) -> Result<Vec<String>> {
    let text = std::str::from_utf8(line)
        .map_err(|_| Error::invalid(format!("the header line of {file} is not UTF-8 text")))?;
    let format = arrow::csv::reader::Format::default().with_header(true).with_delimiter(delimiter);
    let (schema, _) = format
        .infer_schema(text.as_bytes(), Some(0))
        .map_err(|error| Error::invalid(format!("cannot read the header line of {file}")).detail(error.to_string()))?;
    Ok(schema.fields().iter().map(|field| field.name().trim().to_owned()).collect())
}
