//! Which rows of a sealed file are of which checkpoint: a private object beside each public file, so that a query that has read a view up
//! to some checkpoint goes on in the middle of a file.
//!
//! It is written with the file and before any manifest lists it, always with the same content under the same name. Clean-up never touches
//! it: it is there as long as its file is.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::days::Filing;
use super::manifest::{OutputMark, SealIntent, TailEntry, corrupt};
use super::paths::QueryPaths;
use super::sha256;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::tables::SealedFile;

/// See the module's first line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRuns {
    /// Checkpoint and number of rows, ascending: the rows of the file stand in this order.
    pub runs: Vec<(u64, u64)>,
    /// How far the view's times have got behind all rows of the seal; empty where that is not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watermarks: BTreeMap<String, OutputMark>,
}

impl FileRuns {
    /// Of the file of one date. `entries`: those that go into the seal, oldest first.
    pub fn of(intent: &SealIntent, date: &str, entries: &[TailEntry]) -> Self {
        let filing = Filing::of(intent);
        let runs =
            entries.iter().map(|entry| (entry.checkpoint, filing.rows(entry, date))).filter(|(_, rows)| *rows > 0);
        FileRuns { runs: runs.collect(), watermarks: intent.watermarks.clone() }
    }

    /// Writes it beside the public file at `path`. May be repeated.
    ///
    /// # Errors
    /// `Unavailable`; `Bug` for a path that is no sealed file's.
    pub async fn write(&self, private: &Store, path: &str) -> Result<()> {
        let body = serde_json::to_string(self)
            .map_err(|error| Error::bug("the checkpoints of a file are not JSON").caused_by(error))?;
        let key = QueryPaths::runs(path).ok_or_else(|| Error::bug(format!("{path:?} is no sealed file")))?;
        private.put(&key, Bytes::from(format!("{}\n{body}\n", sha256(body.as_bytes())))).await
    }

    /// Reads what was written beside a file.
    ///
    /// # Errors
    /// `Corrupt` where it is missing, is not what was written, or does not fit the file; `Unavailable`.
    pub async fn read(private: &Store, file: &SealedFile) -> Result<Self> {
        let key = QueryPaths::runs(&file.path)
            .ok_or_else(|| Error::corrupt(format!("a manifest lists {:?} as a sealed file", file.path)))?;
        let damaged = |detail: String| corrupt(key.as_ref()).detail(detail);
        let bytes = private.get(&key).await?.ok_or_else(|| damaged(format!("it is missing beside {}", file.path)))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| damaged(error.to_string()))?;
        let (expected, body) = text
            .strip_suffix('\n')
            .and_then(|text| text.split_once('\n'))
            .ok_or_else(|| damaged("it does not begin with its hash, or does not end".to_owned()))?;
        let found = sha256(body.as_bytes());
        if found != expected {
            return Err(damaged(format!("its content has SHA-256 {found}, it was written with {expected}")));
        }
        let read: FileRuns = serde_json::from_str(body).map_err(|error| damaged(error.to_string()))?;
        let rows: u64 = read.runs.iter().fold(0, |sum, (_, rows)| sum.saturating_add(*rows));
        let within = file
            .checkpoints
            .is_none_or(|range| read.runs.iter().all(|(checkpoint, _)| (range.from..=range.to).contains(checkpoint)));
        match rows == file.rows && within && read.runs.is_sorted_by(|a, b| a.0 < b.0) {
            true => Ok(read),
            false => Err(damaged(format!("it is about other rows than those of {}", file.path))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;
    use crate::checkpoint::manifest::tests::section;
    use crate::error::ErrorKind;
    use crate::tables::CheckpointRange;

    const FILE: &str = "v/event_date=2026-01-01/v-00000000000000000003-12345678-00000000000000000004-0000.parquet";

    fn file(rows: u64) -> SealedFile {
        let checkpoints = Some(CheckpointRange { from: 3, to: 9 });
        SealedFile { path: FILE.to_owned(), bytes: 1, rows, checkpoints, sha256: None, times: Default::default() }
    }

    #[tokio::test]
    async fn the_checkpoints_of_a_file_are_those_of_the_tail_that_it_was_made_of() {
        let store = Store::over(Arc::new(InMemory::new()), "memory://");
        let entry = |checkpoint, dates: &[(&str, u64)]| TailEntry {
            checkpoint,
            created_at: 0,
            section: section("tail"),
            dates: dates.iter().map(|(date, rows)| ((*date).to_owned(), *rows)).collect(),
        };
        let entries = [
            entry(3, &[("2026-01-01", 2)]),
            entry(5, &[("2026-01-02", 4)]),
            entry(9, &[("2026-01-01", 1), ("2026-01-02", 1)]),
        ];
        let watermarks = BTreeMap::from([("ts".to_owned(), OutputMark { at: Some(7), idle: true })]);
        let intent =
            SealIntent { seal: 4, from: 3, to: 9, date_column: None, files: vec![], watermarks: watermarks.clone() };
        let runs = FileRuns::of(&intent, "2026-01-01", &entries);
        assert_eq!(runs, FileRuns { runs: vec![(3, 2), (9, 1)], watermarks });
        runs.write(&store, FILE).await.unwrap();
        runs.write(&store, FILE).await.unwrap();
        assert_eq!(FileRuns::read(&store, &file(3)).await.unwrap(), runs);
        let error = FileRuns::read(&store, &file(4)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.report().contains("other rows than those of v/event_date=2026-01-01/"), "{}", error.report());
    }

    #[tokio::test]
    async fn any_flipped_or_missing_byte_is_found() {
        let store = Store::over(Arc::new(InMemory::new()), "memory://");
        let error = FileRuns::read(&store, &file(2)).await.unwrap_err();
        assert!(error.report().contains("it is missing beside v/event_date=2026-01-01/"), "{}", error.report());
        let runs = FileRuns { runs: vec![(3, 2)], watermarks: BTreeMap::new() };
        runs.write(&store, FILE).await.unwrap();
        let key = QueryPaths::runs(FILE).unwrap();
        let whole = store.get(&key).await.unwrap().unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 0x01;
            for bytes in [flipped, whole[..at].to_vec()] {
                store.put(&Path::from(key.as_ref()), bytes.into()).await.unwrap();
                assert_eq!(FileRuns::read(&store, &file(2)).await.unwrap_err().kind(), ErrorKind::Corrupt, "{at}");
            }
        }
    }
}
