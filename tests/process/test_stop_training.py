"""A real training asked to stop: it ends after its batch, and the script goes on to its own end."""

from __future__ import annotations

import json
import time

import pytest

from tests.process.conftest import Workplace, of_type, read_journal, wait_for_state, wait_until
from tests.timed import timed
from tfgpu_tui.core.events import Phase, RunEnded, Steps, Stopping, TrainEnd
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch

TRAINING = """
import numpy as np
import tensorflow as tf
model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.ones((64, 4), "float32")
for _ in range(3):
    model.fit(x, x[:, :1], batch_size=8, epochs=100_000, verbose=0)
print("saved", flush=True)
"""

FED_BY_PYTHON = """
import gc, sys, time
import numpy as np
import tensorflow as tf
import keras
ALONE = "alone" in sys.argv  # then a call of `read` is always on its way: what is fetched ahead is never full
if ALONE:
    gc.disable()  # and the epoch's iterator, in a cycle of references, is there until the interpreter closes
def read(number):
    time.sleep(0.2 if ALONE else 0.001)
    return np.ones(4, "float32")
def load(number):
    x = tf.ensure_shape(tf.numpy_function(read, [number], tf.float32), (4,))
    return x, x[:1]
class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = ALONE and batch == 3
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
data = tf.data.Dataset.range(100_000).map(load).batch(4 if ALONE else 32)
model.fit(data, epochs=100, verbose=0, callbacks=[Stop()])
print("saved", flush=True)
"""
"""Its own end hangs, without the monitor too: the closing interpreter waits for a call of `read` (TensorFlow 2.21; not
with `alone`, in 1 of 8 tries)."""

STUCK = """
import atexit, threading, time
def last_words():
    time.sleep(4)
    print("saved", flush=True)
atexit.register(last_words)
import numpy as np
import keras
class Stuck:
    def __del__(self, wait=threading.Event().wait):
        wait()
stuck = Stuck()
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.ones((64, 4), "float32")
model.fit(x, x[:, :1], batch_size=8, epochs=100_000, verbose=0)
"""


def closing_s(run: RunDir) -> float:
    """Seconds from the end of the script's own code to the end of its process."""
    (exiting,) = [event for event in of_type(run, Phase) if isinstance(event, Phase) and event.phase == "exiting"]
    (ended,) = of_type(run, RunEnded)
    return ended.t - exiting.t


def stages(run: RunDir) -> list[str]:
    return [event.stage for event in read_journal(run) if isinstance(event, Stopping)]


def test_a_stop_waits_for_the_batch_and_lets_the_script_finish(place: Workplace) -> None:
    run = place.start(place.script(TRAINING))
    wait_until(lambda: of_type(run, Steps), "steps were seen", 120)
    launch.stop(run)
    summary = wait_for_state(run, "ended")
    assert (summary.exit_code, summary.signal, summary.stopped) == (0, None, "user")
    assert run.output_log.read_text().endswith("saved\n")
    assert stages(run) == ["batch"]
    ends = [event.stopped for event in read_journal(run) if isinstance(event, TrainEnd)]
    assert ends == ["stop"] * 3


def test_stop_after_ends_a_headless_run_with_the_scripts_own_status(place: Workplace) -> None:
    done = place.tool("--headless", "--stop-after", "40", place.script(TRAINING))
    assert (done.returncode, done.stdout) == (0, b"saved\n")
    steps = sum(event.steps for event in of_type(place.only_run(), Steps) if isinstance(event, Steps))
    assert 40 <= steps <= 45, "the limit counts all fits of the run; each fit needs a batch to see it"
    assert f"stopped after {steps} steps in " in done.stderr.decode()


def test_a_stop_of_a_training_that_python_feeds_needs_no_signal(place: Workplace) -> None:
    run = place.start(place.script(FED_BY_PYTHON))
    wait_until(lambda: of_type(run, Steps), "steps were seen", 120)
    launch.stop(run)
    summary = wait_for_state(run, "ended")
    assert (summary.exit_code, summary.signal) == (0, None)
    assert summary.ending and summary.ending.startswith("stopped after ")
    assert run.output_log.read_text().endswith("saved\n")
    assert stages(run) == ["batch"]


def test_stop_after_of_a_training_that_python_feeds_needs_no_signal(place: Workplace) -> None:
    done = place.tool("--headless", "--stop-after", "40", place.script(FED_BY_PYTHON))
    assert (done.returncode, done.stdout) == (0, b"saved\n")
    assert stages(place.only_run()) == []


def test_what_a_script_left_when_it_ended_by_itself_is_not_touched(place: Workplace) -> None:
    """Plain python does not end then (now and then it does), and neither does it here: the run is another's to stop."""
    for _ in range(6):
        run = place.start(place.script(FED_BY_PYTHON), "alone")
        still = hangs(run)
        assert stages(run) == []
        if still:
            break
        assert wait_for_state(run, "ended").exit_code == 0
    else:
        pytest.fail("it ended by itself each time")
    wait_for_state(run, "running")
    launch.stop(run)
    ended = wait_for_state(run, "ended")
    assert (ended.exit_code, ended.ending) == (0, f"stopped after {steps_of(run)} steps")


def hangs(run: RunDir) -> bool:
    """Whether the script is there still, six seconds after its last line."""
    wait_until(lambda: run.output_log.exists() and "saved" in run.output_log.read_text(), "the script was over", 120)
    end = time.monotonic() + 6
    while time.monotonic() < end and not of_type(run, RunEnded):
        time.sleep(0.1)
    return not of_type(run, RunEnded)


def steps_of(run: RunDir) -> int:
    return sum(event.steps for event in of_type(run, Steps) if isinstance(event, Steps))


@timed
def test_an_interpreter_that_waits_after_a_stop_is_ended(place: Workplace) -> None:
    report = place.folder / "r.json"
    done = place.tool("--headless", "--stop-after", "40", "--report-json", report, place.script(STUCK))
    assert (done.returncode, done.stdout) == (0, b"saved\n"), "all that the script wants to run at its end did"
    run = place.only_run()
    assert stages(run) == ["interpreter"]
    assert 3.0 < closing_s(run) < 10.0
    told = json.loads(report.read_text())["run"]
    assert (told["exit_code"], told["signal"]) == (0, None)
    assert told["stopped"] | {"steps": 40} == {
        "reason": "stop-after", "steps": 40, "words": f"stopped after {told['stopped']['steps']} steps", "closed_by": 15
    }  # fmt: skip
    assert b"its interpreter did not close, and was ended by SIGTERM" in done.stderr
