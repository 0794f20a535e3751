//! Files as bounded sources: a file, or the files of a folder in name order.
//!
//! Each file is one partition, numbered in name order from 0, and those that have come since a checkpoint after those before it (see
//! `identity`); a record's offset is its number in the file, from 0.
//! NDJSON comes record by record through `Source`; CSV and Parquet come as typed batches through [`BatchReader`].
//! A compressed text file is its text: numbers of records, limits and places are those of what is inside.

mod compressed;
mod csv;
mod header;
mod identity;
mod input;
mod layout;
mod look;
mod ndjson;
mod parquet;
#[cfg(test)]
mod tests;
mod timestamps;

use std::path::{Path, PathBuf};

pub use self::compressed::{TextFile, open_text};
pub use self::csv::csv_header;
pub use self::identity::identify;
pub use self::look::FilesState;
pub use self::ndjson::NdjsonSource;
pub use self::parquet::parquet_schema;

use super::{Offset, Offsets, Partition, Progress, SourceBatch};
use crate::catalog::{Connector, Format, TableDef};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// Longest record of a text file, in bytes.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// A bounded table that decodes whole batches by itself.
pub trait BatchReader: Send {
    /// The next offset of each partition. Before the first batch: where reading begins.
    fn positions(&self) -> Offsets;

    /// The next rows in order, at most `rows_max` records (at least 1); `finished` is set on the last batch, which may
    /// be empty.
    ///
    /// # Errors
    /// `Invalid` where a file does not fit the table or a row does not and `on-bad-row` is `fail`; `Unavailable` where a
    /// file cannot be read.
    fn next(&mut self, rows_max: usize) -> Result<SourceBatch>;
}

/// Opens a table of CSV or Parquet files. `columns`: indices into the table's columns, in the order wanted.
/// `resume`: the next record per file; files it does not name are read from their beginning.
///
/// # Errors
/// `Invalid` where the path does not exist, the format is another one, or a column's type cannot be read from it.
pub fn open_batches(def: &TableDef, columns: &[usize], resume: &Offsets, clock: Clock) -> Result<Box<dyn BatchReader>> {
    open_batches_of(def, list_files(path_of(def)?)?, columns, resume, clock)
}

/// Opens these files of such a table.
///
/// # Errors
/// As [`open_batches`].
pub fn open_batches_of(
    def: &TableDef,
    files: Vec<PathBuf>,
    columns: &[usize],
    resume: &Offsets,
    clock: Clock,
) -> Result<Box<dyn BatchReader>> {
    let layout = layout::Layout::try_new(def, columns, clock)?;
    match def.format {
        Format::Csv => Ok(Box::new(csv::CsvReader::try_new(def, files, layout, resume)?)),
        Format::Parquet => Ok(Box::new(parquet::ParquetReader::new(def, files, layout, resume))),
        Format::Json => Err(Error::bug("NDJSON is read through a source")),
    }
}

/// The path of a `filesystem` table.
///
/// # Errors
/// `Bug` for a table of another connector.
pub fn path_of(def: &TableDef) -> Result<&Path> {
    match &def.connector {
        Connector::Filesystem(files) => Ok(Path::new(&files.path)),
        Connector::Kafka(_) | Connector::Postgres(_) | Connector::View(_) => {
            Err(Error::bug(format!("table \"{}\" is not made of files", def.name)))
        }
    }
}

/// The files of a table in name order. Names that begin with a dot or an underscore are left out, and so are folders.
///
/// # Errors
/// `Invalid` where the path does not exist, `Unavailable` where it cannot be read.
pub fn list_files(path: &Path) -> Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Error::invalid(format!("{MISSING}: {}", path.display()))
                .hint("correct 'path' in the table's WITH (…); relative paths count from the statement's file")
        } else {
            unreadable(path, error)
        }
    })?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, error))? {
        let entry = entry.map_err(|error| unreadable(path, error))?;
        let name = entry.file_name();
        // Hidden files, and what other engines use for markers and unfinished work.
        let skipped = matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_'));
        if !skipped && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// How [`list_files`] says that a path does not exist.
const MISSING: &str = "no such file or folder";

/// The error for one who tries again: a path that does not exist may do so by then, and is no mistake of the definition before.
pub fn awaited(error: Error) -> Error {
    if error.kind() != ErrorKind::Invalid || !error.primary().starts_with(MISSING) {
        return error;
    }
    let awaited = Error::unavailable(error.primary())
        .hint("put it there, and it is read by itself; or correct 'path' in the table's WITH (…)");
    match error.location() {
        Some(place) => awaited.at(place.clone()),
        None => awaited,
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("cannot read {}", path.display())).caused_by(error)
}

/// Where a table's files are being read.
#[derive(Debug)]
struct Files {
    paths: Vec<PathBuf>,
    /// Next record per file.
    positions: Vec<Offset>,
    /// Number of records, where it is known.
    ends: Vec<Option<Offset>>,
    /// The file being read; past the last one when all is read.
    current: usize,
}

impl Files {
    fn new(paths: Vec<PathBuf>, resume: &Offsets) -> Self {
        let positions = (0..paths.len()).map(|id| resume.get(&(id as Partition)).copied().unwrap_or(0)).collect();
        Files { ends: vec![None; paths.len()], positions, current: 0, paths }
    }

    fn path(&self) -> Option<&Path> {
        self.paths.get(self.current).map(PathBuf::as_path)
    }

    fn partition(&self) -> Partition {
        self.current as Partition
    }

    fn position(&mut self) -> &mut Offset {
        &mut self.positions[self.current]
    }

    /// The current file has been read to its end.
    fn close(&mut self) {
        self.ends[self.current] = Some(self.positions[self.current]);
        self.current += 1;
    }

    fn positions(&self) -> Offsets {
        self.positions.iter().enumerate().map(|(id, position)| (id as Partition, *position)).collect()
    }

    /// An end that is not known yet lies behind the position: such a file is not read to its end.
    fn end(&self, file: usize) -> Offset {
        self.ends[file].unwrap_or(self.positions[file] + 1)
    }

    /// Progress of a batch that began at `from`.
    fn progress(&self, from: &[Offset]) -> std::collections::BTreeMap<Partition, Progress> {
        let of = |(id, from): (usize, &Offset)| {
            let to = self.positions[id];
            let records = (to - from).unsigned_abs();
            let progress =
                Progress { from: *from, to, records, event_time_max: None, far_future: 0, end: Some(self.end(id)) };
            (id as Partition, progress)
        };
        from.iter().enumerate().map(of).collect()
    }
}
