"""Loops of the user's own, one case each."""

from __future__ import annotations

import functools

import stamps
import tensorflow as tf
from keras_model import eager_step, keras, model
from stamps import case, ready, slow, unhelped

N = 48
READY_NEXT_S = stamps.next_in_graph(ready(24))


def over_batches(step, until=None):
    """A loop in Python over the batches; `until` breaks it off."""

    def loop(data):
        stamps.note("edge")
        iterator = iter(data)
        for number in range(N):
            stamps.note("asked")
            batch = next(iterator, None)
            if batch is None or number == until:
                break
            stamps.note("got")
            step(*batch)
            stamps.note("end")

    return loop


def traced():
    """These loops note in Python, right around their call for a batch: nothing lies between."""
    over_batches(step)(ready(4))


def made():
    m, optimizer = model(), keras.optimizers.SGD()
    return m, optimizer, tf.function(lambda a, b: eager_step(m, a, b, optimizer))


m, optimizer, step = made()
case("eager for", over_batches(step), lambda: slow(N), traced, 0.0)
m, optimizer, step = made()
case("early break", over_batches(step, 40), lambda: slow(N), traced, 0.0)
m, optimizer = model(), keras.optimizers.SGD()
step = functools.partial(eager_step, m, optimizer=optimizer)
case("without tf.function", over_batches(step), lambda: slow(N), traced, 0.0)


def broken(data):
    for batches in (20, 28):
        try:
            over_batches(lambda a, b: step(a, b), None)(data.take(batches).concatenate(failing))
        except tf.errors.OpError:
            pass


def fail(value):
    raise ValueError("an element that can't be read")


failing = ready(1).map(lambda a, b: (tf.ensure_shape(tf.numpy_function(fail, [a], tf.float32), (32, 8)), b))
m, optimizer, step = made()
case("ended by an exception, begun again", broken, lambda: slow(N), traced, 0.0)


def accumulating(data):
    total, number = None, 0

    def one(a, b):
        nonlocal total, number
        gradients = collect(a, b)
        total = gradients if total is None else [p + q for p, q in zip(total, gradients)]
        number += 1
        if number % 4 == 0:
            optimizer.apply_gradients(zip(total, m.trainable_variables))
            total = None

    over_batches(one)(data)


m, optimizer = model(), keras.optimizers.SGD()
collect = tf.function(lambda a, b: eager_step(m, a, b))
case("gradient accumulation by hand", accumulating, lambda: slow(N), lambda: accumulating(ready(4)), 0.0)


stamps.watch_calls()


def calls(step, iterator, times=N):
    """A loop over a function that takes its batches itself."""
    stamps.note("edge")
    for _ in range(times):
        stamps.note("asked")
        step(iterator)
        stamps.note("end")


m, optimizer = model(), keras.optimizers.SGD()
taking = tf.function(lambda iterator: eager_step(m, *next(iterator), optimizer))
case(
    "next in a tf.function",
    lambda data: calls(taking, iter(data)),
    lambda: slow(N),
    lambda: calls(taking, iter(ready(16)), 16),
    READY_NEXT_S,
)

m, optimizer = model(), keras.optimizers.SGD()


@tf.function
def zipping(one, other):
    (a, b), (c, _) = next(one), next(other)
    eager_step(m, (a + c) / 2, b, optimizer)


def calls_of_two(data, times):
    stamps.watching = False  # the wait begins with the first of the two calls
    return calls(lambda iterators: zipping(*iterators), (iter(data), iter(data)), times)


case(
    "two iterators in a tf.function",
    lambda data: calls_of_two(data, N),
    lambda: slow(N),
    lambda: calls_of_two(ready(16), 16),
    READY_NEXT_S,
)

stamps.watching = True
strategy = tf.distribute.OneDeviceStrategy("CPU:0")
with strategy.scope():
    m, optimizer = model(), keras.optimizers.SGD()
running = tf.function(lambda iterator: strategy.run(lambda a, b: eager_step(m, a, b, optimizer), args=next(iterator)))
case(
    "strategy.run",
    lambda data: calls(running, iter(strategy.experimental_distribute_dataset(data))),
    lambda: slow(N),
    lambda: calls(running, iter(strategy.experimental_distribute_dataset(ready(16))), 16),
    READY_NEXT_S,
)

stamps.chained = stamps.ends_in_work = True


def whole(function, argument):
    """A function that loops over all batches in one call."""
    stamps.note("edge")
    stamps.note("asked")
    function(argument)


m_range, optimizer_range = model(), keras.optimizers.SGD()


@tf.function
def many(iterator):
    for _ in tf.range(N):
        a, b = next(iterator)
        eager_step(m_range, a, b, optimizer_range)


def looped(function, name, slow_data, make=iter):
    loop = lambda data: whole(function, make(data))  # noqa: E731
    case(name, loop, slow_data, lambda: loop(ready(N)), READY_NEXT_S)


looped(many, "next in a loop in a tf.function", lambda: slow(N))
looped(many, "the same, no prefetch", lambda: unhelped(slow(N)))


@tf.function
def epoch(data):
    for a, b in data:
        eager_step(m_range, a, b, optimizer_range)


looped(epoch, "for x in dataset in a tf.function", lambda: slow(N), lambda data: data)
looped(epoch, "for x in iterator in a tf.function", lambda: slow(N))
stamps.finish()
