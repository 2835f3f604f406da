//! What is printed, and in which format.

use std::borrow::Cow;
use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use exchange::json::{self, PairName};
use exchange::{Credentials, Exchange, Gap, Pair};

use super::curl::{self, Base};
use super::text::Lines;
use super::verbose;

/// Something to print.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Exchange(Box<Exchange>),
    Pair {
        /// Its name where it comes from.
        position: u64,
        pair: Box<Pair>,
    },
    /// Halves that were never recorded.
    Gap {
        gap: Gap,
        position: u64,
    },
    /// What cannot be shown as any of these.
    Note(String),
}

impl Item {
    /// Unix time in microseconds.
    pub(super) fn time_us(&self) -> u64 {
        match self {
            Self::Exchange(exchange) => exchange.time_us(),
            Self::Pair { pair, .. } => pair.request.time_us,
            Self::Gap { gap, .. } => gap.to_us,
            Self::Note(_) => 0,
        }
    }

    /// It is told on the standard error, and is not what was asked for.
    pub(super) const fn is_note(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::Note(_))
    }
}

/// How items are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line to read, with -v the headers and bodies below it
    Text,
    /// The line of the traffic log, and of the pair log for pairs
    Json,
    /// A command that sends the request again; what is masked is left out, and a body that is cut is not sent
    Curl,
    /// A line to read for each pair: how the primary answered, and how the shadow did
    Pairs,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also into a pipe
    Always,
    /// Not even on a terminal
    Never,
}

/// What the output looks like.
#[derive(Clone, Debug)]
pub struct Look {
    /// How items are printed.
    pub format: Format,
    /// Whether colours are used.
    pub colour: bool,
    /// The width of the terminal. `None`: there is none, and nothing is shortened.
    pub width: Option<usize>,
    /// 1: headers and the beginning of bodies too; 2: bodies whole.
    pub verbose: u8,
    /// Where the commands of `curl` go.
    pub base: Base,
    /// Leave the bytes of bodies out of JSON.
    pub no_bodies: bool,
}

pub(super) struct Printer<'o, W> {
    look: Look,
    lines: Lines,
    paint: Paint,
    credentials: Credentials,
    out: &'o mut W,
    buffer: Vec<u8>,
}

impl<'o, W: Write> Printer<'o, W> {
    pub(super) fn new(look: &Look, out: &'o mut W) -> Self {
        let paint = Paint { on: look.colour };
        Self {
            look: look.clone(),
            lines: Lines::new(look.width, paint),
            paint,
            credentials: Credentials::default(),
            out,
            buffer: Vec::new(),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(super) fn print(&mut self, item: &Item) -> io::Result<()> {
        self.buffer.clear();
        match item {
            Item::Exchange(exchange) => {
                let exchange = masked(exchange, &self.credentials);
                self.exchange(&exchange);
            }
            Item::Pair { position, pair } => {
                let mut pair = pair.clone();
                pair.mask(&self.credentials);
                self.pair(&pair, *position);
            }
            Item::Gap { gap, position } => match self.look.format {
                Format::Json => json::write_gap(gap, *position, &mut self.buffer),
                _ => return self.note(&self.lines.gap(gap)),
            },
            Item::Note(note) => return self.note(note),
        }
        self.out.write_all(&self.buffer)
    }

    /// What is no exchange goes to the standard error: what reads our output shall not take it for one.
    fn note(&mut self, note: &str) -> io::Result<()> {
        self.out.flush()?;
        writeln!(io::stderr(), "{}", self.paint.dim(note))
    }

    fn exchange(&mut self, exchange: &Exchange) {
        match self.look.format {
            Format::Json => json::write_line(exchange, self.json(), &mut self.buffer),
            Format::Curl => {
                let command = match &exchange.request {
                    Some(request) => curl::command(request, &self.look.base),
                    None => curl::no_request(exchange),
                };
                self.buffer.extend(command.into_bytes());
            }
            Format::Text => {
                let line = self.lines.exchange(exchange);
                self.buffer.extend(line.into_bytes());
                if self.look.verbose > 0 {
                    let below = verbose::exchange(exchange, self.look.verbose, self.paint);
                    self.buffer.extend(below.into_bytes());
                }
            }
            // Not asked for.
            Format::Pairs => {}
        }
    }

    fn pair(&mut self, pair: &Pair, position: u64) {
        match self.look.format {
            Format::Json => {
                let name = PairName::Position(position);
                json::write_pair(pair, name, self.json(), &mut self.buffer);
            }
            Format::Curl => {
                let sent = pair.as_sent();
                let request = sent.as_ref().unwrap_or(&pair.request);
                let command = curl::command(request, &self.look.base);
                self.buffer.extend(command.into_bytes());
            }
            Format::Text | Format::Pairs => {
                let line = self.lines.pair(pair);
                self.buffer.extend(line.into_bytes());
                if self.look.verbose > 0 {
                    let below = verbose::pair(pair, self.look.verbose, self.paint);
                    self.buffer.extend(below.into_bytes());
                }
            }
        }
    }

    const fn json(&self) -> json::Options {
        json::Options {
            bodies: !self.look.no_bodies,
        }
    }
}

/// The exchange without credentials: a journal may hold them.
fn masked<'e>(exchange: &'e Exchange, credentials: &Credentials) -> Cow<'e, Exchange> {
    let request = exchange.request.iter().map(|it| &it.headers);
    let response = exchange.response.iter().map(|it| &it.headers);
    let mut headers = request.chain(response).flatten();
    if headers.all(|header| header.is_masked() || !credentials.cover(&header.name)) {
        return Cow::Borrowed(exchange);
    }
    let mut masked = exchange.clone();
    if let Some(request) = &mut masked.request {
        request.headers.mask(credentials);
    }
    if let Some(response) = &mut masked.response {
        response.headers.mask(credentials);
    }
    Cow::Owned(masked)
}

/// Puts colours around words, or does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    fn with(self, style: Style, text: &str) -> String {
        if self.on {
            return format!("{}{text}{}", style.render(), style.render_reset());
        }
        text.to_owned()
    }

    fn colour(self, colour: AnsiColor, text: &str) -> String {
        self.with(colour.on_default(), text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(super) fn name(self, text: &str) -> String {
        self.colour(AnsiColor::Cyan, text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.colour(AnsiColor::Yellow, text)
    }

    pub(super) fn wrong(self, text: &str) -> String {
        self.colour(AnsiColor::Red, text)
    }

    /// What only reads stands back.
    pub(super) fn method(self, text: &str, is_read: bool) -> String {
        match is_read {
            true => self.colour(AnsiColor::Blue, text),
            false => self.with(AnsiColor::Magenta.on_default().bold(), text),
        }
    }

    pub(super) fn status(self, text: &str, status: Option<u16>) -> String {
        match status {
            Some(..300) => self.colour(AnsiColor::Green, text),
            Some(300..400) => self.colour(AnsiColor::Cyan, text),
            Some(400..500) => self.colour(AnsiColor::Yellow, text),
            _ => self.colour(AnsiColor::Red, text),
        }
    }
}

/// Bytes of a peer, to be read on a terminal: what is printable stays, everything else is escaped.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_unsafe(char) {
                shown.extend(char.escape_unicode());
            } else {
                shown.push(char);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// Control characters, and those that change the direction of what stands around them.
pub(super) fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
