"""Every way to feed Keras' own loops, one case each."""

from __future__ import annotations

import numpy as np
import stamps
import tensorflow as tf
from keras_model import KERAS3, Stamps, keras, model
from stamps import case, missing, ready, slow, unhelped

N = 48
BaseSequence = keras.utils.PyDataset if KERAS3 else keras.utils.Sequence


READY_NEXT_S = stamps.next_in_graph(ready(24))
stamps.watch_calls()


def on_ready_data(m, batches=20):
    return lambda: m.fit(ready(batches), verbose=0, callbacks=[Stamps()])


def fit_case(name, slow_data, m=None, next_s=READY_NEXT_S, batches=20, **kwargs):
    m = m or model()
    loop = lambda data: m.fit(data, verbose=0, callbacks=[Stamps()], **kwargs)  # noqa: E731
    case(name, loop, slow_data, on_ready_data(m, batches), next_s)


def array_case(name, kind):
    def loop(data):
        m.fit(*data, batch_size=32, shuffle=False, verbose=0, callbacks=[Stamps()])

    m = model()
    arrays = lambda: tuple(kind(np.tile(v, (N, 1))) for v in (stamps.x, stamps.y))  # noqa: E731
    case(name, loop, arrays, on_ready_data(m), READY_NEXT_S)


def generator(n=N):
    for index in range(n):
        stamps.delay(index)
        yield stamps.x, stamps.y


class Rows(BaseSequence):
    def __init__(self, **kwargs):
        if KERAS3:
            super().__init__(**kwargs)

    def __len__(self):
        return N

    def __getitem__(self, index):
        stamps.delay(index)
        return stamps.x, stamps.y


def sequence_case(name, **kwargs):
    if KERAS3:
        fit_case(name, lambda: Rows(**kwargs), shuffle=False)
    else:
        fit_case(name, Rows, shuffle=False, **kwargs)


class OwnFit(keras.Model):
    """A fit and a train_step of the user's own around Keras'."""

    def fit(self, *args, **kwargs):
        return super().fit(*args, **kwargs)

    def train_step(self, data):
        a, b = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(a, training=True) - b) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return {"loss": loss}


fit_case("fit, tf.data as it is", lambda: slow(N))
fit_case("fit, prefetch(2)", lambda: slow(N).prefetch(2))
fit_case("fit, no autotune, no prefetch", lambda: unhelped(slow(N)))
array_case("fit, numpy arrays", np.asarray)
array_case("fit, tensors", tf.constant)
fit_case("fit, Python generator", generator)
rows = "PyDataset" if KERAS3 else "Sequence"
sequence_case(f"{rows}, workers=1", workers=1)
sequence_case(f"{rows}, threads", workers=2)
sequence_case(f"{rows}, processes", workers=2, use_multiprocessing=True)


def generating(data):
    m.fit_generator(data, steps_per_epoch=N, verbose=0, callbacks=[Stamps()])


if KERAS3:
    missing("fit_generator", "gone in Keras 3")
else:
    m = model()
    case("fit_generator", generating, generator, on_ready_data(m), READY_NEXT_S)


def on_batches(data):
    stamps.note("edge")
    iterator = iter(data)
    while True:
        stamps.note("asked")
        batch = next(iterator, None)
        if batch is None:
            return
        stamps.note("got")
        m.train_on_batch(*batch)
        stamps.note("end")


m = model()
case("train_on_batch", on_batches, lambda: unhelped(slow(N)), lambda: on_batches(ready(4)), 0.0)


def validated(data):
    m.fit(data, validation_data=data, verbose=0, callbacks=[Stamps()])


m = model()
case("fit with validation", validated, lambda: unhelped(slow(N)), lambda: validated(ready(20)), READY_NEXT_S)


def evaluated(data):
    m.evaluate(data, verbose=0, callbacks=[Stamps()])


m = model()
case("evaluate", evaluated, lambda: unhelped(slow(N)), lambda: evaluated(ready(20)), READY_NEXT_S)


class NotesItsBatch(keras.Model):
    """Eagerly, the train step begins right after the batch arrived."""

    def train_step(self, data):
        stamps.note("arrived")
        return super().train_step(data)


eager_next_s = stamps.next_in_python(ready(24))
fit_case("run_eagerly", lambda: unhelped(slow(N)), model(cls=NotesItsBatch, run_eagerly=True), eager_next_s)


def twice(data):
    for _ in range(2):
        m.fit(data, verbose=0, callbacks=[Stamps()])


m = model()
case("several fits", twice, lambda: slow(24), on_ready_data(m), READY_NEXT_S)
fit_case("subclassed fit and train_step", lambda: unhelped(slow(N)), model(cls=OwnFit))
if KERAS3:
    accumulating = keras.optimizers.SGD(gradient_accumulation_steps=4)
    fit_case("gradient accumulation", lambda: slow(N), model(accumulating))
else:
    missing("gradient accumulation", "not an optimizer's option in Keras 2")


def failing(data):
    try:
        m.fit(data, verbose=0, callbacks=[Stamps(fail_at=40)])
    except KeyError:
        pass


m = model()
case("fit ended by an exception", failing, lambda: slow(N), on_ready_data(m), READY_NEXT_S)

stamps.opaque = True
m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(512), keras.layers.Dense(1)])
m.compile("sgd", "mse", jit_compile=True)
fit_case("jit_compile", lambda: unhelped(slow(N)), m, stamps.next_in_graph(unhelped(slow(24))))
stamps.opaque = False

stamps.chained = True
# Keras 3 fetches the batch while the model works: getting one that is ready takes no time of its own.
next_s = 0.0 if KERAS3 else READY_NEXT_S
fit_case("steps_per_execution=5", lambda: slow(80), model(steps_per_execution=5), next_s, 40)
fit_case("steps_per_execution=5, no prefetch", lambda: unhelped(slow(80)), model(steps_per_execution=5), next_s, 40)
stamps.finish()
