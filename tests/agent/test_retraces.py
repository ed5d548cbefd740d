"""Functions that are traced again, with the argument that changed; calls of fit; arrays on a GPU."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tfgpu_tui.agent.looks import retraces
from tfgpu_tui.agent.memory import array_copy

from .conftest import Event, of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]

SCRIPT = """
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    @tf.function
    def by_value(x, rate):
        return x * rate

    @tf.function
    def by_shape(batch):
        return tf.reduce_sum(batch["image"])

    @tf.function
    def by_dtype(x):
        return x + x

    @tf.function
    def steady(x):
        return x * 2.0

    def plain(x):
        return x - 1.0

    for i in range(6):
        by_value(tf.constant(1.0), rate=i / 10)
        by_shape({"image": tf.zeros([2, i + 1])})
        tf.function(plain)(tf.constant(1.0))
        steady(tf.constant(float(i)))
    by_dtype(tf.constant(1))
    by_dtype(tf.constant(1.0))

    x = np.zeros((64, 8), "float32")
    for _ in range(3):
        m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        m.compile("sgd", "mse")
        m.fit(x, x[:, :1], verbose=0)
    for width in (3, 4, 5):
        m.train_on_batch(x[:width], x[:width, :1])
"""
Ran = tuple[list[Event], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=PYTHONS)
def ran(request: pytest.FixtureRequest) -> Ran:
    events, process = run_script(SCRIPT, python=request.param)
    assert process.returncode == 0, process.stderr[-3000:]
    assert of_type(events, "hook_off") == []
    return events, process


def last(ran: Ran, function: str) -> Event:
    found = of_type(ran[0], "retrace", function=function)
    assert found, [e["function"] for e in of_type(ran[0], "retrace")]
    return found[-1]


def test_a_python_value_is_named_with_both_values(ran: Ran) -> None:
    event = last(ran, "by_value")
    assert (event["kind"], event["argument"]) == ("value", "rate")
    assert (event["before"], event["after"]) == ("0.4", "0.5")
    assert event["traces"] == 6
    assert 0.0 < event["seconds"] < 30.0
    assert SCRIPT.splitlines()[event["line"]].strip().startswith("def by_value") or "by_value" in "".join(
        SCRIPT.splitlines()[event["line"] - 1 : event["line"] + 1]
    )


def test_a_shape_within_a_dictionary_is_named_by_its_path(ran: Ran) -> None:
    event = last(ran, "by_shape")
    assert (event["kind"], event["argument"]) == ("shape", "batch['image']")
    assert (event["before"], event["after"]) == ("float32 [2, 5]", "float32 [2, 6]")


def test_a_dtype_is_told_from_a_shape(ran: Ran) -> None:
    event = last(ran, "by_dtype")
    assert (event["kind"], event["before"], event["after"]) == ("dtype", "int32 []", "float32 []")


def test_a_function_made_anew_has_no_argument_to_blame(ran: Ran) -> None:
    event = last(ran, "plain")
    assert (event["kind"], event["argument"], event["traces"]) == ("object", None, 6)


def test_what_is_traced_once_is_not_told(ran: Ran) -> None:
    assert of_type(ran[0], "retrace", function="steady") == []


def test_each_model_has_its_own_train_function(ran: Ran) -> None:
    of_keras = of_type(ran[0], "retrace", keras=True)
    assert all(e["kind"] != "object" for e in of_keras), of_keras


def test_the_calls_of_fit_are_counted(ran: Ran) -> None:
    event = of_type(ran[0], "fit_calls")[-1]
    assert event["count"] == 3
    assert event["wall_s"] > 0.0


def test_the_size_of_arrays_is_that_of_all_of_them() -> None:
    x = np.zeros((4, 8), np.float32)
    assert array_copy.array_bytes([{"a": x, "b": [x, x]}, None, x]) == 4 * x.nbytes
    assert array_copy.array_bytes([iter([x]), "text"]) == 0


def test_differences() -> None:
    assert retraces.difference({"x": ("value", "1")}, {"x": ("value", "1")}) is None
    gone = retraces.difference({"x": ("value", "1")}, {})
    assert gone is not None
    assert (gone.kind, gone.argument, gone.after) == ("structure", "x", None)
