"""Why an op isn't on the GPU: pinned, no kernel for it or for its dtype, host memory by design, moved by TensorFlow.

On a machine without a GPU the same question is answered for one with a GPU, as a prediction. What the placer does
besides (beside its variable, small integers to the host) is not predicted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import kernels
from .kernels import HOST, NO_DTYPE, NO_KERNEL, Kernels, Types, Verdict

PINNED = "pinned"
MOVED = "soft_placement"
UNKNOWN = "unknown"

SHOWN_OPS = 12
ON_THE_HOST = frozenset(("IteratorGetNext", "Shape"))
"""Ops with a GPU kernel that TensorFlow keeps on the host all the same: an iterator lives there, and hands its batches
over there; the kernel of a shape writes it to the host's memory (tensorflow/core/kernels/shape_ops.cc, HostMemory)."""


class Cause(NamedTuple):
    """Why one op is not (or would not be) on a GPU."""

    why: str
    """pinned | no_gpu_kernel | dtype_no_kernel | host_memory | soft_placement | unknown."""
    dtype: Optional[str] = None


class Reasons:
    """Answers for one machine and TensorFlow version."""

    def __init__(self, known: Optional[Kernels], gpu: bool) -> None:
        """`gpu`: TensorFlow has one here, so what is seen is measured; otherwise everything is a prediction."""
        self.known = known
        self.gpu = gpu
        self._cache: Dict[Tuple[Any, ...], Optional[Verdict]] = {}

    def of(self, op: str, types: Types, asked: Optional[str], device: str) -> Optional[Cause]:
        """None for an op that is on a GPU, or would be."""
        if self.gpu and not device.startswith("CPU"):
            return None
        verdict = self._verdict(op, types)
        if verdict is not None and verdict.where == NO_KERNEL and op.startswith("_"):
            verdict = None  # TensorFlow's optimizer made it of other ops, because these are on the CPU
        if verdict is not None and verdict.where in (HOST, NO_KERNEL, NO_DTYPE):
            return Cause(verdict.where, verdict.dtype)  # a pin would change nothing
        if asked is not None and asked.startswith("CPU"):
            return Cause(PINNED)
        if not self.gpu:
            return None
        if asked is None and op in ON_THE_HOST:
            return Cause(HOST)
        return Cause(UNKNOWN if asked is None else MOVED)

    def _verdict(self, op: str, types: Types) -> Optional[Verdict]:
        if self.known is None:
            return None
        key = (op, *(types(name) for name in self.known.attributes(op)))
        if key not in self._cache:
            self._cache[key] = self.known.verdict(op, types)
        return self._cache[key]


def here(context: Any) -> Reasons:
    """For this process; the context must be initialised."""
    return Reasons(kernels.load(), bool(context.list_logical_devices("GPU")))


Causes = Dict[Tuple[str, Cause], int]
"""(op, why) -> ops."""


def listed(causes: Causes) -> List[Dict[str, Any]]:
    """The `not_on_gpu` of a row: most ops first."""
    order = sorted(causes.items(), key=lambda item: (-item[1], item[0][0]))
    return [{"op": op, "ops": n, "why": cause.why, "dtype": cause.dtype} for (op, cause), n in order[:SHOWN_OPS]]


def asked_words(asked: "Counter[Tuple[str, str]]", xla: bool) -> Tuple[Optional[str], Optional[str]]:
    """(device that the script asked for, what came of it), from (asked, got) -> ops."""
    if not asked:
        return None, None
    by_request: Counter[str] = Counter()
    for (wanted, _), count in asked.items():
        by_request[wanted] += count
    device = by_request.most_common(1)[0][0]
    got = Counter({place: n for (wanted, place), n in asked.items() if wanted == device})
    elsewhere = sorted(place for place in got if place != device)
    if not elsewhere:
        return device, f"pinned to {device} by tf.device"
    others = ", ".join(elsewhere)
    if xla:
        return device, f"tf.device asks for {device}, but XLA compiled the whole function for {others}"
    if device in got:
        moved = sum(got[place] for place in elsewhere)
        return device, f"tf.device asks for {device}; TensorFlow put {moved} of its ops on {others}"
    return device, f"tf.device asks for {device}, but it runs on {others}: TensorFlow moved it without a message"


def cause_words(causes: Causes, gpu: bool) -> Optional[str]:
    """What keeps ops of a row off the GPU, in words; said to be a prediction where there is none."""
    parts = []
    if ops := _ops(causes, lambda cause: cause.why == NO_KERNEL):
        parts.append(f"{ops}: no GPU kernel")
    for dtype in sorted({cause.dtype or "" for _, cause in causes if cause.why == NO_DTYPE}):
        ops = _ops(causes, lambda cause, d=dtype: cause.why == NO_DTYPE and (cause.dtype or "") == d)
        parts.append(f"{ops}: no GPU kernel for {dtype or 'these dtypes'}")
    if gpu and (ops := _ops(causes, lambda cause: cause.why == UNKNOWN)):
        parts.append(f"{ops}: has a GPU kernel, why it is on the CPU is not known")
    if not parts:
        return None
    return "; ".join(parts) if gpu else "on a GPU machine would stay on the CPU (predicted): " + "; ".join(parts)


def _ops(causes: Causes, wanted: Any) -> str:
    counts: Counter[str] = Counter()
    for (op, cause), n in causes.items():
        if wanted(cause):
            counts[op] += n
    shown = [f"{op} {n}" if n > 1 else op for op, n in counts.most_common(3)]
    return ", ".join(shown) + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")
