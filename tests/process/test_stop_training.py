"""A real training asked to stop: it ends after its batch, and the script goes on to its own end."""

from __future__ import annotations

from tests.process.conftest import Workplace, of_type, read_journal, wait_for_state, wait_until
from tfgpu_tui import launch
from tfgpu_tui.events import Steps, Stopping, TrainEnd

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


def test_a_stop_waits_for_the_batch_and_lets_the_script_finish(place: Workplace) -> None:
    run = place.start(place.script(TRAINING))
    wait_until(lambda: of_type(run, Steps), "steps were seen", 60)
    launch.stop(run)
    summary = wait_for_state(run, "ended")
    assert (summary.exit_code, summary.signal) == (0, None)
    assert run.output_log.read_text().endswith("saved\n")
    assert [event.stage for event in read_journal(run) if isinstance(event, Stopping)] == ["batch"]
    ends = [event.stopped for event in read_journal(run) if isinstance(event, TrainEnd)]
    assert ends == ["stop"] * 3


def test_stop_after_ends_a_headless_run_with_the_scripts_own_status(place: Workplace) -> None:
    done = place.tool("--headless", "--stop-after", "40", place.script(TRAINING))
    assert (done.returncode, done.stdout) == (0, b"saved\n")
    steps = sum(event.steps for event in of_type(place.only_run(), Steps) if isinstance(event, Steps))
    assert 40 <= steps <= 45, "the limit counts all fits of the run; each fit needs a batch to see it"
