//! A row is in exactly one public file, under a name decided beforehand, however often the writing is repeated.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::checkpoint::{BundleBuilder, Chain, DAYS_MAX, Opened, read_section};
use crate::clock::{Clock, DAY_MICROS, duration_of};
use crate::error::ErrorKind;

const DAY: i64 = DAY_MICROS;
const QUERY: &str = "momentum";
const NEVER: SealLimits = SealLimits { rows_max: u64::MAX, bytes_max: u64::MAX, age_max: Duration::MAX };
const NOW: SealLimits = SealLimits { age_max: Duration::ZERO, ..NEVER };

fn rows(times: &[Option<i64>], first: i64) -> RecordBatch {
    let times: TimestampMicrosecondArray = times.iter().copied().collect();
    let n = times.len() as i64;
    let names = StringViewArray::from_iter_values((first..first + n).map(|n| format!("a name longer than inline {n}")));
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("window_start", Arc::new(times), true),
        ("n", Arc::new((first..first + n).collect::<Int64Array>()), false),
        ("name", Arc::new(names), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn entry(checkpoint: u64, created_at: i64, batches: &[RecordBatch]) -> TailEntry {
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let section = Section { object: String::new(), offset: 0, length: rows * 10, rows, sha256: String::new() };
    tail_entry(checkpoint, created_at, section, batches.iter().cloned().map(Ok), Some("window_start")).unwrap().unwrap()
}

fn of(batches: Vec<RecordBatch>) -> Arc<[Rows]> {
    Arc::new([batches.into()])
}

fn plan(output: &OutputState, limits: SealLimits, through: Option<u64>, now: i64) -> Option<SealIntent> {
    let generation = Generation { number: 3, instance: Uuid::from_u128(0x1234_5678 << 96) };
    let names = SealNames { paths: &QueryPaths::new(QUERY), output: QUERY, generation };
    let age = |entry: &TailEntry| duration_of(now.saturating_sub(entry.created_at));
    plan_seal(output, limits, names, Some("window_start"), through, age)
}

fn public() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

async fn read(store: &Store, path: &str) -> RecordBatch {
    let bytes = store.get(&Path::from(path)).await.unwrap().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn column(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn a_seal_is_due_by_rows_bytes_or_age_and_not_before() {
    let one = rows(&[Some(0), Some(1)], 0);
    let tail = (1..=5).map(|n| entry(n, n as i64 * 1_000_000, std::slice::from_ref(&one))).collect();
    let output = OutputState { tail, ..OutputState::default() };
    assert_eq!(plan(&output, NEVER, None, i64::MAX), None);
    assert_eq!(plan(&OutputState::default(), NOW, None, 0), None);

    let range = |limits, through, now| plan(&output, limits, through, now).map(|intent| (intent.from, intent.to));
    assert_eq!(range(SealLimits { rows_max: 11, ..NEVER }, None, 0), None);
    assert_eq!(range(SealLimits { rows_max: 10, ..NEVER }, None, 0), Some((1, 5)));
    assert_eq!(range(SealLimits { rows_max: 5, ..NEVER }, None, 0), Some((1, 2)));
    assert_eq!(range(SealLimits { rows_max: 1, ..NEVER }, None, 0), Some((1, 1)), "a large checkpoint goes alone");
    assert_eq!(range(SealLimits { bytes_max: 60, ..NEVER }, None, 0), Some((1, 3)));
    let aged = SealLimits { age_max: Duration::from_secs(60), ..NEVER };
    assert_eq!(range(aged, None, 60_999_999), None);
    assert_eq!(range(aged, None, 61_000_000), Some((1, 5)));
    assert_eq!(range(aged, None, i64::MIN), None, "an age that is none seals nothing");
    assert_eq!(range(NOW, Some(3), 0), Some((1, 3)));
    assert_eq!(range(NOW, Some(0), 2_000_000), None);
}

#[test]
fn rows_are_filed_by_their_utc_date_and_without_one_by_the_checkpoints() {
    let batch = rows(&[Some(-1), Some(0), Some(DAY - 1), Some(DAY), None, Some(i64::MAX), Some(i64::MIN)], 0);
    let dates = entry(1, 5 * DAY, &[batch]).dates;
    let dates: Vec<_> = dates.iter().map(|(date, rows)| (date.as_str(), *rows)).collect();
    assert_eq!(dates, [("1969-12-31", 1), ("1970-01-01", 2), ("1970-01-02", 1), ("1970-01-06", 3)]);
}

// As of records whose times are made up.
#[tokio::test]
async fn rows_of_a_thousand_days_are_in_few_files_and_each_in_one() {
    let today = 100_000 * DAY;
    let times: Vec<_> = (0..1_000).map(|day| Some(day * DAY)).collect();
    let batches = [rows(&times, 0), rows(&[Some(3 * DAY), Some(999 * DAY), None], 1_000)];
    let tail: Vec<_> = (1..).zip(&batches).map(|(n, batch)| entry(n, today, std::slice::from_ref(batch))).collect();
    assert_eq!(tail[0].dates.len(), DAYS_MAX + 1);
    let output = OutputState { tail, ..OutputState::default() };
    let intent = plan(&output, NOW, None, today).unwrap();
    let inputs: Vec<_> = output.tail.iter().cloned().zip(batches.map(|batch| of(vec![batch]))).collect();
    let store = public();
    let files = write_sealed(&store, None, QUERY, &intent, &inputs).await.unwrap();
    assert!(files.len() <= DAYS_MAX + 1, "{} files", files.len());
    let mut found = Vec::new();
    for (file, intended) in files.iter().zip(&intent.files) {
        let rows = column(&read(&store, &file.path).await);
        assert_eq!(rows.len() as u64, intended.rows);
        if intended.event_date == Day::of_checkpoint(today).text() {
            // What has no day of its own, and what has no time.
            assert!(rows.len() > 500 && rows.contains(&1_002), "{rows:?}");
        }
        found.extend(rows);
    }
    found.sort_unstable();
    assert_eq!(found, (0..1_003).collect::<Vec<_>>());
    let mut sealed = output;
    sealed.begin_seal(intent);
    sealed.mark_sealed(0, files).unwrap();
    assert!(sealed.tail.is_empty());
}

#[test]
fn the_first_and_the_last_day_have_a_date_and_their_neighbours_have_none() {
    assert_eq!((Day::FIRST.text(), Day::LAST.text()), ("0001-01-01".to_owned(), "9999-12-31".to_owned()));
    for day in [Day::FIRST, Day::EPOCH, Day::LAST] {
        assert_eq!(Day::parse(&day.text()), Some(day));
    }
    assert_eq!(Day::of(Day::FIRST.0 * DAY), Some(Day::FIRST));
    assert_eq!(Day::of(Day::FIRST.0 * DAY - 1), None);
    assert_eq!(Day::of((Day::LAST.0 + 1) * DAY - 1), Some(Day::LAST));
    assert_eq!(Day::of((Day::LAST.0 + 1) * DAY), None);
}

#[test]
fn dates_come_from_timestamps_of_any_unit_and_zone_dates_and_windows() {
    let section = Section { object: String::new(), offset: 0, length: 1, rows: 1, sha256: String::new() };
    let date_of = |array: ArrayRef, name: Option<&str>| {
        let batch = RecordBatch::try_from_iter([("t", array)]).unwrap();
        let entry = tail_entry(1, 0, section.clone(), [Ok(batch)], name)?.unwrap();
        Ok::<_, Error>(entry.dates.into_keys().next().unwrap())
    };
    let late = 1_700_004_600; // 2023-11-14T23:30:00Z, already the 15th in Berlin
    let seconds = TimestampSecondArray::from(vec![late]).with_timezone("Europe/Berlin");
    let nanos = TimestampNanosecondArray::from(vec![late * 1_000_000_000]);
    let start: ArrayRef = Arc::new(nanos.clone());
    let field = |name: &str| Arc::new(Field::new(name, start.data_type().clone(), true));
    let end: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![i64::MAX]));
    let window = StructArray::from(vec![(field("start"), start.clone()), (field("end"), end)]);
    let arrays: [ArrayRef; 4] =
        [Arc::new(seconds), Arc::new(nanos), Arc::new(Date32Array::from(vec![19_675])), Arc::new(window)];
    for array in arrays {
        let shown = array.data_type().to_string();
        assert_eq!(date_of(array, Some("t")).unwrap(), "2023-11-14", "{shown}");
    }
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert_eq!(date_of(number.clone(), None).unwrap(), "1970-01-01");
    assert_eq!(date_of(number.clone(), Some("t")).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(date_of(number, Some("missing")).unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn files_hold_their_date_checkpoint_by_checkpoint_in_order_of_time_as_plain_types_with_their_origin() {
    let batches =
        vec![rows(&[Some(DAY + 5), Some(3), None], 0), rows(&[Some(1), Some(DAY + 5), Some(DAY), Some(DAY + 5)], 10)];
    let mut output = OutputState { next_seal: 4, ..OutputState::default() };
    output.tail = vec![entry(7, 0, &batches[..1]), entry(9, 0, &batches[1..])];
    let intent = plan(&output, NOW, None, 1).unwrap();
    let store = public();
    let inputs: Vec<_> = output.tail.iter().cloned().zip(batches.into_iter().map(|batch| of(vec![batch]))).collect();
    let files = write_sealed(&store, None, QUERY, &intent, &inputs).await.unwrap();
    let name = "momentum-00000000000000000003-12345678-00000000000000000004";
    assert_eq!(
        files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(),
        [
            format!("momentum/event_date=1970-01-01/{name}-0000.parquet"),
            format!("momentum/event_date=1970-01-02/{name}-0001.parquet"),
        ]
    );
    let first = read(&store, &files[0].path).await;
    assert_eq!(column(&first), [2, 1, 10], "of each checkpoint no time first, then in order of time");
    assert_eq!(column(&read(&store, &files[1].path).await), [0, 12, 11, 13], "equal times stay in order");
    assert_eq!(first.schema().field(2).data_type(), &DataType::Utf8);
    assert_eq!(first.column(2).as_string::<i32>().value(2), "a name longer than inline 10");

    let bytes = store.get(&Path::from(files[0].path.as_str())).await.unwrap().unwrap();
    assert_eq!(bytes.len() as u64, files[0].bytes);
    let reader = SerializedFileReader::new(bytes).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let value = |key: &str| metadata.iter().find(|pair| pair.key == key).unwrap().value.clone().unwrap();
    assert_eq!(value("touchline.query"), QUERY);
    assert_eq!(value("touchline.checkpoints"), "7-9");
}

#[tokio::test]
async fn rows_other_than_those_planned_are_not_written() {
    let batch = rows(&[Some(0), Some(1)], 0);
    // A row without a day among those planned would be filed under the checkpoint's, which is none of them either.
    let output = OutputState { tail: vec![entry(1, 5 * DAY, std::slice::from_ref(&batch))], ..OutputState::default() };
    let intent = plan(&output, NOW, None, 5 * DAY + 1).unwrap();
    let store = public();
    for wrong in [batch.slice(0, 1), rows(&[Some(0), Some(DAY)], 0)] {
        let inputs = [(output.tail[0].clone(), of(vec![wrong]))];
        assert_eq!(write_sealed(&store, None, QUERY, &intent, &inputs).await.unwrap_err().kind(), ErrorKind::Bug);
    }
    assert!(store.list(&Path::default()).await.unwrap().is_empty());
}

#[test]
fn a_view_whose_rows_change_others_is_not_sealed() {
    let schema = rows(&[], 0).schema();
    assert!(check_sealable("v", &schema, &Changes::Append).is_ok());
    for changes in [Changes::Upsert(vec![0]), Changes::Retract] {
        let error = check_sealable("v", &schema, &changes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.primary().contains("cannot go into the Parquet files of view \"v\" yet"), "{}", error.report());
    }
}

#[test]
fn marking_files_other_than_those_intended_changes_nothing() {
    let batch = rows(&[Some(0), Some(DAY)], 0);
    let mut output = OutputState { tail: vec![entry(1, 0, std::slice::from_ref(&batch))], ..OutputState::default() };
    let intent = plan(&output, NOW, None, 1).unwrap();
    output.begin_seal(intent.clone());
    let right = intent.files.iter().map(|file| SealedFile {
        path: file.path.clone(),
        bytes: 1,
        rows: file.rows,
        checkpoints: None,
        sha256: None,
        times: Default::default(),
    });
    let right: Vec<_> = right.collect();
    let before = output.clone();
    let fewer = vec![SealedFile { rows: 0, ..right[0].clone() }, right[1].clone()];
    for (seal, files) in [(intent.seal + 1, right.clone()), (intent.seal, vec![]), (intent.seal, fewer)] {
        assert_eq!(output.mark_sealed(seal, files).unwrap_err().kind(), ErrorKind::Bug);
        assert_eq!(output, before);
    }
    output.mark_sealed(intent.seal, right.clone()).unwrap();
    assert!(output.tail.is_empty() && output.intents.is_empty());
    assert_eq!(output.sealed.recent, right);
    assert_eq!(output.mark_sealed(intent.seal, right).unwrap_err().kind(), ErrorKind::Bug);
}

#[test]
fn types_that_parquet_readers_do_not_know_are_translated_or_refused_by_column() {
    let field = |data_type| Field::new("c", data_type, true);
    let public =
        |data_type| public_schema(&Schema::new(vec![field(data_type)])).map(|s| s.field(0).data_type().clone());
    let text = || Arc::new(Field::new("item", DataType::Utf8View, true));
    let plain = || Arc::new(Field::new("item", DataType::Utf8, true));
    let dictionary = DataType::Dictionary(DataType::Int8.into(), DataType::Utf8View.into());
    assert_eq!(public(dictionary).unwrap(), DataType::Utf8);
    assert_eq!(public(DataType::List(text())).unwrap(), DataType::List(plain()));
    assert_eq!(public(DataType::Struct(vec![text()].into())).unwrap(), DataType::Struct(vec![plain()].into()));
    let seconds = DataType::Timestamp(TimeUnit::Second, None);
    assert_eq!(public(seconds).unwrap(), DataType::Timestamp(TimeUnit::Millisecond, None));
    let error = public(DataType::Interval(IntervalUnit::MonthDayNano)).unwrap_err();
    assert_eq!((error.kind(), error.primary()), (ErrorKind::Invalid, "column \"c\" cannot be written to Parquet"));
}

#[tokio::test]
async fn nested_views_and_dictionaries_are_readable_by_anyone() {
    let mut list = ListBuilder::new(StringViewBuilder::new());
    list.values().append_value("one");
    list.append(true);
    let dictionary: DictionaryArray<Int32Type> = [Some("two")].into_iter().collect();
    let inner: ArrayRef = Arc::new(StringViewArray::from(vec!["three"]));
    let window = StructArray::from(vec![(Arc::new(Field::new("text", DataType::Utf8View, true)), inner)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("window_start", Arc::new(TimestampSecondArray::from(vec![1]))),
        ("list", Arc::new(list.finish())),
        ("dictionary", Arc::new(dictionary)),
        ("struct", Arc::new(window)),
        ("bytes", Arc::new(BinaryViewArray::from(vec![b"four".as_slice()]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let output = OutputState { tail: vec![entry(1, 0, std::slice::from_ref(&batch))], ..OutputState::default() };
    let intent = plan(&output, NOW, None, 1).unwrap();
    let store = public();
    let inputs = [(output.tail[0].clone(), of(vec![batch.clone()]))];
    let files = write_sealed(&store, None, QUERY, &intent, &inputs).await.unwrap();
    let back = read(&store, &files[0].path).await;
    assert_eq!(back.schema().fields(), public_schema(&batch.schema()).unwrap().fields());
    assert_eq!(back.column(1).as_list::<i32>().value(0).as_string::<i32>().value(0), "one");
    assert_eq!(back.column(2).as_string::<i32>().value(0), "two");
    assert_eq!(back.column(3).as_struct().column(0).as_string::<i32>().value(0), "three");
}

/// Rows of a view as a reader of the manifest sees them, and as a reader of the public folder does.
async fn seen(private: &Store, public: &Store, output: &OutputState) -> (Vec<i64>, Vec<i64>) {
    let mut by_manifest = Vec::new();
    for entry in &output.tail {
        by_manifest.extend(read_section(private, &entry.section).await.unwrap().iter().flat_map(column));
    }
    for file in &output.sealed.recent {
        by_manifest.extend(column(&read(public, &file.path).await));
    }
    let mut by_folder = Vec::new();
    for path in public.list(&Path::default()).await.unwrap() {
        by_folder.extend(column(&read(public, path.as_ref()).await));
    }
    by_manifest.sort_unstable();
    by_folder.sort_unstable();
    (by_manifest, by_folder)
}

/// One server's life: take over, roll forward what is intended, add a checkpoint, seal. `steps` limits how many durable
/// steps it makes before it is killed. Returns false when it was.
async fn live(private: &Store, public: &Store, mut steps: u32, next: &mut i64) -> Result<bool> {
    let mut step = || {
        steps = steps.saturating_sub(1);
        steps > 0
    };
    let generation = Generation::claim(private).await?;
    let Opened { mut chain, .. } = Chain::open(private, QUERY, generation, "f", &Clock::manual(0)).await?;
    if !step() {
        return Ok(false);
    }
    for round in 0..2 {
        // What was intended, by this server or one before it, is written and marked.
        let output = chain.head().outputs.get(QUERY).cloned().unwrap_or_default();
        for intent in &output.intents {
            let entries = output.seal_inputs(intent);
            let mut inputs = Vec::new();
            for entry in entries {
                let rows = of(read_section(private, &entry.section).await?);
                inputs.push((entry, rows));
            }
            let files = write_sealed(public, None, QUERY, intent, &inputs).await?;
            if !step() {
                return Ok(false);
            }
            let mut draft = chain.draft(0);
            draft.outputs.entry(QUERY.to_owned()).or_default().mark_sealed(intent.seal, files)?;
            chain.commit(draft).await?;
            if !step() {
                return Ok(false);
            }
        }
        if round == 1 {
            break;
        }
        let mut draft = chain.draft(0);
        let mut bundle: BundleBuilder = chain.bundle(&draft, None);
        let batches = [rows(&[Some(*next * DAY / 2), Some(*next)], *next)];
        let section = bundle.add(&batches)?;
        chain.put_bundle(bundle).await?;
        if !step() {
            return Ok(false);
        }
        let output = draft.outputs.entry(QUERY.to_owned()).or_default();
        output.tail.extend(tail_entry(draft.id, 0, section, batches.map(Ok), Some("window_start"))?);
        let names = SealNames { paths: chain.paths(), output: QUERY, generation };
        let intent = plan_seal(output, NOW, names, Some("window_start"), None, |_| Duration::ZERO);
        intent.into_iter().for_each(|intent| output.begin_seal(intent));
        chain.commit(draft).await?;
        *next += 2;
        if !step() {
            return Ok(false);
        }
        chain.collect_garbage(3).await?;
    }
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Servers are killed after any step, one after the other, and the store loses answers: no row is lost or doubled.
    #[test]
    fn killed_anywhere_every_committed_row_is_seen_once(
        lives in proptest::collection::vec(1u32..8, 1..12),
        faults in proptest::collection::vec(0usize..4, 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let faulty = FaultyStore::new();
            let public = public();
            let mut next = 0;
            let kinds = [Fault::None, Fault::After, Fault::OwnExists, Fault::None];
            faulty.fail_puts("/ckpt/", faults.iter().map(|n| kinds[*n]));
            for steps in lives {
                live(&faulty.store(), &public, steps, &mut next).await.unwrap();
                let head = Chain::peek(&faulty.sound(), QUERY).await.unwrap().unwrap();
                let output = head.outputs.get(QUERY).cloned().unwrap_or_default();
                let (by_manifest, by_folder) = seen(&faulty.sound(), &public, &output).await;
                assert_eq!(by_manifest, (0..next).collect::<Vec<_>>());
                assert!(by_folder.windows(2).all(|pair| pair[0] < pair[1]), "doubled in the folder: {by_folder:?}");
                assert!(by_folder.iter().all(|row| *row < next), "uncommitted in the folder: {by_folder:?}");
            }
            assert!(live(&faulty.store(), &public, u32::MAX, &mut next).await.unwrap());
            let head = Chain::peek(&faulty.sound(), QUERY).await.unwrap().unwrap();
            assert!(head.outputs[QUERY].tail.is_empty());
            let (by_manifest, by_folder) = seen(&faulty.sound(), &public, &head.outputs[QUERY]).await;
            assert_eq!(by_manifest, (0..next).collect::<Vec<_>>());
            assert_eq!(by_folder, by_manifest);
        });
    }
}
