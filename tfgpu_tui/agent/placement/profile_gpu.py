"""From what ran when on a GPU to what holds it up: copies during which it computes nothing, and products of matrices
that its tensor cores did not compute (pure).

Copies are told by CUPTI, with their direction in the name (`MemcpyH2D`) and their size in `memcpy_details`. How a
product was computed is known from the names of the kernels of cuBLAS and cuDNN alone. Both were seen with TensorFlow
2.21 on an NVIDIA H200 (`tests/agent/traces`); names of older GPUs are from NVIDIA's documentation and public profiles.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from .profile_trace import Run, own_node

Attribution = Mapping[str, Tuple[str, bool]]
Span = Tuple[float, float]

COPY, PAUSE = "Memcpy", ("Memcpy", "Memset")
DIRECTIONS = {"MemcpyH2D": "host to device", "MemcpyD2H": "device to host", "MemcpyP2P": "device to device"}
MOST_PRODUCTS, MOST_COPIES = 8, 16
LONGEST_NAME = 120
PRODUCT = re.compile(r"gemm|xmma|cutlass|nvjet|wgrad|dgrad|fprop|winograd|convolve|scudnn|\d+cudnn|gemv", re.IGNORECASE)
HELPER = re.compile(r"init_device_workspace|splitKreduce|Transform|Transpose|workspace", re.IGNORECASE)
"""Kernels around a product, which copy and sum."""
VECTOR = re.compile(r"gemv", re.IGNORECASE)
"""A matrix by a vector reads each number once: no arithmetic makes that quicker."""
TENSOR = re.compile(
    r"tensor(op)?_?\d|tensorop|hmma|imma|gmma|warpgroup|nvjet|tf32|bf16|884|1688|16816|_f16f16|fp16_s|h884",
    re.IGNORECASE,
)
PLAIN = re.compile(r"ffma|simt|[sdc]gemm|scudnn|gemmk1|gemmSN|alg\d_engine|_engine<|winograd|convolve", re.IGNORECASE)
TENSOR_CORES, PLAIN_CORES, UNKNOWN = "tensor cores", "plain", "unknown"


class Gpus(NamedTuple):
    """Milliseconds a step, over whole steps of the window."""

    copies: List[Dict[str, object]]
    """Rows as in the event, the longest first."""
    products: List[Dict[str, object]]
    arithmetic: Dict[str, float]


def look(runs: Iterable[Run], attribution: Attribution, window: Span, steps: int) -> Gpus:
    """`runs`: everything that ran; `window`: begin and end of so many whole steps, in microseconds."""
    by_device: Dict[str, List[Run]] = {}
    for run in runs:
        if run.device != "CPU":
            begin_us, end_us = max(run.begin_us, window[0]), min(run.end_us, window[1])
            if end_us > begin_us:
                by_device.setdefault(run.device, []).append(run._replace(begin_us=begin_us, end_us=end_us))
    copies: List[Dict[str, object]] = []
    products: Dict[Tuple[str, str, Optional[str]], float] = {}
    for device, own in by_device.items():
        copies += _copies(device, own, steps)
        for run in own:
            how = arithmetic_of(run.name)
            if how is not None:
                key = run.name[:LONGEST_NAME], how, attribution.get(own_node(run.node), (None, False))[0]
                products[key] = products.get(key, 0.0) + (run.end_us - run.begin_us) / 1e3 / steps
    arithmetic: Dict[str, float] = {}
    for (_, how, _), ms in products.items():
        arithmetic[how] = round(arithmetic.get(how, 0.0) + ms, 5)
    longest = sorted(products.items(), key=lambda item: -item[1])[:MOST_PRODUCTS]
    return Gpus(
        sorted(copies, key=lambda row: -float(str(row["ms"])))[:MOST_COPIES],
        [
            {"kernel": kernel, "arithmetic": how, "layer": layer, "ms": round(ms, 5)}
            for (kernel, how, layer), ms in longest
        ],
        arithmetic,
    )


def arithmetic_of(kernel: str) -> Optional[str]:
    """Which cores compute a kernel, from its name: `tensor cores`, `plain`, `unknown`; None for one that multiplies no
    matrices."""
    if not PRODUCT.search(kernel) or HELPER.search(kernel) or VECTOR.search(kernel):
        return None
    if TENSOR.search(kernel):
        return TENSOR_CORES
    return PLAIN_CORES if PLAIN.search(kernel) else UNKNOWN


def _copies(device: str, runs: List[Run], steps: int) -> List[Dict[str, object]]:
    """A row for each direction of one GPU's copies."""
    computes = union((run.begin_us, run.end_us) for run in runs if not run.name.startswith(PAUSE))
    out: List[Dict[str, object]] = []
    for name, direction in DIRECTIONS.items():
        own = [run for run in runs if run.name.startswith(name)]
        if own:
            spans = union((run.begin_us, run.end_us) for run in own)
            out.append(
                {
                    "direction": direction,
                    "device": device,
                    "ms": round(_length(spans) / 1e3 / steps, 5),
                    "alone_ms": round((_length(spans) - _overlap(spans, computes)) / 1e3 / steps, 5),
                    "bytes": round(sum(run.copied_bytes for run in own) / steps, 1),
                    "pageable_bytes": round(sum(run.copied_bytes for run in own if run.pageable) / steps, 1),
                    "runs": round(len(own) / steps, 2),
                }
            )
    return out


def union(spans: Iterable[Span]) -> List[Span]:
    """The same time without overlaps, in order."""
    out: List[Span] = []
    for begin_us, end_us in sorted(spans):
        if out and begin_us <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end_us)
        else:
            out.append((begin_us, end_us))
    return out


def _length(spans: List[Span]) -> float:
    return sum(end_us - begin_us for begin_us, end_us in spans)


def _overlap(one: List[Span], other: List[Span]) -> float:
    """Time that lies in both; each is in order and without overlaps."""
    at, found = 0, 0.0
    for begin_us, end_us in one:
        while at < len(other) and other[at][1] <= begin_us:
            at += 1
        i = at
        while i < len(other) and other[i][0] < end_us:
            found += min(end_us, other[i][1]) - max(begin_us, other[i][0])
            i += 1
    return found
