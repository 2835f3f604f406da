//! The bodies of the fuzz targets, as plain functions: the ordinary tests replay the corpus and
//! random bytes through them. Each takes any bytes, and panics where a law is broken.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use spop_codec::ack::{self, Action, Actions, Scope};
use spop_codec::frame::{self, Frame, FrameKind};
use spop_codec::handshake::{AgentHandshake, HaproxyHandshake, Limits};
use spop_codec::hello::{AgentHello, Capabilities, HaproxyHello, Version};
use spop_codec::notify::{self, NewMessage};
use spop_codec::{DecodeError, Disconnect, FrameId, Status, StreamId, Value, hdrs};

const MAX_FRAME_SIZE: u32 = 16_380;

/// The first byte says how the rest of `data` arrives: in pieces of that many bytes, or at once.
///
/// Laws: the pieces change nothing; a frame that is decoded encodes to the bytes it came from; what
/// is refused has a status; the buffer never holds more than one frame.
pub(crate) fn frame_stream(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else {
        return;
    };
    let at_once = frames(stream, stream.len().max(1));
    let in_pieces = frames(stream, usize::from(*piece).max(1));
    assert_eq!(
        at_once, in_pieces,
        "how the bytes arrive makes a difference"
    );
}

/// `data` is the payload of a NOTIFY, and that of every other frame.
///
/// Laws: reading the arguments and stepping over them find the same messages and the same error;
/// what is borrowed lies inside `data`; what was read can be written and read again.
pub(crate) fn notify(data: &[u8]) {
    let read = read_messages(data);
    let stepped_over = notify::messages(data)
        .map(|m| m.map(|m| m.name))
        .collect::<Vec<_>>();
    let error = stepped_over.last().and_then(|last| last.err());
    match read {
        Ok(messages) => {
            assert_eq!(error, None);
            assert_eq!(messages.len(), stepped_over.len());
            round_trip_of_messages(&messages);
        }
        Err(refusal) => {
            assert_eq!(error, Some(refusal));
            assert_refused_with_a_status(refusal);
        }
    }
    walk_as_everything_else(data);
}

/// `data` chooses values, which are then written and read.
///
/// Law: whatever encodes decodes to itself.
pub(crate) fn round_trip(data: &[u8]) {
    let mut choice = Choice(data);
    let mut messages = Vec::new();
    for _ in 0..choice.byte() % 4 {
        let name = choice.bytes();
        let args = (0..choice.byte() % 24)
            .map(|_| (choice.bytes(), choice.value()))
            .collect();
        messages.push((name, args));
    }
    round_trip_of_messages(&messages);
    round_trip_of_actions(&mut choice);
    round_trip_of_the_connection(&mut choice);
    round_trip_of_headers(&mut choice);
}

type Args<'a> = Vec<(&'a [u8], Value<'a>)>;
type Messages<'a> = Vec<(&'a [u8], Args<'a>)>;

/// The frames of a stream up to the first error, with that error.
fn frames(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<DecodeError>) {
    let mut cut = Vec::new();
    let mut buffer = BytesMut::new();
    for bytes in stream.chunks(piece) {
        buffer.extend_from_slice(bytes);
        loop {
            match frame::cut(&mut buffer, MAX_FRAME_SIZE) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    assert!(frame.len() <= MAX_FRAME_SIZE as usize);
                    inspect(&frame);
                    cut.push(frame.to_vec());
                }
                Err(refusal) => {
                    assert_refused_with_a_status(refusal);
                    return (cut, Some(refusal));
                }
            }
        }
        assert!(buffer.len() < 4 + MAX_FRAME_SIZE as usize);
    }
    (cut, None)
}

fn inspect(bytes: &[u8]) {
    let frame = match Frame::decode(bytes) {
        Ok(frame) => frame,
        Err(refusal) => return assert_refused_with_a_status(refusal),
    };
    let mut again = Vec::new();
    frame
        .encode(&mut again)
        .expect("what came in one frame fits in one");
    assert_eq!(again.get(4..), Some(bytes));

    let limits = Limits {
        max_frame_size: MAX_FRAME_SIZE,
    };
    match AgentHandshake::new(limits).on_frame(&frame) {
        Ok(reply) => {
            assert_ne!(frame.kind, FrameKind::Notify);
            reply.encode(&mut again);
        }
        Err(refusal) => assert_refused_with_a_status(refusal),
    }
    let mut hello = Vec::new();
    let haproxy = HaproxyHandshake::start(HaproxyHello::new(MAX_FRAME_SIZE), &mut hello);
    if let Err(refusal) = haproxy.expect("a short HELLO").on_frame(&frame) {
        assert_refused_with_a_status(refusal);
    }
    notify(frame.payload);
}

fn read_messages(payload: &[u8]) -> Result<Messages<'_>, DecodeError> {
    let mut messages = Vec::new();
    for message in notify::messages(payload) {
        let message = message?;
        assert_borrowed(payload, message.name);
        let args = message.args.collect::<Result<Args<'_>, _>>()?;
        for (name, value) in &args {
            assert_borrowed(payload, name);
            value
                .as_bytes()
                .inspect(|bytes| assert_borrowed(payload, bytes));
        }
        messages.push((message.name, args));
    }
    Ok(messages)
}

fn walk_as_everything_else(payload: &[u8]) {
    let refusals = [
        ack::actions(payload).find_map(Result::err),
        hdrs::headers(payload).find_map(Result::err),
        HaproxyHello::decode(payload).err(),
        AgentHello::decode(payload).err(),
        Disconnect::decode(payload).err(),
    ];
    refusals
        .into_iter()
        .flatten()
        .for_each(assert_refused_with_a_status);
}

fn round_trip_of_messages(messages: &Messages<'_>) {
    let borrowed: Vec<_> = messages
        .iter()
        .map(|(name, args)| NewMessage { name, args })
        .collect();
    let mut wire = Vec::new();
    notify::encode(&mut wire, StreamId(1), FrameId(1), &borrowed).expect("at most 255 arguments");
    let frame = decoded(&wire);
    assert_eq!(read_messages(frame.payload).as_ref(), Ok(messages));
}

fn round_trip_of_actions(choice: &mut Choice<'_>) {
    let (stream_id, frame_id) = (StreamId(choice.number()), FrameId(choice.number()));
    let mut chosen = Vec::new();
    for _ in 0..choice.byte() % 5 {
        let scope = Scope::try_from(choice.byte() % 5).expect("a scope");
        let name = choice.bytes();
        chosen.push(if choice.coin() {
            Action::UnsetVar { scope, name }
        } else {
            Action::SetVar {
                scope,
                name,
                value: choice.value(),
            }
        });
    }
    let Ok(actions) = Actions::new(&chosen) else {
        return;
    };
    let mut wire = Vec::new();
    ack::encode(&mut wire, stream_id, frame_id, &actions);
    let frame = decoded(&wire);
    assert_eq!(
        (frame.kind, frame.stream_id, frame.frame_id),
        (FrameKind::Ack, stream_id, frame_id)
    );
    let read: Vec<_> = ack::actions(frame.payload)
        .map(|a| a.expect("an action"))
        .collect();
    assert!(!read.is_empty());
    assert!(chosen.is_empty() || read == chosen);
}

fn round_trip_of_the_connection(choice: &mut Choice<'_>) {
    let engine_id = choice.bytes();
    let hello = HaproxyHello {
        supported_versions: choice.bytes(),
        max_frame_size: choice.number() as u32,
        capabilities: choice.capabilities(),
        engine_id: (!engine_id.is_empty()).then_some(engine_id),
        healthcheck: choice.coin(),
    };
    let mut wire = Vec::new();
    hello.encode(&mut wire).expect("a short HELLO");
    assert_eq!(HaproxyHello::decode(decoded(&wire).payload), Ok(hello));

    let hello = AgentHello {
        version: Version {
            major: choice.number() as u16,
            minor: choice.number() as u16,
        },
        max_frame_size: choice.number() as u32,
        capabilities: choice.capabilities(),
    };
    let mut wire = Vec::new();
    hello.encode(&mut wire);
    assert_eq!(AgentHello::decode(decoded(&wire).payload), Ok(hello));

    let message = choice.bytes();
    let message = message.get(..Disconnect::MESSAGE_LIMIT).unwrap_or(message);
    let disconnect = Disconnect {
        status: (choice.number() as u32).into(),
        message,
    };
    let mut wire = Vec::new();
    disconnect.encode_agent(&mut wire);
    assert_eq!(Disconnect::decode(decoded(&wire).payload), Ok(disconnect));
}

fn round_trip_of_headers(choice: &mut Choice<'_>) {
    let mut chosen = Vec::new();
    for _ in 0..choice.byte() % 8 {
        chosen.push((choice.bytes(), choice.bytes()));
    }
    chosen.retain(|(name, _)| !name.is_empty());
    let mut block = Vec::new();
    hdrs::encode(&mut block, chosen.iter().copied()).expect("every header has a name");
    let read: Vec<_> = hdrs::headers(&block)
        .map(|h| h.expect("a header"))
        .collect();
    assert_eq!(read, chosen);
}

/// The one frame that `wire` is.
fn decoded(wire: &[u8]) -> Frame<'_> {
    assert_eq!(frame::frame_length(wire, u32::MAX), Ok(Some(wire.len())));
    let bytes = wire.get(frame::PREFIX_LEN..).expect("a prefix");
    Frame::decode(bytes).expect("what was encoded decodes")
}

fn assert_refused_with_a_status(refusal: DecodeError) {
    assert_ne!(refusal.status(), Status::Normal);
    assert!(
        (3..=10).contains(&refusal.status().code()),
        "{refusal}: {}",
        refusal.status()
    );
    assert!(!refusal.to_string().is_empty());
}

fn assert_borrowed(owner: &[u8], part: &[u8]) {
    let (owner, part) = (owner.as_ptr_range(), part.as_ptr_range());
    assert!(
        owner.start <= part.start && part.end <= owner.end,
        "not borrowed from the frame"
    );
}

/// Makes choices out of bytes; when there are none left, every choice is the first.
struct Choice<'a>(&'a [u8]);

impl<'a> Choice<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn coin(&mut self) -> bool {
        self.byte() & 1 == 0
    }

    /// Of any magnitude, so that every length of varint is met.
    fn number(&mut self) -> u64 {
        let bits = self.byte() % 65;
        let mut number = 0;
        for _ in 0..bits.div_ceil(8) {
            number = number << 8 | u64::from(self.byte());
        }
        number
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn capabilities(&mut self) -> Capabilities {
        let bits = self.byte();
        Capabilities {
            pipelining: bits & 1 != 0,
            asynchronous: bits & 2 != 0,
            fragmentation: bits & 4 != 0,
        }
    }

    fn value(&mut self) -> Value<'a> {
        match self.byte() % 11 {
            0 => Value::Null,
            1 => Value::Bool(false),
            2 => Value::Bool(true),
            3 => Value::Int32(self.number() as i32),
            4 => Value::Uint32(self.number() as u32),
            5 => Value::Int64(self.number().cast_signed()),
            6 => Value::Uint64(self.number()),
            7 => Value::Ipv4(Ipv4Addr::from_bits(self.number() as u32)),
            8 => Value::Ipv6(Ipv6Addr::from_bits(
                u128::from(self.number()) << 64 | u128::from(self.number()),
            )),
            9 => Value::Str(self.bytes()),
            _ => Value::Bin(self.bytes()),
        }
    }
}
