"""Calls of predict and evaluate: counted with their batches and lines; a validation of fit is none of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import Event, of_type, other_pythons, run_script

SCRIPT = """
    import threading
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    x, y = np.zeros((64, 8), "float32"), np.zeros((64, 1), "float32")

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.predict(x[:8], verbose=0)

    def one_row():
        return m.predict(x[:1], verbose=0)

    m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    m.compile("sgd", "mse")
    m.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[Looks()], verbose=0)
    m.fit(x, y, callbacks=[Looks()], verbose=0)
    for _ in range(5):
        assert one_row().shape == (1, 1)
    for _ in range(3):
        m.evaluate(x, y, batch_size=16, verbose=0)
    try:
        m.predict(None)
    except Exception as error:
        print(type(error).__name__)
    thread = threading.Thread(target=one_row)
    thread.start()
    thread.join()
"""
Ran = tuple[list[Event], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=[sys.executable, *other_pythons()])
def ran(request: pytest.FixtureRequest) -> Ran:
    events, process = run_script(SCRIPT, python=request.param)
    assert process.returncode == 0, process.stderr[-3000:]
    assert of_type(events, "hook_off") == []
    return events, process


def last(ran: Ran, method: str, in_fit: bool = False) -> Event:
    return of_type(ran[0], "predict_calls", method=method, in_fit=in_fit)[-1]


def test_calls_are_counted_with_their_batches_and_lines(ran: Ran) -> None:
    told = last(ran, "predict")
    assert told["count"] == 7, "five, one that failed, and one in another thread"
    assert told["batches"] == 6
    assert 0.0 < told["batches_s"] < told["wall_s"]
    dearest = max(told["places"], key=lambda place: int(place["count"]))
    assert (dearest["function"], dearest["count"]) == ("one_row", 6)
    assert SCRIPT.splitlines()[dearest["line"] - 1].strip() == "return m.predict(x[:1], verbose=0)"
    assert ran[1].stdout.strip(), "the script's own exception reached it"


def test_a_validation_of_fit_is_no_call_of_evaluate(ran: Ran) -> None:
    told = last(ran, "evaluate")
    assert (told["count"], told["batches"]) == (3, 12)
    assert of_type(ran[0], "predict_calls", method="evaluate", in_fit=True) == []


def test_what_a_callback_calls_is_told_apart(ran: Ran) -> None:
    told = last(ran, "predict", in_fit=True)
    assert (told["count"], told["batches"]) == (3, 3)
    assert told["places"][0]["function"] == "on_epoch_end"


def test_what_a_callback_calls_is_the_callbacks_time_and_no_validation(ran: Ran) -> None:
    validated, again, without = of_type(ran[0], "epoch", state="end")
    for epoch in (validated, again):
        assert epoch["validation_s"] > 0.0
    assert without["validation_s"] == 0.0
    for epoch in (validated, again, without):
        assert epoch["callbacks"]["Looks"] > 0.0
        assert epoch["validation_s"] + epoch["callbacks"]["Looks"] < epoch["wall_s"]


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_steps_around_a_predict_are_no_warm_up(python: str) -> None:
    """Each predict traces the functions of its own input; the steps of a loop that calls it are like one another."""
    told, process = run_script(
        """
        import numpy as np
        try:
            import tf_keras as keras
        except ImportError:
            import keras
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        row = np.zeros((1, 4), "float32")
        for _ in range(40):
            model.train_on_batch(row, model.predict(row, verbose=0))
        """,
        python,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    windows = of_type(told, "steps", phase="train")
    assert sum(w["steps"] for w in windows) == 40
    assert sum(w["steps"] for w in windows if not w["warmup"]) >= 25
