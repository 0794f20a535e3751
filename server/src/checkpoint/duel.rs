//! Two servers that are started again whenever they end, over one state store: each start throws the other one out, for ever and many
//! times a second, and neither gets anything done.
//!
//! A server that was thrown out leaves a note when it ends. A start that finds such notes, and a claim that is fresh, waits before it
//! claims: longer with every note. One that finds no note never waits, so a server that was killed, or is started to take over from one that
//! runs, is there at once.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use serde::Serialize;
use uuid::Uuid;

use super::generation::Generation;
use super::paths;
use crate::clock::{Micros, duration_of};
use crate::error::{Error, Result};
use crate::store::Store;

/// A claim of this age is of a server that has been left alone: then nobody waits.
const FRESH: Duration = Duration::from_secs(120);

/// Notes of this age no longer count.
const REMEMBERED: Duration = Duration::from_secs(600);

/// After the first note; twice that after each further one.
const PAUSE: Duration = Duration::from_secs(2);

/// With what chance adds on top it must stay below [`FRESH`], or the claim would look old when it is over.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a start has to wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldBack {
    /// The newest generation.
    pub generation: u64,
    /// How long ago it was claimed, by the store's clock against ours.
    pub claimed_ago: Duration,
    /// How often a server was thrown out in the last ten minutes.
    pub thrown_out: usize,
    pub pause: Duration,
}

/// Whether a start has to wait before it claims; `None`: it may claim now. One listing.
///
/// # Errors
/// `Unavailable` where the store does not answer.
pub async fn hold_back(store: &Store, now: Micros) -> Result<Option<HoldBack>> {
    let folder = paths::generations();
    let mut listing = store.objects().list(Some(&folder));
    let (mut newest, mut thrown_out): (Option<(u64, Duration)>, usize) = (None, 0);
    while let Some(found) = listing.try_next().await.map_err(|error| store.failed("list", &folder, error))? {
        // A store whose clock is ahead of ours: it was now.
        let age = duration_of(now.saturating_sub(found.last_modified.timestamp_micros()));
        if let Some(number) = paths::generation_number(&found.location) {
            newest = newest.max(Some((number, age)));
        } else if paths::is_thrown_out(&found.location) && age < REMEMBERED {
            thrown_out += 1;
        }
    }
    let Some((generation, claimed_ago)) = newest else { return Ok(None) };
    let pause = pause(claimed_ago, thrown_out);
    // Two that were thrown out at the same time must not come back at the same time.
    let extra = pause.mul_f64(f64::from(Uuid::new_v4().as_bytes()[0]) / 1024.0);
    Ok((!pause.is_zero()).then_some(HoldBack { generation, claimed_ago, thrown_out, pause: pause + extra }))
}

fn pause(claimed_ago: Duration, thrown_out: usize) -> Duration {
    if claimed_ago >= FRESH || thrown_out == 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(thrown_out - 1).unwrap_or(u32::MAX).min(16);
    PAUSE.saturating_mul(1 << doublings).min(PAUSE_MAX)
}

#[derive(Serialize)]
struct Note<'a> {
    reason: &'a str,
    engine_version: &'a str,
}

impl Generation {
    /// Leaves the note that this server was thrown out while it ran. May be repeated.
    ///
    /// # Errors
    /// `Unavailable`; then the next start of whoever it is waits less.
    pub async fn note_thrown_out(self, store: &Store, by: &Error) -> Result<()> {
        let note = Note { reason: by.primary(), engine_version: env!("CARGO_PKG_VERSION") };
        let note = serde_json::to_vec(&note).map_err(|error| Error::bug("a note is not JSON").caused_by(error))?;
        store.put(&paths::thrown_out(self.number), Bytes::from(note)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::clock::{Clock, micros_of};

    #[test]
    fn each_note_doubles_the_pause_up_to_a_minute_and_without_one_there_is_none() {
        let fresh = Duration::from_secs(1);
        let pauses: Vec<u64> = (0..9).map(|thrown_out| pause(fresh, thrown_out).as_secs()).collect();
        assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(fresh, usize::MAX), PAUSE_MAX);
        assert_eq!(pause(FRESH, 9), Duration::ZERO, "the server that runs has been left alone");
        assert!(PAUSE_MAX.mul_f64(1.25) < FRESH);
    }

    /// The store stamps by the wall clock, so the test's own time goes on from there.
    #[tokio::test]
    async fn a_start_waits_where_servers_throw_each_other_out_and_not_after_a_kill() -> Result<()> {
        let store = Store::over(Arc::new(InMemory::new()), "memory://");
        let later = |seconds| Clock::System.now() + micros_of(Duration::from_secs(seconds));
        assert_eq!(hold_back(&store, later(0)).await?, None, "nobody was here");
        let first = Generation::claim(&store).await?;
        let second = Generation::claim(&store).await?;
        assert_eq!(hold_back(&store, later(0)).await?, None, "the first one was killed");

        first.note_thrown_out(&store, &Error::fenced("query \"v\" was taken over")).await?;
        let held = hold_back(&store, later(5)).await?.expect("the second one runs");
        assert_eq!((held.generation, held.thrown_out), (2, 1));
        assert!((PAUSE..PAUSE * 2).contains(&held.pause), "{held:?}");
        second.note_thrown_out(&store, &Error::fenced("query \"v\" was taken over")).await?;
        second.note_thrown_out(&store, &Error::fenced("query \"v\" was taken over")).await?;
        let held = hold_back(&store, later(5)).await?.expect("it goes on");
        assert_eq!((held.generation, held.thrown_out), (2, 2));
        assert!((PAUSE * 2..PAUSE * 4).contains(&held.pause), "{held:?}");

        assert_eq!(hold_back(&store, later(200)).await?, None, "the claim has stood for minutes");
        // A note takes no number.
        assert_eq!(Generation::claim(&store).await?.number, 3);
        Ok(())
    }
}
