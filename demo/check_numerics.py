"""A hunt for NaN that was never called off: every op's result is checked in every step (finding host.debugging).

tfgpu-tui demo/check_numerics.py
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 20

tf.debugging.enable_check_numerics()

digits = load_digits()
images = (digits.images / 16).astype(np.float32)

model = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(512, activation="relu", name="hidden"),
        keras.layers.Dense(512, activation="relu", name="deeper"),
        keras.layers.Dense(10, name="digit"),
    ]
)
# On a GPU Keras would compile the step with XLA, which can't check numbers so.
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
model.fit(images, digits.target, batch_size=64, epochs=EPOCHS, verbose=2)
