//! Rows for people and programs: an aligned table, one JSON object a line, or CSV.

use std::io::{self, ErrorKind, StdoutLock, Write};

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches_with_schema;
use clap::ValueEnum;

use crate::error::{Error, Result};

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// An aligned table
    #[default]
    Table,
    /// One JSON object a line
    Json,
    /// With a header line
    Csv,
}

/// Standard output. A reader that has seen enough and closes the pipe, as `head` does, ends the program without a word.
#[derive(Debug)]
pub(super) struct StandardOutput(StdoutLock<'static>);

impl StandardOutput {
    pub(super) fn lock() -> Self {
        StandardOutput(io::stdout().lock())
    }
}

impl Write for StandardOutput {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).inspect_err(end_of_reader)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(end_of_reader)
    }
}

#[expect(clippy::disallowed_methods, reason = "there is nobody left to tell, and nothing is open but standard output")]
fn end_of_reader(error: &io::Error) {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
}

/// Writes a whole result. An empty one still has its header, except as JSON, where there is nothing to write.
///
/// # Errors
/// `Unavailable` where `out` does not take it, `Invalid` for a type that the format has no text for.
pub fn write_rows(out: &mut dyn Write, format: OutputFormat, schema: SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    match format {
        OutputFormat::Table => {
            let table = pretty_format_batches_with_schema(schema, batches)?;
            writeln!(out, "{table}")?;
        }
        OutputFormat::Json => {
            let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
            let mut writer = builder.build::<_, arrow::json::writer::LineDelimited>(&mut *out);
            for batch in batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
        OutputFormat::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut *out);
            // The header goes out with the first batch, so there is always one.
            writer.write(&RecordBatch::new_empty(schema))?;
            for batch in batches {
                writer.write(batch)?;
            }
        }
    }
    out.flush().map_err(Error::from)
}

/// Writes a plan: its lines as they are, or as the rows of a column for programs.
///
/// # Errors
/// As [`write_rows`].
pub(super) fn write_plan(out: &mut dyn Write, format: OutputFormat, lines: &[String]) -> Result<()> {
    if format == OutputFormat::Table {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        return out.flush().map_err(Error::from);
    }
    let lines: ArrayRef = Arc::new(StringArray::from_iter_values(lines));
    let batch = RecordBatch::try_from_iter([("plan", lines)])?;
    write_rows(out, format, batch.schema(), &[batch])
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn text(format: OutputFormat, rows: usize) -> String {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a,b"), None]).slice(0, rows));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]).slice(0, rows));
        let batch = RecordBatch::try_from_iter_with_nullable([("name", names, true), ("n", numbers, true)])
            .expect("two columns");
        let mut out = Vec::new();
        write_rows(&mut out, format, batch.schema(), &[batch]).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_format_writes_nulls_and_empty_results_its_own_way() {
        assert_eq!(text(OutputFormat::Json, 2), "{\"name\":\"a,b\",\"n\":1}\n{\"name\":null,\"n\":2}\n");
        assert_eq!(text(OutputFormat::Json, 0), "");
        assert_eq!(text(OutputFormat::Csv, 2), "name,n\n\"a,b\",1\n,2\n");
        assert_eq!(text(OutputFormat::Csv, 0), "name,n\n");
        assert_eq!(
            text(OutputFormat::Table, 2),
            "+------+---+\n| name | n |\n+------+---+\n| a,b  | 1 |\n|      | 2 |\n+------+---+\n"
        );
        assert!(text(OutputFormat::Table, 0).contains("name"));
    }
}
