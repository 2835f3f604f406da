//! Lazy reading, for Python: iterators over exchanges and pairs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyCapsule, PyInt, PyString};

use crate::arrow;
use crate::error;
use crate::exchange::Exchange;
use crate::pair::Pair;
use crate::source::{Found, JournalSource, Kind, LineSource, Source, StartAt};
use crate::text::{micros, signals};

/// How often following looks for more.
const POLL: Duration = Duration::from_millis(50);
/// After so many entries that nobody wanted, a signal is looked for.
const SIGNALS_EVERY: u32 = 1024;

/// What a reader has met until now.
#[pyclass(frozen, module = "spoa_agent")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Exchanges or pairs handed out.
    #[pyo3(get)]
    read: u64,
    /// Of those that were there, not between `since` and `until`.
    #[pyo3(get)]
    outside: u64,
    /// Marks of halves that never became records.
    #[pyo3(get)]
    gaps: u64,
    /// How many such halves there were.
    #[pyo3(get)]
    halves_never_recorded: u64,
    /// Records that were there and cannot be read any more.
    #[pyo3(get)]
    lost_records: u64,
    /// Records or lines of which nothing can be made.
    #[pyo3(get)]
    undecodable: u64,
}

/// Iterates over exchanges.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct ExchangeReader(pub(crate) Arc<Reading>);

/// Iterates over pairs.
#[pyclass(frozen, module = "spoa_agent")]
pub(crate) struct PairReader(pub(crate) Arc<Reading>);

/// A source, what is wanted of it, and the account.
pub(crate) struct Reading {
    /// Held while an item is looked for, without the interpreter.
    source: Mutex<Source>,
    since: u64,
    until: u64,
    strict: bool,
    counts: Mutex<Counts>,
    closed: AtomicBool,
}

/// An exchange or a pair.
#[expect(clippy::large_enum_variant, reason = "it is handed on at once")]
pub(crate) enum Item {
    Exchange(exchange::Exchange),
    Pair(Pair),
}

/// Reads the exchanges of a journal, also while an agent writes to it, in the order in which they were completed.
///
/// `since` (inclusive) and `until` (exclusive) select by the time of the request: a `datetime` with a time zone, or seconds
/// since 1970. `start` is `oldest`, `latest`, or a position. With `follow` it goes on when the end is reached, and waits for more; with
/// `until` too, it ends a minute after that time. What is no exchange is counted in `counts`; with `strict` it is a `JournalError`.
#[pyfunction]
#[pyo3(
    signature = (dir, *, since = None, until = None, follow = false, start = None, strict = false),
    text_signature = "(dir, *, since=None, until=None, follow=False, start='oldest', strict=False)"
)]
pub(crate) fn read_journal(
    py: Python<'_>,
    dir: PathBuf,
    since: Option<&Bound<'_, PyAny>>,
    until: Option<&Bound<'_, PyAny>>,
    follow: bool,
    start: Option<&Bound<'_, PyAny>>,
    strict: bool,
) -> PyResult<ExchangeReader> {
    let window = Window::read(since, until)?;
    let start = begin(start)?;
    let source =
        py.detach(|| JournalSource::open(&dir, Kind::Exchanges, start, follow, window.until));
    let source = Source::Journal(Box::new(source.map_err(error::journal)?));
    Ok(ExchangeReader(Arc::new(Reading::new(
        source, window, strict,
    ))))
}

/// Reads the exchanges of a traffic log, or of several, one after the other; compressed ones (gzip) too.
///
/// `since`, `until` and `strict` are as in `read_journal`.
#[pyfunction]
#[pyo3(signature = (path, *, since = None, until = None, strict = false))]
pub(crate) fn read_log(
    py: Python<'_>,
    path: &Bound<'_, PyAny>,
    since: Option<&Bound<'_, PyAny>>,
    until: Option<&Bound<'_, PyAny>>,
    strict: bool,
) -> PyResult<ExchangeReader> {
    let window = Window::read(since, until)?;
    let source = lines(py, paths(path)?, Kind::Exchanges)?;
    Ok(ExchangeReader(Arc::new(Reading::new(
        source, window, strict,
    ))))
}

/// Reads pairs: of a journal when `path` is its directory (`shadow.pairs = "journal"`), else of a pair log or a dead-letter file, or of several.
///
/// `since`, `until`, `follow` and `strict` are as in `read_journal`; only a journal can be followed.
#[pyfunction]
#[pyo3(signature = (path, *, since = None, until = None, follow = false, strict = false))]
pub(crate) fn read_pairs(
    py: Python<'_>,
    path: &Bound<'_, PyAny>,
    since: Option<&Bound<'_, PyAny>>,
    until: Option<&Bound<'_, PyAny>>,
    follow: bool,
    strict: bool,
) -> PyResult<PairReader> {
    let window = Window::read(since, until)?;
    let paths = paths(path)?;
    let source = match paths.as_slice() {
        [dir] if dir.is_dir() => {
            let source = py.detach(|| {
                JournalSource::open(dir, Kind::Pairs, StartAt::Oldest, follow, window.until)
            });
            Source::Journal(Box::new(source.map_err(error::journal)?))
        }
        _ if follow => {
            return Err(error::config(
                "only a journal can be followed; name its directory",
            ));
        }
        _ => lines(py, paths, Kind::Pairs)?,
    };
    Ok(PairReader(Arc::new(Reading::new(source, window, strict))))
}

#[pymethods]
impl Counts {
    /// Whether everything that was captured could be read, and everything that came was captured.
    #[getter]
    fn is_clean(&self) -> bool {
        self.gaps == 0 && self.lost_records == 0 && self.undecodable == 0
    }

    fn __repr__(&self) -> String {
        format!(
            "Counts(read={}, outside={}, gaps={}, halves_never_recorded={}, lost_records={}, undecodable={})",
            self.read,
            self.outside,
            self.gaps,
            self.halves_never_recorded,
            self.lost_records,
            self.undecodable
        )
    }
}

#[pymethods]
impl ExchangeReader {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Exchange>> {
        let found = py.detach(|| self.0.next_item())?;
        Ok(match found {
            Some(Item::Exchange(exchange)) => Some(exchange.into()),
            Some(Item::Pair(_)) | None => None,
        })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) {
        self.close();
    }

    /// Exports what is left as an Arrow C stream; see `arrow_stream`.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _any = requested_schema;
        arrow::stream_of(py, &self.0, Kind::Exchanges)
    }

    /// Ends the iteration, also one that waits in another thread.
    fn close(&self) {
        self.0.close();
    }

    /// What was met until now.
    #[getter]
    fn counts(&self) -> Counts {
        *self.0.counts.lock()
    }
}

#[pymethods]
impl PairReader {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Pair>> {
        let found = py.detach(|| self.0.next_item())?;
        Ok(match found {
            Some(Item::Pair(pair)) => Some(pair),
            Some(Item::Exchange(_)) | None => None,
        })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) {
        self.close();
    }

    /// Exports what is left as an Arrow C stream; see `arrow_stream`.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _any = requested_schema;
        arrow::stream_of(py, &self.0, Kind::Pairs)
    }

    /// Ends the iteration, also one that waits in another thread.
    fn close(&self) {
        self.0.close();
    }

    /// What was met until now.
    #[getter]
    fn counts(&self) -> Counts {
        *self.0.counts.lock()
    }
}

impl Reading {
    fn new(source: Source, window: Window, strict: bool) -> Self {
        Self {
            source: Mutex::new(source),
            since: window.since.unwrap_or(0),
            until: window.until.unwrap_or(u64::MAX),
            strict,
            counts: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The next item, or `None` at the end. To be called without the interpreter's lock: it may wait.
    pub(crate) fn next_item(&self) -> PyResult<Option<Item>> {
        let mut source = self.source.lock();
        let mut passed: u32 = 0;
        while !self.closed.load(Ordering::Relaxed) {
            let found = source.next().map_err(error::journal)?;
            let waits = matches!(found, Found::Nothing);
            match self.take(found)? {
                Taken::Item(item) => return Ok(Some(item)),
                Taken::End => return Ok(None),
                Taken::Passed => passed = passed.wrapping_add(1),
            }
            if waits {
                std::thread::sleep(POLL);
            }
            if waits || passed.is_multiple_of(SIGNALS_EVERY) {
                signals()?;
            }
        }
        Ok(None)
    }

    fn take(&self, found: Found) -> PyResult<Taken> {
        let mut counts = self.counts.lock();
        let (time, item) = match found {
            Found::Exchange(exchange) => (exchange.time_us(), Item::Exchange(exchange)),
            Found::Pair(name, pair) => (pair.request.time_us, Item::Pair(Pair::new(name, *pair))),
            Found::Nothing | Found::Other => return Ok(Taken::Passed),
            Found::End => return Ok(Taken::End),
            Found::Gap(gap) => {
                let halves = gap.requests.saturating_add(gap.responses);
                counts.gaps += 1;
                counts.halves_never_recorded = counts.halves_never_recorded.saturating_add(halves);
                return self.blemish(format!(
                    "{halves} halves never became records: {}",
                    gap.reason
                ));
            }
            Found::Lost(records, why) => {
                counts.lost_records = counts.lost_records.saturating_add(records);
                return self.blemish(why);
            }
            Found::Undecodable(why) => {
                counts.undecodable += 1;
                return self.blemish(why);
            }
        };
        if !(self.since..self.until).contains(&time) {
            counts.outside += 1;
            return Ok(Taken::Passed);
        }
        counts.read += 1;
        Ok(Taken::Item(item))
    }

    fn blemish(&self, why: String) -> PyResult<Taken> {
        if self.strict {
            return Err(error::journal(why));
        }
        Ok(Taken::Passed)
    }
}

#[expect(clippy::large_enum_variant, reason = "it is handed on at once")]
enum Taken {
    Item(Item),
    Passed,
    End,
}

#[derive(Clone, Copy)]
struct Window {
    since: Option<u64>,
    until: Option<u64>,
}

impl Window {
    fn read(since: Option<&Bound<'_, PyAny>>, until: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Ok(Self {
            since: micros("since", since)?,
            until: micros("until", until)?,
        })
    }
}

fn begin(start: Option<&Bound<'_, PyAny>>) -> PyResult<StartAt> {
    let Some(start) = start else {
        return Ok(StartAt::Oldest);
    };
    if start.is_instance_of::<PyInt>() && !start.is_instance_of::<PyBool>() {
        return Ok(StartAt::Position(start.extract()?));
    }
    match start.extract::<String>().as_deref() {
        Ok("oldest") => Ok(StartAt::Oldest),
        Ok("latest") => Ok(StartAt::Latest),
        _ => Err(error::config(format!(
            "start is {}; write oldest, latest, or a position",
            start.repr()?
        ))),
    }
}

/// One path, or a sequence of them.
fn paths(path: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    if path.is_instance_of::<PyString>() || path.hasattr("__fspath__")? {
        return Ok(vec![path.extract()?]);
    }
    path.extract()
}

fn lines(py: Python<'_>, paths: Vec<PathBuf>, kind: Kind) -> PyResult<Source> {
    let opened = py.detach(|| LineSource::open(paths, kind));
    Ok(Source::Lines(opened.map_err(error::journal)?))
}
