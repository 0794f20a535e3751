//! The server: everything that runs between `start` and `stop`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};

use crate::admin;
use crate::checkpoint::{Generation, Heartbeat, HoldBack, hold_back, state_store_id};
use crate::clock::Clock;
use crate::config::Config;
use crate::epoch::{LoopSettings, QueryDeps};
use crate::error::{Error, Result};
use crate::flight_sql::{Door, Entrance, FlightDeps, Key, Tls};
use crate::ingest::{IngestDeps, WayIn};
use crate::open_files;
use crate::panics;
use crate::pipeline::PlanSettings;
use crate::registry::{Changes, Registry, sql_files};
use crate::sink::parquet::SealLimits;
use crate::sink::postgres::PostgresSink;
use crate::source::embedded::EmbeddedLog;
use crate::source::kafka::EMBEDDED;
use crate::source::reader::{ReaderLimits, SourceDeps};
use crate::state::{Budget, SpillSpace};
use crate::status::changes;
use crate::status::ready::Process;
use crate::store::{SpillDirectory, Store};
use crate::tables::refused::RefusedRows;
use crate::tables::snapshot::Snapshots;
use crate::tables::{Published, Standing};

/// How long the other parts, all together, may take to finish what is under way when the server stops, calls of clients for example.
const GRACE: Duration = Duration::from_secs(3);

/// Longest time for a note of having been thrown out: this server is to be gone soon.
const NOTE_WITHIN: Duration = Duration::from_secs(1);

/// Rows of the tail that are sealed at once, at most: bounds the memory of a seal.
const SEAL_ROWS_MAX: u64 = 1 << 20;

/// Files that a server with some topics and clients needs; below, connections are limited to very few.
const FILES_ENOUGH: u64 = 4_096;

/// A running server. Dropping it without [`Server::stop`] ends it as a crash would, which loses nothing.
#[derive(Debug)]
pub struct Server {
    published: Arc<Published>,
    embedded: Option<Arc<EmbeddedLog>>,
    flight_addr: SocketAddr,
    http_addr: SocketAddr,
    generation: Generation,
    /// Where checkpoints are.
    private: Store,
    postgres: bool,
    registry: Arc<Mutex<Registry>>,
    key: Key,
    /// Set first of all when the server stops.
    stopping: watch::Sender<bool>,
    /// Set when its queries have stopped: its doors close.
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<()>>>,
    fatal: watch::Receiver<Option<Arc<Error>>>,
}

impl Server {
    /// Opens storage, starts every query of the definition files, and listens.
    ///
    /// # Errors
    /// `Invalid` for an occupied port, an address that is none, an unusable directory; `Unavailable` where storage does not answer. What
    /// Postgres does not take is no reason: the hot tables are degraded until it does.
    pub async fn start(config: Config, clock: Clock) -> Result<Server> {
        let files = open_files::raise();
        if files < FILES_ENOUGH {
            warn!(files, "this process may open few files: raise the hard limit, as with ulimit -Hn or LimitNOFILE");
        }
        let flight_listener = bind("flight.listen", config.flight.listen).await?;
        let http_listener = bind("http.listen", config.http.listen).await?;
        let (flight_addr, http_addr) = (flight_listener.local_addr()?, http_listener.local_addr()?);
        // Before the storage is claimed: a wrong certificate, password or address must not end the server that has it now.
        let entrance = entrance(&config)?;
        let postgres = match &config.postgres.url {
            Some(_) => Some(Arc::new(PostgresSink::try_new(config.postgres.clone())?)),
            None => None,
        };
        let published = Arc::new(Published::default());
        if let Some(sink) = &postgres {
            published.put_refused(Arc::clone(sink) as Arc<dyn RefusedRows>);
        }
        let (stop, stopped) = watch::channel(false);
        let (stopping, is_stopping) = watch::channel(false);
        let (serving, is_serving) = watch::channel(false);
        let (fatal, fatal_seen) = watch::channel(None);
        let shutdown = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        // First, so that it says what a start waits for. A start that fails drops `stop`, which ends it.
        let process = Process { serving: is_serving, stopping: is_stopping.clone(), fatal: fatal_seen.clone() };
        let closed = shutdown(stopped.clone());
        let way_in = WayIn::default();
        let http = admin::serve(http_listener, Arc::clone(&published), clock.clone(), process, way_in.router(), closed);
        let mut tasks = vec![tokio::spawn(until_stopped("the HTTP listener", http, stopped.clone(), fatal.clone()))];
        let public = Store::open(&config.tables_url(), &config.s3).await?;
        let private = Store::open(&config.state_url(), &config.s3).await?;
        let state_store = state_store_id(&private).await?;
        let embedded = if config.kafka.brokers == EMBEDDED {
            let directory = config.data_dir.join("log");
            Some(EmbeddedLog::open(&directory, config.embedded_log.clone(), clock.clone())?)
        } else {
            None
        };
        let sources = SourceDeps {
            kafka: config.kafka.clone(),
            embedded: embedded.clone(),
            postgres: config.postgres.clone(),
            clock: clock.clone(),
        };

        let disk = match config.engine.spill_bytes_max.0 {
            0 => None,
            bytes_max => Some(SpillDirectory::open(config.data_dir.join("spill"), bytes_max)?),
        };
        let memory = usize::try_from(config.engine.state_bytes_max.0).unwrap_or(usize::MAX);
        let budget = Budget::new(memory, disk.clone().map(|disk| Arc::new(disk) as Arc<dyn SpillSpace>));

        let partitions = match config.engine.partitions {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let directories: Vec<PathBuf> = vec![config.catalog.schemas_dir.clone(), config.catalog.queries_dir.clone()];
        // Before the files are read for the first time.
        let changes = Changes::of(&directories);
        // Its words for a directory that cannot be read are the better ones.
        for directory in &directories {
            sql_files(directory)?;
        }
        let changes = changes?;
        let door = Door::try_new(FlightDeps {
            published: Arc::clone(&published),
            store: Arc::clone(public.objects()),
            reader: Arc::new(Snapshots::new(sources.clone())),
            settings: config.adhoc.clone(),
            account: budget.account("ad-hoc statements"),
            entrance,
        })?;
        let key = door.key();

        // Last of all that can go wrong: the claim is what throws the server out that has the storage now.
        let generation = claim(&private, &clock).await?;
        let heartbeat = Arc::new(Heartbeat::new(private.clone(), generation, clock.clone()));
        published.put_standing(Arc::clone(&heartbeat) as Arc<dyn Standing>);
        way_in.open(IngestDeps {
            published: Arc::clone(&published),
            settings: config.http.clone(),
            keys_file: config.auth.keys_file.clone(),
            kafka: config.kafka.clone(),
            embedded: embedded.clone(),
            clock: clock.clone(),
        });
        let deps = QueryDeps {
            private: private.clone(),
            public,
            generation,
            state_store,
            heartbeat: Arc::clone(&heartbeat),
            clock: clock.clone(),
            sources,
            shared: Arc::default(),
            reader_limits: ReaderLimits {
                queue_batches: config.engine.reader_queue_batches,
                decoders: partitions,
                ..ReaderLimits::within(memory)
            },
            epoch_rows_max: config.engine.epoch_rows_max,
            settings: LoopSettings {
                checkpoint_interval: config.engine.checkpoint_interval,
                seal: SealLimits {
                    rows_max: SEAL_ROWS_MAX,
                    bytes_max: config.engine.seal_bytes.0,
                    age_max: config.engine.seal_age,
                },
            },
            budget: Arc::clone(&budget),
            disk,
            postgres: postgres.clone(),
            published: Arc::clone(&published),
        };
        let plan_settings = PlanSettings { partitions, wide_rows: config.engine.epoch_rows_wide };
        let registry = Registry::new(directories, deps, plan_settings, config.engine.stall_after, fatal.clone());
        let mut registry = registry.on_change(config.engine.on_change);
        registry.apply().await?;
        let registry = Arc::new(Mutex::new(registry));

        let debounce = config.catalog.debounce;
        // One that panics would leave a server that never hears that it was fenced.
        let beats = heartbeat.run(fatal.clone(), stopped.clone());
        tasks.push(tokio::spawn(until_stopped("the heartbeat", beats, stopped.clone(), fatal.clone())));
        let followed = changes.follow(Arc::clone(&registry), debounce, is_stopping.clone());
        tasks.push(tokio::spawn(until_stopped(
            "what follows the definition files",
            followed,
            is_stopping,
            fatal.clone(),
        )));
        let queries = Arc::clone(&published);
        let until = stopped.clone();
        let told = async move {
            changes::follow(|| queries.queries(), until).await;
            Ok(())
        };
        tasks.push(tokio::spawn(until_stopped("the log of states", told, stopped.clone(), fatal.clone())));
        let flight = door.serve(flight_listener, shutdown(stopped.clone()));
        tasks.push(tokio::spawn(until_stopped("the Flight SQL listener", flight, stopped, fatal)));
        serving.send_replace(true);
        Ok(Server {
            published,
            embedded,
            flight_addr,
            http_addr,
            generation,
            private,
            postgres: postgres.is_some(),
            registry,
            key,
            stopping,
            stop,
            tasks,
            fatal: fatal_seen,
        })
    }

    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The embedded log, where topics live in this process.
    pub fn embedded(&self) -> Option<&Arc<EmbeddedLog>> {
        self.embedded.as_ref()
    }

    pub fn flight_addr(&self) -> SocketAddr {
        self.flight_addr
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Counts the servers that have used this storage; the newest owns the queries.
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    pub fn postgres_enabled(&self) -> bool {
        self.postgres
    }

    /// Returns when the process has to stop: another server has taken over, or nobody could reach this one any more.
    pub async fn fatal(&self) -> Error {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(error) => error.as_ref().map_or_else(|| Error::bug("no reason to stop"), |error| error.duplicate()),
            // The registry is gone: only `stop` does that, and then nobody waits here.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends without another checkpoint, because another server has taken over: what is under way belongs to it now. Leaves a note of that, for
    /// whoever is started next.
    pub async fn give_way(self, fatal: &Error) {
        let noting = self.generation.note_thrown_out(&self.private, fatal);
        // One that is not there in time makes the next start wait less, and that is all.
        if let Ok(Err(error)) = tokio::time::timeout(NOTE_WITHIN, noting).await {
            warn!(error = error.report(), "no note is left of having been thrown out");
        }
    }

    /// Takes up the users and the certificate of a configuration that has been read anew, and nothing else of it.
    ///
    /// # Errors
    /// `Invalid` for what cannot be used, and where whether there are any would change. All is then as before.
    pub fn reload(&self, config: &Config) -> Result<()> {
        self.key.take_up(users(config), tls(config)?)
    }

    /// Stops every query with a last checkpoint, then the listeners.
    ///
    /// # Errors
    /// The first that a part of the server ended with.
    pub async fn stop(self) -> Result<()> {
        // A look at the definition files lets go of the registry.
        self.stopping.send_replace(true);
        self.registry.lock().await.stop_all().await;
        let _ = self.stop.send(true);
        let mut outcome = Ok(());
        let until = Instant::now() + GRACE;
        for task in self.tasks {
            let abort = task.abort_handle();
            match timeout_at(until, task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => outcome = outcome.and(Err(error)),
                Ok(Err(error)) => error!(%error, "a part of the server panicked"),
                // A client that keeps its call open does not keep the server.
                Err(_) => abort.abort(),
            }
        }
        outcome
    }
}

/// Claims the storage, after a while where servers are throwing each other out.
async fn claim(private: &Store, clock: &Clock) -> Result<Generation> {
    if let Some(HoldBack { generation, claimed_ago, thrown_out, pause }) = hold_back(private, clock.now()).await? {
        warn!(
            generation,
            claimed_s = claimed_ago.as_secs(),
            thrown_out,
            wait_s = pause.as_secs(),
            storage = private.url(),
            "several servers are started again and again on this storage and throw each other out: waiting before this one takes over; \
             only one may run there, so stop the others, or give this one a storage.state_url and storage.tables_url of its own"
        );
        tokio::time::sleep(pause).await;
    }
    Generation::claim(private).await
}

/// Runs a part of the server to its end. One that ends before the server stops takes the server with it, which would else go on without
/// a door, or blind, alive to whoever looks at it from elsewhere.
async fn until_stopped(
    what: &'static str,
    listener: impl Future<Output = Result<()>>,
    stopped: watch::Receiver<bool>,
    fatal: watch::Sender<Option<Arc<Error>>>,
) -> Result<()> {
    let outcome = panics::caught(what, listener).await;
    // A server that is dropped sends nothing: then the channel is closed.
    if *stopped.borrow() || stopped.has_changed().is_err() {
        return outcome;
    }
    // The first reason stays: the process ends in another way where it was fenced.
    if fatal.borrow().is_some() {
        return outcome;
    }
    let error = outcome.err().unwrap_or_else(|| Error::unavailable(format!("{what} has ended by itself")));
    fatal.send_replace(Some(Arc::new(error.duplicate())));
    Err(error)
}

fn entrance(config: &Config) -> Result<Entrance> {
    Entrance::try_new(users(config), tls(config)?)
}

fn users(config: &Config) -> impl Iterator<Item = (String, String)> + '_ {
    config.auth.users.iter().map(|user| (user.name.clone(), user.password.expose().to_owned()))
}

fn tls(config: &Config) -> Result<Option<Tls>> {
    let (Some(certificates), Some(key)) = (&config.flight.tls_cert_file, &config.flight.tls_key_file) else {
        return Ok(None);
    };
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| {
            Error::invalid(format!("cannot read {}", path.display()))
                .caused_by(error)
                .hint("check flight.tls_cert_file and flight.tls_key_file")
        })
    };
    Ok(Some(Tls { certificates: read(certificates)?, key: read(key)? }))
}

/// `key`: the setting to change where the address is taken.
async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::invalid(format!("cannot listen on {address}"))
            .detail(error.to_string())
            .hint(format!("is another server running there? choose another port with {key}; port 0 takes a free one"))
    })
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use super::*;

    fn channels() -> (watch::Sender<bool>, watch::Sender<Option<Arc<Error>>>) {
        (watch::Sender::new(false), watch::Sender::new(None))
    }

    #[tokio::test]
    async fn a_listener_that_ends_takes_the_server_with_it() {
        for panics in [false, true] {
            let (stop, fatal) = channels();
            let (stopped, seen) = (stop.subscribe(), fatal.subscribe());
            let ended = match panics {
                false => until_stopped("the door", ready(Ok(())), stopped, fatal).await,
                true => until_stopped("the door", poll_fn(|_| panic!("a defect")), stopped, fatal).await,
            };
            let said = ended.expect_err("nobody has stopped it").to_string();
            assert!(said.starts_with("the door "), "{said}");
            assert_eq!(seen.borrow().as_ref().map(|error| error.to_string()), Some(said));
        }
    }

    #[tokio::test]
    async fn what_ends_after_the_server_was_fenced_does_not_hide_that() {
        let (stop, fatal) = channels();
        fatal.send_replace(Some(Arc::new(Error::fenced("another server"))));
        let (stopped, seen) = (stop.subscribe(), fatal.subscribe());
        assert!(until_stopped("the door", ready(Ok(())), stopped, fatal).await.is_ok());
        assert_eq!(seen.borrow().as_ref().map(|error| error.kind()), Some(crate::error::ErrorKind::Fenced));
    }

    #[tokio::test]
    async fn a_listener_ends_with_its_server_and_nobody_wonders() {
        let (stop, fatal) = channels();
        let (stopped, seen) = (stop.subscribe(), fatal.subscribe());
        stop.send_replace(true);
        assert!(until_stopped("the door", ready(Ok(())), stopped, fatal.clone()).await.is_ok());
        let (stop, _) = channels();
        let stopped = stop.subscribe();
        drop(stop);
        assert!(until_stopped("the door", ready(Ok(())), stopped, fatal).await.is_ok(), "it was dropped");
        assert!(seen.borrow().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_starts_where_nobody_answers_at_the_address_of_postgres() {
        let folder = tempfile::tempdir().expect("a folder");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let nobody = std::net::TcpListener::bind(free).expect("a port").local_addr().expect("an address");
        let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        (config.flight.listen, config.http.listen) = (free, free);
        config.kafka.brokers = EMBEDDED.to_owned();
        config.catalog.schemas_dir = folder.path().to_path_buf();
        config.catalog.queries_dir = folder.path().to_path_buf();
        config.postgres.url = Some(crate::config::Secret::new(format!("postgres://ana:secret@{nobody}/db")));
        let server = Server::start(config, Clock::System).await.unwrap_or_else(|error| panic!("{}", error.report()));
        assert!(server.postgres_enabled());
        server.stop().await.expect("stops");
    }

    /// Not "serving" without a door, and nothing claimed from the server that runs.
    #[tokio::test]
    async fn a_wrong_certificate_password_or_address_is_refused_before_anything_is_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let pem = folder.path().join("wrong.pem");
        std::fs::write(&pem, "no certificate").expect("writes");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        (config.flight.listen, config.http.listen) = (free, free);
        (config.flight.tls_cert_file, config.flight.tls_key_file) = (Some(pem.clone()), Some(pem));
        let error = Server::start(config.clone(), Clock::System).await.expect_err("refused");
        assert_eq!(error.to_string(), "the TLS certificate or key cannot be used");
        assert!(!config.data_dir.exists());

        (config.flight.tls_cert_file, config.flight.tls_key_file) = (None, None);
        let password = crate::config::Secret::new("$2b$12$nothing");
        config.auth.users = vec![crate::config::User { name: "ana".to_owned(), password }];
        let error = Server::start(config.clone(), Clock::System).await.expect_err("refused");
        assert!(error.to_string().contains("a hash of a kind that is not known"), "{error}");
        assert!(!config.data_dir.exists());

        config.auth.users = vec![];
        let url = "postgres://ana:secret@127.0.0.1:5432/db?sslmode=nonsense";
        config.postgres.url = Some(crate::config::Secret::new(url));
        let error = Server::start(config.clone(), Clock::System).await.expect_err("refused");
        assert_eq!(error.to_string(), "postgres.url is not an address of a Postgres database");
        assert!(!config.data_dir.exists());
    }

    fn config(folder: &std::path::Path) -> Config {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { data_dir: folder.join("data"), ..Config::default() };
        (config.flight.listen, config.http.listen) = (free, free);
        config.kafka.brokers = EMBEDDED.to_owned();
        (config.catalog.schemas_dir, config.catalog.queries_dir) = (folder.to_path_buf(), folder.to_path_buf());
        config
    }

    /// Else each failing start of a server that is restarted for ever would throw out the one that runs.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_start_that_fails_has_claimed_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let right = config(folder.path());
        let claims = folder.path().join("data/state/gens");
        let mut without_queries = right.clone();
        without_queries.catalog.queries_dir = folder.path().join("nowhere");
        let error = Server::start(without_queries, Clock::System).await.expect_err("refused");
        assert!(error.to_string().starts_with("cannot read directory"), "{error}");
        let mut without_threads = right.clone();
        without_threads.adhoc.threads = 0;
        assert!(Server::start(without_threads, Clock::System).await.is_err());
        assert!(!claims.exists());

        let server =
            Server::start(right.clone(), Clock::System).await.unwrap_or_else(|error| panic!("{}", error.report()));
        // It has the log.
        assert!(Server::start(right, Clock::System).await.is_err());
        assert_eq!(std::fs::read_dir(&claims).expect("claims").count(), 1);
        assert_eq!(server.generation(), 1);
        server.stop().await.expect("stops");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_was_thrown_out_leaves_a_note_for_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let server =
            Server::start(config.clone(), Clock::System).await.unwrap_or_else(|error| panic!("{}", error.report()));
        server.give_way(&Error::fenced("query \"v\" was taken over")).await;
        let private = Store::open(&config.state_url(), &config.s3).await.expect("a store");
        let held = hold_back(&private, Clock::System.now()).await.expect("it answers").expect("a note");
        assert_eq!((held.generation, held.thrown_out), (1, 1));
    }
}
