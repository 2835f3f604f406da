//! Traffic of which every byte follows from a number, so that the client, both origins, the journal
//! and the traffic log can each be compared with what it must be, and nothing has to be remembered.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use exchange::{Exchange, Headers, headers::MASK};

use super::client::{Answer, Client};
use super::http::{self, Field, Message};
use super::origin::{self, Reply};

/// Bodies are at most this long, in either direction.
const LONGEST: u64 = 60 << 10;

/// The request with this number.
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    chunked: bool,
}

/// The answer to it.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    chunked: bool,
}

impl Ask {
    pub(crate) fn number(number: u64) -> Self {
        let mut dice = Dice(number);
        let id = dice.below(1000);
        let size = dice.size();
        let mut chunked = false;
        let (method, target, body) = match number % 12 {
            0 | 1 => ("GET", format!("/index/_doc/{id}"), Vec::new()),
            2 => ("GET", format!("/_cat/indices?v&h=i%2Cn&n={id}"), Vec::new()),
            3 => ("GET", "/index/_search".to_owned(), dice.json(size)),
            4 => ("POST", "/index/_doc".to_owned(), dice.json(size)),
            5 => (
                "POST",
                "//index/_search?q=%7B|\"".to_owned(),
                dice.json(size),
            ),
            6 => ("PUT", format!("/index/_doc/{id}"), dice.binary(size)),
            7 => ("PUT", format!("/index-{id}"), Vec::new()),
            8 => ("DELETE", format!("/index/_doc/{id}"), Vec::new()),
            9 => ("DELETE", "/index/_pit".to_owned(), dice.json(size.min(200))),
            10 => ("HEAD", format!("/index-{id}"), Vec::new()),
            _ => {
                chunked = dice.below(2) == 0;
                ("POST", "/_bulk".to_owned(), dice.bulk(size))
            }
        };
        let mut fields = vec![
            field("host", "cluster:9200"),
            field("x-number", &number.to_string()),
        ];
        if dice.below(2) == 0 {
            fields.push(field(
                "authorization",
                &format!("Basic {}", dice.below(u64::MAX)),
            ));
        }
        if dice.below(4) == 0 {
            fields.push(field("x-repeated", "1"));
            fields.push(("x-latin".to_owned(), b"caf\xe9".to_vec()));
            fields.push(field("x-repeated", "0"));
        }
        if !body.is_empty() {
            fields.push(field("content-type", "application/x-ndjson"));
        }
        if chunked {
            fields.push(field("transfer-encoding", "chunked"));
        } else if !body.is_empty() || matches!(method, "POST" | "PUT") {
            fields.push(field("content-length", &body.len().to_string()));
        }
        Self {
            method,
            target,
            fields,
            body,
            chunked,
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let first = format!("{} {} HTTP/1.1", self.method, self.target);
        to_bytes(&first, &self.fields, &self.body, self.chunked)
    }
}

impl Response {
    pub(crate) fn number(number: u64) -> Self {
        let mut dice = Dice(number ^ 0x5eed);
        let ask = Ask::number(number);
        let status = match (ask.method, dice.below(8)) {
            ("DELETE", 0..4) => 204,
            ("GET", 0) => 304,
            ("PUT", 0..4) => 201,
            (_, 1) => 404,
            (_, 2) => 500,
            _ => 200,
        };
        let size = dice.size();
        let body = match status {
            204 | 304 => Vec::new(),
            _ => dice.json(size),
        };
        let mut fields = vec![
            field("x-number", &number.to_string()),
            field("content-type", "application/json"),
        ];
        if dice.below(4) == 0 {
            fields.push(field("set-cookie", "session=1"));
            fields.push(field("set-cookie", "other=2"));
        }
        let chunked = dice.below(3) == 0 && !matches!(status, 204 | 304) && ask.method != "HEAD";
        if chunked {
            fields.push(field("transfer-encoding", "chunked"));
        } else if status != 204 {
            fields.push(field("content-length", &body.len().to_string()));
        }
        // A `HEAD` is told how long the body would be.
        let body = if ask.method == "HEAD" {
            Vec::new()
        } else {
            body
        };
        Self {
            status,
            fields,
            body,
            chunked,
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        to_bytes(
            &format!("HTTP/1.1 {} x", self.status),
            &self.fields,
            &self.body,
            self.chunked,
        )
    }
}

fn to_bytes(first: &str, fields: &[Field], body: &[u8], chunked: bool) -> Vec<u8> {
    let mut out = format!("{first}\r\n").into_bytes();
    for (name, value) in fields {
        out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    out.extend(b"\r\n");
    match chunked {
        true => out.extend(http::chunked(body, 4000)),
        false => out.extend(body),
    }
    out
}

fn field(name: &str, value: &str) -> Field {
    (name.to_owned(), value.as_bytes().to_vec())
}

/// Numbers that follow from a number (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Small ones mostly, sometimes none, sometimes the longest.
    fn size(&mut self) -> usize {
        let size = match self.below(32) {
            0 => LONGEST,
            1 => self.below(LONGEST),
            2..5 => 0,
            _ => self.below(1500),
        };
        usize::try_from(size).unwrap()
    }

    fn binary(&mut self, size: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| self.next().to_le_bytes())
            .take(size.div_ceil(8))
            .flatten()
            .collect();
        bytes.truncate(size);
        bytes
    }

    fn json(&mut self, size: usize) -> Vec<u8> {
        if size < 16 {
            return Vec::new();
        }
        let text = "é\\\"\n".chars().cycle().take(size / 2).collect::<String>();
        serde_json::to_vec(&serde_json::json!({ "n": self.next(), "text": text })).unwrap()
    }

    fn bulk(&mut self, size: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() <= size {
            body.extend(format!("{{\"index\":{{\"_id\":\"{}\"}}}}\n", self.next()).bytes());
            body.extend(format!("{{\"value\":{}}}\n", self.next()).bytes());
        }
        body
    }
}

/// What a load has seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    /// What was not as it must be.
    pub(crate) wrong: Vec<String>,
    pub(crate) slowest: Duration,
}

impl Tally {
    #[track_caller]
    pub(crate) fn assert_all_right(&self) {
        let some: Vec<_> = self.wrong.iter().take(3).collect();
        assert!(
            self.wrong.is_empty(),
            "{} of {}: {some:#?}",
            self.wrong.len(),
            self.answered
        );
    }
}

/// Connections that send, one request after the other each.
pub(crate) struct Load {
    threads: Vec<JoinHandle<Tally>>,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    next: AtomicU64,
    end: u64,
    stop: AtomicBool,
    answered: AtomicU64,
}

impl Load {
    /// Sends the requests with these numbers.
    pub(crate) fn run(
        address: SocketAddr,
        connections: usize,
        numbers: std::ops::Range<u64>,
    ) -> Tally {
        Self::spawn(address, connections, numbers).join()
    }

    /// Sends until it is told to stop.
    pub(crate) fn start(address: SocketAddr, connections: usize) -> Self {
        Self::spawn(address, connections, 0..u64::MAX)
    }

    fn spawn(address: SocketAddr, connections: usize, numbers: std::ops::Range<u64>) -> Self {
        let shared = Arc::new(Shared {
            address,
            next: AtomicU64::new(numbers.start),
            end: numbers.end,
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        });
        let thread = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.send())
        };
        Self {
            threads: (0..connections).map(thread).collect(),
            shared: Arc::clone(&shared),
        }
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits until there are so many answers more.
    pub(crate) fn wait_for_more(&self, count: u64) {
        let end = self.answered() + count;
        super::wait_for("more answers", || (self.answered() >= end).then_some(()));
    }

    pub(crate) fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(self) -> Tally {
        let mut all = Tally::default();
        for thread in self.threads {
            let tally = thread.join().unwrap();
            all.answered += tally.answered;
            all.wrong.extend(tally.wrong);
            all.slowest = all.slowest.max(tally.slowest);
        }
        all
    }
}

impl Shared {
    fn send(&self) -> Tally {
        let mut tally = Tally::default();
        let mut client = None;
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end {
                break;
            }
            match self.exchange(&mut client, number) {
                Ok(answer) => {
                    tally.slowest = tally.slowest.max(answer.took);
                    if let Some(wrong) = wrong_answer(number, &answer) {
                        tally.wrong.push(wrong);
                    }
                }
                Err(error) => {
                    client = None;
                    tally.wrong.push(format!("{number}: {error}"));
                }
            }
            tally.answered += 1;
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        tally
    }

    fn exchange(&self, client: &mut Option<Client>, number: u64) -> io::Result<Answer> {
        let ask = Ask::number(number);
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::try_connect(self.address)?),
        };
        client.ask(ask.method, &ask.to_bytes())
    }
}

fn wrong_answer(number: u64, answer: &Answer) -> Option<String> {
    let expected = Response::number(number);
    if answer.status != expected.status {
        return Some(format!(
            "{number}: status {} and not {}",
            answer.status, expected.status
        ));
    }
    if answer.message.fields() != expected.fields {
        return Some(format!("{number}: fields {:?}", answer.message.fields()));
    }
    (answer.message.body != expected.body).then(|| format!("{number}: another body"))
}

/// How often an origin got each number, and what was not as it must be.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Judged>>);

#[derive(Default)]
struct Judged {
    times: HashMap<u64, u32>,
    wrong: Vec<String>,
}

impl Seen {
    /// Judges a request and answers it.
    pub(crate) fn answer(&self, request: &Message) -> Reply {
        let Some(number) = request.text("x-number") else {
            return origin::ok();
        };
        let number = number.parse().unwrap();
        let expected = Ask::number(number);
        let line = format!("{} {} HTTP/1.1", expected.method, expected.target);
        let mut seen = self.0.lock().unwrap();
        *seen.times.entry(number).or_default() += 1;
        if request.first_line() != line.as_bytes() {
            let found = String::from_utf8_lossy(request.first_line()).into_owned();
            seen.wrong.push(format!("{number}: {found} and not {line}"));
        }
        if request.body != expected.body {
            seen.wrong.push(format!("{number}: another body"));
        }
        drop(seen);
        Reply::Bytes(Response::number(number).to_bytes())
    }

    pub(crate) fn counts(&self) -> HashMap<u64, u32> {
        self.0.lock().unwrap().times.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().times.len()
    }

    #[track_caller]
    pub(crate) fn assert_all_right(&self) {
        let seen = self.0.lock().unwrap();
        let some: Vec<_> = seen.wrong.iter().take(3).collect();
        assert!(some.is_empty(), "{}: {some:#?}", seen.wrong.len());
    }

    #[track_caller]
    pub(crate) fn assert_each_once(&self, numbers: std::ops::Range<u64>) {
        self.assert_all_right();
        let counts = self.counts();
        let other: Vec<u64> = numbers
            .clone()
            .filter(|number| counts.get(number) != Some(&1))
            .take(5)
            .collect();
        assert!(other.is_empty(), "not exactly once: {other:?}");
        assert_eq!(counts.len() as u64, numbers.end - numbers.start);
    }
}

pub(crate) fn number_of(exchange: &Exchange) -> Option<u64> {
    let headers = match (&exchange.request, &exchange.response) {
        (Some(request), _) => &request.headers,
        (None, Some(response)) => &response.headers,
        (None, None) => return None,
    };
    String::from_utf8_lossy(headers.get("x-number")?)
        .parse()
        .ok()
}

/// Compares an exchange with what its number says, and tells what is different.
pub(crate) fn difference(exchange: &Exchange) -> Option<String> {
    let number = number_of(exchange)?;
    let (ask, expected) = (Ask::number(number), Response::number(number));
    let Some(request) = &exchange.request else {
        return Some(format!("{number}: no request"));
    };
    let Some(response) = &exchange.response else {
        return Some(format!("{number}: no response"));
    };
    let id = String::from_utf8_lossy(&request.id).into_owned();
    let mut fields = ask.fields.clone();
    fields.push(field("x-capture-id", &id));
    let different = |what: &str| Some(format!("{number}: another {what}: {exchange:?}"));
    if request.method != ask.method || request.target != ask.target {
        return different("method or target");
    }
    if !request.body.is_whole() || request.body.content != ask.body {
        return different("request body");
    }
    if fields_of(&request.headers) != masked(fields) {
        return different("request header");
    }
    if response.status != expected.status || response.id != request.id {
        return different("status or id");
    }
    if !response.body.is_whole() || response.body.content != expected.body {
        return different("response body");
    }
    if fields_of(&response.headers) != masked(expected.fields) {
        return different("response header");
    }
    None
}

fn fields_of(headers: &Headers) -> Vec<Field> {
    let field = |header: &exchange::Header| {
        (
            String::from_utf8(header.name.to_vec()).unwrap(),
            header.value.to_vec(),
        )
    };
    headers.iter().map(field).collect()
}

fn masked(mut fields: Vec<Field>) -> Vec<Field> {
    for (name, value) in &mut fields {
        if matches!(name.as_str(), "authorization" | "set-cookie") {
            *value = MASK.to_vec();
        }
    }
    fields
}
