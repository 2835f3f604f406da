//! Finds everything that is wrong with a set of options. What passes here, HAProxy accepts.
//!
//! Addresses are not looked at again: they were checked when they were parsed.

use std::fmt::Display;
use std::time::Duration;

use crate::address::{check_path, check_socket_path, shortened};
use crate::options::{Hold, MAX_BODY_LIMIT, Options, Role};
use crate::problem::{Problem, Problems};
use crate::request::{check_set, check_skip};
use crate::text::reads_regex;

/// Far below the 2048 bytes that HAProxy 2.6 reads of one line, the rest of the line included.
const MAX_READS_REGEX: usize = 1800;
/// Longer names are of no use, and each request carries it twice.
const MAX_HEADER_NAME: usize = 64;
/// A day. More is of no use: no one waits that long for a silent peer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Headers that HAProxy or the protocol gives a meaning to: as the id header they would break
/// requests.
const TAKEN_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(crate) fn check(options: &Options) -> Result<(), Problems> {
    let mut problems = Vec::new();
    check_listeners(options, &mut problems);
    check_nodes(options, &mut problems);
    check_agent(options, &mut problems);
    check_hold(options, &mut problems);
    check_requests(options, &mut problems);
    check_numbers(options, &mut problems);
    check_header(&options.id_header, &mut problems);
    check_paths(options, &mut problems);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Problems(problems))
    }
}

fn check_listeners(options: &Options, problems: &mut Vec<Problem>) {
    if options.listen.is_empty() && options.tls_listen.is_empty() {
        problems.push(Problem::Missing {
            thing: "a listen address",
            way_out: "name one, such as *:9201",
        });
    }
    check_duplicates(
        "listen address",
        options.listen.iter().chain(&options.tls_listen),
        problems,
    );
    if !options.tls_listen.is_empty() && options.certificate.is_none() {
        problems.push(Problem::Missing {
            thing: "the certificate for the TLS listen address",
            way_out: "name a PEM file with certificate and key",
        });
    }
    if options.client_ca_file.is_some() && options.tls_listen.is_empty() {
        problems.push(Problem::Missing {
            thing: "the TLS listen address for client certificates",
            way_out: "name one: clear text has no certificates",
        });
    }
    if options.client_certificate_required && options.client_ca_file.is_none() {
        problems.push(Problem::Missing {
            thing: "the CA file for client certificates",
            way_out: "name a PEM file with the authorities that clients' certificates come from",
        });
    }
}

fn check_nodes(options: &Options, problems: &mut Vec<Problem>) {
    if options.nodes.is_empty() {
        problems.push(Problem::Missing {
            thing: "a node",
            way_out: "name one, such as 10.0.0.1:9200 or https://name:9200",
        });
    }
    check_duplicates(
        "node",
        options.nodes.iter().map(|node| node.server_name()),
        problems,
    );
    for node in &options.nodes {
        for listen in options.listen.iter().chain(&options.tls_listen) {
            if listen.takes(node.host(), node.port()) {
                problems.push(Problem::Conflict {
                    one: format!("node {node}"),
                    other: format!("listen address {listen}"),
                    why: "every request would come back to haproxy",
                    way_out: "listen on another port",
                });
            }
        }
    }
}

fn check_agent(options: &Options, problems: &mut Vec<Problem>) {
    let Some((host, port)) = options.agent.tcp() else {
        return;
    };
    for listen in options.listen.iter().chain(&options.tls_listen) {
        if listen.takes(host, port) {
            problems.push(Problem::Conflict {
                one: format!("agent address {}", options.agent),
                other: format!("listen address {listen}"),
                why: "haproxy would take itself for the agent",
                way_out: "listen on another port",
            });
        }
    }
}

fn check_hold(options: &Options, problems: &mut Vec<Problem>) {
    if options.role == Role::Shadow && options.hold != Hold::Off {
        problems.push(Problem::Conflict {
            one: "hold mode open or closed".to_owned(),
            other: "role shadow".to_owned(),
            why: "what the shadow gets is in the primary's journal already",
            way_out: "set the hold mode to off",
        });
    }
    check_duplicates("read endpoint", options.reads.iter(), problems);
    for read in &options.reads {
        check_read(read, problems);
    }
    let length = reads_regex(&options.reads).len();
    if length > MAX_READS_REGEX {
        problems.push(Problem::TooLong {
            thing: "the list of read endpoints",
            value: shortened(&options.reads.join(" ")),
            length,
            limit: MAX_READS_REGEX,
        });
    }
}

fn check_requests(options: &Options, problems: &mut Vec<Problem>) {
    for skip in &options.skip_capture {
        problems.extend(check_skip(skip).err());
    }
    for header in &options.set_headers {
        problems.extend(check_set(header).err());
        if header.name.eq_ignore_ascii_case(&options.id_header) {
            problems.push(Problem::Conflict {
                one: format!("header to set {}", header.name),
                other: format!("id header {}", options.id_header),
                why: "the node would see another id than the agent",
                way_out: "choose another id header",
            });
        }
    }
    check_duplicates(
        "header to set",
        options
            .set_headers
            .iter()
            .map(|header| header.name.to_ascii_lowercase()),
        problems,
    );
}

/// An endpoint is made of segments of letters, digits, `_` and `-`, or `*`: none of these has a
/// meaning in a regular expression, and `*` gets its own.
fn check_read(read: &str, problems: &mut Vec<Problem>) {
    const THING: &str = "read endpoint";
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-/*".contains(c);
    if let Some(found) = read.chars().find(|c| !plain(*c)) {
        problems.push(Problem::ForbiddenCharacter {
            thing: THING,
            value: shortened(read),
            found,
            allowed: "letters, digits and _ - / *",
        });
        return;
    }
    let segment_fits =
        |segment: &str| !segment.is_empty() && (segment == "*" || !segment.contains('*'));
    if !read.split('/').all(segment_fits) || read.starts_with('*') {
        problems.push(Problem::Malformed {
            thing: THING,
            value: shortened(read),
            why: "it is not a path of segments",
            expected: "an endpoint without the index, such as _search/template or _explain/*",
        });
    }
}

fn check_numbers(options: &Options, problems: &mut Vec<Problem>) {
    check_range(
        (
            "the body limit",
            "lower it: longer bodies are captured cut, and marked",
        ),
        options.body_limit,
        (0, MAX_BODY_LIMIT),
        problems,
    );
    check_range(
        (
            "the number of connections",
            "take what memory and open files allow",
        ),
        options.max_connections,
        (1, 1_000_000),
        problems,
    );
    if let Some(threads) = options.threads {
        check_range(
            ("the number of threads", "leave it out for one per core"),
            threads,
            (1, 64),
            problems,
        );
    }
    let ten_seconds = Duration::from_secs(10);
    let minute = Duration::from_secs(60);
    let timeouts = [
        (
            "the processing timeout",
            options.processing_timeout,
            ten_seconds,
        ),
        ("the hold timeout", options.hold_timeout, minute),
        (
            "the connect timeout",
            options.connect_timeout,
            LONGEST_TIMEOUT,
        ),
        (
            "the client timeout",
            options.client_timeout,
            LONGEST_TIMEOUT,
        ),
        (
            "the server timeout",
            options.server_timeout,
            LONGEST_TIMEOUT,
        ),
        (
            "the http-request timeout",
            options.http_request_timeout,
            LONGEST_TIMEOUT,
        ),
    ];
    for (thing, value, most) in timeouts {
        check_timeout(thing, value, most, problems);
    }
}

/// HAProxy takes 0 for "for ever", and has no fractions of a millisecond.
fn check_timeout(
    thing: &'static str,
    value: Duration,
    most: Duration,
    problems: &mut Vec<Problem>,
) {
    if (MILLISECOND..=most).contains(&value) {
        return;
    }
    problems.push(Problem::OutOfRange {
        thing,
        value: format!("{value:?}"),
        least: format!("{MILLISECOND:?}"),
        most: format!("{most:?}"),
        way_out: "no timeout can be switched off, since a client could then wait for ever",
    });
}

fn check_range<N: Display + PartialOrd>(
    (thing, way_out): (&'static str, &'static str),
    value: N,
    (least, most): (N, N),
    problems: &mut Vec<Problem>,
) {
    if value >= least && value <= most {
        return;
    }
    problems.push(Problem::OutOfRange {
        thing,
        value: value.to_string(),
        least: least.to_string(),
        most: most.to_string(),
        way_out,
    });
}

fn check_header(name: &str, problems: &mut Vec<Problem>) {
    const THING: &str = "id header";
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if let Some(found) = name.chars().find(|c| !plain(*c)) {
        problems.push(Problem::ForbiddenCharacter {
            thing: THING,
            value: shortened(name),
            found,
            allowed: "letters, digits, - and _",
        });
        return;
    }
    if name.is_empty() {
        problems.push(Problem::Missing {
            thing: THING,
            way_out: "the usual one is X-Capture-Id",
        });
    }
    if name.len() > MAX_HEADER_NAME {
        problems.push(Problem::TooLong {
            thing: THING,
            value: shortened(name),
            length: name.len(),
            limit: MAX_HEADER_NAME,
        });
    }
    if TAKEN_HEADERS
        .iter()
        .any(|taken| taken.eq_ignore_ascii_case(name))
    {
        problems.push(Problem::Malformed {
            thing: THING,
            value: name.to_owned(),
            why: "the header has a meaning of its own",
            expected: "a name that nobody else uses, such as X-Capture-Id",
        });
    }
}

fn check_paths(options: &Options, problems: &mut Vec<Problem>) {
    let mut keep = |result: Result<(), Problem>| problems.extend(result.err());
    keep(check_path("spoe file", &options.spoe_file));
    keep(check_path("node ca file", &options.node_ca_file));
    if let Some(certificate) = &options.certificate {
        keep(check_path("certificate", certificate));
    }
    if let Some(file) = &options.client_ca_file {
        keep(check_path("client ca file", file));
    }
    if let Some(socket) = &options.stats_socket {
        keep(check_socket_path("stats socket", socket));
    }
}

fn check_duplicates<T: ToString>(
    thing: &'static str,
    values: impl Iterator<Item = T>,
    problems: &mut Vec<Problem>,
) {
    let mut values: Vec<String> = values.map(|value| value.to_string()).collect();
    values.sort_unstable();
    let mut reported: Option<&String> = None;
    for (one, next) in values.iter().zip(values.iter().skip(1)) {
        if one == next && reported != Some(one) {
            problems.push(Problem::Duplicate {
                thing,
                value: shortened(one),
            });
            reported = Some(one);
        }
    }
}
