//! A line to read: columns that line up, as wide as the terminal is.

use std::time::Duration;

use exchange::operation;
use exchange::{Body, Exchange, Extent, Gap, Pair, Request, Response};

use super::print::{Paint, shown};

/// Columns of the clock, in a terminal and in a pipe.
const CLOCK: usize = 12;
const DATE_AND_CLOCK: usize = 24;
const METHOD: usize = 6;
const STATUS: usize = 3;
const TOOK: usize = 7;
const SIZE: usize = 7;
/// A target takes at least so many, and in a pipe its own length.
const TARGET: usize = 22;
const TARGET_IN_PIPE: usize = 40;
/// An id of HAProxy's `unique-id`, and as much of it as has to be shown.
const ID: usize = 36;
const SHORT_ID: usize = 8;

/// Writes lines, and a header and the date where there is a terminal.
pub(super) struct Lines {
    width: Option<usize>,
    paint: Paint,
    /// The day of the line before.
    day: Option<String>,
}

impl Lines {
    pub(super) const fn new(width: Option<usize>, paint: Paint) -> Self {
        Self {
            width,
            paint,
            day: None,
        }
    }

    pub(super) fn exchange(&mut self, exchange: &Exchange) -> String {
        let request = exchange.request.as_ref();
        let response = exchange.response.as_ref();
        let target = request.map_or_else(
            || "(its request was not seen)".to_owned(),
            |request| shown(&request.target),
        );
        let took = exchange
            .duration_us()
            .map_or_else(|| "-".to_owned(), duration);
        let id = exchange.id().map(|id| shown(id)).unwrap_or_default();
        let (target, id) = self.fit(&target, &id, 0);
        let mut line = self.clock(exchange.time_us());
        line.push_str(&format!(
            " {} {target} {} {took:>TOOK$} {:>SIZE$} {:>SIZE$} {}",
            self.method(request),
            self.status(response, STATUS),
            size(request.map(|request| &request.body)),
            size(response.map(|response| &response.body)),
            self.paint.dim(&id),
        ));
        end(line)
    }

    pub(super) fn pair(&mut self, pair: &Pair) -> String {
        let primary = pair.primary.as_ref();
        let shadow = pair.shadow.as_ref();
        let took = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), duration);
        let shadow_took = shadow.map(|_| pair.sending.end_us);
        let is_same = primary.map(|it| it.status) == shadow.map(|it| it.status);
        let (target, id) = self.fit(&shown(&pair.request.target), &shown(pair.id()), PAIR_EXTRA);
        let mut line = self.clock(pair.request.time_us);
        line.push_str(&format!(
            " {} {target} {} {} {} {:>TOOK$} {:>TOOK$} {}",
            self.method(Some(&pair.request)),
            self.status(primary, STATUS),
            if is_same { "=" } else { "≠" },
            self.status(shadow, STATUS),
            took(pair.primary_us()),
            took(shadow_took),
            self.paint.dim(&id),
        ));
        for change in &pair.changes {
            line.push_str(&self.paint.dim(&format!(" [{change}]")));
        }
        if let Some(dropped) = &pair.dropped {
            let told = format!(" dropped, {}: {}", dropped.reason, dropped.cause);
            line.push_str(&self.paint.wrong(&shown(told.as_bytes())));
        }
        end(line)
    }

    pub(super) fn gap(&self, gap: &Gap) -> String {
        format!(
            "{} {} request and {} response halves were not recorded: {}",
            crate::cli::time(gap.to_us),
            gap.requests,
            gap.responses,
            shown(gap.reason.as_bytes())
        )
    }

    /// The clock, after a line with the day when that is another one.
    fn clock(&mut self, time_us: u64) -> String {
        let whole = crate::cli::time(time_us);
        let (Some(_), Some((day, clock))) = (self.width, whole.split_once('T')) else {
            return self.paint.dim(&format!("{whole:<DATE_AND_CLOCK$}"));
        };
        let clock = self.paint.dim(clock.trim_end_matches('Z'));
        if self.day.as_deref() == Some(day) {
            return clock;
        }
        let header = self.paint.bold(&format!("{day} (UTC)"));
        self.day = Some(day.to_owned());
        format!("{header}\n{clock}")
    }

    fn method(&self, request: Option<&Request>) -> String {
        let Some(request) = request else {
            return format!("{:<METHOD$}", "-");
        };
        let is_read = operation::read(request).is_read();
        let method = format!("{:<METHOD$}", shown(&request.method));
        self.paint.method(&method, is_read)
    }

    fn status(&self, response: Option<&Response>, width: usize) -> String {
        let status = response.map(|response| response.status);
        let text = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        self.paint.status(&format!("{text:>width$}"), status)
    }

    /// Target and id, as long as there is room for. In a pipe nothing is shortened.
    fn fit(&self, target: &str, id: &str, extra: usize) -> (String, String) {
        let Some(width) = self.width else {
            return (format!("{target:<TARGET_IN_PIPE$}"), id.to_owned());
        };
        let others = CLOCK + METHOD + STATUS + TOOK + 2 * SIZE + 7 + extra;
        let left = width.saturating_sub(others);
        let for_id = left.saturating_sub(TARGET).clamp(SHORT_ID, ID);
        let for_id = if for_id < id.chars().count() {
            SHORT_ID
        } else {
            for_id
        };
        let for_target = left.saturating_sub(for_id).max(TARGET);
        let target = shortened(target, for_target);
        (
            format!("{target:<for_target$}"),
            id.chars().take(for_id).collect(),
        )
    }
}

/// By how much the columns of a pair are wider than those of an exchange.
const PAIR_EXTRA: usize = 4;

/// The beginning and the end of what is too long: the API often stands at the end.
fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let end = room / 3;
    let begin = room - end;
    let head: String = text.chars().take(begin).collect();
    let tail: String = text.chars().skip(length - end).collect();
    format!("{head}…{tail}")
}

/// Three digits and a unit.
fn duration(micros: u64) -> String {
    crate::replay::short(Duration::from_micros(micros))
}

/// How many bytes are here, with `~` when they are not all.
fn size(body: Option<&Body>) -> String {
    let Some(body) = body else {
        return "-".to_owned();
    };
    let bytes = short_size(body.content.len());
    match body.extent {
        Extent::Whole => bytes,
        Extent::Cut { .. } => format!("{bytes}~"),
        Extent::NotCaptured { .. } => "~".to_owned(),
    }
}

/// At most six characters.
fn short_size(bytes: usize) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

fn end(line: String) -> String {
    let mut line = line.trim_end().to_owned();
    line.push('\n');
    line
}
