//! `now` in a captured request, as it was when the request was captured: [`apply`].
//!
//! A replay that comes days later asks for other documents when a query says `now-15m`, and writes to
//! another index when a path says `<logs-{now/d}>`. Both are rewritten, and nothing else:
//!
//! * In the bodies of requests that hold queries, a string that is a date math expression on `now` becomes
//!   one on the capture's time: `now-15m/m` becomes `2026-11-21T03:45:00.123Z||-15m/m` (date math of the
//!   Elasticsearch reference, "Common options"). Only where the query language takes dates: bounds of `range`
//!   queries, of the ranges of `date_range`, of histograms, and origins of distances and decays. The word
//!   `now` in a `term` or a `match` stays. Where a `format` stands beside the bound, the anchor is written
//!   in it if it is a count of milliseconds or seconds or an ISO 8601 format; otherwise `now` stays.
//! * In index names, date math is worked out: `<logs-{now/d}>` becomes `logs-2026.11.21`. An anchored
//!   expression would be read in the name's own date format, which is often too coarse to hold the time, and
//!   arithmetic on what is left of it would end elsewhere. Names whose format or time zone is not known
//!   here are left as they are.
//!
//! What is only text to this module stays as it is: the query language of `q=` and of `query_string`,
//! scripts, and the parameters of search templates.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use exchange::Request;
use exchange::operation::content;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, ToSpan as _, Unit};
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::Change;

/// Queries nested deeper than this are left as they are: each level reads what is below it again. Elasticsearch
/// itself takes 30 levels of `bool` (`indices.query.bool.max_nested_depth`), two or three of JSON each.
const DEPTH: usize = 128;

/// Rewrites `now` to the time of the capture, in Unix microseconds. Pushes [`Change::DateAnchored`] when
/// something was rewritten, and [`Change::Decoded`] when the body was compressed and is not any more.
///
/// A body that is not whole, not JSON or not readable is left as it is.
pub fn apply(request: &mut Request, capture_us: u64, changes: &mut Vec<Change>) {
    let Some(anchor) = Anchor::at(capture_us) else {
        return;
    };
    let mut changed = false;
    if let Some(target) = anchored_target(&request.target, anchor) {
        request.target = Bytes::from(target);
        changed = true;
    }
    if let Some(shape) = Shape::of(&request.target)
        && let Some(body) = anchored_body(request, shape, anchor)
    {
        let coded = request.headers.get("content-encoding").is_some();
        request.body.content = Bytes::from(body);
        if coded {
            let is_coding = |name: &[u8]| name.eq_ignore_ascii_case(b"content-encoding");
            request.headers.0.retain(|header| !is_coding(&header.name));
            changes.push(Change::Decoded);
        }
        changed = true;
    }
    if changed {
        changes.push(Change::DateAnchored);
    }
}

/// The time that `now` stands for, to the millisecond: as exact as the cluster's own.
#[derive(Clone, Copy)]
struct Anchor(Timestamp);

impl Anchor {
    fn at(capture_us: u64) -> Option<Self> {
        let millis = i64::try_from(capture_us / 1000).ok()?;
        Timestamp::from_millisecond(millis).ok().map(Self)
    }

    /// As a date of this format, if it is one that is known here.
    fn written(self, format: Option<&str>) -> Option<String> {
        let Some(format) = format else {
            return Some(self.iso());
        };
        // The first that fits is taken: alternatives are tried in order.
        format.split("||").find_map(|one| match one.trim() {
            "epoch_millis" => Some(self.0.as_millisecond().to_string()),
            "epoch_second" => Some(self.0.as_second().to_string()),
            "iso8601"
            | "date_optional_time"
            | "strict_date_optional_time"
            | "dateOptionalTime"
            | "strictDateOptionalTime"
            | "strict_date_optional_time_nanos"
            | "date_time"
            | "strict_date_time"
            | "dateTime"
            | "strictDateTime" => Some(self.iso()),
            _ => None,
        })
    }

    fn iso(self) -> String {
        format!("{:.3}", self.0)
    }
}

/// How a body holds queries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One JSON value.
    Json,
    /// A line with indices, and one with a query, in turn.
    Lines,
}

impl Shape {
    /// By the API's name in the path.
    fn of(target: &[u8]) -> Option<Self> {
        let path = target.split(|byte| *byte == b'?').next()?;
        let names = path.split(|byte| *byte == b'/');
        names.rev().find_map(|name| match name {
            b"_msearch" => Some(Self::Lines),
            b"_search"
            | b"_count"
            | b"_async_search"
            | b"_asynchronous_search"
            | b"_explain"
            | b"_validate"
            | b"_field_caps"
            | b"_terms_enum"
            | b"_rollup_search"
            | b"_delete_by_query"
            | b"_update_by_query"
            | b"_reindex" => Some(Self::Json),
            _ => None,
        })
    }
}

fn anchored_body(request: &Request, shape: Shape, anchor: Anchor) -> Option<Vec<u8>> {
    let body = content::decoded(&request.headers, &request.body).ok()?;
    if !contains(&body, b"now") {
        return None;
    }
    let mut edits = Vec::new();
    match shape {
        Shape::Json => look_into(&body, 0, false, anchor, &mut edits),
        Shape::Lines => {
            let mut at = 0;
            let mut is_header = true;
            for line in body.split(|byte| *byte == b'\n') {
                if !line.trim_ascii().is_empty() {
                    look_into(line, at, is_header, anchor, &mut edits);
                    is_header = !is_header;
                }
                at += line.len() + 1;
            }
        }
    }
    (!edits.is_empty()).then(|| edited(&body, edits))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// New bytes for a range of old ones.
struct Edit {
    range: Range<usize>,
    text: String,
}

fn edited(old: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.range.start);
    let mut new = Vec::with_capacity(old.len() + edits.len() * 32);
    let mut done = 0;
    for edit in edits {
        new.extend_from_slice(old.get(done..edit.range.start).unwrap_or_default());
        new.extend_from_slice(edit.text.as_bytes());
        done = edit.range.end;
    }
    new.extend_from_slice(old.get(done..).unwrap_or_default());
    new
}

/// Finds what is to be rewritten in a JSON value that stands at `base` in the body. What is no JSON holds
/// nothing.
fn look_into(json: &[u8], base: usize, is_header: bool, anchor: Anchor, edits: &mut Vec<Edit>) {
    let Ok(text) = std::str::from_utf8(json) else {
        return;
    };
    // Checks all of it before anything is looked at.
    let Ok(value) = serde_json::from_str::<&RawValue>(text) else {
        return;
    };
    let mut found = Vec::new();
    let walk = &mut Walk {
        whole: text,
        anchor,
        edits: &mut found,
    };
    if is_header {
        walk.header(value.get());
    } else {
        walk.value(value.get(), Place::Elsewhere, None, DEPTH);
    }
    edits.extend(found.into_iter().map(|edit| Edit {
        range: edit.range.start + base..edit.range.end + base,
        text: edit.text,
    }));
}

/// Where in a query a value stands, as far as dates may stand below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    /// The value of `range`: fields to bounds.
    Fields,
    /// Bounds of a field: `gte` and the like.
    Bounds,
    /// The value of `date_range`.
    DateRange,
    /// Its `ranges`.
    Ranges,
    /// The value of `date_histogram` or `histogram`.
    Histogram,
    /// Its `extended_bounds` or `hard_bounds`.
    MinMax,
    /// The value of a decay function: fields to origins.
    Decay,
    /// What has an `origin`.
    Origin,
    /// A date.
    Date,
}

impl Place {
    /// The place of what stands under `key` in an object at this place.
    fn under(self, key: &str) -> Self {
        match (self, key) {
            (Self::Fields, _) => Self::Bounds,
            (Self::Decay, _) => Self::Origin,
            (Self::Bounds, "gt" | "gte" | "lt" | "lte" | "from" | "to")
            | (Self::Ranges, "from" | "to")
            | (Self::MinMax, "min" | "max")
            | (Self::Origin, "origin") => Self::Date,
            (Self::DateRange, "ranges") => Self::Ranges,
            (Self::Histogram, "extended_bounds" | "hard_bounds") => Self::MinMax,
            (_, "range") => Self::Fields,
            (_, "date_range") => Self::DateRange,
            (_, "date_histogram") => Self::Histogram,
            (_, "gauss" | "exp" | "linear") => Self::Decay,
            (_, "distance_feature") => Self::Origin,
            _ => Self::Elsewhere,
        }
    }

    /// Whether a `format` in an object at this place is that of the dates below it.
    const fn has_format(self) -> bool {
        matches!(self, Self::Bounds | Self::DateRange | Self::Histogram)
    }
}

struct Walk<'a> {
    whole: &'a str,
    anchor: Anchor,
    edits: &'a mut Vec<Edit>,
}

impl Walk<'_> {
    fn value(&mut self, json: &str, place: Place, format: Option<&str>, depth: usize) {
        // Most of a body has nothing to do with dates.
        let (Some(depth), true) = (depth.checked_sub(1), json.contains("now")) else {
            return;
        };
        match json.as_bytes().first() {
            Some(b'{') => self.object(json, place, format, depth),
            Some(b'[') => {
                for item in items(json) {
                    self.value(item.get(), place, format, depth);
                }
            }
            Some(b'"') if place == Place::Date => self.date(json, format),
            _ => {}
        }
    }

    fn object(&mut self, json: &str, place: Place, format: Option<&str>, depth: usize) {
        let members = members(json);
        let own = members
            .iter()
            .find(|(key, _)| place.has_format() && key == "format")
            .and_then(|(_, value)| serde_json::from_str::<String>(value.get()).ok());
        let format = own.as_deref().or(format);
        for (key, value) in &members {
            self.value(value.get(), place.under(key), format, depth);
        }
    }

    fn date(&mut self, json: &str, format: Option<&str>) {
        let inner = json.trim_matches('"');
        let Some(math) = inner.strip_prefix("now").filter(|math| is_math(math)) else {
            return;
        };
        let Some(anchor) = self.anchor.written(format) else {
            return;
        };
        // Also without arithmetic: a bound that is a mere date may be rounded up, `now` never is.
        self.replace(json, format!("\"{anchor}||{math}\""));
    }

    /// The line of a `_msearch` that says which indices the next one searches.
    fn header(&mut self, json: &str) {
        if !json.starts_with('{') {
            return;
        }
        for (key, value) in members(json) {
            if !matches!(key.as_ref(), "index" | "indices") {
                continue;
            }
            let names = match value.get().starts_with('[') {
                true => items(value.get()),
                false => vec![value],
            };
            for name in names {
                self.index(name.get());
            }
        }
    }

    fn index(&mut self, json: &str) {
        let Ok(names) = serde_json::from_str::<Cow<'_, str>>(json) else {
            return;
        };
        let mut changed = false;
        let named = names
            .split(',')
            .map(|name| match worked_out(name, self.anchor) {
                Some(new) => {
                    changed = true;
                    Cow::Owned(new)
                }
                None => Cow::Borrowed(name),
            });
        let named = named.collect::<Vec<_>>().join(",");
        if changed && let Ok(text) = serde_json::to_string(&named) {
            self.replace(json, text);
        }
    }

    /// `json` is a part of the whole.
    fn replace(&mut self, json: &str, text: String) {
        let start = json
            .as_ptr()
            .addr()
            .wrapping_sub(self.whole.as_ptr().addr());
        if self.whole.get(start..start.saturating_add(json.len())) == Some(json) {
            let range = start..start + json.len();
            self.edits.push(Edit { range, text });
        }
    }
}

/// What follows `now` in an expression: `-15m/m`. Numbers may be left out.
fn is_math(text: &str) -> bool {
    steps(text).is_some()
}

/// A step of date math.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Add(i64, char),
    Round(char),
}

fn steps(mut text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while let Some(sign) = text.chars().next() {
        let rest = text.get(1..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at_checked(digits)?;
        let unit = rest
            .chars()
            .next()
            .filter(|unit| "yMwdhHms".contains(*unit))?;
        let number = if number.is_empty() {
            1
        } else {
            number.parse().ok()?
        };
        steps.push(match sign {
            '+' => Step::Add(number, unit),
            '-' => Step::Add(-number, unit),
            '/' if digits == 0 => Step::Round(unit),
            _ => return None,
        });
        text = rest.get(1..)?;
    }
    Some(steps)
}

/// The members of an object, in their order. Keys may repeat.
fn members(json: &str) -> Vec<(Cow<'_, str>, &RawValue)> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                members.push((key.0, value));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(json)
        .deserialize_map(Members)
        .unwrap_or_default()
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The items of an array.
fn items(json: &str) -> Vec<&RawValue> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }
    serde_json::Deserializer::from_str(json)
        .deserialize_seq(Items)
        .unwrap_or_default()
}

/// The target with the date math of its index names worked out. `None` when there is none.
fn anchored_target(target: &[u8], anchor: Anchor) -> Option<Vec<u8>> {
    if !contains(target, b"now") {
        return None;
    }
    let end = target.iter().position(|byte| *byte == b'?');
    let (path, query) = target.split_at_checked(end.unwrap_or(target.len()))?;
    let mut changed = false;
    let mut new = Vec::with_capacity(target.len());
    for (number, segment) in path.split(|byte| *byte == b'/').enumerate() {
        if number > 0 {
            new.push(b'/');
        }
        match anchored_segment(segment, anchor) {
            Some(segment) => {
                new.extend_from_slice(&segment);
                changed = true;
            }
            None => new.extend_from_slice(segment),
        }
    }
    new.extend_from_slice(query);
    changed.then_some(new)
}

/// Names between commas, each of which may be percent-encoded, the commas too.
fn anchored_segment(segment: &[u8], anchor: Anchor) -> Option<Vec<u8>> {
    let decoded = decoded(segment);
    let mut new = Vec::new();
    let mut changed = false;
    let mut at = 0;
    for name in decoded.split(|(byte, _)| *byte == b',') {
        let text: Vec<u8> = name.iter().map(|(byte, _)| *byte).collect();
        let start = name.first().map_or(at, |(_, range)| range.start);
        let end = name.last().map_or(at, |(_, range)| range.end);
        // The comma before it, as it was written.
        new.extend_from_slice(segment.get(at..start).unwrap_or_default());
        let worked_out = std::str::from_utf8(&text)
            .ok()
            .and_then(|name| worked_out(name, anchor));
        match worked_out {
            Some(name) => {
                encode(&name, &mut new);
                changed = true;
            }
            None => new.extend_from_slice(segment.get(start..end).unwrap_or_default()),
        }
        at = end;
    }
    new.extend_from_slice(segment.get(at..).unwrap_or_default());
    changed.then_some(new)
}

/// Each byte with where it stands in the encoded text (RFC 3986, 2.1).
fn decoded(segment: &[u8]) -> Vec<(u8, Range<usize>)> {
    let hex = |at: usize| {
        let byte = segment.get(at).copied()?;
        u8::try_from(char::from(byte).to_digit(16)?).ok()
    };
    let mut decoded = Vec::with_capacity(segment.len());
    let mut at = 0;
    while let Some(byte) = segment.get(at).copied() {
        let pair = (byte == b'%').then(|| Some(hex(at + 1)? << 4 | hex(at + 2)?));
        let (byte, length) = pair.flatten().map_or((byte, 1), |byte| (byte, 3));
        decoded.push((byte, at..at + length));
        at += length;
    }
    decoded
}

fn encode(name: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' => {
                out.push(byte);
            }
            _ => out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}

/// `<logs-{now/d}>`, or with a `-` before it that excludes the index, as the name that it is at the time of
/// the anchor. `None` when it is no date math, or one that is not known here.
fn worked_out(name: &str, anchor: Anchor) -> Option<String> {
    let (sign, rest) = name
        .strip_prefix('-')
        .map_or(("", name), |rest| ("-", rest));
    let mut rest = rest.strip_prefix('<')?.strip_suffix('>')?;
    // A backslash keeps braces from being read as date math.
    if rest.contains('\\') || !rest.contains("{now") {
        return None;
    }
    let mut new = sign.to_owned();
    while let Some((fixed, expression)) = rest.split_once('{') {
        new.push_str(fixed);
        let end = closing(expression)?;
        new.push_str(&date(expression.get(..end)?, anchor)?);
        rest = expression.get(end + 1..)?;
    }
    new.push_str(rest);
    Some(new)
}

/// Where the brace that was open before this text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.char_indices().find_map(|(at, char)| {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    })
}

/// `now/d{yyyy.MM|+12:00}` at the time of the anchor.
fn date(expression: &str, anchor: Anchor) -> Option<String> {
    let (math, format) = match expression.split_once('{') {
        Some((math, format)) => (math, format.strip_suffix('}')?),
        None => (expression, "uuuu.MM.dd"),
    };
    let (format, zone) = match format.split_once('|') {
        Some((format, zone)) => (format, time_zone(zone)?),
        None => (format, TimeZone::UTC),
    };
    let mut time = zone.to_datetime(anchor.0);
    for step in steps(math.strip_prefix("now")?)? {
        time = match step {
            Step::Add(number, unit) => time.checked_add(span(number, unit)?).ok()?,
            Step::Round(unit) => rounded(time, unit)?,
        };
    }
    formatted(time, format)
}

/// An offset such as `+12:00`, or UTC. Names of zones need a database of the cluster's version.
fn time_zone(text: &str) -> Option<TimeZone> {
    if matches!(text, "UTC" | "Z" | "GMT") {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let offset = Offset::from_seconds(sign * (hours.checked_mul(3600)? + minutes.checked_mul(60)?));
    offset.ok().map(TimeZone::fixed)
}

fn span(number: i64, unit: char) -> Option<Span> {
    let span = Span::new();
    match unit {
        'y' => span.try_years(number),
        'M' => span.try_months(number),
        'w' => span.try_weeks(number),
        'd' => span.try_days(number),
        'h' | 'H' => span.try_hours(number),
        'm' => span.try_minutes(number),
        _ => span.try_seconds(number),
    }
    .ok()
}

/// The beginning of the unit; a week begins on Monday.
fn rounded(time: DateTime, unit: char) -> Option<DateTime> {
    let date = time.date();
    Some(match unit {
        'y' => date.first_of_year().into(),
        'M' => date.first_of_month().into(),
        'w' => {
            let days = date.weekday().to_monday_zero_offset();
            date.checked_sub(i64::from(days).days()).ok()?.into()
        }
        'd' => date.into(),
        'h' | 'H' => cut(time, Unit::Hour)?,
        'm' => cut(time, Unit::Minute)?,
        _ => cut(time, Unit::Second)?,
    })
}

fn cut(time: DateTime, unit: Unit) -> Option<DateTime> {
    let down = jiff::civil::DateTimeRound::new()
        .smallest(unit)
        .mode(jiff::RoundMode::Trunc);
    time.round(down).ok()
}

/// Numbers of a date, and what stands between them. Other letters are not known here.
fn formatted(time: DateTime, format: &str) -> Option<String> {
    let mut new = String::new();
    let mut rest = format;
    while let Some(letter) = rest.chars().next() {
        let length = rest.chars().take_while(|char| *char == letter).count();
        match (letter, length) {
            ('u' | 'y', 4) => new.push_str(&format!("{:04}", time.year())),
            // The year of the week: another one than the date's, for a few days.
            ('Y', 4) if time.date().iso_week_date().year() == time.year() => {
                new.push_str(&format!("{:04}", time.year()));
            }
            ('u' | 'y', 2) => new.push_str(&format!("{:02}", time.year() % 100)),
            ('M', 2) => new.push_str(&format!("{:02}", time.month())),
            ('d', 2) => new.push_str(&format!("{:02}", time.day())),
            ('H', 2) => new.push_str(&format!("{:02}", time.hour())),
            ('m', 2) => new.push_str(&format!("{:02}", time.minute())),
            ('s', 2) => new.push_str(&format!("{:02}", time.second())),
            (letter, _) if letter.is_ascii_alphabetic() || letter == '\'' => return None,
            (_, length) => new.extend(rest.chars().take(length)),
        }
        let bytes: usize = rest.chars().take(length).map(char::len_utf8).sum();
        rest = rest.get(bytes..)?;
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use exchange::{Body, Header};
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-21T03:45:06.789012Z, a Saturday.
    const CAPTURED: u64 = 1_795_232_706_789_012;

    fn request(target: &str, body: &str) -> Request {
        Request {
            target: Bytes::copy_from_slice(target.as_bytes()),
            body: Body {
                content: Bytes::copy_from_slice(body.as_bytes()),
                ..Body::default()
            },
            ..Request::default()
        }
    }

    /// The target and the body afterwards.
    fn anchored(target: &str, body: &str) -> (String, String) {
        let mut request = request(target, body);
        let mut changes = Vec::new();
        let before = request.clone();
        apply(&mut request, CAPTURED, &mut changes);
        let changed = request != before;
        assert_eq!(
            changes,
            if changed {
                vec![Change::DateAnchored]
            } else {
                vec![]
            }
        );
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&request.target), text(&request.body.content))
    }

    #[test]
    fn dates_of_a_query_are_anchored_where_the_query_language_takes_dates() {
        const AT: &str = "2026-11-21T03:45:06.789Z||";
        for body in [
            r#"{"query":{"range":{"t":{"gte":"now-15m/m","lt":"now"}}}}"#,
            r#"{ "query" : { "bool" : { "filter" : [ { "range" : { "t" : { "from" : "now-1d" , "to":"now+d" } } } ] } } }"#,
            r#"{"aggs":{"a":{"date_range":{"field":"t","ranges":[{"to":"now-10M/M"},{"from":"now-10M/M"}]}}}}"#,
            r#"{"aggs":{"a":{"date_histogram":{"field":"t","extended_bounds":{"min":"now-7d/d","max":"now"}}}}}"#,
            r#"{"query":{"distance_feature":{"field":"t","pivot":"7d","origin":"now"}}}"#,
            r#"{"query":{"function_score":{"gauss":{"t":{"origin":"now","scale":"1d"}}}}}"#,
            r#"{"query":{"range":{"t":{"format":"yyyy||strict_date_optional_time","gte":"now-1y"}}}}"#,
            r#"{"query":{"range":{"range":{"gte":"now"}}}}"#,
        ] {
            let (_, new) = anchored("/logs-*/_search?size=1", body);
            let expected = body.replace("\"now", &format!("\"{AT}"));
            assert_eq!(new, expected);
        }
    }

    #[test]
    fn an_anchor_is_written_in_the_format_beside_it() {
        let query = |format: &str, bound: &str| {
            format!(r#"{{"query":{{"range":{{"t":{{"gte":"{bound}","format":"{format}"}}}}}}}}"#)
        };
        for (format, expected) in [
            ("epoch_millis", "1795232706789||-1h"),
            ("epoch_second", "1795232706||-1h"),
            ("dd/MM/yyyy||epoch_millis", "1795232706789||-1h"),
            ("dd/MM/yyyy", "now-1h"),
        ] {
            let (_, new) = anchored("/_count", &query(format, "now-1h"));
            assert_eq!(new, query(format, expected));
        }
    }

    #[test]
    fn the_word_now_stays_where_it_is_no_date() {
        for body in [
            r#"{"query":{"term":{"status":"now"}}}"#,
            r#"{"query":{"term":{"to":"now"}}}"#,
            r#"{"query":{"match":{"gte":{"query":"now"}}}}"#,
            r#"{"query":{"range":{"t":{"gte":"nowhere","lt":"now-","gt":"now 1d","lte":"now-1x"}}}}"#,
            r#"{"query":{"range":{"t":{"gte":"2026-01-01","_name":"now"}}}}"#,
            r#"{"query":{"query_string":{"query":"t:[now-1d TO now]"}}}"#,
            r#"{"query":{"range":{"t":{"gte":"now-1d"}}}"#,
            "now",
            "",
        ] {
            assert_eq!(anchored("/_search", body).1, body);
        }
    }

    #[test]
    fn only_requests_that_hold_queries_are_looked_into() {
        let body = r#"{"range":{"t":{"gte":"now-1d"}}}"#;
        for target in [
            "/i/_doc/1",
            "/_bulk",
            "/i/_update/1",
            "/_index_template/t",
            "/",
        ] {
            assert_eq!(anchored(target, body).1, body, "{target}");
        }
        for target in [
            "/i/_delete_by_query",
            "/_validate/query",
            "/_plugins/_asynchronous_search",
        ] {
            assert_ne!(anchored(target, body).1, body, "{target}");
        }
    }

    #[test]
    fn every_query_of_a_multi_search_is_anchored_and_so_are_the_indices_of_its_headers() {
        let query = r#"{"query":{"range":{"t":{"gte":"now/d"}}}}"#;
        let body = format!(
            "{{\"index\":\"<logs-{{now/d}}>,other\"}}\n{query}\n{{}}\r\n{query}\n{{\"index\":[\"<a-{{now/M{{yyyy.MM}}}}>\"],\"preference\":\"now\"}}\n{{}}\n"
        );
        let new = query.replace("now", "2026-11-21T03:45:06.789Z||");
        let expected = format!(
            "{{\"index\":\"logs-2026.11.21,other\"}}\n{new}\n{{}}\r\n{new}\n{{\"index\":[\"a-2026.11\"],\"preference\":\"now\"}}\n{{}}\n"
        );
        assert_eq!(anchored("/_msearch", &body).1, expected);
    }

    #[test]
    fn date_math_in_an_index_name_is_the_index_of_the_day_of_the_capture() {
        for (name, expected) in [
            ("<logs-{now/d}>", "logs-2026.11.21"),
            ("<logs-{now}>", "logs-2026.11.21"),
            ("<logs-{now-5h}-x>", "logs-2026.11.20-x"),
            ("<logs-{now/M-1d{yyyy.MM}}>", "logs-2026.10"),
            ("<logs-{now/w{uuuu-MM-dd}}>", "logs-2026-11-16"),
            ("<logs-{now/y+1M{YYYY_MM}}>", "logs-2026_02"),
            ("<logs-{now/d{yyyy.MM.dd|-04:00}}>", "logs-2026.11.20"),
            ("<logs-{now/h{yyyy.MM.dd.HH|UTC}}>", "logs-2026.11.21.03"),
            ("<a-{now/d}-{now-1d/d}>", "a-2026.11.21-2026.11.20"),
            ("-<logs-{now/d}>", "-logs-2026.11.21"),
        ] {
            assert_eq!(
                worked_out(name, Anchor::at(CAPTURED).unwrap()).as_deref(),
                Some(expected)
            );
        }
    }

    #[test]
    fn date_math_that_is_not_known_stays() {
        for name in [
            "logs-{now/d}",
            "<logs-{now/d>",
            "<logs-{now/d{EEE}}>",
            "<logs-{now/d{yyyy.MM.dd|Europe/Paris}}>",
            r"<logs\{now/d\}>",
            "<logs-{2016.09.20||/d}>",
            "<logs-{now*2}>",
            "<logs>",
            "<>",
            "now",
        ] {
            assert_eq!(
                worked_out(name, Anchor::at(CAPTURED).unwrap()),
                None,
                "{name}"
            );
        }
        // On this day, the week belongs to another year than the date.
        let new_year = Anchor::at(1_798_761_600_000_000 + 86_400_000_000).unwrap();
        assert_eq!(
            worked_out("<a-{now/d{yyyy}}>", new_year).as_deref(),
            Some("a-2027")
        );
        assert_eq!(worked_out("<a-{now/d{YYYY}}>", new_year), None);
    }

    #[test]
    fn in_a_path_only_the_names_with_date_math_change() {
        for (target, expected) in [
            ("/%3Clogs-%7Bnow%2Fd%7D%3E/_doc", "/logs-2026.11.21/_doc"),
            (
                "/a%2Cb,%3clogs-%7bnow%2fd%7d%3e,c*/_search?q=now",
                "/a%2Cb,logs-2026.11.21,c*/_search?q=now",
            ),
            (
                "/<logs-{now}>,-%3Cx-%7Bnow%7D%3E%2cy/_count",
                "/logs-2026.11.21,-x-2026.11.21%2cy/_count",
            ),
            ("/%3Cn%C3%A9-%7Bnow%7D%3E", "/n%C3%A9-2026.11.21"),
            (
                "/now/_search?a=%3Ca-%7Bnow%7D%3E",
                "/now/_search?a=%3Ca-%7Bnow%7D%3E",
            ),
            ("/%3Clogs-%7Bnow%2Fd%7D/%", "/%3Clogs-%7Bnow%2Fd%7D/%"),
        ] {
            assert_eq!(anchored(target, "").0, expected);
        }
    }

    #[test]
    fn a_compressed_body_is_anchored_and_sent_without_its_coding_and_otherwise_stays_compressed() {
        use std::io::Write as _;
        let gzip = |text: &str| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(text.as_bytes()).unwrap();
            Bytes::from(out.finish().unwrap())
        };
        let header = |name: &'static str, value: &'static str| Header {
            name: Bytes::from(name),
            value: Bytes::from(value),
        };
        let mut request = request("/_search", "");
        request.headers.0 = vec![header("Content-Encoding", "gzip"), header("x", "y")];
        request.body.content = gzip(r#"{"query":{"term":{"a":"now"}}}"#);
        let (before, mut changes) = (request.clone(), Vec::new());
        apply(&mut request, CAPTURED, &mut changes);
        assert_eq!((&request, changes.len()), (&before, 0));
        request.body.content = gzip(r#"{"query":{"range":{"t":{"gt":"now"}}}}"#);
        apply(&mut request, CAPTURED, &mut changes);
        assert_eq!(changes, [Change::Decoded, Change::DateAnchored]);
        assert_eq!(request.headers.0, [header("x", "y")]);
        assert!(contains(
            &request.body.content,
            b"\"2026-11-21T03:45:06.789Z||\""
        ));
    }

    #[test]
    fn nesting_without_end_is_left_alone() {
        let deep = format!("{}\"now\"{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(anchored("/_search", &deep).1, deep);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(target in prop::collection::vec(any::<u8>(), 0..60), body in "[\\[\\]{}\":,nowgte/d<> -]{0,80}") {
            let mut request = request("", &body);
            request.target = [b"/<now{", &target[..], b"}>/_msearch"].concat().into();
            apply(&mut request, CAPTURED, &mut Vec::new());
        }

        #[test]
        fn a_body_without_dates_keeps_every_byte(body in "\\PC{0,80}") {
            let whole = format!("{{\"now\":{}}}", serde_json::to_string(&body).unwrap());
            prop_assert_eq!(anchored("/_search", &whole).1, whole);
        }
    }
}
