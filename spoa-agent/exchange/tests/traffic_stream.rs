//! The laws of the records of connections: what is written is read back, and what any proxy wrote is read, however it was cut.

#![expect(
    clippy::unwrap_used,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "a helper that fails has failed its test"
)]

use bytes::Bytes;
use exchange::message::traffic_stream::{
    Timestamp,
    wire::{self, traffic_observation::Capture, traffic_stream::Index},
};
use exchange::message::{
    Bounds, Carried, Connections, Format, Incoming, Message, Options, Origin, Reader, Told,
    Unreadable, Writer,
};
use exchange::{Body, Endpoint, Exchange, Extent, Header, Headers, Request, Response};
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

mod values;

const T: u64 = 1_790_000_000_000_000;

fn writer(max_bytes: usize) -> Writer {
    let options = Options {
        max_bytes,
        instance: 0xabc,
        ..Options::default()
    };
    Writer::new(Format::TrafficStream, options)
}

fn origin(begun: u64) -> Origin<'static> {
    Origin {
        agent: "proxy-1",
        begun,
        complete: begun + 1,
    }
}

fn reader() -> Reader {
    Reader::new(Bounds {
        idle_us: u64::MAX,
        ..Bounds::default()
    })
}

fn push(reader: &mut Reader, offset: usize, message: &Message, out: &mut Vec<Told>) {
    let headers = message.headers.iter();
    let incoming = Incoming {
        partition: 0,
        offset: offset as i64,
        time_us: 0,
        headers: headers.map(|(name, value)| (*name, &value[..])),
        value: message.value.clone(),
    };
    reader.push(incoming, out);
}

/// All that a reader tells of these messages, to their end.
fn read(messages: &[Message]) -> Vec<Told> {
    let mut reader = reader();
    let mut out = Vec::new();
    for (offset, message) in messages.iter().enumerate() {
        push(&mut reader, offset, message, &mut out);
    }
    reader.finish(0, &mut out);
    assert_eq!(reader.floor(0), None);
    out
}

fn exchanges(told: &[Told]) -> Vec<Exchange> {
    let exchange = |told: &Told| match told {
        Told::Exchange { exchange, .. } => Some((**exchange).clone()),
        _ => None,
    };
    told.iter().filter_map(exchange).collect()
}

fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
    fields
        .iter()
        .map(|(name, value)| Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        })
        .collect()
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn is_framing(field: &Header) -> bool {
    matches!(&field.name[..], b"content-length" | b"transfer-encoding")
}

// What HTTP can say.

fn token() -> impl Strategy<Value = Bytes> {
    "[a-z][a-z0-9-]{0,12}".prop_map(|name| Bytes::from(format!("x-{name}")))
}

fn field_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        "([!-~]([ -~]{0,20}[!-~])?)?".prop_map(Bytes::from),
        vec(0x80..=0xff_u8, 1..8).prop_map(Bytes::from),
    ]
}

fn fields() -> impl Strategy<Value = Headers> {
    vec((token(), field_value()), 0..5).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(name, value)| Header { name, value })
            .collect()
    })
}

fn content() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        Just(Bytes::new()),
        vec(any::<u8>(), 0..2_000).prop_map(Bytes::from),
        // What looks like HTTP.
        Just(text(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n0\r\n\r\n"
        )),
    ]
}

/// A body as the agent observes it: a length that is not known, or that is.
fn body() -> impl Strategy<Value = Body> {
    (content(), option::of(option::of(1..10_000_u64))).prop_map(|(content, cut)| {
        let extent = match (cut, content.is_empty()) {
            (None, _) => Extent::Whole,
            (Some(missing), true) => Extent::NotCaptured { missing },
            (Some(missing), false) => Extent::Cut { missing },
        };
        Body { content, extent }
    })
}

fn client() -> impl Strategy<Value = Option<Endpoint>> {
    let endpoint = |(last, port): (u8, u16)| Endpoint {
        ip: [10, 0, 0, last].into(),
        port,
    };
    option::weighted(0.9, (0..3_u8, 1..3_u16).prop_map(endpoint))
}

prop_compose! {
    fn sayable()(
        client in client(),
        method in prop::sample::select(vec!["GET", "POST", "PUT", "HEAD", "DELETE", "get", "M-SEARCH"]),
        target in "/[a-zA-Z0-9_,*%?=&.-]{0,30}",
        version in prop::sample::select(vec!["1.0", "1.1"]),
        (request_fields, request_body) in (fields(), body()),
        status in prop::sample::select(vec![200_u16, 201, 204, 304, 400, 404, 429, 503]),
        (response_fields, response_body, is_answered) in (fields(), body(), prop::bool::weighted(0.9)),
        (began, took) in (0..1_000_000_u64, 0..1_000_000_u64),
    ) -> Exchange {
        let request = Request {
            client,
            time_us: T + began,
            version: Bytes::from_static(version.as_bytes()),
            method: Bytes::from_static(method.as_bytes()),
            target: Bytes::from(target),
            headers: request_fields,
            body: request_body,
            ..Request::default()
        };
        let is_bodiless = method == "HEAD" || matches!(status, 204 | 304);
        let response = is_answered.then(|| Response {
            time_us: T + began + took,
            request_time_us: Some(T + began),
            status,
            version: text("1.1"),
            headers: response_fields,
            body: if is_bodiless { Body::default() } else { response_body },
            ..Response::default()
        });
        Exchange { position: 0, request: Some(request), response }
    }
}

/// As a traffic stream can tell it: nothing answers a request that is not whole.
fn as_carried(exchange: &Exchange, number: usize) -> Exchange {
    let mut exchange = exchange.clone();
    exchange.position = number as u64 * 10;
    let id = Bytes::from(format!("id-{number}"));
    if let Some(request) = &mut exchange.request {
        request.id = id.clone();
        if !request.body.is_whole() && request.body.extent.missing().is_none() {
            // A chunked body: HTTP/1.0 has none.
            request.version = text("1.1");
        }
        if !request.body.is_whole() {
            exchange.response = None;
        }
    }
    if let Some(response) = &mut exchange.response {
        response.id = id;
    }
    exchange
}

fn without_framing(mut exchange: Exchange) -> Exchange {
    let strip = |headers: &mut Headers| headers.0.retain(|field| !is_framing(field));
    if let Some(request) = &mut exchange.request {
        strip(&mut request.headers);
    }
    if let Some(response) = &mut exchange.response {
        strip(&mut response.headers);
    }
    exchange
}

fn write_all(exchanges: &[Exchange], max_bytes: usize, ahead: &[bool]) -> Vec<Message> {
    let mut writer = writer(max_bytes);
    let mut messages = Vec::new();
    for (number, exchange) in exchanges.iter().enumerate() {
        let mut named = as_carried(exchange, number);
        named.response = exchange.response.clone();
        let origin = origin(named.position);
        if ahead.get(number) == Some(&true)
            && let Some(request) = &named.request
        {
            writer.request(&origin, request, &mut messages);
        }
        writer.exchange(&origin, &named, &mut messages);
    }
    messages
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exchanges_read_back_as_far_as_the_format_can_carry_them(
        all in vec(sayable(), 1..8), max_bytes in prop_oneof![Just(900_usize), 1_000..4_000_usize, Just(1_000_000)],
    ) {
        let messages = write_all(&all, max_bytes, &[]);
        for message in &messages {
            prop_assert!(message.value.len() <= max_bytes);
        }
        let mut told = exchanges(&read(&messages));
        told.sort_by_key(|exchange| exchange.position);
        let told: Vec<Exchange> = told.into_iter().map(without_framing).collect();
        let expected: Vec<Exchange> = all.iter().enumerate().map(|(number, it)| as_carried(it, number)).collect();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn a_request_told_ahead_becomes_one_exchange_with_its_answer(
        all in vec((sayable(), any::<bool>()), 1..8), max_bytes in prop_oneof![Just(900_usize), Just(1_000_000)],
    ) {
        // What is not whole is told twice: as the mark, and as the mark.
        let (all, ahead): (Vec<Exchange>, Vec<bool>) = all.into_iter()
            .map(|(it, ahead)| { let whole = it.request.as_ref().is_some_and(|it| it.body.is_whole()); (it, ahead && whole) })
            .unzip();
        let told = read(&write_all(&all, max_bytes, &ahead));
        let mut told = exchanges(&told);
        told.sort_by_key(|exchange| exchange.position);
        let told: Vec<Exchange> = told.into_iter().map(without_framing).collect();
        let expected: Vec<Exchange> = all.iter().enumerate().map(|(number, it)| as_carried(it, number)).collect();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn any_exchange_is_carried_or_marked_and_never_told_as_another(all in vec(values::exchange(), 1..5), max_bytes in prop_oneof![Just(900_usize), Just(1_000_000)]) {
        let mut writer = writer(max_bytes);
        let mut messages = Vec::new();
        let mut carried = Vec::new();
        for (number, exchange) in all.iter().enumerate() {
            carried.push(writer.exchange(&origin(number as u64), exchange, &mut messages));
        }
        for exchange in exchanges(&read(&messages)) {
            let request = exchange.request.unwrap();
            let from = all[usize::try_from(exchange.position).unwrap()].request.as_ref().unwrap();
            prop_assert_eq!(&request.method, &from.method);
            prop_assert_eq!(&request.target, &from.target);
            prop_assert_eq!(&request.body.content, &from.body.content);
            prop_assert_eq!(request.body.is_whole(), from.body.is_whole());
            if carried[usize::try_from(exchange.position).unwrap()] == Carried::Whole {
                prop_assert!(exchange.response.is_some());
            }
        }
    }

    #[test]
    fn generated_code_reads_the_records_and_the_reader_reads_those_that_it_writes(
        all in vec(sayable(), 1..6), max_bytes in prop_oneof![Just(900_usize), Just(1_000_000)],
    ) {
        let mut messages = write_all(&all, max_bytes, &[]);
        let before = read(&messages);
        for message in &mut messages {
            let record = wire::TrafficStream::decode(message.value.clone()).unwrap();
            prop_assert_eq!(Some(record.connection_id.as_bytes()), message.key.as_deref());
            prop_assert_eq!(&record.node_id, "proxy-1");
            prop_assert!(record.index.is_some());
            prop_assert!(record.sub_stream.iter().all(|it| it.ts.is_some() && it.capture.is_some()));
            message.value = record.encode_to_vec().into();
        }
        prop_assert_eq!(before, read(&messages));
    }

    #[test]
    fn the_end_of_a_request_says_how_long_its_head_is(exchange in sayable()) {
        let messages = write_all(&[exchange], 1_000_000, &[]);
        let record = wire::TrafficStream::decode(messages[0].value.clone()).unwrap();
        let bytes = record.sub_stream.iter().find_map(|it| match &it.capture {
            Some(Capture::Read(read)) => Some(read.data.clone()),
            _ => None,
        });
        let end = record.sub_stream.iter().find_map(|it| match &it.capture {
            Some(Capture::EndOfMessageIndicator(end)) => Some(*end),
            _ => None,
        });
        if let Some(end) = end {
            let bytes = bytes.unwrap();
            let head = String::from_utf8_lossy(&bytes).into_owned();
            let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.len() - 1);
            prop_assert_eq!(end.first_line_byte_length.unwrap() as usize, lines.next().unwrap(), "{}", head);
            let headers: usize = lines.take_while(|length| *length > 0).sum();
            prop_assert_eq!(end.headers_byte_length.unwrap() as usize, headers, "{}", head);
        }
    }

    #[test]
    fn however_a_connection_is_cut_into_records_it_tells_the_same_exchanges(
        script in script(), pieces in vec(1..200_usize, 1..40), per_record in vec(1..5_usize, 1..10), segments in any::<bool>(),
    ) {
        let whole = read(&records(&script, &[usize::MAX], &[usize::MAX], false));
        let cut = read(&records(&script, &pieces, &per_record, segments));
        prop_assert_eq!(exchanges(&whole).len(), script.len());
        prop_assert_eq!(exchanges(&whole), exchanges(&cut));
        prop_assert!(exchanges(&cut).iter().all(|it| it.request.as_ref().unwrap().body.is_whole()));
    }

    #[test]
    fn without_one_of_the_records_nothing_cut_is_told_as_whole(
        script in script(), pieces in vec(1..200_usize, 1..40), victim in any::<prop::sample::Index>(),
    ) {
        let whole = exchanges(&read(&records(&script, &[usize::MAX], &[usize::MAX], false)));
        let mut messages = records(&script, &pieces, &[3], false);
        messages.remove(victim.index(messages.len()));
        for exchange in exchanges(&read(&messages)) {
            let request = exchange.request.unwrap();
            if request.body.is_whole() {
                let is_one = |it: &Exchange| {
                    let it = it.request.as_ref().unwrap();
                    it.target == request.target && it.body == request.body && it.headers == request.headers
                };
                prop_assert!(whole.iter().any(is_one), "{:?}", request);
            }
        }
    }

    #[test]
    fn any_bytes_and_any_observations_are_told_or_passed_by_and_stay_in_bounds(
        records in vec((prop_oneof![noise().boxed(), vec(any::<u8>(), 0..200).boxed()], 0..3_i32), 0..40),
    ) {
        let mut reader = Reader::new(Bounds { bytes: 10_000, parts: 3, idle_us: 1_000 });
        let mut out = Vec::new();
        for (offset, (value, partition)) in records.into_iter().enumerate() {
            let incoming = Incoming { partition, offset: offset as i64, time_us: 0, headers: [], value: value.into() };
            reader.push(incoming, &mut out);
            prop_assert!(reader.held() <= 10_000);
        }
        for partition in 0..3 {
            reader.finish(partition, &mut out);
            prop_assert_eq!(reader.floor(partition), None);
        }
        prop_assert_eq!(reader.held(), 0);
    }
}

/// Records with observations that make no sense together.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || {
        prop_oneof![
            vec(any::<u8>(), 0..60).prop_map(Bytes::from),
            Just(text("GET / HTTP/1.1\r\n\r\n")),
            Just(text(
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"
            )),
            Just(text("cde\r\n0\r\n\r\n")),
            Just(text(
                "POST / HTTP/1.1\r\ncontent-length: 18446744073709551615\r\n\r\n"
            )),
            Just(text("HTTP/1.1 200 OK\r\n\r\n")),
            Just(text("HTTP/1.1 101 \r\n\r\n")),
            Just(text("HTTP/1.1 204 \r\ncontent-length: 9\r\n\r\n")),
            Just(text("HTTP/1.1 200 \r\ntransfer-encoding: gzip\r\n\r\n")),
        ]
    };
    let capture = prop_oneof![
        bytes().prop_map(|data| Capture::Read(wire::ReadObservation { data })),
        bytes().prop_map(|data| Capture::Write(wire::WriteObservation { data })),
        bytes().prop_map(|data| Capture::ReadSegment(wire::ReadSegmentObservation { data })),
        bytes().prop_map(|data| Capture::WriteSegment(wire::WriteSegmentObservation { data })),
        Just(Capture::SegmentEnd(wire::EndOfSegmentsIndication {})),
        Just(Capture::EndOfMessageIndicator(
            wire::EndOfMessageIndication::default()
        )),
        Just(Capture::RequestDropped(
            wire::RequestIntentionallyDropped {}
        )),
        Just(Capture::Close(wire::CloseObservation {})),
        Just(Capture::Bind(wire::BindObservation {})),
    ];
    let ts =
        option::of(any::<(i64, i32)>().prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }));
    let observation = (ts, option::of(capture))
        .prop_map(|(ts, capture)| wire::TrafficObservation { ts, capture });
    (
        vec(observation, 0..8),
        prop::sample::select(vec!["a", "b", "c", "d", "10.0.0.1:7-1-2"]),
        option::of(-1..6_i32),
        any::<(Option<bool>, Option<i32>, bool)>(),
    )
        .prop_map(|(sub_stream, id, number, (unterminated, prior, is_last))| {
            wire::TrafficStream {
                connection_id: id.to_owned(),
                node_id: "n".to_owned(),
                prior_requests_received: prior,
                last_observation_was_unterminated_read: unterminated,
                sub_stream,
                index: number.map(|number| match is_last {
                    true => Index::NumberOfThisLastChunk(number),
                    false => Index::Number(number),
                }),
            }
            .encode_to_vec()
        })
}

/// One exchange of a connection, as bytes.
#[derive(Clone, Debug)]
struct Spoken {
    asked: Vec<u8>,
    answered: Vec<u8>,
}

/// What a client and a server say in turn.
fn script() -> impl Strategy<Value = Vec<Spoken>> {
    let asked = (
        prop::sample::select(vec!["GET", "HEAD", "POST", "PUT"]),
        content(),
        option::of(1..50_usize),
    );
    let answered = (
        prop::sample::select(vec![200_u16, 201, 204, 304, 404]),
        content(),
        option::of(1..50_usize),
        any::<bool>(),
    );
    vec((asked, answered), 1..6).prop_map(|turns| {
        let turns = turns.into_iter().enumerate();
        turns
            .map(|(number, (asked, answered))| {
                let (method, content, chunks) = asked;
                let mut bytes = format!("{method} /{number} HTTP/1.1\r\nHost: h\r\n").into_bytes();
                say(&content, chunks, &mut bytes);
                let (status, content, chunks, continues) = answered;
                let mut answer = Vec::new();
                if continues {
                    answer.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                answer.extend_from_slice(
                    format!("HTTP/1.1 {status} Whatever\r\nA: b\r\n").as_bytes(),
                );
                if method == "HEAD" || matches!(status, 204 | 304) {
                    answer.extend_from_slice(b"Content-Length: 77\r\n\r\n");
                } else {
                    say(&content, chunks, &mut answer);
                }
                Spoken {
                    asked: bytes,
                    answered: answer,
                }
            })
            .collect()
    })
}

fn say(content: &[u8], chunks: Option<usize>, out: &mut Vec<u8>) {
    match chunks {
        None => {
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
            out.extend_from_slice(content);
        }
        Some(size) => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in content.chunks(size) {
                out.extend_from_slice(format!("{:X};ext=1\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        }
    }
}

/// The records of a capture proxy for what was said: every observation at the same time.
fn records(
    script: &[Spoken],
    pieces: &[usize],
    per_record: &[usize],
    segments: bool,
) -> Vec<Message> {
    let mut pieces = pieces.iter().copied().cycle();
    let mut observations = Vec::new();
    for Spoken { asked, answered } in script {
        let mut rest = &asked[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(pieces.next().unwrap().min(rest.len()));
            rest = after;
            observations.push(if segments {
                read_segment(piece)
            } else {
                read_of(piece)
            });
        }
        if segments {
            observations.push(Capture::SegmentEnd(wire::EndOfSegmentsIndication {}));
        }
        observations.push(end_of_request());
        let mut rest = &answered[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(pieces.next().unwrap().min(rest.len()));
            rest = after;
            observations.push(written(piece));
        }
    }
    let mut per_record = per_record.iter().copied().cycle();
    let mut messages = Vec::new();
    let (mut prior, mut unterminated) = (0, false);
    let mut rest = &observations[..];
    while !rest.is_empty() {
        let (these, after) = rest.split_at(per_record.next().unwrap().min(rest.len()));
        rest = after;
        let number = messages.len() as i32 + 1;
        let mut record = record("netty-1", number, these);
        record.prior_requests_received = (prior > 0).then_some(prior);
        record.last_observation_was_unterminated_read = unterminated.then_some(true);
        for observation in these {
            match observation {
                Capture::Read(_) | Capture::ReadSegment(_) => unterminated = true,
                Capture::EndOfMessageIndicator(_) => {
                    unterminated = false;
                    prior += 1;
                }
                _ => {}
            }
        }
        messages.push(message(&record));
    }
    messages
}

fn record(connection: &str, number: i32, observations: &[Capture]) -> wire::TrafficStream {
    let observation = |capture: &Capture| wire::TrafficObservation {
        ts: Some(Timestamp {
            seconds: 1_790_000_000,
            nanos: 5_000,
        }),
        capture: Some(capture.clone()),
    };
    wire::TrafficStream {
        connection_id: connection.to_owned(),
        node_id: "node".to_owned(),
        sub_stream: observations.iter().map(observation).collect(),
        index: Some(Index::Number(number)),
        ..wire::TrafficStream::default()
    }
}

fn message(record: &wire::TrafficStream) -> Message {
    Message {
        value: record.encode_to_vec().into(),
        ..Message::default()
    }
}

fn read_of(bytes: &[u8]) -> Capture {
    let data = Bytes::copy_from_slice(bytes);
    Capture::Read(wire::ReadObservation { data })
}

fn read_segment(bytes: &[u8]) -> Capture {
    let data = Bytes::copy_from_slice(bytes);
    Capture::ReadSegment(wire::ReadSegmentObservation { data })
}

fn written(bytes: &[u8]) -> Capture {
    let data = Bytes::copy_from_slice(bytes);
    Capture::Write(wire::WriteObservation { data })
}

fn end_of_request() -> Capture {
    Capture::EndOfMessageIndicator(wire::EndOfMessageIndication::default())
}

fn dropped() -> Capture {
    Capture::RequestDropped(wire::RequestIntentionallyDropped {})
}

fn closed() -> Capture {
    Capture::Close(wire::CloseObservation {})
}

/// Target, extent of the request, status and body of the answer.
fn summary(told: &[Told]) -> Vec<String> {
    let line = |exchange: &Exchange| {
        let request = exchange.request.as_ref().unwrap();
        let answer = exchange.response.as_ref().map_or_else(
            || "none".to_owned(),
            |it| {
                let content = String::from_utf8_lossy(&it.body.content);
                format!("{} {} {content:?}", it.status, it.body.extent.as_str())
            },
        );
        let target = String::from_utf8_lossy(&request.target);
        format!("{target} {}: {answer}", request.body.extent.as_str())
    };
    exchanges(told).iter().map(line).collect()
}

fn one_record(observations: &[Capture]) -> Vec<Told> {
    read(&[message(&record("c", 1, observations))])
}

const GET_A: &[u8] = b"GET /a HTTP/1.1\r\n\r\n";
const GET_B: &[u8] = b"GET /b HTTP/1.1\r\n\r\n";
const PUT_C: &[u8] = b"PUT /c HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
const OK_1: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
const OK_2: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n2";

#[test]
fn pipelined_requests_get_their_answers_in_order() {
    let told = one_record(&[
        read_of(&[GET_A, PUT_C, GET_B].concat()),
        end_of_request(),
        written(&[OK_1, OK_2].concat()),
        written(OK_1),
        closed(),
    ]);
    let expected = [
        "/a whole: 200 whole \"1\"",
        "/c whole: 201 whole \"2\"",
        "/b whole: 200 whole \"1\"",
    ];
    assert_eq!(summary(&told), expected);
}

#[test]
fn a_body_without_a_length_ends_with_the_connection_and_only_with_it() {
    let answer = &b"HTTP/1.1 200 OK\r\n\r\nall of it"[..];
    let observations = [read_of(GET_A), end_of_request(), written(answer), closed()];
    assert_eq!(
        summary(&one_record(&observations)),
        ["/a whole: 200 whole \"all of it\""]
    );
    let not_closed = one_record(&observations[..3]);
    assert_eq!(summary(&not_closed), ["/a whole: 200 cut \"all of it\""]);
}

#[test]
fn an_answer_that_the_connection_cuts_is_cut() {
    let told = one_record(&[
        read_of(GET_A),
        end_of_request(),
        written(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall"),
        closed(),
    ]);
    assert_eq!(summary(&told), ["/a whole: 200 cut \"all\""]);
    let response = exchanges(&told)[0].response.clone().unwrap();
    assert_eq!(response.body.extent, Extent::Cut { missing: Some(6) });
}

#[test]
fn an_answer_that_comes_before_the_request_is_whole_belongs_to_it() {
    let too_large = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    let told = one_record(&[
        read_of(&PUT_C[..PUT_C.len() - 2]),
        written(too_large),
        read_of(&PUT_C[PUT_C.len() - 2..]),
        end_of_request(),
        read_of(GET_A),
        end_of_request(),
        written(OK_1),
    ]);
    let expected = ["/c whole: 413 whole \"\"", "/a whole: 200 whole \"1\""];
    assert_eq!(summary(&told), expected);
    let told = one_record(&[
        read_of(&PUT_C[..PUT_C.len() - 2]),
        written(too_large),
        closed(),
    ]);
    assert_eq!(summary(&told), ["/c cut: 413 whole \"\""]);
}

#[test]
fn a_request_that_was_dropped_on_purpose_is_never_told_as_whole() {
    let told = one_record(&[
        read_of(&PUT_C[..PUT_C.len() - 1]),
        dropped(),
        read_of(GET_A),
        end_of_request(),
        written(OK_1),
        closed(),
    ]);
    assert_eq!(
        summary(&told),
        ["/c cut: none", "/a whole: 200 whole \"1\""]
    );
    let ids: Vec<Bytes> = exchanges(&told)
        .iter()
        .map(|it| it.id().unwrap().clone())
        .collect();
    assert_eq!(ids, ["c.0.dropped", "c.0"]);
    let told = one_record(&[
        read_of(b"PUT /secret HT"),
        dropped(),
        read_of(GET_A),
        written(OK_1),
    ]);
    assert!(matches!(
        &told[0],
        Told::Unreadable {
            why: Unreadable::Head,
            ..
        }
    ));
    assert_eq!(summary(&told), ["/a whole: 200 whole \"1\""]);
}

#[test]
fn a_stream_that_begins_in_the_middle_is_read_from_its_next_request_on() {
    let mut first = record(
        "c",
        7,
        &[
            read_of(b"rest of a body"),
            end_of_request(),
            written(OK_1),
            read_of(GET_B),
            end_of_request(),
            written(OK_2),
        ],
    );
    first.prior_requests_received = Some(4);
    first.last_observation_was_unterminated_read = Some(true);
    let told = read(&[message(&first)]);
    assert_eq!(summary(&told), ["/b whole: 201 whole \"2\""]);
    assert_eq!(exchanges(&told)[0].id().unwrap(), "c.5");
    let mut first = record(
        "c",
        7,
        &[written(b"rest of an answer"), read_of(GET_B), written(OK_2)],
    );
    first.prior_requests_received = Some(4);
    let told = read(&[message(&first)]);
    assert_eq!(summary(&told), ["/b whole: 201 whole \"2\""]);
    assert_eq!(exchanges(&told)[0].id().unwrap(), "c.4");
}

#[test]
fn a_record_that_is_delivered_again_is_passed_by() {
    let first = message(&record("c", 1, &[read_of(&PUT_C[..20])]));
    let second = message(&record(
        "c",
        2,
        &[read_of(&PUT_C[20..]), end_of_request(), written(OK_1)],
    ));
    let told = read(&[first.clone(), first.clone(), second.clone(), first, second]);
    assert_eq!(summary(&told), ["/c whole: 200 whole \"1\""]);
}

#[test]
fn a_record_that_is_missing_cuts_what_it_was_part_of() {
    let mut third = record(
        "c",
        3,
        &[
            read_of(b"lo"),
            end_of_request(),
            written(OK_1),
            read_of(GET_A),
            written(OK_2),
        ],
    );
    third.last_observation_was_unterminated_read = Some(true);
    let first = message(&record("c", 1, &[read_of(&PUT_C[..PUT_C.len() - 3])]));
    let told = read(&[first, message(&third)]);
    assert_eq!(
        summary(&told),
        ["/c cut: none", "/a whole: 201 whole \"2\""]
    );
}

#[test]
fn nodes_and_partitions_are_kept_apart() {
    let mut reader = reader();
    let mut out = Vec::new();
    let mut offset = 0;
    for (node, partition) in [("m", 0), ("n", 0), ("m", 1)] {
        let mut first = record("c", 1, &[read_of(GET_A), end_of_request()]);
        first.node_id = node.to_owned();
        let value = first.encode_to_vec().into();
        let incoming = Incoming {
            partition,
            offset,
            time_us: 0,
            headers: [],
            value,
        };
        offset += 1;
        reader.push(incoming, &mut out);
    }
    assert_eq!(
        (out.len(), reader.floor(0), reader.floor(1)),
        (0, Some(0), Some(2))
    );
    let mut second = record("c", 2, &[written(OK_1)]);
    second.node_id = "n".to_owned();
    let value = second.encode_to_vec().into();
    reader.push(
        Incoming {
            partition: 0,
            offset,
            time_us: 0,
            headers: [],
            value,
        },
        &mut out,
    );
    assert_eq!(summary(&out), ["/a whole: 200 whole \"1\""]);
    let source = out[0].source();
    assert_eq!(
        (&*source.agent, source.span.first, source.span.last),
        ("n", 1, 3)
    );
    reader.forget(0);
    assert_eq!((reader.floor(0), reader.floor(1)), (None, Some(2)));
}

#[test]
fn an_idle_connection_is_ended_by_the_time_that_its_partition_tells() {
    let mut reader = Reader::new(Bounds {
        idle_us: 1_000_000,
        ..Bounds::default()
    });
    let mut out = Vec::new();
    push(
        &mut reader,
        0,
        &message(&record("c", 1, &[read_of(GET_A), end_of_request()])),
        &mut out,
    );
    let mut later = record("d", 1, &[read_of(GET_B), end_of_request()]);
    later.sub_stream[0].ts = Some(Timestamp {
        seconds: 1_790_000_002,
        nanos: 0,
    });
    push(&mut reader, 1, &message(&later), &mut out);
    assert_eq!(summary(&out), ["/a whole: none"]);
    assert_eq!(reader.floor(0), Some(1));
}

#[test]
fn beyond_its_bounds_a_reader_ends_the_connection_that_was_idle_longest() {
    let mut reader = Reader::new(Bounds {
        bytes: 4_000,
        ..Bounds::default()
    });
    let mut out = Vec::new();
    let half = |connection: &str| {
        message(&record(
            connection,
            1,
            &[read_of(
                &[
                    b"PUT /big HTTP/1.1\r\ncontent-length: 3000\r\n\r\n",
                    &[b'x'; 1_200][..],
                ]
                .concat(),
            )],
        ))
    };
    push(&mut reader, 0, &half("a"), &mut out);
    push(&mut reader, 1, &half("b"), &mut out);
    assert_eq!(summary(&out), ["/big cut: none"]);
    assert_eq!(exchanges(&out)[0].id().unwrap(), "a.0");
    assert_eq!(reader.floor(0), Some(1));
}

#[test]
fn a_body_beyond_the_bounds_is_cut_and_what_follows_is_read() {
    let mut reader = Reader::new(Bounds {
        bytes: 10_000,
        ..Bounds::default()
    });
    let mut out = Vec::new();
    let large = [
        b"PUT /big HTTP/1.1\r\ncontent-length: 30000\r\n\r\n",
        &[b'x'; 30_000][..],
        GET_A,
    ]
    .concat();
    let observations = [
        read_of(&large),
        end_of_request(),
        written(&[OK_1, OK_2].concat()),
    ];
    push(
        &mut reader,
        0,
        &message(&record("c", 1, &observations)),
        &mut out,
    );
    let request = exchanges(&out)[0].request.clone().unwrap();
    assert_eq!(
        request.body.extent,
        Extent::Cut {
            missing: Some(20_000)
        }
    );
    assert_eq!(request.body.content.len(), 10_000);
    assert_eq!(exchanges(&out)[1].request.clone().unwrap().target, "/a");
}

#[test]
fn bytes_that_are_no_http_are_unreadable_and_the_next_request_is_read() {
    let told = one_record(&[
        read_of(b"\x16\x03\x01 no http\r\n\r\n"),
        end_of_request(),
        written(b"whatever"),
        read_of(GET_A),
        end_of_request(),
        written(OK_1),
    ]);
    assert!(matches!(
        &told[0],
        Told::Unreadable {
            why: Unreadable::Value(_),
            ..
        }
    ));
    assert_eq!(summary(&told), ["/a whole: 200 whole \"1\""]);
}

#[test]
fn after_a_change_of_protocol_nothing_is_read() {
    let told = one_record(&[
        read_of(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
        end_of_request(),
        written(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        read_of(b"\x81\x05hello"),
        written(b"\x81\x05hello"),
        closed(),
    ]);
    assert_eq!(summary(&told), ["/ws whole: 101 whole \"\""]);
    assert_eq!(told.len(), 1);
}

// What the writer writes.

fn asked(port: u16, at: u64) -> Request {
    Request {
        id: Bytes::from(format!("id-{at}")),
        time_us: T + at,
        client: Some(Endpoint {
            ip: [10, 0, 0, 1].into(),
            port,
        }),
        version: text("2.0"),
        method: text("POST"),
        target: text("/i/_doc"),
        headers: headers(&[
            ("host", "h"),
            ("content-length", "99"),
            ("x-api-key", "secret"),
        ]),
        body: Body {
            content: text("{}"),
            extent: Extent::Whole,
        },
        ..Request::default()
    }
}

fn answered(at: u64) -> Response {
    Response {
        time_us: T + at,
        status: 201,
        headers: headers(&[("content-type", "x"), ("transfer-encoding", "chunked")]),
        body: Body {
            content: text("{\"a\":1}"),
            extent: Extent::Whole,
        },
        ..Response::default()
    }
}

fn exchange(port: u16, at: u64, took: u64) -> Exchange {
    Exchange {
        position: at,
        request: Some(asked(port, at)),
        response: Some(answered(at + took)),
    }
}

fn decoded(messages: &[Message]) -> Vec<wire::TrafficStream> {
    let decode = |it: &Message| wire::TrafficStream::decode(it.value.clone()).unwrap();
    messages.iter().map(decode).collect()
}

#[test]
fn a_record_has_the_bytes_that_a_proxy_would_have_seen_with_credentials_masked() {
    let mut messages = Vec::new();
    let carried = writer(1_000_000).exchange(&origin(7), &exchange(5, 0, 10), &mut messages);
    assert_eq!(carried, Carried::Whole);
    let [record] = &decoded(&messages)[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(record.connection_id, "10.0.0.1:5-abc-7");
    assert_eq!(record.index, Some(Index::Number(1)));
    let captures: Vec<Capture> = record
        .sub_stream
        .iter()
        .map(|it| it.capture.clone().unwrap())
        .collect();
    let end = wire::EndOfMessageIndication {
        first_line_byte_length: Some(21),
        headers_byte_length: Some(38),
    };
    let expected = [
        read_of(
            b"POST /i/_doc HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\nx-api-key: ***\r\n\r\n{}",
        ),
        Capture::EndOfMessageIndicator(end),
        written(b"HTTP/1.1 201 \r\ncontent-type: x\r\ncontent-length: 7\r\n\r\n{\"a\":1}"),
    ];
    assert_eq!(captures, expected);
    let times: Vec<i32> = record
        .sub_stream
        .iter()
        .map(|it| it.ts.unwrap().nanos)
        .collect();
    assert_eq!(times, [0, 0, 10_000]);
}

#[test]
fn exchanges_of_a_client_are_one_connection_until_it_is_idle() {
    let mut writer = writer(1_000_000);
    let mut messages = Vec::new();
    for at in [0, 100, 500_000_000] {
        writer.exchange(&origin(at), &exchange(5, at, 10), &mut messages);
    }
    let records = decoded(&messages);
    let ids: Vec<(&str, Index)> = records
        .iter()
        .map(|it| (&*it.connection_id, it.index.unwrap()))
        .collect();
    let expected = [
        ("10.0.0.1:5-abc-0", Index::Number(1)),
        ("10.0.0.1:5-abc-0", Index::Number(2)),
        ("10.0.0.1:5-abc-0", Index::NumberOfThisLastChunk(3)),
        ("10.0.0.1:5-abc-1dcd6500", Index::Number(1)),
    ];
    assert_eq!(ids, expected);
    assert_eq!(records[1].prior_requests_received, Some(1));
    assert!(matches!(
        records[2].sub_stream[0].capture,
        Some(Capture::Close(_))
    ));
    let kind = messages[2]
        .headers
        .iter()
        .find(|(name, _)| *name == "kind")
        .unwrap();
    assert_eq!(kind.1, "close");
    assert!(!messages[2].headers.iter().any(|(name, _)| *name == "id"));
    assert_eq!(exchanges(&read(&messages)).len(), 3);
}

#[test]
fn exchanges_that_overlap_have_connections_of_their_own() {
    let mut writer = writer(1_000_000);
    let mut messages = Vec::new();
    writer.exchange(&origin(1), &exchange(5, 50, 10), &mut messages);
    writer.exchange(&origin(2), &exchange(5, 20, 90), &mut messages);
    writer.exchange(&origin(3), &exchange(5, 70, 90), &mut messages);
    let ids: Vec<(String, Index)> = decoded(&messages)
        .into_iter()
        .map(|it| (it.connection_id, it.index.unwrap()))
        .collect();
    let expected = [
        ("10.0.0.1:5-abc-1".to_owned(), Index::Number(1)),
        (
            "10.0.0.1:5-abc-2".to_owned(),
            Index::NumberOfThisLastChunk(1),
        ),
        ("10.0.0.1:5-abc-1".to_owned(), Index::Number(2)),
    ];
    assert_eq!(ids, expected);
}

#[test]
fn a_bounded_number_of_connections_is_kept_open() {
    let options = Options {
        connections: Connections {
            most: 2,
            ..Connections::default()
        },
        ..Options::default()
    };
    let mut writer = Writer::new(Format::TrafficStream, options);
    let mut messages = Vec::new();
    for port in 1..=5 {
        writer.exchange(
            &origin(port.into()),
            &exchange(port, u64::from(port) * 100, 10),
            &mut messages,
        );
    }
    let is_last =
        |it: &wire::TrafficStream| matches!(it.index, Some(Index::NumberOfThisLastChunk(_)));
    let closed: Vec<String> = decoded(&messages)
        .into_iter()
        .filter(is_last)
        .map(|it| it.connection_id)
        .collect();
    assert_eq!(
        closed,
        ["10.0.0.1:1-0-1", "10.0.0.1:2-0-2", "10.0.0.1:3-0-3"]
    );
}

#[test]
fn a_cut_request_is_marked_and_the_connection_goes_on() {
    let mut cut = exchange(5, 0, 10);
    cut.request.as_mut().unwrap().body.extent = Extent::Cut { missing: Some(0) };
    let mut writer = writer(1_000_000);
    let mut messages = Vec::new();
    assert_eq!(
        writer.exchange(&origin(1), &cut, &mut messages),
        Carried::Cut
    );
    writer.exchange(&origin(2), &exchange(5, 100, 10), &mut messages);
    let records = decoded(&messages);
    assert!(matches!(
        records[0].sub_stream.last().unwrap().capture,
        Some(Capture::RequestDropped(_))
    ));
    assert_eq!(records[1].index, Some(Index::Number(2)));
    assert_eq!(records[1].prior_requests_received, None);
    let told = exchanges(&read(&messages));
    assert_eq!(
        told[0].request.as_ref().unwrap().body.extent,
        Extent::Cut { missing: None }
    );
    assert_eq!(
        (told[0].response.is_none(), told[1].response.is_some()),
        (true, true)
    );
}

#[test]
fn what_http_cannot_say_is_marked_without_a_byte() {
    let cases: [fn(&mut Request); 4] = [
        |it| it.headers.0[0].value = text("h\r\nx-smuggled: 1"),
        |it| it.method = text("GET /other HTTP/1.1\r\n\r\nPOST"),
        |it| it.target = text("/a b"),
        |it| it.headers.0[0].name = text(""),
    ];
    for spoil in cases {
        let mut spoiled = exchange(5, 0, 10);
        spoil(spoiled.request.as_mut().unwrap());
        let mut messages = Vec::new();
        assert_eq!(
            writer(1_000_000).exchange(&origin(1), &spoiled, &mut messages),
            Carried::Cut
        );
        let [record] = &decoded(&messages)[..] else {
            panic!("{messages:?}");
        };
        let [only] = &record.sub_stream[..] else {
            panic!("{record:?}");
        };
        assert!(matches!(only.capture, Some(Capture::RequestDropped(_))));
    }
}

#[test]
fn an_exchange_larger_than_a_message_is_written_in_segments() {
    let mut large = exchange(5, 0, 10);
    large.request.as_mut().unwrap().body.content = vec![b'x'; 5_000].into();
    let mut messages = Vec::new();
    writer(1_200).exchange(&origin(1), &large, &mut messages);
    let records = decoded(&messages);
    assert!(records.len() > 5);
    assert!(
        records
            .iter()
            .any(|it| it.last_observation_was_unterminated_read == Some(true))
    );
    let numbers: Vec<Option<Index>> = records.iter().map(|it| it.index).collect();
    let expected: Vec<Option<Index>> = (1..=records.len() as i32)
        .map(|it| Some(Index::Number(it)))
        .collect();
    assert_eq!(numbers, expected);
    let ends = records
        .iter()
        .flat_map(|it| &it.sub_stream)
        .filter(|it| matches!(it.capture, Some(Capture::SegmentEnd(_))));
    assert_eq!(ends.count(), 1);
}

#[test]
fn a_request_told_ahead_is_asked_at_once_and_answered_later() {
    let mut writer = writer(1_000_000);
    let mut messages = Vec::new();
    let held = exchange(5, 0, 10);
    writer.request(&origin(1), held.request.as_ref().unwrap(), &mut messages);
    assert_eq!(messages.len(), 1);
    let origin = Origin {
        complete: 9,
        ..origin(1)
    };
    writer.exchange(&origin, &held, &mut messages);
    let records = decoded(&messages);
    assert_eq!(records[0].sub_stream.len(), 2);
    assert_eq!(records[1].sub_stream.len(), 1);
    let told = read(&messages);
    assert_eq!(exchanges(&told).len(), 1);
    let source = told[0].source();
    assert_eq!((source.begun, source.complete), (Some(1), Some(9)));
    assert_eq!((source.span.first, source.span.last), (0, 1));
}

#[test]
fn a_request_told_ahead_waits_for_its_answer_however_long_that_takes() {
    let mut writer = writer(1_000_000);
    let mut messages = Vec::new();
    let slow = exchange(5, 0, 900_000_000);
    writer.request(&origin(1), slow.request.as_ref().unwrap(), &mut messages);
    for at in [100, 300_000_000, 600_000_000] {
        writer.exchange(&origin(2 + at), &exchange(6, at, 10), &mut messages);
    }
    writer.exchange(&origin(1), &slow, &mut messages);
    let told = exchanges(&read(&messages));
    assert_eq!(told.len(), 4);
    assert!(told.iter().all(|it| it.response.is_some()));
}

#[test]
fn requests_told_ahead_are_bounded_too() {
    let options = Options {
        connections: Connections {
            most: 1,
            ..Connections::default()
        },
        ..Options::default()
    };
    let mut writer = Writer::new(Format::TrafficStream, options);
    let mut messages = Vec::new();
    for port in 1..=3 {
        writer.request(
            &origin(port.into()),
            &asked(port, port.into()),
            &mut messages,
        );
    }
    let closed =
        |it: &wire::TrafficStream| matches!(it.index, Some(Index::NumberOfThisLastChunk(_)));
    let closed: Vec<bool> = decoded(&messages).iter().map(closed).collect();
    assert_eq!(closed, [false, true, true]);
}

#[test]
fn the_answer_to_head_keeps_its_length_and_has_no_body() {
    let mut head = exchange(5, 0, 10);
    head.request.as_mut().unwrap().method = text("HEAD");
    let response = head.response.as_mut().unwrap();
    response.headers = headers(&[("content-length", "500")]);
    response.body = Body::default();
    let mut messages = Vec::new();
    assert_eq!(
        writer(1_000_000).exchange(&origin(1), &head, &mut messages),
        Carried::Whole
    );
    let told = exchanges(&read(&messages));
    assert_eq!(
        told[0].response,
        head.response.map(|it| Response {
            request_time_us: Some(T),
            version: text("1.1"),
            id: text("id-0"),
            ..it
        })
    );
}

#[test]
fn pairs_gaps_and_answers_alone_are_nothing_to_a_traffic_stream() {
    let mut writer = writer(1_000_000);
    let mut messages = Vec::new();
    let alone = Exchange {
        request: None,
        ..exchange(1, 0, 1)
    };
    assert_eq!(
        writer.exchange(&origin(1), &alone, &mut messages),
        Carried::Nothing
    );
    assert_eq!(
        writer.pair(&origin(1), &exchange::Pair::default(), &mut messages),
        Carried::Nothing
    );
    assert_eq!(
        writer.gap(&origin(1), &exchange::Gap::default(), &mut messages),
        Carried::Nothing
    );
    assert_eq!(messages, []);
}
