"""Fixtures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spoa_agent import Agent, SpopClient
from spoa_agent.spop import request_message
from support import BULK, NDJSON, STEP, Capture, Node, config, exchange, serve

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session", autouse=True)
def agent_program() -> None:
    """The agent that is tested with. None at all is a failure, and no reason to pass anything over."""
    built = REPOSITORY / "target" / "debug" / "spoa-agent"
    named = os.environ.setdefault("SPOA_AGENT_BINARY", str(built))
    assert shutil.which(named), f"{named} is no program; build it (cargo build -p spoa-agent), or name it in SPOA_AGENT_BINARY"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with Agent(config(tmp_path)) as agent:
        yield agent


@pytest.fixture
def node() -> Iterator[Node]:
    with serve() as node:
        yield node


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """A `_bulk`, a cut body, ten searches, a header that is not UTF-8, and a request without a response."""
    folder = tmp_path_factory.mktemp("capture")
    log = folder / "traffic.ndjson"
    begin = 1_750_000_000_000_000
    with Agent(config(folder, traffic_log={"path": log}, pairing={"deadline": "200ms"})) as agent:
        with SpopClient(agent.addresses[0]) as haproxy:
            exchange(haproxy, "bulk", "POST", "/_bulk", begin, body=BULK, headers=NDJSON)
            exchange(haproxy, "cut", "PUT", "/songs/_doc/9?refresh=wait_for", begin + STEP, body=b'{"ti', whole=False)
            for number in range(10):
                exchange(haproxy, f"search-{number}", "GET", "/songs/_search", begin + (2 + number) * STEP)
            odd = {"x-name": "caf\udce9"}
            exchange(haproxy, "odd", "GET", "/songs/_doc/\udcff", begin + 12 * STEP, headers=odd)
            haproxy.notify(request_message("alone", "DELETE", "/songs", time_us=begin + 13 * STEP))
        agent.wait_until(lambda: len(log.read_bytes().splitlines()) == 14, 30, "all exchanges are in the traffic log")
        return Capture(agent.journal_dir, log, begin, 14)
