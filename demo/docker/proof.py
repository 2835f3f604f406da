"""The proof of the images: builds them, runs them as tightly as they promise, and breaks one thing after the other.

What is killed is killed under load. The clients may see no error that the primary cluster did not cause itself, and in
the end both clusters must hold the same documents.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cluster
from .cluster import Cluster
from .containers import Containers, Docker, DockerError, wait_until
from .engine import base_image
from .load import INDEX, Client, Load, Tally

BUILD = cluster.ROOT / "scripts" / "build_docker_images.py"
RELEASES = {"2.6": "bookworm", "3.0": "trixie"}
HAPROXY_PORT = 9200
ADMIN_PORT = 12346
CONNECTIONS = 4
REQUESTS = 150

TIGHT = (
    "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "256", "--memory", "1g",
    "--health-interval", "1s",
    "--publish", f"127.0.0.1::{HAPROXY_PORT}", "--publish", f"127.0.0.1::{ADMIN_PORT}",
)  # fmt: skip

# The programs of a container, without ps: number, and command line.
PROGRAMS = r"""for p in /proc/[0-9]*; do echo "${p#/proc/} $(tr '\0' ' ' <"$p/cmdline" 2>/dev/null)"; done"""


@dataclass
class Stage:
    """What the proof works on."""

    containers: Containers
    primary: Cluster
    shadow: Cluster

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.containers.port('haproxy-primary', HAPROXY_PORT)}"

    def ledger(self) -> dict[str, Any]:
        return dict(fetch(f"http://127.0.0.1:{self.containers.port('haproxy-primary', ADMIN_PORT)}/ledger"))


class ProofError(Exception):
    """Something is not as promised."""


def prove(docker: Docker, agent: Path, branch: str, real_nodes: bool) -> None:
    """Raises `ProofError` or `DockerError` when something is not as it must be."""
    base = base_image(docker, RELEASES[branch])
    if real_nodes:
        make, nodes_image = (
            cluster.elasticsearch_nodes,
            real_image(docker),
        )
    else:
        make, nodes_image = cluster.own_nodes, cluster.own_image(docker, base)
    with Containers(docker, "spoa-proof", prefix=f"spoa-proof-{secrets.token_hex(3)}-") as containers:
        say(f"HAProxy {branch}: nodes in {nodes_image}")
        primary, shadow = (make(containers, nodes_image, side) for side in ("primary", "shadow"))
        build_images(docker, agent, branch, primary, shadow)
        for side in (primary, shadow):
            side.wait()
        start_haproxies(containers, branch)
        break_everything(Stage(containers, primary, shadow))


def real_image(docker: Docker) -> str:
    name = cluster.OFFICIAL["elasticsearch"]
    if docker.has_image(name) or docker.call("pull", "--quiet", name, fails=True):
        return name
    return cluster.engine_image(docker, base_image(docker, "bookworm"), "elasticsearch")


def build_images(docker: Docker, agent: Path, branch: str, primary: Cluster, shadow: Cluster) -> None:
    subprocess.run(
        [
            sys.executable, BUILD, "--haproxy-branch", branch, "--agent-binary", agent, "--docker", docker.client,
            "--primary-image", image("primary", branch), "--primary-nodes", *primary.addresses,
            "--shadow-haproxy", f"haproxy-shadow:{HAPROXY_PORT}",
            "--shadow-image", image("shadow", branch), "--shadow-nodes", *shadow.addresses,
        ],
        check=True, stderr=subprocess.DEVNULL, env=docker.environment(),
    )  # fmt: skip


def image(side: str, branch: str) -> str:
    return f"haproxy-{side}:{branch}"


def start_haproxies(containers: Containers, branch: str) -> None:
    patience = {
        "HAPROXY_CONFIG_PROCESSING_TIMEOUT": "2s",
        "HAPROXY_CONFIG_RESOLVE_NODES": "true",
        "SPOA_AGENT_PAIRING_DEADLINE": "15s",
    }
    # Any user will do that is in the group 0.
    containers.run(
        "haproxy-shadow", image("shadow", branch), options=(*TIGHT, "--user", "4242:0"), environment=patience
    )
    resolve = {
        "SPOA_AGENT_SHADOW_RESOLVE": "from-primary",
        "SPOA_AGENT_SHADOW_PRIMARY_URL": "http://primary-node-1:9200",
    }
    containers.run("haproxy-primary", image("primary", branch), options=TIGHT, environment={**patience, **resolve})
    for name in ("haproxy-shadow", "haproxy-primary"):
        wait_healthy(containers, name)
        version = containers.execute(name, "haproxy", "-v").splitlines()[0]
        say(f"   {name}: {version}; read-only, no capabilities, user {containers.execute(name, 'id', '-u')}: healthy")


def wait_healthy(containers: Containers, name: str) -> None:
    def healthy() -> bool:
        containers.check_running(name)
        return containers.health(name) == "healthy"

    wait_until(healthy, f"{name} is healthy")


def break_everything(stage: Stage) -> None:
    prepare(stage)
    with Load(stage.url, CONNECTIONS) as load:
        load.until(REQUESTS)
        expect_no_errors("quiet traffic", load.take())
        with killed(stage, load, "haproxy-shadow"):
            load.until(REQUESTS)
        for node in stage.shadow.nodes:
            with killed(stage, load, node):
                load.until(REQUESTS)
        # A node may take the answer with it, and with that the id that it chose. Then the whole index is compared, which
        # takes more than the demonstration's own nodes can.
        load.generated_ids = stage.primary.is_real
        with killed(stage, load, stage.primary.nodes[1], at_most=CONNECTIONS):
            load.until(REQUESTS)
    catch_up(stage)
    node_moved(stage)
    agent_killed(stage)
    agent_stopped(stage)
    primary_haproxy_killed(stage)
    compare(stage)
    traffic_log(stage)
    stopped_in_order(stage)


def prepare(stage: Stage) -> None:
    for method, target, body in (
        ("PUT", INDEX, b'{"settings": {"number_of_shards": 1}}'),
        ("POST", f"{INDEX}/_bulk", b'{"index": {"_id": "whole"}}\n{"text": "a body that must be logged whole"}\n'),
    ):
        fetch(f"{stage.url}{target}", method, body)


@contextmanager
def killed(stage: Stage, load: Load, name: str, at_most: int = 0) -> Iterator[None]:
    """Under load; a primary node may take the requests with it that it had."""
    load.take()
    stage.containers.kill(name)
    yield
    while_away = load.take()
    stage.containers.start(name)
    load.until(REQUESTS)
    after = load.take()
    expect_no_errors(
        f"docker kill {name}, and start it again",
        Tally(while_away.done + after.done, while_away.errors + after.errors),
        at_most,
    )


def node_moved(stage: Stage) -> None:
    """The one that moved must do it alone. A real node tells the others its address when it starts, and is not moved."""
    if stage.shadow.is_real:
        return
    moved, other = stage.shadow.nodes
    stage.containers.move(moved, stage.containers.image_of(moved))
    stage.containers.kill(other)
    with Load(stage.url, CONNECTIONS) as load:
        load.until(REQUESTS)
        expect_no_errors(f"{moved} has another address, and {other} is killed", load.take())
    catch_up(stage)
    stage.containers.start(other)


def agent_killed(stage: Stage) -> None:
    """Only reads meanwhile: what passes by uncaptured cannot reach the shadow."""
    with Load(stage.url, CONNECTIONS, writes=False) as load:
        load.until(REQUESTS)
        pid = signal_agent(stage, "KILL")
        load.until(REQUESTS)
        wait_until(lambda: agent_pid(stage) not in (None, pid), "the agent was started again")
        load.until(REQUESTS)
        expect_no_errors("kill -9 of the agent in the primary container", load.take())
    wait_healthy(stage.containers, "haproxy-primary")
    check("the container stayed", stage.containers.state("haproxy-primary")["Running"])


def agent_stopped(stage: Stage) -> None:
    """A program that stands still is what the health check is for."""
    signal_agent(stage, "STOP")
    wait_until(lambda: stage.containers.health("haproxy-primary") == "unhealthy", "the container is unhealthy")
    with Load(stage.url, CONNECTIONS, writes=False) as load:
        load.until(REQUESTS)
        expect_no_errors("an agent that stands still; the container is unhealthy", load.take())
    signal_agent(stage, "CONT")
    wait_healthy(stage.containers, "haproxy-primary")
    check("the container is healthy again when the agent goes on", True)


def primary_haproxy_killed(stage: Stage) -> None:
    """What the shadow has not got is in the journal, which is on a volume."""
    catch_up(stage)
    stage.containers.kill("haproxy-shadow")
    client = Client(stage.url, 1000)
    faults = [fault for fault in (client.act(writes=True) for _ in range(100)) if fault]
    check("100 requests with the shadow away", not faults, f"{faults}")
    client.connection.close()
    wait_until(lambda: not stage.ledger()["followers"]["traffic_log"]["waiting_for_other_half"], "all halves are there")
    stage.containers.kill("haproxy-primary")
    for name in ("haproxy-primary", "haproxy-shadow"):
        stage.containers.start(name)
    for name in ("haproxy-primary", "haproxy-shadow"):
        wait_healthy(stage.containers, name)
    check("docker kill of the primary HAProxy's container, and start it again", True)
    catch_up(stage)


def signal_agent(stage: Stage, signal: str) -> int:
    pid = agent_pid(stage)
    if pid is None:
        raise ProofError("no agent runs in the primary container")
    stage.containers.execute("haproxy-primary", "sh", "-c", f"kill -{signal} {pid}")
    return pid


def agent_pid(stage: Stage) -> int | None:
    for line in stage.containers.execute("haproxy-primary", "sh", "-c", PROGRAMS).splitlines():
        pid, _, command = line.partition(" ")
        if "spoa-agent run" in command:
            return int(pid)
    return None


def catch_up(stage: Stage) -> None:
    started = time.monotonic()
    last: list[Any] = []

    def done() -> bool:
        nonlocal last
        ledger = stage.ledger()
        followers = ledger["followers"].values()
        now = [follower["position"] for follower in followers]
        open_ones = [follower["exchanges"]["in_flight"] + follower["waiting_for_other_half"] for follower in followers]
        settled = now == last and len(set(now)) == 1 and not any(open_ones) and not ledger["ambiguous"]["pending"]
        last = now
        if not settled:
            time.sleep(0.4)
        return settled

    try:
        wait_until(done, "the shadow has caught up")
    except DockerError as error:
        raise ProofError(f"{error}:\n{json.dumps(stage.ledger())}") from error
    balanced = all(follower["balanced"] for follower in stage.ledger()["followers"].values())
    check(f"the shadow caught up within {time.monotonic() - started:.0f} s, and the ledger balances", balanced)


def compare(stage: Stage) -> None:
    primary, shadow = documents(stage.primary), documents(stage.shadow)
    differing = [id for id in primary.keys() | shadow.keys() if primary.get(id) != shadow.get(id)]
    why = "\n".join(
        [
            f"{len(differing)} do not",
            *(line for id in sorted(differing)[:3] for line in difference(stage, id, primary.get(id), shadow.get(id))),
            passed_by(stage),
            json.dumps(stage.ledger()),
        ]
        if differing
        else []
    )
    check(f"both clusters hold the same {len(primary)} documents", not differing and primary, why)


def difference(stage: Stage, id: str, primary: Any, shadow: Any) -> Iterator[str]:
    """What each side has, and every exchange that names the document."""
    yield f"{id}: the primary has {shortened(primary)}, the shadow {shortened(shadow)}"
    for side in ("primary", "shadow"):
        for line in stage.containers.execute(f"haproxy-{side}", "cat", "/var/log/haproxy-traffic.log").splitlines():
            if f'{id}"' in line or f'{id}\\"' in line or f"/{id}" in line:
                exchange = json.loads(line)
                request, response = exchange.get("request") or {}, exchange.get("response") or {}
                yield (
                    f"   {side}: {request.get('time')} to {response.get('time')} {exchange['event']['id']} {request.get('method')} "
                    f"{request.get('target')} by {response.get('server')}: {response.get('status_code')} "
                    f"{shortened(about(id, response.get('body', {}).get('content')))}"
                )


def about(id: str, content: Any) -> str:
    """The part of an answer that names it."""
    text = str(content)
    at = max(text.find(id) - 60, 0)
    return text[at : at + 300]


def shortened(value: Any) -> str:
    """Texts of a document are long and all alike."""
    return re.sub(r"x{4,}", "x…", json.dumps(value))


def passed_by(stage: Stage) -> str:
    """A machine that is too busy for the agent's health check looks like an agent that is away: nothing is captured then."""
    lines = stage.containers.logs("haproxy-primary", 100_000)
    away = [line for line in lines if "spoa-agent/agent is DOWN" in line]
    return (
        "\n".join(["HAProxy took the agent for away, and let pass uncaptured:", *away])
        if away
        else "the agent was never away"
    )


def documents(side: Cluster) -> dict[str, Any]:
    side.wait()
    fetch(f"{side.url}{INDEX}/_refresh", "POST")
    found: dict[str, Any] = {}
    for query in [{"term": {"client": number}} for number in (*range(CONNECTIONS), 1000)]:
        hits = fetch(f"{side.url}{INDEX}/_search", "POST", json.dumps({"query": query, "size": 10000}).encode())[
            "hits"
        ]["hits"]
        found.update({hit["_id"]: hit["_source"] for hit in hits})
    return found


def traffic_log(stage: Stage) -> None:
    lines = stage.containers.execute("haproxy-primary", "cat", "/var/log/haproxy-traffic.log").splitlines()
    exchanges = [json.loads(line) for line in lines]
    bulk = next(line for line in exchanges if line["request"]["target"] == f"{INDEX}/_bulk")
    whole = (
        "a body that must be logged whole" in json.dumps(bulk["request"]["body"])
        and bulk["response"]["status_code"] == 200
    )
    check(f"/var/log/haproxy-traffic.log has {len(exchanges)} exchanges, with the bodies of _bulk", whole, f"{bulk}")


def stopped_in_order(stage: Stage) -> None:
    for name in ("haproxy-primary", "haproxy-shadow"):
        started = time.monotonic()
        code = stage.containers.stop(name)
        check(f"docker stop {name}: exit code {code} after {time.monotonic() - started:.1f} s", code == 0)


def expect_no_errors(what: str, tally: Tally, at_most: int = 0) -> None:
    errors = sum(tally.errors.values())
    check(f"{what}: {tally.done} requests, {errors} errors", errors <= at_most, f"{dict(tally.errors)}")


def check(claim: str, holds: object, otherwise: str = "") -> None:
    say(f"   {'ok' if holds else 'NOT'}: {claim}")
    if not holds:
        raise ProofError(f"{claim}: {otherwise}")


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> Any:
    kind = "application/x-ndjson" if url.endswith("_bulk") else "application/json"
    request = urllib.request.Request(url, body, {"content-type": kind} if body else {}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def say(line: str) -> None:
    print(line, flush=True)


def run(docker: Docker, agent: Path, branches: list[str], real_nodes: bool) -> bool:
    """Whether all branches are as promised; says how large the images are."""
    failed = []
    for branch in branches:
        started = time.monotonic()
        try:
            prove(docker, agent, branch, real_nodes)
        except (ProofError, DockerError, OSError, subprocess.CalledProcessError) as error:
            say(f"   FAILED on HAProxy {branch}: {error}")
            failed.append(branch)
            continue
        say(f"   HAProxy {branch}: as promised, {time.monotonic() - started:.0f} s")
    for branch in branches:
        for side in ("primary", "shadow"):
            if docker.has_image(image(side, branch)):
                say(f"{image(side, branch)}: {docker.image_megabytes(image(side, branch)):.0f} MB")
    return not failed
