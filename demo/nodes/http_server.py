"""HTTP/1.1 on threads: keep-alive, content-length and chunked bodies, HEAD, 100-continue, limits.

One thread per connection. What a request means is the handler's business: it gets a `Request` and
returns a `Response`.
"""

from __future__ import annotations

import email.utils
import socket
import socketserver
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedIOBase

MAX_LINE = 128 * 1024
MAX_HEADERS = 200
MAX_BODY = 64 * 1024 * 1024
IDLE_SECONDS = 300
LINGER_SECONDS = 1
LINGER_READS = 64


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


@dataclass
class Response:
    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]


class BadRequest(Exception):
    """Bytes that are no request we take; the connection ends after the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server(socketserver.ThreadingTCPServer):
    """Listens on one address and gives each request to `handle`."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], handle: Handler) -> None:
        super().__init__(address, Connection)
        self.handle = handle

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no event; anything else is a mistake of ours."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError, socket.timeout)):
            traceback.print_exc()


class Connection(socketserver.StreamRequestHandler):
    server: Server
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while True:
            try:
                request = read_request(self.rfile, self.wfile)
            except BadRequest as bad:
                reason = str(bad).replace('"', "'")
                self.answer(Response(bad.status, f'{{"error":"{reason}"}}'.encode()), "", False)
                self.linger()
                return
            if request is None:
                return
            self.answer(self.server.handle(request), request.method, request.keep_alive)
            if not request.keep_alive:
                return

    def linger(self) -> None:
        """Takes what is still on its way, so that the client reads the answer and not a reset."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        for _ in range(LINGER_READS):
            if not self.connection.recv(65536):
                return

    def answer(self, response: Response, method: str, keep_alive: bool) -> None:
        lines = [
            f"HTTP/1.1 {response.status} {phrase(response.status)}",
            f"content-type: {response.content_type}",
            f"content-length: {len(response.body)}",
            f"date: {email.utils.formatdate(usegmt=True)}",
        ]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        if not keep_alive:
            lines.append("connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(head if method == "HEAD" else head + response.body)


def read_request(source: BufferedIOBase, sink: BufferedIOBase) -> Request | None:
    """The next request, or `None` at the end of the connection."""
    line = read_line(source)
    if line == b"":
        line = read_line(source)  # RFC 9112, 2.2: an empty line before a request is passed over.
    if line is None or line == b"":
        return None
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(400, "the request line is not METHOD TARGET HTTP/1.1")
    method, target, version = parts
    headers = read_headers(source)
    if headers.get("expect", "").lower() == "100-continue":
        sink.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = read_body(source, headers)
    asked = headers.get("connection", "").lower()
    keep_alive = asked != "close" if version == "HTTP/1.1" else asked == "keep-alive"
    return Request(method, target, headers, body, keep_alive)


def read_headers(source: BufferedIOBase) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = read_line(source)
        if line is None:
            raise BadRequest(400, "the connection ended within the headers")
        if line == b"":
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "a header line is not NAME: VALUE")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raise BadRequest(431, f"more than {MAX_HEADERS} headers")


def read_body(source: BufferedIOBase, headers: dict[str, str]) -> bytes:
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise BadRequest(400, "transfer-encoding must be chunked, and without content-length")
        return read_chunks(source)
    if length is None:
        return b""
    if not (length.isascii() and length.isdigit()):
        raise BadRequest(400, "content-length is not a number")
    return read_exactly(source, check_size(int(length)))


def read_chunks(source: BufferedIOBase) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while True:
        line = read_line(source) or b""
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError:
            raise BadRequest(400, "a chunk's size is not a number") from None
        if size < 0:
            raise BadRequest(400, "a chunk's size is below 0")
        if size == 0:
            read_headers(source)  # Trailers.
            return b"".join(chunks)
        total = check_size(total + size)
        chunks.append(read_exactly(source, size))
        if read_line(source) != b"":
            raise BadRequest(400, "a chunk is longer than its size")


def check_size(size: int) -> int:
    if size > MAX_BODY:
        raise BadRequest(413, f"a body of more than {MAX_BODY} bytes")
    return size


def read_exactly(source: BufferedIOBase, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise BadRequest(400, "the connection ended within the body")
    return data


def read_line(source: BufferedIOBase) -> bytes | None:
    """A line without its end, or `None` when the connection has ended."""
    line = source.readline(MAX_LINE)
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise BadRequest(431, f"a line of more than {MAX_LINE} bytes, or the connection ended within it")
    return line.rstrip(b"\r\n")


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
