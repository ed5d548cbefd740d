"""Stops a script step by step: after the current batch, then SIGINT, SIGTERM, SIGKILL, each after a grace period."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping

from tfgpu_tui.core.events import Event, Stopping

STAGES = ("batch", "interrupt", "terminate", "kill")
SIGNALS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill": signal.SIGKILL}
GRACE_S: Mapping[str, float] = {"batch": 30.0, "interrupt": 15.0, "terminate": 10.0}
"""A batch may be long, and a script that ends well still saves its model; a signal handler should be quick."""
CHILDREN_S = 5.0
"""For processes that outlive their script, between SIGTERM and SIGKILL."""


class Stopper:
    """Where the escalation stands. Later stages may be asked for at any time, earlier ones are passed over."""

    def __init__(
        self,
        act: Callable[[str], bool],
        emit: Callable[[Event], object],
        grace_s: Mapping[str, float] = GRACE_S,
    ) -> None:
        """`act(stage)` carries a stage out, and returns False where it can have no effect: the next one then follows
        at once (no batch to wait for when nothing is being trained)."""
        self._act = act
        self._emit = emit
        self._grace_s = grace_s
        self._stage = -1
        self._reason = "user"
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, stage: str, reason: str = "user") -> None:
        """Starts at `stage`, or goes on to it; asking again for a stage that was reached changes nothing."""
        if STAGES.index(stage) > self._stage:
            self._reason = reason
            self._enter(STAGES.index(stage))

    @property
    def begun(self) -> bool:
        """Whether a stop was asked for."""
        return self._stage >= 0

    def children_stage(self, count: int, number: int) -> Stopping:
        """The stage after the script's end: what it left behind is ended."""
        stage = "children" if number == signal.SIGTERM else "kill children"
        grace_s = CHILDREN_S if number == signal.SIGTERM else None
        reason = f"{self._reason}: {count} processes outlived the script"
        return Stopping(t=time.time(), src="child", stage=stage, grace_s=grace_s, reason=reason)

    def progressed(self) -> None:
        """The script showed that it is ending (its training returned): the present stage's grace starts again."""
        if self._stage >= 0 and self._timer is not None:
            self._wait(STAGES[self._stage])

    def close(self) -> None:
        """No further stage: the script ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _enter(self, index: int) -> None:
        stage = STAGES[index]
        self._stage = index
        self.close()
        acted = self._act(stage)
        if not acted and index + 1 < len(STAGES):
            self._enter(index + 1)
            return
        grace_s = self._grace_s.get(stage)
        self._emit(Stopping(t=time.time(), src="child", stage=stage, grace_s=grace_s, reason=self._reason))
        self._wait(stage)

    def _wait(self, stage: str) -> None:
        self.close()
        grace_s = self._grace_s.get(stage)
        if grace_s is not None:
            following = STAGES.index(stage) + 1
            self._timer = asyncio.get_running_loop().call_later(grace_s, self._enter, following)
