"""The six nodes as containers, and a broker when it is wanted, through the `docker` command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.containers import LABEL, Containers, Docker
from docker.engine import can_build, clients
from spoa_agent import Exchange

from .clusters import DEMO, Documents, all_documents
from .local import PATIENCE
from .processes import StageError, fetch, port_or_another
from .running import Broker, Running, Say, Wanted
from .side import Side, output_of

NETWORK = "haproxy-demo"
INTERNAL_PORT = 9200
ADMIN_PORT = 12346
KAFKA_INSIDE, KAFKA_OUTSIDE, KAFKA_CONTROLLER = 9092, 9094, 9093
JOURNAL = "/var/lib/spoa-agent/journal"
TRAFFIC_LOG = "/var/log/haproxy-traffic.log"
START_SECONDS = 240
# What the images need none of.
LOCKED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def find_engine(named: str | None, must: bool, announce: Say) -> Docker | None:
    """A client with an engine that answers. `None` when there is none and it need not be."""
    reasons = []
    for client in [named] if named else clients():
        docker = Docker(client, announce=announce)
        asked = docker.attempt("version", "--format", "{{.Server.Version}}")
        if asked.returncode == 0 and asked.stdout.strip():
            if named or can_build(docker):
                return docker
            reasons.append(f"{client} cannot build: it lacks the plugin buildx")
            continue
        lines = (asked.stderr.strip() or asked.stdout.strip()).splitlines()
        reasons.append(f"{client} says: {lines[-1] if lines else 'nothing'}")
    if must:
        why = "; ".join(dict.fromkeys(reasons)) or "there is no docker in PATH"
        raise StageError(f"no Docker engine answers ({why}); start one, or take --runtime local")
    return None


@dataclass(frozen=True)
class Images:
    primary: str
    shadow: str
    elasticsearch: str
    opensearch: str
    kafka: str

    def engine(self, name: str) -> str:
        return self.opensearch if name == "opensearch" else self.elasticsearch


class ContainerSide(Side):
    def __init__(self, role: str, port: int, admin_port: int, node_ports: list[int], containers: Containers) -> None:
        self.role = role
        self.url = f"http://127.0.0.1:{port}"
        self.admin_port = admin_port
        self.node_urls = [f"http://127.0.0.1:{node}" for node in node_ports]
        self.inside = containers.command_in(f"haproxy-{role}")

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def documents(self) -> Documents:
        return all_documents(self.node_urls[0], builtin=False)

    def exchanges(self) -> Iterator[Exchange]:
        return read_lines([*self.inside, "spoa-agent", "journal", "cat", "--journal-dir", JOURNAL])

    def logged(self) -> Iterator[Exchange]:
        return read_lines([*self.inside, "cat", TRAFFIC_LOG])


def read_lines(command: list[str]) -> Iterator[Exchange]:
    with output_of(command) as lines:
        for line in lines:
            yield Exchange.from_json(line)


class ContainerBroker(Broker):
    def __init__(self, port: int, topic: str, containers: Containers) -> None:
        self.inside = f"kafka:{KAFKA_INSIDE}"
        self.outside = f"localhost:{port}"
        self.topic = topic
        self.containers = containers

    def environment(self) -> dict[str, str]:
        """Two listeners: clients in the network reach it by its name, those on this machine by localhost. A client connects to what
        the metadata say, so each listener must advertise what its clients can resolve and reach."""
        return {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": f"INSIDE://:{KAFKA_INSIDE},OUTSIDE://:{KAFKA_OUTSIDE},CONTROLLER://:{KAFKA_CONTROLLER}",
            "KAFKA_ADVERTISED_LISTENERS": f"INSIDE://{self.inside},OUTSIDE://{self.outside}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{KAFKA_CONTROLLER}",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_HEAP_OPTS": "-Xms384m -Xmx384m",
        }

    def header_command(self) -> list[str]:
        # It ends when nothing comes for a while.
        return [
            *self.containers.command_in("kafka"), "/opt/kafka/bin/kafka-console-consumer.sh",
            "--bootstrap-server", f"localhost:{KAFKA_INSIDE}", "--topic", self.topic, "--from-beginning", "--timeout-ms", "15000",
            "--property", "print.headers=true", "--property", "print.value=false",
        ]  # fmt: skip


@dataclass
class DockerRuntime:
    wanted: Wanted
    images: Images
    containers: Containers
    say: Say
    build_script: Path = DEMO.parent / "scripts" / "build_docker_images.py"

    def build(self, arguments: Sequence[str]) -> None:
        """The addresses of the nodes are said when the containers start; those that are baked in are for nobody."""
        self.say("Building HAProxy Docker images for Primary and Shadow HAProxy containers...")
        command = [
            sys.executable, str(self.build_script), "--docker", self.containers.docker.client,
            "--primary-image", self.images.primary, "--shadow-image", self.images.shadow,
            "--primary-nodes", *nodes_of("primary"), "--shadow-nodes", *nodes_of("shadow"),
            "--shadow-haproxy", f"haproxy-shadow:{INTERNAL_PORT}", "--internal-port", str(INTERNAL_PORT), *arguments,
        ]  # fmt: skip
        self.say(f"Executing command to build Docker images: {' '.join(command[1:])}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as building:
            assert building.stdout is not None
            try:
                for line in building.stdout:
                    if line.strip():
                        self.say(f"Subshell> {line.rstrip()}")
            except BaseException:
                building.terminate()
                raise
        if building.returncode != 0:
            raise StageError("the images could not be built; the lines above tell why")

    def start(self) -> Running:
        wanted, containers = self.wanted, self.containers
        ports = {role: self.port(f"the {role} HAProxy", wanted.ports[role]) for role in ("primary", "shadow")}
        nodes = {
            role: [self.port(f"a node of the {role} cluster", port) for port in wanted.node_ports[role]]
            for role in ports
        }
        admin = {role: self.port("", 0) for role in ports}
        broker = (
            ContainerBroker(self.port("the broker", wanted.kafka_port), wanted.topic, containers)
            if wanted.kafka
            else None
        )
        sides = {role: ContainerSide(role, ports[role], admin[role], nodes[role], containers) for role in ports}
        for role, engine in (("primary", wanted.engine), ("shadow", wanted.shadow_engine)):
            self.say(f"Creating {role} cluster...")
            self.start_cluster(role, engine, nodes[role])
        if broker:
            self.say("Creating the Kafka broker...")
            self.start_broker(broker)
        for role in sides:
            self.say(f"Waiting up to {START_SECONDS} sec for cluster to be active...")
            self.wait(lambda role=role: self.is_active(sides[role]), f"the {role} cluster is active")  # type: ignore[misc]
            self.say(f"Cluster {role}-cluster is active")
        if broker:
            self.wait(self.broker_is_ready, "the broker is ready")
        self.say("Starting HAProxy container for Shadow Cluster...")
        self.start_haproxy("shadow", ports["shadow"], admin["shadow"], {})
        self.wait(lambda: is_ready(sides["shadow"]), "the shadow HAProxy is ready")
        self.say("Starting HAProxy container for Primary Cluster...")
        more = {"SHADOW_URL": f"http://haproxy-shadow:{INTERNAL_PORT}"}
        if broker:
            more.update(KAFKA_BROKERS=broker.inside, KAFKA_TOPIC=broker.topic)
        self.start_haproxy("primary", ports["primary"], admin["primary"], more)
        self.wait(lambda: is_ready(sides["primary"]), "the primary HAProxy is ready")
        return ContainersRunning(sides["primary"], sides["shadow"], broker, containers)

    def port(self, whose: str, wanted: int) -> int:
        port, why = port_or_another(self.wanted.host, wanted)
        if why:
            # The engine may bind what we may not.
            if "permitted" in why:
                return wanted
            self.say(f"Port {wanted} {why}; {whose} takes {port} instead")
        return port

    def start_cluster(self, role: str, engine: str, ports: list[int]) -> None:
        names = node_names(role)
        for name, port in zip(names, ports):
            environment = node_environment(engine, f"{role}-cluster", name, names, self.wanted.heap)
            self.containers.run(name, self.images.engine(engine), options=("--publish", f"{self.published(port)}:9200"),
                                environment=environment)  # fmt: skip

    def start_broker(self, broker: ContainerBroker) -> None:
        port = broker.outside.rpartition(":")[2]
        self.containers.run("kafka", self.images.kafka, options=("--publish", f"127.0.0.1:{port}:{KAFKA_OUTSIDE}"),
                            environment=broker.environment())  # fmt: skip

    def start_haproxy(self, role: str, port: int, admin_port: int, more: dict[str, str]) -> None:
        environment = {
            f"{role.upper()}_NODES": " ".join(nodes_of(role)),
            "INTERNAL_PORT": str(INTERNAL_PORT),
            "HAPROXY_CONFIG_PROCESSING_TIMEOUT": PATIENCE,
            # A node that is killed and started again may have another address.
            "HAPROXY_CONFIG_RESOLVE_NODES": "true",
            **more,
        }
        image = self.images.primary if role == "primary" else self.images.shadow
        published = (f"{self.published(port)}:{INTERNAL_PORT}", f"127.0.0.1:{admin_port}:{ADMIN_PORT}")
        options = (*LOCKED, *(word for ports in published for word in ("--publish", ports)))
        self.containers.run(f"haproxy-{role}", image, options=options, environment=environment)

    def published(self, port: int) -> str:
        host = self.wanted.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        Waiting(self.containers).wait_until(condition, what, START_SECONDS)

    def is_active(self, side: ContainerSide) -> bool:
        wanted = "_cluster/health?wait_for_status=green&wait_for_nodes=2&timeout=1s"
        return all(not json.loads(fetch(f"{url}/{wanted}"))["timed_out"] for url in side.node_urls)

    def broker_is_ready(self) -> bool:
        ask = ("/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", f"localhost:{KAFKA_INSIDE}", "--list")
        return self.containers.succeeds("kafka", *ask)


class Waiting(Running):
    """Enough of a demonstration to wait for its parts."""

    def __init__(self, containers: Containers) -> None:
        self.containers = containers
        self.told: set[str] = set()

    def check_alive(self) -> None:
        self.containers.check_running()

    def newly_dead(self) -> list[str]:
        dead = [name for name in self.containers.started if not self.containers.is_running(name)]
        news = [name for name in dead if name not in self.told]
        # One that was started again may be told again.
        self.told = set(dead)
        return [f"{name} has ended; `docker start {name}` starts it again" for name in news]

    def last_words(self) -> dict[str, list[str]]:
        return {name: self.containers.logs(name, 10) for name in self.containers.started}

    def table(self) -> list[tuple[str, str, str]]:
        return [(name, self.containers.image_of(name), f"docker logs {name}") for name in self.containers.started]


class ContainersRunning(Waiting):
    nodes = "real"

    def __init__(
        self, primary: ContainerSide, shadow: ContainerSide, broker: ContainerBroker | None, containers: Containers
    ) -> None:
        super().__init__(containers)
        self.primary: Side = primary
        self.shadow: Side = shadow
        self.broker = broker
        self.hints = {
            "traffic log": f"docker exec haproxy-primary tail -n 1 {TRAFFIC_LOG}",
            "journal": f"docker exec haproxy-primary spoa-agent journal cat --journal-dir {JOURNAL} --format text --limit 10",
            "configuration": "docker exec haproxy-primary cat /run/spoa-agent/haproxy.cfg",
            "containers": f"docker ps --filter label={LABEL}",
        }


def node_environment(engine: str, cluster: str, name: str, names: list[str], heap: str) -> dict[str, str]:
    java = f"-Xms{heap} -Xmx{heap}"
    environment = {
        "cluster.name": cluster,
        "node.name": name,
        "discovery.seed_hosts": ",".join(names),
        "bootstrap.memory_lock": "false",
        # So that the host's vm.max_map_count does not matter.
        "node.store.allow_mmap": "false",
        # A full disk of the developer is not what is shown.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
    }
    if engine == "opensearch":
        return {
            **environment,
            "cluster.initial_cluster_manager_nodes": names[0],
            "DISABLE_INSTALL_DEMO_CONFIG": "true",
            "DISABLE_SECURITY_PLUGIN": "true",
            "OPENSEARCH_JAVA_OPTS": java,
        }
    return {**environment, "cluster.initial_master_nodes": names[0], "ES_JAVA_OPTS": java}


def node_names(role: str) -> list[str]:
    return [f"{role}-cluster-node-{number}" for number in (1, 2)]


def nodes_of(role: str) -> list[str]:
    return [f"{name}:9200" for name in node_names(role)]


def is_ready(side: Side) -> bool:
    fetch(f"{side.admin_url}/readyz")
    return True
