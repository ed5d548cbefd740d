"""One process that trains: its parts, and what each of its events changes in them (pure).

The functions take what one process tells; fed with what several tell they sum it (`processes.Processes.together`), and
so what is told once a process (windows of calls, memory by the step) is kept by its pid here, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.parts import account, calls, epochs, feed, layers, memory, steps
from tfgpu_tui.core.parts.account import SERVING, Account
from tfgpu_tui.core.parts.calls import Calls
from tfgpu_tui.core.parts.epochs import Epochs
from tfgpu_tui.core.parts.feed import Feed
from tfgpu_tui.core.parts.layers import Layers
from tfgpu_tui.core.parts.memory import Memory
from tfgpu_tui.core.parts.record import MARKS
from tfgpu_tui.core.parts.steps import Steps
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.series import Series
from tfgpu_tui.core.totals import Mark

CHECKPOINT_S = 0.005
"""A callback that saves marks the time axis where it took at least this long: without a file to write it takes µs."""
LEAN_BUCKETS = 180
LEAN_WINDOWS = 500
LEAN_EPOCHS = 50


@dataclass
class Process:
    """Everything that a process which trains told of itself."""

    pid: int | None = None
    """None where it stands for several."""
    steps: Steps = field(default_factory=Steps)
    epochs: Epochs = field(default_factory=Epochs)
    calls: Calls = field(default_factory=Calls)
    feed: Feed = field(default_factory=Feed)
    layers: Layers = field(default_factory=Layers)
    memory: Memory = field(default_factory=Memory)
    account: Account = field(default_factory=Account)
    job: ev.Job | None = None
    """Its place among the processes that train one model together, where it was told."""
    member: ev.Member | None = None
    """Which one it is of its job, by its cluster or its launcher, where that was told."""
    told_phase: str | None = None
    heard_t: float = 0.0
    """Of its newest event."""
    agent_cost: ev.AgentCost | None = None
    marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=MARKS))

    def take(self, event: ev.Event) -> None:
        """One more of its events, of a type in HANDLERS."""
        if event.t > self.heard_t:
            self.heard_t = event.t
        HANDLERS[type(event)](self, event)

    @property
    def trains(self) -> bool:
        """A training step of it was seen."""
        return self.steps.train.steps > 0

    @property
    def serves(self) -> bool:
        """It waits, or waited, for what the others of its job send it, and trains nothing by itself."""
        return not self.trains and (self.account.part == SERVING or SERVING in self.account.spent)

    @property
    def name(self) -> str:
        """`worker 1`, or `process 4711`."""
        if self.pid is None:
            return "the other processes, as one"
        return f"process {self.pid}" if self.job is None else f"{self.job.task} {self.job.index}"

    @property
    def step_in_epoch(self) -> int | None:
        """Steps done in the current epoch."""
        return None if self.epochs.epoch is None else max(0, self.steps.train.steps - self.epochs.epoch_first_step)

    def eta_s(self) -> float | None:
        """Seconds to the end of this fit at the speed so far, epoch edges included; None where the end is unknown."""
        of = self.epochs
        mean = self.steps.current(running=True).mean_s
        if of.epoch is None or of.epochs is None or of.epoch_steps is None or mean is None:
            return None
        later = max(0, of.epochs - of.epoch)
        left = max(0, of.epoch_steps - (self.step_in_epoch or 0)) + later * of.epoch_steps
        edge = of.edge_s / (of.epoch - 1) if of.epoch > 1 else 0.0
        return left * mean + later * edge


def lean(pid: int | None) -> Process:
    """One of several: what is kept by the window, the epoch or the time is coarser, so that many cost little memory."""
    return Process(
        pid,
        steps=Steps(
            step_series={name: Series(LEAN_BUCKETS) for name in Steps().step_series},
            slowest_steps=deque(maxlen=LEAN_WINDOWS),
        ),
        epochs=Epochs(history=deque(maxlen=LEAN_EPOCHS), buckets=LEAN_BUCKETS),
        memory=Memory(memory_buckets=LEAN_BUCKETS),
    )


def _steps(p: Process, e: ev.Steps) -> None:
    if e.phase == "train":
        feed.learn_batch_size(p.feed, e.batch_size)
        if e.examples is None and p.feed.batch_size is not None:  # the shape of a batch has no fixed size
            e = replace(e, examples=e.steps * p.feed.batch_size)
    steps.add(p.steps, e)
    account.steps(p.account, e)
    if e.phase != "train":
        return
    if e.fit:
        memory.training(p.memory, e.pid, e.fit).traces += e.traces
    epochs.first_wait(p.epochs, e)
    if e.traces and e.steps and not e.warmup:
        p.marks.append(Mark(e.t, "retrace", f"retrace at step {e.first_step}"))
    _mark_checkpoints(p, e.t, e.callbacks)


def _epoch(p: Process, e: ev.Epoch) -> None:
    account.epoch(p.account, e)
    if e.state == "begin":
        epochs.begin(p.epochs, e, p.steps.train.steps)
        p.marks.append(Mark(e.t, "epoch", f"epoch {e.epoch}"))
        return
    _mark_checkpoints(p, e.t, e.callbacks)
    epochs.end(p.epochs, e, p.steps.train.steps)


def _mark_checkpoints(p: Process, t: float, callbacks: dict[str, float]) -> None:
    """Keras' callbacks that save: those that took the time of a write, not only of a look at the epoch's number."""
    for name, seconds in callbacks.items():
        if ("Checkpoint" in name or name == "BackupAndRestore") and seconds >= CHECKPOINT_S:
            p.marks.append(Mark(t, "checkpoint", f"{name} {seconds:.2g} s"))


def _phase(p: Process, e: ev.Phase) -> None:
    account.phase(p.account, e)
    if e.phase == "evaluating" and p.told_phase != "evaluating":
        p.marks.append(Mark(e.t, "validation", "validation"))
    p.told_phase = e.phase


def _metrics(p: Process, e: ev.Metrics) -> None:
    if e.phase == "train":
        epochs.learn(p.epochs, e.t, e.values, e.step)


def _fit_calls(p: Process, e: ev.FitCalls) -> None:
    train = p.steps.train
    inside_s = train.wall_s + p.epochs.validation_s + sum(p.epochs.epoch_callbacks.values()) + _between_epochs_s(p, e)
    calls.fit_calls(p.calls, e, inside_s, train.steps)


def _between_epochs_s(p: Process, e: ev.FitCalls) -> float:
    """Of what followed epochs so far, the part that one fit for all of them would have, too: what follows the last
    epoch of a call belongs to its end."""
    return account.edges_s(p.account, p.account.spent) * max(0.0, 1.0 - e.count / max(1, p.epochs.epochs_done))


def _job(p: Process, e: ev.Job) -> None:
    p.job = e


def _member(p: Process, e: ev.Member) -> None:
    p.member = e


def _layer_times(p: Process, e: ev.LayerTimes) -> None:
    layers.layer_times(p.layers, e)
    if e.refused is None and e.steps:
        p.marks.append(Mark(e.t, "profile", f"looked inside {e.whole_steps or e.steps} steps"))


def _agent_cost(p: Process, e: ev.AgentCost) -> None:
    p.agent_cost = e


HANDLERS: dict[type[ev.Event], Callable[[Process, Any], None]] = {
    ev.Steps: _steps,
    ev.Epoch: _epoch,
    ev.Phase: _phase,
    ev.Metrics: _metrics,
    ev.FitCalls: _fit_calls,
    ev.PredictCalls: lambda p, e: calls.predict_calls(p.calls, e, p.steps.first_step_t is not None),
    ev.Retrace: lambda p, e: calls.retrace(p.calls, e, p.steps.train),
    ev.FirstRun: lambda p, e: account.first_run(p.account, e),
    ev.Stood: lambda p, e: account.stood(p.account, e),
    ev.DebugSwitch: lambda p, e: calls.debug_switch(p.calls, e),
    ev.ScriptLines: lambda p, e: calls.script_lines(p.calls, e),
    ev.Dataset: lambda p, e: feed.dataset(p.feed, e),
    ev.Pipeline: lambda p, e: feed.pipeline(p.feed, e),
    ev.UserCode: lambda p, e: feed.user_code(p.feed, e),
    ev.Model: lambda p, e: layers.model(p.layers, e),
    ev.Placement: lambda p, e: layers.placement(p.layers, e),
    ev.LayerTimes: _layer_times,
    ev.UnrolledLoop: lambda p, e: layers.unrolled(p.layers, e),
    ev.GraphPython: lambda p, e: layers.graph_python(p.layers, e),
    ev.Optimizer: lambda p, e: layers.optimizer(p.layers, e),
    ev.Knobs: lambda p, e: layers.knobs(p.layers, e),
    ev.TfMemory: lambda p, e: memory.tf_memory(p.memory, e, p.steps.train.steps, p.steps.fits),
    ev.ProcessMemory: lambda p, e: memory.process_memory(p.memory, e),
    ev.GrowthCause: lambda p, e: memory.growth_cause(p.memory, e),
    ev.ArrayCopy: lambda p, e: memory.array_copy(p.memory, e),
    ev.Job: _job,
    ev.Member: _member,
    ev.AgentCost: _agent_cost,
}
