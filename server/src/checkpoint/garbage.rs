//! Clean-up: what no kept checkpoint needs goes, oldest first, and never anything a later server may still need.
//!
//! The boundary is moved before anything is deleted, so that an id once deleted is never taken for a new one. Only
//! objects written for checkpoints up to our own head are touched: if another server has taken over without our
//! noticing, all it has written lies above that, and what it refers to below we keep for our own head's sake.
//!
//! Below the boundary manifests go in order of ids, those that are kept to fall back to among them: these are copied first.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use object_store::path::Path;
use tracing::warn;

use super::chain::{Chain, Remembered, list_ids, read_boundary};
use super::create::create_once;
use super::keep::kept;
use super::manifest::{Manifest, corrupt};
use super::paths::QueryPaths;
use super::standing::read_kept;
use crate::error::{Error, ErrorKind, Result};

/// What a clean-up deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    pub manifests: u64,
    pub bundles: u64,
    pub sealed_lists: u64,
}

impl Chain {
    /// Keeps the last `keep` checkpoints (at least 2), one an hour of the last day and one a day of the last week, with what they refer
    /// to, and deletes the rest. Ages are as the checkpoints say them, against the head's.
    ///
    /// Costs three to five listings, so it is for every so many checkpoints. May stop anywhere; the next call goes on.
    ///
    /// # Errors
    /// `Unavailable`, `Fenced`; what has been deleted until then was not needed.
    pub async fn collect_garbage(&mut self, keep: u64) -> Result<Collected> {
        self.refuse_if_fenced()?;
        let keep = keep.max(2);
        let head = self.head().id;
        let passed = self.move_boundary(head.saturating_sub(keep)).await?;
        self.remember_above().await?;
        self.look_at_kept().await?;
        self.keep_some(passed, usize::try_from(keep).unwrap_or(usize::MAX)).await?;
        let live: BTreeSet<String> =
            self.recent.values().chain(self.kept.values()).flat_map(|of| &of.objects).cloned().collect();
        Ok(Collected {
            manifests: self.delete_manifests().await?,
            bundles: self.delete_unreferenced(&self.paths.bundles(), &live).await?,
            sealed_lists: self.delete_unreferenced(&self.paths.sealed_lists(), &live).await?,
        })
    }

    /// Returns the manifests of this chain that lie below it now.
    async fn move_boundary(&mut self, target: u64) -> Result<BTreeMap<u64, Remembered>> {
        if target > self.boundary {
            let body = Bytes::from(format!("{target}\n"));
            // Equal for everyone who writes it: whoever was first, it stands.
            create_once(&self.store, &self.paths.boundary(target), &body, self.retry).await?;
        }
        self.boundary = read_boundary(&self.store, &self.paths).await?;
        if self.boundary >= self.head().id {
            return Err(Error::fenced(format!("the checkpoints of query {:?} have moved on", self.head().query))
                .detail(format!("those up to {} are cleaned up, our last is {}", self.boundary, self.head().id))
                .hint("only one server may run on a storage location; this one must stop"));
        }
        for marker in self.store.list(&self.paths.boundaries()).await? {
            if QueryPaths::boundary_id(&marker).is_some_and(|id| id < self.boundary) {
                self.store.delete(&marker).await?;
            }
        }
        let above = self.recent.split_off(&(self.boundary + 1));
        Ok(std::mem::replace(&mut self.recent, above))
    }

    /// Reads the manifests above the boundary that are not known yet.
    async fn remember_above(&mut self) -> Result<()> {
        let head = self.head().id;
        for id in self.boundary + 1..=head {
            if self.recent.contains_key(&id) {
                continue;
            }
            let key = self.paths.manifest(id);
            let bytes = self.store.get(&key).await?.ok_or_else(|| corrupt(key.as_ref()).detail("it is missing"))?;
            let (manifest, _) = Manifest::decode(&bytes, key.as_ref())?;
            self.recent.insert(id, Remembered::from(&manifest));
        }
        Ok(())
    }

    /// Brings what is known of the kept ones up to what is there.
    async fn look_at_kept(&mut self) -> Result<()> {
        let listed = self.store.list(&self.paths.all_kept()).await?;
        let ids: BTreeSet<u64> = listed.iter().filter_map(QueryPaths::manifest_id).collect();
        self.kept.retain(|id, _| ids.contains(id));
        for id in ids {
            if self.kept.contains_key(&id) {
                continue;
            }
            match read_kept(&self.store, &self.paths, id).await {
                Ok(Some(manifest)) => _ = self.kept.insert(id, Remembered::from(&manifest)),
                Ok(None) => {}
                // Nothing can be fallen back to there. It stays for whoever looks into it, and clean-up goes on.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    warn!(query = self.head().query, error = error.report(), "a kept checkpoint is damaged");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Decides which of those that lie below the boundary stay, and copies those that do not lie there yet.
    async fn keep_some(&mut self, passed: BTreeMap<u64, Remembered>, last: usize) -> Result<()> {
        let made = self.kept.iter().chain(&passed).chain(&self.recent).map(|(id, of)| (*id, of.created_at)).collect();
        let stay = kept(&made, self.head().created_at, last);
        for (id, remembered) in passed {
            if !stay.contains(&id) || self.kept.contains_key(&id) {
                continue;
            }
            if let Some(bytes) = self.store.get(&self.paths.manifest(id)).await? {
                self.put(&self.paths.kept(id), bytes).await?;
                self.kept.insert(id, remembered);
            }
        }
        let gone: Vec<u64> = self.kept.keys().copied().filter(|id| !stay.contains(id)).collect();
        for id in gone {
            self.store.delete(&self.paths.kept(id)).await?;
            self.kept.remove(&id);
        }
        Ok(())
    }

    /// In order of ids and one by one: [`Chain::commit`] concludes from a parent that is there that its child was
    /// never deleted.
    async fn delete_manifests(&self) -> Result<u64> {
        let mut deleted = 0;
        for id in list_ids(&self.store, &self.paths, 0).await?.into_iter().take_while(|id| *id <= self.boundary) {
            self.store.delete(&self.paths.manifest(id)).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    async fn delete_unreferenced(&self, folder: &Path, live: &BTreeSet<String>) -> Result<u64> {
        let head = self.head().id;
        let listed = self.store.list(folder).await?;
        let mut dead: Vec<_> = listed
            .into_iter()
            .filter_map(|key| QueryPaths::written_for(&key).map(|(id, generation)| (id, generation, key)))
            .filter(|(id, _, key)| *id <= head && !live.contains(key.as_ref()))
            .collect();
        dead.sort();
        for (_, _, key) in &dead {
            self.store.delete(key).await?;
        }
        Ok(dead.len() as u64)
    }
}
