//! Who is let in at all: connections within a limit, and only for as long as it takes to log in.
//!
//! A connection on which nobody has been let through within [`LOGIN_WITHIN`] is closed, whether it is silent, is half
//! through a handshake of TLS or HTTP/2, or has sent a part of a head. Where there are too many, it makes room for the
//! next one before that. So strangers cannot use up what there is.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use futures::{Stream, stream};
use parking_lot::Mutex;
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

/// Connections as they come in. One above `max` takes the place of a stranger; if there is none it is closed at once, since
/// to wait would look like a server that hangs.
pub(super) fn incoming(
    listener: impl Into<Arc<TcpListener>>,
    max: usize,
    login_within: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let (listener, places, strangers) = (listener.into(), Arc::new(Semaphore::new(max)), VecDeque::new());
    let doorman = Doorman { listener, places, max, login_within, strangers, warned: None };
    stream::unfold(doorman, |mut doorman| async move { Some((Ok::<_, io::Error>(doorman.next().await), doorman)) })
}

struct Doorman {
    listener: Arc<TcpListener>,
    places: Arc<Semaphore>,
    max: usize,
    login_within: Duration,
    /// Who had not logged in when he came, in the order of coming.
    strangers: VecDeque<Weak<Peer>>,
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
            let Some(place) = self.place() else {
                if self.may_warn() {
                    warn!(max = self.max, %peer, "a Flight SQL connection was closed: there are too many");
                }
                continue;
            };
            // Small answers must not wait for the acknowledgement of the last one: 40 ms a query otherwise.
            let _ = stream.set_nodelay(true);
            let peer = Arc::new(Peer {
                address: peer.ip(),
                logged_in: AtomicBool::new(false),
                place: Mutex::new(Some(place)),
                reader: AtomicWaker::new(),
            });
            self.remember(&peer);
            return Connection { stream, peer, patience: Some(Box::pin(sleep(self.login_within))) };
        }
    }

    /// A free place, or that of the stranger who came first: who has a password needs less time than he has had.
    fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        while let Some(stranger) = self.strangers.pop_front() {
            let Some(place) = stranger.upgrade().and_then(|stranger| stranger.show_out()) else { continue };
            if self.may_warn() {
                warn!(max = self.max, "a Flight SQL connection without a login made room: there are too many");
            }
            return Some(place);
        }
        None
    }

    fn remember(&mut self, stranger: &Arc<Peer>) {
        // Of these at most `max` are there still and strangers.
        if self.strangers.len() > 2 * self.max {
            self.strangers.retain(|peer| peer.upgrade().is_some_and(|peer| !peer.is_logged_in()));
        }
        self.strangers.push_back(Arc::downgrade(stranger));
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
    /// Among the connections that there may be; `None` once it has been given to another one.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    /// Is told then.
    reader: AtomicWaker,
}

impl Peer {
    /// Somebody was let through: the connection may stay.
    pub(super) fn welcome(&self) {
        self.logged_in.store(true, Ordering::Relaxed);
    }

    fn is_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Relaxed)
    }

    /// The place of one who is not logged in; his connection ends.
    fn show_out(&self) -> Option<OwnedSemaphorePermit> {
        if self.is_logged_in() {
            return None;
        }
        let place = self.place.lock().take();
        self.reader.wake();
        place
    }
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: Arc<Peer>,
    /// `None` once somebody is logged in.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        *self.peer.place.lock() = None;
    }
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
        if this.peer.is_logged_in() {
            this.patience = None;
        }
        if let Some(patience) = &mut this.patience {
            // Before the look at the place, so that its loss is not missed between the two.
            this.peer.reader.register(cx.waker());
            if this.peer.place.lock().is_none() || patience.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
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
        first.connect_info().welcome();
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

    /// Else one who opens connections and says nothing would keep everybody out.
    #[tokio::test]
    async fn where_there_are_too_many_the_stranger_who_came_first_makes_room() {
        let (listener, address) = listener().await;
        let mut incoming = pin!(incoming(listener, 3, LOGIN_WITHIN));
        let mut clients = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.expect("connects"));
            accepted.push(incoming.next().await.expect("a connection").expect("accepted"));
        }
        accepted[0].connect_info().welcome();
        let mut reads = accepted.into_iter().map(|mut connection| {
            Box::pin(async move { connection.read(&mut [0]).await.map_err(|error| error.kind()) })
        });
        let (mut known, mut first, mut second) =
            (reads.next().expect("three"), reads.next().expect("three"), reads.next().expect("three"));
        assert!(futures::poll!(&mut first).is_pending());
        clients.push(TcpStream::connect(address).await.expect("connects"));
        let fourth = incoming.next().await.expect("a connection").expect("accepted");
        assert_eq!(first.await, Err(io::ErrorKind::TimedOut), "it is woken");
        assert!(futures::poll!(&mut known).is_pending() && futures::poll!(&mut second).is_pending());
        assert!(fourth.connect_info().place.lock().is_some());
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
