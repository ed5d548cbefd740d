"""fit() over two workers, which Keras 3 can't do (finding run.multi_worker_keras3).

tfgpu-tui demo/multi_worker.py            # both workers on this machine, without a GPU too
tfgpu-tui demo/multi_worker.py 1          # one worker: the same script trains
"""

import json
import os
import socket
import subprocess
import sys

WORKERS = int(sys.argv[1]) if len(sys.argv) > 1 else 2

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
with strategy.scope():
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
numbers = np.random.default_rng(1).random((4096, 16), "float32")
dataset = tf.data.Dataset.from_tensor_slices((numbers, numbers.sum(1, keepdims=True))).batch(64).repeat()
model.fit(dataset, steps_per_epoch=40, epochs=2, verbose=2)
