//! What the server remembers for a client between two calls: tickets and prepared statements.
//!
//! A handle is 256 random bits, works for the caller it was made for and for nobody else, and is forgotten some time
//! after it was last used: clients go away without saying so. A caller who makes more than he may have loses those that
//! he has not used for longest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::auth::{Principal, random_bytes};
use super::kept::{Bounds, Kept};
use crate::error::Result;

type Handle = [u8; 32];

#[derive(Debug)]
pub struct Handles<T> {
    entries: Mutex<Kept<Handle, Arc<T>>>,
}

impl<T> Handles<T> {
    /// `entries_max`, `bytes_max`: of one caller. `ttl`: since the last use.
    pub fn new(entries_max: usize, bytes_max: usize, ttl: Duration) -> Self {
        let bounds = Bounds { entries_max, bytes_max, idle: ttl };
        Handles { entries: Mutex::new(Kept::new(bounds, |value| Arc::strong_count(value) > 1, Instant::now())) }
    }

    /// `bytes`: what the value takes, roughly.
    ///
    /// # Errors
    /// `Unavailable` if the operating system gives no random numbers.
    pub fn insert(&self, owner: &Principal, value: T, bytes: usize) -> Result<Bytes> {
        let handle: Handle = random_bytes()?;
        self.entries.lock().insert(&owner.name, handle, Arc::new(value), bytes, Instant::now());
        Ok(Bytes::copy_from_slice(&handle))
    }

    /// `None` for one that is unknown, forgotten, or another caller's: the three look the same from outside.
    pub fn get(&self, owner: &Principal, handle: &[u8]) -> Option<Arc<T>> {
        let handle = Handle::try_from(handle).ok()?;
        let mut entries = self.entries.lock();
        let (name, value) = entries.get(&handle, Instant::now())?;
        (*name == owner.name).then(|| Arc::clone(value))
    }

    /// A value of the caller's has become larger or smaller.
    pub fn resize(&self, owner: &Principal, handle: &[u8], bytes: usize) {
        if self.get(owner, handle).is_some()
            && let Ok(handle) = Handle::try_from(handle)
        {
            self.entries.lock().resize(&handle, bytes);
        }
    }

    pub fn remove(&self, owner: &Principal, handle: &[u8]) -> Option<Arc<T>> {
        self.get(owner, handle)?;
        self.entries.lock().remove(&Handle::try_from(handle).ok()?)
    }

    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
