//! Files in the public folders of a query that its checkpoint does not name: outside readers see their rows, and no checkpoint knows them.
//!
//! They come of state that was lost or set back, of a server that was woken after its files had been deleted, of hands. They are counted and
//! named; nothing is moved or deleted.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;

use super::paths::{CHANGES, DEAD_LETTER_LEDGER, LATE_LEDGER, QueryPaths};
use crate::error::Result;
use crate::store::Store;
use crate::tables::SealedFile;

/// Objects that one look goes through at most, all folders together: a hundred requests to S3.
const LISTED_MAX: u64 = 100_000;

/// Unknown files that are kept by name while a look lasts. With more the rest is counted only.
const UNKNOWN_MAX: usize = 1_000;

/// Strangers that are named.
const EXAMPLES: usize = 3;

/// The files that a query has in the public store: those that its checkpoint lists, and those that it intends.
#[derive(Debug, Clone, Default)]
pub struct NamedFiles {
    pub sealed: Vec<Arc<[Arc<SealedFile>]>>,
    pub intended: Vec<String>,
}

impl NamedFiles {
    fn paths(&self) -> HashSet<&str> {
        let sealed = self.sealed.iter().flat_map(|files| files.iter()).map(|file| file.path.as_str());
        sealed.chain(self.intended.iter().map(String::as_str)).collect()
    }
}

/// What a look has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strangers {
    pub count: u64,
    /// A few of them, as paths in the public store.
    pub examples: Vec<String>,
    /// Objects that were looked at.
    pub listed: u64,
    /// There are more than a look goes through; what is beyond is not known.
    pub is_cut: bool,
}

/// Looks through the view's folders and those of the ledgers. `named`: the files as they stand when it is called, which may change meanwhile.
///
/// One listing of each folder, of at most 100,000 objects together.
///
/// # Errors
/// `Unavailable` where the store does not answer.
pub async fn find_strangers(
    public: &Store,
    paths: &QueryPaths,
    query: &str,
    named: impl Fn() -> NamedFiles,
) -> Result<Strangers> {
    find_within(public, paths, query, named, LISTED_MAX).await
}

pub(super) async fn find_within(
    public: &Store,
    paths: &QueryPaths,
    query: &str,
    named: impl Fn() -> NamedFiles,
    listed_max: u64,
) -> Result<Strangers> {
    let mut found = Strangers::default();
    let (mut unknown, mut uncounted) = (Vec::new(), 0);
    {
        let named = named();
        let known = named.paths();
        for output in [query, CHANGES, LATE_LEDGER, DEAD_LETTER_LEDGER] {
            let folder = Path::from(paths.folder(output));
            let mut listing = public.objects().list(Some(&folder));
            loop {
                let next = listing.try_next().await.map_err(|error| public.failed("list", &folder, error))?;
                let Some(object) = next else { break };
                if found.listed == listed_max {
                    found.is_cut = true;
                    break;
                }
                found.listed += 1;
                let path = object.location;
                if !paths.is_sealed_file(&path) || known.contains(path.as_ref()) {
                    continue;
                }
                if unknown.len() < UNKNOWN_MAX { unknown.push(path.to_string()) } else { uncounted += 1 }
            }
        }
    }
    // What was written meanwhile is named by now: a checkpoint intends each file before its first byte.
    let named = named();
    let known = named.paths();
    unknown.retain(|path| !known.contains(path.as_str()));
    found.count = unknown.len() as u64 + uncounted;
    unknown.truncate(EXAMPLES);
    found.examples = unknown;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use object_store::memory::InMemory;
    use uuid::Uuid;

    use super::*;
    use crate::checkpoint::Generation;

    fn sealed(path: String) -> SealedFile {
        SealedFile { path, bytes: 1, rows: 1, checkpoints: None, sha256: None, times: Default::default() }
    }

    #[tokio::test]
    async fn strangers_are_the_files_of_a_query_that_nothing_names_in_any_of_its_folders() -> Result<()> {
        let public = Store::over(Arc::new(InMemory::new()), "memory://");
        let (paths, by) = (QueryPaths::new("v"), Generation { number: 3, instance: Uuid::nil() });
        let file = |output: &str, seal| paths.sealed_file(output, "2026-01-01", by, seal, 0);
        let others = QueryPaths::new("v-2").sealed_file(LATE_LEDGER, "2026-01-01", by, 1, 0);
        let all = [file("v", 1), file("v", 2), file("v", 3), file(LATE_LEDGER, 4), others, "v/notes.txt".to_owned()];
        for path in &all {
            public.put(&Path::from(path.as_str()), Bytes::from_static(b"x")).await?;
        }
        let named = NamedFiles { sealed: vec![[Arc::new(sealed(file("v", 1)))].into()], intended: vec![file("v", 2)] };
        let found = find_strangers(&public, &paths, "v", || named.clone()).await?;
        let expected = vec![file("v", 3), file(LATE_LEDGER, 4)];
        assert_eq!(found, Strangers { count: 2, examples: expected, listed: 6, is_cut: false });

        // Two of them are named while the look lasts.
        let looks = Cell::new(0);
        let meanwhile = || {
            looks.set(looks.get() + 1);
            let later = if looks.get() > 1 { vec![file("v", 3)] } else { vec![] };
            NamedFiles { sealed: named.sealed.clone(), intended: [named.intended.clone(), later].concat() }
        };
        let found = find_strangers(&public, &paths, "v", meanwhile).await?;
        assert_eq!((found.count, found.examples), (1, vec![file(LATE_LEDGER, 4)]));

        let found = find_within(&public, &paths, "v", || named.clone(), 2).await?;
        assert_eq!((found.listed, found.is_cut), (2, true));
        Ok(())
    }
}
