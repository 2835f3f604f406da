//! What became of an exchange at the target: the words of the ledger.

use bytes::Bytes;
use exchange::{Exchange, Extent, Pair};

use crate::resolve::DocumentName;
use crate::tokens::Unmappable;
use crate::{Timing, Unsendable, rules};

/// How an exchange ended. Every exchange that was offered ends exactly once, or is told as not done
/// when the engine drains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered, whatever it answered.
    Delivered(Delivered),
    /// Not meant for the target.
    Filtered(Filtered),
    /// Meant for the target, and lost.
    Dropped(Dropped),
}

/// The target's answer, as far as the ledger needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The status code.
    pub status: u16,
    /// How many times the request was begun on a connection. More than one means that the target may
    /// have done it more than once.
    pub attempts: u32,
    /// Of the last attempt.
    pub timing: Timing,
}

/// Why an exchange is not meant for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filtered {
    /// Only its response was seen.
    NoRequest,
    /// A `CONNECT` asks for a tunnel, which is no request to a search cluster.
    Tunnel,
    /// The primary refused it.
    Refused,
    /// It changed nothing on the primary.
    NoEffect,
    /// A rule denies it.
    Denied,
    /// A rule takes a sample, and it is not in it.
    NotSampled,
    /// What was read from the primary to settle something ambiguous shows it already.
    Superseded,
}

/// Why an exchange is lost to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dropped {
    /// The end of its body was not captured.
    BodyCut,
    /// Nothing of its body was captured.
    BodyNotCaptured,
    /// The primary chose the ids of its documents, and the answer does not tell them.
    IdUnknown,
    /// HTTP/1.1 has no way to say it.
    Unsendable(Unsendable),
    /// It carries an id of a scroll, a point in time, an async search or a task that the target does not know.
    Unmappable(Unmappable),
    /// A rule renames an index in it where it cannot be renamed.
    Unrenamable,
    /// What the primary did of it cannot be said in a request.
    Uncomposable,
    /// It failed again and again while the target answered others.
    Poison {
        /// How many times it was begun on a connection.
        attempts: u32,
        /// How the last attempt failed: [`crate::SendError::as_str`].
        cause: &'static str,
    },
}

/// Learns what became of the exchanges. Called from the sending tasks: it must not block.
pub trait Outcomes: Send + Sync + 'static {
    /// The exchange at this position of the journal has ended.
    fn done(&self, position: u64, outcome: &Outcome);

    /// The captured halves do not tell what the primary has. Told before the exchange's outcome where
    /// that is possible.
    fn ambiguous(&self, ambiguous: &Ambiguous) {
        let _ = ambiguous;
    }

    /// It was ambiguous, and now the target has what the primary has.
    fn resolved(&self, subject: &Subject) {
        let _ = subject;
    }

    /// A request was answered, or given up. Called before [`Outcomes::done`].
    fn pair(&self, pair: Box<Pair>) {
        let _ = pair;
    }
}

/// Something on the target that may differ from what the primary has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguous {
    /// The exchange that wrote it.
    pub position: u64,
    /// The exchange because of which it is ambiguous. Often the same.
    pub by: u64,
    /// What may differ.
    pub subject: Subject,
    /// Why it is not known, in a word or three.
    pub reason: &'static str,
}

/// What may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A document.
    Document(DocumentName),
    /// Any document of the indices that this name or pattern covers.
    Index(Bytes),
    /// All that the exchange wrote; it is not known by name.
    Operation,
}

impl Outcome {
    /// `delivered`, `filtered` or `dropped`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Filtered(_) => "filtered",
            Self::Dropped(_) => "dropped",
        }
    }

    /// The word for the reason, where there is one.
    #[must_use]
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Delivered(_) => None,
            Self::Filtered(reason) => Some(reason.as_str()),
            Self::Dropped(reason) => Some(reason.as_str()),
        }
    }

    /// Of what became of two parts of an exchange, the one that tells more of trouble: something dropped,
    /// then the greater status, then something filtered.
    #[must_use]
    pub(crate) fn worse(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Dropped(_), _) => self,
            (_, Self::Dropped(_)) => other,
            (Self::Delivered(one), Self::Delivered(two)) if one.status >= two.status => self,
            (Self::Delivered(_), Self::Filtered(_)) => self,
            _ => other,
        }
    }

    /// What is certain before anything is sent. `None` when the exchange is to be sent.
    #[must_use]
    pub fn foreseen(exchange: &Exchange) -> Option<Self> {
        let Some(request) = &exchange.request else {
            return Some(Self::Filtered(Filtered::NoRequest));
        };
        if request.method.as_ref() == b"CONNECT" {
            return Some(Self::Filtered(Filtered::Tunnel));
        }
        match request.body.extent {
            Extent::Whole => None,
            Extent::Cut { .. } => Some(Self::Dropped(Dropped::BodyCut)),
            Extent::NotCaptured { .. } => Some(Self::Dropped(Dropped::BodyNotCaptured)),
        }
    }
}

impl Filtered {
    /// The word for it, as the ledger and the metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRequest => "no request",
            Self::Tunnel => "tunnel",
            Self::Refused => "refused",
            Self::NoEffect => "no effect",
            Self::Denied => "denied",
            Self::NotSampled => "not sampled",
            Self::Superseded => "superseded",
        }
    }
}

impl From<rules::Reason> for Filtered {
    fn from(reason: rules::Reason) -> Self {
        match reason {
            rules::Reason::Denied => Self::Denied,
            rules::Reason::NotSampled => Self::NotSampled,
        }
    }
}

impl Dropped {
    /// The word for it, as the ledger and the metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BodyCut => "body cut",
            Self::BodyNotCaptured => "body not captured",
            Self::IdUnknown => "id unknown",
            Self::Unsendable(_) => "unsendable",
            Self::Unmappable(_) => "unmappable",
            Self::Unrenamable => "unrenamable",
            Self::Uncomposable => "uncomposable",
            Self::Poison { .. } => "poison",
        }
    }
}
