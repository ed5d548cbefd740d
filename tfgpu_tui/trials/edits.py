"""What to write in the script to keep a setting, and at which line (pure)."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator, Mapping, Sequence

from tfgpu_tui.core.places import Places
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.stages import serial_map
from tfgpu_tui.trials.records import Group

LIMIT = 3
_ON = {"on": "True", "off": "False"}


def command(group: Group, setting: Mapping[str, str]) -> str:
    """The command line that keeps it without an edit."""
    sets = [word for name, value in {**group.base, **setting}.items() for word in ("--set", f"{name}={value}")]
    return shlex.join(["tfgpu-tui", *sets, *group.argv])


def edit(group: Group, setting: Mapping[str, str]) -> list[str]:
    """The same in the script: a line for each setting, with its place where that is known."""
    return [_line(name, value, group.places.get(name)) for name, value in setting.items()]


def _line(name: str, value: str, place: str | None) -> str:
    code = code_of(name, value)
    return f"{code}   ({place})" if place else code


def code_of(name: str, value: str) -> str:
    """The code that does what a knob does."""
    if name == "input":
        return {
            "parallel": "dataset.map(…, num_parallel_calls=tf.data.AUTOTUNE)",
            "prefetch": "dataset.prefetch(tf.data.AUTOTUNE) at the end of the pipeline, autotune on",
        }.get(value, "nothing: synthetic input is a measurement")
    if name in ("jit_compile", "run_eagerly"):
        return f"model.compile(…, {name}={_ON[value]})"
    if name == "steps_per_execution":
        return f"model.compile(…, steps_per_execution={value})"
    if name == "precision":
        return f'keras.config.set_dtype_policy("{value}") before the model is made'
    if name == "threads":
        within, _, between = value.partition("/")
        return (
            f"tf.config.threading.set_intra_op_parallelism_threads({within}) and "
            f"set_inter_op_parallelism_threads({between or within}), first of all"
        )
    if name == "determinism":
        return "no tf.config.experimental.enable_op_determinism()"
    if name == "memory_growth":
        return f"tf.config.experimental.set_memory_growth(gpu, {_ON[value]}) for each GPU, first of all"
    variable = _VARIABLES.get(name)
    shown = "-1" if (name, value) == ("visible_devices", "none") else value
    return f'os.environ["{variable}"] = "{shown}" before TensorFlow is imported' if variable else f"{name}={value}"


_VARIABLES = {
    "allocator": "TF_GPU_ALLOCATOR", "gpu_thread_mode": "TF_GPU_THREAD_MODE", "visible_devices": "CUDA_VISIBLE_DEVICES",
}  # fmt: skip


def files(state: RunState, script: str | None) -> list[str]:
    """The sources in which places are looked for: the script, and where its maps are defined."""
    stages = state.pipeline.stages if state.pipeline is not None else []
    found = [script, *(stage.get("file") for stage in stages)]
    return list(dict.fromkeys(str(file) for file in found if file))


def places(state: RunState, sources: Mapping[str, str]) -> dict[str, str]:
    """Knob -> where the script sets it now, or makes what it changes. `sources` are files and their texts."""
    told = state.knobs_in_force
    found = {name: f"now {said}" for name, said in (told.script if told is not None else {}).items()}
    where = state.places
    compiles = list(_calls(sources, where, "compile"))
    for name in ("jit_compile", "run_eagerly", "steps_per_execution"):
        if name not in found and compiles:
            found[name] = _at(compiles)
    stages = state.pipeline.stages if state.pipeline is not None else []
    names = {str(stage.get("function")) for stage in stages if serial_map(stage)}
    if maps := list(_calls(sources, where, "map", names)):
        found["input"] = _at(maps)
    return found


def _at(lines: Sequence[str]) -> str:
    return "at " + ", ".join(lines[:LIMIT]) + (", …" if len(lines) > LIMIT else "")


def _calls(sources: Mapping[str, str], where: Places, method: str, of: set[str] | None = None) -> Iterator[str]:
    """`train.py:12` for each call `….method(…)`; with `of`, where its first argument is one of those names."""
    for file, text in sources.items():
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        found = [
            node.func.end_lineno or node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
            if of is None or (node.args and isinstance(node.args[0], ast.Name) and node.args[0].id in of)
        ]
        yield from (where.at(file, line) for line in sorted(set(found)))
