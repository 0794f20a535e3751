//! How far event time has got in one source table: per partition, and of the table as a whole.

use std::collections::BTreeMap;

use super::{END, Mark, Monotone, NONE};
use crate::catalog::WatermarkDef;
use crate::clock::{Micros, micros_of};
use crate::source::{Known, Offset, Partition, Progress};

/// Event-time progress of one source table: the minimum over its partitions that are not idle, put back as declared. It never
/// moves back.
#[derive(Debug, Clone)]
pub struct SourceWatermark {
    /// From a partition's newest time to its watermark.
    steps: Vec<Monotone>,
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
    /// Everything before this offset has been taken; `None` until the source has said where the partition stands.
    position: Option<Offset>,
    /// What is known of the partition's end. `None`: it does not answer, and may hold anything.
    known: Option<Known>,
}

/// A stretch of processing time in which, as is proven, nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    since: Micros,
    until: Micros,
}

impl PartitionTime {
    fn new(event_time_max: Option<Micros>, now: Micros) -> Self {
        PartitionTime { event_time_max, active_at: now, position: None, known: None }
    }

    /// Since when nothing has come although the partition answers: it is at its end, and has been asked.
    ///
    /// Silence counts from when the end was first seen, after a time in which it was not known: what was written meanwhile is only
    /// about to come. It lasts until the end was last seen and not until now.
    fn silence(&self, last_row: Micros) -> Option<Silence> {
        let known = self.known.filter(|known| self.position.is_some_and(|position| known.end <= position))?;
        Some(Silence { since: known.since.max(last_row), until: known.at })
    }
}

impl SourceWatermark {
    pub fn new(def: Option<&WatermarkDef>) -> Self {
        SourceWatermark {
            steps: def.map_or_else(Vec::new, |def| def.steps.clone()),
            idle_timeout: def.and_then(|def| def.idle_timeout).map(micros_of),
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
            self.partitions.insert(partition, PartitionTime::new(event_time_max, now));
        }
    }

    /// Notes what an epoch's input brought for one partition.
    pub fn observe(&mut self, partition: Partition, progress: &Progress, now: Micros) {
        let time = self.partitions.entry(partition).or_insert(PartitionTime::new(None, now));
        // Records without a time that counts bring the watermark nowhere, so they must not make others wait for it either.
        if progress.event_time_max.is_some() {
            time.active_at = now;
        }
        time.event_time_max = time.event_time_max.max(progress.event_time_max);
        time.position = Some(progress.to);
    }

    /// Notes which partitions answer, and where they end. One that is not named does not.
    pub fn observe_ends(&mut self, known: &BTreeMap<Partition, Known>) {
        for (partition, time) in &mut self.partitions {
            time.known = known.get(partition).copied();
        }
    }

    /// Brings the watermark up to the slowest partition that is not idle. Where every partition is idle it stands still.
    pub fn advance(&mut self) -> Micros {
        let slowest = self
            .partitions
            .values()
            .filter(|time| !self.is_idle(time))
            .map(|time| time.event_time_max.map_or(NONE, |at| self.steps.iter().fold(at, |at, step| step.apply(at))))
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

    /// How far the source has got, and whether it is idle: all its partitions are, also if none has ever had a row.
    pub fn mark(&self) -> Mark {
        let all_idle = !self.partitions.is_empty() && self.partitions.values().all(|time| self.is_idle(time));
        Mark { at: self.current, idle: all_idle && self.current != END }
    }

    /// The latest event time that counts: those in the far future do not.
    pub fn newest(&self) -> Micros {
        self.partitions.values().filter_map(|time| time.event_time_max).fold(self.current, Micros::max)
    }

    /// Every partition with its progress, and whether it is left out of the minimum.
    pub fn partitions(&self) -> impl Iterator<Item = (Partition, PartitionTime, bool)> + '_ {
        self.partitions.iter().map(|(partition, time)| (*partition, *time, self.is_idle(time)))
    }

    /// For how long nothing at all has been written to any partition, as far as is proven: microseconds, counted from `last_row`
    /// at the earliest. `None` while a partition is not known, not read to its end, or does not answer.
    pub fn silent_for(&self, last_row: Micros) -> Option<Micros> {
        let each = self.partitions.values().map(|time| time.silence(last_row));
        let all = each.collect::<Option<Vec<Silence>>>()?;
        let (since, until) =
            (all.iter().map(|silence| silence.since).max()?, all.iter().map(|silence| silence.until).min()?);
        Some(until.saturating_sub(since).max(0))
    }

    /// When the next partition can fall idle and the watermark may therefore move without a row, if after `now`. What is due
    /// already waits for the partition's next answer.
    pub fn next_idle_at(&self, now: Micros) -> Option<Micros> {
        let timeout = self.idle_timeout?;
        self.partitions
            .values()
            .filter(|time| !self.is_idle(time))
            .filter_map(|time| Some(time.silence(time.active_at)?.since.saturating_add(timeout)))
            .filter(|due| *due > now)
            .min()
    }

    fn is_idle(&self, time: &PartitionTime) -> bool {
        let silence = time.silence(time.active_at);
        let lasted = silence.map(|silence| silence.until.saturating_sub(silence.since));
        self.idle_timeout.zip(lasted).is_some_and(|(timeout, lasted)| lasted >= timeout)
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
            steps: vec![Monotone::Less(5 * SECOND)],
            idle_timeout: Some(Duration::from_secs(30)),
            max_future: Duration::from_secs(300),
        }))
    }

    fn rows(to: i64, event_time_max: Option<Micros>) -> Progress {
        Progress {
            from: 0,
            to,
            records: u64::from(event_time_max.is_some()),
            event_time_max,
            far_future: 0,
            end: Some(to),
        }
    }

    /// Partitions that have answered all the time from the beginning until `now`, with their ends.
    fn answer(source: &mut SourceWatermark, ends: &[Offset], now: Micros) {
        answer_since(source, ends, 0, now);
    }

    fn answer_since(source: &mut SourceWatermark, ends: &[Offset], since: Micros, now: Micros) {
        let known = ends.iter().map(|end| Known { end: *end, since, at: now });
        source.observe_ends(&(0..).zip(known).collect());
        source.advance();
    }

    #[test]
    fn the_slowest_partition_holds_the_watermark_until_it_is_idle() {
        let mut source = source();
        source.observe(0, &rows(1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(1, Some(50 * SECOND)), 0);
        answer(&mut source, &[1, 1], 0);
        assert_eq!(source.current(), 45 * SECOND);
        source.observe(0, &rows(2, Some(110 * SECOND)), 20 * SECOND);
        answer(&mut source, &[2, 1], 29 * SECOND);
        assert_eq!(source.current(), 45 * SECOND);
        assert_eq!(source.next_idle_at(29 * SECOND), Some(30 * SECOND));
        answer(&mut source, &[2, 1], 30 * SECOND);
        assert_eq!(source.current(), 105 * SECOND);
    }

    #[test]
    fn a_partitions_watermark_is_its_newest_time_put_back_step_by_step() {
        let minute = Monotone::truncation("minute").unwrap();
        let mut source = SourceWatermark { steps: vec![minute, Monotone::Less(5 * SECOND)], ..source() };
        source.observe(0, &rows(1, Some(119 * SECOND)), 0);
        assert_eq!(source.advance(), 55 * SECOND);
        source.observe(0, &rows(2, Some(120 * SECOND)), 0);
        assert_eq!((source.advance(), source.newest()), (115 * SECOND, 120 * SECOND));
    }

    #[test]
    fn a_partition_that_lags_is_not_idle_however_long_it_is_silent() {
        let mut source = source();
        source.observe(0, &rows(1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(1, Some(50 * SECOND)), 0);
        source.observe(0, &rows(2, Some(200 * SECOND)), 40 * SECOND);
        answer(&mut source, &[2, 9], 60 * SECOND);
        assert_eq!(source.current(), 45 * SECOND);
    }

    #[test]
    fn a_partition_that_does_not_answer_is_not_idle_and_its_silence_counts_from_its_return() {
        let mut source = source();
        source.observe(0, &rows(1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(1, Some(50 * SECOND)), 0);
        // The second one answered until 20 s; at 60 s nobody knows what it holds.
        answer(&mut source, &[1, 1], 20 * SECOND);
        source.observe(0, &rows(2, Some(200 * SECOND)), 60 * SECOND);
        answer(&mut source, &[2], 60 * SECOND);
        assert_eq!((source.current(), source.next_idle_at(60 * SECOND)), (45 * SECOND, Some(90 * SECOND)));
        // Back at 70 s, at the same end: those who write to it have been waiting as well.
        answer_since(&mut source, &[2, 1], 70 * SECOND, 70 * SECOND);
        assert_eq!(source.current(), 45 * SECOND);
        answer_since(&mut source, &[2, 1], 70 * SECOND, 99 * SECOND);
        assert_eq!(source.current(), 45 * SECOND);
        answer_since(&mut source, &[2, 1], 70 * SECOND, 100 * SECOND);
        assert_eq!(source.mark(), Mark { at: 45 * SECOND, idle: true });
    }

    #[test]
    fn silence_lasts_until_the_last_answer_and_not_until_now() {
        let mut source = source();
        source.observe(0, &rows(1, Some(100 * SECOND)), 0);
        answer(&mut source, &[1], 29 * SECOND);
        // However late it is by then: what has not been asked is not known to be silent.
        assert!(!source.mark().idle);
        assert_eq!(source.next_idle_at(500 * SECOND), None);
        assert_eq!(source.silent_for(5 * SECOND), Some(24 * SECOND));
    }

    #[test]
    fn nothing_is_silent_before_every_partition_is_known_and_at_its_end() {
        let mut source = source();
        assert_eq!((source.silent_for(0), source.mark()), (None, Mark::NONE));
        source.restore(10 * SECOND, [(0, Some(15 * SECOND)), (1, None)], 0);
        // What a checkpoint says of a partition tells nothing of its end.
        assert_eq!(source.silent_for(0), None);
        answer(&mut source, &[1, 0], 50 * SECOND);
        assert_eq!((source.silent_for(0), source.mark().idle), (None, false));
        source.observe(0, &rows(1, None), 50 * SECOND);
        source.observe(1, &rows(0, None), 50 * SECOND);
        answer_since(&mut source, &[1, 0], 50 * SECOND, 55 * SECOND);
        assert_eq!(source.silent_for(0), Some(5 * SECOND));
        answer_since(&mut source, &[2, 0], 50 * SECOND, 56 * SECOND);
        assert_eq!(source.silent_for(0), None);
    }

    #[test]
    fn a_partition_never_heard_of_holds_the_watermark_at_none() {
        let mut source = source();
        source.observe(0, &rows(1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(0, None), 0);
        answer(&mut source, &[1, 0], 10 * SECOND);
        assert_eq!(source.current(), NONE);
        source.observe(0, &rows(2, Some(101 * SECOND)), 25 * SECOND);
        answer(&mut source, &[2, 0], 30 * SECOND);
        assert_eq!(source.current(), 96 * SECOND);
    }

    #[test]
    fn a_source_is_idle_when_all_its_partitions_are_also_if_none_has_ever_had_a_row() {
        let mut source = source();
        source.observe(0, &rows(0, None), 0);
        source.observe(1, &rows(0, None), 0);
        answer(&mut source, &[0, 0], 29 * SECOND);
        assert_eq!(source.mark(), Mark::NONE);
        answer(&mut source, &[0, 0], 30 * SECOND);
        assert_eq!(source.mark(), Mark { at: NONE, idle: true });
        source.observe(1, &rows(1, Some(50 * SECOND)), 40 * SECOND);
        answer(&mut source, &[0, 1], 40 * SECOND);
        assert_eq!(source.mark(), Mark::new(45 * SECOND));
        source.force(END);
        answer(&mut source, &[0, 1], 500 * SECOND);
        assert_eq!(source.mark(), Mark::END, "what has ended will not wake");
    }

    #[test]
    fn it_never_moves_back_and_stands_still_when_all_are_idle() {
        let mut source = source();
        source.observe(0, &rows(1, Some(100 * SECOND)), 0);
        assert_eq!(source.advance(), 95 * SECOND);
        source.observe(0, &rows(2, Some(10 * SECOND)), SECOND);
        assert_eq!(source.advance(), 95 * SECOND);
        answer(&mut source, &[2], 500 * SECOND);
        assert_eq!(source.mark(), Mark { at: 95 * SECOND, idle: true });
        source.observe(1, &rows(1, Some(20 * SECOND)), 501 * SECOND);
        assert_eq!(source.advance(), 95 * SECOND);
    }

    #[test]
    fn a_partition_whose_times_all_lie_in_the_far_future_is_left_out_like_an_idle_one() {
        let mut source = source();
        source.observe(0, &rows(1, Some(100 * SECOND)), 0);
        source.observe(1, &rows(1, Some(40 * SECOND)), 0);
        let far = Progress { records: 1, far_future: 1, ..rows(2, None) };
        source.observe(0, &rows(2, Some(130 * SECOND)), 30 * SECOND);
        source.observe(1, &far, 29 * SECOND);
        answer(&mut source, &[2, 2], 29 * SECOND);
        assert_eq!(source.current(), 35 * SECOND);
        answer(&mut source, &[2, 2], 30 * SECOND);
        assert_eq!(source.current(), 125 * SECOND);
    }
}
