//! Batches in their order, in memory or in a file: results of an epoch, tails, segments of state. Of these there are also some that
//! only a checkpoint holds.

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::budget::{Account, Reservation};
use super::compact::tight;
use super::spill::{BatchReader, SpillFile, SpillWriter};
use crate::error::{Error, Result};

/// Rows being collected: in memory while the budget has room, from then on in a file.
#[derive(Debug)]
pub struct Spool {
    account: Arc<Account>,
    /// What they are called in a refusal.
    what: &'static str,
    memory: Vec<RecordBatch>,
    held: Reservation,
    file: Option<Box<dyn SpillWriter>>,
    rows: usize,
}

impl Spool {
    /// For results of the account's query.
    pub fn new(account: &Arc<Account>) -> Self {
        Spool::of("its results", account)
    }

    pub(super) fn of(what: &'static str, account: &Arc<Account>) -> Self {
        let held = Reservation::empty(account);
        Spool { account: Arc::clone(account), what, memory: Vec::new(), held, file: None, rows: 0 }
    }

    /// Adds a batch behind the others; one without rows is left out.
    ///
    /// # Errors
    /// Where there is room neither in memory nor on disk: `OverBudget`, by the name of the account.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 { Ok(()) } else { self.push_part(batch) }
    }

    /// As [`Spool::push`], also of a batch without rows: its place counts.
    pub(super) fn push_part(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        if let Some(file) = &mut self.file {
            return file.write(&batch);
        }
        let (batch, bytes) = tight(batch)?;
        if self.held.hold(bytes) {
            self.memory.push(batch);
            return Ok(());
        }
        let Some(disk) = self.account.disk() else {
            self.held.reserve(bytes, self.what)?;
            self.memory.push(batch);
            return Ok(());
        };
        let mut file = disk.create(&batch.schema())?;
        self.memory.iter().try_for_each(|batch| file.write(batch))?;
        file.write(&batch)?;
        self.memory.clear();
        self.held.release();
        self.file = Some(file);
        Ok(())
    }

    pub fn finish(self) -> Result<Rows> {
        match self.file {
            Some(file) => Ok(Rows::in_file(self.rows, file.finish()?)),
            None => Ok(Rows::in_memory(self.memory, Some(self.held))),
        }
    }
}

/// Rows that were collected. Cheap to clone.
#[derive(Clone)]
pub struct Rows {
    rows: usize,
    content: Arc<Content>,
}

enum Content {
    /// `held`: for the batches; `None`: nobody answers for them.
    Memory {
        batches: Vec<RecordBatch>,
        held: Option<Reservation>,
    },
    File(Arc<dyn SpillFile>),
    /// Not on this machine: they are fetched before anything reads them.
    Remote,
}

impl Default for Rows {
    fn default() -> Self {
        Vec::new().into()
    }
}

/// Rows that nobody answers for.
impl From<Vec<RecordBatch>> for Rows {
    fn from(batches: Vec<RecordBatch>) -> Self {
        Rows::in_memory(batches, None)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.content.as_ref() {
            Content::Memory { .. } => "in memory",
            Content::File(_) => "on disk",
            Content::Remote => "remote",
        };
        write!(f, "Rows({} {place})", self.rows)
    }
}

impl Rows {
    /// The rows of some batches.
    ///
    /// # Errors
    /// As [`Spool::push`].
    pub fn of(batches: Vec<RecordBatch>, account: &Arc<Account>) -> Result<Self> {
        let mut spool = Spool::new(account);
        batches.into_iter().try_for_each(|batch| spool.push(batch))?;
        spool.finish()
    }

    /// Rows in memory, for which `held` is taken.
    pub fn held(batches: Vec<RecordBatch>, held: Reservation) -> Self {
        Rows::in_memory(batches, Some(held))
    }

    fn in_memory(batches: Vec<RecordBatch>, held: Option<Reservation>) -> Self {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        Rows { rows, content: Arc::new(Content::Memory { batches, held }) }
    }

    pub(super) fn in_file(rows: usize, file: Arc<dyn SpillFile>) -> Self {
        Rows { rows, content: Arc::new(Content::File(file)) }
    }

    pub(super) fn remote(rows: usize) -> Self {
        Rows { rows, content: Arc::new(Content::Remote) }
    }

    pub fn num_rows(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of memory that are taken for them.
    pub fn bytes(&self) -> usize {
        match self.content.as_ref() {
            Content::Memory { held, .. } => held.as_ref().map_or(0, Reservation::bytes),
            Content::File(_) | Content::Remote => 0,
        }
    }

    /// Bytes that they take on local disk.
    pub fn disk_bytes(&self) -> u64 {
        self.file().map_or(0, |file| file.bytes())
    }

    pub fn on_disk(&self) -> bool {
        self.file().is_some()
    }

    pub fn is_remote(&self) -> bool {
        matches!(self.content.as_ref(), Content::Remote)
    }

    /// The batches, where they are in memory.
    pub fn batches_in_memory(&self) -> Option<&[RecordBatch]> {
        match self.content.as_ref() {
            Content::Memory { batches, .. } => Some(batches),
            Content::File(_) | Content::Remote => None,
        }
    }

    pub(super) fn file(&self) -> Option<&Arc<dyn SpillFile>> {
        match self.content.as_ref() {
            Content::Memory { .. } | Content::Remote => None,
            Content::File(file) => Some(file),
        }
    }

    /// The batches that have rows, in their order, one at a time.
    pub fn batches(&self) -> Batches {
        Batches { rows: self.clone(), next: 0, reader: None }
    }

    fn len(&self) -> usize {
        match self.content.as_ref() {
            Content::Memory { batches, .. } => batches.len(),
            Content::File(file) => file.batches(),
            // So that reading them is an error.
            Content::Remote => 1,
        }
    }
}

/// See [`Rows::batches`].
pub struct Batches {
    rows: Rows,
    next: usize,
    reader: Option<Box<dyn BatchReader>>,
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batches({} of {:?})", self.next, self.rows)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.rows.len() {
            let at = self.next;
            self.next += 1;
            let batch = match self.rows.content.as_ref() {
                Content::Memory { batches, .. } => Ok(batches[at].clone()),
                Content::File(file) => read(file, &mut self.reader, at),
                Content::Remote => Err(not_here()),
            };
            match batch {
                Ok(batch) if batch.num_rows() == 0 => {}
                other => return Some(other),
            }
        }
        None
    }
}

pub(super) fn not_here() -> Error {
    Error::bug("rows of state are read that only a checkpoint holds")
}

/// A batch of a file, by a reader that is opened when the first one is read.
pub(super) fn read(
    file: &Arc<dyn SpillFile>,
    reader: &mut Option<Box<dyn BatchReader>>,
    at: usize,
) -> Result<RecordBatch> {
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(file.open()?),
    };
    reader.read(at)
}
