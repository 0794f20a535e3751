//! Bounded reads of source tables for ad-hoc queries and lookups, on readers of their own.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use tracing::warn;

use super::source::{SnapshotBatches, SnapshotReader};
use crate::catalog::{StartAt, TableDef};
use crate::error::{Error, Result};
use crate::source::reader::{OpenSpec, ReaderLimits, SourceDeps, snapshot_offsets, spawn_reader};

/// Opens readers from a table's earliest record to its end as it is now.
#[derive(Debug, Clone)]
pub struct Snapshots {
    sources: SourceDeps,
}

impl Snapshots {
    pub fn new(sources: SourceDeps) -> Self {
        Snapshots { sources }
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
        let name = table.name.clone();
        let reader = spawn_reader(&thread, table, columns, open, ReaderLimits::default(), self.sources.clone())?;
        let batches = stream::unfold((reader, name), |(mut reader, table)| async move {
            let batch = reader.next().await?;
            let batches = batch.map(|batch| {
                if let Some(first) = batch.dead_letters.first() {
                    let (count, at) = (batch.dead_letters.len(), first.place());
                    // Nobody keeps them here, as a query does in its ledger; a lookup without them is not to be silent.
                    warn!(table, count, first = at, reason = first.reason, "records not decoded, left out");
                }
                batch.batches.into_iter().map(Ok).collect::<Vec<_>>()
            });
            Some((stream::iter(batches.unwrap_or_else(|error| vec![Err(error)])), (reader, table)))
        });
        Ok(Box::pin(futures::StreamExt::flatten(batches)))
    }
}
