//! One limit for all that a server holds in memory on behalf of data, and who holds how much of it.
//!
//! There are two ways to ask. What can lie on local disk instead *holds* memory while less than three quarters of the limit
//! are taken, and goes to disk where that fails. What cannot, *reserves* it, up to the limit; where that fails the query that
//! asked is refused by name and the others go on. So the last quarter is always there for those that have no choice.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::spill::SpillSpace;
use super::tail::Tails;
use crate::error::{Error, Result};

/// The share of the limit up to which memory is given to what could be on disk, as a fraction.
const FOR_ALL: (usize, usize) = (3, 4);

/// Accounts that a refusal names, the largest first.
const NAMED: usize = 5;

/// See the module's first lines.
pub struct Budget {
    /// Bytes; `usize::MAX` where nothing is limited.
    limit: usize,
    used: AtomicUsize,
    disk: Option<Arc<dyn SpillSpace>>,
    accounts: Mutex<Vec<Weak<Account>>>,
    tails: Tails,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {} bytes)", self.used(), self.limit)
    }
}

impl Budget {
    /// `disk`: where what has no room goes; `None`: nothing can be put away, and the limit is an end.
    pub fn new(limit: usize, disk: Option<Arc<dyn SpillSpace>>) -> Arc<Self> {
        Arc::new(Budget { limit, used: AtomicUsize::new(0), disk, accounts: Mutex::default(), tails: Tails::default() })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes taken, by whomever.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The room on local disk; 0 where there is none.
    pub(super) fn disk_bytes_max(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.bytes_max())
    }

    pub(super) fn tails(&self) -> &Tails {
        &self.tails
    }

    /// A new holder of memory, named in refusals.
    pub fn account(self: &Arc<Self>, name: impl Into<String>) -> Arc<Account> {
        let account = Arc::new(Account { name: name.into(), used: AtomicUsize::new(0), budget: Arc::clone(self) });
        let mut accounts = self.accounts.lock();
        accounts.retain(|account| account.strong_count() > 0);
        accounts.push(Arc::downgrade(&account));
        account
    }

    /// Takes `bytes` where no more than `limit` are then taken.
    fn take(&self, bytes: usize, limit: usize) -> bool {
        let taken = |used: usize| used.checked_add(bytes).filter(|after| *after <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn largest(&self) -> String {
        let mut held: Vec<(usize, String)> = self
            .accounts
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .map(|account| (account.used(), account.name.clone()))
            .filter(|(used, _)| *used > 0)
            .collect();
        held.sort_by(|a, b| b.cmp(a));
        held.truncate(NAMED);
        let each = held.into_iter().map(|(used, name)| format!("{name} {used}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// What one query holds, or all ad-hoc statements together.
pub struct Account {
    name: String,
    used: AtomicUsize,
    budget: Arc<Budget>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({}, {} bytes)", self.name, self.used())
    }
}

impl Account {
    /// An account without a limit and without a disk, for work whose memory nobody shares.
    pub fn unlimited() -> Arc<Self> {
        Budget::new(usize::MAX, None).account("everything")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Whether more than half of the budget is taken: what only serves to be faster should go.
    pub fn is_short(&self) -> bool {
        self.budget.used() > self.budget.limit / 2
    }

    pub(super) fn disk(&self) -> Option<&Arc<dyn SpillSpace>> {
        self.budget.disk.as_ref()
    }

    /// Memory for what could be on disk; `None` where there is not enough left, which is no failure.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let mut held = Reservation::empty(self);
        held.hold(bytes).then_some(held)
    }

    /// Memory for what can only be in memory.
    ///
    /// # Errors
    /// `OverBudget`, naming `what` asked and who holds most.
    pub fn reserve(self: &Arc<Self>, bytes: usize, what: &str) -> Result<Reservation> {
        let mut reserved = Reservation::empty(self);
        reserved.reserve(bytes, what)?;
        Ok(reserved)
    }

    fn try_take(&self, bytes: usize, limit: usize) -> bool {
        let taken = self.budget.take(bytes, limit);
        if taken {
            self.used.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Counts bytes that are there already, whatever the limit says.
    pub(super) fn grow(&self, bytes: usize) {
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn shrink(&self, bytes: usize) {
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn try_hold(&self, bytes: usize) -> bool {
        let limit = self.budget.limit;
        self.try_take(bytes, limit.saturating_sub(limit / FOR_ALL.1 * (FOR_ALL.1 - FOR_ALL.0)))
    }

    pub(super) fn try_reserve(&self, bytes: usize, what: &str) -> Result<()> {
        if self.try_take(bytes, self.budget.limit) {
            return Ok(());
        }
        Err(Error::over_budget(format!("{} needs {bytes} bytes more for {what}", self.name))
            .detail(format!(
                "engine.state_bytes_max is {} bytes for everything together; {} are taken: {}",
                self.budget.limit,
                self.budget.used(),
                self.budget.largest()
            ))
            .hint("raise the limit, use shorter windows or fewer keys, or look for a watermark that stands still in touchline.watermarks"))
    }
}

/// Bytes of an account; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<Account>,
    bytes: usize,
}

impl Reservation {
    pub fn empty(account: &Arc<Account>) -> Self {
        Reservation { account: Arc::clone(account), bytes: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more, as [`Account::hold`] does; false where there is not enough left.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let held = self.account.try_hold(bytes);
        self.bytes += if held { bytes } else { 0 };
        held
    }

    /// Takes more, as [`Account::reserve`] does.
    ///
    /// # Errors
    /// `OverBudget`.
    pub fn reserve(&mut self, bytes: usize, what: &str) -> Result<()> {
        self.account.try_reserve(bytes, what)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Counts bytes that are there already: what one epoch takes in is bounded where it is taken.
    pub fn count(&mut self, bytes: usize) {
        self.account.grow(bytes);
        self.bytes += bytes;
    }

    pub fn release(&mut self) {
        self.account.shrink(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_could_be_on_disk_leaves_the_last_quarter_to_what_could_not() {
        let budget = Budget::new(100, None);
        let (a, b) = (budget.account("query a"), budget.account("query b"));
        let held = a.hold(75).unwrap();
        assert!(b.hold(1).is_none());
        let reserved = b.reserve(25, "a table").unwrap();
        let refused = b.reserve(1, "a table").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OverBudget);
        let report = refused.report();
        assert!(report.starts_with("query b needs 1 bytes more for a table"), "{report}");
        assert!(report.contains("100 are taken: query a 75, query b 25"), "{report}");
        drop(held);
        assert_eq!((a.used(), b.used(), budget.used()), (0, 25, 25));
        assert!(b.hold(50).is_some());
        drop(reserved);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_refused_request_takes_nothing() {
        let budget = Budget::new(100, None);
        let account = budget.account("query");
        let mut held = account.hold(70).unwrap();
        assert!(!held.hold(6) && held.reserve(31, "rows").is_err() && held.reserve(usize::MAX, "rows").is_err());
        assert_eq!((held.bytes(), account.used(), budget.used()), (70, 70, 70));
        held.count(1_000);
        assert_eq!(budget.used(), 1_070);
        held.release();
        assert_eq!((held.bytes(), account.used(), budget.used()), (0, 0, 0));
    }

    #[test]
    fn accounts_that_are_gone_are_named_no_more() {
        let budget = Budget::new(10, None);
        let gone = budget.account("gone");
        let held = gone.hold(1);
        drop((gone, held));
        let refused = budget.account("here").reserve(11, "rows").unwrap_err();
        assert!(!refused.report().contains("gone"));
        assert_eq!(budget.accounts.lock().len(), 1);
    }
}
