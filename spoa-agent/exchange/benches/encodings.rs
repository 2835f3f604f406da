//! The two encodings, per half and per exchange, beside prost's own decoder on the same bytes.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
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
        let exchange = Exchange {
            position: 1,
            request: Some(request(size)),
            response: Some(Response {
                status: 200,
                headers: headers(),
                body: body(200),
                ..Response::default()
            }),
        };
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

criterion_group!(benches, records, lines);
criterion_main!(benches);
