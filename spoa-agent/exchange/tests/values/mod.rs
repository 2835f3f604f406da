//! Any values, for tests.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses some of these"
)]

use bytes::Bytes;
use exchange::{
    Body, Dropped, Endpoint, Exchange, Extent, Gap, Half, Header, Pair, Request, Response,
    Rewritten, Sending, Timers, Tls, Word,
};
use proptest::{collection::vec, option, prelude::*};

pub fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..max).prop_map(Bytes::from),
        "[ -~]{0,40}".prop_map(Bytes::from),
    ]
}

pub fn extent() -> impl Strategy<Value = Extent> {
    let missing = || option::of(any::<u64>());
    prop_oneof![
        Just(Extent::Whole),
        missing().prop_map(|missing| Extent::Cut { missing }),
        missing().prop_map(|missing| Extent::NotCaptured { missing }),
    ]
}

pub fn body() -> impl Strategy<Value = Body> {
    (bytes(300), extent()).prop_map(|(content, extent)| Body { content, extent })
}

pub fn endpoint() -> impl Strategy<Value = Endpoint> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| Endpoint { ip, port })
}

pub fn tls() -> impl Strategy<Value = Tls> {
    (bytes(10), bytes(10), bytes(10)).prop_map(|(version, cipher, server_name)| Tls {
        version,
        cipher,
        server_name,
    })
}

pub fn headers() -> impl Strategy<Value = exchange::Headers> {
    vec((bytes(12), bytes(40)), 0..8).prop_map(|it| {
        it.into_iter()
            .map(|(name, value)| Header { name, value })
            .collect()
    })
}

/// Up to the year 9999, as RFC 3339 can say it.
pub fn time() -> impl Strategy<Value = u64> {
    0..253_402_207_200_000_000_u64
}

prop_compose! {
    pub fn request()(
        (id, time_us, client, local) in (bytes(40), time(), option::of(endpoint()), option::of(endpoint())),
        (frontend, tls, version, method) in (bytes(10), option::of(tls()), bytes(4), bytes(8)),
        (target, headers, body, held) in (bytes(80), headers(), body(), any::<bool>()),
    ) -> Request {
        Request { id, time_us, client, local, frontend, tls, version, method, target, headers, body, held }
    }
}

prop_compose! {
    pub fn response()(
        (id, time_us, request_time_us) in (bytes(40), time(), option::of(1..253_402_207_200_000_000_u64)),
        (backend, server, status, server_status) in (bytes(10), bytes(10), any::<u16>(), option::of(1..999_u16)),
        (version, headers, body) in (bytes(4), headers(), body()),
        (queue_ms, connect_ms, response_ms) in any::<(Option<u32>, Option<u32>, Option<u32>)>(),
    ) -> Response {
        let timers = Timers { queue_ms, connect_ms, response_ms };
        Response { id, time_us, request_time_us, backend, server, status, server_status, version, headers, body, timers }
    }
}

pub fn word() -> impl Strategy<Value = Word> {
    ".{0,12}".prop_map(Word::Owned)
}

pub fn items() -> impl Strategy<Value = std::ops::Range<u32>> {
    any::<(u32, u32)>().prop_map(|(a, b)| a.min(b)..a.max(b))
}

prop_compose! {
    pub fn rewritten()(target in option::of(bytes(40)), removed in headers(), added in headers(), body in option::of(body())) -> Rewritten {
        Rewritten { target, removed, added, body }
    }
}

prop_compose! {
    pub fn sending()(
        (attempts, due_us, began_us, ended_us) in (any::<u32>(), option::of(time()), time(), time()),
        (connect_us, first_byte_us, end_us) in any::<(u64, Option<u64>, u64)>(),
    ) -> Sending {
        Sending { attempts, due_us, began_us, ended_us, connect_us, first_byte_us, end_us }
    }
}

prop_compose! {
    /// All halves of a pair have one id. Boxed: the strategies by value would need more stack than a test has.
    pub fn pair()(
        (position, target, api, dropped) in (any::<u64>(), word(), word(), option::of((word(), word()))),
        (request, changes, rewritten) in (request().boxed(), vec(word(), 0..3), option::of(rewritten().boxed())),
        (items, more) in (vec(items(), 0..3), any::<bool>()),
        (primary, shadow, sending) in (option::of(response().boxed()), option::of(response().boxed()), sending()),
    ) -> Pair {
        let dropped = dropped.map(|(reason, cause)| Dropped { reason, cause });
        let named = |it: Option<Response>| it.map(|it| Response { id: request.id.clone(), ..it });
        let (primary, shadow) = (named(primary), named(shadow));
        Pair { position, target, api, dropped, request, changes, rewritten, items, more, primary, shadow, sending }
    }
}

pub fn half() -> impl Strategy<Value = Half> {
    prop_oneof![
        request().prop_map(Half::Request),
        response().prop_map(Half::Response),
        pair().boxed().prop_map(|it| Half::Pair(Box::new(it))),
        (any::<(u64, u64, u64, u64)>(), ".{0,10}").prop_map(
            |((from_us, to_us, requests, responses), reason)| {
                Half::Gap(Gap {
                    from_us,
                    to_us,
                    requests,
                    responses,
                    reason,
                })
            }
        ),
    ]
}

pub fn gap() -> impl Strategy<Value = Gap> {
    (time(), time(), any::<(u64, u64)>(), ".{0,10}").prop_map(
        |(from_us, to_us, (requests, responses), reason)| Gap {
            from_us,
            to_us,
            requests,
            responses,
            reason,
        },
    )
}

/// Both halves have one id, and at least one is there.
pub fn exchange() -> impl Strategy<Value = Exchange> {
    (any::<u64>(), request().boxed(), response().boxed(), 0..3_u8).prop_map(
        |(position, request, response, halves)| {
            let id = request.id.clone();
            Exchange {
                position,
                request: (halves != 0).then_some(request),
                response: (halves != 1).then_some(Response { id, ..response }),
            }
        },
    )
}
