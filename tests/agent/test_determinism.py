"""`enable_op_determinism()` after a first training, when clocks are in graphs that TensorFlow then won't run."""

from __future__ import annotations

import json
import sys

import pytest

from .conftest import of_type, other_pythons, run_script

SCRIPT = """
    import json, sys
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    keras.utils.set_random_seed(1)
    x, y = np.random.randn(320, 8).astype("f"), np.random.randn(320, 1).astype("f")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    v = tf.Variable(tf.zeros((8, 1)))
    models = []
    for options in ({}, {"steps_per_execution": 4}, {"jit_compile": True}):
        m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        m.compile("sgd", "mse", **{"jit_compile": False, **options})
        models.append(m)

    @tf.function
    def step(a, b):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((a @ v - b) ** 2)
        v.assign_sub(0.01 * tape.gradient(loss, v))
        return loss

    @tf.function
    def epoch(dataset):
        total = tf.constant(0.0)
        for a, b in dataset:
            total += step(a, b)
        return total

    @tf.function
    def many(iterator):
        total = tf.constant(0.0)
        for _ in tf.range(5):
            total += step(*next(iterator))
        return total

    @tf.function
    def own_clock(iterator):
        a, _ = next(iterator)
        with tf.control_dependencies([a]):
            return tf.timestamp()

    def train():
        losses = [m.fit(data, verbose=0).history["loss"][0] for m in models]
        return [float(v) for v in (*losses, epoch(data), many(iter(data)), *(step(a, b) for a, b in data))]

    def traces():
        return [f.experimental_get_tracing_count() for f in (step, epoch, many)]

    train(), own_clock(iter(data))
    before = traces()
    if "_tfgpu_agent" in sys.modules:
        sys.modules["_tfgpu_agent.steps.keras_loop"].settle()
        sys.modules["_tfgpu_agent.hooks.runtime"].send("case", name="enabled")
    tf.config.experimental.enable_op_determinism()
    print(json.dumps(train()))
    assert traces() == before
    try:
        own_clock(iter(data))
    except tf.errors.FailedPreconditionError:
        print("TensorFlow refuses the script's own clock")
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_determinism_that_begins_after_a_training(python: str) -> None:
    (_, plain), (events, process) = (run_script(SCRIPT, python, agent=agent) for agent in (False, True))
    assert plain.returncode == 0, plain.stderr
    assert process.returncode == 0, process.stderr
    losses = [json.loads(p.stdout.splitlines()[0]) for p in (plain, process)]
    # The first training was not deterministic by itself.
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert process.stdout.splitlines()[1:] == plain.stdout.splitlines()[1:]
    assert "refuses" in process.stdout
    assert of_type(events, "hook_off") == []
    (marker,) = of_type(events, "case")
    windows = of_type(events, "steps", phase="train", loop="fit")
    later = windows[len([e for e in events[: events.index(marker)] if e in windows]) :]
    earlier = windows[: -len(later)]
    assert earlier and all(w["wait_s"] is not None for w in earlier)
    assert later and all(w["wait_s"] is None and "determinism" in w["wait_bound"] for w in later)
