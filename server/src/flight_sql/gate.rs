//! Who may run now, who waits, and who is turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::statement::{Outcome, StatementError};
use crate::error::Error;

/// So many at once, so many waiting, and no more.
pub(super) struct Gate {
    places: usize,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    refused: AtomicUsize,
}

impl Gate {
    pub(super) fn new(places: usize, waiting_max: usize) -> Self {
        let places = places.min(Semaphore::MAX_PERMITS);
        let (waiting, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Gate { places, permits: Arc::new(Semaphore::new(places)), waiting, waiting_max, refused }
    }

    pub(super) fn taken(&self) -> usize {
        self.places - self.permits.available_permits()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Those that were turned away since the start.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// A place, once one is free.
    ///
    /// # Errors
    /// `OverBudget` where too many wait already, `TimedOut` past the deadline.
    pub(super) async fn admit(&self, deadline: Instant) -> Outcome<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::enter(&self.waiting);
        if waiting.before >= self.waiting_max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::over_budget(format!("{} statements run and {} wait", self.places, self.waiting_max))
                .hint("try again later, or raise concurrency or queue")
                .into());
        }
        self.admit_again(deadline).await
    }

    /// A place for one that had been let in before: it waits as the others do, and is not turned away.
    ///
    /// # Errors
    /// `TimedOut` past the deadline.
    pub(super) async fn admit_again(&self, deadline: Instant) -> Outcome<OwnedSemaphorePermit> {
        match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(StatementError::Cancelled),
            Err(_) => Err(StatementError::TimedOut),
        }
    }
}

/// Counts a waiting statement for as long as it waits, also if its client goes away.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        Waiting { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
