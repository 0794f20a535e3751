//! Who is let in at all: connections within a limit, and only for as long as it takes to log in.
//!
//! A connection on which nobody has been let through within [`LOGIN_WITHIN`] is closed, whether it is silent, is half
//! through a handshake of TLS or HTTP/2, or has sent a part of a head. So strangers cannot use up what there is.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::Connected;
use tracing::warn;

use crate::open_files;

/// From the connection to the first call with valid credentials.
pub(super) const LOGIN_WITHIN: Duration = Duration::from_secs(30);
/// Connections at once, where the process may open enough files.
const CONNECTIONS_MAX: u64 = 10_000;
/// The share of the files that connections may take; topics, tables and checkpoints need the rest.
const FILES_SHARE: u64 = 4;
/// Where the system has no file left, asking again at once would only heat the room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How many connections there may be at once.
pub(super) fn connections_max() -> usize {
    let max = (open_files::at_most() / FILES_SHARE).clamp(16, CONNECTIONS_MAX);
    usize::try_from(max).unwrap_or(usize::MAX)
}

/// Connections as they come in. One above `max` is closed at once: to wait would look like a server that hangs.
pub(super) fn incoming(
    listener: TcpListener,
    max: usize,
    login_within: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let doorman = Doorman { listener, places: Arc::new(Semaphore::new(max)), max, login_within, warned: None };
    stream::unfold(doorman, |mut doorman| async move { Some((Ok::<_, io::Error>(doorman.next().await), doorman)) })
}

struct Doorman {
    listener: TcpListener,
    places: Arc<Semaphore>,
    max: usize,
    login_within: Duration,
    warned: Option<Instant>,
}

impl Doorman {
    async fn next(&mut self) -> Connection {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if self.may_warn() {
                        warn!(%error, "a Flight SQL connection cannot be accepted");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                if self.may_warn() {
                    warn!(max = self.max, %peer, "a Flight SQL connection was closed: there are too many");
                }
                continue;
            };
            // Small answers must not wait for the acknowledgement of the last one: 40 ms a query otherwise.
            let _ = stream.set_nodelay(true);
            let peer = Arc::new(Peer { address: peer.ip(), logged_in: AtomicBool::new(false) });
            return Connection { stream, peer, patience: Some(Box::pin(sleep(self.login_within))), _place: place };
        }
    }

    fn may_warn(&mut self) -> bool {
        let now = Instant::now();
        let may = self.warned.is_none_or(|last| now > last + WARN_EVERY);
        if may {
            self.warned = Some(now);
        }
        may
    }
}

/// The other side of a connection, as calls see it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    logged_in: AtomicBool,
}

impl Peer {
    /// Somebody was let through: the connection may stay.
    pub(super) fn welcome(&self) {
        self.logged_in.store(true, Ordering::Relaxed);
    }
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: Arc<Peer>,
    /// `None` once somebody is logged in.
    patience: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    #[cfg(test)]
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.peer.logged_in.load(Ordering::Relaxed) {
            this.patience = None;
        }
        if let Some(patience) = &mut this.patience
            && patience.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_at_once_and_a_place_comes_back() {
        let (listener, address) = listener().await;
        let mut incoming = pin!(incoming(listener, 1, LOGIN_WITHIN));
        let _first = TcpStream::connect(address).await.expect("connects");
        let first = incoming.next().await.expect("a connection").expect("accepted");
        assert!(first.stream().nodelay().expect("an option"));
        let mut second = TcpStream::connect(address).await.expect("connects");
        let mut byte = [0];
        let closed = tokio::select! {
            biased;
            _ = incoming.next() => panic!("there is no place"),
            read = second.read(&mut byte) => matches!(read, Ok(0) | Err(_)),
        };
        assert!(closed);
        drop(first);
        let _third = TcpStream::connect(address).await.expect("connects");
        assert!(incoming.next().await.expect("a connection").is_ok());
    }

    #[tokio::test]
    async fn who_does_not_log_in_is_shown_out_and_who_does_may_stay() {
        let (listener, address) = listener().await;
        let mut incoming = pin!(incoming(listener, 10, Duration::from_millis(50)));
        let mut byte = [0];

        let _silent = TcpStream::connect(address).await.expect("connects");
        let mut silent = incoming.next().await.expect("a connection").expect("accepted");
        let error = silent.read(&mut byte).await.expect_err("nobody has logged in");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let mut client = TcpStream::connect(address).await.expect("connects");
        let mut known = incoming.next().await.expect("a connection").expect("accepted");
        known.connect_info().welcome();
        client.write_all(b"x").await.expect("sends");
        assert_eq!(known.read(&mut byte).await.expect("reads"), 1);
        let waited = tokio::time::timeout(Duration::from_millis(200), known.read(&mut byte)).await;
        assert!(waited.is_err(), "it may be silent for as long as it likes: {waited:?}");
    }
}
