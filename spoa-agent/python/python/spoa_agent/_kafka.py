"""Whether the brokers can be reached as the agent would reach them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Optional, Union

from ._agent import find_agent
from ._process import AnyPath, environment
from .errors import AgentError, ConfigError


@dataclass(frozen=True)
class KafkaFinding:
    """One judgement of `spoa-agent kafka-check`."""

    verdict: Literal["ok", "note", "warning", "error"]
    #: Where on the way it was found: `bootstrap`, `tls`, `login`, `cluster`, `listener`, `topic` or `probe`.
    step: str
    #: The address, broker or topic.
    about: str
    #: A word for programs, which stays the same from version to version.
    code: str
    #: What was found, in a line.
    says: str
    #: Why that is, and what to do.
    advice: list[str]
    #: Settings that would put it right: for which case, and the lines.
    remedies: list[tuple[str, list[str]]]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> KafkaFinding:
        """From JSON."""
        remedies = [(str(one["case"]), [str(line) for line in one["lines"]]) for one in raw.get("remedies", [])]
        advice = [str(sentence) for sentence in raw.get("advice", [])]
        return cls(raw["verdict"], raw["step"], raw["about"], raw["code"], raw["says"], advice, remedies)


@dataclass(frozen=True)
class KafkaFindings:
    """What `spoa-agent kafka-check` found. As a condition: whether the agent could deliver."""

    #: 0 when it could; what the other codes mean is in `spoa-agent kafka-check --help`.
    exit_code: int
    #: What hinders the agent first: `unreachable`, `listener`, `authentication` or `topic`.
    hindrance: Optional[str]
    findings: list[KafkaFinding]
    #: The whole document: all that was seen, too.
    raw: dict[str, Any]

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def errors(self) -> list[KafkaFinding]:
        """The findings for which the agent could not deliver."""
        return [finding for finding in self.findings if finding.verdict == "error"]


def kafka_check(
    bootstrap: Union[None, str, Sequence[str]] = None,
    *,
    config: Optional[AnyPath] = None,
    probe: Union[bool, int] = False,
    timeout: float = 120.0,
    arguments: Sequence[str] = (),
    binary: Optional[AnyPath] = None,
) -> KafkaFindings:
    """Whether the agent could deliver to the brokers `bootstrap` (`host:port`, one or several), or to those of a configuration file.

    It writes nothing, unless `probe` asks for messages, or for so many. `arguments` are more flags of `spoa-agent kafka-check`.

        findings = kafka_check("broker:9092", arguments=["--kafka-security", "tls"])
        for error in findings.errors:
            print(error.says, *error.advice)
    """
    command = [find_agent(binary), "kafka-check", "--json", *arguments]
    if bootstrap is not None:
        command += ["--bootstrap", bootstrap if isinstance(bootstrap, str) else ",".join(bootstrap)]
    if config is not None:
        command += ["--config", str(config)]
    if probe:
        command.append("--probe" if probe is True else f"--probe={probe}")
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, env=environment())
    except subprocess.TimeoutExpired:
        raise AgentError(f"`spoa-agent kafka-check` did not end within {timeout:g} s") from None
    except OSError as error:
        raise AgentError(f"cannot run {command[0]}: {error.strerror or error}") from error
    said = done.stderr.decode(errors="replace").strip()
    try:
        raw = json.loads(done.stdout)
    except ValueError:
        raw = None
    if isinstance(raw, dict):
        findings = [KafkaFinding.of(one) for one in raw.get("findings", [])]
        return KafkaFindings(done.returncode, raw.get("hindrance"), findings, raw)
    if done.returncode == 2:
        raise ConfigError(said.splitlines() or ["the arguments are wrong"])
    raise AgentError(f"`spoa-agent kafka-check` ended with exit code {done.returncode} and no findings: {said}")
