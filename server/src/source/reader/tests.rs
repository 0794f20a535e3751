//! The reader's thread between a real source and the query.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use super::*;
use crate::catalog::{CSV_DELIMITER_DEFAULT, Column, FilesystemPath, OnBadRow, RecordRows};
use crate::error::Location;
use crate::source::embedded::{EmbeddedSettings, NewRecord};
use crate::state::Budget;

fn table(connector: Connector, format: Format) -> Arc<TableDef> {
    Arc::new(TableDef {
        name: "t".into(),
        columns: vec![Column::physical("id", DataType::Int64, false)],
        watermark: None,
        primary_key: vec![],
        connector,
        format,
        csv_delimiter: CSV_DELIMITER_DEFAULT,
        rows: RecordRows::One,
        on_bad_row: OnBadRow::DeadLetter,
        refresh_interval: None,
        http: None,
        text: String::new(),
        location: Location { file: "t.sql".into(), line: 1, column: 1 },
    })
}

fn topic() -> Arc<TableDef> {
    table(Connector::Kafka(KafkaTopic { topic: "t".into(), brokers: None, start: StartAt::Earliest }), Format::Json)
}

fn deps(log: Option<&Arc<EmbeddedLog>>) -> SourceDeps {
    SourceDeps {
        kafka: KafkaSettings::default(),
        embedded: log.cloned(),
        postgres: PostgresSettings::default(),
        clock: Clock::manual(0),
    }
}

fn log(dir: &std::path::Path) -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(dir, EmbeddedSettings::default(), Clock::manual(0)).unwrap();
    log.create_topic("t", 2).unwrap();
    log
}

fn append(log: &EmbeddedLog, partition: Partition, ids: std::ops::Range<i64>) {
    let texts = ids.map(|id| format!("{{\"id\":{id}}}")).collect::<Vec<_>>();
    let records = texts.iter().map(|text| NewRecord { value: Some(text.as_bytes()), ..Default::default() });
    log.append("t", partition, &records.collect::<Vec<_>>()).unwrap();
}

fn spawn(def: &Arc<TableDef>, open: OpenSpec, limits: ReaderLimits, log: Option<&Arc<EmbeddedLog>>) -> Reader {
    spawn_reader("t", Arc::clone(def), vec![0], open, limits, deps(log)).unwrap()
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Reads on until `rows` rows have come or the input has ended; checks that ranges join.
async fn read(reader: &mut Reader, rows: usize) -> (Vec<i64>, Vec<usize>, Offsets) {
    let (mut seen, mut cuts, mut at) = (Vec::new(), Vec::new(), Offsets::new());
    while seen.len() < rows {
        let batch = reader.next().await.expect("more rows").unwrap();
        for (partition, progress) in &batch.progress {
            let before = at.insert(*partition, progress.to);
            assert_eq!(before.unwrap_or(progress.from), progress.from, "ranges join without a gap");
        }
        cuts.push(ids(&batch.batches).len());
        seen.extend(ids(&batch.batches));
        if batch.finished {
            break;
        }
    }
    (seen, cuts, at)
}

#[tokio::test]
async fn rows_of_a_topic_arrive_as_they_are_appended() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let mut reader = spawn(&topic(), OpenSpec::default(), ReaderLimits::default(), Some(&log));
    let first = reader.next().await.unwrap().unwrap();
    let standing = standing(0, Some(0));
    assert_eq!(first.progress.into_iter().collect::<Vec<_>>(), [(0, standing), (1, standing)]);
    append(&log, 0, 0..3);
    assert_eq!(read(&mut reader, 3).await.0, [0, 1, 2]);
    append(&log, 0, 3..5);
    let (rows, _, at) = read(&mut reader, 2).await;
    assert_eq!((rows, at[&0]), (vec![3, 4], 5));
    reader.stop();
}

#[tokio::test]
async fn epoch_rows_cuts_exactly_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    append(&log, 0, 0..7);
    let open = OpenSpec { epoch_rows: Some(3), until: Some(log.ends("t").unwrap()), ..Default::default() };
    let mut reader = spawn(&topic(), open, ReaderLimits::default(), Some(&log));
    let (rows, cuts, at) = read(&mut reader, usize::MAX).await;
    assert_eq!(rows, (0..7).collect::<Vec<_>>());
    assert_eq!(cuts.into_iter().filter(|rows| *rows > 0).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(at, Offsets::from([(0, 7), (1, 0)]));
    assert!(reader.next().await.is_none(), "nothing follows the last batch");
}

#[tokio::test]
async fn a_reader_goes_on_from_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    append(&log, 0, 0..10);
    append(&log, 1, 100..110);
    let open = OpenSpec {
        resume: Offsets::from([(0, 6), (1, 10)]),
        until: Some(log.ends("t").unwrap()),
        ..Default::default()
    };
    let mut reader = spawn(&topic(), open, ReaderLimits::default(), Some(&log));
    assert_eq!(read(&mut reader, usize::MAX).await.0, [6, 7, 8, 9]);
}

#[test]
fn a_batch_waits_beside_another_only_where_there_is_memory_for_it() {
    let budget = Budget::new(1 << 20, None);
    let others = budget.account("the others").hold(768 << 10);
    let account = budget.account("the query");
    let (queue, mut batches) = mpsc::channel(4);
    let room = |bytes| may_wait(&queue, Some(&account), bytes);
    assert!(room(100), "nothing waits");
    let batch = SourceBatch { bytes: 100, ..SourceBatch::default() };
    queue.try_send(Ok(counted(batch, Some(&account)))).unwrap();
    assert_eq!(account.used(), 100);
    assert!(!room(1), "one waits, and others hold the memory");
    drop(others);
    assert!(room(100) && !room(1 << 20));
    drop(batches.try_recv().unwrap());
    assert_eq!(account.used(), 0);
}

#[test]
fn what_was_known_before_a_trouble_is_not_known_after_it() {
    let mut answers = Answers::default();
    let polled = |trouble: Option<&str>| Polled {
        ends: Offsets::from([(0, 5), (1, 7)]),
        answered: [0, 1].into(),
        trouble: trouble.map(str::to_owned),
        ..Polled::default()
    };
    answers.note(&polled(None), 10);
    assert_eq!(answers.known[&1], Known { end: 7, since: 10, at: 10 });
    assert!(answers.set_trouble(Some("no answer".to_owned())));
    assert!(answers.known.is_empty());
    answers.note(&polled(Some("no answer")), 20);
    assert!(answers.known.is_empty());
    assert!(answers.set_trouble(None));
    answers.note(&polled(None), 30);
    assert_eq!(answers.known[&1], Known { end: 7, since: 30, at: 30 });
}

// Others hold all that may wait.
#[tokio::test]
async fn without_memory_one_batch_waits_at_a_time_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    append(&log, 0, 0..100);
    let budget = Budget::new(1 << 20, None);
    let others = budget.account("the others").hold(768 << 10).unwrap();
    let account = budget.account("the query");
    let until = Some(log.ends("t").unwrap());
    let open = OpenSpec { epoch_rows: Some(10), until, account: Some(Arc::clone(&account)), ..Default::default() };
    let mut reader = spawn(&topic(), open, ReaderLimits { queue_batches: 16, ..Default::default() }, Some(&log));
    let (mut seen, mut largest, mut held) = (Vec::new(), 0, 0);
    while let Some(batch) = reader.next().await {
        let batch = batch.unwrap();
        largest = largest.max(batch.bytes);
        held = held.max(account.used());
        seen.extend(ids(&batch.batches));
    }
    // One that is looked at and one that waits.
    assert!(held <= 2 * largest, "{held} bytes, of at most {largest} a batch");
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert!(largest > 0);
    reader.stop();
    assert_eq!(account.used(), 0);
    drop(others);
}

#[tokio::test]
async fn a_slow_query_gets_larger_batches_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let limits = ReaderLimits { queue_batches: 1, batch_rows_max: 40, ..Default::default() };
    let mut reader = spawn(&topic(), OpenSpec::default(), limits, Some(&log));
    // Nobody takes batches meanwhile: they pile up in the batch under construction, then in the log.
    for round in 0..100 {
        append(&log, 0, round * 2..round * 2 + 2);
    }
    let (rows, cuts, _) = read(&mut reader, 200).await;
    assert_eq!(rows, (0..200).collect::<Vec<_>>());
    assert!(cuts.iter().all(|rows| *rows <= 40));
}

#[tokio::test]
async fn bad_records_travel_beside_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ndjson");
    std::fs::write(&path, "{\"id\":1}\nnonsense\n{\"id\":3}\n").unwrap();
    let files = Connector::Filesystem(FilesystemPath { path: path.display().to_string() });
    let mut reader = spawn(&table(files, Format::Json), OpenSpec::default(), ReaderLimits::default(), None);
    let mut all = Vec::new();
    let mut dead = Vec::new();
    while let Some(batch) = reader.next().await {
        let batch = batch.unwrap();
        all.extend(ids(&batch.batches));
        dead.extend(batch.dead_letters);
    }
    assert_eq!(all, [1, 3]);
    assert_eq!((dead[0].offset, dead[0].value.as_deref()), (Some(1), Some(&b"nonsense"[..])));
    assert_eq!(dead[0].topic, Some(path.display().to_string()));
}

/// All that a reader says of a table, batch by batch.
async fn said(def: &Arc<TableDef>, open: OpenSpec, decoders: usize, log: Option<&Arc<EmbeddedLog>>) -> Vec<String> {
    let limits = ReaderLimits { batch_rows_max: ROWS_SIDE_BY_SIDE, decoders, ..Default::default() };
    let (mut reader, mut all) = (spawn(def, open, limits, log), Vec::new());
    while let Some(batch) = reader.next().await {
        all.push(match batch {
            Ok(batch) => format!(
                "{:?} {:?} {:?} {:?} {}",
                ids(&batch.batches),
                batch.origins.iter().flat_map(|of| (0..of.len()).map(|row| of.of(row))).collect::<Vec<_>>(),
                batch.progress,
                batch.dead_letters,
                batch.finished
            ),
            Err(error) => error.report(),
        });
    }
    all
}

#[tokio::test]
async fn several_threads_decode_what_one_does() {
    let dir = tempfile::tempdir().unwrap();
    // Seven batches and a part of one, over three files, with bad records here and there.
    for (file, lines) in [("a", 0..13_000), ("b", 13_000..13_001), ("c", 13_001..30_000)] {
        let line = |id: i64| if id % 977 == 3 { format!("nonsense {id}\n") } else { format!("{{\"id\":{id}}}\n") };
        std::fs::write(dir.path().join(file), lines.map(line).collect::<String>()).unwrap();
    }
    let files = Connector::Filesystem(FilesystemPath { path: dir.path().display().to_string() });
    for on_bad_row in [OnBadRow::DeadLetter, OnBadRow::Fail] {
        let def = table(files.clone(), Format::Json);
        let def = Arc::new(TableDef { on_bad_row, ..def.as_ref().clone() });
        for resume in [Offsets::new(), Offsets::from([(0, 13_000), (1, 1), (2, 4_000)])] {
            let open = || OpenSpec { resume: resume.clone(), ..OpenSpec::default() };
            let one = said(&def, open(), 1, None).await;
            for decoders in [2, 3, 16] {
                assert_eq!(said(&def, open(), decoders, None).await, one, "{decoders} threads");
            }
        }
    }
}

#[tokio::test]
async fn several_threads_decode_the_partitions_of_a_topic_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    for round in 0..6 {
        append(&log, 0, round * 5_000..(round + 1) * 5_000);
        append(&log, 1, 100_000 + round * 3_000..100_000 + (round + 1) * 3_000);
    }
    let limits = ReaderLimits { batch_rows_max: ROWS_SIDE_BY_SIDE, decoders: 3, ..Default::default() };
    let open = OpenSpec { until: Some(log.ends("t").unwrap()), ..Default::default() };
    let (rows, _, at) = read(&mut spawn(&topic(), open, limits, Some(&log)), usize::MAX).await;
    let (first, second): (Vec<i64>, Vec<i64>) = rows.into_iter().partition(|id| *id < 100_000);
    assert_eq!(first, (0..30_000).collect::<Vec<_>>());
    assert_eq!(second, (100_000..118_000).collect::<Vec<_>>());
    assert_eq!(at, Offsets::from([(0, 30_000), (1, 18_000)]));
    // And what comes afterwards, by the reader's own thread.
    let mut reader = spawn(&topic(), OpenSpec::default(), limits, Some(&log));
    assert_eq!(read(&mut reader, 48_000).await.0.len(), 48_000);
    append(&log, 0, 30_000..30_005);
    assert_eq!(read(&mut reader, 5).await.0, (30_000..30_005).collect::<Vec<_>>());
    reader.stop();
}

#[tokio::test]
async fn csv_files_come_through_the_same_reader() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "id\n1\n2\n").unwrap();
    std::fs::write(dir.path().join("b.csv"), "id\n3\n").unwrap();
    let files = Connector::Filesystem(FilesystemPath { path: dir.path().display().to_string() });
    let open = OpenSpec { epoch_rows: Some(1), ..Default::default() };
    let mut reader = spawn(&table(files, Format::Csv), open, ReaderLimits::default(), None);
    let (rows, cuts, at) = read(&mut reader, usize::MAX).await;
    assert_eq!((rows, at), (vec![1, 2, 3], Offsets::from([(0, 2), (1, 1)])));
    assert!(cuts.iter().all(|rows| *rows <= 1));
}

#[tokio::test]
async fn an_error_is_the_last_thing_that_comes() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let open = OpenSpec { resume: Offsets::from([(0, 5)]), ..Default::default() };
    let mut reader = spawn(&topic(), open, ReaderLimits::default(), Some(&log));
    let error = reader.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(reader.next().await.is_none() && reader.try_next().is_none());

    let mut reader = spawn(&topic(), OpenSpec::default(), ReaderLimits::default(), None);
    let error = reader.next().await.unwrap().unwrap_err();
    assert!(error.primary().contains("embedded log, which is not open here"), "{error:?}");
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_trouble_or_for_a_bounded_read_an_error() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let brokers = silent.local_addr().unwrap().to_string();
    let kafka = KafkaSettings { brokers, connect_timeout_ms: 100, ..Default::default() };
    let deps = SourceDeps { kafka, ..deps(None) };
    let spawn = |open| spawn_reader("t", topic(), vec![0], open, ReaderLimits::default(), deps.clone()).unwrap();
    let mut reader = spawn(OpenSpec::default());
    let batch = reader.next().await.unwrap().unwrap();
    assert!(batch.progress.is_empty() && !batch.finished);
    assert!(reader.trouble().unwrap().starts_with("no answer from the Kafka brokers"));
    reader.stop();

    let mut reader = spawn(OpenSpec { until: Some(Offsets::new()), ..Default::default() });
    assert_eq!(reader.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_stopped_reader_lets_go_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    append(&log, 0, 0..10_000);
    let limits = ReaderLimits { queue_batches: 1, batch_rows_max: 10, ..Default::default() };
    // Its queue is full: the thread waits for room.
    let mut reader = spawn(&topic(), OpenSpec::default(), limits, Some(&log));
    reader.next().await.unwrap().unwrap();
    reader.stop();
    assert_eq!(Arc::strong_count(&log), 1);
}

#[test]
fn a_snapshot_tells_what_is_there_now() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    append(&log, 1, 0..4);
    let (begin, end) = snapshot_offsets(&topic(), &deps(Some(&log))).unwrap();
    assert_eq!(begin, Offsets::from([(0, 0), (1, 0)]));
    assert_eq!(end, Some(Offsets::from([(0, 0), (1, 4)])));
}

/// Reads files to their end: the rows, where they end, and which files they are.
async fn files_read(def: &Arc<TableDef>, resume: Offsets, known: Arc<Identity>) -> (Vec<i64>, Offsets, Arc<Identity>) {
    let open = OpenSpec { resume, identity: Some(known), ..Default::default() };
    let mut reader = spawn(def, open, ReaderLimits::default(), None);
    let (mut seen, mut at, mut identity) = (Vec::new(), Offsets::new(), None);
    loop {
        let batch = reader.next().await.expect("an end").unwrap();
        at.extend(batch.progress.iter().map(|(partition, progress)| (*partition, progress.to)));
        identity = batch.identity.clone().or(identity);
        seen.extend(ids(&batch.batches));
        if batch.finished {
            return (seen, at, identity.expect("what the offsets are of"));
        }
    }
}

// They may be thousands, and whoever is told compares them all.
#[tokio::test]
async fn which_files_they_are_is_said_with_the_first_batch_alone() {
    for (format, header) in [(Format::Json, ""), (Format::Csv, "id\n")] {
        let dir = tempfile::tempdir().unwrap();
        let line = |id: i64| if format == Format::Json { format!("{{\"id\":{id}}}\n") } else { format!("{id}\n") };
        std::fs::write(dir.path().join("a"), format!("{header}{}", (0..3).map(line).collect::<String>())).unwrap();
        let path = FilesystemPath { path: dir.path().display().to_string() };
        let open = OpenSpec { identity: Some(Arc::default()), ..Default::default() };
        let limits = ReaderLimits { batch_rows_max: 1, ..Default::default() };
        let mut reader = spawn(&table(Connector::Filesystem(path), format), open, limits, None);
        let mut told = Vec::new();
        loop {
            let batch = reader.next().await.expect("an end").unwrap();
            told.push(batch.identity.is_some());
            if batch.finished {
                break;
            }
        }
        assert!(told.len() >= 3 && told[0] && !told[1..].contains(&true), "{told:?}");
    }
}

// One that sorts first would double some rows and lose others.
#[tokio::test]
async fn a_file_that_comes_later_changes_no_number_of_those_that_were_read() {
    for (format, header) in [(Format::Json, ""), (Format::Csv, "id\n")] {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, ids: std::ops::Range<i64>| {
            let line = |id: i64| if format == Format::Json { format!("{{\"id\":{id}}}\n") } else { format!("{id}\n") };
            std::fs::write(dir.path().join(name), format!("{header}{}", ids.map(line).collect::<String>())).unwrap();
        };
        let path = FilesystemPath { path: dir.path().display().to_string() };
        let def = table(Connector::Filesystem(path), format);
        write("b", 0..3);
        write("c", 3..5);
        let (rows, at, known) = files_read(&def, Offsets::new(), Arc::default()).await;
        assert_eq!((rows, &at), (vec![0, 1, 2, 3, 4], &Offsets::from([(0, 3), (1, 2)])));
        write("a", 10..14);
        write("c", 3..7);
        let (rows, at, known) = files_read(&def, at, known).await;
        assert_eq!((rows, &at), (vec![5, 6, 10, 11, 12, 13], &Offsets::from([(0, 3), (1, 4), (2, 4)])));
        assert_eq!(files_read(&def, at, known).await.0, [0_i64; 0]);
    }
}
