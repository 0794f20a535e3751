//! Clean-up: what no kept manifest needs goes, old manifests first, and never anything a later server may still need.
//!
//! It runs beside the loop, whose checkpoints go on meanwhile: it keeps what was needed when it began, and of what is older than that
//! no later checkpoint needs more. Which manifests are old is a matter of their ids, not of any clock.
//!
//! The boundary is moved before anything is deleted, so that an id once deleted is never taken for a new one. Only
//! objects written for checkpoints up to our own head are touched: if another server has taken over without our
//! noticing, all it has written lies above that, and what it refers to below we keep for our own head's sake.
//!
//! Below the boundary manifests go in order of ids, those that are kept to fall back to among them: these are copied first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use tracing::warn;

use super::chain::{Chain, Remembered, list_ids, put_with, read_boundary};
use super::create::{Retry, create_once};
use super::keep::kept;
use super::manifest::{Manifest, corrupt};
use super::paths::QueryPaths;
use super::replay::named_by_list;
use super::standing::{read_kept, read_manifest};
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Content, Store};

/// Manifests of servers before that a clean-up reads at most. It has to come to its end, however many starts made none.
const READ_BELOW_MAX: u64 = 1_024;

/// What a clean-up deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    pub manifests: u64,
    pub bundles: u64,
    pub sealed_lists: u64,
    pub hot_lists: u64,
}

/// One clean-up of a chain, as of the head when it was made.
#[derive(Debug)]
pub struct CleanUp {
    store: Store,
    paths: QueryPaths,
    query: String,
    head: u64,
    /// When the head was made: what the ages of the others count to.
    now: Micros,
    /// So many of the last stay as they are.
    keep: u64,
    /// Manifests up to here are to go.
    target: u64,
    boundary: u64,
    recent: BTreeMap<u64, Remembered>,
    kept: BTreeMap<u64, Remembered>,
    listed: BTreeMap<String, Arc<BTreeSet<String>>>,
    retry: Retry,
}

/// A clean-up that is done: for [`Chain::cleaned_up`].
#[derive(Debug)]
pub struct Cleaned {
    pub collected: Collected,
    boundary: u64,
    recent: BTreeMap<u64, Remembered>,
    kept: BTreeMap<u64, Remembered>,
    listed: BTreeMap<String, Arc<BTreeSet<String>>>,
}

impl Chain {
    /// A clean-up that keeps the last `keep` checkpoints (at least 2), one an hour of the last day and one a day of the last week, with
    /// what they refer to. Ages are as the checkpoints say them, against the head's. One at a time.
    ///
    /// # Errors
    /// `Fenced`.
    pub fn clean_up(&self, keep: u64) -> Result<CleanUp> {
        self.refuse_if_fenced()?;
        let keep = keep.max(2);
        Ok(CleanUp {
            store: self.store.clone(),
            paths: self.paths.clone(),
            query: self.head().query.clone(),
            head: self.head().id,
            now: self.head().created_at,
            keep,
            target: self.head().id.saturating_sub(keep),
            boundary: self.boundary,
            recent: self.recent.clone(),
            kept: self.kept.clone(),
            listed: self.listed.clone(),
            retry: self.retry,
        })
    }

    /// Notes what a clean-up has found and done.
    pub fn cleaned_up(&mut self, cleaned: &Cleaned) {
        self.boundary = self.boundary.max(cleaned.boundary);
        for (id, remembered) in &cleaned.recent {
            self.recent.entry(*id).or_insert_with(|| remembered.clone());
        }
        self.recent = self.recent.split_off(&(self.boundary + 1));
        self.kept.clone_from(&cleaned.kept);
        self.listed.clone_from(&cleaned.listed);
    }

    /// All of a clean-up at once.
    #[cfg(test)]
    pub(crate) async fn collect_garbage(&mut self, keep: u64) -> Result<Collected> {
        let cleaned = self.clean_up(keep)?.run().await?;
        self.cleaned_up(&cleaned);
        Ok(cleaned.collected)
    }
}

impl CleanUp {
    /// Deletes. Costs three to five listings, so it is for every so many checkpoints. May stop anywhere; the next one goes on.
    ///
    /// # Errors
    /// `Unavailable`, `Fenced`; what has been deleted until then was not needed.
    pub async fn run(mut self) -> Result<Cleaned> {
        self.remember_below().await?;
        let passed = self.move_boundary().await?;
        self.remember_above().await?;
        self.look_at_kept().await?;
        self.keep_some(passed).await?;
        let live = self.live_objects().await?;
        let collected = Collected {
            manifests: self.delete_manifests().await?,
            bundles: self.delete_unreferenced(&self.paths.bundles(), &live).await?,
            sealed_lists: self.delete_unreferenced(&self.paths.sealed_lists(), &live).await?,
            hot_lists: self.delete_unreferenced(&self.paths.hot_lists(), &live).await?,
        };
        Ok(Cleaned { collected, boundary: self.boundary, recent: self.recent, kept: self.kept, listed: self.listed })
    }

    /// Reads those manifests that are about to pass the boundary and are not known: a server knows only the last ones of those before it,
    /// and what is not known is not kept to fall back to. One that is not there or damaged is of no use for that.
    async fn remember_below(&mut self) -> Result<()> {
        let first = (self.boundary + 1).max(self.target.saturating_sub(READ_BELOW_MAX));
        for id in first..=self.target {
            if self.recent.contains_key(&id) {
                continue;
            }
            match read_manifest(&self.store, &self.paths, id).await {
                Ok(Some(manifest)) => _ = self.recent.insert(id, Remembered::from(&manifest)),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the manifests of this chain that lie below it now.
    async fn move_boundary(&mut self) -> Result<BTreeMap<u64, Remembered>> {
        if self.target > self.boundary {
            let body = Bytes::from(format!("{}\n", self.target));
            // Equal for everyone who writes it: whoever was first, it stands.
            create_once(&self.store, &self.paths.boundary(self.target), &body, self.retry).await?;
        }
        self.boundary = read_boundary(&self.store, &self.paths).await?;
        if self.boundary >= self.head {
            return Err(Error::fenced(format!("the checkpoints of query {:?} have moved on", self.query))
                .detail(format!("those up to {} are cleaned up, our last was {}", self.boundary, self.head))
                .hint("only one server may run on a storage location; this one must stop"));
        }
        let mut markers = self.store.list(&self.paths.boundaries()).await?;
        markers.retain(|marker| QueryPaths::boundary_id(marker).is_some_and(|id| id < self.boundary));
        self.store.delete_all(markers).await?;
        let above = self.recent.split_off(&(self.boundary + 1));
        Ok(std::mem::replace(&mut self.recent, above))
    }

    /// Reads the manifests above the boundary that are not known yet.
    async fn remember_above(&mut self) -> Result<()> {
        for id in self.boundary + 1..=self.head {
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
                    warn!(query = self.query, error = error.report(), "a kept checkpoint is damaged");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Decides which of those that lie below the boundary stay, and copies those that do not lie there yet: before their manifests go.
    async fn keep_some(&mut self, passed: BTreeMap<u64, Remembered>) -> Result<()> {
        let made = self.kept.iter().chain(&passed).chain(&self.recent).map(|(id, of)| (*id, of.created_at)).collect();
        let stay = kept(&made, self.now, usize::try_from(self.keep).unwrap_or(usize::MAX));
        for (id, remembered) in passed {
            if !stay.contains(&id) || self.kept.contains_key(&id) {
                continue;
            }
            if let Some(bytes) = self.store.get(&self.paths.manifest(id)).await? {
                put_with(&self.store, &self.paths.kept(id), &Content::Memory(bytes), self.retry).await?;
                self.kept.insert(id, remembered);
            }
        }
        let gone = self.kept.keys().filter(|id| !stay.contains(id)).map(|id| self.paths.kept(*id)).collect();
        self.store.delete_all(gone).await?;
        self.kept.retain(|id, _| stay.contains(id));
        Ok(())
    }

    /// The objects that hold rows of these lists, of those among `objects` that are such lists. A list that is gone or damaged names nothing:
    /// whoever needs its rows finds that, and makes the table anew.
    async fn objects_of_hot_lists(&mut self, objects: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let folder = self.paths.hot_lists();
        let is_list = |object: &&String| Path::from(object.as_str()).prefix_matches(&folder);
        let lists: Vec<String> = objects.iter().filter(is_list).cloned().collect();
        self.listed.retain(|object, _| objects.contains(object));
        for object in lists {
            if self.listed.contains_key(&object) {
                continue;
            }
            let bytes = self.store.get(&Path::from(object.as_str())).await?;
            let named = bytes.map_or_else(BTreeSet::new, |bytes| named_by_list(&bytes));
            self.listed.insert(object, Arc::new(named));
        }
        Ok(self.listed.values().flat_map(|objects| objects.iter().cloned()).collect())
    }

    async fn live_objects(&mut self) -> Result<BTreeSet<String>> {
        let needed = self.recent.values().chain(self.kept.values());
        let mut live: BTreeSet<String> = needed.flat_map(|of| of.objects.iter().cloned()).collect();
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

    /// In any order: the manifests that named them are gone.
    async fn delete_unreferenced(&self, folder: &Path, live: &BTreeSet<String>) -> Result<u64> {
        let mut dead = self.store.list(folder).await?;
        dead.retain(|key| {
            let written_before = QueryPaths::written_for(key).is_some_and(|(id, _)| id <= self.head);
            written_before && !live.contains(key.as_ref())
        });
        let deleted = dead.len() as u64;
        self.store.delete_all(dead).await?;
        Ok(deleted)
    }
}
