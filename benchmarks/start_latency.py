"""How much later a script's first line runs under tfgpu-tui than under plain python: paired, alternating runs.

    python benchmarks/start_latency.py [--pairs 15]

The time is taken from just before the command is started to the script's own clock at its first line. `headless` is
the whole command; `terminal` is the screen's case up to the script (the screen itself is loaded after that), started
by the same command in a PTY. A first run of each is not counted: it compiles our modules, as an installation does. The
limit for both is 250 ms more than plain python.
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
from collections.abc import Callable
from pathlib import Path

LIMIT_MS = 250.0
FIRST_LINE = "import time; t = time.time(); open({target!r}, 'w').write(repr(t))\n"
START_DETACHED = (
    "from tfgpu_tui.cli import arguments, command_line, settings, starting\n"
    "from tfgpu_tui.supervisor import launch; import sys\n"
    "command = arguments.split(sys.argv[1:])\n"
    "options = arguments.options_parser().parse_args(command.options)\n"
    "chosen = settings.settings_of(options)\n"
    "launch.start(launch.LaunchSpec(argv=command.rest, cwd='.', python=sys.executable))\n"
)
"""What the command does before it loads the screen."""


def first_line_s(command: list[str], target: Path, env: dict[str, str]) -> float:
    """Seconds from the command to the script's first line."""
    target.unlink(missing_ok=True)
    began = time.time()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not target.exists() or not target.read_text():
        time.sleep(0.001)
    return float(target.read_text()) - began


def wait_for_runs_to_end() -> None:
    """So that one run's report is not written during the next run's start."""
    from tfgpu_tui.runs import listing

    while any(run.state == "running" for run in listing.list_runs()):
        time.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    pairs: int = parser.parse_args().pairs
    folder = Path(tempfile.mkdtemp(prefix="start-latency-"))
    os.environ["TFGPU_TUI_STATE_DIR"] = str(folder / "state")
    try:
        target, script = folder / "target", folder / "script.py"
        script.write_text(FIRST_LINE.format(target=str(target)))
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        ways: dict[str, list[str]] = {
            "headless": [sys.executable, "-m", "tfgpu_tui", "--headless", "--python", sys.executable, str(script)],
            "terminal": [sys.executable, "-c", START_DETACHED, str(script)],
        }
        plain = [sys.executable, str(script)]
        print(f"{'':10} {'plain':>9} {'with':>9} {'added':>9}   (medians of {pairs} pairs, ms; limit {LIMIT_MS:.0f})")
        good = True
        for name, command in ways.items():
            measure: Callable[[list[str]], float] = lambda line: 1000 * first_line_s(line, target, env)  # noqa: E731
            measure(command)
            wait_for_runs_to_end()
            without, with_ = [], []
            for _ in range(pairs):
                without.append(measure(plain))
                with_.append(measure(command))
                wait_for_runs_to_end()
            added = statistics.median(b - a for a, b in zip(without, with_, strict=True))
            good = good and added <= LIMIT_MS
            print(
                f"{name:10} {statistics.median(without):9.1f} {statistics.median(with_):9.1f} {added:9.1f}"
                f"   {'' if added <= LIMIT_MS else 'ABOVE THE LIMIT'}"
            )
        return 0 if good else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
