"""Memory growth that is asked for too late: a tensor was made before, and TensorFlow has already taken the GPU.

Needs a GPU: without one there is nothing to grow, and the monitor says so.

    tfgpu-tui demo/late_growth.py
"""

import keras
import numpy as np
import tensorflow as tf

scale = tf.constant(2.0)
for gpu in tf.config.list_physical_devices("GPU"):
    try:
        tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        print(error)

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((3200, 8), "float32") * float(scale), np.ones((3200, 1), "float32"), epochs=3)
