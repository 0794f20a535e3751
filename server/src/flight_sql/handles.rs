//! What the server remembers for a client between two calls: tickets and prepared statements.
//!
//! A handle is 256 random bits, works for the caller it was made for and for nobody else, and is forgotten some time
//! after it was last used: clients go away without saying so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::auth::{Principal, random_bytes};
use crate::error::{Error, Result};

/// How often forgotten handles are swept out, at most.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Handles<T> {
    entries: Mutex<Entries<T>>,
    ttl: Duration,
    max: usize,
}

#[derive(Debug)]
struct Entries<T> {
    by_handle: HashMap<Bytes, Entry<T>>,
    swept: Instant,
}

#[derive(Debug)]
struct Entry<T> {
    owner: Arc<str>,
    value: Arc<T>,
    expires: Instant,
}

impl<T> Handles<T> {
    /// `max`: entries at once. `ttl`: since the last use.
    pub fn new(max: usize, ttl: Duration) -> Self {
        Handles { entries: Mutex::new(Entries { by_handle: HashMap::new(), swept: Instant::now() }), ttl, max }
    }

    /// # Errors
    /// `OverBudget` if too many are alive.
    pub fn insert(&self, owner: &Principal, value: T) -> Result<Bytes> {
        let handle = Bytes::copy_from_slice(&random_bytes::<32>()?);
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.by_handle.len() >= self.max || now > entries.swept + SWEEP {
            entries.by_handle.retain(|_, entry| entry.expires > now);
            entries.swept = now;
        }
        if entries.by_handle.len() >= self.max {
            return Err(Error::over_budget(format!("{} statements are open", self.max))
                .hint("close statements that are no longer used"));
        }
        let entry = Entry { owner: Arc::clone(&owner.name), value: Arc::new(value), expires: now + self.ttl };
        entries.by_handle.insert(handle.clone(), entry);
        Ok(handle)
    }

    /// `None` for one that is unknown, expired, or another caller's: the three look the same from outside.
    pub fn get(&self, owner: &Principal, handle: &[u8]) -> Option<Arc<T>> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        let entry =
            entries.by_handle.get_mut(handle).filter(|entry| entry.owner == owner.name && entry.expires > now)?;
        entry.expires = now + self.ttl;
        Some(Arc::clone(&entry.value))
    }

    pub fn remove(&self, owner: &Principal, handle: &[u8]) -> Option<Arc<T>> {
        let value = self.get(owner, handle)?;
        self.entries.lock().by_handle.remove(handle);
        Some(value)
    }

    pub fn len(&self) -> usize {
        self.entries.lock().by_handle.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
