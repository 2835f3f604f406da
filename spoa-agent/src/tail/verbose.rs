//! Headers and bodies below a line, in the manner of `curl -v`.

use exchange::operation::content;
use exchange::{Body, Exchange, Extent, Headers, Pair, Request, Response};
use serde_json::value::RawValue;

use super::print::{Paint, is_unsafe, shown};

/// How much of a body is shown with a single -v.
const SOME: usize = 4 << 10;
const INDENT: &str = "  ";

pub(super) fn exchange(exchange: &Exchange, verbose: u8, paint: Paint) -> String {
    let mut block = Block::new(verbose, paint);
    if let Some(request) = &exchange.request {
        block.request(request);
    }
    if let Some(response) = &exchange.response {
        block.response("<", "", response);
    }
    block.out.push('\n');
    block.out
}

pub(super) fn pair(pair: &Pair, verbose: u8, paint: Paint) -> String {
    let mut block = Block::new(verbose, paint);
    block.request(&pair.request);
    if let Some(rewritten) = &pair.rewritten {
        block.line("+", "sent to the shadow with these changes");
        if let Some(target) = &rewritten.target {
            block.line("+", &format!("target: {}", shown(target)));
        }
        block.headers("+ without", &rewritten.removed);
        block.headers("+", &rewritten.added);
        if let Some(body) = &rewritten.body {
            block.body("+", &pair.request.headers, body);
        }
    }
    if let Some(primary) = &pair.primary {
        block.response("<", "primary ", primary);
    }
    if let Some(shadow) = &pair.shadow {
        block.response("<", "shadow ", shadow);
    }
    block.out.push('\n');
    block.out
}

struct Block {
    out: String,
    limit: usize,
    paint: Paint,
}

impl Block {
    const fn new(verbose: u8, paint: Paint) -> Self {
        Self {
            out: String::new(),
            limit: if verbose > 1 { usize::MAX } else { SOME },
            paint,
        }
    }

    fn line(&mut self, mark: &str, text: &str) {
        let line = format!("{INDENT}{} {text}", self.paint.dim(mark));
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn request(&mut self, request: &Request) {
        let line = format!(
            "{} {} HTTP/{}",
            shown(&request.method),
            shown(&request.target),
            shown(&request.version)
        );
        self.line(">", &self.paint.bold(&line));
        self.headers(">", &request.headers);
        if let Some(client) = &request.client {
            self.line(">", &self.paint.dim(&format!("from {client}")));
        }
        self.body(">", &request.headers, &request.body);
    }

    fn response(&mut self, mark: &str, side: &str, response: &Response) {
        let line = format!(
            "{side}HTTP/{} {}",
            shown(&response.version),
            response.status
        );
        let painted = self.paint.status(&line, Some(response.status));
        self.line(mark, &painted);
        self.headers(mark, &response.headers);
        if !response.server.is_empty() {
            let server = shown(&response.server);
            self.line(mark, &self.paint.dim(&format!("by {server}")));
        }
        self.body(mark, &response.headers, &response.body);
    }

    fn headers(&mut self, mark: &str, headers: &Headers) {
        for header in headers {
            let name = self.paint.name(&shown(&header.name));
            self.line(mark, &format!("{name}: {}", shown(&header.value)));
        }
    }

    fn body(&mut self, mark: &str, headers: &Headers, body: &Body) {
        if body.content.is_empty() && body.is_whole() {
            return;
        }
        let decoded = content::decoded(headers, body);
        let (bytes, is_plain) = match &decoded {
            Ok(decoded) => (decoded.as_ref(), true),
            Err(_) => (body.content.as_ref(), is_plain(headers)),
        };
        self.line(mark, "");
        match std::str::from_utf8(bytes) {
            Ok(text) if is_plain => self.text(mark, text),
            // A cut may go through a character.
            Err(error) if is_plain && error.error_len().is_none() => {
                let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
                self.text(mark, &String::from_utf8_lossy(whole));
            }
            _ => self.line(
                mark,
                &self
                    .paint
                    .dim(&format!("({} bytes that are no text)", bytes.len())),
            ),
        }
        if let Some(told) = incomplete(body.extent) {
            self.line(mark, &self.paint.warning(&told));
        }
    }

    fn text(&mut self, mark: &str, text: &str) {
        let text = pretty(text);
        let mut left = self.limit;
        for line in text.lines() {
            if line.len() > left {
                let more = text.len();
                let told = format!("(-vv shows all {more} bytes)");
                return self.line(mark, &self.paint.dim(&told));
            }
            left -= line.len();
            self.line(mark, &printable(line));
        }
    }
}

fn is_plain(headers: &Headers) -> bool {
    let coding = headers.get("content-encoding").map(<[u8]>::trim_ascii);
    coding.is_none_or(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
}

fn incomplete(extent: Extent) -> Option<String> {
    let missing = extent
        .missing()
        .map_or_else(String::new, |bytes| format!(", {bytes} bytes are missing"));
    match extent {
        Extent::Whole => None,
        Extent::Cut { .. } => Some(format!("(cut here{missing})")),
        Extent::NotCaptured { .. } => Some(format!("(not captured{missing})")),
    }
}

/// A text without anything that moves a cursor. Tabs stay.
fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for char in line.chars() {
        if is_unsafe(char) && char != '\t' {
            out.extend(char.escape_unicode());
        } else {
            out.push(char);
        }
    }
    out
}

/// A JSON document with a line for each member; anything else, as `_bulk`s with their lines, as it is. Numbers and
/// strings stay as they were written.
fn pretty(text: &str) -> String {
    if serde_json::from_str::<&RawValue>(text.trim()).is_err() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut chars = text.trim().chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' => string(&mut chars, &mut out),
            '{' | '[' => {
                out.push(char);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                    continue;
                }
                depth += 1;
                new_line(depth, &mut out);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(depth, &mut out);
                out.push(char);
            }
            ',' => {
                out.push(char);
                new_line(depth, &mut out);
            }
            ':' => out.push_str(": "),
            char if char.is_ascii_whitespace() => {}
            char => out.push(char),
        }
    }
    out
}

/// The rest of a string, its end included.
fn string(chars: &mut impl Iterator<Item = char>, out: &mut String) {
    out.push('"');
    while let Some(char) = chars.next() {
        out.push(char);
        match char {
            '"' => return,
            '\\' => out.extend(chars.next()),
            _ => {}
        }
    }
}

fn new_line(depth: usize, out: &mut String) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_gets_a_line_for_each_member_and_keeps_its_numbers() {
        let text =
            r#"{"a":1.0,"b":[],"c":{ },"d":[1e400,{"e":"x,\"{"}],"f":123456789012345678901}"#;
        insta::assert_snapshot!(pretty(text), @r#"
        {
          "a": 1.0,
          "b": [],
          "c": {},
          "d": [
            1e400,
            {
              "e": "x,\"{"
            }
          ],
          "f": 123456789012345678901
        }
        "#);
    }

    #[test]
    fn lines_of_a_bulk_stay_as_they_are() {
        let bulk = "{\"index\":{}}\n{\"a\":1}\n";
        assert_eq!(pretty(bulk), bulk);
    }

    proptest! {
        #[test]
        fn a_pretty_document_is_the_same_document(text in any::<String>(), numbers in prop::collection::vec(any::<i64>(), 0..5)) {
            let document = serde_json::json!({ "t": text, "n": numbers, "o": { "e": [], "x": {} } });
            let read: serde_json::Value = serde_json::from_str(&pretty(&document.to_string())).unwrap();
            prop_assert_eq!(read, document);
        }
    }
}
