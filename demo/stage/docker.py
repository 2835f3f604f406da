"""The six nodes as containers, and a broker when it is wanted, through the `docker` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from spoa_agent import Exchange

from .clusters import DEMO, Documents, all_documents
from .local import PATIENCE
from .processes import StageError, fetch, port_or_another
from .running import Broker, Running, Say, Wanted
from .side import Side, output_of

LABEL = "spoa-agent.demo"
NETWORK = "haproxy-demo"
# Addresses are fixed, as HAProxy looks names up when it starts: a node that is killed and started again keeps its own.
SUBNETS = [f"10.213.{number}.0/24" for number in range(0, 250, 10)]
INTERNAL_PORT = 9200
ADMIN_PORT = 12346
KAFKA_INSIDE, KAFKA_OUTSIDE, KAFKA_CONTROLLER = 9092, 9094, 9093
JOURNAL = "/var/lib/spoa-agent/journal"
TRAFFIC_LOG = "/var/log/haproxy-traffic.log"
START_SECONDS = 240
# What the images need none of.
LOCKED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def find_engine(named: str | None, must: bool) -> str | None:
    """A client with an engine that answers. `None` when there is none and it need not be."""
    candidates = [named] if named else clients_in_path()
    reasons = []
    for client in candidates:
        asked = call([client, "version", "--format", "{{.Server.Version}}"])
        if asked.returncode == 0 and asked.stdout.strip():
            return client
        lines = (asked.stderr.strip() or asked.stdout.strip()).splitlines()
        reasons.append(f"{client} says: {lines[-1] if lines else 'nothing'}")
    if must:
        why = "; ".join(reasons) or "there is no docker in PATH"
        raise StageError(f"no Docker engine answers ({why}); start one, or take --runtime local")
    return None


def clients_in_path() -> list[str]:
    found = [shutil.which("docker", path=folder) for folder in os.get_exec_path()]
    return list(dict.fromkeys(os.path.realpath(client) for client in found if client))


def call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Ctrl-C reaches us alone, so that what was begun is ended or undone."""
    try:
        return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              start_new_session=True)  # fmt: skip
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


@dataclass
class Container:
    name: str
    id: str
    image: str


@dataclass
class Containers:
    """What we made. As a context manager it removes that, newest first, and nothing else, however the block ends."""

    docker: str
    announce: Callable[[str], None]
    say: Say
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    made: list[Container] = field(default_factory=list)
    network: str = ""
    subnet: str = ""

    def __enter__(self) -> Containers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove_all()

    def run(self, *arguments: str) -> str:
        """Its output; fails with what it said."""
        command = [self.docker, *arguments]
        self.announce(" ".join(command))
        done = call(command)
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
            raise StageError(f"`docker {arguments[0]}` failed: {said}")
        return done.stdout.strip()

    def make_network(self) -> None:
        reasons = ""
        for subnet in SUBNETS:
            try:
                self.network = self.run("network", "create", "--label", f"{LABEL}={self.run_id}", "--subnet", subnet,
                                        f"{NETWORK}-{self.run_id}")  # fmt: skip
            except StageError as error:
                reasons = str(error)
                if "overlap" in reasons.lower():
                    continue
                raise
            self.subnet = subnet
            return
        raise StageError(f"no network for the demo: all of {SUBNETS[0]} to {SUBNETS[-1]} are taken; {reasons}")

    def address(self, number: int) -> str:
        return self.subnet.replace("0/24", str(number))

    def start(self, name: str, image: str, number: int, *options: str) -> Container:
        """`number` is the last part of its address. A container that is made and does not start is removed too."""
        if call([self.docker, "container", "inspect", name]).returncode == 0:
            raise StageError(
                f"there is a container {name} already, perhaps of another demo: `docker rm --force {name}` removes it"
            )
        id = self.run(
            "create", "--name", name, "--hostname", name, "--label", f"{LABEL}={self.run_id}",
            "--network", self.network, "--ip", self.address(number), *options, image,
        )  # fmt: skip
        container = Container(name, id.splitlines()[-1] if id else name, image)
        self.made.append(container)
        self.run("start", container.id)
        return container

    def is_running(self, container: Container) -> bool:
        return (
            call([self.docker, "container", "inspect", "--format", "{{.State.Running}}", container.id]).stdout.strip()
            == "true"
        )

    def check_alive(self) -> None:
        for container in self.made:
            if not self.is_running(container):
                said = "\n    ".join(self.last_lines(container, 8))
                raise StageError(f"the container {container.name} ended early:\n    {said}")

    def last_lines(self, container: Container, count: int = 10) -> list[str]:
        done = call([self.docker, "logs", "--tail", str(count), container.id])
        return (done.stdout + done.stderr).splitlines()[-count:]

    def remove_all(self) -> None:
        """Goes on after a failure, and says what is left."""
        while self.made:
            container = self.made.pop()
            self.say(f"Cleaning up {container.name}...")
            self.remove("rm", "--force", "--volumes", container.id)
        # An interruption may have come before we knew what was made.
        mine = f"label={LABEL}={self.run_id}"
        for id in call([self.docker, "ps", "--all", "--quiet", "--filter", mine]).stdout.split():
            self.remove("rm", "--force", "--volumes", id)
        for id in call([self.docker, "network", "ls", "--quiet", "--filter", mine]).stdout.split():
            self.remove("network", "rm", id)
        self.network = ""

    def remove(self, *arguments: str) -> None:
        self.announce(" ".join([self.docker, *arguments]))
        done = call([self.docker, *arguments])
        if done.returncode != 0:
            self.say(f"`docker {' '.join(arguments)}` failed: {done.stderr.strip()}")


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
    def __init__(self, role: str, port: int, admin_port: int, node_ports: list[int], docker: str) -> None:
        self.role = role
        self.url = f"http://127.0.0.1:{port}"
        self.admin_port = admin_port
        self.node_urls = [f"http://127.0.0.1:{node}" for node in node_ports]
        self.inside = [docker, "exec", f"haproxy-{role}"]

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
    def __init__(self, port: int, topic: str, docker: str) -> None:
        self.inside = f"kafka:{KAFKA_INSIDE}"
        self.outside = f"localhost:{port}"
        self.topic = topic
        self.docker = docker

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
            self.docker, "exec", "kafka", "/opt/kafka/bin/kafka-console-consumer.sh", "--bootstrap-server", f"localhost:{KAFKA_INSIDE}",
            "--topic", self.topic, "--from-beginning", "--timeout-ms", "15000",
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
            sys.executable, str(self.build_script), "--docker", self.containers.docker,
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
            ContainerBroker(self.port("the broker", wanted.kafka_port), wanted.topic, containers.docker)
            if wanted.kafka
            else None
        )
        sides = {role: ContainerSide(role, ports[role], admin[role], nodes[role], containers.docker) for role in ports}
        containers.make_network()
        for role, first, engine in (("primary", 11, wanted.engine), ("shadow", 21, wanted.shadow_engine)):
            self.say(f"Creating {role} cluster...")
            self.start_cluster(role, first, engine, nodes[role])
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
        self.start_haproxy("shadow", 20, ports["shadow"], admin["shadow"], {})
        self.wait(lambda: is_ready(sides["shadow"]), "the shadow HAProxy is ready")
        self.say("Starting HAProxy container for Primary Cluster...")
        more = {"SHADOW_URL": f"http://haproxy-shadow:{INTERNAL_PORT}"}
        if broker:
            more.update(KAFKA_BROKERS=broker.inside, KAFKA_TOPIC=broker.topic)
        self.start_haproxy("primary", 10, ports["primary"], admin["primary"], more)
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

    def start_cluster(self, role: str, first: int, engine: str, ports: list[int]) -> None:
        names = [f"{role}-cluster-node-{number}" for number in (1, 2)]
        for offset, (name, port) in enumerate(zip(names, ports)):
            environment = node_environment(engine, f"{role}-cluster", name, names, self.wanted.heap)
            self.containers.start(name, self.images.engine(engine), first + offset, *as_options(environment),
                                  "--publish", f"{self.published(port)}:9200")  # fmt: skip

    def start_broker(self, broker: ContainerBroker) -> None:
        port = broker.outside.rpartition(":")[2]
        self.containers.start("kafka", self.images.kafka, 30, *as_options(broker.environment()),
                              "--publish", f"127.0.0.1:{port}:{KAFKA_OUTSIDE}")  # fmt: skip

    def start_haproxy(self, role: str, number: int, port: int, admin_port: int, more: dict[str, str]) -> None:
        first = 11 if role == "primary" else 21
        nodes = " ".join(f"{self.containers.address(first + offset)}:9200" for offset in range(2))
        environment = {
            f"{role.upper()}_NODES": nodes,
            "INTERNAL_PORT": str(INTERNAL_PORT),
            "HAPROXY_CONFIG_PROCESSING_TIMEOUT": PATIENCE,
            **more,
        }
        image = self.images.primary if role == "primary" else self.images.shadow
        self.containers.start(f"haproxy-{role}", image, number, *LOCKED, *as_options(environment),
                              "--publish", f"{self.published(port)}:{INTERNAL_PORT}",
                              "--publish", f"127.0.0.1:{admin_port}:{ADMIN_PORT}")  # fmt: skip

    def published(self, port: int) -> str:
        host = self.wanted.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        Waiting(self.containers).wait_until(condition, what, START_SECONDS)

    def is_active(self, side: ContainerSide) -> bool:
        wanted = "_cluster/health?wait_for_status=green&wait_for_nodes=2&timeout=1s"
        return all(not json.loads(fetch(f"{url}/{wanted}"))["timed_out"] for url in side.node_urls)

    def broker_is_ready(self) -> bool:
        asked = call([self.containers.docker, "exec", "kafka", "/opt/kafka/bin/kafka-topics.sh",
                      "--bootstrap-server", f"localhost:{KAFKA_INSIDE}", "--list"])  # fmt: skip
        return asked.returncode == 0


class Waiting(Running):
    """Enough of a demonstration to wait for its parts."""

    def __init__(self, containers: Containers) -> None:
        self.containers = containers
        self.told: set[str] = set()

    def check_alive(self) -> None:
        self.containers.check_alive()

    def newly_dead(self) -> list[str]:
        dead = [container.name for container in self.containers.made if not self.containers.is_running(container)]
        news = [name for name in dead if name not in self.told]
        # One that was started again may be told again.
        self.told = set(dead)
        return [f"{name} has ended; `docker start {name}` starts it again" for name in news]

    def last_words(self) -> dict[str, list[str]]:
        return {container.name: self.containers.last_lines(container) for container in self.containers.made}

    def table(self) -> list[tuple[str, str, str]]:
        return [(made.name, made.image, f"docker logs {made.name}") for made in self.containers.made]


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


def as_options(environment: dict[str, str]) -> list[str]:
    return [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]


def nodes_of(role: str) -> list[str]:
    return [f"{role}-cluster-node-{number}:9200" for number in (1, 2)]


def is_ready(side: Side) -> bool:
    fetch(f"{side.admin_url}/readyz")
    return True
