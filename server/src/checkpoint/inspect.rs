//! A look at the checkpoints of a store from outside, without taking anything over: what `touchline state list`, `show` and `verify` say.
//!
//! Whatever is damaged is named and never ends the look: the next thing may be what somebody is looking for.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use object_store::path::Path;

use super::chain::{list_ids, read_boundary};
use super::definition::read_definition;
use super::manifest::{Manifest, SealedIndexRef, Section};
use super::paths::QueryPaths;
use super::replay::{HotListRef, read_hot_runs};
use super::runs::FileRuns;
use super::sealed::{read_list, read_sealed_files};
use super::standing::{read_kept, read_manifest};
use super::{read_section, sha256};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::tables::SealedFile;

/// The chain of one version of a query, as it lies in a store.
#[derive(Debug)]
pub struct FoundChain {
    /// Of the query; where no manifest can be read, as it is called in the names of objects.
    pub name: String,
    pub(super) paths: QueryPaths,
    /// Ids of the manifests of the chain, ascending.
    pub ids: Vec<u64>,
    /// Ids of older checkpoints that are kept to fall back to, ascending.
    pub kept: Vec<u64>,
    /// The newest manifest that can be read.
    pub newest: Option<Manifest>,
    /// Manifests at the end of the chain that cannot be read, newest first, with the reason.
    pub unread: Vec<(u64, Error)>,
    pub objects: u64,
    /// Of all of them.
    pub bytes: u64,
}

/// All chains of a store, by name.
///
/// # Errors
/// `Unavailable`.
pub async fn find_chains(store: &Store) -> Result<Vec<FoundChain>> {
    let mut found = Vec::new();
    for folder in QueryPaths::folders(store).await? {
        found.push(look(store, QueryPaths::of_folder(&folder)).await?);
    }
    Ok(found)
}

/// The chain with this name.
///
/// # Errors
/// `Invalid` where there is none, with those that there are; `Unavailable`.
pub async fn find_chain(store: &Store, name: &str) -> Result<FoundChain> {
    let found = look(store, QueryPaths::new(name)).await?;
    if found.objects > 0 {
        return Ok(FoundChain { name: name.to_owned(), ..found });
    }
    let names: Vec<String> = find_chains(store).await?.into_iter().map(|chain| chain.name).collect();
    let hint = match names.is_empty() {
        true => "there are none at all: look whether this is the place".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    Err(Error::invalid(format!("there are no checkpoints of {name:?} in {}", store.url())).hint(hint))
}

async fn look(store: &Store, paths: QueryPaths) -> Result<FoundChain> {
    let boundary = read_boundary(store, &paths).await?;
    let ids = list_ids(store, &paths, boundary).await?;
    let mut kept: Vec<u64> = store.list(&paths.all_kept()).await?.iter().filter_map(QueryPaths::manifest_id).collect();
    kept.sort_unstable();
    let (mut newest, mut unread) = (None, Vec::new());
    for id in ids.iter().rev() {
        match read_manifest(store, &paths, *id).await {
            Ok(Some(manifest)) => {
                newest = Some(manifest);
                break;
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => unread.push((*id, error)),
            Err(error) => return Err(error),
        }
    }
    let all = paths.all();
    let metas: Vec<_> = store
        .objects()
        .list(Some(&all))
        .map_ok(|meta| meta.size)
        .try_collect()
        .await
        .map_err(|error| store.failed("list", &all, error))?;
    let name = newest.as_ref().map_or_else(|| paths.name().to_owned(), |manifest: &Manifest| manifest.query.clone());
    Ok(FoundChain {
        name,
        paths,
        ids,
        kept,
        newest,
        unread,
        objects: metas.len() as u64,
        bytes: metas.into_iter().sum(),
    })
}

/// One checkpoint of a chain: the newest that can be read, or the one asked for.
///
/// # Errors
/// `Invalid` where it is not there, with those that are; `Corrupt`, `Unavailable`.
pub async fn find_checkpoint(store: &Store, chain: &FoundChain, id: Option<u64>) -> Result<Manifest> {
    let Some(id) = id else {
        return match (&chain.newest, chain.unread.first()) {
            (Some(manifest), _) => Ok(manifest.clone()),
            (None, Some((_, error))) => Err(error.duplicate()),
            (None, None) => Err(Error::corrupt(format!("no manifest of {:?} is there", chain.name))
                .detail(format!("{} other objects of it are", chain.objects))),
        };
    };
    let found = match read_manifest(store, &chain.paths, id).await? {
        Some(manifest) => Some(manifest),
        None => read_kept(store, &chain.paths, id).await?,
    };
    found.ok_or_else(|| {
        Error::invalid(format!("there is no checkpoint {id} of {:?}", chain.name))
            .hint(format!("there are {}", ranges(chain.kept.iter().chain(&chain.ids))))
    })
}

/// `1, 5, 7-12`: ids that ascend.
pub fn ranges<'a>(ids: impl IntoIterator<Item = &'a u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*id) => *last = *id,
            _ => runs.push((*id, *id)),
        }
    }
    let text = |(first, last): (u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let text: Vec<String> = runs.into_iter().map(text).collect();
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

/// What a check of everything that the checkpoints of a chain need has found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Checkpoints whose manifest is whole, ascending.
    pub checkpoints: Vec<u64>,
    /// Objects that were read, and parts of objects with a hash of their own.
    pub read: u64,
    /// Of these.
    pub bytes: u64,
    pub findings: Vec<Finding>,
}

impl Verified {
    /// Checkpoints that have all they need, ascending.
    pub fn whole(&self) -> Vec<u64> {
        let lack = |id: &u64| self.findings.iter().any(|finding| finding.needed_by.contains(id));
        self.checkpoints.iter().copied().filter(|id| !lack(id)).collect()
    }

    /// What only these would need is no damage: they are gone in good order, and what they had with them.
    fn leave_out(&mut self, gone: &BTreeSet<u64>) {
        self.checkpoints.retain(|id| !gone.contains(id));
        self.findings.retain_mut(|finding| {
            if finding.needed_by.is_empty() {
                let id = QueryPaths::manifest_id(&Path::from(finding.object.as_str()));
                return id.is_none_or(|id| !gone.contains(&id));
            }
            finding.needed_by.retain(|id| !gone.contains(id));
            !finding.needed_by.is_empty()
        });
    }

    fn note(&mut self, object: &str, needed_by: &BTreeSet<u64>, error: &Error) {
        let detail = error.detail_text().unwrap_or_else(|| error.primary()).to_owned();
        self.findings.push(Finding { object: object.to_owned(), detail, needed_by: needed_by.clone() });
    }
}

/// One object that is damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub object: String,
    pub detail: String,
    /// Checkpoints that cannot do without it; none for a manifest, which is one itself.
    pub needed_by: BTreeSet<u64>,
}

/// What tells one section from another: its object, where it lies there, and its hash.
type SectionKey = (String, u64, u64, String);

/// Everything that some checkpoint needs, each once, with those that do.
#[derive(Default)]
struct Needs {
    sections: BTreeMap<SectionKey, (Section, BTreeSet<u64>)>,
    lists: BTreeMap<String, (SealedIndexRef, BTreeSet<u64>)>,
    hot_lists: BTreeMap<String, (HotListRef, BTreeSet<u64>)>,
    files: BTreeMap<String, (SealedFile, BTreeSet<u64>)>,
}

/// Reads every object that the checkpoints of a chain need. `public`: where the sealed files are; `None`: they are not looked at.
///
/// # Errors
/// `Unavailable`. Damage is a finding.
pub async fn verify(store: &Store, public: Option<&Store>, chain: &FoundChain) -> Result<Verified> {
    let mut verified = Verified::default();
    let mut needs = Needs::default();
    let mut before: Option<(u64, String)> = None;
    for (id, key, linked) in chain
        .kept
        .iter()
        .map(|id| (*id, chain.paths.kept(*id), false))
        .chain(chain.ids.iter().map(|id| (*id, chain.paths.manifest(*id), true)))
    {
        verified.read += 1;
        let found = manifest_at(store, &key, id, &chain.name, before.as_ref().filter(|_| linked)).await;
        before = None;
        match found {
            Ok((manifest, hash, bytes)) => {
                before = linked.then_some((id, hash));
                verified.bytes += bytes;
                verified.checkpoints.push(id);
                needs.add(&manifest);
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                verified.note(key.as_ref(), &BTreeSet::new(), &error);
            }
            Err(error) => return Err(error),
        }
    }
    verified.checkpoints.sort_unstable();
    verified.checkpoints.dedup();
    for key in store.list(&chain.paths.definitions()).await? {
        verified.read += 1;
        match read_definition(store, &key).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => verified.note(key.as_ref(), &BTreeSet::new(), &error),
            Err(error) => return Err(error),
        }
    }
    needs.read(store, public, &mut verified).await?;
    verified.leave_out(&cleaned_up(store, chain).await?);
    Ok(verified)
}

/// The checkpoints that a server which runs has cleaned up since `chain` was looked at.
async fn cleaned_up(store: &Store, chain: &FoundChain) -> Result<BTreeSet<u64>> {
    let boundary = read_boundary(store, &chain.paths).await?;
    let kept: BTreeSet<u64> =
        store.list(&chain.paths.all_kept()).await?.iter().filter_map(QueryPaths::manifest_id).collect();
    let passed = chain.ids.iter().filter(|id| **id <= boundary);
    Ok(passed.chain(&chain.kept).filter(|id| !kept.contains(id)).copied().collect())
}

/// A manifest with its hash and its size. `before`: the one that it has to name as its parent, by id and hash.
async fn manifest_at(
    store: &Store,
    key: &Path,
    id: u64,
    query: &str,
    before: Option<&(u64, String)>,
) -> Result<(Manifest, String, u64)> {
    let damaged = |detail: String| super::manifest::corrupt(key.as_ref()).detail(detail);
    let bytes = store.get(key).await?.ok_or_else(|| damaged("it was listed and is missing".to_owned()))?;
    let (manifest, hash) = Manifest::decode(&bytes, key.as_ref())?;
    if manifest.id != id || manifest.query != query {
        return Err(damaged(format!("it is checkpoint {} of query {:?}", manifest.id, manifest.query)));
    }
    match before {
        Some((parent, _)) if parent + 1 != id => Err(damaged(format!("checkpoint {} before it is missing", id - 1))),
        Some((_, parent)) if manifest.parent_sha256.as_ref() != Some(parent) => {
            Err(damaged("it names another checkpoint as its parent than the one before it".to_owned()))
        }
        _ => Ok((manifest, hash, bytes.len() as u64)),
    }
}

impl Needs {
    fn add(&mut self, manifest: &Manifest) {
        manifest.sections().for_each(|section| self.add_section(section, manifest.id));
        for output in manifest.outputs.values() {
            for list in &output.sealed.indexes {
                let entry = self.lists.entry(list.object.clone());
                entry.or_insert_with(|| (list.clone(), BTreeSet::new())).1.insert(manifest.id);
            }
            for list in output.hot_table.iter().flat_map(|table| &table.lists) {
                let entry = self.hot_lists.entry(list.object.clone());
                entry.or_insert_with(|| (list.clone(), BTreeSet::new())).1.insert(manifest.id);
            }
            for file in &output.sealed.recent {
                self.add_file(file, manifest.id);
            }
        }
    }

    fn add_section(&mut self, section: &Section, id: u64) {
        // One without bytes stands for no rows.
        if section.length > 0 {
            let key = (section.object.clone(), section.offset, section.length, section.sha256.clone());
            self.sections.entry(key).or_insert_with(|| (section.clone(), BTreeSet::new())).1.insert(id);
        }
    }

    fn add_file(&mut self, file: &SealedFile, id: u64) {
        let entry = self.files.entry(file.path.clone());
        entry.or_insert_with(|| (file.clone(), BTreeSet::new())).1.insert(id);
    }

    async fn read(mut self, store: &Store, public: Option<&Store>, verified: &mut Verified) -> Result<()> {
        for (object, (list, by)) in std::mem::take(&mut self.hot_lists) {
            verified.read += 1;
            match read_hot_runs(store, &list).await {
                Ok(runs) => runs.iter().for_each(|run| by.iter().for_each(|id| self.add_section(&run.section, *id))),
                Err(error) if error.kind() == ErrorKind::Corrupt => verified.note(&object, &by, &error),
                Err(error) => return Err(error),
            }
        }
        for ((object, offset, ..), (section, by)) in &self.sections {
            verified.read += 1;
            verified.bytes += section.length;
            match read_section(store, section).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    verified.note(&format!("{object} at byte {offset}"), by, &error);
                }
                Err(error) => return Err(error),
            }
        }
        for (object, (list, by)) in std::mem::take(&mut self.lists) {
            verified.read += 1;
            match read_list(store, &list).await {
                Ok(files) => files.iter().for_each(|file| by.iter().for_each(|id| self.add_file(file, *id))),
                Err(error) if error.kind() == ErrorKind::Corrupt => verified.note(&object, &by, &error),
                Err(error) => return Err(error),
            }
        }
        for (path, (file, by)) in &self.files {
            if file.checkpoints.is_some() {
                verified.read += 1;
                match FileRuns::read(store, file).await {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        verified.note(&format!("what lies beside {path}"), by, &error);
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(public) = public else { continue };
            verified.read += 1;
            verified.bytes += file.bytes;
            if let Some(detail) = other_file(public, file).await? {
                verified.findings.push(Finding {
                    object: format!("{}/{path}", public.url().trim_end_matches('/')),
                    detail,
                    needed_by: by.clone(),
                });
            }
        }
        Ok(())
    }
}

/// In what a public file differs from what the manifest says of it.
async fn other_file(public: &Store, file: &SealedFile) -> Result<Option<String>> {
    let Some(bytes) = public.get(&Path::from(file.path.as_str())).await? else {
        return Ok(Some("it is missing".to_owned()));
    };
    if bytes.len() as u64 != file.bytes {
        return Ok(Some(format!("it has {} bytes, it was written with {}", bytes.len(), file.bytes)));
    }
    let Some(expected) = &file.sha256 else { return Ok(None) };
    let found = sha256(&bytes);
    Ok((found != *expected).then(|| format!("it has SHA-256 {found}, it was written with {expected}")))
}

/// The public files that a checkpoint lists, under all names, or is about to write.
///
/// # Errors
/// `Corrupt` where a list of them is damaged, `Unavailable`.
pub(super) async fn public_files(store: &Store, manifest: &Manifest) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for output in manifest.outputs.values() {
        files.extend(read_sealed_files(store, &output.sealed).await?.into_iter().map(|file| file.path));
        files.extend(output.intents.iter().flat_map(|intent| &intent.files).map(|file| file.path.clone()));
    }
    Ok(files)
}

#[cfg(test)]
pub(super) mod tests;
