//! The reading door: Arrow Flight SQL on arrow-flight's `FlightService`.
//!
//! An [`Entrance`] is made of what can be wrong in the settings, a [`Door`] of all it needs, and only then it is opened. Its [`Key`] takes
//! other users and another certificate up while it is open.
//!
//! `session` runs statements and knows nothing of gRPC, with `gate` and `place` for who may run, `share` and `pressure` for memory,
//! `threads` and `watched` for how it ends; `statement` plans one
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
mod pressure;
pub mod service;
pub mod session;
mod share;
mod shorthand;
pub mod statement;
pub mod status;
mod threads;
mod users;
mod watched;
pub mod wire;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tonic::transport::{Identity, Server, ServerTlsConfig};

use self::auth::Auth;
use self::calls::Calls;
use self::connections::{LOGIN_WITHIN, connections_max};
use self::service::FlightSql;
use self::session::{AdHoc, AdHocSettings};
use crate::error::{Error, Result};
use crate::state::Account;
use crate::tables::catalog::Catalog;
use crate::tables::source::SnapshotReader;
use crate::tables::{AdHocWork, Published};

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
    has_tls: bool,
}

impl Entrance {
    /// `users`: names and passwords, each in plain text or as an Argon2 hash; none: everyone may read.
    ///
    /// # Errors
    /// `Invalid` for a password, a certificate or a key that cannot be used.
    pub fn try_new(users: impl IntoIterator<Item = (String, String)>, tls: Option<Tls>) -> Result<Self> {
        let has_tls = tls.is_some();
        Ok(Entrance { server: server(tls)?, auth: Auth::try_new(users)?, has_tls })
    }
}

/// What speaks the protocol on connections, which are encrypted where there is a certificate.
fn server(tls: Option<Tls>) -> Result<Server> {
    let mut server = Server::builder()
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(CALLS_PER_CONNECTION);
    if let Some(tls) = tls {
        let identity = Identity::from_pem(tls.certificates, tls.key);
        server = server.tls_config(ServerTlsConfig::new().identity(identity)).map_err(|error| {
            Error::invalid("the TLS certificate or key cannot be used").caused_by(error).hint(
                "flight.tls_cert_file and flight.tls_key_file are a certificate chain and its private key, PEM each",
            )
        })?;
    }
    Ok(server)
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
    servers: Arc<watch::Sender<Server>>,
    service: Arc<FlightSql>,
    has_tls: bool,
}

/// Changes who may come in by a door that is open.
#[derive(Debug, Clone)]
pub struct Key {
    servers: Arc<watch::Sender<Server>>,
    service: Arc<FlightSql>,
    has_tls: bool,
}

impl Key {
    /// Takes up users and certificate. Calls that are under way go on; their connections are closed behind them, and clients connect anew.
    ///
    /// # Errors
    /// `Invalid` for what cannot be used, and where there were none of either and now would be, or the other way round. All is then as
    /// before.
    pub fn take_up(&self, users: impl IntoIterator<Item = (String, String)>, tls: Option<Tls>) -> Result<()> {
        if tls.is_some() != self.has_tls {
            return Err(Error::invalid("flight.tls_cert_file is set now and was not, or the other way round")
                .hint("start the server again: whether connections are encrypted is decided at the start"));
        }
        let server = server(tls)?;
        self.service.replace_users(users)?;
        // Without a certificate there is nothing new for connections.
        if self.has_tls {
            self.servers.send_replace(server);
        }
        Ok(())
    }
}

impl Door {
    /// # Errors
    /// `Invalid` for limits with which no statement could run, `Unavailable` if no threads can be had.
    pub fn try_new(deps: FlightDeps) -> Result<Self> {
        let Entrance { auth, server, has_tls } = deps.entrance;
        let catalog = Catalog::new(Arc::clone(&deps.published), deps.reader);
        let adhoc = AdHoc::try_new(&deps.settings, deps.account, catalog.clone(), deps.store)?;
        let service = Arc::new(FlightSql::new(adhoc, catalog, auth));
        let work: Arc<dyn AdHocWork> = Arc::clone(&service) as _;
        deps.published.put_adhoc(Arc::downgrade(&work));
        Ok(Door { servers: Arc::new(watch::Sender::new(server)), service, has_tls })
    }

    pub fn key(&self) -> Key {
        Key { servers: Arc::clone(&self.servers), service: Arc::clone(&self.service), has_tls: self.has_tls }
    }

    /// Serves until `shutdown`, and then until the calls that are under way have ended.
    ///
    /// # Errors
    /// `Unavailable` if the listener fails.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<()> {
        let (listener, mut servers) = (Arc::new(listener), self.servers.subscribe());
        let mut shutdown = pin!(shutdown);
        // Those with a certificate of before end their calls beside the one that takes new connections.
        let mut earlier: FuturesUnordered<BoxFuture<'_, Result<()>>> = FuturesUnordered::new();
        let mut open = true;
        while open {
            let server = servers.borrow_and_update().clone();
            let (leave, left) = oneshot::channel::<()>();
            let mut serving = self.serve_by(server, Arc::clone(&listener), left).boxed();
            loop {
                tokio::select! {
                    // Nobody has asked it to.
                    ended = &mut serving => return ended,
                    () = &mut shutdown => {
                        open = false;
                        break;
                    }
                    Ok(()) = servers.changed() => break,
                    Some(ended) = earlier.next() => ended?,
                }
            }
            drop(leave);
            earlier.push(serving);
        }
        while let Some(ended) = earlier.next().await {
            ended?;
        }
        Ok(())
    }

    /// Serves until `left` is given up, and then until the calls that are under way have ended.
    async fn serve_by(
        &self,
        mut server: Server,
        listener: Arc<TcpListener>,
        left: oneshot::Receiver<()>,
    ) -> Result<()> {
        let incoming = connections::incoming(listener, connections_max(), LOGIN_WITHIN);
        let leaves = async move { _ = left.await };
        server
            .add_service(Calls::new(Arc::clone(&self.service)))
            .serve_with_incoming_shutdown(incoming, leaves)
            .await
            .map_err(|error| Error::unavailable("the Flight SQL listener failed").caused_by(error))
    }
}

#[cfg(test)]
mod tests;
