"""A replay as a child process, with its figures while it runs and at its end."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, Optional, Union

from ._agent import find_agent
from ._process import AnyPath, Process
from ._units import Duration, microseconds
from .errors import AgentError, ConfigError, ReplayError

When = Union[datetime, str]

_PAUSE = 0.05
_TALK_TIMEOUT = 10.0
_OUTCOMES: dict[int, Literal["complete", "stopped", "dropped"]] = {0: "complete", 5: "stopped", 6: "dropped"}


@dataclass(frozen=True)
class Spread:
    """How a duration was distributed, in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float


@dataclass(frozen=True)
class TargetFigures:
    """What became of the exchanges at one target."""

    target: str
    #: Exchanges read, and their sum: delivered + filtered + dropped + in flight + not done.
    read: int
    #: By the class of the answer's status: `2xx`, `4xx`.
    delivered: dict[str, int]
    #: Left out as meant, by reason.
    filtered: dict[str, int]
    #: Lost, by reason.
    dropped: dict[str, int]
    in_flight: int
    not_done: int
    balanced: bool
    #: Answers with another class of status than the primary's.
    other_status_class: int
    retried: int
    #: Documents that may differ.
    ambiguous: int
    #: How much of the source was read, in bytes; the whole is not known of a pipe.
    bytes_read: int
    bytes_total: Optional[int]
    #: Where in the capture the target is.
    capture_time: Optional[datetime]
    lag_ms: float
    is_down: bool
    is_over: bool
    #: By how much requests were begun too late.
    slip: Spread
    #: From when a request was due to its answer.
    response: Spread
    #: From when a request was sent to its answer.
    service: Spread
    #: The same as JSON, with what has no name here.
    raw: dict[str, Any]

    @property
    def done(self) -> int:
        """Exchanges with an end: delivered, filtered or dropped."""
        return sum(sum(counts.values()) for counts in (self.delivered, self.filtered, self.dropped))

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> TargetFigures:
        run = raw["this_run"]
        time_of_capture = raw.get("capture_time")
        return cls(
            target=raw["target"],
            read=raw["read"],
            delivered=dict(raw["delivered"]),
            filtered=dict(raw["filtered"]),
            dropped=dict(raw["dropped"]),
            in_flight=raw["in_flight"],
            not_done=raw["not_done"],
            balanced=raw["balanced"],
            other_status_class=raw["other_status_class_than_primary"],
            retried=raw["retried"],
            ambiguous=raw["ambiguous"],
            bytes_read=raw["bytes_read"],
            bytes_total=raw["bytes"],
            capture_time=None if time_of_capture is None else _time(time_of_capture),
            lag_ms=raw["lag_ms"],
            is_down=raw["down"],
            is_over=raw["over"],
            slip=Spread(**run["slip"]),
            response=Spread(**run["response"]),
            service=Spread(**run["service"]),
            raw=dict(raw),
        )


@dataclass(frozen=True)
class ReplayProgress:
    """A replay while it runs."""

    paused: bool
    #: For example `8x`, or `max`. At the end, the last one that was told.
    speed: str
    stopping: bool
    targets: list[TargetFigures]


@dataclass(frozen=True)
class ReplayReport:
    """A replay at its end."""

    #: `dropped` when some exchanges could not be sent; `stopped` when it was stopped before its end.
    outcome: Literal["complete", "stopped", "dropped"]
    targets: list[TargetFigures]
    #: What may differ on the targets, as the agent lists it.
    ambiguous: list[dict[str, Any]]
    #: What the agent wrote.
    raw: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """Everything was sent, or not meant to be."""
        return self.outcome == "complete"


class Replay(Process):
    """A replay that runs beside you: `with Replay(...) as running: running.pause()`. `replay` is the short way."""

    name = "replay"

    def __init__(
        self,
        from_: Union[AnyPath, Sequence[AnyPath]],
        to: Union[str, Sequence[str]],
        *,
        speed: Union[float, Literal["max"]] = 1,
        rate: Optional[float] = None,
        max_gap: Optional[Duration] = None,
        since: Optional[When] = None,
        until: Optional[When] = None,
        limit: Optional[int] = None,
        anchor_dates: bool = False,
        ahead: Optional[Duration] = None,
        state: Optional[AnyPath] = None,
        restart: bool = False,
        force: bool = False,
        connections: Optional[int] = None,
        response_timeout: Optional[Duration] = None,
        host: Optional[str] = None,
        id_header: Optional[str] = None,
        order: Optional[Literal["causal", "connection", "none"]] = None,
        refused: Optional[Literal["leave", "send"]] = None,
        rules: Optional[AnyPath] = None,
        pairs: Optional[AnyPath] = None,
        credentials: Optional[Literal["basic", "api-key", "bearer", "sigv4"]] = None,
        credentials_file: Optional[AnyPath] = None,
        ca_file: Optional[AnyPath] = None,
        insecure: bool = False,
        arguments: Sequence[str] = (),
        binary: Optional[AnyPath] = None,
        folder: Optional[AnyPath] = None,
        env: Optional[Mapping[str, str]] = None,
        end_with_parent: bool = False,
    ) -> None:
        super().__init__(folder=folder, env=env, end_with_parent=end_with_parent)
        self.binary = find_agent(binary)
        self._speed = ""
        # A socket's path has 107 bytes at most, and `folder` may be deep.
        self._short = tempfile.TemporaryDirectory(prefix="spoa-")
        given: list[tuple[str, object]] = [
            ("speed", None if rate is not None else speed),
            ("rate", rate),
            ("max-gap", _duration("max_gap", max_gap)),
            ("from-time", _when(since)),
            ("until-time", _when(until)),
            ("limit", limit),
            ("ahead", _duration("ahead", ahead)),
            ("state", state),
            ("connections", connections),
            ("response-timeout", _duration("response_timeout", response_timeout)),
            ("host", host),
            ("id-header", id_header),
            ("order", order),
            ("refused", refused),
            ("rules", rules),
            ("pairs", pairs),
            ("credentials", credentials),
            ("credentials-file", credentials_file),
            ("ca-file", ca_file),
            ("control", self.control_path),
            ("report", self.report_path),
        ]
        flags = {"anchor-dates": anchor_dates, "restart": restart, "force": force, "insecure": insecure}
        self.arguments = [f"--from={_source(source)}" for source in _list(from_)]
        self.arguments += [f"--to={target}" for target in _list(to)]
        self.arguments += [f"--{name}={_text(value)}" for name, value in given if value is not None]
        self.arguments += [f"--{name}" for name, is_set in flags.items() if is_set]
        self.arguments += arguments

    @property
    def control_path(self) -> Path:
        """The socket that takes commands."""
        return Path(self._short.name) / "control"

    @property
    def report_path(self) -> Path:
        """The file that the report is written to."""
        return self.folder / "report.json"

    def progress(self) -> ReplayProgress:
        """The figures of this moment."""
        return self._say("status")

    def pause(self) -> ReplayProgress:
        """Sends nothing more until `resume`."""
        return self._say("pause")

    def resume(self) -> ReplayProgress:
        """Goes on where it paused."""
        return self._say("resume")

    def set_speed(self, speed: Union[float, Literal["max"]]) -> ReplayProgress:
        """How many times as fast as captured, from now on."""
        return self._say(f"speed {_text(speed)}")

    def finish(self, progress: Optional[Callable[[ReplayProgress], object]] = None, interval: float = 0.5) -> ReplayReport:
        """Waits for the end, calling `progress` every `interval` seconds and once when all is done.

        An exception of the callback, or Ctrl-C, stops the replay in order: what is in flight is brought to an end.
        """
        try:
            self._watch(progress, interval)
        except BaseException:
            self.stop()
            raise
        report = self.report()
        if progress is not None:
            progress(ReplayProgress(False, self._speed, report.outcome == "stopped", report.targets))
        return report

    def report(self) -> ReplayReport:
        """The report of a replay that has ended. A `ReplayError` with its last words when it failed."""
        code = self.exit_code
        if code is None:
            raise ReplayError("the replay has not ended; wait for it with finish()")
        if code == 2:
            raise ConfigError([line.text for line in self.logs() if line.text.strip()] or ["the arguments are wrong"])
        raw = self._read_report()
        outcome = _OUTCOMES.get(code)
        if outcome is None or raw is None:
            raise ReplayError(f"the replay failed: {self._ended()}", code, raw)
        targets = [TargetFigures.of(target) for target in raw["targets"]]
        ambiguous = [{"target": target["target"], **line} for target in raw["targets"] for line in _lines(target)]
        return ReplayReport(outcome, targets, ambiguous, raw)

    def _watch(self, progress: Optional[Callable[[ReplayProgress], object]], interval: float) -> None:
        due = time.monotonic()
        while self.alive:
            if progress is not None and time.monotonic() >= due:
                due = time.monotonic() + interval
                self._tell(progress)
            time.sleep(_PAUSE)

    def _tell(self, progress: Callable[[ReplayProgress], object]) -> None:
        try:
            now = self.progress()
        except (AgentError, OSError):
            # It has not begun yet, or has just ended.
            return
        progress(now)

    def _command(self) -> list[str]:
        return [self.binary, "replay", *self.arguments]

    def _ask_to_end(self) -> None:
        try:
            self._say("stop")
        except (AgentError, ReplayError, OSError, ValueError):
            # It has not begun, and has nothing to bring to an end; or it has just ended.
            super()._ask_to_end()

    def _is_ready(self) -> bool:
        # A short replay may be over before anybody has looked.
        return not self.alive or self.control_path.exists()

    def _say(self, command: str) -> ReplayProgress:
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(_TALK_TIMEOUT)
            try:
                talk.connect(str(self.control_path))
            except OSError as error:
                raise AgentError(f"the replay takes no commands: {error.strerror or error}") from error
            talk.sendall(f"{command}\n".encode())
            with talk.makefile("rb") as answers:
                said = json.loads(answers.readline() or b'{"error": "it has ended"}')
        if "error" in said:
            raise ReplayError(f"the replay refuses {command!r}: {said['error']}")
        targets = [TargetFigures.of(target) for target in said["targets"]]
        self._speed = str(said["speed"])
        return ReplayProgress(said["paused"], self._speed, said["stopping"], targets)

    def _read_report(self) -> Optional[dict[str, Any]]:
        try:
            return dict(json.loads(self.report_path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return None


def replay(
    from_: Union[AnyPath, Sequence[AnyPath]],
    to: Union[str, Sequence[str]],
    *,
    progress: Optional[Callable[[ReplayProgress], object]] = None,
    interval: float = 0.5,
    **options: Any,
) -> ReplayReport:
    """Sends an old capture to one or several clusters, and returns what became of it.

    `from_` is the directory of a journal, or one or several traffic logs. The options are those of `Replay`, and mean what the flags of
    `spoa-agent replay` mean. `progress` is called every `interval` seconds with a `ReplayProgress`, and once at the end. Ctrl-C stops the
    replay in order: what is in flight is brought to an end, the state is saved, and `KeyboardInterrupt` goes on.

        report = replay("/srv/journal", "http://shadow:9200", speed=8, progress=lambda now: print(now.targets[0].done))
        assert report.is_complete
    """
    running = Replay(from_, to, **options)
    running.start()
    return running.finish(progress, interval)


def _source(source: AnyPath) -> str:
    text = os.fspath(source)
    if text.startswith(("journal:", "file:")):
        return text
    kind = "journal" if os.path.isdir(text) else "file"
    return f"{kind}:{os.path.abspath(text)}"


def _list(value: Union[AnyPath, Sequence[AnyPath]]) -> list[AnyPath]:
    return [value] if isinstance(value, (str, os.PathLike)) else list(value)


def _when(value: Optional[When]) -> Optional[str]:
    if value is None or isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ConfigError(f"{value!r} has no time zone; use datetime(..., tzinfo=timezone.utc)")
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _duration(name: str, value: Optional[Duration]) -> Optional[str]:
    if value is None or isinstance(value, str):
        return value
    return f"{microseconds(name, value) // 1000}ms"


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _time(text: str) -> datetime:
    # Python 3.9 and 3.10 read no `Z`.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _lines(target: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [line for line in target.get("ambiguous_list", []) if isinstance(line, dict)]
