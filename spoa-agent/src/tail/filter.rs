//! Which items are printed: those that fit everything that was asked for. Of what may be said several times, one has to fit.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use bytes::Bytes;
use exchange::operation::content;
use exchange::operation::{self, Api, Indices};
use exchange::{Body, Endpoint, Headers, Request, Response};

use super::print::Item;

/// Everything that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Methods, in any case.
    pub methods: Vec<String>,
    /// Paths, without the query.
    pub paths: Vec<Pattern>,
    /// Statuses of the response.
    pub statuses: Vec<StatusClass>,
    /// Indices that the request names.
    pub indices: Vec<Pattern>,
    /// APIs that it calls.
    pub apis: Vec<Api>,
    /// How the exchange's id begins.
    pub ids: Vec<String>,
    /// Who sent it.
    pub clients: Vec<Client>,
    /// Microseconds that it took at least.
    pub slower_us: Option<u64>,
    /// Bytes that one of the bodies holds.
    pub text: Option<String>,
    /// Unix microseconds of the first moment.
    pub since: Option<u64>,
    /// Unix microseconds of the first moment after it.
    pub until: Option<u64>,
}

/// A name, or a pattern in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Indices);

impl Pattern {
    fn covers(&self, name: &[u8]) -> bool {
        self.0.matches(name)
    }

    /// Whether it and the expression of a request may mean the same index.
    fn meets(&self, expression: &Bytes) -> bool {
        let other = Indices {
            names: vec![expression.clone()],
        };
        let mut own = self.0.names.iter();
        self.covers(expression) || own.any(|name| other.matches(name))
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("write a name, or a pattern such as logs-*".to_owned());
        }
        let names = vec![Bytes::copy_from_slice(text.as_bytes())];
        Ok(Self(Indices { names }))
    }
}

/// Statuses, or the lack of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// From the first to the last, both included.
    Range(u16, u16),
    /// There was no response.
    Missing,
}

impl StatusClass {
    fn covers(self, response: Option<&Response>) -> bool {
        match (self, response) {
            (Self::Missing, response) => response.is_none(),
            (Self::Range(first, last), Some(response)) => (first..=last).contains(&response.status),
            (Self::Range(..), None) => false,
        }
    }
}

impl FromStr for StatusClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a status such as 404, 5xx, 400-499, or none".to_owned();
        if text == "none" {
            return Ok(Self::Missing);
        }
        let number = |text: &str| text.parse::<u16>().map_err(|_not_a_number| wrong());
        if let Some(class) = text.strip_suffix("xx") {
            let class = number(class)?;
            if !(1..=9).contains(&class) {
                return Err(wrong());
            }
            return Ok(Self::Range(class * 100, class * 100 + 99));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        Ok(Self::Range(first, last))
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    ip: IpAddr,
    /// Bits that have to be the same.
    prefix: u32,
    port: Option<u16>,
}

impl Client {
    fn covers(self, client: &Endpoint) -> bool {
        let is_port = self.port.is_none_or(|port| port == client.port);
        is_port
            && match (self.ip, client.ip) {
                (IpAddr::V4(own), IpAddr::V4(other)) => {
                    let differ = own.to_bits() ^ other.to_bits();
                    differ.leading_zeros() >= self.prefix
                }
                (IpAddr::V6(own), IpAddr::V6(other)) => {
                    let differ = own.to_bits() ^ other.to_bits();
                    differ.leading_zeros() >= self.prefix
                }
                _ => false,
            }
    }
}

impl FromStr for Client {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| {
            "write an address such as 10.0.0.7, 10.0.0.7:40312, [::1]:40312 or 10.0.0.0/8"
                .to_owned()
        };
        let bits = |ip: &IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self {
                ip: address.ip(),
                prefix: bits(&address.ip()),
                port: Some(address.port()),
            });
        }
        let (ip, prefix) = text
            .split_once('/')
            .map_or((text, None), |(ip, prefix)| (ip, Some(prefix)));
        let ip: IpAddr = ip.parse().map_err(|_| wrong(()))?;
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| wrong(()))?,
            None => bits(&ip),
        };
        if prefix > bits(&ip) {
            return Err(wrong(()));
        }
        Ok(Self {
            ip,
            prefix,
            port: None,
        })
    }
}

/// What an exchange and a pair have in common.
struct View<'a> {
    time_us: u64,
    id: &'a [u8],
    request: Option<&'a Request>,
    responses: [Option<&'a Response>; 2],
    /// The longest.
    took_us: Option<u64>,
}

impl Filter {
    /// Whether anything but a stretch of time was asked for.
    fn is_particular(&self) -> bool {
        !(self.methods.is_empty()
            && self.paths.is_empty()
            && self.statuses.is_empty()
            && self.indices.is_empty()
            && self.apis.is_empty()
            && self.ids.is_empty()
            && self.clients.is_empty())
            || self.slower_us.is_some()
            || self.text.is_some()
    }

    pub(super) fn takes(&self, item: &Item) -> bool {
        match item {
            Item::Exchange(exchange) => self.fits(&View {
                time_us: exchange.time_us(),
                id: exchange.id().map(Bytes::as_ref).unwrap_or_default(),
                request: exchange.request.as_ref(),
                responses: [exchange.response.as_ref(), None],
                took_us: exchange.duration_us(),
            }),
            Item::Pair { pair, .. } => {
                let shadow = pair.shadow.as_ref();
                let took = shadow.map(|_| pair.sending.end_us);
                self.fits(&View {
                    time_us: pair.request.time_us,
                    id: pair.id(),
                    request: Some(&pair.request),
                    responses: [pair.primary.as_ref(), shadow],
                    took_us: took.max(pair.primary_us()),
                })
            }
            Item::Gap { gap, .. } => !self.is_particular() && self.is_in_time(gap.to_us),
            Item::Note(_) => true,
        }
    }

    fn is_in_time(&self, time_us: u64) -> bool {
        self.since.is_none_or(|since| since <= time_us)
            && self.until.is_none_or(|until| time_us < until)
    }

    /// The cheap questions first: most exchanges are sorted out by them.
    fn fits(&self, view: &View<'_>) -> bool {
        self.is_in_time(view.time_us)
            && self.is_slow(view)
            && self.is_status(view)
            && self.is_id(view)
            && self.is_client(view)
            && self.is_method(view)
            && self.is_path(view)
            && self.is_operation(view)
            && self.has_text(view)
    }

    fn is_slow(&self, view: &View<'_>) -> bool {
        self.slower_us
            .is_none_or(|least| view.took_us.is_some_and(|took| took >= least))
    }

    fn is_status(&self, view: &View<'_>) -> bool {
        let [primary, shadow] = view.responses;
        let covers = |class: &StatusClass| {
            class.covers(primary) || (shadow.is_some() && class.covers(shadow))
        };
        self.statuses.is_empty() || self.statuses.iter().any(covers)
    }

    fn is_id(&self, view: &View<'_>) -> bool {
        let begins = |id: &String| view.id.starts_with(id.as_bytes());
        self.ids.is_empty() || self.ids.iter().any(begins)
    }

    fn is_client(&self, view: &View<'_>) -> bool {
        if self.clients.is_empty() {
            return true;
        }
        let client = view.request.and_then(|request| request.client.as_ref());
        client.is_some_and(|client| self.clients.iter().any(|wanted| wanted.covers(client)))
    }

    fn is_method(&self, view: &View<'_>) -> bool {
        if self.methods.is_empty() {
            return true;
        }
        let is_it = |request: &Request, wanted: &String| {
            request.method.eq_ignore_ascii_case(wanted.as_bytes())
        };
        view.request
            .is_some_and(|request| self.methods.iter().any(|wanted| is_it(request, wanted)))
    }

    fn is_path(&self, view: &View<'_>) -> bool {
        if self.paths.is_empty() {
            return true;
        }
        let Some(request) = view.request else {
            return false;
        };
        let path = request.target.split(|byte| *byte == b'?').next();
        let path = path.unwrap_or_default();
        self.paths.iter().any(|pattern| pattern.covers(path))
    }

    fn is_operation(&self, view: &View<'_>) -> bool {
        if self.apis.is_empty() && self.indices.is_empty() {
            return true;
        }
        let Some(request) = view.request else {
            return false;
        };
        let operation = operation::read(request);
        let is_api = self.apis.is_empty() || self.apis.contains(&operation.api);
        is_api && (self.indices.is_empty() || self.names_index(&operation))
    }

    fn names_index(&self, operation: &operation::Operation) -> bool {
        let documents = operation.documents.iter().map(|document| &document.index);
        let mut named = operation.indices.names.iter().chain(documents);
        named.any(|name| self.indices.iter().any(|wanted| wanted.meets(name)))
    }

    fn has_text(&self, view: &View<'_>) -> bool {
        let Some(text) = &self.text else {
            return true;
        };
        let request = view
            .request
            .map(|request| (&request.headers, &request.body));
        let responses = view.responses.into_iter().flatten();
        let responses = responses.map(|response| (&response.headers, &response.body));
        request
            .into_iter()
            .chain(responses)
            .any(|(headers, body)| holds(headers, body, text.as_bytes()))
    }
}

/// Whether the body, without its content coding where that is known, holds the text.
fn holds(headers: &Headers, body: &Body, text: &[u8]) -> bool {
    let is_in = |content: &[u8]| content.windows(text.len().max(1)).any(|it| it == text);
    match content::decoded(headers, body) {
        Ok(content) => is_in(&content),
        Err(_) => is_in(&body.content),
    }
}
