"""Messages as the HAProxy of this project sends them: what `SpopClient` says to an agent.

The contract is in `haproxy/README.md`. A message is a name and its arguments, so that a test can leave out or change any of them:

>>> name, arguments = request_message("id-1", "GET", "/index/_search")
>>> name, arguments["m"], arguments["eom"]
('capture-request', 'GET', True)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, Optional, Union

from ._native import Ack, Action, SpopClient, decode_headers, encode_headers

__all__ = ["Ack", "Action", "Message", "SpopClient", "decode_headers", "encode_headers", "request_message", "response_message"]

#: What a message's argument can be. An `int` travels as INT64 and a `str` as STRING, as HAProxy sends them; a pair names another type.
SpopValue = Union[
    bool,
    int,
    str,
    bytes,
    IPv4Address,
    IPv6Address,
    tuple[Literal["int32", "uint32", "int64", "uint64"], int],
    tuple[Literal["string", "binary"], bytes],
    None,
]

#: A name, and the arguments by their names.
Message = tuple[str, dict[str, SpopValue]]
Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]

CONTRACT = 1


def request_message(
    id: str,
    method: str,
    target: str,
    *,
    headers: Headers = (),
    body: bytes = b"",
    whole: bool = True,
    held: bool = False,
    client: Optional[tuple[str, int]] = ("127.0.0.1", 40000),
    frontend: str = "primary",
    version: str = "1.1",
    time_us: Optional[int] = None,
) -> Message:
    """The request half. With `held` its ACK waits until it is durable, and then sets the variable `durable`."""
    return (
        "capture-request-held" if held else "capture-request",
        {
            **_common(id, version, headers, body, whole, time_us),
            "cip": None if client is None else ip_address(client[0]),
            "cport": None if client is None else client[1],
            "fe": frontend,
            "tls": False,
            "m": method,
            "pq": target,
        },
    )


def response_message(
    id: str,
    status: int = 200,
    *,
    headers: Headers = (),
    body: bytes = b"",
    whole: bool = True,
    backend: str = "cluster",
    server: str = "node",
    version: str = "1.1",
    time_us: Optional[int] = None,
    request_time_us: Optional[int] = None,
) -> Message:
    """The response half."""
    time_us = _now() if time_us is None else time_us
    return (
        "capture-response",
        {
            **_common(id, version, headers, body, whole, time_us),
            "t0": time_us if request_time_us is None else request_time_us,
            "be": backend,
            "srv": server,
            "st": status,
        },
    )


def _common(id: str, version: str, headers: Headers, body: bytes, whole: bool, time_us: Optional[int]) -> dict[str, SpopValue]:
    fields = headers.items() if isinstance(headers, Mapping) else headers
    return {
        "v": CONTRACT,
        "id": id,
        "ts": _now() if time_us is None else time_us,
        "ver": version,
        "hd": encode_headers(fields),
        "bs": len(body),
        "bl": len(body),
        "eom": whole,
        "body": body,
    }


def _now() -> int:
    return time.time_ns() // 1000
