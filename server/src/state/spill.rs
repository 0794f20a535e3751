//! What a place on local disk must be able to do for rows that have no room in memory. The place itself is `store::spill`.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::Result;

/// A place on local disk, bounded in bytes.
pub trait SpillSpace: fmt::Debug + Send + Sync {
    /// How much room there is in all.
    fn bytes_max(&self) -> u64;

    /// A new file for batches of one schema.
    ///
    /// # Errors
    /// `OverBudget` where the place is full, `Unavailable` where the disk fails; as for everything here.
    fn create(&self, schema: &SchemaRef) -> Result<Box<dyn SpillWriter>>;
}

/// A file being written. Dropped before it is finished, it is gone.
pub trait SpillWriter: fmt::Debug + Send {
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    fn finish(self: Box<Self>) -> Result<Arc<dyn SpillFile>>;
}

/// A finished file; dropping the last handle removes it.
pub trait SpillFile: fmt::Debug + Send + Sync {
    /// Batches in it, as many as were written.
    fn batches(&self) -> usize;

    fn bytes(&self) -> u64;

    fn open(&self) -> Result<Box<dyn BatchReader>>;
}

/// Reads the batches of one file, in any order.
pub trait BatchReader: Send {
    fn read(&mut self, batch: usize) -> Result<RecordBatch>;
}
