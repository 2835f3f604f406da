//! Plays HAProxy's part of the protocol, also as HAProxy never would.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use spop_codec::ack::{self, Action};
use spop_codec::hello::{AgentHello, HaproxyHello};
use spop_codec::notify::NewMessage;
use spop_codec::{Disconnect, Frame, FrameId, FrameKind, StreamId, Value, hdrs, notify};

use super::{Agent, PATIENCE};

pub(crate) const MAX_FRAME_SIZE: u32 = 16_380;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection to the agent.
pub(crate) struct FakeHaproxy {
    stream: Stream,
    max_frame_size: u32,
}

/// What the agent sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Hello(AgentHello),
    Ack(Ack),
    Disconnect {
        status: u32,
        message: String,
    },
    /// The end of the connection.
    End,
}

/// An ACK: whose, and whether it says that a held write is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ack {
    pub(crate) stream: u64,
    pub(crate) frame: u64,
    pub(crate) durable: bool,
}

pub(crate) fn ack(stream: u64, frame: u64) -> Ack {
    Ack {
        stream,
        frame,
        durable: false,
    }
}

impl Ack {
    pub(crate) fn durable(self) -> Self {
        Self {
            durable: true,
            ..self
        }
    }
}

impl FakeHaproxy {
    /// A connection on which nothing was said yet.
    pub(crate) fn silent(agent: &Agent) -> Self {
        let stream = if agent.spop().starts_with('/') {
            let stream = UnixStream::connect(agent.spop()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Stream::Unix(stream)
        } else {
            let stream = TcpStream::connect(agent.spop()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            Stream::Tcp(stream)
        };
        Self {
            stream,
            max_frame_size: MAX_FRAME_SIZE,
        }
    }

    /// A connection on which HELLO is agreed.
    pub(crate) fn connected(agent: &Agent) -> Self {
        Self::connected_with(agent, MAX_FRAME_SIZE)
    }

    pub(crate) fn connected_with(agent: &Agent, max_frame_size: u32) -> Self {
        let mut haproxy = Self {
            max_frame_size,
            ..Self::silent(agent)
        };
        haproxy.sends(&hello(max_frame_size));
        assert!(matches!(haproxy.hears(), Heard::Hello(_)));
        haproxy
    }

    pub(crate) fn sends(&mut self, bytes: &[u8]) {
        self.tries_to_send(bytes).unwrap();
    }

    pub(crate) fn tries_to_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    pub(crate) fn expects(&mut self, ack: Ack) {
        assert_eq!(self.hears(), Heard::Ack(ack));
    }

    pub(crate) fn hears_ack(&mut self) -> Ack {
        match self.hears() {
            Heard::Ack(ack) => ack,
            other => panic!("{other:?}"),
        }
    }

    /// Expects AGENT-DISCONNECT with this status, and the end.
    pub(crate) fn expects_disconnect(&mut self, status: u32) -> String {
        let heard = self.hears();
        let Heard::Disconnect {
            status: found,
            message,
        } = heard
        else {
            panic!("{heard:?}");
        };
        assert_eq!(found, status, "{message}");
        assert_eq!(self.hears(), Heard::End);
        message
    }

    pub(crate) fn hears(&mut self) -> Heard {
        self.tries_to_hear().unwrap()
    }

    pub(crate) fn tries_to_hear(&mut self) -> io::Result<Heard> {
        let mut prefix = [0; 4];
        match self.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return Ok(Heard::End),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes(prefix);
        assert!(length <= self.max_frame_size, "a frame of {length} bytes");
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.read_exact(&mut frame)?;
        Ok(heard(&Frame::decode(&frame).unwrap()))
    }

    /// What one read of the stream returns.
    pub(crate) fn reads_once(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        let length = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut bytes),
            Stream::Unix(stream) => stream.read(&mut bytes),
        };
        bytes.truncate(length.unwrap());
        bytes
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read_exact(bytes),
            Stream::Unix(stream) => stream.read_exact(bytes),
        }
    }
}

pub(crate) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn heard(frame: &Frame<'_>) -> Heard {
    match frame.kind {
        FrameKind::AgentHello => Heard::Hello(AgentHello::decode(frame.payload).unwrap()),
        FrameKind::Ack => {
            let actions: Vec<Action<'_>> = ack::actions(frame.payload)
                .collect::<Result<_, _>>()
                .unwrap();
            assert!(!actions.is_empty(), "HAProxy 3.1.0 loses empty ACKs");
            let durable = actions.iter().any(|action| {
                matches!(
                    action,
                    Action::SetVar {
                        name: b"durable",
                        value: Value::Bool(true),
                        ..
                    }
                )
            });
            Heard::Ack(Ack {
                stream: frame.stream_id.0,
                frame: frame.frame_id.0,
                durable,
            })
        }
        FrameKind::AgentDisconnect => {
            let Disconnect { status, message } = Disconnect::decode(frame.payload).unwrap();
            let message = String::from_utf8(message.to_vec()).unwrap();
            Heard::Disconnect {
                status: status.code(),
                message,
            }
        }
        other => panic!("the agent sent a {other} frame"),
    }
}

pub(crate) fn hello(max_frame_size: u32) -> Vec<u8> {
    encoded(HaproxyHello::new(max_frame_size))
}

pub(crate) fn health_check() -> Vec<u8> {
    encoded(HaproxyHello::health_check(MAX_FRAME_SIZE))
}

pub(crate) fn encoded(hello: HaproxyHello<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    hello.encode(&mut out).unwrap();
    out
}

/// A NOTIFY with these messages.
pub(crate) fn notify(stream: u64, frame: u64, messages: &[Message]) -> Vec<u8> {
    let args: Vec<Vec<(&[u8], Value<'_>)>> = messages.iter().map(Message::values).collect();
    let messages: Vec<NewMessage<'_>> = messages
        .iter()
        .zip(&args)
        .map(|(message, args)| NewMessage {
            name: message.name.as_bytes(),
            args,
        })
        .collect();
    let mut out = Vec::new();
    notify::encode(&mut out, StreamId(stream), FrameId(frame), &messages).unwrap();
    out
}

/// A message of the contract, or one that breaks it.
#[derive(Clone)]
pub(crate) struct Message {
    name: &'static str,
    /// Values in their encoded form, so that they can be kept.
    args: Vec<(&'static str, Vec<u8>)>,
}

/// A whole request half.
pub(crate) fn request(id: &str) -> Message {
    let fields: [(&[u8], &[u8]); 2] = [(b"host", b"cluster"), (b"x-capture-id", id.as_bytes())];
    Message {
        name: "capture-request",
        args: Vec::new(),
    }
    .common(id, &fields)
    .with("cip", Value::Ipv4([10, 0, 0, 1].into()))
    .with("cport", Value::Int64(40_000))
    .with("fe", Value::Str(b"primary"))
    .with("tls", Value::Bool(false))
    .with("m", Value::Str(b"GET"))
    .with("pq", Value::Str(b"/index/_search"))
}

/// A request half whose ACK waits until it is durable.
pub(crate) fn held(id: &str) -> Message {
    Message {
        name: "capture-request-held",
        ..request(id).with("m", Value::Str(b"PUT"))
    }
}

/// A whole response half.
pub(crate) fn response(id: &str) -> Message {
    Message {
        name: "capture-response",
        args: Vec::new(),
    }
    .common(id, &[(b"content-type", b"application/json")])
    .with("t0", Value::Int64(1_700_000_000_000_000))
    .with("be", Value::Str(b"cluster"))
    .with("srv", Value::Str(b"node"))
    .with("st", Value::Int64(200))
}

impl Message {
    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Adds or replaces an argument.
    pub(crate) fn with(mut self, name: &'static str, value: Value<'_>) -> Self {
        let mut encoded = Vec::new();
        value.encode(&mut encoded);
        match self.args.iter_mut().find(|(found, _)| *found == name) {
            Some((_, old)) => *old = encoded,
            None => self.args.push((name, encoded)),
        }
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.args.retain(|(found, _)| *found != name);
        self
    }

    pub(crate) fn body(self, body: &[u8]) -> Self {
        let length = i64::try_from(body.len()).unwrap();
        self.with("bs", Value::Int64(length))
            .with("bl", Value::Int64(length))
            .with("body", Value::Bin(body))
    }

    pub(crate) fn fields(self, fields: &[(&[u8], &[u8])]) -> Self {
        let mut block = Vec::new();
        hdrs::encode(&mut block, fields.iter().copied()).unwrap();
        self.with("hd", Value::Bin(&block))
    }

    fn common(self, id: &str, fields: &[(&[u8], &[u8])]) -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        self.with("v", Value::Int64(1))
            .with("id", Value::Str(id.as_bytes()))
            .with("ts", Value::Int64(i64::try_from(now.as_micros()).unwrap()))
            .with("ver", Value::Str(b"1.1"))
            .with("eom", Value::Bool(true))
            .fields(fields)
            .body(b"")
    }

    fn values(&self) -> Vec<(&[u8], Value<'_>)> {
        let value = |encoded| Value::decode(encoded).unwrap().0;
        self.args
            .iter()
            .map(|(name, encoded)| (name.as_bytes(), value(encoded)))
            .collect()
    }
}
