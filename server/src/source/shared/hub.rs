//! One shared reader: a thread that fetches and decodes, and the queries that take what it puts into a window.
//!
//! The thread waits for the slowest query before more than the window holds would wait for it. Where others have nothing to do
//! meanwhile, that has an end: the slow one is left behind and reads alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use super::Decoded;
use super::window::{Place, Window, contains, is_little_ahead};
use crate::catalog::{Connector, StartAt, TableDef};
use crate::decode::Doubtful;
use crate::error::{Error, Result};
use crate::source::reader::{Answers, Gone, ReaderLimits, WAIT_FOR_ROOM};
use crate::source::{Offsets, SourceBatch};
use crate::state::{Account, Reservation};

/// How long one query may make others wait in all, before it has everything again. A short stop, as for a checkpoint, the window holds off.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two batches that are not full, for each query but the first. An epoch costs some 40 µs whatever is in it, so many
/// queries over a trickle of rows would keep the processors busy with nothing else.
const PACE: Duration = Duration::from_micros(250);

/// How long after a query has joined the first record is read, since others may be about to: queries that start together read together.
const GATHER: Duration = Duration::from_millis(50);
/// How long that may take in all.
const GATHER_MAX: Duration = Duration::from_millis(500);

/// Full batches that may wait for the slowest query, if `engine.reader_queue_batches` is not less.
const WINDOW_BATCHES: usize = 4;

/// For how long batches that all have taken are kept for queries that come, after one has looked: some of them, by bytes.
const SOUGHT_FOR: Duration = Duration::from_secs(2);

/// See the module's first lines.
pub(in crate::source) struct Hub {
    /// Of two readers of a topic at one place queries go to the one that is older.
    pub(super) id: u64,
    pub(in crate::source) def: Arc<TableDef>,
    /// The offsets that it was opened with; empty: where the table says.
    resume: Offsets,
    /// Bytes that may wait, and those within which who comes is near.
    window_bytes: usize,
    near_bytes: usize,
    /// Batches that wait for each query before they are made larger.
    queue_batches: usize,
    /// Answers for what is in the window, once for all.
    account: Option<Arc<Account>>,
    pub(in crate::source) answers: Arc<Mutex<Answers>>,
    state: Mutex<State>,
    /// A batch was taken, or a query has left.
    taken: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    window: Window,
    /// What the batch under construction holds; `None` before the first record.
    decoding: Option<Arc<[usize]>>,
    /// Columns that are decoded for queries which do not read here yet, by query.
    interests: BTreeMap<u64, Vec<usize>>,
    /// Queries have come or gone since it was looked which columns are wanted.
    stale: bool,
    published: Option<Instant>,
    /// When a query that reads elsewhere looked last whether it could go on here.
    sought: Option<Instant>,
    /// When a query has joined last.
    joined: Option<Instant>,
    /// The last query has left.
    closed: bool,
    failed: Option<Error>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({} of {})", self.id, self.def.name)
    }
}

/// What a query gets when it asks.
pub(super) enum Taken {
    Batch(Arc<Decoded>),
    /// Nothing yet.
    Nothing,
    /// It was too slow: it has to go on alone from where it is.
    LeftBehind,
    Failed(Error),
}

impl Hub {
    pub(super) fn new(
        id: u64,
        def: Arc<TableDef>,
        resume: Offsets,
        limits: ReaderLimits,
        account: Option<Arc<Account>>,
    ) -> Self {
        let queue_batches = limits.queue_batches.max(1);
        Hub {
            id,
            def,
            resume,
            window_bytes: limits.batch_bytes_max.saturating_mul(queue_batches.min(WINDOW_BATCHES)),
            near_bytes: limits.batch_bytes_max / 2,
            queue_batches,
            account,
            answers: Arc::default(),
            // Of queries that start together none is the last.
            state: Mutex::new(State { sought: Some(Instant::now()), ..State::default() }),
            taken: Condvar::new(),
            thread: Mutex::new(None),
        }
    }

    pub(super) fn runs_as(&self, thread: JoinHandle<()>) {
        *self.thread.lock() = Some(thread);
    }

    /// What it keeps of what all have taken, in bytes.
    fn kept(&self, state: &State) -> usize {
        let is_sought = state.sought.is_some_and(|at| at.elapsed() < SOUGHT_FOR);
        let is_short = self.account.as_ref().is_some_and(|account| account.is_short());
        if is_sought && !is_short { self.near_bytes } else { 0 }
    }

    /// Whether a table without a checkpoint begins at the same place, whenever that is.
    fn begins_with_the_topic(&self) -> bool {
        matches!(&self.def.connector, Connector::Kafka(topic) if topic.start == StartAt::Earliest)
    }

    // What queries do.

    /// Takes a query that begins, or one that moves, in; false where it cannot go on here from `at`. `at` empty: it begins where the
    /// table says.
    pub(super) fn join(&self, query: u64, at: &Offsets, columns: &[usize], wake: &Arc<Notify>, moves: bool) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.failed.is_some() {
            return false;
        }
        // Who begins may have all that waits before it: others have it before them as well.
        let near = if moves { self.near_bytes } else { usize::MAX };
        state.sought = Some(Instant::now());
        let window = &state.window;
        // Who comes from a checkpoint beyond what has been read here would not learn that the topic ends before it: a source tells that when
        // it is opened there.
        if !moves && at.iter().any(|(of, next)| window.head().get(of).is_some_and(|head| next > head)) {
            return false;
        }
        let from_its_beginning = if window.head().is_empty() {
            !moves && is_little_ahead(at, &self.resume)
        } else {
            at.is_empty() && self.resume.is_empty() && self.begins_with_the_topic() && window.is_whole()
        };
        let place = match from_its_beginning && window.has_columns_from(0, columns) {
            true => Place::Here(0),
            false => window.place(at, columns, near),
        };
        let decoded = state.decoding.as_ref().is_none_or(|decoding| contains(decoding, columns));
        match place {
            Place::Here(next) if decoded => {
                state.interests.remove(&query);
                state.window.join(query, next, columns.to_vec(), Arc::clone(wake));
                (state.stale, state.joined) = (true, Some(Instant::now()));
                true
            }
            Place::Here(_) | Place::OtherColumns => {
                if moves {
                    state.interests.insert(query, columns.to_vec());
                    state.stale = true;
                }
                false
            }
            Place::Nowhere => false,
        }
    }

    /// Takes a query out. True where it was the last one: then the reader ends.
    pub(super) fn leave(&self, query: u64) -> bool {
        let mut state = self.state.lock();
        state.interests.remove(&query);
        state.window.leave(query);
        state.stale = true;
        if state.window.queries() == 0 {
            state.closed = true;
        }
        self.taken.notify_all();
        state.closed
    }

    /// Its columns are no longer of interest to a query that reads elsewhere.
    pub(super) fn forget(&self, query: u64) {
        let mut state = self.state.lock();
        state.stale |= state.interests.remove(&query).is_some();
    }

    pub(super) fn take(&self, query: u64) -> Taken {
        let mut state = self.state.lock();
        if let Some(batch) = state.window.take(query) {
            let kept = self.kept(&state);
            state.window.release(kept);
            self.taken.notify_all();
            return Taken::Batch(batch);
        }
        match &state.failed {
            _ if !state.window.has(query) => Taken::LeftBehind,
            Some(error) => Taken::Failed(error.duplicate()),
            None => Taken::Nothing,
        }
    }

    /// Whether it has not got to where a query stands: then its error may be none of the query's.
    pub(super) fn is_behind(&self, at: &Offsets) -> bool {
        let state = self.state.lock();
        let head = Some(state.window.head()).filter(|head| !head.is_empty()).unwrap_or(&self.resume);
        at.iter().any(|(partition, next)| head.get(partition).is_some_and(|head| head < next))
    }

    /// Where it has begun to read.
    pub(super) fn began(&self) -> Offsets {
        self.state.lock().window.began().clone()
    }

    /// The thread of a reader that nobody reads any more.
    pub(super) fn ended(&self) -> Option<JoinHandle<()>> {
        let closed = self.state.lock().closed;
        self.thread.lock().take_if(|_| closed)
    }

    // What the thread does.

    pub(in crate::source) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Waits, before the first record, for queries that start at the same time.
    pub(in crate::source) fn gather(&self) -> Result<(), Gone> {
        let begun = Instant::now();
        let mut state = self.state.lock();
        while state.decoding.is_none() {
            if state.closed {
                return Err(Gone);
            }
            let is_quiet = state.joined.is_none_or(|joined| joined.elapsed() >= GATHER);
            if is_quiet || begun.elapsed() >= GATHER_MAX {
                break;
            }
            self.taken.wait_for(&mut state, WAIT_FOR_ROOM);
        }
        Ok(())
    }

    /// The columns to decode from now on, where they are others than before: between two batches.
    pub(in crate::source) fn other_columns(&self) -> Option<Vec<usize>> {
        let mut state = self.state.lock();
        // Also where nothing comes: nobody else would let go what is kept.
        let kept = self.kept(&state);
        state.window.release(kept);
        if state.decoding.is_some() && !std::mem::take(&mut state.stale) {
            return None;
        }
        let wanted: BTreeSet<usize> =
            state.window.columns().chain(state.interests.values().flatten().copied()).collect();
        let wanted: Arc<[usize]> = wanted.into_iter().collect();
        if state.decoding.as_ref() == Some(&wanted) {
            return None;
        }
        state.decoding = Some(Arc::clone(&wanted));
        Some(wanted.to_vec())
    }

    /// Whether queries have come or gone since that was looked at.
    pub(in crate::source) fn is_stale(&self) -> bool {
        self.state.lock().stale
    }

    /// Whether a batch of so many bytes that is not full should be put in: somebody waits for it.
    pub(in crate::source) fn wants(&self, bytes: usize) -> Result<bool, Gone> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Gone);
        }
        if !state.window.is_awaited(self.queue_batches) || !state.wait().is_zero() {
            return Ok(false);
        }
        // Where little comes it would take long until the batch is full, and those who have nothing to do would wait for that.
        if state.window.is_awaited(1) {
            return self.wait_in(&mut state, bytes).map(|()| true);
        }
        Ok(self.may_hold(&state, bytes))
    }

    /// How long to wait for more records while there are some.
    pub(in crate::source) fn wait(&self) -> Duration {
        match self.state.lock().wait() {
            wait if wait.is_zero() => WAIT_FOR_ROOM,
            // Sources wait for whole milliseconds.
            wait => wait.clamp(Duration::from_millis(1), WAIT_FOR_ROOM),
        }
    }

    fn may_hold(&self, state: &State, bytes: usize) -> bool {
        let has_memory = || self.account.as_ref().is_none_or(|account| account.hold(bytes).is_some());
        !state.window.is_waiting() || (state.window.has_room(bytes, self.window_bytes) && has_memory())
    }

    /// Waits until a batch of so many bytes has room, or those are left behind who have none.
    pub(in crate::source) fn wait_for_room(&self, bytes: usize) -> Result<(), Gone> {
        self.wait_in(&mut self.state.lock(), bytes)
    }

    fn wait_in(&self, state: &mut MutexGuard<'_, State>, bytes: usize) -> Result<(), Gone> {
        loop {
            if state.closed {
                return Err(Gone);
            }
            let kept = self.kept(state);
            state.window.release(kept);
            if self.may_hold(state, bytes) {
                return Ok(());
            }
            let began = Instant::now();
            self.taken.wait_for(state, WAIT_FOR_ROOM);
            let left = state.window.blame(began.elapsed(), PATIENCE);
            if left > 0 {
                state.stale = true;
                tracing::info!(table = self.def.name, queries = left, "too slow for the others: reading alone");
            }
        }
    }

    pub(in crate::source) fn put(&self, mut rows: SourceBatch, doubtful: Vec<Doubtful>) -> Result<(), Gone> {
        if let Some(account) = &self.account {
            let mut held = Reservation::empty(account);
            held.count(rows.bytes);
            rows.held = Some(Arc::new(held));
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(Gone);
        }
        let columns = state.decoding.clone().unwrap_or_default();
        state.window.push(Arc::new(Decoded { columns, rows, doubtful }));
        let kept = self.kept(&state);
        state.window.release(kept);
        state.published = Some(Instant::now());
        Ok(())
    }

    /// All who read here are told, after what was read before.
    pub(in crate::source) fn fail(&self, error: Error) {
        let mut state = self.state.lock();
        state.failed.get_or_insert(error);
        state.window.wake_all();
    }
}

impl State {
    /// How long until the next batch that is not full.
    fn wait(&self) -> Duration {
        let others = u32::try_from(self.window.queries().saturating_sub(1)).unwrap_or(u32::MAX);
        let pace = PACE.saturating_mul(others);
        self.published.map_or(Duration::ZERO, |published| pace.saturating_sub(published.elapsed()))
    }
}
