"""One run's lines of a journal, folded as far as a row of the fleet needs it: cheap for many, and for long histories.

Of a history only what stays true is folded line by line; of its steps the last windows, of its samples the last one.
So the sums of a RunState made here are not the run's, and its row does not ask for them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

from tfgpu_tui.core import checkpoint, validate
from tfgpu_tui.core.state import RunState

KEPT = frozenset(
    b"run_started child_started agent_connected phase train_end script_error stopping rerun standing run_ended "
    b"environment job member model dataset epoch".split()
)
"""Types that are few, and of which each counts."""
SAMPLES = frozenset((b"host_sample", b"gpu_sample", b"tf_memory"))
"""Of these the newest is enough; of the GPUs' also the newest with their processes, which come now and then."""
WINDOWS = 256
"""Of steps: so many hold the last 15 s."""
_TYPE = re.compile(rb'"type":\s?"(\w+)"')
_HEAD_BYTES = 200


class Followed:
    """What is known of a run that is followed."""

    def __init__(self, state: RunState | None = None) -> None:
        self.state = state or RunState()

    def take(self, lines: Iterable[bytes]) -> None:
        """More lines, in their order."""
        steps: deque[bytes] = deque(maxlen=WINDOWS)
        samples: dict[bytes, bytes] = {}
        for line in lines:
            found = _TYPE.search(line, 0, _HEAD_BYTES)
            kind = found.group(1) if found is not None else b""
            if kind == b"steps":
                steps.append(line)
            elif kind in SAMPLES:
                samples[kind + b"+" if b'"processes"' in line else kind] = line
            elif kind in KEPT:
                self._apply(line)
        for line in (*samples.values(), *steps):
            self._apply(line)

    def begin_at(self, dumped: str) -> None:
        """Begins anew with a state of `core.checkpoint`; one that is none is left out."""
        try:
            self.state = checkpoint.load(dumped)
        except ValueError:
            self.state = RunState()

    def _apply(self, line: bytes) -> None:
        event = validate.read(line)
        if event is not None:
            self.state.take(event)
