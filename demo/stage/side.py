"""One side: a cluster, an agent, and the HAProxy before them. `Side` is what a demonstration asks; how it runs is another matter."""

from __future__ import annotations

import csv
import json
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .clusters import Cluster, Documents
from .processes import Child, Processes, StageError, accepts, fetch, free_ports


class Side(ABC):
    """`role` is primary or shadow. The URLs are those that reach it from this machine."""

    role: str
    url: str
    admin_url: str
    node_urls: list[str]

    @abstractmethod
    def documents(self) -> Documents:
        """Every document of the cluster, asked of a node, past HAProxy."""

    @abstractmethod
    def journal_command(self) -> list[str]:
        """What prints the journal as `spoa-agent journal cat` does."""

    @abstractmethod
    def traffic_log_command(self) -> list[str]:
        """What prints the traffic log."""

    def ledger(self) -> dict[str, Any]:
        return dict(json.loads(fetch(f"{self.admin_url}/ledger")))

    def exchanges(self) -> Iterator[dict[str, Any]]:
        with output_of(self.journal_command()) as lines:
            for line in lines:
                yield json.loads(line)

    def traffic_log_lines(self) -> Iterator[dict[str, Any]]:
        with output_of(self.traffic_log_command()) as lines:
            for line in lines:
                yield json.loads(line)

    def figures(self) -> tuple[float, float] | None:
        """The agent's CPU in seconds and its memory in MiB, where that can be known."""
        return None

    def requests_of_haproxy(self) -> int | None:
        """How many requests HAProxy itself has counted, where it can be asked."""
        return None


class LocalSide(Side):
    """All of it as processes on this machine; its files lie in `folder`."""

    def __init__(
        self,
        role: str,
        folder: Path,
        binary: Path,
        cluster: Cluster | None = None,
        *,
        host: str = "127.0.0.1",
        haproxy_port: int = 0,
    ) -> None:
        self.role = role
        self.folder = folder / role
        self.folder.mkdir()
        self.binary = binary
        self.cluster = cluster
        self.node_ports = cluster.ports if cluster else []
        self.host = host
        self.haproxy_port = haproxy_port or free_ports(1)[0]
        (self.admin_port,) = free_ports(1)
        self.agent: Child | None = None
        self.haproxy: Child | None = None
        # Clients on this machine; HAProxy may listen on more.
        self.url = f"http://127.0.0.1:{self.haproxy_port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.node_urls = [f"http://127.0.0.1:{port}" for port in self.node_ports]

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def traffic_log(self) -> Path:
        return self.folder / "haproxy-traffic.log"

    @property
    def socket(self) -> Path:
        return self.folder / "spop.sock"

    @property
    def stats_socket(self) -> Path:
        return self.folder / "haproxy.sock"

    def start_agent(self, processes: Processes, *more: object) -> Child:
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
        return self.agent

    def is_ready(self) -> bool:
        """Raises an `OSError` as long as nobody answers, or with 503."""
        fetch(f"{self.admin_url}/readyz")
        return True

    def start_haproxy(self, processes: Processes, haproxy: str, *options: str) -> Child:
        nodes = [part for port in self.node_ports for part in ("--node", f"127.0.0.1:{port}")]
        listen = ["--listen", f"{self.host}:{self.haproxy_port}", "--agent", f"unix@{self.socket}"]
        self.write_config(*nodes, *listen, "--stats-socket", str(self.stats_socket), *options)
        self.haproxy = processes.start(f"{self.role} HAProxy", haproxy, "-db", "-f", self.folder / "haproxy.cfg")
        processes.wait_until(lambda: accepts(self.haproxy_port), f"the {self.role} HAProxy listens")
        return self.haproxy

    def write_config(self, *options: str) -> None:
        command = [str(self.binary), "haproxy-config", "--role", self.role, *options, "--out", str(self.folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise StageError(f"`spoa-agent haproxy-config` refused: {done.stderr.strip()}")

    def documents(self) -> Documents:
        return self.cluster.documents() if self.cluster else {}

    def journal_command(self) -> list[str]:
        return [str(self.binary), "journal", "cat", "--journal-dir", str(self.journal)]

    def traffic_log_command(self) -> list[str]:
        return ["cat", str(self.traffic_log)]

    def figures(self) -> tuple[float, float] | None:
        return (self.agent.cpu_seconds(), self.agent.resident_mib()) if self.agent else None

    def requests_of_haproxy(self) -> int | None:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            asking.connect(str(self.stats_socket))
            asking.sendall(b"show stat\n")
            with asking.makefile(encoding="utf-8") as answer:
                rows = csv.DictReader(line for line in answer if line.strip())
                for row in rows:
                    if row["# pxname"] == self.role and row["svname"] == "FRONTEND":
                        # Without what ended before it was a request, such as a connection that is only opened.
                        return int(row["req_tot"]) - int(row["ereq"] or 0)
        return None


@contextmanager
def output_of(command: list[str]) -> Iterator[IO[bytes]]:
    """The output of a program, as it comes; fails when the program does, if it was read to its end."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        try:
            yield running.stdout
        except BaseException:
            running.kill()
            raise
        said = running.stderr.read().decode(errors="replace").strip()
    if running.returncode != 0:
        last = f": {said.splitlines()[-1]}" if said else ""
        raise StageError(f"`{' '.join(command)}` ended with exit code {running.returncode}{last}")
