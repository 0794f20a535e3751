//! Bytes of an object in the making: in memory while they are few, from then on in a file.

use std::io::{self, Write};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::spill::{SpillDirectory, SpilledBytes};
use crate::error::Result;

/// Bytes that are kept in memory. An object of more is uploaded in parts of this size.
pub(super) const PART_BYTES: usize = 8 << 20;

/// See the module's first line.
#[derive(Debug, Default)]
pub struct ByteSpool {
    memory: Vec<u8>,
    file: Option<SpilledBytes>,
    /// `None`: everything stays in memory.
    disk: Option<SpillDirectory>,
}

/// What a [`ByteSpool`] has collected.
#[derive(Debug)]
pub enum Content {
    Memory(Bytes),
    File(SpilledBytes),
}

impl Content {
    pub fn len(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(file) => file.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of all its bytes, lower-case hexadecimal.
    ///
    /// # Errors
    /// Those of reading the file back.
    pub async fn sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        match self {
            Content::Memory(bytes) => hash.update(bytes),
            Content::File(file) => {
                let mut at = 0;
                while at < file.len() {
                    let len = PART_BYTES.min(usize::try_from(file.len() - at).unwrap_or(PART_BYTES));
                    hash.update(&file.read(at, len).await?);
                    at += len as u64;
                }
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl ByteSpool {
    pub fn new(disk: Option<SpillDirectory>) -> Self {
        ByteSpool { disk, ..ByteSpool::default() }
    }

    pub fn len(&self) -> u64 {
        self.file.as_ref().map_or(self.memory.len() as u64, SpilledBytes::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what lies beyond the first `len` bytes.
    pub fn truncate(&mut self, len: u64) -> Result<()> {
        match &mut self.file {
            Some(file) => Ok(file.truncate(len)?),
            None => {
                self.memory.truncate(usize::try_from(len).unwrap_or(usize::MAX));
                Ok(())
            }
        }
    }

    pub fn finish(self) -> Content {
        match self.file {
            Some(file) => Content::File(file),
            None => Content::Memory(self.memory.into()),
        }
    }
}

impl Write for ByteSpool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            return file.write(bytes);
        }
        match &self.disk {
            Some(disk) if self.memory.len() + bytes.len() > PART_BYTES => {
                let mut file = disk.bytes().map_err(io::Error::other)?;
                file.write_all(&self.memory)?;
                self.memory = Vec::new();
                file.write_all(bytes)?;
                self.file = Some(file);
            }
            _ => self.memory.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
