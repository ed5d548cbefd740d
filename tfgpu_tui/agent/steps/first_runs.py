"""How long a function takes from its tracing to the end of its first execution: tracing, compiling, the choice of
algorithms on a GPU, and the first batch, where it is fetched within the function.

Known of functions that are (a part of) a step of Keras' or of the script's own; `looks.retraces` says what was traced.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..hooks.runtime import after_execution, guarded, send_latest
from ..hooks.user_function import Place
from . import fast, input_wait

HOOK = "first_runs"
MAX_FUNCTIONS = 200
_counter = time.perf_counter


class _Traced(NamedTuple):
    place: Place
    tracing_s: float
    begun: float
    """When the execution began that it was traced for."""
    waited: float
    """What stopwatches in graphs had counted then."""


class _Run:
    """Executions right after a trace of one function."""

    def __init__(self) -> None:
        self.count = 0
        self.wall_s = self.tracing_s = self.wait_s = 0.0


class _Local(threading.local):
    begun: Optional[float] = None
    """When the call began that may be a part of a step of the script's own; None outside of one."""

    def __init__(self) -> None:
        self.traced: List[_Traced] = []


_local = _Local()
_runs: Dict[Tuple[str, Optional[str], Optional[int]], _Run] = {}


def begins(now: float) -> None:
    """A call that may be a part of a step begins in this thread."""
    _local.begun = now
    if _local.traced:
        _local.traced.clear()


def ends() -> None:
    """It ended."""
    _local.begun = None
    if _local.traced:
        _tell()


@guarded(HOOK)
def traced(place: Place, seconds: float) -> None:
    """A function was traced in this thread just now. Outside of a step it is not known what its first execution is."""
    function = fast.fits.get(threading.get_ident())
    begun = _local.begun if function is None else abs(function[0]) or None
    if begun is not None and begun <= _counter():
        _local.traced.append(_Traced(place, seconds, begun, input_wait.in_graphs()[0]))


@after_execution
def _executed(model: Any, phase: str, steps: int) -> None:
    if _local.traced:
        _tell()


@guarded(HOOK)
def _tell() -> None:
    """The execution ended: its time is that of the function that took longest to trace."""
    now = _counter()
    done = list(_local.traced)
    _local.traced.clear()
    longest = max(done, key=lambda one: one.tracing_s)
    place = longest.place
    key = place.function, place.file, place.line
    if key not in _runs and len(_runs) >= MAX_FUNCTIONS:
        return
    run = _runs.setdefault(key, _Run())
    run.count += 1
    run.wall_s += now - min(one.begun for one in done)
    run.tracing_s += sum(one.tracing_s for one in done)
    run.wait_s += max(0.0, input_wait.in_graphs()[0] - min(one.waited for one in done))
    send_latest(
        "first_run",
        key,
        function=place.function,
        file=place.file,
        line=place.line,
        keras=place.library is not None,
        count=run.count,
        wall_s=round(run.wall_s, 6),
        tracing_s=round(run.tracing_s, 6),
        wait_s=round(run.wait_s, 6) if input_wait.known() else None,
    )
