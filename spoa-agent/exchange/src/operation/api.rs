//! The APIs of the cluster, by the names that the REST API specifications of Elasticsearch and OpenSearch
//! give them (`search`, `indices.put_mapping`). Where one name covers a family of calls that matter little
//! to order (`cat`, `ml`, `security`), it is the family's prefix.

use std::fmt;
use std::str::FromStr;

macro_rules! apis {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// An API of the cluster.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Api {
            $($(#[$doc])+ $variant,)+
        }

        impl Api {
            /// Every API, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name, as rules and metrics use it: `search`, `indices.create`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

apis! {
    /// Writes a document as a whole.
    Index = "index",
    /// Writes a document unless it is there.
    Create = "create",
    /// Reads a document in real time.
    Get = "get",
    /// Whether a document is there, in real time.
    Exists = "exists",
    /// Reads only the source of a document.
    GetSource = "get_source",
    /// Whether a document with a source is there.
    ExistsSource = "exists_source",
    /// Changes a document in part.
    Update = "update",
    /// Deletes a document.
    Delete = "delete",
    /// Writes many documents; the streaming `_bulk/stream` of OpenSearch is among it.
    Bulk = "bulk",
    /// Reads many documents in real time.
    Mget = "mget",
    /// The terms of a document, in real time.
    Termvectors = "termvectors",
    /// The terms of many documents.
    Mtermvectors = "mtermvectors",
    /// Changes the documents that a query finds.
    UpdateByQuery = "update_by_query",
    /// Deletes the documents that a query finds.
    DeleteByQuery = "delete_by_query",
    /// Copies the documents that a query finds.
    Reindex = "reindex",
    /// The speed of a running by-query operation.
    Rethrottle = "rethrottle",

    /// A search.
    Search = "search",
    /// A search by a template.
    SearchTemplate = "search_template",
    /// Many searches.
    Msearch = "msearch",
    /// Many searches by templates.
    MsearchTemplate = "msearch_template",
    /// How many documents a query finds.
    Count = "count",
    /// Why a document matches a query.
    Explain = "explain",
    /// Whether a query is valid.
    ValidateQuery = "indices.validate_query",
    /// What fields can do.
    FieldCaps = "field_caps",
    /// The quality of rankings.
    RankEval = "rank_eval",
    /// On which shards a search would run.
    SearchShards = "search_shards",
    /// A search for a map's vector tile.
    SearchMvt = "search_mvt",
    /// A search by vectors (Elasticsearch 8).
    KnnSearch = "knn_search",
    /// Terms that begin with a string.
    TermsEnum = "terms_enum",
    /// What a search template becomes.
    RenderSearchTemplate = "render_search_template",
    /// The next page of a scroll.
    Scroll = "scroll",
    /// Closes scrolls.
    ClearScroll = "clear_scroll",
    /// Opens a point in time, also OpenSearch's `create_pit`.
    OpenPointInTime = "open_point_in_time",
    /// Closes points in time, also OpenSearch's `delete_pit`.
    ClosePointInTime = "close_point_in_time",
    /// Lists all points in time (OpenSearch).
    GetAllPits = "get_all_pits",
    /// Begins an asynchronous search.
    AsyncSearchSubmit = "async_search.submit",
    /// Reads the answer, so far, of an asynchronous search.
    AsyncSearchGet = "async_search.get",
    /// How far an asynchronous search is.
    AsyncSearchStatus = "async_search.status",
    /// Ends an asynchronous search.
    AsyncSearchDelete = "async_search.delete",
    /// A query in SQL.
    SqlQuery = "sql.query",
    /// What an SQL query becomes, or its plan.
    SqlTranslate = "sql.translate",
    /// Closes an SQL cursor.
    SqlClearCursor = "sql.clear_cursor",
    /// Reads an asynchronous SQL query.
    SqlGetAsync = "sql.get_async",
    /// Ends an asynchronous SQL query.
    SqlDeleteAsync = "sql.delete_async",
    /// A query in PPL (OpenSearch).
    PplQuery = "ppl.query",
    /// A query in EQL.
    EqlSearch = "eql.search",
    /// Reads an EQL query.
    EqlGet = "eql.get",
    /// Ends an EQL query.
    EqlDelete = "eql.delete",
    /// A query in ES|QL (Elasticsearch 8).
    EsqlQuery = "esql.query",
    /// Reads an asynchronous ES|QL query.
    EsqlAsyncGet = "esql.async_query_get",
    /// Stops or ends an asynchronous ES|QL query.
    EsqlAsyncDelete = "esql.async_query_delete",
    /// A search in rolled-up data.
    RollupSearch = "rollup.rollup_search",
    /// How terms hang together.
    GraphExplore = "graph.explore",
    /// What a text becomes when it is analyzed.
    Analyze = "indices.analyze",
    /// Runs a script on its own.
    ScriptsPainlessExecute = "scripts_painless_execute",

    /// Creates an index.
    IndicesCreate = "indices.create",
    /// Deletes indices.
    IndicesDelete = "indices.delete",
    /// What indices are.
    IndicesGet = "indices.get",
    /// Whether indices are there.
    IndicesExists = "indices.exists",
    /// Whether mapping types are there.
    IndicesExistsType = "indices.exists_type",
    /// Opens indices.
    IndicesOpen = "indices.open",
    /// Closes indices.
    IndicesClose = "indices.close",
    /// Blocks writes or reads of indices.
    IndicesAddBlock = "indices.add_block",
    /// Takes such a block away.
    IndicesRemoveBlock = "indices.remove_block",
    /// Changes mappings.
    IndicesPutMapping = "indices.put_mapping",
    /// Reads mappings.
    IndicesGetMapping = "indices.get_mapping",
    /// Reads the mappings of fields.
    IndicesGetFieldMapping = "indices.get_field_mapping",
    /// Changes settings of indices.
    IndicesPutSettings = "indices.put_settings",
    /// Reads settings of indices.
    IndicesGetSettings = "indices.get_settings",
    /// Points an alias to indices.
    IndicesPutAlias = "indices.put_alias",
    /// Takes an alias away.
    IndicesDeleteAlias = "indices.delete_alias",
    /// Reads aliases.
    IndicesGetAlias = "indices.get_alias",
    /// Changes several aliases in one step.
    IndicesUpdateAliases = "indices.update_aliases",
    /// Makes writes visible to searches.
    IndicesRefresh = "indices.refresh",
    /// Puts writes to disk.
    IndicesFlush = "indices.flush",
    /// Merges segments.
    IndicesForcemerge = "indices.forcemerge",
    /// Empties caches.
    IndicesClearCache = "indices.clear_cache",
    /// Points an alias to a new index.
    IndicesRollover = "indices.rollover",
    /// Copies an index to one of fewer shards.
    IndicesShrink = "indices.shrink",
    /// Copies an index to one of more shards.
    IndicesSplit = "indices.split",
    /// Copies an index.
    IndicesClone = "indices.clone",
    /// Creates an index like another.
    IndicesCreateFrom = "indices.create_from",
    /// Freezes indices.
    IndicesFreeze = "indices.freeze",
    /// Unfreezes indices.
    IndicesUnfreeze = "indices.unfreeze",
    /// Upgrades the segments of indices (Elasticsearch 6 and 7).
    IndicesUpgrade = "indices.upgrade",
    /// Reads the search analyzers anew.
    IndicesReloadSearchAnalyzers = "indices.reload_search_analyzers",
    /// Statistics of indices.
    IndicesStats = "indices.stats",
    /// Segments of indices.
    IndicesSegments = "indices.segments",
    /// Recoveries of shards.
    IndicesRecovery = "indices.recovery",
    /// Where shards are on disk.
    IndicesShardStores = "indices.shard_stores",
    /// What fields take on disk.
    IndicesDiskUsage = "indices.disk_usage",
    /// How often fields were used.
    IndicesFieldUsageStats = "indices.field_usage_stats",
    /// What an index expression names.
    IndicesResolveIndex = "indices.resolve_index",
    /// Which clusters an index expression names.
    IndicesResolveCluster = "indices.resolve_cluster",
    /// Copies an index with its time series reduced.
    IndicesDownsample = "indices.downsample",
    /// Creates a data stream.
    IndicesCreateDataStream = "indices.create_data_stream",
    /// Deletes data streams.
    IndicesDeleteDataStream = "indices.delete_data_stream",
    /// What data streams are.
    IndicesGetDataStream = "indices.get_data_stream",
    /// Statistics of data streams.
    IndicesDataStreamsStats = "indices.data_streams_stats",
    /// Changes, migrates or promotes a data stream.
    IndicesModifyDataStream = "indices.modify_data_stream",
    /// The life cycle, options and settings of data streams.
    IndicesDataLifecycle = "indices.data_lifecycle",
    /// Writes an index template of the old kind.
    IndicesPutTemplate = "indices.put_template",
    /// Reads index templates of the old kind.
    IndicesGetTemplate = "indices.get_template",
    /// Deletes index templates of the old kind.
    IndicesDeleteTemplate = "indices.delete_template",
    /// Writes an index template.
    IndicesPutIndexTemplate = "indices.put_index_template",
    /// Reads index templates.
    IndicesGetIndexTemplate = "indices.get_index_template",
    /// Deletes index templates.
    IndicesDeleteIndexTemplate = "indices.delete_index_template",
    /// What an index template would give.
    IndicesSimulateTemplate = "indices.simulate_template",
    /// Writes a component template.
    ClusterPutComponentTemplate = "cluster.put_component_template",
    /// Reads component templates.
    ClusterGetComponentTemplate = "cluster.get_component_template",
    /// Deletes component templates.
    ClusterDeleteComponentTemplate = "cluster.delete_component_template",
    /// Indices that the cluster found on disk and does not know.
    DanglingIndices = "dangling_indices",

    /// Writes an ingest pipeline.
    IngestPutPipeline = "ingest.put_pipeline",
    /// Reads ingest pipelines.
    IngestGetPipeline = "ingest.get_pipeline",
    /// Deletes ingest pipelines.
    IngestDeletePipeline = "ingest.delete_pipeline",
    /// What an ingest pipeline would do.
    IngestSimulate = "ingest.simulate",
    /// Patterns and databases of ingest processors.
    Ingest = "ingest",
    /// Search pipelines (OpenSearch).
    SearchPipeline = "search_pipeline",
    /// Writes a stored script.
    PutScript = "put_script",
    /// Reads a stored script.
    GetScript = "get_script",
    /// Deletes a stored script.
    DeleteScript = "delete_script",
    /// Where scripts can be used, and in which languages.
    GetScriptContext = "get_script_context",

    /// `GET /`.
    Info = "info",
    /// `HEAD /`.
    Ping = "ping",
    /// The cluster's health.
    ClusterHealth = "cluster.health",
    /// The cluster's state.
    ClusterState = "cluster.state",
    /// The cluster's statistics.
    ClusterStats = "cluster.stats",
    /// What the cluster has still to do.
    ClusterPendingTasks = "cluster.pending_tasks",
    /// Reads the cluster's settings.
    ClusterGetSettings = "cluster.get_settings",
    /// Changes the cluster's settings.
    ClusterPutSettings = "cluster.put_settings",
    /// Moves shards.
    ClusterReroute = "cluster.reroute",
    /// Why a shard is where it is.
    ClusterAllocationExplain = "cluster.allocation_explain",
    /// Remote clusters.
    ClusterRemoteInfo = "cluster.remote_info",
    /// Other calls below `_cluster`: decommissioning, weights, voting.
    Cluster = "cluster",
    /// What nodes are and do.
    Nodes = "nodes",
    /// Has nodes read their secure settings anew.
    NodesReloadSecureSettings = "nodes.reload_secure_settings",
    /// Tables for people, also OpenSearch's `_list`.
    Cat = "cat",
    /// Lists tasks.
    TasksList = "tasks.list",
    /// Reads a task.
    TasksGet = "tasks.get",
    /// Cancels tasks.
    TasksCancel = "tasks.cancel",

    /// Registers a snapshot repository.
    SnapshotCreateRepository = "snapshot.create_repository",
    /// Reads snapshot repositories.
    SnapshotGetRepository = "snapshot.get_repository",
    /// Forgets a snapshot repository.
    SnapshotDeleteRepository = "snapshot.delete_repository",
    /// Takes a snapshot.
    SnapshotCreate = "snapshot.create",
    /// Reads snapshots.
    SnapshotGet = "snapshot.get",
    /// How far snapshots are.
    SnapshotStatus = "snapshot.status",
    /// Deletes snapshots.
    SnapshotDelete = "snapshot.delete",
    /// Restores indices from a snapshot.
    SnapshotRestore = "snapshot.restore",
    /// Other calls below `_snapshot`: clone, verify, clean up.
    Snapshot = "snapshot",
    /// Indices that stay in a snapshot.
    SearchableSnapshots = "searchable_snapshots",

    /// Index life cycles of Elasticsearch.
    Ilm = "ilm",
    /// Index states of OpenSearch.
    Ism = "ism",
    /// Snapshot life cycles of Elasticsearch.
    Slm = "slm",
    /// Snapshot management of OpenSearch.
    Sm = "sm",
    /// Transforms.
    Transform = "transform",
    /// Rollups.
    Rollup = "rollup",
    /// Replication between clusters: Elasticsearch's.
    Ccr = "ccr",
    /// Replication between clusters: OpenSearch's.
    Replication = "replication",
    /// Users, roles, tokens.
    Security = "security",
    /// Machine learning and inference.
    Ml = "ml",
    /// Watches and alerts.
    Alerting = "alerting",
    /// Enrichment policies.
    Enrich = "enrich",
    /// Licences and the list of features.
    License = "license",
    /// Vectors: models, warm-up, statistics (OpenSearch).
    Knn = "knn",
    /// Data that a cluster's monitoring sends.
    Monitoring = "monitoring",
    /// Reports on health, features, certificates, upgrades.
    Health = "health",
    /// Synonyms, query rules, search applications.
    SearchTuning = "search_tuning",
    /// Another plugin or module.
    Plugin = "plugin",

    /// A path that nobody knows, or a method that the path does not take.
    Unknown = "unknown",
}

impl Api {
    /// Whether the cluster itself chooses the documents that it writes, by a query, so that their
    /// ids are not known: `update_by_query`, `delete_by_query`, `reindex`.
    #[must_use]
    pub const fn is_by_query(self) -> bool {
        matches!(
            self,
            Self::UpdateByQuery | Self::DeleteByQuery | Self::Reindex
        )
    }

    /// Whether it takes in all documents of its indices as they are at that moment, visible to searches or
    /// not: an index is deleted, closed, or copied.
    #[must_use]
    pub const fn takes_whole_indices(self) -> bool {
        matches!(
            self,
            Self::IndicesDelete
                | Self::IndicesDeleteDataStream
                | Self::IndicesClose
                | Self::IndicesShrink
                | Self::IndicesSplit
                | Self::IndicesClone
                | Self::IndicesAddBlock
        )
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No API has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no API is called {0:?}")]
pub struct NoSuchApi(pub String);

impl FromStr for Api {
    type Err = NoSuchApi;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|api| api.as_str() == name)
            .copied()
            .ok_or_else(|| NoSuchApi(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_has_a_name_of_its_own_and_is_found_by_it() {
        for api in Api::ALL {
            assert_eq!(api.as_str().parse(), Ok(*api));
        }
        assert_eq!(
            "serch".parse::<Api>(),
            Err(NoSuchApi(String::from("serch")))
        );
    }
}
