"""The event loop of a run that has started: agents, samples, output, stops, and the end with its report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tfgpu_tui
from tfgpu_tui.core.events import ChildStarted, Environment, Event, Log, RunStarted, Standing, TrainEnd
from tfgpu_tui.diagnose import FindingLog, diagnose
from tfgpu_tui.report.plain import StatusPrinter
from tfgpu_tui.runs import alive, rundir
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.supervisor import cgroup, children, environment, open_files
from tfgpu_tui.supervisor import child as processes
from tfgpu_tui.supervisor.clock import RunClock
from tfgpu_tui.supervisor.closing import Closing
from tfgpu_tui.supervisor.control import Control
from tfgpu_tui.supervisor.ending import Outcome, conclude
from tfgpu_tui.supervisor.finding_command import FindingCommands
from tfgpu_tui.supervisor.gpu import GpuSampler
from tfgpu_tui.supervisor.host import HostSampler
from tfgpu_tui.supervisor.kept import KeptScript
from tfgpu_tui.supervisor.listening import listen
from tfgpu_tui.supervisor.memory_dumps import MemoryDumps
from tfgpu_tui.supervisor.messages import Messages, StderrFile
from tfgpu_tui.supervisor.metrics_child import MetricsChild
from tfgpu_tui.supervisor.open_files import OpenFiles
from tfgpu_tui.supervisor.output import Output
from tfgpu_tui.supervisor.preflight import preflight
from tfgpu_tui.supervisor.record import Recorder, say
from tfgpu_tui.supervisor.relay import Relay
from tfgpu_tui.supervisor.rerun import PendingRerun
from tfgpu_tui.supervisor.server import Server
from tfgpu_tui.supervisor.standstill import TURN_S, StandstillWatch
from tfgpu_tui.terminal.lines import printable_lines

WATCH_S = 0.25
"""Period of looking after the script's end and the GPU sampler's deadline."""
LOG_S = 0.5
JUDGE_S = 2.0
"""How exactly it is known since when a finding stands."""
REACHABLE_S, RETRY_LISTENING_S = 2.0, 60.0
"""Periods of looking whether the run's socket is still there, and of trying again where none can be made."""
LAST_WORDS_S = 1.0
"""After the script's end: for its agents' last events."""
LAST_OUTPUT_S = 5.0
"""After the script's end: for the keeper's word that its output is complete."""
PROBE_AFTER_S = 1.0
HELD_UP_S = 5.0
"""A turn of the loop that comes so late was held up from outside: stopped, or on a machine that could not."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run whose script was started (or could not be: `spawn_error`)."""

    run: RunDir
    meta: Meta
    script: processes.Script | None
    kept: KeptScript | None
    """The keeper, where there is one; `script` is then the same object."""
    begun: float
    clock_base: float | None
    """See `clock.base`; None: this process saw the script start."""
    spawn_error: str | None
    listener: socket.socket | None
    signals: dict[signal.Signals, str]
    """What to do on which signal: `stop` the script step by step."""
    early_signals: list[signal.Signals]
    faults: list[tuple[str, str]]
    status_every_s: float | None
    stderr_from: int | None = None
    """Where the script's first byte stands in the file that stderr is; None where it is none."""
    relay: Relay | None = None
    """Beside a script without a keeper, who passes the signals on to it."""


def supervise(started: Started) -> Outcome:
    """Looks after the script until it ended and its report is written."""
    recorder = Recorder(started.run, RunClock(started.clock_base))
    recorder.take_complaints()
    if recorder.state.run is None:
        recorder.record(_run_started(started))
    elif started.kept is not None:
        _go_on(started.kept, recorder)
    if started.kept is None:
        _keep_off_stderr(recorder)
    for part, message in started.faults:
        recorder.fault(part, message)
    rerun = PendingRerun(started.meta, recorder)
    commands = FindingCommands(started.run, started.meta, recorder)
    try:
        if recorder.state.ended is not None:  # a supervisor before this one got so far
            exit_code, number = recorder.state.ended.exit_code, recorder.state.ended.signal
        elif started.script is None:
            exit_code, number = _not_started(started, recorder)
        else:
            exit_code, number = _look_after(started, started.script, recorder, rerun, commands)
            _begin_rerun(rerun, started)
    finally:
        if started.listener is not None:
            started.listener.close()
            rundir.remove_socket(Path(started.meta.socket))
    core_dumped = started.script.core_dumped if started.script is not None else None
    outcome = conclude(started.run, started.meta, recorder, started.begun, exit_code, number, core_dumped)
    commands.tell_last()
    return outcome


def _look_after(
    started: Started,
    script: processes.Script,
    recorder: Recorder,
    rerun: PendingRerun,
    commands: FindingCommands,
) -> tuple[int | None, int | None]:
    """Exit code or signal of the script, also where the event loop or a sampler can't be had here."""
    run: _Run | None = None
    try:
        run = _Run(started, script, recorder, rerun, commands)
        with contextlib.closing(run.until_ended()) as until_ended:  # there may be no loop to begin it
            return asyncio.run(until_ended)
    except Exception as error:
        if started.kept is not None:
            raise  # the keeper starts another supervisor
        recorder.note_traceback()
        recorder.fault("monitor", repr(error))
        with contextlib.suppress(OSError):
            why = printable_lines(repr(error))
            say(f"the monitor failed ({why}): the script goes on, and the report holds what was seen until now")
        if run is not None:
            run.close_sampler()
        children.wait_for(script.pid)
        status = script.status()
        assert status is not None
        return status


def _keep_off_stderr(recorder: Recorder) -> None:
    """What libraries print of themselves goes into supervisor.log: stderr is the script's."""

    class IntoLog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            recorder.note(self.format(record))

    logging.basicConfig(handlers=[IntoLog()], force=True)
    logging.captureWarnings(True)
    sys.unraisablehook = lambda failed: recorder.note(
        f"{failed.err_msg or 'ignored'} {failed.object!r}: {failed.exc_value!r}"
    )
    threading.excepthook = lambda failed: recorder.note(f"in {failed.thread}: {failed.exc_value!r}")


def _begin_rerun(rerun: PendingRerun, started: Started) -> None:
    """Before the last event: what becomes of it is written down, and no process of the old run lives any more."""
    new = rerun.begin(started.script.terminal if started.script is not None else None)
    if new is not None and started.kept is None:
        say(f"a rerun was asked for, and goes on by itself: tfgpu-tui attach {new}")


def _run_started(started: Started) -> RunStarted:
    meta = started.meta
    return RunStarted(
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
        stall_after_s=meta.stall_after_s,
        simulated=os.environ.get("TFGPU_TUI_SIMULATED") or None,
        host=meta.host,
        boot_id=meta.boot_id,
        pid_namespace=meta.pid_namespace,
    )


def _go_on(kept: KeptScript, recorder: Recorder) -> None:
    """A supervisor before this one was lost: its journal was read, and goes on."""
    gap_s = max(0.0, recorder.clock.now() - recorder.state.now)
    how = kept.told.lost_supervisor or "ended"
    recorder.fault("supervisor", f"it {how}, and another one goes on; {gap_s:.1f} s of samples are missing")


def _not_started(started: Started, recorder: Recorder) -> tuple[int | None, int | None]:
    message = f"{started.meta.python} can't be started: {started.spawn_error}"
    recorder.fault("script", message)
    say(message)
    return processes.CANNOT_RUN, None


class _Run:
    """The parts of a live run, wired to each other."""

    def __init__(
        self,
        started: Started,
        script: processes.Script,
        recorder: Recorder,
        rerun: PendingRerun,
        commands: FindingCommands,
    ) -> None:
        self._started = started
        self._meta = started.meta
        self._script = script
        self._recorder = recorder
        self._ended = asyncio.Event()
        self._server = Server(self._on_event, self._on_command, recorder.refuse)
        self._host = HostSampler(script.pid)
        self._gpu = GpuSampler(recorder.record, self._meta.interval_s, ours=lambda: self._host.pids)
        self._messages = Messages(recorder.record)
        self._dumps = MemoryDumps(recorder.record)
        self._output = Output(started.kept, started.run.output_log, self._read_output) if started.kept else None
        self._stderr = StderrFile(started.stderr_from)
        self._control = Control(
            script, started.kept, self._server, recorder, rerun, self._own_children, self._meta.trial is not None
        )
        self._closing = Closing(script.pid, recorder.state, recorder.record)
        self._standstill = StandstillWatch(
            script.pid, recorder.state, recorder.record, self._server.ask_agents, self._own_children
        )
        self._open_files = OpenFiles(recorder.state, recorder.record, lambda: self._host.pids - self._own_children())
        self._reaper = children.Reaper()
        self._commands = commands
        self._metrics = MetricsChild(started.run, started.meta.metrics, recorder.fault)
        self._log_told: tuple[int, bool] = (0, False)

    async def until_ended(self) -> tuple[int | None, int | None]:
        """Exit code or signal of the script, after everything it said was recorded."""
        if self._recorder.state.child_pid is None:
            self._recorder.record(ChildStarted(t=self._started.begun, src="child", pid=self._script.pid))
        self._handle_signals()
        self._metrics.start()
        if self._started.kept is not None:
            asyncio.get_running_loop().add_reader(self._started.kept, self._hear_keeper, self._started.kept)
        if self._started.listener is not None:
            await self._server.serve(self._started.listener)
        self._recorder.record(replace(environment.machine(), messages_from=self._messages_from()))
        parts: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("watch", self._watch()),
            ("host samples", self._sample()),
            ("output", self._follow_output()),
            ("socket", self._keep_reachable()),
            ("alive", self._show_life()),
            ("findings", self._judge()),
            ("standstill", self._look_while_still()),
            ("open files", self._look_at_open_files()),
        ]
        if self._started.status_every_s is not None:
            parts.append(("status lines", self._print_status(self._started.status_every_s)))
        tasks = [asyncio.create_task(self._guard(name, part)) for name, part in parts]
        probe = asyncio.create_task(self._guard("tensorflow probe", self._probe_tensorflow()))
        look = asyncio.create_task(self._guard("preflight", self._preflight()))
        await self._ended.wait()
        await self._control.close()
        await self._hear_last_words()
        await probe
        if (self._script.status() or (0, None))[0]:
            await look  # it may say why the script failed at once; some 0.1 s, and has a limit of its own
        tasks.append(look)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self.close_sampler()
        await self._server.close()
        rundir.remove_socket(Path(self._meta.socket))
        self._close_output()
        status = self._script.status()
        assert status is not None
        self._look_for_oom_killer(status)
        return status

    def close_sampler(self) -> None:
        """Ends the NVML child, where there is one, and that of the metrics."""
        self._gpu.close()
        self._metrics.close()

    def _own_children(self) -> set[int]:
        """The monitor's own processes among this one's children: neither the script's, nor to be taken leave of."""
        relay = self._started.relay
        lasting = (self._gpu.child_pid, relay.witness if relay else None)
        return {pid for pid in lasting if pid is not None} | self._commands.pids | self._metrics.pids

    def _look_for_oom_killer(self, status: tuple[int | None, int | None]) -> None:
        """The last sample came before the kill that it has to count."""
        last = self._recorder.state.host
        if status[1] == signal.SIGKILL and last is not None:
            self._recorder.record(replace(last, t=time.time(), oom_kills=cgroup.find().oom_kills()))

    def _hear_keeper(self, kept: KeptScript) -> None:
        kept.read(on_alone=self._do_without_keeper)
        self._look_for_end()
        if self._output is not None:
            self._output.look()

    def _do_without_keeper(self) -> None:
        assert self._started.kept is not None and self._output is not None
        asyncio.get_running_loop().remove_reader(self._started.kept)
        if self._script.status() is None:
            self._output.take_over()
            why = "the keeper of the script's terminal was killed: the script's exit status will not be known"
            self._recorder.fault("keeper", why)

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
        if self._started.relay is not None:
            self._started.relay.inform(
                lambda: loop.call_soon_threadsafe(self._look_for_end),
                lambda number: loop.call_soon_threadsafe(self._control.on_signal, number, "relayed"),
            )
        else:
            loop.add_signal_handler(signal.SIGCHLD, self._look_for_end)
        for number, action in self._started.signals.items():
            loop.add_signal_handler(number, self._control.on_signal, number, action)
        for number in self._started.early_signals:
            self._control.on_signal(number, self._started.signals[number])
        self._control.take_up_stop()
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._script.status() is not None:
            self._ended.set()

    def _on_event(self, event: Event) -> bool:
        taken = self._recorder.record(event)
        if isinstance(event, TrainEnd) and event.stopped:
            self._control.progressed()
        return taken

    def _on_command(self, command: dict[str, Any]) -> dict[str, Any] | None:
        return self._control.on_command(command)

    # Parts

    async def _watch(self) -> None:
        last = time.monotonic()
        while True:
            late_s = time.monotonic() - last - WATCH_S
            if late_s > HELD_UP_S:
                self._recorder.fault("machine", f"the monitor was held up for {late_s:.0f} s and sampled nothing")
            last = time.monotonic()
            for message in self._recorder.clock.changes():
                self._recorder.fault("clock", message)
            self._look_for_end()
            if self._script.status() is None:
                self._closing.look()
            self._gpu.tick()
            self._commands.look()
            self._metrics.look()
            if self._started.kept is None:
                self._reaper.look(self._own_children() | {self._script.pid})
            self._recorder.report_drops()
            await asyncio.sleep(WATCH_S)

    async def _keep_reachable(self) -> None:
        """Listens anew where the socket went away: systemd removes a user's runtime folder when the last login ends,
        which is just what a broken SSH connection is, and cleaners of /tmp remove old files."""
        while True:
            await asyncio.sleep(REACHABLE_S)
            self._recorder.look_after_file()
            if not self._started.run.meta_path.exists():
                with contextlib.suppress(OSError):
                    rundir.write_meta(self._started.run, self._meta)
            if not os.path.exists(self._meta.socket):
                await self._listen_anew()

    async def _show_life(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk, a folder that was deleted: the next time
                alive.touch(self._started.run.path)
            await asyncio.sleep(alive.EVERY_S)

    async def _listen_anew(self) -> None:
        try:
            path = rundir.same_or_new_socket_path(Path(self._meta.socket))
            await self._server.serve(listen(path))
            self._meta = self._meta._replace(socket=str(path))
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

    async def _look_while_still(self) -> None:
        while True:
            await asyncio.sleep(TURN_S)
            self._standstill.turn()

    async def _look_at_open_files(self) -> None:
        while True:
            await asyncio.sleep(open_files.TURN_S)
            self._open_files.turn()

    async def _follow_output(self) -> None:
        while True:
            await asyncio.sleep(LOG_S)
            self._tell_output()

    def _messages_from(self) -> str:
        if self._output is not None:
            return "terminal"
        return "file" if self._stderr.readable else "nowhere"

    async def _preflight(self) -> None:
        if self._recorder.state.preflight is None:
            self._recorder.record(await preflight(self._meta))

    async def _judge(self) -> None:
        """Writes down since when each finding stands: a reader that begins at a checkpoint can't see it any more."""
        log, state = FindingLog(), self._recorder.state
        while True:
            await asyncio.sleep(JUDGE_S)
            standing = log.update(diagnose(state), state.now, state.standing)
            self._commands.tell(standing)
            since, severity = {f.id: t for f, t in standing}, {f.id: f.severity for f, _ in standing}
            if severity != state.standing_severity or since.keys() != state.standing.keys():
                self._recorder.record(Standing(t=time.time(), src="child", since=since, severity=severity))

    def _read_output(self, data: bytes) -> None:
        self._messages.feed(data)
        self._dumps.feed(data)

    def _tell_output(self) -> None:
        self._read_output(self._stderr.read())
        if self._output is None:
            return
        self._output.look()
        now = (self._output.size_bytes, self._output.capped)
        if now == self._log_told:
            return
        if self._output.error and not self._log_told[1]:
            self._recorder.fault("output.log", f"the script's output is no longer kept: {self._output.error}")
        self._log_told = now
        self._recorder.record(Log(t=time.time(), src="child", size_bytes=now[0], capped=now[1]))

    def _close_output(self) -> None:
        self._tell_output()
        self._dumps.end()
        self._stderr.close()
        if self._output is not None:
            self._output.close()

    async def _print_status(self, every_s: float) -> None:
        printer = StatusPrinter()
        while True:
            await asyncio.sleep(every_s)
            for line in printer.lines(self._recorder.state):
                print(printable_lines(line), file=sys.stderr, flush=True)

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
        if self._output is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._output.over.wait(), LAST_OUTPUT_S)
        await self._server.drain_agents(LAST_WORDS_S)
