//! The names of documents, for what is ambiguous. Bounded: a name is kept for as many writes as the order
//! remembers.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use exchange::Exchange;
use exchange::operation::{Action, Operation};
use parking_lot::Mutex;

use crate::order::{Ambiguity, Of, Ticket};
use crate::outcome::{Ambiguous, Subject};
use crate::plan::{Decision, Fate, LeftOut, Reason, Write};
use crate::resolve::DocumentName;
use crate::resolver::FIRST_TICKET;

/// Writes whose documents can still be named.
const LIMIT: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Names {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    names: HashMap<(Ticket, u32), DocumentName>,
    order: VecDeque<(Ticket, u32)>,
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
    pub(crate) fn name(&self, found: &Ambiguity) -> Option<Ambiguous> {
        // What is read from the primary is a write of nobody's.
        if matches!(found.of, Of::Item(ticket, _) if ticket >= FIRST_TICKET) {
            return None;
        }
        let (position, subject) = match &found.of {
            Of::Item(ticket, item) => {
                let recent = self.recent.lock();
                let name = recent.names.get(&(*ticket, *item));
                (
                    *ticket,
                    name.map_or(Subject::Operation, |name| Subject::Document(name.clone())),
                )
            }
            Of::Operation(ticket) => (*ticket, Subject::Operation),
            Of::Index(name) => (found.by, Subject::Index(name.clone())),
        };
        Some(Ambiguous {
            position,
            by: if found.by < FIRST_TICKET {
                found.by
            } else {
                position
            },
            subject,
            reason: found.reason.as_str(),
        })
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
                let is_nameless = |left: &LeftOut| left.reason == Reason::IdUnknown;
                let nameless = decision.left_out.iter().any(is_nameless);
                let nameless = nameless.then_some(Subject::Operation);
                let names = writes.iter().filter_map(document);
                names
                    .map(Subject::Document)
                    .chain(nameless)
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
                None => Subject::Operation,
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
