//! The line of the pair log, and that of the dead-letter file, which is a pair with a number.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    BodyAsWritten, Event, JsonError, Object, Options, RequestAsWritten, ResponseAsWritten, headers,
    text_or_base64, time, timestamp, write_body, write_headers, write_request, write_response,
};
use crate::{Dropped, Pair, Rewritten, Sending, Word};

/// What the line of a pair says besides the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairName {
    /// Where the record of the pair stands in the journal: a line of the pair log.
    Position(u64),
    /// The number of a dead letter, and the Unix time in microseconds at which it was written.
    Letter {
        /// Counted from 1, unique in its file.
        number: u64,
        /// When it was written.
        time_us: u64,
    },
}

/// Appends the pair as one line, newline included.
pub fn write_pair(pair: &Pair, name: PairName, options: Options, out: &mut Vec<u8>) {
    let mut line = Object::begin(out);
    let time_us = match name {
        PairName::Position(_) => pair.sending.ended_us,
        PairName::Letter { time_us, .. } => time_us,
    };
    line.raw("@timestamp", |out| timestamp(time_us, out));
    line.object("event", |event| write_event(pair, name, event));
    write_request(&pair.request, options, &mut line);
    if let Some(rewritten) = &pair.rewritten {
        write_rewritten(rewritten, options, &mut line);
    }
    line.object("sending", |it| write_sending(pair, it));
    if let Some(primary) = &pair.primary {
        write_response("primary", primary, options, &mut line);
    }
    if let Some(shadow) = &pair.shadow {
        write_response("shadow", shadow, options, &mut line);
    }
    line.end();
    out.push(b'\n');
}

/// Reads a line that [`write_pair`] wrote with bodies. `Ok(None)` for a line about something else.
///
/// A line without bodies reads as a pair whose bodies were not captured.
///
/// # Errors
/// When the line is not JSON of this shape.
pub fn read_pair(line: &[u8]) -> Result<Option<(PairName, Pair)>, JsonError> {
    let Kind { event } = serde_json::from_slice(line)?;
    if !matches!(event.kind, "pair" | "dead_letter") {
        return Ok(None);
    }
    let line: Line<'_> = serde_json::from_slice(line)?;
    let name = match line.event.number {
        Some(number) => PairName::Letter {
            number,
            time_us: time("@timestamp", &line.timestamp)?,
        },
        None => PairName::Position(line.event.position.unwrap_or_default()),
    };
    Ok(Some((name, line.meant()?)))
}

fn write_event(pair: &Pair, name: PairName, event: &mut Object<'_>) {
    match name {
        PairName::Position(_) => event.text("kind", "pair"),
        PairName::Letter { .. } => event.text("kind", "dead_letter"),
    }
    event.bytes("id", pair.id());
    match name {
        PairName::Position(position) => event.number("position", position),
        PairName::Letter { number, .. } => event.number("number", number),
    }
    event.number("exchange", pair.position);
    event.text("outcome", pair.outcome());
    if let Some(dropped) = &pair.dropped {
        event.text("reason", &dropped.reason);
        event.text("cause", &dropped.cause);
    }
    event.text("api", &pair.api);
    if let Some(duration) = pair.primary_us() {
        event.number("duration_us", duration);
    }
    if pair.more {
        event.raw("more", |out| out.extend_from_slice(b"true"));
    }
}

fn write_rewritten(rewritten: &Rewritten, options: Options, line: &mut Object<'_>) {
    line.object("rewritten", |it| {
        if let Some(target) = &rewritten.target {
            it.bytes("target", target);
        }
        write_headers("headers_removed", &rewritten.removed, it);
        write_headers("headers_added", &rewritten.added, it);
        if let Some(body) = &rewritten.body {
            write_body(body, options, it);
        }
    });
}

fn write_sending(pair: &Pair, it: &mut Object<'_>) {
    let sending = &pair.sending;
    it.text("target", &pair.target);
    it.number("attempts", sending.attempts.into());
    if let Some(due) = sending.due_us {
        it.raw("due", |out| timestamp(due, out));
    }
    if let Some(slip) = sending.slip_us() {
        it.number("slip_us", slip);
    }
    it.raw("began", |out| timestamp(sending.began_us, out));
    it.raw("ended", |out| timestamp(sending.ended_us, out));
    it.number("connect_us", sending.connect_us);
    if let Some(first_byte) = sending.first_byte_us {
        it.number("first_byte_us", first_byte);
    }
    it.number("end_us", sending.end_us);
    it.list("changes", &pair.changes, |change, out| {
        super::string(change, out);
    });
    it.list("items", &pair.items, |items, out| {
        out.extend_from_slice(format!("[{},{}]", items.start, items.end).as_bytes());
    });
}

/// What tells the lines of one file from each other.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    event: KindOfEvent<'a>,
}

#[derive(Deserialize)]
struct KindOfEvent<'a> {
    kind: &'a str,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    #[serde(borrow)]
    event: EventAsWritten<'a>,
    #[serde(borrow)]
    request: RequestAsWritten<'a>,
    #[serde(borrow)]
    rewritten: Option<RewrittenAsWritten<'a>>,
    sending: SendingAsWritten,
    #[serde(borrow)]
    primary: Option<ResponseAsWritten<'a>>,
    #[serde(borrow)]
    shadow: Option<ResponseAsWritten<'a>>,
}

#[derive(Deserialize)]
struct EventAsWritten<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    position: Option<u64>,
    number: Option<u64>,
    exchange: u64,
    reason: Option<String>,
    #[serde(default)]
    cause: String,
    api: String,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct RewrittenAsWritten<'a> {
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    #[serde(borrow)]
    headers_removed: Vec<(&'a RawValue, &'a RawValue)>,
    #[serde(borrow)]
    headers_added: Vec<(&'a RawValue, &'a RawValue)>,
    #[serde(borrow)]
    body: Option<BodyAsWritten<'a>>,
}

#[derive(Deserialize)]
struct SendingAsWritten {
    target: String,
    attempts: u32,
    due: Option<String>,
    began: String,
    ended: String,
    connect_us: u64,
    first_byte_us: Option<u64>,
    end_us: u64,
    changes: Vec<String>,
    items: Vec<(u32, u32)>,
}

impl Line<'_> {
    fn meant(self) -> Result<Pair, JsonError> {
        let event = Event::named(self.event.id);
        let sending = &self.sending;
        let due = sending.due.as_deref().map(|due| time("sending.due", due));
        let times = Sending {
            attempts: sending.attempts,
            due_us: due.transpose()?,
            began_us: time("sending.began", &sending.began)?,
            ended_us: time("sending.ended", &sending.ended)?,
            connect_us: sending.connect_us,
            first_byte_us: sending.first_byte_us,
            end_us: sending.end_us,
        };
        let words = |words: Vec<String>| words.into_iter().map(Word::Owned).collect();
        let ranges = |items: Vec<(u32, u32)>| -> Vec<Range<u32>> {
            items.into_iter().map(|(first, end)| first..end).collect()
        };
        Ok(Pair {
            position: self.event.exchange,
            target: Word::Owned(self.sending.target),
            api: Word::Owned(self.event.api),
            dropped: self.event.reason.map(|reason| Dropped {
                reason: Word::Owned(reason),
                cause: Word::Owned(self.event.cause),
            }),
            request: self.request.meant(&event)?,
            changes: words(self.sending.changes),
            rewritten: self.rewritten.map(RewrittenAsWritten::meant).transpose()?,
            items: ranges(self.sending.items),
            more: self.event.more,
            primary: self.primary.map(|it| it.meant(&event)).transpose()?,
            shadow: self.shadow.map(|it| it.meant(&event)).transpose()?,
            sending: times,
        })
    }
}

impl RewrittenAsWritten<'_> {
    fn meant(self) -> Result<Rewritten, JsonError> {
        Ok(Rewritten {
            target: self.target.map(text_or_base64).transpose()?,
            removed: headers(self.headers_removed)?,
            added: headers(self.headers_added)?,
            body: self.body.map(BodyAsWritten::meant).transpose()?,
        })
    }
}
