//! What a version of a query means, in words, beside its checkpoints: whoever finds another version there can say what has changed. And the
//! files that it was defined in, so that it can run on when these have come to mean something else.
//!
//! Nothing depends on them: what is missing or damaged is written again by the next start of its version.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::manifest::{Manifest, corrupt};
use super::paths::QueryPaths;
use super::sha256;
use super::standing::{later_chains, newest_readable};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// Keeps what a version means, unless it is there. `version`: its name, as manifests bear it.
///
/// # Errors
/// `Unavailable`.
pub async fn keep_definition(store: &Store, query: &str, version: &str, meaning: &str) -> Result<()> {
    keep(store, &QueryPaths::new(query).definition(version), meaning).await
}

/// A file of definitions as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionFile {
    pub name: String,
    pub text: String,
}

/// Keeps the files that a version is defined in, as they are now. Those of one that has run before may have changed without a change of
/// what they mean.
///
/// # Errors
/// `Unavailable`.
pub async fn keep_definition_files(store: &Store, query: &str, version: &str, files: &[DefinitionFile]) -> Result<()> {
    let text = serde_json::to_string(files)
        .map_err(|error| Error::bug("the files of a definition are not JSON").caused_by(error))?;
    keep(store, &QueryPaths::new(query).definition_files(version), &text).await
}

/// The files that the version of a manifest was defined in; `None` where an older server has not kept them.
///
/// # Errors
/// `Corrupt`, `Unavailable`.
pub async fn definition_files_of(store: &Store, manifest: &Manifest) -> Result<Option<Vec<DefinitionFile>>> {
    let key = QueryPaths::new(&manifest.query).definition_files(&manifest.fingerprint);
    let Some(text) = read_definition(store, &key).await? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| corrupt(key.as_ref()).detail(error.to_string()))
}

async fn keep(store: &Store, key: &Path, text: &str) -> Result<()> {
    match read_definition(store, key).await {
        Ok(Some(found)) if found == text => Ok(()),
        Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
        _ => store.put(key, Bytes::from(format!("{}\n{text}", sha256(text.as_bytes())))).await,
    }
}

/// What the version that a manifest is of means; `None` where that is not kept.
///
/// # Errors
/// `Corrupt`, `Unavailable`.
pub async fn definition_of(store: &Store, manifest: &Manifest) -> Result<Option<String>> {
    read_definition(store, &QueryPaths::new(&manifest.query).definition(&manifest.fingerprint)).await
}

pub(super) async fn read_definition(store: &Store, key: &Path) -> Result<Option<String>> {
    let Some(bytes) = store.get(key).await? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).map_err(|error| corrupt(key.as_ref()).detail(error.to_string()))?;
    match text.split_once('\n') {
        Some((hash, meaning)) if sha256(meaning.as_bytes()) == hash => Ok(Some(meaning.to_owned())),
        _ => Err(corrupt(key.as_ref()).detail("it does not begin with the hash of what follows")),
    }
}

/// The newest checkpoint among those of a view's other chains than `chain`.
///
/// # Errors
/// `Unavailable`.
pub async fn version_before(store: &Store, view: &str, chain: &str) -> Result<Option<Manifest>> {
    let mut names = later_chains(store, view).await?;
    names.push(view.to_owned());
    let mut newest: Option<Manifest> = None;
    for name in names.iter().filter(|name| *name != chain) {
        let found = newest_readable(store, name).await?;
        // A wall clock may have been set back between two starts; their generations only count up.
        newest = newest.into_iter().chain(found).max_by_key(|manifest| (manifest.generation, manifest.created_at));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::checkpoint::{Chain, Generation};
    use crate::clock::Clock;

    #[tokio::test]
    async fn the_version_before_is_that_of_the_newest_checkpoint_and_says_what_it_meant() {
        let store = Store::over(Arc::new(InMemory::new()), "memory://");
        let by = Generation::claim(&store).await.unwrap();
        assert_eq!(version_before(&store, "v", "v").await.unwrap(), None);
        for (name, version, at) in [("v", "a", 5), ("v-00000001", "b", 9), ("v-00000002", "c", 7)] {
            Chain::open(&store, name, by, version, &Clock::manual(at)).await.unwrap();
            keep_definition(&store, name, version, &format!("meaning of {version}\n")).await.unwrap();
        }
        let before = version_before(&store, "v", "v-00000003").await.unwrap().unwrap();
        assert_eq!(definition_of(&store, &before).await.unwrap().as_deref(), Some("meaning of b\n"));
        assert_eq!(version_before(&store, "v", "v-00000001").await.unwrap().unwrap().query, "v-00000002");

        let files = [DefinitionFile { name: "queries/v.sql".to_owned(), text: "SELECT '\n';".to_owned() }];
        assert_eq!(definition_files_of(&store, &before).await.unwrap(), None);
        keep_definition_files(&store, "v-00000001", "b", &files).await.unwrap();
        assert_eq!(definition_files_of(&store, &before).await.unwrap().as_deref(), Some(&files[..]));

        // Damage is found, and mended by the version itself.
        let key = QueryPaths::new("v-00000001").definition("b");
        store.put(&key, Bytes::from("meaning of nothing\n")).await.unwrap();
        assert_eq!(definition_of(&store, &before).await.unwrap_err().kind(), ErrorKind::Corrupt);
        keep_definition(&store, "v-00000001", "b", "meaning of b\n").await.unwrap();
        assert!(definition_of(&store, &before).await.unwrap().is_some());
    }
}
