//! The way to a Kafka broker, for a test to take away and to give back: a proxy that all connections of a client go through.
//!
//! A client connects to where the broker says that it listens. So every answer passes with the proxy's port in the place of the
//! broker's, which takes as many bytes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::Failed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// See the module's first lines. Its connections end with the runtime of the test.
#[derive(Debug)]
pub(crate) struct Line {
    /// `host:port` for clients.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    way: watch::Sender<Way>,
    /// What is to come from the broker before the line falls silent.
    awaited: Mutex<Vec<String>>,
    host: String,
    broker_port: u16,
    /// The broker's address and ours, as they stand in an answer.
    broker: Vec<u8>,
    ours: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections are taken and stay, and nothing comes through: a broker that hangs.
    Silent,
    /// Connections end as soon as they are there: a broker that is away.
    Cut,
}

impl Line {
    /// An open one to the broker that says of itself that it listens here.
    ///
    /// # Errors
    /// Where the broker is on another machine: a client would look for the proxy there.
    pub(crate) async fn to(host: &str, port: u16) -> Result<Self, Failed> {
        let listener = TcpListener::bind((host, 0)).await?;
        let ours = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            way: watch::Sender::new(Way::Open),
            awaited: Mutex::new(Vec::new()),
            host: host.to_owned(),
            broker_port: port,
            broker: in_an_answer(host, port),
            ours: in_an_answer(host, ours),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Line { address: format!("{host}:{ours}"), shared })
    }

    /// Nothing comes through any more once the client has been sent all of `texts`, which stand in the values of records.
    pub(crate) fn hang_behind(&self, texts: Vec<String>) {
        *self.shared.awaited.lock().unwrap_or_else(PoisonError::into_inner) = texts;
    }

    /// Ends all connections, and every new one at once.
    pub(crate) fn cut(&self) {
        self.shared.way.send_replace(Way::Cut);
    }

    /// Everything comes through again, also what has waited.
    pub(crate) fn open(&self) {
        self.shared.way.send_replace(Way::Open);
    }
}

/// As the protocol writes it wherever it names a broker: the host, behind its length, and the port in four bytes.
fn in_an_answer(host: &str, port: u16) -> Vec<u8> {
    let mut bytes = host.as_bytes().to_vec();
    bytes.extend(u32::from(port).to_be_bytes());
    bytes
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, Arc::clone(&shared)));
    }
}

/// One connection, until either side ends it or the line is cut.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let mut way = shared.way.subscribe();
    tokio::select! {
        biased;
        _ = way.wait_for(|way| *way == Way::Cut) => {}
        // A broken connection is for the client to notice.
        _ = shared.join(client) => {}
    }
}

impl Shared {
    async fn join(&self, client: TcpStream) -> io::Result<()> {
        let broker = TcpStream::connect((self.host.as_str(), self.broker_port)).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        tokio::try_join!(self.questions(from_client, to_broker), self.answers(from_broker, to_client))?;
        Ok(())
    }

    async fn questions(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let question = frame(&mut from).await?;
            self.until_open().await?;
            to.write_all(&question).await?;
        }
    }

    async fn answers(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let mut answer = frame(&mut from).await?;
            replace(&mut answer, &self.broker, &self.ours);
            self.until_open().await?;
            // Before it is passed on: no client is quick enough to get one more.
            self.note(&answer);
            to.write_all(&answer).await?;
        }
    }

    async fn until_open(&self) -> io::Result<()> {
        let mut way = self.way.subscribe();
        way.wait_for(|way| *way == Way::Open).await.map_err(io::Error::other)?;
        Ok(())
    }

    fn note(&self, answer: &[u8]) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if awaited.is_empty() {
            return;
        }
        awaited.retain(|text| find(answer, text.as_bytes()).is_none());
        if awaited.is_empty() {
            self.way.send_replace(Way::Silent);
        }
    }
}

/// The next question or answer: its length in four bytes, and so many more.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_i32().await?;
    let mut frame = length.to_be_bytes().to_vec();
    let head = frame.len();
    frame.resize(head + usize::try_from(length).map_err(io::Error::other)?, 0);
    from.read_exact(&mut frame[head..]).await?;
    Ok(frame)
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let mut from = 0;
    while let Some(at) = find(&bytes[from..], old) {
        bytes[from + at..][..new.len()].copy_from_slice(new);
        from += at + new.len();
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
