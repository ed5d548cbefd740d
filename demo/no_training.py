"""A script that only evaluates: no training step is seen, and the monitor says what it looked for.

tfgpu-tui demo/no_training.py
"""

import keras
import numpy as np

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.evaluate(np.zeros((320, 8), "float32"), np.zeros((320, 1), "float32"))
