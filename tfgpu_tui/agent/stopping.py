"""Ending the training early, because the user asked for it: `--stop-after`, or the stop command."""

from __future__ import annotations

from typing import Optional

from . import steps
from .link import Event
from .runtime import on_command, stop_after

_limit = stop_after()
_asked = False


def wanted(pending: int = 0) -> Optional[str]:
    """`stop` or `stop-after` when the training should end after the current batch; None while it should go on.
    `pending` steps are done, but not yet counted."""
    if _asked:
        return "stop"
    if _limit is not None and steps.total("train") + pending >= _limit:
        return "stop-after"
    return None


def stop_at(total_steps: int) -> None:
    """Have the training end after so many steps, unless it was asked to end before."""
    global _limit
    _limit = total_steps if _limit is None else min(_limit, total_steps)


@on_command("stop_training")
def _stop(command: Event) -> None:
    global _asked
    _asked = True
