"""Whether what a peer sent has the shape that events.py promises to every reader of the journal."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

from tfgpu_tui.events import ALL_EVENTS, Event

_HINTS: dict[str, dict[str, Any]] = {
    cls.type: {
        name: hint
        for name, hint in typing.get_type_hints(cls).items()
        if typing.get_origin(hint) is not typing.ClassVar
    }
    for cls in ALL_EVENTS
}


def misfit(event: Event) -> str | None:
    """The name of the first field whose value is not of its declared type; None where all fit. Any number will do for
    `int` and `float`, as long as it is finite: which of the two JSON has is the sender's choice."""
    hints = _HINTS[event.type]
    return next((name for name, hint in hints.items() if not _fits(getattr(event, name), hint)), None)


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, argument) for argument in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if hint in (int, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint)
