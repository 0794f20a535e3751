//! Connections of the HTTP listener, which strangers may reach: no more than there may be, and none for longer than requests come on it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::open_files;

/// At once, where the process may open enough files.
const CONNECTIONS_MAX: u64 = 1_024;
/// The share of the files that connections may take.
const FILES_SHARE: u64 = 8;
/// For the head of a request, and for what is read at a time of its body: each connection may hold that much.
const BUFFER_BYTES: usize = 64 * 1024;
/// Requests at once on a connection of HTTP/2.
const STREAMS_MAX: u32 = 32;
/// A request that has begun when its connection has lived long enough; above what a body and the log may take together.
const LAST_REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// Where the system has no file left, asking again at once would only heat the room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How many connections, and how long for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connections_max: usize,
    /// From the connection, or the last answer, to the end of the next head.
    pub(super) head_within: Duration,
    /// Somebody who never reads the answers has his place no longer than this.
    pub(super) lives_for: Duration,
    /// At a stop, for requests that have begun: less than the server gives all of its parts. Who has no answer then does not know, and sends again.
    pub(super) stop_within: Duration,
}

impl Limits {
    pub(super) fn of_this_process() -> Self {
        let max = (open_files::at_most() / FILES_SHARE).clamp(16, CONNECTIONS_MAX);
        Limits {
            connections_max: usize::try_from(max).unwrap_or(usize::MAX),
            head_within: Duration::from_secs(30),
            lives_for: Duration::from_secs(600),
            stop_within: Duration::from_secs(2),
        }
    }
}

/// Answers until `shutdown` is done, and then what has begun.
pub(super) async fn answer(listener: TcpListener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let stop = watch::Sender::new(false);
    // Dropped with this future, and the connections with it.
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut warned: Option<Instant> = None;
    let mut may_warn = || {
        let may = warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if may {
            warned = Some(Instant::now());
        }
        may
    };
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => _ = connections.spawn(serve(stream, router.clone(), limits, stop.subscribe(), place)),
                Err(_) if may_warn() => {
                    warn!(max = limits.connections_max, %peer, "an HTTP connection was closed: there are too many");
                }
                Err(_) => {}
            },
            Err(error) => {
                if may_warn() {
                    warn!(%error, "an HTTP connection cannot be accepted");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.stop_within, ended).await.is_err() {
        warn!("HTTP requests that were not at their end were cut off");
    }
}

async fn serve(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let until = Instant::now() + limits.lives_for;
    // Before the first byte nothing below looks at the time. That the stream is readable would not mean that there is one.
    let mut first = [0];
    tokio::select! {
        first = timeout(limits.head_within, stream.peek(&mut first)) => match first {
            Ok(Ok(1)) => {}
            _ => return,
        },
        () = sleep_until(until) => return,
        () = stopped(&mut stop) => return,
    }
    // HTTP/2 as well: a client of Flight SQL at the wrong port is told so.
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_within).max_buf_size(BUFFER_BYTES);
    http.http2().max_concurrent_streams(STREAMS_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => {}
        () = sleep_until(until) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_REQUEST_WITHIN, connection).await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const LIMITS: Limits = Limits { connections_max: 8, head_within: LONG, lives_for: LONG, stop_within: LONG };
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

    struct Running {
        address: std::net::SocketAddr,
        stop: oneshot::Sender<()>,
        server: tokio::task::JoinHandle<()>,
    }

    async fn run(limits: Limits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let read = async |request: Request<Body>| match to_bytes(request.into_body(), 1_000).await {
            Ok(_) => "read",
            Err(_) => "cut off",
        };
        let router = Router::new().route("/", get(async || "here")).route("/body", post(read));
        let server = tokio::spawn(answer(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Running { address, stop, server }
    }

    /// What is read before the other side closes; a test that waits for it in vain fails.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut found = Vec::new();
        // A connection that was reset is closed, too.
        let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut found)).await.expect("closed in the end");
        String::from_utf8(found).unwrap()
    }

    /// Whether a request has an answer.
    async fn is_answered(stream: &mut TcpStream) -> bool {
        if stream.write_all(GET).await.is_err() {
            return false;
        }
        let mut found = [0; 12];
        stream.read_exact(&mut found).await.is_ok() && &found == b"HTTP/1.1 200"
    }

    #[tokio::test]
    async fn half_a_head_and_silence_are_not_waited_for_for_ever() {
        let running = run(Limits { head_within: Duration::from_millis(20), ..LIMITS }).await;
        let mut silent = TcpStream::connect(running.address).await.unwrap();
        let mut half = TcpStream::connect(running.address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        assert!(!rest(&mut half).await.contains("200"));
        assert!(!rest(&mut silent).await.contains("200"));
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_is_closed_until_another_has_gone() {
        let running = run(Limits { connections_max: 1, ..LIMITS }).await;
        let mut first = TcpStream::connect(running.address).await.unwrap();
        assert!(is_answered(&mut first).await);
        let mut second = TcpStream::connect(running.address).await.unwrap();
        assert_eq!(rest(&mut second).await, "");
        drop(first);
        let again = async {
            while !is_answered(&mut TcpStream::connect(running.address).await.unwrap()).await {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), again).await.expect("its place is free");
    }

    #[tokio::test]
    async fn a_connection_has_an_end_and_a_head_a_size() {
        let running = run(Limits { lives_for: Duration::from_millis(20), ..LIMITS }).await;
        let mut old = TcpStream::connect(running.address).await.unwrap();
        assert_eq!(rest(&mut old).await, "");
        let running = run(LIMITS).await;
        let mut large = TcpStream::connect(running.address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n", "x".repeat(2 * BUFFER_BYTES));
        // It may be closed before all of it is sent.
        let _ = large.write_all(head.as_bytes()).await;
        assert!(!rest(&mut large).await.contains("200"));
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_a_body_that_does_not_come() {
        let running = run(Limits { stop_within: Duration::from_millis(20), ..LIMITS }).await;
        let mut slow = TcpStream::connect(running.address).await.unwrap();
        assert!(is_answered(&mut slow).await);
        slow.write_all(b"POST /body HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        running.stop.send(()).unwrap();
        timeout(Duration::from_secs(60), running.server).await.expect("it stops").unwrap();
        assert!(!rest(&mut slow).await.contains("read"));
    }
}
