//! A file read in large pieces and cut into records where the caller says: no allocation per record.

use std::path::{Path, PathBuf};

use super::RECORD_BYTES_MAX;
use super::compressed::{TextFile, open_text};
use crate::error::{Error, Result};

const READ_BYTES: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Bytes `start..end` of `buffer` are read and not yet consumed.
#[derive(Debug)]
pub(super) struct Input {
    file: TextFile,
    path: PathBuf,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end_of_file: bool,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = open_text(path)?;
        let mut input =
            Input { file, path: path.to_owned(), buffer: vec![0; READ_BYTES], start: 0, end: 0, at_end_of_file: false };
        while input.unread().len() < BYTE_ORDER_MARK.len() && input.fill()? {}
        if input.unread().starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        Ok(input)
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    pub(super) fn at_end_of_file(&self) -> bool {
        self.at_end_of_file
    }

    /// Reads more behind what is unread. `false` at the end of the file.
    pub(super) fn fill(&mut self) -> Result<bool> {
        if self.at_end_of_file {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < READ_BYTES / 2 {
            self.buffer.resize(self.buffer.len() + READ_BYTES, 0);
        }
        let read = self.file.read_some(&mut self.buffer[self.end..])?;
        self.end += read;
        self.at_end_of_file = read == 0;
        Ok(read > 0)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// # Errors
    /// `Invalid` where a record of `bytes` passes the limit.
    pub(super) fn check_record(&self, bytes: usize, number: i64) -> Result<()> {
        if bytes <= RECORD_BYTES_MAX {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "record {number} of {} is longer than {RECORD_BYTES_MAX} bytes",
            self.path.display()
        ))
        .hint("check that the file has one record a line"))
    }
}
