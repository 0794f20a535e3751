//! Batches as they come, kept in their order: in memory while the budget has room, from then on in a file.

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::budget::{Account, Reservation};
use super::compact::tight;
use super::spill::{BatchReader, SpillFile, SpillWriter};
use crate::error::Result;

/// Rows being collected.
#[derive(Debug)]
pub struct Spool {
    account: Arc<Account>,
    memory: Vec<RecordBatch>,
    held: Reservation,
    file: Option<Box<dyn SpillWriter>>,
    rows: usize,
}

impl Spool {
    pub fn new(account: &Arc<Account>) -> Self {
        let held = Reservation::empty(account);
        Spool { account: Arc::clone(account), memory: Vec::new(), held, file: None, rows: 0 }
    }

    /// Adds a batch behind the others; one without rows is left out.
    ///
    /// # Errors
    /// Where there is room neither in memory nor on disk: `OverBudget`, by the name of the account.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
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
            self.held.reserve(bytes, "its results")?;
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
        let content = match self.file {
            Some(file) => Content::File(file.finish()?),
            None => Content::Memory { batches: self.memory, _held: Some(self.held) },
        };
        Ok(Rows { rows: self.rows, content: Arc::new(content) })
    }
}

/// Rows that were collected. Cheap to clone.
#[derive(Clone)]
pub struct Rows {
    rows: usize,
    content: Arc<Content>,
}

enum Content {
    /// `None`: nobody answers for them.
    Memory {
        batches: Vec<RecordBatch>,
        _held: Option<Reservation>,
    },
    File(Arc<dyn SpillFile>),
}

impl Default for Rows {
    fn default() -> Self {
        Vec::new().into()
    }
}

/// Rows that nobody answers for.
impl From<Vec<RecordBatch>> for Rows {
    fn from(batches: Vec<RecordBatch>) -> Self {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        Rows { rows, content: Arc::new(Content::Memory { batches, _held: None }) }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.in_memory().is_some() { "in memory" } else { "on disk" };
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

    pub fn num_rows(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The batches, where they are in memory.
    pub fn in_memory(&self) -> Option<&[RecordBatch]> {
        match self.content.as_ref() {
            Content::Memory { batches, .. } => Some(batches),
            Content::File(_) => None,
        }
    }

    /// The batches in their order, one at a time.
    pub fn batches(&self) -> Batches {
        Batches { rows: self.clone(), next: 0, reader: None }
    }

    fn len(&self) -> usize {
        match self.content.as_ref() {
            Content::Memory { batches, .. } => batches.len(),
            Content::File(file) => file.batches(),
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
        let at = self.next;
        if at >= self.rows.len() {
            return None;
        }
        self.next += 1;
        match self.rows.content.as_ref() {
            Content::Memory { batches, .. } => batches.get(at).cloned().map(Ok),
            Content::File(file) => {
                if self.reader.is_none() {
                    match file.open() {
                        Ok(reader) => self.reader = Some(reader),
                        Err(error) => return Some(Err(error)),
                    }
                }
                self.reader.as_mut().map(|reader| reader.read(at))
            }
        }
    }
}
