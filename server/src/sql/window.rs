//! Which windows there are, and which of them a time falls into: arithmetic, in any unit, before and after 1970.
//!
//! Windows are half-open, `[start, end)`, and aligned to the Unix epoch, to an offset from it, or to the days of a time zone:
//! Akidau et al., "The Dataflow Model", VLDB 2015. A *pane* is the longest span of time such that every window is a run of panes.
//! Pure. A window whose start or end cannot be written in 64 bits does not exist: its rows are treated as rows without a time.

use std::fmt;
use std::time::Duration;

use arrow::datatypes::TimeUnit;

use super::interval;
use super::window_session::SessionRule;
use super::zone::Zone;
use crate::clock::{DAY_MICROS, micros_at};
use crate::error::{Error, Result};

/// Panes of one window, hence windows of one row: 1 day sliding by 10 seconds fits.
pub const PANES_MAX: i64 = 10_000;

/// Windows as a query asks for them. Lengths in microseconds, greater than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowKind {
    /// One after the other.
    Tumble { size_us: i64, origin: Origin },
    /// `slide_us <= size_us`; the size need not be a multiple of the slide.
    Hop { size_us: i64, slide_us: i64, offset_us: i64 },
    /// All that begin in one span of `size_us` begin with it, and end `step_us` after one another, the last with the span. The size is
    /// a multiple of the step.
    Cumulate { size_us: i64, step_us: i64, origin: Origin },
    /// One is as long as rows come that are at most `gap_us` after one another. No row of it is `longest_us` later than its first.
    Session { gap_us: i64, longest_us: Option<i64> },
}

/// What windows are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// So many microseconds from the Unix epoch. In a [`WindowKind`] at least 0, and less than from one start to the next.
    Offset(i64),
    /// Midnight in a time zone, so lengths are whole days of it: a day of 23 or 25 hours is one day.
    Midnight(Zone),
}

impl Default for Origin {
    fn default() -> Self {
        Origin::Offset(0)
    }
}

impl Origin {
    /// Of windows that begin `size_us` after one another.
    fn checked(self, size_us: i64, step_us: i64) -> Result<Self> {
        match self {
            Origin::Offset(offset) => Ok(Origin::Offset(within(offset, size_us)?.rem_euclid(size_us))),
            Origin::Midnight(zone) => {
                let broken =
                    [("size", size_us), ("step", step_us)].into_iter().find(|(_, length)| length % DAY_MICROS != 0);
                broken.map_or(Ok(self), |(name, _)| {
                    Err(Error::invalid(format!("in a time zone the window's {name} must be whole days"))
                        .hint(format!("write INTERVAL '1 day', '{zone}', or leave the time zone out")))
                })
            }
        }
    }
}

impl WindowKind {
    /// # Errors
    /// `Invalid` for a size of zero, or one that does not go with the origin.
    pub fn tumble(size: Duration, origin: Origin) -> Result<Self> {
        let size_us = length("size", size)?;
        Ok(WindowKind::Tumble { size_us, origin: origin.checked(size_us, size_us)? })
    }

    /// # Errors
    /// `Invalid` for lengths of zero, a slide longer than the size, more than [`PANES_MAX`] panes a window, or a time zone.
    pub fn hop(slide: Duration, size: Duration, origin: Origin) -> Result<Self> {
        let (slide_us, size_us) = (length("slide", slide)?, length("size", size)?);
        if slide_us > size_us {
            return Err(Error::invalid("the slide is longer than the window: rows between windows would be lost")
                .hint("the slide comes first: HOP(t, ts, slide, size)"));
        }
        let Origin::Offset(offset) = origin else {
            return Err(Error::invalid("HOP is not available in a time zone")
                .hint("TUMBLE(t, ts, INTERVAL '1 day', 'Europe/Berlin') and CUMULATE are; HOP takes an offset"));
        };
        let offset_us = within(offset, size_us)?.rem_euclid(slide_us);
        few(size_us / gcd(size_us, slide_us), "use a longer slide, and one that divides the size")?;
        Ok(WindowKind::Hop { size_us, slide_us, offset_us })
    }

    /// # Errors
    /// `Invalid` for lengths of zero, a size that is no multiple of the step, more than [`PANES_MAX`] steps, or lengths that do not go
    /// with the origin.
    pub fn cumulate(step: Duration, size: Duration, origin: Origin) -> Result<Self> {
        let (step_us, size_us) = (length("step", step)?, length("size", size)?);
        if size_us % step_us != 0 {
            return Err(Error::invalid("the window's size must be a multiple of its step")
                .hint("the step comes first: CUMULATE(t, ts, step, size)"));
        }
        few(size_us / step_us, "use a longer step")?;
        Ok(WindowKind::Cumulate { size_us, step_us, origin: origin.checked(size_us, step_us)? })
    }

    /// # Errors
    /// `Invalid` for a gap of zero.
    pub fn session(gap: Duration) -> Result<Self> {
        Ok(WindowKind::Session { gap_us: length("gap", gap)?, longest_us: None })
    }

    /// The windows whose starts are those of these: where only the start says which window a row is in, this is what it says.
    pub fn by_start(self) -> Self {
        match self {
            WindowKind::Cumulate { size_us, origin, .. } => WindowKind::Tumble { size_us, origin },
            other => other,
        }
    }

    /// As long as a window can be, microseconds; `None` where there is no limit to that. A day of a time zone can be longer than 24
    /// hours, and a date can come twice.
    pub fn longest_us(self) -> Option<i64> {
        match self {
            WindowKind::Hop { size_us, .. } => Some(size_us),
            WindowKind::Tumble { size_us, origin } | WindowKind::Cumulate { size_us, origin, .. } => match origin {
                Origin::Offset(_) => Some(size_us),
                Origin::Midnight(_) => Some(size_us.saturating_add(DAY_MICROS)),
            },
            WindowKind::Session { longest_us, .. } => longest_us,
        }
    }

    /// The length of every window, microseconds; `None` where they differ.
    pub fn fixed_us(self) -> Option<i64> {
        match self {
            WindowKind::Hop { size_us, .. } | WindowKind::Tumble { size_us, origin: Origin::Offset(_) } => {
                Some(size_us)
            }
            WindowKind::Tumble { .. } | WindowKind::Cumulate { .. } | WindowKind::Session { .. } => None,
        }
    }

    /// Windows that one row can be in.
    pub fn windows_of_a_row(self) -> i64 {
        match self {
            WindowKind::Tumble { .. } | WindowKind::Session { .. } => 1,
            WindowKind::Hop { size_us, slide_us, .. } => (size_us - 1) / slide_us + 1,
            WindowKind::Cumulate { size_us, step_us, .. } => size_us / step_us,
        }
    }

    /// How rows make sessions over times in the unit of a column; `None` for windows that do not depend on rows.
    ///
    /// # Errors
    /// As [`WindowKind::in_unit`].
    pub fn sessions_in_unit(self, unit: TimeUnit) -> Result<Option<SessionRule>> {
        let WindowKind::Session { gap_us, longest_us } = self else { return Ok(None) };
        let longest = longest_us.map(|longest_us| scaled("greatest length", longest_us, unit)).transpose()?;
        Ok(Some(SessionRule::new(scaled("gap", gap_us, unit)?, longest)))
    }

    /// The same windows over times in microseconds.
    pub fn in_micros(self) -> WindowAssigner {
        self.in_unit(TimeUnit::Microsecond).expect("lengths are whole microseconds")
    }

    /// The same windows over times in the unit of a column.
    ///
    /// # Errors
    /// `Invalid` where the unit is too coarse or too fine for the lengths.
    pub fn in_unit(self, unit: TimeUnit) -> Result<WindowAssigner> {
        let scale = |name: &str, micros: i64| scaled(name, micros, unit);
        let (size_us, step_us, origin) = match self {
            WindowKind::Hop { size_us, slide_us, offset_us } => {
                let (size, slide) = (scale("size", size_us)?, scale("slide", slide_us)?);
                let (pane, offset) = (gcd(size, slide), scale("offset", offset_us)?);
                return Ok(WindowAssigner::Every { size, slide, pane, offset });
            }
            WindowKind::Tumble { size_us, origin } => (size_us, size_us, origin),
            WindowKind::Cumulate { size_us, step_us, origin } => (size_us, step_us, origin),
            WindowKind::Session { gap_us, .. } => return Ok(WindowAssigner::Session { gap: scale("gap", gap_us)? }),
        };
        Ok(match origin {
            Origin::Offset(offset) => WindowAssigner::Steps {
                size: scale("size", size_us)?,
                step: scale("step", step_us)?,
                offset: scale("offset", offset)?,
            },
            Origin::Midnight(zone) => {
                WindowAssigner::Days { size: size_us / DAY_MICROS, step: step_us / DAY_MICROS, zone, unit }
            }
        })
    }
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, lengths, origin) = match *self {
            WindowKind::Session { gap_us, longest_us: None } => {
                return write!(f, "SESSION({})", interval::shown(gap_us));
            }
            WindowKind::Session { gap_us, longest_us: Some(longest_us) } => {
                return write!(f, "SESSION({}, at most {})", interval::shown(gap_us), interval::shown(longest_us));
            }
            WindowKind::Tumble { size_us, origin } => ("TUMBLE", vec![size_us], origin),
            WindowKind::Hop { size_us, slide_us, offset_us } => {
                ("HOP", vec![slide_us, size_us], Origin::Offset(offset_us))
            }
            WindowKind::Cumulate { size_us, step_us, origin } => ("CUMULATE", vec![step_us, size_us], origin),
        };
        let mut arguments: Vec<String> = lengths.into_iter().map(interval::shown).collect();
        match origin {
            Origin::Offset(0) => {}
            Origin::Offset(offset) => arguments.push(interval::shown(offset)),
            Origin::Midnight(zone) => arguments.push(format!("'{zone}'")),
        }
        write!(f, "{name}({})", arguments.join(", "))
    }
}

/// Microseconds as ticks of a time column.
fn scaled(name: &str, micros: i64, unit: TimeUnit) -> Result<i64> {
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
}

fn length(name: &str, duration: Duration) -> Result<i64> {
    match i64::try_from(duration.as_micros()) {
        Ok(0) => Err(Error::invalid(format!("the window's {name} must be longer than zero"))),
        Ok(micros) => Ok(micros),
        Err(_) => Err(Error::invalid(format!("the window's {name} is too long"))),
    }
}

fn within(offset: i64, size_us: i64) -> Result<i64> {
    match offset.unsigned_abs() >= size_us.unsigned_abs() {
        true => Err(Error::invalid("the window's offset must be shorter than the window")
            .hint("windows that are moved by their own length are the same windows")),
        false => Ok(offset),
    }
}

fn few(panes: i64, hint: &str) -> Result<()> {
    match panes > PANES_MAX {
        true => {
            Err(Error::invalid(format!("the window has {panes} panes, at most {PANES_MAX} are possible")).hint(hint))
        }
        false => Ok(()),
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

/// Assigns windows to times: the windows of a [`WindowKind`] over ticks of one unit, which are all arguments and results of its methods.
///
/// Whatever is said of a time that is the start of a pane holds for all times of the pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowAssigner {
    /// A window of `size` ticks begins every `slide` ticks.
    Every { size: i64, slide: i64, pane: i64, offset: i64 },
    /// One ends every `step` ticks, and begins with the span of `size` ticks that it lies in. They tumble where these are the same.
    Steps { size: i64, step: i64, offset: i64 },
    /// The same in days of a time zone.
    Days { size: i64, step: i64, zone: Zone, unit: TimeUnit },
    /// They are where rows are: no time is in one by itself. One that ends holds a row `gap` ticks before that, or later.
    Session { gap: i64 },
}

impl WindowAssigner {
    /// Panes of the longest window, more or less.
    pub fn panes_of_a_window(self) -> i64 {
        match self {
            WindowAssigner::Every { size, pane, .. } => size / pane,
            WindowAssigner::Steps { size, step, .. } | WindowAssigner::Days { size, step, .. } => size / step,
            WindowAssigner::Session { .. } => 1,
        }
    }

    /// The length of panes that begin at its multiples: the common case, which costs one division a row.
    pub fn plain(self) -> Option<i64> {
        match self {
            WindowAssigner::Every { pane: length, offset: 0, .. }
            | WindowAssigner::Steps { step: length, offset: 0, .. } => Some(length),
            _ => None,
        }
    }

    /// Start and end of the pane that holds a time. `None` where they cannot be written.
    pub fn pane(self, time: i64) -> Option<(i64, i64)> {
        match self {
            WindowAssigner::Every { pane: length, offset, .. } | WindowAssigner::Steps { step: length, offset, .. } => {
                span(time, length, offset)
            }
            WindowAssigner::Days { step, zone, unit, .. } => days(time, step, zone, unit),
            WindowAssigner::Session { .. } => None,
        }
    }

    /// The number of the pane that begins here, one more than that of the pane before it; [`WindowAssigner::pane_of`] is the way back.
    pub fn number_of(self, pane: i64) -> i64 {
        match self {
            WindowAssigner::Every { pane: length, offset, .. } | WindowAssigner::Steps { step: length, offset, .. } => {
                pane.saturating_sub(offset).div_euclid(length)
            }
            WindowAssigner::Days { step, zone, unit, .. } => {
                zone.day_of(micros_at(pane, unit)).map_or(pane, |day| day.div_euclid(step))
            }
            WindowAssigner::Session { .. } => pane,
        }
    }

    pub fn pane_of(self, number: i64) -> i64 {
        match self {
            WindowAssigner::Every { pane: length, offset, .. } | WindowAssigner::Steps { step: length, offset, .. } => {
                number.saturating_mul(length).saturating_add(offset)
            }
            WindowAssigner::Days { step, zone, unit, .. } => {
                let start = zone.start_of(number.saturating_mul(step)).and_then(|at| from_micros(at, unit));
                start.unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
            }
            WindowAssigner::Session { .. } => number,
        }
    }

    /// The span in which windows begin together.
    fn together(self, time: i64) -> Option<(i64, i64)> {
        match self {
            WindowAssigner::Every { slide, offset, .. } => span(time, slide, offset),
            WindowAssigner::Steps { size, offset, .. } => span(time, size, offset),
            WindowAssigner::Days { size, zone, unit, .. } => days(time, size, zone, unit),
            WindowAssigner::Session { .. } => None,
        }
    }

    /// The end of the first window that holds a time.
    pub fn first_end(self, time: i64) -> i64 {
        match self {
            // Ends lie at k * slide + size + offset.
            WindowAssigner::Every { size, slide, offset, .. } => {
                time.saturating_add(slide - over(time, slide, over(size, slide, slide - offset)))
            }
            _ => self.pane(time).map_or(time, |(_, end)| end),
        }
    }

    /// The end of the last window that holds a time.
    pub fn last_end(self, time: i64) -> i64 {
        match self {
            WindowAssigner::Every { size, slide, offset, .. } => {
                time.saturating_sub(over(time, slide, offset)).saturating_add(size)
            }
            _ => self.together(time).map_or(time, |(_, end)| end),
        }
    }

    /// The end of the first window that holds a time and ends after `after`.
    pub fn next_end(self, time: i64, after: i64) -> Option<i64> {
        let first = self.first_end(time);
        if first > after {
            return Some(first);
        }
        let last = self.last_end(time);
        // The ends of windows that hold the same time lie on one grid.
        (last > after).then(|| self.first_end(after).min(last))
    }

    /// The end of the last window that holds a time and ends at or before `through`.
    pub fn last_end_through(self, time: i64, through: i64) -> Option<i64> {
        let (first, last) = (self.first_end(time), self.last_end(time));
        if first > through {
            return None;
        }
        if last <= through {
            return Some(last);
        }
        Some(match self {
            WindowAssigner::Every { size, slide, offset, .. } => {
                through.saturating_sub(over(through, slide, over(size, slide, slide - offset)))
            }
            _ => self.pane(through).map_or(first, |(start, _)| start),
        })
    }

    /// The start of the window that ends at `end`.
    pub fn start_of(self, end: i64) -> i64 {
        match self {
            WindowAssigner::Every { size, .. } => end.saturating_sub(size),
            WindowAssigner::Session { gap } => end.saturating_sub(gap),
            WindowAssigner::Steps { .. } | WindowAssigner::Days { .. } => {
                self.together(end.saturating_sub(1)).map_or(end, |(start, _)| start)
            }
        }
    }

    /// The end of the window that begins at `start`: of those that do, the last.
    pub fn end_of(self, start: i64) -> i64 {
        match self {
            WindowAssigner::Every { size, .. } => start.saturating_add(size),
            WindowAssigner::Session { gap } => start.saturating_add(gap),
            WindowAssigner::Steps { .. } | WindowAssigner::Days { .. } => self.last_end(start),
        }
    }

    /// Panes of times that lie close together.
    pub fn panes(self) -> Panes {
        Panes { assigner: self, last: None }
    }

    /// The ends of the windows that hold a time, earliest first. Only windows whose start and end can be written.
    pub fn ends_of(self, time: i64) -> impl Iterator<Item = i64> {
        let exist = match self {
            // Here the windows of one time do not begin together.
            WindowAssigner::Every { size, .. } => {
                let last = self.together(time).and_then(|(start, _)| start.checked_add(size));
                last.is_some() && self.first_end(time).checked_sub(size).is_some()
            }
            _ => self.together(time).is_some(),
        };
        let first = exist.then(|| self.first_end(time));
        std::iter::successors(first, move |end| self.next_end(time, *end))
    }
}

/// Finds panes, and remembers the last one: the next time mostly lies in it, too, and a time zone takes long to ask.
#[derive(Debug)]
pub struct Panes {
    assigner: WindowAssigner,
    last: Option<(i64, i64)>,
}

impl Panes {
    /// See [`WindowAssigner::pane`].
    pub fn of(&mut self, time: i64) -> Option<(i64, i64)> {
        if !self.last.is_some_and(|(start, end)| (start..end).contains(&time)) {
            self.last = self.assigner.pane(time);
        }
        self.last
    }
}

/// How far a time lies behind the last multiple of `length`, counted from `offset`, which is from 0 to `length`.
fn over(time: i64, length: i64, offset: i64) -> i64 {
    (time.rem_euclid(length) - offset).rem_euclid(length)
}

/// Start and end of the span of so many ticks that holds a time.
fn span(time: i64, length: i64, offset: i64) -> Option<(i64, i64)> {
    let start = time.checked_sub(over(time, length, offset))?;
    Some((start, start.checked_add(length)?))
}

/// Start and end of the run of so many days that holds a time.
fn days(time: i64, length: i64, zone: Zone, unit: TimeUnit) -> Option<(i64, i64)> {
    let day = zone.day_of(micros_at(time, unit))?;
    let first = day.div_euclid(length) * length;
    let at = |day: i64| from_micros(zone.start_of(day)?, unit);
    Some((at(first)?, at(first + length)?))
}

/// Of whole seconds, which days begin with.
fn from_micros(at: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(at.div_euclid(1_000_000)),
        TimeUnit::Millisecond => Some(at.div_euclid(1_000)),
        TimeUnit::Microsecond => Some(at),
        TimeUnit::Nanosecond => at.checked_mul(1_000),
    }
}

#[cfg(test)]
mod tests;
