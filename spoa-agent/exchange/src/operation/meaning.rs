//! From a row of the table, the parameters and the body to the operation.

use std::borrow::Cow;

use bytes::Bytes;

use super::content::{Unreadable, decoded};
use super::named::{self, Defaults};
use super::table::{self, Found};
use super::target::{self, GET, HEAD, Methods, OPTIONS, Parameters, Path, Target};
use super::{
    Access, Action, Api, Condition, Document, Indices, Lines, Operation, Reach, Refresh, bulk,
};
use crate::Request;

/// What the request means.
pub(super) fn read(request: &Request) -> Operation {
    let target = Target::read(&request.target);
    let method = target::method(&request.method);
    match table::find(method, &target.path) {
        Some(found) => Reading {
            found,
            parameters: &target.parameters,
            request,
        }
        .operation(),
        None => unknown(method, &target.path),
    }
}

/// Whether the cluster may answer before it is done.
pub(super) fn is_answered_early(request: &Request) -> bool {
    let target = Target::read(&request.target);
    let wait = target.parameters.wait_for_completion.as_deref();
    let Some(found) = table::find(target::method(&request.method), &target.path) else {
        return false;
    };
    match found.route.api {
        Api::SnapshotCreate | Api::SnapshotRestore => !matches!(wait, Some(b"true" | b"")),
        api if api.is_by_query() || api == Api::IndicesForcemerge => wait == Some(b"false"),
        _ => false,
    }
}

/// A path that no row fits, or a method that its row does not take.
fn unknown(method: Methods, path: &Path<'_>) -> Operation {
    let named = !path.odd && table::begins_with_index(path.segments());
    Operation {
        api: Api::Unknown,
        access: match method {
            GET | HEAD | OPTIONS => Access::Read,
            _ => Access::Write,
        },
        reach: if named {
            Reach::Indices
        } else {
            Reach::Cluster
        },
        indices: match path.segments().first() {
            Some(first) if named => Indices::written(first),
            _ => Indices::default(),
        },
        documents: Vec::new(),
        refresh: Refresh::Later,
    }
}

struct Reading<'a> {
    found: Found<'a>,
    parameters: &'a Parameters<'a>,
    request: &'a Request,
}

impl Reading<'_> {
    fn operation(&self) -> Operation {
        let route = self.found.route;
        match (route.reach, route.api) {
            (Reach::Documents, Api::Bulk) => self.bulk(),
            (Reach::Documents, Api::Mget | Api::Mtermvectors) => self.many(),
            (Reach::Documents, _) => self.one(),
            (_, Api::Reindex) => self.or_wider(Reach::Indices, |body, _| named::reindexed(body)),
            (_, Api::Msearch | Api::MsearchTemplate) => {
                self.or_wider(Reach::Indices, named::searched)
            }
            (_, Api::IndicesUpdateAliases) => {
                self.or_wider(Reach::Cluster, |body, _| named::aliased(body))
            }
            (
                _,
                Api::IndicesCreate
                | Api::IndicesRollover
                | Api::IndicesShrink
                | Api::IndicesSplit
                | Api::IndicesClone
                | Api::IndicesCreateFrom,
            ) => self.or_wider(Reach::Cluster, |body, path| {
                let mut indices = path.clone();
                indices.names.extend(named::new_aliases(body)?);
                Some(indices)
            }),
            (_, Api::IndicesPutAlias) => self.or_wider(Reach::Cluster, |body, path| {
                named::is_alias_of_the_path(body).then(|| path.clone())
            }),
            (_, Api::SqlQuery) if route.access == Access::Write => self.sql(),
            _ => self.plain(self.path_indices()),
        }
    }

    /// The operation as the row has it.
    fn plain(&self, indices: Indices) -> Operation {
        let route = self.found.route;
        Operation {
            api: route.api,
            access: route.access,
            reach: route.reach,
            indices,
            documents: Vec::new(),
            refresh: self.refresh(),
        }
    }

    /// Documents of some indices whose ids are not known, all indices when none are given.
    fn in_indices(&self, indices: Indices) -> Operation {
        Operation {
            reach: Reach::Indices,
            ..self.plain(indices)
        }
    }

    /// The indices that `named` finds in the body; in doubt all indices, or the cluster.
    fn or_wider(
        &self,
        wider: Reach,
        named: impl FnOnce(&[u8], &Indices) -> Option<Indices>,
    ) -> Operation {
        let path = self.path_indices();
        match self.short_body().and_then(|body| named(&body, &path)) {
            Some(indices) => self.plain(indices),
            None => Operation {
                reach: match self.found.route.reach {
                    Reach::Cluster => Reach::Cluster,
                    _ => wider,
                },
                ..self.plain(Indices::default())
            },
        }
    }

    fn one(&self) -> Operation {
        let index = self.index().unwrap_or_default();
        let index = Bytes::copy_from_slice(&index);
        let indices = Indices::one(index.clone());
        let api = self.found.route.api;
        let action = match api {
            Api::Index if self.is_create() => Action::Create,
            Api::Index => Action::Index,
            Api::Create => Action::Create,
            Api::Update => Action::Update,
            Api::Delete => Action::Delete,
            _ => Action::Get,
        };
        if action == Action::Get && !self.is_realtime() {
            return self.in_indices(indices);
        }
        let id = match self.found.id {
            Some(written) => Some(target::segment(written)),
            None => some(&self.parameters.id).map(Cow::Borrowed),
        };
        let document = Document {
            action,
            index,
            mapping_type: self
                .mapping_type()
                .map(|name| Bytes::copy_from_slice(&name)),
            id: id.map(|id| Bytes::copy_from_slice(&id)),
            routing: self.routing().map(Bytes::copy_from_slice),
            condition: match action {
                Action::Get => Condition::None,
                _ => self.condition(),
            },
            // What cannot be read may be a script.
            scripted: api == Api::Update
                && self.body().map_or(true, |body| bulk::is_scripted(&body)),
            lines: Lines::default(),
        };
        Operation {
            documents: vec![document],
            ..self.plain(indices)
        }
    }

    fn many(&self) -> Operation {
        let index = self.index();
        let indices = self.default_index();
        let mapping_type = self.mapping_type();
        let defaults = Defaults {
            index: index.as_deref(),
            mapping_type: mapping_type.as_deref(),
            routing: self.routing(),
        };
        let documents = self
            .short_body()
            .and_then(|body| named::documents(&body, &defaults));
        match documents {
            Some(documents) if self.is_realtime() => Operation {
                documents,
                ..self.plain(indices)
            },
            Some(documents) => self.in_indices(indices_of(documents)),
            // Each item may name an index of its own.
            None => self.in_indices(Indices::default()),
        }
    }

    fn bulk(&self) -> Operation {
        let index = self.index().unwrap_or_default();
        let mapping_type = self.mapping_type();
        let items = self.body().ok().and_then(|body| {
            bulk::items(&body, &index, mapping_type.as_deref(), self.routing()).ok()
        });
        match items {
            Some(documents) => Operation {
                documents,
                ..self.plain(self.default_index())
            },
            None => self.in_indices(Indices::default()),
        }
    }

    fn sql(&self) -> Operation {
        let access = match self.body() {
            Ok(body) if !named::may_delete(&body) => Access::Read,
            _ => Access::Write,
        };
        Operation {
            access,
            ..self.plain(Indices::default())
        }
    }

    fn body(&self) -> Result<Cow<'_, [u8]>, Unreadable> {
        decoded(&self.request.headers, &self.request.body)
    }

    /// The body, when what it names fits into memory.
    fn short_body(&self) -> Option<Cow<'_, [u8]>> {
        self.body().ok().filter(|body| body.len() <= named::LONGEST)
    }

    /// The index expressions of the path.
    fn path_indices(&self) -> Indices {
        let [first, second] = self.found.index;
        let mut indices = first.map(Indices::written).unwrap_or_default();
        if let Some(second) = second {
            // An exclusion of the second would take away from the first.
            let added = Indices::written(second).names;
            indices
                .names
                .extend(added.into_iter().filter(|name| !name.starts_with(b"-")));
        }
        indices
    }

    /// The one index of a document's path, commas and all: a document is in one index.
    fn index(&self) -> Option<Cow<'_, [u8]>> {
        let [written, _] = self.found.index;
        match written {
            Some(written) => Some(target::segment(written)),
            None => some(&self.parameters.index).map(Cow::Borrowed),
        }
    }

    fn default_index(&self) -> Indices {
        self.index().map_or_else(Indices::default, |index| {
            Indices::one(Bytes::copy_from_slice(&index))
        })
    }

    fn mapping_type(&self) -> Option<Cow<'_, [u8]>> {
        match self.found.mapping_type {
            Some(written) => Some(target::segment(written)),
            None => some(&self.parameters.mapping_type).map(Cow::Borrowed),
        }
    }

    /// `parent` routes a document as its parent is (Elasticsearch 6).
    fn routing(&self) -> Option<&[u8]> {
        some(&self.parameters.routing).or_else(|| some(&self.parameters.parent))
    }

    fn refresh(&self) -> Refresh {
        match (self.found.route.api, self.parameters.refresh.as_deref()) {
            (Api::IndicesRefresh, _) | (_, Some(b"" | b"true")) => Refresh::Now,
            (_, Some(b"wait_for")) => Refresh::Wait,
            _ => Refresh::Later,
        }
    }

    fn is_create(&self) -> bool {
        self.parameters
            .op_type
            .as_deref()
            .is_some_and(|op_type| op_type.eq_ignore_ascii_case(b"create"))
    }

    fn is_realtime(&self) -> bool {
        self.parameters.realtime.as_deref() != Some(b"false")
    }

    fn condition(&self) -> Condition {
        let parameters = self.parameters;
        if parameters.if_seq_no.is_some() || parameters.if_primary_term.is_some() {
            return Condition::Sequence;
        }
        match (&parameters.version, parameters.version_type.as_deref()) {
            (None, _) => Condition::None,
            (Some(_), None | Some(b"" | b"internal")) => Condition::Version,
            (Some(_), Some(_)) => Condition::External,
        }
    }
}

/// A parameter that is there and not empty.
fn some<'a>(parameter: &'a Option<Cow<'_, [u8]>>) -> Option<&'a [u8]> {
    parameter.as_deref().filter(|value| !value.is_empty())
}

fn indices_of(documents: Vec<Document>) -> Indices {
    let mut names: Vec<Bytes> = documents
        .into_iter()
        .map(|document| document.index)
        .collect();
    names.sort_unstable();
    names.dedup();
    Indices { names }
}
