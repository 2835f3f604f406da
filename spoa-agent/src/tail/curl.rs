//! A command that sends a request again: for a POSIX shell with `curl`, and `base64` for bodies that are no text.
//!
//! Everything that came from the client is quoted, so that the shell and curl take it as it is: curl reads a
//! file for a value that begins with `@`, takes brackets in a URL for a pattern, and resolves dots in a path.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use exchange::{Exchange, Header, Request};

use super::print::{is_unsafe, shown};

/// The longest body that is an argument; Linux allows 128 KiB for one.
const IN_ARGUMENT: usize = 32 << 10;
const LINE: usize = 76;
/// Not the client's business: they belong to a connection, or curl writes them.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What curl adds when it is not told.
const ADDED: &[&str] = &["accept", "user-agent", "content-type"];

/// Where the commands go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// To where the client sent the request.
    #[default]
    Captured,
    /// To this URL, without a slash at its end.
    Url(String),
}

/// The command, as lines; or why there is none, as a comment.
pub(super) fn command(request: &Request, base: &Base) -> String {
    let method = String::from_utf8_lossy(&request.method).into_owned();
    if !request.body.is_whole() {
        return format!(
            "# {} {}: its body is not whole here ({} bytes of it are), so it cannot be sent again\n",
            shown(&request.method),
            shown(&request.target),
            request.body.content.len()
        );
    }
    let mut words = Words::new();
    match method.as_str() {
        // curl takes no body with --head; without it, it takes the length of the answer's body for one that comes.
        "HEAD" if has_body(request) => {
            words.option("-X HEAD --include --ignore-content-length -H 'connection: close'");
        }
        // With -X curl would wait for the body of the answer.
        "HEAD" => words.option("--head"),
        _ => words.value("-X", request.method.as_ref()),
    }
    target(request, base, &mut words);
    let masked = headers(request, &mut words);
    let body = body(request, &mut words);
    let mut out = String::new();
    for name in masked {
        out.push_str(&format!("# {} is masked: add it\n", shown(&name)));
    }
    out.push_str(&words.command(body));
    out
}

/// The comment in place of a command.
pub(super) fn no_request(exchange: &Exchange) -> String {
    let id = exchange.id().map(|id| shown(id)).unwrap_or_default();
    format!("# {id}: its request was not seen\n")
}

fn target(request: &Request, base: &Base, words: &mut Words) {
    let base = match base {
        Base::Url(url) => url.clone(),
        Base::Captured => {
            let scheme = if request.tls.is_some() {
                "https"
            } else {
                "http"
            };
            let host = request.headers.get("host").unwrap_or(b"localhost");
            format!("{scheme}://{}", String::from_utf8_lossy(host))
        }
    };
    words.option("--globoff");
    words.option("--path-as-is");
    let target = request.target.as_ref();
    if target.starts_with(b"/") && target.iter().all(|byte| is_plain(*byte)) {
        return words.word(&[base.as_bytes(), target].concat());
    }
    // curl would refuse or change it in a URL.
    words.value("--request-target", target);
    words.word(base.as_bytes());
}

/// Bytes that stand for themselves in a URL, and in what curl makes of it.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]{}".contains(&byte)
}

/// Adds the header fields, and returns the names of those that are masked.
fn headers(request: &Request, words: &mut Words) -> Vec<Vec<u8>> {
    let mut masked = Vec::new();
    for Header { name, value } in &request.headers {
        let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
        if FRAMING.contains(&lower.as_str()) || !is_field_name(name) {
            continue;
        }
        if value.as_ref() == exchange::headers::MASK {
            masked.push(name.to_vec());
        } else if value.is_empty() {
            words.value("-H", &[name, &b";"[..]].concat());
        } else {
            words.value("-H", &[name, &b": "[..], value].concat());
        }
    }
    let has_body = has_body(request);
    for name in ADDED {
        let is_added = *name != "content-type" || has_body;
        if is_added && request.headers.get(name).is_none() {
            words.value("-H", format!("{name}:").as_bytes());
        }
    }
    masked
}

/// RFC 9110, 5.6.2. Another one could be an option of curl's.
fn is_field_name(name: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token)
}

fn has_body(request: &Request) -> bool {
    !request.body.content.is_empty() || request.headers.content_length() == Some(0)
}

/// Adds the body, and returns what is to be piped into the command.
fn body(request: &Request, words: &mut Words) -> Option<String> {
    if !has_body(request) {
        return None;
    }
    let content = request.body.content.as_ref();
    let is_text = std::str::from_utf8(content).is_ok_and(|text| {
        !text
            .chars()
            .any(|c| is_unsafe(c) && !matches!(c, '\n' | '\t'))
    });
    if is_text && content.len() <= IN_ARGUMENT {
        words.value("--data-raw", content);
        return None;
    }
    words.option("--data-binary @-");
    let mut lines = String::new();
    for line in BASE64.encode(content).as_bytes().chunks(LINE) {
        lines.push_str(&String::from_utf8_lossy(line));
        lines.push('\n');
    }
    Some(lines)
}

/// The words of a command, quoted.
struct Words(Vec<String>);

impl Words {
    fn new() -> Self {
        Self(vec!["curl -sS".to_owned()])
    }

    /// Words of our own.
    fn option(&mut self, option: &str) {
        self.0.push(option.to_owned());
    }

    fn value(&mut self, option: &str, value: &[u8]) {
        self.0.push(format!("{option} {}", quoted(value)));
    }

    fn word(&mut self, word: &[u8]) {
        self.0.push(quoted(word));
    }

    fn command(&self, piped: Option<String>) -> String {
        let command = self.0.join(" ");
        match piped {
            None => format!("{command}\n"),
            Some(lines) => format!("base64 -d <<'EOF' | {command}\n{lines}EOF\n"),
        }
    }
}

/// A word for the shell that stands for exactly these bytes.
fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.bytes().all(is_bare) => text.to_owned(),
        Ok(text)
            if !text
                .chars()
                .any(|c| is_unsafe(c) && !matches!(c, '\n' | '\t')) =>
        {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        // Nothing but the shell shall see what the bytes are.
        _ => {
            let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            format!("\"$(printf '{octal}')\"")
        }
    }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./:,=@%+".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn through_shell(word: &str) -> Vec<u8> {
        let script = format!("printf '%s' {word}");
        Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap()
            .stdout
    }

    #[test]
    fn what_a_shell_would_act_on_is_quoted() {
        for text in [
            "$(id)", "`id`", "a b", "it's", "\"", "\\", "!x", "~", "*", ";", "a\nb", "",
        ] {
            assert_eq!(
                through_shell(&quoted(text.as_bytes())),
                text.as_bytes(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn nothing_that_moves_a_cursor_is_printed() {
        let word = quoted(b"\x1b[2J\xff");
        assert!(
            word.bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' '),
            "{word}"
        );
        assert_eq!(through_shell(&word), b"\x1b[2J\xff");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_makes_the_same_bytes_of_a_quoted_word(bytes in prop::collection::vec(1_u8.., 0..40)) {
            // A shell cuts line feeds off the end of what a command prints, and no HTTP field has one.
            prop_assume!(bytes.last() != Some(&b'\n'));
            prop_assert_eq!(through_shell(&quoted(&bytes)), bytes);
        }
    }
}
