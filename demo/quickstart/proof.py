"""Whether everything balances: what the clients know, both journals, the ledger, both clusters."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .traffic import digest

# By index, as a node's dump gives them.
Documents = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Check:
    claim: str
    holds: bool
    detail: str = ""


@dataclass
class Captured:
    """What one side's journal holds."""

    digests: Counter[bytes]
    requests: dict[str, tuple[str, str, bytes]]
    exchanges: int = 0
    not_whole: int = 0
    without_response: int = 0
    body_bytes: int = 0


def captured(exchanges: Iterable[dict[str, Any]]) -> Captured:
    seen = Captured(Counter(), {})
    for exchange in exchanges:
        seen.exchanges += 1
        request, response = exchange.get("request"), exchange.get("response")
        if request is None or response is None:
            seen.without_response += 1
            continue
        sent, received = content(request), content(response)
        seen.not_whole += extent(request) != "whole" or extent(response) != "whole"
        seen.body_bytes += len(sent) + len(received)
        method, target = request["method"], request["target"]
        seen.requests[exchange["event"]["id"]] = (method, target, sent)
        seen.digests[digest(method, target, sent, response["status_code"], received)] += 1
    return seen


def check_capture(sent: int, digests: Counter[bytes], primary: Captured, log_lines: int) -> list[Check]:
    both = sum((primary.digests & digests).values())
    return [
        equal("every exchange is in the primary journal, once", sent, primary.exchanges),
        none("both halves of each are there", primary.without_response, "without a response"),
        none("every body is whole", primary.not_whole, "with a body that is not"),
        equal("method, target, bodies and status are what the clients saw, byte for byte", sent, both),
        equal("every exchange is a line of the traffic log", sent, log_lines),
    ]


def check_shadow(primary: Captured, shadow: Captured) -> list[Check]:
    lonely = primary.requests.keys() ^ shadow.requests.keys()
    same = sum(shadow.requests.get(id) == request for id, request in primary.requests.items())
    return [
        equal("the shadow side captured each exchange once", primary.exchanges, shadow.exchanges),
        none("the ids on both sides are the same", len(lonely), "on one side only"),
        equal("under each id, the shadow got the same request", len(primary.requests), same),
    ]


def check_ledger(sent: int, ledger: dict[str, Any], side: str) -> list[Check]:
    capture = ledger["capture"]
    checks = []
    for half in ("requests", "responses"):
        checks.append(equal(f"{side}: {half} captured", sent, capture[half]["captured"]))
    for name, follower in ledger["followers"].items():
        account = follower["exchanges"]
        checks.append(equal(f"{side}: delivered by {name}", sent, account["delivered"]))
        checks.append(Check(f"{side}: the account of {name} balances", balances(account) and follower["balanced"]))
    return checks


def balances(account: dict[str, Any]) -> bool:
    ended = account["delivered"] + sum(account["filtered"].values()) + sum(account["dropped"].values())
    return bool(account["read"] == ended + account["in_flight"])


def check_documents(primary: Documents, shadow: Documents) -> list[Check]:
    """By id where a client chose the id, by content where the cluster did."""
    checks = [equal("the same indices", sorted(primary), sorted(shadow))]
    mine, theirs = with_id(primary), with_id(shadow)
    checks.append(same("documents with an id of the client's: the same ids and contents", mine, theirs))
    mine, theirs = without_id(primary), without_id(shadow)
    checks.append(same("documents with an id of the cluster's: the same contents", mine, theirs))
    return checks


def with_id(indices: Documents) -> Counter[str]:
    return Counter(
        text([name, document["_id"], document["_source"]])
        for name, documents in indices.items()
        for document in documents
        if not document["id_generated"]
    )


def without_id(indices: Documents) -> Counter[str]:
    return Counter(
        text([name, document["_source"]])
        for name, documents in indices.items()
        for document in documents
        if document["id_generated"]
    )


def same(claim: str, primary: Counter[str], shadow: Counter[str]) -> Check:
    count = sum(primary.values())
    missing, extra = sum((primary - shadow).values()), sum((shadow - primary).values())
    holds = count > 0 and missing == 0 and extra == 0
    return Check(claim, holds, f"{count:,}" if holds else f"{count:,}, of which {missing:,} are missing or differ")


def equal(claim: str, expected: Any, found: Any) -> Check:
    if expected == found:
        return Check(claim, True, number(found))
    return Check(claim, False, f"expected {number(expected)}, found {number(found)}")


def none(claim: str, count: int, what: str) -> Check:
    return Check(claim, count == 0, f"{count:,} {what}" if count else "")


def number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ", ".join(value) if isinstance(value, list) else str(value)


def extent(half: dict[str, Any]) -> str:
    return str(half["body"]["extent"])


def content(half: dict[str, Any]) -> bytes:
    """The bytes of a body: text when they are UTF-8, `{"base64": ..}` when they are not."""
    written = half["body"].get("content", "")
    return base64.b64decode(written["base64"]) if isinstance(written, dict) else str(written).encode()


def lines_of(log: Path) -> int:
    with log.open("rb") as lines:
        return sum(1 for _ in lines)


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
