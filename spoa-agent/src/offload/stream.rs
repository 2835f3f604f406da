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
        Self::of(format, kafka, credentials)
    }

    /// The same for pairs. A traffic stream has no way to say them: they are JSON beside it.
    #[must_use]
    pub fn of_pairs(kafka: &Kafka, credentials: &Credentials) -> Self {
        let format = match kafka.format {
            MessageFormat::Json | MessageFormat::TrafficStream => Format::Json,
            MessageFormat::Protobuf => Format::Protobuf,
        };
        Self::of(format, kafka, credentials)
    }

    fn of(format: Format, kafka: &Kafka, credentials: &Credentials) -> Self {
        let options = Options {
            max_bytes: kafka.message_max_bytes,
            credentials: credentials.clone(),
            // A run that begins where an earlier one was killed must not continue its connections.
            instance: now_us(),
            ..Options::default()
        };
        Self {
            agent: kafka.agent.clone().unwrap_or_else(host_name),
            format,
            writer: Writer::new(format, options),
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
        self.writer.limit(max_bytes);
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use exchange::{Body, Endpoint, Exchange, Extent, Header, Request, Response};

    use super::*;
    use crate::config::Written;

    fn kafka(format: &str) -> Kafka {
        let text = format!("kafka.brokers = [\"a:9092\"]\nkafka.format = \"{format}\"\n");
        let written = Written::default().file(Path::new("config.toml"), &text);
        written.build().unwrap().kafka
    }

    fn stream(format: &str) -> Stream {
        Stream::new(&kafka(format), &Credentials::default())
    }

    fn request() -> Request {
        Request {
            id: Bytes::from_static(b"the-id"),
            held: true,
            time_us: 1_700_000_000_000_000,
            version: Bytes::from_static(b"1.1"),
            method: Bytes::from_static(b"PUT"),
            target: Bytes::from_static(b"/i/_doc/1"),
            client: Some(Endpoint {
                ip: [10, 0, 0, 1].into(),
                port: 4711,
            }),
            body: Body {
                content: Bytes::from_static(b"{}"),
                extent: Extent::Whole,
            },
            ..Request::default()
        }
    }

    fn exchange() -> Entry {
        let response = Response {
            id: Bytes::from_static(b"the-id"),
            time_us: 1_700_000_000_001_000,
            status: 201,
            ..Response::default()
        };
        Entry::Exchange(Exchange {
            position: 7,
            request: Some(request()),
            response: Some(response),
        })
    }

    fn begun() -> Entry {
        Entry::Begun {
            position: 7,
            request: Arc::new(request()),
        }
    }

    /// The connection that the messages of an entry are on.
    fn connection(stream: &mut Stream, entry: Entry) -> Bytes {
        let load = stream.load(entry, 9).unwrap();
        let connections = load.messages.iter().map(|it| it.key.clone().unwrap());
        let [connection] = connections.collect::<Vec<_>>().try_into().unwrap();
        connection
    }

    #[test]
    fn a_run_continues_no_connection_of_an_earlier_one() {
        let first = connection(&mut stream("traffic-stream"), exchange());
        let began = now_us();
        while now_us() == began {}
        let second = connection(&mut stream("traffic-stream"), exchange());
        assert_ne!(first, second, "of the same exchange at the same position");
    }

    #[test]
    fn a_request_told_ahead_is_not_told_again_when_messages_became_smaller_meanwhile() {
        let mut stream = stream("traffic-stream");
        let asked = connection(&mut stream, begun());
        stream.limit(20_000);
        let load = stream.load(exchange(), 9).unwrap();
        let [answer] = load.messages.as_slice() else {
            panic!("{load:?}");
        };
        assert_eq!(answer.key.as_ref(), Some(&asked));
        let holds = |text: &[u8]| answer.value.windows(text.len()).any(|it| it == text);
        assert!(holds(b"201") && !holds(b"PUT /i/_doc/1"), "{answer:?}");
    }

    #[test]
    fn credentials_that_the_journal_has_reach_no_message_neither_the_usual_ones_nor_the_users() {
        let secret = |name: &'static str| Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(b"hunter2"),
        };
        let request = Request {
            headers: ["authorization", "x-tenant-token"]
                .map(secret)
                .into_iter()
                .collect(),
            ..request()
        };
        let begun = Entry::Begun {
            position: 7,
            request: Arc::new(request.clone()),
        };
        let complete = Entry::Exchange(Exchange {
            position: 8,
            request: Some(request),
            response: Some(Response {
                status: 200,
                headers: [secret("set-cookie")].into_iter().collect(),
                ..Response::default()
            }),
        });
        let credentials = Credentials::with(["x-tenant-token"]);
        for format in ["json", "protobuf", "traffic-stream"] {
            let mut stream = Stream::new(&kafka(format), &credentials);
            for entry in [begun.clone(), complete.clone()] {
                let load = stream.load(entry, 9).unwrap();
                assert!(!load.messages.is_empty());
                for message in load.messages {
                    let holds =
                        |text: &[u8]| message.value.windows(text.len()).any(|it| it == text);
                    assert!(!holds(b"hunter2"), "{format}: {message:?}");
                }
            }
        }
    }

    #[test]
    fn pairs_are_json_beside_a_traffic_stream_and_else_what_exchanges_are() {
        for (format, of_pairs) in [
            ("json", Format::Json),
            ("protobuf", Format::Protobuf),
            ("traffic-stream", Format::Json),
        ] {
            let stream = Stream::of_pairs(&kafka(format), &Credentials::default());
            assert_eq!(stream.format, of_pairs, "{format}");
            assert!(stream.names_exchanges());
        }
    }
}
