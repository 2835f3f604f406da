//! What a request means, for Python.

use std::collections::HashSet;

use ::exchange::operation::{self, Access, Action, Condition, Reach, Refresh};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::text::{optional, text};

/// What a request means to a search cluster.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Operation(operation::Operation);

/// A document that a request names.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Document(operation::Document);

impl Operation {
    pub(crate) fn of(request: &::exchange::Request) -> Self {
        Self(operation::read(request))
    }
}

#[pymethods]
impl Operation {
    /// The API's name as the REST API specifications have it: `bulk`, `search`, `indices.create`; `unknown` when no API fits.
    #[getter]
    fn api(&self) -> &'static str {
        self.0.api.as_str()
    }

    /// Whether it can change documents, indices or the cluster. A `POST _search` does not.
    #[getter]
    fn is_write(&self) -> bool {
        self.0.access == Access::Write
    }

    /// What it may touch.
    #[getter]
    fn reach(&self) -> &'static str {
        match self.0.reach {
            Reach::Nothing => "nothing",
            Reach::Documents => "documents",
            Reach::Indices => "indices",
            Reach::Cluster => "cluster",
        }
    }

    /// The indices that it names, each once: those of its documents, else the expressions of its path or body. Empty: all indices.
    #[getter]
    fn indices<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyString>>> {
        let names = named_indices(&self.0).into_iter();
        names.map(|name| text(py, name)).collect()
    }

    /// The documents that the request names, in its order: the items of a `_bulk`, or the one in the path.
    #[getter]
    fn documents(&self) -> Vec<Document> {
        self.0.documents.iter().cloned().map(Document).collect()
    }

    /// When searches see what it writes: at the next refresh, when it has waited for that, or at once.
    #[getter]
    fn refresh(&self) -> &'static str {
        match self.0.refresh {
            Refresh::Later => "later",
            Refresh::Wait => "wait",
            Refresh::Now => "now",
        }
    }

    fn __repr__(&self) -> String {
        let kind = if self.is_write() { "write" } else { "read" };
        format!(
            "<Operation {} ({kind}), {} documents>",
            self.api(),
            self.0.documents.len()
        )
    }
}

#[pymethods]
impl Document {
    /// What is done with it.
    #[getter]
    fn action(&self) -> &'static str {
        match self.0.action {
            Action::Get => "get",
            Action::Index => "index",
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        }
    }

    /// The index or alias.
    #[getter]
    fn index<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.index)
    }

    /// The mapping type, where the path or the item names one.
    #[getter]
    fn mapping_type<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        optional(py, self.0.mapping_type.as_deref())
    }

    /// Its id. None when the cluster is to choose one.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        optional(py, self.0.id.as_deref())
    }

    /// The routing value, when it is not the id.
    #[getter]
    fn routing<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        optional(py, self.0.routing.as_deref())
    }

    /// Under which condition it is written.
    #[getter]
    fn condition(&self) -> Option<&'static str> {
        match self.0.condition {
            Condition::None => None,
            Condition::Sequence => Some("sequence"),
            Condition::Version => Some("version"),
            Condition::External => Some("external"),
        }
    }

    /// Whether it is an update that may have another effect when it is done twice.
    #[getter]
    fn is_scripted(&self) -> bool {
        self.0.scripted
    }

    fn __repr__(&self) -> String {
        let id = self.0.id.as_deref().unwrap_or(b"?");
        format!(
            "<Document {} {}/{}>",
            self.action(),
            self.0.index.escape_ascii(),
            id.escape_ascii()
        )
    }
}

/// The indices of the documents, else the expressions, each once and in the order of the request.
pub(crate) fn named_indices(operation: &operation::Operation) -> Vec<&[u8]> {
    let documents = operation.documents.iter().map(|document| &document.index);
    let expressions = operation.indices.names.iter();
    let mut seen = HashSet::new();
    let mut names: Vec<&[u8]> = documents.map(AsRef::as_ref).collect();
    if names.is_empty() {
        names.extend(expressions.map(|name| -> &[u8] { name }));
    }
    names.retain(|name| seen.insert(*name));
    names
}
