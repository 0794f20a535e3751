//! The threads that write to a local disk: few, and its own.
//!
//! Where a disk stands still for a moment, every write that comes meanwhile would else take a thread of the server, with a heap of its own
//! that is not given back for long; and what else needs such threads would wait behind the disk. So would the writes to other disks: a folder
//! of public files that hangs for good must not keep checkpoints from theirs.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle};

/// Writes at once, to one store: enough to keep a disk busy. More wait for their turn.
pub(super) const WRITERS: usize = 8;

/// How long a thread stays without work, so that a trickle of writes keeps few of them and their heaps.
const WRITER_IDLE: Duration = Duration::from_millis(100);

/// The threads of one store, begun when they are first needed.
#[derive(Debug)]
pub(super) struct Writers {
    threads: OnceLock<Runtime>,
    /// One for each thread. Whoever gives up before it has one takes its bytes along; in the queue of the threads they would stay.
    turns: Arc<Semaphore>,
}

impl Default for Writers {
    fn default() -> Self {
        Writers { threads: OnceLock::new(), turns: Arc::new(Semaphore::new(WRITERS)) }
    }
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
        // Never closed: there is always one to come.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let taking_turn = move || {
            let _turn = turn;
            write()
        };
        self.begin(taking_turn).await
    }

    /// The same without waiting for it, nor for a turn: for what carries little.
    pub(super) fn begin<T: Send + 'static>(&self, write: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let threads = self.threads.get_or_init(|| {
            // Nothing runs on it but what blocks: it has neither timers nor sockets, which could fail.
            let threads = Builder::new_current_thread()
                .max_blocking_threads(WRITERS)
                .thread_keep_alive(WRITER_IDLE)
                .thread_name("store-writer")
                .build();
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
    use std::sync::Barrier;
    use std::thread;

    use futures::FutureExt;
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

    /// Else a disk that hangs would hold the bytes of every attempt since then.
    #[tokio::test]
    async fn a_write_that_is_given_up_before_its_turn_leaves_nothing_behind() {
        let (writers, begun) = (Writers::default(), Arc::new(Barrier::new(WRITERS + 1)));
        let hanging = (0..WRITERS).map(|_| {
            let begun = Arc::clone(&begun);
            writers.run(move || {
                begun.wait();
            })
        });
        let mut hanging = Box::pin(join_all(hanging));
        assert!(hanging.as_mut().now_or_never().is_none());
        let bytes = Arc::new([0; 9]);
        let held = Arc::downgrade(&bytes);
        assert!(writers.run(move || drop(bytes)).now_or_never().is_none());
        assert!(held.upgrade().is_none());
        begun.wait();
        assert!(hanging.await.iter().all(Result::is_ok));
        writers.run(|| ()).await.expect("there are turns again");
    }
}
