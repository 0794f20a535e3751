//! How far a query is behind the ends of its sources: in records, in time, and for how much longer.
//!
//! Time behind is measured, not guessed from event times: it is how long ago the sources ended where the query stands now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::LIVE_WITHIN;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept: a query that is behind by more than ten minutes is behind by at least that.
const SAMPLES_MAX: usize = 600;
/// A rate is that of so many of the last seconds.
const RATE_OVER: Duration = Duration::from_secs(10);

/// Offsets of all partitions together, at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    position: i64,
    end: i64,
}

/// Where a query has stood.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many partitions the sums are of: with another number they cannot be compared.
    partitions: usize,
    first: Option<Sample>,
    last: Option<Sample>,
    /// Oldest first. Ends never go back.
    samples: VecDeque<Sample>,
    caught_up: bool,
    /// Since when the position is what it is.
    moved_at: Option<Instant>,
    /// Since when records wait, and none has been taken.
    untaken_since: Option<Instant>,
    /// Since when some end is not known.
    unknown_since: Option<Instant>,
}

/// What is seen of it at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Look {
    /// Records that wait.
    pub(super) lag: u64,
    /// How long ago the sources ended where the query stands; at least that, where it is longer ago than anybody remembers.
    pub(super) behind: Duration,
    /// It has been at the ends since it started.
    pub(super) caught_up: bool,
    /// For how long its position has not moved.
    pub(super) unmoved: Duration,
    /// For how long records have waited and none has been taken.
    pub(super) untaken: Duration,
    /// Of what was there and has come since it started.
    pub(super) percent: u8,
    /// Records taken a second.
    pub(super) rate: u64,
    /// Until it is at the end, where it comes nearer.
    pub(super) left: Option<Duration>,
}

impl Look {
    pub(super) fn progress(&self) -> String {
        let left = self.left.map_or_else(|| "no end in sight".to_owned(), |left| format!("{} s left", left.as_secs()));
        format!("{} %, {} records/s, {left}", self.percent, self.rate)
    }
}

impl Pace {
    /// Notes where it stands. `end`: `None` where that of some partition is not known.
    pub(super) fn observe(&mut self, now: Instant, partitions: usize, position: i64, end: Option<i64>) {
        let Some(end) = end else {
            self.unknown_since.get_or_insert(now);
            // Where the sources end now says nothing of where they ended meanwhile.
            (self.last, self.untaken_since) = (None, None);
            return;
        };
        let sample = Sample { at: now, position, end: end.max(position) };
        if self.partitions != partitions || self.unknown_since.take().is_some() {
            *self = Pace { partitions, caught_up: self.caught_up, ..Pace::default() };
        }
        let moved = self.last.is_none_or(|last| last.position != position);
        if moved {
            self.moved_at = Some(now);
        }
        if sample.end == position {
            self.untaken_since = None;
        } else if moved || self.untaken_since.is_none() {
            self.untaken_since = Some(now);
        }
        self.first.get_or_insert(sample);
        self.last = Some(sample);
        if self.samples.back().is_none_or(|last| now.saturating_duration_since(last.at) >= EVERY) {
            if self.samples.len() == SAMPLES_MAX {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
        }
        self.caught_up |= self.behind(sample, now).is_some_and(|behind| behind < LIVE_WITHIN);
    }

    /// How long ago the sources ended at `position`; `None` where nobody remembers.
    fn behind(&self, Sample { position, end, .. }: Sample, now: Instant) -> Option<Duration> {
        if end == position {
            return Some(Duration::ZERO);
        }
        let at = self.samples.partition_point(|sample| sample.end <= position).checked_sub(1)?;
        Some(now.saturating_duration_since(self.samples[at].at))
    }

    pub(super) fn look(&self, now: Instant) -> Option<Look> {
        let (first, last) = (self.first?, self.last?);
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let oldest = self.samples.front().map(|sample| sample.at);
        let recent = self.samples.iter().find(|sample| now.saturating_duration_since(sample.at) <= RATE_OVER);
        let seconds = since(recent.map(|sample| sample.at)).as_secs_f64();
        let (taken, came) = recent
            .map_or((0, 0), |from| (last.position.saturating_sub(from.position), last.end.saturating_sub(from.end)));
        let lag = last.end.saturating_sub(last.position);
        // The lag shrinks by what is taken beyond what comes.
        let gain = taken.saturating_sub(came);
        let left = if gain > 0 { Duration::try_from_secs_f64(lag as f64 / gain as f64 * seconds).ok() } else { None };
        let (done, all) = (last.position.saturating_sub(first.position), last.end.saturating_sub(first.position));
        Some(Look {
            lag: u64::try_from(lag).unwrap_or(0),
            behind: self.behind(last, now).unwrap_or_else(|| since(oldest)),
            caught_up: self.caught_up,
            unmoved: since(self.moved_at),
            untaken: since(self.untaken_since),
            percent: if all > 0 { (done.max(0) as f64 / all as f64 * 100.0) as u8 } else { 100 },
            rate: if seconds > 0.0 { (taken.max(0) as f64 / seconds).round() as u64 } else { 0 },
            left,
        })
    }

    /// For how long the end of some partition has not been known.
    pub(super) fn unknown(&self, now: Instant) -> Option<Duration> {
        self.unknown_since.map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests;
