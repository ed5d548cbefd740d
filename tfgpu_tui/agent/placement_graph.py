"""From a collected final graph and the recorded layer calls to the rows of the placement table.

Nothing here touches TensorFlow's state; it reads a RunMetadata proto and op names, on the agent's own thread.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import placement_layers as layers
from . import placement_names as names
from .placement_names import INPUT, LOSS, OPTIMIZER, Key, Stack
from .placement_record import Recording

PLUMBING = frozenset(
    {"_Arg", "_Retval", "NoOp", "Const", "_DeviceArg", "_DeviceRetval", "Placeholder"}
    | {"VarHandleOp", "VarIsInitializedOp", "DestroyResourceOp", "ReadVariableOp"}
    | {"Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond"}
)
"""Nodes that compute nothing: arguments, constants, variables (which have their own column), a lowered loop's frame."""
OURS = frozenset({"Timestamp", "InplaceAdd", "InplaceUpdate"})
"""The agent's own clock in the graph (`clock.py`)."""
INPUT_OPS = ("IteratorGetNext", "OptionalGetValue", "OptionalHasValue", "OptionalFromValue", "OptionalNone")
DT_DOUBLE = 2
"""types.proto: DataType.DT_DOUBLE."""


class Tally:
    """What was counted for one row."""

    def __init__(self) -> None:
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self.asked: Counter[Tuple[str, str]] = Counter()
        """(device asked for, device got) -> ops."""
        self.float64 = 0
        self.xla = 0

    @property
    def ops(self) -> int:
        return sum(self.forward.values()) + sum(self.backward.values())


class Result(NamedTuple):
    """The graph of one function: the tally of every stack that owns something, and how much was left over."""

    tallies: Dict[Stack, Tally]
    ops: int
    unattributed: int
    trains: bool


class Traced:
    """All recorded graphs as lookup tables."""

    def __init__(self, recording: Recording) -> None:
        self.owner: Dict[str, Stack] = {}
        self.asked: Dict[str, str] = {}
        self.stacks: Dict[Stack, None] = {}
        called: Dict[str, Stack] = {}
        for record in recording.graphs.values():
            operations = record.graph.get_operations()
            op_names = [op.name for op in operations]
            owner = names.paint(op_names, record.base, record.intervals)
            called.update(owner)
            names.paint_loss(op_names, record.intervals, owner)
            self.owner.update(owner)
            for operation in operations:
                asked = names.asked_device(operation.device)
                if asked is not None:
                    self.asked[operation.name] = asked
            self.stacks.update(record.stacks)
        # A scope says something only where a layer, a loss or an optimizer opened it.
        self.scope_owner = names.scopes(called)

    def asked_of(self, parts: List[str]) -> Optional[str]:
        """The device that the script asked for, from an op's `own_names`; None where it asked for none."""
        if not self.asked:
            return None
        for part in parts:
            if part in self.asked:
                return self.asked[part]
        return None


def xla_nodes(graph: Any) -> Iterator[Tuple[Any, str]]:
    """The nodes inside functions that XLA must compile, with the device of the compiled call."""
    functions = {function.signature.name: function for function in graph.library.function}
    for node in graph.node:
        if "_XlaMustCompile" not in node.attr or not node.attr["_XlaMustCompile"].b:
            continue
        todo, seen = [node.attr["f"].func.name], set()
        while todo:
            name = todo.pop()
            if name in seen or name not in functions:
                continue
            seen.add(name)
            for inner in functions[name].node_def:
                yield inner, node.device
                todo += [a.func.name for a in inner.attr.values() if a.WhichOneof("value") == "func"]


def tally(graph: Any, traced: Traced) -> Result:
    """Counts one function's final graph."""
    tallies: Dict[Stack, Tally] = {}
    total = unattributed = 0
    compiled_calls = {n.name for n in graph.node if "_XlaMustCompile" in n.attr and n.attr["_XlaMustCompile"].b}
    nodes = [(node, node.device, False) for node in graph.node if node.name not in compiled_calls]
    nodes += [(node, device, True) for node, device in xla_nodes(graph)]
    for node, device_name, in_xla in nodes:
        if node.op in PLUMBING or node.op in OURS:
            continue
        total += 1
        parts = names.own_names(node.name)
        backward = names.is_backward(parts)
        if is_backward_call(node):
            backward, stack = True, _forward_call(node, traced)
        else:
            stack = _owner_of_fused(node, traced) or names.find(parts, traced.owner, traced.scope_owner)
        if stack is None:
            stack = _rest(node, backward)
        if stack is None:
            unattributed += 1
            continue
        row = tallies.setdefault(stack, Tally())
        device = names.short_device(device_name)
        (row.backward if backward else row.forward)[device] += 1
        row.xla += in_xla
        if not backward:
            asked = traced.asked_of(parts)
            if asked is not None:
                row.asked[asked, device] += 1
        if "T" in node.attr and node.attr["T"].type == DT_DOUBLE and node.op != "Cast":
            row.float64 += 1
    trains = any(row.backward for row in tallies.values()) or any(OPTIMIZER in stack for stack in tallies)
    return Result(tallies, total, unattributed, trains)


def _owner_of_fused(node: Any, traced: Traced) -> Optional[Stack]:
    """Who made the product in a fused node: grappler names it after its last op, which may be the next layer's.

    The second input of `_FusedMatMul` and `_FusedConv2D` is the kernel, read within the layer that owns it.
    """
    if not node.op.startswith("_Fused") or len(node.input) < 2:
        return None
    kernel = node.input[1].partition(":")[0]
    return names.find(names.own_names(kernel), traced.owner, traced.scope_owner)


def is_backward_call(node: Any) -> bool:
    """True for the call of a function's gradient: TensorFlow names it `__inference___backward_<function>_<number>`."""
    return node.op.endswith("PartitionedCall") and "__backward_" in node.attr["f"].func.name


def _forward_call(node: Any, traced: Traced) -> Optional[Stack]:
    """Who made the call whose gradient this is: it gets that call's results (an LSTM of Keras 2 is such a function)."""
    for argument in node.input:
        source = argument.partition(":")[0]
        if "PartitionedCall" in source:
            stack = names.find(names.own_names(source), traced.owner, traced.scope_owner)
            if stack is not None:
                return stack
    return None


def _rest(node: Any, backward: bool) -> Optional[Stack]:
    if node.op.startswith(INPUT_OPS):
        return (INPUT,)
    return (LOSS,) if backward else None


def best(metadata: Any, traced: Traced) -> Optional[Result]:
    """The collected function that trains, or else the one in which most layers' ops are; None where none has any."""
    results = [tally(function.post_optimization_graph, traced) for function in metadata.function_graphs]
    results = [r for r in results if any(isinstance(stack[0], int) for stack in r.tallies)]
    return max(results, key=lambda r: (r.trains, r.ops - r.unattributed), default=None)


def rows(tallies: Dict[Stack, Tally], order: Dict[Stack, None], objects: Dict[Key, Any]) -> List[Dict[str, Any]]:
    """The table: the user's layers in the order of the model, then input, loss and optimizer."""
    merged = _merge_shown(tallies, order, objects)
    ordered = [stack for stack in merged if isinstance(stack[0], int)]
    hidden_root = _hidden_root(ordered, merged, objects)
    below: Dict[Key, List[Any]] = {}
    for stack in ordered:
        for key in stack[:-1]:
            below.setdefault(key, []).append(objects[stack[-1]])
    out: List[Dict[str, Any]] = []
    seen: Dict[Key, Dict[str, Any]] = {}
    for stack in ordered:
        if stack == (hidden_root,) and not merged[stack].ops:
            continue
        path = stack[1:] if stack[0] == hidden_root and len(stack) > 1 else stack
        if stack[-1] in seen:
            _add(seen[stack[-1]], merged[stack])
            continue
        layer = objects[stack[-1]]
        devices, parameters = layers.own_variables([layer], below.get(stack[-1], []))
        row = _row("/".join(objects[key].name for key in path), layer, len(path) - 1, merged[stack])
        row.update(variables=devices, parameters=parameters)
        seen[stack[-1]] = row
        out.append(row)
    special = {key: merged[(key,)] for key in (INPUT, LOSS, OPTIMIZER) if (key,) in merged}
    front = [_row(INPUT, None, 0, special[INPUT])] if INPUT in special else []
    return front + out + [_row(str(key), None, 0, t) for key, t in special.items() if key != INPUT]


def _merge_shown(tallies: Dict[Stack, Tally], order: Dict[Stack, None], objects: Dict[Key, Any]) -> Dict[Stack, Tally]:
    merged: Dict[Stack, Tally] = {}
    # A preprocessing layer in a dataset's map is traced too, but runs elsewhere.
    running = {stack[0] for stack in tallies}
    for stack in [stack for stack in order if stack[0] in running] + list(tallies):
        # The loss and the optimizer are rows of their own, wherever they are called.
        special = next((key for key in stack if isinstance(key, str)), None)
        visible = (special,) if special else layers.shown(stack, objects)
        for depth in range(1, len(visible)):
            merged.setdefault(visible[:depth], Tally())
        merged.setdefault(visible, Tally())
    for stack, counted in tallies.items():
        special = next((key for key in stack if isinstance(key, str)), None)
        into = merged[(special,) if special else layers.shown(stack, objects)]
        into.forward.update(counted.forward)
        into.backward.update(counted.backward)
        into.asked.update(counted.asked)
        into.float64 += counted.float64
        into.xla += counted.xla
    return merged


def _hidden_root(ordered: List[Stack], merged: Dict[Stack, Tally], objects: Dict[Key, Any]) -> Optional[Key]:
    """The model itself needs no row and no part in the paths where everything is inside it."""
    roots = {stack[0] for stack in ordered}
    if len(roots) != 1:
        return None
    (root,) = roots
    return root if layers.is_model(objects[root]) and len(ordered) > 1 else None


def _row(path: str, layer: Any, depth: int, counted: Tally) -> Dict[str, Any]:
    asked, reason = explain(counted)
    return {
        "layer": path,
        "class": type(layer).__name__ if layer is not None else "",
        "depth": depth,
        "forward": dict(counted.forward.most_common()),
        "backward": dict(counted.backward.most_common()),
        "variables": [],
        "parameters": None,
        "dtype": "float64" if counted.float64 else (layers.compute_dtype(layer) if layer is not None else None),
        "xla": bool(counted.xla) if counted.ops else None,
        "asked": asked,
        "reason": reason,
    }


def _add(row: Dict[str, Any], counted: Tally) -> None:
    """A layer that is called at two places in the model has one row."""
    for phase in ("forward", "backward"):
        total: Counter[str] = Counter(row[phase])
        total.update(getattr(counted, phase))
        row[phase] = dict(total.most_common())


def explain(counted: Tally) -> Tuple[Optional[str], Optional[str]]:
    """(device asked for, why the row is where it is), as far as it is known."""
    if not counted.asked:
        return None, None
    by_request: Counter[str] = Counter()
    for (asked, _), count in counted.asked.items():
        by_request[asked] += count
    asked = by_request.most_common(1)[0][0]
    got = Counter({device: n for (wanted, device), n in counted.asked.items() if wanted == asked})
    elsewhere = sorted(device for device in got if device != asked)
    if not elsewhere:
        return asked, f"pinned to {asked} by tf.device"
    others = ", ".join(elsewhere)
    if counted.xla:
        return asked, f"tf.device asks for {asked}, but XLA compiled the whole function for {others}"
    if asked in got:
        moved = sum(got[device] for device in elsewhere)
        return asked, f"tf.device asks for {asked}; TensorFlow put {moved} of its ops on {others}"
    return asked, f"tf.device asks for {asked}, but it runs on {others}: TensorFlow moved it without a message"
