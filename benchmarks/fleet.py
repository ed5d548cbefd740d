"""What the fleet's screen costs: `python -m benchmarks.fleet` replays the journals of many runs, and watches them all.

The recordings of demo/ are written again at the pace in which they were, each into a run's folder of its own, with
their ranks (eight to a job), hosts and times changed; a recording that is over begins anew. Prints for each size and
number of runs the time to the first row, the share of a core, the bytes a second to the terminal, and the memory.
Exit status 1 where 64 runs at 120x40 cost more than 4 % of a core or 10 kB/s. `--write FOLDER` only writes, for a look.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.screen_cost import Cost, Terminal
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs import meta as metas
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import JournalReader, JournalWriter, RunDir

PROGRAM = "import sys; from tfgpu_tui.cli.command_line import main; sys.exit(main(['fleet', '--theme', 'ansi']))"
RECORDINGS = ("h200-input-bound", "one-gpu-input-bound", "eight-gpus-one-used", "h200-healthy", "cpu-input-bound")
ROOT = Path(__file__).parents[1]
RUNS = (8, 64)
SIZES = ((80, 24), (120, 40), (200, 50))
CPU_PERCENT, KB_PER_S = 4.0, 10.0
RANKS = 8
HISTORY_S = 20.0
MODULES = ("train.py", "pretrain.py", "finetune.py")


@functools.cache
def recorded(name: str) -> list[ev.Event]:
    """The events of a recording of demo/ but for its first and last one."""
    with JournalReader(ROOT / "demo" / "recordings" / f"{name}.jsonl") as reader:
        return [event for event in reader if not isinstance(event, (ev.RunEnded, ev.RunStarted))]


class Replayed:
    """A recording that is written again, now."""

    def __init__(self, state: Path, number: int, now: float) -> None:
        self._events = recorded(RECORDINGS[number % len(RECORDINGS)])
        self._length = self._events[-1].t - self._events[0].t + 0.5
        self._number, self._at, self._steps = number, 0, 0
        self._begun = now - min(HISTORY_S, self._length - 1) - number * 0.01
        name = f"train-{number:03d}"
        self.run = RunDir(state / "runs" / name)
        self.run.path.mkdir(mode=0o700)
        here = metas.here()
        started, pid = rundir.process_start(os.getpid()), os.getpid()
        argv = [MODULES[number // RANKS % len(MODULES)]]
        meta = rundir.Meta(
            name, argv, "/", sys.executable, started=self._begun, supervisor_pid=pid, supervisor_started=started
        )
        rundir.write_meta(self.run, meta._replace(**here._asdict()))
        self._writer = JournalWriter(self.run.journal)
        self._writer.append(ev.RunStarted(t=self._begun, src="child", id=name, argv=argv, cwd="/",
                                          python=sys.executable, host=f"node{number % RANKS + 1:02d}"))  # fmt: skip
        self._writer.append(ev.Member(t=self._begun, src="agent", pid=4711, job=f"{1700 + number // RANKS}.0",
                                      rank=number % RANKS, world_size=RANKS, launcher="slurm"))  # fmt: skip
        self.tick(now)

    def tick(self, now: float) -> None:
        """Writes what is due."""
        first = self._events[0].t
        while True:
            lap, at = divmod(self._at, len(self._events))
            event = self._events[at]
            t = self._begun + lap * self._length + event.t - first
            if t > now:
                return
            changes: dict[str, object] = {"t": t, "pid": 4711 if event.src == "agent" else event.pid}
            if isinstance(event, ev.Steps) and event.phase == "train":
                changes["first_step"], self._steps = self._steps + 1, self._steps + event.steps
                changes["warmup"] = event.warmup and lap == 0
            if isinstance(event, ev.Standing):
                changes["since"] = {name: since - event.t + t for name, since in event.since.items()}
                changes["severity"] = dict.fromkeys(event.since, "warning")
            self._writer.append(replace(event, **changes))  # type: ignore[arg-type]
            self._at += 1


def replayed(state: Path, count: int) -> Callable[[], None]:
    """Makes so many runs; the function that is returned writes what is due in all of them."""
    (state / "runs").mkdir(parents=True, mode=0o700)
    now = time.time()
    runs = [Replayed(state, number, now) for number in range(count)]

    def tick() -> None:
        for run in runs:
            run.tick(time.time())

    return tick


def measured(count: int, columns: int, rows: int, seconds: float) -> Cost:
    """The fleet's screen over so many runs."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        state.mkdir(mode=0o700)
        tick = replayed(state, count)
        terminal = Terminal([sys.executable, "-c", PROGRAM], columns, rows, TFGPU_TUI_STATE_DIR=str(state))
        try:
            return terminal.watch(f"{columns}x{rows}", f"fleet, {count} runs", seconds, tick, paints=b"node01")
        finally:
            terminal.close()


def costs(seconds: float) -> Iterator[Cost]:
    """All rows of the table."""
    for count in RUNS:
        for columns, rows in SIZES:
            yield measured(count, columns, rows, seconds)


def write(folder: Path, count: int) -> int:
    """Writes until it is ended."""
    tick = replayed(folder, count)
    print(f"TFGPU_TUI_STATE_DIR={folder} tfgpu-tui fleet", flush=True)
    while True:
        time.sleep(0.25)
        tick()


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.write is not None:
        asked.write.mkdir(mode=0o700, exist_ok=True)
        return write(asked.write, asked.runs)
    print(f"{'size':<9}{'what':<20}{'first paint s':>14}{'CPU %':>8}{'kB/s':>8}{'RSS MiB':>9}")
    missed, kept = False, []
    for cost in costs(asked.seconds):
        kept.append(vars(cost))
        paint = "" if cost.paint_s is None else f"{cost.paint_s:.2f}"
        numbers = f"{paint:>14}{cost.cpu_percent:>8.1f}{cost.kb_per_s:>8.1f}{cost.rss_mib:>9.0f}"
        over = cost.size == "120x40" and (cost.cpu_percent > CPU_PERCENT or cost.kb_per_s > KB_PER_S)
        missed = missed or over
        print(f"{cost.size:<9}{cost.what:<20}{numbers}{'   misses its limit' if over else ''}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(kept, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
