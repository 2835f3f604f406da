//! From the records of connections to exchanges.
//!
//! What ends a message is what HTTP says; the marks between the bytes only tell where to begin again after bytes that are not
//! here. Bytes that were cut, by whomever, become a message that says so, and a request that was dropped on purpose is never
//! told as one that could be sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::connection::Connection;
use super::observation::Envelope;
use crate::message::{Bounds, Told, Unreadable};

/// The connections that are open, over all partitions, in a bounded number.
#[derive(Debug, Default)]
pub(in crate::message) struct Connections {
    open: HashMap<Key, Open>,
    /// The same, by partition, and by the order in which something came last.
    by_turn: HashMap<i32, BTreeMap<u64, Key>>,
    /// Partition, lowest offset that is needed, and turn of each of which something is not told yet.
    needed: BTreeSet<(i32, i64, u64)>,
    turn: u64,
    held: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    partition: i32,
    node: Box<[u8]>,
    id: Box<[u8]>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    turn: u64,
    weight: usize,
}

/// A record, and what its message's headers say.
#[derive(Debug)]
pub(in crate::message) struct Incoming<'a> {
    pub(in crate::message) partition: i32,
    pub(in crate::message) offset: i64,
    /// What time it is in the partition.
    pub(in crate::message) clock_us: u64,
    pub(in crate::message) value: &'a Bytes,
    /// The exchange's id.
    pub(in crate::message) id: Option<Bytes>,
    pub(in crate::message) agent: Option<Arc<str>>,
    pub(in crate::message) begun: Option<u64>,
    pub(in crate::message) complete: Option<u64>,
}

impl Connections {
    /// Takes a record, and appends what is complete with it.
    pub(in crate::message) fn push(
        &mut self,
        incoming: &Incoming<'_>,
        bounds: &Bounds,
        out: &mut Vec<Told>,
    ) -> Result<(), Unreadable> {
        let envelope = Envelope::read(incoming.value)?;
        let key = Key {
            partition: incoming.partition,
            node: envelope.node.into(),
            id: envelope.id.into(),
        };
        let mut connection = match self.release(&key) {
            Some(connection) => connection,
            None => Connection::new(incoming.partition, &envelope),
        };
        let is_open = connection.record(&envelope, incoming, bounds, out);
        if is_open {
            self.keep(key, connection);
        }
        while self.open.len() > bounds.parts || self.held > bounds.bytes {
            let Some(mut oldest) = self.oldest().and_then(|key| self.release(&key)) else {
                break;
            };
            oldest.give_up(out);
        }
        Ok(())
    }

    /// Ends connections of a partition on which nothing happened for too long.
    pub(in crate::message) fn expire(
        &mut self,
        partition: i32,
        clock_us: u64,
        bounds: &Bounds,
        out: &mut Vec<Told>,
    ) {
        while let Some(key) = self.oldest_of(partition) {
            let is_idle = self.open.get(&key).is_some_and(|it| {
                clock_us.saturating_sub(it.connection.seen_us()) > bounds.idle_us
            });
            let Some(mut idle) = is_idle.then(|| self.release(&key)).flatten() else {
                return;
            };
            idle.give_up(out);
        }
    }

    /// Ends all connections of the partition.
    pub(in crate::message) fn finish(&mut self, partition: i32, out: &mut Vec<Told>) {
        while let Some(key) = self.oldest_of(partition) {
            let Some(mut connection) = self.release(&key) else {
                return;
            };
            connection.give_up(out);
        }
    }

    /// The lowest offset of which something is not told yet.
    pub(in crate::message) fn floor(&self, partition: i32) -> Option<i64> {
        let from = (partition, i64::MIN, 0);
        let to = (partition, i64::MAX, u64::MAX);
        let lowest = self.needed.range(from..=to).next();
        lowest.map(|(_, offset, _)| *offset)
    }

    /// Bytes that are held, roughly.
    pub(in crate::message) const fn held(&self) -> usize {
        self.held
    }

    fn oldest(&self) -> Option<Key> {
        let firsts = self.by_turn.values().filter_map(BTreeMap::first_key_value);
        firsts
            .min_by_key(|(turn, _)| **turn)
            .map(|(_, key)| key.clone())
    }

    fn oldest_of(&self, partition: i32) -> Option<Key> {
        let (_, key) = self.by_turn.get(&partition)?.first_key_value()?;
        Some(key.clone())
    }

    fn release(&mut self, key: &Key) -> Option<Connection> {
        let open = self.open.remove(key)?;
        if let Some(turns) = self.by_turn.get_mut(&key.partition) {
            turns.remove(&open.turn);
            if turns.is_empty() {
                self.by_turn.remove(&key.partition);
            }
        }
        if let Some(offset) = open.connection.floor() {
            self.needed.remove(&(key.partition, offset, open.turn));
        }
        self.held -= open.weight;
        Some(open.connection)
    }

    fn keep(&mut self, key: Key, connection: Connection) {
        self.turn += 1;
        let turn = self.turn;
        let weight = connection.weight();
        if let Some(offset) = connection.floor() {
            self.needed.insert((key.partition, offset, turn));
        }
        self.held += weight;
        let turns = self.by_turn.entry(key.partition).or_default();
        turns.insert(turn, key.clone());
        let open = Open {
            connection,
            turn,
            weight,
        };
        self.open.insert(key, open);
    }
}
