//! A store that fails on purpose: before it acts, after it has acted, by claiming that a key exists, or by saying nothing at all; for some
//! requests or until it is mended.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, future, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::Store;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Works, as between two faults.
    None,
    /// An error, and nothing has been done.
    Before,
    /// An error, though it has been done.
    After,
    /// "Already exists", and nothing has been done (an HTTP 409 of a request that collided).
    FalseExists,
    /// "Already exists", though it has just been done (the client repeated a request whose answer was lost).
    OwnExists,
    /// A failed precondition instead of "already exists", and nothing has been done.
    FalsePrecondition,
    /// No answer, ever, and nothing has been done.
    Hang,
    /// Its disk is full.
    Full,
    /// The login may not write (any more).
    Forbidden,
}

/// Faults are taken in order by requests whose key contains `key`; once they are used up, all works.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    key: Mutex<String>,
    puts: Mutex<VecDeque<Fault>>,
    gets: Mutex<VecDeque<Fault>>,
    deletes: Mutex<VecDeque<Fault>>,
    /// What every write meets until it is mended.
    lasting: Mutex<Option<Fault>>,
    /// Writes that were asked for, of objects and of whole uploads.
    pub(crate) attempts: AtomicUsize,
    /// Listings do not end before this says so.
    pub(crate) lists_wait: Mutex<Option<watch::Receiver<bool>>>,
    /// How many keys each request to delete had.
    pub(crate) deleted: Mutex<Vec<usize>>,
    /// Keys written to, whether or not the caller was told so.
    pub(crate) log: Mutex<Vec<String>>,
}

impl FaultyStore {
    pub(crate) fn new() -> Arc<Self> {
        Self::over(Arc::new(InMemory::new()))
    }

    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(FaultyStore {
            inner,
            key: Mutex::default(),
            puts: Mutex::default(),
            gets: Mutex::default(),
            deletes: Mutex::default(),
            lasting: Mutex::default(),
            attempts: AtomicUsize::new(0),
            lists_wait: Mutex::default(),
            deleted: Mutex::default(),
            log: Mutex::default(),
        })
    }

    pub(crate) fn store(self: &Arc<Self>) -> Store {
        Store::over(Arc::clone(self) as Arc<dyn ObjectStore>, "faulty://")
    }

    /// The store beneath, which does not fail.
    pub(crate) fn sound(&self) -> Store {
        Store::over(Arc::clone(&self.inner), "sound://")
    }

    pub(crate) fn fail_puts(&self, key: &str, faults: impl IntoIterator<Item = Fault>) {
        *self.key.lock() = key.to_owned();
        *self.puts.lock() = faults.into_iter().collect();
    }

    pub(crate) fn fail_gets(&self, key: &str, faults: impl IntoIterator<Item = Fault>) {
        *self.key.lock() = key.to_owned();
        *self.gets.lock() = faults.into_iter().collect();
    }

    pub(crate) fn fail_deletes(&self, key: &str, faults: impl IntoIterator<Item = Fault>) {
        *self.key.lock() = key.to_owned();
        *self.deletes.lock() = faults.into_iter().collect();
    }

    /// All writes fail so until they are mended.
    pub(crate) fn break_writes(&self, fault: Fault) {
        *self.lasting.lock() = Some(fault);
    }

    pub(crate) fn mend(&self) {
        *self.lasting.lock() = None;
    }

    fn next_write(&self, key: &Path) -> Fault {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let lasting = *self.lasting.lock();
        lasting.unwrap_or_else(|| self.take(&self.puts, key))
    }

    fn take(&self, faults: &Mutex<VecDeque<Fault>>, key: &Path) -> Fault {
        if !key.as_ref().contains(self.key.lock().as_str()) {
            return Fault::None;
        }
        faults.lock().pop_front().unwrap_or(Fault::None)
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "connection reset".into() }
}

/// The answer of one that does nothing and says so, where this is such a fault.
async fn refusal(fault: Fault, key: &Path) -> Option<Error> {
    match fault {
        Fault::Before => Some(broken()),
        Fault::FalseExists => Some(exists(key)),
        Fault::FalsePrecondition => Some(Error::Precondition { path: key.to_string(), source: "412".into() }),
        Fault::Hang => future::pending().await,
        Fault::Full => {
            let source = io::Error::from(io::ErrorKind::StorageFull).into();
            Some(Error::Generic { store: "faulty", source })
        }
        Fault::Forbidden => Some(Error::PermissionDenied { path: key.to_string(), source: "403".into() }),
        Fault::None | Fault::After | Fault::OwnExists => None,
    }
}

fn exists(key: &Path) -> Error {
    Error::AlreadyExists { path: key.to_string(), source: "409".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty store")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.next_write(key);
        if let Some(refused) = refusal(fault, key).await {
            return Err(refused);
        }
        let result = self.inner.put_opts(key, payload, options).await?;
        self.log.lock().push(key.to_string());
        match fault {
            Fault::After => Err(broken()),
            Fault::OwnExists => Err(exists(key)),
            _ => Ok(result),
        }
    }

    async fn put_multipart_opts(&self, key: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // Of whole uploads only the beginning fails.
        if let Some(refused) = refusal(self.next_write(key), key).await {
            return Err(refused);
        }
        self.inner.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        match self.take(&self.gets, key) {
            Fault::None => self.inner.get_opts(key, options).await,
            Fault::Hang => future::pending().await,
            _ => Err(broken()),
        }
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let keys: Vec<Result<Path>> = keys.collect().now_or_never().unwrap_or_default();
        self.deleted.lock().push(keys.len());
        // Each key is answered by itself, as services do.
        let answers = keys.into_iter().map(|key| -> BoxStream<'static, Result<Path>> {
            let fault = key.as_ref().map_or(Fault::None, |key| self.take(&self.deletes, key));
            let key = match fault {
                Fault::None => key,
                Fault::Hang => return stream::pending().boxed(),
                _ => Err(broken()),
            };
            self.inner.delete_stream(stream::once(future::ready(key)).boxed())
        });
        stream::iter(answers.collect::<Vec<_>>()).flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listing = self.inner.list(prefix);
        let Some(mut go) = self.lists_wait.lock().clone() else { return listing };
        let end = stream::once(async move { drop(go.wait_for(|go| *go).await) });
        listing.chain(end.filter_map(|()| future::ready(None))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
