//! A topic as a source, read without a consumer group.

use std::collections::VecDeque;

use exchange::message::Told;

use super::print::Item;
use super::source::{Next, Opened, Reach, Source};
use crate::config::Kafka;
use crate::readback::{Look, Looked, Place, Start};

/// How many messages of each partition one unit of [`Reach::Back`] is.
const UNIT: u64 = 64;

pub(super) struct TopicTail {
    look: Look,
    /// What was there, in the order of time. What comes then is given out as the partitions tell it.
    sorted: VecDeque<Item>,
    follow: bool,
}

impl TopicTail {
    pub(super) fn open(
        kafka: &Kafka,
        place: &Place,
        reach: Reach,
        follow: bool,
    ) -> anyhow::Result<Opened> {
        let start = match reach {
            Reach::All => Start::Oldest,
            Reach::Since(time) => Start::Since(time),
            Reach::Back(back) => Start::Back(back.saturating_mul(UNIT)),
        };
        let look = Look::open(kafka, place, start)?;
        let is_whole = look.is_whole();
        let mut source = Self {
            look,
            sorted: VecDeque::new(),
            follow,
        };
        if matches!(reach, Reach::Back(_)) {
            let mut items = Vec::new();
            while let Looked::Told(told) = source.look.read()? {
                items.extend(item(*told));
            }
            items.sort_by_key(Item::time_us);
            source.sorted = items.into();
        }
        Ok(Opened {
            source: Box::new(source),
            is_whole,
        })
    }
}

impl Source for TopicTail {
    fn next(&mut self) -> anyhow::Result<Next> {
        if let Some(item) = self.sorted.pop_front() {
            return Ok(Next::Item(item));
        }
        loop {
            match self.look.read()? {
                Looked::Told(told) => {
                    if let Some(item) = item(*told) {
                        return Ok(Next::Item(item));
                    }
                }
                Looked::Waiting if self.follow => return Ok(Next::Waiting),
                Looked::Waiting => return Ok(Next::End),
            }
        }
    }
}

/// What a message tells. A request that is told ahead comes again with its exchange.
fn item(told: Told) -> Option<Item> {
    let span = told.source().span;
    let position = |place: Option<u64>| place.unwrap_or(0);
    Some(match told {
        Told::Exchange { exchange, .. } => Item::Exchange(exchange),
        Told::Pair { source, pair } => Item::Pair {
            position: position(source.complete),
            pair,
        },
        Told::Gap { source, gap } => Item::Gap {
            gap,
            position: position(source.begun),
        },
        // Where the reading began, something was under way; that is no fault of the topic.
        Told::Unreadable {
            why: exchange::message::Unreadable::Earlier { .. },
            ..
        }
        | Told::Request { .. } => return None,
        Told::Unreadable { why, .. } => Item::Note(format!(
            "partition {} offset {}: {why}",
            span.partition, span.first
        )),
    })
}
