"""Knobs: what a rerun may change without an edit of the script (pure).

Each knob names its values, how it is applied and how a person reads it. `script` means: as the script has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SCRIPT = "script"


class KnobError(ValueError):
    """A knob or a value that does not exist; the text says which ones do."""


@dataclass(frozen=True)
class Knob:
    """One setting that a rerun may change."""

    name: str
    values: tuple[str, ...]
    """In the order in which a key steps through them; the first is what a run without the knob has."""
    summary: str
    environment: Mapping[str, Mapping[str, str]]
    """Value -> variables that the script gets before its first line."""


MEMORY_GROWTH = Knob(
    name="memory_growth",
    values=(SCRIPT, "on", "off"),
    summary="GPU memory: on = grow with the need, off = reserve nearly all at the start, script = as the script has it",
    # GetAllowGrowthValue in tensorflow/core/common_runtime/gpu/gpu_bfc_allocator.cc: overrides the script's own
    # set_memory_growth in both directions; only the exact lowercase words count.
    environment={"on": {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}, "off": {"TF_FORCE_GPU_ALLOW_GROWTH": "false"}},
)

ALL: dict[str, Knob] = {k.name: k for k in (MEMORY_GROWTH,)}


def parse(settings: Iterable[str]) -> dict[str, str]:
    """`["memory_growth=on"]` -> `{"memory_growth": "on"}`; a knob left to the script is left out. Raises KnobError."""
    out: dict[str, str] = {}
    for text in settings:
        name, sep, value = text.partition("=")
        if not sep:
            raise KnobError(f"--set {text}: write it as KNOB=VALUE, for example --set memory_growth=on")
        knob = ALL.get(name)
        if knob is None:
            raise KnobError(f"there is no knob {name!r}; --list-knobs shows what can be set ({', '.join(ALL)})")
        if value not in knob.values:
            raise KnobError(f"knob {name} can't be {value!r}; it can be {', '.join(knob.values)}")
        if value == SCRIPT:
            out.pop(name, None)
        else:
            out[name] = value
    return out


def environment(asked: Mapping[str, str]) -> dict[str, str]:
    """The variables that apply these knobs before the script's first line."""
    out: dict[str, str] = {}
    for name, value in asked.items():
        out |= ALL[name].environment.get(value, {})
    return out


def following(name: str, value: str | None) -> str:
    """The value after this one, for a key that steps through them."""
    values = ALL[name].values
    return values[(values.index(value or SCRIPT) + 1) % len(values)]


def describe() -> str:
    """All knobs with their values, for --list-knobs."""
    return "\n".join(f"{k.name} = {' | '.join(k.values)}\n    {k.summary}" for k in ALL.values())
