//! The laws of what Kafka carries.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails has failed its test"
)]

use bytes::Bytes;
use exchange::message::{
    Bounds, Format, Incoming, Message, Options, Origin, Reader, Source, Span, Told, Unreadable,
    Writer, header,
};
use exchange::record::wire;
use exchange::{Credentials, Exchange, Gap, Pair, Request};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

mod values;

/// What there is to tell.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them")]
enum Value {
    Exchange(Exchange),
    Request(Request),
    Pair(Pair),
    Gap(Gap),
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        values::exchange().prop_map(Value::Exchange),
        values::request().prop_map(Value::Request),
        values::pair().boxed().prop_map(Value::Pair),
        values::gap().prop_map(Value::Gap),
    ]
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(vec![Format::Json, Format::Protobuf])
}

fn writer(format: Format, max_bytes: usize) -> Writer {
    let options = Options {
        max_bytes,
        ..Options::default()
    };
    Writer::new(format, options)
}

fn write(writer: &mut Writer, begun: u64, value: &Value) -> Vec<Message> {
    let mut out = Vec::new();
    let origin = Origin {
        agent: "proxy-1",
        begun,
        complete: begun + 7,
    };
    match value {
        Value::Exchange(exchange) => writer.exchange(&origin, exchange, &mut out),
        Value::Request(request) => writer.request(&origin, request, &mut out),
        Value::Pair(pair) => writer.pair(&origin, pair, &mut out),
        Value::Gap(gap) => writer.gap(&origin, gap, &mut out),
    };
    out
}

/// Masks, as the writer does.
fn masked(value: &Value) -> Value {
    let secrets = Credentials::default();
    let mut value = value.clone();
    match &mut value {
        Value::Exchange(exchange) => {
            if let Some(it) = &mut exchange.request {
                it.headers.mask(&secrets);
            }
            if let Some(it) = &mut exchange.response {
                it.headers.mask(&secrets);
            }
        }
        Value::Request(request) => request.headers.mask(&secrets),
        Value::Pair(pair) => pair.mask(&secrets),
        Value::Gap(_) => {}
    }
    value
}

fn told(value: Value, source: Source) -> Told {
    match value {
        Value::Exchange(exchange) => {
            let exchange = Box::new(exchange);
            Told::Exchange { source, exchange }
        }
        Value::Request(request) => {
            let request = Box::new(request);
            Told::Request { source, request }
        }
        Value::Pair(pair) => {
            let pair = Box::new(pair);
            Told::Pair { source, pair }
        }
        Value::Gap(gap) => Told::Gap { source, gap },
    }
}

fn source(begun: u64, first: i64, last: i64) -> Source {
    Source {
        span: Span {
            partition: 0,
            first,
            last,
        },
        agent: "proxy-1".into(),
        begun: Some(begun),
        complete: Some(begun + 7),
    }
}

fn push(reader: &mut Reader, offset: usize, message: &Message) -> Vec<Told> {
    let mut out = Vec::new();
    let headers = message.headers.iter();
    reader.push(
        Incoming {
            partition: 0,
            offset: offset as i64,
            time_us: 0,
            headers: headers.map(|(name, value)| (*name, &value[..])),
            value: message.value.clone(),
        },
        &mut out,
    );
    out
}

/// The value as prost's generated code writes it.
fn generated(messages: &[Message]) -> wire::Message {
    let [message] = messages else {
        panic!("in parts: {}", messages.len());
    };
    wire::Message::decode(message.value.clone()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_protobuf_of_a_message_is_what_generated_code_reads_and_writes(value in value(), begun in 0..u64::MAX / 2) {
        let messages = write(&mut writer(Format::Protobuf, 10_000_000), begun, &value);
        let generated = generated(&messages);
        prop_assert_eq!((&*generated.agent, generated.begun, generated.complete), ("proxy-1", begun, begun + 7));
        prop_assert_eq!(generated.encode_to_vec(), messages[0].value.to_vec());
    }

    #[test]
    fn a_damaged_protobuf_is_told_or_unreadable(value in value(), place in any::<prop::sample::Index>(), byte in any::<u8>(), is_cut in any::<bool>()) {
        let mut messages = write(&mut writer(Format::Protobuf, 10_000_000), 1, &value);
        let mut bytes = messages[0].value.to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if is_cut {
            bytes.truncate(place);
        }
        messages[0].value = bytes.into();
        prop_assert_eq!(push(&mut Reader::new(Bounds::default()), 0, &messages[0]).len(), 1);
    }

    #[test]
    fn what_is_written_is_read_back_in_parts_or_whole(
        value in value(), format in format(), begun in 0..u64::MAX / 2, max_bytes in prop_oneof![400..900_usize, Just(1_000_000)],
    ) {
        let messages = write(&mut writer(format, max_bytes), begun, &value);
        let mut reader = Reader::new(Bounds::default());
        let read: Vec<Told> = messages.iter().enumerate().flat_map(|(offset, it)| push(&mut reader, offset, it)).collect();
        let last = i64::try_from(messages.len()).unwrap() - 1;
        prop_assert_eq!(read, [told(masked(&value), source(begun, 0, last))]);
        prop_assert_eq!(reader.floor(0), None);
    }

    #[test]
    fn parts_of_many_values_in_any_order_and_more_than_once_are_put_together(
        values in vec(values::request(), 1..5), seed in any::<u64>(), format in format(),
    ) {
        let mut writer = writer(format, 600);
        let mut messages = Vec::new();
        for (begun, value) in values.iter().enumerate() {
            messages.extend(write(&mut writer, begun as u64, &Value::Request(value.clone())));
        }
        // Some are delivered again, before what they are part of is complete.
        let mut rng = seed;
        let mut random = |below: usize| {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(rng >> 33).unwrap() % below
        };
        let again = messages[random(messages.len())].clone();
        for place in (1..messages.len()).rev() {
            messages.swap(place, random(place + 1));
        }
        messages.insert(0, again);
        let mut reader = Reader::new(Bounds { idle_us: u64::MAX, ..Bounds::default() });
        let mut read: Vec<Told> = messages.iter().enumerate().flat_map(|(offset, it)| push(&mut reader, offset, it)).collect();
        read.sort_by_key(|it| it.source().begun);
        let requests = |told: &Told| match told {
            Told::Request { request, .. } => Some((**request).clone()),
            _ => None,
        };
        let mut read: Vec<Request> = read.iter().filter_map(requests).collect();
        read.dedup();
        let mut expected: Vec<Request> = values.iter().map(|it| {
            let mut it = it.clone();
            it.headers.mask(&Credentials::default());
            it
        }).collect();
        expected.dedup();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_value_of_which_a_part_is_missing_or_altered_is_never_told(
        request in values::request(), victim in any::<prop::sample::Index>(), flip in option_byte(), format in format(),
    ) {
        let mut messages = write(&mut writer(format, 500), 3, &Value::Request(request));
        prop_assume!(messages.len() > 1);
        let victim = victim.index(messages.len());
        match flip {
            Some((place, with)) => {
                let mut value = messages[victim].value.to_vec();
                let place = place.index(value.len());
                value[place] ^= with;
                messages[victim].value = value.into();
            }
            None => drop(messages.remove(victim)),
        }
        let mut reader = Reader::new(Bounds::default());
        let mut read: Vec<Told> = messages.iter().enumerate().flat_map(|(offset, it)| push(&mut reader, offset, it)).collect();
        if flip.is_none() {
            prop_assert_eq!(&read, &[]);
            prop_assert_eq!(reader.floor(0), Some(0));
        }
        reader.finish(0, &mut read);
        prop_assert!(matches!(&read[..], [Told::Unreadable { .. }]), "{read:?}");
        prop_assert_eq!(reader.floor(0), None);
    }

    #[test]
    fn any_bytes_are_told_or_unreadable_and_stay_in_bounds(
        messages in vec((vec(any::<u8>(), 0..300), option_schema(), "[0-9]{1,3}/[0-9]{1,3}", "[0-9a-f]{1,3}-[0-9a-f]{1,8}", any::<bool>()), 0..30),
    ) {
        let mut reader = Reader::new(Bounds { bytes: 2_000, parts: 5, idle_us: 10 });
        let mut out = Vec::new();
        for (offset, (value, schema, part, whole, is_part)) in messages.into_iter().enumerate() {
            let mut headers: Vec<(&str, &[u8])> = Vec::new();
            if let Some(schema) = &schema {
                headers.push((header::SCHEMA, schema.as_bytes()));
            }
            if is_part {
                headers.push((header::PART, part.as_bytes()));
                headers.push((header::WHOLE, whole.as_bytes()));
            }
            let incoming = Incoming { partition: 0, offset: i64::try_from(offset).unwrap(), time_us: offset as u64, headers, value: Bytes::from(value) };
            reader.push(incoming, &mut out);
            prop_assert!(reader.held() <= 2 * 2_000);
        }
        reader.finish(0, &mut out);
        prop_assert_eq!((reader.floor(0), reader.held()), (None, 0));
    }
}

fn option_byte() -> impl Strategy<Value = Option<(prop::sample::Index, u8)>> {
    prop::option::of((any::<prop::sample::Index>(), 1..=255_u8))
}

fn option_schema() -> impl Strategy<Value = Option<String>> {
    let known = Format::ALL.map(|format| format.schema().to_owned());
    prop::option::of(prop_oneof![prop::sample::select(known.to_vec()), ".{0,20}"])
}

/// Parts of a request of some size.
fn parts(begun: u64) -> Vec<Message> {
    let request = Request {
        id: Bytes::from(format!("id-{begun}")),
        target: vec![b'x'; 2_000].into(),
        ..Request::default()
    };
    write(
        &mut writer(Format::Json, 1_400),
        begun,
        &Value::Request(request),
    )
}

#[test]
fn each_message_names_what_it_is_and_where_it_comes_from() {
    let messages = parts(42);
    let names: Vec<(&str, String)> = messages[1]
        .headers
        .iter()
        .map(|(name, value)| (*name, String::from_utf8(value.to_vec()).unwrap()))
        .filter(|(name, _)| *name != header::WHOLE)
        .collect();
    let expected = [
        ("kind", "request"),
        ("schema", "spoa-agent.exchange.v1+json"),
        ("id", "id-42"),
        ("time", "0"),
        ("agent", "proxy-1"),
        ("begun", "42"),
        ("complete", "49"),
        ("part", &*format!("2/{}", messages.len())),
    ];
    assert_eq!(
        names,
        expected.map(|(name, value)| (name, value.to_owned()))
    );
}

#[test]
fn no_message_is_larger_than_its_limit() {
    for message in parts(1) {
        let headers: usize = message
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 10)
            .sum();
        assert!(message.value.len() + headers + 200 < 1_400);
    }
}

#[test]
fn a_value_whose_parts_do_not_come_is_given_up_when_its_time_is_over() {
    let mut reader = Reader::new(Bounds {
        idle_us: 1_000,
        ..Bounds::default()
    });
    let parts = parts(1);
    assert_eq!(push(&mut reader, 0, &parts[0]), []);
    assert_eq!(reader.floor(0), Some(0));
    let later = Incoming {
        partition: 0,
        offset: 1,
        time_us: 1_001,
        headers: [("schema", &b"no such"[..])],
        value: Bytes::new(),
    };
    let mut out = Vec::new();
    reader.push(later, &mut out);
    let [_, Told::Unreadable { source, id, why }] = &out[..] else {
        panic!("{out:?}");
    };
    let total = u32::try_from(parts.len()).unwrap();
    let missing = total - 1;
    assert_eq!(why, &Unreadable::Parts { missing, total });
    assert_eq!(id.as_deref(), Some(&b"id-1"[..]));
    assert_eq!((source.begun, source.span.first), (Some(1), 0));
    assert_eq!(reader.floor(0), None);
}

#[test]
fn what_is_held_stays_in_bounds_and_the_oldest_is_given_up() {
    let mut reader = Reader::new(Bounds {
        parts: 2,
        ..Bounds::default()
    });
    assert_eq!(push(&mut reader, 0, &parts(1)[0]), []);
    assert_eq!(push(&mut reader, 1, &parts(2)[0]), []);
    let given_up = push(&mut reader, 2, &parts(3)[0]);
    assert_eq!(given_up.len(), 1);
    assert_eq!(given_up[0].source().begun, Some(1));
    assert_eq!(reader.floor(0), Some(1));
}

#[test]
fn a_value_that_began_before_the_reading_began_is_told_apart_from_a_lost_one() {
    let mut reader = Reader::new(Bounds::default());
    let parts = parts(1);
    let mut out = Vec::new();
    for (offset, part) in parts.iter().enumerate().skip(1) {
        out.extend(push(&mut reader, offset, part));
    }
    reader.finish(0, &mut out);
    assert!(matches!(
        &out[..],
        [Told::Unreadable {
            why: Unreadable::Earlier { missing: 1, .. },
            ..
        }]
    ));
}

#[test]
fn parts_of_a_value_that_was_split_twice_are_not_mixed_up() {
    let request = Request {
        target: vec![b'x'; 3_000].into(),
        ..Request::default()
    };
    let request = Value::Request(request);
    let coarse = write(&mut writer(Format::Json, 2_500), 1, &request);
    let fine = write(&mut writer(Format::Json, 1_200), 1, &request);
    let mut reader = Reader::new(Bounds::default());
    let (first, rest) = coarse.split_first().unwrap();
    assert_eq!(push(&mut reader, 0, first), []);
    let told: Vec<Told> = fine
        .iter()
        .chain(rest)
        .enumerate()
        .flat_map(|(offset, it)| push(&mut reader, offset + 1, it))
        .collect();
    assert!(matches!(
        &told[..],
        [Told::Request { .. }, Told::Request { .. }]
    ));
    assert_eq!(reader.floor(0), None);
}

#[test]
fn a_probe_is_passed_by() {
    let probe = Message {
        headers: vec![("kind", Bytes::from_static(b"probe"))],
        value: Bytes::from_static(b"anything"),
        ..Message::default()
    };
    let mut reader = Reader::new(Bounds::default());
    assert_eq!(push(&mut reader, 0, &probe), []);
    assert_eq!(reader.floor(0), None);
}

#[test]
fn a_line_of_the_traffic_log_is_read_without_headers() {
    let mut line = Vec::new();
    exchange::json::write_line(
        &Exchange {
            position: 5,
            request: Some(Request::default()),
            response: None,
        },
        exchange::json::Options::default(),
        &mut line,
    );
    let message = Message {
        value: line.into(),
        ..Message::default()
    };
    let told = push(&mut Reader::new(Bounds::default()), 0, &message);
    assert_eq!(told[0].source().begun, Some(5));
    assert!(matches!(told[0], Told::Exchange { .. }));
}

#[test]
fn without_bodies_nothing_is_told_as_whole() {
    let request = Request {
        body: exchange::Body {
            content: Bytes::from_static(b"secret"),
            ..exchange::Body::default()
        },
        ..Request::default()
    };
    let options = Options {
        bodies: false,
        ..Options::default()
    };
    for format in [Format::Json, Format::Protobuf] {
        let mut writer = Writer::new(format, options.clone());
        let messages = write(&mut writer, 0, &Value::Request(request.clone()));
        let told = push(&mut Reader::new(Bounds::default()), 0, &messages[0]);
        let [Told::Request { request, .. }] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(!request.body.is_whole());
        assert_eq!(request.body.extent.missing(), Some(6));
    }
}
