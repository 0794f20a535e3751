//! Which start of the server this is: each claims the next number, so that the newest can tell itself from the others.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::create::{Placed, Retry, create_once};
use super::{manifest::uuid_text, paths};
use crate::error::{Error, Result};
use crate::store::Store;

/// Starts that may race for a number before this one gives up.
const CLAIM_ATTEMPTS: u32 = 64;

/// One start of a server: a number that only grows, and an id that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    pub number: u64,
    pub instance: Uuid,
}

#[derive(Serialize, Deserialize)]
struct Claim {
    #[serde(with = "uuid_text")]
    instance: Uuid,
    engine_version: String,
}

impl Generation {
    /// Claims the next free generation of a store. Claims are never deleted, so a number is given once.
    ///
    /// # Errors
    /// `Unavailable` where the store does not answer.
    pub async fn claim(store: &Store) -> Result<Generation> {
        Self::claim_with(store, Retry::default()).await
    }

    pub(super) async fn claim_with(store: &Store, retry: Retry) -> Result<Generation> {
        let instance = Uuid::new_v4();
        let claim = Claim { instance, engine_version: env!("CARGO_PKG_VERSION").to_owned() };
        let body = serde_json::to_vec(&claim).map_err(|error| Error::bug("a claim is not JSON").caused_by(error))?;
        let body = Bytes::from(body);
        let taken = store.list(&paths::generations()).await?;
        let highest = taken.iter().filter_map(paths::generation_number).max().unwrap_or(0);
        for number in (highest + 1..).take(CLAIM_ATTEMPTS as usize) {
            match create_once(store, &paths::generation(number), &body, retry).await? {
                Placed::Ours => return Ok(Generation { number, instance }),
                Placed::Other(_) => {}
            }
        }
        Err(Error::unavailable("cannot claim a server generation")
            .detail(format!("{CLAIM_ATTEMPTS} other servers were faster at {}", store.url()))
            .hint("look for servers that restart in a loop on the same storage"))
    }
}
