use super::*;
use crate::checkpoint::Opened;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::clock::micros_of;

const SECOND: Duration = Duration::from_secs(1);

/// A server on a store that can fail.
struct Server {
    faulty: Arc<FaultyStore>,
    generation: Generation,
    clock: Clock,
    heartbeat: Arc<Heartbeat>,
}

impl Server {
    async fn start(faulty: &Arc<FaultyStore>) -> Result<Self> {
        let (store, clock) = (faulty.store(), Clock::manual(0));
        let generation = Generation::claim(&store).await?;
        let mut heartbeat = Heartbeat::new(store, generation, clock.clone());
        heartbeat.answer_within = Duration::from_millis(50);
        Ok(Server { faulty: Arc::clone(faulty), generation, clock, heartbeat: Arc::new(heartbeat) })
    }

    /// Takes a query over, or begins it.
    async fn open(&self, query: &str) -> Result<(Chain, Arc<Watched>)> {
        let Opened { chain, .. } = Chain::open(&self.faulty.store(), query, self.generation, "f1", &self.clock).await?;
        let watched = self.heartbeat.watch(query, &chain);
        Ok((chain, watched))
    }

    fn wait(&self, time: Duration) {
        self.clock.set(self.clock.now() + micros_of(time));
    }

    /// What a statement is told.
    async fn told(&self) -> Option<ErrorKind> {
        self.heartbeat.check().await.err().map(|error| error.kind())
    }
}

async fn commit(chain: &mut Chain, watched: &Watched) -> Result<()> {
    let draft = chain.draft(0);
    watched.extended_to(chain.commit(draft).await?.id);
    Ok(())
}

#[tokio::test]
async fn a_server_that_slept_while_another_took_over_answers_no_statement_and_names_the_winner() -> Result<()> {
    let faulty = FaultyStore::new();
    let first = Server::start(&faulty).await?;
    let (mut chain, watched) = first.open("v").await?;
    commit(&mut chain, &watched).await?;
    first.wait(60 * SECOND);
    assert_eq!(first.told().await, None, "nobody else is there");

    let second = Server::start(&faulty).await?;
    first.wait(60 * SECOND);
    assert_eq!(first.told().await, None, "it has claimed, and taken nothing yet");
    second.open("v").await?;
    first.wait(9 * SECOND);
    assert_eq!(first.told().await, None, "the last look still vouches");
    first.wait(2 * SECOND);
    let told = first.heartbeat.check().await.expect_err("it was taken over");
    assert_eq!(told.kind(), ErrorKind::Fenced);
    let winner = format!("generation 2, instance {}", second.generation.instance);
    assert!(told.report().contains(&winner), "{}", told.report());
    // For ever, whatever the store says from now on.
    assert_eq!(first.told().await, Some(ErrorKind::Fenced));
    assert_eq!(second.told().await, None);
    Ok(())
}

#[tokio::test]
async fn the_loser_ends_also_where_no_statement_comes_and_its_query_has_failed() -> Result<()> {
    let faulty = FaultyStore::new();
    let first = Server::start(&faulty).await?;
    // Its loop is gone, and what it has shown is there.
    drop(first.open("v").await?);
    Server::start(&faulty).await?.open("v").await?;
    let (fatal, stop) = (watch::Sender::new(None), watch::Sender::new(false));
    Arc::clone(&first.heartbeat).run(fatal.clone(), stop.subscribe()).await?;
    let seen = fatal.borrow().as_ref().map(|error| error.kind());
    assert_eq!(seen, Some(ErrorKind::Fenced));
    Ok(())
}

#[tokio::test]
async fn a_chain_that_cannot_be_read_does_not_hide_that_another_one_was_taken() -> Result<()> {
    let faulty = FaultyStore::new();
    let first = Server::start(&faulty).await?;
    first.open("broken").await?;
    first.open("taken").await?;
    Server::start(&faulty).await?.open("taken").await?;
    first.wait(60 * SECOND);
    for fault in [Fault::Before, Fault::Hang] {
        faulty.fail_gets("broken", [fault; 100]);
        assert_eq!(first.told().await, Some(ErrorKind::Fenced), "{fault:?}");
        first.heartbeat.lost.send_replace(None);
    }
    Ok(())
}

#[tokio::test]
async fn a_view_that_is_no_longer_shown_is_nobodys_loss() -> Result<()> {
    let faulty = FaultyStore::new();
    let first = Server::start(&faulty).await?;
    first.open("v").await?;
    first.heartbeat.forget("v");
    Server::start(&faulty).await?.open("v").await?;
    first.wait(60 * SECOND);
    assert_eq!(first.told().await, None);
    Ok(())
}

#[tokio::test]
async fn a_winner_that_has_cleaned_up_behind_itself_is_seen_all_the_same() -> Result<()> {
    let faulty = FaultyStore::new();
    let first = Server::start(&faulty).await?;
    first.open("v").await?;
    let second = Server::start(&faulty).await?;
    let (mut chain, watched) = second.open("v").await?;
    for _ in 0..8 {
        commit(&mut chain, &watched).await?;
    }
    chain.collect_garbage(2).await?;
    first.wait(60 * SECOND);
    assert_eq!(first.told().await, Some(ErrorKind::Fenced));
    Ok(())
}

/// Beside a claim that took nothing, which is when chains are looked at: what our own loop commits is no other server's.
#[tokio::test]
async fn its_own_checkpoints_are_not_taken_for_those_of_another_server() -> Result<()> {
    let faulty = FaultyStore::new();
    let first = Server::start(&faulty).await?;
    let (mut chain, _) = first.open("v").await?;
    Server::start(&faulty).await?;
    // Committed, and not yet said.
    let draft = chain.draft(0);
    chain.commit(draft).await?;
    first.wait(60 * SECOND);
    assert_eq!(first.told().await, None);
    Ok(())
}

#[tokio::test]
async fn a_store_that_fails_or_hangs_is_said_within_a_limit_and_forgotten_when_it_answers() -> Result<()> {
    let faulty = FaultyStore::new();
    let server = Server::start(&faulty).await?;
    server.open("v").await?;
    faulty.fail_gets("gens/", [Fault::Before]);
    assert_eq!(server.told().await, None, "the claim is fresh");
    server.wait(11 * SECOND);
    let told = server.heartbeat.check().await.expect_err("nobody knows");
    assert_eq!(told.kind(), ErrorKind::Unavailable);
    assert!(told.report().contains("for 11 s") && told.report().contains("connection reset"), "{}", told.report());
    assert_eq!(server.told().await, None, "it answers again");

    server.wait(11 * SECOND);
    let held = server.heartbeat.looking.lock().await;
    assert_eq!(server.told().await, Some(ErrorKind::Unavailable), "another look hangs");
    drop(held);
    assert_eq!(server.told().await, None);
    Ok(())
}

#[tokio::test]
async fn statements_that_come_at_once_share_one_look() -> Result<()> {
    let faulty = FaultyStore::new();
    let server = Server::start(&faulty).await?;
    server.wait(60 * SECOND);
    // A second look would fail.
    faulty.fail_gets("gens/", [Fault::None, Fault::Before, Fault::Before]);
    let told = tokio::join!(server.told(), server.told(), server.told());
    assert_eq!(told, (None, None, None));
    Ok(())
}
