"""Whether what a peer sent has the shape that events.py promises to every reader of the journal."""

from __future__ import annotations

import types
import typing
from typing import Any

from tfgpu_tui.events import ALL_EVENTS, Event

_LARGEST = 1e300
"""Infinity and NaN are no numbers for a journal, nor are integers that no float can hold."""
_HINTS: dict[str, dict[str, Any]] = {
    cls.type: {
        name: hint
        for name, hint in typing.get_type_hints(cls).items()
        if typing.get_origin(hint) is not typing.ClassVar
    }
    for cls in ALL_EVENTS
}


_COUNTS = dict[str, float]
_ROWS: dict[str, dict[str, Any]] = {
    "pipeline": {
        "stages": {"stage": str, "name": str | None, "function": str | None, "file": str | None, "line": int | None,
                   "python": bool | None, "autotuned": bool | None, "self_us": float | None, "elements": float | None,
                   "per_batch_us": float | None, "parallelism": float | None, "buffered": float | None,
                   "buffer_size": float | None},
        "user": {"name": str | None, "kind": str | None, "calls": float | None, "mean_us": float | None,
                 "file": str | None, "line": int | None},
    },
    "user_code": {
        "user": {"name": str | None, "kind": str | None, "calls": float | None, "seconds": float | None,
                 "file": str | None, "line": int | None},
    },
    "predict_calls": {
        "places": {"file": str, "line": int, "function": str | None, "count": float, "wall_s": float},
    },
    "script_lines": {name: {"file": str, "line": int, "function": str | None, "text": str, "looks": float,
                            "waiting": float} for name in ("loop", "feed")},
    "placement": {
        "layers": {"layer": str | None, "class": str | None, "depth": int | None, "forward": _COUNTS | None,
                   "backward": _COUNTS | None, "variables": list[str] | None, "parameters": float | None,
                   "dtype": str | None, "policy": str | None, "xla": bool | None, "asked": str | None,
                   "reason": str | None, "calls": float | None, "not_on_gpu": list[dict[str, Any]] | None,
                   "predicted": _COUNTS | None, "copies": _COUNTS | None, "variable_copies": _COUNTS | float | None,
                   "recurrent": dict[str, Any] | None},
    },
    "tf_memory": {
        "devices": {"device": str, "current_bytes": float | None, "peak_bytes": float | None,
                    "limit_bytes": float | None},
    },
    "environment": {"tf_gpus": {"device": str | None, "name": str | None, "uuid": str | None, "pci": str | None,
                                "ordinal": int | None, "capability": list[int] | None}},
    "dataset": {"elements": {"dtype": str | None, "shape": list[Any] | None}},
}  # fmt: skip
"""Event -> its field of rows -> what the reducer and the panes take for granted of a row; other keys are free."""


def misfit(event: Event) -> str | None:
    """The name of the first field whose value is not of its declared type; None where all fit. Any number will do for
    `int` and `float`, as long as it is finite: which of the two JSON has is the sender's choice."""
    hints = _HINTS[event.type]
    wrong = next((name for name, hint in hints.items() if not _fits(getattr(event, name), hint)), None)
    if wrong is not None:
        return wrong
    for name, row_hints in _ROWS.get(event.type, {}).items():
        for row in getattr(event, name) or ():
            for key, hint in row_hints.items():
                if key in row and not _fits(row[key], hint):
                    return f"{name}.{key}"
    return None


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
        return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
    return isinstance(value, hint)
