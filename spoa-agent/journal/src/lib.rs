//! The ordered, checksummed, segmented log on local disk that every follower reads.
//!
//! A process appends records ([`Journal::append`]) and waits, as far as it wants to, until they
//! are written or durable ([`Journal::wait`]). Followers read them in order ([`Reader`]), or paired
//! to exchanges ([`ExchangeReader`]), and keep durable cursors ([`Cursor`]). Whole segments are
//! deleted, oldest first, when the disk budget needs the room and no cursor needs them.
//!
//! It never opens a socket, never logs and never drops a record silently: a refused append is an
//! error, a cut at recovery is in [`Recovery`], a record that cannot be read is an
//! [`Item::Lost`].
//!
//! Reading order: `record` (framing and checksum), `segment` (a file of them), `writer` (append
//! and group commit), `tail` (what was written lately, in memory), `sync` (durability), `retention`
//! (the disk budget), `recovery` (opening after a crash), `reader`, `cursor`, `completion`,
//! `pairing` (halves to exchanges), `survey` (list and verify a directory).
//!
//! # What is lost when
//!
//! | an append that reached | is lost when |
//! |---|---|
//! | [`Level::Append`] | the process dies within `flush_interval` (and one write) of it; at most `buffer_bytes` |
//! | [`Level::Write`] | the machine loses power or its kernel dies within `sync_interval` (and one sync) of it |
//! | [`Level::Sync`] | the disk is lost |

mod completion;
mod cursor;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod health;
mod journal;
mod lock;
mod options;
mod pairing;
mod reader;
mod record;
mod recovery;
mod retention;
mod segment;
mod survey;
mod sync;
mod tail;
mod writer;

pub use completion::Completion;
pub use cursor::{Cursor, CursorState, EXTRA_LIMIT, OPEN_LIMIT};
pub use error::{AppendError, CloseError, CursorError, FileError, OpenError, ReadError, WaitError};
pub use health::Health;
pub use journal::{CursorLag, Journal, Stats};
pub use options::{Level, Options, WhenFull};

pub use pairing::{Entry, ExchangeReader, Finished, Pairing, PairingCounts, PairingOptions, Want};
pub use reader::{Item, Lost, LostReason, Reader, Record, Start};
pub use recovery::{Cut, Damaged, Hole, Recovery};
pub use segment::VERSION;
pub use survey::{SegmentEntry, SegmentReport, Verdict, cursors, list, verify};

/// A logical byte offset over all records ever appended to a journal. It only grows; a record's
/// position is that of its first byte.
pub type Position = u64;

/// A record boundary: a position, and the sequence number of the record that starts there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// The position of the record's first byte.
    pub position: Position,
    /// How many records were appended before it, since the journal began.
    pub sequence: u64,
}
