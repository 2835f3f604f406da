//! Decode and encode of a NOTIFY with 19 arguments, at four sizes of body, beside the crate `spop`
//! and beside a plain copy of the same frame. Only the ratios of one run mean anything.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot build its input must stop"
)]

use std::hint::black_box;
use std::net::Ipv4Addr;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spop_codec::ack::{self, Actions};
use spop_codec::notify::{self, NewMessage};
use spop_codec::{Frame, FrameId, StreamId, Value, frame, hdrs};

const BODY_SIZES: [usize; 4] = [0, 1 << 10, 16 << 10, 256 << 10];
const MAX_FRAME_SIZE: u32 = 1 << 20;

criterion_group!(benches, decode, encode, headers, acknowledge);
criterion_main!(benches);

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for size in BODY_SIZES {
        let wire = request(size);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_with_input(
            BenchmarkId::new("spop-codec", size),
            &wire,
            |bencher, wire| {
                bencher.iter(|| read(black_box(wire)));
            },
        );
        group.bench_with_input(BenchmarkId::new("spop", size), &wire, |bencher, wire| {
            bencher.iter(|| {
                let parsed = spop::parser::parse_frame_with_limit(black_box(wire), MAX_FRAME_SIZE);
                let (_, frame) = parsed.expect("spop reads what it should");
                black_box(frame)
            });
        });
        group.bench_with_input(BenchmarkId::new("copy", size), &wire, |bencher, wire| {
            let mut copy = Vec::with_capacity(wire.len());
            bencher.iter(|| {
                copy.clear();
                copy.extend_from_slice(black_box(wire));
                black_box(copy.as_slice());
            });
        });
    }
    group.finish();
}

/// What a server does with a frame: limit, header, each message, each argument, end of frame.
fn read(wire: &[u8]) -> usize {
    let total = frame::frame_length(wire, MAX_FRAME_SIZE).expect("below the limit");
    let bytes = wire
        .get(frame::PREFIX_LEN..total.expect("whole"))
        .expect("whole");
    let frame = Frame::decode(bytes).expect("a frame");
    let mut arguments = 0;
    for message in notify::messages(frame.payload) {
        for arg in message.expect("a message").args {
            black_box(arg.expect("an argument"));
            arguments += 1;
        }
    }
    arguments
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for size in BODY_SIZES {
        let body = vec![b'x'; size];
        let block = header_block();
        let args = arguments(&block, &body);
        let message = NewMessage {
            name: b"request",
            args: &args,
        };
        let mut out = BytesMut::with_capacity(request(size).len());
        group.throughput(Throughput::Bytes(out.capacity() as u64));
        group.bench_function(BenchmarkId::new("spop-codec", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                notify::encode(
                    &mut out,
                    StreamId(12_345),
                    FrameId(1),
                    black_box(&[message]),
                )
                .expect("a frame");
                black_box(out.as_ref());
            });
        });
    }
    group.finish();
}

fn headers(criterion: &mut Criterion) {
    let block = header_block();
    criterion.bench_function("hdrs_bin of 700 bytes", |bencher| {
        bencher.iter(|| {
            for header in hdrs::headers(black_box(&block)) {
                black_box(header.expect("a header"));
            }
        });
    });
}

fn acknowledge(criterion: &mut Criterion) {
    let actions = Actions::harmless();
    let mut out = BytesMut::with_capacity(4096);
    criterion.bench_function("ack", |bencher| {
        bencher.iter(|| {
            out.clear();
            ack::encode(&mut out, black_box(StreamId(12_345)), FrameId(1), &actions);
            black_box(out.as_ref());
        });
    });
}

fn request(body_size: usize) -> Vec<u8> {
    let body = vec![b'x'; body_size];
    let block = header_block();
    let args = arguments(&block, &body);
    assert_eq!(args.len(), 19);
    let mut wire = Vec::new();
    let message = NewMessage {
        name: b"request",
        args: &args,
    };
    notify::encode(&mut wire, StreamId(12_345), FrameId(1), &[message]).expect("a frame");
    wire
}

fn arguments<'a>(block: &'a [u8], body: &'a [u8]) -> [(&'a [u8], Value<'a>); 19] {
    let size = body.len() as i64;
    [
        (b"v", Value::Int64(1)),
        (b"id", Value::Str(b"0f9d6a3e-7c1b-4a55-9f4e-2b8f0c6d1e77")),
        (b"ts", Value::Int64(1_793_000_000_123_456)),
        (b"cip", Value::Ipv4(Ipv4Addr::new(192, 0, 2, 17))),
        (b"cport", Value::Int64(49_152)),
        (b"fip", Value::Ipv4(Ipv4Addr::new(198, 51, 100, 4))),
        (b"fport", Value::Int64(9200)),
        (b"fe", Value::Str(b"fe_search")),
        (b"tls", Value::Bool(false)),
        (b"sni", Value::Null),
        (b"proto", Value::Int64(1)),
        (b"m", Value::Str(b"POST")),
        (
            b"pq",
            Value::Str(b"/logs-2026.11.20/_search?pretty&size=50&routing=abc"),
        ),
        (b"ver", Value::Str(b"1.1")),
        (b"hd", Value::Bin(block)),
        (b"bs", Value::Int64(size)),
        (b"bl", Value::Int64(size)),
        (b"eom", Value::Bool(true)),
        (b"body", Value::Bin(body)),
    ]
}

/// About 700 bytes in 14 headers.
fn header_block() -> Vec<u8> {
    let headers: [(&[u8], &[u8]); 14] = [
        (b"host", b"search.example.test:9200"),
        (
            b"user-agent",
            b"opensearch-py/2.8.0 (Python 3.13.5; Linux 6.12)",
        ),
        (
            b"accept",
            b"application/json, application/x-ndjson;q=0.9, */*;q=0.1",
        ),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"content-length", b"1024"),
        (
            b"authorization",
            b"Basic dXNlcjpwYXNzd29yZC1vZi1zb21lLWxlbmd0aA==",
        ),
        (b"x-opaque-id", b"dashboard/7f1c0e52-panel-12"),
        (
            b"traceparent",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (b"tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (b"x-forwarded-for", b"203.0.113.77, 198.51.100.23"),
        (b"x-forwarded-proto", b"https"),
        (b"cookie", b"sid=4f0c1b7b2d8e4d1f9a4c; theme=dark; lang=en"),
        (b"connection", b"keep-alive"),
    ];
    let mut block = Vec::new();
    hdrs::encode(&mut block, headers).expect("named headers");
    assert!(
        (600..800).contains(&block.len()),
        "{} bytes of headers",
        block.len()
    );
    block
}
