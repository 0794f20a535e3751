//! Rows that the hot table has had and may be given again: a database that was set back lacks them.
//!
//! They stay where they waited, as entries and runs, for as long as `postgres.replay_hours` says. Once more than [`NAMED_MAX`] runs that have
//! been applied are named in the manifest, the oldest of them move to a list of their own, an immutable object with its hash in
//! the manifest; [`MERGE_AT`] lists of one level become one of the next. So the manifest names a few dozen of them, however many there are.

use std::collections::BTreeSet;

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::manifest::{HotRun, Manifest, TailEntry, corrupt};
use super::sha256;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::store::Store;

/// Applied runs named in the manifest itself, and how many of these stay when there are more: the newest may still be put together with
/// what comes.
const NAMED_MAX: usize = 32;
const NAMED_KEPT: usize = 16;

/// Applied checkpoints named one by one: some wait to be put together with those that come, and others are too large for that.
const ENTRIES_MAX: usize = 192;
const ENTRIES_KEPT: usize = 128;

/// Lists of one level that are merged into one: with [`NAMED_KEPT`] runs in each of the first level, 28 lists name 65,000 runs.
const MERGE_AT: usize = 8;

/// What a checkpoint knows of the hot table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotTableState {
    /// It has had all rows up to this checkpoint, as far as was known then.
    pub applied: u64,
    /// Of the checkpoints after this one all rows are there, in `lists`, in `hot_runs` or in `hot`. A table that has less than that
    /// is made anew.
    pub floor: u64,
    /// Older runs, from the oldest to the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<HotListRef>,
}

/// A list of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotListRef {
    pub object: String,
    /// First and last checkpoint of the rows, both included.
    pub from: u64,
    pub to: u64,
    /// When the last of these checkpoints was.
    pub until: Micros,
    pub runs: u64,
    /// Lists of one level are merged into one of the next.
    pub level: u8,
    pub sha256: String,
}

/// The runs of a list, oldest first.
///
/// # Errors
/// `Corrupt` where it is missing or not what was written, `Unavailable`.
pub async fn read_hot_runs(store: &Store, list: &HotListRef) -> Result<Vec<HotRun>> {
    let bytes = store.get(&Path::from(list.object.as_str())).await?;
    let bytes = bytes.ok_or_else(|| corrupt(&list.object).detail("it is missing"))?;
    let hash = sha256(&bytes);
    if hash != list.sha256 {
        return Err(corrupt(&list.object).detail(format!("it has SHA-256 {hash}, it was written with {}", list.sha256)));
    }
    serde_json::from_slice(&bytes).map_err(|error| corrupt(&list.object).caused_by(error))
}

impl Chain {
    /// Moves runs that the hot table has had into lists where a draft names too many of them. Before the draft is committed.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`; the draft is then to be dropped.
    pub async fn fold_hot_runs(&self, draft: &mut Manifest) -> Result<()> {
        let (generation, id, attempt) = (draft.generation, draft.id, draft.attempt);
        for (n, output) in draft.outputs.values_mut().enumerate() {
            let Some(table) = &mut output.hot_table else { continue };
            single_out(&mut output.hot, &mut output.hot_runs, table.applied);
            let applied = output.hot_runs.iter().take_while(|run| run.to <= table.applied).count();
            if applied <= NAMED_MAX {
                continue;
            }
            let mut runs: Vec<HotRun> = output.hot_runs.drain(..applied - NAMED_KEPT).collect();
            let mut level = 0;
            // As for sealed files: levels only fall from the oldest list to the newest.
            while let Some(first) = mergeable(&table.lists, level) {
                let mut merged = Vec::new();
                for list in table.lists.drain(first..) {
                    merged.extend(read_hot_runs(&self.store, &list).await?);
                }
                merged.append(&mut runs);
                runs = merged;
                level += 1;
            }
            let (Some(first), Some(last)) = (runs.first(), runs.last()) else { continue };
            let key = self.paths.hot_list(generation, id, attempt, n);
            let bytes = serde_json::to_vec(&runs)
                .map_err(|error| Error::bug("a list of runs for the hot table is not JSON").caused_by(error))?;
            table.lists.push(HotListRef {
                object: key.to_string(),
                from: first.from,
                to: last.to,
                until: last.last_at(),
                runs: runs.len() as u64,
                level,
                sha256: sha256(&bytes),
            });
            self.put(&key, Bytes::from(bytes)).await?;
        }
        Ok(())
    }
}

/// The objects that hold the runs of a list; none where it is no list.
pub(super) fn named_by_list(list: &[u8]) -> BTreeSet<String> {
    let runs: Vec<HotRun> = serde_json::from_slice(list).unwrap_or_default();
    runs.into_iter().map(|run| run.section.object).collect()
}

/// Makes runs of one checkpoint of applied ones that nothing is put together with: else each would stay in the manifest by itself.
fn single_out(entries: &mut Vec<TailEntry>, runs: &mut Vec<HotRun>, applied: u64) {
    let had = entries.iter().take_while(|entry| entry.checkpoint <= applied).count();
    if had <= ENTRIES_MAX {
        return;
    }
    runs.extend(entries.drain(..had - ENTRIES_KEPT).map(|entry| HotRun {
        from: entry.checkpoint,
        to: entry.checkpoint,
        created_at: entry.created_at,
        until: Some(entry.created_at),
        section: entry.section,
    }));
    runs.sort_by_key(|run| run.to);
}

/// Where the lists of `level` begin, if with the one about to be written there are enough of them to merge.
fn mergeable(lists: &[HotListRef], level: u8) -> Option<usize> {
    let first = lists.iter().position(|list| list.level <= level)?;
    (lists.len() - first + 1 >= MERGE_AT).then_some(first)
}

#[cfg(test)]
mod tests;
