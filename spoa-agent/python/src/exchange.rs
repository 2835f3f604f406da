//! Exchanges and their parts, for Python. All are views: what they hold is shared, and cannot be changed.

use std::sync::Arc;

use ::exchange::operation::content;
use ::exchange::{self as model, json};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDelta, PyIterator, PyList, PyString};

use crate::error;
use crate::operation::Operation;
use crate::text::{self, bytes_of, text};

/// A request with its response, under one id.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Exchange {
    position: u64,
    request: Option<Arc<model::Request>>,
    response: Option<Arc<model::Response>>,
}

/// The request half, as HAProxy received it from the client.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Request(pub(crate) Arc<model::Request>);

/// The response half, as HAProxy received it from the server.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Response(pub(crate) Arc<model::Response>);

/// A body, and how much of it is here.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Body(pub(crate) model::Body);

/// Header fields in their order, repeats kept. Names are lower case, as HAProxy tells them.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Headers(pub(crate) model::Headers);

/// What HAProxy knows of the client's TLS connection. Empty where it does not.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Tls(model::Tls);

/// Milliseconds that HAProxy measured (3.0 and later).
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Timers(model::Timers);

type Field<'py> = (Bound<'py, PyString>, Bound<'py, PyString>);

impl From<model::Exchange> for Exchange {
    fn from(exchange: model::Exchange) -> Self {
        Self {
            position: exchange.position,
            request: exchange.request.map(Arc::new),
            response: exchange.response.map(Arc::new),
        }
    }
}

impl Exchange {
    /// As the crate `exchange` has it. The bytes are shared, the lists of headers copied.
    pub(crate) fn model(&self) -> model::Exchange {
        model::Exchange {
            position: self.position,
            request: self.request.as_deref().cloned(),
            response: self.response.as_deref().cloned(),
        }
    }
}

#[pymethods]
impl Exchange {
    /// Where it begins in the journal: its name there.
    #[getter]
    fn position(&self) -> u64 {
        self.position
    }

    /// The id that both halves carry.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        match (&self.request, &self.response) {
            (Some(request), _) => text(py, &request.id),
            (None, Some(response)) => text(py, &response.id),
            (None, None) => text(py, b""),
        }
    }

    /// `exchange`, or the half that is there when the other one never came: `request_only`, `response_only`.
    #[getter]
    fn kind(&self) -> &'static str {
        match (&self.request, &self.response) {
            (Some(_), Some(_)) => "exchange",
            (Some(_), None) => "request_only",
            (None, _) => "response_only",
        }
    }

    /// When the request was seen, by HAProxy's clock, in UTC.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text::datetime(py, self.time_us())
    }

    /// The same as Unix time in microseconds.
    #[getter]
    fn time_us(&self) -> u64 {
        match (&self.request, &self.response) {
            (Some(request), _) => request.time_us,
            (None, Some(response)) => response.request_time_us.unwrap_or(response.time_us),
            (None, None) => 0,
        }
    }

    /// From the request to the response, where both are known.
    #[getter]
    fn duration<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDelta>>> {
        let duration = self.duration_us();
        duration.map(|micros| text::delta(py, micros)).transpose()
    }

    /// The same in microseconds.
    #[getter]
    fn duration_us(&self) -> Option<u64> {
        let response = self.response.as_deref()?;
        let began = match &self.request {
            Some(request) => request.time_us,
            None => response.request_time_us?,
        };
        response.time_us.checked_sub(began)
    }

    /// The request half. None when only the response was seen.
    #[getter]
    fn request(&self) -> Option<Request> {
        self.request.clone().map(Request)
    }

    /// The response half. None when none came within the deadline.
    #[getter]
    fn response(&self) -> Option<Response> {
        self.response.clone().map(Response)
    }

    /// What the request means. None without a request.
    #[getter]
    fn operation(&self) -> Option<Operation> {
        self.request.as_deref().map(Operation::of)
    }

    /// The line of the traffic log.
    #[pyo3(signature = (*, bodies = true))]
    fn to_json(&self, bodies: bool) -> PyResult<String> {
        let mut line = Vec::new();
        json::write_line(&self.model(), json::Options { bodies }, &mut line);
        line_text(line)
    }

    /// Reads a line of the traffic log.
    #[staticmethod]
    fn from_json(line: &Bound<'_, PyAny>) -> PyResult<Self> {
        match json::read_line(&bytes_of(line)?) {
            Ok(Some(exchange)) => Ok(exchange.into()),
            Ok(None) => Err(error::journal("the line is not about an exchange")),
            Err(error) => Err(error::journal(error)),
        }
    }

    fn __repr__(&self) -> String {
        let (method, target) = match &self.request {
            Some(request) => (
                request.method.escape_ascii().to_string(),
                request.target.escape_ascii().to_string(),
            ),
            None => ("(no request)".to_owned(), String::new()),
        };
        let status = match &self.response {
            Some(response) => response.status.to_string(),
            None => "(no response)".to_owned(),
        };
        format!("<Exchange {} {method} {target} -> {status}>", self.position)
    }
}

#[pymethods]
impl Request {
    /// The exchange's id.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.id)
    }

    /// When it was seen, by HAProxy's clock, in UTC.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text::datetime(py, self.0.time_us)
    }

    /// The same as Unix time in microseconds.
    #[getter]
    fn time_us(&self) -> u64 {
        self.0.time_us
    }

    /// The client's address and port. None when it came over a Unix socket.
    #[getter]
    fn client(&self) -> Option<(String, u16)> {
        endpoint(self.0.client)
    }

    /// The address and port that the client connected to.
    #[getter]
    fn local(&self) -> Option<(String, u16)> {
        endpoint(self.0.local)
    }

    /// HAProxy's name of the frontend.
    #[getter]
    fn frontend<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.frontend)
    }

    /// None when the client's connection was not encrypted.
    #[getter]
    fn tls(&self) -> Option<Tls> {
        self.0.tls.clone().map(Tls)
    }

    /// `1.0`, `1.1`, `2.0` or `3.0`.
    #[getter]
    fn version<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.version)
    }

    /// The method, in the case in which the client wrote it.
    #[getter]
    fn method<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.method)
    }

    /// Path and query, as they were sent.
    #[getter]
    fn target<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.target)
    }

    /// The header fields, credentials masked.
    #[getter]
    fn headers(&self) -> Headers {
        Headers(self.0.headers.clone())
    }

    /// The body.
    #[getter]
    fn body(&self) -> Body {
        Body(self.0.body.clone())
    }

    /// Whether HAProxy held the request until it was durable.
    #[getter]
    fn held(&self) -> bool {
        self.0.held
    }

    /// What the request means.
    #[getter]
    fn operation(&self) -> Operation {
        Operation::of(&self.0)
    }

    /// The body without its content coding. A ValueError when it is not whole.
    fn decoded_body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        decoded(py, &self.0.headers, &self.0.body)
    }

    /// The body as JSON. A ValueError when it is not whole, or no JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loads(self.decoded_body(py)?.as_any())
    }

    /// The lines of the body as JSON, as a `_bulk` has them; empty ones are passed over.
    fn ndjson<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        lines(&self.decoded_body(py)?)
    }

    fn __repr__(&self) -> String {
        format!(
            "<Request {} {}>",
            self.0.method.escape_ascii(),
            self.0.target.escape_ascii()
        )
    }
}

#[pymethods]
impl Response {
    /// The exchange's id.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.id)
    }

    /// When it was seen, in UTC: by HAProxy's clock, of a shadow's answer by the agent's.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text::datetime(py, self.0.time_us)
    }

    /// The same as Unix time in microseconds.
    #[getter]
    fn time_us(&self) -> u64 {
        self.0.time_us
    }

    /// The request's time, told again, as Unix time in microseconds.
    #[getter]
    fn request_time_us(&self) -> Option<u64> {
        self.0.request_time_us
    }

    /// HAProxy's name of the backend.
    #[getter]
    fn backend<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.backend)
    }

    /// HAProxy's name of the server; of a shadow's answer, the address that was asked.
    #[getter]
    fn server<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.server)
    }

    /// The status code, as the client saw it.
    #[getter]
    fn status(&self) -> u16 {
        self.0.status
    }

    /// The status code, as the server sent it, where HAProxy tells it (3.0 and later).
    #[getter]
    fn server_status(&self) -> Option<u16> {
        self.0.server_status
    }

    /// `1.0`, `1.1`, `2.0` or `3.0`.
    #[getter]
    fn version<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.version)
    }

    /// The header fields, credentials masked.
    #[getter]
    fn headers(&self) -> Headers {
        Headers(self.0.headers.clone())
    }

    /// The body.
    #[getter]
    fn body(&self) -> Body {
        Body(self.0.body.clone())
    }

    /// What HAProxy measured.
    #[getter]
    fn timers(&self) -> Timers {
        Timers(self.0.timers)
    }

    /// The body without its content coding. A ValueError when it is not whole.
    fn decoded_body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        decoded(py, &self.0.headers, &self.0.body)
    }

    /// The body as JSON. A ValueError when it is not whole, or no JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loads(self.decoded_body(py)?.as_any())
    }

    /// The lines of the body as JSON; empty ones are passed over.
    fn ndjson<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        lines(&self.decoded_body(py)?)
    }

    fn __repr__(&self) -> String {
        format!(
            "<Response {}, {} bytes>",
            self.0.status,
            self.0.body.content.len()
        )
    }
}

#[pymethods]
impl Body {
    /// The bytes that were captured, transfer codings undone, content codings not.
    #[getter]
    fn content<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.content)
    }

    /// `whole`, `cut` (a prefix), or `not captured`.
    #[getter]
    fn extent(&self) -> &'static str {
        self.0.extent.as_str()
    }

    /// Bytes that are not here, where that is known.
    #[getter]
    fn missing(&self) -> Option<u64> {
        self.0.extent.missing()
    }

    /// Whether every byte is here.
    #[getter]
    fn is_whole(&self) -> bool {
        self.0.is_whole()
    }

    fn __len__(&self) -> usize {
        self.0.content.len()
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.content(py)
    }

    fn __repr__(&self) -> String {
        format!("<Body {}, {} bytes>", self.extent(), self.0.content.len())
    }
}

#[pymethods]
impl Headers {
    /// The first value under this name, in any case.
    #[pyo3(signature = (name, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Option<Bound<'py, PyString>>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        match self.0.get(name) {
            Some(value) => text(py, value).map(Some),
            None => Ok(default),
        }
    }

    /// Every value under this name, in any case.
    fn get_all<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vec<Bound<'py, PyString>>> {
        let is_it = |header: &&model::Header| header.name.eq_ignore_ascii_case(name.as_bytes());
        let found = self.0.iter().filter(is_it);
        found.map(|header| text(py, &header.value)).collect()
    }

    fn __len__(&self) -> usize {
        self.0.0.len()
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        name.extract::<String>()
            .is_ok_and(|name| self.0.get(&name).is_some())
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Field<'py>> {
        let length = self.0.0.len();
        let index = if index < 0 {
            index.saturating_add_unsigned(length)
        } else {
            index
        };
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| self.0.0.get(index));
        let header = found.ok_or_else(|| PyIndexError::new_err("there are fewer headers"))?;
        field(py, header)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.fields(py)?)?.try_iter()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Headers({})",
            PyList::new(py, self.fields(py)?)?.repr()?
        ))
    }
}

impl Headers {
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Vec<Field<'py>>> {
        self.0.iter().map(|header| field(py, header)).collect()
    }
}

#[pymethods]
impl Tls {
    /// For example `TLSv1.3`.
    #[getter]
    fn version<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.version)
    }

    /// For example `TLS_AES_256_GCM_SHA384`.
    #[getter]
    fn cipher<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.cipher)
    }

    /// The name that the client asked for (SNI).
    #[getter]
    fn server_name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0.server_name)
    }
}

#[pymethods]
impl Timers {
    /// Waiting in queues.
    #[getter]
    fn queue_ms(&self) -> Option<u32> {
        self.0.queue_ms
    }

    /// Connecting to the server.
    #[getter]
    fn connect_ms(&self) -> Option<u32> {
        self.0.connect_ms
    }

    /// From the connection to the response's headers.
    #[getter]
    fn response_ms(&self) -> Option<u32> {
        self.0.response_ms
    }
}

/// A line of JSON without its line feed.
pub(crate) fn line_text(mut line: Vec<u8>) -> PyResult<String> {
    line.truncate(line.trim_ascii_end().len());
    String::from_utf8(line).map_err(error::journal)
}

fn field<'py>(py: Python<'py>, header: &model::Header) -> PyResult<Field<'py>> {
    Ok((text(py, &header.name)?, text(py, &header.value)?))
}

fn endpoint(endpoint: Option<model::Endpoint>) -> Option<(String, u16)> {
    endpoint.map(|endpoint| (endpoint.ip.to_string(), endpoint.port))
}

fn decoded<'py>(
    py: Python<'py>,
    headers: &model::Headers,
    body: &model::Body,
) -> PyResult<Bound<'py, PyBytes>> {
    let decoded = py.detach(|| content::decoded(headers, body));
    let bytes = decoded.map_err(|why| PyValueError::new_err(why.to_string()))?;
    Ok(PyBytes::new(py, &bytes))
}

fn lines<'py>(body: &Bound<'py, PyBytes>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let lines = body.as_bytes().split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    lines
        .map(|line| loads(PyBytes::new(body.py(), line).as_any()))
        .collect()
}

fn loads<'py>(bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    bytes.py().import("json")?.call_method1("loads", (bytes,))
}
