//! Bytes and times as Python has them.

use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDateTime, PyDelta, PyFloat, PyInt, PyString, PyTzInfo};

use crate::error;

const MICROS: u64 = 1_000_000;
const DAY_SECONDS: u64 = 86_400;

/// Text as Python keeps bytes that are mostly UTF-8: what cannot be decoded becomes lone surrogates, and
/// `encode("utf-8", "surrogateescape")` brings it back.
pub(crate) fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text)),
        Err(_) => PyString::from_encoded_object(
            PyBytes::new(py, bytes).as_any(),
            Some(c"utf-8"),
            Some(c"surrogateescape"),
        ),
    }
}

/// The same where there may be none.
pub(crate) fn optional<'py>(
    py: Python<'py>,
    bytes: Option<&[u8]>,
) -> PyResult<Option<Bound<'py, PyString>>> {
    bytes.map(|bytes| text(py, bytes)).transpose()
}

/// The bytes of a `str` that [`text`] made, or of a `bytes`.
pub(crate) fn bytes_of(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let encoded = value
        .cast::<PyString>()?
        .call_method1("encode", ("utf-8", "surrogateescape"))?;
    Ok(encoded.cast::<PyBytes>()?.as_bytes().to_vec())
}

/// Unix time in microseconds as a `datetime` in UTC.
pub(crate) fn datetime(py: Python<'_>, micros: u64) -> PyResult<Bound<'_, PyAny>> {
    let utc = PyTzInfo::utc(py)?;
    let epoch = PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&*utc))?;
    epoch.call_method1("__add__", (delta(py, micros)?,))
}

/// Microseconds as a `timedelta`.
pub(crate) fn delta(py: Python<'_>, micros: u64) -> PyResult<Bound<'_, PyDelta>> {
    let seconds = micros / MICROS;
    let small = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    PyDelta::new(
        py,
        small(seconds / DAY_SECONDS),
        small(seconds % DAY_SECONDS),
        small(micros % MICROS),
        false,
    )
}

/// A `datetime` with a time zone, or seconds since 1970, as Unix time in microseconds.
pub(crate) fn micros(name: &str, when: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u64>> {
    let Some(when) = when.filter(|when| !when.is_none()) else {
        return Ok(None);
    };
    let is_number = when.is_instance_of::<PyFloat>() || when.is_instance_of::<PyInt>();
    let seconds: f64 = if is_number && !when.is_instance_of::<PyBool>() {
        when.extract()?
    } else if when.is_instance_of::<PyDateTime>() {
        if when.call_method0("utcoffset")?.is_none() {
            return Err(error::config(format!(
                "{name} is {when}, without a time zone; use datetime(..., tzinfo=timezone.utc)"
            )));
        }
        when.call_method0("timestamp")?.extract()?
    } else {
        return Err(error::config(format!(
            "{name} is {}; use a datetime with a time zone, or seconds since 1970",
            when.repr()?
        )));
    };
    let since = if seconds < 0.0 { 0.0 } else { seconds };
    let duration = std::time::Duration::try_from_secs_f64(since);
    let micros = duration.map(|since| u64::try_from((since.as_nanos() + 500) / 1000));
    match micros {
        Ok(Ok(micros)) => Ok(Some(micros)),
        _ => Err(error::config(format!(
            "{name} is {seconds}, which is no time; use seconds since 1970"
        ))),
    }
}

/// Unix time in microseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// Whether a signal handler of Python's raised: what runs long without the interpreter asks now and then.
pub(crate) fn signals() -> PyResult<()> {
    Python::attach(|py| py.check_signals())
}
