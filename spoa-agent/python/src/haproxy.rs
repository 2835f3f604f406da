//! The configuration of HAProxy, from options as `HaproxyConfig` collects them.

use std::str::FromStr;
use std::time::Duration;

use haproxy_config::{Options, Problem, generate};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::ConfigError;

/// `haproxy.cfg` and `spoe.cfg`. Durations are microseconds. What is not there has its default.
#[pyfunction]
pub(crate) fn haproxy_files(options: &Bound<'_, PyDict>) -> PyResult<(String, String)> {
    let mut reading = Reading {
        given: options,
        problems: Vec::new(),
    };
    let options = reading.options()?;
    let mut problems = reading.problems;
    match generate(&options) {
        Ok(files) if problems.is_empty() => return Ok((files.haproxy_cfg, files.spoe_cfg)),
        Ok(_) => {}
        Err(more) => problems.extend(more.iter().map(ToString::to_string)),
    }
    Err(ConfigError::new_err((problems,)))
}

struct Reading<'a, 'py> {
    given: &'a Bound<'py, PyDict>,
    problems: Vec<String>,
}

impl Reading<'_, '_> {
    fn options(&mut self) -> PyResult<Options> {
        let default = Options::default();
        let mut reads = default.reads;
        reads.extend(
            self.value::<Vec<String>>("extra_reads")?
                .unwrap_or_default(),
        );
        let tls_listen = self.words("tls_listen")?;
        let listen = match self.words("listen")? {
            Some(listen) => listen,
            None if tls_listen.is_some() => Vec::new(),
            None => default.listen,
        };
        Ok(Options {
            role: self.word("role")?.unwrap_or(default.role),
            listen,
            tls_listen: tls_listen.unwrap_or_default(),
            certificate: self.value("certificate")?,
            client_ca_file: self.value("client_ca_file")?,
            client_certificate_required: self
                .value("client_certificate_required")?
                .unwrap_or(default.client_certificate_required),
            nodes: self.words("nodes")?.unwrap_or(default.nodes),
            node_ca_file: self.value("node_ca_file")?.unwrap_or(default.node_ca_file),
            node_tls_insecure: self
                .value("node_tls_insecure")?
                .unwrap_or(default.node_tls_insecure),
            resolve_nodes: self
                .value("resolve_nodes")?
                .unwrap_or(default.resolve_nodes),
            node_check: self.value("node_check")?.unwrap_or(default.node_check),
            pass_node_failures: self
                .value("pass_node_failures")?
                .unwrap_or(default.pass_node_failures),
            set_headers: self.words("set_headers")?.unwrap_or(default.set_headers),
            agent: self.word("agent")?.unwrap_or(default.agent),
            hold: self.word("hold")?.unwrap_or(default.hold),
            reads,
            skip_capture: self.words("skip_capture")?.unwrap_or(default.skip_capture),
            body_limit: self
                .number("body_limit", u32::MAX)?
                .unwrap_or(default.body_limit),
            processing_timeout: self
                .duration("processing_timeout")?
                .unwrap_or(default.processing_timeout),
            hold_timeout: self
                .duration("hold_timeout")?
                .unwrap_or(default.hold_timeout),
            id_header: self.value("id_header")?.unwrap_or(default.id_header),
            threads: self.number("threads", u16::MAX)?,
            max_connections: self
                .number("max_connections", u32::MAX)?
                .unwrap_or(default.max_connections),
            connect_timeout: self
                .duration("connect_timeout")?
                .unwrap_or(default.connect_timeout),
            client_timeout: self
                .duration("client_timeout")?
                .unwrap_or(default.client_timeout),
            server_timeout: self
                .duration("server_timeout")?
                .unwrap_or(default.server_timeout),
            http_request_timeout: self
                .duration("http_request_timeout")?
                .unwrap_or(default.http_request_timeout),
            log: self.word("log")?.unwrap_or(default.log),
            stats_socket: self.value("stats_socket")?,
            version: self.word("version")?.unwrap_or(default.version),
            spoe_file: self.value("spoe_file")?.unwrap_or(default.spoe_file),
        })
    }

    /// A value whose type Python's side has seen to.
    fn value<T>(&self, name: &str) -> PyResult<Option<T>>
    where
        T: for<'a, 'py> FromPyObject<'a, 'py>,
    {
        let found = self.given.get_item(name)?;
        found
            .map(|value| value.extract::<T>().map_err(Into::into))
            .transpose()
    }

    /// A number; one that does not fit its type is told as the largest, which is refused with its range.
    fn number<T: TryFrom<i64>>(&self, name: &str, most: T) -> PyResult<Option<T>> {
        let number = self.value::<i64>(name)?;
        Ok(number.map(|number| T::try_from(number).unwrap_or(most)))
    }

    fn duration(&self, name: &str) -> PyResult<Option<Duration>> {
        Ok(self.value::<u64>(name)?.map(Duration::from_micros))
    }

    /// A word; a wrong one is kept among the problems.
    fn word<T: FromStr<Err = Problem>>(&mut self, name: &str) -> PyResult<Option<T>> {
        let text = self.value::<String>(name)?;
        Ok(text.and_then(|text| self.parsed(&text)))
    }

    fn words<T: FromStr<Err = Problem>>(&mut self, name: &str) -> PyResult<Option<Vec<T>>> {
        let Some(texts) = self.value::<Vec<String>>(name)? else {
            return Ok(None);
        };
        let given = texts.len();
        let words: Vec<T> = texts.iter().filter_map(|text| self.parsed(text)).collect();
        // When all are wrong, that is the problem, and not that there are none.
        Ok(Some(words).filter(|words| !words.is_empty() || given == 0))
    }

    fn parsed<T: FromStr<Err = Problem>>(&mut self, text: &str) -> Option<T> {
        text.parse()
            .map_err(|problem: Problem| self.problems.push(problem.to_string()))
            .ok()
    }
}
