//! What a request means to a search cluster: an [`Operation`].
//!
//! Elasticsearch 6 to 8 and OpenSearch 1 to 3. Nothing here sends or changes anything; the shadow engine
//! orders requests by what their operations touch, pins the ids that the primary generated, and leaves
//! out what the primary refused.
//!
//! What is not understood is treated safely: a path that nobody knows is a read when its method only
//! reads, and otherwise a write to everything it may reach.

use std::ops::Range;

use bytes::Bytes;

pub mod answer;
pub mod bulk;
pub mod content;

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which API it calls.
    pub api: Api,
    /// Whether it can change anything. A `POST _search` is a read.
    pub access: Access,
    /// What it may touch.
    pub reach: Reach,
    /// The index expression: for [`Reach::Indices`] what is touched, for [`Reach::Documents`] the
    /// default index of the documents that name none.
    pub indices: Indices,
    /// The documents that the request names, in the order in which it names them: the items of a
    /// `_bulk` or an `_mget`, or the one in the path. Empty unless `reach` is [`Reach::Documents`].
    pub documents: Vec<Document>,
    /// Whether it makes writes visible to searches.
    pub refresh: Refresh,
}

/// Whether an operation can change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It only reads.
    Read,
    /// It can change documents, indices or the cluster.
    Write,
}

/// What an operation may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Nothing that other operations change: `/`, `_cat`, `_nodes/stats`, `_cluster/health`.
    Nothing,
    /// The documents that it names, by their ids, in real time.
    Documents,
    /// Everything in some indices. A read sees what a refresh made visible.
    Indices,
    /// All indices, aliases, templates and settings.
    Cluster,
}

/// Which indices an operation names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    /// The expressions between the commas, percent-decoded: names, aliases, patterns with `*`, exclusions
    /// with `-`, date math in `<>`. Empty, or holding `_all` or `*`: all of them.
    pub names: Vec<Bytes>,
}

/// Whether an operation makes writes visible to searches (`refresh`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Refresh {
    /// At the index's next refresh.
    #[default]
    Later,
    /// It waits for that (`wait_for`).
    Wait,
    /// At once: `?refresh`, `?refresh=true`, or the API `_refresh` itself.
    Now,
}

/// A document that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What is done with it.
    pub action: Action,
    /// The index or alias, percent-decoded.
    pub index: Bytes,
    /// The mapping type, where the path or the item names one (Elasticsearch 6 and 7).
    pub mapping_type: Option<Bytes>,
    /// Its id, percent-decoded. `None` when the cluster is to choose one.
    pub id: Option<Bytes>,
    /// The routing value, when it is not the id.
    pub routing: Option<Bytes>,
    /// Under which condition it is done.
    pub condition: Condition,
    /// An update by a script: done twice, it may have another effect than done once.
    pub scripted: bool,
    /// Where the item stands in the decoded body of a `_bulk`: the line of the action, without its line
    /// feed, and the line of the source. Empty ranges for a document of another API.
    pub lines: Lines,
}

/// Where an item of a `_bulk` stands, in bytes of the decoded body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The action, for example `{"index":{"_id":"1"}}`.
    pub action: Range<usize>,
    /// The document, or what updates it. `None` for a delete.
    pub source: Option<Range<usize>>,
}

/// What is done with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read in real time.
    Get,
    /// Written as a whole, whether it is there or not.
    Index,
    /// Written as a whole, unless it is there.
    Create,
    /// Changed in part, by a partial document or a script.
    Update,
    /// Deleted.
    Delete,
}

/// Under which condition a document is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Under none.
    #[default]
    None,
    /// `if_seq_no` and `if_primary_term`.
    Sequence,
    /// `version` of the cluster's own counting (Elasticsearch 6).
    Version,
    /// `version` with `version_type` `external`, `external_gt` or `external_gte`: the client's own counting, which means the same
    /// on every cluster.
    External,
}

/// An API of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Api {
    /// `_search`.
    Search,
    /// `_bulk`.
    Bulk,
    /// A path that nobody knows.
    Unknown,
}
