"""What the agent adds to each step of the worst case: a tiny Keras model whose steps take well under a millisecond.

Runs the same training with and without the agent in alternating processes, so that a machine that grows slower or
faster meanwhile hits both alike; prints every run, the medians, and the paired differences.

    python benchmarks/agent_overhead.py [--pairs 6] [--steps 1500] [--python PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.agent.conftest import of_type, run_script

SCRIPT = """
import json, sys, time
import numpy as np, tensorflow as tf
from tensorflow import keras
steps, kind = int(sys.argv[1]), sys.argv[2]
data = (np.zeros((8, 8), np.float32), np.zeros((8, 1), np.float32))
dataset = tf.data.Dataset.from_tensors(data).repeat()
times = []
if kind == "fit":
    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()
        def on_epoch_end(self, epoch, logs=None):
            times.append((time.perf_counter() - self.start) / steps * 1e6)
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(dataset, epochs=7, steps_per_epoch=steps, verbose=0, callbacks=[Clock()])
else:
    w = tf.Variable(tf.zeros((8, 1)))
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ w - y) ** 2)
        w.assign_sub(0.1 * tape.gradient(loss, w))
    iterator = iter(dataset)
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(steps):
            step(*next(iterator))
        times.append((time.perf_counter() - start) / steps * 1e6)
print("RESULT", json.dumps(times[1:]))
"""


def measure(kind: str, steps: int, python: str, agent: bool) -> tuple[float, float | None]:
    """Microseconds a step (the median epoch of one process), and what the agent itself says it took."""
    events, process = run_script(SCRIPT, python, [str(steps), kind], agent=agent)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, process.stdout, process.stderr)
    line = next(line for line in process.stdout.splitlines() if line.startswith("RESULT"))
    costs = of_type(events, "agent_cost")
    return statistics.median(json.loads(line.split(maxsplit=1)[1])), costs[-1]["us_per_step"] if costs else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--python", default=sys.executable)
    arguments = parser.parse_args()
    for kind in ("fit", "custom"):
        print(f"{kind}: µs a step, {arguments.steps} steps an epoch, median epoch of each process")
        print(f"{'without':>10} {'with':>10} {'difference':>11} {'own clock':>10}")
        without, with_agent = [], []
        for pair in range(arguments.pairs):
            order = (False, True) if pair % 2 else (True, False)
            result = {agent: measure(kind, arguments.steps, arguments.python, agent) for agent in order}
            without.append(result[False][0])
            with_agent.append(result[True][0])
            own = result[True][1]
            print(
                f"{without[-1]:10.1f} {with_agent[-1]:10.1f} {with_agent[-1] - without[-1]:+11.1f} "
                f"{'-' if own is None else format(own, '.1f'):>10}"
            )
        differences = [b - a for a, b in zip(without, with_agent, strict=True)]
        print(
            f"median {statistics.median(without):.1f} -> {statistics.median(with_agent):.1f}; paired difference: "
            f"median {statistics.median(differences):+.1f}, {min(differences):+.1f} to {max(differences):+.1f}\n"
        )


if __name__ == "__main__":
    main()
