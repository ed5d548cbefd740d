"""What the allocator says at known points: 1 GiB held, 3 GiB at most, then 1 GiB again, while a model trains."""

import keras
import numpy as np
import tensorflow as tf

with tf.device("/GPU:0"):
    held = tf.ones((1024, 1024, 256))
    more = tf.ones((1024, 1024, 512))
    print("AT_PEAK", dict(tf.config.experimental.get_memory_info("GPU:0")))
    del more
model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(256), keras.layers.Dense(1)])
model.compile("sgd", "mse", jit_compile=False)
x, y = np.random.rand(64000, 256).astype("float32"), np.random.rand(64000, 1).astype("float32")
model.fit(x, y, batch_size=64, epochs=5, verbose=0)
print("AT_END", dict(tf.config.experimental.get_memory_info("GPU:0")), float(held[0, 0, 0]))
