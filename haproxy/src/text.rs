//! Gives the templates their values. Every number that is derived from an option is derived here.

use std::time::Duration;

use crate::Files;
use crate::address::Node;
use crate::options::{Hold, Options, ROOM_FOR_HEADERS, Role, TargetVersion};
use crate::request::{SkipCapture, quoted};
use crate::template::{Value, Values, for_branch, render};

const HAPROXY_TEMPLATE: &str = include_str!("../templates/haproxy.cfg");
const SPOE_TEMPLATE: &str = include_str!("../templates/spoe.cfg");

pub(crate) fn write(options: &Options) -> Files {
    let values = values(options);
    let text = |template| match options.version {
        TargetVersion::Auto => render(template, &values),
        TargetVersion::Branch { major, minor } => {
            for_branch(&render(template, &values), (major, minor))
        }
    };
    Files {
        haproxy_cfg: text(HAPROXY_TEMPLATE),
        spoe_cfg: text(SPOE_TEMPLATE),
    }
}

/// The expression that a path must match for a write method to be a read: an optional index (no index's
/// name begins with `_`) and one of the endpoints. A document that is called like an endpoint (`/i/_doc/_search`) does not
/// match; neither does an unusual spelling, which only means that the request is held.
pub(crate) fn reads_regex(reads: &[String]) -> String {
    let endpoints: Vec<String> = reads
        .iter()
        .map(|read| read.replace('*', "[^/]+"))
        .collect();
    format!("^(/(_all|[^/_][^/]*))?/({})/?$", endpoints.join("|"))
}

fn values(options: &Options) -> Values {
    let body_limit = options.body_limit;
    let bufsize = body_limit.saturating_add(ROOM_FOR_HEADERS);
    let mut values = Values::from([
        ("role", text(options.role.as_str())),
        ("primary", Value::Flag(options.role == Role::Primary)),
        ("shadow", Value::Flag(options.role == Role::Shadow)),
        ("hold", Value::Flag(options.hold != Hold::Off)),
        (
            "held_reads",
            Value::Flag(options.hold != Hold::Off && !options.reads.is_empty()),
        ),
        ("closed", Value::Flag(options.hold == Hold::Closed)),
        ("node_check", Value::Flag(options.node_check)),
        (
            "resolve_nodes",
            Value::Flag(
                options.resolve_nodes
                    && options
                        .nodes
                        .iter()
                        .any(|node| node.host().name().is_some()),
            ),
        ),
        ("listen", addresses(&options.listen)),
        ("tls_listen", addresses(&options.tls_listen)),
        (
            "nodes",
            Value::List(
                options
                    .nodes
                    .iter()
                    .map(|node| server(node, options))
                    .collect(),
            ),
        ),
        ("client_certificates", text(client_certificates(options))),
        (
            "pass_node_failures",
            Value::Flag(options.pass_node_failures),
        ),
        ("set_headers", set_headers(options)),
        ("skip", Value::Flag(!options.skip_capture.is_empty())),
        (
            "skip_line",
            Value::Flag(
                options
                    .skip_capture
                    .iter()
                    .any(|skip| matches!(skip, SkipCapture::Line(_))),
            ),
        ),
        ("skips", skips(options)),
        (
            "and_not_skipped",
            text(if options.skip_capture.is_empty() {
                ""
            } else {
                " !skipped"
            }),
        ),
        ("agent", text(&options.agent)),
        ("reads_regex", text(reads_regex(&options.reads))),
        ("body_limit", text(body_limit)),
        ("bufsize", text(bufsize)),
        ("processing_timeout", time(options.processing_timeout)),
        (
            "response_timeout_before_3_0",
            time(response_timeout(options.processing_timeout)),
        ),
        ("hold_timeout", time(options.hold_timeout)),
        ("id_header", text(&options.id_header)),
        ("max_connections", text(options.max_connections)),
        ("connect_timeout", time(options.connect_timeout)),
        ("client_timeout", time(options.client_timeout)),
        ("server_timeout", time(options.server_timeout)),
        ("http_request_timeout", time(options.http_request_timeout)),
        ("spoe_file", text(&options.spoe_file)),
    ]);
    let optional = [
        ("certificate", options.certificate.clone()),
        (
            "threads",
            options.threads.map(|threads| threads.to_string()),
        ),
        ("stats_socket", options.stats_socket.clone()),
        ("log", options.log.words()),
    ];
    for (name, value) in optional {
        values.insert(name, value.map_or(Value::Flag(false), Value::Text));
    }
    values
}

/// See the comment in the template: the shorter, the rarer a forgotten timeout; but an ACK needs
/// some milliseconds.
fn response_timeout(processing_timeout: Duration) -> Duration {
    (processing_timeout / 5).max(Duration::from_millis(1))
}

fn server(node: &Node, options: &Options) -> Values {
    Values::from([
        ("name", text(node.server_name())),
        ("address", text(node.address())),
        ("tls", text(server_tls(node, options))),
    ])
}

/// The words that make HAProxy speak TLS to a node. HTTP/1.1 is asked for by name, because the
/// captured target is the one of an HTTP/1.1 request.
fn server_tls(node: &Node, options: &Options) -> String {
    if !node.is_tls() {
        return String::new();
    }
    let name = node.host().name();
    let sni = name.map_or_else(String::new, |name| {
        format!(" sni str({name}) check-sni {name}")
    });
    let verify = if options.node_tls_insecure {
        "none".to_owned()
    } else {
        format!("required ca-file {}", options.node_ca_file)
    };
    format!(" ssl verify {verify}{sni} alpn http/1.1")
}

/// What a TLS `bind` line says about the clients' own certificates.
fn client_certificates(options: &Options) -> String {
    let Some(file) = &options.client_ca_file else {
        return String::new();
    };
    let verify = if options.client_certificate_required {
        "required"
    } else {
        "optional"
    };
    format!(" ca-file {file} verify {verify}")
}

fn set_headers(options: &Options) -> Value {
    let entry = |header: &crate::SetHeader| {
        Values::from([
            ("name", text(&header.name)),
            // The value is a log format, in which a percent sign would begin an expression.
            ("value", text(quoted(&header.value.replace('%', "%%")))),
        ])
    };
    Value::List(options.set_headers.iter().map(entry).collect())
}

fn skips(options: &Options) -> Value {
    let entry = |skip: &SkipCapture| {
        let (fetch, regex) = skip.parts();
        Values::from([
            ("fetch", text(fetch)),
            ("regex", text(quoted(&format!("^({regex})$")))),
        ])
    };
    Value::List(options.skip_capture.iter().map(entry).collect())
}

fn addresses(listen: &[impl ToString]) -> Value {
    Value::List(
        listen
            .iter()
            .map(|address| Values::from([("address", text(address.to_string()))]))
            .collect(),
    )
}

fn text(value: impl ToString) -> Value {
    Value::Text(value.to_string())
}

/// A duration as HAProxy writes it; what is below a millisecond is cut.
fn time(duration: Duration) -> Value {
    if duration.subsec_millis() == 0 {
        return text(format_args!("{}s", duration.as_secs()));
    }
    text(format_args!("{}ms", duration.as_millis()))
}
