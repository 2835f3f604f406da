//! The exceptions, which are written in Python: `spoa_agent.errors`.

use std::fmt::Display;

use pyo3::{PyErr, import_exception};

import_exception!(spoa_agent.errors, ConfigError);
import_exception!(spoa_agent.errors, JournalError);
import_exception!(spoa_agent.errors, ProtocolError);

/// A [`JournalError`] with the error's words.
pub(crate) fn journal(error: impl Display) -> PyErr {
    JournalError::new_err(error.to_string())
}

/// A [`ProtocolError`] with the error's words, and the status of a DISCONNECT.
pub(crate) fn protocol(error: impl Display, status: Option<u32>) -> PyErr {
    ProtocolError::new_err((error.to_string(), status))
}

/// A [`ConfigError`] about one thing.
pub(crate) fn config(problem: impl Display) -> PyErr {
    ConfigError::new_err(problem.to_string())
}
