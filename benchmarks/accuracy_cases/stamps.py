"""The cases' own clock: what the script itself notes of its batches and its work, without asking the agent.

A note is `[kind, phase, time]`. `asked`: from here on the loop wants a batch. `called`: and here it asks for it, by a
clock op of the script's own right before the call, so that what the machine takes on the way there is no wait. `got`
(in Python) or `arrived` (in the model): it is there. `worked`: the model is done with it, and may want the next one.
`making` and `made`: the pipeline's own function, for models in which no Python can run. `end`: a step (or execution) is
over. `edge`: a new pass begins.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np
import tensorflow as tf

DELAYS_S = (0.012, 0.036, 0.024)
WORK_S = 0.015

phase = "train"
chained = False
"""Whether a function of several steps runs: then only `worked` says when the next batch is wanted."""
ends_in_work = False
"""Whether a step's end can only be seen in the model (a loop inside of one function)."""
opaque = False
"""Whether no Python can run in the model: then the pipeline's function tells."""

watching = False
"""Whether calls for a batch inside of functions are noted when a function is traced: see `watch_calls`."""

_called: tf.Variable | None = None
_notes: list = []
_results: list = []
_made = 0

x = np.random.default_rng(1).normal(size=(32, 8)).astype("float32")
y = np.random.default_rng(2).normal(size=(32, 1)).astype("float32")


def note(kind: str, at: float | None = None) -> None:
    _notes.append([kind, phase, time.time() if at is None else at])


def delay(index: int) -> None:
    time.sleep(DELAYS_S[index % len(DELAYS_S)])


def _delayed(value):
    global _made
    if opaque:
        note("making")
    delay(_made)
    _made += 1
    if opaque:
        note("made")
    return value


def work(called, arrived):
    """What the model does with a batch: sleeps. Runs inside of the model, after the batch and the weights are there."""
    note("called", float(called))
    note("arrived", float(arrived))
    time.sleep(WORK_S)
    if chained:
        note("worked")
    if ends_in_work:
        note("end")
    return np.float32(0.0)


def in_model(batch, weight):
    """The op that runs `work` once `batch` is there and `weight` has its value of the step before."""
    with tf.control_dependencies([batch, tf.convert_to_tensor(weight)]):
        arrived = tf.timestamp()
    # A call that was not noted lies long ago: then the note before it says when a batch was wanted.
    called = tf.constant(0.0, tf.float64) if _called is None else _called.read_value()
    zero = tf.numpy_function(work, [called, arrived], tf.float32)
    zero.set_shape(())
    return tf.stop_gradient(zero)


def watch_calls() -> None:
    """Have functions note when they call an iterator for a batch: the last call before the work on it."""
    global watching, _called
    watching, _called = True, tf.Variable(0.0, dtype=tf.float64, trainable=False)
    iterator = type(iter(ready(1)))
    # OwnedIterator, TensorFlow 2.15 to 2.21. Keras 3's loop over several steps asks in another way, and while the model
    # works: a note of the call would have to wait for the work.
    original = iterator._next_internal

    def next_internal(self):
        if tf.executing_eagerly() or not watching or opaque:
            return original(self)
        with tf.control_dependencies([_called.assign(tf.timestamp())]):
            return original(self)

    iterator._next_internal = next_internal


def ready(batches: int = 20):
    """A dataset whose batches are there at once."""
    return tf.data.Dataset.from_tensors((x, y)).repeat(batches)


def slow(batches: int):
    """A dataset whose map function sleeps for each batch, in Python, one after the other."""

    def load(a, b):
        z = tf.numpy_function(_delayed, [a], tf.float32)
        z.set_shape(a.shape)
        return z, b

    return ready(batches).map(load)


def unhelped(dataset):
    """The dataset without any prefetching or tuning of TensorFlow's own."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)


def _wanted(name: str) -> bool:
    """Whether the case was asked for: all are, where the command line names none."""
    return any(words in name for words in sys.argv[1:] or [name])


def _agent(name: str):
    return sys.modules["_tfgpu_agent." + name]


def _settle() -> None:
    """Have the agent send what it summed so far: it belongs to the case before."""
    for name in ("steps.keras_loop", "steps.custom_steps"):
        _agent(name).settle()


def next_in_graph(data, batches: int = 24) -> float:
    """What a call for a batch takes inside of a function, less the time in the pipeline's own function: the median.

    The clock is read by Python functions before and after the call, and once more: that is what a reading costs.
    """
    global opaque, _notes

    def stamp(*_):
        times.append(time.time())
        return np.float32(0.0)

    @tf.function
    def three_stamps(iterator):
        with tf.control_dependencies([tf.numpy_function(stamp, [], tf.float32)]):
            a, _ = next(iterator)
        second = tf.numpy_function(stamp, [a[:1]], tf.float32)
        second.set_shape(())
        tf.numpy_function(stamp, [a[:1] + second], tf.float32)

    times, before, opaque, costs = [], (_notes, opaque), True, []
    iterator = iter(data)
    for _ in range(batches):
        _notes, times = [], []
        three_stamps(iterator)
        inside = sum(sign * t for kind, _, t in _notes for sign in [{"making": -1, "made": 1}[kind]])
        costs.append((times[1] - times[0]) - (times[2] - times[1]) - inside)
    _notes, opaque = before
    return statistics.median(costs[3:])


def next_in_python(data, batches: int = 24) -> float:
    """What a call for a batch takes in Python: the median."""
    iterator, costs = iter(data), []
    for _ in range(batches):
        start = time.time()
        next(iterator)
        costs.append(time.time() - start)
    return statistics.median(costs)


def case(name: str, loop, slow_data, on_ready_data, next_s: float) -> None:
    """Runs `on_ready_data`, which notes the same as the loop while batches are there at once, then the loop on slow
    data. What lies between two notes of the former, less `next_s` for the call that gets the batch, is no wait."""
    global _notes
    if not _wanted(name):
        return
    result = {"case": name, "next_s": next_s}
    for kind, run in (("ready", on_ready_data), ("slow", lambda: loop(slow_data()))):
        _settle()
        _agent("hooks.runtime").send("case", name=name if kind == "slow" else "")
        _notes = []
        run()
        result[kind] = _notes
    _results.append(result)


def missing(name: str, reason: str) -> None:
    """This flavour of Keras has no such case."""
    if _wanted(name):
        _results.append({"case": name, "missing": reason})


def finish() -> None:
    _settle()
    print("NOTES", json.dumps(_results))
