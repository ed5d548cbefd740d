"""Batches that are fetched while the model still works on the one before: what work hides of a wait.

Where one function takes several steps (`steps_per_execution`), TensorFlow asks for the next batch as soon as a step
begins. There the model's work is stamped, too; what of a call for a batch lies within such work is no wait. Work is
the call of a function, as Keras 3 makes it for each step (XLA may compile it, so no stamp can lie inside). Where a loop
begins each turn with the call for its batch, as Keras 2's does, nothing is hidden: TensorFlow begins the next turn when
all that the last one had to do is done (auto_control_deps has the loop's variables wait for it).

Private APIs, ran on TensorFlow 2.15.1 and 2.21.0: `atomic_function.make_call_op_in_graph` (puts a function's call into
a graph), `control_flow_v2_func_graphs.ControlFlowFuncGraph`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Optional

from ..hooks.runtime import executing_eagerly, guarded, on_import
from . import clock

HOOK = "overlap"
_NO_WORK = frozenset(
    (
        "AssignAddVariableOp",
        "AssignVariableOp",
        "IteratorGetNext",
        "IteratorGetNextAsOptional",
        "ReadVariableOp",
        "Timestamp",
    )
)
"""Stateful ops that may come before a call for a batch though no model is at work: counters, clocks, other batches."""


class Work:
    """When the model's work on a batch began and ended last, in one function that takes several."""

    def __init__(self) -> None:
        self.row = clock.Row()
        self.stamped = False
        """Whether work was found in the function: else nothing is known of what it hides."""


def _function_of(graph: Any) -> Any:
    """The function's graph around branches and bodies of loops."""
    from tensorflow.python.ops.control_flow_v2_func_graphs import ControlFlowFuncGraph

    while isinstance(graph, ControlFlowFuncGraph):
        graph = graph.outer_graph
    return graph


def takes_a_batch(graph: Any) -> Optional[Work]:
    """A call for a batch was put into this graph just now. Returns the work that may run meanwhile; None where none
    can: outside of control flow, where there is one step, and where each turn of a loop begins with this call."""
    function = _function_of(graph)
    if not hasattr(function, "_tfgpu_work"):
        function._tfgpu_work = Work()
    work: Work = function._tfgpu_work
    turn = graph
    while turn is not function:
        if any(op._is_stateful and op.type not in _NO_WORK for op in turn.get_operations()):
            return work
        turn = turn.outer_graph
    return None


def visible(graph: Any, work: Optional[Work], iterator: Any, asked: Any, arrived: Any) -> tuple[Any, Any, bool]:
    """Begin and end of what was waited between `asked` and `arrived`, and whether the graph took a batch of the same
    iterator before (Keras 3.3 unrolls its steps so): then work on that one may lie within, and is not known."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import gen_math_ops

    earlier, iterators = getattr(graph, "_tfgpu_arrived", (None, ()))
    graph._tfgpu_arrived = arrived, (*iterators, id(iterator))
    again = id(iterator) in iterators
    with ops.device("/device:CPU:0"):
        if earlier is not None:  # the batches of several iterators are fetched at the same time: count it once
            asked = gen_math_ops.maximum(asked, earlier)
            arrived = gen_math_ops.maximum(asked, arrived)
        if work is None:
            return asked, arrived, again
        # Hidden is what lies in work that ended meanwhile, or runs on.
        began, ended = clock.kept_pair(work.row, [arrived])
        until = gen_math_ops.select_v2(gen_math_ops.less(ended, began), arrived, ended)
        hidden = gen_math_ops.sub(until, gen_math_ops.maximum(asked, began))
        return asked, gen_math_ops.minimum(arrived, gen_math_ops.sub(arrived, hidden)), again


class _Local(threading.local):
    inside = False


_local = _Local()


@guarded(HOOK)
def _work_begins(inputs: Any) -> Optional[tuple[Work, Any, int]]:
    """Stamps the begin of work, where it is one of several steps of a function; else returns None."""
    from tensorflow.python.framework import constant_op, dtypes, ops

    graph = ops.get_default_graph()
    function = _function_of(graph)
    work = getattr(function, "_tfgpu_work", None)
    if work is None or function is graph:
        return None
    began = clock.now([t for t in clock.tensors(inputs) if t.graph is graph])
    clock.put(work.row, began, constant_op.constant(0.0, dtypes.float64))
    return work, began, len(graph.get_operations())


@guarded(HOOK)
def _work_ends(work: Work, began: Any, operations_before: int, outputs: Any) -> None:
    from tensorflow.python.framework import ops

    # Only stateful ops and results: waiting for every op would revive those that TensorFlow would have pruned.
    new = [o for o in ops.get_default_graph().get_operations()[operations_before:] if o._is_stateful]
    clock.put(work.row, began, clock.now(new + clock.tensors(outputs)))
    work.stamped = True


def _stamped(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _local.inside or executing_eagerly():
            return original(*args, **kwargs)
        begun = _work_begins((args[1:], kwargs))
        if begun is None:
            return original(*args, **kwargs)
        _local.inside = True
        try:
            outputs = original(*args, **kwargs)
        finally:
            _local.inside = False
        _work_ends(*begun, outputs)
        return outputs

    return call


@on_import("tensorflow.python.eager.polymorphic_function.atomic_function")
def _calls_in_graphs(module: Any) -> None:
    module.make_call_op_in_graph = _stamped(module.make_call_op_in_graph)
