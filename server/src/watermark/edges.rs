//! The map of all edges of an epoch: for each input of each operator when its rows are late, what closes, and whether it is idle;
//! for each time column of the output its watermark.
//!
//! Computed before the epoch runs, from the sources' marks and from what the map has kept: an idle input has the mark of those
//! that are not, *keeps* it when it wakes, and no edge ever goes back. What is kept belongs to the query's state: it is
//! committed and aborted with the epoch, stored with a checkpoint and restored from it.

use std::collections::BTreeSet;

use super::{Mark, NONE, WatermarkExpr};
use crate::clock::Micros;

/// One input of one operator, both counted in the order in which [`Edges::new`] was given them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputRef {
    pub operator: usize,
    pub input: usize,
}

/// What an epoch means for one input of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputMarks {
    /// The mark after the previous epoch: what comes below it is late.
    pub late: Micros,
    /// The mark after this epoch: what ends at or before it closes.
    pub close: Micros,
    /// Nothing comes from this input; `late` and `close` are those of the inputs that are not idle.
    pub idle: bool,
}

impl InputMarks {
    /// Nothing is known: nothing is late and nothing closes.
    pub const NONE: InputMarks = InputMarks { late: NONE, close: NONE, idle: false };

    /// Those of an operator that has `N` inputs.
    pub fn of_inputs<const N: usize>(marks: &[InputMarks]) -> [InputMarks; N] {
        std::array::from_fn(|input| marks.get(input).copied().unwrap_or(InputMarks::NONE))
    }
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Edges {
    /// By operator and input.
    inputs: Vec<Vec<WatermarkExpr>>,
    /// The output's time columns.
    outputs: Vec<(String, WatermarkExpr)>,
    /// After the last epoch that was committed.
    kept: Kept,
    /// After the running epoch.
    next: Option<Kept>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    inputs: Vec<Vec<Mark>>,
    outputs: Vec<Mark>,
}

impl Edges {
    /// `inputs`: the watermark of each input of each operator. An operator stands behind those that it depends on.
    /// `outputs`: the columns of the query's result that have a watermark.
    pub fn new(inputs: Vec<Vec<WatermarkExpr>>, outputs: Vec<(String, WatermarkExpr)>) -> Self {
        let kept = Kept {
            inputs: inputs.iter().map(|inputs| vec![Mark::NONE; inputs.len()]).collect(),
            outputs: vec![Mark::NONE; outputs.len()],
        };
        Edges { inputs, outputs, kept, next: None }
    }

    /// Begins an epoch: the marks of each input of each operator, once the sources have got so far. They are kept when
    /// [`Edges::commit`] is called.
    pub fn begin(&mut self, sources: &[Mark]) -> Vec<Vec<InputMarks>> {
        let next = self.evaluate(sources);
        let marks = self.between(&next);
        self.next = Some(next);
        marks
    }

    /// What [`Edges::begin`] would say.
    pub fn peek(&self, sources: &[Mark]) -> Vec<Vec<InputMarks>> {
        self.between(&self.evaluate(sources))
    }

    pub fn commit(&mut self) {
        if let Some(next) = self.next.take() {
            self.kept = next;
        }
    }

    pub fn abort(&mut self) {
        self.next = None;
    }

    /// The mark that each input has kept: what a checkpoint stores of it. [`NONE`] where nothing is known yet.
    pub fn kept(&self) -> impl Iterator<Item = (InputRef, Micros)> + '_ {
        let operators = self.kept.inputs.iter().enumerate();
        operators.flat_map(|(operator, inputs)| {
            inputs.iter().enumerate().map(move |(input, mark)| (InputRef { operator, input }, mark.at))
        })
    }

    /// The watermark of each time column of the output, and whether nothing comes any more: what a checkpoint says of it.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, Mark)> + '_ {
        self.outputs.iter().zip(&self.kept.outputs).map(|((column, _), mark)| (column.as_str(), *mark))
    }

    /// Takes up what a checkpoint has stored of an input. One that the query does not have is not there to be restored.
    pub fn restore_input(&mut self, at: InputRef, mark: Micros) {
        let kept = self.kept.inputs.get_mut(at.operator).and_then(|inputs| inputs.get_mut(at.input));
        if let Some(kept) = kept {
            kept.at = kept.at.max(mark);
        }
    }

    /// Takes up what a checkpoint has stored of an output's time column.
    pub fn restore_output(&mut self, column: &str, mark: Mark) {
        let columns = self.outputs.iter().zip(&mut self.kept.outputs);
        for (_, kept) in columns.filter(|((name, _), _)| name == column) {
            *kept = Mark { at: kept.at.max(mark.at), idle: mark.idle };
        }
    }

    /// The marks of the sources at which every input would have the mark that `target` asks of it. [`NONE`] where a source need not
    /// move.
    pub fn sources_for(&self, marks: usize, target: impl Fn(InputRef) -> Option<Micros>) -> Vec<Micros> {
        let mut sources = vec![NONE; marks];
        let mut wanted: Vec<Vec<Micros>> = self.inputs.iter().map(|inputs| vec![NONE; inputs.len()]).collect();
        // From the last operator to the first: what one wants of another is known when that one's turn comes.
        for operator in (0..self.inputs.len()).rev() {
            for (input, expr) in self.inputs[operator].iter().enumerate() {
                let own = target(InputRef { operator, input }).unwrap_or(NONE);
                let at = own.max(wanted[operator][input]);
                if at == NONE {
                    continue;
                }
                let mut raise_source = |slot: usize, at: Micros| {
                    if let Some(source) = sources.get_mut(slot) {
                        *source = at.max(*source);
                    }
                };
                let mut raise_input = |of: InputRef, at: Micros| {
                    if let Some(wanted) = wanted.get_mut(of.operator).and_then(|inputs| inputs.get_mut(of.input)) {
                        *wanted = at.max(*wanted);
                    }
                };
                expr.require(at, &mut raise_source, &mut raise_input);
            }
        }
        sources
    }

    /// The latest time that a row can have at each input whose source gave it at most `newest`, mark by mark.
    pub fn latest(&self, newest: &[Micros]) -> Vec<Vec<Micros>> {
        let mut latest: Vec<Vec<Micros>> = Vec::with_capacity(self.inputs.len());
        for inputs in &self.inputs {
            let of = |at: InputRef| *latest.get(at.operator).and_then(|inputs| inputs.get(at.input)).unwrap_or(&NONE);
            let of_inputs = inputs.iter().map(|expr| expr.latest(newest, &of)).collect();
            latest.push(of_inputs);
        }
        latest
    }

    /// The marks of the sources that those of the operators wait for.
    pub fn held_by(&self, sources: &[Mark]) -> BTreeSet<usize> {
        let raw = self.evaluate(sources).inputs;
        let (mut slots, mut asked) = (BTreeSet::new(), Vec::new());
        for (operator, inputs) in self.inputs.iter().enumerate() {
            asked.extend((0..inputs.len()).map(|input| InputRef { operator, input }));
        }
        let mut seen = BTreeSet::new();
        while let Some(at) = asked.pop() {
            if !seen.insert(at) {
                continue;
            }
            let of = |at: InputRef| mark_of(&raw, at);
            let mut slot = |slot| _ = slots.insert(slot);
            let mut more = |of| asked.push(of);
            self.inputs[at.operator][at.input].held_by(sources, &of, &mut slot, &mut more);
        }
        slots
    }

    fn evaluate(&self, sources: &[Mark]) -> Kept {
        let mut marks: Vec<Vec<Mark>> = Vec::with_capacity(self.inputs.len());
        for (exprs, kept) in self.inputs.iter().zip(&self.kept.inputs) {
            let own: Vec<Mark> = exprs.iter().map(|expr| expr.evaluate(sources, &|at| mark_of(&marks, at))).collect();
            let awaited = Mark::least(own.iter().copied());
            let of_operator = own.iter().zip(kept).map(|(own, kept)| Mark {
                at: if own.idle && !awaited.idle { own.at.max(awaited.at) } else { own.at }.max(kept.at),
                idle: own.idle,
            });
            let of_operator = of_operator.collect();
            marks.push(of_operator);
        }
        let outputs = self.outputs.iter().zip(&self.kept.outputs).map(|((_, expr), kept)| {
            let Mark { at, idle } = expr.evaluate(sources, &|at| mark_of(&marks, at));
            Mark { at: at.max(kept.at), idle }
        });
        let outputs = outputs.collect();
        Kept { inputs: marks, outputs }
    }

    fn between(&self, next: &Kept) -> Vec<Vec<InputMarks>> {
        let marks = |before: &Mark, after: &Mark| InputMarks { late: before.at, close: after.at, idle: after.idle };
        self.kept
            .inputs
            .iter()
            .zip(&next.inputs)
            .map(|(before, after)| before.iter().zip(after).map(|(before, after)| marks(before, after)).collect())
            .collect()
    }
}

/// Of an operator that stands below; [`Mark::NONE`] where there is none.
fn mark_of(marks: &[Vec<Mark>], at: InputRef) -> Mark {
    marks.get(at.operator).and_then(|inputs| inputs.get(at.input)).copied().unwrap_or(Mark::NONE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::watermark::END;

    fn source(slot: usize) -> WatermarkExpr {
        WatermarkExpr::Source(slot)
    }

    fn of(operator: usize) -> WatermarkExpr {
        WatermarkExpr::Input(InputRef { operator, input: 0 })
    }

    fn union(inputs: &[WatermarkExpr]) -> WatermarkExpr {
        WatermarkExpr::Min(inputs.to_vec())
    }

    fn idle(at: Micros) -> Mark {
        Mark { at, idle: true }
    }

    fn marks(late: Micros, close: Micros) -> InputMarks {
        InputMarks { late, close, idle: false }
    }

    /// The first input of the first operator, after an epoch in which the sources got so far.
    fn step(edges: &mut Edges, sources: &[Mark]) -> InputMarks {
        let marks = edges.begin(sources)[0][0];
        edges.commit();
        marks
    }

    #[test]
    fn a_union_waits_for_no_idle_input_and_keeps_its_mark_when_that_one_wakes() {
        let mut edges = Edges::new(vec![vec![union(&[source(0), source(1)])]], vec![]);
        assert_eq!(step(&mut edges, &[Mark::new(100), Mark::NONE]), marks(NONE, NONE));
        assert_eq!(step(&mut edges, &[Mark::new(100), idle(NONE)]), marks(NONE, 100));
        // It wakes far behind: its rows below 100 are late, and nothing closes until it has caught up.
        assert_eq!(step(&mut edges, &[Mark::new(150), Mark::new(20)]), marks(100, 100));
        assert_eq!(step(&mut edges, &[Mark::new(150), Mark::new(120)]), marks(100, 120));
        // All idle: it stands still.
        assert_eq!(step(&mut edges, &[idle(150), idle(130)]), InputMarks { late: 120, close: 130, idle: true });
        assert_eq!(step(&mut edges, &[idle(150), idle(130)]), InputMarks { late: 130, close: 130, idle: true });
    }

    #[test]
    fn an_idle_input_of_an_operator_has_the_mark_of_those_that_are_not_and_keeps_it() {
        let mut edges = Edges::new(vec![vec![source(0), source(1), source(2)]], vec![]);
        let at = |marks: &[Vec<InputMarks>]| marks[0].iter().map(|input| input.close).collect::<Vec<_>>();
        let begun = edges.begin(&[idle(10), Mark::new(70), Mark::new(50)]);
        assert_eq!(at(&begun), [50, 70, 50]);
        assert!(begun[0][0].idle && !begun[0][1].idle);
        edges.commit();
        let woken = edges.begin(&[Mark::new(20), Mark::new(80), Mark::new(60)]);
        assert_eq!(at(&woken), [50, 80, 60]);
        assert_eq!(woken[0][0], marks(50, 50));
        edges.commit();
        // What has ended is nobody to go by: an idle input would be closed for good.
        assert_eq!(at(&edges.begin(&[idle(55), Mark::END, Mark::END])), [55, END, END]);
    }

    #[test]
    fn what_an_operator_emits_follows_the_mark_that_its_input_has_kept() {
        let inner = union(&[source(0), source(1)]);
        let outer = union(&[of(0).behind(10), source(2)]);
        let mut edges = Edges::new(vec![vec![inner], vec![outer]], vec![("window_end".to_owned(), of(1).behind(60))]);
        edges.begin(&[Mark::new(100), idle(NONE), Mark::new(300)]);
        edges.commit();
        // The second source wakes at 20: the inner edge stays at 100, and so the outer one does not wait for it either.
        assert_eq!(edges.peek(&[Mark::new(100), Mark::new(20), Mark::new(300)])[1][0].close, 90);
        assert_eq!(edges.outputs().collect::<Vec<_>>(), [("window_end", Mark::new(30))]);
        // An operator is idle if what feeds it is.
        let begun = edges.begin(&[idle(100), idle(20), Mark::new(200)]);
        assert_eq!((begun[0][0].idle, begun[1][0]), (true, marks(90, 200)));
    }

    #[test]
    fn what_is_kept_goes_with_the_epoch_and_with_the_checkpoint() {
        let new = || Edges::new(vec![vec![source(0)]], vec![("ts".to_owned(), source(0))]);
        let mut edges = new();
        step(&mut edges, &[Mark::new(50)]);
        edges.begin(&[Mark::new(90)]);
        edges.abort();
        assert_eq!(edges.peek(&[Mark::new(60)])[0][0], marks(50, 60));
        let mut restored = new();
        edges.kept().for_each(|(at, mark)| restored.restore_input(at, mark));
        edges.outputs().for_each(|(column, mark)| restored.restore_output(column, mark));
        assert_eq!(step(&mut restored, &[Mark::new(20)]), marks(50, 50));
        assert_eq!(restored.outputs().collect::<Vec<_>>(), [("ts", Mark::new(50))]);
        // An input of another query is not there.
        restored.restore_input(InputRef { operator: 4, input: 1 }, 99);
    }

    #[test]
    fn sources_are_asked_for_what_every_function_between_takes_off() {
        let month = crate::watermark::Monotone::FloorMonths(1);
        let day = 86_400_000_000;
        let inputs = vec![
            vec![union(&[source(0), source(1).shifted(7)])],
            vec![of(0).behind(15)],
            vec![WatermarkExpr::Monotone(Box::new(source(2)), month)],
        ];
        let edges = Edges::new(inputs, vec![]);
        let only = |operator, at| move |input: InputRef| (input.operator == operator).then_some(at);
        assert_eq!(edges.sources_for(3, only(0, 100)), [100, 93, NONE]);
        assert_eq!(edges.sources_for(3, only(1, 100)), [115, 108, NONE]);
        assert_eq!(edges.sources_for(3, only(2, 5 * day)), [NONE, NONE, 31 * day]);
        assert_eq!(edges.sources_for(3, |_| None), [NONE; 3]);
        assert_eq!(edges.latest(&[50, 60, 70]), [[67], [67], [70]]);
    }

    #[test]
    fn whom_a_mark_waits_for() {
        let edges = Edges::new(vec![vec![union(&[source(0), source(1).shifted(-10)])], vec![of(0)]], vec![]);
        for (sources, want) in [
            ([Mark::new(100), Mark::NONE], vec![1]),
            ([Mark::new(100), idle(NONE)], vec![0]),
            ([Mark::new(100), Mark::new(105)], vec![1]),
            ([Mark::new(95), Mark::new(105)], vec![0, 1]),
            ([idle(95), idle(105)], vec![]),
            ([Mark::END, Mark::new(5)], vec![1]),
        ] {
            assert_eq!(edges.held_by(&sources).into_iter().collect::<Vec<_>>(), want, "{sources:?}");
        }
    }

    fn expr() -> impl Strategy<Value = WatermarkExpr> {
        let leaf = prop_oneof![
            6 => (0..3_usize).prop_map(WatermarkExpr::Source),
            1 => Just(WatermarkExpr::Constant)
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let monotone = crate::watermark::Monotone::Floor { unit: 7, origin: 2 };
            prop_oneof![
                (inner.clone(), -20..20_i64).prop_map(|(inner, by)| inner.shifted(by)),
                (inner.clone(), 0..20_i64).prop_map(|(inner, by)| inner.behind(by)),
                inner.clone().prop_map(move |inner| WatermarkExpr::Monotone(Box::new(inner), monotone)),
                proptest::collection::vec(inner, 1..4).prop_map(WatermarkExpr::Min),
            ]
        })
    }

    /// Of each source how far it moves, and whether it falls idle.
    type Step = Vec<(i64, bool)>;

    /// Two operators, the second behind the first, and how far the sources get: each forward or not at all, now and then idle.
    fn case() -> impl Strategy<Value = (Vec<Vec<WatermarkExpr>>, Vec<Step>)> {
        let first = proptest::collection::vec(expr(), 1..3);
        let second = (expr(), 0..20_i64).prop_map(|(expr, by)| vec![union(&[of(0).behind(by), expr])]);
        let steps = proptest::collection::vec(proptest::collection::vec((0..40_i64, any::<bool>()), 3), 1..12);
        ((first, second).prop_map(|(first, second)| vec![first, second]), steps)
    }

    proptest! {
        /// No edge goes back; an epoch's rows are late by what the one before has closed; what was aborted or only looked at leaves
        /// no trace; and a query restored from what was kept goes on as the one that was not stopped.
        #[test]
        fn no_edge_ever_goes_back((inputs, steps) in case()) {
            let outputs = vec![("ts".to_owned(), of(1))];
            let mut edges = Edges::new(inputs.clone(), outputs.clone());
            let (mut at, mut last) = ([0_i64; 3], edges.begin(&[Mark::NONE; 3]));
            edges.commit();
            for step in steps {
                let sources: Vec<Mark> = at.iter_mut().zip(&step).map(|(at, (by, idle))| {
                    *at += by;
                    Mark { at: *at, idle: *idle }
                }).collect();
                let later: Vec<Mark> = sources.iter().map(|mark| Mark { at: mark.at + 1000, ..*mark }).collect();
                edges.begin(&later);
                edges.abort();
                let seen = edges.peek(&sources);
                let mut restored = Edges::new(inputs.clone(), outputs.clone());
                edges.kept().for_each(|(at, mark)| restored.restore_input(at, mark));
                edges.outputs().for_each(|(column, mark)| restored.restore_output(column, mark));
                prop_assert_eq!(&restored.begin(&sources), &seen);
                let begun = edges.begin(&sources);
                prop_assert_eq!(&begun, &seen);
                for (before, after) in last.iter().flatten().zip(begun.iter().flatten()) {
                    prop_assert_eq!(before.close, after.late);
                    prop_assert!(after.late <= after.close);
                }
                edges.commit();
                last = begun;
            }
        }

        /// At the marks that are asked of the sources every input is where it was to be, and one microsecond less of any source is
        /// too little.
        #[test]
        fn the_sources_are_asked_for_the_least_that_is_enough(expr in expr(), target in -100..100_i64) {
            let edges = Edges::new(vec![vec![expr]], vec![]);
            let needed = edges.sources_for(3, |_| Some(target));
            let close = |sources: &[Micros]| {
                // What is not asked for anything has ended.
                let marks: Vec<Mark> =
                    sources.iter().map(|at| if *at == NONE { Mark::END } else { Mark::new(*at) }).collect();
                edges.peek(&marks)[0][0].close
            };
            prop_assert!(close(&needed) >= target);
            for slot in (0..3).filter(|slot| needed[*slot] != NONE) {
                let mut less = needed.clone();
                less[slot] -= 1;
                prop_assert!(close(&less) < target, "{needed:?}");
            }
        }
    }
}
