//! How many results of all queries may wait for their public files, in memory and on local disk, and which queries then stand still.
//!
//! They may take a quarter of the budget, and three quarters more where local disk has twice that room: most of them are there.
//! A query that takes less than half of its equal share goes on, since it is others that fill it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::budget::{Account, Budget};

/// The share of the budget that they may take, and that of local disk, as fractions.
const OF_MEMORY: u64 = 4;
const OF_DISK: u64 = 2;

/// What all queries of a budget together have waiting.
#[derive(Debug, Default)]
pub(super) struct Tails {
    bytes: AtomicU64,
    queries: AtomicU64,
}

/// What one query has waiting; given back when dropped.
#[derive(Debug)]
pub struct TailBytes {
    budget: Arc<Budget>,
    bytes: u64,
}

impl TailBytes {
    /// Nothing yet, of the query that an account is of.
    pub fn none(account: &Account) -> Self {
        let budget = Arc::clone(account.budget());
        budget.tails().queries.fetch_add(1, Ordering::Relaxed);
        TailBytes { budget, bytes: 0 }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Says how many there are by now.
    pub fn set(&mut self, bytes: u64) {
        let tails = self.budget.tails();
        // In one step: another query that looks between two would stand still for nothing.
        match bytes.checked_sub(self.bytes) {
            Some(more) => tails.bytes.fetch_add(more, Ordering::Relaxed),
            None => tails.bytes.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }

    /// Of all queries together.
    pub fn all(&self) -> u64 {
        self.budget.tails().bytes.load(Ordering::Relaxed)
    }

    /// How many of all queries together may be waiting.
    pub fn limit(&self) -> u64 {
        let memory = self.budget.limit() as u64;
        let of_memory = memory / OF_MEMORY;
        of_memory + (self.budget.disk_bytes_max() / OF_DISK).min(memory - of_memory)
    }

    /// Whether the query has to stand still. One that does goes on when a quarter of the room is free.
    pub fn is_full(&self, was_full: bool) -> bool {
        let limit = if was_full { self.limit() / 4 * 3 } else { self.limit() };
        self.all() > limit && self.bytes > self.half_share()
    }

    /// Whether so much of the room is taken that what waits should go, however young it is.
    pub fn is_pressing(&self) -> bool {
        self.all() > self.limit() / 2 && self.bytes > self.half_share() / 2
    }

    fn half_share(&self) -> u64 {
        self.limit() / 2 / self.budget.tails().queries.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for TailBytes {
    fn drop(&mut self) {
        self.set(0);
        self.budget.tails().queries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::SchemaRef;

    use super::*;
    use crate::error::{Error, Result};
    use crate::state::{SpillSpace, SpillWriter};

    #[test]
    fn the_query_that_fills_the_room_stands_still_and_a_small_one_beside_it_goes_on() {
        let budget = Budget::new(4_000, None);
        let (a, b) = (budget.account("a"), budget.account("b"));
        let (mut large, mut small) = (TailBytes::none(&a), TailBytes::none(&b));
        assert_eq!(large.limit(), 1_000);
        small.set(100);
        large.set(400);
        assert_eq!((large.is_pressing(), large.is_full(false)), (false, false));
        large.set(900);
        assert_eq!((large.all(), large.is_pressing(), large.is_full(false)), (1_000, true, false));
        large.set(901);
        assert_eq!((large.is_full(false), small.is_full(false), small.is_pressing()), (true, false, false));
        // It goes on when a quarter is free, and not at each byte.
        large.set(700);
        assert_eq!((large.is_full(true), large.is_full(false)), (true, false));
        large.set(650);
        assert!(!large.is_full(true));
        // Two of which each has its share.
        small.set(400);
        assert!(large.is_full(false) && small.is_full(false));
        drop(large);
        assert_eq!((small.all(), small.is_full(true)), (400, false));
        drop(small);
        assert_eq!(TailBytes::none(&a).all(), 0);
    }

    #[test]
    fn many_queries_together_stay_near_the_limit() {
        let budget = Budget::new(4_000, None);
        let account = budget.account("queries");
        let mut tails: Vec<TailBytes> = (0..50).map(|_| TailBytes::none(&account)).collect();
        // Each grows by little until it has to stand still.
        for _ in 0..1_000 {
            for tail in tails.iter_mut().filter(|tail| !tail.is_full(false)) {
                tail.set(tail.bytes() + 3);
            }
        }
        let all = tails[0].all();
        assert!((1_000..1_500 + 50 * 3).contains(&all), "{all}");
    }

    #[test]
    fn with_much_disk_as_much_may_wait_as_the_budget_has() {
        for (disk, limit) in [(0, 1_000), (800, 1_400), (6_000, 4_000), (u64::MAX, 4_000)] {
            let budget = Budget::new(4_000, Some(Arc::new(Room(disk))));
            assert_eq!(TailBytes::none(&budget.account("a")).limit(), limit, "{disk} bytes of disk");
        }
    }

    #[derive(Debug)]
    struct Room(u64);

    impl SpillSpace for Room {
        fn bytes_max(&self) -> u64 {
            self.0
        }

        fn create(&self, _: &SchemaRef) -> Result<Box<dyn SpillWriter>> {
            Err(Error::bug("nothing is put away here"))
        }
    }

    #[test]
    fn nothing_is_full_where_nothing_is_limited() {
        let mut tail = TailBytes::none(&Account::unlimited());
        tail.set(u64::MAX / 8);
        assert!(!tail.is_full(false) && !tail.is_full(true) && !tail.is_pressing());
    }
}
