//! A value that is larger than a message may be, in parts, and back.
//!
//! Part `n` of `total` is the bytes from `length * (n - 1) / total` to `length * n / total`: the length, the number of
//! parts and the checksum of the whole, which every part names, say all. So parts of one value that was split twice,
//! differently, because the size of messages was changed between two deliveries, are never mixed up.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{Bounds, Message, Span, Unreadable, header};

/// Appends the value as one message, or as the parts of one.
pub(super) fn split(
    value: Bytes,
    headers: Vec<(&'static str, Bytes)>,
    max_bytes: usize,
    out: &mut Vec<Message>,
) {
    let room = room(&headers, max_bytes);
    if value.len() <= room {
        out.push(Message {
            key: None,
            headers,
            value,
        });
        return;
    }
    let total = value.len().div_ceil(room);
    let whole = Bytes::from(format!("{:x}-{:08x}", value.len(), crc32c::crc32c(&value)));
    for number in 1..=total {
        let mut headers = headers.clone();
        headers.push((header::PART, Bytes::from(format!("{number}/{total}"))));
        headers.push((header::WHOLE, whole.clone()));
        let (from, to) = (
            boundary(value.len(), number - 1, total),
            boundary(value.len(), number, total),
        );
        out.push(Message {
            key: None,
            headers,
            value: value.slice(from..to),
        });
    }
}

/// The messages of one value, split again: a broker takes less than was thought.
///
/// Those of [`Format::TrafficStream`](super::Format::TrafficStream) are no pieces of one value, and stay as they are.
pub fn split_again(messages: Vec<Message>, max_bytes: usize) -> Vec<Message> {
    let Some(first) = messages.first() else {
        return messages;
    };
    if first.key.is_some() {
        return messages;
    }
    let is_of_part = |name: &&str| [header::PART, header::WHOLE].contains(name);
    let headers = first.headers.iter();
    let headers = headers
        .filter(|(name, _)| !is_of_part(name))
        .cloned()
        .collect();
    let value = match messages.as_slice() {
        [only] => only.value.clone(),
        parts => parts
            .iter()
            .flat_map(|part| part.value.iter().copied())
            .collect(),
    };
    let mut out = Vec::new();
    split(value, headers, max_bytes, &mut out);
    out
}

/// Where part `number` of `total` ends.
fn boundary(length: usize, number: usize, total: usize) -> usize {
    let place = length as u128 * number as u128 / (total as u128).max(1);
    usize::try_from(place).unwrap_or(length)
}

/// Bytes that are left for the value.
pub(super) fn room(headers: &[(&'static str, Bytes)], max_bytes: usize) -> usize {
    let headers: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + HEADER)
        .sum();
    max_bytes.saturating_sub(headers + FRAMING).max(LEAST)
}

/// What Kafka adds to a header at most: two lengths.
const HEADER: usize = 10;

/// What is kept free for the key, the headers of a part, and Kafka's own fields.
const FRAMING: usize = 512;

/// The fewest bytes that a part has, whatever the limit: one smaller than the headers cannot be kept.
const LEAST: usize = 64;

/// Which part of what a message is: what its headers `part` and `whole` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Counted from 1.
    number: u32,
    total: u32,
    length: u64,
    checksum: u32,
}

impl Part {
    /// Reads the two headers.
    pub(super) fn read(part: &[u8], whole: Option<&[u8]>) -> Result<Self, Unreadable> {
        let wrong = |name, value: &[u8], expected| Unreadable::Header {
            name,
            value: String::from_utf8_lossy(value).into_owned(),
            expected,
        };
        let (number, total) = numbers(part, '/', 10)
            .and_then(|(number, total)| Some((u32::try_from(number).ok()?, total.try_into().ok()?)))
            .filter(|(number, total)| (1..=*total).contains(number))
            .ok_or_else(|| wrong(header::PART, part, "number of a part, such as 2/3"))?;
        let whole = whole.unwrap_or_default();
        let (length, checksum) = numbers(whole, '-', 16)
            .and_then(|(length, checksum)| Some((length, u32::try_from(checksum).ok()?)))
            .ok_or_else(|| wrong(header::WHOLE, whole, "length and checksum"))?;
        Ok(Self {
            number,
            total,
            length,
            checksum,
        })
    }

    /// How long this part must be.
    fn expected(&self) -> usize {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        let (number, total) = (self.number as usize, self.total as usize);
        boundary(length, number, total) - boundary(length, number - 1, total)
    }
}

fn numbers(text: &[u8], between: char, radix: u32) -> Option<(u64, u64)> {
    let (left, right) = std::str::from_utf8(text).ok()?.split_once(between)?;
    let number = |digits| u64::from_str_radix(digits, radix).ok();
    Some((number(left)?, number(right)?))
}

/// Values of which some parts are here, over all partitions.
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    by_key: HashMap<Key, u64>,
    /// By the order in which they began.
    begun: BTreeMap<u64, Assembly>,
    next: u64,
    held: usize,
}

/// What the parts of one value have in common: the partition, and what the headers say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) partition: i32,
    /// All headers but `part`, with their lengths.
    pub(super) headers: Box<[u8]>,
}

#[derive(Debug)]
struct Assembly {
    key: Key,
    part: Part,
    parts: BTreeMap<u32, Bytes>,
    span: Span,
    clock_us: u64,
}

/// What became of a value in parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assembled {
    pub(super) headers: Box<[u8]>,
    pub(super) span: Span,
    pub(super) value: Result<Bytes, Unreadable>,
}

impl Assemblies {
    /// Takes a part, and returns the value when it is complete with it.
    pub(super) fn push(
        &mut self,
        key: Key,
        offset: i64,
        clock_us: u64,
        part: Part,
        bytes: Bytes,
        bounds: &Bounds,
    ) -> Option<Assembled> {
        let alone = Span {
            partition: key.partition,
            first: offset,
            last: offset,
        };
        let refused = |key: Key, why| {
            Some(Assembled {
                headers: key.headers,
                span: alone,
                value: Err(why),
            })
        };
        if part.length > bounds.bytes as u64 {
            return refused(
                key,
                Unreadable::TooLarge {
                    bytes: part.length,
                    bound: bounds.bytes,
                },
            );
        }
        if part.expected() != bytes.len() {
            return refused(key, Unreadable::Checksum);
        }
        let place = *self.by_key.entry(key.clone()).or_insert(self.next);
        self.next += u64::from(place == self.next);
        let assembly = self.begun.entry(place).or_insert_with(|| Assembly {
            key,
            part,
            parts: BTreeMap::new(),
            span: alone,
            clock_us,
        });
        assembly.span.first = assembly.span.first.min(offset);
        assembly.span.last = assembly.span.last.max(offset);
        let length = bytes.len();
        if assembly.parts.insert(part.number, bytes).is_none() {
            self.held += length + PART_WEIGHT;
        }
        let complete = assembly.parts.len() == part.total as usize;
        complete.then(|| self.take(place)).flatten()
    }

    /// Gives up what is beyond the bounds, and what waits for too long: the oldest first.
    pub(super) fn expire(
        &mut self,
        partition: i32,
        clock_us: u64,
        bounds: &Bounds,
    ) -> Option<Assembled> {
        let beyond = self.held > bounds.bytes || self.begun.len() > bounds.parts;
        let mut oldest = self.begun.iter();
        let (place, oldest) = match beyond {
            true => oldest.next()?,
            false => oldest.find(|(_, it)| it.key.partition == partition)?,
        };
        let place = *place;
        let is_idle = clock_us.saturating_sub(oldest.clock_us) > bounds.idle_us;
        (beyond || is_idle).then(|| self.take(place)).flatten()
    }

    /// Gives up one value of the partition.
    pub(super) fn give_up(&mut self, partition: i32) -> Option<Assembled> {
        let of_partition = |it: &(&u64, &Assembly)| it.1.key.partition == partition;
        let place = *self.begun.iter().find(of_partition)?.0;
        self.take(place)
    }

    /// The lowest offset of a part that is held.
    pub(super) fn floor(&self, partition: i32) -> Option<i64> {
        self.begun
            .values()
            .filter(|it| it.key.partition == partition)
            .map(|it| it.span.first)
            .min()
    }

    /// Bytes that are held, roughly.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    fn take(&mut self, place: u64) -> Option<Assembled> {
        let assembly = self.begun.remove(&place)?;
        self.by_key.remove(&assembly.key);
        let weight: usize = assembly
            .parts
            .values()
            .map(|it| it.len() + PART_WEIGHT)
            .sum();
        self.held -= weight;
        let span = assembly.span;
        Some(Assembled {
            span,
            value: assembly.joined(),
            headers: assembly.key.headers,
        })
    }
}

impl Assembly {
    /// The value, if that is really what was split.
    fn joined(&self) -> Result<Bytes, Unreadable> {
        let total = self.part.total;
        let here = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        if here < total {
            let missing = total - here;
            let only_first = self
                .parts
                .keys()
                .next()
                .is_some_and(|first| *first > missing);
            return Err(match only_first {
                true => Unreadable::Earlier { missing, total },
                false => Unreadable::Parts { missing, total },
            });
        }
        let mut value = Vec::with_capacity(usize::try_from(self.part.length).unwrap_or(0));
        for part in self.parts.values() {
            value.extend_from_slice(part);
        }
        if value.len() as u64 != self.part.length || crc32c::crc32c(&value) != self.part.checksum {
            return Err(Unreadable::Checksum);
        }
        Ok(value.into())
    }
}

/// What a part costs besides its bytes, roughly.
const PART_WEIGHT: usize = 256;
