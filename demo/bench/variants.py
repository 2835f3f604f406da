"""What is compared: three HAProxies before the same origin, two of them with an agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage.nginx import start_nginx
from stage.processes import Child, Processes, accepts, free_ports
from stage.side import LocalSide

# Of the agent's configuration.
Sections = dict[str, dict[str, Any]]

WITHOUT_SPOE = """\
global
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 600s
    timeout http-request 30s
frontend primary
    bind 127.0.0.1:{listen}
    unique-id-format %[uuid()]
    http-request set-header X-Capture-Id %[unique-id]
    default_backend cluster
backend cluster
    default-server check inter 2s
    server origin 127.0.0.1:{origin}
"""


@dataclass
class Variant:
    """`side` is there when an agent is."""

    name: str
    url: str
    haproxy: Child
    side: LocalSide | None = None

    @property
    def agent(self) -> Child | None:
        return self.side.agent_child if self.side else None


def start_all(processes: Processes, folder: Path, agent: Path, haproxy: str) -> list[Variant]:
    origin = start_nginx(processes, folder, "origin")
    shadow = start_nginx(processes, folder, "shadow")
    everything: Sections = {
        # The origin is no search engine: what it answers tells no ids.
        "shadow": {"url": f"http://127.0.0.1:{shadow}", "refused": "send", "ids": "generate"},
        "traffic_log": {"path": str(folder / "traffic.log"), "rotate_size": "256MiB", "keep": 1},
    }
    return [
        without_spoe(processes, folder, haproxy, origin),
        with_agent("capture", processes, folder, agent, haproxy, origin, {}),
        with_agent("everything", processes, folder, agent, haproxy, origin, everything),
    ]


def without_spoe(processes: Processes, folder: Path, haproxy: str, origin: int) -> Variant:
    (listen,) = free_ports(1)
    file = folder / "without-spoe.cfg"
    file.write_text(WITHOUT_SPOE.format(listen=listen, origin=origin))
    child = processes.start("HAProxy without SPOE", haproxy, "-db", "-f", file)
    processes.wait_until(lambda: accepts(listen), "HAProxy without SPOE listens")
    return Variant("none", f"http://127.0.0.1:{listen}", child)


def with_agent(
    name: str, processes: Processes, folder: Path, agent: Path, haproxy: str, origin: int, more: Sections
) -> Variant:
    place = folder / name
    place.mkdir()
    side = LocalSide("primary", place, agent)
    side.node_ports = [origin]
    side.start_agent(processes, {"journal": {"max_bytes": "4GiB"}, **more})
    return Variant(name, side.url, side.start_haproxy(processes, haproxy), side)
