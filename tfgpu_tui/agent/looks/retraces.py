"""Functions that TensorFlow traces again, with the argument that changed.

Private APIs: `tracing_compilation._create_concrete_function`, which makes the graph of every tf.function for one type
of its arguments, and `FunctionCache._primary`, the dictionary of those; ran on TensorFlow 2.21.0.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

from ..hooks.runtime import executing_eagerly, guarded, on_import, send_latest
from ..hooks.user_function import Place, place_of
from ..steps import first_runs

HOOK = "retraces"
KERAS = ("keras", "tf_keras")
MAX_FUNCTIONS = 200
MAX_CHANGES = 50
MAX_TEXT = 60
_counter = time.perf_counter


class Change(NamedTuple):
    """What made the difference between two traces of one function."""

    kind: str
    """value (a Python value) | shape | dtype | structure | object (a tf.function made anew)."""
    argument: Optional[str]
    before: Optional[str]
    after: Optional[str]


class Traced:
    """One function in the source, however many tf.functions were made of it."""

    def __init__(self, cache: Callable[[], Any], leaves: dict[str, tuple[str, str]]) -> None:
        self.traces = 1
        self.seconds = 0.0
        """In all traces but the first."""
        self.cache = cache
        """The tf.function's own, weakly."""
        self.leaves = leaves
        self.changes: dict[tuple[str, Optional[str]], int] = {}
        """(kind, argument) -> how often that made the difference."""
        self.usual: Optional[Change] = None
        """The newest change of the kind that came most often."""

    def changed(self, change: Change) -> None:
        """One more trace because of that."""
        key = change.kind, change.argument
        if key in self.changes or len(self.changes) < MAX_CHANGES:
            self.changes[key] = self.changes.get(key, 0) + 1
        if self.usual is None or self.changes.get(key, 0) >= self.changes[self.usual.kind, self.usual.argument]:
            self.usual = change


_functions: dict[Place, Traced] = {}
_local = threading.local()


def leaves(function_type: Any) -> dict[str, tuple[str, str]]:
    """Each argument, taken apart: its path -> (kind, text), as TensorFlow tells types apart."""
    return {
        path: leaf
        for name, parameter in function_type.parameters.items()
        for path, leaf in _apart(name, parameter.type_constraint, 0)
    }


def _apart(path: str, kind: Any, depth: int) -> Iterator[tuple[str, tuple[str, str]]]:
    # tensorflow/core/function/trace_type/default_types.py: Tuple, List, Dict, Literal; leaves are TensorSpecs.
    parts = getattr(getattr(kind, "components_tuple", kind), "components", None)
    mapping = getattr(kind, "mapping", None)
    if depth < 5 and isinstance(parts, (tuple, list)):
        for index, part in enumerate(parts):
            yield from _apart(f"{path}[{index}]", part, depth + 1)
    elif depth < 5 and isinstance(mapping, dict):
        for key, part in mapping.items():
            yield from _apart(f"{path}[{key!r}]", part, depth + 1)
    elif hasattr(kind, "dtype") and hasattr(kind, "shape"):
        shape = kind.shape.as_list() if kind.shape.rank is not None else "of any rank"
        yield path, (str(kind.dtype.name), str(shape))
    elif type(kind).__name__ == "Literal":
        yield path, ("value", repr(kind.value)[:MAX_TEXT])
    else:
        yield path, ("object", type(kind).__name__)


def difference(before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]]) -> Optional[Change]:
    """The first argument that differs; None where all are the same."""
    for path in [*after, *(p for p in before if p not in after)]:
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if old is None or new is None:
            return Change("structure", path, _words(old), _words(new))
        if old[0] == new[0] == "value":
            return Change("value", path, old[1], new[1])
        if "value" in (old[0], new[0]):
            return Change("structure", path, _words(old), _words(new))
        return Change("shape" if old[0] == new[0] else "dtype", path, _words(old), _words(new))
    return None


def _words(leaf: Optional[tuple[str, str]]) -> Optional[str]:
    if leaf is None:
        return None
    return leaf[1] if leaf[0] in ("value", "object") else f"{leaf[0]} {leaf[1]}"


@guarded(HOOK)
def _traced(options: Any, function_type: Any, seconds: float) -> None:
    place = place_of(options.python_function)
    if place is None or (place.library is not None and place.library not in KERAS):
        return  # a map function of tf.data, or a library's own
    first_runs.traced(place, seconds)
    cache, found = weakref.ref(options.function_cache._primary), leaves(function_type)
    known = _functions.get(place)
    if known is None:
        if len(_functions) < MAX_FUNCTIONS:
            _functions[place] = Traced(cache, found)
        return
    change = difference(known.leaves, found)
    if place.library is not None and (known.cache() is not cache() or change is None):
        # Another model has a train function of its own, of the same source.
        known.cache, known.leaves = cache, found
        return
    change = change or Change("object", None, None, None)
    known.traces += 1
    known.changed(change)
    known.seconds += seconds
    known.cache, known.leaves = cache, found
    send_latest(
        "retrace",
        key=place,
        function=place.function,
        file=place.file,
        line=place.line,
        keras=place.library is not None,
        traces=known.traces,
        seconds=known.seconds,
        **(known.usual or change)._asdict(),
    )


@on_import("tensorflow.python.eager.polymorphic_function.tracing_compilation")
def _tracing(module: Any) -> None:
    original = module._create_concrete_function

    @functools.wraps(original)
    def create(function_type: Any, type_context: Any, func_graph: Any, tracing_options: Any) -> Any:
        if getattr(_local, "inside", False) or not executing_eagerly():
            return original(function_type, type_context, func_graph, tracing_options)
        _local.inside = True
        start = _counter()
        try:
            made = original(function_type, type_context, func_graph, tracing_options)
        finally:
            _local.inside = False
        _traced(tracing_options, function_type, _counter() - start)
        return made

    module._create_concrete_function = create
