"""What a run's meta.json holds: how the run was started, by which processes, and where those can be seen.

On the way to the script's first line: its records are tuples, since `dataclasses` takes 10 ms to import.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from tfgpu_tui.core.severity import SEVERITIES

LARGEST_BYTES = 1 << 20
"""Of a meta.json; what is larger is none."""
LATEST = 250e9
"""Unix seconds that a calendar still has (year 9892)."""


class Meta(NamedTuple):
    """How a run was started: enough to start it again, and to find its processes."""

    id: str
    argv: list[str]
    """The script and its arguments (`["-m", "pkg", …]` for a module)."""
    cwd: str
    python: str
    mode: str = "pty"
    """`pty` or `headless`."""
    knobs: dict[str, str] = {}
    parent: str | None = None
    socket: str = ""
    supervisor_pid: int | None = None
    supervisor_started: int | None = None
    """Start of the supervisor's process in kernel ticks since boot: tells it from a later process of the same pid."""
    keeper_pid: int | None = None
    """The process that owns the script and its terminal; None for a headless run."""
    keeper_started: int | None = None
    script_pid: int | None = None
    script_started: int | None = None
    started: float = 0.0
    interval_s: float = 0.5
    stall_after_s: float = 60.0
    """See `events.RunStarted`."""
    stop_after: int | None = None
    report_json: str | None = None
    """Where the report is also written when the run ends."""
    metrics: str | None = None
    """Where its metrics are told to Prometheus: HOST:PORT, unix:PATH or FILE.prom."""
    on_finding: str | None = None
    """A shell's command that runs once for each new finding."""
    on_finding_severity: str = "warning"
    """The least severe that it is run for."""
    trial: dict[str, str] | None = None
    """Of a trial of `tfgpu-tui try`: `group`, the experiment's id, and `setting`, in words."""
    columns: int = 80
    rows: int = 24
    host: str = ""
    """Name of the machine; '' in older runs, as the next two: then it is not known where its pids mean anything."""
    boot_id: str = ""
    """/proc/sys/kernel/random/boot_id: one start of one kernel."""
    pid_namespace: str = ""
    """/proc/self/ns/pid, such as `pid:[4026531836]`: a container has its own."""


class Place(NamedTuple):
    """Where a process can be seen by its pid."""

    host: str
    boot_id: str
    pid_namespace: str


def here() -> Place:
    """This process's own; '' for what the system does not tell."""
    boot_id = pid_namespace = ""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        pid_namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        pass
    return Place(os.uname().nodename, boot_id, pid_namespace)


def parse(data: bytes) -> Meta:
    """Raises ValueError, with words for a person, where it is no meta.json; fields of a later version are skipped."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    if missing := [name for name in ("id", "argv", "cwd", "python") if name not in found]:
        raise ValueError(f"it has no {missing[0]}")
    known = {name: found[name] for name in Meta._fields if name in found}
    for name, value in known.items():
        if not _FITS[name](value):
            raise ValueError(f"its {name} is {_short(value)}")
    return Meta(**known)


def _short(value: Any) -> str:
    return json.dumps(value)[:60]


def _text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value  # no path and no argument holds one


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value)) and all(map(_text, value.values()))


def _number(lowest: float, highest: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and math.isfinite(value) and lowest <= value <= highest


def _whole(lowest: int, highest: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and lowest <= value <= highest


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_PID, _TICKS = _or_none(_whole(1, 1 << 31)), _or_none(_whole(0, 1 << 63))
_FITS: dict[str, Callable[[Any], bool]] = {
    "id": _text,
    "argv": lambda value: isinstance(value, list) and all(map(_text, value)),
    "cwd": _text,
    "python": _text,
    "mode": lambda value: value in ("pty", "headless") if isinstance(value, str) else False,
    "knobs": _texts,
    "parent": _or_none(_text),
    "socket": _text,
    "supervisor_pid": _PID,
    "supervisor_started": _TICKS,
    "keeper_pid": _PID,
    "keeper_started": _TICKS,
    "script_pid": _PID,
    "script_started": _TICKS,
    "started": _number(0, LATEST),
    "interval_s": _number(0.001, 1e6),
    "stall_after_s": _number(0, 1e9),
    "stop_after": _or_none(_whole(1, 1 << 63)),
    "report_json": _or_none(_text),
    "metrics": _or_none(_text),
    "on_finding": _or_none(_text),
    "on_finding_severity": lambda value: isinstance(value, str) and value in SEVERITIES,
    "trial": _or_none(_texts),
    "columns": _whole(0, 1 << 20),
    "rows": _whole(0, 1 << 20),
    "host": _text,
    "boot_id": _text,
    "pid_namespace": _text,
}
"""What each field must be for those who read it."""
