//! What the offload costs beside Kafka itself: writes a filled journal to a real broker, and then, with a plain loop and
//! the same settings of the producer, the same messages from memory, in turns. Prints messages per second and processor
//! time per message of both, and the median of the rounds' ratios.
//!
//! ```sh
//! scripts/bench --kafka [exchanges] [rounds] [format] [compression]
//! ```
//!
//! The journal is that of 64 clients that index, read, search and bulk-index documents.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use exchange::{Body, Credentials, Endpoint, Extent, Half, Header, Request, Response};
use journal::{ExchangeReader, Journal, Level, Options, PairingOptions, Start};
use prometheus_client::registry::Registry;
use rdkafka::client::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use spoa_agent::config::{Kafka, Written};
use spoa_agent::follower::{Follower, Until};
use spoa_agent::offload::client::Client;
use spoa_agent::offload::flight::Load;
use spoa_agent::offload::stream::Stream;
use spoa_agent::offload::topic::Topic;
use spoa_agent::offload::{Bounds, Offload};
use spoa_agent::telemetry::metrics::{Follower as Name, Metrics};
use tokio::runtime::Runtime;
use tokio::sync::watch;

type Error = Box<dyn std::error::Error>;

const TOPIC: &str = "load";
const CLIENTS: usize = 64;
const BULK: usize = 10;
/// librdkafka's own, which the offload keeps below `kafka.message_max_bytes`.
const BATCH: usize = 1_000_000;
const FAR: Duration = Duration::from_secs(3600);

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let run = arguments.next().ok_or("no path of demo/broker/run")?;
    let exchanges: usize = arguments.next().as_deref().unwrap_or("200000").parse()?;
    let rounds: usize = arguments.next().as_deref().unwrap_or("7").parse()?;
    let format = arguments.next().unwrap_or_else(|| "json".to_owned());
    let compression = arguments.next().unwrap_or_else(|| "zstd".to_owned());
    let mut broker = Command::new(run)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let ran = address(&mut broker).and_then(|address| {
        println!("{exchanges} exchanges, {rounds} rounds in turns, {format}, {compression}");
        let kafka = section(&address, &format, &compression)?;
        measure(kafka, exchanges, rounds)
    });
    // It ends when its input does.
    drop(broker.stdin.take());
    broker.wait()?;
    ran
}

/// Where the broker is, once it serves.
fn address(broker: &mut Child) -> Result<String, Error> {
    let mut said = String::new();
    let output = broker.stdout.take().ok_or("no output of the broker")?;
    BufReader::new(output).read_line(&mut said)?;
    let address = said.trim().strip_prefix("ready PLAINTEXT://");
    Ok(address.ok_or("the broker did not start")?.to_owned())
}

fn section(broker: &str, format: &str, compression: &str) -> Result<Kafka, Error> {
    let text = format!(
        "kafka.brokers = [\"{broker}\"]\nkafka.topic = \"{TOPIC}\"\nkafka.partitions = 8\nkafka.format = \"{format}\"\n\
         kafka.compression = \"{compression}\"\nkafka.agent = \"bench\"\n"
    );
    let written = Written::default().file(Path::new("config.toml"), &text);
    Ok(written.build()?.kafka)
}

fn measure(kafka: Kafka, exchanges: usize, rounds: usize) -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (journal, _recovery) = Journal::open(Options::new(folder.path()))?;
    runtime.block_on(fill(&journal, exchanges))?;
    let loads = loads(&journal, &kafka)?;
    let messages: usize = loads.iter().map(|load| load.messages.len()).sum();
    let bytes: usize = loads
        .iter()
        .flat_map(|load| &load.messages)
        .map(|message| message.value.len())
        .sum();
    println!(
        "{messages} messages, {} bytes each",
        bytes / messages.max(1)
    );
    let bench = Bench {
        kafka,
        journal,
        loads,
        messages,
        runtime,
    };
    bench.offload()?;
    bench.plain()?;
    let (mut ours, mut plain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (a, b) = match round % 2 {
            0 => (bench.offload()?, bench.plain()?),
            _ => {
                let plain = bench.plain()?;
                (bench.offload()?, plain)
            }
        };
        println!(
            "round {round}: offload {a}, plain {b}, {:.3}",
            a.rate / b.rate
        );
        ratios.push(a.rate / b.rate);
        ours.push(a);
        plain.push(b);
    }
    println!("offload: {}", Run::median(&ours));
    println!("plain loop: {}", Run::median(&plain));
    println!("median of the ratios: {:.3}", median(ratios));
    Ok(())
}

struct Bench {
    kafka: Kafka,
    journal: Journal,
    loads: Vec<Load>,
    messages: usize,
    runtime: Runtime,
}

impl Bench {
    /// The follower, from its beginning until everything is acknowledged.
    fn offload(&self) -> Result<Run, Error> {
        self.journal.forget_cursor("kafka")?;
        let metrics = Metrics::register(&mut Registry::default());
        // It ends when it has caught up.
        let (_sender, until) = watch::channel(Until::CaughtUp(Instant::now() + FAR));
        let began = Clock::now()?;
        let follower = Follower::open(
            Name::Kafka,
            &self.journal,
            Start::Oldest,
            PairingOptions::default(),
            metrics.follower(Name::Kafka),
            until,
        )?;
        let topic = Topic {
            name: TOPIC.to_owned(),
            create: true,
            partitions: Some(8),
            replication: None,
        };
        let bounds = Bounds {
            in_flight_bytes: self.kafka.max_in_flight_bytes,
            message_bytes: self.kafka.message_max_bytes,
        };
        let stream = Stream::new(&self.kafka, &Credentials::default());
        let client = Client::new(&self.kafka)?;
        let counts = metrics.kafka.clone();
        Offload::new(follower, client, topic, stream, bounds, counts).run(self.runtime.handle());
        let run = began.run(self.messages)?;
        match metrics.kafka.acknowledged.get() == self.messages as u64 {
            true => Ok(run),
            false => Err("the offload did not deliver everything".into()),
        }
    }

    /// The same messages from memory.
    fn plain(&self) -> Result<Run, Error> {
        let delivered = Delivered::default();
        let began = Clock::now()?;
        let mut config = Client::new(&self.kafka)?.producer_config();
        config.set(
            "batch.size",
            BATCH.min(self.kafka.message_max_bytes).to_string(),
        );
        let producer: ThreadedProducer<Delivered> =
            config.create_with_context(delivered.clone())?;
        for load in &self.loads {
            for message in &load.messages {
                send(&producer, load, message)?;
            }
        }
        while delivered.0.load(Ordering::Acquire) < self.messages as u64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        began.run(self.messages)
    }
}

fn send(
    producer: &ThreadedProducer<Delivered>,
    load: &Load,
    message: &exchange::message::Message,
) -> Result<(), Error> {
    let key = message.key.as_ref().unwrap_or(&load.key);
    let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
    for (key, value) in &message.headers {
        let value = Some(value.as_ref());
        headers = headers.insert(rdkafka::message::Header { key, value });
    }
    let mut record = BaseRecord::to(TOPIC)
        .key(key.as_ref())
        .payload(message.value.as_ref())
        .timestamp(i64::try_from(load.time_us / 1000)?)
        .headers(headers);
    loop {
        match producer.send::<[u8], [u8]>(record) {
            Ok(()) => return Ok(()),
            Err((error, back))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
            {
                record = back;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

#[derive(Clone, Default)]
struct Delivered(Arc<AtomicU64>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Release);
        }
    }
}

/// Everything that the journal holds, as the offload makes messages of it.
fn loads(journal: &Journal, kafka: &Kafka) -> Result<Vec<Load>, Error> {
    let mut stream = Stream::new(kafka, &Credentials::default());
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), PairingOptions::default());
    let mut loads = Vec::new();
    while let Some(entry) = reader.next(now_us())? {
        let place = reader.place().position;
        loads.extend(stream.load(entry, place));
    }
    Ok(loads)
}

// ---------------------------------------------------------------------------------------------
// Time

struct Clock {
    began: Instant,
    processor: u64,
}

#[derive(Clone, Copy)]
struct Run {
    rate: f64,
    each_us: f64,
}

impl Clock {
    fn now() -> Result<Self, Error> {
        Ok(Self {
            began: Instant::now(),
            processor: processor_time()?,
        })
    }

    fn run(&self, messages: usize) -> Result<Run, Error> {
        let elapsed = self.began.elapsed().as_secs_f64();
        let processor = processor_time()?.saturating_sub(self.processor);
        Ok(Run {
            rate: messages as f64 / elapsed,
            each_us: processor as f64 * 1e4 / messages as f64,
        })
    }
}

impl Run {
    fn median(runs: &[Self]) -> Self {
        Self {
            rate: median(runs.iter().map(|run| run.rate).collect()),
            each_us: median(runs.iter().map(|run| run.each_us).collect()),
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{:.0}/s, {:.1} us of processor time each",
            self.rate, self.each_us
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// User and system time of this process in hundredths of a second (proc(5), `stat`, fields 14 and 15).
fn processor_time() -> Result<u64, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no fields")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut field = || fields.next().ok_or("too few fields");
    Ok(field()?.parse::<u64>()? + field()?.parse::<u64>()?)
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default().as_micros();
    u64::try_from(since).unwrap_or(u64::MAX)
}

// ---------------------------------------------------------------------------------------------
// Traffic

async fn fill(journal: &Journal, exchanges: usize) -> Result<(), Error> {
    let began = now_us();
    for number in 0..exchanges {
        let time_us = began + number as u64;
        let id = Bytes::from(format!("9b2f7c1e-0000-4000-8000-{number:012}"));
        let (method, target, asked, status, answer) = asked(number);
        let request = Half::Request(Request {
            id: id.clone(),
            time_us,
            client: Some(Endpoint {
                ip: [10, 0, 0, 7].into(),
                port: 40_000 + u16::try_from(number % CLIENTS)?,
            }),
            version: Bytes::from_static(b"1.1"),
            method: Bytes::from_static(method.as_bytes()),
            target: Bytes::from(target),
            headers: [
                ("host", "search.example:9200"),
                ("user-agent", "elasticsearch-py/7.10.1 (Python 3.11.2)"),
                ("content-type", "application/json"),
                ("accept-encoding", "identity"),
                ("connection", "keep-alive"),
            ]
            .map(header)
            .into_iter()
            .collect(),
            body: whole(asked),
            ..Request::default()
        });
        let response = Half::Response(Response {
            id,
            time_us: time_us + 900,
            status,
            headers: [("content-type", "application/json")]
                .map(header)
                .into_iter()
                .collect(),
            body: whole(answer),
            ..Response::default()
        });
        for half in [request, response] {
            let end = journal.append(half.encoded_len(), |out| half.encode(out))?;
            if number % 256 == 0 {
                journal.wait(end, Level::Write).await?;
            }
        }
    }
    journal.wait(journal.appended(), Level::Write).await?;
    Ok(())
}

/// Method, target and body of a request, status and body of its answer.
fn asked(number: usize) -> (&'static str, String, String, u16, String) {
    // Knuth's multiplicative hash, so that neighbours are about other documents.
    let key = number.wrapping_mul(2_654_435_761) % 20_000;
    let target = format!("/logs-{}/_doc/{key}", key % 8);
    match number % 20 {
        0..8 => ("PUT", target, document(key), 201, written(key, number)),
        8..14 => {
            let found = format!(
                "{{\"_index\":\"logs-{}\",\"_id\":\"{key}\",\"_version\":1,\"_seq_no\":{number},\"found\":true,\"_source\":{}}}",
                key % 8,
                document(key)
            );
            ("GET", target, String::new(), 200, found)
        }
        14..19 => {
            let query = format!("{{\"query\":{{\"match\":{{\"message\":\"{key}\"}}}}}}");
            let target = format!("/logs-{}/_search", key % 8);
            ("POST", target, query, 200, SEARCHED.to_owned())
        }
        _ => {
            let keys = (0..BULK).map(|item| (key + item) % 20_000);
            let line = |key: usize| {
                format!(
                    "{{\"index\":{{\"_index\":\"logs-{}\",\"_id\":\"{key}\"}}}}\n{}\n",
                    key % 8,
                    document(key)
                )
            };
            let lines: String = keys.clone().map(line).collect();
            let items: Vec<String> = keys
                .map(|key| format!("{{\"index\":{}}}", written(key, number)))
                .collect();
            let answer = format!(
                "{{\"took\":3,\"errors\":false,\"items\":[{}]}}",
                items.join(",")
            );
            ("POST", "/_bulk".to_owned(), lines, 200, answer)
        }
    }
}

fn written(key: usize, number: usize) -> String {
    format!(
        "{{\"_index\":\"logs-{}\",\"_id\":\"{key}\",\"_version\":1,\"result\":\"updated\",\
         \"_shards\":{{\"total\":2,\"successful\":1,\"failed\":0}},\"_seq_no\":{number},\"_primary_term\":1,\"status\":200}}",
        key % 8
    )
}

const SEARCHED: &str = "{\"took\":1,\"timed_out\":false,\"_shards\":{\"total\":1,\"successful\":1,\"skipped\":0,\"failed\":0},\
    \"hits\":{\"total\":{\"value\":0,\"relation\":\"eq\"},\"max_score\":null,\"hits\":[]}}";

fn document(key: usize) -> String {
    format!(
        "{{\"user\":\"user-{key}\",\"level\":\"info\",\"message\":\"{}\",\"size\":{key}}}",
        "a line of a log with some words ".repeat(6)
    )
}

fn header((name, value): (&'static str, &'static str)) -> Header {
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
