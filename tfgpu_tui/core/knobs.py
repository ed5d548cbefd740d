"""Knobs: what a rerun may change without an edit of the script (pure).

Each knob names its values, how it is applied and how a person reads it. `script` means: as the script has it. A knob
acts by environment variables that the script gets before its first line, or by a module of the agent
(`agent.KNOB_HOOKS`), or both; what is in force is read back after the first step (event `knobs`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

SCRIPT = "script"
AUTOMATIC = "auto"

Variables = Callable[[str, Mapping[str, str]], Mapping[str, str]]
"""(value, the caller's environment) -> variables that the script gets before its first line."""


class KnobError(ValueError):
    """A knob or a value that does not exist; the text says which ones do."""


class Free(NamedTuple):
    """Values that can't be listed: what to write, and the function that checks it."""

    hint: str
    """What a person may type, with an example."""
    parse: Callable[[str], str]
    """The value in its one written form; raises ValueError where the text is none."""


def _no_variables(value: str, base: Mapping[str, str]) -> Mapping[str, str]:
    return {}


class Knob(NamedTuple):
    """One setting that a rerun may change."""

    name: str
    values: tuple[str, ...]
    """The words in the order in which a key steps through them; the first is what a run without the knob has. Where
    `free` is set others are right, too."""
    summary: str
    variables: Variables = _no_variables
    free: Free | None = None

    @property
    def accepts(self) -> str:
        """What can be typed, for a message or a dialog."""
        return ", ".join(self.values) + (f", or {self.free.hint}" if self.free else "")


def whole_number(hint: str, lowest: int = 1, highest: int = 1_000_000) -> Free:
    """A free value that is a whole number within bounds."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"\d{1,12}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest} is needed")
        return str(int(text))

    return Free(hint, parse)


def _by_variable(variable: str, words: Mapping[str, str] | None = None) -> Variables:
    """The value, or the word that stands for it, as one variable."""

    def variables(value: str, base: Mapping[str, str]) -> Mapping[str, str]:
        return {variable: (words or {}).get(value, value)}

    return variables


_DEVICE = re.compile(r"\d{1,3}|(GPU|MIG)-[0-9A-Za-z/-]+")


def _devices(text: str) -> str:
    devices = [part.strip() for part in text.split(",")]
    wrong = [device for device in devices if not _DEVICE.fullmatch(device)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is neither an index nor a UUID of a GPU")
    if len(set(devices)) != len(devices):
        raise ValueError("a GPU stands there twice")
    return ",".join(devices)


def _threads(text: str) -> str:
    found = re.fullmatch(r"(\d{1,4})(?:/(\d{1,4}))?", text)
    if found is None or "0" in ((part and part.lstrip("0")) or "0" for part in found.groups() if part is not None):
        raise ValueError("one number of threads, or two as WITHIN/BETWEEN, is needed")
    return "/".join(str(int(part)) for part in found.groups() if part is not None)


def _folders(text: str) -> str:
    folders = [part for part in text.split(":") if part]
    if not folders or not all(part.startswith("/") for part in folders):
        raise ValueError("absolute folders are needed, separated by colons")
    return ":".join(folders)


def _library_path(value: str, base: Mapping[str, str]) -> Mapping[str, str]:
    """`auto` is resolved by the supervisor, which alone may look at the disk (`resolve_library_path`)."""
    if value == AUTOMATIC:
        return {}
    return {"LD_LIBRARY_PATH": ":".join(filter(None, [value, base.get("LD_LIBRARY_PATH")]))}


MEMORY_GROWTH = Knob(
    name="memory_growth",
    values=(SCRIPT, "on", "off"),
    summary="GPU memory: on = grow with the need, off = reserve nearly all at the start, script = as the script has it",
    # GetAllowGrowthValue in tensorflow/core/common_runtime/gpu/gpu_bfc_allocator.cc: overrides the script's own
    # set_memory_growth in both directions; only the exact lowercase words count.
    variables=_by_variable("TF_FORCE_GPU_ALLOW_GROWTH", {"on": "true", "off": "false"}),
)
GPU_MEMORY_LIMIT = Knob(
    name="gpu_memory_limit",
    values=(SCRIPT,),
    summary="MiB that TensorFlow may take on each GPU",
    free=whole_number("a number of MiB, for example 4096", lowest=64, highest=4_000_000),
)
ALLOCATOR = Knob(
    name="allocator",
    values=(SCRIPT, "cuda_malloc_async", "bfc"),
    summary="who hands out GPU memory: cuda_malloc_async = the driver (against fragmentation), bfc = TensorFlow's own",
    # GPUProcessState::GetGPUAllocator in tensorflow/core/common_runtime/gpu/gpu_process_state.cc: any word that it
    # does not know means its own.
    variables=_by_variable("TF_GPU_ALLOCATOR"),
)
VISIBLE_DEVICES = Knob(
    name="visible_devices",
    values=(SCRIPT, "none"),
    summary="the GPUs that the script sees (CUDA_VISIBLE_DEVICES), none = train on the CPU",
    variables=_by_variable("CUDA_VISIBLE_DEVICES", {"none": "-1"}),
    free=Free("indices or UUIDs with commas between them, for example 0,1", _devices),
)
GPU_THREAD_MODE = Knob(
    name="gpu_thread_mode",
    values=(SCRIPT, "global", "gpu_private", "gpu_shared"),
    summary="threads that launch work on the GPU: gpu_private = each GPU has its own, apart from the input pipeline",
    # BaseGPUDevice::Init in tensorflow/core/common_runtime/gpu/gpu_device.cc
    variables=_by_variable("TF_GPU_THREAD_MODE"),
)
THREADS = Knob(
    name="threads",
    values=(SCRIPT, "1", "2", "4"),
    summary="CPU threads of TensorFlow, within an operation and between operations",
    free=Free("a number, or WITHIN/BETWEEN such as 4/2", _threads),
)
JIT_COMPILE = Knob(
    name="jit_compile",
    values=(SCRIPT, "on", "off"),
    summary="compile Keras' training step with XLA",
)
PRECISION = Knob(
    name="precision",
    values=(SCRIPT, "mixed_float16", "mixed_bfloat16", "float32"),
    summary="Keras' precision: mixed_… computes in 16 bits where it is safe and keeps the weights in 32",
)
RUN_EAGERLY = Knob(
    name="run_eagerly",
    values=(SCRIPT, "on", "off"),
    summary="on = every operation on its own from Python (slow, for looking inside), off = as one graph",
)
STEPS_PER_EXECUTION = Knob(
    name="steps_per_execution",
    values=(SCRIPT, "8", "32"),
    summary="training steps that Keras runs for each return to Python",
    free=whole_number("a number of steps, for example 16", highest=100_000),
)
INPUT = Knob(
    name="input",
    values=(SCRIPT, "prefetch", "parallel", "synthetic"),
    summary="input pipeline: prefetch = add prefetch and autotune, parallel = all maps in parallel, synthetic = the "
    "first batch again and again: how fast the model is with free input (its losses mean nothing)",
)
PROFILE = Knob(
    name="profile",
    values=(SCRIPT, "5", AUTOMATIC, "off"),
    summary="what compute is made of: script = a few steps now and then, for 0.5 % of the time at most, and not in "
    "headless runs; auto = in those, too; a number = so many steps at once after the first 20 (slower meanwhile), too; "
    "off = never by itself",
    free=whole_number("a number of steps, for example 3", highest=1000),
)
DETERMINISM = Knob(
    name="determinism",
    values=(SCRIPT, "off"),
    summary="off = as fast as can be, also where the script asks for the same numbers in each run",
    # OpDeterminismRequired in tensorflow/core/util/determinism.cc; the script's call is the agent's to take back.
    variables=_by_variable("TF_DETERMINISTIC_OPS", {"off": "0"}),
)
LIBRARY_PATH = Knob(
    name="library_path",
    values=(SCRIPT, AUTOMATIC),
    summary="where CUDA's libraries are looked for first (LD_LIBRARY_PATH): auto = the installed nvidia-* packages",
    variables=_library_path,
    free=Free("absolute folders with colons between them", _folders),
)

ALL: dict[str, Knob] = {
    k.name: k
    for k in (
        MEMORY_GROWTH,
        GPU_MEMORY_LIMIT,
        ALLOCATOR,
        VISIBLE_DEVICES,
        GPU_THREAD_MODE,
        THREADS,
        JIT_COMPILE,
        PRECISION,
        RUN_EAGERLY,
        STEPS_PER_EXECUTION,
        INPUT,
        PROFILE,
        DETERMINISM,
        LIBRARY_PATH,
    )
}


def parse(settings: Iterable[str]) -> dict[str, str]:
    """`["memory_growth=on"]` -> `{"memory_growth": "on"}`; a knob left to the script is left out. Raises KnobError."""
    out: dict[str, str] = {}
    for text in settings:
        name, sep, value = text.partition("=")
        if not sep:
            raise KnobError(f"--set {text}: write it as KNOB=VALUE, for example --set memory_growth=on")
        value = parse_one(name, value)
        if value == SCRIPT:
            out.pop(name, None)
        else:
            out[name] = value
    return out


def parse_one(name: str, text: str) -> str:
    """The value of this knob in its one written form; `script` is a value, too. Raises KnobError."""
    knob = ALL.get(name)
    if knob is None:
        raise KnobError(f"there is no knob {name!r}; --list-knobs shows what can be set ({', '.join(ALL)})")
    text = text.strip()
    if text in knob.values:
        return text
    if knob.free is None:
        raise KnobError(f"knob {name} can't be {text!r}; it can be {knob.accepts}")
    try:
        return knob.free.parse(text)
    except ValueError as error:
        raise KnobError(f"knob {name} can't be {text!r}: {error}; it can be {knob.accepts}") from None


def environment(asked: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """The variables that apply these knobs before the script's first line, on top of the caller's (`base`)."""
    out: dict[str, str] = {}
    for name, value in asked.items():
        out.update(ALL[name].variables(value, base))
    return out


def resolve_library_path(asked: Mapping[str, str], folders: Callable[[], Iterable[str]]) -> dict[str, str]:
    """The knobs with `library_path=auto` replaced by the folders that the doctor finds for the script's interpreter; as
    they are where it finds none."""
    found = list(folders()) if asked.get("library_path") == AUTOMATIC else []
    return {**asked, "library_path": ":".join(found)} if found else dict(asked)


def following(name: str, value: str | None) -> str:
    """The value after this one, for a key that steps through them; after a value that was typed comes `script`."""
    values = ALL[name].values
    now = value or SCRIPT
    return values[(values.index(now) + 1) % len(values)] if now in values else SCRIPT


def describe() -> str:
    """All knobs with their values, for --list-knobs."""
    return "\n".join(
        f"{k.name} = {' | '.join((*k.values, *([f'<{k.free.hint}>'] if k.free else [])))}\n    {k.summary}"
        for k in ALL.values()
    )
