//! One dispatched exchange as the primary answered it and as the shadow answered it: a [`Pair`].
//!
//! A pair stands for itself. It repeats the request and the primary's response, though both are in the
//! journal already: it must still mean something when the segments of its exchange are deleted, on another
//! machine, and in another store. The alternative, the shadow's half with a reference, would save about half of
//! the disk that pairs need, and would make every reader of pairs a join over a window that nobody bounds
//! (a shadow may be a day behind). What a pair costs is bounded by [`Pair::limit_bodies`] instead.
//!
//! The shadow's answer is a [`Response`] like the primary's, so that both are compared field by field.
//!
//! An exchange usually has one pair. It has several when its items were sent in several requests; then
//! [`Pair::items`] says which of them, and [`Pair::more`] is true for all but the last. For an item that
//! stands in more than one, because the shadow first refused it, the last pair counts.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::headers::MASK;
use crate::{Body, Credentials, Extent, Header, Headers, Request, Response};

/// A word of ours, for example the name of an API: never a peer's bytes.
pub type Word = Cow<'static, str>;

/// One dispatched exchange, as the primary answered it and as the shadow answered it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair<B = Bytes> {
    /// Where the exchange begins in the journal: [`crate::Exchange::position`].
    pub position: u64,
    /// The name of the target that it was sent to.
    pub target: Word,
    /// Which API the request calls, in the words of [`crate::operation`]. Empty where nobody looked.
    pub api: Word,
    /// Why it was given up. `None` when it was delivered: the shadow answered.
    pub dropped: Option<Dropped>,
    /// The request, as the primary got it.
    pub request: Request<B>,
    /// In what the request differs that was sent: the words of the kinds of change, each once.
    pub changes: Vec<Word>,
    /// What these changes came to. `None` when the request was sent as the primary got it.
    pub rewritten: Option<Rewritten<B>>,
    /// Which items of the primary's request were sent, counted from 0, in the order in which they were sent.
    /// Empty: all of them.
    pub items: Vec<Range<u32>>,
    /// Another pair of the same exchange follows.
    pub more: bool,
    /// The primary's response. `None` when none came within the deadline.
    pub primary: Option<Response<B>>,
    /// The shadow's response: the last one, when there were several attempts. `None` when none came. Its
    /// `backend` is empty, its `server` the address that was asked, its times are by the agent's clock.
    pub shadow: Option<Response<B>>,
    /// When and how it was sent.
    pub sending: Sending,
}

/// Why an exchange was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The word that the ledger counts it under, for example `poison`.
    pub reason: Word,
    /// What went wrong last, in words. May be empty.
    pub cause: Word,
}

/// In what the request that was sent differs from the captured one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten<B = Bytes> {
    /// The target that was sent, where it is another one.
    pub target: Option<B>,
    /// Header fields of the captured request that were left out.
    pub removed: Headers<B>,
    /// Header fields that the captured request does not have.
    pub added: Headers<B>,
    /// The body that was sent, where it is another one.
    pub body: Option<Body<B>>,
}

/// When and how a request was sent. Times by the agent's clock.
///
/// Comparable with the primary's: `connect_us` with HAProxy's `Tc`, `first_byte_us` less `connect_us` with `Tr`,
/// `end_us` with the time from the request half to the response half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// How many times it was begun on a connection. More than one: the target may have done it more than once.
    pub attempts: u32,
    /// Unix time in microseconds at which it was to be sent, when there is a pace to keep.
    pub due_us: Option<u64>,
    /// Unix time in microseconds at which the first attempt began.
    pub began_us: u64,
    /// Unix time in microseconds at which the last attempt ended.
    pub ended_us: u64,
    /// Microseconds from the beginning of the last attempt until there was a connection. 0: one was kept.
    pub connect_us: u64,
    /// Microseconds from the beginning of the last attempt to the first byte of the answer.
    pub first_byte_us: Option<u64>,
    /// Microseconds from the beginning of the last attempt to the answer's end, or to the failure.
    pub end_us: u64,
}

impl Sending {
    /// Microseconds by which it was begun too late. `None` without a pace.
    #[must_use]
    pub fn slip_us(&self) -> Option<u64> {
        Some(self.began_us.saturating_sub(self.due_us?))
    }
}

impl<B> Pair<B> {
    /// The id of the exchange.
    #[must_use]
    pub const fn id(&self) -> &B {
        &self.request.id
    }

    /// `delivered` or `dropped`.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self.dropped {
            None => "delivered",
            Some(_) => "dropped",
        }
    }

    /// Microseconds from the request to the primary's response, by HAProxy's clock.
    #[must_use]
    pub fn primary_us(&self) -> Option<u64> {
        let response = self.primary.as_ref()?;
        response.time_us.checked_sub(self.request.time_us)
    }
}

impl Pair {
    /// Cuts each of the four bodies to `limit` bytes, and marks those that were longer.
    pub fn limit_bodies(&mut self, limit: usize) {
        let rewritten = self.rewritten.as_mut().and_then(|it| it.body.as_mut());
        let primary = self.primary.as_mut().map(|it| &mut it.body);
        let shadow = self.shadow.as_mut().map(|it| &mut it.body);
        self.request.body.limit(limit);
        for body in [rewritten, primary, shadow].into_iter().flatten() {
            body.limit(limit);
        }
    }

    /// Masks the credentials in the header fields of both sides (law 5).
    pub fn mask(&mut self, credentials: &Credentials) {
        self.request.headers.mask(credentials);
        if let Some(rewritten) = &mut self.rewritten {
            rewritten.removed.mask(credentials);
            rewritten.added.mask(credentials);
        }
        for response in [&mut self.primary, &mut self.shadow].into_iter().flatten() {
            response.headers.mask(credentials);
        }
    }

    /// The request as it was sent, but for the header fields that the sender sets itself. `None` when its
    /// body is not whole here: then it cannot be sent again.
    #[must_use]
    pub fn as_sent(&self) -> Option<Request> {
        let mut request = self.request.clone();
        if let Some(rewritten) = &self.rewritten {
            rewritten.apply(&mut request);
        }
        request.body.is_whole().then_some(request)
    }
}

impl Rewritten {
    /// In what `sent` differs from `captured`. `None` when it does not. That fields only stand in another
    /// order is no difference.
    #[must_use]
    pub fn between(captured: &Request, sent: &Request) -> Option<Self> {
        let rewritten = Self {
            target: (captured.target != sent.target).then(|| sent.target.clone()),
            removed: without(&captured.headers, &sent.headers),
            added: without(&sent.headers, &captured.headers),
            body: (captured.body != sent.body).then(|| sent.body.clone()),
        };
        (rewritten != Self::default()).then_some(rewritten)
    }

    /// Makes of a captured request the one that was sent. Added fields come last.
    fn apply(&self, request: &mut Request) {
        if let Some(target) = &self.target {
            request.target = target.clone();
        }
        if let Some(body) = &self.body {
            request.body = body.clone();
        }
        request.headers = without(&request.headers, &self.removed);
        request.headers.0.extend(self.added.iter().cloned());
    }
}

/// The fields of `these` that are not among `those`, each of which takes away one equal field.
fn without(these: &Headers, those: &Headers) -> Headers {
    let mut those: Vec<&Header> = those.iter().collect();
    let mut left = Headers::default();
    for header in these {
        match those.iter().position(|other| *other == header) {
            Some(place) => {
                those.swap_remove(place);
            }
            None => left.0.push(header.clone()),
        }
    }
    left
}

impl Body {
    /// Cuts the body to `limit` bytes; what is cut off counts as missing.
    pub fn limit(&mut self, limit: usize) {
        let Some(off) = self.content.len().checked_sub(limit).filter(|off| *off > 0) else {
            return;
        };
        self.content.truncate(limit);
        let before = match self.extent {
            Extent::Whole => Some(0),
            incomplete => incomplete.missing(),
        };
        let missing = before.map(|before| before.saturating_add(off as u64));
        self.extent = match limit {
            0 => Extent::NotCaptured { missing },
            _ => Extent::Cut { missing },
        };
    }
}

impl Headers {
    /// Puts [`MASK`] in the place of every credential.
    pub fn mask(&mut self, credentials: &Credentials) {
        for header in &mut self.0 {
            if credentials.cover(&header.name) {
                header.value = Bytes::from_static(MASK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
        let header = |(name, value): &(&'static str, &'static str)| Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        };
        fields.iter().map(header).collect()
    }

    fn body(content: &'static str) -> Body {
        Body {
            content: Bytes::from_static(content.as_bytes()),
            extent: Extent::Whole,
        }
    }

    fn captured() -> Request {
        Request {
            target: Bytes::from_static(b"/i/_doc"),
            headers: headers(&[("host", "p"), ("via", "1"), ("via", "1"), ("if-match", "7")]),
            body: body("{}"),
            ..Request::default()
        }
    }

    #[test]
    fn what_was_rewritten_makes_the_sent_request_of_the_captured_one() {
        let sent = Request {
            target: Bytes::from_static(b"/i/_create/x"),
            headers: headers(&[("host", "p"), ("via", "1"), ("x-new", "1")]),
            body: body("{\"a\":1}"),
            ..captured()
        };
        let rewritten = Rewritten::between(&captured(), &sent).unwrap();
        assert_eq!(
            rewritten.removed,
            headers(&[("via", "1"), ("if-match", "7")])
        );
        assert_eq!(rewritten.added, headers(&[("x-new", "1")]));
        let pair = Pair {
            request: captured(),
            rewritten: Some(rewritten),
            ..Pair::default()
        };
        assert_eq!(pair.as_sent(), Some(sent));
    }

    #[test]
    fn a_request_that_was_sent_as_it_came_was_not_rewritten() {
        assert_eq!(Rewritten::between(&captured(), &captured()), None);
    }

    #[test]
    fn a_body_beyond_the_limit_is_cut_and_is_never_sent_again() {
        let mut pair = Pair {
            request: captured(),
            shadow: Some(Response {
                body: Body::observed(Bytes::from_static(b"abcdef"), false, Some(10)),
                ..Response::default()
            }),
            ..Pair::default()
        };
        pair.limit_bodies(2);
        assert!(pair.request.body.is_whole() && pair.as_sent().is_some());
        let shadow = &pair.shadow.as_ref().unwrap().body;
        assert_eq!(shadow.content, "ab");
        assert_eq!(shadow.extent, Extent::Cut { missing: Some(8) });
        pair.limit_bodies(0);
        assert_eq!(
            pair.request.body.extent,
            Extent::NotCaptured { missing: Some(2) }
        );
        assert_eq!(pair.as_sent(), None);
    }

    #[test]
    fn credentials_of_both_sides_are_masked() {
        let secrets = || headers(&[("Set-Cookie", "a=b"), ("content-type", "x")]);
        let response = || Response {
            headers: secrets(),
            ..Response::default()
        };
        let mut pair = Pair {
            request: Request {
                headers: headers(&[("authorization", "Basic Zm9v")]),
                ..Request::default()
            },
            rewritten: Some(Rewritten {
                added: headers(&[("x-api-key", "k")]),
                removed: secrets(),
                ..Rewritten::default()
            }),
            primary: Some(response()),
            shadow: Some(response()),
            ..Pair::default()
        };
        pair.mask(&Credentials::default());
        let masked = headers(&[("Set-Cookie", "***"), ("content-type", "x")]);
        assert_eq!(pair.request.headers, headers(&[("authorization", "***")]));
        let rewritten = pair.rewritten.unwrap();
        assert_eq!(rewritten.added, headers(&[("x-api-key", "***")]));
        assert_eq!(rewritten.removed, masked);
        assert_eq!(pair.primary.unwrap().headers, masked);
        assert_eq!(pair.shadow.unwrap().headers, masked);
    }

    #[test]
    fn slip_is_told_only_where_there_is_a_pace_and_is_never_negative() {
        let sending = |due_us| Sending {
            due_us,
            began_us: 100,
            ..Sending::default()
        };
        assert_eq!(sending(None).slip_us(), None);
        assert_eq!(sending(Some(40)).slip_us(), Some(60));
        assert_eq!(sending(Some(400)).slip_us(), Some(0));
    }
}
