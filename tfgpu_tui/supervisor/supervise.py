"""The event loop of a run that has started: agents, samples, output, stops, and the end with its report."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tfgpu_tui
from tfgpu_tui import rundir
from tfgpu_tui.events import ChildStarted, Environment, Event, Log, RunStarted, TrainEnd
from tfgpu_tui.plain import StatusPrinter
from tfgpu_tui.rundir import Meta, RunDir
from tfgpu_tui.supervisor import child as script
from tfgpu_tui.supervisor import environment
from tfgpu_tui.supervisor.ending import Outcome, conclude
from tfgpu_tui.supervisor.gpu import GpuSampler
from tfgpu_tui.supervisor.host import HostSampler
from tfgpu_tui.supervisor.listening import listen
from tfgpu_tui.supervisor.output import OutputLog
from tfgpu_tui.supervisor.record import Recorder, say
from tfgpu_tui.supervisor.server import Server
from tfgpu_tui.supervisor.stopping import SIGNALS, STAGES, Stopper

WATCH_S = 0.25
"""Period of looking after the script's end and the GPU sampler's deadline."""
LOG_S = 0.5
REACHABLE_S, RETRY_LISTENING_S = 2.0, 60.0
"""Periods of looking whether the run's socket is still there, and of trying again where none can be made."""
LAST_WORDS_S = 1.0
"""After the script's end: for its agents' last events and its terminal's last output."""
PROBE_AFTER_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run whose script was just started (or could not be: `spawn_error`)."""

    run: RunDir
    meta: Meta
    child: script.Child | None
    begun: float
    spawn_error: OSError | None
    listener: socket.socket | None
    signals: dict[signal.Signals, str]
    """What to do on which signal: `stop` the script step by step, or `forward` it to the script."""
    early_signals: list[signal.Signals]
    faults: list[tuple[str, str]]
    status_every_s: float | None


def supervise(started: Started) -> Outcome:
    """Looks after the script until it ended and its report is written."""
    recorder = Recorder(started.run)
    meta = started.meta
    recorder.record(
        RunStarted(
            t=started.begun,
            src="child",
            pid=os.getpid(),
            id=meta.id,
            argv=meta.argv,
            cwd=meta.cwd,
            python=meta.python,
            mode=meta.mode,
            knobs=meta.knobs,
            parent=meta.parent,
            tool_version=tfgpu_tui.__version__,
            interval_s=meta.interval_s,
            simulated=os.environ.get("TFGPU_TUI_SIMULATED") or None,
        )
    )
    for part, message in started.faults:
        recorder.fault(part, message)
    try:
        if started.child is None:
            exit_code, number = _not_started(started, recorder)
        else:
            exit_code, number = asyncio.run(_Run(started, started.child, recorder).until_ended())
    finally:
        if started.listener is not None:
            started.listener.close()
            rundir.remove_socket(Path(meta.socket))
    return conclude(started.run, meta, recorder, started.begun, exit_code, number)


def _not_started(started: Started, recorder: Recorder) -> tuple[int | None, int | None]:
    message = f"{started.meta.python} can't be started: {started.spawn_error}"
    recorder.fault("script", message)
    say(message)
    return script.CANNOT_RUN, None


class _Run:
    """The parts of a live run, wired to each other."""

    def __init__(self, started: Started, child: script.Child, recorder: Recorder) -> None:
        self._started = started
        self._meta = started.meta
        self._child = child
        self._recorder = recorder
        self._ended = asyncio.Event()
        self._server = Server(self._on_event, self._on_command, recorder.refuse)
        self._stopper = Stopper(self._act, recorder.record)
        self._host = HostSampler(child.pid)
        self._gpu = GpuSampler(recorder.record, self._meta.interval_s, ours=lambda: self._host.pids)
        self._output: OutputLog | None = None
        self._output_ended = asyncio.Event()
        self._log_told: tuple[int, bool] = (0, False)

    async def until_ended(self) -> tuple[int | None, int | None]:
        """Exit code or signal of the script, after everything it said was recorded."""
        self._recorder.record(
            ChildStarted(t=time.time() - (time.monotonic() - self._child.started), src="child", pid=self._child.pid)
        )
        self._handle_signals()
        self._open_output()
        if self._started.listener is not None:
            await self._server.serve(self._started.listener)
        self._recorder.record(environment.machine())
        parts: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("watch", self._watch()),
            ("host samples", self._sample()),
            ("output", self._follow_output()),
            ("socket", self._keep_reachable()),
        ]
        if self._started.status_every_s is not None:
            parts.append(("status lines", self._print_status(self._started.status_every_s)))
        tasks = [asyncio.create_task(self._guard(name, part)) for name, part in parts]
        probe = asyncio.create_task(self._guard("tensorflow probe", self._probe_tensorflow()))
        await self._ended.wait()
        self._stopper.close()
        await self._hear_last_words()
        await probe
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._gpu.close()
        await self._server.close()
        rundir.remove_socket(Path(self._meta.socket))
        self._close_output()
        status = self._child.status()
        assert status is not None
        return status

    async def _guard(self, part: str, work: Coroutine[Any, Any, None]) -> None:
        """A part that fails says so and is missing from then on; the script and the other parts go on."""
        try:
            await work
        except Exception as error:
            self._recorder.fault(part, repr(error))
            self._recorder.note_traceback()

    # Signals and commands

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._look_for_end)
        for number, action in self._started.signals.items():
            loop.add_signal_handler(number, self._on_signal, number, action)
        for number in self._started.early_signals:
            self._on_signal(number, self._started.signals[number])
        self._look_for_end()

    def _on_signal(self, number: signal.Signals, action: str) -> None:
        if action == "forward":
            script.send_signal(self._child, number)
        else:
            self._stopper.begin("terminate", reason=f"the supervisor got {number.name}")

    def _look_for_end(self) -> None:
        if self._child.status() is not None:
            self._ended.set()

    def _act(self, stage: str) -> bool:
        if stage == "batch":
            # Only Keras' own loop can be asked; a custom loop, or a script between trainings, gets its SIGINT.
            state = self._recorder.state
            asks = state.phase in ("tracing", "training", "evaluating") and state.loop in ("fit", None)
            return asks and self._server.command_agents({"cmd": "stop_training"})
        script.send_signal(self._child, SIGNALS[stage])
        return True

    def _on_event(self, event: Event) -> bool:
        taken = self._recorder.record(event)
        if isinstance(event, TrainEnd) and event.stopped:
            self._stopper.progressed()
        return taken

    def _on_command(self, command: dict[str, Any]) -> None:
        name = command.get("cmd")
        if name == "stop":
            stage = command.get("stage", "batch")
            if stage not in STAGES:
                raise ValueError(f"{stage!r} is no way to stop a run: use one of {', '.join(STAGES)}")
            self._stopper.begin(stage)
        elif name == "resize":
            columns, rows = command.get("columns"), command.get("rows")
            if not isinstance(columns, int) or not isinstance(rows, int):
                raise ValueError("resize needs whole numbers of columns and rows")
            if self._child.terminal is not None:  # a headless script has its caller's terminal
                script.set_window_size(self._child.terminal, columns, rows)
        else:
            raise ValueError(f"unknown command {name!r}")

    # Parts

    async def _watch(self) -> None:
        while True:
            self._look_for_end()
            self._gpu.tick()
            self._recorder.report_drops()
            await asyncio.sleep(WATCH_S)

    async def _keep_reachable(self) -> None:
        """Listens anew where the socket went away: systemd removes a user's runtime folder when the last login ends,
        which is just what a broken SSH connection is, and cleaners of /tmp remove old files."""
        while True:
            await asyncio.sleep(REACHABLE_S)
            if not os.path.exists(self._meta.socket):
                await self._listen_anew()

    async def _listen_anew(self) -> None:
        try:
            path = rundir.socket_path()
            await self._server.serve(listen(path))
            self._meta = replace(self._meta, socket=str(path))
            rundir.write_meta(self._started.run, self._meta)
        except (OSError, rundir.StateDirError) as error:
            self._recorder.fault("socket", f"this run can't be reached by tfgpu-tui stop: {error}")
            await asyncio.sleep(RETRY_LISTENING_S)

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self._meta.interval_s, loop.time())
            await asyncio.sleep(due - loop.time())
            self._recorder.record(self._host.sample())

    def _open_output(self) -> None:
        if self._child.terminal is None:
            self._output_ended.set()
            return
        self._output = OutputLog(self._child.terminal, self._started.run.output_log)
        asyncio.get_running_loop().add_reader(self._child.terminal, self._drain, self._output)

    def _drain(self, output: OutputLog) -> None:
        assert self._child.terminal is not None
        if not output.drain():
            asyncio.get_running_loop().remove_reader(self._child.terminal)
            self._output_ended.set()

    async def _follow_output(self) -> None:
        while True:
            await asyncio.sleep(LOG_S)
            self._tell_output()

    def _tell_output(self) -> None:
        if self._output is None:
            return
        now = (self._output.size_bytes, self._output.capped)
        if now == self._log_told:
            return
        if self._output.error and not self._log_told[1]:
            self._recorder.fault("output.log", f"the script's output is no longer kept: {self._output.error}")
        self._log_told = now
        self._recorder.record(Log(t=time.time(), src="child", size_bytes=now[0], capped=now[1]))

    def _close_output(self) -> None:
        self._tell_output()
        if self._output is None or self._child.terminal is None:
            return
        asyncio.get_running_loop().remove_reader(self._child.terminal)
        self._output.close()
        os.close(self._child.terminal)

    async def _print_status(self, every_s: float) -> None:
        printer = StatusPrinter()
        while True:
            await asyncio.sleep(every_s)
            for line in printer.lines(self._recorder.state):
                print(line, file=sys.stderr, flush=True)

    async def _probe_tensorflow(self) -> None:
        """Says `missing` where the script's interpreter has no TensorFlow: an import would show by itself."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ended.wait(), PROBE_AFTER_S)
        state = self._recorder.state
        if state.phase is not None or state.environment.tensorflow is not None:
            return
        if await environment.tensorflow_is_missing(self._meta.python, self._meta.cwd):
            self._recorder.record(Environment(t=time.time(), src="host", tensorflow="missing"))
            if self._started.status_every_s is not None:
                say(f"{self._meta.python} has no TensorFlow: only the machine and its GPUs are shown")

    # The end

    async def _hear_last_words(self) -> None:
        """What agents and terminal still hold. Children that outlive the script may keep both open: a short wait."""
        await asyncio.sleep(0)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._output_ended.wait(), LAST_WORDS_S)
        await self._server.drain_agents(LAST_WORDS_S)
