"""Whether `tfgpu-tui try` finds the right setting, where that is known: each demo so many times.

    python -m benchmarks.try_demos [--repeats 10] [--budget 2m] [--only slow_map,healthy] [--long 60] [--results FILE]

Each repeat is a line of JSON in the file of results as soon as it is over, so the benchmark may be stopped at any
time and goes on where it was; `--show` prints the table of what is there. Two cases are scripts of
`benchmarks/try_cases`: a model whose policy is float64 (the layer of `demo/float64.py` casts by itself, which no
setting changes), and one with steps of a millisecond. The others compute in float32 in all trials: where the CPU has
arithmetic for bfloat16, that is a gain of any model, and no answer would be known. With `--long` the script runs
after each experiment for so many seconds as it is, and with what was to be kept, and the step times of these rows are
compared with it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import try_long

ROOT = Path(__file__).parents[1]
CASE_FILES = ROOT / "benchmarks/try_cases"
EPOCHS = "100000"
"""More than the time allows: a trial is ended by the experiment."""

Told = dict[str, Any]
"""What `try --json` prints."""


class Case(NamedTuple):
    """A script with a known answer."""

    script: Path
    expected: str
    """In words."""
    right: Callable[[Told, int], bool]
    """Whether what was told, with this exit status, is that answer."""
    options: tuple[str, ...] = ("--set", "precision=float32")


def _keeps(name: str, value: str | None = None) -> Callable[[Told, int], bool]:
    """That setting, with that value or any."""

    def right(told: Told, status: int) -> bool:
        kept = told["best"]["setting"].get(name) if told["best"] is not None else None
        return status == 0 and kept is not None and value in (None, kept)

    return right


def _none(told: Told, status: int) -> bool:
    return status == 1 and told["best"] is None


def _no_input(told: Told, status: int) -> bool:
    """No setting of the input, and it is said that Python makes the batches."""
    said = any("No setting makes that faster" in remark for remark in (told["plan"] or {}).get("remarks", []))
    kept = told["best"]["setting"] if told["best"] is not None else {}
    return said and "input" not in kept and status in (0, 1)


CASES = {
    "slow_map": Case(ROOT / "demo/slow_map.py", "input=parallel", _keeps("input", "parallel")),
    "small_steps": Case(CASE_FILES / "small_steps.py", "steps_per_execution", _keeps("steps_per_execution")),
    "float64": Case(CASE_FILES / "float64.py", "precision=float32", _keeps("precision", "float32"), ()),
    "python_generator": Case(ROOT / "demo/python_generator.py", "no input setting, said", _no_input),
    "healthy": Case(ROOT / "demo/healthy.py", "nothing, exit 1", _none),
}


def once(name: str, budget: str, long_s: float = 0.0) -> Told:
    """One experiment, and so long a run as it is and as it was to be kept; what is kept of it."""
    with tempfile.TemporaryDirectory(prefix="try-demos-") as state:
        found = _experiment(name, budget, state)
    settings = [{}, found["best"]] if found["best"] else [{}]
    found["long"] = {}
    for setting in settings if long_s else []:
        with tempfile.TemporaryDirectory(prefix="try-demos-") as state:
            env = {**os.environ, "TFGPU_TUI_STATE_DIR": state}
            words = " ".join(f"{key}={value}" for key, value in setting.items()) or "baseline"
            found["long"][words] = try_long.run(CASES[name].script, EPOCHS, setting, long_s, env)
    return found


def _experiment(name: str, budget: str, state: str) -> Told:
    command = [sys.executable, "-m", "tfgpu_tui", "try", "--json", "--yes", "--budget", budget,
               *CASES[name].options, str(CASES[name].script), EPOCHS]  # fmt: skip
    began, load = time.time(), os.getloadavg()[0]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "TFGPU_TUI_STATE_DIR": state}, cwd=ROOT,
    ) as process:  # fmt: skip
        out, _ = process.communicate()
    status = process.returncode
    try:
        told = json.loads(out)
    except ValueError:
        return {"case": name, "right": False, "status": status, "best": None, "times": None, "ended": "no answer"}
    best = told["best"] or {}
    return {
        "case": name,
        "budget": budget,
        "at": round(began),
        "right": CASES[name].right(told, status),
        "status": status,
        "best": best.get("setting"),
        "times": best.get("times_faster"),
        "ended": told["ended"],
        "rows": {row["name"]: [row["verdict"], row["times"], row["trials"], row["step_ms"]] for row in told["rows"]},
        "spent_s": told["spent_s"],
        "wall_s": round(time.time() - began, 1),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "noise": told["noise"],
    }


def table(results: list[Told]) -> str:
    """A row for each case."""
    lines = [f"{'demo':<18}{'expected':<26}{'right':>9}  {'factor (least, most)':<24}exit codes"]
    for name, case in CASES.items():
        mine = [each for each in results if each["case"] == name]
        if not mine:
            continue
        right = sum(each["right"] for each in mine)
        times = sorted(each["times"] for each in mine if each["times"] is not None)
        factor = f"{median(times):.2f}x ({times[0]:.2f}, {times[-1]:.2f})" if times else "–"
        codes = " ".join(f"{code}:{n}" for code, n in sorted(Counter(each["status"] for each in mine).items()))
        lines.append(f"{name:<18}{case.expected:<26}{f'{right} of {len(mine)}':>9}  {factor:<24}{codes}")
        lines += [f"    not right: {_why(each)}" for each in mine if not each["right"]]
        lines += [f"    {line}" for each in mine for line in _against_long(each)]
    return "\n".join(lines)


def _against_long(each: Told) -> Iterator[str]:
    """Rows, and what a trial would have taken of the long run itself, as shares of the long run's step time."""
    for name, told in each.get("long", {}).items():
        whole, part = told["long_ms"], told["as_trial_ms"]
        row = each.get("rows", {}).get(name)
        if whole is not None and row is not None:
            own = f"{part / whole:.3f}" if part is not None else "–"
            yield (
                f"{name}: {whole:.3g} ms in {told['long_s']:.0f} s; row {row[3] / whole:.3f}, its first part {own}; "
                f"load {each['load']}"
            )


def _why(each: Told) -> str:
    rows = ", ".join(f"{name} {row[0]}" for name, row in each.get("rows", {}).items() if name != "baseline")
    return f"exit {each['status']}, {each['ended']}, kept {each['best']}; {rows}; load {each.get('load')}"


def main() -> None:
    """Runs what is missing, case by case in turn, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--long", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--results", type=Path, default=Path("try_demos.jsonl"))
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    kept = options.results.read_text().splitlines() if options.results.exists() else []
    results: list[Told] = [json.loads(line) for line in kept]
    try:
        for number in range(0 if options.show else options.repeats):
            for name in options.only.split(","):
                if sum(each["case"] == name for each in results) > number:
                    continue
                found = once(name, options.budget, options.long)
                results.append(found)
                with options.results.open("a") as file:
                    print(json.dumps(found), file=file)
                said = "right" if found["right"] else f"NOT RIGHT: {_why(found)}"
                print(f"{number + 1:>3} {name:<18}{said}", flush=True)
    except KeyboardInterrupt:
        pass
    print(table(results))


if __name__ == "__main__":
    main()
