"""Clients of our own: several connections that write, search, change and delete documents.

Each connection keeps to ids of its own, because the shadow gets the requests of one connection in
order, and those of different ones side by side. A client remembers every exchange by its digest.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .target import Target

WORDS = "amber birch cedar dune ember fjord grove heath islet juniper knoll larch moor north oasis pine".split()
NDJSON = "application/x-ndjson"
JSON = "application/json"


def digest(method: str, target: str, sent: bytes, status: int, received: bytes) -> bytes:
    """An exchange as its ends saw it, in a few bytes."""
    total = hashlib.blake2b(digest_size=16)
    for part in (method.encode(), target.encode(), sent, str(status).encode(), received):
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()


@dataclass
class Tally:
    """What the clients know, over all connections."""

    sent: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    digests: Counter[bytes] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        self.sent += other.sent
        self.kinds += other.kinds
        self.statuses += other.statuses
        self.digests += other.digests
        self.errors += other.errors
        self.seconds += other.seconds


class Client:
    """One keep-alive connection and the ids it has written."""

    def __init__(self, target: Target, number: int) -> None:
        self.connection = target.connection()
        self.headers = target.headers()
        self.number = number
        self.random = random.Random(number)
        self.tally = Tally()
        self.ids: list[str] = []
        self.next = 0

    def send(self, kind: str, method: str, target: str, body: bytes = b"", content_type: str = JSON) -> bytes:
        headers = {**self.headers, "content-type": content_type} if body else self.headers
        self.connection.request(method, target, body or None, headers)
        answer = self.connection.getresponse()
        received = answer.read()
        self.tally.sent += 1
        self.tally.kinds[kind] += 1
        self.tally.statuses[answer.status] += 1
        self.tally.digests[digest(method, target, body, answer.status, received)] += 1
        return received

    def send_json(self, kind: str, method: str, target: str, body: Any) -> None:
        self.send(kind, method, target, to_bytes(body))

    def run(self, may_send: Callable[[], bool], done: Callable[[], None]) -> None:
        """Sends as long as it may."""
        chosen = [act for act, weight in MIX for _ in range(weight)]
        try:
            while may_send():
                self.random.choice(chosen)(self)
                done()
        except (OSError, http.client.HTTPException) as error:
            self.tally.errors.append(f"connection {self.number}: {type(error).__name__}: {error}")
        finally:
            self.connection.close()

    # What a client does. An own id is new or one of this connection's.

    def put(self) -> None:
        self.send_json("document with id", "PUT", f"/orders/_doc/{self.new_id()}", self.document())

    def overwrite(self) -> None:
        self.send_json("document with id", "PUT", f"/orders/_doc/{self.old_id()}?refresh=false", self.document())

    def post(self) -> None:
        self.send_json("document without id", "POST", "/events/_doc", self.document())

    def create(self) -> None:
        id = self.new_id() if self.random.random() < 0.7 else self.old_id()
        self.send_json("_create", "PUT", f"/orders/_create/{id}", self.document())

    def update(self) -> None:
        change = {"doc": {"price": self.random.randint(1, 500), "state": {"paid": True}}}
        self.send_json("_update", "POST", f"/orders/_update/{self.old_id()}", change)

    def delete(self) -> None:
        self.send("delete", "DELETE", f"/orders/_doc/{self.old_id()}")

    def get(self) -> None:
        self.send("get", self.random.choice(["GET", "GET", "HEAD"]), f"/orders/_doc/{self.old_id()}")

    def bulk(self) -> None:
        lines: list[Any] = []
        for _ in range(self.random.randint(5, 40)):
            lines += [{"index": {"_id": self.new_id()}}, self.document()]
        lines.append({"delete": {"_id": self.old_id()}})
        lines += [{"update": {"_id": self.old_id()}}, {"doc": {"bulk": True}}]
        self.send("_bulk with ids", "POST", "/orders/_bulk", ndjson(lines), NDJSON)

    def bulk_without_ids(self) -> None:
        lines: list[Any] = []
        for _ in range(self.random.randint(5, 40)):
            lines += [{"index": {"_index": "events"}}, self.document()]
        self.send("_bulk without ids", "POST", "/_bulk?refresh=true", ndjson(lines), NDJSON)

    def large_document(self) -> None:
        body = {**self.document(), "text": " ".join(self.random.choices(WORDS, k=20_000))}
        self.send_json("document of 120 KB", "PUT", f"/orders/_doc/{self.new_id()}", body)

    def search_with_get(self) -> None:
        word = self.random.choice(WORDS)
        query = {"query": {"match": {"name": word}}, "size": 5, "sort": [{"price": "desc"}]}
        self.send_json("search, GET with a body", "GET", "/orders/_search", query)

    def search_with_post(self) -> None:
        query = {"query": {"range": {"price": {"gte": 100, "lt": 200}}}, "from": 2, "size": 3}
        self.send_json("search, POST", "POST", "/orders,events/_search?pretty", query)

    def count(self) -> None:
        self.send_json("_count", "POST", "/events/_count", {"query": {"term": {"client": self.number}}})

    def mget(self) -> None:
        self.send_json("_mget", "POST", "/orders/_mget", {"ids": [self.old_id(), self.old_id(), "nobody"]})

    def look_around(self) -> None:
        target = self.random.choice(
            ["/_cat/indices?v", "/_cluster/health", "/orders/_refresh", "/no-such-index/_doc/1"]
        )
        self.send("administration", "GET", target)

    def new_id(self) -> str:
        self.next += 1
        self.ids.append(f"c{self.number}-{self.next}")
        return self.ids[-1]

    def old_id(self) -> str:
        return self.random.choice(self.ids) if self.ids else self.new_id()

    def document(self) -> dict[str, Any]:
        self.next += 1
        return {
            "client": self.number,
            "number": self.next,
            "name": " ".join(self.random.choices(WORDS, k=3)) + " \N{LATIN SMALL LETTER O WITH DIAERESIS}",
            "price": self.random.randint(1, 500),
            "state": {"paid": False, "shipped": False},
        }


MIX: list[tuple[Callable[[Client], None], int]] = [
    (Client.put, 20),
    (Client.overwrite, 8),
    (Client.post, 14),
    (Client.create, 6),
    (Client.update, 10),
    (Client.delete, 5),
    (Client.get, 12),
    (Client.bulk, 4),
    (Client.bulk_without_ids, 3),
    (Client.large_document, 1),
    (Client.search_with_get, 5),
    (Client.search_with_post, 3),
    (Client.count, 2),
    (Client.mget, 4),
    (Client.look_around, 3),
]


@dataclass(frozen=True)
class Limits:
    """How many requests at most, for how many seconds at most, and how many per second at most; at least one of the first two."""

    requests: int | None = None
    seconds: float | None = None
    throughput: float | None = None


class Progress:
    """How much is done, over all connections, and whether another request may begin."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.begun = 0
        self.done = 0
        self.started = time.monotonic()
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """Also a guess, when only time is limited."""
        if self.limits.requests is not None:
            return self.limits.requests
        elapsed = max(time.monotonic() - self.started, 0.001)
        return max(self.done, round(self.done * max((self.limits.seconds or 0) / elapsed, 1)))

    def may_send(self) -> bool:
        """Takes the next place, and waits until it is its time."""
        with self._lock:
            place = self.begun
            if self.limits.requests is not None and place >= self.limits.requests:
                return False
            self.begun += 1
        due = self.started + place / self.limits.throughput if self.limits.throughput else 0.0
        if self.limits.seconds is not None and max(due, time.monotonic()) >= self.started + self.limits.seconds:
            return False
        return not self.stopped.wait(max(0.0, due - time.monotonic()))

    def one_more(self) -> None:
        with self._lock:
            self.done += 1


def prepare(target: Target) -> Tally:
    """The indices when they are missing, and one that is made, filled and deleted, over one connection."""
    client = Client(target, 0)
    client.send("administration", "GET", "/")
    for index in ("orders", "events", "scratch"):
        settings = {"settings": {"number_of_shards": 1}}
        client.send_json("administration", "PUT", f"/{index}", settings)
    client.post()
    client.send_json("document with id", "PUT", "/scratch/_doc/1", {"gone": "soon"})
    client.send("administration", "HEAD", "/scratch")
    client.send("administration", "DELETE", "/scratch")
    client.connection.close()
    return client.tally


def send(target: Target, limits: Limits, connections: int, show: Callable[[Progress], None]) -> Tally:
    """Sends over `connections` at a time; `show` is called ten times a second."""
    clients = [Client(target, number) for number in range(1, connections + 1)]
    progress = Progress(limits)
    threads = []
    for client in clients:
        threads.append(threading.Thread(target=client.run, args=(progress.may_send, progress.one_more), daemon=True))
        threads[-1].start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                show(progress)
    finally:
        progress.stopped.set()
    tally = Tally()
    for client in clients:
        tally.add(client.tally)
    tally.seconds = time.monotonic() - progress.started
    return tally


def ndjson(lines: list[Any]) -> bytes:
    return b"".join(to_bytes(line) + b"\n" for line in lines)


def to_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
