"""Which settings could matter for a script, from a run of it as it is; and why the others could not (pure).

A setting that takes away a part of the step gains at most that part: where that is less than a difference that can be
told, it is not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from tfgpu_tui.core import knobs, units
from tfgpu_tui.core.knobs import SCRIPT
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.diagnose.lines import feed_lines, loop_lines
from tfgpu_tui.diagnose.stages import made_ahead, named, of_library, prefetch_off, python_stage, serial_map
from tfgpu_tui.report.compare import SMALLEST_CHANGE
from tfgpu_tui.trials.records import Candidate, LeftOut, Plan, words

WORTH_A_BOUND = 0.10
"""Input wait from which it is worth a trial to know what free input would give."""
WORTH_COMPILING = 0.20
"""Share of compute from which XLA is tried: it makes compute faster, and takes none of it away."""
PYTHON_HOST = 0.10
SHORT_STEP_S = 0.002
"""In steps so short the return to Python takes more than other arithmetic gains."""
LONG_STEP_S = 0.02
"""A return to Python takes some tenths of a millisecond, with Keras' own callbacks: in longer steps that is nothing."""
MANY_TOGETHER = 32
FEW_TOGETHER = 8
IDLE_GPU_PERCENT = 85.0
NEVER = {
    "profile": "it looks into steps, and makes none faster",
    "gpu_memory_limit": "it limits memory, and makes no step faster",
}

Rule = Callable[[RunState], Iterator["Candidate | LeftOut"]]


def plan(state: RunState, base: dict[str, str], asked: Iterable[dict[str, str]] = ()) -> Plan:
    """What to try after this baseline. `base` are the settings that all trials have, `asked` those that the user wants
    tried instead."""
    if wanted := list(asked):
        return Plan([Candidate(setting, "asked for", _is_bound(setting)) for setting in wanted])
    told: list[Candidate | LeftOut] = [*_of_findings(diagnose(state))]
    for rule in _rules(state):
        told += rule(state)
    candidates: list[Candidate] = []
    left_out: list[LeftOut] = [LeftOut(name, why) for name, why in NEVER.items()]
    for each in told:
        if isinstance(each, LeftOut):
            left_out.append(each)
        elif fixed := [name for name in each.setting if name in base]:
            left_out.append(LeftOut(words(each.setting), f"--set {fixed[0]}={base[fixed[0]]} holds for all trials"))
        elif all(each.setting != other.setting for other in candidates):
            candidates.append(each)
    known = {name for each in candidates for name in (words(each.setting), *each.setting)}
    return Plan(
        sorted(candidates, key=lambda each: each.bound),
        sorted((each for each in left_out if each.name not in known), key=_order),
        list(_remarks(state, tried={name for each in candidates if not each.bound for name in each.setting})),
    )


def _order(left_out: LeftOut) -> int:
    names = list(knobs.ALL)
    return names.index(left_out.name.partition("=")[0])


def _is_bound(setting: dict[str, str]) -> bool:
    return setting.get("input") == "synthetic"


def _of_findings(findings: Iterable[Finding]) -> Iterator[Candidate]:
    """What a finding of the baseline offers: it has its evidence."""
    for finding in findings:
        if finding.knob is not None:
            name, _, value = finding.knob.partition("=")
            setting = {name: value}
            if not _is_bound(setting) and name not in NEVER:
                yield Candidate(setting, f"{finding.id} offers it")


def _in_force(state: RunState, name: str) -> str | None:
    told = state.knobs_in_force
    return told.in_force.get(name) if told is not None else None


def _note(state: RunState, name: str, otherwise: str) -> str:
    told = state.knobs_in_force
    return (told.notes.get(name) if told is not None else None) or otherwise


def _gpus(state: RunState) -> bool:
    return bool(state.environment.tf_gpus)


def _too_small(part: float | None) -> bool:
    """Without so small a part of the step it would not be faster by what can be told."""
    return part is not None and part < SMALLEST_CHANGE


def _input(state: RunState) -> Iterator[Candidate | LeftOut]:
    wait = state.judged.shares()["input_wait"]
    if _too_small(wait):
        yield LeftOut("input", f"the step waits for input only {units.share(wait)} of its time")
        return
    stages = state.pipeline.stages if state.pipeline is not None else []
    serial = [stage for stage in stages if serial_map(stage) and of_library(stage) is None]
    if serial:
        yield Candidate({"input": "parallel"}, f"{named(serial[0], state.places)} handles one element at a time")
    else:
        made = python_stage(state)
        why = "no tf.data map here that is not parallel already"
        yield LeftOut(
            "input=parallel", why + (f": Python makes the batches, in {named(made, state.places)}" if made else "")
        )
    if prefetch_off(state):
        yield Candidate({"input": "prefetch"}, "nothing prepares the next batch while the model computes")
    else:
        what = "fetches ahead by itself" if stages else "has no pipeline to fetch ahead from"
        why = "the PyDataset's workers make batches ahead" if made_ahead(state) else f"TensorFlow {what} here"
        yield LeftOut("input=prefetch", why)
    if wait is not None and wait >= WORTH_A_BOUND:
        yield Candidate({"input": "synthetic"}, "how fast the model is with free input: a limit to compare with", True)
    else:
        yield LeftOut("input=synthetic", f"with {units.share(wait)} of input wait the limit is known")


def _jit_compile(state: RunState) -> Iterator[Candidate | LeftOut]:
    now, compute = _in_force(state, "jit_compile"), state.judged.shares()["compute"]
    if now is None:
        yield LeftOut("jit_compile", _note(state, "jit_compile", "it is not known whether Keras compiles the step"))
    elif _in_force(state, "run_eagerly") == "on":
        yield LeftOut("jit_compile", "the model runs eagerly: there is no graph to compile")
    elif compute is not None and compute < WORTH_COMPILING:
        yield LeftOut("jit_compile", f"compute is only {units.share(compute)} of the step")
    else:
        other = "off" if now == "on" else "on"
        yield Candidate({"jit_compile": other}, f"it is {now}, and compute is {units.share(compute)} of the step")


def _precision(state: RunState) -> Iterator[Candidate | LeftOut]:
    now = _in_force(state, "precision")
    able = [gpu.get("capability") for gpu in state.environment.tf_gpus or []]
    compute = state.judged.shares()["compute"]
    if now is None:
        yield LeftOut("precision", _note(state, "precision", "it is not known in which precision the model computes"))
    elif _too_small(compute):
        yield LeftOut("precision", f"compute is only {units.share(compute)} of the step")
    elif now == "float64":
        yield Candidate({"precision": "float32"}, "the model computes in float64")
    elif now == "float32" and able and all(isinstance(each, list) and each and each[0] >= 7 for each in able):
        newer = all(isinstance(each, list) and each[0] >= 8 for each in able)
        value = "mixed_bfloat16" if newer else "mixed_float16"
        yield Candidate({"precision": value}, "the GPU has arithmetic for 16 bits")
    elif now == "float32" and not able and "bfloat16" in (state.environment.cpu_half or ()):
        yield Candidate({"precision": "mixed_bfloat16"}, "the CPU has arithmetic for bfloat16")
    elif now.startswith("mixed") and not able:
        yield Candidate({"precision": "float32"}, f"{now} without a GPU")
    else:
        where = "the GPU" if able else "this CPU"
        yield LeftOut("precision", f"{now}, and {where} has no faster arithmetic that is known to fit")


def _steps_per_execution(state: RunState) -> Iterator[Candidate | LeftOut]:
    name, step_s = "steps_per_execution", state.judged.mean_s
    now, planned = _in_force(state, name), state.epoch_steps
    if now is None:
        yield LeftOut(name, _note(state, name, "it is not known how many steps Keras runs together"))
    elif now != "1":
        yield LeftOut(name, f"the script runs {now} steps together already")
    elif step_s is not None and step_s > LONG_STEP_S:
        yield LeftOut(name, f"a step takes {units.duration(step_s)}: returning to Python is a small part of it")
    elif planned is not None and planned < 2 * FEW_TOGETHER:
        yield LeftOut(name, f"an epoch has only {planned} steps")
    else:
        together = MANY_TOGETHER if planned is None or planned >= 2 * MANY_TOGETHER else FEW_TOGETHER
        yield Candidate({name: str(together)}, f"a step takes {units.duration(step_s)}, and each returns to Python")


def _threads(state: RunState) -> Iterator[Candidate | LeftOut]:
    quota, cores = state.environment.cpu_quota, state.environment.cpu_count
    if _in_force(state, "threads") not in (None, "default"):
        yield (
            Candidate({"threads": str(cores)}, f"the script sets {_in_force(state, 'threads')}")
            if cores
            else LeftOut("threads", "the number of CPUs is not known")
        )
    elif quota is not None and cores is not None and quota + 0.5 < cores:
        yield Candidate({"threads": str(max(1, round(quota)))}, f"{quota:g} of {cores} CPUs are granted here")
    else:
        count = f"{cores} CPUs" if cores else "an unknown number of CPUs"
        yield LeftOut("threads", f"TensorFlow chooses by the machine, which grants {count}")


def _gpu_settings(state: RunState) -> Iterator[Candidate | LeftOut]:
    names = ("memory_growth", "allocator", "gpu_thread_mode", "visible_devices")
    if not _gpus(state):
        for name in names:
            yield LeftOut(name, "no GPU is used here")
        return
    yield LeftOut("memory_growth", "it changes how memory is taken, not the step time")
    yield LeftOut("allocator", "it changes how memory is handed out; nothing says that this is short")
    busy = [mean for view in state.gpus.values() if view.ours and (mean := view.busy.mean()) is not None]
    if busy and min(busy) < IDLE_GPU_PERCENT:
        yield Candidate({"gpu_thread_mode": "gpu_private"}, f"the GPU is {units.percent(min(busy))} busy")
        if (state.judged.mean_s or 1.0) < LONG_STEP_S and min(busy) < 20:
            yield Candidate({"visible_devices": "none"}, "steps so small may be faster on the CPU")
    else:
        yield LeftOut("gpu_thread_mode", "the GPU is busy all the time")
    yield LeftOut("visible_devices", "nothing says that another GPU would be faster")


def _switches(state: RunState) -> Iterator[Candidate | LeftOut]:
    """What a finding offers where it is in force the wrong way; it is said why it is not offered."""
    yield LeftOut("run_eagerly", "the steps run as graphs, or the loop is the script's own")
    on = _in_force(state, "determinism") == "on"
    if on:
        yield Candidate({"determinism": "off"}, "the script asks for the same numbers in each run")
    else:
        yield LeftOut("determinism", "it is not asked for")
    yield LeftOut("library_path", "no library of CUDA is missing" if _gpus(state) else "no finding offers it here")


def _rules(state: RunState) -> tuple[Rule, ...]:
    """What may gain most comes first: what is proved early needs no more of the time."""
    short = state.judged.mean_s is not None and state.judged.mean_s < SHORT_STEP_S
    two = (_steps_per_execution, _precision) if short else (_precision, _steps_per_execution)
    return (_input, *two, _jit_compile, _threads, _gpu_settings, _switches)


def _remarks(state: RunState, tried: Collection[str]) -> Iterator[str]:
    """What holds the script back that no setting changes; `tried` are the knobs that are."""
    shares = state.judged.shares()
    wait, host = shares["input_wait"], shares["host"]
    made = python_stage(state)
    if made is not None and wait is not None and wait >= WORTH_A_BOUND and "input" not in tried:
        lines = feed_lines(state)
        at = f": {lines[0].sentence()}" if lines else ""
        what = named(made, state.places)
        yield f"Python makes the batches, in {what}{at}. No setting makes that faster, only other code."
    if host is not None and host >= PYTHON_HOST:
        lines = loop_lines(state)
        at = f": {lines[0].sentence()}" if lines else ""
        yield f"{units.share(host)} of the step is Python of the loop or its callbacks{at}. No setting takes it away."


def in_words(setting: str) -> dict[str, str]:
    """`a=1,b=on` as one combination is none: each stands alone. Raises knobs.KnobError."""
    return {name: value for name, value in knobs.parse([setting]).items() if value != SCRIPT}
