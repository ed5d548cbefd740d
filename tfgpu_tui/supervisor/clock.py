"""The run's own time: the wall clock at its start, carried on by a clock that nobody can set.

Every time in a journal is in it. So a clock that is set (by hand, or by NTP after a boot without network) neither tears
the time axis nor sends the steps that follow into the past; the steps of a day are a day.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tfgpu_tui.core.events import Event

STEP_S = 1.0
"""A smaller difference between the clocks is none: corrections of that size are slewed, not set."""


def boot_s() -> float:
    """Seconds since the machine was started, with the time in which it slept (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def base() -> float:
    """What `RunClock` needs to go on in another process: the wall clock less the boot clock, at the run's start."""
    return time.time() - boot_s()


class RunClock:
    """Turns the wall clock's times into the run's."""

    def __init__(
        self,
        start: float | None = None,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_s,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start` is the `base()` of the run's start; None: it starts now."""
        self._wall, self._boot, self._monotonic = wall, boot, monotonic
        self._base = wall() - boot() if start is None else start
        self._told = 0.0
        self._asleep = boot() - monotonic()

    @property
    def offset_s(self) -> float:
        """How far the wall clock was set forward since the run's start; 0 where it was not set."""
        offset = self._wall() - self._boot() - self._base
        return offset if abs(offset) >= STEP_S else 0.0

    def now(self) -> float:
        """The run's time, unix seconds by the clock that the machine had at the run's start."""
        return self._wall() - self.offset_s

    def fit(self, event: Event) -> Event:
        """The event with its time in the run's. One that was stamped just before the clock was set has it already: it
        would come to lie in the future, or be taken back twice."""
        offset = self.offset_s
        if not offset:
            return event
        latest = self.now() + STEP_S
        stamped_before = event.t <= latest if offset > 0 else event.t - offset > latest
        return event if stamped_before else replace(event, t=event.t - offset)

    def changes(self) -> list[str]:
        """What happened to the clocks since the last call, in words."""
        said = []
        offset, asleep = self.offset_s, self._boot() - self._monotonic()
        if abs(step := offset - self._told) >= STEP_S:
            self._told = offset
            said.append(
                f"the machine's clock was set {'forward' if step > 0 else 'back'} by {abs(step):.0f} s; the times of "
                "this run go on by the clock that it started with"
            )
        if (slept := asleep - self._asleep) >= STEP_S:
            self._asleep = asleep
            said.append(f"the machine slept for {slept:.0f} s")
        return said
