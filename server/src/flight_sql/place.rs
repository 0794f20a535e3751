//! A running statement's place among the others, which is another's for as long as its client does not read.
//!
//! An open grid of a BI tool reads a screenful and then nothing for hours. Such results wait beside the places, of each
//! principal so many; of more the one that waits longest is ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};

use super::gate::Gate;
use super::statement::Outcome;
use crate::error::Error;

/// How long a client may take for a message before the place goes to somebody else.
const PATIENCE: Duration = Duration::from_secs(1);
/// Results of one principal that wait for their client. Each holds some messages of a megabyte.
const PARKED_MAX: usize = 32;

/// See the module's first lines.
pub(super) struct Place {
    gate: Arc<Gate>,
    parked: Arc<Parked>,
    owner: Arc<str>,
    seat: Arc<Seat>,
    deadline: Instant,
}

/// What holds the permit of a statement that runs; whoever stops the statement takes it from there, wherever the statement stands.
#[derive(Debug)]
pub(super) struct Seat(Mutex<Sitting>);

#[derive(Debug)]
enum Sitting {
    Taken {
        _permit: OwnedSemaphorePermit,
    },
    /// While the client does not read.
    Free,
    /// For good.
    Left,
}

impl Seat {
    /// Gives the place to the next one. The statement gets no other.
    pub(super) fn leave(&self) {
        *self.0.lock() = Sitting::Left;
    }

    fn set(&self, sitting: Sitting) {
        let mut now = self.0.lock();
        if !matches!(*now, Sitting::Left) {
            *now = sitting;
        }
    }
}

impl Place {
    pub(super) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub(super) async fn take(
        gate: &Arc<Gate>,
        parked: &Arc<Parked>,
        owner: &Arc<str>,
        deadline: Instant,
    ) -> Outcome<Self> {
        let permit = gate.admit(deadline).await?;
        let seat = Arc::new(Seat(Mutex::new(Sitting::Taken { _permit: permit })));
        Ok(Place { gate: Arc::clone(gate), parked: Arc::clone(parked), owner: Arc::clone(owner), seat, deadline })
    }

    /// Sends an item of the result; `false` if the client is gone.
    ///
    /// # Errors
    /// `OverBudget` if too many of the principal's results wait for their clients, `TimedOut` past the deadline.
    pub(super) async fn send<T>(&self, sender: &mpsc::Sender<Outcome<T>>, item: T) -> Outcome<bool> {
        let item = match sender.try_send(Ok(item)) {
            Ok(()) => return Ok(true),
            Err(TrySendError::Closed(_)) => return Ok(false),
            Err(TrySendError::Full(item)) => item,
        };
        // A client that reads, if slowly, keeps its place: it would wait for another with every message.
        match timeout(PATIENCE, sender.reserve()).await {
            Ok(Ok(room)) => {
                room.send(item);
                return Ok(true);
            }
            Ok(Err(_closed)) => return Ok(false),
            Err(_) => self.seat.set(Sitting::Free),
        }
        let stay = Parked::enter(&self.parked, &self.owner);
        tokio::select! {
            room = sender.reserve() => match room {
                Ok(room) => room.send(item),
                Err(_closed) => return Ok(false),
            },
            () = stay.end.notified() => {
                return Err(Error::over_budget(format!(
                    "more than {PARKED_MAX} results of one user wait for their clients to read on, and this one has waited longest"
                ))
                .hint("read results to their end, or close them")
                .into());
            }
        }
        drop(stay);
        let permit = self.gate.admit_again(self.deadline).await?;
        self.seat.set(Sitting::Taken { _permit: permit });
        Ok(true)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seat.leave();
    }
}

/// The results that wait for their clients, by principal and in the order in which they began to wait.
#[derive(Default)]
pub(super) struct Parked(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    entered: u64,
    ends: BTreeMap<(Arc<str>, u64), Arc<Notify>>,
}

/// A result's stay among those that wait.
struct Stay {
    parked: Arc<Parked>,
    key: (Arc<str>, u64),
    /// Somebody else of the same principal needs the room.
    end: Arc<Notify>,
}

impl Parked {
    fn enter(parked: &Arc<Parked>, owner: &Arc<str>) -> Stay {
        let mut waiting = parked.0.lock();
        let of_owner = (Arc::clone(owner), 0)..=(Arc::clone(owner), u64::MAX);
        let mut stays = waiting.ends.range(of_owner);
        let oldest = stays.next().map(|(key, _)| key.clone());
        if let Some(oldest) = oldest.filter(|_| stays.count() + 1 >= PARKED_MAX)
            && let Some(end) = waiting.ends.remove(&oldest)
        {
            end.notify_one();
        }
        waiting.entered += 1;
        let (key, end) = ((Arc::clone(owner), waiting.entered), Arc::new(Notify::new()));
        waiting.ends.insert(key.clone(), Arc::clone(&end));
        Stay { parked: Arc::clone(parked), key, end }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.parked.0.lock().ends.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_gives_its_place_back_and_gets_one_again() {
        let (gate, parked, owner) = (Arc::new(Gate::new(1, 8)), Arc::default(), Arc::from("ana"));
        let deadline = Instant::now() + Duration::from_secs(60);
        let place = Place::take(&gate, &parked, &owner, deadline).await.expect("it is free");
        let (sender, mut receiver) = mpsc::channel(1);
        assert!(place.send(&sender, 1).await.expect("there is room"));
        let mut second = Box::pin(place.send(&sender, 2));
        assert!(second.as_mut().now_or_never().is_none(), "nobody reads");
        let other = tokio::select! {
            _ = &mut second => panic!("nobody reads"),
            other = gate.admit(deadline) => other.expect("the place of the one that waits"),
        };
        assert!(matches!(receiver.recv().await, Some(Ok(1))));
        assert!(second.as_mut().now_or_never().is_none(), "it goes on when there is a place");
        drop(other);
        assert!(second.await.expect("sent"));
        assert_eq!(gate.taken(), 1);
        drop(place);
        assert_eq!(gate.taken(), 0);
    }

    #[tokio::test]
    async fn a_place_that_was_taken_back_stays_the_next_ones() {
        let (gate, parked, owner) = (Arc::new(Gate::new(1, 8)), Arc::default(), Arc::from("ana"));
        let deadline = Instant::now() + Duration::from_secs(60);
        let place = Place::take(&gate, &parked, &owner, deadline).await.expect("it is free");
        place.seat().leave();
        let next = gate.admit(deadline).await.expect("the place of the one that was stopped");
        drop(place);
        assert_eq!(gate.taken(), 1);
        drop(next);
        assert_eq!(gate.taken(), 0);
    }

    #[tokio::test]
    async fn of_too_many_results_that_nobody_reads_the_oldest_of_its_principal_ends() {
        let parked = Arc::<Parked>::default();
        let (ana, ben): (Arc<str>, Arc<str>) = (Arc::from("ana"), Arc::from("ben"));
        let bens = Parked::enter(&parked, &ben);
        let mut anas: Vec<Stay> = (0..PARKED_MAX).map(|_| Parked::enter(&parked, &ana)).collect();
        let ended = |stay: &Stay| stay.end.notified().now_or_never().is_some();
        assert!(!anas.iter().any(ended));
        anas.push(Parked::enter(&parked, &ana));
        assert!(ended(&anas[0]) && !anas[1..].iter().any(ended) && !ended(&bens));
        drop((anas, bens));
        assert!(parked.0.lock().ends.is_empty());
    }
}
