"""Whether the brokers can be reached as the agent would reach them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from ._agent import find_agent
from ._process import AnyPath, environment
from .errors import AgentError, ConfigError


@dataclass(frozen=True)
class KafkaFindings:
    """What `spoa-agent kafka-check` found."""

    #: 0 when all is well; what the other codes mean is in `spoa-agent kafka-check --help`.
    exit_code: int
    #: The findings as JSON.
    raw: dict[str, Any]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return self.exit_code == 0

    def __bool__(self) -> bool:
        return self.is_well


def kafka_check(
    bootstrap: Union[None, str, Sequence[str]] = None,
    *,
    config: Optional[AnyPath] = None,
    timeout: float = 120.0,
    arguments: Sequence[str] = (),
    binary: Optional[AnyPath] = None,
) -> KafkaFindings:
    """Checks the brokers `bootstrap` (`host:port`, one or several), or those of a configuration file.

    findings = kafka_check("broker:9092")
    if not findings:
        print(findings.raw)
    """
    command = [find_agent(binary), "kafka-check", "--json", *arguments]
    if bootstrap is not None:
        command += ["--bootstrap", bootstrap if isinstance(bootstrap, str) else ",".join(bootstrap)]
    if config is not None:
        command += ["--config", str(config)]
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
        return KafkaFindings(done.returncode, raw)
    if done.returncode == 2:
        raise ConfigError(said.splitlines() or ["the arguments are wrong"])
    raise AgentError(f"`spoa-agent kafka-check` ended with exit code {done.returncode} and no findings: {said}")
