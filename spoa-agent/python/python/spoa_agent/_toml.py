"""Writes a nested mapping as TOML: the agent's configuration, and nothing more of the language."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ._units import microseconds
from .errors import ConfigError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def written(config: Mapping[str, Any]) -> str:
    """The mapping as text. Keys whose value is `None` are left out: the agent's default holds."""
    return "\n".join(_table((), config)) + "\n"


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    inner: list[tuple[tuple[str, ...], Mapping[str, Any]]] = []
    for name, value in table.items():
        if not isinstance(name, str):
            raise ConfigError(f"{'.'.join((*path, str(name)))}: a key is text, not {type(name).__name__}")
        if isinstance(value, Mapping):
            inner.append(((*path, name), value))
        elif value is not None:
            yield f"{_key(name)} = {_value((*path, name), value)}"
    for name_path, value in inner:
        yield f"[{'.'.join(map(_key, name_path))}]"
        yield from _table(name_path, value)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _value(path: tuple[str, ...], value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, timedelta):
        return _string(f"{microseconds('.'.join(path), value) // 1000}ms")
    if isinstance(value, (str, os.PathLike)):
        return _string(_text(path, value))
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return "[" + ", ".join(_value(path, item) for item in value) + "]"
    raise ConfigError(f"{'.'.join(path)} is of type {type(value).__name__}; use text, a number, a bool, a path or a list")


def _text(path: tuple[str, ...], value: Any) -> str:
    text = os.fspath(value)
    if isinstance(text, str):
        return text
    raise ConfigError(f"{'.'.join(path)} is a path in bytes; use text")


def _string(text: str) -> str:
    # What JSON escapes, TOML escapes the same way; DEL it must, and JSON need not. Half of a surrogate pair is no text.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{text!r} is not Unicode text: {error.reason}") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
