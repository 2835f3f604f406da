"""An open-loop load: requests are sent when they are due, whether or not earlier ones have been answered.

`python3 -m drill.load --port PORT --rate N --out FILE` sends until its standard input ends, and then writes a line for each request,
tab-separated: when it was due (the monotonic clock), seconds from then to the end of the answer, the status or 0, and the value of the
header `x-drill` or what went wrong.
Latency counts from the due time, so that a client that had to wait for a connection does not hide it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

# A connection that was not used for so long is closed: HAProxy may be about to do so.
IDLE_SECONDS = 5.0
MOST_CONNECTIONS = 900
# An answer that takes longer counts as an error.
PATIENCE_SECONDS = 30.0
HEADER = b"\r\nx-drill: "
LENGTH = b"\r\ncontent-length: "


@dataclass
class Request:
    """What became of it: `status` is 0 until it is answered."""

    due: float
    seconds: float = 0.0
    status: int = 0
    said: str = "was not answered"

    def line(self) -> str:
        return f"{self.due:.6f}\t{self.seconds:.6f}\t{self.status}\t{self.said}\n"


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: Optional[asyncio.Transport] = None
        self.request: Optional[Request] = None
        self.received = b""
        self.last_used = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: Request, content: bytes) -> None:
        assert self.transport is not None
        self.request, self.received = request, b""
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or self.request is None:
            return
        lower = head.lower()
        if len(body) < int(field_of(lower, LENGTH) or 0):
            return
        request, self.request = self.request, None
        now = time.monotonic()
        request.seconds, self.last_used = now - request.due, now
        request.status = int(head[9:12])
        request.said = field_of(head, HEADER).decode("latin-1")
        if self.transport is not None and b"\r\nconnection: close" not in lower:
            self.pool.idle.append(self)
        elif self.transport is not None:
            self.transport.close()

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.transport = None
        self.pool.opened.discard(self)
        if self in self.pool.idle:
            self.pool.idle.remove(self)
        if self.request is not None:
            self.request.seconds = time.monotonic() - self.request.due
            self.request.said = f"the connection ended: {error or 'no answer'}"
            self.request = None


@dataclass
class Pool:
    """As many connections as it takes; the one that was used last goes first, so that there are no more than needed."""

    port: int
    idle: list[Connection] = field(default_factory=list)
    opened: set[Connection] = field(default_factory=set)
    opening: int = 0
    most: int = 0

    async def send(self, request: Request, content: bytes) -> None:
        while self.idle:
            connection = self.idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection.send(request, content)
        if len(self.opened) + self.opening >= MOST_CONNECTIONS:
            request.said = f"{MOST_CONNECTIONS} connections wait for answers already"
            return None
        self.opening += 1
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
        except OSError as error:
            request.seconds, request.said = time.monotonic() - request.due, f"cannot connect: {error}"
            return None
        finally:
            self.opening -= 1
        self.opened.add(connection)
        self.most = max(self.most, len(self.opened))
        return connection.send(request, content)

    def close_unused(self) -> None:
        before = time.monotonic() - IDLE_SECONDS
        while self.idle and self.idle[0].last_used < before:
            connection = self.idle.pop(0)
            if connection.transport is not None:
                connection.transport.close()

    def is_waiting(self) -> bool:
        return self.opening > 0 or any(connection.request is not None for connection in self.opened)


def field_of(head: bytes, name: bytes) -> bytes:
    """The value of a field: `name` as it stands in the head, with what is before and after it."""
    _, found, rest = head.partition(name)
    return rest.split(b"\r\n", 1)[0].strip() if found else b""


def contents(host: str) -> list[bytes]:
    """The mix, in turns: of ten, two bulks, four single writes, four reads of which two have bodies."""

    def message(method: str, target: str, body: bytes = b"", kind: str = "application/json") -> bytes:
        length = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n" if body else ""
        return f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{length}\r\n".encode() + body

    document = json.dumps({"name": "amber birch cedar", "price": 17, "text": "dune ember fjord " * 50}).encode()
    query = json.dumps({"query": {"match": {"name": "amber"}}, "size": 5}).encode()
    lines = (
        json.dumps(action).encode() + b"\n" + document + b"\n"
        for action in ({"index": {"_id": str(n)}} for n in range(10))
    )
    bulk = message("POST", "/orders/_bulk", b"".join(lines), "application/x-ndjson")
    return [
        bulk,
        message("GET", "/orders/_doc/1"),
        message("POST", "/events/_doc", document),
        message("GET", "/orders/_search", query),
        message("PUT", "/orders/_doc/2", document),
        bulk,
        message("GET", "/orders/_doc/3"),
        message("POST", "/events/_doc", document),
        message("POST", "/orders/_search", query),
        message("POST", "/orders/_doc", document),
    ]


async def run(port: int, rate: float, is_over: Callable[[], bool]) -> tuple[list[Request], int]:
    mix, pool = contents(f"127.0.0.1:{port}"), Pool(port)
    requests: list[Request] = []
    tasks: set[asyncio.Task[None]] = set()
    begin = time.monotonic() + 0.2
    for number in itertools.takewhile(lambda _: not is_over(), itertools.count()):
        due = begin + number / rate
        if number % 1000 == 0:
            pool.close_unused()
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        requests.append(Request(due))
        task = asyncio.ensure_future(pool.send(requests[-1], mix[number % len(mix)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if wait <= 0:
            # Behind the schedule: answers are read all the same.
            await asyncio.sleep(0)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (tasks or pool.is_waiting()) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return requests, pool.most


def set_at_end_of_input(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    parser = argparse.ArgumentParser(prog="drill.load", description="An open-loop load.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    # A collection of garbage would be a latency of ours.
    gc.disable()
    over = threading.Event()
    threading.Thread(target=set_at_end_of_input, args=(over,), daemon=True).start()
    requests, most = asyncio.run(run(arguments.port, arguments.rate, over.is_set))
    with arguments.out.open("w") as out:
        out.writelines(request.line() for request in requests)
    print(f"{len(requests)} requests over at most {most} connections", flush=True)


if __name__ == "__main__":
    main()
