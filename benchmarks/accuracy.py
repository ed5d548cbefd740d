"""Input wait as measured by the tool against the truth, for every way to feed a model.

Small trainings (`benchmarks/accuracy_cases/`) whose input and whose model sleep. Each of them notes by its own clock
when it asks for a batch, when the batch is there and when a step ends: the time from asking to having is the true wait.
Inside of functions, clock ops of the script's own stand at both ends of it; where they can't (a loop that fetches while
the model works, models that XLA compiles), what else lies between two notes is taken off: the median of a run on ready
data just before. Both shares are taken
over the same steps, those after warm-up, of the same run, so that a busy machine does not decide.

    python -m benchmarks.accuracy [--python PATH ...] [--only fits loops replicas] [--case WORDS ...] [--verbose]

`bound`: the tool says that its number is only an upper bound; there the truth must not be above it. Exit status 1 when
an error is above 2 points of step time in any case, or the median of one interpreter's errors above 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.agent.conftest import Event, of_type, run_script
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import fold
from tfgpu_tui.diagnose import diagnose

CASES = Path(__file__).parent / "accuracy_cases"
SCRIPTS = ("fits", "loops", "replicas")
MAX_POINTS, MEDIAN_POINTS = 2.0, 1.0
ARRIVALS = ("got", "arrived", "made")

Notes = list[tuple[str, str, float]]
Gap = tuple[str, str]


@dataclass(frozen=True)
class Unit:
    """A step, or an execution of several: how many steps, their true wait and wall time."""

    steps: int
    wait_s: float
    wall_s: float


@dataclass(frozen=True)
class Row:
    """One line of the table. Shares in percent of step time; None where there is no number."""

    case: str
    step_ms: float | None = None
    true: float | None = None
    measured: float | None = None
    note: str = ""
    bound: bool = False
    failed: bool = False

    @property
    def error(self) -> float | None:
        if self.true is None or self.measured is None:
            return None
        difference = self.measured - self.true
        # An upper bound is wrong only where the truth is above it.
        return min(difference, 0.0) if self.bound else difference


def units_of(notes: Notes, phase: str, between: dict[Gap, float]) -> tuple[list[Unit], dict[Gap, list[float]]]:
    """The steps of one phase, and every gap between asking and having. `between` is what lies in such a gap besides
    waiting."""
    units: list[Unit] = []
    gaps: dict[Gap, list[float]] = {}
    asked: tuple[str, float] | None = None
    end: float | None = None
    steps, wait = 0, 0.0
    for kind, of_phase, t in notes:
        if of_phase != phase:
            continue
        if kind == "edge":
            asked = end = None
            steps, wait = 0, 0.0
        elif kind in ("asked", "worked", "making"):
            end = t if end is None else end
            asked = (kind, t)
        elif kind == "called":
            if asked is not None and t > asked[1]:
                asked = (kind, t)
        elif kind in ARRIVALS:
            if asked is not None:
                gap = (asked[0], kind)
                gaps.setdefault(gap, []).append(t - asked[1])
                wait += t - asked[1] - between.get(gap, 0.0)
                steps += 1
                asked = None  # the same batch arrives at the other replicas, too
        elif kind == "end" and steps and end is not None:
            units.append(Unit(steps, wait, t - end))
            end, steps, wait = t, 0, 0.0
    return units, gaps


def between_notes(result: dict[str, Any], phase: str) -> dict[Gap, float]:
    """What lies between asking and having besides waiting: medians on ready data, without the first, which traced."""
    _, gaps = units_of(result["ready"], phase, {})
    between = {gap: statistics.median(times[1:]) - result["next_s"] for gap, times in gaps.items() if len(times) > 1}
    # The script's own clock stands right at the call, in Python or in the graph. The pipeline's function lies inside.
    return {**between, ("asked", "got"): 0.0, ("called", "arrived"): 0.0, ("making", "made"): -result["next_s"]}


def row_of(case: str, result: dict[str, Any], events: list[Event], phase: str) -> Row:
    """Compares one phase of one case."""
    units, _ = units_of(result["slow"], phase, between_notes(result, phase))
    windows = of_type(events, "steps", phase=phase)
    judged = [w for w in windows if not w["warmup"]]
    if not judged:
        return Row(case, note="all of it was warm-up", failed=True)
    if all(w["wait_s"] is None for w in judged):
        return Row(case, note="unknown, and said to be so")
    counted, done = sum(w["steps"] for w in windows), sum(u.steps for u in units)
    if counted != done:
        return Row(case, note=f"{counted} steps counted of {done}", failed=True)
    first = windows[0]["first_step"]
    inside = {w["first_step"] - first + i for w in judged for i in range(w["steps"])}
    same, number = [], 0
    for unit in units:
        if number in inside:
            same.append(unit)
        number += unit.steps
    wall = sum(u.wall_s for u in same)
    true = 100 * sum(u.wait_s for u in same) / wall
    step_ms = 1e3 * wall / sum(u.steps for u in same)
    measured = 100 * sum(w["wait_s"] for w in judged) / sum(w["wall_s"] for w in judged)
    bounds = {w["wait_bound"] for w in judged}
    return Row(case, step_ms, true, measured, "bound" if bounds - {None} else "", bound=bounds != {None})


def alarms(events: list[Event]) -> str:
    """What is said of the whole script, but info."""
    told = [event for event in map(ev.from_dict, events) if event is not None]
    return ", ".join(found.id for found in diagnose(fold(told)) if found.severity != "info") or "–"


def run(script: str, python: str, cases: list[str], verbose: bool) -> list[Row]:
    """The rows of one script's cases on one interpreter: those whose name holds one of `cases`, or all; and one of
    what is said of it."""
    events, process = run_script(CASES / f"{script}.py", python, cases, timeout_s=200)
    line = next((line for line in process.stdout.splitlines() if line.startswith("NOTES")), None)
    if verbose or line is None:
        print(process.stderr[-4000:], file=sys.stderr)
    if line is None:
        return [Row(script, note=f"exit status {process.returncode}", failed=True)]
    by_case: dict[str, list[Event]] = {}
    name = ""
    for event in events:
        if event["type"] == "case":
            name = event["name"]
        by_case.setdefault(name, []).append(event)
    rows = [Row(f"hook {e['hook']} is off", note=e["reason"], failed=True) for e in of_type(events, "hook_off")]
    for result in json.loads(line.split(maxsplit=1)[1]):
        case = result["case"]
        if "missing" in result:
            rows.append(Row(case, note=result["missing"]))
            continue
        phases = sorted({phase for _, phase, _ in result["slow"]}, reverse=True)
        for phase in phases:
            label = case if len(phases) == 1 else f"{case}: {phase}"
            rows.append(row_of(label, result, by_case.get(case, []), phase))
    return [*rows, Row(f"{script}.py: findings", note=alarms(events))]


def table(rows: list[Row]) -> list[str]:
    """The rows as text, with the largest and the median error."""

    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    lines = [f"{'case':<40}{'step ms':>9}{'true %':>9}{'tool %':>9}{'error':>8}"]
    for row in rows:
        numbers = (shown(row.step_ms, ".1f"), shown(row.true, ".1f"), shown(row.measured, ".1f"))
        lines.append(
            f"{row.case:<40}{numbers[0]:>9}{numbers[1]:>9}{numbers[2]:>9}{shown(row.error, '+.1f'):>8}  {row.note}"
        )
    errors = [abs(r.error) for r in rows if r.error is not None]
    if errors:
        lines.append(f"{len(errors)} cases: error at most {max(errors):.2f}, median {statistics.median(errors):.2f}")
    return lines


def good(rows: list[Row]) -> bool:
    """Whether all of it is within the limits."""
    errors = [abs(r.error) for r in rows if r.error is not None]
    failed = any(r.failed for r in rows) or not errors
    return not failed and max(errors) <= MAX_POINTS and statistics.median(errors) <= MEDIAN_POINTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument(
        "--case", nargs="+", default=[], metavar="WORDS", help="only cases whose name holds these words"
    )
    parser.add_argument("--verbose", action="store_true", help="the cases' own stderr, too")
    arguments = parser.parse_args()
    fine = True
    for python in arguments.python:
        rows = [row for script in arguments.only for row in run(script, python, arguments.case, arguments.verbose)]
        print(python, *table(rows), "", sep="\n", flush=True)
        fine = good(rows) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
