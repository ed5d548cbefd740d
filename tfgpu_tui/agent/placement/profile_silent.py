"""Whose the work is that leaves no op in a trace: ops too cheap to be told one by one, as those of a loop (pure).

TensorFlow's executor tells when it is at work on a thread, and in which turn of a loop. Such work belongs to what comes
of it: the layer whose op comes next. A loop's belongs to the layer of the ops of it that are told, or else to the one
whose op follows its last turn, if that has a loop in the graph.
"""

from __future__ import annotations

import bisect
from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .names import is_layer
from .profile_trace import Process, Run


class Group(NamedTuple):
    """Runs that make one row."""

    part: str
    layer: Optional[str]
    backward: bool
    kind: str
    device: str
    layout: bool = False
    """Put there by TensorFlow's layout optimizer."""


class _Turn(NamedTuple):
    """What an executor did in a turn of a loop after the first one."""

    begin_us: float
    turn: int
    group: Optional[Group]
    process: int
    """Its place among the processes; -1 for a run, whose group is known."""


def resolved(
    processes: Sequence[Process], grouped: Sequence[Tuple[Run, Group]], looped: Set[str]
) -> Tuple[List[Optional[Group]], Dict[str, float]]:
    """The group of each process, None where nothing follows; and row of the placement -> turns of the loop in it.
    `looped` are the rows that have a loop in the graph."""
    following = _Following([(run.begin_us, group) for run, group in grouped])
    layers = _Following([(run.begin_us, group) for run, group in grouped if _of_layer(group) and not run.turn])
    groups = [following.after(process.begin_us) for process in processes]
    turned = [_Turn(run.begin_us, run.turn, group, -1) for run, group in grouped if run.turn]
    turned += [_Turn(p.begin_us, p.turn, None, index) for index, p in enumerate(processes) if p.turn]
    counts: Dict[Tuple[str, bool], List[int]] = {}
    for loop in _loops(sorted(turned, key=lambda turn: (turn.begin_us, turn.turn)), layers):
        known = Counter(turn.group for turn in loop if turn.group is not None and _of_layer(turn.group))
        owner = known.most_common(1)[0][0] if known else _with_loop(layers.after(loop[-1].begin_us), looped)
        if owner is None or owner.layer is None:
            continue
        for turn in loop:
            if turn.process >= 0:
                groups[turn.process] = owner
        seen: Set[int] = {turn.turn for turn in loop}
        counts.setdefault((owner.layer, owner.backward), []).append(len(seen))
    turns: Dict[str, float] = {}
    for (layer, _), each in counts.items():
        turns[layer] = max(turns.get(layer, 0.0), float(sorted(each)[len(each) // 2]))
    return groups, turns


def _with_loop(follows: Optional[Group], looped: Set[str]) -> Optional[Group]:
    """Whose the loop is that a layer's op follows: where that layer has none, of the only layer that has one."""
    if follows is None or follows.layer in looped:
        return follows
    return follows._replace(layer=next(iter(looped))) if len(looped) == 1 else None


def _of_layer(group: Group) -> bool:
    return group.layer is not None and is_layer(group.layer)


class _Following:
    """What begins next."""

    def __init__(self, begun: List[Tuple[float, Group]]) -> None:
        begun = sorted(begun, key=lambda pair: pair[0])
        self._groups = [group for _, group in begun]
        self._begins = [begin_us for begin_us, _ in begun]

    def after(self, at_us: float) -> Optional[Group]:
        at = bisect.bisect_left(self._begins, at_us)
        return self._groups[at] if at < len(self._groups) else None

    def between(self, begin_us: float, end_us: float) -> bool:
        """Whether any begins then."""
        return bisect.bisect_left(self._begins, begin_us) < bisect.bisect_left(self._begins, end_us)


def _loops(turned: List[_Turn], layers: _Following) -> List[List[_Turn]]:
    """Apart by loop: turns count up, several at a time, until an op outside of the loop lies before a low number. A
    loop's first turns may run ahead of what it works on: they are a short one before it."""
    loops: List[List[_Turn]] = []
    highest: List[int] = []
    for turn in turned:
        if not loops or (2 * turn.turn <= highest[-1] and layers.between(loops[-1][-1].begin_us, turn.begin_us)):
            loops.append([])
            highest.append(0)
        loops[-1].append(turn)
        highest[-1] = max(highest[-1], turn.turn)
    out: List[List[_Turn]] = []
    for at, loop in enumerate(loops):
        ahead = out.pop() if out and 2 * highest[at - 1] <= highest[at] else []
        out.append(ahead + loop)
    return out
