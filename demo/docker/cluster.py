"""Two nodes of a cluster in containers: the demonstration's own, or real ones of Elasticsearch."""

from __future__ import annotations

import shutil
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .containers import Containers, Docker, DockerError, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
ENGINES = ROOT / ".cache" / "engines"
OFFICIAL = {
    "elasticsearch": "docker.elastic.co/elasticsearch/elasticsearch-oss:7.10.2",
    "opensearch": "opensearchproject/opensearch:2",
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
    demo = ROOT / "demo"
    docker.call(
        *("build", "--quiet", "--tag", name, "--build-arg", f"BASE_IMAGE={base}"),
        *("--file", str(demo / "docker" / "nodes.Dockerfile"), str(demo)),
    )
    return name


def engine_image(docker: Docker, base: str, engine: str) -> str:
    """A stand-in for the official image of an engine, under its name: it takes the same variables."""
    jars = ENGINES / engine
    if not (jars / "complete").is_file():
        raise DockerError(f"the jars of {engine} are not here; scripts/setup engines fetches them")
    name = OFFICIAL[engine]
    with tempfile.TemporaryDirectory(prefix="spoa-engine-") as context:
        shutil.copytree(jars, Path(context) / "engine")
        shutil.copytree(ROOT / "demo" / "engines", Path(context) / "engines")
        shutil.copy2(ROOT / "demo" / "docker" / "engine-entrypoint", context)
        docker.call(
            *(
                "build",
                "--quiet",
                "--tag",
                name,
                "--build-arg",
                f"BASE_IMAGE={base}",
                "--build-arg",
                f"ENGINE={engine}",
            ),
            *("--file", str(ROOT / "demo" / "docker" / "engine.Dockerfile"), context),
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
