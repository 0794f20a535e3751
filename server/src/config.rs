//! All settings, with their meaning, unit, default and trade-off: the doc-comments are the manual.
//!
//! Values come from one TOML file and from environment variables, which win: `TOUCHLINE_<SECTION>_<KEY>` is `key` of `[section]`,
//! and `TOUCHLINE_DATA_DIR` is `data_dir`. `deploy/touchline.toml` is made from this file by a test.

mod load;
mod values;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::load::{Environment, one_error};
pub use self::values::{ByteSize, Secret, duration};
use crate::catalog::OnChange;
use crate::error::Error;
use crate::flight_sql::auth::check_password;
pub use crate::flight_sql::session::AdHocSettings;
use crate::sink::postgres::PostgresSettings;
pub use crate::source::embedded::EmbeddedSettings;
pub use crate::source::kafka::KafkaSettings;
pub use crate::store::StoreSettings;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server keeps what it has no other place for: tables and checkpoints, unless `[storage]` says otherwise, and the
    /// embedded log. Relative paths count from the working directory.
    pub data_dir: PathBuf,
    /// Where tables and checkpoints are kept.
    pub storage: StorageSettings,
    /// How to reach an S3-compatible service, for `s3://` URLs in `[storage]`.
    pub s3: StoreSettings,
    /// Where topics are.
    pub kafka: KafkaSettings,
    /// The topic log inside this process, for `brokers = "embedded"`.
    pub embedded_log: EmbeddedSettings,
    /// Hot tables.
    pub postgres: PostgresSettings,
    /// Arrow Flight SQL, which BI tools and `touchline sql` connect to.
    pub flight: FlightSettings,
    /// Statements that clients send by Flight SQL.
    pub adhoc: AdHocSettings,
    /// Health, readiness, metrics, and records that come by HTTP.
    pub http: HttpSettings,
    /// How queries run.
    pub engine: EngineSettings,
    /// Where tables and queries are defined.
    pub catalog: CatalogSettings,
    /// What is logged.
    pub log: LogSettings,
    /// Who may connect.
    pub auth: AuthSettings,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSettings {
    /// Where the Parquet files of the views go, one folder a view: `file:///path`, a plain path or `s3://bucket/prefix`.
    /// Everything in it is public and complete: DuckDB, Spark or Polars may read it with a glob at any time.
    /// Unset: `tables` under `data_dir`.
    ///
    /// Example: `"s3://bucket/tables"`
    pub tables_url: Option<String>,
    /// Where checkpoints go. It must not lie within `tables_url`, nobody else may write to it, and the service must honour
    /// `If-None-Match`, which is tried at the start. Unset: `state` under `data_dir`.
    ///
    /// Example: `"s3://bucket/state"`
    pub state_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlightSettings {
    /// Address and port; port 0 takes a free one, which is logged. An address that other machines can reach needs users and TLS.
    #[serde(deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// A PEM file with the server's certificate chain. With it connections are encrypted.
    ///
    /// Example: `"/etc/touchline/tls.crt"`
    pub tls_cert_file: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    ///
    /// Example: `"/etc/touchline/tls.key"`
    pub tls_key_file: Option<PathBuf>,
}

impl Default for FlightSettings {
    fn default() -> Self {
        FlightSettings { listen: loopback(31337), tls_cert_file: None, tls_key_file: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one, which is logged. There are no users and no TLS here, so an address that other
    /// machines can reach needs `auth.insecure_listeners`.
    #[serde(deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// What the body of one request may hold, as it is sent and unpacked. At most 7 MiB.
    pub body_bytes_max: ByteSize,
    /// Records in one request, 1 to 10000.
    pub events_max: usize,
    /// Bodies of all requests together, as sent and unpacked, until their records are in the log. A request for which there is no room
    /// is answered with 503, to come again.
    pub ingest_bytes_max: ByteSize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            listen: loopback(8080),
            body_bytes_max: ByteSize::mib(4),
            events_max: 1_000,
            ingest_bytes_max: ByteSize::mib(64),
        }
    }
}

impl HttpSettings {
    /// What an append of the embedded log holds for the largest body, each record's key beside it.
    const BODY_BYTES_LIMIT: u64 = 7 << 20;
    const EVENTS_LIMIT: usize = 10_000;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// How often a query with new input makes its results durable and visible. Shorter means fresher results and more requests to the
    /// store, two a checkpoint; longer means more to read again after a crash.
    #[serde(with = "duration")]
    pub checkpoint_interval: Duration,
    /// Rows that one epoch takes at most, per source. A query under load takes more at a time and is faster for it; the limit bounds
    /// its memory and how long a checkpoint waits.
    pub epoch_rows_max: usize,
    /// Epochs of at least this many rows run on all partitions, smaller ones on one. Spreading a small epoch costs more than
    /// it wins.
    pub epoch_rows_wide: usize,
    /// Partitions of a wide epoch, and of the state. 0: one for each core.
    pub partitions: usize,
    /// Memory for rows, of everything together: open windows, lookup tables, results that are in no public file yet, late rows,
    /// rows that wait for a query, ad-hoc statements. From three quarters on, what can lie on local disk goes there; a query that needs
    /// more of what cannot stops with an error and keeps its last checkpoint, and the others go on.
    pub state_bytes_max: ByteSize,
    /// Room on local disk, under `data_dir`, for what has none in memory. It is empty after a start. 0: nothing goes there. State that
    /// has room in neither is left in the checkpoints that hold it, and a window that closes waits until its own is fetched.
    pub spill_bytes_max: ByteSize,
    /// Committed rows go into a public Parquet file at this age at the latest. Shorter makes files appear sooner and be smaller;
    /// Flight SQL and Postgres do not wait for it.
    #[serde(with = "duration")]
    pub seal_age: Duration,
    /// They go sooner when a file would have about this size. Readers like files of 100 MB and more.
    pub seal_bytes: ByteSize,
    /// Decoded batches that may wait for a query, per source. More smooths out bursts and costs memory.
    pub reader_queue_batches: usize,
    /// A query that has something to do and gets nowhere for so long is `STALLED`, and its status says where it stands. Shorter names a
    /// store or database that hangs sooner; longer does not call a slow one that.
    #[serde(with = "duration")]
    pub stall_after: Duration,
    /// What is done where a view comes to mean something else, by its own file or another's. `ask`: the version before runs on, its status
    /// is `BLOCKED` and says what would become of its state, until `touchline state answer` or the option `'on-change'` of the view
    /// says what to do. `new-version`: the new one begins at once, with state of its own, as in `touchline demo`.
    pub on_change: OnChange,
}

impl Default for EngineSettings {
    fn default() -> Self {
        EngineSettings {
            checkpoint_interval: Duration::from_millis(250),
            epoch_rows_max: 1 << 20,
            epoch_rows_wide: 1 << 15,
            partitions: 0,
            state_bytes_max: ByteSize::gib(4),
            spill_bytes_max: ByteSize::gib(64),
            seal_age: Duration::from_secs(60),
            seal_bytes: ByteSize::mib(128),
            reader_queue_batches: 16,
            stall_after: Duration::from_secs(30),
            on_change: OnChange::Ask,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogSettings {
    /// The folder of `*.sql` files that declare tables.
    pub schemas_dir: PathBuf,
    /// The folder of `*.sql` files with continuous queries. Files that appear, change or go take effect without a restart.
    pub queries_dir: PathBuf,
    /// How long a folder must be quiet before its changes are taken up, so that a file that is being written is not read half.
    #[serde(with = "duration")]
    pub debounce: Duration,
}

impl Default for CatalogSettings {
    fn default() -> Self {
        CatalogSettings {
            schemas_dir: "schemas".into(),
            queries_dir: "queries".into(),
            debounce: Duration::from_millis(200),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` for people, `json` for machines: one object a line. Both go to standard error.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, also per module: `info,touchline::source=debug`. The variable `TOUCHLINE_LOG`
    /// wins over it.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { format: LogFormat::Text, level: "info".to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// Who may connect by Flight SQL, as tables with `name` and `password`. Without users everyone may, and so listeners stay on
    /// loopback. A password is plain text, best as `${env:NAME}` or `${file:PATH}`, or an Argon2 hash (`$argon2id$…`); other hashes
    /// are refused, and so is a name with a colon.
    ///
    /// Example: `[{ name = "ana", password = "${env:ANA_PASSWORD}" }]`
    pub users: Vec<User>,
    /// Keys of those who may send records by HTTP, as `touchline keys create` writes them. Nobody but the server's user may have access
    /// to it (mode 0600); what changes in it counts at once. Without it everyone may who reaches a listener on loopback, and on any
    /// other nobody.
    ///
    /// Example: `"/etc/touchline/keys.json"`
    pub keys_file: Option<PathBuf>,
    /// Allows listeners that other machines can reach without users and TLS. Right inside a container or behind a proxy that
    /// has both; wrong everywhere else, because everyone who can connect can then read everything.
    pub insecure_listeners: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub password: Secret,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: "touchline-data".into(),
            storage: StorageSettings::default(),
            s3: StoreSettings::default(),
            kafka: KafkaSettings::default(),
            embedded_log: EmbeddedSettings::default(),
            postgres: PostgresSettings::default(),
            flight: FlightSettings::default(),
            adhoc: AdHocSettings::default(),
            http: HttpSettings::default(),
            engine: EngineSettings::default(),
            catalog: CatalogSettings::default(),
            log: LogSettings::default(),
            auth: AuthSettings::default(),
        }
    }
}

impl Config {
    /// URL or path of the folder of public tables.
    pub fn tables_url(&self) -> String {
        self.storage.tables_url.clone().unwrap_or_else(|| self.data_dir.join("tables").display().to_string())
    }

    /// URL or path of the folder of checkpoints.
    pub fn state_url(&self) -> String {
        self.storage.state_url.clone().unwrap_or_else(|| self.data_dir.join("state").display().to_string())
    }

    /// What no single key can tell: all mistakes, worded with the keys they are about.
    fn mistakes(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut refuse = |wrong: bool, primary: &str, hint: &str| {
            if wrong {
                errors.push(Error::invalid(primary).hint(hint));
            }
        };
        let engine = &self.engine;
        let at_least_one = "write 1 or more";
        refuse(
            engine.checkpoint_interval.is_zero(),
            "engine.checkpoint_interval is zero",
            "write \"250ms\", for example",
        );
        refuse(engine.epoch_rows_max == 0, "engine.epoch_rows_max is zero", at_least_one);
        refuse(engine.reader_queue_batches == 0, "engine.reader_queue_batches is zero", at_least_one);
        refuse(engine.stall_after.is_zero(), "engine.stall_after is zero", "write \"30s\", for example");
        refuse(engine.partitions > 1024, "engine.partitions is more than 1024", "write 0 for one partition a core");
        refuse(self.postgres.connections_max == 0, "postgres.connections_max is zero", at_least_one);
        refuse(
            self.postgres.backlog_bytes.0 == 0,
            "postgres.backlog_bytes is zero",
            "write \"1GiB\", for example; without a url there are no hot tables",
        );
        refuse(self.postgres.retention_days == 0, "postgres.retention_days is zero", at_least_one);
        refuse(
            self.postgres.statement_timeout.is_zero(),
            "postgres.statement_timeout is zero",
            "write \"60s\", for example",
        );
        refuse(
            self.flight.tls_cert_file.is_some() != self.flight.tls_key_file.is_some(),
            "flight.tls_cert_file and flight.tls_key_file belong together",
            "set both, or none",
        );
        let (tables, state) = (self.tables_url(), self.state_url());
        refuse(
            lies_within(&state, &tables),
            "storage.state_url lies within storage.tables_url",
            "checkpoints are private: readers of the tables would take them for rows",
        );
        let mut names: Vec<&str> = self.auth.users.iter().map(|user| user.name.as_str()).collect();
        names.sort_unstable();
        refuse(names.first() == Some(&""), "a user in auth.users has no name", "give each user a name");
        refuse(
            names.windows(2).any(|pair| pair[0] == pair[1]),
            "two users in auth.users have one name",
            "names must differ",
        );
        // Clients send "name:password", and nobody could tell where such a name ends.
        let colon = names.iter().find(|name| name.contains(':'));
        refuse(
            colon.is_some(),
            &format!("the name of user \"{}\" in auth.users contains \":\"", colon.unwrap_or(&"")),
            "choose a name without it: clients send name and password with \":\" between them",
        );
        refuse(
            self.auth.users.iter().any(|user| user.password.expose().is_empty()),
            "a user in auth.users has an empty password",
            "set one, for example password = \"${env:NAME}\"",
        );
        let allowed = self.auth.insecure_listeners;
        refuse(
            !allowed
                && !self.flight.listen.ip().is_loopback()
                && (names.is_empty() || self.flight.tls_cert_file.is_none()),
            "flight.listen can be reached from other machines without users and TLS",
            "set auth.users, flight.tls_cert_file and flight.tls_key_file, or listen on 127.0.0.1; where a proxy or a private \
             network guards it, set auth.insecure_listeners = true",
        );
        refuse(
            !allowed && !self.http.listen.ip().is_loopback(),
            "http.listen can be reached from other machines, and has no users and no TLS",
            "listen on 127.0.0.1; where a proxy or a private network guards it, set auth.insecure_listeners = true",
        );
        let http = &self.http;
        refuse(
            !(1..=HttpSettings::BODY_BYTES_LIMIT).contains(&http.body_bytes_max.0),
            "http.body_bytes_max is zero or above 7 MiB",
            "write \"4MiB\", for example, and send more requests",
        );
        refuse(
            !(1..=HttpSettings::EVENTS_LIMIT).contains(&http.events_max),
            "http.events_max is not between 1 and 10000",
            "write 1000, for example",
        );
        refuse(
            http.ingest_bytes_max.0 < http.body_bytes_max.0.saturating_mul(2),
            "http.ingest_bytes_max has no room for one body, packed and unpacked",
            "write at least twice http.body_bytes_max",
        );
        errors.extend(self.adhoc.mistakes());
        let users = self.auth.users.iter();
        errors.extend(users.filter_map(|user| check_password(&user.name, user.password.expose()).err()));
        errors
    }
}

/// Whether one URL or path is the other or lies below it.
fn lies_within(inner: &str, outer: &str) -> bool {
    let plain = |url: &str| url.trim_start_matches("file://").trim_end_matches('/').to_owned();
    let (inner, outer) = (plain(inner), plain(outer));
    inner == outer || inner.starts_with(&format!("{outer}/"))
}

/// Services listen where only this machine can reach them, until someone decides otherwise.
const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests;
