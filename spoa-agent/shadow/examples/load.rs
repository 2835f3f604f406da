//! What the follower costs: sends exchanges to a target in another process, and prints exchanges per
//! second and processor time per exchange of this process alone. First it prints the floor: the same
//! bytes over the same number of connections with one blocking write and one blocking read each.
//!
//! ```sh
//! cargo run --release -p shadow --example load -- [exchanges] [connections] [body bytes] [threads]
//! ```

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use exchange::{Body, Endpoint, Exchange, Extent, Header, Request};
use shadow::{Config, Engine, Outcome, Outcomes, Target};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "target") {
        return target();
    }
    let number = |at: usize, default: usize| match arguments.get(at) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (exchanges, connections) = (number(0, 200_000)?, number(1, 32)?);
    let (body, threads) = (number(2, 300)?, number(3, 1)?);
    let mut child = Command::new(std::env::current_exe()?)
        .arg("target")
        .stdout(Stdio::piped())
        .spawn()?;
    let ran = measure(&mut child, exchanges, connections, body, threads);
    child.kill()?;
    child.wait()?;
    ran
}

fn measure(
    child: &mut Child,
    exchanges: usize,
    connections: usize,
    body: usize,
    threads: usize,
) -> Result<(), Error> {
    let mut port = String::new();
    let stdout = child.stdout.take().ok_or("no output of the target")?;
    BufReader::new(stdout).read_line(&mut port)?;
    let address = format!("127.0.0.1:{}", port.trim());
    let load: Vec<Arc<Exchange>> = (0..exchanges).map(|n| exchange(n, body)).collect();
    println!(
        "{exchanges} exchanges, {connections} connections, {body} bytes of body, {threads} threads"
    );
    timed("floor", exchanges, || {
        floor(&address, exchanges, connections, body)
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    timed("shadow", exchanges, || {
        runtime.block_on(follow(&address, load, connections))
    })
}

fn timed(
    what: &str,
    exchanges: usize,
    run: impl FnOnce() -> Result<u64, Error>,
) -> Result<(), Error> {
    let (began, [user, system]) = (Instant::now(), processor_time()?);
    let delivered = run()?;
    let (took, [user_after, system_after]) = (began.elapsed(), processor_time()?);
    let each = |before: u64, after: u64| (after - before) as f64 * 1e4 / exchanges as f64;
    let rate = exchanges as f64 / took.as_secs_f64();
    println!(
        "{what}: {delivered} delivered, {rate:.0}/s, processor time for each: {:.1} us user, {:.1} us system",
        each(user, user_after),
        each(system, system_after),
    );
    Ok(())
}

async fn follow(address: &str, load: Vec<Arc<Exchange>>, connections: usize) -> Result<u64, Error> {
    let told = Arc::new(Delivered::default());
    let mut config = Config::new(Target::parse(&format!("http://{address}"))?);
    config.connections = connections;
    let engine = Engine::start(config, told.clone())?;
    for exchange in load {
        engine.offer(exchange).await?;
    }
    engine.settled().await;
    Ok(told.0.load(Ordering::Relaxed))
}

fn floor(address: &str, exchanges: usize, connections: usize, body: usize) -> Result<u64, Error> {
    // As long as the head that the follower writes.
    let mut request = format!("POST /{} HTTP/1.1\r\n", "x".repeat(420)).into_bytes();
    request.extend_from_slice(format!("content-length: {body}\r\n\r\n").as_bytes());
    request.resize(request.len() + body, b'x');
    let request = Arc::new(request);
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            let (address, request) = (address.to_owned(), request.clone());
            std::thread::spawn(move || -> std::io::Result<u64> {
                let mut tcp = TcpStream::connect(address)?;
                tcp.set_nodelay(true)?;
                let mut some = vec![0; 16 * 1024];
                let mut delivered = 0;
                for _ in 0..exchanges / connections {
                    tcp.write_all(&request)?;
                    delivered += u64::from(tcp.read(&mut some)? > 0);
                }
                Ok(delivered)
            })
        })
        .collect();
    let mut delivered = 0;
    for thread in threads {
        delivered += thread.join().map_err(|_| "a thread of the floor died")??;
    }
    Ok(delivered)
}

#[derive(Default)]
struct Delivered(AtomicU64);

impl Outcomes for Delivered {
    fn done(&self, _: u64, outcome: &Outcome) {
        if matches!(outcome, Outcome::Delivered(_)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn exchange(number: usize, body: usize) -> Arc<Exchange> {
    let header = |name: &'static str, value: &'static str| Header {
        name: Bytes::from_static(name.as_bytes()),
        value: Bytes::from_static(value.as_bytes()),
    };
    let headers = [
        header("host", "search.example:9200"),
        header(
            "user-agent",
            "elasticsearch-py/8.12.0 (Python/3.11.2; elastic-transport/8.12.0)",
        ),
        header(
            "accept",
            "application/vnd.elasticsearch+json; compatible-with=8",
        ),
        header(
            "content-type",
            "application/vnd.elasticsearch+json; compatible-with=8",
        ),
        header(
            "x-elastic-client-meta",
            "es=8.12.0,py=3.11.2,t=8.12.0,ur=2.0.7",
        ),
        header("accept-encoding", "gzip, deflate"),
        header("content-length", "0"),
        header("connection", "keep-alive"),
        header("authorization", "***"),
        header("x-forwarded-for", "10.0.0.7"),
    ];
    // 64 client connections.
    let port = 40_000 + u16::try_from(number % 64).unwrap_or_default();
    let request = Request {
        id: Bytes::from(format!("9b2f7c1e-0000-4000-8000-{number:012}")),
        client: Some(Endpoint {
            ip: [10, 0, 0, 7].into(),
            port,
        }),
        version: Bytes::from_static(b"1.1"),
        method: Bytes::from_static(b"POST"),
        target: Bytes::from_static(b"/logs-2026.11/_search?typed_keys=true&request_cache=false"),
        headers: headers.into_iter().collect(),
        body: Body {
            content: Bytes::from(vec![b'x'; body]),
            extent: Extent::Whole,
        },
        ..Request::default()
    };
    Arc::new(Exchange {
        position: number as u64,
        request: Some(request),
        response: None,
    })
}

/// User and system time of this process in hundredths of a second (proc(5), `stat`, fields 14 and 15).
fn processor_time() -> Result<[u64; 2], Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let mut fields = stat
        .rsplit(')')
        .next()
        .ok_or("no fields")?
        .split_whitespace()
        .skip(11);
    let mut field = || fields.next().ok_or("too few fields");
    Ok([field()?.parse()?, field()?.parse()?])
}

/// Answers everything, a thread for each connection.
fn target() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for tcp in listener.incoming() {
        let tcp = tcp?;
        std::thread::spawn(move || answer_all(tcp));
    }
    Ok(())
}

fn answer_all(mut tcp: TcpStream) -> std::io::Result<()> {
    let answer = "{\"took\":1,\"timed_out\":false,\"_shards\":{\"total\":1,\"successful\":1,\"skipped\":0,\
        \"failed\":0},\"hits\":{\"total\":{\"value\":0,\"relation\":\"eq\"},\"max_score\":null,\"hits\":[]}}";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\n\
         content-type: application/vnd.elasticsearch+json;compatible-with=8\r\n\
         content-length: {}\r\n\r\n{answer}",
        answer.len()
    );
    tcp.set_nodelay(true)?;
    let mut input = Vec::new();
    let mut some = vec![0; 64 * 1024];
    loop {
        while let Some(length) = whole_request(&input) {
            input.drain(..length);
            tcp.write_all(answer.as_bytes())?;
        }
        match tcp.read(&mut some)? {
            0 => return Ok(()),
            count => input.extend_from_slice(some.get(..count).unwrap_or_default()),
        }
    }
}

/// The length of the first request in `input`, if all of it is there.
fn whole_request(input: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = request.parse(input) else {
        return None;
    };
    let length = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body = length.map_or(Some(0), |field| {
        std::str::from_utf8(field.value).ok()?.parse().ok()
    })?;
    (input.len() >= head + body).then_some(head + body)
}
