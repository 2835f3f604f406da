//! What the tokens promise as a whole: tables of requests and of answers.

use bytes::Bytes;
use exchange::operation::content;
use exchange::{Body, Extent, Header, Headers, Request};
use proptest::prelude::*;

use super::*;
use crate::Change;

pub(super) fn request(line: &str, body: &str) -> Request {
    let (method, target) = line.split_once(' ').unwrap();
    Request {
        method: Bytes::copy_from_slice(method.as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        body: Body {
            content: Bytes::copy_from_slice(body.as_bytes()),
            extent: Extent::Whole,
        },
        ..Request::default()
    }
}

pub(super) fn told(asked: &Asked, status: u16, body: &str) -> Told {
    let reply = Reply {
        status,
        headers: &Headers::default(),
        body: body.as_bytes(),
    };
    in_answer(asked, reply)
}

/// Lets both clusters answer a request, and the sessions learn from it.
fn exchanged(
    sessions: &mut Sessions,
    request: &Request,
    primary: &str,
    shadow: &str,
) -> Vec<Event> {
    let asked = in_request(request);
    let primary = told(&asked, 200, primary);
    let shadow = told(&asked, 200, shadow);
    sessions.learn(&asked, Some(&primary), Some(&shadow), 0)
}

fn rewritten(sessions: &Sessions, request: &Request) -> Result<(String, String), Unmappable> {
    let mut request = request.clone();
    sessions.rewrite(&mut request, &mut Vec::new())?;
    Ok((text(&request.target), text(&request.body.content)))
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Opens a session of every API; the primary's tokens are `p1`, `p2`, the shadow's `s/1`, `s/2`.
fn one_of_each() -> Sessions {
    let mut sessions = Sessions::default();
    for number in 1..=2 {
        for (line, body, answer) in OPENINGS {
            let of = |side: &str| answer.replace('?', &format!("{side}{number}"));
            exchanged(&mut sessions, &request(line, body), &of("p"), &of("s/"));
        }
    }
    sessions
}

const OPENINGS: &[(&str, &str, &str)] = &[
    (
        "POST /i/_search?scroll=1m",
        "{}",
        r#"{"_scroll_id":"?","took":1}"#,
    ),
    ("POST /i/_pit?keep_alive=1m", "", r#"{"id":"?"}"#),
    (
        "POST /i/_async_search",
        "{}",
        r#"{"id":"?","is_running":true,"response":{}}"#,
    ),
    (
        "POST /i/_forcemerge?wait_for_completion=false",
        "",
        r#"{"task":"?"}"#,
    ),
    (
        "POST /_sql",
        r#"{"query":"SELECT 1"}"#,
        r#"{"columns":[],"rows":[],"cursor":"?"}"#,
    ),
];

/// A request with the tokens `p1`, `p2`, and what is sent for it.
const MAPPED: &[(&str, &str, &str, &str)] = &[
    // Scroll: next page.
    (
        "GET /_search/scroll/p1",
        "",
        "GET /_search/scroll/s%2F1",
        "",
    ),
    (
        "GET /_search/scroll/p%31?scroll=1m",
        "",
        "GET /_search/scroll/s%2F1?scroll=1m",
        "",
    ),
    (
        "GET /_search/scroll?scroll=1m&scroll_id=p1&pretty",
        "",
        "GET /_search/scroll?scroll=1m&scroll_id=s%2F1&pretty",
        "",
    ),
    (
        "POST /_search/scroll",
        r#"{ "scroll" : "1m", "scroll_id" :"p1" }"#,
        "POST /_search/scroll",
        r#"{ "scroll" : "1m", "scroll_id" :"s/1" }"#,
    ),
    (
        "POST /_search/scroll",
        r#"{"scroll_id":"\u00701"}"#,
        "POST /_search/scroll",
        r#"{"scroll_id":"s/1"}"#,
    ),
    (
        "POST /_search/scroll?scroll=1m",
        " p1\n",
        "POST /_search/scroll?scroll=1m",
        " s/1\n",
    ),
    (
        "POST /_search/scroll",
        r#"{"scroll_id":["p2"]}"#,
        "POST /_search/scroll",
        r#"{"scroll_id":["s/2"]}"#,
    ),
    (
        "GET /_search/scroll?source=%7B%22scroll_id%22%3A%22p1%22%7D&x=1",
        "",
        "GET /_search/scroll?source=%7B%22scroll_id%22:%22s%2F1%22%7D&x=1",
        "",
    ),
    // Scroll: close.
    (
        "DELETE /_search/scroll/p1,p2",
        "",
        "DELETE /_search/scroll/s%2F1,s%2F2",
        "",
    ),
    (
        "DELETE /_search/scroll?scroll_id=p2",
        "",
        "DELETE /_search/scroll?scroll_id=s%2F2",
        "",
    ),
    (
        "DELETE /_search/scroll",
        r#"{"scroll_id":"p1"}"#,
        "DELETE /_search/scroll",
        r#"{"scroll_id":"s/1"}"#,
    ),
    (
        "DELETE /_search/scroll",
        r#"{"scroll_id":["p1", "p2"]}"#,
        "DELETE /_search/scroll",
        r#"{"scroll_id":["s/1", "s/2"]}"#,
    ),
    (
        "DELETE /_search/scroll",
        "p1,p2",
        "DELETE /_search/scroll",
        "s/1,s/2",
    ),
    // Those that the target does not know are left out.
    (
        "DELETE /_search/scroll/x,p2,y,z",
        "",
        "DELETE /_search/scroll/s%2F2",
        "",
    ),
    (
        "DELETE /_search/scroll",
        r#"{"scroll_id":["x", "p2" ,"y","p1","z"]}"#,
        "DELETE /_search/scroll",
        r#"{"scroll_id":["s/2" ,"s/1"]}"#,
    ),
    // All means all, on every cluster.
    (
        "DELETE /_search/scroll/_all",
        "",
        "DELETE /_search/scroll/_all",
        "",
    ),
    (
        "DELETE /_search/scroll",
        r#"{"scroll_id":"_all"}"#,
        "DELETE /_search/scroll",
        r#"{"scroll_id":"_all"}"#,
    ),
    (
        "DELETE /_search/point_in_time/_all",
        "",
        "DELETE /_search/point_in_time/_all",
        "",
    ),
    // Point in time.
    (
        "POST /_search",
        r#"{"pit":{"id":"p1","keep_alive":"1m"},"sort":"a"}"#,
        "POST /_search",
        r#"{"pit":{"id":"s/1","keep_alive":"1m"},"sort":"a"}"#,
    ),
    (
        "POST /_search",
        r#"{"pit":{"id":"p1"},"sort":"a","search_after":[7]}"#,
        "POST /_search",
        r#"{"pit":{"id":"s/1"},"sort":"a","search_after":[7]}"#,
    ),
    (
        "POST /_async_search",
        r#"{"pit":{"id":"p2"}}"#,
        "POST /_async_search",
        r#"{"pit":{"id":"s/2"}}"#,
    ),
    (
        "GET /_msearch",
        "{}\n{\"pit\":{\"id\":\"p1\"}}\n{}\n{}\n{}\n{\"pit\":{\"id\":\"p2\"}}\n",
        "GET /_msearch",
        "{}\n{\"pit\":{\"id\":\"s/1\"}}\n{}\n{}\n{}\n{\"pit\":{\"id\":\"s/2\"}}\n",
    ),
    (
        "GET /_msearch",
        "\n{}\n{\"pit\":{\"id\":\"p1\"}}",
        "GET /_msearch",
        "\n{}\n{\"pit\":{\"id\":\"s/1\"}}",
    ),
    (
        "DELETE /_pit",
        r#"{"id":"p1"}"#,
        "DELETE /_pit",
        r#"{"id":"s/1"}"#,
    ),
    (
        "DELETE /_search/point_in_time",
        r#"{"pit_id":["p1","x"]}"#,
        "DELETE /_search/point_in_time",
        r#"{"pit_id":["s/1"]}"#,
    ),
    (
        "GET /_cat/pit_segments",
        r#"{"pit_id":["p1"]}"#,
        "GET /_cat/pit_segments",
        r#"{"pit_id":["s/1"]}"#,
    ),
    // Async search.
    (
        "GET /_async_search/p1?keep_alive=1m",
        "",
        "GET /_async_search/s%2F1?keep_alive=1m",
        "",
    ),
    (
        "GET /_async_search/status/p1",
        "",
        "GET /_async_search/status/s%2F1",
        "",
    ),
    (
        "DELETE /_async_search/p1",
        "",
        "DELETE /_async_search/s%2F1",
        "",
    ),
    (
        "GET http://primary:9200/_async_search/p1",
        "",
        "GET http://primary:9200/_async_search/s%2F1",
        "",
    ),
    // The paths of the other APIs that open such searches; the session does not say by which it was opened.
    (
        "GET /_plugins/_asynchronous_search/p1",
        "",
        "GET /_plugins/_asynchronous_search/s%2F1",
        "",
    ),
    (
        "DELETE /_opendistro/_asynchronous_search/p1",
        "",
        "DELETE /_opendistro/_asynchronous_search/s%2F1",
        "",
    ),
    (
        "GET /_plugins/_asynchronous_search/stats",
        "",
        "GET /_plugins/_asynchronous_search/stats",
        "",
    ),
    ("GET /_eql/search/p1", "", "GET /_eql/search/s%2F1", ""),
    (
        "POST /_query/async/p1/stop",
        "",
        "POST /_query/async/s%2F1/stop",
        "",
    ),
    (
        "DELETE /_sql/async/delete/p1",
        "",
        "DELETE /_sql/async/delete/s%2F1",
        "",
    ),
    // Tasks.
    (
        "GET /_tasks/p1?wait_for_completion=true",
        "",
        "GET /_tasks/s%2F1?wait_for_completion=true",
        "",
    ),
    (
        "POST /_tasks/p1/_cancel",
        "",
        "POST /_tasks/s%2F1/_cancel",
        "",
    ),
    (
        "POST /_tasks/_cancel?actions=*reindex",
        "",
        "POST /_tasks/_cancel?actions=*reindex",
        "",
    ),
    (
        "GET /_tasks?parent_task_id=p1",
        "",
        "GET /_tasks?parent_task_id=s%2F1",
        "",
    ),
    (
        "POST /_update_by_query/p1/_rethrottle?requests_per_second=-1",
        "",
        "POST /_update_by_query/s%2F1/_rethrottle?requests_per_second=-1",
        "",
    ),
    ("GET /.tasks/_doc/p1", "", "GET /.tasks/_doc/s%2F1", ""),
    // SQL.
    (
        "POST /_sql?format=txt",
        r#"{"cursor":"p1"}"#,
        "POST /_sql?format=txt",
        r#"{"cursor":"s/1"}"#,
    ),
    (
        "POST /_plugins/_sql/close",
        r#"{"cursor":"p1"}"#,
        "POST /_plugins/_sql/close",
        r#"{"cursor":"s/1"}"#,
    ),
    // What only looks like a token.
    (
        "POST /p1/_search",
        r#"{"query":{"term":{"pit":{"id":"p1"}}}}"#,
        "POST /p1/_search",
        r#"{"query":{"term":{"pit":{"id":"p1"}}}}"#,
    ),
    (
        "GET /i/_doc/p1?scroll_id=p1",
        "",
        "GET /i/_doc/p1?scroll_id=p1",
        "",
    ),
];

#[test]
fn tokens_are_mapped_wherever_an_api_takes_them() {
    let sessions = one_of_each();
    for (line, body, sent, sent_body) in MAPPED {
        let (target, content) = rewritten(&sessions, &request(line, body)).unwrap_or_else(|e| {
            panic!("{line} {body}: {e}");
        });
        let (method, _) = line.split_once(' ').unwrap();
        assert_eq!(
            (format!("{method} {target}"), content),
            ((*sent).to_owned(), (*sent_body).to_owned()),
            "{line} {body}"
        );
    }
}

#[test]
fn a_request_with_an_unknown_token_is_not_sent_and_not_changed() {
    let sessions = one_of_each();
    for (line, body, kind) in [
        ("GET /_search/scroll/x", "", TokenKind::Scroll),
        (
            "POST /_search/scroll",
            r#"{"scroll_id":["p1","x"]}"#,
            TokenKind::Scroll,
        ),
        ("DELETE /_search/scroll/x,y", "", TokenKind::Scroll),
        (
            "DELETE /_search/scroll/p1",
            r#"{"scroll_id":"x"}"#,
            TokenKind::Scroll,
        ),
        (
            "POST /_search",
            r#"{"pit":{"id":"x"}}"#,
            TokenKind::PointInTime,
        ),
        (
            "POST /_search",
            r#"{"pit":{"id":"p1"},"search_after":[1]}"#,
            TokenKind::Position,
        ),
        (
            "POST /_msearch",
            "{}\n{\"pit\":{\"id\":\"p1\"}}\n{}\n{\"pit\":{\"id\":\"x\"}}\n",
            TokenKind::PointInTime,
        ),
        ("GET /_async_search/x", "", TokenKind::AsyncSearch),
        ("GET /_tasks/x", "", TokenKind::Task),
        ("POST /_sql", r#"{"cursor":"x"}"#, TokenKind::Cursor),
        // A token of another kind is not taken for this one's.
        ("DELETE /_tasks/s%2F1", "", TokenKind::Task),
    ] {
        let mut request = request(line, body);
        let before = request.clone();
        let mut changes = Vec::new();
        let error = sessions.rewrite(&mut request, &mut changes).unwrap_err();
        assert_eq!(
            error,
            Unmappable {
                kind,
                reason: Reason::Headless
            },
            "{line}"
        );
        assert_eq!((request, changes.len()), (before, 0), "{line}");
    }
}

#[test]
fn a_body_that_cannot_be_read_is_not_sent_with_the_primarys_token_in_it() {
    let sessions = one_of_each();
    for (line, body, kind) in [
        (
            "POST /_search",
            &b"\xbf\x63pit\xbf\x62id\x62p1\xff\xff"[..],
            TokenKind::PointInTime,
        ),
        (
            "POST /_search",
            b":)\n\x05\xfa\x82pit\xfa\x81id\x41p1\xfb\xfb",
            TokenKind::PointInTime,
        ),
        (
            "POST /_search",
            b"---\npit:\n  id: p1\n",
            TokenKind::PointInTime,
        ),
        ("POST /_sql", b"\xbf\x66cursor\x62p1\xff", TokenKind::Cursor),
        (
            "POST /_search/scroll",
            b"---\nscroll_id: p1\n",
            TokenKind::Scroll,
        ),
        ("POST /_search/scroll", b"", TokenKind::Scroll),
        (
            "POST /_search",
            b"{\"pit\":{\"id\":7}}",
            TokenKind::PointInTime,
        ),
    ] {
        let mut request = request(line, "");
        request.body.content = Bytes::from_static(body);
        let error = sessions.rewrite(&mut request, &mut Vec::new()).unwrap_err();
        assert_eq!(
            error,
            Unmappable {
                kind,
                reason: Reason::Unreadable
            },
            "{}",
            text(body)
        );
    }
    let mut capital = request("POST /_search", "");
    capital.body.content = Bytes::from_static(b"\xbf\x67capital\x62p1\xff");
    sessions.rewrite(&mut capital, &mut Vec::new()).unwrap();
}

#[test]
fn a_compressed_body_is_sent_without_its_coding_only_when_it_is_changed() {
    use std::io::Write as _;
    let sessions = one_of_each();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        Bytes::from(encoder.finish().unwrap())
    };
    let mut compressed = request("POST /_search", "");
    compressed.headers = ["content-encoding", "x"]
        .map(|name| Header {
            name: Bytes::from(name),
            value: Bytes::from("gzip"),
        })
        .into_iter()
        .collect();
    compressed.body.content = gzip(r#"{"query":{}}"#);
    let before = compressed.clone();
    let mut changes = Vec::new();
    sessions.rewrite(&mut compressed, &mut changes).unwrap();
    assert_eq!((&compressed, changes.len()), (&before, 0));

    compressed.body.content = gzip(r#"{"pit":{"id":"p1"}}"#);
    sessions.rewrite(&mut compressed, &mut changes).unwrap();
    assert_eq!(changes, [Change::TokenMapped, Change::Decoded]);
    assert_eq!(compressed.headers.get("content-encoding"), None);
    assert_eq!(compressed.headers.get("x"), Some(&b"gzip"[..]));
    assert_eq!(text(&compressed.body.content), r#"{"pit":{"id":"s/1"}}"#);
    assert!(content::decoded(&compressed.headers, &compressed.body).is_ok());
}

#[test]
fn a_request_without_tokens_is_nothing() {
    for line in [
        "GET /",
        "PUT /i/_doc/1",
        "POST /_bulk",
        "POST /i/_search",
        "GET /_cat/indices",
        "POST /_sql/translate",
        "OPTIONS *",
    ] {
        assert!(in_request(&request(line, "{}")).is_nothing(), "{line}");
    }
    let half = request("POST /_tasks/x/_cancel", "");
    assert!(!in_request(&half).is_nothing());
}

#[test]
fn tokens_are_read_from_the_part_of_an_answer_that_was_captured() {
    let asked = in_request(&request("POST /i/_search?scroll=1m", "{}"));
    let cut = told(
        &asked,
        200,
        r#"{"_scroll_id":"p","took":3,"hits":{"hits":[{"_so"#,
    );
    assert_eq!(cut.tokens()[0].bytes(), &b"p"[..]);
    assert!(told(&asked, 200, r#"{"_scroll_id":"p"#).tokens().is_empty());
    assert!(
        told(&asked, 404, r#"{"_scroll_id":"p"}"#)
            .tokens()
            .is_empty()
    );

    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder
        .write_all(br#"{"_scroll_id":"p","took":3,"hits":{"#)
        .unwrap();
    encoder.write_all(&[b' '; 5000]).unwrap();
    let gzip = encoder.finish().unwrap();
    let headers = [Header {
        name: Bytes::from("content-encoding"),
        value: Bytes::from("gzip"),
    }];
    let headers = headers.into_iter().collect();
    let reply = Reply {
        status: 200,
        headers: &headers,
        body: &gzip[..3000],
    };
    assert_eq!(in_answer(&asked, reply).tokens()[0].bytes(), &b"p"[..]);
}

#[test]
fn a_cursor_of_a_text_answer_is_read_from_its_header() {
    let asked = in_request(&request("POST /_sql?format=csv", r#"{"query":"x"}"#));
    let headers = [Header {
        name: Bytes::from("cursor"),
        value: Bytes::from("p"),
    }];
    let headers = headers.into_iter().collect();
    let reply = Reply {
        status: 200,
        headers: &headers,
        body: b"a,b\n1,2\n",
    };
    assert_eq!(
        in_answer(&asked, reply).tokens()[0].kind(),
        TokenKind::Cursor
    );
}

#[test]
fn what_the_shadow_refused_or_did_not_answer_makes_the_rest_of_the_chain_unmappable() {
    let opening = request("POST /i/_search?scroll=1m", "{}");
    let page = request("POST /_search/scroll", r#"{"scroll_id":"p"}"#);
    let asked = in_request(&opening);
    let primary = told(&asked, 200, r#"{"_scroll_id":"p"}"#);
    for (status, shadow) in [
        (429, Some(told(&asked, 429, "{}"))),
        (0, None),
        (200, Some(told(&asked, 200, "{}"))),
    ] {
        let mut sessions = Sessions::default();
        sessions.learn(&asked, Some(&primary), shadow.as_ref(), 0);
        let error = rewritten(&sessions, &page).unwrap_err();
        assert_eq!(
            error,
            Unmappable {
                kind: TokenKind::Scroll,
                reason: Reason::Broken { status }
            }
        );
        assert!(sessions.close_requests().is_empty());
    }
}

#[test]
fn a_page_that_the_shadow_did_not_get_ends_its_scroll_but_not_a_point_in_time() {
    let mut sessions = one_of_each();
    let page = request("POST /_search/scroll", r#"{"scroll_id":"p1"}"#);
    let asked = in_request(&page);
    let primary = told(&asked, 200, r#"{"_scroll_id":"p1"}"#);
    sessions.learn(&asked, Some(&primary), None, 0);
    let error = rewritten(&sessions, &page).unwrap_err();
    assert_eq!(error.reason, Reason::Broken { status: 0 });
    assert_eq!(sessions.counts().left_open, 1, "its context is still open");

    let search = request("POST /_search", r#"{"pit":{"id":"p1"}}"#);
    let asked = in_request(&search);
    let primary = told(&asked, 200, r#"{"pit_id":"p1b"}"#);
    sessions.learn(&asked, Some(&primary), Some(&told(&asked, 503, "")), 0);
    let search = request("POST /_search", r#"{"pit":{"id":"p1b"}}"#);
    assert!(rewritten(&sessions, &search).unwrap().1.contains("\"s/1\""));
    let asked = in_request(&search);
    let primary = told(&asked, 200, r#"{"pit_id":"p1b"}"#);
    sessions.learn(&asked, Some(&primary), Some(&told(&asked, 404, "")), 0);
    assert_eq!(
        rewritten(&sessions, &search).unwrap_err().reason,
        Reason::Broken { status: 404 }
    );
}

#[test]
fn what_the_primary_refused_opens_no_session_and_what_only_the_shadow_opened_is_closed() {
    let mut sessions = Sessions::default();
    let asked = in_request(&request("POST /i/_search?scroll=1m", "{}"));
    let primary = told(&asked, 429, "{}");
    let shadow = told(&asked, 200, r#"{"_scroll_id":"s"}"#);
    sessions.learn(&asked, Some(&primary), Some(&shadow), 0);
    assert_eq!(
        (sessions.counts().sessions, sessions.counts().left_open),
        (0, 1)
    );
    assert_eq!(
        text(&sessions.take_left_open()[0].body.content),
        r#"{"scroll_id":["s"]}"#
    );
    assert!(sessions.close_requests().is_empty());
}

#[test]
fn an_opening_that_is_sent_twice_leaves_one_context_to_close() {
    let mut sessions = Sessions::default();
    let opening = request("POST /i/_pit?keep_alive=1m", "");
    exchanged(&mut sessions, &opening, r#"{"id":"p"}"#, r#"{"id":"s1"}"#);
    exchanged(&mut sessions, &opening, r#"{"id":"p"}"#, r#"{"id":"s2"}"#);
    assert_eq!(
        (sessions.counts().sessions, sessions.counts().left_open),
        (1, 1)
    );
    let search = request("POST /_search", r#"{"pit":{"id":"p"}}"#);
    assert!(rewritten(&sessions, &search).unwrap().1.contains("s2"));
    assert_eq!(
        text(&sessions.close_requests()[0].body.content),
        r#"{"id":"s1"}"#
    );
}

#[test]
fn a_closed_session_is_known_no_more_and_one_that_the_shadow_did_not_close_is_closed_at_the_end() {
    for (line, body, kind) in [
        ("DELETE /_search/scroll/_all", "", TokenKind::Scroll),
        (
            "DELETE /_search/scroll",
            r#"{"scroll_id":["p1","p2"]}"#,
            TokenKind::Scroll,
        ),
        (
            "DELETE /_search/point_in_time/_all",
            "",
            TokenKind::PointInTime,
        ),
    ] {
        let request = request(line, body);
        let asked = in_request(&request);
        let done = told(&asked, 200, "{}");
        let failed = told(&asked, 503, "{}");

        let mut sessions = one_of_each();
        let open = sessions.close_requests().len();
        sessions.learn(&asked, Some(&done), Some(&done), 0);
        assert_eq!(sessions.counts().closed, 2, "{line}");
        assert!(sessions.all(kind).is_empty());
        assert!(sessions.close_requests().len() < open);

        let mut sessions = one_of_each();
        sessions.learn(&asked, Some(&done), Some(&failed), 0);
        assert!(sessions.all(kind).is_empty());
        assert_eq!(sessions.counts().left_open, 2, "{line}");

        let mut sessions = one_of_each();
        sessions.learn(&asked, Some(&failed), Some(&failed), 0);
        assert_eq!(sessions.all(kind).len(), 2, "{line}: nobody closed them");
    }
}

#[test]
fn a_session_ends_with_its_keep_alive_unless_it_is_used() {
    const SECOND: u64 = 1_000_000;
    let mut sessions = Sessions::default();
    let opening = request("POST /i/_search?scroll=30s", "{}");
    exchanged(
        &mut sessions,
        &opening,
        r#"{"_scroll_id":"p"}"#,
        r#"{"_scroll_id":"s"}"#,
    );
    let page = request("GET /_search/scroll?scroll=5m&scroll_id=p", "");
    let asked = in_request(&page);
    let same = |id: &str| told(&asked, 200, &format!(r#"{{"_scroll_id":"{id}"}}"#));
    assert!(sessions.expire(89 * SECOND).is_empty());
    let events = sessions.learn(&asked, Some(&same("p")), Some(&same("s")), 80 * SECOND);
    assert_eq!(events.len(), 1, "a longer life is written down");
    let again = sessions.learn(&asked, Some(&same("p")), Some(&same("s")), 90 * SECOND);
    assert!(again.is_empty(), "a little longer is not");
    assert!(sessions.expire(400 * SECOND).is_empty());
    assert_eq!(sessions.expire(441 * SECOND).len(), 1);
    assert_eq!(
        rewritten(&sessions, &page).unwrap_err().reason,
        Reason::Headless
    );
    assert_eq!(sessions.take_left_open().len(), 1);
}

#[test]
fn sessions_stay_within_their_limits_and_the_unused_ones_go_first() {
    let limits = Limits {
        sessions: 3,
        bytes: 1 << 20,
    };
    let mut sessions = Sessions::new(limits);
    let open = |sessions: &mut Sessions, name: &str| {
        let answer = |side: &str| format!(r#"{{"id":"{side}{name}"}}"#);
        exchanged(
            sessions,
            &request("POST /i/_pit?keep_alive=1m", ""),
            &answer("p"),
            &answer("s"),
        );
    };
    let search = |name: &str| {
        request(
            "POST /_search",
            &format!(r#"{{"pit":{{"id":"p{name}","keep_alive":"1h"}}}}"#),
        )
    };
    for name in ["1", "2", "3"] {
        open(&mut sessions, name);
    }
    exchanged(
        &mut sessions,
        &search("1"),
        r#"{"pit_id":"p1"}"#,
        r#"{"pit_id":"s1"}"#,
    );
    open(&mut sessions, "4");
    assert!(rewritten(&sessions, &search("2")).is_err());
    for name in ["1", "3", "4"] {
        assert!(rewritten(&sessions, &search(name)).is_ok(), "{name}");
    }
    for number in 5..50 {
        open(&mut sessions, &number.to_string());
    }
    let counts = sessions.counts();
    assert_eq!((counts.sessions, counts.left_open), (3, 3));
    assert_eq!((counts.evicted, counts.leaked), (46, 43));

    let mut sessions = Sessions::new(Limits {
        sessions: 1000,
        bytes: 20_000,
    });
    for number in 0..50 {
        open(&mut sessions, &format!("{number}{}", "x".repeat(1000)));
        assert!(sessions.counts().bytes <= 20_000);
    }
    assert!(sessions.counts().sessions > 5);
    for event in sessions.expire(u64::MAX) {
        Event::decode(&event.encode()).unwrap();
    }
    assert_eq!(
        (sessions.counts().sessions, sessions.counts().bytes),
        (0, 0)
    );
    assert!(sessions.by_token.is_empty() && sessions.by_use.is_empty());
}

fn page(search_after: Option<&str>, slice: u32) -> Request {
    let after =
        search_after.map_or_else(String::new, |after| format!(r#","search_after":{after}"#));
    let body =
        format!(r#"{{"pit":{{"id":"p1"}},"sort":["a"],"slice":{{"id":{slice},"max":2}}{after}}}"#);
    request("POST /_search", &body)
}

fn hits(sorts: &[&str]) -> String {
    let hits: Vec<String> = sorts
        .iter()
        .map(|sort| format!(r#"{{"_id":"x","sort":{sort}}}"#))
        .collect();
    format!(
        r#"{{"pit_id":"p1","hits":{{"total":9,"hits":[{}]}}}}"#,
        hits.join(",")
    )
}

#[test]
fn search_after_values_of_the_clusters_own_are_the_shadows_own() {
    let mut sessions = one_of_each();
    // The implicit tie-breaker: one value more than sort keys. The shadow's page may end elsewhere, and its
    // values may be fewer.
    for (slice, theirs) in [(0, "[5, 77]"), (1, "[9]")] {
        exchanged(
            &mut sessions,
            &page(None, slice),
            &hits(&["[4,1]", "[5,4294967299]"]),
            &hits(&["[1,1]", theirs]),
        );
    }
    for (slice, theirs) in [(0, "[5, 77]"), (1, "[9]")] {
        let sent = rewritten(&sessions, &page(Some("[5.0, 4294967299]"), slice)).unwrap();
        assert!(
            sent.1.contains(&format!(r#""search_after":{theirs}"#)),
            "{}",
            sent.1
        );
    }
    // Another position than the end of a page is not known.
    let error = rewritten(&sessions, &page(Some("[4,1]"), 0)).unwrap_err();
    assert_eq!(error.kind, TokenKind::Position);
    // Values of fields are the same on every cluster.
    let sent = rewritten(&sessions, &page(Some("[4]"), 0)).unwrap();
    assert!(sent.1.contains(r#""search_after":[4]"#));
    // A page that is empty on the shadow has no end there.
    exchanged(&mut sessions, &page(None, 0), &hits(&["[6,2]"]), &hits(&[]));
    assert!(rewritten(&sessions, &page(Some("[6,2]"), 0)).is_err());
}

#[test]
fn positions_of_several_searches_in_one_request_are_kept_apart() {
    let mut sessions = one_of_each();
    let body = |after: &str| {
        format!(
            "{{}}\n{{\"pit\":{{\"id\":\"p1\"}}}}\n{{}}\n{{\"query\":{{}}}}\n{{}}\n{{\"pit\":{{\"id\":\"p2\"}}{after}}}\n"
        )
    };
    let searches = request("POST /_msearch", &body(""));
    let answer = |a: &str, b: &str| {
        format!(
            r#"{{"responses":[{},{{"hits":{{}}}},{}]}}"#,
            hits(&[a]),
            hits(&[b]).replace("p1", "p2")
        )
    };
    exchanged(
        &mut sessions,
        &searches,
        &answer("[1]", "[2]"),
        &answer("[10]", "[20]"),
    );
    let next = request("POST /_msearch", &body(",\"search_after\":[2]"));
    assert!(rewritten(&sessions, &next).unwrap().1.contains("[20]"));
    let wrong = request("POST /_msearch", &body(",\"search_after\":[1]"));
    assert!(
        rewritten(&sessions, &wrong).is_err(),
        "that is the end of the other one's page"
    );
}

fn writes(keys: &[Key]) -> usize {
    keys.iter().filter(|key| key.write).count()
}

fn conflict(a: &[Key], b: &[Key]) -> bool {
    a.iter()
        .any(|a| b.iter().any(|b| a.hash == b.hash && (a.write || b.write)))
}

#[test]
fn consumers_conflict_with_what_they_build_on_and_reads_of_a_point_in_time_run_in_parallel() {
    let keys_of = |line: &str, body: &str, answer: &str| {
        let asked = in_request(&request(line, body));
        keys(&asked, Some(&told(&asked, 200, answer)))
    };
    let opening = keys_of("POST /i/_pit?keep_alive=1m", "", r#"{"id":"p"}"#);
    let search = keys_of(
        "POST /_search",
        r#"{"pit":{"id":"p"},"sort":"a"}"#,
        r#"{"pit_id":"p"}"#,
    );
    let closing = keys_of("DELETE /_pit", r#"{"id":"p"}"#, "{}");
    assert!(
        conflict(&opening, &search) && conflict(&search, &closing) && conflict(&opening, &closing)
    );
    assert!(!conflict(&search, &search));

    let ended = r#"{"pit_id":"p","hits":{"hits":[{"sort":[7]}]}}"#;
    let first = keys_of("POST /_search", r#"{"pit":{"id":"p"}}"#, ended);
    let second = keys_of(
        "POST /_search",
        r#"{"pit":{"id":"p"},"search_after":[7]}"#,
        "{}",
    );
    let other = keys_of(
        "POST /_search",
        r#"{"pit":{"id":"p"},"search_after":[8]}"#,
        "{}",
    );
    assert!(conflict(&first, &second) && !conflict(&first, &other));

    let scroll = keys_of(
        "POST /_search/scroll",
        r#"{"scroll_id":"p"}"#,
        r#"{"_scroll_id":"p"}"#,
    );
    let all = keys_of("DELETE /_search/scroll/_all", "", "{}");
    let unrelated = keys_of(
        "POST /_search/scroll",
        r#"{"scroll_id":"q"}"#,
        r#"{"_scroll_id":"q"}"#,
    );
    assert!(
        conflict(&scroll, &scroll) && conflict(&scroll, &all) && !conflict(&scroll, &unrelated)
    );
    assert!(!conflict(&scroll, &search), "another kind");
    assert_eq!((writes(&search), writes(&scroll), writes(&all)), (0, 1, 1));
    assert!(keys(&in_request(&request("POST /_bulk", "{}")), None).is_empty());
}

/// A cheap way to get bytes that are nearly right.
fn nearly(line: &str, body: &str) -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> + use<> {
    let (line, body) = (line.as_bytes().to_vec(), body.as_bytes().to_vec());
    let damage = || prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (
        damage(),
        damage(),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(move |(a, b, cut, whole)| {
            let (mut line, mut body) = (line.clone(), body.clone());
            for (bytes, damage) in [(&mut line, a), (&mut body, b)] {
                for (at, byte) in damage {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = byte;
                    }
                }
            }
            if !whole && !body.is_empty() {
                body.truncate(cut.index(body.len()));
            }
            (line, body)
        })
}

fn any_request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    prop_oneof![
        prop::sample::select(MAPPED).prop_flat_map(|(line, body, ..)| nearly(line, body)),
        prop::sample::select(OPENINGS).prop_flat_map(|(line, body, _)| nearly(line, body)),
        (
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(any::<u8>(), 0..60)
        ),
    ]
}

fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        prop::sample::select(OPENINGS).prop_map(|(.., answer)| (*answer).to_owned()),
        Just(hits(&["[1]", "[2,3]"])),
        Just(format!(r#"{{"responses":[{},{{}}]}}"#, hits(&["[2]"]))),
    ];
    whole
        .prop_flat_map(|answer| nearly("", &answer))
        .prop_map(|(_, body)| body)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_change_a_request_that_it_refuses(
        (line, body) in any_request(), ours in any_answer(), theirs in any_answer(), now in any::<u64>(), whole in any::<bool>()
    ) {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let mut request = request("GET /", "");
        request.method = Bytes::copy_from_slice(parts.next().unwrap_or_default());
        request.target = Bytes::copy_from_slice(parts.next().unwrap_or_default());
        request.body.content = body.into();
        if !whole {
            request.body.extent = Extent::Cut { missing: None };
        }
        let mut sessions = one_of_each();
        let before = request.clone();
        let asked = in_request(&request);
        let headers = Headers::default();
        let ours = in_answer(&asked, Reply { status: 200, headers: &headers, body: &ours });
        let theirs = in_answer(&asked, Reply { status: 200, headers: &headers, body: &theirs });
        prop_assert!(keys(&asked, Some(&ours)).is_sorted_by(|a, b| a.hash < b.hash));
        let mut changes = Vec::new();
        if sessions.rewrite(&mut request, &mut changes).is_err() {
            prop_assert_eq!(&request, &before);
        }
        if changes.is_empty() {
            prop_assert_eq!(&request, &before);
        }
        let events = sessions.learn(&asked, Some(&ours), Some(&theirs), now);
        for event in &events {
            prop_assert_eq!(&Event::decode(&event.encode()).unwrap(), event);
        }
        for request in sessions.close_requests() {
            prop_assert!(request.body.is_whole());
        }
        sessions.expire(now);
    }
}
