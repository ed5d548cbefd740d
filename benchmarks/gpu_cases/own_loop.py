"""An own loop with tf.function, which reads the loss at each step (SYNC=1) or only at the end; SLEEP s a batch.
COMPILE=1: XLA compiles the step whole."""

import os
import time

import keras
import numpy as np
import tensorflow as tf

SLEEP, SYNC = float(os.environ.get("SLEEP", "0")), os.environ.get("SYNC") == "1"
STEPS = int(os.environ.get("STEPS", "400"))
x, y = np.random.rand(512, 4096).astype("float32"), np.random.rand(512, 8).astype("float32")


def rows():
    while True:
        if SLEEP:
            time.sleep(SLEEP)
        yield x, y


data = tf.data.Dataset.from_generator(rows, output_signature=(tf.TensorSpec((512, 4096)), tf.TensorSpec((512, 8))))
layers = [keras.layers.Dense(4096, activation="relu", name=f"wide{i}") for i in range(6)]
model = keras.Sequential([keras.Input((4096,)), *layers, keras.layers.Dense(8, name="head")])
optimizer = keras.optimizers.Adam()


@tf.function(jit_compile=os.environ.get("COMPILE") == "1" or None)
def train_step(rows, wanted):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(rows, training=True) - wanted))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


wait = step = 0.0
batches = iter(data)
for number in range(STEPS):
    began = time.perf_counter()
    batch = next(batches)
    fetched = time.perf_counter()
    loss = train_step(*batch)
    if SYNC:
        float(loss)
    if number >= 50:
        wait, step = wait + fetched - began, step + time.perf_counter() - began
print("TRUTH", wait / step, float(loss))
