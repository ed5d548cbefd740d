"""Installed versions beside those that TensorFlow's metadata asks for (pure; facts as `doctor/probe.py` sends them)."""

from __future__ import annotations

import re

from tfgpu_tui.core.rows import Facts, Incomplete

_BUILDS = ("tensorflow", "tensorflow_cpu", "tf_nightly", "tf_nightly_cpu")


def unfit(facts: Facts) -> list[tuple[str, str, str]]:
    """(package, installed version, what TensorFlow asks for) of each package whose version is not one of those."""
    installed, needed = facts.get("distributions") or {}, facts.get("needed") or {}
    pairs = [(name, str(installed[name]), str(spec)) for name, spec in sorted(needed.items()) if name in installed]
    return [(name, version, spec) for name, version, spec in pairs if not fits(version, spec)]


def unfit_nvidia(facts: Facts) -> list[tuple[str, str | None, str]]:
    """(package, installed version or None, lowest version that TensorFlow's extra `and-cuda` asks for) of each NVIDIA
    package that is older than that, or missing. Empty where none is installed: CUDA then comes from elsewhere."""
    installed, lowest = facts.get("distributions") or {}, facts.get("requires") or {}
    if not any(name in installed for name in lowest):
        return []
    rows = [(name, installed.get(name), str(version)) for name, version in sorted(lowest.items())]
    return [(name, have, needs) for name, have, needs in rows if have is None or not fits(have, f">={needs}")]


def repair(facts: Facts) -> str:
    """The command that brings back what the installed TensorFlow asks for: pip changes only what does not fit."""
    installed = facts.get("distributions") or {}
    build = next((name for name in _BUILDS if name in installed), "tensorflow")
    version = f"=={installed[build]}" if build in installed else ""
    return f"pip install '{build.replace('_', '-')}{version}'"


def lack(name: str, part: Incomplete) -> str:
    """`/v/…/tensorflow has no __init__.py, so that it imports with nothing in it`: what is missing of a package."""
    folder = part.get("folder") or ""
    if part.get("hollow"):
        return f"{folder} has no __init__.py, so that it imports with nothing in it"
    if not folder:
        return f"{part.get('distribution')} {part.get('version')} is listed as installed, but there is no {name}"
    missing, modules = part.get("missing") or 0, part.get("modules") or 0
    return f"{missing} of {modules} packages in {folder} are missing, such as {part.get('first')}"


def reinstall(name: str, part: Incomplete) -> str:
    """The command that brings its files back, and changes nothing else."""
    if part.get("distribution") is None:
        return f"pip install {name}"
    project = str(part["distribution"]).replace("_", "-")
    return f"pip install --force-reinstall --no-deps '{project}=={part.get('version')}'"


def fits(version: str, spec: str) -> bool:
    """Whether a version is one of `<5.0.0dev,>=3.20.3`, `~=0.3.1`, …; true for what is not understood."""
    return all(_one(_numbers(version), part.strip()) for part in spec.split(",") if part.strip())


def _one(ours: tuple[int, ...], part: str) -> bool:
    found = re.match(r"(==|!=|<=|>=|<|>|~=)\s*([\d.]+)", part)
    if found is None:
        return True
    asked = _numbers(found[2])
    length = max(len(ours), len(asked))
    left, right = (numbers + (0,) * (length - len(numbers)) for numbers in (ours, asked))
    if found[1] == "~=":
        return left >= right and ours[: len(asked) - 1] == asked[:-1]
    outcomes = {
        "==": left == right, "!=": left != right, "<=": left <= right, ">=": left >= right, "<": left < right,
        ">": left > right,
    }  # fmt: skip
    return outcomes[found[1]]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].strip(".").split(".") if part)  # type: ignore[index]
