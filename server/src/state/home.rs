//! Where a segment of state is read back from that is not on this machine. No I/O here: `checkpoint::bundle` does it.

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;

use crate::error::Result;

/// Segments that are fetched side by side, and their bytes.
const SEGMENTS_AT_ONCE: usize = 8;
const BYTES_AT_ONCE: u64 = 4 << 20;

/// A segment as a checkpoint holds it.
pub trait SegmentHome: fmt::Debug + Send + Sync {
    fn rows(&self) -> usize;

    /// To be fetched: fewer than its rows take.
    fn bytes(&self) -> u64;

    /// All of its rows.
    ///
    /// # Errors
    /// `Unavailable` where the store does not answer, `Corrupt` where it holds something else.
    fn fetch(self: Arc<Self>) -> BoxFuture<'static, Result<Vec<RecordBatch>>>;
}

/// How many of the first segments, of so many bytes each, are fetched side by side: at least one. What memory has no room for is put
/// away before the next are fetched.
pub fn fetched_at_once(bytes: impl Iterator<Item = u64>) -> usize {
    let mut sum = 0_u64;
    let few = bytes.take(SEGMENTS_AT_ONCE).take_while(|bytes| {
        sum += *bytes;
        sum <= BYTES_AT_ONCE
    });
    few.count().max(1)
}

#[cfg(test)]
pub(crate) mod by_hand {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures::{FutureExt, future};

    use super::*;
    use crate::error::Error;
    use crate::state::Rows;

    /// A place where a test keeps segments.
    #[derive(Debug, Default)]
    pub(crate) struct Elsewhere {
        fetched: AtomicUsize,
        away: AtomicBool,
    }

    impl Elsewhere {
        pub(crate) fn home(self: &Arc<Self>, rows: &Rows) -> Arc<dyn SegmentHome> {
            let batches = rows.batches().collect::<Result<_>>().unwrap();
            Arc::new(Home { batches, place: Arc::clone(self) })
        }

        /// How often one of them has been fetched.
        pub(crate) fn fetched(&self) -> usize {
            self.fetched.load(Ordering::Relaxed)
        }

        /// From now on it answers, or it does not.
        pub(crate) fn answers(&self, answers: bool) {
            self.away.store(!answers, Ordering::Relaxed);
        }
    }

    #[derive(Debug)]
    struct Home {
        batches: Vec<RecordBatch>,
        place: Arc<Elsewhere>,
    }

    impl SegmentHome for Home {
        fn rows(&self) -> usize {
            self.batches.iter().map(RecordBatch::num_rows).sum()
        }

        fn bytes(&self) -> u64 {
            1
        }

        fn fetch(self: Arc<Self>) -> BoxFuture<'static, Result<Vec<RecordBatch>>> {
            if self.place.away.load(Ordering::Relaxed) {
                return future::ready(Err(Error::unavailable("the store does not answer"))).boxed();
            }
            self.place.fetched.fetch_add(1, Ordering::Relaxed);
            future::ready(Ok(self.batches.clone())).boxed()
        }
    }
}
