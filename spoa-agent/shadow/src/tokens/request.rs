//! The tokens in a request, and where they stand.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use exchange::Request;
use exchange::operation::content;

use super::api::{Api, Route, route};
use super::json::{self, Value};
use super::position::Sorted;
use super::{Found, Place, TokenKind, Use, keep_alive, url};

/// What a request says of tokens. Empty, and made without an allocation, for a request of an API that has
/// none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub(crate) found: Vec<Found>,
    pub(crate) route: Route,
    /// The answer may open or renew a scroll.
    pub(crate) scroll: bool,
    /// The answer may name a task.
    pub(crate) task: bool,
    /// How long the session is to live, other than a point in time that is searched.
    pub(crate) keep_us: Option<u64>,
    /// The searches in points in time.
    pub(crate) searches: Vec<Search>,
    /// A token of this kind is, or may be, in a body that cannot be read.
    pub(crate) unreadable: Option<TokenKind>,
}

/// A search in a point in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) slot: u32,
    pub(crate) sorted: Sorted,
    pub(crate) keep_us: Option<u64>,
}

impl Asked {
    /// The tokens in the request, in the order in which they stand in it: URL first.
    #[must_use]
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// Whether neither the request nor its answer has to do with tokens. Then nothing else needs to be asked.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.found.is_empty() && self.unreadable.is_none() && !self.expects_tokens()
    }

    /// Whether the answer may open or renew a session: then as much of the shadow's answer must be kept as
    /// was captured of the primary's.
    #[must_use]
    pub fn expects_tokens(&self) -> bool {
        let opens = matches!(
            self.route.api,
            Api::PitOpen | Api::AsyncOpen | Api::AsyncRead | Api::Sql
        );
        opens || self.scroll || self.task || !self.searches.is_empty()
    }

    /// Whether the request carries this token.
    pub(crate) fn carries(&self, kind: TokenKind, token: &[u8]) -> bool {
        self.found
            .iter()
            .any(|found| found.kind == kind && found.token.as_deref() == Some(token))
    }

    pub(crate) fn search(&self, slot: u32) -> Option<&Search> {
        self.searches.iter().find(|search| search.slot == slot)
    }
}

/// The tokens that a request carries, and what its answer may open. For a request of another API it costs a
/// look at its path.
#[must_use]
pub fn in_request(request: &Request) -> Asked {
    read(request).map_or_else(Asked::default, |reading| reading.asked())
}

/// A request, read: the tokens with their places, for whoever replaces them.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    asked: Asked,
    pub(crate) spots: Vec<Spot>,
    pub(crate) document: Document<'a>,
    lists: u32,
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) found: Found,
    pub(crate) at: At,
    /// Tokens with the same number stand in one list; a list is allowed to lose some of them.
    pub(crate) list: u32,
}

/// Where a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Percent-encoded, in the target.
    Target(Range<usize>),
    /// A JSON value in the document: a string with its quotes, for a position the array.
    Json(Range<usize>),
    /// Plain text that is, or is in, the document.
    Text(Range<usize>),
}

/// The body, or what stands for it in the query.
#[derive(Debug, Default)]
pub(crate) struct Document<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// Where in the target it stands: the parameter `source`.
    pub(crate) source: Option<Range<usize>>,
    /// The body had a content coding.
    pub(crate) coded: bool,
}

/// Reads a request. `None` when its API has nothing to do with tokens.
pub(crate) fn read(request: &Request) -> Option<Reading<'_>> {
    let target = &request.target;
    if !may_concern_tokens(target) {
        return None;
    }
    let (segments, query) = url::split(target)?;
    let (texts, count) = segments.texts(target);
    let route = route(&request.method, texts.get(..count)?);
    let text = target.get(query.clone()).unwrap_or_default();
    let task =
        !text.is_empty() && memchr::memmem::find(text, b"wait_for_completion=false").is_some();
    if route.api == Api::Other && !task {
        return None;
    }
    let asked = Asked {
        route,
        task,
        ..Asked::default()
    };
    let mut reading = Reading {
        asked,
        spots: Vec::new(),
        document: Document::default(),
        lists: 0,
    };
    let segment = route.segment.and_then(|at| segments.ranges().get(at));
    if let Some(segment) = segment {
        reading.path(target, segment.clone());
    }
    let source = reading.query(target, query);
    reading.body(request, source);
    Some(reading)
}

/// A query with this parameter starts a task.
const IN_BACKGROUND: &[u8] = b"wait_for_completion=false";

/// A quick look at the target, which most requests end at: whether a segment begins like one that `api` knows, or
/// the query is long enough to start a task.
fn may_concern_tokens(target: &[u8]) -> bool {
    let mut rest = target;
    while let Some((byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'?', query) => return query.len() >= IN_BACKGROUND.len(),
            (b'/', [b'_', a, b, ..]) => {
                if matches!(
                    &[*a, *b],
                    b"se"
                        | b"ms"
                        | b"pi"
                        | b"ca"
                        | b"as"
                        | b"pl"
                        | b"op"
                        | b"eq"
                        | b"qu"
                        | b"sq"
                        | b"ta"
                        | b"re"
                        | b"up"
                        | b"de"
                        | b"xp"
                ) {
                    return true;
                }
            }
            (b'/', [b'.', b't', ..]) => return true,
            _ => {}
        }
        rest = tail;
    }
    false
}

impl<'a> Reading<'a> {
    fn asked(self) -> Asked {
        let found = self.spots.into_iter().map(|spot| spot.found).collect();
        Asked {
            found,
            ..self.asked
        }
    }

    pub(crate) const fn unreadable(&self) -> Option<TokenKind> {
        self.asked.unreadable
    }

    fn path(&mut self, target: &[u8], segment: Range<usize>) {
        if self.is_list() {
            self.target_list(target, segment, Place::Path);
        } else {
            self.target(target, segment, Place::Path);
        }
    }

    /// Reads the parameters. Returns where the body stands, when it stands in the query.
    fn query(&mut self, target: &[u8], query: Range<usize>) -> Option<Range<usize>> {
        let api = self.asked.route.api;
        let mut source = None;
        for (name, value) in url::parameters(target, query) {
            match name {
                b"scroll_id" if api == Api::ScrollNext => self.target(target, value, Place::Query),
                b"scroll_id" if api == Api::ScrollClose => {
                    self.target_list(target, value, Place::Query);
                }
                b"parent_task_id" if matches!(api, Api::TaskRead | Api::TaskChange) => {
                    self.target(target, value, Place::Query);
                }
                b"scroll" if matches!(api, Api::Search | Api::Template | Api::ScrollNext) => {
                    self.asked.scroll = true;
                    self.keep(&url::decoded(slice(target, &value), true));
                }
                b"keep_alive" => self.keep(&url::decoded(slice(target, &value), true)),
                b"source" => source = Some(value),
                _ => {}
            }
        }
        source
    }

    fn keep(&mut self, text: &[u8]) {
        self.asked.keep_us = keep_alive::micros(text).or(self.asked.keep_us);
    }

    fn target(&mut self, target: &[u8], range: Range<usize>, place: Place) {
        if !range.is_empty() {
            self.lists += 1;
            self.target_item(target, range, place);
        }
    }

    fn target_list(&mut self, target: &[u8], range: Range<usize>, place: Place) {
        self.lists += 1;
        for part in url::listed(target, range) {
            self.target_item(target, part, place);
        }
    }

    fn target_item(&mut self, target: &[u8], range: Range<usize>, place: Place) {
        let token = url::decoded(slice(target, &range), place == Place::Query);
        self.push(token, place, At::Target(range));
    }

    /// A token of the request's own API.
    fn push(&mut self, token: Bytes, place: Place, at: At) {
        let all = self.is_list() && *token == *b"_all";
        let found = Found {
            kind: self.asked.route.origin.kind(),
            token: (!all).then_some(token),
            usage: self.usage(),
            place,
            slot: 0,
        };
        let list = self.lists;
        self.spots.push(Spot { found, at, list });
    }

    /// Whether several tokens, or `_all`, may stand where one may.
    const fn is_list(&self) -> bool {
        matches!(self.asked.route.api, Api::ScrollClose | Api::PitClose)
    }

    const fn usage(&self) -> Use {
        match self.asked.route.api {
            Api::ScrollClose | Api::PitClose | Api::AsyncClose | Api::SqlClose => Use::Closes,
            Api::ScrollNext | Api::TaskChange | Api::Sql => Use::Advances,
            _ => Use::Reads,
        }
    }

    fn body(&mut self, request: &'a Request, source: Option<Range<usize>>) {
        let api = self.asked.route.api;
        let names: &[&[u8]] = match api {
            Api::ScrollNext | Api::ScrollClose => &[b"scroll_id"],
            Api::PitClose | Api::PitRead => &[b"id", b"pit_id"],
            Api::Sql | Api::SqlClose => &[b"cursor"],
            Api::Search | Api::AsyncOpen | Api::Msearch => &[b"pit"],
            _ => return,
        };
        // A body that cannot be decoded here is one that the cluster does not decode either, or a cut one,
        // which nobody sends.
        self.document = document(request, source).unwrap_or_default();
        // Taken out, so that it can be read while what is found is written down.
        let bytes = std::mem::take(&mut self.document.bytes);
        match api {
            Api::Msearch => self.searches(&bytes),
            Api::Search | Api::AsyncOpen => self.search(&bytes, 0, 0),
            _ => self.own(&bytes, names),
        }
        if holds_unread_name(&bytes, names) {
            self.asked.unreadable = Some(self.kind_in_body());
        }
        let needs_token = matches!(
            api,
            Api::ScrollNext | Api::ScrollClose | Api::PitClose | Api::SqlClose
        );
        if needs_token && self.spots.is_empty() {
            self.asked.unreadable = Some(self.kind_in_body());
        }
        self.document.bytes = bytes;
    }

    const fn kind_in_body(&self) -> TokenKind {
        match self.asked.route.api {
            Api::Search | Api::AsyncOpen | Api::Msearch => TokenKind::PointInTime,
            _ => self.asked.route.origin.kind(),
        }
    }

    /// A body whose members are the request's own tokens, or which is one.
    fn own(&mut self, bytes: &[u8], names: &[&[u8]]) {
        self.asked.scroll |= self.asked.route.api == Api::ScrollNext;
        let Some(root) = json::root(bytes) else {
            return;
        };
        if json::first(bytes, &root) != Some(b'{') {
            return self.text(bytes);
        }
        for (name, value) in json::members(bytes, &root) {
            if names.contains(&&*name) {
                self.lists += 1;
                self.json_item(bytes, &value);
                for item in json::elements(bytes, &value) {
                    self.json_item(bytes, &item);
                }
            } else if matches!(&*name, b"scroll" | b"keep_alive" | b"page_timeout")
                && let Some(text) = json::string(bytes, &value)
            {
                self.keep(&text);
            }
        }
    }

    fn json_item(&mut self, bytes: &[u8], value: &Value) {
        if let Some(token) = json::string(bytes, value) {
            let token = Bytes::copy_from_slice(&token);
            self.push(token, Place::Body, At::Json(value.range.clone()));
        }
    }

    /// A body that is the scroll's id itself (Elasticsearch up to 6).
    fn text(&mut self, bytes: &[u8]) {
        if !matches!(self.asked.route.api, Api::ScrollNext | Api::ScrollClose) {
            return;
        }
        let text = bytes.trim_ascii();
        if !text.iter().all(u8::is_ascii_graphic) || text.iter().any(|b| b"\"{}[]".contains(b)) {
            return;
        }
        let start = bytes.len() - bytes.trim_ascii_start().len();
        let whole = start..start + text.len();
        self.lists += 1;
        let parts = if self.is_list() {
            url::listed(bytes, whole)
        } else {
            vec![whole]
        };
        for part in parts {
            let token = Bytes::copy_from_slice(slice(bytes, &part));
            self.push(token, Place::Body, At::Text(part));
        }
    }

    /// The bodies of an `_msearch`: every second line.
    fn searches(&mut self, bytes: &[u8]) {
        if !may_hold_pit(bytes) {
            return;
        }
        // Elasticsearch 7 lets an empty line stand before the first header.
        let mut from = usize::from(bytes.starts_with(b"\n"));
        let mut slot = 0;
        let mut is_header = true;
        for end in memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]) {
            let Some(line) = bytes.get(from..end) else {
                continue;
            };
            if !is_header {
                self.search(line, from, slot);
                slot += 1;
            }
            is_header = !is_header;
            from = end + 1;
        }
    }

    /// A search's body, which stands at `offset` of the document.
    fn search(&mut self, bytes: &[u8], offset: usize, slot: u32) {
        if !may_hold_pit(bytes) {
            return;
        }
        let Some(root) = json::root(bytes) else {
            return;
        };
        let Some(pit) = json::member(bytes, &root, b"pit") else {
            return;
        };
        let Some((id, token)) = json::member(bytes, &pit, b"id")
            .and_then(|id| Some((id.clone(), json::string(bytes, &id)?)))
        else {
            self.asked.unreadable = Some(TokenKind::PointInTime);
            return;
        };
        let mut found = Found {
            kind: TokenKind::PointInTime,
            token: Some(Bytes::copy_from_slice(&token)),
            usage: Use::Reads,
            place: Place::Body,
            slot,
        };
        self.search_spot(found.clone(), &id, offset);
        let sorted = Sorted::read(
            bytes,
            json::member(bytes, &root, b"sort").as_ref(),
            json::member(bytes, &root, b"slice").as_ref(),
        );
        if let Some(after) = json::member(bytes, &root, b"search_after")
            && let Some(position) = sorted.position(bytes, &after)
        {
            found.kind = TokenKind::Position;
            found.token = Some(position);
            self.search_spot(found, &after, offset);
        }
        let keep = json::member(bytes, &pit, b"keep_alive");
        let keep = keep.and_then(|keep| keep_alive::micros(&json::string(bytes, &keep)?));
        self.asked.searches.push(Search {
            slot,
            sorted,
            keep_us: keep,
        });
    }

    fn search_spot(&mut self, found: Found, value: &Value, offset: usize) {
        self.lists += 1;
        let range = value.range.start + offset..value.range.end + offset;
        self.spots.push(Spot {
            found,
            at: At::Json(range),
            list: self.lists,
        });
    }
}

fn slice<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    bytes.get(range.clone()).unwrap_or_default()
}

/// The body without its content coding; for a request without one, the parameter `source`.
fn document(
    request: &Request,
    source: Option<Range<usize>>,
) -> Result<Document<'_>, content::Unreadable> {
    let bytes = content::decoded(&request.headers, &request.body)?;
    match source {
        Some(range) if bytes.is_empty() => Ok(Document {
            bytes: Cow::Owned(url::decoded(slice(&request.target, &range), true).into()),
            source: Some(range),
            coded: false,
        }),
        _ => Ok(Document {
            coded: matches!(bytes, Cow::Owned(_)),
            bytes,
            source: None,
        }),
    }
}

/// A quick look, before anything is walked. An escaped letter may be one of the name's.
fn may_hold_pit(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\"pit\"").is_some()
        || memchr::memmem::find(bytes, b"\\u").is_some()
}

/// Whether a body that is not JSON has one of the names: as CBOR (RFC 8949, 3.1: a text of this length), as SMILE (a
/// short ASCII name), or as YAML writes it.
fn holds_unread_name(bytes: &[u8], names: &[&[u8]]) -> bool {
    let first = bytes.trim_ascii_start().first();
    // An `_msearch` begins with a line for the header, which may be empty.
    if matches!(first, None | Some(b'{' | b'/')) {
        return false;
    }
    names.iter().any(|name| {
        memchr::memmem::find_iter(bytes, name).any(|at| {
            let length = u8::try_from(name.len()).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied();
            let behind = bytes.get(at + name.len()).copied();
            before == Some(0x60 | length)
                || before == Some((0x80 | length).wrapping_sub(1))
                || behind == Some(b':')
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METHODS: &[&[u8]] = &[b"GET", b"POST", b"DELETE"];
    const WORDS: &[&[u8]] = &[
        b"_search",
        b"_msearch",
        b"template",
        b"scroll",
        b"_pit",
        b"point_in_time",
        b"_all",
        b"_cat",
        b"pit_segments",
        b"_async_search",
        b"status",
        b"_plugins",
        b"_opendistro",
        b"_asynchronous_search",
        b"_eql",
        b"search",
        b"_query",
        b"async",
        b"stop",
        b"_sql",
        b"delete",
        b"_tasks",
        b"_cancel",
        b"_reindex",
        b"_update_by_query",
        b"_delete_by_query",
        b"_rethrottle",
        b".tasks",
        b"_doc",
        b"task",
        b"_xpack",
        b"sql",
        b"close",
        b"i",
        b"_bulk",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_quick_look_overlooks_no_path_of_the_table(
            path in prop::collection::vec(prop::sample::select(WORDS), 1..5),
            method in prop::sample::select(METHODS),
        ) {
            let mut target = Vec::new();
            for segment in &path {
                target.push(b'/');
                target.extend_from_slice(segment);
            }
            if route(method, &path).api != Api::Other {
                prop_assert!(may_concern_tokens(&target), "{}", String::from_utf8_lossy(&target));
            }
        }
    }

    #[test]
    fn a_task_is_expected_whatever_the_path() {
        for target in [
            "/i/_forcemerge?wait_for_completion=false",
            "/x?a=b&wait_for_completion=false&c",
        ] {
            let request = Request {
                target: Bytes::from(target),
                ..Request::default()
            };
            assert!(in_request(&request).task, "{target}");
        }
    }
}
