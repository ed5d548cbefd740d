"""A script that prints as fast as it can, under the keeper and under script(1): neither may hold it up.

    python -m benchmarks.output_speed [--mib 200] [--pairs 3]

Both read a terminal and write a file; the time is the script's own, from its first to its last byte. The output goes
past the keeper's cap, so both ways of draining are in it. Limit: not slower than script(1) by more than 15 %.
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
from pathlib import Path

LIMIT = 1.15
SCRIPT = """
import os, sys, time
line = b"step 123456/200000 [=======>......] - loss: 0.1234 - accuracy: 0.9876 \\x1b[32mok\\x1b[0m\\r\\n" * 700
left, began = int(sys.argv[1]) << 20, time.monotonic()
while left > 0:
    left -= os.write(1, line)
open(sys.argv[2], "w").write(str(time.monotonic() - began))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("script") is None:
        print("script(1) is not installed (package bsdutils or util-linux): nothing to compare with")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="output-speed-"))
    os.environ["TFGPU_TUI_STATE_DIR"] = str(folder / "state")
    path, target = folder / "print.py", folder / "took"
    path.write_text(SCRIPT)
    try:
        rates: dict[str, list[float]] = {"script(1)": [], "keeper": []}
        for _ in range(options.pairs):
            rates["script(1)"].append(options.mib / under_script(path, target, options.mib))
            rates["keeper"].append(options.mib / under_keeper(path, target, options.mib))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, values in rates.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"{name:10} {statistics.median(values):7.0f} MiB/s   (median of {options.pairs}, {spread})")
    ratio = statistics.median(rates["script(1)"]) / statistics.median(rates["keeper"])
    print(f"the script took {ratio:.2f} times as long (limit {LIMIT})")
    return 0 if ratio <= LIMIT else 1


def under_script(path: Path, target: Path, mib: int) -> float:
    command = f"{sys.executable} {path} {mib} {target}"
    subprocess.run(
        ["script", "-q", "-e", "-c", command, str(path.with_name("typescript"))],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return _took(target)


def under_keeper(path: Path, target: Path, mib: int) -> float:
    from tfgpu_tui.runs import listing
    from tfgpu_tui.supervisor import launch

    arguments = [str(path), str(mib), str(target)]
    run = launch.start(launch.LaunchSpec(argv=arguments, cwd=str(path.parent), python=sys.executable))
    while listing.summary(run).state == "running":
        time.sleep(0.05)
    return _took(target)


def _took(target: Path) -> float:
    seconds = float(target.read_text())
    target.unlink()
    return seconds


if __name__ == "__main__":
    sys.exit(main())
