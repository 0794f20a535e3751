//! A directory as an object store whose writes survive a power cut and are never seen half done.
//!
//! `object_store`'s own local store neither calls fsync nor keeps its staging files out of the target's folder, where
//! an outside reader with a glob would meet them. Here an object is written under a private name in
//! `<root>/.touchline-staging`, fsynced, then renamed to its place, where a create finds nothing there, and the place's folder is
//! fsynced too. Reads, listings and deletions are `LocalFileSystem`'s. Writes have threads of their own: `writers`.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, future};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use uuid::Uuid;

use super::disk::create_durably;
use super::writers::Writers;

const STAGING: &str = ".touchline-staging";

/// Folders remembered as durable. Past this many they are simply fsynced anew.
const DURABLE_FOLDERS_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct DurableDirectory {
    files: LocalFileSystem,
    disk: Arc<Disk>,
}

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    staging: PathBuf,
    /// Locked as long as this store lives, so that another start does not sweep our staging folder.
    _lock: File,
    /// Folders whose own entries, up to the root, are known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
    writers: Writers,
}

impl DurableDirectory {
    /// Makes the directory if needed. Staging files of processes that are gone are removed.
    pub(super) fn open(directory: &FilePath) -> io::Result<Self> {
        create_durably(directory)?;
        let root = directory.canonicalize()?;
        let all_staging = root.join(STAGING);
        fs::create_dir_all(&all_staging)?;
        sweep(&all_staging);
        let (staging, lock) = claim_staging(&all_staging)?;
        let files = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?;
        let disk = Disk { root, staging, _lock: lock, durable: Mutex::default(), writers: Writers::default() };
        Ok(DurableDirectory { files, disk: Arc::new(disk) })
    }

    pub(super) fn root(&self) -> &FilePath {
        &self.disk.root
    }

    #[cfg(test)]
    pub(super) fn writers(&self) -> &Writers {
        &self.disk.writers
    }
}

/// How many stores are open on a directory, in this process and others.
pub(super) fn open_on(root: &FilePath) -> usize {
    let Ok(entries) = fs::read_dir(root.join(STAGING)) else { return 0 };
    let locks =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ext| ext == "lock"));
    locks
        .filter(|path| File::open(path).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))))
        .count()
}

fn lock_of(staging: &FilePath) -> PathBuf {
    staging.with_extension("lock")
}

fn claim_staging(all_staging: &FilePath) -> io::Result<(PathBuf, File)> {
    loop {
        let staging = all_staging.join(Uuid::new_v4().simple().to_string());
        let lock = File::create_new(lock_of(&staging))?;
        // A sweep of another process may meet the file between its creation and our lock; then the name is given up.
        match lock.try_lock() {
            Ok(()) if lock_of(&staging).exists() => {
                fs::create_dir(&staging)?;
                return Ok((staging, lock));
            }
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Removes what killed processes left behind. Best effort: leftovers cost space and nothing else.
fn sweep(all_staging: &FilePath) {
    let Ok(entries) = fs::read_dir(all_staging) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_))) {
            continue;
        }
        let _ = fs::remove_dir_all(path.with_extension(""));
        let _ = fs::remove_file(&path);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.staging);
        let _ = fs::remove_file(lock_of(&self.staging));
    }
}

impl Disk {
    fn put(&self, target: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
        let folder = target.parent().unwrap_or(&self.root);
        self.make_durable_folder(folder)?;
        let staged = self.staging.join(Uuid::new_v4().simple().to_string());
        let placed = self.write(&staged, payload).and_then(|()| match create {
            true => place_new(&staged, target),
            false => fs::rename(&staged, target),
        });
        if placed.is_err() {
            let _ = fs::remove_file(&staged);
        }
        placed?;
        File::open(folder)?.sync_all()
    }

    fn write(&self, staged: &FilePath, payload: &PutPayload) -> io::Result<()> {
        let mut file = File::create_new(staged)?;
        payload.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()
    }

    fn make_durable_folder(&self, folder: &FilePath) -> io::Result<()> {
        if self.durable.lock().contains(folder) && folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let mut above = folder;
        while above != self.root
            && let Some(parent) = above.parent()
        {
            File::open(parent)?.sync_all()?;
            above = parent;
        }
        let mut durable = self.durable.lock();
        if durable.len() >= DURABLE_FOLDERS_MAX {
            durable.clear();
        }
        durable.insert(folder.to_owned());
        Ok(())
    }
}

/// Gives a file its name unless there is one of that name.
fn place_new(staged: &FilePath, target: &FilePath) -> io::Result<()> {
    match renameat_with(CWD, staged, CWD, target, RenameFlags::NOREPLACE) {
        // A file system that does not know it, as NFS. A link and a removal do the same, and change three folders and not two.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(staged, target)?;
            let _ = fs::remove_file(staged);
            Ok(())
        }
        placed => placed.map_err(io::Error::from),
    }
}

/// An object that comes in parts, under a private name until it is whole and on disk.
#[derive(Debug)]
struct Upload {
    disk: Arc<Disk>,
    location: Path,
    target: PathBuf,
    staged: PathBuf,
    file: Arc<File>,
    /// Where the next part begins.
    next: u64,
    /// It has taken its target's place.
    placed: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.placed {
            // Not here: this is a thread of the server, and the disk may hang. The folder goes after what is in it.
            let (disk, staged) = (Arc::clone(&self.disk), std::mem::take(&mut self.staged));
            let _removing = self.disk.writers.begin(move || {
                let _ = fs::remove_file(&staged);
                drop(disk);
            });
        }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (disk, file) = (Arc::clone(&self.disk), Arc::clone(&self.file));
        let (location, begin) = (self.location.clone(), self.next);
        self.next += data.content_length() as u64;
        Box::pin(async move {
            let writing = disk.writers.run(move || {
                data.iter()
                    .try_fold(begin, |at, bytes| file.write_all_at(bytes, at).map(|()| at + bytes.len() as u64))?;
                // Each part has the time that its bytes need; the end of all has not.
                file.sync_data()
            });
            writing.await?.map_err(|error| failed(&location, error))
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (disk, file) = (Arc::clone(&self.disk), Arc::clone(&self.file));
        let (staged, target) = (self.staged.clone(), self.target.clone());
        let placing = self.disk.writers.run(move || {
            let folder = target.parent().unwrap_or(&disk.root);
            disk.make_durable_folder(folder)?;
            file.sync_all()?;
            fs::rename(&staged, &target)?;
            File::open(folder)?.sync_all()
        });
        placing.await?.map_err(|error| failed(&self.location, error))?;
        self.placed = true;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.clone();
        let removing = self.disk.writers.run(move || fs::remove_file(staged));
        removing.await?.map_err(|error| failed(&self.location, error))
    }
}

fn refused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "the durable directory store".to_owned() }
}

fn failed(location: &Path, error: io::Error) -> Error {
    let path = location.to_string();
    match error.kind() {
        ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: "directory", source: error.into() },
    }
}

fn is_staging(location: &Path) -> bool {
    location.parts().next().is_some_and(|part| part.as_ref() == STAGING)
}

impl std::fmt::Display for DurableDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "directory {}", self.disk.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableDirectory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(refused("a conditional overwrite")),
        };
        if !options.attributes.is_empty() {
            return Err(refused("a write with attributes"));
        }
        let target = self.files.path_to_filesystem(location)?;
        let disk = Arc::clone(&self.disk);
        let written = self.disk.writers.run(move || disk.put(&target, &payload, create)).await?;
        written.map_err(|error| failed(location, error))?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return Err(refused("a write with attributes"));
        }
        let target = self.files.path_to_filesystem(location)?;
        let staged = self.disk.staging.join(Uuid::new_v4().simple().to_string());
        let begun = staged.clone();
        let file = self.disk.writers.run(move || File::create_new(begun)).await?;
        let file = Arc::new(file.map_err(|error| failed(location, error))?);
        let (disk, location) = (Arc::clone(&self.disk), location.clone());
        Ok(Box::new(Upload { disk, location, target, staged, file, next: 0, placed: false }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix).try_filter(|meta| future::ready(!is_staging(&meta.location))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listing = self.files.list_with_delimiter(prefix).await?;
        listing.common_prefixes.retain(|prefix| !is_staging(prefix));
        Ok(listing)
    }

    /// Refused: a copy would not be durable, and nothing here copies.
    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("a copy"))
    }
}
