"""What runs, whatever it runs as: two sides and perhaps a broker, and what was wanted of them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .processes import StageError, holds
from .side import Side, output_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """By side: ports of HAProxy and of the nodes; 0 is any. `host` is where HAProxy listens."""

    engine: str
    shadow_engine: str
    ports: dict[str, int]
    node_ports: dict[str, list[int]]
    host: str = "127.0.0.1"
    heap: str = "512m"
    kafka: bool = False
    kafka_port: int = 9092
    topic: str = "captured-traffic"


class Broker(ABC):
    """A broker with two listeners: one for the agent, one for this machine. What it holds is read with Kafka's own clients."""

    inside: str
    outside: str
    topic: str

    @abstractmethod
    def header_command(self) -> list[str]:
        """What prints the headers of every message of the topic, `NAME:VALUE,NAME:VALUE` a line."""

    def exchange_ids(self) -> Counter[str]:
        """How often each exchange is in the topic. One that is in several messages begins with its first part."""
        ids: Counter[str] = Counter()
        with output_of(self.header_command()) as lines:
            for line in lines:
                headers = read_headers(line.decode(errors="replace").rstrip("\n"))
                if headers.get("kind") == "exchange" and headers.get("part", "1/1").startswith("1/"):
                    ids[headers.get("id", "")] += 1
        return ids


def read_headers(line: str) -> dict[str, str]:
    """A consumer may print a tab after them."""
    pairs = (word.partition(":") for word in line.split("\t")[0].split(","))
    return {name: value for name, _, value in pairs}


class Running(ABC):
    primary: Side
    shadow: Side
    broker: Broker | None
    # "real" or "builtin".
    nodes: str
    # What to try next, for people.
    hints: dict[str, str]

    @abstractmethod
    def check_alive(self) -> None:
        """Raises a `StageError` when a part has ended."""

    @abstractmethod
    def newly_dead(self) -> list[str]:
        """What has ended since the last call, in words."""

    @abstractmethod
    def last_words(self) -> dict[str, list[str]]:
        """The last lines of each part's log."""

    @abstractmethod
    def table(self) -> list[tuple[str, str, str]]:
        """Name, what it is, and where its log is."""

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds(condition):
            self.check_alive()
            if time.monotonic() > deadline:
                raise StageError(f"waited {seconds:.0f} s in vain until {what}")
            time.sleep(0.05)
