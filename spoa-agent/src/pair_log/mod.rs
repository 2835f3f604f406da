//! Pairs: how they get into the journal ([`keep`]), and the pair log, one line of JSON per pair. The line is
//! `exchange::json`, the file is `line_log`.

use exchange::json::{self, PairName};
use journal::Entry;

pub use self::keep::{Keep, Kept};
use crate::line_log::{LineLog, Lines, Title};

mod keep;

/// The follower that writes the pair log.
pub type PairLog = LineLog<Pairs>;

/// What it is called.
pub const TITLE: Title = Title {
    name: "pair log",
    key: "pair_log.path",
};

/// What a line holds. Credentials are masked in the journal's pairs already, whatever
/// `capture.forward_credentials` says.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// Whether bodies are written.
    pub bodies: bool,
}

impl Lines for Pairs {
    fn write(&mut self, entry: Entry, out: &mut Vec<u8>) {
        let Entry::Pair { place, pair } = entry else {
            return;
        };
        let options = json::Options {
            bodies: self.bodies,
        };
        json::write_pair(&pair, PairName::Position(place.position), options, out);
    }
}

#[cfg(test)]
mod tests;
