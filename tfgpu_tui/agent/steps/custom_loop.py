"""Loops of the user's own: which calls are a training step, patched in from the outside.

What trains is what takes gradients: an outermost tf.function call in which `GradientTape.gradient` or an optimizer was
traced, an optimizer that is applied eagerly, or `train_on_batch`. The times are summed in `custom_steps`.

Private APIs: `polymorphic_function.Function.__call__` (TensorFlow 2.15 to 2.21), `backprop.GradientTape.gradient`,
`BaseOptimizer.apply` (Keras 3.3 to 3.15), `Optimizer.apply_gradients` (Keras 2.15, tf_keras 2.21), `train_on_batch`.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from threading import get_ident
from typing import Any

from ..hooks.keras_models import with_fit
from ..hooks.runtime import executing_eagerly, found, guarded, is_off, on_import, switch_off
from . import fast, first_runs, input_wait, keras_loop
from .custom_steps import HOOK, current, training_traced

_counter = time.perf_counter


_within = threading.local()


def python_in_graph(runs: bool) -> None:
    """A thread of TensorFlow's begins, or ends, a Python function that is part of a graph: what is done there eagerly,
    tapes and gradients too, is no step of its own."""
    _within.graph = runs


def ours() -> bool:
    """Whether the calls of this thread are for us: not inside of a fit or a graph, nor once this hook failed."""
    return not is_off(HOOK) and not keras_loop.active() and not getattr(_within, "graph", False)


@guarded(HOOK)
def _next_begins(iterator: Any, start: float) -> None:
    if ours():
        current().next_begins(iterator, start)


@guarded(HOOK)
def _batch_arrived(iterator: Any, start: float, end: float, others: float) -> None:
    if ours():
        current().batch_arrived(iterator, start, end, others)


input_wait.listeners.append(_next_begins)
input_wait.arrivals.append(_batch_arrived)


@on_import("tensorflow.python.eager.polymorphic_function.polymorphic_function")
def _functions(module: Any) -> None:
    cls: Any = module.Function
    original = cls.__call__
    fit_of, lane_of, thread, counter = fast.fits.get, fast.lanes.get, get_ident, _counter
    switch = module.eager_function_run  # tf.config.run_functions_eagerly: then a call is just the Python in it

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        me = thread()
        running = fit_of(me)
        if running is not None:
            if running[0] > 0.0:
                try:
                    return original(self, *args, **kwargs)
                except BaseException:
                    running[0] = -running[0]
                    raise
        else:
            lane = lane_of(me)
            noted = None if lane is None else lane(id(self))
            if noted is not None and noted[0]() is self:
                _, place, note, wanted, look = noted
                start = counter()
                try:
                    return original(self, *args, **kwargs)
                finally:
                    note((place, start, counter()))
                    if wanted:
                        look()
        return slow(self, *args, **kwargs)

    def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = current()
        if state.inside or switch.RUN_FUNCTIONS_EAGERLY or not executing_eagerly() or not ours():
            return original(self, *args, **kwargs)
        return timed(state, self, "custom", original, (self, *args), kwargs)

    cls.__call__ = call


def timed(state: Any, key: Any, label: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Calls what may be (a part of) a training step; `key` is the same object at each such call."""
    state.inside = True
    first_runs.begins(_counter())
    try:
        _begins(state, key, label)
        return original(*args, **kwargs)
    finally:
        state.inside = False
        first_runs.ends()
        _ends(state, key)


def _begins(state: Any, key: Any, label: str) -> None:
    try:
        state.region_begins(key, _counter(), label)
    except Exception as error:
        switch_off(HOOK, error)


def _ends(state: Any, key: Any) -> None:
    if is_off(HOOK):
        return
    try:
        state.region_ends(key, _counter())
    except Exception as error:
        switch_off(HOOK, error)


@on_import("tensorflow.python.eager.backprop")
def _gradients(module: Any) -> None:
    cls: Any = module.GradientTape
    original, enter = cls.gradient, cls.__enter__

    @functools.wraps(enter)
    def entered(self: Any) -> Any:
        _tape_begins()
        return enter(self)

    @functools.wraps(original)
    def gradient(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        _gradient_taken()
        return result

    cls.gradient = gradient
    cls.__enter__ = entered


@guarded(HOOK)
def _tape_begins() -> None:
    if executing_eagerly() and ours():
        current().tape_begins(_counter())


@guarded(HOOK)
def _gradient_taken() -> None:
    if not executing_eagerly():
        training_traced()
    elif ours():
        current().gradient_taken(_counter())


def _patch_optimizer(cls: Any, name: str) -> None:
    original = getattr(cls, name)

    @functools.wraps(original)
    def apply(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = current()
        if state.applying:
            return _call(original, self, args, kwargs)
        state.applying = True
        start = _counter()
        try:
            result = _call(original, self, args, kwargs)
        finally:
            state.applying = False
        _applied(self, start)
        return result

    # Marks it for AutoGraph as something that converts by itself (tensorflow/python/autograph/impl/api.py,
    # `is_autograph_artifact`): otherwise AutoGraph would rewrite this very wrapper.
    vars(apply)["autograph_info__"] = {}
    setattr(cls, name, apply)


def _call(original: Callable[..., Any], optimizer: Any, args: Any, kwargs: Any) -> Any:
    """Call the optimizer as AutoGraph would have: converted, where the code around it is."""
    if executing_eagerly():
        return original(optimizer, *args, **kwargs)
    from tensorflow.python.autograph.core import ag_ctx
    from tensorflow.python.autograph.impl import api

    return api.tf_convert(original, ag_ctx.control_status_ctx())(optimizer, *args, **kwargs)


@guarded(HOOK)
def _applied(optimizer: Any, start: float) -> None:
    if not executing_eagerly():
        training_traced()
    elif ours():
        current().applied(optimizer, start, _counter())


@guarded(HOOK)
def model_called() -> bool:
    """A layer is called eagerly; returns whether it is the model of a step: the first since a batch arrived or a tape
    began. The others are told apart in some 200 ns."""
    state = current()
    if not state.expects_model or state.inside or not ours():
        return False
    state.model_called(_counter())
    return True


@with_fit
def _patch_train_on_batch(cls: Any) -> None:
    original = cls.train_on_batch

    @functools.wraps(original)
    def train_on_batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = current()
        if state.inside or not ours():
            return original(self, *args, **kwargs)
        return timed(state, self, "train_on_batch", original, (self, *args), kwargs)

    cls.train_on_batch = train_on_batch


@on_import("keras.src.optimizers.base_optimizer")
def _keras3_optimizer(module: Any) -> None:
    _patch_optimizer(module.BaseOptimizer, "apply")


def _patch_keras2_optimizers(module: Any) -> None:
    classes = [getattr(module, name, None) for name in ("_BaseOptimizer", "Optimizer")]
    if any(hasattr(cls, "apply") for cls in classes):
        return  # Keras 3 has a module of this name: its optimizers inherit from `BaseOptimizer`, which has the hook
    known = [cls for cls in classes if cls is not None and "apply_gradients" in vars(cls)]
    for cls in found(f"apply_gradients in {module.__name__}", known):
        _patch_optimizer(cls, "apply_gradients")


@on_import("keras.src.optimizers.optimizer")
def _keras2_optimizer(module: Any) -> None:
    _patch_keras2_optimizers(module)


@on_import("tf_keras.src.optimizers.optimizer")
def _tf_keras_optimizer(module: Any) -> None:
    _patch_keras2_optimizers(module)


@on_import("keras.src.optimizers.legacy.optimizer_v2")
def _keras2_legacy_optimizer(module: Any) -> None:
    _patch_optimizer(module.OptimizerV2, "apply_gradients")


@on_import("tf_keras.src.optimizers.legacy.optimizer_v2")
def _tf_keras_legacy_optimizer(module: Any) -> None:
    _patch_optimizer(module.OptimizerV2, "apply_gradients")
