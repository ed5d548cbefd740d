"""Real trainings that stand still, and real ones that only pause: what run.stalled says of them, while they run."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.process.conftest import Workplace, of_type, wait_for_state, wait_until
from tfgpu_tui.core.events import Event, Stacks, Standing, Standstill, Steps
from tfgpu_tui.core.state import fold
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch

STALL_AFTER_S = 3.0
LONG_S = 120.0
"""A machine with other work needs long for TensorFlow's import."""
COMMON = """
import ctypes, os, sys, threading, time
import keras, numpy as np, tensorflow as tf
x, y = np.ones((256, 8), "float32"), np.ones((256, 1), "float32")
def net():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model
def forever():
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat()
class Once(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 300:
            self.pause()
"""
ILL = {
    "feed: asleep": """
def batches():
    for n in range(10**9):
        if n > 200: time.sleep(1e6)
        yield x[:8], y[:8]
net().fit(batches(), steps_per_epoch=10**9, verbose=0)
""",
    "feed: waiting for a lock or another thread": """
held = threading.Lock()
def batches():
    for n in range(10**9):
        if n > 200: held.acquire()
        yield x[:8], y[:8]
net().fit(batches(), steps_per_epoch=10**9, verbose=0)
""",
    "own_line: waiting in queue.get": """
import queue
ready, model, optimizer = queue.Queue(), net(), keras.optimizers.SGD()
def load():
    for _ in range(300):
        time.sleep(0.002)
        ready.put((x[:8], y[:8]))
threading.Thread(target=load, daemon=True).start()
@tf.function
def step(a, b):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(a) - b) ** 2)
    optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
optimizer.build(model.trainable_variables)
while True:
    a, b = ready.get()
    step(a, b)
""",
    "interpreter: ": """
class Hold(Once):
    def pause(self): ctypes.PyDLL(None).sleep(1000)
net().fit(forever(), steps_per_epoch=10**9, verbose=0, callbacks=[Hold()])
""",
}
SHORTER_PAUSE = """
class Pause(Once):
    def pause(self):
        print("pause", flush=True)
        {pause}
        print("over", flush=True)
net().fit(forever(), steps_per_epoch=600, verbose=0, callbacks=[Pause()])
"""
HEALTHY = {
    "a callback that sleeps": SHORTER_PAUSE.format(pause="time.sleep(3 * 3)"),
    "one that computes": SHORTER_PAUSE.format(
        pause="end = time.monotonic() + 20\n        while time.monotonic() < end: pass"
    ),
    "a shuffle buffer that fills slowly": """
def one():
    while True:
        time.sleep(0.1)
        yield x[0], y[0]
spec = tf.TensorSpec((8,), tf.float32), tf.TensorSpec((1,), tf.float32)
net().fit(tf.data.Dataset.from_generator(one, output_signature=spec).shuffle(150).batch(8),
          steps_per_epoch=3, verbose=0)
print("over")
""",
}  # fmt: skip


def started(place: Workplace, text: str) -> RunDir:
    script = place.script(COMMON + text)
    spec = launch.LaunchSpec(
        argv=[str(script)], cwd=str(place.folder), python=sys.executable, stall_after_s=STALL_AFTER_S
    )
    return launch.start(spec)


def stands(run: RunDir) -> bool:
    return any("run.stalled" in event.since for event in of_type(run, Standing) if isinstance(event, Standing))


def ended(run: RunDir) -> Finding | None:
    """Ends the run; what its report says of a standstill."""
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
    return finding(run)


def finding(run: RunDir) -> Finding | None:
    with rundir.JournalReader(run.journal) as reader:
        events: list[Event] = list(reader)
    return next((found for found in diagnose(fold(events)) if found.id == "run.stalled"), None)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("cause", list(ILL))
def test_where_it_stands_is_told(place: Workplace, cause: str) -> None:
    run = started(place, ILL[cause])
    wait_until(lambda: stands(run), "it is seen to stand still", LONG_S)
    found = ended(run)
    assert found is not None and found.severity == "critical"
    name, _, waits = cause.partition(": ")
    assert found.evidence["cause"] == name, found
    assert found.evidence["waits"] == (waits or None)
    assert found.evidence["place"] is None or str(found.evidence["place"]).startswith("script.py:")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("pause", list(HEALTHY))
def test_a_pause_is_no_standstill(place: Workplace, pause: str) -> None:
    run = started(place, HEALTHY[pause])
    wait_until(lambda: listing.summary(run).state == "ended", "the training ends", LONG_S + 60)
    assert "over" in run.output_log.read_text()
    looks = [event for event in of_type(run, Standstill) if isinstance(event, Standstill)]
    assert any(event.quiet_s > STALL_AFTER_S for event in looks), "it was looked at for long enough"
    assert not stands(run) and finding(run) is None


@pytest.mark.timeout(400)
def test_a_suspended_script_is_none_and_one_that_goes_on_is_past(place: Workplace) -> None:
    wait = 'end = "go"\n        while not os.path.exists(end): time.sleep(0.05)'
    run = started(place, SHORTER_PAUSE.format(pause=wait).replace("steps_per_epoch=600", "steps_per_epoch=10**9"))
    wait_until(lambda: run.output_log.exists() and "pause" in run.output_log.read_text(), "it pauses", LONG_S)
    wait_until(lambda: stands(run), "a callback that waits for a file stands still after all", LONG_S)
    steps = len(of_type(run, Steps))
    (place.folder / "go").touch()
    wait_until(lambda: len(of_type(run, Steps)) > steps + 3, "steps go on")
    wait_until(lambda: of_type(run, Standstill)[-1].over, "that is seen")  # type: ignore[attr-defined]
    past = finding(run)
    assert past is not None and past.severity == "info"
    script = rundir.read_meta(run).script_pid
    assert script is not None
    os.kill(script, signal.SIGSTOP)
    try:
        before = len(of_type(run, Standstill)), len(of_type(run, Stacks))
        wait_until(lambda: _quiet_for(run, 4 * STALL_AFTER_S), "it was stopped for long enough", LONG_S)
        assert (len(of_type(run, Standstill)), len(of_type(run, Stacks))) == before
    finally:
        os.kill(script, signal.SIGCONT)
    ended(run)


def _quiet_for(run: RunDir, seconds: float) -> bool:
    """Whether the newest event of the machine's sampler is so much younger than the last step."""
    with rundir.JournalReader(run.journal) as reader:
        events = list(reader)
    last = max(event.t for event in events if isinstance(event, Steps))
    return max(event.t for event in events) - last > seconds
