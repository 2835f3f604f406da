"""A broker as a child process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Optional

HERE = Path(__file__).parent
RUN = HERE / "run"
INSTALLED = HERE.parent.parent / ".cache" / "broker" / "complete"


class BrokerError(Exception):
    """The broker did not start. The text is for people."""


class Broker:
    """A running broker; ends with the `with` block. `settings` are arguments of `demo/broker/run`.

    Name `data` and the ports of `listeners` when it is to be killed and started again.
    """

    def __init__(self, *settings: str, heap: str = "256m") -> None:
        self.settings = settings
        self.heap = heap
        self.start()

    def start(self) -> None:
        """Returns when it serves clients. After `kill` or `stop`: the same broker, with its data."""
        self.process = subprocess.Popen(
            [str(RUN), *self.settings],
            env={**os.environ, "BROKER_HEAP": self.heap},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C reaches whoever started us, who ends us in order.
            start_new_session=True,
        )
        assert self.process.stdout is not None
        word, _, bound = self.process.stdout.readline().strip().partition(" ")
        if word != "ready":
            self.kill()
            raise BrokerError("the broker did not start; its last lines are above")
        self.listeners = dict(entry.split("://", 1) for entry in bound.split(","))

    @property
    def bootstrap(self) -> str:
        """Where its first listener is."""
        return next(iter(self.listeners.values()))

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self.process.kill()
        self._gone()

    def stop(self) -> None:
        """Ends it in order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._gone()

    def _gone(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self.process.poll() is None:
            self.stop()


def make_certificates(folder: Path, *names: str) -> None:
    """`ca.pem`, `client.pem`, `client.key` for clients, and what a broker takes as `certificates`."""
    subprocess.run([str(HERE / "certificates"), str(folder), *names], check=True)
