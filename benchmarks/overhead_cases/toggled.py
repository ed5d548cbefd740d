"""Trains in one process while the agent's part in a step is taken out and put back every few steps.

`toggled.py fit|own SLOW STEPS`, under the agent. Prints a line of JSON. Steps come in blocks, without and with the
agent in the order 0 1 1 0, so that a machine that grows slower or faster hits both alike; the first steps of a block
are not counted. Both sides go through the same extra frame of Python where a wrapper is switched.

What is taken out: the hooks of Keras' CallbackList or of the iterator, the wrapper of `Function.__call__`, and in fit
the clock in the graph: the train function is traced several times without and with it, and the pairs take turns,
because graphs that are traced from the same code differ by some microseconds. What stays in both: the looks a few times
a second, which the agent's own clock tells, and its threads, whose processor time the kernel tells.
"""

import json
import os
import statistics
import sys
import threading
import time
import types

import model as training
from tensorflow.python.data.ops import iterator_ops
from tensorflow.python.eager.polymorphic_function import polymorphic_function

kind, slow, steps = sys.argv[1], sys.argv[2] == "1", int(sys.argv[3])
SIZE, FIRST = (5, 1) if slow else (10, 2)
GROUPS = 8
PAIRS = 2 if slow else GROUPS
"""Pairs of train functions. Each runs some hundred times: TensorFlow learns meanwhile which ops are cheap."""
function = polymorphic_function.Function
wrapped = function.__call__
plain = wrapped.__wrapped__


def agent(name):
    return sys.modules[f"_tfgpu_agent.{name}"]


def threads_s():
    """Processor time of the agent's threads."""
    total = 0.0
    for thread in threading.enumerate():
        if thread.name.startswith("tfgpu-tui"):
            with open(os.path.join("/proc/self/task", str(thread.native_id), "schedstat")) as file:
                total += int(file.read().split()[0]) / 1e9
    return total


class Blocks:
    """When steps begin, less what the device took so far. `switch(group, on)` is called between blocks of them."""

    def __init__(self, switch):
        self.switch = switch
        self.times = []
        training.slept_s[0] = 0.0
        self.began = time.perf_counter(), agent("steps.agent_cost")._seconds, threads_s()

    def step_begins(self):
        if len(self.times) % SIZE == 0:
            block = len(self.times) // SIZE
            self.switch(block // 4 % GROUPS, (0, 1, 1, 0)[block % 4])
        self.times.append(time.perf_counter() - training.slept_s[0])

    def result(self):
        """Microseconds a step without, for each group what the other side adds, and what stays in both."""
        elapsed, looks_s, own_s = (
            now - before
            for now, before in zip((time.perf_counter(), agent("steps.agent_cost")._seconds, threads_s()), self.began)
        )
        times = self.times
        medians = []
        for start in range(0, len(times) - SIZE, SIZE):
            block = times[start : start + SIZE + 1]
            medians.append(statistics.median(b - a for a, b in zip(block[FIRST:], block[FIRST + 1 :])) * 1e6)
        quads = [medians[i : i + 4] for i in range(0, len(medians) - 3, 4)]
        added = [(b + c - a - d) / 2 for a, b, c, d in quads]
        groups = []
        for group in range(GROUPS):
            mine = sorted(added[group + GROUPS :: GROUPS])  # the first turn of each warms up
            cut = len(mine) // 5
            groups.append(statistics.fmean(mine[cut : len(mine) - cut]))
        without = statistics.median(q[i] for q in quads for i in (0, 3))
        whole = without + training.slept_s[0] / len(times) * 1e6 if slow else without
        # The looks come so often in a second, however long a step is.
        return {
            "without_us": whole,
            "groups_us": groups,
            "looks_us": looks_s / elapsed * whole,
            "threads_us": own_s / elapsed * whole,
        }


called = [wrapped]


def dispatch(self, *args, **kwargs):
    return called[0](self, *args, **kwargs)


def of_fit(both_without):
    """Blocks of a fit; with `both_without`, the agent is out in all of them."""
    keras_loop, clock = agent("steps.keras_loop"), agent("steps.clock")
    lists = []
    make = keras.callbacks.CallbackList.__init__
    hooks = {}

    def noticed(self, *args, **kwargs):
        make(self, *args, **kwargs)
        lists.append(self)

    def switch(group, on):
        on = on and not both_without
        called[0] = wrapped if on else plain
        for name, pair in hooks.items():
            setattr(lists[-1], name, pair[on])
        if not on:
            keras_loop.running()[-1].stamps.function[0] = 0.0
        model.train_function = pairs[group % PAIRS][on]

    class Steps(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if not hooks:
                found = [name for name in vars(lists[-1]) if name.startswith("on_train_batch")]
                assert len(found) == 2
                for name in found:
                    own = vars(lists[-1])[name]
                    hooks[name] = getattr(type(lists[-1]), name).__get__(lists[-1]), own
            blocks.step_begins()

        on_train_batch_begin._is_default = True  # so that this callback's own time is not taken

    allowed = clock.allowed
    pairs = []
    keras.callbacks.CallbackList.__init__ = noticed
    for number in range(PAIRS):
        pair = {}
        for on in (0, 1) if number % 2 else (1, 0):
            clock.allowed = allowed if on and not both_without else lambda: False
            model.make_train_function(force=True)
            model.fit(training.dataset(), epochs=1, steps_per_epoch=20 if slow else 300, verbose=0)
            pair[on] = model.train_function
        pairs.append(pair)
    clock.allowed = allowed
    blocks = Blocks(switch)
    model.fit(training.dataset(), epochs=1, steps_per_epoch=steps, verbose=0, callbacks=[Steps()])
    keras.callbacks.CallbackList.__init__ = make
    return blocks


def of_own_loop(both_without):
    """Blocks of an own loop."""
    for _ in range(40):
        step(*next(iterator))
    lane = agent("steps.custom_steps").current().lane
    assert lane is not None, "the loop has no lane"
    original = types.MethodType(iterator_ops.OwnedIterator._next_internal.__wrapped__, iterator)
    hooks = original, vars(iterator)["_next_internal"]

    def switch(group, on):
        on = on and not both_without
        called[0] = wrapped if on else plain
        vars(iterator)["_next_internal"] = hooks[on]

    blocks = Blocks(switch)
    for _ in range(steps):
        blocks.step_begins()
        step(*next(iterator))
    switch(0, 1)
    assert both_without or not lane.closed, "the loop lost its lane"
    return blocks


if kind == "fit":
    from tensorflow import keras

    model = training.keras_model(keras, slow)
    measure = of_fit
else:
    step, iterator = training.train_step(slow), iter(training.dataset())
    measure = of_own_loop
    for _ in range(40):
        step(*next(iterator))
function.__call__ = dispatch
result = {"agent": measure(False).result()}
steps = max(steps // 3, 8 * 4 * SIZE * GROUPS // 3)
result["nothing"] = measure(True).result()
function.__call__ = wrapped
print("RESULT", json.dumps(result))
