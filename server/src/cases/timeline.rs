//! The steps of a test as one query sees them: which records each brings, and where it leaves the sources' watermarks.
//!
//! Decided before anything runs, so that every way to run the test has the same marks at the same places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::records::{AllGiven, Decoded, SlotDecoder};
use super::script::{Action, Script, SourceName, Step};
use crate::clock::{Micros, micros_of};
use crate::error::Result;
use crate::pipeline::StreamSlot;
use crate::source::{Known, Offset, Partition, Progress};
use crate::watermark::{END, Mark, NONE, SourceWatermark};

/// Processing time where a test does not say it: no row's time lies behind it, so that none is too far in the future.
const LATEST: Micros = 253_402_300_799_999_999;

/// Records of one partition of one slot that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) slot: usize,
    pub(super) partition: Partition,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// What a step is to one query.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// It is not about this query: it brings rows of other tables.
    pub(super) elsewhere: bool,
    pub(super) chunks: Vec<Chunk>,
    /// Of each slot, after the step.
    pub(super) marks: Vec<Mark>,
    /// Of each slot, the latest event time so far that counts.
    pub(super) newest: Vec<Micros>,
    pub(super) now: Micros,
    /// How long nothing has come, where that is what the step is about.
    pub(super) silent: Option<Micros>,
    pub(super) restart: bool,
    /// All input has ended with it.
    pub(super) ended: bool,
}

/// The records of one slot, by partition.
pub(super) type SlotRecords = BTreeMap<Partition, Vec<Decoded>>;

#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) moments: Vec<Moment>,
    pub(super) records: Vec<SlotRecords>,
}

impl Timeline {
    /// # Errors
    /// `Bug` where a record cannot even be refused.
    pub(super) fn of(slots: &[Arc<StreamSlot>], script: &Script, given: &AllGiven) -> Result<Self> {
        let mut now = script.clock.unwrap_or(LATEST);
        let partitions = partitions(script);
        let none = BTreeSet::from([0]);
        let mut times: Vec<SourceTime> = Vec::new();
        let mut decoders = Vec::new();
        for slot in slots {
            let partitions = partitions.get(slot.table.name.as_str()).unwrap_or(&none);
            times.push(SourceTime::new(slot, script.follows_rows, partitions, now));
            decoders.push(SlotDecoder::try_new(slot)?);
        }
        let mut records: Vec<SlotRecords> = slots.iter().map(|_| SlotRecords::new()).collect();
        let mut moments = Vec::new();
        let mut last_rows = now;
        for Step { actions, .. } in &script.steps {
            let (mut chunks, mut silent, mut restart) = (Vec::new(), None, false);
            for action in actions {
                match action {
                    Action::Rows { table, partition, records: rows } => {
                        for slot in (0..slots.len()).filter(|slot| slots[*slot].table.name == table.name) {
                            let decoded = records[slot].entry(*partition).or_default();
                            let from = decoded.len();
                            let of_partition = given.get(&table.name).and_then(|of| of.get(partition));
                            for (offset, given) in
                                (from..).zip(of_partition.into_iter().flatten().skip(from).take(rows.len()))
                            {
                                let offset = Offset::try_from(offset).unwrap_or(Offset::MAX);
                                let record = decoders[slot].decode(*partition, offset, given, now)?;
                                times[slot].row(*partition, &record.progress, now);
                                decoded.push(record);
                            }
                            chunks.push(Chunk { slot, partition: *partition, from, to: decoded.len() });
                        }
                        last_rows = now;
                    }
                    Action::Watermark { source, at } => {
                        for slot in concerned(source, slots) {
                            times[slot].reach(source.partition, *at, now);
                        }
                    }
                    Action::Idle(source) => {
                        let before = now;
                        for slot in concerned(source, slots) {
                            now = now.max(before.saturating_add(times[slot].idle_timeout));
                        }
                        for slot in concerned(source, slots) {
                            times[slot].fall_idle(source.partition, before, now);
                        }
                    }
                    Action::Silence(length) => {
                        let before = now;
                        now = now.saturating_add(*length);
                        silent = Some(now.saturating_sub(last_rows));
                        if script.follows_rows {
                            times.iter_mut().for_each(|time| time.fall_idle(None, before, now));
                        }
                    }
                    Action::Restart => restart = true,
                    Action::End(table) => {
                        let ends =
                            |slot: &usize| table.as_ref().is_none_or(|table| slots[*slot].table.name == table.name);
                        for slot in (0..slots.len()).filter(ends) {
                            times[slot].watermark.force(END);
                        }
                    }
                }
            }
            let marks: Vec<Mark> = times.iter_mut().map(SourceTime::mark).collect();
            let newest = times.iter().map(|time| time.newest.max(time.watermark.newest())).collect();
            let ended = actions.iter().any(|action| matches!(action, Action::End(_)))
                && marks.iter().all(|mark| *mark == Mark::END);
            let elsewhere = chunks.is_empty() && actions.iter().all(|action| matches!(action, Action::Rows { .. }));
            moments.push(Moment { elsewhere, chunks, marks, newest, now, silent, restart, ended });
        }
        Ok(Timeline { moments, records })
    }

    /// Where the sources stand at the beginning.
    pub(super) fn begin(&self) -> Vec<Mark> {
        vec![Mark::NONE; self.records.len()]
    }

    pub(super) fn marks_before(&self, moment: usize) -> Vec<Mark> {
        match moment.checked_sub(1) {
            Some(before) => self.moments[before].marks.clone(),
            None => self.begin(),
        }
    }
}

fn concerned<'a>(source: &'a SourceName, slots: &'a [Arc<StreamSlot>]) -> impl Iterator<Item = usize> + use<'a> {
    let is = |slot: &usize| source.table.as_ref().is_none_or(|table| slots[*slot].table.name == table.name);
    (0..slots.len()).filter(move |slot| is(slot))
}

/// The partitions that a test names, of each table: all of them are there from the beginning, so that none runs ahead of one that has not
/// spoken yet.
fn partitions(script: &Script) -> BTreeMap<&str, BTreeSet<Partition>> {
    let mut found = BTreeMap::<&str, BTreeSet<Partition>>::new();
    for action in script.steps.iter().flat_map(|step| &step.actions) {
        let named = match action {
            Action::Rows { table, partition, .. } => Some((table, *partition)),
            Action::Watermark { source, .. } | Action::Idle(source) => source.table.as_ref().zip(source.partition),
            _ => None,
        };
        if let Some((table, partition)) = named {
            found.entry(table.name.as_str()).or_default().insert(partition);
        }
    }
    found
}

/// How far a source has got, by the rules of a server's.
struct SourceTime {
    watermark: SourceWatermark,
    /// Whether rows move it.
    follows: bool,
    partitions: BTreeSet<Partition>,
    /// For how long a partition has to be silent to be idle.
    idle_timeout: Micros,
    /// The partitions that are known to have nothing, and since when.
    silent: BTreeMap<Partition, Known>,
    newest: Micros,
    position: BTreeMap<Partition, Offset>,
}

/// Where a test says what is idle, it is idle at once.
const AT_ONCE: Micros = 1;

impl SourceTime {
    fn new(slot: &StreamSlot, follows: bool, partitions: &BTreeSet<Partition>, now: Micros) -> Self {
        let mut definition = slot.table.watermark.clone();
        if let Some(definition) = definition.as_mut().filter(|_| !follows) {
            // The test says what the watermark is, not of which rows it is made.
            definition.steps.clear();
            definition.idle_timeout = Some(Duration::from_micros(AT_ONCE.unsigned_abs()));
        }
        let idle_timeout = definition.as_ref().and_then(|definition| definition.idle_timeout);
        let mut time = SourceTime {
            watermark: SourceWatermark::new(definition.as_ref()),
            follows,
            partitions: partitions.clone(),
            idle_timeout: idle_timeout.map_or(AT_ONCE, micros_of),
            silent: BTreeMap::new(),
            newest: NONE,
            position: BTreeMap::new(),
        };
        for partition in partitions {
            time.observe(*partition, None, now);
        }
        time
    }

    fn observe(&mut self, partition: Partition, event_time_max: Option<Micros>, now: Micros) {
        let at = self.position.get(&partition).copied().unwrap_or_default();
        let progress = Progress { from: at, to: at, records: 0, event_time_max, far_future: 0, end: None };
        self.watermark.observe(partition, &progress, now);
    }

    fn speaks(&mut self, partition: Partition) {
        self.silent.remove(&partition);
        self.watermark.observe_ends(&self.silent);
    }

    fn row(&mut self, partition: Partition, progress: &Progress, now: Micros) {
        self.position.insert(partition, progress.to);
        self.newest = self.newest.max(progress.event_time_max.unwrap_or(self.newest));
        self.speaks(partition);
        self.observe(partition, progress.event_time_max.filter(|_| self.follows), now);
    }

    fn reach(&mut self, partition: Option<Partition>, at: Micros, now: Micros) {
        for partition in partition.map_or_else(|| self.partitions.clone(), |partition| BTreeSet::from([partition])) {
            self.speaks(partition);
            self.observe(partition, Some(at), now);
        }
    }

    /// Partitions answer, from `since` to `now`, that they have nothing.
    fn fall_idle(&mut self, partition: Option<Partition>, since: Micros, now: Micros) {
        for partition in partition.map_or_else(|| self.partitions.clone(), |partition| BTreeSet::from([partition])) {
            let known = self.silent.entry(partition).or_insert(Known { end: 0, since, at: now });
            known.at = now;
        }
        self.watermark.observe_ends(&self.silent);
    }

    fn mark(&mut self) -> Mark {
        self.watermark.advance();
        self.watermark.mark()
    }
}
