//! What one statement holds of the memory that all ad-hoc statements share, and how that is taken back.
//!
//! A statement that is stopped gives its share back at once, though it may keep the memory for the two seconds that it takes to leave
//! its thread; from then on it is given nothing more.

use std::fmt;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

/// See the module's first lines.
pub(super) struct Share {
    pool: Arc<dyn MemoryPool>,
    /// In whose name the pool is asked to take all back.
    own: MemoryReservation,
    /// Bytes; `None` once they were given back.
    taken: Mutex<Option<usize>>,
}

impl Share {
    pub(super) fn new(pool: &Arc<dyn MemoryPool>) -> Arc<Self> {
        let own = MemoryConsumer::new("a statement").register(pool);
        Arc::new(Share { pool: Arc::clone(pool), own, taken: Mutex::new(Some(0)) })
    }

    pub(super) fn give_back(&self) {
        if let Some(bytes) = self.taken.lock().take() {
            self.pool.shrink(&self.own, bytes);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} bytes)", self.reserved())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a statement's memory, {} bytes", self.reserved())
    }
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if let Some(taken) = self.taken.lock().as_mut() {
            self.pool.grow(reservation, additional);
            *taken += additional;
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if let Some(taken) = self.taken.lock().as_mut() {
            // What was reserved is never less; a wrong count must not become a huge one.
            let shrink = shrink.min(*taken);
            self.pool.shrink(reservation, shrink);
            *taken -= shrink;
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        match self.taken.lock().as_mut() {
            Some(taken) => {
                self.pool.try_grow(reservation, additional)?;
                *taken += additional;
                Ok(())
            }
            None => Err(DataFusionError::ResourcesExhausted("the statement was stopped".to_owned())),
        }
    }

    fn reserved(&self) -> usize {
        self.taken.lock().unwrap_or(0)
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Account, AccountPool};

    #[test]
    fn what_a_stopped_statement_holds_is_the_next_ones() {
        let pool: Arc<dyn MemoryPool> = Arc::new(AccountPool::of_statements(Account::unlimited(), 100));
        let first = Share::new(&pool);
        let of_first: Arc<dyn MemoryPool> = Arc::clone(&first) as _;
        let sort = MemoryConsumer::new("sort").register(&of_first);
        sort.try_grow(80).expect("it is free");
        assert_eq!((first.reserved(), pool.reserved()), (80, 80));
        first.give_back();
        assert_eq!(pool.reserved(), 0);
        assert!(sort.try_grow(1).is_err(), "it gets nothing more");
        let of_second: Arc<dyn MemoryPool> = Share::new(&pool);
        let join = MemoryConsumer::new("join").register(&of_second);
        join.try_grow(100).expect("all of it");
        // The first leaves its thread at last, and takes nothing from the second.
        drop(sort);
        assert_eq!(pool.reserved(), 100);
        drop(join);
        assert_eq!(pool.reserved(), 0);
    }
}
