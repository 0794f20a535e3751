//! What a query is doing, and since when by a monotonic clock: the watchdog's only fact.
//!
//! Nothing watches in the background. Whoever asks how the query is doing compares the moments, so a loop that hangs cannot keep its own
//! watchdog from looking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where an epoch loop, or what works beside it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Taking the chain over, and reading state and rows back.
    Restoring,
    Reading,
    Computing,
    /// Bundle and manifest.
    Committing,
    ApplyingToPostgres,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Step::Restoring => "restoring",
            Step::Reading => "reading",
            Step::Computing => "computing",
            Step::Committing => "committing",
            Step::ApplyingToPostgres => "applying to postgres",
        }
    }

    pub(super) fn lasting(self, lasted: Duration) -> String {
        format!("{}, {} s", self.name(), lasted.as_secs())
    }

    /// In a sentence, with where to look.
    pub(super) fn hangs(self, lasted: Duration) -> String {
        let at = match self {
            Step::Restoring | Step::Committing => "the store of checkpoints (storage.state_url)",
            Step::ApplyingToPostgres => "postgres.url",
            Step::Reading => "the source",
            Step::Computing => "the load of this machine, and the query itself",
        };
        format!(
            "{} for {} s, without an end\n  hint: look at {at}; nothing is lost, and it goes on by itself when that does",
            self.name(),
            lasted.as_secs()
        )
    }
}

/// One line of work.
#[derive(Debug, Default)]
pub struct Steps(Mutex<Option<(Step, Instant)>>);

impl Steps {
    /// A step begins, and the one before has ended.
    pub fn enter(&self, step: Step) {
        self.enter_at(step, Instant::now());
    }

    /// Nothing is done any more.
    pub fn leave(&self) {
        *self.0.lock() = None;
    }

    /// A step that ends with what is returned, also where that is dropped by an abort.
    pub fn during(self: &Arc<Self>, step: Step) -> During {
        self.enter(step);
        During(Arc::clone(self))
    }

    pub(super) fn enter_at(&self, step: Step, now: Instant) {
        *self.0.lock() = Some((step, now));
    }

    pub(super) fn lasting(&self, now: Instant) -> Option<(Step, Duration)> {
        self.0.lock().map(|(step, since)| (step, now.saturating_duration_since(since)))
    }
}

/// See [`Steps::during`].
#[derive(Debug)]
pub struct During(Arc<Steps>);

impl Drop for During {
    fn drop(&mut self) {
        self.0.leave();
    }
}
