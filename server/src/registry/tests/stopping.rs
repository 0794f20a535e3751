//! How queries stop: where their files go, and where the server ends.

use std::future::pending;
use std::path::Path;

use object_store::memory::InMemory;
use tokio::sync::{Barrier, Mutex};
use tokio::time::{sleep, timeout};

use super::super::supervisor::Running;
use super::*;
use crate::checkpoint::{Generation, Heartbeat, state_store_id};
use crate::clock::Clock;
use crate::epoch::LoopSettings;
use crate::sink::parquet::SealLimits;
use crate::sink::postgres::PostgresSettings;
use crate::source::kafka::KafkaSettings;
use crate::source::reader::{ReaderLimits, SourceDeps};
use crate::state::Budget;
use crate::store::Store;
use crate::tables::Published;

/// Less than what anything here would wait for by itself.
const SOON: Duration = Duration::from_secs(4);

/// Of the definition files in a folder, over a store in memory.
pub(super) async fn registry(folder: &Path) -> Registry {
    let store = || Store::over(Arc::new(InMemory::new()), "memory://");
    let (private, clock) = (store(), Clock::manual(0));
    let state_store = state_store_id(&private).await.expect("an id");
    let generation = Generation::claim(&private).await.expect("a generation");
    let heartbeat = Arc::new(Heartbeat::new(private.clone(), generation, clock.clone()));
    let sources = SourceDeps {
        kafka: KafkaSettings::default(),
        embedded: None,
        postgres: PostgresSettings::default(),
        clock: clock.clone(),
    };
    let deps = QueryDeps {
        private,
        public: store(),
        generation,
        state_store,
        heartbeat,
        clock,
        sources,
        shared: Arc::default(),
        reader_limits: ReaderLimits::default(),
        epoch_rows_max: 8,
        settings: LoopSettings {
            checkpoint_interval: Duration::from_secs(1),
            seal: SealLimits { rows_max: 12, bytes_max: u64::MAX, age_max: Duration::ZERO },
        },
        budget: Budget::new(usize::MAX, None),
        disk: None,
        postgres: None,
        published: Arc::new(Published::default()),
    };
    let plans = PlanSettings { partitions: 1, wide_rows: usize::MAX };
    Registry::new(vec![folder.to_owned()], deps, plans, Duration::from_secs(30), signal::Sender::new(None))
}

#[tokio::test]
async fn queries_whose_files_change_stop_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = registry(folder.path()).await;
    // Each ends only when both have been told to.
    let both = Arc::new(Barrier::new(2));
    for name in ["a", "b"] {
        let both = Arc::clone(&both);
        let run = |mut stop: signal::Receiver<bool>| {
            async move {
                let _ = stop.wait_for(|stop| *stop).await;
                both.wait().await;
            }
            .boxed()
        };
        registry.running.insert(name.to_owned(), Running::of_task(name, run));
    }
    timeout(SOON, registry.apply()).await.expect("they do not wait for one another").expect("the folder can be read");
    assert!(registry.running.is_empty() && registry.leaving.is_empty());
}

#[tokio::test]
async fn the_end_of_the_server_waits_neither_for_a_look_at_the_files_nor_for_a_query_that_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let changes = Changes::of(&[folder.path().to_owned()]).expect("the folder is watched");
    let mut registry = registry(folder.path()).await;
    registry.running.insert("hangs".to_owned(), Running::of_task("hangs", |_| pending().boxed()));
    let registry = Arc::new(Mutex::new(registry));
    let (stopping, is_stopping) = signal::channel(false);
    let follows = tokio::spawn(changes.follow(Arc::clone(&registry), Duration::from_millis(1), is_stopping));
    std::fs::write(folder.path().join("new.sql"), "-- nothing yet\n").expect("written");
    let taken = async {
        while registry.try_lock().is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, taken).await.expect("it looks at the files, and waits for the query whose definition is gone");

    stopping.send_replace(true);
    let mut registry = timeout(SOON, registry.lock()).await.expect("it lets go of the registry");
    timeout(SOON, follows).await.expect("it ends").expect("no panic").expect("in order");
    assert_eq!(registry.running.len() + registry.leaving.len(), 1, "and has lost nothing");
    timeout(SOON, registry.stop_all_until(Instant::now())).await.expect("what hangs is ended");
    assert!(registry.running.is_empty() && registry.leaving.is_empty());
}

#[tokio::test]
async fn the_status_of_a_query_says_that_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = registry(folder.path()).await;
    let running = Running::of_task("hangs", |_| pending().boxed());
    let status = running.status();
    registry.running.insert("hangs".to_owned(), running);
    registry.ask_to_stop("hangs");
    assert_eq!(status.get().0, QueryState::Stopping);
}
