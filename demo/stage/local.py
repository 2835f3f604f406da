"""The six nodes as processes on this machine, and a broker when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .clusters import BUILTIN, DEMO, Cluster
from .processes import Child, Processes, Program, port_or_another
from .running import Broker, Running, Say, Wanted
from .side import LocalSide, Side

# The default is 250 ms, after which HAProxy goes on without the agent. A demonstration that shares
# two cores with a build would lose exchanges to the scheduler, and show nothing about the agent.
PATIENCE = "5s"
BROKER_SECONDS = 120


class LocalBroker(Broker):
    def __init__(self, ports: tuple[int, int], topic: str) -> None:
        inside, outside = ports
        self.inside, self.outside = f"127.0.0.1:{inside}", f"localhost:{outside}"
        self.topic = topic

    def start(self, processes: Processes, folder: Path) -> Program:
        return processes.start(
            "kafka", DEMO / "broker" / "run", f"data={folder / 'kafka'}",
            f"listeners=INSIDE://{self.inside},OUTSIDE://127.0.0.1:{self.outside.rpartition(':')[2]}",
            f"advertised.listeners=INSIDE://{self.inside},OUTSIDE://{self.outside}",
            "listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
        )  # fmt: skip

    def agent_config(self) -> dict[str, Any]:
        return {"kafka": {"brokers": [self.inside], "topic": self.topic}}

    def header_command(self) -> list[str]:
        libraries = DEMO.parent / ".cache" / "broker" / "lib"
        return ["java", "-cp", f"{libraries}/*", str(DEMO / "stage" / "ReadTopic.java"), self.inside, self.topic]


@dataclass
class LocalRuntime:
    """Starts what is wanted, from the back to the front, so that everyone finds the next one there."""

    wanted: Wanted
    folder: Path
    processes: Processes
    binary: Path
    haproxy: str
    say: Say

    def start(self) -> Running:
        wanted = self.wanted
        shadow, primary = self.plan("shadow", wanted.shadow_engine), self.plan("primary", wanted.engine)
        broker = self.plan_broker() if wanted.kafka else None
        for side in (primary, shadow):
            assert side.cluster is not None
            self.say(f"Creating {side.role} cluster: two nodes of {side.cluster.words}...")
            side.cluster.start(self.processes, side.folder)
        kafka = broker.start(self.processes, self.folder) if broker else None
        for side in (primary, shadow):
            assert side.cluster is not None
            side.cluster.wait(self.processes)
            self.say(f"Cluster {side.cluster.name} is active")
        if kafka:
            self.processes.wait_until(lambda: is_said(kafka, "ready "), "the broker is ready", BROKER_SECONDS)
            self.say("The Kafka broker is ready")
        self.say("Starting agent and HAProxy for Shadow Cluster...")
        shadow.start_agent(self.processes, {"traffic_log": {"path": str(shadow.traffic_log)}})
        shadow.start_haproxy(self.processes, self.haproxy, PATIENCE)
        self.say("Starting agent and HAProxy for Primary Cluster...")
        config = {"traffic_log": {"path": str(primary.traffic_log)}, "shadow": {"url": shadow.url}}
        primary.start_agent(self.processes, {**config, **(broker.agent_config() if broker else {})})
        primary.start_haproxy(self.processes, self.haproxy, PATIENCE)
        return LocalRunning(primary, shadow, broker, self.processes)

    def plan(self, role: Literal["primary", "shadow"], engine: str) -> LocalSide:
        wanted = self.wanted
        port = self.port(f"the {role} HAProxy", wanted.host, wanted.ports[role])
        nodes = [self.port(f"node {number} of the {role} cluster", "127.0.0.1", port)
                 for number, port in enumerate(wanted.node_ports[role], 1)]  # fmt: skip
        cluster = Cluster(engine, f"{role}-cluster", nodes, heap=wanted.heap)
        return LocalSide(role, self.folder, self.binary, cluster, host=wanted.host, haproxy_port=port)

    def plan_broker(self) -> LocalBroker:
        ports = (self.port("the broker", "127.0.0.1", 0), self.port("the broker", "127.0.0.1", self.wanted.kafka_port))
        return LocalBroker(ports, self.wanted.topic)

    def port(self, whose: str, host: str, wanted: int) -> int:
        port, why = port_or_another(host, wanted)
        if why:
            self.say(f"Port {wanted} {why}; {whose} takes {port} instead")
        return port


class LocalRunning(Running):
    def __init__(self, primary: LocalSide, shadow: LocalSide, broker: LocalBroker | None, processes: Processes) -> None:
        self.primary: Side = primary
        self.shadow: Side = shadow
        self.broker = broker
        self.processes = processes
        assert primary.cluster is not None
        self.nodes = "builtin" if primary.cluster.engine == BUILTIN else "real"
        self.told: set[str] = set()
        self.hints = {
            "traffic log": f"tail -n 1 {primary.traffic_log}",
            "journal": f"{primary.binary} journal cat --journal-dir {primary.journal} --format text --limit 10",
            "configuration": f"{primary.folder}/haproxy.cfg, {primary.folder}/spoe.cfg, and those of {shadow.folder}",
        }

    def check_alive(self) -> None:
        self.processes.check_alive()

    def newly_dead(self) -> list[str]:
        dead = [child for child in self.processes.children if child.exit_code() is not None]
        news = [child for child in dead if child.name not in self.told]
        self.told.update(child.name for child in news)
        return [f"{child.name} has ended (exit code {child.exit_code()})" for child in news]

    def last_words(self) -> dict[str, list[str]]:
        return {child.name: child.last_lines(10) for child in self.processes.children}

    def table(self) -> list[tuple[str, str, str]]:
        return [(child.name, f"process {child.pid}", str(child.log)) for child in self.processes.children]


def is_said(child: Child, words: str) -> bool:
    return any(line.startswith(words) for line in child.log.read_text(errors="replace").splitlines())
