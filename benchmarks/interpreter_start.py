"""What every python process of a run pays at its start for the injected `sitecustomize`, TensorFlow or not.

python benchmarks/interpreter_start.py [--pairs 40] [--python PATH]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.agent.conftest import AS_THE_SCRIPT, INJECT, Recorder


def start_ms(python: str, environment: dict[str, str], before: list[str]) -> float:
    """Milliseconds from exec to exit of a python that does nothing."""
    start = time.perf_counter()
    subprocess.run([*before, python, "-c", "pass"], env=environment, check=True)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--python", default=sys.executable)
    arguments = parser.parse_args()
    # With bytecode, as pip installs it.
    left_out = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    plain = {k: v for k, v in os.environ.items() if not k.startswith("TFGPU_TUI_") and k not in left_out}
    recorder = Recorder()
    try:
        child = {**plain, "PYTHONPATH": str(INJECT), "TFGPU_TUI_SOCKET": recorder.path, "TFGPU_TUI_SCRIPT": "0"}
        nobody = [*AS_THE_SCRIPT[:2], 'exec "$@"', "sh"]
        cases = {"plain": (plain, nobody), "child process": (child, nobody), "main process": (child, AS_THE_SCRIPT)}
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(arguments.pairs):
            for name, (environment, before) in cases.items():
                times[name].append(start_ms(arguments.python, environment, before))
    finally:
        recorder.close()
    for name, values in times.items():
        added = statistics.median(b - a for a, b in zip(times["plain"], values, strict=True))
        print(f"{name:14} median {statistics.median(values):6.2f} ms   added {added:+6.2f} ms (paired median)")


if __name__ == "__main__":
    main()
