"""One side: two nodes of a cluster, an agent, and the HAProxy before them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import Child, Processes, StageError, accepts, free_ports

DEMO = Path(__file__).resolve().parent.parent


@dataclass
class Side:
    """`role` is primary or shadow; everything of it lies in `folder`."""

    role: str
    folder: Path
    binary: Path
    node_ports: list[int]
    haproxy_port: int
    admin_port: int
    agent: Child | None = None

    @classmethod
    def plan(cls, role: str, folder: Path, binary: Path) -> Side:
        side_folder = folder / role
        side_folder.mkdir()
        first, second, haproxy, admin = free_ports(4)
        return cls(role, side_folder, binary, [first, second], haproxy, admin)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.haproxy_port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def node_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.node_ports]

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def socket(self) -> Path:
        return self.folder / "spop.sock"

    def start_cluster(self, processes: Processes) -> None:
        listen = [part for port in self.node_ports for part in ("--listen", f"127.0.0.1:{port}")]
        command = [sys.executable, "-m", "nodes", "--cluster", self.role, *listen]
        processes.start(f"{self.role} cluster", *command, cwd=DEMO)
        processes.wait_until(lambda: all(map(accepts, self.node_ports)), f"the {self.role} cluster listens")

    def start_agent(self, processes: Processes, *more: object) -> None:
        self.agent = processes.start(
            f"{self.role} agent", self.binary, "run",
            "--server-listen", f"unix:{self.socket}",
            "--admin-listen", f"127.0.0.1:{self.admin_port}",
            "--journal-dir", self.journal,
            # HAProxy is gone by the time that the agent is asked to end.
            "--shutdown-lame-duck", "0s",
            *more,
        )  # fmt: skip
        processes.wait_until(self.is_ready, f"the {self.role} agent is ready")

    def is_ready(self) -> bool:
        """Raises an `OSError` as long as nobody answers, or with 503."""
        fetch(f"{self.admin_url}/readyz")
        return True

    def start_haproxy(self, processes: Processes, haproxy: str, *options: str) -> None:
        nodes = [part for port in self.node_ports for part in ("--node", f"127.0.0.1:{port}")]
        listen = ["--listen", f"127.0.0.1:{self.haproxy_port}", "--agent", f"unix@{self.socket}"]
        self.write_config(*nodes, *listen, *options)
        processes.start(f"{self.role} HAProxy", haproxy, "-db", "-f", self.folder / "haproxy.cfg")
        processes.wait_until(lambda: accepts(self.haproxy_port), f"the {self.role} HAProxy listens")

    def write_config(self, *options: str) -> None:
        command = [str(self.binary), "haproxy-config", "--role", self.role, *options, "--out", str(self.folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise StageError(f"`spoa-agent haproxy-config` refused: {done.stderr.strip()}")

    def ledger(self) -> dict[str, Any]:
        return dict(json.loads(fetch(f"{self.admin_url}/ledger")))

    def documents(self) -> dict[str, list[dict[str, Any]]]:
        """Every document of the cluster, by index; asked of a node, past HAProxy."""
        return dict(json.loads(fetch(f"{self.node_urls[0]}/_demo/documents"))["indices"])

    def exchanges(self) -> Iterator[dict[str, Any]]:
        """What the journal holds, as `spoa-agent journal cat` prints it."""
        command = [str(self.binary), "journal", "cat", "--journal-dir", str(self.journal)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reading:
            assert reading.stdout is not None
            for line in reading.stdout:
                yield json.loads(line)
        if reading.returncode != 0:
            raise StageError(f"`spoa-agent journal cat` ended with exit code {reading.returncode}")


def fetch(url: str) -> bytes:
    """The body of a GET; an `OSError` when there is none, or its status is not 200."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())
