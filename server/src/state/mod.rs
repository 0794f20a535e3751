//! What operators and outputs hold: immutable Arrow batches, in memory while the server's budget has room, else on local disk. Where
//! that has none either, state is left to the checkpoint that holds it as well.
//!
//! ```text
//! budget   one limit for everything that is held; an account for each query and one for ad-hoc work
//! spill    what a place on local disk must be able to do; no I/O here
//! home     the same of a checkpoint that holds a segment
//! rows     batches in their order, in memory first
//! segment  one immutable piece of operator state, divided by the hash of its key where it is in a file
//! parts    rows divided by the hash of their key
//! panes    segments by event time, merged in tiers
//! tail     how many results may wait for their public files
//! ```

mod budget;
mod compact;
mod home;
mod panes;
mod parts;
mod pool;
mod rows;
mod segment;
mod spill;
mod tail;

pub use budget::{Account, Budget, Reservation};
pub use compact::{compact, tight};
#[cfg(test)]
pub(crate) use home::by_hand;
pub use home::{SegmentHome, fetched_at_once};
pub use panes::{Merge, PaneState};
pub use parts::parts_for;
pub use pool::AccountPool;
pub use rows::{Rows, Spool};
pub use segment::{PartReader, Segment};
pub use spill::{BatchReader, SpillFile, SpillSpace, SpillWriter};
pub use tail::TailBytes;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

/// A batch that has its number of rows also where it has no columns: `count(*)` asks for none.
pub fn batch_of(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

/// Bytes of its rows alone: slices of one batch do not each count the whole of it.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| {
        let fixed = column.to_data().get_slice_memory_size().unwrap_or_default();
        // For these, the former leaves out the text itself.
        let text = match column.data_type() {
            DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
            _ => 0,
        };
        fixed + text
    };
    batch.columns().iter().map(of_column).sum()
}
