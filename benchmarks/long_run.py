"""A month of training through the real keeper, supervisor and screen, by a fake agent in fast forward.

    python -m benchmarks.long_run [--steps 10000000] [--per-window 8]

The script of the run is the fake agent: it sends the windows of so many steps as fast as the supervisor takes them,
with epochs, metrics, 8 devices' memory and, now and then, the placement of 64 layers; times run as in a month.
Meanwhile `tfgpu-tui attach` runs in a terminal. Afterwards a state is made anew from the files (attach), and a replay
is begun at several times of the run. Limits: memory grows by less than 10 % after the first tenth, attach and each jump
of a replay within 3 s.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgpu_tui.runs.rundir import RunDir

MONTH_S = 30 * 86400.0
LIMIT_ATTACH_S = 3.0
SEEKS = (0.0, 0.25, 0.5, 0.75, 0.99)
"""Parts of the run's time at which a replay is begun."""
LIMIT_GROWTH = 1.10
AGENT = """
import json, os, socket, sys, time
steps, per_window, month_s, start = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), time.time()
peer = socket.socket(socket.AF_UNIX)
peer.connect(os.environ["TFGPU_TUI_SOCKET"])
pid, out = os.getpid(), bytearray()
def say(t, kind, **fields):
    out.extend(json.dumps({"v": 1, "t": round(t, 3), "src": "agent", "pid": pid, "type": kind, **fields}).encode())
    out.extend(b"\\n")
layers = [{"layer": f"block_{i}", "class": "Dense", "depth": 0, "forward": {"GPU:%d" % (i % 8): 40, "CPU:0": 2},
           "backward": {"GPU:%d" % (i % 8): 80}, "variables": ["GPU:0"], "parameters": 10**6, "dtype": "float32",
           "xla": False, "asked": None, "reason": None} for i in range(64)]
say(start, "agent_connected", main=True, python="3.11.0")
say(start, "phase", phase="training")
windows, s_per_step = steps // per_window, month_s / steps
per_epoch = max(1, windows // 300)
for n in range(windows):
    t = start + (n + 1) * per_window * s_per_step
    wall = per_window * s_per_step
    if n % per_epoch == 0:
        epoch = n // per_epoch + 1
        if n:
            say(t, "epoch", state="end", epoch=epoch - 1, metrics={"loss": 1 / epoch, "val_loss": 1.1 / epoch})
        say(t, "epoch", state="begin", epoch=epoch, epochs=300, steps=per_epoch * per_window)
        say(t, "placement", layers=layers, ops=64 * 122)
    say(t, "steps", loop="fit", fit=1, epoch=epoch, first_step=n * per_window + 1, steps=per_window,
        executions=per_window, wall_s=wall, wait_s=wall * .3, compute_s=wall * .65, host_s=wall * .05,
        periods={str(140 + n % 9): per_window}, batch_size=32, examples=32 * per_window, warmup=n < 3,
        callbacks={"ModelCheckpoint": wall * .01})
    if n % 4 == 0:
        say(t, "metrics", step=n * per_window, epoch=epoch, values={"loss": 1 / (n + 1), "accuracy": n / windows})
        say(t, "tf_memory", devices=[{"device": f"GPU:{g}", "current_bytes": 10**9 + n, "peak_bytes": 2 * 10**9,
                                      "limit_bytes": None} for g in range(8)])
    if len(out) > 1 << 16:
        peer.sendall(out)
        out.clear()
        print(f"{n * per_window}/{steps}", end="\\r", flush=True)
peer.sendall(out)
"""


def rss_mib(pid: int | None) -> float | None:
    """Resident memory; None for a process that is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20
    return None


class Screen:
    """`tfgpu-tui attach` in a terminal that is read and thrown away."""

    def __init__(self, run: str) -> None:
        self._master, slave = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tfgpu_tui", "attach", run],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                if select.select([self._master], [], [], 1.0)[0] and not os.read(self._master, 1 << 16):
                    return

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(3)
        os.close(self._master)


def seek_s(run: RunDir, part: float) -> float:
    """Seconds until a replay of the run shows it at this part of its time, with its findings."""
    from tfgpu_tui.ui.control import RealControl
    from tfgpu_tui.ui.draw import UNICODE
    from tfgpu_tui.ui.feed import ReplayClock
    from tfgpu_tui.ui.session import Session

    began = time.perf_counter()
    session = Session(run, RealControl(), UNICODE, ReplayClock(held=True))
    session.read()
    if part:
        session.go_to((session.view.state.started or 0.0) + part * MONTH_S)
    while session.behind:
        session.read()
    assert abs(session.view.state.train.wall_s - part * MONTH_S) < MONTH_S / 100
    took = time.perf_counter() - began
    session.close()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--per-window", type=int, default=8)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="long-run-"))
    os.environ["TFGPU_TUI_STATE_DIR"] = str(folder / "state")
    try:
        return measure(folder, options.steps, options.per_window)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, steps: int, per_window: int) -> int:
    """Runs it; prints the table; 1 where a limit is passed."""
    from tfgpu_tui.runs import history, listing, rundir
    from tfgpu_tui.runs.journal import parts
    from tfgpu_tui.supervisor import launch
    from tfgpu_tui.ui.feed import Feed

    script = folder / "agent.py"
    script.write_text(AGENT)
    arguments = [str(script), str(steps), str(per_window), str(MONTH_S)]
    run = launch.start(launch.LaunchSpec(argv=arguments, cwd=str(folder), python=sys.executable))
    began, screen = time.monotonic(), Screen(run.id)
    rows: list[tuple[float, float | None, float | None, float | None]] = []
    while listing.summary(run).state == "running":
        time.sleep(0.5)
        meta = rundir.read_meta(run)
        with contextlib.suppress(OSError, ValueError):
            done = int(run.output_log.read_bytes()[-64:].split(b"\r")[-2].partition(b"/")[0]) / steps
            if done >= (len(rows) + 1) / 10:
                memory = (rss_mib(meta.supervisor_pid), rss_mib(screen.process.pid), rss_mib(meta.keeper_pid))
                rows.append((done, *memory))
    took = time.monotonic() - began
    screen.close()
    print(f"{steps} steps in {steps // per_window} windows, {took:.0f} s ({steps / per_window / took:.0f} windows/s)")
    print("  done   supervisor   screen   keeper   (MiB resident)")
    for done, *resident in rows:
        print(f"{done:6.0%}   " + "".join(f"{value or float('nan'):8.1f} " for value in resident))
    size, count = rundir.size_bytes(run) / 2**20, len(parts(run.journal))
    print(f"on disk {size:.1f} MiB in {count} compressed parts (limit {history.KEEP_BYTES >> 20} MiB and one part)")
    began = time.perf_counter()
    feed = Feed(run)
    while feed.advance(1.0) and feed.behind:
        pass
    attach_s = time.perf_counter() - began
    seen = feed.state.train.steps
    feed.close()
    print(f"attach {attach_s:.2f} s (limit {LIMIT_ATTACH_S:.0f}), {seen} steps known")
    seeks_s = [seek_s(run, part) for part in SEEKS]
    print("replay at " + ", ".join(f"{part:.0%} of it in {s:.2f} s" for part, s in zip(SEEKS, seeks_s, strict=True)))
    grown = [last / first for first, last in zip(rows[0][1:3], rows[-1][1:3], strict=True) if first and last]
    print("memory at the end against after the first tenth: " + ", ".join(f"{ratio:.2f}x" for ratio in grown))
    complete = seen == steps // per_window * per_window
    good = max(attach_s, *seeks_s) <= LIMIT_ATTACH_S and all(ratio <= LIMIT_GROWTH for ratio in grown) and complete
    print("within the limits" if good else "ABOVE A LIMIT")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
