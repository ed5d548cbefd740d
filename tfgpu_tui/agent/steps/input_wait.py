"""How long the training is blocked on its next batch: every place where TensorFlow hands one over.

Eager calls are timed around the call. Calls inside a graph get a stopwatch of `clock` when the graph is traced. A loop
`for x in dataset` inside a tf.function has no such call: AutoGraph makes a scan of it, whose body is timed from the
other side (wait = start of this body - end of the one before).

Private APIs, ran on TensorFlow 2.15.1 and 2.21.0: `_next_internal` and `get_next_as_optional` of `iterator_ops.
OwnedIterator`, `get_next` and `get_next_as_optional` of `input_lib.DistributedIteratorBase`, `input_lib._IterableInput.
reduce`, and `dataset_autograph._general_purpose_scan`.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Optional

from ..hooks.runtime import any_off, executing_eagerly, is_off, on_import, switch_off
from . import clock, fast, other_workers, overlap

HOOK = "input_wait"
NEEDED = frozenset(
    (
        HOOK,
        "clock.keep_order",
        *(f"{HOOK}.{name}" for name in ("iterators", "distributed_iterators", "loops_in_functions")),
    )
)
"""Without one of these hooks some waits are not seen: then none is told, for the sum would be too small."""
_counter = time.perf_counter


class EagerWait:
    """What one thread waited for in eager calls."""

    inside = False
    seconds = 0.0
    batches = 0
    batch_size: Optional[int] = None

    def __init__(self) -> None:
        self.iterator: Callable[[], Any] = lambda: None
        """The one that gave the last batch, weakly."""


class _Local(threading.local):
    def __init__(self) -> None:
        self.wait = EagerWait()
        self.loop: Optional[dict[int, int]] = None
        """While a loop over a distributed data set is traced: iterator, by identity -> the first of its sites."""


class Site:
    """One place in a graph that takes a batch."""

    def __init__(
        self,
        row: clock.Row,
        batch_size: Optional[int],
        work: Optional[overlap.Work] = None,
        again: bool = False,
        others: Optional[clock.Row] = None,
    ) -> None:
        self._row = row
        self._others = others
        """What of it was a wait for the other workers, who are asked in the same call."""
        self.batch_size = batch_size
        """First dimension of the batch where TensorFlow knows it while tracing; None where it varies."""
        self.work = work
        """The work that may hide what is waited here."""
        self.again = again
        """Whether another batch of the same iterator comes before it in the same graph, and perhaps work on that."""

    def read(self) -> tuple[float, int]:
        """Seconds that were waited for input here, and batches, so far."""
        seconds, batches = self._row.read()
        return (seconds if self._others is None else seconds - self._others.read()[0]), batches


_local = _Local()
sites: list[Site] = []
_same_loop: dict[int, int] = {}
"""Site -> an earlier one that gives batches to the same loop: together they count its steps."""

_wrappers: set[Any] = set()

ends: list[Callable[[Any], None]] = []
"""Called as (iterator) after an eager call for a batch found that there are no more. Must not raise."""

OnNext = Callable[[Any, float, float, float], None]
listeners: list[Callable[[Any, float], None]] = []
"""Called as (iterator, time of the call) before an eager call for a batch. Must not raise."""
arrivals: list[OnNext] = []
"""Called as (iterator, time of the call, time of the return, seconds of that in which other workers were waited for)
after an eager call that gave a batch. Must not raise."""


def eager() -> EagerWait:
    """What the calling thread waited for so far."""
    return _local.wait


def known() -> bool:
    """Whether all waiting is measured: False once a hook here failed, or while no stopwatch may be put into graphs."""
    return clock.blocked is None and clock.forbidden is None and not any_off(NEEDED)


def why_unknown() -> Optional[str]:
    """In words, where no hook failed: None then."""
    return clock.blocked or clock.forbidden


def overlaps() -> bool:
    """Whether batches were taken while the model may have worked, and when it did is not known."""
    return any((s.again or (s.work is not None and not s.work.stamped)) and s.read()[1] for s in sites)


def in_graphs() -> tuple[float, int]:
    """Seconds and batches of all stopwatches in graphs so far. About 0.3 µs for each."""
    seconds, batches = 0.0, 0
    for site in sites:
        s, n = site.read()
        seconds += s
        batches += n
    return seconds, batches


def by_site() -> list[tuple[float, int]]:
    """Seconds and batches of each stopwatch so far."""
    return [site.read() for site in sites]


def since(before: list[tuple[float, int]], now: list[tuple[float, int]]) -> tuple[float, int]:
    """Seconds and batches between two results of `by_site()`. A step may take one batch from each of several iterators:
    the site with the most says how many steps there were."""
    seconds, batches = 0.0, 0
    of_loops: dict[int, int] = {}
    for index, (s, n) in enumerate(now):
        seconds_before, batches_before = before[index] if index < len(before) else (0.0, 0)
        seconds += s - seconds_before
        taken = n - batches_before
        if taken and _same_loop:
            first = _same_loop.get(index, index)
            taken = of_loops[first] = of_loops.get(first, 0) + taken
        batches = max(batches, taken)
    return max(seconds, 0.0), batches


class BatchSize:
    """Which size of batch came in between two looks, from the sites that took one."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._thread = eager()
        self._batches = 0
        self.look()

    def look(self) -> Optional[int]:
        """The size of the batches since the last look, in graphs and in the thread that made this; None where it varies
        or is not known."""
        counts = [batches for _, batches in by_site()]
        before = self._counts + [0] * (len(counts) - len(self._counts))
        sizes = {sites[i].batch_size for i, count in enumerate(counts) if count > before[i]}
        if self._thread.batches > self._batches:
            sizes.add(self._thread.batch_size)
        self._counts, self._batches = counts, self._thread.batches
        return sizes.pop() if len(sizes) == 1 else None


def failed(iterator: Any, error: Exception) -> None:
    """An eager call for a batch raised."""
    if type(error).__name__ == "OutOfRangeError":
        for ended in ends:
            ended(iterator)


def is_ours(iterator: Any) -> bool:
    """Whether nobody else stands between an iterator's callers and this module's hook."""
    return type(iterator)._next_internal in _wrappers


def _wrap(original: Callable[..., Any], optional: bool) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_next(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = _local.wait
        if state.inside:  # a distributed iterator asks its parts: count once
            return original(self, *args, **kwargs)
        state.inside = True
        try:
            if not executing_eagerly():
                return _traced(original, self, args, kwargs, optional)
            start = _counter()
            for listener in listeners:
                listener(self, start)
            try:
                batch = original(self, *args, **kwargs)
            except Exception as error:
                failed(self, error)
                raise
            finally:
                end = _counter()
                others = min(other_workers.waited(), end - start)
                function = fast.fits.get(threading.get_ident())
                if function is None or function[0]:  # what a callback takes for itself is no wait of its fit
                    state.seconds += end - start - others
            state.batches += 1
            if state.iterator() is not self:
                state.iterator = weakref.ref(self)
                state.batch_size = _first_dimension(getattr(self, "_flat_output_shapes", ()))
            for listen in arrivals:
                listen(self, start, end, others)
            return batch
        finally:
            state.inside = False

    _wrappers.add(get_next)
    return get_next


def _traced(original: Callable[..., Any], iterator: Any, args: Any, kwargs: Any, optional: bool) -> Any:
    start = _begin()
    if start is None:
        return original(iterator, *args, **kwargs)
    from tensorflow.python.framework import ops

    other_workers.stamp()
    try:
        with ops.control_dependencies([start]):
            batch = original(iterator, *args, **kwargs)
    finally:
        others = other_workers.stamped()
    try:
        outputs = clock.tensors(batch)
        shapes = getattr(iterator, "_flat_output_shapes", None) or [t.shape for t in outputs]
        row, graph, arrived = clock.Row(), ops.get_default_graph(), clock.now(outputs)
        work = overlap.takes_a_batch(graph)
        asked, end, again = overlap.visible(graph, work, iterator, start, arrived)
        noted = clock.add(row, asked, end, batch.has_value() if optional else None)
        sites.append(Site(row, _first_dimension(shapes), work, again, others))
        if optional and _local.loop is not None:
            first = _local.loop.setdefault(id(iterator), len(sites) - 1)
            if first != len(sites) - 1:
                _same_loop[len(sites) - 1] = first
        if work is None and not optional:
            batch = clock.after(batch, noted)
    except Exception as error:
        switch_off(HOOK, error)
    return batch


def _begin() -> Any:
    """The clock op before a call in a graph; None where no stopwatch may be put there."""
    if is_off(HOOK) or not _stampable():
        return None
    try:
        return clock.now()
    except Exception as error:
        switch_off(HOOK, error)
        return None


def _stampable() -> bool:
    """Only functions of eager TensorFlow on this machine: no v1 graphs, no parameter servers, no TPUs.

    With several replicas, none inside of control flow: Keras 3.15's loop over `steps_per_execution` failed there.
    """
    from tensorflow.python.distribute import distribute_lib
    from tensorflow.python.framework import ops

    if any_off(NEEDED) or not ops.executing_eagerly_outside_functions() or not clock.allowed():
        return False
    strategy = distribute_lib.get_strategy()
    name = type(strategy).__name__
    if "ParameterServer" in name or "TPU" in name:
        return False
    outer = getattr(ops.get_default_graph(), "outer_graph", None)
    return strategy.num_replicas_in_sync == 1 or not hasattr(outer, "outer_graph")


def _first_dimension(shapes: Iterable[Any]) -> Optional[int]:
    for shape in shapes:
        if shape.rank:
            size: Optional[int] = shape[0]
            return size
    return None


@on_import("tensorflow.python.data.ops.iterator_ops")
def _iterators(module: Any) -> None:
    cls = module.OwnedIterator
    cls._next_internal = _wrap(cls._next_internal, optional=False)
    cls.get_next_as_optional = _wrap(cls.get_next_as_optional, optional=True)


@on_import("tensorflow.python.distribute.input_lib")
def _distributed_iterators(module: Any) -> None:
    cls = module.DistributedIteratorBase
    cls.get_next = _wrap(cls.get_next, optional=False)
    cls.get_next_as_optional = _wrap(cls.get_next_as_optional, optional=True)


@on_import("tensorflow.python.distribute.input_lib")
def _distributed_loops(module: Any) -> None:
    """`for x in distributed_dataset` in a function takes the first batch before the loop, the others in its body."""
    cls = module._IterableInput
    original = cls.reduce

    @functools.wraps(original)
    def reduce(self: Any, *args: Any, **kwargs: Any) -> Any:
        before, _local.loop = _local.loop, {}
        try:
            return original(self, *args, **kwargs)
        finally:
            _local.loop = before

    # AutoGraph must not rewrite this wrapper (api.py, `is_autograph_artifact`).
    vars(reduce)["autograph_info__"] = {}
    cls.reduce = reduce


@on_import("tensorflow.python.data.ops.dataset_autograph")
def _loops_in_functions(module: Any) -> None:
    original = module._general_purpose_scan

    @functools.wraps(original)
    def scan(dataset: Any, initial: Any, body: Callable[..., Any]) -> Any:
        try:
            stamps = _ScanStamps() if not is_off(HOOK) and _stampable() else None
            begun = None if stamps is None else stamps.begin()
        except Exception as error:
            switch_off(HOOK, error)
            stamps = None
        if stamps is None:
            return original(dataset, initial, body)
        from tensorflow.python.framework import ops

        with ops.control_dependencies([begun]):
            step = functools.partial(stamps.run, body)
            # `body` is converted already; AutoGraph must not read and rewrite our own source as well (api.py,
            # `is_autograph_artifact`).
            vars(step)["autograph_info__"] = {}
            return original(dataset, initial, step)

    module._general_purpose_scan = scan


class _ScanStamps:
    """Two rows for one loop: what it waited, and when its body last ended."""

    def __init__(self) -> None:
        self._waited = clock.Row()
        self._ended = clock.Row()
        self._site: Optional[Site] = None

    def begin(self) -> Any:
        """Stamps the begin of the loop; returns what the loop should depend on."""
        return clock.put(self._ended, clock.now())

    def run(self, body: Callable[..., Any], state: Any, inputs: Any) -> Any:
        from tensorflow.python.framework import ops

        graph = ops.get_default_graph()
        try:
            arrived = clock.now(clock.tensors(inputs))
            noted = clock.add(self._waited, clock.kept(self._ended), arrived)
            operations_before = len(graph.get_operations())
            # TensorFlow traces the body again where the state's shapes turn out to vary (scan_op.py): still one site.
            size = _first_dimension(t.shape for t in clock.tensors(inputs))
            if self._site is None:
                self._site = Site(self._waited, size)
                sites.append(self._site)
            self._site.batch_size = size
        except Exception as error:
            switch_off(HOOK, error)
            return body(state, inputs)
        with ops.control_dependencies([noted]):
            result = body(state, inputs)
        try:
            # Only stateful ops and results: waiting for every op would revive those that TensorFlow would have pruned.
            new = [o for o in graph.get_operations()[operations_before:] if o._is_stateful]
            clock.put(self._ended, clock.now(new + clock.tensors(result)))
        except Exception as error:
            switch_off(HOOK, error)
        return result
