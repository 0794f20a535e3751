//! Going back behind damage: what of a checkpoint cannot be read, from which older one its state can be computed again, and at which
//! cuts the input has to be read for that. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::chain::{list_ids, read_boundary};
use super::manifest::{Manifest, Section};
use super::paths::QueryPaths;
use super::read_section;
use super::sealed::read_list;
use super::standing::{read_kept, read_manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// What of a checkpoint is damaged or missing, its manifest being whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Objects that hold state.
    pub state: BTreeSet<String>,
    /// Rows that are in no public file yet, by output: the checkpoints that have brought them.
    pub rows: BTreeMap<String, BTreeSet<u64>>,
    /// Rows that are named for a hot table alone, by output: the newest checkpoint of those that cannot be read. A table that lacks one of
    /// them can be made anew of what the view holds.
    pub hot: BTreeMap<String, u64>,
    /// What reading the input again does not bring back, as what is said of it.
    pub lost: Vec<String>,
}

impl Damage {
    pub fn is_empty(&self) -> bool {
        self.hot.is_empty() && self.leaves_state_and_rows()
    }

    /// State and rows are whole: nothing has to be computed again.
    pub fn leaves_state_and_rows(&self) -> bool {
        self.state.is_empty() && self.rows.is_empty() && self.lost.is_empty()
    }

    fn words(&self) -> String {
        let state = (!self.state.is_empty())
            .then(|| format!("state in {}", self.state.iter().map(String::as_str).collect::<Vec<_>>().join(", ")));
        let rows = self.rows.iter().map(|(output, ids)| {
            let ids: Vec<u64> = ids.iter().copied().collect();
            format!("rows of {output:?} of checkpoints {}", super::ranges(&ids))
        });
        state.into_iter().chain(rows).chain(self.lost.iter().cloned()).collect::<Vec<_>>().join("; ")
    }
}

/// Where to go on from instead, and over which cuts of the input.
#[derive(Debug)]
pub struct Fallback {
    /// Its state is whole.
    pub base: Manifest,
    /// The manifests behind it that are there, ascending; the last is the damaged checkpoint itself.
    pub cuts: Vec<Manifest>,
}

/// Sections that have been looked at, and whether they were whole: checkpoints share most of their state.
#[derive(Default)]
struct Looked(HashMap<(String, u64, String), bool>);

impl Looked {
    async fn is_whole(&mut self, store: &Store, section: &Section) -> Result<bool> {
        let key = (section.object.clone(), section.offset, section.sha256.clone());
        if let Some(whole) = self.0.get(&key) {
            return Ok(*whole);
        }
        let whole = match read_section(store, section).await {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::Corrupt => false,
            Err(error) => return Err(error),
        };
        self.0.insert(key, whole);
        Ok(whole)
    }
}

/// Reads everything that a checkpoint needs to be gone on from.
///
/// # Errors
/// `Unavailable`.
pub async fn damage_of(store: &Store, manifest: &Manifest) -> Result<Damage> {
    let mut looked = Looked::default();
    let mut damage = Damage::default();
    for segment in manifest.operators.iter().flat_map(|operator| &operator.segments) {
        if !looked.is_whole(store, &segment.section).await? {
            damage.state.insert(segment.section.object.clone());
        }
    }
    for (name, output) in &manifest.outputs {
        for entry in &output.tail {
            if !looked.is_whole(store, &entry.section).await? {
                damage.rows.entry(name.clone()).or_default().insert(entry.checkpoint);
            }
        }
        // Those that the tail has as well come back with it.
        let in_tail = |section: &Section| output.tail.iter().any(|entry| entry.section == *section);
        let entries = output.hot.iter().filter(|entry| !in_tail(&entry.section));
        let entries = entries.map(|entry| (entry.checkpoint, &entry.section));
        for (to, section) in entries.chain(output.hot_runs.iter().map(|run| (run.to, &run.section))) {
            if !looked.is_whole(store, section).await? {
                let newest = damage.hot.entry(name.clone()).or_default();
                *newest = to.max(*newest);
            }
        }
        for early in output.early.iter().flat_map(|early| &early.sections) {
            if !looked.is_whole(store, &early.section).await? {
                damage.lost.push(format!("rows of {name:?} that may still change, in {}", early.section.object));
            }
        }
        for list in &output.sealed.indexes {
            match read_list(store, list).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    damage.lost.push(format!("the list of public files {}", list.object));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(damage)
}

/// The newest older checkpoint from which `head` can be computed again: its state is whole, and where rows of a checkpoint have to come
/// back, both ends of what that checkpoint had read are known.
///
/// # Errors
/// `Corrupt` where there is none, with what is damaged; `Unavailable`.
pub async fn fall_back(store: &Store, head: &Manifest, damage: &Damage) -> Result<Fallback> {
    let cannot = |why: &str| {
        Error::corrupt(format!("checkpoint {} of query {:?} is damaged and cannot be computed again", head.id, head.query))
            .detail(format!("{}; {why}", damage.words()))
            .hint(format!(
                "`touchline state verify {}` names the objects: restore them from a backup; or give the checkpoints behind an older \
                 one up with `touchline state drop {} --from N`",
                head.query, head.query
            ))
    };
    if !damage.lost.is_empty() {
        return Err(cannot("reading the input again does not bring that back"));
    }
    let paths = QueryPaths::new(&head.query);
    let mut older = BTreeMap::new();
    let boundary = read_boundary(store, &paths).await?;
    for id in list_ids(store, &paths, boundary).await?.into_iter().filter(|id| *id < head.id) {
        older.extend(readable(read_manifest(store, &paths, id).await)?.map(|manifest| (id, manifest)));
    }
    for key in store.list(&paths.all_kept()).await? {
        let Some(id) = QueryPaths::manifest_id(&key).filter(|id| *id < head.id) else { continue };
        if !older.contains_key(&id) {
            older.extend(readable(read_kept(store, &paths, id).await)?.map(|manifest| (id, manifest)));
        }
    }
    let needed: BTreeSet<u64> = damage.rows.values().flatten().copied().collect();
    let known = |id: &u64| *id == head.id || older.contains_key(id);
    if let Some(id) = needed.iter().find(|id| !known(id) || !known(&(*id).saturating_sub(1))) {
        return Err(cannot(&format!(
            "what checkpoint {id} had read is not known any more, its manifest is cleaned up"
        )));
    }
    let mut looked = Looked::default();
    'bases: for (id, base) in older.iter().rev() {
        if needed.first().is_some_and(|first| first <= id) {
            continue;
        }
        for segment in base.operators.iter().flat_map(|operator| &operator.segments) {
            if !looked.is_whole(store, &segment.section).await? {
                continue 'bases;
            }
        }
        let cuts = older.range(id + 1..).map(|(_, manifest)| manifest.clone()).chain([head.clone()]).collect();
        return Ok(Fallback { base: base.clone(), cuts });
    }
    Err(cannot("no older checkpoint that is kept has its state whole"))
}

/// What cannot be read is no step on the way.
fn readable(found: Result<Option<Manifest>>) -> Result<Option<Manifest>> {
    match found {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        other => other,
    }
}
