//! The server: everything that runs between `start` and `stop`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::sink::postgres::PostgresSink;
use crate::{admin, tables::Published};

/// A running server. Dropping it without [`Server::stop`] ends it as a crash would, which loses nothing.
#[derive(Debug)]
pub struct Server {
    published: Arc<Published>,
    flight: TcpListener,
    http_addr: SocketAddr,
    postgres: Option<PostgresSink>,
    stop_http: oneshot::Sender<()>,
    http: JoinHandle<Result<()>>,
}

impl Server {
    /// # Errors
    /// `Invalid` for an occupied port or a refused login, `Unavailable` where a service does not answer.
    pub async fn start(config: Config, clock: Clock) -> Result<Server> {
        let published = Arc::new(Published::default());
        let postgres = match &config.postgres.url {
            Some(_) => Some(PostgresSink::connect(config.postgres.clone()).await?),
            None => None,
        };
        let flight = bind("flight.listen", config.flight.listen).await?;
        let http = bind("http.listen", config.http.listen).await?;
        let http_addr = http.local_addr()?;
        let (stop_http, stopped) = oneshot::channel();
        let http = tokio::spawn(admin::serve(http, Arc::clone(&published), clock, async {
            let _ = stopped.await;
        }));
        Ok(Server { published, flight, http_addr, postgres, stop_http, http })
    }

    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub fn flight_addr(&self) -> SocketAddr {
        self.flight.local_addr().unwrap_or(self.http_addr)
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    pub fn postgres_enabled(&self) -> bool {
        self.postgres.is_some()
    }

    /// # Errors
    /// The first that a part of the server ended with.
    pub async fn stop(self) -> Result<()> {
        let _ = self.stop_http.send(());
        self.http.await.map_err(|error| Error::bug("the HTTP listener panicked").caused_by(error))?
    }
}

/// `key`: the setting to change where the address is taken.
async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::invalid(format!("cannot listen on {address}"))
            .detail(error.to_string())
            .hint(format!("is another server running there? choose another port with {key}; port 0 takes a free one"))
    })
}
