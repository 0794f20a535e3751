//! One sealed Parquet file being read in the order of its rows, of which a part is in memory at a time.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Result};
use crate::store::Store;
use crate::tables::{CheckpointRange, SealedFile};

/// Rows that are decoded at a time.
const ROWS_AT_ONCE: usize = 8_192;

/// How much of the end of a file is fetched at first, bytes: the footers of ours fit.
const FOOTER_HINT: usize = 64 * 1024;

/// See the module's first line.
pub(super) struct SealedRows {
    path: String,
    stream: ParquetRecordBatchStream<StoredFile>,
    /// Of the last batch that was decoded.
    rest: Option<RecordBatch>,
}

impl SealedRows {
    /// `columns`: those that are read. `skip`: rows at the beginning that are not.
    ///
    /// # Errors
    /// `Unavailable`; `Corrupt` where the file is gone or is no Parquet.
    pub(super) async fn open(public: &Store, file: &SealedFile, columns: &SchemaRef, skip: u64) -> Result<Self> {
        let builder = builder(public, file).await?;
        let fields = builder.parquet_schema().root_schema().get_fields();
        let read = fields.iter().enumerate().filter(|(_, field)| columns.field_with_name(field.name()).is_ok());
        let mask = ProjectionMask::roots(builder.parquet_schema(), read.map(|(at, _)| at).collect::<Vec<_>>());
        let stream = builder
            .with_projection(mask)
            .with_batch_size(ROWS_AT_ONCE)
            .with_offset(usize::try_from(skip).unwrap_or(usize::MAX))
            .build()
            .map_err(|error| unreadable(&file.path, error))?;
        Ok(SealedRows { path: file.path.clone(), stream, rest: None })
    }

    /// The next rows, `most` at most; `None` behind the last.
    ///
    /// # Errors
    /// As [`SealedRows::open`].
    pub(super) async fn next(&mut self, most: usize) -> Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.stream.next().await {
                Some(batch) => batch.map_err(|error| unreadable(&self.path, error))?,
                None => return Ok(None),
            },
        };
        let taken = most.min(batch.num_rows());
        if taken < batch.num_rows() {
            self.rest = Some(batch.slice(taken, batch.num_rows() - taken));
        }
        Ok(Some(batch.slice(0, taken)))
    }
}

/// The checkpoints that a file is of, which its own end says: of those that no private object lies beside.
///
/// # Errors
/// As [`SealedRows::open`]; `Corrupt` where it does not say it.
pub(super) async fn checkpoints_of(public: &Store, file: &SealedFile) -> Result<CheckpointRange> {
    let builder = builder(public, file).await?;
    let said = builder.metadata().file_metadata().key_value_metadata();
    let said = said.into_iter().flatten().find(|pair| pair.key == "touchline.checkpoints");
    let range = said.and_then(|pair| pair.value.as_deref()?.split_once('-'));
    let range = range.and_then(|(from, to)| Some(CheckpointRange { from: from.parse().ok()?, to: to.parse().ok()? }));
    range.ok_or_else(|| {
        Error::corrupt(format!("public file {} does not say which checkpoints it is of", file.path))
            .hint("restore it from a backup; only files that this server has written can be read on from")
    })
}

async fn builder(public: &Store, file: &SealedFile) -> Result<ParquetRecordBatchStreamBuilder<StoredFile>> {
    let objects = Arc::clone(public.objects());
    let stored = StoredFile { objects, path: Path::from(file.path.as_str()), bytes: file.bytes };
    ParquetRecordBatchStreamBuilder::new(stored).await.map_err(|error| unreadable(&file.path, error))
}

fn unreadable(path: &str, error: ParquetError) -> Error {
    let corrupt = |why: &str| Error::corrupt(format!("public file {path} {why}")).hint("restore it from a backup");
    match error {
        ParquetError::External(error) => match error.downcast::<ObjectError>() {
            Ok(error) if matches!(*error, ObjectError::NotFound { .. }) => corrupt("is gone"),
            Ok(error) => Error::unavailable(format!("cannot read public file {path}")).caused_by(*error),
            Err(error) => Error::unavailable(format!("cannot read public file {path}")).caused_by(error),
        },
        error => corrupt("is damaged").caused_by(error),
    }
}

/// Where the parts of a file come from.
struct StoredFile {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

fn not_fetched(error: ObjectError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.objects.get_range(&self.path, range).await.map_err(not_fetched) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.objects.get_ranges(&self.path, &ranges).await.map_err(not_fetched) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let bytes = self.bytes;
        async move {
            let reader =
                ParquetMetaDataReader::new().with_arrow_reader_options(options).with_prefetch_hint(Some(FOOTER_HINT));
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}
