"""A deep model whose step XLA compiles for a long time before it runs once (finding run.slow_start).

tfgpu-tui demo/slow_start.py                            # some minutes on a slow machine
tfgpu-tui --set jit_compile=off demo/slow_start.py      # the same model starts at once
"""

import sys

import keras
import numpy as np

LAYERS = int(sys.argv[1]) if len(sys.argv) > 1 else 60

numbers = np.random.default_rng(1).random((6400, 32), "float32")
layers = [keras.layers.Dense(32, activation="relu", name=f"dense{i}") for i in range(LAYERS)]
model = keras.Sequential([keras.Input((32,)), *layers, keras.layers.Dense(1, name="sum")])
model.compile("adam", "mse", jit_compile=True)
model.fit(numbers, numbers.sum(1, keepdims=True), batch_size=64, epochs=2, verbose=2)
