//! The traffic log: one line of JSON per exchange. The line is `exchange::json`, the file is `line_log`.

use exchange::{Credentials, Exchange, json};
use journal::Entry;

use crate::line_log::{LineLog, Lines, Title};

/// The follower that writes the traffic log.
pub type TrafficLog = LineLog<Exchanges>;

/// What it is called.
pub const TITLE: Title = Title {
    name: "traffic log",
    key: "traffic_log.path",
};

/// What a line holds.
#[derive(Clone, Debug)]
pub struct Exchanges {
    /// Whether bodies are written.
    pub bodies: bool,
    /// Headers to mask that the journal does not mask (law: secrets do not leave it).
    pub mask: Option<Credentials>,
}

impl Lines for Exchanges {
    fn write(&mut self, entry: Entry, out: &mut Vec<u8>) {
        match entry {
            Entry::Exchange(exchange) => self.line(exchange, out),
            Entry::Gap(gap) => json::write_gap(&gap, 0, out),
            Entry::Begun { .. }
            | Entry::Pair { .. }
            | Entry::Lost(_)
            | Entry::Undecodable { .. } => {}
        }
    }
}

impl Exchanges {
    fn line(&self, mut exchange: Exchange, out: &mut Vec<u8>) {
        if let Some(credentials) = &self.mask {
            mask(&mut exchange, credentials);
        }
        let options = json::Options {
            bodies: self.bodies,
        };
        json::write_line(&exchange, options, out);
    }
}

fn mask(exchange: &mut Exchange, credentials: &Credentials) {
    if let Some(request) = &mut exchange.request {
        request.headers.mask(credentials);
    }
    if let Some(response) = &mut exchange.response {
        response.headers.mask(credentials);
    }
}
