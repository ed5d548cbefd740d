"""What is known while no steps come: looks from outside, and where each process says that it stands (pure)."""

from __future__ import annotations

from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass

STALL_AFTER_S = 60.0
"""Without a step for so long it is asked, where nobody asked for another time."""
STALL_STEPS = 20
"""A training whose steps take long is asked about only after so many of its longest (95th percentile)."""
COMPUTING_PERCENT = 10.0
"""Of a core: what waits, and looks around now and then, uses less."""
PROCESSES = 32
PAST = 50


@dataclass
class Standstill:
    """Since the last step."""

    latest: ev.Standstill | None = None
    """None while steps come."""
    heard: dict[int, ev.Stacks] = field(default_factory=dict)
    """By process, the newest answer of each."""
    stacks: dict[int, ev.Stacks] = field(default_factory=dict)
    """Those that a later look confirmed: nothing had moved since. A newer one may tell of a training that goes on."""
    past: list[tuple[float, float]] = field(default_factory=list)
    """(when it was over, seconds without a step) of each time that it had been judged to stand still."""


def look(of: Standstill, e: ev.Standstill) -> None:
    if not e.over:
        of.latest = e
        of.heard = {pid: told for pid, told in of.heard.items() if told.question >= e.first_question}
        of.stacks = dict(of.heard)
        return
    of.latest = None
    of.heard.clear()
    of.stacks.clear()
    if e.stood and len(of.past) < PAST:
        of.past.append((e.t, e.quiet_s))


def stacks(of: Standstill, e: ev.Stacks) -> None:
    if e.pid is not None and (e.pid in of.heard or len(of.heard) < PROCESSES):
        of.heard[e.pid] = e
