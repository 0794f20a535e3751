//! Which chain a version of a view goes on from, found out before anything is written.
//!
//! The first version of a view has a chain under the view's own name, a later one under the name with the first digits of its version
//! behind it. Versions were named in another way before, so a chain can also have its digits from that.
//!
//! What cannot be read is never taken for another version's: that would begin anew beside state that is there.

use object_store::path::Path;

use super::chain::{list_ids, read_boundary};
use super::manifest::{Manifest, corrupt};
use super::paths::QueryPaths;
use crate::catalog::QueryVersion;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// Manifests that are looked at where the newest cannot be read.
const LOOKED_AT: usize = 16;

/// How a version of a query stands to a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// No manifest is there.
    Empty,
    Own,
    Another,
}

/// The name of the chain that this version of a view goes on from, or begins.
///
/// # Errors
/// `Corrupt` where it is this version's as far as can be seen, and its newest manifest is damaged or of a newer format; `Unavailable`.
pub async fn chain_of(store: &Store, view: &str, version: &QueryVersion) -> Result<String> {
    let (first, later) = (view.to_owned(), format!("{view}-{}", version.short()));
    let of_first = standing(store, &first, version, true).await?;
    if of_first == Standing::Own {
        return Ok(first);
    }
    let former = format!("{view}-{}", version.former_short());
    for name in [&later, &former] {
        if standing(store, name, version, true).await? == Standing::Own {
            return Ok(name.clone());
        }
    }
    for name in later_chains(store, view).await? {
        if name != later && name != former && standing(store, &name, version, false).await? == Standing::Own {
            return Ok(name);
        }
    }
    // Only now: where the first version has been given up, a later one has a chain all the same.
    Ok(if of_first == Standing::Empty { first } else { later })
}

/// `by_name`: that nothing of it can be read is an error, because its name may be this version's. Of any other chain it says nothing.
async fn standing(store: &Store, query: &str, version: &QueryVersion, by_name: bool) -> Result<Standing> {
    let paths = QueryPaths::new(query);
    let boundary = read_boundary(store, &paths).await?;
    let ids = list_ids(store, &paths, boundary).await?;
    let mut unread: Option<Error> = None;
    for id in ids.iter().rev().take(LOOKED_AT) {
        match read_manifest(store, &paths, *id).await {
            Ok(Some(manifest)) => {
                return match (manifest.is_of(version), unread) {
                    (Ok(false), _) => Ok(Standing::Another),
                    (Ok(true), None) => Ok(Standing::Own),
                    (Ok(true), Some(error)) => Err(error),
                    (Err(error), _) if by_name => Err(error),
                    (Err(_), _) => Ok(Standing::Another),
                };
            }
            // Clean-up, or an operator, was faster.
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => unread = unread.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match unread {
        Some(error) if by_name => Err(error),
        Some(_) => Ok(Standing::Another),
        None => Ok(Standing::Empty),
    }
}

/// A manifest by its id; `None` where there is none.
///
/// # Errors
/// `Corrupt`, also where it is another query's or another id's; `Unavailable`.
pub(super) async fn read_manifest(store: &Store, paths: &QueryPaths, id: u64) -> Result<Option<Manifest>> {
    read_at(store, &paths.manifest(id), id).await
}

/// As [`read_manifest`], of one that is kept for falling back.
pub(super) async fn read_kept(store: &Store, paths: &QueryPaths, id: u64) -> Result<Option<Manifest>> {
    read_at(store, &paths.kept(id), id).await
}

async fn read_at(store: &Store, key: &Path, id: u64) -> Result<Option<Manifest>> {
    Ok(read_with_hash(store, key, id).await?.map(|(manifest, _)| manifest))
}

/// As [`read_manifest`], of the object with this name, with its hash as it is stored: an older format is written anew with another one.
pub(super) async fn read_with_hash(store: &Store, key: &Path, id: u64) -> Result<Option<(Manifest, String)>> {
    let Some(bytes) = store.get(key).await? else { return Ok(None) };
    let (manifest, hash) = Manifest::decode(&bytes, key.as_ref())?;
    match manifest.id == id {
        true => Ok(Some((manifest, hash))),
        false => Err(corrupt(key.as_ref()).detail(format!("it is checkpoint {} and not {id}", manifest.id))),
    }
}

/// The newest manifest of a chain that can be read.
///
/// # Errors
/// `Unavailable`.
pub(super) async fn newest_readable(store: &Store, query: &str) -> Result<Option<Manifest>> {
    let paths = QueryPaths::new(query);
    let boundary = read_boundary(store, &paths).await?;
    for id in list_ids(store, &paths, boundary).await?.into_iter().rev().take(LOOKED_AT) {
        match read_manifest(store, &paths, id).await {
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            other => return other,
        }
    }
    Ok(None)
}

/// The names of a view's chains that are not its first, sorted.
pub(super) async fn later_chains(store: &Store, view: &str) -> Result<Vec<String>> {
    let first = QueryPaths::new(view);
    let names = QueryPaths::folders(store).await?.into_iter().filter_map(|other| {
        let digits = other.strip_prefix(first.name())?.strip_prefix('-')?;
        let is_version = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_version.then(|| format!("{view}-{digits}"))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
