//! Whether this server still is the one that may answer for its queries, found out by reading: one without new rows commits nothing, and
//! would never hear that another server has taken over.
//!
//! Whoever takes a query over has claimed a generation before, and generations are claimed without a gap and never given back. So as long
//! as the one after ours is not there, nobody has taken anything. Once it is there, the chain of each query is looked at: the other server
//! may as well have ended before it took any.
//!
//! It costs a GET of an object that is not there, every [`EVERY`]: 864,000 in 30 days whatever the number of queries, some 0.35 USD on S3.
//! Beside a newer claim that has taken nothing two more for each query. Nothing is ever written.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use super::chain::{Chain, name_winner, taken_over};
use super::generation::Generation;
use super::manifest::Manifest;
use super::paths::{self, QueryPaths};
use crate::clock::{Clock, Micros, duration_of};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::tables::Standing;

/// Between two looks. A server that was stopped for a while looks as soon as it goes on.
const EVERY: Duration = Duration::from_secs(3);

/// Longest time from which a look still vouches for what a statement reads.
const VOUCHES_FOR: Duration = Duration::from_secs(10);

/// Longest wait for one look, the statement that asked for it included.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Chains that are looked at side by side.
const AT_ONCE: usize = 16;

/// See the module's first lines.
#[derive(Debug)]
pub struct Heartbeat {
    store: Store,
    ours: Generation,
    clock: Clock,
    answer_within: Duration,
    /// By view: one that is opened anew takes the place of what it was.
    watched: Mutex<BTreeMap<String, Arc<Watched>>>,
    /// When the last look began that found nobody else.
    seen: Mutex<Seen>,
    /// One look at a time, so that many statements share one answer.
    looking: tokio::sync::Mutex<()>,
    /// Once lost, for ever.
    lost: watch::Sender<Option<Arc<Error>>>,
}

/// Both clocks, because one stands still with its machine and the other can be set.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    wall: Micros,
}

/// The chain of one query, and how far we have extended it.
#[derive(Debug)]
pub struct Watched {
    query: String,
    paths: QueryPaths,
    head: AtomicU64,
}

impl Watched {
    /// A checkpoint of ours is committed.
    pub fn extended_to(&self, head: u64) {
        self.head.store(head, Ordering::Release);
    }
}

impl Heartbeat {
    /// `ours`: just claimed, so nobody has come after us yet.
    pub fn new(store: Store, ours: Generation, clock: Clock) -> Self {
        let seen = Mutex::new(Seen { at: Instant::now(), wall: clock.now() });
        let (watched, looking, lost) = (Mutex::default(), tokio::sync::Mutex::default(), watch::Sender::new(None));
        Heartbeat { store, ours, clock, answer_within: ANSWER_WITHIN, watched, seen, looking, lost }
    }

    /// Has the chain of a view's query looked after from now on, also when the query has failed: its rows are read all the same.
    pub fn watch(&self, view: &str, chain: &Chain) -> Arc<Watched> {
        let (query, paths) = (chain.head().query.clone(), chain.paths().clone());
        let watched = Arc::new(Watched { query, paths, head: AtomicU64::new(chain.head().id) });
        self.watched.lock().insert(view.to_owned(), Arc::clone(&watched));
        watched
    }

    /// The view is no longer shown.
    pub fn forget(&self, view: &str) {
        self.watched.lock().remove(view);
    }

    /// Looks every [`EVERY`] until `stop`, or until another server has taken over: `fatal` says then that this one has to end.
    pub async fn run(
        self: Arc<Self>,
        fatal: watch::Sender<Option<Arc<Error>>>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut lost, mut silent) = (self.lost.subscribe(), false);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                // A statement may have found it out.
                _ = lost.wait_for(Option::is_some) => {}
                _ = ticks.tick() => {}
            }
            match self.look_in_time(false).await {
                Ok(()) => {
                    if std::mem::take(&mut silent) {
                        info!("the state store answers again: no other server has taken over");
                    }
                }
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    error!(error = error.report(), "another server has taken over");
                    fatal.send_replace(Some(Arc::new(error)));
                    return Ok(());
                }
                Err(error) => {
                    if !std::mem::replace(&mut silent, true) {
                        warn!(
                            error = error.report(),
                            "the state store does not say whether another server has taken over"
                        );
                    }
                }
            }
        }
    }

    /// For how long nobody has vouched for this server.
    fn age(&self) -> Duration {
        let Seen { at, wall } = *self.seen.lock();
        at.elapsed().max(duration_of(self.clock.now().saturating_sub(wall)))
    }

    fn refuse_if_lost(&self) -> Result<()> {
        self.lost.borrow().as_ref().map_or(Ok(()), |error| Err(error.duplicate()))
    }

    /// `unless_seen`: an answer that another caller has just got is enough.
    async fn look_in_time(&self, unless_seen: bool) -> Result<()> {
        let looked = timeout(self.answer_within, async {
            let _one = self.looking.lock().await;
            self.refuse_if_lost()?;
            if unless_seen && self.age() <= VOUCHES_FOR { Ok(()) } else { self.look().await }
        });
        match looked.await {
            Ok(looked) => looked,
            Err(_) => Err(Error::unavailable(format!("{} does not answer", self.store.url()))
                .detail(format!("there was no answer within {} s", self.answer_within.as_secs_f32()))),
        }
    }

    async fn look(&self) -> Result<()> {
        // What the answer says is true of a time after this.
        let seen = Seen { at: Instant::now(), wall: self.clock.now() };
        let next = paths::generation(self.ours.number.saturating_add(1));
        if self.store.get(&next).await?.is_some() {
            let watched: Vec<_> = self.watched.lock().values().cloned().collect();
            let looks = stream::iter(watched).map(|watched| async move { self.look_at(&watched).await });
            let mut looks = pin!(looks.buffer_unordered(AT_ONCE));
            let mut unanswered = None;
            while let Some(looked) = looks.next().await {
                match looked {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::Fenced => {
                        self.lost.send_replace(Some(Arc::new(error.duplicate())));
                        return Err(error);
                    }
                    // One chain that cannot be read must not hide that another one was taken.
                    Err(error) => unanswered = unanswered.or(Some(error)),
                }
            }
            if let Some(error) = unanswered {
                return Err(error);
            }
        }
        *self.seen.lock() = seen;
        Ok(())
    }

    async fn look_at(&self, watched: &Watched) -> Result<()> {
        let Watched { query, paths, head } = watched;
        let ours = head.load(Ordering::Acquire);
        let key = paths.manifest(ours.saturating_add(1));
        let winner = match self.store.get(&key).await? {
            Some(bytes) => match Manifest::decode(&bytes, key.as_ref()) {
                // Our own loop has just committed it.
                Ok((manifest, _)) if manifest.instance == self.ours.instance => return Ok(()),
                _ => name_winner(&bytes, &key),
            },
            None => {
                let key = paths.manifest(ours);
                match self.store.get(&key).await? {
                    // Manifests are deleted in order of ids: with ours there, the one after it has never been. An operator who gives
                    // checkpoints up puts another one in its place.
                    Some(bytes) => match Manifest::decode(&bytes, key.as_ref()) {
                        Ok((manifest, _)) if manifest.instance != self.ours.instance => name_winner(&bytes, &key),
                        _ => return Ok(()),
                    },
                    None if head.load(Ordering::Acquire) != ours => return Ok(()),
                    None => "another server, which has since cleaned up our last checkpoint".to_owned(),
                }
            }
        };
        Err(taken_over(query, &winner, self.ours))
    }
}

#[async_trait]
impl Standing for Heartbeat {
    async fn check(&self) -> Result<()> {
        self.refuse_if_lost()?;
        let age = self.age();
        if age <= VOUCHES_FOR {
            return Ok(());
        }
        self.look_in_time(true).await.map_err(|error| match error.kind() {
            ErrorKind::Fenced => error,
            _ => Error::unavailable("it is not known whether these rows are the newest")
                .detail(format!(
                    "the state store has not said for {} s whether another server has taken over",
                    age.as_secs()
                ))
                .hint("ask again when the store at storage.state_url answers")
                .caused_by(error),
        })
    }
}

#[cfg(test)]
mod tests;
