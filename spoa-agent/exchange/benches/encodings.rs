//! The encodings, per half and per exchange, beside prost's own decoder on the same bytes; and what becomes of an exchange on its
//! way to Kafka and back, in each format.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use exchange::message::{Bounds, Format, Incoming, Options, Origin, Reader, Writer};
use exchange::{
    Body, Endpoint, Exchange, Extent, Half, Header, Headers, Request, Response, json, record::wire,
};
use prost::Message as _;

const SIZES: [usize; 3] = [0, 1 << 10, 64 << 10];

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    for size in SIZES {
        let half = Half::Request(request(size));
        let mut record = Vec::new();
        half.encode(&mut record);
        let record = Bytes::from(record);
        group.throughput(Throughput::Bytes(record.len() as u64));
        group.bench_with_input(BenchmarkId::new("encode", size), &half, |b, half| {
            let mut out = Vec::with_capacity(record.len());
            b.iter(|| {
                out.clear();
                half.encode(&mut out);
                black_box(out.len())
            });
        });
        group.bench_with_input(BenchmarkId::new("decode", size), &record, |b, record| {
            b.iter(|| black_box(Half::decode(record)));
        });
        group.bench_with_input(BenchmarkId::new("borrow", size), &record, |b, record| {
            b.iter(|| black_box(Half::borrow(record)));
        });
        group.bench_with_input(
            BenchmarkId::new("decode by prost", size),
            &record,
            |b, record| {
                b.iter(|| black_box(wire::Record::decode(record.clone())));
            },
        );
    }
    group.finish();
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("json line");
    for size in SIZES {
        let exchange = exchange(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("write", size), &exchange, |b, exchange| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                json::write_line(exchange, json::Options::default(), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn messages(c: &mut Criterion) {
    let origin = Origin {
        agent: "proxy-1",
        begun: 1,
        complete: 2,
    };
    for format in Format::ALL {
        let mut group = c.benchmark_group(format!("message {format}"));
        for size in SIZES {
            let exchange = exchange(size);
            group.throughput(Throughput::Elements(1));
            group.bench_with_input(BenchmarkId::new("write", size), &exchange, |b, exchange| {
                let mut writer = Writer::new(format, Options::default());
                let mut out = Vec::new();
                b.iter(|| {
                    out.clear();
                    black_box(writer.exchange(&origin, exchange, &mut out))
                });
            });
            let mut out = Vec::new();
            Writer::new(format, Options::default()).exchange(&origin, &exchange, &mut out);
            group.bench_with_input(BenchmarkId::new("read", size), &out, |b, messages| {
                b.iter(|| {
                    // A reader of its own: a record that comes again on a connection is passed by.
                    let mut reader = Reader::new(Bounds::default());
                    let mut told = Vec::with_capacity(1);
                    for message in messages {
                        let headers = message.headers.iter();
                        let incoming = Incoming {
                            partition: 0,
                            offset: 0,
                            time_us: 0,
                            headers: headers.map(|(name, value)| (*name, &value[..])),
                            value: message.value.clone(),
                        };
                        reader.push(incoming, &mut told);
                    }
                    black_box(told.len())
                });
            });
        }
        group.finish();
    }
}

fn exchange(size: usize) -> Exchange {
    Exchange {
        position: 1,
        request: Some(request(size)),
        response: Some(Response {
            status: 200,
            headers: headers(),
            body: body(200),
            ..Response::default()
        }),
    }
}

fn request(size: usize) -> Request {
    let endpoint = Some(Endpoint {
        ip: [127, 0, 0, 1].into(),
        port: 9200,
    });
    Request {
        id: Bytes::from_static(b"25599ff2-98fe-4dbc-b589-4aaf721559e5"),
        time_us: 1_790_000_000_000_000,
        client: endpoint,
        local: endpoint,
        frontend: Bytes::from_static(b"primary"),
        version: Bytes::from_static(b"1.1"),
        method: Bytes::from_static(b"POST"),
        target: Bytes::from_static(b"/events/_doc?refresh=true"),
        headers: headers(),
        body: body(size),
        ..Request::default()
    }
}

fn headers() -> Headers {
    (0..12)
        .map(|n| Header {
            name: Bytes::from(format!("x-header-{n}")),
            value: Bytes::from_static(b"a value of some thirty bytes.."),
        })
        .collect()
}

/// JSON lines, as `_bulk` has them.
fn body(size: usize) -> Body {
    let line = b"{\"index\":{\"_id\":\"17\"}}\n{\"name\":\"juniper oasis\",\"price\":133}\n";
    let content: Vec<u8> = line.iter().copied().cycle().take(size).collect();
    Body {
        content: content.into(),
        extent: Extent::Whole,
    }
}

criterion_group!(benches, records, lines, messages);
criterion_main!(benches);
