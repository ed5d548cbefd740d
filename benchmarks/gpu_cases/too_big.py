"""Asks for more GPU memory than there is: its layers' weights alone are 12.8 GB, the optimizer's twice that."""

import keras
import numpy as np

layers = [keras.layers.Dense(40000, name=name) for name in ("huge", "huger", "hugest")]
model = keras.Sequential([keras.Input((20000,)), *layers, keras.layers.Dense(1)])
model.compile("adam", "mse", jit_compile=False)
x, y = np.random.rand(4096, 20000).astype("float32"), np.random.rand(4096, 1).astype("float32")
model.fit(x, y, batch_size=2048, epochs=3, verbose=0)
