"""Looks at the run from outside while no steps come: does anything compute, and does anything move?

Only once the last step lies a quarter of the time back after which a verdict is made (`RunState.stall_limit_s`); until
then a turn compares a few numbers. Nothing is stopped or signalled: the agents are asked for their stacks, all else
is read from /proc (`process_looks`). What it means is for `diagnose.stalled` to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tfgpu_tui.core.events import Event, Standstill, Suspended
from tfgpu_tui.core.parts.standstill import COMPUTING_PERCENT
from tfgpu_tui.core.state import RunState
from tfgpu_tui.supervisor.process_looks import Tree, look_at, rows, suspended

TURN_S = 0.5
LATE_S = 2.0
"""A turn that comes so late: this process was stopped, too, or the machine slept."""
SLEPT_S = 10.0
"""So late that no work on the machine explains it."""
FIRST_LOOK = 0.25
"""Of the limit."""
LOOKS = 12
"""To a limit; but no more than one a second, and at least one every LOOK_S."""
LOOK_S = 5.0
LONG_S, SELDOM_S = 600.0, 60.0
"""What has stood for so long is looked at only so often."""
MOVING_BPS = 100e3
"""Less is what the agent itself reads of /proc, and a line of output now and then."""
GPU_PERCENT = 5.0
THROTTLED_PERCENT = 50.0
"""A quota that holds the run back is no standstill, nor is a machine that has no time for it (`Tree.starved`)."""
JUDGED_PHASES = ("imported", "building", "preparing", "training", "evaluating", "predicting", "idle")
"""What is traced, or imported, has no steps to wait for."""
ID = "run.stalled"


class StandstillWatch:
    """Counts the seconds since the last step, and looks."""

    def __init__(
        self,
        script: int,
        state: RunState,
        record: Callable[[Event], object],
        ask: Callable[[dict[str, Any]], bool],
        own: Callable[[], set[int]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ask` sends a command to all agents, and says whether the script's own is among them; `own()` are the
        monitor's processes."""
        self._script, self._state, self._record, self._ask, self._own, self._now = script, state, record, ask, own, now
        self._turned = now()
        self._held_since: float | None = None
        """Since when the script is held, in unix seconds."""
        self._person = False
        """Whether it waits for a person: in a debugger of Python's, or for what somebody types."""
        self._progress: tuple[object, ...] = ()
        self._quiet_s = self._still_s = 0.0
        self._tree: Tree | None = None
        self._looked_at = self._gpu_since = 0.0
        self._question = self._first_question = 0
        """Numbers of the newest question for stacks, and of the first one of this standstill."""
        self._moved = 0
        self._doing: str | None = None
        self._told = False

    def turn(self) -> None:
        """To be called about every TURN_S."""
        now = self._now()
        passed_s, self._turned = now - self._turned, now
        held = self._held(passed_s)
        limit_s = self._state.stall_limit_s
        if limit_s is None or self._state.stopping is not None:
            return  # what was seen before a stop stays
        if self._progressed():
            self._begin_again()
            return
        if passed_s > LATE_S or held:
            self._tree = None  # what is counted from here on is another time
            return
        self._quiet_s += passed_s
        self._still_s += passed_s
        if self._quiet_s >= FIRST_LOOK * limit_s and now - self._looked_at >= self._period_s(limit_s):
            self._look(now)

    def _held(self, passed_s: float) -> bool:
        """Whether the script is stopped, or a debugger has it; tells when that, or a wait for a person, begins and
        ends."""
        held, now = suspended(self._script), time.time()
        waits = held or self._person
        if waits and self._held_since is None:
            self._held_since = now - passed_s - (0.0 if held else self._quiet_s)
            self._record(Suspended(t=now, src="host", since=self._held_since))
        elif not waits and self._held_since is not None:
            self._record(Suspended(t=now, src="host", since=self._held_since, until=now))
            self._held_since = None
        elif not waits and passed_s > SLEPT_S:
            self._record(Suspended(t=now, src="host", since=now - passed_s, until=now))
        return held

    def _period_s(self, limit_s: float) -> float:
        return SELDOM_S if self._still_s > max(LONG_S, 2 * limit_s) else max(1.0, min(LOOK_S, limit_s / LOOKS))

    def _progressed(self) -> bool:
        state = self._state
        progress = (
            *((phase, totals.steps) for phase, totals in state.together().totals.items()),
            state.phase,
            state.epochs_done,
            state.last_call_t,
        )
        changed, self._progress = progress != self._progress, progress
        return changed or state.phase not in JUDGED_PHASES

    def _begin_again(self) -> None:
        if self._told:
            stood = ID in self._state.standing
            self._record(Standstill(t=time.time(), src="host", quiet_s=self._quiet_s, over=True, stood=stood))
        self._quiet_s = self._still_s = 0.0
        self._tree, self._told, self._person = None, False, False

    def _look(self, now: float) -> None:
        """The first one of a standstill only sets what later ones are compared with."""
        tree, before, seconds = look_at(self._script, self._own()), self._tree, now - self._looked_at
        if not tree.seen:
            return
        self._tree, self._looked_at = tree, now
        gpu_since, self._gpu_since = self._gpu_since, self._state.now
        if before is None or seconds <= 0:
            self._moved, self._doing, self._still_s = self._moved_now(), None, 0.0
            self._ask_next()
            self._first_question = self._question
            return
        cpu = tree.cpu_percent(before, seconds)
        moved = tree.moved_bps(before, seconds)
        gpu = self._gpu_busy(gpu_since)
        works = self._works(tree.starved(before, seconds), cpu, moved, gpu)
        if works is not None:
            self._still_s = 0.0
        answered = self._hear()
        self._told = True
        self._record(
            Standstill(
                t=time.time(),
                src="host",
                quiet_s=round(self._quiet_s, 2),
                still_s=round(self._still_s, 2),
                cpu_percent=cpu,
                moved_bps=moved,
                gpu_busy_percent=gpu,
                works=works,
                answered=answered,
                first_question=self._first_question,
                processes=rows(tree, before, seconds),
            )
        )

    def _ask_next(self) -> bool:
        """Whether it reaches the script's own process."""
        known = (told.question for told in self._state.standstill.heard.values())  # a supervisor before this one asked
        self._question = max(self._question, *known, 0) + 1
        return self._ask({"cmd": "stacks", "question": self._question})

    def _hear(self) -> bool | None:
        """Whether the script's own process answered the last question, and the next one. One answer may be late; one to
        a question before this standstill is none."""
        answer = self._state.standstill.heard.get(self._script)
        heard = max(answer.question if answer is not None else 0, self._first_question - 1)
        late = self._question - heard
        reached = self._ask_next()
        return False if not reached or late > 1 else late == 0 or None

    def _works(self, starved: bool, cpu: float, moved: float | None, gpu: float | None) -> str | None:
        before, self._moved = self._moved, self._moved_now()
        went_on = self._went_on()
        if cpu >= COMPUTING_PERCENT:
            return f"the CPU: {cpu:.0f} % of a core"
        if gpu is not None and gpu >= GPU_PERCENT:
            return f"the GPU: {gpu:.0f} % busy"
        if moved is not None and moved >= MOVING_BPS:
            return f"files: {moved / 1e6:.1f} MB a second"
        if self._moved > before:
            return "the input pipeline: elements pass through it"
        if went_on:
            return "the training itself: it came from one part of a step to another"
        return "a thread that gets no turn on the CPU" if starved or self._throttled() else None

    def _went_on(self) -> bool:
        """Whether the script's own process is in another part of a step than an answer ago: a batch that is waited for
        after a long callback did not stand still as long as that."""
        answer = self._state.standstill.heard.get(self._script)
        if answer is None or answer.question < self._first_question:
            return False
        self._person = answer.person
        before, self._doing = self._doing, answer.doing
        return before is not None and answer.doing is not None and before != answer.doing

    def _throttled(self) -> bool:
        host = self._state.host
        return host is not None and (host.throttled_percent or 0.0) > THROTTLED_PERCENT

    def _moved_now(self) -> int:
        return sum(stacks.moved for stacks in self._state.standstill.heard.values())

    def _gpu_busy(self, since: float) -> float | None:
        """The highest of the run's GPUs since then; None where there is none."""
        highest = [
            max(known, default=0.0)
            for gpu in self._state.gpus.values()
            if gpu.ours and (known := [v for v in gpu.busy.columns(since, self._state.now, 16) if v is not None])
        ]
        return max(highest, default=None)
