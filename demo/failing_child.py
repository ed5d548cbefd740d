"""A worker process crashes, and the training goes on as if nothing had happened: exit status 0.

tfgpu-tui demo/failing_child.py
"""

import multiprocessing


def prepare(shard):
    raise ValueError(f"shard {shard} has no labels")


if __name__ == "__main__":
    import keras
    import numpy as np

    worker = multiprocessing.get_context("spawn").Process(target=prepare, args=(3,))
    worker.start()
    worker.join()

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.zeros((3200, 8), "float32"), np.zeros((3200, 1), "float32"))
