//! A store that fails on purpose: before it acts, after it has acted, or by claiming that a key exists.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, future};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use crate::store::Store;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Works, as between two faults.
    None,
    /// No answer, ever, and nothing has been done.
    Hang,
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
}

/// Faults are taken in order by requests whose key contains `key`; once they are used up, all works.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    key: Mutex<String>,
    puts: Mutex<VecDeque<Fault>>,
    gets: Mutex<VecDeque<Fault>>,
    deletes: Mutex<VecDeque<Fault>>,
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
        let fault = self.take(&self.puts, key);
        match fault {
            Fault::Hang => return future::pending().await,
            Fault::Before => return Err(broken()),
            Fault::FalseExists => return Err(exists(key)),
            Fault::FalsePrecondition => {
                return Err(Error::Precondition { path: key.to_string(), source: "412".into() });
            }
            Fault::None | Fault::After | Fault::OwnExists => {}
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
        // One key a call is all that the server uses.
        let first = keys.into_future().now_or_never().and_then(|(first, _)| first);
        let Some(Ok(key)) = first else { return futures::stream::empty().boxed() };
        match self.take(&self.deletes, &key) {
            Fault::None => self.inner.delete_stream(futures::stream::once(future::ready(Ok(key))).boxed()),
            _ => futures::stream::once(future::ready(Err(broken()))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
