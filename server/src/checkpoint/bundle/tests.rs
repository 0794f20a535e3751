//! Rows come back as they were written, only what they use is written, and damage is found.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::error::ErrorKind;

fn memory() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

async fn stored(store: &Store, builder: BundleBuilder) {
    let (key, content) = builder.finish();
    store.put_content(&key, &content).await.unwrap();
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn long(n: usize) -> String {
    format!("a string too long to be held inline, number {n}")
}

/// A batch with every kind of column that tables have, `rows` long.
fn everything(rows: usize) -> RecordBatch {
    let odd = |n: &usize| n % 3 != 1;
    let strings = || (0..rows).map(|n| odd(&n).then(|| long(n)));
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    let mut fixed = FixedSizeListBuilder::new(Float64Builder::new(), 2);
    for n in 0..rows {
        for item in 0..n % 4 {
            lists.values().append_value(long(n + item));
            map.keys().append_value(format!("k{item}"));
            map.values().append_value(n as i64);
        }
        lists.append(n % 5 != 0);
        map.append(true).unwrap();
        fixed.values().append_slice(&[n as f64, f64::NAN]);
        fixed.append(n % 2 == 0);
    }
    let inner: Vec<(FieldRef, ArrayRef)> = vec![
        (Arc::new(Field::new("text", DataType::Utf8View, true)), Arc::new(StringViewArray::from_iter(strings()))),
        (Arc::new(Field::new("n", DataType::Int32, true)), Arc::new((0..rows as i32).collect::<Int32Array>())),
    ];
    let (fields, arrays): (Vec<_>, Vec<_>) = inner.into_iter().unzip();
    let nulls = NullBuffer::from_iter((0..rows).map(|n| n % 4 != 2));
    let dictionary: DictionaryArray<Int32Type> = (0..rows).map(|n| Some(["a", "b", "c"][n % 3])).collect();
    batch(vec![
        ("utf8view", Arc::new(StringViewArray::from_iter(strings()))),
        ("binview", Arc::new(BinaryViewArray::from_iter(strings()))),
        ("utf8", Arc::new(StringArray::from_iter(strings()))),
        ("bool", Arc::new((0..rows).map(|n| odd(&n).then_some(n % 2 == 0)).collect::<BooleanArray>())),
        ("f64", Arc::new((0..rows).map(|n| odd(&n).then_some(n as f64 / 3.0)).collect::<Float64Array>())),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows as i64).with_timezone("+00:00"))),
        ("decimal", Arc::new((0..rows as i128).collect::<Decimal128Array>().with_precision_and_scale(20, 2).unwrap())),
        ("date", Arc::new(Date32Array::from_iter_values(0..rows as i32))),
        ("list", Arc::new(lists.finish())),
        ("map", Arc::new(map.finish())),
        ("fixed", Arc::new(fixed.finish())),
        ("struct", Arc::new(StructArray::new(fields.into(), arrays, Some(nulls)))),
        ("dictionary", Arc::new(dictionary)),
        ("null", Arc::new(NullArray::new(rows))),
    ])
}

#[tokio::test]
async fn all_types_come_back_whole_or_sliced() {
    let store = memory();
    let mut builder = BundleBuilder::new("q/b.arrow".to_owned(), None);
    let whole = everything(100);
    let given = vec![
        vec![whole.clone()],
        vec![whole.slice(10, 20), whole.slice(97, 3), whole.slice(5, 0)],
        vec![],
        vec![everything(0)],
    ];
    let sections: Vec<_> = given.iter().map(|batches| builder.add(batches).unwrap()).collect();
    stored(&store, builder).await;
    for (section, batches) in sections.iter().zip(&given) {
        let home = segment_home(&store, section);
        assert_eq!((home.rows() as u64, home.bytes()), (section.rows, section.length));
        assert_eq!(&home.fetch().await.unwrap(), batches);
    }
    assert_eq!(sections.iter().map(|section| section.rows).collect::<Vec<_>>(), [100, 23, 0, 0]);
    assert_eq!(sections[2].length, 0);
}

#[tokio::test]
async fn rows_without_columns_keep_their_number() {
    let store = memory();
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let mut builder = BundleBuilder::new("b".to_owned(), None);
    let section = builder.add(std::slice::from_ref(&empty)).unwrap();
    stored(&store, builder).await;
    assert_eq!(read_section(&store, &section).await.unwrap(), [empty]);
}

#[test]
fn a_slice_does_not_drag_the_buffers_it_came_from() {
    let whole = everything(20_000);
    let size = |batch: RecordBatch| BundleBuilder::new(String::new(), None).add(&[batch]).unwrap().length;
    let few = size(whole.slice(10_000, 10));
    assert!(few < size(everything(10)) * 2, "10 rows of 20,000 take {few} bytes");

    let values = StringArray::from_iter_values((0..50_000).map(long));
    let keys = Int32Array::from(vec![Some(7), None, Some(49_999)]);
    let dictionary = DictionaryArray::<Int32Type>::new(keys, Arc::new(values));
    let small = size(batch(vec![("d", Arc::new(dictionary))]));
    assert!(small < 2_000, "3 rows of a large dictionary take {small} bytes");
}

#[test]
fn batches_of_different_schemas_are_refused_and_leave_the_bundle_as_it_was() {
    let mut builder = BundleBuilder::new(String::new(), None);
    let one = batch(vec![("a", Arc::new(Int32Array::from(vec![1])))]);
    let other = batch(vec![("b", Arc::new(Int32Array::from(vec![1])))]);
    builder.add(std::slice::from_ref(&one)).unwrap();
    let before = builder.len();
    assert_eq!(builder.add(&[one, other]).unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(builder.len(), before);
}

#[tokio::test]
async fn a_bundle_that_is_too_much_for_memory_is_written_by_way_of_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().to_str().unwrap(), &Default::default()).await.unwrap();
    let disk = SpillDirectory::temporary(u64::MAX);
    let noise = |seed: u64| {
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some(*state ^ *state >> 29)
        };
        let numbers = std::iter::repeat_n((), 100_000).scan(seed, |state, ()| next(state));
        batch(vec![("n", Arc::new(numbers.collect::<UInt64Array>()))])
    };
    let parts: Vec<RecordBatch> = (0..30).map(noise).collect();
    let mut builder = BundleBuilder::new("q/b.arrow".to_owned(), Some(disk.clone()));
    let few = builder.add(&[everything(3)]).unwrap();
    let many = builder.add_each(parts.iter().cloned().map(Ok)).unwrap();
    assert!(many.length > 20 << 20 && disk.used() == builder.len(), "{} bytes, {} on disk", many.length, disk.used());
    // A section that fails in its middle leaves what stands before it.
    let failing = parts[..10].iter().cloned().map(Ok).chain([Err(Error::unavailable("gone"))]);
    assert_eq!(builder.add_each(failing).unwrap_err().kind(), ErrorKind::Unavailable);
    let last = builder.add(&[everything(5)]).unwrap();
    stored(&store, builder).await;
    assert_eq!(disk.used(), 0);
    for (section, expected) in [(few, vec![everything(3)]), (many.clone(), parts), (last, vec![everything(5)])] {
        assert_eq!(read_section(&store, &section).await.unwrap(), expected);
        let mut read = Vec::new();
        let mut each = |batch| {
            read.push(batch);
            Ok(())
        };
        read_section_by_batches(&store, &section, Some(&disk), &mut each).await.unwrap();
        assert_eq!(read, expected);
    }
    for wrong in [Section { sha256: sha256(b"other"), ..many.clone() }, Section { rows: many.rows + 1, ..many }] {
        let error = read_section_by_batches(&store, &wrong, Some(&disk), &mut |_| Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    assert_eq!(disk.used(), 0);
}

#[tokio::test]
async fn any_damage_to_a_section_is_found_and_named() {
    let store = memory();
    let key = Path::from("q/b.arrow");
    let mut builder = BundleBuilder::new(key.to_string(), None);
    builder.add(&[everything(3)]).unwrap();
    let section = builder.add(&[batch(vec![("a", Arc::new(Int32Array::from(vec![1, 2])))])]).unwrap();
    let (_, Content::Memory(bytes)) = builder.finish() else { panic!("so few bytes are in memory") };
    let (start, end) = (section.offset as usize, bytes.len());

    let check = async |damaged: Vec<u8>, says: &str| {
        store.put(&key, damaged.into()).await.unwrap();
        let error = read_section(&store, &section).await.expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.report().contains(&format!("q/b.arrow at byte {start}")), "{}", error.report());
        assert!(error.report().contains(says), "{says}: {}", error.report());
    };
    for at in start..end {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0x10;
        check(flipped, "it was written with").await;
    }
    for length in [0, 1, start - 1, start, start + 1, end - 1] {
        let found = length.saturating_sub(start);
        let expected = end - start;
        check(bytes[..length].to_vec(), &format!("expected {expected} bytes from there, found {found}")).await;
    }
    store.delete(&key).await.unwrap();
    let missing = read_section(&store, &section).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Corrupt);
    assert!(missing.report().contains("it is missing"));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_called_damage() {
    let faulty = FaultyStore::new();
    let mut builder = BundleBuilder::new("b".to_owned(), None);
    let section = builder.add(&[everything(1)]).unwrap();
    stored(&faulty.sound(), builder).await;
    faulty.fail_gets("b", [Fault::Before, Fault::Before]);
    assert_eq!(read_section(&faulty.store(), &section).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(read_section(&faulty.store(), &section).await.unwrap().len(), 1);
}
