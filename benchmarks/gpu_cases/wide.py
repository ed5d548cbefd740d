"""A wide Dense model that Python feeds: how long the device and the host take is set by the environment.

SLEEP (s a batch in the generator), STEPS, WIDTH, PREFETCH (batches), JIT (1: XLA), MIXED (1: mixed_float16),
READS (1: a callback reads a variable at each step, so that Keras waits for the device there).
"""

import os
import time

import keras
import numpy as np
import tensorflow as tf

SLEEP = float(os.environ.get("SLEEP", "0"))
STEPS = int(os.environ.get("STEPS", "400"))
WIDTH = int(os.environ.get("WIDTH", "4096"))
PREFETCH = int(os.environ.get("PREFETCH", "0"))
if os.environ.get("MIXED"):
    keras.mixed_precision.set_global_policy("mixed_float16")

x, y = np.random.rand(512, WIDTH).astype("float32"), np.random.rand(512, 8).astype("float32")


def rows():
    while True:
        if SLEEP:
            time.sleep(SLEEP)
        yield x, y


data = tf.data.Dataset.from_generator(rows, output_signature=(tf.TensorSpec((512, WIDTH)), tf.TensorSpec((512, 8))))
if PREFETCH:
    data = data.prefetch(PREFETCH)
layers = [keras.layers.Dense(WIDTH, activation="relu", name=f"wide{i}") for i in range(6)]
model = keras.Sequential([keras.Input((WIDTH,)), *layers, keras.layers.Dense(8, name="head", dtype="float32")])
model.compile("adam", "mse", jit_compile=bool(os.environ.get("JIT")))


class Reads(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        float(self.model.optimizer.iterations)


began = time.perf_counter()
callbacks = [Reads()] if os.environ.get("READS") else []
model.fit(data, steps_per_epoch=STEPS // 2, epochs=2, verbose=0, callbacks=callbacks)
print("FIT_S", time.perf_counter() - began)
if tf.config.list_physical_devices("GPU"):
    print("ALLOCATOR", dict(tf.config.experimental.get_memory_info("GPU:0")))
