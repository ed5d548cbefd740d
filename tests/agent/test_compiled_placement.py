"""The placement of steps that XLA compiles whole and that Python calls itself, against where the script says that its
own results lie, and against where XLA lets a step run that has no result."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from .conftest import Event, of_type, other_pythons, run_script

Row = dict[str, Any]

SCRIPT = """
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
    )
    x, y = tf.ones((8, 8)), tf.ones((8, 1))

    class Pinned(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_jit = True

        def call(self, x):
            with tf.device("/CPU:2"):
                return tf.tanh(x) * 2.0

    def net(name):
        layers = [keras.layers.Dense(4, name=name + "_a"), Pinned(name=name + "_pinned")]
        return keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1, name=name + "_b")])

    def own_step(model, returns):
        optimizer = keras.optimizers.SGD()
        if hasattr(optimizer, "build"):
            optimizer.build(model.trainable_variables)

        @tf.function(jit_compile=True)
        def step(a, b):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(a, training=True) - b) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))
            return loss if returns else None

        return step

    def first_of(step):
        result = step(x, y)
        for _ in range(4):
            step(x, y)
        return result

    print("RESULT whole", first_of(own_step(net("whole"), True)).device)

    with tf.device("/CPU:1"):
        silent, step = net("silent"), None
        step = own_step(silent, False)
        first_of(step)
    kernel = silent.trainable_variables[0]
    print("RESULT silent", getattr(kernel, "value", kernel).device if keras.__version__ >= "3" else kernel.device)
    try:
        with tf.device("/CPU:2"):
            step(x, y)
    except tf.errors.InvalidArgumentError as error:
        print("REFUSED", "located in device" in str(error))

    model, optimizer = net("outside"), keras.optimizers.SGD()
    forward = tf.function(lambda a, b: tf.reduce_mean((model(a, training=True) - b) ** 2), jit_compile=True)
    for _ in range(4):
        with tf.GradientTape() as tape:
            loss = forward(x, y)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    print("RESULT outside", gradients[0].device)

    keras_model = net("batch")
    keras_model.compile("sgd", "mse", jit_compile=True)
    for _ in range(4):
        keras_model.train_on_batch(x, y)

    import gc
    from tensorflow.python.eager.polymorphic_function import atomic_function
    functions = [one for one in gc.get_objects() if isinstance(one, atomic_function.AtomicFunction)]
    print("STILL LOOKED AT", sum("call_flat" in vars(one) for one in functions))
    print("FUNCTIONS", len(functions))
"""


@pytest.fixture(scope="module", params=[sys.executable, *other_pythons()])
def ran(request: pytest.FixtureRequest) -> tuple[list[Event], dict[str, str]]:
    """The events, and what the script prints: a line's first words -> its last."""
    events, process = run_script(SCRIPT, python=request.param)
    assert process.returncode == 0, process.stderr[-3000:]
    assert of_type(events, "hook_off") == []
    return events, dict(line.rpartition(" ")[::2] for line in process.stdout.splitlines())


def rows_of(events: list[Event], name: str) -> dict[str, Row]:
    """The table of the model with that name: the layer's own name without it -> row."""
    for event in of_type(events, "placement"):
        rows = {row["layer"].removeprefix(name): row for row in event["layers"]}
        if "_a" in rows:
            return rows
    raise AssertionError(f"no placement of {name}")


@pytest.mark.parametrize(("name", "device"), [("whole", "CPU:0"), ("silent", "CPU:1"), ("outside", "CPU:0")])
def test_it_ran_where_its_results_or_its_variables_lie(
    ran: tuple[list[Event], dict[str, str]], name: str, device: str
) -> None:
    events, said = ran
    rows = rows_of(events, name)
    assert said[f"RESULT {name}"].endswith(device)
    for layer in ("_a", "_b"):
        assert set(rows[layer]["forward"]) == set(rows[layer]["backward"]) == {device}
        assert rows[layer]["xla"] is True
        assert sum(rows[layer]["forward"].values()) >= 2
    for row in rows.values():
        assert {*row["forward"], *row["backward"]} <= {device}
    assert ("(optimizer)" in rows) == (name != "outside")
    assert "(loss)" in rows


def test_xla_refuses_variables_of_another_device(ran: tuple[list[Event], dict[str, str]]) -> None:
    """On which it rests that a step without results ran where its variables lie."""
    assert ran[1]["REFUSED"] == "True"


def test_a_layer_that_was_pinned_elsewhere_says_so(ran: tuple[list[Event], dict[str, str]]) -> None:
    row = rows_of(ran[0], "silent")["_pinned"]
    assert row["asked"] == "CPU:2"
    assert row["reason"] == "tf.device asks for CPU:2, but XLA compiled the whole function for CPU:1"


def test_train_on_batch_has_a_table(ran: tuple[list[Event], dict[str, str]]) -> None:
    rows = rows_of(ran[0], "batch")
    assert rows["_a"]["xla"] is True
    assert set(rows["_b"]["backward"]) == {"CPU:0"}


def test_no_function_is_looked_at_for_longer_than_its_first_call(ran: tuple[list[Event], dict[str, str]]) -> None:
    assert ran[1]["STILL LOOKED AT"] == "0"
    assert int(ran[1]["FUNCTIONS"]) > 4
