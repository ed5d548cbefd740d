"""Many short steps, timed by the script itself: what the monitor adds to them. Prints µs a step for each fit."""

import time

import keras
import numpy as np
import tensorflow as tf

x, y = np.random.rand(64, 256).astype("float32"), np.random.rand(64, 1).astype("float32")
model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(256), keras.layers.Dense(1)])
model.compile("sgd", "mse", jit_compile=False)
data = tf.data.Dataset.from_tensors((x, y)).repeat()
for _ in range(6):
    began = time.perf_counter()
    model.fit(data, steps_per_epoch=2000, epochs=1, verbose=0)
    print("US", (time.perf_counter() - began) / 2000 * 1e6)
