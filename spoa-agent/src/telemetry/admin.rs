//! The HTTP server for operators.
//!
//! | path | says |
//! |---|---|
//! | `/metrics` | every metric, as OpenMetrics text |
//! | `/healthz` | 200 while the process serves |
//! | `/readyz` | 200 when the agent can capture, else 503; JSON with the reasons, and notes of what is wrong beside that, such as a Kafka that is away |
//! | `/ledger` | the account of every follower, as JSON |
//! | `/ambiguous` | what may differ on the shadow, a line of JSON each; with `?all` also what was settled |
//!
//! `GET` and `HEAD` only. Of the traffic's content it shows the names of ambiguous documents, no more. It has no passwords, and is bounded:
//! few connections at a time, small heads, no bodies, and an end for every connection.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 32;

/// Bytes of a request's head, and of what is buffered of it.
const MAX_HEAD: usize = 8 * 1024;

const MAX_HEADERS: usize = 64;

/// How long a head may take, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may live in all, so that a reader that does not read cannot hold its place.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

/// How long to wait when the system cannot give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const TEXT: &str = "text/plain; charset=utf-8";

/// Whether the agent can capture now.
pub trait ReadinessSource: Send + Sync + 'static {
    /// Why it cannot; empty when it can. Called for each request, so it must not wait.
    fn obstacles(&self) -> Vec<String>;
}

/// What an operator should know, though it is no obstacle.
pub trait NoteSource: Send + Sync + 'static {
    /// One line each. Called for each request, so it must not wait.
    fn notes(&self) -> Vec<String>;
}

impl<F: Fn() -> Vec<String> + Send + Sync + 'static> NoteSource for F {
    fn notes(&self) -> Vec<String> {
        self()
    }
}

/// The account of every follower.
pub trait LedgerSource: Send + Sync + 'static {
    /// The account as JSON. Called for each request, so it must not wait.
    fn ledger(&self) -> Value;
}

/// What may differ on the shadow.
pub trait AmbiguousSource: Send + Sync + 'static {
    /// Lines of JSON; with `all` also what was settled. It may read a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn lines(&self, all: bool) -> io::Result<Vec<u8>>;
}

impl<F: Fn(bool) -> io::Result<Vec<u8>> + Send + Sync + 'static> AmbiguousSource for F {
    fn lines(&self, all: bool) -> io::Result<Vec<u8>> {
        self(all)
    }
}

impl<F: Fn() -> Vec<String> + Send + Sync + 'static> ReadinessSource for F {
    fn obstacles(&self) -> Vec<String> {
        self()
    }
}

impl<F: Fn() -> Value + Send + Sync + 'static> LedgerSource for F {
    fn ledger(&self) -> Value {
        self()
    }
}

/// What the server shows.
#[derive(Clone)]
pub struct Sources {
    /// The metrics.
    pub registry: Arc<Registry>,
    /// What `/readyz` says.
    pub readiness: Arc<dyn ReadinessSource>,
    /// What `/readyz` says besides: what is wrong around an agent that is ready all the same.
    pub notes: Arc<dyn NoteSource>,
    /// What `/ledger` says.
    pub ledger: Arc<dyn LedgerSource>,
    /// What `/ambiguous` says.
    pub ambiguous: Arc<dyn AmbiguousSource>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sources")
    }
}

/// The server, bound and not yet serving.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Binds `address`, a `host:port`.
    ///
    /// # Errors
    ///
    /// Fails when the host does not resolve or the address cannot be bound.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    ///
    /// Fails when the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, on a thread and a runtime of its own: however much is asked here, it takes no turns from
    /// HAProxy's connections.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no thread.
    pub fn serve_apart(self, sources: Sources, shutdown: CancellationToken) -> io::Result<()> {
        let listener = self.listener.into_std()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => Self { listener }.serve(sources, shutdown).await,
                Err(error) => tracing::error!(%error, "no metrics and no health are served"),
            }
        };
        let thread = std::thread::Builder::new().name("admin".to_owned());
        thread.spawn(move || runtime.block_on(serve)).map(drop)
    }

    /// Serves until `shutdown`; then lets answers under way finish and returns.
    pub async fn serve(self, sources: Sources, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        while let Some((stream, place)) = self.accept(&places, &shutdown).await {
            let sources = sources.clone();
            connections.spawn(connection(stream, place, sources, shutdown.clone()));
        }
        connections.close();
        connections.wait().await;
    }

    /// The next connection with its place, or `None` at the end.
    async fn accept(
        &self,
        places: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let next = async {
            // The semaphore is never closed; were it, there would be nothing to serve.
            let place = Arc::clone(places).acquire_owned().await.ok()?;
            loop {
                match self.listener.accept().await {
                    Ok((stream, _peer)) => return Some((stream, place)),
                    Err(error) => {
                        tracing::debug!(%error, "admin connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        shutdown.run_until_cancelled(next).await.flatten()
    }
}

async fn connection(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    sources: Sources,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let sources = sources.clone();
        async move {
            let reads_a_file = request.uri().path() == "/ambiguous";
            Ok::<_, Infallible>(match reads_a_file {
                false => respond(&request, &sources),
                true => tokio::task::spawn_blocking(move || respond(&request, &sources))
                    .await
                    .unwrap_or_else(|error| failed(&error)),
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let served = tokio::time::timeout(CONNECTION_LIFETIME, async {
        let mut served = std::pin::pin!(served);
        tokio::select! {
            result = &mut served => return result,
            () = shutdown.cancelled() => {}
        }
        served.as_mut().graceful_shutdown();
        served.await
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection ended"),
        Err(_elapsed) => tracing::debug!(limit = ?CONNECTION_LIFETIME, "admin connection cut"),
    }
}

fn respond<B>(request: &Request<B>, sources: &Sources) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => metrics(&sources.registry),
        "/healthz" => answer(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => readiness(&sources.readiness.obstacles(), &sources.notes.notes()),
        "/ledger" => answer(
            StatusCode::OK,
            JSON,
            format!("{:#}\n", sources.ledger.ledger()),
        ),
        "/ambiguous" => {
            let all = request.uri().query() == Some("all");
            match sources.ambiguous.lines(all) {
                Ok(lines) => answer(StatusCode::OK, LINES, lines),
                Err(error) => failed(&error),
            }
        }
        "/" => answer(
            StatusCode::OK,
            TEXT,
            "/metrics\n/healthz\n/readyz\n/ledger\n/ambiguous\n",
        ),
        _other => answer(StatusCode::NOT_FOUND, TEXT, "see / for what there is\n"),
    }
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => answer(StatusCode::OK, OPEN_METRICS, text),
        Err(error) => failed(&error),
    }
}

fn readiness(obstacles: &[String], notes: &[String]) -> Response<Full<Bytes>> {
    let is_ready = obstacles.is_empty();
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({ "ready": is_ready, "reasons": obstacles, "notes": notes });
    answer(status, JSON, format!("{body}\n"))
}

fn failed(error: &dyn fmt::Display) -> Response<Full<Bytes>> {
    answer(
        StatusCode::INTERNAL_SERVER_ERROR,
        TEXT,
        format!("{error}\n"),
    )
}

/// An answer; hyper leaves its body out for `HEAD` and keeps its length.
fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    struct Server {
        address: SocketAddr,
        ready: Arc<AtomicBool>,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
    }

    impl Server {
        async fn start() -> Self {
            let mut registry = Registry::default();
            let counter: Counter = Counter::default();
            counter.inc_by(42);
            registry.register("answers", "Answers", counter);
            let ready = Arc::new(AtomicBool::new(true));
            let is_ready = Arc::clone(&ready);
            let obstacles = move || match is_ready.load(Ordering::Relaxed) {
                true => Vec::new(),
                false => vec!["the journal is full".to_owned()],
            };
            let sources = Sources {
                registry: Arc::new(registry),
                readiness: Arc::new(obstacles),
                notes: Arc::new(|| vec!["kafka is away".to_owned()]),
                ledger: Arc::new(|| json!({ "shadow": { "read": 3 } })),
                ambiguous: Arc::new(|all| match all {
                    true => Ok(b"{}\n{}\n".to_vec()),
                    false => Ok(b"{}\n".to_vec()),
                }),
            };
            let admin = Admin::bind("127.0.0.1:0").await.unwrap();
            let address = admin.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(admin.serve(sources, shutdown.clone()));
            Self {
                address,
                ready,
                shutdown,
                task,
            }
        }

        /// Sends bytes and reads until the server closes.
        async fn says(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // A server that has refused may reset the connection behind its answer.
            stream.read_to_end(&mut answer).await.unwrap_or_default();
            String::from_utf8(answer).unwrap()
        }

        async fn answers(&self, method: &str, path: &str) -> String {
            self.says(&format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await
        }
    }

    fn body(answer: &str) -> &str {
        answer.split_once("\r\n\r\n").unwrap().1
    }

    #[tokio::test]
    async fn metrics_are_told_as_openmetrics_text() {
        let server = Server::start().await;
        let answer = server.answers("GET", "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("application/openmetrics-text"), "{answer}");
        assert!(body(&answer).contains("answers_total 42\n"), "{answer}");
        assert!(body(&answer).ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_follows_its_source_and_gives_the_reasons() {
        let server = Server::start().await;
        let answer = server.answers("GET", "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        server.ready.store(false, Ordering::Relaxed);
        let answer = server.answers("GET", "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        let said: Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(
            said,
            json!({ "ready": false, "reasons": ["the journal is full"], "notes": ["kafka is away"] })
        );
        let answer = server.answers("GET", "/healthz").await;
        assert!(
            answer.starts_with("HTTP/1.1 200"),
            "alive all the same: {answer}"
        );
    }

    #[tokio::test]
    async fn the_ledger_is_json() {
        let server = Server::start().await;
        let said: Value =
            serde_json::from_str(body(&server.answers("GET", "/ledger?pretty").await)).unwrap();
        assert_eq!(said["shadow"]["read"], 3);
    }

    #[tokio::test]
    async fn what_is_ambiguous_is_lines_and_what_was_settled_is_among_them_only_when_asked_for() {
        let server = Server::start().await;
        let open = server.answers("GET", "/ambiguous").await;
        assert!(
            open.contains("content-type: application/x-ndjson"),
            "{open}"
        );
        assert_eq!(body(&open), "{}\n");
        let all = server.answers("GET", "/ambiguous?all").await;
        assert_eq!(body(&all), "{}\n{}\n");
    }

    #[tokio::test]
    async fn head_is_get_without_the_body() {
        let server = Server::start().await;
        let get = server.answers("GET", "/healthz").await;
        let head = server.answers("HEAD", "/healthz").await;
        assert_eq!(body(&get), "ok\n");
        assert_eq!(body(&head), "");
        assert!(head.contains("content-length: 3\r\n"), "{head}");
    }

    #[tokio::test]
    async fn other_methods_and_paths_are_refused() {
        let server = Server::start().await;
        let answer = server.answers("POST", "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
        assert!(
            server
                .answers("GET", "/nope")
                .await
                .starts_with("HTTP/1.1 404")
        );
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let server = Server::start().await;
        let endless = format!(
            "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
            "y".repeat(2 * MAX_HEAD)
        );
        let answer = server.says(&endless).await;
        assert!(
            answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
            "{answer}"
        );
        let many = "x: y\r\n".repeat(MAX_HEADERS + 1);
        let answer = server
            .says(&format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_served_when_another_ends() {
        let server = Server::start().await;
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream
                .write_all(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).await.unwrap();
            idle.push(stream);
        }
        let end_one = async { drop(idle.pop()) };
        let ((), answer) = tokio::join!(end_one, server.answers("GET", "/healthz"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn it_ends_when_told_also_with_an_idle_connection() {
        let server = Server::start().await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 1];
        idle.read_exact(&mut first).await.unwrap();
        server.shutdown.cancel();
        server.task.await.unwrap();
    }
}
