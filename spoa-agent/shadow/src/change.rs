//! In what a request that is sent differs from the captured one. Each kind is counted, and told in the pair.

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Change {
    /// It carries the id that the primary generated.
    IdPinned,
    /// Items of a `_bulk` that the primary refused are left out.
    ItemsLeftOut,
    /// It carries some of the items of a `_bulk`; the others go in requests of their own.
    Split,
    /// A condition that the primary found true is left out: `if_seq_no`, `if_primary_term`, `version`.
    ConditionRemoved,
    /// A scroll, point-in-time, async search or task id is the target's own.
    TokenMapped,
    /// A rule renamed an index.
    IndexRenamed,
    /// A rule set or removed a header field.
    HeaderRuled,
    /// `now` in date math is the time of the capture.
    DateAnchored,
    /// A compressed body is sent without its content coding, because something in it was changed.
    Decoded,
}

impl Change {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::IdPinned,
        Self::ItemsLeftOut,
        Self::Split,
        Self::ConditionRemoved,
        Self::TokenMapped,
        Self::IndexRenamed,
        Self::HeaderRuled,
        Self::DateAnchored,
        Self::Decoded,
    ];

    /// The word for it, as pairs and metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdPinned => "id pinned",
            Self::ItemsLeftOut => "items left out",
            Self::Split => "split",
            Self::ConditionRemoved => "condition removed",
            Self::TokenMapped => "token mapped",
            Self::IndexRenamed => "index renamed",
            Self::HeaderRuled => "header ruled",
            Self::DateAnchored => "date anchored",
            Self::Decoded => "decoded",
        }
    }
}
