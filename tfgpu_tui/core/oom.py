"""Out of memory: TensorFlow's allocator dump, or its exception's text, to what was asked for and why it failed (pure).

The dump of `BFCAllocator` (external/xla/xla/tsl/framework/bfc_allocator.cc; older: tensorflow/tsl/framework) in the
words of TF 2.13 (bytes) and TF 2.21 (units), and the message of `GpuCudaMallocAsyncAllocator`. Line numbers are never
looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import field, replace
from typing import Any

from tfgpu_tui.core.quick import dataclass

LONGEST_LINE = 4096
MOST_LINES = 20_000
"""Lines of one dump that are looked at: a full allocator lists each of its chunks."""

TOO_BIG, FULL, FRAGMENTED, NO_ROOM = "too_big", "full", "fragmented", "no_room"
"""One tensor is larger than the limit; really full; enough is free, in pieces; the device has less than the limit."""


@dataclass(frozen=True)
class OutOfMemory:
    """One allocation that failed. What the text does not say is None."""

    allocator: str | None = None
    wanted_bytes: int | None = None
    op: str | None = None
    limit_bytes: int | None = None
    in_use_bytes: int | None = None
    peak_bytes: int | None = None
    pool_bytes: int | None = None
    largest_free_bytes: int | None = None
    shape: list[int] | None = None
    dtype: str | None = None
    device: str | None = None
    chunks: list[list[int]] = field(default_factory=list)
    """The largest groups in use: number of chunks, bytes of each."""

    @property
    def case(self) -> str | None:
        """`too_big`, `full`, `fragmented`, `no_room`, or None where the numbers don't tell."""
        wanted, limit, used, pool = self.wanted_bytes, self.limit_bytes, self.in_use_bytes, self.pool_bytes
        if wanted is None or limit is None:
            return None
        if wanted > limit:
            return TOO_BIG
        if used is None:
            return None
        if limit - used < wanted:
            return FULL
        if pool is not None and pool - used >= wanted:
            return FRAGMENTED
        return NO_ROOM if pool is not None and pool < limit else None


_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = r"(-?[\d.]+(?:[KMGT]?i?B)?)"
_BEGIN = re.compile(
    rf"Allocator \((\S+)\) ran out of memory trying to allocate {_SIZE} \(rounded to (\d+)\)\s*requested by op (\S*)"
)
_BEGIN_ASYNC = re.compile(r"(\S+) cu\w*MemAllocAsync failed to allocate (\d+) bytes")
_CUDA_FREE = re.compile(r"Reported by CUDA: Free memory/Total memory: (\d+)/(\d+)")
_POOL = re.compile(rf"Total (?:bytes|size) in pool: {_SIZE} memory_limit_: {_SIZE}")
_STATS = re.compile(rf"(?:^|: )(Limit|InUse|MaxInUse):\s+{_SIZE}\s*$")
_FREE = re.compile(rf"\bSize: {_SIZE} \| Requested Size: \S+ \| in_use: 0 \|")
_FREE_AT = re.compile(r"\bFree\s+at [0-9a-f]+ of size (\d+)")
_CHUNKS = re.compile(r"(\d+) Chunks of size (\d+) totalling")
_TENSOR = re.compile(
    r"OOM when allocating tensor with shape\[([\d,]*)\] and type (\S+) on (\S+) by allocator (\S+?)(?:\s|\[|$)"
)
_EAGER = re.compile(r"__wrapped__(\w+?)_device_\S*/device:(\w+:\d+)")
"""The op that Python started by itself, and where (seen on an H200 with TensorFlow 2.21, without a tensor's shape)."""
_NODE = re.compile(r"\{\{node ([^}]+)\}\}")
_WORDS = (b"ran out of memory", b"OOM when allocating", b"MemAllocAsync failed")


def size_of(text: str) -> int | None:
    """Bytes of `15.26GiB`, `512` or `0B`; None where it is no size."""
    found = re.fullmatch(r"(-?[\d.]+)\s*([KMGT]?i?B)?", text)
    try:
        return round(float(found[1]) * _UNITS[found[2] or ""]) if found else None
    except (ValueError, KeyError):
        return None


def device_of(allocator: str | None, device: str | None = None) -> str | None:
    """`GPU:0` from `…/device:GPU:0`, or from the allocator's name (`GPU_0_bfc`, `gpu_async_0`); `CPU`: the host's."""
    if device is not None:
        return device.rpartition("device:")[2] or None
    found = re.match(r"(?:GPU_|gpu_async_)(\d+)", allocator or "")
    if found:
        return f"GPU:{found[1]}"
    return "CPU" if allocator and "cpu" in allocator.lower() else None


_ELEMENT_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "half": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "float": 4, "int32": 4,
    "uint32": 4, "double": 8, "int64": 8, "uint64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""TensorFlow's own words for dtypes (DataTypeString in tensorflow/core/framework/types.cc)."""


def tensor_bytes(shape: list[int] | None, dtype: str | None) -> int | None:
    """Bytes of a tensor of this shape; None where one of both is not known."""
    if shape is None or dtype not in _ELEMENT_BYTES:
        return None
    return math.prod(shape) * _ELEMENT_BYTES[dtype]


def from_exception(text: str) -> OutOfMemory | None:
    """What the text of a ResourceExhaustedError says; None where it is about something else than memory."""
    tensor, node = _TENSOR.search(text), _NODE.search(text)
    if tensor is not None:
        return _with_tensor(OutOfMemory(op=node[1] if node else None), tensor)
    if "failed to allocate memory" not in text:
        return None
    eager = _EAGER.search(text)
    return OutOfMemory(op=eager[1] if eager else node[1] if node else None, device=eager[2] if eager else None)


def _with_tensor(found: OutOfMemory, tensor: re.Match[str]) -> OutOfMemory:
    shape = [int(part) for part in tensor[1].split(",") if part]
    allocator = tensor[4]
    return replace(
        found,
        shape=shape,
        dtype=tensor[2],
        device=device_of(allocator, tensor[3]),
        allocator=found.allocator or allocator,
    )


class DumpReader:
    """Collects allocator dumps from pieces of output; cheap where there is none: a search for three words."""

    def __init__(self) -> None:
        self._rest = b""
        self._current: OutOfMemory | None = None
        self._lines = 0

    def feed(self, data: bytes) -> Iterator[OutOfMemory]:
        """The allocations whose text ended in this piece."""
        data = self._rest + data
        if self._current is None and not any(word in data for word in _WORDS):
            self._rest = data[data.rfind(b"\n") + 1 :][-LONGEST_LINE:]
            return
        *lines, self._rest = data.split(b"\n")
        self._rest = self._rest[-LONGEST_LINE:]
        for raw in lines:
            yield from self._line(raw[:LONGEST_LINE].decode(errors="replace").rstrip("\r"))

    def end(self) -> Iterator[OutOfMemory]:
        """What is left when the output has ended."""
        yield from self.feed(b"\n")
        if self._current is not None:
            yield self._current
            self._current = None

    def _line(self, line: str) -> Iterator[OutOfMemory]:
        begin = _BEGIN.search(line) or _BEGIN_ASYNC.search(line)
        if begin is not None:
            if self._current is not None:
                yield self._current
            self._begin(begin)
            return
        tensor = _TENSOR.search(line)
        if tensor is not None:
            yield _with_tensor(self._current or OutOfMemory(), tensor)
            self._current = None
        elif self._current is not None:
            self._current = _read(self._current, line)
            self._lines += 1
            if self._lines > MOST_LINES:
                yield self._current
                self._current = None

    def _begin(self, begin: re.Match[str]) -> None:
        self._lines = 0
        allocator = begin[1]
        if begin.re is _BEGIN:
            wanted, op = int(begin[3]), begin[4] or None
        else:
            wanted, op = int(begin[2]), None
        self._current = OutOfMemory(allocator=allocator, wanted_bytes=wanted, op=op, device=device_of(allocator))


def _read(found: OutOfMemory, line: str) -> OutOfMemory:
    """What one line within a dump adds."""
    if match := _STATS.search(line):
        name = {"Limit": "limit_bytes", "InUse": "in_use_bytes", "MaxInUse": "peak_bytes"}[match[1]]
        size = size_of(match[2])
        values: dict[str, Any] = {} if size is None else {name: size}
        return replace(found, **values)
    if match := _POOL.search(line):
        return replace(found, pool_bytes=size_of(match[1]), limit_bytes=found.limit_bytes or size_of(match[2]))
    if match := _CUDA_FREE.search(line):
        return replace(found, largest_free_bytes=int(match[1]), limit_bytes=int(match[2]))
    if match := _FREE_AT.search(line) or _FREE.search(line):
        size = size_of(match[1])
        return replace(found, largest_free_bytes=max(found.largest_free_bytes or 0, size or 0))
    if match := _CHUNKS.search(line):
        groups = [*found.chunks, [int(match[1]), int(match[2])]]
        return replace(found, chunks=sorted(groups, key=lambda group: -group[0] * group[1])[:5])
    return found
