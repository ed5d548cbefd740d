"""From a profiler session's bytes to the time of each op: a reader of the Trace message, without protobuf.

`ProfilerSession.stop` gives a serialized `tensorflow.profiler.Trace` (tsl/profiler/protobuf/trace_events.proto):
devices = 1, trace_events = 4; an event has device_id = 1, name = 3, duration_ps = 10 and args = 11. Run with TF 2.15
and 2.21 on a CPU. A GPU's events lie on a device of their own and name their op in `tf_op`: run with TF 2.21 on an
NVIDIA H200 (a convolutional network and a mixed one: `tests/agent/traces`).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Dict, Iterator, List, NamedTuple, Tuple, Union

Field = Union[int, bytes]

LAYOUT = re.compile(r"-\d+-Transpose\w+-LayoutOptimizer$")
"""What TensorFlow's optimizer puts before and after an op so that its data lies as the GPU's kernel wants it."""
CALLS = ("PartitionedCall", "While", "If", "Case", "SymbolicGradient", "XlaLaunch", "XlaRun")
"""Ops whose time is that of the ops that they run."""


class Op(NamedTuple):
    """One op (a node of the final graph) over the whole window."""

    kind: str
    ms: float
    runs: int


class Times(NamedTuple):
    """What a trace says."""

    ops: Dict[str, Op]
    devices: Dict[str, float]
    """`GPU:0`, `CPU` -> milliseconds in ops and kernels."""


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[Tuple[int, Field]]:
    """(number, value) of each field of a serialized message; raises ValueError or IndexError where it is none."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif wire == 2:
            size, at = _varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire}")


def _text(value: Field) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _entry(data: Field) -> Tuple[Field, Field]:
    """Key and value of a map's entry."""
    key: Field = b""
    value: Field = b""
    for number, part in fields(data) if isinstance(data, bytes) else ():
        if number == 1:
            key = part
        elif number == 2:
            value = part
    return key, value


def device_name(name: str) -> str:
    """`GPU:0` for `/device:GPU:0 …`, `CPU` for the host's threads."""
    at = name.find("GPU:")
    return "GPU:" + name[at + 4 :].split(" ")[0].split("/")[0] if at >= 0 else "CPU"


def read(raw: bytes) -> Times:
    """The time of each op. Where it has kernels on a GPU, they are its time, and not the host's launching of them."""
    devices: Dict[int, str] = {}
    events: List[Tuple[int, str, float]] = []
    for number, value in fields(raw):
        if number == 1:
            key, device = _entry(value)
            names = [_text(v) for n, v in fields(device) if n == 1] if isinstance(device, bytes) else []
            devices[key if isinstance(key, int) else 0] = device_name(names[0] if names else "")
        elif number == 4 and isinstance(value, bytes):
            event = _event(value)
            if event is not None:
                events.append(event)
    spent: Dict[str, Dict[str, float]] = {}
    runs: Dict[str, Counter[str]] = {}
    for device_id, name, ms in events:
        where = devices.get(device_id, "CPU")
        by_device = spent.setdefault(name, {})
        by_device[where] = by_device.get(where, 0.0) + ms
        runs.setdefault(name, Counter())[where] += 1
    ops: Dict[str, Op] = {}
    changed: List[Tuple[str, Op]] = []
    totals: Dict[str, float] = {}
    for name, by_device in spent.items():
        kept = {where: ms for where, ms in by_device.items() if where != "CPU"} or by_device
        node, _, kind = name.rpartition(":")
        if any(kind.endswith(call) for call in CALLS):
            continue
        # The host starts each run of an op once, a GPU may need several kernels for it.
        count = runs[name].get("CPU") or max(runs[name].values())
        op = Op(kind, sum(kept.values()), count)
        added = LAYOUT.search(node)
        if added is not None:
            changed.append((node[: added.start()], op))
        else:
            ops[node] = op
        for where, ms in kept.items():
            totals[where] = totals.get(where, 0.0) + ms
    for node, op in changed:
        ops[node] = ops.get(node, op._replace(ms=0.0))
        ops[node] = ops[node]._replace(ms=ops[node].ms + op.ms)
    return Times(ops, totals)


def _event(data: bytes) -> "Tuple[int, str, float] | None":
    """(device, `node:Op`, milliseconds) of an op's or a kernel's event; None for other events."""
    device = duration = 0
    name = ""
    for number, value in fields(data):
        if number == 1 and isinstance(value, int):
            device = value
        elif number == 10 and isinstance(value, int):
            duration = value
        elif number == 11:
            key, text = _entry(value)
            if key in (b"long_name", b"tf_op"):
                name = _text(text)
    node, colon, kind = name.rpartition(":")
    if not colon or not kind.isidentifier() or "::" in name or " " in node:
        return None
    return device, name, duration / 1e9
