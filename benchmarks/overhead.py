"""What the agent adds to each training step, on the shortest steps that there are and on steps of about 10 ms.

First, within one process: every few steps the agent's part is taken out and put back (`overhead_cases/toggled.py` says
what), and neighbours are compared, so that a machine whose speed changes by the second hits both alike. What comes only
a few times a second is told apart: the looks by the agent's own clock in the training's thread, the agent's threads by
their processor time, which costs the training at most that, where no core is idle. The noise is that of the same
comparison, a third as long, with the agent taken out of both sides.

Then alternating processes with and without the agent, in which nothing is left out: fastest and median epoch of each.
The noise of processes is some ten microseconds, so they only show that nothing large was forgotten.

    python -m benchmarks.overhead [--pairs 2] [--python PATH] [--null] [--case NAME]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.agent.conftest import of_type, run_script

CASES = Path(__file__).parent / "overhead_cases"
TOGGLED = {
    "fit, short steps": ("fit", "0", "16000"),
    "own loop, short steps": ("own", "0", "16000"),
    "fit, 10 ms": ("fit", "1", "2200"),
    "own loop, 10 ms": ("own", "1", "2200"),
}
"""Name -> arguments of `toggled.py`: loop, whether it waits for its device, steps."""
EPOCHS = {"fit": ("18", "300"), "own": ("18", "500")}
"""Loop -> epochs of one process (the first two are not counted), steps of an epoch."""
LIMIT_US, LIMIT_SHARE = 5.0, 0.01


def result(script: str, arguments: tuple[str, ...], python: str, agent: bool) -> tuple[Any, list[dict[str, Any]]]:
    """What a script of `overhead_cases` printed, and the agent's events."""
    events, process = run_script(CASES / script, python, arguments, agent=agent)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, process.stdout, process.stderr)
    line = next(line for line in process.stdout.splitlines() if line.startswith("RESULT"))
    return json.loads(line.split(maxsplit=1)[1]), events


def mean(values: list[float]) -> tuple[float, float]:
    """Mean, and twice its standard error."""
    return statistics.fmean(values), 2 * statistics.stdev(values) / len(values) ** 0.5


def toggled(python: str, only: str | None) -> None:
    """The table of what is taken out and put back within one process."""
    print("µs a step, within one process; ± twice the standard error")
    print(f"{'':22} {'without':>9} {'each step':>12} {'noise':>12} {'looks':>6} {'sum':>6} {'share':>7} {'threads':>8}")
    for name, arguments in TOGGLED.items():
        if only not in (None, name):
            continue
        told, _ = result("toggled.py", arguments, python, True)
        base = told["agent"]["without_us"]
        (cost, error), (null, null_error) = (mean(told[side]["groups_us"]) for side in ("agent", "nothing"))
        looks, threads = told["agent"]["looks_us"], told["agent"]["threads_us"]
        total = cost + looks
        limit = min(LIMIT_US, LIMIT_SHARE * base)
        verdict = "within" if total + error <= limit else "ABOVE" if total - error > limit else "perhaps within"
        print(
            f"{name:22} {base:9.1f} {cost:+7.2f} ±{error:.2f} {null:+7.2f} ±{null_error:.2f} {looks:6.2f} "
            f"{total:+6.2f} {total / base:+7.2%} {threads:8.2f}   {verdict} the limit",
            flush=True,
        )
    print(
        f"Limit: {LIMIT_US:.0f} µs and {LIMIT_SHARE:.0%} of a step. Threads: at most so much more, with no idle core.\n"
    )


def processes(kind: str, pairs: int, python: str, null: bool) -> None:
    """The table of alternating processes of one kind of loop."""
    epochs, steps = EPOCHS[kind]
    second = "without" if null else "with"
    print(f"{kind}, processes: µs a step, {int(epochs) - 2} epochs of {steps} steps in each")
    print(f"{'without':>9} {second:>9} {'fastest':>9} | {'without':>9} {second:>9} {'median':>9}")
    fastest, medians = [], []
    for pair in range(pairs):
        told = {}
        for other in (False, True) if pair % 2 else (True, False):
            times, events = result("epochs.py", (kind, epochs, steps), python, other and not null)
            assert not of_type(events, "hook_off"), events
            told[other] = min(times), statistics.median(times)
        (low0, mid0), (low1, mid1) = told[False], told[True]
        fastest.append(low1 - low0)
        medians.append(mid1 - mid0)
        print(f"{low0:9.1f} {low1:9.1f} {fastest[-1]:+9.1f} | {mid0:9.1f} {mid1:9.1f} {medians[-1]:+9.1f}")
    for name, values in (("fastest epochs", fastest), ("median epochs", medians)):
        print(f"{name}: {statistics.median(values):+.1f} in the median, {min(values):+.1f} to {max(values):+.1f}")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2, help="of processes; 0 leaves them out")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--null", action="store_true", help="both processes without the agent: their noise")
    parser.add_argument("--case", choices=TOGGLED, help="only this one, and no processes")
    arguments = parser.parse_args()
    if not arguments.null:
        toggled(arguments.python, arguments.case)
    if arguments.pairs and not arguments.case:
        for kind in EPOCHS:
            processes(kind, arguments.pairs, arguments.python, arguments.null)


if __name__ == "__main__":
    main()
