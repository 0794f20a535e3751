//! Shared readers: a topic is fetched and decoded once for all queries that are at about the same place in it.
//!
//! ```text
//! thread: source ─► decoder of all wanted columns ─► window ─┬─► query: its columns, from its offset on, by its own judgement
//!                                                            └─► query: …
//! ```
//!
//! A query always reads by such a reader, be it alone. It joins one whose window has its next offsets, and else begins one: there it
//! catches up alone, and moves as soon as an older reader's window has its next offsets. One that is too slow for the others is left
//! behind, which is the same the other way round. Each query keeps its own positions, and every batch is checked against them:
//! what lies before is left out, and a gap is an error. Decision record 25.

mod hub;
mod own;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(super) use self::hub::Hub;
use self::hub::Taken;
use self::own::Own;
use super::reader::{Answers, OpenSpec, ReaderLimits, SourceDeps, standing, start_shared};
use super::{Offsets, Partition, SourceBatch};
use crate::catalog::{ColumnKind, Connector, Format, MetadataKey, TableDef};
use crate::decode::{Doubtful, TableDecoder};
use crate::error::Result;

/// How often a query looks whether an older reader is where it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A batch of a shared reader.
#[derive(Debug)]
struct Decoded {
    /// Indices into the table's columns, ascending: those of the rows.
    columns: Arc<[usize]>,
    rows: SourceBatch,
    /// Records that are no rows of all these columns, or of which one of several is none. Some of the latter's may be among `rows`.
    doubtful: Vec<Doubtful>,
}

/// The shared readers of a server.
#[derive(Debug, Default)]
pub struct SharedTopics {
    /// The oldest first. Whoever holds this may lock one of them, never the other way round.
    hubs: Mutex<Vec<Arc<Hub>>>,
    ids: AtomicU64,
}

/// Whether a table is read by shared readers. Not where a computed column could refuse a record whose headers are then gone.
pub(super) fn can_be_shared(def: &TableDef, open: &OpenSpec) -> bool {
    let has = |is: fn(&ColumnKind) -> bool| def.columns.iter().any(|column| is(&column.kind));
    let loses_headers = has(|kind| matches!(kind, ColumnKind::Computed(_)))
        && has(|kind| matches!(kind, ColumnKind::Metadata(MetadataKey::Headers)));
    matches!(def.connector, Connector::Kafka(_))
        && def.format == Format::Json
        && !loses_headers
        && open.until.is_none()
        && open.start.is_none()
        && open.epoch_rows.is_none()
}

/// Whether both are read in the same way. Where they are declared, and how that is written, does not matter.
fn same_reading(one: &TableDef, other: &TableDef) -> bool {
    one.name == other.name
        && one.connector == other.connector
        && one.columns == other.columns
        && one.watermark == other.watermark
        && one.on_bad_row == other.on_bad_row
        && one.format == other.format
        && one.rows == other.rows
}

/// A query's part in shared readers.
pub(super) struct Subscriber {
    topics: Arc<SharedTopics>,
    hub: Arc<Hub>,
    id: u64,
    own: Own,
    /// The next offset of each partition.
    at: Offsets,
    /// It has joined a reader that had not been opened: nobody has looked yet whether the topic reaches as far as `at`.
    unproven: bool,
    /// Tells where the partitions stand, where no batch does.
    greeting: Option<SourceBatch>,
    wake: Arc<Notify>,
    look_at: Instant,
    def: Arc<TableDef>,
    limits: ReaderLimits,
    open: OpenSpec,
    deps: SourceDeps,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscriber({} of {:?})", self.id, self.hub)
    }
}

impl SharedTopics {
    /// Begins to read a table from `open.resume`.
    ///
    /// # Errors
    /// `Unavailable` where no thread can be started, `Invalid` for columns that cannot be decoded.
    pub(super) fn read(
        self: &Arc<Self>,
        def: Arc<TableDef>,
        columns: Vec<usize>,
        open: OpenSpec,
        limits: ReaderLimits,
        deps: SourceDeps,
    ) -> Result<Subscriber> {
        // Here, since a reader that was brought such columns would fail for all its queries.
        TableDecoder::try_new(&def, &columns, deps.clock.clone())?;
        let (id, wake) = (self.next_id(), Arc::new(Notify::new()));
        let own = Own::new(Arc::clone(&def), columns, deps.clock.clone());
        let at = open.resume.clone();
        let mut hubs = self.hubs.lock();
        let mut unproven = false;
        let mut alike = hubs.iter().filter(|hub| same_reading(&hub.def, &def));
        let found = alike.find(|hub| {
            unproven = hub.began().is_empty();
            hub.join(id, &at, own.columns(), &wake, false)
        });
        let found = found.cloned();
        let (hub, greeting) = match found {
            // A batch that tells it may have been taken by all others.
            Some(hub) => {
                let greeting = (!at.is_empty()).then(|| greeting(&hub, &at));
                (hub, greeting)
            }
            None => {
                let hub = self.begin(&def, &at, &open, limits, &deps, (id, own.columns(), &wake))?;
                hubs.push(Arc::clone(&hub));
                (hub, None)
            }
        };
        drop(hubs);
        let topics = Arc::clone(self);
        let look_at = Instant::now() + LOOK_EVERY;
        Ok(Subscriber { topics, hub, id, own, at, unproven, greeting, wake, look_at, def, limits, open, deps })
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// A reader that begins at `at`, with a first query.
    fn begin(
        &self,
        def: &Arc<TableDef>,
        at: &Offsets,
        open: &OpenSpec,
        limits: ReaderLimits,
        deps: &SourceDeps,
        (query, columns, wake): (u64, &[usize], &Arc<Notify>),
    ) -> Result<Arc<Hub>> {
        let account = open.account.as_ref().map(|account| {
            let name = format!("the shared reader of \"{}\"", def.name);
            account.budget().account(name)
        });
        let hub = Arc::new(Hub::new(self.next_id(), Arc::clone(def), at.clone(), limits, account));
        hub.join(query, at, columns, wake, false);
        hub.runs_as(start_shared(&hub, at.clone(), limits, deps.clone())?);
        Ok(hub)
    }

    /// Takes a query out of a reader, which ends with its last one.
    fn leave(&self, hub: &Arc<Hub>, query: u64) {
        let mut hubs = self.hubs.lock();
        if hub.leave(query) {
            hubs.retain(|other| !Arc::ptr_eq(other, hub));
        }
        hubs.iter().for_each(|hub| hub.forget(query));
    }

    #[cfg(test)]
    fn readers(&self) -> usize {
        self.hubs.lock().len()
    }
}

impl Subscriber {
    /// The next batch or the reader's error. Cancel-safe: a batch is taken or it stays.
    pub(super) async fn next(&mut self) -> Result<SourceBatch> {
        loop {
            if let Some(batch) = self.try_next() {
                return batch;
            }
            self.wake.notified().await;
        }
    }

    /// The next batch if one is there.
    pub(super) fn try_next(&mut self) -> Option<Result<SourceBatch>> {
        if let Some(greeting) = self.greeting.take() {
            return Some(Ok(greeting));
        }
        self.look_for_older();
        loop {
            match self.hub.take(self.id) {
                Taken::Batch(decoded) if !self.is_disproved_by(&decoded) => {
                    return Some(self.own.take(&decoded, &mut self.at));
                }
                Taken::Nothing => return None,
                Taken::Failed(error) if !self.hub.is_behind(&self.at) => return Some(Err(error)),
                // Left behind; or what fails is before it, as where others need what retention has eaten; or its own source has to say
                // that the topic is not the one that was read.
                Taken::LeftBehind | Taken::Failed(_) | Taken::Batch(_) => {
                    if let Err(error) = self.go_alone() {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// Whether the first batch of a reader tells that the topic ends before the query's next offsets.
    fn is_disproved_by(&mut self, batch: &Decoded) -> bool {
        let progress = &batch.rows.progress;
        if !self.unproven || progress.is_empty() {
            return false;
        }
        self.unproven = false;
        let ends = |partition: &Partition| progress.get(partition).and_then(|progress| progress.end);
        self.at.iter().any(|(partition, next)| ends(partition).is_some_and(|end| end < *next))
    }

    /// Moves to an older reader of the topic, where one has the query's next offsets.
    fn look_for_older(&mut self) {
        let now = Instant::now();
        if self.at.is_empty() || now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let hubs = self.topics.hubs.lock();
        let mut older = hubs.iter().filter(|hub| hub.id < self.hub.id && same_reading(&hub.def, &self.def));
        let found = older.find(|hub| hub.join(self.id, &self.at, self.own.columns(), &self.wake, true)).cloned();
        drop(hubs);
        if let Some(older) = found {
            let left = std::mem::replace(&mut self.hub, older);
            self.topics.leave(&left, self.id);
        }
    }

    /// Begins a reader of its own where it stands.
    fn go_alone(&mut self) -> Result<()> {
        if self.at.is_empty() {
            // It has taken nothing yet. The latest records of then are not those of now.
            self.at = self.hub.began();
        }
        let mut hubs = self.topics.hubs.lock();
        let query = (self.id, self.own.columns(), &self.wake);
        let hub = self.topics.begin(&self.def, &self.at, &self.open, self.limits, &self.deps, query)?;
        hubs.push(Arc::clone(&hub));
        drop(hubs);
        let left = std::mem::replace(&mut self.hub, hub);
        self.topics.leave(&left, self.id);
        Ok(())
    }

    pub(super) fn answers(&self) -> &Mutex<Answers> {
        &self.hub.answers
    }

    /// Ends, and waits for the reader's thread where no other query reads by it.
    pub(super) fn stop(self) {
        let hub = Arc::clone(&self.hub);
        drop(self);
        // Its panic has been reported as an error.
        hub.ended().into_iter().for_each(|thread| _ = thread.join());
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.topics.leave(&self.hub, self.id);
    }
}

/// Where the partitions stand for a query that goes on in the middle.
fn greeting(hub: &Hub, at: &Offsets) -> SourceBatch {
    let answers = hub.answers.lock();
    let end = |partition: &Partition, next| answers.known.get(partition).map(|known| known.end.max(next));
    let progress = at.iter().map(|(partition, next)| (*partition, standing(*next, end(partition, *next))));
    SourceBatch { progress: progress.collect(), ..SourceBatch::default() }
}
