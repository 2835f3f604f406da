//! The laws of the two encodings.

use bytes::Bytes;
use exchange::{
    Body, Exchange, Extent, Gap, Half, Request, json,
    record::{Kind, wire},
};
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

use values::{body, half, pair, request, response, time};

mod values;

proptest! {
    #[test]
    fn a_record_decodes_to_what_was_encoded(half in half()) {
        let mut out = Vec::new();
        half.encode(&mut out);
        prop_assert_eq!(out.len(), half.encoded_len());
        prop_assert_eq!(Half::decode(&Bytes::from(out.clone())).unwrap(), half);
    }

    #[test]
    fn a_borrowed_half_is_the_same_half(half in half()) {
        let mut out = Vec::new();
        half.encode(&mut out);
        let borrowed = Half::borrow(&out).unwrap();
        let mut again = Vec::new();
        borrowed.encode(&mut again);
        prop_assert_eq!(out, again);
    }

    #[test]
    fn fields_of_a_newer_version_are_skipped(half in half(), tag in 100_u32..200, text in vec(any::<u8>(), 0..9)) {
        let mut inner = Vec::new();
        half.encode(&mut inner);
        let mut out = Vec::new();
        prost::encoding::encode_key(tag, prost::encoding::WireType::SixtyFourBit, &mut out);
        out.extend_from_slice(&[7; 8]);
        prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut out);
        prost::encoding::encode_varint(text.len() as u64, &mut out);
        out.extend_from_slice(&text);
        out.extend_from_slice(&inner);
        prop_assert_eq!(Half::decode(&out.into()).unwrap(), half);
    }

    #[test]
    fn the_hand_written_encoder_writes_what_the_generated_one_writes(half in half()) {
        let mut out = Vec::new();
        half.encode(&mut out);
        let generated = wire::Record::decode(&out[..]).unwrap().encode_to_vec();
        prop_assert_eq!(out, generated);
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        drop(Half::decode(&bytes.into()));
    }

    #[test]
    fn a_damaged_pair_is_a_record_or_an_error(pair in pair().boxed(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut out = Vec::new();
        Half::Pair(Box::new(pair)).encode(&mut out);
        let place = place.index(out.len());
        out[place] = byte;
        drop(Half::decode(&out.clone().into()));
        out.truncate(place);
        drop(Half::decode(&out.into()));
    }

    #[test]
    fn a_line_reads_back_as_the_exchange(
        request in option::of(request()), response in option::of(response()), position in any::<u64>(),
    ) {
        prop_assume!(request.is_some() || response.is_some());
        let response = response.map(|mut it| {
            if let Some(request) = &request { it.id = request.id.clone(); }
            it
        });
        let exchange = Exchange { position, request, response };
        let mut line = Vec::new();
        json::write_line(&exchange, json::Options::default(), &mut line);
        prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        prop_assert_eq!(json::read_line(&line).unwrap(), Some(exchange));
    }

    #[test]
    fn the_line_of_a_pair_reads_back_as_the_pair(pair in pair().boxed(), number in any::<u64>(), time_us in time(), is_letter in any::<bool>()) {
        let name = match is_letter {
            true => json::PairName::Letter { number, time_us },
            false => json::PairName::Position(number),
        };
        let mut line = Vec::new();
        json::write_pair(&pair, name, json::Options::default(), &mut line);
        prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        prop_assert_eq!(json::read_line(&line).unwrap(), None);
        prop_assert_eq!(json::read_pair(&line).unwrap(), Some((name, pair)));
    }

    #[test]
    fn the_line_of_an_exchange_is_no_pair(request in request()) {
        let exchange = Exchange { request: Some(request), ..Exchange::default() };
        let mut line = Vec::new();
        json::write_line(&exchange, json::Options::default(), &mut line);
        prop_assert_eq!(json::read_pair(&line).unwrap(), None);
    }

    #[test]
    fn a_limited_body_is_never_whole_and_what_is_missing_adds_up(mut body in body(), limit in 0_usize..400) {
        let before = body.clone();
        body.limit(limit);
        prop_assert!(body.content.len() <= limit && before.content.starts_with(&body.content));
        if before.content.len() <= limit {
            prop_assert_eq!(body, before);
        } else {
            prop_assert!(!body.is_whole());
            let off = (before.content.len() - body.content.len()) as u64;
            let total = if before.is_whole() { Some(0) } else { before.extent.missing() };
            prop_assert_eq!(body.extent.missing(), total.map(|total| total.saturating_add(off)));
        }
    }

    #[test]
    fn the_kind_of_a_record_is_known_without_reading_it(half in half()) {
        let mut out = Vec::new();
        half.encode(&mut out);
        let kind = match half {
            Half::Request(_) => Kind::Request,
            Half::Response(_) => Kind::Response,
            Half::Gap(_) => Kind::Gap,
            Half::Pair(_) => Kind::Pair,
        };
        prop_assert_eq!(Kind::of(&out), Some(kind));
    }

    #[test]
    fn any_line_is_an_exchange_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        drop(json::read_line(&bytes));
        drop(json::read_pair(&bytes));
    }
}

#[test]
fn a_line_without_bodies_never_reads_back_as_whole() {
    let body = Body {
        content: Bytes::from_static(b"secret"),
        extent: Extent::Whole,
    };
    let exchange = Exchange {
        request: Some(Request {
            body,
            ..Request::default()
        }),
        ..Exchange::default()
    };
    let mut line = Vec::new();
    json::write_line(&exchange, json::Options { bodies: false }, &mut line);
    assert!(!String::from_utf8_lossy(&line).contains("secret"));
    let read = json::read_line(&line).unwrap().unwrap();
    assert_eq!(
        read.request.unwrap().body.extent,
        Extent::NotCaptured { missing: Some(6) }
    );
}

#[test]
fn a_gap_is_a_line_but_no_exchange() {
    let gap = Gap {
        from_us: 1,
        to_us: 2,
        requests: 3,
        responses: 4,
        reason: "journal_full".into(),
    };
    let mut line = Vec::new();
    json::write_gap(&gap, 9, &mut line);
    assert_eq!(json::read_line(&line).unwrap(), None);
}

#[test]
fn a_record_of_an_unknown_kind_is_refused_and_not_guessed() {
    // Field 15, an embedded message: what a newer version may write.
    let error = Half::decode(&Bytes::from_static(&[0x7a, 0x00])).unwrap_err();
    assert!(error.to_string().contains("newer spoa-agent"), "{error}");
}

#[test]
fn an_unknown_extent_is_refused_rather_than_taken_for_whole() {
    let body = wire::Body {
        content: Bytes::new(),
        extent: 7,
        missing: None,
    };
    let request = wire::Request {
        body: Some(body),
        ..Default::default()
    };
    let record = wire::Record {
        kind: Some(wire::record::Kind::Request(request)),
    };
    assert!(Half::decode(&record.encode_to_vec().into()).is_err());
}
