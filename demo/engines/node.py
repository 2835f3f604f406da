"""A node as a child process."""

import http.client
import subprocess
from pathlib import Path

RUN = Path(__file__).parent / "run"


class Node:
    """A running node; ends with the `with` block."""

    def __init__(self, engine, *settings):
        self.process = subprocess.Popen(
            [str(RUN), engine, *settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        word, _, address = self.process.stdout.readline().strip().partition(" ")
        if word != "ready":
            self.process.kill()
            raise RuntimeError(f"{engine} did not start")
        self.address = address
        self.connection = http.client.HTTPConnection(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.stdin.close()
        self.process.wait()

    def ask(self, method, target, body=b"", headers=()):
        """Sends exactly these headers, and `host` and `content-length`. Gives status, headers and body."""
        self.connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            self.connection.putheader(name, value)
        if body or method in ("POST", "PUT"):
            self.connection.putheader("content-length", str(len(body)))
        self.connection.endheaders(body or None)
        answer = self.connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
