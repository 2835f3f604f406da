//! The table of paths: which method and path is which API, whether it can change anything, and what it may touch.
//!
//! A segment of a pattern is a word, or one of:
//!
//! | written | takes |
//! |---|---|
//! | `{index}`, `{alias}`, `{target}` | an index expression: what is touched |
//! | `{type}` | a mapping type: no word with `_` in front, except `_doc` |
//! | `{id}` | a document's id |
//! | `{any}` | anything |
//! | `**` | any number of segments, also none |
//!
//! An `{index}` in the first place takes no word with `_` in front, except `_all`: index names cannot begin so. Of two rows that
//! both fit, the one with the earlier word counts, as in the path trie of the cluster. A `HEAD` that
//! has no row of its own is read as `GET`.
//!
//! Where versions differ, the row that is safe for all of them stands here. Elasticsearch 6 searches for
//! `POST /i/_doc/_search` (`_doc` is a mapping type there), later versions write a document with the id `_search`: the row says `search`, and a
//! write to the whole index. `POST /i/_doc/_bulk` is a bulk there, and a refused document later: `bulk`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Access::{self, Read, Write};
use super::Api::{self, *};
use super::Reach::{self, Cluster as All, Documents, Indices, Nothing};
use super::target::{DELETE, GET, HEAD, Methods, PATCH, POST, PUT, Path};

type Row = (Methods, &'static str, Api, Access, Reach);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // One document.
    (PUT | POST,        "/{index}/_doc/{id}",                        Index,                 Write, Documents),
    (POST,              "/{index}/_doc",                             Index,                 Write, Documents),
    (GET,               "/{index}/_doc/{id}",                        Get,                   Read,  Documents),
    (HEAD,              "/{index}/_doc/{id}",                        Exists,                Read,  Documents),
    (DELETE,            "/{index}/_doc/{id}",                        Delete,                Write, Documents),
    (PUT | POST,        "/{index}/_create/{id}",                     Create,                Write, Documents),
    (POST,              "/{index}/_update/{id}",                     Update,                Write, Documents),
    (GET,               "/{index}/_source/{id}",                     GetSource,             Read,  Documents),
    (HEAD,              "/{index}/_source/{id}",                     ExistsSource,          Read,  Documents),
    (GET | POST,        "/{index}/_termvectors/{id}",                Termvectors,           Read,  Documents),
    (GET | POST,        "/{index}/_explain/{id}",                    Explain,               Read,  Indices),
    // One document, with its mapping type in the path (Elasticsearch 6 and 7).
    (PUT | POST,        "/{index}/{type}/{id}",                      Index,                 Write, Documents),
    (POST,              "/{index}/{type}",                           Index,                 Write, Documents),
    (GET,               "/{index}/{type}/{id}",                      Get,                   Read,  Documents),
    (HEAD,              "/{index}/{type}/{id}",                      Exists,                Read,  Documents),
    (DELETE,            "/{index}/{type}/{id}",                      Delete,                Write, Documents),
    (PUT | POST,        "/{index}/{type}/{id}/_create",              Create,                Write, Documents),
    (POST,              "/{index}/{type}/{id}/_update",              Update,                Write, Documents),
    (GET,               "/{index}/{type}/{id}/_source",              GetSource,             Read,  Documents),
    (HEAD,              "/{index}/{type}/{id}/_source",              ExistsSource,          Read,  Documents),
    (GET | POST,        "/{index}/{type}/{id}/_termvectors",         Termvectors,           Read,  Documents),
    (GET | POST,        "/{index}/{type}/{id}/_explain",             Explain,               Read,  Indices),
    // Many documents, named in the body.
    (PUT | POST,        "/_bulk",                                    Bulk,                  Write, Documents),
    (PUT | POST,        "/{index}/_bulk",                            Bulk,                  Write, Documents),
    (PUT | POST,        "/{index}/{type}/_bulk",                     Bulk,                  Write, Documents),
    (PUT | POST,        "/{index}/_doc/_bulk",                       Bulk,                  Write, Documents),
    (PUT | POST,        "/_bulk/stream",                             Bulk,                  Write, Documents),
    (PUT | POST,        "/{index}/_bulk/stream",                     Bulk,                  Write, Documents),
    (GET | POST,        "/_mget",                                    Mget,                  Read,  Documents),
    (GET | POST,        "/{index}/_mget",                            Mget,                  Read,  Documents),
    (GET | POST,        "/{index}/{type}/_mget",                     Mget,                  Read,  Documents),
    (GET,               "/{index}/_doc/_mget",                       Mget,                  Read,  Indices),
    (POST,              "/{index}/_doc/_mget",                       Mget,                  Write, Indices),
    (GET | POST,        "/_mtermvectors",                            Mtermvectors,          Read,  Documents),
    (GET | POST,        "/{index}/_mtermvectors",                    Mtermvectors,          Read,  Documents),
    (GET | POST,        "/{index}/{type}/_mtermvectors",             Mtermvectors,          Read,  Documents),
    (GET | POST,        "/{index}/_termvectors",                     Termvectors,           Read,  Indices),
    (GET | POST,        "/{index}/{type}/_termvectors",              Termvectors,           Read,  Indices),
    // The documents that a query finds.
    (POST,              "/{index}/_update_by_query",                 UpdateByQuery,         Write, Indices),
    (POST,              "/{index}/{type}/_update_by_query",          UpdateByQuery,         Write, Indices),
    (POST,              "/{index}/_doc/_update_by_query",            UpdateByQuery,         Write, Indices),
    (POST,              "/{index}/_delete_by_query",                 DeleteByQuery,         Write, Indices),
    (POST,              "/{index}/{type}/_delete_by_query",          DeleteByQuery,         Write, Indices),
    (POST,              "/{index}/_doc/_delete_by_query",            DeleteByQuery,         Write, Indices),
    (POST,              "/_reindex",                                 Reindex,               Write, Indices),
    (POST,              "/_update_by_query/{any}/_rethrottle",       Rethrottle,            Write, Nothing),
    (POST,              "/_delete_by_query/{any}/_rethrottle",       Rethrottle,            Write, Nothing),
    (POST,              "/_reindex/{any}/_rethrottle",               Rethrottle,            Write, Nothing),
    // Searches.
    (GET | POST,        "/_search",                                  Search,                Read,  Indices),
    (GET | POST,        "/{index}/_search",                          Search,                Read,  Indices),
    (GET | POST,        "/{index}/{type}/_search",                   Search,                Read,  Indices),
    (GET,               "/{index}/_doc/_search",                     Search,                Read,  Indices),
    (POST,              "/{index}/_doc/_search",                     Search,                Write, Indices),
    (GET | POST,        "/_search/template",                         SearchTemplate,        Read,  Indices),
    (GET | POST,        "/{index}/_search/template",                 SearchTemplate,        Read,  Indices),
    (GET | POST,        "/{index}/{type}/_search/template",          SearchTemplate,        Read,  Indices),
    (GET | POST,        "/{index}/_doc/_search/template",            SearchTemplate,        Read,  Indices),
    (GET | POST,        "/_msearch",                                 Msearch,               Read,  Indices),
    (GET | POST,        "/{index}/_msearch",                         Msearch,               Read,  Indices),
    (GET | POST,        "/{index}/{type}/_msearch",                  Msearch,               Read,  Indices),
    (GET,               "/{index}/_doc/_msearch",                    Msearch,               Read,  Indices),
    (POST,              "/{index}/_doc/_msearch",                    Msearch,               Write, Indices),
    (GET | POST,        "/_msearch/template",                        MsearchTemplate,       Read,  Indices),
    (GET | POST,        "/{index}/_msearch/template",                MsearchTemplate,       Read,  Indices),
    (GET | POST,        "/{index}/{type}/_msearch/template",         MsearchTemplate,       Read,  Indices),
    (GET | POST,        "/_count",                                   Count,                 Read,  Indices),
    (GET | POST,        "/{index}/_count",                           Count,                 Read,  Indices),
    (GET | POST,        "/{index}/{type}/_count",                    Count,                 Read,  Indices),
    (GET,               "/{index}/_doc/_count",                      Count,                 Read,  Indices),
    (POST,              "/{index}/_doc/_count",                      Count,                 Write, Indices),
    (GET | POST,        "/_validate/query",                          ValidateQuery,         Read,  Indices),
    (GET | POST,        "/{index}/_validate/query",                  ValidateQuery,         Read,  Indices),
    (GET | POST,        "/{index}/{type}/_validate/query",           ValidateQuery,         Read,  Indices),
    (GET | POST,        "/_field_caps",                              FieldCaps,             Read,  Indices),
    (GET | POST,        "/{index}/_field_caps",                      FieldCaps,             Read,  Indices),
    (GET | POST,        "/_rank_eval",                               RankEval,              Read,  Indices),
    (GET | POST,        "/{index}/_rank_eval",                       RankEval,              Read,  Indices),
    (GET | POST,        "/_search_shards",                           SearchShards,          Read,  Indices),
    (GET | POST,        "/{index}/_search_shards",                   SearchShards,          Read,  Indices),
    (GET | POST,        "/{index}/{type}/_search_shards",            SearchShards,          Read,  Indices),
    (GET | POST,        "/{index}/_mvt/{any}/{any}/{any}/{any}",     SearchMvt,             Read,  Indices),
    (GET | POST,        "/{index}/_knn_search",                      KnnSearch,             Read,  Indices),
    (GET | POST,        "/{index}/_terms_enum",                      TermsEnum,             Read,  Indices),
    (GET | POST,        "/_render/template/**",                      RenderSearchTemplate,  Read,  All),
    (GET | POST,        "/{index}/_rollup_search",                   RollupSearch,          Read,  Indices),
    (GET | POST,        "/{index}/{type}/_rollup_search",            RollupSearch,          Read,  Indices),
    (GET | POST,        "/{index}/_graph/explore",                   GraphExplore,          Read,  Indices),
    (GET | POST,        "/{index}/{type}/_graph/explore",            GraphExplore,          Read,  Indices),
    (GET | POST,        "/{index}/_xpack/graph/_explore",            GraphExplore,          Read,  Indices),
    (GET | POST,        "/_fleet/_fleet_msearch",                    Msearch,               Read,  Indices),
    (GET | POST,        "/{index}/_fleet/_fleet_msearch",            Msearch,               Read,  Indices),
    (GET | POST,        "/{index}/_fleet/_fleet_search",             Search,                Read,  Indices),
    (GET,               "/{index}/_fleet/global_checkpoints",        IndicesStats,          Read,  Indices),
    // Search contexts. The order of these comes from their tokens.
    (GET | POST,        "/_search/scroll/**",                        Scroll,                Read,  Nothing),
    (DELETE,            "/_search/scroll/**",                        ClearScroll,           Write, Nothing),
    (POST,              "/{index}/_pit",                             OpenPointInTime,       Read,  Indices),
    (DELETE,            "/_pit",                                     ClosePointInTime,      Write, Nothing),
    (POST,              "/{index}/_search/point_in_time",            OpenPointInTime,       Read,  Indices),
    (DELETE,            "/_search/point_in_time/**",                 ClosePointInTime,      Write, Nothing),
    (GET,               "/_search/point_in_time/_all",               GetAllPits,            Read,  Nothing),
    (POST,              "/_async_search",                            AsyncSearchSubmit,     Read,  Indices),
    (POST,              "/{index}/_async_search",                    AsyncSearchSubmit,     Read,  Indices),
    (GET,               "/_async_search/status/{any}",               AsyncSearchStatus,     Read,  Nothing),
    (GET,               "/_async_search/{any}",                      AsyncSearchGet,        Read,  Nothing),
    (DELETE,            "/_async_search/{any}",                      AsyncSearchDelete,     Write, Nothing),
    (POST,              "/_plugins/_asynchronous_search",            AsyncSearchSubmit,     Read,  Indices),
    (POST,              "/{index}/_plugins/_asynchronous_search",    AsyncSearchSubmit,     Read,  Indices),
    (GET,               "/_plugins/_asynchronous_search/stats",      AsyncSearchStatus,     Read,  Nothing),
    (GET,               "/_plugins/_asynchronous_search/_nodes/**",  AsyncSearchStatus,     Read,  Nothing),
    (GET,               "/_plugins/_asynchronous_search/{any}",      AsyncSearchGet,        Read,  Nothing),
    (DELETE,            "/_plugins/_asynchronous_search/{any}",      AsyncSearchDelete,     Write, Nothing),
    // Query languages.
    (GET | POST,        "/_sql",                                     SqlQuery,              Read,  Indices),
    (GET | POST,        "/_sql/translate",                           SqlTranslate,          Read,  Indices),
    (POST,              "/_sql/close",                               SqlClearCursor,        Write, Nothing),
    (GET,               "/_sql/stats",                               SqlTranslate,          Read,  Nothing),
    (GET,               "/_sql/async/{any}",                         SqlGetAsync,           Read,  Nothing),
    (GET,               "/_sql/async/status/{any}",                  SqlGetAsync,           Read,  Nothing),
    (DELETE,            "/_sql/async/delete/{any}",                  SqlDeleteAsync,        Write, Nothing),
    (GET | POST,        "/_xpack/sql",                               SqlQuery,              Read,  Indices),
    (GET | POST,        "/_xpack/sql/translate",                     SqlTranslate,          Read,  Indices),
    (POST,              "/_xpack/sql/close",                         SqlClearCursor,        Write, Nothing),
    // A read, unless its body may delete.
    (GET | POST,        "/_plugins/_sql",                            SqlQuery,              Write, Indices),
    (GET | POST,        "/_plugins/_sql/_explain",                   SqlTranslate,          Read,  Indices),
    (GET | POST,        "/_plugins/_sql/stats",                      SqlTranslate,          Read,  Nothing),
    (POST,              "/_plugins/_sql/close",                      SqlClearCursor,        Write, Nothing),
    (POST,              "/_plugins/_ppl",                            PplQuery,              Read,  Indices),
    (POST,              "/_plugins/_ppl/_explain",                   PplQuery,              Read,  Indices),
    (GET | POST,        "/_plugins/_ppl/stats",                      PplQuery,              Read,  Nothing),
    (GET | POST,        "/{index}/_eql/search",                      EqlSearch,             Read,  Indices),
    (GET,               "/_eql/search/{any}",                        EqlGet,                Read,  Nothing),
    (GET,               "/_eql/search/status/{any}",                 EqlGet,                Read,  Nothing),
    (DELETE,            "/_eql/search/{any}",                        EqlDelete,             Write, Nothing),
    (POST,              "/_query",                                   EsqlQuery,             Read,  Indices),
    (POST,              "/_query/async",                             EsqlQuery,             Read,  Indices),
    (GET,               "/_query/async/{any}",                       EsqlAsyncGet,          Read,  Nothing),
    (POST,              "/_query/async/{any}/stop",                  EsqlAsyncDelete,       Write, Nothing),
    (DELETE,            "/_query/async/{any}",                       EsqlAsyncDelete,       Write, Nothing),
    (GET,               "/_query/queries/**",                        EsqlAsyncGet,          Read,  Nothing),
    (GET | POST,        "/_analyze",                                 Analyze,               Read,  Nothing),
    (GET | POST,        "/{index}/_analyze",                         Analyze,               Read,  Indices),
    (GET | POST,        "/_scripts/painless/_execute",               ScriptsPainlessExecute, Read, Indices),
    (GET | POST,        "/_scripts/painless/_context",               GetScriptContext,      Read,  Nothing),

    // Indices.
    (PUT,               "/{index}",                                  IndicesCreate,         Write, Indices),
    (DELETE,            "/{index}",                                  IndicesDelete,         Write, Indices),
    (GET,               "/{index}",                                  IndicesGet,            Read,  Indices),
    (HEAD,              "/{index}",                                  IndicesExists,         Read,  Indices),
    (HEAD,              "/{index}/{type}",                           IndicesExistsType,     Read,  Indices),
    (HEAD,              "/{index}/_mapping/{type}",                  IndicesExistsType,     Read,  Indices),
    (POST,              "/_open",                                    IndicesOpen,           Write, Indices),
    (POST,              "/{index}/_open",                            IndicesOpen,           Write, Indices),
    (POST,              "/_close",                                   IndicesClose,          Write, Indices),
    (POST,              "/{index}/_close",                           IndicesClose,          Write, Indices),
    (PUT,               "/{index}/_block/{any}",                     IndicesAddBlock,       Write, Indices),
    (DELETE,            "/{index}/_block/{any}",                     IndicesRemoveBlock,    Write, Indices),
    (GET,               "/_mapping/**",                              IndicesGetMapping,     Read,  Indices),
    (GET,               "/_mappings/**",                             IndicesGetMapping,     Read,  Indices),
    (GET,               "/{index}/_mapping",                         IndicesGetMapping,     Read,  Indices),
    (GET,               "/{index}/_mappings",                        IndicesGetMapping,     Read,  Indices),
    (GET,               "/{index}/_mapping/{type}",                  IndicesGetMapping,     Read,  Indices),
    (GET,               "/{index}/_mappings/{type}",                 IndicesGetMapping,     Read,  Indices),
    (GET,               "/{index}/{type}/_mapping",                  IndicesGetMapping,     Read,  Indices),
    (GET,               "/_mapping/field/{any}",                     IndicesGetFieldMapping, Read, Indices),
    (GET,               "/_mapping/{type}/field/{any}",              IndicesGetFieldMapping, Read, Indices),
    (GET,               "/{index}/_mapping/field/{any}",             IndicesGetFieldMapping, Read, Indices),
    (GET,               "/{index}/_mapping/{type}/field/{any}",      IndicesGetFieldMapping, Read, Indices),
    (PUT | POST,        "/_mapping/**",                              IndicesPutMapping,     Write, Indices),
    (PUT | POST,        "/_mappings/**",                             IndicesPutMapping,     Write, Indices),
    (PUT | POST,        "/{index}/_mapping/**",                      IndicesPutMapping,     Write, Indices),
    (PUT | POST,        "/{index}/_mappings/**",                     IndicesPutMapping,     Write, Indices),
    (PUT | POST,        "/{index}/{type}/_mapping",                  IndicesPutMapping,     Write, Indices),
    (PUT | POST,        "/{index}/{type}/_mappings",                 IndicesPutMapping,     Write, Indices),
    (PUT,               "/{index}/_doc/_mapping",                    IndicesPutMapping,     Write, Indices),
    (GET,               "/_settings/**",                             IndicesGetSettings,    Read,  Indices),
    (GET,               "/{index}/_settings",                        IndicesGetSettings,    Read,  Indices),
    (GET,               "/{index}/_settings/{any}",                  IndicesGetSettings,    Read,  Indices),
    (GET,               "/{index}/_setting/{any}",                   IndicesGetSettings,    Read,  Indices),
    (PUT,               "/_settings",                                IndicesPutSettings,    Write, Indices),
    (PUT,               "/{index}/_settings",                        IndicesPutSettings,    Write, Indices),
    (POST,              "/_aliases",                                 IndicesUpdateAliases,  Write, Indices),
    (GET,               "/_aliases",                                 IndicesGetAlias,       Read,  Indices),
    (GET,               "/_alias/**",                                IndicesGetAlias,       Read,  Indices),
    (GET,               "/{index}/_alias/**",                        IndicesGetAlias,       Read,  Indices),
    (GET,               "/{index}/_aliases/**",                      IndicesGetAlias,       Read,  Indices),
    (PUT | POST,        "/_alias/**",                                IndicesPutAlias,       Write, All),
    (PUT | POST,        "/_aliases/**",                              IndicesPutAlias,       Write, All),
    (PUT | POST,        "/{index}/_alias",                           IndicesPutAlias,       Write, All),
    (PUT | POST,        "/{index}/_aliases",                         IndicesPutAlias,       Write, All),
    (PUT | POST,        "/{index}/_alias/{alias}",                   IndicesPutAlias,       Write, Indices),
    (PUT | POST,        "/{index}/_aliases/{alias}",                 IndicesPutAlias,       Write, Indices),
    (DELETE,            "/{index}/_alias/{alias}",                   IndicesDeleteAlias,    Write, Indices),
    (DELETE,            "/{index}/_aliases/{alias}",                 IndicesDeleteAlias,    Write, Indices),
    (GET | POST,        "/_refresh",                                 IndicesRefresh,        Write, Indices),
    (GET | POST,        "/{index}/_refresh",                         IndicesRefresh,        Write, Indices),
    (GET | POST,        "/_flush/**",                                IndicesFlush,          Write, Indices),
    (GET | POST,        "/{index}/_flush/**",                        IndicesFlush,          Write, Indices),
    (GET | POST,        "/_forcemerge",                              IndicesForcemerge,     Write, Indices),
    (GET | POST,        "/{index}/_forcemerge",                      IndicesForcemerge,     Write, Indices),
    (GET | POST,        "/_cache/clear",                             IndicesClearCache,     Write, Indices),
    (GET | POST,        "/{index}/_cache/clear",                     IndicesClearCache,     Write, Indices),
    (POST,              "/{index}/_rollover",                        IndicesRollover,       Write, Indices),
    (POST,              "/{index}/_rollover/{target}",               IndicesRollover,       Write, Indices),
    (PUT | POST,        "/{index}/_shrink/{target}",                 IndicesShrink,         Write, Indices),
    (PUT | POST,        "/{index}/_split/{target}",                  IndicesSplit,          Write, Indices),
    (PUT | POST,        "/{index}/_clone/{target}",                  IndicesClone,          Write, Indices),
    (PUT | POST,        "/_create_from/{target}/{target}",           IndicesCreateFrom,     Write, Indices),
    (POST,              "/{index}/_downsample/{target}",             IndicesDownsample,     Write, Indices),
    (POST,              "/{index}/_rollup/{target}",                 IndicesDownsample,     Write, Indices),
    (POST,              "/{index}/_freeze",                          IndicesFreeze,         Write, Indices),
    (POST,              "/{index}/_unfreeze",                        IndicesUnfreeze,       Write, Indices),
    (POST,              "/_upgrade",                                 IndicesUpgrade,        Write, Indices),
    (POST,              "/{index}/_upgrade",                         IndicesUpgrade,        Write, Indices),
    (GET,               "/_upgrade",                                 IndicesUpgrade,        Read,  Indices),
    (GET,               "/{index}/_upgrade",                         IndicesUpgrade,        Read,  Indices),
    (GET | POST,        "/{index}/_reload_search_analyzers",         IndicesReloadSearchAnalyzers, Write, Indices),
    (POST,              "/_plugins/_refresh_search_analyzers/{index}", IndicesReloadSearchAnalyzers, Write, Indices),
    (GET,               "/_stats/**",                                IndicesStats,          Read,  Indices),
    (GET,               "/{index}/_stats/**",                        IndicesStats,          Read,  Indices),
    (GET,               "/_segments",                                IndicesSegments,       Read,  Indices),
    (GET,               "/{index}/_segments",                        IndicesSegments,       Read,  Indices),
    (GET,               "/_recovery",                                IndicesRecovery,       Read,  Nothing),
    (GET,               "/{index}/_recovery",                        IndicesRecovery,       Read,  Nothing),
    (GET,               "/_shard_stores",                            IndicesShardStores,    Read,  Nothing),
    (GET,               "/{index}/_shard_stores",                    IndicesShardStores,    Read,  Nothing),
    (POST,              "/{index}/_disk_usage",                      IndicesDiskUsage,      Read,  Indices),
    (GET,               "/{index}/_field_usage_stats",               IndicesFieldUsageStats, Read, Nothing),
    (GET,               "/_resolve/index/{index}",                   IndicesResolveIndex,   Read,  Indices),
    (GET,               "/_resolve/cluster/**",                      IndicesResolveCluster, Read,  Nothing),
    (GET,               "/{index}/_ilm/explain",                     Ilm,                   Read,  Nothing),
    (POST,              "/{index}/_ilm/remove",                      Ilm,                   Write, Indices),
    (POST,              "/{index}/_ilm/retry",                       Ilm,                   Write, Indices),
    (GET,               "/{index}/_lifecycle/explain",               Ilm,                   Read,  Nothing),
    (GET,               "/{index}/_migration/deprecations",          Health,                Read,  Nothing),
    (GET,               "/{index}/_xpack/migration/deprecations",    Health,                Read,  Nothing),
    (GET,               "/{index}/_rollup/data",                     Rollup,                Read,  Indices),
    (GET,               "/{index}/_ccr/info",                        Ccr,                   Read,  Nothing),
    (GET,               "/{index}/_ccr/stats",                       Ccr,                   Read,  Nothing),
    (PUT | POST,        "/{index}/_ccr/**",                          Ccr,                   Write, Indices),
    (GET,               "/{index}/_searchable_snapshots/stats",      SearchableSnapshots,   Read,  Nothing),
    (POST,              "/{index}/_searchable_snapshots/**",         SearchableSnapshots,   Write, Indices),
    // Data streams.
    (GET,               "/_data_stream",                             IndicesGetDataStream,  Read,  Indices),
    (GET,               "/_data_stream/{index}",                     IndicesGetDataStream,  Read,  Indices),
    (GET,               "/_data_stream/_stats",                      IndicesDataStreamsStats, Read, Indices),
    (GET,               "/_data_stream/{index}/_stats",              IndicesDataStreamsStats, Read, Indices),
    (PUT,               "/_data_stream/{index}",                     IndicesCreateDataStream, Write, Indices),
    (DELETE,            "/_data_stream/{index}",                     IndicesDeleteDataStream, Write, Indices),
    (POST,              "/_data_stream/_modify",                     IndicesModifyDataStream, Write, All),
    (POST,              "/_data_stream/_migrate/{index}",            IndicesModifyDataStream, Write, Indices),
    (POST,              "/_data_stream/_promote/{index}",            IndicesModifyDataStream, Write, Indices),
    (GET,               "/_data_stream/{index}/{any}",               IndicesDataLifecycle,  Read,  Indices),
    (PUT | DELETE,      "/_data_stream/{index}/{any}",               IndicesDataLifecycle,  Write, Indices),
    (GET,               "/_lifecycle/stats",                         IndicesDataLifecycle,  Read,  Nothing),
    // Templates.
    (GET,               "/_template/**",                             IndicesGetTemplate,    Read,  All),
    (PUT | POST,        "/_template/{any}",                          IndicesPutTemplate,    Write, All),
    (DELETE,            "/_template/{any}",                          IndicesDeleteTemplate, Write, All),
    (GET,               "/_index_template/**",                       IndicesGetIndexTemplate, Read, All),
    (PUT | POST,        "/_index_template/{any}",                    IndicesPutIndexTemplate, Write, All),
    (DELETE,            "/_index_template/{any}",                    IndicesDeleteIndexTemplate, Write, All),
    (POST,              "/_index_template/_simulate/**",             IndicesSimulateTemplate, Read, All),
    (POST,              "/_index_template/_simulate_index/{any}",    IndicesSimulateTemplate, Read, All),
    (GET,               "/_component_template/**",                   ClusterGetComponentTemplate, Read, All),
    (PUT | POST,        "/_component_template/{any}",                ClusterPutComponentTemplate, Write, All),
    (DELETE,            "/_component_template/{any}",                ClusterDeleteComponentTemplate, Write, All),
    (GET,               "/_dangling",                                DanglingIndices,       Read,  Nothing),
    (POST | DELETE,     "/_dangling/{any}",                          DanglingIndices,       Write, All),

    // Pipelines and scripts.
    (GET,               "/_ingest/pipeline/**",                      IngestGetPipeline,     Read,  All),
    (PUT,               "/_ingest/pipeline/{any}",                   IngestPutPipeline,     Write, All),
    (DELETE,            "/_ingest/pipeline/{any}",                   IngestDeletePipeline,  Write, All),
    (GET | POST,        "/_ingest/pipeline/_simulate",               IngestSimulate,        Read,  All),
    (GET | POST,        "/_ingest/pipeline/{any}/_simulate",         IngestSimulate,        Read,  All),
    (GET | POST,        "/_ingest/_simulate",                        IngestSimulate,        Read,  All),
    (GET | POST,        "/_ingest/{any}/_simulate",                  IngestSimulate,        Read,  All),
    (GET,               "/_ingest/processor/grok",                   Ingest,                Read,  Nothing),
    (GET,               "/_ingest/geoip/stats",                      Ingest,                Read,  Nothing),
    (GET,               "/_ingest/**",                               Ingest,                Read,  All),
    (PUT | POST | DELETE, "/_ingest/**",                             Ingest,                Write, All),
    (GET,               "/_search/pipeline/**",                      SearchPipeline,        Read,  All),
    (PUT | DELETE,      "/_search/pipeline/{any}",                   SearchPipeline,        Write, All),
    (GET,               "/_scripts/{any}",                           GetScript,             Read,  All),
    (PUT | POST,        "/_scripts/{any}",                           PutScript,             Write, All),
    (PUT | POST,        "/_scripts/{any}/{any}",                     PutScript,             Write, All),
    (DELETE,            "/_scripts/{any}",                           DeleteScript,          Write, All),
    (GET,               "/_script_context",                          GetScriptContext,      Read,  Nothing),
    (GET,               "/_script_language",                         GetScriptContext,      Read,  Nothing),

    // The cluster and its nodes.
    (GET,               "/",                                         Info,                  Read,  Nothing),
    (HEAD,              "/",                                         Ping,                  Read,  Nothing),
    (GET,               "/_cluster/health",                          ClusterHealth,         Read,  Nothing),
    (GET,               "/_cluster/health/{index}",                  ClusterHealth,         Read,  Nothing),
    (GET,               "/_cluster/state/**",                        ClusterState,          Read,  Nothing),
    (GET,               "/_cluster/stats/**",                        ClusterStats,          Read,  Nothing),
    (GET,               "/_cluster/pending_tasks",                   ClusterPendingTasks,   Read,  Nothing),
    (GET,               "/_cluster/settings",                        ClusterGetSettings,    Read,  All),
    (PUT,               "/_cluster/settings",                        ClusterPutSettings,    Write, All),
    (POST,              "/_cluster/reroute",                         ClusterReroute,        Write, All),
    (GET | POST,        "/_cluster/allocation/explain",              ClusterAllocationExplain, Read, Nothing),
    (GET,               "/_remote/info",                             ClusterRemoteInfo,     Read,  Nothing),
    (GET,               "/_cluster/nodes/**",                        Nodes,                 Read,  Nothing),
    (GET,               "/_cluster/**",                              Cluster,               Read,  Nothing),
    (PUT | POST | DELETE, "/_cluster/**",                            Cluster,               Write, All),
    (GET,               "/_nodes/**",                                Nodes,                 Read,  Nothing),
    (POST,              "/_nodes/reload_secure_settings",            NodesReloadSecureSettings, Write, All),
    (POST,              "/_nodes/{any}/reload_secure_settings",      NodesReloadSecureSettings, Write, All),
    (PUT | POST | DELETE, "/_nodes/**",                              Nodes,                 Write, All),
    (GET,               "/_info/**",                                 Nodes,                 Read,  Nothing),
    (GET,               "/_cat/**",                                  Cat,                   Read,  Nothing),
    (GET,               "/_list/**",                                 Cat,                   Read,  Nothing),
    (GET,               "/_tasks",                                   TasksList,             Read,  Nothing),
    (GET,               "/_tasks/{any}",                             TasksGet,              Read,  Nothing),
    (POST,              "/_tasks/_cancel",                           TasksCancel,           Write, Nothing),
    (POST,              "/_tasks/{any}/_cancel",                     TasksCancel,           Write, Nothing),
    (GET,               "/_health_report/**",                        Health,                Read,  Nothing),
    (GET,               "/_features",                                Health,                Read,  Nothing),
    (POST,              "/_features/_reset",                         Health,                Write, All),
    (GET,               "/_ssl/certificates",                        Health,                Read,  Nothing),
    (GET,               "/_migration/**",                            Health,                Read,  Nothing),
    (POST,              "/_migration/**",                            Health,                Write, All),
    (GET,               "/_license/**",                              License,               Read,  Nothing),
    (PUT | POST | DELETE, "/_license/**",                            License,               Write, All),
    (GET,               "/_xpack",                                   License,               Read,  Nothing),
    (GET,               "/_xpack/usage",                             License,               Read,  Nothing),
    (GET,               "/_xpack/license/**",                        License,               Read,  Nothing),

    // Snapshots.
    (GET,               "/_snapshot",                                SnapshotGetRepository, Read,  All),
    (GET,               "/_snapshot/{any}",                          SnapshotGetRepository, Read,  All),
    (PUT | POST,        "/_snapshot/{any}",                          SnapshotCreateRepository, Write, All),
    (DELETE,            "/_snapshot/{any}",                          SnapshotDeleteRepository, Write, All),
    (GET,               "/_snapshot/_status",                        SnapshotStatus,        Read,  Nothing),
    (GET,               "/_snapshot/{any}/_status",                  SnapshotStatus,        Read,  Nothing),
    (GET,               "/_snapshot/{any}/{any}/_status",            SnapshotStatus,        Read,  Nothing),
    (GET,               "/_snapshot/{any}/{any}",                    SnapshotGet,           Read,  All),
    (PUT | POST,        "/_snapshot/{any}/{any}",                    SnapshotCreate,        Write, All),
    (DELETE,            "/_snapshot/{any}/{any}",                    SnapshotDelete,        Write, All),
    (POST,              "/_snapshot/{any}/{any}/_restore",           SnapshotRestore,       Write, All),
    (POST,              "/_snapshot/{any}/{any}/_mount",             SearchableSnapshots,   Write, All),
    (POST,              "/_snapshot/{any}/_verify",                  Snapshot,              Write, All),
    (POST,              "/_snapshot/{any}/_cleanup",                 Snapshot,              Write, All),
    (POST,              "/_snapshot/{any}/_analyze",                 Snapshot,              Write, All),
    (POST,              "/_snapshot/{any}/_verify_integrity",        Snapshot,              Write, All),
    (GET,               "/_snapshot/**",                             Snapshot,              Read,  All),
    (PUT | POST | DELETE, "/_snapshot/**",                           Snapshot,              Write, All),
    (POST,              "/_remotestore/_restore",                    SnapshotRestore,       Write, All),
    (GET,               "/_searchable_snapshots/**",                 SearchableSnapshots,   Read,  Nothing),
    (POST,              "/_searchable_snapshots/**",                 SearchableSnapshots,   Write, All),

    // Modules of Elasticsearch, and the names that they had below `_xpack` in version 6.
    (GET,               "/_ilm/status",                              Ilm,                   Read,  Nothing),
    (GET,               "/_ilm/**",                                  Ilm,                   Read,  All),
    (PUT | POST | DELETE, "/_ilm/**",                                Ilm,                   Write, All),
    (GET,               "/_slm/status",                              Slm,                   Read,  Nothing),
    (GET,               "/_slm/stats",                               Slm,                   Read,  Nothing),
    (GET,               "/_slm/**",                                  Slm,                   Read,  All),
    (PUT | POST | DELETE, "/_slm/**",                                Slm,                   Write, All),
    (GET,               "/_transform/{any}/_stats",                  Transform,             Read,  Nothing),
    (GET | POST,        "/_transform/_preview",                      Transform,             Read,  All),
    (GET | POST,        "/_transform/{any}/_preview",                Transform,             Read,  All),
    (GET,               "/_transform/**",                            Transform,             Read,  All),
    (PUT | POST | DELETE, "/_transform/**",                          Transform,             Write, All),
    (GET | POST,        "/_data_frame/transforms/_preview",          Transform,             Read,  All),
    (GET,               "/_data_frame/**",                           Transform,             Read,  All),
    (PUT | POST | DELETE, "/_data_frame/**",                         Transform,             Write, All),
    (GET,               "/_rollup/**",                               Rollup,                Read,  All),
    (PUT | POST | DELETE, "/_rollup/**",                             Rollup,                Write, All),
    (GET,               "/_xpack/rollup/**",                         Rollup,                Read,  All),
    (PUT | POST | DELETE, "/_xpack/rollup/**",                       Rollup,                Write, All),
    (GET,               "/_ccr/stats",                               Ccr,                   Read,  Nothing),
    (GET,               "/_ccr/**",                                  Ccr,                   Read,  All),
    (PUT | POST | DELETE, "/_ccr/**",                                Ccr,                   Write, All),
    (GET,               "/_security/_authenticate",                  Security,              Read,  Nothing),
    (GET,               "/_security/user/_privileges",               Security,              Read,  All),
    (GET | POST,        "/_security/user/_has_privileges",           Security,              Read,  All),
    (GET | POST,        "/_security/user/{any}/_has_privileges",     Security,              Read,  All),
    (GET | POST,        "/_security/profile/_has_privileges",        Security,              Read,  All),
    (GET | POST,        "/_security/profile/_suggest",               Security,              Read,  All),
    (GET | POST,        "/_security/_query/**",                      Security,              Read,  All),
    (GET,               "/_security/**",                             Security,              Read,  All),
    (PUT | POST | DELETE, "/_security/**",                           Security,              Write, All),
    (GET,               "/_xpack/security/_authenticate",            Security,              Read,  Nothing),
    (GET,               "/_xpack/security/**",                       Security,              Read,  All),
    (PUT | POST | DELETE, "/_xpack/security/**",                     Security,              Write, All),
    (GET,               "/_ml/info",                                 Ml,                    Read,  Nothing),
    (GET,               "/_ml/**",                                   Ml,                    Read,  All),
    (PUT | POST | DELETE, "/_ml/**",                                 Ml,                    Write, All),
    (GET,               "/_xpack/ml/**",                             Ml,                    Read,  All),
    (PUT | POST | DELETE, "/_xpack/ml/**",                           Ml,                    Write, All),
    (GET,               "/_inference/**",                            Ml,                    Read,  All),
    (PUT | POST | DELETE, "/_inference/**",                          Ml,                    Write, All),
    (GET | POST,        "/_text_structure/**",                       Ml,                    Read,  Nothing),
    (GET,               "/_watcher/stats/**",                        Alerting,              Read,  Nothing),
    (GET | POST,        "/_watcher/_query/watches",                  Alerting,              Read,  All),
    (GET,               "/_watcher/**",                              Alerting,              Read,  All),
    (PUT | POST | DELETE, "/_watcher/**",                            Alerting,              Write, All),
    (GET,               "/_xpack/watcher/**",                        Alerting,              Read,  All),
    (PUT | POST | DELETE, "/_xpack/watcher/**",                      Alerting,              Write, All),
    (GET,               "/_enrich/_stats",                           Enrich,                Read,  Nothing),
    (GET,               "/_enrich/**",                               Enrich,                Read,  All),
    (PUT | POST | DELETE, "/_enrich/**",                             Enrich,                Write, All),
    (PUT | POST,        "/_monitoring/**",                           Monitoring,            Write, All),
    (PUT | POST,        "/_xpack/monitoring/**",                     Monitoring,            Write, All),
    (GET,               "/_synonyms/**",                             SearchTuning,          Read,  All),
    (PUT | POST | DELETE, "/_synonyms/**",                           SearchTuning,          Write, All),
    (POST,              "/_query_rules/{any}/_test",                 SearchTuning,          Read,  All),
    (GET,               "/_query_rules/**",                          SearchTuning,          Read,  All),
    (PUT | POST | DELETE, "/_query_rules/**",                        SearchTuning,          Write, All),
    (GET | POST,        "/_application/search_application/{any}/_search", Search,           Read,  Indices),
    (GET,               "/_application/**",                          SearchTuning,          Read,  All),
    (PUT | POST | DELETE, "/_application/**",                        SearchTuning,          Write, All),
    (GET,               "/_autoscaling/capacity",                    Plugin,                Read,  Nothing),
    (GET,               "/_autoscaling/**",                          Plugin,                Read,  All),
    (PUT | DELETE,      "/_autoscaling/**",                          Plugin,                Write, All),
    (GET,               "/_logstash/**",                             Plugin,                Read,  All),
    (PUT | DELETE,      "/_logstash/**",                             Plugin,                Write, All),
    (GET,               "/_connector/**",                            Plugin,                Read,  All),
    (PUT | POST | DELETE, "/_connector/**",                          Plugin,                Write, All),
    (GET,               "/_profiling/**",                            Plugin,                Read,  All),
    (GET,               "/_ltr/**",                                  Plugin,                Read,  All),
    (PUT | POST | DELETE, "/_ltr/**",                                Plugin,                Write, All),

    // Plugins of OpenSearch. `_opendistro` is read as `_plugins`.
    (GET,               "/_plugins/_ism/explain/**",                 Ism,                   Read,  Nothing),
    (POST,              "/_plugins/_ism/explain/{any}",              Ism,                   Read,  Nothing),
    (POST,              "/_plugins/_ism/add/{index}",                Ism,                   Write, Indices),
    (POST,              "/_plugins/_ism/remove/{index}",             Ism,                   Write, Indices),
    (POST,              "/_plugins/_ism/change_policy/{index}",      Ism,                   Write, Indices),
    (POST,              "/_plugins/_ism/retry/{index}",              Ism,                   Write, Indices),
    (GET,               "/_plugins/_ism/**",                         Ism,                   Read,  All),
    (PUT | POST | DELETE, "/_plugins/_ism/**",                       Ism,                   Write, All),
    (GET,               "/_plugins/_sm/**",                          Sm,                    Read,  All),
    (PUT | POST | DELETE, "/_plugins/_sm/**",                        Sm,                    Write, All),
    (POST,              "/_plugins/_transform/_preview",             Transform,             Read,  All),
    (GET,               "/_plugins/_transform/{any}/_explain",       Transform,             Read,  Nothing),
    (GET,               "/_plugins/_transform/**",                   Transform,             Read,  All),
    (PUT | POST | DELETE, "/_plugins/_transform/**",                 Transform,             Write, All),
    (GET,               "/_plugins/_rollup/jobs/{any}/_explain",     Rollup,                Read,  Nothing),
    (GET,               "/_plugins/_rollup/**",                      Rollup,                Read,  All),
    (PUT | POST | DELETE, "/_plugins/_rollup/**",                    Rollup,                Write, All),
    (PUT | POST,        "/_plugins/_replication/{index}/{any}",      Replication,           Write, Indices),
    (GET,               "/_plugins/_replication/**",                 Replication,           Read,  Nothing),
    (PUT | POST | DELETE, "/_plugins/_replication/**",               Replication,           Write, All),
    (GET,               "/_plugins/_security/authinfo",              Security,              Read,  Nothing),
    (GET,               "/_plugins/_security/health",                Security,              Read,  Nothing),
    (GET,               "/_plugins/_security/whoami",                Security,              Read,  Nothing),
    (GET,               "/_plugins/_security/**",                    Security,              Read,  All),
    (PUT | POST | DELETE | PATCH, "/_plugins/_security/**",          Security,              Write, All),
    (POST,              "/_plugins/_knn/models/_search",             Knn,                   Read,  All),
    (GET,               "/_plugins/_knn/warmup/{index}",             Knn,                   Read,  Indices),
    (POST,              "/_plugins/_knn/clear_cache/{index}",        Knn,                   Write, Indices),
    (GET,               "/_plugins/_knn/stats/**",                   Knn,                   Read,  Nothing),
    (GET,               "/_plugins/_knn/{any}/stats/**",             Knn,                   Read,  Nothing),
    (GET,               "/_plugins/_knn/**",                         Knn,                   Read,  All),
    (PUT | POST | DELETE, "/_plugins/_knn/**",                       Knn,                   Write, All),
    (GET | POST,        "/_plugins/_ml/{any}/_search",               Ml,                    Read,  All),
    (POST,              "/_plugins/_ml/memory/{any}/_search",        Ml,                    Read,  All),
    (GET,               "/_plugins/_ml/stats/**",                    Ml,                    Read,  Nothing),
    (GET,               "/_plugins/_ml/{any}/stats/**",              Ml,                    Read,  Nothing),
    (GET,               "/_plugins/_ml/profile/**",                  Ml,                    Read,  Nothing),
    (GET,               "/_plugins/_ml/**",                          Ml,                    Read,  All),
    (PUT | POST | DELETE, "/_plugins/_ml/**",                        Ml,                    Write, All),
    (GET | POST,        "/_plugins/_alerting/{any}/_search",         Alerting,              Read,  All),
    (GET,               "/_plugins/_alerting/stats/**",              Alerting,              Read,  Nothing),
    (GET,               "/_plugins/_alerting/**",                    Alerting,              Read,  All),
    (PUT | POST | DELETE, "/_plugins/_alerting/**",                  Alerting,              Write, All),
    (GET | POST,        "/_plugins/_anomaly_detection/detectors/_search", Plugin,           Read,  All),
    (GET | POST,        "/_plugins/_anomaly_detection/detectors/results/_search", Plugin,   Read,  All),
    (GET,               "/_plugins/_anomaly_detection/stats/**",     Plugin,                Read,  Nothing),
    (GET | POST,        "/_plugins/{any}/{any}/_search",             Plugin,                Read,  All),
    (GET,               "/_plugins/_performanceanalyzer/**",         Plugin,                Read,  Nothing),
    (GET,               "/_plugins/**",                              Plugin,                Read,  All),
    (PUT | POST | DELETE | PATCH, "/_plugins/**",                    Plugin,                Write, All),
    (GET,               "/_insights/**",                             Plugin,                Read,  Nothing),
    (GET,               "/_wlm/stats/**",                            Plugin,                Read,  Nothing),
    (GET,               "/_wlm/**",                                  Plugin,                Read,  All),
    (PUT | DELETE,      "/_wlm/**",                                  Plugin,                Write, All),
];

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Word(&'static [u8]),
    Index,
    Type,
    Id,
    Any,
    Rest,
}

impl Part {
    fn read(written: &'static str) -> Self {
        match written {
            "{index}" | "{alias}" | "{target}" => Self::Index,
            "{type}" => Self::Type,
            "{id}" => Self::Id,
            "{any}" => Self::Any,
            "**" => Self::Rest,
            word => Self::Word(word.as_bytes()),
        }
    }

    /// A smaller one fits fewer segments.
    const fn breadth(self) -> u8 {
        match self {
            Self::Word(_) => 0,
            Self::Index | Self::Type | Self::Id | Self::Any => 1,
            Self::Rest => 2,
        }
    }
}

/// A row, with its pattern read.
#[derive(Debug)]
pub(super) struct Route {
    methods: Methods,
    pattern: Box<[Part]>,
    pub(super) api: Api,
    pub(super) access: Access,
    pub(super) reach: Reach,
}

/// A route that fits, and what its pattern took of the path, as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) route: &'static Route,
    /// Up to two index expressions.
    pub(super) index: [Option<&'a [u8]>; 2],
    pub(super) mapping_type: Option<&'a [u8]>,
    pub(super) id: Option<&'a [u8]>,
}

/// How deep in a path its first word can stand: `/{index}/{type}/{id}/_update`.
const DEPTH: usize = 4;

/// The routes by the place and the text of the first word in their patterns, the narrowest first.
struct Table {
    by_word: [HashMap<&'static [u8], Vec<Route>>; DEPTH],
    without_word: Vec<Route>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

impl Table {
    fn new() -> Self {
        let mut table = Self {
            by_word: Default::default(),
            without_word: Vec::new(),
        };
        for row in ROWS {
            let route = Route::read(row);
            let word = route
                .pattern
                .iter()
                .zip(&mut table.by_word)
                .find_map(|(part, words)| match part {
                    Part::Word(word) => Some((*word, words)),
                    _ => None,
                });
            match word {
                Some((word, words)) => words.entry(word).or_default().push(route),
                None => table.without_word.push(route),
            }
        }
        for routes in table.by_word.iter_mut().flat_map(HashMap::values_mut) {
            routes.sort_by_cached_key(Route::breadth);
        }
        table.without_word.sort_by_cached_key(Route::breadth);
        table
    }
}

impl Route {
    fn read((methods, pattern, api, access, reach): &Row) -> Self {
        Self {
            methods: *methods,
            pattern: pattern
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(Part::read)
                .collect(),
            api: *api,
            access: *access,
            reach: *reach,
        }
    }

    fn breadth(&self) -> Vec<u8> {
        self.pattern.iter().map(|part| part.breadth()).collect()
    }

    fn take<'a>(&'static self, method: Methods, segments: &[&'a [u8]]) -> Option<Found<'a>> {
        if self.methods & method == 0 {
            return None;
        }
        let open = self.pattern.last() == Some(&Part::Rest);
        let fits = if open {
            segments.len() + 1 >= self.pattern.len()
        } else {
            segments.len() == self.pattern.len()
        };
        if !fits {
            return None;
        }
        let mut found = Found {
            route: self,
            index: [None; 2],
            mapping_type: None,
            id: None,
        };
        for (place, (part, segment)) in self.pattern.iter().zip(segments).enumerate() {
            match part {
                Part::Word(word) if word != segment => return None,
                Part::Index if place == 0 && is_word(segment) && *segment != b"_all" => {
                    return None;
                }
                Part::Type if is_word(segment) && *segment != b"_doc" => return None,
                Part::Index => match &mut found.index {
                    [first @ None, _] => *first = Some(segment),
                    [_, second] => *second = Some(segment),
                },
                Part::Type => found.mapping_type = Some(segment),
                Part::Id => found.id = Some(segment),
                Part::Word(_) | Part::Any | Part::Rest => {}
            }
        }
        Some(found)
    }
}

fn is_word(segment: &[u8]) -> bool {
    segment.first() == Some(&b'_')
}

/// Whether the path begins with an index expression, not with the word of an API.
pub(super) fn begins_with_index(segments: &[&[u8]]) -> bool {
    segments
        .first()
        .is_some_and(|first| !is_word(first) || *first == b"_all")
}

/// The narrowest route that fits.
pub(super) fn find<'a>(method: Methods, path: &Path<'a>) -> Option<Found<'a>> {
    if path.odd {
        return None;
    }
    let segments = path.segments();
    if segments.first() == Some(&&b"_opendistro"[..]) {
        return find(method, &path.beginning_with(b"_plugins"));
    }
    find_as(method, segments).or_else(|| match method {
        HEAD => find_as(GET, segments),
        _ => None,
    })
}

fn find_as<'a>(method: Methods, segments: &[&'a [u8]]) -> Option<Found<'a>> {
    for (segment, words) in segments.iter().zip(&TABLE.by_word) {
        if !is_word(segment) {
            continue;
        }
        let routes = words.get(*segment).map(Vec::as_slice).unwrap_or_default();
        let found = routes.iter().find_map(|route| route.take(method, segments));
        if found.is_some() {
            return found;
        }
    }
    TABLE
        .without_word
        .iter()
        .find_map(|route| route.take(method, segments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::target::{OPTIONS, Target};

    /// A path that the pattern takes.
    fn sample(pattern: &str) -> String {
        pattern
            .replace("{index}", "i")
            .replace("{alias}", "a")
            .replace("{target}", "j")
            .replace("{type}", "t")
            .replace("{id}", "1")
            .replace("{any}", "x")
            .replace("**", "x/y/z")
    }

    #[test]
    fn no_row_is_hidden_by_another() {
        let mut hidden = Vec::new();
        for row @ (methods, pattern, api, access, reach) in ROWS {
            for method in [GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS] {
                if methods & method == 0 {
                    continue;
                }
                let path = sample(pattern);
                let target = Target::read(path.as_bytes());
                let route = find(method, &target.path).unwrap().route;
                if (route.api, route.access, route.reach) != (*api, *access, *reach) {
                    hidden.push(row);
                }
            }
        }
        assert!(hidden.is_empty(), "{hidden:#?}");
    }

    #[test]
    fn no_two_rows_take_the_same_method_and_pattern() {
        let mut seen = HashMap::new();
        for (methods, pattern, ..) in ROWS {
            let taken: &mut Methods = seen.entry(pattern).or_default();
            assert_eq!(*taken & methods, 0, "{pattern}");
            *taken |= methods;
        }
    }

    #[test]
    fn a_path_of_an_api_is_never_taken_for_an_index() {
        for path in ["/_search", "/_newthing", "/_doc/1"] {
            let target = Target::read(path.as_bytes());
            let found = find(PUT, &target.path);
            assert!(
                found.is_none_or(|found| found.index == [None, None]),
                "{path}"
            );
        }
    }
}
