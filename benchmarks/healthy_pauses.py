"""Healthy trainings that pause: what is said of them, live and at their end.

    python -m benchmarks.healthy_pauses [--scale 0.1] [--together 4] [NAME …]

Each training of `pause_cases/pauses.py` pauses for 90 s times the scale, and `run.stalled` asks after 60 s times the
scale, so a pause is always longer than what is asked about. A finding fails its case where it stood at any moment and
TRUE does not list it: a short training with a long pause has findings that are right, such as a validation that takes
most of its time.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tfgpu_tui.core.events import Standing, Standstill
from tfgpu_tui.core.state import fold
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch
from tfgpu_tui.supervisor.host import descendants

SCRIPT = Path(__file__).parent / "pause_cases" / "pauses.py"
PAUSE_S, STALL_AFTER_S = 90.0, 60.0
LIMIT_S = 600.0
TRUE: dict[str, tuple[str, ...]] = {
    "long_validation": ("host.validation",),
    "cold_validation": ("host.validation",),
    "checkpoint": ("host.validation",),
    "three_steps": ("host.validation",),
    "long_trace": ("run.slow_start",),
    "long_compile": ("compute.unrolled", "run.slow_start", "run.outside_training"),
    "first_fill": ("input.bound", "input.python"),
    "own_loop": ("host.python",),
}
"""What is right to say of a training whose pause is much of its time."""
ANYWHERE = ("run.slow_exit",)
"""TensorFlow's own end takes long now and then, of any script."""
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


class Result(NamedTuple):
    name: str
    seconds: float
    quiet_s: float
    """The longest time without a step that was looked at."""
    stood: list[str]
    """Findings that stood at any moment, but info."""
    state: str


def _said(run: RunDir, word: str) -> bool:
    """Whether the training printed a line of this word alone."""
    return run.output_log.exists() and word in map(str.strip, run.output_log.read_text(errors="replace").splitlines())


def _script(run: RunDir) -> int:
    pid = rundir.read_meta(run).script_pid
    assert pid is not None
    return pid


def _type(run: RunDir, line: str, pause_s: float) -> None:
    """As with the screen's `i`."""
    time.sleep(pause_s)
    launch.command(run, {"cmd": "input", "text": line + "\n"})


def _stop(run: RunDir, pause_s: float, whole: bool) -> None:
    meta = rundir.read_meta(run)
    pids = [meta.keeper_pid, meta.supervisor_pid] if whole else []
    stopped = [pid for pid in (*pids, *descendants(_script(run))) if pid is not None]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(pause_s)
    for pid in reversed(stopped):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _debug(run: RunDir, pause_s: float) -> None:
    """As a debugger holds a program: attached, all threads stopped (ptrace(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    threads = [int(name) for name in os.listdir(f"/proc/{_script(run)}/task")]
    held = []
    for thread in threads:
        if libc.ptrace(PTRACE_ATTACH, thread, None, None) == 0:
            os.waitpid(thread, 0x40000000)  # __WALL
            held.append(thread)
    if not held:
        print(f"debugged: this system lets nobody attach ({os.strerror(ctypes.get_errno())}); not tried")
        return
    time.sleep(pause_s)
    for thread in held:
        libc.ptrace(PTRACE_DETACH, thread, None, None)


MEANWHILE: dict[str, Callable[[RunDir, float], None]] = {
    "suspended": lambda run, pause_s: _stop(run, pause_s, False),
    "asleep_machine": lambda run, pause_s: _stop(run, pause_s, True),
    "debugged": _debug,
    "breakpoint_hit": lambda run, pause_s: _type(run, "c", pause_s),
    "asked": lambda run, pause_s: _type(run, "yes", pause_s),
}
"""What is done to a run while it pauses, for so many seconds."""


def _names() -> list[str]:
    text = SCRIPT.read_text()
    return text[text.index("CASES = (") + 9 : text.rindex(")  # fmt")].replace(",", " ").split()


def tried(name: str, scale: float, folder: Path) -> Result:
    """Runs one to its end."""
    pause_s = PAUSE_S * scale
    begun = time.monotonic()
    spec = launch.LaunchSpec(
        argv=[str(SCRIPT), name, str(pause_s)],
        cwd=str(folder),
        python=sys.executable,
        stall_after_s=STALL_AFTER_S * scale,
    )
    run = launch.start(spec)
    done = False
    while listing.summary(run).state != "ended" and time.monotonic() - begun < LIMIT_S + 4 * pause_s:
        if not done and name in MEANWHILE and _said(run, "pause"):
            done = True
            MEANWHILE[name](run, pause_s)
        time.sleep(0.1)
    if listing.summary(run).state != "ended":
        launch.stop(run, "kill")
    return _result(name, run, time.monotonic() - begun)


def _result(name: str, run: RunDir, seconds: float) -> Result:
    with rundir.JournalReader(run.journal) as reader:
        events = list(reader)
    state = fold(events)
    told = [(name, event.severity.get(name)) for event in events if isinstance(event, Standing) for name in event.since]
    told += [(found.id, found.severity) for found in diagnose(state)]
    stood = {name for name, severity in told if severity != "info" or name == "run.stalled"}
    quiet = [event.quiet_s for event in events if isinstance(event, Standstill)]
    ended = state.activity() if _said(run, "over") else f"not over: {state.activity()}"
    return Result(name, seconds, max(quiet, default=0.0), sorted(stood), ended)


def _right(result: Result) -> tuple[str, ...]:
    return *TRUE.get(result.name, ()), *ANYWHERE


def row(result: Result) -> str:
    """A line of the table."""
    words = [f"({name})" if name in _right(result) else name for name in result.stood]
    return f"{result.name:18} {result.seconds:8.1f} {result.quiet_s:7.1f}  {', '.join(words) or '–'}; {result.state}"


def false(result: Result) -> bool:
    """Whether something was said that is not right, or its pause never ended."""
    return "not over" in result.state or any(name not in _right(result) for name in result.stood)


def tried_all(names: list[str], scale: float, together: int, folder: Path) -> list[Result]:
    """So many at once; each is printed as it ends."""

    def one(name: str) -> Result:
        result = tried(name, scale, folder)
        print(row(result), flush=True)
        return result

    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(one, names))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--together", type=int, default=4)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pauses-"))
    os.environ["TFGPU_TUI_STATE_DIR"] = str(folder / "state")
    print(f"a pause {PAUSE_S * options.scale:g} s, asked after {STALL_AFTER_S * options.scale:g} s; runs in {folder}")
    print(f"{'training':18} {'seconds':>8} {'quiet':>7}  findings that stood (right ones in brackets)", flush=True)
    results = tried_all(options.names or _names(), options.scale, options.together, folder)
    bad = sum(map(false, results))
    print("within limit" if not bad else f"OVER THE LIMIT: {bad} alarmed falsely")
    return bad > 0


if __name__ == "__main__":
    raise SystemExit(main())
