"""What is traced by which layer: one wrapper around the base class' `Layer.__call__`, and the loss and the optimizer.

While a function is traced, each call notes the range of ops that it added to the graph. Nothing is kept of eager
calls, except for the one step that `eager` observes. Ran with Keras 3.15, Keras 2.15 and tf_keras 2.21.
"""

from __future__ import annotations

import functools
import itertools
import threading
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ..hooks.runtime import executing_eagerly, guarded, on_import
from ..steps import custom_loop
from . import updates
from .layers import Facts, Layer
from .names import LOSS, OPTIMIZER, Interval, Key, Stack

LAYER_CLASSES = (
    ("keras.src.layers.layer", "Layer"),
    ("keras.src.engine.base_layer", "Layer"),
    ("tf_keras.src.engine.base_layer", "Layer"),
)
LOSS_CLASSES = (
    ("keras.src.losses.loss", "Loss"),
    ("keras.src.losses", "Loss"),
    ("tf_keras.src.losses", "Loss"),
)
OPTIMIZER_CLASSES = (
    ("keras.src.optimizers.base_optimizer", "BaseOptimizer", "apply"),
    ("keras.src.optimizers.optimizer", "Optimizer", "apply_gradients"),
    ("keras.src.optimizers.legacy.optimizer_v2", "OptimizerV2", "apply_gradients"),
    ("tf_keras.src.optimizers.optimizer", "Optimizer", "apply_gradients"),
    ("tf_keras.src.optimizers.legacy.optimizer_v2", "OptimizerV2", "apply_gradients"),
)


MARK = "_tfgpu_placement"
"""On our wrappers: a class may be reached under two module names."""


_numbers = itertools.count()


class GraphRecord:
    """The layer calls in one traced graph."""

    def __init__(self, graph: Any, base: Stack) -> None:
        self.graph: Callable[[], Any] = weakref.ref(graph)
        self.base = base
        self.intervals: List[Interval] = []
        self.stacks: Dict[Stack, None] = {}
        """Every stack in the order in which it was first entered: the order of the model."""


class Recording:
    """The graphs traced since the last `take`, and the layers in their stacks. Keeps none of them alive: what is traced
    and never run, or fails, is taken by nobody."""

    def __init__(self) -> None:
        self.graphs: Dict[int, GraphRecord] = {}
        """By identity."""
        self.layers: Dict[int, Layer] = {}
        """By the key that stands for them in stacks: never the same for two, as their identities may be."""
        self._keys: Dict[int, int] = {}

    def of_graph(self, graph: Any) -> Optional[GraphRecord]:
        """The record of this graph; None where it has none yet."""
        record = self.graphs.get(id(graph))
        return record if record is not None and record.graph() is graph else None

    def key_of(self, layer: Any) -> int:
        """What stands for the layer in stacks."""
        known = self._keys.get(id(layer))
        if known is None or self.layers[known].reference() is not layer:
            known = self._keys[id(layer)] = next(_numbers)
            self.layers[known] = Layer(layer)
        return known

    def facts(self) -> Dict[Key, Facts]:
        """What is to be told of each layer, as it is now."""
        return {key: layer.facts() for key, layer in self.layers.items()}


class _Frame(NamedTuple):
    record: Optional[GraphRecord]
    start: int
    stack: List[Key]


class _Eager(NamedTuple):
    """Who observes an eager step."""

    begin: Callable[[bool], bool]
    applied: Callable[[], None]


class _State:
    def __init__(self) -> None:
        self.recording = Recording()
        self.starting: List[Callable[[], bool]] = []
        self.eager: Optional[_Eager] = None
        self.root: Optional[Callable[[], Any]] = None
        self.optimizer: Optional[Callable[[], Any]] = None


_state = _State()
_local = threading.local()


def on_tracing(fn: Callable[[], bool]) -> Callable[[], bool]:
    """Calls `fn` when the first layer of a new graph is traced; where it returns False the graph isn't recorded."""
    _state.starting.append(fn)
    return fn


def observe_eager(begin: Callable[[bool], bool], applied: Callable[[], None]) -> None:
    """`begin(is_layer)` at each outermost eager call says whether to note it; `applied()` follows each eager update."""
    _state.eager = _Eager(begin, applied)


def stop_observing_eager() -> None:
    """No more callbacks for eager calls."""
    _state.eager = None


def take() -> Recording:
    """What was recorded since the last call; the recorder starts anew."""
    recording, _state.recording = _state.recording, Recording()
    return recording


def recorded(graph: Any) -> Optional[GraphRecord]:
    """What was noted of a graph so far; None where nothing was."""
    return _state.recording.of_graph(graph)


def eager_stack() -> Stack:
    """The layer calls that are active in this thread."""
    return tuple(getattr(_local, "stack", ()))


def root_model() -> Optional[Any]:
    """The model (or layer) of the last outermost call that was traced or observed; None where it is gone."""
    return _state.root() if _state.root is not None else None


def last_optimizer() -> Optional[Any]:
    """The optimizer that was traced or observed last; None where there was none."""
    return _state.optimizer() if _state.optimizer is not None else None


def ops_in(graph: Any) -> int:
    """How many operations a graph holds; cheap, unlike len(get_operations()). `Graph.version`, TF 2.15-2.21."""
    return int(graph.version)


def is_symbolic(graph: Any) -> bool:
    """True for a graph (or one within it) in which Keras only infers shapes; it never runs.

    Named in keras/src/backend/tensorflow/core.py (`scratch_graph`) and in Keras 2's backend (`keras_graph`).
    """
    while graph is not None:
        name = getattr(graph, "name", "") or ""
        if "scratch_graph" in name or "keras_graph" in name:
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _stack() -> List[Key]:
    try:
        stack: List[Key] = _local.stack
    except AttributeError:
        stack = _local.stack = []
    return stack


@guarded("placement")
def _enter(special: Optional[str], target: Any) -> Optional[_Frame]:
    """Notes that a call begins, of a layer or of what is `special`; None where nothing is to be noted."""
    from tensorflow.python.eager import context

    if context.executing_eagerly():
        return _enter_eager(special, target)
    from tensorflow.python.framework import ops

    graph = ops.get_default_graph()
    record = _state.recording.of_graph(graph)
    if record is None and is_symbolic(graph):
        return None
    stack = _stack()
    if record is None:
        if not all(start() for start in _state.starting):
            return None
        record = _state.recording.graphs[id(graph)] = GraphRecord(graph, tuple(stack))
    _push(stack, special, target)
    record.stacks.setdefault(tuple(stack))
    return _Frame(record, ops_in(graph), stack)


def _enter_eager(special: Optional[str], target: Any) -> Optional[_Frame]:
    if special is None and custom_loop.model_called():
        _state.root = weakref.ref(target)
    elif special == OPTIMIZER and last_optimizer() is not target:
        _state.optimizer = weakref.ref(target)
    observer = _state.eager
    if observer is None:
        return None
    stack = _stack()
    if not stack and not observer.begin(special is None):
        return None
    _push(stack, special, target)
    return _Frame(None, 0, stack)


def _push(stack: List[Key], special: Optional[str], target: Any) -> None:
    if not stack and special is None:
        _state.root = weakref.ref(target)
    elif special == OPTIMIZER:
        _state.optimizer = weakref.ref(target)
    stack.append(_state.recording.key_of(target) if special is None else special)


@guarded("placement")
def _leave(frame: _Frame) -> None:
    record, start, stack = frame
    graph = record.graph() if record is not None else None
    if record is not None and graph is not None:
        record.intervals.append((start, ops_in(graph), tuple(stack)))
    stack.pop()


@guarded("placement")
def _applied(optimizer: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
    from tensorflow.python.eager import context

    if not context.executing_eagerly():
        updates.applied(optimizer, args, kwargs)
    elif _state.eager is not None:
        _state.eager.applied()


def _as_autograph_would(function: Any) -> Any:
    """Converted where the code around the call is converted, as AutoGraph does with every function on its way."""
    if executing_eagerly():
        return function
    from tensorflow.python.autograph.core import ag_ctx

    status = ag_ctx.control_status_ctx()
    if status.status != ag_ctx.Status.ENABLED:
        return function
    from tensorflow.python.autograph.impl import api

    return api.tf_convert(function, status)


def _wrap(cls: Any, method: str, special: Optional[str], after: Optional[Callable[..., Any]] = None) -> None:
    """Notes every call of `cls.method`, as `special` or as that of a layer; once for each class that defines it.
    `after` is called with the object and the arguments."""
    original = cls.__dict__.get(method)
    if original is None and hasattr(cls, method):
        return  # it inherits from a class that has the hook
    if original is None:
        raise AttributeError(f"{cls.__name__} has no {method}")
    if hasattr(original, MARK):
        return

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        frame = _enter(special, self)
        try:
            return _as_autograph_would(original)(self, *args, **kwargs)
        finally:
            if frame is not None:
                _leave(frame)
            if after is not None:
                after(self, args, kwargs)

    # AutoGraph leaves alone what carries this (`is_autograph_artifact` in tensorflow/python/autograph/impl/api.py);
    # otherwise it would rewrite this wrapper.
    setattr(call, "autograph_info__", {})  # noqa: B010
    setattr(call, MARK, True)
    setattr(cls, method, call)


def _patch_layer(name: str) -> Callable[[Any], None]:
    def patch(module: Any) -> None:
        _wrap(getattr(module, name), "__call__", None)

    return patch


def _patch_loss(name: str) -> Callable[[Any], None]:
    def patch(module: Any) -> None:
        _wrap(getattr(module, name), "__call__", LOSS)

    return patch


def _patch_optimizer(name: str, method: str) -> Callable[[Any], None]:
    def patch(module: Any) -> None:
        _wrap(getattr(module, name), method, OPTIMIZER, after=_applied)

    return patch


def install() -> None:
    """Registers the wrappers; each is put in place when Keras' module is imported."""
    hooks: List[Tuple[str, Callable[[Any], None]]] = []
    hooks += [(module, _patch_layer(name)) for module, name in LAYER_CLASSES]
    hooks += [(module, _patch_loss(name)) for module, name in LOSS_CLASSES]
    hooks += [(module, _patch_optimizer(name, method)) for module, name, method in OPTIMIZER_CLASSES]
    for module, patch in hooks:
        on_import(module)(patch)
