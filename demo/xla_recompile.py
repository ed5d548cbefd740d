"""XLA compiles the step again for each new shape: batches of lines of text of any length (finding host.xla_recompile).

The text is that of this folder's own scripts; the model guesses whether a line is a comment.

    tfgpu-tui demo/xla_recompile.py
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 4
BATCH = 16

text = "\n".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
lines = [line for line in text.splitlines() if line.strip()]


def batches():
    """Batches that are as wide as their longest line (in steps of 4 letters)."""
    order = np.random.default_rng(0).permutation(len(lines))
    for i in range(0, len(lines) - BATCH, BATCH):
        chosen = [lines[j] for j in order[i : i + BATCH]]
        width = -(-max(map(len, chosen)) // 4) * 4
        codes = np.array([[min(ord(c), 127) for c in line.ljust(width)] for line in chosen], np.int32)
        yield codes, np.array(["#" in line for line in chosen], np.float32)


signature = (tf.TensorSpec((BATCH, None), tf.int32), tf.TensorSpec((BATCH,), tf.float32))
dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).cache().prefetch(tf.data.AUTOTUNE)

model = keras.Sequential(
    [
        keras.layers.Embedding(128, 8, name="letters"),
        keras.layers.Dense(16, activation="relu", name="hidden"),
        keras.layers.GlobalMaxPooling1D(name="line"),
        keras.layers.Dense(1, name="comment"),
    ]
)
model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=True)
model.fit(dataset, epochs=EPOCHS)
