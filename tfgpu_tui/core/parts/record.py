"""The run's log, its marks on the time axis, and how the monitor itself fares (pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.totals import Mark

MARKS = 400


@dataclass
class Record:
    """What is written down, and what could not be."""

    log_bytes: int = 0
    log_capped: bool = False
    run_marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=MARKS))
    """Of the run as a whole; those of a training are its process'."""
    hooks_off: dict[str, str] = field(default_factory=dict)
    faults: deque[ev.Fault] = field(default_factory=lambda: deque(maxlen=20))
    dropped: dict[str, int] = field(default_factory=dict)


def log(record: Record, e: ev.Log) -> None:
    record.log_bytes, record.log_capped = e.size_bytes, e.capped


def hook_off(record: Record, e: ev.HookOff) -> None:
    if len(record.hooks_off) < 64:
        record.hooks_off[e.hook] = e.reason


def dropped(record: Record, e: ev.Dropped) -> None:
    record.dropped[f"{e.where} {e.pid}"] = e.count


def fault(record: Record, e: ev.Fault) -> None:
    record.faults.append(e)
