//! The Rust part of the Python package `spoa_agent`: module `spoa_agent._native`.
//!
//! What it holds is what Python would do slowly or a second time: reading journals and logs, the meaning of
//! requests, Arrow tables, the configuration of HAProxy, and the protocol. What starts processes is written in
//! Python, in `python/spoa_agent`. The agent itself is not linked in: the package runs it as a child process.
//!
//! Long calls run without the interpreter's lock, and ask now and then whether a signal came.

mod arrow;
mod error;
mod exchange;
mod haproxy;
mod operation;
mod pair;
mod reader;
mod source;
mod spop;
mod text;

use pyo3::prelude::*;

/// The part of the package that is written in Rust.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::arrow::ArrowStream;
    #[pymodule_export]
    use crate::exchange::{Body, Exchange, Headers, Request, Response, Timers, Tls};
    #[pymodule_export]
    use crate::haproxy::haproxy_files;
    #[pymodule_export]
    use crate::operation::{Document, Operation};
    #[pymodule_export]
    use crate::pair::{Pair, Rewritten, Sending};
    #[pymodule_export]
    use crate::reader::{Counts, ExchangeReader, PairReader, read_journal, read_log, read_pairs};
    #[pymodule_export]
    use crate::spop::{Ack, Action, SpopClient, decode_headers, encode_headers};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name is Python's")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
