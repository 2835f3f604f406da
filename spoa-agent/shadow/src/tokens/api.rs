//! Which APIs carry tokens, as a table over the segments of the path.
//!
//! Sources: the REST reference of Elasticsearch 6.8, 7.10, 7.17 and 8 and of OpenSearch 1 to 3 (scroll, clear scroll,
//! point in time, async search, tasks, SQL, EQL, ES|QL, asynchronous search).

use super::TokenKind;

/// What a request does with tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Api {
    /// Nothing, unless it starts a task.
    #[default]
    Other,
    /// A search: with `scroll` it opens one, with `pit` in its body it reads one.
    Search,
    /// A search by a template, which may open a scroll.
    Template,
    /// Several searches, each with a body of its own.
    Msearch,
    /// The next page of a scroll.
    ScrollNext,
    ScrollClose,
    PitOpen,
    /// `_cat/pit_segments`.
    PitRead,
    PitClose,
    /// A search that goes on after its answer.
    AsyncOpen,
    AsyncRead,
    AsyncClose,
    TaskRead,
    /// `_cancel`, `_rethrottle`, or the deletion of its result.
    TaskChange,
    /// A query, or the next page of one.
    Sql,
    SqlClose,
}

/// The API that opened a session. It says how the session is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Origin {
    Scroll,
    /// `_pit`.
    ElasticPit,
    /// `_search/point_in_time`.
    OpenSearchPit,
    /// `_async_search`.
    AsyncSearch,
    /// `_plugins/_asynchronous_search`.
    PluginsAsync,
    /// `_opendistro/_asynchronous_search`.
    OpendistroAsync,
    /// `_eql/search`.
    Eql,
    /// `_query/async`.
    Esql,
    /// `_sql` that was told to go on after its answer.
    SqlAsync,
    Sql,
    /// `_xpack/sql` (Elasticsearch 6).
    XpackSql,
    PluginsSql,
    OpendistroSql,
    /// `wait_for_completion=false`.
    #[default]
    Task,
}

/// What the path of a request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) api: Api,
    pub(crate) origin: Origin,
    /// Which segment is a token, or a list of them.
    pub(crate) segment: Option<usize>,
}

impl Origin {
    pub(crate) const ALL: [Self; 14] = [
        Self::Scroll,
        Self::ElasticPit,
        Self::OpenSearchPit,
        Self::AsyncSearch,
        Self::PluginsAsync,
        Self::OpendistroAsync,
        Self::Eql,
        Self::Esql,
        Self::SqlAsync,
        Self::Sql,
        Self::XpackSql,
        Self::PluginsSql,
        Self::OpendistroSql,
        Self::Task,
    ];

    pub(crate) const fn kind(self) -> TokenKind {
        match self {
            Self::Scroll => TokenKind::Scroll,
            Self::ElasticPit | Self::OpenSearchPit => TokenKind::PointInTime,
            Self::AsyncSearch
            | Self::PluginsAsync
            | Self::OpendistroAsync
            | Self::Eql
            | Self::Esql
            | Self::SqlAsync => TokenKind::AsyncSearch,
            Self::Sql | Self::XpackSql | Self::PluginsSql | Self::OpendistroSql => {
                TokenKind::Cursor
            }
            Self::Task => TokenKind::Task,
        }
    }

    /// How long a session lives when the request does not say, in microseconds: the longest of what the
    /// versions do by default, since a session that is kept too long costs only memory.
    pub(crate) const fn default_keep_us(self) -> u64 {
        const MINUTE: u64 = 60_000_000;
        match self.kind() {
            // `keep_alive` of Elasticsearch's async search is five days.
            TokenKind::AsyncSearch => 5 * 24 * 60 * MINUTE,
            // The result of a task stays until somebody deletes it.
            TokenKind::Task => 7 * 24 * 60 * MINUTE,
            TokenKind::Scroll
            | TokenKind::PointInTime
            | TokenKind::Cursor
            | TokenKind::Position => 60 * MINUTE,
        }
    }
}

/// Reads the table.
pub(crate) fn route(method: &[u8], path: &[&[u8]]) -> Route {
    let (post, delete) = (method == b"POST", method == b"DELETE");
    let read_or_close = |origin, segment| {
        let api = if delete {
            Api::AsyncClose
        } else {
            Api::AsyncRead
        };
        at(api, origin, segment)
    };
    match path {
        [.., b"_search"] => plain(Api::Search, Origin::Scroll),
        [.., b"_msearch"] => plain(Api::Msearch, Origin::Scroll),
        [.., b"_search", b"template"] => plain(Api::Template, Origin::Scroll),

        [b"_search", b"scroll"] if delete => plain(Api::ScrollClose, Origin::Scroll),
        [b"_search", b"scroll"] => plain(Api::ScrollNext, Origin::Scroll),
        [b"_search", b"scroll", _] if delete => at(Api::ScrollClose, Origin::Scroll, 2),
        [b"_search", b"scroll", _] => at(Api::ScrollNext, Origin::Scroll, 2),

        [_, b"_pit"] if post => plain(Api::PitOpen, Origin::ElasticPit),
        [b"_pit"] if delete => plain(Api::PitClose, Origin::ElasticPit),
        [_, b"_search", b"point_in_time"] if post => plain(Api::PitOpen, Origin::OpenSearchPit),
        [b"_search", b"point_in_time"] if delete => plain(Api::PitClose, Origin::OpenSearchPit),
        [b"_search", b"point_in_time", b"_all"] if delete => {
            at(Api::PitClose, Origin::OpenSearchPit, 2)
        }
        [b"_cat", b"pit_segments"] => plain(Api::PitRead, Origin::OpenSearchPit),

        [b"_async_search"] | [_, b"_async_search"] if post => {
            plain(Api::AsyncOpen, Origin::AsyncSearch)
        }
        [b"_async_search", b"status", _] => at(Api::AsyncRead, Origin::AsyncSearch, 2),
        [b"_async_search", _] => read_or_close(Origin::AsyncSearch, 1),
        [.., room, b"_asynchronous_search"] if post => match opensearch_async(room) {
            Some(origin) => plain(Api::AsyncOpen, origin),
            None => Route::default(),
        },
        [_, b"_asynchronous_search", b"stats"] => Route::default(),
        [room, b"_asynchronous_search", _] => match opensearch_async(room) {
            Some(origin) => read_or_close(origin, 2),
            None => Route::default(),
        },
        [_, b"_eql", b"search"] if post => plain(Api::AsyncOpen, Origin::Eql),
        [b"_eql", b"search", b"status", _] => at(Api::AsyncRead, Origin::Eql, 3),
        [b"_eql", b"search", _] => read_or_close(Origin::Eql, 2),
        [b"_query", b"async"] if post => plain(Api::AsyncOpen, Origin::Esql),
        [b"_query", b"async", _] | [b"_query", b"async", _, b"stop"] => {
            read_or_close(Origin::Esql, 2)
        }
        [b"_sql", b"async", b"delete", _] => at(Api::AsyncClose, Origin::SqlAsync, 3),
        [b"_sql", b"async", b"status", _] => at(Api::AsyncRead, Origin::SqlAsync, 3),
        [b"_sql", b"async", _] => at(Api::AsyncRead, Origin::SqlAsync, 2),

        [b"_tasks"] => plain(Api::TaskRead, Origin::Task),
        [b"_tasks", b"_cancel"] => plain(Api::TaskChange, Origin::Task),
        [b"_tasks", _] => at(Api::TaskRead, Origin::Task, 1),
        [b"_tasks", _, b"_cancel"] => at(Api::TaskChange, Origin::Task, 1),
        [
            b"_reindex" | b"_update_by_query" | b"_delete_by_query",
            _,
            b"_rethrottle",
        ] => at(Api::TaskChange, Origin::Task, 1),
        // Where the cluster keeps the results of tasks that are done.
        [b".tasks", b"_doc" | b"task" | b"_source", _] => {
            let read = matches!(method, b"GET" | b"HEAD");
            let api = if read { Api::TaskRead } else { Api::TaskChange };
            at(api, Origin::Task, 2)
        }

        [b"_sql"] => plain(Api::Sql, Origin::Sql),
        [b"_sql", b"close"] => plain(Api::SqlClose, Origin::Sql),
        [b"_xpack", b"sql"] => plain(Api::Sql, Origin::XpackSql),
        [b"_xpack", b"sql", b"close"] => plain(Api::SqlClose, Origin::XpackSql),
        [b"_plugins", b"_sql"] => plain(Api::Sql, Origin::PluginsSql),
        [b"_plugins", b"_sql", b"close"] => plain(Api::SqlClose, Origin::PluginsSql),
        [b"_opendistro", b"_sql"] => plain(Api::Sql, Origin::OpendistroSql),
        [b"_opendistro", b"_sql", b"close"] => plain(Api::SqlClose, Origin::OpendistroSql),
        _ => Route::default(),
    }
}

fn opensearch_async(room: &[u8]) -> Option<Origin> {
    match room {
        b"_plugins" => Some(Origin::PluginsAsync),
        b"_opendistro" => Some(Origin::OpendistroAsync),
        _ => None,
    }
}

const fn plain(api: Api, origin: Origin) -> Route {
    Route {
        api,
        origin,
        segment: None,
    }
}

const fn at(api: Api, origin: Origin, segment: usize) -> Route {
    Route {
        api,
        origin,
        segment: Some(segment),
    }
}
