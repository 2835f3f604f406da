"""Two nodes of a cluster in containers, the demonstration's own or real ones, and stand-ins for official images."""

from __future__ import annotations

import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .containers import Containers, Docker, DockerError, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "demo"
CACHE = ROOT / ".cache"
OFFICIAL = {
    "elasticsearch": "docker.elastic.co/elasticsearch/elasticsearch-oss:7.10.2",
    "opensearch": "opensearchproject/opensearch:2",
    "broker": "apache/kafka:3.9.1",
}
PORT = 9200
PUBLISHED = ("--publish", f"127.0.0.1::{PORT}")
HEAP = "384m"


@dataclass(frozen=True)
class Cluster:
    """`side` is primary or shadow. HAProxy finds the nodes under their containers' names."""

    side: str
    containers: Containers
    nodes: tuple[str, str]
    # Where all documents can be read while both nodes are up.
    reads: str

    @property
    def addresses(self) -> list[str]:
        return [f"{node}:{PORT}" for node in self.nodes]

    @property
    def is_real(self) -> bool:
        return self.reads == self.nodes[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.containers.port(self.reads, PORT)}"

    def wait(self) -> None:
        wait_until(self.is_whole, f"the {self.side} cluster has both nodes", 180)

    def is_whole(self) -> bool:
        query = "wait_for_status=green&timeout=1s" if self.is_real else ""
        with urllib.request.urlopen(f"{self.url}/_cluster/health?{query}", timeout=5) as answer:
            return bool(answer.status == 200)


def own_image(docker: Docker, base: str) -> str:
    name = "spoa-demo-nodes"
    docker.call(
        *("build", "--quiet", "--tag", name, "--build-arg", f"BASE_IMAGE={base}"),
        *("--file", str(DEMO / "docker" / "nodes.Dockerfile"), str(DEMO)),
    )
    return name


def engine_image(docker: Docker, base: str, engine: str) -> str:
    """A stand-in for the official image of an engine, under its name: it takes the same variables."""
    jars = CACHE / "engines" / engine
    parts = {jars: "engine", DEMO / "engines": "engines", DEMO / "docker" / "engine-entrypoint": "engine-entrypoint"}
    arguments = ("--build-arg", f"ENGINE={engine}")
    return stand_in(docker, base, engine, jars, "engine.Dockerfile", parts, arguments)


def broker_image(docker: Docker, base: str) -> str:
    """A stand-in for apache/kafka, under its name: it takes the same variables."""
    jars = CACHE / "broker"
    programs = {DEMO / "docker" / name: name for name in ("kafka-entrypoint", "kafka-tool")}
    return stand_in(docker, base, "broker", jars, "kafka.Dockerfile", {jars / "lib": "lib", **programs})


def stand_in(
    docker: Docker,
    base: str,
    what: str,
    jars: Path,
    dockerfile: str,
    parts: Mapping[Path, str],
    arguments: tuple[str, ...] = (),
) -> str:
    if not (jars / "complete").is_file():
        raise DockerError(f"the jars of {what} are not here; scripts/setup {what} fetches them")
    name = OFFICIAL[what]
    with tempfile.TemporaryDirectory(prefix="spoa-image-") as context:
        for source, place in parts.items():
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, Path(context) / place)
        docker.call(
            *("build", "--quiet", "--tag", name, "--build-arg", f"BASE_IMAGE={base}", *arguments),
            *("--file", str(DEMO / "docker" / dockerfile), context),
        )
    return name


def own_nodes(containers: Containers, image: str, side: str) -> Cluster:
    """One store behind two relays: either can be killed, and the documents stay."""
    store = f"{side}-store"
    listen = ("--listen", "0.0.0.0:9200", "--listen", "0.0.0.0:9201")
    containers.run(store, image, "nodes", "--cluster", side, *listen, options=PUBLISHED)
    nodes = (f"{side}-node-1", f"{side}-node-2")
    for node, port in zip(nodes, (9200, 9201)):
        containers.run(node, image, "docker.relay", str(PORT), f"{store}:{port}")
    return Cluster(side, containers, nodes, store)


def elasticsearch_nodes(containers: Containers, image: str, side: str) -> Cluster:
    """The first is the master, so it is the second that the cluster can do without."""
    nodes = (f"{side}-node-1", f"{side}-node-2")
    first = nodes[0]
    for node in nodes:
        settings = {
            "cluster.name": side,
            "node.name": node,
            "node.master": str(node == first).lower(),
            "discovery.seed_hosts": first,
            "cluster.initial_master_nodes": first,
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "ES_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP}",
        }
        containers.run(node, image, options=PUBLISHED, environment=settings)
    return Cluster(side, containers, nodes, first)
