"""Tables."""

from __future__ import annotations

import sys
from itertools import repeat
from pathlib import Path

import pyarrow
import pytest

from spoa_agent import (
    Agent,
    ConfigError,
    Exchange,
    JournalError,
    SpopClient,
    arrow_stream,
    read_journal,
    read_log,
    read_pairs,
    to_arrow,
)
from support import BULK, Capture, Node, config, exchange


def test_a_reader_becomes_a_table(capture: Capture) -> None:
    table = to_arrow(read_journal(capture.journal)).read_all()
    assert table.num_rows == capture.count
    row = table.slice(0, 1).to_pylist()[0]
    assert (row["id"], row["kind"], row["api"], row["is_write"], row["documents"]) == ("bulk", "exchange", "bulk", True, 2)
    assert row["indices"] == ["songs", "poems"]
    assert (row["request_body"], row["request_extent"], row["request_bytes"]) == (BULK, "whole", len(BULK))
    assert (row["client_ip"], row["client_port"], row["tls"]) == ("127.0.0.1", 40000, False)
    assert (row["response_status"], row["response_body"], row["duration_us"]) == (200, b'{"took":1}', 5000)
    assert row["response_headers"] == [{"name": "set-cookie", "value": "***"}] * 2
    assert row["time"].timestamp() * 1e6 == capture.begin_us
    last = table.slice(capture.count - 1, 1).to_pylist()[0]
    assert (last["kind"], last["response_status"], last["response_headers"]) == ("request_only", None, None)


def test_a_reader_is_a_stream_by_itself(capture: Capture) -> None:
    reader = pyarrow.RecordBatchReader.from_stream(read_log(capture.log))
    assert reader.read_all().num_rows == capture.count


def test_any_iterable_becomes_the_same_table(capture: Capture) -> None:
    whole = to_arrow(read_journal(capture.journal)).read_all()
    searches = (found for found in read_journal(capture.journal) if found.id.startswith("search"))
    assert to_arrow(searches).read_all().equals(whole.slice(2, 10))
    assert to_arrow(list(read_journal(capture.journal)), batch_size=3).read_all().equals(whole)


def test_batches_are_made_when_they_are_asked_for(capture: Capture) -> None:
    first = next(read_journal(capture.journal))
    batches = to_arrow(repeat(first), batch_size=100)
    assert batches.read_next_batch().num_rows == 100
    assert batches.read_next_batch().num_rows == 100


def test_bodies_are_left_out_when_nobody_wants_them(capture: Capture) -> None:
    names = to_arrow(read_journal(capture.journal), bodies=False).schema.names
    assert "request_body" not in names
    assert "request_bytes" in names


def test_text_that_is_no_utf_8_is_readable(capture: Capture) -> None:
    table = to_arrow(read_journal(capture.journal)).read_all()
    assert "/songs/_doc/\ufffd" in table.column("target").to_pylist()


def test_what_goes_wrong_on_the_way_reaches_the_reader(capture: Capture, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ndjson"
    damaged.write_bytes(capture.log.read_bytes() + b"{}\n")
    with pytest.raises(Exception, match="not an exchange"):
        to_arrow(read_log(damaged, strict=True)).read_all()
    with pytest.raises(Exception, match="not of int"):
        to_arrow([1], kind="exchange").read_all()  # type: ignore[arg-type]
    with pytest.raises(Exception, match="among pairs"):
        to_arrow(list(read_journal(capture.journal)), kind="pair").read_all()


def test_a_stream_is_read_once(capture: Capture) -> None:
    stream = arrow_stream(read_journal(capture.journal))
    assert pyarrow.schema(stream) == to_arrow(read_journal(capture.journal)).schema
    pyarrow.RecordBatchReader.from_stream(stream).read_all()
    with pytest.raises(ValueError, match="read already"):
        pyarrow.RecordBatchReader.from_stream(stream)


def test_nothing_is_a_table_too() -> None:
    assert to_arrow([]).read_all().num_rows == 0
    assert "shadow_status" in to_arrow([], kind="pair").schema.names


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        to_arrow([], batch_size=0)
    with pytest.raises(ConfigError, match="kind"):
        to_arrow([], kind="verdict")  # type: ignore[arg-type]
    with pytest.raises(JournalError):
        Exchange.from_json(b"[]")


def test_without_pyarrow_one_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"spoa-agent\[arrow\]"):
        to_arrow([])
    assert arrow_stream([]) is not None


def test_pairs_become_a_table(tmp_path: Path, node: Node) -> None:
    sections = config(tmp_path, shadow={"url": node.url, "pairs": "journal"})
    with Agent(sections) as agent, SpopClient(agent.addresses[0]) as haproxy:
        exchange(haproxy, "id-1", "GET", "/songs/_search", 1_750_000_000_000_000)
        agent.wait_until(lambda: any(True for _ in agent.pairs()), 30, "there is a pair")
        table = to_arrow(read_pairs(agent.journal_dir)).read_all()
    (row,) = table.to_pylist()
    assert (row["id"], row["outcome"], row["primary_status"], row["shadow_status"]) == ("id-1", "delivered", 200, 200)
    assert row["primary_us"] == 5000
    assert row["shadow_us"] > 0
    assert row["shadow_body"] == b'{"took": 1, "result": "created"}'
    assert (row["attempts"], row["dropped_reason"], row["more"]) == (1, None, False)
