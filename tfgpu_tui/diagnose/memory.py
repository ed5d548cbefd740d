"""Family E: memory of the GPU: reserved, run out of, and growth set otherwise than asked (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tfgpu_tui.core import oom, units
from tfgpu_tui.core.events import OutOfMemory
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding

NEARLY_ALL = 0.8
"""Of a GPU's memory, held by this run: what TensorFlow takes at its start without memory growth."""
HALF = 0.5
"""Of what is held: where the model used more, it is not called reserved only."""
TIMES, LOST_BYTES = 4, 4 << 30
"""What is held, against the most that was ever in use. The allocator takes regions that double in size, and CUDA's own
memory counts, too: a healthy training on an H200 held 3.1 times its peak, 2.8 GiB more (its recording
h200-time-by-layer)."""
ASYNC = "cuda_malloc_async"


def findings(state: RunState) -> Iterator[Finding]:
    """memory.oom, memory.preallocated, memory.fragmented: of the devices, whichever processes use them."""
    yield from _out_of_memory(state)
    yield from _preallocated(state)
    yield from _fragmented(state)


def of_process(state: RunState) -> Iterator[Finding]:
    """memory.growth_overridden: of a process."""
    yield from _growth_overridden(state)


# -- out of memory


def _failed(state: RunState) -> OutOfMemory | None:
    """The last dump with what the exception adds to it; or the exception's words alone, where there was no dump or the
    output could not be read."""
    told, said = state.out_of_memory, _said(state)
    if told is not None and said is not None and told.shape in (None, said.shape):
        told = replace(told, op=told.op or said.op, shape=told.shape or said.shape, dtype=told.dtype or said.dtype)
    failed = told or said
    if failed is not None and failed.wanted_bytes is None:
        failed = replace(failed, wanted_bytes=oom.tensor_bytes(failed.shape, failed.dtype))
    return failed


def _said(state: RunState) -> OutOfMemory | None:
    """What an exception says."""
    for error in filter(None, [state.error, *state.child_errors]):
        found = oom.from_exception(error.message) if error.exception == "ResourceExhaustedError" else None
        if found is not None:
            known = state.tf_memory.get(found.device or "", {})
            return OutOfMemory(
                t=error.t,
                in_use_bytes=known.get("current_bytes"),
                limit_bytes=known.get("limit_bytes"),
                allocator=found.allocator,
                device=found.device,
                op=found.op,
                shape=found.shape,
                dtype=found.dtype,
            )
    return None


def _out_of_memory(state: RunState) -> Iterator[Finding]:
    failed = _failed(state)
    if failed is None:
        return
    layer = layer_of(state, failed.op)
    where = f" in {layer}" if layer else (f" at {_short(failed.op)}" if failed.op else "")
    size = f" for {units.size(failed.wanted_bytes)}" if failed.wanted_bytes is not None else ""
    place = "the host's memory" if (failed.device or "").startswith("CPU") else failed.device or "a device"
    step, knob = _remedy(state, failed)
    yield Finding(
        id="memory.oom",
        severity="warning" if _went_on(state) else "critical",
        title=f"Out of memory on {place}{size}{where}",
        lines=[line for line in (_case_words(state, failed), _tensor_words(failed), _chunk_words(failed)) if line],
        next=step,
        evidence={
            "case": failed.case,
            "layer": layer,
            "op": failed.op,
            "device": failed.device,
            "wanted_mib": _mib(failed.wanted_bytes),
            "in_use_mib": _mib(failed.in_use_bytes),
            "pool_mib": _mib(failed.pool_bytes),
            "limit_mib": _mib(failed.limit_bytes),
            "largest_free_mib": _mib(failed.largest_free_bytes),
            "shape": failed.shape,
            "dtype": failed.dtype,
            "times": max(1, state.out_of_memory_count),
        },
        knob=knob,
        incomplete=None
        if failed.case is not None
        else "the allocator's own numbers were not seen: only that it failed",
    )


def _went_on(state: RunState) -> bool:
    """The script caught it: steps were done after it."""
    failed = state.out_of_memory
    return failed is not None and state.last_step_t is not None and state.last_step_t > failed.t + 1.0


def layer_of(state: RunState, op: str | None) -> str | None:
    """The layer that an op's name lies in: the deepest row of the placement whose path the scopes of the op spell.
    Keras adds `_1` to a scope that it opens again; None where two layers fit as well."""
    if op is None or state.placement is None:
        return None
    scopes = {name for part in op.split("/") for name in (part, re.sub(r"_\d+$", "", part))}
    found: dict[int, set[str]] = {}
    for row in state.placement.layers:
        path = str(row.get("layer")).split("/")
        if path[-1] in scopes:
            found.setdefault(sum(part in scopes for part in path), set()).add("/".join(path))
    best = found.get(max(found, default=0), set())
    return best.pop() if len(best) == 1 else None


def _short(op: str) -> str:
    return "/".join(
        part for part in op.split("/") if not part.startswith(("StatefulPartitionedCall", "PartitionedCall"))
    )


def _case_words(state: RunState, failed: OutOfMemory) -> str:
    used, limit = units.size(failed.in_use_bytes), units.size(failed.limit_bytes)
    if failed.case == oom.TOO_BIG:
        return f"this one tensor is larger than all that TensorFlow may take ({limit})"
    if failed.case == oom.FULL:
        return f"really full: {used} of {limit} are in use by the model, its gradients and its activations"
    if failed.case == oom.FRAGMENTED:
        free = units.size((failed.pool_bytes or 0) - (failed.in_use_bytes or 0))
        return f"fragmented: {free} are free, in pieces of {units.size(failed.largest_free_bytes)} at most"
    if failed.case == oom.NO_ROOM:
        others = _others_mib(state, failed.device)
        who = f": other processes hold {others} MiB of it" if others else ""
        return f"only {units.size(failed.pool_bytes)} of {limit} could be had: the device had no room to grow{who}"
    if failed.in_use_bytes is not None:
        return f"{used} were in use a second before" + (f", of {limit} allowed" if failed.limit_bytes else "")
    return "why it did not fit is not known"


def _others_mib(state: RunState, device: str | None) -> int:
    uuid = next((g.get("uuid") for g in state.environment.tf_gpus or () if g.get("device") == device), None)
    view = state.gpus.get(str(uuid))
    processes = (view.latest.get("processes") or ()) if view else ()
    return sum(p.get("memory_bytes") or 0 for p in processes if not p.get("ours")) >> 20


def _tensor_words(failed: OutOfMemory) -> str | None:
    if failed.shape is None:
        return None
    return f"a tensor of shape {'x'.join(map(str, failed.shape)) or 'scalar'}, {failed.dtype}, by {failed.allocator}"


def _chunk_words(failed: OutOfMemory) -> str | None:
    if not failed.chunks:
        return None
    shown = ", ".join(f"{count} of {units.size(size)}" for count, size in failed.chunks[:3])
    return f"most of what is in use: {shown}"


def _remedy(state: RunState, failed: OutOfMemory) -> tuple[str, str | None]:
    if (failed.device or "").startswith("CPU"):
        return "Make the batch or this layer smaller: the host's memory is the limit, not a GPU's.", None
    asked = state.run.knobs if state.run is not None else {}
    knob = None if asked.get("allocator") == ASYNC else f"allocator={ASYNC}"
    if failed.case == oom.FRAGMENTED:
        return "Let the driver hand out the memory (TF_GPU_ALLOCATOR=cuda_malloc_async).", knob
    if failed.case == oom.NO_ROOM:
        return "Free the GPU of other processes (nvidia-smi), or choose another one with visible_devices.", None
    smaller = f" It was {'x'.join(map(str, failed.shape))}." if failed.shape else ""
    if failed.case == oom.TOO_BIG:
        return f"Make the batch, or this layer's output, smaller: nothing else helps.{smaller}", None
    batch = f" (now {state.batch_size})" if state.batch_size else ""
    mixed = "precision=mixed_float16" if "precision" not in asked else None
    return f"Make the batch smaller{batch}; mixed precision halves the activations.", mixed


def _mib(value: int | None) -> float | None:
    return None if value is None else round(value / 2**20, 1)


# -- reserved is not used


def _preallocated(state: RunState) -> Iterator[Finding]:
    """TensorFlow took nearly the whole GPU while the model uses a part of it."""
    in_force = state.knobs_in_force.in_force if state.knobs_in_force is not None else {}
    asked = state.run.knobs if state.run is not None else {}
    if "on" in (asked.get("memory_growth"), in_force.get("memory_growth")):
        return  # What is taken now was needed once.
    for view in state.gpus.values():
        total = view.latest.get("memory_total_bytes")
        mine = sum(p.get("memory_bytes") or 0 for p in view.latest.get("processes") or () if p.get("ours"))
        device = next((g.get("device") for g in state.environment.tf_gpus or () if g.get("uuid") == view.uuid), None)
        peak = state.tf_memory.get(str(device), {}).get("peak_bytes")
        if not total or not mine or not peak or mine < NEARLY_ALL * total or peak > HALF * mine:
            continue
        yield Finding(
            id="memory.preallocated",
            severity="info",
            title=f"GPU {view.index} looks full, yet the model uses {units.size(peak)} of {units.size(mine)} reserved",
            lines=["TensorFlow reserves nearly all GPU memory at its start unless memory growth is on"],
            next="Memory growth shows the real need and leaves the rest to others: Enter reruns with it.",
            evidence={
                "gpu": view.index,
                "reserved_mib": mine >> 20,
                "peak_in_use_mib": peak >> 20,
                "total_mib": total >> 20,
            },
            knob="memory_growth=on",
        )


def _fragmented(state: RunState) -> Iterator[Finding]:
    """With growth TensorFlow takes what it needs: far more than was ever in use lies in pieces that fit nothing."""
    in_force = state.knobs_in_force.in_force if state.knobs_in_force is not None else {}
    if in_force.get("memory_growth") != "on" or in_force.get("allocator") == ASYNC:
        return
    for view in state.gpus.values():
        held = [p.get("memory_bytes") or 0 for p in view.latest.get("processes") or () if p.get("ours")]
        devices = [g.get("device") for g in state.environment.tf_gpus or () if g.get("uuid") == view.uuid]
        if len(held) != 1 or len(devices) != 1:
            continue
        use = state.tf_memory.get(str(devices[0]), {})
        peak, current = use.get("peak_bytes"), use.get("current_bytes")
        if not peak or held[0] < TIMES * peak or held[0] - peak < LOST_BYTES:
            continue
        asked = state.run is not None and state.run.knobs.get("allocator")
        yield Finding(
            id="memory.fragmented",
            severity="info",
            title=f"{units.size(held[0])} of GPU {view.index} is held for {units.size(peak)}: its memory is in pieces",
            lines=[
                f"in use now {units.size(current)}, at most {units.size(peak)}; memory growth is on",
                "what was free did not fit what was asked for, so TensorFlow took more; it gives nothing back",
            ],
            next="Let the driver hand the memory out (Enter reruns so), or give tensors few shapes: batches of one "
            "size, sequences padded to a few lengths.",
            evidence={
                "gpu": view.index,
                "reserved_mib": held[0] >> 20,
                "peak_in_use_mib": peak >> 20,
                "in_use_mib": None if current is None else current >> 20,
            },
            knob=None if asked else f"allocator={ASYNC}",
            incomplete="the largest free piece is known only where an allocation fails (memory.oom)",
        )


# -- growth


def _growth_overridden(state: RunState) -> Iterator[Finding]:
    """The script, or a variable that it changes, decides otherwise than was asked for or than the script believes."""
    told = state.knobs_in_force
    if told is None or state.run is None:
        return
    asked = state.run.knobs.get("memory_growth")
    now, script = told.in_force.get("memory_growth"), told.script.get("memory_growth")
    note = told.notes.get("memory_growth") or ""
    if now is None:
        return
    late = "came too late" in note
    if asked is not None and now != asked:
        title = f"Memory growth was asked to be {asked} and is {now}: the script decided otherwise"
        step = "Take that out of the script, or leave growth to it: --set memory_growth=script."
    elif late and now == "off":
        title = "The script's set_memory_growth came too late: GPU memory growth is off"
        step = "Call it before the first tensor, variable or layer; or rerun with the knob, which needs no call."
    else:
        return
    yield Finding(
        id="memory.growth_overridden",
        severity="warning",
        title=title,
        lines=[line for line in (script, note) if line],
        next=step,
        evidence={"asked": asked, "in_force": now, "script": script},
        knob="memory_growth=on" if late and asked is None else None,
    )
