//! One connection to the target, kept alive, one request at a time: [`Sender`].
//!
//! It speaks HTTP/1.1 itself, on tokio, rustls and httparse. The usual clients cannot keep law 6 ("the
//! shadow gets the request as the primary got it"): the `http` crate's `Uri`, which hyper and reqwest
//! are built on, refuses `<`, `>` and the backquote in a target, cuts it at `#` and ends it at 65,534
//! bytes, and its `HeaderMap` puts repeated fields together and loses their place among the others.
//!
//! Waiting, order and repetition are [`crate::engine`]'s business, with one exception: see
//! [`Sender::send_and_keep`]. What goes out is written by [`crate::outgoing`], what comes back is read by
//! [`crate::incoming`].

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use exchange::Request;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::counters::{add, count};
use crate::incoming::Reader;
use crate::outgoing::{write_head, write_probe};
use crate::{
    Answer, AnswerError, AnswerLimits, Counters, Rewrite, Target, Trust, TrustError, Unsendable,
};

/// What all connections to one target share.
#[derive(Debug)]
pub struct Route {
    target: Target,
    host: String,
    authority: String,
    tls: Option<(TlsConnectorDebug, ServerName<'static>)>,
    rewrite: Rewrite,
    timeouts: Timeouts,
    limits: AnswerLimits,
    counters: Arc<Counters>,
}

/// How long the target may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To resolve the name, connect and shake hands.
    pub connect: Duration,
    /// To take the whole request.
    pub write: Duration,
    /// To take the request and answer it to the end.
    pub response: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            write: Duration::from_secs(30),
            response: Duration::from_secs(60),
        }
    }
}

/// How long it took, from the beginning of the last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Until there was a connection. Zero when one was kept.
    pub connect: Duration,
    /// Until the first byte of the answer. `None` when none came.
    pub first_byte: Option<Duration>,
    /// Until the answer's end, or the failure.
    pub end: Duration,
}

/// What became of one call of [`Sender::send`].
#[derive(Debug)]
pub struct Sent {
    /// How many times the request was begun on a connection.
    pub attempts: u32,
    /// Of the last attempt.
    pub timing: Timing,
    /// The answer, or why there is none.
    pub result: Result<Answer, SendError>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The request cannot be said in HTTP/1.1. Nothing was sent.
    #[error("cannot be sent: {0}")]
    Unsendable(#[from] Unsendable),
    /// No connection: name, route or port.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No connection in time.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// A connection, but no TLS on it. A refused certificate is among these.
    #[error("cannot begin TLS: {0}")]
    Tls(io::Error),
    /// The connection ended before the answer did.
    #[error("the connection was closed: {error}")]
    Closed {
        /// What the system said.
        error: io::Error,
        /// Whether nothing at all had come back.
        silent: bool,
        /// The status, if it had come.
        status: Option<u16>,
    },
    /// The target did not take the request in time.
    #[error("the request was not taken within {0:?}")]
    WriteTimeout(Duration),
    /// The answer was not complete in time.
    #[error("no whole answer within {limit:?}")]
    ResponseTimeout {
        /// The configured time.
        limit: Duration,
        /// The status, if it had come.
        status: Option<u16>,
    },
    /// What came is not an answer.
    #[error("{0}")]
    Answer(AnswerError),
}

impl SendError {
    /// The word for it, as metrics and logs use it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unsendable(_) => "unsendable",
            Self::Connect(_) => "connect",
            Self::ConnectTimeout(_) => "connect timeout",
            Self::Tls(_) => "tls",
            Self::Closed { .. } => "closed",
            Self::WriteTimeout(_) => "write timeout",
            Self::ResponseTimeout { .. } => "response timeout",
            Self::Answer(_) => "malformed answer",
        }
    }

    /// Whether the request never reached the target.
    #[must_use]
    pub const fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::ConnectTimeout(_) | Self::Tls(_)
        )
    }

    /// The status, if it had come before the failure.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Closed { status, .. } | Self::ResponseTimeout { status, .. } => *status,
            _ => None,
        }
    }
}

impl Route {
    /// Prepares connections to `target`; nothing is connected yet.
    ///
    /// # Errors
    /// When the target is `https` and the certificate authorities, or the follower's own certificate, cannot be
    /// read.
    pub fn new(
        target: Target,
        trust: &Trust,
        rewrite: Rewrite,
        timeouts: Timeouts,
        limits: AnswerLimits,
        counters: Arc<Counters>,
    ) -> Result<Self, TrustError> {
        let certificate = rewrite.identity.certificate.as_ref();
        let tls = match target.server_name() {
            Some(name) if target.is_encrypted() => {
                let connector = TlsConnector::from(crate::tls::client_config(trust, certificate)?);
                Some((TlsConnectorDebug(connector), name))
            }
            _ => None,
        };
        let (host, authority) = (target.host(), target.authority());
        Ok(Self {
            target,
            host,
            authority,
            tls,
            rewrite,
            timeouts,
            limits,
            counters,
        })
    }

    /// Where it leads.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    async fn connect(&self) -> Result<Stream, SendError> {
        let limit = self.timeouts.connect;
        let connected = match timeout_at(Instant::now() + limit, Box::pin(self.try_connect())).await
        {
            Ok(connected) => connected,
            Err(_) => Err(SendError::ConnectTimeout(limit)),
        };
        match &connected {
            Ok(_) => count(&self.counters.connects),
            Err(_) => count(&self.counters.connect_failures),
        }
        connected
    }

    async fn try_connect(&self) -> Result<Stream, SendError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.target.port()))
            .await
            .map_err(SendError::Connect)?;
        tcp.set_nodelay(true).map_err(SendError::Connect)?;
        let Some((TlsConnectorDebug(connector), name)) = &self.tls else {
            return Ok(Stream::Plain(tcp));
        };
        let tls = connector
            .connect(name.clone(), tcp)
            .await
            .map_err(SendError::Tls)?;
        Ok(Stream::Tls(Box::new(tls)))
    }
}

/// `TlsConnector` has no `Debug`.
struct TlsConnectorDebug(TlsConnector);

impl std::fmt::Debug for TlsConnectorDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConnector")
    }
}

/// A connection to the target that is made when it is needed and kept while it lasts.
#[derive(Debug)]
pub struct Sender {
    route: Arc<Route>,
    kept: Option<Stream>,
    head: Vec<u8>,
    input: BytesMut,
    /// One timer for all requests: moving it is cheaper than making one.
    timer: Pin<Box<Sleep>>,
}

impl Sender {
    /// A sender without a connection.
    #[must_use]
    pub fn new(route: Arc<Route>) -> Self {
        Self {
            route,
            kept: None,
            head: Vec::new(),
            input: BytesMut::new(),
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// [`Sender::send_and_keep`], with [`AnswerLimits::keep`].
    pub async fn send(&mut self, request: &Request) -> Sent {
        self.send_and_keep(request, self.route.limits.keep).await
    }

    /// Sends the request and reads the answer to its end.
    ///
    /// The target may close a kept connection at any time, also just when the next request is on its
    /// way. So a request that fails on a *kept* connection before any byte of the answer came is sent
    /// once more, on a fresh one. HTTP allows this for idempotent requests only, because the target may
    /// have done the first one before it closed: the caller sees that in [`Sent::attempts`]. The
    /// alternative, to give up, would lose a write for sure to avoid a second one that is unlikely.
    ///
    /// Of the answer's body, the first `keep` bytes are kept.
    ///
    /// Dropping the future closes the connection. Whether `request.body` is whole is the caller's business.
    pub async fn send_and_keep(&mut self, request: &Request, keep: usize) -> Sent {
        self.send_as(request, keep, false).await
    }

    /// The same for a request that must not be done twice: it is begun on one connection and never repeated
    /// here, whatever became of it.
    pub async fn send_once(&mut self, request: &Request, keep: usize) -> Sent {
        self.send_as(request, keep, true).await
    }

    async fn send_as(&mut self, request: &Request, keep: usize, once: bool) -> Sent {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        let written = write_head(
            request,
            &self.route.rewrite,
            &self.route.authority,
            SystemTime::now(),
            &mut head,
        );
        let sent = match written {
            Ok(()) => {
                let bodiless = request.method.as_ref() == b"HEAD";
                self.deliver(Outgoing {
                    head: &head,
                    body: &request.body.content,
                    bodiless,
                    keep,
                    once,
                })
                .await
            }
            Err(unsendable) => Sent {
                attempts: 0,
                timing: Timing::default(),
                result: Err(unsendable.into()),
            },
        };
        self.give_back(head);
        sent
    }

    /// Asks `HEAD /`, to see whether the target answers at all, within `limit`.
    pub async fn probe(&mut self, limit: Duration) -> Sent {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        write_probe(
            &self.route.rewrite,
            &self.route.authority,
            SystemTime::now(),
            &mut head,
        );
        count(&self.route.counters.probes);
        let outgoing = Outgoing {
            head: &head,
            body: &[],
            bodiless: true,
            keep: 0,
            once: false,
        };
        // A kept connection proves nothing about new ones.
        self.kept = None;
        let sent = match timeout_at(Instant::now() + limit, self.deliver(outgoing)).await {
            Ok(sent) => sent,
            Err(_) => Sent {
                attempts: 1,
                timing: Timing::default(),
                result: Err(SendError::ResponseTimeout {
                    limit,
                    status: None,
                }),
            },
        };
        self.give_back(head);
        sent
    }

    /// One long target must not hold memory for as long as the sender lives.
    fn give_back(&mut self, head: Vec<u8>) {
        const LARGEST_KEPT: usize = 128 * 1024;
        if head.capacity() <= LARGEST_KEPT {
            self.head = head;
        }
        if self.input.capacity() > LARGEST_KEPT {
            self.input = BytesMut::new();
        }
    }

    async fn deliver(&mut self, outgoing: Outgoing<'_>) -> Sent {
        let kept = self.take_live().await;
        let mut may_be_stale = kept.is_some() && !outgoing.once;
        let mut attempt = self.attempt(kept, outgoing).await;
        let mut attempts = 1;
        if may_be_stale && matches!(attempt.1, Err(SendError::Closed { silent: true, .. })) {
            count(&self.route.counters.stale_retries);
            may_be_stale = false;
            attempts += 1;
            attempt = self.attempt(None, outgoing).await;
        }
        debug_assert!(attempts == 1 || !may_be_stale);
        let (timing, result) = attempt;
        Sent {
            attempts,
            timing,
            result,
        }
    }

    /// The kept connection, unless the target has closed it or said something since.
    async fn take_live(&mut self) -> Option<Stream> {
        let mut stream = self.kept.take()?;
        self.input.clear();
        self.input.reserve(1);
        let input = &mut self.input;
        // Costs no system call as long as the kernel has nothing to tell.
        let quiet =
            poll_fn(|cx| Poll::Ready(pin!(stream.read_buf(input)).poll(cx).is_pending())).await;
        quiet.then_some(stream)
    }

    async fn attempt(
        &mut self,
        kept: Option<Stream>,
        outgoing: Outgoing<'_>,
    ) -> (Timing, Result<Answer, SendError>) {
        let began = Instant::now();
        let mut timing = Timing::default();
        count(&self.route.counters.attempts);
        let stream = match kept {
            Some(stream) => stream,
            None => match self.route.connect().await {
                Ok(stream) => {
                    timing.connect = began.elapsed();
                    stream
                }
                Err(error) => {
                    timing.end = began.elapsed();
                    return (timing, Err(error));
                }
            },
        };
        self.input.clear();
        let mut talk = Talk::new(
            &self.route,
            stream,
            &mut self.input,
            outgoing,
            self.timer.as_mut(),
        );
        let result = poll_fn(|cx| talk.poll(cx)).await;
        timing.first_byte = talk.first_byte.map(|at| at.duration_since(began));
        timing.end = began.elapsed();
        let result = match result {
            Ok(()) => talk.into_answer().map(|(answer, stream)| {
                self.kept = stream;
                answer
            }),
            Err(error) => Err(error),
        };
        (timing, result)
    }
}

/// What goes out.
#[derive(Clone, Copy, Debug)]
struct Outgoing<'a> {
    head: &'a [u8],
    body: &'a [u8],
    /// It is a HEAD.
    bodiless: bool,
    /// Bytes of the answer's body to keep.
    keep: usize,
    /// Never sent again on another connection.
    once: bool,
}

/// One request on its way and its answer, at the same time: a target that answers before it has read
/// the whole request, and then reads no more, must not stop both.
struct Talk<'a> {
    stream: Stream,
    out: bytes::buf::Chain<&'a [u8], &'a [u8]>,
    /// The request is not all out.
    writing: bool,
    /// Writing failed. The answer may be here all the same: `413`, and then the door.
    broken: Option<io::Error>,
    input: &'a mut BytesMut,
    reader: Reader,
    first_byte: Option<Instant>,
    timer: Pin<&'a mut Sleep>,
    response_due: Instant,
    timeouts: Timeouts,
    counters: &'a Counters,
}

impl<'a> Talk<'a> {
    fn new(
        route: &'a Route,
        stream: Stream,
        input: &'a mut BytesMut,
        outgoing: Outgoing<'a>,
        mut timer: Pin<&'a mut Sleep>,
    ) -> Self {
        let now = Instant::now();
        let response_due = now + route.timeouts.response;
        timer
            .as_mut()
            .reset(response_due.min(now + route.timeouts.write));
        Self {
            stream,
            out: Buf::chain(outgoing.head, outgoing.body),
            writing: true,
            broken: None,
            input,
            reader: Reader::new(
                AnswerLimits {
                    keep: outgoing.keep,
                    ..route.limits
                },
                outgoing.bodiless,
            ),
            first_byte: None,
            timer,
            response_due,
            timeouts: route.timeouts,
            counters: &route.counters,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.writing {
            self.poll_write(cx);
        }
        if let Poll::Ready(read) = self.poll_read(cx) {
            return Poll::Ready(read);
        }
        self.poll_timer(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) {
        while self.out.has_remaining() {
            let Poll::Ready(written) = pin!(self.stream.write_buf(&mut self.out)).poll(cx) else {
                return;
            };
            match written {
                Ok(0) => return self.stop_writing(Some(io::ErrorKind::WriteZero.into())),
                Ok(count) => add(&self.counters.bytes_sent, count as u64),
                Err(error) => return self.stop_writing(Some(error)),
            }
        }
        match pin!(self.stream.flush()).poll(cx) {
            Poll::Ready(Ok(())) => self.stop_writing(None),
            Poll::Ready(Err(error)) => self.stop_writing(Some(error)),
            Poll::Pending => {}
        }
    }

    fn stop_writing(&mut self, broken: Option<io::Error>) {
        self.writing = false;
        self.broken = broken;
        self.timer.as_mut().reset(self.response_due);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        const READ: usize = 16 * 1024;
        loop {
            if self.input.capacity() - self.input.len() < READ / 4 {
                self.input.reserve(READ);
            }
            let Poll::Ready(read) = pin!(self.stream.read_buf(self.input)).poll(cx) else {
                return Poll::Pending;
            };
            match read {
                Ok(0) => return Poll::Ready(self.closed(io::ErrorKind::UnexpectedEof.into())),
                // rustls says so when the target ends the connection without ending TLS first.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(self.closed(error));
                }
                Err(error) => return Poll::Ready(Err(self.closed_error(error))),
                Ok(count) => add(&self.counters.bytes_received, count as u64),
            }
            self.first_byte.get_or_insert_with(Instant::now);
            match self.reader.read(self.input) {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(SendError::Answer(error))),
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let write_timed_out = self.writing && Instant::now() < self.response_due;
        Poll::Ready(Err(if write_timed_out {
            SendError::WriteTimeout(self.timeouts.write)
        } else {
            let limit = self.timeouts.response;
            SendError::ResponseTimeout {
                limit,
                status: self.reader.status(),
            }
        }))
    }

    /// The connection has ended: that may be how the answer ends.
    fn closed(&mut self, error: io::Error) -> Result<(), SendError> {
        self.reader.closed().map_err(|_| self.closed_error(error))
    }

    fn closed_error(&mut self, error: io::Error) -> SendError {
        SendError::Closed {
            error: self.broken.take().unwrap_or(error),
            silent: self.first_byte.is_none(),
            status: self.reader.status(),
        }
    }

    /// The answer, and the connection if it can carry another request.
    fn into_answer(self) -> Result<(Answer, Option<Stream>), SendError> {
        let whole_request = !self.writing && self.broken.is_none();
        let answer = self.reader.into_answer(!self.input.is_empty());
        // Done means that there is a status.
        let answer = answer.ok_or(SendError::Answer(AnswerError::Cut))?;
        let stream = (answer.reusable && whole_request).then_some(self.stream);
        Ok((answer, stream))
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
