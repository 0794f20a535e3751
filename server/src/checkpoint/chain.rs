//! The manifest chain of one query: who owns it, what its head is, and how the next checkpoint is committed.
//!
//! Ids have no gap, and creating the next id is both the commit and the fence: whoever takes over adds a manifest of
//! its own, so the next create of the server before it fails. It must then stop; it never tries the id after that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use uuid::Uuid;

use super::bundle::BundleBuilder;
use super::create::{Placed, Retry, create_once};
use super::generation::Generation;
use super::lineage::Lineage;
use super::manifest::{Encoded, FINGERPRINT_VERSION, FORMAT_VERSION, Manifest, corrupt};
use super::paths::QueryPaths;
use crate::catalog::QueryVersion;
use crate::clock::{Clock, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Content, SpillDirectory, Store};

/// Manifests whose ids and parent hashes are verified when a chain is opened.
const VERIFIED: usize = 16;

/// How often an opening looks again because the chain moved under it.
const OPEN_ATTEMPTS: u32 = 16;

/// The right to extend the chain of one query, as long as nobody else takes it.
#[derive(Debug)]
pub struct Chain {
    pub(super) store: Store,
    pub(super) paths: QueryPaths,
    generation: Generation,
    head: Manifest,
    head_sha256: String,
    /// Recent manifests, by id; the head among them.
    pub(super) recent: BTreeMap<u64, Remembered>,
    /// Those below the boundary that are kept to fall back to; known once clean-up has looked.
    pub(super) kept: BTreeMap<u64, Remembered>,
    /// Manifests up to this id may be deleted.
    pub(super) boundary: u64,
    /// By list of runs for the hot table the objects that it names: what clean-up has read.
    pub(super) listed: BTreeMap<String, Arc<BTreeSet<String>>>,
    /// Sent but not known to be there or not.
    pending: Option<Pending>,
    fenced: Option<String>,
    pub(super) retry: Retry,
}

#[derive(Debug)]
struct Pending {
    manifest: Manifest,
    encoded: Encoded,
}

/// A chain that is now ours.
#[derive(Debug)]
pub struct Opened {
    pub chain: Chain,
    /// The checkpoint to go on from, as the server before us left it; `None` for a query without any.
    pub manifest: Option<Manifest>,
}

/// A checkpoint that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub id: u64,
    pub object: String,
    /// Size of the manifest.
    pub bytes: u64,
}

/// What clean-up has to know of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The objects that it refers to; shared with the clean-up that runs.
    pub(super) objects: Arc<BTreeSet<String>>,
    pub(super) created_at: Micros,
}

impl From<&Manifest> for Remembered {
    fn from(manifest: &Manifest) -> Self {
        Remembered { objects: Arc::new(manifest.objects()), created_at: manifest.created_at }
    }
}

/// The chain as found: nothing is decided yet.
struct Found {
    head: Option<(Manifest, String)>,
    recent: BTreeMap<u64, Remembered>,
}

impl Chain {
    /// Reads the newest checkpoint without taking the chain over.
    ///
    /// # Errors
    /// `Corrupt`, also for a newer format; `Unavailable`.
    pub async fn peek(store: &Store, query: &str) -> Result<Option<Manifest>> {
        let found = find(store, &QueryPaths::new(query), query).await?;
        Ok(found.head.map(|(manifest, _)| manifest))
    }

    /// Takes the chain over: verifies its end, and adds a manifest that says the same in our name.
    ///
    /// # Errors
    /// `Fenced` where a newer server owns it, `Invalid` where the checkpoint belongs to another version of the query
    /// (the chain is then left alone), `Corrupt` where its end is damaged, `Unavailable`.
    pub async fn open(
        store: &Store,
        query: &str,
        generation: Generation,
        version: impl Into<QueryVersion>,
        clock: &Clock,
    ) -> Result<Opened> {
        Self::open_with(store, query, generation, version, clock, Retry::default()).await
    }

    pub(super) async fn open_with(
        store: &Store,
        query: &str,
        generation: Generation,
        version: impl Into<QueryVersion>,
        clock: &Clock,
        retry: Retry,
    ) -> Result<Opened> {
        let paths = QueryPaths::new(query);
        let version: QueryVersion = version.into();
        for _ in 0..OPEN_ATTEMPTS {
            let Found { head, recent } = find(store, &paths, query).await?;
            let previous = head.as_ref().map(|(manifest, _)| manifest);
            if let Takeover::Refused(error) = judge_takeover(previous, generation, &version) {
                return Err(error);
            }
            let manifest = successor(head.as_ref(), query, &version.name, generation, clock.now());
            let encoded = manifest.encode()?;
            match create_once(store, &paths.manifest(manifest.id), &encoded.bytes, retry).await? {
                Placed::Other(_) => continue,
                Placed::Ours => {}
            }
            // An id that had been deleted could be created again by a server that slept over its deletion.
            let boundary = read_boundary(store, &paths).await?;
            if manifest.id <= boundary {
                continue;
            }
            let mut chain = Chain {
                store: store.clone(),
                paths,
                generation,
                head: manifest,
                head_sha256: encoded.sha256,
                recent,
                kept: BTreeMap::new(),
                boundary,
                listed: BTreeMap::new(),
                pending: None,
                fenced: None,
                retry,
            };
            chain.recent.insert(chain.head.id, Remembered::from(&chain.head));
            return Ok(Opened { chain, manifest: head.map(|(manifest, _)| manifest) });
        }
        Err(Error::unavailable(format!("cannot take over query {query:?}"))
            .detail(format!("its checkpoints moved on {OPEN_ATTEMPTS} times meanwhile"))
            .hint("look for another server that runs the same queries on the same storage"))
    }

    /// The newest checkpoint known to be committed.
    pub fn head(&self) -> &Manifest {
        &self.head
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub fn paths(&self) -> &QueryPaths {
        &self.paths
    }

    /// The next checkpoint, saying what the head says, to be filled in and committed.
    pub fn draft(&self, now: Micros) -> Manifest {
        let head = (self.head.clone(), self.head_sha256.clone());
        successor(Some(&head), &self.head.query, &self.head.fingerprint, self.generation, now)
    }

    /// A bundle for the rows of `draft`. `disk`: takes what is too much for memory.
    pub fn bundle(&self, draft: &Manifest, disk: Option<SpillDirectory>) -> BundleBuilder {
        BundleBuilder::new(self.paths.bundle(draft.generation, draft.id, draft.attempt).to_string(), disk)
    }

    /// Makes a bundle durable. To be called before the manifest that refers to it is committed. Returns its size in bytes.
    ///
    /// # Errors
    /// `Unavailable`; nothing refers to the bundle yet, and the checkpoint may be tried again with a new draft.
    pub async fn put_bundle(&self, bundle: BundleBuilder) -> Result<u64> {
        self.refuse_if_fenced()?;
        let (key, content) = bundle.finish();
        if !content.is_empty() {
            self.put_content(&key, &content).await?;
        }
        Ok(content.len())
    }

    /// Writes an object whose name nobody else uses, with retries.
    pub(super) async fn put(&self, key: &Path, bytes: Bytes) -> Result<()> {
        self.put_content(key, &Content::Memory(bytes)).await
    }

    async fn put_content(&self, key: &Path, content: &Content) -> Result<()> {
        put_with(&self.store, key, content, self.retry).await
    }

    /// Commits a draft. On success it is the new head; before that nothing of it counts.
    ///
    /// # Errors
    /// * `Fenced`: another server has the chain. Stop; every later call says the same.
    /// * `Unavailable`: not known whether it is committed. Only [`Chain::settle`] can tell; until it has, no other
    ///   draft is taken.
    pub async fn commit(&mut self, draft: Manifest) -> Result<Committed> {
        self.refuse_if_fenced()?;
        if let Some(pending) = &self.pending {
            return Err(Error::bug(format!("checkpoint {} must be settled first", pending.manifest.id)));
        }
        let next = (self.head.id + 1, Some(&self.head_sha256), self.generation.number, self.generation.instance);
        if (draft.id, draft.parent_sha256.as_ref(), draft.generation, draft.instance) != next {
            return Err(Error::bug(format!("checkpoint {} was not drafted from the head {}", draft.id, self.head.id)));
        }
        let encoded = draft.encode()?;
        self.pending = Some(Pending { manifest: draft, encoded });
        self.settle().await
    }

    /// Finishes a commit that ended in doubt; safe to repeat.
    ///
    /// # Errors
    /// As [`Chain::commit`]; `Bug` where none is in doubt.
    pub async fn settle(&mut self) -> Result<Committed> {
        self.refuse_if_fenced()?;
        let Some(pending) = &self.pending else { return Err(Error::bug("there is no commit to settle")) };
        let key = self.paths.manifest(pending.manifest.id);
        let winner = match create_once(&self.store, &key, &pending.encoded.bytes, self.retry).await? {
            Placed::Ours => match self.parent().await? {
                Parent::Stands => None,
                Parent::Gone => Some("another server, which has since cleaned up the checkpoint before".to_owned()),
                Parent::Replaced => {
                    // An operator has given the head up. What stands on it would be taken for damage, and is nobody else's.
                    self.store.delete(&key).await?;
                    Some("another server or an operator, who has given up the checkpoint before".to_owned())
                }
            },
            Placed::Other(bytes) => Some(name_winner(&bytes, &key)),
        };
        if let Some(winner) = winner {
            self.fenced = Some(winner);
            self.pending = None;
            self.refuse_if_fenced()?;
        }
        let Some(Pending { manifest, encoded }) = self.pending.take() else {
            return Err(Error::bug("a commit was settled twice at once"));
        };
        self.recent.insert(manifest.id, Remembered::from(&manifest));
        let committed = Committed { id: manifest.id, object: key.to_string(), bytes: encoded.bytes.len() as u64 };
        self.head = manifest;
        self.head_sha256 = encoded.sha256;
        Ok(committed)
    }

    /// What has become of the head, on which the new manifest stands.
    ///
    /// Clean-up deletes in order of ids. So had the new id been taken and deleted while we slept, its parent would be
    /// gone as well, and our create had merely filled a hole in a chain that has moved on.
    async fn parent(&self) -> Result<Parent> {
        let key = self.paths.manifest(self.head.id);
        let mut attempt = 0;
        loop {
            match self.store.get(&key).await {
                Ok(None) => return Ok(Parent::Gone),
                Ok(Some(bytes)) => {
                    let (_, sha256) = Manifest::decode(&bytes, key.as_ref())?;
                    return Ok(if sha256 == self.head_sha256 { Parent::Stands } else { Parent::Replaced });
                }
                Err(error) if attempt + 1 >= self.retry.attempts => return Err(error),
                Err(_) => self.retry.wait(attempt).await,
            }
            attempt += 1;
        }
    }

    pub(super) fn refuse_if_fenced(&self) -> Result<()> {
        match &self.fenced {
            None => Ok(()),
            Some(winner) => Err(taken_over(&self.head.query, winner, self.generation)),
        }
    }
}

pub(super) async fn put_with(store: &Store, key: &Path, content: &Content, retry: Retry) -> Result<()> {
    let mut attempt = 0;
    loop {
        match store.put_content(key, content).await {
            Err(error) if error.kind() == ErrorKind::Unavailable && attempt + 1 < retry.attempts => {
                retry.wait(attempt).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// What a server says that has lost a query to another one.
pub(super) fn taken_over(query: &str, winner: &str, ours: Generation) -> Error {
    Error::fenced(format!("query {query:?} was taken over by {winner}"))
        .detail(format!("this is generation {}, instance {}", ours.number, ours.instance))
        .hint("only one server may run on a storage location; this one must stop")
}

/// Whoever wrote this manifest.
pub(super) fn name_winner(bytes: &[u8], key: &Path) -> String {
    match Manifest::decode(bytes, key.as_ref()) {
        Ok((winner, _)) => format!("generation {}, instance {}", winner.generation, winner.instance),
        Err(_) => "another server, whose checkpoint cannot be read here".to_owned(),
    }
}

/// See [`Chain::commit`].
enum Parent {
    Stands,
    Gone,
    /// Another checkpoint has its id.
    Replaced,
}

enum Takeover {
    Allowed,
    Refused(Error),
}

/// Whether a server may take a chain over that ends in `head`.
fn judge_takeover(head: Option<&Manifest>, ours: Generation, version: &QueryVersion) -> Takeover {
    let Some(head) = head else { return Takeover::Allowed };
    let same_server = head.instance == ours.instance;
    if head.generation > ours.number || (head.generation == ours.number && !same_server) {
        return Takeover::Refused(
            Error::fenced(format!("query {:?} belongs to a newer server", head.query))
                .detail(format!(
                    "its checkpoint {} is of generation {}, instance {}; this is generation {}",
                    head.id, head.generation, head.instance, ours.number
                ))
                .hint("only one server may run on a storage location; this one must stop"),
        );
    }
    match head.is_of(version) {
        Ok(true) => Takeover::Allowed,
        Ok(false) => Takeover::Refused(
            Error::invalid(format!("query {:?} is not the one that wrote its checkpoint", head.query))
                .detail(format!(
                    "checkpoint {} has fingerprint {}, the query has {}",
                    head.id, head.fingerprint, version.name
                ))
                .hint("restore the former statement, or give the changed one a new name so that it starts anew"),
        ),
        Err(error) => Takeover::Refused(error),
    }
}

/// The manifest after `head`, with the same content; the first one where there is no head.
pub(super) fn successor(
    head: Option<&(Manifest, String)>,
    query: &str,
    fingerprint: &str,
    generation: Generation,
    now: Micros,
) -> Manifest {
    let stamped = Manifest {
        format_version: FORMAT_VERSION,
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        query: query.to_owned(),
        id: head.map_or(1, |(head, _)| head.id + 1),
        parent_sha256: head.map(|(_, sha256)| sha256.clone()),
        generation: generation.number,
        instance: generation.instance,
        attempt: Uuid::new_v4(),
        created_at: now,
        fingerprint: fingerprint.to_owned(),
        fingerprint_version: FINGERPRINT_VERSION,
        lineage: match head {
            None => Lineage::default().continued(None, generation.instance, Uuid::new_v4()),
            Some((head, _)) => {
                head.lineage.continued(Some((head.id, head.instance)), generation.instance, Uuid::new_v4())
            }
        },
        sources: BTreeMap::new(),
        operators: Vec::new(),
        outputs: BTreeMap::new(),
        accounting: Default::default(),
    };
    match head {
        None => stamped,
        Some((head, _)) => Manifest {
            sources: head.sources.clone(),
            operators: head.operators.clone(),
            outputs: head.outputs.clone(),
            accounting: head.accounting,
            ..stamped
        },
    }
}

pub(super) async fn read_boundary(store: &Store, paths: &QueryPaths) -> Result<u64> {
    let markers = store.list(&paths.boundaries()).await?;
    Ok(markers.iter().filter_map(QueryPaths::boundary_id).max().unwrap_or(0))
}

/// Ids above the boundary, ascending. What lies below is garbage, whatever it says.
pub(super) async fn list_ids(store: &Store, paths: &QueryPaths, boundary: u64) -> Result<Vec<u64>> {
    let listed = store.list(&paths.manifests()).await?;
    let mut ids: Vec<_> = listed.iter().filter_map(QueryPaths::manifest_id).filter(|id| *id > boundary).collect();
    ids.sort_unstable();
    Ok(ids)
}

async fn find(store: &Store, paths: &QueryPaths, query: &str) -> Result<Found> {
    let mut boundary = read_boundary(store, paths).await?;
    loop {
        let result = find_above(store, paths, query, boundary).await;
        // Clean-up of another server may run beside us: what looks like damage then is only what it deleted.
        let moved = read_boundary(store, paths).await?;
        match result {
            Err(error) if error.kind() == ErrorKind::Corrupt && moved > boundary => boundary = moved,
            result => return result,
        }
    }
}

async fn find_above(store: &Store, paths: &QueryPaths, query: &str, boundary: u64) -> Result<Found> {
    let ids = list_ids(store, paths, boundary).await?;
    if ids.is_empty() && boundary > 0 {
        return Err(corrupt(paths.manifests().as_ref())
            .detail(format!("no manifest is there, but those up to {boundary} have been cleaned up")));
    }
    if ids.is_empty() {
        // Whoever writes one has committed a manifest before.
        let bundles = store.list(&paths.bundles()).await?.len();
        if bundles > 0 {
            return Err(corrupt(paths.manifests().as_ref())
                .detail(format!("no manifest is there, but {bundles} bundles of rows and state are")));
        }
    }
    let last = &ids[ids.len().saturating_sub(VERIFIED)..];
    let beyond = |id: u64, error: Error| match error.kind() {
        ErrorKind::Corrupt => given_up_from(error, query, id, last.last().copied().unwrap_or(id)),
        _ => error,
    };
    if let Some(gap) = last.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        let missing = corrupt(paths.manifest(gap[0] + 1).as_ref());
        return Err(beyond(gap[0] + 1, missing.detail(format!("it is missing, but {} is there", gap[1]))));
    }
    let mut recent = BTreeMap::new();
    let mut head: Option<(Manifest, String)> = None;
    for id in last {
        let next = verified(store, paths, query, *id, head.as_ref()).await.map_err(|error| beyond(*id, error))?;
        recent.insert(*id, Remembered::from(&next.0));
        head = Some(next);
    }
    Ok(Found { head, recent })
}

/// The manifest `id` with its hash, if it is what the one before it says.
async fn verified(
    store: &Store,
    paths: &QueryPaths,
    query: &str,
    id: u64,
    before: Option<&(Manifest, String)>,
) -> Result<(Manifest, String)> {
    let key = paths.manifest(id);
    let bytes = store.get(&key).await?.ok_or_else(|| corrupt(key.as_ref()).detail("it was listed and is missing"))?;
    let (manifest, sha256) = Manifest::decode(&bytes, key.as_ref())?;
    if manifest.id != id || manifest.query != query {
        return Err(corrupt(key.as_ref())
            .detail(format!("it is checkpoint {} of query {:?}, not {id} of {query:?}", manifest.id, manifest.query)));
    }
    if let Some((_, parent)) = before
        && manifest.parent_sha256.as_ref() != Some(parent)
    {
        let named = manifest.parent_sha256.as_deref().unwrap_or("none");
        return Err(corrupt(key.as_ref()).detail(format!("it names parent {named}, the one before it is {parent}")));
    }
    Ok((manifest, sha256))
}

/// A manifest that cannot be read may say of rows that are out already: nothing goes past it by itself.
fn given_up_from(error: Error, query: &str, id: u64, last: u64) -> Error {
    // A newer server can read it.
    if error.hint_text().is_some_and(|hint| hint.starts_with("upgrade")) {
        return error;
    }
    let beyond = format!("checkpoints {id} to {last} of query {query:?} lie at or behind it");
    let detail = error.detail_text().map_or_else(|| beyond.clone(), |detail| format!("{detail}; {beyond}"));
    error.detail(detail).hint(format!(
        "restore the object from a backup; or give these checkpoints up: `touchline state drop {query} --from {id}` says first what \
         is lost and what is read again"
    ))
}

#[cfg(test)]
mod tests;
