"""What the clients saw, and what HAProxy told them of the agent's ACKs; by the time at which a request was due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request. `request` and `response` say whether HAProxy had the agent's ACK for that half."""

    due: float
    seconds: float
    status: int
    said: str
    id: str
    request: bool
    response: bool

    @classmethod
    def read(cls, line: str) -> Seen:
        due, seconds, status, said = line.rstrip("\n").split("\t", 3)
        told = said.split(",") if status != "0" else []
        if len(told) != 5:
            # No answer, or one that HAProxy had no part in.
            return cls(float(due), float(seconds), int(status), said, "", False, False)
        id, request, request_error, response, response_error = told
        halves = is_acknowledged(request, request_error), is_acknowledged(response, response_error)
        return cls(float(due), float(seconds), int(status), said, id, *halves)

    @property
    def is_well(self) -> bool:
        return self.status == 200


def is_acknowledged(took: str, error: str) -> bool:
    return took.isdigit() and error == ""


def read_outcome(file: Path) -> list[Seen]:
    with file.open() as lines:
        return [Seen.read(line) for line in lines]


@dataclass(frozen=True)
class Phase:
    name: str
    begin: float
    end: float

    def has(self, seen: Seen) -> bool:
        return self.begin <= seen.due < self.end


HEAD = ["", "requests", "errors", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "without ACK"]


def row(name: str, seen: Iterable[Seen]) -> list[Any]:
    """Of a table. Latency from when the request was due to the end of its answer."""
    chosen = list(seen)
    times = sorted(one.seconds for one in chosen if one.is_well)
    quantiles = [f"{1000 * quantile(times, share):.1f}" if times else "-" for share in (0.5, 0.99, 0.999, 1.0)]
    errors = sum(not one.is_well for one in chosen)
    return [name, len(chosen), errors, *quantiles, sum(not one.request for one in chosen)]


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
