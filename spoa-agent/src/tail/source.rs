//! Where items come from.

use super::journal::JournalTail;
use super::lines::LineTail;
use super::print::Item;
use super::topic::TopicTail;
use super::{From, Options};

/// What a source gives.
#[derive(Debug)]
pub(super) enum Next {
    /// Something to print.
    Item(Item),
    /// Everything that is there was given; more may come.
    Waiting,
    /// Nothing will come any more.
    End,
}

/// A stream of items in the order in which they were completed.
pub(super) trait Source {
    /// The next item. Does not wait for what is not there.
    fn next(&mut self) -> anyhow::Result<Next>;
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// At the oldest.
    All,
    /// At what is not older than that, in Unix microseconds. Older ones may come, too.
    Since(u64),
    /// So far before the end, in units of the source's own.
    Back(u64),
}

/// A source that was opened.
pub(super) struct Opened {
    pub(super) source: Box<dyn Source>,
    /// It begins where there is nothing before.
    pub(super) is_whole: bool,
}

pub(super) fn open(options: &Options, reach: Reach) -> anyhow::Result<Opened> {
    match &options.from {
        From::Journal(dir) => JournalTail::open(dir, reach, options),
        From::File(path) => LineTail::open(path, reach, options.follow),
        From::Kafka { kafka, place } => TopicTail::open(kafka, place, reach, options.follow),
        From::Standard => Ok(LineTail::standard_input()),
    }
}
