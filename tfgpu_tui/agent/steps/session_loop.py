"""Training steps of `tf.compat.v1` sessions: a run whose graph applies gradients, timed around `Session.run`.

What lies between two runs is the script's own: it feeds the batches. A graph that takes its batches by itself (an
iterator, a queue) waits for them inside of the run, where nothing of ours can stand: then the wait is unknown, and said
to be.

Private API: `BaseSession.run` in tensorflow/python/client/session.py, which `MonitoredSession` calls, too. Ran on
TensorFlow 2.15.1 and 2.21.0.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any, Dict, Iterator, Optional, Tuple

from ..hooks.runtime import guarded, on_import, switch_off
from . import clock
from .custom_loop import ours, timed
from .custom_region import TRAINS
from .custom_steps import current

HOOK = "session_loop"
APPLIES = ("Apply", "ResourceApply", "SparseApply", "ResourceSparseApply")
"""How the ops of optimizers begin: `ResourceApplyAdam`, `ApplyGradientDescent`, …"""
TAKES_A_BATCH = ("IteratorGetNext", "QueueDequeue")
OWN_BATCHES = "the graph of this tf.compat.v1 session takes its own batches: how long it waits for them is not seen"
NO_EAGER = "eager execution is off (tf.compat.v1), and the fit() that Keras has for that is not measured"
MAX_KEPT = 1024
"""Sets of fetches that are remembered with a graph: a script that makes new ones for ever has a leak of its own."""


class _Fetches:
    """What a session is asked for, again and again: one object for each set of fetches."""


_known: weakref.WeakKeyDictionary[Any, Dict[Tuple[Optional[str], ...], _Fetches]] = weakref.WeakKeyDictionary()
"""By graph."""


@guarded(HOOK)
def _fetched(graph: Any, fetches: Any) -> _Fetches:
    from tensorflow.python.util import nest

    known = _known.setdefault(graph, {})
    names = tuple(map(_name_of, nest.flatten(fetches)))
    found = known.get(names)
    if found is None:
        if len(known) >= MAX_KEPT:
            known.clear()
        found = known[names] = _Fetches()
        TRAINS.put(found, _trains(graph, names))
    return found


def _name_of(part: Any) -> Optional[str]:
    """None for a sparse tensor, which has none: kept itself, it would keep its graph."""
    name = part if isinstance(part, str) else getattr(part, "name", None)
    return name if isinstance(name, str) else None


def _elements(graph: Any, names: Tuple[Optional[str], ...]) -> Iterator[Any]:
    for name in names:
        try:
            yield graph.as_graph_element(name)
        except (KeyError, TypeError, ValueError):
            pass  # None: it trains nothing; or what the session is about to refuse


def _trains(graph: Any, names: Tuple[Optional[str], ...]) -> bool:
    """Whether an optimizer is applied where these are computed; notes, too, whether batches are taken there."""
    todo = list(_elements(graph, names))
    seen, trains, takes = set(), False, False
    while todo:
        element = todo.pop()
        operation = getattr(element, "op", element)
        if operation in seen:
            continue
        seen.add(operation)
        trains = trains or operation.type.startswith(APPLIES)
        takes = takes or operation.type.startswith(TAKES_A_BATCH)
        todo += [*operation.inputs, *operation.control_inputs]
    if trains and takes:
        clock.forbidden = OWN_BATCHES
    return trains


@on_import("tensorflow.python.client.session")
def _sessions(module: Any) -> None:
    cls = module.BaseSession
    original = cls.run

    @functools.wraps(original)
    def run(self: Any, fetches: Any, *args: Any, **kwargs: Any) -> Any:
        state = current()
        key = None if state.inside or not ours() else _fetched(self.graph, fetches)
        if key is None:
            return original(self, fetches, *args, **kwargs)
        return timed(state, key, "custom", original, (self, fetches, *args), kwargs)

    cls.run = run


def _patch_v1_fit(module: Any) -> None:
    """Keras 2's loops without eager execution (`training_v1`, Keras 2.15 and tf_keras 2.21) are none that we know."""
    cls = module.Model
    original = cls.fit

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        switch_off("keras_v1_loop", NO_EAGER)
        return original(self, *args, **kwargs)

    cls.fit = fit


for _name in ("keras.src.engine.training_v1", "tf_keras.src.engine.training_v1"):
    on_import(_name)(_patch_v1_fit)
