//! The disk budget. Room is made by deleting whole segments, oldest first: those that every cursor
//! has passed, and with [`WhenFull::DropUnread`] the others too. The active segment stays.
//!
//! What a follower loses that way is counted by its reader, when it gets there.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;

use crate::Place;
use crate::health::Fault;
use crate::options::WhenFull;
use crate::segment::Segment;
use crate::writer::Shared;

impl Shared {
    /// Deletes segments until `need` more bytes fit into the budget.
    pub(crate) fn make_room(&self, need: u64) -> Result<(), Fault> {
        while let Some(oldest) = self.claim_oldest(need)? {
            // Its name is free again only now; no segment can take it, positions only grow.
            match fs::remove_file(&oldest.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let reason = format!("cannot delete {}: {error}", oldest.path.display()).into();
                    self.segments.lock().push_front(oldest);
                    return Err(Fault { full: true, reason });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the oldest segment off the list when it has to go. `None` when there is room.
    fn claim_oldest(&self, need: u64) -> Result<Option<Segment>, Fault> {
        let mut segments = self.segments.lock();
        let used: u64 = segments.iter().map(Segment::file_len).sum();
        if used.saturating_add(need) <= self.options.max_bytes {
            return Ok(None);
        }
        let mut rest = segments.iter();
        let (Some(oldest), Some(next)) = (rest.next(), rest.next()) else {
            return Err(self.no_room(used, need, "the segment in use alone is too large"));
        };
        if self.options.when_full == WhenFull::Stop
            && let Some(name) = self.held_back_by(next.base)
        {
            let why = format!("the follower {name:?} has not read the oldest segment yet");
            return Err(self.no_room(used, need, &why));
        }
        let unread = self.unread_between(oldest.base, next.base);
        self.dropped_unread.fetch_add(unread, Ordering::Relaxed);
        Ok(segments.pop_front())
    }

    /// Records between the two places that the cursor furthest behind still needs.
    fn unread_between(&self, begin: Place, end: Place) -> u64 {
        let cursors = self.cursors.lock();
        let lowest = cursors.values().min_by_key(|low| low.position);
        lowest.map_or(0, |low| {
            end.sequence
                .saturating_sub(low.sequence.max(begin.sequence))
        })
    }

    /// The cursor furthest behind, if it still needs a record before `end`.
    fn held_back_by(&self, end: Place) -> Option<String> {
        let cursors = self.cursors.lock();
        let (name, low) = cursors.iter().min_by_key(|(_, low)| low.position)?;
        (low.position < end.position).then(|| name.clone())
    }

    fn no_room(&self, used: u64, need: u64, why: &str) -> Fault {
        let reason = format!(
            "{used} bytes are in use, {need} more are needed and max_bytes is {}: {why}",
            self.options.max_bytes
        );
        Fault {
            full: true,
            reason: reason.into(),
        }
    }
}
