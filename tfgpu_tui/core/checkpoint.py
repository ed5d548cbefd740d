"""RunState as JSON and back, so that a long journal need not be folded again from its first event (pure).

Nothing but values is in it: reading one makes objects of the classes below and of no others, and runs no code of the
file's choosing. A field that this version does not know is skipped, one that is missing has its default; a value of
another type than the field's makes the whole of it none. In version 1 all fields of all parts lay in RunState itself.
"""

from __future__ import annotations

import json
import math
import typing
from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any

from tfgpu_tui.core import events, series, state, totals, validate
from tfgpu_tui.core.events import Event
from tfgpu_tui.core.parts.account import Account
from tfgpu_tui.core.parts.calls import Calls
from tfgpu_tui.core.parts.devices import Devices
from tfgpu_tui.core.parts.epochs import Epochs
from tfgpu_tui.core.parts.feed import Feed
from tfgpu_tui.core.parts.layers import Layers
from tfgpu_tui.core.parts.lifecycle import Lifecycle
from tfgpu_tui.core.parts.machine import Machine
from tfgpu_tui.core.parts.memory import Memory
from tfgpu_tui.core.parts.process import Process, lean
from tfgpu_tui.core.parts.processes import LIMIT, Processes
from tfgpu_tui.core.parts.record import Record
from tfgpu_tui.core.parts.standstill import Standstill
from tfgpu_tui.core.parts.steps import Steps
from tfgpu_tui.core.series import Decimated, Series
from tfgpu_tui.core.state import RunState

VERSION = 2
_PARTS: tuple[type[Any], ...] = (
    Lifecycle, Devices, Machine, Record, Steps, Epochs, Calls, Feed, Layers, Memory, Account, Process, Processes,
    Standstill,
)  # fmt: skip
_KIND = "$"
_CLASSES: dict[str, type[Any]] = {
    name: cls
    for module in (series, events, totals, state)
    for name, cls in vars(module).items()
    if isinstance(cls, type) and cls.__module__.startswith("tfgpu_tui.")
} | {f"part.{cls.__name__}": cls for cls in _PARTS}
_NAMES = {cls: name for name, cls in _CLASSES.items()}
_BUCKETS = "_buckets"
_OF_PLOTS = {"_asked", "_said", "_changed", "_typical_of", "_typical"}
"""What a series was asked for by plots and verdicts: made anew."""
_LARGEST_CAPACITY = 1 << 16


def dump(run: RunState) -> str:
    """One JSON object. Raises TypeError for a value of a kind that is not known here."""
    return json.dumps({"checkpoint": VERSION, "state": _plain(run)}, separators=(",", ":"), allow_nan=False)


def load(text: str | bytes) -> RunState:
    """Raises ValueError where it is no checkpoint of this version, or broken."""
    try:
        data = json.loads(text, parse_constant=lambda name: None)
        if data["checkpoint"] not in (1, VERSION):
            raise ValueError(f"a checkpoint of version {data['checkpoint']!r}")
        found = _object(data["state"]) if data["checkpoint"] == VERSION else _version_1(data["state"])
    except (TypeError, KeyError, AttributeError, RecursionError, IndexError, OverflowError) as error:
        raise ValueError(f"no checkpoint: {error!r}") from error
    if not isinstance(found, RunState):
        raise ValueError("no checkpoint of a run")
    for process in (found.training.together, *found.training.several.values()):
        if process.told_phase is not None and process.account.part is None:
            process.account.whole = False  # written by a version without accounts
    return found


def _version_1(data: dict[str, Any]) -> RunState:
    """Of several processes only the sum is in it: each by itself is known from then on."""
    if data[_KIND] != "RunState":
        raise ValueError("no checkpoint of a run")
    v: dict[str, Any] = data["v"]
    fields_of_all = {key: _object(item) for key, item in v.items()}
    of_all: dict[str, Series] = fields_of_all.get("series", {})
    of_steps = of_all.keys() & Steps().step_series.keys()
    fields_of_all |= {
        "step_series": {name: of_all[name] for name in of_steps},
        "host_series": Machine().host_series | {name: of_all[name] for name in of_all.keys() - of_steps},
        "run_marks": fields_of_all.get("marks", deque(maxlen=400)),
    }

    def part(cls: type[Any]) -> Any:
        return _instance(cls, fields_of_all, None)

    pids: set[int] = fields_of_all.get("processes", set())
    sole = next(iter(pids)) if len(pids) == 1 else None
    together = Process(
        sole, part(Steps), part(Epochs), part(Calls), part(Feed), part(Layers), part(Memory),
        told_phase=fields_of_all.get("phase"), heard_t=fields_of_all.get("now", 0.0),
        agent_cost=fields_of_all.get("agent_cost"),
    )  # fmt: skip
    for of_phase in (*together.steps.totals.values(), *together.steps.steady.values()):
        if of_phase.examples is None and together.feed.batch_size:
            of_phase.examples = of_phase.steps * together.feed.batch_size
        of_phase.sized_s = of_phase.wall_s
    several = {pid: lean(pid) for pid in sorted(pids)[:LIMIT]} if len(pids) > 1 else {}
    run = _instance(RunState, {key: fields_of_all[key] for key in ("now", "environment") if key in v}, None)
    run.lifecycle, run.devices, run.machine, run.record = part(Lifecycle), part(Devices), part(Machine), part(Record)
    run.training = Processes(together, sole, several, pids=pids)
    for made in (together, run.training):
        if (wrong := _wrong_field(made)) is not None:
            raise ValueError(f"{wrong} is of no such type")
    return run  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_KIND: "float", "v": str(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        items = value if isinstance(value, tuple) else sorted(value, key=repr)  # the same state is the same text
        return {_KIND: type(value).__name__, "v": [_plain(item) for item in items]}
    if isinstance(value, deque):
        return {_KIND: "deque", "max": value.maxlen, "v": [_plain(item) for item in value]}
    if type(value) is dict:
        if all(isinstance(key, str) for key in value) and _KIND not in value:
            return {key: _plain(item) for key, item in value.items()}
        return {_KIND: "dict", "v": [[_plain(key), _plain(item)] for key, item in value.items()]}
    name = _NAMES.get(type(value))
    if name is None:
        raise TypeError(f"a checkpoint can't hold a {type(value)}")
    values = {name: item for name, item in vars(value).items() if name not in _OF_PLOTS}
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
        made = cls(**{key: item for key, item in values.items() if key in known})
        wrong = validate.misfit(made) if isinstance(made, Event) else _wrong_field(made)
    else:
        made = cls()
        for key in vars(made).keys() & values.keys() - _OF_PLOTS:
            setattr(made, key, values[key])
        if buckets is not None:
            made._buckets = {int(i): series._Bucket(float(t), float(w), float(h)) for i, t, w, h in buckets}
        wrong = None if _is_series(made) or _is_decimated(made) else "series"
    if wrong is not None:
        raise ValueError(f"{cls.__name__}.{wrong} is of no such type")
    return made


def _wrong_field(made: Any) -> str | None:
    cls = type(made)
    if cls not in _KINDS:
        hints = typing.get_type_hints(cls)
        _KINDS[cls] = {f.name: validate.kind_of(hints[f.name]) for f in fields(cls) if f.init}
    values = vars(made)
    needed = _NEEDED.get(cls)
    if needed is not None and not needed[1] <= values[needed[0]].keys():
        return needed[0]
    return next((name for name, kind in _KINDS[cls].items() if not validate.fits(kind, values[name])), None)


_KINDS: dict[type[Any], dict[str, validate.Kind]] = {}
_NEEDED = {
    Steps: ("step_series", Steps().step_series.keys()),
    Machine: ("host_series", Machine().host_series.keys()),
}
"""Fields whose keys are taken for granted."""


def _is_series(made: Any) -> bool:
    if type(made) is not Series or type(made.capacity) is not int or not 2 <= made.capacity <= _LARGEST_CAPACITY:
        return False
    if not all(_is_number(value) for value in (made.bucket_s, made.latest or 0.0, made.highest or 0.0)):
        return False
    for bucket in made._buckets.values():
        if not (math.isfinite(bucket.total) and math.isfinite(bucket.highest) and 0 < bucket.weight < math.inf):
            return False
    if not made._buckets:
        return made.bucket_s > 0 and made._first is None and made._last is None
    first, last = min(made._buckets), max(made._buckets)
    return made.bucket_s > 0 and (made._first, made._last) == (first, last) and last - first < made.capacity


def _is_decimated(made: Any) -> bool:
    if type(made) is not Decimated or type(made.points) is not list:
        return False
    counts = (made.capacity, made._stride, made._seen)
    if not all(type(count) is int for count in counts) or not (2 <= made.capacity <= _LARGEST_CAPACITY):
        return False
    pairs = all(type(p) is tuple and len(p) == 2 and _is_number(p[0]) and _is_number(p[1]) for p in made.points)
    return pairs and made._stride >= 1 and made._seen >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
