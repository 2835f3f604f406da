//! What of a partition is done, as it is committed.
//!
//! The offset that is committed is the lowest that is needed again. What is done beyond it goes into the metadata of the
//! commit: lengths of runs, done and not done in turns, from the committed offset on. Almost always these are a few
//! bytes. A broker takes so many bytes and no more (`offset.metadata.max.bytes`); of what does not fit, the
//! end is left out, and a restart does that again.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};

/// What the metadata begins with: others may have committed for the group, with metadata of their own.
const MARK: &str = "spoa-agent/1:";
/// Offsets beyond the lowest that are kept as not done.
const OPEN_LIMIT: usize = 1 << 20;

/// Which offsets of a partition are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// All before it are.
    pub low: i64,
    /// None from here on is. At or after `low`.
    pub high: i64,
    /// Those between that are not, rising. An offset stands for the value whose last message is there.
    pub open: Vec<i64>,
}

impl Done {
    /// All before the offset, and no other.
    #[must_use]
    pub const fn before(offset: i64) -> Self {
        Self {
            low: offset,
            high: offset,
            open: Vec::new(),
        }
    }

    /// Whether the value whose last message is at this offset is done.
    #[must_use]
    pub fn holds(&self, last: i64) -> bool {
        last < self.low || (last < self.high && self.open.binary_search(&last).is_err())
    }

    /// Whether everything before the offset is done, whatever may be needed again.
    #[must_use]
    pub fn is_complete(&self, end: i64) -> bool {
        self.low >= end || (self.high >= end && self.open.first().is_none_or(|open| *open >= end))
    }

    /// The metadata of a commit, in at most so many bytes.
    #[must_use]
    pub fn encode(&self, limit: usize) -> String {
        let room = limit.saturating_sub(MARK.len()) / 4 * 3;
        let mut runs = Vec::new();
        let mut whole = 0;
        let mut write = |length: i64| {
            varint(u64::try_from(length).unwrap_or(0), &mut runs);
            if runs.len() <= room {
                whole = runs.len();
            }
        };
        let mut at = self.low;
        let mut open = self.open.iter().copied().peekable();
        while let Some(first) = open.next() {
            let mut end = first.saturating_add(1);
            while open.next_if_eq(&end).is_some() {
                end = end.saturating_add(1);
            }
            write(first.saturating_sub(at));
            write(end.saturating_sub(first));
            at = end;
        }
        if at < self.high {
            write(self.high.saturating_sub(at));
        }
        runs.truncate(whole);
        format!("{MARK}{}", BASE64.encode(runs))
    }

    /// Reads what [`Done::encode`] wrote. `None` when somebody else wrote it.
    #[must_use]
    pub fn decode(low: i64, metadata: &str) -> Option<Self> {
        let runs = BASE64.decode(metadata.strip_prefix(MARK)?).ok()?;
        let mut runs = runs.as_slice();
        let mut done = Self::before(low);
        let mut is_done = true;
        while !runs.is_empty() {
            let length = i64::try_from(read_varint(&mut runs)?).ok()?;
            let end = done.high.checked_add(length)?;
            if !is_done {
                let count = usize::try_from(length).ok()?;
                if count > OPEN_LIMIT.saturating_sub(done.open.len()) {
                    return None;
                }
                done.open.extend(done.high..end);
            }
            done.high = end;
            is_done = !is_done;
        }
        Some(done)
    }
}

/// Seven bits to a byte, the lowest first.
fn varint(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn done(low: i64, flags: &[bool]) -> Done {
        let offsets = (low..).zip(flags);
        Done {
            low,
            high: low + i64::try_from(flags.len()).unwrap(),
            open: offsets
                .filter(|(_, done)| !**done)
                .map(|(at, _)| at)
                .collect(),
        }
    }

    #[test]
    fn one_that_is_stuck_below_a_million_costs_a_few_bytes() {
        let stuck = Done {
            low: 7,
            high: 1_000_007,
            open: vec![7],
        };
        let metadata = stuck.encode(4096);
        assert!(metadata.len() < MARK.len() + 10, "{metadata}");
        assert_eq!(Done::decode(7, &metadata), Some(stuck));
    }

    #[test]
    fn metadata_of_others_is_not_ours() {
        for metadata in [
            "",
            "hello",
            "spoa-agent/2:AA",
            "spoa-agent/1:!",
            "spoa-agent/1:gA",
        ] {
            assert_eq!(Done::decode(5, metadata), None, "{metadata}");
        }
        // A run that would take all memory.
        let mut runs = Vec::new();
        varint(0, &mut runs);
        varint(u64::MAX >> 2, &mut runs);
        let metadata = format!("{MARK}{}", BASE64.encode(runs));
        assert_eq!(Done::decode(0, &metadata), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(low in 0_i64..1 << 50, flags in prop::collection::vec(any::<bool>(), 0..300)) {
            let done = done(low, &flags);
            prop_assert_eq!(Done::decode(low, &done.encode(4096)), Some(done));
        }

        #[test]
        fn what_does_not_fit_counts_as_not_done(flags in prop::collection::vec(any::<bool>(), 0..3000), limit in 13_usize..200) {
            let done = done(3, &flags);
            let metadata = done.encode(limit);
            prop_assert!(metadata.len() <= limit);
            let read = Done::decode(3, &metadata).unwrap();
            prop_assert!(read.high <= done.high);
            for offset in 0..done.high + 2 {
                prop_assert!(!read.holds(offset) || done.holds(offset));
                prop_assert!(offset >= read.high || read.holds(offset) == done.holds(offset));
            }
        }

        #[test]
        fn any_metadata_is_read_or_refused(metadata in "\\PC{0,40}", runs in prop::collection::vec(any::<u8>(), 0..40)) {
            let _read = Done::decode(0, &metadata);
            let _read = Done::decode(i64::MAX - 5, &format!("{MARK}{}", BASE64.encode(runs)));
        }
    }
}
