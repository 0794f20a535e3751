//! Who takes what a reader's thread decodes: a query through a queue, or all those that share the reader.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use super::WAIT_FOR_ROOM;
use crate::decode::Doubtful;
use crate::error::{Error, Result};
use crate::source::SourceBatch;
use crate::source::shared::Hub;
use crate::state::{Account, Reservation};

/// The query is gone: nobody is left to tell.
pub(in crate::source) struct Gone;

/// Who reads what the thread decodes.
pub(super) enum Takers {
    Query { columns: Vec<usize>, queue: Queue, account: Option<Arc<Account>> },
    Shared(Arc<Hub>),
}

impl Takers {
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Takers::Query { queue, .. } => queue.is_closed(),
            Takers::Shared(hub) => hub.is_closed(),
        }
    }

    pub(super) fn may_be_several(&self) -> bool {
        matches!(self, Takers::Shared(_))
    }

    /// The columns to decode from now on, where they change.
    pub(super) fn other_columns(&self) -> Result<Option<Vec<usize>>, Gone> {
        match self {
            Takers::Query { .. } => Ok(None),
            Takers::Shared(hub) => {
                hub.gather()?;
                Ok(hub.other_columns())
            }
        }
    }

    /// Whether [`Takers::other_columns`] may have an answer.
    pub(super) fn may_want_other_columns(&self) -> bool {
        match self {
            Takers::Query { .. } => false,
            Takers::Shared(hub) => hub.is_stale(),
        }
    }

    /// How long to wait for more records while there are some.
    pub(super) fn wait(&self) -> Duration {
        match self {
            Takers::Query { .. } => WAIT_FOR_ROOM,
            Takers::Shared(hub) => hub.wait(),
        }
    }

    /// Whether a batch of so many bytes that is not full should be put in.
    pub(super) fn wants(&self, bytes: usize) -> Result<bool, Gone> {
        match self {
            Takers::Query { queue, .. } if queue.is_closed() => Err(Gone),
            Takers::Query { queue, account, .. } => {
                Ok(queue.capacity() > 0 && may_wait(queue, account.as_ref(), bytes))
            }
            Takers::Shared(hub) => hub.wants(bytes),
        }
    }

    /// Waits for room, and for memory as long as another batch waits there.
    pub(super) fn wait_for_room(&self, bytes: usize) -> Result<(), Gone> {
        match self {
            Takers::Query { queue, account, .. } => {
                while !may_wait(queue, account.as_ref(), bytes) {
                    if queue.is_closed() {
                        return Err(Gone);
                    }
                    thread::sleep(WAIT_FOR_ROOM);
                }
                Ok(())
            }
            Takers::Shared(hub) => hub.wait_for_room(bytes),
        }
    }

    pub(super) fn put(&self, (batch, doubtful): (SourceBatch, Vec<Doubtful>)) -> Result<(), Gone> {
        match self {
            Takers::Query { queue, account, .. } => {
                queue.blocking_send(Ok(counted(batch, account.as_ref()))).map_err(|_| Gone)
            }
            Takers::Shared(hub) => hub.put(batch, doubtful),
        }
    }

    pub(super) fn fail(&self, error: Error) {
        match self {
            // Fails only where nobody listens any more.
            Takers::Query { queue, .. } => _ = queue.blocking_send(Err(error)),
            Takers::Shared(hub) => hub.fail(error),
        }
    }
}

/// A queue of batches that a reader fills.
pub(in crate::source) type Queue = mpsc::Sender<Result<SourceBatch>>;

/// Whether a batch of so many bytes may be put into the queue: there is memory for it, or nothing is in the queue.
pub(in crate::source) fn may_wait(queue: &Queue, account: Option<&Arc<Account>>, bytes: usize) -> bool {
    let Some(account) = account else { return true };
    queue.capacity() == queue.max_capacity() || account.hold(bytes).is_some()
}

/// The batch with its bytes on the account, as long as it waits and is worked on.
pub(in crate::source) fn counted(mut batch: SourceBatch, account: Option<&Arc<Account>>) -> SourceBatch {
    if let Some(account) = account {
        let mut held = Reservation::empty(account);
        held.count(batch.bytes);
        batch.held = Some(Arc::new(held));
    }
    batch
}
