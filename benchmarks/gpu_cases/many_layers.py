"""Convolutions, recurrent layers, or an embedding with attention, for the time by layer.

KIND (conv, lstm, attention), STEPS, MIXED (1: mixed_float16), RAW (a file for the profiler's own bytes).
"""

import os

import keras
import numpy as np
import tensorflow as tf

KIND = os.environ.get("KIND", "conv")
STEPS = int(os.environ.get("STEPS", "600"))
if os.environ.get("MIXED"):
    keras.mixed_precision.set_global_policy("mixed_float16")
L = keras.layers
if KIND == "conv":
    x = np.random.rand(256, 64, 64, 3).astype("float32")
    convolutions = [L.Conv2D(64, 3, padding="same", activation="relu", name=f"conv{i}") for i in range(4)]
    normed = [layer for i, c in enumerate(convolutions) for layer in (c, L.BatchNormalization(name=f"norm{i}"))]
    model = keras.Sequential([keras.Input((64, 64, 3)), *normed, L.GlobalAveragePooling2D(), L.Dense(1, name="head")])
elif KIND == "lstm":
    x = np.random.rand(256, 128, 64).astype("float32")
    model = keras.Sequential(
        [keras.Input((128, 64)), L.LSTM(256, name="fused", return_sequences=True),
         L.LSTM(256, name="not_fused", recurrent_dropout=0.1), L.Dense(1, name="head")]
    )  # fmt: skip
else:
    x = np.random.randint(0, 20000, (256, 128)).astype("int32")
    words = keras.Input((128,), dtype="int32")
    h = L.Embedding(20000, 256, name="embed")(words)
    for i in range(2):
        h = L.LayerNormalization(name=f"norm{i}")(h + L.MultiHeadAttention(8, 32, name=f"attend{i}")(h, h))
    model = keras.Model(words, L.Dense(1, name="head")(L.GlobalAveragePooling1D()(h)))
model.compile("adam", "mse", jit_compile=False)
y = np.random.rand(len(x), 1).astype("float32")
data = tf.data.Dataset.from_tensors((tf.constant(x[:64]), tf.constant(y[:64]))).repeat()
model.fit(data, steps_per_epoch=STEPS, epochs=1, verbose=0)
if os.environ.get("RAW"):
    # The profiler's own bytes of a few steps, for the tests of our reader.
    from tensorflow.python.profiler.internal import _pywrap_profiler

    session = _pywrap_profiler.ProfilerSession()
    session.start("", {"host_tracer_level": 2, "python_tracer_level": 0, "device_tracer_level": 1})
    model.fit(data, steps_per_epoch=2, epochs=1, verbose=0)
    with open(os.environ["RAW"], "wb") as file:
        file.write(session.stop())
