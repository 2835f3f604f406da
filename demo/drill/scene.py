"""What the drill plays with: a broker, NGINX as the cluster, the agent, and HAProxy, which tells the client what was acknowledged."""

from __future__ import annotations

from pathlib import Path

from spoa_agent import Agent, Haproxy, HaproxyConfig
from stage.local import BROKER_SECONDS, LocalBroker, is_said
from stage.nginx import start_nginx
from stage.processes import Processes, Program, free_ports
from stage.side import LocalSide

TOPIC = "captured-traffic"
# How long an exchange waits for its other half. When the agent dies between the halves, that never comes; here answers take milliseconds.
PAIRING_DEADLINE = "15s"

# HAProxy's own word, in the answer to each request: its id, and for each half how long the agent took and what went wrong. Without an ACK
# there is no time; a half that was not sent, because the agent was away, has neither.
TELL = (
    '    http-after-response set-header x-drill "%[unique-id],%[var(txn.request.took)],%[var(txn.request.err)],'
    '%[var(txn.response.took)],%[var(txn.response.err)]"\n'
)
ERROR_OPTION = "    option set-on-error err\n"
TIME_OPTION = "    option set-process-time took\n"


class Scene:
    def __init__(self, folder: Path, processes: Processes, binary: Path, haproxy: str) -> None:
        self.folder, self.processes, self.haproxy = folder, processes, haproxy
        inside, outside = free_ports(2)
        self.broker = LocalBroker((inside, outside), TOPIC)
        self.side = LocalSide("primary", folder, binary)

    def start(self) -> None:
        self.side.node_ports = [start_nginx(self.processes, self.folder, "cluster")]
        self.start_broker()
        more = {"journal": {"ack": "write", "max_bytes": "8GiB"}, "pairing": {"deadline": PAIRING_DEADLINE}}
        self.side.start_agent(self.processes, {**more, **self.broker.agent_config()})
        self.start_haproxy()

    def start_broker(self) -> None:
        """Also after it was killed: the same one, with its data."""
        self.kafka: Program = self.broker.start(self.processes, self.folder)
        self.processes.wait_until(lambda: is_said(self.kafka, "ready "), "the broker is ready", BROKER_SECONDS)

    def kill_broker(self) -> None:
        self.processes.kill(self.kafka)

    @property
    def agent(self) -> Agent:
        assert self.side.agent is not None
        return self.side.agent

    def crash_agent(self) -> None:
        """Killed, and started again at once, as a supervisor does."""
        self.agent.kill()
        self.agent.start()
        self.agent.wait_ready()

    def start_haproxy(self) -> None:
        """As `spoa-agent haproxy-config` writes it, with all its times, and with lines that tell of each exchange."""
        place = self.side.folder / "haproxy"
        config = HaproxyConfig(
            listen=f"127.0.0.1:{self.side.haproxy_port}",
            nodes=[f"127.0.0.1:{port}" for port in self.side.node_ports],
            agent=f"unix@{self.side.socket}",
            stats_socket=self.side.stats_socket,
        )
        config.write(place)
        insert(place / "spoe.cfg", ERROR_OPTION, TIME_OPTION)
        insert(place / "haproxy.cfg", "    default_backend cluster\n", TELL)
        started = Haproxy(place, binary=self.haproxy, folder=self.side.folder)
        self.processes.start_packaged("HAProxy", started)


def insert(file: Path, after: str, text: str) -> None:
    before = file.read_text()
    assert after in before, f"{file.name} has no line {after.strip()!r} any more"
    file.write_text(before.replace(after, after + text))
