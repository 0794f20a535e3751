//! What an operator may set about the hot tables.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Secret, duration};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// Where the database is, with user, password and `sslmode`: `postgres://user:password@host:5432/database`.
    /// Keep the password out of this file with `${env:NAME}` or `${file:PATH}`. Without it there are no hot tables.
    ///
    /// `sslmode=prefer`, the default, encrypts where the server can; `require` insists and checks the certificate; `disable` is for
    /// loopback and sockets.
    ///
    /// Example: `"${env:DATABASE_URL}"`
    pub url: Option<Secret>,
    /// The schema that holds the hot tables and `touchline_commits`. It must exist, and the user may create tables in it.
    pub schema: String,
    /// How many days of event time a hot table keeps. Older days are dropped whole; Parquet keeps them for ever.
    /// More days make a larger database and slower upserts.
    pub retention_days: u32,
    /// A PEM file with the authorities that may sign the server's certificate. Without it `sslmode=require` trusts the public
    /// ones.
    ///
    /// Example: `"/etc/touchline/postgres-ca.pem"`
    pub tls_ca_file: Option<PathBuf>,
    /// How long to wait for a connection. Longer helps with slow networks; shorter notices a dead host sooner.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long the database may work on one statement before it is given up and tried again.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// How long to wait for a lock that another session holds, before the transaction is given up and tried again.
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
    /// Connections at most, shared by all queries. Each can write one query's rows at a time. Beside them there is one on which old days are
    /// dropped, while they are, and one for each of at most two statements that read `touchline.refused`.
    pub connections_max: usize,
    /// Bytes of rows, compressed in the checkpoints, that may wait for Postgres, for each query. They wait in the store and not in
    /// memory. A query that has more waiting takes no more input in until a quarter of it is written: its Parquet files and Flight
    /// SQL then stand still, too, and nothing is dropped. More bridges a longer outage and takes that room in `storage.state_url`.
    pub backlog_bytes: ByteSize,
    /// Hours for which rows that a hot table has had are kept, compressed, in `storage.state_url`. A database that was set back by less
    /// gets what it lacks from them; below that, its hot tables are made anew from the Parquet files, which reads all of these days.
    /// More takes that room; 0 keeps none.
    pub replay_hours: u32,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        PostgresSettings {
            url: None,
            schema: "public".to_owned(),
            retention_days: 7,
            tls_ca_file: None,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(5),
            connections_max: 4,
            backlog_bytes: ByteSize::gib(1),
            replay_hours: 24,
        }
    }
}
