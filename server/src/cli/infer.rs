//! `touchline infer`: a CREATE TABLE for a file or topic, from a sample of it.
//!
//! What is proposed is tried: the sample is read as the table, and a column that refuses a value of it is declared wider,
//! until every record that is one becomes a row.

mod name;
mod sample;
mod shape;
mod watermark;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use clap::Args;

use self::name::quoted;
use self::sample::{Columns, Limits, Origin, Sample};
use self::shape::{Fit, Shape};
use self::watermark::{Proposed, Times, interval};
use super::environment;
use super::output::StandardOutput;
use crate::catalog::{CSV_DELIMITER_DEFAULT, Format, Statement, TableDef};
use crate::config::{Config, one_error};
use crate::error::{Error, Result};
use crate::source::SourceBatch;
use crate::sql::parse_file;

/// What a sample holds where nothing else is asked for.
const ROWS_DEFAULT: usize = 100_000;
const MIB_DEFAULT: usize = 64;
/// Columns of a table; a file with more has the rest left out.
const COLUMNS_MAX: usize = 1_000;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct InferArgs {
    /// A file or folder of NDJSON, CSV or Parquet (.gz and .zst too), or kafka://HOST:PORT[,HOST:PORT]/TOPIC with JSON
    #[arg(value_name = "SOURCE")]
    source: Given,
    /// Records to look at, from the beginning
    #[arg(long, value_name = "N", default_value_t = ROWS_DEFAULT, value_parser = at_least_one)]
    rows: usize,
    /// MiB of records to look at, at most
    #[arg(long, value_name = "MIB", default_value_t = MIB_DEFAULT, value_parser = at_least_one)]
    mib: usize,
}

const AFTER_HELP: &str = "\
Examples:
  touchline infer clicks.ndjson.gz > schemas/clicks.sql
  touchline infer kafka://localhost:9092/orders

The statement reads every record of the sample. The delay of its watermark covers the disorder of the sample; comments at its top
say what was seen, and what is left out. How to log in to Kafka is taken from TOUCHLINE_KAFKA_SECURITY_PROTOCOL and the like.";

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "write a number from 1".to_owned())
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    Path(PathBuf),
    Topic { brokers: String, topic: String },
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("kafka://") else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(format!("{scheme}:// is not read; write a file or kafka://HOST:PORT/TOPIC")),
                None => Ok(Given::Path(text.into())),
            };
        };
        match rest.split_once('/') {
            Some((brokers, topic)) if !brokers.is_empty() && !topic.is_empty() && !topic.contains('/') => {
                Ok(Given::Topic { brokers: brokers.to_owned(), topic: topic.to_owned() })
            }
            _ => Err("write kafka://HOST:PORT/TOPIC, as in kafka://localhost:9092/orders".to_owned()),
        }
    }
}

/// Prints the statement.
///
/// # Errors
/// `Invalid` where the source is not there or has nothing to tell, `Unavailable` where it does not answer.
pub(super) async fn run(args: InferArgs) -> Result<()> {
    let limits = Limits { rows: args.rows, bytes: args.mib.saturating_mul(1 << 20) };
    // Sources block.
    let text = tokio::task::spawn_blocking(move || {
        let sample = match args.source {
            Given::Path(path) => is_there(&path).and_then(|()| Sample::of_path(&path, limits))?,
            Given::Topic { brokers, topic } => {
                let mut settings = Config::parse("", "", &environment()).map_err(one_error)?.kafka;
                settings.brokers = brokers;
                Sample::of_topic(&settings, &topic, limits)?
            }
        };
        Proposal::with_watermark(sample, limits).map(|proposal| proposal.text())
    });
    let text = text.await.map_err(|error| Error::bug("inferring a table panicked").caused_by(error))??;
    write!(StandardOutput::lock(), "{text}")?;
    Ok(())
}

/// # Errors
/// `Invalid` where it is not. That of the source speaks of an option in a statement, and there is none.
fn is_there(path: &Path) -> Result<()> {
    match path.try_exists() {
        Ok(false) => Err(Error::invalid(format!("no such file or folder: {}", path.display()))
            .hint("correct the path, which counts from the current folder; for a topic write kafka://HOST:PORT/TOPIC")),
        // What cannot be looked at says so when it is read.
        Ok(true) | Err(_) => Ok(()),
    }
}

/// The table that a file is by itself: static, for it has no watermark.
///
/// # Errors
/// As [`run`].
pub(super) fn table_of_file(path: &Path) -> Result<TableDef> {
    let limits = Limits { rows: ROWS_DEFAULT, bytes: MIB_DEFAULT << 20 };
    Proposal::of(Sample::of_path(path, limits)?, limits)?.0.table()
}

/// What [`run`] prints for a file.
#[cfg(test)]
pub(super) fn statement_for(path: &Path) -> Result<String> {
    let limits = Limits { rows: ROWS_DEFAULT, bytes: MIB_DEFAULT << 20 };
    Proposal::with_watermark(Sample::of_path(path, limits)?, limits).map(|proposal| proposal.text())
}

/// A table that is proposed for a sample.
#[derive(Debug)]
struct Proposal {
    sample: Sample,
    columns: Vec<Column>,
    /// Fields without a column, with the reason.
    left_out: Vec<String>,
    /// Columns that could be more than text but for a few values.
    nearly: Vec<String>,
    /// The one field whose values are lists of objects.
    rows_in: Option<String>,
    /// Records that no column can make rows.
    bad: usize,
    watermark: Option<Proposed>,
}

#[derive(Debug)]
struct Column {
    name: String,
    fit: Fit,
}

impl Proposal {
    fn with_watermark(sample: Sample, limits: Limits) -> Result<Self> {
        let (mut proposal, batches) = Proposal::of(sample, limits)?;
        proposal.watermark = watermark::propose(&proposal.times(&batches)?);
        Ok(proposal)
    }

    /// The table, and the sample read as it.
    fn of(sample: Sample, limits: Limits) -> Result<(Self, Vec<SourceBatch>)> {
        let columns = sample.columns()?;
        let mut proposal = Proposal {
            sample,
            columns: vec![],
            left_out: vec![],
            nearly: vec![],
            rows_in: None,
            bad: 0,
            watermark: None,
        };
        match columns {
            Columns::Json(shape, bad) => {
                proposal.bad = bad;
                let fields = shape.into_fields();
                for (name, shape) in &fields.list {
                    proposal.add(name, Ok(shape.json_column(name)));
                    proposal.note(name, shape);
                }
                let mut lists = fields.list.iter().filter(|(_, shape)| shape.is_list_of_objects());
                if let (Some((name, _)), None) = (lists.next(), lists.next()) {
                    proposal.rows_in = Some(name.clone());
                }
                if fields.more {
                    proposal.left_out.push(format!("all fields but the first {}", fields.list.len()));
                }
            }
            Columns::Csv(mut shapes) => proposal.add_csv(&mut shapes, limits)?,
            Columns::Parquet(schema) => {
                for field in schema.fields() {
                    let fit = sql_type(field.data_type()).map(Fit::new);
                    proposal.add(field.name(), fit.ok_or("tables have no such type"));
                }
            }
        }
        if proposal.columns.is_empty() {
            return Err(proposal.nothing());
        }
        let batches = proposal.widen(limits)?;
        proposal.bad = batches.iter().map(|batch| batch.dead_letters.len()).sum();
        Ok((proposal, batches))
    }

    fn add_csv(&mut self, shapes: &mut Vec<(String, Shape)>, limits: Limits) -> Result<()> {
        for (name, _) in shapes.iter() {
            self.add(name, Ok(Fit::text(false)));
        }
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut left: BTreeSet<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        shapes.retain(|(name, _)| left.remove(name));
        let texts = self.table()?;
        self.sample.add_cells(&texts, shapes, limits)?;
        for (column, (name, shape)) in self.columns.iter_mut().zip(shapes.iter()) {
            column.fit = shape.csv_column(name);
        }
        shapes.iter().for_each(|(name, shape)| self.note(name, shape));
        Ok(())
    }

    /// A column, if it can be one.
    fn add(&mut self, name: &str, fit: Result<Fit, &str>) {
        let fit = fit.and_then(|fit| {
            let column = Column { name: name.to_owned(), fit };
            let alone = format!("CREATE TABLE t ({}) WITH ('connector' = 'kafka', 'topic' = 't');", column.declared());
            match self.columns.iter().any(|known| known.name == name) {
                true => Err("there are two of that name"),
                false if name.is_empty() => Err("it has no name"),
                false if self.columns.len() == COLUMNS_MAX => Err("a table has no more columns"),
                false if column.fit.numbers_as_text && !column.can_be_listed() => Err("no option can name it"),
                false if parse_file("", &alone).is_err() => Err("no column can be called so"),
                false => Ok(column),
            }
        });
        match fit {
            Ok(column) => self.columns.push(column),
            Err(why) => self.left_out.push(format!("{}: {why}", quoted(name))),
        }
    }

    fn note(&mut self, name: &str, shape: &Shape) {
        self.nearly.extend(shape.nearly().map(|nearly| format!("{}: {nearly}", quoted(name))));
    }

    /// Why there is no table.
    fn nothing(&self) -> Error {
        let origin = self.origin();
        match (self.sample.records, self.bad) {
            (0, _) => Error::invalid(format!("{origin} is empty, so nothing tells what is in it")),
            (records, bad) if records == bad => {
                Error::invalid(format!("none of {records} records of {origin} is a JSON object"))
                    .hint("each record is one object on a line of its own; `jq -c '.[]' FILE` makes that of a list; of a list on each line the elements are rows with 'json.rows' = '$[*]'")
            }
            _ => Error::invalid(format!("{origin} has no field that can be a column")).detail(self.left_out.join("; ")),
        }
    }

    /// Reads the sample as the table; where a column refuses a value, it is declared wider and the sample read again.
    fn widen(&mut self, limits: Limits) -> Result<Vec<SourceBatch>> {
        loop {
            let table = self.table()?;
            let batches = self.sample.read_as(&table, limits)?;
            let refusing: Vec<bool> = self.columns.iter().map(|column| column.refuses(&batches)).collect();
            if !refusing.contains(&true) {
                return Ok(batches);
            }
            let json = self.sample.format == Format::Json;
            for (column, _) in self.columns.iter_mut().zip(&refusing).filter(|(_, refuses)| **refuses) {
                let text = Fit::text(json && column.can_be_listed());
                if column.fit == Fit::new("JSON") || (column.fit == text && !json) {
                    self.left_out.push(format!("{}: no type takes all of its values", quoted(&column.name)));
                    column.name.clear();
                } else if column.fit == text {
                    column.fit = Fit::new("JSON");
                } else {
                    column.fit = text;
                }
            }
            self.columns.retain(|column| !column.name.is_empty());
            if self.columns.is_empty() {
                return Err(self.nothing());
            }
        }
    }

    fn table(&self) -> Result<TableDef> {
        let statements = parse_file("", &self.statement()).map_err(one_error)?;
        match statements.into_iter().next() {
            Some(Statement::CreateTable(table)) => Ok(table),
            _ => Err(Error::bug("an inferred statement is no CREATE TABLE")),
        }
    }

    /// The timestamps of the sample, column by column.
    fn times(&self, batches: &[SourceBatch]) -> Result<Vec<Times>> {
        let mut times: Vec<Times> = Vec::new();
        for (at, column) in self.columns.iter().enumerate().filter(|(_, column)| column.fit.is_timestamp) {
            let mut rows = Vec::new();
            for batch in batches {
                // A batch of a file is of one file.
                let file =
                    batch.progress.iter().find(|(_, progress)| progress.records > 0).map_or(0, |(file, _)| *file);
                for (nth, values) in batch.batches.iter().enumerate() {
                    let values = cast(values.column(at), &DataType::Timestamp(TimeUnit::Microsecond, None))?;
                    let origins = batch.origins.get(nth);
                    let partition = |row| origins.and_then(|origins| Some(origins.of(row)?.0)).unwrap_or(file);
                    let values = values.as_primitive::<TimestampMicrosecondType>().iter().enumerate();
                    rows.extend(values.map(|(row, value)| (partition(row), value)));
                }
            }
            times.push(Times { name: column.name.clone(), rows });
        }
        Ok(times)
    }

    fn origin(&self) -> String {
        match &self.sample.origin {
            Origin::Path(path) => path.display().to_string(),
            Origin::Topic { topic, .. } => format!("topic \"{topic}\""),
        }
    }

    /// The statement with what is to be known about it.
    fn text(&self) -> String {
        let (records, origin) = (self.sample.records, self.origin());
        let part = if self.sample.whole { "all" } else { "the first" };
        let mut text = format!("-- From {part} {records} records of {}.\n", one_line(&origin));
        if self.bad > 0 {
            let _ = writeln!(text, "-- Records of them that cannot be read, and will be bad ones: {}.", self.bad);
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "-- Left out: {}.", one_line(left_out));
        }
        for nearly in &self.nearly {
            let _ = writeln!(text, "-- {}.", one_line(nearly));
        }
        if let Some(name) = &self.rows_in {
            let list = one_line(&literal(&format!("$.{}[*]", quoted(name))));
            let _ = writeln!(
                text,
                "-- {} is a list of objects: for a row of each, declare their fields as the columns, and add 'json.rows' = {list}.",
                one_line(&quoted(name))
            );
        }
        match &self.watermark {
            Some(watermark) => {
                let _ = writeln!(text, "-- Event time {}: {}.", one_line(&quoted(&watermark.column)), watermark.why);
            }
            None => {
                text.push_str("-- No column looks like an event time: without a WATERMARK a file is a static table.\n")
            }
        }
        text + &self.statement()
    }

    fn statement(&self) -> String {
        let name = match &self.sample.origin {
            Origin::Path(path) => {
                let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                name::of_table(file.split('.').find(|part| !part.is_empty()).unwrap_or_default())
            }
            Origin::Topic { topic, .. } => name::of_table(topic),
        };
        let mut elements: Vec<String> = self.columns.iter().map(Column::declared).collect();
        elements.extend(self.watermark.as_ref().map(|Proposed { column, delay_seconds, .. }| {
            let column = quoted(column);
            format!("WATERMARK FOR {column} AS {column} - {}", interval(*delay_seconds))
        }));
        let options: Vec<String> =
            self.options().into_iter().map(|(key, value)| format!("{} = {}", literal(&key), literal(&value))).collect();
        format!("CREATE TABLE {name} (\n  {}\n) WITH (\n  {}\n);\n", elements.join(",\n  "), options.join(",\n  "))
    }

    fn options(&self) -> Vec<(String, String)> {
        let mut options = match &self.sample.origin {
            Origin::Path(path) => vec![("connector", "filesystem".to_owned()), ("path", path.display().to_string())],
            Origin::Topic { brokers, topic } => {
                vec![("connector", "kafka".to_owned()), ("topic", topic.clone()), ("brokers", brokers.clone())]
            }
        };
        let format = match self.sample.format {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        };
        options.push(("format", format.to_owned()));
        match self.sample.delimiter {
            CSV_DELIMITER_DEFAULT => {}
            b'\t' => options.push(("csv.delimiter", "\\t".to_owned())),
            delimiter => options.push(("csv.delimiter", char::from(delimiter).to_string())),
        }
        let mut options: Vec<(String, String)> =
            options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        for Column { name, fit } in &self.columns {
            if let Some(format) = fit.timestamps.name() {
                options.push((format!("timestamp-format.{name}"), format.to_owned()));
            }
        }
        let texts: Vec<&str> = self
            .columns
            .iter()
            .filter(|column| column.fit.numbers_as_text)
            .map(|column| column.name.as_str())
            .collect();
        if !texts.is_empty() {
            options.push(("numbers-as-text".to_owned(), texts.join(", ")));
        }
        options
    }
}

impl Column {
    fn declared(&self) -> String {
        format!("{} {}", quoted(&self.name), self.fit.sql_type)
    }

    /// Whether an option can name it among others.
    fn can_be_listed(&self) -> bool {
        !self.name.contains(',') && self.name.trim() == self.name
    }

    /// Whether a record is bad because of it.
    fn refuses(&self, batches: &[SourceBatch]) -> bool {
        let of_it = |path: &str| {
            path.strip_prefix(self.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        batches.iter().flat_map(|batch| &batch.dead_letters).filter_map(|letter| letter.column.as_deref()).any(of_it)
    }
}

/// The type of a column of a Parquet file; `None` where tables have none that holds its values.
fn sql_type(data_type: &DataType) -> Option<String> {
    let plain = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 | DataType::UInt8 => "SMALLINT",
        DataType::Int32 | DataType::UInt16 => "INT",
        DataType::Int64 | DataType::UInt32 => "BIGINT",
        DataType::UInt64 => "DECIMAL(20, 0)",
        DataType::Float16 | DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "BYTEA",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, _) => "TIMESTAMP(3)",
        DataType::Timestamp(TimeUnit::Microsecond, _) => "TIMESTAMP(6)",
        DataType::Timestamp(TimeUnit::Nanosecond, _) => "TIMESTAMP(9)",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            return (*scale >= 0).then(|| format!("DECIMAL({precision}, {scale})"));
        }
        DataType::Dictionary(_, value) => return sql_type(value),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return Some(format!("{}[]", sql_type(item.data_type())?));
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(parts) = entries.data_type() else { return None };
            let [key, value] = parts.as_ref() else { return None };
            let is_text = sql_type(key.data_type()).as_deref() == Some("VARCHAR");
            return Some(format!("MAP<VARCHAR, {}>", sql_type(value.data_type()).filter(|_| is_text)?));
        }
        DataType::Struct(fields) => {
            let field = |field: &arrow::datatypes::FieldRef| {
                Some(format!("{} {}", quoted(field.name()), sql_type(field.data_type())?))
            };
            let fields = fields.iter().map(field).collect::<Option<Vec<String>>>()?;
            return (!fields.is_empty()).then(|| format!("STRUCT<{}>", fields.join(", ")));
        }
        _ => return None,
    };
    Some(plain.to_owned())
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// For a comment, which ends with its line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests;
