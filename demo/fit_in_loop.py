"""fit() is called for a few batches at a time, and starts all over at each call (finding host.fit_in_loop).

tfgpu-tui demo/fit_in_loop.py
"""

import sys

import keras
import numpy as np
from sklearn.datasets import load_digits

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30

digits = load_digits()
images = (digits.images / 16).astype(np.float32)

model = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(1024, activation="relu", name="hidden"),
        keras.layers.Dense(1024, activation="relu", name="deeper"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
for round_ in range(ROUNDS):
    chosen = np.random.default_rng(round_).integers(0, len(images), 320)
    history = model.fit(images[chosen], digits.target[chosen], batch_size=32, verbose=0)
    print(f"round {round_ + 1}: loss {history.history['loss'][-1]:.4f}")
