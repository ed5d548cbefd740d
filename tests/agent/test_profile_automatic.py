"""The look inside the step that nobody asked for: it comes by itself, it can be turned off, it changes no result."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.installed import version_of

from .conftest import Event, of_type, run_script

TRAIN = """
    import hashlib, sys, time
    import numpy as np
    import tensorflow as tf
    import keras
    L = keras.layers
    profile = sys.modules.get("_tfgpu_agent.placement.profile")  # None in plain Python
    when = sys.modules.get("_tfgpu_agent.placement.profile_when")
    keras.utils.set_random_seed(1)
    dense = [L.Dense(2048, name="wide"), L.Dense(256, name="heavy"), L.Dense(1, name="thin")]
    m = keras.Sequential([keras.Input((64,)), *dense])
    m.compile("sgd", "mse")
    x = np.random.RandomState(0).randn(4096, 64).astype("f")
    y = x[:, :1] * 2

    class Until(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if time.time() > deadline or DONE():
                self.model.stop_training = True

    deadline = time.time() + 60
"""
SOON = """
    when.FIRST_AFTER_S, when.RECENT_S, when.SAMPLE_S, when.SHARE = 0.5, 0.5, 0.1, 1.0
    profile._state.plan = when.Plan()
"""
"""As after minutes of training."""
COSTLY_LOSS = """
    def far(y, p):
        return tf.reduce_mean(tf.square(tf.repeat(y - p, 4096, axis=1)))

    m.compile("sgd", far)
"""
"""On a quick machine the ops of a mean squared error of so few numbers are too cheap to be told by the profiler."""
FIT = """
    m.fit(x, y, batch_size=64, epochs=1000, verbose=0, callbacks=[Until()])
    assert time.time() < deadline, "it never came"
"""
LOOKED = "profile._state.plan.spent_s"


def run(
    before: str = "", done: str = LOOKED, knobs: dict[str, str] | None = None, fit: str = FIT
) -> tuple[list[Event], subprocess.CompletedProcess[str]]:
    script = f"    DONE = lambda: {done}\n" + TRAIN + before + fit
    events, process = run_script(script, environment={"TFGPU_TUI_KNOBS": json.dumps(knobs or {})})
    assert process.returncode == 0, process.stderr[-3000:]
    assert of_type(events, "hook_off") == []
    return events, process


def test_it_comes_by_itself_and_its_parts_sum_to_compute() -> None:
    # A second after it the training still runs: steps that are as they were.
    after = f"{LOOKED} and (DONE.__dict__.setdefault('t', time.time()) + 1 < time.time())"
    events, _ = run(COSTLY_LOSS + SOON, after)
    times = of_type(events, "layer_times")[0]
    assert times["asked"] == "automatic"
    assert times["whole_steps"] >= 1
    assert abs(sum(times["parts"].values()) - times["compute_ms"]) < 0.01 * times["compute_ms"]
    assert {"forward", "backward", "optimizer", "loss", "runtime"} <= set(times["parts"])
    layers: dict[str, Any] = times["by_layer"]
    assert layers["heavy"]["backward"] > layers["thin"]["backward"]
    assert times["ops"] == sorted(times["ops"], key=lambda row: -row["ms"])
    assert times["cost_s"] > 0
    steps = of_type(events, "steps")
    profiled = [window for window in steps if window["profiled"]]
    assert profiled, "the slower steps are told apart"
    assert not steps[-1]["profiled"]
    assert not [window for window in steps if window["t"] < times["t"] - 30 and window["profiled"]]


def test_a_look_between_two_epochs_waits_for_the_next_one() -> None:
    between = (
        SOON
        + """
    class Edge(Until):
        def on_epoch_end(self, epoch, logs=None):
            profile._want(3, "automatic")
            while time.time() < deadline and profile._state.wanted and profile._state.idle < 5:
                time.sleep(0.01)
    Until = Edge
"""
    )
    events, _ = run(between, knobs={"profile": "off"})
    times = of_type(events, "layer_times")[0]
    assert "refused" not in times and times["parts"]["forward"] > 0


def test_a_short_run_gets_none() -> None:
    events, _ = run(done="profile.windows.total('train') > 300")
    assert of_type(events, "layer_times") == []
    assert not [window for window in of_type(events, "steps") if window["profiled"]]


def test_a_setting_turns_it_off() -> None:
    events, _ = run(SOON, done="profile.windows.wall_s('train') > 2", knobs={"profile": "off"})
    assert of_type(events, "layer_times") == []


def test_the_scripts_own_profiler_wins() -> None:
    own = SOON + "    tf.profiler.experimental.start('.')\n"
    events, _ = run(own, done="profile.windows.wall_s('train') > 2")
    (times,) = of_type(events, "layer_times")
    assert (times["asked"], "the script holds the profiler" in times["refused"]) == ("automatic", True)


def test_an_op_by_op_training_says_once_why_there_is_none() -> None:
    events, _ = run("    m.compile('sgd', 'mse', run_eagerly=True)\n" + SOON, "profile.windows.wall_s('train') > 3")
    (times,) = [told for told in of_type(events, "layer_times") if told.get("source") != "looks"]
    assert "op by op" in times["refused"]


def test_a_step_that_xla_compiles_is_told_by_instruction() -> None:
    events, _ = run("    m.compile('sgd', 'mse', jit_compile=True)\n" + SOON)
    times = of_type(events, "layer_times")[0]
    if version_of("tensorflow").startswith("2.15."):  # its profiler names no instruction of XLA's
        assert times["refused"] == "the profiler names no op of a layer"
        return
    assert "XLA compiles the whole step" in times["note"]
    assert times["parts"]["compiled"] > 0
    assert not set(times["parts"]) & {"forward", "backward"}
    assert times["ops"][0]["part"] == "compiled"


def test_the_results_are_those_of_plain_python_bit_for_bit() -> None:
    fit = """
    deadline = float("inf")
    history = m.fit(x, y, batch_size=64, epochs=12, verbose=0)
    print([value.hex() for value in history.history["loss"]])
    print([hashlib.sha256(weights.tobytes()).hexdigest() for weights in m.get_weights()])
"""
    looked, on = run(SOON, fit=fit)
    told = [times for times in of_type(looked, "layer_times") if times.get("parts")]
    assert told and told[0]["asked"] == "automatic"
    _, off = run_script(TRAIN + fit, agent=False)
    assert off.returncode == 0 and on.stdout == off.stdout
