"""MirroredStrategy over two logical CPUs: Keras' fit and a loop of the user's own."""

from __future__ import annotations

import stamps
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

from keras_model import KERAS3, Stamps, eager_step, keras, model  # noqa: E402
from stamps import case, missing, ready, slow, unhelped  # noqa: E402

N = 48
READY_NEXT_S = stamps.next_in_graph(ready(24))

with strategy.scope():
    m = model()
fitted = lambda: fitting(ready(20))  # noqa: E731
fitting = lambda data: m.fit(data, verbose=0, callbacks=[Stamps()])  # noqa: E731
case("MirroredStrategy, fit", fitting, lambda: slow(N), fitted, READY_NEXT_S)
case("MirroredStrategy, fit, no prefetch", fitting, lambda: unhelped(slow(N)), fitted, READY_NEXT_S)

with strategy.scope():
    own, optimizer = model(), keras.optimizers.SGD()
    optimizer.build(own.trainable_variables)


@tf.function
def step(*batch):
    strategy.run(lambda a, b: eager_step(own, a, b, optimizer), args=batch)


def loop(data):
    stamps.note("edge")
    iterator = iter(strategy.experimental_distribute_dataset(data))
    while True:
        stamps.note("asked")
        batch = next(iterator, None)
        if batch is None:
            return
        stamps.note("got")
        step(*batch)
        stamps.note("end")


case("MirroredStrategy, own loop", loop, lambda: slow(N), lambda: loop(ready(4)), 0.0)
if KERAS3:
    missing("MirroredStrategy, steps_per_execution", "Keras 3 fails at that by itself (3.15 on TensorFlow 2.21)")
else:
    with strategy.scope():
        m = model(steps_per_execution=5)
    case("MirroredStrategy, steps_per_execution", fitting, lambda: slow(80), fitted, READY_NEXT_S)
stamps.finish()
