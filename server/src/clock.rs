//! Processing time as a value: the only module that reads the wall clock. And the one unit of all times and lengths of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::datatypes::TimeUnit;

/// Microseconds since the Unix epoch, UTC, as in Arrow `Timestamp(Microsecond)`.
pub type Micros = i64;

/// A day of UTC.
pub const DAY_MICROS: Micros = 86_400_000_000;

/// A length of time; one that is longer than all times is as long as they can be.
pub fn micros_of(length: Duration) -> Micros {
    Micros::try_from(length.as_micros()).unwrap_or(Micros::MAX)
}

/// The inverse of [`micros_of`]; nothing where it would be negative.
pub fn duration_of(length: Micros) -> Duration {
    Duration::from_micros(u64::try_from(length).unwrap_or(0))
}

/// When a tick of a time column is: rounded down where its unit is finer, and at an end of all times where it lies beyond them.
pub fn micros_at(tick: i64, unit: TimeUnit) -> Micros {
    match unit {
        TimeUnit::Second => tick.saturating_mul(1_000_000),
        TimeUnit::Millisecond => tick.saturating_mul(1_000),
        TimeUnit::Microsecond => tick,
        TimeUnit::Nanosecond => tick.div_euclid(1_000),
    }
}

/// The last tick of a time column that [`micros_at`] does not take beyond a time.
pub fn last_tick_at(time: Micros, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => time.div_euclid(1_000_000),
        TimeUnit::Millisecond => time.div_euclid(1_000),
        TimeUnit::Microsecond => time,
        TimeUnit::Nanosecond => time.saturating_mul(1_000).saturating_add(999),
    }
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
