"""What a look inside the step says of compute, against the truth by ablation; and what a look costs.

    python -m benchmarks.compute_split [--only dense lstm …] [--rounds 25] [--steps 20]

Ten models (`compute_cases/steps.py`). The truth of a part is what the step loses without it: without its update,
without its backward pass, without one layer; in turns within a round, as the median of the rounds' ratios. Told is the
part's share of compute in the event `layer_times`; forward holds the loss, as it does in the truth. A layer that is
taken away takes its share of the update with it, which the told share of a layer does not hold. Exit status 1 where any
part is off by more than 5 points.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.agent.conftest import of_type, run_script

CASE = Path(__file__).parent / "compute_cases" / "steps.py"
MODELS = (
    *("dense", "dense_adam", "convolution", "batch_norm", "attention", "lstm"),
    *("embedding_adam", "loop_over_batch", "python_in_graph", "deep_and_thin"),
)
MOST_POINTS = 5.0


def told(times: dict[str, Any]) -> dict[str, float]:
    """Shares of compute, as the event has them."""
    whole = times["compute_ms"]
    parts = {name: ms / whole for name, ms in times["parts"].items()}
    layer = sum(ms for name, row in times["by_layer"].items() if "part" in name for ms in row.values())
    python = parts.get("python", 0.0)
    return {
        "forward": parts.get("forward", 0.0) + parts.get("loss", 0.0) + python,
        "backward": parts.get("backward", 0.0),
        "optimizer": parts.get("optimizer", 0.0),
        "part": layer / whole,
        "runtime": parts.get("runtime", 0.0),
        "unknown": parts.get("unknown", 0.0),
    }


def main() -> int:
    """0 where each part is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    print("truth / told, % of the step's compute (± standard error of the truth)")
    print("| model | forward | backward | optimizer | the layer | runtime, unknown | worst | look: steps lost, s |")
    print("|---|---|---|---|---|---|---|---|")
    bad = 0
    for model in asked.only:
        environment = {
            "TFGPU_TUI_KNOBS": json.dumps({"profile": str(asked.steps)}),
            "MODEL": model,
            "ROUNDS": str(asked.rounds),
        }
        events, process = run_script(CASE.read_text(), environment=environment)
        if process.returncode:
            print(process.stderr[-2000:])
            return 1
        times = next((e for e in of_type(events, "layer_times") if e.get("parts")), None)
        if times is None:
            print(f"| {model} | nothing was told: {of_type(events, 'layer_times')} |")
            bad += 1
            continue
        found = json.loads(process.stdout.splitlines()[-1])
        said = told(times)
        off = {key: 100 * (said[key] - found["truth"][key][0]) for key in found["truth"]}
        worst = max(off, key=lambda key: abs(off[key]))
        bad += abs(off[worst]) > MOST_POINTS
        cells = [
            f"{100 * value:.0f} ± {100 * error:.0f} / {100 * said[key]:.0f}"
            for key, (value, error) in found["truth"].items()
        ]
        rest = f"{100 * said['runtime']:.0f}, {100 * said['unknown']:.0f}"
        cost = f"{times['lost_steps']:.1f}, {times['cost_s']:.2f}"
        name = f"{model} ({found['step_ms']:.1f} ms)"
        print(f"| {name} | {' | '.join(cells)} | {rest} | {worst} {off[worst]:+.0f} | {cost} |", flush=True)
    print(f"{bad} of {len(asked.only)} models have a part that is off by more than {MOST_POINTS:g} points")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
