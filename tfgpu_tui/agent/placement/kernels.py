"""Which ops have a GPU kernel: from TensorFlow's own registry in a CUDA build, else from a table of that version.

A CPU build knows no GPU kernels, so `kernel_tables/` holds what the CUDA builds register, one file a version, written
by `tools/kernel_table.py`. A line is an op and its GPU kernels: `MatMul T=float16,float32,…`; `host` marks a kernel
whose inputs and outputs all lie in host memory: placed on the GPU, computed by the CPU; `-` stands for no GPU kernel.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Tuple

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel_tables")

GPU = "gpu"
HOST = "host_memory"
NO_KERNEL = "no_gpu_kernel"
NO_DTYPE = "dtype_no_kernel"

TYPE_NAMES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16",
    17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz", 28: "float8_e5m2fnuz",
    29: "int4", 30: "uint4", 31: "int2", 32: "uint2", 33: "float4_e2m1fn",
}  # fmt: skip
"""tensorflow/core/framework/types.proto."""

Types = Callable[[str], Tuple[int, ...]]
"""Name of an attribute of an op -> the dtypes that it holds; empty where it is none."""


class Kernel(NamedTuple):
    """A GPU kernel of an op: the dtypes that it takes, and whether all its inputs and outputs lie in host memory."""

    allowed: Mapping[str, FrozenSet[str]]
    host: bool


class Verdict(NamedTuple):
    """Where an op can run, and the dtype that stands in the way, where one does."""

    where: str
    dtype: Optional[str] = None


class Kernels:
    """The GPU kernels of one TensorFlow version."""

    def __init__(self, source: str, of: Callable[[str], Optional[List[Kernel]]]) -> None:
        """`of(op)` is the op's GPU kernels, empty where it has none, None where the op isn't known."""
        self.source = source
        self._of = of
        self._known: Dict[str, Optional[List[Kernel]]] = {}
        self._attributes: Dict[str, Tuple[str, ...]] = {}

    def attributes(self, op: str) -> Tuple[str, ...]:
        """The attributes whose dtypes decide; empty where every kernel of the op takes any."""
        if op not in self._attributes:
            named = {name for kernel in self._kernels(op) or () for name in kernel.allowed}
            self._attributes[op] = tuple(sorted(named))
        return self._attributes[op]

    def verdict(self, op: str, types: Types) -> Optional[Verdict]:
        """None where the table doesn't know the op."""
        kernels = self._kernels(op)
        if kernels is None:
            return None
        if not kernels:
            return Verdict(NO_KERNEL)
        for kernel in kernels:
            if all(_held(types(name)) and _held(types(name)) <= allowed for name, allowed in kernel.allowed.items()):
                return Verdict(HOST if kernel.host else GPU)
        return Verdict(NO_DTYPE, _blamed(kernels, types))

    def _kernels(self, op: str) -> Optional[List[Kernel]]:
        if op not in self._known:
            self._known[op] = self._of(op)
        return self._known[op]


def _held(types: Iterable[int]) -> FrozenSet[str]:
    return frozenset(type_name(number) for number in types)


def _blamed(kernels: List[Kernel], types: Types) -> Optional[str]:
    """The dtype that no kernel takes in its place; None where only the combination has none."""
    for name in sorted({name for kernel in kernels for name in kernel.allowed}):
        possible = [kernel.allowed[name] for kernel in kernels if name in kernel.allowed]
        for held in sorted(_held(types(name))):
            if possible and not any(held in allowed for allowed in possible):
                return held
    return None


def type_name(number: int) -> str:
    """`float32` for 1; a reference's dtype counts as its base (100 more)."""
    return TYPE_NAMES.get(number % 100, f"dtype {number}")


def node_types(node: Any) -> Types:
    """The dtypes of a NodeDef's attributes."""

    def types(name: str) -> Tuple[int, ...]:
        if name not in node.attr:
            return ()
        value = node.attr[name]
        kind = value.WhichOneof("value")
        return (value.type,) if kind == "type" else tuple(value.list.type) if kind == "list" else ()

    return types


# -- TensorFlow's own registry


def registered(op: str) -> Optional[List[Kernel]]:
    """The GPU kernels of an op in this process' TensorFlow, those for any device last, as the placer looks them up.

    `kernels.get_registered_kernels_for_op` (tensorflow/python/framework/kernels.py) and `op_def_registry.get`, run with
    TF 2.15 to 2.21.
    """
    from tensorflow.python.framework import kernels, op_def_registry

    definition = op_def_registry.get(op)
    if definition is None:
        return None
    arguments = {argument.name for argument in [*definition.input_arg, *definition.output_arg]}
    found = [k for k in kernels.get_registered_kernels_for_op(op).kernel if not k.label]
    usable = [k for k in found if k.device_type == "GPU"] + [k for k in found if k.device_type == "DEFAULT"]
    return [
        Kernel(
            {
                c.name: frozenset(type_name(number) for number in c.allowed_values.list.type)
                for c in k.constraint
                if c.allowed_values.list.type  # else it is about a word (`bad_indices_policy`), which a GPU takes, too
            },
            bool(arguments) and arguments <= set(k.host_memory_arg),
        )
        for k in usable
    ]


# -- the tables


def line_of(op: str, kernels: List[Kernel]) -> str:
    """One line of a table; kernels that differ in one attribute only are written together."""
    merged: List[Kernel] = []
    for kernel in kernels:
        _merge(merged, kernel)
    return f"{op} " + (" | ".join(map(_written, merged)) or "-")


def _merge(merged: List[Kernel], kernel: Kernel) -> None:
    for index, other in enumerate(merged):
        if other.host != kernel.host or set(other.allowed) != set(kernel.allowed):
            continue
        different = [name for name in kernel.allowed if kernel.allowed[name] != other.allowed[name]]
        if len(different) <= 1:
            both = {**other.allowed, **{name: other.allowed[name] | kernel.allowed[name] for name in different}}
            del merged[index]
            _merge(merged, Kernel(both, kernel.host))
            return
    merged.append(kernel)


def _written(kernel: Kernel) -> str:
    parts = [f"{name}={','.join(sorted(allowed))}" for name, allowed in sorted(kernel.allowed.items())]
    return " ".join(parts + ["host"] * kernel.host) or "any"


def parse(lines: Iterable[str]) -> Dict[str, List[Kernel]]:
    """A table: op -> its GPU kernels."""
    table: Dict[str, List[Kernel]] = {}
    for line in lines:
        op, _, rest = line.strip().partition(" ")
        if op and op != "#":
            table[op] = [] if rest == "-" else [_read(text) for text in rest.split(" | ")]
    return table


def _read(text: str) -> Kernel:
    allowed: Dict[str, FrozenSet[str]] = {}
    for word in text.split():
        name, equals, values = word.partition("=")
        if equals:
            allowed[name] = frozenset(values.split(","))
    return Kernel(allowed, text.split()[-1] == "host")


def _number(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def nearest(version: str, tables: Iterable[str]) -> Optional[str]:
    """The table for a TensorFlow version: its own minor version's, else the newest older one, else the oldest."""
    known = sorted(tables, key=_number)
    older = [table for table in known if _number(table) <= _number(version)]
    return older[-1] if older else (known[0] if known else None)


def available() -> List[str]:
    """The TensorFlow versions of which there is a table."""
    return [name[: -len(".txt")] for name in os.listdir(FOLDER) if name.endswith(".txt")]


def load() -> Optional[Kernels]:
    """The kernels for this process' TensorFlow; None where there is no table for it."""
    info = sys.modules.get("tensorflow.python.platform.build_info")
    tensorflow = sys.modules.get("tensorflow")
    version = str(getattr(tensorflow, "__version__", ""))
    if info is not None and info.build_info.get("is_cuda_build"):
        return Kernels(f"the registry of TensorFlow {version}", registered)
    table = nearest(version, available())
    if table is None:
        return None
    with open(os.path.join(FOLDER, f"{table}.txt"), encoding="utf-8") as file:
        kernels = parse(file)
    return Kernels(f"the CUDA build of TensorFlow {table}", kernels.get)
