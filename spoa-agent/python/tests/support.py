"""What the tests share: programs, an agent's configuration, a node that takes everything, exchanges."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from spoa_agent import SpopClient
from spoa_agent.spop import request_message, response_message

NDJSON = {"content-type": "application/x-ndjson"}
BULK = b'{"index":{"_index":"songs","_id":"7"}}\n{"title":"Aur\xc3\xaal"}\n{"delete":{"_index":"poems","_id":"8"}}\n'
#: Microseconds between the exchanges of the small capture.
STEP = 10_000


def haproxy_programs() -> list[str]:
    """Every HAProxy that `scripts/setup` has found, or the system's."""
    named = os.environ.get("HAPROXY_BINARIES")
    return named.split(":") if named else ["haproxy"]


def config(folder: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """An agent on ports that the system chooses."""
    default: dict[str, dict[str, Any]] = {
        "server": {"listen": ["127.0.0.1:0"]},
        "admin": {"listen": "127.0.0.1:0"},
        "journal": {"dir": folder / "journal"},
        "shutdown": {"lame_duck": "0s"},
    }
    return {name: {**default.get(name, {}), **sections.get(name, {})} for name in {**default, **sections}}


@dataclass
class Node:
    """A node that takes every request but those for `poison`, and remembers it."""

    url: str
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.url[len("http://") :]


@contextmanager
def serve() -> Iterator[Node]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            node.seen.append((self.command, self.path, body))
            said = json.dumps({"took": 1, "result": "created"}).encode()
            self.send_response(503 if "poison" in self.path else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  # the names are http.server's

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    node = Node(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield node
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass(frozen=True)
class Capture:
    """A journal, and the traffic log of the same exchanges."""

    journal: Path
    log: Path
    begin_us: int
    count: int


def exchange(haproxy: SpopClient, id: str, method: str, target: str, time_us: int, *, status: int = 200, **request: Any) -> None:
    """Both halves; the response comes 5 ms later."""
    haproxy.notify(request_message(id, method, target, time_us=time_us, **request))
    cookies = [("set-cookie", "a"), ("set-cookie", "b")]
    body = b'{"took":1}'
    haproxy.notify(response_message(id, status, headers=cookies, body=body, time_us=time_us + 5000, request_time_us=time_us))


def free_port() -> int:
    """A port on which nobody listens, a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
