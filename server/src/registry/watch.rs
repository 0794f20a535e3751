//! Follows the definition directories: a change, and a moment of quiet after it, lead to a new look at the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Mutex, mpsc, watch};
use tracing::{debug, error, warn};

use super::Registry;
use crate::error::{Error, Result};
use crate::panics;

/// Between two looks while a directory cannot be watched or read: nothing tells when it is back.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Between two looks for an answer of the operator, while one is waited for.
const NEWS_EVERY: Duration = Duration::from_secs(2);

/// How many times the debounce a burst of changes may last.
const BURST_MAX: u32 = 20;

/// Watches the definition directories from the moment it is made, so that no change after it is missed.
#[derive(Debug)]
pub struct Changes {
    /// Dropping it ends the watching.
    watcher: RecommendedWatcher,
    directories: Vec<PathBuf>,
    seen: mpsc::Receiver<()>,
}

impl Changes {
    /// # Errors
    /// `Unavailable` where the operating system cannot watch a directory.
    pub fn of(directories: &[PathBuf]) -> Result<Self> {
        // One place is enough: what matters is that something has changed.
        let (sender, seen) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.kind.is_access() => {}
            Ok(_) => drop(sender.try_send(())),
            Err(error) => warn!(%error, "a change of the definition files may have been missed"),
        })
        .map_err(|error| Error::unavailable("cannot watch the definition files").caused_by(error))?;
        let mut changes = Changes { watcher, directories: directories.to_vec(), seen };
        changes.watch()?;
        Ok(changes)
    }

    /// May be repeated: a directory that was removed and made anew, as by a deployment, is another one for the operating system.
    fn watch(&mut self) -> Result<()> {
        for directory in &self.directories {
            self.watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|error| {
                Error::unavailable(format!("cannot watch directory {}", directory.display())).caused_by(error)
            })?;
        }
        Ok(())
    }

    /// Has the registry follow them until `stop`. A burst of changes, as of an editor or a deployment, is taken as one: the files
    /// are read when nothing has changed for `debounce`.
    pub async fn follow(
        mut self,
        registry: Arc<Mutex<Registry>>,
        debounce: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        // Why nothing is watched or could be read, as it was said last; looked at again until that is over.
        let mut trouble: Option<String> = None;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                changed = self.seen.recv() => if changed.is_none() { return Ok(()) },
                () = tokio::time::sleep(AGAIN_AFTER), if trouble.is_some() => {}
                () = has_news(&registry) => {}
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = quiet(&mut self.seen, debounce) => {}
            }
            let watched = self.watch();
            // The end of the server does not wait for it: it needs the registry.
            let look = async { registry.lock().await.apply().await };
            let looked = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                looked = panics::caught("a look at the definition files", look) => looked,
            };
            let failed = looked.and(watched).err().map(|error| error.report());
            if let Some(report) = failed.as_ref().filter(|report| trouble.as_ref() != Some(*report)) {
                error!("{report}");
            }
            trouble = failed;
        }
    }
}

/// Waits until there is a reason beside the files to look at them again.
async fn has_news(registry: &Mutex<Registry>) {
    // Said once for as long as it lasts.
    let mut told = false;
    loop {
        tokio::time::sleep(NEWS_EVERY).await;
        match registry.lock().await.has_news().await {
            Ok(true) => return,
            Ok(false) => told = false,
            Err(error) if told => debug!(error = error.report(), "answers still cannot be read"),
            Err(error) => {
                warn!(error = error.report(), "answers to what is asked cannot be read");
                told = true;
            }
        }
    }
}

/// Waits until nothing has come for `debounce`, and no longer than [`BURST_MAX`] of these: what never rests, as a log that is written
/// beside the definitions, must not keep changes from being seen.
async fn quiet(seen: &mut mpsc::Receiver<()>, debounce: Duration) {
    let rest = async { while let Ok(Some(())) = tokio::time::timeout(debounce, seen.recv()).await {} };
    // Too long a burst is looked at as it is.
    let _ = tokio::time::timeout(debounce.saturating_mul(BURST_MAX), rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit for what should come at once.
    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_burst_without_an_end_is_looked_at_all_the_same() {
        let (sender, mut seen) = mpsc::channel(1);
        let noise = tokio::spawn(async move { while sender.send(()).await.is_ok() {} });
        let waited = tokio::time::timeout(SOON, quiet(&mut seen, Duration::from_millis(5))).await;
        assert!(waited.is_ok(), "changes are never looked at");
        noise.abort();
    }

    #[tokio::test]
    async fn a_directory_that_was_made_anew_is_watched_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("queries");
        std::fs::create_dir(&directory).expect("a directory");
        let mut changes = Changes::of(std::slice::from_ref(&directory)).expect("watched");
        std::fs::remove_dir(&directory).expect("removed");
        tokio::time::timeout(SOON, changes.seen.recv()).await.expect("its end is seen");
        assert!(changes.watch().is_err(), "there is none");
        std::fs::create_dir(&directory).expect("made anew");
        changes.watch().expect("watched");
        while changes.seen.try_recv().is_ok() {}
        std::fs::write(directory.join("v.sql"), "").expect("writes");
        tokio::time::timeout(SOON, changes.seen.recv()).await.expect("a file in it is seen");
    }
}
