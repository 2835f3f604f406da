//! HAProxy's part of the protocol on one connection, for tests of an agent.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyString, PyTuple};
use spop_codec::ack::{self, Scope};
use spop_codec::handshake::{HaproxyHandshake, Outcome};
use spop_codec::hello::HaproxyHello;
use spop_codec::notify::{self, NewMessage};
use spop_codec::{Disconnect, Frame, FrameId, FrameKind, Status, StreamId, Value, frame, hdrs};

use crate::error;
use crate::text::{bytes_of, signals, text};

/// How long one read may last, until a signal is looked for.
const POLL: Duration = Duration::from_millis(50);
const CHUNK: usize = 64 << 10;

/// Plays HAProxy's part of SPOP on one connection, on which HELLO is agreed.
///
/// `address` is `host:port`, or `unix:/path`. `timeout` bounds each call, in seconds. The messages of this project are made by
/// `spoa_agent.spop`.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct SpopClient {
    max_frame_size: u32,
    pipelining: bool,
    connection: Mutex<Connection>,
}

/// The agent's answer to a NOTIFY.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Ack {
    /// The stream of the NOTIFY.
    #[pyo3(get)]
    stream_id: u64,
    /// The frame of the NOTIFY.
    #[pyo3(get)]
    frame_id: u64,
    actions: Vec<(Done, Scope, Vec<u8>)>,
}

/// What an ACK does to a variable of HAProxy's.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct Action {
    done: Done,
    scope: Scope,
    name: Vec<u8>,
}

#[derive(Clone)]
enum Done {
    Set(Owned),
    Unset,
}

/// A name and arguments.
type OwnedMessage = (String, Vec<(String, Owned)>);

type Messages<'py> = Vec<(String, Bound<'py, PyDict>)>;

#[pymethods]
impl SpopClient {
    #[new]
    #[pyo3(signature = (address, *, timeout = 10.0, max_frame_size = 16_380, engine_id = None))]
    fn new(
        py: Python<'_>,
        address: &str,
        timeout: f64,
        max_frame_size: u32,
        engine_id: Option<&str>,
    ) -> PyResult<Self> {
        let timeout = seconds(timeout)?;
        py.detach(|| {
            let hello = HaproxyHello {
                engine_id: engine_id.map(str::as_bytes),
                ..HaproxyHello::new(max_frame_size)
            };
            let mut connection = Connection::open(address, timeout, max_frame_size)?;
            match connection.shake_hands(hello)? {
                Agreed::Open { size, pipelining } => {
                    connection.max_frame_size = size;
                    Ok(Self {
                        max_frame_size: size,
                        pipelining,
                        connection: Mutex::new(connection),
                    })
                }
                Agreed::Able => Err(error::protocol(
                    "the agent took it for a health check",
                    None,
                )),
            }
        })
    }

    /// Whether an agent at this address is able to take messages: a health check as HAProxy makes it. False also when nobody is there.
    #[staticmethod]
    #[pyo3(signature = (address, *, timeout = 10.0))]
    fn health_check(py: Python<'_>, address: &str, timeout: f64) -> PyResult<bool> {
        let timeout = seconds(timeout)?;
        py.detach(|| {
            let hello = HaproxyHello::health_check(16_380);
            let said = Connection::open(address, timeout, hello.max_frame_size)
                .and_then(|mut connection| connection.shake_hands(hello));
            match said {
                Ok(agreed) => Ok(matches!(agreed, Agreed::Able)),
                Err(error) => {
                    let is_ours =
                        Python::attach(|py| error.is_instance_of::<error::ProtocolError>(py));
                    if is_ours { Ok(false) } else { Err(error) }
                }
            }
        })
    }

    /// The version of the protocol.
    #[getter]
    #[expect(clippy::unused_self, reason = "a property")]
    fn version(&self) -> &'static str {
        "2.0"
    }

    /// The longest frame of this connection, in bytes.
    #[getter]
    fn max_frame_size(&self) -> u32 {
        self.max_frame_size
    }

    /// What both can do beyond the minimum: `pipelining`.
    #[getter]
    fn capabilities(&self) -> Vec<&'static str> {
        if self.pipelining {
            vec!["pipelining"]
        } else {
            Vec::new()
        }
    }

    /// Sends messages in one NOTIFY and waits for its ACK. Each is a name and a dictionary of arguments.
    #[pyo3(signature = (*messages, stream_id = None, frame_id = 1))]
    fn notify(
        &self,
        py: Python<'_>,
        messages: Messages<'_>,
        stream_id: Option<u64>,
        frame_id: u64,
    ) -> PyResult<Ack> {
        let messages = owned(&messages)?;
        py.detach(|| {
            let mut connection = self.connection.lock();
            let stream_id = connection.notify(&messages, stream_id, frame_id)?;
            let is_it = |ack: &Ack| ack.stream_id == stream_id && ack.frame_id == frame_id;
            loop {
                let ack = connection.read_ack()?;
                if is_it(&ack) {
                    return Ok(ack);
                }
                connection.others.push_back(ack);
            }
        })
    }

    /// Sends messages in one NOTIFY, does not wait, and returns the id of its stream.
    #[pyo3(signature = (*messages, stream_id = None, frame_id = 1))]
    fn send(
        &self,
        py: Python<'_>,
        messages: Messages<'_>,
        stream_id: Option<u64>,
        frame_id: u64,
    ) -> PyResult<u64> {
        let messages = owned(&messages)?;
        py.detach(|| {
            self.connection
                .lock()
                .notify(&messages, stream_id, frame_id)
        })
    }

    /// Waits for an ACK, whosever it is. A ProtocolError when the agent leaves instead.
    fn receive(&self, py: Python<'_>) -> PyResult<Ack> {
        py.detach(|| {
            let mut connection = self.connection.lock();
            match connection.others.pop_front() {
                Some(ack) => Ok(ack),
                None => connection.read_ack(),
            }
        })
    }

    /// Sends bytes as they are, also such as no HAProxy would.
    fn send_bytes(&self, py: Python<'_>, data: Vec<u8>) -> PyResult<()> {
        py.detach(|| self.connection.lock().write(&data))
    }

    /// Leaves in order: says DISCONNECT, waits for the agent's, and closes.
    fn disconnect(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let mut connection = self.connection.lock();
            let mut out = Vec::new();
            let goodbye = Disconnect {
                status: Status::Normal,
                message: b"normal",
            };
            goodbye.encode_haproxy(&mut out);
            connection.write(&out)?;
            while let Some(frame) = connection.read_frame_or_end()? {
                let frame = Frame::decode(&frame).map_err(refused)?;
                if frame.kind == FrameKind::AgentDisconnect {
                    break;
                }
            }
            connection.close();
            Ok(())
        })
    }

    /// Hangs up without a word.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.connection.lock().close());
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) {
        self.close(py);
    }
}

#[pymethods]
impl Ack {
    /// What it does, in its order.
    #[getter]
    fn actions(&self) -> Vec<Action> {
        let actions = self.actions.iter().cloned();
        actions
            .map(|(done, scope, name)| Action { done, scope, name })
            .collect()
    }

    /// The variables that it sets, by their names.
    #[getter]
    fn variables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let variables = PyDict::new(py);
        for (done, _, name) in &self.actions {
            if let Done::Set(value) = done {
                variables.set_item(text(py, name)?, value.to_python(py)?)?;
            }
        }
        Ok(variables)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let variables = self.variables(py)?.repr()?;
        Ok(format!(
            "<Ack {}/{} sets {variables}>",
            self.stream_id, self.frame_id
        ))
    }
}

#[pymethods]
impl Action {
    /// `set` or `unset`.
    #[getter]
    fn kind(&self) -> &'static str {
        match self.done {
            Done::Set(_) => "set",
            Done::Unset => "unset",
        }
    }

    /// How long the variable lives.
    #[getter]
    fn scope(&self) -> &'static str {
        match self.scope {
            Scope::Process => "process",
            Scope::Session => "session",
            Scope::Transaction => "transaction",
            Scope::Request => "request",
            Scope::Response => "response",
        }
    }

    /// Its name, without scope and prefix.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.name)
    }

    /// The value that is set.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.done {
            Done::Set(value) => value.to_python(py),
            Done::Unset => Ok(py.None().into_bound(py)),
        }
    }
}

/// Header fields as HAProxy's `req.hdrs_bin` has them.
#[pyfunction]
pub(crate) fn encode_headers<'py>(
    py: Python<'py>,
    fields: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut owned = Vec::new();
    for field in fields.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = field?.extract()?;
        owned.push((bytes_of(&name)?, bytes_of(&value)?));
    }
    let mut block = Vec::new();
    let fields = owned
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()));
    hdrs::encode(&mut block, fields).map_err(refused)?;
    Ok(PyBytes::new(py, &block))
}

/// The header fields of a `req.hdrs_bin`.
#[pyfunction]
pub(crate) fn decode_headers<'py>(
    py: Python<'py>,
    block: &[u8],
) -> PyResult<Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>> {
    let fields = hdrs::headers(block);
    fields
        .map(|field| {
            let (name, value) = field.map_err(refused)?;
            Ok((text(py, name)?, text(py, value)?))
        })
        .collect()
}

enum Agreed {
    Open { size: u32, pipelining: bool },
    Able,
}

/// One connection. Everything is called without the interpreter's lock.
struct Connection {
    stream: Option<Stream>,
    timeout: Duration,
    max_frame_size: u32,
    buffer: BytesMut,
    /// ACKs that came while another one was waited for.
    others: VecDeque<Ack>,
    last_stream: u64,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    fn open(address: &str, timeout: Duration, max_frame_size: u32) -> PyResult<Self> {
        let stream = Stream::connect(address, timeout).map_err(|error| {
            error::protocol(format!("cannot connect to {address}: {error}"), None)
        })?;
        Ok(Self {
            stream: Some(stream),
            timeout,
            max_frame_size,
            buffer: BytesMut::new(),
            others: VecDeque::new(),
            last_stream: 0,
        })
    }

    fn shake_hands(&mut self, hello: HaproxyHello<'_>) -> PyResult<Agreed> {
        let mut out = Vec::new();
        let handshake = HaproxyHandshake::start(hello, &mut out).map_err(refused)?;
        self.write(&out)?;
        let frame = self.read_frame()?;
        let frame = Frame::decode(&frame).map_err(refused)?;
        match handshake.on_frame(&frame).map_err(refused)? {
            Outcome::Established {
                max_frame_size,
                pipelining,
            } => Ok(Agreed::Open {
                size: max_frame_size,
                pipelining,
            }),
            Outcome::Able => Ok(Agreed::Able),
            Outcome::Left(goodbye) => Err(left(&goodbye)),
        }
    }

    fn notify(
        &mut self,
        messages: &[OwnedMessage],
        stream_id: Option<u64>,
        frame_id: u64,
    ) -> PyResult<u64> {
        let stream_id = stream_id.unwrap_or_else(|| self.last_stream.wrapping_add(1));
        self.last_stream = stream_id;
        let arguments: Vec<Vec<(&[u8], Value<'_>)>> = messages
            .iter()
            .map(|(_, arguments)| {
                let arguments = arguments.iter();
                arguments
                    .map(|(name, value)| (name.as_bytes(), value.borrowed()))
                    .collect()
            })
            .collect();
        let messages: Vec<NewMessage<'_>> = messages
            .iter()
            .zip(&arguments)
            .map(|((name, _), args)| NewMessage {
                name: name.as_bytes(),
                args,
            })
            .collect();
        let mut out = Vec::new();
        notify::encode(&mut out, StreamId(stream_id), FrameId(frame_id), &messages)
            .map_err(refused)?;
        let length = out.len().saturating_sub(frame::PREFIX_LEN);
        if length as u64 > u64::from(self.max_frame_size) {
            return Err(error::protocol(
                format!(
                    "the frame has {length} bytes, and at most {} are agreed; use another max_frame_size",
                    self.max_frame_size
                ),
                None,
            ));
        }
        self.write(&out)?;
        Ok(stream_id)
    }

    fn read_ack(&mut self) -> PyResult<Ack> {
        let bytes = self.read_frame()?;
        let frame = Frame::decode(&bytes).map_err(refused)?;
        match frame.kind {
            FrameKind::Ack => {}
            FrameKind::AgentDisconnect => {
                return Err(left(&Disconnect::decode(frame.payload).map_err(refused)?));
            }
            other => {
                return Err(error::protocol(
                    format!("the agent sent a {other} frame"),
                    None,
                ));
            }
        }
        let mut actions = Vec::new();
        for action in ack::actions(frame.payload) {
            actions.push(match action.map_err(refused)? {
                ack::Action::SetVar { scope, name, value } => {
                    (Done::Set(Owned::of(&value)), scope, name.to_vec())
                }
                ack::Action::UnsetVar { scope, name } => (Done::Unset, scope, name.to_vec()),
            });
        }
        Ok(Ack {
            stream_id: frame.stream_id.0,
            frame_id: frame.frame_id.0,
            actions,
        })
    }

    fn read_frame(&mut self) -> PyResult<Bytes> {
        let frame = self.read_frame_or_end()?;
        frame.ok_or_else(|| error::protocol("the agent hung up", None))
    }

    /// The next frame, or `None` when the agent has hung up.
    fn read_frame_or_end(&mut self) -> PyResult<Option<Bytes>> {
        let deadline = Instant::now() + self.timeout;
        let mut chunk = vec![0; CHUNK];
        loop {
            if let Some(frame) =
                frame::cut(&mut self.buffer, self.max_frame_size).map_err(refused)?
            {
                return Ok(Some(frame));
            }
            match self.open_stream()?.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    let read = chunk.get(..read).unwrap_or_default();
                    self.buffer.extend_from_slice(read);
                }
                Err(error) if is_reset(&error) => return Ok(None),
                Err(error) if is_pause(&error) => signals()?,
                Err(error) => return Err(error::protocol(error, None)),
            }
            if Instant::now() > deadline {
                let waited = self.timeout.as_secs_f64();
                return Err(error::protocol(
                    format!("the agent said nothing within {waited} s"),
                    None,
                ));
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> PyResult<()> {
        let written = self.open_stream()?.write_all(bytes);
        written.map_err(|error| error::protocol(format!("cannot send to the agent: {error}"), None))
    }

    fn open_stream(&mut self) -> PyResult<&mut Stream> {
        let closed = || error::protocol("the connection is closed", None);
        self.stream.as_mut().ok_or_else(closed)
    }

    fn close(&mut self) {
        self.stream = None;
    }
}

impl Stream {
    fn connect(address: &str, timeout: Duration) -> io::Result<Self> {
        let path = ["unix:", "unix@"]
            .iter()
            .find_map(|prefix| address.strip_prefix(prefix));
        if let Some(path) =
            path.or_else(|| Some(address).filter(|address| address.starts_with('/')))
        {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(POLL))?;
            stream.set_write_timeout(Some(timeout))?;
            return Ok(Self::Unix(stream));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(POLL))?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Self::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A value that borrows nothing.
#[derive(Clone)]
enum Owned {
    Null,
    Bool(bool),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Ipv4(Ipv4Addr),
    Ipv6(Ipv6Addr),
    Str(Vec<u8>),
    Bin(Vec<u8>),
}

impl Owned {
    fn of(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Int32(value) => Self::Int32(value),
            Value::Uint32(value) => Self::Uint32(value),
            Value::Int64(value) => Self::Int64(value),
            Value::Uint64(value) => Self::Uint64(value),
            Value::Ipv4(value) => Self::Ipv4(value),
            Value::Ipv6(value) => Self::Ipv6(value),
            Value::Str(value) => Self::Str(value.to_vec()),
            Value::Bin(value) => Self::Bin(value.to_vec()),
        }
    }

    fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int32(value) => Value::Int32(*value),
            Self::Uint32(value) => Value::Uint32(*value),
            Self::Int64(value) => Value::Int64(*value),
            Self::Uint64(value) => Value::Uint64(*value),
            Self::Ipv4(value) => Value::Ipv4(*value),
            Self::Ipv6(value) => Value::Ipv6(*value),
            Self::Str(value) => Value::Str(value),
            Self::Bin(value) => Value::Bin(value),
        }
    }

    /// An `int` travels as INT64 and a `str` as STRING, as HAProxy sends them; a pair names another type.
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Self::Null);
        }
        if value.is_instance_of::<PyBool>() {
            return Ok(Self::Bool(value.extract()?));
        }
        if value.is_instance_of::<PyInt>() {
            return Ok(Self::Int64(value.extract()?));
        }
        if value.is_instance_of::<PyString>() {
            return Ok(Self::Str(bytes_of(value)?));
        }
        if value.is_instance_of::<PyBytes>() {
            return Ok(Self::Bin(bytes_of(value)?));
        }
        if let Ok(pair) = value.cast::<PyTuple>() {
            let (kind, value): (String, Bound<'_, PyAny>) = pair.extract()?;
            return Self::of_type(&kind, &value);
        }
        match value.extract::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Ok(Self::Ipv4(address)),
            Ok(IpAddr::V6(address)) => Ok(Self::Ipv6(address)),
            Err(_) => Err(PyTypeError::new_err(format!(
                "SPOP has no type for a {}; use None, bool, int, str, bytes, an address of `ipaddress`, or a pair such as ('uint32', 1)",
                value.get_type().name()?
            ))),
        }
    }

    fn of_type(kind: &str, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(match kind {
            "int32" => Self::Int32(value.extract()?),
            "uint32" => Self::Uint32(value.extract()?),
            "int64" => Self::Int64(value.extract()?),
            "uint64" => Self::Uint64(value.extract()?),
            "string" => Self::Str(bytes_of(value)?),
            "binary" => Self::Bin(bytes_of(value)?),
            _ => {
                return Err(PyTypeError::new_err(format!(
                    "{kind:?} is no type; use int32, uint32, int64, uint64, string or binary"
                )));
            }
        })
    }

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Null => py.None().into_bound(py),
            Self::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
            Self::Int32(value) => value.into_pyobject(py)?.into_any(),
            Self::Uint32(value) => value.into_pyobject(py)?.into_any(),
            Self::Int64(value) => value.into_pyobject(py)?.into_any(),
            Self::Uint64(value) => value.into_pyobject(py)?.into_any(),
            Self::Ipv4(value) => value.into_pyobject(py)?.into_any(),
            Self::Ipv6(value) => value.into_pyobject(py)?.into_any(),
            Self::Str(value) => text(py, value)?.into_any(),
            Self::Bin(value) => PyBytes::new(py, value).into_any(),
        })
    }
}

fn owned(messages: &Messages<'_>) -> PyResult<Vec<OwnedMessage>> {
    let mut all = Vec::with_capacity(messages.len());
    for (name, arguments) in messages {
        let mut values = Vec::with_capacity(arguments.len());
        for (name, value) in arguments {
            values.push((name.extract()?, Owned::from_python(&value)?));
        }
        all.push((name.clone(), values));
    }
    Ok(all)
}

fn seconds(timeout: f64) -> PyResult<Duration> {
    let duration = Duration::try_from_secs_f64(timeout);
    let positive = duration.ok().filter(|duration| !duration.is_zero());
    positive.ok_or_else(|| error::config(format!("timeout is {timeout}; use seconds above 0")))
}

fn refused(error: impl std::fmt::Display) -> PyErr {
    error::protocol(error, None)
}

fn left(goodbye: &Disconnect<'_>) -> PyErr {
    let status = goodbye.status.code();
    let message = String::from_utf8_lossy(goodbye.message);
    error::protocol(
        format!("the agent left with status {status}: {message}"),
        Some(status),
    )
}

fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}
