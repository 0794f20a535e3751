//! Object stores from URLs: `file://`, plain paths, `s3://` and `memory://`, each proven to create a key only once.
//!
//! Everything durable lies behind a [`Store`]. It knows keys and bytes and nothing of queries.
//! A store that cannot refuse to create an existing key is refused itself: the checkpoint chain stands on that.

mod disk;
mod local;
mod spill;
mod spool;
mod upload;
mod writers;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientConfigKey, Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

pub use disk::{create_durably, sync_directory, unwritable, with_disk_hint};
pub use spill::{SpillDirectory, SpilledBytes, disk_refusal};
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
    /// The same, by a client whose requests may take as long as the bytes need that they carry.
    uploads: Arc<dyn ObjectStore>,
    directory: Option<PathBuf>,
    /// How long it may say nothing, beyond the time that bytes take.
    answer: Duration,
}

impl Store {
    /// Opens `file:///dir`, a plain path, `s3://bucket/prefix` or `memory://` and proves that it is writable and
    /// creates a key only once. A directory is made if it is not there. Each `memory://` is a store of its own.
    ///
    /// # Errors
    /// `Invalid` for a URL of another kind, an unwritable directory, missing credentials, or a store without
    /// create-if-absent; `OverBudget` for a full disk; `Unavailable` where the service does not answer, or the disk is read-only.
    pub async fn open(url: &str, settings: &StoreSettings) -> Result<Store> {
        let store = Self::reach(url, settings).await?;
        store.probe().await?;
        Ok(store)
    }

    /// As [`Store::open`], of one that is there already, to look into it: nothing is written to it before somebody does, and a directory
    /// is not made.
    ///
    /// # Errors
    /// And `Invalid` for a directory that is not there.
    pub async fn look_into(url: &str, settings: &StoreSettings) -> Result<Store> {
        let directory = match Url::parse(url) {
            Ok(parsed) if parsed.scheme() == "file" => parsed.to_file_path().ok(),
            _ if url.contains("://") => None,
            _ => Some(PathBuf::from(url)),
        };
        if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
            return Err(Error::invalid(format!("there is no directory {}", directory.display()))
                .hint("name the configuration of the server with --config, or the place itself by its URL"));
        }
        Self::reach(url, settings).await
    }

    async fn reach(url: &str, settings: &StoreSettings) -> Result<Store> {
        Ok(match Url::parse(url) {
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
        })
    }

    /// How many others have this directory open at the moment; `None` where it is no directory, which nobody can tell of.
    pub fn open_elsewhere(&self) -> Option<usize> {
        self.directory.as_deref().map(|directory| local::open_on(directory).saturating_sub(1))
    }

    /// A store over objects opened elsewhere; `url` names it in messages. Not probed.
    pub fn over(objects: Arc<dyn ObjectStore>, url: impl Into<String>) -> Store {
        let uploads = Arc::clone(&objects);
        Store { url: url.into(), objects, uploads, directory: None, answer: upload::ANSWER }
    }

    /// The same that gives up earlier on what is not answered.
    #[cfg(test)]
    pub(crate) fn answering_within(self, answer: Duration) -> Store {
        Store { answer, ..self }
    }

    /// The part of this store below `prefix`, with keys relative to it.
    pub fn below(&self, prefix: &str) -> Store {
        Store {
            url: format!("{}/{prefix}", self.url.trim_end_matches('/')),
            objects: Arc::new(PrefixStore::new(Arc::clone(&self.objects), prefix)),
            uploads: Arc::new(PrefixStore::new(Arc::clone(&self.uploads), prefix)),
            directory: self.directory.as_ref().map(|directory| directory.join(prefix)),
            answer: self.answer,
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

    /// Deletes an object; one that is not there is no error.
    pub async fn delete(&self, key: &Path) -> Result<()> {
        match self.objects.delete(key).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", key, error)),
        }
    }

    /// Deletes many objects, in no order and with few requests; those that are not there are no error.
    ///
    /// # Errors
    /// The first that there was. All that could be deleted is gone all the same.
    pub async fn delete_all(&self, keys: Vec<Path>) -> Result<()> {
        let Some(first) = keys.first().cloned() else { return Ok(()) };
        let mut deleted = self.objects.delete_stream(stream::iter(keys.into_iter().map(Ok)).boxed());
        let mut trouble = None;
        while let Some(answer) = deleted.next().await {
            match answer {
                Ok(_) | Err(ObjectError::NotFound { .. }) => {}
                Err(error) => _ = trouble.get_or_insert(error),
            }
        }
        trouble.map_or(Ok(()), |error| Err(self.failed("delete objects beside", &first, error)))
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
    let store = Store::over(Arc::new(files), format!("file://{}", directory.display()));
    Ok(Store { directory: Some(directory), ..store })
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
    let prefix = Path::from_url_path(url.path())
        .map_err(|error| Error::invalid(format!("{:?} has an unusable prefix", url.as_str())).caused_by(error))?;
    let build = |builder: AmazonS3Builder| -> Result<Arc<dyn ObjectStore>> {
        let s3 = builder
            .build()
            .map_err(|error| Error::invalid(format!("cannot use {:?} as a store", url.as_str())).caused_by(error))?;
        let objects: Arc<dyn ObjectStore> = match prefix.as_ref().is_empty() {
            true => Arc::new(s3),
            false => Arc::new(PrefixStore::new(s3, prefix.clone())),
        };
        Ok(objects)
    };
    let longest = upload::longest();
    let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
    let uploads = builder
        .clone()
        .with_retry(RetryConfig { max_retries: 4, retry_timeout: longest, ..RetryConfig::default() })
        .with_config(timeout, format!("{}s", longest.as_secs()));
    Ok(Store { uploads: build(uploads)?, ..Store::over(build(builder)?, url.as_str()) })
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
