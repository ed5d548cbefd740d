"""A clock inside TensorFlow's graphs: seconds and calls of each call site, in memory that Python reads for nothing.

A stopwatch around ops of a graph is `Timestamp -> ops -> Timestamp`, and one `InplaceAdd` to a row of
a buffer of TensorFlow's own. The buffer is an eager tensor that the graph captures; Python sees the same memory through
the buffer protocol, so that a reading costs no op (60 ns instead of 5 µs for a variable), and nothing is a variable
that a user's checkpoint or SavedModel would have to track.

Ran on TensorFlow 2.15.1, 2.21.0. Private: `auto_control_deps.MUST_RUN_ORDER_INSENSITIVE_STATEFUL_OPS`. Raw ops:
`Timestamp`, `InplaceAdd`, `InplaceUpdate`. TensorFlow must be initialised by the script: sites are only made while a
function is being traced, which comes after that.
"""

from __future__ import annotations

from typing import Any, Optional

from ..hooks.runtime import on_import

NAME = "tfgpu_tui_clock"
"""Part of the name of each clock op of ours: a script may have such ops of its own."""

ROWS = 128
"""Rows of a buffer. One of up to 128 elements would be captured as a constant, by value."""

blocked: Optional[str] = None
"""Set by the loops while no stopwatch may be put into a graph, with the reason in words."""

forbidden: Optional[str] = None
"""Set once TensorFlow itself forbade a clock in a graph of this process, with the reason in words."""

_buffers: list[tuple[Any, memoryview]] = []
_used = 0


@on_import("tensorflow.python.framework.auto_control_deps")
def _keep_order(module: Any) -> None:
    """Our clock ops must run, but must not be ordered against the user's own stateful ops (py_function, print)."""
    name = "MUST_RUN_ORDER_INSENSITIVE_STATEFUL_OPS"
    setattr(module, name, getattr(module, name) | {"Timestamp"})


def allowed() -> bool:
    """Whether a clock may be put into the graph that is being traced."""
    global forbidden
    from tensorflow.python.framework import config

    if blocked is not None:
        return False
    if config.is_op_determinism_enabled():
        # The op would fail at run time (tensorflow/core/kernels/logging_ops.cc, TimestampOp).
        forbidden = "tf.config.experimental.enable_op_determinism() is on: TensorFlow then forbids clocks in graphs"
        return False
    return True


def used() -> bool:
    """Whether a clock was put into any graph."""
    return _used > 0


class Row:
    """One row of a buffer: two numbers that graphs add to and Python reads."""

    def __init__(self) -> None:
        """Must be called while a function is traced, with TensorFlow running eagerly outside of it."""
        global _used
        if _used >= len(_buffers) * ROWS:
            _buffers.append(_allocate())
        self.tensor, self._memory = _buffers[-1]
        self.index = _used % ROWS
        _used += 1

    def read(self) -> tuple[float, int]:
        """Seconds and calls so far."""
        seconds = self._memory[self.index, 0]
        # The second number holds seconds + calls: see `add`.
        return seconds, round(self._memory[self.index, 1] - seconds)


def _allocate() -> tuple[Any, memoryview]:
    from tensorflow.python.framework import dtypes, ops
    from tensorflow.python.ops import gen_array_ops

    with ops.init_scope(), ops.device("/device:CPU:0"):
        zero = ops.convert_to_tensor(0.0, dtype=dtypes.float64)
        tensor = gen_array_ops.fill([ROWS, 2], zero)
    memory = memoryview(tensor)
    if memory.format != "d" or memory.shape != (ROWS, 2):
        raise TypeError(f"TensorFlow's buffer has an unexpected layout: {memory.format} {memory.shape}")
    return tensor, memory


def now(after: Any = ()) -> Any:
    """A clock op: unix seconds (float64) at the time when the ops or tensors of `after` are done."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import gen_logging_ops

    with ops.device("/device:CPU:0"), ops.control_dependencies(list(after)):
        return gen_logging_ops.timestamp(name=NAME)


def add(row: Row, start: Any, end: Any, count: Any = None) -> Any:
    """Add `[end - start, count]` to the row whenever the graph runs; `count` is 1 where it is None, else a tensor.

    Returns what a later op may depend on. The pair is made by broadcasting: two ops fewer than packing it. The
    constants wait for `start`: the executor hands every op without an input to another thread (executor.cc,
    `ScheduleReady`), and each costs the step some microseconds.
    """
    from tensorflow.python.framework import constant_op, dtypes, ops
    from tensorflow.python.ops import gen_array_ops, gen_math_ops

    with ops.device("/device:CPU:0"):
        with ops.control_dependencies([start]):
            index = constant_op.constant([row.index], dtypes.int32)
            unit = constant_op.constant([[0.0, 1.0]], dtypes.float64)
        if count is None:
            pair = gen_math_ops.sub(end, gen_math_ops.sub(start, unit))
        else:
            elapsed = gen_math_ops.sub(end, start)
            counted = gen_math_ops.add_v2(elapsed, gen_math_ops.cast(count, dtypes.float64))
            pair = gen_array_ops.reshape(gen_array_ops.pack([elapsed, counted]), [1, 2])
        written = gen_array_ops.inplace_add(row.tensor, index, pair)
    # Nothing reads the result: without this it would be pruned (`FuncGraph.control_outputs`, TensorFlow 2.15 to 2.21).
    ops.get_default_graph().control_outputs.append(written.op)
    return written


def after(batch: Any, noted: Any) -> Any:
    """The same batch, for a model that starts once `noted` is done.

    Else both are ready at the same moment, and the executor wakes a thread for each: on small steps that costs more
    than to let the few ops of the clock go first. Only for plain tensors; what else there is comes back as it is.
    """
    from tensorflow.python.framework import dtypes, ops, tensor
    from tensorflow.python.ops import gen_array_ops
    from tensorflow.python.util import nest

    parts = nest.flatten(batch)
    if any(not isinstance(p, tensor.Tensor) or p.dtype in (dtypes.variant, dtypes.resource) for p in parts):
        return batch
    held = []
    for part in parts:
        with ops.colocate_with(part.op, ignore_existing=True), ops.control_dependencies([noted]):
            held.append(gen_array_ops.identity(part))
    return nest.pack_sequence_as(batch, held)


def put(row: Row, first: Any, second: Any = None) -> Any:
    """Set the row's two numbers to clock readings that are kept for later (twice the same where there is one); returns
    what later ops should depend on."""
    from tensorflow.python.framework import constant_op, dtypes, ops
    from tensorflow.python.ops import gen_array_ops

    with ops.device("/device:CPU:0"):
        index = constant_op.constant([row.index], dtypes.int32)
        pair = gen_array_ops.reshape(gen_array_ops.pack([first, first if second is None else second]), [1, 2])
        return now([gen_array_ops.inplace_update(row.tensor, index, pair)])


def kept(row: Row) -> Any:
    """The reading that `put` left in the row, as the graph finds it when it runs."""
    from tensorflow.python.framework import ops

    with ops.device("/device:CPU:0"):
        return row.tensor[row.index, 0]


def kept_pair(row: Row, after: Any = ()) -> Any:
    """Both readings that `put` left in the row, as the graph finds them once the ops or tensors of `after` are done."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import gen_array_ops

    with ops.device("/device:CPU:0"), ops.control_dependencies(list(after)):
        return gen_array_ops.unpack(row.tensor[row.index], num=2)


def tensors(value: Any) -> list[Any]:
    """The tensors of the current graph in a nested structure (composites, optionals and datasets opened)."""
    from tensorflow.python.util import nest

    if hasattr(value, "_variant_tensor"):
        return [value._variant_tensor]
    return [t for t in nest.flatten(value, expand_composites=True) if hasattr(t, "op")]
