//! Reading a `_bulk` body and its answer, in bytes per second.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use exchange::operation::{Access, Api, Indices, Operation, Reach, Refresh, answer, bulk};
use exchange::{Body, Response};

const ITEMS: usize = 1000;

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("bulk");
    for size in [100, 1000, 10_000] {
        let body = body("index", size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("index", size), &body, |b, body| {
            b.iter(|| black_box(bulk::items(body.as_bytes(), b"logs", None, None)));
        });
    }
    let updates = body("update", 1000);
    group.throughput(Throughput::Bytes(updates.len() as u64));
    group.bench_function("update", |b| {
        b.iter(|| black_box(bulk::items(updates.as_bytes(), b"logs", None, None)));
    });
    let operation = Operation {
        api: Api::Bulk,
        access: Access::Write,
        reach: Reach::Documents,
        indices: Indices::default(),
        documents: bulk::items(body("index", 100).as_bytes(), b"logs", None, None)
            .unwrap_or_default(),
        refresh: Refresh::Later,
    };
    let response = response();
    group.throughput(Throughput::Bytes(response.body.content.len() as u64));
    group.bench_function("answer", |b| {
        b.iter(|| black_box(answer::read(&operation, Some(&response))));
    });
    group.finish();
}

fn body(action: &str, size: usize) -> String {
    let mut body = String::new();
    for item in 0..ITEMS {
        let filler = "lorem ipsum ".repeat(size / 12);
        let source = match action {
            "update" => format!(r#"{{"doc":{{"n":{item},"text":"{filler}"}}}}"#),
            _ => format!(r#"{{"n":{item},"text":"{filler}"}}"#),
        };
        body += &format!(
            "{{\"{action}\":{{\"_index\":\"logs\",\"_id\":\"document-{item}\"}}}}\n{source}\n"
        );
    }
    body
}

fn response() -> Response {
    let mut body = String::from(r#"{"took":30,"errors":false,"items":["#);
    for item in 0..ITEMS {
        let comma = if item == 0 { "" } else { "," };
        body += &format!(
            r#"{comma}{{"index":{{"_index":"logs","_type":"_doc","_id":"document-{item}","_version":1,"result":"created","_shards":{{"total":2,"successful":1,"failed":0}},"_seq_no":{item},"_primary_term":1,"status":201}}}}"#
        );
    }
    body.push_str("]}");
    Response {
        status: 200,
        body: Body {
            content: Bytes::from(body),
            ..Body::default()
        },
        ..Response::default()
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
