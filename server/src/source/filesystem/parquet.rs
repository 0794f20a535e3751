//! Parquet files: columns by name, only those wanted, cast to the declared types.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::layout::{Layout, Origin};
use super::{BatchReader, Files, unreadable};
use crate::catalog::{OnBadRow, TableDef};
use crate::error::{Error, Result};
use crate::source::{DeadLetter, Offset, Offsets, Origins, SourceBatch};

/// Rows decoded at once; a batch handed out may be a part of it.
const ROWS: usize = 8192;

/// The columns of a file.
///
/// # Errors
/// `Unavailable` where it cannot be read, `Invalid` where it is no Parquet file.
pub fn parquet_schema(path: &Path) -> Result<SchemaRef> {
    opened(path).map(|file| Arc::clone(file.schema()))
}

fn opened(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(path, &error))
}

fn broken(path: &Path, error: &parquet::errors::ParquetError) -> Error {
    Error::invalid(format!("cannot read {} as Parquet", path.display())).detail(error.to_string())
}

pub(super) struct ParquetReader {
    table: String,
    on_bad_row: OnBadRow,
    layout: Layout,
    files: Files,
    open: Option<OpenFile>,
}

struct OpenFile {
    reader: ParquetRecordBatchReader,
    /// For each physical column of the layout: where it stands in the batches read.
    indices: Vec<usize>,
    /// Decoded and not yet handed out.
    rest: Option<RecordBatch>,
}

impl ParquetReader {
    pub(super) fn new(def: &TableDef, files: Vec<PathBuf>, layout: Layout, resume: &Offsets) -> Self {
        let files = Files::new(files, resume);
        ParquetReader { table: def.name.clone(), on_bad_row: def.on_bad_row, layout, files, open: None }
    }

    fn open(&self, path: &Path, skip: Offset) -> Result<(OpenFile, Offset)> {
        let builder = opened(path)?;
        let rows = builder.metadata().file_metadata().num_rows();
        let schema = Arc::clone(builder.schema());
        let has = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let mut roots = Vec::new();
        for column in &self.layout.physical {
            roots.push(self.layout.header.find(column, &path.display().to_string(), &has)?);
        }
        // The reader hands the wanted columns out in the file's order, each once.
        let mut wanted = roots.clone();
        wanted.sort_unstable();
        wanted.dedup();
        let position = |root: &usize| wanted.binary_search(root).expect("of the same set");
        let indices = roots.iter().map(position).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
        let reader = builder
            .with_projection(mask)
            .with_batch_size(ROWS)
            .with_offset(usize::try_from(skip).unwrap_or(0))
            .build()
            .map_err(|error| broken(path, &error))?;
        Ok((OpenFile { reader, indices, rest: None }, rows))
    }

    /// The next rows of the current file, `None` at its end.
    fn rows(&mut self, path: &Path, rows_max: usize) -> Result<Option<(RecordBatch, Vec<ArrayRef>)>> {
        if self.open.is_none() {
            let (open, rows) = self.open(path, self.files.positions[self.files.current])?;
            self.files.ends[self.files.current] = Some(rows);
            self.open = Some(open);
        }
        let open = self.open.as_mut().expect("opened above");
        let batch = match open.rest.take() {
            Some(batch) => batch,
            None => match open.reader.next().transpose() {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(None),
                Err(error) => {
                    return Err(Error::corrupt(format!("cannot read {}", path.display())).detail(error.to_string()));
                }
            },
        };
        let head = batch.slice(0, batch.num_rows().min(rows_max));
        if head.num_rows() < batch.num_rows() {
            open.rest = Some(batch.slice(head.num_rows(), batch.num_rows() - head.num_rows()));
        }
        let arrays = open.indices.iter().map(|index| Arc::clone(head.column(*index))).collect();
        Ok(Some((head, arrays)))
    }

    /// A row has no bytes of its own in such a file. `None` where a value has no form in JSON.
    fn row_as_json(&self, arrays: &[ArrayRef], row: usize) -> Option<Vec<u8>> {
        let columns = self.layout.physical.iter().zip(arrays);
        let columns = columns.map(|(column, array)| (column.name.as_str(), array.slice(row, 1), true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).ok()?;
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        writer.write(&batch).ok()?;
        writer.finish().ok()?;
        let mut line = writer.into_inner();
        line.truncate(line.trim_ascii_end().len());
        Some(line)
    }
}

impl BatchReader for ParquetReader {
    fn positions(&self) -> Offsets {
        self.files.positions()
    }

    fn next(&mut self, rows_max: usize) -> Result<SourceBatch> {
        let from = self.files.positions.clone();
        while let Some(path) = self.files.path().map(Path::to_owned) {
            let Some((head, arrays)) = self.rows(&path, rows_max.max(1))? else {
                self.open = None;
                self.files.close();
                continue;
            };
            let partition = self.files.partition();
            let first = *self.files.position();
            let rows = head.num_rows() as Offset;
            let file = path.display().to_string();
            let origin = Origin { file: &file, partition, offsets: (first..first + rows).collect() };
            // Where not even a type fits, the declaration does not, or the file as a whole.
            let assembled = self.layout.assemble(&arrays, &origin).map_err(|failure| {
                Error::invalid(format!(
                    "file {file} does not fit table \"{}\", rows {first} to {}",
                    self.table,
                    first + rows - 1
                ))
                .detail(failure.reason)
                .hint("correct the column's type in the CREATE TABLE")
            })?;
            *self.files.position() += rows;
            let mut progress = self.files.progress(&from);
            self.layout.observe(&assembled, progress.get_mut(&partition).expect("all files are in it"))?;
            let mut dead_letters = Vec::new();
            let refused: BTreeSet<usize> = assembled.refused.iter().map(|(row, _)| *row).collect();
            let mut origins = Origins::default();
            (0..head.num_rows())
                .filter(|row| !refused.contains(row))
                .for_each(|row| origins.push(partition, first + row as Offset));
            for (row, failure) in assembled.refused {
                let number = first + row as Offset;
                if self.on_bad_row == OnBadRow::Fail {
                    return Err(failure.stop(&file, number, &self.table));
                }
                dead_letters.push(DeadLetter {
                    topic: Some(file.clone()),
                    partition: Some(partition),
                    offset: Some(number),
                    position: None,
                    timestamp_ms: None,
                    key: None,
                    value: self.row_as_json(&arrays, row),
                    column: failure.column,
                    reason: failure.reason,
                });
            }
            let (mut batches, mut origins) = (vec![assembled.batch], vec![origins]);
            batches.retain(|batch| batch.num_rows() > 0);
            origins.retain(|origins| !origins.is_empty());
            return Ok(SourceBatch { batches, origins, progress, dead_letters, ..Default::default() });
        }
        Ok(SourceBatch { progress: self.files.progress(&from), finished: true, ..Default::default() })
    }
}
