//! Which new rows and which sessions that are open follow one another: what they are together.

use std::ops::Range;

use super::index::Session;
use crate::sql::window_session::SessionRule;

/// Rows of one key that follow one another: of sessions that were open, and new ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merged {
    /// Times of the first and the last row.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Which of the key's sessions are in it.
    pub(super) old: Range<usize>,
    /// Which of the new rows are.
    pub(super) new: Range<usize>,
}

/// The sessions of a key that new rows can reach, and what these and the rows are together. Both in the order of their times.
pub(super) fn merged(sessions: &[Session], rows: &[i64], rule: SessionRule) -> (Range<usize>, Vec<Merged>) {
    let (Some(earliest), Some(latest)) = (rows.first().copied(), rows.last().copied()) else { return (0..0, vec![]) };
    let from = sessions.partition_point(|session| !rule.connects(session.last, earliest));
    let to = sessions.partition_point(|session| rule.connects(latest, session.first)).max(from);
    let mut merged: Vec<Merged> = Vec::new();
    let (mut old, mut new) = (from, 0);
    loop {
        let session = sessions[old..to].first();
        let row = rows.get(new).copied();
        let (first, last, is_row) = match (session, row) {
            (Some(session), row) if row.is_none_or(|row| session.first <= row) => (session.first, session.last, false),
            (_, Some(row)) => (row, row, true),
            (_, None) => return (from..to, merged),
        };
        if merged.last().is_none_or(|run| !rule.connects(run.last, first)) {
            merged.push(Merged { first, last, old: old..old, new: new..new });
        }
        let Some(run) = merged.last_mut() else { return (from..to, merged) };
        run.last = run.last.max(last);
        match is_row {
            true => new += 1,
            false => old += 1,
        }
        (run.old.end, run.new.end) = (old, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE_GAP: i64 = 5;

    /// First and last time, then the sessions and the rows that it is made of.
    type Made = (i64, i64, Range<usize>, Range<usize>);

    fn runs(sessions: &[(i64, i64)], rows: &[i64]) -> (Range<usize>, Vec<Made>) {
        let sessions: Vec<Session> =
            sessions.iter().map(|(first, last)| Session { first: *first, last: *last, head: 0, tail: 0 }).collect();
        let (affected, merged) = merged(&sessions, rows, SessionRule::new(RULE_GAP, None));
        (affected, merged.into_iter().map(|run| (run.first, run.last, run.old, run.new)).collect())
    }

    #[test]
    fn a_row_between_two_sessions_makes_them_one() {
        assert_eq!(runs(&[(0, 10), (20, 30)], &[15]), (0..2, vec![(0, 30, 0..2, 0..1)]));
        // One tick more is too far from either.
        assert_eq!(runs(&[(0, 9), (21, 30)], &[15]), (1..1, vec![(15, 15, 1..1, 0..1)]));
        assert_eq!(runs(&[(0, 10), (21, 30)], &[15]), (0..1, vec![(0, 15, 0..1, 0..1)]));
        assert_eq!(runs(&[(0, 9), (20, 30)], &[15]), (1..2, vec![(15, 30, 1..2, 0..1)]));
    }

    #[test]
    fn rows_reach_one_another_and_leave_the_other_sessions_alone() {
        let sessions = [(0, 1), (10, 12), (30, 31), (50, 60)];
        assert_eq!(runs(&sessions, &[14, 19, 24, 25, 40]), (1..3, vec![(10, 31, 1..3, 0..4), (40, 40, 3..3, 4..5)]));
        assert_eq!(runs(&sessions, &[52, 70]), (3..4, vec![(50, 60, 3..4, 0..1), (70, 70, 4..4, 1..2)]));
        assert_eq!(runs(&[], &[1, 1, 7]), (0..0, vec![(1, 1, 0..0, 0..2), (7, 7, 0..0, 2..3)]));
        // A session between rows that do not reach it is what it was.
        let (affected, merged) = runs(&sessions, &[-20, 90]);
        assert_eq!((affected, merged.len()), (0..4, 6));
        assert_eq!(merged[2], (10, 12, 1..2, 1..1));
    }
}
