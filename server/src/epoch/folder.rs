//! Whether a query may put files into its public folders, and what lies there that it has not put there.
//!
//! Asked beside the loop, because a folder of years takes many listings: until the answer is there, and for as long as it is no, rows stay
//! in the tail, where they can be read. Every hour the folders are looked through again.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::outage::Outage;
use super::outputs::Output;
use crate::checkpoint::{Manifest, NamedFiles, Owner, QueryPaths, Strangers, find_strangers};
use crate::error::{Error, Result};
use crate::status::{Part, QueryStatus};
use crate::store::Store;

/// Until a folder that is another's is asked for again: whoever moves it away by hand need not start anything.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Between two looks for strangers, and what comes on top so that not all queries of a server look at once.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
const APART_BY: u64 = 600;

/// After so long the status says that the first look is not done yet. It goes on: a folder of years on a slow store takes its time, and where a
/// disk hangs each further look would only take a thread more.
const TELL_AFTER: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(60) };

/// See the module's first lines. Dropping it ends the looking.
#[derive(Debug)]
pub(super) struct Folder {
    shared: Arc<Shared>,
    task: Option<AbortHandle>,
    /// What the status was told last.
    told: Option<String>,
}

#[derive(Debug)]
struct Shared {
    public: Store,
    paths: QueryPaths,
    owner: Owner,
    status: Arc<QueryStatus>,
    named: Mutex<NamedFiles>,
    answer: Mutex<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    NotYet,
    Ours,
    /// Why not, or why it is not known.
    Refused(String),
}

impl Folder {
    /// Nothing is asked before [`Folder::ask`].
    pub(super) fn new(public: Store, paths: QueryPaths, owner: Owner, status: Arc<QueryStatus>) -> Self {
        let (named, answer) = (Mutex::default(), Mutex::new(Answer::NotYet));
        Folder { shared: Arc::new(Shared { public, paths, owner, status, named, answer }), task: None, told: None }
    }

    /// The files that the head names. Before [`Folder::ask`], and after every checkpoint.
    pub(super) fn note(&self, outputs: &[Output], head: &Manifest) {
        let intents = head.outputs.values().flat_map(|output| &output.intents).flat_map(|intent| &intent.files);
        *self.shared.named.lock() = NamedFiles {
            sealed: outputs.iter().map(|output| Arc::clone(output.sealed())).collect(),
            intended: intents.map(|file| file.path.clone()).collect(),
        };
    }

    pub(super) fn ask(mut self) -> Self {
        let shared = Arc::clone(&self.shared);
        self.task = Some(tokio::spawn(async move { shared.tend().await }).abort_handle());
        self
    }

    /// Whether files may be intended and written now.
    pub(super) fn is_ours(&self) -> bool {
        *self.shared.answer.lock() == Answer::Ours
    }

    /// Looks now, as after the pause.
    #[cfg(test)]
    pub(super) async fn look(&self) -> Result<()> {
        self.shared.look().await
    }

    /// Says in the status what there is to say.
    pub(super) fn report(&mut self) {
        let trouble = match &*self.shared.answer.lock() {
            Answer::Refused(reason) => Some(reason.clone()),
            Answer::NotYet | Answer::Ours => None,
        };
        if trouble != self.told {
            self.shared.status.trouble(Part::Folder, trouble.clone());
            self.told = trouble;
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    async fn tend(&self) {
        let mut outage = Outage::default();
        let apart = self.owner.query.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let every = LOOK_EVERY + Duration::from_secs(apart % APART_BY);
        loop {
            let pause = match self.look_patiently().await {
                Ok(()) => {
                    if outage.over().is_some() {
                        info!(query = self.owner.query, folder = self.owner.folder, "public files are written again");
                    }
                    every
                }
                Err(error) => {
                    let report = error.report();
                    if outage.failed(&report) {
                        warn!(query = self.owner.query, error = report, "no public files are written");
                    }
                    ASK_AGAIN
                }
            };
            sleep(pause).await;
        }
    }

    /// As [`Shared::look`], and says so where it takes long.
    async fn look_patiently(&self) -> Result<()> {
        let mut look = pin!(self.look());
        if let Ok(looked) = timeout(TELL_AFTER, look.as_mut()).await {
            return looked;
        }
        let report = Error::unavailable(format!("public files of query {:?} wait for their folder", self.owner.query))
            .detail(format!(
                "what lies in {} has been looked through for {} s",
                self.public.url(),
                TELL_AFTER.as_secs()
            ))
            .hint(
                "rows stay in the tail and can be read; look whether the store answers, a large folder just takes long",
            )
            .report();
        let is_news = {
            let mut answer = self.answer.lock();
            let is_news = *answer == Answer::NotYet;
            if is_news {
                *answer = Answer::Refused(report.clone());
            }
            is_news
        };
        if is_news {
            warn!(query = self.owner.query, reason = report, "no public files are written yet");
        }
        look.await
    }

    /// One look through the folders; the first time, and for as long as they are not ours, also whose they are.
    ///
    /// # Errors
    /// Those of [`Owner::take`]; once the folders are ours none, since strangers are then told and no reason to stop.
    async fn look(&self) -> Result<()> {
        let is_ours = *self.answer.lock() == Answer::Ours;
        let outcome = self.look_and_take(is_ours).await;
        match outcome {
            Ok(()) => {
                *self.answer.lock() = Answer::Ours;
                Ok(())
            }
            Err(error) if is_ours => {
                warn!(query = self.owner.query, error = error.report(), "the public folders were not looked through");
                Ok(())
            }
            Err(error) => {
                *self.answer.lock() = Answer::Refused(error.report());
                Err(error)
            }
        }
    }

    async fn look_and_take(&self, is_ours: bool) -> Result<()> {
        let named = || self.named.lock().clone();
        let strangers = find_strangers(&self.public, &self.paths, &self.owner.query, named).await?;
        self.tell(&strangers);
        if is_ours {
            return Ok(());
        }
        self.owner.take(&self.public, &self.paths, &strangers).await
    }

    fn tell(&self, strangers: &Strangers) {
        let Strangers { count, examples, listed, is_cut } = strangers;
        self.status.public_strangers.store(*count, Ordering::Relaxed);
        if *is_cut {
            info!(query = self.owner.query, listed, "the public folders hold more than one look goes through");
        }
        if *count > 0 {
            warn!(
                query = self.owner.query,
                strangers = count,
                examples = examples.join(", "),
                listed,
                "public files that no checkpoint names: outside readers see their rows, and rows may be there twice; nothing was moved"
            );
        }
    }
}
