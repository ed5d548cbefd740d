"""Which stage of the input pipeline takes the time: TensorFlow's own model of the live iterator, once a second.

`IteratorGetModelProto` (TF 2.17 and later, only with autotune on) costs about 0.15 ms; it is read from the agent's
thread while the training runs, and once more on the training's thread at the end of an epoch and of a loop, before
the iterator dies. Elsewhere the graph is sent without times.
"""

from __future__ import annotations

import functools
import time
import weakref
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ..hooks.marks import Marks
from ..hooks.runtime import every, executing_eagerly, guarded, on_import, send_latest
from ..hooks.tf_context import runs_elsewhere
from ..steps import input_wait
from . import pipeline_user
from .dataset_facts import dataset_fields
from .pipeline_model import delivered, graph_stages, live_stages
from .pipeline_walk import Stage, options_of, walk

PERIOD_S = 1.0
FIRST_PERIOD_S = 0.2
FIRST_S = 3.0
"""After an iterator began it is read every FIRST_PERIOD_S for so long."""
CALLBACK_LISTS = ("keras.src.callbacks.callback_list", "keras.src.callbacks", "tf_keras.src.callbacks")
NO_PROTO = "this TensorFlow has no live model of the pipeline (2.17 and later have)"
NO_AUTOTUNE = "autotune is off in this pipeline: TensorFlow keeps no times"
SEVERAL_DEVICES = "this pipeline is distributed over devices: TensorFlow keeps no times for that"


_patched = Marks()
"""Classes that have the hook. See `hooks.marks`."""


class _Source:
    """An iterator that feeds the model, and what its dataset is made of. Keeps neither alive."""

    def __init__(self, iterator: Any, dataset: Any, note: Optional[str], phase: Optional[str]) -> None:
        self.iterator: Callable[[], Any] = weakref.ref(iterator)
        self.dataset: Callable[[], Any] = weakref.ref(dataset)
        self.note = note
        self.untold = phase is None
        """A loop of the script's own: Keras did not say what this dataset is."""
        self.began_s = time.monotonic()
        self.calls_before = pipeline_user.user_calls()
        self.written: Optional[List[Stage]] = None
        self.options: Dict[str, Optional[bool]] = {}
        self.sent_elements = 0
        self.sent_nodes = 0
        self.moved = 0
        self.sent_graph: Optional[Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]] = None


class Use(NamedTuple):
    """What Keras takes a dataset for."""

    dataset: Callable[[], Any]
    phase: str
    counted: bool


class _State:
    def __init__(self) -> None:
        self.uses: Dict[int, Use] = {}
        self.distributed: Optional[Use] = None
        """The distributed dataset named last: its iterators are made from clones of it."""
        self.training: List[_Source] = []
        """The two newest: Keras 3 makes the next epoch's iterator before the epoch's end is told."""
        self.other: Optional[_Source] = None
        self.polled_s = 0.0
        self.written: Optional[List[Dict[str, Any]]] = None
        """The stages of the pipeline told last without times, as they are written."""


_state = _State()


def feeds(dataset: Any, phase: str, counted: bool = False) -> None:
    """Says what a dataset is for (`train`, `test` or `predict`), before it is iterated; `counted` where Keras itself
    counts its batches and ends the epoch."""
    known = Use(weakref.ref(dataset), phase, counted)
    _state.uses = {key: use for key, use in _state.uses.items() if use.dataset() is not None}
    _state.uses[id(dataset)] = known
    if not hasattr(dataset, "_variant_tensor"):
        _state.distributed = known


def use_of(dataset: Any) -> Optional[Use]:
    """What Keras said that it takes a dataset for; None for a dataset of the script's own loops."""
    use = _state.uses.get(id(dataset))
    if use is not None and use.dataset() is dataset:
        return use
    distributed = _state.distributed
    return distributed if distributed is not None and distributed.dataset() is not None else None


def _phase_of(dataset: Any) -> Optional[str]:
    use = use_of(dataset)
    return None if use is None else use.phase


def _of_one_device(dataset: Any) -> bool:
    """Whether TensorFlow made it for one of several devices: a `_PerDeviceGenerator`, a
    `_ReincarnatedPerDeviceGenerator` and what it puts behind them (multi_device_iterator_ops.py, 2.15 to 2.21)."""
    while dataset is not None and not type(dataset).__name__.endswith("PerDeviceGenerator"):
        dataset = getattr(dataset, "_input_dataset", None)
    return dataset is not None


@guarded("pipeline")
def _began(iterator: Any, dataset: Any, note: Optional[str] = None) -> None:
    if not executing_eagerly() or _of_one_device(dataset) or runs_elsewhere():
        return
    phase = _phase_of(dataset)
    source = _Source(iterator, dataset, note, phase)
    if phase == "train":
        _state.training = [source, *_state.training[:1]]
    elif phase is None:
        # A custom loop: its first dataset is the training's, as long as the script keeps it.
        current = _state.other
        if current is None or current.dataset() is None or current.dataset() is dataset:
            _state.other = source
    elif not _state.training and _state.other is None:
        _state.other = source


def _candidates() -> List[_Source]:
    """What may feed the training now, the likeliest first; a fit that ended gives way to a loop of the script's own."""
    return [*_state.training, *([_state.other] if _state.other is not None else [])]


def model_proto(iterator: Any) -> Optional[bytes]:
    """The serialized ModelProto of a live iterator; None where this TensorFlow or this pipeline has none.

    Raw op IteratorGetModelProto; in TF 2.17 to 2.21.
    """
    from tensorflow.python.framework import errors
    from tensorflow.python.ops import gen_experimental_dataset_ops

    read = getattr(gen_experimental_dataset_ops, "iterator_get_model_proto", None)
    if read is None:
        return None
    try:
        proto: bytes = read(iterator._iterator_resource).numpy()
    except errors.OpError:
        return None
    return proto


def moved() -> int:
    """Elements that passed through the stages of the pipelines that feed the training, as last read: it grows while a
    shuffle buffer fills, long before the first batch."""
    return sum(source.moved for source in _candidates())


def has_model_proto() -> bool:
    """True where this TensorFlow can say how long each stage takes."""
    from tensorflow.python.ops import gen_experimental_dataset_ops

    return hasattr(gen_experimental_dataset_ops, "iterator_get_model_proto")


@every(FIRST_PERIOD_S)
def _poll() -> None:
    """Often at first, so that a short run has stages too: at the end of its data a pipeline has lost half of them."""
    now_s = time.monotonic()
    candidates = _candidates()
    if candidates and (now_s - candidates[0].began_s < FIRST_S or now_s - _state.polled_s >= PERIOD_S):
        _state.polled_s = now_s
        report()


@guarded("pipeline")
def report() -> None:
    """Sends the stages of the pipeline that feeds the training, if there is anything new."""
    for source in _candidates():
        if source.iterator() is not None and _report(source):
            return


def _read_dataset(source: _Source) -> List[Stage]:
    dataset = source.dataset()
    if dataset is None:
        return []
    if hasattr(dataset, "_variant_tensor"):
        source.options = options_of(dataset)
    if source.untold:
        _tell_dataset(dataset)
    return walk(dataset)


def _why_no_times(source: _Source) -> Optional[str]:
    """Known without asking: TensorFlow prints a warning to the script's stderr for each question that it can't answer
    ("Local rendezvous is aborting with status: NOT_FOUND: Cannot find this iterator's analytical model")."""
    if not has_model_proto():
        return NO_PROTO
    return NO_AUTOTUNE if source.options.get("autotune") is False else None


def _report(source: _Source) -> bool:
    """False where this iterator gave nothing to the model yet."""
    if source.written is None:
        source.written = _read_dataset(source)
    note = source.note or _why_no_times(source)
    if note is None:
        # Held for this call alone: one that the script lets go of meanwhile ends in this thread.
        iterator = source.iterator()
        serialized = None if iterator is None else model_proto(iterator)
        del iterator
        if serialized is not None:
            return _send_live(source, source.written, serialized)
        note = source.note = NO_AUTOTUNE
    user = pipeline_user.described(source.calls_before)
    written = graph_stages(source.written)
    if not user and source.sent_graph is None and written == _state.written:
        return False  # an older iterator said more of the same pipeline: of this one nothing was asked yet
    stages = pipeline_user.name_generator(written, user)
    if (stages, user) != source.sent_graph:
        source.sent_graph, _state.written = (stages, user), written
        send_latest("pipeline", source="graph", stages=stages, user=user, note=note, options=source.options)
    return True


@guarded("pipeline.dataset")
def _tell_dataset(dataset: Any) -> None:
    batches = int(dataset.cardinality())
    fields = dataset_fields(dataset)
    send_latest(
        "dataset", key="train", kind="tf.data", phase="train", batches=batches if batches >= 0 else None, **fields
    )


def _send_live(source: _Source, written: List[Stage], serialized: bytes) -> bool:
    from tensorflow.core.framework import model_pb2

    model = model_pb2.ModelProto.FromString(serialized)
    elements = delivered(model)
    source.moved = sum(node.num_elements for node in model.nodes.values())
    # What ran out of data drops its inner iterators, and their times with them.
    if elements > source.sent_elements and len(model.nodes) >= source.sent_nodes:
        source.sent_elements, source.sent_nodes = elements, len(model.nodes)
        user = pipeline_user.described(source.calls_before)
        stages = pipeline_user.name_generator(live_stages(model, written), user)
        send_latest("pipeline", source="model_proto", stages=stages, user=user, options=source.options)
    return elements > 0


@on_import("tensorflow.python.data.ops.iterator_ops")
def _iterators(module: ModuleType) -> None:
    """OwnedIterator._create_iterator is the one place where a dataset's iterator is made eagerly (2.15 to 2.21)."""
    cls = module.OwnedIterator
    create = cls._create_iterator

    @functools.wraps(create)
    def _create_iterator(self: Any, dataset: Any) -> Any:
        made = create(self, dataset)
        _began(self, dataset)
        return made

    cls._create_iterator = _create_iterator


@guarded("pipeline")
def _ends(iterator: Any) -> None:
    ended = [iterator, *(getattr(part, "_iterator", None) for part in getattr(iterator, "_iterators", ()))]
    if any(source.iterator() is part for source in _candidates() for part in ended if part is not None):
        report()


input_wait.ends.append(_ends)


@on_import("tensorflow.python.data.ops.multi_device_iterator_ops")
def _multi_device(module: ModuleType) -> None:
    cls = module.OwnedMultiDeviceIterator
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, dataset: Any = None, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, dataset, *args, **kwargs)
        if dataset is not None:
            _began(self, dataset, SEVERAL_DEVICES)

    cls.__init__ = __init__


def _at_epoch_end(module: ModuleType) -> None:
    cls = module.CallbackList
    if _patched.get(cls):
        return  # Keras 3 shows the class under a second name
    _patched.put(cls, True)
    for name in ("on_epoch_end", "on_train_end"):
        setattr(cls, name, _then_report(getattr(cls, name)))


def _then_report(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        report()
        return original(self, *args, **kwargs)

    return call


for _name in CALLBACK_LISTS:
    on_import(_name)(_at_epoch_end)
