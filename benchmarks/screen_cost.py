"""What the screen costs: `python -m benchmarks.screen_cost` runs it on a terminal with a journal that grows at 2 Hz.

Prints for each size the time to the first paint, the share of a core, the bytes a second that go to the terminal, and
the memory; the same for a run in which nothing changes, for one beside as many busy processes as cores, and for btop
and htop at 2 Hz where they are installed.
`--json FILE` keeps the numbers, `--against FILE` prints the change to kept ones. Exit status 1 where a target is missed
with the ansi theme: under 2 % of a core; under 3 kB/s at 80x24, 10 kB/s at 120x40 and 200x50; nothing is sent while
nothing changes.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.ui import recording
from tests.ui.recording import Script
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs.rundir import JournalWriter

PROGRAM = """
import gc, sys
gc.disable()  # as cli/watching.py
from pathlib import Path
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui.app import run_screen
sys.exit(run_screen(RunDir(Path(sys.argv[1])), Settings(theme=sys.argv[2])))
"""
SIZES = ((80, 24), (120, 40), (200, 50))
CPU_PERCENT = 2.0
KB_PER_S = {"80x24": 3.0, "120x40": 10.0, "200x50": 10.0}
"""What the screen may cost at 2 Hz with the ansi theme, the default over SSH."""
SETTLE_S = 4.0
LATEST_S = 30.0
"""A first screen that takes longer is not waited for."""
PEER_PERIOD_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """One row of the table."""

    size: str
    what: str
    paint_s: float | None
    cpu_percent: float
    kb_per_s: float
    rss_mib: float


class Journal:
    """A run that goes on: host, GPU, steps, metrics and output every half second."""

    def __init__(self, folder: Path) -> None:
        self.script = Script(start=time.time() - 34)
        self.run = recording.write(folder, recording.everything(self.script, 30), recording.output_text())
        self._batches = recording.training(self.script, 1e9, begin=33.5)
        self._writer = JournalWriter(self.run.journal)
        self._size = self.run.output_log.stat().st_size
        self._ticks = 0

    def tick(self) -> None:
        """Half a second of the training."""
        for event in next(self._batches):
            self._writer.append(event)
        self._ticks += 1
        bar = f"\r\x1b[1m{self._ticks:>4}/2000\x1b[0m \x1b[32m{'━' * (self._ticks % 20)}\x1b[0m 31ms/step - loss: 0.59"
        with self.run.output_log.open("ab") as file:
            self._size += file.write(bar.encode())
        self._writer.append(ev.Log(t=time.time(), src="child", size_bytes=self._size))

    def end(self) -> None:
        """The script is over."""
        self._writer.append(ev.RunEnded(t=time.time(), src="child", exit_code=0, wall_s=34.0))

    def close(self) -> None:
        self._writer.close()


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], columns: int, rows: int, **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        usual = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        # Modules are compiled once, as an installation does, and not at each start.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**inherited, **usual, **environment},
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    def watch(self, size: str, what: str, seconds: float, tick: Callable[[], None], paints: bytes = b"") -> Cost:
        """Calls `tick` every half second, lets the program settle once it has painted, and measures for `seconds`."""
        seen, paint, sent = b"", None, 0
        start: tuple[float, float] | None = None
        next_tick = self.began + 0.5
        while True:
            now = time.monotonic()
            if now >= next_tick:
                tick()
                next_tick += 0.5
            if start is None and (not paints or paint is not None) and now - self.began >= (paint or 0.0) + SETTLE_S:
                start, sent = (now, cpu_s(self.process.pid)), 0
            if start is not None and now - start[0] >= seconds:
                busy = (cpu_s(self.process.pid) - start[1]) / (now - start[0])
                rate = sent / (now - start[0]) / 1000
                return Cost(size, what, paint, busy * 100, rate, rss_mib(self.process.pid))
            if select.select([self.master], [], [], 0.02)[0]:
                data = os.read(self.master, 65536)
                sent += len(data)
                if paints and paint is None:
                    seen = (seen + data)[-200_000:]
                    paint = time.monotonic() - self.began if paints in seen else None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@contextlib.contextmanager
def full_cores() -> Iterator[None]:
    """As many busy processes as cores: what a training on a CPU leaves to the screen."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def screen(columns: int, rows: int, theme: str, seconds: float, live: bool = True) -> Cost:
    """The screen of a run that goes on, or (`live` False) of one that is over."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "train-1")
        if not live:
            journal.end()
        command = [sys.executable, "-c", PROGRAM, str(journal.run.path), theme]
        terminal = Terminal(command, columns, rows)
        try:
            what = f"screen, {theme}" + ("" if live else ", nothing changes")
            tick = journal.tick if live else lambda: None
            return terminal.watch(f"{columns}x{rows}", what, seconds, tick, paints=b"train.py")
        finally:
            terminal.close()
            journal.close()


def peer(name: str, columns: int, rows: int, seconds: float) -> Cost:
    """btop or htop at 2 Hz, with a configuration of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [name, "-d", str(round(PEER_PERIOD_S * 10))]
        if name == "btop":
            command = [name]
            (Path(folder) / "btop").mkdir()
            (Path(folder) / "btop" / "btop.conf").write_text(f"update_ms = {round(PEER_PERIOD_S * 1000)}\n")
        terminal = Terminal(command, columns, rows, XDG_CONFIG_HOME=folder)
        try:
            return terminal.watch(f"{columns}x{rows}", f"{name}, 2 Hz", seconds, lambda: None)
        finally:
            terminal.close()


def missed(cost: Cost) -> list[str]:
    """Targets that this row misses."""
    if not cost.what.startswith("screen, ansi"):
        return []
    if cost.what.endswith("nothing changes"):
        return ["nothing sent"] if cost.kb_per_s else []
    out = [f"{CPU_PERCENT:g} % of a core"] if cost.cpu_percent > CPU_PERCENT else []
    return [*out, f"{KB_PER_S[cost.size]:g} kB/s"] if cost.kb_per_s > KB_PER_S[cost.size] else out


def costs(seconds: float) -> Iterator[Cost]:
    """All rows of the table."""
    for columns, rows in SIZES:
        yield screen(columns, rows, "ansi", seconds)
        yield screen(columns, rows, "dark", seconds)
        for name in ("htop", "btop"):
            if shutil.which(name):
                yield peer(name, columns, rows, seconds)
            elif (columns, rows) == SIZES[0]:
                print(f"{name} is not installed here: left out")
    yield screen(120, 40, "ansi", seconds, live=False)
    with full_cores():
        cost = screen(120, 40, "dark", seconds)
    yield replace(cost, what=f"{cost.what}, all cores full")


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path)
    asked = parser.parse_args()
    before: dict[str, dict[str, float]] = {}
    if asked.against:
        before = {f"{c['size']} {c['what']}": c for c in json.loads(asked.against.read_text())}
    print(f"{'size':<9}{'what':<32}{'first paint s':>14}{'CPU %':>8}{'kB/s':>8}{'RSS MiB':>9}")
    measured = []
    for cost in costs(asked.seconds):
        measured.append(cost)
        old = before.get(f"{cost.size} {cost.what}")
        note = (
            f"   kB/s {cost.kb_per_s - old['kb_per_s']:+.1f}, CPU {cost.cpu_percent - old['cpu_percent']:+.1f}"
            if old
            else ""
        )
        note += f"   misses {', '.join(missed(cost))}" if missed(cost) else ""
        paint = "" if cost.paint_s is None else f"{cost.paint_s:.2f}"
        print(
            f"{cost.size:<9}{cost.what:<32}{paint:>14}{cost.cpu_percent:>8.1f}{cost.kb_per_s:>8.1f}{cost.rss_mib:>9.0f}{note}",
            flush=True,
        )
    if asked.json:
        asked.json.write_text(json.dumps([asdict(c) for c in measured], indent=1))
    return 1 if any(missed(c) for c in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
