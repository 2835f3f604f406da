//! How long it takes to read what a request means, request by request. The scheduler does this once for each exchange.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use exchange::{Body, Extent, Header, Headers, Request, operation};

const REQUESTS: [(&str, &str, &str); 12] = [
    (
        "PUT",
        "/events-2026/_doc/25599ff2?refresh=wait_for",
        DOCUMENT,
    ),
    ("POST", "/events-2026/_doc", DOCUMENT),
    ("GET", "/events-2026/_doc/25599ff2", ""),
    ("PUT", "/events-2026/event/25599ff2", DOCUMENT),
    ("POST", "/events-2026/_update/25599ff2", UPDATE),
    ("GET", "/events-2026/_search", ""),
    ("POST", "/events-*,-events-2020/_search?size=10", DOCUMENT),
    (
        "POST",
        "/events-2026/_mget",
        "{\"ids\":[\"1\",\"2\",\"3\"]}",
    ),
    (
        "POST",
        "/_msearch",
        "{\"index\":\"a\"}\n{}\n{\"index\":\"b\"}\n{}\n",
    ),
    ("GET", "/_cat/indices?v", ""),
    ("POST", "/_plugins/_alerting/monitors/_search", ""),
    ("POST", "/nobody/_knows/this", ""),
];
const DOCUMENT: &str = "{\"name\":\"juniper oasis\",\"price\":133}";
const UPDATE: &str = "{\"doc\":{\"name\":\"juniper oasis\",\"price\":133}}";

fn operations(c: &mut Criterion) {
    let mut group = c.benchmark_group("operation");
    group.throughput(Throughput::Elements(1));
    for (method, target, body) in REQUESTS {
        let request = request(method, target, body);
        group.bench_with_input(
            BenchmarkId::from_parameter(format!("{method} {target}")),
            &request,
            |b, request| b.iter(|| operation::read(black_box(request))),
        );
    }
    group.finish();
}

fn request(method: &'static str, target: &'static str, body: &'static str) -> Request {
    Request {
        method: Bytes::from_static(method.as_bytes()),
        target: Bytes::from_static(target.as_bytes()),
        headers: headers(),
        body: Body {
            content: Bytes::from_static(body.as_bytes()),
            extent: Extent::Whole,
        },
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

criterion_group!(benches, operations);
criterion_main!(benches);
