"""Memory of a real training by the step: a leak is measured and its container named; steady runs raise nothing."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tfgpu_tui.core import events
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding

from .conftest import Event, of_type, other_pythons, run_script

SCRIPT = """
    import sys, time
    import numpy as np, tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    kind, steps = sys.argv[1], int(sys.argv[2])
    keep = []

    class Keeps(keras.callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if kind == "arrays" or (kind == "warm-up" and self.done < 150):
                keep.append(np.ones(32768))
            elif kind == "tensors":
                keep.append(tf.fill((256, 256), float(self.done)))
            elif kind == "cycle":
                keep.append(np.ones(32768))
                if len(keep) == 60:
                    keep.clear()
            time.sleep(0.01)

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(128), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((tf.zeros((16, 64)), tf.zeros((16, 1)))).repeat(steps)
    model.fit(data, verbose=0, callbacks=[Keeps()])
"""


def trained(kind: str, steps: int = 600, python: str = sys.executable) -> tuple[RunState, list[Event]]:
    told, process = run_script(SCRIPT, python, [kind, str(steps)])
    assert process.returncode == 0, process.stderr[-2000:]
    assert [e for e in of_type(told, "hook_off") if "memory" in e["hook"]] == []
    decoded: list[Any] = [events.from_dict(event) for event in told]
    return fold([event for event in decoded if event is not None]), told


def growths(state: RunState) -> list[Finding]:
    return [f for f in diagnose(state) if f.id == "memory.host_growth"]


def test_a_leak_of_256_kib_a_step_is_measured_and_its_list_named() -> None:
    (finding,) = growths(trained("arrays")[0])
    assert finding.evidence["kib_per_step"] == pytest.approx(256, rel=0.05)
    assert finding.evidence["cause"] == "container"
    assert "keep in train.py" in finding.lines[0] and "ndarray" in finding.lines[0]


@pytest.mark.parametrize("kind", ["steady", pytest.param("cycle", marks=pytest.mark.slow)])
def test_a_run_that_keeps_nothing_is_never_suspected(kind: str) -> None:
    state, told = trained(kind)
    assert state.process_memory, "nothing was sampled: the test would pass for nothing"
    assert growths(state) == []
    assert of_type(told, "growth_cause") == []


@pytest.mark.slow
def test_growth_in_the_warm_up_alone_is_no_leak() -> None:
    assert growths(trained("warm-up")[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_kept_tensors_are_told_from_arrays(python: str) -> None:
    (finding,) = growths(trained("tensors", python=python)[0])
    assert finding.evidence["kib_per_step"] == pytest.approx(256, rel=0.08)
    assert "EagerTensor" in finding.lines[0]
    assert "float(loss)" in finding.next
