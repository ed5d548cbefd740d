"""Functions that XLA compiles whole and that Python calls itself: what they hold, and on which device they ran.

Such a function runs as one program on one device, and TensorFlow, which makes no graph of it that it would run op by
op, hands none out. So while a step is traced, the first call from Python of each function that is made then is looked
at, once: its results name the device that made them (`EagerTensor.device`). One without results ran where its variables
lie: XLA refuses those of another device ("Trying to access resource … located in device …").

Private: `from_func_graph(name, graph, attrs, …)` and `AtomicFunction.call_flat(*tensors)` in
tensorflow/python/eager/polymorphic_function/atomic_function.py, and the attribute `_XlaMustCompile` (`XLA_COMPILE` in
attributes.py there); ran with TF 2.15, 2.21 and 2.22.0rc0.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

from ..hooks.runtime import executing_eagerly, guarded, on_import
from ..hooks.tf_context import runs_elsewhere

MUST_COMPILE = "_XlaMustCompile"


class Call(NamedTuple):
    """The first call of a function."""

    graph: Callable[[], Any]
    """Weak: the FuncGraph that was traced."""
    device: str
    """`/job:localhost/replica:0/task:0/device:GPU:0`."""


class _Window:
    """From the first layer that is traced to the end of the execution."""

    def __init__(self) -> None:
        self.calls: List[Call] = []
        self.waiting: List[Callable[[], Any]] = []
        """Weak: functions that were not called yet."""


class _State:
    def __init__(self) -> None:
        self.window: Optional[_Window] = None
        """None while nobody wants to know."""


_state = _State()


def begin() -> None:
    """From now on the functions that are made are looked at when they are called first."""
    if _state.window is None:
        _state.window = _Window()


def take() -> List[Call]:
    """The calls since `begin`; none are looked at any more."""
    window, _state.window = _state.window, None
    if window is None:
        return []
    for function_of in window.waiting:
        _leave(function_of())
    return window.calls


def graphs(calls: List[Call]) -> List[Any]:
    """A GraphDef for each, as TensorFlow writes one that calls a compiled function. On the thread that trains, as long
    as the functions live."""
    found = [(call.graph(), call.device) for call in calls]
    return [_graph(str(graph.name), graph.as_graph_def(), device) for graph, device in found if graph is not None]


def _graph(name: str, body: Any, device: str) -> Any:
    """The function, the functions that it calls, and its call on the device."""
    from tensorflow.core.framework import graph_pb2

    out = graph_pb2.GraphDef()
    function = out.library.function.add()
    function.signature.name = name
    function.node_def.extend(body.node)
    out.library.function.extend(body.library.function)
    node = out.node.add(name=name, op="StatefulPartitionedCall", device=device)
    node.attr["f"].func.name = name
    node.attr[MUST_COMPILE].b = True
    return out


@guarded("placement")
def _made(function: Any, graph: Any, attrs: Any) -> None:
    window = _state.window
    if window is None or not attrs:
        return
    must = attrs.get(MUST_COMPILE)
    if must is not None and getattr(must, "b", must):
        _look_at_first_call(weakref.ref(function), weakref.ref(graph), window)


def _look_at_first_call(function_of: Callable[[], Any], graph_of: Callable[[], Any], window: _Window) -> None:
    """Stands in for the function's own `call_flat` until Python called it and it ran."""

    def call_flat(*tensors: Any) -> Any:
        function = function_of()
        results = type(function).call_flat(function, *tensors)
        if executing_eagerly():
            _leave(function)
            _note(graph_of, results, tensors, window)
        return results

    function_of().call_flat = call_flat
    window.waiting.append(function_of)


def _leave(function: Any) -> None:
    if function is not None:
        vars(function).pop("call_flat", None)


@guarded("placement")
def _note(graph_of: Callable[[], Any], results: Any, tensors: Sequence[Any], window: _Window) -> None:
    if runs_elsewhere():
        return
    devices = {tensor.device for tensor in results or () if hasattr(tensor, "device")}
    devices = devices or {tensor.device for tensor in tensors if tensor.dtype == "resource"}
    if len(devices) == 1:
        window.calls.append(Call(graph_of, devices.pop()))


@on_import("tensorflow.python.eager.polymorphic_function.atomic_function")
def _functions(module: Any) -> None:
    original = module.from_func_graph

    @functools.wraps(original)
    def from_func_graph(name: Any, graph: Any, attrs: Any, *args: Any, **kwargs: Any) -> Any:
        function = original(name, graph, attrs, *args, **kwargs)
        _made(function, graph, attrs)
        return function

    module.from_func_graph = from_func_graph
