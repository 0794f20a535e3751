//! A materialized view being read as a stream: its committed checkpoints one after the other, each of them whole.
//!
//! The offset is the next checkpoint to read. What lies before the newest one is in sealed files, then in the tail; how far the view's times
//! have got is told behind the rows that it holds behind, and never ahead of any that are to come. The task follows what the view
//! publishes, which is committed already, and waits where the view does not run, until it does again.

mod gathered;
mod history;
mod sealed_file;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use gathered::Gathered;
pub(crate) use history::History;
use history::Seal;

use super::reader::{
    Answers, OpenSpec, Queue, Reader, ReaderLimits, ViewDeps, WAIT_FOR_ROOM, counted, may_wait, standing,
};
use super::{Known, Offset, Progress, SourceBatch, ViewProgress};
use crate::catalog::{TableDef, ViewRef};
use crate::checkpoint::OutputMark;
use crate::clock::{Clock, Micros, micros_of};
use crate::error::{Error, Result};
use crate::state::{Account, Reservation, Rows};
use crate::status::Silence;
use crate::tables::{PublishedView, TailRows, ViewSnapshot};
use crate::watermark::Mark;

/// How often it is looked whether the view still runs. Its rows come without that.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Begins to read a view. `columns`: as for a table.
///
/// # Errors
/// `Bug` where there is nowhere to read views from.
pub(super) fn spawn(
    view: ViewRef,
    def: Arc<TableDef>,
    columns: Vec<usize>,
    open: OpenSpec,
    limits: ReaderLimits,
    clock: Clock,
) -> Result<Reader> {
    let deps = open.views.ok_or_else(|| Error::bug(format!("there is nowhere to read view \"{}\" from", def.name)))?;
    let (queue, batches) = mpsc::channel(limits.queue_batches.max(1));
    let answers = Arc::new(Mutex::new(Answers::default()));
    let name = def.name.clone();
    let schema = Arc::new(def.schema().project(&columns)?);
    let times = view.marks.iter().map(|mark| columns.binary_search(&mark.column).ok()).collect();
    // Checkpoints count from 1.
    let next = open.resume.get(&0).and_then(|next| u64::try_from(*next).ok()).unwrap_or(1).max(1);
    let follower = Follower {
        history: History::new(deps.clone(), Arc::clone(&schema)),
        gathered: Gathered::new(schema, times, limits),
        account: open.account,
        name: name.clone(),
        view,
        deps,
        clock,
        queue,
        answers: Arc::clone(&answers),
        next,
        sent: next,
        head: next - 1,
        told: None,
    };
    tokio::spawn(follower.run());
    Ok(Reader::of_task(batches, answers, name))
}

struct Follower {
    name: String,
    view: ViewRef,
    deps: ViewDeps,
    clock: Clock,
    account: Option<Arc<Account>>,
    queue: Queue,
    answers: Arc<Mutex<Answers>>,
    history: History,
    /// What has been read and not been sent.
    gathered: Gathered,
    /// The checkpoint to read next.
    next: u64,
    /// That up to which the query has been told.
    sent: u64,
    /// The newest checkpoint that the view has shown.
    head: u64,
    /// The checkpoint whose marks have been told last.
    told: Option<u64>,
}

/// Why reading ends.
enum End {
    /// The query is gone: nobody is left to tell.
    Gone,
    Failed(Error),
    /// The view's input had an end, and all has been told.
    Finished,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

/// The view as it is shown, and what it shows from now on.
type Followed = (Arc<PublishedView>, watch::Receiver<Arc<ViewSnapshot>>);

impl Follower {
    async fn run(mut self) {
        let Err(End::Failed(error)) = self.follow().await else { return };
        // Fails only where nobody listens any more.
        let _ = self.queue.send(Err(error)).await;
    }

    async fn follow(&mut self) -> Result<(), End> {
        // As every reader: where it stands, before there are rows.
        self.send(vec![], false).await?;
        let mut changes = self.deps.published.views_changed();
        let mut followed: Option<Followed> = None;
        loop {
            changes.borrow_and_update();
            let shown = self.deps.published.view(&self.name);
            let other = shown.as_ref().is_some_and(|shown| shown.version != self.view.version);
            let own = shown.filter(|_| !other);
            if own.as_ref().map(Arc::as_ptr) != followed.as_ref().map(|(view, _)| Arc::as_ptr(view)) {
                // Opened anew: what it shows goes on where it was.
                self.history.look_anew();
                followed = own.map(|view| (Arc::clone(&view), view.follow()));
            }
            if let Some((_, snapshots)) = &mut followed {
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                if self.advance(&snapshot).await? {
                    continue;
                }
            }
            self.note_state(followed.as_ref().map(|(view, _)| view), other).await?;
            let shows_more = async {
                match &mut followed {
                    // What shows it is held here, so it cannot go.
                    Some((_, snapshots)) => _ = snapshots.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.queue.closed() => return Err(End::Gone),
                _ = changes.changed() => {}
                () = shows_more => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Reads on towards what the view shows. True where there may be more: then the view is to be looked at again, so that nothing of it
    /// is held longer than it is read.
    async fn advance(&mut self, snapshot: &ViewSnapshot) -> Result<bool, End> {
        if snapshot.checkpoint + 1 < self.next {
            return Err(self.set_back(snapshot.checkpoint).into());
        }
        self.head = snapshot.checkpoint;
        if let Some(seal) = self.history.next_seal(&snapshot.sealed, self.next).await? {
            self.read_seal(seal).await?;
            return Ok(true);
        }
        let first = snapshot.tail.partition_point(|part| part.checkpoint < self.next);
        let mut tail = snapshot.tail[first..].iter().peekable();
        let mut position = 0;
        while let Some(TailRows { checkpoint, rows }) = tail.next() {
            self.read_rows(*checkpoint, &mut position, rows).await?;
            if tail.peek().is_none_or(|next| next.checkpoint != *checkpoint) {
                self.end_of(*checkpoint).await?;
                position = 0;
            }
        }
        self.next = snapshot.checkpoint + 1;
        if self.told != Some(snapshot.checkpoint) {
            self.told = Some(snapshot.checkpoint);
            let mark = |name: &String| snapshot.marks.get(name).copied().unwrap_or(Mark::NONE);
            let marks = self.view.marks.iter().map(|of| mark(&of.name)).collect();
            self.send(marks, false).await?;
        }
        if snapshot.finished {
            self.put(SourceBatch { finished: true, ..SourceBatch::default() }).await?;
            return Err(End::Finished);
        }
        Ok(false)
    }

    /// The rows of a checkpoint that are in the tail: in memory, or on local disk.
    async fn read_rows(&mut self, checkpoint: u64, position: &mut usize, rows: &Rows) -> Result<(), End> {
        if let Some(batches) = rows.batches_in_memory() {
            for batch in batches {
                self.add(checkpoint, position, batch).await?;
            }
            return Ok(());
        }
        let mut batches = rows.batches();
        loop {
            let read = tokio::task::spawn_blocking(move || (batches.next(), batches)).await;
            let (batch, rest) = read.map_err(|error| Error::bug("reading rows panicked").caused_by(error))?;
            batches = rest;
            let Some(batch) = batch else { return Ok(()) };
            self.add(checkpoint, position, &batch?).await?;
        }
    }

    async fn read_seal(&mut self, seal: Seal) -> Result<(), End> {
        // As much is read at a time, at most, and decoded on top.
        let held = self.account.as_ref().map(|account| {
            let mut held = Reservation::empty(account);
            held.count(usize::try_from(seal.largest_file()).unwrap_or(usize::MAX));
            held
        });
        let mut reading = self.history.open(&seal, self.next).await?;
        let mut position = 0;
        while let Some((checkpoint, batch)) = reading.next().await? {
            self.add(checkpoint, &mut position, &batch).await?;
            if reading.is_behind(checkpoint) {
                self.end_of(checkpoint).await?;
                position = 0;
            }
        }
        drop(held);
        self.next = seal.range.to + 1;
        let watermarks = reading.watermarks();
        // There is more behind it, so it is not idle, whatever it was then.
        let mark =
            |name: &String| watermarks.get(name).and_then(|OutputMark { at, .. }| *at).map_or(Mark::NONE, Mark::new);
        let marks =
            if watermarks.is_empty() { vec![] } else { self.view.marks.iter().map(|of| mark(&of.name)).collect() };
        self.send(marks, false).await
    }

    async fn add(&mut self, checkpoint: u64, position: &mut usize, batch: &RecordBatch) -> Result<(), End> {
        let far_after = self.far_after();
        let mut row = 0;
        while row < batch.num_rows() {
            if self.gathered.is_full() {
                self.send(vec![], true).await?;
            }
            let rows = self.gathered.rows_max().min(batch.num_rows() - row);
            self.gathered.add(checkpoint, *position, &batch.slice(row, rows), far_after)?;
            (row, *position) = (row + rows, *position + rows);
        }
        Ok(())
    }

    /// All rows of a checkpoint have been read.
    async fn end_of(&mut self, checkpoint: u64) -> Result<(), End> {
        self.next = checkpoint + 1;
        if self.gathered.is_full() {
            self.send(vec![], false).await?;
        }
        Ok(())
    }

    /// Times after this do not count as the newest.
    fn far_after(&self) -> Micros {
        self.view.max_future.map_or(Micros::MAX, |ahead| self.clock.now().saturating_add(micros_of(ahead)))
    }

    /// Sends what has been gathered. `marks`: how far the view has got behind it; empty where that is not known. `partial`: it ends within
    /// a checkpoint, before which the offset stays.
    async fn send(&mut self, marks: Vec<Mark>, partial: bool) -> Result<(), End> {
        let (rows, newest, bytes, batches, origins) = self.gathered.take();
        let end = offset(self.head + 1).max(offset(self.next));
        let progress =
            Progress { from: offset(self.sent), records: rows as u64, ..standing(offset(self.next), Some(end)) };
        self.sent = self.next;
        self.put(SourceBatch {
            batches,
            origins,
            progress: [(0, progress)].into(),
            view: Some(ViewProgress { marks, newest, partial }),
            bytes,
            ..SourceBatch::default()
        })
        .await
    }

    /// Waits for room in the queue, and for memory as long as another batch waits there.
    async fn put(&mut self, batch: SourceBatch) -> Result<(), End> {
        while !may_wait(&self.queue, self.account.as_ref(), batch.bytes) {
            tokio::select! {
                () = self.queue.closed() => return Err(End::Gone),
                () = tokio::time::sleep(WAIT_FOR_ROOM) => {}
            }
        }
        self.queue.send(Ok(counted(batch, self.account.as_ref()))).await.map_err(|_| End::Gone)
    }

    /// Says why nothing may be coming, or that all has come up to now.
    async fn note_state(&mut self, shown: Option<&Arc<PublishedView>>, other_version: bool) -> Result<(), End> {
        let status = self.deps.published.query(&self.name);
        let why = match &status {
            None => Some("which is not there".to_owned()),
            Some(_) if other_version => Some("of which another version runs".to_owned()),
            Some(status) => status.stands_still().map(|why| format!("which {why}")),
        };
        let now = self.clock.steady();
        let going_on = status.filter(|status| status.goes_on());
        // That nothing comes to a view is what it says itself: it may emit once an hour, and commit when it likes.
        let silence = going_on.map(|status| status.silence().unwrap_or(Silence { since: now, until: now }));
        // Looked at after that, so that it is no older.
        let end = shown.map(|view| offset(view.pin().checkpoint.saturating_add(1)));
        let news = {
            let mut answers = self.answers.lock();
            let news = answers.set_trouble(why.map(|why| format!("waits for view \"{}\", {why}", self.name)));
            match silence.zip(end) {
                Some((Silence { since, until }, end)) => _ = answers.known.insert(0, Known { end, since, at: until }),
                None => answers.known.clear(),
            }
            news
        };
        if news { self.put(SourceBatch::default()).await } else { Ok(()) }
    }

    fn set_back(&self, head: u64) -> Error {
        let name = &self.name;
        Error::corrupt(format!("view \"{name}\" stands before what has been read of it"))
            .detail(format!("its newest checkpoint is {head}, and this query has read it up to {}", self.next - 1))
            .hint(format!(
                "the store of checkpoints was set back, or those of \"{name}\" were removed: restore both views as they were at \
                 one time, or rename this one, so that it starts anew"
            ))
    }
}

/// Beyond the last offset there are no checkpoints.
fn offset(checkpoint: u64) -> Offset {
    Offset::try_from(checkpoint).unwrap_or(Offset::MAX)
}

#[cfg(test)]
mod tests;
