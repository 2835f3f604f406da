//! The names of documents, for what is ambiguous. Bounded: a name is kept for as many writes as the order
//! remembers.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use exchange::Exchange;
use exchange::operation::{Action, Operation};
use parking_lot::Mutex;

use crate::order::{Ambiguity, Of, Ticket};
use crate::outcome::{Ambiguous, Subject};
use crate::plan::{Decision, Fate, Reason, Write};
use crate::resolve::DocumentName;
use crate::resolver::FIRST_TICKET;

/// Writes whose documents can still be named.
const LIMIT: usize = 65_536;
/// Operations on whole indices whose indices can still be named.
const MOST_WHOLE: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Names {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    names: HashMap<(Ticket, u32), DocumentName>,
    order: VecDeque<(Ticket, u32)>,
    /// Operations on whole indices, and their indices.
    whole: VecDeque<(Ticket, Vec<Bytes>)>,
}

impl Names {
    /// These documents are written.
    pub(crate) fn remember(&self, ticket: Ticket, writes: &[Write]) {
        let mut recent = self.recent.lock();
        for write in writes {
            let (Some(name), Ok(item)) = (document(write), u32::try_from(write.item)) else {
                continue;
            };
            if recent.names.insert((ticket, item), name).is_none() {
                recent.order.push_back((ticket, item));
            }
        }
        while recent.order.len() > LIMIT
            && let Some(oldest) = recent.order.pop_front()
        {
            recent.names.remove(&oldest);
        }
    }

    /// What the order cannot decide, by its names.
    pub(crate) fn name(&self, found: &Ambiguity) -> Vec<Ambiguous> {
        // What is read from the primary is a write of nobody's.
        if matches!(found.of, Of::Item(ticket, _) if ticket >= FIRST_TICKET) {
            return Vec::new();
        }
        let (position, subjects) = match &found.of {
            Of::Item(ticket, item) => {
                let recent = self.recent.lock();
                let name = recent.names.get(&(*ticket, *item));
                let subject =
                    name.map_or(Subject::Operation, |name| Subject::Document(name.clone()));
                (*ticket, vec![subject])
            }
            Of::Operation(ticket) => (*ticket, self.whole(*ticket)),
            Of::Index(name) => (found.by, vec![Subject::Index(name.clone())]),
        };
        let ambiguous = |subject| Ambiguous {
            position,
            by: if found.by < FIRST_TICKET {
                found.by
            } else {
                position
            },
            subject,
            reason: found.reason.as_str(),
        };
        subjects.into_iter().map(ambiguous).collect()
    }

    /// This operation writes to whole indices.
    pub(crate) fn remember_whole(&self, ticket: Ticket, operation: &Operation) {
        let names: Vec<Bytes> = operation.indices.names.iter().map(copy).collect();
        let mut recent = self.recent.lock();
        recent.whole.push_back((ticket, names));
        if recent.whole.len() > MOST_WHOLE {
            recent.whole.pop_front();
        }
    }

    /// What an operation on whole indices wrote.
    fn whole(&self, ticket: Ticket) -> Vec<Subject> {
        let recent = self.recent.lock();
        let known = recent
            .whole
            .iter()
            .rev()
            .find(|(known, _)| *known == ticket);
        match known {
            None => vec![Subject::Operation],
            Some((_, names)) if names.is_empty() => vec![Subject::Index(Bytes::from_static(b"*"))],
            Some((_, names)) => names.iter().cloned().map(Subject::Index).collect(),
        }
    }

    /// What the primary's answer leaves open, by its names.
    pub(crate) fn ambiguous(
        &self,
        exchange: &Exchange,
        operation: &Operation,
        decision: &Decision,
    ) -> Vec<Ambiguous> {
        let Some(ambiguous) = decision.ambiguous else {
            return Vec::new();
        };
        let reason = ambiguous.as_str();
        match &decision.fate {
            Fate::Write(writes) if !writes.is_empty() => {
                let known = writes.iter().filter_map(document);
                // Those without an id are in no write.
                let unknown = decision
                    .left_out
                    .iter()
                    .filter(|left| left.reason == Reason::IdUnknown)
                    .filter_map(|left| operation.documents.get(left.item))
                    .map(|document| Subject::Index(copy(&document.index)));
                known
                    .map(Subject::Document)
                    .chain(unknown)
                    .map(|subject| about(exchange.position, subject, reason))
                    .collect()
            }
            _ => self.all(exchange, operation, reason),
        }
    }

    /// All that an operation writes is ambiguous.
    pub(crate) fn all(
        &self,
        exchange: &Exchange,
        operation: &Operation,
        reason: &'static str,
    ) -> Vec<Ambiguous> {
        let position = exchange.position;
        let named = operation
            .documents
            .iter()
            .filter(|document| document.action != Action::Get)
            .map(|document| match &document.id {
                Some(id) => Subject::Document(DocumentName {
                    index: copy(&document.index),
                    mapping_type: document.mapping_type.as_ref().map(copy),
                    id: copy(id),
                    routing: document.routing.as_ref().map(copy),
                }),
                // It may be any document, or one that is nowhere yet.
                None => Subject::Index(copy(&document.index)),
            });
        let whole = match operation.indices.names.as_slice() {
            _ if !operation.documents.is_empty() => Vec::new(),
            [] => vec![Subject::Operation],
            names => names
                .iter()
                .map(|name| Subject::Index(copy(name)))
                .collect(),
        };
        named
            .chain(whole)
            .map(|subject| about(position, subject, reason))
            .collect()
    }
}

fn about(position: u64, subject: Subject, reason: &'static str) -> Ambiguous {
    Ambiguous {
        position,
        by: position,
        subject,
        reason,
    }
}

/// The name of its own memory: a request must not stay for the sake of a name in it.
fn document(write: &Write) -> Option<DocumentName> {
    Some(DocumentName {
        index: copy(&write.index),
        mapping_type: None,
        id: copy(write.id.as_ref()?),
        routing: write.routing.as_ref().map(copy),
    })
}

fn copy(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
