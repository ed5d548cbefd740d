"""Where a whole run's time goes, in real trainings: fit's own start and validations, against the script's own clock."""

from __future__ import annotations

import json
import sys

import pytest

from tests.timed import timed
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.account import WholeRun, place_words, whole_run
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose import whole_run as judged
from tfgpu_tui.diagnose.finding import Finding

from .conftest import other_pythons, run_script

pytestmark = timed

SCRIPT = """
    import json, sys, time
    import numpy as np
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    ILL = sys.argv[1] == "ill"
    ROWS = 5_000_000
    x = np.ones((ROWS, 1), "float32")
    y = (np.arange(ROWS) % 10 == 0).astype("int32")
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])
    net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    class Clock(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.called = self.began = None
            self.validated = self.started = 0.0
        def on_train_batch_begin(self, batch, logs=None):
            if self.called:
                self.started += time.perf_counter() - self.called
                self.called = None
        def on_test_begin(self, logs=None):
            self.began = time.perf_counter()
        def on_test_end(self, logs=None):
            self.validated += time.perf_counter() - self.began

    clock = Clock()
    weights = {"class_weight": {0: 1.0, 1: 9.0}} if ILL else {"sample_weight": np.where(y == 1, 9.0, 1.0)}
    clock.called = time.perf_counter()
    net.fit(x, y, batch_size=1 << 18, epochs=1, shuffle=False, verbose=0, callbacks=[clock], **weights)
    few, many = x[:9600], x[: 64000 if ILL else 320]
    for _ in range(4):
        clock.called = time.perf_counter()
        net.fit(few, y[:9600], verbose=0, validation_data=(many, y[: len(many)]), callbacks=[clock])
    print(json.dumps({"started": clock.started, "validated": clock.validated}))
"""


SHORT_EPOCHS = """
    import json, sys, time
    import numpy as np
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    import tensorflow as tf

    EPOCHS = int(sys.argv[1])
    data = tf.data.Dataset.from_tensor_slices((np.ones((6, 3), "f"), np.ones((6, 4), "f"))).batch(2)
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    net.compile("sgd", "mse")

    class Clock(keras.callbacks.Callback):
        between, left = 0.0, None
        def on_train_begin(self, logs=None):
            self.left = None
        def on_train_batch_begin(self, batch, logs=None):
            if self.left and batch == 0:
                self.between += time.perf_counter() - self.left
        def on_train_batch_end(self, batch, logs=None):
            self.left = time.perf_counter()

    net.fit(data, verbose=0)
    clock = Clock()
    for _ in range(12):
        net.fit(data, epochs=EPOCHS, verbose=0, callbacks=[clock])
    print(json.dumps({"between": clock.between}))
"""


def ran(python: str, kind: str, script: str = SCRIPT) -> tuple[RunState, dict[str, float]]:
    events, process = run_script(script, python=python, args=[kind])
    assert process.returncode == 0, process.stderr[-3000:]
    told = [event for event in (ev.from_dict({**e, "src": "agent"}) for e in events) if event is not None]
    begin, end = told[0].t, told[-1].t
    pid = told[0].pid
    around: list[ev.Event] = [
        ev.RunStarted(t=begin, src="child", id="r", argv=["train.py"], cwd="/", python=python),
        ev.ChildStarted(t=begin, src="child", pid=pid or 0),
    ]
    ended = ev.RunEnded(t=end, src="child", exit_code=0, wall_s=end - begin)
    return fold([*around, *told, ended]), json.loads(process.stdout)


def account(state: RunState) -> WholeRun:
    found = whole_run(state)
    assert found is not None
    assert found.seconds("unknown") < 0.05 * found.wall_s
    return found


def told(state: RunState) -> dict[str, Finding]:
    return {finding.id: finding for finding in diagnose(state)}


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_the_start_of_fit_and_its_validations_are_told_as_the_script_clocks_them(
    python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, truth = ran(python, "ill")
    found = account(state)
    in_start = [place for place in found.places if place["part"] == "preparing"]
    slow_start = state.environment.keras_flavour == "keras3"  # Keras 2 leaves the weights to the pipeline
    if slow_start:
        assert any("class_weight_to_sample_weights" in place_words(place, state.places) for place in in_start)
        assert found.seconds("fit_start") == pytest.approx(truth["started"], rel=0.2, abs=0.7)
        with monkeypatch.context() as sooner:
            sooner.setattr(judged, "LEAST_S", 0.1 * truth["started"])
            sooner.setattr(judged, "GREATEST_S", 0.1 * truth["started"])
            sooner.setattr(judged, "NEEDLESS_S", 0.1 * truth["started"])
            sooner.setattr(judged, "MOST", 0.01)
            sooner.setattr(judged, "COMMON_S", 1e9)
            outside = told(state)["run.outside_training"]
        # Freeing so much data after the fit may take even longer.
        assert "fit() before its first step" in " ".join([outside.title, *outside.lines])
    assert found.seconds("validation") == pytest.approx(truth["validated"], rel=0.2, abs=0.7)
    assert told(state)["host.validation"].evidence["epochs"] in (4, 5)
    healthy, truth = ran(python, "healthy")
    assert not slow_start or account(healthy).seconds("fit_start") == pytest.approx(truth["started"], rel=0.2, abs=0.7)
    assert not {"host.validation", "run.outside_training"} & set(told(healthy))


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_short_epochs_are_no_starts_of_fit(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "LEAST_S", 0.1)
    monkeypatch.setattr(judged, "GREATEST_S", 0.1)
    monkeypatch.setattr(judged, "MOST", 0.01)
    state, truth = ran(python, "40", SHORT_EPOCHS)
    assert account(state).seconds("epoch_edges") == pytest.approx(truth["between"], rel=0.2, abs=0.7)
    short = told(state)
    assert "host.fit_in_loop" not in short
    outside = short["run.outside_training"]
    assert "between epochs" in outside.title
    assert outside.lines[0].startswith("481 epochs of 3 steps: ")
    starts, _ = ran(python, "1", SHORT_EPOCHS)
    assert "host.fit_in_loop" in told(starts)
