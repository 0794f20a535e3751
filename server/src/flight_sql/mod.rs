//! The reading door: Arrow Flight SQL on arrow-flight's `FlightService`.
//!
//! An [`Entrance`] is made of what can be wrong in the settings, a [`Door`] of all it needs, and only then it is opened.
//!
//! `session` runs statements and knows nothing of gRPC, with `gate` and `place` for who may run; `statement` plans one
//! and binds its parameters, whose types `parameters` finds; `guard` says what it may be, `shorthand` what it stands for, `columns` what its columns are
//! called; `wire` says how rows are sent. `service` is the protocol, with `metadata`, `options`, `auth`, `handles` (on `kept`) and `status` for its parts.
//! `connections` and `calls` stand before it: who is let in, and how much he may send.

pub mod auth;
mod calls;
pub mod columns;
mod connections;
mod gate;
pub mod guard;
pub mod handles;
mod kept;
pub mod metadata;
pub mod options;
mod parameters;
mod place;
pub mod service;
pub mod session;
mod shorthand;
pub mod statement;
pub mod status;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tokio::net::TcpListener;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use self::auth::Auth;
use self::calls::Calls;
use self::connections::{LOGIN_WITHIN, connections_max};
use self::service::FlightSql;
use self::session::{AdHoc, AdHocSettings};
use crate::error::{Error, Result};
use crate::state::Account;
use crate::tables::Published;
use crate::tables::catalog::Catalog;
use crate::tables::source::SnapshotReader;

/// JDBC puts unknown URL parameters into headers of every call.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// A client that is gone without a word is noticed after this and the time-out.
const PING: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls at once on one connection; more wait there.
const CALLS_PER_CONNECTION: u32 = 256;

/// Who may come in, and how connections are encrypted.
#[derive(Debug)]
pub struct Entrance {
    auth: Auth,
    server: Server,
}

impl Entrance {
    /// `users`: names and passwords, each in plain text or as an Argon2 hash; none: everyone may read.
    ///
    /// # Errors
    /// `Invalid` for a password, a certificate or a key that cannot be used.
    pub fn try_new(users: impl IntoIterator<Item = (String, String)>, tls: Option<Tls>) -> Result<Self> {
        let mut server = Server::builder()
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(CALLS_PER_CONNECTION);
        if let Some(tls) = tls {
            let identity = Identity::from_pem(tls.certificates, tls.key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).map_err(|error| {
                Error::invalid("the TLS certificate or key cannot be used")
                    .caused_by(error)
                    .hint("flight.tls_cert_file and flight.tls_key_file are a certificate chain and its private key, PEM each")
            })?;
        }
        Ok(Entrance { auth: Auth::try_new(users)?, server })
    }
}

/// Certificate chain and private key, PEM.
pub struct Tls {
    pub certificates: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// What the door opens on.
#[derive(Debug)]
pub struct FlightDeps {
    pub published: Arc<Published>,
    /// Holds the public tables; `SealedFile::path` is a key in it.
    pub store: Arc<dyn ObjectStore>,
    pub reader: Arc<dyn SnapshotReader>,
    pub settings: AdHocSettings,
    /// Answers for the memory of all statements.
    pub account: Arc<Account>,
    pub entrance: Entrance,
}

/// The door with all that it needs to open: what cannot be used has been refused by now.
#[derive(Debug)]
pub struct Door {
    server: Server,
    service: Arc<FlightSql>,
}

impl Door {
    /// # Errors
    /// `Invalid` for limits with which no statement could run, `Unavailable` if no threads can be had.
    pub fn try_new(deps: FlightDeps) -> Result<Self> {
        let Entrance { auth, server } = deps.entrance;
        let catalog = Catalog::new(deps.published, deps.reader);
        let adhoc = AdHoc::try_new(&deps.settings, deps.account, catalog.clone(), deps.store)?;
        Ok(Door { server, service: Arc::new(FlightSql::new(adhoc, catalog, auth)) })
    }

    /// Serves until `shutdown`, and then until the calls that are under way have ended.
    ///
    /// # Errors
    /// `Unavailable` if the listener fails.
    pub async fn serve(mut self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<()> {
        let incoming = connections::incoming(listener, connections_max(), LOGIN_WITHIN);
        self.server
            .add_service(Calls::new(self.service))
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await
            .map_err(|error| Error::unavailable("the Flight SQL listener failed").caused_by(error))
    }
}

#[cfg(test)]
mod tests;
