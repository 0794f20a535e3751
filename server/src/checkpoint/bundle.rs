//! Bundles: the rows of one checkpoint, state and results alike, as Arrow IPC streams in one object.
//!
//! One object a checkpoint keeps the number of requests constant however many operators a query has. Each stream is a
//! [`Section`] with its own hash, read alone by a range request, and verified before it is decoded.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::take::take;
use arrow::datatypes::{ByteViewType, DataType};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStoreExt};

use super::manifest::{Section, corrupt};
use super::sha256;
use crate::error::{Error, Result};
use crate::store::Store;

/// Sections read at the same time.
const READS_AT_ONCE: usize = 8;

/// Level 1 is some three times smaller than the rows for a third of the time that the default level takes.
const ZSTD_LEVEL: i32 = 1;

/// Collects the sections of one bundle. Purely in memory: encoding may run on any thread.
#[derive(Debug)]
pub struct BundleBuilder {
    object: String,
    bytes: Vec<u8>,
}

impl BundleBuilder {
    pub(super) fn new(object: String) -> Self {
        BundleBuilder { object, bytes: Vec::new() }
    }

    /// Appends batches of one schema. They come back from [`read_section`] equal, in order and as many.
    ///
    /// # Errors
    /// `Bug` where schemas differ or a type cannot be written; the bundle is then as before.
    pub fn add(&mut self, batches: &[RecordBatch]) -> Result<Section> {
        let offset = self.bytes.len();
        if let Err(error) = self.write(batches) {
            self.bytes.truncate(offset);
            return Err(error);
        }
        let written = &self.bytes[offset..];
        Ok(Section {
            object: self.object.clone(),
            offset: offset as u64,
            length: written.len() as u64,
            rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
            sha256: sha256(written),
        })
    }

    fn write(&mut self, batches: &[RecordBatch]) -> Result<()> {
        let Some(first) = batches.first() else { return Ok(()) };
        let schema = first.schema();
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::ZSTD))?
            .try_with_compression_level(Some(ZSTD_LEVEL))?;
        let mut writer = StreamWriter::try_new_with_options(&mut self.bytes, &schema, options)?;
        for batch in batches {
            if batch.schema_ref() != &schema {
                return Err(Error::bug("batches of one checkpoint section differ in their schema")
                    .detail(format!("{schema:?} and {:?}", batch.schema())));
            }
            writer.write(&compact(batch)?).map_err(not_writable)?;
        }
        writer.finish().map_err(not_writable)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn finish(self) -> (Path, Bytes) {
        (Path::from(self.object), Bytes::from(self.bytes))
    }
}

fn not_writable(error: arrow::error::ArrowError) -> Error {
    Error::bug("rows cannot be written to a checkpoint").caused_by(error)
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
        return Err(damaged(section).detail(format!("it has SHA-256 {found}, it was written with {}", section.sha256)));
    }
    let decode = || -> Result<Vec<RecordBatch>, arrow::error::ArrowError> {
        StreamReader::try_new(Cursor::new(&bytes), None)?.collect()
    };
    let batches = decode().map_err(|error| damaged(section).caused_by(error))?;
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    if rows != section.rows {
        return Err(damaged(section).detail(format!("it has {rows} rows, the manifest says {}", section.rows)));
    }
    Ok(batches)
}

/// Reads sections, several at a time, in the order given.
pub async fn read_sections(store: &Store, sections: &[Section]) -> Result<Vec<Vec<RecordBatch>>> {
    // Owned, so that the future stays `Send` wherever it is awaited: rust-lang/rust#89976.
    let reads = sections.iter().cloned().map(|section| {
        let store = store.clone();
        async move { read_section(&store, &section).await }
    });
    stream::iter(reads.collect::<Vec<_>>()).buffered(READS_AT_ONCE).try_collect().await
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

/// The batch without the bytes that its rows do not use. The IPC writer cuts slices to size, but not the buffers that
/// views point into, nor the values of dictionaries: both are shared with batches that may be long gone.
fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(compact_array).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => compact_views(array, array.as_string_view()),
        DataType::BinaryView => compact_views(array, array.as_binary_view()),
        DataType::Dictionary(_, _) => compact_dictionary(array)?,
        DataType::List(_) => compact_list::<i32>(array)?,
        DataType::LargeList(_) => compact_list::<i64>(array)?,
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let columns = parts.columns().iter().map(compact_array).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, parts.nulls().cloned(), parts.len())?)
        }
        DataType::FixedSizeList(field, size) => {
            let lists = array.as_fixed_size_list();
            let values = compact_array(lists.values())?;
            let nulls = lists.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new_with_length(field.clone(), *size, values, nulls, lists.len())?)
        }
        DataType::Map(field, ordered) => {
            let map = array.as_map();
            let (offsets, range) = rebase(map.offsets());
            let used: ArrayRef = Arc::new(map.entries().slice(range.0, range.1));
            let entries = compact_array(&used)?;
            let nulls = map.nulls().cloned();
            Arc::new(MapArray::try_new(field.clone(), offsets, entries.as_struct().clone(), nulls, *ordered)?)
        }
        _ => Arc::clone(array),
    })
}

fn compact_views<T: ByteViewType + ?Sized>(
    array: &ArrayRef,
    views: &arrow::array::GenericByteViewArray<T>,
) -> ArrayRef {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    // A copy pays off only where it drops a good part; views may share bytes, hence used > held is possible.
    if views.total_buffer_bytes_used() < held - held / 4 { Arc::new(views.gc()) } else { Arc::clone(array) }
}

fn compact_list<O: OffsetSizeTrait>(array: &ArrayRef) -> Result<ArrayRef> {
    let lists = array.as_list::<O>();
    let (offsets, range) = rebase(lists.offsets());
    let values = compact_array(&lists.values().slice(range.0, range.1))?;
    let (DataType::List(field) | DataType::LargeList(field)) = lists.data_type() else {
        return Err(Error::bug("a list array is not of a list type"));
    };
    Ok(Arc::new(GenericListArray::<O>::try_new(field.clone(), offsets, values, lists.nulls().cloned())?))
}

/// Offsets that begin at 0, and the start and length of the values they stood for.
fn rebase<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (OffsetBuffer<O>, (usize, usize)) {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    let range = (first.as_usize(), last.as_usize() - first.as_usize());
    if first == O::zero() {
        return (offsets.clone(), range);
    }
    (OffsetBuffer::new(offsets.iter().map(|offset| *offset - first).collect()), range)
}

/// Keeps the values that occur, where that drops at least half of them.
fn compact_dictionary(array: &ArrayRef) -> Result<ArrayRef> {
    let dictionary = array.as_any_dictionary();
    let values = dictionary.values();
    if values.len() <= 2 * array.len() {
        return Ok(Arc::clone(array));
    }
    // Values first as a plain column, then a dictionary of what is left; not every value type can be packed again.
    let plain = take(values.as_ref(), dictionary.keys(), None)?;
    Ok(arrow::compute::cast(&plain, array.data_type()).unwrap_or_else(|_| Arc::clone(array)))
}

#[cfg(test)]
mod tests;
