//! Shared readers beside readers of one query, which are the oracle.

mod several;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;
use crate::catalog::{CSV_DELIMITER_DEFAULT, Column, KafkaTopic, OnBadRow, RecordRows, StartAt, WatermarkDef};
use crate::clock::{Clock, Micros};
use crate::decode::TableDecoder;
use crate::error::{Error, ErrorKind, Location};
use crate::sink::postgres::PostgresSettings;
use crate::source::embedded::{EmbeddedLog, EmbeddedSettings, NewRecord};
use crate::source::kafka::KafkaSettings;
use crate::source::reader::{Reader, finish, spawn_reader};
use crate::source::{Offset, Polled, Record};
use crate::state::Budget;

/// 2025-11-26T15:13:20Z
const NOW: Micros = 1_764_170_000_000_000;
const PARTITIONS: i32 = 2;

/// `t(id bigint not null, n int, note varchar, ts timestamp(3))`
fn table() -> Arc<TableDef> {
    Arc::new(TableDef {
        name: "t".into(),
        columns: vec![
            Column::physical("id", DataType::Int64, false),
            Column::physical("n", DataType::Int32, true),
            Column::physical("note", DataType::Utf8View, true),
            Column::physical("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ],
        watermark: Some(WatermarkDef {
            column: "ts".into(),
            steps: vec![],
            idle_timeout: None,
            max_future: Duration::from_secs(60),
        }),
        primary_key: vec![],
        connector: Connector::Kafka(KafkaTopic { topic: "t".into(), brokers: None, start: StartAt::Earliest }),
        format: Format::Json,
        csv_delimiter: CSV_DELIMITER_DEFAULT,
        rows: RecordRows::One,
        on_bad_row: OnBadRow::DeadLetter,
        refresh_interval: None,
        http: None,
        text: String::new(),
        location: Location { file: "t.sql".into(), line: 1, column: 1 },
    })
}

/// Where a bad record was, its value and why it is bad.
type Dead = (Option<Partition>, Option<Offset>, Option<String>, String);

/// What a query has got: of each partition the rows with their offsets, the bad records, how many records and the latest time.
#[derive(Debug, Default, PartialEq)]
struct Got {
    rows: BTreeMap<Partition, Vec<(Offset, Vec<String>)>>,
    /// The place of each row within its record.
    positions: BTreeMap<Partition, Vec<i32>>,
    dead: BTreeSet<Dead>,
    letters: usize,
    records: BTreeMap<Partition, u64>,
    extra_rows: u64,
    empty_records: u64,
    latest: BTreeMap<Partition, Option<Micros>>,
    far_future: BTreeMap<Partition, u64>,
}

impl Got {
    fn add(&mut self, batch: &SourceBatch) {
        assert_eq!(batch.batches.len(), batch.origins.len());
        for (rows, origins) in batch.batches.iter().zip(&batch.origins) {
            assert_eq!(rows.num_rows(), origins.len());
            for row in 0..rows.num_rows() {
                let (partition, offset, position) = origins.of(row).unwrap();
                self.rows.entry(partition).or_default().push((offset, shown(rows, row)));
                self.positions.entry(partition).or_default().push(position);
            }
        }
        for letter in &batch.dead_letters {
            let (column, reason) = (letter.column.clone(), letter.reason.clone());
            self.dead.insert((letter.partition, letter.offset, column, reason));
            self.letters += 1;
        }
        self.extra_rows += batch.extra_rows;
        self.empty_records += batch.empty_records;
        for (partition, progress) in &batch.progress {
            *self.records.entry(*partition).or_default() += progress.records;
            *self.far_future.entry(*partition).or_default() += progress.far_future;
            let latest = self.latest.entry(*partition).or_default();
            *latest = (*latest).max(progress.event_time_max);
        }
    }

    fn rows(&self) -> usize {
        self.rows.values().map(Vec::len).sum()
    }
}

fn shown(rows: &RecordBatch, row: usize) -> Vec<String> {
    rows.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect()
}

/// The texts of each partition, as one query alone reads them.
fn alone(log: &[Vec<String>], columns: &[usize]) -> Got {
    alone_of(&table(), log, columns)
}

fn alone_of(def: &TableDef, log: &[Vec<String>], columns: &[usize]) -> Got {
    let mut decoder = TableDecoder::try_new(def, columns, Clock::manual(NOW)).unwrap();
    for (partition, texts) in (0..).zip(log) {
        for (offset, text) in (0..).zip(texts) {
            decoder.push(&record(partition, offset, text)).unwrap();
        }
    }
    let ends: Offsets = (0..).zip(log.iter().map(|texts| texts.len() as Offset)).collect();
    let polled = Polled { positions: ends.clone(), ends, ..Polled::default() };
    let mut got = Got::default();
    got.add(&finish(&mut decoder, &polled).unwrap().0);
    got
}

fn record(partition: Partition, offset: Offset, text: &str) -> Record<'_> {
    Record { partition, offset, timestamp_ms: None, key: None, value: Some(text.as_bytes()), headers: None }
}

/// A reader whose thread is the test.
struct ByHand {
    hub: Arc<Hub>,
    decoder: TableDecoder,
    positions: Offsets,
    told: bool,
}

/// A query that reads by one of them.
struct Query {
    own: Own,
    at: Offsets,
    reader: usize,
    wake: Arc<Notify>,
    got: Got,
}

struct Readers {
    def: Arc<TableDef>,
    log: Vec<Vec<String>>,
    all: Vec<ByHand>,
    queries: Vec<Query>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A query of these columns begins at the beginning.
    Begin(Vec<usize>),
    /// A reader reads so many records of a partition.
    Read(usize, Partition, usize),
    Take(usize),
    LeaveBehind(usize),
    /// A query looks for an older reader.
    Look(usize),
}

impl Readers {
    fn over(def: Arc<TableDef>, log: Vec<Vec<String>>) -> Self {
        Readers { def, log, all: Vec::new(), queries: Vec::new() }
    }

    fn limits() -> ReaderLimits {
        ReaderLimits { batch_bytes_max: 1 << 10, queue_batches: 2, ..ReaderLimits::default() }
    }

    /// A reader of its own for a query.
    fn begin(&mut self, query: u64, at: &Offsets, columns: &[usize], wake: &Arc<Notify>) -> usize {
        let hub = Arc::new(Hub::new(self.all.len() as u64, Arc::clone(&self.def), at.clone(), Self::limits(), None));
        assert!(hub.join(query, at, columns, wake, false));
        let positions = (0..PARTITIONS).map(|id| (id, at.get(&id).copied().unwrap_or(0))).collect();
        let decoder = TableDecoder::try_new(&self.def, columns, Clock::manual(NOW)).unwrap().for_several();
        self.all.push(ByHand { hub, decoder, positions, told: false });
        self.all.len() - 1
    }

    fn read(&mut self, reader: usize, partition: Partition, records: usize) {
        let Some(ByHand { hub, decoder, positions, told }) = self.all.get_mut(reader) else { return };
        if let Some(columns) = hub.other_columns() {
            *decoder = TableDecoder::try_new(&self.def, &columns, Clock::manual(NOW)).unwrap().for_several();
            decoder.start_at(positions);
        }
        // The first batch tells where the partitions stand.
        let records = if std::mem::replace(told, true) { records } else { 0 };
        let next = positions.get_mut(&partition).unwrap();
        let texts = &self.log[partition as usize];
        for text in texts.iter().skip(*next as usize).take(records) {
            decoder.push(&record(partition, *next, text)).unwrap();
            *next += 1;
        }
        let polled = Polled { positions: positions.clone(), ends: positions.clone(), ..Polled::default() };
        let (rows, doubtful) = finish(decoder, &polled).unwrap();
        // Nobody reads by it any more, or all do.
        let _ = hub.put(rows, doubtful);
    }

    fn take(&mut self, query: usize) -> bool {
        let Some(Query { own, at, reader, got, .. }) = self.queries.get_mut(query) else { return false };
        match self.all[*reader].hub.take(query as u64) {
            Taken::Batch(decoded) => {
                got.add(&own.take(&decoded, at).unwrap());
                true
            }
            Taken::Nothing => false,
            Taken::LeftBehind | Taken::Failed(_) => panic!("neither has happened"),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin(columns) => {
                let (id, wake) = (self.queries.len() as u64, Arc::new(Notify::new()));
                let at = Offsets::new();
                let found = self.all.iter().position(|reader| reader.hub.join(id, &at, &columns, &wake, false));
                let reader = found.unwrap_or_else(|| self.begin(id, &at, &columns, &wake));
                let own = Own::new(Arc::clone(&self.def), columns, Clock::manual(NOW));
                self.queries.push(Query { own, at, reader, wake, got: Got::default() });
            }
            Step::Read(reader, partition, records) => self.read(reader, partition, records),
            Step::Take(query) => _ = self.take(query),
            Step::LeaveBehind(query) => {
                let Some(Query { own, at, reader, wake, .. }) = self.queries.get(query) else { return };
                self.all[*reader].hub.leave(query as u64);
                let (at, columns, wake) = (at.clone(), own.columns().to_vec(), Arc::clone(wake));
                let reader = self.begin(query as u64, &at, &columns, &wake);
                self.queries[query].reader = reader;
            }
            Step::Look(query) => {
                let Some(Query { own, at, reader, wake, .. }) = self.queries.get_mut(query) else { return };
                if at.is_empty() {
                    return;
                }
                let mut older = self.all[..*reader].iter();
                if let Some(found) = older.position(|other| other.hub.join(query as u64, at, own.columns(), wake, true))
                {
                    self.all[*reader].hub.leave(query as u64);
                    *reader = found;
                }
            }
        }
    }

    /// All read to the end.
    fn finish(&mut self) {
        for query in 0..self.queries.len() {
            let reader = self.queries[query].reader;
            for partition in (0..PARTITIONS).chain([0]) {
                self.read(reader, partition, usize::MAX);
            }
            while self.take(query) {}
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    (0..10, 0..1_000_i64).prop_map(|(kind, id)| {
        let ts = 1_764_169_000_000_i64 + id;
        match kind {
            0 => format!(r#"{{"id":{id},"n":"many","note":"a","ts":{ts}}}"#),
            1 => format!(r#"{{"n":1,"note":"b","ts":{ts}}}"#),
            2 => format!(r#"{{"id":{id},"n":2,"note":5,"ts":{ts}}}"#),
            3 => format!(r#"{{"id":{id},"n":3,"note":"c","ts":"soon"}}"#),
            4 => "nonsense".to_owned(),
            5 => format!(r#"{{"id":{id},"n":"many","note":5,"ts":{}}}"#, ts + 3_600_000),
            _ => format!(r#"{{"id":{id},"n":{},"note":"a longer text than a view holds","ts":{ts}}}"#, id % 7),
        }
    })
}

fn step(columns: Vec<Vec<usize>>) -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop::sample::select(columns).prop_map(Step::Begin),
        6 => (0..6_usize, 0..PARTITIONS, 1..6_usize).prop_map(|(reader, of, records)| Step::Read(reader, of, records)),
        6 => (0..4_usize).prop_map(Step::Take),
        1 => (0..4_usize).prop_map(Step::LeaveBehind),
        3 => (0..4_usize).prop_map(Step::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    // Whoever reads what with whom, and when: it gets what it would get alone, each record once and in order.
    #[test]
    fn a_query_gets_what_it_would_get_alone(
        log in prop::collection::vec(prop::collection::vec(text(), 0..40), PARTITIONS as usize),
        first in prop::sample::select(vec![vec![0, 3], vec![1, 3], vec![0, 1, 2, 3]]),
        steps in prop::collection::vec(
            step(vec![vec![0], vec![0, 3], vec![1, 3], vec![2, 3], vec![0, 1, 2, 3], vec![]]),
            0..120,
        ),
    ) {
        as_alone(table(), log, first, steps)?;
    }
}

/// What every query has got when all have read to the end is what it would have got alone.
fn as_alone(
    def: Arc<TableDef>,
    log: Vec<Vec<String>>,
    first: Vec<usize>,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut readers = Readers::over(def, log);
    readers.step(Step::Begin(first));
    steps.into_iter().for_each(|step| readers.step(step));
    readers.finish();
    for query in &readers.queries {
        let expected = alone_of(&readers.def, &readers.log, query.own.columns());
        prop_assert_eq!(&query.got, &expected);
    }
    Ok(())
}

struct Site {
    _dir: tempfile::TempDir,
    log: Arc<EmbeddedLog>,
    shared: Arc<SharedTopics>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), EmbeddedSettings::default(), Clock::manual(NOW)).unwrap();
        log.create_topic("t", PARTITIONS as u32).unwrap();
        Site { _dir: dir, log, shared: Arc::default() }
    }

    fn append(&self, partition: Partition, texts: &[String]) {
        let records: Vec<_> =
            texts.iter().map(|text| NewRecord { value: Some(text.as_bytes()), ..NewRecord::default() }).collect();
        self.log.append("t", partition, &records).unwrap();
    }

    /// A shared reader whose source is the test.
    fn unopened(&self, resume: &[(Partition, Offset)]) -> Arc<Hub> {
        let (id, resume) = (self.shared.next_id(), resume.iter().copied().collect::<Offsets>());
        let hub = Arc::new(Hub::new(id, table(), resume.clone(), ReaderLimits::default(), None));
        assert!(hub.join(self.shared.next_id(), &resume, &[0, 3], &Arc::default(), false));
        self.shared.hubs.lock().push(Arc::clone(&hub));
        hub
    }

    fn read(&self, columns: &[usize], resume: &[(Partition, Offset)], limits: ReaderLimits) -> Reader {
        self.read_for(None, columns, resume, limits)
    }

    fn read_for(
        &self,
        budget: Option<&Arc<Budget>>,
        columns: &[usize],
        resume: &[(Partition, Offset)],
        limits: ReaderLimits,
    ) -> Reader {
        let open = OpenSpec {
            resume: resume.iter().copied().collect(),
            account: budget.map(|budget| budget.account("a query")),
            ..OpenSpec::default()
        };
        self.try_read(table(), columns, open, limits).unwrap()
    }

    fn try_read(&self, def: Arc<TableDef>, columns: &[usize], open: OpenSpec, limits: ReaderLimits) -> Result<Reader> {
        let open = OpenSpec { shared: Some(Arc::clone(&self.shared)), ..open };
        let (kafka, clock) = (KafkaSettings::default(), Clock::manual(NOW));
        let deps =
            SourceDeps { kafka, embedded: Some(Arc::clone(&self.log)), postgres: PostgresSettings::default(), clock };
        spawn_reader("q/t", def, columns.to_vec(), open, limits, deps)
    }
}

fn good(ids: std::ops::Range<i64>) -> Vec<String> {
    ids.map(|id| format!(r#"{{"id":{id},"n":{},"note":"x","ts":{}}}"#, id % 3, 1_764_169_000_000_i64 + id)).collect()
}

/// Reads until so many records have come.
async fn take(reader: &mut Reader, records: u64) -> Got {
    let mut got = Got::default();
    while got.records.values().sum::<u64>() < records {
        got.add(&reader.next().await.expect("more").unwrap());
    }
    got
}

#[tokio::test]
async fn queries_of_one_topic_have_one_reader_and_each_its_columns() {
    let site = Site::new();
    site.append(0, &good(0..3));
    let (mut one, mut other) =
        (site.read(&[0, 3], &[], ReaderLimits::default()), site.read(&[0, 3], &[], ReaderLimits::default()));
    assert_eq!(site.shared.readers(), 1);
    let (got, same) = (take(&mut one, 3).await, take(&mut other, 3).await);
    assert_eq!(got, same);
    assert_eq!(got.rows[&0][2], (2, vec!["2".to_owned(), "2025-11-26T14:56:40.002".to_owned()]));
    // Of other columns, from a checkpoint: it joins as soon as they are decoded.
    let mut third = site.read(&[1], &[(0, 3), (1, 0)], ReaderLimits::default());
    let mut got = Got::default();
    let mut at = 3;
    while site.shared.readers() > 1 || got.rows() < 10 {
        site.append(0, &good(at..at + 1));
        at += 1;
        got.add(&third.next().await.unwrap().unwrap());
        while one.try_next().is_some() {}
        while other.try_next().is_some() {}
    }
    let offsets: Vec<_> = got.rows[&0].iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (3..3 + offsets.len() as Offset).collect::<Vec<_>>(), "each once, in order");
}

#[tokio::test]
async fn a_bad_column_is_bad_for_those_who_read_it() {
    let site = Site::new();
    let texts = [
        good(0..1),
        vec![r#"{"id":1,"n":"many","note":"x","ts":1764169000001}"#.to_owned(), "nonsense".to_owned()],
        good(3..4),
    ];
    site.append(0, &texts.concat());
    let log = [texts.concat(), vec![]];
    let columns: [&[usize]; 3] = [&[0, 3], &[1, 3], &[0, 1, 2, 3]];
    let mut readers = columns.map(|columns| site.read(columns, &[], ReaderLimits::default()));
    for (reader, columns) in readers.iter_mut().zip(columns) {
        let got = take(reader, 4).await;
        assert_eq!(got, alone(&log, columns), "{columns:?}");
        assert_eq!(got.letters, if columns.contains(&1) { 2 } else { 1 });
    }
}

#[tokio::test]
async fn who_is_too_slow_for_the_others_reads_alone_and_loses_nothing() {
    let site = Site::new();
    let texts = good(0..3_000);
    texts.chunks(500).for_each(|texts| site.append(0, texts));
    let limits = ReaderLimits { batch_rows_max: 50, batch_bytes_max: 2_000, queue_batches: 1, decoders: 1 };
    let (mut slow, mut fast) = (site.read(&[0, 3], &[], limits), site.read(&[0, 1, 3], &[], limits));
    let log = [texts, vec![]];
    assert_eq!(take(&mut fast, 3_000).await, alone(&log, &[0, 1, 3]));
    assert_eq!(take(&mut slow, 3_000).await, alone(&log, &[0, 3]));
}

#[tokio::test]
async fn who_stands_still_does_not_hold_the_others_where_little_comes() {
    let site = Site::new();
    let limits = ReaderLimits { batch_bytes_max: 1_000, ..ReaderLimits::default() };
    let (mut still, mut other) = (site.read(&[0, 3], &[], limits), site.read(&[0, 3], &[], limits));
    // Far more than may wait, and never enough at a time to fill a batch.
    for id in 0..500 {
        site.append(0, &good(id..id + 1));
        let got = tokio::time::timeout(Duration::from_secs(30), take(&mut other, 1)).await;
        assert_eq!(got.expect("soon").rows(), 1, "record {id}");
    }
    assert_eq!(take(&mut still, 500).await.rows(), 500);
}

#[tokio::test]
async fn a_reader_ends_with_its_last_query_and_gives_everything_back() {
    let site = Site::new();
    site.append(0, &good(0..100));
    let budget = Budget::new(1 << 30, None);
    let spawn = |columns: &[usize]| site.read_for(Some(&budget), columns, &[], ReaderLimits::default());
    let (mut one, mut other) = (spawn(&[0, 3]), spawn(&[0, 3]));
    take(&mut one, 100).await;
    let once = budget.used();
    assert!(once > 0);
    take(&mut other, 100).await;
    assert!(budget.used() <= once, "counted once");
    drop(one);
    site.append(1, &good(0..5));
    assert_eq!(take(&mut other, 5).await.rows(), 5);
    assert_eq!(site.shared.readers(), 1);
    other.stop();
    assert_eq!((site.shared.readers(), budget.used(), Arc::strong_count(&site.log)), (0, 0, 1));
}

#[test]
fn what_is_kept_is_let_go_where_memory_is_short_also_if_nothing_comes() {
    let budget = Budget::new(1_000, None);
    let limits = ReaderLimits::default();
    let hub = Hub::new(0, table(), Offsets::new(), limits, Some(budget.account("a reader")));
    assert!(hub.join(1, &Offsets::new(), &[0], &Arc::default(), false));
    hub.other_columns();
    assert!(hub.put(SourceBatch { bytes: 100, ..SourceBatch::default() }, vec![]).is_ok());
    assert!(matches!(hub.take(1), Taken::Batch(_)));
    hub.other_columns();
    assert_eq!(budget.used(), 100, "kept for who looks");
    let _others = budget.account("a query").hold(600);
    hub.other_columns();
    assert_eq!(budget.used(), 600);
}

#[tokio::test]
async fn who_is_beyond_what_a_reader_fails_at_goes_on_alone() {
    let site = Site::new();
    site.append(0, &good(0..3));
    let hub = site.unopened(&[(0, 0), (1, 0)]);
    let spawn = |at| site.read(&[0, 3], &[(0, at), (1, 0)], ReaderLimits::default());
    let (mut there, mut beyond) = (spawn(0), spawn(2));
    assert_eq!(site.shared.readers(), 1);
    hub.fail(Error::corrupt("offset 0 is gone"));
    assert_eq!(take(&mut beyond, 1).await.rows[&0].len(), 1);
    let _where_it_stands = there.next().await;
    assert!(there.next().await.expect("an error").is_err());
}

// A topic that was set back has other records at these offsets. That must be said, also to who reads with others that are behind.
#[tokio::test]
async fn who_has_read_beyond_the_topics_end_is_told() {
    let site = Site::new();
    site.append(0, &good(0..1));
    let hub = site.unopened(&[(0, 0), (1, 0)]);
    let spawn = || site.read(&[0, 3], &[(0, 2), (1, 0)], ReaderLimits::default());
    let before = spawn();
    assert_eq!(site.shared.readers(), 1);
    let standing = [(0, standing(0, Some(1))), (1, standing(0, Some(0)))];
    assert!(hub.put(SourceBatch { progress: standing.into(), ..SourceBatch::default() }, vec![]).is_ok());
    for mut reader in [before, spawn()] {
        let told = async {
            loop {
                if let Err(error) = reader.next().await.expect("an error") {
                    break error;
                }
            }
        };
        let error = tokio::time::timeout(Duration::from_secs(30), told).await.expect("an error");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}

#[tokio::test]
async fn a_column_that_cannot_be_decoded_is_only_the_error_of_who_reads_it() {
    let site = Site::new();
    site.append(0, &good(0..3));
    let mut def = TableDef::clone(&table());
    def.columns[1].data_type = DataType::Duration(TimeUnit::Second);
    let def = Arc::new(def);
    let read =
        |columns: &[usize]| site.try_read(Arc::clone(&def), columns, OpenSpec::default(), ReaderLimits::default());
    let mut reader = read(&[0, 3]).unwrap();
    assert_eq!(read(&[0, 1]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(take(&mut reader, 3).await.rows(), 3);
}

#[tokio::test]
async fn a_reader_that_fails_tells_all_its_queries() {
    let site = Site::new();
    let beyond: &[(Partition, Offset)] = &[(0, 5), (1, 0)];
    let spawn = || site.read(&[0, 3], beyond, ReaderLimits::default());
    let mut readers = [spawn(), spawn()];
    for reader in &mut readers {
        let error = loop {
            if let Err(error) = reader.next().await.expect("an error") {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(reader.next().await.is_none());
    }
}
