"""Events as lines of JSON, and back."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from typing import Any

from tfgpu_tui.core.events import machine, monitor, program, run, training
from tfgpu_tui.core.events.base import Event

SCHEMA_VERSION = 1
DEEPEST = 100
"""Of objects and lists in each other: no event has ten, and every reader goes down into them."""

ALL_EVENTS: tuple[type[Event], ...] = (*run.EVENTS, *machine.EVENTS, *program.EVENTS, *training.EVENTS, *monitor.EVENTS)
BY_TYPE: dict[str, type[Event]] = {e.type: e for e in ALL_EVENTS}
"""Type of event -> its class."""
FIELDS: dict[str, frozenset[str]] = {e.type: frozenset(f.name for f in fields(e)) for e in ALL_EVENTS}
"""Type of event -> names of its fields."""


def encode(event: Event) -> str:
    """One JSON line without its newline. Raises ValueError on NaN or infinity: those are not JSON."""
    return json.dumps(
        {"v": SCHEMA_VERSION, "type": event.type, **asdict(event)}, separators=(",", ":"), allow_nan=False
    )


def from_dict(data: dict[str, Any]) -> Event | None:
    """The event of a decoded line; None for a type that this version does not know, or when a required field is
    missing or `data` is no event at all. Unknown fields are skipped."""
    kind = data.get("type")
    cls = BY_TYPE.get(kind) if isinstance(kind, str) else None
    if cls is None or not isinstance(data.get("t"), (int, float)):
        return None
    known = FIELDS[cls.type]
    try:
        return cls(**{k: v for k, v in data.items() if k in known})
    except TypeError:
        return None


def parse(line: str | bytes) -> dict[str, Any] | None:
    """The object of a JSON line; None for a line that is none, or nested beyond all use. Half of a surrogate pair,
    which is no character and can be written nowhere, becomes U+FFFD."""
    if isinstance(line, str):
        line = line.encode("utf-8", "surrogatepass")
    try:
        text = line.decode().strip()
        data, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or end != len(text):
        return None
    if line.count(b"[") + line.count(b"{") > DEEPEST and _deeper_than(DEEPEST, data):
        return None
    return _whole_characters(data) if b"\\ud" in line or b"\\uD" in line else data


_DECODER = json.JSONDecoder(parse_constant=lambda name: None)
"""NaN and Infinity are no numbers: what has them is not known."""


def _deeper_than(depth: int, data: Any) -> bool:
    level = [data]
    for _ in range(depth):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, (dict, list))
        ]
    return bool(level)


_SURROGATE = re.compile("[\ud800-\udfff]")


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value


def decode(line: str | bytes) -> Event | None:
    """The event of a journal line; None for a line that is no event (broken, foreign, or of a newer type)."""
    data = parse(line)
    return None if data is None else from_dict(data)
