//! What is on disk, read as another process reads it.

use std::path::Path;

use exchange::{Exchange, Half};
use journal::{Entry, ExchangeReader, Item, PairingOptions, Reader, Start};

/// Records of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinds {
    pub(crate) requests: u64,
    pub(crate) responses: u64,
    pub(crate) gaps: u64,
    pub(crate) pairs: u64,
    /// Nothing that was asked for has been deleted meanwhile.
    pub(crate) complete: bool,
}

/// What came after the first `base` records.
pub(crate) fn count_since(dir: &Path, base: u64) -> Kinds {
    let mut kinds = Kinds {
        complete: true,
        ..Kinds::default()
    };
    let mut reader = Reader::open_dir(dir, Start::Oldest).unwrap();
    kinds.complete = reader.place().sequence <= base;
    while let Some(item) = reader.next().unwrap() {
        let Item::Record(record) = item else {
            panic!("{item:?}")
        };
        if record.place.sequence < base {
            continue;
        }
        match Half::decode(&record.payload).unwrap() {
            Half::Request(_) => kinds.requests += 1,
            Half::Response(_) => kinds.responses += 1,
            Half::Gap(_) => kinds.gaps += 1,
            Half::Pair(_) => kinds.pairs += 1,
        }
    }
    kinds
}

/// How many records were ever written.
pub(crate) fn end(dir: &Path) -> u64 {
    let mut reader = Reader::open_dir(dir, Start::Oldest).unwrap();
    while reader.next().unwrap().is_some() {}
    reader.place().sequence
}

pub(crate) fn halves(dir: &Path) -> Vec<Half> {
    let mut reader = Reader::open_dir(dir, Start::Oldest).unwrap();
    let mut halves = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        let Item::Record(record) = item else {
            panic!("{item:?}")
        };
        halves.push(Half::decode(&record.payload).unwrap());
    }
    halves
}

/// Every exchange, those without their other half last.
pub(crate) fn exchanges(dir: &Path) -> Exchanges {
    let reader = Reader::open_dir(dir, Start::Oldest).unwrap();
    let options = PairingOptions {
        max_open_bytes: usize::MAX,
        ..PairingOptions::default()
    };
    Exchanges {
        reader: ExchangeReader::new(reader, options),
        clock: 0,
    }
}

pub(crate) struct Exchanges {
    reader: ExchangeReader,
    clock: u64,
}

impl Iterator for Exchanges {
    type Item = Exchange;

    fn next(&mut self) -> Option<Exchange> {
        loop {
            match self.reader.next(self.clock).unwrap() {
                Some(Entry::Exchange(exchange)) => {
                    self.reader.done(exchange.position);
                    return Some(exchange);
                }
                Some(Entry::Gap(_)) => {}
                Some(bad) => panic!("{bad:?}"),
                None if self.clock == u64::MAX => return None,
                None => self.clock = u64::MAX,
            }
        }
    }
}

/// Every exchange of a traffic log.
pub(crate) fn lines(path: &Path) -> impl Iterator<Item = Exchange> + use<> {
    use std::io::BufRead as _;
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    file.split(b'\n').filter_map(|line| {
        let line = line.unwrap();
        exchange::json::read_line(&line)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)))
    })
}
