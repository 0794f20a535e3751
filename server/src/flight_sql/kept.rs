//! What the server keeps for its clients between two calls, within bounds for each owner: what was not used for longest
//! goes first. So nobody is ever refused, and nobody can push out what is another's. No clock here: the caller says
//! what time it is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How often what has been idle for too long is swept out, at most.
const SWEEP: Duration = Duration::from_secs(1);

/// What one owner may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries_max: usize,
    pub(super) bytes_max: usize,
    /// Since the last use; what somebody is at work with is not idle.
    pub(super) idle: Duration,
}

/// See the module's first lines.
pub(super) struct Kept<K, V> {
    bounds: Bounds,
    /// Whether somebody is at work with a value: such ones go last.
    in_use: fn(&V) -> bool,
    entries: HashMap<K, Entry<V>>,
    owners: HashMap<Arc<str>, Owner<K>>,
    /// Counts uses.
    uses: u64,
    swept: Instant,
}

struct Entry<V> {
    owner: Arc<str>,
    value: V,
    bytes: usize,
    used: u64,
    idle_from: Instant,
}

struct Owner<K> {
    by_use: BTreeMap<u64, K>,
    bytes: usize,
}

impl<K, V> fmt::Debug for Kept<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash, V> Kept<K, V> {
    pub(super) fn new(bounds: Bounds, in_use: fn(&V) -> bool, now: Instant) -> Self {
        Kept { bounds, in_use, entries: HashMap::new(), owners: HashMap::new(), uses: 0, swept: now }
    }

    /// `bytes`: what the value takes, as far as it is counted.
    pub(super) fn insert(&mut self, owner: &Arc<str>, key: K, value: V, bytes: usize, now: Instant) {
        if now > self.swept + SWEEP {
            self.sweep(now);
        }
        self.remove(&key);
        self.uses += 1;
        let of_owner = self.owners.entry(Arc::clone(owner));
        let of_owner = of_owner.or_insert_with(|| Owner { by_use: BTreeMap::new(), bytes: 0 });
        of_owner.by_use.insert(self.uses, key.clone());
        of_owner.bytes += bytes;
        let entry = Entry { owner: Arc::clone(owner), value, bytes, used: self.uses, idle_from: now };
        self.entries.insert(key.clone(), entry);
        self.make_room(owner, &key);
    }

    /// The value and its owner; counts as a use.
    pub(super) fn get(&mut self, key: &K, now: Instant) -> Option<(&Arc<str>, &mut V)> {
        if self.is_idle(self.entries.get(key)?, now) {
            self.remove(key);
            return None;
        }
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        if let Some(owner) = self.owners.get_mut(&entry.owner)
            && let Some(key) = owner.by_use.remove(&entry.used)
        {
            owner.by_use.insert(self.uses, key);
        }
        entry.used = self.uses;
        entry.idle_from = now;
        Some((&entry.owner, &mut entry.value))
    }

    /// A value has become larger or smaller.
    pub(super) fn resize(&mut self, key: &K, bytes: usize) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        let owner = Arc::clone(&entry.owner);
        if let Some(of_owner) = self.owners.get_mut(&owner) {
            of_owner.bytes = of_owner.bytes - before + bytes;
        }
        self.make_room(&owner, key);
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        if let Some(owner) = self.owners.get_mut(&entry.owner) {
            owner.by_use.remove(&entry.used);
            owner.bytes -= entry.bytes;
            if owner.by_use.is_empty() {
                self.owners.remove(&entry.owner);
            }
        }
        Some(entry.value)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Lets what was not used for longest go until the owner is within its bounds. `newest` stays: it is what is wanted now.
    fn make_room(&mut self, owner: &Arc<str>, newest: &K) {
        while let Some(of_owner) = self.owners.get(owner) {
            let within = of_owner.by_use.len() <= self.bounds.entries_max && of_owner.bytes <= self.bounds.bytes_max;
            if within {
                return;
            }
            let mut others = of_owner.by_use.values().filter(|key| *key != newest);
            let oldest = others.clone().next();
            let free = others.find(|key| self.entries.get(*key).is_some_and(|entry| !(self.in_use)(&entry.value)));
            let Some(key) = free.or(oldest).cloned() else { return };
            self.remove(&key);
        }
    }

    /// For too long.
    fn is_idle(&self, entry: &Entry<V>, now: Instant) -> bool {
        entry.idle_from + self.bounds.idle <= now && !(self.in_use)(&entry.value)
    }

    fn sweep(&mut self, now: Instant) {
        self.swept = now;
        let idle = self.entries.iter().filter(|(_, entry)| self.is_idle(entry, now));
        for key in idle.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Names = Kept<u32, Arc<&'static str>>;

    fn kept(entries_max: usize, bytes_max: usize, now: Instant) -> Names {
        let bounds = Bounds { entries_max, bytes_max, idle: Duration::from_secs(60) };
        Kept::new(bounds, |value| Arc::strong_count(value) > 1, now)
    }

    fn there(kept: &Names) -> Vec<u32> {
        let mut keys: Vec<u32> = kept.entries.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_only_its_owners() {
        let now = Instant::now();
        let mut kept = kept(2, 100, now);
        let (ana, ben): (Arc<str>, Arc<str>) = (Arc::from("ana"), Arc::from("ben"));
        kept.insert(&ben, 9, Arc::new("b"), 1, now);
        kept.insert(&ana, 1, Arc::new("a"), 1, now);
        kept.insert(&ana, 2, Arc::new("a"), 1, now);
        assert!(kept.get(&1, now).is_some_and(|(owner, _)| **owner == *"ana"));
        kept.insert(&ana, 3, Arc::new("a"), 1, now);
        assert_eq!(there(&kept), [1, 3, 9]);
        assert!(kept.get(&2, now).is_none());
    }

    #[test]
    fn bytes_are_a_bound_too_and_the_newest_always_stays() {
        let now = Instant::now();
        let mut kept = kept(10, 100, now);
        let ana: Arc<str> = Arc::from("ana");
        for key in 1..=3 {
            kept.insert(&ana, key, Arc::new("a"), 30, now);
        }
        kept.resize(&3, 60);
        assert_eq!(there(&kept), [2, 3]);
        kept.insert(&ana, 4, Arc::new("a"), 1_000, now);
        assert_eq!(there(&kept), [4]);
        assert!(kept.remove(&4).is_some());
        assert!(kept.owners.is_empty(), "nothing is left of an owner who has nothing");
    }

    #[test]
    fn what_somebody_works_with_goes_last() {
        let now = Instant::now();
        let mut kept = kept(2, 100, now);
        let ana: Arc<str> = Arc::from("ana");
        let busy = Arc::new("busy");
        kept.insert(&ana, 1, Arc::clone(&busy), 1, now);
        kept.insert(&ana, 2, Arc::new("idle"), 1, now);
        kept.insert(&ana, 3, Arc::new("new"), 1, now);
        assert_eq!(there(&kept), [1, 3]);
        let also = kept.get(&3, now).map(|(_, value)| Arc::clone(value));
        kept.insert(&ana, 4, Arc::new("new"), 1, now);
        assert_eq!(there(&kept), [3, 4], "if all are in use, the oldest");
        drop(also);
    }

    #[test]
    fn what_is_idle_for_too_long_is_forgotten_whoever_asks() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut kept = kept(10, 100, start);
        let ana: Arc<str> = Arc::from("ana");
        kept.insert(&ana, 1, Arc::new("a"), 1, start);
        kept.insert(&ana, 2, Arc::new("a"), 1, start);
        kept.insert(&ana, 3, Arc::new("a"), 1, start);
        assert!(kept.get(&1, after(40)).is_some());
        assert!(kept.get(&2, after(80)).is_none());
        kept.insert(&ana, 4, Arc::new("a"), 1, after(80));
        assert_eq!(there(&kept), [1, 4], "the third went without being asked for");
    }

    /// As a ticket whose rows are being sent: it is used once, and can be cancelled until the last of them.
    #[test]
    fn what_somebody_works_with_is_not_idle() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut kept = kept(10, 100, start);
        let ana: Arc<str> = Arc::from("ana");
        let busy = Arc::new("busy");
        kept.insert(&ana, 1, Arc::clone(&busy), 1, start);
        kept.insert(&ana, 2, Arc::new("a"), 1, after(80));
        assert!(kept.get(&1, after(160)).is_some());
        drop(busy);
        assert!(kept.get(&1, after(240)).is_none());
    }
}
