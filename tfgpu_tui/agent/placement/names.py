"""From op names of TensorFlow's final graph back to the layer that made the op (pure: strings and numbers only).

Name scopes alone can't tell: Keras 3 opens a layer's scope once for building and once for calling, so that a layer
used twice appears as `blk_1` and `blk_3`, while `blk_1` may be another layer's own name. So the agent notes, while a
function is traced, which range of the graph's ops each layer call made; this module turns those ranges into owners.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

Key = Union[int, str]
"""A layer by its id(), or one of the rows below."""
Stack = Tuple[Key, ...]
"""From the outermost call to the innermost."""
Interval = Tuple[int, int, Stack]
"""The ops with index start..end-1 of one graph were made while this stack was active."""

INPUT = "(input)"
LOSS = "(loss)"
OPTIMIZER = "(optimizer)"

GRADIENT_SCOPE = "gradient_tape/"
"""Prefix of an op made by a GradientTape: `_gradient_function` in tensorflow/python/eager/backprop.py (2.15-2.21)."""
GRADIENTS = "gradients/"
"""Prefix in a function that holds the gradients of another one, for a tape outside of it: then
`gradients/<forward op>_grad/…` (`_GradientsHelper` in tensorflow/python/ops/gradients_util.py, 2.15-2.22)."""

_INLINED = re.compile(r"((?:^|/)[^/]*PartitionedCall[^/]*/|/(?:body|cond|then|else|branch\d+)/_\d+/)")
"""What inlining puts in front of an op's own name: the call's or the loop's name."""


def is_layer(row: str) -> bool:
    """Not the input, the loss or the optimizer, which run beside the layers."""
    return not row.startswith("(")


@functools.lru_cache(maxsize=256)
def short_device(name: str) -> str:
    """`/job:localhost/replica:0/task:0/device:GPU:0` -> `GPU:0`; `?` where there is none."""
    tail = name.rsplit("/", 1)[-1]
    return (tail[len("device:") :] if tail.startswith("device:") else tail) or "?"


def asked_device(request: str) -> Optional[str]:
    """The device that the script asked for, from a traced op's `device`: `/device:GPU:3` -> `GPU:3`.

    A full name (`/job:…`) comes from a variable's or a strategy's own placement, not from the script's tf.device.
    """
    if not request or "/job:" in request:
        return None
    device = short_device(request)
    return device if ":" in device else None


def own_names(name: str) -> List[str]:
    """The names that an op of the final graph had in the traced graphs, innermost first.

    `StatefulPartitionedCall/rnn/while/body/_12/rnn/cell/MatMul` ->
    [`rnn/cell/MatMul`, `rnn/while`, `StatefulPartitionedCall`].
    An op of a body that was never recorded so falls back to its loop's or call's node.
    """
    if "PartitionedCall" not in name and "/_" not in name:
        return [name]
    parts: List[str] = []
    last = 0
    for match in _INLINED.finditer(name):
        closing = match.group(1)
        segment = name[last : match.start()] + (closing.rstrip("/") if "PartitionedCall" in closing else "")
        parts.append(segment.strip("/"))
        last = match.end()
    parts.append(name[last:])
    parts.reverse()
    return parts


def is_backward(parts: Sequence[str]) -> bool:
    """True for an op that a gradient made, from its `own_names`."""
    return any(GRADIENT_SCOPE in part or part.startswith(GRADIENTS) for part in parts)


def paint(op_names: Sequence[str], base: Stack, intervals: Iterable[Interval]) -> Dict[str, Stack]:
    """Op name -> the stack of its innermost interval; `base` for the others, where it isn't empty."""
    owner: Dict[str, Stack] = dict.fromkeys(op_names, base) if base else {}
    for start, end, stack in sorted(intervals, key=lambda interval: len(interval[2])):
        for name in op_names[start:end]:
            owner[name] = stack
    return owner


def paint_loss(op_names: Sequence[str], intervals: Iterable[Interval], owner: Dict[str, Stack]) -> None:
    """Gives the free ops between the last layer call and the first gradient (or the optimizer) to the loss.

    That is where a custom training step computes it, without any Keras loss object.
    """
    layers_end, optimizer_start = 0, len(op_names)
    for start, end, stack in intervals:
        if OPTIMIZER in stack:
            optimizer_start = min(optimizer_start, start)
        elif LOSS not in stack:
            layers_end = max(layers_end, end)
    if not layers_end:
        return
    free: List[str] = []
    for name in op_names[layers_end:optimizer_start]:
        if name.startswith(GRADIENT_SCOPE):
            owner.update(dict.fromkeys(free, (LOSS,)))
            return
        if name not in owner:
            free.append(name)


def scopes(owner: Dict[str, Stack]) -> Dict[str, Stack]:
    """Name scope -> the stack that made most of the forward ops in it."""
    votes = Counter(
        (name.rpartition("/")[0], stack) for name, stack in owner.items() if not name.startswith(GRADIENT_SCOPE)
    )
    # The last one written wins: the one with most votes.
    return {scope: stack for (scope, stack), _ in reversed(votes.most_common()) if scope}


def find(parts: Sequence[str], owner: Dict[str, Stack], scope_owner: Dict[str, Stack]) -> Optional[Stack]:
    """The stack that made an op of the final graph, from its `own_names`; None where nothing is known about it.

    A gradient belongs to the forward scope after its last `gradient_tape/` or its `gradients/`, for so it is named.
    """
    backward = is_backward(parts)
    for part in parts:
        if not backward and part in owner:
            return owner[part]
        gradient = part.rfind(GRADIENT_SCOPE)
        if gradient >= 0:
            part = part[gradient + len(GRADIENT_SCOPE) :]
        elif part.startswith(GRADIENTS):
            part = part[len(GRADIENTS) :]
        while part:
            found = owner.get(part) or scope_owner.get(part)
            if found:
                return found
            part = part.rpartition("/")[0]
    return None
