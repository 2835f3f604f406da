//! What arrives is what the primary got (law 6).

use bytes::Bytes;

use crate::origin::{Heard, Origin, header, ok, request, sender};

fn first_line(heard: &Heard) -> &[u8] {
    let end = heard.head.windows(2).position(|w| w == b"\r\n").unwrap();
    &heard.head[..end]
}

#[tokio::test]
async fn a_target_arrives_byte_for_byte() {
    let origin = Origin::start(|_| ok()).await;
    let (mut sender, _) = sender(&origin);
    let long = [b"/".as_slice(), &b"a%2F".repeat(20_000)].concat();
    let targets: &[&[u8]] = &[
        b"/",
        b"//",
        b"//index//_search",
        b"/../_cat",
        b"/./a/../b",
        b"/%2e%2e/%2E/a%2fb%00",
        b"/%zz%",
        b"/?",
        b"/a?",
        b"/a??b=&&c=?",
        b"/a|b",
        b"/{a}",
        b"/a\"b'c",
        b"/<a>",
        b"/a#b#c",
        b"/`a`",
        b"/a\\b^c~[d];e,f:g@h!$&()*+=",
        b"/caf\xc3\xa9/\xff\xfe\x80",
        b"*",
        b"http://primary/absolute?q",
        b"no-slash",
        &long,
    ];
    for target in targets {
        let sent = sender.send(&request("GET", target)).await;
        assert_eq!(sent.result.unwrap().status, 200);
    }
    let heard = origin.heard();
    for (target, heard) in targets.iter().zip(&heard) {
        assert_eq!(first_line(heard), [b"GET ", *target, b" HTTP/1.1"].concat());
    }
    assert_eq!(heard.len(), targets.len());
    assert!(
        heard.iter().all(|heard| heard.connection == 0),
        "one connection is enough"
    );
}

#[tokio::test]
async fn header_fields_arrive_in_order_with_repeats_and_any_bytes() {
    let origin = Origin::start(|_| ok()).await;
    let (mut sender, _) = sender(&origin);
    let mut asked = request("GET", b"/");
    asked.headers = [
        header(b"Host", b"primary"),
        header(b"x-a", b"1"),
        header(b"X-B", b"caf\xe9 \xff\xfe"),
        header(b"x-a", b"2"),
        header(b"x-empty", b""),
        header(b"X-b", b"3"),
        header(b"x-a", b"1"),
        header(b"x-capture-id", b"forged"),
        header(b"x-long", &b"v".repeat(50_000)),
    ]
    .into_iter()
    .collect();
    sender.send(&asked).await.result.unwrap();
    let expected = [
        &b"GET / HTTP/1.1\r\nHost: primary\r\nx-a: 1\r\nX-B: caf\xe9 \xff\xfe\r\nx-a: 2\r\nx-empty: \r\n\
        X-b: 3\r\nx-a: 1\r\nx-capture-id: id\r\nx-long: "[..],
        &b"v".repeat(50_000),
        b"\r\n\r\n",
    ]
    .concat();
    assert_eq!(origin.heard()[0].head, expected);
}

#[tokio::test]
async fn every_method_arrives_with_its_body_and_without() {
    let origin = Origin::start(|heard| {
        // An answer to HEAD has a length and no body.
        let body = if heard.line().starts_with("HEAD") {
            ""
        } else {
            "{}"
        };
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
        crate::origin::Reply::Bytes(reply.into())
    })
    .await;
    let (mut sender, _) = sender(&origin);
    let body: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "get",
    ];
    for method in methods {
        for body in [&b""[..], &body] {
            let mut asked = request(method, b"/i/_search");
            asked.body.content = Bytes::copy_from_slice(body);
            let sent = sender.send(&asked).await;
            assert_eq!(sent.result.unwrap().status, 200);
            assert_eq!(sent.attempts, 1);
        }
    }
    let heard = origin.heard();
    let expected = methods
        .iter()
        .flat_map(|method| [(method, &b""[..]), (method, &body)]);
    for ((method, body), heard) in expected.zip(&heard) {
        assert_eq!(heard.line(), format!("{method} /i/_search HTTP/1.1"));
        assert_eq!(heard.body, body, "{method}");
        let head = String::from_utf8_lossy(&heard.head);
        let announces = head.contains("content-length: ");
        let expects_one = matches!(*method, "POST" | "PUT" | "PATCH");
        assert_eq!(announces, expects_one || !body.is_empty(), "{method}");
    }
    assert_eq!(heard.len(), 2 * methods.len());
    assert!(heard.iter().all(|heard| heard.connection == 0));
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let origin = Origin::start(|_| ok()).await;
    let (mut sender, counters) = sender(&origin);
    let mut asked = request("PUT", b"/large");
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    asked.body.content = body.clone().into();
    sender.send(&asked).await.result.unwrap();
    let heard = origin.heard();
    assert!(heard[0].body == body);
    let sent = counters
        .bytes_sent
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(sent, (heard[0].head.len() + body.len()) as u64);
}
