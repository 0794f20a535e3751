use arrow::array::{AsArray, Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};

use super::*;
use crate::error::ErrorKind;
use crate::state::Budget;

fn schema() -> SchemaRef {
    let time = Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), false);
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false), time]))
}

/// Rows whose value is their number, and whose time is ten times that.
fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
    let times = TimestampMillisecondArray::from_iter_values(numbers.clone().map(|number| number * 10));
    let values = Int64Array::from_iter_values(numbers);
    RecordBatch::try_new(schema(), vec![Arc::new(values), Arc::new(times)]).unwrap()
}

fn buffer(says_gone: bool, account: &Arc<Account>) -> Buffer {
    Buffer::new(schema(), 1, says_gone, account)
}

/// Stages and commits rows, all of which stay.
fn add(buffer: &mut Buffer, rows: i64) {
    let first = buffer.next_row() as i64;
    buffer.stage(batch(first..first + rows)).unwrap();
    buffer.commit(&vec![true; rows as usize]).unwrap();
}

fn values(buffer: &Buffer, numbers: &[u64]) -> Vec<i64> {
    buffer.gather(numbers).unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn rows_keep_their_numbers_and_links_whatever_goes_beside_them() {
    let account = Account::unlimited();
    let mut buffer = buffer(false, &account);
    for epoch in 0..200 {
        add(&mut buffer, 3);
        // Of each epoch the first row stays for long, and is linked to that of the epoch before.
        let first = epoch * 3;
        if epoch > 0 {
            buffer.link(first, first - 3).unwrap();
        }
        buffer.remove(first + 1).unwrap();
        if epoch >= 5 {
            buffer.remove(first - 15 + 2).unwrap();
        }
        buffer.tidy().unwrap();
        assert!(buffer.segments() < 30, "{} segments", buffer.segments());
    }
    let session = Session { first: 0, last: 0, head: 199 * 3, tail: 0 };
    let mut numbers = Vec::new();
    buffer.rows_of(&session, &mut numbers).unwrap();
    let expected: Vec<i64> = (0..200).rev().map(|epoch| epoch * 3).collect();
    assert_eq!(values(&buffer, &numbers), expected);
    assert!(numbers.iter().all(|number| buffer.time(*number).unwrap() == *number as i64 * 10));
    // What has gone takes no room for long.
    let held: usize = buffer.stored().iter().map(|stored| stored.segment.rows.num_rows()).sum();
    assert!((205..410).contains(&held), "{held} rows of 205 that are needed");
    assert_eq!(buffer.gather(&[1]).unwrap_err().kind(), ErrorKind::Bug);
}

#[test]
fn rows_are_staged_until_they_are_committed_or_forgotten() {
    let budget = Budget::new(1 << 20, None);
    let account = budget.account("query \"v\"");
    let mut buffer = buffer(false, &account);
    buffer.stage(batch(0..4)).unwrap();
    assert_eq!((values(&buffer, &[3, 0]), buffer.bytes(), buffer.next_row()), (vec![3, 0], budget.used(), 0));
    buffer.abort();
    assert_eq!((buffer.bytes(), budget.used()), (0, 0));
    buffer.stage(batch(0..4)).unwrap();
    buffer.commit(&[false, true, false, true]).unwrap();
    assert_eq!((values(&buffer, &[1, 3]), buffer.next_row()), (vec![1, 3], 4));
    assert_eq!(buffer.bytes(), budget.used());
    // Those that had closed at once were never kept.
    assert!(buffer.gather(&[2]).is_err());
    buffer.stage(batch(4..6)).unwrap();
    buffer.commit(&[false, false]).unwrap();
    assert_eq!((buffer.segments(), buffer.next_row()), (1, 6));
    [1, 3].into_iter().for_each(|number| buffer.remove(number).unwrap());
    buffer.tidy().unwrap();
    assert_eq!((buffer.segments(), buffer.bytes(), budget.used()), (0, 0, 0));
    let refused = buffer.stage(batch(6..200_000)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OverBudget);
    assert!(refused.report().contains("the rows of its sessions"), "{}", refused.report());
}

#[test]
fn a_segment_is_written_once_and_what_has_gone_of_it_beside_it() {
    let account = Account::unlimited();
    let mut buffer = buffer(true, &account);
    add(&mut buffer, 5);
    let ids = |stored: &[Stored]| stored.iter().map(|stored| (stored.segment.id, stored.gone_of)).collect::<Vec<_>>();
    assert_eq!(ids(&buffer.stored()), [(1, None)]);
    buffer.remove(3).unwrap();
    buffer.tidy().unwrap();
    let stored = buffer.stored();
    assert_eq!(ids(&stored), [(2, Some(1)), (1, None)]);
    // Nothing has changed, so nothing is written.
    assert_eq!(ids(&buffer.stored()), [(2, Some(1)), (1, None)]);
    let mut restored = self::buffer(true, &account);
    for Stored { segment, gone_of } in stored {
        let batches: Vec<RecordBatch> = segment.rows.batches().map(|batch| batch.unwrap()).collect();
        match gone_of {
            Some(of) => restored.restore_gone(of, segment.id, &batches).unwrap(),
            None => {
                let (first, gone) = restored.restore(segment.id, segment.level, batches[0].clone()).unwrap();
                assert_eq!((first, gone), (0, vec![false, false, false, true, false]));
            }
        }
    }
    assert_eq!(values(&restored, &[0, 4]), [0, 4]);
    restored.remove(1).unwrap();
    add(&mut restored, 1);
    assert_eq!(ids(&restored.stored()), [(4, Some(1)), (1, None), (3, None)]);
    restored.remove(2).unwrap();
    restored.tidy().unwrap();
    // Most of it has gone: what is left is a segment of its own.
    assert_eq!(ids(&restored.stored()), [(5, None), (3, None)]);
}

#[test]
fn texts_are_in_as_many_buffers_as_there_are_segments() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("v", DataType::Utf8View, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), false),
    ]));
    let mut buffer = Buffer::new(Arc::clone(&schema), 1, false, &Account::unlimited());
    for value in 0..100 {
        let text = StringViewArray::from(vec![format!("a text of more than twelve bytes, {value}")]);
        let time = TimestampMillisecondArray::from(vec![value]);
        buffer.stage(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(text), Arc::new(time)]).unwrap()).unwrap();
        buffer.commit(&[true]).unwrap();
        buffer.tidy().unwrap();
    }
    for stored in buffer.stored() {
        let rows = stored.segment.rows.batches_in_memory().unwrap()[0].clone();
        assert_eq!(rows.column(0).as_string_view().data_buffers().len(), 1, "{} rows", rows.num_rows());
    }
}

// Beside the row's own columns.
#[test]
fn a_row_of_an_open_session_costs_17_bytes() {
    let mut buffer = buffer(false, &Account::unlimited());
    let rows: i64 = 200_000;
    for _ in 0..rows / 1000 {
        add(&mut buffer, 1000);
        buffer.remove(buffer.next_row() - 500).unwrap();
        buffer.tidy().unwrap();
    }
    let beside = buffer.bytes() as i64 - rows * 16;
    assert!(beside <= 17 * rows, "{} bytes a row", beside as f64 / rows as f64);
}
