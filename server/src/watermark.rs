//! Event-time progress: how far each partition has got, and therefore which rows are late and which windows may close.
//!
//! A watermark `W` on an edge of a plan promises that every later row has an event time of at least `W`. A source's is the
//! minimum over its partitions that are not idle, less the declared delay, and never moves back. The watermark of any
//! other edge is a [`WatermarkExpr`] over the sources': a pure function, evaluated before an epoch runs.
//!
//! Each epoch has two thresholds: rows are late against the watermark *after the previous epoch*, windows close at the
//! watermark *after this one*. With a single threshold, rows that one operator emits at close would arrive late at the next
//! (the flaw that SPARK-40925 describes).
//!
//! No I/O and no clock here: the caller passes processing time in.

use std::collections::BTreeMap;

use crate::catalog::WatermarkDef;
use crate::clock::Micros;
use crate::source::{Partition, Progress};

/// No watermark yet: nothing is late and nothing closes.
pub const NONE: Micros = Micros::MIN;
/// Bounded input has ended: every window closes.
pub const END: Micros = Micros::MAX;

/// Event-time progress of one source table.
#[derive(Debug, Clone)]
pub struct SourceWatermark {
    delay: Micros,
    idle_timeout: Option<Micros>,
    partitions: BTreeMap<Partition, PartitionTime>,
    current: Micros,
}

/// Event-time progress of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionTime {
    /// `None` until a row has come.
    pub event_time_max: Option<Micros>,
    /// Processing time of the last row with a time that counts, or of the moment the partition became known.
    active_at: Micros,
    /// Records wait in the partition: it lags, and a partition that lags is never idle.
    behind: bool,
}

impl SourceWatermark {
    pub fn new(def: Option<&WatermarkDef>) -> Self {
        let micros = |duration: std::time::Duration| Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX);
        SourceWatermark {
            delay: def.map_or(0, |def| micros(def.delay)),
            idle_timeout: def.and_then(|def| def.idle_timeout).map(micros),
            partitions: BTreeMap::new(),
            current: NONE,
        }
    }

    /// Takes up where a checkpoint left: `current` stays a lower bound whatever the partitions say.
    pub fn restore(
        &mut self,
        current: Micros,
        partitions: impl IntoIterator<Item = (Partition, Option<Micros>)>,
        now: Micros,
    ) {
        self.current = self.current.max(current);
        for (partition, event_time_max) in partitions {
            self.partitions.insert(partition, PartitionTime { event_time_max, active_at: now, behind: false });
        }
    }

    /// Notes what an epoch's input brought for one partition.
    pub fn observe(&mut self, partition: Partition, progress: &Progress, now: Micros) {
        let time = self.partitions.entry(partition).or_insert(PartitionTime {
            event_time_max: None,
            active_at: now,
            behind: false,
        });
        // Records without a time that counts bring the watermark nowhere, so they must not make others wait for it either.
        if progress.event_time_max.is_some() {
            time.active_at = now;
        }
        time.event_time_max = time.event_time_max.max(progress.event_time_max);
        time.behind = progress.to < progress.end;
    }

    /// The watermark at processing time `now`. Where every partition is idle it stands still.
    pub fn advance(&mut self, now: Micros) -> Micros {
        let slowest = self
            .partitions
            .values()
            .filter(|time| !self.is_idle(time, now))
            .map(|time| time.event_time_max.map_or(NONE, |at| at.saturating_sub(self.delay)))
            .min();
        if let Some(slowest) = slowest {
            self.current = self.current.max(slowest);
        }
        self.current
    }

    /// Raises the watermark to `at` whatever the partitions say: the end of bounded input, or an emission timeout.
    pub fn force(&mut self, at: Micros) -> Micros {
        self.current = self.current.max(at);
        self.current
    }

    pub fn current(&self) -> Micros {
        self.current
    }

    /// The latest event time that counts: those in the far future do not.
    pub fn newest(&self) -> Micros {
        self.partitions.values().filter_map(|time| time.event_time_max).fold(self.current, Micros::max)
    }

    /// Every partition with its progress, and whether it is left out of the minimum at `now`.
    pub fn partitions(&self, now: Micros) -> impl Iterator<Item = (Partition, PartitionTime, bool)> + '_ {
        self.partitions.iter().map(move |(partition, time)| (*partition, *time, self.is_idle(time, now)))
    }

    /// When the next partition falls idle and the watermark may therefore move without a row, if ever.
    pub fn next_idle_at(&self, now: Micros) -> Option<Micros> {
        let timeout = self.idle_timeout?;
        self.partitions
            .values()
            .filter(|time| !time.behind && !self.is_idle(time, now))
            .map(|time| time.active_at.saturating_add(timeout))
            .min()
    }

    fn is_idle(&self, time: &PartitionTime, now: Micros) -> bool {
        !time.behind && self.idle_timeout.is_some_and(|timeout| now.saturating_sub(time.active_at) >= timeout)
    }
}

/// The watermark of one time column on one edge of a plan, as a function of the sources' watermarks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WatermarkExpr {
    /// The source table at this slot.
    Source(usize),
    /// Moved by a constant, microseconds.
    Shift(Box<WatermarkExpr>, Micros),
    /// The least of several inputs, as of a `UNION ALL`.
    Min(Vec<WatermarkExpr>),
}

impl WatermarkExpr {
    /// `sources`: the watermark of each source slot. [`NONE`] and [`END`] stay what they are under a shift.
    pub fn evaluate(&self, sources: &[Micros]) -> Micros {
        match self {
            WatermarkExpr::Source(slot) => sources.get(*slot).copied().unwrap_or(NONE),
            WatermarkExpr::Shift(inner, by) => match inner.evaluate(sources) {
                NONE => NONE,
                END => END,
                at => at.saturating_add(*by),
            },
            WatermarkExpr::Min(inputs) => inputs.iter().map(|input| input.evaluate(sources)).min().unwrap_or(NONE),
        }
    }

    pub fn shifted(self, by: Micros) -> Self {
        match (self, by) {
            (expr, 0) => expr,
            (WatermarkExpr::Shift(inner, already), by) => WatermarkExpr::Shift(inner, already.saturating_add(by)),
            (expr, by) => WatermarkExpr::Shift(Box::new(expr), by),
        }
    }

    /// The slots it depends on.
    pub fn sources(&self, into: &mut Vec<usize>) {
        match self {
            WatermarkExpr::Source(slot) => into.push(*slot),
            WatermarkExpr::Shift(inner, _) => inner.sources(into),
            WatermarkExpr::Min(inputs) => inputs.iter().for_each(|input| input.sources(into)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Micros = 1_000_000;

    fn source() -> SourceWatermark {
        SourceWatermark::new(Some(&WatermarkDef {
            column: "ts".into(),
            delay: Duration::from_secs(5),
            idle_timeout: Some(Duration::from_secs(30)),
            max_future: Duration::from_secs(300),
        }))
    }

    fn rows(to: i64, end: i64, event_time_max: Option<Micros>) -> Progress {
        Progress { from: 0, to, records: u64::from(event_time_max.is_some()), event_time_max, far_future: 0, end }
    }

    #[test]
    fn the_slowest_partition_holds_the_watermark_until_it_is_idle() {
        let mut source = source();
        source.observe(0, &rows(1, 1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(1, 1, Some(50 * SECOND)), 0);
        assert_eq!(source.advance(0), 45 * SECOND);
        source.observe(0, &rows(2, 2, Some(110 * SECOND)), 20 * SECOND);
        assert_eq!(source.advance(29 * SECOND), 45 * SECOND);
        assert_eq!(source.next_idle_at(29 * SECOND), Some(30 * SECOND));
        assert_eq!(source.advance(30 * SECOND), 105 * SECOND);
    }

    #[test]
    fn a_partition_that_lags_is_not_idle_however_long_it_is_silent() {
        let mut source = source();
        source.observe(0, &rows(1, 1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(1, 9, Some(50 * SECOND)), 0);
        source.observe(0, &rows(2, 2, Some(200 * SECOND)), 40 * SECOND);
        assert_eq!(source.advance(60 * SECOND), 45 * SECOND);
    }

    #[test]
    fn a_partition_never_heard_of_holds_the_watermark_at_none() {
        let mut source = source();
        source.observe(0, &rows(1, 1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(0, 0, None), 0);
        assert_eq!(source.advance(10 * SECOND), NONE);
        source.observe(0, &rows(2, 2, Some(101 * SECOND)), 25 * SECOND);
        assert_eq!(source.advance(30 * SECOND), 96 * SECOND);
    }

    #[test]
    fn it_never_moves_back_and_stands_still_when_all_are_idle() {
        let mut source = source();
        source.observe(0, &rows(1, 1, Some(100 * SECOND)), 0);
        assert_eq!(source.advance(0), 95 * SECOND);
        source.observe(0, &rows(2, 2, Some(10 * SECOND)), SECOND);
        assert_eq!(source.advance(SECOND), 95 * SECOND);
        assert_eq!(source.advance(500 * SECOND), 95 * SECOND);
        source.observe(1, &rows(1, 1, Some(20 * SECOND)), 501 * SECOND);
        assert_eq!(source.advance(501 * SECOND), 95 * SECOND);
    }

    #[test]
    fn a_partition_whose_times_all_lie_in_the_far_future_is_left_out_like_an_idle_one() {
        let mut source = source();
        source.observe(0, &rows(1, 1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(1, 1, Some(40 * SECOND)), 0);
        let far = Progress { records: 1, far_future: 1, ..rows(2, 2, None) };
        source.observe(0, &rows(2, 2, Some(130 * SECOND)), 30 * SECOND);
        source.observe(1, &far, 29 * SECOND);
        assert_eq!(source.advance(29 * SECOND), 35 * SECOND);
        assert_eq!(source.advance(30 * SECOND), 125 * SECOND);
    }

    #[test]
    fn edges_shift_and_take_the_least_but_keep_none_and_end() {
        let expr = WatermarkExpr::Min(vec![WatermarkExpr::Source(0).shifted(-10), WatermarkExpr::Source(1)]);
        assert_eq!(expr.evaluate(&[100, 95]), 90);
        assert_eq!(expr.evaluate(&[100, 80]), 80);
        assert_eq!(expr.evaluate(&[NONE, 80]), NONE);
        assert_eq!(expr.evaluate(&[END, END]), END);
        assert_eq!(expr.evaluate(&[END, 7]), 7);
    }
}
