//! What the order must know of an exchange: its footprint, first as far as the request tells, then as the
//! primary's answer tells. Pure.

use std::net::IpAddr;

use bytes::Bytes;
use exchange::operation::answer::{Answer, Answered, Sequence};
use exchange::operation::{Access, Action, Document, Operation, Reach, Refresh};
use exchange::{Exchange, Request};

use crate::aliases::Aliases;
use crate::order::{Expressions, Footprint, Key, Keys, Level, Scope, Sweep, Touch};
use crate::resolve::DocumentName;
use crate::tokens::{self, Asked, Told};

/// Makes footprints.
#[derive(Debug)]
pub(crate) struct Intake {
    level: Level,
    keys: Keys,
    aliases: Aliases,
}

impl Intake {
    pub(crate) fn new(level: Level) -> Self {
        Self {
            level,
            keys: Keys::default(),
            aliases: Aliases::default(),
        }
    }

    /// Which indices names stand for.
    pub(crate) fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// What a request touches that has no answer yet.
    pub(crate) fn begun(
        &self,
        request: &Request,
        operation: &Operation,
        asked: &Asked,
    ) -> Footprint {
        match self.level {
            Level::None => Footprint::default(),
            Level::Connection => self.connection(request),
            Level::Causal => {
                let touches = operation
                    .documents
                    .iter()
                    .enumerate()
                    .filter_map(|(item, document)| self.touch(item, document, None))
                    .collect();
                self.footprint(operation, touches, &tokens::keys(asked, None))
            }
        }
    }

    /// What an exchange touched that is sent: of its documents those in `applied`.
    pub(crate) fn complete(
        &self,
        exchange: &Exchange,
        operation: &Operation,
        answer: &Answer,
        applied: Option<&[u32]>,
        (asked, told): (&Asked, Option<&Told>),
    ) -> Footprint {
        match (self.level, &exchange.request) {
            (Level::None, _) | (_, None) => Footprint::default(),
            (Level::Connection, Some(request)) => self.connection(request),
            (Level::Causal, Some(_)) => {
                let touches = self.touches(operation, answer, applied);
                self.footprint(operation, touches, &tokens::keys(asked, told))
            }
        }
    }

    /// The key of a document: its id alone. A name may be an alias, and a document is the same when it is
    /// written under its index; two routing values may lead to one shard, where the later write meets the
    /// document of the earlier one (measured on 7.10.2). Two indices with the same ids share keys, which costs
    /// parallelism and nothing else.
    pub(crate) fn document_key(
        &self,
        document: &Document,
        answered: Option<&Answered>,
    ) -> Option<Key> {
        let id = answered
            .and_then(|answered| answered.id.as_ref())
            .or(document.id.as_ref())?;
        Some(self.keys.document(b"", None, id))
    }

    /// The touch that stands for all of a document, by its name.
    pub(crate) fn named(&self, name: &DocumentName) -> Touch {
        Touch {
            index: self.aliases.resolve(&name.index),
            key: self.keys.document(b"", None, &name.id),
            access: Access::Write,
            // It stands for no write of the primary's, and is in nobody's way.
            sequence: Some(Sequence { term: 0, number: 0 }),
            item: 0,
        }
    }

    /// The touch of a document that an exchange writes.
    pub(crate) fn written(
        &self,
        item: usize,
        document: &Document,
        answered: Option<&Answered>,
    ) -> Option<Touch> {
        self.touch(item, document, answered)
            .filter(|touch| touch.access == Access::Write)
    }

    /// The indices that an operation is on as a whole.
    pub(crate) fn scope(&self, operation: &Operation) -> Expressions {
        Expressions::of(&self.whole_indices(operation))
    }

    fn whole_indices(&self, operation: &Operation) -> Scope {
        match operation.reach {
            Reach::Nothing | Reach::Documents => Scope::Nothing,
            Reach::Indices if operation.indices.is_all() => Scope::All,
            Reach::Indices => Scope::Indices(self.aliases.expand(&operation.indices.names)),
            Reach::Cluster => Scope::All,
        }
    }

    fn touches(
        &self,
        operation: &Operation,
        answer: &Answer,
        applied: Option<&[u32]>,
    ) -> Vec<Touch> {
        let answered: &[Answered] = match answer {
            Answer::Documents(answered) => answered,
            Answer::Status | Answer::Unknown => &[],
        };
        let touch = |item: usize| {
            let document = operation.documents.get(item)?;
            self.touch(item, document, answered.get(item))
        };
        match applied {
            Some(items) => items
                .iter()
                .filter_map(|item| touch(usize::try_from(*item).ok()?))
                .collect(),
            None => (0..operation.documents.len()).filter_map(touch).collect(),
        }
    }

    fn touch(
        &self,
        item: usize,
        document: &Document,
        answered: Option<&Answered>,
    ) -> Option<Touch> {
        Some(Touch {
            index: self.index(document, answered),
            key: self.document_key(document, answered)?,
            access: match document.action {
                Action::Get => Access::Read,
                _ => Access::Write,
            },
            sequence: answered.and_then(|answered| answered.sequence),
            item: u32::try_from(item).ok()?,
        })
    }

    /// The index that a document is in: what the primary answered, or what the name stands for.
    fn index(&self, document: &Document, answered: Option<&Answered>) -> Bytes {
        match answered.and_then(|answered| answered.index.clone()) {
            Some(index) => {
                self.aliases.learn(&document.index, &index);
                index
            }
            None => self.aliases.resolve(&document.index),
        }
    }

    fn footprint(
        &self,
        operation: &Operation,
        documents: Vec<Touch>,
        tokens: &[tokens::Key],
    ) -> Footprint {
        let access = |write: bool| if write { Access::Write } else { Access::Read };
        Footprint {
            access: operation.access,
            documents,
            indices: self.whole_indices(operation),
            sweep: sweep(operation),
            keys: tokens
                .iter()
                .map(|key| (Key(key.hash), access(key.write)))
                .collect(),
            refresh: operation.refresh != Refresh::Later,
        }
    }

    /// One client connection does one thing after the other.
    fn connection(&self, request: &Request) -> Footprint {
        let Some(client) = request.client.filter(|client| client.port != 0) else {
            // Port 0 stands for a port that HAProxy did not tell: the address alone could be a proxy's
            // that speaks for thousands.
            return Footprint::default();
        };
        let mut name = match client.ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        name.extend_from_slice(&client.port.to_be_bytes());
        Footprint {
            keys: vec![(self.keys.connection(&name), Access::Write)],
            ..Footprint::default()
        }
    }
}

/// Which documents an operation takes in without naming them.
fn sweep(operation: &Operation) -> Sweep {
    if operation.api.is_by_query() {
        Sweep::Visible
    } else if operation.api.takes_whole_indices() {
        Sweep::Documents
    } else {
        Sweep::Nothing
    }
}
