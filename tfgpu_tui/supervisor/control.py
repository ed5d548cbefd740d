"""What is done to the script from outside: stops, a rerun, signals, its window's size, what is typed for it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tfgpu_tui.keeper.spawn import set_window_size
from tfgpu_tui.supervisor import child as processes
from tfgpu_tui.supervisor import children
from tfgpu_tui.supervisor.kept import KeptScript
from tfgpu_tui.supervisor.record import Recorder
from tfgpu_tui.supervisor.rerun import PendingRerun
from tfgpu_tui.supervisor.server import Server
from tfgpu_tui.supervisor.stopping import CHILDREN_S, SIGNALS, STAGES, Stopper
from tfgpu_tui.supervisor.typing_in import Typing

KILLED_S = 1.0
"""For processes that were killed to be gone."""


class Control:
    """Carries out commands of viewers and signals of the system, and the stages of a stop."""

    def __init__(
        self,
        script: processes.Script,
        kept: KeptScript | None,
        server: Server,
        recorder: Recorder,
        rerun: PendingRerun,
        own_children: Callable[[], set[int]],
        trial: bool = False,
    ) -> None:
        """`own_children()` are the processes of the monitor itself beside the script. Of a `trial` nothing lives on:
        the next one would be measured beside it."""
        self._script = script
        self._kept = kept
        self._server = server
        self._recorder = recorder
        self._rerun = rerun
        self._own_children = own_children
        self._trial = trial
        self._stopper = Stopper(self._act, recorder.record)
        self._typing = Typing(script.terminal) if script.terminal is not None else None

    def take_up_stop(self) -> None:
        """A stop that was begun by a supervisor before this one goes on."""
        stopping = self._recorder.state.stopping
        if stopping is not None and stopping.stage in STAGES:
            self._stopper.begin(stopping.stage, stopping.reason)

    def progressed(self) -> None:
        """The script showed that it is ending."""
        self._stopper.progressed()

    def on_signal(self, number: signal.Signals, action: str) -> None:
        """`relayed` signals are the script's own affair (see relay.py), but the one that ends a trial."""
        if number == signal.SIGTERM:
            self._rerun.take_back()  # whoever ends the monitor wants no other one
        if action == "stop" or (self._trial and number == signal.SIGTERM):
            self._stopper.begin("terminate", reason=f"the supervisor got {number.name}")

    def _act(self, stage: str) -> bool:
        if stage == "batch":
            # A script that is not in a training now has no batch to wait for, and gets its SIGINT.
            asks = self._recorder.state.phase in ("tracing", "training", "evaluating")
            return asks and self._server.command_agents({"cmd": "stop_training"})
        if self._script.terminal is not None:
            self._script.send_signal(SIGNALS[stage])
        else:  # the group is the caller's: the script and everything that it started, one by one
            children.signal_all(self._left_behind(), SIGNALS[stage])
        return True

    def _left_behind(self) -> dict[int, int]:
        """The processes of the run that live, the script among them."""
        kept = self._kept
        if kept is not None and kept.alone:
            return children.left_behind(self._script.pid, set())
        if kept is not None:
            return children.left_behind(kept.told.keeper, {os.getpid()})
        return children.left_behind(os.getpid(), self._own_children())

    async def close(self) -> None:
        """The script ended: no further stage. After a stop, and after a trial, no process of the run lives on: SIGTERM
        to what the script left behind, SIGKILL later."""
        self._stopper.close()
        if self._typing is not None:
            self._typing.close()
        asked = self._stopper.begun
        if not (asked or self._trial) or self._rerun.begun:  # what was left behind was ended before the rerun began
            return
        for number, patience_s in ((signal.SIGTERM, CHILDREN_S), (signal.SIGKILL, KILLED_S)):
            if not (left := self._left_behind()):
                return
            if asked:
                self._recorder.record(self._stopper.children_stage(len(left), number))
            children.signal_all(left, number)
            deadline = time.monotonic() + patience_s
            while self._left_behind() and time.monotonic() < deadline:
                await asyncio.sleep(0.05)

    def on_command(self, command: dict[str, Any]) -> dict[str, Any] | None:
        """Carries it out, and returns what the answer says besides `ok`. Raises ValueError, with a sentence for the
        viewer."""
        carry_out = {
            "stop": self._stop,
            "rerun": self._start_again,
            "resize": self._resize,
            "profile": self._profile,
            "input": self._type,
            "terminal": self._look_at_terminal,
        }.get(str(command.get("cmd")))
        if carry_out is None:
            raise ValueError(f"unknown command {command.get('cmd')!r}")
        return carry_out(command)

    def _stop(self, command: dict[str, Any]) -> dict[str, Any]:
        """Whoever stops a run after a rerun was asked for wants it stopped, and no other one."""
        stage = _stage(command)
        taken_back = self._rerun.take_back()
        self._stopper.begin(stage)
        return {"taken_back": taken_back}

    def _start_again(self, command: dict[str, Any]) -> None:
        if command.get("cancel"):
            if not self._rerun.take_back():
                raise ValueError("no rerun is on its way")
            return
        stage = _stage(command)
        self._rerun.ask(command.get("knobs"))
        if self._script.status() is None:
            self._stopper.begin(stage, reason="rerun")

    def _resize(self, command: dict[str, Any]) -> None:
        columns, rows = command.get("columns"), command.get("rows")
        if not isinstance(columns, int) or not isinstance(rows, int):
            raise ValueError("resize needs whole numbers of columns and rows")
        if self._script.terminal is not None:  # a headless script has its caller's terminal
            set_window_size(self._script.terminal, columns, rows)

    def _profile(self, command: dict[str, Any]) -> None:
        steps = command.get("steps", 5)
        if not isinstance(steps, int) or steps < 1:
            raise ValueError("profile needs a whole number of steps")
        if not self._server.command_agents({"cmd": "profile", "steps": steps}):
            raise ValueError("the script has no agent that could profile it")

    def _type(self, command: dict[str, Any]) -> None:
        text = command.get("text")
        if not isinstance(text, str):
            raise ValueError("input needs a text")
        self._its_own_terminal().type(text)

    def _look_at_terminal(self, command: dict[str, Any]) -> dict[str, Any]:
        return {"unseen": self._its_own_terminal().unseen}

    def _its_own_terminal(self) -> Typing:
        if self._typing is None:
            raise ValueError("this script has its caller's own terminal: type there")
        return self._typing


def _stage(command: dict[str, Any]) -> str:
    stage = command.get("stage", "batch")
    if stage not in STAGES:
        raise ValueError(f"{stage!r} is no way to stop a run: use one of {', '.join(STAGES)}")
    return str(stage)
