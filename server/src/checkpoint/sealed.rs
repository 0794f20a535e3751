//! Lists of sealed files: how a manifest stays small while the public files grow in number for ever.
//!
//! Once more than [`RECENT_MAX`] files are named in the manifest, they move to a list of their own, an immutable object
//! with its hash in the manifest. [`MERGE_AT`] lists of one level become one of the next, so that their number grows
//! with the logarithm of the files and each file is rewritten that often.

use bytes::Bytes;
use object_store::path::Path;

use super::chain::Chain;
use super::manifest::{Manifest, SealedIndex, SealedIndexRef, corrupt};
use super::sha256;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::tables::SealedFile;

/// Sealed files named in the manifest itself.
const RECENT_MAX: usize = 256;

/// Lists of one level that are merged into one.
const MERGE_AT: usize = 16;

/// All sealed files of an output, oldest first.
///
/// # Errors
/// `Corrupt` where a list is missing or not what was written, `Unavailable`.
pub async fn read_sealed_files(store: &Store, index: &SealedIndex) -> Result<Vec<SealedFile>> {
    let mut files = Vec::new();
    for list in &index.indexes {
        files.extend(read_list(store, list).await?);
    }
    files.extend(index.recent.iter().cloned());
    Ok(files)
}

pub(super) async fn read_list(store: &Store, list: &SealedIndexRef) -> Result<Vec<SealedFile>> {
    let found = store.get(&Path::from(list.object.as_str())).await?;
    let bytes = found.ok_or_else(|| corrupt(&list.object).detail("it is missing"))?;
    let hash = sha256(&bytes);
    if hash != list.sha256 {
        return Err(corrupt(&list.object).detail(format!("it has SHA-256 {hash}, it was written with {}", list.sha256)));
    }
    serde_json::from_slice(&bytes).map_err(|error| corrupt(&list.object).caused_by(error))
}

impl Chain {
    /// Moves the sealed files of a draft into lists where there are too many of them. Before the draft is committed.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`; the draft is then to be dropped.
    pub async fn fold_sealed(&self, draft: &mut Manifest) -> Result<()> {
        let (generation, id, attempt) = (draft.generation, draft.id, draft.attempt);
        let mut written = 0;
        for output in draft.outputs.values_mut() {
            let index = &mut output.sealed;
            if index.recent.len() <= RECENT_MAX {
                continue;
            }
            let mut files = std::mem::take(&mut index.recent);
            let mut level = 0;
            // Levels only fall from the oldest list to the newest, so those to merge are the last ones.
            while let Some(first) = mergeable(&index.indexes, level) {
                let mut merged = Vec::new();
                for list in index.indexes.drain(first..) {
                    merged.extend(read_list(&self.store, &list).await?);
                }
                merged.append(&mut files);
                files = merged;
                level += 1;
            }
            let key = self.paths.sealed_list(generation, id, attempt, written);
            written += 1;
            let bytes = serde_json::to_vec(&files)
                .map_err(|error| Error::bug("a list of sealed files is not JSON").caused_by(error))?;
            index.indexes.push(SealedIndexRef {
                object: key.to_string(),
                files: files.len() as u64,
                rows: files.iter().map(|file| file.rows).sum(),
                level,
                sha256: sha256(&bytes),
            });
            self.put(&key, Bytes::from(bytes)).await?;
        }
        Ok(())
    }
}

/// Where the lists of `level` begin, if with the one about to be written there are enough of them to merge.
fn mergeable(lists: &[SealedIndexRef], level: u8) -> Option<usize> {
    let first = lists.iter().position(|list| list.level <= level)?;
    (lists.len() - first + 1 >= MERGE_AT).then_some(first)
}
