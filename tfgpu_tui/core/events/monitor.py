"""The monitor itself: what it costs, and which part of it failed."""

from __future__ import annotations

from typing import ClassVar

from tfgpu_tui.core.events.base import Event
from tfgpu_tui.core.quick import dataclass


@dataclass(frozen=True, kw_only=True)
class HookOff(Event):
    """A hook of the agent failed and switched itself off: what it measured is unknown from here on."""

    type: ClassVar[str] = "hook_off"
    hook: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AgentCost(Event):
    """What the agent measured of its own time on the training's thread, cumulative."""

    type: ClassVar[str] = "agent_cost"
    us_per_step: float | None = None
    steps: int = 0
    looks_ms: float | None = None
    """In all, in the looks after something was traced; not in `us_per_step`. None from agents that did not tell."""


@dataclass(frozen=True, kw_only=True)
class Dropped(Event):
    """Messages that had to be dropped, cumulative, by their source."""

    type: ClassVar[str] = "dropped"
    senders: ClassVar[tuple[str, ...]] = ("agent", "child")
    count: int
    where: str = "agent"


@dataclass(frozen=True, kw_only=True)
class Fault(Event):
    """A part of the monitor failed; the training is not touched."""

    type: ClassVar[str] = "fault"
    senders: ClassVar[tuple[str, ...]] = ("agent", "child")
    part: str
    message: str


EVENTS: tuple[type[Event], ...] = (HookOff, AgentCost, Dropped, Fault)
