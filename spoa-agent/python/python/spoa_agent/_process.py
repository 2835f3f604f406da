"""Child processes that end with us, and whose last words are in the errors."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Optional, TypeVar, Union

from .errors import AgentError, SpoaError

AnyPath = Union[str, "os.PathLike[str]"]
Self = TypeVar("Self", bound="Process")

#: Names the program that this package runs as the agent.
AGENT_VARIABLE = "SPOA_AGENT_BINARY"

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_LAST_WORDS = 12
_PAUSE = 0.02


@dataclass(frozen=True)
class LogLine:
    """A line of a process's log."""

    #: The line as it was written.
    text: str
    #: `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`; empty when the line is not one of the agent's JSON lines.
    level: str = ""
    #: What happened.
    message: str = ""
    #: Everything else that the line says, by name.
    fields: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> LogLine:
        try:
            said = json.loads(text)
        except ValueError:
            return cls(text, message=text)
        if not isinstance(said, dict):
            return cls(text, message=text)
        level, message = str(said.pop("level", "")), str(said.pop("message", ""))
        return cls(text, level, message, said)


class Process:
    """A child process. As a context manager it is started, awaited until it is ready, and stopped however the block ends.

    What it writes is kept in `log_path` and `output_path`, in `folder`: a directory of yours, or one that goes when this
    object does. It is in a session of its own, so that Ctrl-C reaches you alone; it is ended with this object at the latest. When you
    are killed, nothing of yours runs any more: with `end_with_parent` the kernel ends it then, and when the thread that started it ends.
    """

    #: What messages call it.
    name = "process"

    def __init__(
        self,
        *,
        folder: Optional[AnyPath] = None,
        env: Optional[Mapping[str, str]] = None,
        ready_timeout: float = 30.0,
        stop_timeout: float = 30.0,
        end_with_parent: bool = False,
    ) -> None:
        if folder is None:
            made = tempfile.mkdtemp(prefix="spoa-agent-")
            weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
            folder = made
        self.folder = Path(folder).absolute()
        self.ready_timeout = ready_timeout
        self.stop_timeout = stop_timeout
        self.end_with_parent = end_with_parent
        self._given_env = dict(env or {})
        self._env: dict[str, str] = {}
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._log_start = 0

    def __enter__(self: Self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self.alive and self._process else "not running"
        return f"<{type(self).__name__} {state}, folder {str(self.folder)!r}>"

    def start(self: Self) -> Self:
        """Starts it, and does not wait. After `stop` or `kill` it may be started again; the log goes on."""
        if self.alive:
            raise AgentError(f"{self.name} runs already, with pid {self.pid}")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self._command()
        self._env = {**environment(), **self._given_env}
        with self._append(self.log_path) as log, self._append(self.output_path) as output:
            self._log_start = log.tell()
            self._process = self._spawn(command, output, log)
        weakref.finalize(self, _end, self._process, self.stop_timeout)
        return self

    def wait_ready(self, timeout: Optional[float] = None) -> None:
        """Until it does what it is for. An `AgentError` with its last words when it ends instead, or takes too long."""
        self.wait_until(self._is_ready, self.ready_timeout if timeout is None else timeout, "it is ready")

    def wait_until(self, condition: Callable[[], bool], timeout: float, what: str = "the condition holds") -> None:
        """Until the condition holds; one that raises an `OSError` does not hold yet. Fails when the process ends meanwhile."""
        deadline = time.monotonic() + timeout
        while not _holds(condition):
            if not self.alive:
                raise self._ended()
            if time.monotonic() > deadline:
                raise AgentError(f"waited {timeout:g} s in vain for {self.name} until {what}{self._last_words()}")
            time.sleep(_PAUSE)

    def stop(self, timeout: Optional[float] = None) -> Optional[int]:
        """Asks it to end in order (SIGTERM), and kills it when it has not within `timeout`. Returns its exit code."""
        if self._process is None:
            return None
        return _end(self._process, self.stop_timeout if timeout is None else timeout, self._ask_to_end)

    def kill(self) -> None:
        """Ends it at once (SIGKILL), as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout: Optional[float] = None) -> int:
        """Until it ends by itself. Returns its exit code."""
        try:
            return self._running().wait(timeout)
        except subprocess.TimeoutExpired:
            raise AgentError(f"{self.name} still runs after {timeout:g} s") from None

    def send_signal(self, number: int) -> None:
        """Sends it a signal."""
        self._running().send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, also when it has ended."""
        return self._running().pid

    @property
    def exit_code(self) -> Optional[int]:
        """`None` while it runs, or when it was never started; negative when a signal ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def log_path(self) -> Path:
        """The file with its standard error."""
        return self.folder / f"{self.name}.log"

    @property
    def output_path(self) -> Path:
        """The file with its standard output."""
        return self.folder / f"{self.name}.out"

    def logs(self) -> list[LogLine]:
        """Its log since it was started last."""
        return [LogLine.read(line) for line in self._log_lines()]

    def cpu_seconds(self) -> float:
        """User and system time until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """The memory that it has in RAM."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _ask_to_end(self) -> None:
        self._running().terminate()

    def _ended(self) -> SpoaError:
        """The error for a process that is not there any more."""
        return AgentError(f"{self.name} ended early, {_manner(self.exit_code)}{self._last_words()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AgentError(f"{self.name} was not started")
        return self._process

    def _log_lines(self) -> list[str]:
        try:
            with self.log_path.open("rb") as log:
                log.seek(self._log_start)
                return log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _last_words(self) -> str:
        lines = [_readable(line) for line in self.logs()[-_LAST_WORDS:]]
        return "".join(f"\n  {line}" for line in lines)

    def _append(self, path: Path) -> IO[bytes]:
        # A log may tell names of indices and documents: nobody else needs to read it.
        return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))

    def _spawn(self, command: Sequence[str], output: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        options = {"preexec_fn": _ask_to_end_with_parent} if self.end_with_parent else {}
        return spawn(self.name, command, stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=self._env, **options)


def environment() -> dict[str, str]:
    """Our environment for a child. The agent refuses variables of its own prefix that it does not know, and this one is ours."""
    return {name: value for name, value in os.environ.items() if name != AGENT_VARIABLE}


def spawn(name: str, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own."""
    try:
        return subprocess.Popen(command, start_new_session=True, **options)
    except OSError as error:
        raise AgentError(f"cannot start {name}: {command[0]}: {error.strerror or error}") from error


def find_program(name: str, given: Optional[AnyPath], variable: str, more: Sequence[Path] = ()) -> str:
    """The path of a program: as given, from the environment, beside this package, or from PATH."""
    named = os.fspath(given) if given is not None else os.environ.get(variable)
    if named:
        found = shutil.which(named, path=_search_path())
        if found is None:
            origin = "binary" if given is not None else variable
            raise AgentError(f"{origin} is {named!r}, and there is no such program; name the path of {name}")
        return os.path.abspath(found)
    for path in more:
        if os.access(path, os.X_OK) and path.is_file():
            return str(path)
    found = shutil.which(name, path=_search_path())
    if found is None:
        raise AgentError(f"there is no {name} on PATH; name its path with binary= or the environment variable {variable}")
    return found


def beside_the_package(name: str) -> list[Path]:
    """Where a program lies that was installed along with this package."""
    return [Path(__file__).parent / "bin" / name, Path(sys.executable).parent / name]


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _search_path() -> str:
    # Where Debian has daemons, and a user's PATH may not.
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


def _ask_to_end_with_parent() -> None:
    # In the child, before it becomes another program.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes], timeout: float, ask: Optional[Callable[[], None]] = None) -> int:
    if process.poll() is None:
        try:
            (ask or process.terminate)()
            process.wait(timeout)
        except BaseException as error:
            process.kill()
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    return process.returncode


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except OSError:
        return False


def _readable(line: LogLine) -> str:
    if not line.level:
        return line.text
    more = {name: value for name, value in line.fields.items() if name not in ("timestamp", "target")}
    return " ".join([line.level, line.message, *(f"{name}={value}" for name, value in more.items())])


def _manner(code: Optional[int]) -> str:
    if code is not None and code < 0:
        try:
            return f"by {signal.Signals(-code).name}"
        except ValueError:
            return f"by signal {-code}"
    return f"with exit code {code}"
