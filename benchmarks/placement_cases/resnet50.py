"""What the placement of a big model costs, once: ResNet50, two steps on small images."""

from __future__ import annotations

import json
import sys
import threading
import time

import numpy as np

try:
    import tf_keras as keras
except ImportError:
    import keras

placement = sys.modules["_tfgpu_agent.placement.placement"]
record = sys.modules["_tfgpu_agent.placement.placement_record"]
after = sys.modules["_tfgpu_agent.hooks.runtime"]
seconds = {"calls": 0.0, "export": 0.0, "analysis": 0.0}
ops = []
analysed = threading.Event()


def timed(name, function):
    def call(*args, **kwargs):
        begun = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[name] += time.perf_counter() - begun

    return call


record._enter, record._leave = timed("calls", record._enter), timed("calls", record._leave)
after._after[:] = [timed("export", f) if f.__name__ == "_collect" else f for f in after._after]
of_graphs = placement._of_graphs


def analyse(collected):
    begun = time.thread_time()  # it shares the processor and the interpreter with the training
    fields = of_graphs(collected)
    seconds["analysis"] += time.thread_time() - begun
    if fields is not None:
        ops.append((fields["ops"], len(fields["layers"]), len(json.dumps(fields))))
        analysed.set()
    return fields


placement._of_graphs = analyse
model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=10)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(np.random.rand(4, 32, 32, 3).astype("f"), np.zeros(4), batch_size=2, verbose=0)
assert analysed.wait(60), "the agent did not analyse the graphs"
print("COST", json.dumps({**seconds, "ops": ops[-1][0], "rows": ops[-1][1], "bytes": ops[-1][2]}))
