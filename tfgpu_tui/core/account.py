"""Where the whole wall time of a process went, from start to end: parts that sum to it (pure).

The phases that the agent tells cut the time into pieces; what is measured within them (steps, validations, callbacks)
is taken out of its piece, and what is left of a piece has a name of its own. What no phase covers is `unknown`.
"""

from __future__ import annotations

from dataclasses import replace

from tfgpu_tui.core.parts.account import SERVING, Account, edges_s
from tfgpu_tui.core.parts.process import Process
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import StoodAt
from tfgpu_tui.core.state import RunState

BETWEEN = ("imported", "building", "idle")
"""Phases of the script's own Python: before, between and after trainings."""
WORDS = {
    "start": "before TensorFlow is imported",
    "import": "imports, TensorFlow first",
    "script": "the script's own Python",
    "building": "building models (Keras)",
    "tensorflow": "TensorFlow, called by the script",
    "fit_start": "fit() before its first step",
    "tracing": "tracing functions",
    "first_batch": "first batch of each epoch",
    "warmup": "first steps: compiling, warm-up",
    "steps": "steps",
    "epoch_edges": "between epochs",
    "validation": "validation",
    "callbacks": "callbacks at epochs",
    "fit_end": "fit() after its last epoch",
    "evaluation": "evaluate() and predict()",
    "serving": "serving the others of its job",
    "exit": "exit",
    "unknown": "unknown",
}
"""Part -> what it is called, in the order in which most runs come to them."""
SMALLEST_S = 1e-3
"""Less than that is rounding, and belongs to the largest part."""
TRAINING = ("first_batch", "warmup", "steps")
"""Parts that are steps of the training."""


@dataclass(frozen=True)
class Part:
    """A part of the wall time."""

    key: str
    seconds: float
    of: dict[str, float]
    """What it is made of, as far as that was measured, in seconds: `input_wait`, `compute`, `host` of steps, …"""

    @property
    def words(self) -> str:
        return WORDS[self.key]


@dataclass(frozen=True)
class WholeRun:
    """The account of one process."""

    wall_s: float
    parts: list[Part]
    """In the order of WORDS; none is of no time. Their sum is `wall_s`."""
    places: list[StoodAt]
    """Where its main thread stood outside of steps, longest first."""

    def seconds(self, *keys: str) -> float:
        """Of these parts together."""
        return sum(part.seconds for part in self.parts if part.key in keys)

    def share(self, *keys: str) -> float:
        """Of the wall time."""
        return self.seconds(*keys) / self.wall_s if self.wall_s else 0.0


def place_words(place: StoodAt, places: Places) -> str:
    """`train.py:33, in Keras' data_adapter_utils.py:134 class_weight_to_sample_weights`."""
    within = f", in Keras' {place['within']}" if place.get("within") else ""
    return places.at(place["file"], place["line"]) + within


def main_process(state: RunState) -> Process:
    """The script's own process; the one that stands for the run where it told nothing."""
    return state.processes.get(state.child_pid) or state.described


def whole_run(state: RunState, process: Process | None = None) -> WholeRun | None:
    """The account of a process up to now, of the script's own where none is named; None before anything is known, and
    where only a part of the run is."""
    main = main_process(state)
    process = process or main
    begin = state.started if process is main else process.account.begun
    end = state.now if process is main else process.heard_t
    if begin is None or end <= begin or not process.account.whole:
        return None
    return _whole(process, begin, end)


def _whole(process: Process, begin: float, end: float) -> WholeRun:
    wall, of = end - begin, process.account
    spent = {name: max(0.0, seconds) for name, seconds in of.spent.items()}
    if of.part is not None:
        spent[of.part] = spent.get(of.part, 0.0) + max(0.0, end - of.since)
    parts = {"start": max(0.0, (end if of.begun is None else of.begun) - begin)}
    parts |= _of_phases(of, spent)
    parts |= _of_fits(process, spent, parts)
    made_of = _made_of(process, spent, parts)
    known = sum(parts.values())
    # Clocks that disagree, and processes that train in several threads, must not make more of the time than there was.
    scale = wall / known if known > wall > 0.0 else 1.0
    unknown = wall - known * scale
    parts["unknown"] = unknown if unknown > SMALLEST_S else 0.0
    found = [
        Part(key, parts[key] * scale, {n: s * scale for n, s in made_of.get(key, {}).items() if s > 0.0})
        for key in WORDS
        if parts.get(key, 0.0) > 0.0
    ]
    return WholeRun(wall, _exactly(found, wall), of.stood.places if of.stood is not None else [])


def _exactly(parts: list[Part], wall: float) -> list[Part]:
    """So that rounding leaves no gap: the largest part takes it."""
    if not parts:
        return []
    largest = max(parts, key=lambda part: part.seconds)
    gap = wall - sum(part.seconds for part in parts)
    return [replace(part, seconds=max(0.0, part.seconds + gap)) if part is largest else part for part in parts]


def _of_phases(of: Account, spent: dict[str, float]) -> dict[str, float]:
    """What phases alone tell. The time between trainings is split as the looks at the main thread saw it."""
    between = sum(spent.get(name, 0.0) for name in BETWEEN)
    doing: dict[str, float] = {}
    for name, seconds in (of.stood.doing if of.stood is not None else {}).items():
        part, _, what = name.partition("/")
        if part in BETWEEN:
            doing[what] = doing.get(what, 0.0) + max(0.0, seconds)
    seen = sum(doing.values())
    share = {what: seconds / max(seen, between) for what, seconds in doing.items()} if seen > 0.0 else {}
    imports, keras, tensorflow = (between * share.get(what, 0.0) for what in ("import", "keras", "tensorflow"))
    return {
        "import": spent.get("importing", 0.0) + imports,
        "building": keras,
        "tensorflow": tensorflow,
        "script": max(0.0, between - imports - keras - tensorflow),
        "fit_start": spent.get("preparing", 0.0),
        "fit_end": spent.get("ending", 0.0),
        "evaluation": spent.get("evaluating", 0.0) + spent.get("predicting", 0.0),
        "serving": spent.get(SERVING, 0.0),
        "exit": spent.get("exiting", 0.0),
    }


def _tracing(spent: dict[str, float], *names: str) -> float:
    return sum(spent.get(f"{name}/tracing", 0.0) for name in names)


def _of_fits(process: Process, spent: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """Steps, and what is around them in fits and in loops of the script's own."""
    of = process.account
    traced_between = _tracing(spent, *BETWEEN)
    own = spent.get("training", 0.0) + _tracing(spent, "training")
    # The first step of a loop of the script's own is known as one when it is over: it lies in the phase before.
    early = max(0.0, of.own_s - own)
    early_traced = min(early, traced_between)
    early_script = min(early - early_traced, before["script"])
    in_steps = _tracing(spent, "fit", "training") + early_traced
    steady = max(0.0, of.fit_s + of.own_s - of.warmup_s)
    first, later = _first_waits(of)
    later = min(later, steady)
    edges = edges_s(of, spent)
    # A fit whose first step never ended has no edges: it waited for its first batch, or compiled.
    begins, edges = (0.0, edges) if of.fit_s > 0.0 else (edges, 0.0)
    return {
        "script": before["script"] - early_script + max(0.0, own - of.own_s),
        "tracing": in_steps + traced_between - early_traced + _tracing(spent, "validation", "evaluating", "predicting"),
        "first_batch": first + later,
        "warmup": begins + max(0.0, of.warmup_s - in_steps - first),
        "steps": steady - later,
        "callbacks": of.callbacks_s,
        "epoch_edges": edges,
        "validation": spent.get("validation", 0.0),
    }


def _first_waits(of: Account) -> tuple[float, float]:
    """(within warm-up, within other steps), this epoch's included."""
    first, later = of.first_waits_s, of.later_waits_s
    if of.waited_s is not None:
        return (first + of.waited_s, later) if of.warm_wait else (first, later + of.waited_s)
    return first, later


def _made_of(process: Process, spent: dict[str, float], parts: dict[str, float]) -> dict[str, dict[str, float]]:
    of, judged = process.account, process.steps.judged
    shares = judged.shares()
    steps = {}
    if judged.wait_s is not None and judged.compute_s is not None and judged.wall_s > 0.0:
        waited = min(_first_waits(of)[1], judged.wait_s)
        whole = max(judged.wall_s - waited, 1e-9)
        scale = parts["steps"] / whole
        steps = {
            "input_wait": max(0.0, judged.wait_s - waited) * scale,
            "compute": (shares["compute"] or 0.0) * judged.wall_s * scale,
            "host": (shares["host"] or 0.0) * judged.wall_s * scale,
        }
    return {
        "steps": steps,
        "validation": {"input_wait": min(of.validation_wait_s, parts["validation"])},
        "import": {"tensorflow": spent.get("importing", 0.0)},
    }
