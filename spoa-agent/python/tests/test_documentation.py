"""Every example of the README and of the docstrings does what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import spoa_agent
from spoa_agent import Agent, SpopClient
from support import BULK, NDJSON, STEP, Node, config, exchange, free_port

PACKAGE = Path(__file__).resolve().parents[1]
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL

MODULES = [found.name for found in pkgutil.iter_modules(spoa_agent.__path__) if found.name != "_native"]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"spoa_agent.{name}"), optionflags=FLAGS).failed == 0


def test_every_public_name_has_a_docstring() -> None:
    for name in spoa_agent.__all__:
        value = getattr(spoa_agent, name)
        assert name == "__version__" or value.__doc__, name
        members: list[tuple[str, Any]] = list(vars(value).items()) if isinstance(value, type) else []
        for member, found in members:
            if not member.startswith("_") and (callable(found) or isinstance(found, property)):
                assert found.__doc__, f"{name}.{member}"


def test_the_readme(tmp_path: Path, node: Node) -> None:
    journal = small_journal(tmp_path / "captured")
    names = {
        "folder": tmp_path,
        "journal": journal,
        "node": node.address,
        "shadow": node.url,
        "listen": f"127.0.0.1:{free_port()}",
        "fetch": fetch,
    }
    done = doctest.testfile(str(PACKAGE / "README.md"), module_relative=False, globs=names, optionflags=doctest.ELLIPSIS)
    assert done.failed == 0
    assert done.attempted > 10


def test_the_example_tells_the_latency_of_both_sides(tmp_path: Path, node: Node) -> None:
    sections = config(tmp_path, shadow={"url": node.url, "pairs": "journal"})
    with Agent(sections) as agent, SpopClient(agent.addresses[0]) as haproxy:
        for number in range(20):
            exchange(haproxy, f"id-{number}", "GET", "/songs/_search", 1_750_000_000_000_000 + number)
        agent.wait_until(lambda: sum(1 for _ in agent.pairs()) == 20, 30, "the pairs are there")
    command = [sys.executable, str(PACKAGE / "examples" / "latency.py"), str(agent.journal_dir), str(tmp_path / "plot.png")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "20 requests compared, 0 left out" in told
    (line,) = (line for line in told.splitlines() if line.startswith("search "))
    assert "5.00 /" in line
    assert (tmp_path / "plot.png").exists() or "There is no matplotlib" in told


def small_journal(folder: Path) -> Path:
    """A `_bulk`, eleven searches, and a deletion that found nothing."""
    begin = 1_750_000_000_000_000
    with Agent(config(folder)) as agent, SpopClient(agent.addresses[0]) as haproxy:
        exchange(haproxy, "bulk", "POST", "/_bulk", begin, body=BULK, headers=NDJSON)
        for number in range(11):
            exchange(haproxy, f"search-{number}", "GET", "/songs/_search", begin + (1 + number) * STEP)
        exchange(haproxy, "gone", "DELETE", "/songs", begin + 12 * STEP, status=404)
    return agent.journal_dir


def fetch(url: str) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
        assert answer.status == 200
