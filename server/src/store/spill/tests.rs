use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use tempfile::tempdir;

use super::*;
use crate::error::ErrorKind;
use crate::state::{Budget, Rows, Spool};

fn batch(from: i64, rows: i64) -> RecordBatch {
    let texts =
        StringViewArray::from_iter_values((from..from + rows).map(|n| format!("a text that is not inlined {n}")));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
    RecordBatch::try_from_iter([("n", numbers), ("text", Arc::new(texts))]).unwrap()
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn batches_come_back_in_any_order_and_their_file_goes_with_the_last_handle() {
    let temporary = tempdir().unwrap();
    let directory = SpillDirectory::open(temporary.path().join("spill"), 1 << 20).unwrap();
    let schema = batch(0, 0).schema();
    let mut writer = directory.create(&schema).unwrap();
    // A slice brings its own rows alone with it.
    for part in [batch(0, 3), batch(0, 0), batch(0, 1_000).slice(500, 2)] {
        writer.write(&part).unwrap();
    }
    let file = writer.finish().unwrap();
    assert!(file.bytes() < 4_096, "{} bytes", file.bytes());
    assert_eq!((file.batches(), file.bytes()), (3, directory.used()));
    let mut reader = file.open().unwrap();
    for (at, expected) in [(2, batch(500, 2)), (0, batch(0, 3)), (1, batch(0, 0)), (0, batch(0, 3))] {
        assert_eq!(reader.read(at).unwrap(), expected);
    }
    drop((file, reader));
    assert_eq!((directory.used(), files(&directory.0.path)), (0, 0));
}

#[test]
fn a_full_place_refuses_by_its_setting_and_leaves_nothing_behind() {
    let temporary = tempdir().unwrap();
    let directory = SpillDirectory::open(temporary.path().to_owned(), 100_000).unwrap();
    let mut writer = directory.create(&batch(0, 0).schema()).unwrap();
    let refused = (0..1_000).find_map(|part| writer.write(&batch(part, 100)).err()).unwrap();
    assert_eq!(refused.kind(), ErrorKind::OverBudget);
    assert!(refused.report().contains("engine.spill_bytes_max is 100000 bytes"), "{}", refused.report());
    drop(writer);
    assert_eq!((directory.used(), files(temporary.path())), (0, 0));
}

#[test]
fn what_an_earlier_process_left_is_removed() {
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("spill");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("0.arrow"), "left").unwrap();
    SpillDirectory::open(path.clone(), 1).unwrap();
    assert_eq!(files(&path), 0);
    let unusable = SpillDirectory::open(temporary.path().join("0.arrow").join("\0"), 1).unwrap_err();
    assert_eq!(unusable.kind(), ErrorKind::Invalid);
}

#[test]
fn rows_go_to_disk_when_memory_is_short_and_keep_their_order() {
    let temporary = SpillDirectory::temporary(1 << 20);
    let budget = Budget::new(64_000, Some(Arc::new(temporary.clone())));
    let account = budget.account("query");
    let mut spool = Spool::new(&account);
    for part in 0..20 {
        spool.push(batch(10 * part, 10)).unwrap();
        assert!(budget.used() <= 48_000);
    }
    let rows = spool.finish().unwrap();
    assert!(rows.batches_in_memory().is_none() && temporary.used() > 0);
    assert_eq!(budget.used(), 0);
    let read: Vec<RecordBatch> = rows.batches().collect::<Result<_>>().unwrap();
    assert_eq!(read, (0..20).map(|part| batch(10 * part, 10)).collect::<Vec<_>>());
    let few = Rows::of(vec![batch(0, 3), batch(0, 0)], &account).unwrap();
    assert_eq!((few.num_rows(), few.batches_in_memory().map(<[_]>::len)), (3, Some(1)));
    assert!(budget.used() > 0);
    drop((rows, few));
    assert_eq!((budget.used(), temporary.used()), (0, 0));
    let path = temporary.0.path.clone();
    drop((budget, account, temporary));
    assert!(!path.exists());
}

#[test]
fn temporary_directories_of_processes_that_are_gone_are_removed() {
    let temporary = tempdir().unwrap();
    let named = |process: &str| temporary.path().join(format!("{TEMPORARY}{process}-x"));
    // No process has a number of ten digits.
    let (gone, here, other) = (named("4000000000"), named(&std::process::id().to_string()), temporary.path().join("x"));
    [&gone, &here, &other].iter().for_each(|path| fs::create_dir(path).unwrap());
    sweep(temporary.path());
    assert_eq!([&gone, &here, &other].map(|path| path.exists()), [!Path::new("/proc/self").exists(), true, true]);
}

#[test]
fn bytes_are_counted_and_can_be_taken_back() {
    let directory = SpillDirectory::temporary(10);
    let mut bytes = directory.bytes().unwrap();
    bytes.write_all(b"12345678").unwrap();
    bytes.truncate(5).unwrap();
    bytes.write_all(b"abcde").unwrap();
    assert_eq!(bytes.write_all(b"f").unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    assert_eq!((bytes.len(), directory.used()), (10, 10));
}
