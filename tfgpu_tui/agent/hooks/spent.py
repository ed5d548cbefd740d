"""How long this process was in each phase so far, by its own clock: phases that come and go between two messages to
the supervisor are in the sums all the same."""

from __future__ import annotations

import os
import time
from typing import Dict

_counter = time.perf_counter


class Spent:
    """Seconds by phase; the phase that it is in now has what passed until it was asked."""

    def __init__(self) -> None:
        self._seconds: Dict[str, float] = {}
        self._phase = ""
        self._since = _counter()

    def enter(self, phase: str) -> Dict[str, float]:
        """Another phase begins now; returns the sums so far, to be sent."""
        now = _counter()
        if self._phase:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now
        return {name: round(seconds, 6) for name, seconds in self._seconds.items()}


_spent = Spent()


def enter(phase: str) -> Dict[str, float]:
    """As `Spent.enter`, of this process."""
    return _spent.enter(phase)


def _forked() -> None:
    """In a forked child: what was spent is the parent's."""
    global _spent
    _spent = Spent()


os.register_at_fork(after_in_child=_forked)
