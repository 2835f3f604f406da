//! What is known of a dispatched exchange, as a [`Pair`].

use std::ops::Range;

use exchange::{
    Body, Exchange, Extent, Header, Headers, Pair, Request, Response, Rewritten, Sending, Timers,
    Word,
};

use crate::{Answer, Change, Dropped, Target, Timing};

/// A dispatched exchange, when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct Dispatched<'a> {
    /// As it was captured.
    pub exchange: &'a Exchange,
    /// Which API it calls.
    pub api: &'static str,
    /// The request that was sent, or would have been.
    pub sent: &'a Request,
    /// In what it differs.
    pub changes: &'a [Change],
    /// Which items of the captured request it has, in its order. Empty: all.
    pub items: &'a [Range<u32>],
    /// Other items of the same exchange end later.
    pub more: bool,
    /// Where it was sent.
    pub target: &'a Target,
    /// The target's name in the configuration.
    pub target_name: &'a str,
    /// When and how it was sent.
    pub when: When,
    /// The last answer that came, if one did.
    pub answer: Option<&'a Answer>,
    /// Why it was given up. `None`: it was delivered.
    pub dropped: Option<&'a Dropped>,
}

/// When and how a request was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct When {
    /// How many times it was begun on a connection.
    pub attempts: u32,
    /// Unix time in microseconds at which it was to be sent, when there is a pace to keep.
    pub due_us: Option<u64>,
    /// Unix time in microseconds at which the first attempt began.
    pub began_us: u64,
    /// Unix time in microseconds at which the last one ended.
    pub ended_us: u64,
    /// Of the last attempt.
    pub timing: Timing,
}

impl Dispatched<'_> {
    /// The pair. `None` without a captured request: there was nothing to dispatch.
    ///
    /// Bodies are as long as they were captured, and credentials as the journal has them:
    /// [`Pair::limit_bodies`] and [`Pair::mask`] are for who keeps it.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        let request = self.exchange.request.clone()?;
        let answer = self.answer;
        Some(Pair {
            position: self.exchange.position,
            target: Word::Owned(self.target_name.to_owned()),
            api: Word::Borrowed(self.api),
            dropped: self.dropped.map(dropped),
            rewritten: Rewritten::between(&request, self.sent),
            changes: words(self.changes),
            items: self.items.to_vec(),
            more: self.more,
            primary: self.exchange.response.clone(),
            shadow: answer.map(|answer| self.response(&request, answer)),
            sending: self.when.sending(),
            request,
        })
    }

    fn response(&self, request: &Request, answer: &Answer) -> Response {
        let timing = self.when.timing;
        let head = timing
            .first_byte
            .map(|first_byte| first_byte.saturating_sub(timing.connect));
        Response {
            id: request.id.clone(),
            time_us: self.when.ended_us,
            request_time_us: Some(self.when.ended_us.saturating_sub(micros(timing.end))),
            server: self.target.authority().into(),
            status: answer.status,
            version: version(&answer.head),
            headers: owned(&answer.headers()),
            body: body(answer),
            timers: Timers {
                queue_ms: None,
                connect_ms: Some(millis(timing.connect)),
                response_ms: head.map(millis),
            },
            ..Response::default()
        }
    }
}

impl When {
    fn sending(&self) -> Sending {
        Sending {
            attempts: self.attempts,
            due_us: self.due_us,
            began_us: self.began_us,
            ended_us: self.ended_us,
            connect_us: micros(self.timing.connect),
            first_byte_us: self.timing.first_byte.map(micros),
            end_us: micros(self.timing.end),
        }
    }
}

fn dropped(dropped: &Dropped) -> exchange::Dropped {
    let cause = match dropped {
        Dropped::Poison { cause, .. } => Word::Borrowed(*cause),
        Dropped::Unsendable(unsendable) => Word::Owned(unsendable.to_string()),
        Dropped::Unmappable(unmappable) => Word::Owned(unmappable.to_string()),
        _ => Word::default(),
    };
    exchange::Dropped {
        reason: Word::Borrowed(dropped.as_str()),
        cause,
    }
}

/// Each kind once.
fn words(changes: &[Change]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for change in changes {
        let word = Word::Borrowed(change.as_str());
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// The answer's head is a slice of the connection's buffer; a pair may wait, and must not keep that alive.
fn owned(headers: &Headers) -> Headers {
    let copy = |bytes: &bytes::Bytes| bytes::Bytes::copy_from_slice(bytes);
    let header = |header: &Header| Header {
        name: copy(&header.name),
        value: copy(&header.value),
    };
    headers.iter().map(header).collect()
}

/// What was read beyond the limit, or did not come, is missing.
fn body(answer: &Answer) -> Body {
    let off = answer.body_length.saturating_sub(answer.body.len() as u64);
    let missing = answer.whole.then_some(off);
    let extent = match (missing, answer.body.is_empty()) {
        (Some(0), _) => Extent::Whole,
        (_, true) => Extent::NotCaptured { missing },
        (_, false) => Extent::Cut { missing },
    };
    Body {
        content: answer.body.clone(),
        extent,
    }
}

/// `1.1` of `HTTP/1.1 200 OK`.
fn version(head: &[u8]) -> bytes::Bytes {
    let word = head.split(|byte| *byte == b' ').next().unwrap_or_default();
    let version = word.strip_prefix(b"HTTP/").unwrap_or_default();
    bytes::Bytes::copy_from_slice(version)
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn captured() -> Exchange {
        Exchange {
            position: 7,
            request: Some(Request {
                id: Bytes::from_static(b"a"),
                target: Bytes::from_static(b"/i/_doc"),
                ..Request::default()
            }),
            response: Some(Response {
                status: 201,
                ..Response::default()
            }),
        }
    }

    fn answer(body: &'static [u8], body_length: u64, whole: bool) -> Answer {
        Answer {
            status: 409,
            head: Bytes::from_static(b"HTTP/1.1 409 Conflict\r\nSet-Cookie: a=b\r\n\r\n"),
            body: Bytes::from_static(body),
            body_length,
            whole,
            reusable: true,
        }
    }

    fn pair_of(sent: &Request, answer: Option<&Answer>, dropped: Option<&Dropped>) -> Pair {
        let exchange = captured();
        Dispatched {
            exchange: &exchange,
            api: "index",
            sent,
            changes: &[Change::IdPinned, Change::IdPinned],
            items: &[],
            more: false,
            target: &Target::parse("http://shadow:9200").unwrap(),
            target_name: "shadow",
            when: When {
                attempts: 2,
                due_us: Some(90),
                began_us: 100,
                ended_us: 50_000,
                timing: Timing {
                    connect: Duration::from_millis(3),
                    first_byte: Some(Duration::from_millis(8)),
                    end: Duration::from_millis(9),
                },
            },
            answer,
            dropped,
        }
        .pair()
        .unwrap()
    }

    #[test]
    fn a_pair_has_both_answers_and_what_was_sent_in_place_of_the_captured_request() {
        let captured = captured();
        let sent = Request {
            target: Bytes::from_static(b"/i/_create/x"),
            ..captured.request.clone().unwrap()
        };
        let pair = pair_of(&sent, Some(&answer(b"{}", 2, true)), None);
        assert_eq!(Some(&pair.request), captured.request.as_ref());
        assert_eq!(pair.as_sent(), Some(sent));
        assert_eq!(pair.changes, ["id pinned"]);
        assert_eq!(pair.primary, captured.response);
        assert_eq!(pair.sending.slip_us(), Some(10));
        assert_eq!(pair.sending.first_byte_us, Some(8000));
        let shadow = pair.shadow.unwrap();
        assert_eq!((shadow.id, shadow.status), (Bytes::from_static(b"a"), 409));
        assert_eq!(
            (&shadow.version[..], &shadow.server[..]),
            (&b"1.1"[..], &b"shadow:9200"[..])
        );
        assert_eq!(shadow.headers.get("set-cookie"), Some(&b"a=b"[..]));
        assert_eq!(shadow.request_time_us, Some(41_000));
        assert_eq!(
            (shadow.timers.connect_ms, shadow.timers.response_ms),
            (Some(3), Some(5))
        );
        assert!(shadow.body.is_whole());
    }

    #[test]
    fn an_answer_that_was_kept_in_part_is_never_whole() {
        let sent = captured().request.unwrap();
        let extent = |answer: Answer| {
            pair_of(&sent, Some(&answer), None)
                .shadow
                .unwrap()
                .body
                .extent
        };
        let cut = |missing| Extent::Cut { missing };
        assert_eq!(extent(answer(b"ab", 10, true)), cut(Some(8)));
        assert_eq!(extent(answer(b"ab", 10, false)), cut(None));
        assert_eq!(extent(answer(b"ab", 2, false)), cut(None));
        assert_eq!(extent(answer(b"", 0, true)), Extent::Whole);
        let none = Extent::NotCaptured { missing: Some(10) };
        assert_eq!(extent(answer(b"", 10, true)), none);
    }

    #[test]
    fn what_was_given_up_says_why() {
        let sent = captured().request.unwrap();
        let poison = Dropped::Poison {
            attempts: 2,
            cause: "closed",
        };
        let pair = pair_of(&sent, None, Some(&poison));
        let dropped = pair.dropped.unwrap();
        assert_eq!((&*dropped.reason, &*dropped.cause), ("poison", "closed"));
        assert_eq!((pair.shadow, pair.rewritten), (None, None));
    }
}
