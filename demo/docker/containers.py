"""The engine's client, and what one run makes with it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LABEL = "spoa-agent.demo"


class DockerError(Exception):
    """The client refused, or what was waited for did not come. The text is for people."""


def silent(_: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Docker:
    """A client and the engine that it speaks to (none is the client's own choice). `announce` is told what changes something."""

    client: str
    host: str | None = None
    announce: Callable[[str], None] = silent

    def environment(self) -> dict[str, str]:
        """What a program needs that calls the client itself."""
        chosen = {"DOCKER_HOST": self.host} if self.host else {}
        return {**os.environ, "DOCKER_BUILDKIT": "1", **chosen}

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Ctrl-C reaches us alone, so that what was begun is ended or undone."""
        command = [self.client, *arguments]
        try:
            return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  env=self.environment(), start_new_session=True)  # fmt: skip
        except OSError as error:
            return subprocess.CompletedProcess(command, 127, "", str(error))

    def call(self, *arguments: str, fails: bool = False) -> str:
        """The output. With `fails`, a failure is an empty answer."""
        done = self.attempt(*arguments)
        if done.returncode == 0:
            return done.stdout.strip()
        if fails:
            return ""
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise DockerError(f"docker {' '.join(arguments[:2])}: {said}")

    def change(self, *arguments: str) -> str:
        """As `call`, and announced."""
        self.announce(" ".join([self.client, *arguments]))
        return self.call(*arguments)

    def answers(self) -> bool:
        return self.call("version", "--format", "{{.Server.Version}}", fails=True) != ""

    def has_image(self, name: str) -> bool:
        return self.call("image", "inspect", "--format", "{{.Id}}", name, fails=True) != ""

    def image_megabytes(self, name: str) -> float:
        return int(self.call("image", "inspect", "--format", "{{.Size}}", name)) / 1e6


class Containers:
    """What one run makes: a network, containers and their volumes. All of it goes when the block ends, newest first, and nothing else.

    What is ours has a label, so what an interruption kept us from knowing is found too. `prefix` is for the names that all of
    the engine shares; in the network each container is known without it.
    """

    def __init__(self, docker: Docker, network: str, prefix: str = "", say: Callable[[str], None] = silent) -> None:
        self.docker = docker
        self.run_id = secrets.token_hex(6)
        self.label = f"{LABEL}={self.run_id}"
        self.network = f"{network}-{self.run_id}"
        self.prefix = prefix
        self.say = say
        self.started: list[str] = []

    def __enter__(self) -> Containers:
        try:
            self.docker.change("network", "create", "--label", self.label, self.network)
        except BaseException:
            self.remove_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove_all()

    def remove_all(self) -> None:
        """Goes on after a failure, and says what is left."""
        ours = ("--filter", f"label={self.label}")
        listed = self.docker.call("ps", "--all", *ours, "--format", "{{.ID}} {{.Names}}", fails=True)
        for line in listed.splitlines():
            id, _, name = line.partition(" ")
            self.say(f"Cleaning up {name}...")
            self.remove("rm", "--force", "--volumes", id)
        for id in self.docker.call("network", "ls", "--quiet", *ours, fails=True).split():
            self.remove("network", "rm", id)
        self.started.clear()

    def remove(self, *arguments: str) -> None:
        try:
            self.docker.change(*arguments)
        except DockerError as error:
            self.say(str(error))

    def full(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def run(
        self,
        name: str,
        image: str,
        *command: str,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts a container that the others find under `name`."""
        given = [part for item in (environment or {}).items() for part in ("--env", "=".join(item))]
        self.docker.change(
            *("run", "--detach", "--name", self.full(name), "--hostname", name, "--label", self.label),
            *("--network", self.network, "--network-alias", name, *given, *options, image, *command),
        )
        self.started.append(name)

    def move(self, name: str, image: str) -> None:
        """Gives it another address under the same name; the old one is taken by a container that does nothing."""
        self.docker.call("network", "disconnect", self.network, self.full(name))
        self.run(f"{name}-old-place", image, "infinity", options=("--entrypoint", "sleep"))
        self.docker.call("network", "connect", "--alias", name, self.network, self.full(name))

    def kill(self, name: str) -> None:
        self.docker.call("kill", self.full(name))

    def start(self, name: str) -> None:
        self.docker.call("start", self.full(name))

    def stop(self, name: str) -> int:
        """Ends it in order, and tells its exit code."""
        self.docker.call("stop", self.full(name))
        return int(self.state(name)["ExitCode"])

    def execute(self, name: str, *command: str) -> str:
        return self.docker.call("exec", self.full(name), *command)

    def succeeds(self, name: str, *command: str) -> bool:
        return self.docker.attempt("exec", self.full(name), *command).returncode == 0

    def command_in(self, name: str) -> list[str]:
        """What goes before a command that is to run in it."""
        host = ["--host", self.docker.host] if self.docker.host else []
        return [self.docker.client, *host, "exec", self.full(name)]

    def image_of(self, name: str) -> str:
        return self.docker.call("inspect", "--format", "{{.Config.Image}}", self.full(name))

    def state(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.docker.call("inspect", "--format", "{{json .State}}", self.full(name))))

    def health(self, name: str) -> str:
        return str(self.state(name).get("Health", {}).get("Status", "none"))

    def port(self, name: str, inside: int) -> int:
        """Where the host reaches it; another one after each start."""
        return int(self.docker.call("port", self.full(name), f"{inside}/tcp").splitlines()[0].rpartition(":")[2])

    def logs(self, name: str, lines: int) -> list[str]:
        done = self.docker.attempt("logs", "--tail", str(lines), self.full(name))
        return (done.stdout + done.stderr).splitlines()

    def is_running(self, name: str) -> bool:
        return self.docker.call("inspect", "--format", "{{.State.Running}}", self.full(name), fails=True) == "true"

    def check_running(self, *names: str) -> None:
        """Those, or all."""
        for name in names or self.started:
            if not self.is_running(name):
                said = "\n    ".join(self.logs(name, 15))
                raise DockerError(f"the container {self.full(name)} has ended:\n    {said}")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """A condition that cannot be asked does not hold."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
            why = ""
        except (OSError, ValueError, KeyError) as error:
            why = f" ({error})"
        if time.monotonic() > deadline:
            raise DockerError(f"waited {seconds:.0f} s in vain until {what}{why}")
        time.sleep(0.1)
