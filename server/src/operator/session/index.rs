//! The open sessions, by the hash of their key; and when the next of them can close, without a look at the others.
//!
//! An end moves with every row of a session, and where it stands matters only when the watermark comes there. So each key is listed by an
//! end that its first session had once, and listed again when that has passed: at most once for each gap, however many rows there are.

use std::collections::BTreeSet;
use std::ops::Bound;

use hashbrown::HashTable;

use crate::sql::window_session::SessionRule;

/// Rows of one key that follow one another. Where sessions are cut these may be several: the first of them is the first to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    /// Times of the first and the last row.
    pub(super) first: i64,
    pub(super) last: i64,
    /// The first and the last of its rows, as they are linked.
    pub(super) head: u64,
    pub(super) tail: u64,
}

#[derive(Debug, Default)]
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    /// In the order of their times. None: nobody has the place.
    sessions: Vec<Session>,
    /// The end by which it is listed, not later than that of its first session.
    listed: i64,
}

impl Entry {
    fn end(&self, rule: SessionRule) -> Option<i64> {
        self.sessions.first().map(|session| rule.end(session.first, session.last))
    }

    fn heap(&self) -> usize {
        self.key.len() + self.sessions.capacity() * size_of::<Session>()
    }
}

/// Places from which on it is worth while to make the table smaller.
const SHRINK_FROM: usize = 1024;

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Index {
    rule: SessionRule,
    entries: Vec<Entry>,
    free: Vec<u32>,
    slots: HashTable<u32>,
    /// Each key, by the end that it is listed by.
    ends: BTreeSet<(i64, u32)>,
    /// Open sessions.
    open: usize,
    /// Bytes that entries take elsewhere.
    heap: usize,
}

/// Whether a session gets no row any more. `before`: no row is earlier; `i64::MAX` where none comes at all.
pub(super) fn closes(end: i64, before: i64) -> bool {
    end < before || before == i64::MAX
}

impl Index {
    pub(super) fn new(rule: SessionRule) -> Self {
        Index {
            rule,
            entries: Vec::new(),
            free: Vec::new(),
            slots: HashTable::new(),
            ends: BTreeSet::new(),
            open: 0,
            heap: 0,
        }
    }

    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |slot: &u32| {
            let entry = &self.entries[*slot as usize];
            entry.hash == hash && *entry.key == *key
        };
        self.slots.find(hash, is_it).copied()
    }

    /// The open sessions of a key, in the order of their times.
    pub(super) fn sessions(&self, slot: u32) -> &[Session] {
        self.entries.get(slot as usize).map_or(&[], |entry| &entry.sessions)
    }

    /// Whether an open session of the key reaches over a time: a row there would not be its first.
    pub(super) fn reaches(&self, slot: u32, time: i64) -> bool {
        let sessions = self.sessions(slot);
        let before = sessions.partition_point(|session| session.first <= time);
        before.checked_sub(1).is_some_and(|at| self.rule.connects(sessions[at].last, time))
    }

    /// Gives a key its sessions, in the order of their times; none where it has none any more. `slot`: where it is; `None` for a new key.
    /// Returns where it is now.
    pub(super) fn set(&mut self, slot: Option<u32>, hash: u64, key: Box<[u8]>, sessions: Vec<Session>) -> Option<u32> {
        let slot = match slot {
            Some(slot) => slot,
            None if sessions.is_empty() => return None,
            None => self.add(hash, key),
        };
        let entry = &mut self.entries[slot as usize];
        self.heap -= entry.heap();
        self.open = self.open + sessions.len() - entry.sessions.len();
        let is_new = entry.sessions.is_empty();
        entry.sessions = sessions;
        match entry.end(self.rule) {
            Some(end) => {
                if is_new || end < entry.listed {
                    self.ends.remove(&(entry.listed, slot));
                    self.ends.insert((end, slot));
                    entry.listed = end;
                }
                self.heap += entry.heap();
                Some(slot)
            }
            None => {
                let Entry { hash, listed, .. } = std::mem::take(entry);
                self.ends.remove(&(listed, slot));
                if let Ok(found) = self.slots.find_entry(hash, |other| *other == slot) {
                    _ = found.remove();
                }
                self.free.push(slot);
                None
            }
        }
    }

    fn add(&mut self, hash: u64, key: Box<[u8]>) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[slot as usize];
        *entry = Entry { hash, key, ..Entry::default() };
        self.heap += entry.heap();
        let entries = &self.entries;
        self.slots.insert_unique(hash, slot, |slot| entries[*slot as usize].hash);
        slot
    }

    /// The keys whose first session gets no row any more. `before`: as of [`closes`].
    pub(super) fn due(&mut self, before: i64) -> Vec<u32> {
        let to = if before == i64::MAX { Bound::Unbounded } else { Bound::Excluded((before, 0_u32)) };
        let listed: Vec<(i64, u32)> = self.ends.range((Bound::Unbounded, to)).copied().collect();
        let due = listed.into_iter().filter(|at| closes(self.listed_now(*at), before));
        due.map(|(_, slot)| slot).collect()
    }

    /// The end of the session that closes next, of those that end at `from` or later.
    pub(super) fn next_end(&mut self, from: i64) -> Option<i64> {
        // What is listed before that may be listed later by now. Where it is not, the key's first session had gone before a restart, and
        // those behind it are waited for.
        let behind = self.due(from).into_iter().filter_map(|slot| {
            let ends = self.sessions(slot).iter().map(|session| self.rule.end(session.first, session.last));
            ends.filter(|end| !closes(*end, from)).min()
        });
        let behind = behind.collect::<Vec<i64>>().into_iter().min();
        while let Some(at) = self.ends.range((from, 0_u32)..).next().copied() {
            if self.listed_now(at) == at.0 {
                return behind.into_iter().chain([at.0]).min();
            }
        }
        behind
    }

    /// Lists a key by the end that its first session has by now, and returns that.
    fn listed_now(&mut self, at: (i64, u32)) -> i64 {
        let (listed, slot) = at;
        let entry = &mut self.entries[slot as usize];
        let end = entry.end(self.rule).unwrap_or(listed);
        if end != listed {
            entry.listed = end;
            self.ends.remove(&at);
            self.ends.insert((end, slot));
        }
        end
    }

    /// As late as sessions that began at or before `newest` reach.
    pub(super) fn latest_end(&self, newest: i64) -> Option<i64> {
        let began = self.entries.iter().flat_map(|entry| &entry.sessions).filter(|session| session.first <= newest);
        let end = |session: &Session| match self.rule.cuts(session.first, session.last) {
            // No session of these ends later.
            true => self.rule.reach(session.last).unwrap_or(i64::MAX),
            false => self.rule.end(session.first, session.last),
        };
        began.map(end).max()
    }

    /// The sessions that begin after a time: when, and of which key.
    pub(super) fn begun_after(&self, time: i64) -> BTreeSet<(i64, u32)> {
        let sessions = self.entries.iter().zip(0..).flat_map(|(entry, slot)| {
            let after = entry.sessions.partition_point(|session| session.first <= time);
            entry.sessions[after..].iter().map(move |session| (session.first, slot))
        });
        sessions.collect()
    }

    /// Open sessions.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Keys with an open session.
    pub(super) fn keys(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Gives room back after there were many more keys than there are. True where keys have other places now.
    pub(super) fn shrink(&mut self) -> bool {
        if self.keys() == 0 && !self.entries.is_empty() {
            *self = Index::new(self.rule);
            return true;
        }
        if self.entries.len() < SHRINK_FROM || self.keys() > self.entries.len() / 4 {
            return false;
        }
        let entries = std::mem::take(&mut self.entries);
        *self = Index::new(self.rule);
        for entry in entries.into_iter().filter(|entry| !entry.sessions.is_empty()) {
            self.set(None, entry.hash, entry.key, entry.sessions);
        }
        true
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        const SLOT: usize = size_of::<u32>() + 1;
        // A node of the tree is filled by two thirds, about.
        const LISTED: usize = size_of::<(i64, u32)>() * 3 / 2;
        self.entries.capacity() * size_of::<Entry>()
            + self.free.capacity() * size_of::<u32>()
            + self.slots.capacity() * SLOT * 8 / 7
            + self.ends.len() * LISTED
            + self.heap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(first: i64, last: i64) -> Session {
        Session { first, last, head: 0, tail: 0 }
    }

    fn index() -> Index {
        Index::new(SessionRule::new(5, None))
    }

    fn add(index: &mut Index, hash: u64, key: &[u8], sessions: &[(i64, i64)]) -> u32 {
        let sessions = sessions.iter().map(|(first, last)| session(*first, *last)).collect();
        index.set(index.find(hash, key), hash, key.into(), sessions).unwrap()
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut index = index();
        let (a, b) = (add(&mut index, 7, b"a", &[(0, 1)]), add(&mut index, 7, b"b", &[(2, 3), (20, 21)]));
        assert_eq!((index.find(7, b"a"), index.find(7, b"b"), index.find(7, b"c")), (Some(a), Some(b), None));
        assert_eq!((index.sessions(b).len(), index.open(), index.keys()), (2, 3, 2));
        assert_eq!(index.set(Some(b), 7, b"b".as_slice().into(), vec![]), None);
        assert_eq!((index.find(7, b"a"), index.find(7, b"b"), index.open()), (Some(a), None, 1));
        // The place is given to the next one.
        assert_eq!(add(&mut index, 8, b"c", &[(4, 4)]), b);
    }

    #[test]
    fn a_session_reaches_from_its_first_row_to_a_gap_behind_its_last() {
        let mut index = index();
        let slot = add(&mut index, 1, b"a", &[(10, 12), (30, 30)]);
        let reached: Vec<i64> = (0..50).filter(|time| index.reaches(slot, *time)).collect();
        assert_eq!(reached, (10..=17).chain(30..=35).collect::<Vec<_>>());
    }

    #[test]
    fn a_key_is_due_by_the_end_that_it_has_by_now() {
        let mut index = index();
        let a = add(&mut index, 1, b"a", &[(0, 0)]);
        let b = add(&mut index, 2, b"b", &[(0, 2)]);
        assert_eq!(index.next_end(i64::MIN), Some(5));
        // It grows, and is listed as before.
        add(&mut index, 1, b"a", &[(0, 10)]);
        assert_eq!(index.ends.first(), Some(&(5, a)));
        assert_eq!(index.due(7), [] as [u32; 0]);
        assert_eq!((index.due(8), index.next_end(i64::MIN)), (vec![b], Some(7)));
        assert_eq!(index.due(16), [b, a]);
        index.set(Some(b), 2, b"b".as_slice().into(), vec![]);
        assert_eq!((index.next_end(i64::MIN), index.due(15), index.due(16)), (Some(15), vec![], vec![a]));
        assert_eq!(index.due(i64::MAX), [a]);
    }

    // As after a restart, until an epoch forgets what has gone.
    #[test]
    fn a_session_behind_one_that_has_gone_is_waited_for() {
        let mut index = index();
        add(&mut index, 1, b"a", &[(0, 1), (20, 22), (40, 41)]);
        add(&mut index, 2, b"b", &[(30, 30)]);
        let next: Vec<Option<i64>> = [0, 10, 28, 36, 47].map(|from| index.next_end(from)).to_vec();
        assert_eq!(next, [Some(6), Some(27), Some(35), Some(46), None]);
    }

    // A row before a session that is cut makes it end earlier.
    #[test]
    fn an_end_can_move_back() {
        let mut index = Index::new(SessionRule::new(5, Some(10)));
        let a = add(&mut index, 1, b"a", &[(4, 12)]);
        assert_eq!(index.next_end(i64::MIN), Some(14));
        add(&mut index, 1, b"a", &[(0, 12)]);
        assert_eq!((index.next_end(i64::MIN), index.due(11)), (Some(10), vec![a]));
        // It is listed once.
        index.set(Some(a), 1, b"a".as_slice().into(), vec![]);
        add(&mut index, 3, b"c", &[(100, 100)]);
        assert_eq!((index.due(50), index.next_end(i64::MIN)), (vec![], Some(105)));
    }

    #[test]
    fn silence_closes_what_began_before_the_newest_time_that_counts() {
        let mut index = index();
        add(&mut index, 1, b"a", &[(0, 9), (30, 31)]);
        add(&mut index, 2, b"b", &[(10, 20)]);
        assert_eq!((index.latest_end(5), index.latest_end(10), index.latest_end(30)), (Some(14), Some(25), Some(36)));
        assert_eq!(index.latest_end(-1), None);
        assert_eq!(index.begun_after(9).len(), 2);
        let mut cut = Index::new(SessionRule::new(5, Some(10)));
        add(&mut cut, 1, b"a", &[(0, 9)]);
        assert_eq!(cut.latest_end(0), Some(10));
        add(&mut cut, 1, b"a", &[(0, 12)]);
        assert_eq!(cut.latest_end(0), Some(17));
    }

    // Beside the text of the key.
    #[test]
    fn an_open_session_costs_200_bytes_and_gives_them_back() {
        let mut index = index();
        for key in 0..200_000_u64 {
            add(&mut index, key.wrapping_mul(0x9e37_79b9_7f4a_7c15), &key.to_be_bytes(), &[(key as i64, key as i64)]);
        }
        assert!(index.bytes() <= 200 * 200_000, "{} bytes a session", index.bytes() / 200_000);
        let most = index.bytes();
        for slot in index.due(190_000) {
            index.set(Some(slot), 0, Box::default(), vec![]);
        }
        assert!(index.shrink() && index.bytes() < most / 10, "{} of {most}", index.bytes());
        assert_eq!((index.keys(), index.next_end(i64::MIN)), (10_005, Some(189_995 + 5)));
        for slot in index.due(i64::MAX) {
            index.set(Some(slot), 0, Box::default(), vec![]);
        }
        assert!(index.shrink());
        assert_eq!((index.bytes(), index.open(), index.next_end(i64::MIN)), (0, 0, None));
    }

    // What an epoch costs depends on what it touches.
    #[test]
    fn a_million_open_keys_cost_nothing_when_one_of_them_moves() {
        let mut index = index();
        let hash = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for key in 0..1_000_000_u64 {
            add(&mut index, hash(key), &key.to_be_bytes(), &[(1_000_000, 1_000_000)]);
        }
        let listed = index.ends.len();
        for epoch in 0..10_000_u64 {
            let at = 1_000_000 + epoch as i64 % 5;
            add(&mut index, hash(epoch), &epoch.to_be_bytes(), &[(1_000_000, at)]);
            assert_eq!(index.due(1_000_005), [] as [u32; 0]);
            assert_eq!(index.next_end(i64::MIN), Some(1_000_005));
        }
        // Nobody was listed again: that would have been work for each key.
        assert_eq!(index.ends.len(), listed);
    }
}
