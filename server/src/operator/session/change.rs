//! What an epoch makes of the open sessions: which grow, which become one, and which close. Nothing of it is state until it is applied.

use std::collections::BTreeSet;
use std::ops::Range;

use super::index::{Index, Session, closes};
use super::merge::{Merged, merged};
use super::rows::Buffer;
use crate::error::Result;
use crate::sql::window_session::SessionRule;
use crate::state::Reservation;

/// The open sessions and their rows.
#[derive(Debug)]
pub(super) struct Open {
    rule: SessionRule,
    pub(super) index: Index,
    pub(super) rows: Buffer,
    /// Sessions that began at times which are not to be believed, and such as have gone since: when, and of which key. Known once a row is
    /// looked at that lies so far ahead.
    far: Option<BTreeSet<(i64, u32)>>,
    /// For all but the rows.
    held: Reservation,
}

/// A new row.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow {
    pub(super) time: i64,
    /// Where it was taken from, until it is staged; then its number.
    pub(super) number: u64,
}

/// New rows of one key.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) hash: u64,
    pub(super) key: Box<[u8]>,
    /// Where its open sessions are.
    pub(super) slot: Option<u32>,
    pub(super) rows: Vec<NewRow>,
    /// Known once the rows are in order: what they and the sessions are together, and which sessions that concerns.
    pub(super) merged: Vec<Merged>,
    affected: Range<usize>,
}

/// See the module's first line.
#[derive(Debug, Default)]
pub(super) struct Change {
    keys: Vec<KeyChange>,
    /// Rows of the sessions that close, session by session.
    pub(super) emitted: Vec<u64>,
    pub(super) sessions: Vec<Closing>,
    /// Sessions that begin after this are counted.
    far_after: i64,
}

/// A session that closes.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) start: i64,
    pub(super) end: i64,
    /// How many of the rows are in it.
    pub(super) rows: usize,
}

/// What becomes of one key's sessions.
#[derive(Debug)]
struct KeyChange {
    group: Group,
    /// So many of its first sessions have gone as a whole, …
    closed: usize,
    /// … and this is left of the next one, of which a part has been cut off.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    first: i64,
    last: i64,
    rows: Vec<u64>,
}

impl Group {
    pub(super) fn new(hash: u64, key: Box<[u8]>, slot: Option<u32>) -> Self {
        Group { hash, key, slot, rows: Vec::new(), merged: Vec::new(), affected: 0..0 }
    }

    /// Puts the rows in order, and finds out which sessions they are in.
    pub(super) fn merge(&mut self, open: &Open) {
        self.rows.sort_by_key(|row| row.time);
        let times: Vec<i64> = self.rows.iter().map(|row| row.time).collect();
        (self.affected, self.merged) = merged(open.sessions(self.slot), &times, open.rule);
    }

    /// Leaves out the rows for which `which` is false.
    pub(super) fn retain(&mut self, open: &Open, which: impl FnMut(&NewRow) -> bool) {
        self.rows.retain(which);
        self.merge(open);
    }
}

impl Open {
    pub(super) fn new(rule: SessionRule, rows: Buffer) -> Self {
        let held = Reservation::empty(rows.account());
        Open { rule, index: Index::new(rule), rows, far: None, held }
    }

    fn sessions(&self, slot: Option<u32>) -> &[Session] {
        slot.map_or(&[], |slot| self.index.sessions(slot))
    }

    /// How many sessions have begun after a time. Later calls are about later times.
    pub(super) fn begun_after(&mut self, time: i64) -> usize {
        let index = &self.index;
        let far = self.far.get_or_insert_with(|| index.begun_after(time));
        *far = far.split_off(&(time.saturating_add(1), 0_u32));
        far.len()
    }

    /// What becomes of the sessions with these rows, which have been staged. `before`: no row that is still to come is earlier, as of
    /// [`closes`]. `far_after`: sessions that begin later are counted.
    pub(super) fn change(&mut self, groups: Vec<Group>, before: i64, far_after: i64) -> Result<Change> {
        let touched: BTreeSet<u32> = groups.iter().filter_map(|group| group.slot).collect();
        let due = self.index.due(before).into_iter().filter(|slot| !touched.contains(slot));
        let others: Vec<Group> = due.map(|slot| Group::new(0, Box::default(), Some(slot))).collect();
        let mut change = Change { far_after, ..Change::default() };
        for group in groups.into_iter().chain(others) {
            let (closed, rest) = self.close(&group, before, &mut change)?;
            change.keys.push(KeyChange { group, closed, rest });
        }
        Ok(change)
    }

    /// Which sessions of a key close, in the order of their times.
    fn close(&self, group: &Group, before: i64, change: &mut Change) -> Result<(usize, Option<Rest>)> {
        let mut closed = 0;
        loop {
            let mut rows = Vec::new();
            let Some((first, last)) = self.nth(group, closed, |_, _| Ok(()))? else { return Ok((closed, None)) };
            if !closes(self.rule.end(first, last), before) {
                return Ok((closed, None));
            }
            self.nth(group, closed, |sessions, new| {
                sessions.iter().try_for_each(|session| self.rows.rows_of(session, &mut rows))?;
                rows.extend(new.iter().map(|row| row.number));
                Ok(())
            })?;
            if !self.rule.cuts(first, last) {
                change.sessions.push(Closing { start: first, end: self.rule.end(first, last), rows: rows.len() });
                change.emitted.append(&mut rows);
                closed += 1;
                continue;
            }
            let mut timed = rows.iter().map(|row| Ok((self.rows.time(*row)?, *row))).collect::<Result<Vec<_>>>()?;
            timed.sort_unstable();
            let times: Vec<i64> = timed.iter().map(|(time, _)| *time).collect();
            let mut at = 0;
            for (count, start, end) in self.rule.sessions(&times) {
                if !closes(end, before) {
                    break;
                }
                change.sessions.push(Closing { start, end, rows: count });
                change.emitted.extend(timed[at..at + count].iter().map(|(_, row)| *row));
                at += count;
            }
            if at < timed.len() {
                let rows = timed[at..].iter().map(|(_, row)| *row).collect();
                return Ok((closed, Some(Rest { first: times[at], last, rows })));
            }
            closed += 1;
        }
    }

    /// Times of the first and last row of the key's session at a place, and for `with` what it is made of. `None` behind the last one.
    fn nth(
        &self,
        group: &Group,
        at: usize,
        with: impl FnOnce(&[Session], &[NewRow]) -> Result<()>,
    ) -> Result<Option<(i64, i64)>> {
        let sessions = self.sessions(group.slot);
        let Range { start, end } = group.affected.clone();
        let old = match at {
            at if at < start => Some(at),
            at if at < start + group.merged.len() => {
                let Merged { first, last, old, new } = &group.merged[at - start];
                with(&sessions[old.clone()], &group.rows[new.clone()])?;
                return Ok(Some((*first, *last)));
            }
            at => Some(at - group.merged.len() - start + end).filter(|at| *at < sessions.len()),
        };
        let Some(at) = old else { return Ok(None) };
        with(&sessions[at..=at], &[])?;
        Ok(Some((sessions[at].first, sessions[at].last)))
    }

    /// Makes a change part of the state.
    pub(super) fn apply(&mut self, change: Change) -> Result<()> {
        let Change { keys, emitted, far_after, .. } = change;
        let first = self.rows.next_row();
        let staged: usize = keys.iter().map(|key| key.group.rows.len()).sum();
        let mut stays = vec![true; staged];
        for number in emitted {
            match number.checked_sub(first) {
                Some(at) => stays[at as usize] = false,
                None => self.rows.remove(number)?,
            }
        }
        self.rows.commit(&stays)?;
        for key in keys {
            self.apply_to(key, far_after)?;
        }
        self.tidy()
    }

    fn apply_to(&mut self, change: KeyChange, far_after: i64) -> Result<()> {
        let KeyChange { group, closed, rest } = change;
        let Group { hash, key, slot, rows, merged, affected } = group;
        let old = self.sessions(slot).to_vec();
        let mut sessions: Vec<Session> = Vec::new();
        let mut begun: Vec<i64> = Vec::new();
        let (before, behind) = (&old[..affected.start], &old[affected.end..]);
        sessions.extend(before.iter().skip(closed));
        let mut skipped = closed.saturating_sub(before.len());
        for run in merged {
            if skipped > 0 {
                skipped -= 1;
                continue;
            }
            if run.old.is_empty() {
                begun.extend(Some(run.first).filter(|first| *first > far_after));
            }
            let parts = old[run.old].iter().map(|session| (session.head, session.tail));
            let parts = parts.chain(rows[run.new].iter().map(|row| (row.number, row.number)));
            sessions.extend(match &rest {
                // It is what is left of this one, which is linked below.
                Some(_) if sessions.is_empty() => Some(Session { first: run.first, last: run.last, head: 0, tail: 0 }),
                _ => self.linked(parts)?.map(|(head, tail)| Session { first: run.first, last: run.last, head, tail }),
            });
        }
        sessions.extend(behind.iter().skip(skipped));
        if let Some(Rest { first, last, rows }) = rest
            && let Some((head, tail)) = self.linked(rows.into_iter().map(|row| (row, row)))?
            && let Some(cut) = sessions.first_mut()
        {
            *cut = Session { first, last, head, tail };
        }
        sessions.shrink_to_fit();
        let slot = self.index.set(slot, hash, key, sessions);
        if let (Some(far), Some(slot)) = (&mut self.far, slot) {
            far.extend(begun.into_iter().map(|first| (first, slot)));
        }
        Ok(())
    }

    /// Links chains of rows to one; returns its first and its last row.
    fn linked(&mut self, chains: impl Iterator<Item = (u64, u64)>) -> Result<Option<(u64, u64)>> {
        let mut all: Option<(u64, u64)> = None;
        for (head, tail) in chains {
            all = Some(match all {
                Some((first, last)) => {
                    self.rows.link(last, head)?;
                    (first, tail)
                }
                None => (head, tail),
            });
        }
        Ok(all)
    }

    /// Takes up rows that a checkpoint held.
    pub(super) fn restore(&mut self, groups: Vec<Group>) -> Result<()> {
        for mut group in groups {
            group.merge(self);
            self.apply_to(KeyChange { group, closed: 0, rest: None }, i64::MAX)?;
        }
        self.count_index();
        Ok(())
    }

    fn tidy(&mut self) -> Result<()> {
        if self.index.shrink() {
            self.far = None;
        }
        self.count_index();
        self.rows.tidy()
    }

    /// What is there is counted, whatever the limit says, as of other state that single rows are looked up in.
    fn count_index(&mut self) {
        let bytes = self.index_bytes();
        self.held.release();
        self.held.count(bytes);
    }

    /// Lets go of sessions that have been emitted before a restart, whose rows still lay in segments. `before`: as of [`closes`], when the
    /// state was stored.
    pub(super) fn forget(&mut self, before: i64) -> Result<()> {
        if self.index.due(before).is_empty() {
            return Ok(());
        }
        let change = self.change(vec![], before, i64::MAX)?;
        self.apply(change)
    }

    fn index_bytes(&self) -> usize {
        const LISTED: usize = size_of::<(i64, u32)>() * 3 / 2;
        self.index.bytes() + self.far.as_ref().map_or(0, |far| far.len() * LISTED)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.index_bytes() + self.rows.bytes()
    }
}

#[cfg(test)]
mod tests;
