//! The embedded log as its users see it: what was appended is read, once and in order, whatever happens between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::StorageBackend;

use super::*;
use crate::catalog::{KafkaTopic, StartAt};
use crate::error::ErrorKind;
use crate::source::{PollLimits, Polled, Source};

const HOUR: i64 = 3_600_000_000;

fn open(dir: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(dir, EmbeddedSettings::default(), Clock::manual(0)).unwrap()
}

fn topic(name: &str) -> KafkaTopic {
    KafkaTopic { topic: name.to_owned(), brokers: None, start: StartAt::Earliest }
}

/// Appends the texts of numbers.
fn append(log: &EmbeddedLog, name: &str, partition: Partition, numbers: std::ops::Range<u32>) -> Offset {
    let texts = numbers.map(|number| number.to_string()).collect::<Vec<_>>();
    let records = texts.iter().map(|text| NewRecord { value: Some(text.as_bytes()), ..Default::default() });
    log.append(name, partition, &records.collect::<Vec<_>>()).unwrap()
}

fn limits(records_max: usize) -> PollLimits {
    PollLimits { records_max, bytes_max: usize::MAX, wait: Duration::ZERO }
}

type Seen = Vec<(Partition, Offset, String)>;

fn poll(source: &mut EmbeddedSource, limits: PollLimits) -> (Seen, Polled) {
    let mut seen = Seen::new();
    let polled = source
        .poll(limits, &mut |record| {
            let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            seen.push((record.partition, record.offset, text));
        })
        .unwrap();
    (seen, polled)
}

fn seen(partition: Partition, numbers: std::ops::Range<u32>, first: Offset) -> Seen {
    numbers.enumerate().map(|(index, number)| (partition, first + index as Offset, number.to_string())).collect()
}

#[test]
fn what_was_appended_is_read_in_order_with_all_its_fields() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 1).unwrap();
    let records = [
        NewRecord { timestamp_ms: Some(5), key: Some(b"k"), value: Some(b"v") },
        NewRecord { timestamp_ms: None, key: None, value: None },
        NewRecord { timestamp_ms: Some(-1), key: Some(b""), value: Some(b"") },
    ];
    assert_eq!(log.append("t", 0, &records).unwrap(), 0);
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    let mut fields = Vec::new();
    source
        .poll(limits(10), &mut |record| {
            fields.push((
                record.offset,
                record.timestamp_ms,
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
            ));
        })
        .unwrap();
    assert_eq!(
        fields,
        [
            (0, Some(5), Some(b"k".to_vec()), Some(b"v".to_vec())),
            (1, None, None, None),
            (2, Some(-1), Some(vec![]), Some(vec![])),
        ]
    );
}

#[test]
fn reading_resumes_in_the_middle_of_a_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 1).unwrap();
    append(&log, "t", 0, 0..100);
    append(&log, "t", 0, 100..200);
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::from([(0, 42)]), None).unwrap();
    // Cut so that polls stop within chunks, and go on there.
    assert_eq!(poll(&mut source, limits(30)).0, seen(0, 42..72, 42));
    assert_eq!(poll(&mut source, limits(30)).0, seen(0, 72..102, 72));
    let (rest, polled) = poll(&mut source, limits(1000));
    assert_eq!(rest, seen(0, 102..200, 102));
    assert_eq!((polled.positions, polled.ends), (Offsets::from([(0, 200)]), Offsets::from([(0, 200)])));
}

#[test]
fn a_poll_ends_with_the_record_that_passes_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 1).unwrap();
    append(&log, "t", 0, 10..20);
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    assert_eq!(poll(&mut source, PollLimits { bytes_max: 5, ..limits(100) }).0, seen(0, 10..13, 0));
}

#[test]
fn the_log_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = open(dir.path());
        log.create_topic("t", 2).unwrap();
        append(&log, "t", 1, 0..10);
    }
    let log = open(dir.path());
    assert_eq!(log.ends("t").unwrap(), Offsets::from([(0, 0), (1, 10)]));
    assert_eq!(append(&log, "t", 1, 10..20), 10);
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    assert_eq!(poll(&mut source, limits(100)).0, seen(1, 0..20, 0));
}

#[test]
fn a_second_process_is_told_that_the_log_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path());
    let error = EmbeddedLog::open(dir.path(), EmbeddedSettings::default(), Clock::manual(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.primary().starts_with("another process uses the embedded log"), "{error:?}");
}

#[test]
fn appenders_side_by_side_keep_their_own_order_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 2).unwrap();
    std::thread::scope(|scope| {
        for appender in 0..4_u32 {
            let log = &log;
            scope.spawn(move || {
                for round in 0..25 {
                    let first = appender * 1000 + round * 10;
                    append(log, "t", (appender % 2) as Partition, first..first + 10);
                }
            });
        }
    });
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    let (read, _) = poll(&mut source, limits(10_000));
    assert_eq!(read.len(), 1000);
    for appender in 0..4_u32 {
        let of_appender = |text: &String| text.parse::<u32>().unwrap() / 1000 == appender;
        let own = read.iter().map(|(_, _, text)| text.clone()).filter(of_appender).collect::<Vec<_>>();
        let expected = (appender * 1000..appender * 1000 + 250).map(|number| number.to_string());
        assert_eq!(own, expected.collect::<Vec<_>>());
    }
    for partition in 0..2 {
        let offsets = read.iter().filter(|(of, ..)| *of == partition).map(|(_, offset, _)| *offset);
        assert_eq!(offsets.collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    }
}

#[test]
fn a_reader_that_waits_is_woken_by_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 1).unwrap();
    let (started, start) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
            started.send(()).unwrap();
            // An hour: the test ends only because the reader is woken.
            poll(&mut source, PollLimits { wait: Duration::from_secs(3600), ..limits(10) }).0
        });
        start.recv().unwrap();
        append(&log, "t", 0, 0..3);
        assert_eq!(reader.join().unwrap(), seen(0, 0..3, 0));
    });
}

#[test]
fn a_bounded_read_ends_where_it_was_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 2).unwrap();
    append(&log, "t", 0, 0..10);
    append(&log, "t", 1, 0..3);
    let until = Offsets::from([(0, 7), (1, 3)]);
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), Some(&until)).unwrap();
    let (read, polled) = poll(&mut source, limits(100));
    assert_eq!(read.len(), 10);
    assert!(polled.finished);
    assert_eq!(polled.positions, until);
}

#[test]
fn partitions_advance_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 2).unwrap();
    for chunk in 0..4 {
        append(&log, "t", 0, chunk * 10..chunk * 10 + 10);
        append(&log, "t", 1, chunk * 10..chunk * 10 + 10);
    }
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    let (_, polled) = poll(&mut source, limits(40));
    assert_eq!(polled.positions, Offsets::from([(0, 20), (1, 20)]));
}

#[test]
fn latest_begins_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 1).unwrap();
    append(&log, "t", 0, 0..5);
    let latest = KafkaTopic { start: StartAt::Latest, ..topic("t") };
    let mut source = EmbeddedSource::open(&log, &latest, &Offsets::new(), None).unwrap();
    append(&log, "t", 0, 5..6);
    assert_eq!(poll(&mut source, limits(10)).0, seen(0, 5..6, 5));
}

#[test]
fn a_topic_is_made_by_its_first_use_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, "written", 3, 0..1);
    assert_eq!(log.ends("written").unwrap(), Offsets::from([(0, 0), (1, 0), (2, 0), (3, 1)]));
    EmbeddedSource::open(&log, &topic("read"), &Offsets::new(), None).unwrap();
    assert_eq!(log.create_topic("read", 9).unwrap(), 4);
    assert_eq!(log.append("written", 4, &[]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(log.create_topic("no spaces", 1).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(log.create_topic("t", 0).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn too_much_at_once_is_refused_before_anything_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let large = vec![0; APPEND_BYTES_MAX];
    let record = NewRecord { value: Some(&large), ..Default::default() };
    assert_eq!(log.append("t", 0, &[record]).unwrap_err().kind(), ErrorKind::OverBudget);
    assert_eq!(log.ends("t").unwrap()[&0], 0);
}

#[test]
fn retention_by_bytes_drops_the_oldest_and_names_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings { partitions: 1, retention_mbytes: 1, ..Default::default() };
    let log = EmbeddedLog::open(dir.path(), settings.clone(), Clock::manual(0)).unwrap();
    let large = vec![b'x'; 300 << 10];
    for _ in 0..6 {
        log.append("t", 0, &[NewRecord { value: Some(&large), ..Default::default() }]).unwrap();
    }
    assert_eq!(log.begins("t").unwrap(), Offsets::from([(0, 3)]));
    let error = EmbeddedSource::open(&log, &topic("t"), &Offsets::from([(0, 1)]), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.report().contains("offsets 1 to 2 are gone: the partition now begins at 3"), "{error:?}");
    assert!(error.lost().is_some_and(|range| range.contains("offsets 1 to 2")), "{:?}", error.lost());
    let error = EmbeddedSource::open(&log, &topic("t"), &Offsets::from([(0, 7)]), None).unwrap_err();
    assert!(error.report().contains("the partition ends at 6"), "{error:?}");

    // A reader that is overtaken while it reads is told the same.
    let mut slow = EmbeddedSource::open(&log, &topic("t"), &Offsets::from([(0, 3)]), None).unwrap();
    log.append("t", 0, &[NewRecord { value: Some(&large), ..Default::default() }]).unwrap();
    let error = slow.poll(limits(10), &mut |_| ()).unwrap_err();
    assert!(error.report().contains("offsets 3 to 3 are gone: the partition now begins at 4"), "{error:?}");
    // And what is gone stays gone after a restart.
    drop((slow, log));
    let log = EmbeddedLog::open(dir.path(), settings, Clock::manual(0)).unwrap();
    assert_eq!(log.begins("t").unwrap(), Offsets::from([(0, 4)]));
}

#[test]
fn retention_by_age_spares_the_newest_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(0);
    let settings = EmbeddedSettings { partitions: 1, retention_hours: 2, ..Default::default() };
    let log = EmbeddedLog::open(dir.path(), settings, clock.clone()).unwrap();
    append(&log, "t", 0, 0..10);
    clock.set(HOUR);
    append(&log, "t", 0, 10..20);
    assert_eq!(log.begins("t").unwrap()[&0], 0);
    // A wall clock that is wrong for a while ages nothing.
    clock.set_wall(1_000 * HOUR);
    append(&log, "t", 0, 20..30);
    assert_eq!(log.begins("t").unwrap()[&0], 0);
    clock.set_wall(HOUR);
    clock.set(2 * HOUR + 1000);
    append(&log, "t", 0, 30..40);
    assert_eq!(log.begins("t").unwrap()[&0], 10);
    clock.set(100 * HOUR);
    append(&log, "t", 0, 40..50);
    assert_eq!(log.begins("t").unwrap()[&0], 40);
}

#[test]
fn a_million_small_records_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 1).unwrap();
    for batch in 0..100_u32 {
        append(&log, "t", 0, batch * 10_000..(batch + 1) * 10_000);
    }
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    let mut next = 0;
    while next < 1_000_000 {
        let before = next;
        source
            .poll(limits(8192), &mut |record| {
                assert_eq!(record.offset, next);
                next += 1;
            })
            .unwrap();
        assert!(next > before);
    }
}

#[test]
fn a_damaged_chunk_is_an_error_and_not_a_panic() {
    use chunk::Chunk;
    let record = NewRecord { timestamp_ms: Some(1), key: Some(b"key"), value: Some(b"value") };
    let mut records = Vec::new();
    chunk::encode(&[record], &mut records);
    let whole = [&chunk::header(0, 1, 0, &records)[..], &records].concat();
    // Of version 1, which has no checksum, and of version 2, whose checksum knows no offset.
    let of_before = [&[1_u8][..], &whole[1..13], &records].concat();
    let crc = chunk::crc_of(None, &whole[1..13], &records).to_le_bytes();
    let without_offset = [&[2_u8][..], &whole[1..13], &crc, &records].concat();
    for bytes in [&whole, &of_before, &without_offset] {
        for length in 0..bytes.len() {
            let walked = Chunk::parse(&bytes[..length], 0).and_then(|chunk| chunk.record(0, chunk.begin()).map(|_| ()));
            assert_eq!(walked.unwrap_err().kind(), ErrorKind::Corrupt, "cut to {length}");
        }
        let chunk = Chunk::parse(bytes, 0).unwrap();
        chunk.verify().unwrap();
        assert_eq!(chunk.record(0, chunk.begin()).unwrap().unwrap().0.value, Some(&b"value"[..]));
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = Chunk::parse(&flipped, 0).and_then(|chunk| chunk.verify()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}");
    }
    // Under the key of another one.
    let error = Chunk::parse(&whole, 8).and_then(|chunk| chunk.verify()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_partition_that_says_other_offsets_than_its_chunks_have_is_damaged() {
    for said in [(0_u64, 4_u64, 0_u64), (0, 2, 0), (1, 3, 0), (u64::MAX, 3, 0), (3, 3, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        log.create_topic("t", 1).unwrap();
        append(&log, "t", 0, 0..3);
        let forged = log.shared.with_store(|database| {
            let write = database.begin_write().map_err(store_error)?;
            write.open_table(EXTENTS).map_err(store_error)?.insert((0, 0), said).map_err(store_error)?;
            write.commit().map_err(store_error)
        });
        forged.unwrap();
        drop(log);
        let error = EmbeddedLog::open(dir.path(), EmbeddedSettings::default(), Clock::System).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{said:?}");
    }
}

#[test]
fn a_record_that_has_changed_on_disk_is_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic("t", 1).unwrap();
    append(&log, "t", 0, 0..3);
    let forged = log.shared.with_store(|database| {
        let write = database.begin_write().map_err(store_error)?;
        {
            let mut chunks = write.open_table(CHUNKS).map_err(store_error)?;
            let mut bytes = chunks.get((0, 0, 0)).map_err(store_error)?.unwrap().value().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            chunks.insert((0, 0, 0), bytes.as_slice()).map_err(store_error)?;
        }
        write.commit().map_err(store_error)
    });
    forged.unwrap();
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    let error = source.poll(limits(10), &mut |record| panic!("offset {} was read", record.offset)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.report().contains("CRC"), "{}", error.report());
}

/// A disk that refuses to write or to make durable when it is told to.
#[derive(Debug)]
struct FailingDisk {
    file: redb::backends::FileBackend,
    trouble: Arc<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    write: AtomicBool,
    sync: AtomicBool,
}

impl FailingDisk {
    fn unless(trouble: &AtomicBool) -> std::io::Result<()> {
        match trouble.load(Ordering::SeqCst) {
            true => Err(std::io::Error::other("the disk fails")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        FailingDisk::unless(&self.trouble.write)?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        FailingDisk::unless(&self.trouble.sync)?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        FailingDisk::unless(&self.trouble.write)?;
        self.file.write(offset, data)
    }
}

fn open_failing(dir: &Path) -> (Arc<EmbeddedLog>, Arc<Trouble>) {
    let trouble = Arc::new(Trouble::default());
    let of_disk = Arc::clone(&trouble);
    let open = move |path: &Path, create: bool| -> std::result::Result<Database, DatabaseError> {
        let file = std::fs::OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?;
        let disk = FailingDisk { file: redb::backends::FileBackend::new(file)?, trouble: Arc::clone(&of_disk) };
        redb::Builder::new().create_with_backend(disk)
    };
    let log = EmbeddedLog::open_by(dir, EmbeddedSettings::default(), Clock::manual(0), Box::new(open)).unwrap();
    (log, trouble)
}

#[test]
fn a_disk_that_is_full_at_the_start_is_called_full() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, code, said) in [
        (std::io::ErrorKind::StorageFull, 75, "its disk is full"),
        (std::io::ErrorKind::ReadOnlyFilesystem, 69, "read-only"),
        (std::io::ErrorKind::PermissionDenied, 64, "give the directory to the user"),
    ] {
        let open = move |_: &Path, _: bool| -> std::result::Result<Database, DatabaseError> {
            Err(DatabaseError::Storage(StorageError::Io(kind.into())))
        };
        let opened = EmbeddedLog::open_by(dir.path(), EmbeddedSettings::default(), Clock::manual(0), Box::new(open));
        let error = opened.unwrap_err();
        assert_eq!(error.kind().exit_code(), code, "{}", error.report());
        assert!(error.report().contains(said), "{}", error.report());
    }
}

/// Appends again until it is taken: the log opens its file anew after a pause of its own.
fn append_at_last(log: &EmbeddedLog, text: &str) -> Offset {
    let record = NewRecord { value: Some(text.as_bytes()), ..Default::default() };
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        match log.append("t", 0, &[record]) {
            Ok(offset) => return offset,
            Err(error) if std::time::Instant::now() < until => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
                std::thread::yield_now();
            }
            Err(error) => panic!("{}", error.report()),
        }
    }
}

#[test]
fn a_log_whose_disk_has_failed_goes_on_by_itself_and_an_append_in_doubt_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (log, trouble) = open_failing(dir.path());
    log.create_topic("t", 1).unwrap();
    append(&log, "t", 0, 0..3);
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    assert_eq!(poll(&mut source, limits(10)).0, seen(0, 0..3, 0));

    let record = NewRecord { value: Some(b"doubtful"), ..Default::default() };
    trouble.sync.store(true, Ordering::SeqCst);
    let error = log.append("t", 0, &[record]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.primary().starts_with("it is not known whether"), "{}", error.report());
    // From now on nothing is even tried, and that is certain.
    let error = log.append("t", 0, &[record]).unwrap_err();
    assert!(!error.primary().contains("not known"), "{}", error.report());

    trouble.sync.store(false, Ordering::SeqCst);
    let offset = append_at_last(&log, "certain");
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != "certain") {
        let (read, _) = poll(&mut source, PollLimits { wait: Duration::from_secs(10), ..limits(10) });
        texts.extend(read.into_iter().map(|(_, at, text)| {
            assert!(at >= 3 && at <= offset);
            text
        }));
    }
    // The one in doubt is there or it is not; the one that was refused is not, and offsets have no gap.
    let doubtful: Vec<&str> = texts.iter().map(String::as_str).filter(|text| *text == "doubtful").collect();
    assert!(doubtful.len() <= 1 && offset == 3 + doubtful.len() as Offset, "{texts:?} up to {offset}");
    drop((source, log));
    assert_eq!(open(dir.path()).ends("t").unwrap()[&0], offset + 1);
}

#[test]
fn a_reader_alone_opens_a_failed_log_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (log, trouble) = open_failing(dir.path());
    log.create_topic("t", 1).unwrap();
    append(&log, "t", 0, 0..3);
    trouble.write.store(true, Ordering::SeqCst);
    let record = NewRecord { value: Some(b"x"), ..Default::default() };
    assert_eq!(log.append("t", 0, &[record]).unwrap_err().kind(), ErrorKind::Unavailable);
    trouble.write.store(false, Ordering::SeqCst);
    let mut source = EmbeddedSource::open(&log, &topic("t"), &Offsets::new(), None).unwrap();
    let mut offsets = Vec::new();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while offsets.len() < 3 && std::time::Instant::now() < until {
        match source.poll(limits(10), &mut |record| offsets.push(record.offset)) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report()),
        }
    }
    assert_eq!(offsets, [0, 1, 2]);
}

#[test]
fn a_log_is_known_by_an_id_that_another_one_in_its_place_does_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let identity = || {
        let log = open(dir.path());
        append(&log, "t", 0, 0..3);
        EmbeddedSource::open(&log, &topic("t"), &Offsets::from([(0, 2)]), None).unwrap().identity().unwrap()
    };
    let first = identity();
    assert!(first.topic.is_some());
    assert_eq!(identity(), first);
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    assert_ne!(identity(), first);
}
