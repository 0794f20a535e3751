//! The reading door: Arrow Flight SQL on arrow-flight's `FlightService`.
//!
//! `session` runs statements and knows nothing of gRPC, with `gate` for who may run; `statement` plans one and binds its
//! parameters; `guard` says what it may be; `wire` says how rows are sent. `service` is the protocol, with `metadata`,
//! `options`, `auth`, `handles` (on `kept`) and `status` for its parts.

pub mod auth;
mod gate;
pub mod guard;
pub mod handles;
mod kept;
pub mod metadata;
pub mod options;
pub mod service;
pub mod session;
pub mod statement;
pub mod status;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use object_store::ObjectStore;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use self::auth::Auth;
use self::service::FlightSql;
use self::session::{AdHoc, AdHocSettings};
use crate::error::{Error, Result};
use crate::state::Account;
use crate::tables::Published;
use crate::tables::catalog::Catalog;
use crate::tables::source::SnapshotReader;

/// JDBC puts unknown URL parameters into headers of every call.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// What a client may send in one message; parameters are the only large thing.
const RECEIVED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A client that is gone without a word is noticed after this and the time-out.
const PING: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls at once on one connection; more wait there.
const CALLS_PER_CONNECTION: u32 = 256;

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
    /// Names and passwords, each in plain text or as an Argon2 hash; empty: everyone may read.
    pub users: Vec<(String, String)>,
    /// Certificate chain and private key, PEM; `None`: connections are not encrypted.
    pub tls: Option<Tls>,
}

#[derive(Clone)]
pub struct Tls {
    pub certificates: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Serves until `shutdown`, and then until the calls that are under way have ended.
///
/// # Errors
/// `Invalid` for settings, passwords or certificates that cannot be used.
pub async fn serve(listener: TcpListener, deps: FlightDeps, shutdown: impl Future<Output = ()>) -> Result<()> {
    let tls = deps.tls.clone();
    serve_service(listener, flight_sql(deps)?, tls, shutdown).await
}

fn flight_sql(deps: FlightDeps) -> Result<Arc<FlightSql>> {
    let catalog = Catalog::new(deps.published, deps.reader);
    let adhoc = AdHoc::try_new(&deps.settings, deps.account, catalog.clone(), deps.store)?;
    Ok(Arc::new(FlightSql::new(adhoc, catalog, Auth::try_new(deps.users)?)))
}

async fn serve_service(
    listener: TcpListener,
    service: Arc<FlightSql>,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let service = FlightServiceServer::from_arc(service).max_decoding_message_size(RECEIVED_BYTES_MAX);
    let mut server = Server::builder()
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(CALLS_PER_CONNECTION);
    if let Some(tls) = tls {
        let identity = Identity::from_pem(tls.certificates, tls.key);
        server = server
            .tls_config(ServerTlsConfig::new().identity(identity))
            .map_err(|error| Error::invalid("the TLS certificate or key cannot be used").caused_by(error))?;
    }
    server
        .add_service(service)
        .serve_with_incoming_shutdown(incoming(listener), shutdown)
        .await
        .map_err(|error| Error::unavailable("the Flight SQL listener failed").caused_by(error))
}

/// Small answers must not wait for the acknowledgement of the last one: 40 ms a query otherwise.
fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

#[cfg(test)]
mod tests;
