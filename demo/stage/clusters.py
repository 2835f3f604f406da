"""The clusters of a side: real engines, one JVM for each node, or the built-in store."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import Processes, accepts, fetch, free_ports

DEMO = Path(__file__).resolve().parent.parent
ENGINES = {"elasticsearch": "Elasticsearch 7.10.2", "opensearch": "OpenSearch 2.19"}
BUILTIN = "builtin"
START_SECONDS = 180
PAGE = 2000
# What engines make up for documents without an id.
CHOSEN_BY_CLUSTER = re.compile(r"[A-Za-z0-9_-]{20}")

# By index.
Documents = dict[str, list[dict[str, Any]]]


@dataclass
class Cluster:
    """`engine` is a name of `ENGINES`, or `BUILTIN`. The first of the nodes forms the cluster."""

    engine: str
    name: str
    ports: list[int]
    host: str = "127.0.0.1"
    heap: str = "512m"

    @property
    def node_urls(self) -> list[str]:
        return [f"http://{self.host}:{port}" for port in self.ports]

    @property
    def words(self) -> str:
        return ENGINES.get(self.engine, "the built-in store, which is not Elasticsearch")

    def start(self, processes: Processes, folder: Path) -> None:
        """Does not wait: several clusters start side by side."""
        if self.engine == BUILTIN:
            listen = [part for port in self.ports for part in ("--listen", f"{self.host}:{port}")]
            processes.start(self.name, sys.executable, "-m", "nodes", "--cluster", self.name, *listen, cwd=DEMO)
            return
        transports = free_ports(len(self.ports))
        seeds = ",".join(f"{self.host}:{port}" for port in transports)
        for number, (port, transport) in enumerate(zip(self.ports, transports), 1):
            processes.start(
                f"{self.name} node {number}", DEMO / "engines" / "run", self.engine,
                f"host={self.host}", f"port={port}", f"cluster={self.name}", f"node.name={self.name}-node-{number}",
                f"data={folder / f'node-{number}'}", "discovery.type=zen", f"discovery.seed_hosts={seeds}",
                f"cluster.initial_master_nodes={self.name}-node-1", f"transport.port={transport}",
                "discovery.find_peers_interval=200ms",
                environment={"ENGINE_HEAP": self.heap},
            )  # fmt: skip

    def wait(self, processes: Processes) -> None:
        processes.wait_until(self.is_active, f"{self.name} is active", START_SECONDS)

    def is_active(self) -> bool:
        if self.engine == BUILTIN:
            return all(map(accepts, self.ports))
        wanted = f"_cluster/health?wait_for_status=green&wait_for_nodes={len(self.ports)}&timeout=1s"
        return all(not json.loads(fetch(f"{url}/{wanted}"))["timed_out"] for url in self.node_urls)

    def documents(self) -> Documents:
        return all_documents(self.node_urls[0], self.engine == BUILTIN)


def all_documents(url: str, builtin: bool) -> Documents:
    """Every document of a cluster; asked of a node, past HAProxy."""
    if builtin:
        return dict(json.loads(fetch(f"{url}/_demo/documents"))["indices"])
    ask(f"{url}/_refresh", "POST")
    names = [row["index"] for row in ask(f"{url}/_cat/indices?format=json&h=index") if not row["index"].startswith(".")]
    return {name: documents_of(url, name) for name in names}


def documents_of(url: str, index: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = ask(f"{url}/{index}/_search?scroll=1m", "POST", {"size": PAGE, "sort": ["_doc"]})
    while page["hits"]["hits"]:
        for hit in page["hits"]["hits"]:
            kept = {name: hit[name] for name in ("_id", "_routing", "_source") if name in hit}
            found.append({**kept, "id_generated": bool(CHOSEN_BY_CLUSTER.fullmatch(hit["_id"]))})
        page = ask(f"{url}/_search/scroll", "POST", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    ask(f"{url}/_search/scroll", "DELETE", {"scroll_id": page["_scroll_id"]})
    return found


def ask(url: str, method: str = "GET", body: Any = None) -> Any:
    raw = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, raw, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def engine_is_installed(engine: str) -> bool:
    """Whether `demo/engines/run` can start it here."""
    complete = DEMO.parent / ".cache" / "engines" / engine / "complete"
    return complete.is_file() and any(os.access(Path(folder) / "java", os.X_OK) for folder in os.get_exec_path())
