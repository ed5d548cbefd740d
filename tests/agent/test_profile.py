"""Time per layer on demand: measured in a real training, and never in the way of the script's own profiler."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tfgpu_tui.agent.placement import profile_trace

from .conftest import Event, of_type, other_pythons, run_script

TRAIN = """
    import sys, time
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    L = keras.layers
    dense = [L.Dense(2048, name="wide"), L.Dense(256, name="heavy"), L.Dense(1, name="thin")]
    m = keras.Sequential([keras.Input((64,)), *dense])
    m.compile("sgd", "mse", **COMPILED)
    x, y = np.random.randn(4096, 64).astype("f"), np.random.randn(4096, 1).astype("f")
    profile = sys.modules["_tfgpu_agent.placement.profile"]

    class Until(keras.callbacks.Callback):
        # Ends the training once the agent has told, one way or the other.
        def on_train_batch_end(self, batch, logs=None):
            if time.time() > deadline or DONE():
                self.model.stop_training = True

    deadline = time.time() + 60
"""
FINISH = """
    m.fit(x, y, batch_size=64, epochs=1000, verbose=0, callbacks=[Until()])
    assert time.time() < deadline, "the profile never came"
"""


def run(
    more: str,
    python: str = sys.executable,
    steps: int = 3,
    compiled: str = "{}",
    done: str = "not profile._state.wanted",
    fails: bool = False,
) -> tuple[list[Event], subprocess.CompletedProcess[str]]:
    script = f"    COMPILED = {compiled}\n    DONE = lambda: {done}\n" + TRAIN + more + FINISH
    knobs = {"TFGPU_TUI_KNOBS": json.dumps({"profile": str(steps)})}
    events, process = run_script(script, python, environment=knobs)
    assert process.returncode == 0, process.stderr[-3000:]
    assert fails == any("profile" in e["hook"] for e in of_type(events, "hook_off"))
    return events, process


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_the_time_of_each_layer_is_measured_forward_and_backward(python: str) -> None:
    events, _ = run("", python)
    (times,) = of_type(events, "layer_times")
    assert "refused" not in times
    assert times["steps"] >= 2
    layers: dict[str, Any] = times["layers"]
    assert layers["heavy"]["forward_ms"] > layers["thin"]["forward_ms"]
    assert layers["heavy"]["backward_ms"] > layers["thin"]["backward_ms"]
    spent = sum(sum(row.values()) for row in layers.values())
    assert spent + times["unattributed_ms"] == pytest.approx(sum(times["devices"].values()), rel=1e-3)


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_a_loop_over_the_batch_and_a_table_that_the_optimizer_updates_whole_are_told(python: str) -> None:
    own = """
    class OneByOne(L.Layer):
        def call(self, batch):
            return tf.map_fn(lambda one: tf.tanh(one) * 2.0, batch)

    ids = keras.Input((4,), dtype="int32")
    found = OneByOne(name="one_by_one")(L.Embedding(20000, 16, name="words")(ids))
    m = keras.Model(ids, L.Dense(1, name="thin")(L.Flatten()(found)))
    m.compile("adam", "mse")
    x = np.random.randint(0, 20000, (4096, 4)).astype("int32")
"""
    events, _ = run(own, python)
    times = of_type(events, "layer_times")[-1]
    assert times["turns"] == {"one_by_one": 64.0}
    assert sum(times["parts"].values()) == pytest.approx(times["compute_ms"], rel=1e-3)
    assert sum(times["idle"].values()) == pytest.approx(times["parts"].get("runtime", 0.0), abs=0.01)
    told = of_type(events, "optimizer")[-1]
    assert (told["cls"], told["variables"], told["parameters"]) == ("Adam", 3, 320_065)
    (table,) = told["sparse"]
    assert (table["rows"], table["elements"], table["touched"], table["slots"]) == (20_000, 320_000, 256, 2)


def test_a_window_that_held_no_whole_step_is_followed_by_a_longer_one() -> None:
    """A machine that stalls: a quick training becomes slow as soon as the profiler looks."""
    stalls = """
    class Stalls(Until):
        def on_train_batch_begin(self, batch, logs=None):
            if profile._state.session is not None:
                time.sleep(0.15)

    Until = Stalls
"""
    events, _ = run(stalls)
    (times,) = of_type(events, "layer_times")
    assert times["steps"] >= 2
    assert set(times["layers"]) >= {"wide", "heavy", "thin"}


def test_the_command_from_the_screen_asks_for_it_in_the_middle_of_a_training() -> None:
    told = """
    told, send = [], profile.send
    profile.send = lambda kind, **fields: (told.append(kind), send(kind, **fields))
"""
    script = "    COMPILED = {}\n    DONE = lambda: told\n" + TRAIN + told + FINISH
    events, process = run_script(
        script, answer=lambda event: {"cmd": "profile", "steps": 2} if event["type"] == "placement" else None
    )
    assert process.returncode == 0, process.stderr[-3000:]
    (times,) = of_type(events, "layer_times")
    assert times["layers"]["heavy"]["backward_ms"] > 0


def test_while_the_script_holds_the_profiler_it_is_refused_in_words() -> None:
    events, _ = run("    tf.profiler.experimental.start('.')\n")
    (times,) = of_type(events, "layer_times")
    assert "the script holds the profiler" in times["refused"]


def test_the_scripts_own_profiler_goes_first_when_it_starts_meanwhile() -> None:
    """Ours would look at 1000 steps; in the middle of it the script starts its own, which must work."""
    own = """
    class Own(Until):
        started = False

        def on_train_batch_end(self, batch, logs=None):
            if profile._state.session is not None and not Own.started:
                Own.started = True
                tf.profiler.experimental.start(".")
                tf.profiler.experimental.stop()
            super().on_train_batch_end(batch, logs)

    Until = Own
"""
    events, _ = run(own, steps=1000, done="Own.started")
    (times,) = of_type(events, "layer_times")
    assert "the script started the profiler itself" in times["refused"]


def test_an_eager_training_says_why_there_are_no_times() -> None:
    events, _ = run("", compiled="{'run_eagerly': True}")
    (times,) = [told for told in of_type(events, "layer_times") if told.get("source") != "looks"]
    assert "op by op" in times["refused"]


def test_a_training_that_ends_before_says_so() -> None:
    events, _ = run("    deadline = time.time() + 1e9\n", done="True")
    (times,) = of_type(events, "layer_times")
    assert "the training ended before" in times["refused"]


def test_a_trace_that_cant_be_read_is_said_and_never_looked_for_again() -> None:
    broken = "    profile.profile_trace.trace = lambda raw: 1 / 0\n"
    events, _ = run(broken, fails=True)
    (times,) = of_type(events, "layer_times")
    assert times["refused"] == "the trace can't be read: ZeroDivisionError: division by zero"


def test_a_real_gpus_trace_is_read_by_op() -> None:
    """Two steps of `benchmarks/gpu_cases/many_layers.py` (KIND=conv) on an NVIDIA H200, TensorFlow 2.21."""
    file = Path(__file__).parent / "traces" / "h200-conv.trace.gz"
    times = profile_trace.read(gzip.decompress(file.read_bytes()))
    assert times.devices["GPU:0"] == pytest.approx(20.119, abs=0.001), "kernels and copies, in milliseconds"
    assert times.devices["CPU"] < 0.2, "what only starts a kernel is no time of an op"
    forward = "StatefulPartitionedCall/sequential_1/conv2_1/Relu"
    assert (times.ops[forward].kind, times.ops[forward].runs) == ("_FusedConv2D", 8)
    assert times.ops[forward].ms == pytest.approx(0.406, abs=0.001)
    weights = "StatefulPartitionedCall/gradient_tape/sequential_1/conv0_1/convolution/Conv2DBackpropFilter"
    assert not [name for name in times.ops if "LayoutOptimizer" in name]
    assert times.ops[weights].ms == pytest.approx(0.3, abs=0.2), "with the transposes that it asked for"
    copied = [op.ms for op in times.ops.values() if op.kind == "_Send"]
    assert max(copied) == pytest.approx(0.716, abs=0.001), "the batch's way to the GPU, twice"
