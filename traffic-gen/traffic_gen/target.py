"""Where traffic goes, and how: address, TLS, who we are."""

from __future__ import annotations

import base64
import http.client
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
TIMEOUT_SECONDS = 60


class TargetError(Exception):
    """A target that cannot be meant. The text is for people."""


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None
    verify: bool = True
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}"

    def connection(self) -> http.client.HTTPConnection:
        if self.tls:
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=TIMEOUT_SECONDS, context=self.tls_context()
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)

    def tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def headers(self) -> dict[str, str]:
        if self.user is None:
            return {}
        token = base64.b64encode(f"{self.user}:{self.password or ''}".encode()).decode()
        return {"authorization": f"Basic {token}"}


def read_target(text: str) -> Target:
    """`HOST:PORT`, `http://HOST[:PORT]` or `https://HOST[:PORT]`; an IPv6 address in brackets."""
    address = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise TargetError(f"'{text}' is no target: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise TargetError(f"'{text}' is no target: it takes http or https, not {parts.scheme}")
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise TargetError(f"'{text}' is no target: it takes HOST:PORT, http://HOST:PORT or https://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise TargetError("a target takes no user and no password; --user and --password-file do")
    return Target(host, DEFAULT_PORTS[parts.scheme] if port is None else port, tls=parts.scheme == "https")
