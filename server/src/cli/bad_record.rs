//! Where a record that is not decoded stands: file and line, as an editor counts them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Connector, Format, TableDef};
use crate::source::DeadLetter;
use crate::source::filesystem::open_text;

/// `clicks.ndjson:17`, for one of `tables`. The number of the record among those of the file where its line cannot be found; the
/// file alone where the record cannot; of a row that is no record, the row.
pub(super) fn place(letter: &DeadLetter, tables: &[Arc<TableDef>]) -> String {
    let Some(path) = letter.topic.as_deref().map(Path::new) else {
        return format!("row {}", String::from_utf8_lossy(letter.value.as_deref().unwrap_or_default()));
    };
    let here = std::env::current_dir().unwrap_or_default();
    let shown = path.strip_prefix(here).unwrap_or(path).display();
    let Some(offset) = letter.offset else { return shown.to_string() };
    let format = tables.iter().find_map(|table| match &table.connector {
        Connector::Filesystem(files) if path.starts_with(&files.path) => Some((table.format, table.csv_delimiter)),
        _ => None,
    });
    let line = match format {
        // Has no lines.
        Some((Format::Parquet, _)) => None,
        format => {
            let csv = format.and_then(|(format, delimiter)| (format == Format::Csv).then_some(delimiter));
            open_text(path).ok().and_then(|file| line_of(BufReader::new(file), csv, offset))
        }
    };
    match line {
        Some(line) => format!("{shown}:{line}"),
        None => format!("{shown}, record {}", offset + 1),
    }
}

/// The line, from 1, on which record number `record`, from 0, begins. Blank lines are no records; the first record of a CSV
/// file is its header, and a quoted field may hold line ends. `csv`: its delimiter.
fn line_of(mut input: impl BufRead, csv: Option<u8>, record: i64) -> Option<u64> {
    let mut left = if csv.is_some() { record.checked_add(1)? } else { record };
    let (mut line, mut text, mut quoted) = (0, Vec::new(), false);
    loop {
        text.clear();
        if input.read_until(b'\n', &mut text).ok()? == 0 {
            return None;
        }
        line += 1;
        let begins = !quoted && !text.trim_ascii().is_empty();
        if begins && left == 0 {
            return Some(line);
        }
        left -= i64::from(begins);
        quoted = csv.is_some_and(|delimiter| ends_quoted(&text, delimiter, quoted));
    }
}

/// Whether a quoted field is open at the end of a line. A quote opens one at the field's beginning only.
fn ends_quoted(line: &[u8], delimiter: u8, mut quoted: bool) -> bool {
    let mut at_start = true;
    for byte in line {
        match byte {
            // A doubled quote closes and opens again.
            b'"' if quoted => (quoted, at_start) = (false, true),
            b'"' if at_start => quoted = true,
            _ if *byte == delimiter && !quoted => at_start = true,
            _ => at_start = false,
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_record_is_the_one_an_editor_shows() {
        let json = b"{\"a\":1}\n\n  \nnot json\n{\"a\":\"x\"}".as_slice();
        assert_eq!([0, 1, 2, 3].map(|record| line_of(json, None, record)), [Some(1), Some(4), Some(5), None]);
        let csv = b"a,b\n1,\"two\nlines, \"\"quoted\"\"\"\n\n2,x\"y\n3,z\n".as_slice();
        assert_eq!([0, 1, 2, 3].map(|record| line_of(csv, Some(b','), record)), [Some(2), Some(5), Some(6), None]);
    }
}
