//! What is on its way to Kafka: messages that no broker has acknowledged, in the order of the journal.
//!
//! They are kept until they are acknowledged, so that they can be sent again without the journal.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use exchange::message::{self, Carried, Message, header};

/// What a message costs beside its bytes.
const MESSAGE_COST: usize = 256;

/// What messages are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The exchange, or the pair, at this position.
    Exchange(u64),
    /// The held request whose record ends at this position; its exchange comes later.
    Request(u64),
    /// A gap. Nobody waits for it.
    Gap,
}

/// Something to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// What it is about.
    pub subject: Subject,
    /// The key of all of its messages.
    pub key: Bytes,
    /// Its messages: one, or its parts.
    pub messages: Vec<Message>,
    /// Unix time in microseconds.
    pub time_us: u64,
    /// How much of the subject they carry.
    pub carried: Carried,
}

impl Load {
    /// The exchange's id, where it has one.
    #[must_use]
    pub fn id(&self) -> Option<Bytes> {
        let headers = &self.messages.first()?.headers;
        let (_, id) = headers.iter().find(|(name, _)| *name == header::ID)?;
        Some(id.clone())
    }
}

/// A load that is on its way.
#[derive(Debug)]
pub struct Ticket {
    /// What is sent.
    pub load: Load,
    /// When it was sent, this time.
    pub sent: Instant,
    bytes: usize,
    /// Messages that are not acknowledged; 0 when it is done.
    left: usize,
    /// How often the brokers refused it.
    refusals: u32,
}

/// A load that is not on its way any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What it was about.
    pub subject: Subject,
    /// When it was sent.
    pub sent: Instant,
}

/// The tickets that are not done, by number. Numbers only grow.
#[derive(Debug, Default)]
pub struct Flight {
    first: u64,
    tickets: VecDeque<Ticket>,
    bytes: usize,
    messages: usize,
}

impl Flight {
    /// Bytes that are not acknowledged.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that are not acknowledged.
    #[must_use]
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes a load. Returns its number.
    pub fn add(&mut self, load: Load) -> u64 {
        let number = self.first + self.tickets.len() as u64;
        let (bytes, left) = (weight(&load), load.messages.len());
        self.bytes += bytes;
        self.messages += left;
        self.tickets.push_back(Ticket {
            load,
            sent: Instant::now(),
            bytes,
            left,
            refusals: 0,
        });
        number
    }

    /// The ticket of a number, unless it is done.
    #[must_use]
    pub fn ticket(&self, number: u64) -> Option<&Ticket> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.tickets.get(at).filter(|ticket| ticket.left > 0)
    }

    /// One of the messages of a number is acknowledged. Returns what is done with it.
    pub fn acknowledged(&mut self, number: u64) -> Option<Done> {
        let ticket = self.ticket_mut(number)?;
        ticket.left -= 1;
        let is_done = ticket.left == 0;
        self.messages -= 1;
        is_done.then(|| self.settle(number)).flatten()
    }

    /// Nothing will come of it.
    pub fn give_up(&mut self, number: u64) -> Option<Done> {
        let ticket = self.ticket_mut(number)?;
        let left = std::mem::take(&mut ticket.left);
        self.messages -= left;
        self.settle(number)
    }

    /// The brokers refused one of its messages. Returns how often they have.
    pub fn refused(&mut self, number: u64) -> u32 {
        let Some(ticket) = self.ticket_mut(number) else {
            return 0;
        };
        ticket.refusals = ticket.refusals.saturating_add(1);
        ticket.refusals
    }

    /// Everything is to be sent again: all parts of what is not done. Returns the numbers in order.
    pub fn resend(&mut self) -> Vec<u64> {
        let now = Instant::now();
        let mut numbers = Vec::new();
        self.messages = 0;
        for (number, ticket) in (self.first..).zip(&mut self.tickets) {
            if ticket.left == 0 {
                continue;
            }
            ticket.left = ticket.load.messages.len();
            ticket.sent = now;
            self.messages += ticket.left;
            numbers.push(number);
        }
        numbers
    }

    /// Splits what is larger than `limit`. What is not done must be sent again after that.
    pub fn split_again(&mut self, limit: usize) {
        for ticket in &mut self.tickets {
            if ticket.left == 0 {
                continue;
            }
            let messages = std::mem::take(&mut ticket.load.messages);
            ticket.load.messages = message::split_again(messages, limit);
            let bytes = weight(&ticket.load);
            self.bytes = self.bytes - ticket.bytes + bytes;
            self.messages = self.messages - ticket.left + ticket.load.messages.len();
            ticket.bytes = bytes;
            ticket.left = ticket.load.messages.len();
        }
    }

    fn ticket_mut(&mut self, number: u64) -> Option<&mut Ticket> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.tickets.get_mut(at).filter(|ticket| ticket.left > 0)
    }

    /// Frees what a ticket holds that is done, and forgets the oldest ones that are.
    fn settle(&mut self, number: u64) -> Option<Done> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let ticket = self.tickets.get_mut(at)?;
        let done = Done {
            subject: ticket.load.subject,
            sent: ticket.sent,
        };
        self.bytes -= std::mem::take(&mut ticket.bytes);
        ticket.load.messages = Vec::new();
        ticket.load.key = Bytes::new();
        while self.tickets.front().is_some_and(|ticket| ticket.left == 0) {
            self.tickets.pop_front();
            self.first += 1;
        }
        Some(done)
    }
}

/// Bytes that a message takes on its way.
#[must_use]
pub fn size(key: &[u8], message: &Message) -> usize {
    let headers: usize = message
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let key = message.key.as_ref().map_or(key.len(), Bytes::len);
    key + headers + message.value.len()
}

fn weight(load: &Load) -> usize {
    load.messages
        .iter()
        .map(|message| size(&load.key, message) + MESSAGE_COST)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(position: u64, parts: usize) -> Load {
        let message = |_| Message {
            key: None,
            headers: vec![("id", Bytes::from_static(b"x"))],
            value: Bytes::from(vec![b'v'; 1000]),
        };
        Load {
            subject: Subject::Exchange(position),
            key: Bytes::from_static(b"k"),
            messages: (0..parts).map(message).collect(),
            time_us: 0,
            carried: Carried::Whole,
        }
    }

    #[test]
    fn what_is_acknowledged_in_any_order_is_done_once_and_leaves_nothing() {
        let mut flight = Flight::default();
        let numbers = [
            flight.add(load(10, 1)),
            flight.add(load(20, 2)),
            flight.add(load(30, 1)),
        ];
        assert_eq!((numbers, flight.messages()), ([0, 1, 2], 4));
        let subject = |done: Option<Done>| done.map(|done| done.subject);
        assert_eq!(subject(flight.acknowledged(2)), Some(Subject::Exchange(30)));
        assert_eq!(subject(flight.acknowledged(2)), None);
        assert_eq!(subject(flight.acknowledged(1)), None);
        assert_eq!(subject(flight.acknowledged(1)), Some(Subject::Exchange(20)));
        assert_eq!(subject(flight.acknowledged(0)), Some(Subject::Exchange(10)));
        assert!(flight.is_empty() && flight.bytes() == 0 && flight.tickets.is_empty());
        assert_eq!(flight.add(load(40, 1)), 3);
        assert_eq!(
            subject(flight.acknowledged(1)),
            None,
            "of a number long gone"
        );
    }

    #[test]
    fn what_is_sent_again_is_all_that_is_not_done_with_all_of_its_parts_in_order() {
        let mut flight = Flight::default();
        for position in 0..4 {
            flight.add(load(position, 2));
        }
        flight.acknowledged(1);
        flight.acknowledged(1);
        flight.acknowledged(2);
        assert_eq!(flight.resend(), [0, 2, 3]);
        assert_eq!(flight.messages(), 6);
        assert!(flight.acknowledged(2).is_none() && flight.acknowledged(2).is_some());
    }

    #[test]
    fn what_is_split_again_keeps_its_place_and_its_bytes_are_counted() {
        let mut flight = Flight::default();
        let number = flight.add(load(7, 1));
        let before = flight.bytes();
        flight.split_again(800);
        assert_eq!(
            flight.messages(),
            flight.ticket(number).unwrap().load.messages.len()
        );
        assert!(flight.messages() > 1 && flight.bytes() > before);
        let done = flight.give_up(number).unwrap();
        assert_eq!(done.subject, Subject::Exchange(7));
        assert!(flight.is_empty() && flight.bytes() == 0);
    }
}
