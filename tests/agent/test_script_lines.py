"""The lines of the script where its own Python is found while it trains; what of an eager loop is its own Python."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import tfgpu_tui.agent
from tests.timed import timed
from tfgpu_tui.core import events
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.lines import feed_lines, loop_lines
from tfgpu_tui.supervisor.server import FROM_AGENTS

from .conftest import of_type, other_pythons, run_script

pytestmark = timed

PYTHONS = [sys.executable, *other_pythons()]

COMMON = """
    import json, queue, sys, threading, time
    import numpy as np, tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    def model_of():
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model
    def batch():
        return np.zeros((4, 8), "float32"), np.zeros((4, 1), "float32")
"""
QUEUE = """
    ready = queue.Queue()
    def produce():
        for _ in range(50):
            time.sleep(0.12)  # longer than Keras 2 takes for train_on_batch
            ready.put(batch())
        ready.put(None)
    threading.Thread(target=produce, daemon=True).start()
    model = model_of()
    while True:
        got = ready.get()  # LINE
        if got is None:
            break
        model.train_on_batch(*got)
"""
CALLBACK = """
    class Slow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            time.sleep(0.02)  # LINE
    data = tf.data.Dataset.from_tensors(batch()).repeat(150)
    model_of().fit(data, verbose=0, callbacks=[Slow()])
"""
GENERATOR = """
    def batches():
        for _ in range(150):
            time.sleep(0.02)  # LINE
            yield batch()
    model_of().fit(batches(), steps_per_epoch=150, verbose=0)
"""
WORKERS = """
    three = hasattr(keras.utils, "PyDataset")
    workers = {"workers": 2}
    class Rows(keras.utils.PyDataset if three else keras.utils.Sequence):
        def __init__(self):
            super().__init__(**workers if three else {})
        def __len__(self):
            return 150
        def __getitem__(self, number):
            time.sleep(0.04)  # LINE
            return batch()
    model = model_of()
    model.predict(np.zeros((3200, 8), "float32"), verbose=0)  # whose pipeline is measured
    model.fit(Rows(), verbose=0, **{} if three else workers)
"""
EAGER = """
    model, optimizer = model_of(), keras.optimizers.SGD()
    data = tf.data.Dataset.from_tensors(batch()).repeat(60)
    prepared = evaluated = 0.0
    for epoch in range(3):
        for x, y in data:
            start = time.perf_counter()
            time.sleep(0.02)  # LINE
            prepared += time.perf_counter() - start
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x) - y) ** 2)
            optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
        start = time.perf_counter()
        for x, y in data.take(20):  # nothing but eager code uses these batches
            time.sleep(0.02)
            model(x)
        evaluated += time.perf_counter() - start
    print(json.dumps({"prepared": prepared, "evaluated": evaluated}))
"""


COMPILED = """
    model, optimizer = model_of(), keras.optimizers.SGD()
    def works(value):
        time.sleep(0.03)
        return value
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(tf.ensure_shape(tf.numpy_function(works, [x], tf.float32), (4, 8))) - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
    for x, y in tf.data.Dataset.from_tensors(batch()).repeat(100):
        step(x, y)  # STEP
        time.sleep(0.02)  # LINE
"""


VALIDATED = """
    model = keras.Sequential([keras.Input((8,))] + [keras.layers.Dense(8) for _ in range(30)])
    optimizer = keras.optimizers.SGD()
    x, y = np.zeros((400, 8), "float32"), np.zeros((400, 8), "float32")
    @tf.function
    def step(a, b):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(a) - b) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
    for epoch in range(4):
        for n in range(0, 400, 10):
            step(x[n:n+10], y[n:n+10])
        for n in range(0, 400, 5):  # over arrays: nothing says that it is a validation
            model(x[n:n+5], training=False)  # LINE
"""


def trained(body: str, python: str) -> tuple[RunState, str, dict[str, Any]]:
    """The run as a reader sees it, `train.py:N` of the marked line, and what the script printed."""
    told, process = run_script(COMMON + body, python)
    assert process.returncode == 0, process.stderr[-2000:]
    assert of_type(told, "hook_off") == []
    decoded: list[Any] = [events.from_dict(event) for event in told]
    decoded.insert(0, events.RunStarted(t=decoded[0].t, id="run", argv=process.args[1:], cwd="/", python=python))
    marked = next(number for number, line in enumerate((COMMON + body).splitlines(), 1) if "# LINE" in line)
    printed = json.loads(process.stdout) if process.stdout.startswith("{") else {}
    return fold([event for event in decoded if event is not None]), f"train.py:{marked}", printed


def only(found: list[Finding], name: str) -> Finding:
    return next(f for f in found if f.id == name)


@pytest.mark.parametrize("python", PYTHONS)
def test_a_loop_that_waits_for_a_queue_is_named_with_its_line(python: str) -> None:
    state, place, _ = trained(QUEUE, python)
    first = loop_lines(state)[0]
    assert (first.place, first.waits) == (place, True)
    assert first.share > 0.8
    assert "ready.get()" in first.text
    finding = only(diagnose(state), "host.python")
    assert f"waits at {place}" in finding.next
    assert any(place in line and "waiting for" in line for line in finding.lines)


@pytest.mark.parametrize("python", PYTHONS)
def test_a_callbacks_line_is_named(python: str) -> None:
    state, place, _ = trained(CALLBACK, python)
    first = loop_lines(state)[0]
    assert (first.place, first.waits) == (place, False)
    assert first.share > 0.8
    assert any(place in line for line in only(diagnose(state), "host.callbacks").lines)
    assert feed_lines(state) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_the_line_that_makes_batches_is_named(python: str) -> None:
    state, place, _ = trained(GENERATOR, python)
    seen = [*feed_lines(state), *loop_lines(state)]
    assert seen[0].place == place
    assert seen[0].share > 0.8


def test_workers_that_make_batches_ahead_are_named_and_told_of_no_missing_prefetch() -> None:
    state, _, _ = trained(WORKERS, sys.executable)
    tuned = False if state.environment.keras_flavour == "keras3" else None  # Keras 3 turns it off, 2 says nothing
    assert state.pipeline is not None and state.pipeline.options["autotune"] is tuned
    found = {finding.id: finding for finding in diagnose(state)}
    assert {"input.bound", "input.python"} <= set(found)
    assert "input.no_prefetch" not in found
    assert "Rows.__getitem__" in found["input.python"].title


@pytest.mark.parametrize("python", PYTHONS)
def test_what_an_eager_loop_does_before_it_records_is_its_own_python(python: str) -> None:
    state, place, printed = trained(EAGER, python)
    assert state.loop == "eager"
    assert state.train.steps == 180
    other = {phase: totals.steps for phase, totals in state.totals.items() if phase != "train"}
    assert other == {"test": 3 * 20}, "a model that is called with a batch tests on it"
    # However long the eager step takes: what lies between its tape and its optimizer is no line of this list.
    assert loop_lines(state)[0].place == place
    step = {f"train.py:{number}" for number, line in enumerate((COMMON + EAGER).splitlines(), 1) if "optimizer" in line}
    assert not step & {line.place for line in loop_lines(state)}
    # Of the time before the tape, the part that iterates over the data set is a wait; the rest is the script's.
    assert 0.9 * printed["prepared"] < state.train.host_s < printed["prepared"] + 0.5 * printed["evaluated"]
    assert (state.train.compute_s or 0.0) < state.train.wall_s - 0.9 * printed["prepared"]


@pytest.mark.parametrize("python", PYTHONS)
def test_a_validation_over_arrays_is_called_a_models_work_and_not_the_scripts_own(python: str) -> None:
    state, place, _ = trained(VALIDATED, python)
    first = loop_lines(state)[0]
    assert (first.place, first.calls_model, first.waits) == (place, True, False)
    assert first.share > 0.8
    finding = only(diagnose(state), "host.python")
    assert "mostly a model, called op by op" in finding.title
    assert "tf.function" in finding.next and place in finding.next
    assert state.train.steps == 160, "what is no training is no step"
    assert not any(line.calls_model for line in loop_lines(trained(COMPILED, python)[0]))


@pytest.mark.parametrize("python", PYTHONS)
def test_a_compiled_step_is_not_the_scripts_own_python(python: str) -> None:
    state, place, _ = trained(COMPILED, python)
    step = next(number for number, line in enumerate((COMMON + COMPILED).splitlines(), 1) if "# STEP" in line)
    seen = {line.place: line.share for line in loop_lines(state)}
    assert seen[place] > 0.8
    assert f"train.py:{step}" not in seen


def test_whatever_the_agent_sends_is_taken_by_the_supervisor() -> None:
    sent = set()
    for path in Path(tfgpu_tui.agent.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in ("send", "send_latest"):
                    sent.add(node.args[0].value)
    assert len(sent) > 15
    assert sent <= FROM_AGENTS
