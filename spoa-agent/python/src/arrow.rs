//! Exchanges and pairs as Arrow record batches, through the Arrow C stream interface: pyarrow, pandas, polars and
//! DuckDB take it, and none of them is needed here.

use std::sync::Arc;

use ::exchange::operation::{self, Operation};
use ::exchange::{Body, Exchange as ExchangeModel, Headers, Pair as PairModel, Request, Response};
use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, BooleanBuilder, ListBuilder, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder, UInt16Builder, UInt64Builder,
};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchReader};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyIterator};

use crate::error;
use crate::exchange::Exchange;
use crate::operation::named_indices;
use crate::pair::Pair;
use crate::reader::{ExchangeReader, Item, PairReader, Reading};
use crate::source::Kind;

/// Rows of a batch, where nobody says how many.
const BATCH_SIZE: usize = 1024;
/// A batch ends early when its rows hold so much: offsets into a column of bytes have 31 bits.
const BATCH_BYTES: usize = 128 << 20;

/// Exchanges or pairs as a stream of Arrow record batches. It is read once.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct ArrowStream {
    schema: SchemaRef,
    batches: Mutex<Option<Batches>>,
}

#[pymethods]
impl ArrowStream {
    #[new]
    #[pyo3(signature = (items, *, kind, batch_size, bodies))]
    fn new(
        items: &Bound<'_, PyAny>,
        kind: &str,
        batch_size: usize,
        bodies: bool,
    ) -> PyResult<Self> {
        let kind = match kind {
            "exchange" => Kind::Exchanges,
            "pair" => Kind::Pairs,
            _ => {
                return Err(error::config(format!(
                    "kind is {kind:?}; write exchange or pair"
                )));
            }
        };
        if batch_size == 0 {
            return Err(error::config(
                "batch_size is 0; a batch has at least one row",
            ));
        }
        let batches = Batches {
            feed: Feed::of(items)?,
            table: Table::new(kind, bodies),
            size: batch_size,
            over: false,
        };
        Ok(Self {
            schema: batches.table.schema(),
            batches: Mutex::new(Some(batches)),
        })
    }

    /// The stream, as an Arrow PyCapsule. What it holds keeps the schema that it has.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _any = requested_schema;
        let batches = self.batches.lock().take();
        let read = || PyValueError::new_err("the stream was read already; make another one");
        capsule(py, batches.ok_or_else(read)?)
    }

    /// The schema, as an Arrow PyCapsule.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.schema.as_ref()).map_err(failed)?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }
}

/// What is left of a reader, as an Arrow PyCapsule.
pub(crate) fn stream_of<'py>(
    py: Python<'py>,
    reading: &Arc<Reading>,
    kind: Kind,
) -> PyResult<Bound<'py, PyCapsule>> {
    let batches = Batches {
        feed: Feed::Reading(Arc::clone(reading)),
        table: Table::new(kind, true),
        size: BATCH_SIZE,
        over: false,
    };
    capsule(py, batches)
}

fn capsule(py: Python<'_>, batches: Batches) -> PyResult<Bound<'_, PyCapsule>> {
    let stream = FFI_ArrowArrayStream::new(Box::new(batches));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

fn failed(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Where rows come from.
enum Feed {
    /// One of our readers: rows are made without the interpreter.
    Reading(Arc<Reading>),
    /// Any iterable of Python's.
    Python(Py<PyIterator>),
}

impl Feed {
    fn of(items: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(reader) = items.cast::<ExchangeReader>() {
            return Ok(Self::Reading(Arc::clone(&reader.get().0)));
        }
        if let Ok(reader) = items.cast::<PairReader>() {
            return Ok(Self::Reading(Arc::clone(&reader.get().0)));
        }
        Ok(Self::Python(items.try_iter()?.unbind()))
    }

    /// Fills the table with at most `size` rows. False at the end.
    fn fill(&self, table: &mut Table, size: usize) -> PyResult<bool> {
        Python::attach(|py| match self {
            // Whoever calls may hold the interpreter's lock, which reading must not.
            Self::Reading(reading) => py.detach(|| fill_reading(reading, table, size)),
            Self::Python(items) => fill_python(items.bind(py), table, size),
        })
    }
}

fn fill_reading(reading: &Reading, table: &mut Table, size: usize) -> PyResult<bool> {
    while table.has_room(size) {
        match reading.next_item()? {
            Some(Item::Exchange(exchange)) => table.exchange(&exchange)?,
            Some(Item::Pair(pair)) => table.pair(&pair.model, pair.number())?,
            None => return Ok(false),
        }
    }
    Ok(true)
}

fn fill_python(items: &Bound<'_, PyIterator>, table: &mut Table, size: usize) -> PyResult<bool> {
    let mut items = items.clone();
    while table.has_room(size) {
        let Some(item) = items.next() else {
            return Ok(false);
        };
        let item = item?;
        if let Ok(exchange) = item.cast::<Exchange>() {
            table.exchange(&exchange.get().model())?;
        } else if let Ok(pair) = item.cast::<Pair>() {
            table.pair(&pair.get().model, pair.get().number())?;
        } else {
            let kind = item.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "a table is made of Exchange or Pair objects, not of {kind}"
            )));
        }
    }
    Ok(true)
}

/// Record batches, made when they are asked for.
struct Batches {
    feed: Feed,
    table: Table,
    size: usize,
    over: bool,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.feed.fill(&mut self.table, self.size) {
            Ok(more) => self.over = !more,
            Err(error) => {
                self.over = true;
                return Some(Err(ArrowError::ExternalError(Box::new(error))));
            }
        }
        (self.table.rows > 0).then(|| self.table.batch())
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }
}

/// Columns that are being filled.
struct Table {
    kind: Kind,
    names: Vec<&'static str>,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
}

/// What columns are made of.
struct Row<'a> {
    position: u64,
    kind: &'static str,
    id: &'a [u8],
    time_us: u64,
    duration_us: Option<u64>,
    client_ip: Option<String>,
    request: Option<&'a Request>,
    /// The response; of a pair, the primary's.
    response: Option<&'a Response>,
    pair: Option<&'a PairModel>,
    operation: Option<Operation>,
}

type Side = for<'r> fn(&Row<'r>) -> Option<&'r Response>;
type Get<T> = Box<dyn Fn(&Row<'_>) -> Option<T> + Send>;
type GetBytes = Box<dyn for<'r> Fn(&'r Row<'r>) -> Option<&'r [u8]> + Send>;
type GetHeaders = Box<dyn for<'r> Fn(&'r Row<'r>) -> Option<&'r Headers> + Send>;
type GetTexts = Box<dyn for<'r> Fn(&'r Row<'r>) -> Option<Vec<&'r [u8]>> + Send>;

/// A column: its cells so far, and how to get one.
enum Column {
    Flag(BooleanBuilder, Get<bool>),
    Short(UInt16Builder, Get<u16>),
    Number(UInt64Builder, Get<u64>),
    Time(TimestampMicrosecondBuilder, Get<u64>),
    Text(StringBuilder, GetBytes),
    Bytes(BinaryBuilder, GetBytes),
    Texts(ListBuilder<StringBuilder>, GetTexts),
    Headers(ListBuilder<StructBuilder>, GetHeaders),
}

impl Table {
    fn new(kind: Kind, bodies: bool) -> Self {
        let mut table = Self {
            kind,
            names: Vec::new(),
            columns: Vec::new(),
            rows: 0,
            bytes: 0,
        };
        match kind {
            Kind::Exchanges => table.of_exchanges(bodies),
            Kind::Pairs => table.of_pairs(bodies),
        }
        table
    }

    fn of_exchanges(&mut self, bodies: bool) {
        self.number("position", |row| Some(row.position));
        self.text("id", |row| Some(row.id));
        self.text("kind", |row| Some(row.kind.as_bytes()));
        self.time("time", |row| Some(row.time_us));
        self.number("duration_us", |row| row.duration_us);
        self.of_request(bodies);
        self.of_response(&RESPONSE, bodies);
    }

    fn of_pairs(&mut self, bodies: bool) {
        self.number("position", |row| Some(row.position));
        self.number("exchange", |row| Some(row.pair?.position));
        self.text("id", |row| Some(row.id));
        self.time("time", |row| Some(row.time_us));
        self.text("shadow_target", |row| Some(row.pair?.target.as_bytes()));
        self.text("outcome", |row| Some(row.pair?.outcome().as_bytes()));
        self.text("dropped_reason", |row| {
            Some(row.pair?.dropped.as_ref()?.reason.as_bytes())
        });
        self.texts("changes", |row| {
            let words = row.pair?.changes.iter();
            Some(words.map(|word| word.as_bytes()).collect())
        });
        self.flag("more", |row| Some(row.pair?.more));
        self.number("primary_us", |row| row.duration_us);
        self.number("shadow_us", |row| {
            let pair = row.pair?;
            pair.shadow.as_ref().map(|_| pair.sending.end_us)
        });
        self.number("attempts", |row| Some(row.pair?.sending.attempts.into()));
        self.number("slip_us", |row| row.pair?.sending.slip_us());
        self.number("connect_us", |row| Some(row.pair?.sending.connect_us));
        self.number("first_byte_us", |row| row.pair?.sending.first_byte_us);
        self.time("shadow_began", |row| Some(row.pair?.sending.began_us));
        self.of_request(bodies);
        self.of_response(&PRIMARY, bodies);
        self.of_response(&SHADOW, bodies);
    }

    fn of_request(&mut self, bodies: bool) {
        self.text("api", |row| {
            Some(row.operation.as_ref()?.api.as_str().as_bytes())
        });
        self.flag("is_write", |row| Some(!row.operation.as_ref()?.is_read()));
        self.texts("indices", |row| {
            Some(named_indices(row.operation.as_ref()?))
        });
        self.number("documents", |row| {
            Some(row.operation.as_ref()?.documents.len() as u64)
        });
        self.text("method", |row| Some(&row.request?.method));
        self.text("target", |row| Some(&row.request?.target));
        self.text("client_ip", |row| Some(row.client_ip.as_ref()?.as_bytes()));
        self.short("client_port", |row| Some(row.request?.client?.port));
        self.text("frontend", |row| Some(&row.request?.frontend));
        self.text("request_version", |row| Some(&row.request?.version));
        self.flag("tls", |row| Some(row.request?.tls.is_some()));
        self.flag("held", |row| Some(row.request?.held));
        self.headers("request_headers", |row| Some(&row.request?.headers));
        self.text("request_extent", |row| {
            Some(row.request?.body.extent.as_str().as_bytes())
        });
        self.number("request_bytes", |row| {
            Some(row.request?.body.content.len() as u64)
        });
        self.number("request_missing", |row| row.request?.body.extent.missing());
        if bodies {
            self.bytes("request_body", |row| Some(&row.request?.body.content));
        }
    }

    fn of_response(&mut self, names: &'static ResponseNames, bodies: bool) {
        let side = names.side;
        self.time(names.time, move |row| Some(side(row)?.time_us));
        self.short(names.status, move |row| Some(side(row)?.status));
        self.text(names.backend, move |row| Some(&side(row)?.backend));
        self.text(names.server, move |row| Some(&side(row)?.server));
        self.headers(names.headers, move |row| Some(&side(row)?.headers));
        self.text(names.extent, move |row| {
            Some(side(row)?.body.extent.as_str().as_bytes())
        });
        self.number(names.bytes, move |row| {
            Some(side(row)?.body.content.len() as u64)
        });
        self.number(names.missing, move |row| side(row)?.body.extent.missing());
        if bodies {
            self.bytes(names.body, move |row| Some(&side(row)?.body.content));
        }
    }

    fn flag(
        &mut self,
        name: &'static str,
        get: impl Fn(&Row<'_>) -> Option<bool> + Send + 'static,
    ) {
        self.add(name, Column::Flag(BooleanBuilder::new(), Box::new(get)));
    }

    fn short(
        &mut self,
        name: &'static str,
        get: impl Fn(&Row<'_>) -> Option<u16> + Send + 'static,
    ) {
        self.add(name, Column::Short(UInt16Builder::new(), Box::new(get)));
    }

    fn number(
        &mut self,
        name: &'static str,
        get: impl Fn(&Row<'_>) -> Option<u64> + Send + 'static,
    ) {
        self.add(name, Column::Number(UInt64Builder::new(), Box::new(get)));
    }

    fn time(&mut self, name: &'static str, get: impl Fn(&Row<'_>) -> Option<u64> + Send + 'static) {
        let builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
        self.add(name, Column::Time(builder, Box::new(get)));
    }

    fn text(
        &mut self,
        name: &'static str,
        get: impl for<'r> Fn(&'r Row<'r>) -> Option<&'r [u8]> + Send + 'static,
    ) {
        self.add(name, Column::Text(StringBuilder::new(), Box::new(get)));
    }

    fn bytes(
        &mut self,
        name: &'static str,
        get: impl for<'r> Fn(&'r Row<'r>) -> Option<&'r [u8]> + Send + 'static,
    ) {
        self.add(name, Column::Bytes(BinaryBuilder::new(), Box::new(get)));
    }

    fn texts(
        &mut self,
        name: &'static str,
        get: impl for<'r> Fn(&'r Row<'r>) -> Option<Vec<&'r [u8]>> + Send + 'static,
    ) {
        let builder = ListBuilder::new(StringBuilder::new());
        self.add(name, Column::Texts(builder, Box::new(get)));
    }

    fn headers(
        &mut self,
        name: &'static str,
        get: impl for<'r> Fn(&'r Row<'r>) -> Option<&'r Headers> + Send + 'static,
    ) {
        let fields: Vec<Box<dyn ArrayBuilder>> = vec![
            Box::new(StringBuilder::new()),
            Box::new(StringBuilder::new()),
        ];
        let builder = ListBuilder::new(StructBuilder::new(header_fields(), fields));
        self.add(name, Column::Headers(builder, Box::new(get)));
    }

    fn add(&mut self, name: &'static str, column: Column) {
        self.names.push(name);
        self.columns.push(column);
    }

    fn schema(&self) -> SchemaRef {
        let columns = self.names.iter().zip(&self.columns);
        let fields = columns.map(|(name, column)| Field::new(*name, column.data_type(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    const fn has_room(&self, size: usize) -> bool {
        self.rows < size && self.bytes < BATCH_BYTES
    }

    fn exchange(&mut self, exchange: &ExchangeModel) -> PyResult<()> {
        if self.kind != Kind::Exchanges {
            return Err(PyTypeError::new_err(
                "an Exchange is among pairs; kind says what a table holds",
            ));
        }
        self.row(&Row {
            position: exchange.position,
            kind: match (&exchange.request, &exchange.response) {
                (Some(_), Some(_)) => "exchange",
                (Some(_), None) => "request_only",
                (None, _) => "response_only",
            },
            id: exchange.id().map(AsRef::as_ref).unwrap_or_default(),
            time_us: exchange.time_us(),
            duration_us: exchange.duration_us(),
            client_ip: exchange.request.as_ref().and_then(client_ip),
            request: exchange.request.as_ref(),
            response: exchange.response.as_ref(),
            pair: None,
            operation: exchange.request.as_ref().map(operation::read),
        });
        self.bytes = self.bytes.saturating_add(exchange.weight());
        Ok(())
    }

    fn pair(&mut self, pair: &PairModel, position: u64) -> PyResult<()> {
        if self.kind != Kind::Pairs {
            return Err(PyTypeError::new_err(
                "a Pair is among exchanges; kind says what a table holds",
            ));
        }
        self.row(&Row {
            position,
            kind: "pair",
            id: pair.id(),
            time_us: pair.request.time_us,
            duration_us: pair.primary_us(),
            client_ip: client_ip(&pair.request),
            request: Some(&pair.request),
            response: pair.primary.as_ref(),
            pair: Some(pair),
            operation: Some(operation::read(&pair.request)),
        });
        self.bytes = self.bytes.saturating_add(weight(pair));
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) {
        for column in &mut self.columns {
            column.append(row);
        }
        self.rows += 1;
    }

    fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new(self.schema(), arrays)
    }
}

impl Column {
    fn data_type(&self) -> DataType {
        match self {
            Self::Flag(..) => DataType::Boolean,
            Self::Short(..) => DataType::UInt16,
            Self::Number(..) => DataType::UInt64,
            Self::Time(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Text(..) => DataType::Utf8,
            Self::Bytes(..) => DataType::Binary,
            Self::Texts(..) => DataType::new_list(DataType::Utf8, true),
            Self::Headers(..) => DataType::new_list(DataType::Struct(header_fields()), true),
        }
    }

    fn append(&mut self, row: &Row<'_>) {
        match self {
            Self::Flag(cells, get) => cells.append_option(get(row)),
            Self::Short(cells, get) => cells.append_option(get(row)),
            Self::Number(cells, get) => cells.append_option(get(row)),
            Self::Time(cells, get) => {
                cells.append_option(get(row).and_then(|micros| i64::try_from(micros).ok()));
            }
            Self::Text(cells, get) => cells.append_option(get(row).map(String::from_utf8_lossy)),
            Self::Bytes(cells, get) => cells.append_option(get(row)),
            Self::Texts(cells, get) => match get(row) {
                Some(texts) => {
                    for text in texts {
                        cells.values().append_value(String::from_utf8_lossy(text));
                    }
                    cells.append(true);
                }
                None => cells.append(false),
            },
            Self::Headers(cells, get) => match get(row) {
                Some(headers) => {
                    append_headers(cells.values(), headers);
                    cells.append(true);
                }
                None => cells.append(false),
            },
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Flag(cells, _) => Arc::new(cells.finish()),
            Self::Short(cells, _) => Arc::new(cells.finish()),
            Self::Number(cells, _) => Arc::new(cells.finish()),
            Self::Time(cells, _) => Arc::new(cells.finish()),
            Self::Text(cells, _) => Arc::new(cells.finish()),
            Self::Bytes(cells, _) => Arc::new(cells.finish()),
            Self::Texts(cells, _) => Arc::new(cells.finish()),
            Self::Headers(cells, _) => Arc::new(cells.finish()),
        }
    }
}

/// Bytes that a pair holds, roughly: bodies, headers, and a constant.
fn weight(pair: &PairModel) -> usize {
    const FIXED: usize = 1024;
    let of = |headers: &Headers, body: &Body| -> usize {
        let fields = headers
            .iter()
            .map(|header| header.name.len() + header.value.len() + 64);
        fields.sum::<usize>() + body.content.len()
    };
    let sides = [&pair.primary, &pair.shadow].into_iter().flatten();
    let answers: usize = sides.map(|side| of(&side.headers, &side.body)).sum();
    let request = &pair.request;
    FIXED + request.target.len() + of(&request.headers, &request.body) + answers
}

fn client_ip(request: &Request) -> Option<String> {
    Some(request.client?.ip.to_string())
}

fn append_headers(cells: &mut StructBuilder, headers: &Headers) {
    for header in headers {
        for (place, text) in [(0, &header.name), (1, &header.value)] {
            // Both fields are of this type: see `header_fields`.
            if let Some(cell) = cells.field_builder::<StringBuilder>(place) {
                cell.append_value(String::from_utf8_lossy(text));
            }
        }
        cells.append(true);
    }
}

fn header_fields() -> Fields {
    let field = |name| Field::new(name, DataType::Utf8, true);
    vec![field("name"), field("value")].into()
}

/// What the columns of one side's response are called.
struct ResponseNames {
    side: Side,
    time: &'static str,
    status: &'static str,
    backend: &'static str,
    server: &'static str,
    headers: &'static str,
    extent: &'static str,
    bytes: &'static str,
    missing: &'static str,
    body: &'static str,
}

macro_rules! response_names {
    ($prefix:literal, $side:expr) => {
        ResponseNames {
            side: $side,
            time: concat!($prefix, "_time"),
            status: concat!($prefix, "_status"),
            backend: concat!($prefix, "_backend"),
            server: concat!($prefix, "_server"),
            headers: concat!($prefix, "_headers"),
            extent: concat!($prefix, "_extent"),
            bytes: concat!($prefix, "_bytes"),
            missing: concat!($prefix, "_missing"),
            body: concat!($prefix, "_body"),
        }
    };
}

const RESPONSE: ResponseNames = response_names!("response", |row| row.response);
const PRIMARY: ResponseNames = response_names!("primary", |row| row.response);
const SHADOW: ResponseNames = response_names!("shadow", |row| row.pair?.shadow.as_ref());
