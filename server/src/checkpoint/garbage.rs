//! Clean-up: what no kept manifest needs goes, oldest first, and never anything a later server may still need.
//!
//! The boundary is moved before anything is deleted, so that an id once deleted is never taken for a new one. Only
//! objects written for checkpoints up to our own head are touched: if another server has taken over without our
//! noticing, all it has written lies above that, and what it refers to below we keep for our own head's sake.

use std::collections::BTreeSet;

use bytes::Bytes;
use object_store::path::Path;

use super::chain::{Chain, list_ids, read_boundary};
use super::create::create_once;
use super::manifest::{Manifest, corrupt};
use super::paths::QueryPaths;
use crate::error::{Error, Result};

/// What a clean-up deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    pub manifests: u64,
    pub bundles: u64,
    pub sealed_lists: u64,
    pub hot_lists: u64,
}

impl Chain {
    /// Keeps the last `keep` manifests (at least 2) and what they refer to, and deletes the rest.
    ///
    /// Costs three to five listings, so it is for every so many checkpoints. May stop anywhere; the next call goes on.
    ///
    /// # Errors
    /// `Unavailable`, `Fenced`; what has been deleted until then was not needed.
    pub async fn collect_garbage(&mut self, keep: u64) -> Result<Collected> {
        self.refuse_if_fenced()?;
        let head = self.head().id;
        self.move_boundary(head.saturating_sub(keep.max(2))).await?;
        let live = self.live_objects().await?;
        Ok(Collected {
            manifests: self.delete_manifests().await?,
            bundles: self.delete_unreferenced(&self.paths.bundles(), &live).await?,
            sealed_lists: self.delete_unreferenced(&self.paths.sealed_lists(), &live).await?,
            hot_lists: self.delete_unreferenced(&self.paths.hot_lists(), &live).await?,
        })
    }

    async fn move_boundary(&mut self, target: u64) -> Result<()> {
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
        let kept = self.recent.split_off(&(self.boundary + 1));
        self.recent = kept;
        Ok(())
    }

    async fn live_objects(&mut self) -> Result<BTreeSet<String>> {
        let head = self.head().id;
        for id in self.boundary + 1..=head {
            if self.recent.contains_key(&id) {
                continue;
            }
            let key = self.paths.manifest(id);
            let bytes = self.store.get(&key).await?.ok_or_else(|| corrupt(key.as_ref()).detail("it is missing"))?;
            let (manifest, _) = Manifest::decode(&bytes, key.as_ref())?;
            self.recent.insert(id, manifest.objects());
        }
        let mut live: BTreeSet<String> = self.recent.values().flatten().cloned().collect();
        let listed = self.objects_of_hot_lists(&live).await?;
        live.extend(listed);
        Ok(live)
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
