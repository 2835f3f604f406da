//! What of an exchange is applied to the target, and how it is said there. Pure: nothing here sends or waits.
//!
//! [`decide()`] tells, once an exchange is complete, which of its documents are written on the target;
//! [`compose()`] makes the request for all or some of them; [`judge()`] reads the target's answer and tells what
//! is to go again; [`guard`] keeps writes from being done twice where that would matter.
//!
//! # What is applied
//!
//! The target gets what the primary *did*, not what the primary was asked for:
//!
//! * What the primary accepted is applied, without the conditions that it found true (`if_seq_no`,
//!   `if_primary_term`, a `version` of the cluster's own counting): the target counts otherwise. An external
//!   version means the same everywhere and stays.
//! * What the primary refused is left out ([`Filtered::Refused`](crate::Filtered)), the items of a `_bulk` one by one.
//! * What changed nothing is left out too: a delete of a document that is not there, an update that is a
//!   `noop`. The outcome on the primary is the state; sending it could only do harm where the order is not
//!   certain. A delete with an external version is sent even so, for it leaves that version behind, and
//!   may create the index.
//! * A document whose id the primary chose gets that id. Where the answer does not tell it (`filter_path`,
//!   a cut body), the write is not sent: any other id would be a document that the primary does not have.
//! * A write whose answer was lost is sent as it was captured, and is [`Ambiguous`].
//!
//! A refused write can leave traces on the primary that are not followed: the index or the mapping that
//! it created before it failed.
//!
//! # Sending again
//!
//! An attempt may have been done although its answer never came, and after a crash what was done and not yet
//! noted goes again. For one document these are the last of its writes, in order: if `W1..Wn` are its accepted
//! writes and `W1..Wk` were done, then `W1..Wn` go again after them. The table says why the document
//! is the same as if each had been done once. (A property test of this module runs it on a model.) It needs
//! two things of the engine: a write goes only when the earlier ones of its document are done, and what is
//! noted as done is noted in that order.
//!
//! | write | done again after `W1..Wk` |
//! |---|---|
//! | `index` (pinned or not) | The document is whole again; what the later writes changed they change again. |
//! | `create`, pinned id | It is there: refused with 409, and stays. It was not there before `W1..Wn`, or a delete among them comes before; so nothing but these writes made what is there. |
//! | `delete` | It is gone again, or 404; later writes follow. |
//! | `update` with `doc` | Sets the same fields again. Fields that it did not set were set by other writes of `W1..Wn`, which set them again, or were never changed. If it is gone: 404, and the delete that took it follows. |
//! | `doc_as_upsert` | As `index` where it is gone, otherwise as `update`. |
//! | `update` with `upsert` | **Not the same**: the first time writes the `upsert`, the second puts `doc` over it. Guarded. |
//! | `update` with `script` | **Not the same**: a counter counts twice. Guarded. |
//! | external version | Refused with 409 when it is there with that version or a later one. |
//! | index administration, `_aliases`, templates, `_reindex`, by-query | In a row it is the same, or refused. After *later* writes it may not be (`_delete_by_query` deletes what was written since, and an update of that fails): [`needs_fence`]. A by-query operation with a script is not the same even in a row, and is ambiguous when it goes again. |
//!
//! A target that finds a write done by an earlier attempt does not write again: it answers 409 to a `create`, or `noop` to an
//! `update`. That is no promise. A node that is cut off from its master has what no other copy has; when a copy takes
//! over, it is gone. So these documents are read from the primary and written again
//! ([`Judged::unwritten`]), where the primary may be asked; otherwise a target that loses nodes can lose such writes.
//!
//! Not covered: documents that are written both with external versions and without, and external versions that
//! go back after `index.gc_deletes` made the cluster forget a delete.
//!
//! Within a `_bulk` the later items of a document are done even though an earlier one failed. When that one goes
//! again, they go again behind it ([`judge()`]), and the document is the same; except that an update with `doc_as_upsert`
//! would have taken the place of a `create` that failed, so these are not sent together ([`guard_groups`]).

mod action_line;
mod compose;
mod decide;
pub mod guard;
mod judge;
#[cfg(test)]
mod redelivery;
mod target;
#[cfg(test)]
mod tests;

pub use compose::{Composed, Items, Uncomposable, compose};
pub use decide::{Ambiguous, Decision, Fate, LeftOut, Reason, Write, decide};
pub use guard::{guard_groups, needs_fence, needs_guard};
pub use judge::{Became, Judged, halve, judge};

use exchange::operation::{Action, Document};

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of writes that the primary refused.
    pub refused: Refused,
    /// What becomes of writes that changed nothing on the primary.
    pub no_effect: NoEffect,
    /// Whether documents get the ids that the primary chose. If not, the target chooses its own, and the
    /// two clusters cannot be compared by id.
    pub pin_ids: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            refused: Refused::Leave,
            no_effect: NoEffect::Leave,
            pin_ids: true,
        }
    }
}

/// What becomes of writes that the primary refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Refused {
    /// They are left out.
    #[default]
    Leave,
    /// They are sent as they were captured, conditions included: the same load, perhaps not the same state.
    /// A document without an id is left out even so when ids are pinned, for the target could accept it.
    Send,
}

/// What becomes of writes that changed nothing on the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NoEffect {
    /// They are left out.
    #[default]
    Leave,
    /// They are sent.
    Send,
}

/// Whether the cluster is to choose the document's id.
fn has_no_id(document: &Document) -> bool {
    document.id.is_none() && matches!(document.action, Action::Index | Action::Create)
}
