"""How long a distributed iterator waits for the other workers before it hands over a batch that it has: no input wait.

Where the data of a job of several workers ends, or may end, its iterators sum up in each call how many workers got a
batch, so that all of them stop together. A worker whose batch is there waits in that sum for the one whose batch is
late: for the exchange between workers, as in the step itself, and not for its own input.

Private API: `input_lib._calculate_replicas_with_values` (TensorFlow 2.15.1 and 2.21.0), called by `get_next` and
`get_next_as_optional` of `DistributedIteratorBase` alone, once the worker's own batches are there.
"""

from __future__ import annotations

import functools
import threading
import time
from threading import get_ident
from typing import Any, Optional

from ..hooks.runtime import executing_eagerly, on_import, switch_off
from . import clock, device_wait

HOOK = "other_workers"
_counter = time.perf_counter


class _Local(threading.local):
    seconds = 0.0
    read_before: Optional[float] = None
    """What was waited for results when an eager call asked the others: on a GPU their answer is read later."""
    stamps = False
    row: Optional[clock.Row] = None


_local = _Local()


def waited() -> float:
    """Seconds in which eager calls of this thread waited for the others, since this was asked last."""
    local = _local
    if local.read_before is None:
        return 0.0
    seconds = local.seconds + device_wait.waited(get_ident()) - local.read_before
    local.seconds, local.read_before = 0.0, None
    return seconds


def stamp() -> None:
    """From now on the wait is measured in the graph that this thread traces, until `stamped`."""
    _local.stamps, _local.row = True, None


def stamped() -> Optional[clock.Row]:
    """Where the graph adds up what it waited; None where it asks nobody."""
    row, _local.stamps, _local.row = _local.row, False, None
    return row


@on_import("tensorflow.python.distribute.input_lib")
def _asks(module: Any) -> None:
    original = module._calculate_replicas_with_values

    @functools.wraps(original)
    def with_values(strategy: Any, input_workers: Any, optionals: Any) -> Any:
        if not strategy.extended._in_multi_worker_mode():
            return original(strategy, input_workers, optionals)
        if not executing_eagerly():
            return _traced(original, strategy, input_workers, optionals)
        start = _counter()
        result = original(strategy, input_workers, optionals)
        _local.seconds, _local.read_before = _counter() - start, device_wait.waited(get_ident())
        return result

    module._calculate_replicas_with_values = with_values


def _traced(original: Any, strategy: Any, input_workers: Any, optionals: Any) -> Any:
    begun = _begin(optionals)
    result = original(strategy, input_workers, optionals)
    if begun is not None:
        try:
            row = clock.Row()
            clock.add(row, begun, clock.now([result]))
            _local.row = row
        except Exception as error:
            switch_off(HOOK, error)
    return result


def _begin(optionals: Any) -> Any:
    """The clock op once the worker's own batches are there; None where the wait is not to be measured."""
    if not _local.stamps:
        return None
    try:
        return clock.now(clock.tensors(optionals))
    except Exception as error:
        switch_off(HOOK, error)
        return None
