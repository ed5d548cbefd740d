"""Own loops that are eager in part: what of them is the step, what is a test, and that each step is counted once."""

from __future__ import annotations

import json
import sys
import textwrap
from collections import Counter
from typing import Any

import pytest

from tests.timed import timed

from .conftest import Event, of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]

HEAD = """
    import json, sys, time
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    x, y = np.random.rand(640, 8).astype("f"), np.random.rand(640, 1).astype("f")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)], name="mine")
    optimizer = keras.optimizers.SGD()

    def update(tape, loss, optimizer):
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables))

    def train_step(a, b):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(a, training=True) - b) ** 2)
        update(tape, loss, optimizer)
"""


def ran(body: str, python: str = sys.executable) -> tuple[list[Event], str]:
    told, process = run_script(textwrap.dedent(HEAD) + textwrap.dedent(body), python)
    assert process.returncode == 0, process.stderr[-3000:]
    assert of_type(told, "hook_off") == []
    return told, process.stdout


def counted(told: list[Event]) -> dict[tuple[str, str], int]:
    """Steps by phase and kind of loop."""
    steps: Counter[tuple[str, str]] = Counter()
    for window in of_type(told, "steps"):
        steps[window["phase"], window["loop"]] += window["steps"]
    return dict(steps)


ON_ARRAYS = """
    own = {"batch": 0.0, "step": 0.0}
    for n in range(30):
        start = time.perf_counter()
        rows = np.random.randint(0, 640, 32)
        a, b = x[rows], y[rows]
        time.sleep(0.01)
        got = time.perf_counter()
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(a) - b) ** 2)
            float(loss)
        gradients = tape.gradient(loss, model.trainable_variables)
        time.sleep(0.01)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        if n:  # before the first step nothing is known of the loop
            own["batch"] += got - start
            own["step"] += time.perf_counter() - got
    print(json.dumps(own))
"""


@timed
@pytest.mark.parametrize("python", PYTHONS)
def test_the_optimizer_is_in_the_step_of_an_eager_loop_over_arrays(python: str) -> None:
    told, printed = ran(ON_ARRAYS, python)
    own: dict[str, Any] = json.loads(printed)
    assert counted(told) == {("train", "eager"): 30}
    windows = of_type(told, "steps", phase="train")
    host = sum(w["host_s"] for w in windows)
    assert own["batch"] <= host < own["batch"] + 0.1 * own["step"]
    assert sum(w["compute_s"] for w in windows) >= own["step"]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_model_of_an_eager_loop_is_known(python: str) -> None:
    told, _ = ran(
        """
        for a, b in data:
            train_step(a, b)
        """,
        python,
    )
    assert [model["name"] for model in of_type(told, "model")][:1] == ["mine"]
    flavours = {e["keras_flavour"] for e in of_type(told, "environment") if e.get("keras_flavour")}
    assert flavours and "none" not in flavours


EAGER_THEN_GRAPH = """
    for _ in range(3):
        for a, b in data:
            train_step(a, b)
        for a, b in data.take(8):
            tf.reduce_mean((model(a, training=False) - b) ** 2)
    graph_step = tf.function(train_step)
    graph_test = tf.function(lambda a: model(a, training=False))
    for a, b in data:
        graph_step(a, b)
    for a, b in data.take(8):
        graph_test(a)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_steps_are_told_with_the_kind_of_their_loop_and_eager_tests_are_counted(python: str) -> None:
    told, _ = ran(EAGER_THEN_GRAPH, python)
    steps = counted(told)
    assert {loop: n for (phase, loop), n in steps.items() if phase == "train"} == {"eager": 60, "custom": 20}
    assert sum(n for (phase, _), n in steps.items() if phase == "test") == 4 * 8
    for window in of_type(told, "steps"):
        parts = window["wait_s"] + window["compute_s"] + window["host_s"]
        assert parts == pytest.approx(window["wall_s"], abs=1e-6)
        assert min(window["wait_s"], window["compute_s"], window["host_s"]) >= -1e-9


def test_a_model_that_only_predicts_eagerly_has_its_batches_counted() -> None:
    told, _ = ran(
        """
        for a, _ in data:
            model(a)
        """
    )
    assert sum(n for (phase, _), n in counted(told).items() if phase == "predict") == 20
    assert not any(phase == "train" for phase, _ in counted(told))


DISTRIBUTED = """
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    shared = strategy.experimental_distribute_dataset(data)
    with strategy.scope():
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD()
    one = tf.function(lambda batch: strategy.run(train_step, args=batch))

    @tf.function
    def epoch(dataset):
        for batch in dataset:
            strategy.run(train_step, args=batch)

    for batch in shared:
        one(batch)
    iterator = iter(shared)
    for _ in range(10):
        one(next(iterator))
    for _ in range(2):
        epoch(shared)
    print(int(optimizer.iterations.numpy()))
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_a_loop_over_a_distributed_dataset_in_a_function_has_all_its_steps(python: str) -> None:
    told, printed = ran(DISTRIBUTED, python)
    assert printed.split()[-1] == "70"
    assert counted(told) == {("train", "custom"): 70}


def test_nothing_is_set_on_the_users_functions_and_models() -> None:
    _, printed = ran(
        """
        step = tf.function(train_step)
        for a, b in data:
            step(a, b)
        model.compile("sgd", "mse")
        model.train_on_batch(x[:8], y[:8])
        print([name for thing in (step, model, optimizer, data) for name in vars(thing) if "tfgpu" in name])
        """
    )
    assert printed.split("\n")[-2] == "[]"
