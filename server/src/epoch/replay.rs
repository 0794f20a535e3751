//! What of its rows a query keeps for a hot table that was set back, and what such a table needs. Pure.
//!
//! The table says by its marker up to which checkpoint it is written. What it lacks is applied again as long as it is kept, and below that the
//! table is made anew. So a table that was dropped, or switched off for a while, never has a hole that nobody sees.

use crate::checkpoint::{HotTableState, OutputChanges, OutputState};
use crate::clock::Micros;

/// What a table that stands at a checkpoint of its query's own history needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The rows after it, all of which are there.
    RowsAfter(u64),
    /// All rows: of those between the marker and `floor` some are kept no longer, or never were.
    All { floor: u64 },
}

/// `at`: what the marker says, 0 for a table without rows. `floor`: of the checkpoints after it all rows are there; `None` where nobody knows,
/// because an older server has written the checkpoint. `has_rows`: the query has emitted some.
pub(super) fn decide(at: u64, floor: Option<u64>, has_rows: bool) -> Needs {
    match floor {
        Some(floor) if at >= floor => Needs::RowsAfter(at),
        Some(floor) => Needs::All { floor },
        // That server forgot no more than it had written to the table. One that has nothing is another table.
        None if at > 0 || !has_rows => Needs::RowsAfter(at),
        None => Needs::All { floor: 0 },
    }
}

/// Lets go what need not be kept, and says from where on all is there.
///
/// `applied`: the table has had everything up to there. `floor`: as for [`decide`]. `since`: what the table has had is kept if it is not older;
/// `None` where the query has no hot table.
pub(super) fn forget(state: &mut OutputState, applied: u64, floor: Option<u64>, since: Option<Micros>) -> Option<u64> {
    let mut gone_to = 0;
    let mut stays = |to: u64, at: Micros| {
        let stays = since.is_some_and(|since| to > applied || at >= since);
        if !stays {
            gone_to = gone_to.max(to);
        }
        stays
    };
    state.hot.retain(|entry| stays(entry.checkpoint, entry.created_at));
    state.hot_runs.retain(|run| stays(run.to, run.last_at()));
    if let Some(table) = &mut state.hot_table {
        table.lists.retain(|list| stays(list.to, list.until));
    }
    match gone_to {
        0 => floor,
        to => Some(floor.unwrap_or(0).max(to)),
    }
}

/// Lets go all rows up to a checkpoint, for whatever they are needed: some of them cannot be read.
pub(super) fn give_up(state: &mut OutputState, to: u64) {
    state.hot.retain(|entry| entry.checkpoint > to);
    state.hot_runs.retain(|run| run.to > to);
    if let Some(table) = &mut state.hot_table {
        table.lists.retain(|list| list.to > to);
    }
}

/// What the next checkpoint says of the table. `None` where the floor is not known.
pub(super) fn noted(state: &mut OutputState, applied: u64, floor: Option<u64>) {
    let lists = state.hot_table.take().map(|table| table.lists).unwrap_or_default();
    state.hot_table = floor.map(|floor| HotTableState { applied, floor, lists });
}

/// The floor of a checkpoint that does not say it, as far as it can be told: its server let go only what the table had, or what it
/// emitted while there was no hot table.
pub(super) fn floor_of_before(state: &OutputState) -> Option<u64> {
    // Early rows are in no tail: whether they are all waiting cannot be seen.
    if state.changes != OutputChanges::Append || state.early.is_some() {
        return None;
    }
    let waits = |checkpoint: u64| {
        state.hot.iter().any(|entry| entry.checkpoint == checkpoint)
            || state.hot_runs.iter().any(|run| (run.from..=run.to).contains(&checkpoint))
    };
    let tail: u64 = state.tail.iter().map(|entry| entry.section.rows).sum();
    let recent: u64 = state.sealed.recent.iter().map(|file| file.rows).sum();
    let listed: u64 = state.sealed.indexes.iter().map(|list| list.rows).sum();
    let waiting = state.hot.iter().map(|entry| &entry.section).chain(state.hot_runs.iter().map(|run| &run.section));
    if waiting.map(|section| section.rows).sum::<u64>() == tail + recent + listed {
        return Some(0);
    }
    let newest = state.tail.iter().rev().map(|entry| entry.checkpoint).find(|checkpoint| !waits(*checkpoint));
    newest.or_else(|| Some(state.sealed.recent.last()?.checkpoints?.to))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::checkpoint::{HotListRef, HotRun, Section, TailEntry};
    use crate::tables::{CheckpointRange, SealedFile};

    fn section(rows: u64) -> Section {
        Section { object: "o".to_owned(), offset: 0, length: 1, rows, sha256: String::new() }
    }

    fn entry(checkpoint: u64, created_at: Micros) -> TailEntry {
        TailEntry { checkpoint, created_at, section: section(1), dates: BTreeMap::new() }
    }

    fn run(from: u64, to: u64, until: Micros) -> HotRun {
        HotRun { from, to, created_at: 0, until: Some(until), section: section(to - from + 1) }
    }

    fn list(to: u64, until: Micros) -> HotListRef {
        HotListRef { object: "l".to_owned(), from: 1, to, until, runs: 1, level: 0, sha256: String::new() }
    }

    fn kept() -> OutputState {
        OutputState {
            hot: vec![entry(9, 900), entry(10, 1_000)],
            hot_runs: vec![run(4, 6, 600), run(7, 8, 800)],
            hot_table: Some(HotTableState { applied: 0, floor: 0, lists: vec![list(3, 300)] }),
            ..OutputState::default()
        }
    }

    #[test]
    fn a_table_gets_what_it_lacks_or_is_made_anew() {
        for (at, floor, has_rows, needs) in [
            (7, Some(5), true, Needs::RowsAfter(7)),
            (5, Some(5), true, Needs::RowsAfter(5)),
            (4, Some(5), true, Needs::All { floor: 5 }),
            // Dropped, or switched on for a query that has run before.
            (0, Some(5), true, Needs::All { floor: 5 }),
            (0, Some(0), true, Needs::RowsAfter(0)),
            (7, None, true, Needs::RowsAfter(7)),
            (0, None, true, Needs::All { floor: 0 }),
            (0, None, false, Needs::RowsAfter(0)),
        ] {
            assert_eq!(decide(at, floor, has_rows), needs, "{at} {floor:?} {has_rows}");
        }
    }

    #[test]
    fn what_the_table_has_had_is_kept_until_it_is_old_and_what_it_lacks_for_ever() {
        let left = |applied, since| {
            let mut state = kept();
            let floor = forget(&mut state, applied, Some(0), since);
            let lists = state.hot_table.map_or(0, |table| table.lists.len());
            (floor, lists, state.hot_runs.len(), state.hot.len())
        };
        assert_eq!(left(10, Some(0)), (Some(0), 1, 2, 2));
        assert_eq!(left(10, Some(301)), (Some(3), 0, 2, 2));
        assert_eq!(left(10, Some(901)), (Some(9), 0, 0, 1));
        assert_eq!(left(0, Some(9_999)), (Some(0), 1, 2, 2), "it has had nothing yet");
        assert_eq!(left(7, Some(9_999)), (Some(6), 0, 1, 2), "a run of which it has a part stays");
        assert_eq!(left(10, None), (Some(10), 0, 0, 0), "there is no hot table");
    }

    #[test]
    fn what_cannot_be_read_is_let_go_with_all_before_it() {
        for (to, left) in [(0, (1, 2, 2)), (3, (0, 2, 2)), (6, (0, 1, 2)), (9, (0, 0, 1))] {
            let mut state = kept();
            give_up(&mut state, to);
            let lists = state.hot_table.map_or(0, |table| table.lists.len());
            assert_eq!((lists, state.hot_runs.len(), state.hot.len()), left, "up to {to}");
        }
    }

    #[test]
    fn the_floor_never_falls_and_is_known_once_something_goes() {
        assert_eq!(forget(&mut kept(), 10, Some(99), Some(9_999)), Some(99));
        assert_eq!(forget(&mut kept(), 0, None, Some(9_999)), None);
        assert_eq!(forget(&mut kept(), 0, None, None), Some(10));
        let mut state = kept();
        noted(&mut state, 10, None);
        assert_eq!(state.hot_table, None);
        let mut state = kept();
        noted(&mut state, 10, Some(2));
        assert_eq!(state.hot_table, Some(HotTableState { applied: 10, floor: 2, lists: vec![list(3, 300)] }));
    }

    #[test]
    fn an_older_checkpoint_tells_its_floor_by_what_is_emitted_and_does_not_wait() {
        let before = |tail: &[u64], hot: &[u64], sealed: Option<Option<u64>>| {
            let file = |to: Option<u64>| SealedFile {
                path: "v".to_owned(),
                bytes: 1,
                rows: 5,
                checkpoints: to.map(|to| CheckpointRange { from: 1, to }),
                sha256: None,
                times: Default::default(),
            };
            let entries = |of: &[u64]| of.iter().map(|checkpoint| entry(*checkpoint, 0)).collect();
            let mut state = OutputState { tail: entries(tail), hot: entries(hot), ..OutputState::default() };
            state.sealed.recent.extend(sealed.map(file));
            floor_of_before(&state)
        };
        assert_eq!(before(&[], &[], None), Some(0), "nothing was emitted");
        assert_eq!(before(&[3, 4], &[3, 4], None), Some(0), "all of it waits");
        assert_eq!(before(&[3, 4, 5], &[5], None), Some(4));
        assert_eq!(before(&[8], &[8], Some(Some(7))), Some(7));
        assert_eq!(before(&[8], &[8], Some(None)), None, "that file does not say of which checkpoints it is");
        let upserted = OutputState { changes: OutputChanges::Upsert(vec!["k".to_owned()]), ..OutputState::default() };
        assert_eq!(floor_of_before(&upserted), None);
    }
}
