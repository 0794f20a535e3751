use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::state::{Account, Budget};

fn open(gap: i64, longest: Option<i64>) -> Open {
    open_of(gap, longest, &Account::unlimited())
}

fn open_of(gap: i64, longest: Option<i64>, account: &Arc<Account>) -> Open {
    let time = Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), false);
    let rows = Buffer::new(Arc::new(Schema::new(vec![time])), 0, longest.is_some(), account);
    Open::new(SessionRule::new(gap, longest), rows)
}

/// An epoch with rows of a key, up to a mark: the sessions that close, as the times of their rows. All keys have the same hash.
fn epoch(open: &mut Open, rows: &[(u8, i64)], before: i64, commits: bool) -> Vec<(i64, i64, Vec<i64>)> {
    let mut groups: Vec<Group> = Vec::new();
    for (key, time) in rows {
        let row = NewRow { time: *time, number: 0 };
        match groups.iter_mut().find(|group| *group.key == [*key]) {
            Some(group) => group.rows.push(row),
            None => {
                let mut group = Group::new(7, [*key].into(), open.index.find(7, &[*key]));
                group.rows.push(row);
                groups.push(group);
            }
        }
    }
    groups.iter_mut().for_each(|group| group.merge(open));
    let staged = groups.iter_mut().flat_map(|group| &mut group.rows);
    let mut times = Vec::new();
    for (row, number) in staged.zip(open.rows.next_row()..) {
        row.number = number;
        times.push(row.time);
    }
    if !times.is_empty() {
        let batch = RecordBatch::try_from_iter([("ts", Arc::new(TimestampMillisecondArray::from(times)) as _)]);
        open.rows.stage(batch.unwrap()).unwrap();
    }
    let change = open.change(groups, before, i64::MAX).unwrap();
    let mut emitted = change.emitted.iter();
    let mut closed = Vec::new();
    for Closing { start, end, rows } in &change.sessions {
        let mut times: Vec<i64> = emitted.by_ref().take(*rows).map(|row| open.rows.time(*row).unwrap()).collect();
        times.sort_unstable();
        closed.push((*start, *end, times));
    }
    assert!(emitted.next().is_none());
    match commits {
        true => open.apply(change).unwrap(),
        false => open.rows.abort(),
    }
    closed.sort();
    closed
}

#[test]
fn a_session_comes_out_as_a_whole_once_no_row_can_reach_it() {
    let mut open = open(5, None);
    assert_eq!(epoch(&mut open, &[(1, 0), (2, 3), (1, 10)], 5, true), []);
    assert_eq!((open.index.open(), open.index.next_end(i64::MIN)), (3, Some(5)));
    // A row between two of them, and one of another key that changes nothing about it.
    assert_eq!(epoch(&mut open, &[(1, 5), (2, 40)], 8, true), []);
    assert_eq!(open.index.open(), 3);
    assert_eq!(epoch(&mut open, &[], 15, true), [(3, 8, vec![3])]);
    assert_eq!(epoch(&mut open, &[(3, 16)], 30, true), [(0, 15, vec![0, 5, 10]), (16, 21, vec![16])]);
    assert_eq!(epoch(&mut open, &[], i64::MAX, true), [(40, 45, vec![40])]);
    assert_eq!((open.index.open(), open.bytes()), (0, 0));
}

#[test]
fn what_is_left_behind_a_cut_is_open() {
    let mut open = open(5, Some(10));
    assert_eq!(epoch(&mut open, &[(1, 4), (1, 8), (1, 12), (1, 16)], 14, true), []);
    // A row before the first one moves the cut, and with it what begins behind it.
    assert_eq!(epoch(&mut open, &[(1, 0)], 10, false), []);
    assert_eq!(epoch(&mut open, &[(1, 0)], 11, true), [(0, 10, vec![0, 4, 8])]);
    assert_eq!((open.index.open(), open.index.next_end(i64::MIN)), (1, Some(21)));
    // It reaches from its own first row on.
    let slot = open.index.find(7, &[1]).unwrap();
    assert!(!open.index.reaches(slot, 11) && open.index.reaches(slot, 12));
    assert_eq!(
        epoch(&mut open, &[(1, 14), (1, 21), (1, 26), (1, 30), (1, 35)], i64::MAX, true),
        [(12, 22, vec![12, 14, 16, 21]), (26, 36, vec![26, 30, 35]),]
    );
    assert_eq!((open.index.open(), open.bytes()), (0, 0));
}

#[test]
fn an_epoch_that_is_undone_leaves_all_as_it_was() {
    let mut open = open(5, None);
    epoch(&mut open, &[(1, 0), (1, 20)], 0, true);
    let bytes = open.bytes();
    for _ in 0..3 {
        assert_eq!(epoch(&mut open, &[(1, 4), (2, 7)], i64::MAX, false).len(), 3);
        assert_eq!((open.index.open(), open.bytes()), (2, bytes));
    }
    assert_eq!(epoch(&mut open, &[], i64::MAX, true), [(0, 5, vec![0]), (20, 25, vec![20])]);
}

#[test]
fn all_that_is_held_is_counted_and_given_back() {
    let budget = Budget::new(1 << 20, None);
    let mut open = open_of(5, None, &budget.account("query \"v\""));
    epoch(&mut open, &[(1, 0), (2, 3), (1, 10)], 0, true);
    assert!(open.index.bytes() > 0);
    assert_eq!(open.bytes(), budget.used());
    epoch(&mut open, &[], i64::MAX, true);
    assert_eq!((open.bytes(), budget.used()), (0, 0));
}

/// The sessions of rows, by the definition.
fn naive(rows: &[(u8, i64)], gap: i64, longest: Option<i64>) -> Vec<(i64, i64, Vec<i64>)> {
    let mut sessions = Vec::new();
    for key in 0..=u8::MAX {
        let mut times: Vec<i64> = rows.iter().filter(|row| row.0 == key).map(|row| row.1).collect();
        times.sort_unstable();
        let mut current: Vec<i64> = Vec::new();
        let end =
            |times: &[i64]| longest.map_or(i64::MAX, |longest| times[0] + longest).min(times[times.len() - 1] + gap);
        for time in times {
            if let Some(last) = current.last().copied()
                && (time - last > gap || longest.is_some_and(|longest| time - current[0] >= longest))
            {
                let session = std::mem::take(&mut current);
                sessions.push((session[0], end(&session), session));
            }
            current.push(time);
        }
        if !current.is_empty() {
            sessions.push((current[0], end(&current), current));
        }
    }
    sessions.sort();
    sessions
}

proptest! {
    // Rows that come in time, in any order, in any epochs, of which some are undone first.
    #[test]
    fn sessions_do_not_depend_on_the_epochs_that_rows_come_in(
        rows in prop::collection::vec((0..4_u8, 0..120_i64), 0..80),
        epochs in prop::collection::vec((1..10_usize, 0..12_i64, any::<bool>()), 1..40),
        gap in 1..12_i64,
        longest in prop::option::of(1..30_i64),
        disorder in 0..40_i64,
    ) {
        let mut input: Vec<(u8, i64)> = rows.clone();
        // As much out of order as the disorder says, each row by another part of it.
        let mut places: Vec<usize> = (0..input.len()).collect();
        places.sort_by_key(|at| input[*at].1 + (*at as i64 * 7919) % (disorder + 1));
        input = places.into_iter().map(|at| rows[at]).collect();
        let mut open = open(gap, longest);
        let (mut found, mut rest, mut mark) = (Vec::new(), input.as_slice(), i64::MIN);
        for (count, ahead, undone) in epochs.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*count).min(rest.len()));
            rest = later;
            if *undone {
                epoch(&mut open, now, i64::MAX, false);
            }
            // No later than the rows that are still to come.
            let least = rest.iter().map(|row| row.1).min().unwrap_or(i64::MAX - 1);
            mark = mark.max(least.min(mark.max(-1) + ahead));
            found.extend(epoch(&mut open, now, mark, true));
        }
        found.extend(epoch(&mut open, &[], i64::MAX, true));
        found.sort();
        prop_assert_eq!(found, naive(&rows, gap, longest));
        prop_assert_eq!((open.index.open(), open.bytes()), (0, 0));
    }
}
