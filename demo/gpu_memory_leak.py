"""Predictions kept as tensors: they stay on the GPU, a few more with each step (finding memory.gpu_growth).

tfgpu-tui demo/gpu_memory_leak.py            # on a machine with a GPU
tfgpu-tui demo/gpu_memory_leak.py fixed      # numbers are kept: it stands still
"""

import sys
import time

import numpy as np
import tensorflow as tf

FIXED, SECONDS = "fixed" in sys.argv, 90

weights = tf.Variable(tf.random.normal((512, 512)))
batch = tf.constant(np.random.default_rng(1).random((1024, 512), "float32"))


@tf.function
def train(x):
    with tf.GradientTape() as tape:
        predicted = x @ weights
        loss = tf.reduce_mean((predicted - x) ** 2)
    weights.assign_sub(0.01 * tape.gradient(loss, weights))
    return loss, predicted


kept = []
end = time.monotonic() + SECONDS
for _ in tf.data.Dataset.range(10_000):
    loss, predicted = train(batch)
    kept.append(float(loss) if FIXED else predicted[:64])
    time.sleep(0.02)
    if time.monotonic() > end:
        break
print("steps:", len(kept))
