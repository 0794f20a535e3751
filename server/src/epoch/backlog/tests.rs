use arrow::array::Int64Array;
use object_store::memory::InMemory;

use super::*;

fn store() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

fn batch(values: &[i64]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter([("n", column)]).expect("one column")
}

fn values(batches: &[RecordBatch]) -> Vec<i64> {
    batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec())
        .collect()
}

/// Rows in memory, so that none of their sections is ever read.
fn entry(checkpoint: u64, bytes: u64, rows: &[i64]) -> Waiting {
    let section =
        Section { object: String::new(), offset: 0, length: bytes, rows: rows.len() as u64, sha256: String::new() };
    let rows: Arc<[Rows]> = Arc::new([vec![batch(rows)].into()]);
    Waiting { from: checkpoint, to: checkpoint, created_at: 7, until: 7, section, run: false, rows: Some(rows) }
}

/// What a checkpoint makes of what waits, without the rows.
fn put_all_together(waiting: &mut Vec<Waiting>) {
    for range in plan_runs(waiting, &[]).into_iter().rev() {
        let (first, last) = (waiting[range.start].clone(), waiting[range.end - 1].clone());
        let bytes = waiting[range.clone()].iter().map(|waiting| waiting.section.length).sum();
        let rows = waiting[range.clone()].iter().map(|waiting| waiting.section.rows).sum();
        let section = Section { length: bytes, rows, ..first.section.clone() };
        waiting.splice(range, [Waiting { from: first.from, to: last.to, section, run: true, ..first }]);
    }
}

#[test]
fn the_number_of_entries_is_bounded_by_the_bytes_that_wait_and_not_by_the_checkpoints() {
    for bytes in [300, 10_000, 1 << 20, (4 << 20) - 1] {
        let (mut waiting, mut most, mut total) = (Vec::new(), 0, 0);
        for checkpoint in 1..=2_000 {
            put_all_together(&mut waiting);
            waiting.push(entry(checkpoint, bytes, &[1]));
            total += bytes;
            // Two neighbours that stay apart have more than a batch together.
            let full = usize::try_from(2 * total / BATCH_BYTES_MAX).expect("small");
            assert!(waiting.len() <= full + 1 + SAVED_MIN + 1, "{} entries of {bytes} bytes", waiting.len());
            most = most.max(waiting.len());
        }
        assert_eq!(measure(&waiting, 0).rows, 2_000, "nothing is lost");
        assert!(waiting.windows(2).all(|pair| pair[0].to + 1 == pair[1].from), "in order, without a gap");
        assert!(bytes > 10_000 || most < 80, "{most} entries of {bytes} bytes");
    }
}

#[test]
fn a_few_entries_are_left_as_they_are() {
    let waiting: Vec<Waiting> = (1..=63).map(|checkpoint| entry(checkpoint, 10, &[1])).collect();
    assert_eq!(plan_runs(&waiting, &[]), Vec::<std::ops::Range<usize>>::new());
    let more: Vec<Waiting> = (1..=64).map(|checkpoint| entry(checkpoint, 10, &[1])).collect();
    assert_eq!(plan_runs(&more, &[]), vec![0..64]);
}

#[test]
fn rows_that_the_table_has_are_not_put_together_with_those_that_wait() {
    let waiting: Vec<Waiting> = (1..=100).map(|checkpoint| entry(checkpoint, 10, &[1])).collect();
    assert_eq!(plan_runs(&waiting, &[0, 0]), std::slice::from_ref(&(0..100)), "it has none");
    assert_eq!(plan_runs(&waiting, &[10, 10]), [0..10, 10..100]);
    assert_eq!(plan_runs(&waiting, &[10, 40]), [0..10, 10..40, 40..100], "set back to 10");
    assert_eq!(plan_runs(&waiting, &[100, 100]), std::slice::from_ref(&(0..100)), "it has all of them");
}

#[test]
fn a_run_spans_an_hour_at_the_most() {
    let mut waiting: Vec<Waiting> = (1..=200).map(|checkpoint| entry(checkpoint, 10, &[1])).collect();
    for (at, waiting) in waiting.iter_mut().enumerate() {
        let minute = 60_000_000 * at as Micros;
        (waiting.created_at, waiting.until) = (minute, minute);
    }
    assert_eq!(plan_runs(&waiting, &[]), [0..61, 61..122, 122..183, 183..200]);
    let section = waiting[0].section.clone();
    let run = run_of(&waiting[..61], section).expect("not empty");
    assert_eq!((run.created_at, run.last_at()), (0, 3_600_000_000));
    assert_eq!(of_run(&run).until, 3_600_000_000);
}

#[tokio::test]
async fn a_run_that_was_applied_in_part_goes_on_in_its_middle() {
    let store = store();
    let entries = [entry(3, 10, &[30, 31]), entry(5, 10, &[50]), entry(6, 10, &[60])];
    let together = put_together(&store, &entries).await.expect("in memory");
    let rows: Arc<[Rows]> = Arc::new([vec![together].into()]);
    let section = Section { length: 30, rows: 4, ..entries[0].section.clone() };
    let run = Waiting { from: 3, to: 6, created_at: 7, until: 7, section, run: true, rows: Some(rows) };
    let waiting = [run, entry(9, 10, &[90])];
    for (applied, expected) in [(0, vec![30, 31, 50, 60, 90]), (3, vec![50, 60, 90]), (5, vec![60, 90]), (6, vec![90])]
    {
        let (to, batches) = next_batch(&store, &waiting, applied).await.expect("read").expect("rows wait");
        assert_eq!((to, values(&batches)), (9, expected), "after {applied}");
        assert!(batches.iter().all(|rows| rows.schema() == batch(&[]).schema()), "as the view has them");
    }
    assert!(next_batch(&store, &waiting, 9).await.expect("nothing to read").is_none());
    // Runs are put together with what comes after them.
    let again = put_together(&store, &waiting).await.expect("in memory");
    assert_eq!(values(&[after(&again, 5).expect("a run")]), [60, 90]);
}

#[tokio::test]
async fn a_run_of_one_checkpoint_has_the_rows_as_they_came() {
    let one = entry(3, 10, &[30, 31]);
    let run = HotRun { from: 3, to: 3, created_at: 7, until: Some(7), section: one.section.clone() };
    let waiting = [Waiting { rows: one.rows.clone(), ..of_run(&run) }];
    let (to, batches) = next_batch(&store(), &waiting, 0).await.expect("in memory").expect("rows wait");
    assert_eq!((to, values(&batches)), (3, vec![30, 31]));
    assert!(batches.iter().all(|rows| rows.schema() == batch(&[]).schema()), "as the view has them");
}

#[tokio::test]
async fn one_transaction_takes_no_more_than_a_batch_and_at_least_a_checkpoint() {
    let store = store();
    let waiting = [
        entry(1, 3 << 20, &[1]),
        entry(2, 1 << 20, &[2]),
        entry(3, 1, &[3]),
        entry(4, 9 << 20, &[4]),
        entry(5, 1, &[5]),
    ];
    let mut applied = 0;
    let mut steps = Vec::new();
    while let Some((to, batches)) = next_batch(&store, &waiting, applied).await.expect("in memory") {
        steps.push((to, values(&batches)));
        applied = to;
    }
    assert_eq!(steps, [(2, vec![1, 2]), (3, vec![3]), (4, vec![4]), (5, vec![5])]);
}

#[test]
fn a_query_stands_still_at_the_limit_and_goes_on_when_a_quarter_is_done() {
    let of = |bytes, entries| Backlog { bytes, entries, ..Backlog::default() };
    for (backlog, was, full) in [
        (of(100, 1), false, false),
        (of(101, 1), false, true),
        (of(76, 1), true, true),
        (of(75, 1), true, false),
        (of(1, WAITING_MAX), false, false),
        (of(1, WAITING_MAX + 1), false, true),
        (of(1, WAITING_MAX), true, true),
        (of(0, 0), true, false),
    ] {
        assert_eq!(backlog.is_full(100, was), full, "{backlog:?} {was}");
    }
}
