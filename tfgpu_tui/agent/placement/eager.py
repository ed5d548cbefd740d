"""On which device each op of one eager training step ran, by layer: for run_eagerly and eager custom loops.

Op callbacks cost a Python call an op, so they are on for one step only: from the first layer call after an optimizer
was applied eagerly, until it is applied again. Ran with TF 2.15 and 2.21.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Optional, Set, Tuple

from ..hooks.runtime import guarded
from . import placement_record as record
from .graph import DT_DOUBLE, OURS, PLUMBING, Tally
from .kernels import Types
from .layers import Facts
from .names import INPUT, LOSS, Key, Stack, short_device
from .reasons import Reasons

MAX_OPS = 50_000
"""More ops than a step has: the script trains no more, and would be observed for ever."""


class EagerStep:
    """What one observed step showed."""

    def __init__(self) -> None:
        self.tallies: Dict[Stack, Tally] = {}
        self.order: Dict[Stack, int] = {}
        self.layers: Dict[Key, Facts] = {}
        self.ops = 0
        self.unattributed = 0
        self.made_by: Dict[Tuple[str, int], Stack] = {}
        """(op type, id of one of its tensors) -> who ran it; the tape keeps alive what a gradient needs."""
        self.values: Set[int] = set()
        """id of the tensors that hold a variable's value."""
        self.differentiating: Optional[Stack] = None


class _State:
    def __init__(self) -> None:
        self.armed = False
        self.thread: Optional[int] = None
        self.step = EagerStep()
        self.done: Optional[Callable[[EagerStep], None]] = None
        self.reasons: Optional[Callable[[], Reasons]] = None


_state = _State()


def install(done: Callable[[EagerStep], None], reasons: Callable[[], Reasons]) -> None:
    """`done(step)` is called once, on the training's thread, after the observed step."""
    _state.done, _state.reasons = done, reasons
    record.observe_eager(_begin, _applied)


def _begin(is_layer: bool) -> bool:
    if _state.thread is not None:
        return _state.thread == threading.get_ident()
    if not (_state.armed and is_layer):
        return False
    from tensorflow.python.framework import op_callbacks

    _state.thread = threading.get_ident()
    op_callbacks.add_op_callback(_on_op)
    use_gradient_function(_differentiate)
    return True


def _applied() -> None:
    if _state.thread is None:
        _state.armed = True
        return
    if _state.thread != threading.get_ident():
        return
    step = _stop()
    step.layers = record.take().facts()
    step.made_by.clear()
    step.values.clear()
    if _state.done is not None:
        _state.done(step)


def _stop() -> EagerStep:
    """No more is observed. Returns what was."""
    from tensorflow.python.framework import op_callbacks

    op_callbacks.remove_op_callback(_on_op)
    use_gradient_function(None)
    record.stop_observing_eager()
    step, _state.step = _state.step, EagerStep()
    return step


def use_gradient_function(function: Optional[Callable[..., Any]]) -> None:
    """What every eager tape calls for one op's gradient; None restores TensorFlow's own.

    Registered by tensorflow/python/eager/backprop.py (`_gradient_function`), TF 2.15 and 2.21.
    """
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import backprop

    pywrap_tfe.TFE_Py_RegisterGradientFunction(function or backprop._gradient_function)


def _differentiate(op_name: Any, attrs: Any, num_inputs: Any, inputs: Any, outputs: Any, *rest: Any) -> Any:
    from tensorflow.python.eager import backprop

    step = _state.step
    before, step.differentiating = step.differentiating, _maker(op_name, inputs, outputs)
    try:
        return backprop._gradient_function(op_name, attrs, num_inputs, inputs, outputs, *rest)
    finally:
        step.differentiating = before


@guarded("placement_eager")
def _maker(op_name: Any, inputs: Any, outputs: Any) -> Optional[Stack]:
    """Who ran the op whose gradient is asked for; the loss where that isn't known."""
    if threading.get_ident() != _state.thread:
        return None
    op_type = op_name if isinstance(op_name, str) else op_name.decode()
    for tensor in [*(outputs or ()), *(inputs or ())]:
        found = _state.step.made_by.get((op_type, id(tensor)))
        if found is not None:
            return found
    return (LOSS,)


@guarded("placement_eager")
def _count(op_type: str, inputs: Any, attrs: Any, outputs: Any) -> None:
    if op_type == "ReadVariableOp":
        _state.step.values.update(map(id, outputs))
    device = next((short_device(t.device) for t in outputs if hasattr(t, "backing_device")), None)
    if device is None or op_type in OURS or op_type in PLUMBING:
        return
    step = _state.step
    if step.ops >= MAX_OPS:
        _stop()
        record.take()
        return
    backward = step.differentiating is not None
    stack: Optional[Stack] = step.differentiating or record.eager_stack() or None
    if stack is None and op_type.startswith("Iterator"):
        stack = (INPUT,)
    step.ops += 1
    if stack is None:
        step.unattributed += 1
        return
    if not backward:
        step.order.setdefault(stack, 0)
        for tensor in [*(inputs or ()), *(outputs or ())]:
            step.made_by[op_type, id(tensor)] = stack
    row = step.tallies.setdefault(stack, Tally())
    (row.backward if backward else row.forward)[device] += 1
    types = attribute_types(attrs)
    row.float64 += DT_DOUBLE in types("T") and op_type != "Cast"
    row.recurrent["cudnn"] += op_type.startswith("CudnnRNN")
    asked = None if backward else asked_now()
    if asked is not None:
        row.asked[asked, device] += 1
    cause = _state.reasons().of(op_type, types, asked, device) if _state.reasons is not None else None
    if cause is not None:
        row.causes[op_type, cause] += 1
    for tensor in inputs or ():
        # An op that takes a variable reads it itself, in C++.
        variable = hasattr(tensor, "handle")
        place = tensor.device if variable else getattr(tensor, "backing_device", None)
        if place and short_device(place) != device and tensor.dtype != "resource":
            row.copies[short_device(place), device] += 1
            row.variable_copies += variable or id(tensor) in step.values


def asked_now() -> Optional[str]:
    """The device of the tf.device scope that is open (`Context.device_name`, which is None without one)."""
    from tensorflow.python.eager import context

    name = context.context().device_name
    return None if not name else short_device(name)


def attribute_types(attrs: Any) -> Types:
    """The dtypes in an eager op's attributes: a flat tuple of names and values."""
    values = dict(zip(attrs[::2], attrs[1::2])) if attrs else {}

    def types(name: str) -> Tuple[int, ...]:
        value = values.get(name, ())
        several = value if isinstance(value, (list, tuple)) else (value,)
        numbers = (getattr(item, "as_datatype_enum", item) for item in several)
        return tuple(number for number in numbers if isinstance(number, int))

    return types


def _on_op(op_type: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> None:
    """An op callback (tensorflow/python/framework/op_callbacks.py); returning None leaves the outputs as they are."""
    if graph is None:
        _count(op_type if isinstance(op_type, str) else op_type.decode(), inputs, attrs, outputs)
