//! The embedded log: durable topics inside this process, for installations that have no Kafka.
//!
//! Appends are grouped: one thread takes all that wait, stores each partition's records as one chunk and makes them
//! durable with one transaction. When an append returns, its records survive a crash of the process and a power cut. Where it fails
//! while they are made durable, they may be there or not, and the error says so.
//! The file does not shrink: space that retention frees is used again.

mod chunk;
mod file;
mod source;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

pub use self::source::EmbeddedSource;

use self::chunk::Chunk;
use self::file::{Open, StoreFile, open_file};

use super::{Offset, Offsets, Partition};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::store::{create_durably, sync_directory, unwritable, with_disk_hint};

/// Topic name → (id, number of partitions).
const TOPICS: TableDefinition<&str, (u32, u32)> = TableDefinition::new("topics");
/// (topic id, partition, base offset) → chunk.
const CHUNKS: TableDefinition<(u32, u32, u64), &[u8]> = TableDefinition::new("chunks");
/// (topic id, partition) → (first offset, next offset, bytes).
const EXTENTS: TableDefinition<(u32, u32), (u64, u64, u64)> = TableDefinition::new("extents");

/// What the log says of itself.
const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");
/// The key of its id in there: a UUID that is drawn once.
const ID: &str = "id";

const FILE: &str = "log.redb";
/// Bytes that may wait to be made durable: further appends wait for room.
const PENDING_KBYTES: usize = 64 * 1024;
/// One append: what a single chunk may hold.
const APPEND_BYTES_MAX: usize = 16 << 20;
const PENDING_APPENDS: usize = 4096;
const PARTITIONS_MAX: u32 = 1024;

/// `[embedded_log]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Partitions of a topic that is made on first use. Default 4.
    pub partitions: u32,
    /// How much a partition keeps, in MiB. Default 1024. The oldest records go first; the newest chunk always stays.
    pub retention_mbytes: u64,
    /// How long records are kept, in hours. Default 168.
    pub retention_hours: u64,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        EmbeddedSettings { partitions: 4, retention_mbytes: 1024, retention_hours: 168 }
    }
}

/// One record to append.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// See the module's first lines. Share it by `Arc`; any number of threads may append and read.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    settings: EmbeddedSettings,
    sender: Option<mpsc::Sender<Append>>,
    room: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    file: StoreFile,
    /// Tells it from another log in its place.
    id: String,
    state: Mutex<State>,
    /// Signalled after each commit.
    grown: Condvar,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, Topic>,
}

#[derive(Clone)]
struct Topic {
    id: u32,
    partitions: Vec<Extent>,
}

/// What a partition holds: offsets `begin..end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Extent {
    begin: u64,
    end: u64,
    bytes: u64,
}

impl Shared {
    /// Uses the store, which is opened anew where it has failed.
    fn with_store<T>(&self, access: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let reopened = |database: &Database| -> Result<()> {
            let found = identify(database)?;
            if found != self.id {
                return Err(Error::corrupt(format!(
                    "{} is not the embedded log that it was",
                    self.file.path().display()
                ))
                .detail(format!("its id is {found}, it was {}", self.id))
                .hint("put the file back, or start the server again to go on with the one that is there"));
            }
            *self.state.lock() = load(database)?;
            self.grown.notify_all();
            Ok(())
        };
        self.file.with(reopened, access)
    }
}

/// An append on its way to the writer.
struct Append {
    topic: u32,
    partition: u32,
    count: u32,
    body: Vec<u8>,
    done: oneshot::Sender<Result<Offset>>,
    // Gives its room back when the append is through, whichever way.
    _room: tokio::sync::OwnedSemaphorePermit,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("path", &self.shared.file.path()).finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// Opens the log in `dir`, which is made where it does not exist.
    ///
    /// # Errors
    /// `Invalid` where another process has it open, or somebody else owns the folder; `OverBudget` for a full disk, `Unavailable` for one
    /// that is read-only; `Corrupt` where the file is not what was written.
    pub fn open(dir: &Path, settings: EmbeddedSettings, clock: Clock) -> Result<Arc<Self>> {
        EmbeddedLog::open_by(dir, settings, clock, Box::new(open_file))
    }

    fn open_by(dir: &Path, settings: EmbeddedSettings, clock: Clock, open: Open) -> Result<Arc<Self>> {
        if !(1..=PARTITIONS_MAX).contains(&settings.partitions) {
            return Err(Error::invalid(format!(
                "partitions of the embedded log is {}; it must be 1 to {PARTITIONS_MAX}",
                settings.partitions
            )));
        }
        let unusable = |error: std::io::Error| unwritable(dir, error).detail("the embedded log is there");
        create_durably(dir).map_err(unusable)?;
        let path = dir.join(FILE);
        let file = StoreFile::try_new(path.clone(), open).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => {
                Error::invalid(format!("another process uses the embedded log {}", path.display()))
                    .hint("stop it, or choose another data directory")
            }
            DatabaseError::Storage(StorageError::Io(error)) => unusable(error),
            error => store_error(error),
        })?;
        // The store makes its file durable, and not that the file has this name.
        sync_directory(dir).map_err(unusable)?;
        let nothing_read = |_: &Database| -> Result<()> { Ok(()) };
        let (id, state) = file.with(nothing_read, |database| Ok((identify(database)?, load(database)?)))?;
        let shared = Arc::new(Shared { file, id, state: Mutex::new(state), grown: Condvar::new() });
        let (sender, receiver) = mpsc::channel(PENDING_APPENDS);
        let writer = writer::spawn(Arc::clone(&shared), receiver, settings.clone(), clock)?;
        let room = Arc::new(Semaphore::new(PENDING_KBYTES));
        Ok(Arc::new(EmbeddedLog { shared, settings, sender: Some(sender), room, writer: Some(writer) }))
    }

    /// Makes a topic; one that exists stays as it is, whatever its number of partitions. Returns that number.
    ///
    /// # Errors
    /// `Invalid` for a name or number that cannot be.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<u32> {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 249 || !name.chars().all(valid) {
            return Err(Error::invalid(format!("{name:?} cannot be a topic name"))
                .hint("use 1 to 249 letters, digits, dots, underscores or hyphens"));
        }
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(Error::invalid(format!(
                "topic \"{name}\" cannot have {partitions} partitions; the limit is {PARTITIONS_MAX}"
            )));
        }
        if let Some(topic) = self.shared.state.lock().topics.get(name) {
            return Ok(topic.partitions.len() as u32);
        }
        let (id, partitions) = self.shared.with_store(|database| make_topic(database, name, partitions))?;
        let topic = Topic { id, partitions: vec![Extent::default(); partitions as usize] };
        self.shared.state.lock().topics.entry(name.to_owned()).or_insert(topic);
        Ok(partitions)
    }

    /// Makes a topic as [`EmbeddedSettings::partitions`] says, where there is none. Returns its number of partitions.
    ///
    /// # Errors
    /// As [`EmbeddedLog::create_topic`].
    pub fn ensure_topic(&self, name: &str) -> Result<u32> {
        self.create_topic(name, self.settings.partitions)
    }

    /// Appends records in this order and returns the first one's offset, once they are durable.
    /// A topic that does not exist is made. Blocks: from async code use [`EmbeddedLog::append_async`].
    ///
    /// # Errors
    /// `OverBudget` above 16 MiB at once, `Invalid` for a partition that does not exist, `Unavailable` where the disk
    /// refuses. None of the records is then readable, unless the error says that this is not known.
    pub fn append(&self, topic: &str, partition: Partition, records: &[NewRecord<'_>]) -> Result<Offset> {
        // Unconstrained: called from within a task whose budget is spent, the future would wait for the task's own
        // scheduler, which waits for us.
        futures::executor::block_on(tokio::task::unconstrained(self.append_async(topic, partition, records)))
    }

    /// See [`EmbeddedLog::append`].
    ///
    /// # Errors
    /// As there.
    pub async fn append_async(&self, topic: &str, partition: Partition, records: &[NewRecord<'_>]) -> Result<Offset> {
        self.ensure_topic(topic)?;
        let (id, end) = {
            let state = self.shared.state.lock();
            let topic = state.topics.get(topic).ok_or_else(|| Error::bug("a topic vanished"))?;
            let extent = usize::try_from(partition).ok().and_then(|partition| topic.partitions.get(partition));
            (topic.id, extent.map(|extent| extent.end))
        };
        let Some(end) = end else {
            return Err(Error::invalid(format!("topic \"{topic}\" has no partition {partition}")));
        };
        if records.is_empty() {
            return Ok(end as Offset);
        }
        let bytes = records.iter().map(chunk::encoded_bytes).sum::<usize>();
        if bytes > APPEND_BYTES_MAX {
            return Err(Error::over_budget(format!("{bytes} bytes in one append to topic \"{topic}\""))
                .hint(format!("split it: the limit is {APPEND_BYTES_MAX} bytes")));
        }
        let closed = || Error::unavailable("the embedded log is closed");
        let kbytes = u32::try_from(bytes / 1024 + 1).expect("at most 16 MiB");
        let room = Arc::clone(&self.room).acquire_many_owned(kbytes).await.map_err(|_| closed())?;
        let mut body = Vec::with_capacity(bytes);
        chunk::encode(records, &mut body);
        let (done, answer) = oneshot::channel();
        let append =
            Append { topic: id, partition: partition as u32, count: records.len() as u32, body, done, _room: room };
        self.sender.as_ref().ok_or_else(closed)?.send(append).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// The next offset of each partition. A topic that does not exist is made.
    ///
    /// # Errors
    /// As [`EmbeddedLog::create_topic`].
    pub fn ends(&self, topic: &str) -> Result<Offsets> {
        Ok(self.extents(topic)?.1.into_iter().map(|(partition, extent)| (partition, extent.end as Offset)).collect())
    }

    /// The first offset that each partition still has.
    ///
    /// # Errors
    /// As [`EmbeddedLog::create_topic`].
    pub fn begins(&self, topic: &str) -> Result<Offsets> {
        Ok(self.extents(topic)?.1.into_iter().map(|(partition, extent)| (partition, extent.begin as Offset)).collect())
    }

    fn extents(&self, topic: &str) -> Result<(u32, BTreeMap<Partition, Extent>)> {
        self.ensure_topic(topic)?;
        let state = self.shared.state.lock();
        let topic = state.topics.get(topic).ok_or_else(|| Error::bug("a topic vanished"))?;
        Ok((topic.id, topic.partitions.iter().enumerate().map(|(id, extent)| (id as Partition, *extent)).collect()))
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        // What waits is still written: the writer ends when the channel is closed and empty.
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Number and partitions of a topic, which is made where there is none.
fn make_topic(database: &Database, name: &str, partitions: u32) -> Result<(u32, u32)> {
    // The store allows one writer at a time: who comes second finds the topic made.
    let mut write = database.begin_write().map_err(store_error)?;
    write.set_durability(Durability::Immediate).map_err(store_error)?;
    let made = {
        let mut topics = write.open_table(TOPICS).map_err(store_error)?;
        let existing = topics.get(name).map_err(store_error)?.map(|found| found.value());
        match existing {
            Some(found) => found,
            None => {
                let id = redb::ReadableTableMetadata::len(&topics).map_err(store_error)?;
                let id = u32::try_from(id).map_err(|_| Error::over_budget("too many topics"))?;
                topics.insert(name, (id, partitions)).map_err(store_error)?;
                (id, partitions)
            }
        }
    };
    write.commit().map_err(store_error)?;
    Ok(made)
}

/// The log's id. One without, new or of an earlier version, is given one.
fn identify(database: &Database) -> Result<String> {
    let mut write = database.begin_write().map_err(store_error)?;
    write.set_durability(Durability::Immediate).map_err(store_error)?;
    let id = {
        let mut about = write.open_table(ABOUT).map_err(store_error)?;
        let existing = about.get(ID).map_err(store_error)?.map(|id| id.value().to_owned());
        match existing {
            Some(id) => id,
            None => {
                let id = Uuid::new_v4().to_string();
                about.insert(ID, id.as_str()).map_err(store_error)?;
                id
            }
        }
    };
    write.commit().map_err(store_error)?;
    Ok(id)
}

/// Reads what the log holds; makes the tables in a new file.
fn load(database: &Database) -> Result<State> {
    let write = database.begin_write().map_err(store_error)?;
    write.open_table(TOPICS).map_err(store_error)?;
    write.open_table(CHUNKS).map_err(store_error)?;
    write.open_table(EXTENTS).map_err(store_error)?;
    write.commit().map_err(store_error)?;

    let read = database.begin_read().map_err(store_error)?;
    let extents = read.open_table(EXTENTS).map_err(store_error)?;
    let chunks = read.open_table(CHUNKS).map_err(store_error)?;
    let mut state = State::default();
    for entry in read.open_table(TOPICS).map_err(store_error)?.iter().map_err(store_error)? {
        let (name, topic) = entry.map_err(store_error)?;
        let (id, count) = topic.value();
        let damaged = |what: String| {
            Error::corrupt(format!("the embedded log is damaged: topic {:?}", name.value()))
                .detail(what)
                .hint("restore the log's folder from a backup, or remove it to begin with an empty log")
        };
        if count > PARTITIONS_MAX {
            return Err(damaged(format!("it says that it has {count} partitions; the limit is {PARTITIONS_MAX}")));
        }
        let mut partitions = Vec::new();
        for partition in 0..count {
            let extent = extents.get((id, partition)).map_err(store_error)?;
            let (begin, end, bytes) = extent.map_or((0, 0, 0), |extent| extent.value());
            // Readers trust what is said of a partition: they would leave records out, or take one chunk's for another's.
            let (first, next) = held(&chunks, id, partition)?;
            if (begin, end) != (first, next) {
                return Err(damaged(format!(
                    "partition {partition} says that it has the offsets from {begin} to before {end}; its chunks have those \
                     from {first} to before {next}"
                )));
            }
            partitions.push(Extent { begin, end, bytes });
        }
        state.topics.insert(name.value().to_owned(), Topic { id, partitions });
    }
    Ok(state)
}

/// The first offset of a partition and the next one, by its chunks; both 0 where it has none.
fn held(chunks: &ReadOnlyTable<(u32, u32, u64), &'static [u8]>, topic: u32, partition: u32) -> Result<(u64, u64)> {
    let mut all = chunks.range((topic, partition, 0)..=(topic, partition, u64::MAX)).map_err(store_error)?;
    let Some(first) = all.next().transpose().map_err(store_error)? else { return Ok((0, 0)) };
    let begin = first.0.value().2;
    let (key, stored) = all.next_back().transpose().map_err(store_error)?.unwrap_or(first);
    Ok((begin, Chunk::parse(stored.value(), key.value().2 as Offset)?.end() as u64))
}

fn store_error(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let kind = match &error {
        redb::Error::Corrupted(_) | redb::Error::LockPoisoned(_) => crate::error::ErrorKind::Corrupt,
        _ => crate::error::ErrorKind::Unavailable,
    };
    let told = Error::new(kind, "the embedded log cannot be used").detail(error.to_string());
    match &error {
        redb::Error::Io(cause) => with_disk_hint(told, cause),
        _ => told,
    }
}
