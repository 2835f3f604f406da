//! The tokens in an answer. They stand near its beginning, so the captured part of a cut body is often
//! enough; nothing else is read out of a cut body.

use std::borrow::Cow;
use std::io::Read as _;

use bytes::Bytes;
use exchange::{Headers, Response};

use super::api::{Api, Origin};
use super::json::{self, Value};
use super::request::Search;
use super::{Asked, TokenKind};

/// The most bytes of a compressed answer that are looked at.
const DECODED: u64 = 64 << 20;

/// Longer tokens are not kept. A point in time over a thousand shards has about a tenth of this.
const LONGEST: usize = 1 << 20;

/// An answer, of either side.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: &'a Headers,
    /// The body as it came, or as much of it as is here.
    pub body: &'a [u8],
}

impl<'a> From<&'a Response> for Reply<'a> {
    fn from(response: &'a Response) -> Self {
        Self {
            status: response.status,
            headers: &response.headers,
            body: &response.body.content,
        }
    }
}

/// What an answer says of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub(crate) status: u16,
    pub(crate) tokens: Vec<Token>,
}

/// A token in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) origin: Origin,
    pub(crate) slot: u32,
    pub(crate) bytes: Bytes,
    /// For a position: the values as they stand in the answer.
    pub(crate) values: Bytes,
}

impl Token {
    /// What it stands for.
    #[must_use]
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The token; for a position, what it is known by.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Told {
    /// What the answer opens or renews.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether the cluster did what it was asked for.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..300)
    }
}

/// The tokens that an answer to such a request opens or renews. An error opens nothing.
#[must_use]
pub fn in_answer(asked: &Asked, reply: Reply<'_>) -> Told {
    let mut told = Told {
        status: reply.status,
        tokens: Vec::new(),
    };
    if !told.is_success() || !asked.expects_tokens() {
        return told;
    }
    let body = plain(reply);
    let mut answer = Answer {
        asked,
        bytes: &body,
        tokens: Vec::new(),
    };
    if let Some(root) = json::root(&body) {
        answer.read(&root);
    }
    if asked.route.api == Api::Sql
        && let Some(cursor) = reply.headers.get("cursor")
    {
        // The text formats of `_sql` have no other place for it.
        answer.token(TokenKind::Cursor, asked.route.origin, 0, cursor);
    }
    told.tokens = answer.tokens;
    told
}

struct Answer<'a> {
    asked: &'a Asked,
    bytes: &'a [u8],
    tokens: Vec<Token>,
}

impl Answer<'_> {
    fn read(&mut self, root: &Value) {
        let asked = self.asked;
        match asked.route.api {
            Api::Msearch => self.responses(root),
            Api::Search => self.search(root, asked.search(0)),
            Api::Template | Api::ScrollNext => self.named(root, b"_scroll_id", Origin::Scroll),
            Api::PitOpen => {
                self.named(root, b"id", asked.route.origin);
                self.named(root, b"pit_id", asked.route.origin);
            }
            Api::AsyncOpen | Api::AsyncRead => self.later(root),
            Api::Sql => {
                self.named(root, b"cursor", asked.route.origin);
                self.named(root, b"id", Origin::SqlAsync);
            }
            _ => {}
        }
        if asked.task {
            self.named(root, b"task", Origin::Task);
        }
    }

    fn responses(&mut self, root: &Value) {
        let Some(responses) = json::member(self.bytes, root, b"responses") else {
            return;
        };
        let asked = self.asked;
        for (slot, response) in (0u32..).zip(json::elements(self.bytes, &responses)) {
            if let Some(search) = asked.search(slot) {
                self.search(&response, Some(search));
            }
        }
    }

    fn later(&mut self, root: &Value) {
        let asked = self.asked;
        self.named(root, b"id", asked.route.origin);
        if let Some(search) = asked.search(0)
            && let Some(response) = json::member(self.bytes, root, b"response")
        {
            self.search(&response, Some(search));
        }
    }

    /// An answer of `_search`, which may be one of many.
    fn search(&mut self, answer: &Value, search: Option<&Search>) {
        if self.asked.scroll {
            self.named(answer, b"_scroll_id", Origin::Scroll);
        }
        let Some(search) = search else {
            return;
        };
        if let Some(id) = self.string(answer, b"pit_id") {
            // Renewed; how it was opened is known from its opening.
            self.token(
                TokenKind::PointInTime,
                Origin::OpenSearchPit,
                search.slot,
                &id,
            );
        }
        if let Some(position) = self.position(answer, search) {
            self.tokens.push(position);
        }
    }

    /// Where the page ended.
    fn position(&self, answer: &Value, search: &Search) -> Option<Token> {
        let bytes = self.bytes;
        let hits = json::member(bytes, answer, b"hits")?;
        let hits = json::member(bytes, &hits, b"hits").filter(|hits| hits.whole)?;
        let last = json::elements(bytes, &hits).last()?;
        let sort = json::member(bytes, &last, b"sort")?;
        Some(Token {
            kind: TokenKind::Position,
            origin: Origin::OpenSearchPit,
            slot: search.slot,
            bytes: search.sorted.position(bytes, &sort).unwrap_or_default(),
            values: Bytes::copy_from_slice(json::whole(bytes, &sort)?),
        })
    }

    fn named(&mut self, object: &Value, name: &[u8], origin: Origin) {
        if let Some(text) = self.string(object, name) {
            self.token(origin.kind(), origin, 0, &text);
        }
    }

    fn string(&self, object: &Value, name: &[u8]) -> Option<Vec<u8>> {
        let value = json::member(self.bytes, object, name)?;
        json::string(self.bytes, &value).map(Cow::into_owned)
    }

    fn token(&mut self, kind: TokenKind, origin: Origin, slot: u32, text: &[u8]) {
        // What is not text cannot be put into JSON again.
        if text.is_empty() || text.len() > LONGEST || std::str::from_utf8(text).is_err() {
            return;
        }
        self.tokens.push(Token {
            kind,
            origin,
            slot,
            bytes: Bytes::copy_from_slice(text),
            values: Bytes::new(),
        });
    }
}

/// The body without its content coding, as far as it decodes: the beginning of a cut one does.
fn plain(reply: Reply<'_>) -> Cow<'_, [u8]> {
    let coding = reply.headers.get("content-encoding").unwrap_or_default();
    let coding = coding.trim_ascii();
    if coding.eq_ignore_ascii_case(b"gzip") {
        return Cow::Owned(inflated(flate2::read::MultiGzDecoder::new(reply.body)));
    }
    if coding.eq_ignore_ascii_case(b"deflate") {
        return Cow::Owned(inflated(flate2::read::ZlibDecoder::new(reply.body)));
    }
    Cow::Borrowed(reply.body)
}

fn inflated(decoder: impl std::io::Read) -> Vec<u8> {
    let mut out = Vec::new();
    // What was decoded before the error stays in `out`.
    match decoder.take(DECODED).read_to_end(&mut out) {
        Ok(_) | Err(_) => out,
    }
}
