"""`enable_op_determinism()` after a first training: takes the clocks out of the graphs that already hold them.

TensorFlow then refuses to run a clock op (tensorflow/core/kernels/logging_ops.cc, TimestampOp), so the script's next
step would fail. Each function that holds a clock of ours is replaced in TensorFlow's own library, under its name, by
one in which that clock is a constant: nothing is traced again, and the script's objects stay as they are.

Private APIs, ran on TensorFlow 2.15.1 and 2.21.0: `config.enable_op_determinism` (wrapped where it is defined), and of
`context.context()`: `list_function_names`, `get_function_def`, `has_function`, `remove_function`, `add_function_def`.
"""

from __future__ import annotations

import functools
from typing import Any

from ..hooks.runtime import guarded, on_import
from . import clock

HOOK = "determinism"


@on_import("tensorflow.python.framework.config")
def _enabling(module: Any) -> None:
    original = module.enable_op_determinism

    @functools.wraps(original)
    def enable_op_determinism(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if clock.used():
            clock.allowed()  # from now on none is, and it says why
            _stop_clocks()
        return result

    module.enable_op_determinism = enable_op_determinism


@guarded(HOOK)
def _stop_clocks() -> None:
    from tensorflow.python.eager import context

    library = context.context()
    functions = {name: library.get_function_def(name) for name in library.list_function_names()}
    stale = {name for name, definition in functions.items() if _without_clocks(definition)}
    calls = {name: _called(definition) for name, definition in functions.items()}
    while True:  # what TensorFlow compiled of a function holds those that it calls
        callers = {name for name, called in calls.items() if not stale.isdisjoint(called)} - stale
        if not callers:
            break
        stale |= callers
    for name in stale:
        uses = 0
        while library.has_function(name):  # registered once for each user
            library.remove_function(name)
            uses += 1
        for _ in range(uses):
            library.add_function_def(functions[name])


def _called(definition: Any) -> set[str]:
    """Names of the functions that a FunctionDef calls."""
    found = set()
    for node in definition.node_def:
        found.add(node.op)
        for value in node.attr.values():
            if value.HasField("func"):
                found.add(value.func.name)
            elif value.HasField("list"):
                found.update(function.name for function in value.list.func)
    return found


def _without_clocks(definition: Any) -> bool:
    """Turns our clocks in a FunctionDef into constants; returns whether there were any."""
    from tensorflow.python.framework import dtypes, tensor_util

    clocks = {node.name for node in definition.node_def if node.op == "Timestamp" and clock.NAME in node.name}
    renamed = {f"{name}:ts:0": f"{name}:output:0" for name in clocks}
    for node in definition.node_def if clocks else ():
        for place, source in enumerate(node.input):
            node.input[place] = renamed.get(source, source)
        if node.name in clocks:
            node.op = "Const"
            node.attr["dtype"].type = dtypes.float64.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(0.0, dtypes.float64))
    for result, source in definition.ret.items():
        definition.ret[result] = renamed.get(source, source)
    return bool(clocks)
