"""TensorFlow's own live model of an input pipeline, joined with the user's functions (pure: a proto and stages in).

The proto is `tensorflow/core/framework/model.proto`: processing_time is summed over a stage's threads, in nanoseconds.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .pipeline_walk import READERS, Stage

KNOWN_RATIO = (3, 4)
"""NodeClass KNOWN_RATIO and ASYNC_KNOWN_RATIO: `ratio` inputs make one output."""
ASYNC = (2, 4, 6)
"""NodeClasses with a buffer of their own."""
ROOT = "Root"
READING = tuple(kind.lower() for kind in READERS)


class Node(NamedTuple):
    """A stage of the model proto, with how many of its elements make one of the root's (None where unknown)."""

    proto: Any
    per_root: Optional[float]


def family(kind: str) -> Tuple[str, ...]:
    """What a stage does, whichever variant of it runs: ParallelMapV2 -> (map,), MapAndBatch -> (map, batch)."""
    name = re.sub(r"V\d+$", "", kind)
    name = re.sub(r"^(LegacyParallel|Parallel|Finite|Forever|Empty|Memory|File|Padded|From)(?=[A-Z])", "", name)
    return tuple(part.lower() for part in re.split(r"And(?=[A-Z])", name))


def in_order(model: Any) -> List[Node]:
    """The proto's stages from source to model, the artificial root left out."""
    nodes: List[Node] = []
    seen = set()

    def visit(key: int, per_root: Optional[float]) -> None:
        if key in seen or key not in model.nodes:
            return
        seen.add(key)
        node = model.nodes[key]
        known = node.node_class in KNOWN_RATIO and per_root is not None
        for source in node.inputs:
            visit(source, per_root * max(node.ratio, 1.0) if known and per_root is not None else None)
        if node.name != ROOT:
            nodes.append(Node(node, per_root))

    visit(model.output, 1.0)
    return nodes


def delivered(model: Any) -> int:
    """How many batches the pipeline gave to the model so far."""
    return int(model.nodes[model.output].num_elements) if model.output in model.nodes else 0


def align(live: Sequence[Tuple[str, ...]], written: Sequence[Tuple[str, ...]]) -> Dict[int, List[int]]:
    """Index of a live stage -> indexes of the written ones that it runs: the longest common subsequence of families.

    TensorFlow adds stages (a prefetch), swaps them (Map for ParallelMap) and fuses them (map and batch), but keeps
    their order.
    """
    left = [(i, name) for i, names in enumerate(live) for name in names]
    right = [(i, name) for i, names in enumerate(written) for name in names]
    length = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            if left[i][1] == right[j][1]:
                length[i][j] = length[i + 1][j + 1] + 1
            else:
                length[i][j] = max(length[i + 1][j], length[i][j + 1])
    matched: Dict[int, List[int]] = {}
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i][1] == right[j][1]:
            matched.setdefault(left[i][0], []).append(right[j][0])
            i, j = i + 1, j + 1
        elif length[i + 1][j] >= length[i][j + 1]:
            i += 1
        else:
            j += 1
    return matched


def live_stages(model: Any, written: Sequence[Stage]) -> List[Dict[str, Any]]:
    """The stages as the `pipeline` event has them, with times."""
    nodes = in_order(model)
    matched = align([family(n.proto.name) for n in nodes], [family(s.kind) for s in written])
    batches = delivered(model)
    lost = {i for i, stage in enumerate(written) if stage.place is not None or stage.kind == "Shuffle"}
    lost -= {i for indexes in matched.values() for i in indexes}
    out: List[Dict[str, Any]] = []
    for index, node in enumerate(nodes):
        indexes = matched.get(index, [])
        for i in sorted(i for i in lost if indexes and i < indexes[0]):
            # A stage whose iterator is gone, because its data is read to the end: named, without times.
            lost.discard(i)
            out += graph_stages([written[i]])
        sources = [written[i] for i in indexes]
        if not sources or not all(stage.wrapping for stage in sources):
            out.append(_live(node, sources, batches))
    return out + graph_stages([written[i] for i in sorted(lost)])


def _live(node: Node, sources: Sequence[Stage], batches: int) -> Dict[str, Any]:
    proto = node.proto
    parameters = {p.name: p for p in proto.parameters}
    elements = int(proto.num_elements)
    self_us = proto.processing_time / elements / 1e3 if elements else None
    parallelism = _value(parameters.get("parallelism"))
    per_batch = node.per_root
    if per_batch is None and batches:
        per_batch = elements / batches
    row = named(proto.name, sources)
    buffer_size = _value(parameters.get("buffer_size"))
    if buffer_size is None:
        buffer_size = next((s.buffer_size for s in sources if s.buffer_size is not None), None)
    known_buffer = buffer_size is not None or proto.node_class in ASYNC
    row.update(
        self_us=self_us,
        elements=elements,
        per_batch_us=None if self_us is None or per_batch is None else self_us * per_batch / max(parallelism or 1, 1),
        parallelism=parallelism,
        autotuned=any(p.tunable for p in proto.parameters) if parameters else None,
        buffered=int(proto.buffered_elements) if known_buffer else None,
        buffer_size=buffer_size,
    )
    return row


def _value(parameter: Any) -> Optional[int]:
    """The value in use now; `state_value` is what the stage runs with, `value` what the model would like."""
    if parameter is None:
        return None
    return int(parameter.state_value or parameter.value)


def graph_stages(written: Sequence[Stage]) -> List[Dict[str, Any]]:
    """The stages as the `pipeline` event has them, without times."""
    out = []
    for stage in written:
        if stage.wrapping or stage.kind == "Options":
            continue
        row = named(stage.kind, [stage])
        automatic = stage.parallelism == -1 or stage.buffer_size == -1
        row.update(
            self_us=None,
            elements=None,
            per_batch_us=None,
            parallelism=stage.parallelism if stage.parallelism != -1 else None,
            autotuned=automatic if stage.parallelism is not None or stage.buffer_size is not None else None,
            buffered=None,
            buffer_size=stage.buffer_size if stage.buffer_size != -1 else None,
        )
        out.append(row)
    return out


def named(kind: str, sources: Sequence[Stage]) -> Dict[str, Any]:
    """Class, shown name, and the user's function of a stage."""
    place = next((stage.place for stage in sources if stage.place is not None), None)
    batch_size = next((stage.batch_size for stage in sources if stage.batch_size is not None), None)
    words = _words(kind)
    if place is not None:
        words[0] += f" {place.function}"
        if place.library is not None:
            words[0] += f" ({'Keras' if place.library in ('keras', 'tf_keras') else place.library})"
    if batch_size is not None:
        words[-1] += f" {batch_size}"
    title = " + ".join(words)
    return {
        "stage": kind,
        "name": title,
        "function": place.function if place else None,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "python": any(stage.python for stage in sources) if sources else None,
        "reads": any(stage.reads for stage in sources) or family(kind)[0] in READING,
    }


def _words(kind: str) -> List[str]:
    """`ParallelMapV2` -> [`Map`], `MapAndBatch` -> [`Map`, `Batch`]: parallelism is told apart from the name."""
    name = re.sub(r"V\d+$", "", kind)
    name = re.sub(r"^(LegacyParallel|Parallel|Finite|Forever|Memory)(?=[A-Z])", "", name)
    return re.split(r"And(?=[A-Z])", name)
