"""What the agent costs the training's thread, by its own clock, told every few seconds."""

from __future__ import annotations

from typing import Optional

from ..hooks.runtime import every, looks_s, send
from . import windows

_seconds = 0.0
_executions = 0
_told: Optional[int] = None


def note(seconds: float, executions: int) -> None:
    """Time that the agent took for itself between executions, and how many executions that was for."""
    global _seconds, _executions
    _seconds += seconds
    _executions += executions


@every(5.0)
def tell() -> None:
    """Send the mean, when there is a new one. The noting of times at each step and the ops in graphs are not in it: see
    `benchmarks/overhead.py`."""
    global _told
    if _executions and _executions != _told:
        _told = _executions
        send(
            "agent_cost",
            us_per_step=_seconds / _executions * 1e6,
            steps=windows.total("train"),
            looks_ms=round(looks_s() * 1e3, 3),
        )
