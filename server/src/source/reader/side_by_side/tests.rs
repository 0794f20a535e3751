//! The threads over sources that the test makes.

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use super::*;
use crate::catalog::{Statement, TableDef};
use crate::clock::{Clock, DAY_MICROS, Micros};
use crate::error::ErrorKind;
use crate::sink::postgres::PostgresSettings;
use crate::source::kafka::KafkaSettings;
use crate::source::reader::takers::Takers;
use crate::source::reader::{OpenSpec, ReaderLimits, SourceDeps};
use crate::sql::parse_file;

const TOPIC: &str = "'connector' = 'kafka', 'topic' = 't', 'format' = 'json'";
const FILE: &str = "'connector' = 'filesystem', 'path' = 't.ndjson', 'format' = 'json'";

/// What a source does at each poll.
enum Act {
    /// Gives so many records.
    Give(i64),
    /// Waits for one for so long.
    Wait(Duration),
    /// Gives so many, and fails.
    Fail(i64),
}

/// Ends when it has done all.
struct Acting<I> {
    acts: I,
    next: Offset,
    finished: bool,
}

impl<I: Iterator<Item = Act> + Send> Acting<I> {
    fn new(acts: impl IntoIterator<IntoIter = I>) -> Self {
        Acting { acts: acts.into_iter(), next: 0, finished: false }
    }
}

impl<I: Iterator<Item = Act> + Send> Source for Acting<I> {
    fn positions(&self) -> Offsets {
        Offsets::from([(0, self.next)])
    }

    fn poll(&mut self, _: PollLimits, visit: &mut dyn FnMut(Record<'_>)) -> Result<Polled> {
        let act = self.acts.next();
        let count = match &act {
            None => 0,
            Some(Act::Give(count) | Act::Fail(count)) => *count,
            Some(Act::Wait(lasts)) => {
                thread::sleep(*lasts);
                1
            }
        };
        self.finished = count == 0;
        for offset in self.next..self.next + count {
            let value = Some(br#"{"id":1}"#.as_slice());
            visit(Record { partition: 0, offset, timestamp_ms: None, key: None, value, headers: None });
        }
        self.next += count;
        if let Some(Act::Fail(_)) = act {
            return Err(Error::unavailable("the disk does not answer"));
        }
        let positions = self.positions();
        let (ends, answered) = (positions.clone(), [0].into());
        Ok(Polled { positions, ends, answered, finished: self.finished, trouble: None })
    }
}

/// What becomes of a source: why it ended, the rows of each batch, and the task.
struct Read {
    ended: Result<Ended>,
    rows: Vec<usize>,
    task: Task,
    lanes: Vec<Lane>,
}

fn read(connector: &str, source: &mut dyn Source, clock: Clock) -> Read {
    let text = format!("CREATE TABLE t (id BIGINT) WITH ({connector})");
    let Some(Statement::CreateTable(def)) = parse_file("t.sql", &text).expect("it parses").pop() else {
        panic!("no table")
    };
    let def: Arc<TableDef> = Arc::new(def);
    let (queue, mut batches) = mpsc::channel(1024);
    let takers = Takers::Query { columns: vec![0], queue, account: None };
    let deps =
        SourceDeps { kafka: KafkaSettings::default(), embedded: None, postgres: PostgresSettings::default(), clock };
    let limits = ReaderLimits { batch_rows_max: ROWS_SIDE_BY_SIDE, decoders: 2, ..ReaderLimits::default() };
    let task = Task::new(def, OpenSpec::default(), limits, deps, takers, Arc::default());
    let decoder = task.decoder(&[0], &source.positions()).expect("a decoder");
    let (mut lanes, mut at) = (Vec::new(), source.positions());
    let ended = task.read_side_by_side(source, &decoder, &mut lanes, &mut at);
    assert_eq!(at, source.positions(), "what is read next");
    let mut rows = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        let batch = batch.expect("a batch");
        rows.push(batch.batches.iter().map(RecordBatch::num_rows).sum());
    }
    let ended = ended.unwrap_or_else(|Gone| panic!("nobody has gone"));
    Read { ended, rows, task, lanes }
}

// Between two of its records there is never a pause that would end the batch: rows would wait for those of half a minute.
#[test]
fn a_stream_that_has_been_caught_up_with_is_left_to_the_reader_however_steadily_it_comes() {
    let each = Duration::from_millis(1);
    let mut source = Acting::new(std::iter::repeat_with(|| Act::Wait(each)).take(ROWS_SIDE_BY_SIDE / 4));
    let Read { ended, rows, .. } = read(TOPIC, &mut source, Clock::manual(0));
    assert!(!source.finished && !ended.expect("no error").finished);
    // One batch, of those that come within its time and one more.
    let most = FILL_WITHIN.as_millis() as usize + 1;
    assert!(rows.len() == 1 && (1..=most).contains(&rows[0]), "{rows:?}");
}

#[test]
fn full_batches_go_on_until_there_are_no_more() {
    let mut source = Acting::new([4096, 4096, 4096].map(Act::Give));
    let Read { ended, rows, lanes, .. } = read(TOPIC, &mut source, Clock::manual(0));
    assert!(ended.expect("no error").finished);
    assert_eq!(rows, [4096, 4096, 4096, 0]);
    // A reader of a quiet topic does not hold what its busiest time took.
    assert!(lanes.iter().all(|lane| lane.copied.bytes.capacity() + lane.copied.records.capacity() == 0));
}

// Silence is counted by steady time: the partition would not fall idle for three days.
#[test]
fn a_wall_clock_that_is_ahead_moves_no_time_at_which_partitions_answer() {
    let clock = Clock::manual(5);
    clock.set_wall(3 * DAY_MICROS);
    let mut source = Acting::new([4096, 4096].map(Act::Give));
    let Read { task, .. } = read(TOPIC, &mut source, clock);
    let times: Vec<(Micros, Micros)> =
        task.answers.lock().known.values().map(|known| (known.since, known.at)).collect();
    assert_eq!(times, [(5, 5)]);
}

// Asked again, a file that could not be read may say that it has ended.
#[test]
fn a_failure_that_nobody_waits_for_is_told_behind_the_rows_before_it() {
    let acts = || [Act::Give(4096), Act::Fail(100)];
    let Read { ended, rows, .. } = read(FILE, &mut Acting::new(acts()), Clock::manual(0));
    assert_eq!(ended.expect_err("it fails").kind(), ErrorKind::Unavailable);
    assert_eq!(rows, [4096, 100]);
    // A topic is asked again by the reader.
    let Read { ended, rows, .. } = read(TOPIC, &mut Acting::new(acts()), Clock::manual(0));
    assert!(!ended.expect("it is waited for").finished);
    assert_eq!(rows, [4096, 100]);
}
