"""Replays, and the check of brokers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from spoa_agent import (
    AgentError,
    ConfigError,
    Replay,
    ReplayError,
    ReplayProgress,
    kafka_check,
    read_pairs,
    replay,
)
from support import STEP, Capture, Node


@pytest.mark.parametrize("source", ["journal", "log"])
def test_a_replay_tells_what_became_of_everything(capture: Capture, node: Node, source: str, tmp_path: Path) -> None:
    told: list[ReplayProgress] = []
    pairs = tmp_path / "pairs.ndjson"
    from_ = capture.journal if source == "journal" else capture.log
    report = replay(from_, node.url, speed="max", pairs=pairs, progress=told.append)
    assert (report.outcome, report.is_complete) == ("dropped", False)
    (target,) = report.targets
    assert target.target == node.url
    assert (target.read, target.done, target.balanced, target.is_over) == (capture.count, capture.count, True, True)
    assert sum(target.dropped.values()) == 1
    assert target.delivered["2xx"] == len(node.seen) == target.service.count
    assert target.capture_time is not None
    assert target.capture_time.tzinfo is not None
    assert any({"target": node.url, "id": "9", "reason": "body cut"}.items() <= line.items() for line in report.ambiguous)
    assert report.raw["targets"][0]["read"] == capture.count
    assert told[-1].targets == report.targets
    assert len(list(read_pairs(pairs))) == len(node.seen)


def test_a_window_and_a_limit_select(capture: Capture, node: Node) -> None:
    report = replay(capture.journal, [node.url], rate=1000.0, since=third(capture), limit=4, host="target")
    assert report.is_complete
    assert report.targets[0].read == 4
    assert [path for _, path, _ in node.seen] == ["/songs/_search"] * 4
    with pytest.raises(ConfigError, match="time zone"):
        replay(capture.journal, node.url, since=datetime(2026, 1, 1))


def test_a_running_replay_pauses_goes_on_and_changes_its_speed(capture: Capture, node: Node) -> None:
    with Replay(capture.journal, node.url, speed=0.001, since=third(capture)) as running:
        assert running.pause().paused
        assert not running.resume().paused
        assert running.set_speed(2).speed == "2x"
        with pytest.raises(ReplayError, match="has not ended"):
            running.report()
        with pytest.raises(ReplayError, match="speed"):
            running.set_speed(0)
        assert running.set_speed("max").speed == "max"
        report = running.finish()
    assert report.is_complete
    with pytest.raises(AgentError, match="no commands"):
        running.progress()


def test_a_stopped_replay_says_so_and_goes_on_later(capture: Capture, node: Node, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Replay(capture.journal, node.url, speed=0.001, since=third(capture), state=state) as running:
        running.stop()
        stopped = running.report()
    assert stopped.outcome == "stopped"
    assert not stopped.is_complete
    rest = replay(capture.journal, node.url, speed="max", since=third(capture), state=state)
    assert rest.is_complete
    assert rest.targets[0].read == capture.count - 2


def test_what_the_callback_raises_stops_the_replay(capture: Capture, node: Node) -> None:
    class Enough(Exception):
        pass

    def progress(_: ReplayProgress) -> None:
        raise Enough

    with pytest.raises(Enough):
        replay(capture.journal, node.url, speed=0.001, progress=progress, interval=0.01)


def test_ctrl_c_stops_a_replay_in_order(capture: Capture, node: Node, tmp_path: Path) -> None:
    state = tmp_path / "state"
    program = f"""
        from spoa_agent import replay
        def progress(now):
            print("going", flush=True)
        try:
            replay({str(capture.journal)!r}, {node.url!r}, speed=0.001, state={str(state)!r}, progress=progress)
        except KeyboardInterrupt:
            print("interrupted")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "going\n"
        running.send_signal(signal.SIGINT)
        assert running.stdout.read().splitlines()[-1] == "interrupted"
    assert any(state.iterdir())


def test_a_replay_that_cannot_begin_tells_why(capture: Capture, node: Node, tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").write_text("")
    with pytest.raises(ReplayError, match="nothing to replay") as failed:
        replay(tmp_path / "empty.ndjson", node.url)
    assert failed.value.exit_code == 1
    with pytest.raises(ConfigError, match="speed"):
        replay(capture.journal, node.url, speed="fast")
    with pytest.raises(TypeError):
        replay(capture.journal, node.url, sped=1)


FINDINGS = """
{"verdict": "error", "hindrance": "listener", "complete": true, "findings": [
  {"verdict": "ok", "step": "bootstrap", "about": "a:9092", "code": "reached", "says": "it is there"},
  {"verdict": "error", "step": "listener", "about": "b:9092", "code": "unresolved", "says": "no such name", "advice": ["name another"],
   "remedies": [{"case": "in a container", "lines": ["advertised.listeners=PLAINTEXT://b:9092"]}]}]}
"""


def test_the_check_of_brokers_gives_its_findings(tmp_path: Path) -> None:
    (tmp_path / "findings").write_text(FINDINGS)
    fake = program(tmp_path, 'cd "$(dirname "$0")"; cat findings; echo "$@" >arguments; exit 10')
    findings = kafka_check(["a:9092", "b:9092"], probe=7, arguments=["--kafka-security", "tls"], binary=fake)
    assert (findings.exit_code, findings.hindrance, bool(findings)) == (10, "listener", False)
    assert [finding.code for finding in findings.findings] == ["reached", "unresolved"]
    (error,) = findings.errors
    assert (error.about, error.advice) == ("b:9092", ["name another"])
    assert error.remedies == [("in a container", ["advertised.listeners=PLAINTEXT://b:9092"])]
    assert findings.raw["complete"]
    said = (tmp_path / "arguments").read_text().split()
    assert said == ["kafka-check", "--json", "--kafka-security", "tls", "--bootstrap", "a:9092,b:9092", "--probe=7"]
    assert kafka_check(config="x.toml", probe=True, binary=program(tmp_path, "echo '{}'"))


def test_a_check_that_gives_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such flag"):
        kafka_check("a:9092", binary=program(tmp_path, "echo no such flag >&2; exit 2"))
    with pytest.raises(AgentError, match=r"exit code 1 .*boom"):
        kafka_check("a:9092", binary=program(tmp_path, "echo boom >&2; exit 1"))
    with pytest.raises(AgentError, match=r"0\.1 s"):
        kafka_check("a:9092", timeout=0.1, binary=program(tmp_path, "exec sleep 30"))


def third(capture: Capture) -> datetime:
    """When the first search was: what comes before it has a cut body, which cannot be sent."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=capture.begin_us + 2 * STEP)


def program(folder: Path, script: str) -> str:
    path = folder / "fake-agent"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return os.fspath(path)
