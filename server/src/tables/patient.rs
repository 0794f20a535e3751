//! A store that does not wait for ever: a read that gets no answer is an error, so that no statement hangs as long as its store does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::timeout;

/// How long a read may take to begin, and then each piece of it. Several times what a busy store takes.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(20);

/// Bounds reads alone: statements do nothing else.
#[derive(Debug)]
pub(super) struct Patient {
    inner: Arc<dyn ObjectStore>,
    within: Duration,
}

impl Patient {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, within: Duration) -> Self {
        Patient { inner, within }
    }
}

impl fmt::Display for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

fn no_answer(location: &Path, within: Duration) -> Error {
    let text = format!("no answer for {} s while {location} was read", within.as_secs());
    Error::Generic { store: "public tables", source: text.into() }
}

#[async_trait]
impl ObjectStore for Patient {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (within, head) = (self.within, options.head);
        let late = |_| no_answer(location, within);
        let mut found = timeout(within, self.inner.get_opts(location, options)).await.map_err(late)??;
        if head {
            return Ok(found);
        }
        let pieces = match found.payload {
            GetResultPayload::Stream(pieces) => pieces,
            // Of a file only its opening has been waited for. Plans ask for the ranges that they need, so all of it is needed.
            GetResultPayload::File(..) => {
                let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
                let bytes = timeout(within, found.bytes()).await.map_err(late)??;
                let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
                return Ok(GetResult { payload, meta, range, attributes });
            }
        };
        let location = location.clone();
        let bounded = stream::unfold(Some(pieces), move |pieces| {
            let location = location.clone();
            async move {
                let mut pieces = pieces?;
                match timeout(within, pieces.next()).await {
                    Ok(piece) => piece.map(|piece| (piece, Some(pieces))),
                    Err(_) => Some((Err(no_answer(&location, within)), None)),
                }
            }
        });
        found.payload = GetResultPayload::Stream(bounded.boxed());
        Ok(found)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;

    use super::*;
    use crate::checkpoint::faulty::{Fault, FaultyStore};

    #[tokio::test]
    async fn a_read_ends_whatever_the_store_does() {
        let store = FaultyStore::new();
        let key = Path::from("v/a.parquet");
        store.put(&key, PutPayload::from_static(b"rows")).await.expect("written");
        let patient = Patient::new(store.clone(), Duration::from_millis(10));
        let whole = patient.get(&key).await.expect("it answers").bytes().await.expect("all of it");
        assert_eq!(whole.as_ref(), b"rows");
        assert_eq!(patient.get_range(&key, 1..3).await.expect("a part").as_ref(), b"ow");
        store.fail_gets("", [Fault::Hang]);
        let error = patient.get(&key).await.expect_err("it hangs").to_string();
        assert!(error.contains("while v/a.parquet was read"), "{error}");
    }

    #[tokio::test]
    async fn files_are_read_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = LocalFileSystem::new_with_prefix(folder.path()).expect("a store");
        let key = Path::from("a.parquet");
        store.put(&key, PutPayload::from_static(b"rows")).await.expect("written");
        let patient = Patient::new(Arc::new(store), READ_WITHIN);
        assert_eq!(patient.get_range(&key, 1..4).await.expect("a part").as_ref(), b"ows");
    }
}
