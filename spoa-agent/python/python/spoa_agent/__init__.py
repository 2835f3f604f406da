"""spoa-agent from Python: configure HAProxy, run and watch agents, read what was captured, replay it.

The program `spoa-agent` does the work, as a child process; this package starts it, asks it, and reads its files.

- `HaproxyConfig` and `Haproxy`: HAProxy's configuration for capturing, and HAProxy as a child process.
- `Agent`: `spoa-agent run` as a child process, with its ledger, metrics and log.
- `read_journal`, `read_log`, `read_pairs`: what was captured, lazily, as `Exchange` and `Pair`.
- `to_arrow`, `arrow_stream`: the same as Arrow tables, for pandas, polars and DuckDB.
- `replay`, `Replay`: an old capture to another cluster.
- `kafka_check`: whether the brokers can be reached.
- `SpopClient`: plays HAProxy in a test; `spoa_agent.spop` makes its messages.

What came from a client or a server is bytes and need not be UTF-8. Bodies are `bytes`; ids, methods, targets and headers are `str`, decoded
as UTF-8 with `surrogateescape`: `text.encode("utf-8", "surrogateescape")` gives the bytes back, whatever they were.
"""

from __future__ import annotations

from ._agent import Agent, AgentUnreachable, Sample, find_agent
from ._arrow import arrow_stream, to_arrow
from ._haproxy import Haproxy, HaproxyConfig, check_haproxy, find_haproxy
from ._kafka import KafkaFinding, KafkaFindings, kafka_check
from ._native import (
    Ack,
    Action,
    ArrowStream,
    Body,
    Counts,
    Document,
    Exchange,
    ExchangeReader,
    Headers,
    Operation,
    Pair,
    PairReader,
    Request,
    Response,
    Rewritten,
    Sending,
    SpopClient,
    Timers,
    Tls,
    __version__,
    read_journal,
    read_log,
    read_pairs,
)
from ._process import LogLine, Process
from ._replay import Replay, ReplayProgress, ReplayReport, Spread, TargetFigures, replay
from .errors import AgentError, ConfigError, JournalError, ProtocolError, ReplayError, SpoaError

__all__ = [
    "Ack",
    "Action",
    "Agent",
    "AgentError",
    "AgentUnreachable",
    "ArrowStream",
    "Body",
    "ConfigError",
    "Counts",
    "Document",
    "Exchange",
    "ExchangeReader",
    "Haproxy",
    "HaproxyConfig",
    "Headers",
    "JournalError",
    "KafkaFinding",
    "KafkaFindings",
    "LogLine",
    "Operation",
    "Pair",
    "PairReader",
    "Process",
    "ProtocolError",
    "Replay",
    "ReplayError",
    "ReplayProgress",
    "ReplayReport",
    "Request",
    "Response",
    "Rewritten",
    "Sample",
    "Sending",
    "SpoaError",
    "SpopClient",
    "Spread",
    "TargetFigures",
    "Timers",
    "Tls",
    "__version__",
    "arrow_stream",
    "check_haproxy",
    "find_agent",
    "find_haproxy",
    "kafka_check",
    "read_journal",
    "read_log",
    "read_pairs",
    "replay",
    "to_arrow",
]
