"""From a collected final graph and the recorded layer calls to what each layer's ops do, and where.

Nothing here touches TensorFlow's state; it reads GraphDef protos and op names, on the agent's own thread.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import names
from .kernels import Types, node_types
from .names import INPUT, LOSS, OPTIMIZER, Stack
from .placement_record import Recording
from .reasons import Cause, Reasons

PLUMBING = frozenset(
    {"_Arg", "_Retval", "NoOp", "Const", "_DeviceArg", "_DeviceRetval", "Placeholder"}
    | {"VarHandleOp", "VarIsInitializedOp", "DestroyResourceOp", "ReadVariableOp"}
    | {"Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond"}
)
"""Nodes that compute nothing: arguments, constants, variables (which have their own column), a lowered loop's frame."""
READ = "ReadVariableOp"
"""Counted for no row, yet its time is that of who reads: of a table that is scattered into, each read is a copy."""
OURS = frozenset({"Timestamp", "InplaceAdd", "InplaceUpdate"})
"""The agent's own clock in the graph (`steps/clock.py`)."""
INPUT_OPS = ("IteratorGetNext", "OptionalGetValue", "OptionalHasValue", "OptionalFromValue", "OptionalNone")
LOOPS = frozenset({"LoopCond", "While", "StatelessWhile"})
"""One node for each loop: lowered, and as XLA has it."""
LOOKED_AT = 12
"""Of the functions that were collected together: the largest. A step is never a small one among them."""
DT_DOUBLE = 2
"""types.proto: DataType.DT_DOUBLE."""


class Tally:
    """What was counted for one row."""

    def __init__(self) -> None:
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self.asked: Counter[Tuple[str, str]] = Counter()
        """(device asked for, device got) -> ops."""
        self.causes: Counter[Tuple[str, Cause]] = Counter()
        """(op, why it isn't or wouldn't be on a GPU) -> ops."""
        self.copies: Counter[Tuple[str, str]] = Counter()
        """(from, to) -> tensors that are copied between devices for this row, each step."""
        self.variable_copies = 0
        """How many of those are values of variables."""
        self.recurrent: Counter[str] = Counter()
        """`cudnn` or `standard` -> calls of a recurrent layer's kernel, as far as the graph names them."""
        self.float64 = 0
        self.loops = 0
        """While loops of the forward pass."""
        self.xla = 0

    @property
    def ops(self) -> int:
        return sum(self.forward.values()) + sum(self.backward.values())

    def add(self, other: Tally) -> None:
        """Everything that was counted for another part of the same row."""
        for name, value in vars(other).items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
            else:
                getattr(self, name).update(value)


class Result(NamedTuple):
    """The graph of one function: the tally of every stack that owns something, and how much was left over."""

    tallies: Dict[Stack, Tally]
    ops: int
    unattributed: int
    trains: bool
    owners: Dict[str, Tuple[Stack, bool]]
    """Node -> who made it, and whether it is of the backward pass."""
    devices: Dict[str, str]
    """Node -> the device that it runs on, `GPU:0`."""


class Traced:
    """All recorded graphs as lookup tables. Keeps none of them alive."""

    def __init__(self, recording: Recording) -> None:
        """On the thread that trains: elsewhere a graph would be held while the script lets go of it."""
        self.owner: Dict[str, Stack] = {}
        self.asked: Dict[str, str] = {}
        self._graph_of: Dict[str, Callable[[], Any]] = {}
        self.stacks: Dict[Stack, int] = {}
        """In the order of the model; how often each is called in a step."""
        called: Dict[str, Stack] = {}
        for record in recording.graphs.values():
            graph = record.graph()
            operations = graph.get_operations() if graph is not None else ()
            op_names = [op.name for op in operations]
            owner = names.paint(op_names, record.base, record.intervals)
            called.update(owner)
            names.paint_loss(op_names, record.intervals, owner)
            self.owner.update(owner)
            self._graph_of.update(dict.fromkeys(op_names, record.graph))
            for name, operation in zip(op_names, operations):
                # A gradient does not follow the scope of its forward op, and nobody pins an optimizer.
                if name in owner and OPTIMIZER not in owner[name]:
                    asked = names.asked_device(operation.device)
                    if asked is not None:
                        self.asked[name] = asked
            calls = Counter(stack for _, _, stack in record.intervals)
            self.stacks.update({stack: max(calls[stack], self.stacks.get(stack, 0)) for stack in record.stacks})
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

    def unfused(self, node: Any, parts: List[str]) -> Tuple[str, Types]:
        """Op type and dtypes as the script had them: TensorFlow places ops before it fuses them."""
        graph = self._graph_of[parts[0]]() if node.op.startswith("_") and parts[0] in self._graph_of else None
        try:
            operation = None if graph is None else graph.get_operation_by_name(parts[0])
        except KeyError:  # TensorFlow took the graph apart, which is about to go
            operation = None
        if operation is None:
            return str(node.op), node_types(node)
        return str(operation.type), node_types(operation.node_def)

    def find(self, parts: List[str]) -> Optional[Stack]:
        """Who made an op of the final graph, from its `own_names`."""
        return names.find(parts, self.owner, self.scope_owner)


def compiled(node: Any) -> bool:
    """True for the call of a function that XLA must compile."""
    return (
        node.op.endswith("PartitionedCall") and "_XlaMustCompile" in node.attr and bool(node.attr["_XlaMustCompile"].b)
    )


def xla_nodes(graph: Any) -> Iterator[Tuple[Any, str]]:
    """The nodes inside functions that XLA must compile, with the device of the compiled call."""
    functions = {function.signature.name: function for function in graph.library.function}
    for node in filter(compiled, graph.node):
        todo, seen = [node.attr["f"].func.name], set()
        while todo:
            name = todo.pop()
            if name in seen or name not in functions:
                continue
            seen.add(name)
            for inner in functions[name].node_def:
                yield inner, node.device
                todo += [a.func.name for a in inner.attr.values() if a.WhichOneof("value") == "func"]


def tally(graph: Any, traced: Traced, reasons: Reasons) -> Result:
    """Counts one function's final graph."""
    tallies: Dict[Stack, Tally] = {}
    total = unattributed = 0
    owners: Dict[str, Tuple[Stack, bool]] = {}
    reads: Dict[str, Tuple[Stack, bool]] = {}
    devices: Dict[str, str] = {}
    nodes = [(node, node.device, False) for node in graph.node if not compiled(node)]
    nodes += [(node, device, True) for node, device in xla_nodes(graph)]
    for node, device_name, in_xla in nodes:
        if node.op == READ:
            found = traced.find(names.own_names(node.name))
            if found is not None:
                reads[node.name] = found, False
        if node.op in LOOPS:
            _count_loop(node, traced, tallies)
        if node.op in PLUMBING or node.op in OURS:
            continue
        total += 1
        device = devices[node.name] = names.short_device(device_name)
        parts = names.own_names(node.name)
        backward = names.is_backward(parts)
        stack, backward = _owner(node, parts, backward, traced)
        if stack is None:
            unattributed += 1
            continue
        owners[node.name] = stack, backward
        row = tallies.get(stack)
        if row is None:
            row = tallies[stack] = Tally()
        (row.backward if backward else row.forward)[device] += 1
        row.xla += in_xla
        asked = None if backward else traced.asked_of(parts)
        if asked is not None:
            row.asked[asked, device] += 1
        if not in_xla:
            op, types = traced.unfused(node, parts)
            cause = reasons.of(op, types, asked, device)
            if cause is not None:
                row.causes[op, cause] += 1
        if "T" in node.attr and node.attr["T"].type == DT_DOUBLE and node.op != "Cast":
            row.float64 += 1
        kernel = recurrent_kernel(node)
        if kernel is not None:
            row.recurrent[kernel] += 1
    _count_copies(graph, owners, tallies)
    owners.update({name: owner for name, owner in reads.items() if owner[0] in tallies})
    trains = any(row.backward for row in tallies.values()) or any(OPTIMIZER in stack for stack in tallies)
    return Result(tallies, total, unattributed, trains, owners, devices)


def _owner(node: Any, parts: List[str], backward: bool, traced: Traced) -> Tuple[Optional[Stack], bool]:
    if is_backward_call(node):
        backward, stack = True, _forward_call(node, traced)
    else:
        stack = _owner_of_fused(node, traced) or traced.find(parts)
    if stack is None:
        stack = _rest(node, backward)
    return stack, backward


def _count_loop(node: Any, traced: Traced, tallies: Dict[Stack, Tally]) -> None:
    """Of the forward pass: the backward pass has one for each of them."""
    parts = names.own_names(node.name)
    stack = None if names.is_backward(parts) else traced.find(parts)
    if stack is not None:
        tallies.setdefault(stack, Tally()).loops += 1


def _count_copies(graph: Any, owners: Dict[str, Tuple[Stack, bool]], tallies: Dict[Stack, Tally]) -> None:
    """Tensors that cross from one device to another: TensorFlow adds a send and a receive for each, once a device."""
    if len({node.device for node in graph.node}) < 2:
        return
    by_name = {node.name: node for node in graph.node}
    seen = set()
    for node in graph.node:
        if node.name not in owners or node.op in INPUT_OPS:
            continue
        for argument in node.input:
            source = by_name.get(argument.partition(":")[0])
            if source is None or source.op in ("Const", "_Arg", "VarHandleOp") or source.device == node.device:
                continue
            if (argument, node.device) in seen or not (source.device and node.device):
                continue
            seen.add((argument, node.device))
            row = tallies[owners[node.name][0]]
            row.copies[names.short_device(source.device), names.short_device(node.device)] += 1
            row.variable_copies += source.op == "ReadVariableOp"


def recurrent_kernel(node: Any) -> Optional[str]:
    """`cudnn` or `standard`, where a node is a recurrent layer's kernel.

    Keras 3 calls CudnnRNNV3 itself (keras/src/backend/tensorflow/rnn.py, 3.15). Keras 2 makes functions
    `standard_lstm`, `gpu_lstm`, … of which grappler chooses one by device (keras/src/layers/rnn/gru_lstm_utils.py,
    2.15).
    """
    if node.op.startswith("CudnnRNN"):
        return "cudnn"
    if node.op.endswith("PartitionedCall"):
        name = node.attr["f"].func.name
        if "gpu_lstm" in name or "gpu_gru" in name:
            return "cudnn"
        if "standard_lstm" in name or "standard_gru" in name:
            return "standard"
    return None


def _owner_of_fused(node: Any, traced: Traced) -> Optional[Stack]:
    """Who made the product in a fused node: grappler names it after its last op, which may be the next layer's.

    The second input of `_FusedMatMul` and `_FusedConv2D` is the kernel, read within the layer that owns it.
    """
    if not node.op.startswith("_Fused") or len(node.input) < 2:
        return None
    return traced.find(names.own_names(node.input[1].partition(":")[0]))


def is_backward_call(node: Any) -> bool:
    """True for the call of a function's gradient: TensorFlow names it `__inference___backward_<function>_<number>`."""
    return node.op.endswith("PartitionedCall") and "__backward_" in node.attr["f"].func.name


def _forward_call(node: Any, traced: Traced) -> Optional[Stack]:
    """Who made the call whose gradient this is: it gets that call's results (an LSTM of Keras 2 is such a function)."""
    for argument in node.input:
        source = argument.partition(":")[0]
        if "PartitionedCall" in source:
            stack = traced.find(names.own_names(source))
            if stack is not None:
                return stack
    return None


def _rest(node: Any, backward: bool) -> Optional[Stack]:
    if node.op.startswith(INPUT_OPS):
        return (INPUT,)
    return (LOSS,) if backward else None


def _size(graph: Any) -> int:
    """Nodes, those in functions that it calls included: where XLA compiles a step, there are hardly others."""
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def best(graphs: List[Any], traced: Traced, reasons: Reasons) -> Optional[Result]:
    """The collected function that trains, or else the one in which most layers' ops are; None where none has any.

    The gradients that a tape outside of a function takes are a function of their own: the two are one result.
    """
    # Each variable's initialiser is a small function of its own: hundreds in a big model.
    largest = sorted(graphs, key=_size, reverse=True)[:LOOKED_AT]
    results = [tally(graph, traced, reasons) for graph in largest]
    results = [result for result in results if any(isinstance(stack[0], int) for stack in result.tallies)]
    forward = max((result for result in results if _runs_layers(result)), key=_rank, default=None)
    if forward is not None and not forward.trains:
        backward = max((result for result in results if result.trains), key=_rank, default=None)
        return forward if backward is None else _joined(forward, backward)
    return forward


def _rank(result: Result) -> Tuple[bool, int]:
    return result.trains, result.ops - result.unattributed


def _runs_layers(result: Result) -> bool:
    """Whether it has the forward pass of a layer."""
    return any(row.forward for stack, row in result.tallies.items() if isinstance(stack[0], int))


def _joined(forward: Result, backward: Result) -> Result:
    tallies = forward.tallies
    for stack, row in backward.tallies.items():
        tallies.setdefault(stack, Tally()).add(row)
    return Result(
        tallies,
        forward.ops + backward.ops,
        forward.unattributed + backward.unattributed,
        True,
        {**forward.owners, **backward.owners},
        {**forward.devices, **backward.devices},
    )
