//! An account as DataFusion's memory pool: what its operators reserve counts with everything else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};

use super::budget::Account;

/// See the module's first line.
pub struct AccountPool {
    account: Arc<Account>,
    /// Bytes that this pool gives out at most.
    limit: usize,
    reserved: AtomicUsize,
    /// Its work must leave the last quarter of the budget to others.
    yields: bool,
}

impl AccountPool {
    /// For the plans of a continuous query.
    pub fn of_query(account: Arc<Account>) -> Self {
        AccountPool { account, limit: usize::MAX, reserved: AtomicUsize::new(0), yields: false }
    }

    /// For ad-hoc statements: at most `limit` bytes, and never what streams cannot do without.
    pub fn of_statements(account: Arc<Account>, limit: usize) -> Self {
        AccountPool { account, limit, reserved: AtomicUsize::new(0), yields: true }
    }
}

impl fmt::Debug for AccountPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountPool({:?})", self.account)
    }
}

impl fmt::Display for AccountPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory of {}, {} bytes", self.account.name(), self.reserved())
    }
}

impl MemoryPool for AccountPool {
    fn name(&self) -> &str {
        self.account.name()
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.account.grow(additional);
        self.reserved.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.account.shrink(shrink);
        self.reserved.fetch_sub(shrink, Ordering::Relaxed);
    }

    /// Fails by `ResourcesExhausted`, on which DataFusion's operators begin to make do with less.
    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let what = reservation.consumer().name();
        let exhausted = |text: String| Err(DataFusionError::ResourcesExhausted(text));
        let within = |reserved: usize| reserved.checked_add(additional).filter(|after| *after <= self.limit);
        if self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            let (name, limit, reserved) = (self.account.name(), self.limit, self.reserved());
            return exhausted(format!(
                "{name} need {additional} bytes more for {what}; {reserved} of {limit} bytes are taken"
            ));
        }
        let given = match self.yields {
            true if self.account.try_hold(additional) => Ok(()),
            true => Err(format!(
                "{} need {additional} bytes more for {what}; {} of {} bytes are taken, and the last quarter is kept for streams",
                self.account.name(),
                self.account.budget().used(),
                self.account.budget().limit()
            )),
            false => self.account.try_reserve(additional, what).map_err(|error| error.report()),
        };
        given.or_else(|text| {
            self.reserved.fetch_sub(additional, Ordering::Relaxed);
            exhausted(text)
        })
    }

    fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit.min(self.account.budget().limit()))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::super::budget::Budget;
    use super::*;

    #[test]
    fn statements_are_refused_before_streams_are() {
        let budget = Budget::new(100, None);
        let statements: Arc<dyn MemoryPool> =
            Arc::new(AccountPool::of_statements(budget.account("ad-hoc statements"), 60));
        let query: Arc<dyn MemoryPool> = Arc::new(AccountPool::of_query(budget.account("query q")));
        let (sort, join) = (MemoryConsumer::new("sort"), MemoryConsumer::new("join"));
        let (sort, join) = (sort.register(&statements), join.register(&query));
        let refused = sort.try_grow(61).unwrap_err().to_string();
        assert!(refused.contains("ad-hoc statements need 61 bytes more for sort; 0 of 60"), "{refused}");
        join.try_grow(30).unwrap();
        let refused = sort.try_grow(46).unwrap_err().to_string();
        assert!(refused.contains("the last quarter is kept for streams"), "{refused}");
        sort.try_grow(45).unwrap();
        join.try_grow(25).unwrap();
        let refused = join.try_grow(1).unwrap_err();
        assert!(matches!(refused, DataFusionError::ResourcesExhausted(_)));
        assert!(refused.to_string().contains("query q needs 1 bytes more for join"), "{refused}");
        drop((sort, join));
        assert_eq!((budget.used(), statements.reserved(), query.reserved()), (0, 0, 0));
    }
}
