"""How well more GPUs pay off: two runs of one script that differ in the number of replicas (pure).

Scaling efficiency is the rate of examples for each replica with many, by that with few: 1 where each GPU works as fast
as alone.
"""

from __future__ import annotations

from typing import NamedTuple

from tfgpu_tui.core.state import RunState


class Scaling(NamedTuple):
    """Two runs, the one with fewer replicas first."""

    replicas: tuple[int, int]
    examples_per_s: tuple[float, float]
    """Of all replicas together, over the steps after warm-up."""

    @property
    def gain(self) -> float:
        """How many times the examples of the few the many process."""
        return self.examples_per_s[1] / self.examples_per_s[0]

    @property
    def efficiency(self) -> float:
        """Of what as many times the replicas could process, 0 to 1 (a little more where caches help)."""
        return self.gain * self.replicas[0] / self.replicas[1]


def replicas(state: RunState) -> int | None:
    """On how many GPUs (or other devices) each step is computed; None where no model told it."""
    return state.model.replicas if state.model is not None else None


def per_replica(state: RunState) -> float | None:
    """Examples a second of each replica."""
    rate, count = state.examples_per_s(state.judged), replicas(state)
    return rate / count if rate and count else None


def batch_per_replica(state: RunState) -> float | None:
    """Examples of a step of each replica."""
    batch, count = state.batch_size, replicas(state)
    return batch / count if batch and count else None


def scaling(a: RunState, b: RunState) -> Scaling | None:
    """None where both train on as many replicas, or where one of the numbers is unknown."""
    known = []
    for state in (a, b):
        count, rate = replicas(state), state.examples_per_s(state.judged)
        if not count or not rate:
            return None
        known.append((count, rate))
    few, many = sorted(known)
    return None if few[0] == many[0] else Scaling((few[0], many[0]), (few[1], many[1]))


def sentence(found: Scaling, real: bool) -> str:
    """What the replicas gain, `real` where their rates differ beyond the noise."""
    few, many = found.replicas
    of = "one" if few == 1 else str(few)
    gain = f"{found.gain:.2g}x the examples of {of}" if real or found.gain < 1 else f"no more examples than {of}"
    return f"{many} replicas process {gain}: scaling efficiency {100 * found.efficiency:.0f} %"
