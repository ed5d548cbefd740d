"""A script written for Keras 2: `fit_generator` is gone. The monitor writes out today's call.

tfgpu-tui demo/old_keras.py
"""

import keras
import numpy as np


def batches():
    while True:
        yield np.zeros((32, 8), "float32"), np.zeros((32, 1), "float32")


model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit_generator(batches(), steps_per_epoch=10)
