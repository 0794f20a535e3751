//! The ways in which a test is run: as it is written, in other epochs, in another order, restarted, undone, and in batch. What must be
//! seen is the same in all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::chain::{Computed, Views};
use super::compare::{Wanted, difference};
use super::drive::{Got, Run};
use super::expected::Expectations;
use super::records::Place;
use super::script::Holds;
use super::timeline::{Chunk, Moment, Timeline};
use super::value::Value;
use super::{Failure, Subject};
use crate::catalog::{EarlyWhen, OnBadRow, ViewDef};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::pipeline::{PlanSettings, Planned, plan_bounded, run_batch};
use crate::source::Offset;
use crate::state::Account;
use crate::watermark::{END, Mark};

/// Orders are drawn by these numbers: a test that fails does so again.
const SEEDS: [u64; 2] = [1, 2];

/// Failures that are shown of one test: what is wrong in one way mostly is in others.
const FAILURES_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    AsWritten,
    RowByRow,
    Cut(u64),
    Restarted,
    Undone,
    AtOnce,
    Shuffled(u64),
    InBatch,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::AsWritten => f.write_str("as it is written"),
            Way::RowByRow => f.write_str("row by row"),
            Way::Cut(seed) => write!(f, "cut into other epochs (seed {seed})"),
            Way::Restarted => f.write_str("with a restart after every step"),
            Way::Undone => f.write_str("with every step undone and run again"),
            Way::AtOnce => f.write_str("with all rows in one epoch"),
            Way::Shuffled(seed) => write!(f, "in another order (seed {seed})"),
            Way::InBatch => f.write_str("in batch"),
        }
    }
}

/// Runs the test of one view in every way; returns in how many, and what was wrong.
pub(super) async fn run(subject: &Subject<'_>) -> (usize, Vec<Failure>) {
    let begun = async {
        let chain = subject.planned(1, 1).await?;
        let timeline = Timeline::of(&chain.slots(), subject.script, &subject.given)?;
        Ok::<_, Error>((chain, timeline))
    };
    let (chain, timeline) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return (1, vec![Failure::of(&error)]),
    };
    let expectations = match Expectations::of(subject, &chain) {
        Ok(expectations) => expectations,
        Err(error) => return (1, vec![Failure::of(&error)]),
    };
    let keeps_state = chain.keeps_state();
    let ways = Ways { subject, timeline: &timeline, expectations: &expectations, keeps_state };
    let written = match ways.as_written(chain).await {
        Ok(written) => written,
        Err(failure) => return (1, vec![failure]),
    };
    let (mut runs, mut failures) = (1, Vec::new());
    for way in ways.others(&written) {
        runs += 1;
        failures.extend(ways.other(way, &written).await.err());
        if failures.len() == FAILURES_MAX {
            break;
        }
    }
    (runs, failures)
}

/// What the test was, run as it is written.
struct Written {
    /// The rows that were late for everything.
    late: BTreeSet<Place>,
    /// Where the sources are at the end.
    marks: Vec<Mark>,
    stopped: bool,
}

struct Ways<'a> {
    subject: &'a Subject<'a>,
    timeline: &'a Timeline,
    expectations: &'a Expectations<'a>,
    /// Else a restart has nothing to go on with but where the sources are.
    keeps_state: bool,
}

impl Ways<'_> {
    fn moments(&self) -> &[Moment] {
        &self.timeline.moments
    }

    fn begun(&self, chain: Views) -> Run<'_> {
        Run::new(chain, &self.timeline.records, &self.timeline.begin())
    }

    async fn restarted<'r>(&self, run: Run<'r>, marks: &[Mark]) -> Result<Run<'r>> {
        run.restarted(self.subject.planned(1, 1).await?, marks)
    }

    /// What a step is, but for its records where they have been taken.
    async fn moment(&self, run: &mut Run<'_>, moment: &Moment, chunks: &[Chunk]) -> Result<Got> {
        let Moment { elsewhere, marks, newest, now, silent, ended, .. } = moment;
        if *elsewhere {
            return Ok(Got::default());
        }
        let mut got = match silent {
            Some(silent) => run.silence(marks, newest, *silent, *now).await?,
            None => run.epoch(chunks, marks, *now).await?,
        };
        if *ended {
            got.add(run.end(*now).await?);
        }
        Ok(got)
    }

    async fn as_written(&self, chain: Views) -> Result<Written, Failure> {
        let mut run = self.begun(chain);
        let (mut late, mut partly) = (BTreeSet::new(), None);
        for (at, moment) in self.moments().iter().enumerate() {
            let got = self.moment(&mut run, moment, &moment.chunks).await;
            let got = match (got, self.expectations.stop(at)) {
                (Ok(got), None) => got,
                (Err(error), Some(stop)) => {
                    self.expectations.same_error(stop, &error)?;
                    if let Some(line) = self.subject.line_after(at) {
                        return Err(self.subject.failure(line, "the query has stopped before this step"));
                    }
                    return Ok(Written { late, marks: moment.marks.clone(), stopped: true });
                }
                (Ok(_), Some(stop)) => return Err(self.subject.failure(stop.at.line, "the query goes on")),
                (Err(error), None) => {
                    let line = self.subject.line_of(at);
                    return Err(self.subject.failure(line, format!("the query stops: {}", error.report())));
                }
            };
            self.check(Way::AsWritten, at..at + 1, &got)?;
            self.check_open(Way::AsWritten, at, &run)?;
            for row in got.late.iter().chain(&got.late_below) {
                match row.origin.as_ref().filter(|_| row.wholly) {
                    Some(origin) => {
                        let table = self.expectations.table_of(&origin.topic);
                        late.insert((table, origin.partition, origin.offset));
                    }
                    None => partly = partly.or(Some(at)),
                }
            }
            if moment.restart {
                run = self.restarted(run, &moment.marks).await.map_err(|error| Failure::of(&error))?;
            }
        }
        if let Some(at) = partly.filter(|_| self.subject.script.holds < Holds::StepByStep) {
            let what = "a row is late for a part of what it could be in, so its results have no other order to be compared with\n  \
                        hint: say so before the first step, as in `not at once: a late row still counts in the later windows`";
            return Err(self.subject.failure(self.subject.line_of(at), what));
        }
        let marks = self.moments().last().map_or_else(Vec::new, |moment| moment.marks.clone());
        let marks =
            marks.iter().zip(run.forced()).map(|(mark, forced)| Mark { at: mark.at.max(*forced), idle: mark.idle });
        Ok(Written { late, marks: marks.collect(), stopped: false })
    }

    /// The ways that are others for this test.
    fn others(&self, written: &Written) -> Vec<Way> {
        let mut ways = vec![Way::Undone];
        if self.keeps_state {
            ways.push(Way::Restarted);
        }
        if written.stopped {
            return ways;
        }
        let records = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.to - chunk.from).sum::<usize>();
        if self.moments().iter().any(|moment| records(&moment.chunks) > 1) {
            ways.push(Way::RowByRow);
        }
        if self.stretches().into_iter().any(|stretch| records(&self.chunks_of(stretch)) > 1) {
            ways.extend(SEEDS.map(Way::Cut));
        }
        let holds = self.subject.script.holds;
        if holds <= Holds::AtOnce {
            ways.push(Way::AtOnce);
            ways.extend(SEEDS.map(Way::Shuffled));
        }
        if holds == Holds::InBatch {
            ways.push(Way::InBatch);
        }
        ways
    }

    async fn other(&self, way: Way, written: &Written) -> Result<(), Failure> {
        let ran = match way {
            Way::AsWritten | Way::RowByRow | Way::Restarted | Way::Undone => self.step_by_step(way).await,
            Way::Cut(seed) => self.cut(way, Dice(seed)).await,
            Way::AtOnce => self.at_once(written).await,
            Way::Shuffled(seed) => self.shuffled(way, Dice(seed), written).await,
            Way::InBatch => self.in_batch(written).await,
        };
        ran.map_err(|wrong| match wrong {
            Wrong::Seen(failure) => failure,
            Wrong::Failed(at, error) => {
                let line = at.map_or(0, |at| self.subject.line_of(at));
                self.subject.failure(line, format!("the query stops {way}: {}", error.report()))
            }
        })
    }

    async fn step_by_step(&self, way: Way) -> Result<(), Wrong> {
        let (partitions, wide_rows) = if way == Way::Undone { (2, 2) } else { (1, 1) };
        let mut run = self.begun(self.subject.planned(partitions, wide_rows).await?);
        for (at, moment) in self.moments().iter().enumerate() {
            let failed = |error| Wrong::Failed(Some(at), error);
            let mut got = Got::default();
            let before = self.timeline.marks_before(at);
            let mut chunks = moment.chunks.as_slice();
            match way {
                Way::RowByRow => {
                    for chunk in chunks.iter().flat_map(one_by_one) {
                        got.add(run.epoch(&[chunk], &before, moment.now).await.map_err(failed)?);
                    }
                    chunks = &[];
                }
                Way::Undone if !moment.elsewhere => run.undone(chunks, &moment.marks, moment.now).await,
                _ => {}
            }
            match (self.moment(&mut run, moment, chunks).await, self.expectations.stop(at)) {
                (Ok(more), None) => got.add(more),
                (Err(error), Some(stop)) => return Ok(self.expectations.same_error(stop, &error)?),
                (Err(error), None) => return Err(failed(error)),
                (Ok(_), Some(stop)) => Err(self.subject.failure(stop.at.line, format!("the query goes on {way}")))?,
            }
            self.check(way, at..at + 1, &got)?;
            self.check_open(way, at, &run)?;
            if moment.restart || way == Way::Restarted {
                run = self.restarted(run, &moment.marks).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Steps that bring rows and move no watermark but with the last of them: their rows may come in any epochs.
    fn stretches(&self) -> Vec<Range<usize>> {
        let moments = self.moments();
        let only_rows = |at: usize| {
            let Moment { chunks, silent, restart, ended, .. } = &moments[at];
            !chunks.is_empty() && silent.is_none() && !restart && !ended
        };
        let mut stretches: Vec<Range<usize>> = Vec::new();
        for at in 0..moments.len() {
            let goes_on = |stretch: &Range<usize>| {
                let before = stretch.end - 1;
                only_rows(before) && only_rows(at) && moments[before].marks == self.timeline.marks_before(before)
            };
            match stretches.last_mut() {
                Some(stretch) if goes_on(stretch) => stretch.end = at + 1,
                _ => stretches.push(at..at + 1),
            }
        }
        stretches
    }

    fn chunks_of(&self, stretch: Range<usize>) -> Vec<Chunk> {
        self.moments()[stretch].iter().flat_map(|moment| moment.chunks.clone()).collect()
    }

    async fn cut(&self, way: Way, mut dice: Dice) -> Result<(), Wrong> {
        let mut run = self.begun(self.subject.planned(3, 1).await?);
        for stretch in self.stretches() {
            let last = &self.moments()[stretch.end - 1];
            if last.elsewhere {
                continue;
            }
            let failed = |error| Wrong::Failed(Some(stretch.start), error);
            let (after, got) = self.cut_stretch(run, stretch.clone(), &mut dice).await.map_err(failed)?;
            run = after;
            self.check_open(way, stretch.end - 1, &run)?;
            self.check(way, stretch, &got)?;
            if last.restart {
                run = self.restarted(run, &last.marks).await?;
            }
        }
        Ok(())
    }

    /// Some epochs, of any rows of a stretch, in which nothing moves before the last of them has come.
    async fn cut_stretch<'r>(
        &self,
        mut run: Run<'r>,
        stretch: Range<usize>,
        dice: &mut Dice,
    ) -> Result<(Run<'r>, Got)> {
        let before = self.timeline.marks_before(stretch.start);
        let last = &self.moments()[stretch.end - 1];
        let mut waiting = Waiting::of(self.chunks_of(stretch));
        let mut got = Got::default();
        loop {
            let epoch = waiting.some(dice);
            // The last rows may come with the watermark, or before it.
            if waiting.is_empty() && dice.below(2) == 0 {
                got.add(self.moment(&mut run, last, &epoch).await?);
                return Ok((run, got));
            }
            if dice.below(4) == 0 {
                run.undone(&epoch, &before, last.now).await;
            }
            got.add(run.epoch(&epoch, &before, last.now).await?);
            if dice.below(6) == 0 && self.keeps_state {
                run = self.restarted(run, &before).await?;
            }
            if waiting.is_empty() {
                got.add(self.moment(&mut run, last, &[]).await?);
                return Ok((run, got));
            }
        }
    }

    /// All records but the late ones.
    fn in_time(&self, written: &Written) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for (slot, partitions) in self.timeline.records.iter().enumerate() {
            for (partition, records) in partitions {
                let is_late = |at: &usize| {
                    let offset = Offset::try_from(*at).unwrap_or(Offset::MAX);
                    written.late.contains(&(self.expectations.tables[slot].clone(), *partition, offset))
                };
                let in_time = (0..records.len()).filter(|at| !is_late(at));
                chunks.extend(in_time.map(|at| Chunk { slot, partition: *partition, from: at, to: at + 1 }));
            }
        }
        joined(chunks)
    }

    fn now(&self) -> Micros {
        self.moments().last().map_or(0, |moment| moment.now)
    }

    fn has_ended(&self) -> bool {
        self.moments().last().is_some_and(|moment| moment.ended)
    }

    /// Brings the sources to where they are at the end of the test.
    async fn finished(&self, run: &mut Run<'_>, written: &Written) -> Result<Got> {
        let mut got = run.get_to(&written.marks, self.now()).await?;
        if self.has_ended() {
            got.add(run.end(self.now()).await?);
        }
        Ok(got)
    }

    async fn at_once(&self, written: &Written) -> Result<(), Wrong> {
        let mut run = self.begun(self.subject.planned(2, 1).await?);
        let mut got = run.epoch(&self.in_time(written), &written.marks, self.now()).await?;
        got.add(self.finished(&mut run, written).await?);
        Ok(self.check_all(Way::AtOnce, &got, &run)?)
    }

    async fn shuffled(&self, way: Way, mut dice: Dice, written: &Written) -> Result<(), Wrong> {
        let mut run = self.begun(self.subject.planned(3, 3).await?);
        let mut waiting = Waiting::of(self.in_time(written));
        let (mut got, mut marks) = (Got::default(), self.timeline.begin());
        while !waiting.is_empty() {
            let epoch = waiting.some(&mut dice);
            // As far as no row that is still to come is late.
            for (slot, mark) in marks.iter_mut().enumerate() {
                let next =
                    waiting.chunks().filter(|chunk| chunk.slot == slot).filter_map(|chunk| self.earliest(chunk)).min();
                let end = written.marks[slot].at;
                let at = next.map_or(end, |next| next.min(end));
                // The end of a source is for the end.
                mark.at = if at == END { mark.at } else { mark.at.max(at) };
            }
            got.add(run.epoch(&epoch, &marks, self.now()).await?);
        }
        got.add(self.finished(&mut run, written).await?);
        Ok(self.check_all(way, &got, &run)?)
    }

    fn earliest(&self, chunk: &Chunk) -> Option<Micros> {
        let records = self.timeline.records[chunk.slot].get(&chunk.partition)?.get(chunk.from..chunk.to)?;
        records.iter().filter_map(|record| record.time).min()
    }

    async fn in_batch(&self, written: &Written) -> Result<(), Wrong> {
        let catalog = self.subject.without(written.late.clone());
        let chain = self.subject.planned(1, 1).await?;
        let mut tables = Computed::new(&catalog, &chain)?;
        for query in chain.below() {
            let (schema, rows) = computed(&query.view, &tables).await?;
            tables.add(&query.view, schema, rows)?;
        }
        let (_, rows) = computed(&self.subject.view, &tables).await?;
        let mut wanted = self.expectations.rows(0..self.moments().len());
        // Of what was open at the end the stream has said nothing yet.
        wanted.and_more = !self.has_ended();
        let got = self.expectations.shown_rows(&wanted, &rows)?;
        self.seen(Way::InBatch, "gives other rows than expected", &wanted, &got, 0..self.moments().len())?;
        Ok(())
    }

    fn check(&self, way: Way, moments: Range<usize>, got: &Got) -> Result<(), Failure> {
        self.check_ledgers(way, moments, got, true)
    }

    /// After all rows have come in time.
    fn check_all(&self, way: Way, got: &Got, run: &Run<'_>) -> Result<(), Failure> {
        self.check_ledgers(way, 0..self.moments().len(), got, false)?;
        self.moments().len().checked_sub(1).map_or(Ok(()), |last| self.check_open(way, last, run))
    }

    /// What readers see of open windows after a step, where the test says it.
    fn check_open(&self, way: Way, step: usize, run: &Run<'_>) -> Result<(), Failure> {
        // What leaves by the clock is another thing where a step is several epochs, and a restart lets all of it leave.
        let by_clock = self.subject.view.emit.early.is_some_and(|early| matches!(early.when, EarlyWhen::Every(_)));
        if by_clock && !matches!(way, Way::AsWritten | Way::Undone) {
            return Ok(());
        }
        let Some(wanted) = self.expectations.early(step) else { return Ok(()) };
        let rows = run.open_rows().and_then(|rows| self.expectations.shown_rows(&wanted, &rows));
        let rows = rows.map_err(|error| Failure::of(&error))?;
        self.seen(way, "shows other open rows than expected", &wanted, &rows, step..step + 1)
    }

    fn check_ledgers(&self, way: Way, moments: Range<usize>, got: &Got, may_be_late: bool) -> Result<(), Failure> {
        let expectations = self.expectations;
        let mut wanted = expectations.rows(moments.clone());
        // The order is that of the steps.
        wanted.in_order &= matches!(way, Way::AsWritten | Way::RowByRow | Way::Restarted | Way::Undone);
        let rows = expectations.shown_rows(&wanted, &got.rows).map_err(|error| Failure::of(&error))?;
        self.seen(way, "gives other rows than expected", &wanted, &rows, moments.clone())?;
        let late = if may_be_late { expectations.late(moments.clone()) } else { expectations.late(0..0) };
        let rows = expectations.shown_late(&late, &got.late);
        self.seen(way, "has other late rows than expected", &late, &rows, moments.clone())?;
        let bad = expectations.bad(moments.clone());
        let rows = expectations.shown_bad(&bad, &got.bad);
        self.seen(way, "has other bad rows than expected", &bad, &rows, moments)
    }

    fn seen(
        &self,
        way: Way,
        what: &str,
        wanted: &Wanted,
        got: &[Vec<Value>],
        moments: Range<usize>,
    ) -> Result<(), Failure> {
        let Some(difference) = difference(wanted, got, self.subject.script.day) else { return Ok(()) };
        let line = wanted.line.unwrap_or_else(|| self.subject.line_of(moments.start));
        let name = &self.subject.view.name;
        Err(self.subject.failure(line, format!("{name} {what}, {way}\n{difference}")))
    }
}

/// The rows of a view in batch.
async fn computed(view: &ViewDef, tables: &Computed<'_>) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let planned = plan_bounded(view, tables, PlanSettings { partitions: 2, wide_rows: 1 }).await?;
    let Planned::Batch(context, plan) = planned else { return Err(Error::bug("a bounded plan is a stream")) };
    let output = run_batch(view, &context, &plan, tables, OnBadRow::DeadLetter, &Account::unlimited()).await?;
    let rows = output.rows.batches().collect::<Result<Vec<_>>>()?;
    let schema = rows.first().map_or_else(|| Arc::clone(plan.schema().inner()), RecordBatch::schema);
    Ok((schema, rows))
}

/// What is wrong with a way.
enum Wrong {
    Seen(Failure),
    /// The query fails, at which step where that can be told.
    Failed(Option<usize>, Error),
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Wrong::Seen(failure)
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong::Failed(None, error)
    }
}

fn one_by_one(chunk: &Chunk) -> impl Iterator<Item = Chunk> + use<> {
    let Chunk { slot, partition, from, to } = *chunk;
    (from..to).map(move |at| Chunk { slot, partition, from: at, to: at + 1 })
}

/// Records that have not come yet, in the order of each partition.
struct Waiting(Vec<VecDeque<Chunk>>);

impl Waiting {
    fn of(chunks: Vec<Chunk>) -> Self {
        let mut queues = BTreeMap::<_, VecDeque<Chunk>>::new();
        for chunk in chunks.iter().flat_map(one_by_one) {
            queues.entry((chunk.slot, chunk.partition)).or_default().push_back(chunk);
        }
        Waiting(queues.into_values().collect())
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(VecDeque::is_empty)
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.0.iter().flatten()
    }

    /// The next records of some partitions.
    fn some(&mut self, dice: &mut Dice) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for _ in 0..=dice.below(3) {
            let mut queues: Vec<_> = self.0.iter_mut().filter(|queue| !queue.is_empty()).collect();
            if queues.is_empty() {
                break;
            }
            let at = dice.below(queues.len());
            let queue = &mut queues[at];
            let rows = 1 + dice.below(queue.len().min(3));
            chunks.extend(queue.drain(..rows));
        }
        joined(chunks)
    }
}

/// Records that follow one another as one.
fn joined(chunks: Vec<Chunk>) -> Vec<Chunk> {
    let mut joined: Vec<Chunk> = Vec::new();
    for chunk in chunks {
        match joined.last_mut() {
            Some(last) if (last.slot, last.partition, last.to) == (chunk.slot, chunk.partition, chunk.from) => {
                last.to = chunk.to
            }
            _ => joined.push(chunk),
        }
    }
    joined
}

/// Numbers that look random and are the same each time (Steele et al., "SplitMix", OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        (mixed % u64::try_from(end.max(1)).unwrap_or(1)) as usize
    }
}
