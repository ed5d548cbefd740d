"""On which device every layer really runs: collects TensorFlow's own final graph of the training function, once.

The collection is switched on when the first layer of a new graph is traced (TensorFlow's context is initialised by
then and the function is not yet instantiated) and off right after its first execution. Only a retrace switches it on
again, within a budget of time. `export_run_metadata` and the graph collection are what tf.summary.trace_on uses
(tensorflow/python/eager/context.py); ran with TF 2.15 and 2.21. While the script itself traces, we stay out.
"""

from __future__ import annotations

import atexit
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..hooks.runtime import after_execution, every, guarded, send
from ..hooks.tf_context import initialised_context
from . import eager, placement_compiled, placement_record
from . import reasons as placement_reasons
from .eager import EagerStep
from .graph import Traced, best
from .layers import Facts
from .names import Key
from .reasons import Reasons
from .rows import table

FREE_COLLECTIONS = 8
MAX_SHARE = 0.01
"""After the first few collections, retraces are looked at only while all cost less than this share of the time."""
ANALYSIS_PERIOD_S = 0.25


class _Collected(NamedTuple):
    graphs: List[Any]
    """GraphDefs."""
    traced: Traced
    layers: Dict[Key, Facts]


class _State:
    def __init__(self) -> None:
        self.collecting = False
        self.collections = 0
        self.cost_s = 0.0
        self.started_s = time.monotonic()
        self.graphs: List[_Collected] = []
        self.eager: List[EagerStep] = []
        self.reasons: Optional[Reasons] = None
        self.eager_only = False
        self.attribution: Dict[str, Tuple[str, bool]] = {}
        self.devices: Dict[str, str] = {}
        self.sent_training = False
        self.at_exit = False


_state = _State()


def script_traces() -> bool:
    """True while the script's own tf.summary.trace_on is active: it shares the switch and the collected graphs."""
    from tensorflow.python.ops import summary_ops_v2

    return getattr(summary_ops_v2, "_current_trace_context", None) is not None


def _within_budget() -> bool:
    elapsed_s = time.monotonic() - _state.started_s
    return _state.collections < FREE_COLLECTIONS or _state.cost_s < MAX_SHARE * elapsed_s


def _start() -> bool:
    if _state.collecting:
        return True
    context = initialised_context()
    if context is None or not _within_budget() or script_traces():
        return False
    context.enable_graph_collection()
    placement_compiled.begin()
    _state.collecting = True
    return True


@after_execution
def _collect(model: Any, phase: str, steps_total: int) -> None:
    """Takes the graphs right after an execution in which something was traced, on the training's thread."""
    if not _state.collecting:
        return
    _state.collecting = False
    recording, calls = placement_record.take(), placement_compiled.take()
    context = initialised_context()
    if context is None or script_traces():
        return
    begun_s = time.perf_counter()
    metadata = context.export_run_metadata()
    context.disable_graph_collection()
    _state.collections += 1
    graphs = [] if metadata is None else [function.post_optimization_graph for function in metadata.function_graphs]
    graphs += placement_compiled.graphs(calls)
    if graphs and recording.graphs:
        if not _state.at_exit:
            # The script may end before the agent's thread looks. Registered now, it runs before TensorFlow's own.
            _state.at_exit = True
            atexit.register(guarded("placement")(_analyse))
        _state.graphs.append(_Collected(graphs, Traced(recording), recording.facts()))
    _state.cost_s += time.perf_counter() - begun_s


def _observed(step: EagerStep) -> None:
    _state.eager.append(step)


@every(ANALYSIS_PERIOD_S)
def _analyse() -> None:
    """On the agent's own thread: turns what was collected into rows and drops it."""
    if initialised_context() is None:
        return  # nothing of TensorFlow's ran yet: Keras with another backend
    while _state.graphs:
        collected = _state.graphs.pop(0)
        begun_s = time.perf_counter()
        fields = _of_graphs(collected)
        _state.cost_s += time.perf_counter() - begun_s
        if fields is not None:
            _tell(fields, "graph")
    while _state.eager:
        step = _state.eager.pop(0)
        rows, _ = table(step.tallies, step.order, step.layers, reasons().gpu)
        if rows:
            _state.eager_only = not _state.attribution
            _state.sent_training = True
            _tell({"layers": rows, "ops": step.ops, "unattributed": step.unattributed}, "eager")


def _tell(fields: Dict[str, Any], source: str) -> None:
    known = reasons().known
    kernels = known.source if known is not None else None
    send("placement", source=source, predicted=not reasons().gpu, kernels=kernels, **fields)


def reasons() -> Reasons:
    """Why ops are not on the GPU of this machine, or would not be on one."""
    if _state.reasons is None:
        _state.reasons = placement_reasons.here(initialised_context())
    return _state.reasons


def _of_graphs(collected: _Collected) -> Optional[Dict[str, Any]]:
    """None where the graphs hold no layer, or only an evaluation's after the training's was reported."""
    traced = collected.traced
    result = best(collected.graphs, traced, reasons())
    if result is None or (_state.sent_training and not result.trains):
        return None
    _state.sent_training = _state.sent_training or result.trains
    rows, row_of = table(result.tallies, traced.stacks, collected.layers, reasons().gpu)
    _state.eager_only = False
    _state.attribution = {name: (row_of[stack], backward) for name, (stack, backward) in result.owners.items()}
    _state.devices = result.devices
    return {"layers": rows, "ops": result.ops, "unattributed": result.unattributed}


def eager_only() -> bool:
    """Whether a training step was observed that ran op by op, and none as a graph."""
    return _state.eager_only


def attribution() -> Dict[str, Tuple[str, bool]]:
    """Op of the training's final graph -> (its row's `layer`, whether it is of the backward pass); empty before it is
    known, and where the training runs eagerly."""
    return _state.attribution


def devices() -> Dict[str, str]:
    """Op of the training's final graph -> the device that it runs on, `GPU:0`; empty where `attribution` is."""
    return _state.devices


placement_record.install()
placement_record.on_tracing(_start)
eager.install(_observed, reasons)
