"""The rows of the placement table: the user's layers as a tree in the model's order, then input, loss and optimizer."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional

from . import reasons as why
from .graph import Tally
from .kernels import HOST
from .layers import Facts, own_variables, recurrent, shown
from .names import INPUT, LOSS, OPTIMIZER, Key, Stack

MAX_ROWS = 1200
"""More rows than a person reads; an event has a limit of 1 MiB. Deeper layers count in their parents' rows then."""


class _Place(NamedTuple):
    """A row before it is written: where it stands in the tree, and everything that was counted at its calls."""

    path: str
    depth: int
    counted: Tally
    calls: List[int]


class Table(NamedTuple):
    """The rows, and which of them a stack counts in."""

    rows: List[Dict[str, Any]]
    row_of: Dict[Stack, str]


def table(tallies: Dict[Stack, Tally], order: Dict[Stack, int], layers: Dict[Key, Facts], gpu: bool) -> Table:
    """One dictionary a row, as in the `placement` event. `gpu`: this machine has one (see `reasons`)."""
    depth = max(map(len, [*order, *tallies]), default=0)
    merged = _merge_shown(tallies, order, layers, depth)
    while len(merged) > MAX_ROWS and depth > 2:
        depth -= 1
        merged = _merge_shown(tallies, order, layers, depth)
    ordered = [stack for stack in merged if isinstance(stack[0], int)]
    hidden_root = _hidden_root(ordered, merged, layers)
    below: Dict[Key, List[Facts]] = {}
    for stack in ordered:
        for key in stack[:-1]:
            below.setdefault(key, []).append(layers[stack[-1]])
    places: Dict[Key, _Place] = {}
    calls: Counter[Stack] = Counter()
    for stack, count in order.items():
        if _visible(stack, layers) == stack:
            calls[stack] += count
    for stack in ordered:
        if stack == (hidden_root,) and not merged[stack].ops:
            continue
        path = stack[1:] if stack[0] == hidden_root and len(stack) > 1 else stack
        name = "/".join(layers[key].name for key in path)
        place = places.setdefault(stack[-1], _Place(name, len(path) - 1, Tally(), []))
        # A layer that is called at two places in the model has one row, at the first of them.
        place.counted.add(merged[stack])
        place.calls.append(calls.get(stack, 0))
    out = [_layer_row(place, layers[key], below.get(key, []), gpu) for key, place in list(places.items())[:MAX_ROWS]]
    rest = Tally()
    for place in list(places.values())[MAX_ROWS:]:
        rest.add(place.counted)
    if rest.ops:
        out.append(_row(f"({len(places) - MAX_ROWS} more layers)", 0, rest, gpu))
    front = [_row(INPUT, 0, merged[(INPUT,)], gpu)] if (INPUT,) in merged else []
    out = front + out + [_row(str(key), 0, merged[(key,)], gpu) for key in (LOSS, OPTIMIZER) if (key,) in merged]
    last = {stack: _visible(stack, layers)[:depth][-1] for stack in tallies}
    return Table(out, {stack: places[key].path if key in places else str(key) for stack, key in last.items()})


def _merge_shown(
    tallies: Dict[Stack, Tally], order: Dict[Stack, int], layers: Dict[Key, Facts], deepest: int
) -> Dict[Stack, Tally]:
    merged: Dict[Stack, Tally] = {}
    # A preprocessing layer in a dataset's map is traced too, but runs elsewhere.
    running = {stack[0] for stack in tallies}
    for stack in [stack for stack in order if stack[0] in running] + list(tallies):
        visible = _visible(stack, layers)[:deepest]
        for depth in range(1, len(visible)):
            merged.setdefault(visible[:depth], Tally())
        merged.setdefault(visible, Tally())
    for stack, counted in tallies.items():
        merged[_visible(stack, layers)[:deepest]].add(counted)
    return merged


def _visible(stack: Stack, layers: Dict[Key, Facts]) -> Stack:
    """The loss and the optimizer are rows of their own, wherever they are called."""
    special = next((key for key in stack if isinstance(key, str)), None)
    return (special,) if special else shown(stack, layers)


def _hidden_root(ordered: List[Stack], merged: Dict[Stack, Tally], layers: Dict[Key, Facts]) -> Optional[Key]:
    """The model itself needs no row and no part in the paths where everything is inside it."""
    roots = {stack[0] for stack in ordered}
    if len(roots) != 1:
        return None
    (root,) = roots
    return root if layers[root].model and len(ordered) > 1 else None


def _layer_row(place: _Place, layer: Facts, nested: List[Facts], gpu: bool) -> Dict[str, Any]:
    counted = place.counted
    row = _row(place.path, place.depth, counted, gpu)
    devices, parameters = own_variables(layer, nested)
    row.update(
        {
            "class": layer.cls,
            "variables": devices,
            "parameters": parameters,
            "calls": sum(place.calls) or None,
        }
    )
    row["dtype"] = "float64" if counted.float64 else layer.dtype
    row["policy"] = layer.policy
    row["recurrent"] = recurrent(layer, dict(counted.recurrent), gpu)
    if row["recurrent"] is not None and row["recurrent"]["blocked_by"]:
        missing = "no cuDNN kernel: " + ", ".join(row["recurrent"]["blocked_by"])
        row["reason"] = f"{row['reason']}; {missing}" if row["reason"] else missing
    return row


def _row(path: str, depth: int, counted: Tally, gpu: bool) -> Dict[str, Any]:
    asked, came = why.asked_words(counted.asked, bool(counted.xla))
    said = [words for words in (came, why.cause_words(counted.causes, gpu)) if words]
    row: Dict[str, Any] = {
        "layer": path,
        "class": "",
        "depth": depth,
        "forward": dict(counted.forward.most_common()),
        "backward": dict(counted.backward.most_common()),
        "variables": [],
        "parameters": None,
        "dtype": "float64" if counted.float64 else None,
        "policy": None,
        "xla": bool(counted.xla) if counted.ops else None,
        "asked": asked,
        "reason": "; ".join(said) or None,
        "calls": None,
        "predicted": None if gpu else _predicted(counted),
        "recurrent": None,
    }
    found = {
        "not_on_gpu": why.listed(counted.causes),
        "copies": {f"{a} > {b}": n for (a, b), n in counted.copies.most_common()},
        "variable_copies": counted.variable_copies,
        "float64_ops": counted.float64,
        "loops": counted.loops,
    }
    row.update({name: value for name, value in found.items() if value})
    return row


def _predicted(counted: Tally) -> Optional[Dict[str, int]]:
    """Ops that a GPU would run, that would stay on the CPU, and that work in host memory by design; None under XLA,
    which compiles for one device."""
    if counted.xla or not counted.ops:
        return None
    host = sum(n for (_, cause), n in counted.causes.items() if cause.why == HOST)
    cpu = sum(counted.causes.values()) - host
    return {"GPU": counted.ops - cpu - host, "CPU": cpu, "host": host}
