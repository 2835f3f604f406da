//! What the captured answers cannot decide.

use super::footprint::{Name, Ticket};

/// A place where the order on the primary is not known, so that the shadow may differ there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ambiguity {
    /// The operation whose order against `of` is not known.
    pub by: Ticket,
    /// What may differ.
    pub of: Of,
    /// Why it is not known.
    pub reason: Reason,
}

/// What may differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// The document that this item of this operation writes.
    Item(Ticket, u32),
    /// All that this operation wrote; it names no documents.
    Operation(Ticket),
    /// Any document of the indices that this name or pattern covers: too many to list.
    Index(Name),
}

/// Why an order is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Two writes of one document overlapped, and the sequence of one is not known.
    Unsequenced,
    /// A later write of the document had already been handed out when this one's sequence became known.
    Overtaken,
    /// Those that waited for this operation's answer were let go without it.
    Released,
    /// The write and the operation on the whole index overlapped.
    Overlap,
    /// No refresh is known between the write and the operation that works on what a search sees.
    Unrefreshed,
}

impl Reason {
    /// The word for it, as lists and metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsequenced => "unsequenced",
            Self::Overtaken => "overtaken",
            Self::Released => "released",
            Self::Overlap => "overlap",
            Self::Unrefreshed => "unrefreshed",
        }
    }
}
