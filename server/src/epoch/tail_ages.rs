//! For how long rows have been in the tail of an output.
//!
//! Rows of this process are as old as steady time says. Those that an earlier one has left are as old as the manifest's times and their
//! order say, and age by steady time from then on: whatever is done to the wall clock, no file comes days too late.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoint::TailEntry;
use crate::clock::{Clock, Micros, ages, duration_of, micros_of};

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct TailAges {
    /// Steady time at which each entry began, by its checkpoint.
    since: BTreeMap<u64, Micros>,
    /// What is new is of this process.
    begun: bool,
}

impl TailAges {
    /// Takes note of the tail as it is now, oldest first: at a start, and then at each look for something to seal.
    pub(super) fn see(&mut self, tail: &[TailEntry], clock: &Clock) {
        let steady = clock.steady();
        if self.begun {
            tail.iter().for_each(|entry| _ = self.since.entry(entry.checkpoint).or_insert(steady));
        } else {
            let ages = ages(tail.iter().map(|entry| &entry.created_at), clock.now());
            let since = tail.iter().zip(ages);
            let since = since.map(|(entry, age)| (entry.checkpoint, steady.saturating_sub(micros_of(age))));
            self.since.extend(since);
            self.begun = true;
        }
        if let Some(first) = tail.first() {
            self.since = self.since.split_off(&first.checkpoint);
        } else {
            self.since.clear();
        }
    }

    pub(super) fn age(&self, entry: &TailEntry, clock: &Clock) -> Duration {
        let steady = clock.steady();
        duration_of(steady.saturating_sub(self.since.get(&entry.checkpoint).copied().unwrap_or(steady)))
    }
}
