"""Family E: whether memory grows as trainings start, one after the other, rather than with their steps (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, pairwise
from statistics import mean, median

from tfgpu_tui.core import units
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.state import RunState
from tfgpu_tui.core.totals import Training

MIN_TRAININGS = 4
SHORT_STEPS = 1000
"""Of a training, on average: longer ones are looked into."""
MIN_PAIRS = 12
"""Of samples within one and the same training: with fewer it can't be told from growth with the steps."""
WITHIN_SHARE = 0.5
"""Of all growth, what may still come within the trainings."""
RISING = 2 / 3
"""Of the trainings, those that must begin with more memory than the one before: now and then one gives some back."""
MOST = 0.75
"""Of the trainings, those that must begin with a new model."""
NOTICEABLE_BYTES = 64 * 1024
MIN_JUMPS = 5
"""From one training to the next, from which it can be told whether it goes on."""
STILL_SHARE = 0.5
"""Of the mean jump, what those of the later half must still be: what levels off is kept once, and no leak."""
DROP_SHARE = 0.3
"""Of all growth, what may be given back at once: what is given back now and then is a cycle."""
LARGE_BYTES = 256 * 2**20
LARGE_SHARE = 0.1
"""Of the memory that is still free on the machine."""


@dataclass(frozen=True)
class ByTraining:
    """What each training leaves behind."""

    bytes_each: float
    new_models: bool
    """Whether (nearly) each of them traced a train function of its own: a new model, or one compiled anew."""
    goes_on: bool = False
    """Whether they are enough to tell that it does not level off."""


Level = tuple[int, float, float]
"""(number of the fit, step, bytes) of a training."""
Points = Callable[[Training], list[tuple[float, float]]]
"""(steps, bytes) of a training."""


def host_memory(training: Training) -> list[tuple[float, float]]:
    """Resident bytes."""
    return training.memory.points


def gpu_memory(training: Training) -> list[tuple[float, float]]:
    """Bytes in tensors on the GPUs: of two readings the lower, for they swing within each step."""
    points = training.gpu_memory.points
    return [min(pair, key=lambda point: point[1]) for pair in zip(points[::2], points[1::2], strict=False)]


def by_training(state: RunState, points: Points = host_memory) -> ByTraining | None:
    """How much memory each training adds; None where memory grows with the steps, or where that can't be told."""
    processes: dict[int | None, list[Training]] = {}
    for (pid, _), training in sorted(state.trainings.items(), key=lambda item: item[1].fit):
        processes.setdefault(pid, []).append(training)
    found = [growth for trainings in processes.values() if (growth := _of_process(trainings, points)) is not None]
    return max(found, key=lambda growth: growth.bytes_each, default=None)


def _of_process(trainings: list[Training], points: Points) -> ByTraining | None:
    # The first third of each training is its own warm-up.
    settled = [(t.fit, of[len(of) // 3 :]) for t in trainings if (of := points(t))]
    if len(settled) < MIN_TRAININGS:
        return None
    slopes = [(y2 - y1) / (x2 - x1) for _, of in settled for (x1, y1), (x2, y2) in combinations(of, 2) if x2 > x1]
    if len(slopes) < MIN_PAIRS:
        return None
    within = max(0.0, median(slopes))
    levels = [(fit, median(x for x, _ in of), median(y for _, y in of)) for fit, of in settled]
    (_, first_step, first), (_, last_step, last) = levels[0], levels[-1]
    if last <= first or within * (last_step - first_step) > WITHIN_SHARE * (last - first):
        return None

    def rises(pairs: Iterable[tuple[Level, Level]]) -> list[float]:
        return [(y2 - y1 - within * (x2 - x1)) / (fit2 - fit1) for (fit1, x1, y1), (fit2, x2, y2) in pairs]

    jumps = rises(pairwise(levels))
    if sum(jump > NOTICEABLE_BYTES for jump in jumps) < RISING * len(jumps):
        return None
    # Over half of them, what some give back is in it.
    each = median(rises(zip(levels, levels[len(levels) // 2 :], strict=False)))
    later = jumps[len(jumps) // 2 :]
    still = mean(later) >= STILL_SHARE * mean(jumps) and -min(jumps) <= DROP_SHARE * (last - first)
    return ByTraining(each, _new_models(trainings), still and len(jumps) >= MIN_JUMPS)


def of_short_ones(state: RunState, total_bytes: float) -> ByTraining | None:
    """What each training adds of what came together, where they are many and too short to look into; else None."""
    trainings = list(state.trainings.values())
    if len(trainings) < MIN_TRAININGS or state.train.steps > SHORT_STEPS * len(trainings):
        return None
    return ByTraining(total_bytes / len(trainings), _new_models(trainings))


def _new_models(trainings: list[Training]) -> bool:
    later = trainings[1:]
    return sum(t.traces > 0 for t in later) >= MOST * len(later)


def words(growth: ByTraining) -> tuple[str, str, str | None]:
    """Likely cause and next step, and `new_models` or None where the cause isn't known."""
    if growth.new_models:
        return (
            "each training traces a model made or compiled anew, and what the ones before held stays in memory: their "
            "graphs and functions, or the models themselves where something still refers to them",
            "Build and compile the model once, and put its first weights and its optimizer's variables back before "
            "each training; or run each training in a process of its own. keras.backend.clear_session() before each "
            "model, where it is not called yet, frees a part.",
            "new_models",
        )
    return (
        "cause not known: it comes between the trainings, and their model is not a new one",
        "Look at what the script keeps from one training to the next: histories, callbacks, datasets, copies of "
        "weights in a list.",
        None,
    )


def severity(state: RunState, total_bytes: float) -> str:
    """A few models more are no harm to a machine with memory to spare: `info` until what came together is large."""
    host = state.host
    free = None
    if host is not None and host.memory_total_bytes is not None and host.memory_used_bytes is not None:
        free = max(0, host.memory_total_bytes - host.memory_used_bytes)
    large = LARGE_BYTES if free is None else min(LARGE_BYTES, LARGE_SHARE * free)
    return "warning" if total_bytes >= large else "info"


def title(state: RunState, growth: ByTraining) -> str:
    """One sentence with its number."""
    return f"Host memory grows by {units.size(growth.bytes_each)} with each training ({state.fits} so far)"
