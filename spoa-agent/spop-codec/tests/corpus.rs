//! Replays the corpus of the fuzz targets, and holds their laws against random bytes as well.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use spop_codec::ack::{self, Action, Actions, Scope};
use spop_codec::frame::Flags;
use spop_codec::hello::HaproxyHello;
use spop_codec::notify::{self, NewMessage};
use spop_codec::{Disconnect, Frame, FrameId, FrameKind, Status, StreamId, Value, hdrs, varint};

#[path = "../fuzz/src/targets.rs"]
mod targets;

#[test]
fn the_corpus_of_frame_stream_holds() {
    replay("frame_stream", targets::frame_stream);
}

#[test]
fn the_corpus_of_notify_holds() {
    replay("notify", targets::notify);
}

#[test]
fn the_corpus_of_round_trip_holds() {
    replay("round_trip", targets::round_trip);
}

#[test]
fn every_seed_cut_short_at_every_byte_holds() {
    for (_, bytes) in seeds("frame_stream") {
        for end in 0..bytes.len().min(600) {
            targets::frame_stream(&bytes[..end]);
        }
    }
    for (_, bytes) in seeds("notify") {
        for end in 0..bytes.len().min(600) {
            targets::notify(&bytes[..end]);
        }
    }
}

#[test]
fn every_seed_with_any_one_bit_turned_holds() {
    for (_, mut bytes) in seeds("frame_stream") {
        for bit in 0..bytes.len().min(200) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            targets::frame_stream(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    #[test]
    fn any_stream_of_bytes_is_decoded_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        targets::frame_stream(&bytes);
    }

    #[test]
    fn any_bytes_in_a_frame_are_decoded_or_refused(
        kind in prop_oneof![0..4_u8, 101..104_u8, any::<u8>()],
        flags in prop_oneof![Just(1), 0..4_u32, any::<u32>()],
        payload in proptest::collection::vec(any::<u8>(), 0..500),
        piece in any::<u8>(),
    ) {
        let (stream_id, frame_id) = (StreamId(0), FrameId(0));
        let frame =
            Frame { kind: kind.into(), flags: Flags(flags), stream_id, frame_id, payload: &payload };
        let mut stream = vec![piece];
        frame.encode(&mut stream).unwrap();
        targets::frame_stream(&stream);
    }

    #[test]
    fn any_bytes_as_a_payload_are_decoded_or_refused(
        bytes in proptest::collection::vec(prop_oneof![0..12_u8, any::<u8>()], 0..1000),
    ) {
        targets::notify(&bytes);
    }

    #[test]
    fn whatever_encodes_decodes_to_itself(
        bytes in proptest::collection::vec(any::<u8>(), 0..4000),
    ) {
        targets::round_trip(&bytes);
    }

    #[test]
    fn every_number_has_exactly_one_varint(bits in 0..=64_u32, number in any::<u64>()) {
        let number = number.checked_shr(64 - bits).unwrap_or(0);
        let mut bytes = Vec::new();
        varint::encode(&mut bytes, number);
        prop_assert_eq!(bytes.len(), varint::len(number));
        prop_assert_eq!(varint::decode(&bytes), Ok((number, [].as_slice())));
    }

    #[test]
    fn every_varint_that_is_read_is_the_one_that_is_written(
        bytes in proptest::collection::vec(prop_oneof![128..=255_u8, any::<u8>()], 0..14),
    ) {
        if let Ok((number, rest)) = varint::decode(&bytes) {
            let mut again = Vec::new();
            varint::encode(&mut again, number);
            again.extend_from_slice(rest);
            prop_assert_eq!(again, bytes);
        }
    }
}

#[test]
#[ignore = "writes fuzz/corpus anew; for when the seeds change"]
fn write_the_seeds() {
    let folder = corpus("frame_stream");
    for (name, bytes) in stream_seeds() {
        // The first byte of the target's input is the size of the pieces.
        let mut input = vec![0];
        input.extend_from_slice(&bytes);
        fs::write(folder.join(name), input).unwrap();
    }
    for (name, bytes) in stream_seeds() {
        if let Some(frame) = bytes.get(4..).and_then(|frame| Frame::decode(frame).ok()) {
            fs::write(corpus("notify").join(name), frame.payload).unwrap();
        }
    }
    for seed in 0..16_u64 {
        // Knuth's multiplier: any fixed noise does, as long as it is the same each time.
        let noise =
            (1..400 + seed * 40).map(|i| (i * i + seed).wrapping_mul(0x5851_f42d_4c95_7f2d));
        let bytes: Vec<u8> = noise.map(|n| (n >> 32) as u8 % 64).collect();
        fs::write(corpus("round_trip").join(format!("noise-{seed:02}")), bytes).unwrap();
    }
}

fn replay(target: &str, run: fn(&[u8])) {
    for (path, bytes) in seeds(target) {
        // Shown only when the test fails: the last one named is the culprit.
        println!("{}", path.display());
        run(&bytes);
    }
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(corpus(target)).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let seeds: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert!(!seeds.is_empty(), "no corpus for {target}");
    seeds
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// One whole stream each, most of them of one frame.
fn stream_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let hello = HaproxyHello {
        engine_id: Some(b"0f9d6a3e-7c1b"),
        ..HaproxyHello::new(16_380)
    };
    let disconnect = Disconnect {
        status: Status::Io,
        message: b"I/O error",
    };
    let frame = |kind, flags, payload| {
        let (stream_id, frame_id) = (StreamId(264_432), FrameId(1));
        Frame {
            kind,
            flags: Flags(flags),
            stream_id,
            frame_id,
            payload,
        }
    };
    vec![
        ("haproxy-hello", written(|out| hello.encode(out).unwrap())),
        (
            "health-check",
            written(|out| HaproxyHello::health_check(256).encode(out).unwrap()),
        ),
        (
            "haproxy-disconnect",
            written(|out| disconnect.encode_haproxy(out)),
        ),
        (
            "agent-disconnect",
            written(|out| disconnect.encode_agent(out)),
        ),
        ("agent-hello", written(agent_hello)),
        ("notify", written(|out| request(out, b"{\"query\":{}}"))),
        (
            "notify-with-a-long-body",
            written(|out| request(out, &[b'x'; 3000])),
        ),
        ("notify-of-every-type", written(every_type)),
        (
            "notify-without-messages",
            written(|out| notify::encode(out, StreamId(0), FrameId(1), &[]).unwrap()),
        ),
        (
            "ack",
            written(|out| ack::encode(out, StreamId(7), FrameId(1), &some_actions())),
        ),
        (
            "empty-ack",
            written(|out| frame(FrameKind::Ack, 1, b"").encode(out).unwrap()),
        ),
        (
            "fragment",
            written(|out| frame(FrameKind::Notify, 0, b"\x01m").encode(out).unwrap()),
        ),
        (
            "aborted-fragment",
            written(|out| frame(FrameKind::Unset, 3, b"").encode(out).unwrap()),
        ),
        (
            "unknown-frame",
            written(|out| frame(42.into(), 0, b"?").encode(out).unwrap()),
        ),
        ("hostile-length", b"\xff\xff\xff\xff\x03\0\0\0\x01".to_vec()),
        (
            "hostile-varint",
            b"\0\0\0\x10\x03\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ),
        (
            "hostile-string",
            b"\0\0\0\x11\x03\0\0\0\x01\x01\x01\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x06".to_vec(),
        ),
        (
            "conversation",
            written(|out| {
                hello.encode(out).unwrap();
                request(out, b"");
                request(out, b"body");
                disconnect.encode_haproxy(out);
            }),
        ),
    ]
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn agent_hello(out: &mut Vec<u8>) {
    use spop_codec::hello::{AgentHello, Capabilities, Version};
    let capabilities = Capabilities::PIPELINING;
    AgentHello {
        version: Version::V2_0,
        max_frame_size: 16_380,
        capabilities,
    }
    .encode(out);
}

fn request(out: &mut Vec<u8>, body: &[u8]) {
    let headers = [
        (b"host".as_slice(), b"a.test".as_slice()),
        (b"x", b"\xff"),
        (b"x", b"2"),
    ];
    let block = written(|block| hdrs::encode(block, headers).unwrap());
    let args = [
        (
            b"id".as_slice(),
            Value::Str(b"0f9d6a3e-7c1b-4a55-9f4e-2b8f0c6d1e77"),
        ),
        (b"ts", Value::Int64(1_793_000_000_123_456)),
        (b"cip", Value::Ipv4([192, 0, 2, 17].into())),
        (b"sni", Value::Null),
        (b"pq", Value::Str(b"/logs/_search?q=%ff\xfe")),
        (b"hd", Value::Bin(&block)),
        (b"eom", Value::Bool(true)),
        (b"body", Value::Bin(body)),
    ];
    let message = NewMessage {
        name: b"req-msg",
        args: &args,
    };
    notify::encode(out, StreamId(3), FrameId(1), &[message]).unwrap();
}

fn every_type(out: &mut Vec<u8>) {
    let args = [
        (b"".as_slice(), Value::Null),
        (b"", Value::Bool(false)),
        (b"a", Value::Int32(-5)),
        (b"b", Value::Uint32(u32::MAX)),
        (b"c", Value::Int64(i64::MIN)),
        (b"d", Value::Uint64(u64::MAX)),
        (b"e", Value::Ipv6([0xfe; 16].into())),
        (b"f", Value::Str(b"")),
    ];
    let message = NewMessage {
        name: b"m",
        args: &args,
    };
    let empty = NewMessage {
        name: b"",
        args: &[],
    };
    notify::encode(out, StreamId(0), FrameId(2), &[message, empty, message]).unwrap();
}

fn some_actions() -> Actions {
    let value = Value::Bool(true);
    Actions::new(&[
        Action::SetVar {
            scope: Scope::Transaction,
            name: b"durable",
            value,
        },
        Action::UnsetVar {
            scope: Scope::Session,
            name: b"x",
        },
    ])
    .unwrap()
}
