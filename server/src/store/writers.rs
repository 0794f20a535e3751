//! The threads that write to a local disk: few, and its own.
//!
//! Where a disk stands still for a moment, every write that comes meanwhile would else take a thread of the server, with a heap of its own
//! that is not given back for long; and what else needs such threads would wait behind the disk. So would the writes to other disks: a folder
//! of public files that hangs for good must not keep checkpoints from theirs.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinHandle};

/// Writes at once, to one store: enough to keep a disk busy. More wait for their turn.
pub(super) const WRITERS: usize = 8;

/// The threads of one store, begun when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Writers {
    threads: OnceLock<Runtime>,
}

impl Writers {
    /// Runs a write on one of the threads.
    ///
    /// # Errors
    /// Where it has panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        write: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.begin(write).await
    }

    /// The same without waiting for it.
    pub(super) fn begin<T: Send + 'static>(&self, write: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let threads = self.threads.get_or_init(|| {
            // Nothing runs on it but what blocks: it has neither timers nor sockets, which could fail.
            let threads =
                Builder::new_current_thread().max_blocking_threads(WRITERS).thread_name("store-writer").build();
            threads.expect("a runtime without drivers")
        });
        threads.spawn_blocking(write)
    }
}

impl Drop for Writers {
    /// Waits for nobody: it may be dropped by a task, and by one of its own threads.
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Barrier};
    use std::thread;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_thousand_writes_at_once_take_eight_threads() {
        // Each waits for seven others: all threads work at once.
        let others = Arc::new(Barrier::new(WRITERS));
        let writers = Writers::default();
        let writes = (0..1_000).map(|_| {
            let others = Arc::clone(&others);
            writers.run(move || {
                others.wait();
                thread::current().id()
            })
        });
        let threads: HashSet<_> = join_all(writes).await.into_iter().map(|thread| thread.expect("it ran")).collect();
        assert_eq!(threads.len(), WRITERS);
    }
}
