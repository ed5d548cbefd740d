"""The knob `input`: what the model is fed with, changed where every loop takes its batches from.

`prefetch` and `synthetic` change a dataset as its iterator is made, in fit and in loops of the script's own alike;
`parallel` changes each `map` and `interleave` as the script writes it, so that maps of Python functions are
parallel, too (the option of tf.data leaves those as they are). Evaluations keep their own data.

Private APIs, ran on TensorFlow 2.15.1 and 2.21.0: `iterator_ops.OwnedIterator._create_iterator`,
`OwnedIterator._dataset`, `multi_device_iterator_ops.OwnedMultiDeviceIterator.__init__`, `dataset_ops._VariantDataset`,
`dataset_autograph._general_purpose_scan`.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Optional

from ..hooks.libraries import library_of
from ..hooks.runtime import after_execution, asked_knobs, executing_eagerly, guarded, is_off, on_import, send_latest
from ..input.pipeline_walk import walk

HOOK = "knob_input"
AGENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KERAS, SCRIPT = "keras", "script"
LIBRARIES = ("tensorflow", "keras", "tf_keras")
PREFETCH, PARALLEL, SYNTHETIC = "prefetch", "parallel", "synthetic"
PASS_BATCHES = 1000
"""Batches in one pass over synthetic input where nobody can say how many there would be."""
STOP_AFTER_STEPS = 900
"""Training steps after which a run on such input ends: enough to measure, and before the first pass does."""
UNKNOWN_CARDINALITY = -2
AUTOTUNE = -1

_asked = asked_knobs().get("input")


class _State:
    def __init__(self) -> None:
        self.changed = 0
        """Datasets, or maps, that the knob changed."""
        self.unchanged: Optional[str] = None
        """Why a dataset was left as it is."""
        self.endless = False
        self.told: Any = None


_state = _State()
_inside = threading.local()


# -- prefetch and synthetic: the dataset of each iterator


@guarded(HOOK)
def _fed(dataset: Any) -> Any:
    """What the model is fed with in place of this dataset; None where it stays."""
    if getattr(_inside, "distributed", False):
        return None
    # Not at the top: this module is loaded first, and theirs would take its place in the order of the hooks.
    from ..input import pipeline

    taker = _taker()
    use = pipeline.use_of(dataset) if taker == KERAS else None
    if taker is None or (taker == KERAS and (use is None or use.phase != "train")):
        return None
    eagerly = executing_eagerly()
    made = vars(dataset).get("_tfgpu_fed") if eagerly else None
    if made is None or made[0] != use:
        changed = _prefetched(dataset) if _asked == PREFETCH else _repeated(dataset, use is not None and use.counted)
        if eagerly and changed is not None:
            changed = _alone(changed)
        made = (use, changed)
        if eagerly:
            # The next epoch's iterator finds the batch that is already in memory.
            vars(dataset)["_tfgpu_fed"] = made
    _state.changed += made[1] is not None
    return made[1]


def _alone(dataset: Any) -> Any:
    """The same dataset as an object that does not hold those it was made of: one of these is to hold it."""
    from tensorflow.python.data.ops import dataset_ops

    return dataset_ops._VariantDataset(dataset._variant_tensor, dataset.element_spec)


def _taker() -> Optional[str]:
    """Who asks for the iterator, KERAS or SCRIPT; None for a layer that adapts itself to its data."""
    taker = None
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(AGENT) and f"{os.sep}tensorflow{os.sep}" not in file:
            if library_of(file) not in ("keras", "tf_keras"):
                return taker or SCRIPT
            if frame.f_code.co_name == "adapt":
                return None
            taker = KERAS
        frame = frame.f_back
    return taker or SCRIPT


def _prefetched(dataset: Any) -> Any:
    from tensorflow.python.data.ops import options as options_lib

    stages = [stage.kind for stage in walk(dataset) if stage.kind not in ("Options", "Model")]
    # Asking a dataset for its options in a graph makes TensorFlow warn.
    autotune = not executing_eagerly() or dataset.options().autotune.enabled is not False
    if autotune and stages and stages[-1] == "Prefetch":
        _state.unchanged = "the pipeline already ends with prefetch"
        return None
    options = options_lib.Options()
    options.autotune.enabled = True
    logger = logging.getLogger("absl")
    said, logger.disabled = logger.disabled, True  # "Changing the value of option enabled from False to True."
    try:
        return dataset.prefetch(AUTOTUNE).with_options(options)
    finally:
        logger.disabled = said


def _repeated(dataset: Any, counted: bool) -> Any:
    """The first batch as often as there are batches; for ever where Keras counts them."""
    from tensorflow.python.ops import array_ops, math_ops

    from ..steps import stopping

    first = dataset.take(1).cache()
    if counted:
        return first.repeat()
    count = dataset.cardinality()
    if executing_eagerly() and int(count) == UNKNOWN_CARDINALITY:
        _state.endless = True
        stopping.stop_at(STOP_AFTER_STEPS)
    unknown = math_ops.equal(count, UNKNOWN_CARDINALITY)
    return first.repeat(array_ops.where_v2(unknown, math_ops.cast(PASS_BATCHES, count.dtype), count))


@on_import("tensorflow.python.data.ops.iterator_ops")
def _iterators(module: Any) -> None:
    if _asked not in (PREFETCH, SYNTHETIC):
        return
    cls = module.OwnedIterator
    original = cls._create_iterator

    @functools.wraps(original)
    def _create_iterator(self: Any, dataset: Any) -> Any:
        fed = _fed(dataset)
        made = original(self, dataset if fed is None else fed)
        if fed is not None:
            self._dataset = dataset  # whose Python functions it needs
        return made

    cls._create_iterator = _create_iterator


@on_import("tensorflow.python.data.ops.multi_device_iterator_ops")
def _multi_device(module: Any) -> None:
    if _asked not in (PREFETCH, SYNTHETIC):
        return
    cls = module.OwnedMultiDeviceIterator
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, dataset: Any = None, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        fed = None if dataset is None else _fed(dataset)
        before = getattr(_inside, "distributed", False)
        _inside.distributed = True  # the devices' own iterators take from this one
        try:
            original(self, dataset if fed is None else fed, *args, **kwargs)
        finally:
            _inside.distributed = before

    cls.__init__ = __init__


@on_import("tensorflow.python.data.ops.dataset_autograph")
def _loops_in_functions(module: Any) -> None:
    if _asked not in (PREFETCH, SYNTHETIC):
        return
    original = module._general_purpose_scan

    @functools.wraps(original)
    def scan(dataset: Any, initial: Any, body: Callable[..., Any]) -> Any:
        fed = _fed(dataset)
        return original(dataset if fed is None else fed, initial, body)

    module._general_purpose_scan = scan


# -- parallel: each map as it is written


@on_import("tensorflow.python.data.ops.dataset_ops")
def _maps(module: Any) -> None:
    if _asked != PARALLEL:
        return
    for name in ("map", "interleave"):
        setattr(module.DatasetV2, name, _made_parallel(getattr(module.DatasetV2, name), name))


def _made_parallel(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    # DatasetV2.map(map_func, num_parallel_calls, …), interleave(map_func, cycle_length, block_length, …).
    position = 1 if name == "map" else 3

    @functools.wraps(original)
    def parallel(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked = args[position] if len(args) > position else kwargs.get("num_parallel_calls")
        file = sys._getframe(1).f_code.co_filename
        if asked is None and not kwargs.get("synchronous") and library_of(file) not in LIBRARIES:
            if len(args) > position:
                args = (*args[:position], AUTOTUNE, *args[position + 1 :])
            else:
                kwargs["num_parallel_calls"] = AUTOTUNE
            _state.changed += 1
        return original(self, *args, **kwargs)

    # AutoGraph leaves what carries this alone (tensorflow/python/autograph/impl/api.py, `is_autograph_artifact`).
    vars(parallel)["autograph_info__"] = {}
    return parallel


# -- what is in force


@after_execution
def _in_force(model: Any, phase: str, steps: int) -> None:
    if _asked is None or phase != "train":
        return
    value = None if is_off(HOOK) else _asked if _state.changed else SCRIPT
    told = (value, _note())
    if told != _state.told:
        _state.told = told
        send_latest("knobs", key="input", in_force={"input": told[0]}, notes={"input": told[1]})


def _note() -> str:
    if is_off(HOOK):
        return "the part of the monitor that applies it failed: what is in force is not known"
    if _state.changed:
        if _asked == PARALLEL:
            maps = "1 map runs" if _state.changed == 1 else f"{_state.changed} maps run"
            return f"{maps} in parallel that did not; the order of the elements is the same"
        if _asked == PREFETCH:
            return "prefetch(AUTOTUNE) at the end of the pipeline, autotune on"
        end = f"; how long the data is was not known, so the run ends after {STOP_AFTER_STEPS} steps"
        return "the first batch again and again: losses and metrics mean nothing" + (end if _state.endless else "")
    if _state.unchanged is not None:
        return _state.unchanged
    if _asked == PARALLEL:
        return "no tf.data map here that was not parallel already"
    return "no tf.data pipeline fed the training"
