"""Batches that are fetched while the model still works on the one before: what work hides of a wait.

Where one function takes several steps (`steps_per_execution`), TensorFlow asks for the next batch as soon as a step
begins. There the calls of functions are stamped, too; what of a call for a batch lies within such work is no wait.

Private APIs, ran on TensorFlow 2.15.1 and 2.21.0: `atomic_function.make_call_op_in_graph` (puts a function's call into
a graph), `control_flow_v2_func_graphs.ControlFlowFuncGraph`.
"""

from __future__ import annotations

import functools
from typing import Any, Optional

from . import clock
from .runtime import guarded, on_import

HOOK = "overlap"


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
    """A call for a batch is put into this graph. Returns the work that may run meanwhile; None outside of control flow,
    where there is one step."""
    function = _function_of(graph)
    if not hasattr(function, "_tfgpu_work"):
        function._tfgpu_work = Work()
    return None if function is graph else function._tfgpu_work  # type: ignore[no-any-return]


def end_of_wait(work: Work, asked: Any, arrived: Any) -> Any:
    """`arrived`, less what of the time since `asked` was hidden by work: by work that ended meanwhile, or runs on."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import gen_math_ops

    with ops.device("/device:CPU:0"):
        began, ended = clock.kept_pair(work.row, [arrived])
        until = gen_math_ops.select_v2(gen_math_ops.less(ended, began), arrived, ended)
        hidden = gen_math_ops.sub(until, gen_math_ops.maximum(asked, began))
        return gen_math_ops.minimum(arrived, gen_math_ops.sub(arrived, hidden))


@guarded(HOOK)
def _work_begins(inputs: Any) -> Optional[tuple[Work, Any]]:
    """Stamps the begin of a call, where it is one of several steps of a function; else returns None."""
    from tensorflow.python.framework import ops

    graph = ops.get_default_graph()
    function = _function_of(graph)
    work = getattr(function, "_tfgpu_work", None)
    if work is None or function is graph:
        return None
    began = clock.now(inputs)
    clock.put(work.row, began, ops.convert_to_tensor(0.0, dtype="float64"))
    return work, began


@guarded(HOOK)
def _work_ends(work: Work, began: Any, outputs: Any) -> None:
    clock.put(work.row, began, clock.now([o.op for o in outputs[:1]]))
    work.stamped = True


@on_import("tensorflow.python.eager.polymorphic_function.atomic_function")
def _calls_in_graphs(module: Any) -> None:
    original = module.make_call_op_in_graph

    @functools.wraps(original)
    def make_call_op_in_graph(atomic: Any, tensor_inputs: Any, *args: Any, **kwargs: Any) -> Any:
        begun = _work_begins(tensor_inputs)
        outputs = original(atomic, tensor_inputs, *args, **kwargs)
        if begun is not None:
            _work_ends(*begun, outputs)
        return outputs

    module.make_call_op_in_graph = make_call_op_in_graph
