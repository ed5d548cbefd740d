"""Python loops of the script that tracing unrolled: each turn became a copy of its ops in the graph.

A look at a graph that is large and took long to trace: a sample of its ops is asked where it was made. Ops that many
turns of one loop made have one and the same stack; the turns of a loop over a model's layers read a weight each, those
of an unrolled one read the same weights again and again, or none.

APIs: `func_graph_from_py_func`, `Operation.traceback` (TensorFlow 2.15 to 2.21), whose frames are the script's own
lines, also where AutoGraph rewrote them.
"""

from __future__ import annotations

import ast
import functools
import linecache
import os
import threading
import time
from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..hooks.libraries import is_users
from ..hooks.runtime import guarded, on_import, send_latest
from ..hooks.user_function import short_name
from ..placement import placement_record
from ..placement.names import OPTIMIZER

HOOK = "unrolled"
MIN_OPS = 1500
MIN_S = 1.0
"""Of one trace. Below both, nothing is looked at."""
SAMPLE = 250
"""Ops of a graph that are asked where they were made; each takes some 0.1 ms."""
MOST = 0.5
"""Of the ops with a line of the script's, those that one loop made."""
MIN_COPIES = 16
MAX_LOOKS = 12
"""At graphs, in the life of the process."""
ENTRY = "func_graph_from_py_func"
_LOOPS = (ast.For, ast.While, ast.AsyncFor, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)
_counter = time.perf_counter

At = Tuple[str, int]
"""File and line."""


class Loop(NamedTuple):
    """A loop in a source file, by its first line."""

    file: str
    line: int


class Made(NamedTuple):
    """Where one op was made."""

    op: Any
    stack: Tuple[At, ...]
    """From the traced function inwards."""
    loops: Tuple[Loop, ...]
    """Of the script, that it was made within; outermost first."""


class Unrolled(NamedTuple):
    """What one graph holds of a loop."""

    loop: Loop
    share: float
    copies: int


_told: Dict[Loop, Dict[str, Any]] = {}
_local = threading.local()
_looks = 0


def loops_of(tree: ast.AST) -> List[Tuple[int, int]]:
    """First and last line of each loop in a source file, outermost first."""
    found = [(n.lineno, n.end_lineno or n.lineno) for n in ast.walk(tree) if isinstance(n, _LOOPS)]
    return sorted(found, key=lambda lines: (lines[0], -lines[1]))


def functions_of(tree: ast.AST) -> List[Tuple[int, int]]:
    """The same of its functions."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return [(n.lineno, n.end_lineno or n.lineno) for n in ast.walk(tree) if isinstance(n, kinds)]


@functools.lru_cache(maxsize=64)
def _source(file: str) -> Tuple[List[Tuple[int, int]], List[Tuple[int, int]]]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return [], []
    return loops_of(tree), functions_of(tree)


def loops_around(at: At, loops: Sequence[Tuple[int, int]], functions: Sequence[Tuple[int, int]]) -> List[Loop]:
    """The loops around a line, within the function that the line is in."""
    file, line = at
    begin = max((first for first, last in functions if first <= line <= last), default=0)
    return [Loop(file, first) for first, last in loops if begin <= first <= line <= last]


def _made(op: Any) -> Made:
    frames = [(frame.filename, frame.lineno, frame.name) for frame in op.traceback]
    entry = max((place for place, frame in enumerate(frames) if frame[2] == ENTRY), default=-1)
    stack = tuple((file, line) for file, line, _ in frames[entry + 1 :])
    loops: Dict[Loop, None] = {}
    for file, line in stack:
        if is_users(file):
            loops.update(dict.fromkeys(loops_around((file, line), *_source(file))))
    return Made(op, stack, tuple(loops))


def _spread(items: Sequence[Any], count: int) -> Sequence[Any]:
    """So many of them, evenly."""
    return items if len(items) <= count else [items[int(i * len(items) / count)] for i in range(count)]


def find(operations: Sequence[Any]) -> Optional[Unrolled]:
    """The loop that made most of what the script's lines made of a graph; None where there is none, or where its turns
    are no copies of each other."""
    sample = [_made(op) for op in _spread(operations, SAMPLE)]
    own = [made for made in sample if any(is_users(file) for file, _ in made.stack)]
    votes = Counter(loop for made in own for loop in made.loops)
    often = [(loop, count) for loop, count in votes.items() if count >= MOST * len(own)]
    for loop, count in sorted(often, key=lambda entry: -entry[1]):
        within = [made for made in own if loop in made.loops]
        copies = _copies(operations, within, loop)
        if copies >= MIN_COPIES:
            return Unrolled(loop, count / len(own), copies)
    return None


def _copies(operations: Sequence[Any], within: Sequence[Made], loop: Loop) -> int:
    """How often the loop's ops are in the graph: by the reads of one weight at one place, or else by the ops that were
    made at one place."""
    reads = [op for op in operations if op.type == "ReadVariableOp"]
    seen = [made for made in map(_made, _spread(reads, SAMPLE)) if loop in made.loops]
    if seen:
        # Each turn reads a weight once at one and the same place; a sample finds that less often than it is done.
        again = Counter((made.op.inputs[0].name, made.stack) for made in seen)
        usual = sorted(again.values())[len(again) // 2]
        return round(usual * max(1.0, len(reads) / SAMPLE))
    types = Counter(op.type for op in operations)
    pick = min(within, key=lambda made: types[made.op.type])
    alike = [op for op in operations if op.type == pick.op.type]
    asked = _spread(alike, SAMPLE)
    same = sum(made.stack == pick.stack for made in map(_made, asked))
    return round(same * len(alike) / len(asked))


def _updates(graph: Any) -> Optional[int]:
    """How often an optimizer was applied while the graph was traced; None where nobody noted it."""
    record = placement_record.recorded(graph)
    if record is None:
        return None
    return sum(OPTIMIZER in stack for _, _, stack in record.intervals)


@guarded(HOOK)
def _look(graph: Any, name: str, seconds: float) -> None:
    global _looks
    if _looks >= MAX_LOOKS:
        return
    _looks += 1
    operations = graph.get_operations()
    found = find(operations)
    if found is None:
        return
    before = _told.setdefault(found.loop, {"ops": 0, "seconds": 0.0, "traces": 0})
    before["ops"] = max(before["ops"], len(operations))
    before["seconds"] += seconds
    before["traces"] += 1
    send_latest(
        "unrolled_loop",
        key=found.loop,
        function=short_name(name),
        file=os.path.abspath(found.loop.file),
        line=found.loop.line,
        text=linecache.getline(found.loop.file, found.loop.line).strip()[:160],
        copies=found.copies,
        share=round(found.share, 3),
        updates=_updates(graph),
        **before,
    )


def _large(graph: Any, seconds: float) -> bool:
    return seconds >= MIN_S and placement_record.ops_in(graph) >= MIN_OPS


@on_import("tensorflow.python.framework.func_graph")
def _graphs(module: Any) -> None:
    original = module.func_graph_from_py_func

    @functools.wraps(original)
    def func_graph_from_py_func(name: Any, python_func: Any, *args: Any, **kwargs: Any) -> Any:
        start = _counter()
        graph = original(name, python_func, *args, **kwargs)
        seconds = _counter() - start
        if seconds >= MIN_S:
            _look_at_large(graph, name, seconds)
        return graph

    module.func_graph_from_py_func = func_graph_from_py_func


@guarded(HOOK)
def _look_at_large(graph: Any, name: Any, seconds: float) -> None:
    if _large(graph, seconds):
        _look(graph, str(name), seconds)
