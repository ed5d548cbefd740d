"""The look at the environment beside each run's start, and the search for TensorFlow's messages in its output:
`python -m benchmarks.preflight [--python PATH]`.

The look is timed as the supervisor starts it, in PATH's interpreter (default: this one); the search on a megabyte of
progress bars, of log lines, and of nothing but TensorFlow's messages. Exit status 1 where the look takes 50 ms or more
(median), or a megabyte of progress bars more than 10 ms.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tfgpu_tui.core.events import Diagnostic
from tfgpu_tui.doctor import probe_command
from tfgpu_tui.supervisor.messages import Messages

LOOKS, LOOK_MS, PROGRESS_MS = 25, 50.0, 10.0
PIECE = 1 << 16
MB = 1_000_000
STDERR = Path(__file__).parents[1] / "tests" / "unit" / "stderr" / "newarch.txt"


def look_ms(python: str) -> float:
    """One look, from the start of its process to its end."""
    began = time.perf_counter()
    subprocess.run(probe_command(python, quick=True), capture_output=True, check=True)
    return (time.perf_counter() - began) * 1e3


def bare_ms(python: str) -> float:
    """The interpreter's own start and end, which the look contains."""
    began = time.perf_counter()
    subprocess.run([python, "-c", "pass"], capture_output=True, check=True)
    return (time.perf_counter() - began) * 1e3


def search_ms(text: bytes) -> float:
    """Milliseconds to search a megabyte of this text, as it comes in pieces."""
    whole = (text * (MB // len(text) + 1))[:MB]
    told: list[Diagnostic] = []
    messages = Messages(told.append)
    began = time.perf_counter()
    for at in range(0, MB, PIECE):
        messages.feed(whole[at : at + PIECE])
    return (time.perf_counter() - began) * 1e3


def table(name: str, measure: Callable[[], float], times: int) -> float:
    """Prints a row; the median."""
    values = sorted(measure() for _ in range(times))
    median = statistics.median(values)
    print(f"{name:<52}{median:>9.2f} ms   {values[0]:.2f} .. {values[-1]:.2f}")
    return median


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    python = parser.parse_args().python
    print(f"{'':<52}{'median':>12}   from .. to")
    table("python -c pass", lambda: bare_ms(python), LOOKS)
    look = table("the look at the environment (with that)", lambda: look_ms(python), LOOKS)
    bar = b"\x1b[1m 17/938\x1b[0m \x1b[32m\xe2\x94\x81\x1b[0m\x1b[37m" + "━".encode() * 19
    bar += b"\x1b[0m \x1b[1m9s\x1b[0m 10ms/step - accuracy: 0.1234 - loss: 2.3026" + b"\x08" * 80
    progress = table("1 MB of progress bars", lambda: search_ms(bar), 9)
    log = b"2026-11-21 10:00:00,123 INFO train.py:12] step 4711 loss 0.4321 learning rate 0.001\r\n"
    table("1 MB of log lines", lambda: search_ms(log), 9)
    table("1 MB of nothing but TensorFlow's own messages", lambda: search_ms(STDERR.read_bytes()), 9)
    return int(look >= LOOK_MS or progress > PROGRESS_MS)


if __name__ == "__main__":
    sys.exit(main())
