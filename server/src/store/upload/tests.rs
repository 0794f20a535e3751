//! What goes in parts, and what becomes of a request that is never answered.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutPayload,
    PutResult, UploadPart,
};
use parking_lot::Mutex;

use super::*;

const MIB: usize = 1 << 20;

/// What a store was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Put(usize),
    Begin,
    Part(usize),
    Complete,
    Abort,
}

/// Notes what it is asked for, and never answers for a part of so many bytes.
#[derive(Debug)]
struct Noting {
    inner: InMemory,
    requests: Arc<Mutex<Vec<Request>>>,
    hangs_at: usize,
}

impl Noting {
    fn new(hangs_at: usize) -> Arc<Self> {
        Arc::new(Noting { inner: InMemory::new(), requests: Arc::default(), hangs_at })
    }

    fn store(self: &Arc<Self>) -> Store {
        Store::over(Arc::clone(self) as Arc<dyn ObjectStore>, "noting://").answering_within(Duration::from_millis(50))
    }
}

impl fmt::Display for Noting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("noting")
    }
}

#[async_trait]
impl ObjectStore for Noting {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.requests.lock().push(Request::Put(payload.content_length()));
        if payload.content_length() == self.hangs_at {
            return future::pending().await;
        }
        self.inner.put_opts(key, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.requests.lock().push(Request::Begin);
        let upload = self.inner.put_multipart_opts(key, options).await?;
        Ok(Box::new(NotingUpload { upload, requests: Arc::clone(&self.requests), hangs_at: self.hangs_at }))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(key, options).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct NotingUpload {
    upload: Box<dyn MultipartUpload>,
    requests: Arc<Mutex<Vec<Request>>>,
    hangs_at: usize,
}

#[async_trait]
impl MultipartUpload for NotingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.requests.lock().push(Request::Part(data.content_length()));
        if data.content_length() == self.hangs_at {
            return Box::pin(future::pending());
        }
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.requests.lock().push(Request::Complete);
        self.upload.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.requests.lock().push(Request::Abort);
        self.upload.abort().await
    }
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

#[test]
fn a_request_has_time_for_its_bytes_on_a_slow_line() {
    let seconds = |bytes| deadline(ANSWER, bytes).as_secs();
    assert_eq!([seconds(0), seconds(MIB), seconds(PART_BYTES)], [30, 46, 158]);
    assert_eq!(longest(), Duration::from_secs(158));
}

#[tokio::test]
async fn what_is_large_goes_in_parts_and_what_is_created_in_one_piece() {
    let noting = Noting::new(usize::MAX);
    let store = noting.store();
    let key = Path::from("q/large");
    for (len, requests) in [
        (PART_BYTES, vec![Request::Put(PART_BYTES)]),
        (PART_BYTES + 1, vec![Request::Begin, Request::Part(PART_BYTES), Request::Part(1), Request::Complete]),
    ] {
        store.put(&key, bytes(len)).await.unwrap();
        assert_eq!(std::mem::take(&mut *noting.requests.lock()), requests);
        assert!(store.get(&key).await.unwrap().unwrap() == bytes(len), "{len} bytes come back as they were");
    }
    store.create(&Path::from("q/manifest"), bytes(PART_BYTES + 1)).await.unwrap();
    assert_eq!(*noting.requests.lock(), [Request::Put(PART_BYTES + 1)]);
    let again = store.create(&Path::from("q/manifest"), bytes(1)).await.unwrap_err();
    assert!(matches!(again, ObjectError::AlreadyExists { .. }), "{again}");
}

#[tokio::test]
async fn a_request_that_is_never_answered_ends_and_says_so() {
    let noting = Noting::new(1);
    let store = noting.store();
    let key = Path::from("v/file");
    for (len, last) in [(1, Request::Put(1)), (PART_BYTES + 1, Request::Abort)] {
        let error = store.put(&key, bytes(len)).await.unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Unavailable);
        let report = error.report();
        assert!(report.starts_with("cannot write noting:/"), "{report}");
        assert!(report.contains("no answer within 0.05 s"), "{report}");
        assert_eq!(noting.requests.lock().last(), Some(&last));
        assert_eq!(store.get(&key).await.unwrap(), None);
    }
    let error = store.create(&key, bytes(1)).await.unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
}
