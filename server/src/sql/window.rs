//! The arithmetic of windows: which windows a time falls into, in any unit, before and after 1970.
//!
//! Windows are half-open, `[start, end)`, and aligned to the Unix epoch: Akidau et al., "The Dataflow Model", VLDB 2015.
//! Pure. A window whose start or end cannot be written in 64 bits does not exist: its rows are treated as rows without a time.

use std::fmt;
use std::time::Duration;

use arrow::datatypes::TimeUnit;

use super::interval;
use crate::error::{Error, Result};

/// Panes of one window, hence windows of one row: 1 day sliding by 10 seconds fits.
pub const PANES_MAX: i64 = 10_000;

/// Shape of a window function. Lengths in microseconds, greater than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowKind {
    Tumble {
        size_us: i64,
    },
    /// `slide_us <= size_us`; the size need not be a multiple of the slide.
    Hop {
        size_us: i64,
        slide_us: i64,
    },
}

impl WindowKind {
    /// # Errors
    /// `Invalid` for a size of zero, or longer than 64 bits of microseconds.
    pub fn tumble(size: Duration) -> Result<Self> {
        Ok(WindowKind::Tumble { size_us: length("size", size)? })
    }

    /// # Errors
    /// `Invalid` for lengths of zero, a slide longer than the size, or more than [`PANES_MAX`] panes a window.
    pub fn hop(slide: Duration, size: Duration) -> Result<Self> {
        let (slide_us, size_us) = (length("slide", slide)?, length("size", size)?);
        if slide_us > size_us {
            return Err(Error::invalid("the slide is longer than the window: rows between windows would be lost")
                .hint("the slide comes first: HOP(t, ts, slide, size)"));
        }
        let kind = WindowKind::Hop { size_us, slide_us };
        let panes = size_us / kind.pane_us();
        if panes > PANES_MAX {
            return Err(Error::invalid(format!("the window has {panes} panes, at most {PANES_MAX} are possible"))
                .hint("use a longer slide, and one that divides the size"));
        }
        Ok(kind)
    }

    pub fn size_us(self) -> i64 {
        match self {
            WindowKind::Tumble { size_us } | WindowKind::Hop { size_us, .. } => size_us,
        }
    }

    /// From one window's start to the next one's.
    pub fn slide_us(self) -> i64 {
        match self {
            WindowKind::Tumble { size_us } => size_us,
            WindowKind::Hop { slide_us, .. } => slide_us,
        }
    }

    /// The longest span such that every window is a whole number of them.
    pub fn pane_us(self) -> i64 {
        gcd(self.size_us(), self.slide_us())
    }

    /// Windows that one row can be in.
    pub fn windows_of_a_row(self) -> i64 {
        (self.size_us() - 1) / self.slide_us() + 1
    }

    /// Lengths in the unit of a time column.
    ///
    /// # Errors
    /// `Invalid` where the unit is too coarse or too fine for them.
    pub fn in_unit(self, unit: TimeUnit) -> Result<WindowUnits> {
        let scale = |name: &str, micros: i64| -> Result<i64> {
            let (units, exact) = match unit {
                TimeUnit::Second => (Some(micros / 1_000_000), micros % 1_000_000 == 0),
                TimeUnit::Millisecond => (Some(micros / 1_000), micros % 1_000 == 0),
                TimeUnit::Microsecond => (Some(micros), true),
                TimeUnit::Nanosecond => (micros.checked_mul(1_000), true),
            };
            if !exact {
                return Err(Error::invalid(format!(
                    "the window's {name} is not a whole number of the time column's {}",
                    unit_name(unit)
                ))
                .hint("declare the column with a finer TIMESTAMP(3) or TIMESTAMP(6), or use a longer window"));
            }
            units.ok_or_else(|| Error::invalid(format!("the window's {name} is too long")))
        };
        Ok(WindowUnits { size: scale("size", self.size_us())?, slide: scale("slide", self.slide_us())? })
    }
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WindowKind::Tumble { size_us } => write!(f, "TUMBLE({})", interval::shown(*size_us)),
            WindowKind::Hop { size_us, slide_us } => {
                write!(f, "HOP({}, {})", interval::shown(*slide_us), interval::shown(*size_us))
            }
        }
    }
}

fn length(name: &str, duration: Duration) -> Result<i64> {
    match i64::try_from(duration.as_micros()) {
        Ok(0) => Err(Error::invalid(format!("the window's {name} must be longer than zero"))),
        Ok(micros) => Ok(micros),
        Err(_) => Err(Error::invalid(format!("the window's {name} is too long"))),
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The start of the span of length `step` that holds `time`; also before 1970. `step` > 0.
/// `None` where the start cannot be written.
pub fn floor(time: i64, step: i64) -> Option<i64> {
    time.checked_sub(time.rem_euclid(step))
}

/// The lengths of a [`WindowKind`] in one unit, the same for all arguments and results of its methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowUnits {
    pub size: i64,
    pub slide: i64,
}

impl WindowUnits {
    /// The starts of the windows that hold `time`, earliest first. Only windows whose start and end can be written.
    pub fn starts(self, time: i64) -> impl Iterator<Item = i64> {
        let last = i128::from(time) - i128::from(time.rem_euclid(self.slide));
        let (size, slide) = (i128::from(self.size), i128::from(self.slide));
        // A window holds `time` while start > time - size.
        let before = (last - (i128::from(time) - size) - 1) / slide;
        (0..=before).rev().filter_map(move |steps| {
            let start = last - steps * slide;
            i64::try_from(start + size).ok()?;
            i64::try_from(start).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_time_before_1970_falls_into_the_window_that_begins_before_it() {
        assert_eq!(floor(-1, 10), Some(-10));
        assert_eq!(floor(-10, 10), Some(-10));
        assert_eq!(floor(-11, 10), Some(-20));
        assert_eq!(floor(9, 10), Some(0));
        assert_eq!(floor(10, 10), Some(10));
        assert_eq!(floor(i64::MIN, 10), None);
        assert_eq!(floor(i64::MAX, 10), Some(i64::MAX - 7));
    }

    #[test]
    fn hop_windows_of_a_time_are_those_that_hold_it() {
        let windows = WindowUnits { size: 10, slide: 4 };
        assert_eq!(windows.starts(9).collect::<Vec<_>>(), [0, 4, 8]);
        assert_eq!(windows.starts(10).collect::<Vec<_>>(), [4, 8]);
        assert_eq!(windows.starts(-1).collect::<Vec<_>>(), [-8, -4]);
        assert_eq!(windows.starts(i64::MAX).count(), 0, "their ends cannot be written");
        assert_eq!(windows.starts(i64::MIN).collect::<Vec<_>>(), [i64::MIN], "earlier starts cannot be written");
    }

    #[test]
    fn panes_divide_size_and_slide() {
        let kind = WindowKind::hop(SECOND * 6, SECOND * 10).expect("a hop");
        assert_eq!(kind.pane_us(), 2_000_000);
        assert_eq!(WindowKind::tumble(SECOND).expect("a tumble").pane_us(), 1_000_000);
    }

    #[test]
    fn windows_that_cannot_work_are_refused() {
        let refused = |kind: Result<WindowKind>| kind.expect_err("refused").report();
        assert!(refused(WindowKind::tumble(Duration::ZERO)).contains("longer than zero"));
        assert!(refused(WindowKind::hop(Duration::ZERO, SECOND)).contains("slide must be longer than zero"));
        assert!(refused(WindowKind::hop(SECOND * 2, SECOND)).contains("hint: the slide comes first"));
        assert!(refused(WindowKind::hop(Duration::from_micros(1), SECOND)).contains("1000000 panes"));
        assert!(refused(WindowKind::tumble(Duration::MAX)).contains("too long"));
        let odd = WindowKind::tumble(Duration::from_millis(1500)).expect("a tumble");
        assert!(odd.in_unit(TimeUnit::Second).is_err());
        assert_eq!(odd.in_unit(TimeUnit::Nanosecond).expect("units").size, 1_500_000_000);
        assert!(WindowKind::Tumble { size_us: i64::MAX }.in_unit(TimeUnit::Nanosecond).is_err());
    }

    proptest! {
        #[test]
        fn starts_are_exactly_the_aligned_windows_around_a_time(
            time in -10_000i64..10_000, size in 1i64..200, slide in 1i64..200,
        ) {
            prop_assume!(slide <= size);
            let naive: Vec<i64> = (-11_000..11_000)
                .filter(|start| start % slide == 0 && *start <= time && time < start + size)
                .collect();
            prop_assert_eq!(WindowUnits { size, slide }.starts(time).collect::<Vec<_>>(), naive);
        }

        #[test]
        fn no_time_overflows(time: i64, size in 1..=i64::MAX, ratio in 1i64..50) {
            let slide = (size / ratio).max(1);
            let windows = WindowUnits { size, slide };
            for start in windows.starts(time).take(100) {
                prop_assert!(start <= time && i128::from(time) < i128::from(start) + i128::from(size));
            }
        }
    }
}
