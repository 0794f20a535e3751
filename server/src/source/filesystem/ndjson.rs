//! NDJSON: one JSON value a line. Blank lines are not records and have no number.

use std::path::{Path, PathBuf};

use super::input::Input;
use super::{Files, list_files};
use crate::error::Result;
use crate::source::{Offset, Offsets, PollLimits, Polled, Record, Source};

/// The lines of a file, or of a folder's files one after the other.
#[derive(Debug)]
pub struct NdjsonSource {
    files: Files,
    input: Option<Input>,
}

impl NdjsonSource {
    /// `resume`: the next record per file, as for [`super::open_batches`].
    ///
    /// # Errors
    /// `Invalid` where the path does not exist, `Unavailable` where it cannot be read.
    pub fn open(path: &Path, resume: &Offsets) -> Result<Self> {
        Ok(NdjsonSource::of(list_files(path)?, resume))
    }

    /// Of these files.
    pub fn of(files: Vec<PathBuf>, resume: &Offsets) -> Self {
        NdjsonSource { files: Files::new(files, resume), input: None }
    }

    /// The files in the order of their partitions' numbers.
    pub fn files(&self) -> &[PathBuf] {
        &self.files.paths
    }
}

impl Source for NdjsonSource {
    fn positions(&self) -> Offsets {
        self.files.positions()
    }

    fn poll(&mut self, limits: PollLimits, visit: &mut dyn FnMut(Record<'_>)) -> Result<Polled> {
        let (mut records, mut bytes) = (0, 0);
        while records < limits.records_max && bytes < limits.bytes_max {
            let Some(path) = self.files.path() else { break };
            let input = match &mut self.input {
                Some(input) => input,
                None => {
                    let mut input = Input::open(path)?;
                    let skip = *self.files.position();
                    for number in 0..skip {
                        let Some(line) = next_line(&mut input, number)? else { break };
                        input.consume(line.consumed);
                    }
                    self.input.insert(input)
                }
            };
            let partition = self.files.partition();
            let offset = *self.files.position();
            let Some(line) = next_line(input, offset)? else {
                self.input = None;
                self.files.close();
                continue;
            };
            let value = Some(&input.unread()[..line.bytes]);
            visit(Record { partition, offset, timestamp_ms: None, key: None, value, headers: None });
            input.consume(line.consumed);
            bytes += line.bytes;
            records += 1;
            *self.files.position() += 1;
        }
        let positions = self.positions();
        Ok(Polled {
            answered: positions.keys().copied().collect(),
            ends: positions.keys().map(|file| (*file, self.files.end(*file as usize))).collect(),
            positions,
            finished: self.files.path().is_none(),
            trouble: None,
        })
    }
}

/// A line at the beginning of what is unread.
struct Line {
    /// Without its end.
    bytes: usize,
    /// With it.
    consumed: usize,
}

/// Finds the next line that is not blank; `None` at the end of the file.
fn next_line(input: &mut Input, number: Offset) -> Result<Option<Line>> {
    let mut scanned = 0;
    loop {
        let unread = input.unread();
        let (line, consumed) = match memchr::memchr(b'\n', &unread[scanned..]) {
            Some(found) => (&unread[..scanned + found], scanned + found + 1),
            None if input.at_end_of_file() => (unread, unread.len()),
            None => {
                scanned = unread.len();
                input.check_record(scanned, number)?;
                input.fill()?;
                continue;
            }
        };
        if !line.trim_ascii().is_empty() {
            input.check_record(line.len(), number)?;
            return Ok(Some(Line { bytes: line.strip_suffix(b"\r").unwrap_or(line).len(), consumed }));
        }
        if consumed == 0 {
            return Ok(None);
        }
        input.consume(consumed);
        scanned = 0;
    }
}
