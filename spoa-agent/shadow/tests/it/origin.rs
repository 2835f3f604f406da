//! A target that does as a test tells it, and remembers what it heard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use exchange::{Body, Endpoint, Exchange, Extent, Header, Request, Response};
use parking_lot::Mutex;
use shadow::{
    AnswerLimits, Config, Counters, Outcome, Outcomes, Rewrite, Route, Sender, Target, Timeouts,
    Trust,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Which connection, counted from 0.
    pub(crate) connection: usize,
    /// Which request on it, counted from 0.
    pub(crate) nth: usize,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn line(&self) -> String {
        let end = self.head.iter().position(|b| *b == b'\r').unwrap();
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }

    pub(crate) fn target(&self) -> String {
        self.line().split(' ').nth(1).unwrap().to_owned()
    }
}

pub(crate) enum Reply {
    Bytes(Vec<u8>),
    /// One byte at a time, each in its own segment.
    Drip(Vec<u8>),
    /// And then the connection ends.
    Last(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// Nothing until [`Origin::release`].
    Held(Vec<u8>),
}

pub(crate) fn ok() -> Reply {
    status(200)
}

pub(crate) fn status(code: u16) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {code} x\r\ncontent-length: 2\r\n\r\n{{}}").into())
}

type Script = dyn Fn(&Heard) -> Reply + Send + Sync;

pub(crate) struct Origin {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    changed: Arc<Notify>,
    release: Arc<Notify>,
    connected: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub(crate) async fn start(script: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    pub(crate) fn start_on(
        listener: TcpListener,
        script: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (changed, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let talk = Talk {
            heard: heard.clone(),
            changed: changed.clone(),
            release: release.clone(),
            script: Arc::new(script),
        };
        let connected = Arc::new(AtomicUsize::new(0));
        let counted = connected.clone();
        let task = tokio::spawn(async move {
            // Connections end with the listener.
            let mut connections = tokio::task::JoinSet::new();
            let number = AtomicUsize::new(0);
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let (talk, counted) = (talk.clone(), counted.clone());
                let number = number.fetch_add(1, Ordering::Relaxed);
                counted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    talk.clone().serve(tcp, number).await;
                    counted.fetch_sub(1, Ordering::Relaxed);
                    talk.changed.notify_waiters();
                });
            }
        });
        Self {
            address,
            heard,
            changed,
            release,
            connected,
            task,
        }
    }

    /// Waits until every connection has come to its end, and with it all that was sent on them.
    pub(crate) async fn nobody_is_connected(&self) {
        loop {
            let changed = self.changed.notified();
            // A connection that was made may not be accepted yet.
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            if self.connected.load(Ordering::Relaxed) == 0 {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn target(&self) -> Target {
        target_at(self.address)
    }

    /// Every request heard so far, probes left out.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.lock();
        heard
            .iter()
            .filter(|heard| heard.line() != "HEAD / HTTP/1.1")
            .cloned()
            .collect()
    }

    pub(crate) async fn heard_at_least(&self, count: usize) -> Vec<Heard> {
        loop {
            let changed = self.changed.notified();
            let heard = self.heard();
            if heard.len() >= count {
                return heard;
            }
            changed.await;
        }
    }

    /// Lets all held replies go.
    pub(crate) fn release(&self) {
        self.release.notify_waiters();
    }
}

pub(crate) fn target_at(address: SocketAddr) -> Target {
    Target::parse(&format!("http://{address}")).unwrap()
}

/// A port that is taken and refuses connections, until it listens.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[derive(Clone)]
pub(crate) struct Talk {
    heard: Arc<Mutex<Vec<Heard>>>,
    changed: Arc<Notify>,
    release: Arc<Notify>,
    script: Arc<Script>,
}

impl Talk {
    pub(crate) fn alone(script: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            heard: Arc::default(),
            changed: Arc::default(),
            release: Arc::default(),
            script: Arc::new(script),
        }
    }

    pub(crate) async fn serve(
        self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        connection: usize,
    ) {
        let mut input = Vec::new();
        for nth in 0.. {
            let Some(heard) = read_request(&mut stream, &mut input, connection, nth).await else {
                return;
            };
            let release = self.release.notified();
            let reply = (self.script)(&heard);
            self.heard.lock().push(heard);
            self.changed.notify_waiters();
            // The peer may have hung up: that is its right.
            let written = match reply {
                Reply::Bytes(bytes) => stream.write_all(&bytes).await,
                Reply::Last(bytes) => {
                    drop(stream.write_all(&bytes).await);
                    drop(stream.shutdown().await);
                    return;
                }
                Reply::Drip(bytes) => drip(&mut stream, &bytes).await,
                Reply::Silence => std::future::pending().await,
                Reply::Held(bytes) => {
                    release.await;
                    stream.write_all(&bytes).await
                }
            };
            if written.is_err() {
                return;
            }
        }
    }
}

async fn drip(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut Vec<u8>,
    connection: usize,
    nth: usize,
) -> Option<Heard> {
    loop {
        if let Some(end) = input
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map(|at| at + 4)
        {
            let head = input[..end].to_vec();
            let length = content_length(&head);
            if input.len() >= end + length {
                let body = input[end..end + length].to_vec();
                input.drain(..end + length);
                return Some(Heard {
                    connection,
                    nth,
                    head,
                    body,
                });
            }
        }
        if stream.read_buf(input).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lengths = text
        .lines()
        .filter_map(|line| line.strip_prefix("content-length: "));
    let length = lengths.next().map_or(0, |length| length.parse().unwrap());
    assert_eq!(lengths.next(), None, "two lengths");
    length
}

/// A whole request without `host` and with nothing else.
pub(crate) fn request(method: &str, target: &[u8]) -> Request {
    Request {
        id: Bytes::from_static(b"id"),
        version: Bytes::from_static(b"1.1"),
        method: Bytes::copy_from_slice(method.as_bytes()),
        target: Bytes::copy_from_slice(target),
        headers: [header(b"host", b"primary")].into_iter().collect(),
        body: Body {
            content: Bytes::new(),
            extent: Extent::Whole,
        },
        ..Request::default()
    }
}

pub(crate) fn header(name: &[u8], value: &[u8]) -> Header {
    Header {
        name: Bytes::copy_from_slice(name),
        value: Bytes::copy_from_slice(value),
    }
}

/// An exchange of the client connection `port`, answered with `status`.
pub(crate) fn exchange(position: u64, port: u16, target: &str, status: u16) -> Arc<Exchange> {
    let client = Some(Endpoint {
        ip: [10, 0, 0, 1].into(),
        port,
    });
    let request = Request {
        client,
        ..request("POST", target.as_bytes())
    };
    let response = Response {
        status,
        ..Response::default()
    };
    Arc::new(Exchange {
        position,
        request: Some(request),
        response: Some(response),
    })
}

/// Everything that was told, in the order in which it was told.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<(u64, Outcome)>>);

impl Outcomes for Told {
    fn done(&self, position: u64, outcome: &Outcome) {
        self.0.lock().push((position, outcome.clone()));
    }
}

impl Told {
    pub(crate) fn all(&self) -> Vec<(u64, Outcome)> {
        self.0.lock().clone()
    }

    /// The statuses of delivered exchanges and the words of the others, by position.
    pub(crate) fn words(&self) -> Vec<(u64, String)> {
        let mut words: Vec<(u64, String)> = self
            .all()
            .into_iter()
            .map(|(position, outcome)| match &outcome {
                Outcome::Delivered(delivered) => (position, delivered.status.to_string()),
                other => (position, other.reason().unwrap().to_owned()),
            })
            .collect();
        words.sort();
        words
    }
}

/// A configuration whose retries are quick.
/// For tests of delivery alone: what is offered is sent as it is, in the order of its connection.
pub(crate) fn config(target: Target) -> Config {
    let mut config = Config::new(target);
    config.order = shadow::order::Level::Connection;
    config.policy = shadow::plan::Policy {
        refused: shadow::plan::Refused::Send,
        no_effect: shadow::plan::NoEffect::Send,
        pin_ids: false,
    };
    config.connections = 8;
    config.retry.first = Duration::from_millis(2);
    config.retry.longest = Duration::from_millis(10);
    config
}

pub(crate) fn sender(origin: &Origin) -> (Sender, Arc<Counters>) {
    sender_with(origin, Timeouts::default(), AnswerLimits::default())
}

pub(crate) fn sender_with(
    origin: &Origin,
    timeouts: Timeouts,
    limits: AnswerLimits,
) -> (Sender, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (
        sender_by(origin.address, timeouts, limits, counters.clone()),
        counters,
    )
}

pub(crate) fn sender_to(address: SocketAddr, timeouts: Timeouts) -> Sender {
    sender_by(address, timeouts, AnswerLimits::default(), Arc::default())
}

fn sender_by(
    address: SocketAddr,
    timeouts: Timeouts,
    limits: AnswerLimits,
    counters: Arc<Counters>,
) -> Sender {
    let target = target_at(address);
    let route = Route::new(
        target,
        &Trust::System,
        Rewrite::default(),
        timeouts,
        limits,
        counters,
    )
    .unwrap();
    Sender::new(Arc::new(route))
}
