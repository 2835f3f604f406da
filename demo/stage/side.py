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
from typing import IO, Any, Literal

from spoa_agent import Agent, Exchange, Haproxy, HaproxyConfig, read_journal, read_log

from .clusters import Cluster, Documents
from .processes import Child, Processes, StageError, fetch, free_ports


class Side(ABC):
    """`role` is primary or shadow. The URLs are those that reach it from this machine."""

    role: str
    url: str
    node_urls: list[str]

    @property
    @abstractmethod
    def admin_url(self) -> str:
        """Of the agent."""

    @abstractmethod
    def documents(self) -> Documents:
        """Every document of the cluster, asked of a node, past HAProxy."""

    @abstractmethod
    def exchanges(self) -> Iterator[Exchange]:
        """What the journal holds."""

    @abstractmethod
    def logged(self) -> Iterator[Exchange]:
        """What the traffic log holds."""

    def ledger(self) -> dict[str, Any]:
        return dict(json.loads(fetch(f"{self.admin_url}/ledger")))

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
        role: Literal["primary", "shadow"],
        folder: Path,
        binary: Path,
        cluster: Cluster | None = None,
        *,
        host: str = "127.0.0.1",
        haproxy_port: int = 0,
    ) -> None:
        self.role: Literal["primary", "shadow"] = role
        self.folder = folder / role
        self.folder.mkdir()
        self.binary = binary
        self.cluster = cluster
        self.node_ports = cluster.ports if cluster else []
        self.host = host
        self.haproxy_port = haproxy_port or free_ports(1)[0]
        self.agent: Agent | None = None
        self.agent_child: Child | None = None
        # Clients on this machine; HAProxy may listen on more.
        self.url = f"http://127.0.0.1:{self.haproxy_port}"
        self.node_urls = [f"http://127.0.0.1:{port}" for port in self.node_ports]

    @property
    def admin_url(self) -> str:
        assert self.agent is not None, "the agent is started first"
        return self.agent.admin_url

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

    def start_agent(self, processes: Processes, more: dict[str, dict[str, Any]]) -> Child:
        """`more` are sections of its configuration."""
        config = {
            "server": {"listen": [f"unix:{self.socket}"]},
            "admin": {"listen": "127.0.0.1:0"},
            # HAProxy is gone by the time that the agent is asked to end.
            "shutdown": {"lame_duck": "0s"},
            **more,
            "journal": {"dir": str(self.journal), **more.get("journal", {})},
        }
        self.agent = Agent(config, binary=self.binary, folder=self.folder)
        self.agent_child = processes.start_packaged(f"{self.role} agent", self.agent)
        return self.agent_child

    def start_haproxy(self, processes: Processes, haproxy: str, processing_timeout: str | None = None) -> Child:
        config = HaproxyConfig(
            role=self.role,
            listen=f"{self.host}:{self.haproxy_port}",
            nodes=[f"127.0.0.1:{port}" for port in self.node_ports],
            agent=f"unix@{self.socket}",
            processing_timeout=processing_timeout,
            stats_socket=self.stats_socket,
        )
        started = Haproxy(config, binary=haproxy, folder=self.folder)
        return processes.start_packaged(f"{self.role} HAProxy", started)

    def documents(self) -> Documents:
        return self.cluster.documents() if self.cluster else {}

    def exchanges(self) -> Iterator[Exchange]:
        return read_journal(self.journal, strict=True)

    def logged(self) -> Iterator[Exchange]:
        return read_log(self.traffic_log, strict=True)

    def figures(self) -> tuple[float, float] | None:
        child = self.agent_child
        return (child.cpu_seconds(), child.resident_mib()) if child else None

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
