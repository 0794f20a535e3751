//! Processing time as a value: the only module that reads the wall clock. And the one unit of all times and lengths of time.
//!
//! There are two. [`Clock::now`] is what the wall clock says: for people, and for what is compared with event times. Somebody may set it,
//! forwards or back, at any moment; so how long something lasts is never the difference of two of its readings but of two of
//! [`Clock::steady`]. What another process has stored is a wall clock's reading all the same: see [`ages`].

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::datatypes::TimeUnit;
use chrono::{DateTime, SecondsFormat};

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

/// As people read it, to the second; a time that no calendar has as its number.
pub fn shown(at: Micros) -> String {
    let time = DateTime::from_timestamp_micros(at);
    time.map_or_else(|| at.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
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

/// How long ago each of some stored times was, at `now`; they stand in the order in which they were written.
///
/// None was written after those behind it, nor after now, whatever the clock said then: one that lies ahead counts as the earliest of
/// these.
pub fn ages<'a>(stored: impl DoubleEndedIterator<Item = &'a Micros>, now: Micros) -> Vec<Duration> {
    let mut latest = now;
    let mut ages: Vec<Duration> = stored
        .rev()
        .map(|at| {
            latest = latest.min(*at);
            duration_of(now.saturating_sub(latest))
        })
        .collect();
    ages.reverse();
    ages
}

/// Where processing time comes from. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Clock {
    System,
    /// Set by tests: time stands still until [`Clock::set`] moves it.
    Manual(Arc<ManualTime>),
}

/// The time of [`Clock::Manual`].
#[derive(Debug)]
pub struct ManualTime {
    wall: AtomicI64,
    steady: AtomicI64,
}

/// When this process first asked for steady time, by either clock.
static STEADY: LazyLock<(Instant, Micros)> = LazyLock::new(|| (Instant::now(), wall_clock()));

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_clock() -> Micros {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros_of)
}

impl Clock {
    pub fn manual(now: Micros) -> Self {
        Clock::Manual(Arc::new(ManualTime { wall: AtomicI64::new(now), steady: AtomicI64::new(now) }))
    }

    pub fn now(&self) -> Micros {
        match self {
            Clock::System => wall_clock(),
            Clock::Manual(time) => time.wall.load(Ordering::Acquire),
        }
    }

    /// Time that never jumps and never goes back, whatever is done to the wall clock: to be compared with other readings of this process
    /// alone. It begins near the wall clock's time, and may be any distance from it later.
    pub fn steady(&self) -> Micros {
        match self {
            Clock::System => STEADY.1.saturating_add(micros_of(STEADY.0.elapsed())),
            Clock::Manual(time) => time.steady.load(Ordering::Acquire),
        }
    }

    /// Lets time pass until a manual clock says `now`; where that lies behind, the clock is set back. A system clock cannot be moved and
    /// stays as it is.
    pub fn set(&self, now: Micros) {
        if let Clock::Manual(time) = self {
            let before = time.wall.swap(now, Ordering::AcqRel);
            time.steady.fetch_add(now.saturating_sub(before).max(0), Ordering::AcqRel);
        }
    }

    /// Sets a manual clock, as somebody sets a wall clock: no time passes.
    pub fn set_wall(&self, now: Micros) {
        if let Clock::Manual(time) = self {
            time.wall.store(now, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn steady_time_passes_with_the_clock_and_does_not_jump_with_it() {
        let clock = Clock::manual(100 * SECOND);
        clock.set(107 * SECOND);
        assert_eq!((clock.now(), clock.steady()), (107 * SECOND, 107 * SECOND));
        for wall in [3 * DAY_MICROS, 0] {
            clock.set_wall(wall);
            assert_eq!((clock.now(), clock.steady()), (wall, 107 * SECOND));
        }
        clock.set(5 * SECOND);
        assert_eq!(clock.steady(), 112 * SECOND);
        let (before, after) = (Clock::System.steady(), Clock::System.steady());
        assert!(before <= after && before > 0);
    }

    #[test]
    fn a_stored_time_that_lies_ahead_is_as_old_as_those_behind_it_prove() {
        let now = 1_000 * SECOND;
        let age = |stored: &[Micros]| -> Vec<u64> { ages(stored.iter(), now).iter().map(Duration::as_secs).collect() };
        assert_eq!(age(&[900 * SECOND, 950 * SECOND, 990 * SECOND]), [100, 50, 10]);
        // The clock was ahead, then right again.
        assert_eq!(age(&[900 * SECOND, 3 * DAY_MICROS, 990 * SECOND]), [100, 10, 10]);
        // It was, and nothing has come since: now.
        assert_eq!(age(&[900 * SECOND, 3 * DAY_MICROS]), [100, 0]);
        // It was behind, then right.
        assert_eq!(age(&[-DAY_MICROS, 990 * SECOND]), [(DAY_MICROS / SECOND) as u64 + 1_000, 10]);
        assert_eq!(age(&[]), Vec::<u64>::new());
    }
}
