"""Whether the promise was kept: from what HAProxy told the clients, what Kafka's own client finds, and the ledger."""

from __future__ import annotations

from collections import Counter
from typing import Any

from haproxy_demo.proof import Check, balances, equal, none

from .outcome import Seen

# Of all exchanges.
MOST_REPEATED = 0.001


def judge(seen: list[Seen], topic: Counter[str], ledger: dict[str, Any], counted: int | None) -> list[Check]:
    """`counted` is how many requests HAProxy has counted itself."""
    return [*of_clients(seen, counted), *of_topic(seen, topic), *of_ledger(ledger, topic)]


def of_clients(seen: list[Seen], counted: int | None) -> list[Check]:
    failed = [one for one in seen if not one.is_well]
    reasons = Counter(one.said if one.status == 0 else f"status {one.status}" for one in failed)
    why = "; ".join(f"{count:,} times: {reason}" for reason, count in reasons.most_common(3))
    return [
        Check("clients saw no error", not failed, why),
        equal("HAProxy counted every request, once", len(seen), counted),
        equal("each had an id of its own", len(seen) - len(failed), len({one.id for one in seen if one.id})),
    ]


def of_topic(seen: list[Seen], topic: Counter[str]) -> list[Check]:
    acknowledged = {one.id for one in seen if one.request or one.response}
    ids = {one.id for one in seen if one.id}
    missing = acknowledged - topic.keys()
    repeated = sum(topic.values()) - len(topic)
    share = repeated / max(len(topic), 1)
    return [
        Check(
            "every exchange that the journal acknowledged is in the topic",
            bool(acknowledged) and not missing,
            f"{len(missing):,} of {len(acknowledged):,} are missing, such as {min(missing)}"
            if missing
            else f"{len(acknowledged):,}",
        ),
        none("and nothing that no client sent", len(topic.keys() - ids), "are of no client"),
        Check(
            f"fewer than {MOST_REPEATED:.1%} are there more than once, under the same id",
            share < MOST_REPEATED,
            f"{repeated:,} ({share:.3%})",
        ),
    ]


def of_ledger(ledger: dict[str, Any], topic: Counter[str]) -> list[Check]:
    follower = ledger["followers"]["kafka"]
    account = follower["exchanges"]
    return [
        Check("the ledger balances, over both kills", balances(account) and follower["balanced"]),
        none("nothing was dropped", sum(account["dropped"].values()), f"were: {account['dropped']}"),
        none("nothing is in flight", account["in_flight"], "are"),
        equal("it says delivered of what is in the topic", len(topic), account["delivered"]),
    ]
