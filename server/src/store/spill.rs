//! Local disk for rows that have no room in memory: uncompressed Arrow IPC files in one directory, bounded in bytes.
//!
//! Nothing in it outlives the process: what a checkpoint needs is in the store. Files are read by ordinary reads and never mapped.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;
use uuid::Uuid;

use super::disk::unwritable;
use crate::error::{Error, Result};
use crate::state::{BatchReader, SpillFile, SpillSpace, SpillWriter, compact};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// See the module's first lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpillDirectory(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    bytes_max: u64,
    used: AtomicU64,
    next: AtomicU64,
    /// Removed when the last file and the last handle are gone.
    temporary: bool,
}

impl SpillDirectory {
    /// A directory of the server's own. What an earlier process left in it is removed.
    ///
    /// # Errors
    /// Where it cannot be made or emptied, as a store whose directory cannot be written to: `Invalid`, `OverBudget` or `Unavailable`.
    pub fn open(path: PathBuf, bytes_max: u64) -> Result<Self> {
        let emptied = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&path),
        };
        emptied
            .map_err(|error| unwritable(&path, error).detail("rows are put away there that have no room in memory"))?;
        Ok(Self::at(path, bytes_max, false))
    }

    /// A directory among the system's temporary files, made when it is first needed and gone with the last of its files. What
    /// processes have left that were killed is removed.
    pub fn temporary(bytes_max: u64) -> Self {
        sweep(&std::env::temp_dir());
        let path = std::env::temp_dir().join(format!("{TEMPORARY}{}-{}", std::process::id(), Uuid::new_v4().simple()));
        Self::at(path, bytes_max, true)
    }

    fn at(path: PathBuf, bytes_max: u64, temporary: bool) -> Self {
        let (used, next) = (AtomicU64::new(0), AtomicU64::new(0));
        SpillDirectory(Arc::new(Directory { path, bytes_max, used, next, temporary }))
    }

    /// Bytes that files take.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A file for bytes, not rows; removed when it is dropped.
    ///
    /// # Errors
    /// `Unavailable` where the disk fails.
    pub fn bytes(&self) -> Result<SpilledBytes> {
        let (file, path) = self.0.create()?;
        Ok(SpilledBytes { file: Arc::new(file), place: Place { path, bytes: 0, directory: Arc::clone(&self.0) } })
    }
}

/// How names of temporary directories begin; then come the process and something that no other has.
const TEMPORARY: &str = "touchline-spill-";

/// Removes the directories of processes that are gone. Best effort: what stays costs space and nothing else.
fn sweep(directory: &Path) {
    let processes = Path::new("/proc");
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|_| processes.join("self").exists()) {
        let name = entry.file_name();
        let process =
            name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)?.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !processes.join(process.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Directory {
    fn create(&self) -> Result<(File, PathBuf)> {
        let path = self.path.join(format!("{}.arrow", self.next.fetch_add(1, Ordering::Relaxed)));
        let create = || File::options().read(true).write(true).create_new(true).open(&path);
        let file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.path).and_then(|()| create())
            }
            created => created,
        };
        Ok((file.map_err(|error| self.failed(error))?, path))
    }

    fn take(&self, bytes: u64) -> bool {
        let within = |used: u64| used.checked_add(bytes).filter(|after| *after <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::unavailable(format!("rows cannot be put away on local disk in {}", self.path.display()))
            .caused_by(error)
            .hint("look for a full or failing disk; data_dir says where it is")
    }

    fn full(&self) -> Error {
        Error::over_budget(format!("the rows put away in {} take all the room they may have", self.path.display()))
            .detail(format!("engine.spill_bytes_max is {} bytes", self.bytes_max))
            .hint("raise it, give engine.state_bytes_max more memory, use shorter windows or fewer keys")
    }
}

/// A file and the bytes counted for it; removed when dropped.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    bytes: u64,
    directory: Arc<Directory>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.directory.used.fetch_sub(self.bytes, Ordering::Relaxed);
        let _ = fs::remove_file(&self.path);
    }
}

/// Bytes on local disk, written once and then read.
#[derive(Debug)]
pub struct SpilledBytes {
    file: Arc<File>,
    place: Place,
}

impl SpilledBytes {
    /// `len` bytes from `offset` on.
    pub(super) async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        });
        let read = reading.await.map_err(|error| Error::bug("reading a file panicked").caused_by(error))?;
        read.map_err(|error| self.place.directory.failed(error))
    }

    /// Its bytes from the first one on.
    pub fn reader(&self) -> impl io::Read + use<> {
        let (file, mut at) = (Arc::clone(&self.file), 0);
        BufReader::with_capacity(
            BUFFER_BYTES,
            ReadAt(move |bytes: &mut [u8]| {
                let read = file.read_at(bytes, at)?;
                at += read as u64;
                Ok(read)
            }),
        )
    }

    /// Shortens it to its first `bytes`.
    pub fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.as_ref().seek(SeekFrom::Start(bytes))?;
        self.place.directory.used.fetch_sub(self.place.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.place.bytes = self.place.bytes.min(bytes);
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.place.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct ReadAt<F>(F);

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> io::Read for ReadAt<F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (self.0)(bytes)
    }
}

impl Write for SpilledBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.place.directory.take(bytes.len() as u64) {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, self.place.directory.full()));
        }
        self.place.bytes += bytes.len() as u64;
        self.file.as_ref().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SpillSpace for SpillDirectory {
    fn bytes_max(&self) -> u64 {
        self.0.bytes_max
    }

    fn create(&self, schema: &SchemaRef) -> Result<Box<dyn SpillWriter>> {
        let directory = Arc::clone(&self.0);
        let file = BufWriter::with_capacity(BUFFER_BYTES, self.bytes()?);
        let ipc = FileWriter::try_new(file, schema).map_err(|error| told(&directory, error))?;
        Ok(Box::new(Writer { ipc, batches: 0, directory }))
    }
}

struct Writer {
    ipc: FileWriter<BufWriter<SpilledBytes>>,
    batches: usize,
    directory: Arc<Directory>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} batches)", self.batches)
    }
}

impl SpillWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.batches += 1;
        self.ipc.write(&compact(batch)?).map_err(|error| told(&self.directory, error))
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn SpillFile>> {
        let Writer { mut ipc, batches, directory } = *self;
        ipc.finish().map_err(|error| told(&directory, error))?;
        let buffered = ipc.into_inner().map_err(|error| told(&directory, error))?;
        let SpilledBytes { file, place } = buffered.into_inner().map_err(|error| {
            let error = error.into_error();
            told(&directory, ArrowError::IoError(error.to_string(), error))
        })?;
        // A file of its own for each reader: few are open at a time, however many there are.
        drop(file);
        Ok(Arc::new(Spilled { place, batches }))
    }
}

/// The refusal where the place is full, else what the disk said.
fn told(directory: &Directory, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => disk_refusal(error),
        error => directory.failed(error),
    }
}

/// Our own error, where one has travelled through a writer, else what the disk said.
pub fn disk_refusal(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::unavailable("rows cannot be put away on local disk")
            .caused_by(error)
            .hint("look for a full or failing disk; data_dir says where it is"),
    }
}

#[derive(Debug)]
struct Spilled {
    place: Place,
    batches: usize,
}

impl SpillFile for Spilled {
    fn batches(&self) -> usize {
        self.batches
    }

    fn bytes(&self) -> u64 {
        self.place.bytes
    }

    fn open(&self) -> Result<Box<dyn BatchReader>> {
        let directory = Arc::clone(&self.place.directory);
        let file = File::open(&self.place.path).map_err(|error| directory.failed(error))?;
        let ipc = FileReader::try_new(file, None).map_err(|error| directory.failed(error))?;
        Ok(Box::new(Reader { ipc, directory }))
    }
}

struct Reader {
    ipc: FileReader<File>,
    directory: Arc<Directory>,
}

impl BatchReader for Reader {
    fn read(&mut self, batch: usize) -> Result<RecordBatch> {
        self.ipc.set_index(batch).map_err(|error| self.directory.failed(error))?;
        match self.ipc.next() {
            Some(batch) => batch.map_err(|error| self.directory.failed(error)),
            None => Err(Error::bug(format!("a spilled file has no batch {batch}"))),
        }
    }
}

#[cfg(test)]
mod tests;
