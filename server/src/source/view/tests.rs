//! A reader over a view that the test plays: which rows come in which order, what is told behind them, and what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use uuid::Uuid;

use super::*;
use crate::catalog::{CSV_DELIMITER_DEFAULT, Column, Connector, Format, OnBadRow, RecordRows, ViewMark};
use crate::checkpoint::{FileRuns, Generation, OutputState, QueryPaths, Section, TailEntry};
use crate::error::{ErrorKind, Location};
use crate::sink::parquet::{SealLimits, SealNames, plan_seal, tail_entry, write_sealed};
use crate::state::{Budget, SpillSpace, Spool};
use crate::status::{Part, QueryState, QueryStatus};
use crate::store::{SpillDirectory, Store};
use crate::tables::{CheckpointRange, SealedFile};
use crate::watermark::NONE;

const DAY_MS: i64 = 86_400_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8View, true),
        Field::new("id", DataType::Int64, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]))
}

/// Rows with these ids, at these milliseconds.
fn rows(rows: &[(i64, i64)]) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows.iter().map(|(id, _)| format!("row {id}"))));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, ts)| *ts)));
    RecordBatch::try_new(schema(), vec![names, ids, times]).unwrap()
}

/// A view `up`, as its query would show it.
struct Played {
    deps: ViewDeps,
    status: Arc<QueryStatus>,
    shown: Arc<PublishedView>,
    checkpoint: u64,
    output: OutputState,
    tail: Vec<TailRows>,
    sealed: Vec<SealedFile>,
    mark: Mark,
    finished: bool,
    clock: Clock,
}

const VERSION: &str = "f1";

impl Played {
    fn new() -> Self {
        let store = || Store::over(Arc::new(InMemory::new()), "memory://");
        let deps = ViewDeps { published: Arc::default(), private: store(), public: store() };
        let status = Arc::new(QueryStatus::new("up", "up.sql"));
        deps.published.put_query(Arc::clone(&status));
        status.set(QueryState::Running, None);
        let mut played = Played {
            deps,
            status,
            shown: Arc::new(PublishedView::new("up", schema()).of_version(VERSION)),
            checkpoint: 0,
            output: OutputState::default(),
            tail: vec![],
            sealed: vec![],
            mark: Mark::NONE,
            finished: false,
            clock: Clock::manual(0),
        };
        played.checkpoint = 1;
        played.open_anew();
        played
    }

    /// Shows the view as it stands under a new incarnation.
    fn open_anew(&mut self) {
        self.shown = Arc::new(PublishedView::new("up", schema()).of_version(VERSION));
        self.show();
        self.deps.published.put_view(Arc::clone(&self.shown));
    }

    fn show(&self) {
        self.shown.publish(ViewSnapshot {
            checkpoint: self.checkpoint,
            sealed: self.sealed.iter().cloned().map(Arc::new).collect(),
            tail: self.tail.clone().into(),
            early: None,
            marks: BTreeMap::from([("ts".to_owned(), self.mark)]),
            finished: self.finished,
        });
    }

    /// The next checkpoint, with these rows, and the mark behind them.
    fn commit(&mut self, of: &[(i64, i64)], mark: Mark) {
        self.commit_rows(vec![rows(of)].into(), mark);
    }

    fn commit_rows(&mut self, rows: Rows, mark: Mark) {
        self.checkpoint += 1;
        self.mark = mark;
        if !rows.is_empty() {
            let count = rows.num_rows() as u64;
            let section =
                Section { object: String::new(), offset: 0, length: count, rows: count, sha256: String::new() };
            let entry = tail_entry(self.checkpoint, 0, section, rows.batches(), Some("ts")).unwrap();
            self.output.tail.extend(entry);
            self.tail.push(TailRows { checkpoint: self.checkpoint, rows });
        }
        self.show();
    }

    /// Seals the tail up to a checkpoint. `known`: with what says which row is of which checkpoint; files of before have none.
    async fn seal(&mut self, through: u64, known: bool) {
        let paths = QueryPaths::new("up");
        let generation = Generation { number: 1, instance: Uuid::nil() };
        let names = SealNames { paths: &paths, output: "up", generation };
        let limits = SealLimits { rows_max: u64::MAX, bytes_max: u64::MAX, age_max: Duration::ZERO };
        let mut intent = plan_seal(&self.output, limits, names, Some("ts"), Some(through), |_| Duration::ZERO)
            .expect("something to seal");
        intent.watermarks = BTreeMap::from([("ts".to_owned(), self.mark.into())]);
        self.output.begin_seal(intent.clone());
        let rows_of = |checkpoint| -> Arc<[Rows]> {
            self.tail.iter().filter(|part| part.checkpoint == checkpoint).map(|part| part.rows.clone()).collect()
        };
        let inputs: Vec<(TailEntry, Arc<[Rows]>)> = self
            .output
            .seal_inputs(&intent)
            .into_iter()
            .map(|entry| (entry.clone(), rows_of(entry.checkpoint)))
            .collect();
        let mut files = write_sealed(&self.deps.public, None, "up", &intent, &inputs).await.unwrap();
        let entries: Vec<TailEntry> = inputs.into_iter().map(|(entry, _)| entry).collect();
        for (file, intended) in files.iter_mut().zip(&intent.files).filter(|_| known) {
            let runs = FileRuns::of(&intent, &intended.event_date, &entries);
            runs.write(&self.deps.private, &file.path).await.unwrap();
            file.checkpoints = Some(CheckpointRange { from: intent.from, to: intent.to });
        }
        self.output.mark_sealed(intent.seal, files.clone()).unwrap();
        self.sealed.extend(files);
        self.tail.retain(|part| part.checkpoint > intent.to);
        self.checkpoint += 1;
        self.show();
    }

    /// A reader of `id` and `ts` from a checkpoint on.
    fn reader(&self, next: u64, limits: ReaderLimits) -> Reader {
        self.reader_of(next, limits, None)
    }

    fn reader_of(&self, next: u64, limits: ReaderLimits, account: Option<Arc<Account>>) -> Reader {
        let marks = vec![ViewMark { name: "ts".to_owned(), column: 2 }];
        let view = ViewRef {
            version: VERSION.to_owned(),
            former_version: VERSION.to_owned(),
            marks,
            max_future: None,
            time_column: None,
        };
        let column =
            |field: &Arc<Field>| Column::physical(field.name(), field.data_type().clone(), field.is_nullable());
        let def = TableDef {
            name: "up".to_owned(),
            columns: schema().fields().iter().map(column).collect(),
            watermark: None,
            primary_key: vec![],
            connector: Connector::View(view.clone()),
            format: Format::Parquet,
            csv_delimiter: CSV_DELIMITER_DEFAULT,
            rows: RecordRows::default(),
            on_bad_row: OnBadRow::DeadLetter,
            refresh_interval: None,
            http: None,
            text: String::new(),
            location: Location { file: "up.sql".to_owned(), line: 1, column: 1 },
        };
        let resume = if next == 0 { BTreeMap::new() } else { BTreeMap::from([(0, offset(next))]) };
        let open = OpenSpec { resume, account, views: Some(self.deps.clone()), ..OpenSpec::default() };
        spawn(view, Arc::new(def), vec![1, 2], open, limits, self.clock.clone()).unwrap()
    }
}

/// What a reader has brought so far.
#[derive(Debug, Default)]
struct Read {
    ids: Vec<i64>,
    /// The next checkpoint to read.
    next: Offset,
    mark: Option<Mark>,
    newest: Micros,
    /// Rows of each batch, and whether more of the same checkpoint was to come.
    cuts: Vec<(usize, bool)>,
    finished: bool,
}

impl Read {
    /// Takes batches until the reader stands at `next` and has told the mark there.
    async fn to(&mut self, reader: &mut Reader, next: u64) {
        while self.next != offset(next) || self.mark.is_none() || self.cuts.last().is_some_and(|(_, partial)| *partial)
        {
            self.take(reader.next().await.expect("more").unwrap());
        }
    }

    fn take(&mut self, batch: SourceBatch) {
        self.finished = batch.finished;
        let Some(view) = &batch.view else { return };
        let progress = batch.progress[&0];
        assert!(self.next == 0 || self.next == progress.from, "{} after {}", progress.from, self.next);
        let before = self.ids.len();
        for (batch, origins) in batch.batches.iter().zip(&batch.origins) {
            assert_eq!(batch.num_columns(), 2);
            assert_eq!(origins.len(), batch.num_rows());
            let ids = batch.column(0).as_primitive::<Int64Type>().values();
            self.ids.extend(ids);
        }
        assert_eq!(progress.records as usize, self.ids.len() - before);
        self.cuts.push((self.ids.len() - before, view.partial));
        self.next = progress.to;
        // A mark that has been told holds until the next one; behind rows without one nothing is known yet.
        self.mark = view.marks.first().copied();
        self.newest = view.newest.first().copied().unwrap_or(NONE).max(self.newest);
    }
}

fn small() -> ReaderLimits {
    ReaderLimits { batch_rows_max: 2, ..ReaderLimits::default() }
}

#[tokio::test]
async fn the_rows_of_a_checkpoint_come_when_it_is_shown_with_the_mark_behind_them() {
    let mut up = Played::new();
    let mut reader = up.reader(0, ReaderLimits::default());
    let mut read = Read::default();
    read.to(&mut reader, 2).await;
    assert_eq!((read.ids.len(), read.mark), (0, Some(Mark::NONE)));
    up.commit(&[(1, 100), (2, 300)], Mark::new(50_000));
    read.to(&mut reader, 3).await;
    assert_eq!((read.ids.as_slice(), read.mark, read.newest), (&[1, 2][..], Some(Mark::new(50_000)), 300_000));
    // Without rows the mark moves, and it falls idle.
    up.commit(&[], Mark { at: 60_000, idle: true });
    read.to(&mut reader, 4).await;
    assert_eq!((read.ids.len(), read.mark), (2, Some(Mark { at: 60_000, idle: true })));
    // Two at once.
    up.commit(&[(3, 400)], Mark::new(70_000));
    up.commit(&[(4, 500)], Mark::new(80_000));
    read.to(&mut reader, 6).await;
    assert_eq!((read.ids.as_slice(), read.mark), (&[1, 2, 3, 4][..], Some(Mark::new(80_000))));
}

#[tokio::test]
async fn where_each_row_stood_is_its_checkpoint_and_its_place_there() {
    let mut up = Played::new();
    up.commit(&[(1, 1), (2, 2), (3, 3)], Mark::NONE);
    up.commit(&[(4, 4)], Mark::NONE);
    let mut reader = up.reader(0, small());
    let mut found = Vec::new();
    while found.len() < 4 {
        let batch = reader.next().await.expect("more").unwrap();
        for origins in &batch.origins {
            found.extend((0..origins.len()).filter_map(|row| origins.of(row)));
        }
    }
    assert_eq!(found, [(0, 2, 0), (0, 2, 1), (0, 2, 2), (0, 3, 0)]);
}

/// A view with three seals and a tail: checkpoints 2 to 11, of some without rows, over two days.
async fn with_history(known: [bool; 3]) -> Played {
    let mut up = Played::new();
    for (seal, known) in known.into_iter().enumerate() {
        for step in 0..2 {
            let id = (seal * 10 + step * 2) as i64;
            // Later rows have earlier times, and each checkpoint has rows of both days.
            up.commit(&[(id, 500 - id), (id + 1, DAY_MS + 100 - id)], Mark::new((seal * 10 + step) as i64));
        }
        up.seal(up.checkpoint, known).await;
    }
    up.commit(&[(30, 5)], Mark::new(40));
    up.commit(&[], Mark { at: 50, idle: true });
    up
}

const IDS: [i64; 13] = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 30];

#[tokio::test]
async fn a_new_reader_begins_with_all_sealed_rows_in_the_order_of_their_checkpoints() {
    let up = with_history([true; 3]).await;
    for limits in [ReaderLimits::default(), small()] {
        let (mut reader, mut read) = (up.reader(0, limits), Read::default());
        let mut marks = Vec::new();
        while read.next != offset(up.checkpoint + 1) || read.mark.is_none() {
            read.take(reader.next().await.expect("more").unwrap());
            marks.extend(read.mark);
        }
        assert_eq!(read.ids, IDS, "rows of one checkpoint stay together, in order of their files");
        // After each seal its own, and idle is only what has been read to its end.
        assert_eq!(marks, [Mark::new(1), Mark::new(11), Mark::new(21), Mark { at: 50, idle: true }]);
        assert_eq!(read.newest, (DAY_MS + 100) * 1_000);
    }
}

#[tokio::test]
async fn a_reader_goes_on_at_any_checkpoint_also_in_the_middle_of_a_file() {
    let up = with_history([true; 3]).await;
    // Of what was committed with each checkpoint.
    let of: BTreeMap<u64, Vec<i64>> = [
        (2, vec![0, 1]),
        (3, vec![2, 3]),
        (5, vec![10, 11]),
        (6, vec![12, 13]),
        (8, vec![20, 21]),
        (9, vec![22, 23]),
        (11, vec![30]),
    ]
    .into();
    for next in 0..=up.checkpoint + 1 {
        let (mut reader, mut read) = (up.reader(next, small()), Read::default());
        read.to(&mut reader, up.checkpoint + 1).await;
        let wanted: Vec<i64> = of.range(next..).flat_map(|(_, ids)| ids.clone()).collect();
        assert_eq!(read.ids, wanted, "from checkpoint {next} on");
        assert_eq!(read.mark, Some(Mark { at: 50, idle: true }));
    }
}

#[tokio::test]
async fn a_checkpoint_is_one_step_however_many_batches_it_takes() {
    let mut up = Played::new();
    up.commit(&(0..5).map(|id| (id, id)).collect::<Vec<_>>(), Mark::new(7));
    let (mut reader, mut read) = (up.reader(0, small()), Read::default());
    read.to(&mut reader, 3).await;
    let cuts: Vec<_> = read.cuts.iter().filter(|(rows, _)| *rows > 0).copied().collect();
    assert_eq!(cuts, [(2, true), (2, true), (1, false)]);
    // And the same rows out of a file.
    up.seal(2, true).await;
    let (mut reader, mut read) = (up.reader(0, small()), Read::default());
    read.to(&mut reader, up.checkpoint + 1).await;
    let cuts: Vec<_> = read.cuts.iter().filter(|(rows, _)| *rows > 0).copied().collect();
    assert_eq!((cuts, read.ids), (vec![(2, true), (2, true), (1, false)], vec![0, 1, 2, 3, 4]));
}

#[tokio::test]
async fn what_the_view_seals_meanwhile_is_neither_lost_nor_read_twice() {
    let mut up = Played::new();
    let (mut reader, mut read) = (up.reader(0, ReaderLimits::default()), Read::default());
    for step in 0..12 {
        up.commit(&[(step, step), (100 + step, DAY_MS)], Mark::new(step));
        if step % 3 == 0 {
            read.to(&mut reader, up.checkpoint + 1).await;
        }
        if step % 5 == 4 {
            // Some of it has been read, and some has not.
            up.seal(up.checkpoint - 1, true).await;
        }
    }
    read.to(&mut reader, up.checkpoint + 1).await;
    let wanted: BTreeSet<i64> = (0..12).chain(100..112).collect();
    assert_eq!(read.ids.len(), wanted.len());
    assert_eq!(read.ids.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[tokio::test]
async fn rows_that_were_put_away_on_local_disk_come_portion_by_portion() {
    let mut up = Played::new();
    let disk: Arc<dyn SpillSpace> = Arc::new(SpillDirectory::temporary(u64::MAX));
    // Others hold all that could be on disk.
    let budget = Budget::new(1 << 20, Some(disk));
    let _others = budget.account("the others").hold(768 << 10).unwrap();
    let mut spool = Spool::new(&budget.account("up"));
    for part in 0..3 {
        spool.push(rows(&[(2 * part, part), (2 * part + 1, part)])).unwrap();
    }
    let put_away = spool.finish().unwrap();
    assert!(put_away.on_disk());
    up.commit_rows(put_away, Mark::new(3));
    let (mut reader, mut read) = (up.reader(0, small()), Read::default());
    read.to(&mut reader, 3).await;
    assert_eq!(read.ids, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn files_of_before_are_read_whole_and_nobody_goes_on_in_the_middle_of_one() {
    let up = with_history([false, false, true]).await;
    let (mut reader, mut read) = (up.reader(0, small()), Read::default());
    read.to(&mut reader, up.checkpoint + 1).await;
    assert_eq!(read.ids.iter().copied().collect::<BTreeSet<_>>(), IDS.into());
    assert_eq!(read.ids.len(), IDS.len());
    // Each of them is one step: the offset moves behind all of its rows.
    let of_first: usize =
        read.cuts.iter().skip_while(|(rows, _)| *rows == 0).take_while(|(_, partial)| *partial).count();
    assert_eq!(of_first, 1, "{:?}", read.cuts);
    for (next, ok) in [(2, true), (3, false), (4, true), (5, true), (6, false), (7, true), (9, true)] {
        let (mut reader, mut read) = (up.reader(next, small()), Read::default());
        if ok {
            read.to(&mut reader, up.checkpoint + 1).await;
            continue;
        }
        let error = loop {
            match reader.next().await.expect("an error") {
                Ok(batch) => read.take(batch),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.report().contains(&format!("cannot be read on from checkpoint {next}")), "{}", error.report());
        assert!(error.report().contains("rename the view that reads it"), "{}", error.report());
        assert_eq!(read.ids.len(), 0);
    }
}

#[tokio::test]
async fn a_sealed_file_or_what_lies_beside_it_that_is_gone_is_an_error() {
    for (private, said) in [(false, "is gone"), (true, "it is missing beside up/")] {
        let up = with_history([true; 3]).await;
        let file = up.sealed[0].path.clone();
        if private {
            let listed = up.deps.private.list(&Path::from("q/up/runs")).await.unwrap();
            let beside = listed.iter().find(|key| key.as_ref().contains("1970-01-01")).expect("one").clone();
            up.deps.private.objects().delete(&beside).await.unwrap();
        } else {
            up.deps.public.objects().delete(&Path::from(file)).await.unwrap();
        }
        let (mut reader, mut read) = (up.reader(0, ReaderLimits::default()), Read::default());
        let error = loop {
            match reader.next().await.expect("an error") {
                Ok(batch) => read.take(batch),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.report());
        assert!(error.report().contains(said), "{}", error.report());
    }
}

#[tokio::test]
async fn a_view_that_stands_before_what_has_been_read_is_an_error() {
    let mut up = Played::new();
    up.commit(&[(1, 1)], Mark::NONE);
    let mut reader = up.reader(4, ReaderLimits::default());
    reader.next().await.expect("where it stands").unwrap();
    let error = reader.next().await.expect("an error").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        error.report(),
        "view \"up\" stands before what has been read of it\n  \
         detail: its newest checkpoint is 2, and this query has read it up to 3\n  \
         hint: the store of checkpoints was set back, or those of \"up\" were removed: restore both views as they were at one time, \
         or rename this one, so that it starts anew"
    );
    // What stands exactly there has nothing more, and says its mark.
    let (mut reader, mut read) = (up.reader(3, ReaderLimits::default()), Read::default());
    read.to(&mut reader, 3).await;
    assert!(read.ids.is_empty());
}

#[tokio::test]
async fn a_view_that_is_opened_anew_goes_on_where_it_was() {
    let mut up = Played::new();
    let (mut reader, mut read) = (up.reader(0, ReaderLimits::default()), Read::default());
    up.commit(&[(1, 1)], Mark::new(1));
    read.to(&mut reader, 3).await;
    // What takes it over says the same once more.
    up.commit(&[], Mark::new(1));
    up.open_anew();
    up.commit(&[(2, 2)], Mark::new(2));
    read.to(&mut reader, 5).await;
    up.seal(up.checkpoint, true).await;
    up.commit(&[(3, 3)], Mark::new(3));
    up.open_anew();
    read.to(&mut reader, up.checkpoint + 1).await;
    assert_eq!(read.ids, [1, 2, 3]);
}

async fn trouble_is(reader: &mut Reader, wanted: Option<&str>) {
    while reader.trouble().as_deref() != wanted {
        // A change is announced by a batch.
        reader.next().await.expect("more").unwrap();
    }
}

#[tokio::test]
async fn it_says_what_it_waits_for_and_goes_on_by_itself() {
    let mut up = Played::new();
    let (mut reader, mut read) = (up.reader(0, ReaderLimits::default()), Read::default());
    read.to(&mut reader, 2).await;
    assert_eq!(reader.trouble(), None);
    up.status.set(QueryState::Failed, Some("division by zero\n  detail: at once".to_owned()));
    trouble_is(&mut reader, Some("waits for view \"up\", which has failed: division by zero")).await;
    // It is started again: nothing to say, until it loses its broker.
    up.status.set(QueryState::Starting, None);
    trouble_is(&mut reader, None).await;
    up.status.set(QueryState::Running, None);
    up.status.trouble(Part::Source, Some("no answer from the Kafka brokers".to_owned()));
    trouble_is(&mut reader, Some("waits for view \"up\", which is degraded: no answer from the Kafka brokers")).await;
    up.status.trouble(Part::Source, None);
    trouble_is(&mut reader, None).await;
    up.deps.published.remove_view("up");
    up.deps.published.remove_query("up");
    trouble_is(&mut reader, Some("waits for view \"up\", which is not there")).await;
    // Another version is not read, whatever it shows.
    let other = PublishedView::new("up", schema()).of_version("f2");
    other.publish(ViewSnapshot { checkpoint: 1, ..ViewSnapshot::default() });
    up.deps.published.put_view(Arc::new(other));
    up.deps.published.put_query(Arc::clone(&up.status));
    trouble_is(&mut reader, Some("waits for view \"up\", of which another version runs")).await;
    // Back to the one that it reads.
    up.open_anew();
    up.commit(&[(1, 1)], Mark::new(1));
    read.next = 0;
    read.to(&mut reader, 3).await;
    trouble_is(&mut reader, None).await;
    assert_eq!(read.ids, [1]);
}

#[tokio::test]
async fn it_is_silent_only_while_the_view_runs_and_has_no_more() {
    let up = Played::new();
    let (mut reader, mut read) = (up.reader(0, ReaderLimits::default()), Read::default());
    read.to(&mut reader, 2).await;
    let known = |reader: &Reader| {
        let mut seen = None;
        reader.see_known(|known| seen = known.get(&0).copied());
        seen
    };
    // Nothing announces that it has been asked.
    while known(&reader).is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(known(&reader).map(|known| known.end), Some(2));
    up.status.set(QueryState::Failed, None);
    trouble_is(&mut reader, Some("waits for view \"up\", which has failed")).await;
    assert_eq!(known(&reader), None);
}

#[tokio::test]
async fn it_is_silent_as_long_as_nothing_comes_to_the_view_itself() {
    let up = Played::new();
    let (mut reader, mut read) = (up.reader(0, ReaderLimits::default()), Read::default());
    read.to(&mut reader, 2).await;
    for (said, wanted) in [(None, (0, 0)), (Some(Silence { since: -9, until: -2 }), (-9, -2)), (None, (0, 0))] {
        up.status.note_silence(said);
        loop {
            let mut seen = None;
            reader.see_known(|known| seen = known.get(&0).map(|known| (known.since, known.at)));
            if seen == Some(wanted) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn where_the_views_input_has_ended_so_has_what_it_brings() {
    let mut up = Played::new();
    up.commit(&[(1, 1)], Mark::END);
    up.finished = true;
    up.show();
    let (mut reader, mut read) = (up.reader(0, ReaderLimits::default()), Read::default());
    read.to(&mut reader, 3).await;
    assert_eq!((read.ids.as_slice(), read.mark), (&[1][..], Some(Mark::END)));
    read.take(reader.next().await.expect("the end").unwrap());
    assert!(read.finished);
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn without_memory_one_batch_waits_at_a_time_and_none_is_lost() {
    let mut up = Played::new();
    for step in 0..30 {
        up.commit(&[(2 * step, step), (2 * step + 1, step)], Mark::new(step));
    }
    let budget = Budget::new(1 << 20, None);
    let _others = budget.account("the others").hold(768 << 10).unwrap();
    let account = budget.account("the query");
    let limits = ReaderLimits { queue_batches: 16, ..small() };
    let mut reader = up.reader_of(0, limits, Some(Arc::clone(&account)));
    let (mut ids, mut largest, mut held) = (Vec::new(), 0, 0);
    while ids.len() < 60 {
        let batch = reader.next().await.expect("more").unwrap();
        largest = largest.max(batch.bytes);
        held = held.max(account.used());
        ids.extend(
            batch.batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()),
        );
    }
    assert_eq!(ids, (0..60).collect::<Vec<_>>());
    assert!(largest > 0 && held <= 2 * largest, "{held} bytes, of at most {largest} a batch");
}
