//! The server: everything that runs between `start` and `stop`.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::admin;
use crate::checkpoint::Generation;
use crate::clock::Clock;
use crate::config::Config;
use crate::epoch::{LoopSettings, QueryDeps};
use crate::error::{Error, Result};
use crate::flight_sql::{Door, Entrance, FlightDeps, Tls};
use crate::ingest::{self, IngestDeps};
use crate::open_files;
use crate::pipeline::PlanSettings;
use crate::registry::{Changes, Registry};
use crate::sink::parquet::SealLimits;
use crate::sink::postgres::PostgresSink;
use crate::source::embedded::EmbeddedLog;
use crate::source::kafka::EMBEDDED;
use crate::source::reader::{ReaderLimits, SourceDeps};
use crate::state::{Budget, SpillSpace};
use crate::store::{SpillDirectory, Store};
use crate::tables::Published;
use crate::tables::snapshot::Snapshots;

/// How long listeners may take to finish the calls that are under way when the server stops.
const GRACE: Duration = Duration::from_secs(3);

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
    generation: u64,
    postgres: bool,
    registry: Arc<Mutex<Registry>>,
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
        let public = Store::open(&config.tables_url(), &config.s3).await?;
        let private = Store::open(&config.state_url(), &config.s3).await?;
        let generation = Generation::claim(&private).await?;
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

        let (stop, stopped) = watch::channel(false);
        let (fatal, fatal_seen) = watch::channel(None);
        let deps = QueryDeps {
            private,
            public: public.clone(),
            generation,
            clock: clock.clone(),
            sources: sources.clone(),
            shared: Arc::default(),
            reader_limits: ReaderLimits {
                queue_batches: config.engine.reader_queue_batches,
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
        let partitions = match config.engine.partitions {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let plan_settings = PlanSettings { partitions, wide_rows: config.engine.epoch_rows_wide };
        let directories: Vec<PathBuf> = vec![config.catalog.schemas_dir.clone(), config.catalog.queries_dir.clone()];
        // Before the files are read for the first time. What it has to say comes after: a directory that cannot be read is said there.
        let changes = Changes::of(&directories);
        let door = Door::try_new(FlightDeps {
            published: Arc::clone(&published),
            store: Arc::clone(public.objects()),
            reader: Arc::new(Snapshots::new(sources)),
            settings: config.adhoc.clone(),
            account: budget.account("ad-hoc statements"),
            entrance,
        })?;
        let mut registry = Registry::new(directories, deps, plan_settings, fatal.clone());
        registry.apply().await?;
        let registry = Arc::new(Mutex::new(registry));

        let mut tasks = Vec::new();
        let debounce = config.catalog.debounce;
        tasks.push(tokio::spawn(changes?.follow(Arc::clone(&registry), debounce, stopped.clone())));
        let shutdown = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let flight = door.serve(flight_listener, shutdown(stopped.clone()));
        tasks.push(tokio::spawn(until_stopped("the Flight SQL listener", flight, stopped.clone(), fatal.clone())));
        let ways_in = ingest::router(IngestDeps {
            published: Arc::clone(&published),
            settings: config.http.clone(),
            keys_file: config.auth.keys_file.clone(),
            kafka: config.kafka.clone(),
            embedded: embedded.clone(),
            clock: clock.clone(),
        });
        let http = admin::serve(http_listener, Arc::clone(&published), clock, ways_in, shutdown(stopped.clone()));
        tasks.push(tokio::spawn(until_stopped("the HTTP listener", http, stopped, fatal)));
        Ok(Server {
            published,
            embedded,
            flight_addr,
            http_addr,
            generation: generation.number,
            postgres: postgres.is_some(),
            registry,
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
        self.generation
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

    /// Stops every query with a last checkpoint, then the listeners.
    ///
    /// # Errors
    /// The first that a part of the server ended with.
    pub async fn stop(self) -> Result<()> {
        self.registry.lock().await.stop_all().await;
        let _ = self.stop.send(true);
        let mut outcome = Ok(());
        for task in self.tasks {
            let abort = task.abort_handle();
            match tokio::time::timeout(GRACE, task).await {
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

/// Runs a listener to its end. One that ends before the server stops takes the server with it, which would else go on without
/// a door, alive to whoever looks at it from elsewhere.
async fn until_stopped(
    what: &'static str,
    listener: impl Future<Output = Result<()>>,
    stopped: watch::Receiver<bool>,
    fatal: watch::Sender<Option<Arc<Error>>>,
) -> Result<()> {
    let outcome = match AssertUnwindSafe(listener).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_panic) => Err(Error::bug(format!("{what} panicked"))),
    };
    // A server that is dropped sends nothing: then the channel is closed.
    if *stopped.borrow() || stopped.has_changed().is_err() {
        return outcome;
    }
    let error = outcome.err().unwrap_or_else(|| Error::unavailable(format!("{what} has ended by itself")));
    fatal.send_replace(Some(Arc::new(error.duplicate())));
    Err(error)
}

fn entrance(config: &Config) -> Result<Entrance> {
    let users = config.auth.users.iter().map(|user| (user.name.clone(), user.password.expose().to_owned()));
    Entrance::try_new(users, tls(config)?)
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
}
