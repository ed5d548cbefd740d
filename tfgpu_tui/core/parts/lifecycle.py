"""How a run began, what it is doing, who asked it to stop, and how it ended (pure)."""

from __future__ import annotations

from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.run_words import STOP_SIGNALS


@dataclass
class Lifecycle:
    """From the first event to the last one."""

    run: ev.RunStarted | None = None
    ended: ev.RunEnded | None = None
    child_pid: int | None = None
    agent_pids: list[int] = field(default_factory=list)
    phase: str | None = None
    exiting_t: float | None = None
    """When the script's own code was over, and its interpreter began to close."""
    ends_with: int | None = None
    """What its process will end with then: an exit code, or minus a signal; None where that is not known."""
    error: ev.ScriptError | None = None
    child_errors: list[ev.ScriptError] = field(default_factory=list)
    child_ends: list[ev.ChildEnded] = field(default_factory=list)
    """Processes of multiprocessing that ended badly."""
    stopping: ev.Stopping | None = None
    stop_stage: str | None = None
    """The last stage of a stop that was for the script itself, not for what it left behind."""
    interpreter_signalled: bool = False
    """Whether that stage's signal was for an interpreter whose script was over."""
    stopped_early: str | None = None
    rerun: ev.Rerun | None = None
    """The newest that was asked for while this run went on."""
    standing: dict[str, float] = field(default_factory=dict)
    """Findings that stand -> since when, as the supervisor told it."""
    severity: dict[str, str] = field(default_factory=dict)
    """Of each; empty where an older supervisor did not tell it."""


def agent_connected(life: Lifecycle, e: ev.AgentConnected) -> None:
    if e.pid is not None and e.pid not in life.agent_pids:
        life.agent_pids.append(e.pid)


def phase(life: Lifecycle, e: ev.Phase) -> None:
    life.phase = e.phase
    life.exiting_t = e.t if e.phase == "exiting" else None
    life.ends_with = e.ends_with


def train_end(life: Lifecycle, e: ev.TrainEnd) -> None:
    life.stopped_early = e.stopped or life.stopped_early


def script_error(life: Lifecycle, e: ev.ScriptError) -> None:
    if e.main:
        life.error = e
    elif len(life.child_errors) < 20:
        life.child_errors.append(e)


def child_ended(life: Lifecycle, e: ev.ChildEnded) -> None:
    if len(life.child_ends) < 50:
        life.child_ends.append(e)


def stopping(life: Lifecycle, e: ev.Stopping) -> None:
    life.stopping = e
    if e.stage not in ("children", "kill children"):
        life.stop_stage = e.stage
        life.interpreter_signalled = life.exiting_t is not None and e.stage in STOP_SIGNALS
    life.stopped_early = life.stopped_early or e.reason


def rerun(life: Lifecycle, e: ev.Rerun) -> None:
    life.rerun = e
    if e.state == "taken_back" and life.stopped_early == "rerun":
        life.stopped_early = "user"  # what is left of it is a stop


def standing(life: Lifecycle, e: ev.Standing) -> None:
    life.standing, life.severity = dict(e.since), dict(e.severity)
