//! What an operator does to the checkpoints of a query that no server may do by itself: giving some up, and beginning a second query
//! from one. `touchline state drop` and `fork` show what is planned here first.
//!
//! Everything may be cut off anywhere and done again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use object_store::path::Path;
use uuid::Uuid;

use super::chain::{list_ids, read_boundary, successor};
use super::create::{Placed, Retry, create_once};
use super::generation::Generation;
use super::inspect::{FoundChain, find_chains, public_files, ranges};
use super::manifest::{EarlyState, Manifest, OutputState, Section, corrupt};
use super::paths::{CHANGES, DEAD_LETTER_LEDGER, LATE_LEDGER, QueryPaths};
use super::standing::read_with_hash;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// What dropping the end of a chain would do.
#[derive(Debug)]
pub struct DropPlan {
    /// The checkpoint that is gone on from.
    pub base: Manifest,
    /// Under which id it becomes the newest.
    pub new_id: u64,
    /// Checkpoints that are given up, ascending.
    pub gone: Vec<u64>,
    /// Public files that they have written and `base` does not know: their rows will come again. They move to the state store.
    pub set_aside: Vec<String>,
    /// Copies of checkpoints to fall back to that are given up, ascending.
    gone_kept: Vec<u64>,
    base_sha256: String,
    paths: QueryPaths,
}

/// Plans to give up the checkpoints `from` and all behind it. Nothing is changed.
///
/// # Errors
/// `Invalid` where there are none, none is whole before them, or another query has read them; `Corrupt` where the public files of that
/// one cannot be told; `Unavailable`.
pub async fn plan_drop(private: &Store, public: &Store, chain: &FoundChain, from: u64) -> Result<DropPlan> {
    let last = chain.ids.last().copied();
    if last.is_some_and(|last| last < from) {
        return Err(Error::invalid(format!("query {:?} has no checkpoint {from} or behind it", chain.name))
            .hint(format!("there are {}", ranges(chain.kept.iter().chain(&chain.ids)))));
    }
    let Some((base, base_sha256)) = newest_before(private, chain, from).await? else {
        return Err(Error::invalid(format!("no checkpoint of query {:?} before {from} is whole", chain.name)).hint(
            format!(
                "`touchline state drop {}` without --from gives all of them up, and the query begins anew",
                chain.name
            ),
        ));
    };
    if let Some((reader, next)) = read_beyond(private, &chain.name, base.id).await? {
        return Err(Error::invalid(format!("query {reader:?} has read what would be given up of {:?}", chain.name))
            .detail(format!(
                "it goes on at checkpoint {next}, which would have other rows then; {:?} would go on from checkpoint {}",
                chain.name, base.id
            ))
            .hint(format!(
                "give the checkpoints of {reader:?} up first that have read so far: `touchline state show {reader} --checkpoint N` says \
                 where one goes on, `touchline state drop {reader} --from N`"
            )));
    }
    let boundary = read_boundary(private, &chain.paths).await?;
    let gone = chain.ids.iter().copied().filter(|id| *id > base.id).collect();
    let gone_kept = chain.kept.iter().copied().filter(|id| *id > base.id).collect();
    let known = public_files(private, &base).await?;
    // Also those that `base` has not written to yet.
    let mut outputs: BTreeSet<&str> = BTreeSet::from([chain.name.as_str(), CHANGES, LATE_LEDGER, DEAD_LETTER_LEDGER]);
    outputs.extend(base.outputs.keys().chain(chain.newest.iter().flat_map(|of| of.outputs.keys())).map(String::as_str));
    let mut set_aside = Vec::new();
    for output in outputs {
        for file in public.list(&Path::from(chain.paths.folder(output))).await? {
            if chain.paths.is_sealed_file(&file) && !known.contains(file.as_ref()) {
                set_aside.push(file.to_string());
            }
        }
    }
    set_aside.sort();
    let new_id = base.id.max(boundary) + 1;
    Ok(DropPlan { base, new_id, gone, set_aside, gone_kept, base_sha256, paths: chain.paths.clone() })
}

/// A query that has read checkpoints behind `base` of this chain as those of a view, and where it goes on. What it has from there is counted
/// in checkpoints alone, so it would not notice that they are others.
async fn read_beyond(store: &Store, chain: &str, base: u64) -> Result<Option<(String, i64)>> {
    let view = match chain.rsplit_once('-') {
        Some((view, digits)) if digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => view,
        _ => chain,
    };
    for other in find_chains(store).await?.into_iter().filter(|other| other.name != chain) {
        let newest = other.newest.iter().flat_map(|newest| &newest.sources);
        let of_view = newest.filter(|(name, _)| *name == chain || *name == view);
        let next = of_view.flat_map(|(_, state)| state.offsets.values()).map(|offset| offset.next).max();
        if let Some(next) = next.filter(|next| u64::try_from(*next).is_ok_and(|next| next > base + 1)) {
            return Ok(Some((other.name, next)));
        }
    }
    Ok(None)
}

/// The newest checkpoint before `from` whose manifest can be read, and its hash.
async fn newest_before(store: &Store, chain: &FoundChain, from: u64) -> Result<Option<(Manifest, String)>> {
    let ids = chain.ids.iter().rev().map(|id| (*id, false)).chain(chain.kept.iter().rev().map(|id| (*id, true)));
    for (id, is_kept) in ids.filter(|(id, _)| *id < from) {
        let key = if is_kept { chain.paths.kept(id) } else { chain.paths.manifest(id) };
        match read_with_hash(store, &key, id).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl DropPlan {
    /// Does it, and commits a manifest that says what `base` says: a server that still runs the query is turned away by it. Its lineage is
    /// that of `base`, gone on with by `by`, which nobody else is: whoever has seen one of the checkpoints that are given up, such as a hot
    /// table, has seen another history.
    ///
    /// # Errors
    /// `Unavailable`: then it may be repeated from the plan on. `Fenced` where another server was faster.
    pub async fn carry_out(self, private: &Store, public: &Store, by: Generation, now: Micros) -> Result<()> {
        // Before the manifests: once these are gone nothing tells the files from those that count.
        for path in &self.set_aside {
            let key = Path::from(path.as_str());
            if let Some(bytes) = public.get(&key).await? {
                private.put(&self.paths.set_aside(path), bytes).await?;
                public.delete(&key).await?;
            }
        }
        for id in self.gone_kept.iter().rev() {
            private.delete(&self.paths.kept(*id)).await?;
        }
        // From the newest down: whatever is left is a chain without a hole.
        for id in self.gone.iter().rev() {
            private.delete(&self.paths.manifest(*id)).await?;
        }
        let fingerprint = self.base.fingerprint.clone();
        let way = self.base.fingerprint_version;
        let query = self.base.query.clone();
        let head = successor(Some(&(self.base, self.base_sha256)), &query, &fingerprint, by, now);
        let head = Manifest { id: self.new_id, fingerprint_version: way, ..head };
        let encoded = head.encode()?;
        match create_once(private, &self.paths.manifest(head.id), &encoded.bytes, Retry::default()).await? {
            Placed::Ours => refuse_beyond(private, &self.paths, &query, head.id).await,
            Placed::Other(_) => Err(Error::fenced(format!("query {query:?} was taken over meanwhile"))
                .detail(format!("checkpoint {} is there already", head.id))
                .hint("stop the server that runs it, and drop again")),
        }
    }
}

/// A server that still ran has committed behind what was given up: with its newest checkpoint there it would go on as if nothing had been
/// dropped, over files that have been set aside. Without it its next one finds that its parent is gone.
async fn refuse_beyond(private: &Store, paths: &QueryPaths, query: &str, head: u64) -> Result<()> {
    let beyond = list_ids(private, paths, head).await?;
    let (Some(first), Some(last)) = (beyond.first(), beyond.last()) else { return Ok(()) };
    for id in beyond.iter().rev() {
        private.delete(&paths.manifest(*id)).await?;
    }
    Err(Error::fenced(format!("a server that runs query {query:?} has committed meanwhile"))
        .detail(format!(
            "checkpoints {first} to {last} of it are given up as well, but files they wrote may still be public"
        ))
        .hint(format!("stop that server, then `touchline state drop {query} --from {head}` moves those files")))
}

/// Deletes all checkpoints of a chain with all state. Its public files stay. Returns how many objects there were.
///
/// # Errors
/// `Unavailable`; it may be repeated.
pub async fn drop_whole(private: &Store, chain: &FoundChain) -> Result<u64> {
    let mut deleted = 0;
    // From the oldest up: as long as there is a head, it is the true one.
    let kept = chain.kept.iter().map(|id| chain.paths.kept(*id));
    for key in kept.chain(chain.ids.iter().map(|id| chain.paths.manifest(*id))) {
        private.delete(&key).await?;
        deleted += 1;
    }
    for key in private.list(&chain.paths.all()).await? {
        private.delete(&key).await?;
        deleted += 1;
    }
    Ok(deleted)
}

/// What a fork would copy.
#[derive(Debug)]
pub struct ForkPlan {
    pub from: Manifest,
    /// The view that goes on from the copy.
    pub name: String,
    /// Objects with state, each copied whole.
    pub objects: BTreeSet<String>,
}

/// Plans a second query that goes on from a checkpoint: its state and offsets, and none of its results. It has a lineage of its own.
/// Nothing is changed.
///
/// # Errors
/// `Invalid` where `name` has checkpoints of its own; `Unavailable`.
pub async fn plan_fork(private: &Store, from: Manifest, name: &str) -> Result<ForkPlan> {
    // What a fork that was cut off has copied is in nobody's way: the first clean-up takes it.
    let (paths, there) = (QueryPaths::new(name), private.list(&QueryPaths::new(name).all()).await?);
    if !there.iter().all(|key| key.prefix_matches(&paths.bundles())) {
        return Err(Error::invalid(format!("query {name:?} has checkpoints already"))
            .hint(format!("choose a name that no view has had, or give them up with `touchline state drop {name}`")));
    }
    let state = from.operators.iter().flat_map(|operator| &operator.segments).map(|segment| &segment.section);
    let early = from.outputs.get(&from.query).and_then(|output| output.early.as_ref());
    let early = early.iter().flat_map(|early| &early.sections).map(|early| &early.section);
    let sections = state.chain(early).filter(|section| section.length > 0);
    let objects = sections.map(|section| section.object.clone()).collect();
    Ok(ForkPlan { from, name: name.to_owned(), objects })
}

impl ForkPlan {
    /// Copies the state, then commits the first checkpoint of the new chain. Returns the bytes copied.
    ///
    /// # Errors
    /// `Corrupt` where an object is missing, `Unavailable`; what has been copied until then is in nobody's way. `Invalid` where somebody
    /// has begun the new query meanwhile.
    pub async fn carry_out(self, private: &Store, by: Generation, now: Micros) -> Result<u64> {
        let paths = QueryPaths::new(&self.name);
        let mut copies: BTreeMap<String, String> = BTreeMap::new();
        let mut copied = 0;
        for object in self.objects {
            let bytes: Option<Bytes> = private.get(&Path::from(object.as_str())).await?;
            let bytes = bytes.ok_or_else(|| corrupt(&object).detail("it is missing"))?;
            copied += bytes.len() as u64;
            let key = paths.bundle(by.number, 1, Uuid::new_v4());
            private.put(&key, bytes).await?;
            copies.insert(object, key.to_string());
        }
        let moved = |section: Section| match copies.get(&section.object) {
            Some(object) => Section { object: object.clone(), ..section },
            None => section,
        };
        let mut manifest = successor(None, &self.name, &self.from.fingerprint, by, now);
        manifest.fingerprint_version = self.from.fingerprint_version;
        manifest.sources = self.from.sources;
        manifest.accounting = self.from.accounting;
        manifest.operators = self.from.operators;
        for segment in manifest.operators.iter_mut().flat_map(|operator| &mut operator.segments) {
            segment.section = moved(segment.section.clone());
        }
        if let Some(output) = self.from.outputs.get(&self.from.query) {
            let early = output.early.clone().map(|mut early: EarlyState| {
                early.sections.iter_mut().for_each(|early| early.section = moved(early.section.clone()));
                early
            });
            let (changes, watermarks) = (output.changes.clone(), output.watermarks.clone());
            let output = OutputState { changes, watermarks, early, ..OutputState::default() };
            manifest.outputs.insert(self.name.clone(), output);
        }
        let encoded = manifest.encode()?;
        match create_once(private, &paths.manifest(manifest.id), &encoded.bytes, Retry::default()).await? {
            Placed::Ours => Ok(copied),
            Placed::Other(_) => {
                Err(Error::invalid(format!("query {:?} has begun meanwhile", self.name)).hint("choose another name"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
