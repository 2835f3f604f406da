"""The engine's client, as far as it is needed here."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class DockerError(Exception):
    """The client refused, or what was waited for did not come. The text is for people."""


@dataclass(frozen=True)
class Docker:
    """A client and the engine that it speaks to (none is the client's own choice)."""

    client: str
    host: str | None = None

    def environment(self) -> dict[str, str]:
        """What a program needs that calls the client itself."""
        chosen = {"DOCKER_HOST": self.host} if self.host else {}
        return {**os.environ, "DOCKER_BUILDKIT": "1", **chosen}

    def call(self, *arguments: str, fails: bool = False) -> str:
        """The output. With `fails`, a failure is an empty answer."""
        done = subprocess.run(
            [self.client, *arguments], check=False, capture_output=True, text=True, env=self.environment()
        )
        if done.returncode == 0:
            return done.stdout.strip()
        if fails:
            return ""
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise DockerError(f"docker {' '.join(arguments[:2])}: {said}")

    def show(self, *arguments: str) -> None:
        """With the output where ours goes."""
        done = subprocess.run([self.client, *arguments], check=False, env=self.environment())
        if done.returncode != 0:
            raise DockerError(f"docker {' '.join(arguments[:2])} failed with exit code {done.returncode}")

    def answers(self) -> bool:
        return self.call("version", "--format", "{{.Server.Version}}", fails=True) != ""

    def has_image(self, name: str) -> bool:
        return self.call("image", "inspect", "--format", "{{.Id}}", name, fails=True) != ""

    def image_megabytes(self, name: str) -> float:
        return int(self.call("image", "inspect", "--format", "{{.Size}}", name)) / 1e6


class Containers:
    """What one run makes: a network, containers and their volumes. All of it goes when the block ends."""

    def __init__(self, docker: Docker, prefix: str) -> None:
        self.docker = docker
        self.prefix = prefix
        self.network = f"{prefix}-network"
        self.started: list[str] = []

    def __enter__(self) -> Containers:
        self.docker.call("network", "create", self.network)
        return self

    def __exit__(self, *_: object) -> None:
        if self.started:
            self.docker.call("rm", "--force", "--volumes", *map(self.full, self.started), fails=True)
        self.docker.call("network", "rm", self.network, fails=True)

    def full(self, name: str) -> str:
        return f"{self.prefix}-{name}"

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
        self.started.append(name)
        self.docker.call(
            *("run", "--detach", "--name", self.full(name), "--hostname", name),
            *("--network", self.network, "--network-alias", name, *given, *options, image, *command),
        )

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

    def image_of(self, name: str) -> str:
        return self.docker.call("inspect", "--format", "{{.Config.Image}}", self.full(name))

    def state(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.docker.call("inspect", "--format", "{{json .State}}", self.full(name))))

    def health(self, name: str) -> str:
        return str(self.state(name).get("Health", {}).get("Status", "none"))

    def port(self, name: str, inside: int) -> int:
        """Where the host reaches it; another one after each start."""
        return int(self.docker.call("port", self.full(name), f"{inside}/tcp").splitlines()[0].rpartition(":")[2])

    def logs(self, name: str, lines: int) -> str:
        done = subprocess.run(
            [self.docker.client, "logs", "--tail", str(lines), self.full(name)],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.docker.environment(),
        )  # fmt: skip
        return done.stdout

    def check_running(self, name: str) -> None:
        state = self.state(name)
        if not state["Running"]:
            raise DockerError(f"{name} ended with exit code {state['ExitCode']}:\n{self.logs(name, 15)}")


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
