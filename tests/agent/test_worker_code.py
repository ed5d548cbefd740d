"""Processes that make batches (`use_multiprocessing`) tell the time of their own `__getitem__`."""

from __future__ import annotations

import sys

import pytest

from tests.timed import timed
from tfgpu_tui.core import events
from tfgpu_tui.core.state import RunState

from .conftest import main_pid, of_type, other_pythons, run_script

pytestmark = timed

SCRIPT = """
    import time
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    three = keras.__version__.startswith("3")

    class Rows(keras.utils.PyDataset if three else keras.utils.Sequence):
        def __len__(self):
            return 300

        def __getitem__(self, index):
            time.sleep(0.02)
            return np.zeros((8, 8), "float32"), np.zeros((8, 1), "float32")

    options = {"workers": 2, "use_multiprocessing": True}
    m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    m.compile("sgd", "mse", jit_compile=False)
    m.fit(Rows(**options) if three else Rows(), verbose=0, **({} if three else options))
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_workers_tell_their_own_time(python: str) -> None:
    told, process = run_script(SCRIPT, python)
    assert process.returncode == 0, process.stderr
    assert of_type(told, "hook_off") == []
    main = main_pid(told)
    # A worker that was started anew at the end did nothing yet.
    by_process = {e["pid"]: e["user"] for e in of_type(told, "user_code") if e["user"]}
    assert len(by_process) == 2 and main not in by_process
    calls = seconds = 0.0
    for (entry,) in by_process.values():
        assert (entry["name"], entry["kind"]) == ("Rows.__getitem__", "getitem")
        calls, seconds = calls + entry["calls"], seconds + entry["seconds"]
    # What a worker did since it last spoke, half a second before its end at most, is not told.
    assert 150 <= calls <= 300
    assert 0.02 <= seconds / calls < 0.1

    dataset = of_type(told, "dataset", phase="train")[-1]
    assert (dataset["workers"], dataset["processes"]) == (2, True)

    state = RunState()
    for event in told:
        parsed = events.from_dict(event)
        if parsed is not None:
            state.apply(parsed)
    assert state.pipeline is not None
    (user,) = state.pipeline.user
    assert user["name"] == "Rows.__getitem__"
    assert (user["calls"] or 0) >= calls
    assert 20_000 <= (user["mean_us"] or 0) < 100_000
