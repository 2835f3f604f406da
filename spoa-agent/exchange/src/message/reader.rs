//! From messages to values.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::parts::{Assembled, Assemblies, Key, Part};
use super::traffic_stream::{self, reader::Connections};
use super::{Format, Kind, Source, Span, Told, Unreadable, header};
use crate::json::{self, Document};
use crate::record::{self, Read, RecordError};

/// What a reader may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of values in parts that are not complete yet, and, apart from these, of connections, over all partitions. A
    /// larger value cannot be read; a larger body on a connection is cut.
    pub bytes: usize,
    /// Values in parts that are not complete yet, and, apart from these, connections, over all partitions.
    pub parts: usize,
    /// Microseconds, by what the messages of a partition say, after which a value whose parts do not come, or a
    /// connection on which nothing happens, is given up.
    pub idle_us: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            parts: 65_536,
            idle_us: 360_000_000,
        }
    }
}

/// One Kafka message.
#[derive(Clone, Debug)]
pub struct Incoming<H> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its time as Kafka tells it, Unix time in microseconds. 0 where it tells none.
    pub time_us: u64,
    /// Its headers, in order.
    pub headers: H,
    /// Its value.
    pub value: Bytes,
}

/// Reads messages of any format.
///
/// A message without a header `schema` is read by its looks: a JSON document if it begins with a brace, otherwise a
/// record of the capture proxy, which writes no headers.
#[derive(Debug)]
pub struct Reader {
    bounds: Bounds,
    parts: Assemblies,
    streams: Connections,
    /// What time it is in a partition, by its messages.
    clocks: HashMap<i32, u64>,
    agents: Agents,
}

impl Reader {
    /// A reader that holds no more than `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            parts: Assemblies::default(),
            streams: Connections::default(),
            clocks: HashMap::new(),
            agents: Agents::default(),
        }
    }

    /// Takes one message, and appends what is complete with it, and what was given up.
    ///
    /// The offsets of a partition may go back (a message is delivered again); what was told is then told again.
    pub fn push<'h, H>(&mut self, incoming: Incoming<H>, out: &mut Vec<Told>)
    where
        H: IntoIterator<Item = (&'h str, &'h [u8])>,
    {
        let Incoming {
            partition,
            offset,
            time_us,
            headers,
            value,
        } = incoming;
        let fields = Fields::read(headers);
        if fields.kind == Kind::Probe.as_str().as_bytes() {
            return;
        }
        let told_us = match fields.format(&value) {
            Ok(Format::TrafficStream) => traffic_stream::observation::time_of(&value),
            _ => fields.time_us.unwrap_or(0),
        };
        let clock_us = self.clock(partition, time_us.max(told_us));
        let span = Span {
            partition,
            first: offset,
            last: offset,
        };
        match (fields.format(&value), fields.part()) {
            (Err(why), _) | (_, Err(why)) => self.unreadable(&fields, span, why, out),
            (Ok(Format::TrafficStream), _) => {
                let record = traffic_stream::reader::Incoming {
                    partition,
                    offset,
                    clock_us,
                    value: &value,
                    id: fields.id(),
                    agent: (!fields.agent.is_empty()).then(|| self.agents.of(fields.agent)),
                    begun: fields.begun,
                    complete: fields.complete,
                };
                if let Err(why) = self.streams.push(&record, &self.bounds, out) {
                    self.unreadable(&fields, span, why, out);
                }
            }
            (Ok(format), Ok(None)) => self.value(format, &fields, span, &value, out),
            (Ok(_), Ok(Some(part))) => {
                let headers = fields.pack();
                let key = Key { partition, headers };
                let bounds = &self.bounds;
                let whole = self.parts.push(key, offset, clock_us, part, value, bounds);
                self.assembled(whole, out);
            }
        }
        while let Some(given_up) = self.parts.expire(partition, clock_us, &self.bounds) {
            self.assembled(Some(given_up), out);
        }
        self.streams.expire(partition, clock_us, &self.bounds, out);
    }

    /// The lowest offset of a partition that must be read again to tell what is not told yet. `None`: what was pushed
    /// is all told.
    ///
    /// What may be committed is the least of this and of [`Span::first`] of everything told and not done.
    #[must_use]
    pub fn floor(&self, partition: i32) -> Option<i64> {
        [self.parts.floor(partition), self.streams.floor(partition)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Bytes that are held, roughly: no more than twice [`Bounds::bytes`].
    #[must_use]
    pub const fn held(&self) -> usize {
        self.parts.held() + self.streams.held()
    }

    /// Tells what is not complete and will not be: nothing more comes from the partition.
    pub fn finish(&mut self, partition: i32, out: &mut Vec<Told>) {
        while let Some(given_up) = self.parts.give_up(partition) {
            self.assembled(Some(given_up), out);
        }
        self.streams.finish(partition, out);
        self.clocks.remove(&partition);
    }

    /// Forgets what is not complete: another reader has the partition now.
    pub fn forget(&mut self, partition: i32) {
        while self.parts.give_up(partition).is_some() {}
        self.streams.finish(partition, &mut Vec::new());
        self.clocks.remove(&partition);
    }

    fn clock(&mut self, partition: i32, time_us: u64) -> u64 {
        let clock = self.clocks.entry(partition).or_default();
        *clock = (*clock).max(time_us);
        *clock
    }

    fn assembled(&mut self, assembled: Option<Assembled>, out: &mut Vec<Told>) {
        let Some(Assembled {
            headers,
            span,
            value,
        }) = assembled
        else {
            return;
        };
        let fields = Fields::unpack(&headers);
        match value.and_then(|value| Ok((fields.format(&value)?, value))) {
            Ok((format, value)) => self.value(format, &fields, span, &value, out),
            Err(why) => self.unreadable(&fields, span, why, out),
        }
    }

    /// Tells what a whole value says.
    fn value(
        &mut self,
        format: Format,
        fields: &Fields<'_>,
        span: Span,
        value: &Bytes,
        out: &mut Vec<Told>,
    ) {
        let source = self.source(fields, span);
        let told = match format {
            Format::Json => document(value, source.clone()),
            Format::Protobuf => self.record(value, source.clone()),
            Format::TrafficStream => Err(Unreadable::Schema(format.to_string())),
        };
        let id = fields.id();
        out.push(told.unwrap_or_else(|why| Told::Unreadable { source, id, why }));
    }

    /// Reads the protobuf of `proto/record.proto`.
    fn record(&mut self, value: &Bytes, mut source: Source) -> Result<Told, Unreadable> {
        let malformed = |error: RecordError| Unreadable::Value(error.to_string());
        let (agent, begun, complete, read) = record::read(value).map_err(malformed)?;
        source.agent = self.agents.name(&agent);
        (source.begun, source.complete) = (Some(begun), Some(complete));
        Ok(match read {
            Read::Exchange(exchange) => Told::Exchange { source, exchange },
            Read::Request(request) => Told::Request { source, request },
            Read::Pair(pair) => Told::Pair { source, pair },
            Read::Gap(gap) => Told::Gap { source, gap },
        })
    }

    fn unreadable(
        &mut self,
        fields: &Fields<'_>,
        span: Span,
        why: Unreadable,
        out: &mut Vec<Told>,
    ) {
        let source = self.source(fields, span);
        let id = fields.id();
        out.push(Told::Unreadable { source, id, why });
    }

    fn source(&mut self, fields: &Fields<'_>, span: Span) -> Source {
        Source {
            span,
            agent: self.agents.of(fields.agent),
            begun: fields.begun,
            complete: fields.complete,
        }
    }
}

/// Reads a JSON document.
fn document(value: &[u8], mut source: Source) -> Result<Told, Unreadable> {
    let document =
        json::read_document(value).map_err(|error| Unreadable::Value(error.to_string()))?;
    let position = match &document {
        Document::Exchange(exchange) => exchange.position,
        Document::Pair(_, pair) => pair.position,
        Document::Begun(position, _) | Document::Gap(position, _) => *position,
        Document::Unknown(_) => 0,
    };
    source.begun.get_or_insert(position);
    match document {
        Document::Exchange(exchange) => Ok(Told::Exchange { source, exchange }),
        Document::Begun(_, request) => Ok(Told::Request { source, request }),
        Document::Pair(_, pair) => Ok(Told::Pair { source, pair }),
        Document::Gap(_, gap) => Ok(Told::Gap { source, gap }),
        Document::Unknown(kind) => Err(Unreadable::Kind(kind)),
    }
}

/// What the headers of a message say.
#[derive(Debug, Default)]
struct Fields<'h> {
    kind: &'h [u8],
    schema: Option<&'h [u8]>,
    id: Option<&'h [u8]>,
    agent: &'h [u8],
    time_us: Option<u64>,
    begun: Option<u64>,
    complete: Option<u64>,
    part: Option<&'h [u8]>,
    whole: Option<&'h [u8]>,
}

impl<'h> Fields<'h> {
    fn read(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            match name {
                header::KIND => fields.kind = value,
                header::SCHEMA => fields.schema = Some(value),
                header::ID => fields.id = Some(value),
                header::AGENT => fields.agent = value,
                header::TIME => fields.time_us = number(value),
                header::BEGUN => fields.begun = number(value),
                header::COMPLETE => fields.complete = number(value),
                header::PART => fields.part = Some(value),
                header::WHOLE => fields.whole = Some(value),
                _ => {}
            }
        }
        fields
    }

    fn id(&self) -> Option<Bytes> {
        self.id.map(Bytes::copy_from_slice)
    }

    fn format(&self, value: &[u8]) -> Result<Format, Unreadable> {
        match self.schema {
            Some(schema) => Format::of_schema(schema)
                .ok_or_else(|| Unreadable::Schema(String::from_utf8_lossy(schema).into_owned())),
            // No protobuf of these schemas begins with a brace: that would be the group 15.
            None if value.trim_ascii_start().starts_with(b"{") => Ok(Format::Json),
            None => Ok(Format::TrafficStream),
        }
    }

    fn part(&self) -> Result<Option<Part>, Unreadable> {
        self.part
            .map(|part| Part::read(part, self.whole))
            .transpose()
    }

    /// All of them but the number of the part, as one text that [`unpack`](Self::unpack) reads.
    fn pack(&self) -> Box<[u8]> {
        let total = self
            .part
            .and_then(|part| part.split(|byte| *byte == b'/').nth(1));
        let numbers = [self.time_us, self.begun, self.complete].map(|it| it.map(u64::to_be_bytes));
        let [time, begun, complete] = &numbers;
        let fields: [Option<&[u8]>; 9] = [
            Some(self.kind),
            self.schema,
            self.id,
            Some(self.agent),
            time.as_ref().map(<[u8; 8]>::as_slice),
            begun.as_ref().map(<[u8; 8]>::as_slice),
            complete.as_ref().map(<[u8; 8]>::as_slice),
            self.whole,
            total,
        ];
        let mut packed = Vec::new();
        for field in fields {
            let length = field.map_or(0, |field| field.len() as u64 + 1);
            packed.extend_from_slice(&length.to_be_bytes());
            packed.extend_from_slice(field.unwrap_or_default());
        }
        packed.into()
    }

    fn unpack(packed: &'h [u8]) -> Self {
        let mut rest = packed;
        let mut next = || -> Option<&'h [u8]> {
            let (length, after) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
            let (field, after) = after.split_at_checked(length.saturating_sub(1))?;
            rest = after;
            (length > 0).then_some(field)
        };
        let big = |field: Option<&[u8]>| {
            let field: [u8; 8] = field?.try_into().ok()?;
            Some(u64::from_be_bytes(field))
        };
        Self {
            kind: next().unwrap_or_default(),
            schema: next(),
            id: next(),
            agent: next().unwrap_or_default(),
            time_us: big(next()),
            begun: big(next()),
            complete: big(next()),
            whole: next(),
            part: None,
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The names of agents, of which there are few, so that each is kept once.
#[derive(Debug, Default)]
struct Agents {
    last: Arc<str>,
}

impl Agents {
    fn of(&mut self, header: &[u8]) -> Arc<str> {
        self.name(&String::from_utf8_lossy(header))
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if *self.last != *name {
            self.last = Arc::from(name);
        }
        Arc::clone(&self.last)
    }
}
