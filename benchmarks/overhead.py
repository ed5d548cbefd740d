"""What the agent adds to each training step, on the shortest steps that there are and on steps of about 10 ms.

Alternating processes train the same model with and without the agent, so that a machine that grows slower or faster
meanwhile hits both alike. Each process runs many short epochs and reports the fastest and the median one:
noise only ever adds time, so the fastest epochs compare the code, the medians show what else the machine did.
The noise of the method itself is the same table of processes that are all without the agent (`--null`).

    python -m benchmarks.overhead [--pairs 8] [--python PATH] [--null] [--case NAME]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from tests.agent.conftest import of_type, run_script

SCRIPT = """
import json, sys, time
import numpy as np, tensorflow as tf
case, epochs, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
times = []
width = 8
data = (np.zeros((8, width), np.float32), np.zeros((8, 1), np.float32))
dataset = tf.data.Dataset.from_tensors(data).repeat()
if case.startswith("fit"):
    from tensorflow import keras
    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()
        def on_epoch_end(self, epoch, logs=None):
            times.append((time.perf_counter() - self.start) / steps * 1e6)
    class Device(keras.layers.Layer):
        def call(self, x):  # the host waits for its device
            return tf.ensure_shape(tf.numpy_function(lambda x: (time.sleep(0.01), x)[1], [x], tf.float32), (8, width))
    layers = [Device()] if case == "fit_10ms" else []
    model = keras.Sequential([keras.layers.Input((width,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(dataset, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=[Clock()])
else:
    w = tf.Variable(tf.zeros((width, 1)))
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ w - y) ** 2)
        w.assign_sub(0.1 * tape.gradient(loss, w))
    iterator = iter(dataset)
    for _ in range(epochs):
        start = time.perf_counter()
        for _ in range(steps):
            step(*next(iterator))
        times.append((time.perf_counter() - start) / steps * 1e6)
print("RESULT", json.dumps(times[2:]))
"""

CASES = {"fit": (24, 300), "custom": (24, 600), "fit_10ms": (12, 40)}
"""Name -> epochs of one process (the first two are not counted), steps of an epoch."""


def measure(case: str, python: str, agent: bool) -> tuple[float, float, float | None]:
    """Microseconds a step in one process: its fastest epoch, its median epoch, and what the agent itself says."""
    events, process = run_script(SCRIPT, python, [case, *map(str, CASES[case])], agent=agent)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, process.stdout, process.stderr)
    line = next(line for line in process.stdout.splitlines() if line.startswith("RESULT"))
    epochs = json.loads(line.split(maxsplit=1)[1])
    costs = of_type(events, "agent_cost")
    return min(epochs), statistics.median(epochs), costs[-1]["us_per_step"] if costs else None


def table(case: str, pairs: int, python: str, null: bool) -> None:
    """Run the pairs of one case and print them."""
    epochs, steps = CASES[case]
    second = "without" if null else "with"
    print(f"{case}: µs a step, {epochs - 2} epochs of {steps} steps in each process")
    print(f"{'without':>9} {second:>9} {'fastest':>9} | {'without':>9} {second:>9} {'median':>9} | {'own clock':>9}")
    fastest, medians, base = [], [], []
    for pair in range(pairs):
        order = (False, True) if pair % 2 else (True, False)
        result = {other: measure(case, python, other and not null) for other in order}
        (low0, mid0, _), (low1, mid1, own) = result[False], result[True]
        fastest.append(low1 - low0)
        medians.append(mid1 - mid0)
        base.append(low0)
        told = "-" if own is None else f"{own:.1f}"
        print(f"{low0:9.1f} {low1:9.1f} {fastest[-1]:+9.1f} | {mid0:9.1f} {mid1:9.1f} {medians[-1]:+9.1f} | {told:>9}")
    cost = statistics.median(fastest)
    print(
        f"fastest epochs: median of the pairs {cost:+.1f} µs ({cost / statistics.median(base):+.2%} of a step), "
        f"from {min(fastest):+.1f} to {max(fastest):+.1f}; median epochs: {statistics.median(medians):+.1f}, "
        f"from {min(medians):+.1f} to {max(medians):+.1f}\n",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--null", action="store_true", help="both sides without the agent: the noise of the method")
    parser.add_argument("--case", choices=CASES, help="only this one")
    arguments = parser.parse_args()
    for case in [arguments.case] if arguments.case else CASES:
        table(case, arguments.pairs, arguments.python, arguments.null)


if __name__ == "__main__":
    main()
