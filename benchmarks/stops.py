"""How long a stop takes where Python feeds the training, and how the run reads afterwards.

    python -m benchmarks.stops [--times 30] [--way screen|headless] [demo/slow_map.py …]

`screen` starts each script as the screen does and asks it to stop after some steps (`tfgpu-tui stop`, `Enter` and `r`);
`headless` runs it with `--stop-after`. The seconds count from the request (screen) or from the end of the fit that was
stopped (headless) to the end of the process. A run that does not end in time is cut, and counted as that.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tfgpu_tui.core.events import RunEnded, Steps, Stopping, TrainEnd
from tfgpu_tui.core.run_words import STOP_SIGNALS
from tfgpu_tui.runs import history, listing, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch

DEMOS = ("slow_map", "python_generator", "pydataset_single", "remote_files")
EPOCHS = "1000"
STEPS = 60
LIMIT_S = 60.0
"""After the request; a stop's own escalation sends SIGINT after 30 s."""


class Stop(NamedTuple):
    seconds: float | None
    """None where it was cut."""
    signals: int
    """How many signals we sent."""
    words: str
    status: int | None
    """Of the tool (headless), or of the script (screen)."""


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _stop_seen(run: RunDir, asked: float | None, status: int | None, cut: bool) -> Stop:
    with rundir.JournalReader(run.journal) as reader:
        events = list(reader)
    stopped = [event.t for event in events if isinstance(event, TrainEnd) and event.stopped]
    ended = [event for event in events if isinstance(event, RunEnded)]
    signals = [event for event in events if isinstance(event, Stopping) and event.stage in STOP_SIGNALS]
    begun = asked if asked is not None else (stopped[0] if stopped else None)
    seconds = ended[-1].t - begun if ended and begun is not None and not cut else None
    state, reader = history.latest(run.journal)
    with reader:
        for event in reader:
            state.apply(event)
    if asked is not None and ended:
        status = ended[-1].exit_code if ended[-1].signal is None else -ended[-1].signal
    return Stop(seconds, len(signals), state.activity(), status)


def by_screen(script: Path) -> Stop:
    """As `Enter`, `r` and `tfgpu-tui stop` do it."""
    spec = launch.LaunchSpec(argv=[str(script), EPOCHS], cwd=str(script.parent), python=sys.executable)
    run = launch.start(spec)

    def trains() -> bool:
        if not run.journal.exists():
            return False
        with rundir.JournalReader(run.journal) as reader:
            return sum(event.steps for event in reader if isinstance(event, Steps)) >= STEPS

    if not _wait(trains, 120):
        raise SystemExit(f"{script} did not train: see {run.path}")
    asked = time.time()
    launch.stop(run)
    cut = not _wait(lambda: listing.summary(run).state == "ended", LIMIT_S)
    if cut:
        launch.stop(run, "kill")
        _wait(lambda: listing.summary(run).state == "ended", 20)
    return _stop_seen(run, asked, None, cut)


def headless(script: Path) -> Stop:
    """`tfgpu-tui --headless --stop-after`."""
    command = [sys.executable, "-m", "tfgpu_tui", "--headless", "--python", sys.executable, "--stop-after", str(STEPS)]
    before = {run.id for run in listing.list_runs()}
    process = subprocess.Popen(
        [*command, str(script), EPOCHS], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait(lambda: bool(_new(before)), 30)
    (run,) = _new(before)

    def stopped() -> bool:
        if not run.journal.exists():
            return False
        with rundir.JournalReader(run.journal) as reader:
            return any(isinstance(event, TrainEnd) and event.stopped for event in reader)

    _wait(lambda: stopped() or process.poll() is not None, 120)
    cut = not _wait(lambda: process.poll() is not None, LIMIT_S)
    if cut:
        launch.stop(run, "kill")
    status = process.wait(60)
    return _stop_seen(run, None, status, cut)


def _new(before: set[str]) -> list[RunDir]:
    return [RunDir(run.path) for run in listing.list_runs() if run.id not in before]


def row(name: str, way: str, stops: list[Stop]) -> str:
    """One line of the table."""
    seconds = [stop.seconds for stop in stops if stop.seconds is not None]
    middle = f"{statistics.median(seconds):6.1f} {max(seconds):6.1f}" if seconds else f"{'–':>6} {'–':>6}"
    cut = len(stops) - len(seconds)
    signalled = sum(stop.signals > 0 for stop in stops)
    how = Counter(f"{stop.words} ({stop.status})" for stop in stops)
    words = "; ".join(f"{count} x {text}" for text, count in how.most_common(3))
    return f"{name:18} {way:8} {len(stops):5} {middle} {cut:5} {signalled:9}  {words}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--way", choices=("screen", "headless"), default=None)
    parser.add_argument("scripts", nargs="*", type=Path)
    options = parser.parse_args()
    demo = Path(__file__).resolve().parent.parent / "demo"
    scripts = [path.resolve() for path in options.scripts] or [demo / f"{name}.py" for name in DEMOS]
    ways = {"screen": by_screen, "headless": headless}
    folder = Path(tempfile.mkdtemp(prefix="stops-"))
    os.environ["TFGPU_TUI_STATE_DIR"] = str(folder / "state")
    print(
        f"{'script':18} {'way':8} {'stops':>5} {'median':>6} {'max':>6} {'cut':>5} {'signalled':>9}"
        "  how it reads (status)"
    )
    try:
        for script in scripts:
            for way in [options.way] if options.way else ways:
                stops = [ways[way](script) for _ in range(options.times)]
                print(row(script.stem, way, stops), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
