"""RunState as JSON and back, so that a long journal need not be folded again from its first event (pure).

Nothing but values is in it: reading one makes objects of the classes below and of no others, and runs no code of the
file's choosing. A field that this version does not know is skipped, one that is missing has its default.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any

from tfgpu_tui import events, series, state, totals
from tfgpu_tui.series import Series
from tfgpu_tui.state import RunState

VERSION = 1
_KIND = "$"
_CLASSES: dict[str, type[Any]] = {
    name: cls
    for module in (series, events, totals, state)
    for name, cls in vars(module).items()
    if isinstance(cls, type) and cls.__module__.startswith("tfgpu_tui.")
}
_BUCKETS = "_buckets"


def dump(run: RunState) -> str:
    """One JSON object. Raises TypeError for a value of a kind that is not known here."""
    return json.dumps({"checkpoint": VERSION, "state": _plain(run)}, separators=(",", ":"), allow_nan=False)


def load(text: str | bytes) -> RunState:
    """Raises ValueError where it is no checkpoint of this version, or broken."""
    try:
        data = json.loads(text)
        if data["checkpoint"] != VERSION:
            raise ValueError(f"a checkpoint of version {data['checkpoint']!r}")
        found = _object(data["state"])
    except (TypeError, KeyError, AttributeError, RecursionError, IndexError, OverflowError) as error:
        raise ValueError(f"no checkpoint: {error!r}") from error
    if not isinstance(found, RunState):
        raise ValueError("no checkpoint of a run")
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_KIND: "float", "v": str(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        return {_KIND: type(value).__name__, "v": [_plain(item) for item in value]}
    if isinstance(value, deque):
        return {_KIND: "deque", "max": value.maxlen, "v": [_plain(item) for item in value]}
    if type(value) is dict:
        if all(isinstance(key, str) for key in value) and _KIND not in value:
            return {key: _plain(item) for key, item in value.items()}
        return {_KIND: "dict", "v": [[_plain(key), _plain(item)] for key, item in value.items()]}
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value):
        raise TypeError(f"a checkpoint can't hold a {type(value)}")
    values = dict(vars(value))
    if is_dataclass(value):
        values = {f.name: values[f.name] for f in fields(value) if f.init}  # the others are made from these
    buckets = values.pop(_BUCKETS, None) if isinstance(value, Series) else None
    out: dict[str, Any] = {_KIND: name, "v": {key: _plain(item) for key, item in values.items()}}
    if buckets is not None:
        out["b"] = [[i, b.total, b.weight, b.highest] for i, b in buckets.items()]
    return out


def _object(data: Any) -> Any:
    if isinstance(data, list):
        return [_object(item) for item in data]
    if not isinstance(data, dict):
        return data
    kind = data.get(_KIND)
    if kind is None:
        return {key: _object(item) for key, item in data.items()}
    v = data["v"]
    if kind == "float":
        return float(v)
    if kind == "dict":
        return {_object(key): _object(item) for key, item in v}
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](_object(item) for item in v)
    if kind == "deque":
        return deque((_object(item) for item in v), maxlen=data["max"])
    return _instance(_CLASSES[kind], {key: _object(item) for key, item in v.items()}, data.get("b"))


def _instance(cls: type[Any], values: dict[str, Any], buckets: Any) -> Any:
    if is_dataclass(cls):
        known = {f.name for f in fields(cls) if f.init}
        return cls(**{key: item for key, item in values.items() if key in known})
    made = cls()
    for key in vars(made).keys() & values.keys():
        setattr(made, key, values[key])
    if buckets is not None:
        made._buckets = {int(i): series._Bucket(float(t), float(w), float(h)) for i, t, w, h in buckets}
    return made
