//! The watermark of one time column on one edge of a plan, as a function of what lies below it.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime};

use super::{END, InputRef, Mark, NONE};
use crate::clock::Micros;

/// See the module's first line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WatermarkExpr {
    /// The source table at this slot.
    Source(usize),
    /// The mark that an operator's input has, with what it has kept: what the operator emits is derived from it.
    Input(InputRef),
    /// A column that is moved by a constant, microseconds: `ts + INTERVAL '1 hour'`.
    Shift(Box<WatermarkExpr>, Micros),
    /// A column that can still have times as much before the mark of what it is made of, microseconds: a window is emitted
    /// after the watermark has passed its end and the allowed lateness.
    Behind(Box<WatermarkExpr>, Micros),
    /// A function that never puts a later time before an earlier one.
    Monotone(Box<WatermarkExpr>, Monotone),
    /// The least of several inputs that are not idle, as of a `UNION ALL`.
    Min(Vec<WatermarkExpr>),
    /// A branch without a stream: all its rows have come with the first epoch, and nothing waits for it afterwards.
    Constant,
}

/// A function of time `f` with `f(a) <= f(b)` wherever `a <= b`, or a lower bound of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Monotone {
    /// Down to `origin` plus a multiple of `unit`, microseconds: `date_bin`, `date_trunc` up to the week, casts to a coarser
    /// unit or to a date.
    Floor { unit: Micros, origin: Micros },
    /// Down to the first of a run of so many calendar months, UTC, counted from January: `date_trunc` to a month, a quarter, a
    /// year.
    FloorMonths(u32),
}

/// 1969-12-29: weeks begin on a Monday.
const A_MONDAY: Micros = -3 * 86_400_000_000;

impl Monotone {
    /// What `date_trunc(part, ts)` does to times in UTC; `None` for a part that is not known.
    pub fn truncation(part: &str) -> Option<Self> {
        let floor = |unit| Monotone::Floor { unit, origin: 0 };
        Some(match part.to_ascii_lowercase().as_str() {
            "microsecond" => floor(1),
            "millisecond" => floor(1_000),
            "second" => floor(1_000_000),
            "minute" => floor(60_000_000),
            "hour" => floor(3_600_000_000),
            "day" => floor(86_400_000_000),
            "week" => Monotone::Floor { unit: 7 * 86_400_000_000, origin: A_MONDAY },
            "month" => Monotone::FloorMonths(1),
            "quarter" => Monotone::FloorMonths(3),
            "year" => Monotone::FloorMonths(12),
            _ => return None,
        })
    }

    pub fn apply(self, at: Micros) -> Micros {
        match self {
            Monotone::Floor { unit, origin } => {
                let unit = i128::from(unit.max(1));
                let over = (i128::from(at) - i128::from(origin)).rem_euclid(unit);
                Micros::try_from(i128::from(at) - over).unwrap_or(NONE)
            }
            // Beyond the calendar nothing is promised.
            Monotone::FloorMonths(months) => first_of_months(at, months, 0).unwrap_or(NONE),
        }
    }

    /// The least time that is not put before `at`.
    fn reach(self, at: Micros) -> Micros {
        if self.apply(at) == at {
            return at;
        }
        match self {
            Monotone::Floor { unit, .. } => self.apply(at).saturating_add(unit.max(1)),
            Monotone::FloorMonths(months) => first_of_months(at, months, 1).unwrap_or(END),
        }
    }
}

/// The beginning of the run of `months` that holds `at`, and as many runs later as `later` says.
fn first_of_months(at: Micros, months: u32, later: i32) -> Option<Micros> {
    let date = DateTime::from_timestamp_micros(at)?.date_naive();
    let months = i32::try_from(months.max(1)).ok()?;
    let month = date.year().checked_mul(12)?.checked_add(i32::try_from(date.month0()).ok()?)?;
    let first = (month - month.rem_euclid(months)).checked_add(months.checked_mul(later)?)?;
    let first = NaiveDate::from_ymd_opt(first.div_euclid(12), first.rem_euclid(12).unsigned_abs() + 1, 1)?;
    Some(first.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

/// Leaves what is no time as it is.
fn moved(at: Micros, by: impl Fn(Micros) -> Micros) -> Micros {
    match at {
        NONE | END => at,
        // A time that is moved out of range is still a time.
        at => by(at).clamp(NONE, END - 1),
    }
}

impl WatermarkExpr {
    /// `sources`: how far the source at each slot has got. `input`: the mark of an operator's input, of those that stand below.
    /// [`NONE`] and [`END`] stay what they are under every function.
    pub fn evaluate(&self, sources: &[Mark], input: &impl Fn(InputRef) -> Mark) -> Mark {
        match self {
            WatermarkExpr::Source(slot) => sources.get(*slot).copied().unwrap_or(Mark::NONE),
            WatermarkExpr::Input(at) => input(*at),
            WatermarkExpr::Shift(inner, by) => {
                let Mark { at, idle } = inner.evaluate(sources, input);
                Mark { at: moved(at, |at| at.saturating_add(*by)), idle }
            }
            WatermarkExpr::Behind(inner, by) => {
                let Mark { at, idle } = inner.evaluate(sources, input);
                Mark { at: moved(at, |at| at.saturating_sub(*by)), idle }
            }
            WatermarkExpr::Monotone(inner, function) => {
                let Mark { at, idle } = inner.evaluate(sources, input);
                Mark { at: moved(at, |at| function.apply(at)), idle }
            }
            WatermarkExpr::Min(inputs) => Mark::least(inputs.iter().map(|inner| inner.evaluate(sources, input))),
            WatermarkExpr::Constant => Mark::END,
        }
    }

    /// The latest time that a row can have here whose source gave it at most `newest`, by slot. Unlike the watermark it does not fall
    /// behind where an operator holds rows.
    pub(super) fn latest(&self, newest: &[Micros], input: &impl Fn(InputRef) -> Micros) -> Micros {
        match self {
            WatermarkExpr::Source(slot) => newest.get(*slot).copied().unwrap_or(NONE),
            WatermarkExpr::Input(at) => input(*at),
            WatermarkExpr::Shift(inner, by) => moved(inner.latest(newest, input), |at| at.saturating_add(*by)),
            // A function of time goes down, if anywhere.
            WatermarkExpr::Behind(inner, _) | WatermarkExpr::Monotone(inner, _) => inner.latest(newest, input),
            WatermarkExpr::Min(inputs) => inputs.iter().map(|inner| inner.latest(newest, input)).max().unwrap_or(NONE),
            WatermarkExpr::Constant => NONE,
        }
    }

    /// Raises `sources` and `input` to the least marks at which this one is `at`.
    pub(super) fn require(
        &self,
        at: Micros,
        sources: &mut dyn FnMut(usize, Micros),
        input: &mut dyn FnMut(InputRef, Micros),
    ) {
        match self {
            WatermarkExpr::Source(slot) => sources(*slot, at),
            WatermarkExpr::Input(of) => input(*of, at),
            WatermarkExpr::Shift(inner, by) => {
                inner.require(moved(at, |at| at.saturating_sub(*by)), sources, input);
            }
            WatermarkExpr::Behind(inner, by) => {
                inner.require(moved(at, |at| at.saturating_add(*by)), sources, input);
            }
            WatermarkExpr::Monotone(inner, function) => {
                inner.require(moved(at, |at| function.reach(at)), sources, input);
            }
            WatermarkExpr::Min(inputs) => inputs.iter().for_each(|inner| inner.require(at, sources, input)),
            WatermarkExpr::Constant => {}
        }
    }

    /// The leaves that this mark waits for: those from which the least of each minimum comes. None where nobody is waited for.
    pub(super) fn held_by(
        &self,
        sources: &[Mark],
        input: &impl Fn(InputRef) -> Mark,
        slot: &mut dyn FnMut(usize),
        of: &mut dyn FnMut(InputRef),
    ) {
        let mark = self.evaluate(sources, input);
        if mark.idle || mark.at == END {
            return;
        }
        match self {
            WatermarkExpr::Source(at) => slot(*at),
            WatermarkExpr::Input(at) => of(*at),
            WatermarkExpr::Shift(inner, _) | WatermarkExpr::Behind(inner, _) | WatermarkExpr::Monotone(inner, _) => {
                inner.held_by(sources, input, slot, of);
            }
            WatermarkExpr::Min(inputs) => inputs
                .iter()
                .filter(|inner| inner.evaluate(sources, input) == mark)
                .for_each(|inner| inner.held_by(sources, input, slot, of)),
            WatermarkExpr::Constant => {}
        }
    }

    pub fn shifted(self, by: Micros) -> Self {
        match (self, by) {
            (expr, 0) => expr,
            (WatermarkExpr::Shift(inner, already), by) => WatermarkExpr::Shift(inner, already.saturating_add(by)),
            (expr, by) => WatermarkExpr::Shift(Box::new(expr), by),
        }
    }

    pub fn behind(self, by: Micros) -> Self {
        match (self, by) {
            (expr, 0) => expr,
            (WatermarkExpr::Behind(inner, already), by) => WatermarkExpr::Behind(inner, already.saturating_add(by)),
            (expr, by) => WatermarkExpr::Behind(Box::new(expr), by),
        }
    }

    /// As much as the mark falls behind the least of what it is made of, microseconds: how long a result waits, beside the
    /// sources' own delays. What depends on the calendar counts with its longest step.
    pub fn delay(&self) -> Micros {
        const LONGEST_MONTH: Micros = 31 * 86_400_000_000;
        match self {
            WatermarkExpr::Source(_) | WatermarkExpr::Input(_) | WatermarkExpr::Constant => 0,
            WatermarkExpr::Shift(inner, by) => inner.delay().saturating_sub(*by),
            WatermarkExpr::Behind(inner, by) => inner.delay().saturating_add(*by),
            WatermarkExpr::Monotone(inner, Monotone::Floor { unit, .. }) => {
                inner.delay().saturating_add(unit.saturating_sub(1))
            }
            WatermarkExpr::Monotone(inner, Monotone::FloorMonths(months)) => {
                inner.delay().saturating_add(LONGEST_MONTH.saturating_mul(i64::from(*months)))
            }
            WatermarkExpr::Min(inputs) => inputs.iter().map(WatermarkExpr::delay).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn marks(at: &[Micros]) -> Vec<Mark> {
        at.iter().map(|at| Mark::new(*at)).collect()
    }

    fn idle(at: Micros) -> Mark {
        Mark { at, idle: true }
    }

    fn evaluate(expr: &WatermarkExpr, sources: &[Mark]) -> Mark {
        expr.evaluate(sources, &|_| Mark::NONE)
    }

    fn source(slot: usize) -> WatermarkExpr {
        WatermarkExpr::Source(slot)
    }

    fn truncated(part: &str) -> Monotone {
        Monotone::truncation(part).unwrap()
    }

    #[test]
    fn edges_shift_and_take_the_least_but_keep_none_and_end() {
        let expr = WatermarkExpr::Min(vec![source(0).shifted(-10), source(1)]);
        let at = |sources: &[Micros]| evaluate(&expr, &marks(sources)).at;
        assert_eq!(at(&[100, 95]), 90);
        assert_eq!(at(&[100, 80]), 80);
        assert_eq!(at(&[NONE, 80]), NONE);
        assert_eq!(at(&[END, END]), END);
        assert_eq!(at(&[END, 7]), 7);
    }

    #[test]
    fn none_and_end_stay_what_they_are_under_every_function_and_no_time_turns_into_them() {
        let functions = [Monotone::Floor { unit: 60, origin: 7 }, truncated("week"), truncated("month")];
        let exprs = functions.into_iter().map(|function| WatermarkExpr::Monotone(Box::new(source(0)), function));
        for expr in exprs.chain([source(0).shifted(Micros::MAX), source(0).shifted(-5), source(0).behind(5)]) {
            assert_eq!(evaluate(&expr, &[Mark::NONE]), Mark::NONE, "{expr:?}");
            assert_eq!(evaluate(&expr, &[Mark::END]), Mark::END, "{expr:?}");
            assert_ne!(evaluate(&expr, &[Mark::new(END - 1)]).at, END, "{expr:?}");
        }
    }

    #[test]
    fn a_minimum_leaves_out_what_is_idle_and_what_has_ended() {
        let expr = WatermarkExpr::Min(vec![source(0), source(1), WatermarkExpr::Constant]);
        for (sources, want) in [
            ([Mark::new(100), Mark::new(50)], Mark::new(50)),
            ([Mark::new(100), idle(50)], Mark::new(100)),
            ([Mark::new(100), idle(NONE)], Mark::new(100)),
            ([idle(100), idle(50)], idle(50)),
            // An idle one can wake: that the others have ended does not end it.
            ([Mark::END, idle(50)], idle(50)),
            ([Mark::END, Mark::new(50)], Mark::new(50)),
            ([Mark::END, Mark::END], Mark::END),
        ] {
            assert_eq!(evaluate(&expr, &sources), want, "{sources:?}");
        }
    }

    #[test]
    fn truncation_is_that_of_the_calendar() {
        let time = at("2024-08-15T13:47:59.123456Z");
        for (part, want) in [
            ("millisecond", "2024-08-15T13:47:59.123Z"),
            ("second", "2024-08-15T13:47:59Z"),
            ("minute", "2024-08-15T13:47:00Z"),
            ("HOUR", "2024-08-15T13:00:00Z"),
            ("day", "2024-08-15T00:00:00Z"),
            ("week", "2024-08-12T00:00:00Z"),
            ("month", "2024-08-01T00:00:00Z"),
            ("quarter", "2024-07-01T00:00:00Z"),
            ("year", "2024-01-01T00:00:00Z"),
        ] {
            assert_eq!(truncated(part).apply(time), at(want), "{part}");
        }
        assert_eq!(truncated("month").apply(at("1969-12-31T23:00:00Z")), at("1969-12-01T00:00:00Z"));
        assert_eq!(truncated("week").apply(at("1969-12-28T23:00:00Z")), at("1969-12-22T00:00:00Z"));
        assert_eq!(Monotone::truncation("fortnight"), None);
    }

    #[test]
    fn a_mark_is_reached_at_the_least_time_that_gives_it() {
        let time = at("2024-08-15T13:47:59.123456Z");
        let functions = ["second", "day", "week", "month", "quarter", "year"].map(truncated);
        for function in functions.into_iter().chain([Monotone::Floor { unit: 7_000_000, origin: 3 }]) {
            let least = function.reach(time);
            assert!(function.apply(least) >= time && function.apply(least - 1) < time, "{function:?}");
            let floor = function.apply(time);
            assert_eq!(function.reach(floor), floor, "{function:?}");
        }
    }

    #[test]
    fn a_function_never_puts_a_later_time_before_an_earlier_one() {
        let functions = [truncated("month"), truncated("week"), Monotone::Floor { unit: 17, origin: -4 }];
        let times = [NONE + 1, -1, 0, 1, 86_400_000_000, at("2024-02-29T12:00:00Z"), END - 1];
        for function in functions {
            for pair in times.windows(2) {
                assert!(
                    function.apply(pair[0]) <= function.apply(pair[1]) || pair[1] == END - 1,
                    "{function:?} {pair:?}"
                );
                assert!(function.apply(pair[0]) <= pair[0], "{function:?} {pair:?}");
            }
        }
    }
}
