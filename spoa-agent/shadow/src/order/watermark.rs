//! Which of the earlier ones is the first that is not done, and who waits for it to rise.
//!
//! Adding, removing and asking cost the same however many are outstanding. That is what lets a search wait
//! for all earlier writes of an index without counting them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::parts::PartId;

/// In place of one that was removed from the middle.
const GONE: PartId = PartId::MAX;

/// Parts that are not done, by the event at which they were complete.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    /// Rising. The first and the last are never [`GONE`].
    members: VecDeque<(u64, PartId)>,
    gone: usize,
    waiting: BinaryHeap<Reverse<(u64, PartId)>>,
}

impl Watermark {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.waiting.is_empty()
    }

    /// Members in rising order.
    pub(super) fn members(&self) -> impl Iterator<Item = (u64, PartId)> + '_ {
        self.members.iter().copied().filter(|(_, id)| *id != GONE)
    }

    pub(super) fn add(&mut self, complete: u64, part: PartId) {
        if self
            .members
            .back()
            .is_none_or(|(last, _)| *last <= complete)
        {
            self.members.push_back((complete, part));
        } else {
            let at = self.members.partition_point(|(at, _)| *at <= complete);
            self.members.insert(at, (complete, part));
        }
    }

    /// Waits until all members that were complete before `event` are done. `false`: they are.
    pub(super) fn wait(&mut self, event: u64, part: PartId) -> bool {
        let must = self
            .members
            .front()
            .is_some_and(|(first, _)| *first < event);
        if must {
            self.waiting.push(Reverse((event, part)));
        }
        must
    }

    /// Removes a member, and tells whom that lets go.
    pub(super) fn remove(&mut self, complete: u64, part: PartId, freed: &mut Vec<PartId>) {
        if self.members.front() == Some(&(complete, part)) {
            self.members.pop_front();
            self.trim();
            self.free(freed);
            return;
        }
        let from = self.members.partition_point(|(at, _)| *at < complete);
        let mut same = self.members.range_mut(from..);
        if let Some(member) = same
            .by_ref()
            .take_while(|(at, _)| *at == complete)
            .find(|(_, id)| *id == part)
        {
            member.1 = GONE;
            self.gone += 1;
            self.trim();
            self.compact();
        }
    }

    fn free(&mut self, freed: &mut Vec<PartId>) {
        let first = self.members.front().map_or(u64::MAX, |(first, _)| *first);
        while let Some(Reverse((event, part))) = self.waiting.peek() {
            if first < *event {
                break;
            }
            freed.push(*part);
            self.waiting.pop();
        }
    }

    fn trim(&mut self) {
        while matches!(self.members.front(), Some((_, GONE))) {
            self.members.pop_front();
            self.gone -= 1;
        }
        while matches!(self.members.back(), Some((_, GONE))) {
            self.members.pop_back();
            self.gone -= 1;
        }
    }

    /// One that is stuck at the front must not keep the traces of all that were done behind it.
    fn compact(&mut self) {
        if self.gone > 32 && self.gone * 2 > self.members.len() {
            self.members.retain(|(_, id)| *id != GONE);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_go_when_all_earlier_ones_are_done() {
        let mut mark = Watermark::default();
        for (complete, part) in [(1, 10), (3, 30), (5, 50)] {
            mark.add(complete, part);
        }
        assert!(!mark.wait(1, 97), "nothing was complete before");
        assert!(mark.wait(4, 98));
        assert!(mark.wait(2, 99));
        let mut freed = Vec::new();
        mark.remove(3, 30, &mut freed);
        assert!(freed.is_empty());
        mark.remove(1, 10, &mut freed);
        assert_eq!(freed, [99, 98]);
        mark.remove(5, 50, &mut freed);
        assert!(mark.is_empty());
    }

    #[test]
    fn one_that_is_stuck_keeps_no_trace_of_those_that_are_done() {
        let mut mark = Watermark::default();
        let mut freed = Vec::new();
        mark.add(0, 0);
        mark.add(1, 1);
        for complete in 2..10_000 {
            mark.add(complete, 7);
            mark.remove(complete - 1, if complete == 2 { 1 } else { 7 }, &mut freed);
        }
        assert!(mark.members.len() < 100, "{}", mark.members.len());
        assert_eq!(mark.members().count(), 2);
    }
}
