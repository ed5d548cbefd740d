"""A large embedding with Adam: each step updates the whole table, however few of its rows the batch looked up.

tfgpu-tui --set profile=5 demo/sparse_update.py         # Adam
tfgpu-tui --set profile=5 demo/sparse_update.py 3 sgd   # SGD touches the rows that were looked up, and no others
"""

import sys

import keras
import numpy as np

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
WORDS, LENGTH, SENTENCES = 100_000, 20, 2048

random = np.random.default_rng(0)
sentences = random.integers(0, WORDS, (SENTENCES, LENGTH)).astype("int32")
liked = (sentences % 2).mean(axis=1) > 0.5

model = keras.Sequential(
    [
        keras.Input((LENGTH,), dtype="int32"),
        keras.layers.Embedding(WORDS, 64, name="words"),
        keras.layers.GlobalAveragePooling1D(name="mean"),
        keras.layers.Dense(1, name="liked"),
    ]
)
optimizer = keras.optimizers.SGD(0.1) if "sgd" in sys.argv else keras.optimizers.Adam(1e-3)
model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
model.fit(sentences, liked.astype("float32"), batch_size=64, epochs=EPOCHS)
