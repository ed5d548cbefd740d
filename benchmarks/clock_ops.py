"""What the clock around a graph's call for a batch costs, part by part: the smallest that such a clock could be first.

One small training step as a tf.function that takes its own batch, traced several times with each kind of clock, for
graphs that are traced from the same code differ by some microseconds. The kinds take turns in a random order, ten
steps each, and each is set against the step without a clock in the same turn.

    python -m benchmarks.clock_ops [--seconds 90] [--graphs 6]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

KINDS = {
    "none": "without a clock",
    "again": "the same once more: the noise",
    "bare": "two clock ops, whose readings leave the step as results",
    "noted": "two clock ops, and the note of their difference (`clock.add`)",
    "held": "the same, and the model starts after the note (`clock.after`): as it is used",
}
WIDTH, STEPS = 8, 10


def maker() -> Callable[[str], Callable[[Any], Any]]:
    """Traces a step with a clock of that kind: `maker()(kind)(iterator)`."""
    import tensorflow as tf

    from tfgpu_tui.agent.steps import clock

    weights = tf.Variable(tf.zeros((WIDTH, 1)))

    def take(kind: str, iterator: Any) -> tuple[Any, tuple[Any, ...]]:
        if kind in ("none", "again"):
            return next(iterator), ()
        start = clock.now()
        with tf.control_dependencies([start]):
            batch = next(iterator)
        arrived = clock.now(batch)
        if kind == "bare":
            return batch, (start, arrived)
        noted = clock.add(clock.Row(), start, arrived)
        return (clock.after(batch, noted) if kind == "held" else batch), ()

    def make(kind: str) -> Callable[[Any], Any]:
        def step(iterator: Any) -> Any:
            (x, y), readings = take(kind, iterator)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((x @ weights - y) ** 2)
            weights.assign_sub(0.1 * tape.gradient(loss, weights))
            return loss, *readings

        traced: Callable[[Any], Any] = tf.function(step, autograph=False)
        return traced

    return make


def mean(values: list[float]) -> tuple[float, float]:
    """Mean of the middle half, and twice its standard error (of 200 resamplings)."""

    def middle(of: list[float]) -> float:
        quarter = len(of) // 4
        return statistics.fmean(sorted(of)[quarter : len(of) - quarter])

    again = [middle(random.choices(values, k=len(values))) for _ in range(200)]
    return middle(values), 2 * statistics.stdev(again)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--graphs", type=int, default=6, help="of each kind")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    batch = (tf.zeros((8, WIDTH)), tf.zeros((8, 1)))
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    make = maker()
    steps = {kind: [make(kind) for _ in range(options.graphs)] for kind in KINDS}
    for traced in steps.values():
        for step in traced:
            for _ in range(50):  # TensorFlow learns meanwhile which ops are cheap
                step(iterator)
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        number = random.randrange(options.graphs)
        for kind in random.sample(list(KINDS), len(KINDS)):
            step = steps[kind][number]
            step(iterator)
            start = time.perf_counter()
            for _ in range(STEPS):
                step(iterator)
            took[kind].append((time.perf_counter() - start) / STEPS * 1e6)
    base = took["none"]
    print(f"a step without a clock: {statistics.median(base):.0f} µs, {len(base)} turns. Added, µs a step (mean of the")
    print("middle half, ± twice its standard error):")
    for kind, about in KINDS.items():
        if kind != "none":
            added, error = mean([a - b for a, b in zip(took[kind], base, strict=True)])
            print(f"{kind:6} {added:+6.2f} ± {error:.2f}   {about}")


if __name__ == "__main__":
    main()
