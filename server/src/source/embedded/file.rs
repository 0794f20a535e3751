//! The store's file, and its opening anew: after one failed read or write the store refuses everything until it is closed and opened.
//!
//! Whoever comes next opens it, with growing pauses between two tries. What the log holds is then read from the file: a commit of which it
//! was not known whether it is durable is there or it is not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redb::{Database, DatabaseError};

use super::store_error;
use crate::error::{Error, ErrorKind, Result};

/// Between two tries to open it anew: the first pause, which doubles, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Pages that the store keeps in memory.
const CACHE_BYTES: usize = 64 << 20;

/// Opens the file; makes it, where `true` says so.
pub(super) type Open = Box<dyn Fn(&Path, bool) -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) fn open_file(path: &Path, create: bool) -> Result<Database, DatabaseError> {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    if create { builder.create(path) } else { builder.open(path) }
}

/// See the module's first lines.
pub(super) struct StoreFile {
    path: PathBuf,
    open: Open,
    /// `None`: it could not be opened anew yet.
    database: RwLock<Option<Database>>,
    failed: AtomicBool,
    retry: Mutex<Retry>,
}

/// When it may be opened anew.
struct Retry {
    due: Instant,
    pause: Duration,
}

impl StoreFile {
    /// Opens the file, which is made where it does not exist.
    pub(super) fn try_new(path: PathBuf, open: Open) -> Result<Self, DatabaseError> {
        let database = open(&path, true)?;
        let retry = Retry { due: Instant::now(), pause: PAUSES.0 };
        Ok(StoreFile {
            path,
            open,
            database: RwLock::new(Some(database)),
            failed: AtomicBool::new(false),
            retry: Mutex::new(retry),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Uses the store. Where it has failed before it is opened anew first, once that is due; `reopened` reads what it holds, before
    /// anybody else uses it.
    ///
    /// # Errors
    /// Those of `access` and of `reopened`; `Unavailable` as long as the file cannot be opened.
    pub(super) fn with<T>(
        &self,
        reopened: impl FnOnce(&Database) -> Result<()>,
        access: impl FnOnce(&Database) -> Result<T>,
    ) -> Result<T> {
        if self.failed.load(Ordering::Acquire) {
            self.open_anew(reopened)?;
        }
        let database = self.database.read();
        let database = database.as_ref().ok_or_else(|| self.away())?;
        access(database).inspect_err(|error| {
            if error.kind() == ErrorKind::Unavailable {
                self.failed.store(true, Ordering::Release);
            }
        })
    }

    /// It works: the next failure is a new one.
    pub(super) fn is_well(&self) {
        self.retry.lock().pause = PAUSES.0;
    }

    fn open_anew(&self, reopened: impl FnOnce(&Database) -> Result<()>) -> Result<()> {
        let mut retry = self.retry.lock();
        if !self.failed.load(Ordering::Acquire) {
            // Somebody else has done it while we waited.
            return Ok(());
        }
        let now = Instant::now();
        if now < retry.due {
            return Err(self.away());
        }
        retry.due = now + retry.pause;
        retry.pause = (retry.pause * 2).min(PAUSES.1);
        // Waits for those who still use it; only when it is closed can it be opened.
        let mut database = self.database.write();
        *database = None;
        let opened = (self.open)(&self.path, false).map_err(store_error)?;
        reopened(&opened)?;
        *database = Some(opened);
        self.failed.store(false, Ordering::Release);
        tracing::warn!(path = %self.path.display(), "the embedded log had failed and has been opened anew");
        Ok(())
    }

    fn away(&self) -> Error {
        Error::unavailable(format!("the embedded log {} has failed and is not open again yet", self.path.display()))
            .detail(format!("it is tried again by itself, every {} s at the latest", PAUSES.1.as_secs()))
            .hint("nothing was written; the server's log says why it failed: look after the disk that holds the data directory")
    }
}
