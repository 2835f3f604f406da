//! What became of an exchange at the target: the words of the ledger.

use exchange::{Exchange, Extent};

use crate::{Timing, Unsendable};

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

    /// What is certain before anything is sent. `None` when the exchange is to be sent.
    pub(crate) fn foreseen(exchange: &Exchange) -> Option<Self> {
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
            Self::Poison { .. } => "poison",
        }
    }
}
