//! Stores open, write atomically and refuse to create twice; what cannot be used says why.

use std::sync::Barrier;

use futures::FutureExt;
use futures::future::join_all;
use object_store::{GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutResult};

use super::writers::WRITERS;
use super::*;

async fn directory() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().to_str().unwrap(), &StoreSettings::default()).await.unwrap();
    (directory, store)
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

#[tokio::test]
async fn objects_of_a_directory_outlive_the_store_that_wrote_them() {
    let (directory, store) = directory().await;
    let key = Path::from("q/deep/er/object.json");
    store.put(&key, Bytes::from_static(b"one")).await.unwrap();
    store.put(&key, Bytes::from_static(b"two")).await.unwrap();
    drop(store);
    let url = Url::from_file_path(directory.path()).unwrap();
    let store = Store::open(url.as_str(), &StoreSettings::default()).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().unwrap(), "two");
    assert_eq!(store.list(&Path::from("q")).await.unwrap(), std::slice::from_ref(&key));
    store.delete(&key).await.unwrap();
    store.delete(&key).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_create_one_key_exactly_one_succeeds() {
    let (directory, first) = directory().await;
    let second = Store::open(directory.path().to_str().unwrap(), &StoreSettings::default()).await.unwrap();
    let key = Path::from("race");
    let attempts = (0..16).map(|n| {
        let store = if n % 2 == 0 { first.clone() } else { second.clone() };
        let key = key.clone();
        tokio::spawn(async move { store.objects().put_opts(&key, format!("{n}").into(), create()).await.map(|_| n) })
    });
    let results: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1);
    assert!(
        results.iter().flat_map(|result| result.as_ref().err()).all(|e| matches!(e, ObjectError::AlreadyExists { .. }))
    );
    assert_eq!(first.get(&key).await.unwrap().unwrap(), winners[0].to_string());
}

/// Else what waits for a disk, or for anything else that blocks, would wait for one another.
#[test]
fn the_store_writes_although_all_threads_of_the_server_are_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (_directory, store) = directory().await;
        let (free, taken) = std::sync::mpsc::channel::<()>();
        let other = tokio::task::spawn_blocking(move || taken.recv());
        let key = Path::from("a");
        store.put(&key, Bytes::from_static(b"x")).await.unwrap();
        let mut upload = store.objects().put_multipart(&key).await.unwrap();
        upload.put_part(Bytes::from_static(b"y").into()).await.unwrap();
        upload.complete().await.unwrap();
        drop(free);
        assert!(other.await.unwrap().is_err());
        assert_eq!(store.get(&key).await.unwrap().unwrap(), "y");
    });
}

/// Public files may lie on another disk than checkpoints.
#[tokio::test]
async fn a_directory_that_hangs_keeps_no_other_one_waiting_and_no_thread_of_the_server() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [hung, sound] = folders.each_ref().map(|folder| local::DurableDirectory::open(folder.path()).unwrap());
    let begun = Arc::new(Barrier::new(WRITERS + 1));
    for _ in 0..WRITERS {
        let begun = Arc::clone(&begun);
        drop(hung.writers().begin(move || {
            begun.wait();
        }));
    }
    let key = Path::from("a");
    let waits = hung.put_multipart(&key).now_or_never();
    let written = tokio::time::timeout(Duration::from_secs(20), sound.put(&key, "x".into())).await;
    // Whatever has become of it, the threads are let go.
    begun.wait();
    assert!(waits.is_none(), "an upload begins on a thread of the server");
    written.expect("it does not wait for the other disk").unwrap();
    hung.put(&key, "x".into()).await.unwrap();
}

#[tokio::test]
async fn what_an_upload_has_written_goes_where_it_is_given_up() {
    let (directory, store) = directory().await;
    let mut upload = store.objects().put_multipart(&Path::from("a")).await.unwrap();
    upload.put_part(Bytes::from_static(b"y").into()).await.unwrap();
    drop((upload, store));
    let staging = directory.path().join(".touchline-staging");
    let gone = async {
        while std::fs::read_dir(&staging).unwrap().next().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it goes");
}

#[tokio::test]
async fn nothing_but_whole_objects_stands_in_the_public_folder_and_staging_is_swept() {
    let (directory, store) = directory().await;
    store.put(&Path::from("view/a.parquet"), Bytes::from_static(b"whole")).await.unwrap();
    let names = |folder: &FilePath| -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&directory.path().join("view")), ["a.parquet"]);
    let listed = store.objects().list_with_delimiter(None).await.unwrap();
    assert_eq!(listed.common_prefixes, [Path::from("view")]);

    // A process that was killed leaves its folder and its lock file, which nobody holds.
    let staging = directory.path().join(".touchline-staging");
    std::fs::create_dir(staging.join("dead")).unwrap();
    std::fs::write(staging.join("dead/half"), b"ha").unwrap();
    std::fs::write(staging.join("dead.lock"), b"").unwrap();
    let alive = names(&staging).len() - 2;
    let second = Store::open(directory.path().to_str().unwrap(), &StoreSettings::default()).await.unwrap();
    assert!(!staging.join("dead").exists() && !staging.join("dead.lock").exists());
    assert_eq!(names(&staging).len(), 2 * alive, "the staging folder of a living store is left alone");
    store.put(&Path::from("still"), Bytes::from_static(b"works")).await.unwrap();
    drop((store, second));
    assert!(names(&staging).is_empty());
}

#[tokio::test]
async fn a_part_of_a_store_is_a_store() {
    let (directory, store) = directory().await;
    let tables = store.below("tables");
    tables.put(&Path::from("v/x"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(store.get(&Path::from("tables/v/x")).await.unwrap().unwrap(), "x");
    assert_eq!(tables.list(&Path::from("v")).await.unwrap(), [Path::from("v/x")]);
    assert_eq!(tables.directory().unwrap(), directory.path().canonicalize().unwrap().join("tables"));
}

#[tokio::test]
async fn an_unusable_directory_is_named_with_reason_and_remedy() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below_a_file = file.path().join("data");
    let error = Store::open(below_a_file.to_str().unwrap(), &StoreSettings::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.primary(), format!("cannot write to directory {:?}", below_a_file.display().to_string()));
    assert!(error.report().contains("cause: Not a directory"), "{}", error.report());
    assert!(error.hint_text().is_some());
}

#[tokio::test]
async fn urls_that_cannot_work_are_refused() {
    for (url, says) in [
        ("", "empty"),
        ("ftp://host/x", "\"ftp\" is not known"),
        ("file://host/x", "not a local directory"),
        ("s3:///prefix", "names no bucket"),
        ("s3://key:secret@bucket/x", "do not belong into a storage URL"),
    ] {
        let error = Store::open(url, &StoreSettings::default()).await.expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.report().contains(says), "{url}: {}", error.report());
        assert!(!error.report().contains("secret@"));
    }
}

#[tokio::test]
async fn a_credentials_file_is_never_quoted() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "access_key_id = \"id\"\nsecret_access_key = hunter2\n").unwrap();
    let settings = StoreSettings { credentials_file: Some(file.path().to_owned()), ..StoreSettings::default() };
    let error = Store::open("s3://bucket/x", &settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn unknown_settings_are_refused() {
    let known: StoreSettings = toml::from_str("endpoint = \"http://127.0.0.1:9000\"\nallow_http = true").unwrap();
    assert!(known.allow_http && known.region.is_none());
    assert!(toml::from_str::<StoreSettings>("secret_access_key = \"x\"").is_err());
}

/// A service that overwrites where it was told to create, as some did.
#[derive(Debug)]
struct Careless(InMemory);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("careless")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, key: &Path, payload: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        self.0.put_opts(key, payload, PutOptions::default()).await
    }
    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(key, options).await
    }
    async fn get_opts(&self, key: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(key, options).await
    }
    fn delete_stream(
        &self,
        keys: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(keys)
    }
    fn list(&self, prefix: Option<&Path>) -> futures::stream::BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: object_store::CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_creates_a_key_twice_is_refused_and_the_probe_leaves_nothing() {
    let store = Store::over(Arc::new(Careless(InMemory::new())), "careless://");
    let error = store.probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.report().contains("ignores If-None-Match"));
    assert!(store.list(&Path::default()).await.unwrap().is_empty());

    let sound = Store::open("memory://", &StoreSettings::default()).await.unwrap();
    assert!(sound.list(&Path::default()).await.unwrap().is_empty());
}
