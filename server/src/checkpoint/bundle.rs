//! Bundles: the rows of one checkpoint, state and results alike, as Arrow IPC streams in one object.
//!
//! One object a checkpoint keeps the number of requests constant however many operators a query has. Each stream is a
//! [`Section`] with its own hash, read alone by a range request, and verified before it is decoded.

use std::io::{self, Cursor, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStoreExt};
use sha2::{Digest, Sha256};

use super::manifest::{Section, corrupt};
use super::{hex, sha256};
use crate::error::{Error, Result};
use crate::state::{SegmentHome, compact};
use crate::store::{ByteSpool, Content, SpillDirectory, Store, disk_refusal};

/// Bytes of a section that is read by one request, and of the requests by which a larger one is.
const FETCHED_WHOLE_MAX: u64 = 8 << 20;

/// Level 1 is some three times smaller than the rows for a third of the time that the default level takes.
const ZSTD_LEVEL: i32 = 1;

/// Collects the sections of one bundle. Encoding may run on any thread.
#[derive(Debug)]
pub struct BundleBuilder {
    object: String,
    bytes: ByteSpool,
}

impl BundleBuilder {
    /// `disk`: takes what is too much for memory.
    pub(super) fn new(object: String, disk: Option<SpillDirectory>) -> Self {
        BundleBuilder { object, bytes: ByteSpool::new(disk) }
    }

    /// Appends batches of one schema. They come back from [`read_section`] equal, in order and as many.
    ///
    /// # Errors
    /// `Bug` where schemas differ or a type cannot be written; the bundle is then as before.
    pub fn add(&mut self, batches: &[RecordBatch]) -> Result<Section> {
        self.add_each(batches.iter().cloned().map(Ok))
    }

    /// As [`BundleBuilder::add`], of batches that come one at a time.
    ///
    /// # Errors
    /// And those of the batches.
    pub fn add_each(&mut self, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<Section> {
        let offset = self.bytes.len();
        match self.write(batches) {
            Ok((rows, sha256)) => {
                let length = self.bytes.len() - offset;
                Ok(Section { object: self.object.clone(), offset, length, rows, sha256 })
            }
            Err(error) => {
                self.bytes.truncate(offset)?;
                Err(error)
            }
        }
    }

    /// Rows, and the hash of what they are written as.
    fn write(&mut self, mut batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<(u64, String)> {
        let Some(first) = batches.next().transpose()? else { return Ok((0, sha256(&[]))) };
        let schema = first.schema();
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::ZSTD))?
            .try_with_compression_level(Some(ZSTD_LEVEL))?;
        let hashed = Hashed { bytes: &mut self.bytes, hash: Sha256::new() };
        let mut writer = StreamWriter::try_new_with_options(hashed, &schema, options)?;
        let mut rows = 0;
        for batch in std::iter::once(Ok(first)).chain(batches) {
            let batch = batch?;
            if batch.schema_ref() != &schema {
                return Err(Error::bug("batches of one checkpoint section differ in their schema")
                    .detail(format!("{schema:?} and {:?}", batch.schema())));
            }
            rows += batch.num_rows() as u64;
            writer.write(&compact(&batch)?).map_err(not_written)?;
        }
        writer.finish().map_err(not_written)?;
        Ok((rows, hex(&writer.into_inner().map_err(not_written)?.hash.finalize())))
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn finish(self) -> (Path, Content) {
        (Path::from(self.object), self.bytes.finish())
    }
}

/// Hashes what passes through.
struct Hashed<'a> {
    bytes: &'a mut ByteSpool,
    hash: Sha256,
}

impl io::Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.bytes.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.bytes.flush()
    }
}

/// A disk that is full says so itself.
fn not_written(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => disk_refusal(error),
        error => Error::bug("rows cannot be written to a checkpoint").caused_by(error),
    }
}

/// Reads one section back.
///
/// # Errors
/// `Corrupt` where the object is missing, too short or not what was written; `Unavailable` where the store does not
/// answer.
pub async fn read_section(store: &Store, section: &Section) -> Result<Vec<RecordBatch>> {
    if section.length == 0 {
        return Ok(Vec::new());
    }
    let bytes = read_range(store, section).await?;
    let found = sha256(&bytes);
    if found != section.sha256 {
        return Err(other_hash(section, &found));
    }
    let decode =
        || -> Result<Vec<RecordBatch>, ArrowError> { StreamReader::try_new(Cursor::new(&bytes), None)?.collect() };
    let batches = decode().map_err(|error| damaged(section).caused_by(error))?;
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    match rows == section.rows {
        true => Ok(batches),
        false => Err(other_rows(section, rows)),
    }
}

/// Reads one section back a batch at a time. One that is too much for memory is fetched in parts, by way of `disk`.
///
/// # Errors
/// As [`read_section`], and those of `each`. Nothing is handed out of a section that is damaged.
pub async fn read_section_by_batches(
    store: &Store,
    section: &Section,
    disk: Option<&SpillDirectory>,
    each: &mut (dyn FnMut(RecordBatch) -> Result<()> + Send),
) -> Result<()> {
    let Some(disk) = disk.filter(|_| section.length > FETCHED_WHOLE_MAX) else {
        return read_section(store, section).await?.into_iter().try_for_each(each);
    };
    let mut fetched = disk.bytes()?;
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < section.length {
        let length = FETCHED_WHOLE_MAX.min(section.length - at);
        let part = read_range(store, &Section { offset: section.offset + at, length, ..section.clone() }).await?;
        hash.update(&part);
        fetched.write_all(&part).map_err(disk_refusal)?;
        at += length;
    }
    let found = hex(&hash.finalize());
    if found != section.sha256 {
        return Err(other_hash(section, &found));
    }
    let mut rows = 0;
    for batch in StreamReader::try_new(fetched.reader(), None).map_err(|error| damaged(section).caused_by(error))? {
        let batch = batch.map_err(|error| damaged(section).caused_by(error))?;
        rows += batch.num_rows() as u64;
        each(batch)?;
    }
    match rows == section.rows {
        true => Ok(()),
        false => Err(other_rows(section, rows)),
    }
}

/// Where the segment of state is read back from that was written as this section.
pub fn segment_home(store: &Store, section: &Section) -> Arc<dyn SegmentHome> {
    Arc::new(BundledSegment { store: store.clone(), section: section.clone() })
}

#[derive(Debug)]
struct BundledSegment {
    store: Store,
    section: Section,
}

impl SegmentHome for BundledSegment {
    fn rows(&self) -> usize {
        usize::try_from(self.section.rows).unwrap_or(usize::MAX)
    }

    fn bytes(&self) -> u64 {
        self.section.length
    }

    fn fetch(self: Arc<Self>) -> BoxFuture<'static, Result<Vec<RecordBatch>>> {
        async move { read_section(&self.store, &self.section).await }.boxed()
    }
}

fn other_hash(section: &Section, found: &str) -> Error {
    damaged(section).detail(format!("it has SHA-256 {found}, it was written with {}", section.sha256))
}

fn other_rows(section: &Section, found: u64) -> Error {
    damaged(section).detail(format!("it has {found} rows, the manifest says {}", section.rows))
}

fn damaged(section: &Section) -> Error {
    corrupt(&format!("{} at byte {}", section.object, section.offset))
}

async fn read_range(store: &Store, section: &Section) -> Result<Bytes> {
    let key = Path::from(section.object.as_str());
    let short =
        |found: u64| damaged(section).detail(format!("expected {} bytes from there, found {found}", section.length));
    let end = section.offset.checked_add(section.length).ok_or_else(|| short(0))?;
    let error = match store.objects().get_range(&key, section.offset..end).await {
        Ok(bytes) if bytes.len() as u64 == section.length => return Ok(bytes),
        Ok(bytes) => return Err(short(bytes.len() as u64)),
        Err(error) => error,
    };
    if matches!(error, ObjectError::NotFound { .. }) {
        return Err(damaged(section).detail("it is missing").caused_by(error));
    }
    // Stores answer a range past the end each in their own way: only the size tells it from a failed request.
    match store.objects().head(&key).await {
        Ok(meta) if meta.size < end => Err(short(meta.size.saturating_sub(section.offset))),
        _ => Err(store.failed("read", &key, error)),
    }
}

#[cfg(test)]
mod tests;
