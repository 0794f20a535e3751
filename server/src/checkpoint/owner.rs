//! Whose a public folder is: two servers with different state, or one whose state was lost, would write the same rows into it again.
//!
//! An object beside the folders names the state store that a query's files belong to. It is created once and never changed, before the
//! first file is written; whoever finds another name there writes nothing. A folder with files that the checkpoint does not name belongs to
//! another state as well, whatever the object says: to one that was set back, or to a chain that was removed.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::create::{Placed, Retry, create_once};
use super::manifest::uuid_text;
use super::paths;
use super::strangers::Strangers;
use super::{QueryPaths, public_folder};
use crate::error::{Error, Result};
use crate::store::Store;

/// What the object says. Fields of later versions are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Of [`state_store_id`]: with `query` it names the chain whose checkpoints list the files.
    #[serde(with = "uuid_text")]
    pub state_store: Uuid,
    /// Where that was when the folder was taken, for people.
    pub state_url: String,
    /// The name in the chain: the view's, for a later version with its fingerprint behind.
    pub query: String,
    /// The fingerprint that the query had when the folder was taken, for people: it can be spelled anew while the query goes on.
    pub version: String,
    pub folder: String,
    /// The start of a server that took it.
    #[serde(with = "uuid_text")]
    pub instance: Uuid,
    pub engine_version: String,
}

impl Owner {
    pub fn new(state: &Store, state_store: Uuid, query: &str, version: &str, instance: Uuid) -> Self {
        Owner {
            state_store,
            state_url: state.url().to_owned(),
            query: query.to_owned(),
            version: version.to_owned(),
            folder: public_folder(query),
            instance,
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn is_same(&self, other: &Owner) -> bool {
        (self.state_store, &self.query) == (other.state_store, &other.query)
    }

    /// Takes the folder, or finds that it is taken by us. `strangers`: files of this query that its checkpoint does not name.
    ///
    /// # Errors
    /// `Invalid` where it belongs to another state: then nothing may be written into it. `Corrupt` where the object cannot be read,
    /// `Unavailable`.
    pub async fn take(&self, public: &Store, paths: &QueryPaths, strangers: &Strangers) -> Result<()> {
        self.take_with(public, paths, strangers, Retry::default()).await
    }

    pub(super) async fn take_with(
        &self,
        public: &Store,
        paths: &QueryPaths,
        strangers: &Strangers,
        retry: Retry,
    ) -> Result<()> {
        let key = paths.owner();
        let found = public.get(&key).await?.map(|bytes| read(public, &key, &bytes)).transpose()?;
        match judge(found, self, strangers) {
            Verdict::Ours => Ok(()),
            Verdict::Other(other) => Err(self.belongs_to(&other, public, &key)),
            Verdict::NotEmpty => Err(self.not_empty(public, &key, strangers)),
            Verdict::Free => {
                let body = serde_json::to_vec_pretty(self)
                    .map_err(|error| Error::bug("the owner of a folder is not JSON").caused_by(error))?;
                match create_once(public, &key, &Bytes::from(body), retry).await? {
                    Placed::Ours => Ok(()),
                    Placed::Other(bytes) => {
                        let other = read(public, &key, &bytes)?;
                        if self.is_same(&other) { Ok(()) } else { Err(self.belongs_to(&other, public, &key)) }
                    }
                }
            }
        }
    }

    fn belongs_to(&self, other: &Owner, public: &Store, key: &Path) -> Error {
        let detail = format!(
            "it belongs to query {:?} of the state store {} at {}, which server {} took it for; ours is {} at {}",
            other.query, other.state_store, other.state_url, other.instance, self.state_store, self.state_url
        );
        self.refused(public, key).detail(detail)
    }

    fn not_empty(&self, public: &Store, key: &Path, strangers: &Strangers) -> Error {
        let detail = format!(
            "it holds {} files of the query that its checkpoint does not name, {} among them: of another state store, or written after \
             the checkpoint that this one was restored from; what is read again would be in it twice",
            strangers.count,
            strangers.examples.first().map_or("none", String::as_str),
        );
        self.refused(public, key).detail(detail)
    }

    fn refused(&self, public: &Store, key: &Path) -> Error {
        let root = root(public);
        Error::invalid(format!("query {:?} writes no files into the folder {root}/{}", self.query, self.folder)).hint(
            format!(
                "its rows stay in the tail and can be read; set storage.tables_url to another place, or restore the state that belongs \
                 to the folder, or move the folder, the query's files in the ledgers' folders and {root}/{key} away by hand"
            ),
        )
    }
}

enum Verdict {
    Ours,
    /// Nobody has taken it, and every file in it is one of ours: of a server of before this object, or there are none.
    Free,
    Other(Box<Owner>),
    NotEmpty,
}

fn judge(found: Option<Owner>, ours: &Owner, strangers: &Strangers) -> Verdict {
    match found {
        Some(other) if !ours.is_same(&other) => Verdict::Other(Box::new(other)),
        _ if strangers.count > 0 => Verdict::NotEmpty,
        Some(_) => Verdict::Ours,
        None => Verdict::Free,
    }
}

/// To put a key behind.
fn root(store: &Store) -> &str {
    store.url().strip_suffix('/').unwrap_or(store.url())
}

fn read(public: &Store, key: &Path, bytes: &[u8]) -> Result<Owner> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::corrupt(format!("{}/{key} does not say whose the folder is", root(public)))
            .hint("restore it, or remove it if the folder is this server's")
            .caused_by(error)
    })
}

#[derive(Serialize, Deserialize)]
struct StateStore {
    #[serde(with = "uuid_text")]
    id: Uuid,
}

/// The id of a state store, drawn when it is first used. It moves with the store's content, wherever that is copied or restored to.
///
/// # Errors
/// `Corrupt` where it is there and cannot be read, `Unavailable`.
pub async fn state_store_id(state: &Store) -> Result<Uuid> {
    state_store_id_with(state, Retry::default()).await
}

pub(super) async fn state_store_id_with(state: &Store, retry: Retry) -> Result<Uuid> {
    let key = paths::state_store();
    let id_of = |bytes: &[u8]| match serde_json::from_slice::<StateStore>(bytes) {
        Ok(StateStore { id }) => Ok(id),
        Err(error) => Err(Error::corrupt(format!("{}/{key} is not the id of a state store", state.url()))
            .hint("restore it from where the state was copied from")
            .caused_by(error)),
    };
    if let Some(bytes) = state.get(&key).await? {
        return id_of(&bytes);
    }
    let id = Uuid::new_v4();
    let body = serde_json::to_vec(&StateStore { id })
        .map_err(|error| Error::bug("the id of a state store is not JSON").caused_by(error))?;
    match create_once(state, &key, &Bytes::from(body), retry).await? {
        Placed::Ours => Ok(id),
        Placed::Other(bytes) => id_of(&bytes),
    }
}

#[cfg(test)]
mod tests;
