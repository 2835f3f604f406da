"""Whether everything balances: what the clients know, both journals, log, ledger, topic, both clusters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spoa_agent import Exchange
from traffic_gen.clients import digest

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
    bulk_bytes: int = 0


def captured(exchanges: Iterable[Exchange]) -> Captured:
    seen = Captured(Counter(), {})
    for exchange in exchanges:
        seen.exchanges += 1
        request, response = exchange.request, exchange.response
        if request is None or response is None:
            seen.without_response += 1
            continue
        sent, received = request.body.content, response.body.content
        seen.not_whole += not (request.body.is_whole and response.body.is_whole)
        seen.body_bytes += len(sent) + len(received)
        if request.target.split("?")[0].endswith("/_bulk"):
            seen.bulk_bytes += len(sent)
        seen.requests[exchange.id] = (request.method, request.target, sent)
        seen.digests[digest(request.method, request.target, sent, response.status, received)] += 1
    return seen


def check_capture(sent: int, digests: Counter[bytes] | None, primary: Captured, log: Captured) -> list[Check]:
    """`digests` are what our own clients remember. Other clients do not tell, but HAProxy counted their requests."""
    checks = [
        equal("every exchange is in the primary journal, once", sent, primary.exchanges),
        none("both halves of each are there", primary.without_response, "without a response"),
        none("every body is whole", primary.not_whole, "with a body that is not"),
        equal("every exchange is a line of the traffic log", sent, log.exchanges),
        none("every line has what the journal has, bodies included", different(primary, log), "differ"),
        Check("among them bulks, with their bodies", log.bulk_bytes > 0, f"{log.bulk_bytes:,} bytes"),
    ]
    if digests is None:
        return checks
    both = sum((primary.digests & digests).values())
    return [*checks, equal("method, target, bodies and status are what the clients saw, byte for byte", sent, both)]


def different(one: Captured, other: Captured) -> int:
    """Exchanges that are in one only, or not the same in both."""
    return max(sum((one.digests - other.digests).values()), sum((other.digests - one.digests).values()))


def check_shadow(primary: Captured, shadow: Captured, left_out: int) -> list[Check]:
    """`left_out` exchanges are not meant for the shadow: the primary refused them, or they changed nothing there."""
    unknown = shadow.requests.keys() - primary.requests.keys()
    shared = [(primary.requests[id], request) for id, request in shadow.requests.items() if id in primary.requests]
    wrong = sum(not is_same_or_pinned(captured, sent) for captured, sent in shared)
    return [
        equal("the shadow side captured what was meant for it", primary.exchanges - left_out, shadow.exchanges),
        equal("each under an id of its own", shadow.exchanges, len(shadow.requests)),
        none("every id there is one of the primary's", len(unknown), "are not"),
        none("under each id the same request, or the same write with the primary's ids", wrong, "differ"),
    ]


def is_same_or_pinned(captured: tuple[str, str, bytes], sent: tuple[str, str, bytes]) -> bool:
    """Byte for byte, but for scrolls, and for writes: without an id they get the primary's, and without what the primary refused."""
    if captured == sent:
        return True
    (method, target, body), (sent_method, sent_target, sent_body) = captured, sent
    path, sent_path = target.split("?")[0].rstrip("/"), sent_target.split("?")[0]
    if method != sent_method:
        return False
    if path == "/_search/scroll" or path.startswith("/_search/scroll/"):
        # A scroll goes on under the id that the shadow gave.
        return sent_path.startswith("/_search/scroll")
    if method not in ("POST", "PUT", "DELETE"):
        return False
    if path.endswith("/_bulk"):
        return sent_path == path and len(sent_body) > 0
    return body == sent_body and (sent_path == path or sent_path.startswith(path + "/"))


def left_out(ledger: dict[str, Any]) -> int:
    """Exchanges that are not meant for the shadow."""
    return sum(ledger["followers"]["shadow"]["exchanges"]["filtered"].values())


def check_ledger(sent: int, ledger: dict[str, Any], side: str) -> list[Check]:
    halves, repeated = ("requests", "responses"), repeats(ledger)
    checks = [
        equal(f"{side}: {half} captured", sent + repeated, ledger["capture"][half]["captured"]) for half in halves
    ]
    if repeated:
        checks.append(Check(f"{side}: among them parts of one bulk, and what was sent again", True, f"{repeated:,}"))
    for name, follower in ledger["followers"].items():
        account = follower["exchanges"]
        meant = sent - sum(account["filtered"].values())
        checks.append(equal(f"{side}: delivered by {name}", meant, account["delivered"]))
        checks.append(Check(f"{side}: the account of {name} balances", balances(account) and follower["balanced"]))
    return checks


def repeats(ledger: dict[str, Any]) -> int:
    """Exchanges under an id that was there before: a bulk that the shadow gets in parts, or a request that was sent again."""
    return int(max((follower["records"]["duplicates"] for follower in ledger["followers"].values()), default=0)) // 2


def check_topic(primary: Captured, in_topic: Counter[str]) -> list[Check]:
    """Every exchange at least once: what is told twice has the same id."""
    missing, unknown = primary.requests.keys() - in_topic.keys(), in_topic.keys() - primary.requests.keys()
    told = f"{len(in_topic):,}, of which {sum(in_topic.values()) - len(in_topic):,} more than once"
    return [
        Check(
            "every exchange is in the Kafka topic", not missing, f"{len(missing):,} are missing" if missing else told
        ),
        none("and nothing else", len(unknown), "are no exchange of the journal"),
    ]


def balances(account: dict[str, Any]) -> bool:
    ended = account["delivered"] + sum(account["filtered"].values()) + sum(account["dropped"].values())
    return bool(account["read"] == ended + account["in_flight"])


def check_documents(primary: Documents, shadow: Documents) -> list[Check]:
    """By id and content, whoever chose the id."""
    return [
        equal("the same indices", sorted(primary), sorted(shadow)),
        same("the same documents: ids and contents", named(primary), named(shadow)),
        Check(
            "among them documents whose ids the primary chose",
            any(document["id_generated"] for documents in primary.values() for document in documents),
        ),
    ]


def named(indices: Documents) -> Counter[str]:
    return Counter(
        text([name, document["_id"], document["_source"]])
        for name, documents in indices.items()
        for document in documents
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


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
