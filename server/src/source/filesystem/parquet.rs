//! Parquet files: columns by name, only those wanted, cast to the declared types.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::layout::{Layout, Origin, missing_column, names};
use super::{BatchReader, Files, unreadable};
use crate::catalog::TableDef;
use crate::error::{Error, Result};
use crate::source::{Offset, Offsets, SourceBatch};

/// Rows decoded at once; a batch handed out may be a part of it.
const ROWS: usize = 8192;

pub(super) struct ParquetReader {
    table: String,
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
        ParquetReader { table: def.name.clone(), layout, files: Files::new(files, resume), open: None }
    }

    fn open(&self, path: &Path, skip: Offset) -> Result<(OpenFile, Offset)> {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let broken = |error: parquet::errors::ParquetError| {
            Error::invalid(format!("cannot read {} as Parquet", path.display())).detail(error.to_string())
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?;
        let rows = builder.metadata().file_metadata().num_rows();
        let schema = Arc::clone(builder.schema());
        let has = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let mut roots = Vec::new();
        for column in &self.layout.physical {
            let root = names(column).find_map(|name| has.iter().position(|found| *found == name));
            roots.push(root.ok_or_else(|| missing_column(column, &path.display().to_string(), &has))?);
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
            .map_err(broken)?;
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
            // A typed file has no bad rows: what does not fit is the declaration, or the file as a whole.
            let batch = self.layout.assemble(&arrays, &origin).map_err(|failure| {
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
            self.layout.observe(&arrays, progress.get_mut(&partition).expect("all files are in it"))?;
            return Ok(SourceBatch { batches: vec![batch], progress, ..Default::default() });
        }
        Ok(SourceBatch { progress: self.files.progress(&from), finished: true, ..Default::default() })
    }
}
