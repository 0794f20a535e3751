//! One table being read: a thread polls the source, decodes and queues batches. Of a topic it may do so for several queries (see `shared`);
//! a view is read by a task instead (see `view`).
//!
//! The thread takes what is at hand at once. While the queue is full it goes on filling the batch it has, up to the
//! limits, and then stops fetching: a slow query makes larger batches first and back-pressure after that.

#[cfg(test)]
pub(crate) mod by_hand;
mod side_by_side;
mod takers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TryRecvError};

use self::side_by_side::{Ended, Lane};
use self::takers::Takers;
pub(super) use self::takers::{Gone, Queue, counted, may_wait};
use super::embedded::{EmbeddedLog, EmbeddedSource};
use super::filesystem::{self, BatchReader, NdjsonSource};
use super::kafka::{self, KafkaSettings, KafkaSource};
use super::postgres::PostgresSource;
use super::shared::{Hub, SharedTopics, Subscriber, can_be_shared};
use super::view;
use super::{Identity, Known, Offset, Offsets, Partition, PollLimits, Polled, Progress, Source, SourceBatch};
use crate::catalog::{ColumnKind, Connector, Format, KafkaTopic, MetadataKey, RecordRows, StartAt, TableDef};
use crate::clock::{Clock, Micros};
use crate::decode::{Doubtful, TableDecoder};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::postgres::PostgresSettings;
use crate::state::Account;
use crate::store::Store;
use crate::tables::Published;

/// How long the thread waits for records before it looks whether it should end.
const WAIT: Duration = Duration::from_millis(50);
/// How long it waits for more records while the queue is full.
pub(super) const WAIT_FOR_ROOM: Duration = Duration::from_millis(10);
/// Between two tries to open a source that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// A partition that has not answered for so long, in microseconds, begins anew when it does. Several times what any source
/// takes to ask again.
const LAPSE: Micros = 5_000_000;

/// What sources need from outside.
#[derive(Debug, Clone)]
pub struct SourceDeps {
    pub kafka: KafkaSettings,
    /// Opened where `brokers` is `embedded`.
    pub embedded: Option<Arc<EmbeddedLog>>,
    /// Of the server: the address of tables that name none, and for all of them how long to wait and whom to trust.
    pub postgres: PostgresSettings,
    pub clock: Clock,
}

/// Where to begin, where to end, how to cut.
#[derive(Debug, Clone, Default)]
pub struct OpenSpec {
    /// The next offset per partition, from a checkpoint; empty: the table's own start.
    pub resume: Offsets,
    /// Which files these offsets are of. `None`: nobody wants to know, as where nothing is resumed later.
    pub identity: Option<Arc<Identity>>,
    /// Offsets to stop at. `None`: a topic is read for ever, files to their end.
    pub until: Option<Offsets>,
    /// Instead of the topic's own start, where `resume` is empty.
    pub start: Option<StartAt>,
    /// At most this many records a batch, in input order: 1 reads row by row.
    pub epoch_rows: Option<usize>,
    /// Answers for the rows that wait. Without room in it one batch waits at the most.
    pub account: Option<Arc<Account>>,
    /// Where views are, which only a query of a server can read.
    pub views: Option<ViewDeps>,
    /// The readers that it may have in common with other queries. `None`: one of its own.
    pub shared: Option<Arc<SharedTopics>>,
}

/// What reading a view needs.
#[derive(Debug, Clone)]
pub struct ViewDeps {
    pub published: Arc<Published>,
    /// Where the checkpoints of its sealed rows are said, and its public files.
    pub private: Store,
    pub public: Store,
}

/// Bounds the memory of one reader: about `(queue_batches + 2 × decoders) × batch_bytes_max`, and what the source prefetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderLimits {
    /// Records per batch.
    pub batch_rows_max: usize,
    /// Decoded bytes per batch; a batch ends with the record that passes it.
    pub batch_bytes_max: usize,
    /// Batches that wait for the query.
    pub queue_batches: usize,
    /// Threads that decode batches at the same time, as long as these are full.
    pub decoders: usize,
}

impl ReaderLimits {
    /// For a server with so much memory for rows: one batch takes a small part of it.
    pub fn within(memory: usize) -> Self {
        let limits = ReaderLimits::default();
        ReaderLimits { batch_bytes_max: limits.batch_bytes_max.min(memory / BATCH_SHARE), ..limits }
    }
}

/// See [`ReaderLimits::within`].
const BATCH_SHARE: usize = 128;

impl Default for ReaderLimits {
    fn default() -> Self {
        ReaderLimits { batch_rows_max: 64 * 1024, batch_bytes_max: 32 << 20, queue_batches: 4, decoders: 1 }
    }
}

/// The receiving end of a reader. Dropping it ends what reads for it alone within about 100 ms, without waiting for it.
#[derive(Debug)]
pub struct Reader {
    supply: Supply,
    table: String,
    /// The last batch or an error has been handed out.
    ended: bool,
}

/// Where the batches come from.
#[derive(Debug)]
enum Supply {
    Own {
        batches: mpsc::Receiver<Result<SourceBatch>>,
        answers: Arc<Mutex<Answers>>,
        /// What blocks has a thread of its own; views are read by a task.
        thread: Option<JoinHandle<()>>,
    },
    Shared(Box<Subscriber>),
}

/// Starts reading a table. `columns`: indices into its columns, ascending; batches have these columns.
///
/// The first batch comes at once and tells where every partition begins and ends, with or without rows. A topic whose
/// brokers do not answer is tried again for ever, unless the read is bounded; see [`Reader::trouble`].
///
/// # Errors
/// `Unavailable` where no thread can be started; of shared readers `Invalid` for columns that cannot be decoded. All else comes out of
/// [`Reader::next`].
pub fn spawn_reader(
    name: &str,
    def: Arc<TableDef>,
    columns: Vec<usize>,
    open: OpenSpec,
    limits: ReaderLimits,
    deps: SourceDeps,
) -> Result<Reader> {
    if let Connector::View(view) = &def.connector {
        let view = view.clone();
        return view::spawn(view, def, columns, open, limits, deps.clock);
    }
    let table = def.name.clone();
    if let Some(shared) = open.shared.clone().filter(|_| can_be_shared(&def, &open)) {
        let subscriber = shared.read(def, columns, open, limits, deps)?;
        return Ok(Reader { supply: Supply::Shared(Box::new(subscriber)), table, ended: false });
    }
    let (sender, batches) = mpsc::channel(limits.queue_batches.max(1));
    let answers = Arc::new(Mutex::new(Answers::default()));
    let takers = Takers::Query { columns, queue: sender, account: open.account.clone() };
    let task = Task::new(def, open, limits, deps, takers, Arc::clone(&answers));
    let thread = spawn_thread(name, move || task.run())?;
    Ok(Reader { supply: Supply::Own { batches, answers, thread: Some(thread) }, table, ended: false })
}

/// Starts the thread of a shared reader that begins at `resume`; it ends when nobody reads there any more.
///
/// # Errors
/// `Unavailable` where no thread can be started.
pub(super) fn start_shared(
    hub: &Arc<Hub>,
    resume: Offsets,
    limits: ReaderLimits,
    deps: SourceDeps,
) -> Result<JoinHandle<()>> {
    let open = OpenSpec { resume, ..OpenSpec::default() };
    let (def, answers) = (Arc::clone(&hub.def), Arc::clone(&hub.answers));
    let name = format!("shared/{}", def.name);
    let last_words = LastWords(Arc::clone(hub));
    let task = Task::new(def, open, limits, deps, Takers::Shared(Arc::clone(hub)), answers);
    spawn_thread(&name, move || {
        let _last_words = last_words;
        task.run();
    })
}

/// A thread that panics must not look like a topic to which nothing comes.
struct LastWords(Arc<Hub>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::bug(format!("what reads \"{}\" died", self.0.def.name)));
        }
    }
}

fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| Error::unavailable(format!("cannot start a thread to read table \"{name}\"")).caused_by(error))
}

impl Reader {
    /// Of what a task reads, which ends when nobody listens any more.
    pub(super) fn of_task(
        batches: mpsc::Receiver<Result<SourceBatch>>,
        answers: Arc<Mutex<Answers>>,
        name: String,
    ) -> Self {
        Reader { supply: Supply::Own { batches, answers, thread: None }, table: name, ended: false }
    }

    /// The next batch; `None` behind the last one, or behind an error.
    ///
    /// Cancel-safe: a batch is taken or it stays.
    pub async fn next(&mut self) -> Option<Result<SourceBatch>> {
        if self.ended {
            return None;
        }
        let next = match &mut self.supply {
            Supply::Own { batches, .. } => batches.recv().await,
            Supply::Shared(subscriber) => Some(subscriber.next().await),
        };
        self.taken(next)
    }

    /// The next batch if one is there.
    pub fn try_next(&mut self) -> Option<Result<SourceBatch>> {
        if self.ended {
            return None;
        }
        let next = match &mut self.supply {
            Supply::Own { batches, .. } => match batches.try_recv() {
                Ok(next) => Some(next),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => None,
            },
            Supply::Shared(subscriber) => Some(subscriber.try_next()?),
        };
        self.taken(next)
    }

    fn answers(&self) -> &Mutex<Answers> {
        match &self.supply {
            Supply::Own { answers, .. } => answers,
            Supply::Shared(subscriber) => subscriber.answers(),
        }
    }

    fn taken(&mut self, next: Option<Result<SourceBatch>>) -> Option<Result<SourceBatch>> {
        // A thread that ends without a last word has panicked; that must not look like the end of the input.
        let next = next.unwrap_or_else(|| Err(Error::bug(format!("what reads \"{}\" died", self.table))));
        self.ended = next.as_ref().map_or(true, |batch| batch.finished);
        Some(next)
    }

    /// Why nothing may be coming, in one sentence; `None` while all is well. A change is announced by a batch, which
    /// may be empty.
    pub fn trouble(&self) -> Option<String> {
        self.answers().lock().trouble.clone()
    }

    /// Shows which partitions answer, and where they end. It can be ahead of the batches: what is beyond the last one taken
    /// is still on its way.
    pub fn see_known(&self, see: impl FnOnce(&BTreeMap<Partition, Known>)) {
        see(&self.answers().lock().known);
    }

    /// Ends the thread and waits for it: then nothing of it holds the log or a file any more. Blocks for about 100 ms at
    /// most, longer only where a broker is being waited for.
    pub fn stop(self) {
        match self.supply {
            Supply::Own { batches, thread, .. } => {
                drop(batches);
                // Its panic has been reported by `next`.
                thread.into_iter().for_each(|thread| _ = thread.join());
            }
            Supply::Shared(subscriber) => subscriber.stop(),
        }
    }
}

struct Task {
    def: Arc<TableDef>,
    open: OpenSpec,
    rows_max: usize,
    bytes_max: usize,
    decoders: usize,
    deps: SourceDeps,
    takers: Takers,
    answers: Arc<Mutex<Answers>>,
}

/// What the source has to say beside records, for the query to see at any time.
#[derive(Debug, Default)]
pub(super) struct Answers {
    trouble: Option<String>,
    /// The partitions that answer. None while the source as a whole is in trouble.
    pub(super) known: BTreeMap<Partition, Known>,
}

impl Answers {
    /// Whether that is news.
    pub(super) fn set_trouble(&mut self, trouble: Option<String>) -> bool {
        if trouble.is_some() {
            self.known.clear();
        }
        // Details differ from one try to the next, as in "after 307 ms"; that is no news.
        let changed = self.trouble.as_deref().map(first_line) != trouble.as_deref().map(first_line);
        if changed {
            self.trouble = trouble;
        }
        changed
    }

    /// Notes what a poll has found out.
    fn note(&mut self, polled: &Polled, now: Micros) {
        self.known.retain(|partition, _| polled.ends.contains_key(partition));
        if self.trouble.is_some() {
            return;
        }
        for partition in &polled.answered {
            let Some(end) = polled.ends.get(partition) else { continue };
            self.answered(*partition, *end, now);
        }
    }

    pub(super) fn answered(&mut self, partition: Partition, end: Offset, now: Micros) {
        let known = self.known.entry(partition).or_insert(Known { end, since: now, at: now });
        if now.saturating_sub(known.at) > LAPSE {
            known.since = now;
        }
        (known.end, known.at) = (end, now);
    }
}

enum Input {
    Records(Box<dyn Source>, Box<TableDecoder>, Files),
    Batches(Box<dyn BatchReader>, Files),
}

/// Which files they are that are read, where somebody wants to know.
type Files = Option<Arc<Identity>>;

impl Task {
    fn new(
        def: Arc<TableDef>,
        open: OpenSpec,
        limits: ReaderLimits,
        deps: SourceDeps,
        takers: Takers,
        answers: Arc<Mutex<Answers>>,
    ) -> Self {
        let rows_max = limits.batch_rows_max.min(open.epoch_rows.unwrap_or(usize::MAX)).max(1);
        let (bytes_max, decoders) = (limits.batch_bytes_max.max(1), limits.decoders.max(1));
        Task { def, open, rows_max, bytes_max, decoders, deps, takers, answers }
    }

    fn run(self) {
        let result = match self.open_until_answered() {
            Ok(Ok(Input::Records(source, decoder, files))) => self.read_records(source, *decoder, files),
            Ok(Ok(Input::Batches(reader, files))) => self.read_batches(reader, files),
            Ok(Err(error)) => Ok(Err(error)),
            Err(gone) => Err(gone),
        };
        if let Ok(Err(error)) = result {
            self.takers.fail(error);
        }
    }

    fn open_until_answered(&self) -> Result<Result<Input>, Gone> {
        loop {
            match self.open() {
                Err(error) if self.waits_out(&error) => {
                    if self.answers.lock().set_trouble(Some(error.report())) {
                        self.send((SourceBatch::default(), vec![]))?;
                    }
                    self.wait_to_retry()?;
                }
                opened => {
                    self.answers.lock().set_trouble(None);
                    return Ok(opened);
                }
            }
        }
    }

    /// By how much records may grow when they are decoded, which a poll cannot know while it goes on. A row of a list can take three
    /// bytes, and many times that as a row.
    fn growth(&self) -> usize {
        if self.def.rows == RecordRows::One { 1 } else { 16 }
    }

    /// Whether it is tried again for ever where the source fails so.
    fn waits_out(&self, error: &Error) -> bool {
        let is_topic = matches!(self.def.connector, Connector::Kafka(_));
        error.kind() == ErrorKind::Unavailable && self.open.until.is_none() && is_topic
    }

    fn open(&self) -> Result<Input> {
        let (open, until) = (&self.open, self.open.until.as_ref());
        let (mut names, mut identity) = (Vec::new(), None);
        let source: Box<dyn Source> = match &self.def.connector {
            Connector::Kafka(topic) => {
                let topic = KafkaTopic { start: open.start.unwrap_or(topic.start), ..topic.clone() };
                match embedded(&self.def, &topic, &self.deps)? {
                    Some(log) => Box::new(EmbeddedSource::open(log, &topic, &open.resume, until)?),
                    None => Box::new(KafkaSource::open(&self.deps.kafka, &topic, &open.resume, until)?),
                }
            }
            Connector::Filesystem(files) if self.def.format == Format::Json => {
                let (paths, known) = self.files(files.path.as_ref())?;
                let source = NdjsonSource::of(paths, &open.resume);
                identity = known;
                names = source.files().iter().map(|path| path.display().to_string()).collect();
                Box::new(source)
            }
            Connector::Postgres(table) => {
                Box::new(PostgresSource::open(&self.deps.postgres, table, &self.def, self.columns())?)
            }
            Connector::View(_) => return Err(not_a_table(&self.def)),
            Connector::Filesystem(_) => {
                let (paths, known) = self.files(filesystem::path_of(&self.def)?)?;
                let clock = self.deps.clock.clone();
                let reader = filesystem::open_batches_of(&self.def, paths, self.columns(), &open.resume, clock)?;
                return Ok(Input::Batches(reader, known));
            }
        };
        let mut decoder = self.decoder(self.columns(), &source.positions())?;
        for (partition, name) in names.into_iter().enumerate() {
            decoder.name_partition(partition as Partition, name);
        }
        Ok(Input::Records(source, Box::new(decoder), identity))
    }

    /// The files of a table in the order of their numbers, and which they are.
    ///
    /// # Errors
    /// `Corrupt` where a file is not what was read of it.
    fn files(&self, path: &Path) -> Result<(Vec<PathBuf>, Files)> {
        let Some(known) = &self.open.identity else { return Ok((filesystem::list_files(path)?, None)) };
        let (paths, files) = filesystem::identify(path, &known.files)?;
        Ok((paths, Some(Arc::new(Identity { files, ..Identity::default() }))))
    }

    /// The columns to begin with.
    fn columns(&self) -> &[usize] {
        match &self.takers {
            Takers::Query { columns, .. } => columns,
            // They are asked for before the first record.
            Takers::Shared(_) => &[],
        }
    }

    fn decoder(&self, columns: &[usize], at: &Offsets) -> Result<TableDecoder> {
        let decoder = TableDecoder::try_new(&self.def, columns, self.deps.clock.clone())?;
        let mut decoder = match &self.takers {
            Takers::Query { .. } => decoder,
            Takers::Shared(_) => decoder.for_several(),
        };
        decoder.start_at(at);
        Ok(decoder)
    }

    fn read_records(
        &self,
        mut source: Box<dyn Source>,
        mut decoder: TableDecoder,
        mut files: Files,
    ) -> Result<Result<()>, Gone> {
        let mut told: Option<Offsets> = None;
        // Records and news since the last batch that was sent.
        let (mut records, mut news) = (0, false);
        let mut lanes: Vec<Lane> = Vec::new();
        let mut was_full = false;
        loop {
            if self.takers.is_gone() {
                return Err(Gone);
            }
            let waiting_for_room = records > 0 || news;
            // Between two batches only: all rows of one have the same columns.
            if let (Some(at), false) = (&told, waiting_for_room)
                && let Some(columns) = self.takers.other_columns()?
            {
                match self.decoder(&columns, at) {
                    Ok(other) => decoder = other,
                    Err(error) => return Ok(Err(error)),
                }
                lanes.clear();
            }
            if let (Some(at), true, false) = (&mut told, std::mem::take(&mut was_full), waiting_for_room)
                && self.decodes_side_by_side(&decoder)
            {
                match self.read_side_by_side(source.as_mut(), &decoder, &mut lanes, at)? {
                    Ok(Ended { finished: true, .. }) => return Ok(Ok(())),
                    Ok(ended) => news = ended.news,
                    Err(error) => return Ok(Err(error)),
                }
                decoder.start_at(at);
                continue;
            }
            let limits = PollLimits {
                records_max: match &told {
                    // Who is about to join may read other columns.
                    None if self.takers.may_be_several() => 0,
                    _ => self.rows_max - records,
                },
                bytes_max: (self.bytes_max.saturating_sub(decoder.bytes()) / self.growth()).max(1),
                wait: match (&told, waiting_for_room) {
                    // The first batch does not wait for records: it tells where the partitions stand.
                    (None, _) => Duration::ZERO,
                    (_, true) => self.takers.wait(),
                    (_, false) => WAIT,
                },
            };
            let mut pushed = Ok(());
            let polled = source.poll(limits, &mut |record| {
                if pushed.is_ok() {
                    records += 1;
                    pushed = decoder.push(&record);
                }
            });
            if let Err(error) = pushed {
                return Ok(Err(error));
            }
            let polled = match polled {
                Ok(polled) => polled,
                Err(error) if self.waits_out(&error) => {
                    news |= self.answers.lock().set_trouble(Some(error.report()));
                    self.wait_to_retry()?;
                    continue;
                }
                Err(error) => return Ok(Err(error)),
            };
            {
                let mut answers = self.answers.lock();
                news |= answers.set_trouble(polled.trouble.clone());
                answers.note(&polled, self.deps.clock.steady());
            }
            news |= records > 0 || polled.finished || told.as_ref() != Some(&polled.positions);
            if !news {
                continue;
            }
            let full = records.max(decoder.rows()) >= self.rows_max || decoder.bytes() >= self.bytes_max;
            let whole = full || polled.finished;
            if !whole && !self.takers.wants(decoder.bytes())? {
                continue;
            }
            // Of files once: there may be thousands.
            let identity = files.take().or_else(|| source.identity());
            let finished = finish(&mut decoder, &polled);
            match finished.map(|(batch, doubtful)| (SourceBatch { identity, ..batch }, doubtful)) {
                Ok(batch) if whole => self.send(batch)?,
                Ok(batch) => self.takers.put(batch)?,
                Err(error) => return Ok(Err(error)),
            }
            (records, news, told, was_full) = (0, false, Some(polled.positions), full);
            if polled.finished {
                return Ok(Ok(()));
            }
        }
    }

    /// Whether full batches are decoded by several threads. Of small ones there would be more to hand over than to decode, and headers are
    /// not copied.
    fn decodes_side_by_side(&self, decoder: &TableDecoder) -> bool {
        let columns = decoder.schema().fields();
        let has_headers = self.def.columns.iter().any(|column| {
            matches!(column.kind, ColumnKind::Metadata(MetadataKey::Headers)) && columns.find(&column.name).is_some()
        });
        self.decoders > 1 && self.rows_max >= ROWS_SIDE_BY_SIDE && !has_headers
    }

    fn read_batches(&self, mut reader: Box<dyn BatchReader>, identity: Files) -> Result<Result<()>, Gone> {
        let begin = reader.positions().into_iter();
        let progress = begin.map(|(partition, at)| (partition, standing(at, Some(at + 1)))).collect();
        self.send((SourceBatch { progress, identity, ..Default::default() }, vec![]))?;
        loop {
            match reader.next(self.rows_max.min(BATCH_FILE_ROWS)) {
                Ok(mut batch) => {
                    batch.bytes = batch.batches.iter().map(RecordBatch::get_array_memory_size).sum();
                    let (finished, now) = (batch.finished, self.deps.clock.steady());
                    let ends =
                        batch.progress.iter().filter_map(|(partition, progress)| Some((*partition, progress.end?)));
                    ends.for_each(|(partition, end)| self.answers.lock().answered(partition, end, now));
                    self.send((batch, vec![]))?;
                    if finished {
                        return Ok(Ok(()));
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    fn send(&self, batch: (SourceBatch, Vec<Doubtful>)) -> Result<(), Gone> {
        self.takers.wait_for_room(batch.0.bytes)?;
        self.takers.put(batch)
    }

    fn wait_to_retry(&self) -> Result<(), Gone> {
        let until = Instant::now() + RETRY;
        while Instant::now() < until {
            if self.takers.is_gone() {
                return Err(Gone);
            }
            thread::sleep(WAIT);
        }
        Ok(())
    }
}

/// Rows of a batch from which on it is worth a thread of its own.
const ROWS_SIDE_BY_SIDE: usize = 4096;

/// Rows of a CSV or Parquet batch: DataFusion's own batch size.
const BATCH_FILE_ROWS: usize = 8192;

/// Ends a batch; also partitions that contributed nothing are in it, so that their lag is known. With it the records that each of
/// several queries has to judge.
pub(super) fn finish(decoder: &mut TableDecoder, polled: &Polled) -> Result<(SourceBatch, Vec<Doubtful>)> {
    let mut batch = decoder.finish(polled)?;
    for (partition, position) in &polled.positions {
        let end = polled.ends.get(partition).copied();
        batch.progress.entry(*partition).or_insert_with(|| standing(*position, end));
    }
    Ok((batch, decoder.take_doubtful()))
}

pub(super) fn standing(at: Offset, end: Option<Offset>) -> Progress {
    Progress { from: at, to: at, records: 0, event_time_max: None, far_future: 0, end }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Views are read by a task of their own kind, or as they stand.
fn not_a_table(def: &TableDef) -> Error {
    Error::bug(format!("view \"{}\" is read as a table", def.name))
}

/// The embedded log, where the table's brokers mean it.
fn embedded<'a>(def: &TableDef, topic: &KafkaTopic, deps: &'a SourceDeps) -> Result<Option<&'a Arc<EmbeddedLog>>> {
    if !deps.kafka.is_embedded(topic.brokers.as_deref()) {
        return Ok(None);
    }
    let log = deps.embedded.as_ref().ok_or_else(|| {
        Error::invalid(format!("table \"{}\" reads the embedded log, which is not open here", def.name))
            .at(def.location.clone())
            .hint("set brokers under [kafka] to a Kafka cluster, or run this where the server's data directory is")
    })?;
    Ok(Some(log))
}

/// First and next offset of every partition of a table, for a bounded read of what is there now.
///
/// For files and tables of a database the ends are not known before they are read: they are left out, and `until` should be `None`.
///
/// # Errors
/// As opening the source.
pub fn snapshot_offsets(def: &TableDef, deps: &SourceDeps) -> Result<(Offsets, Option<Offsets>)> {
    match &def.connector {
        Connector::Kafka(topic) => match embedded(def, topic, deps)? {
            Some(log) => Ok((log.begins(&topic.topic)?, Some(log.ends(&topic.topic)?))),
            None => kafka::snapshot_offsets(&deps.kafka, topic).map(|(begin, end)| (begin, Some(end))),
        },
        Connector::Filesystem(files) => {
            let files = filesystem::list_files(files.path.as_ref())?;
            Ok(((0..files.len()).map(|id| (id as Partition, 0)).collect(), None))
        }
        Connector::Postgres(_) => Ok((Offsets::from([(PostgresSource::PARTITION, 0)]), None)),
        Connector::View(_) => Err(not_a_table(def)),
    }
}
