//! What order costs: sends the same journal to a target in another process at each level of order, in turns,
//! and prints exchanges per second and processor time per exchange. The journal is that of 64 clients that index,
//! update, read, search and bulk-index documents of some indices, with the answers of a primary.
//!
//! ```sh
//! cargo run --release -p shadow --example order_load -- [exchanges] [connections] [keys] [delay us] [rounds] [variants]
//! ```
//!
//! The delay is how long the target takes for a request (a `_bulk` ten times that). Variants: `none`, `connection`,
//! `causal`, each also with `+adaptive`.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::indexing_slicing, reason = "it indexes what it made itself")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use exchange::{Body, Endpoint, Exchange, Extent, Header, Request, Response};
use shadow::order::Level;
use shadow::{Config, Engine, Outcome, Outcomes, Target};

type Error = Box<dyn std::error::Error>;

const CLIENTS: usize = 64;
const INDICES: u64 = 8;
const BULK: u64 = 10;

struct Load {
    exchanges: usize,
    connections: usize,
    keys: u64,
    delay_us: u64,
    rounds: usize,
    variants: Vec<String>,
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "target") {
        let delay = arguments.get(1).ok_or("no delay")?.parse()?;
        return target(Duration::from_micros(delay));
    }
    let number = |at: usize, default: u64| match arguments.get(at) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let variants = arguments.get(5).map_or("none,causal,connection", |it| it);
    let load = Load {
        exchanges: usize::try_from(number(0, 100_000)?)?,
        connections: usize::try_from(number(1, 32)?)?,
        keys: number(2, 20_000)?,
        delay_us: number(3, 0)?,
        rounds: usize::try_from(number(4, 5)?)?,
        variants: variants.split(',').map(str::to_owned).collect(),
    };
    let mut child = Command::new(std::env::current_exe()?)
        .args(["target", &load.delay_us.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let ran = measure(&mut child, &load);
    child.kill()?;
    child.wait()?;
    ran
}

fn measure(child: &mut Child, load: &Load) -> Result<(), Error> {
    let mut port = String::new();
    let stdout = child.stdout.take().ok_or("no output of the target")?;
    BufReader::new(stdout).read_line(&mut port)?;
    let address = format!("127.0.0.1:{}", port.trim());
    let journal = Journal::of(load);
    println!(
        "{} exchanges, {} connections, {} keys, {} us a request, {} rounds in turns",
        load.exchanges, load.connections, load.keys, load.delay_us, load.rounds
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut rates: HashMap<&str, Vec<(f64, f64)>> = HashMap::new();
    for round in 0..load.rounds {
        for at in 0..load.variants.len() {
            let variant = &load.variants[(at + round) % load.variants.len()];
            let (began, cpu) = (Instant::now(), processor_time()?);
            let delivered = runtime.block_on(follow(&address, &journal, load, variant))?;
            let rate = delivered as f64 / began.elapsed().as_secs_f64();
            let each = (processor_time()? - cpu) as f64 * 1e4 / delivered as f64;
            rates.entry(variant).or_default().push((rate, each));
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let of = |variant: &str| {
        let measured = &rates[variant];
        let rate = median(measured.iter().map(|(rate, _)| *rate).collect());
        (
            rate,
            median(measured.iter().map(|(_, each)| *each).collect()),
        )
    };
    let (first, _) = of(&load.variants[0]);
    for variant in &load.variants {
        let (rate, each) = of(variant);
        println!(
            "{variant}: {rate:.0}/s, {each:.1} us of processor time each, {:.2} of {}",
            rate / first,
            load.variants[0]
        );
    }
    Ok(())
}

async fn follow(
    address: &str,
    journal: &Journal,
    load: &Load,
    variant: &str,
) -> Result<u64, Error> {
    let told = Arc::new(Delivered::default());
    let mut config = Config::new(Target::parse(&format!("http://{address}"))?);
    let (level, adaptive) = match variant.split_once('+') {
        Some((level, _)) => (level, true),
        None => (variant, false),
    };
    config.order = match level {
        "none" => Level::None,
        "connection" => Level::Connection,
        "causal" => Level::Causal,
        other => return Err(format!("no such level: {other}").into()),
    };
    config.adaptive = adaptive;
    config.connections = load.connections;
    let engine = Engine::start(config, told.clone())?;
    for event in &journal.events {
        match event {
            Event::Begun(exchange) => {
                let request = exchange.request.as_ref().ok_or("no request")?;
                engine.begun(exchange.position, request);
            }
            Event::Complete(exchange) => engine.offer(Arc::clone(exchange)).await?,
        }
    }
    engine.settled().await;
    let delivered = told.0.load(Ordering::Relaxed);
    if delivered != load.exchanges as u64 {
        return Err(format!("only {delivered} delivered").into());
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

enum Event {
    Begun(Arc<Exchange>),
    Complete(Arc<Exchange>),
}

/// What the primary answered, as the journal tells it.
struct Journal {
    events: Vec<Event>,
    writes: u64,
    random: u64,
    keys: u64,
}

impl Journal {
    fn of(load: &Load) -> Self {
        let mut journal = Self {
            events: Vec::with_capacity(2 * load.exchanges),
            writes: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            keys: load.keys,
        };
        let mut open: Vec<Option<Arc<Exchange>>> = (0..CLIENTS).map(|_| None).collect();
        for position in 1..=load.exchanges {
            let client = usize::try_from(journal.roll(CLIENTS as u64)).unwrap_or_default();
            if let Some(before) = open[client].take() {
                journal.events.push(Event::Complete(before));
            }
            let exchange = Arc::new(journal.exchange(position, client));
            journal.events.push(Event::Begun(exchange.clone()));
            open[client] = Some(exchange);
        }
        let rest = open.into_iter().flatten().map(Event::Complete);
        journal.events.extend(rest);
        journal
    }

    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64 (Marsaglia 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % sides
    }

    fn exchange(&mut self, position: usize, client: usize) -> Exchange {
        let key = self.roll(self.keys);
        let index = key % INDICES;
        let (method, target, body, status, answer) = match self.roll(100) {
            0..35 => {
                let answer = self.written(key, "created");
                (
                    "PUT",
                    format!("/logs-{index}/_doc/{key}"),
                    document(key),
                    201,
                    answer,
                )
            }
            35..45 => {
                let answer = self.written(key, "updated");
                let body = format!("{{\"doc\":{}}}", document(key));
                (
                    "POST",
                    format!("/logs-{index}/_update/{key}"),
                    body,
                    200,
                    answer,
                )
            }
            45..70 => {
                let target = format!("/logs-{index}/_doc/{key}");
                let answer = format!(
                    "{{\"_index\":\"logs-{index}\",\"_id\":\"{key}\",\"_version\":1,\"_seq_no\":0,\"_primary_term\":1,\
                     \"found\":true,\"_source\":{}}}",
                    document(key)
                );
                ("GET", target, String::new(), 200, answer)
            }
            70..95 => {
                let body = format!("{{\"query\":{{\"match\":{{\"message\":\"{key}\"}}}}}}");
                (
                    "POST",
                    format!("/logs-{index}/_search"),
                    body,
                    200,
                    SEARCHED.to_owned(),
                )
            }
            _ => self.bulk(),
        };
        Exchange {
            position: position as u64,
            request: Some(request(position, client, method, target, body)),
            response: Some(Response {
                status,
                headers: [header("content-type", "application/json")]
                    .into_iter()
                    .collect(),
                body: whole(answer),
                ..Response::default()
            }),
        }
    }

    fn bulk(&mut self) -> (&'static str, String, String, u16, String) {
        let (mut body, mut items) = (String::new(), Vec::new());
        for _ in 0..BULK {
            let key = self.roll(self.keys);
            let index = key % INDICES;
            body += &format!(
                "{{\"index\":{{\"_index\":\"logs-{index}\",\"_id\":\"{key}\"}}}}\n{}\n",
                document(key)
            );
            items.push(format!("{{\"index\":{}}}", self.written(key, "updated")));
        }
        let answer = format!(
            "{{\"took\":3,\"errors\":false,\"items\":[{}]}}",
            items.join(",")
        );
        ("POST", "/_bulk".to_owned(), body, 200, answer)
    }

    fn written(&mut self, key: u64, result: &str) -> String {
        self.writes += 1;
        let (index, number) = (key % INDICES, self.writes);
        format!(
            "{{\"_index\":\"logs-{index}\",\"_id\":\"{key}\",\"_version\":1,\"result\":\"{result}\",\
             \"_shards\":{{\"total\":2,\"successful\":1,\"failed\":0}},\"_seq_no\":{number},\"_primary_term\":1,\"status\":200}}"
        )
    }
}

const SEARCHED: &str = "{\"took\":1,\"timed_out\":false,\"_shards\":{\"total\":1,\"successful\":1,\"skipped\":0,\"failed\":0},\
    \"hits\":{\"total\":{\"value\":0,\"relation\":\"eq\"},\"max_score\":null,\"hits\":[]}}";

fn document(key: u64) -> String {
    format!(
        "{{\"user\":\"user-{key}\",\"level\":\"info\",\"message\":\"{}\",\"size\":{key}}}",
        "a line of a log with some words ".repeat(6)
    )
}

fn header(name: &'static str, value: &'static str) -> Header {
    Header {
        name: Bytes::from_static(name.as_bytes()),
        value: Bytes::from_static(value.as_bytes()),
    }
}

fn whole(content: String) -> Body {
    Body {
        content: Bytes::from(content),
        extent: Extent::Whole,
    }
}

fn request(
    position: usize,
    client: usize,
    method: &'static str,
    target: String,
    body: String,
) -> Request {
    let headers = [
        header("host", "search.example:9200"),
        header("user-agent", "elasticsearch-py/7.10.1 (Python 3.11.2)"),
        header("content-type", "application/json"),
        header("accept-encoding", "identity"),
        header("connection", "keep-alive"),
    ];
    Request {
        id: Bytes::from(format!("9b2f7c1e-0000-4000-8000-{position:012}")),
        client: Some(Endpoint {
            ip: [10, 0, 0, 7].into(),
            port: 40_000 + u16::try_from(client).unwrap_or_default(),
        }),
        version: Bytes::from_static(b"1.1"),
        method: Bytes::from_static(method.as_bytes()),
        target: Bytes::from(target),
        headers: headers.into_iter().collect(),
        body: whole(body),
        ..Request::default()
    }
}

/// User and system time of this process in hundredths of a second (proc(5), `stat`, fields 14 and 15).
fn processor_time() -> Result<u64, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let mut fields = stat
        .rsplit(')')
        .next()
        .ok_or("no fields")?
        .split_whitespace()
        .skip(11);
    let mut field = || fields.next().ok_or("too few fields");
    Ok(field()?.parse::<u64>()? + field()?.parse::<u64>()?)
}

/// Answers everything, a thread for each connection.
fn target(delay: Duration) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for tcp in listener.incoming() {
        let tcp = tcp?;
        std::thread::spawn(move || answer_all(tcp, delay));
    }
    Ok(())
}

fn answer_all(mut tcp: TcpStream, delay: Duration) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut input = Vec::new();
    let mut some = vec![0; 64 * 1024];
    loop {
        while let Some((head, length)) = whole_request(&input) {
            let is_bulk = input.starts_with(b"POST /_bulk");
            let answer = match is_bulk {
                true => bulk_answer(input.get(head..length).unwrap_or_default()),
                false => SEARCHED.to_owned(),
            };
            input.drain(..length);
            if !delay.is_zero() {
                std::thread::sleep(if is_bulk { delay * 10 } else { delay });
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            );
            tcp.write_all(answer.as_bytes())?;
        }
        match tcp.read(&mut some)? {
            0 => return Ok(()),
            count => input.extend_from_slice(some.get(..count).unwrap_or_default()),
        }
    }
}

/// One item for each action line.
fn bulk_answer(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let items: Vec<String> = text
        .lines()
        .step_by(2)
        .filter_map(|line| line.strip_suffix("}}"))
        .map(|action| format!("{action},\"status\":200,\"result\":\"updated\",\"_seq_no\":1,\"_primary_term\":1}}}}"))
        .collect();
    format!(
        "{{\"took\":3,\"errors\":false,\"items\":[{}]}}",
        items.join(",")
    )
}

/// The lengths of the head and of all of the first request in `input`, if all of it is there.
fn whole_request(input: &[u8]) -> Option<(usize, usize)> {
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
    (input.len() >= head + body).then_some((head, head + body))
}
