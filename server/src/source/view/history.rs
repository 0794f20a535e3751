//! The sealed rows of a view: which files come next, and in them the rows of one checkpoint after those of the one before.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::sealed_file::{SealedRows, checkpoints_of};
use crate::checkpoint::{FileRuns, OutputMark};
use crate::error::{Error, Result};
use crate::source::reader::ViewDeps;
use crate::tables::{CheckpointRange, SealedFile};

/// How far the sealed files have been read.
pub(crate) struct History {
    deps: ViewDeps,
    /// Of the columns that are read.
    columns: SchemaRef,
    /// Files at the beginning of the list that are done with; `None` until it has been looked where that is.
    done: Option<usize>,
    /// What files of before say themselves.
    said: HashMap<String, CheckpointRange>,
}

/// The files that were sealed together: each has rows of any of these checkpoints.
pub(crate) struct Seal {
    pub(crate) range: CheckpointRange,
    files: Vec<Arc<SealedFile>>,
    /// It is known which row is of which checkpoint.
    known: bool,
}

impl Seal {
    /// Bytes of the largest of its files.
    pub(super) fn largest_file(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).max().unwrap_or(0)
    }
}

impl History {
    pub(crate) fn new(deps: ViewDeps, columns: SchemaRef) -> Self {
        History { deps, columns, done: None, said: HashMap::new() }
    }

    /// The list is another one than before.
    pub(super) fn look_anew(&mut self) {
        self.done = None;
    }

    /// The first seal with checkpoints from `next` on. `sealed`: all files, oldest first, to which more are only added.
    ///
    /// # Errors
    /// `Corrupt` where `next` lies inside a file that does not say which of its rows are of which checkpoint; `Unavailable`.
    pub(crate) async fn next_seal(&mut self, sealed: &[Arc<SealedFile>], next: u64) -> Result<Option<Seal>> {
        let mut at = match self.done {
            Some(done) => done,
            None => self.first_unread(sealed, next).await?,
        };
        while let Some(first) = sealed.get(at) {
            let range = self.range_of(first).await?;
            let mut end = at + 1;
            while let Some(file) = sealed.get(end)
                && file.checkpoints.is_some() == first.checkpoints.is_some()
                && self.range_of(file).await? == range
            {
                end += 1;
            }
            if range.to >= next {
                self.done = Some(at);
                let known = first.checkpoints.is_some();
                if !known && range.from < next {
                    return Err(within_a_file(first, range, next));
                }
                return Ok(Some(Seal { range, files: sealed[at..end].to_vec(), known }));
            }
            at = end;
        }
        self.done = Some(at);
        Ok(None)
    }

    /// Where the files begin that hold something from `next` on. From the newest back: those of before have to be asked one by one.
    async fn first_unread(&mut self, sealed: &[Arc<SealedFile>], next: u64) -> Result<usize> {
        if next <= 1 {
            return Ok(0);
        }
        let mut at = sealed.len();
        while let Some(file) = at.checked_sub(1).and_then(|before| sealed.get(before)) {
            if self.range_of(file).await?.to < next {
                break;
            }
            at -= 1;
        }
        Ok(at)
    }

    async fn range_of(&mut self, file: &SealedFile) -> Result<CheckpointRange> {
        if let Some(range) = file.checkpoints.or_else(|| self.said.get(&file.path).copied()) {
            return Ok(range);
        }
        let range = checkpoints_of(&self.deps.public, file).await?;
        self.said.insert(file.path.clone(), range);
        Ok(range)
    }

    /// Opens the files of a seal for the rows of checkpoints from `next` on.
    ///
    /// # Errors
    /// `Unavailable`; `Corrupt` where a file or what lies beside it is gone or damaged.
    pub(crate) async fn open(&self, seal: &Seal, next: u64) -> Result<SealReading> {
        let mut reading = SealReading {
            files: Vec::new(),
            columns: self.columns.clone(),
            deps: self.deps.clone(),
            watermarks: BTreeMap::new(),
        };
        for file in &seal.files {
            let mut runs: VecDeque<(u64, u64)> = match seal.known {
                // As one checkpoint, the last.
                false => VecDeque::from([(seal.range.to, file.rows)]),
                true => {
                    let FileRuns { runs, watermarks } = FileRuns::read(&self.deps.private, file).await?;
                    reading.watermarks = watermarks;
                    runs.into()
                }
            };
            let mut skip = 0_u64;
            while let Some((_, rows)) = runs.pop_front_if(|(checkpoint, _)| *checkpoint < next) {
                skip = skip.saturating_add(rows);
            }
            reading.files.push(FileReading { file: Arc::clone(file), skip, runs, rows: None });
        }
        Ok(reading)
    }
}

fn within_a_file(file: &SealedFile, CheckpointRange { from, to }: CheckpointRange, next: u64) -> Error {
    Error::corrupt(format!("the view cannot be read on from checkpoint {next}"))
        .detail(format!(
            "public file {} is of checkpoints {from} to {to}, and the server that wrote it has not noted which row is of which",
            file.path
        ))
        .hint("rename the view that reads it, so that it starts anew with all rows")
}

/// The rows of a seal, checkpoint by checkpoint.
pub(crate) struct SealReading {
    files: Vec<FileReading>,
    columns: SchemaRef,
    deps: ViewDeps,
    watermarks: BTreeMap<String, OutputMark>,
}

struct FileReading {
    file: Arc<SealedFile>,
    /// Rows at its beginning that have been read before.
    skip: u64,
    /// What is left of it: checkpoint and rows.
    runs: VecDeque<(u64, u64)>,
    /// Opened when its first row is needed.
    rows: Option<SealedRows>,
}

impl SealReading {
    /// The next rows, all of one checkpoint; `None` behind the last.
    ///
    /// # Errors
    /// As [`History::open`].
    pub(crate) async fn next(&mut self) -> Result<Option<(u64, RecordBatch)>> {
        let first = |file: &FileReading| file.runs.front().map(|(checkpoint, _)| *checkpoint);
        let Some(checkpoint) = self.files.iter().filter_map(first).min() else { return Ok(None) };
        let Some(file) = self.files.iter_mut().find(|file| first(file) == Some(checkpoint)) else { return Ok(None) };
        let Some((_, left)) = file.runs.front_mut() else { return Ok(None) };
        let rows = match &mut file.rows {
            Some(rows) => rows,
            none => none.insert(SealedRows::open(&self.deps.public, &file.file, &self.columns, file.skip).await?),
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX);
        let Some(batch) = rows.next(most).await? else {
            return Err(Error::corrupt(format!(
                "public file {} has fewer rows than its manifest says",
                file.file.path
            ))
            .detail(format!("{left} rows of checkpoint {checkpoint} are missing"))
            .hint("restore it from a backup"));
        };
        *left -= batch.num_rows() as u64;
        if *left == 0 {
            file.runs.pop_front();
        }
        if file.runs.is_empty() {
            file.rows = None;
        }
        Ok(Some((checkpoint, batch)))
    }

    /// Whether all rows of `checkpoint` have come.
    pub(super) fn is_behind(&self, checkpoint: u64) -> bool {
        self.files.iter().all(|file| file.runs.front().is_none_or(|(next, _)| *next > checkpoint))
    }

    /// How far the view had got behind all of these rows; empty where that is not known.
    pub(super) fn watermarks(&self) -> &BTreeMap<String, OutputMark> {
        &self.watermarks
    }
}
