"""Child processes that never outlive us, free ports, and waiting for conditions."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import spoa_agent

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

# Below the range from which the system takes ports for outgoing connections.
PORTS = range(20_000, 32_000)


class StageError(Exception):
    """Something did not start, or ended early. The text is for people."""


class Interrupted(Exception):
    """A signal asks us to end."""


class Child(ABC):
    """A process of ours, and where its log is."""

    name: str
    log: Path

    @property
    @abstractmethod
    def pid(self) -> int: ...

    @abstractmethod
    def exit_code(self) -> int | None:
        """`None` while it runs."""

    @abstractmethod
    def stop(self, seconds: float) -> None:
        """Asks it to end, and ends it when it has not within this time."""

    def last_lines(self, count: int) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []

    def cpu_seconds(self) -> float:
        """User and system time until now, from /proc."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Program(Child):
    """Any command."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def exit_code(self) -> int | None:
        return self.process.poll()

    def stop(self, seconds: float) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


class Packaged(Child):
    """An agent or an HAProxy of the package."""

    def __init__(self, name: str, process: spoa_agent.Process) -> None:
        self.name = name
        self.process = process
        # HAProxy's own log is its output.
        self.log = process.output_path if isinstance(process, spoa_agent.Haproxy) else process.log_path

    @property
    def pid(self) -> int:
        return self.process.pid

    def exit_code(self) -> int | None:
        return self.process.exit_code

    def stop(self, seconds: float) -> None:
        self.process.stop(seconds)


class Processes:
    """All our children. As a context manager it ends them, newest first, however the block ends."""

    def __init__(
        self, folder: Path, stop_seconds: float = 15, announce: Callable[[str], None] = lambda command: None
    ) -> None:
        """`announce` is told each command before it is started."""
        self.folder = folder
        self.stop_seconds = stop_seconds
        self.announce = announce
        self.children: list[Child] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def start(
        self, name: str, *command: object, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> Program:
        """Its standard input stays open, and says nothing, as long as we live."""
        log = self.folder / f"{name.replace(' ', '-')}.out"
        arguments = [str(argument) for argument in command]
        self.announce(" ".join(arguments))
        with log.open("wb") as out:
            # A session of its own: Ctrl-C reaches us alone, and we end the children in order.
            process = subprocess.Popen(
                arguments,
                cwd=cwd,
                env=None if environment is None else {**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        child = Program(name, process, log)
        self.children.append(child)
        return child

    def start_packaged(self, name: str, process: spoa_agent.Process) -> Child:
        """Returns when it is ready."""
        self.announce(f"{name}: {process!r}")
        child = Packaged(name, process)
        self.children.append(child)
        process.start()
        process.wait_ready()
        return child

    def kill(self, child: Program) -> None:
        """SIGKILL, and gone, as in a crash. From now on it is none of ours."""
        child.process.kill()
        child.process.wait()
        if child.process.stdin:
            child.process.stdin.close()
        self.children.remove(child)

    def finish(self, child: Program, seconds: float) -> None:
        """Ends its standard input, which tells it to end by itself."""
        assert child.process.stdin is not None
        child.process.stdin.close()
        try:
            code = child.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise StageError(f"waited {seconds:.0f} s in vain for the end of {child.name}") from None
        if code != 0:
            self.check_alive()
        self.children.remove(child)

    def check_alive(self) -> None:
        for child in self.children:
            code = child.exit_code()
            if code is not None:
                said = "\n    ".join(child.last_lines(8))
                raise StageError(f"{child.name} ended early, with exit code {code}:\n    {said}")

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Fails when a child ends meanwhile. A condition that cannot be asked does not hold."""
        deadline = time.monotonic() + seconds
        while not holds(condition):
            self.check_alive()
            if time.monotonic() > deadline:
                raise StageError(f"waited {seconds:.0f} s in vain until {what}")
            time.sleep(0.02)

    def stop_all(self) -> None:
        while self.children:
            self.children.pop().stop(self.stop_seconds)


def holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except OSError:
        return False


def end_with_parent() -> None:
    """In the child: the kernel ends it when we are killed and cannot."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def raise_on_signals() -> None:
    """SIGINT, SIGTERM and SIGHUP become an exception, once, so that every cleanup runs undisturbed."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, _: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for number in numbers:
        signal.signal(number, interrupt)


# Ports that we were given and may not have taken yet.
handed_out: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Loopback ports on which nobody listens, and each only once."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            handed_out.update(found)
            return found
        if port in handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    raise StageError(f"fewer than {count} free ports from {PORTS.start} to {PORTS.stop} on 127.0.0.1")


def port_or_another(host: str, wanted: int) -> tuple[int, str]:
    """The wanted port, or a free one and why; 0 wants any."""
    if wanted == 0:
        return free_ports(1)[0], ""
    if wanted in handed_out:
        return free_ports(1)[0], "is taken by another part of the demo"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            reasons = {errno.EADDRINUSE: "is taken", errno.EACCES: "is not permitted for this user"}
            return free_ports(1)[0], reasons.get(error.errno or 0, f"cannot be had ({error.strerror})")
    handed_out.add(wanted)
    return wanted, ""


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def fetch(url: str) -> bytes:
    """The body of a GET; an `OSError` when there is none, or its status is not 200."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())
