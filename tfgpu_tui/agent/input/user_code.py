"""Time in the user's own Python that feeds the model: generators and `__getitem__`, before Keras or tf.data wrap them.

Processes that Keras forks to make batches (`use_multiprocessing`) tell their part themselves.

Private APIs: `keras.src.trainers.data_adapters` (Keras 3.3 to 3.15), `keras.src.engine.data_adapter` (Keras 2.15),
`tf_keras.src.engine.data_adapter` (2.21), `dataset_ops.DatasetV2._GeneratorState` (TensorFlow 2.15 to 2.21).
"""

from __future__ import annotations

import functools
import os
import time
import types
from typing import Any, Optional

from ..hooks import user_function
from ..hooks.runtime import guarded, on_import, send_latest

HOOK = "user_code"
TELL_S = 0.5
_counter = time.perf_counter


class Source:
    """One generator or `__getitem__` of the user's, with what it took so far."""

    def __init__(self, kind: str, function: Any) -> None:
        place = user_function.place_of(function)
        self.name = place.function if place else type(function).__name__
        self.library = place.library if place else None
        self.kind = kind
        self.file = place.file if place else None
        self.line = place.line if place else None
        self.calls = 0
        self.seconds = 0.0
        self.elements: Optional[list[dict[str, Any]]] = None

    def took(self, seconds: float, element: Any) -> None:
        """One call. From whatever thread feeds the model."""
        self.calls += 1
        self.seconds += seconds
        if self.elements is None:
            self.elements = describe(element)


_sources: dict[tuple[str, Optional[str], Optional[int], str], Source] = {}


def user_times() -> list[dict[str, Any]]:
    """Each generator and `__getitem__` that was called: `name`, `kind` (generator | getitem), `calls`, `seconds` (both
    cumulative), `file`, `line`, `elements` (dtype and shape of each array of the first batch)."""
    names = ("name", "kind", "calls", "seconds", "file", "line", "elements")
    return [{name: getattr(source, name) for name in names} for source in list(_sources.values()) if source.calls]


def describe(value: Any) -> list[dict[str, Any]]:
    """dtype and shape of each array in nested tuples, lists and dictionaries; a Python number has the shape []."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [item for part in value for item in describe(part)]
    if value is None:
        return []
    dtype = getattr(value, "dtype", None)
    name = type(value).__name__ if dtype is None else getattr(dtype, "name", str(dtype))
    return [{"dtype": name, "shape": [None if d is None else int(d) for d in getattr(value, "shape", ())]}]


@guarded(HOOK)
def _source(kind: str, function: Any) -> Optional[Source]:
    """Where calls of this function are summed; None for the libraries' own."""
    source = Source(kind, function)
    if source.library is not None:
        return None
    return _sources.setdefault((source.name, source.file, source.line, kind), source)


@guarded(HOOK)
def _took(source: Source, start: float, element: Any) -> None:
    now = _counter()
    source.took(now - start, element)
    if _worker.forked and now - _worker.told >= TELL_S:
        _worker.told = now
        names = ("name", "kind", "calls", "seconds", "file", "line")
        user = [{name: entry[name] for name in names} for entry in user_times()]
        send_latest("user_code", user=user, parent=os.getppid())


@guarded(HOOK)
def _begins() -> None:
    """The first call in a worker, which may hang in it: from here on it can be asked where it stands."""
    _worker.begun = True
    send_latest("user_code", user=[], parent=os.getppid())


class _Worker:
    """Whether this process was forked by one that trains, and when it told its times."""

    forked = begun = False
    told = float("-inf")


_worker = _Worker()


@guarded(HOOK)
def _after_fork() -> None:
    """What was counted so far is the parent's, and told by it."""
    for source in list(_sources.values()):
        source.calls, source.seconds = 0, 0.0
    _worker.forked, _worker.begun, _worker.told = True, False, float("-inf")


os.register_at_fork(after_in_child=_after_fork)


class TimedIterator:
    """The user's iterator with its time taken; everything else of it (`send`, `close`) stays reachable."""

    def __init__(self, iterator: Any, source: Source) -> None:
        self._iterator = iterator
        self._source = source

    def __iter__(self) -> TimedIterator:
        return self

    def __next__(self) -> Any:
        start = _counter()
        element = next(self._iterator)
        _took(self._source, start, element)
        return element

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


def _timed_generator(generator: Any) -> Any:
    # Keras 2's adapter for sequences hands them on to the one for generators.
    if not isinstance(generator, types.GeneratorType):
        return generator
    source = _source("generator", generator)
    return generator if source is None else TimedIterator(generator, source)


def _time_getitem(value: Any) -> None:
    """Time `__getitem__` of this object's class, once."""
    cls = type(value)
    original = getattr(cls, "__getitem__", None)
    if original is None or getattr(original, "_tfgpu_timed", False):
        return
    source = _source("getitem", original)
    if source is None:
        return

    @functools.wraps(original)
    def getitem(self: Any, index: Any) -> Any:
        if _worker.forked and not _worker.begun:
            _begins()
        start = _counter()
        element = original(self, index)
        _took(source, start, element)
        return element

    vars(getitem)["_tfgpu_timed"] = True
    cls.__getitem__ = getitem


def _patch_first_argument(cls: Any, change: Any) -> None:
    original = cls.__init__

    @functools.wraps(original)
    def init(self: Any, x: Any, *args: Any, **kwargs: Any) -> None:
        changed = guarded(HOOK, x)(change)(x)
        original(self, changed, *args, **kwargs)

    cls.__init__ = init


def _getitem_timed(value: Any) -> Any:
    _time_getitem(value)
    return value


@on_import("keras.src.trainers.data_adapters.generator_data_adapter")
def _keras3_generator(module: Any) -> None:
    _patch_first_argument(module.GeneratorDataAdapter, _timed_generator)


@on_import("keras.src.trainers.data_adapters.py_dataset_adapter")
def _keras3_py_dataset(module: Any) -> None:
    _patch_first_argument(module.PyDatasetAdapter, _getitem_timed)


def _patch_keras2(module: Any) -> None:
    _patch_first_argument(module.GeneratorDataAdapter, _timed_generator)
    _patch_first_argument(module.KerasSequenceAdapter, _getitem_timed)


@on_import("keras.src.engine.data_adapter")
def _keras2(module: Any) -> None:
    _patch_keras2(module)


@on_import("tf_keras.src.engine.data_adapter")
def _tf_keras(module: Any) -> None:
    _patch_keras2(module)


@on_import("tensorflow.python.data.ops.dataset_ops")
def _from_generator(module: Any) -> None:
    cls = module.DatasetV2._GeneratorState
    original = cls.__init__

    @functools.wraps(original)
    def init(self: Any, generator: Any) -> None:
        source = _source("generator", generator)
        if source is None:
            original(self, generator)
            return

        def timed(*args: Any) -> Any:
            return TimedIterator(iter(generator(*args)), source)

        original(self, timed)

    cls.__init__ = init
