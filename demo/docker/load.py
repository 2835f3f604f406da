"""The clients: connections that write, read, change and delete documents until they are told to stop.

Each connection keeps to ids of its own. What a client cannot do, it counts and goes on, on a new connection.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

JSON = "application/json"
NDJSON = "application/x-ndjson"
INDEX = "/proof"
# Four nodes, two HAProxies and two agents share the machine with the clients.
PAUSE = 0.02


@dataclass
class Tally:
    """What the clients have met since the last question."""

    done: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Load:
    """As a context manager it runs in the background; `take` tells what was met since the last time."""

    def __init__(self, url: str, connections: int, writes: bool = True) -> None:
        self.url = url
        self.writes = writes
        # Whether the cluster chooses ids too.
        self.generated_ids = True
        self.tally = Tally()
        self.total = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(connections)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def take(self) -> Tally:
        with self.lock:
            taken, self.tally = self.tally, Tally()
            return taken

    def until(self, count: int) -> None:
        """Waits until that many more requests are done."""
        goal = self.total + count
        while self.total < goal:
            time.sleep(0.05)

    def run(self, number: int) -> None:
        client = Client(self.url, number)
        while not self.ended.is_set():
            fault = client.act(self.writes, self.generated_ids)
            with self.lock:
                self.total += 1
                self.tally.done += 1
                if fault:
                    self.tally.errors[fault] += 1
            time.sleep(PAUSE)
        client.connection.close()


class Client:
    """One keep-alive connection and the ids it has written."""

    def __init__(self, url: str, number: int) -> None:
        self.netloc = urlsplit(url).netloc
        self.connection = http.client.HTTPConnection(self.netloc, timeout=60)
        self.number = number
        self.random = random.Random(number)
        self.ids: list[str] = []
        self.next = 0

    def act(self, writes: bool, generated_ids: bool = True) -> str | None:
        """One request; what went wrong, if anything did."""
        writing = writes and self.random.random() < 0.7
        method, target, body, kind = self.change(generated_ids) if writing else self.question()
        try:
            self.connection.request(method, target, body, {"content-type": kind} if body else {})
            answer = self.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.connection = http.client.HTTPConnection(self.netloc, timeout=60)
            return f"{method} {type(error).__name__}"
        return f"{method} {answer.status}" if answer.status >= 500 or answer.status == 429 else None

    def change(self, generated_ids: bool) -> tuple[str, str, bytes | None, str]:
        chosen = self.random.random()
        if chosen < 0.4 or not self.ids:
            return "PUT", f"{INDEX}/_doc/{self.new_id()}", to_bytes(self.document()), JSON
        old = self.random.choice(self.ids)
        if chosen < 0.55:
            return "PUT", f"{INDEX}/_doc/{old}", to_bytes(self.document()), JSON
        if chosen < 0.7 and generated_ids:
            return "POST", f"{INDEX}/_doc", to_bytes(self.document()), JSON
        if chosen < 0.8:
            return "POST", f"{INDEX}/_update/{old}", to_bytes({"doc": {"changed": self.next}}), JSON
        if chosen < 0.88:
            return "DELETE", f"{INDEX}/_doc/{old}", None, JSON
        lines: list[Any] = []
        for _ in range(8):
            lines += [{"index": {"_id": self.new_id()}}, self.document()]
            if generated_ids:
                lines += [{"index": {}}, self.document()]
        return "POST", f"{INDEX}/_bulk", b"".join(to_bytes(line) + b"\n" for line in lines), NDJSON

    def question(self) -> tuple[str, str, bytes | None, str]:
        if self.ids and self.random.random() < 0.5:
            return "GET", f"{INDEX}/_doc/{self.random.choice(self.ids)}", None, JSON
        query = {"query": {"match_all": {}}, "size": 3}
        return self.random.choice(["GET", "POST"]), f"{INDEX}/_search", to_bytes(query), JSON

    def document(self) -> dict[str, Any]:
        self.next += 1
        return {"client": self.number, "number": self.next, "text": "x" * self.random.randint(1, 2000)}

    def new_id(self) -> str:
        self.next += 1
        self.ids.append(f"c{self.number}-{self.next}")
        return self.ids[-1]


def to_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
