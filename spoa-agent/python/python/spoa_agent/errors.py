"""What can go wrong: one small tree. Every error of this package is a `SpoaError`.

>>> from spoa_agent import ConfigError, HaproxyConfig, SpoaError
>>> try:
...     HaproxyConfig(nodes=["10.0.0.1"], agent="nowhere").render()
... except ConfigError as error:
...     isinstance(error, SpoaError), len(error.problems)
(True, 2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

__all__ = ["AgentError", "ConfigError", "JournalError", "ProtocolError", "ReplayError", "SpoaError"]


class SpoaError(Exception):
    """Whatever this package refuses or fails at."""


class ConfigError(SpoaError):
    """Options or a configuration are wrong. All mistakes are told at once."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        #: One mistake each, with the way out.
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class AgentError(SpoaError):
    """A process did not start, ended early, or did not answer. The message ends with its own last words."""


class JournalError(SpoaError):
    """A journal or a log cannot be read, or holds what no exchange or pair can be made of."""


class ProtocolError(SpoaError):
    """The peer broke the protocol, or left with a DISCONNECT."""

    def __init__(self, message: str, status: Optional[int] = None) -> None:
        super().__init__(message)
        #: The SPOP status code of a DISCONNECT, if there was one.
        self.status = status


class ReplayError(SpoaError):
    """A replay could not begin, or failed on the way."""

    def __init__(self, message: str, exit_code: Optional[int] = None, report: Any = None) -> None:
        super().__init__(message)
        #: How `spoa-agent replay` ended.
        self.exit_code = exit_code
        #: The `ReplayReport`, when the replay came so far as to write one.
        self.report = report
