"""Two workers that exchange the gradients of a wide layer after each small batch (finding compute.collectives).

tfgpu-tui --set profile=5 demo/all_reduce.py            # both workers on this machine, without a GPU too
tfgpu-tui --set profile=5 demo/all_reduce.py 1          # one worker: nobody to exchange with
"""

import json
import os
import socket
import subprocess
import sys

WORKERS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 300

if "TF_CONFIG" not in os.environ:
    listening = [socket.create_server(("localhost", 0)) for _ in range(WORKERS)]
    addresses = [f"localhost:{one.getsockname()[1]}" for one in listening]
    for one in listening:
        one.close()
    workers = []
    for index in range(WORKERS):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(
            subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "TF_CONFIG": json.dumps(config)})
        )
    sys.exit(max(worker.wait() for worker in workers))

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

strategy = tf.distribute.MultiWorkerMirroredStrategy()
numbers = np.random.default_rng(1).random((512, 8, 256), "float32")
dataset = tf.data.Dataset.from_tensor_slices((numbers, numbers.sum(2, keepdims=True))).repeat().prefetch(4)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
batches = iter(strategy.experimental_distribute_dataset(dataset.with_options(options)))
with strategy.scope():
    layers = [keras.layers.Dense(2048, activation="relu", name="wide"), keras.layers.Dense(1, name="sum")]
    model = keras.Sequential([keras.Input((256,)), *layers])


def replica_step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(x) - y) ** 2)
    weights = [weight.value for weight in model.trainable_weights]
    gradients = tape.gradient(loss, weights)
    gradients = tf.distribute.get_replica_context().all_reduce("mean", gradients)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.assign_sub(1e-4 * gradient)
    return loss


@tf.function
def train_step(batch):
    return strategy.run(replica_step, batch)


for step in range(STEPS):
    loss = train_step(next(batches))
    if step % 50 == 0:
        print(f"step {step}: loss {float(strategy.reduce('mean', loss, axis=None)):.4f}", flush=True)
