"""What the agent costs the training's thread, measured on every 64th step and told every few seconds."""

from __future__ import annotations

from typing import Optional

from . import steps
from .runtime import every, send

SAMPLE_EVERY = 64

_seconds = 0.0
_samples = 0
_told: Optional[int] = None


def note(seconds: float) -> None:
    """One step's own time of the agent."""
    global _seconds, _samples
    _seconds += seconds
    _samples += 1


@every(5.0)
def tell() -> None:
    """Send the mean, when there is a new one. The ops in graphs are not in it: see `benchmarks/agent_overhead.py`."""
    global _told
    if _samples and _samples != _told:
        _told = _samples
        send("agent_cost", us_per_step=_seconds / _samples * 1e6, steps=steps.total("train"))
