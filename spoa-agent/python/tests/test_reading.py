"""Journals, logs and pairs."""

from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from spoa_agent import (
    Agent,
    ConfigError,
    Exchange,
    ExchangeReader,
    JournalError,
    Pair,
    SpopClient,
    read_journal,
    read_log,
    read_pairs,
)
from support import BULK, STEP, Capture, Node, config, exchange


def by_id(reader: ExchangeReader) -> dict[str, Exchange]:
    return {found.id: found for found in reader}


@pytest.fixture(params=["journal", "log"])
def found(request: pytest.FixtureRequest, capture: Capture) -> dict[str, Exchange]:
    """The same exchanges, as the journal has them and as the traffic log has them."""
    return by_id(read_journal(capture.journal) if request.param == "journal" else read_log(capture.log))


def test_every_exchange_is_there_once(found: dict[str, Exchange], capture: Capture) -> None:
    assert len(found) == capture.count


def test_an_exchange_tells_what_was_captured(found: dict[str, Exchange], capture: Capture) -> None:
    bulk = found["bulk"]
    assert bulk.kind == "exchange"
    assert bulk.time_us == capture.begin_us
    assert bulk.time == datetime.fromtimestamp(capture.begin_us / 1e6, timezone.utc)
    assert bulk.duration == timedelta(milliseconds=5)
    request, response = bulk.request, bulk.response
    assert request is not None
    assert response is not None
    assert (request.method, request.target, request.version) == ("POST", "/_bulk", "1.1")
    assert (request.client, request.frontend, request.tls) == (("127.0.0.1", 40000), "primary", None)
    assert request.body.content == BULK == bytes(request.body)
    assert (request.body.extent, request.body.missing, len(request.body)) == ("whole", None, len(BULK))
    assert request.ndjson()[1] == {"title": "Aur\u00eal"}
    assert (response.status, response.server, response.backend) == (200, "node", "cluster")
    assert response.json() == {"took": 1}
    assert response.request_time_us == capture.begin_us
    assert response.timers.queue_ms is None


def test_an_operation_tells_what_a_request_means(found: dict[str, Exchange]) -> None:
    operation = found["bulk"].operation
    assert operation is not None
    assert (operation.api, operation.is_write, operation.reach) == ("bulk", True, "documents")
    assert operation.indices == ["songs", "poems"]
    documents = [(document.action, document.index, document.id) for document in operation.documents]
    assert documents == [("index", "songs", "7"), ("delete", "poems", "8")]
    search = found["search-0"].operation
    assert search is not None
    assert (search.api, search.is_write, search.indices) == ("search", False, ["songs"])
    cut = found["cut"].operation
    assert cut is not None
    assert cut.refresh == "wait"


def test_a_cut_body_is_never_taken_for_whole(found: dict[str, Exchange]) -> None:
    request = found["cut"].request
    assert request is not None
    assert (request.body.extent, request.body.is_whole) == ("cut", False)
    with pytest.raises(ValueError, match="not whole"):
        request.json()


def test_a_request_without_a_response_says_so(found: dict[str, Exchange]) -> None:
    alone = found["alone"]
    assert (alone.kind, alone.response, alone.duration, alone.duration_us) == ("request_only", None, None, None)


def test_text_that_is_no_utf_8_comes_back_as_the_same_bytes(found: dict[str, Exchange]) -> None:
    request = found["odd"].request
    assert request is not None
    assert request.target.encode("utf-8", "surrogateescape") == b"/songs/_doc/\xff"
    name = request.headers.get("X-Name")
    assert name is not None
    assert name.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_headers_keep_their_order_and_repeats(found: dict[str, Exchange]) -> None:
    response = found["bulk"].response
    assert response is not None
    headers = response.headers
    assert [name for name, _ in headers] == ["set-cookie", "set-cookie"]
    assert headers.get_all("Set-Cookie") == ["***", "***"]
    assert "SET-COOKIE" in headers
    assert "host" not in headers
    assert headers.get("host", "none") == "none"
    assert headers[-1] == headers[1]
    assert len(headers) == 2
    for outside in (2, -3):
        with pytest.raises(IndexError):
            headers[outside]


def test_a_line_reads_back_as_the_same_exchange(found: dict[str, Exchange]) -> None:
    for one in found.values():
        line = one.to_json()
        assert Exchange.from_json(line).to_json() == line
        assert len(one.to_json(bodies=False)) < len(line)
    with pytest.raises(JournalError, match="not an exchange"):
        Exchange.from_json("{}")


@pytest.mark.parametrize("kind", ["datetime", "seconds"])
def test_a_window_of_time_is_half_open(capture: Capture, kind: str) -> None:
    def when(steps: int) -> Any:
        micros = capture.begin_us + steps * STEP
        if kind == "seconds":
            return micros / 1e6
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)

    reader = read_journal(capture.journal, since=when(2), until=when(5))
    assert [found.id for found in reader] == ["search-0", "search-1", "search-2"]
    assert (reader.counts.read, reader.counts.outside) == (3, capture.count - 3)


@pytest.mark.parametrize("wrong", ["yesterday", datetime(2026, 1, 1), True, float("nan"), 1e300])
def test_what_is_no_time_is_refused(capture: Capture, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="since"):
        read_journal(capture.journal, since=wrong)


def test_reading_begins_where_one_says(capture: Capture) -> None:
    positions = [found.position for found in read_journal(capture.journal)]
    later = [found.position for found in read_journal(capture.journal, start=positions[4])]
    assert later == positions[4:]
    assert list(read_journal(capture.journal, start="latest")) == []
    with pytest.raises(ConfigError, match="start"):
        read_journal(capture.journal, start="middle")  # type: ignore[arg-type]


def test_what_is_no_journal_and_no_log_is_told(tmp_path: Path) -> None:
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(JournalError, match=str(wrong)):
            read_journal(wrong)
    with pytest.raises(JournalError, match="none"):
        read_log(tmp_path / "none")
    with pytest.raises(JournalError, match="none"):
        read_pairs(tmp_path / "none")


def test_lines_that_are_damaged_are_counted_or_refused(capture: Capture, tmp_path: Path) -> None:
    lines = capture.log.read_bytes().splitlines()
    gap = b'{"@timestamp":"2026-11-21T04:46:31Z","event":{"kind":"gap","position":1,"reason":"backlog","requests":3,"responses":4}}'
    damaged = tmp_path / "damaged.ndjson"
    damaged.write_bytes(b"\n".join([lines[0], gap, b"", lines[1][:100], lines[2]]))
    reader = read_log(damaged)
    assert len(list(reader)) == 2
    counts = reader.counts
    assert (counts.gaps, counts.halves_never_recorded, counts.undecodable, counts.is_clean) == (1, 7, 1, False)
    with pytest.raises(JournalError, match="7 halves"):
        list(read_log(damaged, strict=True))


def test_several_logs_are_read_one_after_the_other_compressed_ones_too(capture: Capture, tmp_path: Path) -> None:
    packed = tmp_path / "traffic.ndjson.1.gz"
    packed.write_bytes(gzip.compress(capture.log.read_bytes()))
    assert len(list(read_log([packed, str(capture.log)]))) == 2 * capture.count


def test_following_meets_what_comes_and_ends_when_it_is_closed(agent: Agent) -> None:
    met: list[str] = []
    both = threading.Event()
    reader = read_journal(agent.journal_dir, follow=True)

    def follow() -> None:
        for found in reader:
            met.append(found.id)
            if len(met) == 2:
                both.set()

    thread = threading.Thread(target=follow)
    thread.start()
    with SpopClient(agent.addresses[0]) as haproxy:
        exchange(haproxy, "first", "GET", "/", 1_750_000_000_000_000)
        exchange(haproxy, "second", "GET", "/", 1_750_000_000_000_000)
        assert both.wait(30)
    reader.close()
    thread.join(30)
    assert not thread.is_alive()
    assert met == ["first", "second"]


WAITS = {
    "journal": "for _ in read_journal(agent.journal_dir, follow=True): pass",
    "table": "to_arrow(read_journal(agent.journal_dir, follow=True)).read_all()",
    "ack": "SpopClient(agent.addresses[0], timeout=600).receive()",
}


@pytest.mark.parametrize("wait", sorted(WAITS))
def test_ctrl_c_ends_what_waits_and_other_threads_run_meanwhile(wait: str, tmp_path: Path) -> None:
    program = f"""
        import os, signal, threading, time
        from spoa_agent import Agent, SpopClient, read_journal, to_arrow
        sections = {{"journal": {{"dir": {str(tmp_path / "j")!r}}}, "server": {{"listen": ["127.0.0.1:0"]}},
                    "admin": {{"listen": "127.0.0.1:0"}}, "shutdown": {{"lame_duck": "0s"}}}}
        def interrupt():
            time.sleep(0.3)
            print("another thread ran", flush=True)
            os.kill(os.getpid(), signal.SIGINT)
        with Agent(sections) as agent:
            threading.Thread(target=interrupt).start()
            try:
                {WAITS[wait]}
            except BaseException as error:
                print("KeyboardInterrupt" in repr(error))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "another thread ran\nTrue\n"


def test_following_a_window_that_is_past_ends_by_itself(capture: Capture) -> None:
    reader = read_journal(capture.journal, until=capture.begin_us / 1e6 + 3600, follow=True)
    assert len(list(reader)) == capture.count


def test_a_block_closes_its_reader(capture: Capture) -> None:
    with read_journal(capture.journal) as reader:
        next(reader)
    assert list(reader) == []


@pytest.fixture
def mirrored(tmp_path: Path, node: Node) -> Agent:
    """An agent that has mirrored three exchanges, and written the pairs to its journal and to a log."""
    log = tmp_path / "pairs.ndjson"
    sections = config(
        tmp_path,
        shadow={"url": node.url, "pairs": "journal"},
        pair_log={"path": log},
    )
    with Agent(sections) as agent, SpopClient(agent.addresses[0]) as haproxy:
        for number in range(3):
            exchange(haproxy, f"id-{number}", "GET", "/songs/_search", 1_750_000_000_000_000 + number)
        agent.wait_until(lambda: log.exists() and log.read_bytes().count(b"\n") == 3, 30, "the pairs are in the log")
    return agent


def test_pairs_tell_both_sides(mirrored: Agent, tmp_path: Path, node: Node) -> None:
    pairs = list(mirrored.pairs())
    assert sorted(pair.id for pair in pairs) == ["id-0", "id-1", "id-2"]
    assert len(node.seen) == 3
    pair = pairs[0]
    assert (pair.outcome, pair.dropped, pair.api, pair.more, pair.items) == ("delivered", None, "search", False, [])
    assert pair.request.target == "/songs/_search"
    assert pair.primary is not None
    assert pair.shadow is not None
    assert pair.shadow.json()["result"] == "created"
    assert pair.primary_us == 5000
    assert pair.shadow_us == pair.sending.end_us > 0
    assert pair.sending.attempts == 1
    assert pair.operation.api == "search"
    sent = pair.as_sent()
    assert sent is not None
    assert sent.method == "GET"
    lines = [pair.to_json() for pair in read_pairs(tmp_path / "pairs.ndjson")]
    assert lines == [pair.to_json() for pair in pairs]
    assert [Pair.from_json(line).to_json() for line in lines] == lines


def test_dead_letters_are_pairs_too(tmp_path: Path, node: Node) -> None:
    letters = tmp_path / "dead-letters.ndjson"
    sections = config(tmp_path, shadow={"url": node.url, "max_attempts": 1}, dead_letter={"path": letters})
    with Agent(sections) as agent, SpopClient(agent.addresses[0]) as haproxy:
        exchange(haproxy, "well", "GET", "/songs/_search", 1_750_000_000_000_000)
        exchange(haproxy, "bad", "PUT", "/poison/_doc/1", 1_750_000_000_000_001, body=b"{}")
        agent.wait_until(lambda: letters.exists() and letters.read_bytes().count(b"\n") == 1, 60, "there is a dead letter")
    (letter,) = read_pairs(letters)
    assert (letter.id, letter.outcome, letter.position) == ("bad", "dropped", 1)
    assert letter.dropped is not None
    assert letter.dropped[0] == "poison"
    assert letter.shadow is not None
    assert letter.shadow.status == 503


def test_only_a_journal_can_be_followed(capture: Capture) -> None:
    with pytest.raises(ConfigError, match="followed"):
        read_pairs(capture.log, follow=True)
    assert list(read_pairs(capture.log)) == []
