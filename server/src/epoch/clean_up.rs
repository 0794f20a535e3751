//! Clean-up of a query's checkpoints beside its loop: no epoch waits for a listing or a deletion.

use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::warn;

use super::QueryLoop;
use crate::checkpoint::{Chain, Cleaned};
use crate::error::{Error, ErrorKind, Result};

/// Manifests of a chain that are kept for looking back.
const MANIFESTS_KEPT: u64 = 10;

/// Checkpoints between two clean-ups of a chain.
const EVERY: u64 = 64;

/// After so long a clean-up is given up. The next one goes on where it stood.
const LIMIT: Duration = Duration::from_secs(600);

/// The task of a query's clean-up.
#[derive(Debug, Default)]
pub(super) struct CleaningUp {
    running: Option<JoinHandle<Result<Cleaned>>>,
    due: bool,
}

impl CleaningUp {
    /// A checkpoint has been committed.
    pub(super) fn committed(&mut self, id: u64) {
        self.due |= id.is_multiple_of(EVERY);
    }

    /// Takes up what a task has done, where one has ended, and starts the next where it is time.
    ///
    /// # Errors
    /// `Fenced` and `Corrupt`. A store that does not answer now is asked again next time.
    async fn go_on(&mut self, chain: &mut Chain, query: &str) -> Result<()> {
        if let Some(task) = &mut self.running {
            let Ok(ended) = tokio::time::timeout(Duration::ZERO, task).await else { return Ok(()) };
            self.running = None;
            match ended.unwrap_or_else(|error| Err(Error::bug("a clean-up panicked").caused_by(error))) {
                Ok(cleaned) => chain.cleaned_up(&cleaned),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    warn!(query, error = error.report(), "old checkpoints not deleted yet");
                }
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.due) {
            let clean_up = chain.clean_up(MANIFESTS_KEPT)?;
            self.running = Some(tokio::spawn(async move {
                tokio::time::timeout(LIMIT, clean_up.run()).await.unwrap_or_else(|_| {
                    let limit = LIMIT.as_secs();
                    Err(Error::unavailable(format!("the store has not deleted old checkpoints within {limit} s")))
                })
            }));
        }
        Ok(())
    }
}

impl Drop for CleaningUp {
    /// It may stop anywhere.
    fn drop(&mut self) {
        if let Some(task) = self.running.take() {
            task.abort();
        }
    }
}

impl QueryLoop {
    /// Deletes what no recent checkpoint needs, without waiting for it.
    pub(super) async fn clean_up(&mut self) -> Result<()> {
        self.cleaning_up.go_on(&mut self.chain, &self.status.name).await
    }
}
