//! The threads that write to local disks: few, and the store's own.
//!
//! Where a disk stands still for a moment, every write that comes meanwhile would else take a thread of the server, with a heap of its own
//! that is not given back for long; and what else needs such threads would wait behind the disk.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;

/// Writes at once, in the whole process: enough to keep a disk busy. More wait for their turn.
pub(super) const WRITERS: usize = 8;

/// Runs a write on one of the threads.
///
/// # Errors
/// Where it has panicked.
pub(super) async fn on_writer<T: Send + 'static>(write: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    static THREADS: OnceLock<Runtime> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        // Nothing runs on it but what blocks: it has neither timers nor sockets, which could fail.
        let threads = Builder::new_current_thread().max_blocking_threads(WRITERS).thread_name("store-writer").build();
        threads.expect("a runtime without drivers")
    });
    threads.spawn_blocking(write).await
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
        let writes = (0..1_000).map(|_| {
            let others = Arc::clone(&others);
            on_writer(move || {
                others.wait();
                thread::current().id()
            })
        });
        let threads: HashSet<_> = join_all(writes).await.into_iter().map(|thread| thread.expect("it ran")).collect();
        assert_eq!(threads.len(), WRITERS);
    }
}
