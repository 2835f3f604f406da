//! Pairs, for Python.

use std::sync::Arc;

use ::exchange::json::{self, PairName};
use ::exchange::{self as model};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error;
use crate::exchange::{Body, Headers, Request, Response, line_text};
use crate::operation::Operation;
use crate::text::{self, bytes_of, optional, text};

/// One exchange as the primary answered it and as the shadow answered it.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Pair {
    name: PairName,
    pub(crate) model: Arc<model::Pair>,
}

/// In what the request that was sent differs from the captured one.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Rewritten(model::Rewritten);

/// When and how a request was sent to the shadow. Times by the agent's clock.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Sending(model::Sending);

impl Pair {
    pub(crate) fn new(name: PairName, pair: model::Pair) -> Self {
        Self {
            name,
            model: Arc::new(pair),
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        match self.name {
            PairName::Position(position) => position,
            PairName::Letter { number, .. } => number,
        }
    }
}

#[pymethods]
impl Pair {
    /// Where its record stands in the journal; of a dead letter, its number.
    #[getter]
    fn position(&self) -> u64 {
        self.number()
    }

    /// The position of its exchange.
    #[getter]
    fn exchange(&self) -> u64 {
        self.model.position
    }

    /// The id of the exchange.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, self.model.id())
    }

    /// When the request was seen, by HAProxy's clock, in UTC.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text::datetime(py, self.time_us())
    }

    /// The same as Unix time in microseconds.
    #[getter]
    fn time_us(&self) -> u64 {
        self.model.request.time_us
    }

    /// The name of the target that it was sent to.
    #[getter]
    fn target(&self) -> &str {
        &self.model.target
    }

    /// Which API the request calls.
    #[getter]
    fn api(&self) -> &str {
        &self.model.api
    }

    /// `delivered`, or `dropped`.
    #[getter]
    fn outcome(&self) -> &'static str {
        self.model.outcome()
    }

    /// Why it was given up: the word of the ledger, and what went wrong last. None when it was delivered.
    #[getter]
    fn dropped(&self) -> Option<(String, String)> {
        let dropped = self.model.dropped.as_ref()?;
        Some((dropped.reason.to_string(), dropped.cause.to_string()))
    }

    /// The request, as the primary got it.
    #[getter]
    fn request(&self) -> Request {
        Request(Arc::new(self.model.request.clone()))
    }

    /// In what the request differs that was sent: the words of the kinds of change.
    #[getter]
    fn changes(&self) -> Vec<String> {
        self.model.changes.iter().map(ToString::to_string).collect()
    }

    /// What these changes came to. None when the request was sent as the primary got it.
    #[getter]
    fn rewritten(&self) -> Option<Rewritten> {
        self.model.rewritten.clone().map(Rewritten)
    }

    /// Which items of the request were sent, counted from 0: ranges without their ends. Empty: all of them.
    #[getter]
    fn items(&self) -> Vec<(u32, u32)> {
        self.model
            .items
            .iter()
            .map(|range| (range.start, range.end))
            .collect()
    }

    /// Whether another pair of the same exchange follows.
    #[getter]
    fn more(&self) -> bool {
        self.model.more
    }

    /// The primary's response. None when none came within the deadline.
    #[getter]
    fn primary(&self) -> Option<Response> {
        self.model.primary.clone().map(Arc::new).map(Response)
    }

    /// The shadow's response: the last one, when there were several attempts.
    #[getter]
    fn shadow(&self) -> Option<Response> {
        self.model.shadow.clone().map(Arc::new).map(Response)
    }

    /// When and how it was sent.
    #[getter]
    fn sending(&self) -> Sending {
        Sending(self.model.sending)
    }

    /// Microseconds from the request to the primary's response, by HAProxy's clock.
    #[getter]
    fn primary_us(&self) -> Option<u64> {
        self.model.primary_us()
    }

    /// Microseconds from the last attempt's beginning to the end of the shadow's response. None when none came.
    #[getter]
    fn shadow_us(&self) -> Option<u64> {
        self.model
            .shadow
            .as_ref()
            .map(|_| self.model.sending.end_us)
    }

    /// What the request means.
    #[getter]
    fn operation(&self) -> Operation {
        Operation::of(&self.model.request)
    }

    /// The request as it was sent, but for the header fields that the sender sets itself. None when its body is not whole here.
    fn as_sent(&self) -> Option<Request> {
        self.model.as_sent().map(Arc::new).map(Request)
    }

    /// The line of the pair log.
    #[pyo3(signature = (*, bodies = true))]
    fn to_json(&self, bodies: bool) -> PyResult<String> {
        let mut line = Vec::new();
        json::write_pair(&self.model, self.name, json::Options { bodies }, &mut line);
        line_text(line)
    }

    /// Reads a line of the pair log, or of a dead-letter file.
    #[staticmethod]
    fn from_json(line: &Bound<'_, PyAny>) -> PyResult<Self> {
        match json::read_pair(&bytes_of(line)?) {
            Ok(Some((name, pair))) => Ok(Self::new(name, pair)),
            Ok(None) => Err(error::journal("the line is not about a pair")),
            Err(error) => Err(error::journal(error)),
        }
    }

    fn __repr__(&self) -> String {
        let status = |side: &Option<model::Response>| {
            side.as_ref()
                .map_or_else(|| "-".to_owned(), |it| it.status.to_string())
        };
        format!(
            "<Pair {} {} {} -> {} / {}>",
            self.number(),
            self.model.request.method.escape_ascii(),
            self.model.request.target.escape_ascii(),
            status(&self.model.primary),
            status(&self.model.shadow)
        )
    }
}

#[pymethods]
impl Rewritten {
    /// The target that was sent, where it is another one.
    #[getter]
    fn target<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        optional(py, self.0.target.as_deref())
    }

    /// Header fields of the captured request that were left out.
    #[getter]
    fn removed(&self) -> Headers {
        Headers(self.0.removed.clone())
    }

    /// Header fields that the captured request does not have.
    #[getter]
    fn added(&self) -> Headers {
        Headers(self.0.added.clone())
    }

    /// The body that was sent, where it is another one.
    #[getter]
    fn body(&self) -> Option<Body> {
        self.0.body.clone().map(Body)
    }
}

#[pymethods]
impl Sending {
    /// How many times it was begun on a connection.
    #[getter]
    fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Unix time in microseconds at which it was to be sent, when there was a pace to keep.
    #[getter]
    fn due_us(&self) -> Option<u64> {
        self.0.due_us
    }

    /// Unix time in microseconds at which the first attempt began.
    #[getter]
    fn began_us(&self) -> u64 {
        self.0.began_us
    }

    /// Unix time in microseconds at which the last attempt ended.
    #[getter]
    fn ended_us(&self) -> u64 {
        self.0.ended_us
    }

    /// Microseconds until there was a connection; 0: one was kept.
    #[getter]
    fn connect_us(&self) -> u64 {
        self.0.connect_us
    }

    /// Microseconds from the last attempt's beginning to the first byte of the answer.
    #[getter]
    fn first_byte_us(&self) -> Option<u64> {
        self.0.first_byte_us
    }

    /// Microseconds from the last attempt's beginning to the answer's end, or to the failure.
    #[getter]
    fn end_us(&self) -> u64 {
        self.0.end_us
    }

    /// Microseconds by which it was begun too late. None without a pace.
    #[getter]
    fn slip_us(&self) -> Option<u64> {
        self.0.slip_us()
    }
}
