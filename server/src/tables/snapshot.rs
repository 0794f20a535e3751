//! Bounded reads of source tables for ad-hoc queries and lookups, on readers of their own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use tracing::warn;

use super::source::{SnapshotBatches, SnapshotReader};
use crate::catalog::{StartAt, TableDef};
use crate::error::{Error, Result};
use crate::source::SourceBatch;
use crate::source::filesystem::awaited;
use crate::source::reader::{OpenSpec, ReaderLimits, SourceDeps, snapshot_offsets, spawn_reader};

/// Opens readers from a table's earliest record to its end as it is now.
#[derive(Debug, Clone)]
pub struct Snapshots {
    sources: SourceDeps,
    bad_records: Arc<dyn BadRecords>,
    awaits_files: bool,
}

/// Learns of the records that a reader could not decode: nobody keeps them here, as a query does in its ledger, and a
/// lookup without them is not to be silent.
pub trait BadRecords: fmt::Debug + Send + Sync {
    /// `read`: records that this reader has read so far, those of `batch` and bad ones included.
    fn note(&self, table: &Arc<TableDef>, read: u64, batch: &SourceBatch);
}

impl Snapshots {
    /// Bad records are logged.
    pub fn new(sources: SourceDeps) -> Self {
        Snapshots::with(sources, Arc::new(Logged))
    }

    pub fn with(sources: SourceDeps, bad_records: Arc<dyn BadRecords>) -> Self {
        Snapshots { sources, bad_records, awaits_files: false }
    }

    /// For those who try again: files that are not there yet are `Unavailable`.
    pub fn awaiting_files(self) -> Self {
        Snapshots { awaits_files: true, ..self }
    }
}

#[derive(Debug)]
struct Logged;

impl BadRecords for Logged {
    fn note(&self, table: &Arc<TableDef>, _read: u64, batch: &SourceBatch) {
        if let Some(first) = batch.dead_letters.first() {
            let (count, place) = (batch.dead_letters.len(), first.place());
            let reason = &first.reason;
            warn!(table = table.name, count, first = place, reason, "records not decoded, left out");
        }
    }
}

#[async_trait]
impl SnapshotReader for Snapshots {
    async fn open(&self, table: Arc<TableDef>, columns: Vec<usize>) -> Result<SnapshotBatches> {
        let (def, deps) = (Arc::clone(&table), self.sources.clone());
        let offsets = tokio::task::spawn_blocking(move || snapshot_offsets(&def, &deps)).await;
        let awaits_files = self.awaits_files;
        let told = move |error| if awaits_files { awaited(error) } else { error };
        let offsets = offsets.map_err(|error| Error::bug("looking up a topic's ends panicked").caused_by(error))?;
        let (resume, until) = offsets.map_err(told)?;
        let open = OpenSpec { resume, until, start: Some(StartAt::Earliest), ..OpenSpec::default() };
        let thread = format!("read/{}", table.name);
        let (def, limits) = (Arc::clone(&table), ReaderLimits::default());
        let reader = spawn_reader(&thread, table, columns, open, limits, self.sources.clone())?;
        let bad_records = Arc::clone(&self.bad_records);
        let batches = stream::unfold((reader, 0), move |(mut reader, mut read)| {
            let (table, bad_records) = (Arc::clone(&def), Arc::clone(&bad_records));
            async move {
                let batch = reader.next().await?;
                let batches = batch.map(|batch| {
                    read += batch.progress.values().map(|progress| progress.records).sum::<u64>();
                    bad_records.note(&table, read, &batch);
                    batch.batches.into_iter().map(Ok).collect::<Vec<_>>()
                });
                Some((stream::iter(batches.unwrap_or_else(|error| vec![Err(told(error))])), (reader, read)))
            }
        });
        Ok(Box::pin(futures::StreamExt::flatten(batches)))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::catalog::Statement;
    use crate::clock::Clock;
    use crate::error::ErrorKind;
    use crate::sink::postgres::PostgresSettings;
    use crate::source::kafka::KafkaSettings;
    use crate::sql::parse_file;

    #[tokio::test]
    async fn who_awaits_files_is_told_to_try_again_where_one_is_missing_and_others_that_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pages.csv");
        let text = format!(
            "CREATE TABLE pages (page VARCHAR) WITH ('connector' = 'filesystem', 'path' = '{}')",
            path.display()
        );
        let Some(Statement::CreateTable(table)) = parse_file("t.sql", &text).expect("it parses").pop() else {
            panic!("no table")
        };
        let table = Arc::new(table);
        let snapshots = Snapshots::new(SourceDeps {
            kafka: KafkaSettings::default(),
            embedded: None,
            postgres: PostgresSettings::default(),
            clock: Clock::System,
        });
        let awaiting = snapshots.clone().awaiting_files();
        for (snapshots, kind) in [(&snapshots, ErrorKind::Invalid), (&awaiting, ErrorKind::Unavailable)] {
            let error = snapshots.open(Arc::clone(&table), vec![0]).await.err().expect("there is no file");
            assert_eq!(error.kind(), kind, "{}", error.report());
            assert!(error.report().contains("pages.csv") && error.hint_text().is_some(), "{}", error.report());
        }
        std::fs::write(&path, "page\na\n").unwrap();
        let mut rows = awaiting.open(table, vec![0]).await.expect("it is there");
        assert_eq!(rows.next().await.expect("a batch").expect("rows").num_rows(), 1);
    }
}
