//! What requests mean: the table of `operations/table.txt`, and laws for any bytes.

use bytes::Bytes;
use exchange::operation::{
    self, Access, Action, Api, Condition, Document, Operation, Reach, Refresh, read,
};
use exchange::{Body, Extent, Header, Request};
use proptest::prelude::*;

const TABLE: &str = include_str!("operations/table.txt");
const CLIENT_PATHS: &str = include_str!("operations/client_paths.txt");

fn request(method: &str, target: &str, body: &str) -> Request {
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

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A request as the table writes it: `POST /i/_search {"size":1}`.
fn written(text: &str) -> Request {
    let (method, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
    let (target, body) = rest.split_once(' ').unwrap_or((rest, ""));
    request(method, target, &body.trim().replace("\\n", "\n"))
}

fn shown(operation: &Operation) -> String {
    let names: Vec<String> = operation.indices.names.iter().map(text).collect();
    let indices = match (names.is_empty(), operation.reach) {
        (true, Reach::Indices) => "all".to_owned(),
        (true, _) => "-".to_owned(),
        (false, _) => names.join(","),
    };
    let access = match operation.access {
        Access::Read => "read",
        Access::Write => "write",
    };
    let reach = match operation.reach {
        Reach::Nothing => "nothing",
        Reach::Documents => "documents",
        Reach::Indices => "indices",
        Reach::Cluster => "cluster",
    };
    let documents: String = operation.documents.iter().map(shown_document).collect();
    let refresh = match operation.refresh {
        Refresh::Later => "",
        Refresh::Wait => " refresh=wait",
        Refresh::Now => " refresh=now",
    };
    format!(
        "{} {access} {reach} {indices}{documents}{refresh}",
        operation.api
    )
}

fn shown_document(document: &Document) -> String {
    let action = match document.action {
        Action::Get => "get",
        Action::Index => "index",
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    let id = document.id.as_ref().map_or_else(|| "?".to_owned(), text);
    let mut shown = format!(" ({action} {}/{id}", text(&document.index));
    if let Some(mapping_type) = &document.mapping_type {
        shown += &format!(" type={}", text(mapping_type));
    }
    if let Some(routing) = &document.routing {
        shown += &format!(" routing={}", text(routing));
    }
    shown += match document.condition {
        Condition::None => "",
        Condition::Sequence => " if=sequence",
        Condition::Version => " if=version",
        Condition::External => " if=external",
    };
    shown += if document.scripted { " script)" } else { ")" };
    shown
}

fn text(bytes: &Bytes) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn each_request_of_the_table_means_what_the_table_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines(TABLE) {
        let (asked, expected) = line
            .split_once(" -> ")
            .unwrap_or_else(|| panic!("no arrow: {line}"));
        let operation = read(&written(asked));
        if shown(&operation) != expected.trim() {
            wrong.push(format!(
                "{asked}\n  expected {}\n  read     {}",
                expected.trim(),
                shown(&operation)
            ));
        }
        assert_eq!(operation.is_read(), operation.access == Access::Read);
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 250, "the table is not all there: {count} lines");
}

#[test]
fn every_path_that_the_official_clients_call_is_known() {
    let unknown: Vec<&str> = lines(CLIENT_PATHS)
        .flat_map(|line| {
            let (path, methods) = line.split_once(' ').unwrap();
            methods.split(' ').filter_map(move |method| {
                (read(&request(method, path, "")).api == Api::Unknown).then_some(line)
            })
        })
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn the_paths_of_the_clients_that_only_get_do_not_write_but_for_one() {
    let writing: Vec<&str> = lines(CLIENT_PATHS)
        .filter(|line| {
            let (path, methods) = line.split_once(' ').unwrap();
            methods
                .split(' ')
                .any(|method| method == "GET" && !read(&request("GET", path, "")).is_read())
        })
        .collect();
    assert_eq!(writing, ["/index/_reload_search_analyzers GET POST"]);
}

#[test]
fn a_body_that_is_not_whole_or_has_a_coding_that_nobody_knows_gives_the_wider_reading() {
    let cases = [
        ("POST", "/i/_mget", "{\"ids\":[\"1\"]}", Reach::Indices),
        (
            "POST",
            "/i/_bulk",
            "{\"delete\":{\"_id\":\"1\"}}\n",
            Reach::Indices,
        ),
        ("PUT", "/i", "{}", Reach::Cluster),
        ("POST", "/_aliases", "{\"actions\":[]}", Reach::Cluster),
    ];
    for (method, target, body, reach) in cases {
        let whole = request(method, target, body);
        let mut cut = whole.clone();
        cut.body.extent = Extent::Cut { missing: None };
        let mut coded = whole;
        coded.headers.0.push(Header {
            name: Bytes::from_static(b"content-encoding"),
            value: Bytes::from_static(b"br"),
        });
        for request in [cut, coded] {
            let operation = read(&request);
            assert_eq!(operation.reach, reach, "{target}");
            assert_eq!(operation.documents, []);
            assert!(operation.indices.is_all(), "{target}");
        }
    }
}

#[test]
fn a_compressed_body_is_read() {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"ids\":[\"1\"]}").unwrap();
    let mut request = request("POST", "/i/_mget", "");
    request.body.content = gzip.finish().unwrap().into();
    request.headers.0.push(Header {
        name: Bytes::from_static(b"content-encoding"),
        value: Bytes::from_static(b"gzip"),
    });
    assert_eq!(shown(&read(&request)), "mget read documents i (get i/1)");
}

#[test]
fn an_msearch_of_very_many_indices_reaches_all() {
    let lines = |count: usize| -> String {
        (0..count)
            .map(|n| format!("{{\"index\":\"i{n}\"}}\n{{}}\n"))
            .collect()
    };
    let few = read(&request("POST", "/_msearch", &lines(100)));
    assert_eq!(few.indices.names.len(), 100);
    let many = read(&request("POST", "/_msearch", &lines(10_000)));
    assert!(many.indices.is_all());
}

#[test]
fn a_body_that_names_more_than_memory_should_hold_is_not_read() {
    let ids = |count: usize| format!("{{\"ids\":[{}0]}}", "0,".repeat(count));
    let few = read(&request("POST", "/i/_mget", &ids(1_000)));
    assert_eq!(few.documents.len(), 1_001);
    for count in [100_000, 4_000_000] {
        let many = read(&request("POST", "/i/_mget", &ids(count)));
        assert_eq!((many.reach, many.documents.len()), (Reach::Indices, 0));
    }
}

#[test]
fn what_is_answered_before_it_is_done_is_known() {
    let early = |method, target| operation::is_answered_early(&request(method, target, ""));
    assert!(early(
        "POST",
        "/i/_update_by_query?wait_for_completion=false"
    ));
    assert!(early("POST", "/_reindex?wait_for_completion=false"));
    assert!(early("PUT", "/_snapshot/r/s"));
    assert!(!early("PUT", "/_snapshot/r/s?wait_for_completion=true"));
    assert!(!early("POST", "/i/_update_by_query"));
    assert!(!early("PUT", "/i/_doc/1?wait_for_completion=false"));
}

#[test]
fn by_query_are_the_apis_that_choose_their_documents_themselves() {
    let by_query: Vec<Api> = Api::ALL
        .iter()
        .filter(|api| api.is_by_query())
        .copied()
        .collect();
    assert_eq!(
        by_query,
        [Api::UpdateByQuery, Api::DeleteByQuery, Api::Reindex]
    );
}

/// Targets that come near to real ones.
fn near() -> impl Strategy<Value = String> {
    let segments = "i t _all _doc _search _bulk _mget _update _msearch _aliases _alias _source _plugins \
                    _opendistro _reindex _cluster scroll %5F %zz *,-a";
    let parameters = "refresh routing=% realtime=false id=1 version=1 && = index=a,b";
    let words = |text: &'static str| {
        let words: Vec<&str> = text.split(' ').chain([""]).collect();
        proptest::collection::vec(proptest::sample::select(words), 0..6)
    };
    (words(segments), words(parameters))
        .prop_map(|(path, query)| format!("/{}?{}", path.join("/"), query.join("&")))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        "[\\[\\]{}\":,a1\n]{0,40}".prop_map(String::into_bytes),
        proptest::sample::select(vec![
            r#"{"ids":["1",{}]}"#,
            r#"{"docs":[{"_index":null,"_id":[]}]}"#,
            r#"{"actions":[{"add":{}}]}"#,
            r#"{"source":{"index":[1,[]]},"dest":{"index":{}}}"#,
        ])
        .prop_map(|body| body.as_bytes().to_vec()),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "",
    ];
    let method = prop_oneof![
        proptest::sample::select(methods.to_vec()).prop_map(|name| name.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    let target = prop_oneof![
        near().prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    (method, target, body()).prop_map(|(method, target, body)| Request {
        method: method.into(),
        target: target.into(),
        body: Body {
            content: body.into(),
            extent: Extent::Whole,
        },
        ..Request::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_mean_something_and_an_unknown_method_never_reads(request in any_request()) {
        let operation = read(&request);
        let reads = matches!(request.method.as_ref(), b"GET" | b"HEAD" | b"OPTIONS");
        if operation.api == Api::Unknown {
            prop_assert_eq!(operation.is_read(), reads);
        }
        if !reads && request.method != "POST" {
            prop_assert_eq!(operation.access, Access::Write);
        }
    }

    #[test]
    fn documents_are_named_only_where_the_reach_is_documents(request in any_request()) {
        let operation = read(&request);
        if operation.reach != Reach::Documents {
            prop_assert!(operation.documents.is_empty());
        }
        let reads_only = operation.documents.iter().all(|document| document.action == Action::Get);
        prop_assert!(operation.documents.is_empty() || operation.is_read() == reads_only);
    }

    #[test]
    fn an_id_is_what_the_client_encoded(id in proptest::collection::vec(any::<u8>(), 1..20)) {
        let encoded: String = id.iter().map(|byte| format!("%{byte:02x}")).collect();
        let operation = read(&request("PUT", &format!("/i/_doc/{encoded}"), "{}"));
        prop_assert_eq!(operation.documents[0].id.as_deref(), Some(&id[..]));
    }
}
