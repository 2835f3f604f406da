use std::io::Write as _;

use bytes::Bytes;
use exchange::operation::{
    Action, Api, Condition, Document, Indices, Lines, Operation, Reach, Refresh,
};
use exchange::{Body, Endpoint, Extent as BodyExtent, Header, Headers};
use proptest::prelude::*;

use super::*;

const APIS: &[&str] = &["search", "msearch", "bulk", "index", "cat_indices"];

fn rules(text: &str) -> Rules {
    Rules::parse(text, APIS).unwrap()
}

fn errors(text: &str) -> String {
    Rules::parse(text, APIS).unwrap_err().to_string()
}

fn request(method: &str, target: &str, body: &[u8]) -> Request {
    Request {
        id: Bytes::from_static(b"id-1"),
        method: Bytes::copy_from_slice(method.as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        client: Some(Endpoint {
            ip: [10, 0, 0, 1].into(),
            port: 4711,
        }),
        body: Body {
            content: Bytes::copy_from_slice(body),
            extent: BodyExtent::Whole,
        },
        ..Request::default()
    }
}

fn with(mut request: Request, fields: &[(&str, &str)]) -> Request {
    request.headers = fields
        .iter()
        .map(|(name, value)| Header {
            name: Bytes::copy_from_slice(name.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect::<Headers>();
    request
}

fn search(indices: &[&str]) -> Operation {
    Operation {
        api: Api::Search,
        access: Access::Read,
        reach: Reach::Indices,
        indices: Indices {
            names: indices
                .iter()
                .map(|it| Bytes::copy_from_slice(it.as_bytes()))
                .collect(),
        },
        documents: Vec::new(),
        refresh: Refresh::Later,
    }
}

fn bulk(documents: &[(&str, &str)]) -> Operation {
    let document = |(index, id): &(&str, &str)| Document {
        action: Action::Index,
        index: Bytes::copy_from_slice(index.as_bytes()),
        mapping_type: None,
        id: Some(Bytes::copy_from_slice(id.as_bytes())),
        routing: None,
        condition: Condition::None,
        scripted: false,
        lines: Lines::default(),
    };
    Operation {
        api: Api::Bulk,
        access: Access::Write,
        reach: Reach::Documents,
        documents: documents.iter().map(document).collect(),
        ..search(&[])
    }
}

/// The name of the rule that left the request out.
fn left<'r>(rules: &'r Rules, facts: &Facts<'_>) -> Option<&'r str> {
    match rules.decide(facts) {
        Verdict::Send => None,
        Verdict::Leave { rule, .. } => Some(rule),
    }
}

const EVERYTHING: &str = r#"
default = "deny"

[[rule]]
name = "no monitoring"
when = { path = ["/_cat/*", "/_nodes"], method = "GET" }
then = "deny"

[[rule]]
when = { api = ["search", "ms*"], index = ["logs-*", "products"], access = "read" }
then = { sample = "100%", by = "client" }

[[rule]]
name = "batches that worked"
when = { header = { X-Opaque-Id = "batch-*", accept = ["*json*", "*/*"] }, status = [200, "3xx", "404-409", "none"] }
then = "allow"

[headers]
set = { "X-Shadow" = "1", host = "shadow.example" }
remove = ["X-Internal-*", "via"]

[rename]
"logs-*" = "copy-logs-*"
"products" = "products-v2"
"#;

#[test]
fn an_empty_file_lets_everything_through_and_changes_nothing() {
    let rules = rules("");
    assert!(rules.is_empty());
    let mut request = request("GET", "/logs-1/_search", b"{}");
    let before = request.clone();
    let operation = search(&["logs-1"]);
    let facts = Facts {
        request: &before,
        operation: &operation,
        api: "search",
        status: None,
    };
    assert_eq!(rules.decide(&facts), Verdict::Send);
    let mut changes = Vec::new();
    rules.apply(&mut request, &mut changes).unwrap();
    assert_eq!((request, changes), (before, vec![]));
}

#[test]
fn the_first_rule_that_matches_decides_and_then_the_default() {
    let rules = rules(EVERYTHING);
    let json = [("x-opaque-id", "batch-7"), ("Accept", "application/json")];
    let ask = |method: &str, target: &str, fields, operation: &Operation, api, status| {
        let request = with(request(method, target, b""), fields);
        let facts = Facts {
            request: &request,
            operation,
            api,
            status,
        };
        left(&rules, &facts).map(str::to_owned)
    };
    let none: &[(&str, &str)] = &[];
    let nothing = Operation {
        reach: Reach::Nothing,
        ..search(&[])
    };
    let denied = Some("no monitoring".to_owned());
    for target in [
        "/_cat/indices?v",
        "//_cat//indices/",
        "/%5Fcat/a",
        "/_nodes",
    ] {
        assert_eq!(
            ask("GET", target, none, &nothing, "cat_indices", None),
            denied,
            "{target}"
        );
    }
    let default = Some("default".to_owned());
    assert_eq!(ask("POST", "/_cat/x", none, &nothing, "", None), default);
    assert_eq!(ask("GET", "/_cat", none, &nothing, "", None), default);

    let logs = search(&["logs-1", "logs-2*"]);
    assert_eq!(ask("POST", "/x", none, &logs, "search", None), None);
    assert_eq!(ask("POST", "/x", none, &logs, "msearch", None), None);
    assert_eq!(ask("POST", "/x", none, &logs, "index", None), default);
    let writing = Operation {
        access: Access::Write,
        ..logs
    };
    assert_eq!(ask("POST", "/x", none, &writing, "search", None), default);

    for (status, expected) in [
        (Some(200), &None),
        (Some(302), &None),
        (Some(404), &None),
        (Some(409), &None),
        (None, &None),
        (Some(201), &default),
        (Some(410), &default),
        (Some(500), &default),
    ] {
        assert_eq!(
            &ask("GET", "/", &json, &nothing, "", status),
            expected,
            "{status:?}"
        );
    }
    let one_of_two = [("x-opaque-id", "batch-7")];
    assert_eq!(
        ask("GET", "/", &one_of_two, &nothing, "", Some(200)),
        default
    );
    assert!(rules.need_status());
}

#[test]
fn a_request_for_several_indices_is_denied_by_one_and_allowed_only_by_all() {
    let denying = rules("[[rule]]\nwhen = { index = 'secret-*' }\nthen = 'deny'");
    let allowing =
        rules("default = 'deny'\n[[rule]]\nwhen = { index = ['logs-*', 'm'] }\nthen = 'allow'");
    let plain = request("GET", "/", b"");
    let sent = |rules: &Rules, operation: &Operation| {
        let facts = Facts {
            request: &plain,
            operation,
            api: "",
            status: None,
        };
        left(rules, &facts).is_none()
    };
    for (operation, not_denied, allowed) in [
        (search(&["logs-1"]), true, true),
        (search(&["logs-1", "m"]), true, true),
        (search(&["logs-1", "secret-1"]), false, false),
        (search(&["logs-*", "-logs-1"]), true, true),
        (search(&["lo*"]), true, false),
        (search(&["s*"]), false, false),
        (search(&["_all"]), false, false),
        (search(&[]), false, false),
        (bulk(&[("logs-1", "1"), ("logs-2", "1")]), true, true),
        (bulk(&[("logs-1", "1"), ("secret-1", "1")]), false, false),
        (bulk(&[("logs-1", "1"), ("x", "1")]), true, false),
    ] {
        assert_eq!(sent(&denying, &operation), not_denied, "{operation:?}");
        assert_eq!(sent(&allowing, &operation), allowed, "{operation:?}");
    }
    // The cluster's own state is of no index.
    let nothing = Operation {
        reach: Reach::Nothing,
        ..search(&[])
    };
    assert!(sent(&denying, &nothing));
    assert!(!sent(&allowing, &nothing));
}

#[test]
fn a_sample_goes_by_its_key_and_by_nothing_else() {
    let by = |key: &str| rules(&format!("default = {{ sample = '50%', by = '{key}' }}"));
    let sent = |rules: &Rules, request: &Request, operation: &Operation| {
        let facts = Facts {
            request,
            operation,
            api: "",
            status: None,
        };
        left(rules, &facts).is_none()
    };
    let half = |rules: &Rules, one: &dyn Fn(u32) -> (Request, Operation)| {
        let hits = (0..1000).filter(|n| {
            let (request, operation) = one(*n);
            sent(rules, &request, &operation)
        });
        let hits = hits.count();
        // The keys are fixed, so this is too.
        assert!((400..600).contains(&hits), "{hits}");
    };
    let numbered = |n: u32| Request {
        id: Bytes::from(format!("id-{n}")),
        ..with(request("GET", "/", b""), &[("x-user", "u")])
    };
    half(&by("id"), &|n| (numbered(n), search(&["a"])));
    for key in ["client", "header:X-User", "index", "document"] {
        let rules = by(key);
        let operation = bulk(&[("a", "1"), ("b", "2")]);
        let first = sent(&rules, &numbered(0), &operation);
        assert!(
            (0..100).all(|n| sent(&rules, &numbered(n), &operation) == first),
            "{key}"
        );
    }
    half(&by("client"), &|n| {
        let mut request = numbered(0);
        request.client = Some(Endpoint {
            ip: std::net::Ipv4Addr::from(n).into(),
            port: 1,
        });
        (request, search(&[]))
    });
    half(&by("header:x-user"), &|n| {
        (
            with(numbered(0), &[("X-User", &n.to_string())]),
            search(&[]),
        )
    });
    half(&by("index"), &|n| {
        (numbered(0), search(&[&format!("i-{n}"), "b"]))
    });
    half(&by("document"), &|n| {
        (numbered(0), bulk(&[("i", &n.to_string())]))
    });
    // Without the key, and behind the mask, each goes for itself.
    half(&by("header:authorization"), &|n| {
        (with(numbered(n), &[("authorization", "***")]), search(&[]))
    });
    half(&by("document"), &|n| (numbered(n), search(&["a"])));
}

#[test]
fn every_mistake_is_told_with_its_line_its_value_and_the_way_out() {
    insta_like(
        &errors(
            r#"defualt = "allow"
default = "alow"
[[rule]]
name = "a"
when = { pth = "/x", method = "get", api = "serch", index = ["-x", "a,b"], access = "rw" }
then = "deny"
[[rule]]
name = "a"
when = { status = [99, "6xx", "500-400"], path = "_cat", header = { "a b" = "x" } }
then = { sample = "110%", by = "cleint", of = 1 }
[[rule]]
path = "/x"
[headers]
set = { "content-length" = "1", authorization = "Basic secret", x = 1 }
remove = ["content-type", "a b"]
[rename]
"a-*" = "b"
"A" = "b"
"c" = "_d"
[[rule]]
then = "allow"
when = { index = [] }
"#,
        ),
        r#"line 1: defualt: unknown key; did you mean default?
line 2: default = "alow": is not something that a rule can do; did you mean allow?
line 5: rule.when.pth: unknown key; did you mean path?
line 5: rule.when.method = "get": is not a method; did you mean "GET"?
line 5: rule.when.api = "serch": is no API that is known here; did you mean search?
line 5: rule.when.index = "-x": begins with a minus; to except an index, write a rule for it before this one
line 5: rule.when.index = "a,b": holds a comma; write a list: index = ["a-*", "b-*"]
line 5: rule.when.access = "rw": is neither of the two; write "read" or "write"
line 9: rule.when.status = "99": is no status from 100 to 599; write a number such as 404, or "4xx", "500-503" or "none"
line 9: rule.when.status = "6xx": is no status from 100 to 599; write a number such as 404, or "4xx", "500-503" or "none"
line 9: rule.when.status = "500-400": is no status from 100 to 599; write a number such as 404, or "4xx", "500-503" or "none"
line 9: rule.when.path = "_cat": is not a path; paths begin with a slash: write "/_cat"
line 9: rule.when.header = "x": "a b" is no header name; letters, digits and - are allowed
line 10: rule.then.sample = "110%": is not a share; write a percentage in quotes from "0%" to "100%", such as "0.5%"
line 10: rule.then.by = "cleint": is not a key of a sample; did you mean client?
line 10: rule.then.of: unknown key; known here: sample, by
line 11: rule = "rule 3": does not say what to do; add then = "allow", "deny" or { sample = "10%" }
line 12: rule.path = "/x": is a condition; write it as when = { path = ... }
line 14: headers.set.content-length: header "content-length" is set for each request by the sender and cannot be configured here
line 14: headers.set.authorization: is a credential, and this file is not secret; name a file of credentials in the configuration (shadow.credentials_file)
line 14: headers.set.x = "1": is not a value in quotes
line 15: headers.remove = "content-type": says how the body or the connection is to be read, and stays; leave it out
line 15: headers.remove = "a b": "a b" is no header name; letters, digits and - are allowed
line 17: rename.a-* = "b": the two names must have one * each, or none; write one on both sides, or none
line 18: rename.A: the name has an upper case letter; write names in lower case, such as "logs-1" or "logs-*"
line 19: rename.c = "_d": the new name begins with _, - or +; write names in lower case, such as "logs-1" or "logs-*"
line 22: rule.when.index = "[]": is an empty list, which matches nothing; leave the condition out, or write what it is to match"#,
    );
    let twins = "[[rule]]\nname = 'a'\nthen = 'deny'\n[[rule]]\nname = 'a'\nthen = 'deny'";
    assert_eq!(
        errors(twins),
        "line 5: rule.name = \"a\": is also the name of the rule in line 1; name them apart"
    );
    assert!(errors("default = \n").starts_with("line 1: "));
    assert!(errors("[[rule]\n").starts_with("line 1: "));
}

/// Compares line by line: a difference shows the line.
fn insta_like(actual: &str, expected: &str) {
    for (actual, expected) in actual.lines().zip(expected.lines()) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{actual}");
}

#[test]
fn a_credential_that_stands_in_the_file_is_not_repeated() {
    let message = errors("headers.set = { authorization = 'Basic c2VjcmV0' }");
    assert!(!message.contains("c2VjcmV0"), "{message}");
}

#[test]
fn rules_that_lose_writes_warn_and_those_that_cannot_do_not() {
    let warned = |text: &str| rules(text).warnings().len();
    for (rule, expected) in [
        ("when = { path = '/x' }\nthen = 'deny'", 1),
        ("when = { path = '/x', access = 'read' }\nthen = 'deny'", 0),
        ("when = { method = ['GET', 'HEAD'] }\nthen = 'deny'", 0),
        ("when = { method = ['GET', 'POST'] }\nthen = 'deny'", 1),
        ("when = { status = ['4xx', '5xx'] }\nthen = 'deny'", 0),
        ("when = { status = ['4xx', 'none'] }\nthen = 'deny'", 1),
        ("when = { index = 'a' }\nthen = 'deny'", 0),
        ("when = { index = 'a', path = '/x' }\nthen = 'deny'", 1),
        ("when = { path = '/x' }\nthen = { sample = '10%' }", 1),
        ("when = { path = '/x' }\nthen = { sample = '100%' }", 0),
        (
            "when = { path = '/x' }\nthen = { sample = '10%', by = 'index' }",
            0,
        ),
        (
            "when = { access = 'read' }\nthen = { sample = '1%', by = 'header:cookie' }",
            1,
        ),
        (
            "then = 'allow'\n[[rule]]\nwhen = { access = 'read' }\nthen = 'deny'",
            1,
        ),
    ] {
        assert_eq!(warned(&format!("[[rule]]\n{rule}")), expected, "{rule}");
    }
    assert_eq!(warned("default = { sample = '10%' }"), 1);
    assert_eq!(warned("default = 'deny'"), 1);
}

// ---------------------------------------------------------------------------------------------
// Header fields

#[test]
fn header_fields_are_removed_and_set_in_place() {
    let rules = rules(EVERYTHING);
    let fields = [
        ("Host", "search"),
        ("x-internal-a", "1"),
        ("X-SHADOW", "forged"),
        ("Via", "1.1 x"),
        ("x-b", "1"),
        ("x-shadow", "again"),
    ];
    let mut changed = with(request("GET", "/", b""), &fields);
    let mut changes = Vec::new();
    rules.apply(&mut changed, &mut changes).unwrap();
    let expected = [("Host", "shadow.example"), ("X-SHADOW", "1"), ("x-b", "1")];
    assert_eq!(changed, with(request("GET", "/", b""), &expected));
    assert_eq!(changes, [Change::HeaderRuled]);
    // Done again, there is nothing to change.
    changes.clear();
    rules.apply(&mut changed, &mut changes).unwrap();
    assert_eq!(changes, []);
    // A URL names its own host.
    let mut absolute = with(
        request("GET", "http://search/x", b""),
        &[("host", "search")],
    );
    rules.apply(&mut absolute, &mut changes).unwrap();
    assert_eq!(absolute.headers.get("host"), Some(&b"search"[..]));
}

#[test]
fn a_pattern_never_removes_what_says_how_the_body_is_to_be_read() {
    let rules = rules("headers.remove = ['*']");
    let fields = [
        ("Content-Type", "application/json"),
        ("content-encoding", "gzip"),
        ("host", "h"),
        ("accept", "*/*"),
    ];
    let mut changed = with(request("GET", "/", b""), &fields);
    rules.apply(&mut changed, &mut Vec::new()).unwrap();
    assert_eq!(changed, with(request("GET", "/", b""), &fields[..3]));
}

// ---------------------------------------------------------------------------------------------
// Renaming

const RENAME: &str = r#"
[rename]
"logs-*" = "copy-logs-*"
"logs" = "elsewhere"
"*-tail" = "t-*"
"products" = "products-v2"
"#;

fn renamed(method: &str, target: &str, body: &str) -> (String, String, Vec<Change>) {
    let mut request = request(method, target, body.as_bytes());
    let mut changes = Vec::new();
    rules(RENAME).apply(&mut request, &mut changes).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&request.target), text(&request.body.content), changes)
}

fn refused(method: &str, target: &str, body: &[u8]) -> Unrenamable {
    let mut request = request(method, target, body);
    let before = request.clone();
    let error = rules(RENAME)
        .apply(&mut request, &mut Vec::new())
        .unwrap_err();
    assert_eq!(request, before, "changed in spite of the error");
    error
}

#[test]
fn index_names_are_renamed_where_paths_have_them() {
    for (target, expected) in [
        (
            "/products/_search?q=products",
            "/products-v2/_search?q=products",
        ),
        ("/products", "/products-v2"),
        ("//products/", "//products-v2/"),
        ("/logs-1/_doc/logs-1", "/copy-logs-1/_doc/logs-1"),
        ("/logs/_doc/1", "/elsewhere/_doc/1"),
        ("/a-tail/type/products", "/t-a/type/products"),
        (
            "/logs-1,x,-logs-2*/_search",
            "/copy-logs-1,x,-copy-logs-2*/_search",
        ),
        ("/x%2Clogs%2D1%2cy/_search", "/x%2Ccopy-logs-1%2cy/_search"),
        (
            "/%3Clogs-%7Bnow%2Fd%7D%3E/_search",
            "/%3Ccopy-logs-%7Bnow%2Fd%7D%3E/_search",
        ),
        ("/_all/_search", "/_all/_search"),
        ("/*/_search", "/*/_search"),
        ("/_search", "/_search"),
        (
            "/_search?index=products&q=products",
            "/_search?index=products-v2&q=products",
        ),
        ("/x/_search?index=products", "/x/_search?index=products"),
        ("/other:products/_search", "/other:products/_search"),
        ("/products::data/_search", "/products-v2%3A%3Adata/_search"),
        ("/_cat/indices/products", "/_cat/indices/products-v2"),
        ("/_cat/products", "/_cat/products"),
        ("/_cluster/health/logs-1", "/_cluster/health/copy-logs-1"),
        (
            "/_cluster/state/metadata/logs-1",
            "/_cluster/state/metadata/copy-logs-1",
        ),
        ("/_alias/products", "/_alias/products-v2"),
        ("/x/_alias/products", "/x/_alias/products-v2"),
        (
            "/products/_shrink/logs-9",
            "/products-v2/_shrink/copy-logs-9",
        ),
        ("/_data_stream/logs-a", "/_data_stream/copy-logs-a"),
        ("/_data_stream/_stats", "/_data_stream/_stats"),
        (
            "/products/_downsample/logs-9",
            "/products-v2/_downsample/copy-logs-9",
        ),
        (
            "/_create_from/products/logs-9",
            "/_create_from/products-v2/copy-logs-9",
        ),
        (
            "/_plugins/_asynchronous_search?keep_alive=1m&index=a,products",
            "/_plugins/_asynchronous_search?keep_alive=1m&index=a,products-v2",
        ),
        ("/_resolve/index/products", "/_resolve/index/products-v2"),
        (
            "/_plugins/_ism/explain/products",
            "/_plugins/_ism/explain/products-v2",
        ),
        ("/_template/products", "/_template/products"),
        ("/_snapshot/repo/products", "/_snapshot/repo/products"),
        ("/_scripts/products", "/_scripts/products"),
        (
            "http://h:1/products/_doc/1",
            "http://h:1/products-v2/_doc/1",
        ),
        ("/", "/"),
        ("*", "*"),
        ("", ""),
    ] {
        let (renamed, _, changes) = renamed("GET", target, "");
        assert_eq!(renamed, expected);
        assert_eq!(changes.is_empty(), target == expected, "{target}");
    }
}

#[test]
fn an_expression_without_a_translation_is_refused_rather_than_sent_wrong() {
    for (target, is_mixed) in [
        ("/lo*/_search", true),
        ("/logs*/_search", true),
        ("/x,prod*/_search", true),
        ("/%3Clo%7Bnow%7D%3E/_search", true),
        ("/copy-logs-1/_search", false),
        ("/products-v2/_doc/1", false),
        ("/elsewh*/_search", true), // It also means elsewhe-tail.
        ("/copy-logs-*/_search", true),
    ] {
        match refused("GET", target, b"") {
            Unrenamable::Mixed(_) => assert!(is_mixed, "{target}"),
            Unrenamable::Taken(_) => assert!(!is_mixed, "{target}"),
            other => panic!("{target}: {other}"),
        }
    }
}

#[test]
fn index_names_are_renamed_where_bodies_have_them() {
    for (method, target, body, expected) in [
        (
            "POST",
            "/_bulk",
            concat!(
                "{ \"index\" : {\"_id\":\"products\", \"_index\" : \"products\"} }\n",
                "{\"_index\":\"products\",\"index\":{\"_index\":\"products\"}}\n",
                "\n",
                "{\"delete\":{\"_index\":\"logs-1\"}}\n",
                "{\"update\":{\"_index\":\"l\\u006fgs-2\"}}\r\n",
                "{\"doc\":{\"_index\":\"products\"}}\r\n",
                "{\"create\":{}}\n{\"delete\":{\"_index\":\"products\"}}\n",
            ),
            concat!(
                "{ \"index\" : {\"_id\":\"products\", \"_index\" : \"products-v2\"} }\n",
                "{\"_index\":\"products\",\"index\":{\"_index\":\"products\"}}\n",
                "\n",
                "{\"delete\":{\"_index\":\"copy-logs-1\"}}\n",
                "{\"update\":{\"_index\":\"copy-logs-2\"}}\r\n",
                "{\"doc\":{\"_index\":\"products\"}}\r\n",
                "{\"create\":{}}\n{\"delete\":{\"_index\":\"products\"}}\n",
            ),
        ),
        (
            "GET",
            "/_msearch",
            concat!(
                "\n{\"index\":[\"products\",\"x\"]}\n{\"query\":{\"match\":{\"index\":\"products\"}}}\n",
                "\n{\"query\":{\"terms\":{\"user\":{\"index\":\"products\",\"id\":\"1\",\"path\":\"p\"}}}}\n",
                "{\"index\":\"x,logs-3\"}\n{}\n",
            ),
            concat!(
                "\n{\"index\":[\"products-v2\",\"x\"]}\n{\"query\":{\"match\":{\"index\":\"products\"}}}\n",
                "\n{\"query\":{\"terms\":{\"user\":{\"index\":\"products-v2\",\"id\":\"1\",\"path\":\"p\"}}}}\n",
                "{\"index\":\"x,copy-logs-3\"}\n{}\n",
            ),
        ),
        (
            "POST",
            "/_mget",
            "{\"docs\":[{\"_index\":\"products\",\"_id\":\"products\"},{\"_id\":\"1\"}]}",
            "{\"docs\":[{\"_index\":\"products-v2\",\"_id\":\"products\"},{\"_id\":\"1\"}]}",
        ),
        (
            "POST",
            "/_reindex",
            "{\"source\":{\"index\":[\"products\",\"logs-1\"],\"query\":{\"term\":{\"a\":\"products\"}}},\"dest\":{\"index\":\"a-tail\"}}",
            "{\"source\":{\"index\":[\"products-v2\",\"copy-logs-1\"],\"query\":{\"term\":{\"a\":\"products\"}}},\"dest\":{\"index\":\"t-a\"}}",
        ),
        (
            "POST",
            "/_reindex",
            "{\"source\":{\"remote\":{\"host\":\"http://h\"},\"index\":\"products\"},\"dest\":{\"index\":\"products\"}}",
            "{\"source\":{\"remote\":{\"host\":\"http://h\"},\"index\":\"products\"},\"dest\":{\"index\":\"products-v2\"}}",
        ),
        (
            "POST",
            "/_aliases",
            "{\"actions\":[{\"add\":{\"index\":\"products\",\"alias\":\"logs-now\",\"filter\":{\"term\":{\"x\":\"products\"}}}},{\"remove_index\":{\"indices\":[\"logs-1\"]}}]}",
            "{\"actions\":[{\"add\":{\"index\":\"products-v2\",\"alias\":\"copy-logs-now\",\"filter\":{\"term\":{\"x\":\"products\"}}}},{\"remove_index\":{\"indices\":[\"copy-logs-1\"]}}]}",
        ),
        (
            "PUT",
            "/_index_template/t",
            "{\"index_patterns\":[\"logs-a*\"],\"template\":{\"aliases\":{\"products\":{}}}}",
            "{\"index_patterns\":[\"copy-logs-a*\"],\"template\":{\"aliases\":{\"products-v2\":{}}}}",
        ),
        (
            "PUT",
            "/_template/t",
            "{\"template\":\"a-tail\",\"aliases\":{\"{index}-x\":{}}}",
            "{\"template\":\"t-a\",\"aliases\":{\"{index}-x\":{}}}",
        ),
        (
            "PUT",
            "/x",
            "{\"aliases\":{\"products\":{\"filter\":{}}},\"mappings\":{\"properties\":{\"products\":{}}}}",
            "{\"aliases\":{\"products-v2\":{\"filter\":{}}},\"mappings\":{\"properties\":{\"products\":{}}}}",
        ),
        (
            "POST",
            "/x/_search",
            "{\"indices_boost\":[{\"products\":1.30}],\"query\":{\"bool\":{\"filter\":[{\"term\":{\"_index\":\"products\"}},{\"more_like_this\":{\"like\":[{\"_index\":\"products\"},\"products\"]}},{\"geo_shape\":{\"l\":{\"indexed_shape\":{\"index\":\"products\"}}}}]}}}",
            "{\"indices_boost\":[{\"products-v2\":1.30}],\"query\":{\"bool\":{\"filter\":[{\"term\":{\"_index\":\"products-v2\"}},{\"more_like_this\":{\"like\":[{\"_index\":\"products-v2\"},\"products\"]}},{\"geo_shape\":{\"l\":{\"indexed_shape\":{\"index\":\"products-v2\"}}}}]}}}",
        ),
    ] {
        let (_, body, changes) = renamed(method, target, body);
        assert_eq!(body, expected);
        assert_eq!(changes, [Change::IndexRenamed]);
    }
}

#[test]
fn documents_are_not_looked_at_and_need_not_be_json() {
    for (method, target) in [
        ("DELETE", "/_search/scroll"),
        ("PUT", "/x/_doc/1"),
        ("POST", "/x/_update/1"),
        ("PUT", "/_ingest/pipeline/p"),
    ] {
        let body = "{\"_index\":\"products\",\"index\":\"products\" not json";
        assert_eq!(
            renamed(method, target, body),
            (target.to_owned(), body.to_owned(), vec![])
        );
    }
}

#[test]
fn a_body_that_may_name_an_index_and_cannot_be_read_is_refused() {
    assert_eq!(
        refused("POST", "/_bulk", b"{\"index\":\n"),
        Unrenamable::Format
    );
    assert_eq!(refused("POST", "/_bulk", b"\xfa\xfb"), Unrenamable::Format);
    assert_eq!(refused("POST", "/_bulk", b"{}\n{}\n"), Unrenamable::Format);
    assert_eq!(refused("POST", "/_search", b"{'a':1}"), Unrenamable::Format);
    assert_eq!(
        refused("POST", "/_plugins/_sql", b"{}"),
        Unrenamable::Language
    );
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert_eq!(refused("POST", "/_search", &deep), Unrenamable::Format);
    let mut cut = request("POST", "/_bulk", b"{}");
    cut.body.extent = BodyExtent::Cut { missing: None };
    let error = rules(RENAME).apply(&mut cut, &mut Vec::new()).unwrap_err();
    assert_eq!(error.as_str(), "unreadable body");
}

#[test]
fn a_compressed_body_is_decoded_only_when_a_name_in_it_changes() {
    let compressed = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let fields = [
            ("content-encoding", "gzip"),
            ("content-type", "application/json"),
        ];
        with(request("POST", "/_mget", &gzip.finish().unwrap()), &fields)
    };
    let rules = rules(RENAME);
    let mut changes = Vec::new();
    let mut other = compressed(b"{\"docs\":[{\"_index\":\"x\"}]}");
    let before = other.clone();
    rules.apply(&mut other, &mut changes).unwrap();
    assert_eq!((other, changes.as_slice()), (before, &[][..]));
    let mut named = compressed(b"{\"docs\":[{\"_index\":\"products\"}]}");
    rules.apply(&mut named, &mut changes).unwrap();
    assert_eq!(
        named.body.content,
        "{\"docs\":[{\"_index\":\"products-v2\"}]}"
    );
    assert_eq!(named.headers.get("content-encoding"), None);
    assert_eq!(named.headers.0.len(), 1);
    assert_eq!(changes, [Change::IndexRenamed, Change::Decoded]);
}

/// JSON with index names in it and around it, as different clients write it.
fn json() -> impl Strategy<Value = String> {
    let name = prop_oneof!["products", "other", "[a-z]{1,4}", "\\PC{0,4}"];
    let string = name.prop_map(|text| serde_json::to_string(&text).unwrap());
    let leaf = prop_oneof![string, Just("1.50".to_owned()), Just("null".to_owned())];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            Just("\"_index\"".to_owned()),
            Just("\"docs\"".to_owned()),
            Just("\"terms\"".to_owned()),
            Just("\"index\"".to_owned()),
            "\"[a-z]{0,3}\""
        ];
        let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        prop_oneof![
            (
                proptest::collection::vec(inner.clone(), 0..4),
                space.clone()
            )
                .prop_map(|(items, space)| format!(
                    "[{space}{}{space}]",
                    items.join(&format!("{space},"))
                )),
            (proptest::collection::vec((key, inner), 0..4), space).prop_map(|(entries, space)| {
                let entries: Vec<String> = entries
                    .into_iter()
                    .map(|(key, value)| format!("{key}{space}:{value}"))
                    .collect();
                format!("{{{space}{}{space}}}", entries.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn renaming_changes_the_bytes_of_names_and_no_others(
        body in json(),
        target in prop_oneof![Just("/_mget"), Just("/_search"), Just("/_msearch"), Just("/_aliases"), Just("/_bulk")],
    ) {
        let line = body.replace(['\n', '\t'], " ");
        let body = if target == "/_bulk" { format!("{{\"delete\":{line}}}\n") } else { body };
        let mut changed = request("POST", target, body.as_bytes());
        let renaming = rules("[rename]\n'products' = 'products-v2'");
        if renaming.apply(&mut changed, &mut Vec::new()).is_ok() {
            let after = String::from_utf8(changed.body.content.to_vec()).unwrap();
            // Nothing else in these bodies holds the new name, so taking it back gives what was there.
            prop_assert_eq!(after.replace("\"products-v2\"", "\"products\""), body);
        }
    }

    #[test]
    fn there_and_back_again_is_the_same_request(
        target in "/(products|new|x)(,(products|x))?(/_search|/_doc/products)?([?]index=products)?",
    ) {
        let there = rules("[rename]\n'products' = 'new'\n'new' = 'third'");
        let back = rules("[rename]\n'new' = 'products'\n'third' = 'new'");
        let mut changed = request("GET", &target, b"");
        there.apply(&mut changed, &mut Vec::new()).unwrap();
        back.apply(&mut changed, &mut Vec::new()).unwrap();
        prop_assert_eq!(changed.target, target.as_bytes());
    }

    #[test]
    fn whatever_is_captured_nothing_panics(
        target in proptest::collection::vec(any::<u8>(), 0..40),
        tail in prop_oneof![Just(""), Just("/_bulk"), Just("/_search?index=%"), Just("%2")],
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut request = request("POST", "", &body);
        request.target = [&target[..], tail.as_bytes()].concat().into();
        let rules = rules(EVERYTHING);
        let operation = search(&["a"]);
        let facts = Facts { request: &request, operation: &operation, api: "", status: None };
        let _verdict = rules.decide(&facts);
        let _applied = rules.apply(&mut request, &mut Vec::new());
    }

    #[test]
    fn whatever_is_in_a_rule_file_nothing_panics(text in "\\PC{0,80}") {
        let _read = Rules::parse(&text, APIS);
        let _read = Rules::parse(&format!("[[rule]]\nwhen = {text}\nthen = {text}"), APIS);
    }
}
