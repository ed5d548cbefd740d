"""All of the model computes in float64, for its policy says so."""

import sys

import keras
import numpy as np

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10

keras.config.set_dtype_policy("float64")
chance = np.random.default_rng(0)
x = chance.normal(size=(6_400, 256))
y = chance.integers(0, 10, 6_400)
hidden = [keras.layers.Dense(512, activation="relu") for _ in range(2)]
model = keras.Sequential([keras.Input((256,)), *hidden, keras.layers.Dense(10)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=2)
