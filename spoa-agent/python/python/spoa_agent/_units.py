"""Durations and sizes as the agent's own configuration writes them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Union

from .errors import ConfigError

Duration = Union[timedelta, float, int, str]
Size = Union[int, str]

_NUMBER = re.compile(r"(\d+)\s*([a-zA-Z]*)", re.ASCII)
_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def microseconds(name: str, value: Duration) -> int:
    """A `timedelta`, seconds as a number, or text such as `250ms`, in microseconds."""
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, str):
        return _read(name, value, _MICROSECONDS, "a duration such as 250ms, 5s or 10m")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise ConfigError(f"{name} {value!r} is no duration; write seconds, a timedelta, or text such as 250ms")
    return round(value * 1_000_000)


def number_of_bytes(name: str, value: Size) -> int:
    """A number of bytes, or text such as `256KiB`."""
    if isinstance(value, str):
        return _read(name, value, _BYTES, "a size such as 256KiB, 1MB or 1048576")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} {value!r} is no size; write bytes, or text such as 256KiB")
    return value


def _read(name: str, text: str, units: dict[str, int], expected: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ConfigError(f"{name} {text!r} is not understood; write {expected}")
    return int(match[1]) * unit
