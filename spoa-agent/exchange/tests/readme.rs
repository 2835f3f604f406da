//! What `README.md` shows is what is written.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails has failed its test"
)]

use std::fmt::Write as _;

use bytes::Bytes;
use exchange::message::traffic_stream::wire::{
    self, traffic_observation::Capture, traffic_stream::Index,
};
use exchange::message::{Format, Message, Options, Origin, Writer, header};
use exchange::{Body, Endpoint, Exchange, Extent, Header, Headers, Request, Response};
use prost::Message as _;

const README: &str = include_str!("../README.md");

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
    let header = |(name, value): &(&'static str, &'static str)| Header {
        name: text(name),
        value: text(value),
    };
    fields.iter().map(header).collect()
}

fn exchange() -> Exchange {
    let time_us = 1_795_236_391_112_984;
    Exchange {
        position: 4096,
        request: Some(Request {
            id: text("1ae6482e-17d4-4988-87f6-652b0196cfd5"),
            time_us,
            client: Some(Endpoint {
                ip: [127, 0, 0, 1].into(),
                port: 40_744,
            }),
            local: Some(Endpoint {
                ip: [127, 0, 0, 1].into(),
                port: 9200,
            }),
            frontend: text("primary"),
            version: text("1.1"),
            method: text("POST"),
            target: text("/idx/_doc?refresh=true"),
            headers: headers(&[
                ("host", "127.0.0.1:9200"),
                ("authorization", "Basic Zm9v"),
                ("content-length", "7"),
            ]),
            body: Body {
                content: text("{\"a\":1}"),
                extent: Extent::Whole,
            },
            ..Request::default()
        }),
        response: Some(Response {
            id: text("1ae6482e-17d4-4988-87f6-652b0196cfd5"),
            time_us: time_us + 4_375,
            request_time_us: Some(time_us),
            backend: text("cluster"),
            server: text("10.0.0.1:9200"),
            status: 201,
            version: text("1.1"),
            headers: headers(&[("content-type", "application/json")]),
            body: Body {
                content: text("{\"_index\":\"idx\","),
                extent: Extent::Cut {
                    missing: Some(1_000),
                },
            },
            ..Response::default()
        }),
    }
}

fn written(format: Format, max_bytes: usize) -> Vec<Message> {
    let options = Options {
        max_bytes,
        instance: 0x66b,
        ..Options::default()
    };
    let origin = Origin {
        agent: "proxy-1",
        begun: 4096,
        complete: 4711,
    };
    let mut messages = Vec::new();
    Writer::new(format, options).exchange(&origin, &exchange(), &mut messages);
    messages
}

/// As `kcat -f '%h'` prints them.
fn header_line(message: &Message) -> String {
    let fields = message.headers.iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
        .collect();
    fields.join(",")
}

fn shows(what: &str) {
    assert!(README.contains(what), "README.md does not show:\n{what}");
}

#[test]
fn the_headers_of_a_message() {
    for message in written(Format::Json, 1_000_000) {
        shows(&header_line(&message));
    }
}

#[test]
fn the_headers_of_a_part() {
    let parts = written(Format::Json, 1_000);
    let [_, second, ..] = &parts[..] else {
        panic!("{parts:?}");
    };
    let of_part = |name: &str| name == header::PART || name == header::WHOLE;
    for (name, value) in second.headers.iter().filter(|(name, _)| of_part(name)) {
        shows(&format!("`{name}={}`", String::from_utf8_lossy(value)));
    }
}

#[test]
fn the_document_of_a_message() {
    let written = written(Format::Json, 1_000_000);
    let value: serde_json::Value = serde_json::from_slice(&written[0].value).unwrap();
    let blocks = README.split("```json").skip(1);
    let mut blocks = blocks.filter_map(|it| it.split("```").next());
    let shown =
        blocks.find(|it| serde_json::from_str(it).is_ok_and(|it: serde_json::Value| it == value));
    assert!(shown.is_some(), "README.md does not show:\n{value:#}");
}

#[test]
fn the_record_of_a_traffic_stream() {
    let [message] = &written(Format::TrafficStream, 1_000_000)[..] else {
        panic!("one record");
    };
    let record = wire::TrafficStream::decode(message.value.clone()).unwrap();
    shows(&as_protoc_prints(&record));
}

fn as_protoc_prints(record: &wire::TrafficStream) -> String {
    let mut out = String::new();
    writeln!(out, "connectionId: {:?}", record.connection_id).unwrap();
    for observation in &record.sub_stream {
        let ts = observation.ts.unwrap();
        writeln!(
            out,
            "subStream {{\n  ts {{\n    seconds: {}\n    nanos: {}\n  }}",
            ts.seconds, ts.nanos
        )
        .unwrap();
        match observation.capture.clone().unwrap() {
            Capture::Read(it) => writeln!(out, "  read {{\n    data: \"{}\"\n  }}", it.data.escape_ascii()).unwrap(),
            Capture::Write(it) => writeln!(out, "  write {{\n    data: \"{}\"\n  }}", it.data.escape_ascii()).unwrap(),
            Capture::EndOfMessageIndicator(it) => writeln!(
                out,
                "  endOfMessageIndicator {{\n    firstLineByteLength: {}\n    headersByteLength: {}\n  }}",
                it.first_line_byte_length.unwrap(),
                it.headers_byte_length.unwrap(),
            )
            .unwrap(),
            other => panic!("{other:?}"),
        }
        out.push_str("}\n");
    }
    let Some(Index::Number(number)) = record.index else {
        panic!("{record:?}");
    };
    writeln!(out, "number: {number}\nnodeId: {:?}", record.node_id).unwrap();
    out
}
