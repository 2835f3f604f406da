//! What of the journal becomes messages, and which.

use bytes::Bytes;
use exchange::Credentials;
use exchange::message::{Format, Options, Origin, Writer};
use journal::Entry;

use super::flight::{Load, Subject};
use super::key;
use crate::config::{Kafka, MessageFormat, MessageKey};
use crate::follower::now_us;

/// Makes messages of entries.
#[derive(Debug)]
pub struct Stream {
    agent: String,
    format: Format,
    options: Options,
    writer: Writer,
    key: MessageKey,
}

impl Stream {
    /// As `[kafka]` says, with the credentials to mask.
    #[must_use]
    pub fn new(kafka: &Kafka, credentials: &Credentials) -> Self {
        let format = match kafka.format {
            MessageFormat::Json => Format::Json,
            MessageFormat::Protobuf => Format::Protobuf,
            MessageFormat::TrafficStream => Format::TrafficStream,
        };
        let options = Options {
            max_bytes: kafka.message_max_bytes,
            credentials: credentials.clone(),
            instance: now_us(),
            ..Options::default()
        };
        Self {
            agent: kafka.agent.clone().unwrap_or_else(host_name),
            format,
            writer: Writer::new(format, options.clone()),
            options,
            key: kafka.key,
        }
    }

    /// The name of the agent in its messages.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The messages of an entry that was read when the journal was read up to `place`. `None` for one that is no
    /// reader's business.
    pub fn load(&mut self, entry: Entry, place: u64) -> Option<Load> {
        let mut messages = Vec::with_capacity(1);
        let agent = self.agent.as_str();
        let (subject, key, time_us, carried) = match entry {
            Entry::Exchange(exchange) => {
                let origin = Origin {
                    agent,
                    begun: exchange.position,
                    complete: place,
                };
                let carried = self.writer.exchange(&origin, &exchange, &mut messages);
                let key = match (&exchange.request, &exchange.response) {
                    (Some(request), _) => key::of(self.key, request),
                    (None, Some(response)) => response.id.clone(),
                    (None, None) => Bytes::new(),
                };
                let subject = Subject::Exchange(exchange.position);
                (subject, key, exchange.time_us(), carried)
            }
            Entry::Begun { position, request } if request.held => {
                let origin = Origin {
                    agent,
                    begun: position,
                    complete: position,
                };
                let carried = self.writer.request(&origin, &request, &mut messages);
                let key = key::of(self.key, &request);
                (Subject::Request(place), key, request.time_us, carried)
            }
            Entry::Pair { place, pair } => {
                let origin = Origin {
                    agent,
                    begun: place.position,
                    complete: place.position,
                };
                let carried = self.writer.pair(&origin, &pair, &mut messages);
                let key = key::of(self.key, &pair.request);
                let subject = Subject::Exchange(place.position);
                (subject, key, pair.request.time_us, carried)
            }
            Entry::Gap(gap) => {
                let origin = Origin {
                    agent,
                    begun: place,
                    complete: place,
                };
                let carried = self.writer.gap(&origin, &gap, &mut messages);
                let key = Bytes::copy_from_slice(agent.as_bytes());
                (Subject::Gap, key, gap.from_us, carried)
            }
            Entry::Begun { .. } | Entry::Lost(_) | Entry::Undecodable { .. } => return None,
        };
        Some(Load {
            subject,
            key,
            messages,
            time_us,
            carried,
        })
    }

    /// Whether each message says which exchange it is of, and how many there are. The records of a traffic stream
    /// are pieces of a connection, and do not.
    #[must_use]
    pub fn names_exchanges(&self) -> bool {
        self.format != Format::TrafficStream
    }

    /// From now on, no message is larger.
    pub fn limit(&mut self, max_bytes: usize) {
        self.options.max_bytes = max_bytes;
        // Connections that the old writer left open are not continued by the new one.
        self.options.instance += 1;
        self.writer = Writer::new(self.format, self.options.clone());
    }
}

fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    match name.as_ref() {
        "" => "spoa-agent".to_owned(),
        name => name.to_owned(),
    }
}
