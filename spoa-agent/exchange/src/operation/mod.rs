//! What a request means to a search cluster: an [`Operation`].
//!
//! Elasticsearch 6 to 8 and OpenSearch 1 to 3. Nothing here sends or changes anything; the shadow engine
//! orders requests by what their operations touch, pins the ids that the primary generated, and leaves
//! out what the primary refused.
//!
//! # What is recognised
//!
//! - Documents: `_doc`, `_create`, `_update`, `_source`, `_termvectors`, `_bulk` (also `_bulk/stream`), `_mget`,
//!   `_mtermvectors`, and the paths with a mapping type of Elasticsearch 6 and 7: `/{index}/{type}/{id}`,
//!   `/{index}/{type}/{id}/_update`, `/{index}/{type}/_bulk`, ...
//! - By query: `_update_by_query`, `_delete_by_query`, `_reindex`, `_rethrottle`.
//! - Searches: `_search`, `_msearch`, templates, `_count`, `_explain`, `_validate`, `_field_caps`, `_rank_eval`, SQL, PPL, EQL, ES|QL, ...;
//!   scrolls, points in time and asynchronous searches of both families.
//! - Indices, aliases, data streams, templates, pipelines, stored scripts, snapshots, the cluster, nodes, tasks, `_cat`.
//! - Modules and plugins: life cycles, transforms, rollups, replication, security, machine learning, alerting and others below `_xpack`,
//!   `_plugins` and `_opendistro`, most of them by a row for the whole family.
//!
//! # What changes the meaning
//!
//! | | |
//! |---|---|
//! | `refresh` | [`Operation::refresh`], for reads in real time, too |
//! | `routing`, `parent` | [`Document::routing`] |
//! | `if_seq_no`, `if_primary_term`, `version`, `version_type` | [`Document::condition`] |
//! | `op_type=create` | [`Action::Create`] |
//! | `realtime=false` | a read of the index as searches see it: [`Reach::Indices`] |
//! | `index`, `type`, `id` | what the path of a document leaves open |
//! | the body of `_mget`, `_mtermvectors`, `_bulk` | [`Operation::documents`] |
//! | the body of `_update` | [`Document::scripted`] |
//! | the body of `_reindex`, `_msearch`, `_aliases` | [`Operation::indices`] |
//! | `aliases` in a body that creates an index | [`Operation::indices`]: names that mean something else from then on |
//!
//! # What is in doubt
//!
//! The wider reading is taken, since it costs time only:
//!
//! - A path that no row of the table fits, or a method that its row does not take, is [`Api::Unknown`]: a read for `GET`, `HEAD` and `OPTIONS`,
//!   otherwise a write. It reaches the indices that the path begins with, or the cluster when it begins with a word of an API,
//!   with an empty segment, or not with a slash.
//! - A body that is not whole, or is not what its API takes, is not JSON, or names more than memory should hold: a `_bulk`, `_mget`, `_msearch` or `_reindex` reaches all indices, because
//!   its items may name any; an `_update` counts as scripted; `_aliases`, and the creation of an index, reach the cluster.
//! - An index that is named by date math or an alias keeps that name; which index it is, the answer tells.
//!
//! An operation copies the names that it needs, and so does not keep the request's memory.

use std::ops::Range;

use bytes::Bytes;

use crate::Request;

pub mod answer;
pub mod bulk;
pub mod content;

mod api;
mod indices;
mod meaning;
mod named;
mod table;
mod target;

pub use api::{Api, NoSuchApi};
pub use indices::Indices;

/// What a request means to the cluster. Never fails: what is not understood gets the wider reading.
///
/// Fast for all but the APIs whose bodies are read: well under a microsecond.
#[must_use]
pub fn read(request: &Request) -> Operation {
    meaning::read(request)
}

/// Whether the cluster may answer the request before it has done what the request asks:
/// `wait_for_completion=false` on a by-query operation or a `_forcemerge`, and a snapshot or restore without
/// `wait_for_completion=true`. What comes after its answer is then not after its effects.
#[must_use]
pub fn is_answered_early(request: &Request) -> bool {
    meaning::is_answered_early(request)
}

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

impl Operation {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.access == Access::Read
    }
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
