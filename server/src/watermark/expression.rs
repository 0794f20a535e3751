//! The watermark of one time column on one edge of a plan, as a function of what lies below it.

use super::{END, InputRef, Mark, Monotone, NONE};
use crate::clock::Micros;

/// See the module's first line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WatermarkExpr {
    /// A mark of the sources: the one of a table, or one of those that a view has.
    Source(usize),
    /// The mark that an operator's input has, with what it has kept: what the operator emits is derived from it.
    Input(InputRef),
    /// A column that is moved by a constant, microseconds: `ts + INTERVAL '1 hour'`.
    Shift(Box<WatermarkExpr>, Micros),
    /// A function that never puts a later time before an earlier one, and none after itself.
    Monotone(Box<WatermarkExpr>, Monotone),
    /// The least of several inputs that are not idle, as of a `UNION ALL`.
    Min(Vec<WatermarkExpr>),
    /// The least of several inputs, also of those that are idle: of what an operator holds back until the other input has passed it.
    Slowest(Vec<WatermarkExpr>),
    /// A branch without a stream: all its rows have come with the first epoch, and nothing waits for it afterwards.
    Constant,
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
    /// `sources`: how far the sources have got, mark by mark. `input`: the mark of an operator's input, of those that stand below.
    /// [`NONE`] and [`END`] stay what they are under every function.
    pub fn evaluate(&self, sources: &[Mark], input: &impl Fn(InputRef) -> Mark) -> Mark {
        match self {
            WatermarkExpr::Source(slot) => sources.get(*slot).copied().unwrap_or(Mark::NONE),
            WatermarkExpr::Input(at) => input(*at),
            WatermarkExpr::Shift(inner, by) => {
                let Mark { at, idle } = inner.evaluate(sources, input);
                Mark { at: moved(at, |at| at.saturating_add(*by)), idle }
            }
            WatermarkExpr::Monotone(inner, function) => {
                let Mark { at, idle } = inner.evaluate(sources, input);
                Mark { at: moved(at, |at| function.apply(at)), idle }
            }
            WatermarkExpr::Min(inputs) => Mark::least(inputs.iter().map(|inner| inner.evaluate(sources, input))),
            WatermarkExpr::Slowest(inputs) => {
                let marks = inputs.iter().map(|inner| inner.evaluate(sources, input));
                Mark {
                    at: marks.clone().map(|mark| mark.at).min().unwrap_or(END),
                    idle: marks.into_iter().all(|mark| mark.idle),
                }
            }
            WatermarkExpr::Constant => Mark::END,
        }
    }

    /// The latest time that a row can have here whose source gave it at most `newest`, mark by mark. Unlike the watermark it does not fall
    /// behind where an operator holds rows.
    pub(super) fn latest(&self, newest: &[Micros], input: &impl Fn(InputRef) -> Micros) -> Micros {
        match self {
            WatermarkExpr::Source(slot) => newest.get(*slot).copied().unwrap_or(NONE),
            WatermarkExpr::Input(at) => input(*at),
            WatermarkExpr::Shift(inner, by) => moved(inner.latest(newest, input), |at| at.saturating_add(*by)),
            // A function of time goes down, if anywhere.
            WatermarkExpr::Monotone(inner, _) => inner.latest(newest, input),
            WatermarkExpr::Min(inputs) | WatermarkExpr::Slowest(inputs) => {
                inputs.iter().map(|inner| inner.latest(newest, input)).max().unwrap_or(NONE)
            }
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
            WatermarkExpr::Monotone(inner, function) => {
                inner.require(moved(at, |at| function.reach(at)), sources, input);
            }
            WatermarkExpr::Min(inputs) | WatermarkExpr::Slowest(inputs) => {
                inputs.iter().for_each(|inner| inner.require(at, sources, input));
            }
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
            WatermarkExpr::Shift(inner, _) | WatermarkExpr::Monotone(inner, _) => {
                inner.held_by(sources, input, slot, of);
            }
            WatermarkExpr::Min(inputs) | WatermarkExpr::Slowest(inputs) => inputs
                .iter()
                .filter(|inner| inner.evaluate(sources, input).at == mark.at)
                .for_each(|inner| inner.held_by(sources, input, slot, of)),
            WatermarkExpr::Constant => {}
        }
    }

    /// The same over sources whose marks stand `first` places later.
    pub fn renumbered(self, first: usize) -> Self {
        let inner = |inner: Box<WatermarkExpr>| Box::new(inner.renumbered(first));
        let all = |inputs: Vec<WatermarkExpr>| inputs.into_iter().map(|expr| expr.renumbered(first)).collect();
        match self {
            WatermarkExpr::Source(at) => WatermarkExpr::Source(first + at),
            WatermarkExpr::Shift(of, by) => WatermarkExpr::Shift(inner(of), by),
            WatermarkExpr::Monotone(of, function) => WatermarkExpr::Monotone(inner(of), function),
            WatermarkExpr::Min(inputs) => WatermarkExpr::Min(all(inputs)),
            WatermarkExpr::Slowest(inputs) => WatermarkExpr::Slowest(all(inputs)),
            WatermarkExpr::Input(_) | WatermarkExpr::Constant => self,
        }
    }

    pub fn shifted(self, by: Micros) -> Self {
        match (self, by) {
            (expr, 0) => expr,
            (WatermarkExpr::Shift(inner, already), by) => WatermarkExpr::Shift(inner, already.saturating_add(by)),
            (expr, by) => WatermarkExpr::Shift(Box::new(expr), by),
        }
    }

    /// Of a column that can still have times as much before the mark of what it is made of: a window is emitted after the
    /// watermark has passed its end and the allowed lateness.
    pub fn behind(self, by: Micros) -> Self {
        match (self, by) {
            (expr, 0) => expr,
            (WatermarkExpr::Monotone(inner, Monotone::Less(already)), by) => {
                WatermarkExpr::Monotone(inner, Monotone::Less(already.saturating_add(by)))
            }
            (expr, by) => WatermarkExpr::Monotone(Box::new(expr), Monotone::Less(by)),
        }
    }

    /// As much as the mark falls behind the least of what it is made of, microseconds: how long a result waits, beside the
    /// sources' own delays. What depends on the calendar counts with its longest step.
    pub fn delay(&self) -> Micros {
        match self {
            WatermarkExpr::Source(_) | WatermarkExpr::Input(_) | WatermarkExpr::Constant => 0,
            WatermarkExpr::Shift(inner, by) => inner.delay().saturating_sub(*by),
            WatermarkExpr::Monotone(inner, function) => inner.delay().saturating_add(function.delay()),
            WatermarkExpr::Min(inputs) | WatermarkExpr::Slowest(inputs) => {
                inputs.iter().map(WatermarkExpr::delay).max().unwrap_or(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
