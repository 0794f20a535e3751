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
use crate::source::reader::{OpenSpec, ReaderLimits, SourceDeps, snapshot_offsets, spawn_reader};

/// Opens readers from a table's earliest record to its end as it is now.
#[derive(Debug, Clone)]
pub struct Snapshots {
    sources: SourceDeps,
    bad_records: Arc<dyn BadRecords>,
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
        Snapshots { sources, bad_records }
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
        let (resume, until) =
            offsets.map_err(|error| Error::bug("looking up a topic's ends panicked").caused_by(error))??;
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
                Some((stream::iter(batches.unwrap_or_else(|error| vec![Err(error)])), (reader, read)))
            }
        });
        Ok(Box::pin(futures::StreamExt::flatten(batches)))
    }
}
