"""From a profiler session's bytes to what ran when: a reader of the Trace message, without protobuf.

`ProfilerSession.stop` gives a serialized `tensorflow.profiler.Trace` (tsl/profiler/protobuf/trace_events.proto):
devices = 1, trace_events = 4; an event has device_id = 1, resource_id = 2 (a thread or a stream), name = 3,
timestamp_ps = 9, duration_ps = 10 and args = 11. Run with TF 2.15 and 2.21 on a CPU. A GPU's events lie on a device of
their own and name their op in `tf_op`: run with TF 2.21 on an NVIDIA H200 (a convolutional network and a mixed one:
`tests/agent/traces`). What the executor writes (`ExecutorState::Process`, `…ProcessAsync::Start` and `::Done`:
tensorflow/core/common_runtime/executor.cc) and a call of a tf.function (`tf_function_call`:
tensorflow/python/eager/polymorphic_function) are the same in both.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import zip_longest
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

Field = Union[int, bytes]

LAYOUT = re.compile(r"-\d+-Transpose\w+-LayoutOptimizer$")
"""What TensorFlow's optimizer puts before and after an op so that its data lies as the GPU's kernel wants it."""
COPIED = re.compile(r"\bsize:(\d+)")
CALLS = ("PartitionedCall", "While", "If", "Case", "SymbolicGradient", "XlaLaunch", "XlaRun")
"""Ops whose time is that of the ops that they run."""


class Op(NamedTuple):
    """One op (a node of the final graph) over the whole window."""

    kind: str
    ms: float
    runs: int


class Run(NamedTuple):
    """One run of an op on a thread of the host, one kernel or copy on a GPU, or one instruction that XLA compiled."""

    node: str
    """Of the final graph; empty where it isn't told."""
    kind: str
    """Class of the op; the kernel's or instruction's own name where there is no op."""
    device: str
    """`GPU:0`, `CPU`."""
    begin_us: float
    end_us: float
    until_us: float = 0.0
    """When the executor was done with it: results handed on, the next op begun. `end_us` where that isn't told."""
    step_id: str = ""
    """Of the executor that ran it; empty on a GPU, and where none did."""
    compiled: bool = False
    """By XLA."""
    name: str = ""
    """The kernel's or copy's own on a GPU; empty on the host."""
    copied_bytes: int = 0
    """Of a copy."""
    pageable: bool = False
    """Whether a copy's memory on the host is not pinned: the driver copies it twice then."""
    turn: int = 0
    """Of the graph's loop that it runs in; 0 in the first one, and outside of loops."""


_Wait = Tuple[str, ...]
"""Class and name of an op that waits, and its executor."""
Span = Tuple[float, float]
"""Begin and end in microseconds."""


class Process(NamedTuple):
    """An executor at work on a thread without an op that is told: cheap ops, as those of a loop often are, leave no
    event of their own."""

    step_id: str
    turn: int
    begin_us: float
    end_us: float


class Trace(NamedTuple):
    """What ran when, in microseconds of the profiler's own clock."""

    runs: List[Run]
    waits: List[Tuple[str, float, float]]
    """Ops that wait without a thread (a batch, a tensor from elsewhere, a collective): class, begin, end."""
    calls: List[Span]
    """Of tf.functions."""
    processes: Sequence[Process] = ()


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
    """The time of each op in a serialized Trace."""
    return times(trace(raw))


def times(found: Trace) -> Times:
    """The time of each op. Where it has kernels on a GPU, they are its time, and not the host's launching of them."""
    spent: Dict[Tuple[str, str], Dict[str, float]] = {}
    runs: Dict[Tuple[str, str], Counter[str]] = {}
    for run in found.runs:
        if not run.node:
            continue
        by_device = spent.setdefault(run[:2], {})
        by_device[run.device] = by_device.get(run.device, 0.0) + (run.end_us - run.begin_us) / 1e3
        runs.setdefault(run[:2], Counter())[run.device] += 1
    ops: Dict[str, Op] = {}
    changed: List[Tuple[str, Op]] = []
    totals: Dict[str, float] = {}
    for (node, kind), by_device in spent.items():
        kept = {where: ms for where, ms in by_device.items() if where != "CPU"} or by_device
        # The host starts each run of an op once, a GPU may need several kernels for it.
        count = runs[node, kind].get("CPU") or max(runs[node, kind].values())
        op = Op(kind, sum(kept.values()), count)
        if own_node(node) != node:
            changed.append((own_node(node), op))
        else:
            ops[node] = op
        for where, ms in kept.items():
            totals[where] = totals.get(where, 0.0) + ms
    for node, op in changed:
        ops[node] = ops.get(node, op._replace(ms=0.0))
        ops[node] = ops[node]._replace(ms=ops[node].ms + op.ms)
    return Times(ops, totals)


def own_node(node: str) -> str:
    """The op for which TensorFlow's optimizer put this one there."""
    added = LAYOUT.search(node)
    return node if added is None else node[: added.start()]


def trace(raw: bytes) -> Trace:
    """Everything that ran, on whatever thread or stream, and what waited."""
    devices: Dict[int, str] = {}
    threads: Dict[Tuple[int, int], _Thread] = {}
    began: Dict[_Wait, List[float]] = {}
    done: Dict[_Wait, List[float]] = {}
    silent: List[Process] = []
    out = Trace([], [], [], silent)
    for number, value in fields(raw):
        if number == 1:
            key, device = _entry(value)
            names = [_text(v) for n, v in fields(device) if n == 1] if isinstance(device, bytes) else []
            devices[key if isinstance(key, int) else 0] = device_name(names[0] if names else "")
        elif number == 4 and isinstance(value, bytes) and b"ThreadpoolListener" not in value:
            event = _event(value)
            if "tf_function_call" in event.args:
                out.calls.append((event.begin_us, event.end_us))
            elif event.name == PROCESS:
                threads.setdefault(event.thread, _Thread([], [])).processes.append(event)
            elif event.name in (WAITS, WAITED):
                wait = tuple(event.args.get(key, "") for key in ("kernel_type", "name", "step_id"))
                (began if event.name == WAITS else done).setdefault(wait, []).append(event.begin_us)
            else:
                run = _run(event, devices.get(event.thread[0], "CPU"))
                if run is not None:
                    threads.setdefault(event.thread, _Thread([], [])).runs.append(run)
    for wait, starts in began.items():
        if wait[0] and not wait[0].endswith(CALLS):
            out.waits.extend((wait[0], *span) for span in _pairs(starts, done.get(wait, [])))
    for thread in threads.values():
        settled, processes = _settled(thread)
        out.runs.extend(settled)
        silent.extend(processes)
    return out


def _pairs(starts: List[float], ends: List[float]) -> Iterator[Span]:
    """Begins and ends of one op's waits, which the trace has in no order: each with the first end that follows it."""
    ends = sorted(ends)
    at = 0
    for start in sorted(starts):
        while at < len(ends) and ends[at] < start:
            at += 1
        if at == len(ends):
            return
        yield start, ends[at]
        at += 1


PROCESS = "ExecutorState::Process"
WAITS, WAITED = "ExecutorState::ProcessAsync::Start", "ExecutorState::ProcessAsync::Done"


class _Event(NamedTuple):
    name: str
    thread: Tuple[int, int]
    begin_us: float
    end_us: float
    args: Dict[str, str]


class _Thread(NamedTuple):
    runs: List[Run]
    processes: List[_Event]


def _event(data: bytes) -> _Event:
    device = resource = begin = duration = 0
    name = ""
    args: Dict[str, str] = {}
    for number, value in fields(data):
        if number == 11:
            key, text = _entry(value)
            args[_text(key)] = _text(text)
        elif number == 3:
            name = _text(value)
        elif not isinstance(value, int):
            continue
        elif number == 1:
            device = value
        elif number == 2:
            resource = value
        elif number == 9:
            begin = value
        elif number == 10:
            duration = value
    return _Event(name, (device, resource), begin / 1e6, (begin + duration) / 1e6, args)


def _run(event: _Event, device: str) -> Optional[Run]:
    """The op, kernel or instruction that an event shows; None for other events."""
    node, colon, kind = (event.args.get("tf_op") or event.args.get("long_name") or "").rpartition(":")
    known = bool(colon) and kind.isidentifier() and "::" not in node + colon + kind and " " not in node
    if "hlo_op" in event.args and device == "CPU":
        return Run("", event.args["hlo_op"], device, event.begin_us, event.end_us, compiled=True)
    if known:
        run = None if kind.endswith(CALLS) else Run(node, kind, device, event.begin_us, event.end_us)
    elif device == "CPU":
        run = None
    else:
        run = Run("", event.name, device, event.begin_us, event.end_us, compiled="hlo_op" in event.args)
    return run if run is None or device == "CPU" else _on_gpu(run, event)


def _on_gpu(run: Run, event: _Event) -> Run:
    details = event.args.get("memcpy_details", "")
    size = COPIED.search(details)
    return run._replace(name=event.name, copied_bytes=int(size.group(1)) if size else 0, pageable="pageable" in details)


def _settled(thread: _Thread) -> Tuple[List[Run], List[Process]]:
    """The runs of one thread with what their executor did, without those inside of another (what a Python function in
    the graph calls); and when executors were at work there before a run, or without any."""
    runs: List[Run] = []
    for run in sorted(thread.runs, key=lambda r: (r.begin_us, -r.end_us)):
        if run.device != "CPU" or not runs or run.end_us > runs[-1].end_us:
            runs.append(run)
    processes = sorted(
        (Process(p.args.get("id", ""), _turn(p), p.begin_us, p.end_us) for p in thread.processes),
        key=lambda p: p[2:],
    )
    out: List[Run] = []
    silent: List[Process] = []
    at, free_us = 0, 0.0  # until when the process at hand is told already
    for run, following in zip_longest(runs, runs[1:]):
        while at < len(processes) and processes[at].end_us < run.begin_us:
            silent += _rest(processes[at], free_us, processes[at].end_us)
            at += 1
        process = processes[at] if at < len(processes) else Process("", 0, float("inf"), 0.0)
        if run.device != "CPU" or process.begin_us > run.begin_us:
            out.append(run._replace(until_us=run.end_us))
            continue
        silent += _rest(process, free_us, run.begin_us)
        until_us = process.end_us if following is None else min(process.end_us, following.begin_us)
        free_us = max(until_us, run.end_us)
        out.append(run._replace(until_us=free_us, step_id=process.step_id, turn=process.turn))
    for process in processes[at:]:
        silent += _rest(process, free_us, process.end_us)
    return out, silent


def _turn(process: _Event) -> int:
    number = process.args.get("iter_num", "")
    return int(number) if number.isdigit() else 0


def _rest(process: Process, since_us: float, until_us: float) -> List[Process]:
    begin_us = max(process.begin_us, since_us)
    return [process._replace(begin_us=begin_us, end_us=until_us)] if until_us > begin_us else []
