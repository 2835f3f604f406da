"""HAProxy: its configuration for capturing, and HAProxy itself as a child process."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Optional, Union

from ._native import haproxy_files
from ._process import AnyPath, Process, accepts, find_program
from ._units import Duration, Size, microseconds, number_of_bytes
from .errors import AgentError, ConfigError, SpoaError

Texts = Union[str, int, Sequence[Union[str, int]]]

_CHECK_TIMEOUT = 60.0
_BIND = re.compile(r"^\s*bind\s+(\S+)", re.MULTILINE)


class HaproxyConfig:
    """The options of HAProxy's configuration for capturing. Those that are left out have the default of `spoa-agent haproxy-config`.

    >>> config = HaproxyConfig(listen=9200, nodes=["10.0.0.1:9200", "https://[2001:db8::1]:9200"], body_limit="512KiB")
    >>> sorted(config.render())
    ['haproxy.cfg', 'spoe.cfg']
    >>> "bind *:9200" in config.render()["haproxy.cfg"]
    True
    """

    def __init__(
        self,
        *,
        role: Literal["primary", "shadow"] = "primary",
        listen: Optional[Texts] = None,
        tls_listen: Optional[Texts] = None,
        certificate: Optional[AnyPath] = None,
        client_ca_file: Optional[AnyPath] = None,
        client_certificate_required: bool = False,
        nodes: Optional[Texts] = None,
        node_ca_file: Optional[AnyPath] = None,
        node_tls_insecure: bool = False,
        resolve_nodes: bool = False,
        node_check: bool = True,
        pass_node_failures: bool = False,
        set_headers: Sequence[str] = (),
        agent: Optional[str] = None,
        hold: Literal["off", "open", "closed"] = "off",
        extra_reads: Sequence[str] = (),
        skip_capture: Sequence[str] = (),
        body_limit: Optional[Size] = None,
        processing_timeout: Optional[Duration] = None,
        hold_timeout: Optional[Duration] = None,
        id_header: Optional[str] = None,
        threads: Optional[int] = None,
        max_connections: Optional[int] = None,
        connect_timeout: Optional[Duration] = None,
        client_timeout: Optional[Duration] = None,
        server_timeout: Optional[Duration] = None,
        http_request_timeout: Optional[Duration] = None,
        log: Optional[str] = None,
        stats_socket: Optional[AnyPath] = None,
        version: str = "auto",
        spoe_file: Optional[AnyPath] = None,
    ) -> None:
        given = {
            "role": role,
            "listen": _texts(listen),
            "tls_listen": _texts(tls_listen),
            "certificate": _path(certificate),
            "client_ca_file": _path(client_ca_file),
            "client_certificate_required": client_certificate_required,
            "nodes": _texts(nodes),
            "node_ca_file": _path(node_ca_file),
            "node_tls_insecure": node_tls_insecure,
            "resolve_nodes": resolve_nodes,
            "node_check": node_check,
            "pass_node_failures": pass_node_failures,
            "set_headers": list(set_headers),
            "agent": agent,
            "hold": hold,
            "extra_reads": list(extra_reads),
            "skip_capture": list(skip_capture),
            "body_limit": None if body_limit is None else number_of_bytes("body_limit", body_limit),
            "processing_timeout": _duration("processing_timeout", processing_timeout),
            "hold_timeout": _duration("hold_timeout", hold_timeout),
            "id_header": id_header,
            "threads": threads,
            "max_connections": max_connections,
            "connect_timeout": _duration("connect_timeout", connect_timeout),
            "client_timeout": _duration("client_timeout", client_timeout),
            "server_timeout": _duration("server_timeout", server_timeout),
            "http_request_timeout": _duration("http_request_timeout", http_request_timeout),
            "log": log,
            "stats_socket": _path(stats_socket),
            "version": version,
            "spoe_file": _path(spoe_file),
        }
        self._options: dict[str, object] = {name: value for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        return f"HaproxyConfig({', '.join(f'{name}={value!r}' for name, value in self._options.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HaproxyConfig) and self._options == other._options

    __hash__ = None  # type: ignore[assignment]

    def render(self) -> dict[str, str]:
        """Both files, by name. A `ConfigError` tells everything that is wrong with the options."""
        return self._render(self._options)

    def write(self, directory: AnyPath) -> list[Path]:
        """Writes both files to the directory, which is made when it is missing, and returns their paths.

        `haproxy.cfg` names `spoe.cfg` where it is written, unless `spoe_file` says otherwise.
        """
        folder = Path(directory).absolute()
        files = self._render({"spoe_file": str(folder / "spoe.cfg"), **self._options})
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, text in files.items():
            paths.append(folder / name)
            paths[-1].write_text(text, encoding="utf-8")
        return paths

    def validate(self, haproxy: Optional[AnyPath] = None) -> list[str]:
        """Has HAProxy check the files (`haproxy -c`). Returns its warnings; a `ConfigError` tells what it refuses."""
        with tempfile.TemporaryDirectory(prefix="spoa-agent-") as folder:
            options = {**self._options, "spoe_file": str(Path(folder) / "spoe.cfg")}
            for name, text in self._render(options).items():
                Path(folder, name).write_text(text, encoding="utf-8")
            return check_haproxy(Path(folder) / "haproxy.cfg", haproxy)

    @staticmethod
    def _render(options: Mapping[str, object]) -> dict[str, str]:
        haproxy_cfg, spoe_cfg = haproxy_files(dict(options))
        return {"haproxy.cfg": haproxy_cfg, "spoe.cfg": spoe_cfg}


class Haproxy(Process):
    """HAProxy as a child process, with a configuration of this package or another one.

    `config` is a `HaproxyConfig`, which is written to `folder`, or a directory with a `haproxy.cfg`. It is ready when all addresses of
    its `bind` lines take connections. The program is `binary`, or the environment's `HAPROXY_BINARY`, or the one on `PATH`.

        with Haproxy(HaproxyConfig(listen="127.0.0.1:9201", nodes=["127.0.0.1:9200"])) as haproxy:
            print(haproxy.url)
    """

    name = "haproxy"

    def __init__(
        self,
        config: Union[HaproxyConfig, AnyPath],
        *,
        binary: Optional[AnyPath] = None,
        arguments: Sequence[str] = (),
        folder: Optional[AnyPath] = None,
        env: Optional[Mapping[str, str]] = None,
        ready_timeout: float = 30.0,
        stop_timeout: float = 15.0,
        end_with_parent: bool = False,
    ) -> None:
        super().__init__(folder=folder, env=env, ready_timeout=ready_timeout, stop_timeout=stop_timeout, end_with_parent=end_with_parent)
        self.binary = find_haproxy(binary)
        self.arguments = list(arguments)
        self.config = config

    @property
    def config_path(self) -> Path:
        """The `haproxy.cfg` that it reads."""
        folder = self.folder if isinstance(self.config, HaproxyConfig) else Path(self.config).absolute()
        return folder / "haproxy.cfg"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: the `bind` lines of its configuration, and loopback for those that name no address."""
        return list(_bound(_BIND.findall(self.config_path.read_text(encoding="utf-8"))))

    @property
    def url(self) -> str:
        """The first of its addresses, for clients."""
        for host, port in self.addresses:
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        raise AgentError(f"{self.config_path} binds no TCP address")

    def _command(self) -> list[str]:
        if isinstance(self.config, HaproxyConfig):
            self.config.write(self.folder)
        check_haproxy(self.config_path, self.binary)
        # Otherwise whoever is there would be taken for this one.
        for host, port in self.addresses:
            if accepts(host, port):
                raise AgentError(f"somebody listens on {host} port {port} already; choose another port")
        return [self.binary, "-db", "-f", str(self.config_path), *self.arguments]

    def _is_ready(self) -> bool:
        return all(accepts(host, port) for host, port in self.addresses)

    def _ended(self) -> SpoaError:
        alerts = [line.text for line in self.logs() if "[ALERT]" in line.text]
        if self.exit_code == 1 and alerts:
            return ConfigError(alerts)
        return super()._ended()


def find_haproxy(binary: Optional[AnyPath] = None) -> str:
    """The path of the HAProxy that this package runs."""
    return find_program("haproxy", binary, "HAPROXY_BINARY")


def check_haproxy(path: AnyPath, binary: Optional[AnyPath] = None) -> list[str]:
    """Has HAProxy check a configuration file. Returns its warnings; a `ConfigError` tells what it refuses."""
    command = [find_haproxy(binary), "-c", "-f", os.fspath(path)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_CHECK_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError(f"cannot run {' '.join(command)}: {error}") from error
    lines = done.stderr.decode(errors="replace").splitlines()
    if done.returncode != 0:
        raise ConfigError([line for line in lines if "[ALERT]" in line] or lines or ["haproxy -c refused, without a word"])
    return [line for line in lines if "[WARNING]" in line]


def _bound(binds: Iterable[str]) -> Iterable[tuple[str, int]]:
    for address in ",".join(binds).split(","):
        host, _, port = address.rpartition(":")
        if port.isdigit() and not host.startswith(("/", "unix@")):
            yield _reachable(host), int(port)


def _reachable(host: str) -> str:
    bare = host.replace("ipv4@", "").replace("ipv6@", "").strip("[]")
    return {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare)


def _texts(values: Optional[Texts]) -> Optional[list[str]]:
    if values is None:
        return None
    if isinstance(values, (str, int)):
        return [str(values)]
    return [str(value) for value in values]


def _path(value: Optional[AnyPath]) -> Optional[str]:
    return None if value is None else os.fspath(value)


def _duration(name: str, value: Optional[Duration]) -> Optional[int]:
    return None if value is None else microseconds(name, value)
