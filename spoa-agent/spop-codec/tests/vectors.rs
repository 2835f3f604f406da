//! What is known of HAProxy 2.6 to 3.5-dev on the wire, claim by claim. "Measured" bytes were seen
//! on real connections; the rest is from SPOE.txt and from HAProxy's own tables.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]

use bytes::BytesMut;
use spop_codec::ack::{self, Action, Actions, Scope};
use spop_codec::frame::{self, Flags, Frame, FrameKind};
use spop_codec::handshake::{AgentHandshake, HaproxyHandshake, Limits, Outcome, Reply};
use spop_codec::hello::{AgentHello, Capabilities, HaproxyHello, Version};
use spop_codec::notify::{self, NewMessage};
use spop_codec::{
    DecodeError, Disconnect, EncodeError, FrameId, Status, StreamId, Value, hdrs, kv, varint,
};

const LIMITS: Limits = Limits {
    max_frame_size: 1 << 20,
};
const UUID: &[u8] = b"0f9d6a3e-7c1b-4a55-9f4e-2b8f0c6d1e77";

mod frames {
    use super::*;

    #[test]
    fn the_length_does_not_count_itself() {
        let mut wire = BytesMut::from(&b"\0\0\0\x07\x03\0\0\0\x01\x01\x01rest"[..]);
        let frame = frame::cut(&mut wire, 256).unwrap().unwrap();
        assert_eq!(&frame[..], b"\x03\0\0\0\x01\x01\x01");
        assert_eq!(&wire[..], b"rest");
    }

    #[test]
    fn max_frame_size_limits_the_length_that_is_on_the_wire() {
        assert_eq!(
            frame::frame_length(&16_380_u32.to_be_bytes(), 16_380),
            Ok(Some(16_384))
        );
        let refused = frame::frame_length(&16_381_u32.to_be_bytes(), 16_380).unwrap_err();
        assert_eq!(
            refused,
            DecodeError::FrameTooBig {
                length: 16_381,
                limit: 16_380
            }
        );
        assert_eq!(refused.status(), Status::TooBig);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_reserved() {
        let mut wire = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        let before = wire.capacity();
        assert!(frame::cut(&mut wire, 1 << 20).is_err());
        assert_eq!(wire.capacity(), before);
    }

    #[test]
    fn the_limit_is_what_was_agreed_and_not_a_constant_of_64_kib() {
        let body = vec![b'x'; 16_770_000];
        let mut wire = BytesMut::new();
        let args = [(b"body".as_slice(), Value::Bin(&body))];
        let message = NewMessage {
            name: b"m",
            args: &args,
        };
        notify::encode(&mut wire, StreamId(1), FrameId(1), &[message]).unwrap();
        assert!(frame::cut(&mut wire, 16_777_212).unwrap().is_some());
    }

    #[test]
    fn a_frame_is_cut_only_when_it_is_whole() {
        let mut whole = Vec::new();
        ack::encode(&mut whole, StreamId(1), FrameId(1), &Actions::harmless());
        let mut wire = BytesMut::new();
        for byte in &whole {
            assert_eq!(frame::cut(&mut wire, 256), Ok(None));
            wire.extend_from_slice(&[*byte]);
        }
        assert_eq!(frame::cut(&mut wire, 256).unwrap().unwrap(), whole[4..]);
    }

    #[test]
    fn a_length_that_cannot_hold_a_header_is_refused_with_status_4() {
        for length in 0..7_u32 {
            let refused = frame::frame_length(&length.to_be_bytes(), 256).unwrap_err();
            assert_eq!(refused, DecodeError::FrameTooShort { length });
            assert_eq!(refused.status(), Status::Invalid);
        }
    }

    #[test]
    fn the_frame_types_have_the_numbers_of_spoe_txt() {
        let kinds = [
            (0, FrameKind::Unset),
            (1, FrameKind::HaproxyHello),
            (2, FrameKind::HaproxyDisconnect),
            (3, FrameKind::Notify),
            (101, FrameKind::AgentHello),
            (102, FrameKind::AgentDisconnect),
            (103, FrameKind::Ack),
            (42, FrameKind::Unknown(42)),
        ];
        for (id, kind) in kinds {
            assert_eq!(FrameKind::from(id), kind);
            assert_eq!(kind.id(), id);
        }
    }

    #[test]
    fn an_unknown_frame_is_handed_out_to_be_skipped_whatever_its_flags() {
        for flags in [0, 1, 2, 3, 0xffff_fff0] {
            let mut bytes = vec![42];
            bytes.extend_from_slice(&u32::to_be_bytes(flags));
            bytes.extend_from_slice(b"\x05\x06anything");
            let frame = Frame::decode(&bytes).unwrap();
            assert_eq!(frame.kind, FrameKind::Unknown(42));
            assert_eq!(frame.flags, Flags(flags));
            assert_eq!(frame.payload, b"anything");
        }
    }

    #[test]
    fn hello_and_disconnect_must_have_identifiers_of_0() {
        for kind in [1, 2, 101, 102] {
            assert!(Frame::decode(&[kind, 0, 0, 0, 1, 0, 0]).is_ok());
            for ids in [[1, 0], [0, 1]] {
                let refused = Frame::decode(&[kind, 0, 0, 0, 1, ids[0], ids[1]]).unwrap_err();
                assert_eq!(
                    refused,
                    DecodeError::IdentifierNotZero { kind: kind.into() }
                );
                assert_eq!(refused.status(), Status::Invalid);
            }
        }
    }

    #[test]
    fn reserved_flags_are_ignored() {
        let frame = Frame::decode(b"\x03\x80\0\0\x05\x01\x01").unwrap();
        assert!(frame.flags.is_fin());
        assert!(!frame.flags.is_abrt());
    }

    #[test]
    fn a_header_that_ends_early_is_refused_with_status_4() {
        let whole = b"\x03\0\0\0\x01\xf0\x01\xf0\x01";
        for end in 0..whole.len() {
            assert_eq!(
                Frame::decode(&whole[..end]),
                Err(DecodeError::Truncated),
                "{end} bytes"
            );
        }
        assert!(Frame::decode(whole).is_ok());
        assert_eq!(DecodeError::Truncated.status(), Status::Invalid);
    }

    #[test]
    fn every_frame_of_an_agent_has_fin_and_the_11_bytes_that_haproxy_waits_for() {
        let mut hello = Vec::new();
        handshaken(&HaproxyHello::new(256)).encode(&mut hello);
        let mut ack = Vec::new();
        ack::encode(&mut ack, StreamId(0), FrameId(1), &Actions::harmless());
        let mut disconnect = Vec::new();
        Disconnect {
            status: Status::Normal,
            message: b"",
        }
        .encode_agent(&mut disconnect);
        for frame in [hello, ack, disconnect] {
            assert!(frame.len() >= 11, "{frame:x?}");
            assert_eq!(frame[5..9], [0, 0, 0, 1]);
        }
    }
}

mod varints {
    use super::*;

    const VECTORS: [(u64, &[u8]); 14] = [
        (0, b"\x00"),
        (239, b"\xef"),
        (240, b"\xf0\x00"),
        (256, b"\xf0\x01"),
        (2287, b"\xff\x7f"),
        (2288, b"\xf0\x80\x00"),
        (16_380, b"\xfc\xf0\x06"),
        (264_431, b"\xff\xff\x7f"),
        (264_432, b"\xf0\x80\x80\x00"),
        (131_068, b"\xfc\xf0\x3e"),
        (u32::MAX as u64, b"\xff\xf0\xfe\xfe\x7e"),
        (i64::MAX as u64, b"\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x06"),
        (
            (-5_i64).cast_unsigned(),
            b"\xfb\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e",
        ),
        (u64::MAX, b"\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"),
    ];

    #[test]
    fn the_vectors_of_haproxy_hold_in_both_directions() {
        for (value, bytes) in VECTORS {
            let mut out = Vec::new();
            varint::encode(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(varint::len(value), bytes.len(), "{value}");
            assert_eq!(varint::decode(bytes), Ok((value, [].as_slice())));
        }
    }

    #[test]
    fn it_is_not_leb128() {
        // LEB128 for 300 is `ac 02`; here the first byte is the whole number 172.
        assert_eq!(varint::decode(b"\xac\x02"), Ok((0xac, b"\x02".as_slice())));
    }

    #[test]
    fn more_than_10_bytes_are_refused() {
        let endless = [0xff; 64];
        let refused = varint::decode(&endless).unwrap_err();
        assert_eq!(refused, DecodeError::VarintTooLong);
        assert_eq!(refused.status(), Status::Invalid);
        let eleven = b"\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00";
        assert_eq!(varint::decode(eleven), Err(DecodeError::VarintTooLong));
    }

    #[test]
    fn a_value_above_64_bits_is_refused_rather_than_wrapped() {
        let one_more = b"\xf0\xf1\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e";
        assert_eq!(varint::decode(one_more), Err(DecodeError::VarintTooLong));
    }

    #[test]
    fn a_varint_that_ends_early_is_refused() {
        for (_, bytes) in VECTORS {
            for end in 0..bytes.len() {
                assert_eq!(varint::decode(&bytes[..end]), Err(DecodeError::Truncated));
            }
        }
    }
}

mod typed_data {
    use super::*;

    fn encoded(value: Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        assert_eq!(out.len(), value.encoded_len());
        out
    }

    #[test]
    fn every_type_has_its_bytes() {
        let ipv6 = "2001:db8::1".parse().unwrap();
        let vectors: [(Value<'_>, &[u8]); 11] = [
            (Value::Null, b"\x00"),
            (Value::Bool(false), b"\x01"),
            (Value::Bool(true), b"\x11"),
            (Value::Int32(5), b"\x02\x05"),
            (Value::Uint32(16_380), b"\x03\xfc\xf0\x06"),
            (Value::Int64(256), b"\x04\xf0\x01"),
            (Value::Uint64(240), b"\x05\xf0\x00"),
            (Value::Ipv4([192, 0, 2, 1].into()), b"\x06\xc0\x00\x02\x01"),
            (
                Value::Ipv6(ipv6),
                b"\x07\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
            ),
            (Value::Str(b"GET"), b"\x08\x03GET"),
            (Value::Bin(b"\0\xff"), b"\x09\x02\0\xff"),
        ];
        for (value, bytes) in vectors {
            assert_eq!(encoded(value), bytes);
            assert_eq!(Value::decode(bytes), Ok((value, [].as_slice())));
            for end in 0..bytes.len() {
                assert!(
                    Value::decode(&bytes[..end]).is_err(),
                    "{value:?} cut to {end} bytes"
                );
            }
        }
    }

    #[test]
    fn the_type_is_the_low_nibble_and_the_flags_are_the_high_one() {
        assert_eq!(
            Value::decode(b"\x11"),
            Ok((Value::Bool(true), [].as_slice()))
        );
        assert_eq!(
            Value::decode(b"\x18\x01a"),
            Ok((Value::Str(b"a"), [].as_slice()))
        );
    }

    #[test]
    fn a_boolean_has_no_byte_of_its_own() {
        assert_eq!(
            Value::decode(b"\x11\x01"),
            Ok((Value::Bool(true), b"\x01".as_slice()))
        );
        assert_eq!(
            Value::decode(b"\x01\x01"),
            Ok((Value::Bool(false), b"\x01".as_slice()))
        );
    }

    #[test]
    fn a_boolean_is_true_only_with_exactly_the_flag_that_haproxy_sets() {
        for flags in 0..16_u8 {
            let tag = [1 | flags << 4];
            assert_eq!(
                Value::decode(&tag),
                Ok((Value::Bool(flags == 1), [].as_slice()))
            );
        }
    }

    #[test]
    fn a_negative_int64_is_10_bytes_of_twos_complement_and_not_a_huge_number() {
        let bytes = b"\x04\xfb\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e";
        let (value, _) = Value::decode(bytes).unwrap();
        assert_eq!(value.as_int(), Some(-5));
        assert_eq!(encoded(Value::Int64(-5)), bytes);
    }

    #[test]
    fn a_negative_int32_travels_as_its_64_bit_twos_complement() {
        let bytes = b"\x02\xfb\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e";
        assert_eq!(encoded(Value::Int32(-5)), bytes);
        assert_eq!(Value::decode(bytes), Ok((Value::Int32(-5), [].as_slice())));
    }

    #[test]
    fn a_32_bit_integer_that_does_not_fit_is_refused() {
        for tag in [2, 3] {
            let mut bytes = vec![tag];
            varint::encode(&mut bytes, 1 << 32);
            assert_eq!(
                Value::decode(&bytes),
                Err(DecodeError::IntegerOutOfRange(1 << 32))
            );
        }
    }

    #[test]
    fn the_reserved_types_are_refused() {
        for tag in 10..16 {
            assert_eq!(
                Value::decode(&[tag, 0, 0]),
                Err(DecodeError::ReservedType(tag))
            );
        }
    }

    #[test]
    fn strings_are_bytes_and_need_not_be_utf_8() {
        let (value, _) = Value::decode(b"\x08\x04/\xff\x00\xc3").unwrap();
        assert_eq!(value.as_bytes(), Some(b"/\xff\x00\xc3".as_slice()));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_however_large() {
        for length in [4, 240, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = vec![9];
            varint::encode(&mut bytes, length);
            bytes.extend_from_slice(b"abc");
            let refused = Value::decode(&bytes).unwrap_err();
            assert_eq!(refused, DecodeError::LengthBeyondEnd { length, left: 3 });
            assert_eq!(refused.status(), Status::Invalid);
        }
    }

    #[test]
    fn a_client_address_is_of_either_family_or_null() {
        assert_eq!(
            Value::Ipv4([127, 0, 0, 1].into()).as_ip(),
            Some([127, 0, 0, 1].into())
        );
        assert_eq!(Value::Ipv6([0; 16].into()).as_ip(), Some([0_u8; 16].into()));
        assert_eq!(Value::Null.as_ip(), None);
        assert!(Value::Null.is_null());
    }

    #[test]
    fn an_accessor_gives_nothing_for_a_value_of_another_type() {
        assert_eq!(Value::Uint64(u64::MAX).as_int(), None);
        assert_eq!(Value::Bool(true).as_int(), None);
        assert_eq!(Value::Int64(1).as_bool(), None);
        assert_eq!(Value::Int64(1).as_bytes(), None);
        assert_eq!(Value::Str(b"127.0.0.1").as_ip(), None);
    }
}

mod hello {
    use super::*;

    const OF_2_6: HaproxyHello<'_> = HaproxyHello {
        supported_versions: b"2.0",
        max_frame_size: 16_380,
        capabilities: Capabilities {
            pipelining: true,
            asynchronous: true,
            fragmentation: false,
        },
        engine_id: Some(UUID),
        healthcheck: false,
    };

    fn wire(hello: &HaproxyHello<'_>) -> Vec<u8> {
        let mut wire = Vec::new();
        hello.encode(&mut wire).unwrap();
        wire
    }

    #[test]
    fn haproxys_hello_has_the_sizes_measured_on_2_6_and_on_3_5() {
        let of_3_5 = HaproxyHello {
            capabilities: Capabilities::PIPELINING,
            ..OF_2_6
        };
        for (hello, length) in [(OF_2_6, 129), (of_3_5, 123)] {
            let wire = wire(&hello);
            assert_eq!(frame::frame_length(&wire, 256), Ok(Some(4 + length)));
            assert_eq!(wire.len(), 4 + length);
            assert_eq!(&wire[4..11], b"\x01\0\0\0\x01\0\0");
            let frame = Frame::decode(&wire[4..]).unwrap();
            assert_eq!(HaproxyHello::decode(frame.payload), Ok(hello));
        }
    }

    #[test]
    fn a_health_check_has_an_empty_list_of_capabilities_and_no_engine_id() {
        let check = HaproxyHello::health_check(16_380);
        let wire = wire(&check);
        let decoded = HaproxyHello::decode(Frame::decode(&wire[4..]).unwrap().payload).unwrap();
        assert!(decoded.healthcheck);
        assert_eq!(decoded.capabilities, Capabilities::NONE);
        assert_eq!(decoded.engine_id, None);
        assert!(
            wire.windows(14)
                .any(|window| window == b"capabilities\x08\x00")
        );
    }

    #[test]
    fn a_mandatory_item_that_is_missing_has_its_own_status() {
        let items: [(&[u8], Value<'_>, Status); 3] = [
            (b"supported-versions", Value::Str(b"2.0"), Status::NoVersion),
            (
                b"max-frame-size",
                Value::Uint32(16_380),
                Status::NoMaxFrameSize,
            ),
            (b"capabilities", Value::Str(b""), Status::NoCapabilities),
        ];
        for (missing, _, status) in items {
            let mut payload = Vec::new();
            for (name, value, _) in items.iter().filter(|(name, ..)| *name != missing) {
                kv::encode(&mut payload, name, value);
            }
            let refused = HaproxyHello::decode(&payload).unwrap_err();
            assert_eq!(refused.status(), status);
        }
    }

    #[test]
    fn unknown_items_are_skipped_and_names_are_matched_whole() {
        let mut payload = Vec::new();
        kv::encode(&mut payload, b"max-frame-size-of-old", &Value::Uint32(1));
        kv::encode(&mut payload, b"max-frame", &Value::Str(b"x"));
        kv::encode(&mut payload, b"", &Value::Null);
        let frame = wire(&OF_2_6);
        payload.extend_from_slice(&frame[11..]);
        assert_eq!(HaproxyHello::decode(&payload), Ok(OF_2_6));
    }

    #[test]
    fn an_item_of_a_wrong_type_is_refused_with_status_4() {
        let items: [(&[u8], Value<'_>); 6] = [
            (b"supported-versions", Value::Int64(2)),
            (b"max-frame-size", Value::Str(b"16380")),
            (b"max-frame-size", Value::Int64(-1)),
            (b"capabilities", Value::Null),
            (b"engine-id", Value::Bool(true)),
            (b"healthcheck", Value::Int64(1)),
        ];
        for (name, value) in items {
            let mut payload = wire(&OF_2_6)[11..].to_vec();
            kv::encode(&mut payload, name, &value);
            let refused = HaproxyHello::decode(&payload).unwrap_err();
            assert!(matches!(refused, DecodeError::WrongType(_)), "{refused}");
            assert_eq!(refused.status(), Status::Invalid);
        }
    }

    #[test]
    fn a_max_frame_size_may_be_an_integer_of_any_type() {
        let sizes = [
            Value::Int32(300),
            Value::Uint32(300),
            Value::Int64(300),
            Value::Uint64(300),
        ];
        for size in sizes {
            let mut payload = Vec::new();
            kv::encode(&mut payload, b"version", &Value::Str(b"2.0"));
            kv::encode(&mut payload, b"max-frame-size", &size);
            assert_eq!(AgentHello::decode(&payload).unwrap().max_frame_size, 300);
        }
    }

    #[test]
    fn an_agent_hello_without_capabilities_has_none() {
        let mut payload = Vec::new();
        kv::encode(&mut payload, b"version", &Value::Str(b" 2.0 "));
        kv::encode(&mut payload, b"max-frame-size", &Value::Uint32(256));
        let hello = AgentHello::decode(&payload).unwrap();
        assert_eq!(hello.capabilities, Capabilities::NONE);
        assert_eq!(hello.version, Version::V2_0);
    }

    #[test]
    fn a_version_is_read_with_spaces_and_stands_for_the_minor_ones_before_it() {
        let supports = |supported_versions| {
            HaproxyHello {
                supported_versions,
                ..OF_2_6
            }
            .supports(Version::V2_0)
        };
        assert!(supports(b"2.0"));
        assert!(supports(b" 1.0 , 2.0 "));
        assert!(supports(b"3.0,2.1"));
        assert!(!supports(b"1.9"));
        assert!(!supports(b"3.0"));
        assert!(!supports(b"20"));
        assert!(!supports(b"2.0x"));
        assert!(!supports(b"99999999999.0"));
        assert!(!supports(b""));
    }

    #[test]
    fn unknown_capabilities_and_spaces_are_ignored() {
        let parsed = Capabilities::parse(b" pipelining , teleportation,async");
        assert_eq!(parsed.as_bytes(), b"pipelining,async");
        assert_eq!(Capabilities::parse(b"pipeliningasync"), Capabilities::NONE);
    }
}

mod agent_side_of_the_handshake {
    use super::*;

    fn answer(hello: &HaproxyHello<'_>) -> Result<AgentHello, DecodeError> {
        let mut wire = Vec::new();
        hello.encode(&mut wire).unwrap();
        let frame = Frame::decode(&wire[4..])?;
        match AgentHandshake::new(LIMITS).on_frame(&frame)? {
            Reply::Established { hello, .. } | Reply::Able { hello } => Ok(hello),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pipelining_is_announced_when_haproxy_announced_it_and_nothing_else_ever_is() {
        let everything = Capabilities {
            pipelining: true,
            asynchronous: true,
            fragmentation: true,
        };
        let hello = HaproxyHello {
            capabilities: everything,
            ..HaproxyHello::new(16_380)
        };
        assert_eq!(
            answer(&hello).unwrap().capabilities,
            Capabilities::PIPELINING
        );
        let nothing = Capabilities {
            pipelining: false,
            ..everything
        };
        let hello = HaproxyHello {
            capabilities: nothing,
            ..hello
        };
        assert_eq!(answer(&hello).unwrap().capabilities, Capabilities::NONE);
    }

    #[test]
    fn exactly_haproxys_max_frame_size_is_announced() {
        for size in [256, 16_380, 131_068, LIMITS.max_frame_size] {
            assert_eq!(
                answer(&HaproxyHello::new(size)).unwrap().max_frame_size,
                size
            );
        }
    }

    #[test]
    fn a_max_frame_size_below_256_or_above_the_own_limit_is_refused_with_status_9() {
        for size in [0, 255, LIMITS.max_frame_size + 1, u32::MAX] {
            let refused = answer(&HaproxyHello::new(size)).unwrap_err();
            assert_eq!(refused.status(), Status::BadMaxFrameSize, "{size}");
        }
    }

    #[test]
    fn another_version_is_refused_with_status_8() {
        let hello = HaproxyHello {
            supported_versions: b"3.0",
            ..HaproxyHello::new(16_380)
        };
        assert_eq!(answer(&hello).unwrap_err().status(), Status::BadVersion);
    }

    #[test]
    fn the_engine_id_is_handed_on() {
        let hello = HaproxyHello {
            engine_id: Some(UUID),
            ..HaproxyHello::new(16_380)
        };
        let mut wire = Vec::new();
        hello.encode(&mut wire).unwrap();
        let frame = Frame::decode(&wire[4..]).unwrap();
        let reply = AgentHandshake::new(LIMITS).on_frame(&frame).unwrap();
        assert!(matches!(reply, Reply::Established { engine_id: Some(id), .. } if id == UUID));
    }

    #[test]
    fn the_answer_is_one_whole_frame_in_one_buffer() {
        let mut out = BytesMut::new();
        handshaken(&HaproxyHello::new(16_380)).encode(&mut out);
        let frame = frame::cut(&mut out, 256).unwrap().unwrap();
        assert!(out.is_empty());
        assert_eq!(Frame::decode(&frame).unwrap().kind, FrameKind::AgentHello);
    }

    #[test]
    fn a_health_check_is_answered_with_hello_while_the_agent_is_able() {
        let mut wire = Vec::new();
        HaproxyHello::health_check(16_380)
            .encode(&mut wire)
            .unwrap();
        let frame = Frame::decode(&wire[4..]).unwrap();
        let reply = AgentHandshake::new(LIMITS).on_frame(&frame).unwrap();
        assert!(matches!(reply, Reply::Able { .. }), "{reply:?}");
        assert_eq!(
            Frame::decode(&written(&reply)).unwrap().kind,
            FrameKind::AgentHello
        );
    }

    #[test]
    fn a_health_check_is_answered_with_disconnect_13_while_the_agent_is_not_able() {
        let mut wire = Vec::new();
        HaproxyHello::health_check(16_380)
            .encode(&mut wire)
            .unwrap();
        let frame = Frame::decode(&wire[4..]).unwrap();
        let reply = AgentHandshake::new(LIMITS)
            .accepting(false)
            .on_frame(&frame)
            .unwrap();
        assert_eq!(reply, Reply::Unable);
        let answer = written(&reply);
        let answer = Frame::decode(&answer).unwrap();
        assert_eq!(answer.kind, FrameKind::AgentDisconnect);
        assert_eq!(
            Disconnect::decode(answer.payload).unwrap().status,
            Status::Resources
        );
    }

    #[test]
    fn a_haproxy_that_leaves_before_hello_is_no_error() {
        for code in [0, 1] {
            let mut wire = Vec::new();
            Disconnect {
                status: code.into(),
                message: b"bye",
            }
            .encode_haproxy(&mut wire);
            let frame = Frame::decode(&wire[4..]).unwrap();
            let reply = AgentHandshake::new(LIMITS).on_frame(&frame).unwrap();
            assert!(
                matches!(reply, Reply::Left(d) if d.status.code() == code),
                "{reply:?}"
            );
            let answer = written(&reply);
            let answer = Frame::decode(&answer).unwrap();
            assert_eq!(answer.kind, FrameKind::AgentDisconnect);
        }
    }

    #[test]
    fn any_other_first_frame_is_refused_with_status_4() {
        for kind in [3, 42, 101, 102, 103] {
            let bytes = [kind, 0, 0, 0, 1, 0, 0];
            let frame = Frame::decode(&bytes).unwrap();
            let refused = AgentHandshake::new(LIMITS).on_frame(&frame).unwrap_err();
            assert_eq!(refused.status(), Status::Invalid, "{refused}");
        }
    }

    fn written(reply: &Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        reply.encode(&mut out);
        out.split_off(4)
    }
}

mod haproxys_side_of_the_handshake {
    use super::*;

    fn outcome(offered: u32, answer: &AgentHello) -> Result<(u32, bool), DecodeError> {
        let mut wire = Vec::new();
        let handshake = HaproxyHandshake::start(HaproxyHello::new(offered), &mut wire).unwrap();
        let mut reply = Vec::new();
        answer.encode(&mut reply);
        match handshake.on_frame(&Frame::decode(&reply[4..])?)? {
            Outcome::Established {
                max_frame_size,
                pipelining,
            } => Ok((max_frame_size, pipelining)),
            other => panic!("{other:?}"),
        }
    }

    fn answer(max_frame_size: u32) -> AgentHello {
        let capabilities = Capabilities::PIPELINING;
        AgentHello {
            version: Version::V2_0,
            max_frame_size,
            capabilities,
        }
    }

    #[test]
    fn the_agents_max_frame_size_is_between_256_and_haproxys_own() {
        assert_eq!(outcome(16_380, &answer(16_380)), Ok((16_380, true)));
        assert_eq!(outcome(16_380, &answer(256)), Ok((256, true)));
        for size in [255, 16_381] {
            let refused = outcome(16_380, &answer(size)).unwrap_err();
            assert_eq!(refused.status(), Status::BadMaxFrameSize);
        }
    }

    #[test]
    fn another_version_is_refused_with_status_8() {
        for version in [
            Version { major: 1, minor: 0 },
            Version { major: 2, minor: 1 },
        ] {
            let refused = outcome(
                16_380,
                &AgentHello {
                    version,
                    ..answer(16_380)
                },
            )
            .unwrap_err();
            assert_eq!(refused.status(), Status::BadVersion);
        }
    }

    #[test]
    fn there_is_no_pipelining_unless_both_announce_it() {
        let silent = AgentHello {
            capabilities: Capabilities::NONE,
            ..answer(16_380)
        };
        assert_eq!(outcome(16_380, &silent), Ok((16_380, false)));
    }

    #[test]
    fn an_agent_that_refuses_says_why() {
        let mut wire = Vec::new();
        let handshake = HaproxyHandshake::start(HaproxyHello::new(512), &mut wire).unwrap();
        let mut reply = Vec::new();
        Disconnect {
            status: Status::Resources,
            message: b"full",
        }
        .encode_agent(&mut reply);
        let outcome = handshake
            .on_frame(&Frame::decode(&reply[4..]).unwrap())
            .unwrap();
        assert_eq!(
            outcome,
            Outcome::Left(Disconnect {
                status: Status::Resources,
                message: b"full"
            })
        );
    }

    #[test]
    fn a_health_check_passes_on_hello() {
        let mut wire = Vec::new();
        let check = HaproxyHello::health_check(512);
        let handshake = HaproxyHandshake::start(check, &mut wire).unwrap();
        let mut reply = Vec::new();
        handshaken(&check).encode(&mut reply);
        let outcome = handshake.on_frame(&Frame::decode(&reply[4..]).unwrap());
        assert_eq!(outcome, Ok(Outcome::Able));
    }
}

mod disconnect {
    use super::*;

    #[test]
    fn the_status_codes_have_the_numbers_of_spoe_txt() {
        let codes = [
            (0, Status::Normal),
            (1, Status::Io),
            (2, Status::Timeout),
            (3, Status::TooBig),
            (4, Status::Invalid),
            (5, Status::NoVersion),
            (6, Status::NoMaxFrameSize),
            (7, Status::NoCapabilities),
            (8, Status::BadVersion),
            (9, Status::BadMaxFrameSize),
            (10, Status::FragmentationUnsupported),
            (11, Status::InterlacedFrames),
            (12, Status::FrameIdNotFound),
            (13, Status::Resources),
            (99, Status::Unknown),
            (14, Status::Other(14)),
            (u32::MAX, Status::Other(u32::MAX)),
        ];
        for (code, status) in codes {
            assert_eq!(Status::from(code), status);
            assert_eq!(status.code(), code);
        }
    }

    #[test]
    fn a_message_is_cut_so_that_the_frame_fits_in_the_least_max_frame_size() {
        let message = [b'x'; 1000];
        let mut wire = BytesMut::new();
        Disconnect {
            status: u32::MAX.into(),
            message: &message,
        }
        .encode_agent(&mut wire);
        let bytes = frame::cut(&mut wire, frame::MAX_FRAME_SIZE_FLOOR)
            .unwrap()
            .unwrap();
        let read = Disconnect::decode(Frame::decode(&bytes).unwrap().payload).unwrap();
        assert_eq!(read.message.len(), Disconnect::MESSAGE_LIMIT);
        const { assert!(Disconnect::MESSAGE_LIMIT <= 255, "2.6 refuses longer ones") };
    }

    #[test]
    fn unknown_and_missing_items_are_forgiven_to_who_leaves() {
        let mut payload = Vec::new();
        kv::encode(&mut payload, b"hint", &Value::Ipv4([0; 4].into()));
        let read = Disconnect::decode(&payload).unwrap();
        assert_eq!(
            read,
            Disconnect {
                status: Status::Unknown,
                message: b""
            }
        );
    }

    #[test]
    fn its_bytes_are_those_of_spoe_txt() {
        let mut wire = Vec::new();
        Disconnect {
            status: Status::Resources,
            message: b"no",
        }
        .encode_agent(&mut wire);
        assert_eq!(
            wire,
            b"\0\0\0\x21\x66\0\0\0\x01\0\0\x0bstatus-code\x03\x0d\x07message\x08\x02no"
        );
    }
}

mod notify_and_ack {
    use super::*;

    fn payload(messages: &[NewMessage<'_>]) -> Vec<u8> {
        let mut wire = Vec::new();
        notify::encode(&mut wire, StreamId(1), FrameId(1), messages).unwrap();
        Frame::decode(&wire[4..]).unwrap().payload.to_vec()
    }

    #[test]
    fn a_notify_has_the_bytes_of_spoe_txt() {
        let args = [
            (b"ip".as_slice(), Value::Ipv4([10, 0, 0, 1].into())),
            (b"", Value::Null),
        ];
        let mut wire = Vec::new();
        let message = NewMessage {
            name: b"check",
            args: &args,
        };
        notify::encode(&mut wire, StreamId(240), FrameId(1), &[message]).unwrap();
        assert_eq!(
            wire,
            b"\0\0\0\x19\x03\0\0\0\x01\xf0\0\x01\x05check\x02\x02ip\x06\x0a\0\0\x01\0\0"
        );
    }

    #[test]
    fn a_notify_may_hold_several_messages_also_of_one_name() {
        let args = [(b"a".as_slice(), Value::Int64(1)), (b"b", Value::Str(b"x"))];
        let one = NewMessage {
            name: b"m",
            args: &args,
        };
        let bytes = payload(&[
            one,
            NewMessage {
                name: b"empty",
                args: &[],
            },
            one,
        ]);
        let names: Vec<_> = notify::messages(&bytes).map(|m| m.unwrap().name).collect();
        assert_eq!(names, [b"m".as_slice(), b"empty", b"m"]);
        for message in notify::messages(&bytes).filter(|m| m.as_ref().unwrap().name == b"m") {
            let read: Vec<_> = message.unwrap().args.map(Result::unwrap).collect();
            assert_eq!(read, args);
        }
    }

    #[test]
    fn a_notify_without_messages_is_well_formed() {
        let frame = Frame::decode(b"\x03\0\0\0\x01\x01\x01").unwrap();
        assert_eq!(frame.kind, FrameKind::Notify);
        assert!(notify::messages(frame.payload).next().is_none());
    }

    #[test]
    fn an_argument_may_have_no_name() {
        let bytes = payload(&[NewMessage {
            name: b"m",
            args: &[(b"", Value::Bool(true))],
        }]);
        let message = notify::messages(&bytes).next().unwrap().unwrap();
        assert_eq!(
            message.args.map(Result::unwrap).collect::<Vec<_>>(),
            [(b"".as_slice(), Value::Bool(true))]
        );
    }

    #[test]
    fn a_message_has_at_most_255_arguments() {
        let args = [(b"".as_slice(), Value::Null); 256];
        let bytes = payload(&[NewMessage {
            name: b"m",
            args: &args[1..],
        }]);
        let message = notify::messages(&bytes).next().unwrap().unwrap();
        assert_eq!(message.args.left(), 255);
        assert_eq!(message.args.count(), 255);
        let mut out = Vec::new();
        let whole = NewMessage {
            name: b"m",
            args: &args,
        };
        let refused = notify::encode(&mut out, StreamId(1), FrameId(1), &[whole]);
        assert_eq!(refused, Err(EncodeError::TooManyArguments(256)));
        assert!(out.is_empty());
    }

    #[test]
    fn arguments_that_nobody_read_are_checked_all_the_same() {
        let args = [(b"a".as_slice(), Value::Str(b"abc")), (b"b", Value::Null)];
        let mut bytes = payload(&[NewMessage {
            name: b"m",
            args: &args,
        }]);
        bytes.truncate(bytes.len() - 4);
        let mut messages = notify::messages(&bytes);
        assert!(messages.next().unwrap().is_ok());
        let refused = messages.next().unwrap().unwrap_err();
        assert_eq!(refused, DecodeError::LengthBeyondEnd { length: 3, left: 2 });
        assert!(messages.next().is_none());
    }

    #[test]
    fn fewer_arguments_than_announced_are_refused_with_status_4() {
        let mut messages = notify::messages(b"\x01m\x02\x01a\x00");
        let mut args = messages.next().unwrap().unwrap().args;
        assert_eq!(args.next(), Some(Ok((b"a".as_slice(), Value::Null))));
        assert_eq!(args.next(), Some(Err(DecodeError::Truncated)));
        assert_eq!(args.next(), None);
    }

    #[test]
    fn names_and_bodies_are_borrowed_from_the_frame() {
        let body = [0_u8; 1000];
        let bytes = payload(&[NewMessage {
            name: b"m",
            args: &[(b"body", Value::Bin(&body))],
        }]);
        let message = notify::messages(&bytes).next().unwrap().unwrap();
        let (_, value) = message.args.last().unwrap().unwrap();
        assert!(
            bytes
                .as_ptr_range()
                .contains(&value.as_bytes().unwrap().as_ptr())
        );
    }

    #[test]
    fn an_ack_repeats_the_ids_of_its_notify() {
        // 2.6 begins with stream-id 0; 3.1 and later count 1, 3, 5, ... per connection.
        for (stream, frame) in [
            (0, 1),
            (0, 2),
            (1, 1),
            (3, 1),
            ((1 << 31) - 1, 1),
            (u64::MAX, 7),
        ] {
            let mut out = Vec::new();
            ack::encode(
                &mut out,
                StreamId(stream),
                FrameId(frame),
                &Actions::harmless(),
            );
            let ack = Frame::decode(&out[4..]).unwrap();
            assert_eq!(ack.kind, FrameKind::Ack);
            assert_eq!(
                (ack.stream_id, ack.frame_id),
                (StreamId(stream), FrameId(frame))
            );
        }
    }

    #[test]
    fn a_notify_with_stream_id_0_is_taken() {
        let frame = Frame::decode(b"\x03\0\0\0\x01\0\x01").unwrap();
        assert_eq!((frame.stream_id, frame.frame_id), (StreamId(0), FrameId(1)));
    }

    #[test]
    fn set_var_and_unset_var_have_the_bytes_of_spoe_txt() {
        let set = Action::SetVar {
            scope: Scope::Transaction,
            name: b"durable",
            value: Value::Bool(true),
        };
        let unset = Action::UnsetVar {
            scope: Scope::Response,
            name: b"x",
        };
        let actions = Actions::new(&[set, unset]).unwrap();
        assert_eq!(
            actions.as_bytes(),
            b"\x01\x03\x02\x07durable\x11\x02\x02\x04\x01x"
        );
        let read: Vec<_> = ack::actions(actions.as_bytes())
            .map(Result::unwrap)
            .collect();
        assert_eq!(read, [set, unset]);
    }

    #[test]
    fn the_scopes_have_the_numbers_of_spoe_txt() {
        let scopes = [
            Scope::Process,
            Scope::Session,
            Scope::Transaction,
            Scope::Request,
            Scope::Response,
        ];
        for (id, scope) in (0_u8..).zip(scopes) {
            let action = Action::UnsetVar { scope, name: b"" };
            let mut bytes = Vec::new();
            action.encode(&mut bytes);
            assert_eq!(bytes, [2, 2, id, 0]);
            assert_eq!(ack::actions(&bytes).next(), Some(Ok(action)));
        }
        let unknown = ack::actions(&[2, 2, 5, 0]).next();
        assert_eq!(unknown, Some(Err(DecodeError::UnknownScope(5))));
    }

    #[test]
    fn an_ack_without_actions_is_never_written() {
        // 3.1.0 loses an empty ACK and waits for its whole `timeout processing` (measured).
        for actions in [Actions::harmless(), Actions::new(&[]).unwrap()] {
            let read: Vec<_> = ack::actions(actions.as_bytes())
                .map(Result::unwrap)
                .collect();
            assert!(matches!(
                read[..],
                [Action::UnsetVar {
                    scope: Scope::Transaction,
                    ..
                }]
            ));
        }
    }

    #[test]
    fn a_peer_can_be_played_that_does_write_an_empty_ack() {
        let mut out = Vec::new();
        let empty = Frame::new(FrameKind::Ack, StreamId(1), FrameId(1), b"");
        empty.encode(&mut out).unwrap();
        assert_eq!(out, b"\0\0\0\x07\x67\0\0\0\x01\x01\x01");
    }

    #[test]
    fn setting_a_variable_to_null_is_possible_for_it_unsets_it() {
        let set = Action::SetVar {
            scope: Scope::Request,
            name: b"a",
            value: Value::Null,
        };
        let actions = Actions::new(&[set]).unwrap();
        assert_eq!(actions.as_bytes(), b"\x01\x03\x03\x01a\x00");
    }

    #[test]
    fn a_malformed_action_is_refused_where_haproxy_would_stop_silently() {
        let refusals: [(&[u8], DecodeError); 4] = [
            (b"\x03\x02\x02\x01a", DecodeError::UnknownAction(3)),
            (
                b"\x01\x02\x02\x01a",
                DecodeError::ActionArguments {
                    action: 1,
                    count: 2,
                },
            ),
            (
                b"\x02\x03\x02\x01a",
                DecodeError::ActionArguments {
                    action: 2,
                    count: 3,
                },
            ),
            (b"\x02\x02", DecodeError::Truncated),
        ];
        for (bytes, refusal) in refusals {
            let mut actions = ack::actions(bytes);
            assert_eq!(actions.next(), Some(Err(refusal)));
            assert_eq!(actions.next(), None);
            assert_eq!(refusal.status(), Status::Invalid);
        }
    }

    #[test]
    fn actions_that_cannot_fit_in_a_default_frame_are_refused() {
        let value = vec![0; Actions::LIMIT];
        let set = Action::SetVar {
            scope: Scope::Request,
            name: b"a",
            value: Value::Bin(&value),
        };
        assert!(matches!(
            Actions::new(&[set]),
            Err(EncodeError::TooBig { .. })
        ));
    }

    #[test]
    fn abrt_in_an_ack_changes_nothing() {
        let frame = Frame::decode(b"\x67\0\0\0\x03\x01\x01\x02\x02\x02\x01a").unwrap();
        assert!(frame.flags.is_abrt());
        assert!(ack::actions(frame.payload).all(|action| action.is_ok()));
    }
}

mod fragmentation {
    use super::*;

    fn refused(kind: FrameKind, flags: u32) -> DecodeError {
        let frame = Frame {
            kind,
            flags: Flags(flags),
            stream_id: StreamId(1),
            frame_id: FrameId(1),
            payload: b"",
        };
        let mut wire = Vec::new();
        frame.encode(&mut wire).unwrap();
        Frame::decode(&wire[4..]).unwrap_err()
    }

    #[test]
    fn a_frame_without_fin_is_refused_with_status_10() {
        for kind in [FrameKind::Notify, FrameKind::HaproxyHello, FrameKind::Ack] {
            let refused = refused(kind, 0);
            assert_eq!(refused, DecodeError::Fragmented);
            assert_eq!(refused.status(), Status::FragmentationUnsupported);
        }
    }

    #[test]
    fn the_continuation_of_a_payload_is_refused_with_status_10_and_so_is_its_abort() {
        for flags in [0, 1, 3] {
            let refused = refused(FrameKind::Unset, flags);
            assert_eq!(refused.status(), Status::FragmentationUnsupported);
        }
    }
}

mod header_blocks {
    use super::*;

    type Header<'a> = (&'a [u8], &'a [u8]);

    fn read(block: &[u8]) -> Result<Vec<Header<'_>>, DecodeError> {
        hdrs::headers(block).collect()
    }

    #[test]
    fn a_block_ends_with_two_zero_lengths() {
        assert_eq!(
            read(b"\x04host\x01a\0\0").unwrap(),
            [(b"host".as_slice(), b"a".as_slice())]
        );
        assert_eq!(read(b"\0\0").unwrap(), []);
    }

    #[test]
    fn order_duplicates_and_bytes_that_are_not_utf_8_are_kept() {
        let headers: [Header<'_>; 3] = [(b"b", b"\xff"), (b"a", b""), (b"b", b"2")];
        let mut block = Vec::new();
        hdrs::encode(&mut block, headers).unwrap();
        assert_eq!(read(&block).unwrap(), headers);
    }

    #[test]
    fn a_block_without_its_end_mark_is_refused() {
        let whole = b"\x04host\x01a\0\0";
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn bytes_after_the_end_mark_are_refused() {
        assert_eq!(read(b"\0\0abc"), Err(DecodeError::BytesAfterHeaders(3)));
    }

    #[test]
    fn a_header_has_a_name() {
        assert_eq!(read(b"\0\x01a\0\0"), Err(DecodeError::EmptyHeaderName));
        let refused = hdrs::encode(&mut Vec::new(), [(b"".as_slice(), b"a".as_slice())]);
        assert_eq!(refused, Err(EncodeError::EmptyHeaderName));
    }

    #[test]
    fn a_long_value_has_a_varint_length() {
        let value = vec![b'x'; 70_000];
        let mut block = Vec::new();
        hdrs::encode(&mut block, [(b"a".as_slice(), value.as_slice())]).unwrap();
        assert_eq!(read(&block).unwrap(), [(b"a".as_slice(), value.as_slice())]);
    }
}

/// What an agent answers to `hello`.
fn handshaken(hello: &HaproxyHello<'_>) -> AgentHello {
    let mut wire = Vec::new();
    hello.encode(&mut wire).unwrap();
    let frame = Frame::decode(&wire[4..]).unwrap();
    match AgentHandshake::new(LIMITS).on_frame(&frame) {
        Ok(Reply::Established { hello, .. } | Reply::Able { hello }) => hello,
        other => panic!("{other:?}"),
    }
}
