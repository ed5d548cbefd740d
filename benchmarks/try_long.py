"""How far a row of `try` is from a long run: the script with a setting for so long, and what a trial would take of it.

The first part of the long run, up to where a trial would have been ended, is compared with all of it: one process, the
same machine. A row comes from other processes, so that it also differs by what runs of one script differ by.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tfgpu_tui.report.compare import Speed
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.trials.measure import Watched

START_S = 300.0
"""For the first steps, on a busy machine."""
END_S = 90.0


def run(script: Path, argument: str, setting: dict[str, str], seconds: float, env: dict[str, str]) -> dict[str, Any]:
    """`long_ms`, `as_trial_ms` (a step, None where not known) and `long_s` of steps. `env` names a state folder in
    `TFGPU_TUI_STATE_DIR` that has no run yet."""
    sets = [word for name, value in setting.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "tfgpu_tui", "--headless", *sets, str(script), argument]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    ) as process:
        try:
            return _followed(process, Path(env["TFGPU_TUI_STATE_DIR"]), seconds)
        finally:
            _end(process)


def _followed(process: subprocess.Popen[bytes], state: Path, seconds: float) -> dict[str, Any]:
    trial: Speed | None = None
    watched = Watched()
    until = time.monotonic() + START_S + 3 * seconds
    while not (journals := list(state.glob("runs/*/journal*.jsonl"))):
        if process.poll() is not None or time.monotonic() > until:
            return _told(watched, None)
        time.sleep(0.1)
    with JournalReader(journals[0]) as reader:
        while watched.steady_s < seconds and process.poll() is None and time.monotonic() < until:
            for event in reader:
                watched.take(event)
                if trial is None and watched.enough(None, float("inf")):
                    trial = speed(watched)
            time.sleep(0.2)
    return _told(watched, trial)


def _told(watched: Watched, trial: Speed | None) -> dict[str, Any]:
    all_of_it = speed(watched)
    return {
        "long_ms": all_of_it and all_of_it.median_ms,
        "as_trial_ms": trial and trial.median_ms,
        "long_s": round(watched.steady_s, 1),
    }


def speed(watched: Watched) -> Speed | None:
    """Of the stretch that a row shows (`Record.shown`)."""
    speeds = watched.speeds()
    return speeds["later"] or speeds["first"] or speeds["whole"]


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                continue
