"""What a look inside the step says of compute, against the truth by ablation; and what a look costs.

    python -m benchmarks.compute_split [--only dense lstm …] [--processes 3] [--rounds 4] [--steps 10]

Ten models (`compute_cases/steps.py`). The truth of a part is what the step loses without it: without its update,
without its backward pass, without one layer. Told is the part's share of compute in the event `layer_times`, with that
of TensorFlow's runtime which its ops ended, as the truth has it too; forward holds the loss. Both are the median over
rounds in which they took turns, with its standard error; the difference is that of the rounds, which share what else
the machine did. Exit status 1 where any part is off by more than 5 points.

The truth has errors of its own beyond the noise. A layer that is taken away takes the gradient that is passed on with
it; where the update runs beside the backward pass, what the step loses without it is less than the time in which it
runs; and within one process a variant may keep some points for good, by where its memory lies: hence several processes.
`--inter-op 1` has TensorFlow run one op after the other, so that what is taken away is what the step loses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.agent.conftest import run_script

CASE = Path(__file__).parent / "compute_cases" / "steps.py"
MODELS = (
    *("dense", "dense_adam", "convolution", "batch_norm", "attention", "lstm"),
    *("embedding_adam", "loop_over_batch", "python_in_graph", "deep_and_thin"),
)
MOST_POINTS = 5.0
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(64 << 20)}
"""glibc gives no memory back. Else a part that is taken away takes its freed memory along, and what comes after it pays
for fresh pages: in dense_adam (20 ms) the update changed the backward pass by up to 2 ms."""


PARTS = ("forward", "backward", "optimizer", "part")


def told(times: dict[str, Any]) -> dict[str, float]:
    """Shares of compute, as the event has them. The function's own start and end grow with its graph, so they go with
    the parts that are taken away: they are left out."""
    whole = times["compute_ms"] - times["idle"].get("call", 0.0)
    parts = {name: ms / whole for name, ms in times["parts"].items()}
    idle = {name: ms / whole for name, ms in times["idle"].items()}
    layer = sum(ms for name, row in times["by_layer"].items() if "part" in name for ms in row.values())
    return {
        "forward": sum(both.get(name, 0.0) for both in (parts, idle) for name in ("forward", "loss", "python")),
        "backward": parts.get("backward", 0.0) + idle.get("backward", 0.0),
        "optimizer": parts.get("optimizer", 0.0) + idle.get("optimizer", 0.0),
        "part": layer / whole,
        "runtime": parts.get("runtime", 0.0),
        "unknown": parts.get("unknown", 0.0),
    }


def median(values: list[float]) -> tuple[float, float]:
    """And its standard error."""
    middle = statistics.median(values)
    return middle, 1.4826 * statistics.median(abs(v - middle) for v in values) * 1.2533 / len(values) ** 0.5


def points(values: list[float], sign: str = "") -> str:
    """`30 ± 1`, of shares."""
    middle, error = median(values)
    return f"{100 * middle:{sign}.0f} ± {100 * error:.0f}"


def row(model: str, rounds: list[dict[str, Any]]) -> tuple[str, bool]:
    """The table's row, and whether each part is within the limit."""
    said = [told(one["told"]) for one in rounds]
    cells, worst = [], 0.0
    for part in PARTS:
        true = [one["truth"][part] for one in rounds]
        off = [100 * (mine[part] - theirs) for mine, theirs in zip(said, true, strict=True)]
        worst = max(worst, median(off)[0], key=abs)
        cells.append(f"{points(true)} / {points([mine[part] for mine in said])}")
    rest = [points([mine[part] for mine in said]) for part in ("runtime", "unknown")]
    cost_s, _ = median([one["told"]["cost_s"] for one in rounds])
    lost, _ = median([one["told"]["lost_steps"] for one in rounds])
    steps, _ = median([one["told"]["whole_steps"] for one in rounds])
    name = f"{model} ({median([one['step_ms'] for one in rounds])[0]:.1f} ms)"
    cost = f"{lost:.1f}, {cost_s:.2f} for {steps:.0f}"
    return f"| {name} | {' | '.join(cells)} | {', '.join(rest)} | {worst:+.1f} | {cost} |", abs(worst) <= MOST_POINTS


def main() -> int:
    """0 where each part is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=MODELS)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4, help="of each process")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--inter-op", type=int, help="TensorFlow's inter_op_parallelism_threads; its own choice if not")
    asked = parser.parse_args()
    print("truth / told, % of the step's compute (± standard errors)")
    print("| model | forward | backward | optimizer | the layer | runtime, unknown | worst | steps lost, s, a look |")
    print("|---|---|---|---|---|---|---|---|")
    bad = 0
    for model in asked.only:
        environment = {"MODEL": model, "ROUNDS": str(asked.rounds), "LOOK_STEPS": str(asked.steps), **KEPT}
        if asked.inter_op:
            environment["INTER_OP"] = str(asked.inter_op)
        rounds: list[dict[str, Any]] = []
        for _ in range(asked.processes):
            _, process = run_script(CASE.read_text(), environment=environment)
            if process.returncode:
                print(process.stderr[-2000:])
                return 1
            rounds += json.loads(process.stdout.splitlines()[-1])
        refused = [one["told"].get("refused") for one in rounds if not one["told"].get("parts")]
        if refused or not rounds:
            print(f"| {model} | nothing was told: {refused[:1]} |")
            bad += 1
            continue
        line, good = row(model, rounds)
        bad += not good
        print(line, flush=True)
    print(f"{bad} of {len(asked.only)} models have a part that is off by more than {MOST_POINTS:g} points")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
