//! Follows the definition directories: a change, and a moment of quiet after it, lead to a new look at the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Mutex, mpsc, watch};
use tracing::{error, warn};

use super::Registry;
use crate::error::{Error, Result};
use crate::panics;

/// Watches the definition directories from the moment it is made, so that no change after it is missed.
#[derive(Debug)]
pub struct Changes {
    /// Dropping it ends the watching.
    _watcher: RecommendedWatcher,
    seen: mpsc::Receiver<()>,
}

impl Changes {
    /// # Errors
    /// `Unavailable` where the operating system cannot watch a directory.
    pub fn of(directories: &[PathBuf]) -> Result<Self> {
        // One place is enough: what matters is that something has changed.
        let (sender, seen) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.kind.is_access() => {}
            Ok(_) => drop(sender.try_send(())),
            Err(error) => warn!(%error, "a change of the definition files may have been missed"),
        })
        .map_err(|error| Error::unavailable("cannot watch the definition files").caused_by(error))?;
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|error| {
                Error::unavailable(format!("cannot watch directory {}", directory.display())).caused_by(error)
            })?;
        }
        Ok(Changes { _watcher: watcher, seen })
    }

    /// Has the registry follow them until `stop`. A burst of changes, as of an editor or a deployment, is taken as one: the files
    /// are read when nothing has changed for `debounce`.
    pub async fn follow(
        mut self,
        registry: Arc<Mutex<Registry>>,
        debounce: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                changed = self.seen.recv() => if changed.is_none() { return Ok(()) },
            }
            while let Ok(Some(())) = tokio::time::timeout(debounce, self.seen.recv()).await {}
            // The end of the server does not wait for it: it needs the registry.
            let look = async { registry.lock().await.apply().await };
            let looked = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                looked = panics::caught("a look at the definition files", look) => looked,
            };
            if let Err(error) = looked {
                error!("{}", error.report());
            }
        }
    }
}
