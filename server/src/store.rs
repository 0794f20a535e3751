//! Object stores from URLs: `file://`, plain paths, `s3://` and `memory://`, each proven to create a key only once.
//!
//! Everything durable lies behind a [`Store`]. It knows keys and bytes and nothing of queries.
//! A store that cannot refuse to create an existing key is refused itself: the checkpoint chain stands on that.

mod disk;
mod local;
mod spill;
mod spool;
mod writers;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

pub use disk::{create_durably, sync_directory, unwritable, with_disk_hint};
pub use spill::{SpillDirectory, SpilledBytes, disk_refusal};
use spool::PART_BYTES;
pub use spool::{ByteSpool, Content};

use crate::error::{Error, ErrorKind, Result};

/// How to reach an S3-compatible service. Files and memory need none of it.
///
/// Credentials never stand here: they come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
/// `AWS_SESSION_TOKEN`, web identity and container credentials as AWS defines them) or from `credentials_file`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Base URL of the service, `http://127.0.0.1:9000` for example. Default: AWS, or `AWS_ENDPOINT`.
    pub endpoint: Option<String>,
    /// Region that requests are signed for. Default: `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// Speak plain HTTP to the endpoint. Default: false. Only for a service on the same machine: keys and rows
    /// travel unencrypted.
    pub allow_http: bool,
    /// TOML file with `access_key_id`, `secret_access_key` and perhaps `session_token`; it wins over the environment.
    pub credentials_file: Option<PathBuf>,
}

/// Parts of one upload, at most.
const PARTS_MAX: u64 = 9_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// A place for objects. Keys are relative to its URL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    url: String,
    objects: Arc<dyn ObjectStore>,
    directory: Option<PathBuf>,
}

impl Store {
    /// Opens `file:///dir`, a plain path, `s3://bucket/prefix` or `memory://` and proves that it is writable and
    /// creates a key only once. A directory is made if it is not there. Each `memory://` is a store of its own.
    ///
    /// # Errors
    /// `Invalid` for a URL of another kind, an unwritable directory, missing credentials, or a store without
    /// create-if-absent; `OverBudget` for a full disk; `Unavailable` where the service does not answer, or the disk is read-only.
    pub async fn open(url: &str, settings: &StoreSettings) -> Result<Store> {
        let store = match Url::parse(url) {
            Ok(parsed) if parsed.scheme() == "s3" => open_s3(&parsed, settings)?,
            Ok(parsed) if parsed.scheme() == "memory" => Store::over(Arc::new(InMemory::new()), url),
            Ok(parsed) if parsed.scheme() == "file" => {
                let directory = parsed.to_file_path().map_err(|()| {
                    Error::invalid(format!("{url:?} is not a local directory"))
                        .hint("write file:///absolute/path, with three slashes")
                })?;
                open_directory(directory).await?
            }
            Ok(parsed) if url.contains("://") => {
                return Err(Error::invalid(format!("cannot store at {url:?}"))
                    .detail(format!("the scheme {:?} is not known", parsed.scheme()))
                    .hint("use file:///directory, a plain path, s3://bucket/prefix or memory://"));
            }
            _ if url.is_empty() => return Err(Error::invalid("the storage URL is empty")),
            _ => open_directory(PathBuf::from(url)).await?,
        };
        store.probe().await?;
        Ok(store)
    }

    /// A store over objects opened elsewhere; `url` names it in messages. Not probed.
    pub fn over(objects: Arc<dyn ObjectStore>, url: impl Into<String>) -> Store {
        Store { url: url.into(), objects, directory: None }
    }

    /// The part of this store below `prefix`, with keys relative to it.
    pub fn below(&self, prefix: &str) -> Store {
        Store {
            url: format!("{}/{prefix}", self.url.trim_end_matches('/')),
            objects: Arc::new(PrefixStore::new(Arc::clone(&self.objects), prefix)),
            directory: self.directory.as_ref().map(|directory| directory.join(prefix)),
        }
    }

    /// For readers that take an `ObjectStore`, such as DataFusion.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory behind the store, where there is one.
    pub fn directory(&self) -> Option<&FilePath> {
        self.directory.as_deref()
    }

    /// The whole object; `None` where there is none.
    pub async fn get(&self, key: &Path) -> Result<Option<Bytes>> {
        let read = async { self.objects.get(key).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", key, error)),
        }
    }

    /// Writes an object, whether it is there or not. Atomic: a reader sees the old bytes or the new ones.
    pub async fn put(&self, key: &Path, bytes: Bytes) -> Result<()> {
        self.objects.put(key, bytes.into()).await.map_err(|error| self.failed("write", key, error))?;
        Ok(())
    }

    /// As [`Store::put`], of bytes that may be too many for memory: those of a file are sent in parts.
    pub async fn put_content(&self, key: &Path, content: &Content) -> Result<()> {
        match content {
            Content::Memory(bytes) => self.put(key, bytes.clone()).await,
            Content::File(file) => self.put_file(key, file).await,
        }
    }

    async fn put_file(&self, key: &Path, spilled: &SpilledBytes) -> Result<()> {
        // Services take 10,000 parts at the most.
        let part_bytes = usize::try_from(spilled.len() / PARTS_MAX).unwrap_or(usize::MAX).max(PART_BYTES);
        let failed = |error| self.failed("write", key, error);
        let mut upload = self.objects.put_multipart(key).await.map_err(failed)?;
        let sent = async {
            let mut at = 0;
            while at < spilled.len() {
                let len = part_bytes.min(usize::try_from(spilled.len() - at).unwrap_or(part_bytes));
                let part = spilled.read(at, len).await?;
                upload.put_part(part.into()).await.map_err(failed)?;
                at += len as u64;
            }
            upload.complete().await.map_err(failed)?;
            Ok(())
        };
        let sent = sent.await;
        if sent.is_err() {
            // What stays of it is the service's to sweep: it is visible to nobody.
            let _ = upload.abort().await;
        }
        sent
    }

    /// Deletes an object; one that is not there is no error.
    pub async fn delete(&self, key: &Path) -> Result<()> {
        match self.objects.delete(key).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", key, error)),
        }
    }

    /// All keys below `prefix`, in no order.
    pub async fn list(&self, prefix: &Path) -> Result<Vec<Path>> {
        let listing = self.objects.list(Some(prefix)).map_ok(|meta| meta.location).try_collect().await;
        listing.map_err(|error| self.failed("list", prefix, error))
    }

    pub(crate) fn failed(&self, verb: &str, key: &Path, error: ObjectError) -> Error {
        let error_kind = match error {
            ObjectError::NotImplemented { .. } | ObjectError::NotSupported { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        let told = Error::new(error_kind, format!("cannot {verb} {}/{key}", self.url.trim_end_matches('/')));
        match error {
            ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => {
                told.hint("check the credentials and what they may do in this bucket").caused_by(error)
            }
            error => with_disk_hint(told, &error).caused_by(error),
        }
    }

    /// Creates a key twice. The second time must be refused.
    async fn probe(&self) -> Result<()> {
        let key = Path::from(format!("touchline-probe-{}", Uuid::new_v4().simple()));
        let payload = || PutPayload::from_static(b"written and deleted when a server starts\n");
        let create = || PutOptions::from(PutMode::Create);
        self.objects.put_opts(&key, payload(), create()).await.map_err(|error| self.not_writable(error))?;
        let again = self.objects.put_opts(&key, payload(), create()).await;
        let removed = self.delete(&key).await;
        match again {
            Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => removed,
            Err(error) => Err(self.failed("write", &key, error)),
            Ok(_) => Err(Error::invalid(format!("cannot keep checkpoints at {}", self.url))
                .detail(
                    "this store ignores If-None-Match: it created the same key twice, so two servers could corrupt it",
                )
                .hint("use a store with conditional writes, for example AWS S3, MinIO, R2 or a local directory")),
        }
    }

    fn not_writable(&self, error: ObjectError) -> Error {
        match &self.directory {
            Some(directory) => unwritable(directory, error),
            None => {
                let told = Error::unavailable(format!("cannot write to {}", self.url));
                told.hint("check that the bucket exists, that the endpoint is right and that the credentials may write")
                    .caused_by(error)
            }
        }
    }
}

async fn open_directory(directory: PathBuf) -> Result<Store> {
    let opening = tokio::task::spawn_blocking(move || {
        let opened = local::DurableDirectory::open(&directory);
        opened.map_err(|error| unwritable(&directory, error))
    });
    let files = opening.await.map_err(|error| Error::bug("opening a directory panicked").caused_by(error))??;
    let directory = files.root().to_owned();
    Ok(Store { url: format!("file://{}", directory.display()), objects: Arc::new(files), directory: Some(directory) })
}

fn open_s3(url: &Url, settings: &StoreSettings) -> Result<Store> {
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| {
        Error::invalid(format!("{:?} names no bucket", url.as_str())).hint("write s3://bucket/prefix")
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid("credentials do not belong into a storage URL")
            .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or credentials_file"));
    }
    // The chain has its own retries around a commit; a request that hangs for minutes would only hide the trouble.
    let retry = RetryConfig { max_retries: 4, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    if let Some(endpoint) = &settings.endpoint {
        if endpoint.starts_with("http://") && !settings.allow_http {
            return Err(Error::invalid(format!("s3.endpoint {endpoint:?} is not encrypted"))
                .hint("write https://, or set s3.allow_http = true for a service on the same machine or network"));
        }
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if settings.allow_http {
        builder = builder.with_allow_http(true);
    }
    if let Some(file) = &settings.credentials_file {
        let Credentials { access_key_id, secret_access_key, session_token } = read_credentials(file)?;
        builder = builder.with_access_key_id(access_key_id).with_secret_access_key(secret_access_key);
        if let Some(token) = session_token {
            builder = builder.with_token(token);
        }
    }
    let s3 = builder
        .build()
        .map_err(|error| Error::invalid(format!("cannot use {:?} as a store", url.as_str())).caused_by(error))?;
    let prefix = Path::from_url_path(url.path())
        .map_err(|error| Error::invalid(format!("{:?} has an unusable prefix", url.as_str())).caused_by(error))?;
    let objects: Arc<dyn ObjectStore> =
        if prefix.as_ref().is_empty() { Arc::new(s3) } else { Arc::new(PrefixStore::new(s3, prefix)) };
    Ok(Store::over(objects, url.as_str()))
}

fn read_credentials(file: &FilePath) -> Result<Credentials> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::invalid(format!("cannot read credentials_file {name:?}")).caused_by(error))?;
    // The parser's own message quotes the line, which may hold the secret.
    toml::from_str(&text).map_err(|_| {
        Error::invalid(format!("credentials_file {name:?} is not understood"))
            .hint("it is TOML with access_key_id, secret_access_key and, where needed, session_token")
    })
}

#[cfg(test)]
mod tests;
