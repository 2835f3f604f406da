"""The agent as a child process."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from . import _toml
from ._native import ExchangeReader, PairReader, SpopClient, read_journal, read_pairs
from ._process import AGENT_VARIABLE, AnyPath, LogLine, Process, beside_the_package, find_program
from .errors import AgentError, ConfigError, SpoaError

_USAGE = 2
_READY = "spoa-agent is ready"
_LISTEN = ["127.0.0.1:12345"]
_HTTP_TIMEOUT = 30.0
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: .*)?", re.ASCII)
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"', re.ASCII)
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class Sample:
    """One line of `/metrics`."""

    name: str
    labels: dict[str, str]
    value: float


class Agent(Process):
    """`spoa-agent run` as a child process.

    `config` is the path of a configuration file, or the same as a nested mapping: it is written as TOML, readable by you alone, into
    `folder`. The program is `binary`, or the environment's `SPOA_AGENT_BINARY`, or one beside this package, or the one on `PATH`.

        with Agent({"journal": {"dir": "/srv/journal"}, "admin": {"listen": "127.0.0.1:0"}}) as agent:
            print(agent.addresses, agent.ledger())

    The agent's own words are in the errors: a `ConfigError` lists all that is wrong with the configuration.
    """

    name = "spoa-agent"

    def __init__(
        self,
        config: Union[Mapping[str, Any], AnyPath],
        *,
        binary: Optional[AnyPath] = None,
        arguments: Sequence[str] = (),
        folder: Optional[AnyPath] = None,
        env: Optional[Mapping[str, str]] = None,
        ready_timeout: float = 30.0,
        stop_timeout: float = 60.0,
        end_with_parent: bool = False,
    ) -> None:
        super().__init__(folder=folder, env=env, ready_timeout=ready_timeout, stop_timeout=stop_timeout, end_with_parent=end_with_parent)
        self.binary = find_agent(binary)
        self.arguments = list(arguments)
        self.config = config

    @property
    def config_path(self) -> Path:
        """The configuration file: yours, or the one that is written of the mapping."""
        if isinstance(self.config, Mapping):
            return self.folder / "config.toml"
        return Path(self.config)

    @property
    def addresses(self) -> list[str]:
        """Where it listens for HAProxy, with the ports that the system chose."""
        return [str(line.fields.get("address")) for line in self.logs() if line.message == "listening for HAProxy"]

    @property
    def admin_url(self) -> str:
        """Where `/ledger`, `/metrics` and the like are, for example `http://127.0.0.1:12346`."""
        url = self._admin_url()
        if url is None:
            raise AgentError("the agent has not told where its admin server is: is admin.listen set, and log.level info?")
        return url

    @property
    def journal_dir(self) -> Path:
        """The directory of its journal."""
        for line in self.logs():
            if line.message == _READY and "journal" in line.fields:
                return Path(str(line.fields["journal"]))
        raise AgentError("the agent has not told where its journal is: is it ready, and log.level info?")

    def ledger(self) -> dict[str, Any]:
        """The account of every follower."""
        return dict(json.loads(self.fetch("/ledger")))

    def ambiguous(self, *, settled: bool = False) -> list[dict[str, Any]]:
        """What may differ on the shadow; with `settled` also what was ambiguous once."""
        lines = self.fetch("/ambiguous?all" if settled else "/ambiguous").splitlines()
        return [dict(json.loads(line)) for line in lines]

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether it can capture, and if not, why."""
        said = json.loads(self._request("/readyz", (200, 503)))
        return bool(said["ready"]), [str(reason) for reason in said["reasons"]]

    def metrics(self) -> list[Sample]:
        """Every sample of `/metrics`."""
        return parse_metrics(self.fetch("/metrics").decode())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels. 0 when there are none."""
        wanted = labels.items()
        return sum(sample.value for sample in self.metrics() if sample.name == name and wanted <= sample.labels.items())

    def fetch(self, path: str) -> bytes:
        """What its admin server answers to a GET."""
        return self._request(path, (200,))

    def exchanges(self, **options: Any) -> ExchangeReader:
        """What its journal holds: `read_journal(agent.journal_dir, **options)`."""
        return read_journal(self.journal_dir, **options)

    def pairs(self, **options: Any) -> PairReader:
        """The pairs that its journal holds (`shadow.pairs = "journal"`): `read_pairs(agent.journal_dir, **options)`."""
        return read_pairs(self.journal_dir, **options)

    def reload(self) -> None:
        """Has it read its rules, credentials and certificates again (SIGHUP)."""
        self.send_signal(signal.SIGHUP)

    def _command(self) -> list[str]:
        if isinstance(self.config, Mapping):
            self._write_config(_toml.written(self.config))
        return [self.binary, "run", "--config", str(self.config_path), "--log-format", "json", *self.arguments]

    def _write_config(self, text: str) -> None:
        # It may hold names of files with secrets, and lies in a directory that others may read.
        with open(self.config_path, "w", encoding="utf-8", opener=_private) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)

    def _is_ready(self) -> bool:
        logs = self.logs()
        if any(line.message == _READY for line in logs):
            return _told_admin_url(logs) is None or self.readiness()[0]
        if any(line.level == "INFO" for line in logs) or self._configured_admin_url() is None:
            return False
        # It says too little: perhaps it is ready, and has not said so. The admin server is there before the listeners are.
        listen = [address for address in self._configured_listen() if not address.endswith(":0")]
        return self.readiness()[0] and all(SpopClient.health_check(address) for address in listen)

    def _configured_listen(self) -> list[str]:
        server = self.config.get("server") if isinstance(self.config, Mapping) else None
        listen = server.get("listen", _LISTEN) if isinstance(server, Mapping) else _LISTEN
        return [listen] if isinstance(listen, str) else [str(address) for address in listen]

    def _admin_url(self) -> Optional[str]:
        return _told_admin_url(self.logs()) or self._configured_admin_url()

    def _configured_admin_url(self) -> Optional[str]:
        """Of an agent that logs too little to tell."""
        admin = self.config.get("admin") if isinstance(self.config, Mapping) else None
        listen = admin.get("listen") if isinstance(admin, Mapping) else None
        if not isinstance(listen, str) or re.search(r":[1-9]\d*$", listen) is None:
            return None
        return f"http://{listen}"

    def _ended(self) -> SpoaError:
        if self.exit_code == _USAGE:
            lines = [line.text for line in self.logs() if not line.level and line.text.strip()]
            return ConfigError(lines or ["the configuration is wrong"])
        return super()._ended()

    def _request(self, path: str, expected: Sequence[int]) -> bytes:
        url = self.admin_url + path
        try:
            with _DIRECT.open(url, timeout=_HTTP_TIMEOUT) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()
            if error.code in expected:
                return body
            said = body.decode(errors="replace").strip()
            raise AgentError(f"{url} answered {error.code}: {said}") from None
        except urllib.error.URLError as error:
            if not self.alive:
                raise self._ended() from None
            raise AgentUnreachable(f"{url} does not answer: {error.reason}") from error


class AgentUnreachable(AgentError, OSError):
    """The agent's admin server does not answer."""


def find_agent(binary: Optional[AnyPath] = None) -> str:
    """The path of the `spoa-agent` program that the functions of this package run."""
    return find_program("spoa-agent", binary, AGENT_VARIABLE, beside_the_package("spoa-agent"))


def parse_metrics(text: str) -> list[Sample]:
    """The samples of an OpenMetrics text.

    >>> parse_metrics('# TYPE a counter\\na_total{why="x",of="y"} 4\\n# EOF\\n')
    [Sample(name='a_total', labels={'why': 'x', 'of': 'y'}, value=4.0)]
    """
    samples = []
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.fullmatch(line)
        if match:
            labels = {name: _unescaped(value) for name, value in _LABEL.findall(match[2] or "")}
            samples.append(Sample(match[1], labels, float(match[3])))
    return samples


def _told_admin_url(logs: Sequence[LogLine]) -> Optional[str]:
    for line in logs:
        if line.message.startswith("serving /metrics") and "address" in line.fields:
            return f"http://{line.fields['address']}"
    return None


def _unescaped(value: str) -> str:
    return re.sub(r"\\.", lambda match: _ESCAPES.get(match[0], match[0]), value)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


# The agent is asked directly, whatever proxies the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
