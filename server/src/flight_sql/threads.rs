//! The threads of ad-hoc statements: counted and replaced where one does not come back from a statement that was stopped.
//!
//! A thread cannot be stopped from outside. What is planned and run here looks at a flag often enough (see `watched`); what does not,
//! as one long call of a library, keeps its thread. Then new statements get threads of their own, up to a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tracing::warn;

use super::watched::Stopper;
use crate::error::{Error, Result};

/// Bytes of stack of an ad-hoc thread; reserved, not used, until a deep statement needs it.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Threads for what blocks, as reads of local files, and how long one stays without work: see `cli`.
const BLOCKING_THREADS_MAX: usize = 32;
const BLOCKING_THREAD_IDLE: Duration = Duration::from_millis(100);
/// How long a stopped statement may keep its thread before that counts as lost.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);
/// Statements that may keep a thread after they were stopped; while there are as many, no others begin.
const STUCK_MAX: usize = 8;

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Threads {
    count: usize,
    current: Mutex<Arc<Workers>>,
    stuck: AtomicUsize,
    leaves_within: Duration,
}

impl Threads {
    /// # Errors
    /// `Unavailable` if no threads can be had.
    pub(super) fn try_new(count: usize) -> Result<Arc<Self>> {
        Threads::leaving_within(count, LEAVES_WITHIN)
    }

    fn leaving_within(count: usize, leaves_within: Duration) -> Result<Arc<Self>> {
        let current = Mutex::new(Arc::new(Workers::try_new(count)?));
        Ok(Arc::new(Threads { count, current, stuck: AtomicUsize::new(0), leaves_within }))
    }

    /// Where a statement that begins now is to work.
    ///
    /// # Errors
    /// `Unavailable` while too many threads do not come back.
    pub(super) fn workers(&self) -> Result<Arc<Workers>> {
        match self.stuck() {
            stuck if stuck >= STUCK_MAX => Err(Error::unavailable(format!(
                "{stuck} statements that were stopped still keep their threads, and no others can begin"
            ))
            .hint("try again later; where that does not help, start the server again")),
            _ => Ok(Arc::clone(&self.current.lock())),
        }
    }

    /// Stopped statements that keep a thread.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Waits until a stopped statement has let go of its thread, and gives its successors others where it does not.
    pub(super) async fn see_off(&self, workers: Arc<Workers>, mut stopper: Stopper) {
        stopper.stop();
        if timeout(self.leaves_within, stopper.gone()).await.is_ok() {
            return;
        }
        let _stuck = Stuck::enter(&self.stuck);
        warn!(stuck = self.stuck(), "a stopped statement keeps its thread; others get threads of their own");
        self.replace(&workers);
        stopper.gone().await;
    }

    /// Those that run on the threads of before end there, on those that are left of them.
    fn replace(&self, workers: &Arc<Workers>) {
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current, workers) {
            return;
        }
        match Workers::try_new(self.count) {
            Ok(fresh) => *current = Arc::new(fresh),
            Err(error) => warn!("no threads for ad-hoc statements: {}", error.report()),
        }
    }
}

/// Counts a lost thread for as long as it is, also when the server stops.
struct Stuck<'a>(&'a AtomicUsize);

impl<'a> Stuck<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Stuck(count)
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Threads that work together. They end when nothing holds them any more.
#[derive(Debug)]
pub(super) struct Workers {
    handle: Handle,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

impl Workers {
    fn try_new(count: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_stack_size(STACK_BYTES)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_keep_alive(BLOCKING_THREAD_IDLE)
            .thread_name("ad-hoc")
            .enable_all()
            .build()?;
        Ok(Workers { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not block: the last owner may be an async task.
            runtime.shutdown_background();
        }
    }
}

/// Sees work off that nobody waits for any more. Dropped before [`Attended::done`], it ends the work.
#[derive(Debug)]
pub(super) struct Attended {
    threads: Arc<Threads>,
    task: AbortHandle,
    /// `None` once it is done.
    rest: Option<(Arc<Workers>, Stopper)>,
}

impl Attended {
    pub(super) fn new(threads: &Arc<Threads>, workers: Arc<Workers>, task: AbortHandle, stopper: Stopper) -> Self {
        Attended { threads: Arc::clone(threads), task, rest: Some((workers, stopper)) }
    }

    /// It has ended by itself.
    pub(super) fn done(mut self) {
        self.rest = None;
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let Some((workers, stopper)) = self.rest.take() else { return };
        self.task.abort();
        stopper.stop();
        // Where the server stops there is nobody to wait, nor anything to wait for.
        if let Ok(handle) = Handle::try_current() {
            let threads = Arc::clone(&self.threads);
            handle.spawn(async move { threads.see_off(workers, stopper).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::watched::watch;
    use super::*;

    #[tokio::test]
    async fn a_thread_that_does_not_come_back_is_counted_and_replaced() {
        let threads = Threads::leaving_within(1, Duration::from_millis(20)).expect("threads");
        let (release, released) = mpsc::channel::<()>();
        let (watch, stopper) = watch();
        let workers = threads.workers().expect("workers");
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let task = workers.spawn(async move {
            let _watch = watch;
            let _ = begun.send(());
            let _ = released.recv();
        });
        has_begun.await.expect("it works");
        drop(Attended::new(&threads, workers, task.abort_handle(), stopper));
        // The only thread is taken: this is answered when there is another.
        while threads.stuck() == 0 {
            tokio::task::yield_now().await;
        }
        let fresh = loop {
            let fresh = threads.workers().expect("workers");
            if let Ok(answer) = timeout(Duration::from_millis(20), fresh.spawn(async { 1 })).await {
                break answer.expect("an answer");
            }
        };
        assert_eq!(fresh, 1);
        release.send(()).expect("it waits");
        while threads.stuck() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn with_too_many_lost_threads_no_statement_begins() {
        let threads = Threads::try_new(1).expect("threads");
        let stuck: Vec<Stuck<'_>> = (0..STUCK_MAX).map(|_| Stuck::enter(&threads.stuck)).collect();
        assert!(threads.workers().expect_err("refused").report().contains("keep their threads"));
        drop(stuck);
        assert!(threads.workers().is_ok());
    }
}
