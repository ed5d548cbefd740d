"""One run's lines of a journal, folded as far as a row of the fleet needs it: cheap for many, and for long histories.

Of a history only what stays true is folded line by line; of its steps the last windows, of its samples the last one.
So the sums of a RunState made here are not the run's, and its row does not ask for them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from tfgpu_tui.core import checkpoint, validate
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState

Number = TypeVar("Number", int, float)
KEPT = frozenset(
    b"run_started child_started agent_connected phase train_end script_error stopping rerun standing run_ended "
    b"environment job member model dataset".split()
)
"""Types that are few, and of which each counts."""
SAMPLES = frozenset((b"host_sample", b"gpu_sample", b"tf_memory"))
"""Of these the newest is enough; of the GPUs' also the newest with their processes, which come now and then."""
WINDOWS = 256
"""Of steps: so many hold the last 15 s."""
SUMMED_S = 1.0
_TYPE = re.compile(rb'"type":\s?"(\w+)"')
_HEAD_BYTES = 200


def summed(windows: Iterable[ev.Steps]) -> Iterator[ev.Steps]:
    """Windows of the same kind that follow each other within a second, as one: so many runs cost a quarter to fold.
    What no row needs (callbacks, histogram) is left out."""
    held: list[ev.Steps] = []
    wall_s = 0.0
    for window in windows:
        if held and not (_alike(held[0], window) and 0 <= window.t - held[-1].t + wall_s <= SUMMED_S):
            yield _sum(held)
            held, wall_s = [], 0.0
        held.append(window)
        wall_s += window.wall_s
    if held:
        yield _sum(held)


def _alike(a: ev.Steps, b: ev.Steps) -> bool:
    kind = (b.pid, b.phase, b.loop, b.fit, b.warmup, b.profiled)
    return (a.pid, a.phase, a.loop, a.fit, a.warmup, a.profiled) == kind


def _sum(held: list[ev.Steps]) -> ev.Steps:
    last = held[-1]
    bounds = [e.wait_bound for e in held if e.wait_bound]
    return replace(
        held[0],
        t=last.t,
        epoch=last.epoch,
        steps=sum([e.steps for e in held]),
        executions=sum([e.executions for e in held]),
        wall_s=sum([e.wall_s for e in held]),
        wait_s=_whole([e.wait_s for e in held]),
        compute_s=_whole([e.compute_s for e in held]),
        host_s=sum([e.host_s for e in held]),
        traces=sum([e.traces for e in held]),
        examples=_whole([e.examples for e in held]),
        step_min_s=held[0].step_min_s if len(held) == 1 else None,
        step_max_s=held[0].step_max_s if len(held) == 1 else None,
        wait_bound=bounds[-1] if bounds else None,
        callbacks={},
        periods={},
    )


def _whole(values: list[Number | None]) -> Number | None:
    """Their sum; None where one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if len(known) == len(values) else None


class Followed:
    """What is known of a run that is followed."""

    def __init__(self, state: RunState | None = None) -> None:
        self.state = state or RunState()
        self._samples: dict[bytes, bytes] = {}
        """The newest of each kind that was not applied yet."""

    def take(self, lines: Iterable[bytes], samples: bool = True) -> None:
        """More lines, in their order. Without `samples` those wait for a later call: they cost as much as the steps."""
        steps: deque[bytes] = deque(maxlen=WINDOWS)
        for line in lines:
            found = _TYPE.search(line, 0, _HEAD_BYTES)
            kind = found.group(1) if found is not None else b""
            if kind == b"steps":
                steps.append(line)
            elif kind in SAMPLES:
                self._samples[kind + b"+" if b'"processes"' in line else kind] = line
            elif kind in KEPT:
                self._apply(line)
        if samples:
            for line in self._samples.values():
                self._apply(line)
            self._samples.clear()
        for window in summed(event for line in steps if isinstance(event := validate.read(line), ev.Steps)):
            self.state.take(window)

    def begin_at(self, dumped: str) -> None:
        """Begins anew with a state of `core.checkpoint`; one that is none is left out."""
        self._samples.clear()
        try:
            self.state = checkpoint.load(dumped)
        except ValueError:
            self.state = RunState()

    def _apply(self, line: bytes) -> None:
        event = validate.read(line)
        if event is not None:
            self.state.take(event)
