//! Processing time as a value: the only module that reads the wall clock. And the one unit of all times and lengths of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC, as in Arrow `Timestamp(Microsecond)`.
pub type Micros = i64;

/// A length of time; one that is longer than all times is as long as they can be.
pub fn micros_of(length: Duration) -> Micros {
    Micros::try_from(length.as_micros()).unwrap_or(Micros::MAX)
}

/// Where processing time comes from. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Clock {
    System,
    /// Set by tests: time stands still until [`Clock::set`] moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(now: Micros) -> Self {
        Clock::Manual(Arc::new(AtomicI64::new(now)))
    }

    pub fn now(&self) -> Micros {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
            Clock::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros_of),
            Clock::Manual(now) => now.load(Ordering::Acquire),
        }
    }

    /// Moves a manual clock; a system clock cannot be moved and stays as it is.
    pub fn set(&self, now: Micros) {
        if let Clock::Manual(cell) = self {
            cell.store(now, Ordering::Release);
        }
    }
}
